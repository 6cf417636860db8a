/* Restore: every byte of the range, nothing else, and never a wrong one. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "device/signature.h"
#include "image_help.h"

#define SIZE (2 * 1024 * 1024 + 1234)
#define STALE 0xEE

struct fixture {
	struct help h;
	struct dev *file;
	struct image *image;
};

static void setup(struct fixture *f, unsigned seed)
{
	struct err e;

	help_init(&f->h, SIZE, seed);
	help_capture(&f->h, NULL, "image", 2, 8);
	f->file = help_open(&f->h, "image", 0);
	assert_ok(image_open(f->file, &f->image, &e), &e);
}

static void teardown(struct fixture *f)
{
	image_close(f->image);
	dev_close(f->file);
	help_fini(&f->h);
}

/* A target full of stale bytes, with room before and after. */
static struct dev *stale_target(size_t size)
{
	uint8_t *stale = malloc(size);
	struct dev *d;
	struct err e;

	memset(stale, STALE, size);
	assert_ok(dev_open_mem(stale, size, &d, &e), &e);
	free(stale);
	return d;
}

static int run(const struct restore *r, struct err *e)
{
	struct job *j = NULL;
	int rc = job_restore(r, &j, e);

	if (rc < 0)
		return -rc;
	assert_int_equal(job_wait(j, -1, e), 1);
	job_close(j);
	return e->code;
}

static struct restore restore_to(struct fixture *f, struct dev *target)
{
	return (struct restore){ .image = f->image,
		.target = target,
		.settings = help_settings(2, 8) };
}

static void slurp_dev(struct dev *d, uint8_t *got, size_t len)
{
	struct err e;

	assert_ok(dev_read(d, 0, got, len, &e), &e);
}

/* LESSONS 35: zeros are written over what was there; free space is left only when asked. */
static void test_free_policies(void **state)
{
	uint8_t *got = malloc(SIZE);
	struct fixture f;
	struct restore r;
	struct dev *t;
	struct err e = { 0 };

	(void)state;
	setup(&f, 1);
	t = stale_target(SIZE);
	r = restore_to(&f, t);
	r.free = RESTORE_FREE_ZERO;
	assert_int_equal(run(&r, &e), ERR_OK);
	slurp_dev(t, got, SIZE);
	assert_memory_equal(got, f.h.want, SIZE);
	dev_close(t);

	t = stale_target(SIZE);
	r = restore_to(&f, t);
	r.free = RESTORE_FREE_LEAVE;
	assert_int_equal(run(&r, &e), ERR_OK);
	slurp_dev(t, got, SIZE);
	for (size_t i = 0, stale = 0; i < SIZE; i++) {
		size_t hint = 0;

		if (got[i] != f.h.want[i]) {
			stale++;
			assert_int_equal(got[i], STALE);
			if (stale % 1000 == 1)
				assert_int_equal(map_run(f.h.map, i, &hint).kind, MAP_FREE);
		}
	}
	dev_close(t);
	teardown(&f);
	free(got);
}

/* R9: of free space that is left, what lies where old signatures do is zeroed, also in a target
 * that is only brought up to date. */
static void test_r9_signatures_are_zeroed(void **state)
{
	const size_t size = 8 * MIB + 512, at = 4096, room = size + 2 * at;
	uint8_t *got = malloc(room);
	struct fixture f;
	struct restore r;
	struct dev *t;
	struct err e = { 0 };

	(void)state;
	help_init(&f.h, size, 13);
	assert_ok(map_set(f.h.map, 0, size, MAP_FREE, &e), &e);
	help_capture(&f.h, NULL, "image", 2, 8);
	f.file = help_open(&f.h, "image", 0);
	assert_ok(image_open(f.file, &f.image, &e), &e);
	for (int changed = 0; changed < 2; changed++) {
		t = stale_target(room);
		r = restore_to(&f, t);
		r.target_off = at;
		r.free = changed ? RESTORE_FREE_LEAVE : RESTORE_FREE_DISCARD;
		r.only_changed = changed;
		assert_int_equal(run(&r, &e), ERR_OK);
		slurp_dev(t, got, room);
		for (size_t i = 0; i < room; i++) {
			bool inside = i >= at && i < at + size;
			bool zeroed = i < at + SIGNATURE_HEAD_BYTES ||
				i >= at + size - SIGNATURE_TAIL_BYTES;

			if (!inside || changed || zeroed)
				assert_int_equal(got[i], inside && zeroed ? 0 : STALE);
		}
		dev_close(t);
	}
	teardown(&f);
	free(got);
}

