"""imgtool images of version 2: the records, their checks, and the plain bytes of the blocks.

Made from docs/image-format-v2.md alone, without a look at src/format, so that the two check each
other and the specification; a "§" below is a section of that page. For read_image.py. Needs Python
3.11, its standard library, and the zstd command. Files are only read.

Whatever does not hold is raised as a Fault that names the field and its offset in the file.
"""
import hashlib
import json
import os
import subprocess
from bisect import bisect_right
from collections import namedtuple
from itertools import accumulate
from struct import pack, unpack, unpack_from

import xxh3

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
ALIGN = 4096
RECORD_MAGIC, SEEK_MAGIC = 0x184D2A5D, 0x8F92EAB1
ZSTD_MAGIC = 0xFD2FB528
MAX_CHUNKS = 1 << 20
CHNK_BYTES, TAIL_BYTES = 56 + 40, 56 + 152
MAX_BODY = {b'HEAD': MIB, b'CHNK': 40, b'TABL': 5 * MIB, b'INDX': 48 * MIB + 8, b'META': 16 * MIB,
            b'COPY': MIB, b'TAIL': 152}                                                          # §3
KINDS = {1: 'data', 2: 'zero', 3: 'free', 4: 'bad'}                                # §3.3
HASHES = {1: ('xxh3-128', 16, xxh3.digest),
          2: ('sha256', 32, lambda data: hashlib.sha256(data).digest())}           # §3.1
MAX_HOLE = 512 * MIB
HOLE_STEP = 128 * KIB                                                              # §5
# How much plain data one zstd process is given: enough to forget the cost of starting it.
BATCH_BYTES = 32 * MIB


class Fault(Exception):
    """Something in the image does not hold; offset is where in the file."""

    def __init__(self, offset, text):
        super().__init__(f'at {offset}: {text}')


class NotAnImage(Exception):
    """Not an image, or one that this version of the format says nothing about."""


Record = namedtuple('Record', 'pos end body checksum frame')
Entry = namedtuple('Entry', 'kind offset length pos stored hash')
Chunk = namedtuple('Chunk', 'number offset length pos table entries bad')
Head = namedtuple('Head', '''major minor reserved incompat ro_compat compat uuid source_bytes
    chunk_bytes block_bytes logical_bytes physical_bytes hash reserved2 created map_digest parent
    parent_root text_bytes reserved3''')
Tail = namedtuple('Tail', '''file_bytes chunks head_bytes index_pos index_bytes meta_pos meta_bytes
    seek_pos seek_bytes data zero free bad bad_range_bytes copy_pos root''')
IndexEntry = namedtuple('IndexEntry', 'pos table_pos table_bytes entries data_bytes checksum')


def need(holds, offset, text):
    if not holds:
        raise Fault(offset, text)


def power_of_two(n, least, most):
    return n & (n - 1) == 0 and least <= n <= most


def hole_frame(n):
    """The one way to store a hole of n bytes (§5)."""
    full, rest = divmod(n - 1, HOLE_STEP)
    blocks = pack('<I', 2 + HOLE_STEP * 8) * full + pack('<I', 1 + 2 + (rest + 1) * 8)
    return pack('<IBBI', ZSTD_MAGIC, 0x80, 0x38, n) + blocks


