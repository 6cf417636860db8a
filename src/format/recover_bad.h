/*
 * What could not be read when the image was made, as META tells it: for chunks whose own table is
 * lost. For recovery.
 */
#ifndef FORMAT_RECOVER_BAD_H
#define FORMAT_RECOVER_BAD_H

#include "format/image.h"
#include "format/record_read.h"

/* Zeroed: nothing is known. */
struct meta_bad {
	struct bad_range *ranges; /* ascending */
	size_t count;
	uint64_t known_to; /* of what lies before this source offset, all are in the list */
};

/*
 * From the META at meta_pos (0: not known where it is). One that does not hold, or says something
 * that can't be, tells nothing. Fails for want of memory only.
 */
int meta_bad_read(struct dev *in, const struct layout_head *head, uint64_t meta_pos,
	struct meta_bad *m, struct err *e);
void meta_bad_free(struct meta_bad *m);

/* The first range that touches [off, off + len), or NULL. */
const struct bad_range *meta_bad_at(const struct meta_bad *m, uint64_t off, uint64_t len);
/* Bytes of all ranges inside [off, off + len). */
uint64_t meta_bad_bytes(const struct meta_bad *m, uint64_t off, uint64_t len);

#endif
