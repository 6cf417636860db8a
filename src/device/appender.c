/*
 * A small number of buffers go round: filled, written, free again. With write-through, a buffer
 * passes a flush of its own before it is free.
 *
 * A commit takes note of the writes then in flight. When the last of them has completed, a flush is
 * queued; when that has completed, `committed` moves. Meanwhile the caller fills other buffers. The
 * steps are taken whenever a completion is seen: in every append that needs a buffer, in commit and
 * in finish.
 *
 * A pipe has one writing thread behind its aio, which keeps the order; there is nothing to flush.
 */
#include "device/appender.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/aio.h"

#define SLOTS 4
#define SLOT_BYTES MIB

enum slot_state { SLOT_FREE, SLOT_FILLING, SLOT_WRITING, SLOT_SYNCING };

struct slot {
	enum slot_state state;
	bool in_commit; /* the commit under way waits for it */
	uint8_t *mem;
	size_t used;
	uint64_t off;
	struct aio_req req;
};

enum commit_state { COMMIT_NONE, COMMIT_WRITES, COMMIT_FLUSH };

struct appender {
	struct dev *out;
	struct aio *aio;
	bool write_through;
	bool sequential;
	bool finished;
	uint64_t offset; /* of the next byte */
	uint64_t committed;
	uint64_t barrier; /* up to here one write at a time; 0: none */
	struct slot slots[SLOTS];
	struct slot *filling; /* NULL when the next byte needs a new slot */
	enum commit_state commit;
	unsigned commit_waits; /* slots with in_commit */
	uint64_t commit_end;
	struct aio_req flush;
	int status; /* of the first failure, negative; sticky */
	struct err error;
};

static int sticky(const struct appender *a, struct err *e)
{
	if (a->status < 0 && e != NULL)
		*e = a->error;
	return a->status;
}

static void take_failure(struct appender *a, int status, const struct err *error)
{
	if (a->status == 0) {
		a->status = status;
		a->error = *error;
	}
}

/* ---- Completions ---- */

static void queue(struct appender *a, struct aio_req *r)
{
	struct err e;
	int rc = aio_queue(a->aio, r, &e);

	/* The queue is as deep as there are requests: this is a mistake of ours. */
	if (rc < 0)
		take_failure(a, rc, &e);
	aio_kick(a->aio, NULL);
}

static void commit_step(struct appender *a)
{
	if (a->commit != COMMIT_WRITES || a->commit_waits > 0)
		return;
	/* After a failed write there is nothing whole to be made durable. */
	if (a->status < 0) {
		a->commit = COMMIT_NONE;
		return;
	}
	a->commit = COMMIT_FLUSH;
	a->flush.op = AIO_FLUSH;
	queue(a, &a->flush);
}

static void slot_done(struct appender *a, struct slot *s)
{
	if (s->req.status < 0)
		take_failure(a, s->req.status, &s->req.error);
	if (s->state == SLOT_WRITING && a->write_through && !a->sequential && a->status == 0) {
		s->state = SLOT_SYNCING;
		s->req.op = AIO_FLUSH;
		queue(a, &s->req);
		return;
	}
	s->state = SLOT_FREE;
	s->used = 0;
	if (s->in_commit) {
		s->in_commit = false;
		a->commit_waits--;
		commit_step(a);
	}
}

static void request_done(struct appender *a, struct aio_req *r)
{
	if (r->user != NULL) {
		slot_done(a, r->user);
		return;
	}
	/* Its writes had all succeeded, or it would not have been queued. */
	if (r->status < 0)
		take_failure(a, r->status, &r->error);
	else
		a->committed = a->commit_end;
	a->commit = COMMIT_NONE;
}

/* Take what is completed; with `block`, at least one when any is in flight. */
static bool reap(struct appender *a, bool block)
{
	struct aio_req *r = aio_wait(a->aio, block);
	bool any = r != NULL;

	while (r != NULL) {
		request_done(a, r);
		r = aio_wait(a->aio, false);
	}
	return any;
}

static void drain(struct appender *a)
{
	while (reap(a, true))
		;
}

/* ---- Slots ---- */

static struct slot *free_slot(struct appender *a)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (a->slots[i].state == SLOT_FREE)
			return &a->slots[i];
	return NULL;
}

static int start_filling(struct appender *a, struct err *e)
{
	struct slot *s;

	reap(a, false);
	while ((s = free_slot(a)) == NULL && a->status == 0)
		if (!reap(a, true))
			break;
	if (a->status < 0)
		return sticky(a, e);
	if (s == NULL)
		return err_set(e, ERR_INTERNAL, 0, "append to %s: no free buffer",
			dev_name(a->out));
	s->state = SLOT_FILLING;
	s->off = a->offset;
	a->filling = s;
	return 0;
}

/* Up to the barrier, and the first write behind it: only when all before is written. */
static void keep_order(struct appender *a, uint64_t off)
{
	if (a->barrier == 0)
		return;
	drain(a);
	if (off >= a->barrier)
		a->barrier = 0;
}

static void write_slot(struct appender *a)
{
	struct slot *s = a->filling;
	bool ordered = a->barrier > 0;

	a->filling = NULL;
	keep_order(a, s->off);
	/* What was to come before is not there. */
	if (ordered && a->status < 0) {
		s->state = SLOT_FREE;
		s->used = 0;
		return;
	}
	s->state = SLOT_WRITING;
	s->req.op = AIO_WRITE;
	s->req.off = s->off;
	s->req.buf = s->mem;
	s->req.len = s->used;
	s->req.user = s;
	queue(a, &s->req);
}

