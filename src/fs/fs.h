/*
 * File systems: which one is on a device, and which bytes of it matter. Nothing here writes (R1).
 *
 * The promise (R2): a map starts as all data; only what is proven free is cleared. Whatever can't
 * be proven (an unknown feature bit, an inconsistency, two signatures, an error while parsing)
 * makes all of it data, with the reason. The whole device is covered, not the file system's idea
 * of its size (R3). Called from one thread per device.
 */
#ifndef FS_FS_H
#define FS_FS_H

#include "device/dev.h"
#include "map/map.h"

struct fs_report {
	char type[32]; /* "ext4", "ntfs", "swap", ...; "" when nothing is recognised */
	char label[256];
	char uuid[64];	      /* as the field writes it: UUID, or 16 hex digits for NTFS */
	bool used_only;	      /* false: all blocks were taken, and `reason` says why */
	char reason[256];     /* why all blocks; or "" */
	char note[256];	      /* a remark worth showing: "dirty journal", "hibernated"; or "" */
	uint64_t block_bytes; /* allocation unit; 0 when not known */
	uint64_t free_bytes;  /* proven free: map_bytes(MAP_FREE) */
};

/* Which file system, without reading its allocation: fills type, label, uuid, reason. */
int fs_probe(struct dev *d, struct fs_report *r, struct err *e);

/*
 * The allocation map of the device, and the report. Trouble with the file system is no failure:
 * it gives a full map and a reason. Fails only when out of memory (ERR_INTERNAL).
 */
int fs_map(struct dev *d, struct map **out, struct fs_report *r, struct err *e);

#endif
