#include "fs/fs_runs.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"

#define FIRST_ROOM 256

/* Drop runs shorter than min_bytes, doubled until half of the room is empty again. */
static void make_coarser(struct fs_runs *r)
{
	while (r->count > FS_RUNS_MAX / 2) {
		size_t kept = 0;

		/* No run is shorter than 4 KiB in any file system that uses this. */
		r->min_bytes = max_u64(r->min_bytes * 2, 8 * KIB);
		for (size_t i = 0; i < r->count; i++)
			if (r->runs[i].len >= r->min_bytes)
				r->runs[kept++] = r->runs[i];
		r->count = kept;
	}
}

static int grow(struct fs_runs *r, struct err *e)
{
	size_t room = r->room == 0 ? FIRST_ROOM : r->room * 2;
	struct fs_run *runs = realloc(r->runs, room * sizeof(*runs));

	if (runs == NULL)
		return err_nomem(e);
	r->runs = runs;
	r->room = room;
	return 0;
}

int fs_runs_add(struct fs_runs *r, uint64_t off, uint64_t len, struct err *e)
{
	int rc = 0;

	if (len == 0 || len < r->min_bytes)
		return 0;
	if (r->count == FS_RUNS_MAX)
		make_coarser(r);
	else if (r->count == r->room)
		rc = grow(r, e);
	if (rc == 0 && len >= r->min_bytes)
		r->runs[r->count++] = (struct fs_run){ off, len };
	return rc;
}

static int by_offset(const void *a, const void *b)
{
	const struct fs_run *x = a, *y = b;

	return (x->off > y->off) - (x->off < y->off);
}

int fs_runs_set(struct fs_runs *r, struct map *m, struct err *e)
{
	uint64_t end = 0;
	int rc = 0;

	if (r->count > 0)
		qsort(r->runs, r->count, sizeof(*r->runs), by_offset);
	for (size_t i = 0; i < r->count && rc == 0; i++) {
		const struct fs_run *x = &r->runs[i];

		if (x->off < end || !range_inside(x->off, x->len, map_size(m)))
			return err_set(e, ERR_FORMAT, 0,
				"free space at %" PRIu64 " overlaps other, or the end", x->off);
		end = x->off + x->len;
		rc = map_set(m, x->off, x->len, MAP_FREE, e);
	}
	return rc;
}

void fs_runs_fini(struct fs_runs *r)
{
	free(r->runs);
	*r = (struct fs_runs){ 0 };
}
