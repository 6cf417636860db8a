#include "pipeline/rate_limit.h"

#include "base/mem.h"

/*
 * The size of a unit is known only when it begins. So the first one waits as long as the largest
 * would have to, and each is paid for by the one behind it: what has begun by a time is never more
 * than the limit allows up to then.
 */
static uint64_t cost_ns(uint64_t bytes, uint64_t bytes_per_s)
{
	return (uint64_t)((double)bytes * 1e9 / (double)bytes_per_s);
}

void rate_limit_set(struct rate_limit *r, uint64_t bytes_per_s, uint64_t unit_bytes,
	uint64_t now_ns)
{
	uint64_t owed_bytes = unit_bytes;

	if (r->bytes_per_s == bytes_per_s)
		return;
	/* What is not paid for yet is paid for at the new price. */
	if (r->bytes_per_s > 0)
		owed_bytes = r->from_ns <= now_ns
			? 0
			: (uint64_t)((double)(r->from_ns - now_ns) * (double)r->bytes_per_s / 1e9);
	r->bytes_per_s = bytes_per_s;
	r->from_ns = bytes_per_s == 0 ? 0 : now_ns + cost_ns(owed_bytes, bytes_per_s);
}

uint64_t rate_limit_until(const struct rate_limit *r, uint64_t now_ns)
{
	return r->bytes_per_s > 0 && r->from_ns > now_ns ? r->from_ns : 0;
}

void rate_limit_charge(struct rate_limit *r, uint64_t bytes, uint64_t now_ns)
{
	if (r->bytes_per_s > 0)
		r->from_ns = max_u64(r->from_ns, now_ns) + cost_ns(bytes, r->bytes_per_s);
}
