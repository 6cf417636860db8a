#!/usr/bin/env python3
"""An independent reader of imgtool images, made from docs/image-format-v2.md alone.

    read_image.py list IMG [--json]     head, metadata, chunks, kinds, bad ranges
    read_image.py verify IMG            every check that the specification names
    read_image.py extract IMG OUT [--offset N] [--length N] [--zero-bad]
                                        the plain bytes, with holes where the image has them

It shares no line with src/format, so that the two check each other and the specification. Needs
Python 3.11 and the zstd command, and nothing else; a few MB/s. Exit status: 0 good, 2 usage, 3 no
such file, 5 a bad range is in the way, 7 damaged, 8 not an image, or a version or feature that is
not known.
"""
import argparse
import hashlib
import json
import sys
from collections import Counter
from struct import pack
from uuid import UUID

sys.dont_write_bytecode = True    # no __pycache__ in a source tree
from image_v2 import (CHNK_BYTES, KINDS, SEEK_MAGIC, TAIL_BYTES, Fault, Image, NotAnImage,
                      hole_frame, overlaps)

SEEK_FRAME_MAGIC, MAX_SEEK_FRAMES = 0x184D2A5E, 0x8000000                          # §6
DAMAGED, NOT_AN_IMAGE, BAD_RANGE, NOT_FOUND = 7, 8, 5, 3
META_BAD_RANGES = 10000                                                            # §8


class BadRange(Exception):
    """The bytes asked for could not be read when the image was made."""


# ---- verify ----------------------------------------------------------------------------------

def left_out(image):
    """The ranges whose content a rule left out, sorted (§8)."""
    try:
        files = image.head_text.get('exclude', {}).get('files', [])
        return sorted((offset + 0, length + 0) for f in files for offset, length in f['ranges'])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Fault(200, 'HEAD: exclude is not what it should be') from None


