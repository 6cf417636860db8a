/*
 * layout: what is encoded decodes to the same, lies where the specification says, and for each
 * field of each record there is a value that is refused by its name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/block.h"
#include "format/layout.h"
#include "format_helper.h"

static const uint8_t run[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

static struct layout_head sample_head(void)
{
	struct layout_head h = {
		.major = 2,
		.source_bytes = 10 * 65536 + 100,
		.chunk_bytes = 4 * 65536,
		.block_bytes = 65536,
		.logical_bytes = 512,
		.physical_bytes = 4096,
		.hash = HASH_XXH3,
		.created_s = 0x1122334455667788,
		.text = "{\"tool\":\"x\"}",
		.text_len = 12,
	};

	for (size_t i = 0; i < 16; i++) {
		h.uuid[i] = (uint8_t)(1 + i);
		h.map_digest[i] = (uint8_t)(0x20 + i);
		h.parent_uuid[i] = (uint8_t)(0x40 + i);
	}
	for (size_t i = 0; i < 32; i++)
		h.parent_root[i] = (uint8_t)(0x60 + i);
	return h;
}

/* A change of one field of a body, and the word that the refusal must have. */
struct change {
	size_t at, size;
	uint64_t value;
	const char *part;
	int code; /* 0: ERR_DAMAGED */
};

static void put(uint8_t *p, size_t size, uint64_t value)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

/* ---- Records ---- */

static uint8_t *sealed(enum record_type type, uint64_t pos, uint32_t body_len, size_t *len)
{
	uint8_t *frame = malloc(layout_record_len(type, pos, body_len));

	assert_non_null(frame);
	memset(frame + RECORD_HEAD_BYTES, 0x5A, body_len);
	*len = layout_record_seal(frame, type, pos, run, body_len);
	assert_int_equal(*len, layout_record_len(type, pos, body_len));
	return frame;
}

static void test_record_bytes(void **state)
{
	size_t len;
	uint8_t *f = sealed(REC_TAIL, 0x123456, 152, &len), sum[16];

	(void)state;
	assert_int_equal(len, 208);
	assert_memory_equal(f, "\x5D\x2A\x4D\x18", 4);
	assert_int_equal(get_le32(f + 4), 200);
	assert_memory_equal(f + 8, "IMGTTAIL", 8);
	assert_int_equal(get_le64(f + 16), 0x123456);
	assert_memory_equal(f + 24, run, 8);
	assert_int_equal(get_le32(f + 32), 152);
	assert_int_equal(get_le32(f + 36), 0);
	hash_bytes(HASH_XXH3, f, 192, sum);
	assert_memory_equal(f + 192, sum, 16);
	free(f);
}

static const struct {
	enum record_type type;
	const char *name;
	uint32_t min, max;
	bool padded;
} types[] = {
	{ REC_HEAD, "HEAD", 160, 1 << 20, true },
	{ REC_CHNK, "CHNK", 40, 40, false },
	{ REC_TABL, "TABL", 40, 5 << 20, true },
	{ REC_INDX, "INDX", 8, (48 << 20) + 8, false },
	{ REC_META, "META", 0, 16 << 20, false },
	{ REC_COPY, "COPY", 160, 1 << 20, false },
	{ REC_TAIL, "TAIL", 152, 152, false },
};

static void test_record_lengths(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		uint64_t pos =
			types[i].padded ? 4096 * 7 + (types[i].type == REC_TABL ? 1234 : 0) : 999;
		const uint8_t *body;
		uint32_t n;
		struct err e;
		size_t len, peeked;
		uint8_t *f;

		assert_string_equal(layout_record_name(types[i].type), types[i].name);
		for (int big = 0; big < 2; big++) {
			uint32_t limit = big ? types[i].max : types[i].min;

			f = sealed(types[i].type, pos, limit, &len);
			if (types[i].padded)
				assert_int_equal((pos + len) % 4096, 0);
			else
				assert_int_equal(len, 56 + limit);
			assert_fine(layout_record_peek(f, types[i].type, pos, run, &peeked, &e),
				&e);
			assert_int_equal(peeked, len);
			assert_fine(layout_record_open(f, len, types[i].type, pos, run, &body, &n,
					    &e),
				&e);
			assert_int_equal(n, limit);
			assert_ptr_equal(body, f + 40);
			free(f);
		}
		/* One more than the limit, sealed as if it were right. */
		f = sealed(types[i].type, pos, types[i].max + 1, &len);
		assert_error(layout_record_open(f, len, types[i].type, pos, run, &body, &n, &e),
			ERR_DAMAGED, &e, "body length");
		free(f);
		if (types[i].min > 0) {
			f = sealed(types[i].type, pos, types[i].min - 1, &len);
			assert_error(layout_record_open(f, len, types[i].type, pos, run, &body, &n,
					     &e),
				ERR_DAMAGED, &e, "body length");
			free(f);
		}
	}
}

