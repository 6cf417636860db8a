/* Reading one whole record from a file, checked. */
#ifndef FORMAT_RECORD_READ_H
#define FORMAT_RECORD_READ_H

#include "device/dev.h"
#include "format/layout.h"

struct record {
	uint8_t *frame; /* NULL when there is none */
	size_t len;
	const uint8_t *body; /* inside frame */
	uint32_t body_len;
};

/*
 * The record of this type at `pos`. Its length is taken from the record itself, and checked against
 * the type's limit and the end of the file before anything is allocated. run may be NULL.
 * ERR_DAMAGED names the file, the record, its position and the field that does not hold.
 */
int record_read(struct dev *file, enum record_type type, uint64_t pos, const uint8_t run[8],
	struct record *r, struct err *e);

/*
 * As record_read, for who tries every place that looks like the start of a record. Frames that are
 * read cost their length of *budget, so that a file full of starts whose frames overlap does not
 * take hours; when it is used up, nothing holds any more (ERR_DAMAGED). record_search_budget is
 * more than any file needs whose records lie one behind the other.
 */
uint64_t record_search_budget(const struct dev *file);
int record_search(struct dev *file, enum record_type type, uint64_t pos, const uint8_t run[8],
	uint64_t *budget, struct record *r, struct err *e);
/* The same in one read, of a record whose length is known; a length over the limit is refused. */
int record_read_exact(struct dev *file, enum record_type type, uint64_t pos, uint64_t len,
	const uint8_t run[8], struct record *r, struct err *e);
void record_free(struct record *r); /* one that was never read must be zeroed */

#endif
