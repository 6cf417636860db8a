/* Progress snapshots, and what was lost on the way. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "pipeline/engine_int.h"

#define SAMPLE_NS (250 * NS_PER_MS)

void engine_sample(struct job *j, uint64_t now_ns)
{
	unsigned last = (j->sample_next + RATE_SAMPLES - 1) % RATE_SAMPLES;

	if (now_ns - j->samples[last].at_ns < SAMPLE_NS)
		return;
	j->samples[j->sample_next] = (struct rate_sample){ now_ns, j->progress.done_bytes };
	j->sample_next = (j->sample_next + 1) % RATE_SAMPLES;
}

/* Over the last RATE_SAMPLES samples, or since the start. */
static uint64_t rate(const struct job *j, uint64_t now_ns)
{
	struct rate_sample oldest = j->samples[j->sample_next];
	uint64_t ns;

	if (oldest.at_ns == 0)
		oldest = (struct rate_sample){ j->started_ns, 0 };
	ns = now_ns - oldest.at_ns;
	if (ns == 0)
		return 0;
	return (uint64_t)((double)(j->progress.done_bytes - oldest.bytes) * 1e9 / (double)ns);
}

static enum job_state state(const struct job *j)
{
	if (j->threads_left > 0)
		return j->paused ? JOB_PAUSED : JOB_RUNNING;
	switch (j->error.code) {
	case ERR_OK:
	case ERR_BAD_SECTORS:
		return JOB_DONE;
	case ERR_CANCELLED:
		return JOB_CANCELLED;
	default:
		return JOB_FAILED;
	}
}

void job_progress(struct job *j, struct job_progress *p)
{
	uint64_t now = clock_ns();

	pthread_mutex_lock(&j->lock);
	if (j->ended_ns != 0)
		now = j->ended_ns;
	*p = j->progress;
	p->state = state(j);
	p->settings = j->settings;
	p->elapsed_ns = now - j->started_ns;
	if (j->paused)
		p->paused_ns += now - j->paused_since_ns;
	p->rate_bytes_per_s = rate(j, now);
	p->queued = j->ready_count;
	p->in_flight = j->slots_out;
	pthread_mutex_unlock(&j->lock);
}

/* With the lock held: room for one more, or NULL when the limit or memory says no. */
static struct job_loss *new_loss(struct job *j)
{
	struct job_loss *grown;

	if (j->loss_count >= LOSSES_KEPT)
		return NULL;
	if ((j->loss_count & (j->loss_count + 1)) == 0) {
		grown = realloc(j->losses, (2 * j->loss_count + 1) * sizeof(*grown));
		if (grown == NULL)
			return NULL;
		j->losses = grown;
	}
	return &j->losses[j->loss_count++];
}

void engine_lost(struct job *j, uint64_t off, uint64_t len, uint64_t file_off, const char *why)
{
	struct job_loss *l;

	pthread_mutex_lock(&j->lock);
	j->loss_all++;
	j->progress.bad_count++;
	j->progress.bad_bytes += len;
	l = new_loss(j);
	if (l != NULL) {
		l->off = off;
		l->len = len;
		l->file_off = file_off;
		snprintf(l->why, sizeof(l->why), "%s", why);
	}
	pthread_mutex_unlock(&j->lock);
}

void engine_moved(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	j->moved_ns = clock_ns();
	pthread_mutex_unlock(&j->lock);
}

/* So many workers are named; the others are counted. */
#define WORKERS_TOLD 3

/* A text of bounded length: what does not fit is cut off. */
struct text {
	char s[400];
	size_t len;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->len, sizeof(t->s) - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len = min_u64(t->len + (size_t)n, sizeof(t->s) - 1);
}

static const struct slot *ticket_at(const struct job *j, uint64_t ticket)
{
	const struct slot *s = j->tickets[ticket % JOB_MAX_DEPTH];

	return s != NULL && s->ticket == ticket ? s : NULL;
}

/* The oldest ticket that is not read yet, or NULL. */
static const struct slot *unread(const struct job *j)
{
	for (uint64_t n = j->next_sink; n < j->planned; n++) {
		const struct slot *s = ticket_at(j, n);

		if (s != NULL && s->pending > 0)
			return s;
	}
	return NULL;
}

static void tell_reader(const struct job *j, struct text *t)
{
	const struct doing *r = &j->reader_doing;
	const struct slot *s = r->plans ? NULL : unread(j);

	add(t, "the reader %s", r->what != NULL ? r->what : "has nothing to do");
	if (s != NULL)
		add(t, " at source offset %" PRIu64 " (ticket %" PRIu64 ")", s->off, s->ticket);
	else if (r->plans)
		add(t, " at ticket %" PRIu64 ", after source offset %" PRIu64, j->planned, r->off);
}

static void tell_workers(const struct job *j, struct text *t)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < j->worker_count; i++) {
		const struct slot *s = j->workers[i].busy;

		if (s != NULL && busy++ < WORKERS_TOLD)
			add(t, "; worker %u %s ticket %" PRIu64 ", block at %" PRIu64, i,
				j->ops->work_is, s->ticket, s->off);
	}
	if (busy > WORKERS_TOLD)
		add(t, "; %u more are busy", busy - WORKERS_TOLD);
	if (busy == 0)
		add(t, "; no worker is busy");
	if (j->ready_count > 0)
		add(t, "; %u blocks wait for a worker", j->ready_count);
}

static void tell_sink(const struct job *j, struct text *t)
{
	const struct slot *s = ticket_at(j, j->next_sink);

	add(t, "; the ordered end ");
	if (j->sink_doing.what != NULL)
		add(t, "%s", j->sink_doing.what);
	else if (s == NULL)
		add(t, "waits for the reader");
	else
		add(t, "waits for a %s", s->pending > 0 ? "read" : "worker");
	if (s != NULL)
		add(t, " (ticket %" PRIu64 ", block at %" PRIu64 ")", s->ticket, s->off);
	else
		add(t, " (after %" PRIu64 " tickets)", j->next_sink);
}

/* LESSONS 39: a stall says what waits for what. The code is that of the side that does not
 * answer. */
void engine_stall_error(struct job *j, uint64_t now_ns)
{
	bool target = j->sink_doing.what != NULL && j->target != NULL;
	struct text t = { 0 };

	if (j->error.code != ERR_OK)
		return;
	tell_reader(j, &t);
	tell_workers(j, &t);
	tell_sink(j, &t);
	err_set(&j->error, target ? ERR_TARGET : ERR_SOURCE, 0,
		"%s: nothing has moved for %" PRIu64 " s: %s",
		target ? j->target : dev_name(j->input), (now_ns - j->moved_ns) / NS_PER_S, t.s);
}

size_t job_loss_count(const struct job *j)
{
	return j->loss_count;
}

const struct job_loss *job_loss_at(const struct job *j, size_t i)
{
	return i < j->loss_count ? &j->losses[i] : NULL;
}

void job_blocks(const struct job *j, uint64_t *checked, uint64_t *all)
{
	*checked = j->blocks_checked;
	*all = j->blocks_all;
}