static void open_changed(const struct change *c, enum record_type type, bool reseal)
{
	const uint64_t pos = 8192 + 5;
	const uint8_t *body;
	uint32_t n;
	struct err e;
	size_t len;
	uint8_t *f = sealed(type, pos, 200, &len);

	put(f + c->at, c->size, c->value);
	if (reseal)
		hash_bytes(HASH_XXH3, f, len - 16, f + len - 16);
	assert_error(layout_record_open(f, len, type, pos, run, &body, &n, &e), ERR_DAMAGED, &e,
		c->part);
	free(f);
}

static void test_record_refusals(void **state)
{
	static const struct change changes[] = {
		{ 0, 4, 0x184D2A5E, "magic", 0 },
		{ 4, 4, 0, "frame size", 0 },
		{ 4, 4, 0xFFFFFFFF, "frame size", 0 },
		{ 8, 4, 0x54474D48, "signature", 0 },
		{ 12, 4, 0x58444E49, "type", 0 },
		{ 16, 8, 8192, "position", 0 },
		{ 24, 8, 9, "run", 0 },
		{ 32, 4, 199, "padding length", 0 },
		{ 32, 4, 0xFFFFFFFF, "body length", 0 },
		{ 36, 4, 1, "padding length", 0 },
		{ 36, 4, 4095, "padding length", 0 },
		{ 36, 4, 0xFFFFFFF0, "padding length", 0 },
		/* The first byte of the padding. */
		{ 240, 1, 1, "padding", 0 },
	};
	const uint8_t *body;
	uint32_t n;
	struct err e;
	uint8_t *f;
	size_t len;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(changes); i++)
		open_changed(&changes[i], REC_TABL, true);
	/* Any byte, not resealed. */
	for (size_t at = 40; at < 200; at++)
		open_changed(&(struct change){ at, 1, 0xA5, "checksum", 0 }, REC_TABL, false);
	f = sealed(REC_META, 77, 100, &len);
	assert_error(layout_record_open(f, len - 1, REC_META, 77, run, &body, &n, &e), ERR_DAMAGED,
		&e, "length");
	assert_error(layout_record_open(f, 55, REC_META, 77, run, &body, &n, &e), ERR_DAMAGED, &e,
		"length");
	f[len - 1] ^= 1;
	assert_error(layout_record_open(f, len, REC_META, 77, run, &body, &n, &e), ERR_DAMAGED, &e,
		"checksum");
	f[len - 1] ^= 1;
	/* The run is not looked at where it is not known. */
	assert_fine(layout_record_open(f, len, REC_META, 77, NULL, &body, &n, &e), &e);
	free(f);
}

/* ---- HEAD ---- */

static void test_head(void **state)
{
	struct layout_head h = sample_head(), back;
	uint8_t body[200];
	uint32_t n = layout_head_encode(&h, body);
	struct err e;

	(void)state;
	assert_int_equal(n, 172);
	assert_int_equal(get_le16(body), 2);
	assert_memory_equal(body + 32, h.uuid, 16);
	assert_int_equal(get_le64(body + 48), h.source_bytes);
	assert_int_equal(get_le64(body + 56), h.chunk_bytes);
	assert_int_equal(get_le32(body + 64), h.block_bytes);
	assert_int_equal(get_le32(body + 68), 512);
	assert_int_equal(get_le32(body + 72), 4096);
	assert_int_equal(body[76], 1);
	assert_int_equal(get_le64(body + 80), h.created_s);
	assert_memory_equal(body + 88, h.map_digest, 16);
	assert_memory_equal(body + 104, h.parent_uuid, 16);
	assert_memory_equal(body + 120, h.parent_root, 32);
	assert_int_equal(get_le32(body + 152), 12);
	assert_memory_equal(body + 160, h.text, 12);

	memset(&back, 0, sizeof(back));
	assert_fine(layout_head_decode(body, n, &back, &e), &e);
	assert_memory_equal(back.text, h.text, 12);
	back.text = h.text;
	assert_memory_equal(&back, &h, sizeof(h));
	assert_int_equal(layout_chunk_count(&h), 3);
	assert_int_equal(layout_chunk_len(&h, 0), h.chunk_bytes);
	assert_int_equal(layout_chunk_len(&h, 2), 2 * 65536 + 100);
	assert_int_equal(layout_blocks(&h, 2 * 65536 + 100), 3);
}

