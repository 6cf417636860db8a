#include "pipeline/walk.h"

#include "base/mem.h"

void walk_init(struct walk *w, struct image *image, uint64_t off, uint64_t end)
{
	w->image = image;
	w->off = off;
	w->end = end;
	w->chunk = NULL;
	w->index = 0;
	w->rest.len = 0;
}

static void drop_chunk(struct walk *w)
{
	if (w->chunk != NULL)
		chunk_unref(w->image, w->chunk);
	w->chunk = NULL;
}

void walk_fini(struct walk *w)
{
	drop_chunk(w);
}

static uint64_t chunk_number(const struct walk *w)
{
	return w->off / image_facts(w->image)->head.chunk_bytes;
}

int walk_next(struct walk *w, struct chunk_entry *x, struct err *e)
{
	int rc;

	if (w->off >= w->end)
		return 0;
	if (w->chunk != NULL && w->index == w->chunk->count)
		drop_chunk(w);
	if (w->chunk == NULL) {
		rc = image_chunk(w->image, chunk_number(w), &w->chunk, e);
		if (rc < 0)
			return rc;
		w->index = chunk_find(w->chunk, w->off);
	}
	*x = w->chunk->entries[w->index++];
	w->off = x->off + x->len;
	return 1;
}

int walk_next_piece(struct walk *w, bool cut_free, uint64_t max_bytes, struct chunk_entry *x,
	struct err *e)
{
	uint64_t len;
	int rc = w->rest.len > 0 ? 1 : walk_next(w, &w->rest, e);

	if (rc <= 0) {
		w->rest.len = 0;
		return rc;
	}
	*x = w->rest;
	len = x->len;
	if (x->kind != ENTRY_DATA && (x->kind != ENTRY_FREE || cut_free))
		len = min_u64(len, max_bytes);
	x->len = len;
	w->rest.off += len;
	w->rest.len -= len;
	return 1;
}

uint64_t walk_skip_chunk(struct walk *w)
{
	uint64_t chunk_bytes = image_facts(w->image)->head.chunk_bytes;
	uint64_t from = w->off;

	drop_chunk(w);
	w->off = min_u64((from / chunk_bytes + 1) * chunk_bytes, w->end);
	return w->off - from;
}
