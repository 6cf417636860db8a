/* HEAD: specification, section 3.1. */
#include <inttypes.h>

#include "format/layout.h"
#include "format/layout_int.h"

#define SECTOR_MIN_BYTES 512u
#define SECTOR_MAX_BYTES (64u << 10)

#define INCOMPAT_KNOWN ((uint64_t)0)

_Static_assert(HEAD_FIXED_BYTES == 160, "the fixed part of HEAD");

uint64_t layout_chunk_count(const struct layout_head *h)
{
	return div_up(h->source_bytes, h->chunk_bytes);
}

uint64_t layout_chunk_len(const struct layout_head *h, uint64_t number)
{
	return min_u64(h->chunk_bytes, h->source_bytes - number * h->chunk_bytes);
}

uint32_t layout_blocks(const struct layout_head *h, uint64_t len)
{
	return (uint32_t)div_up(len, h->block_bytes);
}

uint32_t layout_head_encode(const struct layout_head *h, uint8_t *body)
{
	memset(body, 0, HEAD_FIXED_BYTES);
	put_le16(body, h->major);
	put_le16(body + 2, h->minor);
	put_le64(body + 8, h->incompat);
	put_le64(body + 16, h->ro_compat);
	put_le64(body + 24, h->compat);
	memcpy(body + 32, h->uuid, sizeof(h->uuid));
	put_le64(body + 48, h->source_bytes);
	put_le64(body + 56, h->chunk_bytes);
	put_le32(body + 64, h->block_bytes);
	put_le32(body + 68, h->logical_bytes);
	put_le32(body + 72, h->physical_bytes);
	body[76] = (uint8_t)h->hash;
	put_le64(body + 80, h->created_s);
	memcpy(body + 88, h->map_digest, sizeof(h->map_digest));
	memcpy(body + 104, h->parent_uuid, sizeof(h->parent_uuid));
	memcpy(body + 120, h->parent_root, sizeof(h->parent_root));
	put_le32(body + 152, h->text_len);
	memcpy(body + HEAD_FIXED_BYTES, h->text, h->text_len);
	return HEAD_FIXED_BYTES + h->text_len;
}

static int check_version(const struct layout_head *h, struct err *e)
{
	if (h->major != VERSION_MAJOR)
		return err_set(e, ERR_FORMAT, 0, "HEAD: major version %u is not supported, only %d",
			h->major, VERSION_MAJOR);
	if ((h->incompat & ~INCOMPAT_KNOWN) != 0)
		return err_set(e, ERR_FORMAT, 0,
			"HEAD: incompat: features 0x%" PRIx64 " are not supported",
			h->incompat & ~INCOMPAT_KNOWN);
	return 0;
}

static bool is_sector(uint32_t bytes)
{
	return is_power_of_two(bytes) && bytes >= SECTOR_MIN_BYTES && bytes <= SECTOR_MAX_BYTES;
}

int layout_head_check(const struct layout_head *h, struct err *e)
{
	int rc = check_version(h, e);

	if (rc < 0)
		return rc;
	if (mem_is_zero(h->uuid, sizeof(h->uuid)))
		return layout_bad(e, "HEAD", "image UUID");
	if (h->source_bytes > SOURCE_MAX_BYTES)
		return layout_bad(e, "HEAD", "source size");
	if (!is_power_of_two(h->block_bytes) || h->block_bytes < BLOCK_MIN_BYTES ||
		h->block_bytes > BLOCK_MAX_BYTES)
		return layout_bad(e, "HEAD", "block size");
	if (h->chunk_bytes == 0 || h->chunk_bytes > CHUNK_MAX_BYTES ||
		h->chunk_bytes % h->block_bytes != 0 ||
		h->chunk_bytes / h->block_bytes > CHUNK_MAX_BLOCKS)
		return layout_bad(e, "HEAD", "chunk size");
	if (layout_chunk_count(h) > CHUNKS_MAX)
		return layout_bad(e, "HEAD", "chunk size (too many chunks)");
	if (!is_sector(h->logical_bytes))
		return layout_bad(e, "HEAD", "logical sector size");
	if (!is_sector(h->physical_bytes))
		return layout_bad(e, "HEAD", "physical sector size");
	if (hash_len(h->hash) == 0)
		return layout_bad(e, "HEAD", "hash");
	if (h->text_len > HEAD_MAX_BODY_BYTES - HEAD_FIXED_BYTES)
		return layout_bad(e, "HEAD", "text length");
	return 0;
}

static void decode_fields(const uint8_t *body, struct layout_head *h)
{
	h->major = get_le16(body);
	h->minor = get_le16(body + 2);
	h->incompat = get_le64(body + 8);
	h->ro_compat = get_le64(body + 16);
	h->compat = get_le64(body + 24);
	memcpy(h->uuid, body + 32, sizeof(h->uuid));
	h->source_bytes = get_le64(body + 48);
	h->chunk_bytes = get_le64(body + 56);
	h->block_bytes = get_le32(body + 64);
	h->logical_bytes = get_le32(body + 68);
	h->physical_bytes = get_le32(body + 72);
	h->hash = (enum hash_kind)body[76];
	h->created_s = get_le64(body + 80);
	memcpy(h->map_digest, body + 88, sizeof(h->map_digest));
	memcpy(h->parent_uuid, body + 104, sizeof(h->parent_uuid));
	memcpy(h->parent_root, body + 120, sizeof(h->parent_root));
	h->text_len = get_le32(body + 152);
	h->text = (const char *)body + HEAD_FIXED_BYTES;
}

int layout_head_decode(const uint8_t *body, size_t n, struct layout_head *h, struct err *e)
{
	int rc;

	if (n < HEAD_FIXED_BYTES)
		return layout_bad(e, "HEAD", "body length");
	decode_fields(body, h);
	/* Version and features first: the rest may mean something else in a version to come. */
	rc = check_version(h, e);
	if (rc < 0)
		return rc;
	if (get_le32(body + 4) != 0 || !mem_is_zero(body + 77, 3) || get_le32(body + 156) != 0)
		return layout_bad(e, "HEAD", "reserved field");
	if (h->text_len != n - HEAD_FIXED_BYTES)
		return layout_bad(e, "HEAD", "text length");
	return layout_head_check(h, e);
}
