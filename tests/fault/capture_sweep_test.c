/*
 * Fault sweeps over capture (S51): the n-th read, write or flush fails, comes short, or is torn,
 * for n = 1, 2, ... until the job succeeds. After each: the right code, a message that names the
 * object and an offset, nothing that opens as a complete image, and a file that resumes to the
 * same bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/image_help.h"
#include "device/dev_fault.h"

#define SIZE (1024 * 1024 + 300)

/* Capture with these devices to the end; the error's code. */
static int run(struct help *h, struct dev *source, struct dev *out, struct err *e)
{
	uint8_t root[SHA256_BYTES];
	struct image_writer *w = NULL;
	int code, rc = image_writer_new(out, &h->head, false, &w, e);

	if (rc < 0)
		return -rc;
	code = help_capture_job(h, source, w, ON_READ_ERROR_ABORT, e);
	if (code == ERR_OK && (rc = image_writer_finish(w, root, e)) < 0)
		code = -rc;
	image_writer_close(w);
	return code;
}

/* What is left opens as no image, and resumes to the bytes of an uninterrupted run. */
static void assert_resumes(struct help *h, const char *name)
{
	struct dev *out = help_open(h, name, DEV_WRITE);
	struct image *image = NULL;
	struct image_writer *w = NULL;
	struct layout_head head = h->head;
	uint8_t root[SHA256_BYTES];
	struct err e = { 0 };

	if (image_open(out, &image, &e) == 0) {
		/* All is written, and only the last flush failed: the whole image, or none. */
		image_close(image);
		dev_close(out);
		help_assert_same_files(h, "whole", name);
		return;
	}
	assert_ok(image_writer_resume(out, &head, false, &w, &e), &e);
	assert_int_equal(help_capture_job(h, NULL, w, ON_READ_ERROR_ABORT, &e), ERR_OK);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
	help_assert_same_files(h, "whole", name);
}

static bool names_target(const char *msg)
{
	/* A flush is of the whole file: there is no offset to name. */
	return strstr(msg, "cut") != NULL &&
		(strncmp(msg, "flush ", 6) == 0 || strstr(msg, " at ") != NULL);
}

/* One read that fails is no loss: it is tried again, and not a byte differs. */
static void sweep_transient_reads(struct help *h)
{
	struct err e = { 0 };
	uint64_t n = 1, count;

	do {
		struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .nth = n };
		struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
		struct dev *out = help_open(h, "once", DEV_WRITE | DEV_CREATE), *faulty;

		assert_ok(dev_open_fault(h->source, &plan, &faulty, &e), &e);
		assert_int_equal(run(h, faulty, out, &e), ERR_OK);
		count = dev_fault_count(faulty, FAULT_READ);
		dev_close(faulty);
		dev_close(out);
		help_assert_same_files(h, "whole", "once");
		assert_int_equal(remove(help_path(h, "once")), 0);
	} while (n++ < count);
	assert_true(n > 20);
}

static void sweep(struct help *h, enum fault_op op, enum fault_action action, int sys, int want)
{
	struct err e = { 0 };

	for (uint64_t n = 1;; n++) {
		/* A source that fails stays bad: a read that fails once is tried again. */
		struct fault_rule rule = { .op = op,
			.action = action,
			.nth = n,
			.sys = sys,
			.sticky = op == FAULT_READ };
		struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
		struct dev *out = help_open(h, "cut", DEV_WRITE | DEV_CREATE), *faulty;
		bool on_source = op == FAULT_READ;
		int code;

		assert_ok(dev_open_fault(on_source ? h->source : out, &plan, &faulty, &e), &e);
		code = run(h, on_source ? faulty : NULL, on_source ? out : faulty, &e);
		if (dev_fault_count(faulty, op) < n) {
			/* The n-th operation was never reached: the job went through. */
			assert_int_equal(code, ERR_OK);
			dev_close(faulty);
			dev_close(out);
			help_assert_same_files(h, "whole", "cut");
			assert_true(n > 1);
			assert_int_equal(remove(help_path(h, "cut")), 0);
			return;
		}
		assert_int_equal(code, want);
		if (op == FAULT_READ ? strstr(e.msg, " at ") == NULL : !names_target(e.msg))
			fail_msg("message is: %s", e.msg);
		dev_close(faulty);
		dev_close(out);
		assert_resumes(h, "cut");
		assert_int_equal(remove(help_path(h, "cut")), 0);
	}
}

static void test_failed_reads(void **state)
{
	struct help h;

	(void)state;
	help_init(&h, SIZE, 1);
	help_capture(&h, NULL, "whole", 2, 8);
	sweep_transient_reads(&h);
	sweep(&h, FAULT_READ, FAULT_FAIL, EIO, ERR_SOURCE);
	sweep(&h, FAULT_READ, FAULT_SHORTEN, 0, ERR_SOURCE);
	help_fini(&h);
}

static void test_failed_writes(void **state)
{
	struct help h;

	(void)state;
	help_init(&h, SIZE, 2);
	help_capture(&h, NULL, "whole", 2, 8);
	sweep(&h, FAULT_WRITE, FAULT_FAIL, EIO, ERR_TARGET);
	sweep(&h, FAULT_WRITE, FAULT_FAIL, ENOSPC, ERR_TARGET);
	sweep(&h, FAULT_WRITE, FAULT_SHORTEN, 0, ERR_TARGET);
	sweep(&h, FAULT_FLUSH, FAULT_FAIL, EIO, ERR_TARGET);
	help_fini(&h);
}

/* A torn write is a power cut: success was reported, nothing later works. */
static void test_torn_writes(void **state)
{
	struct help h;

	(void)state;
	help_init(&h, SIZE, 3);
	help_capture(&h, NULL, "whole", 2, 8);
	sweep(&h, FAULT_WRITE, FAULT_TEAR, EIO, ERR_TARGET);
	help_fini(&h);
}

/* A slow disk costs time, nothing else. */
static void test_delays(void **state)
{
	struct fault_rule rules[] = {
		{ .op = FAULT_READ, .action = FAULT_DELAY, .delay_ms = 1 },
		{ .op = FAULT_WRITE, .action = FAULT_DELAY, .delay_ms = 5 },
		{ .op = FAULT_FLUSH, .action = FAULT_DELAY, .delay_ms = 20 },
	};
	struct fault_plan plan = { .rules = rules, .rule_count = 3 };
	struct dev *out, *slow_out, *slow_source;
	struct help h;
	struct err e = { 0 };

	(void)state;
	help_init(&h, SIZE, 4);
	help_capture(&h, NULL, "whole", 2, 8);
	out = help_open(&h, "slow", DEV_WRITE | DEV_CREATE);
	assert_ok(dev_open_fault(out, &plan, &slow_out, &e), &e);
	assert_ok(dev_open_fault(h.source, &plan, &slow_source, &e), &e);
	assert_int_equal(run(&h, slow_source, slow_out, &e), ERR_OK);
	dev_close(slow_out);
	dev_close(slow_source);
	dev_close(out);
	help_assert_same_files(&h, "whole", "slow");
	help_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_reads),
		cmocka_unit_test(test_failed_writes),
		cmocka_unit_test(test_torn_writes),
		cmocka_unit_test(test_delays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
