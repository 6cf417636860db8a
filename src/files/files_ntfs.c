/*
 * Files of NTFS, through libntfs-3g, which reads compressed and sparse data right. Node numbers are
 * MFT references: record number and sequence number, so that a stale one is noticed.
 *
 * Names and targets are turned into UTF-8; a lone surrogate, which Windows allows, into the three
 * bytes that UTF-8 would have for it, so that no two names become one. Names of the DOS namespace,
 * alternate streams and the system files (records 0 to 15) are left out.
 *
 * Reparse points ([MS-FSCC] 2.1.2): symbolic links, junctions and the links of WSL are links. What
 * has another tag is what its record says, a directory or a file; but a file whose unnamed data may
 * not be what Windows shows (compressed by WOF, deduplicated, in a cloud) can't be read: its zeros
 * would look like content. Links as ntfs-3g makes them (Interix) are files marked as system files
 * that begin with a magic number (<ntfs-3g/layout.h>, INTX_FILE).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h> /* for the library's headers */

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/volume.h>

#include "adapter/ntfs_io.h"
#include "base/mem.h"
#include "files/files_ops.h"
#include "fs/fs_volume.h"

/* Runs in many extension records, compressed units and index blocks need many; circles end here. */
#define FILE_READS 32768
#define DIRECTORY_READS ((uint64_t)1 << 20)

#define NTFS_TIME_1970 INT64_C(116444736000000000) /* in units of 100 ns since 1601 */
#define NTFS_TIME_PER_S 10000000

/* There are no Unix permissions: everybody may look. */
#define FILE_MODE 0644
#define DIRECTORY_MODE 0755

#define REPARSE_MAX_BYTES 16384 /* [MS-FSCC] 2.1.2 */
#define REPARSE_HEAD_BYTES 8	/* tag, length of what follows, reserved */
#define SYMLINK_RELATIVE 1
#define WSL_LINK_HEAD_BYTES 4 /* a version before the target, which is UTF-8 */
#define WSL_LINK_VERSION 2
#define INTX_HEAD_BYTES 8

struct ntfs_tree {
	struct files base;
	struct ntfs_io *io;
	ntfs_volume *vol;
};

static int refuse(uint64_t id, const char *what, struct err *e)
{
	return err_set(e, ERR_FORMAT, 0, "MFT record %" PRIu64 ": %s", MREF(id), what);
}

static int lib_fail(struct ntfs_tree *t, uint64_t id, const char *what, struct err *e)
{
	struct err why = { 0 };

	ntfs_io_fail(t->io, &why, what);
	return err_set(e, (enum err_code)why.code, 0, "MFT record %" PRIu64 ": %s", MREF(id),
		why.msg);
}

static int open_inode(struct ntfs_tree *t, uint64_t id, uint64_t reads, ntfs_inode **out,
	struct err *e)
{
	*out = NULL;
	if (MREF(id) < FILE_first_user && MREF(id) != FILE_root)
		return refuse(id, "a system file", e);
	ntfs_io_begin(t->io, reads);
	*out = ntfs_inode_open(t->vol, id);
	return *out != NULL ? 0 : lib_fail(t, id, "open it", e);
}

/* ---- Text -------------------------------------------------------------------------------- */

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

/* UTF-16LE of `units` to UTF-8, terminated; false when it does not fit into cap bytes. */
static bool to_utf8(const uint8_t *in, size_t units, char *out, size_t cap, size_t *len)
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

/* The reparse point of an inode, malloc'ed, checked for its head; *n stays 0 when there is none. */
static int read_reparse(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, uint8_t **out, size_t *n,
	struct err *e)
{
	s64 size = 0;

	*out = NULL;
	*n = 0;
	if (!(ni->flags & FILE_ATTR_REPARSE_POINT))
		return 0;
	*out = ntfs_attr_readall(ni, AT_REPARSE_POINT, AT_UNNAMED, 0, &size);
	if (*out == NULL)
		return lib_fail(t, id, "read its reparse point", e);
	if (size < REPARSE_HEAD_BYTES || size > REPARSE_MAX_BYTES) {
		free(*out);
		*out = NULL;
		return refuse(id, "its reparse point has an impossible length", e);
	}
	*n = (size_t)size;
	return 0;
}

static bool tag_is(const uint8_t *reparse, size_t n, le32 tag)
{
	return n > 0 && get_le32(reparse) == le32_to_cpu(tag);
}

static bool is_reparse_link(const uint8_t *p, size_t n)
{
	return tag_is(p, n, IO_REPARSE_TAG_SYMLINK) || tag_is(p, n, IO_REPARSE_TAG_MOUNT_POINT) ||
		tag_is(p, n, IO_REPARSE_TAG_LX_SYMLINK);
}

