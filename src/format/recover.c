/*
 * Chunk by chunk, in source order. With its table, each frame of a chunk is checked alone, and what
 * does not hold is lost alone. Without it, frames are walked from the chunk's start: their own
 * checksums stand for the lost hashes, and the first that does not hold loses the rest of the
 * chunk, because nothing says any more where the next one belongs.
 *
 * A table also says what could not be read when the image was made; the frames have zeros there.
 * Where a table is lost META's list stands for it, and where META is lost, too, TAIL may say that
 * there is nothing to be known. Else the report says of how many chunks it is not known: bad never
 * becomes good without a word (R9).
 */
#include "format/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "base/mem.h"
#include "codec/block.h"
#include "format/recover_bad.h"
#include "format/recover_find.h"

/* So many chunks may be lost in any file, and so many for each one that was found. */
#define LOST_CHUNKS_MIN 16384
#define LOST_CHUNKS_FACTOR 1000
/* No frame is shorter: magic number, header, one block's header. */
#define FRAME_MIN_BYTES 9

struct recover {
	struct dev *in;
	struct layout_head head;
	uint64_t head_len;
	struct image_writer *w;
	struct unpacker *u;
	uint8_t *frame, *plain; /* block_bound and block bytes */
	struct meta_bad bad;
	uint64_t bad_known; /* bytes of bad ranges that tables, or META in their place, tell */
	const struct recover_hooks *hooks;
	struct recover_report *report;
	/* The loss under way: adjacent ones are reported as one. */
	uint64_t lost_off, lost_len, lost_file_off;
	char why[sizeof(((struct err *)0)->msg)];
};

int recover_check_stop(const struct recover_hooks *hooks, const struct dev *in, struct err *e)
{
	if (hooks->stop == NULL || !hooks->stop(hooks->user))
		return 0;
	return err_set(e, ERR_CANCELLED, 0, "repair of %s cancelled", dev_name(in));
}

static void report_loss(struct recover *r)
{
	if (r->lost_len == 0)
		return;
	r->report->lost_ranges++;
	r->report->lost_bytes += r->lost_len;
	if (r->hooks->lost != NULL)
		r->hooks->lost(r->hooks->user, r->lost_off, r->lost_len, r->lost_file_off, r->why);
	r->lost_len = 0;
}

/* The next `len` source bytes, whole blocks, are lost. */
static int lose(struct recover *r, uint64_t len, uint64_t file_off, const char *why, struct err *e)
{
	uint64_t off = image_writer_offset(r->w);
	int rc;

	if (r->lost_len > 0 && (r->lost_off + r->lost_len != off || strcmp(r->why, why) != 0))
		report_loss(r);
	if (r->lost_len == 0) {
		r->lost_off = off;
		r->lost_file_off = file_off;
		strncpy(r->why, why, sizeof(r->why) - 1);
	}
	r->lost_len += len;
	rc = image_writer_bad(r->w, off, len, e);
	if (rc == 0)
		rc = image_writer_hole(r->w, ENTRY_BAD, div_up(len, r->head.block_bytes), e);
	return rc;
}

static uint64_t block_len(const struct recover *r, uint64_t off)
{
	return min_u64(r->head.block_bytes, r->head.source_bytes - off);
}

/* Bad ranges of the old image are bad in the new one; those of lost blocks are covered anyway. */
static int keep_bad(struct recover *r, const struct layout_tabl *t, uint32_t *next, uint64_t off,
	uint64_t len, bool write, struct err *e)
{
	int rc = 0;

	for (; rc == 0 && *next < t->bad_ranges; ++*next) {
		uint64_t bad_off, bad_len;

		layout_bad_at(t, *next, &bad_off, &bad_len);
		if (bad_off >= off + len)
			break;
		if (write) {
			uint64_t from = max_u64(bad_off, off);

			rc = image_writer_bad(r->w, from,
				min_u64(bad_off + bad_len, off + len) - from, e);
		}
		/* One that reaches into the next entry is looked at again there. */
		if (bad_off + bad_len > off + len)
			break;
	}
	return rc;
}

