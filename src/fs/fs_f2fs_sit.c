/*
 * The segment information table into the map. A block of it (struct f2fs_sit_block) has an entry
 * of 74 bytes for each of 55 segments. It has two copies: the first half of the area, and the
 * second; the checkpoint's bitmap says which one is valid, block by block. What the journal says of
 * a segment counts more than the table.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_f2fs_int.h"
#include "fs/fs_free_runs.h"

#define ENTRIES 55
#define ENTRY_BYTES 74

struct scan {
	struct fs_f2fs *v;
	struct fs_free_runs runs;
	uint64_t blocks_in_use, nodes;
	uint32_t free_segments;
	uint64_t free_start; /* of the free run that is open, in blocks of the main area */
	bool free_open;
};

/* ---- One segment ------------------------------------------------------------------------- */

/*
 * A log's next block must not be in use; one that only appends has nothing behind it either, and
 * nodes and data never share a segment (fs/f2fs/segment.c, sanity_check_curseg). A file system
 * without writes uses one log of each kind.
 */
static int check_logs(const struct scan *s, const struct f2fs_segment *x, bool *current,
	struct err *e)
{
	const struct f2fs_checkpoint *c = &s->v->checkpoint;

	*current = false;
	for (unsigned i = 0; i < F2FS_LOGS; i++) {
		uint32_t end = c->logs[i].reuses ? c->logs[i].next + 1 : F2FS_SEGMENT_BLOCKS;

		if (c->logs[i].segment != x->number)
			continue;
		*current = true;
		if (s->v->super.readonly && i % F2FS_NODE_LOG != 0)
			continue;
		if (x->blocks > 0 && (i >= F2FS_NODE_LOG) != (x->log >= F2FS_NODE_LOG))
			return err_set(e, ERR_FORMAT, 0,
				"segment %" PRIu32 ": its type is %u, but log %u is in it",
				x->number, x->log, i);
		for (uint32_t at = c->logs[i].next; at < end; at++)
			if (fs_f2fs_bit(x->bits, at))
				return err_set(e, ERR_FORMAT, 0,
					"segment %" PRIu32 ": log %u goes on at block %" PRIu32
					", but block %" PRIu32 " is in use",
					x->number, i, c->logs[i].next, at);
	}
	return 0;
}

static int end_run(struct scan *s, uint64_t end, struct err *e)
{
	uint64_t first = s->v->super.main_block + s->free_start;

	s->free_open = false;
	return fs_free_runs_add(&s->runs, first * F2FS_BLOCK_BYTES,
		(end - s->free_start) * F2FS_BLOCK_BYTES, e);
}

/* Are the 64 blocks from `at` on alike? */
static bool is_even(const uint8_t *bits, uint32_t at)
{
	uint64_t word;

	if (at % 64 != 0)
		return false;
	word = get_be64(bits + at / 8);
	return word == 0 || word == UINT64_MAX;
}

/* Free runs of a segment; one that reaches its end stays open for the next. */
static int add_free(struct scan *s, const struct f2fs_segment *x, struct err *e)
{
	uint64_t first = (uint64_t)x->number * F2FS_SEGMENT_BLOCKS;

	for (uint32_t at = 0; at < F2FS_SEGMENT_BLOCKS; at += is_even(x->bits, at) ? 64 : 1) {
		bool used = fs_f2fs_bit(x->bits, at);

		if (!used && !s->free_open) {
			s->free_open = true;
			s->free_start = first + at;
		} else if (used && s->free_open && end_run(s, first + at, e) < 0) {
			return -ERR_INTERNAL;
		}
	}
	return 0;
}

static int add_segment(struct scan *s, const struct f2fs_segment *x, struct err *e)
{
	bool current;
	int rc = check_logs(s, x, &current, e);

	if (rc < 0)
		return rc;
	s->blocks_in_use += x->blocks;
	if (x->log >= F2FS_NODE_LOG) {
		s->nodes += x->blocks;
		s->v->node_segments[x->number / 8] |= (uint8_t)(0x80 >> x->number % 8);
	}
	if (x->blocks == 0 && !current)
		s->free_segments++;
	return add_free(s, x, e);
}

/* ---- The table --------------------------------------------------------------------------- */

static const struct f2fs_segment *in_journal(const struct f2fs_checkpoint *c, uint32_t number)
{
	for (unsigned i = 0; i < c->sit_journal_count; i++)
		if (c->sit_journal[i].number == number)
			return &c->sit_journal[i];
	return NULL;
}

static int add_block(struct scan *s, uint32_t index, struct err *e)
{
	const struct f2fs_super *super = &s->v->super;
	const struct f2fs_checkpoint *c = &s->v->checkpoint;
	uint8_t buf[F2FS_BLOCK_BYTES];
	uint64_t block = (uint64_t)super->sit_block + index;
	int rc;

	if (fs_f2fs_bit(c->sit_bits, index))
		block += (uint64_t)super->sit_segments / 2 * F2FS_SEGMENT_BLOCKS;
	rc = fs_f2fs_read(s->v->dev, block, 1, buf, "segment table", e);
	for (uint32_t i = 0; i < ENTRIES && rc == 0; i++) {
		uint32_t number = index * ENTRIES + i;
		const struct f2fs_segment *newer;
		struct f2fs_segment x;

		if (number >= super->main_segments)
			break;
		newer = in_journal(c, number);
		if (!newer)
			rc = fs_f2fs_segment_decode(buf + (size_t)i * ENTRY_BYTES, number, &x, e);
		if (rc == 0)
			rc = add_segment(s, newer ? newer : &x, e);
	}
	return rc;
}

/* Fewer blocks than the checkpoint counts may be right, which fs_f2fs_nat_check finds out. */
static int check_totals(const struct scan *s, struct err *e)
{
	const struct f2fs_checkpoint *c = &s->v->checkpoint;

	if (s->nodes != c->nodes)
		return err_set(e, ERR_FORMAT, 0,
			"the segment table has %" PRIu64 " nodes, the checkpoint says %" PRIu32,
			s->nodes, c->nodes);
	if (s->blocks_in_use > c->blocks_in_use)
		return err_set(e, ERR_FORMAT, 0,
			"the segment table has %" PRIu64
			" blocks in use, the checkpoint says %" PRIu64,
			s->blocks_in_use, c->blocks_in_use);
	s->v->missing = c->blocks_in_use - s->blocks_in_use;
	if (s->free_segments != c->free_segments)
		return err_set(e, ERR_FORMAT, 0,
			"the segment table has %" PRIu32
			" free segments, the checkpoint says %" PRIu32,
			s->free_segments, c->free_segments);
	return 0;
}

int fs_f2fs_sit_map(struct fs_f2fs *v, struct map *m, bool *coarse, struct err *e)
{
	struct scan s = { .v = v, .runs = { .m = m, .unit_bytes = F2FS_BLOCK_BYTES } };
	uint32_t segments = v->super.main_segments;
	uint64_t blocks = div_up(segments, ENTRIES);
	int rc = 0;

	if (blocks > (uint64_t)v->super.sit_segments / 2 * F2FS_SEGMENT_BLOCKS)
		return err_set(e, ERR_FORMAT, 0, "superblock: segment_count_sit is %" PRIu32,
			v->super.sit_segments);
	for (uint32_t index = 0; index < blocks && rc == 0; index++)
		rc = add_block(&s, index, e);
	if (rc == 0 && s.free_open)
		rc = end_run(&s, (uint64_t)segments * F2FS_SEGMENT_BLOCKS, e);
	if (rc == 0)
		rc = check_totals(&s, e);
	*coarse = s.runs.min_bytes != 0;
	return rc;
}
