/*
 * Free runs of a device, found in any order, then put into its map in ascending order, which is
 * what a map takes in constant time. Memory is bounded however fragmented the free space is: when
 * there are too many runs, the shortest are given up and stay data.
 *
 * Owned by one thread.
 */
#ifndef FS_FS_RUNS_H
#define FS_FS_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include "map/map.h"

#define FS_RUNS_MAX ((size_t)2 << 20)

struct fs_run {
	uint64_t off;
	uint64_t len;
};

struct fs_runs {
	struct fs_run *runs;
	size_t count;
	size_t room;
	/* Shorter ones, in bytes, are not kept; 0 as long as there was room for all. */
	uint64_t min_bytes;
};

/* Add a run. The struct begins as zeros. Fails only when out of memory. */
int fs_runs_add(struct fs_runs *r, uint64_t off, uint64_t len, struct err *e);

/* Set all of them to MAP_FREE in `m`. They must not overlap: that is refused (ERR_FORMAT). */
int fs_runs_set(struct fs_runs *r, struct map *m, struct err *e);

void fs_runs_fini(struct fs_runs *r);

#endif
