/* Capture: the right bytes, whatever the workers, the errors and the interruptions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "format_helper.h"
#include "image_help.h"

#define SIZE (3 * 1024 * 1024 + 777)

static void assert_content(struct help *h, const char *name)
{
	struct dev *file = help_open(h, name, 0), *dev = NULL;
	struct image *image = NULL;
	uint8_t *got = malloc(h->size);
	struct err e;

	assert_ok(image_open(file, &image, &e), &e);
	assert_ok(image_check_root(image, &e), &e);
	assert_ok(image_dev(image, 0, &dev, &e), &e);
	assert_int_equal(dev_size(dev), h->size);
	assert_ok(dev_read(dev, 0, got, h->size, &e), &e);
	assert_memory_equal(got, h->want, h->size);
	dev_close(dev);
	image_close(image);
	dev_close(file);
	free(got);
}

static void test_content_without_stale_bytes(void **state)
{
	struct help h;

	(void)state;
	for (unsigned seed = 1; seed <= 5; seed++) {
		help_init(&h, SIZE + seed * 4096, seed);
		help_capture(&h, NULL, "a", 2, 8);
		assert_content(&h, "a");
		help_fini(&h);
	}
}

/* S35: the same bytes for any number of workers and any depth. */
static void test_same_bytes_for_any_workers(void **state)
{
	struct help h;

	(void)state;
	help_init(&h, SIZE, 7);
	help_capture(&h, NULL, "one", 1, 2);
	help_capture(&h, NULL, "two", 2, 5);
	help_capture(&h, NULL, "eight", 8, 64);
	help_assert_same_files(&h, "one", "two");
	help_assert_same_files(&h, "one", "eight");
	help_fini(&h);
}

/* Only what the map wants is read: a source that fails in every free run of a block or more. */
static void test_free_space_is_not_read(void **state)
{
	struct fault_rule rules[256];
	struct fault_plan plan = { .rules = rules };
	struct dev *faulty;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 3);
	for (size_t i = 0; i < map_count(h.map); i++) {
		struct extent x = map_at(h.map, i);
		uint64_t from = align_up(x.off, HELP_BLOCK),
			 to = align_down(x.off + x.len, HELP_BLOCK);

		if (x.kind == MAP_FREE && from < to && plan.rule_count < 256)
			rules[plan.rule_count++] = (struct fault_rule){ .op = FAULT_READ,
				.action = FAULT_FAIL,
				.sticky = true,
				.off = from,
				.len = to - from };
	}
	assert_true(plan.rule_count > 3);
	assert_ok(dev_open_fault(h.source, &plan, &faulty, &e), &e);
	help_capture(&h, faulty, "a", 2, 8);
	assert_content(&h, "a");
	dev_close(faulty);
	help_fini(&h);
}

/* A sector in the middle of data that can't be read, and its offset. */
static uint64_t data_sector(struct help *h)
{
	for (size_t i = 0; i < map_count(h->map); i++) {
		struct extent x = map_at(h->map, i);
		uint64_t off = align_up(x.off + HELP_BLOCK, 512);

		if (x.kind == MAP_DATA && x.len > 3 * HELP_BLOCK && x.off > 600000)
			return off;
	}
	fail();
	return 0;
}

static struct dev *with_bad_sectors(struct help *h, uint64_t off, uint64_t len)
{
	struct fault_rule rule = { .op = FAULT_READ,
		.action = FAULT_FAIL,
		.sticky = true,
		.off = off,
		.len = len };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct dev *faulty;
	struct err e;

	assert_ok(dev_open_fault(h->source, &plan, &faulty, &e), &e);
	return faulty;
}

static void test_read_error_aborts(void **state)
{
	struct image_writer *w = NULL;
	char number[32];
	struct dev *out, *faulty;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 11);
	faulty = with_bad_sectors(&h, data_sector(&h), 512);
	out = help_open(&h, "a", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &h.head, false, &w, &e), &e);
	assert_int_equal(help_capture_job(&h, faulty, w, ON_READ_ERROR_ABORT, &e), ERR_SOURCE);
	assert_int_equal(e.sys, EIO);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)data_sector(&h));
	assert_non_null(strstr(e.msg, number));
	image_writer_close(w);
	dev_close(out);
	dev_close(faulty);
	help_fini(&h);
}

