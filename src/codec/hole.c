/*
 * Hole frames: RFC 8878 frames made of RLE blocks of zeros (specification, section 5). Made from
 * their length alone, from any byte on, so that a frame of any length passes through a small
 * buffer.
 */
#include "base/mem.h"
#include "codec/block.h"

#define HOLE_HEAD_BYTES 10
#define RLE_BYTES 4	     /* a block: 3 bytes of header, the byte that it repeats */
#define RLE_SPAN (128 * KIB) /* plain bytes of a block, but for the last one */

size_t hole_stored_bytes(uint64_t len)
{
	return (size_t)(HOLE_HEAD_BYTES + RLE_BYTES * div_up(len, RLE_SPAN));
}

static void head_bytes(uint64_t len, uint8_t p[HOLE_HEAD_BYTES])
{
	put_le32(p, 0xFD2FB528); /* magic number */
	p[4] = 0x80;		 /* content size in 4 bytes, nothing else */
	p[5] = 0x38;		 /* window of 128 KiB */
	put_le32(p + 6, (uint32_t)len);
}

/* RLE block number i of a hole: last flag, type 1, size; the zero byte. */
static void rle_bytes(uint64_t len, uint64_t i, uint8_t p[RLE_BYTES])
{
	uint64_t left = len - i * RLE_SPAN;
	uint32_t span = (uint32_t)min_u64(left, RLE_SPAN);

	/* Bits 24 to 31, the repeated byte, are 0: the size needs 21 bits. */
	put_le32(p, (left <= RLE_SPAN) | 1u << 1 | span << 3);
}

size_t hole_bytes(uint64_t len, size_t from, uint8_t *dst, size_t n)
{
	const size_t end = hole_stored_bytes(len);
	size_t done = 0;

	if (from >= end)
		return 0;
	n = n < end - from ? n : end - from;
	while (done < n) {
		uint8_t piece[HOLE_HEAD_BYTES];
		size_t at = from + done, skip = at, size = HOLE_HEAD_BYTES;

		if (at < HOLE_HEAD_BYTES) {
			head_bytes(len, piece);
		} else {
			rle_bytes(len, (at - HOLE_HEAD_BYTES) / RLE_BYTES, piece);
			skip = (at - HOLE_HEAD_BYTES) % RLE_BYTES;
			size = RLE_BYTES;
		}
		size = size - skip < n - done ? size - skip : n - done;
		memcpy(dst + done, piece + skip, size);
		done += size;
	}
	return n;
}
