/* CHNK and TABL, the two records of a chunk: specification, sections 3.2 and 3.3. */
#include <inttypes.h>

#include "codec/block.h"
#include "format/layout.h"
#include "format/layout_int.h"

_Static_assert(CHNK_BODY_BYTES == 40, "the body of CHNK");
_Static_assert(TABL_FIXED_BYTES == 40, "the fixed part of TABL");
/* The most entries and bad ranges that there may be fit a body. */
_Static_assert(TABL_FIXED_BYTES +
			(uint64_t)CHUNK_MAX_BLOCKS * (ENTRY_FIXED_BYTES + HASH_MAX_BYTES) +
			(uint64_t)TABL_MAX_BAD_RANGES * BAD_RANGE_BYTES <=
		TABL_MAX_BODY_BYTES,
	"a full TABL");

uint32_t layout_chnk_encode(const struct layout_chnk *c, uint8_t *body)
{
	put_le64(body, c->number);
	put_le64(body + 8, c->off);
	put_le64(body + 16, c->len);
	put_le64(body + 24, c->prev_table);
	put_le32(body + 32, c->prev_table_len);
	put_le32(body + 36, 0);
	return CHNK_BODY_BYTES;
}

/* The three fields that CHNK and TABL begin with must be what HEAD makes of the number. */
static int check_place(const uint8_t *body, const struct layout_head *h, const char *record,
	struct err *e)
{
	const uint64_t number = get_le64(body);

	if (number >= layout_chunk_count(h))
		return layout_bad(e, record, "chunk number");
	if (get_le64(body + 8) != number * h->chunk_bytes)
		return layout_bad(e, record, "source offset");
	if (get_le64(body + 16) != layout_chunk_len(h, number))
		return layout_bad(e, record, "source length");
	return 0;
}

int layout_chnk_decode(const uint8_t *body, size_t n, const struct layout_head *h,
	struct layout_chnk *c, struct err *e)
{
	uint64_t end;

	if (n != CHNK_BODY_BYTES)
		return layout_bad(e, "CHNK", "body length");
	if (check_place(body, h, "CHNK", e) < 0)
		return -ERR_DAMAGED;
	c->number = get_le64(body);
	c->off = get_le64(body + 8);
	c->len = get_le64(body + 16);
	c->prev_table = get_le64(body + 24);
	c->prev_table_len = get_le32(body + 32);
	if (get_le32(body + 36) != 0)
		return layout_bad(e, "CHNK", "reserved field");
	if (c->number == 0 && (c->prev_table != 0 || c->prev_table_len != 0))
		return layout_bad(e, "CHNK", "previous table");
	if (c->number > 0 &&
		(c->prev_table == 0 || c->prev_table_len < RECORD_OVERHEAD_BYTES ||
			!add_u64(c->prev_table, c->prev_table_len, &end)))
		return layout_bad(e, "CHNK", "previous table");
	return 0;
}

struct layout_entry layout_entry_at(const struct layout_tabl *t, uint32_t i)
{
	const uint8_t *p = t->entry_bytes + (size_t)i * (ENTRY_FIXED_BYTES + t->hash_len);

	return (struct layout_entry){
		.kind = (enum entry_kind)p[0],
		.blocks = get_le32(p + 4),
		.stored = get_le32(p + 8),
		.hash = p + ENTRY_FIXED_BYTES,
	};
}

void layout_bad_at(const struct layout_tabl *t, uint32_t i, uint64_t *off, uint64_t *len)
{
	*off = get_le64(t->bad_bytes + (size_t)i * BAD_RANGE_BYTES);
	*len = get_le64(t->bad_bytes + (size_t)i * BAD_RANGE_BYTES + 8);
}

void layout_entry_encode(const struct layout_entry *x, size_t hash_n, uint8_t *p)
{
	p[0] = (uint8_t)x->kind;
	memset(p + 1, 0, 3);
	put_le32(p + 4, x->blocks);
	put_le32(p + 8, x->stored);
	if (x->hash != NULL)
		memcpy(p + ENTRY_FIXED_BYTES, x->hash, hash_n);
	else
		memset(p + ENTRY_FIXED_BYTES, 0, hash_n);
}

/* Bad ranges: not empty, inside the chunk, ascending, and none touches the one before. */
static int check_bad_ranges(const struct layout_tabl *t, struct err *e)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < t->bad_ranges; i++) {
		uint64_t off, len;

		layout_bad_at(t, i, &off, &len);
		if (len == 0 || off < t->off || !range_inside(off - t->off, len, t->len))
			return layout_bad(e, "TABL", "bad range");
		if (i > 0 && off <= end)
			return layout_bad(e, "TABL", "order of bad ranges");
		end = off + len;
	}
	return 0;
}

/*
 * Is [off, off + len) inside one bad range? Ranges do not touch, so that several can't cover it.
 * *i walks along the ranges as the entries ascend.
 */
