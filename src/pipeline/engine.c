/* The life of a job: its threads, its settings, its end. */
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"
#include "pipeline/engine_int.h"

static unsigned clamp_unsigned(unsigned v, unsigned low, unsigned high)
{
	return v < low ? low : v > high ? high : v;
}

static struct job_settings clamp_settings(const struct job_settings *s)
{
	struct job_settings c = *s;

	c.workers = clamp_unsigned(s->workers, 1, JOB_MAX_WORKERS);
	c.depth = clamp_unsigned(s->depth, 2, JOB_MAX_DEPTH);
	if (c.level < block_level_min())
		c.level = block_level_min();
	if (c.level > block_level_max())
		c.level = block_level_max();
	return c;
}

void slot_free(struct slot *s)
{
	if (s == NULL)
		return;
	free(s->in);
	free(s->out);
	free(s->bad);
	free(s->pieces);
	free(s);
}

static struct slot *slot_new(const struct job *j)
{
	struct slot *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->in = mem_alloc_direct(j->in_bytes);
	s->out = j->out_bytes > 0 ? mem_alloc_direct(j->out_bytes) : NULL;
	s->pieces = calloc(j->max_pieces, sizeof(*s->pieces));
	if (s->in == NULL || s->pieces == NULL || (s->out == NULL && j->out_bytes > 0)) {
		slot_free(s);
		return NULL;
	}
	return s;
}

struct slot *engine_take_free(struct job *j, struct err *e)
{
	struct slot *s = j->free_slots;

	if (s != NULL) {
		j->free_slots = s->next;
	} else {
		s = slot_new(j);
		if (s == NULL) {
			err_nomem(e);
			return NULL;
		}
	}
	j->slots_out++;
	s->bad_count = 0;
	s->piece_count = 0;
	s->pending = 0;
	s->stored = 0;
	s->weight = 0;
	s->needs_work = false;
	s->lost = false;
	s->same = false;
	s->writing = false;
	s->worked = false;
	s->next = NULL;
	return s;
}

void engine_put_free(struct job *j, struct slot *s)
{
	j->slots_out--;
	/* A depth that was lowered gives its memory back. */
	if (j->slots_out >= j->settings.depth) {
		slot_free(s);
	} else {
		s->next = j->free_slots;
		j->free_slots = s;
	}
	pthread_cond_signal(&j->for_reader);
}

void engine_fail(struct job *j, const struct err *e)
{
	pthread_mutex_lock(&j->lock);
	if (j->error.code == ERR_OK)
		j->error = *e;
	j->stop = true;
	pthread_cond_broadcast(&j->for_reader);
	pthread_cond_broadcast(&j->for_workers);
	pthread_cond_broadcast(&j->for_sink);
	pthread_mutex_unlock(&j->lock);
}

bool engine_stopping(struct job *j)
{
	bool stop;

	pthread_mutex_lock(&j->lock);
	stop = j->stop;
	pthread_mutex_unlock(&j->lock);
	return stop;
}

static int worker_new(struct job *j, unsigned index, struct err *e)
{
	struct worker *w = &j->workers[index];
	int rc;

	w->job = j;
	w->index = index;
	rc = packer_new(&w->packer, e);
	if (rc == 0)
		rc = unpacker_new(&w->unpacker, e);
	if (rc == 0) {
		int sys = pthread_create(&w->thread, NULL, engine_worker_main, w);

		if (sys != 0)
			rc = err_set(e, ERR_INTERNAL, sys, "start worker %u", index);
	}
	if (rc < 0) {
		packer_free(w->packer);
		unpacker_free(w->unpacker);
		w->packer = NULL;
		w->unpacker = NULL;
		return rc;
	}
	j->worker_count = index + 1;
	return 0;
}

