/*
 * The three stages. Reader: gives out tickets in order, keeps reads in flight, never waits for a
 * free slot while a read could be taken back. Workers: any ticket that is read, oldest first.
 * Ordered end: the tickets in their order; its writes complete in any order.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/engine_int.h"

/* How many reads are queued before the kernel is told: few calls, and no idle device. */
#define KICK_BATCH 4

enum take { TAKE_SLOT, TAKE_LATER, TAKE_END };

/* With the lock held: may the reader plan another ticket now? until_ns: when it should look
 * again. */
static enum take may_take(struct job *j, uint64_t *until_ns)
{
	*until_ns = 0;
	if (j->stop)
		return TAKE_END;
	if (j->paused)
		return TAKE_LATER;
	if (j->slots_out >= j->settings.depth || j->planned - j->next_sink >= JOB_MAX_DEPTH)
		return TAKE_LATER;
	*until_ns = rate_limit_until(&j->limit, clock_ns());
	return *until_ns > 0 ? TAKE_LATER : TAKE_SLOT;
}

/*
 * A slot for the next ticket. When there is none now: with `block`, wait; without, NULL and
 * TAKE_LATER, so that the reader can take back reads meanwhile.
 */
static enum take take_slot(struct job *j, bool block, struct slot **out, struct err *e)
{
	uint64_t from = clock_ns(), until;
	enum take t;

	*out = NULL;
	pthread_mutex_lock(&j->lock);
	j->reader_doing = (struct doing){ "waits for a free slot", j->reader_doing.off, true };
	while ((t = may_take(j, &until)) == TAKE_LATER && block) {
		struct timespec ts = clock_timespec(until);

		if (until > 0)
			pthread_cond_timedwait(&j->for_reader, &j->lock, &ts);
		else
			pthread_cond_wait(&j->for_reader, &j->lock);
	}
	if (block)
		j->progress.full_ns += clock_ns() - from;
	if (t == TAKE_SLOT) {
		/* Which may read a block table, and so may hang. */
		j->reader_doing.what = "looks up the next block";
		*out = engine_take_free(j, e);
		if (*out != NULL)
			(*out)->level = j->settings.level;
	}
	pthread_mutex_unlock(&j->lock);
	return t;
}

/* With the lock held: the slot has all its bytes. */
static void slot_is_read(struct job *j, struct slot *s)
{
	if (!s->needs_work) {
		s->worked = true;
		if (s->ticket == j->next_sink)
			pthread_cond_signal(&j->for_sink);
		return;
	}
	s->next = NULL;
	if (j->ready_last != NULL)
		j->ready_last->next = s;
	else
		j->ready_first = s;
	j->ready_last = s;
	j->ready_count++;
	/* Sleepers over the number in force share the condition: wake all when there are any. */
	if (j->worker_count > j->settings.workers)
		pthread_cond_broadcast(&j->for_workers);
	else
		pthread_cond_signal(&j->for_workers);
}

void engine_add_read(struct slot *s, uint64_t off, void *buf, size_t len)
{
	struct piece *p = &s->pieces[s->piece_count++];

	memset(p, 0, sizeof(*p));
	p->slot = s;
	p->req.op = AIO_READ;
	p->req.off = off;
	p->req.buf = buf;
	p->req.len = len;
	p->req.user = p;
}

