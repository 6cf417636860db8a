/*
 * Jobs that move bytes: capture (device and map to image), restore (image to device), verify
 * (image), compare (device against image), clone (device to device). A job has its own threads; the
 * caller starts it, waits with a timeout, takes progress snapshots, changes settings, pauses or
 * cancels it, and closes it.
 *
 *	reader -> ring of block slots -> N workers -> one ordered writer
 *
 * Tickets are in order, so the bytes written do not depend on workers or depth. All functions on
 * struct job are safe from any thread, but for job_close. What a job was given (devices, images,
 * maps) stays the caller's and must outlive the job.
 */
#ifndef PIPELINE_PIPELINE_H
#define PIPELINE_PIPELINE_H

#include "device/dev.h"
#include "format/image.h"
#include "format/writer.h"
#include "map/map.h"

#define JOB_MAX_WORKERS 64
#define JOB_MAX_DEPTH 1024

struct job;

/* May be changed while the job runs. */
struct job_settings {
	unsigned workers;	  /* compressing or decompressing threads in force, 1 to 64 */
	unsigned depth;		  /* block slots in flight, 2 to 1024 */
	int level;		  /* zstd level of blocks read from now on (capture) */
	uint64_t max_bytes_per_s; /* of source (capture) or plain bytes; 0: no limit */
	unsigned stall_ms;	  /* nothing moves for so long: the job fails; 0: wait for ever */
};

enum on_read_error {
	ON_READ_ERROR_ABORT, /* the job fails with ERR_SOURCE */
	ON_READ_ERROR_ZERO,  /* the range is recorded as bad, and the job goes on */
};

/*
 * A capture that ends well (or with ERR_BAD_SECTORS) has completed its image and made it durable:
 * image_writer_finish gives the root hash. One that does not has kept what can be resumed
 * (image_writer_stop), unless it stalled.
 */
struct capture {
	struct dev *source;
	const struct map *map; /* over the whole source; MAP_FREE is left out, the rest is read */
	struct image_writer *writer;
	const struct layout_head *head; /* as given to the writer */
	enum on_read_error on_read_error;
	unsigned read_retries; /* of a range that failed, before it is split */
	struct job_settings settings;
};

enum restore_free {
	/* Of the first two, what lies where signatures do (target_hole.h) reads as zeros. */
	RESTORE_FREE_LEAVE,   /* free space keeps what the target has */
	RESTORE_FREE_DISCARD, /* free space is discarded where the target can */
	RESTORE_FREE_ZERO,    /* free space reads as zeros afterwards */
};

struct restore {
	struct image *image;
	struct dev *target;
	uint64_t source_off, source_len; /* what to restore; len 0: all from source_off on */
	uint64_t target_off;		 /* where it goes */
	enum restore_free free;
	bool target_is_zero;		  /* the target is known to read as zeros: a new file */
	bool only_changed;		  /* the target is read, and only what differs is written */
	enum on_read_error on_read_error; /* zero: damaged and bad ranges are zeroed and counted */
	struct job_settings settings;
};

/*
 * A target against an image's hashes, after a restore: data and zeros must be there; free space is
 * looked at only when it was made to read as zeros. Ends with ERR_TARGET when something differs;
 * the differences are the job's losses.
 */
struct compare {
	struct image *image;
	struct dev *target;
	uint64_t source_off, source_len; /* as in struct restore */
	uint64_t target_off;
	bool free_is_zero;
	struct job_settings settings;
};

/* A device to another, without an image: what the map says matters is read and written. */
struct clone {
	struct dev *source;
	const struct map *map; /* over the whole source */
	struct dev *target;    /* at least as large; the source's offset 0 goes to its offset 0 */
	uint32_t block_bytes; /* the unit of writing and hashing: a power of two, 4 KiB to 16 MiB */
	enum restore_free free;
	bool target_is_zero;
	enum on_read_error on_read_error; /* zero: what can't be read is zeroed and counted */
	unsigned read_retries;
	struct job_settings settings;
};