static void test_head_refusals(void **state)
{
	static const struct change changes[] = {
		{ 0, 2, 1, "major", ERR_FORMAT },
		{ 0, 2, 3, "major", ERR_FORMAT },
		{ 4, 4, 1, "reserved", 0 },
		{ 8, 8, 1, "incompat", ERR_FORMAT },
		{ 8, 8, 2, "incompat", ERR_FORMAT },
		{ 8, 8, (uint64_t)1 << 63, "incompat", ERR_FORMAT },
		{ 48, 8, ((uint64_t)1 << 52) + 1, "source size", 0 },
		/* With this chunk size there would be more than 1,048,576 of them. */
		{ 48, 8, (uint64_t)1 << 52, "chunks", 0 },
		{ 56, 8, 0, "chunk size", 0 },
		{ 56, 8, 65536 + 4096, "chunk size", 0 },
		{ 56, 8, ((uint64_t)4 << 30) + 65536, "chunk size", 0 },
		{ 56, 8, (uint64_t)1 << 63, "chunk size", 0 },
		{ 64, 4, 0, "block size", 0 },
		{ 64, 4, 2048, "block size", 0 },
		{ 64, 4, 65537, "block size", 0 },
		{ 64, 4, 32 << 20, "block size", 0 },
		{ 68, 4, 0, "logical sector size", 0 },
		{ 68, 4, 256, "logical sector size", 0 },
		{ 68, 4, 513, "logical sector size", 0 },
		{ 68, 4, 128 << 10, "logical sector size", 0 },
		{ 72, 4, 0, "physical sector size", 0 },
		{ 72, 4, 128 << 10, "physical sector size", 0 },
		{ 76, 1, 0, "hash", 0 },
		{ 76, 1, 3, "hash", 0 },
		{ 77, 1, 1, "reserved", 0 },
		{ 79, 1, 1, "reserved", 0 },
		{ 152, 4, 11, "text length", 0 },
		{ 152, 4, 13, "text length", 0 },
		{ 152, 4, 0xFFFFFFFF, "text length", 0 },
		{ 156, 4, 1, "reserved", 0 },
	};
	struct layout_head h = sample_head(), back;
	uint8_t body[200], bad[200];
	uint32_t n = layout_head_encode(&h, body);
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		const struct change *c = &changes[i];

		memcpy(bad, body, n);
		put(bad + c->at, c->size, c->value);
		assert_error(layout_head_decode(bad, n, &back, &e),
			c->code != 0 ? c->code : ERR_DAMAGED, &e, c->part);
	}
	memcpy(bad, body, n);
	memset(bad + 32, 0, 16);
	assert_error(layout_head_decode(bad, n, &back, &e), ERR_DAMAGED, &e, "UUID");
	assert_error(layout_head_decode(body, 159, &back, &e), ERR_DAMAGED, &e, "body length");
	/* 65,537 blocks in a chunk. */
	memcpy(bad, body, n);
	put(bad + 64, 4, 4096);
	put(bad + 56, 8, 65537 * 4096ull);
	assert_error(layout_head_decode(bad, n, &back, &e), ERR_DAMAGED, &e, "chunk size");
	/* What later versions may set. */
	memcpy(bad, body, n);
	put(bad + 2, 2, 9);
	put(bad + 16, 8, 4);
	put(bad + 24, 8, 8);
	assert_fine(layout_head_decode(bad, n, &back, &e), &e);
	assert_int_equal(back.minor, 9);
	assert_int_equal(back.ro_compat, 4);
	assert_int_equal(back.compat, 8);
}

static void test_head_limits(void **state)
{
	struct layout_head h = sample_head();
	struct err e;

	(void)state;
	h.source_bytes = (uint64_t)1 << 52;
	h.chunk_bytes = (uint64_t)4 << 30;
	assert_fine(layout_head_check(&h, &e), &e);
	assert_int_equal(layout_chunk_count(&h), 1048576);
	h.source_bytes = 0;
	assert_fine(layout_head_check(&h, &e), &e);
	assert_int_equal(layout_chunk_count(&h), 0);
	h.block_bytes = 16 << 20;
	h.chunk_bytes = 16 << 20;
	assert_fine(layout_head_check(&h, &e), &e);
	h.block_bytes = 4096;
	h.chunk_bytes = 65536 * 4096;
	assert_fine(layout_head_check(&h, &e), &e);
	h.logical_bytes = h.physical_bytes = 65536;
	assert_fine(layout_head_check(&h, &e), &e);
	h.text_len = (1 << 20) - 160 + 1;
	assert_error(layout_head_check(&h, &e), ERR_DAMAGED, &e, "text length");
}

