/*
 * The entries of an image in order, over a source range: what restore and verify plan from. One
 * thread at a time (the reader).
 */
#ifndef PIPELINE_WALK_H
#define PIPELINE_WALK_H

#include "format/image.h"

struct walk {
	struct image *image;
	uint64_t off, end;	   /* source range still to come */
	const struct chunk *chunk; /* held; NULL before the first */
	uint32_t index;		   /* of the next entry in it */
	struct chunk_entry rest;   /* walk_next_piece: what is left of a hole; len 0: nothing */
};

void walk_init(struct walk *w, struct image *image, uint64_t off, uint64_t end);
void walk_fini(struct walk *w);

/*
 * The next entry that touches the range, whole (not cut to the range); w->chunk holds it. 1: there
 * is one; 0: the end; negative: its table could not be loaded, and w->off is at the chunk's start:
 * walk_skip_chunk goes on behind it.
 */
int walk_next(struct walk *w, struct chunk_entry *x, struct err *e);
/*
 * As walk_next, but holes come in pieces of at most max_bytes; a free one whole, unless `cut_free`.
 * Don't mix it with walk_next in one walk.
 */
int walk_next_piece(struct walk *w, bool cut_free, uint64_t max_bytes, struct chunk_entry *x,
	struct err *e);
/* Pass over the rest of the chunk that holds w->off; its source bytes. */
uint64_t walk_skip_chunk(struct walk *w);

#endif
