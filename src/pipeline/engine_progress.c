/* Progress snapshots, and what was lost on the way. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

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

/* LESSONS 39: a stall says what waits for what. The code is that of the side that does not
 * answer. */
void engine_stall_error(struct job *j, uint64_t now_ns)
{
	const struct doing *r = &j->reader_doing, *s = &j->sink_doing;
	bool target = s->what != NULL;

	if (j->error.code != ERR_OK)
		return;
	err_set(&j->error, target ? ERR_TARGET : ERR_SOURCE, 0,
		"%s: nothing has moved for %" PRIu64 " s: the reader %s at source offset %" PRIu64
		"; %u of %u workers busy, %u blocks queued; the ordered end %s at %" PRIu64,
		dev_name(target && j->output != NULL ? j->output : j->input),
		(now_ns - j->moved_ns) / NS_PER_S, r->what != NULL ? r->what : "has nothing to do",
		r->off, j->busy_workers, j->settings.workers, j->ready_count,
		target ? s->what : "waits for a block", target ? s->off : j->progress.position);
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
