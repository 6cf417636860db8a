/*
 * Resuming. The one promise: whatever is left of a file, the image that comes out is byte for byte
 * the one of an uninterrupted run, or the file is refused and left as it is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/block.h"
#include "device/dev_fault.h"
#include "format_helper.h"

#define HEAD_BYTES 4096 /* of the images here: HEAD is padded to one unit */

static int setup(void **state)
{
	(void)state;
	format_mkdir();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	format_rmdir();
	return 0;
}

/* An image and what it is made of. */
struct whole {
	struct format_source s;
	uint8_t *bytes;
	size_t len;
	uint8_t root[SHA256_BYTES];
};

static void whole_load(struct whole *x)
{
	struct dev *d = format_write_log(&x->s, x->root);

	x->len = dev_size(d);
	x->bytes = malloc(x->len);
	assert_non_null(x->bytes);
	memcpy(x->bytes, format_log_bytes(d), x->len);
	dev_close(d);
}

static void whole_init(struct whole *x, uint64_t size, uint32_t block, uint64_t chunk,
	uint32_t seed)
{
	format_source_init(&x->s, size, block, chunk, seed);
	whole_load(x);
}

static void whole_fini(struct whole *x)
{
	format_source_fini(&x->s);
	free(x->bytes);
}

/* Where records begin: their signature at position + 8, and their own position in them. */
static size_t borders(const struct whole *x, uint64_t *at, size_t max)
{
	size_t n = 0;

	for (size_t i = 8; i + 16 <= x->len && n < max; i++)
		if (memcmp(x->bytes + i, "IMGT", 4) == 0 && get_le64(x->bytes + i + 8) == i - 8)
			at[n++] = i - 8;
	return n;
}

/* The head that a second run would come with: another UUID and time, another text. */
static struct layout_head other_run(const struct whole *x)
{
	struct layout_head h = x->s.head;

	memset(h.uuid, 0x77, sizeof(h.uuid));
	h.created_s = 42;
	h.text = "{}";
	h.text_len = 2;
	return h;
}

static void assert_whole(const struct whole *x, struct dev *d, const char *what, uint64_t cut)
{
	uint8_t *piece = malloc(MIB);
	struct err e;

	assert_non_null(piece);
	if (dev_size(d) != x->len)
		fail_msg("%s, cut at %" PRIu64 ": %" PRIu64 " bytes, not %zu", what, cut,
			dev_size(d), x->len);
	for (size_t off = 0; off < x->len; off += MIB) {
		size_t n = min_u64(MIB, x->len - off);

		assert_fine(dev_read(d, off, piece, n, &e), &e);
		if (memcmp(piece, x->bytes + off, n) != 0)
			fail_msg("%s, cut at %" PRIu64 ": other bytes from %zu on", what, cut, off);
	}
	free(piece);
}

/* Resume the file and write the rest. */
static int resume_and_finish(const struct whole *x, struct dev *out, uint32_t seed, uint64_t *from,
	struct err *e)
{
	struct layout_head h = other_run(x);
	struct image_writer *w;
	uint8_t root[SHA256_BYTES];
	int rc = image_writer_resume(out, &h, false, &w, e);

	if (rc == 0) {
		*from = image_writer_offset(w);
		/* A file without a whole HEAD is begun with the caller's. */
		if (h.created_s == x->s.head.created_s) {
			assert_memory_equal(h.uuid, x->s.head.uuid, sizeof(h.uuid));
			assert_int_equal(h.text_len, x->s.head.text_len);
			assert_memory_equal(h.text, x->s.head.text, h.text_len);
		}
		assert_fine(format_feed(w, &x->s, x->s.head.source_bytes, seed, e), e);
		assert_fine(image_writer_finish(w, root, e), e);
		if (h.created_s == x->s.head.created_s)
			assert_memory_equal(root, x->root, sizeof(root));
		image_writer_close(w);
	}
	return rc;
}

/* Where a file of the first `cut` bytes goes on: behind the last chunk whose table is whole. */
static uint64_t goes_on_at(const struct whole *x, size_t cut)
{
	uint64_t at[512], chunks = 0;
	size_t n = borders(x, at, COUNT_OF(at));

	for (size_t i = 0; i < n; i++)
		if (memcmp(x->bytes + at[i] + 12, "TABL", 4) == 0 &&
			at[i] + 8 + get_le32(x->bytes + at[i] + 4) <= cut)
			chunks++;
	return min_u64(chunks * x->s.head.chunk_bytes, x->s.head.source_bytes);
}

