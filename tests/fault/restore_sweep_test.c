/*
 * Fault sweeps over restore (S51): the n-th read of the image, or write or flush of the target,
 * fails, comes short or is torn, for n = 1, 2, ... until the job succeeds. After each: the right
 * code, a message that names the object and an offset, and a target of which every byte is either
 * as it was or right.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/image_help.h"
#include "base/mem.h"
#include "device/dev_fault.h"

#define SIZE (1024 * 1024 + 300)
#define STALE 0xEE

struct fixture {
	struct help h;
	struct dev *file, *target;
	uint8_t *got;
};

static void setup(struct fixture *f, unsigned seed)
{
	help_init(&f->h, SIZE, seed);
	help_capture(&f->h, NULL, "whole", 2, 8);
	f->file = help_open(&f->h, "whole", 0);
	f->target = help_open(&f->h, "target", DEV_WRITE | DEV_CREATE);
	f->got = malloc(SIZE);
	assert_non_null(f->got);
}

static void teardown(struct fixture *f)
{
	free(f->got);
	dev_close(f->target);
	dev_close(f->file);
	help_fini(&f->h);
}

/* Full of stale bytes again. */
static void make_stale(struct fixture *f)
{
	struct err e;

	memset(f->got, STALE, SIZE);
	assert_ok(dev_write(f->target, 0, f->got, SIZE, &e), &e);
}

static int restore(struct restore r, struct dev *file, struct dev *target, uint64_t *lost,
	struct err *e)
{
	struct image *image = NULL;
	struct job *j = NULL;
	int code;

	memset(e, 0, sizeof(*e));
	code = -image_open(file, &image, e);
	r.image = image;
	r.target = target;
	if (code == ERR_OK)
		code = -job_restore(&r, &j, e);
	if (code == ERR_OK) {
		assert_int_equal(job_wait(j, 20000, e), 1);
		code = e->code;
		*lost = job_loss_count(j);
	}
	job_close(j);
	image_close(image);
	return code;
}

/* Every byte is right, or (when `partly`) what was there before. */
static void assert_target(struct fixture *f, bool partly)
{
	struct err e;

	assert_ok(dev_read(f->target, 0, f->got, SIZE, &e), &e);
	for (size_t i = 0; i < SIZE; i++)
		if (f->got[i] != f->h.want[i] && !(partly && f->got[i] == STALE))
			fail_msg("byte %zu is %02x", i, f->got[i]);
}

static void assert_says(const char *msg, const char *object)
{
	/* A flush is of the whole target: there is no offset to name. */
	if (strstr(msg, object) == NULL ||
		(strstr(msg, " at ") == NULL && strncmp(msg, "flush ", 6) != 0))
		fail_msg("message is: %s", msg);
}

/* R6: an image that can't be read never becomes bytes. */
static void sweep_reads(struct fixture *f, enum fault_action action, bool sticky)
{
	struct restore r = { .free = RESTORE_FREE_ZERO, .settings = help_settings(2, 8) };
	struct fault_rule rule = { .op = FAULT_READ, .action = action, .sticky = sticky };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	bool reached = true;
	uint64_t lost;
	struct err e;

	for (rule.nth = 1; reached; rule.nth++) {
		struct dev *faulty;
		int code;

		make_stale(f);
		assert_ok(dev_open_fault(f->file, &plan, &faulty, &e), &e);
		code = restore(r, faulty, f->target, &lost, &e);
		reached = dev_fault_count(faulty, FAULT_READ) >= rule.nth;
		dev_close(faulty);
		assert_int_equal(code, reached ? ERR_SOURCE : ERR_OK);
		if (reached)
			assert_says(e.msg, "whole");
		assert_target(f, reached);
	}
	assert_true(rule.nth > 20);
}

/* With zeros asked for: what can't be read is zeros, is listed, and the verdict says so. */
static void sweep_reads_zero(struct fixture *f)
{
	struct restore r = { .free = RESTORE_FREE_ZERO,
		.on_read_error = ON_READ_ERROR_ZERO,
		.settings = help_settings(2, 8) };
	struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	unsigned went_on = 0;
	bool reached = true;
	struct err e;

	for (rule.nth = 1; reached; rule.nth++) {
		struct dev *faulty;
		uint64_t lost = 0;
		int code;

		make_stale(f);
		assert_ok(dev_open_fault(f->file, &plan, &faulty, &e), &e);
		code = restore(r, faulty, f->target, &lost, &e);
		reached = dev_fault_count(faulty, FAULT_READ) >= rule.nth;
		dev_close(faulty);
		if (!reached) {
			assert_int_equal(code, ERR_OK);
			assert_target(f, false);
			break;
		}
		/* Without the structure, or a table, there is nothing to go on with. */
		assert_int_equal(code, lost > 0 ? ERR_DAMAGED : ERR_SOURCE);
		if (lost == 0)
			continue;
		went_on++;
		assert_int_equal(lost, 1);
		assert_ok(dev_read(f->target, 0, f->got, SIZE, &e), &e);
		for (size_t i = 0; i < SIZE; i++)
			if (f->got[i] != f->h.want[i])
				assert_int_equal(f->got[i], 0);
	}
	assert_true(went_on > 10);
}

