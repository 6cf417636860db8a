/*
 * block_cache: what was made is found again, once for all who want it; the budget holds; blocks are
 * made ahead; failures are told and not kept; many threads at once see right bytes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "format/block_cache.h"

#define BLOCK ((size_t)4096)
#define NOWHERE (1000 * BLOCK) /* a block that can't be made */

struct maker {
	struct block_user user;
	atomic_uint made;
};

static int fill(struct block_user *u, uint64_t off, void *dst, size_t len, struct err *e)
{
	struct maker *m = (struct maker *)u;

	atomic_fetch_add(&m->made, 1);
	if (off == NOWHERE)
		return err_set(e, ERR_DAMAGED, 0, "block at %d", (int)off);
	memset(dst, (int)(off / BLOCK) & 0xFF, len);
	return 0;
}

static struct block_cache *open_cache(size_t blocks, unsigned workers, struct maker *m)
{
	struct block_cache *k;
	struct err e;

	*m = (struct maker){ .user = { fill } };
	assert_int_equal(block_cache_new(blocks * BLOCK, workers, &k, &e), 0);
	return k;
}

static void close_cache(struct block_cache *k, struct maker *m)
{
	block_cache_leave(k, &m->user);
	block_cache_unref(k);
}

/* Get a block, look at its bytes, and let it go. */
static int touch(struct block_cache *k, struct maker *m, uint64_t n)
{
	struct cached_block *b;
	struct err e;
	int rc = block_cache_get(k, &m->user, n * BLOCK, BLOCK, &b, &e);

	if (rc < 0) {
		assert_null(b);
		assert_non_null(strstr(e.msg, "block at"));
		return rc;
	}
	for (size_t i = 0; i < BLOCK; i += 512)
		assert_int_equal(cached_block_bytes(b)[i], n & 0xFF);
	block_cache_release(k, b);
	return 0;
}

static struct block_stats stats_of(struct block_cache *k)
{
	struct block_stats s;

	block_cache_stats(k, &s);
	return s;
}

static void test_found_again(void **state)
{
	struct maker m;
	struct block_cache *k = open_cache(4, 0, &m);

	(void)state;
	for (int round = 0; round < 3; round++)
		for (uint64_t n = 0; n < 4; n++)
			assert_int_equal(touch(k, &m, n), 0);
	assert_int_equal(m.made, 4);
	assert_int_equal(stats_of(k).hits, 8);
	assert_int_equal(stats_of(k).misses, 4);
	close_cache(k, &m);
}

/* The budget: what was not used for longest goes. */
static void test_budget(void **state)
{
	struct maker m;
	struct block_cache *k = open_cache(3, 0, &m);

	(void)state;
	for (uint64_t n = 0; n < 3; n++)
		touch(k, &m, n);
	touch(k, &m, 0);
	touch(k, &m, 3); /* for which 1 goes */
	assert_int_equal(m.made, 4);
	touch(k, &m, 0);
	touch(k, &m, 2);
	touch(k, &m, 3);
	assert_int_equal(m.made, 4);
	touch(k, &m, 1);
	assert_int_equal(m.made, 5);
	assert_int_equal(stats_of(k).evicted, 2);
	assert_int_equal(stats_of(k).bytes, 3 * BLOCK);
	assert_int_equal(stats_of(k).peak_bytes, 3 * BLOCK);
	close_cache(k, &m);
}

/* What is held stays, though the budget is smaller; it goes when it is let go. */
static void test_held(void **state)
{
	struct cached_block *held[4];
	struct maker m;
	struct block_cache *k = open_cache(1, 0, &m);
	struct err e;

	(void)state;
	for (uint64_t n = 0; n < 4; n++)
		assert_int_equal(block_cache_get(k, &m.user, n * BLOCK, BLOCK, &held[n], &e), 0);
	assert_int_equal(stats_of(k).bytes, 4 * BLOCK);
	for (uint64_t n = 0; n < 4; n++) {
		assert_int_equal(cached_block_bytes(held[n])[BLOCK - 1], n);
		block_cache_release(k, held[n]);
	}
	assert_int_equal(stats_of(k).bytes, BLOCK);
	close_cache(k, &m);
}

