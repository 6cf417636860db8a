/*
 * The MBR: four entries of 16 bytes at 446 (boot indicator, type at 4, first sector at 8, sectors
 * at 12, both little-endian), disk signature at 440, 55 AA at 510 (UEFI specification 2.10, 5.2.1).
 * An extended partition (types 05, 0F, 85) begins with an EBR, a sector of the same form: its first
 * entry is a logical partition, counted from this EBR; its second the next EBR, counted from the
 * beginning of the extended partition. A chain of them, so it is followed with a budget.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/disk_int.h"

#define ENTRIES_OFF 446
#define ENTRY_BYTES 16
#define ENTRY_COUNT 4
#define DISK_ID_OFF 440
#define TYPE_PROTECTIVE 0xEE
#define FIRST_LOGICAL 5

struct mbr_entry {
	uint8_t boot;
	uint8_t type;
	uint32_t first; /* sectors */
	uint32_t count;
};

static struct mbr_entry entry_at(const uint8_t *sector, unsigned i)
{
	const uint8_t *p = sector + ENTRIES_OFF + (size_t)i * ENTRY_BYTES;

	return (struct mbr_entry){
		.boot = p[0],
		.type = p[4],
		.first = get_le32(p + 8),
		.count = get_le32(p + 12),
	};
}

bool mbr_is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0F || type == 0x85;
}

/* Type 0 or no sectors: fdisk and Linux take either for an unused entry. */
static bool is_used(struct mbr_entry m)
{
	return m.type != 0 && m.count != 0;
}

/* It begins in sector 1 (5.2.3); boot code of a file system may have the type's byte by chance. */
bool mbr_is_protective(const uint8_t *sector)
{
	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct mbr_entry m = entry_at(sector, i);

		if (m.type == TYPE_PROTECTIVE && m.first == 1)
			return true;
	}
	return false;
}

/*
 * Boot sectors of FAT, exFAT and NTFS have the same signature, and anything where the entries
 * would be. FAT: sector size at 11, sectors per cluster at 13, number of FATs at 16, media at 21
 * (Microsoft FAT specification, section 3).
 */
static bool is_file_system(const uint8_t *s)
{
	uint16_t sector = get_le16(s + 11);

	if (memcmp(s + 3, "NTFS    ", 8) == 0 || memcmp(s + 3, "EXFAT   ", 8) == 0 ||
		memcmp(s + 3, "-FVE-FS-", 8) == 0)
		return true;
	if (memcmp(s + 54, "FAT", 3) != 0 && memcmp(s + 82, "FAT32", 5) != 0)
		return false;
	return sector >= 512 && sector <= 4096 && is_power_of_two(sector) &&
		is_power_of_two(s[13]) && (s[16] == 1 || s[16] == 2) &&
		(s[21] == 0xF0 || s[21] >= 0xF8);
}

bool mbr_is_table(const uint8_t *sector)
{
	bool used = false;

	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct mbr_entry m = entry_at(sector, i);

		if (m.boot != 0 && m.boot != 0x80)
			return false;
		used = used || is_used(m);
	}
	return used && !is_file_system(sector);
}

static struct disk_part *add(struct disk *disk, struct mbr_entry m, uint64_t from, struct err *e)
{
	struct disk_part *p = disk_add_part(disk, e);

	if (p == NULL)
		return NULL;
	/* 34 bits of sectors (a base and an offset) of at most 64 KiB: far below 2^64. */
	p->start_bytes = (from + m.first) * disk->sector_bytes;
	p->size_bytes = (uint64_t)m.count * disk->sector_bytes;
	p->active = m.boot == 0x80;
	snprintf(p->type, sizeof(p->type), "0x%x", m.type);
	return p;
}

/* Was this EBR seen before? The chain then has no end. */
static bool seen(const struct disk *disk, uint64_t off)
{
	for (size_t i = 0; i < disk->region_count; i++)
		if (disk->regions[i].off == off)
			return true;
	return false;
}

/*
 * The entries of an EBR: at most one partition and one link. Readers differ in what they make of
 * more, and what one of them leaves out would be in no image.
 */