/* A path of Windows as one of Unix: "\??\C:\x" becomes "C:/x"; of the volume's root nobody knows. */
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
		return refuse(id, "its link is too short", e);
	off = get_le16(p + REPARSE_HEAD_BYTES);
	bytes = get_le16(p + REPARSE_HEAD_BYTES + 2);
	if (off % 2 != 0 || bytes % 2 != 0 || !range_inside(off, bytes, n - names))
		return refuse(id, "its link's name lies outside", e);
	if (!to_utf8(p + names + off, bytes / 2, out, FILES_LINK_MAX_BYTES + 1, len))
		return refuse(id, "its link is too long", e);
	if (strlen(out) == *len)
		from_windows(out, len);
	return 0;
}

static int wsl_target(const uint8_t *p, size_t n, uint64_t id, char *out, size_t *len,
	struct err *e)
{
	size_t head = REPARSE_HEAD_BYTES + WSL_LINK_HEAD_BYTES;

	if (n < head || n - head > FILES_LINK_MAX_BYTES)
		return refuse(id, "its link has an impossible length", e);
	if (get_le32(p + REPARSE_HEAD_BYTES) != WSL_LINK_VERSION)
		return refuse(id, "its link has an unknown version", e);
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
	return got == (s64)len ? 0 : lib_fail(t, id, "read it", e);
}

/* Is it a link as ntfs-3g makes them? Sets *yes. */
static int check_interix(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, bool *yes, struct err *e)
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
		!to_utf8(data + INTX_HEAD_BYTES, (n - INTX_HEAD_BYTES) / 2, out,
			FILES_LINK_MAX_BYTES + 1, len))
		rc = refuse(id, "its link is too long", e);
	free(data);
	return rc;
}

static int read_target(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, char *out, size_t *len,
	struct err *e)
{
	uint8_t *reparse;
	bool interix = false;
	size_t n;
	int rc = read_reparse(t, ni, id, &reparse, &n, e);

	if (rc == 0 && n == 0)
		rc = check_interix(t, ni, id, &interix, e);
	if (rc < 0)
		return rc;
	if (interix)
		rc = interix_target(t, ni, id, out, len, e);
	else if (tag_is(reparse, n, IO_REPARSE_TAG_LX_SYMLINK))
		rc = wsl_target(reparse, n, id, out, len, e);
	else if (is_reparse_link(reparse, n))
		rc = windows_target(reparse, n, id, out, len, e);
	else
		rc = refuse(id, "not a link", e);
	free(reparse);
	if (rc == 0 && (*len == 0 || strlen(out) != *len))
		rc = refuse(id, "the link's target is empty or has a zero byte in it", e);
	return rc;
}

static int ntfs_link_target(struct files *f, uint64_t id, char *out, size_t *len, struct err *e)
{
	struct ntfs_tree *t = (struct ntfs_tree *)f;
	ntfs_inode *ni;
	int rc = open_inode(t, id, FILE_READS, &ni, e);

	if (rc < 0)
		return rc;
	*len = 0;
	rc = read_target(t, ni, id, out, len, e);
	ntfs_inode_close(ni);
	return rc;
}

/* ---- Facts ------------------------------------------------------------------------------- */

static struct files_time time_of(ntfs_time raw)
{
	int64_t t = (int64_t)sle64_to_cpu(raw);
	int64_t units;
	struct files_time out = { 0 };

	/* Before 1601 there are none, and nothing below overflows. */
	if (t < 0)
		return out;
	t -= NTFS_TIME_1970;
	units = (t % NTFS_TIME_PER_S + NTFS_TIME_PER_S) % NTFS_TIME_PER_S;
	out.s = (t - units) / NTFS_TIME_PER_S;
	out.ns = (uint32_t)units * 100;
	return out;
}

/* Names in directories; a DOS name is a second form of one that is counted already. */
static int count_names(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, uint64_t *out,
	struct err *e)
{
	ntfs_attr_search_ctx *ctx = ntfs_attr_get_search_ctx(ni, NULL);
	int rc = 0;

