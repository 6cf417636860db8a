#!/usr/bin/env python3
"""A client of the DevIO / IMDPROXY protocol, written from the description in docs/MOUNTING.md.

    proxy_client.py ADDRESS compare RAW [CLIENTS [READS]]   random reads against a raw file
    proxy_client.py ADDRESS info
    proxy_client.py ADDRESS read OFFSET LENGTH              the answer's errno and length; bytes on stdout
    proxy_client.py ADDRESS stream STEP [CLIENTS]           read all of it in order
    proxy_client.py ADDRESS load CLIENTS BYTES SECONDS      random reads of so many bytes; reads a second
    proxy_client.py ADDRESS raw HEX                         send these bytes; print what comes, in hex
    proxy_client.py ADDRESS crowd N                         connect N times; print how many are served
    proxy_client.py ADDRESS silent [HEX]                    seconds until the server hangs up

ADDRESS is HOST:PORT or the path of a Unix socket.
"""
import os
import random
import socket
import struct
import sys
import threading
import time

INFO, READ = 1, 2


def connect(address):
    if "/" in address:
        s = socket.socket(socket.AF_UNIX)
        s.connect(address)
    else:
        host, port = address.rsplit(":", 1)
        s = socket.create_connection((host, int(port)))
    s.settimeout(30)
    return s


def take(s, count):
    parts = bytearray()
    while len(parts) < count:
        part = s.recv(count - len(parts))
        if not part:
            raise EOFError(f"{len(parts)} of {count} bytes")
        parts += part
    return bytes(parts)


def info(s):
    s.sendall(struct.pack("<Q", INFO))
    return struct.unpack("<3Q", take(s, 24))


def read(s, offset, length):
    s.sendall(struct.pack("<3Q", READ, offset, length))
    errno, got = struct.unpack("<2Q", take(s, 16))
    return errno, take(s, got)


def one_client(address, path, reads, seed, failures):
    """Reads of all lengths, also across the end, where there are zeros."""
    rnd = random.Random(seed)
    try:
        with connect(address) as s, open(path, "rb") as raw:
            size = info(s)[0]
            for _ in range(reads):
                length = rnd.choice([rnd.randrange(1, 600), rnd.randrange(1, 9000),
                                     rnd.randrange(1, 400000)])
                offset = rnd.randrange(0, size)
                if rnd.randrange(20) == 0:
                    offset = size - rnd.randrange(0, length)
                raw.seek(offset)
                want = raw.read(length).ljust(length, b"\0")
                if read(s, offset, length) != (0, want):
                    failures.append(f"{length} bytes at {offset} differ")
                    return
    except (OSError, EOFError) as problem:
        failures.append(str(problem))


def compare(address, path, clients=1, reads=2000):
    failures = []
    threads = [threading.Thread(target=one_client, args=(address, path, reads, seed, failures))
               for seed in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print("\n".join(failures))
    return 1 if failures else 0


def stream_part(address, step, part, parts):
    with connect(address) as s:
        size = info(s)[0]
        for offset in range(size * part // parts // step * step, size * (part + 1) // parts, step):
            if read(s, offset, step)[0] != 0:
                sys.exit(f"error at {offset}")


def stream(address, step, clients=1):
    """All of it in order; of several clients, each a process, one part each."""
    for part in range(1, clients):
        if os.fork() == 0:
            stream_part(address, step, part, clients)
            os._exit(0)
    stream_part(address, step, 0, clients)
    for _ in range(1, clients):
        if os.wait()[1] != 0:
            sys.exit("a client failed")


def load_one(address, step, until, report):
    """Aligned reads by one process, into one buffer: as little work as Python can make of it."""
    answer = memoryview(bytearray(16 + step))
    count = 0
    with connect(address) as s:
        blocks = info(s)[0] // step
        while time.monotonic() < until:
            s.sendall(struct.pack("<3Q", READ, random.randrange(blocks) * step, step))
            got = 0
            while got < len(answer):
                got += s.recv_into(answer[got:])
            if answer[:8] != bytes(8):
                sys.exit("a read failed")
            count += 1
    report.write(f"{count}\n")


def load(address, clients, step, seconds):
    start = time.monotonic()
    counts, report = os.pipe()
    for _ in range(clients):
        if os.fork() == 0:
            random.seed()
            with os.fdopen(report, "w") as f:
                load_one(address, step, start + seconds, f)
            os._exit(0)
    os.close(report)
    with os.fdopen(counts) as f:
        found = [int(line) for line in f]
    if len(found) != clients:
        sys.exit("a client failed")
    print(f"{sum(found) / (time.monotonic() - start):.0f}")


def talk(address, text):
    with connect(address) as s:
        s.sendall(bytes.fromhex(text))
        s.shutdown(socket.SHUT_WR)
        got = bytearray()
        while part := s.recv(65536):
            got += part
    print(got.hex())


def crowd(address, count):
    sockets = [connect(address) for _ in range(count)]
    served = 0
    for s in sockets:
        try:
            info(s)
            served += 1
        except (OSError, EOFError):
            pass
    print(served)


def silent(address, text=""):
    with connect(address) as s:
        s.sendall(bytes.fromhex(text))
        start = time.monotonic()
        while s.recv(65536):
            pass
        print(f"{time.monotonic() - start:.1f}")


def main():
    address, what, *rest = sys.argv[1:]
    if what == "compare":
        return compare(address, rest[0], *map(int, rest[1:]))
    if what == "info":
        with connect(address) as s:
            print(*info(s))
    elif what == "read":
        with connect(address) as s:
            errno, data = read(s, int(rest[0]), int(rest[1]))
        print(errno, len(data), file=sys.stderr)
        sys.stdout.buffer.write(data)
    elif what == "stream":
        stream(address, *map(int, rest))
    elif what == "load":
        load(address, int(rest[0]), int(rest[1]), float(rest[2]))
    elif what == "raw":
        talk(address, rest[0])
    elif what == "crowd":
        crowd(address, int(rest[0]))
    elif what == "silent":
        silent(address, *rest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