/* A file with the first `cut` bytes of the image, and `extra` others behind them. */
static struct dev *open_cut(const struct whole *x, size_t cut, const void *extra, size_t extra_len)
{
	struct dev *d = format_open_log(2 * x->len + 65536);
	struct err e;

	assert_fine(dev_write(d, 0, x->bytes, cut, &e), &e);
	assert_fine(dev_write(d, cut, extra, extra_len, &e), &e);
	return d;
}

/* Resume that, finish it, and compare it with the whole image. */
static void check_whole(const struct whole *x, size_t cut, const void *extra, size_t extra_len,
	uint32_t seed, const char *what)
{
	struct dev *d = open_cut(x, cut, extra, extra_len);
	struct err e;
	uint64_t from;

	assert_fine(resume_and_finish(x, d, seed, &from, &e), &e);
	assert_int_equal(from, goes_on_at(x, cut));
	assert_whole(x, d, what, cut);
	dev_close(d);
}

static void check_cut(const struct whole *x, size_t cut, uint32_t seed)
{
	struct dev *d = open_cut(x, cut, NULL, 0);
	struct err e;
	uint64_t from = 0;
	int rc = resume_and_finish(x, d, seed, &from, &e);

	if (cut == x->len) {
		assert_error(rc, ERR_REFUSED, &e, "already complete");
		assert_whole(x, d, "complete", cut);
	} else if (cut < HEAD_BYTES) {
		/* Begun anew, with the head of this run. */
		assert_fine(rc, &e);
		assert_int_equal(from, 0);
	} else {
		assert_fine(rc, &e);
		assert_int_equal(from, goes_on_at(x, cut));
		assert_whole(x, d, "cut", cut);
	}
	dev_close(d);
}

static void check_garbage(const struct whole *x, size_t cut, uint32_t seed)
{
	static uint8_t noise[3 * 4096 + 17];
	uint32_t state = seed + 1;

	format_noise(noise, sizeof(noise), &state);
	check_whole(x, cut, noise, sizeof(noise), seed, "noise behind it");
	memset(noise, 0, sizeof(noise));
	check_whole(x, cut, noise, sizeof(noise), seed, "zeros behind it");
	/* Records of this very image, at places where they do not belong. */
	check_whole(x, cut, x->bytes, x->len, seed, "a copy behind it");
}

static const struct {
	uint64_t size;
	uint32_t block;
	uint64_t chunk;
} shapes[] = {
	{ 61 * 4096 + 100, 4096, 8 * 4096 },
	{ 20 * 4096, 4096, 4096 },
	{ 12 * 4096 + 4095, 4096, 64 * 4096 },
	{ 9 * 65536 + 3, 65536, 2 * 65536 },
	{ 0, 4096, 4096 },
};

static void test_every_border(void **state)
{
	uint64_t at[512];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		struct whole x;
		size_t n;

		whole_init(&x, shapes[i].size, shapes[i].block, shapes[i].chunk, (uint32_t)i + 5);
		n = borders(&x, at, COUNT_OF(at) - 1);
		assert_true(n >= 4);
		at[n++] = x.len;
		for (size_t k = 0; k < n; k++) {
			for (int d = -1; d <= 1; d++) {
				if ((at[k] == 0 && d < 0) || at[k] + (uint64_t)d > x.len)
					continue;
				check_cut(&x, at[k] + (uint64_t)d, (uint32_t)k);
				if (at[k] + (uint64_t)d >= HEAD_BYTES &&
					at[k] + (uint64_t)d < x.len && d >= 0)
					check_garbage(&x, at[k] + (uint64_t)d, (uint32_t)k);
			}
		}
		whole_fini(&x);
	}
}

static void test_random_cuts(void **state)
{
	uint32_t rnd = 99;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		struct whole x;

		whole_init(&x, shapes[i].size, shapes[i].block, shapes[i].chunk, (uint32_t)i + 50);
		for (int k = 0; k < 40; k++)
			check_cut(&x, format_random(&rnd) % x.len, rnd);
		for (int k = 0; k < 20; k++)
			check_garbage(&x, HEAD_BYTES + format_random(&rnd) % (x.len - HEAD_BYTES),
				rnd);
		whole_fini(&x);
	}
}

