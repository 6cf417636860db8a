/*
 * Files of NTFS, through libntfs-3g, which reads compressed and sparse data right. Node numbers are
 * MFT references: record number and sequence number, so that a stale one is noticed.
 *
 * Names and targets are turned into UTF-8; a lone surrogate, which Windows allows, into the three
 * bytes that UTF-8 would have for it, so that no two names become one. Names of the DOS namespace,
 * alternate streams and the system files (records 0 to 15) are left out.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/mem.h"
#include "files/files_ntfs_int.h"
#include "fs/fs_volume.h"

/* Runs in many extension records, compressed units and index blocks need many; circles end here. */
#define FILE_READS 32768
#define DIRECTORY_READS ((uint64_t)1 << 20)

#define NTFS_TIME_1970 INT64_C(116444736000000000) /* in units of 100 ns since 1601 */
#define NTFS_TIME_PER_S 10000000

/* There are no Unix permissions: everybody may look. */
#define FILE_MODE 0644
#define DIRECTORY_MODE 0755

int ntfs_tree_refuse(uint64_t id, const char *what, struct err *e)
{
	return err_set(e, ERR_FORMAT, 0, "MFT record %" PRIu64 ": %s", MREF(id), what);
}

int ntfs_tree_fail(struct ntfs_tree *t, uint64_t id, const char *what, struct err *e)
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
		return ntfs_tree_refuse(id, "a system file", e);
	ntfs_io_begin(t->io, reads);
	*out = ntfs_inode_open(t->vol, id);
	return *out != NULL ? 0 : ntfs_tree_fail(t, id, "open it", e);
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

/* What kind it is; a link's size is that of its target. */
static int find_type(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, struct files_node *out,
	struct err *e)
{
	char target[FILES_LINK_MAX_BYTES + 1];
	bool directory = (ni->mrec->flags & MFT_RECORD_IS_DIRECTORY) != 0, link = false;
	uint8_t *reparse;
	size_t n, len = 0;
	int rc = ntfs_read_reparse(t, ni, id, &reparse, &n, e);

	if (rc == 0 && n == 0)
		rc = ntfs_check_interix(t, ni, id, &link, e);
	link = link || ntfs_is_reparse_link(reparse, n);
	free(reparse);
	if (rc == 0 && link)
		rc = ntfs_read_target(t, ni, id, target, &len, e);
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
		rc = ntfs_tree_refuse(id, "its size is negative", e);
	if (rc == 0) {
		out->allocated_bytes = (uint64_t)ni->allocated_size;
		rc = ntfs_io_count_names(t->io, ni, &out->links, e);
		if (rc < 0)
			err_prefix(e, "MFT record %" PRIu64, MREF(id));
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
		!ntfs_to_utf8((const uint8_t *)units, (size_t)count, name, sizeof(name), &len)) {
		l->rc = ntfs_tree_refuse(l->id, "a name in this directory is too long", l->e);
		return -1;
	}
	/* The library makes these two up. */
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (files_name_ok(name, len))
		l->rc = l->fn(l->user, name, len, mref, type, l->e);
	else
		l->rc = ntfs_tree_refuse(l->id, "an entry of this directory has no proper name",
			l->e);
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
		rc = ntfs_tree_refuse(id, "not a directory", e);
	else if (ntfs_readdir(ni, &pos, &l, list_entry) != 0)
		rc = l.rc < 0 ? l.rc : ntfs_tree_fail(t, id, "read the directory", e);
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
		return ntfs_tree_refuse(id, "not a regular file", e);
	rc = ntfs_read_reparse(t, ni, id, &reparse, &n, e);
	if (rc == 0 && ntfs_is_reparse_link(reparse, n))
		rc = ntfs_tree_refuse(id, "a link, not a regular file", e);
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
		return errno == ENOENT ? 0 : ntfs_tree_fail(t, id, "open its data", e);
	if (a->data_size < 0)
		rc = ntfs_tree_refuse(id, "its size is negative", e);
	len = a->data_size < 0 || off >= (uint64_t)a->data_size
		? 0
		: (size_t)min_u64(len, (uint64_t)a->data_size - off);
	/* A short read is the library's way to say that the rest can't be had. */
	for (size_t done = 0; rc == 0 && done < len; done += (size_t)n) {
		n = ntfs_attr_pread(a, (s64)(off + done), (s64)(len - done), (uint8_t *)buf + done);
		if (n <= 0 || (size_t)n > len - done)
			rc = ntfs_tree_fail(t, id, "read its data", e);
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
		rc = ntfs_tree_refuse(id, "no file is so long", e);
	if (rc == 0)
		rc = check_plain(t, ni, id, e);
	if (rc == 0)
		rc = read_data(t, ni, id, off, buf, len, got, e);
	ntfs_inode_close(ni);
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
	rc = ntfs_read_target(t, ni, id, out, len, e);
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
