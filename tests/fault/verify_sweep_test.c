/*
 * Fault sweeps over verify (S51): the n-th read of the image fails or comes short, once or for
 * good, for n = 1, 2, ... until the job succeeds. After each: never "good", the right code, and a
 * message that names the image and an offset. A file that is slow costs time; one that does not
 * answer at all is an error that says who waits for what.
 */
#include <errno.h>
#include <string.h>

#include "../unit/image_help.h"
#include "base/mem.h"
#include "device/dev_fault.h"

#define SIZE (1024 * 1024 + 300)

enum stage { STAGE_OPEN, STAGE_BLOCKS, STAGE_ROOT, STAGE_GOOD };

/* What `verify` does: open, every block, root hash. Where it ended; *code and *e say how. */
static enum stage verify(struct dev *file, unsigned stall_ms, int *code, struct job_loss *loss,
	struct err *e)
{
	struct verify v = { .sample_percent = 100, .settings = help_settings(2, 8) };
	enum stage stage = STAGE_OPEN;
	struct image *image = NULL;
	struct job *j = NULL;

	memset(e, 0, sizeof(*e));
	memset(loss, 0, sizeof(*loss));
	*code = -image_open(file, &image, e);
	if (*code == ERR_OK) {
		stage = STAGE_BLOCKS;
		v.image = image;
		v.settings.stall_ms = stall_ms;
		assert_ok(job_verify(&v, &j, e), e);
		assert_int_equal(job_wait(j, 20000, e), 1);
		*code = e->code;
		if (job_loss_count(j) > 0)
			*loss = *job_loss_at(j, 0);
		job_close(j);
	}
	if (stage == STAGE_BLOCKS && *code == ERR_OK) {
		stage = STAGE_ROOT;
		*code = -image_check_root(image, e);
	}
	image_close(image);
	return *code == ERR_OK ? STAGE_GOOD : stage;
}

static void assert_says(const char *msg)
{
	if (strstr(msg, "whole") == NULL || strstr(msg, " at ") == NULL)
		fail_msg("message is: %s", msg);
}

/* The n-th read misbehaves. False: it was never reached, and the image is good. */
static bool sweep_point(struct dev *image, enum fault_action action, bool sticky, uint64_t n,
	unsigned *stages)
{
	struct fault_rule rule = { .op = FAULT_READ, .action = action, .nth = n, .sticky = sticky };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct job_loss loss;
	struct dev *faulty;
	enum stage stage;
	struct err e;
	bool reached;
	int code;

	assert_ok(dev_open_fault(image, &plan, &faulty, &e), &e);
	stage = verify(faulty, 0, &code, &loss, &e);
	reached = dev_fault_count(faulty, FAULT_READ) >= n;
	dev_close(faulty);
	stages[stage]++;
	if (!reached) {
		assert_int_equal(stage, STAGE_GOOD);
		return false;
	}
	assert_int_not_equal(stage, STAGE_GOOD);
	assert_says(e.msg);
	if (stage != STAGE_BLOCKS) {
		assert_int_equal(code, ERR_SOURCE);
		return true;
	}
	/* A block that can't be read does not verify, and is named like any other that does not. */
	assert_int_equal(code, ERR_DAMAGED);
	assert_true(loss.len > 0);
	assert_says(loss.why);
	return true;
}

static void sweep(enum fault_action action, bool sticky)
{
	unsigned stages[STAGE_GOOD + 1] = { 0 };
	struct dev *image;
	struct help h;
	uint64_t n = 1;

	help_init(&h, SIZE, 5);
	help_capture(&h, NULL, "whole", 2, 8);
	image = help_open(&h, "whole", 0);
	while (sweep_point(image, action, sticky, n, stages))
		n++;
	/* Each part of the work was met, or the sweep has swept nothing. */
	for (int s = 0; s <= STAGE_GOOD; s++)
		if (!sticky || s != STAGE_ROOT)
			assert_true(stages[s] > 0);
	dev_close(image);
	help_fini(&h);
}

static void test_failed_reads(void **state)
{
	(void)state;
	sweep(FAULT_FAIL, false);
	sweep(FAULT_FAIL, true);
}

static void test_short_reads(void **state)
{
	(void)state;
	sweep(FAULT_SHORTEN, false);
	sweep(FAULT_SHORTEN, true);
}

static void test_slow_file(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_DELAY, .delay_ms = 2 };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct dev *image, *slow;
	struct job_loss loss;
	struct help h;
	struct err e;
	int code;

	(void)state;
	help_init(&h, SIZE, 6);
	help_capture(&h, NULL, "whole", 2, 8);
	image = help_open(&h, "whole", 0);
	assert_ok(dev_open_fault(image, &plan, &slow, &e), &e);
	assert_int_equal(verify(slow, 0, &code, &loss, &e), STAGE_GOOD);
	dev_close(slow);
	dev_close(image);
	help_fini(&h);
}

/* LESSONS 39: the watchdog, when the file stops answering in the middle of the blocks. */
static void test_stalled_file(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ,
		.action = FAULT_DELAY,
		.nth = 20,
		.sticky = true,
		.delay_ms = 1200 };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct dev *image, *slow;
	struct job_loss loss;
	struct help h;
	struct err e;
	int code;

	(void)state;
	help_init(&h, SIZE, 7);
	help_make_noise(&h);
	help_capture(&h, NULL, "whole", 2, 8);
	image = help_open(&h, "whole", 0);
	assert_ok(dev_open_fault(image, &plan, &slow, &e), &e);
	assert_int_equal(verify(slow, 300, &code, &loss, &e), STAGE_BLOCKS);
	assert_int_equal(code, ERR_SOURCE);
	/* It is a block or a table that does not come. */
	if (strstr(e.msg, "nothing has moved") == NULL ||
		(strstr(e.msg, "the reader waits for the source at source offset") == NULL &&
			strstr(e.msg, "the reader looks up the next block at") == NULL))
		fail_msg("message is: %s", e.msg);
	dev_close(slow);
	dev_close(image);
	help_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_reads),
		cmocka_unit_test(test_short_reads),
		cmocka_unit_test(test_slow_file),
		cmocka_unit_test(test_stalled_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
