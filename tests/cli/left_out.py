"""What HEAD says that content rules left out, held against the tables and blocks of an image.

    left_out.py IMAGE

docs/image-format-v2.md, 8: the ranges lie inside the source, do not overlap, lie in zero and data
entries only, and are zeros there. Exit status 1, with a line that says where, when that is not so.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../scripts'))
sys.dont_write_bytecode = True
from read_image import Image, overlaps  # noqa: E402 pylint: disable=wrong-import-position


def need(holds, text):
    if not holds:
        sys.exit('left_out.py: ' + text)


def left_out(image):
    files = json.loads(image.text).get('exclude', {}).get('files', [])
    end, ranges = 0, sorted(r for f in files for r in f['ranges'])
    for offset, length in ranges:
        need(end <= offset < offset + length <= image.head.source_bytes,
             f'{offset}+{length} overlaps another or leaves the source')
        end = offset + length
    return ranges


def main(path):
    image = Image(path)
    ranges = left_out(image)
    for chunk in image.chunks:
        here = overlaps(ranges, chunk.offset, chunk.length)
        for entry in chunk.entries:
            need(entry.kind in ('data', 'zero') or not overlaps(here, entry.offset, entry.length),
                 f'an entry of kind {entry.kind} at {entry.offset} is said to be left out')
        for entry, plain in image.blocks(chunk.entries):
            for offset, length in overlaps(here, entry.offset, entry.length):
                start = offset - entry.offset
                need(not any(plain[start:start + length]), f'{offset}+{length} is not zeros')


main(sys.argv[1])