class Verifier:
    """Walks the whole image once; gathers the faults, and what TAIL and META say of the whole."""

    def __init__(self, image):
        self.image = image
        self.faults = []
        self.kinds = Counter()
        self.stored = 0
        self.bad_ranges = []
        self.root = hashlib.sha256(image.head_record.frame)
        self.sizes = [(image.head_record.end, 0)]    # of all frames, for the seek table
        self.left_out = left_out(image)

    def need(self, holds, offset, text):
        if not holds:
            self.faults.append(Fault(offset, text))

    def run(self):
        readable = all([self.guarded(self.chunk, i) for i in range(self.image.chunk_count)])
        if self.guarded(self.image.read_meta) and readable:
            self.guarded(self.whole)
        self.guarded(self.image.read_copy)
        self.guarded(self.head_text)
        return self.faults

    def guarded(self, function, *args):
        try:
            function(*args)
            return True
        except Fault as fault:
            self.faults.append(fault)
            return False

    def chunk(self, i):
        chunk = self.image.chunk(i)
        self.root.update(chunk.table.frame)
        self.bad_ranges += chunk.bad
        self.sizes.append((CHNK_BYTES, 0))
        for entry in chunk.entries:
            self.kinds[KINDS[entry.kind]] += entry.length
            self.stored += entry.stored
            self.sizes.append((entry.stored, entry.length))
            self.need(entry.kind in (1, 2) or not list(overlaps(self.left_out, entry)), entry.pos,
                      'HEAD: exclude lists what is neither data nor zero')
            if entry.kind != 1:
                self.need(self.image.read(entry.pos, entry.stored) == hole_frame(entry.length),
                          entry.pos, f'not the frame of a hole of {entry.length} bytes')
        self.sizes.append((chunk.table.end - chunk.table.pos, 0))
        for entry, plain, fault in self.image.blocks([e for e in chunk.entries if e.kind == 1]):
            if fault:
                self.faults.append(fault)
                continue
            for name, ranges in ('bad range', chunk.bad), ('left out', self.left_out):
                for offset, length in overlaps(ranges, entry):
                    start = offset - entry.offset
                    self.need(not any(plain[start:start + length]), entry.pos,
                              f'{name} {offset}+{length} is not stored as zeros')

    def whole(self):
        """What can be said only when every chunk could be read."""
        image, tail, at = self.image, self.image.tail, self.image.tail_record.pos + 40
        for i, kind in enumerate(KINDS.values()):
            self.need(self.kinds[kind] == getattr(tail, kind), at + 72 + 8 * i,
                      f'TAIL: {kind} bytes, {self.kinds[kind]} are there')
        bad_range_bytes = sum(length for _, length in self.bad_ranges)
        self.need(tail.bad_range_bytes == bad_range_bytes, at + 104,
                  f'TAIL: bad range bytes, {bad_range_bytes} are there')
        self.root.update(image.meta_record.frame)
        self.need(tail.root == self.root.digest(), at + 120, 'TAIL: root hash')
        wanted = {
            **{f'{kind}_bytes': self.kinds[kind] for kind in KINDS.values()},
            'stored_bytes': self.stored, 'chunks': image.chunk_count,
            'frames': sum(1 for _, plain in self.sizes if plain),
            'bad_ranges': [list(r) for r in self.bad_ranges[:META_BAD_RANGES]],
            'bad_range_count': len(self.bad_ranges), 'bad_range_bytes': bad_range_bytes,
        }
        for name, value in wanted.items():
            self.need(name in image.result and same(image.result[name], value),
                      image.meta_record.pos + 40, f'META: {name} is not {value}')
        self.seek_table()

    def seek_table(self):
        image, tail = self.image, self.image.tail
        copy_bytes = image.tail_record.pos - tail.copy_pos
        sizes = self.sizes + [(tail.index_bytes, 0), (tail.meta_bytes, 0), (copy_bytes, 0),
                              (TAIL_BYTES, 0)]
        wanted = b''
        if len(sizes) <= MAX_SEEK_FRAMES:
            frames = b''.join(pack('<II', *pair) for pair in sizes)
            wanted = (pack('<II', SEEK_FRAME_MAGIC, len(frames) + 9) + frames
                      + pack('<IBI', len(sizes), 0, SEEK_MAGIC))
        found = image.read(tail.seek_pos, tail.seek_bytes)
        self.need(len(found) == len(wanted), tail.seek_pos,
                  f'seek table: {len(found)} bytes, should have {len(wanted)}')
        wrong = [i for i, (a, b) in enumerate(zip(found, wanted)) if a != b]
        self.need(not wrong, tail.seek_pos + (wrong or [0])[0], 'seek table: not the frames there')

    def head_text(self):
        """The members of HEAD's text that HEAD says in binary too, and the list of exclude."""
        head, text = self.image.head, self.image.head_text
        end = 0
        for offset, length in self.left_out:
            self.need(end <= offset < offset + length <= head.source_bytes, 200,
                      f'HEAD: exclude: {offset}+{length} overlaps another or leaves the source')
            end = offset + length
        for group, name, value in (
                ('source', 'size_bytes', head.source_bytes),
                ('source', 'logical_bytes', head.logical_bytes),
                ('source', 'physical_bytes', head.physical_bytes),
                ('settings', 'hash', self.image.hash_name),
                ('settings', 'block_bytes', head.block_bytes),
                ('settings', 'chunk_bytes', head.chunk_bytes)):
            members = text.get(group, {})
            self.need(isinstance(members, dict) and same(members.get(name, value), value), 200,
                      f'HEAD: {group}.{name} of the text is not {value}')


def same(got, value):
    """Equal, and of the same type: JSON's 1.0 and true are not the integer 1 (§8)."""
    return json.dumps(got) == json.dumps(value)


def verify(args):
    image = Image(args.image)
    faults = Verifier(image).run()
    for fault in faults:
        print(f'{args.image}: {fault}')
    if not faults:
        print(f'{args.image}: OK, root hash {image.tail.root.hex()}')
    return DAMAGED if faults else 0


# ---- list ------------------------------------------------------------------------------------