/*
 * Some bits of a zstd frame do not matter for what comes out of it: then the flipped one stays, and
 * the image is good. Any other difference is a failure.
 */
static void assert_whole_but(const struct whole *x, struct dev *d, size_t bit, uint64_t cut)
{
	struct image *i;
	struct dev *plain;
	struct err e;
	uint8_t byte, *bytes = malloc(x->s.head.source_bytes);

	assert_fine(dev_read(d, bit / 8, &byte, 1, &e), &e);
	if (byte == x->bytes[bit / 8]) {
		assert_whole(x, d, "a flipped bit", cut);
		free(bytes);
		return;
	}
	assert_fine(image_open(d, &i, &e), &e);
	assert_fine(image_check_root(i, &e), &e);
	assert_fine(image_dev(i, 0, &plain, &e), &e);
	assert_fine(dev_read(plain, 0, bytes, x->s.head.source_bytes, &e), &e);
	assert_memory_equal(bytes, x->s.bytes, x->s.head.source_bytes);
	dev_close(plain);
	image_close(i);
	byte ^= (uint8_t)(1 << bit % 8);
	assert_fine(dev_write(d, bit / 8, &byte, 1, &e), &e);
	assert_whole(x, d, "more than a flipped bit", cut);
	free(bytes);
}

/* A flipped bit anywhere behind HEAD, at any cut: found, and made good. */
static void test_flipped_bits(void **state)
{
	uint32_t rnd = 7;
	struct whole x = { 0 };
	int kept = 0;

	(void)state;
	format_source_init(&x.s, shapes[0].size, shapes[0].block, shapes[0].chunk, 3);
	/* So that all of it can be read back. */
	for (uint32_t i = 0; i < x.s.blocks; i++)
		x.s.kinds[i] = x.s.kinds[i] == ENTRY_BAD ? ENTRY_FREE : x.s.kinds[i];
	x.s.bad_count = 0;
	whole_load(&x);
	for (int k = 0; k < 800; k++) {
		size_t cut = HEAD_BYTES + 1 + format_random(&rnd) % (x.len - HEAD_BYTES - 1);
		size_t bit = HEAD_BYTES * 8 + format_random(&rnd) % ((cut - HEAD_BYTES) * 8);
		struct dev *d = open_cut(&x, cut, NULL, 0);
		uint8_t byte = x.bytes[bit / 8] ^ (uint8_t)(1 << bit % 8);
		struct err e;
		uint64_t from;

		assert_fine(dev_write(d, bit / 8, &byte, 1, &e), &e);
		assert_fine(resume_and_finish(&x, d, rnd, &from, &e), &e);
		assert_fine(dev_read(d, bit / 8, &byte, 1, &e), &e);
		kept += byte != x.bytes[bit / 8];
		assert_whole_but(&x, d, bit, cut);
		dev_close(d);
	}
	print_message("# %d of 800 bits did not matter\n", kept);
	assert_true(kept < 20);
	whole_fini(&x);
}

/* Interrupted again and again: by stop, by closing, by a cut. */
static void test_many_interruptions(void **state)
{
	uint32_t rnd = 1234;

	(void)state;
	for (int round = 0; round < 16; round++) {
		const size_t shape = (size_t)round % 4;
		struct whole x;
		struct dev *d;
		struct err e;
		uint64_t from;

		whole_init(&x, shapes[shape].size, shapes[shape].block, shapes[shape].chunk, rnd);
		d = open_cut(&x, HEAD_BYTES, NULL, 0);
		for (int k = 0; k < 6; k++) {
			struct layout_head h = other_run(&x);
			struct image_writer *w;
			uint64_t size = x.s.head.source_bytes, end, cut;

			assert_fine(image_writer_resume(d, &h, k % 2 == 0, &w, &e), &e);
			from = image_writer_offset(w);
			end = from +
				align_down(format_random(&rnd) % (size / 3), x.s.head.block_bytes);
			assert_fine(format_feed(w, &x.s, min_u64(end, size), rnd, &e), &e);
			if (k % 3 == 0)
				assert_fine(image_writer_stop(w, &e), &e);
			image_writer_close(w);
			cut = dev_size(d) - format_random(&rnd) % (dev_size(d) / 2);
			if (k % 3 == 1)
				assert_fine(dev_set_size(d, max_u64(HEAD_BYTES, cut), &e), &e);
		}
		assert_fine(resume_and_finish(&x, d, rnd, &from, &e), &e);
		assert_whole(&x, d, "many interruptions", from);
		dev_close(d);
		whole_fini(&x);
	}
}

