#include "pipeline/target_hole.h"

#include "base/mem.h"

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

int hole_write(struct hole *h, enum entry_kind kind, uint64_t off, uint64_t len, struct err *e)
{
	if (h->is_zero)
		return 0;
	if (kind != ENTRY_FREE || h->free == RESTORE_FREE_ZERO)
		return zero_range(h, off, len, e);
	if (h->free == RESTORE_FREE_DISCARD)
		discard_range(h, off, len);
	return 0;
}
