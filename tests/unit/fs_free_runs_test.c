/*
 * Free runs into a map: exact while they are few; when there are millions the map stays small, and
 * only short runs are lost, to data.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fs/fs_free_runs.h"

#define UNIT 4096
#define MANY ((uint64_t)3 << 19) /* runs; two extents each */

/* Every second unit free, and after each 1000 of them a run of nine. Returns the bytes of those. */
static uint64_t add_runs(struct fs_free_runs *f, uint64_t count)
{
	uint64_t off = UNIT, long_bytes = 0;

	for (uint64_t i = 1; i <= count; i++) {
		uint64_t len = i % 1000 == 0 ? 9 * UNIT : UNIT;

		assert_int_equal(fs_free_runs_add(f, off, len, NULL), 0);
		off += len + UNIT;
		long_bytes += len > UNIT ? len : 0;
	}
	assert_true(off <= map_size(f->m));
	return long_bytes;
}

static void test_few_are_exact(void **state)
{
	struct fs_free_runs f = { .m = map_new_full(GIB), .unit_bytes = UNIT };
	uint64_t long_bytes;

	(void)state;
	long_bytes = add_runs(&f, 100000);
	assert_int_equal(f.min_bytes, 0);
	assert_int_equal(map_bytes(f.m, MAP_FREE), long_bytes + (100000 - 100) * UNIT);
	assert_int_equal(map_count(f.m), 2 * 100000 + 1);
	map_free(f.m);
}

static void test_many_are_bounded(void **state)
{
	struct fs_free_runs f = { .m = map_new_full(16 * GIB), .unit_bytes = UNIT };
	uint64_t long_bytes;
	size_t long_runs = 0;

	(void)state;
	long_bytes = add_runs(&f, MANY);
	/* Doubled once: two units are worth a run, one is not, neither before nor since. */
	assert_int_equal(f.min_bytes, 2 * UNIT);
	assert_int_equal(map_bytes(f.m, MAP_FREE), long_bytes);
	assert_int_equal(map_bytes(f.m, MAP_DATA), 16 * GIB - long_bytes);
	for (size_t i = 0; i < map_count(f.m); i++)
		if (map_at(f.m, i).kind == MAP_FREE && map_at(f.m, i).len == 9 * UNIT)
			long_runs++;
	assert_int_equal(long_runs, MANY / 1000);
	assert_true(map_count(f.m) <= 2u << 20);
	map_free(f.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_are_exact),
		cmocka_unit_test(test_many_are_bounded),
	};

	return cmocka_run_group_tests_name("fs_free_runs", tests, NULL, NULL);
}
