/*
 * Writing an image, front to back. The caller hands over the blocks of the source in order; the
 * writer lays out chunks, tables and the end. One thread at a time.
 *
 * The bytes depend only on the head and the blocks handed over. An image without TAIL is
 * incomplete; image_writer_finish is what makes it complete and durable (R7).
 */
#ifndef FORMAT_WRITER_H
#define FORMAT_WRITER_H

#include "device/dev.h"
#include "format/layout.h"

struct image_writer;

/*
 * Begin an image at offset 0 of `out` (an empty file, or a pipe), which stays the caller's. The
 * head is checked (ERR_USAGE names the field), its text copied.
 */
int image_writer_new(struct dev *out, const struct layout_head *head, bool write_through,
	struct image_writer **w, struct err *e);

/*
 * Continue an incomplete image: `out` is a writable file. Finds the last whole chunk, checks the
 * chunks that may not be durable, cuts the file and goes on there. Refused (ERR_REFUSED) with the
 * field's name when `head` is not what the file was begun with, but for uuid, created_s and text,
 * which are taken from the file and put into *head (text: valid as long as the writer). A complete
 * image is refused as complete. A file that is empty, all zeros, or ends inside its HEAD is begun
 * anew with *head; any other one without a whole HEAD is left as it is: ERR_FORMAT when it is no
 * image, ERR_DAMAGED when it begins like one.
 */
int image_writer_resume(struct dev *out, struct layout_head *head, bool write_through,
	struct image_writer **w, struct err *e);

/* A data block that the image has already, for who asks whether the source still has it. */
struct image_sample {
	uint64_t off; /* in the source */
	size_t len;
	uint8_t hash[HASH_MAX_BYTES];
};
#define IMAGE_SAMPLES 8
/*
 * Of a resumed image some blocks, none with bad ranges: the first one, which holds the superblock
 * of most file systems, and others from all over what is there. Borrowed; *count may be 0.
 */
const struct image_sample *image_writer_samples(const struct image_writer *w, unsigned *count);
/* Drops what was not committed; does not close the device. NULL is fine. */
void image_writer_close(struct image_writer *w);

/* The file's name, for messages; borrowed. */
const char *image_writer_name(const struct image_writer *w);

/* The source offset of the next block to hand over: 0, or where a resumed image goes on. */
uint64_t image_writer_offset(const struct image_writer *w);

/* The next block is data: its frame and the hash of its plain bytes. */
int image_writer_data(struct image_writer *w, const void *frame, size_t stored, const uint8_t *hash,
	struct err *e);
/* The next `blocks` blocks are a hole: adjacent calls of one kind become one frame per chunk. */
int image_writer_hole(struct image_writer *w, enum entry_kind kind, uint64_t blocks, struct err *e);
/*
 * A range of the source that could not be read, inside the chunk under way, ascending; a block of
 * kind bad must be covered by it. To be called before the block at its place is handed over.
 */
int image_writer_bad(struct image_writer *w, uint64_t off, uint64_t len, struct err *e);

struct image_totals {
	uint64_t kind_bytes[ENTRY_KINDS]; /* source bytes by enum entry_kind, handed over so far */
	uint64_t bad_range_bytes, bad_range_count;
	uint64_t stored_bytes; /* of block and hole frames */
	uint64_t file_bytes;   /* written so far */
	uint64_t committed_bytes;
	uint64_t chunks; /* whole ones */
};
void image_writer_totals(const struct image_writer *w, struct image_totals *t);

/*
 * All blocks were handed over: write INDX, META, TAIL and the seek table, make it all durable,
 * and give the root hash. Fails with ERR_INTERNAL when blocks are missing. Of an image that is
 * complete (a capture does this as its last step) only the root hash is given.
 */
int image_writer_finish(struct image_writer *w, uint8_t root[SHA256_BYTES], struct err *e);

/*
 * Stop early: make what is whole durable, so that it can be resumed. The chunk under way is lost.
 * Done already (a capture that fails or is cut does it), or complete: nothing is left to do.
 */
int image_writer_stop(struct image_writer *w, struct err *e);

#endif
