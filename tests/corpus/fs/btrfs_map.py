#!/usr/bin/env python3
"""Print what is free in a Btrfs of one device: lines "OFFSET LENGTH" in bytes, sorted, merged.

    btrfs_map.py IMAGE

All that is known comes from the text that btrfs-progs print (dump-super, dump-tree); the only
things known here are where superblocks lie, that each keeps 64 KiB, and that the first MiB and
what lies behind the file system are nobody's to take.
"""
import os
import re
import subprocess
import sys

KIB = 1024
SUPERS = [64 * KIB, 64 * KIB**2, 256 * KIB**3]


def lines(*command):
    out = subprocess.run(('btrfs', 'inspect-internal') + command, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return out.decode('utf-8', 'replace').splitlines()


def fields(image):
    found = {}
    for line in lines('dump-super', image):
        words = line.split()
        if len(words) >= 2:
            found.setdefault(words[0], words[1])
    return found


def chunks(image):
    """[(logical, length, [physical, ...])]"""
    found = []
    for line in lines('dump-tree', '-t', 'chunk', image):
        m = re.match(r'\s+item \d+ key \(FIRST_CHUNK_TREE CHUNK_ITEM (\d+)\)', line)
        if m:
            found.append([int(m.group(1)), 0, []])
        m = re.match(r'\s+length (\d+) owner', line)
        if m:
            found[-1][1] = int(m.group(1))
        m = re.match(r'\s+stripe \d+ devid \d+ offset (\d+)', line)
        if m:
            found[-1][2].append(int(m.group(1)))
    return found


def extents(image, node_bytes):
    """Logical (start, length) of all that is in use, in order."""
    for line in lines('dump-tree', '-t', 'extent', image):
        m = re.match(r'\s+item \d+ key \((\d+) (EXTENT|METADATA)_ITEM (\d+)\)', line)
        if m:
            yield int(m.group(1)), int(m.group(3)) if m.group(2) == 'EXTENT' else node_bytes


def logged(image, node_bytes):
    """Logical (start, length) of the blocks of the log trees, and of what their files refer to."""
    is_log = False
    for line in lines('dump-tree', image):
        m = re.match(r'(?:leaf|node) (\d+) .* owner (\S+)', line)
        if m:
            is_log = m.group(2) == 'TREE_LOG'
            if is_log:
                yield int(m.group(1)), node_bytes
        m = re.match(r'\s+(?:extent|prealloc) data disk byte (\d+) nr (\d+)', line)
        if m and is_log and int(m.group(1)) != 0:
            yield int(m.group(1)), int(m.group(2))


def used_ranges(image, total, size):
    info = fields(image)
    node_bytes = int(info['nodesize'])
    assert info['num_devices'] == '1', 'not for this script'
    yield 0, KIB**2
    yield total, max(size, total)
    for place in SUPERS:
        yield place, place + 64 * KIB
    where = sorted(chunks(image))
    at = 0
    used = list(extents(image, node_bytes))
    if info['log_root'] != '0':
        used += logged(image, node_bytes)
    for start, length in sorted(used):
        while start >= where[at][0] + where[at][1]:
            at += 1
        logical, _, stripes = where[at]
        for physical in stripes:
            yield physical + start - logical, physical + start - logical + length


def main():
    image = sys.argv[1]
    with open(image, 'rb') as f:
        size = f.seek(0, os.SEEK_END)
    total = int(fields(image)['dev_item.total_bytes'])
    end = 0
    for start, stop in sorted(used_ranges(image, total, size)):
        if min(start, size) > end:
            print(end, min(start, size) - end)
        end = max(end, stop)
    if end < size:
        print(end, size - end)


main()