/* ---- CHNK ---- */

static void test_chnk(void **state)
{
	static const struct change changes[] = {
		{ 0, 8, 3, "chunk number", 0 },
		{ 0, 8, UINT64_MAX, "chunk number", 0 },
		{ 0, 8, 1, "source offset", 0 },
		{ 8, 8, 0, "source offset", 0 },
		{ 16, 8, 65536, "source length", 0 },
		{ 24, 8, 0, "previous table", 0 },
		{ 32, 4, 0, "previous table", 0 },
		{ 32, 4, 55, "previous table", 0 },
		{ 24, 8, UINT64_MAX - 100, "previous table", 0 },
		{ 36, 4, 1, "reserved", 0 },
	};
	struct layout_head h = sample_head();
	struct layout_chnk c = { 2, 2 * h.chunk_bytes, 2 * 65536 + 100, 77777, 4096 }, back;
	uint8_t body[40], bad[40];
	struct err e;

	(void)state;
	assert_int_equal(layout_chnk_encode(&c, body), 40);
	assert_int_equal(get_le64(body + 24), 77777);
	assert_int_equal(get_le32(body + 32), 4096);
	memset(&back, 0, sizeof(back));
	assert_fine(layout_chnk_decode(body, 40, &h, &back, &e), &e);
	assert_memory_equal(&back, &c, sizeof(c));
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		memcpy(bad, body, 40);
		put(bad + changes[i].at, changes[i].size, changes[i].value);
		assert_error(layout_chnk_decode(bad, 40, &h, &back, &e), ERR_DAMAGED, &e,
			changes[i].part);
	}
	assert_error(layout_chnk_decode(body, 39, &h, &back, &e), ERR_DAMAGED, &e, "body length");
	/* Chunk 0 has none before it. */
	c = (struct layout_chnk){ 0, 0, h.chunk_bytes, 0, 0 };
	layout_chnk_encode(&c, body);
	assert_fine(layout_chnk_decode(body, 40, &h, &back, &e), &e);
	put(body + 24, 8, 4096);
	assert_error(layout_chnk_decode(body, 40, &h, &back, &e), ERR_DAMAGED, &e,
		"previous table");
}

/* ---- TABL ---- */

#define E(i) (40 + 28 * (size_t)(i)) /* where entry i of the table below begins */

/*
 * The last chunk of sample_head: three blocks, the last one of 100 bytes. Data; bad; data, with
 * 50 bad bytes.
 */
static uint32_t sample_table(uint8_t *body)
{
	const uint64_t off = 8 * 65536;

	memset(body, 0, 200);
	put(body, 8, 2);
	put(body + 8, 8, off);
	put(body + 16, 8, 2 * 65536 + 100);
	put(body + 24, 8, 1000 + 14 + 90);
	put(body + 32, 4, 3);
	put(body + 36, 4, 2);
	for (int i = 0; i < 3; i++) {
		uint8_t *p = body + E(i);

		p[0] = i == 1 ? ENTRY_BAD : ENTRY_DATA;
		put(p + 4, 4, 1);
		put(p + 8, 4, i == 0 ? 1000 : i == 1 ? 14 : 90);
		memset(p + 12, i == 1 ? 0 : 0xC0 + i, 16);
	}
	put(body + E(3), 8, off + 65536);
	put(body + E(3) + 8, 8, 65536);
	put(body + E(3) + 16, 8, off + 131072 + 10);
	put(body + E(3) + 24, 8, 50);
	return (uint32_t)E(3) + 32;
}