/* Threads never see the program's signals: those are for the thread that waits for the job. */
static void block_signals(sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

/* With the lock held, or before any thread runs. */
static int grow_workers(struct job *j, unsigned count, struct err *e)
{
	sigset_t old;
	int rc = 0;

	block_signals(&old);
	while (rc == 0 && j->worker_count < count)
		rc = worker_new(j, j->worker_count, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

static int make_threads(struct job *j, struct err *e)
{
	sigset_t old;
	int sys;

	block_signals(&old);
	sys = pthread_create(&j->reader, NULL, engine_reader_main, j);
	if (sys == 0) {
		j->threads_left = 1;
		sys = pthread_create(&j->sink, NULL, engine_sink_main, j);
		if (sys == 0)
			j->threads_left = 2;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (sys == 0) {
		j->threads_made = true;
		return 0;
	}
	err_set(e, ERR_INTERNAL, sys, "start the threads of a job");
	pthread_mutex_unlock(&j->lock);
	engine_fail(j, e);
	if (j->threads_left == 1)
		pthread_join(j->reader, NULL);
	pthread_mutex_lock(&j->lock);
	return -ERR_INTERNAL;
}

/*
 * With the lock held, or before any thread runs. Of a slot's buffers one is for the plain block; a
 * job that writes what it read has no other.
 */
static void set_limit(struct job *j)
{
	uint64_t block = j->out_bytes == 0 ? j->in_bytes : min_u64(j->in_bytes, j->out_bytes);

	rate_limit_set(&j->limit, j->settings.max_bytes_per_s, block, clock_ns());
}

int engine_start(struct job *j, const struct job_settings *s, struct err *e)
{
	pthread_condattr_t attr;
	int rc;

	pthread_mutex_init(&j->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->for_reader, &attr);
	pthread_cond_init(&j->for_workers, &attr);
	pthread_cond_init(&j->for_sink, &attr);
	pthread_cond_init(&j->for_waiters, &attr);
	pthread_condattr_destroy(&attr);
	j->settings = clamp_settings(s);
	j->end_ticket = UINT64_MAX;
	j->started_ns = clock_ns();
	j->moved_ns = j->started_ns;
	set_limit(j);
	rc = aio_open(j->input, AIO_DEPTH, &j->read_aio, e);
	if (rc == 0 && j->output != NULL)
		rc = aio_open(j->output, AIO_DEPTH, &j->write_aio, e);
	/* The lock keeps the threads at their start until all of them were made. */
	pthread_mutex_lock(&j->lock);
	if (rc == 0)
		rc = grow_workers(j, j->settings.workers, e);
	if (rc == 0)
		rc = make_threads(j, e);
	pthread_mutex_unlock(&j->lock);
	if (rc < 0)
		engine_fini(j);
	return rc;
}

static void free_slots(struct job *j)
{
	while (j->free_slots != NULL) {
		struct slot *s = j->free_slots;

		j->free_slots = s->next;
		slot_free(s);
	}
	for (size_t i = 0; i < COUNT_OF(j->tickets); i++)
		slot_free(j->tickets[i]);
}

void engine_fini(struct job *j)
{
	struct err e;

	err_set(&e, ERR_CANCELLED, 0, "cancelled");
	engine_fail(j, &e);
	if (j->threads_made) {
		pthread_join(j->reader, NULL);
		pthread_join(j->sink, NULL);
	}
	for (unsigned i = 0; i < j->worker_count; i++) {
		pthread_join(j->workers[i].thread, NULL);
		packer_free(j->workers[i].packer);
		unpacker_free(j->workers[i].unpacker);
	}
	aio_close(j->read_aio);
	aio_close(j->write_aio);
	free_slots(j);
	free(j->losses);
	pthread_cond_destroy(&j->for_reader);
	pthread_cond_destroy(&j->for_workers);
	pthread_cond_destroy(&j->for_sink);
	pthread_cond_destroy(&j->for_waiters);
	pthread_mutex_destroy(&j->lock);
}

void job_close(struct job *j)
{
	if (j == NULL)
		return;
	engine_fini(j);
	j->ops->close(j);
}

void job_set(struct job *j, const struct job_settings *s)
{
	struct job_settings c = clamp_settings(s);

	pthread_mutex_lock(&j->lock);
	/* When no more threads can be had, the settings in force say so. */
	if (!j->stop && c.workers > j->worker_count && grow_workers(j, c.workers, NULL) < 0)
		c.workers = j->worker_count;
	j->settings = c;
	set_limit(j);
	pthread_cond_broadcast(&j->for_reader);
	pthread_cond_broadcast(&j->for_workers);
	pthread_mutex_unlock(&j->lock);
}

void job_pause(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	if (!j->paused) {
		j->paused = true;
		j->paused_since_ns = clock_ns();
	}
	pthread_mutex_unlock(&j->lock);
}

void job_resume(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	if (j->paused) {
		j->paused = false;
		j->moved_ns = clock_ns();
		j->progress.paused_ns += clock_ns() - j->paused_since_ns;
		pthread_cond_broadcast(&j->for_reader);
	}
	pthread_mutex_unlock(&j->lock);
}

void job_cancel(struct job *j, bool after_chunk)
{
	struct err e;
	bool ended;

	if (after_chunk && j->stop_multiple > 0) {
		pthread_mutex_lock(&j->lock);
		j->stop_after_chunk = true;
		pthread_cond_broadcast(&j->for_reader);
		pthread_mutex_unlock(&j->lock);
		job_resume(j);
		return;
	}
	pthread_mutex_lock(&j->lock);
	ended = j->threads_left == 0;
	pthread_mutex_unlock(&j->lock);
	/* What has ended stays as it ended. */
	if (ended)
		return;
	err_set(&e, ERR_CANCELLED, 0, "cancelled");
	engine_fail(j, &e);
}

/* One look of the watchdog in so many milliseconds. */
#define WATCH_MS 250

bool job_stalled(struct job *j)
{
	bool stalled;

	pthread_mutex_lock(&j->lock);
	stalled = j->stalled;
	pthread_mutex_unlock(&j->lock);
	return stalled;
}

/* With the lock held: the job has ended, or must be taken for ended. */
static bool over(struct job *j)
{
	uint64_t limit_ns = j->settings.stall_ms * NS_PER_MS, now = clock_ns();
	/* A limit that makes everybody wait is no stall. */
	uint64_t since = max_u64(j->moved_ns, min_u64(j->limit.from_ns, now));

	if (j->threads_left == 0 || j->stalled)
		return true;
	if (limit_ns == 0 || j->paused || now - since < limit_ns)
		return false;
	j->stalled = true;
	engine_stall_error(j, now);
	j->stop = true;
	pthread_cond_broadcast(&j->for_reader);
	pthread_cond_broadcast(&j->for_workers);
	pthread_cond_broadcast(&j->for_sink);
	return true;
}

int job_wait(struct job *j, int timeout_ms, struct err *e)
{
	uint64_t end_ns =
		timeout_ms < 0 ? UINT64_MAX : clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	bool ended;

	pthread_mutex_lock(&j->lock);
	while (!(ended = over(j)) && clock_ns() < end_ns) {
		struct timespec until =
			clock_timespec(min_u64(end_ns, clock_ns() + WATCH_MS * NS_PER_MS));

		pthread_cond_timedwait(&j->for_waiters, &j->lock, &until);
	}
	if (ended && e != NULL)
		*e = j->error;
	pthread_mutex_unlock(&j->lock);
	return ended ? 1 : 0;
}
