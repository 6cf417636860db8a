/* dev_fault: each rule does what it says, at the operation it says, and nothing else. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "unit/dev_helper.h"

#define SIZE 65536

static struct err e;
static uint8_t buf[SIZE];

/* Memory full of 'a' under a faulty device with that plan. */
static struct dev *with_plan(struct dev **under, const struct fault_plan *plan)
{
	struct dev *d = NULL;

	memset(buf, 'a', SIZE);
	assert_ok(dev_open_mem(buf, SIZE, under, &e), &e);
	assert_ok(dev_open_fault(*under, plan, &d, &e), &e);
	return d;
}

static struct dev *with_rule(struct dev **under, struct fault_rule rule)
{
	const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };

	return with_plan(under, &plan);
}

static void close_both(struct dev *d, struct dev *under)
{
	dev_close(d);
	dev_close(under);
}

/* One operation of that kind at an offset; its return code. */
static int one(struct dev *d, enum fault_op op, uint64_t off)
{
	memset(buf, 'b', 100);
	if (op == FAULT_READ)
		return dev_read(d, off, buf, 100, &e);
	if (op == FAULT_WRITE)
		return dev_write(d, off, buf, 100, &e);
	return dev_flush(d, false, &e);
}

static int code_of(enum fault_op op)
{
	return op == FAULT_READ ? -ERR_SOURCE : -ERR_TARGET;
}

static void test_no_rules(void **state)
{
	const struct fault_plan plan = { .rule_count = 0 };
	struct dev *under;
	struct dev *d = with_plan(&under, &plan);
	uint64_t base;

	(void)state;
	assert_int_equal(dev_size(d), SIZE);
	assert_int_equal(dev_fd(d, &base), -1);
	for (int op = 0; op < FAULT_OPS; op++)
		for (uint64_t i = 0; i < 3; i++) {
			assert_int_equal(dev_fault_count(d, op), i);
			assert_ok(one(d, op, 7), &e);
		}
	assert_ok(dev_zero(d, 0, 7, &e), &e);
	assert_ok(dev_discard(d, 200, 7, &e), &e);
	assert_int_equal(dev_fault_count(d, FAULT_WRITE), 5);
	assert_ok(dev_read(under, 0, buf, 300, &e), &e);
	assert_memory_equal(buf, "\0\0\0\0\0\0\0bb", 9);
	close_both(d, under);
}

/* The n-th only, the n-th and all later ones, every one; the other kinds go on working. */
static void test_nth(void **state)
{
	static const struct {
		uint64_t nth;
		bool sticky;
		const char *fails; /* operations 1 to 5 */
	} rows[] = {
		{ 1, false, "X...." },
		{ 3, false, "..X.." },
		{ 3, true, "..XXX" },
		{ 0, false, "XXXXX" },
		{ 0, true, "XXXXX" },
		{ 9, true, "....." },
	};

	(void)state;
	for (int op = 0; op < FAULT_OPS; op++)
		for (size_t i = 0; i < COUNT_OF(rows); i++) {
			struct fault_rule rule = { .op = op,
				.action = FAULT_FAIL,
				.nth = rows[i].nth,
				.sticky = rows[i].sticky };
			struct dev *under;
			struct dev *d = with_rule(&under, rule);

			for (int k = 0; k < 5; k++) {
				int want = rows[i].fails[k] == 'X' ? code_of(op) : 0;

				assert_int_equal(one(d, op, 0), want);
				assert_ok(one(d, (op + 1) % FAULT_OPS, 0), &e);
				assert_ok(one(d, (op + 2) % FAULT_OPS, 0), &e);
			}
			assert_int_equal(dev_fault_count(d, op), 5);
			close_both(d, under);
		}
}

static void test_fail_reports(void **state)
{
	struct fault_rule rule = { .op = FAULT_WRITE, .action = FAULT_FAIL, .sys = ENOSPC };
	struct dev *under;
	struct dev *d = with_rule(&under, rule);

	(void)state;
	assert_int_equal(one(d, FAULT_WRITE, 4096), -ERR_TARGET);
	assert_int_equal(e.sys, ENOSPC);
	assert_string_equal(e.msg, "write memory at 4096: No space left on device");
	assert_ok(dev_read(under, 4096, buf, 1, &e), &e);
	assert_int_equal(buf[0], 'a');
	close_both(d, under);
	rule.op = FAULT_READ;
	rule.sys = 0;
	d = with_rule(&under, rule);
	assert_int_equal(one(d, FAULT_READ, 0), -ERR_SOURCE);
	assert_int_equal(e.sys, EIO);
	close_both(d, under);
	/* A medium error of a disk is told as an I/O error. */
	rule.sys = ENODATA;
	d = with_rule(&under, rule);
	assert_int_equal(one(d, FAULT_READ, 512), -ERR_SOURCE);
	assert_int_equal(e.sys, EIO);
	assert_string_equal(e.msg, "read memory at 512: Input/output error");
	close_both(d, under);
}

