/*
 * What a writer keeps for the end of the image, chunk by chunk: root hash, INDX, seek table,
 * totals. Writing and resuming both come through here.
 */
#include <inttypes.h>

#include "format/writer_int.h"

static int check_text(const struct layout_head *h, struct err *e)
{
	/* META repeats it as a member of an object, and is handed out as a string. */
	if (h->text_len < 2 || h->text[0] != '{' || h->text[h->text_len - 1] != '}' ||
		memchr(h->text, 0, h->text_len) != NULL)
		return err_set(e, ERR_USAGE, 0, "HEAD: the text is not a JSON object");
	return 0;
}

static int alloc_buffers(struct image_writer *w, struct err *e)
{
	const struct layout_head *h = &w->head;
	const size_t entry = ENTRY_FIXED_BYTES + hash_len(h->hash);
	const size_t blocks = h->chunk_bytes / h->block_bytes;

	/* Only what is used of these becomes memory. */
	w->table = malloc(RECORD_OVERHEAD_BYTES + TABL_FIXED_BYTES + blocks * entry +
		TABL_MAX_BAD_RANGES * BAD_RANGE_BYTES + RECORD_ALIGN_BYTES);
	w->bad = malloc(TABL_MAX_BAD_RANGES * BAD_RANGE_BYTES);
	w->indx = malloc(RECORD_OVERHEAD_BYTES + INDX_FIXED_BYTES +
		layout_chunk_count(h) * INDX_ENTRY_BYTES);
	w->meta_bad = malloc(META_MAX_BAD_RANGES * sizeof(*w->meta_bad));
	w->root = sha256_new();
	w->seek = spool_new();
	if (w->table == NULL || w->bad == NULL || w->indx == NULL || w->meta_bad == NULL ||
		w->root == NULL || w->seek == NULL)
		return err_nomem(e);
	return 0;
}

int writer_alloc(struct dev *out, const struct layout_head *head, struct image_writer **out_w,
	struct err *e)
{
	struct image_writer *w;
	struct err why;
	int rc;

	*out_w = NULL;
	/* It is the caller's, whatever is wrong with it: no file is damaged. */
	if (layout_head_check(head, &why) < 0)
		return err_set(e, ERR_USAGE, 0, "%s", why.msg);
	if (check_text(head, e) < 0)
		return -ERR_USAGE;
	if (head->minor != VERSION_MINOR || head->ro_compat != 0)
		return err_set(e, ERR_FORMAT, 0,
			"HEAD: bad minor version or ro_compat: not written here");
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return err_nomem(e);
	w->out = out;
	w->head = *head;
	w->text = malloc(head->text_len);
	if (w->text == NULL) {
		image_writer_close(w);
		return err_nomem(e);
	}
	memcpy(w->text, head->text, head->text_len);
	w->head.text = w->text;
	rc = alloc_buffers(w, e);
	if (rc < 0) {
		image_writer_close(w);
		return rc;
	}
	*out_w = w;
	return 0;
}

void image_writer_close(struct image_writer *w)
{
	if (w == NULL)
		return;
	appender_close(w->ap);
	sha256_free(w->root);
	spool_free(w->seek);
	free(w->table);
	free(w->bad);
	free(w->indx);
	free(w->meta_bad);
	free(w->text);
	free(w);
}

int writer_head_frame(const struct layout_head *head, uint8_t **frame, size_t *len, struct err *e)
{
	uint32_t body_len = HEAD_FIXED_BYTES + head->text_len;

	*frame = malloc(layout_record_len(REC_HEAD, 0, body_len));
	if (*frame == NULL)
		return err_nomem(e);
	layout_head_encode(head, *frame + RECORD_HEAD_BYTES);
	*len = layout_record_seal(*frame, REC_HEAD, 0, head->uuid, body_len);
	return 0;
}

int writer_take_frame(struct image_writer *w, uint64_t stored, uint64_t plain, struct err *e)
{
	uint8_t entry[SEEK_ENTRY_BYTES];

	w->seek_frames++;
	if (w->seek == NULL)
		return 0;
	if (w->seek_frames > SEEK_MAX_FRAMES) {
		/* Over the public format's limit: the whole table is left out. */
		spool_free(w->seek);
		w->seek = NULL;
		return 0;
	}
	put_le32(entry, (uint32_t)stored);
	put_le32(entry + 4, (uint32_t)plain);
	return spool_append(w->seek, entry, sizeof(entry), e);
}

int writer_take_head(struct image_writer *w, const uint8_t *frame, size_t len, struct err *e)
{
	w->head_len = len;
	sha256_update(w->root, frame, len);
	return writer_take_frame(w, len, 0, e);
}

/* The seek table's part and the byte counts of one chunk. */
static int take_entries(struct image_writer *w, const struct layout_tabl *t, struct err *e)
{
	uint64_t off = t->off;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < t->entries; i++) {
		const struct layout_entry x = layout_entry_at(t, i);
		uint64_t len =
			min_u64((uint64_t)x.blocks * w->head.block_bytes, t->off + t->len - off);

		w->totals.kind_bytes[x.kind] += len;
		off += len;
		rc = writer_take_frame(w, x.stored, len, e);
	}
	w->totals.stored_bytes += t->stored_len;
	w->frames += t->entries;
	return rc;
}

static void take_bad_ranges(struct image_writer *w, const struct layout_tabl *t)
{
	for (uint32_t i = 0; i < t->bad_ranges; i++) {
		struct bad_range b;

		layout_bad_at(t, i, &b.off, &b.len);
		w->totals.bad_range_bytes += b.len;
		if (w->meta_bad_count < META_MAX_BAD_RANGES)
			w->meta_bad[w->meta_bad_count++] = b;
	}
	w->totals.bad_range_count += t->bad_ranges;
}

int writer_take_table(struct image_writer *w, const struct writer_table *x, struct err *e)
{
	const uint64_t data_before = w->totals.kind_bytes[ENTRY_DATA];
	struct layout_indx_entry entry = {
		.chunk_pos = x->chunk_pos,
		.table_pos = x->table_pos,
		.table_len = (uint32_t)x->frame_len,
		.entries = x->t.entries,
	};
	int rc = writer_take_frame(w, CHNK_FRAME_BYTES, 0, e);

	if (rc == 0)
		rc = take_entries(w, &x->t, e);
	if (rc == 0)
		rc = writer_take_frame(w, x->frame_len, 0, e);
	if (rc < 0)
		return rc;
	take_bad_ranges(w, &x->t);
	sha256_update(w->root, x->frame, x->frame_len);
	entry.data_bytes = w->totals.kind_bytes[ENTRY_DATA] - data_before;
	memcpy(entry.table_sum, x->frame + x->frame_len - RECORD_SUM_BYTES, RECORD_SUM_BYTES);
	layout_indx_entry_encode(&entry,
		w->indx + RECORD_HEAD_BYTES + INDX_FIXED_BYTES + x->t.number * INDX_ENTRY_BYTES);
	w->prev_table = x->table_pos;
	w->prev_table_len = x->frame_len;
	w->totals.chunks++;
	return 0;
}
