"""XXH3, 128 bits, seed 0, default secret, in plain Python.

Written from the published description (doc/xxhash_spec.md of https://github.com/Cyan4973/xxHash,
"XXH3 Algorithm Overview"); the names of the steps below are the ones used there. It exists so that
read_image.py needs nothing but the standard library. Some 25 MB/s.

    xxh3.digest(data) -> 16 bytes, canonical (big-endian), as `xxhsum -H2` prints them
"""
from operator import mul
from struct import unpack, unpack_from

SECRET = bytes.fromhex(
    'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f'
    'cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c'
    '3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8'
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364'
    'eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e'
    '2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e')
M32, M64 = (1 << 32) - 1, (1 << 64) - 1
PRIME32_1, PRIME32_2, PRIME32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
PRIME64_1, PRIME64_2, PRIME64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
PRIME64_4, PRIME64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
PRIME_MX1, PRIME_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25

STRIPE, STRIPES = 64, 16
BLOCK = STRIPE * STRIPES
# Stripe n of a block meets the secret from byte 8 n on: one key for a whole block, as an integer,
# so that one exclusive or of big integers does the work of 128.
BLOCK_KEY = int.from_bytes(b''.join(SECRET[8 * n:8 * n + STRIPE] for n in range(STRIPES)), 'little')
SCRAMBLE_KEY = unpack_from('<8Q', SECRET, len(SECRET) - 64)


def _words(count, data, offset):
    return unpack_from(f'<{count}Q', data, offset)


def _fold(a, b):
    """The product of two 64-bit numbers, its halves combined."""
    product = a * b
    return (product & M64) ^ (product >> 64)


def _bswap(value, size):
    return int.from_bytes(value.to_bytes(size, 'little'), 'big')


def _avalanche(x):
    x ^= x >> 37
    x = x * PRIME_MX1 & M64
    return x ^ x >> 32


def _avalanche_xxh64(x):
    x ^= x >> 33
    x = x * PRIME64_2 & M64
    x ^= x >> 29
    x = x * PRIME64_3 & M64
    return x ^ x >> 32


# ---- Small inputs, 0 to 16 bytes; each function returns (low, high) --------------------------

def _hash_0(_):
    s = _words(4, SECRET, 64)
    return _avalanche_xxh64(s[0] ^ s[1]), _avalanche_xxh64(s[2] ^ s[3])


def _hash_1to3(data):
    n = len(data)
    combined = data[-1] | n << 8 | data[0] << 16 | data[n >> 1] << 24
    swapped = _bswap(combined, 4)
    rotated = (swapped << 13 | swapped >> 19) & M32
    s = unpack_from('<4I', SECRET)
    return _avalanche_xxh64(s[0] ^ s[1] ^ combined), _avalanche_xxh64(s[2] ^ s[3] ^ rotated)


def _hash_4to8(data):
    n = len(data)
    first, last = unpack('<I', data[:4])[0], unpack('<I', data[-4:])[0]
    s = _words(2, SECRET, 16)
    product = (s[0] ^ s[1] ^ (first | last << 32)) * (PRIME64_1 + (n << 2) & M64)
    low, high = product & M64, product >> 64
    high = high + (low << 1) & M64
    low ^= high >> 3
    low ^= low >> 35
    low = low * PRIME_MX2 & M64
    return low ^ low >> 28, _avalanche(high)


def _hash_9to16(data):
    first, last = unpack('<Q', data[:8])[0], unpack('<Q', data[-8:])[0]
    s = _words(4, SECRET, 32)
    value = s[2] ^ s[3] ^ last
    product = (s[0] ^ s[1] ^ first ^ last) * PRIME64_1
    low = (product & M64) + (len(data) - 1 << 54) & M64
    high = (product >> 64) + value + (value & M32) * (PRIME32_2 - 1) & M64
    product = ((low ^ _bswap(high, 8)) | high << 64) * PRIME64_2
    return _avalanche(product & M64), _avalanche(product >> 64 & M64)


