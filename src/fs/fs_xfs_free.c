/*
 * Free space of XFS into a set of runs, one allocation group at a time. [XFS] "AG Free Space
 * Management": the second sector of a group (AGF, struct xfs_agf) has the roots of two trees with
 * the same records (first block, count), one ordered by block, one by size and block; the fourth
 * (AGFL) is a ring of blocks set aside for the trees. Blocks of trees: "B+trees", struct
 * xfs_btree_sblock_hdr.
 *
 *   AGF: 0x00 "XAGF"   0x10 root by block    0x28 first entry in use  0x3c blocks of trees
 *        0x04 1        0x14 root by size     0x2c last entry in use   0x40 UUID
 *        0x08 group    0x1c levels by block  0x30 entries in use      0x50 blocks of rmap tree
 *        0x0c length   0x20 levels by size   0x34 free blocks         0xd8 checksum
 *        0x18 root of rmap                   0x38 longest run      0xd0 LSN
 *   AGFL: 0x00 "XAFL", 0x04 group, 0x08 UUID, 0x18 LSN, 0x20 checksum, 0x24 block numbers
 *   tree block: 0x00 magic, 0x04 level, 0x06 count, 0x08 left, 0x0c right, 0x10 its own disk
 *        address, 0x18 LSN, 0x20 UUID, 0x30 group, 0x34 checksum, 0x38 records; or, above the
 *        leaves, 0x38 keys (the first record below each), then block numbers
 *
 * Blocks of the trees and of the AGFL are no records of the trees: data here, but in fdblocks of
 * the superblock they count as free, except the roots (fs/xfs/libxfs/xfs_ag.c in Linux,
 * xfs_initialize_perag_data: freeblks + flcount + btreeblks of all groups).
 */
#include <inttypes.h>

#include "fs/fs_xfs_int.h"

#define MAX_LEVELS 9 /* XFS_BTREE_MAXLEVELS */
#define RECORD_BYTES 8
#define POINTER_BYTES 4
#define AGFL_HEAD 0x24

/* What is read of trees at most: enough for a thousand million free runs. */
#define TREE_BYTES_MAX (16 * GIB)

/* As in fs_free_runs.c, for a set of free runs and nothing else: the shortest are left out. */
#define EXTENTS_MAX (2u << 20)

struct agf {
	uint32_t length, root[2], levels[2]; /* by block, by size */
	uint32_t first, last, count;	     /* of the AGFL */
	uint32_t free_blocks, longest, tree_blocks, rmap_root, rmap_blocks;
};

/* What was seen of a tree. */
struct tree {
	bool by_size;
	uint32_t level_last[MAX_LEVELS],
		level_right[MAX_LEVELS]; /* the latest block of each level */
	uint32_t start, len;		 /* the latest record */
	uint64_t blocks, records, free_blocks, longest;
	uint64_t mix; /* of all records, whatever their order */
};

struct scan {
	struct dev *dev;
	const struct xfs_super *s;
	bool strict;
	uint64_t newest; /* LSN: no block may have a higher one */
	struct xfs_free *out;
	uint8_t *buf[MAX_LEVELS]; /* a block for each level */
	uint32_t ag;
	struct agf agf;
	uint32_t *seen; /* blocks of trees in this group */
	size_t seen_count, seen_room;
	uint64_t budget;
};

static uint64_t offset_of(const struct scan *c, uint32_t block)
{
	return ((uint64_t)c->ag * c->s->ag_blocks + block) * c->s->block_bytes;
}

static int damaged(const struct scan *c, struct err *e, const char *what)
{
	return err_set(e, ERR_FORMAT, 0, "group %" PRIu32 ": %s", c->ag, what);
}

static int damaged_block(const struct scan *c, struct err *e, uint32_t block, const char *what)
{
	return err_set(e, ERR_FORMAT, 0, "group %" PRIu32 ": block %" PRIu32 ": %s", c->ag, block,
		what);
}

/*
 * Is an LSN beyond the log's head? Metadata is written after the log only, so what looks newer was
 * read while it changed, or the log is not its own. ~0 stands for none.
 */
static bool is_too_new(const struct scan *c, const uint8_t *lsn)
{
	return c->strict && get_be64(lsn) > c->newest && get_be64(lsn) != UINT64_MAX;
}