static void test_tabl(void **state)
{
	struct layout_head h = sample_head();
	uint8_t body[200];
	uint32_t n = sample_table(body);
	struct layout_tabl t;
	struct layout_entry x;
	uint64_t off, len;
	struct err e;

	(void)state;
	assert_fine(layout_tabl_decode(body, n, &h, &t, &e), &e);
	assert_int_equal(t.number, 2);
	assert_int_equal(t.stored_len, 1104);
	assert_int_equal(t.entries, 3);
	x = layout_entry_at(&t, 2);
	assert_int_equal(x.kind, ENTRY_DATA);
	assert_int_equal(x.stored, 90);
	assert_int_equal(x.hash[0], 0xC2);
	layout_bad_at(&t, 1, &off, &len);
	assert_int_equal(off, 8 * 65536 + 131072 + 10);
	assert_int_equal(len, 50);
	/* What layout_entry_encode writes is what is read. */
	for (uint32_t i = 0; i < 3; i++) {
		uint8_t p[28];

		x = layout_entry_at(&t, i);
		if (x.kind == ENTRY_BAD)
			x.hash = NULL;
		memset(p, 0xEE, sizeof(p));
		layout_entry_encode(&x, 16, p);
		assert_memory_equal(p, body + E(i), sizeof(p));
	}
}

static void test_tabl_refusals(void **state)
{
	const uint64_t off = 8 * 65536;
	const struct change changes[] = {
		{ 0, 8, 3, "chunk number", 0 },
		{ 8, 8, 0, "source offset", 0 },
		{ 16, 8, 100, "source length", 0 },
		{ 24, 8, 1103, "stored length", 0 },
		{ 24, 8, UINT64_MAX, "stored length", 0 },
		{ 32, 4, 0, "number of entries", 0 },
		{ 32, 4, 4, "number of entries", 0 },
		{ 32, 4, 0xFFFFFFFF, "number of entries", 0 },
		{ 32, 4, 2, "body length", 0 },
		{ 36, 4, 1, "body length", 0 },
		{ 36, 4, 65537, "number of bad ranges", 0 },
		{ E(0), 1, 0, "kind", 0 },
		{ E(0), 1, 5, "kind", 0 },
		{ E(0) + 1, 1, 1, "reserved", 0 },
		{ E(0) + 3, 1, 1, "reserved", 0 },
		{ E(0) + 4, 4, 0, "blocks of an entry", 0 },
		{ E(0) + 4, 4, 2, "blocks of an entry", 0 },
		{ E(1) + 4, 4, 3, "blocks of an entry", 0 },
		{ E(1) + 4, 4, 0xFFFFFFFF, "blocks of an entry", 0 },
		{ E(0) + 8, 4, 0, "stored size", 0 },
		{ E(0) + 8, 4, (uint32_t)block_bound(65536) + 1, "stored size", 0 },
		/* The last block is short, and so is its bound. */
		{ E(2) + 8, 4, (uint32_t)block_bound(100) + 1, "stored size", 0 },
		{ E(1) + 8, 4, 18, "stored size", 0 },
		{ E(1) + 12, 1, 1, "hash of a hole", 0 },
		{ E(1) + 27, 1, 1, "hash of a hole", 0 },
		/* Bad ranges: empty, before and behind the chunk, out of order, touching. */
		{ E(3) + 8, 8, 0, "bad range", 0 },
		{ E(3), 8, off - 1, "bad range", 0 },
		{ E(3) + 24, 8, 91, "bad range", 0 },
		{ E(3) + 24, 8, UINT64_MAX, "bad range", 0 },
		{ E(3) + 16, 8, UINT64_MAX - 10, "bad range", 0 },
		{ E(3) + 16, 8, off + 10, "order of bad ranges", 0 },
		{ E(3) + 16, 8, off + 131072, "order of bad ranges", 0 },
		/* The bad entry's block is not covered any more. */
		{ E(3), 8, off + 65537, "not covered", 0 },
		{ E(3) + 8, 8, 65535, "not covered", 0 },
	};
	struct layout_head h = sample_head();
	uint8_t body[200], bad[200];
	uint32_t n = sample_table(body);
	struct layout_tabl t;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		memcpy(bad, body, n);
		put(bad + changes[i].at, changes[i].size, changes[i].value);
		if (changes[i].at == E(3) && changes[i].value == off + 65537)
			put(bad + E(3) + 8, 8, 65535);
		assert_error(layout_tabl_decode(bad, n, &h, &t, &e), ERR_DAMAGED, &e,
			changes[i].part);
	}
	for (uint32_t cut = 0; cut < n; cut++)
		assert_error(layout_tabl_decode(body, cut, &h, &t, &e), ERR_DAMAGED, &e,
			"body length");
	/* Entries that end before the chunk does; the other way round it is the number of blocks.
	 *  */
	memcpy(bad, body, n);
	put(bad + 32, 4, 2);
	memmove(bad + E(2), body + E(3), 32);
	assert_error(layout_tabl_decode(bad, n - 28, &h, &t, &e), ERR_DAMAGED, &e, "fewer");
	memcpy(bad, body, n);
	bad[E(0)] = ENTRY_ZERO;
	put(bad + E(0) + 4, 4, 3);
	put(bad + E(0) + 8, 4, 18);
	memset(bad + E(0) + 12, 0, 16);
	assert_error(layout_tabl_decode(bad, n, &h, &t, &e), ERR_DAMAGED, &e,
		"a hole in a bad range");
}