int slot_add_bad(struct slot *s, uint64_t off, uint64_t len, struct err *e)
{
	struct bad_range *last = s->bad_count > 0 ? &s->bad[s->bad_count - 1] : NULL;

	if (last != NULL && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	if (s->bad_count == s->bad_cap) {
		size_t cap = 2 * s->bad_cap + 4;
		struct bad_range *grown = realloc(s->bad, cap * sizeof(*grown));

		if (grown == NULL)
			return err_nomem(e);
		s->bad = grown;
		s->bad_cap = cap;
	}
	s->bad[s->bad_count++] = (struct bad_range){ off, len };
	return 0;
}

static void reader_is(struct job *j, const char *what)
{
	pthread_mutex_lock(&j->lock);
	j->reader_doing.what = what;
	j->reader_doing.plans = false;
	pthread_mutex_unlock(&j->lock);
}

/* Take one completed read back; `block` waits for it. 1: took one. */
static int take_back(struct job *j, bool block, struct err *e)
{
	uint64_t from = clock_ns();
	struct aio_req *r;
	struct slot *s;
	int rc = 0;

	if (block)
		reader_is(j, "waits for the source");
	r = aio_wait(j->read_aio, block);
	if (r == NULL)
		return 0;
	s = ((struct piece *)r->user)->slot;
	if (r->status < 0) {
		reader_is(j, "reads bad sectors again");
		rc = j->ops->read_failed(j, s, r, e);
	}
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&j->lock);
	j->moved_ns = clock_ns();
	j->reader_doing.off = s->off;
	if (block)
		j->progress.reading_ns += j->moved_ns - from;
	if (--s->pending == 0)
		slot_is_read(j, s);
	pthread_mutex_unlock(&j->lock);
	return 1;
}

