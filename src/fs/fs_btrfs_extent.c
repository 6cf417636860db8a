/*
 * What is in use: the extents, and the block groups that count them. Layout: [BTRFS] "EXTENT_ITEM",
 * "METADATA_ITEM", "BLOCK_GROUP_ITEM". Items come in ascending order of their logical address, so
 * that the gaps between them are found while they go by; nothing of them is kept.
 *
 * Block groups lie in the extent tree, or in a tree of their own (block_group_tree); each stands
 * for one chunk and says how much of it is in use.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_btrfs_int.h"

#define EXTENT_HEAD_BYTES 24
#define BLOCK_GROUP_BYTES 24

/* [UAPI] BTRFS_EXTENT_FLAG_*, BTRFS_BLOCK_FLAG_FULL_BACKREF (says how references are written). */
#define FLAG_DATA 0x1
#define FLAG_TREE_BLOCK 0x2
#define FLAG_FULL_BACKREF 0x100

#define EXTENT_TREE "extent tree"

struct extent_walk {
	struct fs_btrfs *v;
	size_t chunk;	/* the one that is being filled */
	uint64_t at;	/* up to here, in that chunk, all is known */
	uint64_t start; /* of the last extent: references to it may follow */
	bool any;	/* there was one */
};

/* [logical, logical + len) of chunk c is free, in all its copies. */
static int add_free(struct extent_walk *w, const struct btrfs_chunk *c, uint64_t logical,
	uint64_t len, struct err *e)
{
	int rc = 0;

	if (len > 0)
		fs_btrfs_digest_add(&w->v->space, logical, len);
	for (unsigned i = 0; i < c->stripe_count && rc == 0; i++)
		rc = fs_runs_add(&w->v->free, c->stripes[i] + (logical - c->start), len, e);
	return rc;
}

/* Behind the last extent of the current chunk; then the next chunk begins. */
static int end_chunk(struct extent_walk *w, struct err *e)
{
	const struct btrfs_chunk *c = &w->v->chunks.list[w->chunk];
	int rc = add_free(w, c, w->at, c->start + c->len - w->at, e);

	/* A block group's free space is its own, also where the next one follows at once. */
	fs_btrfs_digest_end(&w->v->space);
	w->chunk++;
	if (w->chunk < w->v->chunks.count)
		w->at = w->v->chunks.list[w->chunk].start;
	return rc;
}

/* The flags must fit the chunk, and the length must fit the flags. */
static int check_extent(const struct extent_walk *w, const struct btrfs_item *item, uint64_t len,
	uint64_t chunk_type, struct err *e)
{
	const struct btrfs_super *s = &w->v->super;
	uint64_t flags;

	if (item->len < EXTENT_HEAD_BYTES)
		return fs_btrfs_bad_item(EXTENT_TREE, item, e, "too short");
	flags = get_le64(item->data + 16);
	if (flags == FLAG_DATA) {
		if (item->key.type != BTRFS_EXTENT_ITEM || !(chunk_type & BTRFS_DATA))
			return fs_btrfs_bad_item(EXTENT_TREE, item, e, "data where none can be");
	} else if ((flags & ~(uint64_t)FLAG_FULL_BACKREF) == FLAG_TREE_BLOCK) {
		if (len != s->node_bytes || !(chunk_type & (BTRFS_METADATA | BTRFS_SYSTEM)))
			return fs_btrfs_bad_item(EXTENT_TREE, item, e,
				"a tree block where none can be");
	} else {
		return fs_btrfs_bad_item(EXTENT_TREE, item, e, "unknown flags");
	}
	if (get_le64(item->data + 8) > s->generation)
		return fs_btrfs_bad_item(EXTENT_TREE, item, e, "of a generation that is to come");
	return 0;
}

static int add_extent(struct extent_walk *w, const struct btrfs_item *item, struct err *e)
{
	struct btrfs_chunks *chunks = &w->v->chunks;
	uint64_t start = item->key.objectid;
	uint64_t len =
		item->key.type == BTRFS_METADATA_ITEM ? w->v->super.node_bytes : item->key.offset;
	struct btrfs_chunk *c;
	int rc = 0;

	if (len == 0 || len % w->v->super.sector_bytes != 0 ||
		start % w->v->super.sector_bytes != 0)
		return fs_btrfs_bad_item(EXTENT_TREE, item, e, "bad size");
	while (w->chunk < chunks->count && rc == 0 &&
		start >= chunks->list[w->chunk].start + chunks->list[w->chunk].len)
		rc = end_chunk(w, e);
	if (rc < 0)
		return rc;
	c = w->chunk < chunks->count ? &chunks->list[w->chunk] : NULL;
	if (c == NULL || start < c->start || !range_inside(start - c->start, len, c->len))
		return fs_btrfs_bad_item(EXTENT_TREE, item, e, "not inside a chunk");
	if (start < w->at)
		return fs_btrfs_bad_item(EXTENT_TREE, item, e, "overlaps the one before");
	rc = check_extent(w, item, len, c->type, e);
	if (rc == 0)
		rc = add_free(w, c, w->at, start - w->at, e);
	c->used += len;
	w->at = start + len;
	w->start = start;
	w->any = true;
	return rc;
}

