/*
 * Inside the exFAT map (fs_exfat*.c): the boot regions, and the walk through the directories.
 * Layouts are cited from Microsoft's "exFAT file system specification" (Microsoft Learn, revision
 * 1.00), called [exFAT] in the comments.
 */
#ifndef FS_FS_EXFAT_INT_H
#define FS_FS_EXFAT_INT_H

#include "fs/fs_fat_heap.h"
#include "fs/fs_ops.h"

#define FS_EXFAT_BOOT_BYTES 512

/* A bound on memory: two bitmaps of 128 MiB. Windows makes 2^24 clusters for 2 TiB. */
#define FS_EXFAT_MAX_CLUSTERS ((uint32_t)1 << 30)

struct exfat_boot {
	uint32_t sector_bytes;	/* 512 to 4096 */
	uint32_t cluster_bytes; /* at least a sector, at most 32 MiB */
	uint64_t fat_off;
	uint64_t fat_bytes;
	uint64_t heap_off; /* cluster 2 */
	uint32_t clusters; /* the last is clusters + 1 */
	uint32_t root_cluster;
	bool dirty;
	bool media_failure;
};

/*
 * Decode and check a boot sector for a device of device_bytes. Refuses (ERR_FORMAT), naming the
 * field, whatever is outside the specification or points outside the volume or the device; and
 * volumes with two FATs (TexFAT).
 */
int fs_exfat_boot_decode(const uint8_t *p, size_t n, uint64_t device_bytes, struct exfat_boot *out,
	struct err *e);

/* The checksums of the main and the backup boot region, which must be the same and right. */
int fs_exfat_check_regions(struct dev *d, const struct exfat_boot *b, struct err *e);

/* An open volume. */
struct exfat {
	struct fs_fat_heap h;
	struct exfat_boot boot;
};

/*
 * Find the allocation bitmap in the root directory, and fill h.used from it. Refuses (ERR_FORMAT)
 * a bitmap that is missing, too short, not the only one, or not in a row.
 */
int fs_exfat_load_bitmap(struct exfat *x, struct err *e);

/*
 * Walk all directories from the root, and mark in h.seen what they refer to. Refused (ERR_FORMAT)
 * when that does not fit the bitmap: see fs_fat_heap.h; and entry sets that are damaged or unknown.
 */
int fs_exfat_walk(struct exfat *x, struct err *e);

#endif