static void test_new_file_stays_sparse(void **state)
{
	uint8_t *got;
	size_t len;
	struct fixture f;
	struct restore r;
	struct dev *t;
	struct err e = { 0 };

	(void)state;
	setup(&f, 2);
	t = help_open(&f.h, "out", DEV_WRITE | DEV_CREATE);
	assert_ok(dev_set_size(t, SIZE, &e), &e);
	r = restore_to(&f, t);
	r.target_is_zero = true;
	assert_int_equal(run(&r, &e), ERR_OK);
	dev_close(t);
	got = help_slurp(&f.h, "out", &len);
	assert_int_equal(len, SIZE);
	assert_memory_equal(got, f.h.want, SIZE);
	free(got);
	teardown(&f);
}

/* Ranges that begin and end anywhere land where they should, and touch nothing else. */
static void test_ranges(void **state)
{
	static const uint64_t offs[] = { 0, 1, HELP_BLOCK - 1, HELP_CHUNK + 5, SIZE - 700 };
	static const uint64_t lens[] = { 1, 511, HELP_BLOCK + 3, HELP_CHUNK * 2 + 77 };
	size_t room = 4096 + SIZE;
	uint8_t *got = malloc(room);
	struct fixture f;
	struct err e = { 0 };

	(void)state;
	setup(&f, 3);
	for (size_t i = 0; i < COUNT_OF(offs); i++)
		for (size_t k = 0; k < COUNT_OF(lens); k++) {
			struct dev *t = stale_target(room);
			struct restore r = restore_to(&f, t);

			r.source_off = offs[i];
			r.source_len = min_u64(lens[k], SIZE - offs[i]);
			r.target_off = 1000;
			r.free = RESTORE_FREE_ZERO;
			assert_int_equal(run(&r, &e), ERR_OK);
			slurp_dev(t, got, room);
			assert_memory_equal(got + 1000, f.h.want + offs[i], r.source_len);
			for (size_t b = 0; b < room; b++)
				if (b < 1000 || b >= 1000 + r.source_len)
					assert_int_equal(got[b], STALE);
			dev_close(t);
		}
	teardown(&f);
	free(got);
}

/* R4: what does not fit, or can't be written, is refused before a byte is written. */
static void test_r4_refusals(void **state)
{
	struct fault_plan plan = { 0 };
	struct dev *t, *counted;
	struct fixture f;
	struct restore r;
	struct err e;

	(void)state;
	setup(&f, 4);
	t = stale_target(SIZE - 1);
	assert_ok(dev_open_fault(t, &plan, &counted, &e), &e);
	r = restore_to(&f, counted);
	assert_int_equal(run(&r, &e), ERR_REFUSED);
	assert_non_null(strstr(e.msg, "too small"));
	assert_int_equal(dev_fault_count(counted, FAULT_WRITE), 0);
	r.source_off = SIZE + 1;
	assert_int_equal(run(&r, &e), ERR_USAGE);
	r.source_off = 1;
	r.source_len = SIZE;
	assert_int_equal(run(&r, &e), ERR_USAGE);
	dev_close(counted);
	dev_close(t);
	t = help_open(&f.h, "image", 0);
	r = restore_to(&f, t);
	assert_int_equal(run(&r, &e), ERR_USAGE);
	dev_close(t);
	teardown(&f);
}

