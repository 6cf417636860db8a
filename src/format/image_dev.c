/*
 * An image as a device. A part of a block comes out of a cache of unpacked blocks; a whole block is
 * unpacked right into the caller's memory, so that a long read costs the cache nothing. Unpacking,
 * with its buffers, is done outside of all locks by a tool that a thread takes from a pool.
 *
 * Read-ahead. A stream is a place that reads go on from. A read that begins near the end of one
 * belongs to it (requests of one client may overtake each other); when it has come some way, the
 * blocks in front of it are unpacked by the cache's threads.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>

#include "device/dev_ops.h"
#include "format/block_cache.h"
#include "format/image_int.h"

#define CACHE_BLOCKS 32
#define PAGE_BYTES 4096 /* or more: then some are touched twice */

#define STREAMS 16
#define STREAM_NEAR_BYTES (1 * MIB)  /* how far requests of one client overtake each other */
#define STREAM_RUN_BYTES (128 * KIB) /* what looks like reading in order */
#define AHEAD_BYTES (4 * MIB)

/* What it takes to unpack a block. */
struct tool {
	struct unpacker *unpacker;
	uint8_t *frame; /* room for the largest */
	struct tool *next;
};

struct stream {
	uint64_t end;	/* of what was read */
	uint64_t ahead; /* of what was asked to be unpacked */
	uint64_t run;	/* bytes read in order */
	uint64_t used;	/* by age */
};

/* Locks: only `lock`, for all fields below it. */
struct image_dev {
	struct dev dev;
	struct image *image;
	struct block_cache *cache;
	struct block_user user;
	pthread_mutex_t lock;
	struct tool *idle;
	struct stream streams[STREAMS];
	uint64_t clock; /* counts reads */
};

/* ---- Tools ---- */

static void tool_free(struct tool *t)
{
	if (t == NULL)
		return;
	unpacker_free(t->unpacker);
	free(t->frame);
	free(t);
}

static int tool_take(struct image_dev *d, struct tool **out, struct err *e)
{
	struct tool *t;

	pthread_mutex_lock(&d->lock);
	t = d->idle;
	if (t != NULL)
		d->idle = t->next;
	pthread_mutex_unlock(&d->lock);
	*out = t;
	if (t != NULL)
		return 0;
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return err_nomem(e);
	t->frame = malloc(block_bound(d->image->facts.head.block_bytes));
	if (t->frame == NULL || unpacker_new(&t->unpacker, e) < 0) {
		tool_free(t);
		return err_nomem(e);
	}
	unpacker_skip_checksum(t->unpacker); /* image_unpack checks the block's hash */
	*out = t;
	return 0;
}

/* There are never more of them than threads that read at once. */
static void tool_give(struct image_dev *d, struct tool *t)
{
	pthread_mutex_lock(&d->lock);
	t->next = d->idle;
	d->idle = t;
	pthread_mutex_unlock(&d->lock);
}

/* Fresh memory costs a page fault for each of its pages, as much time as unpacking the block. */
static void touch_pages(void *dst, size_t len)
{
	volatile uint8_t *p = dst;

	for (size_t i = 0; i < len; i += PAGE_BYTES)
		p[i] = 0;
}

static int unpack(struct image_dev *d, const struct chunk_entry *x, void *dst, struct err *e)
{
	struct tool *t;
	int rc = tool_take(d, &t, e);

	if (rc < 0)
		return rc;
	dev_will_read(d->image->file, x->file_off, x->stored);
	touch_pages(dst, (size_t)x->len); /* while the disk is at work */
	/* A table gives no stored size over the bound of the block. */
	rc = dev_read(d->image->file, x->file_off, t->frame, x->stored, e);
	if (rc == 0)
		rc = image_unpack(d->image, t->unpacker, x, t->frame, dst, e);
	tool_give(d, t);
	return rc;
}

/* ---- Reading ---- */

/* The cache wants the data block at `off`, which read_part or read_ahead found in a table. */
static int fill(struct block_user *u, uint64_t off, void *dst, size_t len, struct err *e)
{
	struct image_dev *d = (struct image_dev *)((char *)u - offsetof(struct image_dev, user));
	const struct chunk *c;
	int rc = image_chunk(d->image, off / d->image->facts.head.chunk_bytes, &c, e);

	(void)len;
	if (rc < 0)
		return rc;
	rc = unpack(d, &c->entries[chunk_find(c, off)], dst, e);
	chunk_unref(d->image, c);
	return rc;
}

