/*
 * struct dev: bytes at offsets. A file, a block device, a pipe, a window on another device, memory,
 * a faulty disk, and (in format/) an image: whoever holds one needs to know nothing else.
 *
 * A device is owned by whoever opened it and closed with dev_close. dev_read and dev_write may be
 * called from many threads at once (not on a pipe). Offsets, lengths and buffers may be unaligned:
 * a device that needs alignment (O_DIRECT) bounces them; aligned calls are faster. Errors name the
 * device and the offset; reading fails with ERR_SOURCE, writing with ERR_TARGET.
 */
#ifndef DEVICE_DEV_H
#define DEVICE_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct dev;

struct dev_info {
	uint64_t size_bytes;	/* what dev_size returns; 0 for a pipe being written */
	uint32_t logical_bytes; /* logical sector size; 512 for plain files unless said */
	uint32_t physical_bytes;
	uint32_t align_bytes; /* offsets, lengths and memory that need no bounce; at least 1 */
	bool writable;
	bool sequential;   /* a pipe: reads and writes must ascend without gaps */
	bool block_device; /* a real block device, not a file or a composed one */
	bool can_discard;  /* dev_discard may work */
	bool can_grow;	   /* a regular file: writing past the end extends it */
	bool rotational;   /* a disk with seek costs */
};

enum dev_flags {
	DEV_WRITE = 1 << 0,	/* open for reading and writing; without it read-only (R1) */
	DEV_DIRECT = 1 << 1,	/* try O_DIRECT; falls back to buffered where refused */
	DEV_EXCLUSIVE = 1 << 2, /* block devices: O_EXCL, fails with ERR_BUSY when held */
	DEV_CREATE = 1 << 3,	/* create a regular file; must not exist yet (O_EXCL) */
	DEV_TRUNCATE = 1 << 4,	/* with DEV_WRITE: cut an existing regular file to 0 */
};

/*
 * Open a regular file or block device, by what it is; anything else is refused (ERR_USAGE).
 * For a block device opened without DEV_DIRECT the page cache is used.
 */
int dev_open(const char *path, unsigned flags, struct dev **out, struct err *e);

/* A device on an open descriptor (file or block device), which is taken over, also on failure. */
int dev_open_fd(int fd, const char *name, bool writable, struct dev **out, struct err *e);

/*
 * A pipe, socket or terminal, sequential: fd is taken over, also on failure. `writable` says the
 * direction. A read before the end that comes short waits for more; dev_info size is 0. The program
 * must ignore SIGPIPE, or a reader that went away ends it.
 */
int dev_open_pipe(int fd, const char *name, bool writable, struct dev **out, struct err *e);

/* [off, off + len) of `under`, which stays the caller's and must outlive the slice. */
int dev_open_slice(struct dev *under, uint64_t off, uint64_t len, struct dev **out, struct err *e);

/* A part of another device, laid at `off` of a composed one. */
struct dev_segment {
	uint64_t off, len;
	struct dev *under; /* stays the caller's, and must outlive the composed device */
	uint64_t under_off;
};

/*
 * A read-only device of `size` bytes made of parts, such as a disk of its table and its partitions.
 * The segments ascend and do not overlap (ERR_USAGE otherwise); between them it is free and reads
 * as zeros. They are copied.
 */
int dev_open_compose(const char *name, uint64_t size, const struct dev_segment *s, size_t count,
	struct dev **out, struct err *e);

/* Zeroed memory of a fixed size; with `bytes` not NULL, a copy of them. */
int dev_open_mem(const void *bytes, size_t len, struct dev **out, struct err *e);

void dev_close(struct dev *d); /* NULL is fine; does not flush */

/* Borrowed, valid as long as the device. */
const struct dev_info *dev_info(const struct dev *d);
const char *dev_name(const struct dev *d);
uint64_t dev_size(const struct dev *d);

/* The whole range or an error: a short read or a range past the end is an error. */
int dev_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e);
int dev_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e);

/*
 * A hint: the range will be read soon. The system may begin to read it while the caller does
 * something else; nothing is waited for, and nothing can fail. Of no use with DEV_DIRECT.
 */
void dev_will_read(struct dev *d, uint64_t off, uint64_t len);

/*
 * Make what was written durable. When `metadata` is false the size and times may be left to later
 * unless needed to read the data back (fdatasync).
 */
int dev_flush(struct dev *d, bool metadata, struct err *e);

/*
 * Discard: the content becomes undefined. Fails with ERR_TARGET when the device can't.
 * Zero: the range reads as zeros afterwards (hole punched, zeroed by the device, or written).
 */
int dev_discard(struct dev *d, uint64_t off, uint64_t len, struct err *e);
int dev_zero(struct dev *d, uint64_t off, uint64_t len, struct err *e);

/* What a device knows of a range without reading it. */
enum dev_extent_kind {
	DEV_EXTENT_DATA, /* to be read; also whatever is not known */
	DEV_EXTENT_ZERO, /* reads as zeros, which somebody wrote or a rule put there */
	DEV_EXTENT_FREE, /* reads as zeros, because nothing is there */
};

struct dev_extent {
	enum dev_extent_kind kind;
	uint64_t len; /* from the offset on; neighbours may be of the same kind */
};

/* What the bytes from `off` on are: x->len is from 1 to `len`, which must be inside the device. */
int dev_extent(struct dev *d, uint64_t off, uint64_t len, struct dev_extent *x, struct err *e);

/*
 * Say how long the sectors are of the disk whose bytes a file or memory holds, 512 to 65536. A
 * block device knows it itself, and refuses. For a device that nobody else uses yet: slices that
 * are opened later have it too.
 */
int dev_set_sector_bytes(struct dev *d, uint32_t sector_bytes, struct err *e);

/* Set the size of a regular file (or memory); others refuse. */
int dev_set_size(struct dev *d, uint64_t size, struct err *e);

/*
 * Have the kernel read the partition table of a block device again; fine where it never looks at
 * one. ERR_BUSY: one of the old partitions is in use.
 */
int dev_reread_table(struct dev *d, struct err *e);

/*
 * The descriptor under the device and where its byte 0 lies in it, for io_uring and libblkid; -1
 * when there is none (memory, faults, images): callers must then use dev_read and dev_write.
 */
int dev_fd(const struct dev *d, uint64_t *base);

#endif