/* Does the data frame of this entry hold? Fills *e with the reason when not. */
static int check_data(struct recover *r, const struct layout_entry *x, uint64_t file_off,
	size_t len, struct err *e)
{
	uint8_t hash[HASH_MAX_BYTES];
	int rc;

	if (!range_inside(file_off, x->stored, dev_size(r->in)))
		return err_set(e, ERR_DAMAGED, 0, "behind the end of the file");
	rc = dev_read(r->in, file_off, r->frame, x->stored, e);
	if (rc == 0)
		rc = unpacker_unpack(r->u, r->frame, x->stored, r->plain, len, e);
	if (rc < 0)
		return rc;
	hash_bytes(r->head.hash, r->plain, len, hash);
	if (memcmp(hash, x->hash, hash_len(r->head.hash)) != 0)
		return err_set(e, ERR_DAMAGED, 0, "its hash does not hold");
	return 0;
}

/* What META says is bad in the next block, whose table is lost. */
static int keep_meta_bad(struct recover *r, uint64_t off, uint64_t len, struct err *e)
{
	const uint64_t end = off + len;
	const struct bad_range *b;
	int rc = 0;

	while (rc == 0 && off < end && (b = meta_bad_at(&r->bad, off, end - off)) != NULL) {
		uint64_t from = max_u64(b->off, off);

		off = min_u64(b->off + b->len, end);
		rc = image_writer_bad(r->w, from, off - from, e);
	}
	return rc;
}

static int copy_entry(struct recover *r, const struct layout_tabl *t, struct layout_entry *x,
	uint64_t file_off, uint32_t *next_bad, struct err *e)
{
	uint64_t off = image_writer_offset(r->w);
	uint64_t len = min_u64((uint64_t)x->blocks * r->head.block_bytes, t->off + t->len - off);
	struct err why;
	int rc;

	if (x->kind == ENTRY_DATA && check_data(r, x, file_off, (size_t)len, &why) < 0) {
		rc = keep_bad(r, t, next_bad, off, len, false, e);
		return rc < 0 ? rc : lose(r, len, file_off, why.msg, e);
	}
	rc = keep_bad(r, t, next_bad, off, len, true, e);
	if (rc == 0 && x->kind == ENTRY_DATA)
		rc = image_writer_data(r->w, r->frame, x->stored, x->hash, e);
	else if (rc == 0)
		rc = image_writer_hole(r->w, x->kind, x->blocks, e);
	return rc;
}

static uint64_t table_bad_bytes(const struct layout_tabl *t)
{
	uint64_t sum = 0, off, len;

	for (uint32_t i = 0; i < t->bad_ranges; i++) {
		layout_bad_at(t, i, &off, &len);
		sum += len;
	}
	return sum;
}

/* A chunk whose table is good. 1: done; 0: the table does not hold after all. */
static int with_table(struct recover *r, const struct chunk_place *p, uint64_t number,
	struct err *e)
{
	struct record table;
	struct layout_tabl t;
	uint32_t next_bad = 0;
	uint64_t file_off;
	int rc;

	if (p->table_pos == 0 ||
		record_read(r->in, REC_TABL, p->table_pos, r->head.uuid, &table, NULL) < 0)
		return 0;
	rc = layout_tabl_decode(table.body, table.body_len, &r->head, &t, NULL);
	if (rc < 0 || t.number != number || t.stored_len > p->table_pos) {
		free(table.frame);
		return 0;
	}
	file_off = p->table_pos - t.stored_len;
	r->bad_known += table_bad_bytes(&t);
	for (uint32_t i = 0; rc == 0 && i < t.entries; i++) {
		struct layout_entry x = layout_entry_at(&t, i);

		rc = recover_check_stop(r->hooks, r->in, e);
		if (rc < 0)
			break;
		rc = copy_entry(r, &t, &x, file_off, &next_bad, e);
		file_off += x.stored;
	}
	free(table.frame);
	return rc < 0 ? rc : 1;
}

/* Is this the hole frame of its own content size? */
static bool is_hole(const struct recover *r, size_t stored, uint64_t content)
{
	uint8_t want[4096];
	size_t from = 0;

	if (content == 0 || content > HOLE_MAX_BYTES || hole_stored_bytes(content) != stored)
		return false;
	while (from < stored) {
		size_t n = hole_bytes(content, from, want, sizeof(want));

		if (n == 0 || memcmp(r->frame + from, want, n) != 0)
			return false;
		from += n;
	}
	return true;
}

/*
 * A hole whose table is lost. Free space can't be told from zeros any more: zeros are the side that
 * loses nothing. A bad range covers a hole as a whole, or is not in it.
 */
static int walk_hole(struct recover *r, uint64_t off, uint64_t len, struct err *e)
{
	enum entry_kind kind = ENTRY_ZERO;
	int rc = 0;

	if (meta_bad_at(&r->bad, off, len) != NULL) {
		kind = ENTRY_BAD;
		rc = image_writer_bad(r->w, off, len, e);
	}
	return rc < 0 ? rc : image_writer_hole(r->w, kind, div_up(len, r->head.block_bytes), e);
}