def check_block_frame(frame, n, pos):
    """A data block is exactly one zstd frame of the form that §4 asks for. The blocks are counted
    off here, because the zstd command, given many frames, does not say where each one ends."""
    need(len(frame) >= 6 and unpack_from('<I', frame)[0] == ZSTD_MAGIC, pos, 'not a zstd frame')
    flags, at, window = frame[4], 5, n
    need(flags & 8 == 0, pos, 'zstd frame with its reserved bit set')
    need(flags & 4, pos, 'zstd frame without content checksum')
    need(flags & 3 == 0, pos, 'zstd frame with a dictionary')
    if not flags & 0x20:
        base = 1 << (10 + (frame[5] >> 3))
        window, at = base + base // 8 * (frame[5] & 7), 6
    width = (1 if flags & 0x20 else 0, 2, 4, 8)[flags >> 6]
    need(width, pos, 'zstd frame without content size')
    size = int.from_bytes(frame[at:at + width], 'little') + (256 if width == 2 else 0)
    need(size == n, pos, f'zstd frame of {size} bytes, the block has {n}')
    need(window <= 16 * MIB, pos, f'zstd window of {window} bytes')
    at, last = at + width, 0
    while not last:
        need(at + 3 <= len(frame), pos, 'zstd frame longer than its entry says')
        block = int.from_bytes(frame[at:at + 3], 'little')
        last, rle = block & 1, block >> 1 & 3 == 1
        at += 3 + (1 if rle else block >> 3)
    need(at + 4 == len(frame), pos, 'zstd frame of another length than its entry says')


