#include "pipeline/mapped.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/read_error.h"

#define GAP_BYTES ((uint64_t)128 << 10)

static bool must_read(enum map_kind kind)
{
	/* What nobody said anything about is read (R2). */
	return kind != MAP_FREE && kind != MAP_ZERO;
}

static uint64_t block_len(const struct mapped *m, uint64_t off)
{
	return min_u64(m->block_bytes, m->source_bytes - off);
}

/* Zero wins over free in a block that has both: zeros are content (R9). */
static enum entry_kind hole_kind(const struct map *m, uint64_t off, uint64_t end, size_t hint)
{
	while (off < end) {
		struct extent x = map_run(m, off, &hint);

		if (x.kind == MAP_ZERO)
			return ENTRY_ZERO;
		off += x.len;
	}
	return ENTRY_FREE;
}

/* The first offset in [off, end) that must be read, or end. */
static uint64_t find_data(const struct map *m, uint64_t off, uint64_t end, size_t *hint)
{
	while (off < end) {
		struct extent x = map_run(m, off, hint);

		if (must_read(x.kind))
			return off;
		off += x.len;
	}
	return end;
}

/* The end of what must be read from off on, gaps under GAP_BYTES included. */
static uint64_t find_data_end(const struct map *m, uint64_t off, uint64_t end, size_t *hint)
{
	uint64_t last = off;

	while (off < end) {
		struct extent x = map_run(m, off, hint);

		if (must_read(x.kind))
			last = off + x.len;
		else if (off + x.len - last >= GAP_BYTES)
			break;
		off += x.len;
	}
	return min_u64(last, end);
}

/* Reads of the block at s->off: what must be read, widened to the source's alignment. */
static void plan_reads(const struct mapped *m, struct slot *s)
{
	uint64_t align = dev_info(m->source)->align_bytes;
	uint64_t off = s->off, end = s->off + s->len;
	size_t hint = s->map_hint;

	while ((off = find_data(m->map, off, end, &hint)) < end) {
		uint64_t stop = find_data_end(m->map, off, end, &hint);
		uint64_t from = max_u64(align_down(off, align), s->off);
		uint64_t to = min_u64(align_up(stop, align), end);

		engine_add_read(s, from, s->in + (from - s->off), (size_t)(to - from));
		off = to;
	}
}

/* Bytes of the block that count as progress: those that must be read. */
static uint64_t data_bytes(const struct map *m, uint64_t off, uint64_t end, size_t hint)
{
	uint64_t sum = 0;

	while (off < end) {
		struct extent x = map_run(m, off, &hint);
		uint64_t len = min_u64(x.len, end - off);

		if (must_read(x.kind))
			sum += len;
		off += len;
	}
	return sum;
}

/* A run of blocks without data, of one kind, up to the end of the chunk. */
static void plan_hole(const struct mapped *m, struct slot *s, uint64_t data, uint64_t chunk_end)
{
	uint64_t end = data < chunk_end ? align_down(data, m->block_bytes) : chunk_end;
	size_t hint = s->map_hint;

	s->kind = hole_kind(m->map, s->off, s->off + s->len, hint);
	while (s->off + s->len < end) {
		uint64_t off = s->off + s->len, len = block_len(m, off);

		if (hole_kind(m->map, off, off + len, hint) != s->kind)
			break;
		/* One look at the map for the whole of a long free run. */
		if (s->kind == ENTRY_FREE) {
			struct extent x = map_run(m->map, off, &hint);

			if (x.kind == MAP_FREE && off + x.len > off + len)
				len = min_u64(align_down(off + x.len, m->block_bytes), end) - off;
		}
		s->len += max_u64(len, block_len(m, off));
	}
}

