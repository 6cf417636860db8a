/*
 * Resuming: what is on the file is trusted only as far as it was checked.
 *
 * (1) HEAD must be whole, and what the caller wants to write; a file that is no image is left
 * alone. (2) The last table that holds is searched from the end of the file down (resume_find.c).
 * From it,     CHNK by CHNK, the links lead to chunk 0, and give every chunk its place.
 * (3) From chunk 0 on each table is read once, whole, and accounted for, as when it was written.
 * The     frames of those chunks that may not have been durable are checked against it.
 * (4) At the first chunk that does not hold, or behind the last one, the file is cut. What stays is
 *     made durable before anything is appended: the next resume will not look at it again.
 */
#include <inttypes.h>

#include "codec/block.h"
#include "format/image_int.h"
#include "format/resume_find.h"
#include "format/writer.h"
#include "format/writer_int.h"

#define PIECE_BYTES (16 * KIB)

struct resume {
	struct dev *out;
	struct record head;
	struct layout_head found; /* what the file was begun with */
	struct resume_chain chain;
	struct unpacker *unpacker;
	uint8_t *frame, *plain;
};

/* ---- (1) HEAD ---- */

/* Nothing but zeros? A file system may leave that of a run before its first commit. */
static int is_blank(struct dev *out, bool *blank, struct err *e)
{
	const uint64_t size = dev_size(out);
	uint8_t *piece = malloc(MIB);
	uint64_t off = 0;
	int rc = piece == NULL ? err_nomem(e) : 0;

	*blank = true;
	while (rc == 0 && *blank && off < size) {
		size_t n = (size_t)min_u64(MIB, size - off);

		rc = dev_read(out, off, piece, n, e);
		if (rc == 0)
			*blank = mem_is_zero(piece, n);
		off += n;
	}
	free(piece);
	return rc;
}

/* How the file begins: like HEAD, as far as it goes; and does it end before HEAD does? */
static int look_at_start(struct dev *out, bool *like_head, bool *cut, struct err *e)
{
	static const uint8_t magic[4] = { 0x5D, 0x2A, 0x4D, 0x18 };
	const uint64_t size = dev_size(out);
	uint8_t p[RECORD_HEAD_BYTES] = { 0 };
	size_t n = (size_t)min_u64(size, sizeof(p)), len;
	int rc = dev_read(out, 0, p, n, e);

	if (rc < 0)
		return rc;
	*like_head = memcmp(p, magic, min_u64(n, 4)) == 0 &&
		(n <= 8 || memcmp(p + 8, "IMGTHEAD", min_u64(n - 8, 8)) == 0);
	*cut = n < sizeof(p) ||
		(layout_record_peek(p, REC_HEAD, 0, NULL, &len, NULL) == 0 && size < len);
	return 0;
}

/* HEAD is not whole, for the reason in *why. 0: the file may be begun anew. */
static int refuse_foreign(struct dev *out, const struct err *why, struct err *e)
{
	bool like_head = false, cut = false, blank = false;
	int rc = look_at_start(out, &like_head, &cut, e);

	if (rc < 0 || (like_head && cut))
		return rc;
	if (like_head)
		return err_set(e, ERR_DAMAGED, 0, "resume %s: it is left as it is: %s",
			dev_name(out), why->msg);
	rc = is_blank(out, &blank, e);
	if (rc == 0 && !blank)
		rc = err_set(e, ERR_FORMAT, 0,
			"resume %s: it is no imgtool image, and is left as it is", dev_name(out));
	return rc;
}

/* 1: HEAD is there, in r->head and r->found. 0: the file may be begun anew. */
static int find_head(struct resume *r, struct err *e)
{
	struct err why;
	int rc = record_read(r->out, REC_HEAD, 0, NULL, &r->head, &why);

	if (rc == -ERR_DAMAGED)
		return refuse_foreign(r->out, &why, e);
	if (rc < 0) {
		*e = why;
		return rc;
	}
	rc = layout_head_decode(r->head.body, r->head.body_len, &r->found, e);
	if (rc == 0 && memcmp(r->head.frame + 24, r->found.uuid, 8) != 0)
		rc = err_set(e, ERR_DAMAGED, 0, "HEAD: bad run");
	return rc < 0 ? err_prefix(e, "resume %s", dev_name(r->out)) : 1;
}

