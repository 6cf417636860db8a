#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "disk/disk_edit_int.h"

static uint32_t header_bytes(const uint8_t *header)
{
	return get_le32(header + GPT_HEADER_SIZE_OFF);
}

/* The header's own CRC is taken over its bytes with that field zero. */
static uint32_t header_crc(const struct disk_edit *t, const uint8_t *header)
{
	uint8_t copy[65536];

	memcpy(copy, header, t->sector);
	put_le32(copy + GPT_HEADER_CRC_OFF, 0);
	return disk_crc32(copy, header_bytes(header));
}

static bool header_holds(const struct disk_edit *t, const uint8_t *header, uint64_t lba)
{
	uint32_t size = header_bytes(header);

	if (memcmp(header, GPT_SIGNATURE, 8) != 0 || size < GPT_HEADER_MIN_BYTES ||
		size > t->sector)
		return false;
	return get_le64(header + GPT_MY_LBA_OFF) == lba &&
		get_le32(header + GPT_HEADER_CRC_OFF) == header_crc(t, header);
}

/* Bytes of all entries; 0: not what any disk has. */
static uint64_t entries_bytes(const uint8_t *header)
{
	uint32_t count = get_le32(header + GPT_ENTRY_COUNT_OFF);
	uint32_t size = get_le32(header + GPT_ENTRY_SIZE_OFF);
	uint64_t bytes = (uint64_t)count * size;

	/* UEFI: 128 times a power of two. */
	if (size < GPT_ENTRY_MIN_BYTES || !is_power_of_two(size) || count == 0 ||
		bytes > GPT_ENTRIES_MAX_BYTES)
		return 0;
	return bytes;
}

/*
 * One copy: its header at `lba`, and its entries: where the header says, or where they usually are.
 * The copies' pieces come in the order of enum gpt_piece. *whole tells whether it can be used: what
 * can't be read can't, but the other copy may be whole.
 */
static int load_copy(struct disk_edit *t, struct dev *d, uint64_t lba, bool backup, bool *whole,
	struct err *e)
{
	uint64_t usual = align_up(16 * KIB, t->sector), bytes, off;
	size_t header_at = backup ? t->count + 1 : t->count;
	uint8_t *header;
	bool lost;
	int rc;

	if (!mul_u64(lba, t->sector, &off) || !range_inside(off, t->sector, t->size_bytes) ||
		lba < 1)
		return err_set(e, ERR_DAMAGED, 0, "%s: no room for a GPT", dev_name(d));
	rc = disk_edit_add_piece(t, d, off, t->sector, &lost, e);
	if (rc < 0)
		return rc;
	header = t->pieces[t->count - 1].bytes;
	*whole = !lost && header_holds(t, header, lba);
	bytes = *whole ? align_up(entries_bytes(header), t->sector) : 0;
	if (bytes > 0 && mul_u64(get_le64(header + GPT_ENTRIES_LBA_OFF), t->sector, &off) &&
		range_inside(off, bytes, t->size_bytes)) {
		rc = disk_edit_add_piece(t, d, off, bytes, &lost, e);
	} else {
		*whole = false;
		off = backup ? lba * t->sector - usual : (lba + 1) * t->sector;
		rc = disk_edit_add_piece(t, d, off, usual, &lost, e);
	}
	if (rc < 0)
		return rc;
	if (*whole)
		*whole = !lost &&
			disk_crc32(t->pieces[t->count - 1].bytes, (size_t)entries_bytes(header)) ==
				get_le32(header + GPT_ENTRIES_CRC_OFF);
	if (backup) {
		struct piece entries = t->pieces[t->count - 1];

		t->pieces[t->count - 1] = t->pieces[header_at - 1];
		t->pieces[header_at - 1] = entries;
	}
	return 0;
}

/* The copy that changes are made to: its header and entries, in t. */
static int reference(struct disk_edit *t, uint8_t **header, uint8_t **entries, struct err *e)
{
	if (!t->primary_whole && !t->backup_whole)
		return err_set(e, ERR_DAMAGED, 0,
			"neither copy of the GPT is whole: it can be restored to a disk of the "
			"same size only, as it is");
	*header = t->pieces[t->primary_whole ? GPT_PRIMARY : GPT_BACKUP].bytes;
	*entries = t->pieces[t->primary_whole ? GPT_PRIMARY_ENTRIES : GPT_BACKUP_ENTRIES].bytes;
	return 0;
}

static uint32_t entry_count(const uint8_t *header)
{
	return get_le32(header + GPT_ENTRY_COUNT_OFF);
}

static uint8_t *entry_at(const uint8_t *header, uint8_t *entries, uint32_t i)
{
	return entries + (size_t)i * get_le32(header + GPT_ENTRY_SIZE_OFF);
}

/* UEFI: an entry whose type GUID is zero is not used. */
static bool entry_used(const uint8_t *entry)
{
	return !mem_is_zero(entry, 16);
}

