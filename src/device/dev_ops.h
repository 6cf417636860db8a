/*
 * For those who implement a device: embed `struct dev` first, fill it, point ops at a constant
 * table. dev.c checks ranges, alignment and direction before it calls an operation, so that an
 * operation sees only ranges inside the device, and for align_bytes > 1 only aligned ones: except
 * that a range up to the very end of a device may have an unaligned length when its size is so.
 */
#ifndef DEVICE_DEV_OPS_H
#define DEVICE_DEV_OPS_H

#include <pthread.h>

#include "device/dev.h"

struct dev_ops {
	const char *kind; /* "file", "block", "pipe", "slice", "mem", "fault", "image" */
	/* Unaligned calls are passed on as they are: for devices that only hand them to another. */
	bool any_align;
	/* Read all of [off, off + len). */
	int (*read)(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e);
	/* Write all of it; NULL on read-only kinds. */
	int (*write)(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e);
	/* May be NULL: nothing to flush. */
	int (*flush)(struct dev *d, bool metadata, struct err *e);
	/* May be NULL: cannot discard. */
	int (*discard)(struct dev *d, uint64_t off, uint64_t len, struct err *e);
	/* May be NULL: zeros are written. */
	int (*zero)(struct dev *d, uint64_t off, uint64_t len, struct err *e);
	/* As dev_extent, len at least 1. May be NULL: all is data. */
	int (*extent)(struct dev *d, uint64_t off, uint64_t len, struct dev_extent *x,
		struct err *e);
	/* May be NULL: the size is fixed. */
	int (*set_size)(struct dev *d, uint64_t size, struct err *e);
	/* May be NULL: no descriptor. */
	int (*fd)(const struct dev *d, uint64_t *base);
	/* Free everything, the struct too. */
	void (*close)(struct dev *d);
};

struct dev {
	const struct dev_ops *ops;
	struct dev_info info;
	char *name; /* made by dev_init, freed by dev_fini */
	/* Makes the read, change and write of an unaligned write one step. */
	pthread_mutex_t bounce_lock;
};

/* Set name (copied), ops and neutral info: 512-byte sectors, alignment 1. */
int dev_init(struct dev *d, const struct dev_ops *ops, const char *name, struct err *e);

/* Free what dev_init made; each close operation calls it last before freeing its own struct. */
void dev_fini(struct dev *d);

#endif
