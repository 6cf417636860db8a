/*
 * XFS, version 5 (with checksums). A clean log gives one state, and the map is what the trees of
 * free space say. A log that is not clean (every snapshot of a mounted file system, also of a
 * frozen one) gives two: as it is on the disk, and as it will be once a mount has recovered the
 * log.
 *
 * The map must serve that mount. It reads the log, the places that the log names, and from there on
 * what is in use in the later state; all of it must be in the image. So the later state is proven
 * sound by the same strict reading as a clean file system, through an overlay with the recovered
 * blocks. Free is what is free in it and is no place that the log names; and, for those who mount
 * without recovery, what is free in the state on the disk too, as far as its trees can be read:
 * they may be torn, since any part of the logged blocks may have reached their places by now. A
 * tree that can't be read calls nothing free.
 *
 * The superblock's counter of free blocks is right after a clean unmount only; until then it is
 * kept in memory. The counters of the groups are logged like the trees, and always right.
 */
#include <inttypes.h>
#include <stdio.h>

#include "fs/fs_ops.h"
#include "fs/fs_xfs_int.h"

/* Put what is free into the map, which is full. */
static int copy_free(const struct map *from, struct map *m, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < map_count(from) && rc == 0; i++) {
		struct extent x = map_at(from, i);

		rc = map_set(m, x.off, x.len, x.kind, e);
	}
	return rc;
}

static int map_clean(struct dev *d, const struct xfs_super *s, const struct xfs_log *log,
	struct map *m, uint64_t *min_bytes, struct err *e)
{
	struct xfs_free f = { 0 };
	int rc = fs_xfs_free_read(d, s, log->newest, &f, e);

	if (rc == 0 && f.count_said != s->free_blocks)
		rc = err_set(e, ERR_FORMAT, 0,
			"the groups have %" PRIu64 " free blocks, the superblock says %" PRIu64,
			f.count_said, s->free_blocks);
	if (rc == 0)
		rc = copy_free(f.map, m, e);
	*min_bytes = f.min_bytes;
	fs_xfs_free_fini(&f);
	return rc;
}

/* A recovery that changes what the numbers of blocks and groups mean is not followed further. */
static int check_same_shape(const struct xfs_super *a, const struct xfs_super *b, struct err *e)
{
	if (a->block_bytes == b->block_bytes && a->sector_bytes == b->sector_bytes &&
		a->ag_blocks == b->ag_blocks && a->ag_count == b->ag_count &&
		a->blocks == b->blocks && a->log_block == b->log_block &&
		a->log_blocks == b->log_blocks && a->has_rmap == b->has_rmap &&
		memcmp(a->uuid, b->uuid, XFS_UUID_BYTES) == 0 &&
		memcmp(a->id, b->id, XFS_UUID_BYTES) == 0)
		return 0;
	return err_set(e, ERR_FORMAT, 0, "the log holds a change of size or features");
}

/* What is free after the recovery. */
static int read_after(struct dev *d, const struct xfs_super *s, const struct xfs_log *log,
	const struct xfs_replay *replay, struct xfs_free *out, struct err *e)
{
	struct dev *overlay = NULL;
	struct xfs_super later;
	int rc = fs_xfs_overlay_open(d, replay, &overlay, e);

	if (rc == 0)
		rc = fs_xfs_super_read(overlay, &later, e);
	if (rc == 0)
		rc = check_same_shape(s, &later, e);
	if (rc == 0)
		rc = fs_xfs_free_read(overlay, s, log->newest, out, e);
	dev_close(overlay);
	return rc < 0 ? err_prefix(e, "after recovery of the log") : 0;
}

/* Free in both states: into m, which is full; then the places that the log names out of it. */
static int combine(const struct map *after, const struct map *before,
	const struct xfs_replay *replay, uint32_t block_bytes, struct map *m, struct err *e)
{
	struct map *both = map_intersect(after, before);
	int rc = both ? copy_free(both, m, e) : err_nomem(e);

	map_free(both);
	for (size_t i = 0; i < replay->count && rc == 0; i++) {
		const struct xfs_logged *x = &replay->list[i];
		uint64_t from = align_down(x->sector * XFS_SECTOR, block_bytes);
		uint64_t end = align_up((x->sector + x->sectors) * XFS_SECTOR, block_bytes);

		rc = map_set(m, from, end - from, MAP_DATA, e);
	}
	return rc;
}

static int map_dirty(struct dev *d, const struct xfs_super *s, const struct xfs_log *log,
	struct map *m, uint64_t *min_bytes, size_t *changed, struct err *e)
{
	struct xfs_replay replay = { 0 };
	struct xfs_free after = { 0 }, before = { 0 };
	int rc = fs_xfs_replay_read(log, &replay, e);

	if (rc == 0)
		rc = read_after(d, s, log, &replay, &after, e);
	if (rc == 0)
		rc = fs_xfs_free_read(d, s, 0, &before, e);
	if (rc == 0)
		rc = combine(after.map, before.map, &replay, s->block_bytes, m, e);
	*min_bytes = max_u64(after.min_bytes, before.min_bytes);
	*changed = replay.changed_blocks;
	fs_xfs_free_fini(&before);
	fs_xfs_free_fini(&after);
	fs_xfs_replay_fini(&replay);
	return rc;
}

static int xfs_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	struct xfs_super s;
	struct xfs_log log;
	uint64_t min_bytes = 0;
	size_t changed = 0;
	int n = 0, rc = fs_xfs_super_read(d, &s, e);

	if (rc == 0)
		rc = fs_xfs_log_open(d, &s, &log, e);
	if (rc == 0 && log.clean)
		rc = map_clean(d, &s, &log, m, &min_bytes, e);
	else if (rc == 0)
		rc = map_dirty(d, &s, &log, m, &min_bytes, &changed, e);
	if (rc < 0)
		return rc;
	r->block_bytes = s.block_bytes;
	if (!log.clean)
		n = snprintf(r->note, sizeof(r->note),
			"dirty log, %zu blocks of free-space metadata to recover", changed);
	if (min_bytes)
		snprintf(r->note + n, sizeof(r->note) - (size_t)n,
			"%sfree space in too many pieces, the shortest are taken as data",
			n ? "; " : "");
	return 0;
}

static const char *const types[] = { "xfs", NULL };

const struct fs_ops fs_xfs = {
	.name = "xfs",
	.types = types,
	.map = xfs_map,
};
