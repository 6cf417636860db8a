/* Clone: what the map wants is on the target, the rest is as asked, and differences are found. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "device/signature.h"
#include "image_help.h"

#define SIZE (1024 * 1024 + 1234)
/* More than what is zeroed because signatures lie there. */
#define LARGE (6 * 1024 * 1024 + 1234)
#define STALE 0xEE

struct fixture {
	struct help h;
	struct dev *target;
	struct job *clone;
};

static void setup_sized(struct fixture *f, size_t size, unsigned seed)
{
	uint8_t *stale = malloc(size + 512);
	struct err e;

	help_init(&f->h, size, seed);
	memset(stale, STALE, size + 512);
	assert_ok(dev_open_mem(stale, size + 512, &f->target, &e), &e);
	free(stale);
	f->clone = NULL;
}

static void setup(struct fixture *f, unsigned seed)
{
	setup_sized(f, SIZE, seed);
}

static void teardown(struct fixture *f)
{
	job_close(f->clone);
	dev_close(f->target);
	help_fini(&f->h);
}

static struct clone clone_of(struct fixture *f, enum restore_free free_space)
{
	return (struct clone){ .source = f->h.source,
		.map = f->h.map,
		.target = f->target,
		.block_bytes = HELP_BLOCK,
		.free = free_space,
		.settings = help_settings(2, 8) };
}

static int run(struct fixture *f, const struct clone *c, struct err *e)
{
	job_close(f->clone);
	f->clone = NULL;
	if (job_clone(c, &f->clone, e) < 0)
		return e->code;
	assert_int_equal(job_wait(f->clone, -1, e), 1);
	return e->code;
}

static int check(struct fixture *f, bool free_is_zero, size_t *losses)
{
	struct clone_check k = { f->clone, f->target, free_is_zero, help_settings(2, 8) };
	struct err e = { 0 };
	struct job *j = NULL;

	assert_ok(job_clone_check(&k, &j, &e), &e);
	assert_int_equal(job_wait(j, -1, &e), 1);
	*losses = job_loss_count(j);
	job_close(j);
	return e.code;
}

static void flip(struct dev *d, uint64_t off)
{
	struct err e;
	uint8_t byte;

	assert_ok(dev_read(d, off, &byte, 1, &e), &e);
	byte ^= 1;
	assert_ok(dev_write(d, off, &byte, 1, &e), &e);
}

static void test_content(void **state)
{
	uint8_t *got = malloc(SIZE + 512);
	struct fixture f;
	struct clone c;
	size_t losses;
	struct err e = { 0 };

	(void)state;
	setup(&f, 1);
	c = clone_of(&f, RESTORE_FREE_ZERO);
	assert_int_equal(run(&f, &c, &e), ERR_OK);
	assert_ok(dev_read(f.target, 0, got, SIZE + 512, &e), &e);
	assert_memory_equal(got, f.h.want, SIZE);
	for (size_t i = SIZE; i < SIZE + 512; i++)
		assert_int_equal(got[i], STALE);
	assert_int_equal(check(&f, true, &losses), ERR_OK);
	for (uint64_t off = 0; off < SIZE; off += 55555) {
		flip(f.target, off);
		assert_int_equal(check(&f, true, &losses), ERR_TARGET);
		assert_int_equal(losses, 1);
		flip(f.target, off);
	}
	flip(f.target, SIZE);
	assert_int_equal(check(&f, true, &losses), ERR_OK);
	teardown(&f);
	free(got);
}

/* R9: free space may keep what the target has but for old signatures, zeros may not. */
static void test_r9_free_is_left(void **state)
{
	uint8_t *got = malloc(LARGE);
	size_t losses, hint = 0, stale = 0;
	struct fixture f;
	struct clone c;
	struct err e = { 0 };

	(void)state;
	setup_sized(&f, LARGE, 2);
	c = clone_of(&f, RESTORE_FREE_LEAVE);
	assert_int_equal(run(&f, &c, &e), ERR_OK);
	assert_ok(dev_read(f.target, 0, got, LARGE, &e), &e);
	for (size_t i = 0; i < LARGE; i++)
		if (got[i] != f.h.want[i]) {
			stale++;
			assert_true(i >= SIGNATURE_HEAD_BYTES && i < LARGE - SIGNATURE_TAIL_BYTES);
			assert_int_equal(map_run(f.h.map, i, &hint).kind, MAP_FREE);
		}
	assert_true(stale > 0);
	assert_int_equal(check(&f, false, &losses), ERR_OK);
	assert_int_equal(check(&f, true, &losses), ERR_TARGET);
	teardown(&f);
	free(got);
}