static void test_failed_reads(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 1);
	sweep_reads(&f, FAULT_FAIL, false);
	sweep_reads(&f, FAULT_FAIL, true);
	sweep_reads(&f, FAULT_SHORTEN, false);
	sweep_reads_zero(&f);
	teardown(&f);
}

/* R7: no write and no flush may fail unseen. */
static void sweep_target(struct fixture *f, enum fault_op op, enum fault_action action, int sys)
{
	struct restore r = { .free = RESTORE_FREE_ZERO, .settings = help_settings(2, 8) };
	struct fault_rule rule = { .op = op, .action = action, .sys = sys };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	bool reached = true;
	uint64_t lost;
	struct err e;

	for (rule.nth = 1; reached; rule.nth++) {
		struct dev *faulty;
		int code;

		make_stale(f);
		assert_ok(dev_open_fault(f->target, &plan, &faulty, &e), &e);
		code = restore(r, f->file, faulty, &lost, &e);
		reached = dev_fault_count(faulty, op) >= rule.nth;
		dev_close(faulty);
		assert_int_equal(code, reached ? ERR_TARGET : ERR_OK);
		if (reached)
			assert_says(e.msg, "target");
		assert_target(f, reached);
	}
	assert_true(rule.nth > (op == FAULT_FLUSH ? 2 : 20));
}

static void test_r7_failed_writes(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 2);
	sweep_target(&f, FAULT_WRITE, FAULT_FAIL, EIO);
	sweep_target(&f, FAULT_WRITE, FAULT_FAIL, ENOSPC);
	sweep_target(&f, FAULT_WRITE, FAULT_SHORTEN, 0);
	sweep_target(&f, FAULT_FLUSH, FAULT_FAIL, EIO);
	teardown(&f);
}

/* A power cut of the target: the write "succeeded", and nothing works afterwards. */
static void test_r7_torn_writes(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 3);
	sweep_target(&f, FAULT_WRITE, FAULT_TEAR, EIO);
	teardown(&f);
}

static void test_slow_target(void **state)
{
	struct fault_rule rules[] = {
		{ .op = FAULT_READ, .action = FAULT_DELAY, .delay_ms = 2 },
		{ .op = FAULT_WRITE, .action = FAULT_DELAY, .delay_ms = 2 },
		{ .op = FAULT_FLUSH, .action = FAULT_DELAY, .delay_ms = 20 },
	};
	struct restore r = { .free = RESTORE_FREE_ZERO, .settings = help_settings(2, 8) };
	struct fault_plan plan = { .rules = rules, .rule_count = COUNT_OF(rules) };
	struct dev *slow_file, *slow_target;
	struct fixture f;
	uint64_t lost;
	struct err e;

	(void)state;
	setup(&f, 5);
	make_stale(&f);
	assert_ok(dev_open_fault(f.file, &plan, &slow_file, &e), &e);
	assert_ok(dev_open_fault(f.target, &plan, &slow_target, &e), &e);
	assert_int_equal(restore(r, slow_file, slow_target, &lost, &e), ERR_OK);
	dev_close(slow_file);
	dev_close(slow_target);
	assert_target(&f, false);
	teardown(&f);
}

/* LESSONS 39: a target that does not answer is an error that says who waits for whom. */
static void test_stalled_target(void **state)
{
	struct fault_rule rule = { .op = FAULT_WRITE,
		.action = FAULT_DELAY,
		.nth = 3,
		.sticky = true,
		.delay_ms = 1200 };
	struct restore r = { .free = RESTORE_FREE_ZERO, .settings = help_settings(2, 4) };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct fixture f;
	struct dev *slow;
	uint64_t lost;
	struct err e;

	(void)state;
	setup(&f, 6);
	make_stale(&f);
	r.settings.stall_ms = 300;
	assert_ok(dev_open_fault(f.target, &plan, &slow, &e), &e);
	assert_int_equal(restore(r, f.file, slow, &lost, &e), ERR_TARGET);
	if (strstr(e.msg, "nothing has moved") == NULL || strstr(e.msg, "target") == NULL ||
		strstr(e.msg, "the ordered end w") == NULL)
		fail_msg("message is: %s", e.msg);
	dev_close(slow);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_reads),
		cmocka_unit_test(test_r7_failed_writes),
		cmocka_unit_test(test_r7_torn_writes),
		cmocka_unit_test(test_slow_target),
		cmocka_unit_test(test_stalled_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