/* A bad range may lie in data, in whole or in part of a bad entry's, never in zeros or free
 * space. */
static void test_tabl_bad_places(void **state)
{
	static const struct {
		uint64_t off, len;
		enum entry_kind first, second; /* one block each, of 64 KiB */
		const char *part;	       /* NULL: it is good */
	} cases[] = {
		{ 0, 1, ENTRY_DATA, ENTRY_ZERO, NULL },
		{ 65535, 1, ENTRY_DATA, ENTRY_ZERO, NULL },
		{ 65536, 1, ENTRY_DATA, ENTRY_ZERO, "a hole in a bad range" },
		{ 65535, 2, ENTRY_DATA, ENTRY_FREE, "a hole in a bad range" },
		{ 131071, 1, ENTRY_DATA, ENTRY_FREE, "a hole in a bad range" },
		{ 65536, 1, ENTRY_ZERO, ENTRY_DATA, NULL },
		{ 65535, 1, ENTRY_ZERO, ENTRY_DATA, "a hole in a bad range" },
		{ 0, 65536, ENTRY_BAD, ENTRY_ZERO, NULL },
		{ 0, 65537, ENTRY_BAD, ENTRY_ZERO, "a hole in a bad range" },
		{ 0, 65537, ENTRY_BAD, ENTRY_DATA, NULL },
		{ 0, 131072, ENTRY_BAD, ENTRY_BAD, NULL },
		{ 0, 131071, ENTRY_BAD, ENTRY_BAD, "not covered" },
		{ 1, 131071, ENTRY_BAD, ENTRY_BAD, "not covered" },
		{ 65536, 65536, ENTRY_BAD, ENTRY_BAD, "not covered" },
		{ 0, 65536, ENTRY_DATA, ENTRY_BAD, "not covered" },
	};
	struct layout_head h = sample_head();

	(void)state;
	h.source_bytes = h.chunk_bytes = 2 * 65536;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const enum entry_kind kinds[2] = { cases[i].first, cases[i].second };
		uint8_t body[E(2) + 16] = { 0 };
		uint64_t stored = 0;
		struct layout_tabl t;
		struct err e;
		int rc;

		put(body + 16, 8, h.source_bytes);
		put(body + 32, 4, 2);
		put(body + 36, 4, 1);
		for (int k = 0; k < 2; k++) {
			struct layout_entry x = { kinds[k], 1, 14, NULL };

			layout_entry_encode(&x, 16, body + E(k));
			stored += 14;
		}
		put(body + 24, 8, stored);
		put(body + E(2), 8, cases[i].off);
		put(body + E(2) + 8, 8, cases[i].len);
		rc = layout_tabl_decode(body, sizeof(body), &h, &t, &e);
		if (cases[i].part == NULL)
			assert_fine(rc, &e);
		else
			assert_error(rc, ERR_DAMAGED, &e, cases[i].part);
	}
}

/* A hole over 512 MiB is refused, one of 512 MiB is not. */
static void test_tabl_long_hole(void **state)
{
	struct layout_head h = sample_head();
	uint8_t body[40 + 2 * 28] = { 0 };
	struct layout_tabl t;
	struct err e;

	(void)state;
	h.block_bytes = 1 << 20;
	h.chunk_bytes = (uint64_t)1 << 30;
	h.source_bytes = h.chunk_bytes;
	put(body + 16, 8, h.chunk_bytes);
	put(body + 32, 4, 2);
	for (int i = 0; i < 2; i++) {
		body[E(i)] = ENTRY_FREE;
		put(body + E(i) + 4, 4, 512);
		put(body + E(i) + 8, 4, hole_stored_bytes(HOLE_MAX_BYTES));
	}
	put(body + 24, 8, 2 * hole_stored_bytes(HOLE_MAX_BYTES));
	assert_fine(layout_tabl_decode(body, sizeof(body), &h, &t, &e), &e);
	put(body + E(0) + 4, 4, 513);
	put(body + E(0) + 8, 4, hole_stored_bytes((uint64_t)513 << 20));
	put(body + E(1) + 4, 4, 511);
	put(body + E(1) + 8, 4, hole_stored_bytes((uint64_t)511 << 20));
	assert_error(layout_tabl_decode(body, sizeof(body), &h, &t, &e), ERR_DAMAGED, &e,
		"blocks of an entry");
}

