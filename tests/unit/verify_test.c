/* Verify: each stored byte matters; all damage is named, and what is good stays good. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "image_help.h"

#define SIZE (2 * 1024 * 1024 + 99)

static struct job *start(struct image *image, unsigned percent, struct err *e)
{
	struct verify v = { .image = image,
		.sample_percent = percent,
		.seed = 5,
		.settings = help_settings(2, 8) };
	struct job *j = NULL;

	assert_ok(job_verify(&v, &j, e), e);
	assert_int_equal(job_wait(j, -1, e), 1);
	return j;
}

static void flip(struct help *h, uint64_t off)
{
	struct dev *d = help_open(h, "a", DEV_WRITE);
	uint8_t byte;
	struct err e;

	assert_ok(dev_read(d, off, &byte, 1, &e), &e);
	byte ^= 1;
	assert_ok(dev_write(d, off, &byte, 1, &e), &e);
	dev_close(d);
}

static void test_good_image(void **state)
{
	uint64_t checked, all;
	struct job_progress p;
	struct image *image;
	struct dev *file;
	struct help h;
	struct job *j;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 1);
	help_capture(&h, NULL, "a", 2, 8);
	file = help_open(&h, "a", 0);
	assert_ok(image_open(file, &image, &e), &e);
	j = start(image, 100, &e);
	assert_int_equal(e.code, ERR_OK);
	job_blocks(j, &checked, &all);
	assert_int_equal(checked, all);
	job_progress(j, &p);
	assert_int_equal(p.done_bytes, p.total_bytes);
	job_close(j);
	image_close(image);
	dev_close(file);
	help_fini(&h);
}

/* A flipped bit in each frame in turn, data or hole, is found and named with its source range. */
static void test_each_frame(void **state)
{
	struct image *image;
	struct dev *file;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 2);
	help_capture(&h, NULL, "a", 2, 8);
	file = help_open(&h, "a", 0);
	assert_ok(image_open(file, &image, &e), &e);
	for (uint64_t n = 0; n < image_facts(image)->chunks; n++) {
		const struct chunk *c;

		assert_ok(image_chunk(image, n, &c, &e), &e);
		for (uint32_t i = 0; i < c->count; i++) {
			const struct chunk_entry *x = &c->entries[i];
			/* Some bits of a frame header do not matter: those of the body do. */
			uint64_t at = x->file_off + (i % 2 == 0 ? x->stored - 1 : x->stored / 2);
			struct job *j;

			flip(&h, at);
			j = start(image, 100, &e);
			assert_int_equal(e.code, ERR_DAMAGED);
			assert_int_equal(job_loss_count(j), 1);
			assert_int_equal(job_loss_at(j, 0)->off, x->off);
			assert_int_equal(job_loss_at(j, 0)->file_off, x->file_off);
			job_close(j);
			flip(&h, at);
		}
		chunk_unref(image, c);
	}
	image_close(image);
	dev_close(file);
	help_fini(&h);
}

/* A table that is lost costs its chunk in the report, not the rest of the run. */
static void test_lost_table(void **state)
{
	struct image *image;
	struct dev *file;
	struct help h;
	struct job *j;
	uint64_t table;
	const struct chunk *c;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 3);
	help_capture(&h, NULL, "a", 2, 8);
	file = help_open(&h, "a", 0);
	assert_ok(image_open(file, &image, &e), &e);
	assert_ok(image_chunk(image, 3, &c, &e), &e);
	table = c->entries[c->count - 1].file_off + c->entries[c->count - 1].stored;
	chunk_unref(image, c);
	image_close(image);
	flip(&h, table + 60);
	assert_ok(image_open(file, &image, &e), &e);
	j = start(image, 100, &e);
	assert_int_equal(e.code, ERR_DAMAGED);
	assert_int_equal(job_loss_count(j), 1);
	assert_int_equal(job_loss_at(j, 0)->off, 3 * HELP_CHUNK);
	assert_int_equal(job_loss_at(j, 0)->len, HELP_CHUNK);
	job_close(j);
	image_close(image);
	dev_close(file);
	help_fini(&h);
}

/* LESSONS 14: a sample says what it read, and reads from every chunk. */
static void test_sample(void **state)
{
	uint64_t checked, all, chunks;
	struct image *image;
	struct dev *file;
	struct help h;
	struct job *j;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 4);
	help_capture(&h, NULL, "a", 2, 8);
	file = help_open(&h, "a", 0);
	assert_ok(image_open(file, &image, &e), &e);
	chunks = image_facts(image)->chunks;
	j = start(image, 1, &e);
	assert_int_equal(e.code, ERR_OK);
	job_blocks(j, &checked, &all);
	assert_in_range(checked, chunks, all / 2);
	job_close(j);
	j = start(image, 100, &e);
	job_blocks(j, &checked, &all);
	assert_int_equal(checked, all);
	job_close(j);
	image_close(image);
	dev_close(file);
	help_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_image),
		cmocka_unit_test(test_each_frame),
		cmocka_unit_test(test_lost_table),
		cmocka_unit_test(test_sample),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