static int add_group(struct fs_btrfs *v, const char *tree, const struct btrfs_item *item,
	struct err *e)
{
	struct btrfs_chunk *c = fs_btrfs_chunk_of(v, item->key.objectid, item->key.offset);

	if (item->len != BLOCK_GROUP_BYTES)
		return fs_btrfs_bad_item(tree, item, e, "wrong length");
	if (c == NULL || c->start != item->key.objectid || c->len != item->key.offset ||
		get_le64(item->data + 8) != BTRFS_FIRST_CHUNK ||
		((get_le64(item->data + 16) ^ c->type) & BTRFS_KIND_MASK) != 0)
		return fs_btrfs_bad_item(tree, item, e, "no such chunk");
	c->has_group = true;
	c->group_used = get_le64(item->data);
	return 0;
}

static int extent_item(void *user, const struct btrfs_item *item, struct err *e)
{
	struct extent_walk *w = user;
	bool separate = w->v->super.compat_ro & BTRFS_COMPAT_RO_BLOCK_GROUP_TREE;

	switch (item->key.type) {
	case BTRFS_EXTENT_ITEM:
	case BTRFS_METADATA_ITEM:
		return add_extent(w, item, e);
	case BTRFS_TREE_BLOCK_REF:
	case BTRFS_EXTENT_DATA_REF:
	case BTRFS_SHARED_BLOCK_REF:
	case BTRFS_SHARED_DATA_REF:
		if (!w->any || item->key.objectid != w->start)
			return fs_btrfs_bad_item(EXTENT_TREE, item, e, "refers to no extent");
		return 0;
	case BTRFS_BLOCK_GROUP_ITEM:
		if (separate)
			return fs_btrfs_bad_item(EXTENT_TREE, item, e, "in the wrong tree");
		return add_group(w->v, EXTENT_TREE, item, e);
	default:
		return fs_btrfs_bad_item(EXTENT_TREE, item, e, "of unknown type");
	}
}

static int group_item(void *user, const struct btrfs_item *item, struct err *e)
{
	static const char tree[] = "block group tree";

	if (item->key.type != BTRFS_BLOCK_GROUP_ITEM)
		return fs_btrfs_bad_item(tree, item, e, "of unknown type");
	return add_group(user, tree, item, e);
}

/* Every chunk's extents come to what its block group says, and all to what the superblock says. */
static int check_counts(const struct fs_btrfs *v, struct err *e)
{
	uint64_t sum = 0; /* no overflow: what is in use lies in disjoint stripes of the device */

	for (size_t i = 0; i < v->chunks.count; i++) {
		const struct btrfs_chunk *c = &v->chunks.list[i];

		if (!c->has_group)
			return err_set(e, ERR_FORMAT, 0,
				"the chunk at %" PRIu64 " has no block group", c->start);
		if (c->used != c->group_used)
			return err_set(e, ERR_FORMAT, 0,
				"block group at %" PRIu64 ": %" PRIu64 " bytes are in use, it says "
				"%" PRIu64,
				c->start, c->used, c->group_used);
		sum += c->used;
	}
	if (sum != v->super.used_bytes)
		return err_set(e, ERR_FORMAT, 0,
			"%" PRIu64 " bytes are in use, the superblock says %" PRIu64, sum,
			v->super.used_bytes);
	return 0;
}

int fs_btrfs_extents_read(struct fs_btrfs *v, struct err *e)
{
	struct extent_walk w = { .v = v };
	int rc;

	if (v->chunks.count > 0)
		w.at = v->chunks.list[0].start;
	rc = fs_btrfs_walk(v, &v->extent_root, extent_item, &w, e);
	while (rc == 0 && w.chunk < v->chunks.count)
		rc = end_chunk(&w, e);
	if (rc == 0 && (v->super.compat_ro & BTRFS_COMPAT_RO_BLOCK_GROUP_TREE))
		rc = fs_btrfs_walk(v, &v->group_root, group_item, v, e);
	return rc < 0 ? rc : check_counts(v, e);
}
