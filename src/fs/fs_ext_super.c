/*
 * The superblock of ext2, ext3 and ext4, checked before the library sees it. Layout, limits and the
 * meaning of the feature bits: Linux kernel, Documentation/filesystems/ext4/super.rst and
 * blockgroup.rst; the offsets below are of the table in super.rst.
 *
 * The feature lists are white lists. A bit is on them only when it was thought through whether it
 * changes where metadata lies, what a bitmap means, or what a replay of the journal does. Those
 * that do, and where that is met: has_journal and recover (fs_ext_journal.c), fast_commit (there
 * too), resize_inode, meta_bg, flex_bg and sparse_super2 (the library knows where descriptors and
 * copies are, fs_ext_groups.c keeps them), gdt_csum and metadata_csum (bitmaps that were never
 * written, checksums), bigalloc (a bit of the bitmap is a cluster). All others change only what is
 * inside inodes and directories.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_ext_int.h"

#define MAGIC 0xef53
#define LOG_BLOCK_MAX 6	   /* 64 KiB: super.rst, and the library's limit */
#define LOG_CLUSTER_MAX 19 /* 512 MiB: the library's limit */
#define REV_OLD 0
#define REV_DYNAMIC 1
#define INODE_BYTES_OLD 128
#define DESC_BYTES 32
#define DESC_BYTES_64BIT 64
#define STATE_VALID 0x1
#define STATE_ERROR 0x2

/* All group descriptors are held in memory, twice when a journal is replayed. Enough for 192 TiB
 * with blocks of 4 KiB. */
#define DESC_TABLE_MAX (96 * MIB)

struct feature {
	uint32_t bit;
	const char *name;
};

struct feature_word {
	const char *name;
	size_t offset;
	uint32_t known;
	struct feature refused[5]; /* known by name only; an entry without a name ends it */
};