/* LESSONS 38: what was bad is an error to whoever reads it, exactly there and nowhere else. */
static void test_read_error_is_recorded(void **state)
{
	uint64_t bad, bad_len = 1024;
	struct image_writer *w = NULL;
	struct dev *out, *faulty, *dev = NULL;
	uint8_t root[SHA256_BYTES], *got = malloc(SIZE);
	struct image *image = NULL;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 11);
	bad = data_sector(&h);
	faulty = with_bad_sectors(&h, bad, bad_len);
	out = help_open(&h, "a", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &h.head, false, &w, &e), &e);
	assert_int_equal(help_capture_job(&h, faulty, w, ON_READ_ERROR_ZERO, &e), ERR_BAD_SECTORS);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	assert_ok(image_open(out, &image, &e), &e);
	assert_int_equal(image_facts(image)->tail.bad_range_bytes, bad_len);
	assert_ok(image_dev(image, 0, &dev, &e), &e);
	assert_ok(dev_read(dev, 0, got, bad, &e), &e);
	assert_memory_equal(got, h.want, bad);
	assert_int_equal(dev_read(dev, bad + bad_len - 1, got, 1, &e), -ERR_SOURCE);
	assert_int_equal(e.sys, EIO);
	assert_int_equal(dev_read(dev, bad - 1, got, 2, &e), -ERR_SOURCE);
	assert_ok(dev_read(dev, bad + bad_len, got, h.size - bad - bad_len, &e), &e);
	assert_memory_equal(got, h.want + bad + bad_len, h.size - bad - bad_len);
	dev_close(dev);
	image_close(image);
	dev_close(out);
	dev_close(faulty);
	help_fini(&h);
	free(got);
}

/* Bad blocks, a whole chunk of them, and the device's odd end. */
static void test_bad_blocks_and_end(void **state)
{
	struct image_writer *w = NULL;
	uint8_t root[SHA256_BYTES], byte;
	struct dev *out, *faulty, *dev = NULL;
	struct image *image = NULL;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 13);
	map_free(h.map);
	h.map = map_new_full(h.size);
	faulty = with_bad_sectors(&h, h.size - HELP_CHUNK - 100, HELP_CHUNK + 100);
	out = help_open(&h, "a", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &h.head, false, &w, &e), &e);
	assert_int_equal(help_capture_job(&h, faulty, w, ON_READ_ERROR_ZERO, &e), ERR_BAD_SECTORS);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	assert_ok(image_open(out, &image, &e), &e);
	assert_true(image_facts(image)->tail.kind_bytes[ENTRY_BAD] > HELP_CHUNK - HELP_BLOCK);
	assert_in_range(image_facts(image)->tail.bad_range_bytes, HELP_CHUNK + 100,
		HELP_CHUNK + 100 + 1023);
	assert_ok(image_dev(image, 0, &dev, &e), &e);
	assert_int_equal(dev_read(dev, h.size - 1, &byte, 1, &e), -ERR_SOURCE);
	dev_close(dev);
	image_close(image);
	dev_close(out);
	dev_close(faulty);
	help_fini(&h);
}

/* A capture into dir/cut that is stopped after a chunk; where it will go on. */
static uint64_t capture_in_part(struct help *h)
{
	struct fault_rule slow = { .op = FAULT_READ, .action = FAULT_DELAY, .delay_ms = 2 };
	struct fault_plan plan = { .rules = &slow, .rule_count = 1 };
	struct image_writer *w = NULL;
	struct job_progress p;
	struct capture c;
	struct dev *out, *faulty;
	struct job *j = NULL;
	uint64_t at;
	struct err e;

	assert_ok(dev_open_fault(h->source, &plan, &faulty, &e), &e);
	out = help_open(h, "cut", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &h->head, false, &w, &e), &e);
	c = (struct capture){ .source = faulty,
		.map = h->map,
		.writer = w,
		.head = &h->head,
		.settings = help_settings(1, 2) };
	assert_ok(job_capture(&c, &j, &e), &e);
	do {
		assert_int_equal(job_wait(j, 1, &e), 0);
		job_progress(j, &p);
	} while (p.position < h->head.chunk_bytes + h->head.block_bytes);
	job_cancel(j, true);
	assert_int_equal(job_wait(j, -1, &e), 1);
	assert_int_equal(e.code, ERR_CANCELLED);
	job_close(j);
	at = image_writer_offset(w);
	assert_int_equal(at % h->head.chunk_bytes, 0);
	assert_in_range(at, 2 * h->head.chunk_bytes, h->size - h->head.chunk_bytes);
	assert_ok(image_writer_stop(w, &e), &e);
	image_writer_close(w);
	dev_close(out);
	dev_close(faulty);
	return at;
}