/* R5: the image's own file is never a target. */
static void test_r5_own_image(void **state)
{
	struct fixture f;
	struct restore r;
	struct err e;

	(void)state;
	setup(&f, 5);
	r = restore_to(&f, f.file);
	assert_int_equal(run(&r, &e), ERR_REFUSED);
	teardown(&f);
}

/* R6: a damaged block is never written as if it were good; with zeros asked for, it is listed. */
static void test_r6_damaged_block(void **state)
{
	const struct chunk *c = NULL;
	uint8_t *got = malloc(SIZE), byte;
	struct chunk_entry x = { 0 };
	struct job *j = NULL;
	struct fixture f;
	struct restore r;
	struct dev *t, *w;
	struct err e;

	(void)state;
	setup(&f, 6);
	assert_ok(image_chunk(f.image, 2, &c, &e), &e);
	for (uint32_t i = 0; i < c->count && x.kind != ENTRY_DATA; i++)
		x = c->entries[i];
	chunk_unref(f.image, c);
	assert_int_equal(x.kind, ENTRY_DATA);
	w = help_open(&f.h, "image", DEV_WRITE);
	assert_ok(dev_read(w, x.file_off + x.stored / 2, &byte, 1, &e), &e);
	byte ^= 0x10;
	assert_ok(dev_write(w, x.file_off + x.stored / 2, &byte, 1, &e), &e);
	dev_close(w);
	t = stale_target(SIZE);
	r = restore_to(&f, t);
	assert_int_equal(run(&r, &e), ERR_DAMAGED);
	r.on_read_error = ON_READ_ERROR_ZERO;
	r.free = RESTORE_FREE_ZERO;
	assert_ok(job_restore(&r, &j, &e), &e);
	assert_int_equal(job_wait(j, -1, &e), 1);
	assert_int_equal(e.code, ERR_DAMAGED);
	assert_int_equal(job_loss_count(j), 1);
	assert_int_equal(job_loss_at(j, 0)->off, x.off);
	assert_int_equal(job_loss_at(j, 0)->len, x.len);
	job_close(j);
	slurp_dev(t, got, SIZE);
	memset(f.h.want + x.off, 0, x.len);
	assert_memory_equal(got, f.h.want, SIZE);
	dev_close(t);
	teardown(&f);
	free(got);
}

/* Ranges that were bad when imaged: an error, or zeros that are counted (R9). */
static void test_r4_r9_bad_ranges(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ,
		.action = FAULT_FAIL,
		.sticky = true,
		.off = HELP_CHUNK + 8192,
		.len = 512 };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct image_writer *w = NULL;
	uint8_t root[SHA256_BYTES], *got = malloc(SIZE);
	struct dev *faulty, *out, *t;
	struct image *image = NULL;
	struct restore r;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 8);
	map_free(h.map);
	h.map = map_new_full(SIZE);
	assert_ok(dev_open_fault(h.source, &plan, &faulty, &e), &e);
	out = help_open(&h, "a", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &h.head, false, &w, &e), &e);
	assert_int_equal(help_capture_job(&h, faulty, w, ON_READ_ERROR_ZERO, &e), ERR_BAD_SECTORS);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	assert_ok(image_open(out, &image, &e), &e);
	t = stale_target(SIZE);
	r = (struct restore){ .image = image, .target = t, .settings = help_settings(2, 8) };
	/* R4: that it will fail is known beforehand, and nothing is written. */
	assert_int_equal(run(&r, &e), ERR_SOURCE);
	assert_non_null(strstr(e.msg, "512 bytes of the source were unreadable"));
	slurp_dev(t, got, SIZE);
	for (size_t i = 0; i < SIZE; i++)
		assert_int_equal(got[i], STALE);
	/* A part of it is its caller's affair, up to the range. */
	r.source_len = HELP_CHUNK;
	assert_int_equal(run(&r, &e), ERR_OK);
	r.source_len = 2 * HELP_CHUNK;
	assert_int_equal(run(&r, &e), ERR_SOURCE);
	r.source_len = 0;
	r.on_read_error = ON_READ_ERROR_ZERO;
	assert_int_equal(run(&r, &e), ERR_BAD_SECTORS);
	slurp_dev(t, got, SIZE);
	memset(h.bytes + rule.off, 0, rule.len);
	assert_memory_equal(got, h.bytes, SIZE);
	dev_close(t);
	image_close(image);
	dev_close(out);
	dev_close(faulty);
	help_fini(&h);
	free(got);
}

