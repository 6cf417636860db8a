/*
 * Restore: an image is written to a device.
 *
 * The last guard of the safety rules (docs/SAFETY.md); what is decided above this file is decided
 * in Lua, and checked here again where a mistake would destroy data:
 *
 * R4 Before the first byte is written, the image is open (its structure was checked), the target is
 *    writable, and everything fits into it. A sequential target can't be restored to. An image with
 *    bad ranges is not begun with when they are to end the job.
 * R5 The target is not the device that the image is read from.
 * R6 Every block is verified before it is written: image_unpack is the only way to its bytes.
 * R7 The job ends well only when the target was flushed and every byte of the range was accounted
 *    for.
 * R9 Zeros are written or zeroed, free space is left, discarded or zeroed as asked (where old
 *    signatures would lie, always zeroed: target_hole.h), bad ranges are an error or, when asked,
 *    zeros that are counted as lost.
 *
 * Nothing of the block that holds target offset 0 is special here: the partition table of a disk
 * is written last by whoever composes a disk.
 *
 * With only_changed the target is read and its blocks are hashed; the image is read where a hash
 * differs, and only such blocks are written, and the zeros over old signatures. A range that is not
 * whole blocks is unpacked and written as ever.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/against.h"
#include "pipeline/target_hole.h"

struct restore_job {
	struct job base;
	struct restore r;
	struct walk walk;
	struct against against; /* only_changed: the input is the target then */
	struct hole hole;
	bool damaged; /* under job.lock: a loss was the image's damage, not the source's */
};

static uint64_t range_end(const struct restore_job *r)
{
	return r->r.source_off + r->r.source_len;
}

/* The next entry, cut to the range, and the read of its frame. */
static int plan_frame(struct restore_job *r, struct slot *s, struct err *e)
{
	int rc = walk_next(&r->walk, &s->entry, e);

	if (rc <= 0)
		return rc;
	s->off = max_u64(s->entry.off, r->r.source_off);
	s->len = min_u64(s->entry.off + s->entry.len, range_end(r)) - s->off;
	s->kind = s->entry.kind;
	if (s->kind == ENTRY_DATA) {
		s->weight = s->len;
		s->needs_work = true;
		engine_add_read(s, s->entry.file_off, s->in, s->entry.stored);
	}
	return 1;
}

static int restore_plan(struct job *j, struct slot *s, struct err *e)
{
	struct restore_job *r = (struct restore_job *)j;
	uint64_t end;
	int rc =
		r->r.only_changed ? against_plan(&r->against, &r->walk, s, e) : plan_frame(r, s, e);

	if (rc <= 0)
		return rc;
	end = s->off + s->len;
	for (const struct bad_range *b = chunk_bad(r->walk.chunk, s->off, s->len); b != NULL;) {
		uint64_t b_end = min_u64(b->off + b->len, end), b_off = max_u64(b->off, s->off);

		rc = slot_add_bad(s, b_off, b_end - b_off, e);
		if (rc < 0)
			return rc;
		b = b_end < end ? chunk_bad(r->walk.chunk, b_end, end - b_end) : NULL;
	}
	return 1;
}

/* A block that does not hold: the end, or zeros and an entry in the list of losses. */
static int lose_block(struct restore_job *r, struct slot *s, const struct err *e)
{
	if (r->r.on_read_error == ON_READ_ERROR_ABORT)
		return -e->code;
	engine_lost(&r->base, s->off, s->len, s->entry.file_off, e->msg);
	pthread_mutex_lock(&r->base.lock);
	r->damaged = true;
	pthread_mutex_unlock(&r->base.lock);
	memset(s->out, 0, (size_t)s->entry.len);
	s->lost = true;
	return 0;
}

static int restore_read_failed(struct job *j, struct slot *s, struct aio_req *a, struct err *e)
{
	struct restore_job *r = (struct restore_job *)j;

	*e = a->error;
	if (!r->r.only_changed)
		return lose_block(r, s, e);
	/* A target that can't be read there may take a write yet. */
	s->lost = true;
	return 0;
}

