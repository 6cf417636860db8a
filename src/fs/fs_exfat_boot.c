/*
 * The boot regions of exFAT: [exFAT] 3, all little-endian. Sector 0 is the boot sector:
 *
 *   0x003  8  "EXFAT   "                     0x00B 53  zeros, where a FAT has its fields
 *   0x048  8  VolumeLength, in sectors       0x050  4  FatOffset, in sectors
 *   0x054  4  FatLength, in sectors          0x058  4  ClusterHeapOffset, in sectors
 *   0x05C  4  ClusterCount                   0x060  4  FirstClusterOfRootDirectory
 *   0x068  2  FileSystemRevision, 1.00       0x06A  2  VolumeFlags
 *   0x06C  1  BytesPerSectorShift, 9 to 12   0x06D  1  SectorsPerClusterShift
 *   0x06E  1  NumberOfFats                   0x070  1  PercentInUse
 *   0x1FE  2  55 AA
 *
 * Sectors 1 to 10 are boot code and parameters, sector 11 repeats a checksum over the eleven before
 * it, without VolumeFlags and PercentInUse (3.4, figure 1). Sectors 12 to 23 are a backup.
 *
 * PercentInUse is not looked at: it is too coarse to check anything, and Linux never updates it.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_exfat_int.h"

#define REGION_SECTORS 12u
#define CHECKSUM_SECTOR 11u
#define MAX_SECTOR_BYTES 4096u

/* VolumeFlags (3.1.13). ClearToZero says nothing. */
#define FLAG_ACTIVE_FAT 0x0001u
#define FLAG_DIRTY 0x0002u
#define FLAG_MEDIA_FAILURE 0x0004u
#define FLAG_CLEAR_TO_ZERO 0x0008u
#define KNOWN_FLAGS (FLAG_ACTIVE_FAT | FLAG_DIRTY | FLAG_MEDIA_FAILURE | FLAG_CLEAR_TO_ZERO)

static int bad(struct err *e, const char *field, uint64_t value)
{
	return err_set(e, ERR_FORMAT, 0, "boot sector: %s is %" PRIu64, field, value);
}

static int decode_kind(const uint8_t *p, struct exfat_boot *b, struct err *e)
{
	uint32_t flags = get_le16(p + 0x6A);

	if (memcmp(p + 0x03, "EXFAT   ", 8) != 0 || get_le16(p + 0x1FE) != 0xAA55)
		return err_set(e, ERR_FORMAT, 0, "boot sector: no exFAT signature");
	if (!mem_is_zero(p + 0x0B, 53))
		return err_set(e, ERR_FORMAT, 0, "boot sector: MustBeZero is not");
	if (get_le16(p + 0x68) != 0x0100)
		return err_set(e, ERR_FORMAT, 0, "boot sector: FileSystemRevision is %u.%02u",
			p[0x69], p[0x68]);
	if (p[0x6E] == 2)
		return err_set(e, ERR_FORMAT, 0, "two FATs and bitmaps (TexFAT)");
	if (p[0x6E] != 1)
		return bad(e, "NumberOfFats", p[0x6E]);
	if (flags & ~KNOWN_FLAGS || flags & FLAG_ACTIVE_FAT)
		return bad(e, "VolumeFlags", flags);
	b->dirty = flags & FLAG_DIRTY;
	b->media_failure = flags & FLAG_MEDIA_FAILURE;
	return 0;
}

static int decode_units(const uint8_t *p, struct exfat_boot *b, struct err *e)
{
	if (p[0x6C] < 9 || p[0x6C] > 12)
		return bad(e, "BytesPerSectorShift", p[0x6C]);
	if (p[0x6D] > 25 - p[0x6C])
		return bad(e, "SectorsPerClusterShift", p[0x6D]);
	b->sector_bytes = 1u << p[0x6C];
	b->cluster_bytes = b->sector_bytes << p[0x6D];
	return 0;
}

/* The fields of 32 bits, in sectors, make no sum that overflows 64; VolumeLength is checked. */
static int decode_regions(const uint8_t *p, uint64_t device_bytes, struct exfat_boot *b,
	struct err *e)
{
	uint64_t length = get_le64(p + 0x48), fat = get_le32(p + 0x50);
	uint64_t fat_length = get_le32(p + 0x54), heap = get_le32(p + 0x58);
	uint64_t bytes;

