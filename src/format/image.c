/*
 * Opening goes from what has no length of its own to what is measured by it: HEAD, then TAIL at the
 * end of the file; only when those agree with each other and with the file's length are INDX and
 * META read. A block table is read when its chunk is asked for.
 */
#include "format/image.h"

#include <inttypes.h>

#include "format/image_int.h"
#include "format/layout_int.h"

/* Decoded tables: a hundred chunks at the default sizes. */
#define CACHE_BYTES (16 * MIB)

/* Prefix with the file's name; e->code stays. */
static int in_file(const struct image *i, struct err *e)
{
	return err_prefix(e, "%s", dev_name(i->file));
}

static int tail_bad(const struct image *i, const char *field, struct err *e)
{
	layout_bad(e, "TAIL", field);
	return in_file(i, e);
}

/* ---- Opening ---- */

static int open_head(struct image *i, struct err *e)
{
	uint8_t start[RECORD_HEAD_BYTES];
	int rc;

	if (dev_info(i->file)->sequential)
		return err_set(e, ERR_USAGE, 0, "%s: an image can't be read from a pipe",
			dev_name(i->file));
	if (dev_size(i->file) >= sizeof(start)) {
		rc = dev_read(i->file, 0, start, sizeof(start), e);
		if (rc < 0)
			return rc;
	}
	if (dev_size(i->file) < sizeof(start) || get_le32(start) != RECORD_MAGIC ||
		memcmp(start + 8, "IMGTHEAD", 8) != 0)
		return err_set(e, ERR_FORMAT, 0, "%s: not an imgtool image", dev_name(i->file));
	rc = record_read(i->file, REC_HEAD, 0, NULL, &i->head, e);
	if (rc < 0)
		return rc;
	rc = layout_head_decode(i->head.body, i->head.body_len, &i->facts.head, e);
	if (rc < 0)
		return in_file(i, e);
	/* The run is the start of the UUID, in HEAD as in all others. */
	if (memcmp(i->head.frame + 24, i->facts.head.uuid, 8) != 0) {
		layout_bad(e, "HEAD", "run");
		return in_file(i, e);
	}
	return 0;
}

static int read_tail(struct dev *file, uint64_t end, const uint8_t run[8], struct record *r,
	uint64_t *pos, struct err *e)
{
	if (end < TAIL_FRAME_BYTES)
		return err_set(e, ERR_DAMAGED, 0, "%s: too short", dev_name(file));
	*pos = end - TAIL_FRAME_BYTES;
	return record_read_exact(file, REC_TAIL, *pos, TAIL_FRAME_BYTES, run, r, e);
}

/* Where the seek table says that TAIL ends, when the file ends in one; else 0. */
static int seek_table_start(struct dev *file, uint64_t *pos, struct err *e)
{
	const uint64_t size = dev_size(file);
	uint8_t footer[SEEK_FOOTER_BYTES];
	uint64_t table_len;
	int rc;

	*pos = 0;
	if (size < sizeof(footer))
		return 0;
	rc = dev_read(file, size - sizeof(footer), footer, sizeof(footer), e);
	if (rc == 0 && layout_seek_footer(footer, size, &table_len))
		*pos = size - table_len;
	return rc;
}

int image_find_tail(struct dev *file, const uint8_t run[8], struct layout_tail *t, uint64_t *pos,
	struct err *e)
{
	const uint64_t size = dev_size(file);
	struct record r = { 0 };
	uint64_t end;
	int rc = seek_table_start(file, &end, e);

	if (rc < 0)
		return rc;
	rc = read_tail(file, end > 0 ? end : size, run, &r, pos, e);
	if (rc < 0)
		return rc;
	rc = layout_tail_decode(r.body, r.body_len, t, e);
	record_free(&r);
	if (rc == 0 && t->file_len != size)
		rc = layout_bad(e, "TAIL", "file length (the file has another)");
	if (rc == 0 && t->seek_pos != *pos + TAIL_FRAME_BYTES)
		rc = layout_bad(e, "TAIL", "seek table position");
	return rc < 0 ? err_prefix(e, "%s", dev_name(file)) : 0;
}

static int open_tail(struct image *i, struct err *e)
{
	struct layout_tail *t = &i->facts.tail;
	struct err why;
	uint64_t sum = 0;
	int rc = image_find_tail(i->file, i->facts.head.uuid, t, &i->tail_pos, &why);

	if (rc == -ERR_DAMAGED)
		return err_set(e, ERR_DAMAGED, 0, "incomplete image, or its end is damaged: %s",
			why.msg);
	if (rc < 0) {
		*e = why;
		return rc;
	}
	if (t->head_len != i->head.len)
		return tail_bad(i, "HEAD length", e);
	if (t->chunks != layout_chunk_count(&i->facts.head))
		return tail_bad(i, "chunks", e);
	for (int kind = ENTRY_DATA; kind <= ENTRY_BAD; kind++)
		sum += t->kind_bytes[kind];
	if (sum != i->facts.head.source_bytes)
		return tail_bad(i, "bytes by kind (their sum is not the source size)", e);
	i->facts.chunks = t->chunks;
	return 0;
}

