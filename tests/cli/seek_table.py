#!/usr/bin/env python3
"""Read the seek table of a file in the Zstandard Seekable Format (version 0.1.0), and nothing else.

    seek_table.py FILE [SOURCE]

Written from contrib/seekable_format/zstd_seekable_compression_format.md of the zstd project alone; it
knows nothing of imgtool. Checks that the frames of the table cover the file up to the table, that each
begins with a frame's magic number, and that skippable ones hold no data. With SOURCE, frames from all
over the file are cut out, decompressed with the zstd command, and compared with SOURCE at the offset
that the table gives them. Prints the number of frames.
"""
import random
import subprocess
import sys
from struct import unpack, unpack_from

SEEKABLE_MAGIC, TABLE_MAGIC, FRAME_MAGIC = 0x8F92EAB1, 0x184D2A5E, 0xFD2FB528
FOOTER, SAMPLE, BIG = 9, 60, 1 << 26


def check(what, ok):
    if not ok:
        sys.exit('seek_table.py: ' + what)


def read_table(f):
    """[(file offset, stored, plain offset, plain)]; the file offset at which the table begins."""
    size = f.seek(0, 2)
    f.seek(size - FOOTER)
    count, descriptor, magic = unpack('<IBI', f.read(FOOTER))
    check('no seekable magic at the end', magic == SEEKABLE_MAGIC)
    check('reserved bits in the descriptor', descriptor & 0x7C == 0)
    entry = 12 if descriptor & 0x80 else 8
    start = size - FOOTER - count * entry - 8
    check('the table is longer than the file', start >= 0)
    f.seek(start)
    table = f.read()
    check('no skippable frame', unpack_from('<I', table)[0] == TABLE_MAGIC)
    check('its length', unpack_from('<I', table, 4)[0] == len(table) - 8)
    frames, at, plain_at = [], 0, 0
    for i in range(count):
        stored, plain = unpack_from('<II', table, 8 + i * entry)
        frames.append((at, stored, plain_at, plain))
        at += stored
        plain_at += plain
    check('the frames do not end where the table begins', at == start)
    return frames


def check_frame(f, frame):
    at, _, _, plain = frame
    f.seek(at)
    magic = unpack('<I', f.read(4))[0]
    skippable = 0x184D2A50 <= magic <= 0x184D2A5F
    check('no frame at %d' % at, skippable or magic == FRAME_MAGIC)
    check('a skippable frame with data at %d' % at, not skippable or plain == 0)
    return skippable


def check_content(f, source, frame):
    at, stored, plain_at, plain = frame
    f.seek(at)
    out = subprocess.run(['zstd', '-dcq'], input=f.read(stored), stdout=subprocess.PIPE, check=True)
    source.seek(plain_at)
    check('other bytes at source offset %d' % plain_at, out.stdout == source.read(plain))


def main(path, source_path=None):
    with open(path, 'rb') as f:
        frames = read_table(f)
        data = [x for x in frames if not check_frame(f, x)]
        if source_path:
            with open(source_path, 'rb') as source:
                plain = frames[-1][2] + frames[-1][3] if frames else 0
                check('another length than the source', source.seek(0, 2) == plain)
                data = [x for x in data if x[3] <= BIG]
                picked = data if len(data) <= SAMPLE else (
                    data[:5] + random.Random(7).sample(data[5:-5], SAMPLE - 10) + data[-5:])
                for frame in picked:
                    check_content(f, source, frame)
    print(len(frames))


if __name__ == '__main__':
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
