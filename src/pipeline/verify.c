/*
 * Verify: every stored byte of the image is read and checked; with a sample, that share of each
 * chunk's frames, at least one. What does not hold is noted, and the job goes on: one run names all
 * the damage. Memory and threads are the engine's.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/engine.h"
#include "pipeline/walk.h"

struct verify_job {
	struct job base;
	struct verify v;
	struct walk walk;
	uint64_t all, checked; /* reader: frames met, and frames read */
	bool chunk_sampled;    /* reader: the chunk under way has had a frame read */
};

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static uint64_t mix(uint64_t x)
{
	x += 0x9E3779B97F4A7C15u;
	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
	x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
	return x ^ (x >> 31);
}

/* Is this frame in the sample? The last frame of a chunk is, when no other was. */
static bool sampled(struct verify_job *v)
{
	const struct chunk *c = v->walk.chunk;
	bool last = v->walk.index == c->count;
	uint64_t x;
	bool yes;

	if (v->walk.index == 1)
		v->chunk_sampled = false;
	if (v->v.sample_percent >= 100)
		return true;
	x = mix(v->v.seed ^ mix(c->number << 20 | v->walk.index));
	yes = x % 100 < v->v.sample_percent || (last && !v->chunk_sampled);
	v->chunk_sampled |= yes;
	return yes;
}

static void publish_counts(struct verify_job *v)
{
	pthread_mutex_lock(&v->base.lock);
	v->base.blocks_all = v->all;
	v->base.blocks_checked = v->checked;
	pthread_mutex_unlock(&v->base.lock);
}

/* A table that can't be used costs its chunk, not the run. */
static int lose_chunk(struct verify_job *v, const struct err *e)
{
	uint64_t off = v->walk.off, len = walk_skip_chunk(&v->walk);

	engine_lost(&v->base, off, len, 0, e->msg);
	return 0;
}

static int verify_plan(struct job *j, struct slot *s, struct err *e)
{
	struct verify_job *v = (struct verify_job *)j;
	int rc;

	for (;;) {
		rc = walk_next(&v->walk, &s->entry, e);
		if (rc < 0 && (e->code == ERR_DAMAGED || e->code == ERR_SOURCE)) {
			lose_chunk(v, e);
			continue;
		}
		if (rc <= 0) {
			publish_counts(v);
			return rc;
		}
		v->all++;
		if (sampled(v))
			break;
	}
	v->checked++;
	s->off = s->entry.off;
	s->len = s->entry.len;
	s->kind = s->entry.kind;
	s->weight = s->kind == ENTRY_DATA ? s->len : 0;
	s->needs_work = true;
	engine_add_read(s, s->entry.file_off, s->in, s->entry.stored);
	return 1;
}

static int verify_read_failed(struct job *j, struct slot *s, struct aio_req *r, struct err *e)
{
	(void)e;
	engine_lost(j, s->off, s->len, s->entry.file_off, r->error.msg);
	s->lost = true;
	return 0;
}

/* The hole frame's bytes follow from its length: stock zstd depends on them. */
static bool hole_holds(const struct slot *s)
{
	uint8_t want[4096];
	size_t from = 0;

	while (from < s->entry.stored) {
		size_t n = hole_bytes(s->entry.len, from, want, sizeof(want));

		if (n == 0 || n > s->entry.stored - from || memcmp(s->in + from, want, n) != 0)
			return false;
		from += n;
	}
	return true;
}

static int verify_work(struct job *j, struct worker *w, struct slot *s, struct err *e)
{
	struct verify_job *v = (struct verify_job *)j;
	int rc = 0;

	if (s->lost)
		return 0;
	if (s->kind == ENTRY_DATA)
		rc = image_unpack(v->v.image, w->unpacker, &s->entry, s->in, s->out, e);
	else if (!hole_holds(s))
		rc = err_set(e, ERR_DAMAGED, 0,
			"%s: hole frame of source offset %" PRIu64 " at file offset %" PRIu64
			" is not what its length says",
			dev_name(j->input), s->off, s->entry.file_off);
	if (rc < 0 && e->code != ERR_DAMAGED)
		return rc;
	if (rc < 0)
		engine_lost(j, s->off, s->len, s->entry.file_off, e->msg);
	return 0;
}

static int verify_sink(struct job *j, struct slot *s, struct err *e)
{
	(void)e;
	pthread_mutex_lock(&j->lock);
	j->progress.stored_bytes += s->entry.stored;
	pthread_mutex_unlock(&j->lock);
	return 0;
}

static int verify_finish(struct job *j, struct err *e)
{
	uint64_t count;

	pthread_mutex_lock(&j->lock);
	count = j->loss_all;
	pthread_mutex_unlock(&j->lock);
	if (count == 0)
		return 0;
	return err_set(e, ERR_DAMAGED, 0, "%s: %" PRIu64 " of its parts are damaged; the first: %s",
		dev_name(j->input), count, j->loss_count > 0 ? j->losses[0].why : "not kept");
}

static void verify_close(struct job *j)
{
	struct verify_job *v = (struct verify_job *)j;

	walk_fini(&v->walk);
	free(v);
}

static const struct job_ops verify_ops = {
	.plan = verify_plan,
	.read_failed = verify_read_failed,
	.work = verify_work,
	.sink = verify_sink,
	.finish = verify_finish,
	.close = verify_close,
	.work_is = "checks",
};

int job_verify(const struct verify *v, struct job **out, struct err *e)
{
	const struct image_facts *f = image_facts(v->image);
	struct verify_job *j = calloc(1, sizeof(*j));
	int rc;

	if (j == NULL)
		return err_nomem(e);
	j->v = *v;
	walk_init(&j->walk, v->image, 0, f->head.source_bytes);
	j->base.ops = &verify_ops;
	j->base.input = image_file(v->image);
	j->base.in_bytes =
		max_u64(block_bound(f->head.block_bytes), hole_stored_bytes(HOLE_MAX_BYTES));
	j->base.out_bytes = f->head.block_bytes;
	j->base.max_pieces = 1;
	j->base.progress.total_bytes = f->tail.kind_bytes[ENTRY_DATA];
	rc = engine_start(&j->base, &v->settings, e);
	if (rc < 0) {
		free(j);
		return rc;
	}
	*out = &j->base;
	return 0;
}
