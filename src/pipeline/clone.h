/* What the two jobs of a clone share: the hashes of what was written. */
#ifndef PIPELINE_CLONE_H
#define PIPELINE_CLONE_H

#include "pipeline/engine.h"

/* Of block i: its kind, and for data its XXH3-128. */
struct sums {
	uint64_t size;
	uint32_t block_bytes;
	uint8_t *kinds;
	uint8_t (*hashes)[XXH3_BYTES];
};

/* Of a clone that has ended; NULL when the job is none. */
const struct sums *clone_sums(const struct job *j);

#endif
