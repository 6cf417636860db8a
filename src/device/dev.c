/*
 * What all devices share: checks, and the bounce of unaligned calls on a device that needs
 * alignment.
 *
 * An unaligned write reads the blocks at its edges, lays the new bytes over them and writes them
 * back. bounce_lock makes that one step, so that two threads can write to different bytes of one
 * block. A device that hands its calls to another one (any_align) leaves the bounce to that one:
 * then one lock covers a block, however many slices meet in it.
 */
#include "device/dev.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_int.h"

#define BOUNCE_BYTES MIB
#define MEMORY_ALIGN_BYTES 4096 /* what mem_alloc_direct gives; no device asks memory for more */

int dev_init(struct dev *d, const struct dev_ops *ops, const char *name, struct err *e)
{
	memset(d, 0, sizeof(*d));
	d->name = strdup(name);
	if (d->name == NULL)
		return err_nomem(e);
	pthread_mutex_init(&d->bounce_lock, NULL);
	d->ops = ops;
	d->info.logical_bytes = 512;
	d->info.physical_bytes = 512;
	d->info.align_bytes = 1;
	return 0;
}

void dev_fini(struct dev *d)
{
	pthread_mutex_destroy(&d->bounce_lock);
	free(d->name);
	d->name = NULL;
}

void dev_close(struct dev *d)
{
	if (d != NULL)
		d->ops->close(d);
}

const struct dev_info *dev_info(const struct dev *d)
{
	return &d->info;
}

const char *dev_name(const struct dev *d)
{
	return d->name;
}

/* A file may be growing in another thread. */
uint64_t dev_size(const struct dev *d)
{
	return __atomic_load_n(&d->info.size_bytes, __ATOMIC_RELAXED);
}

void dev_resized(struct dev *d, uint64_t size)
{
	__atomic_store_n(&d->info.size_bytes, size, __ATOMIC_RELAXED);
}

