/* Which table, and what holds for all of them: places of partitions, order, memory. */
#include "disk/disk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/disk_int.h"

const char *disk_table_word(enum disk_table t)
{
	static const char *const words[] = { "none", "dos", "gpt" };

	return words[t];
}

int disk_sector(struct dev *d, const struct disk *disk, uint64_t lba, uint8_t *buf, struct err *e)
{
	uint64_t off;

	if (!mul_u64(lba, disk->sector_bytes, &off) ||
		!range_inside(off, disk->sector_bytes, disk->size_bytes))
		return err_set(e, ERR_REFUSED, 0,
			"%s: the partition table points to sector %" PRIu64 ", past the end",
			dev_name(d), lba);
	return dev_read(d, off, buf, disk->sector_bytes, e);
}

struct disk_part *disk_add_part(struct disk *disk, struct err *e)
{
	if (disk->part_count == DISK_MAX_PARTS) {
		err_set(e, ERR_REFUSED, 0, "the partition table has more than %d partitions",
			DISK_MAX_PARTS);
		return NULL;
	}
	return &disk->parts[disk->part_count++];
}

int disk_add_region(struct disk *disk, uint64_t off, uint64_t len, struct err *e)
{
	if (disk->region_count == DISK_MAX_REGIONS)
		return err_set(e, ERR_REFUSED, 0, "the partition table has more than %d parts",
			DISK_MAX_REGIONS);
	disk->regions[disk->region_count++] = (struct disk_region){ .off = off, .len = len };
	return 0;
}

void disk_note(struct disk *disk, const char *fmt, ...)
{
	size_t used = strlen(disk->note);
	va_list args;

	if (used > 0)
		used += (size_t)snprintf(disk->note + used, sizeof(disk->note) - used, "; ");
	if (used >= sizeof(disk->note))
		return;
	va_start(args, fmt);
	vsnprintf(disk->note + used, sizeof(disk->note) - used, fmt, args);
	va_end(args);
}

/* ---- Places ---- */

static uint64_t part_end(const struct disk_part *p)
{
	return p->start_bytes + p->size_bytes;
}

static int refuse_part(const struct dev *d, const struct disk_part *p, const char *what,
	struct err *e)
{
	return err_set(e, ERR_REFUSED, 0,
		"%s: partition %" PRIu32 " (at %" PRIu64 ", %" PRIu64 " bytes) %s", dev_name(d),
		p->index, p->start_bytes, p->size_bytes, what);
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* Inside the disk, so that sums of places can't overflow from here on; clear of the table. */
static int check_place(const struct dev *d, const struct disk *disk, const struct disk_part *p,
	struct err *e)
{
	if (p->size_bytes == 0)
		return refuse_part(d, p, "is empty", e);
	if (!range_inside(p->start_bytes, p->size_bytes, disk->size_bytes))
		return refuse_part(d, p, "lies outside the disk", e);
	for (size_t i = 0; i < disk->region_count && !p->container; i++)
		if (overlap(p->start_bytes, p->size_bytes, disk->regions[i].off,
			    disk->regions[i].len))
			return refuse_part(d, p, "overlaps the partition table", e);
	return 0;
}

static int check_pair(const struct dev *d, const struct disk_part *a, const struct disk_part *b,
	struct err *e)
{
	char what[64];

	snprintf(what, sizeof(what), "overlaps partition %" PRIu32, a->index);
	if (a->container && b->logical)
		return b->start_bytes >= a->start_bytes && part_end(b) <= part_end(a)
			? 0
			: refuse_part(d, b, "lies outside the extended partition", e);
	return overlap(a->start_bytes, a->size_bytes, b->start_bytes, b->size_bytes)
		? refuse_part(d, b, what, e)
		: 0;
}

static int by_start(const void *a, const void *b)
{
	const struct disk_part *x = a, *y = b;

	if (x->start_bytes != y->start_bytes)
		return x->start_bytes < y->start_bytes ? -1 : 1;
	if (x->container != y->container)
		return x->container ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Every pair: at most 256 partitions, and no order of theirs can hide one from another. */
static int check_parts(const struct dev *d, struct disk *disk, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < disk->part_count && rc == 0; i++)
		rc = check_place(d, disk, &disk->parts[i], e);
	if (rc == 0)
		qsort(disk->parts, disk->part_count, sizeof(*disk->parts), by_start);
	for (size_t i = 0; i < disk->part_count && rc == 0; i++)
		for (size_t k = i + 1; k < disk->part_count && rc == 0; k++)
			rc = check_pair(d, &disk->parts[i], &disk->parts[k], e);
	return rc;
}

/* ---- Reading ---- */

static int read_table(struct dev *d, uint8_t *sector, struct disk *disk, struct err *e)
{
	int rc;

	if (disk->size_bytes < disk->sector_bytes)
		return 0;
	rc = disk_sector(d, disk, 0, sector, e);
	if (rc < 0 || get_le16(sector + MBR_SIGNATURE_OFF) != 0xAA55)
		return rc;
	if (mbr_is_protective(sector))
		rc = disk_read_gpt(d, disk, e);
	else if (mbr_is_table(sector))
		rc = disk_read_mbr(d, sector, disk, e);
	return rc < 0 ? rc : check_parts(d, disk, e);
}

int disk_read(struct dev *d, struct disk **out, struct err *e)
{
	uint32_t sector_bytes = dev_info(d)->logical_bytes;
	struct disk *disk;
	uint8_t *sector;
	int rc;

	*out = NULL;
	if (!is_power_of_two(sector_bytes) || sector_bytes < 512 || sector_bytes > 64 * KIB)
		return err_set(e, ERR_REFUSED, 0, "%s: sectors of %" PRIu32 " bytes", dev_name(d),
			sector_bytes);
	disk = calloc(1, sizeof(*disk));
	sector = malloc(sector_bytes);
	if (disk == NULL || sector == NULL) {
		rc = err_nomem(e);
	} else {
		disk->sector_bytes = sector_bytes;
		disk->size_bytes = dev_size(d);
		rc = read_table(d, sector, disk, e);
	}
	free(sector);
	if (rc < 0)
		free(disk);
	else
		*out = disk;
	return rc;
}
