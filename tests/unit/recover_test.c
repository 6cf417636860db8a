/* Recovery: what is good comes back, what is lost is told, and a wrong byte is never made good. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/recover.h"
#include "image_help.h"

#define SIZE (1024 * 1024 + 300)

struct losses {
	size_t count;
	uint64_t off[4096], len[4096];
};

static void note(void *user, uint64_t off, uint64_t len, uint64_t file_off, const char *why)
{
	struct losses *l = user;

	(void)file_off;
	assert_true(strlen(why) > 0);
	assert_true(l->count < COUNT_OF(l->off));
	l->off[l->count] = off;
	l->len[l->count++] = len;
}

static void write_file(struct help *h, const char *name, const uint8_t *bytes, size_t len)
{
	struct dev *d = help_open(h, name, DEV_WRITE | DEV_CREATE);
	struct err e;

	if (len > 0)
		assert_ok(dev_write(d, 0, bytes, len, &e), &e);
	dev_close(d);
}

static void recover(struct help *h, struct recover_report *r, struct losses *l)
{
	struct recover_hooks hooks = { .lost = note, .user = l };
	struct dev *in = help_open(h, "broken", 0),
		   *out = help_open(h, "new", DEV_WRITE | DEV_CREATE);
	struct err e;

	memset(l, 0, sizeof(*l));
	assert_ok(recover_image(in, out, &hooks, r, &e), &e);
	assert_int_equal(r->lost_ranges, l->count);
	dev_close(in);
	dev_close(out);
}

static bool is_lost(const struct losses *l, uint64_t off)
{
	for (size_t i = 0; i < l->count; i++)
		if (off - l->off[i] < l->len[i])
			return true;
	return false;
}

/* Each block of the new image is right, or an error where it was told lost. */
static void assert_right(struct help *h, const struct losses *l)
{
	struct dev *file = help_open(h, "new", 0), *dev;
	struct image *image;
	uint8_t block[HELP_BLOCK];
	struct err e;

	assert_ok(image_open(file, &image, &e), &e);
	assert_ok(image_check_root(image, &e), &e);
	assert_ok(image_dev(image, 0, &dev, &e), &e);
	for (uint64_t off = 0; off < h->size; off += HELP_BLOCK) {
		size_t len = (size_t)min_u64(HELP_BLOCK, h->size - off);
		int rc = dev_read(dev, off, block, len, &e);

		if (is_lost(l, off)) {
			assert_int_equal(rc, -ERR_SOURCE);
		} else {
			assert_ok(rc, &e);
			assert_memory_equal(block, h->want + off, len);
		}
	}
	dev_close(dev);
	image_close(image);
	dev_close(file);
}

static void clean(struct help *h)
{
	assert_int_equal(remove(help_path(h, "broken")), 0);
	assert_int_equal(remove(help_path(h, "new")), 0);
}

struct places {
	uint64_t chunk[64], table[64], frame[4096], frame_off[4096], frame_len[4096];
	uint64_t indx, tail;
	size_t chunks, frames;
};

/* Where everything is, as the reader says. */
static void find_places(struct help *h, struct places *p)
{
	struct dev *file = help_open(h, "whole", 0);
	struct image *image;
	struct err e;

	memset(p, 0, sizeof(*p));
	assert_ok(image_open(file, &image, &e), &e);
	p->chunks = image_facts(image)->chunks;
	p->indx = image_facts(image)->tail.indx_pos;
	p->tail = image_facts(image)->tail.seek_pos - TAIL_FRAME_BYTES;
	for (size_t n = 0; n < p->chunks; n++) {
		const struct chunk *c;

		assert_ok(image_chunk(image, n, &c, &e), &e);
		p->chunk[n] = c->entries[0].file_off - CHNK_FRAME_BYTES;
		for (uint32_t i = 0; i < c->count; i++) {
			p->table[n] = c->entries[i].file_off + c->entries[i].stored;
			if (c->entries[i].kind != ENTRY_DATA)
				continue;
			p->frame[p->frames] = c->entries[i].file_off + c->entries[i].stored / 2;
			p->frame_off[p->frames] = c->entries[i].off;
			p->frame_len[p->frames++] = c->entries[i].len;
		}
		chunk_unref(image, c);
	}
	image_close(image);
	dev_close(file);
}

struct fixture {
	struct help h;
	struct places p;
	uint8_t *file;
	size_t len;
	struct recover_report r;
	struct losses l;
};

