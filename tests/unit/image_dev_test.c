/*
 * image_dev: an image read as a device is the source, byte for byte, in pieces of any size and from
 * many threads; bad ranges and damaged blocks fail and nothing else does; and the cache does what
 * it is there for.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "format/block_cache.h"
#include "format_helper.h"

struct opened {
	struct format_source s;
	struct dev *file, *dev;
	struct image *image;
};

/* A log is not cut off behind the image: reads of frames can be counted. */
static void open_source(struct opened *o, size_t cache_blocks)
{
	struct err e;

	o->file = format_write_log(&o->s, NULL);
	assert_fine(image_open(o->file, &o->image, &e), &e);
	assert_fine(image_dev(o->image, cache_blocks, &o->dev, &e), &e);
}

static void close_all(struct opened *o)
{
	dev_close(o->dev);
	image_close(o->image);
	dev_close(o->file);
	format_source_fini(&o->s);
}

static bool touches_bad(const struct format_source *s, uint64_t off, uint64_t len)
{
	for (size_t i = 0; i < s->bad_count; i++)
		if (s->bad[i].off < off + len && s->bad[i].off + s->bad[i].len > off)
			return true;
	return false;
}

static void check_read(struct opened *o, uint64_t off, size_t len)
{
	uint8_t *p = malloc(len + 1);
	struct err e;
	int rc;

	assert_non_null(p);
	p[len] = 0xEE;
	rc = dev_read(o->dev, off, p, len, &e);
	if (len > 0 && touches_bad(&o->s, off, len)) {
		assert_error(rc, ERR_SOURCE, &e, "could not be read when the image was made");
		assert_int_equal(e.sys, EIO);
	} else {
		assert_fine(rc, &e);
		assert_memory_equal(p, o->s.bytes + off, len);
	}
	assert_int_equal(p[len], 0xEE);
	free(p);
}

static void test_random_reads(void **state)
{
	static const size_t caches[] = { 1, 2, 0, 1000 };
	uint32_t rnd = 3;

	(void)state;
	for (size_t k = 0; k < COUNT_OF(caches); k++) {
		struct opened o;
		uint64_t size = 300 * 4096 + 333;

		format_source_init(&o.s, size, 4096, 16 * 4096, (uint32_t)k + 1);
		open_source(&o, caches[k]);
		assert_int_equal(dev_size(o.dev), size);
		for (int n = 0; n < 1500; n++) {
			uint64_t off = format_random(&rnd) % size;
			size_t len = format_random(&rnd) % (n % 3 == 0 ? 100000 : 6000);

			check_read(&o, off, min_u64(len, size - off));
		}
		/* Every byte, in sectors. */
		for (uint64_t off = 0; off < size; off += 512)
			check_read(&o, off, min_u64(512, size - off));
		check_read(&o, size, 0);
		close_all(&o);
	}
}

static void test_device(void **state)
{
	struct opened o;
	uint8_t p[512];
	struct err e;

	(void)state;
	format_source_init(&o.s, 100 * 4096, 4096, 16 * 4096, 9);
	o.s.head.logical_bytes = 4096;
	o.s.head.physical_bytes = 8192;
	open_source(&o, 0);
	assert_int_equal(dev_info(o.dev)->logical_bytes, 4096);
	assert_int_equal(dev_info(o.dev)->physical_bytes, 8192);
	assert_false(dev_info(o.dev)->writable);
	assert_error(dev_read(o.dev, 100 * 4096 - 511, p, 512, &e), ERR_SOURCE, &e, "past the end");
	assert_error(dev_write(o.dev, 0, p, 512, &e), ERR_TARGET, &e, "reading only");
	close_all(&o);
}

static size_t reads_since(struct opened *o, size_t from)
{
	return format_log_count(o->file) - from;
}

/* Each block is read from the file once: by one long read, and by many short ones in order. */
static void test_no_thrashing(void **state)
{
	const size_t blocks = 64, per_chunk = 8;
	struct opened o;
	uint8_t *p = malloc(64 * 4096);
	size_t from;
	struct err e;

	(void)state;
	format_source_plain(&o.s, blocks * 4096, 4096, per_chunk * 4096, ENTRY_DATA);
	open_source(&o, 2);
	assert_fine(dev_read(o.dev, 0, p, 1, &e), &e);
	from = format_log_count(o.file);
	assert_fine(dev_read(o.dev, 0, p, blocks * 4096, &e), &e);
	assert_memory_equal(p, o.s.bytes, blocks * 4096);
	/* And the tables; the first chunk's was there, and so was block 0. */
	assert_int_equal(reads_since(&o, from), blocks - 1 + blocks / per_chunk - 1);
	/* Block 0 stayed in the cache, though 64 others went by. */
	from = format_log_count(o.file);
	assert_fine(dev_read(o.dev, 100, p, 100, &e), &e);
	assert_int_equal(reads_since(&o, from), 0);
	for (size_t off = 4096; off < blocks * 4096; off += 256)
		assert_fine(dev_read(o.dev, off, p, 256, &e), &e);
	assert_int_equal(reads_since(&o, from), blocks - 1);
	free(p);
	close_all(&o);
}