void dev_grew(struct dev *d, uint64_t end)
{
	uint64_t size = dev_size(d);

	if (!d->info.can_grow)
		return;
	while (end > size &&
		!__atomic_compare_exchange_n(&d->info.size_bytes, &size, end, true,
			__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

int dev_io_failed(const struct dev *d, bool write, uint64_t off, int sys, struct err *e)
{
	/* What Linux calls a medium error of a disk (block/blk-core.c, BLK_STS_MEDIUM); "No data
	 * available" would tell nobody that a sector is bad. */
	if (sys == ENODATA)
		sys = EIO;
	return err_set(e, write ? ERR_TARGET : ERR_SOURCE, sys, "%s %s at %" PRIu64,
		write ? "write" : "read", d->name, off);
}

int dev_ended(const struct dev *d, uint64_t off, struct err *e)
{
	return err_set(e, ERR_SOURCE, 0, "read %s at %" PRIu64 ": the data ends there", d->name,
		off);
}

int dev_check(const struct dev *d, bool write, uint64_t off, uint64_t len, struct err *e)
{
	const enum err_code code = write ? ERR_TARGET : ERR_SOURCE;
	uint64_t end;

	if (write && (!d->info.writable || d->ops->write == NULL))
		return err_set(e, code, 0, "write %s at %" PRIu64 ": open for reading only",
			d->name, off);
	if (!add_u64(off, len, &end) || end > INT64_MAX)
		return err_set(e, code, 0, "%s %s at %" PRIu64 ": no such offset",
			write ? "write" : "read", d->name, off);
	if (d->info.sequential || (write && d->info.can_grow) || end <= dev_size(d))
		return 0;
	return err_set(e, code, 0,
		"%s %s at %" PRIu64 ": %" PRIu64 " bytes reach past the end at %" PRIu64,
		write ? "write" : "read", d->name, off, len, dev_size(d));
}

bool dev_aligned(const struct dev *d, uint64_t off, const void *buf, uint64_t len)
{
	const uint64_t align = d->info.align_bytes;

	return align <= 1 ||
		(((off | len) & (align - 1)) == 0 &&
			((uintptr_t)buf & (min_u64(align, MEMORY_ALIGN_BYTES) - 1)) == 0);
}

static bool passes(const struct dev *d, uint64_t off, const void *buf, uint64_t len)
{
	return d->ops->any_align || dev_aligned(d, off, buf, len);
}

/* A bounce buffer for a call of this extent: whole blocks, at most about BOUNCE_BYTES. */
static uint8_t *bounce_new(const struct dev *d, uint64_t off, size_t len, size_t *window)
{
	const uint64_t align = d->info.align_bytes;
	uint64_t want = (off & (align - 1)) + min_u64(len, BOUNCE_BYTES);

	*window = (size_t)min_u64(align_up(want, align), max_u64(BOUNCE_BYTES, align));
	return mem_alloc_direct(*window);
}

static int read_bounced(struct dev *d, uint64_t off, uint8_t *buf, size_t len, struct err *e)
{
	const uint64_t align = d->info.align_bytes;
	size_t window;
	uint8_t *tmp = bounce_new(d, off, len, &window);
	int rc = 0;

	if (tmp == NULL)
		return err_nomem(e);
	while (rc == 0 && len > 0) {
		size_t skip = (size_t)(off & (align - 1));
		size_t n = (size_t)align_down(len, align);

		if (n > 0 && dev_aligned(d, off, buf, n)) {
			rc = d->ops->read(d, off, buf, n, e);
		} else {
			uint64_t base = off - skip;

			n = (size_t)min_u64(len, window - skip);
			rc = d->ops->read(d, base, tmp,
				(size_t)min_u64(align_up(skip + n, align), dev_size(d) - base), e);
			if (rc == 0)
				memcpy(buf, tmp + skip, n);
		}
		off += n;
		buf += n;
		len -= n;
	}
	free(tmp);
	return rc;
}

/* What is on the device of the block at `base`; zeros where there is nothing yet. */
static int read_old(struct dev *d, uint64_t base, uint8_t *block, struct err *e)
{
	const uint64_t align = d->info.align_bytes;
	uint64_t size = dev_size(d);

	memset(block, 0, align);
	if (base >= size)
		return 0;
	return d->ops->read(d, base, block, (size_t)min_u64(align, size - base), e);
}

/* Write n bytes that lie `skip` into the blocks at `base`, by way of tmp. */
static int write_window(struct dev *d, uint64_t base, size_t skip, const uint8_t *buf, size_t n,
	uint8_t *tmp, struct err *e)
{
	const uint64_t align = d->info.align_bytes;
	uint64_t end = base + skip + n;
	uint64_t last = align_down(end - 1, align);
	/* Whole blocks, but never past the end that the device has after this write. */
	uint64_t stop = min_u64(align_up(end, align), max_u64(end, dev_size(d)));
	int rc = 0;

	if (skip > 0)
		rc = read_old(d, base, tmp, e);
	if (rc == 0 && end < stop && (skip == 0 || last != base))
		rc = read_old(d, last, tmp + (last - base), e);
	if (rc < 0) {
		if (e != NULL && e->code == ERR_SOURCE)
			e->code = ERR_TARGET;
		return rc == -ERR_SOURCE ? -ERR_TARGET : rc;
	}
	memcpy(tmp + skip, buf, n);
	return d->ops->write(d, base, tmp, (size_t)(stop - base), e);
}

static int write_bounced(struct dev *d, uint64_t off, const uint8_t *buf, size_t len, struct err *e)
{
	const uint64_t align = d->info.align_bytes;
	size_t window;
	uint8_t *tmp = bounce_new(d, off, len, &window);
	int rc = 0;

	if (tmp == NULL)
		return err_nomem(e);
	pthread_mutex_lock(&d->bounce_lock);
	while (rc == 0 && len > 0) {
		size_t skip = (size_t)(off & (align - 1));
		size_t n = (size_t)align_down(len, align);

		if (n > 0 && dev_aligned(d, off, buf, n)) {
			rc = d->ops->write(d, off, buf, n, e);
		} else {
			n = (size_t)min_u64(len, window - skip);
			rc = write_window(d, off - skip, skip, buf, n, tmp, e);
		}
		if (rc == 0)
			dev_grew(d, off + n);
		off += n;
		buf += n;
		len -= n;
	}
	pthread_mutex_unlock(&d->bounce_lock);
	free(tmp);
	return rc;
}

int dev_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	int rc = dev_check(d, false, off, len, e);

	if (rc < 0 || len == 0)
		return rc;
	if (passes(d, off, buf, len))
		return d->ops->read(d, off, buf, len, e);
	return read_bounced(d, off, buf, len, e);
}

int dev_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	int rc = dev_check(d, true, off, len, e);

	if (rc < 0 || len == 0)
		return rc;
	if (!passes(d, off, buf, len))
		return write_bounced(d, off, buf, len, e);
	rc = d->ops->write(d, off, buf, len, e);
	if (rc == 0)
		dev_grew(d, off + len);
	return rc;
}

int dev_flush(struct dev *d, bool metadata, struct err *e)
{
	if (!d->info.writable || d->ops->flush == NULL)
		return 0;
	return d->ops->flush(d, metadata, e);
}

/* The unit in which a device discards and zeroes. */
static uint64_t unit_of(const struct dev *d)
{
	if (d->ops->any_align)
		return 1;
	return d->info.block_device ? max_u64(d->info.align_bytes, d->info.logical_bytes)
				    : d->info.align_bytes;
}

int dev_discard(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	const uint64_t unit = unit_of(d);
	int rc = dev_check(d, true, off, len, e);
	uint64_t end = off + len;

	if (rc < 0)
		return rc;
	if (d->ops->discard == NULL)
		return err_set(e, ERR_TARGET, 0, "discard %s: not possible on this device",
			d->name);
	/* Past the end of a file that could grow there is nothing to discard. */
	end = min_u64(end, dev_size(d));
	/* Whole units only: what lies around them is not to be lost, and may as well stay. */
	if (end < dev_size(d) || d->info.block_device)
		end = align_down(end, unit);
	off = align_up(off, unit);
	return off >= end ? 0 : d->ops->discard(d, off, end - off, e);
}

int dev_write_zeros(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	size_t size = (size_t)min_u64(len, BOUNCE_BYTES);
	uint8_t *zeros = mem_alloc_direct(size);
	int rc = 0;

	if (zeros == NULL)
		return err_nomem(e);
	memset(zeros, 0, size);
	while (rc == 0 && len > 0) {
		/* The first piece ends on a multiple of the piece size: the rest is aligned. */
		size_t n = (size_t)min_u64(len, BOUNCE_BYTES - off % BOUNCE_BYTES);

		rc = dev_write(d, off, zeros, n, e);
		off += n;
		len -= n;
	}
	free(zeros);
	return rc;
}

/* Zeros inside the device: whole units by the device itself, the edges written. */
static int zero_inside(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	const uint64_t unit = unit_of(d);
	uint64_t end = off + len;
	uint64_t from = min_u64(align_up(off, unit), end);
	uint64_t to = end == dev_size(d) ? end : max_u64(align_down(end, unit), from);
	int rc = 0;

	if (d->ops->zero == NULL)
		return dev_write_zeros(d, off, len, e);
	if (from > off)
		rc = dev_write_zeros(d, off, from - off, e);
	if (rc == 0 && to > from)
		rc = d->ops->zero(d, from, to - from, e);
	if (rc == 0 && end > to)
		rc = dev_write_zeros(d, to, end - to, e);
	return rc;
}

int dev_zero(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	int rc = dev_check(d, true, off, len, e);
	uint64_t inside;

	if (rc < 0 || len == 0)
		return rc;
	if (d->info.sequential)
		return dev_write_zeros(d, off, len, e);
	inside = off < dev_size(d) ? min_u64(len, dev_size(d) - off) : 0;
	if (inside > 0)
		rc = zero_inside(d, off, inside, e);
	/* Past the end of a file that can grow: what it grows by reads as zeros. */
	if (rc == 0 && inside < len)
		rc = dev_set_size(d, off + len, e);
	return rc;
}

int dev_extent(struct dev *d, uint64_t off, uint64_t len, struct dev_extent *x, struct err *e)
{
	int rc = dev_check(d, false, off, len, e);

	if (rc < 0)
		return rc;
	*x = (struct dev_extent){ DEV_EXTENT_DATA, len };
	return d->ops->extent != NULL && len > 0 ? d->ops->extent(d, off, len, x, e) : 0;
}

int dev_set_sector_bytes(struct dev *d, uint32_t sector_bytes, struct err *e)
{
	if (d->info.block_device)
		return err_set(e, ERR_USAGE, 0, "%s says itself how long its sectors are", d->name);
	if (!is_power_of_two(sector_bytes) || sector_bytes < 512 || sector_bytes > 64 * KIB)
		return err_set(e, ERR_USAGE, 0, "%" PRIu32 " is no length of a sector",
			sector_bytes);
	d->info.logical_bytes = sector_bytes;
	d->info.physical_bytes = sector_bytes;
	return 0;
}

int dev_set_size(struct dev *d, uint64_t size, struct err *e)
{
	int rc = dev_check(d, true, 0, 0, e);

	if (rc < 0)
		return rc;
	if (d->ops->set_size == NULL)
		return err_set(e, ERR_TARGET, 0, "set the size of %s: it has a fixed size",
			d->name);
	if (size > INT64_MAX)
		return err_set(e, ERR_TARGET, 0, "set the size of %s: too large", d->name);
	rc = d->ops->set_size(d, size, e);
	if (rc == 0)
		dev_resized(d, size);
	return rc;
}

int dev_fd(const struct dev *d, uint64_t *base)
{
	*base = 0;
	return d->ops->fd == NULL ? -1 : d->ops->fd(d, base);
}
