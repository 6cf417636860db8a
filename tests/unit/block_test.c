/*
 * block, hole: frames go through the stock zstd and back; equal input gives equal bytes whatever
 * the context did before; and everything that is not exactly one frame of the right length is
 * refused.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

#include "base/mem.h"
#include "codec/block.h"
#include "format_helper.h"

#define BYTES (1 << 20)

static uint8_t *mixed; /* BYTES of text, noise and zeros */

static int setup(void **state)
{
	uint32_t rnd = 5;

	(void)state;
	format_mkdir();
	mixed = malloc(BYTES);
	if (mixed == NULL)
		return -1;
	for (size_t at = 0; at < BYTES; at += 4096) {
		if (format_random(&rnd) % 4 == 0)
			format_noise(mixed + at, 4096, &rnd);
		else
			for (size_t i = 0; i < 4096; i++)
				mixed[at + i] = (uint8_t)("words and numbers "[i % 18] +
					(i % 97 == 0 ? format_random(&rnd) % 8 : 0));
	}
	memset(mixed + 300000, 0, 100000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(mixed);
	format_rmdir();
	return 0;
}

/* A frame of the bytes by a packer that has done nothing else; malloc'ed. */
static uint8_t *pack_fresh(int level, const void *p, size_t len, size_t *stored)
{
	uint8_t *frame = malloc(block_bound(len));
	struct packer *packer;
	struct err e;

	assert_non_null(frame);
	assert_fine(packer_new(&packer, &e), &e);
	assert_fine(packer_pack(packer, level, p, len, frame, block_bound(len), stored, &e), &e);
	packer_free(packer);
	return frame;
}

static int unpack(const void *frame, size_t stored, void *dst, size_t len, struct err *e)
{
	struct unpacker *u;
	int rc;

	assert_fine(unpacker_new(&u, e), e);
	rc = unpacker_unpack(u, frame, stored, dst, len, e);
	unpacker_free(u);
	return rc;
}

static void test_round_trip(void **state)
{
	static const size_t lengths[] = { 1, 255, 256, 4096, 65791, 65792, 262144, BYTES };

	(void)state;
	for (int level = block_level_min(); level <= block_level_max(); level++) {
		for (size_t i = 0; i < COUNT_OF(lengths); i++) {
			size_t len = lengths[i], stored;
			uint8_t *frame, *plain = malloc(len);
			struct err e;

			if (level > 9 && len > 65792) {
				free(plain);
				continue;
			}
			frame = pack_fresh(level, mixed, len, &stored);
			assert_true(stored <= block_bound(len));
			assert_fine(unpack(frame, stored, plain, len, &e), &e);
			assert_memory_equal(plain, mixed, len);
			free(frame);
			free(plain);
		}
	}
}

/* What RFC 8878 says of the header: single segment, checksum, no dictionary, content size. */
static void test_stock_zstd(void **state)
{
	(void)state;
	for (size_t len = 1; len <= BYTES; len = len * 4 + 1) {
		size_t stored;
		uint8_t *frame = pack_fresh(3, mixed, len, &stored);

		assert_int_equal(frame[4] & 0x04, 0x04);
		assert_int_equal(frame[4] & 0x03, 0);
		assert_int_equal(ZSTD_getFrameContentSize(frame, stored), len);
		format_spit(format_path("frame"), frame, stored);
		format_spit(format_path("plain"), mixed, len);
		assert_int_equal(format_run("zstd -dcq '%s' | cmp - '%s'", format_path("frame"),
					 format_path("plain")),
			0);
		free(frame);
	}
}

/* Noise does not grow past the bound, in the largest block either. */
static void test_bound(void **state)
{
	static const size_t lengths[] = { 1, 100, 4096, 262144, 16 << 20 };
	uint32_t rnd = 9;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		uint8_t *noise = malloc(lengths[i]), *back = malloc(lengths[i]), *frame;
		size_t stored;
		struct err e;

		format_noise(noise, lengths[i], &rnd);
		frame = pack_fresh(1, noise, lengths[i], &stored);
		assert_true(stored <= block_bound(lengths[i]));
		assert_true(ZSTD_compressBound(lengths[i]) <= block_bound(lengths[i]));
		assert_fine(unpack(frame, stored, back, lengths[i], &e), &e);
		assert_memory_equal(back, noise, lengths[i]);
		free(frame);
		free(noise);
		free(back);
	}
}

/* A context that has packed all sorts of things gives the bytes of a fresh one. */
static void test_deterministic(void **state)
{
	struct packer *packer;
	uint8_t *frame = malloc(block_bound(BYTES));
	uint32_t rnd = 77;
	struct err e;

	(void)state;
	assert_fine(packer_new(&packer, &e), &e);
	for (int k = 0; k < 600; k++) {
		int level = block_level_min() +
			(int)(format_random(&rnd) % (uint32_t)(19 - block_level_min() + 1));
		size_t at = format_random(&rnd) % (BYTES / 2), stored, fresh_stored;
		size_t len = 1 + format_random(&rnd) % (level > 6 ? 40000 : 262144);
		uint8_t *fresh;

		assert_fine(packer_pack(packer, level, mixed + at, len, frame, block_bound(len),
				    &stored, &e),
			&e);
		fresh = pack_fresh(level, mixed + at, len, &fresh_stored);
		assert_int_equal(stored, fresh_stored);
		assert_memory_equal(frame, fresh, stored);
		free(fresh);
	}
	packer_free(packer);
	free(frame);
}

