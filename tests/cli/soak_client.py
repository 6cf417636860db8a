#!/usr/bin/env python3
"""Random reads of a server by many clients at once, compared with a raw file.

    soak_client.py PROTOCOL ADDRESS RAW CLIENTS [OPTION...]

    --seconds S             so long; or
    --reads N               so many by each client
    --borders FILE          offsets, one a line: half of the reads begin, and half of them end, at
                            one of these or a byte beside it
    --bad OFFSET LENGTH     a read that touches this must fail, no other may (may be repeated)
    --polite                no client sends garbage, or leaves within a request, as some do now and
                            then with --seconds

PROTOCOL: proxy; nbd; file, where ADDRESS is one; direct: the same, around the kernel's cache of
pages, so that what a page has beside a bad range can be read, too. Clients come and go. Prints how many reads there
were and how many of them failed as they must.
"""
import argparse
import bisect
import errno
import itertools
import os
import random
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True    # no __pycache__ in a source tree
import nbd_client    # noqa: E402
import proxy_client    # noqa: E402

READS_A_CONNECTION = 200
LONGEST = 400000


def spoil(server, rnd):
    server.socket.sendall(rnd.choice([rnd.randbytes(rnd.randrange(1, 64)),
                                      struct.pack("<3Q", 2, 0, 1 << 20)]))


class Proxy:
    def __init__(self, address):
        self.socket = proxy_client.connect(address)

    def read(self, offset, length):
        return proxy_client.read(self.socket, offset, length)

    def close(self):
        self.socket.close()


class File:
    """Not out of the kernel's cache of pages: every other one goes around it, the rest empty it."""
    socket = None
    numbers = itertools.count()

    def __init__(self, path, direct=False):
        self.direct = direct or next(self.numbers) % 2 == 1
        self.fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if self.direct else 0))

    def read(self, offset, length):
        """What lies before a page that can't be read comes first, as a short read."""
        data = bytearray()
        if not self.direct:
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            while len(data) < length:
                part = os.pread(self.fd, length - len(data), offset + len(data))
                if not part:
                    raise EOFError(f"the file ends at {offset + len(data)}")
                data += part
        except OSError as problem:
            return problem.errno, b""
        return 0, data

    def close(self):
        os.close(self.fd)


PROTOCOLS = {"proxy": Proxy, "nbd": nbd_client.Nbd, "file": File,
             "direct": lambda path: File(path, True)}


class Soak:
    def __init__(self, args):
        self.connect = lambda: PROTOCOLS[args.protocol](args.address)
        self.raw, self.bad, self.reads_each, self.polite = (args.raw, args.bad, args.reads,
                                                            args.polite or args.reads)
        self.size = os.path.getsize(args.raw)
        self.borders = []
        if args.borders:
            with open(args.borders, encoding="ascii") as f:
                self.borders = sorted({int(line) for line in f} | {0, self.size})
        self.until = time.monotonic() + args.seconds
        self.counts, self.refused, self.wrong = [0] * args.clients, [0] * args.clients, []

    def over(self, n):
        if self.wrong:
            return True
        if self.reads_each:
            return self.counts[n] >= self.reads_each
        return time.monotonic() > self.until

    def a_range(self, rnd):
        """Where to read from, and to where: of at least one byte."""
        if rnd.randrange(16) == 0:
            return self.size - min(self.size, rnd.randrange(1, 5000)), self.size
        start = rnd.randrange(self.size)
        if self.borders and rnd.randrange(2) == 0:
            start = rnd.choice(self.borders) + rnd.randrange(-1, 2)
            start = min(max(start, 0), self.size - 1)
        first = bisect.bisect_right(self.borders, start)
        last = bisect.bisect_right(self.borders, start + LONGEST)
        if last > first and rnd.randrange(2) == 0:
            end = self.borders[rnd.randrange(first, last)] + rnd.randrange(-1, 2)
        else:
            end = start + rnd.choice([rnd.randrange(1, 600), 4096, rnd.randrange(1, LONGEST)])
        return start, min(max(end, start + 1), self.size)

    def one_read(self, server, raw, rnd):
        """Whether the read failed as it must; anything else that is not right is raised."""
        offset, end = self.a_range(rnd)
        length = end - offset
        error, data = server.read(offset, length)
        touches = any(offset < bad + size and bad < end for bad, size in self.bad)
        if error != (errno.EIO if touches else 0):
            raise OSError(f"{length} bytes at {offset}: error {error}")
        if not touches and data != os.pread(raw, length, offset):
            raise OSError(f"{length} bytes at {offset} differ")
        return touches

    def one_connection(self, n, raw, rnd):
        server = self.connect()
        try:
            for _ in range(READS_A_CONNECTION):
                if self.over(n):
                    return
                self.refused[n] += self.one_read(server, raw, rnd)
                self.counts[n] += 1
            if server.socket and not self.polite and rnd.randrange(4) == 0:
                spoil(server, rnd)
        finally:
            server.close()

    def client(self, n):
        rnd = random.Random(n)
        raw = os.open(self.raw, os.O_RDONLY)
        try:
            while not self.over(n):
                self.one_connection(n, raw, rnd)
        except Exception as problem:    # whatever it is, this client is not done
            self.wrong.append(repr(problem))
        finally:
            os.close(raw)

    def run(self):
        threads = [threading.Thread(target=self.client, args=(n,))
                   for n in range(len(self.counts))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        print(sum(self.counts), sum(self.refused), *self.wrong)
        enough = min(self.counts) >= (self.reads_each or 1)
        return 0 if enough and not self.wrong else 1


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("protocol", choices=PROTOCOLS)
    p.add_argument("address")
    p.add_argument("raw")
    p.add_argument("clients", type=int)
    p.add_argument("--seconds", type=float, default=0)
    p.add_argument("--reads", type=int)
    p.add_argument("--borders")
    p.add_argument("--bad", nargs=2, type=int, action="append", default=[])
    p.add_argument("--polite", action="store_true")
    return Soak(p.parse_args()).run()


if __name__ == "__main__":
    sys.exit(main())
