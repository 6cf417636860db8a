/*
 * The files of an NTFS volume, by libntfs-3g, directory by directory from the root.
 *
 * Not listed: the system files (records below 24, and with $Extend all that is in it), what a
 * reparse point stands for (it is some driver's to interpret: deduplicated, compressed by WIM, in
 * the cloud), and directories of such kinds. DOS names are second names of files that have a long
 * one. A name that is no UTF-16 is not listed either; only an exact name can be chosen.
 *
 * What may be left out of a file: the clusters of its unnamed $DATA, when the attribute is not
 * resident, compressed or encrypted, and the file has one name (beside a DOS name), up to the end
 * of the file's size. Of a sparse one those that are there. A cluster belongs to one attribute;
 * fs_ntfs_claims shows that this holds here, by looking at the runs of every record of $MFT.
 *
 * A volume that is suspect (dirty, chkdsk interrupted) may have two files on one cluster: it gets
 * no list at all.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h> /* this and sys/stat.h: the library's headers need them */
#include <sys/stat.h>

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/runlist.h>
#include <ntfs-3g/unistr.h>
#include <ntfs-3g/volume.h>

#include "base/mem.h"
#include "fs/fs_list.h"
#include "fs/fs_ntfs_int.h"

/* NTFS times are units of 100 ns since 1601 ([NTFS] "$STANDARD_INFORMATION"). */
#define TIME_UNITS 10000000
#define SECONDS_1601_TO_1970 INT64_C(11644473600)

/* As above, and the volume is consistent: what the map needs, and what a list needs besides. */
static int open_sound(struct fs_ntfs *v, struct dev *d, struct err *e)
{
	struct fs_report r = { 0 };
	int rc = fs_ntfs_open(v, d, &r, e);

	if (rc == 0 && v->suspect)
		rc = err_set(e, ERR_FORMAT, 0,
			"%s: two files may claim the same clusters until chkdsk has run", r.note);
	return rc < 0 ? rc : fs_ntfs_map_mft(v, 1, e);
}

/* ---- Directories ------------------------------------------------------------------------- */

static int add_name(void *user, const ntfschar *name, const int name_len, const int name_type,
	const s64 pos, const MFT_REF mref, const unsigned dt_type)
{
	char *text = NULL;
	int len;

	(void)pos, (void)dt_type;
	if (name_type == FILE_NAME_DOS || MREF(mref) < FILE_first_user)
		return 0;
	len = ntfs_ucstombs(name, name_len, &text, 0);
	if (len > 0)
		fs_list_name(user, MREF(mref), text, (size_t)len);
	free(text);
	return 0;
}

static int read_directory(struct fs_ntfs *v, struct fs_list *l, const struct fs_list_entry *dir,
	struct err *e)
{
	ntfs_inode *ni;
	s64 pos = 0;
	int rc = 0;

	/* No index is larger than the volume, and none of its blocks is read more than twice. */
	ntfs_io_begin(v->io, 2 * (dev_size(v->dev) / NTFS_FIXUP_BYTES) + NTFS_IO_METADATA_READS);
	ni = ntfs_inode_open(ntfs_io_volume(v->io), dir->number);
	if (ni == NULL || ntfs_readdir(ni, &pos, l, add_name) != 0) {
		rc = ntfs_io_fail(v->io, e, "read a directory");
		err_prefix(e, "%.256s", dir->path);
	}
	if (ni != NULL)
		ntfs_inode_close(ni);
	return rc;
}

/* ---- Files ------------------------------------------------------------------------------- */

static int64_t unix_time(ntfs_time t)
{
	int64_t units = sle64_to_cpu(t);

	return units > 0 ? units / TIME_UNITS - SECONDS_1601_TO_1970 : 0;
}

/* The runs of the attribute that hold the file's bytes. Refuses those outside the volume. */
static int add_runs(struct fs_ntfs *v, struct fs_list *l, const ntfs_attr *a, struct err *e)
{
	uint64_t bytes = v->boot.cluster_bytes;
	uint64_t end = div_up((uint64_t)a->data_size, bytes);

	for (const runlist_element *x = a->rl; x != NULL && x->length > 0; x++) {
		uint64_t vcn = (uint64_t)x->vcn, count = (uint64_t)x->length;

		if (x->lcn < 0 || vcn >= end)
			continue;
		if (!range_inside((uint64_t)x->lcn, count, v->boot.clusters))
			return err_set(e, ERR_FORMAT, 0, "a run outside the volume");
		fs_list_range(l, (uint64_t)x->lcn * bytes, min_u64(count, end - vcn) * bytes);
	}
	return 0;
}

static const char *why_kept(const ntfs_attr *a, uint64_t names)
{
	if (a->data_flags & ATTR_COMPRESSION_MASK)
		return "its data is compressed";
	if (a->data_flags & ATTR_IS_ENCRYPTED)
		return "its data is encrypted";
	if (!NAttrNonResident(a))
		return "its data is in its file record";
	if (names > 1)
		return FS_FILES_OTHER_NAMES;
	return "";
}