	if (ctx == NULL)
		return err_nomem(e);
	while (ntfs_attr_lookup(AT_FILE_NAME, AT_UNNAMED, 0, CASE_SENSITIVE, 0, NULL, 0, ctx) ==
		0) {
		const ATTR_RECORD *a = ctx->attr;
		uint32_t length = le32_to_cpu(a->value_length);
		const uint8_t *value = (const uint8_t *)a + le16_to_cpu(a->value_offset);

		if (a->non_resident || length < sizeof(FILE_NAME_ATTR)) {
			rc = refuse(id, "one of its names is damaged", e);
			goto out;
		}
		if (((const FILE_NAME_ATTR *)value)->file_name_type != FILE_NAME_DOS)
			++*out;
	}
	if (errno != ENOENT)
		rc = lib_fail(t, id, "read its names", e);
out:
	ntfs_attr_put_search_ctx(ctx);
	return rc;
}

/* What kind it is; a link's size is that of its target. */
static int find_type(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, struct files_node *out,
	struct err *e)
{
	char target[FILES_LINK_MAX_BYTES + 1];
	bool directory = (ni->mrec->flags & MFT_RECORD_IS_DIRECTORY) != 0, link = false;
	uint8_t *reparse;
	size_t n, len = 0;
	int rc = read_reparse(t, ni, id, &reparse, &n, e);

	if (rc == 0 && n == 0)
		rc = check_interix(t, ni, id, &link, e);
	link = link || is_reparse_link(reparse, n);
	free(reparse);
	if (rc == 0 && link)
		rc = read_target(t, ni, id, target, &len, e);
	out->type = link ? FILES_LINK : directory ? FILES_DIRECTORY : FILES_REGULAR;
	out->size = link ? len : (uint64_t)ni->data_size;
	out->mode = link ? 0777 : directory ? DIRECTORY_MODE : FILE_MODE;
	return rc;
}

static int ntfs_stat(struct files *f, uint64_t id, struct files_node *out, struct err *e)
{
	struct ntfs_tree *t = (struct ntfs_tree *)f;
	ntfs_inode *ni;
	int rc = open_inode(t, id, FILE_READS, &ni, e);

	if (rc < 0)
		return rc;
	out->id = id;
	out->modified = time_of(ni->last_data_change_time);
	out->changed = time_of(ni->last_mft_change_time);
	out->accessed = time_of(ni->last_access_time);
	if (ni->data_size < 0 || ni->allocated_size < 0)
		rc = refuse(id, "its size is negative", e);
	if (rc == 0) {
		out->allocated_bytes = (uint64_t)ni->allocated_size;
		rc = count_names(t, ni, id, &out->links, e);
	}
	if (rc == 0)
		rc = find_type(t, ni, id, out, e);
	ntfs_inode_close(ni);
	return rc;
}

/* ---- Directories ------------------------------------------------------------------------- */

struct listing {
	uint64_t id;
	files_list_fn fn;
	void *user;
	int rc;
	struct err *e;
};

static int list_entry(void *user, const ntfschar *units, const int count, const int name_type,
	const s64 pos, const MFT_REF mref, const unsigned dt_type)
{
	struct listing *l = user;
	char name[FILES_NAME_MAX_BYTES + 5];
	size_t len;
	enum files_type type = dt_type == NTFS_DT_DIR ? FILES_DIRECTORY
		: dt_type == NTFS_DT_LNK	      ? FILES_LINK
						      : FILES_UNKNOWN;

	(void)pos;
	if (name_type == FILE_NAME_DOS || MREF(mref) < FILE_first_user)
		return 0;
	if (count < 0 ||
		!to_utf8((const uint8_t *)units, (size_t)count, name, sizeof(name), &len)) {
		l->rc = refuse(l->id, "a name in this directory is too long", l->e);
		return -1;
	}
	/* The library makes these two up. */
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (files_name_ok(name, len))
		l->rc = l->fn(l->user, name, len, mref, type, l->e);
	else
		l->rc = refuse(l->id, "an entry of this directory has no proper name", l->e);
	return l->rc < 0 ? -1 : 0;
}

static int ntfs_list(struct files *f, uint64_t id, files_list_fn fn, void *user, struct err *e)
{
	struct ntfs_tree *t = (struct ntfs_tree *)f;
	struct listing l = { .id = id, .fn = fn, .user = user, .e = e };
	ntfs_inode *ni;
	s64 pos = 0;
	int rc = open_inode(t, id, DIRECTORY_READS, &ni, e);

	if (rc < 0)
		return rc;
	if (!(ni->mrec->flags & MFT_RECORD_IS_DIRECTORY))
		rc = refuse(id, "not a directory", e);
	else if (ntfs_readdir(ni, &pos, &l, list_entry) != 0)
		rc = l.rc < 0 ? l.rc : lib_fail(t, id, "read the directory", e);
	ntfs_inode_close(ni);
	return rc;
}

/* ---- Content ----------------------------------------------------------------------------- */

