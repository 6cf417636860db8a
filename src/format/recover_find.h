/* Where the chunks of an image lie, as far as that can be known. For recovery. */
#ifndef FORMAT_RECOVER_FIND_H
#define FORMAT_RECOVER_FIND_H

#include "device/dev.h"
#include "format/record_read.h"
#include "format/recover.h"

/* 0 stands for "not known". */
struct chunk_place {
	uint64_t chunk_pos; /* of CHNK */
	uint64_t table_pos; /* of TABL, checked when it was found */
	uint32_t table_len;
};

/*
 * HEAD at the start, or its copy near the end; *head borrows its text from r->frame, which the
 * caller frees. ERR_FORMAT when there is neither.
 */
int recover_find_head(struct dev *in, const struct recover_hooks *hooks, struct layout_head *head,
	struct record *r, uint64_t *head_len, bool *copied, struct err *e);

/*
 * The places of all chunks (calloc'ed, layout_chunk_count of them), from INDX, or by searching the
 * whole file for records of this run; *searched says which.
 */
int recover_find_chunks(struct dev *in, const struct recover_hooks *hooks,
	const struct layout_head *head, uint64_t head_len, struct chunk_place **places,
	bool *searched, struct err *e);

#endif
