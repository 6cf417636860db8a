/*
 * struct f2fs_super_block, which is 1024 bytes into the first and the second block of the device.
 * The limits are those that a mount holds to (Linux kernel, fs/f2fs/super.c,
 * sanity_check_raw_super). The features are a white list: a bit is on it when it changes neither
 * where metadata lies nor what the segment table means. All of these only change what is inside
 * inodes (fs_f2fs_node.c) and directories, except sb_checksum (checked here), quota_ino (quota
 * files are files) and readonly (fewer logs, fs_f2fs_sit.c).
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_f2fs_int.h"

#define SUPER_OFFSET 1024
#define SUPER_BYTES 3072
#define CHECKSUM_OFFSET 3068 /* crc: it covers what is before it */
#define LOG_BLOCK 12
#define LOG_SEGMENT_BLOCKS 9
#define LOG_SECTOR_MIN 9
#define LOG_SECTOR_MAX 12
#define SEGMENTS_MIN 9		       /* F2FS_MIN_SEGMENTS: six logs, and what they work on */
#define SEGMENTS_MAX (16 * 1024 * 512) /* F2FS_MAX_SEGMENT: 16 TiB, block numbers are 32 bits */
#define CHECKPOINT_PACKS 2
#define DEVICE_OFFSET 2201 /* devs[0].path */
#define ERRORS_OFFSET 2794 /* s_errors, the kernel's list of damage that it met */
#define ERRORS_BYTES 16
#define FEATURE_OFFSET 2180
#define FEATURE_FLEXIBLE_XATTR 0x0040
#define FEATURE_SB_CHECKSUM 0x0800
#define FEATURE_READONLY 0x4000

/* encrypt, extra_attr, project_quota, inode_checksum, flexible_inline_xattr, quota_ino,
 * inode_crtime, lost_found, verity, sb_checksum, casefold, compression, readonly. */
#define FEATURES_KNOWN                                                                             \
	(0x0001u | 0x0008u | 0x0010u | 0x0020u | FEATURE_FLEXIBLE_XATTR | 0x0080u | 0x0100u |      \
		0x0200u | 0x0400u | FEATURE_SB_CHECKSUM | 0x1000u | 0x2000u | FEATURE_READONLY)

static const struct {
	uint32_t bit;
	const char *name;
} refused[] = {
	{ 0x0002, "blkzoned" },
	{ 0x0004, "atomic_write" },
};

uint32_t fs_f2fs_crc(uint32_t crc, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
	}
	return crc;
}

int fs_f2fs_read(struct dev *d, uint64_t block, uint32_t count, uint8_t *buf, const char *what,
	struct err *e)
{
	/* Block numbers have 32 bits: no overflow. */
	if (dev_read(d, block * F2FS_BLOCK_BYTES, buf, (size_t)count * F2FS_BLOCK_BYTES, e) < 0)
		return err_prefix(e, "%s", what);
	return 0;
}

static int bad(struct err *e, const char *field, uint64_t value)
{
	return err_set(e, ERR_FORMAT, 0, "superblock: %s is %" PRIu64, field, value);
}

static int check_features(uint32_t features, struct err *e)
{
	uint32_t unknown = features & ~FEATURES_KNOWN;
	uint32_t lowest = unknown & -unknown;

	if (unknown == 0)
		return 0;
	for (size_t i = 0; i < COUNT_OF(refused); i++)
		if (refused[i].bit == lowest)
			return err_set(e, ERR_FORMAT, 0, "feature %s is not supported",
				refused[i].name);
	return err_set(e, ERR_FORMAT, 0, "unknown feature bit 0x%" PRIx32, lowest);
}

static int check_identity(const uint8_t *p, struct err *e)
{
	uint32_t features = get_le32(p + FEATURE_OFFSET);
	uint32_t log_sector = get_le32(p + 8), log_sectors = get_le32(p + 12);

	if (get_le32(p) != F2FS_MAGIC)
		return err_set(e, ERR_FORMAT, 0, "superblock: no magic number");
	if ((features & FEATURE_SB_CHECKSUM) &&
		(get_le32(p + 32) != CHECKSUM_OFFSET ||
			get_le32(p + CHECKSUM_OFFSET) !=
				fs_f2fs_crc(F2FS_MAGIC, p, CHECKSUM_OFFSET)))
		return err_set(e, ERR_FORMAT, 0, "superblock: the checksum is wrong");
	if (get_le32(p + 16) != LOG_BLOCK)
		return bad(e, "log_blocksize", get_le32(p + 16));
	if (get_le32(p + 20) != LOG_SEGMENT_BLOCKS)
		return bad(e, "log_blocks_per_seg", get_le32(p + 20));
	if (log_sector < LOG_SECTOR_MIN || log_sector > LOG_SECTOR_MAX)
		return bad(e, "log_sectorsize", log_sector);
	if (log_sectors != LOG_BLOCK - log_sector)
		return bad(e, "log_sectors_per_block", log_sectors);
	if (!mem_is_zero(p + ERRORS_OFFSET, ERRORS_BYTES))
		return err_set(e, ERR_FORMAT, 0, "the file system is marked as having errors");
	if (check_features(features, e) < 0)
		return -ERR_FORMAT;
	if (p[DEVICE_OFFSET] != 0)
		return err_set(e, ERR_FORMAT, 0, "the file system has more than one device");
	return 0;
}