/* Queue the slot's reads, at most AIO_DEPTH in flight. */
static int queue_reads(struct job *j, struct slot *s, struct err *e)
{
	int rc;

	for (unsigned i = 0; i < s->piece_count; i++) {
		while (aio_in_flight(j->read_aio) >= AIO_DEPTH) {
			rc = take_back(j, true, e);
			if (rc < 0)
				return rc;
		}
		rc = aio_queue(j->read_aio, &s->pieces[i].req, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Plan into the slot; *ended when there is no more, or the job stops at this chunk. */
static int plan_ticket(struct job *j, struct slot *s, bool *ended, struct err *e)
{
	int rc = j->ops->plan(j, s, e);
	bool reads = s->piece_count > 0;
	uint64_t read_bytes = 0;

	pthread_mutex_lock(&j->lock);
	if (rc == 1 && j->stop_after_chunk && s->off % j->stop_multiple == 0) {
		j->cut = true;
		rc = 0;
	}
	if (rc <= 0) {
		engine_put_free(j, s);
		*ended = rc == 0;
	} else {
		s->ticket = j->planned++;
		s->pending = s->piece_count;
		for (unsigned i = 0; i < s->piece_count; i++)
			read_bytes += s->pieces[i].req.len;
		/* A job that reads packed blocks is limited by what is in them. */
		read_bytes = max_u64(read_bytes, s->weight);
		if (read_bytes > 0)
			rate_limit_charge(&j->limit, read_bytes, clock_ns());
		j->tickets[s->ticket % JOB_MAX_DEPTH] = s;
		if (s->pending == 0)
			slot_is_read(j, s);
	}
	pthread_mutex_unlock(&j->lock);
	/* Without reads the slot may be somebody else's by now. */
	return rc > 0 && reads ? queue_reads(j, s, e) : rc;
}

static int read_all(struct job *j, struct err *e)
{
	unsigned queued = 0;
	bool ended = false;
	int rc = 0;

	while (rc >= 0) {
		struct slot *s = NULL;
		bool idle = aio_in_flight(j->read_aio) == 0;
		enum take t = ended ? TAKE_LATER : take_slot(j, idle, &s, e);

		if (t == TAKE_END || (ended && idle))
			return 0;
		if (t == TAKE_SLOT) {
			rc = s == NULL ? -ERR_INTERNAL : plan_ticket(j, s, &ended, e);
			if (rc >= 0 && ++queued % KICK_BATCH == 0)
				rc = aio_kick(j->read_aio, e);
			if (rc >= 0)
				rc = take_back(j, false, e);
		} else {
			rc = take_back(j, true, e);
		}
	}
	return rc;
}

static void thread_ended(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	if (--j->threads_left == 0) {
		if (j->cut && j->error.code == ERR_OK)
			err_set(&j->error, ERR_CANCELLED, 0, "cancelled");
		j->ended_ns = clock_ns();
		j->stop = true; /* sends the workers home */
		pthread_cond_broadcast(&j->for_workers);
		pthread_cond_broadcast(&j->for_waiters);
	}
	pthread_mutex_unlock(&j->lock);
}

void *engine_reader_main(void *arg)
{
	struct job *j = arg;
	struct err e = { 0 };

	if (read_all(j, &e) < 0)
		engine_fail(j, &e);
	/* Reads still in flight write into slots: they must be back before anything is freed. */
	while (aio_in_flight(j->read_aio) > 0 && aio_wait(j->read_aio, true) != NULL)
		;
	pthread_mutex_lock(&j->lock);
	j->reader_doing = (struct doing){ "is through", j->reader_doing.off, false };
	j->end_ticket = j->planned;
	pthread_cond_signal(&j->for_sink);
	pthread_mutex_unlock(&j->lock);
	thread_ended(j);
	return NULL;
}

/* With the lock held. NULL: leave. */
static struct slot *next_ready(struct worker *w)
{
	struct job *j = w->job;
	uint64_t from = clock_ns();
	struct slot *s;

	while (!j->stop && (j->ready_first == NULL || w->index >= j->settings.workers))
		pthread_cond_wait(&j->for_workers, &j->lock);
	if (w->index < j->settings.workers)
		j->progress.idle_ns += clock_ns() - from;
	if (j->stop)
		return NULL;
	s = j->ready_first;
	j->ready_first = s->next;
	if (j->ready_first == NULL)
		j->ready_last = NULL;
	j->ready_count--;
	w->busy = s;
	return s;
}

void *engine_worker_main(void *arg)
{
	struct worker *w = arg;
	struct job *j = w->job;
	struct err e = { 0 };
	struct slot *s;

	pthread_mutex_lock(&j->lock);
	while ((s = next_ready(w)) != NULL) {
		uint64_t from = clock_ns();
		int rc;

		pthread_mutex_unlock(&j->lock);
		rc = j->ops->work(j, w, s, &e);
		if (rc < 0)
			engine_fail(j, &e);
		pthread_mutex_lock(&j->lock);
		w->busy = NULL;
		j->moved_ns = clock_ns();
		j->progress.working_ns += j->moved_ns - from;
		s->worked = rc >= 0;
		if (s->worked && s->ticket == j->next_sink)
			pthread_cond_signal(&j->for_sink);
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

/* With the lock held: the ticket whose turn it is, when the workers are through with it. */
static struct slot *next_worked(struct job *j)
{
	struct slot *s = j->tickets[j->next_sink % JOB_MAX_DEPTH];

	if (j->stop || s == NULL || s->ticket != j->next_sink || !s->worked)
		return NULL;
	return s;
}

/* off UINT64_MAX: where it was. */
static void sink_is(struct job *j, const char *what, uint64_t off)
{
	pthread_mutex_lock(&j->lock);
	j->sink_doing.what = what;
	if (off != UINT64_MAX)
		j->sink_doing.off = off;
	pthread_mutex_unlock(&j->lock);
}

/* Take one completed write back. */
static int write_back(struct job *j, bool block, struct err *e)
{
	struct aio_req *r;
	int rc = 0;

	sink_is(j, "waits for the target", UINT64_MAX);
	r = aio_wait(j->write_aio, block);
	if (r == NULL)
		return 0;
	if (r->status < 0) {
		*e = r->error;
		rc = r->status;
	}
	pthread_mutex_lock(&j->lock);
	j->moved_ns = clock_ns();
	j->sink_doing.what = NULL;
	engine_put_free(j, ((struct piece *)r->user)->slot);
	pthread_mutex_unlock(&j->lock);
	return rc;
}

static bool writes_in_flight(const struct job *j)
{
	return j->write_aio != NULL && aio_in_flight(j->write_aio) > 0;
}

/* The next ticket, or NULL at the end or when the job stops; *rc gets a failed write. */
static struct slot *wait_worked(struct job *j, int *rc, struct err *e)
{
	uint64_t from = clock_ns();
	struct slot *s = NULL;

	pthread_mutex_lock(&j->lock);
	while ((s = next_worked(j)) == NULL && !j->stop && j->next_sink != j->end_ticket) {
		if (!writes_in_flight(j)) {
			pthread_cond_wait(&j->for_sink, &j->lock);
			continue;
		}
		pthread_mutex_unlock(&j->lock);
		*rc = write_back(j, true, e);
		pthread_mutex_lock(&j->lock);
		if (*rc < 0)
			break;
	}
	j->progress.ordered_ns += clock_ns() - from;
	if (*rc < 0)
		s = NULL;
	pthread_mutex_unlock(&j->lock);
	return s;
}

int engine_write(struct job *j, struct slot *s, uint64_t off, void *buf, size_t len, struct err *e)
{
	int rc = 0;

	while (rc == 0 && aio_in_flight(j->write_aio) >= AIO_DEPTH)
		rc = write_back(j, true, e);
	if (rc < 0)
		return rc;
	memset(&s->write, 0, sizeof(s->write));
	s->write.slot = s;
	s->write.req.op = AIO_WRITE;
	s->write.req.off = off;
	s->write.req.buf = buf;
	s->write.req.len = len;
	s->write.req.user = &s->write;
	rc = aio_queue(j->write_aio, &s->write.req, e);
	if (rc == 0)
		s->writing = true;
	return rc;
}

static void ticket_done(struct job *j, struct slot *s, uint64_t from_ns)
{
	uint64_t now = clock_ns();

	pthread_mutex_lock(&j->lock);
	j->tickets[s->ticket % JOB_MAX_DEPTH] = NULL;
	j->next_sink++;
	j->moved_ns = now;
	j->sink_doing.what = NULL;
	j->progress.position = s->off + s->len;
	j->progress.done_bytes += s->weight;
	j->progress.kind_bytes[s->kind] += s->len;
	j->progress.writing_ns += now - from_ns;
	engine_sample(j, now);
	if (!s->writing)
		engine_put_free(j, s);
	pthread_mutex_unlock(&j->lock);
}

static int sink_all(struct job *j, struct err *e)
{
	int rc = 0;
	struct slot *s;

	while ((s = wait_worked(j, &rc, e)) != NULL) {
		uint64_t from = clock_ns();

		sink_is(j, "writes", s->off);
		rc = j->ops->sink(j, s, e);
		if (rc == 0 && s->writing)
			rc = aio_kick(j->write_aio, e);
		if (rc < 0 && !s->writing)
			return rc;
		ticket_done(j, s, from);
		while (rc == 0 && writes_in_flight(j) &&
			aio_in_flight(j->write_aio) > AIO_DEPTH / 2)
			rc = write_back(j, true, e);
		if (rc < 0)
			return rc;
	}
	while (rc == 0 && writes_in_flight(j))
		rc = write_back(j, true, e);
	return rc;
}

/* How the job stands when its ordered end has nothing more to take. */
static void stands(struct job *j, bool *failed, bool *stalled)
{
	pthread_mutex_lock(&j->lock);
	*failed = j->stop || j->cut;
	*stalled = j->stalled;
	pthread_mutex_unlock(&j->lock);
}

/* The last step of the job: like all others, the watchdog looks at it. */
static void end_sink(struct job *j)
{
	struct err e = { 0 };
	bool failed, stalled;

	stands(j, &failed, &stalled);
	if (!failed && j->ops->finish != NULL) {
		sink_is(j, "flushes the target", UINT64_MAX);
		if (j->ops->finish(j, &e) < 0)
			engine_fail(j, &e);
		stands(j, &failed, &stalled);
	}
	if (failed && !stalled && j->ops->give_up != NULL) {
		sink_is(j, "flushes what is there", UINT64_MAX);
		j->ops->give_up(j);
	}
}

void *engine_sink_main(void *arg)
{
	struct job *j = arg;
	struct err e = { 0 };

	if (sink_all(j, &e) < 0)
		engine_fail(j, &e);
	while (writes_in_flight(j))
		write_back(j, true, &e);
	end_sink(j);
	thread_ended(j);
	return NULL;
}
