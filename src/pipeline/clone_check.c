/* Is on the target of a clone what was written there? */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/clone.h"

struct clone_check_job {
	struct job base;
	const struct sums *sums;
	bool free_is_zero;
	uint64_t next; /* reader: offset of the next ticket */
};

static bool looked_at(const struct clone_check_job *c, uint64_t block)
{
	return c->sums->kinds[block] != ENTRY_FREE || c->free_is_zero;
}

static int check_plan(struct job *j, struct slot *s, struct err *e)
{
	struct clone_check_job *c = (struct clone_check_job *)j;
	const struct sums *sums = c->sums;
	uint64_t block = c->next / sums->block_bytes;

	(void)e;
	if (c->next >= sums->size)
		return 0;
	s->off = c->next;
	s->len = min_u64(sums->block_bytes, sums->size - s->off);
	s->kind = (enum entry_kind)sums->kinds[block];
	c->next += s->len;
	if (!looked_at(c, block)) {
		/* A run of what is not looked at is one ticket. */
		while (c->next < sums->size && !looked_at(c, ++block))
			c->next = min_u64(c->next + sums->block_bytes, sums->size);
		s->len = c->next - s->off;
		return 1;
	}
	s->weight = s->len;
	s->needs_work = true;
	engine_add_read(s, s->off, s->in, (size_t)s->len);
	return 1;
}

static int check_read_failed(struct job *j, struct slot *s, struct aio_req *r, struct err *e)
{
	(void)e;
	engine_lost(j, s->off, s->len, 0, r->error.msg);
	s->lost = true;
	return 0;
}

static int check_work(struct job *j, struct worker *w, struct slot *s, struct err *e)
{
	struct clone_check_job *c = (struct clone_check_job *)j;
	uint8_t sum[HASH_MAX_BYTES];

	(void)w;
	(void)e;
	if (s->lost)
		return 0;
	if (s->kind == ENTRY_DATA) {
		hash_bytes(HASH_XXH3, s->in, (size_t)s->len, sum);
		s->same = memcmp(sum, c->sums->hashes[s->off / c->sums->block_bytes], XXH3_BYTES) ==
			0;
	} else {
		s->same = mem_is_zero(s->in, (size_t)s->len);
	}
	if (!s->same)
		engine_lost(j, s->off, s->len, 0, "differs from the source");
	return 0;
}

static int check_sink(struct job *j, struct slot *s, struct err *e)
{
	(void)e;
	pthread_mutex_lock(&j->lock);
	if (s->same)
		j->progress.same_bytes += s->len;
	pthread_mutex_unlock(&j->lock);
	return 0;
}

static int check_finish(struct job *j, struct err *e)
{
	uint64_t count, bytes;

	pthread_mutex_lock(&j->lock);
	count = j->loss_all;
	bytes = j->progress.bad_bytes;
	pthread_mutex_unlock(&j->lock);
	if (count == 0)
		return 0;
	return err_set(e, ERR_TARGET, 0,
		"%s does not hold what was written: %" PRIu64 " bytes in %" PRIu64 " places differ",
		dev_name(j->input), bytes, count);
}

static void check_close(struct job *j)
{
	free(j);
}

static const struct job_ops check_ops = {
	.plan = check_plan,
	.read_failed = check_read_failed,
	.work = check_work,
	.sink = check_sink,
	.finish = check_finish,
	.close = check_close,
	.work_is = "checks",
};

int job_clone_check(const struct clone_check *c, struct job **out, struct err *e)
{
	const struct sums *sums = clone_sums(c->clone);
	struct clone_check_job *j;
	int rc;

	if (sums == NULL)
		return err_set(e, ERR_USAGE, 0, "a job that was no clone");
	if (dev_size(c->target) < sums->size)
		return err_set(e, ERR_USAGE, 0, "%s is smaller than what was cloned",
			dev_name(c->target));
	j = calloc(1, sizeof(*j));
	if (j == NULL)
		return err_nomem(e);
	j->sums = sums;
	j->free_is_zero = c->free_is_zero;
	j->base.ops = &check_ops;
	j->base.input = c->target;
	j->base.in_bytes = sums->block_bytes;
	j->base.max_pieces = 1;
	j->base.progress.total_bytes = sums->size;
	rc = engine_start(&j->base, &c->settings, e);
	if (rc < 0) {
		free(j);
		return rc;
	}
	*out = &j->base;
	return 0;
}
