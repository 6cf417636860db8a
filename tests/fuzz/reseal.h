/*
 * For the fuzz targets that take a whole image: its checksums are made good, along the way that a
 * reader goes, so that changes get past them. An image is as hostile as the one who made it.
 */
#ifndef TESTS_FUZZ_RESEAL_H
#define TESTS_FUZZ_RESEAL_H

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "format/layout.h"

#define RESEAL_CHUNKS 8

struct file {
	uint8_t *p;
	size_t len;
};

/* Make the checksum of the record at `pos` good, and name the run in it. NULL: there is none. */
static inline uint8_t *reseal(struct file *f, uint64_t pos)
{
	uint64_t frame_len;

	if (!range_inside(pos, RECORD_OVERHEAD_BYTES, f->len))
		return NULL;
	frame_len = 8 + (uint64_t)get_le32(f->p + pos + 4);
	if (frame_len < RECORD_OVERHEAD_BYTES || !range_inside(pos, frame_len, f->len))
		return NULL;
	memcpy(f->p + pos + 24, f->p + RECORD_HEAD_BYTES + 32, 8);
	hash_bytes(HASH_XXH3, f->p + pos, (size_t)frame_len - RECORD_SUM_BYTES,
		f->p + pos + frame_len - RECORD_SUM_BYTES);
	return f->p + pos + frame_len - RECORD_SUM_BYTES;
}

static inline void reseal_all(struct file *f)
{
	uint64_t table_len = 0, tail, indx;
	uint8_t *body;

	if (f->len < 4096)
		return;
	layout_seek_footer(f->p + f->len - SEEK_FOOTER_BYTES, f->len, &table_len);
	if (f->len - table_len < TAIL_FRAME_BYTES)
		return;
	tail = f->len - table_len - TAIL_FRAME_BYTES;
	body = f->p + tail + RECORD_HEAD_BYTES;
	indx = get_le64(body + 24);
	for (uint64_t i = 0; i < RESEAL_CHUNKS; i++) {
		uint64_t at, entry;
		uint8_t *sum;

		if (!add_u64(indx, RECORD_HEAD_BYTES + INDX_FIXED_BYTES + i * INDX_ENTRY_BYTES,
			    &entry) ||
			!range_inside(entry, INDX_ENTRY_BYTES, f->len))
			break;
		reseal(f, get_le64(f->p + entry));
		at = get_le64(f->p + entry + 8);
		sum = reseal(f, at);
		if (sum != NULL)
			memmove(f->p + entry + 32, sum, RECORD_SUM_BYTES);
	}
	reseal(f, 0);
	reseal(f, indx);
	reseal(f, get_le64(body + 40));
	reseal(f, get_le64(body + 112));
	reseal(f, tail);
}

#endif