def decompress(frames, lengths):
    """The plain bytes of each frame, None for one that zstd refuses. One process for all; when it
    finds a fault, each half for itself, until the frame is found."""
    done = subprocess.run(['zstd', '-dcq'], input=b''.join(frames), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    if done.returncode == 0 and len(done.stdout) == sum(lengths):
        plain = memoryview(done.stdout)
        return [plain[end - n:end] for end, n in zip(accumulate(lengths), lengths)]
    if len(frames) == 1:
        return [None]
    half = len(frames) // 2
    return decompress(frames[:half], lengths[:half]) + decompress(frames[half:], lengths[half:])


class Image:
    """An open image: HEAD, TAIL and INDX read and held against each other (§7); META and
    COPY by functions of their own, so that a damaged one does not hide the rest."""

    def __init__(self, path):
        self.file = open(path, 'rb')
        self.size = self.file.seek(0, os.SEEK_END)
        start = self.read(0, 16)
        if len(start) < 16 or start[:4] != pack('<I', RECORD_MAGIC) or start[8:] != b'IMGTHEAD':
            raise NotAnImage('does not begin with a HEAD')
        self.run = self.read(40 + 32, 8)    # from HEAD's UUID; HEAD's own run is held against it
        self.read_head()
        self.read_tail()
        self.read_index()

    def read(self, pos, n):
        self.file.seek(pos)
        return self.file.read(n)

    def record(self, pos, kind, length=None):
        """§3: what a reader refuses; length is what another record says of this one's frame."""
        name = kind.decode()
        start = self.read(pos, 40)
        need(len(start) == 40, pos, f'{name}: beyond the end of the file')
        magic, size, signature, got, position, run, n, p = unpack('<II4s4sQ8sII', start)
        need(magic == RECORD_MAGIC, pos, f'{name}: frame magic')
        need(signature == b'IMGT', pos + 8, f'{name}: signature')
        need(got == kind, pos + 12, f'{name}: type {got!r}')
        need(position == pos, pos + 16, f'{name}: position {position}')
        need(run == self.run, pos + 24, f'{name}: run {run.hex()}')
        need(n <= MAX_BODY[kind], pos + 32, f'{name}: body length {n}')
        padded = kind in (b'HEAD', b'TABL')
        need(p < ALIGN if padded else p == 0, pos + 36, f'{name}: padding length {p}')
        need(size == 48 + n + p, pos + 4, f'{name}: frame size {size}')
        end = pos + 8 + size
        need(length in (None, end - pos), pos, f'{name}: {end - pos} bytes, elsewhere {length}')
        need(end <= self.size, pos, f'{name}: beyond the end of the file')
        frame = self.read(pos, end - pos)
        need(not any(frame[40 + n:40 + n + p]), pos + 40 + n, f'{name}: padding not zero')
        need(xxh3.digest(frame[:-16]) == frame[-16:], pos, f'{name}: checksum')
        need(not padded or end % ALIGN == 0, pos, f'{name}: does not end at a multiple of {ALIGN}')
        return Record(pos, end, frame[40:40 + n], frame[-16:], frame)

    def read_head(self):                                                           # §3.1
        self.head_record = record = self.record(0, b'HEAD')
        need(len(record.body) >= 4, 32, 'HEAD: body length')
        if unpack_from('<H', record.body)[0] != 2:
            raise NotAnImage(f'major version {unpack_from("<H", record.body)[0]}')
        need(len(record.body) >= 160, 32, 'HEAD: body length')
        self.head = h = Head(*unpack_from('<HHIQQQ16sQQIIIB3sQ16s16s32sII', record.body))
        if h.incompat:
            raise NotAnImage(f'unknown features {h.incompat:#x}')
        need(h.reserved == 0, 44, 'HEAD: reserved')
        need(any(h.uuid), 72, 'HEAD: UUID')
        need(h.source_bytes <= 1 << 52, 88, f'HEAD: source size {h.source_bytes}')
        need(power_of_two(h.block_bytes, 4 * KIB, 16 * MIB), 104, f'HEAD: block {h.block_bytes}')
        blocks, rest = divmod(h.chunk_bytes, h.block_bytes)
        need(rest == 0 and 1 <= blocks <= 65536 and h.chunk_bytes <= 4 * GIB, 96,
             f'HEAD: chunk size {h.chunk_bytes}')
        for at, size in (108, h.logical_bytes), (112, h.physical_bytes):
            need(power_of_two(size, 512, 64 * KIB), at, f'HEAD: sector size {size}')
        need(h.hash in HASHES, 116, f'HEAD: hash {h.hash}')
        need(not any(h.reserved2), 117, 'HEAD: reserved')
        need(len(record.body) == 160 + h.text_bytes, 192, f'HEAD: text length {h.text_bytes}')
        need(h.reserved3 == 0, 196, 'HEAD: reserved')
        self.chunk_count = -(-h.source_bytes // h.chunk_bytes)
        need(self.chunk_count <= MAX_CHUNKS, 96, f'HEAD: {self.chunk_count} chunks')
        self.head_text = self.json_object(record, 160)
        self.hash_name, self.hash_bytes, self.hash = HASHES[h.hash]

    def json_object(self, record, at):                                             # §8
        try:
            value = json.loads(record.body[at:].decode('utf-8'))
        except ValueError as error:    # bad UTF-8 is a ValueError as well
            raise Fault(record.pos + 40 + at, f'text is not JSON: {error}') from error
        need(isinstance(value, dict), record.pos + 40 + at, 'text is not a JSON object')
        return value

    def read_tail(self):                                                           # §3.7, §6
        seek_bytes, footer = 0, self.read(max(0, self.size - 9), 9)
        if footer[-4:] == pack('<I', SEEK_MAGIC):
            seek_bytes = 17 + 8 * unpack_from('<I', footer)[0]
        pos = self.size - seek_bytes - TAIL_BYTES
        # §10: a missing TAIL is the ordinary case of an image that a crash left behind.
        need(pos >= 0 and self.read(pos, 4) == pack('<I', RECORD_MAGIC), max(0, pos),
             'no TAIL at the end: incomplete, cut off, or with something behind it')
        self.tail_record = record = self.record(pos, b'TAIL')
        need(len(record.body) == 152, pos + 32, 'TAIL: body length')
        self.tail = t = Tail(*unpack('<15Q32s', record.body))
        for at, name, value in (
                (0, 'file_bytes', self.size), (8, 'chunks', self.chunk_count),
                (16, 'head_bytes', self.head_record.end),
                (40, 'meta_pos', t.index_pos + t.index_bytes),
                (56, 'seek_pos', record.end), (64, 'seek_bytes', seek_bytes),
                (112, 'copy_pos', t.meta_pos + t.meta_bytes)):
            need(getattr(t, name) == value, pos + 40 + at, f'TAIL: {name} is not {value}')
        need(t.data + t.zero + t.free + t.bad == self.head.source_bytes, pos + 112,
             'TAIL: the kinds do not add up to the source size')
        need(t.bad_range_bytes >= t.bad, pos + 144, 'TAIL: bad range bytes')

    def read_index(self):                                                          # §3.4
        t = self.tail
        self.index_record = record = self.record(t.index_pos, b'INDX', t.index_bytes)
        body, at = record.body, record.pos + 40
        need(len(body) == 8 + 48 * self.chunk_count, record.pos + 32, 'INDX: body length')
        need(unpack_from('<Q', body)[0] == self.chunk_count, at, 'INDX: number of chunks')
        self.index = [IndexEntry(*unpack_from('<QQIIQ16s', body, 8 + 48 * i))
                      for i in range(self.chunk_count)]
        end = t.head_bytes
        for i, entry in enumerate(self.index):
            need(entry.pos == end and entry.table_pos >= end + CHNK_BYTES, at + 8 + 48 * i,
                 f'INDX: chunk {i} is not behind the one before')
            end = entry.table_pos + entry.table_bytes
        need(end == record.pos, record.pos, 'INDX: not where the last chunk ends')
        need(sum(entry.data_bytes for entry in self.index) == t.data, at, 'INDX: data bytes')

    def read_meta(self):                                                           # §3.5, §8
        t = self.tail
        self.meta_record = record = self.record(t.meta_pos, b'META', t.meta_bytes)
        meta, at = self.json_object(record, 0), record.pos + 40
        need(meta.get('header') == self.head_text, at, "META: header is not HEAD's text")
        self.result = meta.get('result')
        need(isinstance(self.result, dict), at, 'META: no result')

    def read_copy(self):                                                           # §3.6
        pos = self.tail.copy_pos
        copy = self.record(pos, b'COPY', self.tail_record.pos - pos)
        need(copy.body == self.head_record.body, pos + 40, 'COPY: not the body of HEAD')

    def chunk(self, i):
        """CHNK and TABL of a chunk (§3.2, §3.3), without a look at its frames."""
        head, index = self.head, self.index[i]
        offset = i * head.chunk_bytes
        length = min(head.chunk_bytes, head.source_bytes - offset)
        before = (self.index[i - 1].table_pos, self.index[i - 1].table_bytes) if i else (0, 0)
        chnk = self.record(index.pos, b'CHNK', CHNK_BYTES)
        wanted = pack('<QQQQII', i, offset, length, *before, 0)
        need(chnk.body == wanted, chnk.pos + 40, f'CHNK: the fields of chunk {i}')
        tabl = self.record(index.table_pos, b'TABL', index.table_bytes)
        at, width = tabl.pos + 40, 12 + self.hash_bytes
        need(tabl.checksum == index.checksum, tabl.end - 16, 'TABL: not the checksum in INDX')
        need(len(tabl.body) >= 40, tabl.pos + 32, 'TABL: body length')
        *place, stored, count, ranges = unpack_from('<QQQQII', tabl.body)
        need(place == [i, offset, length], at, f'TABL: the place of chunk {i}')
        need(stored == tabl.pos - chnk.end, at + 24, f'TABL: stored length {stored}')
        need(count == index.entries and 1 <= count <= -(-length // head.block_bytes), at + 32,
             f'TABL: {count} entries')
        need(ranges <= 65536, at + 36, f'TABL: {ranges} bad ranges')
        need(len(tabl.body) == 40 + count * width + 16 * ranges, tabl.pos + 32, 'TABL: body length')
        entries, source, pos = [], offset, chnk.end
        for k in range(count):
            entry = self.entry(tabl, 40 + k * width, source, pos, offset + length)
            entries.append(entry)
            source, pos = source + entry.length, pos + entry.stored
        need(source == offset + length, at + 40, 'TABL: the blocks are not those of the chunk')
        need(pos == tabl.pos, at + 40, 'TABL: the stored sizes are not the stored length')
        data = sum(entry.length for entry in entries if entry.kind == 1)
        need(data == index.data_bytes, tabl.pos, f'TABL: {data} data bytes, INDX says otherwise')
        chunk = Chunk(i, offset, length, chnk.pos, tabl, entries,
                      self.bad_ranges(tabl, 40 + count * width, offset, offset + length))
        self.check_bad_ranges(chunk)
        return chunk

    def entry(self, tabl, at, source, pos, end):
        """The entry at a place of TABL's body, for the source offset and file offset reached."""
        kind, zeros, blocks, stored = unpack_from('<B3sII', tabl.body, at)
        digest, at = tabl.body[at + 12:at + 12 + self.hash_bytes], tabl.pos + 40 + at
        need(kind in KINDS, at, f'entry: kind {kind}')
        need(not any(zeros), at + 1, 'entry: reserved')
        block = self.head.block_bytes
        # The last block of the source may be shorter, and only that one.
        need(blocks >= 1 and source + (blocks - 1) * block < end, at + 4, f'entry: {blocks} blocks')
        length = min(blocks * block, end - source)
        if kind == 1:
            need(blocks == 1, at + 4, f'entry: {blocks} data blocks')
            most = length + length // 256 + 64 * KIB                               # §4
            need(stored <= most, at + 8, f'entry: stored {stored}')
        else:
            need(length <= MAX_HOLE, at + 4, f'entry: a hole of {length} bytes')
            exact = 10 + 4 * -(-length // HOLE_STEP)                               # §5
            need(stored == exact, at + 8, f'entry: stored {stored}')
            need(not any(digest), at + 12, 'entry: a hole has a hash')
        return Entry(kind, source, length, pos, stored, digest)

    def bad_ranges(self, tabl, at, start, end):
        ranges = [unpack_from('<QQ', tabl.body, i) for i in range(at, len(tabl.body), 16)]
        limit = start    # a range must begin behind the one before, without touching it
        for i, (offset, length) in enumerate(ranges):
            need(length > 0 and limit <= offset and offset + length <= end,
                 tabl.pos + 40 + at + 16 * i, f'bad range {offset}+{length}')
            limit = offset + length + 1
        return ranges

    def check_bad_ranges(self, chunk):
        """Bad entries are covered; the rest of the ranges lies in data entries only (§3.3)."""
        for entry in chunk.entries:
            covered = sum(n for _, n in overlaps(chunk.bad, entry))
            holds = entry.kind == 1 or covered == (entry.length if entry.kind == 4 else 0)
            need(holds, chunk.table.pos, f'{KINDS[entry.kind]} entry of source offset '
                 f'{entry.offset}: {covered} of its bytes are in bad ranges')

    def blocks(self, entries):
        """Each data entry with its plain bytes, which are right, or the Fault."""
        batch, size = [], 0
        for entry in entries:
            if batch and size + entry.length > BATCH_BYTES:
                yield from self.block_batch(batch)
                batch, size = [], 0
            batch.append(entry)
            size += entry.length
        if batch:
            yield from self.block_batch(batch)

    def block_batch(self, batch):
        faults, frames, lengths = {}, [], []
        for entry in batch:
            frame = self.read(entry.pos, entry.stored)
            try:
                check_block_frame(frame, entry.length, entry.pos)
                frames.append(frame)
                lengths.append(entry.length)
            except Fault as fault:
                faults[entry] = fault
        plains = iter(decompress(frames, lengths) if frames else [])
        for entry in batch:
            plain = None if entry in faults else next(plains)
            if entry not in faults and plain is None:
                faults[entry] = Fault(entry.pos, 'zstd refuses the frame')
            elif entry not in faults and self.hash(plain) != entry.hash:
                faults[entry] = Fault(entry.pos, 'the block has another hash than its entry')
            yield entry, plain, faults.get(entry)


def overlaps(ranges, entry):
    """The parts of sorted ranges that lie in an entry: (offset, length)."""
    end = entry.offset + entry.length
    for offset, length in ranges[max(0, bisect_right(ranges, (entry.offset,)) - 1):]:
        if offset >= end:
            break
        if offset + length > entry.offset:
            start = max(offset, entry.offset)
            yield start, min(offset + length, end) - start