/* ---- Headers of a group ------------------------------------------------------------------ */

static int read_sector(struct scan *c, unsigned sector, uint8_t *p, struct err *e)
{
	uint64_t off = offset_of(c, 0) + (uint64_t)sector * c->s->sector_bytes;

	return dev_read(c->dev, off, p, c->s->sector_bytes, e);
}

static int decode_agf(struct scan *c, const uint8_t *p, struct err *e)
{
	struct agf *a = &c->agf;

	if (get_be32(p) != XFS_MAGIC_AGF || get_be32(p + 0x04) != 1)
		return damaged(c, e, "the AGF has no magic number");
	if (!fs_xfs_checksum_fits(p, c->s->sector_bytes, 0xd8))
		return damaged(c, e, "the AGF's checksum is wrong");
	if (get_be32(p + 0x08) != c->ag || memcmp(p + 0x40, c->s->id, XFS_UUID_BYTES) != 0)
		return damaged(c, e, "the AGF is another one's");
	if (is_too_new(c, p + 0xd0))
		return damaged(c, e, "the AGF is newer than the log");
	*a = (struct agf){
		.length = get_be32(p + 0x0c),
		.root = { get_be32(p + 0x10), get_be32(p + 0x14) },
		.levels = { get_be32(p + 0x1c), get_be32(p + 0x20) },
		.first = get_be32(p + 0x28),
		.last = get_be32(p + 0x2c),
		.count = get_be32(p + 0x30),
		.free_blocks = get_be32(p + 0x34),
		.longest = get_be32(p + 0x38),
		.tree_blocks = get_be32(p + 0x3c),
		.rmap_root = get_be32(p + 0x18),
		.rmap_blocks = get_be32(p + 0x50),
	};
	if (a->length != fs_xfs_ag_length(c->s, c->ag))
		return damaged(c, e, "the AGF has another length");
	for (int i = 0; i < 2; i++)
		if (a->levels[i] == 0 || a->levels[i] > MAX_LEVELS)
			return damaged(c, e, "the AGF has a wrong number of levels");
	return 0;
}

/* Is [block, block + count) outside of all that was called free? */
static int check_kept(struct scan *c, const char *what, uint64_t block, uint64_t count,
	struct err *e)
{
	uint64_t bytes = c->s->block_bytes;
	struct extent x;

	if (!range_inside(block, count, c->agf.length))
		return err_set(e, ERR_FORMAT, 0,
			"group %" PRIu32 ": its %s, at block %" PRIu64 ", lies outside", c->ag,
			what, block);
	x = map_run(c->out->map, offset_of(c, (uint32_t)block), NULL);
	if (count != 0 && (x.kind == MAP_FREE || x.len < count * bytes))
		return err_set(e, ERR_FORMAT, 0,
			"group %" PRIu32 ": its %s, at block %" PRIu64 ", is marked free", c->ag,
			what, block);
	return 0;
}

/* The ring of blocks set aside for the trees; `p` is the AGFL's sector. */
static int check_agfl(struct scan *c, const uint8_t *p, struct err *e)
{
	const struct agf *a = &c->agf;
	uint32_t size = (c->s->sector_bytes - AGFL_HEAD) / 4;
	int rc = 0;

	if (get_be32(p) != XFS_MAGIC_AGFL || !fs_xfs_checksum_fits(p, c->s->sector_bytes, 0x20))
		return damaged(c, e, "the AGFL's checksum is wrong");
	if (get_be32(p + 0x04) != c->ag || memcmp(p + 0x08, c->s->id, XFS_UUID_BYTES) != 0)
		return damaged(c, e, "the AGFL is another one's");
	if (is_too_new(c, p + 0x18))
		return damaged(c, e, "the AGFL is newer than the log");
	if (a->first >= size || a->last >= size || a->count > size ||
		(a->first + a->count + size - 1) % size != a->last)
		return damaged(c, e, "the AGFL's ends don't fit its length");
	for (uint32_t i = 0; i < a->count && rc == 0; i++) {
		const uint8_t *entry = p + AGFL_HEAD + 4 * (size_t)((a->first + i) % size);

		rc = check_kept(c, "AGFL entry", get_be32(entry), 1, e);
	}
	return rc;
}

