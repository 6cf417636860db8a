/*
 * Which blocks an inode uses, and who uses given blocks: every inode with a link, whether a
 * directory knows it or not, and the group's metadata. Layout and meaning: Linux kernel,
 * Documentation/filesystems/ext4/ (ifork.rst for both kinds of block maps, inodes.rst).
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_ext_int.h"
#include "fs/fs_list.h"

/* A file system whose files one extent tree describes with more reads is beyond what is sensible;
 * a tree that goes round in circles ends here. */
#define MAP_READS ((uint64_t)1 << 22)

struct walk {
	ext2_filsys fs;
	fs_ext_use_fn fn;
	void *user;
	struct err *e;
	int rc;
};

static int tell(struct walk *w, const struct ext_use *u)
{
	uint64_t first = w->fs->super->s_first_data_block;

	if (u->block < first ||
		!range_inside(u->block, u->count, ext2fs_blocks_count(w->fs->super)))
		w->rc = err_set(w->e, ERR_FORMAT, 0, "block %" PRIu64 " outside the file system",
			u->block);
	else
		w->rc = w->fn(w->user, u, w->e);
	return w->rc;
}

/* ---- Extents ----------------------------------------------------------------------------- */

static int tell_extent(struct walk *w, const struct ext2fs_extent *x)
{
	struct ext_use u = { .logical = x->e_lblk, .block = x->e_pblk, .count = x->e_len };

	if (x->e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT)
		return 0;
	u.data = (x->e_flags & EXT2_EXTENT_FLAGS_LEAF) != 0;
	if (!u.data)
		u.count = 1; /* the block of the node below */
	return tell(w, &u);
}

static int each_extent(struct walk *w, ext2_ino_t ino, struct ext2_inode *inode)
{
	ext2_extent_handle_t handle = NULL;
	struct ext2fs_extent x;
	errcode_t code = ext2fs_extent_open2(w->fs, ino, inode, &handle);

	if (code == 0)
		code = ext2fs_extent_get(handle, EXT2_EXTENT_ROOT, &x);
	while (code == 0 && tell_extent(w, &x) == 0)
		code = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT, &x);
	ext2fs_extent_free(handle);
	/* An empty tree has no root to get. */
	if (w->rc < 0 || code == EXT2_ET_EXTENT_NO_NEXT || code == EXT2_ET_NO_CURRENT_NODE)
		return w->rc;
	return ext2fs_io_fail(w->fs, code, w->e, "read an extent tree");
}

/* ---- Block maps -------------------------------------------------------------------------- */

static int tell_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t logical, blk64_t parent,
	int offset, void *user)
{
	struct walk *w = user;
	struct ext_use u = { .block = *block, .count = 1, .data = logical >= 0 };

	(void)fs, (void)parent, (void)offset;
	u.logical = u.data ? (uint64_t)logical : 0;
	return tell(w, &u) < 0 ? BLOCK_ABORT : 0;
}

static int each_block(struct walk *w, ext2_ino_t ino)
{
	errcode_t code =
		ext2fs_block_iterate3(w->fs, ino, BLOCK_FLAG_READ_ONLY, NULL, tell_block, w);

	if (w->rc < 0 || code == 0)
		return w->rc;
	return ext2fs_io_fail(w->fs, code, w->e, "read a block map");
}

int fs_ext_each_use(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *inode, fs_ext_use_fn fn,
	void *user, struct err *e)
{
	struct walk w = { .fs = fs, .fn = fn, .user = user, .e = e };

	if (!ext2fs_inode_has_valid_blocks2(fs, inode) || inode->i_flags & EXT4_INLINE_DATA_FL)
		return 0;
	ext2fs_io_begin(fs, MAP_READS);
	return inode->i_flags & EXT4_EXTENTS_FL ? each_extent(&w, ino, inode) : each_block(&w, ino);
}

/* ---- Claims ------------------------------------------------------------------------------ */