/* The seek table's length follows from the number of frames: those of a chunk, and five others. */
static uint64_t seek_table_len(const struct image *i)
{
	uint64_t frames = 5;

	for (uint64_t n = 0; n < i->facts.chunks; n++)
		frames += 2 + (uint64_t)image_indx(i, n).entries;
	return frames > SEEK_MAX_FRAMES
		? 0
		: SEEK_HEAD_BYTES + frames * SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES;
}

static int open_indx(struct image *i, struct err *e)
{
	const struct layout_tail *t = &i->facts.tail;
	uint64_t data_bytes = 0;
	int rc = record_read_exact(i->file, REC_INDX, t->indx_pos, t->indx_len, i->facts.head.uuid,
		&i->indx, e);

	if (rc < 0)
		return rc;
	if (layout_indx_check(i->indx.body, i->indx.body_len, &i->facts.head, t->head_len,
		    t->indx_pos, e) < 0)
		return in_file(i, e);
	for (uint64_t n = 0; n < t->chunks; n++)
		data_bytes += image_indx(i, n).data_bytes;
	if (data_bytes != t->kind_bytes[ENTRY_DATA])
		return tail_bad(i, "data bytes (INDX has others)", e);
	if (t->seek_len != seek_table_len(i))
		return tail_bad(i, "seek table length (INDX has other frames)", e);
	return 0;
}

static int open_meta(struct image *i, struct err *e)
{
	const struct layout_tail *t = &i->facts.tail;
	int rc = record_read_exact(i->file, REC_META, t->meta_pos, t->meta_len, i->facts.head.uuid,
		&i->meta, e);

	if (rc < 0)
		return rc;
	/* The text ends where the checksum began, which nobody needs any more. */
	i->meta.frame[RECORD_HEAD_BYTES + i->meta.body_len] = 0;
	i->facts.meta = (const char *)i->meta.body;
	i->facts.meta_len = i->meta.body_len;
	return 0;
}

int image_open(struct dev *file, struct image **out, struct err *e)
{
	struct image *i = calloc(1, sizeof(*i));
	struct err mine;
	int rc;

	*out = NULL;
	if (e == NULL)
		e = &mine;
	if (i == NULL)
		return err_nomem(e);
	i->file = file;
	rc = open_head(i, e);
	if (rc == 0)
		rc = open_tail(i, e);
	if (rc == 0)
		rc = open_indx(i, e);
	if (rc == 0)
		rc = open_meta(i, e);
	if (rc == 0) {
		i->cache = chunk_cache_new(CACHE_BYTES);
		rc = i->cache == NULL ? err_nomem(e) : 0;
	}
	if (rc < 0)
		image_close(i);
	else
		*out = i;
	return rc;
}

void image_close(struct image *i)
{
	if (i == NULL)
		return;
	chunk_cache_free(i->cache);
	record_free(&i->head);
	record_free(&i->indx);
	record_free(&i->meta);
	free(i);
}

const struct image_facts *image_facts(const struct image *i)
{
	return &i->facts;
}

struct dev *image_file(const struct image *i)
{
	return i->file;
}

struct layout_indx_entry image_indx(const struct image *i, uint64_t number)
{
	struct layout_indx_entry x;

	layout_indx_entry_decode(i->indx.body + INDX_FIXED_BYTES + number * INDX_ENTRY_BYTES, &x);
	return x;
}

/* ---- Chunks ---- */

/* What the table says itself holds; does it agree with INDX? */
static int check_table(const struct layout_indx_entry *x, uint64_t number, const struct record *r,
	const struct layout_tabl *t, struct err *e)
{
	if (t->number != number)
		return layout_bad(e, "TABL", "chunk number");
	if (memcmp(r->frame + r->len - RECORD_SUM_BYTES, x->table_sum, RECORD_SUM_BYTES) != 0)
		return layout_bad(e, "TABL", "checksum (INDX has another)");
	if (t->entries != x->entries)
		return layout_bad(e, "TABL", "number of entries (INDX has another)");
	/* The table's position is behind CHNK's end: INDX was checked. */
	if (t->stored_len != x->table_pos - x->chunk_pos - CHNK_FRAME_BYTES)
		return layout_bad(e, "TABL", "stored length (INDX has another)");
	return 0;
}

int image_read_table(const struct image *i, uint64_t number, struct record *r,
	struct layout_tabl *t, struct err *e)
{
	const struct layout_head *h = &i->facts.head;
	const struct layout_indx_entry x = image_indx(i, number);
	uint64_t data_bytes = 0;
	int rc = record_read_exact(i->file, REC_TABL, x.table_pos, x.table_len, h->uuid, r, e);

