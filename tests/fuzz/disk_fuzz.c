/*
 * Partition tables of any bytes: no crash, no endless chain; and what is taken keeps the promises
 * of disk.h: partitions lie in the disk, in order, clear of each other and of the table.
 *
 * The input is the beginning of a disk of 64 KiB; its first byte chooses the sector size and
 * whether the last sector is a copy of sector 1. Checksums of a GPT are made right, or nothing
 * would get past them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/disk.h"

#define DISK_BYTES ((size_t)64 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

static uint32_t crc32_of(const uint8_t *p, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320U : 0);
	}
	return ~crc;
}

static void mend_gpt(uint8_t *disk, size_t sector)
{
	uint8_t *h = disk + sector;
	uint64_t off = get_le64(h + 72), count = get_le32(h + 80), bytes = get_le32(h + 84);
	uint64_t len = count * bytes;

	if (memcmp(h, "EFI PART", 8) != 0 || off > DISK_BYTES / sector || count > 1024 ||
		bytes > 4096 || len > DISK_BYTES - off * sector)
		return;
	put_le32(h + 88, crc32_of(disk + off * sector, (size_t)len));
	put_le32(h + 16, 0);
	put_le32(h + 16, crc32_of(h, get_le32(h + 12) <= sector ? get_le32(h + 12) : sector));
}

static uint64_t end_of(const struct disk_part *p)
{
	return p->start_bytes + p->size_bytes;
}

static void check_part(const struct disk *disk, size_t i)
{
	const struct disk_part *p = &disk->parts[i];

	must(p->size_bytes > 0 && p->index > 0);
	must(range_inside(p->start_bytes, p->size_bytes, DISK_BYTES));
	must(memchr(p->name, 0, sizeof(p->name)) != NULL);
	for (size_t k = 0; k < i; k++) {
		const struct disk_part *q = &disk->parts[k];

		must(q->start_bytes <= p->start_bytes && q->index != p->index);
		must(end_of(q) <= p->start_bytes ||
			(q->container && p->logical && end_of(p) <= end_of(q)));
	}
	for (size_t k = 0; k < disk->region_count && !p->container; k++)
		must(disk->regions[k].off + disk->regions[k].len <= p->start_bytes ||
			disk->regions[k].off >= end_of(p));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = calloc(1, DISK_BYTES);
	struct disk *disk = NULL;
	struct dev *d = NULL;
	struct err e = { 0 };
	size_t sector = size > 0 && (data[0] & 1) ? 4096 : 512;
	int rc;

	must(bytes != NULL);
	if (size > 1)
		memcpy(bytes, data + 1, min_u64(size - 1, DISK_BYTES));
	mend_gpt(bytes, sector);
	if (size > 0 && (data[0] & 2))
		memcpy(bytes + DISK_BYTES - sector, bytes + sector, sector);
	must(dev_open_mem(bytes, DISK_BYTES, &d, &e) == 0);
	must(dev_set_sector_bytes(d, (uint32_t)sector, &e) == 0);
	rc = disk_read(d, &disk, &e);
	must(rc == 0 || (rc == -ERR_REFUSED && e.msg[0] != 0 && disk == NULL));
	for (size_t i = 0; disk && i < disk->part_count; i++)
		check_part(disk, i);
	free(disk);
	dev_close(d);
	free(bytes);
	return 0;
}