static int differs(const struct resume *r, const char *field, uint64_t is, uint64_t was,
	struct err *e)
{
	return err_set(e, ERR_REFUSED, 0,
		"resume %s: %s: it was begun with %" PRIu64 ", and is %" PRIu64 " now",
		dev_name(r->out), field, was, is);
}

static int differs_bytes(const struct resume *r, const char *field, struct err *e)
{
	return err_set(e, ERR_REFUSED, 0, "resume %s: %s: it was begun with another one",
		dev_name(r->out), field);
}

/* All of HEAD but for the run's own: UUID, time, text. */
static int compare(const struct resume *r, const struct layout_head *want, struct err *e)
{
	const struct layout_head *was = &r->found;
	const struct {
		const char *field;
		uint64_t is, was;
	} numbers[] = {
		{ "major version", want->major, was->major },
		{ "minor version", want->minor, was->minor },
		{ "incompat", want->incompat, was->incompat },
		{ "ro_compat", want->ro_compat, was->ro_compat },
		{ "compat", want->compat, was->compat },
		{ "source size", want->source_bytes, was->source_bytes },
		{ "chunk size", want->chunk_bytes, was->chunk_bytes },
		{ "block size", want->block_bytes, was->block_bytes },
		{ "logical sector size", want->logical_bytes, was->logical_bytes },
		{ "physical sector size", want->physical_bytes, was->physical_bytes },
		{ "hash", want->hash, was->hash },
	};

	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		if (numbers[i].is != numbers[i].was)
			return differs(r, numbers[i].field, numbers[i].is, numbers[i].was, e);
	if (memcmp(want->map_digest, was->map_digest, sizeof(was->map_digest)) != 0)
		return differs_bytes(r, "map digest", e);
	if (memcmp(want->parent_uuid, was->parent_uuid, sizeof(was->parent_uuid)) != 0)
		return differs_bytes(r, "parent UUID", e);
	if (memcmp(want->parent_root, was->parent_root, sizeof(was->parent_root)) != 0)
		return differs_bytes(r, "parent root hash", e);
	return 0;
}

static int refuse_complete(const struct resume *r, struct err *e)
{
	struct layout_tail tail;
	struct err why;
	uint64_t pos;
	int rc = image_find_tail(r->out, r->found.uuid, &tail, &pos, &why);

	if (rc == 0)
		return err_set(e, ERR_REFUSED, 0, "resume %s: the image is already complete",
			dev_name(r->out));
	if (rc == -ERR_DAMAGED)
		return 0;
	*e = why;
	return rc;
}

/* ---- (3) Chunks ---- */

static int check_hole(const struct resume *r, uint64_t pos, uint64_t len, struct err *e)
{
	uint8_t is[PIECE_BYTES], want[PIECE_BYTES];
	size_t from = 0, n;

	while ((n = hole_bytes(len, from, want, sizeof(want))) > 0) {
		int rc = dev_read(r->out, pos + from, is, n, e);

		if (rc < 0)
			return rc;
		if (memcmp(is, want, n) != 0)
			return err_set(e, ERR_DAMAGED, 0, "hole frame at %" PRIu64, pos);
		from += n;
	}
	return 0;
}

