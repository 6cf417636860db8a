/* What the files of the reader share. */
#ifndef FORMAT_IMAGE_INT_H
#define FORMAT_IMAGE_INT_H

#include "base/mem.h"
#include "format/chunk_cache.h"
#include "format/image.h"
#include "format/record_read.h"

struct image {
	struct dev *file;
	struct image_facts facts;
	uint64_t tail_pos;
	struct record head; /* holds facts.head.text */
	struct record indx;
	struct record meta; /* holds facts.meta */
	struct chunk_cache *cache;
};

/* INDX's entry of a chunk that exists. */
struct layout_indx_entry image_indx(const struct image *i, uint64_t number);

/* Read and check the table of a chunk; on success r is the caller's to free. */
int image_read_table(const struct image *i, uint64_t number, struct record *r,
	struct layout_tabl *t, struct err *e);

/*
 * TAIL, wherever the file's end says that it is. For a file that has none: ERR_DAMAGED. Also used
 * to tell a complete image from one to be resumed.
 */
int image_find_tail(struct dev *file, const uint8_t run[8], struct layout_tail *t, uint64_t *pos,
	struct err *e);

#endif
