/*
 * Block groups into the map: every group's bitmap, one group at a time, so that memory does not
 * grow with the volume (the library's own bitmaps would). Layout: Linux kernel,
 * Documentation/filesystems/ext4/{bitmaps,blockgroup,group_descr}.rst.
 *
 * A bitmap that was never written (BLOCK_UNINIT) stands for a group in which only its own metadata
 * is used: superblock and descriptors, and its own bitmaps and inode table where they lie in the
 * group itself (fs/ext4/balloc.c, ext4_init_block_bitmap). With flex_bg they mostly lie elsewhere,
 * in a group whose bitmap is written.
 *
 * Metadata is data in the map whatever a bitmap says; and a file system whose bitmaps call its
 * metadata free is refused.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_ext_int.h"
#include "fs/fs_free_runs.h"

struct cover {
	ext2_filsys fs;
	ext2_filsys before; /* or NULL */
	struct map *m;
	struct fs_free_runs runs; /* into m */
	uint64_t free_blocks;
	uint8_t *bits, *bits_before; /* a block each */
};

static unsigned ratio_of(ext2_filsys fs)
{
	return 1u << fs->cluster_ratio_bits;
}

static unsigned clusters_in(ext2_filsys fs, dgrp_t group)
{
	return (unsigned)div_up((uint64_t)ext2fs_group_blocks_count(fs, group), ratio_of(fs));
}

static int damaged(struct err *e, dgrp_t group, const char *what)
{
	return err_set(e, ERR_FORMAT, 0, "group %" PRIu32 ": %s", group, what);
}

static bool inside(ext2_filsys fs, uint64_t block, uint64_t count)
{
	return block >= fs->super->s_first_data_block &&
		range_inside(block, count, ext2fs_blocks_count(fs->super));
}

static void set_bits(uint8_t *bits, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		bits[i / 8] |= (uint8_t)(1u << i % 8);
}

/* Mark blocks [block, block + count) as far as they lie in the group. */
static void mark_in_group(ext2_filsys fs, dgrp_t group, uint64_t block, uint64_t count,
	uint8_t *bits)
{
	uint64_t first = ext2fs_group_first_block2(fs, group);
	uint64_t end = first + (uint64_t)ext2fs_group_blocks_count(fs, group);
	uint64_t from = max_u64(block, first), to = min_u64(block + count, end);

	if (from < to)
		set_bits(bits, (unsigned)((from - first) / ratio_of(fs)),
			(unsigned)div_up(to - first, ratio_of(fs)));
}

static int make_bitmap(ext2_filsys fs, dgrp_t group, uint8_t *bits, struct err *e)
{
	uint64_t table = ext2fs_inode_table_loc(fs, group);
	blk_t used = 0;

	/* Group 0 has the root directory; the kernel's rule would not count its boot block. */
	if (group == 0)
		return damaged(e, group, "marked as having no bitmap");
	if (!inside(fs, table, fs->inode_blocks_per_group))
		return damaged(e, group, "its inode table lies outside the file system");
	memset(bits, 0, fs->blocksize);
	ext2fs_super_and_bgd_loc2(fs, group, NULL, NULL, NULL, &used);
	mark_in_group(fs, group, ext2fs_group_first_block2(fs, group), used, bits);
	mark_in_group(fs, group, ext2fs_block_bitmap_loc(fs, group), 1, bits);
	mark_in_group(fs, group, ext2fs_inode_bitmap_loc(fs, group), 1, bits);
	mark_in_group(fs, group, table, fs->inode_blocks_per_group, bits);
	return 0;
}

/* The group's bitmap, read or made. `strict`: everything about it must be right. */
static int load_bitmap(ext2_filsys fs, dgrp_t group, bool strict, uint8_t *bits, struct err *e)
{
	uint64_t block = ext2fs_block_bitmap_loc(fs, group);
	errcode_t code;

	if (strict && !ext2fs_group_desc_csum_verify(fs, group))
		return damaged(e, group, "the descriptor's checksum is wrong");
	if (!inside(fs, block, 1) || !inside(fs, ext2fs_inode_bitmap_loc(fs, group), 1))
		return damaged(e, group, "a bitmap lies outside the file system");
	if (ext2fs_has_group_desc_csum(fs) && ext2fs_bg_flags_test(fs, group, EXT2_BG_BLOCK_UNINIT))
		return make_bitmap(fs, group, bits, e);
	code = io_channel_read_blk64(fs->io, block, 1, bits);
	if (code)
		return ext2fs_io_fail(fs, code, e, "read a block bitmap");
	if (strict &&
		!ext2fs_block_bitmap_csum_verify(fs, group, (char *)bits,
			(int)(fs->super->s_clusters_per_group / 8)))
		return damaged(e, group, "the block bitmap's checksum is wrong");
	return 0;
}

/* The first bit of value `set` in [from, end), or end. */
static unsigned next_bit(const uint8_t *bits, unsigned from, unsigned end, bool set)
{
	const uint64_t skip = set ? 0 : UINT64_MAX;
	uint64_t word;

	while (from < end) {
		if (from % 64 == 0 && end - from >= 64) {
			memcpy(&word, bits + from / 8, sizeof(word));
			if (word == skip) {
				from += 64;
				continue;
			}
		}
		if (from % 8 == 0 && bits[from / 8] == (uint8_t)skip)
			from += 8;
		else if ((bool)(bits[from / 8] >> from % 8 & 1) == set)
			return from;
		else
			from++;
	}
	return end;
}

static unsigned count_free(const uint8_t *bits, unsigned count)
{
	unsigned n = 0;

	for (unsigned from = 0; from < count;) {
		unsigned start = next_bit(bits, from, count, false);

		from = next_bit(bits, start, count, true);
		n += from - start;
	}
	return n;
}