static void test_levels(void **state)
{
	struct packer *packer;
	uint8_t frame[70000];
	size_t stored, low, high;
	struct err e;

	(void)state;
	assert_true(block_level_min() < 1 && block_level_max() >= 19);
	assert_fine(packer_new(&packer, &e), &e);
	assert_error(packer_pack(packer, block_level_max() + 1, mixed, 100, frame, sizeof(frame),
			     &stored, &e),
		ERR_USAGE, &e, "level");
	assert_error(packer_pack(packer, block_level_min() - 1, mixed, 100, frame, sizeof(frame),
			     &stored, &e),
		ERR_USAGE, &e, "level");
	assert_error(packer_pack(packer, 3, mixed, 65536, frame, 5, &stored, &e), ERR_INTERNAL, &e,
		"compress");
	packer_free(packer);
	packer_free(NULL);
	/* The level has an effect. */
	free(pack_fresh(1, mixed, 262144, &low));
	free(pack_fresh(19, mixed, 262144, &high));
	assert_true(high < low);
}

/* ---- Refusals ---- */

/* A frame with the parameters of the test, by zstd itself. */
static size_t zstd_frame(uint8_t *dst, size_t cap, size_t len, int checksum, int size, int window)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_inBuffer in = { mixed, len, 0 };
	ZSTD_outBuffer out = { dst, cap, 0 };

	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, size);
	if (window != 0)
		ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window);
	/* In a stream of unknown length the window stays what it is. */
	if (size)
		ZSTD_CCtx_setPledgedSrcSize(c, len);
	assert_int_equal(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
	ZSTD_freeCCtx(c);
	return out.pos;
}

static void refused(const uint8_t *frame, size_t stored, size_t len, const char *why)
{
	uint8_t *exact = malloc(stored + 1), *plain = malloc(len + 1);
	struct err e;

	/* Memory of the exact size, so that reading past it shows. */
	exact = realloc(exact, stored == 0 ? 1 : stored);
	memcpy(exact, frame, stored);
	plain[len] = 0xEE;
	assert_error(unpack(exact, stored, plain, len, &e), ERR_DAMAGED, &e, why);
	assert_int_equal(plain[len], 0xEE);
	free(exact);
	free(plain);
}

static void test_refusals(void **state)
{
	static uint8_t frame[300000], two[600000];
	const size_t len = 100000;
	size_t n, stored;
	uint8_t *good = pack_fresh(3, mixed, len, &stored);

	(void)state;
	refused(good, stored, len - 1, "content size");
	refused(good, stored, len + 1, "content size");
	refused(good, 0, len, "magic");
	refused(good, 4, len, "magic");
	refused(good, 6, len, "length");
	for (size_t cut = 9; cut < stored; cut = cut * 2)
		refused(good, cut, len, "frame length");
	refused(good, stored - 1, len, "frame length");

	memcpy(frame, good, stored);
	frame[stored] = 0;
	refused(frame, stored + 1, len, "frame length");
	/* Two frames that together have the right length; and the right one with a skippable one.
	 *  */
	n = zstd_frame(two, sizeof(two), len / 2, 1, 1, 0);
	memcpy(two + n, two, n);
	refused(two, 2 * n, len, "content size");
	memcpy(two, good, stored);
	memcpy(two + stored, "\x50\x2A\x4D\x18\x01\0\0\0x", 9);
	refused(two, stored + 9, len, "frame length");
	memmove(two + 9, good, stored);
	memcpy(two, "\x50\x2A\x4D\x18\x01\0\0\0x", 9);
	refused(two, stored + 9, len, "magic");

	n = zstd_frame(frame, sizeof(frame), len, 0, 1, 0);
	refused(frame, n, len, "checksum flag");
	n = zstd_frame(frame, sizeof(frame), len, 1, 0, 0);
	refused(frame, n, len, "content size (absent)");
	memcpy(frame, good, stored);
	frame[4] |= 0x08;
	refused(frame, stored, len, "reserved bit");
	frame[4] = good[4] | 0x01;
	refused(frame, stored, len, "dictionary");
	frame[0] ^= 1;
	refused(frame, stored, len, "magic");
	/* A window of 32 MiB: descriptor 0x78, with an 8-byte content size. */
	memcpy(frame, "\x28\xB5\x2F\xFD\xC4\x78", 6);
	put_le64(frame + 6, len);
	refused(frame, 100, len, "window");
	free(good);
}

