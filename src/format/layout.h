/*
 * Offsets, sizes and limits of the records of docs/image-format-v2.md, and one decode function per
 * record (each a fuzz entry). Numbers only: what they mean is in the specification.
 */
#ifndef FORMAT_LAYOUT_H
#define FORMAT_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/hash.h"

#define RECORD_MAGIC 0x184D2A5Du
#define SEEK_MAGIC 0x184D2A5Eu
#define SEEK_FOOTER_MAGIC 0x8F92EAB1u
#define SEEK_HEAD_BYTES 8
#define SEEK_ENTRY_BYTES 8
#define SEEK_FOOTER_BYTES 9
#define SEEK_MAX_FRAMES 0x8000000u

#define RECORD_HEAD_BYTES 40 /* magic to padding length */
#define RECORD_SUM_BYTES 16
#define RECORD_OVERHEAD_BYTES (RECORD_HEAD_BYTES + RECORD_SUM_BYTES)
#define RECORD_ALIGN_BYTES 4096

#define HEAD_FIXED_BYTES 160
#define HEAD_MAX_BODY_BYTES ((uint32_t)1 << 20)
#define CHNK_BODY_BYTES 40
#define TABL_FIXED_BYTES 40
#define TABL_MAX_BODY_BYTES ((uint32_t)5 << 20)
#define TABL_MAX_BAD_RANGES 65536
#define ENTRY_FIXED_BYTES 12
#define BAD_RANGE_BYTES 16
#define INDX_FIXED_BYTES 8
#define INDX_ENTRY_BYTES 48
#define META_MAX_BODY_BYTES ((uint32_t)16 << 20)
#define CHNK_FRAME_BYTES (RECORD_OVERHEAD_BYTES + CHNK_BODY_BYTES)
#define TAIL_BODY_BYTES 152
#define TAIL_FRAME_BYTES (RECORD_OVERHEAD_BYTES + TAIL_BODY_BYTES)

#define SOURCE_MAX_BYTES ((uint64_t)1 << 52)
#define BLOCK_MIN_BYTES ((uint32_t)4 << 10)
#define BLOCK_MAX_BYTES ((uint32_t)16 << 20)
#define CHUNK_MAX_BYTES ((uint64_t)4 << 30)
#define CHUNK_MAX_BLOCKS 65536
#define CHUNKS_MAX 1048576

#define VERSION_MAJOR 2
#define VERSION_MINOR 0

enum record_type { REC_HEAD, REC_CHNK, REC_TABL, REC_INDX, REC_META, REC_COPY, REC_TAIL };

enum entry_kind { ENTRY_DATA = 1, ENTRY_ZERO = 2, ENTRY_FREE = 3, ENTRY_BAD = 4 };
#define ENTRY_KINDS 5

struct layout_head {
	uint16_t major, minor;
	uint64_t incompat, ro_compat, compat;
	uint8_t uuid[16];
	uint64_t source_bytes;
	uint64_t chunk_bytes;
	uint32_t block_bytes;
	uint32_t logical_bytes, physical_bytes;
	enum hash_kind hash;
	uint64_t created_s;
	uint8_t map_digest[XXH3_BYTES];
	uint8_t parent_uuid[16];
	uint8_t parent_root[SHA256_BYTES];
	const char *text; /* borrowed, not terminated: a JSON object */
	uint32_t text_len;
};

struct layout_chnk {
	uint64_t number, off, len;
	uint64_t prev_table;
	uint32_t prev_table_len;
};

struct layout_entry {
	enum entry_kind kind;
	uint32_t blocks;
	uint32_t stored;
	const uint8_t *hash; /* borrowed */
};

struct layout_tabl {
	uint64_t number, off, len;
	uint64_t stored_len;
	uint32_t entries, bad_ranges;
	const uint8_t *entry_bytes; /* borrowed; layout_entry_at and layout_bad_at read them */
	const uint8_t *bad_bytes;
	size_t hash_len;
};

struct layout_indx_entry {
	uint64_t chunk_pos, table_pos;
	uint32_t table_len, entries;
	uint64_t data_bytes;
	uint8_t table_sum[RECORD_SUM_BYTES];
};