static void setup(struct fixture *f, unsigned seed)
{
	help_init(&f->h, SIZE, seed);
	help_capture(&f->h, NULL, "whole", 2, 8);
	find_places(&f->h, &f->p);
	f->file = help_slurp(&f->h, "whole", &f->len);
}

static void teardown(struct fixture *f)
{
	free(f->file);
	help_fini(&f->h);
}

/* Recover a copy with one byte changed. */
static void with_flip(struct fixture *f, uint64_t at)
{
	f->file[at] ^= 0x20;
	write_file(&f->h, "broken", f->file, f->len);
	f->file[at] ^= 0x20;
	recover(&f->h, &f->r, &f->l);
	assert_right(&f->h, &f->l);
}

static void test_whole_image_stays_itself(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 1);
	write_file(&f.h, "broken", f.file, f.len);
	recover(&f.h, &f.r, &f.l);
	assert_int_equal(f.l.count, 0);
	help_assert_same_files(&f.h, "whole", "new");
	teardown(&f);
}

/* The end is lost: index, metadata, tail. All of it follows from what is before. */
static void test_lost_end(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 2);
	for (uint64_t cut = f.p.indx; cut < f.len; cut += 1 + (f.len - f.p.indx) / 40) {
		write_file(&f.h, "broken", f.file, cut);
		recover(&f.h, &f.r, &f.l);
		assert_int_equal(f.l.count, 0);
		assert_true(f.r.index_lost);
		help_assert_same_files(&f.h, "whole", "new");
		clean(&f.h);
	}
	teardown(&f);
}

/* Cut anywhere: what is before the cut comes back, the rest is one loss up to the end. */
static void test_truncated(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 3);
	for (uint64_t cut = 8192; cut < f.p.indx; cut += f.p.indx / 60) {
		write_file(&f.h, "broken", f.file, cut);
		recover(&f.h, &f.r, &f.l);
		/* Inside the last table no block is lost yet. */
		if (cut < f.p.table[f.p.chunks - 1]) {
			assert_true(f.l.count > 0);
			assert_int_equal(f.l.off[f.l.count - 1] + f.l.len[f.l.count - 1], f.h.size);
		}
		assert_right(&f.h, &f.l);
		clean(&f.h);
	}
	teardown(&f);
}

/* A damaged frame costs its block, and nothing else. */
static void test_each_damaged_frame(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 4);
	assert_true(f.p.frames > 20);
	for (size_t i = 0; i < f.p.frames; i++) {
		with_flip(&f, f.p.frame[i]);
		assert_int_equal(f.l.count, 1);
		assert_int_equal(f.l.off[0], f.p.frame_off[i]);
		assert_int_equal(f.l.len[0], f.p.frame_len[i]);
		clean(&f.h);
	}
	teardown(&f);
}

/* A damaged table costs nothing: the frames have checksums of their own. */
static void test_each_damaged_table(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 5);
	for (size_t i = 0; i < f.p.chunks; i++) {
		with_flip(&f, f.p.table[i] + 60);
		assert_int_equal(f.l.count, 0);
		assert_int_equal(f.r.tables_lost, 1);
		clean(&f.h);
	}
	teardown(&f);
}

static void test_damaged_chunk_headers_and_index(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 6);
	for (size_t i = 0; i < f.p.chunks; i++) {
		with_flip(&f, f.p.chunk[i] + 45);
		assert_int_equal(f.l.count, 0);
		clean(&f.h);
	}
	with_flip(&f, f.p.indx + 50);
	assert_true(f.r.index_lost);
	assert_int_equal(f.l.count, 0);
	help_assert_same_files(&f.h, "whole", "new");
	clean(&f.h);
	with_flip(&f, f.p.tail + 50);
	assert_int_equal(f.l.count, 0);
	help_assert_same_files(&f.h, "whole", "new");
	teardown(&f);
}

/* The first record is what a stray write hits first: its copy near the end takes its place. */
static void test_lost_head(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 7);
	memset(f.file, 0xFF, 4096);
	write_file(&f.h, "broken", f.file, f.len);
	recover(&f.h, &f.r, &f.l);
	assert_true(f.r.head_copied);
	assert_int_equal(f.l.count, 0);
	help_assert_same_files(&f.h, "whole", "new");
	teardown(&f);
}