/* Only where the target differs is the image asked. */
static int work_changed(struct restore_job *r, struct worker *w, struct slot *s, struct err *e)
{
	bool holds;
	int rc;

	if (s->kind != ENTRY_DATA || s->piece_count > 0) {
		rc = against_holds(&r->against, w->unpacker, s, &holds, e);
		s->lost = false;
		s->same = holds;
		if (rc < 0 || holds || s->kind != ENTRY_DATA)
			return rc;
	}
	rc = against_fetch(&r->against, w->unpacker, s, e);
	if (rc < 0 && (e->code == ERR_DAMAGED || e->code == ERR_SOURCE))
		rc = lose_block(r, s, e);
	return rc;
}

static int restore_work(struct job *j, struct worker *w, struct slot *s, struct err *e)
{
	struct restore_job *r = (struct restore_job *)j;
	int rc;

	if (r->r.only_changed)
		return work_changed(r, w, s, e);
	if (s->lost)
		return 0;
	rc = image_unpack(r->r.image, w->unpacker, &s->entry, s->in, s->out, e);
	if (rc < 0 && e->code == ERR_DAMAGED)
		rc = lose_block(r, s, e);
	return rc;
}

/* Bad ranges of the image inside this slot: lost already when the image was made. */
static int report_bad(struct restore_job *r, const struct slot *s, struct err *e)
{
	for (size_t i = 0; i < s->bad_count; i++) {
		if (r->r.on_read_error == ON_READ_ERROR_ABORT)
			return err_set(e, ERR_SOURCE, 0,
				"%s: source range at %" PRIu64 ", %" PRIu64
				" bytes, was unreadable when it was imaged",
				dev_name(r->base.input), s->bad[i].off, s->bad[i].len);
		engine_lost(&r->base, s->bad[i].off, s->bad[i].len, s->entry.file_off,
			"unreadable when it was imaged");
	}
	return 0;
}

static uint64_t target_off(const struct restore_job *r, const struct slot *s)
{
	return r->r.target_off + (s->off - r->r.source_off);
}

static int restore_sink(struct job *j, struct slot *s, struct err *e)
{
	struct restore_job *r = (struct restore_job *)j;
	uint8_t *bytes = s->out + (s->off - s->entry.off);
	int rc = report_bad(r, s, e);

	if (rc < 0)
		return rc;
	if (s->same) {
		pthread_mutex_lock(&j->lock);
		j->progress.same_bytes += s->len;
		pthread_mutex_unlock(&j->lock);
		return 0;
	}
	if (s->kind != ENTRY_DATA)
		return hole_write(&r->hole, s->kind, target_off(r, s), s->len, e);
	pthread_mutex_lock(&j->lock);
	j->progress.stored_bytes += s->entry.stored;
	pthread_mutex_unlock(&j->lock);
	return engine_write(j, s, target_off(r, s), bytes, (size_t)s->len, e);
}

