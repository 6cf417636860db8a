/* A disk put together from parts of other devices: its table, its gaps, its partitions. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_int.h"

struct dev_compose {
	struct dev dev;
	size_t count;
	struct dev_segment segments[]; /* ascending, disjoint */
};

static struct dev_compose *compose_of(struct dev *d)
{
	return (struct dev_compose *)d;
}

/* The first segment that ends after `off`; count when there is none. */
static size_t find_segment(const struct dev_compose *c, uint64_t off)
{
	size_t low = 0, high = c->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->segments[mid].off + c->segments[mid].len <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/*
 * What is at `off`: the segment, or NULL for a gap; *len is cut to where that ends.
 */
static const struct dev_segment *segment_at(const struct dev_compose *c, uint64_t off,
	uint64_t *len)
{
	size_t n = find_segment(c, off);
	const struct dev_segment *s = n < c->count ? &c->segments[n] : NULL;

	if (s != NULL && s->off <= off) {
		*len = min_u64(*len, s->off + s->len - off);
		return s;
	}
	if (s != NULL)
		*len = min_u64(*len, s->off - off);
	return NULL;
}

static int compose_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	uint8_t *to = buf;
	int rc = 0;

	while (rc == 0 && len > 0) {
		uint64_t part = len;
		const struct dev_segment *s = segment_at(compose_of(d), off, &part);

		if (s == NULL)
			memset(to, 0, (size_t)part);
		else
			rc = dev_read(s->under, s->under_off + (off - s->off), to, (size_t)part, e);
		off += part;
		to += part;
		len -= (size_t)part;
	}
	return rc;
}

static int compose_extent(struct dev *d, uint64_t off, uint64_t len, struct dev_extent *x,
	struct err *e)
{
	const struct dev_segment *s = segment_at(compose_of(d), off, &len);

	if (s != NULL)
		return dev_extent(s->under, s->under_off + (off - s->off), len, x, e);
	*x = (struct dev_extent){ DEV_EXTENT_FREE, len };
	return 0;
}

static void compose_close(struct dev *d)
{
	dev_fini(d);
	free(d);
}

static const struct dev_ops dev_compose_ops = {
	.kind = "compose",
	.any_align = true,
	.read = compose_read,
	.extent = compose_extent,
	.close = compose_close,
};

/* The parts must follow each other inside the whole, and exist in their devices. */
static int check_segments(const char *name, uint64_t size, const struct dev_segment *s,
	size_t count, struct err *e)
{
	uint64_t end = 0;

	for (size_t i = 0; i < count; i++) {
		if (s[i].len == 0 || s[i].off < end || !range_inside(s[i].off, s[i].len, size))
			return err_set(e, ERR_USAGE, 0,
				"%s: part %zu, %" PRIu64 " bytes at %" PRIu64
				", overlaps another or reaches past the end at %" PRIu64,
				name, i + 1, s[i].len, s[i].off, size);
		if (!range_inside(s[i].under_off, s[i].len, dev_size(s[i].under)))
			return err_set(e, ERR_USAGE, 0,
				"%s: part %zu: %" PRIu64 " bytes at %" PRIu64
				" reach past the end of %s at %" PRIu64,
				name, i + 1, s[i].len, s[i].under_off, dev_name(s[i].under),
				dev_size(s[i].under));
		end = s[i].off + s[i].len;
	}
	return 0;
}

int dev_open_compose(const char *name, uint64_t size, const struct dev_segment *s, size_t count,
	struct dev **out, struct err *e)
{
	struct dev_compose *c;
	int rc = check_segments(name, size, s, count, e);

	*out = NULL;
	if (rc < 0)
		return rc;
	c = calloc(1, sizeof(*c) + count * sizeof(*s));
	if (c == NULL || dev_init(&c->dev, &dev_compose_ops, name, e) < 0) {
		free(c);
		return err_nomem(e);
	}
	c->count = count;
	for (size_t i = 0; i < count; i++) {
		const struct dev_info *under = dev_info(s[i].under);

		c->segments[i] = s[i];
		c->dev.info.logical_bytes =
			(uint32_t)max_u64(c->dev.info.logical_bytes, under->logical_bytes);
		c->dev.info.physical_bytes =
			(uint32_t)max_u64(c->dev.info.physical_bytes, under->physical_bytes);
	}
	c->dev.info.size_bytes = size;
	*out = &c->dev;
	return 0;
}
