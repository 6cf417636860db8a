/* dev_compose: parts and gaps byte for byte, their extents, and parts that do not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "dev_helper.h"
#include "device/dev.h"

#define SIZE 10000

struct made {
	struct dev *a, *b, *whole;
	uint8_t want[SIZE];
};

static struct dev *mem_of(uint8_t first, size_t len)
{
	uint8_t *bytes = malloc(len);
	struct dev *d;
	struct err e;

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(first + i * 7 % 200);
	assert_int_equal(dev_open_mem(bytes, len, &d, &e), 0);
	free(bytes);
	return d;
}

static void setup(struct made *m)
{
	struct dev_segment s[3];
	struct err e;

	m->a = mem_of(1, 5000);
	m->b = mem_of(30, 3000);
	s[0] = (struct dev_segment){ 100, 1000, m->a, 4000 };
	s[1] = (struct dev_segment){ 1100, 2000, m->b, 1000 };
	s[2] = (struct dev_segment){ 5000, 4000, m->a, 0 };
	memset(m->want, 0, sizeof(m->want));
	for (size_t i = 0; i < COUNT_OF(s); i++)
		assert_int_equal(dev_read(s[i].under, s[i].under_off, m->want + s[i].off,
					 (size_t)s[i].len, &e),
			0);
	assert_int_equal(dev_open_compose("whole", SIZE, s, COUNT_OF(s), &m->whole, &e), 0);
}

static void teardown(struct made *m)
{
	dev_close(m->whole);
	dev_close(m->a);
	dev_close(m->b);
}

static void test_reads(void **state)
{
	struct made m;
	uint8_t got[SIZE];
	struct err e;

	(void)state;
	setup(&m);
	assert_int_equal(dev_size(m.whole), SIZE);
	assert_int_equal(dev_read(m.whole, 0, got, SIZE, &e), 0);
	assert_memory_equal(got, m.want, SIZE);
	for (unsigned seed = 1, i = 0; i < 3000; i++) {
		uint64_t off = (uint64_t)rand_r(&seed) % SIZE;
		size_t len = (size_t)rand_r(&seed) % (SIZE - off + 1);

		assert_int_equal(dev_read(m.whole, off, got, len, &e), 0);
		assert_memory_equal(got, m.want + off, len);
	}
	assert_true(dev_read(m.whole, SIZE - 1, got, 2, &e) < 0);
	assert_true(dev_write(m.whole, 0, got, 1, &e) < 0);
	teardown(&m);
}

static void test_extents(void **state)
{
	static const struct dev_extent want[] = {
		{ DEV_EXTENT_FREE, 100 },
		{ DEV_EXTENT_DATA, 1000 },
		{ DEV_EXTENT_DATA, 2000 },
		{ DEV_EXTENT_FREE, 1900 },
		{ DEV_EXTENT_DATA, 4000 },
		{ DEV_EXTENT_FREE, 1000 },
	};
	struct dev *slice;
	struct dev_extent x;
	struct made m;
	uint64_t at = 0;
	struct err e;

	(void)state;
	setup(&m);
	for (size_t i = 0; i < COUNT_OF(want); i++) {
		assert_int_equal(dev_extent(m.whole, at, SIZE - at, &x, &e), 0);
		assert_int_equal(x.kind, want[i].kind);
		assert_int_equal(x.len, want[i].len);
		at += x.len;
	}
	assert_int_equal(at, SIZE);
	/* Cut to what was asked; through a slice the same. */
	assert_int_equal(dev_extent(m.whole, 3200, 10, &x, &e), 0);
	assert_int_equal(x.len, 10);
	assert_int_equal(dev_open_slice(m.whole, 3000, 200, &slice, &e), 0);
	assert_int_equal(dev_extent(slice, 50, 150, &x, &e), 0);
	assert_int_equal(x.kind, DEV_EXTENT_DATA);
	assert_int_equal(x.len, 50);
	assert_true(dev_extent(slice, 50, 151, &x, &e) < 0);
	dev_close(slice);
	teardown(&m);
}

static void refused(struct dev *under, const struct dev_segment *s, size_t count)
{
	struct dev *d = under;
	struct err e;

	assert_int_equal(dev_open_compose("bad", 1000, s, count, &d, &e), -ERR_USAGE);
	assert_null(d);
	assert_non_null(strstr(e.msg, "part"));
}

static void test_refused(void **state)
{
	struct dev *d = mem_of(1, 500);

	(void)state;
	refused(d, (struct dev_segment[]){ { 0, 0, d, 0 } }, 1);
	refused(d, (struct dev_segment[]){ { 900, 200, d, 0 } }, 1);
	refused(d, (struct dev_segment[]){ { 0, 200, d, 400 } }, 1);
	refused(d, (struct dev_segment[]){ { 0, 200, d, 0 }, { 199, 10, d, 0 } }, 2);
	refused(d, (struct dev_segment[]){ { 500, 10, d, 0 }, { 0, 10, d, 0 } }, 2);
	refused(d, (struct dev_segment[]){ { UINT64_MAX - 5, 10, d, 0 } }, 1);
	refused(d, (struct dev_segment[]){ { 0, 10, d, UINT64_MAX - 5 } }, 1);
	dev_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_extents),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
