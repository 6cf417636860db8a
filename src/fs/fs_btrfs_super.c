/*
 * The superblock of Btrfs and its copies. Layout: [BTRFS] "Superblock"; features and flags: [UAPI],
 * include/uapi/linux/btrfs.h, BTRFS_FEATURE_*.
 *
 * The feature lists are white lists. A bit is on them only when it was thought through whether it
 * changes how trees are found, how logical addresses become physical ones, or what an item of the
 * extent tree means. Those that do, and where that is met: mixed_groups (chunks of data and
 * metadata), skinny_metadata (METADATA_ITEM), metadata_uuid (what tree blocks carry),
 * block_group_tree (where block groups are), free_space_tree (compared). All others change what is
 * inside files and directories, or mark chunk profiles, and profiles have their own check. Left out
 * on purpose: zoned, extent_tree_v2, raid_stripe_tree and remap_tree move things; simple_quota is
 * newer than the tools that could bear witness.
 */
#include <inttypes.h>

#include <ext2fs/ext2fs.h>
#include <sodium.h>
#include <xxhash.h>

#include "base/mem.h"
#include "fs/fs_btrfs_int.h"

#define MAGIC "_BHRfS_M"
#define SYS_CHUNK_ARRAY 0x32b
#define SYS_CHUNK_ARRAY_MAX 2048

/* Of the superblock's flags only "written" is known to mean nothing ([UAPI] BTRFS_SUPER_FLAG_*). */
#define FLAG_WRITTEN 0x1
#define FLAG_ERROR 0x4
#define FLAG_SEEDING ((uint64_t)1 << 32)

enum csum_type { CSUM_CRC32C = 0, CSUM_XXHASH = 1, CSUM_SHA256 = 2, CSUM_BLAKE2B = 3 };

struct feature_word {
	const char *name;
	size_t offset;
	uint64_t known;
	struct {
		uint64_t bit;
		const char *name;
	} refused[5]; /* known by name only; an entry without a name ends it */
};

static const struct feature_word words[] = {
	{ "compat", 0xac, 0, { { 0, NULL } } },
	{ "compat_ro", 0xb4,
		BTRFS_COMPAT_RO_FREE_SPACE_TREE | BTRFS_COMPAT_RO_FREE_SPACE_TREE_VALID |
			0x4 /* verity */ | BTRFS_COMPAT_RO_BLOCK_GROUP_TREE,
		{ { 0, NULL } } },
	{ "incompat", 0xbc,
		0x1 /* mixed_backref */ | 0x2 /* default_subvol */ | BTRFS_INCOMPAT_MIXED_GROUPS |
			0x8 /* compress_lzo */ | 0x10 /* compress_zstd */ |
			0x20 /* big_metadata */ | 0x40 /* extended_iref */ | 0x80 /* raid56 */ |
			0x100 /* skinny_metadata */ | 0x200 /* no_holes */ |
			0x400 /* metadata_uuid */ | 0x800 /* raid1c34 */,
		{ { 0x1000, "zoned" }, { 0x2000, "extent_tree_v2" }, { 0x4000, "raid_stripe_tree" },
			{ 0x10000, "simple_quota" }, { 0x20000, "remap_tree" } } },
};
#define INCOMPAT_METADATA_UUID 0x400

static int bad(struct err *e, const char *field)
{
	return err_set(e, ERR_FORMAT, 0, "bad superblock: %s", field);
}

/* ---- Checksums --------------------------------------------------------------------------- */

static size_t csum_bytes(uint16_t type)
{
	switch (type) {
	case CSUM_CRC32C:
		return 4;
	case CSUM_XXHASH:
		return 8;
	case CSUM_SHA256:
	case CSUM_BLAKE2B:
		return 32;
	default:
		return 0;
	}
}

bool fs_btrfs_csum_ok(uint16_t csum_type, const uint8_t *p, size_t len)
{
	const uint8_t *body = p + BTRFS_CSUM_BYTES;
	uint8_t want[BTRFS_CSUM_BYTES] = { 0 };

	if (len <= BTRFS_CSUM_BYTES)
		return false;
	len -= BTRFS_CSUM_BYTES;
	switch (csum_type) {
	case CSUM_CRC32C:
		put_le32(want, ~ext2fs_crc32c_le(UINT32_MAX, body, len));
		break;
	case CSUM_XXHASH:
		put_le64(want, XXH64(body, len, 0));
		break;
	case CSUM_SHA256:
		crypto_hash_sha256(want, body, len);
		break;
	case CSUM_BLAKE2B:
		crypto_generichash(want, sizeof(want), body, len, NULL, 0);
		break;
	default:
		return false;
	}
	/* The rest of the field is not looked at: the kernel leaves whatever was there. */
	return memcmp(want, p, csum_bytes(csum_type)) == 0;
}