static void test_failure(void **state)
{
	struct maker m;
	struct block_cache *k = open_cache(4, 1, &m);

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(touch(k, &m, NOWHERE / BLOCK), -ERR_DAMAGED);
	assert_int_equal(m.made, 3);
	assert_int_equal(stats_of(k).bytes, 0);
	/* Ahead it fails silently, and the one who wants it is told. */
	block_cache_ahead(k, &m.user, NOWHERE, BLOCK);
	assert_int_equal(touch(k, &m, NOWHERE / BLOCK), -ERR_DAMAGED);
	close_cache(k, &m);
}

static void test_ahead(void **state)
{
	struct maker m;
	struct block_cache *k = open_cache(16, 2, &m);
	struct block_stats s;

	(void)state;
	assert_true(block_cache_can_ahead(k));
	/* No more than half of the budget waits, and a second word changes nothing. */
	for (uint64_t n = 0; n < 4; n++) {
		block_cache_ahead(k, &m.user, n * BLOCK, BLOCK);
		block_cache_ahead(k, &m.user, n * BLOCK, BLOCK);
	}
	for (uint64_t n = 0; n < 4; n++)
		assert_int_equal(touch(k, &m, n), 0);
	assert_int_equal(m.made, 4);
	s = stats_of(k);
	/* Whoever was quicker made it: a thread of the cache, or the one that wanted it. */
	assert_int_equal(s.hits + s.misses, 4);
	assert_int_equal(s.ahead + s.misses, 4);
	assert_int_equal(s.ahead_used, s.ahead);
	close_cache(k, &m);
}

static void test_no_ahead(void **state)
{
	struct maker m;
	struct block_cache *k = open_cache(16, 0, &m);

	(void)state;
	assert_false(block_cache_can_ahead(k));
	block_cache_ahead(k, &m.user, 0, BLOCK);
	assert_int_equal(stats_of(k).bytes, 0);
	close_cache(k, &m);
}

/* Only what is there, or being made. */
static void test_find(void **state)
{
	struct maker m;
	struct block_cache *k = open_cache(4, 0, &m);
	struct cached_block *b;

	(void)state;
	assert_null(block_cache_find(k, &m.user, 0));
	touch(k, &m, 0);
	b = block_cache_find(k, &m.user, 0);
	assert_non_null(b);
	block_cache_release(k, b);
	assert_int_equal(m.made, 1);
	close_cache(k, &m);
}

/* Two users have blocks at the same offsets, and one that leaves takes only its own along. */
static void test_users(void **state)
{
	struct maker a, b = { .user = { fill } };
	struct block_cache *k = open_cache(8, 1, &a);

	(void)state;
	touch(k, &a, 1);
	touch(k, &b, 1);
	assert_int_equal(a.made, 1);
	assert_int_equal(b.made, 1);
	block_cache_leave(k, &a.user);
	assert_int_equal(stats_of(k).bytes, BLOCK);
	touch(k, &b, 1);
	assert_int_equal(b.made, 1);
	close_cache(k, &b);
}

/* ---- Threads ---- */

struct runner {
	struct block_cache *k;
	struct maker *m;
	unsigned seed;
};

static void *run(void *arg)
{
	struct runner *r = arg;

	for (int i = 0; i < 4000; i++) {
		uint64_t n = (uint64_t)rand_r(&r->seed) % 40;

		if (i % 7 == 0)
			block_cache_ahead(r->k, &r->m->user, n * BLOCK, BLOCK);
		else if (i % 100 == 0)
			touch(r->k, r->m, NOWHERE / BLOCK);
		else
			touch(r->k, r->m, n);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct maker m;
	struct block_cache *k = open_cache(10, 2, &m);
	struct runner runners[6];
	pthread_t threads[6];

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(threads); i++) {
		runners[i] = (struct runner){ k, &m, i + 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, run, &runners[i]), 0);
	}
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	/* One each for those who hold or make at once, over the budget. */
	assert_true(stats_of(k).peak_bytes <= (10 + COUNT_OF(threads) + 2) * BLOCK);
	assert_true(stats_of(k).bytes <= 10 * BLOCK + BLOCK);
	block_cache_leave(k, &m.user);
	assert_int_equal(stats_of(k).bytes, 0);
	block_cache_unref(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_again),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_ahead),
		cmocka_unit_test(test_no_ahead),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