static uint64_t allocated(const ntfs_attr *a)
{
	if (!NAttrNonResident(a))
		return 0;
	if (a->data_flags & (ATTR_COMPRESSION_MASK | ATTR_IS_SPARSE))
		return (uint64_t)a->compressed_size;
	return (uint64_t)a->allocated_size;
}

static int read_file(struct fs_ntfs *v, struct fs_list *l, const struct fs_list_entry *entry,
	ntfs_inode *ni, struct err *e)
{
	ntfs_attr *a = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
	struct fs_file f = { 0 };
	uint64_t names = 0;
	const char *kept;
	int rc;

	if (a == NULL)
		return errno == ENOENT ? 0 : ntfs_io_fail(v->io, e, "open $DATA");
	rc = ntfs_io_count_names(v->io, ni, &names, e);
	if (rc < 0)
		err_prefix(e, "%.256s", entry->path);
	kept = why_kept(a, names);
	f.size_bytes = a->data_size > 0 ? (uint64_t)a->data_size : 0;
	f.allocated_bytes = allocated(a);
	f.created_s = unix_time(ni->creation_time);
	f.modified_s = unix_time(ni->last_data_change_time);
	f.accessed_s = unix_time(ni->last_access_time);
	if (rc == 0 && kept[0] == '\0' && ntfs_attr_map_whole_runlist(a) < 0)
		rc = ntfs_io_fail(v->io, e, "map $DATA");
	if (rc == 0 && kept[0] == '\0' && a->data_size > 0)
		rc = add_runs(v, l, a, e);
	ntfs_attr_close(a);
	return rc < 0 ? rc : fs_list_file(l, entry, &f, kept, e);
}

static int read_entry(struct fs_ntfs *v, struct fs_list *l, struct fs_list_entry *entry,
	struct err *e)
{
	ntfs_inode *ni;
	int rc = 0;

	/* A file in many pieces has a record for each few hundred of them. */
	ntfs_io_begin(v->io, FS_FILES_MAX_RANGES);
	ni = ntfs_inode_open(ntfs_io_volume(v->io), entry->number);
	if (ni == NULL) {
		rc = ntfs_io_fail(v->io, e, "open a file record");
		return err_prefix(e, "%.256s", entry->path);
	}
	if (ni->flags & FILE_ATTR_REPARSE_POINT)
		rc = 0;
	else if (ni->mrec->flags & MFT_RECORD_IS_DIRECTORY)
		rc = fs_list_dir(l, entry, e);
	else
		rc = read_file(v, l, entry, ni, e);
	ntfs_inode_close(ni);
	return rc;
}

static int list_all(struct fs_ntfs *v, struct fs_list *l, struct err *e)
{
	const struct fs_list_entry *dir;
	struct fs_list_entry *entry;
	int rc = 0;

	while (rc == 0 && (dir = fs_list_next_dir(l)) != NULL) {
		rc = read_directory(v, l, dir, e);
		while (rc == 0 && (entry = fs_list_next_name(l, &rc, e)) != NULL)
			rc = read_entry(v, l, entry, e);
	}
	return rc;
}

int fs_ntfs_files(struct dev *d, bool tree, fs_file_fn fn, void *user, struct err *e)
{
	struct fs_list l = { 0 };
	struct fs_ntfs v;
	int rc = open_sound(&v, d, e);

	if (rc == 0) {
		ntfs_attr *mft = ntfs_io_volume(v.io)->mft_na;

		rc = fs_list_open(&l, tree, fn, user,
			(uint64_t)mft->initialized_size / v.boot.record_bytes, FILE_root, e);
	}
	if (rc == 0)
		rc = list_all(&v, &l, e);
	fs_list_close(&l);
	fs_ntfs_close(&v);
	return rc;
}

/* ---- Claims ------------------------------------------------------------------------------ */

struct claims {
	const struct map *ranges;
	uint64_t cluster_bytes;
	uint64_t to_map; /* clusters that $MFT may still map: more than there are is a circle */
	uint64_t bytes;
};

static int add_claim(void *user, uint64_t cluster, uint64_t count, struct err *e)
{
	struct claims *c = user;

	if (count > c->to_map)
		return err_set(e, ERR_FORMAT, 0, "more clusters are mapped than there are");
	c->to_map -= count;
	c->bytes += fs_list_overlap(c->ranges, cluster * c->cluster_bytes, count * c->cluster_bytes,
		NULL);
	return 0;
}

int fs_ntfs_claims(struct dev *d, const struct map *ranges, uint64_t *bytes, struct err *e)
{
	struct claims c = { .ranges = ranges };
	struct fs_ntfs v;
	int rc = open_sound(&v, d, e);

	c.cluster_bytes = v.boot.cluster_bytes;
	c.to_map = v.boot.clusters;
	if (rc == 0)
		rc = fs_ntfs_each_run(&v, add_claim, &c, e);
	fs_ntfs_close(&v);
	*bytes = c.bytes;
	return rc;
}
