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
#include "base/mem.h"
#include "device/dev_fault.h"

#define SIZE (1024 * 1024 + 300)
/* The output is written in buffers of 1 MiB: so much noise that several of them go out. */
#define NOISE_SIZE (8 * 1024 * 1024 + 300)

/* What goes wrong in a sweep, and the code that the job ends with. */
struct sweep {
	enum fault_op op;
	enum fault_action action;
	int sys;
	int want;
	bool write_through;
};

/* Capture with these devices to the end, or stop as the program does; the error's code. */
static int run(struct help *h, struct dev *source, struct dev *out, bool write_through,
	struct err *e)
{
	uint8_t root[SHA256_BYTES];
	struct image_writer *w = NULL;
	int code, rc = image_writer_new(out, &h->head, write_through, &w, e);

	if (rc < 0)
		return -rc;
	code = help_capture_job(h, source, w, ON_READ_ERROR_ABORT, e);
	if (code != ERR_OK)
		image_writer_stop(w, NULL);
	else if ((rc = image_writer_finish(w, root, e)) < 0)
		code = -rc;
	image_writer_close(w);
	return code;
}

/*
 * What is left opens as no image, and resumes to the bytes of an uninterrupted run. Returns the
 * source offset at which it went on.
 */
static uint64_t assert_resumes(struct help *h, const char *name)
{
	struct dev *out = help_open(h, name, DEV_WRITE);
	struct image *image = NULL;
	struct image_writer *w = NULL;
	struct layout_head head = h->head;
	uint8_t root[SHA256_BYTES];
	struct err e = { 0 };
	uint64_t from;

	if (image_open(out, &image, &e) == 0) {
		/* All is written, and only the last flush failed: the whole image, or none. */
		image_close(image);
		dev_close(out);
		help_assert_same_files(h, "whole", name);
		return h->size;
	}
	assert_ok(image_writer_resume(out, &head, false, &w, &e), &e);
	from = image_writer_offset(w);
	assert_int_equal(help_capture_job(h, NULL, w, ON_READ_ERROR_ABORT, &e), ERR_OK);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
	help_assert_same_files(h, "whole", name);
	return from;
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
		assert_int_equal(run(h, faulty, out, false, &e), ERR_OK);
		count = dev_fault_count(faulty, FAULT_READ);
		dev_close(faulty);
		dev_close(out);
		help_assert_same_files(h, "whole", "once");
		assert_int_equal(remove(help_path(h, "once")), 0);
	} while (n++ < count);
	assert_true(n > 20);
}

/* Fewer operations than this, and the sweep has hit none while the job was running. */
static uint64_t least_count(const struct sweep *x)
{
	if (x->op == FAULT_READ)
		return 20;
	/* Without write-through the only flush of a small image is that at its end. */
	return x->op == FAULT_WRITE || x->write_through ? 6 : 1;
}

/* One run with a fault in the n-th operation; its number of operations, and the code. */
static uint64_t run_with_fault(struct help *h, const struct sweep *x, uint64_t n, int *code,
	struct err *e)
{
	bool on_source = x->op == FAULT_READ;
	/* A source that fails stays bad: a read that fails once is tried again. */
	struct fault_rule rule = { .op = x->op,
		.action = x->action,
		.nth = n,
		.sys = x->sys,
		.sticky = on_source };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct dev *out = help_open(h, "cut", DEV_WRITE | DEV_CREATE), *faulty;
	uint64_t count;

	assert_ok(dev_open_fault(on_source ? h->source : out, &plan, &faulty, e), e);
	*code = run(h, on_source ? faulty : NULL, on_source ? out : faulty, x->write_through, e);
	count = dev_fault_count(faulty, x->op);
	dev_close(faulty);
	dev_close(out);
	return count;
}

static void sweep(struct help *h, const struct sweep *x)
{
	struct err e = { 0 };
	uint64_t count, kept = 0;
	int code;

	for (uint64_t n = 1; (count = run_with_fault(h, x, n, &code, &e)) >= n; n++) {
		assert_int_equal(code, x->want);
		if (x->op == FAULT_READ ? strstr(e.msg, " at ") == NULL : !names_target(e.msg))
			fail_msg("message is: %s", e.msg);
		kept = max_u64(kept, assert_resumes(h, "cut"));
		assert_int_equal(remove(help_path(h, "cut")), 0);
	}
	/* The n-th operation was never reached: the job went through. */
	assert_int_equal(code, ERR_OK);
	help_assert_same_files(h, "whole", "cut");
	assert_int_equal(remove(help_path(h, "cut")), 0);
	assert_true(count >= least_count(x));
	/* What was written before the fault stays. */
	assert_true(kept > 0);
}

static void test_failed_reads(void **state)
{
	const struct sweep failed = { FAULT_READ, FAULT_FAIL, EIO, ERR_SOURCE, false };
	const struct sweep shortened = { FAULT_READ, FAULT_SHORTEN, 0, ERR_SOURCE, false };
	struct help h;

	(void)state;
	help_init(&h, SIZE, 1);
	help_capture(&h, NULL, "whole", 2, 8);
	sweep_transient_reads(&h);
	sweep(&h, &failed);
	sweep(&h, &shortened);
	help_fini(&h);
}

static void sweep_target(enum fault_op op, enum fault_action action, int sys)
{
	struct sweep x = { op, action, sys, ERR_TARGET, false };
	struct help h;

	help_init(&h, NOISE_SIZE, 2);
	help_make_noise(&h);
	help_capture(&h, NULL, "whole", 2, 8);
	sweep(&h, &x);
	x.write_through = true;
	sweep(&h, &x);
	help_fini(&h);
}

static void test_failed_writes(void **state)
{
	(void)state;
	sweep_target(FAULT_WRITE, FAULT_FAIL, EIO);
	sweep_target(FAULT_WRITE, FAULT_FAIL, ENOSPC);
	sweep_target(FAULT_WRITE, FAULT_SHORTEN, 0);
}

static void test_failed_flushes(void **state)
{
	(void)state;
	sweep_target(FAULT_FLUSH, FAULT_FAIL, EIO);
}

/* A torn write is a power cut: success was reported, nothing later works. */
static void test_torn_writes(void **state)
{
	(void)state;
	sweep_target(FAULT_WRITE, FAULT_TEAR, EIO);
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
	assert_int_equal(run(&h, slow_source, slow_out, false, &e), ERR_OK);
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
		cmocka_unit_test(test_failed_flushes),
		cmocka_unit_test(test_torn_writes),
		cmocka_unit_test(test_delays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
