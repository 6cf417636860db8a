#include "pipeline/against.h"

#include <string.h>

#include "base/mem.h"
#include "codec/hash.h"

uint64_t against_off(const struct against *a, const struct slot *s)
{
	return a->target_off + (s->off - a->source_off);
}

/* Is the slot the whole of its block, so that the block's hash answers? */
static bool is_whole(const struct slot *s)
{
	return s->off == s->entry.off && s->len == s->entry.len;
}

int against_plan(const struct against *a, struct walk *w, struct slot *s, struct err *e)
{
	const uint64_t end = a->source_off + a->source_len;
	const uint32_t block = image_facts(a->image)->head.block_bytes;
	bool looked_at;
	int rc;

	/* Pieces of a hole that begins before the range, or ends behind it. */
	do
		rc = walk_next_piece(w, a->free_is_zero, block, &s->entry, e);
	while (rc > 0 && s->entry.off + s->entry.len <= a->source_off);
	if (rc <= 0)
		return rc;
	if (s->entry.off >= end)
		return 0;
	s->off = max_u64(s->entry.off, a->source_off);
	s->len = min_u64(s->entry.off + s->entry.len, end) - s->off;
	s->kind = s->entry.kind;
	looked_at = s->kind != ENTRY_FREE || a->free_is_zero;
	s->weight = looked_at ? s->len : 0;
	s->needs_work = looked_at;
	if (looked_at && (s->kind != ENTRY_DATA || is_whole(s)))
		engine_add_read(s, against_off(a, s), s->in, (size_t)s->len);
	return 1;
}

int against_fetch(const struct against *a, struct unpacker *u, struct slot *s, struct err *e)
{
	int rc = dev_read(image_file(a->image), s->entry.file_off, s->in, s->entry.stored, e);

	return rc < 0 ? rc : image_unpack(a->image, u, &s->entry, s->in, s->out, e);
}

int against_holds(const struct against *a, struct unpacker *u, struct slot *s, bool *holds,
	struct err *e)
{
	enum hash_kind kind = image_facts(a->image)->head.hash;
	uint8_t sum[HASH_MAX_BYTES];
	int rc;

	*holds = false;
	if (s->lost)
		return 0;
	if (s->kind != ENTRY_DATA) {
		*holds = mem_is_zero(s->in, (size_t)s->len);
		return 0;
	}
	if (is_whole(s)) {
		hash_bytes(kind, s->in, (size_t)s->len, sum);
		*holds = memcmp(sum, s->entry.hash, hash_len(kind)) == 0;
		return 0;
	}
	rc = against_fetch(a, u, s, e);
	if (rc == 0)
		rc = dev_read(a->target, against_off(a, s), s->in, (size_t)s->len, e);
	if (rc == 0)
		*holds = memcmp(s->in, s->out + (s->off - s->entry.off), (size_t)s->len) == 0;
	return rc;
}
