/*
 * Shared by the files of the XFS row: fs_xfs.c (the order of things), fs_xfs_super.c (superblock
 * and geometry), fs_xfs_free.c (the free-space trees into a map), fs_xfs_log.c (the log's ends and
 * records), fs_xfs_trans.c and fs_xfs_replay.c (what a recovery would write), fs_xfs_overlay.c (the
 * device as it would be after it). Nobody else includes this.
 *
 * Layouts are cited from "XFS Algorithms & Data Structures", 3rd edition (Silicon Graphics, Red
 * Hat; docs.kernel.org and xfs.org), called [XFS] in the comments. Numbers on the disk are
 * big-endian, checksums little-endian; inside log items they are the writing machine's.
 */
#ifndef FS_FS_XFS_INT_H
#define FS_FS_XFS_INT_H

#include "base/mem.h"
#include "device/dev.h"
#include "map/map.h"

#define XFS_SECTOR 512 /* the unit of disk addresses and of the log, whatever the sector size */
#define XFS_UUID_BYTES 16
#define XFS_SUPER_BYTES 512 /* more than any known superblock, and the smallest sector */
#define XFS_BTREE_HEAD 56   /* of a block with 32-bit pointers and a checksum */
#define XFS_NO_BLOCK UINT32_MAX

#define XFS_MAGIC_SUPER 0x58465342u /* "XFSB" */
#define XFS_MAGIC_AGF 0x58414746u   /* "XAGF" */
#define XFS_MAGIC_AGFL 0x5841464cu  /* "XAFL" */
#define XFS_MAGIC_BNO 0x41423342u   /* "AB3B": free space by block number */
#define XFS_MAGIC_CNT 0x41423343u   /* "AB3C": free space by size */

struct xfs_super {
	uint32_t block_bytes;  /* 1024 to 65536 */
	uint32_t sector_bytes; /* 512 to 32768, at most a block */
	uint32_t ag_blocks;    /* of each allocation group but the last */
	uint32_t ag_count;
	uint64_t blocks;      /* all of them fit the device */
	uint64_t free_blocks; /* right on a clean file system only */
	uint64_t log_block;   /* where the log begins, counted from the device's begin */
	uint32_t log_blocks;
	bool has_rmap;
	uint8_t uuid[XFS_UUID_BYTES]; /* that the log carries */
	uint8_t id[XFS_UUID_BYTES];   /* that other metadata carries */
};

/*
 * Read and check the superblock of `d`: version 5, known features, every size within its limits and
 * fitting the others and the device. Refuses with the field's name.
 */
int fs_xfs_super_read(struct dev *d, struct xfs_super *out, struct err *e);

/* Blocks of an allocation group; its first blocks hold its headers. */
uint32_t fs_xfs_ag_length(const struct xfs_super *s, uint32_t ag);
uint32_t fs_xfs_ag_header_blocks(const struct xfs_super *s);

/* CRC32C of a block with its checksum field (at `at`) taken as zero, as it is stored there. */
uint32_t fs_xfs_checksum(const uint8_t *p, size_t len, size_t at);
/* Is the checksum stored at `at` (little-endian) right? */
bool fs_xfs_checksum_fits(const uint8_t *p, size_t len, size_t at);

/* A set of free runs, and what was counted on the way. */
struct xfs_free {
	struct map *map;     /* MAP_FREE runs, nothing else; owned */
	uint64_t min_bytes;  /* not 0: shorter runs were left out, there were too many */
	uint64_t count_said; /* free blocks as the superblock counts them */
};

/*
 * What the free-space trees of all groups on `d` call free. With `newest`, the LSN of the log's
 * head, it is strict: trees, headers and counters must agree in every respect, none may be newer
 * than that, and no metadata may lie in a free run. With 0: the records of what blocks of the trees
 * by block number are sound; nothing is refused but a device that fails.
 */
int fs_xfs_free_read(struct dev *d, const struct xfs_super *s, uint64_t newest,
	struct xfs_free *out, struct err *e);
void fs_xfs_free_fini(struct xfs_free *f);

/* ---- The log ----------------------------------------------------------------------------- */

struct xfs_log {
	struct dev *dev;
	const struct xfs_super *super;
	uint64_t off;	  /* of the log, in bytes */
	uint32_t sectors; /* in it */
	uint32_t head;	  /* sector at which the next record would be written */
	uint32_t tail;	  /* sector of the first record that a recovery reads; not when clean */
	uint32_t tail_cycle;
	uint64_t newest; /* LSN of the head: no metadata has a higher one */
	bool clean;	 /* it ends with an unmount record: nothing to recover */
};

/*
 * Find the ends of the log as a recovery does: the last whole record, and what it says is the first
 * one not yet written back. Every record between is read and must be sound.
 */
int fs_xfs_log_open(struct dev *d, const struct xfs_super *s, struct xfs_log *out, struct err *e);

struct xfs_record {
	uint64_t lsn;
	uint32_t ops;
	size_t len;
	uint8_t *data; /* as it was before the log's stamps were put into it; may be changed */
};

/* Told about each record; a negative return stops the reading and is passed on. */
typedef int (*fs_xfs_record_fn)(void *user, const struct xfs_record *r, struct err *e);

/* The records from tail to head in order. */
int fs_xfs_log_read(const struct xfs_log *log, fs_xfs_record_fn fn, void *user, struct err *e);

/* ---- What a recovery does ---------------------------------------------------------------- */

/* An item of a committed transaction. Byte order as in the log: little-endian was checked. */
struct xfs_item {
	uint16_t type;
	const uint8_t *format; /* its first region */
	size_t format_len;
	size_t regions;		/* that it has besides */
	const size_t *lens;	/* of each of them */
	const uint8_t **region; /* NULL when it was not asked for */
};

struct xfs_trans_ops {
	/* Are the regions of this item, of which the format is known, wanted? */
	bool (*wants)(void *user, const struct xfs_item *item);
	/* A transaction was committed; `lsn` is of the record in which it began. */
	int (*commit)(void *user, uint64_t lsn, const struct xfs_item *items, size_t count,
		struct err *e);
};

/* Follow the log, transaction by transaction in the order of their commits. */
int fs_xfs_trans_read(const struct xfs_log *log, const struct xfs_trans_ops *ops, void *user,
	struct err *e);

/* A place that the log names. */
struct xfs_logged {
	uint64_t sector;
	uint32_t sectors;
	uint32_t cancels; /* cancellations still to come in the second pass */
	uint8_t *bytes;	  /* its content after the recovery; NULL when it was not followed */
	uint64_t lsn;	  /* of the last change, when `changed` */
	bool changed;
	bool unknown; /* changed in a way that was not followed */
};

struct xfs_replay {
	struct xfs_logged *list; /* ascending by sector */
	size_t count;
	size_t changed_blocks; /* free-space blocks and headers that recovery changes */
};

/* Find what a recovery of the log would write to the metadata of free space. Reads only. */
int fs_xfs_replay_read(const struct xfs_log *log, struct xfs_replay *out, struct err *e);
void fs_xfs_replay_fini(struct xfs_replay *r);

/*
 * `under` as recovery leaves it, as far as free space goes: reading a place that was changed in a
 * way not followed is an error. Arguments stay the caller's and must outlive it.
 */
int fs_xfs_overlay_open(struct dev *under, const struct xfs_replay *r, struct dev **out,
	struct err *e);

#endif