/* What stop leaves ends with a whole chunk, and is where resume goes on. A real file here. */
static void test_stop(void **state)
{
	const char *path = format_path("stopped");
	struct image_totals t;
	struct image_writer *w;
	struct dev *out;
	struct whole x;
	struct err e;
	uint64_t from;

	(void)state;
	whole_init(&x, shapes[0].size, shapes[0].block, shapes[0].chunk, 8);
	out = format_open(path, DEV_WRITE | DEV_CREATE);
	assert_fine(image_writer_new(out, &x.s.head, false, &w, &e), &e);
	assert_fine(format_feed(w, &x.s, 3 * x.s.head.chunk_bytes + 2 * 4096, 1, &e), &e);
	assert_fine(image_writer_stop(w, &e), &e);
	image_writer_totals(w, &t);
	assert_int_equal(t.chunks, 3);
	assert_error(image_writer_hole(w, ENTRY_ZERO, 1, &e), ERR_INTERNAL, &e, "finished");
	image_writer_close(w);
	dev_close(out);
	out = format_open(path, DEV_WRITE);
	assert_int_equal(dev_size(out) % 4096, 0);
	assert_memory_equal(x.bytes + dev_size(out) + 8, "IMGTCHNK", 8);
	assert_fine(resume_and_finish(&x, out, 1, &from, &e), &e);
	assert_int_equal(from, 3 * x.s.head.chunk_bytes);
	assert_whole(&x, out, "stopped", from);
	dev_close(out);
	whole_fini(&x);
}

/* ---- Refusals ---- */

/* Refused, and not a byte of it is changed. */
static void check_refused(const struct whole *x, size_t cut, const struct layout_head *h, int code,
	const char *part)
{
	struct dev *d = open_cut(x, cut, NULL, 0);
	struct layout_head head = *h;
	struct image_writer *w;
	struct err e;

	assert_error(image_writer_resume(d, &head, false, &w, &e), code, &e, part);
	assert_null(w);
	assert_int_equal(dev_size(d), cut);
	assert_memory_equal(format_log_bytes(d), x->bytes, cut);
	dev_close(d);
}

static void test_another_head(void **state)
{
	struct layout_head h;
	struct whole x;

	(void)state;
	whole_init(&x, shapes[0].size, shapes[0].block, shapes[0].chunk, 9);
#define REFUSED(change, part)                                                                      \
	do {                                                                                       \
		h = other_run(&x);                                                                 \
		change;                                                                            \
		check_refused(&x, x.len / 2, &h, ERR_REFUSED, part);                               \
	} while (0)
	REFUSED(h.source_bytes += 512, "source size");
	REFUSED(h.chunk_bytes *= 2, "chunk size");
	REFUSED(h.block_bytes *= 2, "block size");
	REFUSED(h.logical_bytes = 4096, "logical sector size");
	REFUSED(h.physical_bytes = 512, "physical sector size");
	REFUSED(h.hash = HASH_SHA256, "hash");
	REFUSED(h.map_digest[15] ^= 1, "map digest");
	REFUSED(h.parent_uuid[0] ^= 1, "parent UUID");
	REFUSED(h.parent_root[31] ^= 1, "parent root hash");
	REFUSED(h.minor = 1, "minor version");
	REFUSED(h.compat = 1, "compat");
#undef REFUSED
	whole_fini(&x);
}

