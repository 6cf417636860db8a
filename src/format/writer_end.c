/* The end of an image: INDX, META, TAIL and the seek table (specification, sections 3.4 to 6). */
#include <inttypes.h>
#include <stdio.h>

#include "format/writer_int.h"

#define SEEK_PIECE_BYTES (64 * KIB)

/* The whole of META's text but for the header, the bad ranges and the words between: at most
 * this. */
#define META_FIXED_BYTES 1024
/* "[4503599627370496,4503599627370496]," */
#define META_RANGE_BYTES 40

/* Seal, append and account for a record at the end. */
static int put_record(struct image_writer *w, uint8_t *frame, enum record_type type,
	uint32_t body_len, uint64_t *pos, uint64_t *len, struct err *e)
{
	int rc;

	*pos = appender_offset(w->ap);
	*len = layout_record_seal(frame, type, *pos, w->head.uuid, body_len);
	rc = appender_append(w->ap, frame, (size_t)*len, e);
	return rc < 0 ? rc : writer_take_frame(w, *len, 0, e);
}

static int put_indx(struct image_writer *w, struct layout_tail *t, struct err *e)
{
	put_le64(w->indx + RECORD_HEAD_BYTES, w->totals.chunks);
	return put_record(w, w->indx, REC_INDX,
		(uint32_t)(INDX_FIXED_BYTES + w->totals.chunks * INDX_ENTRY_BYTES), &t->indx_pos,
		&t->indx_len, e);
}

/* ---- META ---- */

struct text {
	char *p;
	size_t used, cap;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->p + t->used, t->cap - t->used, fmt, ap);
	va_end(ap);
	/* The buffer is made for the longest text; a cut one is seen by its length. */
	t->used = n < 0 || (size_t)n >= t->cap - t->used ? t->cap : t->used + (size_t)n;
}

static void add_result(const struct image_writer *w, struct text *t)
{
	const struct image_totals *n = &w->totals;

	add(t, ",\"result\":{\"data_bytes\":%" PRIu64 ",\"zero_bytes\":%" PRIu64,
		n->kind_bytes[ENTRY_DATA], n->kind_bytes[ENTRY_ZERO]);
	add(t, ",\"free_bytes\":%" PRIu64 ",\"bad_bytes\":%" PRIu64, n->kind_bytes[ENTRY_FREE],
		n->kind_bytes[ENTRY_BAD]);
	add(t, ",\"stored_bytes\":%" PRIu64 ",\"chunks\":%" PRIu64 ",\"frames\":%" PRIu64,
		n->stored_bytes, n->chunks, w->frames);
	add(t, ",\"bad_ranges\":[");
	for (uint32_t i = 0; i < w->meta_bad_count; i++)
		add(t, "%s[%" PRIu64 ",%" PRIu64 "]", i == 0 ? "" : ",", w->meta_bad[i].off,
			w->meta_bad[i].len);
	add(t, "],\"bad_range_count\":%" PRIu64 ",\"bad_range_bytes\":%" PRIu64 "}}",
		n->bad_range_count, n->bad_range_bytes);
}

/* A frame with META's body in it; free it. */
static int meta_frame(const struct image_writer *w, uint8_t **frame, uint32_t *body_len,
	struct err *e)
{
	static const char open[] = "{\"header\":";
	struct text t = { 0 };

	t.cap = META_FIXED_BYTES + w->head.text_len + META_RANGE_BYTES * (size_t)w->meta_bad_count;
	*frame = malloc(RECORD_OVERHEAD_BYTES + t.cap);
	if (*frame == NULL)
		return err_nomem(e);
	t.p = (char *)*frame + RECORD_HEAD_BYTES;
	memcpy(t.p, open, sizeof(open) - 1);
	memcpy(t.p + sizeof(open) - 1, w->head.text, w->head.text_len);
	t.used = sizeof(open) - 1 + w->head.text_len;
	add_result(w, &t);
	if (t.used >= t.cap || t.used > META_MAX_BODY_BYTES)
		return err_set(e, ERR_INTERNAL, 0, "write %s: META is too long", dev_name(w->out));
	*body_len = (uint32_t)t.used;
	return 0;
}

static int put_meta(struct image_writer *w, struct layout_tail *t, struct err *e)
{
	uint8_t *frame = NULL;
	uint32_t body_len = 0;
	int rc = meta_frame(w, &frame, &body_len, e);

	if (rc == 0)
		rc = put_record(w, frame, REC_META, body_len, &t->meta_pos, &t->meta_len, e);
	if (rc == 0)
		sha256_update(w->root, frame, (size_t)t->meta_len);
	free(frame);
	return rc;
}

/* HEAD once more: the start of a file is what a stray write hits first. */
static int put_copy(struct image_writer *w, struct layout_tail *t, struct err *e)
{
	uint8_t *frame = malloc(RECORD_OVERHEAD_BYTES + HEAD_FIXED_BYTES + w->head.text_len);
	uint64_t len;
	int rc;

	if (frame == NULL)
		return err_nomem(e);
	rc = put_record(w, frame, REC_COPY, layout_head_encode(&w->head, frame + RECORD_HEAD_BYTES),
		&t->copy_pos, &len, e);
	free(frame);
	return rc;
}

/* ---- TAIL and the seek table ---- */

