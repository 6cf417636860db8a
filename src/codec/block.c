/*
 * Data blocks: one zstd frame each, single segment, with content size and checksum.
 *
 * The parameters are zstd's own for the level and the length. Those that it has for bigger inputs,
 * laid on blocks of 256 KiB, were measured on 400 MiB of programs, libraries and documents: 5 %
 * faster at level 3 and 3 % at level 1, but 1.4 and 2.5 % bigger; larger hash tables win 0.1 % in
 * size and lose 5 % in speed.
 *
 * The header of a frame is checked here, byte by byte, before zstd sees the frame: a frame that
 * would give another number of bytes than the block has is refused before any byte comes out.
 */
#include "codec/block.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_d_forceIgnoreChecksum */
#include <zstd.h>
#include <zstd_errors.h>

#include "base/mem.h"

/* What zstd calls --fast=7 and --ultra -22. Level 0 is zstd's default level. */
#define LEVEL_MIN (-7)
#define LEVEL_MAX 22

#define WINDOW_MAX_BYTES (16 * MIB) /* specification, section 4 */

struct packer {
	ZSTD_CCtx *ctx;
	int level;
};

struct unpacker {
	ZSTD_DCtx *ctx;
};

int block_level_min(void)
{
	return LEVEL_MIN;
}

int block_level_max(void)
{
	return LEVEL_MAX < ZSTD_maxCLevel() ? LEVEL_MAX : ZSTD_maxCLevel();
}

size_t block_bound(size_t len)
{
	return len + len / 256 + 64 * KIB;
}

static int zstd_failed(struct err *e, const char *what, size_t code)
{
	return err_set(e, ERR_INTERNAL, 0, "zstd: %s: %s", what, ZSTD_getErrorName(code));
}

int packer_new(struct packer **out, struct err *e)
{
	struct packer *p = calloc(1, sizeof(*p));
	size_t rc = 0;

	*out = NULL;
	if (p == NULL)
		return err_nomem(e);
	p->level = ZSTD_CLEVEL_DEFAULT;
	p->ctx = ZSTD_createCCtx();
	if (p->ctx == NULL) {
		packer_free(p);
		return err_nomem(e);
	}
	rc = ZSTD_CCtx_setParameter(p->ctx, ZSTD_c_checksumFlag, 1);
	if (!ZSTD_isError(rc))
		rc = ZSTD_CCtx_setParameter(p->ctx, ZSTD_c_contentSizeFlag, 1);
	if (!ZSTD_isError(rc))
		rc = ZSTD_CCtx_setParameter(p->ctx, ZSTD_c_compressionLevel, p->level);
	if (ZSTD_isError(rc)) {
		packer_free(p);
		return zstd_failed(e, "set a parameter", rc);
	}
	*out = p;
	return 0;
}

void packer_free(struct packer *p)
{
	if (p == NULL)
		return;
	ZSTD_freeCCtx(p->ctx);
	free(p);
}

int packer_pack(struct packer *p, int level, const void *src, size_t len, void *dst, size_t cap,
	size_t *stored, struct err *e)
{
	size_t rc;

	if (level < block_level_min() || level > block_level_max())
		return err_set(e, ERR_USAGE, 0, "compression level %d is not one of %d to %d",
			level, block_level_min(), block_level_max());
	if (level != p->level) {
		rc = ZSTD_CCtx_setParameter(p->ctx, ZSTD_c_compressionLevel, level);
		if (ZSTD_isError(rc))
			return zstd_failed(e, "set the level", rc);
		p->level = level;
	}
	rc = ZSTD_compress2(p->ctx, dst, cap, src, len);
	if (ZSTD_isError(rc))
		return zstd_failed(e, "compress a block", rc);
	/* zstd's own bound is lower; a frame over the format's could not be read back. */
	if (rc > block_bound(len))
		return err_set(e, ERR_INTERNAL, 0, "zstd: a block of %zu bytes became %zu", len,
			rc);
	*stored = rc;
	return 0;
}

int unpacker_new(struct unpacker **out, struct err *e)
{
	struct unpacker *u = calloc(1, sizeof(*u));

	*out = NULL;
	if (u == NULL)
		return err_nomem(e);
	u->ctx = ZSTD_createDCtx();
	if (u->ctx == NULL) {
		unpacker_free(u);
		return err_nomem(e);
	}
	*out = u;
	return 0;
}

void unpacker_free(struct unpacker *u)
{
	if (u == NULL)
		return;
	ZSTD_freeDCtx(u->ctx);
	free(u);
}

/* A zstd that does not know the parameter refuses it, and goes on checking. */
void unpacker_skip_checksum(struct unpacker *u)
{
	ZSTD_DCtx_setParameter(u->ctx, ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum);
}

static int bad_frame(struct err *e, const char *field)
{
	return err_set(e, ERR_DAMAGED, 0, "block frame: bad %s", field);
}

/* RFC 8878, 3.1.1.1.2: the window of a frame that is not a single segment. */
static uint64_t window_bytes(uint8_t descriptor)
{
	uint64_t base = (uint64_t)1 << (10 + (descriptor >> 3));

	return base + base / 8 * (descriptor & 7);
}

/* RFC 8878, 3.1.1.1.4: the content size in its 1, 2, 4 or 8 bytes. */
static uint64_t content_bytes(const uint8_t *p, size_t n)
{
	switch (n) {
	case 1:
		return p[0];
	case 2:
		return get_le16(p) + 256u;
	case 4:
		return get_le32(p);
	default:
		return get_le64(p);
	}
}

/* RFC 8878, 3.1.1.1: magic, descriptor, window, dictionary, content size. */
static int check_header(const uint8_t *p, size_t stored, size_t len, struct err *e)
{
	static const uint8_t size_bytes[4] = { 0, 2, 4, 8 };
	size_t at = 5, n;
	bool single;

	if (stored < 5 || get_le32(p) != ZSTD_MAGICNUMBER)
		return bad_frame(e, "magic number");
	single = (p[4] & 0x20) != 0;
	n = size_bytes[p[4] >> 6];
	if (single && n == 0)
		n = 1;
	if ((p[4] & 0x08) != 0)
		return bad_frame(e, "reserved bit");
	if ((p[4] & 0x04) == 0)
		return bad_frame(e, "checksum flag");
	if ((p[4] & 0x03) != 0)
		return bad_frame(e, "dictionary flag");
	if (n == 0)
		return bad_frame(e, "content size (absent)");
	if (stored < at + !single + n)
		return bad_frame(e, "length");
	if (!single && window_bytes(p[at++]) > WINDOW_MAX_BYTES)
		return bad_frame(e, "window size");
	if (content_bytes(p + at, n) != len)
		return bad_frame(e, "content size");
	return 0;
}

int unpacker_unpack(struct unpacker *u, const void *frame, size_t stored, void *dst, size_t len,
	struct err *e)
{
	size_t rc;

	if (check_header(frame, stored, len, e) < 0)
		return -ERR_DAMAGED;
	/* Walks the block headers only: there must be one frame, and nothing behind it. */
	rc = ZSTD_findFrameCompressedSize(frame, stored);
	if (ZSTD_isError(rc) || rc != stored)
		return bad_frame(e, "frame length");
	rc = ZSTD_decompressDCtx(u->ctx, dst, len, frame, stored);
	if (ZSTD_isError(rc) && ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation)
		return err_nomem(e);
	if (ZSTD_isError(rc))
		return err_set(e, ERR_DAMAGED, 0, "block frame: %s", ZSTD_getErrorName(rc));
	if (rc != len)
		return bad_frame(e, "plain length");
	return 0;
}
