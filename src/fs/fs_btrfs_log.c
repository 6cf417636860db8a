/*
 * The log trees: what fsync wrote since the last commit. They, and the file extents that they refer
 * to, lie in space that the extent tree calls free; a mount of the file system replays them, so all
 * of that is kept. Layout: [BTRFS] "ROOT_ITEM", "EXTENT_DATA"; Linux, fs/btrfs/tree-log.c.
 *
 * The superblock points to the tree of log trees: an item for each subvolume with a log, whose root
 * is that log. All blocks belong to the generation after the superblock's. A log holds copies of
 * items of its subvolume's inodes, and the checksums of their data. It refers to nothing outside
 * the chunks that are committed: allocating a chunk makes the kernel give up the log for a commit.
 *
 * A replay changes the file system only by a commit of its own, whose blocks go to what is free
 * after the replay; it does not need anything there.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_btrfs_int.h"

#define FILE_EXTENT_BYTES 53
#define FILE_EXTENT_INLINE 0
#define FILE_EXTENT_PREALLOC 2
#define LOG_TREE "log tree"

static int add_file_extent(struct fs_btrfs *v, const struct btrfs_item *item, struct err *e)
{
	uint64_t logical, len;
	const struct btrfs_chunk *c;

	/* The head of an inline extent is shorter: it ends behind the type. */
	if (item->len < 21 || item->data[20] > FILE_EXTENT_PREALLOC)
		return fs_btrfs_bad_item(LOG_TREE, item, e, "of unknown type");
	if (item->data[20] == FILE_EXTENT_INLINE)
		return 0;
	if (item->len != FILE_EXTENT_BYTES)
		return fs_btrfs_bad_item(LOG_TREE, item, e, "wrong length");
	logical = get_le64(item->data + 21);
	len = get_le64(item->data + 29);
	if (logical == 0) /* a hole */
		return 0;
	c = fs_btrfs_chunk_of(v, logical, len);
	if (c == NULL || !(c->type & BTRFS_DATA) || len == 0)
		return fs_btrfs_bad_item(LOG_TREE, item, e, "not inside a chunk of data");
	return fs_btrfs_ranges_add(&v->log, logical, len, e);
}

static int log_item(void *user, const struct btrfs_item *item, struct err *e)
{
	switch (item->key.type) {
	case BTRFS_EXTENT_DATA:
		return add_file_extent(user, item, e);
	case BTRFS_INODE_ITEM:
	case BTRFS_INODE_REF:
	case BTRFS_INODE_EXTREF:
	case BTRFS_XATTR_ITEM:
	case BTRFS_ORPHAN_ITEM:
	case BTRFS_DIR_LOG_ITEM:
	case BTRFS_DIR_LOG_INDEX:
	case BTRFS_DIR_ITEM:
	case BTRFS_DIR_INDEX:
	case BTRFS_EXTENT_CSUM:
		return 0;
	default:
		return fs_btrfs_bad_item(LOG_TREE, item, e, "of unknown type");
	}
}

static int log_root_item(void *user, const struct btrfs_item *item, struct err *e)
{
	struct fs_btrfs *v = user;
	struct btrfs_root root;
	int rc;

	if (item->key.objectid != BTRFS_LOG_TREE || item->key.type != BTRFS_ROOT_ITEM)
		return fs_btrfs_bad_item(LOG_TREE, item, e, "of unknown type");
	rc = fs_btrfs_root_decode(item, &root, e);
	if (rc < 0)
		return rc;
	root.owner = BTRFS_LOG_TREE;
	if (root.generation > v->super.log_root.generation)
		return fs_btrfs_bad_item(LOG_TREE, item, e, "of a generation that is to come");
	return fs_btrfs_walk(v, &root, log_item, v, e);
}

int fs_btrfs_log_read(struct fs_btrfs *v, struct err *e)
{
	if (v->super.log_root.logical == 0)
		return 0;
	return fs_btrfs_walk(v, &v->super.log_root, log_root_item, v, e);
}
