#!/usr/bin/env python3
"""A client of the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md): newstyle, simple
replies, the default export.

    nbd_client.py ADDRESS wrong RAW     requests that are wrong, each followed by a right read

Prints what each wrong request was answered with: the error's number, or `closed`. ADDRESS is
HOST:PORT or the path of a Unix socket.
"""
import os
import struct
import sys

sys.dont_write_bytecode = True    # no __pycache__ in a source tree
import proxy_client    # noqa: E402

READ, WRITE, UNKNOWN = 0, 1, 99
LIMIT = 64 << 20    # nbdkit's, of a request


class Nbd:
    REQUEST, REPLY = 0x25609513, 0x67446698

    def __init__(self, address):
        self.socket = proxy_client.connect(address)
        if proxy_client.take(self.socket, 18)[:16] != b"NBDMAGICIHAVEOPT":
            raise OSError("not an NBD server")
        # Fixed newstyle without zeroes; then NBD_OPT_EXPORT_NAME of the default export.
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        self.size, = struct.unpack(">Q2x", proxy_client.take(self.socket, 10))

    def request(self, what, offset, length, data=b""):
        """The error of the reply; what follows it is not taken."""
        self.socket.sendall(struct.pack(">IHHQQI", self.REQUEST, 0, what, offset, offset, length)
                            + data)
        magic, error, cookie = struct.unpack(">IIQ", proxy_client.take(self.socket, 16))
        if (magic, cookie) != (self.REPLY, offset):
            raise OSError("not the reply that was asked for")
        return error

    def read(self, offset, length):
        error = self.request(READ, offset, length)
        return error, b"" if error else proxy_client.take(self.socket, length)

    def close(self):
        self.socket.close()


def right_read(server, raw):
    offset, length = server.size - 5000, 5000
    if server.read(offset, length) != (0, os.pread(raw, length, offset)):
        sys.exit("a right read failed")


def answer_to(address, raw, *request):
    """A connection that answers a wrong request goes on."""
    server = Nbd(address)
    try:
        error = server.request(*request)
    except (EOFError, ConnectionError):
        return "closed"
    right_read(server, raw)
    server.close()
    return error


def wrong(address, path):
    raw = os.open(path, os.O_RDONLY)
    size = os.path.getsize(path)
    answers = [answer_to(address, raw, *request) for request in (
        (READ, size - 10, 20), (READ, size + (1 << 40), 512), (READ, 0, LIMIT + 512),
        (WRITE, 0, 512, b"x" * 512), (UNKNOWN, 0, 512))]
    for part in (b"", b"\0\0", struct.pack(">I8sI", 3, b"IHAVEOPT", 1), b"x" * 100):
        with proxy_client.connect(address) as s:
            proxy_client.take(s, 18)
            s.sendall(part)
    server = Nbd(address)
    right_read(server, raw)
    server.close()
    print(*answers)


def main():
    address, what, *rest = sys.argv[1:]
    if what != "wrong":
        sys.exit(__doc__)
    wrong(address, *rest)


if __name__ == "__main__":
    main()