/* ---- INDX ---- */

static uint32_t sample_indx(uint8_t *body)
{
	uint64_t pos = 4096;

	put(body, 8, 3);
	for (uint64_t i = 0; i < 3; i++) {
		struct layout_indx_entry x = { pos, pos + 8192 - 500, 500, 1 + (uint32_t)i,
			65536 * i, { 0 } };

		memset(x.table_sum, (int)i, 16);
		layout_indx_entry_encode(&x, body + 8 + 48 * i);
		pos += 8192;
	}
	return 8 + 3 * 48;
}

static void test_indx(void **state)
{
	static const struct change changes[] = {
		{ 0, 8, 2, "chunks", 0 },
		{ 0, 8, UINT64_MAX, "chunks", 0 },
		{ 8, 8, 8192, "chunk position", 0 },
		{ 8 + 48, 8, 0, "chunk position", 0 },
		{ 8 + 8, 8, 4096 + 95, "table position", 0 },
		{ 8 + 8, 8, UINT64_MAX - 4, "table position", 0 },
		{ 8 + 16, 4, 0, "table length", 0 },
		{ 8 + 16, 4, 501, "table length", 0 },
		{ 8 + 16, 4, 0xFFFFF000 + 500, "table length", 0 },
		{ 8 + 2 * 48 + 16, 4, 500 + 4096, "table length", 0 },
		{ 8 + 20, 4, 0, "entries", 0 },
		{ 8 + 20, 4, 5, "entries", 0 },
		{ 8 + 24, 8, 4 * 65536 + 1, "data bytes", 0 },
	};
	struct layout_head h = sample_head();
	uint8_t body[200], bad[200];
	uint32_t n = sample_indx(body);
	struct layout_indx_entry x;
	const uint64_t end = 4096 + 3 * 8192;
	struct err e;

	(void)state;
	assert_fine(layout_indx_check(body, n, &h, 4096, end, &e), &e);
	layout_indx_entry_decode(body + 8 + 2 * 48, &x);
	assert_int_equal(x.chunk_pos, 4096 + 2 * 8192);
	assert_int_equal(x.table_pos, 4096 + 3 * 8192 - 500);
	assert_int_equal(x.table_len, 500);
	assert_int_equal(x.entries, 3);
	assert_int_equal(x.data_bytes, 131072);
	assert_int_equal(x.table_sum[15], 2);
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		memcpy(bad, body, n);
		put(bad + changes[i].at, changes[i].size, changes[i].value);
		assert_error(layout_indx_check(bad, n, &h, 4096, end, &e), ERR_DAMAGED, &e,
			changes[i].part);
	}
	assert_error(layout_indx_check(body, 7, &h, 4096, end, &e), ERR_DAMAGED, &e, "body length");
	assert_error(layout_indx_check(body, n - 1, &h, 4096, end, &e), ERR_DAMAGED, &e,
		"body length");
	assert_error(layout_indx_check(body, n, &h, 8192, end, &e), ERR_DAMAGED, &e,
		"chunk position");
	assert_error(layout_indx_check(body, n, &h, 4096, end + 4096, &e), ERR_DAMAGED, &e,
		"position");
}

/* ---- TAIL ---- */

static struct layout_tail sample_tail(void)
{
	struct layout_tail t = { .chunks = 3, .head_len = 4096, .indx_pos = 28672 };

	t.indx_len = 56 + 8 + 3 * 48;
	t.meta_pos = t.indx_pos + t.indx_len;
	t.meta_len = 400;
	t.copy_pos = t.meta_pos + t.meta_len;
	t.seek_pos = t.copy_pos + 56 + 200 + 208;
	t.seek_len = 17 + 8 * 20;
	t.file_len = t.seek_pos + t.seek_len;
	t.kind_bytes[ENTRY_DATA] = 1000;
	t.kind_bytes[ENTRY_ZERO] = 2000;
	t.kind_bytes[ENTRY_FREE] = 3000;
	t.kind_bytes[ENTRY_BAD] = 400;
	t.bad_range_bytes = 500;
	memset(t.root, 0xAB, 32);
	return t;
}

