#!/usr/bin/env python3
"""What is free on a FAT12, FAT16 or FAT32 volume: fat-map.py VOLUME

Prints lines OFFSET LENGTH in bytes, ascending and merged. Written from Microsoft's "FAT: General
Overview of On-Disk Format" alone, as a witness against src/fs/fs_fat.c: nothing is checked, the
volume must be good. A cluster is free when its entry is 0 in every copy of the FAT.
"""
import struct
import sys


def entries(fat, count, bits):
    """The values of one copy of the FAT."""
    if bits == 12:
        pairs = ((i + i // 2, i & 1) for i in range(count))
        return [struct.unpack_from('<H', fat, at)[0] >> (4 * odd) & 0xFFF for at, odd in pairs]
    if bits == 16:
        return list(struct.unpack_from('<%dH' % count, fat))
    return [v & 0x0FFFFFFF for v in struct.unpack_from('<%dI' % count, fat)]


def main():
    with open(sys.argv[1], 'rb') as volume:
        boot = volume.read(512)
        sector, per_cluster, reserved, fats, root, total, _, size = \
            struct.unpack_from('<HBHBHHBH', boot, 11)
        if total == 0:
            total = struct.unpack_from('<I', boot, 32)[0]
        fat32 = size == 0
        if fat32:
            size = struct.unpack_from('<I', boot, 36)[0]
        first = reserved + fats * size + (root * 32 + sector - 1) // sector
        count = (total - first) // per_cluster
        bits = 32 if fat32 else 12 if count < 4085 else 16
        used = [False] * (count + 2)
        for copy in range(fats):
            volume.seek((reserved + copy * size) * sector)
            fat = volume.read(size * sector)
            used = [u or v != 0 for u, v in zip(used, entries(fat, count + 2, bits))]
    cluster = sector * per_cluster
    start = None
    for n in range(2, count + 3):
        free = n < count + 2 and not used[n]
        if free and start is None:
            start = n
        elif not free and start is not None:
            print(first * sector + (start - 2) * cluster, (n - start) * cluster)
            start = None


main()
