/*
 * The Btrfs map.
 *
 * Btrfs never gives away what the last superblock leads to: a commit writes new tree blocks into
 * free space, then the superblock that leads to them, and space freed by it is not used again
 * before. (Data of files without copy on write is overwritten, but stays where it is.) So the file
 * system on the disk is consistent at any instant, mounted or not, and it is enough to keep what
 * its superblock leads to:
 *
 *   data in the map                        from
 *   the first MiB                          boot loaders, and the first superblock
 *   the superblocks, 64 KiB each           their fixed places
 *   extents of data and metadata           the extent tree, in all copies (DUP)
 *   log trees and what they refer to       the log root; in no other tree, replayed by a mount
 *   what is behind the file system's end   not its own (R3)
 *
 * Free is the rest: parts of chunks in no extent, and the parts of the device in no chunk. The tree
 * blocks of older generations, to which the superblock's backup roots lead, are free, as they are
 * for the kernel, which overwrites them at will: `mount -o usebackuproot` may not work on a copy.
 *
 * None of this is believed unless all agrees: every block that is read has its checksum, place,
 * generation, level and owner; the device tree mirrors the chunks; each chunk has a block group
 * whose count is the sum of its extents; the superblock's count is the sum of theirs; the free
 * space tree, where there is one, has the same gaps as the extent tree; and all tree blocks seen,
 * and the roots of all trees, lie in what the map calls data. At the end the superblock is read
 * again: when it is the same, nothing that it leads to was rewritten meanwhile.
 *
 * Checked like this: one device, single and DUP. Refused: several devices, seeds, a device being
 * replaced, and the features that fs_btrfs_super.c names.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "fs/fs_btrfs_int.h"

/* [BTRFS] "ROOT_ITEM": an inode of 160 bytes, then these; old ones end before the UUIDs. */
#define ROOT_GENERATION 160
#define ROOT_LOGICAL 176
#define ROOT_REFS 216
#define ROOT_LEVEL 238
#define ROOT_MIN_BYTES 239

#define ROOT_TREE "root tree"

int fs_btrfs_root_decode(const struct btrfs_item *item, struct btrfs_root *out, struct err *e)
{
	if (item->len < ROOT_MIN_BYTES)
		return fs_btrfs_bad_item(ROOT_TREE, item, e, "too short");
	out->owner = item->key.objectid;
	out->generation = get_le64(item->data + ROOT_GENERATION);
	out->logical = get_le64(item->data + ROOT_LOGICAL);
	out->level = item->data[ROOT_LEVEL];
	return 0;
}

static void note_root(struct fs_btrfs *v, const struct btrfs_key *key,
	const struct btrfs_root *root)
{
	struct btrfs_root *const ours[] = { &v->extent_root, &v->dev_root, &v->space_root,
		&v->group_root };

	for (size_t i = 0; i < COUNT_OF(ours); i++)
		if (key->objectid == ours[i]->owner && key->offset == 0)
			*ours[i] = *root;
}

static int root_item(void *user, const struct btrfs_item *item, struct err *e)
{
	struct fs_btrfs *v = user;
	struct btrfs_root root;
	int rc;

	if (item->key.type != BTRFS_ROOT_ITEM)
		return 0; /* names of subvolumes, caches of free space: extents like others */
	rc = fs_btrfs_root_decode(item, &root, e);
	if (rc < 0)
		return rc;
	if (root.generation > v->super.generation)
		return fs_btrfs_bad_item(ROOT_TREE, item, e, "of a generation that is to come");
	note_root(v, &item->key, &root);
	/* What is being deleted, and relocation's own trees, may be half gone. */
	if (get_le32(item->data + ROOT_REFS) == 0 || item->key.objectid == BTRFS_RELOC_TREE)
		return 0;
	return fs_btrfs_ranges_add(&v->used, root.logical, v->super.node_bytes, e);
}

