/*
 * image: what a reader must refuse. Images are made in memory, damaged in one place each, and read
 * to the last byte; what was damaged under a good checksum is sealed anew.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/block.h"
#include "device/dev_fault.h"
#include "format_helper.h"

/* An image in memory, and where its parts are. */
struct sample {
	struct format_source s;
	uint8_t *bytes;
	size_t len;
	struct layout_tail tail;
	uint64_t tail_pos;
	uint64_t chunk_pos[64], table_pos[64], table_len[64];
};

static void sample_init(struct sample *x, uint64_t size, uint32_t block, uint64_t chunk,
	uint32_t seed)
{
	struct image *i;
	struct dev *d;
	struct err e;
	const uint8_t *indx;

	memset(x, 0, sizeof(*x));
	format_source_init(&x->s, size, block, chunk, seed);
	d = format_write_log(&x->s, NULL);
	x->len = dev_size(d);
	x->bytes = malloc(x->len);
	assert_non_null(x->bytes);
	memcpy(x->bytes, format_log_bytes(d), x->len);
	assert_fine(image_open(d, &i, &e), &e);
	x->tail = image_facts(i)->tail;
	image_close(i);
	dev_close(d);
	x->tail_pos = x->tail.seek_pos - TAIL_FRAME_BYTES;
	indx = x->bytes + x->tail.indx_pos + RECORD_HEAD_BYTES + INDX_FIXED_BYTES;
	for (uint64_t n = 0; n < x->tail.chunks && n < 64; n++) {
		x->chunk_pos[n] = get_le64(indx + n * 48);
		x->table_pos[n] = get_le64(indx + n * 48 + 8);
		x->table_len[n] = get_le32(indx + n * 48 + 16);
	}
}

static void sample_fini(struct sample *x)
{
	format_source_fini(&x->s);
	free(x->bytes);
}

static int check_hole(const struct image *i, const struct chunk_entry *x, struct err *e)
{
	uint8_t *is = malloc(x->stored), *want = malloc(x->stored);
	int rc = dev_read(image_file(i), x->file_off, is, x->stored, e);

	hole_bytes(x->len, 0, want, x->stored);
	if (rc == 0 && memcmp(is, want, x->stored) != 0)
		rc = err_set(e, ERR_DAMAGED, 0, "hole");
	free(is);
	free(want);
	return rc;
}

/* Everything that a reader can look at. Bytes that come out must be those of the source. */
static int read_all(const struct format_source *s, struct dev *d, struct err *e)
{
	uint8_t *frame = malloc(block_bound(s->head.block_bytes));
	uint8_t *plain = malloc(s->head.block_bytes);
	struct image *i = NULL;
	struct unpacker *u;
	int rc = image_open(d, &i, e);

	assert_fine(unpacker_new(&u, NULL), (struct err *)NULL);
	if (rc == 0)
		rc = image_check_root(i, e);
	for (uint64_t n = 0; rc == 0 && n < image_facts(i)->chunks; n++) {
		const struct chunk *c;

		rc = image_chunk(i, n, &c, e);
		for (uint32_t k = 0; rc == 0 && k < c->count; k++) {
			const struct chunk_entry *x = &c->entries[k];

			if (x->kind != ENTRY_DATA) {
				rc = check_hole(i, x, e);
				continue;
			}
			rc = dev_read(d, x->file_off, frame, x->stored, e);
			if (rc == 0)
				rc = image_unpack(i, u, x, frame, plain, e);
			if (rc == 0)
				assert_memory_equal(plain, s->bytes + x->off, x->len);
		}
		chunk_unref(i, c);
	}
	image_close(i);
	unpacker_free(u);
	free(frame);
	free(plain);
	return rc;
}

static int read_bytes(const struct sample *x, size_t len, struct err *e)
{
	struct dev *d;
	int rc;

	assert_fine(dev_open_mem(x->bytes, len, &d, e), e);
	rc = read_all(&x->s, d, e);
	dev_close(d);
	return rc;
}

static void refused(const struct sample *x, int code, const char *part)
{
	struct err e;

	assert_error(read_bytes(x, x->len, &e), code, &e, part);
}