def describe(image):
    head, tail = image.head, image.tail
    chunks, bad = [], []
    for i in range(image.chunk_count):
        chunk = image.chunk(i)
        kinds, frames = Counter(), Counter()
        for entry in chunk.entries:
            kinds[KINDS[entry.kind]] += entry.length
            frames[KINDS[entry.kind]] += 1
        chunks.append({
            'number': i, 'offset': chunk.offset, 'length': chunk.length, 'position': chunk.pos,
            'table_position': chunk.table.pos,
            'stored': chunk.table.pos - chunk.pos - CHNK_BYTES, 'bytes': kinds, 'frames': frames})
        bad += [list(r) for r in chunk.bad]
    return {
        'version': f'{head.major}.{head.minor}', 'uuid': str(UUID(bytes=head.uuid)),
        'source_bytes': head.source_bytes, 'chunk_bytes': head.chunk_bytes,
        'block_bytes': head.block_bytes, 'logical_bytes': head.logical_bytes,
        'physical_bytes': head.physical_bytes, 'hash': image.hash_name, 'created': head.created,
        'incompat': head.incompat, 'ro_compat': head.ro_compat, 'compat': head.compat,
        'map_digest': head.map_digest.hex(), 'parent': str(UUID(bytes=head.parent)),
        'parent_root': head.parent_root.hex(), 'root': tail.root.hex(),
        'file_bytes': image.size, 'positions': {
            'INDX': tail.index_pos, 'META': tail.meta_pos, 'COPY': tail.copy_pos,
            'TAIL': image.tail_record.pos, 'seek table': tail.seek_pos},
        'bytes': {kind: getattr(tail, kind) for kind in KINDS.values()},
        'bad_range_bytes': tail.bad_range_bytes, 'text': image.head_text, 'result': image.result,
        'chunks': chunks, 'bad_ranges': bad,
    }


def list_image(args):
    image = Image(args.image)
    image.read_meta()
    facts = describe(image)
    if args.json:
        print(json.dumps(facts, indent=1))
        return 0
    chunks, bad = facts.pop('chunks'), facts.pop('bad_ranges')
    for name, value in facts.items():
        print(f'{name:17}{json.dumps(value) if isinstance(value, dict) else value}')
    for chunk in chunks:
        kinds = ', '.join(f'{kind} {n} in {chunk["frames"][kind]}'
                          for kind, n in chunk['bytes'].items())
        print('chunk {number}: source {offset}+{length}, file {position}, '.format(**chunk)
              + f'stored {chunk["stored"]}: {kinds}')
    for offset, length in bad:
        print(f'bad range {offset}+{length}')
    return 0


# ---- extract ---------------------------------------------------------------------------------

def extract(args):
    image = Image(args.image)
    image.read_meta()
    size = image.head.source_bytes
    start = args.offset
    end = size if args.length is None else start + args.length
    if not 0 <= start <= end <= size:
        print(f'{args.image}: the source has {size} bytes', file=sys.stderr)
        return 2
    first, last = start // image.head.chunk_bytes, -(-end // image.head.chunk_bytes)
    chunks = [image.chunk(i) for i in range(first, last)] if start < end else []
    bad = [r for chunk in chunks for r in chunk.bad if r[0] < end and start < r[0] + r[1]]
    # Before OUT is touched. Never zeros unasked: they would pass for the source's (§3.3).
    if bad and not args.zero_bad:
        raise BadRange(f'{len(bad)} bad ranges, the first {bad[0][0]}+{bad[0][1]}; see --zero-bad')
    with open(args.out, 'wb') as out:
        out.truncate(end - start)    # what is not written below, the holes, reads as zeros
        for chunk in chunks:
            wanted = [e for e in chunk.entries
                      if e.kind == 1 and e.offset < end and start < e.offset + e.length]
            for entry, plain, fault in image.blocks(wanted):
                if fault:
                    raise fault
                skip = max(0, start - entry.offset)
                out.seek(entry.offset + skip - start)
                out.write(plain[skip:end - entry.offset])
    return 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    commands = parser.add_subparsers(required=True)
    for name, function in ('list', list_image), ('verify', verify), ('extract', extract):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument('image', metavar='IMG')
        if name == 'list':
            command.add_argument('--json', action='store_true')
        if name == 'extract':
            command.add_argument('out', metavar='OUT')
            command.add_argument('--offset', type=int, default=0)
            command.add_argument('--length', type=int)
            command.add_argument('--zero-bad', action='store_true')
    return parser.parse_args()


def main():
    args = arguments()
    try:
        return args.function(args)
    except (Fault, NotAnImage, BadRange, FileNotFoundError) as problem:
        print(f'{args.image}: {problem}', file=sys.stderr)
        return {Fault: DAMAGED, NotAnImage: NOT_AN_IMAGE, BadRange: BAD_RANGE,
                FileNotFoundError: NOT_FOUND}[type(problem)]


if __name__ == '__main__':
    sys.exit(main())