# ---- Medium inputs, 17 to 240 bytes ----------------------------------------------------------

def _mix_step(data, offset, secret, seed):
    d0, d1 = _words(2, data, offset)
    s0, s1 = _words(2, SECRET, secret)
    return _fold(d0 ^ (s0 + seed & M64), d1 ^ (s1 - seed & M64))


def _mix_two(acc, data, one, two, secret, seed=0):
    acc[0] = acc[0] + _mix_step(data, one, secret, seed) & M64
    acc[1] = acc[1] + _mix_step(data, two, secret + 16, seed) & M64
    acc[0] ^= sum(_words(2, data, two)) & M64
    acc[1] ^= sum(_words(2, data, one)) & M64


def _hash_17to240(data):
    n = len(data)
    acc = [n * PRIME64_1 & M64, 0]
    if n <= 128:
        for i in reversed(range((n + 31) // 32)):
            _mix_two(acc, data, 16 * i, n - 16 * i - 16, 32 * i)
    else:
        for i in range(4):
            _mix_two(acc, data, 32 * i, 32 * i + 16, 32 * i)
        acc = [_avalanche(acc[0]), _avalanche(acc[1])]
        for i in range(4, n // 32):
            _mix_two(acc, data, 32 * i, 32 * i + 16, 32 * (i - 4) + 3)
        # The last two halves change places, and the seed its sign (0 stays 0).
        _mix_two(acc, data, n - 16, n - 32, 103)
    high = acc[0] * PRIME64_1 + acc[1] * PRIME64_4 + n * PRIME64_2 & M64
    return _avalanche(acc[0] + acc[1] & M64), -_avalanche(high) & M64


# ---- Large inputs ----------------------------------------------------------------------------

def _accumulate(acc, data, key):
    """Any number of stripes against a key as long as they are. Until the next scrambling all steps
    are additions, so that their order does not matter: a lane is summed up at once."""
    keyed = int.from_bytes(data, 'little') ^ key
    halves = unpack(f'<{len(data) // 4}I', keyed.to_bytes(len(data), 'little'))
    words = unpack(f'<{len(data) // 8}Q', data)
    return [(acc[i] + sum(map(mul, halves[2 * i::16], halves[2 * i + 1::16]))
             + sum(words[i ^ 1::8])) & M64 for i in range(8)]


def _final_merge(acc, value, secret):
    s = _words(8, SECRET, secret)
    for i in range(0, 8, 2):
        value += _fold(acc[i] ^ s[i], acc[i + 1] ^ s[i + 1])
    return _avalanche(value & M64)


def _hash_large(data):
    n = len(data)
    acc = [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1]
    # A last block stays for the end even when it is full, and so does a last stripe of it.
    end = (n - 1) // BLOCK * BLOCK
    for i in range(0, end, BLOCK):
        acc = _accumulate(acc, data[i:i + BLOCK], BLOCK_KEY)
        acc = [(a ^ a >> 47 ^ s) * PRIME32_1 & M64 for a, s in zip(acc, SCRAMBLE_KEY)]
    full = (n - 1 - end) // STRIPE * STRIPE
    acc = _accumulate(acc, data[end:end + full], BLOCK_KEY & (1 << 8 * full) - 1)
    last_key = SECRET[len(SECRET) - 71:][:STRIPE]
    acc = _accumulate(acc, data[-STRIPE:], int.from_bytes(last_key, 'little'))
    return (_final_merge(acc, n * PRIME64_1 & M64, 11),
            _final_merge(acc, ~(n * PRIME64_2) & M64, len(SECRET) - 75))


LARGEST = ((0, _hash_0), (3, _hash_1to3), (8, _hash_4to8), (16, _hash_9to16), (240, _hash_17to240))


def digest(data):
    data = memoryview(data)
    function = next((f for limit, f in LARGEST if len(data) <= limit), _hash_large)
    low, high = function(data)
    return (high << 64 | low).to_bytes(16, 'big')
