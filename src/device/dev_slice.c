/* A window on another device: a partition of a disk or of its image. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "device/dev_int.h"

struct dev_slice {
	struct dev dev;
	struct dev *under;
	uint64_t base;
};

static struct dev_slice *slice_of(const struct dev *d)
{
	return (struct dev_slice *)(uintptr_t)d;
}

static int slice_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	return dev_read(slice_of(d)->under, slice_of(d)->base + off, buf, len, e);
}

static int slice_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	return dev_write(slice_of(d)->under, slice_of(d)->base + off, buf, len, e);
}

static int slice_flush(struct dev *d, bool metadata, struct err *e)
{
	return dev_flush(slice_of(d)->under, metadata, e);
}

static int slice_discard(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	return dev_discard(slice_of(d)->under, slice_of(d)->base + off, len, e);
}

static int slice_zero(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	return dev_zero(slice_of(d)->under, slice_of(d)->base + off, len, e);
}

static int slice_extent(struct dev *d, uint64_t off, uint64_t len, struct dev_extent *x,
	struct err *e)
{
	return dev_extent(slice_of(d)->under, slice_of(d)->base + off, len, x, e);
}

static int slice_fd(const struct dev *d, uint64_t *base)
{
	const struct dev_slice *s = slice_of(d);
	int fd = dev_fd(s->under, base);

	/* What is aligned in this window is not so on the descriptor: dev_read must bounce it. */
	if (s->base % s->under->info.align_bytes != 0)
		fd = -1;
	*base += s->base;
	return fd;
}

static void slice_close(struct dev *d)
{
	dev_fini(d);
	free(d);
}

static const struct dev_ops dev_slice_ops = {
	.kind = "slice",
	.any_align = true,
	.read = slice_read,
	.write = slice_write,
	.flush = slice_flush,
	.discard = slice_discard,
	.zero = slice_zero,
	.extent = slice_extent,
	.fd = slice_fd,
	.close = slice_close,
};

const struct dev *dev_slice_under(const struct dev *d)
{
	return d->ops == &dev_slice_ops ? slice_of(d)->under : NULL;
}

int dev_open_slice(struct dev *under, uint64_t off, uint64_t len, struct dev **out, struct err *e)
{
	struct dev_slice *s;
	char name[512];

	*out = NULL;
	if (under->info.sequential)
		return err_set(e, ERR_USAGE, 0, "a part of %s: a pipe has no parts", under->name);
	if (!range_inside(off, len, dev_size(under)))
		return err_set(e, ERR_SOURCE, 0,
			"a part of %s at %" PRIu64 ": %" PRIu64
			" bytes reach past the end at %" PRIu64,
			under->name, off, len, dev_size(under));
	snprintf(name, sizeof(name), "%s[%" PRIu64 "+%" PRIu64 "]", under->name, off, len);
	s = calloc(1, sizeof(*s));
	if (s == NULL || dev_init(&s->dev, &dev_slice_ops, name, e) < 0) {
		free(s);
		return err_nomem(e);
	}
	s->under = under;
	s->base = off;
	s->dev.info = under->info;
	s->dev.info.size_bytes = len;
	s->dev.info.can_grow = false;
	s->dev.info.block_device = false;
	*out = &s->dev;
	return 0;
}