/* ---- Runs -------------------------------------------------------------------------------- */

/* Give up the shortest free runs until the set is small again. */
static int make_coarser(struct scan *c, struct err *e)
{
	struct xfs_free *f = c->out;

	while (map_count(f->map) > EXTENTS_MAX / 2) {
		struct map *less = map_new(map_size(f->map));

		f->min_bytes = max_u64(f->min_bytes * 2, c->s->block_bytes * UINT64_C(2));
		for (size_t i = 0; less && i < map_count(f->map); i++) {
			struct extent x = map_at(f->map, i);

			if (x.len >= f->min_bytes && map_set(less, x.off, x.len, x.kind, e) < 0) {
				map_free(less);
				less = NULL;
			}
		}
		if (!less)
			return err_nomem(e);
		map_free(f->map);
		f->map = less;
	}
	return 0;
}

static int add_run(struct scan *c, uint32_t start, uint32_t len, struct err *e)
{
	uint64_t bytes = (uint64_t)len * c->s->block_bytes;
	int rc;

	if (bytes < c->out->min_bytes)
		return 0;
	rc = map_set(c->out->map, offset_of(c, start), bytes, MAP_FREE, e);
	if (rc == 0 && map_count(c->out->map) > EXTENTS_MAX)
		rc = make_coarser(c, e);
	return rc;
}

/* ---- Trees ------------------------------------------------------------------------------- */

