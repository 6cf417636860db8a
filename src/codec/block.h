/*
 * zstd frames: one block in, one independent frame out, with content size and checksum; and hole
 * frames, whose bytes follow from their length (specification, sections 4 and 5). A packer or
 * unpacker holds reused zstd contexts and belongs to one thread.
 */
#ifndef CODEC_BLOCK_H
#define CODEC_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HOLE_MAX_BYTES ((uint64_t)512 << 20)

struct packer;
int packer_new(struct packer **out, struct err *e);
void packer_free(struct packer *p);
/*
 * Compress src into dst (cap at least block_bound(len)); *stored gets the frame's length. Equal
 * input, level and length give equal bytes, whatever was packed before.
 */
int packer_pack(struct packer *p, int level, const void *src, size_t len, void *dst, size_t cap,
	size_t *stored, struct err *e);
/* The most bytes a frame of len bytes may have: the format's bound (section 4). */
size_t block_bound(size_t len);
/* Levels that packer_pack takes. */
int block_level_min(void);
int block_level_max(void);

struct unpacker;
int unpacker_new(struct unpacker **out, struct err *e);
void unpacker_free(struct unpacker *u);
/* For who checks a hash of the plain bytes anyway: zstd's own checksum is not computed any more. */
void unpacker_skip_checksum(struct unpacker *u);
/* Decompress exactly one frame of exactly len plain bytes; anything else is ERR_DAMAGED. */
int unpacker_unpack(struct unpacker *u, const void *frame, size_t stored, void *dst, size_t len,
	struct err *e);

/* Bytes of the hole frame for len (1 to HOLE_MAX_BYTES) plain bytes. */
size_t hole_stored_bytes(uint64_t len);
/*
 * Bytes [from, from + n) of that frame into dst; n is cut at the frame's end and returned. Constant
 * memory whatever the length.
 */
size_t hole_bytes(uint64_t len, size_t from, uint8_t *dst, size_t n);

#endif
