/*
 * Free runs into a map of bounded size. Free space in millions of pieces would cost memory without
 * saving much, so that beyond a limit the shortest runs are kept as data: the length that is worth
 * a run is doubled until the rest fits. One thread, like the map.
 */
#ifndef FS_FS_FREE_RUNS_H
#define FS_FS_FREE_RUNS_H

#include "map/map.h"

/* The note of a report, once min_bytes is not 0. */
#define FS_FREE_RUNS_COARSE "free space in too many pieces, the shortest are taken as data"

struct fs_free_runs {
	struct map *m;	     /* borrowed; holds data and free extents only */
	uint64_t unit_bytes; /* the shortest run that there can be */
	uint64_t min_bytes;  /* 0, or since the limit was met: shorter runs stay data */
};

/* Set [off, off + len) to MAP_FREE, unless it is too short. Fails only when out of memory. */
int fs_free_runs_add(struct fs_free_runs *f, uint64_t off, uint64_t len, struct err *e);

#endif
