/*
 * A partition table as the sectors that it is made of: loaded from one device (the image of a
 * disk's regions, or a disk), changed, and written to another, each sector at its place. What is
 * not changed stays byte by byte what it was: names, attributes, GUIDs, boot code, hybrid MBRs,
 * reserved bytes.
 *
 * Layouts: UEFI specification 2.10, 5.2 (MBR) and 5.3 (GPT). Extended boot records: each holds a
 * logical partition relative to itself, and a link relative to the extended partition.
 *
 * A table belongs to one thread at a time.
 */
#ifndef DISK_DISK_EDIT_H
#define DISK_DISK_EDIT_H

#include "device/dev.h"

struct disk_edit;

enum disk_edit_kind { EDIT_NONE, EDIT_MBR, EDIT_GPT };

struct disk_area {
	uint64_t off, len;
};

/* What disk_edit_grow_last did: a partition's place before and after. */
struct disk_grown {
	uint64_t start_bytes, old_bytes, new_bytes;
};

/*
 * Load the table of a device with sectors of this size. ERR_DAMAGED: a chain of extended boot
 * records that leaves the device or has no end. A GPT of which no copy is whole is loaded as the
 * sectors at their usual places, and can't be changed. Sectors of one copy that can't be read, or
 * that lie in a partition (the disk is shorter than its table knows), are no part of the table
 * until it is changed.
 */
int disk_edit_load(struct dev *d, uint32_t sector_bytes, struct disk_edit **out, struct err *e);
void disk_edit_free(struct disk_edit *t); /* NULL is fine */

enum disk_edit_kind disk_edit_kind(const struct disk_edit *t);
/* Where its sectors lie; i < disk_edit_area_count. They do not overlap. */
size_t disk_edit_area_count(const struct disk_edit *t);
struct disk_area disk_edit_area_at(const struct disk_edit *t, size_t i);

/*
 * The disk has this size now: a GPT's backup moves to its end, and what is usable ends before it.
 * ERR_REFUSED, of any change of a GPT: a partition or the backup does not fit.
 */
int disk_edit_fit(struct disk_edit *t, uint64_t size_bytes, struct err *e);
/*
 * The last partition of the disk ends where usable space does, as a multiple of a MiB;
 * `grown` has equal sizes when there is no room behind it.
 */
int disk_edit_grow_last(struct disk_edit *t, struct disk_grown *grown, struct err *e);
/* New random GUIDs of the disk and its partitions, and a new signature in the MBR. */
int disk_edit_new_ids(struct disk_edit *t, struct err *e);

/* Write all sectors; the first one of the device last. Does not flush. */
int disk_edit_write(const struct disk_edit *t, struct dev *d, struct err *e);
/* Does the device hold them? ERR_TARGET names the first sector that differs. */
int disk_edit_compare(const struct disk_edit *t, struct dev *d, struct err *e);

#endif
