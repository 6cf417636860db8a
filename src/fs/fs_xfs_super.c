/*
 * The XFS superblock, [XFS] "Superblocks", struct xfs_dsb:
 *
 *   0x00  4  "XFSB"                         0x66  2  sector bytes
 *   0x04  4  block bytes                    0x78  1  log2 of block bytes, 0x79 of sector bytes
 *   0x08  8  blocks of the data device      0x7c  1  log2 of blocks per group, rounded up
 *   0x20 16  UUID                           0x7e  1  mkfs is still at work
 *   0x30  8  first block of the log         0x90  8  free blocks
 *   0x54  4  blocks per allocation group    0xc8  4  features2 and, 0xcc, its old place
 *   0x58  4  groups                         0xd0 16  features: compat, ro_compat, incompat, log
 *   0x60  4  blocks of the log              0xe0  4  checksum, of the whole sector
 *   0x64  2  version and old features       0xf8 16  UUID that metadata carries (meta_uuid)
 *
 * The feature lists are white lists. A bit is on them only when it was thought through whether it
 * changes where metadata lies or where free space is recorded. Of those below none does: finobt,
 * inobtcnt and spinodes index inodes; rmapbt and reflink add trees whose blocks are in use like any
 * other (and are counted, see fs_xfs_free.c); meta_uuid says which UUID to expect; bigtime,
 * nrext64, ftype, parent and exchrange are inside inodes, directories and log items.
 *
 * A real-time volume is another device. What is free on the data device is recorded in the same way
 * with or without one; a real-time section inside the data device needs metadir and zoned, which
 * are refused. A log on another device cannot be asked whether it is clean: refused.
 */
#include <inttypes.h>

#include "adapter/ext2fs_io.h" /* its CRC32C */
#include "fs/fs_xfs_int.h"

#define OFF_CHECKSUM 0xe0
#define VERSION_MASK 0x000f
#define VERSION_5 5

/*
 * versionnum: attr, nlink, quota, align, dalign, logv2, sector, extflg, dirv2, ascii-ci, morebits
 */
#define VERSION_KNOWN 0xfdf0
#define VERSION_LOGV2 0x0400
#define VERSION_MOREBITS 0x8000
/* features2: lazysbcount, attr2, projid32, crc, ftype */
#define FEATURES2_KNOWN 0x038au
#define FEATURES2_LAZY 0x0002
#define FEATURES2_CRC 0x0100

#define RO_COMPAT_RMAPBT 0x2
#define INCOMPAT_META_UUID 0x4

#define MIN_AG_BLOCKS 64		    /* XFS_MIN_AG_BLOCKS */
#define MAX_AG_BYTES ((uint64_t)1 << 40)    /* XFS_MAX_AG_BYTES */
#define MAX_LOG_BYTES ((uint64_t)1 << 31)   /* XFS_MAX_LOG_BYTES */
#define MIN_LOG_BYTES ((uint64_t)512 * KIB) /* less than mkfs makes in any way */

/* Superblock, AGF, AGI and AGFL: a sector each. */
#define AG_HEADER_SECTORS 4

struct feature {
	uint32_t bit;
	const char *name;
};

struct feature_word {
	const char *name;
	size_t offset;
	uint32_t known;
	struct feature refused[6]; /* known by name only; an entry without a name ends it */
};

static const struct feature_word words[] = {
	{ "compat", 0xd0, 0, { { 0, NULL } } },
	/* finobt, rmapbt, reflink, inobtcnt */
	{ "ro_compat", 0xd4, 0xf, { { 0, NULL } } },
	/* ftype, spinodes, meta_uuid, bigtime, nrext64, exchrange, parent */
	{ "incompat", 0xd8, 0xef,
		{ { 0x10, "needsrepair" }, { 0x100, "metadir" }, { 0x200, "zoned" },
			{ 0x400, "zone_gaps" } } },
	/* xattrs: attribute intents, which allocate only after the replay */
	{ "log_incompat", 0xdc, 0x1, { { 0, NULL } } },
};

