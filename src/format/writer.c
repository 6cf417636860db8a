/*
 * Blocks come in, in order; frames go to the appender at once. What is known only later is kept:
 * the table of the chunk under way (its buffers are made once, for the fullest chunk there may be),
 * 48 bytes a chunk for INDX, and 8 bytes a frame for the seek table, in a spool.
 *
 * A hole gets its frame when it ends: when another kind follows, the chunk ends, or it is as long
 * as one frame may be. So the frames do not depend on how the caller cut it into calls.
 *
 * The table of a chunk is decoded by the reader's own decoder before it is written: whatever the
 * caller did wrong, no reader will have to refuse what is written here.
 */
#include "format/writer.h"

#include <inttypes.h>

#include "codec/block.h"
#include "format/writer_int.h"

#define HOLE_PIECE_BYTES (16 * KIB)

/* ---- Chunks ---- */

static void set_chunk(struct image_writer *w, uint64_t number)
{
	struct writer_chunk *c = &w->chunk;

	memset(c, 0, sizeof(*c));
	c->number = number;
	c->off = number * w->head.chunk_bytes;
	/* Past the last chunk there is none: length 0. */
	c->len = c->off < w->head.source_bytes ? layout_chunk_len(&w->head, number) : 0;
}

int writer_start(struct image_writer *w, uint64_t at, bool write_through, struct err *e)
{
	w->last_commit = at;
	set_chunk(w, w->totals.chunks);
	w->offset = min_u64(w->chunk.off, w->head.source_bytes);
	return appender_open(w->out, at, write_through, &w->ap, e);
}

static int begin_chunk(struct image_writer *w, struct err *e)
{
	struct writer_chunk *c = &w->chunk;
	const struct layout_chnk body = {
		.number = c->number,
		.off = c->off,
		.len = c->len,
		.prev_table = w->prev_table,
		.prev_table_len = (uint32_t)w->prev_table_len,
	};
	uint8_t frame[CHNK_FRAME_BYTES];
	uint32_t len = layout_chnk_encode(&body, frame + RECORD_HEAD_BYTES);

	if (c->len == 0)
		return err_set(e, ERR_INTERNAL, 0, "write %s: more blocks than the source has",
			dev_name(w->out));
	c->pos = appender_offset(w->ap);
	c->begun = true;
	layout_record_seal(frame, REC_CHNK, c->pos, w->head.uuid, len);
	return appender_append(w->ap, frame, sizeof(frame), e);
}

static void add_entry(struct image_writer *w, const struct layout_entry *x, uint64_t len)
{
	struct writer_chunk *c = &w->chunk;
	const size_t hash_n = hash_len(w->head.hash);
	uint8_t *entries = w->table + RECORD_HEAD_BYTES + TABL_FIXED_BYTES;

	layout_entry_encode(x, hash_n, entries + c->entries * (ENTRY_FIXED_BYTES + hash_n));
	c->entries++;
	c->stored += x->stored;
	c->kind_bytes[x->kind] += len;
}

/* Give the pending hole its frame. */
static int flush_hole(struct image_writer *w, struct err *e)
{
	const uint64_t len = w->hole_len;
	const struct layout_entry x = {
		.kind = w->hole_kind,
		.blocks = layout_blocks(&w->head, len),
		.stored = (uint32_t)hole_stored_bytes(len),
	};
	uint8_t piece[HOLE_PIECE_BYTES];
	size_t from = 0, n;
	int rc = 0;

	if (len == 0)
		return 0;
	w->hole_len = 0;
	while (rc == 0 && (n = hole_bytes(len, from, piece, sizeof(piece))) > 0) {
		rc = appender_append(w->ap, piece, n, e);
		from += n;
	}
	if (rc == 0)
		add_entry(w, &x, len);
	return rc;
}

/* Complete the body of TABL in w->table. */
static uint32_t table_body(struct image_writer *w)
{
	const struct writer_chunk *c = &w->chunk;
	uint8_t *body = w->table + RECORD_HEAD_BYTES;
	size_t n = TABL_FIXED_BYTES +
		(size_t)c->entries * (ENTRY_FIXED_BYTES + hash_len(w->head.hash));

	put_le64(body, c->number);
	put_le64(body + 8, c->off);
	put_le64(body + 16, c->len);
	put_le64(body + 24, c->stored);
	put_le32(body + 32, c->entries);
	put_le32(body + 36, c->bad_ranges);
	memcpy(body + n, w->bad, c->bad_ranges * BAD_RANGE_BYTES);
	return (uint32_t)(n + c->bad_ranges * BAD_RANGE_BYTES);
}