/* A table and a frame of the same chunk: what is before the frame is kept. */
static void test_table_and_frame(void **state)
{
	struct fixture f;
	uint64_t at, end;

	(void)state;
	setup(&f, 8);
	for (size_t i = 0; i < f.p.frames; i += 3) {
		size_t n = (size_t)(f.p.frame_off[i] / HELP_CHUNK);

		at = f.p.table[n] + 44;
		end = min_u64((n + 1) * HELP_CHUNK, f.h.size);
		f.file[at] ^= 1;
		with_flip(&f, f.p.frame[i]);
		f.file[at] ^= 1;
		assert_int_equal(f.l.count, 1);
		assert_int_equal(f.l.off[0], f.p.frame_off[i]);
		assert_int_equal(f.l.len[0], end - f.p.frame_off[i]);
		clean(&f.h);
	}
	teardown(&f);
}

/* Says stop when it is asked for the n-th time. */
struct stopper {
	uint64_t asked, nth;
};

static bool stop(void *user)
{
	struct stopper *s = user;

	return ++s->asked >= s->nth;
}

/* Stopped at every point where it can be: cancelled, and what is there opens as no image. */
static void test_stop(void **state)
{
	struct stopper s = { 0 };
	struct recover_hooks hooks = { .stop = stop, .user = &s };
	struct recover_report r;
	struct fixture f;
	struct err e;
	int rc = -1;

	(void)state;
	setup(&f, 11);
	/* Neither head nor end: it is searched for both, and the search can be stopped. */
	memset(f.file, 0, 4096);
	write_file(&f.h, "broken", f.file, f.len - 100);
	for (s.nth = 1; rc != 0; s.nth++) {
		struct dev *in = help_open(&f.h, "broken", 0),
			   *out = help_open(&f.h, "new", DEV_WRITE | DEV_CREATE);
		struct image *image;

		s.asked = 0;
		rc = recover_image(in, out, &hooks, &r, &e);
		if (rc != 0) {
			assert_int_equal(rc, -ERR_CANCELLED);
			assert_int_equal(s.asked, s.nth);
			assert_true(image_open(out, &image, &e) < 0);
		}
		dev_close(in);
		dev_close(out);
		assert_int_equal(remove(help_path(&f.h, "new")), 0);
	}
	assert_true(s.nth > 20);
	assert_int_equal(remove(help_path(&f.h, "broken")), 0);
	teardown(&f);
}

/* Without a file to write, the report is the same. */
static void test_only_looking(void **state)
{
	struct recover_hooks hooks = { 0 };
	struct recover_report seen, made;
	struct losses losses;
	struct fixture f;
	struct dev *in;
	struct err e;

	(void)state;
	setup(&f, 12);
	write_file(&f.h, "broken", f.file, f.len * 2 / 3);
	in = help_open(&f.h, "broken", 0);
	assert_ok(recover_image(in, NULL, &hooks, &seen, &e), &e);
	dev_close(in);
	recover(&f.h, &made, &losses);
	assert_true(seen.lost_bytes > 0);
	assert_int_equal(seen.lost_bytes, made.lost_bytes);
	assert_int_equal(seen.lost_ranges, made.lost_ranges);
	for (int k = 0; k < ENTRY_KINDS; k++)
		assert_int_equal(seen.totals.kind_bytes[k], made.totals.kind_bytes[k]);
	clean(&f.h);
	teardown(&f);
}

static void test_not_an_image(void **state)
{
	struct recover_hooks hooks = { 0 };
	struct recover_report r;
	struct dev *in, *out;
	struct help h;
	struct err e;

	(void)state;
	help_init(&h, SIZE, 9);
	write_file(&h, "broken", h.bytes, 100000);
	in = help_open(&h, "broken", 0);
	out = help_open(&h, "new", DEV_WRITE | DEV_CREATE);
	assert_int_equal(recover_image(in, out, &hooks, &r, &e), -ERR_FORMAT);
	dev_close(in);
	dev_close(out);
	help_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_image_stays_itself),
		cmocka_unit_test(test_lost_end),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_each_damaged_frame),
		cmocka_unit_test(test_each_damaged_table),
		cmocka_unit_test(test_damaged_chunk_headers_and_index),
		cmocka_unit_test(test_lost_head),
		cmocka_unit_test(test_table_and_frame),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_only_looking),
		cmocka_unit_test(test_not_an_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