/* Each record anew, as if it had been written so. */
static void reseal(struct sample *x, enum record_type type, uint64_t pos)
{
	layout_record_seal(x->bytes + pos, type, pos, x->s.head.uuid,
		get_le32(x->bytes + pos + 32));
}

/* ---- Damage ---- */

/*
 * One bit of every byte of the file: found, but where it changes nothing that comes out of a zstd
 * frame. This is the promise that no byte is unchecked.
 */
static void test_every_byte(void **state)
{
	struct sample x;
	struct dev *d;
	struct err e;
	size_t unnoticed = 0;

	(void)state;
	sample_init(&x, 8 * 4096 + 123, 4096, 5 * 4096, 3);
	assert_fine(read_bytes(&x, x.len, &e), &e);
	assert_fine(dev_open_mem(x.bytes, x.len, &d, &e), &e);
	for (size_t at = 0; at < x.len; at++) {
		uint8_t byte = x.bytes[at] ^ (uint8_t)(1 << at % 8);
		int rc;

		assert_fine(dev_write(d, at, &byte, 1, &e), &e);
		rc = read_all(&x.s, d, &e);
		assert_fine(dev_write(d, at, &x.bytes[at], 1, NULL), &e);
		if (rc == 0)
			unnoticed++;
		else if (rc != -ERR_DAMAGED && rc != -ERR_FORMAT)
			fail_msg("at %zu: %s", at, e.msg);
		/* read_all compares what comes out; only bits of data frames may do nothing. */
		if (rc == 0 && (at < x.chunk_pos[0] || at >= x.tail.indx_pos))
			fail_msg("a flipped bit at %zu was not noticed", at);
		for (uint64_t n = 0; rc == 0 && n < x.tail.chunks; n++)
			if ((at >= x.chunk_pos[n] && at < x.chunk_pos[n] + CHNK_FRAME_BYTES) ||
				(at >= x.table_pos[n] && at < x.table_pos[n] + x.table_len[n]))
				fail_msg("a flipped bit at %zu was not noticed", at);
	}
	print_message("# %zu of %zu bits did not matter\n", unnoticed, x.len);
	assert_true(unnoticed < x.len / 100);
	dev_close(d);
	sample_fini(&x);
}

static void test_every_length(void **state)
{
	struct sample x;

	(void)state;
	sample_init(&x, 20 * 4096, 4096, 8 * 4096, 4);
	for (size_t len = 0; len < x.len; len += len < 5000 || len + 3000 > x.len ? 1 : 97) {
		struct dev *d;
		struct image *i;
		struct err e;

		assert_fine(dev_open_mem(x.bytes, len, &d, &e), &e);
		assert_error(image_open(d, &i, &e), len < 40 ? ERR_FORMAT : ERR_DAMAGED, &e,
			len < 40 ? "not an imgtool image" : "");
		assert_null(i);
		dev_close(d);
	}
	sample_fini(&x);
}

static void test_longer(void **state)
{
	struct sample x;

	(void)state;
	sample_init(&x, 20 * 4096, 4096, 8 * 4096, 4);
	x.bytes = realloc(x.bytes, 3 * x.len);
	x.bytes[x.len] = 0;
	x.len++;
	refused(&x, ERR_DAMAGED, "incomplete");
	/* A second image behind it: its end would be found, but at the wrong place. */
	x.len--;
	memcpy(x.bytes + x.len, x.bytes, x.len);
	x.len *= 2;
	refused(&x, ERR_DAMAGED, "TAIL: bad position");
	sample_fini(&x);
}

/* ---- Contradictions under good checksums ---- */

static void test_not_an_image(void **state)
{
	struct sample x;

	(void)state;
	sample_init(&x, 5 * 4096, 4096, 4096, 5);
	x.bytes[0] ^= 1;
	refused(&x, ERR_FORMAT, "not an imgtool image");
	x.bytes[0] ^= 1;
	memcpy(x.bytes + 12, "INDX", 4);
	refused(&x, ERR_FORMAT, "not an imgtool image");
	sample_fini(&x);
}

