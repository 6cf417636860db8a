/*
 * The input of the fuzz targets that take a volume: one without its empty parts, so that a seed is
 * small and a change of it likely to hit something: 2 bytes (LE) device size in units of 4 KiB;
 * then pieces: 2 bytes first sector, 1 byte count - 1, 1 byte kind (0: count sectors of 512 bytes
 * follow; 1: one byte follows that fills them). tests/fuzz/fs_ntfs_seed.lua makes it from a volume.
 */
#ifndef TESTS_FUZZ_VOLUME_SEED_H
#define TESTS_FUZZ_VOLUME_SEED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev.h"

static inline void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

/* Put a piece on the device; returns how much of the input it was, 0 at the end. */
static inline size_t seed_put_piece(struct dev *d, const uint8_t *p, size_t left)
{
	uint8_t fill[512];
	uint64_t off;
	size_t count, used;

	if (left < 5)
		return 0;
	off = (uint64_t)get_le16(p) * 512;
	count = (size_t)p[2] + 1;
	used = p[3] == 0 ? count * 512 : 1;
	if (used > left - 4)
		return 0;
	memset(fill, p[4], sizeof(fill));
	for (size_t i = 0; i < count; i++)
		if (range_inside(off + i * 512, 512, dev_size(d)))
			must(dev_write(d, off + i * 512, p[3] == 0 ? p + 4 + i * 512 : fill, 512,
				     NULL) == 0);
	return 4 + used;
}

/* The device in memory of at most max_bytes; NULL: the input is none. */
static inline struct dev *seed_open(const uint8_t *data, size_t size, uint64_t max_bytes)
{
	struct dev *d = NULL;
	size_t at = 2, used;

	if (size < 2 ||
		dev_open_mem(NULL, (size_t)min_u64((uint64_t)get_le16(data) * 4096, max_bytes), &d,
			NULL) < 0)
		return NULL;
	while ((used = seed_put_piece(d, data + at, size - at)) > 0)
		at += used;
	return d;
}

#endif
