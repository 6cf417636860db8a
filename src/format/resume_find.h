/* Where the whole chunks of an incomplete image lie. For resuming. */
#ifndef FORMAT_RESUME_FIND_H
#define FORMAT_RESUME_FIND_H

#include "device/dev.h"
#include "format/layout.h"

struct resume_place {
	uint64_t chunk_pos, table_pos;
	uint32_t table_len;
};

/* Chunks 0 to count - 1, one behind the other from the end of HEAD on. */
struct resume_chain {
	struct resume_place *places; /* free it */
	uint64_t count;
};

/*
 * Search the last table that holds, from the end of the file down, whose links lead to chunk 0.
 * Checked are: that table, every CHNK, and that the places fit each other; the other tables are yet
 * to be read. No chunk at all is a count of 0.
 */
int resume_find_chunks(struct dev *file, const struct layout_head *head, uint64_t head_len,
	struct resume_chain *c, struct err *e);

#endif
