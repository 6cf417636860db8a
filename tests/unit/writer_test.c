/*
 * writer: images of sources with every kind of block, read back by our reader, by the stock zstd,
 * and byte by byte: the same blocks give the same file however they are handed over.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/block.h"
#include "device/dev_fault.h"
#include "format/spool.h"
#include "format/writer_int.h"
#include "format_helper.h"

static int setup(void **state)
{
	(void)state;
	format_mkdir();
	setenv("PIPED", format_path("piped"), 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	format_rmdir();
	return 0;
}

static void spit_source(const struct format_source *s, const char *name)
{
	format_spit(format_path(name), s->bytes, s->head.source_bytes);
}

/* Two others must agree: `zstd -t`, and `zstd -dc` with the source. */
static void check_zstd(const struct format_source *s, const char *name)
{
	spit_source(s, "source");
	assert_int_equal(format_run("zstd -tq '%s'", format_path(name)), 0);
	assert_int_equal(format_run("zstd -dcq '%s' | cmp - '%s'", format_path(name),
				 format_path("source")),
		0);
}

/* Every kind, hash and shape; read back by our reader too. */
static void check_image(const struct format_source *s, const char *name, const uint8_t *root)
{
	struct dev *file = format_open(format_path(name), 0), *dev;
	uint8_t *bytes = malloc(s->head.source_bytes + 1);
	uint64_t want[ENTRY_KINDS] = { 0 }, bad = 0;
	const struct image_facts *f;
	struct image *i;
	struct err e;

	assert_fine(image_open(file, &i, &e), &e);
	f = image_facts(i);
	assert_memory_equal(f->tail.root, root, SHA256_BYTES);
	for (uint32_t n = 0; n < s->blocks; n++)
		want[s->kinds[n]] += min_u64(s->head.block_bytes,
			s->head.source_bytes - (uint64_t)n * s->head.block_bytes);
	assert_memory_equal(f->tail.kind_bytes, want, sizeof(want));
	for (size_t n = 0; n < s->bad_count; n++)
		bad += s->bad[n].len;
	assert_int_equal(f->tail.bad_range_bytes, bad);
	assert_fine(image_check_root(i, &e), &e);
	assert_fine(image_dev(i, 0, &dev, &e), &e);
	assert_int_equal(dev_size(dev), s->head.source_bytes);
	if (s->bad_count == 0 && s->head.source_bytes > 0) {
		assert_fine(dev_read(dev, 0, bytes, s->head.source_bytes, &e), &e);
		assert_memory_equal(bytes, s->bytes, s->head.source_bytes);
	}
	dev_close(dev);
	image_close(i);
	dev_close(file);
	free(bytes);
}

static void test_shapes(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t block;
		uint64_t chunk;
	} shapes[] = {
		{ 0, 4096, 4096 },
		{ 1, 4096, 4096 },
		{ 4096, 4096, 4096 },
		{ 4097, 4096, 4096 },
		{ 100 * 4096, 4096, 8 * 4096 },
		{ 100 * 4096 + 777, 4096, 8 * 4096 },
		{ 100 * 4096 + 777, 4096, 4096 },
		{ 64 * 4096, 4096, 64 * 4096 },
		{ 3000000, 65536, 7 * 65536 },
		{ 5000000, 1 << 20, 2 << 20 },
		{ 20000000, 16 << 20, 16 << 20 },
		{ 700000, 256 << 10, 512 << 20 },
	};
	uint8_t root[SHA256_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		for (int hash = HASH_XXH3; hash <= HASH_SHA256; hash++) {
			struct format_source s;

			format_source_init(&s, shapes[i].size, shapes[i].block, shapes[i].chunk,
				(uint32_t)i + 1);
			s.head.hash = (enum hash_kind)hash;
			format_write(&s, format_path("image"), root);
			check_zstd(&s, "image");
			check_image(&s, "image", root);
			format_source_fini(&s);
		}
	}
}

/* ---- The bytes ---- */

