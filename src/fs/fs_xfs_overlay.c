/*
 * A device as it will be after its log was recovered, as far as free space goes: reads of a block
 * that was followed are answered from memory. A place that recovery changes in a way that was not
 * followed can't be read.
 */
#include <inttypes.h>

#include "device/dev_ops.h"
#include "fs/fs_xfs_int.h"

struct overlay {
	struct dev dev;
	struct dev *under;
	const struct xfs_replay *replay;
	uint32_t longest; /* of all places, in sectors */
};

/* The first place that may reach beyond a sector. */
static size_t find(const struct overlay *o, uint64_t sector)
{
	uint64_t from = sector > o->longest ? sector - o->longest : 0;
	size_t low = 0, high = o->replay->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (o->replay->list[mid].sector < from)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Lay what of the place lies in [off, off + len) over buf. */
static int lay_over(const struct xfs_logged *x, uint64_t off, uint8_t *buf, size_t len,
	struct err *e)
{
	uint64_t begin = x->sector * XFS_SECTOR;
	uint64_t end = begin + (uint64_t)x->sectors * XFS_SECTOR;
	uint64_t from = max_u64(begin, off), to = min_u64(end, off + len);

	if (from >= to)
		return 0;
	if (x->unknown)
		return err_set(e, ERR_FORMAT, 0,
			"log: it changes sector %" PRIu64 ", which is of a free-space tree",
			x->sector);
	if (x->bytes && x->changed)
		memcpy(buf + (from - off), x->bytes + (from - begin), to - from);
	return 0;
}

static int overlay_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	const struct overlay *o = (const struct overlay *)d;
	const struct xfs_replay *r = o->replay;
	uint64_t end = off + len; /* inside the device: dev_read has checked */
	int rc = dev_read(o->under, off, buf, len, e);

	for (size_t i = find(o, off / XFS_SECTOR);
		rc == 0 && i < r->count && r->list[i].sector * XFS_SECTOR < end; i++)
		rc = lay_over(&r->list[i], off, buf, len, e);
	return rc;
}

static void overlay_close(struct dev *d)
{
	dev_fini(d);
	free(d);
}

static const struct dev_ops overlay_ops = {
	.kind = "replayed",
	.any_align = true,
	.read = overlay_read,
	.close = overlay_close,
};

int fs_xfs_overlay_open(struct dev *under, const struct xfs_replay *r, struct dev **out,
	struct err *e)
{
	struct overlay *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return err_nomem(e);
	rc = dev_init(&o->dev, &overlay_ops, dev_name(under), e);
	if (rc < 0) {
		free(o);
		return rc;
	}
	o->dev.info.size_bytes = dev_size(under);
	o->dev.info.logical_bytes = dev_info(under)->logical_bytes;
	o->dev.info.physical_bytes = dev_info(under)->physical_bytes;
	o->under = under;
	o->replay = r;
	for (size_t i = 0; i < r->count; i++)
		o->longest = (uint32_t)max_u64(o->longest, r->list[i].sectors);
	*out = &o->dev;
	return 0;
}