static int put_tail(struct image_writer *w, struct layout_tail *t, struct err *e)
{
	uint8_t frame[TAIL_FRAME_BYTES];
	uint64_t pos = appender_offset(w->ap), len;
	/* TAIL itself is in the seek table. */
	uint64_t frames = w->seek_frames + 1;

	t->chunks = w->totals.chunks;
	t->head_len = w->head_len;
	t->seek_pos = pos + TAIL_FRAME_BYTES;
	t->seek_len = frames > SEEK_MAX_FRAMES
		? 0
		: SEEK_HEAD_BYTES + frames * SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES;
	t->file_len = t->seek_pos + t->seek_len;
	memcpy(t->kind_bytes, w->totals.kind_bytes, sizeof(t->kind_bytes));
	t->bad_range_bytes = w->totals.bad_range_bytes;
	sha256_final(w->root, t->root);
	return put_record(w, frame, REC_TAIL, layout_tail_encode(t, frame + RECORD_HEAD_BYTES),
		&pos, &len, e);
}

static int put_seek_table(struct image_writer *w, struct err *e)
{
	uint64_t entries_len, off = 0;
	uint8_t *piece, head[SEEK_HEAD_BYTES], footer[SEEK_FOOTER_BYTES] = { 0 };
	int rc;

	if (w->seek == NULL)
		return 0;
	entries_len = spool_len(w->seek);
	piece = malloc(SEEK_PIECE_BYTES);
	if (piece == NULL)
		return err_nomem(e);
	put_le32(head, SEEK_MAGIC);
	put_le32(head + 4, (uint32_t)(entries_len + SEEK_FOOTER_BYTES));
	rc = appender_append(w->ap, head, sizeof(head), e);
	while (rc == 0 && off < entries_len) {
		size_t n = (size_t)min_u64(SEEK_PIECE_BYTES, entries_len - off);

		rc = spool_read(w->seek, off, piece, n, e);
		if (rc == 0)
			rc = appender_append(w->ap, piece, n, e);
		off += n;
	}
	free(piece);
	put_le32(footer, (uint32_t)w->seek_frames);
	put_le32(footer + 5, SEEK_FOOTER_MAGIC);
	return rc < 0 ? rc : appender_append(w->ap, footer, sizeof(footer), e);
}

static int put_end(struct image_writer *w, uint8_t root[SHA256_BYTES], struct err *e)
{
	struct layout_tail t = { 0 };
	int rc;

	if (w->offset != w->head.source_bytes || w->totals.chunks != layout_chunk_count(&w->head))
		return err_set(e, ERR_INTERNAL, 0,
			"finish %s: blocks from source offset %" PRIu64 " on are missing",
			dev_name(w->out), w->offset);
	rc = put_indx(w, &t, e);
	if (rc == 0)
		rc = put_meta(w, &t, e);
	if (rc == 0)
		rc = put_copy(w, &t, e);
	/* A write that fails leaves no TAIL behind it: what would open as a whole image is one. */
	if (rc == 0)
		appender_barrier(w->ap);
	if (rc == 0)
		rc = put_tail(w, &t, e);
	if (rc == 0)
		rc = put_seek_table(w, e);
	if (rc == 0 && appender_offset(w->ap) != t.file_len)
		rc = err_set(e, ERR_INTERNAL, 0,
			"finish %s: the file has another length than TAIL says", dev_name(w->out));
	if (rc == 0)
		rc = appender_finish(w->ap, e);
	if (rc == 0)
		memcpy(root, t.root, SHA256_BYTES);
	return rc;
}

int image_writer_finish(struct image_writer *w, uint8_t root[SHA256_BYTES], struct err *e)
{
	struct err mine = { 0 };
	int rc = w->complete ? 0 : writer_check_open(w, e);

	if (rc == 0 && !w->complete) {
		rc = put_end(w, w->root_hash, &mine);
		w->complete = w->finished = rc == 0;
		rc = writer_keep(w, rc, &mine, e);
	}
	if (rc == 0)
		memcpy(root, w->root_hash, SHA256_BYTES);
	return rc;
}

/* What was appended of the chunk under way is of no use: it is cut off where that is possible. */
static int stop(struct image_writer *w, struct err *e)
{
	const uint64_t end = w->chunk.begun ? w->chunk.pos : appender_offset(w->ap);
	int rc = appender_finish(w->ap, e);

	if (rc < 0 || !w->chunk.begun || !dev_info(w->out)->can_grow)
		return rc;
	rc = dev_set_size(w->out, end, e);
	return rc < 0 ? rc : dev_flush(w->out, true, e);
}

int image_writer_stop(struct image_writer *w, struct err *e)
{
	struct err mine = { 0 };
	int rc;

	if (w->status == 0 && w->finished)
		return 0;
	rc = writer_check_open(w, e);
	if (rc < 0)
		return rc;
	rc = stop(w, &mine);
	w->finished = true;
	return writer_keep(w, rc, &mine, e);
}

/* ---- Facts ---- */

const char *image_writer_name(const struct image_writer *w)
{
	return dev_name(w->out);
}

const struct image_sample *image_writer_samples(const struct image_writer *w, unsigned *count)
{
	*count = w->sample_count;
	return w->samples;
}

uint64_t image_writer_offset(const struct image_writer *w)
{
	return w->offset;
}

void image_writer_totals(const struct image_writer *w, struct image_totals *t)
{
	*t = w->totals;
	for (int kind = 0; kind < ENTRY_KINDS; kind++)
		t->kind_bytes[kind] += w->chunk.kind_bytes[kind];
	if (w->hole_len > 0)
		t->kind_bytes[w->hole_kind] += w->hole_len;
	t->bad_range_bytes += w->chunk.bad_bytes;
	t->bad_range_count += w->chunk.bad_ranges;
	t->stored_bytes += w->chunk.stored;
	t->file_bytes = appender_offset(w->ap);
	t->committed_bytes = appender_committed(w->ap);
}
