/* Compare: every difference is found, and nothing else is called one. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "image_help.h"

#define SIZE (1024 * 1024 + 1234)
#define AT 1000

struct fixture {
	struct help h;
	struct dev *file, *target;
	struct image *image;
};

/* A target that holds the image at AT, restored to. */
static void setup(struct fixture *f, unsigned seed, enum restore_free free_space)
{
	uint8_t *stale = malloc(SIZE + 2 * AT);
	struct restore r = { .target_off = AT, .free = free_space };
	struct job *j = NULL;
	struct err e = { 0 };

	help_init(&f->h, SIZE, seed);
	help_capture(&f->h, NULL, "image", 2, 8);
	f->file = help_open(&f->h, "image", 0);
	assert_ok(image_open(f->file, &f->image, &e), &e);
	memset(stale, 0xEE, SIZE + 2 * AT);
	assert_ok(dev_open_mem(stale, SIZE + 2 * AT, &f->target, &e), &e);
	free(stale);
	r.image = f->image;
	r.target = f->target;
	r.settings = help_settings(2, 8);
	assert_ok(job_restore(&r, &j, &e), &e);
	assert_int_equal(job_wait(j, -1, &e), 1);
	assert_int_equal(e.code, ERR_OK);
	job_close(j);
}

static void teardown(struct fixture *f)
{
	dev_close(f->target);
	image_close(f->image);
	dev_close(f->file);
	help_fini(&f->h);
}

static struct compare against(struct fixture *f)
{
	return (struct compare){ .image = f->image,
		.target = f->target,
		.target_off = AT,
		.settings = help_settings(2, 8) };
}

/* The code; *lost gets the first loss and their number in its length. */
static int run(const struct compare *c, struct job_loss *lost, size_t *count)
{
	struct err e = { 0 };
	struct job *j = NULL;

	if (job_compare(c, &j, &e) < 0)
		return e.code;
	assert_int_equal(job_wait(j, -1, &e), 1);
	*count = job_loss_count(j);
	if (*count > 0)
		*lost = *job_loss_at(j, 0);
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

/* One wrong byte anywhere in data or zeros is a difference, at its block; outside it is none. */
static void test_finds_every_byte(void **state)
{
	struct job_loss lost;
	struct fixture f;
	struct compare c;
	size_t count = 0;

	(void)state;
	setup(&f, 1, RESTORE_FREE_ZERO);
	c = against(&f);
	c.free_is_zero = true;
	assert_int_equal(run(&c, &lost, &count), ERR_OK);
	flip(f.target, AT - 1);
	flip(f.target, AT + SIZE);
	assert_int_equal(run(&c, &lost, &count), ERR_OK);
	for (uint64_t off = 0; off < SIZE; off += 77777) {
		flip(f.target, AT + off);
		assert_int_equal(run(&c, &lost, &count), ERR_TARGET);
		assert_int_equal(count, 1);
		assert_true(lost.off <= off && off < lost.off + lost.len);
		assert_true(lost.len <= HELP_BLOCK);
		flip(f.target, AT + off);
	}
	teardown(&f);
}

/* R9: free space that was left alone holds anything, zeros must be zeros. */
static void test_r9_free_is_not_compared(void **state)
{
	const struct chunk *chunk = NULL;
	struct job_loss lost;
	struct fixture f;
	struct compare c;
	size_t count = 0;
	uint32_t i = 0;
	struct err e;

	(void)state;
	setup(&f, 2, RESTORE_FREE_LEAVE);
	assert_ok(image_chunk(f.image, 0, &chunk, &e), &e);
	while (i < chunk->count && chunk->entries[i].kind != ENTRY_FREE)
		i++;
	assert_true(i < chunk->count);
	flip(f.target, AT + chunk->entries[i].off);
	chunk_unref(f.image, chunk);
	c = against(&f);
	assert_int_equal(run(&c, &lost, &count), ERR_OK);
	c.free_is_zero = true;
	assert_int_equal(run(&c, &lost, &count), ERR_TARGET);
	teardown(&f);
}

/* Ranges that cut blocks. */
static void test_ranges(void **state)
{
	static const uint64_t offs[] = { 0, 1, HELP_BLOCK - 1, HELP_CHUNK + 5, SIZE - 700 };
	struct job_loss lost;
	struct fixture f;
	struct compare c;
	size_t count = 0;

	(void)state;
	setup(&f, 3, RESTORE_FREE_ZERO);
	for (size_t i = 0; i < COUNT_OF(offs); i++) {
		c = against(&f);
		c.free_is_zero = true;
		c.source_off = offs[i];
		c.source_len = min_u64(HELP_CHUNK + 77, SIZE - offs[i]);
		c.target_off = AT + offs[i];
		assert_int_equal(run(&c, &lost, &count), ERR_OK);
		flip(f.target, c.target_off);
		assert_int_equal(run(&c, &lost, &count), ERR_TARGET);
		flip(f.target, c.target_off);
		flip(f.target, c.target_off + c.source_len - 1);
		assert_int_equal(run(&c, &lost, &count), ERR_TARGET);
		flip(f.target, c.target_off + c.source_len - 1);
	}
	c.source_off = SIZE;
	c.source_len = 1;
	assert_int_equal(run(&c, &lost, &count), ERR_USAGE);
	c.source_off = 0;
	c.source_len = 0;
	c.target_off = 2 * AT + 1;
	assert_int_equal(run(&c, &lost, &count), ERR_USAGE);
	teardown(&f);
}

/* What can't be read is not called right. */
static void test_unreadable_target(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ,
		.action = FAULT_FAIL,
		.sticky = true,
		.off = AT + HELP_BLOCK,
		.len = 1 };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct dev *faulty = NULL;
	struct job_loss lost;
	struct fixture f;
	struct compare c;
	size_t count = 0;
	struct err e;

	(void)state;
	setup(&f, 4, RESTORE_FREE_ZERO);
	assert_ok(dev_open_fault(f.target, &plan, &faulty, &e), &e);
	c = against(&f);
	c.free_is_zero = true;
	c.target = faulty;
	assert_int_equal(run(&c, &lost, &count), ERR_TARGET);
	assert_int_equal(count, 1);
	assert_int_equal(lost.off, HELP_BLOCK);
	dev_close(faulty);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_every_byte),
		cmocka_unit_test(test_r9_free_is_not_compared),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_unreadable_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
