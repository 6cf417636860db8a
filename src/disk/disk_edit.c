#include "disk/disk_edit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "disk/disk_edit_int.h"

/* The world's fault, and these sectors' alone. */
static bool is_unreadable(int rc)
{
	return rc == -ERR_SOURCE || rc == -ERR_DAMAGED || rc == -ERR_BAD_SECTORS;
}

int disk_edit_add_piece(struct disk_edit *t, struct dev *d, uint64_t off, uint64_t len, bool *lost,
	struct err *e)
{
	struct piece *grown;
	uint8_t *bytes;
	int rc;

	if (!range_inside(off, len, t->size_bytes))
		return err_set(e, ERR_DAMAGED, 0,
			"%s: the partition table has a sector at %" PRIu64 ", outside its %" PRIu64
			" bytes",
			dev_name(d), off, t->size_bytes);
	grown = realloc(t->pieces, (t->count + 1) * sizeof(*grown));
	if (grown == NULL)
		return err_nomem(e);
	t->pieces = grown;
	bytes = calloc(1, len);
	if (bytes == NULL)
		return err_nomem(e);
	rc = dev_read(d, off, bytes, (size_t)len, e);
	if (rc < 0 && (lost == NULL || !is_unreadable(rc))) {
		free(bytes);
		return rc;
	}
	t->pieces[t->count++] = (struct piece){ off, (size_t)len, bytes, rc < 0 };
	if (lost != NULL)
		*lost = rc < 0;
	return 0;
}

static int load(struct disk_edit *t, struct dev *d, struct err *e)
{
	const uint8_t *first;
	int rc = disk_edit_add_piece(t, d, 0, t->sector, NULL, e);

	if (rc < 0)
		return rc;
	first = t->pieces[0].bytes;
	if (get_le16(first + MBR_SIGNATURE_OFF) != MBR_MAGIC)
		return 0;
	if (mbr_is_protective(first))
		return edit_gpt_load(t, d, e);
	return mbr_is_table(first) ? edit_mbr_load(t, d, e) : 0;
}

static int compare_areas(const void *a, const void *b)
{
	const struct disk_area *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Sectors that two structures claim would be written twice, with what either says. */
static int check_overlap(const struct disk_edit *t, const struct dev *d, struct err *e)
{
	size_t count = disk_edit_area_count(t);
	struct disk_area *areas = calloc(count + 1, sizeof(*areas));
	int rc = 0;

	if (areas == NULL)
		return err_nomem(e);
	for (size_t i = 0; i < count; i++)
		areas[i] = disk_edit_area_at(t, i);
	qsort(areas, count, sizeof(*areas), compare_areas);
	for (size_t i = 1; rc == 0 && i < count; i++)
		if (areas[i].off < areas[i - 1].off + areas[i - 1].len)
			rc = err_set(e, ERR_DAMAGED, 0,
				"%s: two parts of the partition table claim the sector at %" PRIu64,
				dev_name(d), areas[i].off);
	free(areas);
	return rc;
}

int disk_edit_load(struct dev *d, uint32_t sector_bytes, struct disk_edit **out, struct err *e)
{
	struct disk_edit *t;
	int rc;

	*out = NULL;
	if (sector_bytes < 512 || !is_power_of_two(sector_bytes) || sector_bytes > 65536)
		return err_set(e, ERR_USAGE, 0, "%s: a sector size of %u bytes", dev_name(d),
			sector_bytes);
	if (dev_size(d) < sector_bytes)
		return err_set(e, ERR_USAGE, 0, "%s is smaller than a sector", dev_name(d));
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return err_nomem(e);
	t->sector = sector_bytes;
	t->size_bytes = align_down(dev_size(d), sector_bytes);
	rc = load(t, d, e);
	if (rc == 0)
		rc = check_overlap(t, d, e);
	if (rc < 0) {
		disk_edit_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

void disk_edit_free(struct disk_edit *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->count; i++)
		free(t->pieces[i].bytes);
	free(t->pieces);
	free(t->ebrs);
	free(t);
}

enum disk_edit_kind disk_edit_kind(const struct disk_edit *t)
{
	return t->kind;
}

size_t disk_edit_area_count(const struct disk_edit *t)
{
	size_t n = 0;

	if (t->kind == EDIT_NONE)
		return 0;
	for (size_t i = 0; i < t->count; i++)
		n += !t->pieces[i].lost;
	return n;
}

struct disk_area disk_edit_area_at(const struct disk_edit *t, size_t i)
{
	const struct piece *p = t->pieces;

	while (p->lost || i-- > 0)
		p++;
	return (struct disk_area){ p->off, p->len };
}

static int no_table(struct err *e)
{
	return err_set(e, ERR_USAGE, 0, "there is no partition table");
}

int disk_edit_fit(struct disk_edit *t, uint64_t size_bytes, struct err *e)
{
	int rc = 0;

	size_bytes = align_down(size_bytes, t->sector);
	if (t->kind == EDIT_GPT)
		rc = edit_gpt_fit(t, size_bytes, e);
	else if (t->kind == EDIT_MBR)
		rc = edit_mbr_fit(t, size_bytes, e);
	if (rc == 0)
		t->size_bytes = size_bytes;
	return rc;
}

int disk_edit_grow_last(struct disk_edit *t, struct disk_grown *grown, struct err *e)
{
	switch (t->kind) {
	case EDIT_GPT:
		return edit_gpt_grow_last(t, grown, e);
	case EDIT_MBR:
		return edit_mbr_grow_last(t, grown, e);
	default:
		return no_table(e);
	}
}

/* A random signature that is not the old one, nor 0, which means that there is none. */
static int new_signature(uint8_t *p, struct err *e)
{
	uint32_t old = get_le32(p), new = 0;

	while (new == 0 || new == old)
		if (getrandom(&new, sizeof(new), 0) != (ssize_t)sizeof(new))
			return err_set(e, ERR_INTERNAL, 0, "no random numbers");
	put_le32(p, new);
	return 0;
}

int disk_edit_new_ids(struct disk_edit *t, struct err *e)
{
	uint8_t *signature = t->pieces[0].bytes + MBR_DISK_ID_OFF;

	if (t->kind == EDIT_NONE)
		return no_table(e);
	if (t->kind == EDIT_GPT) {
		int rc = edit_gpt_new_ids(t, e);

		/* A protective MBR has none. */
		if (rc < 0 || get_le32(signature) == 0)
			return rc;
	}
	return new_signature(signature, e);
}

int disk_edit_write(const struct disk_edit *t, struct dev *d, struct err *e)
{
	int rc = 0;

	if (t->kind == EDIT_NONE)
		return no_table(e);
	for (size_t i = t->count; rc == 0 && i-- > 0;)
		if (!t->pieces[i].lost)
			rc = dev_write(d, t->pieces[i].off, t->pieces[i].bytes, t->pieces[i].len,
				e);
	return rc;
}

int disk_edit_compare(const struct disk_edit *t, struct dev *d, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < t->count; i++) {
		const struct piece *p = &t->pieces[i];
		uint8_t *there;

		if (p->lost)
			continue;
		there = malloc(p->len);
		if (there == NULL)
			return err_nomem(e);
		rc = dev_read(d, p->off, there, p->len, e);
		if (rc == 0 && memcmp(there, p->bytes, p->len) != 0)
			rc = err_set(e, ERR_TARGET, 0,
				"%s does not hold the table that was written, at %" PRIu64,
				dev_name(d), p->off);
		free(there);
	}
	return rc;
}