/* It goes on at `at` with this source, to the bytes of a run without interruption. */
static void resume_whole(struct help *h, struct dev *source, uint64_t at)
{
	struct dev *out = help_open(h, "cut", DEV_WRITE);
	struct image_writer *w = NULL;
	uint8_t root[SHA256_BYTES];
	struct err e;

	assert_ok(image_writer_resume(out, &h->head, false, &w, &e), &e);
	assert_int_equal(image_writer_offset(w), at);
	assert_int_equal(help_capture_job(h, source, w, ON_READ_ERROR_ABORT, &e), ERR_OK);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
	help_assert_same_files(h, "whole", "cut");
}

/* LESSONS 3 and 15: stop after a chunk, go on, and no byte differs; earlier ranges may be gone. */
static void test_cancel_and_resume(void **state)
{
	struct dev *rest;
	struct help h;
	uint64_t at;

	(void)state;
	help_init(&h, SIZE, 17);
	help_capture(&h, NULL, "whole", 2, 8);
	at = capture_in_part(&h);
	rest = with_bad_sectors(&h, 0, at);
	resume_whole(&h, rest, at);
	dev_close(rest);
	help_fini(&h);
}

/*
 * How often each byte from `at` on is to be read: what the map has as data, and gaps of less than
 * 128 KiB between it inside one block, once; anything else never.
 */
static uint8_t *wanted_reads(const struct help *h, uint64_t at)
{
	uint64_t data_end = 0; /* of the data before, in this block */
	uint8_t *wanted = calloc(1, h->size);

	assert_non_null(wanted);
	for (uint64_t off = at; off < h->size; off++) {
		if (off % h->head.block_bytes == 0)
			data_end = 0;
		if (map_run(h->map, off, NULL).kind == MAP_FREE)
			continue;
		if (data_end > 0 && off - data_end < 128 * KIB)
			memset(wanted + data_end, 1, off - data_end);
		wanted[off] = 1;
		data_end = off + 1;
	}
	return wanted;
}

/* Below `at` the samples alone; from there on what is wanted, and each byte once. */
static void check_reads(const struct help *h, struct dev *log, uint64_t at)
{
	uint8_t *wanted = wanted_reads(h, at), *seen = calloc(1, h->size);
	unsigned samples = 0;

	assert_non_null(seen);
	for (size_t i = 0; i < format_log_count(log); i++) {
		struct format_note n = format_log_at(log, i);

		if (n.op != FORMAT_READ)
			continue;
		if (n.off < at) {
			samples++;
			assert_true(n.len <= h->head.block_bytes && n.off + n.len <= at);
			continue;
		}
		for (uint64_t off = n.off; off < n.off + n.len; off++)
			seen[off]++;
	}
	assert_in_range(samples, 1, IMAGE_SAMPLES);
	assert_memory_equal(seen, wanted, h->size);
	free(seen);
	free(wanted);
}

/* The reads of a resume, counted: in blocks of 512 KiB there are gaps that are passed over, too. */
static void count_resume_reads(uint32_t block, uint64_t chunk, size_t size)
{
	struct help h;
	struct dev *log;
	struct err e;
	uint64_t at;

	help_init(&h, size, 17);
	h.head.block_bytes = block;
	h.head.chunk_bytes = chunk;
	for (uint64_t off = 100000; off + 200000 < size; off += 500000)
		assert_ok(map_set(h.map, off, 150000, MAP_FREE, &e), &e);
	help_capture(&h, NULL, "whole", 2, 8);
	at = capture_in_part(&h);
	log = format_open_log(size);
	assert_ok(dev_write(log, 0, h.bytes, size, &e), &e);
	resume_whole(&h, log, at);
	check_reads(&h, log, at);
	dev_close(log);
	help_fini(&h);
}

static void test_resume_reads(void **state)
{
	(void)state;
	count_resume_reads(HELP_BLOCK, HELP_CHUNK, SIZE);
	count_resume_reads(512 * KIB, MIB, 12 * MIB + 777);
}

/* The source's first byte that is data and no zero: its block is in the image, and a sample. */
static uint64_t first_data_byte(const struct help *h)
{
	for (uint64_t off = 0; off < h->size; off++)
		if (h->want[off] != 0)
			return off;
	fail();
	return 0;
}