static void test_head_and_tail(void **state)
{
	/* Offsets in TAIL's body; what is added to the field; who notices. */
	static const struct {
		size_t at;
		uint64_t add;
		const char *part;
	} changes[] = {
		{ 0, 1, "file length" },
		{ 8, 1, "INDX length" },
		{ 16, 4096, "HEAD length" },
		{ 24, 4096, "META position" },
		{ 72, 4096, "bytes by kind (their sum" },
		{ 120, 1, "root hash" },
		{ 104, 1, "bad range bytes (the tables" },
	};
	struct sample x;
	uint8_t *body;

	(void)state;
	sample_init(&x, 30 * 4096, 4096, 4 * 4096, 6);
	assert_true(x.tail.bad_range_bytes > 0);
	body = x.bytes + x.tail_pos + RECORD_HEAD_BYTES;
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		uint64_t was = get_le64(body + changes[i].at);

		put_le64(body + changes[i].at, was + changes[i].add);
		reseal(&x, REC_TAIL, x.tail_pos);
		refused(&x, ERR_DAMAGED, changes[i].part);
		put_le64(body + changes[i].at, was);
	}
	/* Data taken for zero. */
	put_le64(body + 72, get_le64(body + 72) - 4096);
	put_le64(body + 80, get_le64(body + 80) + 4096);
	reseal(&x, REC_TAIL, x.tail_pos);
	refused(&x, ERR_DAMAGED, "data bytes (INDX");
	put_le64(body + 72, get_le64(body + 72) + 4096);
	put_le64(body + 80, get_le64(body + 80) - 8192);
	put_le64(body + 88, get_le64(body + 88) + 4096);
	reseal(&x, REC_TAIL, x.tail_pos);
	refused(&x, ERR_DAMAGED, "bytes by kind (the tables");
	sample_fini(&x);
}

/* HEAD with another number of chunks than TAIL; with a run that is not its UUID's. */
static void test_head(void **state)
{
	struct sample x;
	uint8_t other[8] = { 9 };

	(void)state;
	sample_init(&x, 30 * 4096, 4096, 4 * 4096, 6);
	put_le64(x.bytes + RECORD_HEAD_BYTES + 56, 2 * 4096);
	reseal(&x, REC_HEAD, 0);
	refused(&x, ERR_DAMAGED, "TAIL: bad chunks");
	put_le64(x.bytes + RECORD_HEAD_BYTES + 56, 4 * 4096);
	put_le64(x.bytes + RECORD_HEAD_BYTES + 48, 30 * 4096 - 1);
	reseal(&x, REC_HEAD, 0);
	refused(&x, ERR_DAMAGED, "source size");
	put_le64(x.bytes + RECORD_HEAD_BYTES + 48, 30 * 4096);
	layout_record_seal(x.bytes, REC_HEAD, 0, other, get_le32(x.bytes + 32));
	refused(&x, ERR_DAMAGED, "HEAD: bad run");
	put_le64(x.bytes + RECORD_HEAD_BYTES + 8, 2);
	reseal(&x, REC_HEAD, 0);
	refused(&x, ERR_FORMAT, "incompat");
	put_le64(x.bytes + RECORD_HEAD_BYTES + 8, 0);
	put_le16(x.bytes + RECORD_HEAD_BYTES, 3);
	reseal(&x, REC_HEAD, 0);
	refused(&x, ERR_FORMAT, "major version");
	sample_fini(&x);
}

