/* INDX, TAIL and the footer of the seek table: specification, sections 3.4, 3.7 and 6. */
#include <inttypes.h>

#include "format/layout.h"
#include "format/layout_int.h"

_Static_assert(INDX_ENTRY_BYTES == 48, "an entry of INDX");
_Static_assert(TAIL_FRAME_BYTES == 208, "TAIL is always of this length");

void layout_indx_entry_encode(const struct layout_indx_entry *x, uint8_t *p)
{
	put_le64(p, x->chunk_pos);
	put_le64(p + 8, x->table_pos);
	put_le32(p + 16, x->table_len);
	put_le32(p + 20, x->entries);
	put_le64(p + 24, x->data_bytes);
	memcpy(p + 32, x->table_sum, RECORD_SUM_BYTES);
}

void layout_indx_entry_decode(const uint8_t *p, struct layout_indx_entry *x)
{
	x->chunk_pos = get_le64(p);
	x->table_pos = get_le64(p + 8);
	x->table_len = get_le32(p + 16);
	x->entries = get_le32(p + 20);
	x->data_bytes = get_le64(p + 24);
	memcpy(x->table_sum, p + 32, RECORD_SUM_BYTES);
}

static int check_indx_entry(const struct layout_indx_entry *x, const struct layout_head *h,
	uint64_t number, uint64_t pos, uint64_t end, struct err *e)
{
	const uint64_t len = layout_chunk_len(h, number);
	const uint64_t table_max =
		layout_record_len(REC_TABL, 0, TABL_MAX_BODY_BYTES) + RECORD_ALIGN_BYTES;

	if (x->chunk_pos != pos)
		return layout_bad(e, "INDX", "chunk position");
	if (x->table_pos >= end || x->table_pos < pos + CHNK_FRAME_BYTES)
		return layout_bad(e, "INDX", "table position");
	if (x->table_len < RECORD_OVERHEAD_BYTES + TABL_FIXED_BYTES || x->table_len > table_max ||
		x->table_len > end - x->table_pos ||
		(x->table_pos + x->table_len) % RECORD_ALIGN_BYTES != 0)
		return layout_bad(e, "INDX", "table length");
	if (x->entries == 0 || x->entries > layout_blocks(h, len))
		return layout_bad(e, "INDX", "entries");
	if (x->data_bytes > len)
		return layout_bad(e, "INDX", "data bytes");
	return 0;
}

int layout_indx_check(const uint8_t *body, size_t n, const struct layout_head *h, uint64_t head_len,
	uint64_t indx_pos, struct err *e)
{
	const uint64_t count = layout_chunk_count(h);
	uint64_t pos = head_len;

	if (n < INDX_FIXED_BYTES)
		return layout_bad(e, "INDX", "body length");
	if (get_le64(body) != count)
		return layout_bad(e, "INDX", "chunks");
	/* count is at most CHUNKS_MAX. */
	if (n != INDX_FIXED_BYTES + count * INDX_ENTRY_BYTES)
		return layout_bad(e, "INDX", "body length");
	for (uint64_t i = 0; i < count; i++) {
		struct layout_indx_entry x;

		layout_indx_entry_decode(body + INDX_FIXED_BYTES + i * INDX_ENTRY_BYTES, &x);
		if (check_indx_entry(&x, h, i, pos, indx_pos, e) < 0)
			return -ERR_DAMAGED;
		pos = x.table_pos + x.table_len;
	}
	if (pos != indx_pos)
		return layout_bad(e, "INDX", "position (it is not the end of the last chunk)");
	return 0;
}

uint32_t layout_tail_encode(const struct layout_tail *t, uint8_t *body)
{
	put_le64(body, t->file_len);
	put_le64(body + 8, t->chunks);
	put_le64(body + 16, t->head_len);
	put_le64(body + 24, t->indx_pos);
	put_le64(body + 32, t->indx_len);
	put_le64(body + 40, t->meta_pos);
	put_le64(body + 48, t->meta_len);
	put_le64(body + 56, t->seek_pos);
	put_le64(body + 64, t->seek_len);
	for (int kind = ENTRY_DATA; kind <= ENTRY_BAD; kind++)
		put_le64(body + 72 + 8 * (kind - ENTRY_DATA), t->kind_bytes[kind]);
	put_le64(body + 104, t->bad_range_bytes);
	put_le64(body + 112, t->copy_pos);
	memcpy(body + 120, t->root, SHA256_BYTES);
	return TAIL_BODY_BYTES;
}

