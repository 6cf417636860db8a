/*
 * Capture: a device and its map become an image.
 *
 * A ticket is one block that holds something to read, or a run of blocks of one chunk that hold
 * nothing. Of a block only what the map says matters is read; free gaps shorter than GAP_BYTES are
 * read through, because seeking over them costs more, but stored as zeros all the same: stale data
 * never enters an image.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/engine.h"
#include "pipeline/read_error.h"

#define GAP_BYTES ((uint64_t)128 << 10)

struct capture_job {
	struct job base;
	struct capture c;
	struct layout_head head;
	uint64_t next;	 /* reader: source offset of the next ticket */
	size_t map_hint; /* reader: position in the map */
};

static bool must_read(enum map_kind kind)
{
	/* What nobody said anything about is read (R2). */
	return kind != MAP_FREE && kind != MAP_ZERO;
}

static uint64_t block_len(const struct capture_job *c, uint64_t off)
{
	return min_u64(c->head.block_bytes, c->head.source_bytes - off);
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
static void plan_reads(struct capture_job *c, struct slot *s)
{
	uint64_t align = dev_info(c->c.source)->align_bytes;
	uint64_t off = s->off, end = s->off + s->len;
	size_t hint = s->map_hint;

	while ((off = find_data(c->c.map, off, end, &hint)) < end) {
		uint64_t stop = find_data_end(c->c.map, off, end, &hint);
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
static void plan_hole(struct capture_job *c, struct slot *s, uint64_t data, uint64_t chunk_end)
{
	uint64_t end = data < chunk_end ? align_down(data, c->head.block_bytes) : chunk_end;
	size_t hint = s->map_hint;

	s->kind = hole_kind(c->c.map, s->off, s->off + s->len, hint);
	while (s->off + s->len < end) {
		uint64_t off = s->off + s->len, len = block_len(c, off);

		if (hole_kind(c->c.map, off, off + len, hint) != s->kind)
			break;
		/* One look at the map for the whole of a long free run. */
		if (s->kind == ENTRY_FREE) {
			struct extent x = map_run(c->c.map, off, &hint);

			if (x.kind == MAP_FREE && off + x.len > off + len)
				len = min_u64(align_down(off + x.len, c->head.block_bytes), end) -
					off;
		}
		s->len += max_u64(len, block_len(c, off));
	}
}

static int capture_plan(struct job *j, struct slot *s, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;
	uint64_t chunk_end, data;
	size_t hint;

	(void)e;
	if (c->next >= c->head.source_bytes)
		return 0;
	s->off = c->next;
	s->len = block_len(c, s->off);
	map_run(c->c.map, s->off, &c->map_hint);
	s->map_hint = c->map_hint;
	/* A chunk is a multiple of the block, not always a power of two. */
	chunk_end = min_u64((s->off / c->head.chunk_bytes + 1) * c->head.chunk_bytes,
		c->head.source_bytes);
	hint = s->map_hint;
	data = find_data(c->c.map, s->off, chunk_end, &hint);
	if (data < s->off + s->len) {
		s->kind = ENTRY_DATA;
		s->needs_work = true;
		s->weight = data_bytes(c->c.map, s->off, s->off + s->len, s->map_hint);
		plan_reads(c, s);
	} else {
		plan_hole(c, s, data, chunk_end);
	}
	c->next = s->off + s->len;
	return 1;
}

struct rescue_ctx {
	struct capture_job *c;
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
		struct extent run = map_run(x->c->c.map, off, &hint);
		uint64_t n = min_u64(run.len, end - off);

		if (must_read(run.kind)) {
			rc = slot_add_bad(x->s, off, n, e);
			engine_lost(&x->c->base, off, n, 0, "unreadable");
			engine_moved(&x->c->base);
		}
		off += n;
	}
	return rc;
}

static int capture_read_failed(struct job *j, struct slot *s, struct aio_req *r, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;
	struct rescue_ctx x = { c, s };
	struct read_rescue rescue = {
		.source = c->c.source,
		.retries = c->c.read_retries,
		.policy = c->c.on_read_error,
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

/* Free bytes inside the block are stored as zeros. */
static void clear_free(const struct map *m, struct slot *s)
{
	uint64_t off = s->off, end = s->off + s->len;
	size_t hint = s->map_hint;

	while (off < end) {
		struct extent x = map_run(m, off, &hint);
		uint64_t len = min_u64(x.len, end - off);

		if (!must_read(x.kind))
			memset(s->in + (off - s->off), 0, (size_t)len);
		off += len;
	}
}

static int capture_work(struct job *j, struct worker *w, struct slot *s, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;
	size_t len = (size_t)s->len;

	if (s->weight < s->len)
		clear_free(c->c.map, s);
	if (s->bad_count > 0)
		settle_bad(s);
	else if (mem_is_zero(s->in, len))
		s->kind = ENTRY_ZERO;
	if (s->kind != ENTRY_DATA)
		return 0;
	hash_bytes(c->head.hash, s->in, len, s->hash);
	return packer_pack(w->packer, s->level, s->in, len, s->out, j->out_bytes, &s->stored, e);
}

static void update_progress(struct capture_job *c)
{
	struct image_totals t;

	image_writer_totals(c->c.writer, &t);
	pthread_mutex_lock(&c->base.lock);
	c->base.progress.stored_bytes = t.file_bytes;
	c->base.progress.committed_bytes = t.committed_bytes;
	pthread_mutex_unlock(&c->base.lock);
}

static int capture_sink(struct job *j, struct slot *s, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < s->bad_count; i++)
		rc = image_writer_bad(c->c.writer, s->bad[i].off, s->bad[i].len, e);
	if (rc < 0)
		return rc;
	if (s->kind == ENTRY_DATA)
		rc = image_writer_data(c->c.writer, s->out, s->stored, s->hash, e);
	else
		rc = image_writer_hole(c->c.writer, s->kind, div_up(s->len, c->head.block_bytes),
			e);
	update_progress(c);
	return rc;
}

/* Every byte went through: anything else is our own mistake, and must not pass as success (R7). */
static int capture_finish(struct job *j, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;
	uint64_t bad;

	if (!j->cut && image_writer_offset(c->c.writer) != c->head.source_bytes)
		return err_set(e, ERR_INTERNAL, 0, "%s: imaged up to %" PRIu64 " of %" PRIu64,
			dev_name(c->c.source), image_writer_offset(c->c.writer),
			c->head.source_bytes);
	pthread_mutex_lock(&j->lock);
	bad = j->progress.bad_bytes;
	if (bad > 0 && !j->cut && j->error.code == ERR_OK)
		err_set(&j->error, ERR_BAD_SECTORS, 0,
			"%s: %" PRIu64 " bytes could not be read, recorded as bad",
			dev_name(c->c.source), bad);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

static void capture_close(struct job *j)
{
	free(j);
}

static const struct job_ops capture_ops = {
	.plan = capture_plan,
	.read_failed = capture_read_failed,
	.work = capture_work,
	.sink = capture_sink,
	.finish = capture_finish,
	.close = capture_close,
};

static int capture_check(const struct capture *c, struct err *e)
{
	int rc = layout_head_check(c->head, e);

	if (rc < 0)
		return rc;
	if (map_size(c->map) != c->head->source_bytes || dev_size(c->source) < map_size(c->map))
		return err_set(e, ERR_INTERNAL, 0,
			"%s: sizes differ: device %" PRIu64 ", map %" PRIu64 ", head %" PRIu64,
			dev_name(c->source), dev_size(c->source), map_size(c->map),
			c->head->source_bytes);
	return 0;
}

int job_capture(const struct capture *c, struct job **out, struct err *e)
{
	struct capture_job *j;
	int rc = capture_check(c, e);

	if (rc < 0)
		return rc;
	j = calloc(1, sizeof(*j));
	if (j == NULL)
		return err_nomem(e);
	j->c = *c;
	j->head = *c->head;
	j->next = image_writer_offset(c->writer);
	j->base.ops = &capture_ops;
	j->base.input = c->source;
	j->base.in_bytes = c->head->block_bytes;
	j->base.out_bytes = block_bound(c->head->block_bytes);
	/* Two reads are at least GAP_BYTES apart, but for one at either end of the block. */
	j->base.max_pieces = (unsigned)(c->head->block_bytes / GAP_BYTES) + 2;
	j->base.stop_multiple = c->head->chunk_bytes;
	j->base.progress.position = j->next;
	j->base.progress.total_bytes = data_bytes(c->map, j->next, c->head->source_bytes, 0);
	rc = engine_start(&j->base, &c->settings, e);
	if (rc < 0) {
		free(j);
		return rc;
	}
	*out = &j->base;
	return 0;
}
