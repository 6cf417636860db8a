#!/usr/bin/env python3
"""Random reads of a server by many clients at once, for some seconds, compared with a raw file.

    soak_client.py PROTOCOL ADDRESS RAW CLIENTS SECONDS [BAD_OFFSET BAD_LENGTH]

PROTOCOL: proxy; nbd (newstyle, simple replies: the NBD protocol, github.com/NetworkBlockDevice/nbd,
doc/proto.md); file, where ADDRESS is one. A read that touches the bad range must fail, no other may.
Clients come and go, and now and then one sends garbage or leaves within a request. Prints how many
reads there were and how many of them failed as they must.
"""
import errno
import os
import random
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True    # no __pycache__ in a source tree
import proxy_client    # noqa: E402

READS_A_CONNECTION = 200


class Proxy:
    def __init__(self, address):
        self.socket = proxy_client.connect(address)

    def read(self, offset, length):
        return proxy_client.read(self.socket, offset, length)

    def spoil(self, rnd):
        self.socket.sendall(rnd.choice([rnd.randbytes(rnd.randrange(1, 64)),
                                        struct.pack("<3Q", 2, 0, 1 << 20)]))

    def close(self):
        self.socket.close()


class Nbd(Proxy):
    REQUEST, REPLY = 0x25609513, 0x67446698

    def __init__(self, address):
        super().__init__(address)
        if proxy_client.take(self.socket, 18)[:16] != b"NBDMAGICIHAVEOPT":
            raise OSError("not an NBD server")
        # Fixed newstyle without zeroes; then NBD_OPT_EXPORT_NAME of the default export.
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        proxy_client.take(self.socket, 10)

    def read(self, offset, length):
        self.socket.sendall(struct.pack(">IHHQQI", self.REQUEST, 0, 0, offset, offset, length))
        magic, error, cookie = struct.unpack(">IIQ", proxy_client.take(self.socket, 16))
        if (magic, cookie) != (self.REPLY, offset):
            raise OSError("not the reply that was asked for")
        return error, b"" if error else proxy_client.take(self.socket, length)


class File:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)

    def read(self, offset, length):
        """What lies before a page that can't be read comes first, as a short read."""
        data = bytearray()
        try:
            while len(data) < length:
                data += os.pread(self.fd, length - len(data), offset + len(data))
        except OSError as problem:
            return problem.errno, b""
        return 0, data

    def spoil(self, _rnd):
        pass

    def close(self):
        os.close(self.fd)


class Soak:
    def __init__(self, protocol, address, raw, seconds, bad):
        self.connect = lambda: {"proxy": Proxy, "nbd": Nbd, "file": File}[protocol](address)
        self.raw, self.bad = raw, bad
        self.size = os.path.getsize(raw)
        self.until = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.reads, self.refused, self.wrong = 0, 0, []

    def over(self):
        return self.wrong or time.monotonic() > self.until

    def one_read(self, server, raw, rnd):
        """Whether the read failed as it must; anything else that is not right is an OSError."""
        length = rnd.choice([rnd.randrange(1, 600), 4096, rnd.randrange(1, 400000)])
        offset = rnd.randrange(0, self.size - length)
        error, data = server.read(offset, length)
        touches = offset < self.bad[0] + self.bad[1] and self.bad[0] < offset + length
        if error != (errno.EIO if touches else 0):
            raise OSError(f"{length} bytes at {offset}: error {error}")
        if not touches and data != os.pread(raw, length, offset):
            raise OSError(f"{length} bytes at {offset} differ")
        return touches

    def one_connection(self, raw, rnd):
        server = self.connect()
        try:
            for _ in range(READS_A_CONNECTION):
                if self.over():
                    return
                refused = self.one_read(server, raw, rnd)
                with self.lock:
                    self.reads += 1
                    self.refused += refused
            if rnd.randrange(4) == 0:
                server.spoil(rnd)
        finally:
            server.close()

    def client(self, seed):
        rnd = random.Random(seed)
        raw = os.open(self.raw, os.O_RDONLY)
        try:
            while not self.over():
                self.one_connection(raw, rnd)
        except (OSError, EOFError) as problem:
            self.wrong.append(str(problem))
        finally:
            os.close(raw)

    def run(self, clients):
        threads = [threading.Thread(target=self.client, args=(n,)) for n in range(clients)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        print(self.reads, self.refused, *self.wrong)
        return 1 if self.wrong or self.reads == 0 else 0


def main():
    protocol, address, raw, clients, seconds, *bad = sys.argv[1:]
    soak = Soak(protocol, address, raw, float(seconds), [int(x) for x in bad] or [0, 0])
    return soak.run(int(clients))


if __name__ == "__main__":
    sys.exit(main())
