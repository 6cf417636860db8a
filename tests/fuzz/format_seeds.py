#!/usr/bin/env python3
"""Make the seeds of the fuzz targets of the image format from the golden images.

    tests/fuzz/format_seeds.py

Walks the frames of each image (RFC 8878, 3.1.2: a skippable frame has its length behind its magic
number) and puts the bodies of records, and some block frames, into tests/fuzz/corpus.
"""
import os
import subprocess
from struct import pack, unpack_from

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
RECORD, TABLE = 0x184D2A5D, 0x184D2A5E
# The number that layout_tabl_fuzz has for the head of an image.
HEADS = {'v2.0-mixed.img.zst': 0, 'v2.0-sha256.img.zst': 1}

# Section 8 of the specification: everything that a reader looks at, and the same as what it is not.
ALL_MEMBERS = (b'{"tool":"t","created":"2026-01-02T03:04:05Z","host":"h","source":{"path":"p",'
               b'"kind":"disk","model":"m","serial":"s","wwn":"w","size_bytes":1,'
               b'"logical_bytes":512,"physical_bytes":4096,"disk":{"table":"gpt","id":"i"},'
               b'"partition":{"number":1,"type":"t","guid":"g","name":"n","start_bytes":0},'
               b'"file_system":{"type":"ext4","label":"l","uuid":"u"}},"map":{"kind":"used",'
               b'"reason":"r","note":"n"},"settings":{"level":3,"hash":"sha256",'
               b'"block_bytes":65536,"chunk_bytes":1048576,"on_read_error":"zero"},'
               b'"result":{"bad_ranges":[[1,2]],"bad_range_count":1}}')
WRONG_TYPES = (b'{"source":{"serial":{"a":[1]},"wwn":5,"disk":5,"partition":[],"file_system":"x"},'
               b'"map":true,"settings":{"level":[],"on_read_error":3},"result":{"bad_ranges":'
               b'{"a":"b"},"bad_range_count":"x"},"tool":[[]],"host":1e999}')


def put(target, name, data):
    folder = os.path.join(TOP, 'fuzz', 'corpus', target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), 'wb') as f:
        f.write(data)


def zstd_frame_length(image, at):
    """RFC 8878, 3.1.1: header, then blocks up to the last one, then the checksum."""
    descriptor = image[at + 4]
    single = descriptor >> 5 & 1
    size = (single, 2, 4, 8)[descriptor >> 6]
    end = at + 5 + (1 - single) + size
    plain = int.from_bytes(image[end - size:end], 'little') + (256 if size == 2 else 0)
    while True:
        header = int.from_bytes(image[end:end + 3], 'little')
        end += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        if header & 1:
            return end - at + (4 if descriptor & 4 else 0), plain


def seeds_of(name, image):
    at, head_len, numbers = 0, 0, {}
    while at < len(image):
        magic, length = unpack_from('<II', image, at)
        if magic == RECORD:
            kind = image[at + 12:at + 16].decode().lower()
            body = image[at + 40:at + 40 + unpack_from('<I', image, at + 32)[0]]
            number = numbers[kind] = numbers.get(kind, -1) + 1
            if kind == 'head':
                head_len = 8 + length
            if kind == 'tabl' and name in HEADS:
                body = bytes([HEADS[name]]) + body
            if kind == 'indx':
                body = pack('<QQ', head_len, at) + body
            if kind in ('head', 'chnk', 'indx', 'tail') or (kind == 'tabl' and name in HEADS):
                put('layout_' + kind, '%s-%d' % (name.split('.img')[0], number), body)
            if kind in ('head', 'meta'):
                text = body[160:] if kind == 'head' else body
                put('meta', '%s-%s' % (name.split('.img')[0], kind), text)
            at += 8 + length
        elif magic == TABLE:
            put('seek', name.split('.img')[0], image[at - 208:])
            at += 8 + length
        else:
            stored, plain = zstd_frame_length(image, at)
            number = numbers['frame'] = numbers.get('frame', -1) + 1
            if number < 3 and plain <= 1 << 20:
                put('unpacker', '%s-%d' % (name.split('.img')[0], number),
                    pack('<I', plain - 1) + image[at:at + stored])
            at += stored


def main():
    golden = os.path.join(TOP, 'golden')
    for name in sorted(os.listdir(golden)):
        with open(os.path.join(golden, name), 'rb') as f:
            image = f.read()
        seeds_of(name, image)
        put('image_open', name.split('.img')[0], image)
        put('recover', name.split('.img')[0], image)
        put('recover', name.split('.img')[0] + '-cut', image[:len(image) * 2 // 3])
    put('meta', 'all-members', ALL_MEMBERS)
    put('meta', 'wrong-types', WRONG_TYPES)
    for i, text in enumerate((b'a', b'seek ' * 40, bytes(range(256)) * 8)):
        frame = subprocess.run(['zstd', '-qc', '--content-size', '--stream-size=%d' % len(text)],
                               input=text, stdout=subprocess.PIPE, check=True).stdout
        put('unpacker', 'text-%d' % i, pack('<I', len(text) - 1) + frame)


if __name__ == '__main__':
    main()
