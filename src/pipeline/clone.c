/*
 * Clone: a device and its map go to another device, without an image between them. The guards are
 * those of restore.c: what can be known is checked before the first write (R4), source and target
 * are not one device (R5), the end is flushed and adds up (R7), zeros are zeros (R9). What was
 * written is remembered as a hash for each block, so that it can be read back and compared.
 */
#include "pipeline/clone.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/mapped.h"
#include "pipeline/target_hole.h"

/* Blocks of a run without data: a unit of cancel and progress only. */
#define RUN_BLOCKS 1024

struct clone_job {
	struct job base;
	struct clone c;
	struct mapped mapped;
	struct hole hole;
	struct sums sums;
};

static int clone_plan(struct job *j, struct slot *s, struct err *e)
{
	struct clone_job *c = (struct clone_job *)j;

	(void)e;
	return mapped_plan(&c->mapped, s);
}

static int clone_read_failed(struct job *j, struct slot *s, struct aio_req *r, struct err *e)
{
	struct clone_job *c = (struct clone_job *)j;

	return mapped_read_failed(&c->mapped, j, s, r, e);
}

static int clone_work(struct job *j, struct worker *w, struct slot *s, struct err *e)
{
	struct clone_job *c = (struct clone_job *)j;

	(void)w;
	(void)e;
	mapped_settle(&c->mapped, s);
	if (s->kind == ENTRY_DATA)
		hash_bytes(HASH_XXH3, s->in, (size_t)s->len, s->hash);
	return 0;
}

static int clone_sink(struct job *j, struct slot *s, struct err *e)
{
	struct clone_job *c = (struct clone_job *)j;
	uint64_t first = s->off / c->sums.block_bytes;

	memset(c->sums.kinds + first, (uint8_t)s->kind,
		(size_t)div_up(s->len, c->sums.block_bytes));
	if (s->kind != ENTRY_DATA)
		return hole_write(&c->hole, s->kind, s->off, s->len, e);
	memcpy(c->sums.hashes[first], s->hash, XXH3_BYTES);
	return engine_write(j, s, s->off, s->in, (size_t)s->len, e);
}

static int clone_finish(struct job *j, struct err *e)
{
	struct clone_job *c = (struct clone_job *)j;
	struct job_progress p;
	uint64_t sum = 0;
	int rc = dev_flush(c->c.target, true, e);

	if (rc < 0)
		return rc;
	job_progress(j, &p);
	for (int k = 0; k < ENTRY_KINDS; k++)
		sum += p.kind_bytes[k];
	if (sum != c->mapped.source_bytes)
		return err_set(e, ERR_INTERNAL, 0, "%s: %" PRIu64 " of %" PRIu64 " bytes cloned",
			dev_name(c->c.target), sum, c->mapped.source_bytes);
	pthread_mutex_lock(&j->lock);
	if (p.bad_count > 0 && j->error.code == ERR_OK)
		err_set(&j->error, ERR_BAD_SECTORS, 0,
			"%s: %" PRIu64 " bytes could not be read, and are zeros in %s",
			dev_name(c->c.source), p.bad_bytes, dev_name(c->c.target));
	pthread_mutex_unlock(&j->lock);
	return 0;
}

static void clone_free(struct clone_job *c)
{
	free(c->sums.kinds);
	free(c->sums.hashes);
	free(c);
}

static void clone_close(struct job *j)
{
	clone_free((struct clone_job *)j);
}

static const struct job_ops clone_ops = {
	.plan = clone_plan,
	.read_failed = clone_read_failed,
	.work = clone_work,
	.sink = clone_sink,
	.finish = clone_finish,
	.close = clone_close,
	.work_is = "hashes",
};

const struct sums *clone_sums(const struct job *j)
{
	return j->ops == &clone_ops ? &((const struct clone_job *)j)->sums : NULL;
}

static int clone_check_args(const struct clone *c, struct err *e)
{
	const struct dev_info *t = dev_info(c->target);

	if (c->source == c->target)
		return err_set(e, ERR_REFUSED, 0, "%s is source and target", dev_name(c->target));
	if (!t->writable || t->sequential)
		return err_set(e, ERR_USAGE, 0, "%s can't be cloned to: %s", dev_name(c->target),
			t->sequential ? "it is a pipe" : "it is open for reading only");
	if (c->block_bytes < BLOCK_MIN_BYTES || c->block_bytes > BLOCK_MAX_BYTES ||
		!is_power_of_two(c->block_bytes))
		return err_set(e, ERR_USAGE, 0, "blocks of %u bytes", c->block_bytes);
	if (map_size(c->map) != dev_size(c->source))
		return err_set(e, ERR_INTERNAL, 0, "%s: the map is of another size",
			dev_name(c->source));
	if (dev_size(c->target) < dev_size(c->source))
		return err_set(e, ERR_REFUSED, 0,
			"%s has %" PRIu64 " bytes: too small for %" PRIu64, dev_name(c->target),
			dev_size(c->target), dev_size(c->source));
	return 0;
}

static int make_sums(struct clone_job *j, struct err *e)
{
	uint64_t blocks = div_up(j->mapped.source_bytes, j->c.block_bytes);

	j->sums.size = j->mapped.source_bytes;
	j->sums.block_bytes = j->c.block_bytes;
	j->sums.kinds = calloc(blocks + 1, 1);
	j->sums.hashes = calloc(blocks + 1, sizeof(*j->sums.hashes));
	if (j->sums.kinds == NULL || j->sums.hashes == NULL)
		return err_nomem(e);
	return 0;
}

int job_clone(const struct clone *c, struct job **out, struct err *e)
{
	struct clone_job *j;
	int rc = clone_check_args(c, e);

	if (rc < 0)
		return rc;
	j = calloc(1, sizeof(*j));
	if (j == NULL)
		return err_nomem(e);
	j->c = *c;
	j->mapped = (struct mapped){
		.source = c->source,
		.map = c->map,
		.source_bytes = dev_size(c->source),
		.chunk_bytes = (uint64_t)c->block_bytes * RUN_BLOCKS,
		.block_bytes = c->block_bytes,
		.on_read_error = c->on_read_error,
		.read_retries = c->read_retries,
	};
	j->hole = (struct hole){ &j->base, c->target, 0, dev_size(c->source), c->free,
		c->target_is_zero, true };
	j->base.ops = &clone_ops;
	j->base.input = c->source;
	j->base.output = c->target;
	j->base.target = dev_name(c->target);
	j->base.in_bytes = c->block_bytes;
	j->base.max_pieces = mapped_max_reads(c->block_bytes);
	j->base.progress.total_bytes = mapped_data_bytes(&j->mapped);
	rc = make_sums(j, e);
	if (rc == 0)
		rc = engine_start(&j->base, &c->settings, e);
	if (rc < 0) {
		clone_free(j);
		return rc;
	}
	*out = &j->base;
	return 0;
}