static bool is_covered(const struct layout_tabl *t, uint64_t off, uint64_t len, uint32_t *i)
{
	for (; *i < t->bad_ranges; ++*i) {
		uint64_t bad_off, bad_len;

		layout_bad_at(t, *i, &bad_off, &bad_len);
		if (bad_off + bad_len >= off + len)
			return bad_off <= off;
	}
	return false;
}

/* Does a bad range touch [off, off + len)? *i walks along as above. */
static bool is_touched(const struct layout_tabl *t, uint64_t off, uint64_t len, uint32_t *i)
{
	for (; *i < t->bad_ranges; ++*i) {
		uint64_t bad_off, bad_len;

		layout_bad_at(t, *i, &bad_off, &bad_len);
		if (bad_off + bad_len > off)
			return bad_off < off + len;
	}
	return false;
}

/* One entry, whose blocks begin at source offset `off`; *len gets its source bytes. */
static int check_entry(const struct layout_tabl *t, uint32_t i, const struct layout_head *h,
	uint64_t off, uint64_t *len, struct err *e)
{
	const struct layout_entry x = layout_entry_at(t, i);
	const uint64_t left = t->off + t->len - off;

	if (!mem_is_zero(x.hash - ENTRY_FIXED_BYTES + 1, 3))
		return layout_bad(e, "TABL", "reserved field of an entry");
	if (x.kind < ENTRY_DATA || x.kind > ENTRY_BAD)
		return layout_bad(e, "TABL", "kind of an entry");
	if (x.blocks == 0 || x.blocks > layout_blocks(h, left) ||
		(x.kind == ENTRY_DATA && x.blocks != 1))
		return layout_bad(e, "TABL", "blocks of an entry");
	*len = min_u64((uint64_t)x.blocks * h->block_bytes, left);
	if (x.kind == ENTRY_DATA) {
		if (x.stored == 0 || x.stored > block_bound((size_t)*len))
			return layout_bad(e, "TABL", "stored size of an entry");
		return 0;
	}
	if (*len > HOLE_MAX_BYTES)
		return layout_bad(e, "TABL", "blocks of an entry");
	if (x.stored != hole_stored_bytes(*len))
		return layout_bad(e, "TABL", "stored size of an entry");
	if (!mem_is_zero(x.hash, t->hash_len))
		return layout_bad(e, "TABL", "hash of a hole");
	return 0;
}

static int check_entries(const struct layout_tabl *t, const struct layout_head *h, struct err *e)
{
	const uint64_t end = t->off + t->len;
	uint64_t off = t->off, stored = 0, len = 0;
	uint32_t covering = 0, touching = 0;

	for (uint32_t i = 0; i < t->entries; i++) {
		const struct layout_entry x = layout_entry_at(t, i);

		if (off == end)
			return layout_bad(e, "TABL", "entries (more than the chunk has blocks)");
		if (check_entry(t, i, h, off, &len, e) < 0)
			return -ERR_DAMAGED;
		if (x.kind == ENTRY_BAD && !is_covered(t, off, len, &covering))
			return layout_bad(e, "TABL", "bad entry (not covered by a bad range)");
		if ((x.kind == ENTRY_ZERO || x.kind == ENTRY_FREE) &&
			is_touched(t, off, len, &touching))
			return layout_bad(e, "TABL", "entry (a hole in a bad range)");
		off += len;
		stored += x.stored; /* 65,536 times 2^32 at most */
	}
	if (off != end)
		return layout_bad(e, "TABL", "entries (fewer than the chunk has blocks)");
	if (stored != t->stored_len)
		return layout_bad(e, "TABL", "stored length");
	return 0;
}

int layout_tabl_decode(const uint8_t *body, size_t n, const struct layout_head *h,
	struct layout_tabl *t, struct err *e)
{
	uint64_t entry_bytes;

	if (n < TABL_FIXED_BYTES)
		return layout_bad(e, "TABL", "body length");
	if (check_place(body, h, "TABL", e) < 0)
		return -ERR_DAMAGED;
	t->number = get_le64(body);
	t->off = get_le64(body + 8);
	t->len = get_le64(body + 16);
	t->stored_len = get_le64(body + 24);
	t->entries = get_le32(body + 32);
	t->bad_ranges = get_le32(body + 36);
	t->hash_len = hash_len(h->hash);
	if (t->entries == 0 || t->entries > layout_blocks(h, t->len))
		return layout_bad(e, "TABL", "number of entries");
	if (t->bad_ranges > TABL_MAX_BAD_RANGES)
		return layout_bad(e, "TABL", "number of bad ranges");
	/* Both numbers are at most 65,536: no overflow. */
	entry_bytes = (uint64_t)t->entries * (ENTRY_FIXED_BYTES + t->hash_len);
	if (n != TABL_FIXED_BYTES + entry_bytes + (uint64_t)t->bad_ranges * BAD_RANGE_BYTES)
		return layout_bad(e, "TABL", "body length");
	t->entry_bytes = body + TABL_FIXED_BYTES;
	t->bad_bytes = t->entry_bytes + entry_bytes;
	if (check_bad_ranges(t, e) < 0)
		return -ERR_DAMAGED;
	return check_entries(t, h, e);
}