/* The frame at the start of r->frame, of which n bytes are there. 0: taken, *stored gets its
 * size. */
static int walk_frame(struct recover *r, size_t n, uint64_t chunk_end, size_t *stored,
	struct err *why, struct err *e)
{
	uint64_t off = image_writer_offset(r->w), len = block_len(r, off);
	unsigned long long content = ZSTD_getFrameContentSize(r->frame, n);
	uint8_t hash[HASH_MAX_BYTES];
	int rc;

	*stored = ZSTD_findFrameCompressedSize(r->frame, n);
	if (ZSTD_isError(*stored) || get_le32(r->frame) != ZSTD_MAGICNUMBER)
		return err_set(why, ERR_DAMAGED, 0, "its table is lost, and its frames end here");
	if (content <= chunk_end - off && is_hole(r, *stored, content) &&
		(content % r->head.block_bytes == 0 || off + content == r->head.source_bytes))
		return walk_hole(r, off, content, e);
	if (unpacker_unpack(r->u, r->frame, *stored, r->plain, (size_t)len, why) < 0)
		return -ERR_DAMAGED;
	hash_bytes(r->head.hash, r->plain, (size_t)len, hash);
	rc = keep_meta_bad(r, off, len, e);
	return rc < 0 ? rc : image_writer_data(r->w, r->frame, *stored, hash, e);
}

/* Frames of a chunk without its table were taken, up to `end`: is it known what is bad in them? */
static void note_walked(struct recover *r, uint64_t off, uint64_t end)
{
	if (end == off)
		return;
	r->bad_known += meta_bad_bytes(&r->bad, off, end - off);
	if (end > r->bad.known_to)
		r->report->bad_unknown++;
}

/* A chunk without its table: frame after frame, up to `limit` in the file. */
static int without_table(struct recover *r, const struct chunk_place *p, uint64_t limit,
	uint64_t chunk_end, struct err *e)
{
	uint64_t pos = p->chunk_pos == 0 ? 0 : p->chunk_pos + CHNK_FRAME_BYTES;
	const uint64_t off = image_writer_offset(r->w);
	size_t bound = block_bound(r->head.block_bytes);
	struct err why;
	int rc = 0;

	err_set(&why, ERR_DAMAGED, 0, "neither its start nor its table was found");
	r->report->tables_lost++;
	while (pos != 0 && image_writer_offset(r->w) < chunk_end) {
		size_t n = (size_t)min_u64(bound, limit > pos ? limit - pos : 0), stored = 0;

		rc = recover_check_stop(r->hooks, r->in, e);
		/* What lies behind the frame need not be readable. */
		if (rc == 0)
			rc = recover_read(r->in, r->hooks, pos, r->frame, n, &n, e);
		if (rc < 0)
			return rc;
		err_set(&why, ERR_DAMAGED, 0, "its table is lost, and its frames end here");
		if (n < FRAME_MIN_BYTES)
			break;
		why.code = ERR_OK;
		rc = walk_frame(r, n, chunk_end, &stored, &why, e);
		if (rc < 0 && why.code == ERR_OK)
			return rc;
		if (rc < 0)
			break;
		pos += stored;
	}
	note_walked(r, off, image_writer_offset(r->w));
	if (image_writer_offset(r->w) == chunk_end)
		return 0;
	if (pos == 0)
		r->report->chunks_lost++;
	return lose(r, chunk_end - image_writer_offset(r->w), pos, why.msg, e);
}

/* Where the frames of a chunk end at the latest: where the next known structure begins. */
static uint64_t frames_limit(const struct recover *r, const struct chunk_place *places,
	uint64_t number, uint64_t chunks)
{
	if (places[number].table_pos != 0)
		return places[number].table_pos;
	for (uint64_t i = number + 1; i < chunks; i++)
		if (places[i].chunk_pos != 0)
			return places[i].chunk_pos;
	return dev_size(r->in);
}

/* TAIL has the sum over all tables: when nothing of it is missing, nothing is unknown. */
static void settle_bad(struct recover *r, const struct recover_found *f)
{
	uint64_t all = f->has_tail ? f->tail.bad_range_bytes : UINT64_MAX;

	if (all <= r->bad_known)
		r->report->bad_unknown = 0;
	r->report->bad_seen = r->bad_known > 0 || r->bad.count > 0 || (f->has_tail && all > 0);
}