/* A table that is good in itself, but not the one that INDX knows. */
static void test_other_table(void **state)
{
	struct sample x, y;
	uint32_t first;
	uint8_t *indx;
	size_t n;

	(void)state;
	sample_init(&x, 30 * 4096, 4096, 4 * 4096, 6);
	sample_init(&y, 30 * 4096, 4096, 4 * 4096, 6);
	indx = x.bytes + x.tail.indx_pos + RECORD_HEAD_BYTES + INDX_FIXED_BYTES;
	for (n = 0; n < get_le32(x.bytes + x.table_pos[1] + RECORD_HEAD_BYTES + 32); n++) {
		uint8_t *p =
			x.bytes + x.table_pos[1] + RECORD_HEAD_BYTES + TABL_FIXED_BYTES + n * 28;

		if (p[0] == ENTRY_DATA)
			p[ENTRY_FIXED_BYTES] ^= 1;
	}
	reseal(&x, REC_TABL, x.table_pos[1]);
	refused(&x, ERR_DAMAGED, "checksum (INDX has another)");
	/* INDX knows it as well: then the root hash does not. */
	memcpy(indx + 48 + 32, x.bytes + x.table_pos[1] + x.table_len[1] - 16, 16);
	reseal(&x, REC_INDX, x.tail.indx_pos);
	refused(&x, ERR_DAMAGED, "root hash");
	sample_fini(&x);

	/* INDX with other numbers than the tables: those of two chunks exchanged. */
	indx = y.bytes + y.tail.indx_pos + RECORD_HEAD_BYTES + INDX_FIXED_BYTES;
	for (n = 1; get_le32(indx + n * 48 + 20) == get_le32(indx + 20); n++)
		assert_true(n < y.tail.chunks - 1);
	first = get_le32(indx + 20);
	put_le32(indx + 20, get_le32(indx + n * 48 + 20));
	put_le32(indx + n * 48 + 20, first);
	reseal(&y, REC_INDX, y.tail.indx_pos);
	refused(&y, ERR_DAMAGED, "number of entries (INDX");
	/* One more, so that there is another number of frames in the file. */
	put_le32(indx + 20, get_le32(indx + 20) % 4 + 1);
	reseal(&y, REC_INDX, y.tail.indx_pos);
	refused(&y, ERR_DAMAGED, "seek table length (INDX");
	sample_fini(&y);
}

/* CHNK, META's text, COPY and the seek table are checked with the root. */
static void test_chnk_meta_copy_seek(void **state)
{
	struct sample x;
	uint8_t *seek, *body;

	(void)state;
	sample_init(&x, 30 * 4096, 4096, 4 * 4096, 7);
	body = x.bytes + x.chunk_pos[2] + RECORD_HEAD_BYTES;
	put_le64(body + 24, get_le64(body + 24) + 4096);
	reseal(&x, REC_CHNK, x.chunk_pos[2]);
	refused(&x, ERR_DAMAGED, "CHNK: bad previous table");
	put_le64(body + 24, get_le64(body + 24) - 4096);
	reseal(&x, REC_CHNK, x.chunk_pos[2]);
	x.bytes[x.tail.meta_pos + RECORD_HEAD_BYTES + 13] ^= 1;
	reseal(&x, REC_META, x.tail.meta_pos);
	refused(&x, ERR_DAMAGED, "META: bad text");
	x.bytes[x.tail.meta_pos + RECORD_HEAD_BYTES + 13] ^= 1;
	reseal(&x, REC_META, x.tail.meta_pos);
	x.bytes[x.tail.copy_pos + RECORD_HEAD_BYTES + 80] ^= 1;
	reseal(&x, REC_COPY, x.tail.copy_pos);
	refused(&x, ERR_DAMAGED, "COPY: bad body");
	x.bytes[x.tail.copy_pos + RECORD_HEAD_BYTES + 80] ^= 1;
	reseal(&x, REC_COPY, x.tail.copy_pos);
	seek = x.bytes + x.tail.seek_pos;
	seek[8 + 8 * 3] ^= 1;
	refused(&x, ERR_DAMAGED, "seek table: bad entry");
	seek[8 + 8 * 3] ^= 1;
	seek[4] ^= 8;
	refused(&x, ERR_DAMAGED, "seek table: bad frame size");
	seek[4] ^= 8;
	/* One that is missing, with a TAIL that says so. */
	put_le64(x.bytes + x.tail_pos + RECORD_HEAD_BYTES + 64, 0);
	put_le64(x.bytes + x.tail_pos + RECORD_HEAD_BYTES, x.tail.seek_pos);
	reseal(&x, REC_TAIL, x.tail_pos);
	x.len = x.tail.seek_pos;
	refused(&x, ERR_DAMAGED, "TAIL: bad seek table length (INDX");
	sample_fini(&x);
}