static int check_data(const struct resume *r, uint64_t pos, const struct layout_entry *x,
	uint64_t len, struct err *e)
{
	uint8_t hash[HASH_MAX_BYTES];
	int rc = dev_read(r->out, pos, r->frame, x->stored, e);

	if (rc == 0)
		rc = unpacker_unpack(r->unpacker, r->frame, x->stored, r->plain, (size_t)len, e);
	if (rc < 0)
		return rc;
	hash_bytes(r->found.hash, r->plain, (size_t)len, hash);
	if (memcmp(hash, x->hash, hash_len(r->found.hash)) != 0)
		return err_set(e, ERR_DAMAGED, 0, "block frame at %" PRIu64 ": bad hash", pos);
	return 0;
}

/* The table lies inside the file, and its frames before it: all positions are good to read. */
static int check_frames(const struct resume *r, const struct writer_table *x, struct err *e)
{
	uint64_t off = x->t.off, pos = x->chunk_pos + CHNK_FRAME_BYTES;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < x->t.entries; i++) {
		const struct layout_entry entry = layout_entry_at(&x->t, i);
		uint64_t len = min_u64((uint64_t)entry.blocks * r->found.block_bytes,
			x->t.off + x->t.len - off);

		if (entry.kind == ENTRY_DATA)
			rc = check_data(r, pos, &entry, len, e);
		else
			rc = check_hole(r, pos, len, e);
		off += len;
		pos += entry.stored;
	}
	return rc;
}

/* Remember the first data block of a chunk now and then, spread over all of them. */
static void take_sample(const struct resume *r, struct image_writer *w, const struct layout_tabl *t)
{
	uint64_t off = t->off;

	if (w->sample_count >= IMAGE_SAMPLES || t->bad_ranges > 0 ||
		t->number < w->sample_count * r->chain.count / IMAGE_SAMPLES)
		return;
	for (uint32_t i = 0; i < t->entries; i++) {
		const struct layout_entry x = layout_entry_at(t, i);
		uint64_t len =
			min_u64((uint64_t)x.blocks * r->found.block_bytes, t->off + t->len - off);

		if (x.kind == ENTRY_DATA) {
			struct image_sample *s = &w->samples[w->sample_count++];

			s->off = off;
			s->len = (size_t)len;
			memcpy(s->hash, x.hash, hash_len(r->found.hash));
			return;
		}
		off += len;
	}
}

/* Read and check the chunk of this number, and account for it. ERR_DAMAGED: it does not hold. */
static int take_chunk(struct resume *r, struct image_writer *w, uint64_t number, bool frames,
	struct err *e)
{
	const struct resume_place *p = &r->chain.places[number];
	struct writer_table x = { .chunk_pos = p->chunk_pos, .table_pos = p->table_pos };
	struct record table;
	int rc = record_read_exact(r->out, REC_TABL, p->table_pos, p->table_len, r->found.uuid,
		&table, e);

	if (rc < 0)
		return rc;
	x.frame = table.frame;
	x.frame_len = table.len;
	rc = layout_tabl_decode(table.body, table.body_len, &r->found, &x.t, e);
	if (rc == 0 &&
		(x.t.number != number ||
			x.t.stored_len != p->table_pos - p->chunk_pos - CHNK_FRAME_BYTES))
		rc = err_set(e, ERR_DAMAGED, 0, "TABL: bad chunk number or stored length");
	if (rc == 0 && frames)
		rc = check_frames(r, &x, e);
	if (rc == 0)
		rc = writer_take_table(w, &x, e);
	if (rc == 0)
		take_sample(r, w, &x.t);
	record_free(&table);
	return rc;
}

/*
 * The first chunk that a crash may have left without some of its frames (specification, section
 * 10). Two commits can have been lost. Each is of chunks that have less than COMMIT_BYTES
 * together, and one more of any length; how they lay is not known. So the chunks from `n` on may
 * be those of two commits when, without the two longest, they have less than twice COMMIT_BYTES.
 */
static uint64_t first_uncertain(const struct resume_chain *c)
{
	uint64_t sum = 0, longest = 0, second = 0, n = c->count;

	while (n > 0) {
		const struct resume_place *p = &c->places[n - 1];
		uint64_t len = p->table_pos + p->table_len - p->chunk_pos;

		sum += len;
		if (len > longest) {
			second = longest;
			longest = len;
		} else if (len > second) {
			second = len;
		}
		if (sum - longest - second >= 2 * COMMIT_BYTES)
			break;
		n--;
	}
	return n;
}