/* A file begun by a later version: its HEAD is resealed with other feature bits. */
static void test_other_features(void **state)
{
	struct layout_head h;
	struct whole x;
	uint8_t *body;

	(void)state;
	whole_init(&x, shapes[0].size, shapes[0].block, shapes[0].chunk, 10);
	body = x.bytes + RECORD_HEAD_BYTES;
	h = other_run(&x);
	body[16] = 1;
	h.ro_compat = 1;
	layout_record_seal(x.bytes, REC_HEAD, 0, x.s.head.uuid, get_le32(x.bytes + 32));
	check_refused(&x, x.len / 2, &h, ERR_FORMAT, "ro_compat");
	body[16] = 0;
	body[8] = 1;
	layout_record_seal(x.bytes, REC_HEAD, 0, x.s.head.uuid, get_le32(x.bytes + 32));
	check_refused(&x, x.len / 2, &h, ERR_FORMAT, "incompat");
	body[8] = 0;
	body[0] = 3;
	layout_record_seal(x.bytes, REC_HEAD, 0, x.s.head.uuid, get_le32(x.bytes + 32));
	check_refused(&x, x.len / 2, &h, ERR_FORMAT, "major version");
	whole_fini(&x);
}

/* Files that are no images stay as they are. */
static void test_foreign_files(void **state)
{
	static const char text[] = "Dear diary, this is not an image, and has been kept for years.";
	struct layout_head h;
	struct whole x;

	(void)state;
	whole_init(&x, shapes[0].size, shapes[0].block, shapes[0].chunk, 11);
	h = other_run(&x);
	/* An image with a damaged HEAD may be recovered; it is not to be begun anew. */
	x.bytes[100] ^= 1;
	check_refused(&x, x.len / 2, &h, ERR_DAMAGED, "left as it is");
	memset(x.bytes, 0, HEAD_BYTES);
	check_refused(&x, x.len / 2, &h, ERR_FORMAT, "no imgtool image");
	memcpy(x.bytes, text, sizeof(text));
	check_refused(&x, sizeof(text), &h, ERR_FORMAT, "no imgtool image");
	check_refused(&x, 3, &h, ERR_FORMAT, "no imgtool image");
	whole_fini(&x);
}

/* Nothing but zeros: what a file system may leave of a run that did not get to its first commit. */
static void test_blank_files(void **state)
{
	struct whole x;
	struct err e;

	(void)state;
	whole_init(&x, shapes[0].size, shapes[0].block, shapes[0].chunk, 12);
	for (uint64_t size = 0; size < 20000; size += 9999) {
		struct layout_head h = x.s.head;
		struct dev *d = open_cut(&x, 0, NULL, 0);
		struct image_writer *w;
		uint8_t root[SHA256_BYTES];

		assert_fine(dev_set_size(d, size, &e), &e);
		assert_fine(image_writer_resume(d, &h, false, &w, &e), &e);
		assert_fine(format_feed(w, &x.s, x.s.head.source_bytes, 1, &e), &e);
		assert_fine(image_writer_finish(w, root, &e), &e);
		image_writer_close(w);
		assert_whole(&x, d, "blank", size);
		dev_close(d);
	}
	whole_fini(&x);
}

/* What can't be cut can't be resumed. */
static void test_no_file(void **state)
{
	struct whole x;
	struct layout_head h;
	struct image_writer *w;
	struct dev *d;
	struct err e;

	(void)state;
	whole_init(&x, shapes[0].size, shapes[0].block, shapes[0].chunk, 13);
	h = other_run(&x);
	assert_fine(dev_open_mem(x.bytes, x.len / 2, &d, &e), &e);
	assert_error(image_writer_resume(d, &h, false, &w, &e), ERR_USAGE, &e, "not a file");
	dev_close(d);
	whole_fini(&x);
}

/* ---- Contradictions under good checksums ---- */

/* The n-th record of a type. */
static uint64_t record_at(const struct whole *x, const char *type, size_t n)
{
	uint64_t at[256];
	size_t count = borders(x, at, COUNT_OF(at));

	for (size_t i = 0; i < count; i++)
		if (memcmp(x->bytes + at[i] + 12, type, 4) == 0 && n-- == 0)
			return at[i];
	fail_msg("there is no such %s", type);
	return 0;
}

/* Resume what was changed and sealed anew; it must go on at the start of a chunk, not behind it. */
static void check_goes_on(struct whole *x, enum record_type type, uint64_t at, uint64_t chunk)
{
	struct layout_head h = other_run(x);
	struct image_writer *w;
	struct dev *d;
	struct err e;

	layout_record_seal(x->bytes + at, type, at, x->s.head.uuid, get_le32(x->bytes + at + 32));
	d = open_cut(x, record_at(x, "INDX", 0), NULL, 0);
	assert_fine(image_writer_resume(d, &h, false, &w, &e), &e);
	assert_int_equal(image_writer_offset(w), chunk * x->s.head.chunk_bytes);
	image_writer_close(w);
	dev_close(d);
}