uint32_t fs_xfs_checksum(const uint8_t *p, size_t len, size_t at)
{
	static const uint8_t zeros[4];
	uint32_t crc = ext2fs_crc32c_le(~0u, p, at);

	crc = ext2fs_crc32c_le(crc, zeros, sizeof(zeros));
	return ~ext2fs_crc32c_le(crc, p + at + sizeof(zeros), len - at - sizeof(zeros));
}

bool fs_xfs_checksum_fits(const uint8_t *p, size_t len, size_t at)
{
	return get_le32(p + at) == fs_xfs_checksum(p, len, at);
}

static int bad(struct err *e, const char *field, uint64_t value)
{
	return err_set(e, ERR_FORMAT, 0, "superblock: %s is %" PRIu64, field, value);
}

static int check_version(const uint8_t *p, struct err *e)
{
	uint16_t version = get_be16(p + 0x64);
	uint32_t features2 = get_be32(p + 0xc8);

	if (get_be32(p) != XFS_MAGIC_SUPER)
		return err_set(e, ERR_FORMAT, 0, "superblock: no magic number");
	if ((version & VERSION_MASK) < VERSION_5)
		return err_set(e, ERR_FORMAT, 0,
			"XFS version %d: metadata without checksums is not supported",
			version & VERSION_MASK);
	if ((version & VERSION_MASK) > VERSION_5 || (version & ~(VERSION_KNOWN | VERSION_MASK)) ||
		!(version & VERSION_MOREBITS) || !(version & VERSION_LOGV2))
		return err_set(e, ERR_FORMAT, 0, "superblock: versionnum is 0x%" PRIx16, version);
	if ((features2 & ~FEATURES2_KNOWN) || !(features2 & FEATURES2_LAZY) ||
		!(features2 & FEATURES2_CRC) || get_be32(p + 0xcc) != features2)
		return err_set(e, ERR_FORMAT, 0, "superblock: features2 is 0x%" PRIx32, features2);
	return 0;
}