/* Spread 64 bits (the finalizer of MurmurHash3): sums of it tell sets apart. */
static uint64_t spread(uint64_t v)
{
	v = (v ^ v >> 33) * UINT64_C(0xff51afd7ed558ccd);
	v = (v ^ v >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return v ^ v >> 33;
}

static bool in_order(const struct tree *t, uint32_t start, uint32_t len)
{
	if (t->records == 0)
		return true;
	if (t->by_size)
		return len > t->len || (len == t->len && start > t->start);
	return start >= t->start + t->len;
}

static int on_record(struct scan *c, struct tree *t, uint32_t start, uint32_t len, struct err *e)
{
	if (len == 0 || start < fs_xfs_ag_header_blocks(c->s) ||
		!range_inside(start, len, c->agf.length))
		return c->strict ? damaged_block(c, e, start, "a free run from here lies outside")
				 : 0;
	if (c->strict && !in_order(t, start, len))
		return damaged_block(c, e, start, "a free run from here is out of order");
	t->start = start;
	t->len = len;
	t->records++;
	t->free_blocks += len;
	t->longest = max_u64(t->longest, len);
	t->mix += spread((uint64_t)start << 32 | len);
	return t->by_size ? 0 : add_run(c, start, len, e);
}

static uint32_t max_records(const struct scan *c, unsigned level)
{
	return (c->s->block_bytes - XFS_BTREE_HEAD) /
		(level == 0 ? RECORD_BYTES : RECORD_BYTES + POINTER_BYTES);
}

/* NULL, or what is wrong with a block taken for itself. */
static const char *fault_of(const struct scan *c, const struct tree *t, uint32_t block,
	unsigned level, const uint8_t *p)
{
	uint32_t count = get_be16(p + 0x06);
	bool root = level + 1 == c->agf.levels[t->by_size];

	if (get_be32(p) != (t->by_size ? XFS_MAGIC_CNT : XFS_MAGIC_BNO))
		return "not of the free-space tree that leads to it";
	if (!fs_xfs_checksum_fits(p, c->s->block_bytes, 0x34))
		return "the checksum is wrong";
	if (get_be64(p + 0x10) != offset_of(c, block) / XFS_SECTOR || get_be32(p + 0x30) != c->ag ||
		memcmp(p + 0x20, c->s->id, XFS_UUID_BYTES) != 0)
		return "it is from another place";
	if (is_too_new(c, p + 0x18))
		return "it is newer than the log";
	if (get_be16(p + 0x04) != level)
		return "it has another level";
	if (count > max_records(c, level) || (count == 0 && !(root && level == 0)))
		return "it has a wrong number of records";
	return NULL;
}

static int remember(struct scan *c, uint32_t block, struct err *e)
{
	if (c->seen_count == c->seen_room) {
		size_t want = c->seen_room ? c->seen_room * 2 : 64;
		uint32_t *p = reallocarray(c->seen, want, sizeof(*p));

		if (!p)
			return err_nomem(e);
		c->seen = p;
		c->seen_room = want;
	}
	c->seen[c->seen_count++] = block;
	return 0;
}

/* Blocks of a level are a chain from left to right. */
static int check_chain(struct scan *c, struct tree *t, uint32_t block, unsigned level,
	const uint8_t *p, struct err *e)
{
	if (t->level_last[level] != get_be32(p + 0x08) ||
		(t->level_last[level] != XFS_NO_BLOCK && t->level_right[level] != block))
		return damaged_block(c, e, block, "its neighbours in the tree don't know it");
	t->level_last[level] = block;
	t->level_right[level] = get_be32(p + 0x0c);
	return 0;
}

/* Read and check a block; *skip when it is to be left out. */
static int load_block(struct scan *c, struct tree *t, uint32_t block, unsigned level,
	const uint8_t *key, bool *skip, struct err *e)
{
	uint8_t *p = c->buf[level];
	const char *fault = NULL;
	int rc;

	*skip = false;
	if (block < fs_xfs_ag_header_blocks(c->s) || block >= c->agf.length)
		fault = "a tree leads here, outside";
	else if (c->budget == 0)
		fault = "the free-space trees have no end";
	if (!fault) {
		c->budget--;
		rc = dev_read(c->dev, offset_of(c, block), p, c->s->block_bytes, e);
		if (rc < 0)
			return rc;
		fault = fault_of(c, t, block, level, p);
	}
	if (fault && !c->strict) {
		*skip = true;
		return 0;
	}
	if (fault)
		return damaged_block(c, e, block, fault);
	if (!c->strict)
		return 0;
	/* The key is that of its first record. */
	if (key && memcmp(p + XFS_BTREE_HEAD, key, t->by_size ? RECORD_BYTES : 4) != 0)
		return damaged_block(c, e, block, "the key that leads here is another");
	t->blocks++;
	rc = check_chain(c, t, block, level, p, e);
	return rc < 0 ? rc : remember(c, block, e);
}

/* Depth first; `level` falls with each call, so that it ends. */
static int walk(struct scan *c, struct tree *t, uint32_t block, unsigned level, const uint8_t *key,
	struct err *e)
{
	const uint8_t *records = c->buf[level] + XFS_BTREE_HEAD;
	const uint8_t *pointers = records + (size_t)max_records(c, level) * RECORD_BYTES;
	bool skip;
	int rc = load_block(c, t, block, level, key, &skip, e);
	uint32_t count;

	if (rc < 0 || skip)
		return rc;
	count = get_be16(c->buf[level] + 0x06);
	for (uint32_t i = 0; i < count && rc == 0; i++) {
		const uint8_t *record = records + (size_t)i * RECORD_BYTES;

		if (level == 0)
			rc = on_record(c, t, get_be32(record), get_be32(record + 4), e);
		else
			rc = walk(c, t, get_be32(pointers + (size_t)i * POINTER_BYTES), level - 1,
				record, e);
	}
	return rc;
}

static int walk_tree(struct scan *c, struct tree *t, bool by_size, struct err *e)
{
	int rc;

	*t = (struct tree){ .by_size = by_size };
	for (unsigned i = 0; i < MAX_LEVELS; i++)
		t->level_last[i] = t->level_right[i] = XFS_NO_BLOCK;
	rc = walk(c, t, c->agf.root[by_size], c->agf.levels[by_size] - 1, NULL, e);
	for (unsigned i = 0; i < MAX_LEVELS && rc == 0 && c->strict; i++)
		if (t->level_right[i] != XFS_NO_BLOCK)
			rc = err_set(e, ERR_FORMAT, 0,
				"group %" PRIu32 ": the tree %s has blocks that nothing leads to",
				c->ag, by_size ? "by size" : "by block");
	return rc;
}

/* ---- A group ----------------------------------------------------------------------------- */

static int disagree(const struct scan *c, struct err *e, const char *what, uint64_t found,
	uint64_t said)
{
	return err_set(e, ERR_FORMAT, 0,
		"group %" PRIu32 ": %s: found %" PRIu64 ", should be %" PRIu64, c->ag, what, found,
		said);
}

static int check_counts(struct scan *c, const struct tree *bno, const struct tree *cnt,
	struct err *e)
{
	const struct agf *a = &c->agf;
	uint64_t tree_blocks = bno->blocks + cnt->blocks - 2;

	if (c->s->has_rmap)
		tree_blocks += (uint64_t)a->rmap_blocks - 1;
	if (bno->free_blocks != a->free_blocks)
		return disagree(c, e, "free blocks", bno->free_blocks, a->free_blocks);
	if (bno->longest != a->longest)
		return disagree(c, e, "the longest free run", bno->longest, a->longest);
	if (cnt->records != bno->records || cnt->mix != bno->mix)
		return disagree(c, e, "records of the tree by size that fit the tree by block",
			cnt->records, bno->records);
	if (tree_blocks != a->tree_blocks)
		return disagree(c, e, "blocks of trees", tree_blocks, a->tree_blocks);
	c->out->count_said += (uint64_t)a->free_blocks + a->count + a->tree_blocks;
	return 0;
}

/* The part of the log that lies in this group: all of it or nothing. */
static int check_log_kept(struct scan *c, struct err *e)
{
	if (c->s->log_block / c->s->ag_blocks != c->ag)
		return 0;
	return check_kept(c, "log", c->s->log_block % c->s->ag_blocks, c->s->log_blocks, e);
}

static int check_metadata_kept(struct scan *c, uint8_t *sector, struct err *e)
{
	int rc = check_log_kept(c, e);

	for (size_t i = 0; i < c->seen_count && rc == 0; i++)
		rc = check_kept(c, "free-space tree", c->seen[i], 1, e);
	if (rc == 0 && c->s->has_rmap)
		rc = check_kept(c, "rmap tree", c->agf.rmap_root, 1, e);
	if (rc == 0)
		rc = read_sector(c, 3, sector, e);
	return rc == 0 ? check_agfl(c, sector, e) : rc;
}

static int scan_group(struct scan *c, uint8_t *sector, struct err *e)
{
	struct tree bno, cnt;
	int rc = read_sector(c, 1, sector, e);

	if (rc < 0)
		return rc;
	rc = decode_agf(c, sector, e);
	if (!c->strict)
		return rc < 0 ? 0 : walk_tree(c, &bno, false, e);
	c->seen_count = 0;
	if (rc == 0)
		rc = walk_tree(c, &bno, false, e);
	if (rc == 0)
		rc = walk_tree(c, &cnt, true, e);
	if (rc == 0)
		rc = check_counts(c, &bno, &cnt, e);
	return rc == 0 ? check_metadata_kept(c, sector, e) : rc;
}

static int scan_all(struct scan *c, uint8_t *bufs, uint8_t *sector, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < MAX_LEVELS; i++)
		c->buf[i] = bufs + i * c->s->block_bytes;
	for (c->ag = 0; c->ag < c->s->ag_count && rc == 0; c->ag++)
		rc = scan_group(c, sector, e);
	return rc;
}

int fs_xfs_free_read(struct dev *d, const struct xfs_super *s, uint64_t newest,
	struct xfs_free *out, struct err *e)
{
	struct scan c = {
		.dev = d,
		.s = s,
		.strict = newest != 0,
		.newest = newest,
		.out = out,
		.budget = TREE_BYTES_MAX / s->block_bytes,
	};
	uint8_t *bufs = malloc((size_t)s->block_bytes * MAX_LEVELS);
	uint8_t *sector = malloc(s->sector_bytes);
	int rc;

	*out = (struct xfs_free){ .map = map_new(dev_size(d)) };
	rc = bufs && sector && out->map ? scan_all(&c, bufs, sector, e) : err_nomem(e);
	free(c.seen);
	free(sector);
	free(bufs);
	if (rc < 0)
		fs_xfs_free_fini(out);
	return rc;
}

void fs_xfs_free_fini(struct xfs_free *f)
{
	map_free(f->map);
	f->map = NULL;
}