/* R4, R5: refused before a byte is written. */
static void test_r4_r5_refusals(void **state)
{
	struct dev *small;
	struct fixture f;
	struct clone c;
	struct err e;

	(void)state;
	setup(&f, 3);
	assert_ok(dev_open_mem(NULL, SIZE - 1, &small, &e), &e);
	c = clone_of(&f, RESTORE_FREE_ZERO);
	c.target = small;
	assert_int_equal(run(&f, &c, &e), ERR_REFUSED);
	assert_non_null(strstr(e.msg, "too small"));
	c.target = f.h.source;
	assert_int_equal(run(&f, &c, &e), ERR_REFUSED);
	c = clone_of(&f, RESTORE_FREE_ZERO);
	c.block_bytes = 12345;
	assert_int_equal(run(&f, &c, &e), ERR_USAGE);
	dev_close(small);
	teardown(&f);
}

/* A source that can't be read ends it, or is zeros there and counted. */
static void test_bad_source(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ,
		.action = FAULT_FAIL,
		.sticky = true,
		.off = 5 * HELP_BLOCK,
		.len = 512 };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	uint8_t *got = malloc(SIZE);
	struct dev *faulty;
	struct fixture f;
	struct clone c;
	size_t losses;
	struct err e = { 0 };

	(void)state;
	setup(&f, 4);
	help_make_noise(&f.h);
	assert_ok(dev_open_fault(f.h.source, &plan, &faulty, &e), &e);
	c = clone_of(&f, RESTORE_FREE_ZERO);
	c.source = faulty;
	assert_int_equal(run(&f, &c, &e), ERR_SOURCE);
	c.on_read_error = ON_READ_ERROR_ZERO;
	assert_int_equal(run(&f, &c, &e), ERR_BAD_SECTORS);
	memset(f.h.want + rule.off, 0, 512);
	assert_ok(dev_read(f.target, 0, got, SIZE, &e), &e);
	assert_memory_equal(got, f.h.want, SIZE);
	assert_int_equal(check(&f, true, &losses), ERR_OK);
	job_close(f.clone);
	f.clone = NULL;
	dev_close(faulty);
	teardown(&f);
	free(got);
}

/* R7: no write and no flush may fail unseen. */
static void test_r7_target_fault_sweep(void **state)
{
	struct fixture f;
	struct err e = { 0 };

	(void)state;
	setup(&f, 5);
	for (int op = FAULT_WRITE; op <= FAULT_FLUSH; op++)
		for (uint64_t n = 1;; n++) {
			struct fault_rule rule = { .op = (enum fault_op)op,
				.action = FAULT_FAIL,
				.nth = n };
			struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
			struct clone c = clone_of(&f, RESTORE_FREE_ZERO);
			struct dev *faulty;
			uint64_t count;
			int code;

			assert_ok(dev_open_fault(f.target, &plan, &faulty, &e), &e);
			c.target = faulty;
			code = run(&f, &c, &e);
			count = dev_fault_count(faulty, rule.op);
			assert_int_equal(code, count >= n ? ERR_TARGET : ERR_OK);
			job_close(f.clone);
			f.clone = NULL;
			dev_close(faulty);
			if (code == ERR_OK)
				break;
		}
	teardown(&f);
}

/* What begins is paid for beforehand, the first block too. */
static void test_first_block_is_paid_for(void **state)
{
	struct fault_plan plan = { 0 };
	struct dev *counted;
	struct fixture f;
	struct clone c;
	struct err e = { 0 };

	(void)state;
	setup(&f, 6);
	help_make_noise(&f.h);
	assert_ok(dev_open_fault(f.h.source, &plan, &counted, &e), &e);
	c = clone_of(&f, RESTORE_FREE_ZERO);
	c.source = counted;
	c.settings.max_bytes_per_s = HELP_BLOCK / 8;
	assert_ok(job_clone(&c, &f.clone, &e), &e);
	assert_int_equal(job_wait(f.clone, 50, &e), 0);
	assert_int_equal(dev_fault_count(counted, FAULT_READ), 0);
	job_close(f.clone);
	f.clone = NULL;
	dev_close(counted);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_r9_free_is_left),
		cmocka_unit_test(test_r4_r5_refusals),
		cmocka_unit_test(test_bad_source),
		cmocka_unit_test(test_r7_target_fault_sweep),
		cmocka_unit_test(test_first_block_is_paid_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
