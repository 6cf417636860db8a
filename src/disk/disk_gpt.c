/*
 * The GPT (UEFI specification 2.10, 5.3): a header in sector 1 and an array of entries, and a copy
 * of both whose header is in the last sector. A copy counts when its signature, its checksums
 * (CRC-32, reflected 0xEDB88320) and its own place are right.
 *
 * Header: signature 0, size 12, its CRC 16 (taken with these four bytes zero), own sector 24, the
 * other's 32, first and last usable sector 40 and 48, disk GUID 56, sector of the array 72, number
 * 80 and size 84 of entries, CRC of the array 88. Entry: type GUID 0, own GUID 16, first and last
 * sector 32 and 40, attributes 48, name 56 (36 units of UTF-16).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/disk_int.h"

#define HEADER_LBA 1
#define HEADER_MIN_BYTES 92
#define ENTRY_MIN_BYTES 128
#define ENTRIES_MAX_BYTES (1 * MIB) /* 8192 entries; the usual 128 take 16 KiB */
#define NAME_OFF 56
#define NAME_UNITS 36

static const char signature[8] = "EFI PART";

struct gpt {
	bool valid;
	uint64_t lba, other_lba; /* of this header and of the other one */
	uint64_t first, last;	 /* usable sectors, both inclusive */
	uint64_t entries_lba;
	uint32_t entry_count, entry_bytes, entries_crc;
	uint8_t guid[16];
	uint8_t *entries; /* entry_count * entry_bytes */
};

uint32_t disk_crc32(const uint8_t *p, size_t len)
{
	uint32_t crc = UINT32_MAX;

	while (len-- > 0) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320U : 0);
	}
	return ~crc;
}

static uint64_t entries_bytes(const struct gpt *g)
{
	return (uint64_t)g->entry_count * g->entry_bytes;
}

static bool header_is_valid(uint8_t *h, uint64_t lba, uint32_t sector_bytes)
{
	uint32_t size = get_le32(h + 12), crc = get_le32(h + 16);

	if (memcmp(h, signature, sizeof(signature)) != 0 || size < HEADER_MIN_BYTES ||
		size > sector_bytes || get_le64(h + 24) != lba)
		return false;
	memset(h + 16, 0, 4);
	return disk_crc32(h, size) == crc;
}

/* The array; false when it is none, or not the one that the header means. */
static bool read_entries(struct dev *d, const struct disk *disk, struct gpt *g)
{
	uint64_t off, len = entries_bytes(g);

	if (g->entry_bytes < ENTRY_MIN_BYTES || !is_power_of_two(g->entry_bytes) || len == 0 ||
		len > ENTRIES_MAX_BYTES || !mul_u64(g->entries_lba, disk->sector_bytes, &off) ||
		!range_inside(off, len, disk->size_bytes))
		return false;
	g->entries = malloc(len);
	return g->entries != NULL && dev_read(d, off, g->entries, len, NULL) == 0 &&
		disk_crc32(g->entries, len) == g->entries_crc;
}

/* A copy that can't be read is no copy; the other one may be whole. */
static void read_copy(struct dev *d, const struct disk *disk, uint64_t lba, uint8_t *h,
	struct gpt *g)
{
	uint64_t sectors = disk->size_bytes / disk->sector_bytes;

	memset(g, 0, sizeof(*g));
	if (lba >= sectors || disk_sector(d, disk, lba, h, NULL) < 0 ||
		!header_is_valid(h, lba, disk->sector_bytes))
		return;
	g->lba = lba;
	g->other_lba = get_le64(h + 32);
	g->first = get_le64(h + 40);
	g->last = get_le64(h + 48);
	memcpy(g->guid, h + 56, sizeof(g->guid));
	g->entries_lba = get_le64(h + 72);
	g->entry_count = get_le32(h + 80);
	g->entry_bytes = get_le32(h + 84);
	g->entries_crc = get_le32(h + 88);
	g->valid = g->first > HEADER_LBA && g->first <= g->last && g->last < sectors &&
		read_entries(d, disk, g);
	if (!g->valid) {
		free(g->entries);
		g->entries = NULL;
	}
}

/* The first three groups of a GUID are little-endian (UEFI specification, appendix A). */
static void guid_text(const uint8_t *p, char out[40])
{
	snprintf(out, 40, "%08" PRIx32 "-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", get_le32(p),
		get_le16(p + 4), get_le16(p + 6), p[8], p[9], p[10], p[11], p[12], p[13], p[14],
		p[15]);
}

static size_t put_utf8(uint32_t c, char *out)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xC0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xE0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3F));
		out[2] = (char)(0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3F));
	out[2] = (char)(0x80 | (c >> 6 & 0x3F));
	out[3] = (char)(0x80 | (c & 0x3F));
	return 4;
}

/* At most 3 bytes for each unit, and a zero: 109. What is no character becomes U+FFFD. */
static void name_text(const uint8_t *p, char out[112])
{
	size_t n = 0;

	for (unsigned i = 0; i < NAME_UNITS; i++) {
		uint32_t c = get_le16(p + (size_t)i * 2);
		uint32_t low = i + 1 < NAME_UNITS ? get_le16(p + (size_t)i * 2 + 2) : 0;

		if (c == 0)
			break;
		if (c < ' ' || (c >= 0x7F && c < 0xA0)) {
			c = '?';
		} else if (c >= 0xD800 && c < 0xDC00 && low >= 0xDC00 && low < 0xE000) {
			c = 0x10000 + ((c - 0xD800) << 10 | (low - 0xDC00));
			i++;
		} else if (c >= 0xD800 && c < 0xE000) {
			c = 0xFFFD;
		}
		n += put_utf8(c, out + n);
	}
	out[n] = '\0';
}