struct claims {
	const struct map *ranges;
	uint64_t block_bytes;
	uint64_t bytes;
	size_t hint;
	/* Blocks that inodes may still use: more than the file system has is no file system. */
	uint64_t to_use;
};

static void add(struct claims *c, uint64_t block, uint64_t count)
{
	c->bytes += fs_list_overlap(c->ranges, block * c->block_bytes, count * c->block_bytes,
		&c->hint);
}

static int add_use(void *user, const struct ext_use *u, struct err *e)
{
	struct claims *c = user;

	if (u->count > c->to_use)
		return err_set(e, ERR_FORMAT, 0, "more blocks are used than there are");
	c->to_use -= u->count;
	add(c, u->block, u->count);
	return 0;
}

static int add_inodes(struct claims *c, ext2_filsys fs, ext2_inode_scan scan, struct err *e)
{
	struct ext2_inode inode;
	ext2_ino_t ino;
	errcode_t code;
	int rc = 0;

	for (;;) {
		blk64_t attributes;

		ext2fs_io_begin(fs, MAP_READS);
		code = ext2fs_get_next_inode(scan, &ino, &inode);
		if (code != 0)
			return ext2fs_io_fail(fs, code, e, "read the inodes");
		if (ino == 0)
			return 0;
		if (inode.i_links_count == 0 && ino >= EXT2_FIRST_INO(fs->super))
			continue;
		attributes = ext2fs_file_acl_block(fs, &inode);
		if (attributes != 0) /* many inodes may share it */
			add(c, attributes, 1);
		rc = fs_ext_each_use(fs, ino, &inode, add_use, c, e);
		if (rc < 0)
			return err_prefix(e, "inode %u", ino);
	}
}

static void add_groups(struct claims *c, ext2_filsys fs)
{
	for (dgrp_t g = 0; g < fs->group_desc_count; g++) {
		blk64_t super, old_desc, new_desc;
		blk_t used;

		ext2fs_super_and_bgd_loc2(fs, g, &super, &old_desc, &new_desc, &used);
		if (super != 0 || g == 0)
			add(c, super, 1);
		if (old_desc != 0)
			add(c, old_desc, fs->desc_blocks);
		if (new_desc != 0)
			add(c, new_desc, 1);
		add(c, ext2fs_block_bitmap_loc(fs, g), 1);
		add(c, ext2fs_inode_bitmap_loc(fs, g), 1);
		add(c, ext2fs_inode_table_loc(fs, g), fs->inode_blocks_per_group);
	}
}

/* What one state of the file system claims. */
static int claims_of(ext2_filsys fs, const struct map *ranges, uint64_t *bytes, struct err *e)
{
	struct claims c = { .ranges = ranges, .block_bytes = fs->blocksize };
	ext2_inode_scan scan = NULL;
	errcode_t code;
	int rc;

	c.to_use = ext2fs_blocks_count(fs->super);
	add_groups(&c, fs);
	ext2fs_io_begin(fs, MAP_READS);
	code = ext2fs_open_inode_scan(fs, 0, &scan);
	if (code != 0)
		return ext2fs_io_fail(fs, code, e, "read the inodes");
	rc = add_inodes(&c, fs, scan, e);
	ext2fs_close_inode_scan(scan);
	*bytes = c.bytes;
	return rc;
}

int fs_ext_claims(struct dev *d, const struct map *ranges, uint64_t *bytes, struct err *e)
{
	struct ext_volume v;
	uint64_t replayed = 0;
	int rc = fs_ext_open(&v, d, e);

	if (rc == 0)
		rc = claims_of(v.disk, ranges, bytes, e);
	if (rc == 0 && v.replayed) {
		rc = claims_of(v.replayed, ranges, &replayed, e);
		if (rc == 0 && replayed != *bytes)
			rc = err_set(e, ERR_FORMAT, 0,
				"the journal is still to be replayed, and changes whose blocks "
				"these are");
	}
	fs_ext_close(&v);
	return rc;
}