static void test_tail(void **state)
{
	static const struct change changes[] = {
		{ 0, 8, 5, "file length", 0 },
		{ 8, 8, 2, "INDX length", 0 },
		{ 8, 8, 1048577, "chunks", 0 },
		{ 8, 8, UINT64_MAX, "chunks", 0 },
		{ 16, 8, 0, "HEAD length", 0 },
		{ 16, 8, 4097, "HEAD length", 0 },
		{ 16, 8, 2 << 20, "HEAD length", 0 },
		{ 24, 8, 0, "INDX position", 0 },
		{ 24, 8, 28673, "INDX position", 0 },
		{ 24, 8, UINT64_MAX - 4095, "META position", 0 },
		{ 32, 8, 1, "INDX length", 0 },
		{ 40, 8, 28672, "META position", 0 },
		{ 48, 8, 55, "META length", 0 },
		{ 48, 8, 17 << 20, "META length", 0 },
		{ 48, 8, 401, "COPY position", 0 },
		{ 112, 8, 0, "COPY position", 0 },
		/* COPY has the fixed part of HEAD at least, and HEAD's length at most. */
		{ 56, 8, 0, "seek table position", 0 },
		{ 56, 8, 29280 + 56 + 159 + 208, "seek table position", 0 },
		{ 56, 8, 29280 + 4097 + 208, "seek table position", 0 },
		{ 56, 8, UINT64_MAX, "seek table position", 0 },
		{ 64, 8, 16, "seek table length", 0 },
		{ 64, 8, 18, "seek table length", 0 },
		{ 64, 8, UINT64_MAX, "seek table length", 0 },
		{ 64, 8, 25, "file length", 0 },
		{ 72, 8, (uint64_t)1 << 52, "bytes by kind", 0 },
		{ 96, 8, UINT64_MAX, "bytes by kind", 0 },
		{ 96, 8, 501, "bad range bytes", 0 },
		{ 104, 8, 399, "bad range bytes", 0 },
		{ 104, 8, 6401, "bad range bytes", 0 },
	};
	struct layout_tail t = sample_tail(), back;
	uint8_t body[152], bad[152];
	struct err e;

	(void)state;
	assert_int_equal(layout_tail_encode(&t, body), 152);
	assert_int_equal(get_le64(body + 72), 1000);
	assert_int_equal(get_le64(body + 96), 400);
	assert_int_equal(get_le64(body + 104), 500);
	assert_int_equal(get_le64(body + 112), 29280);
	assert_int_equal(body[120], 0xAB);
	memset(&back, 0, sizeof(back));
	assert_fine(layout_tail_decode(body, 152, &back, &e), &e);
	assert_memory_equal(&back, &t, sizeof(t));
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		memcpy(bad, body, 152);
		put(bad + changes[i].at, changes[i].size, changes[i].value);
		assert_error(layout_tail_decode(bad, 152, &back, &e), ERR_DAMAGED, &e,
			changes[i].part);
	}
	assert_error(layout_tail_decode(body, 151, &back, &e), ERR_DAMAGED, &e, "body length");
	/* Without a seek table. */
	t.seek_len = 0;
	t.file_len = t.seek_pos;
	layout_tail_encode(&t, body);
	assert_fine(layout_tail_decode(body, 152, &back, &e), &e);
}

static void test_seek_footer(void **state)
{
	uint8_t p[9] = { 5, 0, 0, 0, 0, 0xB1, 0xEA, 0x92, 0x8F };
	uint64_t len = 0;

	(void)state;
	assert_true(layout_seek_footer(p, 1000, &len));
	assert_int_equal(len, 17 + 5 * 8);
	assert_true(layout_seek_footer(p, 57, &len));
	assert_false(layout_seek_footer(p, 56, &len));
	p[4] = 0x80;
	assert_false(layout_seek_footer(p, 1000, &len));
	p[4] = 0;
	p[8] ^= 1;
	assert_false(layout_seek_footer(p, 1000, &len));
	p[8] ^= 1;
	put(p, 4, 0x8000001);
	assert_false(layout_seek_footer(p, UINT64_MAX, &len));
	put(p, 4, 0x8000000);
	assert_true(layout_seek_footer(p, UINT64_MAX, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_bytes),
		cmocka_unit_test(test_record_lengths),
		cmocka_unit_test(test_record_refusals),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_head_refusals),
		cmocka_unit_test(test_head_limits),
		cmocka_unit_test(test_chnk),
		cmocka_unit_test(test_tabl),
		cmocka_unit_test(test_tabl_refusals),
		cmocka_unit_test(test_tabl_bad_places),
		cmocka_unit_test(test_tabl_long_hole),
		cmocka_unit_test(test_indx),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_seek_footer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