static int check_count(struct cover *c, dgrp_t group, const uint8_t *bits, struct err *e)
{
	unsigned found = count_free(bits, clusters_in(c->fs, group));
	unsigned said = ext2fs_bg_free_blocks_count(c->fs, group);

	c->free_blocks += (uint64_t)found << c->fs->cluster_ratio_bits;
	if (found == said)
		return 0;
	return err_set(e, ERR_FORMAT, 0,
		"group %" PRIu32 ": the bitmap has %u free clusters, the descriptor says %u", group,
		found, said);
}

static int emit_free(struct cover *c, dgrp_t group, const uint8_t *bits, struct err *e)
{
	ext2_filsys fs = c->fs;
	uint64_t first = ext2fs_group_first_block2(fs, group);
	uint64_t blocks = ext2fs_blocks_count(fs->super);
	unsigned count = clusters_in(fs, group);
	unsigned end;

	for (unsigned start = next_bit(bits, 0, count, false); start < count;
		start = next_bit(bits, end, count, false)) {
		uint64_t from = first + (uint64_t)start * ratio_of(fs);
		uint64_t to;
		int rc;

		end = next_bit(bits, start, count, true);
		/* The last cluster may reach over the end of the file system (R3). */
		to = min_u64(first + (uint64_t)end * ratio_of(fs), blocks);
		rc = fs_free_runs_add(&c->runs, from * fs->blocksize, (to - from) * fs->blocksize,
			e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int map_group(struct cover *c, dgrp_t group, struct err *e)
{
	int rc = load_bitmap(c->fs, group, true, c->bits, e);

	if (rc == 0)
		rc = check_count(c, group, c->bits, e);
	if (rc == 0 && c->before) {
		rc = load_bitmap(c->before, group, false, c->bits_before, e);
		if (rc < 0)
			return rc;
		for (unsigned i = 0; i < c->fs->blocksize; i++)
			c->bits[i] |= c->bits_before[i];
	}
	if (rc == 0)
		rc = emit_free(c, group, c->bits, e);
	return rc;
}

/* Metadata stays data; with `strict` it must have been so already. */
static int keep(struct cover *c, ext2_filsys fs, dgrp_t group, const char *what, uint64_t block,
	uint64_t count, struct err *e)
{
	uint64_t off = block * fs->blocksize, len = count * fs->blocksize;
	struct extent x;

	if (!inside(fs, block, count))
		return err_set(e, ERR_FORMAT, 0,
			"group %" PRIu32 ": its %s lies outside the file system", group, what);
	x = map_run(c->m, off, NULL);
	if (fs == c->fs && (x.kind != MAP_DATA || x.len < len))
		return err_set(e, ERR_FORMAT, 0,
			"group %" PRIu32 ": its %s, at block %" PRIu64 ", is marked free", group,
			what, block);
	return map_set(c->m, off, len, MAP_DATA, e);
}

static int keep_group(struct cover *c, ext2_filsys fs, dgrp_t group, struct err *e)
{
	bool meta_bg = ext2fs_has_feature_meta_bg(fs->super);
	uint64_t table_blocks = meta_bg ? fs->super->s_first_meta_bg
					: fs->desc_blocks + fs->super->s_reserved_gdt_blocks;
	blk64_t super = 0, table = 0, part = 0;
	int rc = 0;

	ext2fs_super_and_bgd_loc2(fs, group, &super, &table, &part, NULL);
	/* The library says 0 for "none", but block 0 is the place of the first superblock. */
	if (super != 0 || group == 0)
		rc = keep(c, fs, group, "superblock", super, 1, e);
	if (rc == 0 && table != 0 && table_blocks != 0)
		rc = keep(c, fs, group, "descriptor table", table, table_blocks, e);
	if (rc == 0 && part != 0)
		rc = keep(c, fs, group, "descriptor block", part, 1, e);
	if (rc == 0)
		rc = keep(c, fs, group, "block bitmap", ext2fs_block_bitmap_loc(fs, group), 1, e);
	if (rc == 0)
		rc = keep(c, fs, group, "inode bitmap", ext2fs_inode_bitmap_loc(fs, group), 1, e);
	if (rc == 0)
		rc = keep(c, fs, group, "inode table", ext2fs_inode_table_loc(fs, group),
			fs->inode_blocks_per_group, e);
	return rc;
}

static int map_all(struct cover *c, struct err *e)
{
	dgrp_t groups = c->fs->group_desc_count;
	int rc = 0;

	for (dgrp_t group = 0; group < groups && rc == 0; group++)
		rc = map_group(c, group, e);
	for (dgrp_t group = 0; group < groups && rc == 0; group++)
		rc = keep_group(c, c->fs, group, e);
	for (dgrp_t group = 0; group < groups && rc == 0 && c->before; group++)
		rc = keep_group(c, c->before, group, e);
	return rc;
}

int fs_ext_groups_map(ext2_filsys fs, ext2_filsys before, struct map *m, uint64_t *free_blocks,
	bool *coarse, struct err *e)
{
	struct cover c = {
		.fs = fs,
		.before = before,
		.m = m,
		.runs = { .m = m, .unit_bytes = (uint64_t)fs->blocksize << fs->cluster_ratio_bits },
		.bits = malloc(fs->blocksize),
		.bits_before = malloc(fs->blocksize),
	};
	int rc = c.bits && c.bits_before ? map_all(&c, e) : err_nomem(e);

	*free_blocks = c.free_blocks;
	*coarse = c.runs.min_bytes != 0;
	free(c.bits);
	free(c.bits_before);
	return rc;
}