/*
 * Fill the last block of a device that takes whole blocks only with zeros; finish cuts the file
 * afterwards. A device of fixed size without room for them gets the bytes unaligned.
 */
static void pad_slot(struct appender *a)
{
	struct slot *s = a->filling;
	size_t padded = (size_t)align_up(s->used, dev_info(a->out)->align_bytes);

	if (padded > SLOT_BYTES || padded == s->used)
		return;
	if (!dev_info(a->out)->can_grow)
		return;
	memset(s->mem + s->used, 0, padded - s->used);
	s->used = padded;
}

/* ---- The calls ---- */

static int make_slots(struct appender *a, struct err *e)
{
	for (size_t i = 0; i < SLOTS; i++) {
		a->slots[i].mem = mem_alloc_direct(SLOT_BYTES);
		if (a->slots[i].mem == NULL)
			return err_nomem(e);
	}
	return 0;
}

int appender_open(struct dev *out, uint64_t start, bool write_through, struct appender **ap,
	struct err *e)
{
	struct appender *a;
	int rc;

	*ap = NULL;
	if (start % APPENDER_ALIGN_BYTES != 0)
		return err_set(e, ERR_INTERNAL, 0, "append to %s at %" PRIu64 ": not aligned",
			dev_name(out), start);
	if (!dev_info(out)->writable)
		return err_set(e, ERR_TARGET, 0, "append to %s: open for reading only",
			dev_name(out));
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return err_nomem(e);
	a->out = out;
	a->write_through = write_through;
	a->sequential = dev_info(out)->sequential;
	a->offset = start;
	a->committed = start;
	rc = make_slots(a, e);
	if (rc == 0)
		rc = aio_open(out, SLOTS + 1, &a->aio, e);
	if (rc < 0) {
		appender_close(a);
		return rc;
	}
	*ap = a;
	return 0;
}

void appender_close(struct appender *a)
{
	if (a == NULL)
		return;
	/* Waits for what is in flight: the buffers are the kernel's until then. */
	aio_close(a->aio);
	for (size_t i = 0; i < SLOTS; i++)
		free(a->slots[i].mem);
	free(a);
}

uint64_t appender_offset(const struct appender *a)
{
	return a->offset;
}

uint64_t appender_committed(const struct appender *a)
{
	return a->committed;
}

static int check_open(struct appender *a, struct err *e)
{
	if (a->status == 0 && a->finished)
		return err_set(e, ERR_INTERNAL, 0, "append to %s: it is finished",
			dev_name(a->out));
	return sticky(a, e);
}

int appender_append(struct appender *a, const void *bytes, size_t len, struct err *e)
{
	const uint8_t *from = bytes;
	int rc = check_open(a, e);

	while (rc == 0 && len > 0) {
		struct slot *s = a->filling;
		size_t n;

		if (s == NULL) {
			rc = start_filling(a, e);
			continue;
		}
		n = (size_t)min_u64(len, SLOT_BYTES - s->used);
		memcpy(s->mem + s->used, from, n);
		s->used += n;
		a->offset += n;
		from += n;
		len -= n;
		if (s->used == SLOT_BYTES)
			write_slot(a);
	}
	return rc;
}

void appender_barrier(struct appender *a)
{
	a->barrier = a->offset;
}

/* Note which writes the commit is for. */
static void begin_commit(struct appender *a)
{
	a->commit = COMMIT_WRITES;
	a->commit_end = a->offset;
	for (size_t i = 0; i < SLOTS; i++) {
		if (a->slots[i].state == SLOT_FREE)
			continue;
		a->slots[i].in_commit = true;
		a->commit_waits++;
	}
	commit_step(a);
}

int appender_commit(struct appender *a, struct err *e)
{
	int rc = check_open(a, e);

	if (rc < 0)
		return rc;
	if (!a->sequential && a->offset % APPENDER_ALIGN_BYTES != 0)
		return err_set(e, ERR_INTERNAL, 0, "commit %s at %" PRIu64 ": not aligned",
			dev_name(a->out), a->offset);
	if (a->filling != NULL)
		write_slot(a);
	reap(a, false);
	if (a->sequential)
		return sticky(a, e);
	while (a->commit != COMMIT_NONE && reap(a, true))
		;
	if (a->status == 0)
		begin_commit(a);
	return sticky(a, e);
}

/* The file gets its exact length: padding, and what an earlier run left behind the end, go. */
static int cut(struct appender *a, struct err *e)
{
	if (!dev_info(a->out)->can_grow || dev_size(a->out) == a->offset)
		return 0;
	return dev_set_size(a->out, a->offset, e);
}

int appender_finish(struct appender *a, struct err *e)
{
	int rc = check_open(a, e);

	if (rc < 0)
		return rc;
	if (a->filling != NULL) {
		pad_slot(a);
		write_slot(a);
	}
	drain(a);
	if (a->status == 0)
		a->status = cut(a, &a->error);
	if (a->status == 0)
		a->status = dev_flush(a->out, true, &a->error);
	if (a->status < 0)
		return sticky(a, e);
	a->committed = a->offset;
	a->finished = true;
	return 0;
}