/* A rule for a range counts only what touches it, to the byte; a flush touches everything. */
static void test_range(void **state)
{
	const struct fault_rule rules[] = {
		{ .op = FAULT_READ, .action = FAULT_FAIL, .nth = 2, .off = 1000, .len = 50 },
		{ .op = FAULT_FLUSH, .action = FAULT_FAIL, .nth = 1, .off = 1000, .len = 50 },
		{ .op = FAULT_READ, .action = FAULT_FAIL, .off = UINT64_MAX - 9, .len = 9 },
	};
	const struct fault_plan plan = { .rules = rules, .rule_count = 3 };
	struct dev *under;
	struct dev *d = with_plan(&under, &plan);

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_ok(one(d, FAULT_READ, 900), &e);
		assert_ok(one(d, FAULT_READ, 1050), &e);
	}
	assert_ok(one(d, FAULT_READ, 901), &e);
	assert_ok(one(d, FAULT_WRITE, 1000), &e);
	assert_int_equal(one(d, FAULT_READ, 1049), -ERR_SOURCE);
	assert_ok(dev_read(d, 0, buf, SIZE, &e), &e);
	assert_int_equal(one(d, FAULT_FLUSH, 0), -ERR_TARGET);
	assert_ok(one(d, FAULT_FLUSH, 0), &e);
	close_both(d, under);
}

static void test_shorten(void **state)
{
	const struct fault_rule rules[] = {
		{ .op = FAULT_READ, .action = FAULT_SHORTEN, .nth = 1 },
		{ .op = FAULT_WRITE, .action = FAULT_SHORTEN, .nth = 1 },
	};
	const struct fault_plan plan = { .rules = rules, .rule_count = 2 };
	struct dev *under;
	struct dev *d = with_plan(&under, &plan);

	(void)state;
	memset(buf, 'x', 100);
	assert_int_equal(dev_read(d, 0, buf, 100, &e), -ERR_SOURCE);
	assert_non_null(strstr(e.msg, "short"));
	assert_int_equal(buf[49], 'a');
	assert_int_equal(buf[50], 'x');
	assert_int_equal(one(d, FAULT_WRITE, 0), -ERR_TARGET);
	assert_ok(dev_read(d, 0, buf, 100, &e), &e);
	assert_int_equal(buf[49], 'b');
	assert_int_equal(buf[50], 'a');
	assert_ok(one(d, FAULT_WRITE, 0), &e);
	close_both(d, under);
}

