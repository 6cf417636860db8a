#!/usr/bin/env python3
"""What is free on an exFAT volume: exfat-map.py VOLUME

Prints lines OFFSET LENGTH in bytes, ascending and merged. Written from Microsoft's "exFAT file
system specification" alone, as a witness against src/fs/fs_exfat.c: nothing is checked, the volume
must be good. A cluster is free when its bit in the allocation bitmap is clear and its entry in the
FAT does not call it bad.
"""
import struct
import sys


def main():
    with open(sys.argv[1], 'rb') as volume:
        boot = volume.read(512)
        fat_at, _, heap, count, root = struct.unpack_from('<IIIII', boot, 0x50)
        sector, cluster = 1 << boot[0x6C], 1 << boot[0x6C] + boot[0x6D]
        heap *= sector
        volume.seek(fat_at * sector)
        fat = struct.unpack('<%dI' % (count + 2), volume.read((count + 2) * 4))

        def read_chain(first):
            data = b''
            while 2 <= first < count + 2:
                volume.seek(heap + (first - 2) * cluster)
                data += volume.read(cluster)
                first = fat[first]
            return data

        entries = read_chain(root)
        at = next(i for i in range(0, len(entries), 32) if entries[i] == 0x81)
        bits = read_chain(struct.unpack_from('<I', entries, at + 20)[0])
    start = None
    for n in range(count + 1):
        free = n < count and not bits[n // 8] >> n % 8 & 1 and fat[n + 2] != 0xFFFFFFF7
        if free and start is None:
            start = n
        elif not free and start is not None:
            print(heap + start * cluster, (n - start) * cluster)
            start = None


main()
