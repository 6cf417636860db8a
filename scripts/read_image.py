#!/usr/bin/env python3
"""An independent reader of imgtool images, made from docs/image-format-v2.md alone.

    read_image.py list IMG [--json]     head, tail, metadata, chunks, bad ranges
    read_image.py verify IMG            every check that the specification asks of a reader
    read_image.py extract IMG OUT [--offset N] [--length N] [--zero-bad]    the plain bytes

It shares no line with src/: the two check each other and the specification ("§": a section of it).
Needs Python 3.11 and zstd alone; some 20 MB/s. Exit status: 0 good, 2 usage, 3 no such file,
5 a bad range is in the way, 7 damaged, 8 not an image, or its version or a feature is not known."""
import argparse, base64, hashlib, json, subprocess, sys, tempfile
from collections import deque, namedtuple
from operator import mul
from struct import iter_unpack, pack, unpack, unpack_from

# ---- XXH3-128, seed 0 (§1), from doc/xxhash_spec.md of the xxHash project -----------------------
SECRET = base64.b64decode('''uP5sOSOkS758AYEs9yGtHN7UbemDkJfbckCkpLezZx/LeeZOzMDleIJa0H3M/3IhuAhG
  dPdDJI7gNZDmgTomTDwoUruRwwDLiNBlixtTLqNxZEiXog35TjgZ70ap3qzYqPp2P+OcND/53LvHxwtPHYpR4EvNtFkxyJ9
  +ydl4c2TqxayDNNPrw8WBoP/6E2PrFw3dUbfw2knTFlUmKdRonisWvlh9R6H8j/i40XrQMc5FyzqPlRYEKK/X+8q7S0B+''')
BLOCK_KEY = b''.join(SECRET[at:at + 64] for at in range(0, 128, 8))    # for 16 stripes
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5, M32, M64 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5, (1 << 32) - 1, (1 << 64) - 1
MX, MX64 = ((37, 0x165667919E3779F9), (32, 1)), ((33, P64_2), (29, P64_3), (32, 1))

def stir(x, steps):    # an avalanche: each step shifts and multiplies
    for shift, factor in steps:
        x = (x & M64 ^ (x & M64) >> shift) * factor
    return x & M64
def fold(a, b):
    return (a * b & M64) ^ (a * b >> 64)
def hash_0to16(data):    # like the others, the low half and the high one
    n, words = len(data), unpack('<12Q', SECRET[:96])
    keys = [a ^ b for a, b in zip(words[::2], words[1::2])]
    if n > 8:
        first, last = unpack('<2Q', data[:8] + data[-8:])
        product, value = (keys[2] ^ first ^ last) * P64_1, keys[3] ^ last
        high = (product >> 64) + value + (value & M32) * (P32_2 - 1) & M64
        low = product + (n - 1 << 54) & M64 ^ int.from_bytes(pack('<Q', high), 'big')
        product = (low | high << 64) * P64_2
        return stir(product, MX), stir(product >> 64, MX)
    if n > 3:
        product = (keys[1] ^ unpack('<Q', data[:4] + data[-4:])[0]) * (P64_1 + (n << 2))
        high = (product >> 64) + (product << 1) & M64
        return stir(product ^ high >> 3, ((35, 0x9FB21C651E98DF25), (28, 1))), stir(high, MX)
    if n > 0:
        low = data[-1] | n << 8 | data[0] << 16 | data[n >> 1] << 24
        high = (int.from_bytes(pack('<I', low), 'big') << 13) % M32    # rotated
        keys[4:] = ((x ^ x >> 32) & M32 ^ half for x, half in zip(words, (low, high)))
    return stir(keys[4], MX64), stir(keys[5], MX64)