/* A change in place shows in no map: what the image has already is compared, now and then. */
static void test_resume_of_changed_source(void **state)
{
	struct image_writer *w = NULL;
	struct job *j = NULL;
	struct dev *out, *bad;
	struct capture c;
	char says[96];
	struct help h;
	struct err e;
	uint64_t at, changed;

	(void)state;
	help_init(&h, SIZE, 17);
	help_capture(&h, NULL, "whole", 2, 8);
	at = capture_in_part(&h);
	changed = first_data_byte(&h);
	h.bytes[changed] ^= 1;
	dev_close(h.source);
	assert_ok(dev_open_mem(h.bytes, h.size, &h.source, &e), &e);
	out = help_open(&h, "cut", DEV_WRITE);
	assert_ok(image_writer_resume(out, &h.head, false, &w, &e), &e);
	c = (struct capture){ .source = h.source,
		.map = h.map,
		.writer = w,
		.head = &h.head,
		.settings = help_settings(2, 8) };
	assert_int_equal(job_capture(&c, &j, &e), -ERR_REFUSED);
	assert_null(j);
	snprintf(says, sizeof(says), "has changed since: its block at %llu is another one",
		(unsigned long long)align_down(changed, HELP_BLOCK));
	assert_non_null(strstr(e.msg, says));
	image_writer_close(w);
	dev_close(out);

	/* What can not be read says nothing: it is gone on with. */
	bad = with_bad_sectors(&h, align_down(changed, HELP_BLOCK), HELP_BLOCK);
	resume_whole(&h, bad, at);
	dev_close(bad);
	help_fini(&h);
}

static void test_live_settings_and_pause(void **state)
{
	struct job_settings s = help_settings(1, 2);
	struct image_writer *w = NULL;
	struct job_progress p, q;
	struct capture c;
	struct dev *out;
	struct job *j = NULL;
	uint8_t root[SHA256_BYTES];
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 19);
	help_capture(&h, NULL, "plain", 1, 8);
	out = help_open(&h, "set", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &h.head, false, &w, &e), &e);
	s.max_bytes_per_s = 4 << 20;
	c = (struct capture){ .source = h.source,
		.map = h.map,
		.writer = w,
		.head = &h.head,
		.settings = s };
	assert_ok(job_capture(&c, &j, &e), &e);
	job_pause(j);
	assert_int_equal(job_wait(j, 20, &e), 0);
	job_progress(j, &p);
	assert_int_equal(p.state, JOB_PAUSED);
	/* What was in flight may end; nothing new begins. */
	assert_int_equal(job_wait(j, 100, &e), 0);
	job_progress(j, &p);
	assert_int_equal(job_wait(j, 100, &e), 0);
	job_progress(j, &q);
	assert_int_equal(p.position, q.position);
	assert_true(q.paused_ns > p.paused_ns);
	s.workers = 500;
	s.depth = 32;
	s.max_bytes_per_s = 0;
	job_set(j, &s);
	job_progress(j, &p);
	assert_int_equal(p.settings.workers, JOB_MAX_WORKERS);
	assert_int_equal(p.settings.depth, 32);
	s.workers = 1;
	job_set(j, &s);
	job_resume(j);
	assert_int_equal(job_wait(j, -1, &e), 1);
	assert_int_equal(e.code, ERR_OK);
	job_progress(j, &p);
	assert_int_equal(p.state, JOB_DONE);
	assert_int_equal(p.position, h.size);
	assert_int_equal(p.done_bytes, p.total_bytes);
	assert_int_equal(p.total_bytes, map_bytes(h.map, MAP_DATA));
	/* What has ended stays as it ended. */
	job_cancel(j, false);
	assert_int_equal(job_wait(j, 0, &e), 1);
	assert_int_equal(e.code, ERR_OK);
	job_close(j);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
	help_assert_same_files(&h, "plain", "set");
	help_fini(&h);
}

/* A limit below the job's speed holds: 256 KiB of reads at 1 MiB/s take a quarter of a second. */
static void test_rate_limit(void **state)
{
	struct job_settings s = help_settings(2, 8);
	struct image_writer *w = NULL;
	struct job_progress p;
	struct capture c;
	struct dev *out;
	struct job *j = NULL;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, 256 * 1024, 23);
	map_free(h.map);
	h.map = map_new_full(h.size);
	out = help_open(&h, "a", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &h.head, false, &w, &e), &e);
	s.max_bytes_per_s = 1 << 20;
	c = (struct capture){ .source = h.source,
		.map = h.map,
		.writer = w,
		.head = &h.head,
		.settings = s };
	assert_ok(job_capture(&c, &j, &e), &e);
	assert_int_equal(job_wait(j, -1, &e), 1);
	assert_int_equal(e.code, ERR_OK);
	job_progress(j, &p);
	assert_true(p.elapsed_ns > 249000000);
	job_close(j);
	image_writer_close(w);
	dev_close(out);
	help_fini(&h);
}