/* ---- The fields -------------------------------------------------------------------------- */

uint64_t fs_btrfs_super_place(unsigned i)
{
	static const uint64_t places[BTRFS_SUPERS] = { 64 * KIB, 64 * MIB, 256 * GIB };

	return places[i];
}

void fs_btrfs_dev_decode(const uint8_t *p, struct btrfs_dev *out)
{
	out->id = get_le64(p);
	out->total_bytes = get_le64(p + 8);
	out->used_bytes = get_le64(p + 16);
	memcpy(out->uuid, p + 66, BTRFS_UUID_BYTES);
	memcpy(out->fsid, p + 82, BTRFS_UUID_BYTES);
}

static int check_features(const uint8_t *p, struct err *e)
{
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		const struct feature_word *w = &words[i];
		uint64_t unknown = get_le64(p + w->offset) & ~w->known;

		for (size_t k = 0; k < COUNT_OF(w->refused) && w->refused[k].name; k++)
			if (unknown & w->refused[k].bit)
				return err_set(e, ERR_FORMAT, 0, "feature %s is not supported",
					w->refused[k].name);
		if (unknown)
			return err_set(e, ERR_FORMAT, 0, "unknown feature bit 0x%" PRIx64 " in %s",
				unknown & (~unknown + 1), w->name);
	}
	return 0;
}

static int check_flags(uint64_t flags, struct err *e)
{
	uint64_t unknown = flags & ~(uint64_t)FLAG_WRITTEN;

	if (flags & FLAG_ERROR)
		return err_set(e, ERR_FORMAT, 0, "marked as having errors");
	if (flags & FLAG_SEEDING)
		return err_set(e, ERR_FORMAT, 0, "a seed device");
	if (unknown)
		return err_set(e, ERR_FORMAT, 0, "unknown superblock flag 0x%" PRIx64,
			unknown & (~unknown + 1));
	return 0;
}

static void decode(const uint8_t *p, struct btrfs_super *s)
{
	uint64_t log = get_le64(p + 0x60);

	s->incompat = get_le64(p + 0xbc);
	s->compat_ro = get_le64(p + 0xb4);
	memcpy(s->fsid, p + 0x20, BTRFS_UUID_BYTES);
	memcpy(s->block_fsid, p + (s->incompat & INCOMPAT_METADATA_UUID ? 0x23b : 0x20),
		BTRFS_UUID_BYTES);
	s->generation = get_le64(p + 0x48);
	s->root =
		(struct btrfs_root){ BTRFS_ROOT_TREE, get_le64(p + 0x50), s->generation, p[0xc6] };
	s->chunk_root = (struct btrfs_root){ BTRFS_CHUNK_TREE, get_le64(p + 0x58),
		get_le64(p + 0xa4), p[0xc7] };
	/* Linux, btrfs_replay_log: the log is of the transaction that was never committed. */
	s->log_root = (struct btrfs_root){ BTRFS_LOG_TREE, log, s->generation + 1, p[0xc8] };
	s->total_bytes = get_le64(p + 0x70);
	s->used_bytes = get_le64(p + 0x78);
	s->sector_bytes = get_le32(p + 0x90);
	s->node_bytes = get_le32(p + 0x94);
	s->csum_type = get_le16(p + 0xc4);
	s->chunks = p + SYS_CHUNK_ARRAY;
	s->chunks_bytes = get_le32(p + 0xa0);
	fs_btrfs_dev_decode(p + 0xc9, &s->dev);
}

