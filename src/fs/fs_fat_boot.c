/*
 * The boot sector of FAT12, FAT16 and FAT32: [FAT] "Boot Sector and BPB", all little-endian:
 *
 *   0x000  3  jump: EB xx 90 or E9 xx xx     0x00B  2  BPB_BytsPerSec
 *   0x00D  1  BPB_SecPerClus                 0x00E  2  BPB_RsvdSecCnt
 *   0x010  1  BPB_NumFATs                    0x011  2  BPB_RootEntCnt
 *   0x013  2  BPB_TotSec16                   0x015  1  BPB_Media
 *   0x016  2  BPB_FATSz16                    0x020  4  BPB_TotSec32
 *   0x1FE  2  55 AA
 *
 *   FAT12, FAT16:                            FAT32:
 *   0x025  1  BS_Reserved1                   0x024  4  BPB_FATSz32
 *                                            0x028  2  BPB_ExtFlags: 0-3 active copy, 7 set: only
 *                                                      that one is kept up to date
 *                                            0x02A  2  BPB_FSVer, 0
 *                                            0x02C  4  BPB_RootClus
 *                                            0x030  2  BPB_FSInfo, 0x032  2  BPB_BkBootSec
 *                                            0x041  1  BS_Reserved1
 *
 * Bit 0 of BS_Reserved1 is set by Windows NT and Linux as long as the volume is mounted for writing
 * (Linux kernel, fs/fat/fat.h, FAT_STATE_DIRTY).
 *
 * "FAT Type Determination" says that the number of clusters alone decides. But volumes with the
 * fields of FAT32 (BPB_FATSz16 is 0) and fewer clusters than a FAT32 should have are common: EFI
 * system partitions. Nobody can read them as FAT16, which has no other field for the size of its
 * table; so they are FAT32 here, as they are for Windows, Linux and EFI. That goes for those with
 * BPB_TotSec16 too, which should be 0 then, but mkfs.fat fills in when the number has room. The
 * other way round, the fields of FAT16 with too many clusters, is refused.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_fat_int.h"

#define FAT12_CLUSTERS_END 4085
#define FAT16_CLUSTERS_END 65525
#define FAT32_CLUSTERS_MAX 0x0FFFFFF5u /* the last one is 0x0FFFFFF6: 7 is the mark of bad ones */

#define EXT_FLAGS_ACTIVE 0x000F
#define EXT_FLAGS_ONE_ACTIVE 0x0080

static int bad(struct err *e, const char *field, uint64_t value)
{
	return err_set(e, ERR_FORMAT, 0, "boot sector: %s is %" PRIu64, field, value);
}

static int decode_units(const uint8_t *p, struct fat_boot *b, struct err *e)
{
	uint32_t sectors = p[0x0D];

	if ((p[0] != 0xEB || p[2] != 0x90) && p[0] != 0xE9)
		return err_set(e, ERR_FORMAT, 0, "boot sector: does not begin with a jump");
	if (p[0x1FE] != 0x55 || p[0x1FF] != 0xAA)
		return err_set(e, ERR_FORMAT, 0, "boot sector: no signature 55 AA");
	b->sector_bytes = get_le16(p + 0x0B);
	if (!is_power_of_two(b->sector_bytes) || b->sector_bytes < 512 || b->sector_bytes > 4096)
		return bad(e, "BPB_BytsPerSec", b->sector_bytes);
	if (!is_power_of_two(sectors)) /* 128 at most, in a byte */
		return bad(e, "BPB_SecPerClus", sectors);
	b->cluster_bytes = sectors * b->sector_bytes;
	b->media = p[0x15];
	if (b->media != 0xF0 && b->media < 0xF8)
		return bad(e, "BPB_Media", b->media);
	return 0;
}

static int decode_fat32(const uint8_t *p, struct fat_boot *b, struct err *e)
{
	uint32_t reserved = get_le16(p + 0x0E), flags = get_le16(p + 0x28);
	uint32_t info = get_le16(p + 0x30), backup = get_le16(p + 0x32);

	if (flags & ~(uint32_t)(EXT_FLAGS_ACTIVE | EXT_FLAGS_ONE_ACTIVE))
		return bad(e, "BPB_ExtFlags", flags);
	b->active = flags & EXT_FLAGS_ONE_ACTIVE ? flags & EXT_FLAGS_ACTIVE : 0;
	if (b->active >= b->fats)
		return bad(e, "BPB_ExtFlags", flags);
	if (get_le16(p + 0x2A) != 0)
		return bad(e, "BPB_FSVer", get_le16(p + 0x2A));
	b->root_cluster = get_le32(p + 0x2C);
	if (b->root_cluster < FS_FAT_FIRST_CLUSTER || b->root_cluster - 2 >= b->clusters)
		return bad(e, "BPB_RootClus", b->root_cluster);
	/* 0 and 0xFFFF: there is none. Both are data because they lie in the reserved region. */
	if (info != 0xFFFF && info >= reserved)
		return bad(e, "BPB_FSInfo", info);
	if (backup != 0xFFFF && backup >= reserved)
		return bad(e, "BPB_BkBootSec", backup);
	b->fsinfo_off = info == 0xFFFF ? 0 : (uint64_t)info * b->sector_bytes;
	b->dirty = p[0x41] & 1;
	return 0;
}

