#include "fs/fs_free_runs.h"

#include "base/mem.h"

/* A free run and the data behind it are two extents. */
#define EXTENTS_MAX (2u << 20)

static int make_coarser(struct fs_free_runs *f, struct err *e)
{
	while (map_count(f->m) > EXTENTS_MAX / 2) {
		size_t hint = 0;

		f->min_bytes = max_u64(f->min_bytes, f->unit_bytes) * 2;
		for (uint64_t off = 0; off < map_size(f->m);) {
			struct extent x = map_run(f->m, off, &hint);

			if (x.kind == MAP_FREE && x.len < f->min_bytes &&
				map_set(f->m, x.off, x.len, MAP_DATA, e) < 0)
				return -ERR_INTERNAL;
			off += x.len;
		}
	}
	return 0;
}

int fs_free_runs_add(struct fs_free_runs *f, uint64_t off, uint64_t len, struct err *e)
{
	int rc;

	if (len < f->min_bytes)
		return 0;
	rc = map_set(f->m, off, len, MAP_FREE, e);
	if (rc == 0 && map_count(f->m) > EXTENTS_MAX)
		rc = make_coarser(f, e);
	return rc;
}