static int add_entry(const struct dev *d, struct disk *disk, const struct gpt *g,
	const uint8_t *entry, uint32_t index, struct err *e)
{
	uint64_t first = get_le64(entry + 32), last = get_le64(entry + 40);
	struct disk_part *p;

	if (first > last || first < g->first || last > g->last)
		return err_set(e, ERR_REFUSED, 0,
			"%s: partition %" PRIu32 " (sectors %" PRIu64 " to %" PRIu64
			") lies outside the usable sectors %" PRIu64 " to %" PRIu64,
			dev_name(d), index, first, last, g->first, g->last);
	p = disk_add_part(disk, e);
	if (p == NULL)
		return -ERR_REFUSED;
	p->index = index;
	/* g->last lies on the disk: no overflow. */
	p->start_bytes = first * disk->sector_bytes;
	p->size_bytes = (last - first + 1) * disk->sector_bytes;
	guid_text(entry, p->type);
	guid_text(entry + 16, p->guid);
	p->attributes = get_le64(entry + 48);
	name_text(entry + NAME_OFF, p->name);
	return 0;
}

static int add_regions(struct disk *disk, const struct gpt *g, struct err *e)
{
	uint64_t len = align_up(entries_bytes(g), disk->sector_bytes);
	int rc;

	if (!g->valid)
		return 0;
	rc = disk_add_region(disk, g->lba * disk->sector_bytes, disk->sector_bytes, e);
	return rc < 0 ? rc : disk_add_region(disk, g->entries_lba * disk->sector_bytes, len, e);
}

static void note_copies(struct disk *disk, const struct gpt *primary, const struct gpt *backup)
{
	uint64_t last_lba = disk->size_bytes / disk->sector_bytes - 1;

	if (!primary->valid)
		disk_note(disk, "the primary GPT is damaged, the backup is used");
	else if (!backup->valid)
		disk_note(disk, "the backup GPT is damaged or missing");
	if (backup->valid && backup->lba != last_lba)
		disk_note(disk, "the backup GPT is not at the end of the disk");
	if (primary->valid && backup->valid &&
		(memcmp(primary->guid, backup->guid, sizeof(primary->guid)) != 0 ||
			primary->first != backup->first || primary->last != backup->last ||
			primary->entry_count != backup->entry_count ||
			primary->entry_bytes != backup->entry_bytes ||
			primary->entries_crc != backup->entries_crc))
		disk_note(disk, "the two copies of the GPT differ, the primary is used");
}

static int take(const struct dev *d, struct disk *disk, const struct gpt *primary,
	const struct gpt *backup, struct err *e)
{
	static const uint8_t unused[16];
	const struct gpt *g = primary->valid ? primary : backup;
	int rc = disk_add_region(disk, 0, disk->sector_bytes, e);

	disk->table = DISK_GPT;
	disk->primary_valid = primary->valid;
	disk->backup_valid = backup->valid;
	disk->first_usable_bytes = g->first * disk->sector_bytes;
	disk->end_usable_bytes = (g->last + 1) * disk->sector_bytes;
	guid_text(g->guid, disk->id);
	note_copies(disk, primary, backup);
	if (rc == 0)
		rc = add_regions(disk, primary, e);
	if (rc == 0)
		rc = add_regions(disk, backup, e);
	for (uint32_t i = 0; i < g->entry_count && rc == 0; i++) {
		const uint8_t *entry = g->entries + (size_t)i * g->entry_bytes;

		if (memcmp(entry, unused, sizeof(unused)) != 0)
			rc = add_entry(d, disk, g, entry, i + 1, e);
	}
	return rc;
}

/* No copy is whole. A disk of 4096-byte sectors that is read with 512 looks the same. */
static int no_copy(struct dev *d, const struct disk *disk, struct err *e)
{
	static const uint32_t sizes[] = { 512, 4096 };
	uint8_t head[sizeof(signature)];

	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		if (sizes[i] != disk->sector_bytes &&
			range_inside(sizes[i], sizeof(head), disk->size_bytes) &&
			dev_read(d, sizes[i], head, sizeof(head), NULL) == 0 &&
			memcmp(head, signature, sizeof(head)) == 0)
			return err_set(e, ERR_REFUSED, 0,
				"%s: its GPT is one for sectors of %" PRIu32
				" bytes, it is read with %" PRIu32,
				dev_name(d), sizes[i], disk->sector_bytes);
	return err_set(e, ERR_REFUSED, 0,
		"%s: the MBR says that there is a GPT, but both of its copies are damaged",
		dev_name(d));
}

int disk_read_gpt(struct dev *d, struct disk *disk, struct err *e)
{
	uint64_t sectors = disk->size_bytes / disk->sector_bytes;
	uint8_t *header = malloc(disk->sector_bytes);
	struct gpt primary = { 0 }, backup = { 0 };
	int rc;

	if (header == NULL)
		return err_nomem(e);
	read_copy(d, disk, HEADER_LBA, header, &primary);
	read_copy(d, disk, sectors - 1, header, &backup);
	/* A disk that grew: the copy is where it was. */
	if (!backup.valid && primary.valid && primary.other_lba > HEADER_LBA)
		read_copy(d, disk, primary.other_lba, header, &backup);
	if (primary.valid || backup.valid)
		rc = take(d, disk, &primary, &backup, e);
	else
		rc = no_copy(d, disk, e);
	free(primary.entries);
	free(backup.entries);
	free(header);
	return rc;
}