static void decode_tail(const uint8_t *body, struct layout_tail *t)
{
	t->file_len = get_le64(body);
	t->chunks = get_le64(body + 8);
	t->head_len = get_le64(body + 16);
	t->indx_pos = get_le64(body + 24);
	t->indx_len = get_le64(body + 32);
	t->meta_pos = get_le64(body + 40);
	t->meta_len = get_le64(body + 48);
	t->seek_pos = get_le64(body + 56);
	t->seek_len = get_le64(body + 64);
	t->kind_bytes[0] = 0;
	for (int kind = ENTRY_DATA; kind <= ENTRY_BAD; kind++)
		t->kind_bytes[kind] = get_le64(body + 72 + 8 * (kind - ENTRY_DATA));
	t->bad_range_bytes = get_le64(body + 104);
	t->copy_pos = get_le64(body + 112);
	memcpy(t->root, body + 120, SHA256_BYTES);
}

/* The parts lie one behind the other up to the end of the file. */
static int check_parts(const struct layout_tail *t, struct err *e)
{
	uint64_t end;

	if (t->head_len < RECORD_ALIGN_BYTES || t->head_len % RECORD_ALIGN_BYTES != 0 ||
		t->head_len > layout_record_len(REC_HEAD, 0, HEAD_MAX_BODY_BYTES))
		return layout_bad(e, "TAIL", "HEAD length");
	if (t->indx_pos < t->head_len || t->indx_pos % RECORD_ALIGN_BYTES != 0)
		return layout_bad(e, "TAIL", "INDX position");
	/* chunks is at most CHUNKS_MAX here. */
	if (t->indx_len != RECORD_OVERHEAD_BYTES + INDX_FIXED_BYTES + t->chunks * INDX_ENTRY_BYTES)
		return layout_bad(e, "TAIL", "INDX length");
	if (!add_u64(t->indx_pos, t->indx_len, &end) || t->meta_pos != end)
		return layout_bad(e, "TAIL", "META position");
	if (t->meta_len < RECORD_OVERHEAD_BYTES ||
		t->meta_len > RECORD_OVERHEAD_BYTES + layout_body_max(REC_META))
		return layout_bad(e, "TAIL", "META length");
	if (!add_u64(t->meta_pos, t->meta_len, &end) || t->copy_pos != end)
		return layout_bad(e, "TAIL", "COPY position");
	/* COPY holds what HEAD holds, but is not padded. */
	if (t->seek_pos < end || t->seek_pos - end > t->head_len + TAIL_FRAME_BYTES ||
		t->seek_pos - end < RECORD_OVERHEAD_BYTES + HEAD_FIXED_BYTES + TAIL_FRAME_BYTES)
		return layout_bad(e, "TAIL", "seek table position");
	if (t->seek_len > SEEK_HEAD_BYTES + (uint64_t)SEEK_MAX_FRAMES * SEEK_ENTRY_BYTES +
				SEEK_FOOTER_BYTES ||
		(t->seek_len != 0 &&
			(t->seek_len < SEEK_HEAD_BYTES + SEEK_FOOTER_BYTES ||
				(t->seek_len - SEEK_HEAD_BYTES - SEEK_FOOTER_BYTES) %
						SEEK_ENTRY_BYTES !=
					0)))
		return layout_bad(e, "TAIL", "seek table length");
	if (!add_u64(t->seek_pos, t->seek_len, &end) || t->file_len != end)
		return layout_bad(e, "TAIL", "file length");
	return 0;
}

int layout_tail_decode(const uint8_t *body, size_t n, struct layout_tail *t, struct err *e)
{
	uint64_t sum = 0;

	if (n != TAIL_BODY_BYTES)
		return layout_bad(e, "TAIL", "body length");
	decode_tail(body, t);
	if (t->chunks > CHUNKS_MAX)
		return layout_bad(e, "TAIL", "chunks");
	for (int kind = ENTRY_DATA; kind <= ENTRY_BAD; kind++)
		if (!add_u64(sum, t->kind_bytes[kind], &sum) || sum > SOURCE_MAX_BYTES)
			return layout_bad(e, "TAIL", "bytes by kind");
	if (t->bad_range_bytes < t->kind_bytes[ENTRY_BAD] || t->bad_range_bytes > sum)
		return layout_bad(e, "TAIL", "bad range bytes");
	return check_parts(t, e);
}

bool layout_seek_footer(const uint8_t *p, uint64_t file_len, uint64_t *table_len)
{
	const uint32_t frames = get_le32(p);
	uint64_t len;

	if (get_le32(p + 5) != SEEK_FOOTER_MAGIC || p[4] != 0 || frames > SEEK_MAX_FRAMES)
		return false;
	len = SEEK_HEAD_BYTES + (uint64_t)frames * SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES;
	if (len > file_len)
		return false;
	*table_len = len;
	return true;
}
