/*
 * Text and links of NTFS.
 *
 * Reparse points ([MS-FSCC] 2.1.2): symbolic links, junctions and the links of WSL are links. What
 * has another tag is what its record says, a directory or a file; but a file whose unnamed data may
 * not be what Windows shows (compressed by WOF, deduplicated, in a cloud) can't be read: its zeros
 * would look like content. Links as ntfs-3g makes them (Interix) are files marked as system files
 * that begin with a magic number (<ntfs-3g/layout.h>, INTX_FILE).
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "files/files_ntfs_int.h"

#define REPARSE_MAX_BYTES 16384 /* [MS-FSCC] 2.1.2 */
#define REPARSE_HEAD_BYTES 8	/* tag, length of what follows, reserved */
#define WSL_LINK_HEAD_BYTES 4	/* a version before the target, which is UTF-8 */
#define WSL_LINK_VERSION 2
#define INTX_HEAD_BYTES 8

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 63));
		out[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 63));
	out[2] = (char)(0x80 | (c >> 6 & 63));
	out[3] = (char)(0x80 | (c & 63));
	return 4;
}

bool ntfs_to_utf8(const uint8_t *in, size_t units, char *out, size_t cap, size_t *len)
{
	size_t used = 0;

	for (size_t i = 0; i < units; i++) {
		uint32_t c = get_le16(in + 2 * i), low;

		/* The longest sequence, and the zero byte. */
		if (used + 5 > cap)
			return false;
		if (c >= 0xd800 && c < 0xdc00 && i + 1 < units) {
			low = get_le16(in + 2 * i + 2);
			if (low >= 0xdc00 && low < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				i++;
			}
		}
		used += put_utf8(out + used, c);
	}
	out[used] = '\0';
	*len = used;
	return true;
}

/* ---- Links ------------------------------------------------------------------------------- */

int ntfs_read_reparse(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, uint8_t **out, size_t *n,
	struct err *e)
{
	s64 size = 0;

	*out = NULL;
	*n = 0;
	if (!(ni->flags & FILE_ATTR_REPARSE_POINT))
		return 0;
	*out = ntfs_attr_readall(ni, AT_REPARSE_POINT, AT_UNNAMED, 0, &size);
	if (*out == NULL)
		return ntfs_tree_fail(t, id, "read its reparse point", e);
	if (size < REPARSE_HEAD_BYTES || size > REPARSE_MAX_BYTES) {
		free(*out);
		*out = NULL;
		return ntfs_tree_refuse(id, "its reparse point has an impossible length", e);
	}
	*n = (size_t)size;
	return 0;
}

static bool tag_is(const uint8_t *reparse, size_t n, le32 tag)
{
	return n > 0 && get_le32(reparse) == le32_to_cpu(tag);
}

bool ntfs_is_reparse_link(const uint8_t *p, size_t n)
{
	return tag_is(p, n, IO_REPARSE_TAG_SYMLINK) || tag_is(p, n, IO_REPARSE_TAG_MOUNT_POINT) ||
		tag_is(p, n, IO_REPARSE_TAG_LX_SYMLINK);
}

/*
 * A path of Windows as one of Unix: "\??\C:\x" becomes "C:/x"; of the volume's root nobody knows.
 */
static void from_windows(char *path, size_t *len)
{
	if (strncmp(path, "\\??\\", 4) == 0 || strncmp(path, "\\\\?\\", 4) == 0) {
		memmove(path, path + 4, *len - 4 + 1);
		*len -= 4;
	}
	for (size_t i = 0; i < *len; i++)
		if (path[i] == '\\')
			path[i] = '/';
}

/*
 * [MS-FSCC] 2.1.2.4 and 2.1.2.5: behind the head offset and length of the substitute name, and of
 * the print name, 2 bytes each; a symbolic link has 4 bytes of flags; then the names.
 */
static int windows_target(const uint8_t *p, size_t n, uint64_t id, char *out, size_t *len,
	struct err *e)
{
	size_t names = REPARSE_HEAD_BYTES + 8 + (tag_is(p, n, IO_REPARSE_TAG_SYMLINK) ? 4 : 0);
	size_t off, bytes;

