/*
 * XFS, version 5 (with checksums).
 */
#include <inttypes.h>
#include <stdio.h>

#include "fs/fs_ops.h"
#include "fs/fs_xfs_int.h"

static int xfs_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	struct xfs_super s;
	struct xfs_log log;
	struct xfs_free f = { 0 };
	int rc = fs_xfs_super_read(d, &s, e);

	if (rc == 0)
		rc = fs_xfs_log_open(d, &s, &log, e);
	if (rc == 0 && !log.clean)
		rc = err_set(e, ERR_FORMAT, 0, "log: not clean");
	if (rc == 0)
		rc = fs_xfs_free_read(d, &s, true, &f, e);
	if (rc == 0 && f.count_said != s.free_blocks)
		rc = err_set(e, ERR_FORMAT, 0,
			"the groups have %" PRIu64 " free blocks, the superblock says %" PRIu64,
			f.count_said, s.free_blocks);
	for (size_t i = 0; rc == 0 && i < map_count(f.map); i++) {
		struct extent x = map_at(f.map, i);

		rc = map_set(m, x.off, x.len, x.kind, e);
	}
	if (rc == 0)
		r->block_bytes = s.block_bytes;
	fs_xfs_free_fini(&f);
	return rc;
}

static const char *const types[] = { "xfs", NULL };

const struct fs_ops fs_xfs = {
	.name = "xfs",
	.types = types,
	.map = xfs_map,
};