/* The target of a clone against the hashes of what was written; as struct compare otherwise. */
struct clone_check {
	struct job *clone; /* has ended, and outlives this job */
	struct dev *target;
	bool free_is_zero;
	struct job_settings settings;
};

struct verify {
	struct image *image;
	unsigned sample_percent; /* 100: every block; less: that share of every chunk's blocks */
	uint64_t seed;		 /* of the sample */
	struct job_settings settings;
};

int job_capture(const struct capture *c, struct job **out, struct err *e);
int job_restore(const struct restore *r, struct job **out, struct err *e);
int job_verify(const struct verify *v, struct job **out, struct err *e);
int job_compare(const struct compare *c, struct job **out, struct err *e);
int job_clone(const struct clone *c, struct job **out, struct err *e);
int job_clone_check(const struct clone_check *c, struct job **out, struct err *e);

enum job_state { JOB_RUNNING, JOB_PAUSED, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

struct job_progress {
	enum job_state state;
	struct job_settings settings; /* in force */
	uint64_t total_bytes;	      /* plain bytes that will be read (capture: data of the map) */
	uint64_t done_bytes;	      /* of them */
	uint64_t position;	      /* source offset that the ordered end has reached */
	uint64_t kind_bytes[ENTRY_KINDS]; /* source bytes by enum entry_kind, done */
	uint64_t stored_bytes;	  /* image bytes written (capture) or read (restore, verify) */
	uint64_t committed_bytes; /* image file bytes known to be durable (capture) */
	uint64_t same_bytes; /* the target held them already (restore of what changed, compare) */
	uint64_t bad_bytes;  /* unreadable source bytes (capture), lost plain bytes (others) */
	uint64_t bad_count;
	uint64_t rate_bytes_per_s; /* moving average over some seconds of done_bytes */
	uint64_t elapsed_ns, paused_ns;
	unsigned queued;    /* slots that wait for a worker */
	unsigned in_flight; /* slots in use */
	/* Where the time goes, summed over threads. */
	uint64_t reading_ns; /* the reader waiting for the source */
	uint64_t working_ns; /* workers busy */
	uint64_t idle_ns;    /* workers waiting for input */
	uint64_t writing_ns; /* the ordered end busy, waiting for the target included */
	uint64_t ordered_ns; /* the ordered end waiting for workers */
	uint64_t full_ns;    /* the reader waiting for a free slot */
};

void job_progress(struct job *j, struct job_progress *p);
void job_set(struct job *j, const struct job_settings *s); /* clamped to the limits */
void job_pause(struct job *j);
void job_resume(struct job *j);
/*
 * Stop soon. A capture first lets the chunk under way finish when `after_chunk`, so that it can be
 * resumed; without it the chunk under way is lost. A second call with false hastens the first.
 */
void job_cancel(struct job *j, bool after_chunk);

/*
 * Wait up to timeout_ms (negative: for ever). 1: ended; 0: still running. When it has ended, *e
 * holds its error, or ERR_OK. ERR_BAD_SECTORS: done, but bad ranges were met.
 *
 * It is also the watchdog: a job in which nothing moved for settings.stall_ms (not counting pauses)
 * has ended for job_wait, with an error that says what waits for what. Its threads may be stuck in
 * the kernel: job_stalled is true, and job_close will wait for them.
 */
int job_wait(struct job *j, int timeout_ms, struct err *e);
bool job_stalled(struct job *j);

/*
 * What went wrong block by block (verify, compare, restore with zero); i < count. Valid after the
 * end.
 */
struct job_loss {
	uint64_t off, len; /* source */
	uint64_t file_off;
	char why[160];
};
size_t job_loss_count(const struct job *j);
const struct job_loss *job_loss_at(const struct job *j, size_t i);
/* Blocks looked at and blocks there were (verify: the fraction read). */
void job_blocks(const struct job *j, uint64_t *checked, uint64_t *all);

/* Cancels when it still runs, joins the threads, frees. NULL is fine. */
void job_close(struct job *j);

#endif