static int commit(struct image_writer *w, struct err *e)
{
	if (appender_offset(w->ap) - w->last_commit < COMMIT_BYTES)
		return 0;
	w->last_commit = appender_offset(w->ap);
	return appender_commit(w->ap, e);
}

static int end_chunk(struct image_writer *w, struct err *e)
{
	struct writer_table x = {
		.frame = w->table,
		.chunk_pos = w->chunk.pos,
		.table_pos = appender_offset(w->ap),
	};
	uint32_t body_len = table_body(w);
	struct err why;
	int rc;

	if (layout_tabl_decode(w->table + RECORD_HEAD_BYTES, body_len, &w->head, &x.t, &why) < 0)
		return err_set(e, ERR_INTERNAL, 0, "write %s: a table that no reader takes: %s",
			dev_name(w->out), why.msg);
	x.frame_len = layout_record_seal(w->table, REC_TABL, x.table_pos, w->head.uuid, body_len);
	rc = appender_append(w->ap, x.frame, x.frame_len, e);
	if (rc == 0)
		rc = writer_take_table(w, &x, e);
	if (rc == 0)
		rc = commit(w, e);
	set_chunk(w, w->totals.chunks);
	return rc;
}

/* ---- Blocks ---- */

int writer_check_open(const struct image_writer *w, struct err *e)
{
	if (w->status < 0) {
		if (e != NULL)
			*e = w->error;
		return w->status;
	}
	if (w->finished)
		return err_set(e, ERR_INTERNAL, 0, "write %s: it is finished", dev_name(w->out));
	return 0;
}

int writer_keep(struct image_writer *w, int rc, const struct err *from, struct err *e)
{
	if (rc < 0 && w->status == 0) {
		w->status = rc;
		w->error = *from;
	}
	if (rc < 0 && e != NULL)
		*e = *from;
	return rc;
}

/* The next `len` source bytes are handed over; ends the chunk when it is full. */
static int advance(struct image_writer *w, uint64_t len, struct err *e)
{
	int rc;

	w->offset += len;
	if (w->offset < w->chunk.off + w->chunk.len)
		return 0;
	rc = flush_hole(w, e);
	return rc < 0 ? rc : end_chunk(w, e);
}

static int put_data(struct image_writer *w, const void *frame, size_t stored, const uint8_t *hash,
	struct err *e)
{
	const struct writer_chunk *c = &w->chunk;
	const struct layout_entry x = {
		.kind = ENTRY_DATA,
		.blocks = 1,
		.stored = (uint32_t)stored,
		.hash = hash,
	};
	uint64_t len;
	int rc = flush_hole(w, e);

	if (rc == 0 && !c->begun)
		rc = begin_chunk(w, e);
	if (rc < 0)
		return rc;
	len = min_u64(w->head.block_bytes, c->off + c->len - w->offset);
	if (stored == 0 || stored > block_bound((size_t)len))
		return err_set(e, ERR_INTERNAL, 0,
			"write %s: a frame of %zu bytes for a block of %" PRIu64, dev_name(w->out),
			stored, len);
	rc = appender_append(w->ap, frame, stored, e);
	if (rc < 0)
		return rc;
	add_entry(w, &x, len);
	return advance(w, len, e);
}

int image_writer_data(struct image_writer *w, const void *frame, size_t stored, const uint8_t *hash,
	struct err *e)
{
	struct err mine = { 0 };
	int rc = writer_check_open(w, e);

	if (rc < 0)
		return rc;
	return writer_keep(w, put_data(w, frame, stored, hash, &mine), &mine, e);
}

