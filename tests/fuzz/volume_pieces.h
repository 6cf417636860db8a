/*
 * For the fuzz targets of file systems: an input is a volume without its empty parts, so that a
 * seed is small and a change of it likely to hit something. 2 bytes (LE) device size in units of
 * 4 KiB; then pieces: 2 bytes first sector, 1 byte count - 1, 1 byte kind (0: count sectors of 512
 * bytes follow; 1: one byte follows that fills them). tests/fuzz/fs_ntfs_seed.lua makes it from a
 * volume.
 */
#ifndef TESTS_FUZZ_VOLUME_PIECES_H
#define TESTS_FUZZ_VOLUME_PIECES_H

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/dev.h"
#include "fs/fs_ops.h"

static inline void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

/* Put a piece on the device; returns how much of the input it was, 0 at the end. */
static inline size_t put_piece(struct dev *d, const uint8_t *p, size_t left)
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

/*
 * The volume of an input, at most max_bytes long; NULL when there is none. A sparse file in memory:
 * the device's own memory would be cleared each time, which for most of a volume is in vain.
 */
static inline struct dev *volume_of(const uint8_t *data, size_t size, uint64_t max_bytes)
{
	struct dev *d;
	size_t at = 2, used;
	int fd;

	if (size < 2)
		return NULL;
	fd = memfd_create("volume", MFD_CLOEXEC);
	must(fd >= 0);
	must(ftruncate(fd, (off_t)min_u64((uint64_t)get_le16(data) * 4096, max_bytes)) == 0);
	must(dev_open_fd(fd, "volume", true, &d, NULL) == 0);
	while ((used = put_piece(d, data + at, size - at)) > 0)
		at += used;
	return d;
}

/* The row's map of a device, which covers it; NULL when it was refused, with a reason. */
static inline struct map *map_by_row(const struct fs_ops *row, struct dev *d, struct fs_report *r)
{
	struct map *m = map_new_full(dev_size(d));
	struct err e = { 0 };
	int rc;

	must(m != NULL);
	rc = row->map(d, m, r, &e);
	must(memchr(r->note, '\0', sizeof(r->note)) != NULL);
	if (rc == 0) {
		must(map_bytes(m, MAP_DATA) + map_bytes(m, MAP_FREE) == dev_size(d));
		return m;
	}
	must(rc == -e.code && e.msg[0] != '\0');
	map_free(m);
	return NULL;
}

struct listing {
	uint64_t unit;
	struct map *chosen;
};

/* What is listed is inside the map's data, in whole units, and its claims can be counted. */
static inline int check_file(void *user, const struct fs_file *f, struct err *e)
{
	struct listing *l = user;
	uint64_t end = 0;

	(void)e;
	must(f->path[0] == '/' && strlen(f->path) <= FS_FILES_MAX_PATH);
	must(memchr(f->kept, '\0', sizeof(f->kept)) != NULL);
	must(f->range_count == 0 || f->kept[0] == '\0');
	for (size_t i = 0; i < f->range_count; i++) {
		struct extent x = f->ranges[i];

		must(x.len > 0 && x.off % l->unit == 0 && x.len % l->unit == 0);
		must(i == 0 || x.off > end);
		end = x.off + x.len;
		must(end <= map_size(l->chosen));
		must(map_set(l->chosen, x.off, x.len, MAP_ZERO, NULL) == 0);
	}
	return 0;
}

/* The row's files and claims, once it has made a map. */
static inline void list_by_row(const struct fs_ops *row, struct dev *d, uint64_t unit)
{
	struct listing l = { unit, map_new(dev_size(d)) };
	struct err e = { 0 };
	uint64_t bytes = 0;
	int rc;

	must(l.chosen != NULL);
	rc = row->files(d, true, check_file, &l, &e);
	must(rc == 0 || (rc == -e.code && e.msg[0] != '\0'));
	if (rc == 0) {
		rc = row->claims(d, l.chosen, &bytes, &e);
		/* At least once, by the files that were listed. */
		must(rc == -e.code || (rc == 0 && bytes >= map_bytes(l.chosen, MAP_ZERO)));
	}
	map_free(l.chosen);
}

#endif
