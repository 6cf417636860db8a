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
    proxy_client.py ADDRESS pause SECONDS                   be silent between two requests
    proxy_client.py ADDRESS drip EVERY                      a request, byte by byte; seconds until the
                                                            server hangs up
    proxy_client.py ADDRESS deaf SECONDS                    ask for 8 MiB and take nothing for so long
    proxy_client.py ADDRESS slow LENGTH RATE                read, and take RATE bytes a second

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
    if got > length:
        raise OSError(f"{got} bytes, {length} were asked for")
    return errno, take(s, got)


def one_client(address, path, reads, seed, done, failures):
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
                done[seed] += 1
    except Exception as problem:    # whatever it is, this client is not done
        failures.append(repr(problem))


def compare(address, path, clients=1, reads=2000):
    done, failures = [0] * clients, []
    threads = [threading.Thread(target=one_client,
                                args=(address, path, reads, seed, done, failures))
               for seed in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(sum(done), *failures, sep="\n")
    return 1 if failures or sum(done) != clients * reads else 0


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


def hung_up(s):
    """Whether the server did, by now."""
    try:
        return s.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def pause(address, seconds):
    with connect(address) as s:
        info(s)
        time.sleep(seconds)
        print(*info(s))


def drip(address, every):
    with connect(address) as s:
        start = time.monotonic()
        for byte in struct.pack("<3Q", READ, 0, 512):
            try:
                s.sendall(bytes([byte]))
            except ConnectionError:
                break
            time.sleep(every)
            if hung_up(s):
                break
        else:
            sys.exit("it was not hung up on")
        print(f"{time.monotonic() - start:.1f}")


def deaf(address, seconds):
    with connect(address) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(4):
            s.sendall(struct.pack("<3Q", READ, 0, 2 << 20))
        time.sleep(seconds)


def slow(address, length, rate):
    """In ten portions a second."""
    with connect(address) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(struct.pack("<3Q", READ, 0, length))
        left = 16 + length
        while left > 0:
            left -= len(take(s, min(left, rate // 10)))
            time.sleep(0.1)
        print(*info(s))


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
    elif what == "pause":
        pause(address, float(rest[0]))
    elif what == "drip":
        drip(address, float(rest[0]))
    elif what == "deaf":
        deaf(address, float(rest[0]))
    elif what == "slow":
        slow(address, int(rest[0]), int(rest[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