/* Closing a running job cancels it and joins its threads. */
static void test_close_while_running(void **state)
{
	struct image_writer *w = NULL;
	struct capture c;
	struct dev *out;
	struct job *j = NULL;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 29);
	out = help_open(&h, "a", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &h.head, false, &w, &e), &e);
	c = (struct capture){ .source = h.source,
		.map = h.map,
		.writer = w,
		.head = &h.head,
		.settings = help_settings(4, 16) };
	for (int i = 0; i < 20; i++) {
		/* The writer is behind the job's position after a cancel: only the joining
		 * counts. */
		assert_ok(job_capture(&c, &j, &e), &e);
		job_close(j);
		image_writer_close(w);
		w = NULL;
		assert_ok(dev_set_size(out, 0, &e), &e);
		assert_ok(image_writer_new(out, &h.head, false, &w, &e), &e);
		c.writer = w;
	}
	image_writer_close(w);
	dev_close(out);
	help_fini(&h);
}

/* LESSONS 39: a source or target that does not answer is an error that says who waits for whom. */
static void stall(enum fault_op op, int want, const char *const *says)
{
	struct fault_rule rule = { .op = op,
		.action = FAULT_DELAY,
		.nth = 1,
		.sticky = true,
		.delay_ms = 1200 };
	struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct image_writer *w = NULL;
	struct capture c;
	struct dev *out, *slow;
	struct job *j = NULL;
	struct help h;
	struct err e;

	/* Noise, so that more is to be written than the output's buffers hold. */
	help_init(&h, 32 * 1024 * 1024, 31);
	help_make_noise(&h);
	out = help_open(&h, "a", DEV_WRITE | DEV_CREATE);
	assert_ok(dev_open_fault(op == FAULT_READ ? h.source : out, &plan, &slow, &e), &e);
	assert_ok(image_writer_new(op == FAULT_READ ? out : slow, &h.head, false, &w, &e), &e);
	c = (struct capture){ .source = op == FAULT_READ ? slow : h.source,
		.map = h.map,
		.writer = w,
		.head = &h.head,
		.settings = help_settings(2, 4) };
	c.settings.stall_ms = 300;
	assert_ok(job_capture(&c, &j, &e), &e);
	assert_int_equal(job_wait(j, 10000, &e), 1);
	assert_int_equal(e.code, want);
	for (; *says != NULL; says++)
		if (strstr(e.msg, *says) == NULL)
			fail_msg("'%s' is not in: %s", *says, e.msg);
	assert_non_null(strstr(e.msg, dev_name(slow)));
	assert_true(job_stalled(j));
	job_close(j);
	image_writer_close(w);
	dev_close(slow);
	dev_close(out);
	help_fini(&h);
}

static void test_stalled_source(void **state)
{
	(void)state;
	static const char *const says[] = { "nothing has moved for ",
		"the reader waits for the source at source offset 0 (ticket 0)",
		"no worker is busy", "the ordered end waits for a read (ticket 0, block at 0)",
		NULL };

	stall(FAULT_READ, ERR_SOURCE, says);
}

static void test_stalled_target(void **state)
{
	(void)state;
	static const char *const says[] = { "nothing has moved for ",
		"the reader waits for a free slot at ticket ", ", after source offset ",
		"the ordered end writes (ticket ", ", block at ", NULL };

	stall(FAULT_WRITE, ERR_TARGET, says);
}

/* The last flush is a step of the job like all others. */
static void test_stalled_flush(void **state)
{
	(void)state;
	static const char *const says[] = { "nothing has moved for ",
		"the reader is through; no worker is busy",
		"the ordered end flushes the target (after 2048 tickets)", NULL };

	stall(FAULT_FLUSH, ERR_TARGET, says);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_without_stale_bytes),
		cmocka_unit_test(test_same_bytes_for_any_workers),
		cmocka_unit_test(test_free_space_is_not_read),
		cmocka_unit_test(test_read_error_aborts),
		cmocka_unit_test(test_read_error_is_recorded),
		cmocka_unit_test(test_bad_blocks_and_end),
		cmocka_unit_test(test_cancel_and_resume),
		cmocka_unit_test(test_resume_reads),
		cmocka_unit_test(test_resume_of_changed_source),
		cmocka_unit_test(test_live_settings_and_pause),
		cmocka_unit_test(test_rate_limit),
		cmocka_unit_test(test_close_while_running),
		cmocka_unit_test(test_stalled_source),
		cmocka_unit_test(test_stalled_target),
		cmocka_unit_test(test_stalled_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
