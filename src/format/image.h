/*
 * Reading an image. A complete image opens from its end: TAIL, INDX, META, HEAD; block tables are
 * loaded when needed and kept in a small cache. Every block that is handed out was verified (R6).
 *
 * struct image may be used by many threads at once. It borrows the device of the image file, which
 * must outlive it. Errors: ERR_FORMAT not an image or a version or feature not supported;
 * ERR_DAMAGED a check failed; ERR_SOURCE the file could not be read, or the range is bad.
 */
#ifndef FORMAT_IMAGE_H
#define FORMAT_IMAGE_H

#include "codec/block.h"
#include "device/dev.h"
#include "format/layout.h"

struct image;

struct image_facts {
	struct layout_head head; /* text borrowed from the image */
	struct layout_tail tail;
	const char *meta; /* META's JSON, terminated, borrowed */
	size_t meta_len;
	uint64_t chunks;
};

/* One entry of a chunk, with its place worked out. */
struct chunk_entry {
	enum entry_kind kind;
	uint64_t off;	   /* source offset */
	uint64_t len;	   /* source bytes */
	uint64_t file_off; /* of its frame */
	uint32_t stored;
	uint8_t hash[HASH_MAX_BYTES];
};

struct bad_range {
	uint64_t off, len;
};

/* A chunk's checked table: immutable and counted; unref it with chunk_unref. */
struct chunk {
	uint64_t number, off, len;
	uint32_t count;
	uint32_t bad_count;
	const struct chunk_entry *entries;
	const struct bad_range *bad;
};

/* Open a complete image. */
int image_open(struct dev *file, struct image **out, struct err *e);
void image_close(struct image *i); /* NULL is fine; no chunk may be held any more */

const struct image_facts *image_facts(const struct image *i);
struct dev *image_file(const struct image *i);

/* Load and check the table of chunk `number`. */
int image_chunk(struct image *i, uint64_t number, const struct chunk **out, struct err *e);
void chunk_unref(struct image *i, const struct chunk *c); /* NULL is fine */

/* Index of the entry that holds a source offset inside the chunk. */
uint32_t chunk_find(const struct chunk *c, uint64_t off);
/* The first bad range that touches [off, off + len), or NULL. */
const struct bad_range *chunk_bad(const struct chunk *c, uint64_t off, uint64_t len);

/*
 * Unpack a data entry's frame (x->stored bytes) into dst (x->len bytes) and check its hash;
 * ERR_DAMAGED names the image, the source offset and the file offset.
 */
int image_unpack(const struct image *i, struct unpacker *u, const struct chunk_entry *x,
	const void *frame, void *dst, struct err *e);

/*
 * What reading blocks never looks at: the SHA-256 over HEAD, tables and META equals TAIL's, CHNK
 * and the seek table hold, the totals are those of the tables. Reads every table. With every
 * frame read besides, no byte of the file is unchecked.
 */
int image_check_root(struct image *i, struct err *e);

/*
 * The source as a read-only device. `cache_blocks` unpacked blocks are kept (0: the default).
 * Reads of bad ranges fail with ERR_SOURCE (EIO); zero and free read as zeros. The image stays the
 * caller's and must outlive the device. Safe from many threads.
 */
int image_dev(struct image *i, size_t cache_blocks, struct dev **out, struct err *e);

/* The same, with a cache that may be shared with other images, and that may read ahead. The device
 * keeps a reference to it. */
struct block_cache;
int image_dev_cached(struct image *i, struct block_cache *cache, struct dev **out, struct err *e);

#endif
