/* Recovery: what is good comes back, what is lost is told, and a wrong byte is never made good. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_fault.h"
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

static void recover_from(struct help *h, struct dev *in, struct recover_report *r, struct losses *l)
{
	struct recover_hooks hooks = { .lost = note, .user = l };
	struct dev *out = help_open(h, "new", DEV_WRITE | DEV_CREATE);
	struct err e;

	memset(l, 0, sizeof(*l));
	assert_ok(recover_image(in, out, &hooks, r, &e), &e);
	assert_int_equal(r->lost_ranges, l->count);
	dev_close(out);
}

static void recover(struct help *h, struct recover_report *r, struct losses *l)
{
	struct dev *in = help_open(h, "broken", 0);

	recover_from(h, in, r, l);
	dev_close(in);
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
	uint64_t last_off[64]; /* in the source: the last entry of each chunk */
	uint64_t chunk[64], table[64], frame[4096], frame_off[4096], frame_len[4096];
	uint64_t indx, meta, tail;
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
	p->meta = image_facts(image)->tail.meta_pos;
	p->tail = image_facts(image)->tail.seek_pos - TAIL_FRAME_BYTES;
	for (size_t n = 0; n < p->chunks; n++) {
		const struct chunk *c;

		assert_ok(image_chunk(image, n, &c, &e), &e);
		p->chunk[n] = c->entries[0].file_off - CHNK_FRAME_BYTES;
		for (uint32_t i = 0; i < c->count; i++) {
			p->table[n] = c->entries[i].file_off + c->entries[i].stored;
			p->last_off[n] = c->entries[i].off;
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

/* Recover the first `cut` bytes. */
static void with_cut(struct fixture *f, uint64_t cut)
{
	write_file(&f->h, "broken", f->file, cut);
	recover(&f->h, &f->r, &f->l);
	assert_right(&f->h, &f->l);
	clean(&f->h);
}

/* Cut anywhere: what is before the cut comes back, the rest is one loss up to the end. */
static void test_truncated(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 3);
	for (uint64_t cut = 8192; cut < f.p.indx; cut += f.p.indx / 60) {
		with_cut(&f, cut);
		/* Inside the last table no block is lost yet. */
		if (cut < f.p.table[f.p.chunks - 1]) {
			assert_true(f.l.count > 0);
			assert_int_equal(f.l.off[f.l.count - 1] + f.l.len[f.l.count - 1], f.h.size);
		}
	}
	teardown(&f);
}

/* All is lost from a source offset on, in one range or in several, and nothing before it. */
static void assert_lost_from(struct fixture *f, uint64_t off)
{
	for (size_t i = 0; i < f->l.count; i++) {
		assert_int_equal(f->l.off[i], off);
		off += f->l.len[i];
	}
	assert_int_equal(off, f->h.size);
}

/* Cut where a chunk or its table begins, and a byte before and behind. */
static void test_truncated_at_borders(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 18);
	for (size_t n = 0; n < f.p.chunks; n++) {
		for (int d = -1; d <= 1; d++) {
			/* A byte less than HEAD is no image. */
			if (n == 0 && d < 0)
				continue;
			/* The table before may lack a byte: its frames do not need it. */
			with_cut(&f, f.p.chunk[n] + (uint64_t)d);
			assert_lost_from(&f, n * HELP_CHUNK);
		}
		for (int d = 0; d <= 1; d++) {
			with_cut(&f, f.p.table[n] + (uint64_t)d);
			assert_lost_from(&f, min_u64((n + 1) * HELP_CHUNK, f.h.size));
		}
		/* The last frame of the chunk lacks a byte. */
		with_cut(&f, f.p.table[n] - 1);
		assert_lost_from(&f, f.p.last_off[n]);
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

/* ---- What could not be read when the image was made (R9) ---- */

/* A sector inside a data block, and a whole block, of the second chunk. */
#define BAD_SECTOR (HELP_CHUNK + 8192)
#define BAD_BLOCK (HELP_CHUNK + 3 * HELP_BLOCK)

static void setup_bad(struct fixture *f, unsigned seed)
{
	const struct fault_rule rules[] = {
		{ .op = FAULT_READ, .action = FAULT_FAIL, .off = BAD_SECTOR, .len = 512 },
		{ .op = FAULT_READ, .action = FAULT_FAIL, .off = BAD_BLOCK, .len = HELP_BLOCK },
	};
	const struct fault_plan plan = { .rules = rules, .rule_count = COUNT_OF(rules) };
	uint8_t root[SHA256_BYTES];
	struct image_writer *w;
	struct dev *faulty, *out;
	struct err e;

	help_init(&f->h, SIZE, seed);
	help_make_noise(&f->h);
	assert_ok(dev_open_fault(f->h.source, &plan, &faulty, &e), &e);
	out = help_open(&f->h, "whole", DEV_WRITE | DEV_CREATE);
	assert_ok(image_writer_new(out, &f->h.head, false, &w, &e), &e);
	assert_int_equal(help_capture_job(&f->h, faulty, w, ON_READ_ERROR_ZERO, &e),
		ERR_BAD_SECTORS);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
	dev_close(faulty);
	find_places(&f->h, &f->p);
	f->file = help_slurp(&f->h, "whole", &f->len);
}

/* Recover the first `len` bytes with a byte at each of two places changed; 0: none. */
static void with_flips(struct fixture *f, uint64_t a, uint64_t b, size_t len)
{
	f->file[a] ^= 4;
	f->file[b] ^= b > 0 ? 4 : 0;
	write_file(&f->h, "broken", f->file, len);
	f->file[a] ^= 4;
	f->file[b] ^= b > 0 ? 4 : 0;
	recover(&f->h, &f->r, &f->l);
}

/* Nothing is lost, and nothing unknown: bad ranges and all. */
static void assert_as_before(struct fixture *f)
{
	assert_int_equal(f->l.count, 0);
	assert_int_equal(f->r.bad_unknown, 0);
	help_assert_same_files(&f->h, "whole", "new");
	clean(&f->h);
}

static void test_r9_bad_ranges_without_table(void **state)
{
	struct fixture f;

	(void)state;
	setup_bad(&f, 13);
	/* META stands for the table, wherever it is known from. */
	with_flips(&f, f.p.table[1] + 60, 0, f.len);
	assert_int_equal(f.r.tables_lost, 1);
	assert_true(f.r.bad_seen);
	assert_as_before(&f);
	with_flips(&f, f.p.table[1] + 60, f.p.indx + 50, f.len);
	assert_as_before(&f);
	with_flips(&f, f.p.table[1] + 60, f.p.tail + 50, f.len);
	assert_as_before(&f);
	/* Without META: TAIL says that all bad ranges are there, or that some are missing. */
	with_flips(&f, f.p.table[0] + 60, f.p.meta + 50, f.len);
	assert_as_before(&f);
	with_flips(&f, f.p.table[1] + 60, f.p.meta + 50, f.len);
	assert_int_equal(f.r.bad_unknown, 1);
	assert_true(f.r.bad_seen);
	clean(&f.h);
	/* Without an end, and in the chunk under way of a run that was interrupted, nobody says. */
	with_flips(&f, f.p.table[0] + 60, 0, f.p.indx);
	assert_int_equal(f.l.count, 0);
	assert_int_equal(f.r.bad_unknown, 1);
	assert_true(f.r.bad_seen);
	clean(&f.h);
	with_flips(&f, f.p.table[1] + 60, 0, f.p.table[1]);
	assert_int_equal(f.l.count, 1);
	assert_int_equal(f.l.off[0], 2 * HELP_CHUNK);
	assert_int_equal(f.r.bad_unknown, 1);
	assert_false(f.r.bad_seen);
	clean(&f.h);
	teardown(&f);
}

/* ---- A medium that is bad ---- */

/* Recover the first `len` bytes, of which [off, off + 4096) can't be read. */
static void with_bad_page(struct fixture *f, uint64_t off, size_t len)
{
	const struct fault_rule rule = { .op = FAULT_READ,
		.action = FAULT_FAIL,
		.off = off,
		.len = 4096 };
	const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct dev *in, *faulty;
	struct err e;

	write_file(&f->h, "broken", f->file, len);
	in = help_open(&f->h, "broken", 0);
	assert_ok(dev_open_fault(in, &plan, &faulty, &e), &e);
	recover_from(&f->h, faulty, &f->r, &f->l);
	dev_close(faulty);
	dev_close(in);
}

/* A page costs what is in it. */
static void test_unreadable_pages(void **state)
{
	const size_t at = 20;
	struct fixture f;

	(void)state;
	help_init(&f.h, SIZE, 14);
	help_make_noise(&f.h);
	help_capture(&f.h, NULL, "whole", 2, 8);
	find_places(&f.h, &f.p);
	f.file = help_slurp(&f.h, "whole", &f.len);
	with_bad_page(&f, 0, f.len);
	assert_true(f.r.head_copied);
	assert_int_equal(f.l.count, 0);
	help_assert_same_files(&f.h, "whole", "new");
	clean(&f.h);
	/* Its tail is cut, so that it is searched. */
	with_bad_page(&f, align_down(f.p.frame[at], 4096), f.p.tail);
	assert_true(f.r.index_lost);
	assert_int_equal(f.r.tables_lost, 0);
	assert_int_equal(f.l.count, 1);
	assert_int_equal(f.l.off[0], f.p.frame_off[at]);
	assert_int_equal(f.l.len[0], f.p.frame_len[at]);
	assert_right(&f.h, &f.l);
	clean(&f.h);
	/* The copy of HEAD lies in the same window as a bad page. */
	memset(f.file, 0, 4096);
	with_bad_page(&f, align_down(f.p.frame[at], 4096), f.len);
	assert_true(f.r.head_copied);
	assert_int_equal(f.l.count, 1);
	clean(&f.h);
	teardown(&f);
}

/* A table that can't be read: the frames before it can. */
static void test_unreadable_table(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 15);
	with_bad_page(&f, align_down(f.p.table[0] + 60, 4096), f.len);
	assert_int_equal(f.r.tables_lost, 1);
	/* At most the frame that lies in the same page. */
	assert_true(f.r.lost_bytes <= HELP_CHUNK / 2);
	assert_right(&f.h, &f.l);
	clean(&f.h);
	teardown(&f);
}

/* What is of a later version is not called lost. */
static void test_unknown_feature(void **state)
{
	struct recover_hooks hooks = { 0 };
	struct recover_report r;
	struct fixture f;
	struct dev *in;
	struct err e;

	(void)state;
	setup(&f, 16);
	put_le64(f.file + RECORD_HEAD_BYTES + 8, 1 << 5);
	layout_record_seal(f.file, REC_HEAD, 0, f.h.head.uuid, get_le32(f.file + 32));
	write_file(&f.h, "broken", f.file, f.len);
	in = help_open(&f.h, "broken", 0);
	assert_int_equal(recover_image(in, NULL, &hooks, &r, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.msg, "incompat: features 0x20"));
	assert_non_null(strstr(e.msg, "broken"));
	dev_close(in);
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
		cmocka_unit_test(test_truncated_at_borders),
		cmocka_unit_test(test_each_damaged_frame),
		cmocka_unit_test(test_each_damaged_table),
		cmocka_unit_test(test_damaged_chunk_headers_and_index),
		cmocka_unit_test(test_lost_head),
		cmocka_unit_test(test_table_and_frame),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_only_looking),
		cmocka_unit_test(test_r9_bad_ranges_without_table),
		cmocka_unit_test(test_unreadable_pages),
		cmocka_unit_test(test_unreadable_table),
		cmocka_unit_test(test_unknown_feature),
		cmocka_unit_test(test_not_an_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