static int check_features(const uint8_t *p, struct err *e)
{
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		const struct feature_word *w = &words[i];
		uint32_t unknown = get_be32(p + w->offset) & ~w->known;
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

static int decode_units(const uint8_t *p, struct xfs_super *s, struct err *e)
{
	s->block_bytes = get_be32(p + 0x04);
	s->sector_bytes = get_be16(p + 0x66);
	if (!is_power_of_two(s->block_bytes) || s->block_bytes < 1024 || s->block_bytes > 65536 ||
		p[0x78] >= 32 || s->block_bytes != 1u << p[0x78])
		return bad(e, "blocksize", s->block_bytes);
	if (!is_power_of_two(s->sector_bytes) || s->sector_bytes < XFS_SECTOR ||
		s->sector_bytes > 32768 || s->sector_bytes > s->block_bytes || p[0x79] >= 32 ||
		s->sector_bytes != 1u << p[0x79])
		return bad(e, "sectsize", s->sector_bytes);
	if (p[0x7e] != 0)
		return err_set(e, ERR_FORMAT, 0, "mkfs did not finish");
	return 0;
}

static int decode_groups(const uint8_t *p, uint64_t device_bytes, struct xfs_super *s,
	struct err *e)
{
	s->blocks = get_be64(p + 0x08);
	s->free_blocks = get_be64(p + 0x90);
	s->ag_blocks = get_be32(p + 0x54);
	s->ag_count = get_be32(p + 0x58);
	if (s->blocks > device_bytes / s->block_bytes)
		return err_set(e, ERR_FORMAT, 0,
			"the file system (%" PRIu64 " blocks of %" PRIu32
			" bytes) is larger than the device",
			s->blocks, s->block_bytes);
	if (s->ag_blocks < MIN_AG_BLOCKS || s->ag_blocks > MAX_AG_BYTES / s->block_bytes)
		return bad(e, "agblocks", s->ag_blocks);
	if (p[0x7c] >= 32 || s->ag_blocks > (uint64_t)1 << p[0x7c] ||
		s->ag_blocks <= ((uint64_t)1 << p[0x7c]) / 2)
		return bad(e, "agblklog", p[0x7c]);
	/* The last group may be short, but not so that it would not be one. */
	if (s->ag_count == 0 || div_up(s->blocks, s->ag_blocks) != s->ag_count ||
		fs_xfs_ag_length(s, s->ag_count - 1) < MIN_AG_BLOCKS)
		return bad(e, "agcount", s->ag_count);
	if (s->free_blocks > s->blocks)
		return bad(e, "fdblocks", s->free_blocks);
	return 0;
}

/* The log's place is a block number in which the group is in the bits above those of agblklog. */
static int decode_log(const uint8_t *p, struct xfs_super *s, struct err *e)
{
	uint64_t start = get_be64(p + 0x30), ag = start >> p[0x7c];
	uint64_t block = start & (((uint64_t)1 << p[0x7c]) - 1);

	s->log_blocks = get_be32(p + 0x60);
	if (start == 0)
		return err_set(e, ERR_FORMAT, 0, "the log is on another device");
	if ((uint64_t)s->log_blocks * s->block_bytes > MAX_LOG_BYTES ||
		(uint64_t)s->log_blocks * s->block_bytes < MIN_LOG_BYTES)
		return bad(e, "logblocks", s->log_blocks);
	if (ag >= s->ag_count || block < fs_xfs_ag_header_blocks(s) ||
		!range_inside(block, s->log_blocks, fs_xfs_ag_length(s, (uint32_t)ag)))
		return bad(e, "logstart", start);
	s->log_block = ag * s->ag_blocks + block;
	return 0;
}

static int read_checked(struct dev *d, uint8_t *p, uint32_t sector_bytes, struct err *e)
{
	int rc = dev_read(d, 0, p, sector_bytes, e);

	if (rc == 0 && !fs_xfs_checksum_fits(p, sector_bytes, OFF_CHECKSUM))
		rc = err_set(e, ERR_FORMAT, 0, "superblock: the checksum is wrong");
	return rc;
}

int fs_xfs_super_read(struct dev *d, struct xfs_super *out, struct err *e)
{
	uint8_t head[XFS_SUPER_BYTES], *p = NULL;
	struct xfs_super s = { 0 };
	int rc;

	if (dev_size(d) < MIN_LOG_BYTES)
		return err_set(e, ERR_FORMAT, 0, "too small for a superblock");
	rc = dev_read(d, 0, head, sizeof(head), e);
	if (rc == 0)
		rc = check_version(head, e);
	if (rc == 0)
		rc = decode_units(head, &s, e);
	if (rc < 0)
		return rc;
	/* What decides from here on is under the checksum. */
	p = malloc(s.sector_bytes);
	rc = p ? read_checked(d, p, s.sector_bytes, e) : err_nomem(e);
	if (rc == 0)
		rc = check_version(p, e);
	if (rc == 0)
		rc = decode_units(p, &s, e);
	if (rc == 0)
		rc = check_features(p, e);
	if (rc == 0)
		rc = decode_groups(p, dev_size(d), &s, e);
	if (rc == 0)
		rc = decode_log(p, &s, e);
	if (rc == 0) {
		bool meta = get_be32(p + 0xd8) & INCOMPAT_META_UUID;

		s.has_rmap = get_be32(p + 0xd4) & RO_COMPAT_RMAPBT;
		memcpy(s.uuid, p + 0x20, XFS_UUID_BYTES);
		memcpy(s.id, p + (meta ? 0xf8 : 0x20), XFS_UUID_BYTES);
		*out = s;
	}
	free(p);
	return rc;
}

uint32_t fs_xfs_ag_length(const struct xfs_super *s, uint32_t ag)
{
	if (ag + 1 < s->ag_count)
		return s->ag_blocks;
	return (uint32_t)(s->blocks - (uint64_t)(s->ag_count - 1) * s->ag_blocks);
}

uint32_t fs_xfs_ag_header_blocks(const struct xfs_super *s)
{
	return (uint32_t)div_up((uint64_t)AG_HEADER_SECTORS * s->sector_bytes, s->block_bytes);
}