	if (n < names)
		return ntfs_tree_refuse(id, "its link is too short", e);
	off = get_le16(p + REPARSE_HEAD_BYTES);
	bytes = get_le16(p + REPARSE_HEAD_BYTES + 2);
	if (off % 2 != 0 || bytes % 2 != 0 || !range_inside(off, bytes, n - names))
		return ntfs_tree_refuse(id, "its link's name lies outside", e);
	if (!ntfs_to_utf8(p + names + off, bytes / 2, out, FILES_LINK_MAX_BYTES + 1, len))
		return ntfs_tree_refuse(id, "its link is too long", e);
	if (strlen(out) == *len)
		from_windows(out, len);
	return 0;
}

static int wsl_target(const uint8_t *p, size_t n, uint64_t id, char *out, size_t *len,
	struct err *e)
{
	size_t head = REPARSE_HEAD_BYTES + WSL_LINK_HEAD_BYTES;

	if (n < head || n - head > FILES_LINK_MAX_BYTES)
		return ntfs_tree_refuse(id, "its link has an impossible length", e);
	if (get_le32(p + REPARSE_HEAD_BYTES) != WSL_LINK_VERSION)
		return ntfs_tree_refuse(id, "its link has an unknown version", e);
	*len = n - head;
	memcpy(out, p + head, *len);
	out[*len] = '\0';
	return 0;
}

/* All of the unnamed data up to `cap` bytes, when there is no more. */
static int read_small(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, uint8_t *buf, size_t len,
	struct err *e)
{
	ntfs_attr *a = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
	s64 got = a == NULL ? -1 : ntfs_attr_pread(a, 0, (s64)len, buf);

	if (a != NULL)
		ntfs_attr_close(a);
	return got == (s64)len ? 0 : ntfs_tree_fail(t, id, "read it", e);
}

int ntfs_check_interix(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, bool *yes, struct err *e)
{
	uint8_t head[INTX_HEAD_BYTES];
	int rc;

	*yes = false;
	if (!(ni->flags & FILE_ATTR_SYSTEM) || (ni->mrec->flags & MFT_RECORD_IS_DIRECTORY) ||
		ni->data_size <= INTX_HEAD_BYTES ||
		ni->data_size > INTX_HEAD_BYTES + 2 * FILES_LINK_MAX_BYTES)
		return 0;
	rc = read_small(t, ni, id, head, sizeof(head), e);
	*yes = rc == 0 && get_le64(head) == le64_to_cpu(INTX_SYMBOLIC_LINK);
	return rc;
}

static int interix_target(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, char *out, size_t *len,
	struct err *e)
{
	size_t n = (size_t)ni->data_size;
	uint8_t *data = malloc(n);
	int rc;

	if (data == NULL)
		return err_nomem(e);
	rc = read_small(t, ni, id, data, n, e);
	if (rc == 0 &&
		!ntfs_to_utf8(data + INTX_HEAD_BYTES, (n - INTX_HEAD_BYTES) / 2, out,
			FILES_LINK_MAX_BYTES + 1, len))
		rc = ntfs_tree_refuse(id, "its link is too long", e);
	free(data);
	return rc;
}

int ntfs_read_target(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, char *out, size_t *len,
	struct err *e)
{
	uint8_t *reparse;
	bool interix = false;
	size_t n;
	int rc = ntfs_read_reparse(t, ni, id, &reparse, &n, e);

	if (rc == 0 && n == 0)
		rc = ntfs_check_interix(t, ni, id, &interix, e);
	if (rc < 0)
		return rc;
	if (interix)
		rc = interix_target(t, ni, id, out, len, e);
	else if (tag_is(reparse, n, IO_REPARSE_TAG_LX_SYMLINK))
		rc = wsl_target(reparse, n, id, out, len, e);
	else if (ntfs_is_reparse_link(reparse, n))
		rc = windows_target(reparse, n, id, out, len, e);
	else
		rc = ntfs_tree_refuse(id, "not a link", e);
	free(reparse);
	if (rc == 0 && (*len == 0 || strlen(out) != *len))
		rc = ntfs_tree_refuse(id, "the link's target is empty or has a zero byte in it", e);
	return rc;
}
