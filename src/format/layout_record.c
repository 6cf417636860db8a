/* The frame around every record: specification, section 3. */
#include <inttypes.h>

#include "format/layout.h"
#include "format/layout_int.h"

#define FRAME_HEAD_BYTES 8 /* magic and frame size, which the frame size does not count */
#define RUN_BYTES 8

static const struct {
	char name[5];
	uint32_t min_body, max_body;
	bool padded;
} types[] = {
	[REC_HEAD] = { "HEAD", HEAD_FIXED_BYTES, HEAD_MAX_BODY_BYTES, true },
	[REC_CHNK] = { "CHNK", CHNK_BODY_BYTES, CHNK_BODY_BYTES, false },
	[REC_TABL] = { "TABL", TABL_FIXED_BYTES, TABL_MAX_BODY_BYTES, true },
	[REC_INDX] = { "INDX", INDX_FIXED_BYTES, INDX_FIXED_BYTES + CHUNKS_MAX *INDX_ENTRY_BYTES,
		false },
	[REC_META] = { "META", 0, META_MAX_BODY_BYTES, false },
	[REC_COPY] = { "COPY", HEAD_FIXED_BYTES, HEAD_MAX_BODY_BYTES, false },
	[REC_TAIL] = { "TAIL", TAIL_BODY_BYTES, TAIL_BODY_BYTES, false },
};

int layout_bad(struct err *e, const char *record, const char *field)
{
	return err_set(e, ERR_DAMAGED, 0, "%s: bad %s", record, field);
}

const char *layout_record_name(enum record_type type)
{
	return types[type].name;
}

uint32_t layout_body_max(enum record_type type)
{
	return types[type].max_body;
}

static uint32_t padding_bytes(enum record_type type, uint64_t pos, uint32_t body_len)
{
	uint64_t end = pos + RECORD_OVERHEAD_BYTES + body_len;

	if (!types[type].padded)
		return 0;
	return (uint32_t)(align_up(end, RECORD_ALIGN_BYTES) - end);
}

size_t layout_record_len(enum record_type type, uint64_t pos, uint32_t body_len)
{
	return RECORD_OVERHEAD_BYTES + (size_t)body_len + padding_bytes(type, pos, body_len);
}

size_t layout_record_seal(uint8_t *frame, enum record_type type, uint64_t pos, const uint8_t run[8],
	uint32_t body_len)
{
	const uint32_t padding = padding_bytes(type, pos, body_len);
	const size_t sum_at = RECORD_HEAD_BYTES + (size_t)body_len + padding;

	put_le32(frame, RECORD_MAGIC);
	put_le32(frame + 4, (uint32_t)(sum_at + RECORD_SUM_BYTES - FRAME_HEAD_BYTES));
	memcpy(frame + 8, "IMGT", 4);
	memcpy(frame + 12, types[type].name, 4);
	put_le64(frame + 16, pos);
	memcpy(frame + 24, run, RUN_BYTES);
	put_le32(frame + 32, body_len);
	put_le32(frame + 36, padding);
	memset(frame + RECORD_HEAD_BYTES + body_len, 0, padding);
	hash_bytes(HASH_XXH3, frame, sum_at, frame + sum_at);
	return sum_at + RECORD_SUM_BYTES;
}

int layout_record_peek(const uint8_t *p, enum record_type type, uint64_t pos, const uint8_t run[8],
	size_t *len, struct err *e)
{
	const char *name = types[type].name;
	uint32_t body_len = get_le32(p + 32);

	if (get_le32(p) != RECORD_MAGIC)
		return layout_bad(e, name, "magic number");
	if (memcmp(p + 8, "IMGT", 4) != 0)
		return layout_bad(e, name, "signature");
	if (memcmp(p + 12, name, 4) != 0)
		return layout_bad(e, name, "type");
	if (get_le64(p + 16) != pos)
		return layout_bad(e, name, "position");
	if (run != NULL && memcmp(p + 24, run, RUN_BYTES) != 0)
		return layout_bad(e, name, "run");
	if (body_len < types[type].min_body || body_len > types[type].max_body)
		return layout_bad(e, name, "body length");
	if (get_le32(p + 36) != padding_bytes(type, pos, body_len))
		return layout_bad(e, name, "padding length");
	*len = layout_record_len(type, pos, body_len);
	if (get_le32(p + 4) != *len - FRAME_HEAD_BYTES)
		return layout_bad(e, name, "frame size");
	return 0;
}

int layout_record_open(const uint8_t *frame, size_t len, enum record_type type, uint64_t pos,
	const uint8_t run[8], const uint8_t **body, uint32_t *body_len, struct err *e)
{
	const char *name = types[type].name;
	uint8_t sum[RECORD_SUM_BYTES];
	size_t want, used, sum_at;

	if (len < RECORD_OVERHEAD_BYTES)
		return layout_bad(e, name, "length");
	if (layout_record_peek(frame, type, pos, run, &want, e) < 0)
		return -ERR_DAMAGED;
	if (want != len)
		return layout_bad(e, name, "length");
	sum_at = len - RECORD_SUM_BYTES;
	hash_bytes(HASH_XXH3, frame, sum_at, sum);
	if (memcmp(sum, frame + sum_at, RECORD_SUM_BYTES) != 0)
		return layout_bad(e, name, "checksum");
	*body = frame + RECORD_HEAD_BYTES;
	*body_len = get_le32(frame + 32);
	used = RECORD_HEAD_BYTES + (size_t)*body_len;
	if (used < sum_at && !mem_is_zero(frame + used, sum_at - used))
		return layout_bad(e, name, "padding");
	return 0;
}
