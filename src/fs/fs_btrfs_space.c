/*
 * The free space tree: a second opinion. Layout: [UAPI] BTRFS_FREE_SPACE_INFO_KEY and its
 * neighbours. For each block group there is an item that says how many runs are free, then the
 * runs, as items without data or as bitmaps of a bit for each sector. The kernel allocates by it,
 * so what it calls free must be free in the extent tree, and the other way round.
 *
 * Neither side is kept in memory: each becomes a digest of its free runs in ascending order.
 */
#include <inttypes.h>

#include <xxhash.h>

#include "base/mem.h"
#include "fs/fs_btrfs_int.h"

#define INFO_BYTES 8
#define FLAG_BITMAPS 0x1
#define SPACE_TREE "free space tree"

struct space_walk {
	struct fs_btrfs *v;
	const struct btrfs_chunk *group; /* the current one */
	bool stale;			 /* the current one is gone, its items are passed over */
	size_t groups;
	bool bitmaps;
	uint64_t at; /* up to here, in that group, all is known */
	struct btrfs_digest digest;
};

void fs_btrfs_digest_end(struct btrfs_digest *d)
{
	uint8_t bytes[24];

	if (d->start == d->end)
		return;
	put_le64(bytes, d->hash);
	put_le64(bytes + 8, d->start);
	put_le64(bytes + 16, d->end);
	d->hash = XXH3_64bits(bytes, sizeof(bytes));
	d->bytes += d->end - d->start;
	d->start = d->end = 0;
}

void fs_btrfs_digest_add(struct btrfs_digest *d, uint64_t logical, uint64_t len)
{
	if (d->start != d->end && d->end == logical) {
		d->end += len;
		return;
	}
	fs_btrfs_digest_end(d);
	d->start = logical;
	d->end = logical + len;
}

static int begin_group(struct space_walk *w, const struct btrfs_item *item, struct err *e)
{
	uint64_t start = item->key.objectid, len = item->key.offset;
	const struct btrfs_chunk *c = fs_btrfs_chunk_of(w->v, start, len);

	if (item->len != INFO_BYTES)
		return fs_btrfs_bad_item(SPACE_TREE, item, e, "wrong length");
	fs_btrfs_digest_end(&w->digest);
	/* mkfs.btrfs leaves the items of the block group with which it began, and has removed. */
	w->stale = c == NULL || c->start != start || c->len != len;
	w->group = w->stale ? NULL : c;
	if (w->stale)
		return 0;
	w->at = c->start;
	w->bitmaps = get_le32(item->data + 4) & FLAG_BITMAPS;
	w->groups++;
	return 0;
}

static int add_bitmap(struct space_walk *w, const struct btrfs_item *item, struct err *e)
{
	uint32_t sector = w->v->super.sector_bytes;
	uint64_t bits = item->key.offset / sector;

	if (item->len != div_up(bits, 8))
		return fs_btrfs_bad_item(SPACE_TREE, item, e, "wrong length");
	for (uint64_t i = 0; i < bits; i++)
		if (item->data[i / 8] >> i % 8 & 1)
			fs_btrfs_digest_add(&w->digest, item->key.objectid + i * sector, sector);
	return 0;
}

static int space_item(void *user, const struct btrfs_item *item, struct err *e)
{
	struct space_walk *w = user;
	uint64_t start = item->key.objectid, len = item->key.offset;
	bool bitmap = item->key.type == BTRFS_FREE_SPACE_BITMAP;

	if (item->key.type == BTRFS_FREE_SPACE_INFO)
		return begin_group(w, item, e);
	if (!bitmap && item->key.type != BTRFS_FREE_SPACE_EXTENT)
		return fs_btrfs_bad_item(SPACE_TREE, item, e, "of unknown type");
	if (w->stale)
		return 0;
	if (w->group == NULL || start < w->at || len == 0 ||
		!range_inside(start - w->group->start, len, w->group->len) ||
		len % w->v->super.sector_bytes != 0 || bitmap != w->bitmaps)
		return fs_btrfs_bad_item(SPACE_TREE, item, e, "does not fit its block group");
	w->at = start + len;
	if (bitmap)
		return add_bitmap(w, item, e);
	if (item->len != 0)
		return fs_btrfs_bad_item(SPACE_TREE, item, e, "wrong length");
	fs_btrfs_digest_add(&w->digest, start, len);
	return 0;
}

int fs_btrfs_space_check(struct fs_btrfs *v, struct err *e)
{
	const uint64_t need =
		BTRFS_COMPAT_RO_FREE_SPACE_TREE | BTRFS_COMPAT_RO_FREE_SPACE_TREE_VALID;
	struct space_walk w = { .v = v };
	int rc;

	/* Not valid: what does not know it has changed the file system; it will be rebuilt. */
	if ((v->super.compat_ro & need) != need)
		return 0;
	rc = fs_btrfs_walk(v, &v->space_root, space_item, &w, e);
	if (rc < 0)
		return rc;
	fs_btrfs_digest_end(&w.digest);
	if (w.groups != v->chunks.count || w.digest.bytes != v->space.bytes ||
		w.digest.hash != v->space.hash)
		return err_set(e, ERR_FORMAT, 0,
			"the free space tree has %" PRIu64 " bytes in %zu block groups, the extent "
			"tree leaves %" PRIu64 " in %zu, or at other places",
			w.digest.bytes, w.groups, v->space.bytes, v->chunks.count);
	return 0;
}
