/*
 * Which row lists files, and the records.
 *
 * A record: 0 u32 its length, 4 u32 ranges, 8 u16 length of the path, 10 u16 of `kept`, 12 u32 page
 * size of a swap area, 16 u64 size, 24 u64 allocated, 32, 40, 48 i64 times; then path, kept, and
 * each range as u64 offset, u64 length. It never leaves the machine, so it has no version.
 */
#include "fs/fs_files.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "fs/fs_ops.h"

#define HEADER_BYTES ((size_t)56)
#define SWAP_PAGE_MIN 4096
#define SWAP_PAGE_MAX 65536

static const struct fs_ops *listing_row(struct dev *d, struct err *e)
{
	struct fs_report r;
	const struct fs_ops *row = fs_find_row(d, &r);

	if (row && row->files)
		return row;
	err_set(e, ERR_FORMAT, 0, "%s",
		r.reason[0] != '\0' ? r.reason : "no files can be listed on this file system");
	return NULL;
}

int fs_files(struct dev *d, bool tree, fs_file_fn fn, void *user, struct err *e)
{
	const struct fs_ops *row = listing_row(d, e);

	return row ? row->files(d, tree, fn, user, e) : -ERR_FORMAT;
}

int fs_claims(struct dev *d, const struct map *ranges, uint64_t *bytes, struct err *e)
{
	const struct fs_ops *row = listing_row(d, e);

	return row ? row->claims(d, ranges, bytes, e) : -ERR_FORMAT;
}

size_t fs_file_encode(const struct fs_file *f, uint8_t *p)
{
	size_t path = strlen(f->path), kept = strlen(f->kept), n = HEADER_BYTES;

	put_le32(p + 4, (uint32_t)f->range_count);
	put_le16(p + 8, (uint16_t)path);
	put_le16(p + 10, (uint16_t)kept);
	put_le32(p + 12, f->swap_page_bytes);
	put_le64(p + 16, f->size_bytes);
	put_le64(p + 24, f->allocated_bytes);
	put_le64(p + 32, (uint64_t)f->created_s);
	put_le64(p + 40, (uint64_t)f->modified_s);
	put_le64(p + 48, (uint64_t)f->accessed_s);
	memcpy(p + n, f->path, path);
	n += path;
	memcpy(p + n, f->kept, kept);
	n += kept;
	for (size_t i = 0; i < f->range_count; i++, n += 16) {
		put_le64(p + n, f->ranges[i].off);
		put_le64(p + n + 8, f->ranges[i].len);
	}
	put_le32(p, (uint32_t)n);
	return n;
}

static int bad(struct err *e, const char *field)
{
	return err_set(e, ERR_FORMAT, 0, "a listed file: bad %s", field);
}

static int decode_ranges(const uint8_t *p, size_t count, uint64_t device_bytes, struct extent *out,
	struct err *e)
{
	uint64_t least = 0; /* where the next one may begin */

	for (size_t i = 0; i < count; i++, p += 16) {
		struct extent x = { get_le64(p), get_le64(p + 8), MAP_DATA };

		if (x.len == 0 || x.off < least || !range_inside(x.off, x.len, device_bytes))
			return bad(e, "range");
		least = x.off + x.len + 1; /* inside the device: no overflow */
		out[i] = x;
	}
	return 0;
}

int fs_file_decode(const uint8_t *p, size_t n, uint64_t device_bytes, struct fs_file_room *room,
	struct fs_file *f, struct err *e)
{
	size_t count, path, kept, len;
	uint32_t page;

	if (n < HEADER_BYTES)
		return bad(e, "length");
	len = get_le32(p);
	count = get_le32(p + 4);
	path = get_le16(p + 8);
	kept = get_le16(p + 10);
	page = get_le32(p + 12);
	if (count > FS_FILES_MAX_RANGES)
		return bad(e, "number of ranges");
	if (len > n || len != HEADER_BYTES + path + kept + 16 * count)
		return bad(e, "length");
	if (path == 0 || path > FS_FILES_MAX_PATH || p[HEADER_BYTES] != '/' ||
		memchr(p + HEADER_BYTES, '\0', path + kept) != NULL)
		return bad(e, "path");
	if (kept >= sizeof(f->kept))
		return bad(e, "reason");
	if (page != 0 && (page < SWAP_PAGE_MIN || page > SWAP_PAGE_MAX || !is_power_of_two(page)))
		return bad(e, "page size");
	memset(f, 0, sizeof(*f));
	memcpy(room->path, p + HEADER_BYTES, path);
	room->path[path] = '\0';
	memcpy(f->kept, p + HEADER_BYTES + path, kept);
	f->path = room->path;
	f->swap_page_bytes = page;
	f->size_bytes = get_le64(p + 16);
	f->allocated_bytes = get_le64(p + 24);
	f->created_s = (int64_t)get_le64(p + 32);
	f->modified_s = (int64_t)get_le64(p + 40);
	f->accessed_s = (int64_t)get_le64(p + 48);
	f->ranges = room->ranges;
	f->range_count = count;
	if (decode_ranges(p + len - 16 * count, count, device_bytes, room->ranges, e) < 0)
		return -ERR_FORMAT;
	return (int)len;
}