/* Does a partition lie on the piece? */
static bool is_covered(const struct disk_edit *t, const struct piece *p, const uint8_t *header,
	uint8_t *entries)
{
	uint64_t first = p->off / t->sector, end = first + p->len / t->sector;

	for (uint32_t i = 0; i < entry_count(header); i++) {
		const uint8_t *x = entry_at(header, entries, i);

		if (entry_used(x) && get_le64(x + GPT_ENTRY_START_OFF) < end &&
			get_le64(x + GPT_ENTRY_END_OFF) >= first)
			return true;
	}
	return false;
}

/*
 * A copy that is not whole may have no place: on a disk that is shorter than its table knows, the
 * last partition may lie where the backup usually does.
 */
static void drop_covered(struct disk_edit *t)
{
	struct piece *copy = &t->pieces[t->primary_whole ? GPT_BACKUP_ENTRIES : GPT_PRIMARY];
	uint8_t *header, *entries;

	if (t->primary_whole == t->backup_whole || reference(t, &header, &entries, NULL) < 0)
		return;
	if (is_covered(t, &copy[0], header, entries) || is_covered(t, &copy[1], header, entries))
		copy[0].lost = copy[1].lost = true;
}

int edit_gpt_load(struct disk_edit *t, struct dev *d, struct err *e)
{
	uint64_t last = t->size_bytes / t->sector - 1, alternate;
	int rc;

	t->kind = EDIT_GPT;
	if (t->size_bytes / t->sector < 6)
		return err_set(e, ERR_DAMAGED, 0, "%s is too small for a GPT", dev_name(d));
	rc = load_copy(t, d, 1, false, &t->primary_whole, e);
	if (rc < 0)
		return rc;
	alternate = get_le64(t->pieces[GPT_PRIMARY].bytes + GPT_ALTERNATE_LBA_OFF);
	if (!t->primary_whole || alternate > last || alternate < 2)
		alternate = last;
	rc = load_copy(t, d, alternate, true, &t->backup_whole, e);
	if (rc == 0)
		drop_covered(t);
	return rc;
}

static void seal(struct disk_edit *t, uint8_t *header, const uint8_t *entries)
{
	put_le32(header + GPT_ENTRIES_CRC_OFF, disk_crc32(entries, (size_t)entries_bytes(header)));
	put_le32(header + GPT_HEADER_CRC_OFF, header_crc(t, header));
}

/* Does a disk of this size have room for all partitions, and behind them for the backup? */
static int check_room(const struct disk_edit *t, uint8_t *header, uint8_t *entries,
	uint64_t size_bytes, struct err *e)
{
	uint64_t span = align_up(entries_bytes(header), t->sector) / t->sector;
	uint64_t sectors = size_bytes / t->sector, usable;

	if (sectors < 2 * span + 6)
		return err_set(e, ERR_REFUSED, 0, "%" PRIu64 " bytes are too small for a GPT",
			size_bytes);
	usable = sectors - span - 2; /* the last one */
	if (get_le64(header + GPT_FIRST_USABLE_OFF) > usable)
		return err_set(e, ERR_REFUSED, 0, "nothing of the disk's usable space fits");
	for (uint32_t i = 0; i < entry_count(header); i++) {
		const uint8_t *x = entry_at(header, entries, i);
		uint64_t end = get_le64(x + GPT_ENTRY_END_OFF);

		if (entry_used(x) && end > usable)
			return err_set(e, ERR_REFUSED, 0,
				"partition %u ends at sector %" PRIu64
				", the last usable one of a disk of %" PRIu64 " bytes is %" PRIu64,
				i + 1, end, size_bytes, usable);
	}
	return 0;
}

/*
 * Both copies from the changed one: header fields that differ between them, and the CRCs. The
 * backup lies at the end of size_bytes, its entries before its header (UEFI 5.3.1).
 */
static int rebuild(struct disk_edit *t, uint64_t size_bytes, struct err *e)
{
	uint64_t last = size_bytes / t->sector - 1, span;
	uint8_t *header, *entries, *primary, *backup;
	struct piece *p = t->pieces;
	size_t len;
	int rc = reference(t, &header, &entries, e);

	if (rc == 0)
		rc = check_room(t, header, entries, size_bytes, e);
	if (rc < 0)
		return rc;
	len = (size_t)align_up(entries_bytes(header), t->sector);
	span = len / t->sector;
	if (!t->primary_whole) {
		/* Its place is lost with it: the entries follow the header, as is usual. */
		p[GPT_PRIMARY_ENTRIES].off = (uint64_t)2 * t->sector;
		if (get_le64(header + GPT_FIRST_USABLE_OFF) < 2 + span)
			return err_set(e, ERR_DAMAGED, 0,
				"no room for the first copy of the GPT before its partitions");
	}
	for (int i = GPT_PRIMARY_ENTRIES; i <= GPT_BACKUP_ENTRIES; i++) {
		uint8_t *copy = p[i].bytes == entries ? entries : realloc(p[i].bytes, len);

		if (copy == NULL)
			return err_nomem(e);
		p[i].bytes = copy;
		p[i].len = len;
		if (copy != entries)
			memcpy(copy, entries, len);
	}
	primary = p[GPT_PRIMARY].bytes;
	backup = p[GPT_BACKUP].bytes;
	memcpy(header == primary ? backup : primary, header, t->sector);
	put_le64(primary + GPT_MY_LBA_OFF, 1);
	put_le64(primary + GPT_ALTERNATE_LBA_OFF, last);
	put_le64(primary + GPT_LAST_USABLE_OFF, last - span - 1);
	put_le64(primary + GPT_ENTRIES_LBA_OFF, p[GPT_PRIMARY_ENTRIES].off / t->sector);
	memcpy(backup, primary, t->sector);
	put_le64(backup + GPT_MY_LBA_OFF, last);
	put_le64(backup + GPT_ALTERNATE_LBA_OFF, 1);
	put_le64(backup + GPT_ENTRIES_LBA_OFF, last - span);
	p[GPT_BACKUP].off = last * t->sector;
	p[GPT_BACKUP_ENTRIES].off = (last - span) * t->sector;
	seal(t, primary, entries);
	seal(t, backup, entries);
	t->primary_whole = t->backup_whole = true;
	for (int i = GPT_PRIMARY; i < GPT_PIECES; i++)
		p[i].lost = false;
	return 0;
}