struct layout_tail {
	uint64_t file_len, chunks, head_len, indx_pos, indx_len, meta_pos, meta_len, copy_pos;
	uint64_t seek_pos, seek_len;
	uint64_t kind_bytes[ENTRY_KINDS]; /* by enum entry_kind */
	uint64_t bad_range_bytes;
	uint8_t root[SHA256_BYTES];
};

/* Chunks of a source; the source offset and length of one; blocks in a length. */
uint64_t layout_chunk_count(const struct layout_head *h);
uint64_t layout_chunk_len(const struct layout_head *h, uint64_t number);
uint32_t layout_blocks(const struct layout_head *h, uint64_t len);

/* "HEAD", "CHNK", ... */
const char *layout_record_name(enum record_type type);

/*
 * Frame a body that stands at frame + RECORD_HEAD_BYTES: writes head, padding and checksum around
 * it. HEAD and TABL are padded to end at a multiple of RECORD_ALIGN_BYTES in the file. Returns the
 * whole length; layout_record_len says it beforehand (room needed).
 */
size_t layout_record_len(enum record_type type, uint64_t pos, uint32_t body_len);
size_t layout_record_seal(uint8_t *frame, enum record_type type, uint64_t pos, const uint8_t run[8],
	uint32_t body_len);

/*
 * Check a whole frame of exactly `len` bytes that stands at `pos`; *body and *body_len get its
 * body. run may be NULL (HEAD, where it is not known yet).
 */
int layout_record_open(const uint8_t *frame, size_t len, enum record_type type, uint64_t pos,
	const uint8_t run[8], const uint8_t **body, uint32_t *body_len, struct err *e);
/*
 * From the first RECORD_HEAD_BYTES of a frame: its whole length. Refuses what is not a record of
 * this type at this position, or is longer than its type allows.
 */
int layout_record_peek(const uint8_t *p, enum record_type type, uint64_t pos, const uint8_t run[8],
	size_t *len, struct err *e);

/* Encoders write the body and return its length; decoders check every field. */
uint32_t layout_head_encode(const struct layout_head *h, uint8_t *body);
int layout_head_decode(const uint8_t *body, size_t n, struct layout_head *h, struct err *e);
/* Are the sizes within the limits? Used by the decoder and before writing. */
int layout_head_check(const struct layout_head *h, struct err *e);
uint32_t layout_chnk_encode(const struct layout_chnk *c, uint8_t *body);
int layout_chnk_decode(const uint8_t *body, size_t n, const struct layout_head *h,
	struct layout_chnk *c, struct err *e);
int layout_tabl_decode(const uint8_t *body, size_t n, const struct layout_head *h,
	struct layout_tabl *t, struct err *e);
/* hash NULL: a hole, zeros. p has room for ENTRY_FIXED_BYTES + hash_n. */
void layout_entry_encode(const struct layout_entry *x, size_t hash_n, uint8_t *p);
struct layout_entry layout_entry_at(const struct layout_tabl *t, uint32_t i);
void layout_bad_at(const struct layout_tabl *t, uint32_t i, uint64_t *off, uint64_t *len);
void layout_indx_entry_encode(const struct layout_indx_entry *x, uint8_t *p);
void layout_indx_entry_decode(const uint8_t *p, struct layout_indx_entry *x);
/* The whole body: count and the chain of positions; head_len is where chunk 0 begins. */
int layout_indx_check(const uint8_t *body, size_t n, const struct layout_head *h, uint64_t head_len,
	uint64_t indx_pos, struct err *e);
uint32_t layout_tail_encode(const struct layout_tail *t, uint8_t *body);
int layout_tail_decode(const uint8_t *body, size_t n, struct layout_tail *t, struct err *e);
/*
 * From the last SEEK_FOOTER_BYTES of a file of this length: does it end in a seek table? Then
 * *table_len is the length of its whole frame, which lies inside the file.
 */
bool layout_seek_footer(const uint8_t *p, uint64_t file_len, uint64_t *table_len);

#endif