static int decode_type(const uint8_t *p, struct fat_boot *b, struct err *e)
{
	bool fat32 = get_le16(p + 0x16) == 0;

	if (b->clusters == 0 || b->clusters > FAT32_CLUSTERS_MAX ||
		(!fat32 && b->clusters >= FAT16_CLUSTERS_END))
		return bad(e, "the number of clusters", b->clusters);
	if (fat32)
		b->entry_bits = 32;
	else
		b->entry_bits = b->clusters < FAT12_CLUSTERS_END ? 12 : 16;
	if (b->fat_bytes < div_up(((uint64_t)b->clusters + 2) * b->entry_bits, 8))
		return err_set(e, ERR_FORMAT, 0,
			"boot sector: a FAT of %" PRIu64 " bytes is too small for %" PRIu32
			" clusters",
			b->fat_bytes, b->clusters);
	if (fat32)
		return decode_fat32(p, b, e);
	b->dirty = p[0x25] & 1;
	return 0;
}

/* The regions. No sum overflows: each is less than 2^32 sectors of 2^12 bytes, the FATs 2^52. */
static int decode_regions(const uint8_t *p, uint64_t device_bytes, struct fat_boot *b,
	struct err *e)
{
	uint64_t reserved = get_le16(p + 0x0E), entries = get_le16(p + 0x11);
	uint64_t total = get_le16(p + 0x13), total32 = get_le32(p + 0x20);
	uint64_t fat = get_le16(p + 0x16);
	uint64_t end, clusters;

	if (fat == 0 && entries != 0)
		return err_set(e, ERR_FORMAT, 0, "boot sector: it mixes fields of FAT16 and FAT32");
	if (fat != 0 && entries == 0)
		return bad(e, "BPB_RootEntCnt", entries);
	if (total != 0 && total32 != 0 && total != total32)
		return err_set(e, ERR_FORMAT, 0,
			"boot sector: BPB_TotSec16 is %" PRIu64 ", BPB_TotSec32 %" PRIu64, total,
			total32);
	total = total != 0 ? total : total32;
	fat = fat != 0 ? fat : get_le32(p + 0x24);
	b->fats = p[0x10];
	if (reserved == 0)
		return bad(e, "BPB_RsvdSecCnt", reserved);
	if (b->fats == 0)
		return bad(e, "BPB_NumFATs", b->fats);
	if (fat == 0)
		return bad(e, "BPB_FATSz", fat);
	end = total * b->sector_bytes;
	if (end > device_bytes)
		return err_set(e, ERR_FORMAT, 0,
			"boot sector: the volume has %" PRIu64 " sectors, the device only %" PRIu64
			" bytes: truncated?",
			total, device_bytes);
	b->fat_off = reserved * b->sector_bytes;
	b->fat_bytes = fat * b->sector_bytes;
	b->root_off = b->fat_off + b->fats * b->fat_bytes;
	b->root_bytes = entries * FS_FAT_ENTRY_BYTES;
	b->heap_off = b->root_off + align_up(b->root_bytes, b->sector_bytes);
	if (b->heap_off >= end)
		return err_set(e, ERR_FORMAT, 0,
			"boot sector: the FATs and the root directory fill the volume");
	clusters = (end - b->heap_off) / b->cluster_bytes;
	b->clusters = (uint32_t)min_u64(clusters, UINT32_MAX);
	return 0;
}

int fs_fat_boot_decode(const uint8_t *p, size_t n, uint64_t device_bytes, struct fat_boot *out,
	struct err *e)
{
	int rc;

	memset(out, 0, sizeof(*out));
	if (n < FS_FAT_BOOT_BYTES)
		return err_set(e, ERR_FORMAT, 0, "boot sector: cut short");
	rc = decode_units(p, out, e);
	if (rc == 0)
		rc = decode_regions(p, device_bytes, out, e);
	if (rc == 0)
		rc = decode_type(p, out, e);
	return rc;
}