/* The cache keeps as many blocks as it was told, the latest used ones. */
static void test_cache_size(void **state)
{
	struct opened o;
	uint8_t p[16];
	size_t from;
	struct err e;

	(void)state;
	format_source_plain(&o.s, 16 * 4096, 4096, 16 * 4096, ENTRY_DATA);
	open_source(&o, 3);
	for (uint64_t n = 0; n < 4; n++)
		assert_fine(dev_read(o.dev, n * 4096, p, 16, &e), &e);
	/* 1 is used again, so that 2 is the oldest when 4 comes. */
	assert_fine(dev_read(o.dev, 1 * 4096, p, 16, &e), &e);
	assert_fine(dev_read(o.dev, 4 * 4096, p, 16, &e), &e);
	from = format_log_count(o.file);
	assert_fine(dev_read(o.dev, 1 * 4096, p, 16, &e), &e);
	assert_fine(dev_read(o.dev, 3 * 4096, p, 16, &e), &e);
	assert_fine(dev_read(o.dev, 4 * 4096, p, 16, &e), &e);
	assert_int_equal(reads_since(&o, from), 0);
	assert_fine(dev_read(o.dev, 2 * 4096, p, 16, &e), &e);
	assert_int_equal(reads_since(&o, from), 1);
	assert_fine(dev_read(o.dev, 0 * 4096, p, 16, &e), &e);
	assert_int_equal(reads_since(&o, from), 2);
	close_all(&o);
}

/* A damaged block fails, as a whole and in parts, again and again; its neighbours do not. */
static void test_damaged_block(void **state)
{
	struct opened o;
	const struct chunk *c;
	uint8_t p[3 * 4096], byte = 0;
	struct err e;
	uint64_t at;

	(void)state;
	format_source_plain(&o.s, 16 * 4096, 4096, 16 * 4096, ENTRY_DATA);
	open_source(&o, 0);
	assert_fine(image_chunk(o.image, 0, &c, &e), &e);
	at = c->entries[5].file_off;
	chunk_unref(o.image, c);
	assert_fine(dev_write(o.file, at + 20, &byte, 1, &e), &e);
	byte = 0xFF;
	assert_fine(dev_write(o.file, at + 21, &byte, 1, &e), &e);
	for (int k = 0; k < 2; k++) {
		assert_error(dev_read(o.dev, 5 * 4096 + 7, p, 9, &e), ERR_DAMAGED, &e,
			"source offset 20480");
		assert_error(dev_read(o.dev, 5 * 4096, p, 4096, &e), ERR_DAMAGED, &e,
			"source offset 20480");
		assert_error(dev_read(o.dev, 4 * 4096, p, 3 * 4096, &e), ERR_DAMAGED, &e, "");
		check_read(&o, 4 * 4096 + 5, 4000);
		check_read(&o, 6 * 4096, 4096);
	}
	close_all(&o);
}

/*
 * A chunk whose table is damaged is data for who asks what is where, and can't be read; the chunks
 * beside it are as they were.
 */
static void test_damaged_table(void **state)
{
	const uint64_t chunk = 16 * 4096, at = 20 * 4096;
	const struct chunk *c;
	const struct chunk_entry *last;
	struct dev_extent x;
	struct opened o;
	uint8_t p[4096] = { 0xA5, 0x5A };
	struct err e;

	(void)state;
	format_source_plain(&o.s, 3 * chunk, 4096, chunk, ENTRY_ZERO);
	open_source(&o, 0);
	assert_fine(image_chunk(o.image, 1, &c, &e), &e);
	last = &c->entries[c->count - 1];
	assert_fine(dev_write(o.file, last->file_off + last->stored + 100, p, 8, &e), &e);
	chunk_unref(o.image, c);
	/* A table that was read once stays in memory. */
	dev_close(o.dev);
	image_close(o.image);
	assert_fine(image_open(o.file, &o.image, &e), &e);
	assert_fine(image_dev(o.image, 0, &o.dev, &e), &e);
	assert_fine(dev_extent(o.dev, 0, 3 * chunk, &x, &e), &e);
	assert_int_equal(x.kind, DEV_EXTENT_ZERO);
	assert_int_equal(x.len, chunk);
	assert_fine(dev_extent(o.dev, at, 3 * chunk - at, &x, &e), &e);
	assert_int_equal(x.kind, DEV_EXTENT_DATA);
	assert_int_equal(x.len, 2 * chunk - at);
	assert_fine(dev_extent(o.dev, at, 4096, &x, &e), &e);
	assert_int_equal(x.len, 4096);
	assert_fine(dev_extent(o.dev, 2 * chunk, chunk, &x, &e), &e);
	assert_int_equal(x.kind, DEV_EXTENT_ZERO);
	assert_error(dev_read(o.dev, at, p, 4096, &e), ERR_DAMAGED, &e, "");
	check_read(&o, chunk - 4096, 4096);
	check_read(&o, 2 * chunk, 4096);
	close_all(&o);
}