static int check_sizes(const struct btrfs_super *s, const uint8_t *p, uint64_t device_bytes,
	struct err *e)
{
	if (s->sector_bytes < 4 * KIB || s->sector_bytes > 64 * KIB ||
		!is_power_of_two(s->sector_bytes))
		return bad(e, "sectorsize");
	if (s->node_bytes < s->sector_bytes || s->node_bytes > 64 * KIB ||
		!is_power_of_two(s->node_bytes))
		return bad(e, "nodesize");
	if (get_le32(p + 0x98) != s->node_bytes)
		return bad(e, "leafsize");
	if (s->root.level > BTRFS_MAX_LEVEL || s->chunk_root.level > BTRFS_MAX_LEVEL ||
		s->log_root.level > BTRFS_MAX_LEVEL)
		return bad(e, "level of a root");
	if (s->generation == UINT64_MAX || s->chunk_root.generation > s->generation)
		return bad(e, "generation");
	if (s->chunks_bytes > SYS_CHUNK_ARRAY_MAX)
		return bad(e, "sys_chunk_array_size");
	if (s->dev.total_bytes > device_bytes)
		return err_set(e, ERR_FORMAT, 0,
			"larger than the device: %" PRIu64 " bytes of %" PRIu64, s->dev.total_bytes,
			device_bytes);
	/* The only device is all of it; old versions of mkfs did not round. */
	if (align_down(s->total_bytes, s->sector_bytes) !=
		align_down(s->dev.total_bytes, s->sector_bytes))
		return bad(e, "total_bytes differ from those of its only device");
	if (s->used_bytes > s->total_bytes)
		return bad(e, "bytes_used");
	return 0;
}

/* What must hold before anything else is believed. */
static int check_identity(const uint8_t *p, uint64_t place, struct err *e)
{
	uint16_t type = get_le16(p + 0xc4);

	if (memcmp(p + 0x40, MAGIC, 8) != 0)
		return bad(e, "magic");
	if (csum_bytes(type) == 0)
		return err_set(e, ERR_FORMAT, 0, "unknown checksum type %u", type);
	if (!fs_btrfs_csum_ok(type, p, BTRFS_SUPER_BYTES))
		return err_set(e, ERR_FORMAT, 0,
			"the checksum of the superblock at %" PRIu64 " is wrong", place);
	if (get_le64(p + 0x30) != place)
		return bad(e, "bytenr");
	return 0;
}

/*
 * The copies are written after the first, so that behind a crash they may be older. Older is all
 * they may be: one that is newer, damaged or somebody else's says that something is wrong here.
 */
static int check_copy(struct fs_btrfs *v, uint64_t place, struct err *e)
{
	const struct btrfs_super *s = &v->super;
	uint8_t p[BTRFS_SUPER_BYTES];
	int rc = dev_read(v->dev, place, p, sizeof(p), e);

	if (rc == 0)
		rc = check_identity(p, place, e);
	if (rc == 0 && memcmp(p + 0x20, s->fsid, BTRFS_UUID_BYTES) != 0)
		rc = bad(e, "another file system's");
	if (rc == 0 && get_le64(p + 0x48) > s->generation)
		rc = bad(e, "generation is newer than the first one's");
	return rc < 0 ? err_prefix(e, "copy at %" PRIu64, place) : 0;
}

int fs_btrfs_super_read(struct fs_btrfs *v, struct err *e)
{
	struct btrfs_super *s = &v->super;
	uint64_t place = fs_btrfs_super_place(0);
	int rc;

	if (!range_inside(place, BTRFS_SUPER_BYTES, dev_size(v->dev)))
		return err_set(e, ERR_FORMAT, 0, "the device ends before the superblock");
	rc = dev_read(v->dev, place, s->raw, sizeof(s->raw), e);
	if (rc == 0)
		rc = check_identity(s->raw, place, e);
	if (rc == 0)
		rc = check_flags(get_le64(s->raw + 0x38), e);
	if (rc == 0)
		rc = check_features(s->raw, e);
	if (rc < 0)
		return rc;
	decode(s->raw, s);
	if (get_le64(s->raw + 0x88) != 1)
		return err_set(e, ERR_FORMAT, 0, "a file system of %" PRIu64 " devices",
			get_le64(s->raw + 0x88));
	if (memcmp(s->dev.fsid, s->block_fsid, BTRFS_UUID_BYTES) != 0)
		return bad(e, "the device belongs to another file system");
	rc = check_sizes(s, s->raw, dev_size(v->dev), e);
	/* Linux, write_dev_supers: a copy needs more than its own end. */
	for (unsigned i = 1; i < BTRFS_SUPERS && rc == 0; i++)
		if (fs_btrfs_super_place(i) + BTRFS_SUPER_BYTES < s->dev.total_bytes)
			rc = check_copy(v, fs_btrfs_super_place(i), e);
	return rc;
}

int fs_btrfs_super_recheck(struct fs_btrfs *v, struct err *e)
{
	uint8_t now[BTRFS_SUPER_BYTES];
	int rc = dev_read(v->dev, fs_btrfs_super_place(0), now, sizeof(now), e);

	if (rc == 0 && memcmp(now, v->super.raw, sizeof(now)) != 0)
		rc = err_set(e, ERR_FORMAT, 0, "the file system changed while it was read");
	return rc;
}
