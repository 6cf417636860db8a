/*
 * At most so many bytes a second: what begins has been paid for with time beforehand, so that
 * neither the start, nor a change of the limit, nor the end of a pause lets a burst through. Pure:
 * the time is an argument. The caller locks.
 */
#ifndef PIPELINE_RATE_LIMIT_H
#define PIPELINE_RATE_LIMIT_H

#include <stdint.h>

struct rate_limit {
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t from_ns;     /* nothing begins before */
};

/* From now on this limit. unit_bytes: the most that one rate_limit_charge may say. */
void rate_limit_set(struct rate_limit *r, uint64_t bytes_per_s, uint64_t unit_bytes,
	uint64_t now_ns);
/* When the next unit may begin; 0: now. */
uint64_t rate_limit_until(const struct rate_limit *r, uint64_t now_ns);
/* A unit of so many bytes begins. */
void rate_limit_charge(struct rate_limit *r, uint64_t bytes, uint64_t now_ns);

#endif
