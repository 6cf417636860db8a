"""Images that are made to hurt: sizes near 2^64, counts near 2^32, loops, overlaps, frames that
unpack to terabytes. Each is a good image with something changed, and with every checksum on the way
to it made good (docs/image-format-v2.md, 3). The commands that read an image are run on each.

    bombs.py make IMAGE DIR
    bombs.py run IMGTOOL SOURCE IMAGE DIR LIMIT_MIB

Two steps, because what the parent has in memory counts for its children. A line for each bomb: "ok NAME", or "bad NAME: which command did what". A command must refuse with an
exit status that says so, or be right: the source's bytes, and not one byte else, but for what a
repair lists as lost. It must be through in LIMIT_SECONDS, and never have LIMIT_MIB in memory (0: no
limit, and four times as long, for sanitizers). verify never says that it is good.
"""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from struct import pack, pack_into, unpack_from

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../scripts'))
import proxy_client  # noqa: E402 pylint: disable=wrong-import-position
from read_image import xxh3  # noqa: E402 pylint: disable=wrong-import-position

LIMIT_SECONDS = 5
MAGIC = 0x184D2A5D
HEAD_BYTES, SUM_BYTES, TAIL_BYTES = 40, 16, 208
MAX32, MAX64 = (1 << 32) - 1, (1 << 64) - 1
REFUSED = {5, 7, 8, 9}


def checksum(data):
    """XXH3-128; by the tool for what Python is too slow for."""
    if len(data) < 1 << 18:
        return xxh3(bytes(data))
    done = subprocess.run(['xxhsum', '-q', '-H2'], input=bytes(data), stdout=subprocess.PIPE,
                          check=True)
    return bytes.fromhex(done.stdout.split()[0].decode())


class Image:
    """The bytes of an image, its records by type, and ways to make them consistent again."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.records, self.frames = {}, []
        at = 0
        while at < len(data):
            if unpack_from('<I', data, at)[0] == MAGIC:
                kind = data[at + 12:at + 16].decode()
                self.records.setdefault(kind, []).append(at)
            if unpack_from('<I', data, at)[0] >> 4 == 0x184D2A5:
                at += 8 + unpack_from('<I', data, at + 4)[0]
                continue
            end = min(p for p in (data.find(b'IMGTTABL', at), len(data)) if p > 0) - 8
            self.frames.append((at, end - at))      # all frames of a chunk as one run
            at = end

    def at(self, kind, n=0):
        return self.records[kind][n]

    def put(self, kind, offset, form, value, n=0):
        """A field of a record's body."""
        pack_into(form, self.data, self.at(kind, n) + HEAD_BYTES + offset, value)

    def seal(self, pos):
        end = pos + 8 + unpack_from('<I', self.data, pos + 4)[0]
        if end <= len(self.data):
            self.data[end - SUM_BYTES:end] = checksum(self.data[pos:end - SUM_BYTES])

    def seal_all(self):
        """Tables, then the index that has their checksums, then the rest, and the root hash."""
        indx = self.at('INDX') + HEAD_BYTES + 8
        for n, pos in enumerate(self.records['TABL']):
            self.seal(pos)
            end = pos + 8 + unpack_from('<I', self.data, pos + 4)[0]
            if end <= len(self.data):
                self.data[indx + 48 * n + 32:indx + 48 * n + 48] = self.data[end - SUM_BYTES:end]
        for kind in ('HEAD', 'INDX', 'META', 'COPY'):
            self.seal(self.at(kind))
        for pos in self.records['CHNK']:
            self.seal(pos)
        root = hashlib.sha256()
        for pos in [self.at('HEAD')] + self.records['TABL'] + [self.at('META')]:
            root.update(self.data[pos:pos + 8 + unpack_from('<I', self.data, pos + 4)[0]])
        tail = self.at('TAIL')
        self.data[tail + HEAD_BYTES + 120:tail + HEAD_BYTES + 152] = root.digest()
        self.seal(tail)
        return self

    def with_meta(self, text):
        """Another META, and all that lies behind it moved."""
        meta, copy, tail = self.at('META'), self.at('COPY'), self.at('TAIL')
        head = bytearray(self.data[meta:meta + HEAD_BYTES])
        pack_into('<I', head, 4, 48 + len(text))
        pack_into('<I', head, 32, len(text))
        grown = bytes(head) + text + bytes(SUM_BYTES)
        by = len(grown) - (copy - meta)
        self.data[meta:copy] = grown
        self.records['COPY'], self.records['TAIL'] = [copy + by], [tail + by]
        for kind in ('COPY', 'TAIL'):
            pack_into('<Q', self.data, self.at(kind) + 16, self.at(kind))
        self.put('TAIL', 0, '<Q', len(self.data))
        self.put('TAIL', 48, '<Q', len(grown))
        self.put('TAIL', 112, '<Q', copy + by)
        self.put('TAIL', 56, '<Q', tail + by + TAIL_BYTES)