	b->clusters = get_le32(p + 0x5C);
	if (!mul_u64(length, b->sector_bytes, &bytes) || bytes > device_bytes)
		return err_set(e, ERR_FORMAT, 0,
			"boot sector: the volume has %" PRIu64 " sectors, the device only %" PRIu64
			" bytes: truncated?",
			length, device_bytes);
	b->fat_off = fat * b->sector_bytes;
	b->fat_bytes = fat_length * b->sector_bytes;
	b->heap_off = heap * b->sector_bytes;
	if (fat < 2 * REGION_SECTORS)
		return bad(e, "FatOffset", fat);
	if (heap < fat + fat_length || heap > length)
		return bad(e, "ClusterHeapOffset", heap);
	if (b->clusters == 0 || b->clusters > (bytes - b->heap_off) / b->cluster_bytes)
		return bad(e, "ClusterCount", b->clusters);
	if (b->clusters > FS_EXFAT_MAX_CLUSTERS)
		return err_set(e, ERR_FORMAT, 0,
			"%" PRIu32 " clusters are more than are looked through", b->clusters);
	if (b->fat_bytes < ((uint64_t)b->clusters + 2) * 4)
		return bad(e, "FatLength", fat_length);
	b->root_cluster = get_le32(p + 0x60);
	if (b->root_cluster < FS_FAT_FIRST_CLUSTER ||
		b->root_cluster - FS_FAT_FIRST_CLUSTER >= b->clusters)
		return bad(e, "FirstClusterOfRootDirectory", b->root_cluster);
	return 0;
}

int fs_exfat_boot_decode(const uint8_t *p, size_t n, uint64_t device_bytes, struct exfat_boot *out,
	struct err *e)
{
	int rc;

	memset(out, 0, sizeof(*out));
	if (n < FS_EXFAT_BOOT_BYTES)
		return err_set(e, ERR_FORMAT, 0, "boot sector: cut short");
	rc = decode_kind(p, out, e);
	if (rc == 0)
		rc = decode_units(p, out, e);
	if (rc == 0)
		rc = decode_regions(p, device_bytes, out, e);
	return rc;
}

/* [exFAT] 3.4, figure 1. */
static uint32_t add_sector(uint32_t sum, const uint8_t *p, size_t n, bool first)
{
	for (size_t i = 0; i < n; i++)
		if (!first || (i != 0x6A && i != 0x6B && i != 0x70))
			sum = (sum << 31 | sum >> 1) + p[i];
	return sum;
}

/* The region's checksum, which all words of its last sector must repeat. */
static int check_region(struct dev *d, uint32_t sector_bytes, uint64_t off, uint32_t *sum,
	struct err *e)
{
	uint8_t sector[MAX_SECTOR_BYTES];

	*sum = 0;
	for (unsigned i = 0; i < REGION_SECTORS; i++) {
		int rc = dev_read(d, off + (uint64_t)i * sector_bytes, sector, sector_bytes, e);

		if (rc < 0)
			return rc;
		if (i < CHECKSUM_SECTOR)
			*sum = add_sector(*sum, sector, sector_bytes, i == 0);
	}
	for (size_t at = 0; at < sector_bytes; at += 4)
		if (get_le32(sector + at) != *sum)
			return err_set(e, ERR_FORMAT, 0, "its checksum is wrong");
	return 0;
}

int fs_exfat_check_regions(struct dev *d, const struct exfat_boot *b, struct err *e)
{
	uint32_t main_sum, backup_sum;
	int rc = check_region(d, b->sector_bytes, 0, &main_sum, e);

	if (rc < 0)
		return err_prefix(e, "main boot region");
	rc = check_region(d, b->sector_bytes, (uint64_t)REGION_SECTORS * b->sector_bytes,
		&backup_sum, e);
	if (rc < 0)
		return err_prefix(e, "backup boot region");
	if (main_sum != backup_sum)
		return err_set(e, ERR_FORMAT, 0, "the backup boot region is not that of the main");
	return 0;
}