/* Is the unnamed data what a reader expects? */
static int check_plain(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, struct err *e)
{
	uint8_t *reparse;
	size_t n;
	int rc;

	if (ni->mrec->flags & MFT_RECORD_IS_DIRECTORY)
		return refuse(id, "not a regular file", e);
	rc = read_reparse(t, ni, id, &reparse, &n, e);
	if (rc == 0 && is_reparse_link(reparse, n))
		rc = refuse(id, "a link, not a regular file", e);
	else if (rc == 0 && n > 0)
		rc = err_set(e, ERR_FORMAT, 0,
			"MFT record %" PRIu64
			": its content is kept elsewhere (reparse tag 0x%08" PRIX32
			": WOF compression, deduplication, a cloud, or the like)",
			MREF(id), get_le32(reparse));
	free(reparse);
	return rc;
}

static int read_data(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, uint64_t off, void *buf,
	size_t len, size_t *got, struct err *e)
{
	ntfs_attr *a = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
	s64 n = 0;
	int rc = 0;

	if (a == NULL)
		return errno == ENOENT ? 0 : lib_fail(t, id, "open its data", e);
	if (a->data_size < 0)
		rc = refuse(id, "its size is negative", e);
	len = a->data_size < 0 || off >= (uint64_t)a->data_size
		? 0
		: (size_t)min_u64(len, (uint64_t)a->data_size - off);
	/* A short read is the library's way to say that the rest can't be had. */
	for (size_t done = 0; rc == 0 && done < len; done += (size_t)n) {
		n = ntfs_attr_pread(a, (s64)(off + done), (s64)(len - done), (uint8_t *)buf + done);
		if (n <= 0 || (size_t)n > len - done)
			rc = lib_fail(t, id, "read its data", e);
	}
	if (rc == 0)
		*got = len;
	ntfs_attr_close(a);
	return rc;
}

static int ntfs_read(struct files *f, uint64_t id, uint64_t off, void *buf, size_t len, size_t *got,
	struct err *e)
{
	struct ntfs_tree *t = (struct ntfs_tree *)f;
	ntfs_inode *ni;
	int rc = open_inode(t, id, FILE_READS, &ni, e);

	if (rc < 0)
		return rc;
	if (off > INT64_MAX)
		rc = refuse(id, "no file is so long", e);
	if (rc == 0)
		rc = check_plain(t, ni, id, e);
	if (rc == 0)
		rc = read_data(t, ni, id, off, buf, len, got, e);
	ntfs_inode_close(ni);
	return rc;
}

/* ---- Life -------------------------------------------------------------------------------- */

static void ntfs_close(struct files *f)
{
	struct ntfs_tree *t = (struct ntfs_tree *)f;

	ntfs_io_close(t->io);
	free(t);
}

static int find_root(struct ntfs_tree *t, struct err *e)
{
	ntfs_inode *ni;
	int rc = open_inode(t, FILE_root, NTFS_IO_METADATA_READS, &ni, e);

	if (rc < 0)
		return rc;
	t->base.info.root = MK_MREF(FILE_root, le16_to_cpu(ni->mrec->sequence_number));
	ntfs_inode_close(ni);
	return 0;
}

static int ntfs_open(struct dev *d, struct files **out, struct err *e)
{
	struct ntfs_tree *t = calloc(1, sizeof(*t));
	struct files_info *info;
	int rc;

	if (t == NULL)
		return err_nomem(e);
	info = &t->base.info;
	t->base.ops = &files_ntfs;
	rc = fs_ntfs_volume_open(d, &t->io, info->note, e);
	if (rc < 0) {
		free(t);
		return rc;
	}
	t->vol = ntfs_io_volume(t->io);
	NVolClearShowSysFiles(t->vol);
	NVolSetShowHidFiles(t->vol);
	rc = find_root(t, e);
	if (rc < 0) {
		ntfs_close(&t->base);
		return rc;
	}
	info->block_bytes = t->vol->cluster_size;
	/* Both were checked with the boot sector: no product overflows. */
	info->size_bytes = (uint64_t)t->vol->nr_clusters * t->vol->cluster_size;
	info->nodes = (uint64_t)t->vol->mft_na->initialized_size >> t->vol->mft_record_size_bits;
	*out = &t->base;
	return 0;
}

static const char *const types[] = { "ntfs", NULL };

const struct files_ops files_ntfs = {
	.name = "ntfs",
	.types = types,
	.open = ntfs_open,
	.stat = ntfs_stat,
	.list = ntfs_list,
	.read = ntfs_read,
	.link = ntfs_link_target,
	.close = ntfs_close,
};
