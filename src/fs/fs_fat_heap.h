/*
 * What FAT12, FAT16, FAT32 and exFAT have in common: a heap of clusters, the first with number 2; a
 * table with an entry for each that chains the clusters of a file; directories of 32-byte entries.
 * And the walk through them that both make, so that no cluster that anything on the volume refers
 * to is called free.
 *
 * Every loop over pointers of the disk ends: a cluster that is met a second time is a cross-link or
 * a circle, and refused. Owned by one thread.
 */
#ifndef FS_FS_FAT_HEAP_H
#define FS_FS_FAT_HEAP_H

#include "device/dev.h"
#include "fs/fs.h"
#include "fs/fs_clusters.h"

#define FS_FAT_FIRST_CLUSTER 2u
#define FS_FAT_ENTRY_BYTES 32

/* A directory whose entries are still to be read. */
struct fs_fat_dir {
	uint32_t first;
	uint32_t parent;   /* the first cluster of the directory that it is in, 0: the root */
	uint32_t clusters; /* its length */
	bool contiguous;   /* has no chain */
};

struct fs_fat_heap {
	/* Set by the caller before fs_fat_heap_init; all checked to lie inside the device. */
	struct dev *dev;
	uint64_t table_off; /* of the table whose chains are followed */
	uint64_t table_bytes;
	unsigned entry_bits;	/* 12, 16 or 32 */
	uint32_t mask;		/* of an entry: its bits that are a cluster number */
	uint32_t end_min;	/* from this value on an entry ends a chain */
	uint64_t off;		/* of cluster 2 */
	uint32_t cluster_bytes; /* a multiple of FS_FAT_ENTRY_BYTES */
	uint32_t clusters;	/* less than end_min - 2 */

	/* Bit n is cluster n + 2. */
	struct fs_clusters used; /* what the file system's own account says; the caller fills it */
	struct fs_clusters seen; /* what the walk met */
	uint32_t bad;		 /* those of `used` that are marked as bad; the caller counts */

	struct fs_fat_dir *pending;
	size_t pending_count, pending_room;

	/* The table, a block at a time: slot n % slots holds block slot_block[n % slots] - 1. */
	uint8_t *cache;
	uint64_t *slot_block;
	size_t slots;
	uint64_t read_budget; /* blocks that may still be read */
};

int fs_fat_heap_init(struct fs_fat_heap *h, struct err *e);
void fs_fat_heap_fini(struct fs_fat_heap *h);

static inline bool fs_fat_is_cluster(const struct fs_fat_heap *h, uint32_t cluster)
{
	return cluster >= FS_FAT_FIRST_CLUSTER && cluster - FS_FAT_FIRST_CLUSTER < h->clusters;
}

/* Where a cluster lies on the device. */
static inline uint64_t fs_fat_cluster_off(const struct fs_fat_heap *h, uint32_t cluster)
{
	return h->off + (uint64_t)(cluster - FS_FAT_FIRST_CLUSTER) * h->cluster_bytes;
}

/* A cluster's entry in the table, masked; also those of 0 and 1, which are no clusters. */
int fs_fat_entry(struct fs_fat_heap *h, uint32_t cluster, uint32_t *value, struct err *e);

/*
 * Mark as seen the chain that begins at `first`, or `count` clusters in a row. Refused
 * (ERR_FORMAT): a number that is no cluster, a cluster not in use, one that was seen before, a
 * chain without an end. *length is in clusters.
 */
int fs_fat_see_chain(struct fs_fat_heap *h, uint32_t first, uint32_t *length, struct err *e);
int fs_fat_see_run(struct fs_fat_heap *h, uint32_t first, uint64_t count, struct err *e);

/* Add to, and take from, the directories still to be read. `take` is false when none is left. */
#define FS_FAT_MAX_PENDING ((size_t)1 << 20)
int fs_fat_add_dir(struct fs_fat_heap *h, const struct fs_fat_dir *dir, struct err *e);
bool fs_fat_take_dir(struct fs_fat_heap *h, struct fs_fat_dir *dir);

/* Clusters in use that are neither bad nor were seen. */
uint64_t fs_fat_lost_clusters(const struct fs_fat_heap *h);

/* Remarks after the walk: lost and bad clusters, and free runs that were too many to be kept. */
void fs_fat_note_account(const struct fs_fat_heap *h, const struct fs_free_runs *runs,
	struct fs_report *r);

/* Told about each 32-byte entry; `index` counts from 0. A negative return ends the reading. */
typedef int (*fs_fat_entry_fn)(void *user, const uint8_t *entry, uint32_t index, struct err *e);

/* The entries in [off, off + len) of the device; `index` goes on from *index. */
int fs_fat_read_entries(struct fs_fat_heap *h, uint64_t off, uint64_t len, uint32_t *index,
	fs_fat_entry_fn fn, void *user, struct err *e);

/* All entries of a directory that was seen. */
int fs_fat_read_dir(struct fs_fat_heap *h, const struct fs_fat_dir *dir, fs_fat_entry_fn fn,
	void *user, struct err *e);

#endif
