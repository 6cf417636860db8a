/* What the files of the writer share. */
#ifndef FORMAT_WRITER_INT_H
#define FORMAT_WRITER_INT_H

#include "base/mem.h"
#include "device/appender.h"
#include "format/image.h"
#include "format/spool.h"
#include "format/writer.h"

/* A commit is started at the first end of a chunk this far behind the one before. */
#define COMMIT_BYTES (64 * MIB)
/* META lists so many bad ranges (specification, section 8). */
#define META_MAX_BAD_RANGES 10000

/* The chunk under way. */
struct writer_chunk {
	uint64_t number, off, len; /* source */
	uint64_t pos;		   /* of CHNK in the file */
	bool begun;		   /* CHNK is written */
	uint32_t entries;	   /* in the table buffer */
	uint32_t bad_ranges;	   /* in the buffer of bad ranges */
	uint64_t bad_bytes;	   /* in them */
	uint64_t stored;	   /* bytes of its frames */
	uint64_t kind_bytes[ENTRY_KINDS];
};

struct image_writer {
	struct dev *out;
	struct appender *ap;
	struct layout_head head; /* text is the one below */
	char *text;
	uint64_t head_len; /* of the whole frame */
	bool finished;	   /* or stopped */
	bool complete;	   /* `root_hash` is that of the whole image */
	uint8_t root_hash[SHA256_BYTES];
	int status; /* of the first failure, negative: nothing more is written */
	struct err error;

	uint64_t offset; /* source offset of the next block to be handed over */
	struct writer_chunk chunk;
	uint8_t *table; /* the frame of TABL, being filled: its entries */
	uint8_t *bad;	/* bad ranges, as they will stand in TABL */

	/* The hole that ends at `offset` and has no frame yet; hole_len 0: none. */
	enum entry_kind hole_kind;
	uint64_t hole_len;

	/* Of the chunks that are whole. */
	uint64_t prev_table, prev_table_len;
	uint8_t *indx; /* the frame of INDX, being filled */
	struct sha256 *root;
	struct spool *seek;   /* entries of the seek table; NULL once there are too many */
	uint64_t seek_frames; /* all frames of the file so far */
	struct image_totals totals;
	uint64_t frames; /* block and hole frames */
	struct bad_range *meta_bad;
	uint32_t meta_bad_count;
	uint64_t last_commit; /* file offset */
	struct image_sample samples[IMAGE_SAMPLES];
	unsigned sample_count;
};

/* A table that was written, or found whole in the file. */
struct writer_table {
	const uint8_t *frame;
	size_t frame_len;
	uint64_t chunk_pos, table_pos;
	struct layout_tabl t;
};

/* ---- writer.c ---- */

/*
 * All whole chunks there are were taken: open the appender at file offset `at`, where the next one
 * begins (0 when HEAD is still to be appended).
 */
int writer_start(struct image_writer *w, uint64_t at, bool write_through, struct err *e);
/* The error that a writer stopped at, or that it is finished; 0 when it may go on. */
int writer_check_open(const struct image_writer *w, struct err *e);
/* The first failure stays: half of something may have been appended. Returns rc; e gets *from. */
int writer_keep(struct image_writer *w, int rc, const struct err *from, struct err *e);

/* ---- writer_account.c ---- */

/* A writer without appender. The head is checked (ERR_USAGE); the text copied. */
int writer_alloc(struct dev *out, const struct layout_head *head, struct image_writer **w,
	struct err *e);
/* Encode HEAD into a new frame (free it). */
int writer_head_frame(const struct layout_head *head, uint8_t **frame, size_t *len, struct err *e);
/* Account for HEAD: root hash, seek table. */
int writer_take_head(struct image_writer *w, const uint8_t *frame, size_t len, struct err *e);
/*
 * Account for the next whole chunk: root hash, INDX, seek table, totals, bad ranges. Writing and
 * resuming go through here, so that they can't differ.
 */
int writer_take_table(struct image_writer *w, const struct writer_table *x, struct err *e);
/* One entry of the seek table. */
int writer_take_frame(struct image_writer *w, uint64_t stored, uint64_t plain, struct err *e);

/* ---- writer_end.c ---- */

/* INDX, META, TAIL and the seek table. */
int writer_end(struct image_writer *w, uint8_t root[SHA256_BYTES], struct err *e);

#endif
