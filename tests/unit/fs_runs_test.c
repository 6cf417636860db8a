/* Free runs in any order into a map, and what is given up when there are too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fs/fs_runs.h"

#define UNIT ((uint64_t)4096)

static void add(struct fs_runs *r, uint64_t off, uint64_t len)
{
	assert_int_equal(fs_runs_add(r, off, len, NULL), 0);
}

static void test_any_order(void **state)
{
	static const uint64_t offs[] = { 9, 3, 7, 1, 4, 0 };
	struct fs_runs r = { 0 };
	struct map *m = map_new_full(12 * UNIT), *want = map_new_full(12 * UNIT);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(offs); i++) {
		add(&r, offs[i] * UNIT, UNIT);
		assert_int_equal(map_set(want, offs[i] * UNIT, UNIT, MAP_FREE, NULL), 0);
	}
	add(&r, 11 * UNIT, 0); /* no run at all */
	assert_int_equal(fs_runs_set(&r, m, NULL), 0);
	assert_true(map_equal(m, want));
	assert_int_equal(r.min_bytes, 0);
	fs_runs_fini(&r);
	map_free(m);
	map_free(want);
}

static void assert_refused(uint64_t off, uint64_t len)
{
	struct fs_runs r = { 0 };
	struct map *m = map_new_full(12 * UNIT);
	struct err e = { 0 };

	add(&r, 4 * UNIT, 2 * UNIT);
	add(&r, off, len);
	assert_int_equal(fs_runs_set(&r, m, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.msg, "overlaps"));
	fs_runs_fini(&r);
	map_free(m);
}

static void test_overlaps_are_refused(void **state)
{
	(void)state;
	assert_refused(5 * UNIT, UNIT);
	assert_refused(3 * UNIT, 2 * UNIT);
	assert_refused(4 * UNIT, 2 * UNIT);
	assert_refused(11 * UNIT, 2 * UNIT);
	assert_refused(UINT64_MAX - UNIT + 1, 8 * UNIT);
}

/* Twice as many as there is room for, every tenth of them longer: those stay, and all that is set
 * was a run. */
static void test_too_many(void **state)
{
	const uint64_t count = 2 * FS_RUNS_MAX;
	struct fs_runs r = { 0 };
	struct map *m = map_new_full(count * 16 * UNIT);
	uint64_t longer = 0;

	(void)state;
	for (uint64_t i = count; i-- > 0;) {
		add(&r, i * 16 * UNIT, (i % 10 == 0 ? 8 : 1) * UNIT);
		longer += i % 10 == 0;
		assert_true(r.count <= FS_RUNS_MAX);
	}
	assert_int_equal(r.min_bytes, 2 * UNIT);
	assert_int_equal(fs_runs_set(&r, m, NULL), 0);
	assert_int_equal(map_bytes(m, MAP_FREE), longer * 8 * UNIT);
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE)
			assert_true(x.off % (160 * UNIT) == 0 && x.len == 8 * UNIT);
	}
	fs_runs_fini(&r);
	map_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_overlaps_are_refused),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests_name("fs_runs", tests, NULL, NULL);
}