def hash_17to240(data):
    n, sums = len(data), [len(data) * P64_1, 0]
    if n <= 128:    # pairs of 16 bytes from both ends, the innermost first
        pairs = [(at, n - at - 16, 2 * at) for at in reversed(range(0, (n + 1) // 2, 16))]
    else:
        pairs = [(at, at + 16, at - (125 if at >= 128 else 0)) for at in range(0, n - 31, 32)]
        pairs.append((n - 16, n - 32, 103))
    for number, (one, two, key) in enumerate(pairs):
        for i, at, other in (0, one, two), (1, two, one):
            (a, b), (c, d) = unpack_from('<2Q', data, at), unpack_from('<2Q', SECRET, key + 16 * i)
            sums[i] = (sums[i] + fold(a ^ c, b ^ d) ^ sum(unpack_from('<2Q', data, other))) & M64
        if n > 128 and number == 3:
            sums = [stir(x, MX) for x in sums]
    high = sums[0] * P64_1 + sums[1] * P64_4 + n * P64_2
    return stir(sums[0] + sums[1], MX), -stir(high, MX) & M64
def hash_long(data):    # additions can change places: the 8 lanes of a part are summed up at once
    n, sums = len(data), [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    end, to = (n - 1) // 1024 * 1024, (n - 1) // 64 * 64    # of blocks, of stripes; never all
    parts = [(data[at:at + 1024], BLOCK_KEY) for at in range(0, end, 1024)]
    for part, key in *parts, (data[end:to], BLOCK_KEY[:to - end]), (data[-64:], SECRET[121:185]):
        keyed = int.from_bytes(part, 'little') ^ int.from_bytes(key, 'little')
        halves = unpack(f'<{len(part) // 4}I', keyed.to_bytes(len(part), 'little'))
        words = unpack(f'<{len(part) // 8}Q', part)
        sums = [x + sum(map(mul, halves[2 * i::16], halves[2 * i + 1::16])) + sum(words[i ^ 1::8])
                & M64 for i, x in enumerate(sums)]
        if len(part) == 1024:
            key = unpack('<8Q', SECRET[128:])
            sums = [(x ^ x >> 47 ^ k) * P32_1 & M64 for x, k in zip(sums, key)]
    low, high = (sum(fold(*(sums[i + j] ^ key[i + j] for j in (0, 1))) for i in range(0, 8, 2))
                 for key in (unpack_from('<8Q', SECRET, at) for at in (11, 117)))
    return stir(n * P64_1 + low, MX), stir(~(n * P64_2) + high, MX)
def xxh3(data):
    halves = hash_0to16 if len(data) <= 16 else hash_17to240 if len(data) <= 240 else hash_long
    return pack('>QQ', *halves(data)[::-1])

# ---- What an image is made of --------------------------------------------------------------------
MIB, RLE_BYTES, MAX_SEEK_FRAMES = 1 << 20, 1 << 17, 0x8000000
RECORD_MAGIC, ZSTD_MAGIC, SEEK_FRAME_MAGIC, SEEK_MAGIC = (
    pack('<I', n) for n in (0x184D2A5D, 0xFD2FB528, 0x184D2A5E, 0x8F92EAB1))
LIMITS = dict(HEAD=MIB, CHNK=40, TABL=5*MIB, INDX=48*MIB + 8, META=16*MIB, COPY=MIB, TAIL=152)
KINDS = {1: 'data', 2: 'zero', 3: 'free', 4: 'bad'}
HASHES = {1: ('xxh3-128', 16, xxh3), 2: ('sha256', 32, lambda b: hashlib.sha256(b).digest())}
Head = namedtuple('Head', '''major minor reserved incompat ro_compat compat uuid source_bytes
    chunk_bytes block_bytes logical_bytes physical_bytes hash reserved_2 created map_digest
    parent_uuid parent_root text_bytes reserved_3''')
Tail = namedtuple('Tail', '''file_bytes chunks head_bytes indx_position indx_bytes meta_position
    meta_bytes seek_position seek_bytes data zero free bad bad_range_bytes copy_position root''')
Record = namedtuple('Record', 'position end body frame')
Chunk = namedtuple('Chunk', 'number offset length position table entries bad_ranges')
Entry = namedtuple('Entry', 'kind offset length position stored hash')

class Refused(Exception):
    def __init__(self, reason, status=7):
        super().__init__(reason)
        self.status = status    # of the program
def check(what, **fields):
    for name, holds in fields.items():
        if not holds:
            raise Refused(f'{what}: {name.replace("_", " ")}')
def overlaps(ranges, start, length):
    parts = ((max(a, start), min(a + n, start + length)) for a, n in ranges)
    return [(a, b - a) for a, b in parts if a < b]
def by_kind(entries):
    return {kind: sum(e.length for e in entries if e.kind == kind) for kind in KINDS.values()}
def hole_frame(n):    # §5
    full, rest = divmod(n - 1, RLE_BYTES)
    blocks = pack('<I', 2 + RLE_BYTES * 8) * full + pack('<I', 1 + 2 + (rest + 1) * 8)
    return ZSTD_MAGIC + pack('<BBI', 0x80, 0x38, n) + blocks
def check_block_frame(what, frame, n):    # one of n bytes (§4); zstd takes several as well
    check(what, zstd_frame=frame[:4] == ZSTD_MAGIC and len(frame) >= 13)
    flags, single = frame[4], frame[4] >> 5 & 1
    at, width, last = 6 - single, (single, 2, 4, 8)[flags >> 6], False
    size = int.from_bytes(frame[at:at + width], 'little') + (256 if width == 2 else 0)
    check(what, content_size=width and size == n, checksum=flags & 4, dictionary=not flags & 3)
    at += width
    while not last and at < len(frame):
        header = int.from_bytes(frame[at:at + 3], 'little')
        last, is_rle = header & 1, header >> 1 & 3 == 1
        at += 3 + (1 if is_rle else header >> 3)
    check(what, one_frame=last and at + 4 == len(frame))

class Image:    # open (§7): HEAD, TAIL, INDX and the tables of all chunks hold and agree
    def __init__(self, path):
        self.file = open(path, 'rb')
        self.size, start = self.file.seek(0, 2), self.file.seek(0) or self.file.read(80)
        if start[:4] + start[8:16] != RECORD_MAGIC + b'IMGTHEAD':
            raise Refused('not an image', 8)
        self.run = start[72:80]    # of the UUID in HEAD, against which HEAD's own is held too
        self.read_head(self.record('HEAD', 0))
        self.read_end()
    def read(self, what, at, n):
        check(what, place_in_the_file=0 <= at <= at + n <= self.size)
        self.file.seek(at)
        return self.file.read(n)
    def record(self, kind, at):    # §3
        magic, size, name, position, run, n, p = unpack('<4sI8sQ8sII', self.read(kind, at, 40))
        padded, end = kind in ('HEAD', 'TABL'), at + 8 + size
        check(kind, magic=magic == RECORD_MAGIC, signature_or_type=name == b'IMGT' + kind.encode(),
              position=position == at, run=run == self.run, body_length=n <= LIMITS[kind],
              padding_length=p < (4096 if padded else 1), frame_size=size == 48 + n + p,
              end=not padded or end % 4096 == 0)
        frame = self.read(kind, at, end - at)
        check(kind, padding=not any(frame[40 + n:-16]), checksum=xxh3(frame[:-16]) == frame[-16:])
        return Record(at, end, frame[40:40 + n], frame)
    def read_head(self, record):    # §3.1
        self.head_record, body = record, record.body
        self.head = h = Head(*unpack_from('<HHIQQQ16sQQIIIB3sQ16s16s32sII', body.ljust(160, b'\0')))
        if h.major != 2 or h.incompat:
            raise Refused(f'version {h.major}, incompatible features {h.incompat:#x}', 8)
        self.chunk_count = -(-h.source_bytes // max(1, h.chunk_bytes))
        check('HEAD', body_length=len(body) == 160 + h.text_bytes, UUID=any(h.uuid),
              reserved=not any((h.reserved, *h.reserved_2, h.reserved_3)), hash=h.hash in HASHES,
              source_size=h.source_bytes <= 1 << 52, number_of_chunks=self.chunk_count <= 1 << 20,
              block_size=h.block_bytes in [1 << n for n in range(12, 25)],
              sector_sizes={h.logical_bytes, h.physical_bytes} <= {1 << n for n in range(9, 17)},
              chunk_size=0 < h.chunk_bytes <= min(h.block_bytes << 16, 4096 * MIB)
              and h.chunk_bytes % h.block_bytes == 0)
        self.text, (self.hash_name, self.hash_bytes, self.hash) = body[160:], HASHES[h.hash]
    def read_end(self):    # §3.7, §6, §3.4
        footer = self.read('seek table', self.size - 9, 9)
        seek_bytes = 17 + 8 * unpack_from('<I', footer)[0] if footer[5:] == SEEK_MAGIC else 0
        record = self.record('TAIL', self.size - seek_bytes - 208)
        check('TAIL', body_length=len(record.body) == 152)
        self.tail = t = Tail(*unpack('<15Q32s', record.body))
        indx, self.chunks = self.record('INDX', t.indx_position), []
        check('INDX', chunks=indx.body[:8] == pack('<Q', self.chunk_count),
              body_length=len(indx.body) == 8 + 48 * self.chunk_count)
        end, before = self.head_record.end, (0, 0)
        for i, fields in enumerate(iter_unpack('<QQIIQ16s', indx.body[8:])):
            self.chunks.append(c := self.read_chunk(i, end, fields[1], before))
            before, end = (c.table.position, len(c.table.frame)), c.table.end
            check(f'INDX: chunk {i}', fields=fields == (c.position, *before, len(c.entries),
                  by_kind(c.entries)['data'], c.table.frame[-16:]))
        self.bad_ranges = [r for c in self.chunks for r in c.bad_ranges]
        wanted = t._replace(
            file_bytes=self.size, chunks=self.chunk_count, head_bytes=self.head_record.end,
            indx_position=end, indx_bytes=len(indx.frame), meta_position=indx.end,
            copy_position=indx.end + t.meta_bytes, seek_position=record.end, seek_bytes=seek_bytes,
            bad_range_bytes=sum(n for _, n in self.bad_ranges),
            **by_kind([e for c in self.chunks for e in c.entries]))
        check('TAIL', **{name: t[i] == wanted[i] for i, name in enumerate(Tail._fields)})
    def read_chunk(self, i, at, table_at, before):    # §3.2, §3.3
        chnk, table = self.record('CHNK', at), self.record('TABL', table_at)
        offset = i * self.head.chunk_bytes
        end = min(offset + self.head.chunk_bytes, self.head.source_bytes)
        place = [i, offset, end - offset]
        check(f'CHNK {i}', fields=chnk.body == pack('<QQQQII', *place, *before, 0))
        *found, stored, count, ranges = unpack_from('<QQQQII', table.body.ljust(40, b'\0'))
        ranges_at = 40 + count * (12 + self.hash_bytes)
        check(f'TABL {i}', place=found == place, bad_ranges=ranges <= 65536,
              stored_length=stored == table.position - chnk.end,
              body_length=len(table.body) == ranges_at + 16 * ranges)
        bad = [[*r] for r in iter_unpack('<QQ', table.body[ranges_at:])]
        ends = [offset - 1, *(start + n for start, n in bad)]    # none may touch the one before
        check(f'TABL {i}', order_of_bad_ranges=ends[-1] <= end and all(
            before < start and n for before, (start, n) in zip(ends, bad)))
        entries = list(self.read_entries(table.body[40:ranges_at], offset, end, bad, chnk.end))
        check(f'TABL {i}', stored_sizes=sum(e.stored for e in entries) == stored,
              blocks=sum(e.length for e in entries) == end - offset)
        return Chunk(*place, at, table, entries, bad)
    def read_entries(self, table, offset, end, bad, at):    # §3.3, §4, §5
        for kind, *zeros, blocks, stored, digest in iter_unpack(f'<B3BII{self.hash_bytes}s', table):
            n, is_data = min(blocks * self.head.block_bytes, end - offset), kind == 1
            check(f'entry of source offset {offset}', kind=kind in KINDS, reserved=not any(zeros),
                  blocks=0 <= (blocks - 1) * self.head.block_bytes < end - offset,
                  length=blocks == 1 if is_data else n <= 512 * MIB,
                  stored_size=stored <= n + n // 256 + 65536 if is_data
                  else stored == 10 + 4 * -(-n // RLE_BYTES), hash=is_data or not any(digest),
                  bad_ranges=is_data or overlaps(bad, offset, n) == [(offset, n)] * (kind == 4))
            yield Entry(KINDS[kind], offset, n, at, stored, digest)
            offset, at = offset + n, at + stored
    def blocks(self, entries):    # those of data, each with its plain bytes
        data = [e for e in entries if e.kind == 'data']
        with tempfile.TemporaryFile() as frames:
            for e in data:
                frames.write(frame := self.read('block', e.position, e.stored))
                check_block_frame(f'block at {e.position}', frame, e.length)
            frames.seek(0)
            with subprocess.Popen(['zstd', '-dcq', '--memory=16MiB'], stdin=frames,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as zstd:
                for e in data:
                    plain = zstd.stdout.read(e.length)    # no more: it could be terabytes
                    check(f'block at {e.position}', hash=self.hash(plain) == e.hash)
                    yield e, plain
                more = zstd.stdout.read(1)
        check('last block', end=not more, checksum=zstd.returncode == 0 or not data)

# ---- The commands --------------------------------------------------------------------------------
def verify(image, args):
    tail, head, sizes = image.tail, image.head_record, [(image.tail.head_bytes, 0)]
    meta, copy = image.record('META', tail.meta_position), image.record('COPY', tail.copy_position)
    check('META', length=meta.end == tail.copy_position,
          header=meta.body.startswith(b'{"header":' + image.text + b',"result":'))
    check('COPY', length=copy.end == tail.seek_position - 208, body=copy.body == head.body)
    for c in image.chunks:
        sizes += [(96, 0), *((e.stored, e.length) for e in c.entries), (len(c.table.frame), 0)]
        for e in c.entries:
            check(f'hole at {e.position}', frame=e.kind == 'data' or hole_frame(e.length)
                  == image.read('hole', e.position, e.stored))
        deque(image.blocks(c.entries), maxlen=0)    # to its end
    frames = b''.join((head.frame, *(c.table.frame for c in image.chunks), meta.frame))
    check('TAIL', root_hash=hashlib.sha256(frames).digest() == tail.root)
    sizes += [(n, 0) for n in (tail.indx_bytes, tail.meta_bytes, len(copy.frame), 208)]
    table = b''.join((SEEK_FRAME_MAGIC, pack('<I', 8 * len(sizes) + 9), *(
        pack('<II', *size) for size in sizes), pack('<IB', len(sizes), 0), SEEK_MAGIC))
    found = image.read('seek table', tail.seek_position, tail.seek_bytes)
    check('seek table', frames=found == (table if len(sizes) <= MAX_SEEK_FRAMES else b''))
    print(f'{args.image}: OK, root hash {tail.root.hex()}')

def list_image(image, args):
    facts = {**image.tail._asdict(), **image.head._asdict(), 'hash': image.hash_name,
             **json.loads(image.record('META', image.tail.meta_position).body.decode()),
             'bad_ranges': image.bad_ranges, 'chunks': [
                 {**c._asdict(), 'table': c.table.position, 'entries': by_kind(c.entries)}
                 for c in image.chunks]}
    print(json.dumps(facts, indent=None if args.json else 1, default=bytes.hex))

def extract(image, args):
    start, size = args.offset or 0, image.head.source_bytes
    length = size - start if args.length is None else args.length
    if not 0 <= start <= start + length <= size:
        raise Refused(f'the source has {size} bytes', 2)
    # Before OUT is touched. Never zeros unasked: they would pass for the source's.
    if overlaps(image.bad_ranges, start, length) and not args.zero_bad:
        raise Refused('bad ranges are in the way; see --zero-bad', 5)
    with open(args.out, 'wb') as out:
        out.truncate(length)    # what is not written below, the holes, reads as zeros
        for c in image.chunks:
            wanted = [e for e in c.entries if overlaps([(start, length)], e.offset, e.length)]
            for e, plain in image.blocks(wanted):
                out.seek(max(0, e.offset - start))
                out.write(plain[max(0, start - e.offset):start + length - e.offset])

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    commands = {'list': list_image, 'verify': verify, 'extract': extract}
    flag, number = {'action': 'store_true'}, {'type': int}
    for name, options in {'command': {'choices': commands}, 'image': {}, 'out': {'nargs': '?'},
                          '--json': flag, '--zero-bad': flag, '--offset': number,
                          '--length': number}.items():
        parser.add_argument(name, **options)
    args = parser.parse_args()
    if (args.command == 'extract') != bool(args.out):
        parser.error('extract needs OUT, the others have none')
    try:
        commands[args.command](Image(args.image), args)
    except (Refused, FileNotFoundError, ValueError, RecursionError) as problem:
        print(f'{args.image}: {problem}', file=sys.stderr)
        sys.exit(3 if isinstance(problem, FileNotFoundError) else getattr(problem, 'status', 7))