/* However runs are cut into calls, and for reused contexts: the same file. */
static void test_same_bytes(void **state)
{
	struct format_source s;
	struct dev *first;

	(void)state;
	format_source_init(&s, 400 * 4096 + 5, 4096, 32 * 4096, 4);
	first = format_write_log(&s, NULL);
	for (uint32_t seed = 2; seed < 20; seed++) {
		struct dev *d = format_open_log(dev_size(first));
		struct image_writer *w;
		uint8_t root[SHA256_BYTES];
		struct err e;

		assert_fine(image_writer_new(d, &s.head, seed % 2 == 0, &w, &e), &e);
		assert_fine(format_feed(w, &s, s.head.source_bytes, seed, &e), &e);
		assert_fine(image_writer_finish(w, root, &e), &e);
		image_writer_close(w);
		assert_int_equal(dev_size(d), dev_size(first));
		assert_memory_equal(format_log_bytes(d), format_log_bytes(first), dev_size(d));
		dev_close(d);
	}
	dev_close(first);
	format_source_fini(&s);
}

/* Through a pipe: the bytes of a file. */
static void test_pipe(void **state)
{
	struct format_source s;
	struct image_writer *w;
	uint8_t root[SHA256_BYTES];
	struct dev *out;
	struct err e;
	FILE *p;

	(void)state;
	format_source_init(&s, 3000000, 65536, 4 * 65536, 6);
	format_write(&s, format_path("file"), NULL);
	p = popen("cat >\"$PIPED\"", "w");
	assert_non_null(p);
	assert_fine(dev_open_pipe(dup(fileno(p)), "pipe", true, &out, &e), &e);
	assert_fine(image_writer_new(out, &s.head, false, &w, &e), &e);
	assert_fine(format_feed(w, &s, s.head.source_bytes, 1, &e), &e);
	assert_fine(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
	assert_int_equal(pclose(p), 0);
	assert_int_equal(format_run("cmp '%s' \"$PIPED\"", format_path("file")), 0);
	format_source_fini(&s);
}

/* An image opened, and the chunk of a number. */
static struct image *open_log_image(struct dev *d)
{
	struct image *i;
	struct err e;

	assert_fine(image_open(d, &i, &e), &e);
	return i;
}

/* One frame for a run of a kind, cut only by the chunk and at 512 MiB. */
static void test_hole_runs(void **state)
{
	static const struct {
		enum entry_kind kind;
		uint64_t blocks;
	} want[] = { { ENTRY_ZERO, 512 }, { ENTRY_ZERO, 88 }, { ENTRY_FREE, 424 } };
	struct layout_head h;
	struct format_source s;
	struct image_writer *w;
	const struct chunk *c;
	uint8_t root[SHA256_BYTES];
	struct image *i;
	struct dev *d;
	struct err e;

	(void)state;
	/* For its head only: chunks of 1 GiB, blocks of 1 MiB. */
	format_source_plain(&s, 4096, 4096, 4096, ENTRY_ZERO);
	h = s.head;
	h.block_bytes = 1 << 20;
	h.chunk_bytes = GIB;
	h.source_bytes = 2 * GIB + 4095;
	d = format_open_log(8 * MIB);
	assert_fine(image_writer_new(d, &h, false, &w, &e), &e);
	for (int k = 0; k < 600; k++)
		assert_fine(image_writer_hole(w, ENTRY_ZERO, 1, &e), &e);
	assert_fine(image_writer_hole(w, ENTRY_FREE, 2049 - 600, &e), &e);
	assert_int_equal(image_writer_offset(w), h.source_bytes);
	assert_fine(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	i = open_log_image(d);
	assert_fine(image_check_root(i, &e), &e);
	assert_fine(image_chunk(i, 0, &c, &e), &e);
	assert_int_equal(c->count, COUNT_OF(want));
	for (size_t k = 0; k < COUNT_OF(want); k++) {
		assert_int_equal(c->entries[k].kind, want[k].kind);
		assert_int_equal(c->entries[k].len, want[k].blocks << 20);
	}
	chunk_unref(i, c);
	assert_fine(image_chunk(i, 1, &c, &e), &e);
	assert_int_equal(c->count, 2);
	assert_int_equal(c->entries[1].len, 512 * MIB);
	chunk_unref(i, c);
	assert_fine(image_chunk(i, 2, &c, &e), &e);
	assert_int_equal(c->count, 1);
	assert_int_equal(c->entries[0].len, 4095);
	chunk_unref(i, c);
	image_close(i);
	dev_close(d);
	format_source_fini(&s);
}

/* ---- Others read it ---- */

static void test_seek_table(void **state)
{
	struct format_source s;

	(void)state;
	if (format_run("command -v python3 >/dev/null") != 0)
		skip();
	format_source_init(&s, 1000 * 4096 + 17, 4096, 64 * 4096, 12);
	format_write(&s, format_path("image"), NULL);
	spit_source(&s, "source");
	assert_int_equal(format_run("python3 tests/cli/seek_table.py '%s' '%s' >/dev/null",
				 format_path("image"), format_path("source")),
		0);
	/* It is no test that can't fail. */
	assert_int_equal(format_run("printf X | dd of='%s' bs=1 seek=5000 conv=notrunc status=none",
				 format_path("source")),
		0);
	assert_int_not_equal(format_run("python3 tests/cli/seek_table.py '%s' '%s' >/dev/null 2>&1",
				     format_path("image"), format_path("source")),
		0);
	format_source_fini(&s);
}

/* More bad ranges than META lists. */
static void many_bad_blocks(struct format_source *s)
{
	format_source_plain(s, 22000 * 4096, 4096, 64 * 4096, ENTRY_ZERO);
	for (uint32_t n = 0; n < s->blocks; n += 2) {
		s->kinds[n] = ENTRY_BAD;
		s->bad[s->bad_count++] = (struct bad_range){ (uint64_t)n * 4096, 4096 };
	}
}

/* META is JSON, and says what is in the image. */
static void test_meta(void **state)
{
	static const char script[] =
		"import json, sys\n"
		"m = json.load(open(sys.argv[1]))\n"
		"assert set(m) == {'header', 'result'}\n"
		"assert m['header'] == json.loads(sys.argv[2])\n"
		"want = dict(zip(('data_bytes', 'zero_bytes', 'free_bytes', 'bad_bytes',\n"
		"    'chunks', 'frames', 'stored_bytes', 'bad_range_count', 'bad_range_bytes'),\n"
		"    map(int, sys.argv[3:])))\n"
		"ranges = m['result'].pop('bad_ranges')\n"
		"assert m['result'] == want, (m['result'], want)\n"
		"assert len(ranges) == min(10000, want['bad_range_count'])\n"
		"assert ranges == sorted(ranges)\n"
		"if len(ranges) < 10000:\n"
		"    assert sum(n for _, n in ranges) == want['bad_range_bytes']\n";
	struct format_source s;

	(void)state;
	if (format_run("command -v python3 >/dev/null") != 0)
		skip();
	for (uint32_t k = 0; k < 2; k++) {
		uint64_t frames = 0, stored = 0, bytes;
		const struct layout_tail *t;
		struct dev *d;
		struct image *i;
		struct err e;

		if (k == 0)
			format_source_init(&s, 500 * 4096 + 9, 4096, 64 * 4096, 3);
		else
			many_bad_blocks(&s);
		d = format_write_log(&s, NULL);
		i = open_log_image(d);
		t = &image_facts(i)->tail;
		for (uint64_t n = 0; n < t->chunks; n++) {
			const struct chunk *c;

			assert_fine(image_chunk(i, n, &c, &e), &e);
			for (uint32_t x = 0; x < c->count; x++)
				stored += c->entries[x].stored;
			frames += c->count;
			chunk_unref(i, c);
		}
		bytes = t->bad_range_bytes;
		assert_true(k == 0 || s.bad_count > 10000);
		format_spit(format_path("meta"), image_facts(i)->meta, image_facts(i)->meta_len);
		format_spit(format_path("meta.py"), script, sizeof(script) - 1);
		assert_int_equal(format_run("python3 '%s' '%s' '%.*s' %" PRIu64 " %" PRIu64
					    " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
					    " %" PRIu64 " %zu %" PRIu64,
					 format_path("meta.py"), format_path("meta"),
					 (int)s.head.text_len, s.head.text,
					 t->kind_bytes[ENTRY_DATA], t->kind_bytes[ENTRY_ZERO],
					 t->kind_bytes[ENTRY_FREE], t->kind_bytes[ENTRY_BAD],
					 t->chunks, frames, stored, s.bad_count, bytes),
			0);
		image_close(i);
		dev_close(d);
		format_source_fini(&s);
	}
}

/* ---- Limits ---- */

/*
 * More frames than the public format allows: no seek table, and nothing else is missing. The
 * counter is set so that the last record is the one too many.
 */
static void test_too_many_frames(void **state)
{
	struct format_source s;
	struct image_writer *w;
	uint8_t root[SHA256_BYTES], tail[TAIL_FRAME_BYTES];
	const uint8_t *body;
	struct layout_tail t;
	struct image *i;
	struct dev *d;
	struct err e;
	uint32_t n;

	(void)state;
	format_source_plain(&s, 8 * 4096, 4096, 4 * 4096, ENTRY_DATA);
	d = format_open(format_path("frames"), DEV_WRITE | DEV_CREATE);
	assert_fine(image_writer_new(d, &s.head, false, &w, &e), &e);
	assert_int_equal(w->seek_frames, 1);
	/* Twice CHNK, 4 frames and TABL; INDX, META, COPY, TAIL. */
	w->seek_frames = SEEK_MAX_FRAMES - 16 + 1;
	assert_fine(format_feed(w, &s, s.head.source_bytes, 1, &e), &e);
	assert_non_null(w->seek);
	assert_fine(image_writer_finish(w, root, &e), &e);
	assert_null(w->seek);
	assert_int_equal(w->seek_frames, SEEK_MAX_FRAMES + 1);
	image_writer_close(w);
	/* TAIL is the last record, and says so; a reader sees that there are not so many frames. */
	assert_fine(dev_read(d, dev_size(d) - sizeof(tail), tail, sizeof(tail), &e), &e);
	assert_fine(layout_record_open(tail, sizeof(tail), REC_TAIL, dev_size(d) - sizeof(tail),
			    s.head.uuid, &body, &n, &e),
		&e);
	assert_fine(layout_tail_decode(body, n, &t, &e), &e);
	assert_int_equal(t.seek_len, 0);
	assert_int_equal(t.file_len, dev_size(d));
	assert_error(image_open(d, &i, &e), ERR_DAMAGED, &e, "seek table length");
	dev_close(d);
	check_zstd(&s, "frames");
	format_source_fini(&s);
}

/* A seek table that does not fit into memory, and where it goes then. */
static void test_spooled(void **state)
{
	struct format_source s;
	struct image *i;
	struct dev *d;
	struct err e;

	(void)state;
	format_source_plain(&s, (uint64_t)700000 * 4096, 4096, (uint64_t)65536 * 4096, ENTRY_ZERO);
	for (uint32_t n = 0; n < s.blocks; n += 2)
		s.kinds[n] = ENTRY_FREE;
	free(s.bytes);
	s.bytes = NULL;
	d = format_write_log(&s, NULL);
	i = open_log_image(d);
	assert_true(image_facts(i)->tail.seek_len > 5600000);
	assert_fine(image_check_root(i, &e), &e);
	image_close(i);
	dev_close(d);
	format_source_fini(&s);
}

static void test_spool(void **state)
{
	const size_t n = 9 << 20;
	struct spool *s = spool_new();
	uint8_t *bytes = malloc(n), *back = malloc(n);
	uint32_t rnd = 3;
	size_t at = 0;
	struct err e;

	(void)state;
	format_noise(bytes, n, &rnd);
	while (at < n) {
		size_t len = min_u64(n - at, 1 + format_random(&rnd) % 100000);

		assert_fine(spool_append(s, bytes + at, len, &e), &e);
		at += len;
		assert_int_equal(spool_len(s), at);
	}
	assert_fine(spool_read(s, 0, back, n, &e), &e);
	assert_memory_equal(back, bytes, n);
	for (int k = 0; k < 200; k++) {
		size_t off = format_random(&rnd) % n, len = format_random(&rnd) % (n - off);

		assert_fine(spool_read(s, off, back, len, &e), &e);
		assert_memory_equal(back, bytes + off, len);
	}
	assert_error(spool_read(s, n - 1, back, 2, &e), ERR_INTERNAL, &e, "past the end");
	spool_free(s);
	spool_free(NULL);
	/* It says so when there is no room for it. */
	s = spool_new();
	setenv("TMPDIR", "/nonexistent", 1);
	assert_fine(spool_append(s, bytes, 4 << 20 >> 1, &e), &e);
	assert_error(spool_append(s, bytes, 4 << 20, &e), ERR_TARGET, &e, "/nonexistent");
	unsetenv("TMPDIR");
	spool_free(s);
	free(bytes);
	free(back);
}

/* 4 TiB of free space with a block here and there, in little memory. */
static void test_memory(void **state)
{
	const uint64_t chunk = 512 * MIB, size = 8192 * chunk;
	struct format_source s;
	struct image_writer *w;
	uint8_t root[SHA256_BYTES], hash[HASH_MAX_BYTES], *frame = malloc(block_bound(256 << 10));
	struct packer *p;
	struct rusage before, after;
	struct dev *d;
	struct err e;
	size_t stored;

	(void)state;
	format_source_plain(&s, 256 << 10, 256 << 10, 256 << 10, ENTRY_DATA);
	assert_fine(packer_new(&p, &e), &e);
	assert_fine(packer_pack(p, 3, s.bytes, 256 << 10, frame, block_bound(256 << 10), &stored,
			    &e),
		&e);
	hash_bytes(HASH_XXH3, s.bytes, 256 << 10, hash);
	s.head.source_bytes = size;
	s.head.chunk_bytes = chunk;
	unlink(format_path("big"));
	d = format_open(format_path("big"), DEV_WRITE | DEV_CREATE);
	getrusage(RUSAGE_SELF, &before);
	assert_fine(image_writer_new(d, &s.head, false, &w, &e), &e);
	for (uint64_t n = 0; n < 8192 / 16; n++) {
		assert_fine(image_writer_data(w, frame, stored, hash, &e), &e);
		assert_fine(image_writer_hole(w, ENTRY_FREE, 16 * 2048 - 1, &e), &e);
	}
	assert_fine(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	getrusage(RUSAGE_SELF, &after);
	dev_close(d);
	/* KiB. Buffers of the appender and the spool, and 400 KB of INDX. */
	assert_true(after.ru_maxrss - before.ru_maxrss < 24 << 10);
	assert_int_equal(format_run("rm '%s'", format_path("big")), 0);
	packer_free(p);
	free(frame);
	format_source_fini(&s);
}

/* ---- Misuse and failures ---- */

/* A new writer of a small source in chunks of 8 blocks. */
static struct image_writer *new_writer(struct format_source *s, struct dev **d)
{
	struct image_writer *w;
	struct err e;

	format_source_plain(s, 32 * 4096, 4096, 8 * 4096, ENTRY_ZERO);
	*d = format_open_log(8 * MIB);
	assert_fine(image_writer_new(*d, &s->head, false, &w, &e), &e);
	return w;
}

/* The writer refuses, and goes on refusing, with the same words. */
static void check_misuse(int (*misuse)(struct image_writer *w, struct err *e), int code,
	const char *part)
{
	struct format_source s;
	struct dev *d;
	struct image_writer *w = new_writer(&s, &d);
	uint8_t root[SHA256_BYTES];
	struct err e;

	assert_error(misuse(w, &e), code, &e, part);
	assert_error(image_writer_hole(w, ENTRY_ZERO, 1, &e), code, &e, part);
	assert_error(image_writer_finish(w, root, &e), code, &e, part);
	assert_error(image_writer_stop(w, &e), code, &e, part);
	image_writer_close(w);
	dev_close(d);
	format_source_fini(&s);
}

static int finish_early(struct image_writer *w, struct err *e)
{
	uint8_t root[SHA256_BYTES];

	assert_fine(image_writer_hole(w, ENTRY_ZERO, 31, e), e);
	return image_writer_finish(w, root, e);
}

static int too_many_blocks(struct image_writer *w, struct err *e)
{
	return image_writer_hole(w, ENTRY_ZERO, 33, e);
}

static int too_much_data(struct image_writer *w, struct err *e)
{
	uint8_t hash[16] = { 1 };

	assert_fine(image_writer_hole(w, ENTRY_ZERO, 32, e), e);
	return image_writer_data(w, hash, 10, hash, e);
}

static int hole_of_data(struct image_writer *w, struct err *e)
{
	return image_writer_hole(w, ENTRY_DATA, 1, e);
}

static int empty_frame(struct image_writer *w, struct err *e)
{
	uint8_t hash[16] = { 1 };

	return image_writer_data(w, hash, 0, hash, e);
}

static int long_frame(struct image_writer *w, struct err *e)
{
	static uint8_t frame[80000];

	return image_writer_data(w, frame, block_bound(4096) + 1, frame, e);
}

static int bad_behind(struct image_writer *w, struct err *e)
{
	assert_fine(image_writer_hole(w, ENTRY_ZERO, 2, e), e);
	return image_writer_bad(w, 4096, 512, e);
}

static int bad_next_chunk(struct image_writer *w, struct err *e)
{
	return image_writer_bad(w, 8 * 4096 - 512, 1024, e);
}

static int bad_empty(struct image_writer *w, struct err *e)
{
	return image_writer_bad(w, 0, 0, e);
}

static int bad_backwards(struct image_writer *w, struct err *e)
{
	assert_fine(image_writer_bad(w, 4096, 512, e), e);
	return image_writer_bad(w, 4096 + 511, 512, e);
}

static int bad_uncovered(struct image_writer *w, struct err *e)
{
	assert_fine(image_writer_bad(w, 0, 4096, e), e);
	assert_fine(image_writer_hole(w, ENTRY_BAD, 2, e), e);
	return image_writer_hole(w, ENTRY_ZERO, 6, e);
}

static int bad_in_zeros(struct image_writer *w, struct err *e)
{
	assert_fine(image_writer_bad(w, 4096, 512, e), e);
	return image_writer_hole(w, ENTRY_ZERO, 8, e);
}

static void test_misuse(void **state)
{
	(void)state;
	check_misuse(finish_early, ERR_INTERNAL, "are missing");
	check_misuse(too_many_blocks, ERR_INTERNAL, "more blocks");
	check_misuse(too_much_data, ERR_INTERNAL, "more blocks");
	check_misuse(hole_of_data, ERR_INTERNAL, "kind");
	check_misuse(empty_frame, ERR_INTERNAL, "a frame of 0 bytes");
	check_misuse(long_frame, ERR_INTERNAL, "a frame of");
	check_misuse(bad_behind, ERR_INTERNAL, "bad range at 4096");
	check_misuse(bad_next_chunk, ERR_INTERNAL, "bad range at");
	check_misuse(bad_empty, ERR_INTERNAL, "bad range at 0");
	check_misuse(bad_backwards, ERR_INTERNAL, "ascend");
	check_misuse(bad_uncovered, ERR_INTERNAL, "not covered");
	check_misuse(bad_in_zeros, ERR_INTERNAL, "a hole in a bad range");
}

/* Ranges that touch become one; over the limit the chunk is refused, not written wrong. */
static void test_bad_ranges(void **state)
{
	struct format_source s;
	struct dev *d;
	struct image_writer *w = new_writer(&s, &d);
	struct image_totals t;
	const struct chunk *c;
	uint8_t root[SHA256_BYTES];
	struct image *i;
	struct err e;

	(void)state;
	for (uint64_t off = 0; off < 2 * 4096; off += 512)
		assert_fine(image_writer_bad(w, off, 512, &e), &e);
	assert_fine(image_writer_bad(w, 3 * 4096, 4096, &e), &e);
	image_writer_totals(w, &t);
	assert_int_equal(t.bad_range_count, 2);
	assert_int_equal(t.bad_range_bytes, 12288);
	assert_fine(image_writer_hole(w, ENTRY_BAD, 2, &e), &e);
	assert_fine(image_writer_hole(w, ENTRY_ZERO, 1, &e), &e);
	assert_fine(image_writer_hole(w, ENTRY_BAD, 1, &e), &e);
	assert_fine(image_writer_hole(w, ENTRY_ZERO, 28, &e), &e);
	assert_fine(image_writer_finish(w, root, &e), &e);
	image_writer_totals(w, &t);
	assert_int_equal(t.kind_bytes[ENTRY_BAD], 12288);
	assert_int_equal(t.kind_bytes[ENTRY_ZERO], 29 * 4096);
	assert_int_equal(t.bad_range_count, 2);
	assert_int_equal(t.file_bytes, dev_size(d));
	assert_int_equal(t.committed_bytes, dev_size(d));
	assert_int_equal(t.chunks, 4);
	image_writer_close(w);
	i = open_log_image(d);
	assert_fine(image_chunk(i, 0, &c, &e), &e);
	assert_int_equal(c->bad_count, 2);
	assert_int_equal(c->bad[0].len, 8192);
	assert_int_equal(c->bad[1].off, 3 * 4096);
	chunk_unref(i, c);
	image_close(i);
	dev_close(d);

	s.head.source_bytes = 65538 * 4096;
	s.head.chunk_bytes = 65536 * 4096;
	d = format_open_log(8 * MIB);
	assert_fine(image_writer_new(d, &s.head, false, &w, &e), &e);
	for (uint64_t n = 0; n < 65536; n++)
		assert_fine(image_writer_bad(w, n * 1024, 512, &e), &e);
	assert_error(image_writer_bad(w, 65536 * 1024, 512, &e), ERR_SOURCE, &e,
		"65536 bad ranges");
	image_writer_close(w);
	dev_close(d);
	format_source_fini(&s);
}

static void test_bad_heads(void **state)
{
	static const char *texts[] = { "", "{", "[]", "{} ", "x{}", "{\0}" };
	struct format_source s;
	struct image_writer *w;
	struct dev *d;
	struct err e;

	(void)state;
	format_source_plain(&s, 4096, 4096, 4096, ENTRY_ZERO);
	d = format_open_log(8 * MIB);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		s.head.text = texts[i];
		s.head.text_len = i == 5 ? 3 : (uint32_t)strlen(texts[i]);
		assert_error(image_writer_new(d, &s.head, false, &w, &e), ERR_USAGE, &e,
			"JSON object");
		assert_null(w);
	}
	s.head.text = "{}";
	s.head.text_len = 2;
	s.head.block_bytes = 100;
	assert_error(image_writer_new(d, &s.head, false, &w, &e), ERR_USAGE, &e, "block size");
	assert_non_null(strstr(e.msg, dev_name(d)));
	assert_int_equal(dev_size(d), 0);
	dev_close(d);
	format_source_fini(&s);
}

/* The n-th write or flush fails, for every n: the writer says so, and never that all is well. */
static void test_failing_target(void **state)
{
	static const enum fault_op ops[] = { FAULT_WRITE, FAULT_FLUSH };
	struct format_source s;

	(void)state;
	format_source_init(&s, 800 * 4096, 4096, 32 * 4096, 5);
	for (size_t k = 0; k < COUNT_OF(ops); k++) {
		int rc = -1;

		for (uint64_t n = 1; rc != 0; n++) {
			const struct fault_rule rule = { .op = ops[k],
				.action = FAULT_FAIL,
				.nth = n,
				.sys = ENOSPC };
			const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
			struct dev *d = format_open_log(8 * MIB), *fault;
			struct image_writer *w;
			uint8_t root[SHA256_BYTES];
			struct image *i;
			struct err e;

			assert_fine(dev_open_fault(d, &plan, &fault, &e), &e);
			assert_fine(image_writer_new(fault, &s.head, false, &w, &e), &e);
			rc = format_feed(w, &s, s.head.source_bytes, 1, &e);
			if (rc == 0)
				rc = image_writer_finish(w, root, &e);
			if (rc != 0) {
				assert_int_equal(rc, -ERR_TARGET);
				assert_int_equal(image_writer_finish(w, root, &e), -ERR_TARGET);
			}
			image_writer_close(w);
			dev_close(fault);
			if (rc == 0) {
				assert_fine(image_open(d, &i, &e), &e);
				image_close(i);
			}
			dev_close(d);
			assert_true(n < 50);
		}
	}
	format_source_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_same_bytes),
		cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_hole_runs),
		cmocka_unit_test(test_seek_table),
		cmocka_unit_test(test_meta),
		cmocka_unit_test(test_too_many_frames),
		cmocka_unit_test(test_spooled),
		cmocka_unit_test(test_spool),
		cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_bad_ranges),
		cmocka_unit_test(test_bad_heads),
		cmocka_unit_test(test_failing_target),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