static const struct feature_word words[] = {
	{ "compat", 0x5c,
		EXT2_FEATURE_COMPAT_DIR_PREALLOC | EXT2_FEATURE_COMPAT_IMAGIC_INODES |
			EXT3_FEATURE_COMPAT_HAS_JOURNAL | EXT2_FEATURE_COMPAT_EXT_ATTR |
			EXT2_FEATURE_COMPAT_RESIZE_INODE | EXT2_FEATURE_COMPAT_DIR_INDEX |
			EXT4_FEATURE_COMPAT_SPARSE_SUPER2 | EXT4_FEATURE_COMPAT_FAST_COMMIT |
			EXT4_FEATURE_COMPAT_STABLE_INODES | EXT4_FEATURE_COMPAT_ORPHAN_FILE,
		{ { EXT2_FEATURE_COMPAT_LAZY_BG, "lazy_bg" },
			{ EXT2_FEATURE_COMPAT_EXCLUDE_BITMAP, "exclude_bitmap" } } },
	{ "incompat", 0x60,
		EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER |
			EXT2_FEATURE_INCOMPAT_META_BG | EXT3_FEATURE_INCOMPAT_EXTENTS |
			EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_MMP |
			EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_EA_INODE |
			EXT4_FEATURE_INCOMPAT_CSUM_SEED | EXT4_FEATURE_INCOMPAT_LARGEDIR |
			EXT4_FEATURE_INCOMPAT_INLINE_DATA | EXT4_FEATURE_INCOMPAT_ENCRYPT |
			EXT4_FEATURE_INCOMPAT_CASEFOLD,
		{ { EXT2_FEATURE_INCOMPAT_COMPRESSION, "compression" },
			{ EXT3_FEATURE_INCOMPAT_JOURNAL_DEV, "journal_dev" },
			{ EXT4_FEATURE_INCOMPAT_DIRDATA, "dirdata" } } },
	{ "ro_compat", 0x64,
		EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
			EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM |
			EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE |
			EXT4_FEATURE_RO_COMPAT_QUOTA | EXT4_FEATURE_RO_COMPAT_BIGALLOC |
			EXT4_FEATURE_RO_COMPAT_METADATA_CSUM | EXT4_FEATURE_RO_COMPAT_READONLY |
			EXT4_FEATURE_RO_COMPAT_PROJECT | EXT4_FEATURE_RO_COMPAT_VERITY |
			EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT,
		{ { EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "has_snapshot" },
			{ EXT4_FEATURE_RO_COMPAT_REPLICA, "replica" },
			{ EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks" } } },
};

/* The fields that the checks below need. */
struct fields {
	uint32_t rev, compat, incompat, ro_compat;
	uint64_t inodes, blocks, free_blocks;
	uint32_t first_block, log_block, log_cluster;
	uint32_t blocks_per_group, clusters_per_group, inodes_per_group;
	uint32_t inode_bytes, desc_bytes, reserved_desc_blocks;
	uint64_t block_bytes;
};

static int bad(struct err *e, const char *field, uint64_t value)
{
	return err_set(e, ERR_FORMAT, 0, "superblock: %s is %" PRIu64, field, value);
}

static int check_features(const uint8_t *super, struct err *e)
{
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		const struct feature_word *w = &words[i];
		uint32_t unknown = get_le32(super + w->offset) & ~w->known;
		uint32_t lowest = unknown & -unknown;

		if (unknown == 0)
			continue;
		for (size_t k = 0; k < COUNT_OF(w->refused) && w->refused[k].name; k++)
			if (w->refused[k].bit == lowest)
				return err_set(e, ERR_FORMAT, 0, "feature %s is not supported",
					w->refused[k].name);
		return err_set(e, ERR_FORMAT, 0, "unknown feature bit 0x%" PRIx32 " in %s", lowest,
			w->name);
	}
	return 0;
}

static int decode(const uint8_t *super, struct fields *f, struct err *e)
{
	if (get_le16(super + 0x38) != MAGIC)
		return bad(e, "s_magic", get_le16(super + 0x38));
	f->rev = get_le32(super + 0x4c);
	if (f->rev != REV_OLD && f->rev != REV_DYNAMIC)
		return bad(e, "s_rev_level", f->rev);
	f->compat = get_le32(super + 0x5c);
	f->incompat = get_le32(super + 0x60);
	f->ro_compat = get_le32(super + 0x64);
	if (f->rev == REV_OLD && (f->compat | f->incompat | f->ro_compat) != 0)
		return err_set(e, ERR_FORMAT, 0, "superblock: features in revision 0");

	f->inodes = get_le32(super);
	f->blocks = get_le32(super + 4);
	f->free_blocks = get_le32(super + 0xc);
	f->desc_bytes = DESC_BYTES;
	if (f->incompat & EXT4_FEATURE_INCOMPAT_64BIT) {
		f->blocks |= (uint64_t)get_le32(super + 0x150) << 32;
		f->free_blocks |= (uint64_t)get_le32(super + 0x158) << 32;
		f->desc_bytes = get_le16(super + 0xfe);
	}
	f->first_block = get_le32(super + 0x14);
	f->log_block = get_le32(super + 0x18);
	f->log_cluster = get_le32(super + 0x1c);
	f->blocks_per_group = get_le32(super + 0x20);
	f->clusters_per_group = get_le32(super + 0x24);
	f->inodes_per_group = get_le32(super + 0x28);
	f->inode_bytes = f->rev == REV_OLD ? INODE_BYTES_OLD : get_le16(super + 0x58);
	f->reserved_desc_blocks = get_le16(super + 0xce);
	return 0;
}

static int check_units(struct fields *f, struct err *e)
{
	bool bigalloc = f->ro_compat & EXT4_FEATURE_RO_COMPAT_BIGALLOC;
	uint32_t first;

	if (f->log_block > LOG_BLOCK_MAX)
		return bad(e, "s_log_block_size", f->log_block);
	f->block_bytes = (uint64_t)1024 << f->log_block;
	if (f->log_cluster < f->log_block || f->log_cluster > LOG_CLUSTER_MAX ||
		(!bigalloc && f->log_cluster != f->log_block))
		return bad(e, "s_log_cluster_size", f->log_cluster);
	/* Block 0 holds the superblock, except with blocks of 1 KiB, where block 1 does; groups of
	 * clusters begin at block 0 always. */
	first = f->log_block == 0 && !bigalloc ? 1 : 0;
	if (f->first_block != first)
		return bad(e, "s_first_data_block", f->first_block);
	if (f->inode_bytes < INODE_BYTES_OLD || f->inode_bytes > f->block_bytes ||
		!is_power_of_two(f->inode_bytes))
		return bad(e, "s_inode_size", f->inode_bytes);
	/* 64 is the only size that was ever made with the 64bit feature. */
	if ((f->incompat & EXT4_FEATURE_INCOMPAT_64BIT) && f->desc_bytes != DESC_BYTES_64BIT)
		return bad(e, "s_desc_size", f->desc_bytes);
	return 0;
}

static int check_groups(const struct fields *f, uint64_t size, struct err *e)
{
	uint64_t bits = 8 * f->block_bytes; /* of a bitmap block */
	uint64_t groups, table_bytes;

	/* A bitmap is one block, and whole bytes of it are in use (the checksum covers bytes). */
	if (f->clusters_per_group == 0 || f->clusters_per_group > bits ||
		f->clusters_per_group % 8 != 0)
		return bad(e, "s_clusters_per_group", f->clusters_per_group);
	if ((uint64_t)f->clusters_per_group << (f->log_cluster - f->log_block) !=
		f->blocks_per_group)
		return bad(e, "s_blocks_per_group", f->blocks_per_group);
	if (f->inodes_per_group == 0 || f->inodes_per_group > bits)
		return bad(e, "s_inodes_per_group", f->inodes_per_group);
	/* The library calculates the table's bytes with 32 bits. */
	table_bytes = (uint64_t)f->inodes_per_group * f->inode_bytes;
	if (table_bytes > UINT32_MAX - f->block_bytes ||
		table_bytes / f->block_bytes >= f->blocks_per_group)
		return bad(e, "s_inodes_per_group", f->inodes_per_group);
	if (f->blocks <= f->first_block)
		return bad(e, "s_blocks_count", f->blocks);
	if (f->blocks > size / f->block_bytes)
		return err_set(e, ERR_FORMAT, 0,
			"the file system (%" PRIu64 " blocks of %" PRIu64
			" bytes) is larger than the device",
			f->blocks, f->block_bytes);
	if (f->free_blocks > f->blocks)
		return bad(e, "s_free_blocks_count", f->free_blocks);
	/* No overflow from here on: the block count fits the device. */
	groups = div_up(f->blocks - f->first_block, f->blocks_per_group);
	if (groups > DESC_TABLE_MAX / f->desc_bytes)
		return err_set(e, ERR_FORMAT, 0, "%" PRIu64 " block groups are too many", groups);
	if (groups * f->inodes_per_group != f->inodes)
		return bad(e, "s_inodes_count", f->inodes);
	/* A block of the resize inode lists them, 4 bytes each. */
	if (f->reserved_desc_blocks > f->block_bytes / 4 ||
		(f->reserved_desc_blocks != 0 && (f->incompat & EXT2_FEATURE_INCOMPAT_META_BG)))
		return bad(e, "s_reserved_gdt_blocks", f->reserved_desc_blocks);
	return 0;
}

/* Clean, or dirty with a journal in the same file system. */
int fs_ext_super_check_state(const uint8_t *super, struct err *e)
{
	uint32_t compat = get_le32(super + 0x5c), incompat = get_le32(super + 0x60);
	uint16_t state = get_le16(super + 0x3a);
	uint32_t journal_inode = get_le32(super + 0xe0);
	uint32_t journal_device = get_le32(super + 0xe4);

	if (state & STATE_ERROR)
		return err_set(e, ERR_FORMAT, 0, "the file system is marked as having errors");
	if (!(state & STATE_VALID))
		return err_set(e, ERR_FORMAT, 0,
			"not cleanly unmounted, and no journal makes up for it");
	if (!(compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL)) {
		if (incompat & EXT3_FEATURE_INCOMPAT_RECOVER)
			return err_set(e, ERR_FORMAT, 0, "needs recovery, but has no journal");
		return 0;
	}
	if (journal_inode == 0 || journal_device != 0)
		return err_set(e, ERR_FORMAT, 0, "the journal is on another device");
	return 0;
}

int fs_ext_super_check(const uint8_t *super, uint64_t size, struct err *e)
{
	uint32_t both = EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
	struct fields f = { 0 };
	int rc = decode(super, &f, e);

	if (rc == 0)
		rc = check_features(super, e);
	if (rc == 0 && (f.ro_compat & both) == both)
		rc = err_set(e, ERR_FORMAT, 0, "both uninit_bg and metadata_csum are set");
	if (rc == 0)
		rc = check_units(&f, e);
	if (rc == 0)
		rc = check_groups(&f, size, e);
	return rc;
}