/*
 * The size in a protective MBR that covers the disk (UEFI 5.2.3). A hybrid MBR says something else
 * on purpose, and is left alone.
 */
static void fit_protective(struct disk_edit *t, uint64_t size_bytes)
{
	uint8_t *first = t->pieces[0].bytes, *entry = NULL;
	uint64_t sectors = size_bytes / t->sector - 1;

	for (size_t i = 0; i < MBR_ENTRIES; i++) {
		uint8_t *x = edit_mbr_entry(first, i);

		if (x[MBR_TYPE_OFF] == MBR_TYPE_PROTECTIVE && entry == NULL)
			entry = x;
		else if (x[MBR_TYPE_OFF] != 0)
			return;
	}
	if (entry == NULL || get_le32(entry + MBR_START_OFF) != 1)
		return;
	put_le32(entry + MBR_SIZE_OFF, (uint32_t)min_u64(sectors, UINT32_MAX));
}

int edit_gpt_fit(struct disk_edit *t, uint64_t size_bytes, struct err *e)
{
	int rc = rebuild(t, size_bytes, e);

	if (rc == 0)
		fit_protective(t, size_bytes);
	return rc;
}

int edit_gpt_grow_last(struct disk_edit *t, struct disk_grown *grown, struct err *e)
{
	uint8_t *header, *entries, *last = NULL;
	uint64_t align = MIB / t->sector, start, end, usable, stop;
	int rc = reference(t, &header, &entries, e);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < entry_count(header); i++) {
		uint8_t *x = entry_at(header, entries, i);

		if (entry_used(x) &&
			(last == NULL ||
				get_le64(x + GPT_ENTRY_END_OFF) >
					get_le64(last + GPT_ENTRY_END_OFF)))
			last = x;
	}
	if (last == NULL)
		return err_set(e, ERR_USAGE, 0, "there is no partition to grow");
	start = get_le64(last + GPT_ENTRY_START_OFF);
	end = get_le64(last + GPT_ENTRY_END_OFF);
	usable = get_le64(header + GPT_LAST_USABLE_OFF);
	if (start > end || end > t->size_bytes / t->sector)
		return err_set(e, ERR_DAMAGED, 0, "the last partition has no sensible place");
	stop = max_u64(align_down(usable + 1, align), end + 1);
	*grown = (struct disk_grown){ start * t->sector, (end + 1 - start) * t->sector,
		(stop - start) * t->sector };
	put_le64(last + GPT_ENTRY_END_OFF, stop - 1);
	return stop - 1 == end ? 0 : rebuild(t, t->size_bytes, e);
}

/* RFC 4122, section 4.4, in the byte order of UEFI: the time's high part is little-endian. */
static int new_guid(uint8_t *p, struct err *e)
{
	uint8_t guid[16];

	if (getrandom(guid, sizeof(guid), 0) != (ssize_t)sizeof(guid))
		return err_set(e, ERR_INTERNAL, 0, "no random numbers");
	guid[7] = (uint8_t)((guid[7] & 0x0F) | 0x40);
	guid[8] = (uint8_t)((guid[8] & 0x3F) | 0x80);
	memcpy(p, guid, sizeof(guid));
	return 0;
}

int edit_gpt_new_ids(struct disk_edit *t, struct err *e)
{
	uint8_t *header, *entries;
	int rc = reference(t, &header, &entries, e);

	if (rc == 0)
		rc = new_guid(header + GPT_DISK_GUID_OFF, e);
	for (uint32_t i = 0; rc == 0 && i < entry_count(header); i++) {
		uint8_t *x = entry_at(header, entries, i);

		if (entry_used(x))
			rc = new_guid(x + GPT_ENTRY_GUID_OFF, e);
	}
	return rc < 0 ? rc : rebuild(t, t->size_bytes, e);
}
