/*
 * TABL: the first byte chooses what HEAD says, the rest is the body. Of what is taken, the entries
 * cover the chunk without gaps, their frames have the lengths that they may have, and bad entries
 * lie in bad ranges.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "codec/block.h"
#include "format/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

/* 0 and 1: the golden images v2.0-mixed and v2.0-sha256, whose tables are seeds; 2: the largest. */
static const struct layout_head heads[] = {
	{ .source_bytes = 45 * 4096 + 1000,
		.chunk_bytes = 16 * 4096,
		.block_bytes = 4096,
		.hash = HASH_XXH3 },
	{ .source_bytes = 9 * 65536 + 512,
		.chunk_bytes = 4 * 65536,
		.block_bytes = 65536,
		.hash = HASH_SHA256 },
	{ .source_bytes = SOURCE_MAX_BYTES,
		.chunk_bytes = CHUNK_MAX_BYTES,
		.block_bytes = 65536,
		.hash = HASH_XXH3 },
};

/* Does the range meet one that could not be read? */
static bool meets_bad(const struct layout_tabl *t, uint64_t off, uint64_t len)
{
	for (uint32_t i = 0; i < t->bad_ranges; i++) {
		uint64_t bad_off, bad_len;

		layout_bad_at(t, i, &bad_off, &bad_len);
		if (bad_off < off + len && off < bad_off + bad_len)
			return true;
	}
	return false;
}

/* Is the range inside one that could not be read? */
static bool is_bad(const struct layout_tabl *t, uint64_t off, uint64_t len)
{
	for (uint32_t i = 0; i < t->bad_ranges; i++) {
		uint64_t bad_off, bad_len;

		layout_bad_at(t, i, &bad_off, &bad_len);
		if (bad_off <= off && off + len <= bad_off + bad_len)
			return true;
	}
	return false;
}

static void check_table(const struct layout_tabl *t, const struct layout_head *h)
{
	uint64_t off = t->off, stored = 0, end = t->off + t->len, bad_end = 0;

	must(t->len > 0 && end <= h->source_bytes);
	for (uint32_t i = 0; i < t->entries; i++) {
		const struct layout_entry x = layout_entry_at(t, i);
		uint64_t len = min_u64((uint64_t)x.blocks * h->block_bytes, end - off);

		must(off < end && x.blocks > 0);
		if (x.kind == ENTRY_DATA)
			must(len <= h->block_bytes && x.stored > 0 && x.stored <= block_bound(len));
		else
			must(len <= HOLE_MAX_BYTES && x.stored == hole_stored_bytes(len));
		if (x.kind == ENTRY_BAD)
			must(is_bad(t, off, len));
		if (x.kind == ENTRY_ZERO || x.kind == ENTRY_FREE)
			must(!meets_bad(t, off, len));
		off += len;
		stored += x.stored;
	}
	must(off == end && stored == t->stored_len);
	for (uint32_t i = 0; i < t->bad_ranges; i++) {
		uint64_t bad_off, bad_len;

		layout_bad_at(t, i, &bad_off, &bad_len);
		must(bad_len > 0 && bad_off >= t->off && (i == 0 || bad_off > bad_end));
		bad_end = bad_off + bad_len;
		must(bad_end > bad_off && bad_end <= end);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct layout_tabl t;
	struct err e = { 0 };
	const struct layout_head *h;
	int rc;

	if (size == 0)
		return 0;
	h = &heads[data[0] % COUNT_OF(heads)];
	rc = layout_tabl_decode(data + 1, size - 1, h, &t, &e);
	must(rc == 0 || (rc == -ERR_DAMAGED && e.msg[0] != 0));
	if (rc == 0)
		check_table(&t, h);
	return 0;
}