def frame_bomb(length, claimed):
    """A zstd frame of so many bytes: RLE blocks of 128 KiB (RFC 8878, 3.1.1), 2 GiB for each 64 KiB
    of it; its header says `claimed`."""
    frame = pack('<IBQ', 0xFD2FB528, 0xE4, claimed)     # 8-byte size, single segment, checksum
    block = (2 | 0x20000 << 3).to_bytes(3, 'little') + b'\0'
    room = length - len(frame) - 4 - 3                  # the checksum, and a last raw block
    frame += block * (room // 4)
    frame += (1 | (room % 4) << 3).to_bytes(3, 'little') + bytes(room % 4)
    return frame + bytes(4)


def stored(image):
    """Where the first large data frame is, and its length, from the table of chunk 0."""
    at, pos = image.frames[0][0], image.at('TABL') + HEAD_BYTES
    for i in range(unpack_from('<I', image.data, pos + 32)[0]):
        kind, _, size = unpack_from('<III', image.data, pos + 40 + i * 28)
        if kind == 1 and size > 60000:
            return at, size
        at += size
    raise ValueError('no large data frame in chunk 0')


def tables_everywhere(good):
    """No end, and behind the chunks 8 MiB in which every 256 bytes a table of some MiB seems to begin:
    who looks for records must not read them all."""
    image = Image(good)
    data = bytearray(good[:image.at('INDX')])
    run, end = good[72:80], (len(data) + (8 << 20)) // 4096 * 4096
    while len(data) < end - 4096:
        length = min(end - len(data), 5 << 20)
        length -= (len(data) + length) % 4096
        data += pack('<II8sQ8sII', MAGIC, length - 8, b'IMGTTABL', len(data), run, length - 56, 0)
        data += bytes(256 - HEAD_BYTES)
    return bytes(data) + bytes(end - len(data))


def bombs(good):
    """(name, bytes) of each."""
    def make(name, *edits):
        image = Image(good)
        for edit in edits:
            edit(image)
        return name, bytes(image.seal_all().data)

    def field(kind, offset, form, value, n=0):
        return lambda image: image.put(kind, offset, form, value, n)

    def record(kind, offset, value, n=0):
        return lambda image: pack_into('<I', image.data, image.at(kind, n) + offset, value)

    for value in (MAX64, 1 << 63, 1 << 52):
        yield make('head-source-%x' % value, field('HEAD', 48, '<Q', value))
    # A million chunks, of which three are there.
    yield make('head-all-it-can', field('HEAD', 48, '<Q', 1 << 52), field('HEAD', 56, '<Q', 1 << 32))
    yield make('head-chunk', field('HEAD', 56, '<Q', MAX64 - 65535))
    yield make('head-block', field('HEAD', 64, '<I', 1 << 31))
    yield make('head-text', field('HEAD', 152, '<I', MAX32))
    for kind in ('HEAD', 'CHNK', 'TABL', 'INDX', 'META', 'COPY', 'TAIL'):
        yield make(kind.lower() + '-frame-size', record(kind, 4, MAX32))
        yield make(kind.lower() + '-both', record(kind, 4, MAX32), record(kind, 32, MAX32 - 48))
    for n in (0, 1):
        yield make('table-entries-%d' % n, field('TABL', 32, '<I', MAX32, n))
        yield make('table-entries-both-%d' % n, field('TABL', 32, '<I', MAX32, n),
                   field('INDX', 8 + 48 * n + 20, '<I', MAX32))
    yield make('table-bad-ranges', field('TABL', 36, '<I', MAX32))
    yield make('table-stored', field('TABL', 24, '<Q', MAX64 - 4095))
    yield make('table-source', field('TABL', 8, '<Q', MAX64 - 65535))
    yield make('table-blocks', field('TABL', 44, '<I', MAX32))
    yield make('table-frame', field('TABL', 48, '<I', MAX32))
    yield make('chunk-offset', field('CHNK', 8, '<Q', MAX64 - 65535, 1))
    yield make('chunk-loop', lambda i: i.put('CHNK', 24, '<Q', i.at('TABL', 1), 1))
    yield make('chunk-before-end', field('CHNK', 24, '<Q', MAX64 - 4095, 1))
    yield make('index-count', field('INDX', 0, '<Q', MAX64))
    yield make('index-overlap', lambda i: i.put('INDX', 8 + 48, '<Q', i.at('CHNK')),
               lambda i: i.put('INDX', 8 + 48 + 8, '<Q', i.at('TABL')))
    yield make('index-loop', lambda i: i.put('INDX', 8, '<Q', i.at('INDX')))
    yield make('index-chunk-position', field('INDX', 8 + 48, '<Q', MAX64 - 7))
    yield make('index-table-position', field('INDX', 8 + 8, '<Q', MAX64 - 7))
    yield make('index-table-length', field('INDX', 8 + 16, '<I', MAX32))
    for offset in range(0, 120, 8):
        yield make('tail-%d' % offset, field('TAIL', offset, '<Q', MAX64 - offset))
        yield make('tail-%d-loop' % offset, lambda i, o=offset: i.put('TAIL', o, '<Q',
                                                                      i.at('TAIL')))

    name, data = make('seek-table')
    yield name, data[:-9] + pack('<I', MAX32) + data[-5:]
    for name, claimed in (('frame-terabytes', 1 << 40), ('frame-2-64', MAX64),
                          ('frame-says-a-block', 65536)):
        def edit(image, claimed=claimed):
            at, size = stored(image)
            image.data[at:at + size] = frame_bomb(size, claimed)
        yield make(name, edit)
    yield 'tables-everywhere', tables_everywhere(good)
    size = 16 << 20
    for name, text in (('meta-deep', b'[' * size), ('meta-wide', b'[' + b'[],' * (size // 3 - 1) +
                                                     b'0]'),
                       ('meta-keys', b'{' + b','.join(b'"%d":{}' % i for i in range(900000)) + b'}')):
        yield make(name, lambda image, t=text: image.with_meta(t))


class Run:
    """The commands on one bomb, and what they must not do."""

    def __init__(self, arguments):
        self.tool, self.source, self.good, self.dir = arguments[:4]
        self.limit = int(arguments[4])
        with open(self.source, 'rb') as f:
            self.content = f.read()
        self.command('explain', self.good)
        self.left_out = self.ranges()

    def output(self):
        with open(os.path.join(self.dir, 'out'), 'rb') as f:
            return f.read()

    def ranges(self):
        """What explain lists, without the last line, which has the name of the file."""
        return self.output().splitlines()[:-1]

    def command(self, *arguments, meanwhile=None):
        """(exit status, what is wrong with the way it ended, or None). `meanwhile` is called with
        the process, and says what it found wrong."""
        started = time.monotonic()
        seconds = LIMIT_SECONDS if self.limit else 4 * LIMIT_SECONDS
        argv = [self.tool] + list(arguments)
        with open(os.path.join(self.dir, 'out'), 'wb') as out:
            child = os.posix_spawn(self.tool, argv, os.environ,
                                   file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                                                 (os.POSIX_SPAWN_DUP2, out.fileno(), 2)])
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.alarm(seconds)
        wrong = meanwhile and meanwhile(child)
        _, status, usage = os.wait4(child, 0)
        signal.alarm(0)
        took = time.monotonic() - started
        if took > seconds:
            return -1, 'took %.1f s' % took
        if os.WIFSIGNALED(status):
            return -1, 'died of signal %d' % os.WTERMSIG(status)
        if self.limit and usage.ru_maxrss > self.limit * 1024:
            return -1, 'took %d MiB' % (usage.ru_maxrss // 1024)
        return os.WEXITSTATUS(status), wrong

    def read_served(self, path, child):
        """What is wrong with the answers of a server; nothing when it does not start."""
        found = None
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            try:
                with proxy_client.connect(path) as s:
                    found = self.wrong_answer(s)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.005)
            except (OSError, EOFError) as problem:
                found = 'hung up: %s' % problem
                break
        os.kill(child, signal.SIGTERM)  # it has not been waited for: the number is still its own
        return found

    def wrong_answer(self, s):
        size = proxy_client.info(s)[0]
        if size != len(self.content):
            return 'served %d bytes' % size
        for at in range(0, size, 100000):
            error, data = proxy_client.read(s, at, 100000)
            if error == 0 and data != self.content[at:at + 100000].ljust(100000, b'\0'):
                return 'served wrong bytes at %d' % at
        return None

    def holds(self, name, content):
        path = os.path.join(self.dir, name)
        if not os.path.exists(path):
            return False
        with open(path, 'rb') as f:
            same = f.read() == content
        os.remove(path)
        return same

    def judge(self, what, *arguments, fine=None, meanwhile=None):
        """None, or what is wrong. `fine` says whether success was right; without it, it is not."""
        status, wrong = self.command(*arguments, meanwhile=meanwhile)
        if wrong is None and status == 0 and (fine is None or not fine()):
            wrong = 'was content'
        if wrong is None and status != 0 and status not in REFUSED:
            wrong = 'ended with %d' % status
        if wrong is None:
            return None
        said = self.output()[-200:].decode('ascii', 'replace')
        return '%s %s: %s' % (what, wrong, ' '.join(said.split()))

    def wrong_repair(self, path):
        """None, or what is wrong with it: what it does not list as lost must be there."""
        image, raw = os.path.join(self.dir, 'new.zst'), os.path.join(self.dir, 'new.raw')
        status, wrong = self.command('repair', '--json', path, image)
        if wrong or status not in REFUSED | {0} or not os.path.exists(image):
            return wrong or None if status in REFUSED else 'ended with %d, without an image' % status
        event = next(json.loads(line) for line in self.output().splitlines()
                     if line.startswith(b'{') and b'"event":"repair"' in line)
        if sum(loss['length'] for loss in event['losses']) != event['lost_bytes']:
            return 'lists not all of %d lost bytes' % event['lost_bytes']
        if (status == 0) != (event['lost_bytes'] == 0 and event['bad_unknown'] == 0):
            return 'ended with %d for %d lost bytes' % (status, event['lost_bytes'])
        restored, wrong = self.command('restore', '-q', '--on-read-error', 'zero', image, raw)
        if wrong or restored not in (0, 7, 12) or (restored == 0) != (event['lost_bytes'] == 0):
            return wrong or 'made an image whose restore ended with %d' % restored
        want = bytearray(self.content)
        for loss in event['losses']:
            want[loss['offset']:loss['offset'] + loss['length']] = bytes(loss['length'])
        return None if self.holds('new.raw', want) else 'lost more than it lists'

    def faults(self, path):
        """What each command did wrong with the image; None where nothing was."""
        def into(name):
            return os.path.join(self.dir, name)

        def resumed():
            with open(self.good, 'rb') as f:
                return self.holds('resumed.zst', f.read())

        shutil.copyfile(path, into('resumed.zst.partial'))
        opened = []
        yield self.judge('info', 'info', '--chunks', path, fine=lambda: opened.append(1) or True)
        yield self.judge('verify', 'verify', path)
        # What does not open for info does not open for them: the same call, and it takes time.
        if opened or not os.path.basename(path).startswith(('head-', 'index-', 'tail-')):
            yield self.judge('restore', 'restore', '-q', path, into('raw'),
                             fine=lambda: self.holds('raw', self.content))
            yield self.judge('export-range', 'export-range', path, '--length', '100000',
                             fine=lambda: self.holds('out', self.content[:100000]))
            yield self.judge('export-raw', 'export-raw', '-q', path, into('raw'),
                             fine=lambda: self.holds('raw', self.content))
            yield self.judge('explain', 'explain', path, fine=lambda: self.ranges() == self.left_out)
            yield self.judge('serve-proxy', 'serve-proxy', '-q', path, '--pipe', into('socket'),
                             fine=lambda: True,
                             meanwhile=lambda child: self.read_served(into('socket'), child))
        wrong = self.wrong_repair(path)
        yield 'repair ' + wrong if wrong else None
        yield self.judge('resume', 'image', '-q', '--resume', self.source, into('resumed.zst'),
                         fine=resumed)
        for name in ('raw.partial', 'new.zst', 'new.zst.partial', 'new.raw', 'new.raw.partial',
                     'resumed.zst.partial', 'socket'):
            if os.path.exists(into(name)):
                os.remove(into(name))


def make(good, folder):
    with open(good, 'rb') as f:
        data = f.read()
    for name, bomb in bombs(data):
        with open(os.path.join(folder, name + '.bomb'), 'wb') as f:
            f.write(bomb)


def run_all(run):
    # A good image must fail here, and only because verify likes it.
    found = [fault for fault in run.faults(run.good) if fault]
    if len(found) != 1 or not found[0].startswith('verify was content'):
        print('bad good: the good image: %s' % found)
    names = sorted(name for name in os.listdir(run.dir) if name.endswith('.bomb'))
    for name in names:
        path = os.path.join(run.dir, name)
        found = '; '.join(fault for fault in run.faults(path) if fault)
        os.remove(path)
        print('bad %s: %s' % (name, found) if found else 'ok %s' % name, flush=True)


if __name__ == '__main__':
    if sys.argv[1] == 'make':
        make(*sys.argv[2:])
    else:
        run_all(Run(sys.argv[2:]))
