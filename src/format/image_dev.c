/*
 * An image as a device. A part of a block comes out of a cache of unpacked blocks; a whole block is
 * unpacked right into the caller's memory, so that a long read costs the cache nothing.
 *
 * A cached block is a node in one of two states: being unpacked by the thread that put it there, or
 * ready. Others who want it wait for that thread. A node that somebody holds is not dropped; when
 * all are held, there are more of them than the limit for a while. Unpacking, with its buffers, is
 * done outside of the lock by a tool that a thread takes from a pool.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>

#include "device/dev_ops.h"
#include "format/image_int.h"

#define CACHE_BLOCKS 32

/* What it takes to unpack a block. */
struct tool {
	struct unpacker *unpacker;
	uint8_t *frame; /* room for the largest */
	struct tool *next;
};

struct block {
	uint64_t off; /* source offset: the key */
	uint8_t *bytes;
	bool ready;
	unsigned held;
	struct block *newer, *older;
};

/* Locks: only `lock`, for all fields below it and those of the blocks. */
struct image_dev {
	struct dev dev;
	struct image *image;
	size_t limit;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a block became ready, or was given up */
	struct block *newest, *oldest;
	size_t count;
	struct tool *idle;
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

static int unpack(struct image_dev *d, const struct chunk_entry *x, void *dst, struct err *e)
{
	struct tool *t;
	int rc = tool_take(d, &t, e);

	if (rc < 0)
		return rc;
	/* A table gives no stored size over the bound of the block. */
	rc = dev_read(d->image->file, x->file_off, t->frame, x->stored, e);
	if (rc == 0)
		rc = image_unpack(d->image, t->unpacker, x, t->frame, dst, e);
	tool_give(d, t);
	return rc;
}

/* ---- Cache; all static functions here are called with the lock held ---- */

static void unlink_block(struct image_dev *d, struct block *b)
{
	if (b->newer != NULL)
		b->newer->older = b->older;
	else
		d->newest = b->older;
	if (b->older != NULL)
		b->older->newer = b->newer;
	else
		d->oldest = b->newer;
	d->count--;
}

static void link_newest(struct image_dev *d, struct block *b)
{
	b->newer = NULL;
	b->older = d->newest;
	if (d->newest != NULL)
		d->newest->newer = b;
	else
		d->oldest = b;
	d->newest = b;
	d->count++;
}

static struct block *find(struct image_dev *d, uint64_t off)
{
	for (struct block *b = d->newest; b != NULL; b = b->older)
		if (b->off == off)
			return b;
	return NULL;
}

static void block_free(struct block *b)
{
	if (b == NULL)
		return;
	free(b->bytes);
	free(b);
}

static void shrink(struct image_dev *d)
{
	struct block *b = d->oldest;

	while (d->count > d->limit && b != NULL) {
		struct block *newer = b->newer;

		if (b->held == 0) {
			unlink_block(d, b);
			block_free(b);
		}
		b = newer;
	}
}

/* Hold the block when it is there, waiting for whoever unpacks it; NULL: it is not there. */
static struct block *hold_ready(struct image_dev *d, uint64_t off)
{
	struct block *b = find(d, off);

	while (b != NULL && !b->ready) {
		pthread_cond_wait(&d->changed, &d->lock);
		/* It may have been given up, and even put there anew by a third thread. */
		b = find(d, off);
	}
	if (b == NULL)
		return NULL;
	b->held++;
	unlink_block(d, b);
	link_newest(d, b);
	return b;
}

static void release(struct image_dev *d, struct block *b)
{
	b->held--;
	shrink(d);
}

/* ---- Reading ---- */

static struct block *block_new(const struct image_dev *d, uint64_t off)
{
	struct block *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	b->off = off;
	b->held = 1;
	b->bytes = malloc(d->image->facts.head.block_bytes);
	if (b->bytes == NULL) {
		block_free(b);
		return NULL;
	}
	return b;
}

/* Unpack into the new block `b`, which is in the cache and held; on failure it is given up. */
static int fill(struct image_dev *d, const struct chunk_entry *x, struct block *b, struct err *e)
{
	int rc = unpack(d, x, b->bytes, e);

	pthread_mutex_lock(&d->lock);
	if (rc < 0) {
		/* Nobody else holds it: it never was ready. */
		unlink_block(d, b);
		block_free(b);
	} else {
		b->ready = true;
	}
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	return rc;
}

/* A part of a data block, through the cache. */
static int read_part(struct image_dev *d, const struct chunk_entry *x, uint64_t from, void *buf,
	size_t len, struct err *e)
{
	struct block *b, *fresh;
	int rc = 0;

	pthread_mutex_lock(&d->lock);
	b = hold_ready(d, x->off);
	if (b == NULL) {
		fresh = block_new(d, x->off);
		if (fresh != NULL) {
			link_newest(d, fresh);
			shrink(d);
		}
		pthread_mutex_unlock(&d->lock);
		if (fresh == NULL)
			return err_nomem(e);
		rc = fill(d, x, fresh, e);
		if (rc < 0)
			return rc;
		b = fresh;
	} else {
		pthread_mutex_unlock(&d->lock);
	}
	/* Ready and held: nobody writes to it, nobody frees it. */
	memcpy(buf, b->bytes + (from - x->off), len);
	pthread_mutex_lock(&d->lock);
	release(d, b);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

/* A whole data block: from the cache when it is there, else unpacked in place. */
static int read_whole(struct image_dev *d, const struct chunk_entry *x, void *buf, struct err *e)
{
	struct block *b;

	pthread_mutex_lock(&d->lock);
	b = find(d, x->off);
	if (b != NULL && b->ready)
		b->held++;
	else
		b = NULL;
	pthread_mutex_unlock(&d->lock);
	if (b == NULL)
		return unpack(d, x, buf, e);
	memcpy(buf, b->bytes, (size_t)x->len);
	pthread_mutex_lock(&d->lock);
	release(d, b);
	pthread_mutex_unlock(&d->lock);
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

static int image_dev_read(struct dev *dev, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct image_dev *d = (struct image_dev *)dev;
	const uint64_t chunk_bytes = d->image->facts.head.chunk_bytes;
	uint8_t *to = buf;
	int rc = 0;

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

/* ---- Life ---- */

static void image_dev_close(struct dev *dev)
{
	struct image_dev *d = (struct image_dev *)dev;

	while (d->newest != NULL) {
		struct block *b = d->newest;

		unlink_block(d, b);
		block_free(b);
	}
	while (d->idle != NULL) {
		struct tool *t = d->idle;

		d->idle = t->next;
		tool_free(t);
	}
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	dev_fini(&d->dev);
	free(d);
}

static const struct dev_ops image_dev_ops = {
	.kind = "image",
	.read = image_dev_read,
	.close = image_dev_close,
};

int image_dev(struct image *i, size_t cache_blocks, struct dev **out, struct err *e)
{
	const struct layout_head *h = &i->facts.head;
	struct image_dev *d = calloc(1, sizeof(*d));

	*out = NULL;
	if (d == NULL || dev_init(&d->dev, &image_dev_ops, dev_name(i->file), e) < 0) {
		free(d);
		return err_nomem(e);
	}
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
	d->image = i;
	d->limit = cache_blocks == 0 ? CACHE_BLOCKS : cache_blocks;
	d->dev.info.size_bytes = h->source_bytes;
	d->dev.info.logical_bytes = h->logical_bytes;
	d->dev.info.physical_bytes = h->physical_bytes;
	*out = &d->dev;
	return 0;
}