/* Sections are groups of segments, zones of sections; the map needs neither, but they must fit. */
static int check_counts(const uint8_t *p, struct err *e)
{
	uint32_t per_section = get_le32(p + 24), per_zone = get_le32(p + 28);
	uint32_t sections = get_le32(p + 44), segments = get_le32(p + 48);
	uint32_t main_segments = get_le32(p + 68);

	if (segments < SEGMENTS_MIN || segments > SEGMENTS_MAX)
		return bad(e, "segment_count", segments);
	if (main_segments == 0 || main_segments > segments)
		return bad(e, "segment_count_main", main_segments);
	if (per_section == 0 || per_section > segments)
		return bad(e, "segs_per_sec", per_section);
	if ((uint64_t)sections * per_section != main_segments)
		return bad(e, "section_count", sections);
	if (per_zone == 0 || per_zone > sections)
		return bad(e, "secs_per_zone", per_zone);
	if (get_le32(p + 1664) >= F2FS_SEGMENT_BLOCKS - CHECKPOINT_PACKS - F2FS_LOGS)
		return bad(e, "cp_payload", get_le32(p + 1664));
	return 0;
}

/* Checkpoint, SIT, NAT, SSA and main area, without gaps; what may follow is no area. */
static int check_areas(const uint8_t *p, uint64_t device_bytes, struct err *e)
{
	static const struct {
		size_t start, count;
		const char *name;
	} areas[] = {
		{ 76, 52, "cp_blkaddr" },
		{ 80, 56, "sit_blkaddr" },
		{ 84, 60, "nat_blkaddr" },
		{ 88, 64, "ssa_blkaddr" },
		{ 92, 68, "main_blkaddr" },
	};
	uint64_t next = get_le32(p + 72); /* segment0_blkaddr */
	uint64_t segments_end = next + (uint64_t)get_le32(p + 48) * F2FS_SEGMENT_BLOCKS;
	uint64_t blocks = get_le64(p + 36);

	/* The superblocks are in the first two blocks. */
	if (next < 2)
		return bad(e, "segment0_blkaddr", next);
	/* No overflow: both factors have 32 bits. */
	for (size_t i = 0; i < COUNT_OF(areas); i++) {
		if (get_le32(p + areas[i].start) != next)
			return bad(e, areas[i].name, get_le32(p + areas[i].start));
		next += (uint64_t)get_le32(p + areas[i].count) * F2FS_SEGMENT_BLOCKS;
	}
	if (next > segments_end || next > blocks || next > UINT32_MAX)
		return bad(e, "segment_count_main", get_le32(p + 68));
	if (blocks > device_bytes / F2FS_BLOCK_BYTES)
		return err_set(e, ERR_FORMAT, 0,
			"the file system (%" PRIu64 " blocks of %d bytes) is larger than the "
			"device",
			blocks, F2FS_BLOCK_BYTES);
	if (get_le32(p + 52) != CHECKPOINT_PACKS)
		return bad(e, "segment_count_ckpt", get_le32(p + 52));
	if (get_le32(p + 56) == 0 || get_le32(p + 56) % 2 != 0)
		return bad(e, "segment_count_sit", get_le32(p + 56));
	if (get_le32(p + 60) == 0 || get_le32(p + 60) % 2 != 0)
		return bad(e, "segment_count_nat", get_le32(p + 60));
	return 0;
}

static int decode(const uint8_t *p, uint64_t device_bytes, struct f2fs_super *out, struct err *e)
{
	int rc = check_identity(p, e);

	if (rc == 0)
		rc = check_counts(p, e);
	if (rc == 0)
		rc = check_areas(p, device_bytes, e);
	if (rc < 0)
		return rc;
	*out = (struct f2fs_super){
		.checkpoint_block = get_le32(p + 76),
		.sit_block = get_le32(p + 80),
		.sit_segments = get_le32(p + 56),
		.nat_block = get_le32(p + 84),
		.nat_segments = get_le32(p + 60),
		.main_block = get_le32(p + 92),
		.main_segments = get_le32(p + 68),
		.payload_blocks = get_le32(p + 1664),
		.readonly = get_le32(p + FEATURE_OFFSET) & FEATURE_READONLY,
		.flexible_xattr = get_le32(p + FEATURE_OFFSET) & FEATURE_FLEXIBLE_XATTR,
	};
	return 0;
}

int fs_f2fs_super_read(struct dev *d, struct f2fs_super *out, struct err *e)
{
	uint8_t blocks[2 * F2FS_BLOCK_BYTES];
	int rc;

	if (dev_size(d) < sizeof(blocks))
		return err_set(e, ERR_FORMAT, 0, "too small for the superblocks");
	rc = fs_f2fs_read(d, 0, 2, blocks, "superblock", e);
	if (rc == 0)
		rc = decode(blocks + SUPER_OFFSET, dev_size(d), out, e);
	/* A mount would write the first over the second; but why do they differ? */
	if (rc == 0 &&
		memcmp(blocks + SUPER_OFFSET, blocks + F2FS_BLOCK_BYTES + SUPER_OFFSET,
			SUPER_BYTES) != 0)
		rc = err_set(e, ERR_FORMAT, 0, "the two superblocks differ");
	return rc;
}
