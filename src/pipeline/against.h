/*
 * Whether a target holds what an image says: what restore (of what changed only) and compare share.
 * Their input is the target; the image is read where the hash of a block does not answer.
 */
#ifndef PIPELINE_AGAINST_H
#define PIPELINE_AGAINST_H

#include "pipeline/engine.h"
#include "pipeline/walk.h"

struct against {
	struct image *image;
	struct dev *target;
	uint64_t source_off, source_len; /* source range */
	uint64_t target_off;		 /* where it lies in the target */
	bool free_is_zero;		 /* free space is held against zeros; else not looked at */
};

/* Target offset of what the slot holds. */
uint64_t against_off(const struct against *a, const struct slot *s);

/*
 * Reader: the next piece of the range into the slot (off, len, kind, needs_work, weight), with the
 * read of the target where one is needed. Zeros come in pieces of at most in_bytes of a slot that
 * holds a block. 1, 0 or negative as walk_next.
 */
int against_plan(const struct against *a, struct walk *w, struct slot *s, struct err *e);

/*
 * Worker: does the target hold the slot's bytes? s->lost says that its planned read failed: then
 * it does not. May read the image and the target; errors are those of reading either.
 */
int against_holds(const struct against *a, struct unpacker *u, struct slot *s, bool *holds,
	struct err *e);

/* Worker: read the frame of a data slot into s->in, and unpack and check it into s->out. */
int against_fetch(const struct against *a, struct unpacker *u, struct slot *s, struct err *e);

#endif