static int read_all(struct fs_btrfs *v, struct err *e)
{
	int rc = fs_btrfs_super_read(v, e);

	v->extent_root.owner = BTRFS_EXTENT_TREE;
	v->dev_root.owner = BTRFS_DEV_TREE;
	v->space_root.owner = BTRFS_FREE_SPACE_TREE;
	v->group_root.owner = BTRFS_BLOCK_GROUP_TREE;
	if (rc == 0)
		rc = fs_btrfs_chunks_read(v, e);
	if (rc == 0)
		rc = fs_btrfs_walk(v, &v->super.root, root_item, v, e);
	if (rc == 0)
		rc = fs_btrfs_dev_extents_read(v, e);
	if (rc == 0)
		rc = fs_btrfs_extents_read(v, e);
	if (rc == 0)
		rc = fs_btrfs_space_check(v, e);
	if (rc == 0)
		rc = fs_btrfs_log_read(v, e);
	return rc < 0 ? rc : fs_btrfs_super_recheck(v, e);
}

/*
 * Superblocks stay, whatever chunk they lie in. So does the first MiB: it is left to boot loaders,
 * and only very old file systems have a chunk there.
 */
static int keep_supers(struct map *m, struct err *e)
{
	int rc = map_set(m, 0, MIB, MAP_DATA, e);

	for (unsigned i = 0; i < BTRFS_SUPERS && rc == 0; i++)
		rc = map_set(m, fs_btrfs_super_place(i), BTRFS_SUPER_STRIPE_BYTES, MAP_DATA, e);
	return rc;
}

static int keep_log(const struct fs_btrfs *v, struct map *m, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < v->log.count; i++) {
		const struct fs_run *x = &v->log.list[i];
		const struct btrfs_chunk *c = fs_btrfs_chunk_of(v, x->off, x->len);

		for (unsigned k = 0; k < c->stripe_count && rc == 0; k++)
			rc = map_set(m, c->stripes[k] + (x->off - c->start), x->len, MAP_DATA, e);
	}
	return rc;
}

/* What the trees themselves consist of must have turned out to be in use. */
static int check_used(const struct fs_btrfs *v, const struct map *m, struct err *e)
{
	for (size_t i = 0; i < v->used.count; i++) {
		const struct fs_run *x = &v->used.list[i];
		const struct btrfs_chunk *c = fs_btrfs_chunk_of(v, x->off, x->len);
		unsigned k = 0;

		for (; c != NULL && k < c->stripe_count; k++) {
			struct extent run = map_run(m, c->stripes[k] + (x->off - c->start), NULL);

			if (run.kind != MAP_DATA || run.len < x->len)
				break;
		}
		if (c == NULL || k < c->stripe_count)
			return err_set(e, ERR_FORMAT, 0,
				"the tree block at %" PRIu64 " is in no extent", x->off);
	}
	return 0;
}

static void describe(const struct fs_btrfs *v, struct fs_report *r)
{
	size_t n = 0;

	r->block_bytes = v->super.sector_bytes;
	if (v->super.log_root.logical != 0)
		n += (size_t)snprintf(r->note + n, sizeof(r->note) - n,
			"log trees of the last fsync are to be replayed");
	if (v->second_copies > 0)
		n += (size_t)snprintf(r->note + n, sizeof(r->note) - n,
			"%s%" PRIu64 " tree blocks are damaged in their first copy", n ? "; " : "",
			v->second_copies);
	if (v->free.min_bytes > 0)
		snprintf(r->note + n, sizeof(r->note) - n,
			"%sfree space in too many pieces, the shortest are taken as data",
			n ? "; " : "");
}

static int btrfs_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	struct fs_btrfs *v = calloc(1, sizeof(*v));
	int rc;

	if (v == NULL)
		return err_nomem(e);
	v->dev = d;
	rc = read_all(v, e);
	if (rc == 0)
		rc = fs_runs_set(&v->free, m, e);
	if (rc == 0)
		rc = keep_supers(m, e);
	if (rc == 0)
		rc = keep_log(v, m, e);
	if (rc == 0)
		rc = check_used(v, m, e);
	if (rc == 0)
		describe(v, r);
	fs_runs_fini(&v->free);
	free(v->chunks.list);
	free(v->used.list);
	free(v->log.list);
	free(v);
	return rc;
}

static const char *const types[] = { "btrfs", NULL };

const struct fs_ops fs_btrfs = {
	.name = "btrfs",
	.types = types,
	.map = btrfs_map,
};