/* Only what differs is written: the writes are counted, and the rest is right all the same. */
static void test_only_changed(void **state)
{
	uint8_t *got = malloc(SIZE);
	struct fault_plan plan = { 0 };
	struct job_progress p;
	struct dev *t, *counted;
	struct job *j = NULL;
	struct fixture f;
	struct restore r;
	struct err e = { 0 };

	(void)state;
	setup(&f, 10);
	t = stale_target(SIZE + 512);
	assert_ok(dev_open_fault(t, &plan, &counted, &e), &e);
	r = restore_to(&f, counted);
	r.free = RESTORE_FREE_ZERO;
	r.target_off = 512;
	r.only_changed = true;
	assert_int_equal(run(&r, &e), ERR_OK);
	slurp_dev(t, got, 512);
	assert_int_equal(got[511], STALE);
	assert_ok(dev_read(t, 512, got, SIZE, &e), &e);
	assert_memory_equal(got, f.h.want, SIZE);
	dev_close(counted);

	/* Nothing differs: nothing is written. One byte of a zero and one of a data block do. */
	assert_ok(dev_open_fault(t, &plan, &counted, &e), &e);
	r.target = counted;
	assert_int_equal(run(&r, &e), ERR_OK);
	assert_int_equal(dev_fault_count(counted, FAULT_WRITE), 0);
	for (int bit = 0; bit < 2; bit++) {
		size_t at = 0;

		while (at < SIZE && (f.h.want[at] != 0) != (bit != 0))
			at++;
		assert_true(at < SIZE);
		got[at] ^= 0x80;
		assert_ok(dev_write(t, 512 + at, got + at, 1, &e), &e);
		assert_ok(job_restore(&r, &j, &e), &e);
		assert_int_equal(job_wait(j, -1, &e), 1);
		assert_int_equal(e.code, ERR_OK);
		job_progress(j, &p);
		assert_true(SIZE - p.same_bytes <= HELP_BLOCK && p.same_bytes < SIZE);
		job_close(j);
		assert_ok(dev_read(t, 512, got, SIZE, &e), &e);
		assert_memory_equal(got, f.h.want, SIZE);
	}
	r.target_is_zero = true;
	assert_int_equal(run(&r, &e), ERR_USAGE);
	dev_close(counted);
	dev_close(t);
	teardown(&f);
	free(got);
}

/* A range that cuts blocks is right too; a target sector that can't be read is written over. */
static void test_only_changed_ranges(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ,
		.action = FAULT_FAIL,
		.sticky = true,
		.off = 3 * HELP_BLOCK,
		.len = 512 };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	uint8_t *got = malloc(SIZE);
	struct dev *t, *faulty;
	struct fixture f;
	struct restore r;
	struct err e = { 0 };

	(void)state;
	setup(&f, 11);
	t = stale_target(SIZE);
	assert_ok(dev_open_fault(t, &plan, &faulty, &e), &e);
	r = restore_to(&f, faulty);
	r.free = RESTORE_FREE_ZERO;
	r.only_changed = true;
	r.source_off = r.target_off = 777;
	r.source_len = SIZE - 2000;
	for (int again = 0; again < 2; again++) {
		assert_int_equal(run(&r, &e), ERR_OK);
		slurp_dev(t, got, SIZE);
		assert_memory_equal(got + 777, f.h.want + 777, SIZE - 2000);
		assert_int_equal(got[776], STALE);
		assert_int_equal(got[SIZE - 1223], STALE);
	}
	dev_close(faulty);
	dev_close(t);
	teardown(&f);
	free(got);
}

