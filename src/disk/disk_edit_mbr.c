#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk_edit_int.h"

static uint64_t entry_start(const struct disk_edit *t, const uint8_t *x)
{
	return (uint64_t)get_le32(x + MBR_START_OFF) * t->sector;
}

static uint64_t entry_size(const struct disk_edit *t, const uint8_t *x)
{
	return (uint64_t)get_le32(x + MBR_SIZE_OFF) * t->sector;
}

static bool entry_used(const uint8_t *x)
{
	return x[MBR_TYPE_OFF] != 0 && get_le32(x + MBR_SIZE_OFF) != 0;
}

/* The link of an extended boot record, or NULL at the end of the chain. */
static const uint8_t *link_of(uint8_t *sector)
{
	for (size_t i = 0; i < MBR_ENTRIES; i++) {
		const uint8_t *x = edit_mbr_entry(sector, i);

		if (entry_used(x) && mbr_is_extended(x[MBR_TYPE_OFF]))
			return x;
	}
	return NULL;
}

/* The chain of an extended partition that begins at `base`. */
static int load_chain(struct disk_edit *t, struct dev *d, size_t parent, uint64_t base,
	struct err *e)
{
	uint64_t off = base;

	for (;;) {
		const uint8_t *link;
		struct ebr *grown;
		int rc;

		if (t->ebr_count >= EBR_MAX)
			return err_set(e, ERR_DAMAGED, 0,
				"%s: a chain of extended boot records without an end", dev_name(d));
		rc = disk_edit_add_piece(t, d, off, t->sector, NULL, e);
		if (rc < 0)
			return rc;
		if (get_le16(t->pieces[t->count - 1].bytes + MBR_SIGNATURE_OFF) != MBR_MAGIC)
			return 0;
		grown = realloc(t->ebrs, (t->ebr_count + 1) * sizeof(*grown));
		if (grown == NULL)
			return err_nomem(e);
		t->ebrs = grown;
		t->ebrs[t->ebr_count++] = (struct ebr){ t->count - 1, base, parent };
		link = link_of(t->pieces[t->count - 1].bytes);
		if (link == NULL)
			return 0;
		/* 32-bit sectors of at most 64 KiB: no sum of two overflows. */
		off = base + entry_start(t, link);
	}
}

int edit_mbr_load(struct disk_edit *t, struct dev *d, struct err *e)
{
	int rc = 0;

	t->kind = EDIT_MBR;
	for (size_t i = 0; rc == 0 && i < MBR_ENTRIES; i++) {
		const uint8_t *x = edit_mbr_entry(t->pieces[0].bytes, i);

		if (entry_used(x) && mbr_is_extended(x[MBR_TYPE_OFF]))
			rc = load_chain(t, d, i, entry_start(t, x), e);
	}
	return rc;
}

int edit_mbr_fit(const struct disk_edit *t, uint64_t size_bytes, struct err *e)
{
	for (size_t i = 0; i < MBR_ENTRIES; i++) {
		const uint8_t *x = edit_mbr_entry(t->pieces[0].bytes, i);
		uint64_t end = entry_start(t, x) + entry_size(t, x);

		if (entry_used(x) && end > size_bytes)
			return err_set(e, ERR_REFUSED, 0,
				"partition %zu ends at %" PRIu64 ", the disk has %" PRIu64 " bytes",
				i + 1, end, size_bytes);
	}
	return 0;
}

/* A partition, and what has to grow with it. */
struct place {
	uint8_t *entry;
	uint64_t base; /* what its start is relative to */
	uint64_t start, end;
	const struct ebr *ebr; /* NULL: a primary one */
};

static void consider(const struct disk_edit *t, struct place *best, uint8_t *entry, uint64_t base,
	const struct ebr *ebr)
{
	uint64_t start = base + entry_start(t, entry), end = start + entry_size(t, entry);

	if (entry_used(entry) && !mbr_is_extended(entry[MBR_TYPE_OFF]) && end > best->end)
		*best = (struct place){ entry, base, start, end, ebr };
}

static struct place last_partition(const struct disk_edit *t)
{
	struct place best = { 0 };

	for (size_t i = 0; i < MBR_ENTRIES; i++)
		consider(t, &best, edit_mbr_entry(t->pieces[0].bytes, i), 0, NULL);
	for (size_t k = 0; k < t->ebr_count; k++) {
		const struct ebr *b = &t->ebrs[k];

		for (size_t i = 0; i < MBR_ENTRIES; i++)
			consider(t, &best, edit_mbr_entry(t->pieces[b->piece].bytes, i),
				t->pieces[b->piece].off, b);
	}
	return best;
}

/* Does a primary entry, an extended partition mostly, begin behind this place? */
static bool blocked(const struct disk_edit *t, const struct place *p)
{
	for (size_t i = 0; i < MBR_ENTRIES; i++) {
		const uint8_t *x = edit_mbr_entry(t->pieces[0].bytes, i);

		if (entry_used(x) && entry_start(t, x) >= p->end)
			return true;
	}
	return false;
}

/* An end that cylinders, heads and sectors can't say: UEFI 5.2.1, FEh FFh FFh. */
static void set_size(const struct disk_edit *t, uint8_t *entry, uint64_t bytes)
{
	static const uint8_t beyond[3] = { 0xFE, 0xFF, 0xFF };

	put_le32(entry + MBR_SIZE_OFF, (uint32_t)(bytes / t->sector));
	memcpy(entry + MBR_END_CHS_OFF, beyond, sizeof(beyond));
}

/* A logical partition grows with the link to its record, and with the extended partition. */
static void grow_containers(struct disk_edit *t, const struct place *p, uint64_t end)
{
	uint64_t record = t->pieces[p->ebr->piece].off;
	uint8_t *extended = edit_mbr_entry(t->pieces[0].bytes, p->ebr->parent);

	for (size_t k = 0; k < t->ebr_count; k++) {
		uint8_t *link = (uint8_t *)link_of(t->pieces[t->ebrs[k].piece].bytes);

		if (link != NULL && t->ebrs[k].base + entry_start(t, link) == record)
			set_size(t, link, end - record);
	}
	if (entry_start(t, extended) + entry_size(t, extended) < end)
		set_size(t, extended, end - entry_start(t, extended));
}

int edit_mbr_grow_last(struct disk_edit *t, struct disk_grown *grown, struct err *e)
{
	struct place p = last_partition(t);
	uint64_t end;

	if (p.entry == NULL)
		return err_set(e, ERR_USAGE, 0, "there is no partition to grow");
	/* Sectors have 32 bits. */
	end = min_u64(t->size_bytes, UINT32_MAX * (uint64_t)t->sector);
	end = max_u64(align_down(end, MIB), p.end);
	if (blocked(t, &p))
		end = p.end;
	*grown = (struct disk_grown){ p.start, p.end - p.start, end - p.start };
	if (end == p.end)
		return 0;
	set_size(t, p.entry, end - p.start);
	if (p.ebr != NULL)
		grow_containers(t, &p, end);
	return 0;
}
