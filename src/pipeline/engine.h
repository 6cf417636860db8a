/*
 * The engine that all kinds of job share: one reader thread that plans tickets and keeps reads in
 * flight, workers that compress or decompress, and one ordered end that takes the tickets
 * back in their order. A kind of job embeds `struct job`, fills in `struct job_ops`, and never
 * touches a thread.
 *
 * One lock, job.lock, guards everything that is not said to belong to one thread. No operation is
 * called with it held. The first error wins, stops the job, and is what job_wait reports.
 */
#ifndef PIPELINE_ENGINE_H
#define PIPELINE_ENGINE_H

#include <pthread.h>

#include "device/aio.h"
#include "pipeline/pipeline.h"
#include "pipeline/rate_limit.h"

#define RATE_SAMPLES 24

/* A read or write under way for a slot. */
struct piece {
	struct aio_req req;
	struct slot *slot;
};

/*
 * A ticket under way. Belongs to the reader until it is planned and read, then to one worker, then
 * to the ordered end.
 */
struct slot {
	uint64_t ticket;
	uint64_t off, len;    /* source range */
	enum entry_kind kind; /* what it is; capture's worker may turn data into zero */
	bool needs_work;      /* a worker has to see it */
	uint64_t weight; /* bytes that it counts in done_bytes, and at least against the limit */
	uint8_t *in, *out;
	size_t stored; /* frame bytes in `out` (capture) or `in` (the others) */
	uint8_t hash[HASH_MAX_BYTES];
	int level;
	size_t map_hint;	  /* capture: position in the map of `off` */
	struct chunk_entry entry; /* restore, verify */
	bool lost;		  /* restore, verify: the block did not hold, and the job goes on */
	bool same;		  /* restore: the target holds it already */

	struct bad_range *bad;
	size_t bad_count, bad_cap;

	struct piece *pieces;
	unsigned piece_count, pending;
	struct piece write;
	bool writing; /* the ordered end has queued `write`: the slot is free when it completes */

	bool worked; /* under lock: the workers are through with it */
	struct slot *next;
};

struct worker {
	struct job *job;
	unsigned index;
	pthread_t thread;
	struct packer *packer;
	struct unpacker *unpacker;
	const struct slot *busy; /* under job.lock: what it works on */
};

struct job_ops {
	/*
	 * Reader thread: fill the next slot (off, len, kind, needs_work, weight), and add its reads
	 * with engine_add_read. 1: filled; 0: there is no more; negative: failed.
	 */
	int (*plan)(struct job *j, struct slot *s, struct err *e);
	/* Reader thread: a read failed (r->error says how). 0: mended, else the job fails. */
	int (*read_failed)(struct job *j, struct slot *s, struct aio_req *r, struct err *e);
	/* Worker thread. */
	int (*work)(struct job *j, struct worker *w, struct slot *s, struct err *e);
	/* Ordered end, tickets in order. May call engine_write once. */
	int (*sink)(struct job *j, struct slot *s, struct err *e);
	/* Ordered end, once, after the last ticket and its writes, of a job that went through. May
	 * be NULL. */
	int (*finish)(struct job *j, struct err *e);
	/* Ordered end, once, of a job that failed, was cut or cancelled: keep what is worth it. Not
	 * of one that stalled. May be NULL. */
	void (*give_up)(struct job *j);
	/* Frees what the kind of job holds, the struct too. */
	void (*close)(struct job *j);
	/* What a worker does with a ticket, for the watchdog's message: "packs". */
	const char *work_is;
};

/* What a stage is at, for the watchdog's message. */
struct doing {
	const char *what; /* NULL: nothing to wait for */
	uint64_t off;
	bool plans; /* reader: it is at the next ticket, not at one whose reads are under way */
};

struct rate_sample {
	uint64_t at_ns, bytes;
};

struct job {
	const struct job_ops *ops;
	struct dev *input;	    /* what is read asynchronously */
	struct dev *output;	    /* what engine_write writes to; may be NULL */
	const char *target;	    /* for messages: what the ordered end waits for; may be NULL */
	size_t in_bytes, out_bytes; /* buffers of a slot */
	unsigned max_pieces;	    /* reads of a slot */
	uint64_t stop_multiple;	    /* "after the chunk" stops at multiples of it; 0: at once */

	/* Reader thread only. */
	struct aio *read_aio;
	uint64_t planned; /* tickets given out */
	/* Ordered end only. */
	struct aio *write_aio;

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t for_reader, for_workers, for_sink, for_waiters;
	struct job_settings settings;
	struct slot *free_slots;
	unsigned slots_out; /* slots that are not free */
	struct slot *ready_first, *ready_last;
	unsigned ready_count;
	struct slot *tickets[JOB_MAX_DEPTH]; /* by ticket modulo, from planned to taken back */
	uint64_t next_sink;
	uint64_t end_ticket; /* tickets in all, once the reader is through; else UINT64_MAX */
	bool stop;	     /* everybody leaves as soon as possible */
	bool stop_after_chunk;
	bool cut; /* it was: the reader ended before the source did */
	bool paused;
	unsigned threads_left; /* reader and ordered end, still running */
	struct err error;
	struct job_progress progress;
	struct rate_limit limit;
	uint64_t started_ns, paused_since_ns, ended_ns;
	uint64_t moved_ns; /* when something last moved */
	struct doing reader_doing, sink_doing;
	bool stalled;
	struct rate_sample samples[RATE_SAMPLES];
	unsigned sample_next;
	struct job_loss *losses;
	size_t loss_count, loss_all;
	uint64_t blocks_checked, blocks_all;

	pthread_t reader, sink;
	struct worker workers[JOB_MAX_WORKERS];
	unsigned worker_count; /* threads made; those over settings.workers sleep */
	bool threads_made;
};

/*
 * Set up an embedded job (zeroed by the caller) and start its threads. On failure the caller frees
 * its own; engine_fini was called already.
 */
int engine_start(struct job *j, const struct job_settings *s, struct err *e);
/* Stop, join and free what engine_start made. */
void engine_fini(struct job *j);

/* plan: read [off, off + len) of the input into buf, which is in s->in. */
void engine_add_read(struct slot *s, uint64_t off, void *buf, size_t len);
/* sink: write [buf, buf + len) of the slot's memory to the output; completes later. */
int engine_write(struct job *j, struct slot *s, uint64_t off, void *buf, size_t len, struct err *e);
/* Any stage: add a bad range to the slot; adjacent ones are merged. */
int slot_add_bad(struct slot *s, uint64_t off, uint64_t len, struct err *e);
/* Any thread: note what was lost (kept up to a limit, counted beyond it). */
void engine_lost(struct job *j, uint64_t off, uint64_t len, uint64_t file_off, const char *why);
/* Any thread: a long operation is getting on. */
void engine_moved(struct job *j);
/* Any thread: is the job to end as soon as possible? For long loops in an operation. */
bool engine_stopping(struct job *j);

#endif
