/*
 * F2FS, after an unmount. All of the metadata areas (superblocks, checkpoints, both copies of the
 * tables, summaries) is data; in the main area free is what the segment table, corrected by its
 * journal, calls free. A mount does not read blocks that its checkpoint calls free, with one
 * exception:
 *
 * It rolls forward, also after an unmount. It looks at the block where the log of warm nodes would
 * go on, and when that is a node with the version of the checkpoint, it was written since, perhaps
 * by an fsync: the mount follows the chain of nodes from there (Linux kernel, fs/f2fs/recovery.c,
 * find_fsync_dnodes). Where there is such a node the file system is refused, as the chain and its
 * data are in blocks that are free. Where there is none, that block is data all the same: in a
 * copy, a mount must not find there what was on the target before, which may be a later state of
 * the very same file system.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "fs/fs_f2fs_int.h"
#include "fs/fs_free_runs.h"

#define FOOTER_VERSION_OFFSET (F2FS_BLOCK_BYTES - 24 + 12) /* cp_ver of struct node_footer */

/* The upper half of the version in a node may be the checkpoint's checksum, or nothing. */
static int check_roll_forward(struct fs_f2fs *v, struct map *m, struct err *e)
{
	const struct f2fs_checkpoint *c = &v->checkpoint;
	uint64_t block = v->super.main_block +
		(uint64_t)c->logs[F2FS_WARM_NODE_LOG].segment * F2FS_SEGMENT_BLOCKS +
		c->logs[F2FS_WARM_NODE_LOG].next;
	uint8_t node[F2FS_BLOCK_BYTES];
	int rc;

	/* Never written, and so never synced; the log is not in use. */
	if (v->super.readonly)
		return 0;
	rc = fs_f2fs_read(v->dev, block, 1, node, "next node", e);
	if (rc == 0 && get_le32(node + FOOTER_VERSION_OFFSET) == (uint32_t)c->version)
		rc = err_set(e, ERR_FORMAT, 0,
			"there are nodes newer than the last checkpoint: the file system was "
			"mounted, and not unmounted");
	if (rc == 0)
		rc = map_set(m, block * F2FS_BLOCK_BYTES, F2FS_BLOCK_BYTES, MAP_DATA, e);
	return rc;
}

static int f2fs_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	struct fs_f2fs v = { .dev = d };
	bool coarse = false;
	int rc = fs_f2fs_super_read(d, &v.super, e);

	if (rc < 0)
		return rc;
	rc = fs_f2fs_checkpoint_read(d, &v.super, &v.checkpoint, e);
	if (rc < 0)
		goto out;
	v.node_segments = calloc(div_up(v.super.main_segments, 8), 1);
	if (!v.node_segments) {
		rc = err_nomem(e);
		goto out;
	}
	rc = fs_f2fs_sit_map(&v, m, &coarse, e);
	if (rc == 0)
		rc = fs_f2fs_nat_check(&v, m, e);
	if (rc == 0)
		rc = check_roll_forward(&v, m, e);
	if (rc == 0 && coarse)
		snprintf(r->note, sizeof(r->note), FS_FREE_RUNS_COARSE);
	r->block_bytes = F2FS_BLOCK_BYTES;
out:
	free(v.node_segments);
	fs_f2fs_checkpoint_fini(&v.checkpoint);
	return rc;
}

static const char *const types[] = { "f2fs", NULL };

const struct fs_ops fs_f2fs = {
	.name = "f2fs",
	.types = types,
	.map = f2fs_map,
};
