/*
 * The records and tables of an image that reading blocks never looks at: everything that the root
 * hash covers, CHNK, which only resume and recovery read, and the public seek table, which only
 * other programs read. Together with the frames of all entries that is every byte of the file.
 */
#include <inttypes.h>

#include "format/image_int.h"
#include "format/layout_int.h"

#define SEEK_PIECE_BYTES (64 * KIB)

/* The seek table, compared entry by entry with what it must hold. */
struct seek_check {
	const struct image *i;
	uint64_t pos, end; /* of the entries in the file; end 0: there is no table */
	uint64_t frames;
	uint8_t *piece;
	size_t used, at; /* of piece */
	struct sha256 *root;
};

static int seek_bad(const struct seek_check *s, const char *field, struct err *e)
{
	layout_bad(e, "seek table", field);
	return err_prefix(e, "%s", dev_name(s->i->file));
}

static int seek_next(struct seek_check *s, uint64_t stored, uint64_t plain, struct err *e)
{
	const uint8_t *p;

	s->frames++;
	if (s->end == 0)
		return 0;
	if (s->at == s->used) {
		size_t n = (size_t)min_u64(SEEK_PIECE_BYTES, s->end - s->pos);
		int rc;

		if (n == 0)
			return seek_bad(s, "number of frames", e);
		rc = dev_read(s->i->file, s->pos, s->piece, n, e);
		if (rc < 0)
			return rc;
		s->pos += n;
		s->used = n;
		s->at = 0;
	}
	p = s->piece + s->at;
	s->at += SEEK_ENTRY_BYTES;
	if (get_le32(p) != stored || get_le32(p + 4) != plain)
		return seek_bad(s, "entry", e);
	return 0;
}

static int seek_begin(struct seek_check *s, struct err *e)
{
	const struct layout_tail *t = &s->i->facts.tail;
	uint8_t head[SEEK_HEAD_BYTES];
	int rc;

	s->root = sha256_new();
	s->piece = malloc(SEEK_PIECE_BYTES);
	if (s->piece == NULL || s->root == NULL)
		return err_nomem(e);
	if (t->seek_len == 0)
		return 0;
	s->pos = t->seek_pos + SEEK_HEAD_BYTES;
	s->end = t->seek_pos + t->seek_len - SEEK_FOOTER_BYTES;
	rc = dev_read(s->i->file, t->seek_pos, head, sizeof(head), e);
	if (rc < 0)
		return rc;
	if (get_le32(head) != SEEK_MAGIC)
		return seek_bad(s, "magic number", e);
	if (get_le32(head + 4) != t->seek_len - SEEK_HEAD_BYTES)
		return seek_bad(s, "frame size", e);
	return 0;
}

static int seek_end(struct seek_check *s, struct err *e)
{
	const struct layout_tail *t = &s->i->facts.tail;
	uint8_t footer[SEEK_FOOTER_BYTES];
	uint64_t table_len;
	int rc;

	/* Opening has seen to it that there is one where there must be. */
	if (s->end == 0)
		return 0;
	if (s->pos != s->end || s->at != s->used)
		return seek_bad(s, "number of frames", e);
	rc = dev_read(s->i->file, s->end, footer, sizeof(footer), e);
	if (rc < 0)
		return rc;
	if (!layout_seek_footer(footer, t->file_len, &table_len) || table_len != t->seek_len)
		return seek_bad(s, "footer", e);
	return 0;
}

static int check_chnk(struct seek_check *s, uint64_t number, struct err *e)
{
	const struct image *i = s->i;
	const struct layout_indx_entry x = image_indx(i, number);
	struct layout_indx_entry before = { 0 };
	struct layout_chnk c;
	struct record r;
	int rc = record_read_exact(i->file, REC_CHNK, x.chunk_pos, CHNK_FRAME_BYTES,
		i->facts.head.uuid, &r, e);

	if (rc < 0)
		return rc;
	if (number > 0)
		before = image_indx(i, number - 1);
	rc = layout_chnk_decode(r.body, r.body_len, &i->facts.head, &c, e);
	record_free(&r);
	if (rc == 0 && c.number != number)
		rc = layout_bad(e, "CHNK", "chunk number");
	if (rc == 0 && (c.prev_table != before.table_pos || c.prev_table_len != before.table_len))
		rc = layout_bad(e, "CHNK", "previous table (INDX has another)");
	if (rc < 0)
		return err_prefix(e, "%s at %" PRIu64, dev_name(i->file), x.chunk_pos);
	return seek_next(s, CHNK_FRAME_BYTES, 0, e);
}

struct sums {
	uint64_t kind_bytes[ENTRY_KINDS], bad_range_bytes;
};