/* *end gets the file offset at which the image goes on. */
static int take_chunks(struct resume *r, struct image_writer *w, uint64_t *end, struct err *e)
{
	const uint64_t uncertain = first_uncertain(&r->chain);
	struct err why;
	int rc;

	*end = r->head.len;
	for (uint64_t n = 0; n < r->chain.count; n++) {
		const struct resume_place *p = &r->chain.places[n];

		rc = take_chunk(r, w, n, n >= uncertain, &why);
		/* It and all behind it are made anew. */
		if (rc == -ERR_DAMAGED)
			break;
		if (rc < 0) {
			*e = why;
			return rc;
		}
		*end = p->table_pos + p->table_len;
	}
	return 0;
}

/* ---- All of it ---- */

static int alloc_buffers(struct resume *r, struct err *e)
{
	r->frame = malloc(block_bound(r->found.block_bytes));
	r->plain = malloc(r->found.block_bytes);
	if (r->frame == NULL || r->plain == NULL)
		return err_nomem(e);
	return unpacker_new(&r->unpacker, e);
}

static int go_on(struct resume *r, bool write_through, struct image_writer **out_w, struct err *e)
{
	struct image_writer *w = NULL;
	uint64_t end = 0;
	int rc = writer_alloc(r->out, &r->found, &w, e);

	/* The file's head was found wanting, not the caller's. */
	if (rc == -ERR_USAGE) {
		e->code = ERR_DAMAGED;
		rc = err_prefix(e, "resume %s", dev_name(r->out));
	}
	if (rc == 0)
		rc = alloc_buffers(r, e);
	if (rc == 0)
		rc = resume_find_chunks(r->out, &r->found, r->head.len, &r->chain, e);
	if (rc == 0)
		rc = writer_take_head(w, r->head.frame, r->head.len, e);
	if (rc == 0)
		rc = take_chunks(r, w, &end, e);
	if (rc == 0)
		rc = dev_set_size(r->out, end, e);
	if (rc == 0)
		rc = dev_flush(r->out, true, e);
	if (rc == 0)
		rc = writer_start(w, end, write_through, e);
	if (rc < 0)
		image_writer_close(w);
	else
		*out_w = w;
	return rc;
}

static int begin_anew(struct dev *out, const struct layout_head *head, bool write_through,
	struct image_writer **w, struct err *e)
{
	int rc = dev_set_size(out, 0, e);

	return rc < 0 ? rc : image_writer_new(out, head, write_through, w, e);
}

int image_writer_resume(struct dev *out, struct layout_head *head, bool write_through,
	struct image_writer **w, struct err *e)
{
	struct resume r = { .out = out };
	struct err mine;
	int rc;

	*w = NULL;
	if (e == NULL)
		e = &mine;
	if (!dev_info(out)->writable || !dev_info(out)->can_grow)
		return err_set(e, ERR_USAGE, 0, "resume %s: it is not a file open for writing",
			dev_name(out));
	rc = find_head(&r, e);
	if (rc == 0) {
		rc = begin_anew(out, head, write_through, w, e);
	} else if (rc > 0) {
		rc = compare(&r, head, e);
		if (rc == 0)
			rc = refuse_complete(&r, e);
		if (rc == 0)
			rc = go_on(&r, write_through, w, e);
	}
	if (rc == 0) {
		memcpy(head->uuid, (*w)->head.uuid, sizeof(head->uuid));
		head->created_s = (*w)->head.created_s;
		head->text = (*w)->head.text;
		head->text_len = (*w)->head.text_len;
	}
	record_free(&r.head);
	free(r.chain.places);
	unpacker_free(r.unpacker);
	free(r.frame);
	free(r.plain);
	return rc;
}
