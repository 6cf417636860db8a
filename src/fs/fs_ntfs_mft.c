/*
 * The clusters of one MFT record ([NTFS] "FILE Record", "Fixup", "Attributes", "Data Runs").
 *
 * Record header: 0x00 "FILE", 0x04 offset and 0x06 count of the update sequence, 0x14 offset of the
 * first attribute, 0x16 flags (1: in use), 0x18 bytes in use. Attribute: 0x00 type (~0 ends them),
 * 0x04 length, 0x08 non-resident flag; when set, 0x10 first and 0x18 last virtual cluster, 0x20
 * offset of the data runs. A data run: a byte with the sizes of length (low four bits) and of the
 * signed distance from the run before (high four; 0: a hole), then the two; a zero byte ends them.
 *
 * Each record stands for itself: an attribute too long for one record is cut into pieces, each in a
 * record of its own and with distances that begin at cluster 0 again. So whoever looks at every
 * record needs no attribute list and follows no reference that could go in circles.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_ntfs_int.h"

#define RECORD_IN_USE 1
#define ATTRIBUTES_END UINT32_MAX
#define RESIDENT_BYTES 0x18 /* the shortest attribute headers */
#define NONRESIDENT_BYTES 0x40

static int bad(struct err *e, const char *why)
{
	return err_set(e, ERR_FORMAT, 0, "%s", why);
}

/* The last two bytes of each 512 hold a check value; the real ones are in the header. */
static int undo_fixup(uint8_t *rec, size_t n, struct err *e)
{
	size_t at = get_le16(rec + 0x04);
	size_t blocks = n / NTFS_FIXUP_BYTES;

	if (get_le16(rec + 0x06) != blocks + 1 || at % 2 != 0 || at < 0x28 ||
		at + 2 * (blocks + 1) > NTFS_FIXUP_BYTES - 2)
		return bad(e, "bad update sequence");
	for (size_t i = 0; i < blocks; i++) {
		uint8_t *end = rec + (i + 1) * NTFS_FIXUP_BYTES - 2;

		if (memcmp(end, rec + at, 2) != 0)
			return bad(e, "torn write (update sequence mismatch)");
		memcpy(end, rec + at + 2 * (i + 1), 2);
	}
	return 0;
}

/* A little-endian number of 1 to 8 bytes, sign-extended. */
static int64_t get_signed(const uint8_t *p, size_t n)
{
	uint64_t v = p[n - 1] & 0x80 ? UINT64_MAX : 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return (int64_t)v;
}

/* Data runs in [p, end), which must map `expected` virtual clusters. */
static int decode_runs(const uint8_t *p, const uint8_t *end, uint64_t expected, uint64_t clusters,
	fs_ntfs_run_fn fn, void *user, struct err *e)
{
	int64_t cluster = 0;
	uint64_t seen = 0;

	for (;;) {
		size_t len_size, off_size;
		int64_t count, distance;
		int rc;

		if (p >= end)
			return bad(e, "data runs without an end");
		if (*p == 0)
			break;
		len_size = *p & 15;
		off_size = *p >> 4;
		p++;
		if (len_size == 0 || len_size > 8 || off_size > 8 ||
			(size_t)(end - p) < len_size + off_size)
			return bad(e, "bad data run");
		count = get_signed(p, len_size);
		if (count <= 0 || !add_u64(seen, (uint64_t)count, &seen))
			return bad(e, "bad length of a data run");
		p += len_size;
		if (off_size == 0)
			continue; /* a hole */
		distance = get_signed(p, off_size);
		p += off_size;
		if (__builtin_add_overflow(cluster, distance, &cluster) || cluster < 0 ||
			!range_inside((uint64_t)cluster, (uint64_t)count, clusters))
			return bad(e, "data run outside the volume");
		rc = fn(user, (uint64_t)cluster, (uint64_t)count, e);
		if (rc < 0)
			return rc;
	}
	if (seen != expected)
		return bad(e, "data runs do not match the attribute");
	return 0;
}

static int attribute_runs(const uint8_t *a, size_t n, uint64_t clusters, fs_ntfs_run_fn fn,
	void *user, struct err *e)
{
	uint64_t first, last;
	size_t runs;

	if (a[0x08] == 0)
		return 0;
	if (n < NONRESIDENT_BYTES)
		return bad(e, "attribute header cut short");
	first = get_le64(a + 0x10);
	last = get_le64(a + 0x18);
	runs = get_le16(a + 0x20);
	if (runs < NONRESIDENT_BYTES || runs > n)
		return bad(e, "data runs outside their attribute");
	/* An attribute without clusters has the last one at -1. */
	if (last + 1 < first || (last == UINT64_MAX && first != 0))
		return bad(e, "bad virtual clusters");
	return decode_runs(a + runs, a + n, last + 1 - first, clusters, fn, user, e);
}

int fs_ntfs_record_runs(uint8_t *rec, size_t n, uint64_t clusters, fs_ntfs_run_fn fn, void *user,
	struct err *e)
{
	size_t at, used;
	int rc;

	if (n < NTFS_MIN_RECORD_BYTES || n % NTFS_FIXUP_BYTES != 0)
		return bad(e, "bad record size");
	if (get_le32(rec) == 0)
		return 0; /* never written */
	if (memcmp(rec, "FILE", 4) != 0)
		return bad(e, "no FILE signature");
	rc = undo_fixup(rec, n, e);
	if (rc < 0)
		return rc;
	if (!(get_le16(rec + 0x16) & RECORD_IN_USE))
		return 0;
	at = get_le16(rec + 0x14);
	used = get_le32(rec + 0x18);
	if (at < 0x28 || at % 8 != 0 || used > n)
		return bad(e, "bad record header");
	for (;;) {
		size_t len;

		if (at + 4 > used)
			return bad(e, "attributes without an end");
		if (get_le32(rec + at) == ATTRIBUTES_END)
			return 0;
		len = at + 8 > used ? 0 : get_le32(rec + at + 4);
		if (len < RESIDENT_BYTES || len % 8 != 0 || len > used - at)
			return bad(e, "bad length of an attribute");
		rc = attribute_runs(rec + at, len, clusters, fn, user, e);
		if (rc < 0)
			return rc;
		at += len;
	}
}
