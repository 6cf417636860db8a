/* The rate limit as a function of time: what has begun by a time is never more than the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "pipeline/rate_limit.h"

#define NS_PER_S UINT64_C(1000000000)
#define UNIT UINT64_C(65536)
#define START (5 * NS_PER_S)

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* Begin as early as is allowed, units of any size up to UNIT; *now moves. The bytes begun. */
static uint64_t run(struct rate_limit *r, uint64_t *now, uint64_t until, uint32_t *rnd)
{
	uint64_t bytes = 0;

	for (;;) {
		uint64_t wait = rate_limit_until(r, *now), n = next_random(rnd) % UNIT + 1;

		if (max_u64(*now, wait) >= until) {
			*now = until;
			return bytes;
		}
		*now = max_u64(*now, wait);
		rate_limit_charge(r, n, *now);
		bytes += n;
	}
}

static uint64_t allowed(uint64_t ns, uint64_t bytes_per_s)
{
	return (uint64_t)((double)ns * (double)bytes_per_s / 1e9) + 1;
}

/* At no time more than the limit, from the first unit on; and not less than it for long. */
static void test_never_above(void **state)
{
	static const uint64_t rates[] = { 1000, 65536, 1 << 20, 333333333 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rates); i++) {
		struct rate_limit r = { 0 };
		uint64_t now = START, bytes = 0;
		uint32_t rnd = 7;

		rate_limit_set(&r, rates[i], UNIT, START);
		assert_true(rate_limit_until(&r, START) > START);
		for (int k = 0; k < 2000; k++) {
			uint64_t wait = rate_limit_until(&r, now);
			uint64_t n = next_random(&rnd) % UNIT + 1;

			now = max_u64(now, wait);
			/* Sometimes the reader comes late. */
			if (k % 10 == 9)
				now += next_random(&rnd);
			rate_limit_charge(&r, n, now);
			bytes += n;
			/* Each charge was rounded down to a nanosecond. */
			assert_true(bytes <= allowed(now - START + (uint64_t)k, rates[i]));
		}
	}
}

/* Who begins as early as he may gets the whole rate. */
static void test_whole_rate(void **state)
{
	struct rate_limit r = { 0 };
	uint64_t now = START, bytes;
	uint32_t rnd = 11;

	(void)state;
	rate_limit_set(&r, 1 << 20, UNIT, now);
	bytes = run(&r, &now, START + 100 * NS_PER_S, &rnd);
	assert_true(bytes <= 100u << 20);
	assert_true(bytes >= (100u << 20) - 2 * UNIT);
}

/* A pause earns nothing that may be spent afterwards. */
static void test_no_burst_after_a_pause(void **state)
{
	struct rate_limit r = { 0 };
	uint64_t now = START, bytes;
	uint32_t rnd = 13;

	(void)state;
	rate_limit_set(&r, 1 << 20, UNIT, now);
	run(&r, &now, START + NS_PER_S, &rnd);
	now += 3600 * NS_PER_S;
	bytes = run(&r, &now, now + NS_PER_S, &rnd);
	assert_true(bytes <= (1 << 20) + UNIT);
}

/* Settings that are given again and again, as a tuning strategy does, do not wipe out the debt. */
static void test_set_again(void **state)
{
	struct rate_limit r = { 0 };
	uint64_t now = START, bytes = 0;
	uint32_t rnd = 17;

	(void)state;
	rate_limit_set(&r, 1 << 20, UNIT, now);
	for (int k = 0; k < 1000; k++) {
		rate_limit_set(&r, 1 << 20, UNIT, now);
		bytes += run(&r, &now, now + NS_PER_S / 100, &rnd);
	}
	assert_true(bytes <= 10u << 20);
	bytes = 0;
	/* Nor do limits that go up and down: half the time each. */
	for (int k = 0; k < 1000; k++) {
		rate_limit_set(&r, k % 2 == 0 ? 1 << 20 : 3 << 20, UNIT, now);
		bytes += run(&r, &now, now + NS_PER_S / 100, &rnd);
	}
	assert_in_range(bytes, 19u << 20, (20u << 20) + UNIT);
}

/* A new limit holds at once, and none at all lets everything through. */
static void test_change(void **state)
{
	struct rate_limit r = { 0 };
	uint64_t now = START;

	(void)state;
	assert_int_equal(rate_limit_until(&r, now), 0);
	rate_limit_charge(&r, UNIT, now);
	assert_int_equal(rate_limit_until(&r, now), 0);
	rate_limit_set(&r, UNIT, UNIT, now);
	assert_int_equal(rate_limit_until(&r, now), now + NS_PER_S);
	/* Half of it is paid for; the rest at a quarter of the price. */
	rate_limit_set(&r, 4 * UNIT, UNIT, now + NS_PER_S / 2);
	assert_int_equal(rate_limit_until(&r, now + NS_PER_S / 2),
		now + NS_PER_S / 2 + NS_PER_S / 8);
	rate_limit_set(&r, 0, UNIT, now + NS_PER_S / 2);
	assert_int_equal(rate_limit_until(&r, now + NS_PER_S / 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_above),
		cmocka_unit_test(test_whole_rate),
		cmocka_unit_test(test_no_burst_after_a_pause),
		cmocka_unit_test(test_set_again),
		cmocka_unit_test(test_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
