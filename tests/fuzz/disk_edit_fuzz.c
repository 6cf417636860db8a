/*
 * Tables of any bytes, changed and written: no crash and no endless chain; and a table that
 * disk_read takes is one that it takes again after it went to a larger disk, with the same
 * partitions.
 *
 * The input is the beginning of a disk of 64 KiB; its first byte chooses the sector size and what
 * is changed. Checksums of a GPT are made right, or nothing would get past them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/disk.h"
#include "disk/disk_edit.h"
#include "disk/disk_int.h"

#define DISK_BYTES ((size_t)64 * 1024)
#define TARGET_BYTES ((size_t)192 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

static void mend_gpt(uint8_t *disk, size_t sector)
{
	uint8_t *h = disk + sector;
	uint64_t off = get_le64(h + 72), count = get_le32(h + 80), bytes = get_le32(h + 84);
	uint64_t len = count * bytes;

	if (memcmp(h, "EFI PART", 8) != 0 || off > DISK_BYTES / sector || count > 1024 ||
		bytes > 4096 || len > DISK_BYTES - off * sector)
		return;
	put_le32(h + 88, disk_crc32(disk + off * sector, (size_t)len));
	put_le32(h + 16, 0);
	put_le32(h + 16, disk_crc32(h, get_le32(h + 12) <= sector ? get_le32(h + 12) : sector));
}

/* The areas lie on the disk and are clear of each other. */
static void check_areas(const struct disk_edit *t, uint64_t size)
{
	for (size_t i = 0; i < disk_edit_area_count(t); i++) {
		struct disk_area a = disk_edit_area_at(t, i);

		must(range_inside(a.off, a.len, size));
		for (size_t k = 0; k < i; k++) {
			struct disk_area b = disk_edit_area_at(t, k);

			must(a.off + a.len <= b.off || b.off + b.len <= a.off);
		}
	}
}

/* What disk_read took before, it takes on the target; NULL before: it did not. */
static void check_again(struct dev *target, const struct disk *before, bool grown)
{
	struct disk *after = NULL;

	if (before == NULL || before->table == DISK_NONE)
		return;
	must(disk_read(target, &after, NULL) == 0);
	must(after->table == before->table && after->part_count == before->part_count);
	for (size_t i = 0; i < before->part_count; i++) {
		const struct disk_part *x = &before->parts[i], *y = &after->parts[i];

		must(x->index == y->index && x->start_bytes == y->start_bytes);
		must(x->size_bytes == y->size_bytes || (grown && x->size_bytes < y->size_bytes));
		must(strcmp(x->type, y->type) == 0 && strcmp(x->name, y->name) == 0);
		must(x->attributes == y->attributes && x->active == y->active);
	}
	free(after);
}

static void change(struct disk_edit *t, struct dev *source, const struct disk *before, uint8_t how)
{
	uint32_t sector = dev_info(source)->logical_bytes;
	struct dev *target = NULL;
	struct disk_grown grown;
	struct err e;
	int rc;

	must(dev_open_mem(NULL, TARGET_BYTES, &target, &e) == 0);
	must(dev_set_sector_bytes(target, sector, &e) == 0);
	rc = disk_edit_fit(t, TARGET_BYTES, &e);
	if (rc == 0 && (how & 2))
		rc = disk_edit_new_ids(t, &e);
	if (rc == 0 && (how & 4))
		rc = disk_edit_grow_last(t, &grown, &e);
	if (rc == 0 && disk_edit_kind(t) != EDIT_NONE) {
		check_areas(t, TARGET_BYTES);
		must(disk_edit_write(t, target, &e) == 0);
		must(disk_edit_compare(t, target, &e) == 0);
		check_again(target, before, (how & 4) != 0);
	}
	dev_close(target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = calloc(1, DISK_BYTES);
	size_t sector = size > 0 && (data[0] & 1) ? 4096 : 512;
	struct disk_edit *t = NULL;
	struct disk *before = NULL;
	struct dev *d = NULL;
	struct err e;

	if (bytes == NULL || size == 0) {
		free(bytes);
		return 0;
	}
	memcpy(bytes, data + 1, size - 1 < DISK_BYTES ? size - 1 : DISK_BYTES);
	mend_gpt(bytes, sector);
	must(dev_open_mem(bytes, DISK_BYTES, &d, &e) == 0);
	must(dev_set_sector_bytes(d, (uint32_t)sector, &e) == 0);
	if (disk_read(d, &before, NULL) < 0)
		before = NULL;
	if (disk_edit_load(d, (uint32_t)sector, &t, &e) == 0) {
		check_areas(t, DISK_BYTES);
		change(t, d, before, data[0]);
		disk_edit_free(t);
	} else {
		must(e.code == ERR_DAMAGED);
	}
	free(before);
	dev_close(d);
	free(bytes);
	return 0;
}
