/*
 * A range of the source that could not be read: try again, then smaller and smaller reads, down to
 * one sector, so that only what is really bad is lost.
 */
#ifndef PIPELINE_READ_ERROR_H
#define PIPELINE_READ_ERROR_H

#include "pipeline/pipeline.h"

struct read_rescue {
	struct dev *source;
	unsigned retries; /* of the whole range, and of a single sector */
	enum on_read_error policy;
	/* Called for each sector run that is bad, ascending, its bytes already zeroed. */
	int (*bad)(void *user, uint64_t off, uint64_t len, struct err *e);
	void *user;
};

/*
 * Read [off, off + len) into buf with all means. 0: every byte is right or reported bad and zeroed;
 * negative: the policy is to abort, and *e names the first bad sector.
 */
int read_rescue(const struct read_rescue *r, uint64_t off, uint8_t *buf, size_t len, struct err *e);

#endif