	if (rc < 0)
		return rc;
	rc = layout_tabl_decode(r->body, r->body_len, h, t, e);
	if (rc == 0)
		rc = check_table(&x, number, r, t, e);
	for (uint32_t n = 0; rc == 0 && n < t->entries; n++)
		if (layout_entry_at(t, n).kind == ENTRY_DATA)
			/* Only the last block of the source may be short. */
			data_bytes += n + 1 < t->entries ? h->block_bytes
							 : (t->len - 1) % h->block_bytes + 1;
	if (rc == 0 && data_bytes != x.data_bytes)
		rc = layout_bad(e, "TABL", "data bytes (INDX has others)");
	if (rc < 0) {
		record_free(r);
		return err_prefix(e, "%s at %" PRIu64, dev_name(i->file), x.table_pos);
	}
	return 0;
}

static struct chunk *decode_chunk(const struct image *i, const struct layout_tabl *t)
{
	const struct layout_head *h = &i->facts.head;
	struct chunk *c = chunk_alloc(t->entries, t->bad_ranges);
	struct chunk_entry *x;
	uint64_t off = t->off, pos = image_indx(i, t->number).chunk_pos + CHNK_FRAME_BYTES;

	if (c == NULL)
		return NULL;
	c->number = t->number;
	c->off = t->off;
	c->len = t->len;
	x = chunk_entries(c);
	for (uint32_t n = 0; n < t->entries; n++) {
		const struct layout_entry from = layout_entry_at(t, n);
		uint64_t left = t->off + t->len - off;

		x[n].kind = from.kind;
		x[n].off = off;
		x[n].len = min_u64((uint64_t)from.blocks * h->block_bytes, left);
		x[n].file_off = pos;
		x[n].stored = from.stored;
		memset(x[n].hash, 0, sizeof(x[n].hash));
		memcpy(x[n].hash, from.hash, t->hash_len);
		off += x[n].len;
		pos += from.stored;
	}
	for (uint32_t n = 0; n < t->bad_ranges; n++) {
		struct bad_range *b = &chunk_bad_ranges(c)[n];

		layout_bad_at(t, n, &b->off, &b->len);
	}
	return c;
}

int image_chunk(struct image *i, uint64_t number, const struct chunk **out, struct err *e)
{
	struct layout_tabl t;
	struct record r;
	struct chunk *c;
	struct err mine;
	int rc;

	if (e == NULL)
		e = &mine;
	*out = NULL;
	if (number >= i->facts.chunks)
		return err_set(e, ERR_INTERNAL, 0, "%s: there is no chunk %" PRIu64,
			dev_name(i->file), number);
	*out = chunk_cache_get(i->cache, number);
	if (*out != NULL)
		return 0;
	rc = image_read_table(i, number, &r, &t, e);
	if (rc < 0)
		return rc;
	c = decode_chunk(i, &t);
	record_free(&r);
	if (c == NULL)
		return err_nomem(e);
	*out = chunk_cache_put(i->cache, c);
	return 0;
}

void chunk_unref(struct image *i, const struct chunk *c)
{
	if (c != NULL)
		chunk_cache_unref(i->cache, c);
}

uint32_t chunk_find(const struct chunk *c, uint64_t off)
{
	uint32_t low = 0, high = c->count;

	/* The entry sought is in [low, high). */
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (c->entries[mid].off <= off)
			low = mid;
		else
			high = mid;
	}
	return low;
}

const struct bad_range *chunk_bad(const struct chunk *c, uint64_t off, uint64_t len)
{
	uint32_t low = 0, high = c->bad_count;

	/* The first one that ends behind off is in [low, high]. */
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (c->bad[mid].off + c->bad[mid].len > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low < c->bad_count && c->bad[low].off < off + len ? &c->bad[low] : NULL;
}

int image_unpack(const struct image *i, struct unpacker *u, const struct chunk_entry *x,
	const void *frame, void *dst, struct err *e)
{
	const enum hash_kind kind = i->facts.head.hash;
	uint8_t hash[HASH_MAX_BYTES];
	struct err mine;
	int rc;

	if (e == NULL)
		e = &mine;
	rc = unpacker_unpack(u, frame, x->stored, dst, (size_t)x->len, e);
	if (rc == 0) {
		hash_bytes(kind, dst, (size_t)x->len, hash);
		if (memcmp(hash, x->hash, hash_len(kind)) != 0)
			rc = err_set(e, ERR_DAMAGED, 0, "bad %s hash of the plain bytes",
				hash_word(kind));
	}
	if (rc < 0)
		return err_prefix(e,
			"%s: block of source offset %" PRIu64 " at file offset %" PRIu64,
			dev_name(i->file), x->off, x->file_off);
	return 0;
}
