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
};

void walk_init(struct walk *w, struct image *image, uint64_t off, uint64_t end);
void walk_fini(struct walk *w);

/*
 * The next entry that touches the range, whole (not cut to the range); w->chunk holds it. 1: there
 * is one; 0: the end; negative: its table could not be loaded, and w->off is at the chunk's start:
 * walk_skip_chunk goes on behind it.
 */
int walk_next(struct walk *w, struct chunk_entry *x, struct err *e);
/* Pass over the rest of the chunk that holds w->off; its source bytes. */
uint64_t walk_skip_chunk(struct walk *w);

#endif