static int take_ebr(const struct dev *d, struct disk *disk, uint64_t base, uint64_t lba,
	const uint8_t *sector, uint64_t *next, struct err *e)
{
	bool found = false;

	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct mbr_entry m = entry_at(sector, i);
		bool link = mbr_is_extended(m.type);
		struct disk_part *p;

		if (!is_used(m))
			continue;
		if (link ? *next != 0 : found)
			return err_set(e, ERR_REFUSED, 0,
				"%s: the table at sector %" PRIu64 " has a second %s", dev_name(d),
				lba, link ? "link" : "logical partition");
		if (link) {
			*next = base + m.first;
			continue;
		}
		p = add(disk, m, lba, e);
		if (p == NULL)
			return -ERR_REFUSED;
		p->logical = true;
		found = true;
	}
	return 0;
}

/* The EBR at `lba`: its partition, if it has one, and where the next EBR is (0: no more). */
static int read_ebr(struct dev *d, struct disk *disk, uint64_t base, uint64_t lba, uint8_t *sector,
	uint64_t *next, struct err *e)
{
	int rc = disk_sector(d, disk, lba, sector, e);

	*next = 0;
	if (rc < 0)
		return rc;
	if (get_le16(sector + MBR_SIGNATURE_OFF) != 0xAA55)
		return err_set(e, ERR_REFUSED, 0,
			"%s: the extended partition has no table at sector %" PRIu64, dev_name(d),
			lba);
	rc = disk_add_region(disk, lba * disk->sector_bytes, disk->sector_bytes, e);
	return rc < 0 ? rc : take_ebr(d, disk, base, lba, sector, next, e);
}

static int read_chain(struct dev *d, struct disk *disk, const struct disk_part *container,
	uint8_t *sector, struct err *e)
{
	uint64_t base = container->start_bytes / disk->sector_bytes;
	uint64_t end = base + container->size_bytes / disk->sector_bytes;
	uint64_t lba = base, next;
	uint32_t index = FIRST_LOGICAL;

	do {
		size_t before = disk->part_count;
		int rc;

		if (lba < base || lba >= end)
			return err_set(e, ERR_REFUSED, 0,
				"%s: partition %" PRIu32 ": its table at sector %" PRIu64
				" lies outside the extended partition",
				dev_name(d), index, lba);
		if (seen(disk, lba * disk->sector_bytes))
			return err_set(e, ERR_REFUSED, 0,
				"%s: partition %" PRIu32
				": the chain of tables comes back to sector %" PRIu64,
				dev_name(d), index, lba);
		rc = read_ebr(d, disk, base, lba, sector, &next, e);
		if (rc < 0)
			return rc;
		/* A link without a partition does not count, as in fdisk and Linux. */
		if (disk->part_count > before)
			disk->parts[before].index = index++;
		lba = next;
	} while (next != 0);
	return 0;
}

static int read_primaries(struct dev *d, const uint8_t *sector, struct disk *disk,
	size_t *container, struct err *e)
{
	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct mbr_entry m = entry_at(sector, i);
		struct disk_part *p;

		if (!is_used(m))
			continue;
		p = add(disk, m, 0, e);
		if (p == NULL)
			return -ERR_REFUSED;
		p->index = i + 1;
		p->container = mbr_is_extended(m.type);
		if (!p->container)
			continue;
		if (*container != SIZE_MAX)
			return err_set(e, ERR_REFUSED, 0,
				"%s: partition %u is a second extended partition", dev_name(d),
				i + 1);
		*container = disk->part_count - 1;
	}
	return 0;
}

int disk_read_mbr(struct dev *d, const uint8_t *sector, struct disk *disk, struct err *e)
{
	size_t container = SIZE_MAX;
	uint8_t *ebr;
	int rc;

	disk->table = DISK_MBR;
	snprintf(disk->id, sizeof(disk->id), "%08" PRIx32, get_le32(sector + DISK_ID_OFF));
	rc = disk_add_region(disk, 0, disk->sector_bytes, e);
	if (rc == 0)
		rc = read_primaries(d, sector, disk, &container, e);
	if (rc < 0 || container == SIZE_MAX)
		return rc;
	ebr = malloc(disk->sector_bytes);
	if (ebr == NULL)
		return err_nomem(e);
	rc = read_chain(d, disk, &disk->parts[container], ebr, e);
	free(ebr);
	return rc;
}
