/*
 * The partition table of a disk, read and checked: a GPT (UEFI specification 2.10, 5.3) or an MBR
 * with its extended partitions (5.2.1). It is read from any device, a file or an image of a disk
 * too, and never written here.
 *
 * What is on the disk is hostile: a table with a partition that is empty, lies outside the disk, or
 * overlaps another or the table itself is refused, and the error names the partition. So whoever
 * holds a `struct disk` may slice the device by it.
 *
 * A `struct disk` is plain data without pointers, malloc'ed for whoever read it; any thread.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "device/dev.h"

/* No table has more used entries, and no MBR a longer chain. */
#define DISK_MAX_PARTS 256
/* The MBR, both headers and both arrays of a GPT, or an EBR for each logical partition. */
#define DISK_MAX_REGIONS (DISK_MAX_PARTS + 8)

enum disk_table {
	DISK_NONE, /* no table: a file system on the whole disk, or nothing known */
	DISK_MBR,
	DISK_GPT,
};

struct disk_part {
	uint32_t index; /* as users count: 1 is the first entry; logical ones from 5 on */
	uint64_t start_bytes;
	uint64_t size_bytes;
	char type[40];	     /* GPT: type GUID, lower-case; MBR: "0x83" */
	char guid[40];	     /* GPT: unique GUID, lower-case; MBR: "" */
	char name[112];	     /* GPT: UTF-8 without control characters */
	uint64_t attributes; /* GPT */
	bool active;	     /* MBR: the active flag */
	bool logical;	     /* inside the extended partition */
	bool container;	     /* the extended partition itself, whose range holds the logical ones */
};

/* Sectors that hold the table: MBR, GPT headers and entries of valid copies, EBRs. */
struct disk_region {
	uint64_t off;
	uint64_t len;
};

struct disk {
	enum disk_table table;
	char id[40]; /* disk GUID, lower-case, or MBR signature as 8 hexadecimal digits */
	uint32_t sector_bytes;
	uint64_t size_bytes;
	uint64_t first_usable_bytes; /* GPT: where partitions may lie; the end is exclusive */
	uint64_t end_usable_bytes;
	bool primary_valid; /* GPT: which copies are whole; the first valid one is what counts */
	bool backup_valid;
	char note
		[256]; /* what is odd: a copy that is damaged, misplaced or different; "" if none */
	size_t part_count;
	size_t region_count;
	/* In the order of start_bytes, the container before its logical partitions. */
	struct disk_part parts[DISK_MAX_PARTS];
	struct disk_region regions[DISK_MAX_REGIONS]; /* in no order */
};

/*
 * Read the table of `d`, whose sectors are dev_info's logical_bytes long (dev_set_sector_bytes for
 * a file of another kind of disk). *out is malloc'ed. ERR_REFUSED: a table that can't be trusted.
 */
int disk_read(struct dev *d, struct disk **out, struct err *e);

/* "none", "dos", "gpt": the words of libblkid and sfdisk. */
const char *disk_table_word(enum disk_table t);

#endif