static void test_contradictions(void **state)
{
	struct whole x = { 0 };
	uint8_t *body, was[40];
	uint64_t at, table;

	(void)state;
	format_source_plain(&x.s, 32 * 4096, 4096, 8 * 4096, ENTRY_DATA);
	whole_load(&x);
	/* A frame that is good, and has not the hash that the table gives. */
	table = record_at(&x, "TABL", 2);
	body = x.bytes + table + RECORD_HEAD_BYTES;
	body[TABL_FIXED_BYTES + 3 * 28 + ENTRY_FIXED_BYTES + 5] ^= 1;
	check_goes_on(&x, REC_TABL, table, 2);
	body[TABL_FIXED_BYTES + 3 * 28 + ENTRY_FIXED_BYTES + 5] ^= 1;
	check_goes_on(&x, REC_TABL, table, 4);
	/* CHNK of another chunk; CHNK with another table before it. */
	at = record_at(&x, "CHNK", 2);
	body = x.bytes + at + RECORD_HEAD_BYTES;
	memcpy(was, body, sizeof(was));
	put_le64(body, 1);
	put_le64(body + 8, 8 * 4096);
	check_goes_on(&x, REC_CHNK, at, 2);
	memcpy(body, was, sizeof(was));
	put_le64(body + 24, get_le64(body + 24) - 4096);
	put_le32(body + 32, get_le32(body + 32) + 4096);
	check_goes_on(&x, REC_CHNK, at, 2);
	memcpy(body, was, sizeof(was));
	put_le32(body + 32, get_le32(body + 32) - 1);
	check_goes_on(&x, REC_CHNK, at, 2);
	memcpy(body, was, sizeof(was));
	check_goes_on(&x, REC_CHNK, at, 4);
	whole_fini(&x);
}

static void check_found(const struct whole *x)
{
	struct layout_head h = other_run(x);
	struct image_writer *w;
	struct dev *d = open_cut(x, record_at(x, "INDX", 0), NULL, 0);
	struct err e;

	assert_fine(image_writer_resume(d, &h, false, &w, &e), &e);
	assert_int_equal(image_writer_offset(w), x->s.head.source_bytes);
	image_writer_close(w);
	dev_close(d);
}

/* A table whose signature lies across the border of what is searched at once, in every way. */
static void test_search_border(void **state)
{
	const uint64_t border = 4 * MIB;
	uint64_t extra = 0;

	(void)state;
	for (int k = 0; k < 22; k++) {
		struct whole x = { 0 };
		uint64_t at;

		/* One chunk of noise; the last block is short, and decides where the table
		 * begins. */
		for (;;) {
			uint32_t rnd = 7;

			format_source_plain(&x.s, 1019 * 4096 + 1900 + extra, 4096, 4096 * 4096,
				ENTRY_DATA);
			x.s.level = 1;
			format_noise(x.s.bytes, x.s.head.source_bytes, &rnd);
			whole_load(&x);
			at = record_at(&x, "TABL", 0);
			if (at == border - 18 + (uint64_t)k)
				break;
			assert_true(at < border - 18 + (uint64_t)k);
			extra += border - 18 + (uint64_t)k - at;
			whole_fini(&x);
		}
		check_found(&x);
		whole_fini(&x);
	}
}

/* ---- What is read ---- */

/* Chunks of noise and tiny ones, so that there is more than two commits' worth of file. */
#define BIG_CHUNK (2 * MIB)
#define BIG_CHUNKS 84

static bool is_tiny(uint64_t chunk)
{
	return chunk >= 20 && chunk < 30;
}

static void big_source(struct format_source *s)
{
	uint32_t state = 5;

	format_source_plain(s, BIG_CHUNKS * BIG_CHUNK, 1 << 20, BIG_CHUNK, ENTRY_ZERO);
	s->level = -7;
	for (uint64_t n = 0; n < BIG_CHUNKS; n++) {
		if (is_tiny(n))
			continue;
		format_noise(s->bytes + n * BIG_CHUNK, BIG_CHUNK, &state);
		memset(s->kinds + n * (BIG_CHUNK >> 20), ENTRY_DATA, BIG_CHUNK >> 20);
	}
}