/* A block whose frame is good but is another one's. */
static void test_swapped_frames(void **state)
{
	struct format_source s;
	struct image *i;
	struct dev *d;
	struct err e;
	const struct chunk *c;
	struct chunk_entry a;
	struct unpacker *u;
	uint8_t *plain = malloc(4096);
	char part[64];

	(void)state;
	format_source_plain(&s, 16 * 4096, 4096, 8 * 4096, ENTRY_DATA);
	d = format_write_log(&s, NULL);
	assert_fine(image_open(d, &i, &e), &e);
	assert_fine(unpacker_new(&u, &e), &e);
	assert_fine(image_chunk(i, 1, &c, &e), &e);
	a = c->entries[2];
	snprintf(part, sizeof(part), "source offset %d at file offset %" PRIu64, 10 * 4096,
		a.file_off);
	assert_fine(image_unpack(i, u, &a, format_log_bytes(d) + a.file_off, plain, &e), &e);
	assert_memory_equal(plain, s.bytes + 10 * 4096, 4096);
	a.stored = c->entries[3].stored;
	assert_error(image_unpack(i, u, &a, format_log_bytes(d) + c->entries[3].file_off, plain,
			     &e),
		ERR_DAMAGED, &e, part);
	assert_non_null(strstr(e.msg, "hash"));
	assert_non_null(strstr(e.msg, "log"));
	chunk_unref(i, c);
	unpacker_free(u);
	image_close(i);
	dev_close(d);
	free(plain);
	format_source_fini(&s);
}

/* ---- The file can't be read ---- */

static void test_read_errors(void **state)
{
	struct sample x;
	int rc = -1;

	(void)state;
	sample_init(&x, 20 * 4096, 4096, 4 * 4096, 8);
	for (uint64_t n = 1; rc != 0; n++) {
		const struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .nth = n };
		const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
		struct dev *d, *fault;
		struct err e;

		assert_fine(dev_open_mem(x.bytes, x.len, &d, &e), &e);
		assert_fine(dev_open_fault(d, &plan, &fault, &e), &e);
		rc = read_all(&x.s, fault, &e);
		if (rc != 0)
			assert_int_equal(rc, -ERR_SOURCE);
		dev_close(fault);
		dev_close(d);
		assert_true(n < 1000);
	}
	sample_fini(&x);
}

/* ---- Facts and look-ups ---- */

static void test_facts(void **state)
{
	struct sample x;
	struct image *i;
	struct dev *d;
	struct err e;
	const struct image_facts *f;

	(void)state;
	sample_init(&x, 20 * 4096, 4096, 4 * 4096, 8);
	assert_fine(dev_open_mem(x.bytes, x.len, &d, &e), &e);
	assert_fine(image_open(d, &i, &e), &e);
	f = image_facts(i);
	assert_ptr_equal(image_file(i), d);
	assert_int_equal(f->chunks, 5);
	assert_int_equal(f->head.text_len, x.s.head.text_len);
	assert_memory_equal(f->head.text, x.s.head.text, f->head.text_len);
	assert_int_equal(strlen(f->meta), f->meta_len);
	assert_non_null(strstr(f->meta, x.s.head.text));
	assert_int_equal(f->tail.file_len, x.len);
	image_close(i);
	image_close(NULL);
	dev_close(d);
	sample_fini(&x);
}

static void test_lookups(void **state)
{
	struct sample x;
	struct image *i;
	struct dev *d;
	struct err e;

	(void)state;
	sample_init(&x, 200 * 4096 + 99, 4096, 50 * 4096, 9);
	assert_fine(dev_open_mem(x.bytes, x.len, &d, &e), &e);
	assert_fine(image_open(d, &i, &e), &e);
	for (uint64_t n = 0; n < image_facts(i)->chunks; n++) {
		const struct chunk *c;

		assert_fine(image_chunk(i, n, &c, &e), &e);
		assert_int_equal(c->number, n);
		for (uint64_t off = c->off; off < c->off + c->len; off += 511) {
			const struct chunk_entry *at = &c->entries[chunk_find(c, off)];
			const struct bad_range *want = NULL;

			assert_true(at->off <= off && off < at->off + at->len);
			assert_int_equal(at->kind, x.s.kinds[off / 4096]);
			for (size_t k = 0; k < c->bad_count && want == NULL; k++)
				if (c->bad[k].off < off + 700 &&
					c->bad[k].off + c->bad[k].len > off)
					want = &c->bad[k];
			assert_ptr_equal(chunk_bad(c, off, 700), want);
		}
		chunk_unref(i, c);
	}
	chunk_unref(i, NULL);
	assert_error(image_chunk(i, 5, &(const struct chunk *){ NULL }, &e), ERR_INTERNAL, &e,
		"no chunk");
	image_close(i);
	dev_close(d);
	sample_fini(&x);
}