static int check_chunk(struct seek_check *s, uint64_t number, struct sums *sums, struct err *e)
{
	const struct image *i = s->i;
	uint64_t off, len;
	struct layout_tabl t;
	struct record r;
	int rc = check_chnk(s, number, e);

	if (rc == 0)
		rc = image_read_table(i, number, &r, &t, e);
	if (rc < 0)
		return rc;
	off = t.off;
	for (uint32_t n = 0; rc == 0 && n < t.entries; n++) {
		const struct layout_entry x = layout_entry_at(&t, n);

		len = min_u64((uint64_t)x.blocks * i->facts.head.block_bytes, t.off + t.len - off);
		sums->kind_bytes[x.kind] += len;
		off += len;
		rc = seek_next(s, x.stored, len, e);
	}
	for (uint32_t n = 0; n < t.bad_ranges; n++) {
		layout_bad_at(&t, n, &off, &len);
		sums->bad_range_bytes += len;
	}
	sha256_update(s->root, r.frame, r.len);
	if (rc == 0)
		rc = seek_next(s, r.len, 0, e);
	record_free(&r);
	return rc;
}

/* HEAD and META are read anew: what opening kept of them is not all of their bytes. */
static int check_record(struct seek_check *s, enum record_type type, uint64_t pos, uint64_t len,
	struct err *e)
{
	struct record r;
	int rc = record_read_exact(s->i->file, type, pos, len, s->i->facts.head.uuid, &r, e);

	if (rc < 0)
		return rc;
	sha256_update(s->root, r.frame, r.len);
	record_free(&r);
	return seek_next(s, len, 0, e);
}

static bool starts_with(const char **p, const char *end, const char *s, size_t n)
{
	if ((size_t)(end - *p) < n || memcmp(*p, s, n) != 0)
		return false;
	*p += n;
	return true;
}

/* META repeats HEAD's text: two that differ would tell two stories of one image. */
static int check_meta_text(const struct image *i, struct err *e)
{
	static const char header[] = "{\"header\":", result[] = ",\"result\":";
	const struct image_facts *f = &i->facts;
	const char *p = f->meta, *end = f->meta + f->meta_len;

	if (starts_with(&p, end, header, sizeof(header) - 1) &&
		starts_with(&p, end, f->head.text, f->head.text_len) &&
		starts_with(&p, end, result, sizeof(result) - 1))
		return 0;
	layout_bad(e, "META", "text (it is not HEAD's)");
	return err_prefix(e, "%s", dev_name(i->file));
}

/* COPY has HEAD's body, byte for byte. */
static int check_copy(struct seek_check *s, struct err *e)
{
	const struct image *i = s->i;
	const struct layout_tail *t = &i->facts.tail;
	const uint64_t len = t->seek_pos - TAIL_FRAME_BYTES - t->copy_pos;
	struct record r;
	int rc = record_read_exact(i->file, REC_COPY, t->copy_pos, len, i->facts.head.uuid, &r, e);

	if (rc < 0)
		return rc;
	if (r.body_len != i->head.body_len || memcmp(r.body, i->head.body, r.body_len) != 0) {
		layout_bad(e, "COPY", "body (it is not HEAD's)");
		rc = err_prefix(e, "%s", dev_name(i->file));
	}
	record_free(&r);
	return rc < 0 ? rc : seek_next(s, len, 0, e);
}

static int check_all(struct seek_check *s, struct err *e)
{
	const struct image *i = s->i;
	const struct layout_tail *t = &i->facts.tail;
	struct sums sums = { 0 };
	int rc = seek_begin(s, e);

	if (rc == 0)
		rc = check_record(s, REC_HEAD, 0, t->head_len, e);
	for (uint64_t n = 0; rc == 0 && n < t->chunks; n++)
		rc = check_chunk(s, n, &sums, e);
	if (rc == 0)
		rc = seek_next(s, t->indx_len, 0, e);
	if (rc == 0)
		rc = check_record(s, REC_META, t->meta_pos, t->meta_len, e);
	if (rc == 0)
		rc = check_meta_text(i, e);
	if (rc == 0)
		rc = check_copy(s, e);
	if (rc == 0)
		rc = seek_next(s, TAIL_FRAME_BYTES, 0, e);
	if (rc == 0)
		rc = seek_end(s, e);
	if (rc < 0)
		return rc;
	if (memcmp(sums.kind_bytes, t->kind_bytes, sizeof(sums.kind_bytes)) != 0)
		rc = layout_bad(e, "TAIL", "bytes by kind (the tables have others)");
	else if (sums.bad_range_bytes != t->bad_range_bytes)
		rc = layout_bad(e, "TAIL", "bad range bytes (the tables have others)");
	return rc < 0 ? err_prefix(e, "%s", dev_name(i->file)) : 0;
}

int image_check_root(struct image *i, struct err *e)
{
	struct seek_check s = { .i = i };
	uint8_t root[SHA256_BYTES];
	struct err mine;
	int rc;

	if (e == NULL)
		e = &mine;
	rc = check_all(&s, e);
	if (rc == 0) {
		sha256_final(s.root, root);
		if (memcmp(root, i->facts.tail.root, sizeof(root)) != 0) {
			layout_bad(e, "TAIL", "root hash");
			rc = err_prefix(e, "%s", dev_name(i->file));
		}
	}
	sha256_free(s.root);
	free(s.piece);
	return rc;
}
