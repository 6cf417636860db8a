/*
 * A table says how long its chunk is, and so where its CHNK begins; CHNK says where the table of
 * the chunk before is. Of that one, only the start is read here: it is read whole afterwards, in
 * the order in which the root hash wants it.
 *
 * Where the links break (a record that does not hold), nothing behind can be used: the search goes
 * on below that place. So the whole file is passed at most once, even when it is garbage. There
 * is no other bound to the search: to read a file down to its start takes less time than to make
 * the image anew. Tables that overlap, which no run writes, are read up to record_search's budget.
 */
#include "format/resume_find.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "format/record_read.h"

#define WINDOW_BYTES (4 * MIB)
/* Signature and type, behind magic and frame size. */
#define SIGNATURE "IMGTTABL"
#define SIGNATURE_AT 8
#define SIGNATURE_BYTES 8

struct find {
	struct dev *file;
	const struct layout_head *head;
	uint64_t head_len;
	struct resume_chain *chain;
	uint64_t budget; /* of record_search */
};

/* ---- The last table ---- */

/*
 * The place of a table that holds, with its number. 0 when there is none at `pos`, 1 when there is,
 * negative when reading failed.
 */
static int try_table(struct find *f, uint64_t pos, uint64_t *number, struct resume_place *p,
	struct err *e)
{
	struct layout_tabl t;
	struct record r;
	struct err why;
	int rc = record_search(f->file, REC_TABL, pos, f->head->uuid, &f->budget, &r, &why);

	if (rc == -ERR_DAMAGED)
		return 0;
	if (rc < 0) {
		*e = why;
		return rc;
	}
	rc = layout_tabl_decode(r.body, r.body_len, f->head, &t, NULL);
	*number = t.number;
	p->table_pos = pos;
	p->table_len = (uint32_t)r.len;
	record_free(&r);
	if (rc < 0 || pos < f->head_len || pos - f->head_len < t.stored_len + CHNK_FRAME_BYTES)
		return 0;
	p->chunk_pos = pos - t.stored_len - CHNK_FRAME_BYTES;
	return 1;
}

/* The last whole signature in the first n bytes of the window. */
static const uint8_t *last_hit(const uint8_t *window, size_t n)
{
	for (size_t i = n; i-- > 0;)
		if (window[i] == SIGNATURE[0] && n - i >= SIGNATURE_BYTES &&
			memcmp(window + i, SIGNATURE, SIGNATURE_BYTES) == 0)
			return window + i;
	return NULL;
}

/* The last table that begins below `limit`: 1, and its place; 0: there is none. */
static int last_table(struct find *f, uint64_t limit, uint8_t *window, uint64_t *number,
	struct resume_place *p, struct err *e)
{
	const uint64_t size = dev_size(f->file);
	int rc = 0;

	while (rc == 0 && limit > f->head_len) {
		uint64_t from = max_u64(align_down(limit - 1, WINDOW_BYTES), f->head_len);
		/* The start of a record at limit - 1 reaches into what lies behind. */
		size_t n = (size_t)min_u64(limit - from + SIGNATURE_AT + SIGNATURE_BYTES - 1,
			size - from);
		const uint8_t *hit;

		rc = dev_read(f->file, from, window, n, e);
		while (rc == 0 && (hit = last_hit(window, n)) != NULL) {
			n = (size_t)(hit - window) + SIGNATURE_BYTES - 1;
			if (from + (uint64_t)(hit - window) >= SIGNATURE_AT)
				rc = try_table(f, from + (uint64_t)(hit - window) - SIGNATURE_AT,
					number, p, e);
		}
		limit = from;
	}
	return rc;
}

/* ---- The links ---- */

/* The CHNK of a chunk, and that it leads where it must: 1; 0: it does not hold. */
static int follow_chnk(const struct find *f, uint64_t number, struct layout_chnk *c, struct err *e)
{
	const struct resume_place *p = &f->chain->places[number];
	struct record r;
	struct err why;
	int rc = record_read_exact(f->file, REC_CHNK, p->chunk_pos, CHNK_FRAME_BYTES, f->head->uuid,
		&r, &why);

	if (rc == -ERR_DAMAGED)
		return 0;
	if (rc < 0) {
		*e = why;
		return rc;
	}
	rc = layout_chnk_decode(r.body, r.body_len, f->head, c, NULL);
	record_free(&r);
	if (rc < 0 || c->number != number)
		return 0;
	if (number == 0)
		return p->chunk_pos == f->head_len;
	/* Decoding has seen that the sum does not overflow. */
	return c->prev_table + c->prev_table_len == p->chunk_pos && c->prev_table > f->head_len;
}

/* From the start of the table that CHNK names: the place of the chunk before. */
static int follow_table(const struct find *f, uint64_t number, const struct layout_chnk *c,
	struct err *e)
{
	struct resume_place *p = &f->chain->places[number];
	uint8_t start[RECORD_HEAD_BYTES + TABL_FIXED_BYTES];
	const uint8_t *body = start + RECORD_HEAD_BYTES;
	uint64_t room, stored;
	size_t len;
	int rc = dev_read(f->file, c->prev_table, start, sizeof(start), e);

	if (rc < 0)
		return rc;
	if (layout_record_peek(start, REC_TABL, c->prev_table, f->head->uuid, &len, NULL) < 0)
		return 0;
	if (len != c->prev_table_len || get_le64(body) != number)
		return 0;
	room = c->prev_table - f->head_len;
	stored = get_le64(body + 24);
	if (room < CHNK_FRAME_BYTES || stored > room - CHNK_FRAME_BYTES)
		return 0;
	p->table_pos = c->prev_table;
	p->table_len = c->prev_table_len;
	p->chunk_pos = c->prev_table - stored - CHNK_FRAME_BYTES;
	return 1;
}

/*
 * From the last chunk, whose place is known, down to chunk 0: 1. 0: the links break in the chunk
 * whose table is at *broken, or before it.
 */
static int follow(const struct find *f, uint64_t number, uint64_t *broken, struct err *e)
{
	struct layout_chnk c;
	int rc;

	for (;; number--) {
		*broken = f->chain->places[number].table_pos;
		rc = follow_chnk(f, number, &c, e);
		if (rc <= 0 || number == 0)
			return rc;
		rc = follow_table(f, number - 1, &c, e);
		if (rc <= 0)
			return rc;
	}
}

int resume_find_chunks(struct dev *file, const struct layout_head *head, uint64_t head_len,
	struct resume_chain *c, struct err *e)
{
	struct find f = { .file = file,
		.head = head,
		.head_len = head_len,
		.chain = c,
		.budget = record_search_budget(file) };
	uint64_t limit = dev_size(file), number = 0;
	struct resume_place last;
	uint8_t *window = malloc(WINDOW_BYTES + SIGNATURE_AT + SIGNATURE_BYTES);
	int rc = 0;

	c->count = 0;
	/* At most CHUNKS_MAX of them; only what is used becomes memory. */
	c->places = malloc((layout_chunk_count(head) + 1) * sizeof(*c->places));
	if (window == NULL || c->places == NULL)
		rc = err_nomem(e);
	while (rc == 0) {
		rc = last_table(&f, limit, window, &number, &last, e);
		if (rc <= 0)
			break;
		c->places[number] = last;
		rc = follow(&f, number, &limit, e);
		if (rc > 0)
			c->count = number + 1;
	}
	free(window);
	return rc < 0 ? rc : 0;
}