/* A power cut: the write says it worked, half of it did, and nothing ever works again. */
static void test_tear(void **state)
{
	struct fault_rule rule = { .op = FAULT_WRITE,
		.action = FAULT_TEAR,
		.nth = 2,
		.sys = ENODEV };
	struct dev *under;
	struct dev *d = with_rule(&under, rule);

	(void)state;
	assert_ok(one(d, FAULT_WRITE, 500), &e);
	assert_ok(one(d, FAULT_READ, 500), &e);
	assert_ok(one(d, FAULT_WRITE, 0), &e);
	for (int op = 0; op < FAULT_OPS; op++) {
		assert_int_equal(one(d, op, 0), code_of(op));
		assert_int_equal(e.sys, ENODEV);
	}
	assert_int_equal(dev_zero(d, 0, 10, &e), -ERR_TARGET);
	assert_int_equal(dev_discard(d, 0, 10, &e), -ERR_TARGET);
	assert_int_equal(dev_set_size(d, 10, &e), -ERR_TARGET);
	assert_int_equal(dev_size(under), SIZE);
	assert_ok(dev_read(under, 0, buf, 100, &e), &e);
	assert_int_equal(buf[49], 'b');
	assert_int_equal(buf[50], 'a');
	close_both(d, under);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A delay adds to another rule's failure. */
static void test_delay(void **state)
{
	const struct fault_rule rules[] = {
		{ .op = FAULT_READ, .action = FAULT_DELAY, .nth = 2, .delay_ms = 30 },
		{ .op = FAULT_FLUSH, .action = FAULT_DELAY, .delay_ms = 30 },
		{ .op = FAULT_FLUSH, .action = FAULT_FAIL },
	};
	const struct fault_plan plan = { .rules = rules, .rule_count = 3 };
	struct dev *under;
	struct dev *d = with_plan(&under, &plan);
	double t = now();

	(void)state;
	assert_ok(one(d, FAULT_READ, 0), &e);
	assert_ok(one(d, FAULT_READ, 0), &e);
	assert_true(now() - t >= 0.030);
	assert_int_equal(buf[0], 'a');
	t = now();
	assert_int_equal(one(d, FAULT_FLUSH, 0), -ERR_TARGET);
	assert_true(now() - t >= 0.030);
	close_both(d, under);
}

static void test_alignment(void **state)
{
	const struct fault_plan plan = { .align_bytes = 512, .logical_bytes = 4096 };
	struct dev *under;
	struct dev *d = with_plan(&under, &plan);
	uint8_t *aligned = mem_alloc_direct(8192);

	(void)state;
	assert_int_equal(dev_info(d)->align_bytes, 512);
	assert_int_equal(dev_info(d)->logical_bytes, 4096);
	memset(aligned, 0, 8192);
	assert_ok(dev_read(d, 512, aligned, 1024, &e), &e);
	assert_ok(dev_write(d, 0, aligned + 512, 512, &e), &e);
	assert_int_equal(dev_read(d, 1, aligned, 512, &e), -ERR_SOURCE);
	assert_int_equal(e.sys, EINVAL);
	assert_int_equal(dev_read(d, 0, aligned, 513, &e), -ERR_SOURCE);
	assert_int_equal(dev_read(d, 0, aligned + 1, 512, &e), -ERR_SOURCE);
	assert_int_equal(dev_write(d, 0, aligned + 1, 512, &e), -ERR_TARGET);
	assert_int_equal(dev_zero(d, 100, 512, &e), -ERR_TARGET);
	assert_int_equal(dev_fault_count(d, FAULT_READ), 4);
	free(aligned);
	close_both(d, under);
}

/* A device that says it is longer than it is fails where it really ends. */
static void test_size(void **state)
{
	struct fault_plan plan = { .size_bytes = SIZE * 2 };
	struct dev *under;
	struct dev *d = with_plan(&under, &plan);

	(void)state;
	assert_int_equal(dev_size(d), SIZE * 2);
	assert_ok(dev_read(d, SIZE - 100, buf, 100, &e), &e);
	assert_int_equal(dev_read(d, SIZE - 99, buf, 100, &e), -ERR_SOURCE);
	assert_int_equal(dev_read(d, SIZE * 2, buf, 1, &e), -ERR_SOURCE);
	close_both(d, under);
	plan.size_bytes = 1000;
	d = with_plan(&under, &plan);
	assert_int_equal(dev_size(d), 1000);
	assert_int_equal(dev_read(d, 1000, buf, 1, &e), -ERR_SOURCE);
	assert_ok(dev_read(d, 999, buf, 1, &e), &e);
	close_both(d, under);
}

static void test_growing_file(void **state)
{
	const struct fault_plan plan = { .rule_count = 0 };
	struct dev *file;
	struct dev *d;

	(void)state;
	assert_ok(dev_open(dev_helper_path("grows"), DEV_WRITE | DEV_CREATE, &file, &e), &e);
	assert_ok(dev_open_fault(file, &plan, &d, &e), &e);
	assert_ok(dev_write(d, 100, "xyz", 3, &e), &e);
	assert_int_equal(dev_size(d), 103);
	assert_ok(dev_set_size(d, 50, &e), &e);
	assert_int_equal(dev_size(d), 50);
	assert_int_equal(dev_size(file), 50);
	close_both(d, file);
}

static void test_mistakes(void **state)
{
	static const struct fault_rule wrong[] = {
		{ .op = FAULT_READ, .action = FAULT_TEAR },
		{ .op = FAULT_FLUSH, .action = FAULT_TEAR },
		{ .op = FAULT_FLUSH, .action = FAULT_SHORTEN },
	};
	struct dev *under;
	struct dev *d;

	(void)state;
	assert_ok(dev_open_mem(NULL, 10, &under, &e), &e);
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		struct fault_plan plan = { .rules = &wrong[i], .rule_count = 1 };

		assert_int_equal(dev_open_fault(under, &plan, &d, &e), -ERR_USAGE);
		assert_null(d);
	}
	dev_close(under);
}

#define THREADS 4
#define EACH 5000

static void *read_many(void *arg)
{
	uintptr_t failed = 0;
	struct err mine;
	char byte;

	for (int i = 0; i < EACH; i++)
		failed += dev_read(arg, 0, &byte, 1, &mine) < 0;
	return (void *)failed;
}

/* With many threads, still exactly one operation is the n-th. */
static void test_threads(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .nth = 7777 };
	struct dev *under;
	struct dev *d = with_rule(&under, rule);
	pthread_t ids[THREADS];
	uintptr_t failed = 0;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&ids[i], NULL, read_many, d), 0);
	for (int i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(ids[i], &result);
		failed += (uintptr_t)result;
	}
	assert_int_equal(failed, 1);
	assert_int_equal(dev_fault_count(d, FAULT_READ), THREADS * EACH);
	close_both(d, under);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_rules),
		cmocka_unit_test(test_nth),
		cmocka_unit_test(test_fail_reports),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_shorten),
		cmocka_unit_test(test_tear),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_growing_file),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, dev_helper_setup, dev_helper_teardown);
}