static int recover_chunks(struct recover *r, const struct chunk_place *places, struct err *e)
{
	uint64_t chunks = layout_chunk_count(&r->head);
	int rc = 0;

	for (uint64_t n = 0; rc >= 0 && n < chunks; n++) {
		uint64_t end = n * r->head.chunk_bytes + layout_chunk_len(&r->head, n);

		rc = with_table(r, &places[n], n, e);
		if (rc == 0)
			rc = without_table(r, &places[n], frames_limit(r, places, n, chunks), end,
				e);
	}
	report_loss(r);
	return rc < 0 ? rc : 0;
}

/*
 * Each chunk that is lost costs some KiB in the new image, and HEAD can say a million of them: more
 * than any file that was cut or damaged has lost are not made up.
 */
static int check_found(const struct recover *r, const struct chunk_place *places, struct err *e)
{
	uint64_t chunks = layout_chunk_count(&r->head), found = 0;

	for (uint64_t n = 0; n < chunks; n++)
		found += places[n].chunk_pos != 0 || places[n].table_pos != 0;
	if (chunks - found <= LOST_CHUNKS_MIN + LOST_CHUNKS_FACTOR * found)
		return 0;
	return err_set(e, ERR_DAMAGED, 0,
		"%s: HEAD says %" PRIu64 " chunks, and %" PRIu64 " of them were found",
		dev_name(r->in), chunks, found);
}

/* A head that is not written here is the image's fault, not the caller's. */
static int begin(struct recover *r, struct dev *out, struct err *e)
{
	int rc = image_writer_new(out, &r->head, false, &r->w, e);

	if (rc != -ERR_USAGE)
		return rc;
	e->code = ERR_DAMAGED;
	return err_prefix(e, "%s", dev_name(r->in));
}

static int recover_run(struct recover *r, struct dev *out, struct err *e)
{
	struct recover_found found = { 0 };
	uint8_t root[SHA256_BYTES];
	int rc = unpacker_new(&r->u, e);

	r->frame = malloc(
		max_u64(block_bound(r->head.block_bytes), hole_stored_bytes(HOLE_MAX_BYTES)));
	r->plain = malloc(r->head.block_bytes);
	if (rc == 0 && (r->frame == NULL || r->plain == NULL))
		rc = err_nomem(e);
	if (rc == 0)
		rc = recover_find_chunks(r->in, r->hooks, &r->head, r->head_len, &found, e);
	r->report->index_lost = found.searched;
	if (rc == 0)
		rc = check_found(r, found.places, e);
	if (rc == 0)
		rc = meta_bad_read(r->in, &r->head, found.meta_pos, &r->bad, e);
	if (rc == 0)
		rc = begin(r, out, e);
	if (rc == 0)
		rc = recover_chunks(r, found.places, e);
	if (rc == 0)
		settle_bad(r, &found);
	if (rc == 0)
		rc = image_writer_finish(r->w, root, e);
	if (rc == 0)
		image_writer_totals(r->w, &r->report->totals);
	image_writer_close(r->w);
	free(found.places);
	meta_bad_free(&r->bad);
	free(r->frame);
	free(r->plain);
	unpacker_free(r->u);
	return rc;
}

/* What is written there is gone: for who only looks. */
static int open_nowhere(struct dev **out, struct err *e)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set_errno(e, ERR_TARGET, errno, "open /dev/null");
	return dev_open_pipe(fd, "/dev/null", true, out, e);
}

int recover_image(struct dev *in, struct dev *out, const struct recover_hooks *hooks,
	struct recover_report *report, struct err *e)
{
	struct recover r = { .in = in, .hooks = hooks, .report = report };
	struct record head = { 0 };
	struct dev *nowhere = NULL;
	int rc = 0;

	memset(report, 0, sizeof(*report));
	if (out == NULL)
		rc = open_nowhere(&nowhere, e);
	if (rc == 0)
		rc = recover_find_head(in, hooks, &r.head, &head, &r.head_len, &report->head_copied,
			e);
	/* What this version reads, but can't write. */
	if (rc == 0 && (r.head.minor > VERSION_MINOR || r.head.ro_compat != 0))
		rc = err_set(e, ERR_FORMAT, 0,
			"%s: it has features of a later version, and is not repaired by this one",
			dev_name(in));
	if (rc == 0)
		rc = recover_run(&r, out != NULL ? out : nowhere, e);
	free(head.frame);
	dev_close(nowhere);
	return rc;
}