/* The file offsets at which chunks begin, from INDX; [BIG_CHUNKS] is where the last one ends. */
static void chunk_places(const struct whole *x, uint64_t *at)
{
	uint64_t places[256];
	size_t n = borders(x, places, COUNT_OF(places)), chunks = 0;

	for (size_t i = 0; i < n; i++) {
		if (memcmp(x->bytes + places[i] + 12, "CHNK", 4) == 0)
			at[chunks++] = places[i];
		if (memcmp(x->bytes + places[i] + 12, "INDX", 4) == 0)
			at[chunks] = places[i];
	}
	assert_int_equal(chunks, BIG_CHUNKS);
}

/*
 * The rule of the specification, section 10, counted from the end: chunks that have less than 128
 * MiB together without the two longest of them.
 */
static uint64_t first_checked(const uint64_t *at)
{
	uint64_t n = BIG_CHUNKS;

	while (n > 0) {
		uint64_t longest = 0, second = 0;

		for (uint64_t i = n - 1; i < BIG_CHUNKS; i++) {
			uint64_t len = at[i + 1] - at[i];

			if (len > longest) {
				second = longest;
				longest = len;
			} else if (len > second) {
				second = len;
			}
		}
		if (at[BIG_CHUNKS] - at[n - 1] - longest - second >= 128 * MIB)
			break;
		n--;
	}
	return n;
}

static void check_reads(struct dev *d, const uint64_t *at, uint64_t first)
{
	uint64_t reads = 0, bytes = 0;

	for (size_t i = 0; i < format_log_count(d); i++) {
		struct format_note r = format_log_at(d, i);

		if (r.op != FORMAT_READ || r.off < HEAD_BYTES || r.off + r.len > at[first])
			continue;
		reads++;
		bytes += r.len;
	}
	/* CHNK, and the start of TABL; later all of TABL. */
	assert_int_equal(reads, 3 * first);
	/* A table here is padded to less than 8 KiB. */
	assert_true(bytes <= first * (96 + 80 + 8192));
}

/* Old chunks: each table is read, and no frame; all others are checked. */
static void test_old_chunks(void **state)
{
	static uint64_t at[BIG_CHUNKS + 1];
	struct whole x = { 0 };
	struct layout_head h;
	struct image_writer *w;
	struct dev *d;
	struct err e;
	uint64_t first;

	(void)state;
	big_source(&x.s);
	whole_load(&x);
	chunk_places(&x, at);
	first = first_checked(at);
	assert_true(first > 5 && first < 20);

	/* Good: all chunks stay. */
	d = format_open_log(x.len);
	assert_fine(dev_write(d, 0, x.bytes, at[BIG_CHUNKS], &e), &e);
	h = other_run(&x);
	assert_fine(image_writer_resume(d, &h, false, &w, &e), &e);
	assert_int_equal(image_writer_offset(w), x.s.head.source_bytes);
	image_writer_close(w);
	check_reads(d, at, first);
	/* What stays is made durable: the next resume takes it for certain. */
	assert_int_equal(format_log_at(d, format_log_count(d) - 1).op, FORMAT_FLUSH);

	/* A bit of a frame of a chunk, old and new ones in turn. */
	for (uint64_t n = first - 2; n < BIG_CHUNKS; n += n <= first ? 1 : 19) {
		uint8_t flip = x.bytes[at[n] + 120] ^ 1;

		assert_fine(dev_write(d, 0, x.bytes, at[BIG_CHUNKS], &e), &e);
		assert_fine(dev_write(d, at[n] + 120, &flip, 1, &e), &e);
		h = other_run(&x);
		assert_fine(image_writer_resume(d, &h, false, &w, &e), &e);
		assert_int_equal(image_writer_offset(w),
			n < first ? x.s.head.source_bytes : n * BIG_CHUNK);
		assert_int_equal(dev_size(d), n < first ? at[BIG_CHUNKS] : at[n]);
		image_writer_close(w);
	}
	dev_close(d);
	whole_fini(&x);
}