/* A part of a data block, through the cache. */
static int read_part(struct image_dev *d, const struct chunk_entry *x, uint64_t from, void *buf,
	size_t len, struct err *e)
{
	struct cached_block *b;
	int rc = block_cache_get(d->cache, &d->user, x->off, (size_t)x->len, &b, e);

	if (rc < 0)
		return rc;
	memcpy(buf, cached_block_bytes(b) + (from - x->off), len);
	block_cache_release(d->cache, b);
	return 0;
}

/* A whole data block: from the cache when it is there, else unpacked in place. */
static int read_whole(struct image_dev *d, const struct chunk_entry *x, void *buf, struct err *e)
{
	struct cached_block *b = block_cache_find(d->cache, &d->user, x->off);

	if (b == NULL)
		return unpack(d, x, buf, e);
	memcpy(buf, cached_block_bytes(b), (size_t)x->len);
	block_cache_release(d->cache, b);
	return 0;
}

/* [off, off + len) of one chunk. */
static int read_chunk(struct image_dev *d, const struct chunk *c, uint64_t off, uint8_t *buf,
	size_t len, struct err *e)
{
	const struct bad_range *bad = chunk_bad(c, off, len);
	int rc = 0;

	if (bad != NULL)
		return err_set(e, ERR_SOURCE, EIO,
			"read %s at %" PRIu64 ": %" PRIu64 " bytes at %" PRIu64
			" could not be read when the image was made",
			d->dev.name, off, bad->len, bad->off);
	for (uint32_t n = chunk_find(c, off); rc == 0 && len > 0; n++) {
		const struct chunk_entry *x = &c->entries[n];
		size_t part = (size_t)min_u64(len, x->off + x->len - off);

		if (x->kind != ENTRY_DATA)
			memset(buf, 0, part);
		else if (part == x->len)
			rc = read_whole(d, x, buf, e);
		else
			rc = read_part(d, x, off, buf, part, e);
		off += part;
		buf += part;
		len -= part;
	}
	return rc;
}

/* ---- Ahead ---- */

/* With the lock held: the stream that a read at `off` goes on with, or the oldest, begun anew. */
static struct stream *stream_of(struct image_dev *d, uint64_t off)
{
	struct stream *oldest = &d->streams[0];

	for (struct stream *s = d->streams; s < d->streams + STREAMS; s++) {
		if (s->run > 0 && off + STREAM_NEAR_BYTES >= s->end &&
			off <= s->end + STREAM_NEAR_BYTES)
			return s;
		if (s->used < oldest->used)
			oldest = s;
	}
	*oldest = (struct stream){ .end = off, .ahead = off };
	return oldest;
}

/* What is to be unpacked ahead after a read of [off, off + len): [*from, return value). */
static uint64_t plan_ahead(struct image_dev *d, uint64_t off, size_t len, uint64_t *from)
{
	uint64_t to = 0;
	struct stream *s;
	bool goes_on;

	pthread_mutex_lock(&d->lock);
	s = stream_of(d, off);
	/* One long read alone says nothing about what comes after it. */
	goes_on = s->run > 0;
	s->used = ++d->clock;
	s->run += len;
	s->end = max_u64(s->end, off + len);
	*from = max_u64(s->ahead, s->end);
	/* By half a window at a time: each look at the tables is worth several blocks. */
	if (goes_on && s->run >= STREAM_RUN_BYTES && *from < s->end + AHEAD_BYTES / 2) {
		to = min_u64(s->end + AHEAD_BYTES, d->dev.info.size_bytes);
		s->ahead = to;
	}
	pthread_mutex_unlock(&d->lock);
	return to;
}

/* Nobody waits for this: what fails here fails again for the one who reads it. */
static void read_ahead(struct image_dev *d, uint64_t off, size_t len)
{
	const uint64_t chunk_bytes = d->image->facts.head.chunk_bytes;
	uint64_t from, to = plan_ahead(d, off, len, &from);

	while (from < to) {
		const struct chunk *c;
		struct err ignored;

		if (image_chunk(d->image, from / chunk_bytes, &c, &ignored) < 0)
			return;
		for (uint32_t n = chunk_find(c, from); n < c->count && from < to; n++) {
			const struct chunk_entry *x = &c->entries[n];

			if (x->kind == ENTRY_DATA)
				block_cache_ahead(d->cache, &d->user, x->off, (size_t)x->len);
			from = x->off + x->len;
		}
		chunk_unref(d->image, c);
	}
}

