#include "pipeline/target_hole.h"

#include "base/mem.h"
#include "device/signature.h"

/* Long runs are zeroed and discarded in steps, so that a cancel is obeyed. */
#define STEP_BYTES ((uint64_t)256 << 20)

static int zero_range(struct hole *h, uint64_t off, uint64_t len, struct err *e)
{
	int rc = 0;

	while (rc == 0 && len > 0 && !engine_stopping(h->job)) {
		uint64_t n = min_u64(len, STEP_BYTES);

		rc = dev_zero(h->target, off, n, e);
		engine_moved(h->job);
		off += n;
		len -= n;
	}
	return rc;
}

/* A refused discard is no failure: free space may be left as it is (R9). */
static void discard_range(struct hole *h, uint64_t off, uint64_t len)
{
	while (h->discard && len > 0 && !engine_stopping(h->job)) {
		uint64_t n = min_u64(len, STEP_BYTES);

		if (dev_discard(h->target, off, n, NULL) < 0)
			h->discard = false;
		engine_moved(h->job);
		off += n;
		len -= n;
	}
}

/* Free space, in up to three parts: where signatures lie it is zeroed. */
static int write_free(struct hole *h, uint64_t off, uint64_t len, struct err *e)
{
	const uint64_t end = off + len, all = h->end - h->begin;
	const uint64_t head = h->begin + min_u64(all, SIGNATURE_HEAD_BYTES);
	const uint64_t tail = max_u64(head, h->end - min_u64(all, SIGNATURE_TAIL_BYTES));
	int rc = 0;

	if (off < head)
		rc = zero_range(h, off, min_u64(end, head) - off, e);
	off = max_u64(off, head);
	if (rc == 0 && off < min_u64(end, tail) && h->free == RESTORE_FREE_DISCARD)
		discard_range(h, off, min_u64(end, tail) - off);
	off = max_u64(off, tail);
	if (rc == 0 && off < end)
		rc = zero_range(h, off, end - off, e);
	return rc;
}

int hole_write(struct hole *h, enum entry_kind kind, uint64_t off, uint64_t len, struct err *e)
{
	if (h->is_zero)
		return 0;
	if (kind != ENTRY_FREE || h->free == RESTORE_FREE_ZERO)
		return zero_range(h, off, len, e);
	return write_free(h, off, len, e);
}
