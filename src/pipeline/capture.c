/* Capture: a device and its map become an image. Tickets are those of mapped.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/mapped.h"

struct capture_job {
	struct job base;
	struct capture c;
	struct layout_head head;
	struct mapped mapped;
};

static int capture_plan(struct job *j, struct slot *s, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;

	(void)e;
	return mapped_plan(&c->mapped, s);
}

static int capture_read_failed(struct job *j, struct slot *s, struct aio_req *r, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;

	return mapped_read_failed(&c->mapped, j, s, r, e);
}

static int capture_work(struct job *j, struct worker *w, struct slot *s, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;
	size_t len = (size_t)s->len;

	mapped_settle(&c->mapped, s);
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

/*
 * Every byte went through: anything else is our own mistake, and must not pass as success (R7).
 * Then the image is made complete, here where the watchdog sees a target that hangs.
 */
static int capture_finish(struct job *j, struct err *e)
{
	struct capture_job *c = (struct capture_job *)j;
	uint8_t root[SHA256_BYTES];
	uint64_t bad;
	int rc;

	if (image_writer_offset(c->c.writer) != c->head.source_bytes)
		return err_set(e, ERR_INTERNAL, 0, "%s: imaged up to %" PRIu64 " of %" PRIu64,
			dev_name(c->c.source), image_writer_offset(c->c.writer),
			c->head.source_bytes);
	/* The writer keeps the root hash for who asks. */
	rc = image_writer_finish(c->c.writer, root, e);
	if (rc < 0)
		return rc;
	update_progress(c);
	pthread_mutex_lock(&j->lock);
	bad = j->progress.bad_bytes;
	if (bad > 0 && j->error.code == ERR_OK)
		err_set(&j->error, ERR_BAD_SECTORS, 0,
			"%s: %" PRIu64 " bytes could not be read, recorded as bad",
			dev_name(c->c.source), bad);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

/* What is whole is kept; whether that went well, image_writer_stop says again to who asks. */
static void capture_give_up(struct job *j)
{
	struct capture_job *c = (struct capture_job *)j;

	image_writer_stop(c->c.writer, NULL);
	update_progress(c);
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
	.give_up = capture_give_up,
	.close = capture_close,
	.work_is = "packs",
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

/*
 * Does the source still hold what the image has of it? A change in place, by who mounted it in
 * between, shows in no size and in no map. What cannot be read now says nothing.
 */
static int check_samples(const struct capture *c, struct err *e)
{
	unsigned count;
	const struct image_sample *x = image_writer_samples(c->writer, &count);
	uint8_t *bytes = mem_alloc_direct(c->head->block_bytes), hash[HASH_MAX_BYTES];
	int rc = bytes != NULL ? 0 : err_nomem(e);

	for (; rc == 0 && count > 0; count--, x++) {
		if (dev_read(c->source, x->off, bytes, x->len, NULL) < 0)
			continue;
		mapped_clear_free(c->map, x->off, bytes, x->len, 0);
		hash_bytes(c->head->hash, bytes, x->len, hash);
		if (memcmp(hash, x->hash, hash_len(c->head->hash)) != 0)
			rc = err_set(e, ERR_REFUSED, 0,
				"resume: %s has changed since: its block at %" PRIu64
				" is another one in the image",
				dev_name(c->source), x->off);
	}
	free(bytes);
	return rc;
}

int job_capture(const struct capture *c, struct job **out, struct err *e)
{
	struct capture_job *j;
	int rc = capture_check(c, e);

	if (rc == 0)
		rc = check_samples(c, e);
	if (rc < 0)
		return rc;
	j = calloc(1, sizeof(*j));
	if (j == NULL)
		return err_nomem(e);
	j->c = *c;
	j->head = *c->head;
	j->mapped = (struct mapped){
		.source = c->source,
		.map = c->map,
		.source_bytes = c->head->source_bytes,
		.chunk_bytes = c->head->chunk_bytes,
		.block_bytes = c->head->block_bytes,
		.on_read_error = c->on_read_error,
		.read_retries = c->read_retries,
		.next = image_writer_offset(c->writer),
	};
	j->base.ops = &capture_ops;
	j->base.input = c->source;
	j->base.target = image_writer_name(c->writer);
	j->base.in_bytes = c->head->block_bytes;
	j->base.out_bytes = block_bound(c->head->block_bytes);
	j->base.max_pieces = mapped_max_reads(c->head->block_bytes);
	j->base.stop_multiple = c->head->chunk_bytes;
	j->base.progress.position = j->mapped.next;
	j->base.progress.total_bytes = mapped_data_bytes(&j->mapped);
	rc = engine_start(&j->base, &c->settings, e);
	if (rc < 0) {
		free(j);
		return rc;
	}
	*out = &j->base;
	return 0;
}
