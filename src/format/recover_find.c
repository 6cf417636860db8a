/*
 * The search looks at every byte of the file for the signature and type of a CHNK or TABL, and
 * believes only records that name this run and their own position and whose checksum holds: a
 * stale or copied record can't pass. Numbers read before that check are used for nothing but the
 * check.
 */
#include "format/recover_find.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/image_int.h"

#define WINDOW_BYTES ((size_t)4 << 20)
/* What is lost at least where the medium is bad. */
#define PAGE_BYTES ((size_t)4096)
/* Signature and type lie behind magic and frame size. */
#define SIGNATURE_AT 8
#define SIGNATURE_BYTES 8

/* The frame at pos as HEAD or COPY. */
static int try_head(struct dev *in, enum record_type type, uint64_t pos, struct layout_head *head,
	struct record *r, struct err *e)
{
	int rc = record_read(in, type, pos, NULL, r, e);

	if (rc < 0)
		return rc;
	rc = layout_head_decode(r->body, r->body_len, head, e);
	if (rc < 0) {
		free(r->frame);
		r->frame = NULL;
	}
	return rc;
}

int recover_read(struct dev *in, const struct recover_hooks *hooks, uint64_t off, uint8_t *buf,
	size_t n, size_t *good, struct err *e)
{
	int rc = 0;

	*good = n;
	if (dev_read(in, off, buf, n, NULL) == 0)
		return 0;
	for (size_t at = 0, piece; rc == 0 && at < n; at += piece) {
		piece = (size_t)min_u64(n - at, PAGE_BYTES - (off + at) % PAGE_BYTES);
		if (dev_read(in, off + at, buf + at, piece, NULL) == 0)
			continue;
		memset(buf + at, 0, piece);
		*good = (size_t)min_u64(*good, at);
		/* A medium may take seconds to say that it can't. */
		rc = recover_check_stop(hooks, in, e);
	}
	return rc;
}

/* Is there no head at this place, as against one that is not for this version, or no memory? */
static bool is_lost(const struct err *e)
{
	return e->code == ERR_DAMAGED || e->code == ERR_SOURCE;
}

/* The last COPY of a window that holds; ERR_DAMAGED when there is none. */
static int copy_in_window(struct dev *in, const uint8_t *window, size_t n, uint64_t from,
	struct layout_head *head, struct record *r, struct err *e)
{
	int rc = err_set(e, ERR_DAMAGED, 0, "no copy of HEAD");

	for (size_t i = n; rc < 0 && is_lost(e) && i-- > SIGNATURE_AT;)
		if (window[i] == 'I' && n - i >= SIGNATURE_BYTES &&
			memcmp(window + i, "IMGTCOPY", SIGNATURE_BYTES) == 0)
			rc = try_head(in, REC_COPY, from + i - SIGNATURE_AT, head, r, e);
	return rc;
}

/* Look for the signature backwards from the end: the copy is among the last records. */
static int find_copy(struct dev *in, const struct recover_hooks *hooks, struct layout_head *head,
	struct record *r, struct err *e)
{
	uint64_t end = dev_size(in);
	uint8_t *window = malloc(WINDOW_BYTES + SIGNATURE_BYTES);
	int rc = err_set(e, ERR_DAMAGED, 0, "no copy of HEAD");

	if (window == NULL)
		return err_nomem(e);
	while (rc < 0 && is_lost(e) && end > 0) {
		uint64_t from = end > WINDOW_BYTES ? end - WINDOW_BYTES : 0;
		/* A little into the window behind: the signature may lie across the border. */
		size_t n = (size_t)min_u64(end - from + SIGNATURE_BYTES, dev_size(in) - from);
		size_t good;

		rc = recover_check_stop(hooks, in, e);
		if (rc == 0)
			rc = recover_read(in, hooks, from, window, n, &good, e);
		if (rc == 0)
			rc = copy_in_window(in, window, n, from, head, r, e);
		end = from;
	}
	free(window);
	return rc;
}

int recover_find_head(struct dev *in, const struct recover_hooks *hooks, struct layout_head *head,
	struct record *r, uint64_t *head_len, bool *copied, struct err *e)
{
	struct err why;
	int rc = try_head(in, REC_HEAD, 0, head, r, &why);

	*copied = rc < 0 && is_lost(&why);
	if (*copied)
		rc = find_copy(in, hooks, head, r, &why);
	if (rc == -ERR_CANCELLED) {
		*e = why;
		return rc;
	}
	if (rc < 0 && is_lost(&why))
		return err_set(e, ERR_FORMAT, 0, "%s: neither HEAD nor a copy of it was found",
			dev_name(in));
	if (rc < 0) {
		*e = why;
		return err_prefix(e, "%s", dev_name(in));
	}
	*head_len = layout_record_len(REC_HEAD, 0, HEAD_FIXED_BYTES + head->text_len);
	return 0;
}

/* The places as INDX tells them: the whole index or nothing. TAIL is noted in any case. */
static int from_index(struct dev *in, const struct layout_head *head, uint64_t head_len,
	struct recover_found *f)
{
	uint64_t tail_pos, chunks = layout_chunk_count(head);
	struct record indx = { 0 };
	struct err why; /* why not does not matter: then the file is searched */
	int rc = image_find_tail(in, head->uuid, &f->tail, &tail_pos, &why);