static int image_dev_read(struct dev *dev, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct image_dev *d = (struct image_dev *)dev;
	const uint64_t chunk_bytes = d->image->facts.head.chunk_bytes;
	uint8_t *to = buf;
	int rc = 0;

	if (block_cache_can_ahead(d->cache))
		read_ahead(d, off, len);
	while (rc == 0 && len > 0) {
		const struct chunk *c;
		size_t part;

		rc = image_chunk(d->image, off / chunk_bytes, &c, e);
		if (rc < 0)
			return rc;
		part = (size_t)min_u64(len, c->off + c->len - off);
		rc = read_chunk(d, c, off, to, part, e);
		chunk_unref(d->image, c);
		off += part;
		to += part;
		len -= part;
	}
	return rc;
}

/* ---- Extents ---- */

static const enum dev_extent_kind extent_kinds[ENTRY_KINDS] = {
	[ENTRY_ZERO] = DEV_EXTENT_ZERO,
	[ENTRY_FREE] = DEV_EXTENT_FREE,
	/* All others are data: what is bad is found out by reading. */
};

/*
 * A chunk whose table can't be read is data to its end, too: a client that asks what is where over
 * a long range must not lose the chunks beside it.
 */
static int extent_without_table(int rc, uint64_t chunk_bytes, uint64_t off, uint64_t len,
	struct dev_extent *x)
{
	if (rc != -ERR_DAMAGED && rc != -ERR_SOURCE)
		return rc;
	x->kind = DEV_EXTENT_DATA;
	x->len = min_u64(len, chunk_bytes - off % chunk_bytes);
	return 0;
}

static int image_dev_extent(struct dev *dev, uint64_t off, uint64_t len, struct dev_extent *x,
	struct err *e)
{
	struct image_dev *d = (struct image_dev *)dev;
	const uint64_t chunk_bytes = d->image->facts.head.chunk_bytes;
	const struct chunk *c;
	uint64_t end = off + len;
	int rc = image_chunk(d->image, off / chunk_bytes, &c, e);
	uint32_t n;

	if (rc < 0)
		return extent_without_table(rc, chunk_bytes, off, len, x);
	n = chunk_find(c, off);
	x->kind = extent_kinds[c->entries[n].kind];
	while (n + 1 < c->count && extent_kinds[c->entries[n + 1].kind] == x->kind &&
		c->entries[n + 1].off < end)
		n++;
	x->len = min_u64(c->entries[n].off + c->entries[n].len, end) - off;
	chunk_unref(d->image, c);
	return 0;
}

/* ---- Life ---- */

static void image_dev_close(struct dev *dev)
{
	struct image_dev *d = (struct image_dev *)dev;

	block_cache_leave(d->cache, &d->user);
	block_cache_unref(d->cache);
	while (d->idle != NULL) {
		struct tool *t = d->idle;

		d->idle = t->next;
		tool_free(t);
	}
	pthread_mutex_destroy(&d->lock);
	dev_fini(&d->dev);
	free(d);
}

static const struct dev_ops image_dev_ops = {
	.kind = "image",
	.read = image_dev_read,
	.extent = image_dev_extent,
	.close = image_dev_close,
};

int image_dev_cached(struct image *i, struct block_cache *cache, struct dev **out, struct err *e)
{
	const struct layout_head *h = &i->facts.head;
	struct image_dev *d = calloc(1, sizeof(*d));

	*out = NULL;
	if (d == NULL || dev_init(&d->dev, &image_dev_ops, dev_name(i->file), e) < 0) {
		free(d);
		return err_nomem(e);
	}
	pthread_mutex_init(&d->lock, NULL);
	d->image = i;
	d->cache = block_cache_ref(cache);
	d->user.fill = fill;
	d->dev.info.size_bytes = h->source_bytes;
	d->dev.info.logical_bytes = h->logical_bytes;
	d->dev.info.physical_bytes = h->physical_bytes;
	*out = &d->dev;
	return 0;
}

int image_dev(struct image *i, size_t cache_blocks, struct dev **out, struct err *e)
{
	size_t blocks = cache_blocks == 0 ? CACHE_BLOCKS : cache_blocks;
	struct block_cache *cache;
	int rc = block_cache_new(blocks * i->facts.head.block_bytes, 0, &cache, e);

	*out = NULL;
	if (rc < 0)
		return rc;
	rc = image_dev_cached(i, cache, out, e);
	block_cache_unref(cache); /* the device's alone from now on */
	return rc;
}