/*
 * A power cut at a point in time: a write is there when it ended before a flush began that has
 * ended by then; any other that has begun is there, or not, or one half of it, by chance.
 */
static void check_power_cut(const struct whole *x, struct dev *log, uint64_t now, uint32_t seed)
{
	struct dev *out = format_open_log(x->len + MIB);
	uint64_t flushed = 0, from;
	uint32_t rnd = seed | 1;
	struct err e;

	for (size_t i = 0; i < format_log_count(log); i++) {
		struct format_note n = format_log_at(log, i);

		if (n.op == FORMAT_FLUSH && n.end <= now)
			flushed = max_u64(flushed, n.begin);
	}
	for (size_t i = 0; i < format_log_count(log); i++) {
		struct format_note n = format_log_at(log, i);
		uint32_t luck = n.end < flushed ? 3 : format_random(&rnd) % 4;

		if (n.op != FORMAT_WRITE || n.begin > now || luck == 0)
			continue;
		if (luck == 1)
			n.len /= 2;
		assert_fine(dev_write(out, n.off, format_log_bytes(log) + n.off, n.len, &e), &e);
	}
	assert_fine(resume_and_finish(x, out, seed, &from, &e), &e);
	assert_whole(x, out, "power cut", now);
	dev_close(out);
}

static void test_power_cuts(void **state)
{
	struct whole x = { 0 };
	struct image_writer *w;
	uint8_t root[SHA256_BYTES];
	struct dev *log;
	struct err e;
	uint32_t rnd = 31;
	uint64_t first = 0, last = 0;
	size_t flushes = 0;

	(void)state;
	big_source(&x.s);
	whole_load(&x);
	log = format_open_log(x.len + MIB);
	assert_fine(image_writer_new(log, &x.s.head, false, &w, &e), &e);
	assert_fine(format_feed(w, &x.s, x.s.head.source_bytes, 1, &e), &e);
	assert_fine(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	for (size_t i = 0; i < format_log_count(log); i++) {
		struct format_note n = format_log_at(log, i);

		last = n.op == FORMAT_WRITE ? n.begin : last;
		if (n.op == FORMAT_FLUSH && flushes++ == 0)
			first = n.end;
	}
	/* A commit for each 64 MiB, and the end. */
	assert_int_equal(flushes, 1 + 74 * BIG_CHUNK / (64 * MIB));
	for (int k = 0; k < 4; k++)
		check_power_cut(&x, log, first + format_random(&rnd) % (last - first), rnd);
	dev_close(log);
	whole_fini(&x);
}

/* The n-th write tears, and nothing works after it: for every n until the image is written. */
static void test_torn_writes(void **state)
{
	struct whole x;
	uint64_t from;
	bool done = false;

	(void)state;
	whole_init(&x, 600 * 4096, 4096, 32 * 4096, 21);
	for (uint64_t n = 1; !done; n++) {
		const struct fault_rule rule = { .op = FAULT_WRITE,
			.action = FAULT_TEAR,
			.nth = n };
		const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
		struct image_writer *w;
		uint8_t root[SHA256_BYTES];
		struct dev *out, *fault;
		struct err e;
		int rc;

		out = open_cut(&x, 0, NULL, 0);
		assert_fine(dev_open_fault(out, &plan, &fault, &e), &e);
		rc = image_writer_new(fault, &x.s.head, false, &w, &e);
		if (rc == 0)
			rc = format_feed(w, &x.s, x.s.head.source_bytes, 1, &e);
		if (rc == 0)
			rc = image_writer_finish(w, root, &e);
		done = rc == 0;
		image_writer_close(w);
		dev_close(fault);
		if (!done)
			assert_fine(resume_and_finish(&x, out, 3, &from, &e), &e);
		assert_whole(&x, out, "torn write", n);
		dev_close(out);
		assert_true(n < 100);
	}
	whole_fini(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_border),
		cmocka_unit_test(test_random_cuts),
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_many_interruptions),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_another_head),
		cmocka_unit_test(test_other_features),
		cmocka_unit_test(test_foreign_files),
		cmocka_unit_test(test_blank_files),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_search_border),
		cmocka_unit_test(test_old_chunks),
		cmocka_unit_test(test_power_cuts),
		cmocka_unit_test(test_torn_writes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