/* What is unpacked ahead, or waits for it, is counted by the cache at once. */
static uint64_t cached_bytes(struct block_cache *k)
{
	struct block_stats s;

	block_cache_stats(k, &s);
	return s.bytes;
}

/* One long read says nothing about what comes after it; one that goes on from there does. */
static void test_ahead(void **state)
{
	const size_t len = 33 * 4096;
	struct block_cache *k;
	struct opened o;
	uint8_t *p = malloc(len);
	struct err e;

	(void)state;
	assert_non_null(p);
	format_source_plain(&o.s, 128 * 4096, 4096, 64 * 4096, ENTRY_DATA);
	o.file = format_write_log(&o.s, NULL);
	assert_fine(image_open(o.file, &o.image, &e), &e);
	assert_fine(block_cache_new(1 << 20, 1, &k, &e), &e);
	assert_fine(image_dev_cached(o.image, k, &o.dev, &e), &e);
	assert_fine(dev_read(o.dev, 0, p, len, &e), &e);
	assert_memory_equal(p, o.s.bytes, len);
	assert_int_equal(cached_bytes(k), 0);
	assert_fine(dev_read(o.dev, len, p, 4096, &e), &e);
	assert_memory_equal(p, o.s.bytes + len, 4096);
	assert_true(cached_bytes(k) > 0);
	block_cache_unref(k);
	free(p);
	close_all(&o);
}

/* ---- Threads ---- */

struct reader {
	struct opened *o;
	uint32_t seed;
	int wrong;
};

static void *read_much(void *arg)
{
	struct reader *r = arg;
	const struct format_source *s = &r->o->s;
	uint32_t rnd = r->seed;
	uint8_t *p = malloc(40000);

	for (int k = 0; k < 2000 && p != NULL && !r->wrong; k++) {
		/* Mostly the same few blocks, so that threads meet in them. */
		uint64_t size = k % 4 == 0 ? s->head.source_bytes : 20 * 4096;
		uint64_t off = format_random(&rnd) % size;
		size_t len = min_u64(1 + format_random(&rnd) % (k % 5 == 0 ? 40000 : 3000),
			s->head.source_bytes - off);
		struct err e;
		int rc = dev_read(r->o->dev, off, p, len, &e);

		if (touches_bad(s, off, len))
			r->wrong = rc != -ERR_SOURCE;
		else if (rc == -ERR_DAMAGED)
			r->wrong = off >= 8 * 4096 || off + len <= 7 * 4096;
		else
			r->wrong = rc != 0 || memcmp(p, s->bytes + off, len) != 0;
	}
	free(p);
	return NULL;
}

static void run_threads(size_t cache_blocks, bool damage)
{
	struct opened o;
	struct reader r[8];
	pthread_t threads[8];
	struct err e;

	format_source_init(&o.s, 200 * 4096, 4096, 16 * 4096, 5);
	/* Block 7 is data without a bad range. */
	if (damage) {
		format_source_fini(&o.s);
		format_source_plain(&o.s, 200 * 4096, 4096, 16 * 4096, ENTRY_DATA);
	}
	open_source(&o, cache_blocks);
	if (damage) {
		const struct chunk *c;
		uint8_t byte;

		assert_fine(image_chunk(o.image, 0, &c, &e), &e);
		assert_fine(dev_read(o.file, c->entries[7].file_off + 30, &byte, 1, &e), &e);
		byte ^= 0x10;
		assert_fine(dev_write(o.file, c->entries[7].file_off + 30, &byte, 1, &e), &e);
		chunk_unref(o.image, c);
		assert_error(dev_read(o.dev, 7 * 4096, &byte, 1, &e), ERR_DAMAGED, &e, "");
	}
	for (uint32_t n = 0; n < COUNT_OF(r); n++) {
		r[n] = (struct reader){ &o, n + 1, 0 };
		assert_int_equal(pthread_create(&threads[n], NULL, read_much, &r[n]), 0);
	}
	for (uint32_t n = 0; n < COUNT_OF(r); n++)
		pthread_join(threads[n], NULL);
	for (uint32_t n = 0; n < COUNT_OF(r); n++)
		assert_false(r[n].wrong);
	close_all(&o);
}

static void test_threads(void **state)
{
	(void)state;
	run_threads(0, false);
	run_threads(1, false);
	run_threads(3, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_reads),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_no_thrashing),
		cmocka_unit_test(test_cache_size),
		cmocka_unit_test(test_damaged_block),
		cmocka_unit_test(test_damaged_table),
		cmocka_unit_test(test_ahead),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
