#!/usr/bin/env python3
"""Write files into an exFAT volume, without a kernel that can: exfat-fill.py VOLUME < COMMANDS

    dir PATH                  a directory
    file PATH BYTES [HOW]     a file; HOW: row (no chain, the default), chain (a row, in the FAT),
                              spread (every other free cluster)
    remove PATH
    fill PATH COUNT MAX       COUNT files of up to MAX bytes in a directory, one in three spread
    prune PATH NTH            remove each NTH file of a directory

All of it follows from the commands: contents too. Directories grow cluster by cluster. Written from
Microsoft's "exFAT file system specification", for volumes fresh from mkfs.exfat and names in ASCII;
fsck.exfat is the judge of what it writes.
"""
import random
import struct
import sys

END = 0xFFFFFFFF


def rotate16(total, data):
    for byte in data:
        total = ((total << 15 | total >> 1) & 0xFFFF) + byte & 0xFFFF
    return total


def set_checksum(entries):
    total = rotate16(rotate16(0, entries[:2]), entries[4:])
    return entries[:2] + struct.pack('<H', total) + entries[4:]


def make_set(name, attributes, first, size, flags):
    encoded = name.encode('utf-16-le')
    names = [encoded[i:i + 30].ljust(30, b'\0') for i in range(0, len(encoded), 30)]
    when = 44 << 25 | 1 << 21 | 1 << 16
    primary = struct.pack('<BBHHHIII12x', 0x85, 1 + len(names), 0, attributes, 0, when, when, when)
    stream = struct.pack('<BBBBHHQIIQ', 0xC0, flags, 0, len(name),
                         rotate16(0, name.upper().encode('utf-16-le')), 0, size, 0, first, size)
    return set_checksum(primary + stream + b''.join(b'\xC1\0' + n for n in names))


class Directory:
    """Where its clusters are, and its own entry (None: the root)."""

    def __init__(self, clusters, parent=None, name=None):
        self.clusters, self.parent, self.name = clusters, parent, name
        self.files = {}  # name: (slot, entries, clusters)
        self.used = 0  # entries before the end mark


class Volume:
    def __init__(self, path):
        self.file = open(path, 'r+b')
        boot = self.file.read(512)
        fat_at, _, heap, self.count, root = struct.unpack_from('<IIIII', boot, 0x50)
        sector = 1 << boot[0x6C]
        self.cluster = sector << boot[0x6D]
        self.heap = heap * sector
        self.fat_at = fat_at * sector
        self.root = Directory([root])
        self.dirs = {'': self.root}
        entries = self.read(root)
        while entries[self.root.used * 32]:
            if entries[self.root.used * 32] == 0x81:
                at = struct.unpack_from('<I', entries, self.root.used * 32 + 20)[0]
                self.bits_at = self.where(at)
            self.root.used += 1
        self.file.seek(self.bits_at)
        self.bits = bytearray(self.file.read((self.count + 7) // 8))
        self.hint = 0

    def where(self, cluster):
        return self.heap + (cluster - 2) * self.cluster

    def read(self, cluster):
        self.file.seek(self.where(cluster))
        return self.file.read(self.cluster)

    def chain(self, cluster, value):
        self.file.seek(self.fat_at + cluster * 4)
        self.file.write(struct.pack('<I', value))

    def mark(self, cluster, used):
        n = cluster - 2
        self.bits[n // 8] = self.bits[n // 8] & ~(1 << n % 8) | used << n % 8

    def is_free(self, n):
        return not self.bits[n // 8] >> n % 8 & 1

    def allocate(self, count, how):
        """Clusters, marked and, unless in a row, chained."""
        got, step = [], 2 if how == 'spread' else 1
        n = 0
        while len(got) < count:
            if n >= self.count:
                raise SystemExit('the volume is full')
            if not self.is_free(n):
                if how != 'spread':
                    got = []
                n += 1
                continue
            got.append(n + 2)
            n += step
        for i, cluster in enumerate(got):
            self.mark(cluster, 1)
            if how != 'row':
                self.chain(cluster, got[i + 1] if i + 1 < len(got) else END)
        return got

    def grow(self, directory):
        new = self.allocate(1, 'chain')[0]
        self.chain(directory.clusters[-1], new)
        directory.clusters.append(new)
        self.write(new, bytes(self.cluster))
        if directory.parent:
            slot, _, _ = directory.parent.files[directory.name]
            entries = make_set(directory.name, 0x10, directory.clusters[0],
                               len(directory.clusters) * self.cluster, 1)
            self.put_entries(directory.parent, slot, entries)

    def write(self, cluster, data):
        self.file.seek(self.where(cluster))
        self.file.write(data)

    def put_entries(self, directory, slot, entries):
        for i in range(len(entries) // 32):
            at = (slot + i) * 32
            self.file.seek(self.where(directory.clusters[at // self.cluster]) + at % self.cluster)
            self.file.write(entries[i * 32:i * 32 + 32])

    def add(self, path, attributes, clusters, size, flags):
        where, _, name = path.rpartition('/')
        directory = self.dirs[where]
        entries = make_set(name, attributes, clusters[0] if clusters else 0, size, flags)
        slot, count = directory.used, len(entries) // 32
        while (slot + count + 1) * 32 > len(directory.clusters) * self.cluster:
            self.grow(directory)
        self.put_entries(directory, slot, entries)
        directory.used += count
        directory.files[name] = (slot, count, clusters)

    def dir(self, path):
        clusters = self.allocate(1, 'chain')
        self.write(clusters[0], bytes(self.cluster))
        self.add(path, 0x10, clusters, self.cluster, 1)
        where, _, name = path.rpartition('/')
        self.dirs[path] = Directory(clusters, self.dirs[where], name)

    def put(self, path, size, how='row'):
        clusters = self.allocate(-(-size // self.cluster), how)
        data = b''.join(b'%s %d\n' % (path.encode(), n) for n in range(size // 5 + 1))[:size]
        for i, cluster in enumerate(clusters):
            self.write(cluster, data[i * self.cluster:(i + 1) * self.cluster])
        self.add(path, 0x20, clusters, size, 3 if how == 'row' and clusters else 1)

    def remove(self, path):
        where, _, name = path.rpartition('/')
        slot, count, clusters = self.dirs[where].files.pop(name)
        for i in range(count):
            at = (slot + i) * 32
            self.file.seek(self.where(self.dirs[where].clusters[at // self.cluster]) +
                           at % self.cluster)
            kind = self.file.read(1)[0]
            self.file.seek(-1, 1)
            self.file.write(bytes([kind & 0x7F]))
        for cluster in clusters:
            self.mark(cluster, 0)

    def fill(self, path, count, most):
        rng = random.Random(path + str(count))
        for i in range(count):
            self.put('%s/file%d' % (path, i), rng.randrange(most),
                     ('row', 'chain', 'spread')[i % 3])

    def prune(self, path, nth):
        for name in list(self.dirs[path].files)[::nth]:
            full = path + '/' + name
            if full not in self.dirs:
                self.remove(full)

    def close(self):
        self.file.seek(self.bits_at)
        self.file.write(self.bits)
        self.file.close()


def main():
    volume = Volume(sys.argv[1])
    words = {'dir': volume.dir, 'file': volume.put, 'remove': volume.remove,
             'fill': volume.fill, 'prune': volume.prune}
    for line in sys.stdin:
        command, *rest = line.split()
        words[command](*(int(a) if a.isdigit() else a.rstrip('/') for a in rest))
    volume.close()


main()