	f->has_tail = rc == 0;
	if (rc == 0) {
		f->meta_pos = f->tail.meta_pos;
		rc = record_read(in, REC_INDX, f->tail.indx_pos, head->uuid, &indx, &why);
	}
	if (rc == 0)
		rc = layout_indx_check(indx.body, indx.body_len, head, head_len, f->tail.indx_pos,
			&why);
	for (uint64_t i = 0; rc == 0 && i < chunks; i++) {
		struct layout_indx_entry x;

		layout_indx_entry_decode(indx.body + INDX_FIXED_BYTES + i * INDX_ENTRY_BYTES, &x);
		f->places[i] = (struct chunk_place){ x.chunk_pos, x.table_pos, x.table_len };
	}
	free(indx.frame);
	return rc;
}

static void found_chunk(struct dev *in, const struct layout_head *head, uint64_t pos,
	uint64_t *budget, struct chunk_place *places)
{
	struct layout_chnk c;
	struct record r;

	if (record_search(in, REC_CHNK, pos, head->uuid, budget, &r, NULL) < 0)
		return;
	if (layout_chnk_decode(r.body, r.body_len, head, &c, NULL) == 0)
		places[c.number].chunk_pos = pos;
	free(r.frame);
}

static void found_table(struct dev *in, const struct layout_head *head, uint64_t pos,
	uint64_t *budget, struct chunk_place *places)
{
	struct layout_tabl t;
	struct record r;

	if (record_search(in, REC_TABL, pos, head->uuid, budget, &r, NULL) < 0)
		return;
	if (layout_tabl_decode(r.body, r.body_len, head, &t, NULL) == 0) {
		places[t.number].table_pos = pos;
		places[t.number].table_len = (uint32_t)r.len;
	}
	free(r.frame);
}

static void found_meta(struct dev *in, const struct layout_head *head, uint64_t pos,
	uint64_t *budget, uint64_t *meta_pos)
{
	struct record r;

	if (*meta_pos != 0 || record_search(in, REC_META, pos, head->uuid, budget, &r, NULL) < 0)
		return;
	*meta_pos = pos;
	record_free(&r);
}

static void search_window(struct dev *in, const struct layout_head *head, const uint8_t *p,
	size_t n, uint64_t off, uint64_t *budget, struct recover_found *f)
{
	const uint8_t *at = p;

	while ((at = memmem(at, n - (size_t)(at - p), "IMGT", 4)) != NULL) {
		uint64_t pos = off + (uint64_t)(at - p);

		if (pos >= SIGNATURE_AT && n - (size_t)(at - p) >= SIGNATURE_BYTES) {
			if (memcmp(at + 4, "CHNK", 4) == 0)
				found_chunk(in, head, pos - SIGNATURE_AT, budget, f->places);
			else if (memcmp(at + 4, "TABL", 4) == 0)
				found_table(in, head, pos - SIGNATURE_AT, budget, f->places);
			else if (memcmp(at + 4, "META", 4) == 0)
				found_meta(in, head, pos - SIGNATURE_AT, budget, &f->meta_pos);
		}
		at++;
	}
}

/* Every byte of the file. In a page that can't be read nothing can be found. */
static int search(struct dev *in, const struct recover_hooks *hooks, const struct layout_head *head,
	struct recover_found *f, struct err *e)
{
	uint8_t *window = malloc(WINDOW_BYTES + SIGNATURE_BYTES);
	uint64_t budget = record_search_budget(in);
	int rc = 0;

	if (window == NULL)
		return err_nomem(e);
	for (uint64_t off = 0; rc == 0 && off < dev_size(in); off += WINDOW_BYTES) {
		size_t n = (size_t)min_u64(WINDOW_BYTES + SIGNATURE_BYTES, dev_size(in) - off);
		size_t good;

		rc = recover_check_stop(hooks, in, e);
		if (rc == 0)
			rc = recover_read(in, hooks, off, window, n, &good, e);
		if (rc == 0)
			search_window(in, head, window, n, off, &budget, f);
	}
	free(window);
	return rc;
}

/* A chunk begins where the one before it ends. */
static void join_places(struct chunk_place *places, uint64_t chunks, uint64_t head_len)
{
	if (chunks > 0)
		places[0].chunk_pos = head_len;
	for (uint64_t i = 1; i < chunks; i++)
		if (places[i].chunk_pos == 0 && places[i - 1].table_pos != 0)
			places[i].chunk_pos = places[i - 1].table_pos + places[i - 1].table_len;
}

int recover_find_chunks(struct dev *in, const struct recover_hooks *hooks,
	const struct layout_head *head, uint64_t head_len, struct recover_found *f, struct err *e)
{
	uint64_t chunks = layout_chunk_count(head);
	int rc = 0;

	memset(f, 0, sizeof(*f));
	/* At most CHUNKS_MAX: layout_head_decode saw to that. */
	f->places = calloc((size_t)chunks + 1, sizeof(*f->places));
	if (f->places == NULL)
		return err_nomem(e);
	f->searched = from_index(in, head, head_len, f) < 0;
	if (f->searched)
		rc = search(in, hooks, head, f, e);
	if (rc < 0) {
		free(f->places);
		f->places = NULL;
		return rc;
	}
	join_places(f->places, chunks, head_len);
	return 0;
}
