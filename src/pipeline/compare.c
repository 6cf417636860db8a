/*
 * Compare: is on the target what the image says? Each block is read back and held against its
 * hash. A target may be larger than the image; what lies outside the range is not looked at.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "pipeline/against.h"

struct compare_job {
	struct job base;
	struct walk walk;
	struct against against;
};

static int compare_plan(struct job *j, struct slot *s, struct err *e)
{
	struct compare_job *c = (struct compare_job *)j;

	return against_plan(&c->against, &c->walk, s, e);
}

static int compare_read_failed(struct job *j, struct slot *s, struct aio_req *r, struct err *e)
{
	(void)e;
	engine_lost(j, s->off, s->len, s->entry.file_off, r->error.msg);
	s->lost = true;
	return 0;
}

static int compare_work(struct job *j, struct worker *w, struct slot *s, struct err *e)
{
	struct compare_job *c = (struct compare_job *)j;
	bool holds;
	int rc;

	if (s->lost)
		return 0;
	rc = against_holds(&c->against, w->unpacker, s, &holds, e);
	s->same = rc == 0 && holds;
	if (rc < 0 && e->code != ERR_DAMAGED && e->code != ERR_SOURCE)
		return rc;
	if (rc < 0)
		engine_lost(j, s->off, s->len, s->entry.file_off, e->msg);
	else if (!holds)
		engine_lost(j, s->off, s->len, s->entry.file_off, "differs from the image");
	return 0;
}

static int compare_sink(struct job *j, struct slot *s, struct err *e)
{
	(void)e;
	pthread_mutex_lock(&j->lock);
	if (s->needs_work) {
		j->blocks_all++;
		j->blocks_checked++;
	}
	if (s->same)
		j->progress.same_bytes += s->len;
	pthread_mutex_unlock(&j->lock);
	return 0;
}

static int compare_finish(struct job *j, struct err *e)
{
	uint64_t count, bytes;

	pthread_mutex_lock(&j->lock);
	count = j->loss_all;
	bytes = j->progress.bad_bytes;
	pthread_mutex_unlock(&j->lock);
	if (count == 0)
		return 0;
	return err_set(e, ERR_TARGET, 0,
		"%s does not hold what was written: %" PRIu64 " bytes in %" PRIu64
		" places differ from the image",
		dev_name(j->input), bytes, count);
}

static void compare_close(struct job *j)
{
	struct compare_job *c = (struct compare_job *)j;

	walk_fini(&c->walk);
	free(c);
}

static const struct job_ops compare_ops = {
	.plan = compare_plan,
	.read_failed = compare_read_failed,
	.work = compare_work,
	.sink = compare_sink,
	.finish = compare_finish,
	.close = compare_close,
	.work_is = "checks",
};

/* The range, settled and checked. */
static int compare_check(struct compare *c, struct err *e)
{
	uint64_t size = image_facts(c->image)->head.source_bytes;

	if (c->source_len == 0 && c->source_off <= size)
		c->source_len = size - c->source_off;
	if (!range_inside(c->source_off, c->source_len, size) ||
		!range_inside(c->target_off, c->source_len, dev_size(c->target)))
		return err_set(e, ERR_USAGE, 0,
			"%" PRIu64 " bytes at %" PRIu64 " are not inside the image, or at %" PRIu64
			" not inside %s",
			c->source_len, c->source_off, c->target_off, dev_name(c->target));
	return 0;
}

int job_compare(const struct compare *c, struct job **out, struct err *e)
{
	const struct image_facts *f = image_facts(c->image);
	struct compare_job *j = calloc(1, sizeof(*j));
	struct compare settled = *c;
	int rc;

	if (j == NULL)
		return err_nomem(e);
	rc = compare_check(&settled, e);
	if (rc == 0) {
		j->against = (struct against){ c->image, c->target, settled.source_off,
			settled.source_len, c->target_off, c->free_is_zero };
		walk_init(&j->walk, c->image, settled.source_off,
			settled.source_off + settled.source_len);
		j->base.ops = &compare_ops;
		j->base.input = c->target;
		j->base.in_bytes = block_bound(f->head.block_bytes);
		j->base.out_bytes = f->head.block_bytes;
		j->base.max_pieces = 1;
		j->base.progress.total_bytes = settled.source_len;
		if (settled.source_len == f->head.source_bytes && !c->free_is_zero)
			j->base.progress.total_bytes -= f->tail.kind_bytes[ENTRY_FREE];
		rc = engine_start(&j->base, &c->settings, e);
	}
	if (rc < 0) {
		free(j);
		return rc;
	}
	*out = &j->base;
	return 0;
}