/* Lengthen the pending hole by *blocks, or by what the chunk and one frame leave room for. */
static int put_hole(struct image_writer *w, enum entry_kind kind, uint64_t *blocks, struct err *e)
{
	const uint64_t block = w->head.block_bytes;
	const struct writer_chunk *c = &w->chunk;
	uint64_t n, len;
	int rc = 0;

	if (w->hole_len > 0 && w->hole_kind != kind)
		rc = flush_hole(w, e);
	if (rc == 0 && !c->begun)
		rc = begin_chunk(w, e);
	if (rc < 0)
		return rc;
	w->hole_kind = kind;
	n = min_u64(*blocks, layout_blocks(&w->head, c->off + c->len - w->offset));
	/* The pending hole is of whole blocks, or the chunk would have ended. */
	n = min_u64(n, (HOLE_MAX_BYTES - w->hole_len) / block);
	len = min_u64(n * block, c->off + c->len - w->offset);
	w->hole_len += len;
	*blocks -= n;
	rc = advance(w, len, e);
	if (rc == 0 && HOLE_MAX_BYTES - w->hole_len < block)
		rc = flush_hole(w, e);
	return rc;
}

int image_writer_hole(struct image_writer *w, enum entry_kind kind, uint64_t blocks, struct err *e)
{
	struct err mine = { 0 };
	int rc = writer_check_open(w, e);

	if (rc < 0)
		return rc;
	if (kind != ENTRY_ZERO && kind != ENTRY_FREE && kind != ENTRY_BAD)
		rc = err_set(&mine, ERR_INTERNAL, 0, "write %s: no kind of hole: %d",
			dev_name(w->out), (int)kind);
	while (rc == 0 && blocks > 0)
		rc = put_hole(w, kind, &blocks, &mine);
	return writer_keep(w, rc, &mine, e);
}

static int put_bad(struct image_writer *w, uint64_t off, uint64_t len, struct err *e)
{
	struct writer_chunk *c = &w->chunk;
	uint8_t *next = w->bad + (size_t)c->bad_ranges * BAD_RANGE_BYTES;
	uint8_t *last = c->bad_ranges > 0 ? next - BAD_RANGE_BYTES : NULL;
	uint64_t end = 0;

	if (len == 0 || off < w->offset || off < c->off || !range_inside(off - c->off, len, c->len))
		return err_set(e, ERR_INTERNAL, 0,
			"write %s: a bad range at %" PRIu64 " outside of what follows in its chunk",
			dev_name(w->out), off);
	if (last != NULL)
		end = get_le64(last) + get_le64(last + 8);
	if (off < end)
		return err_set(e, ERR_INTERNAL, 0,
			"write %s: bad ranges that do not ascend at %" PRIu64, dev_name(w->out),
			off);
	if (last != NULL && off == end) {
		put_le64(last + 8, get_le64(last + 8) + len);
		c->bad_bytes += len;
		return 0;
	}
	if (c->bad_ranges == TABL_MAX_BAD_RANGES)
		return err_set(e, ERR_SOURCE, 0,
			"write %s: more than %d bad ranges in the chunk at source offset %" PRIu64,
			dev_name(w->out), TABL_MAX_BAD_RANGES, c->off);
	put_le64(next, off);
	put_le64(next + 8, len);
	c->bad_ranges++;
	c->bad_bytes += len;
	return 0;
}

int image_writer_bad(struct image_writer *w, uint64_t off, uint64_t len, struct err *e)
{
	struct err mine = { 0 };
	int rc = writer_check_open(w, e);

	if (rc < 0)
		return rc;
	return writer_keep(w, put_bad(w, off, len, &mine), &mine, e);
}

/* ---- Begin ---- */

int image_writer_new(struct dev *out, const struct layout_head *head, bool write_through,
	struct image_writer **out_w, struct err *e)
{
	struct image_writer *w = NULL;
	uint8_t *frame = NULL;
	size_t len = 0;
	int rc = writer_alloc(out, head, &w, e);

	*out_w = NULL;
	if (rc == -ERR_USAGE)
		err_prefix(e, "write %s", dev_name(out));
	if (rc == 0)
		rc = writer_head_frame(&w->head, &frame, &len, e);
	if (rc == 0)
		rc = writer_take_head(w, frame, len, e);
	if (rc == 0)
		rc = writer_start(w, 0, write_through, e);
	if (rc == 0)
		rc = appender_append(w->ap, frame, len, e);
	/* What has no HEAD can not be told from another file, and is not resumed. */
	if (rc == 0)
		appender_barrier(w->ap);
	free(frame);
	if (rc < 0)
		image_writer_close(w);
	else
		*out_w = w;
	return rc;
}