int mapped_plan(struct mapped *m, struct slot *s)
{
	uint64_t chunk_end, data;
	size_t hint;

	if (m->next >= m->source_bytes)
		return 0;
	s->off = m->next;
	s->len = block_len(m, s->off);
	map_run(m->map, s->off, &m->map_hint);
	s->map_hint = m->map_hint;
	/* A chunk is a multiple of the block, not always a power of two. */
	chunk_end = min_u64((s->off / m->chunk_bytes + 1) * m->chunk_bytes, m->source_bytes);
	hint = s->map_hint;
	data = find_data(m->map, s->off, chunk_end, &hint);
	if (data < s->off + s->len) {
		s->kind = ENTRY_DATA;
		s->needs_work = true;
		s->weight = data_bytes(m->map, s->off, s->off + s->len, s->map_hint);
		plan_reads(m, s);
	} else {
		plan_hole(m, s, data, chunk_end);
	}
	m->next = s->off + s->len;
	return 1;
}

uint64_t mapped_data_bytes(const struct mapped *m)
{
	return data_bytes(m->map, m->next, m->source_bytes, 0);
}

unsigned mapped_max_reads(uint32_t block_bytes)
{
	/* Two reads are at least GAP_BYTES apart, but for one at either end of the block. */
	return (unsigned)(block_bytes / GAP_BYTES) + 2;
}

struct rescue_ctx {
	const struct mapped *m;
	struct job *j;
	struct slot *s;
};

/* Only what the map wants counts as bad: a dead sector in free space is nobody's loss. */
static int note_bad(void *user, uint64_t off, uint64_t len, struct err *e)
{
	struct rescue_ctx *x = user;
	uint64_t end = off + len;
	size_t hint = x->s->map_hint;
	int rc = 0;

	while (rc == 0 && off < end) {
		struct extent run = map_run(x->m->map, off, &hint);
		uint64_t n = min_u64(run.len, end - off);

		if (must_read(run.kind)) {
			rc = slot_add_bad(x->s, off, n, e);
			engine_lost(x->j, off, n, 0, "unreadable");
			engine_moved(x->j);
		}
		off += n;
	}
	return rc;
}

int mapped_read_failed(const struct mapped *m, struct job *j, struct slot *s, struct aio_req *r,
	struct err *e)
{
	struct rescue_ctx x = { m, j, s };
	struct read_rescue rescue = {
		.source = m->source,
		.retries = m->read_retries,
		.policy = m->on_read_error,
		.bad = note_bad,
		.user = &x,
	};

	*e = r->error;
	return read_rescue(&rescue, r->off, r->buf, r->len, e);
}

static int compare_bad(const void *a, const void *b)
{
	const struct bad_range *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Reads of one block fail in any order: sort, and join what touches. */
static void settle_bad(struct slot *s)
{
	size_t kept = 0;

	qsort(s->bad, s->bad_count, sizeof(*s->bad), compare_bad);
	for (size_t i = 0; i < s->bad_count; i++) {
		struct bad_range *last = kept > 0 ? &s->bad[kept - 1] : NULL;

		if (last != NULL && last->off + last->len == s->bad[i].off)
			last->len += s->bad[i].len;
		else
			s->bad[kept++] = s->bad[i];
	}
	s->bad_count = kept;
	if (kept == 1 && s->bad[0].off == s->off && s->bad[0].len == s->len)
		s->kind = ENTRY_BAD;
}

void mapped_clear_free(const struct map *map, uint64_t off, uint8_t *bytes, uint64_t len,
	size_t map_hint)
{
	while (len > 0) {
		struct extent x = map_run(map, off, &map_hint);
		uint64_t n = min_u64(x.len, len);

		if (!must_read(x.kind))
			memset(bytes, 0, (size_t)n);
		off += n;
		bytes += n;
		len -= n;
	}
}

void mapped_settle(const struct mapped *m, struct slot *s)
{
	if (s->weight < s->len)
		mapped_clear_free(m->map, s->off, s->in, s->len, s->map_hint);
	if (s->bad_count > 0)
		settle_bad(s);
	else if (mem_is_zero(s->in, (size_t)s->len))
		s->kind = ENTRY_ZERO;
}