/* R7: flushed, and every byte of the range accounted for. */
static int restore_finish(struct job *j, struct err *e)
{
	struct restore_job *r = (struct restore_job *)j;
	struct job_progress p;
	uint64_t sum = 0;
	int rc = dev_flush(r->r.target, true, e);

	if (rc < 0)
		return rc;
	job_progress(j, &p);
	for (int k = 0; k < ENTRY_KINDS; k++)
		sum += p.kind_bytes[k];
	if (sum != r->r.source_len)
		return err_set(e, ERR_INTERNAL, 0, "%s: %" PRIu64 " of %" PRIu64 " bytes restored",
			dev_name(r->r.target), sum, r->r.source_len);
	pthread_mutex_lock(&j->lock);
	if (p.bad_count > 0 && j->error.code == ERR_OK)
		err_set(&j->error, r->damaged ? ERR_DAMAGED : ERR_BAD_SECTORS, 0,
			"%s: %" PRIu64 " bytes in %" PRIu64 " ranges were lost and are zeros now",
			dev_name(r->r.target), p.bad_bytes, p.bad_count);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

static void restore_close(struct job *j)
{
	struct restore_job *r = (struct restore_job *)j;

	walk_fini(&r->walk);
	free(r);
}

static const struct job_ops restore_ops = {
	.plan = restore_plan,
	.read_failed = restore_read_failed,
	.work = restore_work,
	.sink = restore_sink,
	.finish = restore_finish,
	.close = restore_close,
	.work_is = "unpacks",
};

/* R4, R5: all that can be known before the first write. Also settles the length. */
static int restore_check(struct restore *r, struct err *e)
{
	const struct dev_info *t = dev_info(r->target);
	const struct layout_tail *tail = &image_facts(r->image)->tail;
	uint64_t size = image_facts(r->image)->head.source_bytes;

	if (r->target == image_file(r->image))
		return err_set(e, ERR_REFUSED, 0, "%s holds the image that is to be restored",
			dev_name(r->target));
	if (!t->writable || t->sequential)
		return err_set(e, ERR_USAGE, 0, "%s can't be restored to: %s", dev_name(r->target),
			t->sequential ? "it is a pipe" : "it is open for reading only");
	if (r->source_len == 0 && r->source_off <= size)
		r->source_len = size - r->source_off;
	if (!range_inside(r->source_off, r->source_len, size))
		return err_set(e, ERR_USAGE, 0,
			"range at %" PRIu64 ", %" PRIu64 " bytes, is not inside the image of "
			"%" PRIu64 " bytes",
			r->source_off, r->source_len, size);
	if (r->only_changed && r->target_is_zero)
		return err_set(e, ERR_USAGE, 0, "%s is new: there is nothing to compare with",
			dev_name(r->target));
	if (!range_inside(r->target_off, r->source_len, dev_size(r->target)))
		return err_set(e, ERR_REFUSED, 0,
			"%s has %" PRIu64 " bytes: too small for %" PRIu64 " at %" PRIu64,
			dev_name(r->target), dev_size(r->target), r->source_len, r->target_off);
	/* What is known to end at a bad range does not begin (LESSONS 37). */
	if (r->on_read_error == ON_READ_ERROR_ABORT && r->source_len == size &&
		tail->bad_range_bytes > 0)
		return err_set(e, ERR_SOURCE, 0,
			"%s: %" PRIu64 " bytes of the source were unreadable when it was imaged",
			dev_name(image_file(r->image)), tail->bad_range_bytes);
	return 0;
}

/* Bytes that will be read, for progress; the tail knows them for a whole image. */
static uint64_t total_bytes(const struct restore *r)
{
	const struct image_facts *f = image_facts(r->image);

	if (r->source_len != f->head.source_bytes)
		return r->source_len;
	if (!r->only_changed)
		return f->tail.kind_bytes[ENTRY_DATA];
	return r->free == RESTORE_FREE_ZERO ? r->source_len
					    : r->source_len - f->tail.kind_bytes[ENTRY_FREE];
}

int job_restore(const struct restore *r, struct job **out, struct err *e)
{
	const struct image_facts *f = image_facts(r->image);
	struct restore_job *j = calloc(1, sizeof(*j));
	int rc;

	if (j == NULL)
		return err_nomem(e);
	j->r = *r;
	rc = restore_check(&j->r, e);
	if (rc == 0) {
		walk_init(&j->walk, r->image, j->r.source_off, range_end(j));
		j->hole = (struct hole){ &j->base, r->target, r->target_off,
			r->target_off + j->r.source_len, r->free, r->target_is_zero, true };
		j->base.ops = &restore_ops;
		j->against = (struct against){ r->image, r->target, j->r.source_off,
			j->r.source_len, r->target_off, r->free == RESTORE_FREE_ZERO };
		j->base.input = r->only_changed ? r->target : image_file(r->image);
		j->base.output = r->target;
		j->base.target = dev_name(r->target);
		j->base.in_bytes = block_bound(f->head.block_bytes);
		j->base.out_bytes = f->head.block_bytes;
		j->base.max_pieces = 1;
		j->base.progress.total_bytes = total_bytes(&j->r);
		rc = engine_start(&j->base, &r->settings, e);
	}
	if (rc < 0) {
		free(j);
		return rc;
	}
	*out = &j->base;
	return 0;
}
