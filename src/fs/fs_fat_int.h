/*
 * Inside the FAT map (fs_fat*.c): the boot sector, and the walk through the directories. Layouts
 * are cited from "Microsoft Extensible Firmware Initiative FAT32 File System Specification, FAT:
 * General Overview of On-Disk Format", version 1.03 (2000), called [FAT] in the comments.
 */
#ifndef FS_FS_FAT_INT_H
#define FS_FS_FAT_INT_H

#include "fs/fs_fat_heap.h"
#include "fs/fs_ops.h"

#define FS_FAT_BOOT_BYTES 512

struct fat_boot {
	uint32_t sector_bytes;	/* 512 to 4096 */
	uint32_t cluster_bytes; /* at least a sector, at most 512 KiB */
	unsigned entry_bits;	/* 12, 16 or 32 */
	uint32_t fats;		/* copies of the table */
	uint32_t active;	/* the copy that counts */
	uint8_t media;
	bool dirty;	       /* the boot sector's own flag; FAT[1] has another */
	uint64_t fat_off;      /* of the first copy; they follow each other */
	uint64_t fat_bytes;    /* of one copy */
	uint64_t root_off;     /* the root directory of FAT12 and FAT16 */
	uint64_t root_bytes;   /* 0 with FAT32 */
	uint64_t heap_off;     /* cluster 2 */
	uint32_t clusters;     /* whole ones; the last is clusters + 1 */
	uint32_t root_cluster; /* FAT32 */
	uint64_t fsinfo_off;   /* FAT32; 0: there is none */
};

/*
 * Decode and check a boot sector for a device of device_bytes. Refuses (ERR_FORMAT), naming the
 * field, whatever is outside the specification or points outside the volume or the device.
 */
int fs_fat_boot_decode(const uint8_t *p, size_t n, uint64_t device_bytes, struct fat_boot *out,
	struct err *e);

/*
 * Walk all directories from the root, and mark in h->seen what they refer to. Refused (ERR_FORMAT)
 * when that does not fit the table: see fs_fat_heap.h; or a file longer than its chain.
 */
int fs_fat_walk(struct fs_fat_heap *h, const struct fat_boot *b, struct err *e);

#endif
