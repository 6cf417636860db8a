/*
 * Holes on a target: what becomes of zeros and of free space where something is written to a device
 * (R9). Ordered end only.
 *
 * Free space that is left or discarded keeps what the target had. Where signatures lie (in the
 * first 4 MiB and the last 1 MiB of what is written) it is zeroed all the same: the superblock of
 * an old array, or of another file system, would be believed before the one that was restored.
 */
#ifndef PIPELINE_TARGET_HOLE_H
#define PIPELINE_TARGET_HOLE_H

#include "pipeline/engine.h"

struct hole {
	struct job *job; /* whose cancel is obeyed in long runs */
	struct dev *target;
	uint64_t begin, end; /* of all that is written, as if it were a device */
	enum restore_free free;
	bool is_zero; /* the target reads as zeros: nothing to do */
	bool discard; /* not refused by the target so far */
};

/* Make [off, off + len) of the target what a hole of this kind asks for. */
int hole_write(struct hole *h, enum entry_kind kind, uint64_t off, uint64_t len, struct err *e);

#endif
