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
 * Read, by pages where the whole can't be read; such pages are zeros. *good gets the bytes before
 * the first of them. Fails with ERR_CANCELLED only.
 */
int recover_read(struct dev *in, const struct recover_hooks *hooks, uint64_t off, uint8_t *buf,
	size_t n, size_t *good, struct err *e);

/*
 * HEAD at the start, or its copy near the end; *head borrows its text from r->frame, which the
 * caller frees. ERR_FORMAT when there is neither, or what there is is of a later version.
 */
int recover_find_head(struct dev *in, const struct recover_hooks *hooks, struct layout_head *head,
	struct record *r, uint64_t *head_len, bool *copied, struct err *e);

struct recover_found {
	struct chunk_place *places; /* calloc'ed, layout_chunk_count of them */
	bool searched;		    /* not from INDX: the whole file was searched */
	bool has_tail;
	struct layout_tail tail;
	uint64_t meta_pos; /* 0: not known */
};

/* The places of all chunks, from INDX, or by searching the whole file for records of this run. */
int recover_find_chunks(struct dev *in, const struct recover_hooks *hooks,
	const struct layout_head *head, uint64_t head_len, struct recover_found *f, struct err *e);

#endif