/* R6: a damaged block is no reason to write it, and none to call the target right. */
static void test_r6_only_changed_damaged(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .sticky = true };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	const struct chunk *c = NULL;
	struct dev *file, *faulty, *t;
	struct image *image = NULL;
	struct chunk_entry x = { 0 };
	struct fixture f;
	struct restore r;
	struct err e = { 0 };

	(void)state;
	setup(&f, 12);
	assert_ok(image_chunk(f.image, 2, &c, &e), &e);
	for (uint32_t i = 0; i < c->count && x.kind != ENTRY_DATA; i++)
		x = c->entries[i];
	chunk_unref(f.image, c);
	rule.off = x.file_off;
	rule.len = 1;
	file = help_open(&f.h, "image", 0);
	assert_ok(dev_open_fault(file, &plan, &faulty, &e), &e);
	assert_ok(image_open(faulty, &image, &e), &e);
	t = stale_target(SIZE);
	r = restore_to(&f, t);
	r.image = image;
	r.only_changed = true;
	assert_int_equal(run(&r, &e), ERR_SOURCE);
	/* A target that holds the block needs nothing of the image. */
	r.image = f.image;
	assert_int_equal(run(&r, &e), ERR_OK);
	r.image = image;
	assert_int_equal(run(&r, &e), ERR_OK);
	image_close(image);
	dev_close(faulty);
	dev_close(file);
	dev_close(t);
	teardown(&f);
}

/* LESSONS 39: a worker that waits for the image is named, with its ticket. */
static void test_stalled_worker(void **state)
{
	struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_DELAY, .delay_ms = 1200 };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct chunk_entry x = { 0 };
	const struct chunk *c;
	struct image *image = NULL;
	struct dev *t, *slow;
	struct job *j = NULL;
	struct fixture f;
	struct restore r;
	struct err e;

	(void)state;
	setup(&f, 6);
	assert_ok(image_chunk(f.image, 0, &c, &e), &e);
	for (uint32_t i = 0; i < c->count && x.kind != ENTRY_DATA; i++)
		x = c->entries[i];
	chunk_unref(f.image, c);
	assert_int_equal(x.kind, ENTRY_DATA);
	rule.off = x.file_off;
	rule.len = x.stored;
	assert_ok(dev_open_fault(f.file, &plan, &slow, &e), &e);
	assert_ok(image_open(slow, &image, &e), &e);
	t = stale_target(SIZE);
	r = restore_to(&f, t);
	r.image = image;
	r.only_changed = true;
	r.settings.stall_ms = 300;
	assert_ok(job_restore(&r, &j, &e), &e);
	assert_int_equal(job_wait(j, 10000, &e), 1);
	assert_true(job_stalled(j));
	if (strstr(e.msg, " unpacks ticket ") == NULL ||
		strstr(e.msg, "the ordered end waits for a worker (ticket ") == NULL)
		fail_msg("message is: %s", e.msg);
	job_close(j);
	image_close(image);
	dev_close(t);
	dev_close(slow);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_free_policies),
		cmocka_unit_test(test_r9_signatures_are_zeroed),
		cmocka_unit_test(test_new_file_stays_sparse),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_r4_refusals),
		cmocka_unit_test(test_r5_own_image),
		cmocka_unit_test(test_r6_damaged_block),
		cmocka_unit_test(test_r4_r9_bad_ranges),
		cmocka_unit_test(test_only_changed),
		cmocka_unit_test(test_stalled_worker),
		cmocka_unit_test(test_only_changed_ranges),
		cmocka_unit_test(test_r6_only_changed_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