/* A table that is held or was just used is not read again. */
static void test_cache(void **state)
{
	struct format_source s;
	struct image *i;
	struct dev *d;
	struct err e;
	const struct chunk *c[8], *again;
	size_t reads;

	(void)state;
	format_source_plain(&s, 8 * 4 * 4096, 4096, 4 * 4096, ENTRY_DATA);
	d = format_write_log(&s, NULL);
	assert_fine(image_open(d, &i, &e), &e);
	for (uint64_t n = 0; n < 8; n++)
		assert_fine(image_chunk(i, n, &c[n], &e), &e);
	reads = format_log_count(d);
	for (uint64_t n = 0; n < 8; n++) {
		assert_fine(image_chunk(i, n, &again, &e), &e);
		assert_ptr_equal(again, c[n]);
		chunk_unref(i, again);
		chunk_unref(i, c[n]);
	}
	assert_fine(image_chunk(i, 3, &again, &e), &e);
	chunk_unref(i, again);
	assert_int_equal(format_log_count(d), reads);
	image_close(i);
	dev_close(d);
	format_source_fini(&s);
}

/* More tables than the cache has room for, from many threads, some held long. */
struct hammer {
	struct image *i;
	const struct format_source *s;
	uint32_t seed;
	int failed;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	uint32_t rnd = h->seed;
	const struct chunk *held = NULL;

	for (int k = 0; k < 60 && !h->failed; k++) {
		uint64_t n = format_random(&rnd) % image_facts(h->i)->chunks;
		const struct chunk *c;

		if (image_chunk(h->i, n, &c, NULL) < 0 || c->number != n ||
			c->entries[c->count - 1].off + c->entries[c->count - 1].len !=
				c->off + c->len) {
			h->failed = 1;
			break;
		}
		if (k % 7 == 0) {
			chunk_unref(h->i, held);
			held = c;
		} else {
			chunk_unref(h->i, c);
		}
	}
	chunk_unref(h->i, held);
	return NULL;
}

static void test_cache_threads(void **state)
{
	struct format_source s;
	struct hammer h[6];
	pthread_t threads[6];
	struct image *i;
	struct dev *d;
	struct err e;

	(void)state;
	/* 16 chunks of 32,768 entries, 2.4 MiB a table: free and zero in turn, so that none
	 * merge. */
	format_source_plain(&s, (uint64_t)16 * 32768 * 4096, 4096, (uint64_t)32768 * 4096,
		ENTRY_ZERO);
	for (uint32_t n = 0; n < s.blocks; n += 2)
		s.kinds[n] = ENTRY_FREE;
	free(s.bytes);
	s.bytes = NULL;
	d = format_write_log(&s, NULL);
	assert_fine(image_open(d, &i, &e), &e);
	for (uint32_t n = 0; n < COUNT_OF(h); n++) {
		h[n] = (struct hammer){ i, &s, n + 1, 0 };
		assert_int_equal(pthread_create(&threads[n], NULL, hammer, &h[n]), 0);
	}
	for (uint32_t n = 0; n < COUNT_OF(h); n++) {
		pthread_join(threads[n], NULL);
		assert_false(h[n].failed);
	}
	image_close(i);
	dev_close(d);
	format_source_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_longer),
		cmocka_unit_test(test_not_an_image),
		cmocka_unit_test(test_head_and_tail),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_other_table),
		cmocka_unit_test(test_chnk_meta_copy_seek),
		cmocka_unit_test(test_swapped_frames),
		cmocka_unit_test(test_read_errors),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_cache_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
