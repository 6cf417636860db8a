/*
 * A pseudo device over another that misbehaves on demand: the integration tests' disk. It counts
 * operations, and fails, shortens, delays or tears the n-th one; enforces an alignment; reports
 * another length. It has no descriptor, so that all traffic goes through it. Zeroing and discarding
 * count as writes. Any thread may use it.
 */
#ifndef DEVICE_DEV_FAULT_H
#define DEVICE_DEV_FAULT_H

#include "device/dev.h"

enum fault_op { FAULT_READ, FAULT_WRITE, FAULT_FLUSH, FAULT_OPS };

enum fault_action {
	FAULT_NONE,
	FAULT_FAIL,    /* the operation fails with `sys` (an errno), nothing is transferred */
	FAULT_SHORTEN, /* only the first half is transferred, then it fails as a short transfer */
	FAULT_DELAY,   /* it works, after delay_ms */
	FAULT_TEAR,    /* write: the first half reaches the disk, but success is reported; and every
			  later operation fails with `sys`, as after a power cut */
};

struct fault_rule {
	enum fault_op op;
	enum fault_action action;
	uint64_t nth; /* the n-th operation of this kind, from 1; 0: every one */
	bool sticky;  /* all later ones of this kind too */
	uint64_t off; /* with len > 0: only operations that touch [off, off + len) count */
	uint64_t len;
	int sys; /* errno reported; EIO when 0 */
	unsigned delay_ms;
};

struct fault_plan {
	const struct fault_rule *rules; /* copied */
	size_t rule_count;
	uint32_t align_bytes; /* > 1: unaligned operations fail with EINVAL (they reach it as is) */
	uint64_t size_bytes;  /* > 0: the length reported instead of the true one */
	uint32_t logical_bytes; /* > 0: the logical sector size reported */
};

/* `under` stays the caller's and must outlive it. */
int dev_open_fault(struct dev *under, const struct fault_plan *plan, struct dev **out,
	struct err *e);

/* Operations of a kind seen so far. */
uint64_t dev_fault_count(const struct dev *fault, enum fault_op op);

#endif