/* A small frame that says it holds more than it should: refused before a byte comes out. */
static void test_bomb(void **state)
{
	static uint8_t frame[40];
	uint8_t plain[4096];
	struct err e;

	(void)state;
	hole_bytes(HOLE_MAX_BYTES, 0, frame, sizeof(frame));
	frame[4] |= 0x04;
	memset(plain, 0xAA, sizeof(plain));
	assert_error(unpack(frame, sizeof(frame), plain, sizeof(plain), &e), ERR_DAMAGED, &e,
		"content size");
	assert_int_equal(plain[0], 0xAA);
	/* It lies about its size: zstd meets more than it was told, and nothing is written
	 * behind. */
	put_le32(frame + 6, 4096);
	refused(frame, sizeof(frame), 4096, "frame");
}

/* Any flipped bit of a frame: refused, or the same bytes come out; never others. */
static void test_flipped_bits(void **state)
{
	const size_t len = 3000;
	size_t stored, same = 0;
	uint8_t *frame = pack_fresh(3, mixed, len, &stored), plain[3000];
	struct unpacker *u;
	struct err e;

	(void)state;
	assert_fine(unpacker_new(&u, &e), &e);
	for (size_t bit = 0; bit < 8 * stored; bit++) {
		int rc;

		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
		rc = unpacker_unpack(u, frame, stored, plain, len, &e);
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (rc == 0) {
			assert_memory_equal(plain, mixed, len);
			same++;
		} else {
			assert_int_equal(rc, -ERR_DAMAGED);
		}
	}
	assert_true(same < stored);
	/* And the context is none the worse for it. */
	assert_fine(unpacker_unpack(u, frame, stored, plain, len, &e), &e);
	assert_memory_equal(plain, mixed, len);
	unpacker_free(u);
	unpacker_free(NULL);
	free(frame);
}

/* Of a frame whose last four bytes, zstd's checksum, are others, all bytes come out. */
static void test_skipped_checksum(void **state)
{
	const size_t len = 3000;
	size_t stored;
	uint8_t *frame = pack_fresh(3, mixed, len, &stored), plain[3000];
	struct unpacker *u;
	struct err e;

	(void)state;
	assert_fine(unpacker_new(&u, &e), &e);
	frame[stored - 1] ^= 1;
	assert_error(unpacker_unpack(u, frame, stored, plain, len, &e), ERR_DAMAGED, &e,
		"checksum");
	unpacker_skip_checksum(u);
	assert_fine(unpacker_unpack(u, frame, stored, plain, len, &e), &e);
	assert_memory_equal(plain, mixed, len);
	unpacker_free(u);
	free(frame);
}

/* ---- Holes ---- */

/* The bytes of the specification, section 5, written out. */
static void test_hole_bytes(void **state)
{
	static const uint8_t want[] = { 0x28, 0xB5, 0x2F, 0xFD, 0x80, 0x38, 7, 0, 2, 0, 0x02, 0,
		0x10, 0, 0x3B, 0, 0, 0 };
	uint8_t is[64];

	(void)state;
	/* 128 KiB and 7 bytes: one full block (2 + 0x20000 * 8), one last block (1 + 2 + 7 * 8). */
	assert_int_equal(hole_stored_bytes(131072 + 7), sizeof(want));
	assert_int_equal(hole_bytes(131072 + 7, 0, is, sizeof(is)), sizeof(want));
	assert_memory_equal(is, want, sizeof(want));
}

static void check_hole(uint64_t len)
{
	size_t n = hole_stored_bytes(len);
	uint8_t *frame = malloc(n + 1);

	assert_non_null(frame);
	frame[n] = 0xEE;
	assert_int_equal(hole_bytes(len, 0, frame, n + 1), n);
	assert_int_equal(frame[n], 0xEE);
	assert_int_equal(hole_bytes(len, n, frame, 1), 0);
	format_spit(format_path("hole"), frame, n);
	assert_int_equal(format_run("zstd -tq '%s'", format_path("hole")), 0);
	assert_int_equal(format_run("test $(zstd -dcq '%s' | wc -c) = %" PRIu64,
				 format_path("hole"), len),
		0);
	assert_int_equal(format_run("zstd -dcq '%s' | cmp -n %" PRIu64 " - /dev/zero",
				 format_path("hole"), len),
		0);
	free(frame);
}

static void test_hole_zstd(void **state)
{
	(void)state;
	check_hole(1);
	check_hole(4096);
	check_hole(131071);
	check_hole(131072);
	check_hole(131073);
	check_hole(1234567);
	check_hole(HOLE_MAX_BYTES - 1);
	check_hole(HOLE_MAX_BYTES);
}

/* Any piece is the piece of the whole. */
static void test_hole_pieces(void **state)
{
	const uint64_t len = 10 * 131072 + 99;
	uint8_t whole[64], piece[64];
	size_t n = hole_stored_bytes(len);

	(void)state;
	assert_int_equal(n, 54);
	hole_bytes(len, 0, whole, sizeof(whole));
	for (size_t from = 0; from <= n; from++) {
		for (size_t want = 0; from + want <= n + 3; want++) {
			size_t got = hole_bytes(len, from, piece, want);

			assert_int_equal(got, min_u64(want, n - from));
			assert_memory_equal(piece, whole + from, got);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_stock_zstd),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_deterministic),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_skipped_checksum),
		cmocka_unit_test(test_hole_bytes),
		cmocka_unit_test(test_hole_zstd),
		cmocka_unit_test(test_hole_pieces),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
