/*
 * The NTFS map: $Bitmap, and when it may be believed.
 *
 * What is data without asking: everything behind the last whole cluster up to the end of the
 * device. The cluster count is rounded down, and the backup boot sector, in the last sector of the
 * partition, belongs to no cluster. Bits of $Bitmap behind the last cluster mean nothing.
 *
 * NTFS writes changes of $Bitmap into its journal ($LogFile) first. So:
 *
 *   state of the volume           what is taken                         why
 *   clean                         used clusters of $Bitmap; all when    $Bitmap is complete
 *                                 $MFT maps one that is not used
 *   dirty or chkdsk interrupted,  used clusters of $Bitmap, and every   nothing to replay, but
 *   journal clean                 cluster that $MFT maps                $Bitmap is suspect
 *   journal not clean             all                                   the replay may allocate
 *                                                                       what neither shows yet
 *   journal kept by Windows       all                                   as hibernated
 *   (version 2.0)
 *   hibernated (hiberfil.sys)     all                                   see below
 *
 * "$MFT maps": the runs of every record in use, whether anything refers to it or not; a record that
 * is damaged means all blocks. A cluster in no such run belongs to no file, for chkdsk either. One
 * reader there is that does not go by files: a shadow copy takes from their places the clusters
 * that have not changed since, also those that are free by now, so that only an image of all blocks
 * has it whole; a note says that there are some. Clean volumes are compared too, though it costs
 * reading $MFT (about 1 KiB for each file): ntfs-3g leaves no mark on a volume that it has mounted,
 * so that after a crash under it, or in a snapshot, a volume that calls itself clean may not be.
 *
 * There is no count of used clusters in the boot sector to check against (R2); the comparison with
 * $MFT, which maps the system files too, stands for it. $MFT itself must equal its mirror.
 *
 * A hibernated Windows (fast startup is a hibernation too) has the volume open: its memory, saved
 * in hiberfil.sys, holds allocations that may not be in $Bitmap yet, and the data in those clusters
 * may be on the disk already. After a restore it wakes up and goes on with them. Only all blocks
 * are safe. The volumes that it has open besides its own show it in their journal.
 *
 * Clusters in $BadClus are used in $Bitmap and stay data, not MAP_BAD: MAP_BAD says that reading
 * failed, which nobody has tried. On the failing disk the read-error policy deals with them; on a
 * volume that was cloned to a good disk they read like others.
 *
 * NTFS 1.2 (NT 4), 3.0 (2000) and 3.1 (since XP) are known; others are refused. Nothing is written:
 * no journal is reset and no flag is cleared (R1).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h> /* for the library's headers */

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/logfile.h>
#include <ntfs-3g/runlist.h>
#include <ntfs-3g/volume.h>

#include "base/mem.h"
#include "fs/fs_ntfs_int.h"
#include "fs/fs_volume.h"

/* $Boot: the boot sector and the boot code ([NTFS] "$Boot"). */
#define BOOT_FILE_BYTES 8192

/* $MFTMirr repeats at least the first four records; Windows 10 keeps no more up to date. */
#define MIRROR_RECORDS 4

/*
 * Volume flags that say nothing about the allocation; any other one makes the volume suspect.
 * 0x0080 has no known name, and is on volumes of Windows 8 and later.
 */
#define HARMLESS_FLAGS                                                                             \
	(0x0002 /* resize $LogFile */ | 0x0004 /* upgrade */ | 0x0008 /* mounted on NT 4 */ |      \
		0x0010 /* delete USN journal */ | 0x0020 /* repair object ids */ | 0x0080 |        \
		0x8000 /* modified by chkdsk */)
#define FLAG_DIRTY 0x0001
#define FLAG_CHKDSK_UNDERWAY 0x4000

/* A system file's unnamed $DATA with all its runs mapped; *ni must stay open as long. */
static int open_data(struct fs_ntfs *v, uint64_t number, const char *name, ntfs_inode **ni,
	ntfs_attr **a, struct err *e)
{
	*a = NULL;
	*ni = ntfs_inode_open(ntfs_io_volume(v->io), number);
	if (*ni != NULL)
		*a = ntfs_attr_open(*ni, AT_DATA, AT_UNNAMED, 0);
	if (*a == NULL || (NAttrNonResident(*a) && ntfs_attr_map_whole_runlist(*a) < 0))
		return ntfs_io_fail(v->io, e, name);
	return 0;
}

static void close_data(ntfs_inode *ni, ntfs_attr *a)
{
	if (a != NULL)
		ntfs_attr_close(a);
	if (ni != NULL)
		ntfs_inode_close(ni);
}

static int compare_mirror(struct fs_ntfs *v, uint8_t *mft, uint8_t *mirror, struct err *e)
{
	ntfs_volume *vol = ntfs_io_volume(v->io);
	uint32_t n = v->boot.record_bytes;

	if (ntfs_attr_mst_pread(vol->mft_na, 0, MIRROR_RECORDS, n, mft) != MIRROR_RECORDS)
		return ntfs_io_fail(v->io, e, "read $MFT");
	if (ntfs_attr_mst_pread(vol->mftmirr_na, 0, MIRROR_RECORDS, n, mirror) != MIRROR_RECORDS)
		return ntfs_io_fail(v->io, e, "read $MFTMirr");
	for (uint32_t i = 0; i < MIRROR_RECORDS; i++) {
		const uint8_t *rec = mft + i * n;
		uint32_t used = get_le32(rec + 0x18);

		/* The library turns the signature of a torn record into "BAAD". 0x16: in use. */
		if (memcmp(rec, "FILE", 4) != 0 || used > n || !(rec[0x16] & 1))
			return err_set(e, ERR_FORMAT, 0, "MFT record %" PRIu32 " is damaged", i);
		if (memcmp(rec, mirror + i * n, used) != 0)
			return err_set(e, ERR_FORMAT, 0,
				"$MFTMirr differs from $MFT in record %" PRIu32, i);
	}
	return 0;
}

static int check_mirror(struct fs_ntfs *v, struct err *e)
{
	size_t n = (size_t)MIRROR_RECORDS * v->boot.record_bytes;
	uint8_t *buf = calloc(2, n);
	int rc;

	if (buf == NULL)
		return err_nomem(e);
	rc = compare_mirror(v, buf, buf + n, e);
	free(buf);
	return rc;
}

/* $Volume: the version, and the flags. [NTFS] "$VOLUME_INFORMATION": 8 versions, 0x0A flags. */
static int check_volume(struct fs_ntfs *v, struct fs_report *r, struct err *e)
{
	ntfs_volume *vol = ntfs_io_volume(v->io);
	ntfs_inode *ni = ntfs_inode_open(vol, FILE_Volume);
	uint8_t *info = NULL;
	s64 n = 0;
	unsigned flags;
	int rc = 0;

	if (ni != NULL)
		info = ntfs_attr_readall(ni, AT_VOLUME_INFORMATION, AT_UNNAMED, 0, &n);
	if (info == NULL || n < 12) {
		rc = ntfs_io_fail(v->io, e, "read $Volume");
		goto out;
	}
	/* ntfs_volume_startup leaves these to its caller, and the attribute functions use them. */
	vol->major_ver = info[8];
	vol->minor_ver = info[9];
	flags = get_le16(info + 10);
	if (!NTFS_V1_2(info[8], info[9]) && !NTFS_V3_0(info[8], info[9]) &&
		!NTFS_V3_1(info[8], info[9])) {
		rc = err_set(e, ERR_FORMAT, 0, "unknown NTFS version %u.%u", info[8], info[9]);
		goto out;
	}
	v->suspect = (flags & ~(unsigned)HARMLESS_FLAGS) != 0;
	if (flags & FLAG_CHKDSK_UNDERWAY)
		fs_add_note(r, "chkdsk was interrupted");
	else if (flags & FLAG_DIRTY)
		fs_add_note(r, "dirty volume");
	else if (v->suspect)
		fs_add_note(r, "unknown volume flags 0x%04X", flags);
out:
	free(info);
	if (ni != NULL)
		ntfs_inode_close(ni);
	return rc;
}

static int check_hibernation(struct fs_ntfs *v, struct fs_report *r, struct err *e)
{
	/* The root index is sorted without regard to case, and Windows writes both. */
	NVolClearCaseSensitive(ntfs_io_volume(v->io));
	ntfs_io_begin(v->io, NTFS_IO_METADATA_READS);
	if (ntfs_volume_check_hiberfile(ntfs_io_volume(v->io), 0) == 0)
		return 0;
	if (errno != EPERM)
		return ntfs_io_fail(v->io, e, "look for hiberfil.sys");
	fs_add_note(r, "Windows is hibernated");
	return err_set(e, ERR_FORMAT, 0,
		"Windows is hibernated (hiberfil.sys): its memory may hold allocations that are "
		"not in $Bitmap yet");
}

static int check_journal(struct fs_ntfs *v, struct fs_report *r, struct err *e)
{
	RESTART_PAGE_HEADER *page = NULL; /* stays NULL for an empty, thus clean, journal */
	ntfs_inode *ni = NULL;
	ntfs_attr *a = NULL;
	int rc;

	ntfs_io_begin(v->io, NTFS_IO_METADATA_READS);
	rc = open_data(v, FILE_LogFile, "open $LogFile", &ni, &a, e);
	if (rc < 0)
		goto out;
	if (!ntfs_check_logfile(a, &page)) {
		fs_add_note(r, "damaged journal");
		rc = ntfs_io_fail(v->io, e, "check $LogFile");
	} else if (page != NULL && page->major_ver != const_cpu_to_sle16(1)) {
		fs_add_note(r, "journal in use by Windows");
		rc = err_set(e, ERR_FORMAT, 0,
			"the journal says that Windows keeps metadata in memory (fast startup, "
			"hibernation or a crash)");
	} else if (!ntfs_is_logfile_clean(a, page)) {
		fs_add_note(r, "dirty journal");
		rc = err_set(e, ERR_FORMAT, 0,
			"the journal ($LogFile) is not replayed: it may allocate clusters that "
			"$Bitmap shows as free");
	}
out:
	free(page);
	close_data(ni, a);
	return rc;
}

/* Enough bits, all of them written, none of them from a hole: zeros would mean free. */
static int check_bitmap(struct fs_ntfs *v, const ntfs_attr *a, struct err *e)
{
	uint64_t need = div_up(v->boot.clusters, 8);

	if (a->data_flags & (ATTR_COMPRESSION_MASK | ATTR_IS_ENCRYPTED | ATTR_IS_SPARSE))
		return err_set(e, ERR_FORMAT, 0, "$Bitmap is compressed, encrypted or sparse");
	if (a->data_size < 0 || (uint64_t)a->data_size < need || a->initialized_size < 0 ||
		(uint64_t)a->initialized_size < need)
		return err_set(e, ERR_FORMAT, 0,
			"$Bitmap has %" PRId64 " bytes, %" PRId64 " of them written, and needs "
			"%" PRIu64,
			a->data_size, a->initialized_size, need);
	if (!NAttrNonResident(a))
		return 0;
	return fs_ntfs_check_runs(v, a, need, "$Bitmap", e);
}

/* Used and free clusters are known; do they make sense together? */
static int check_result(const struct fs_ntfs *v, const struct map *m, struct err *e)
{
	struct extent boot = map_run(m, 0, NULL);

	if (v->added > 0 && !v->suspect)
		return err_set(e, ERR_FORMAT, 0,
			"$Bitmap calls %" PRIu64 " clusters free that $MFT uses, and the volume "
			"does not say that it is dirty",
			v->added);
	/* $Boot: they are in use on every volume, whatever its record says. */
	if (boot.kind != MAP_DATA || boot.len < min_u64(BOOT_FILE_BYTES, map_size(m)))
		return err_set(e, ERR_FORMAT, 0, "$Bitmap calls the boot sectors free");
	return 0;
}

/* Only a remark: a $BadClus that can't be read changes nothing in the map. */
static void note_bad_clusters(struct fs_ntfs *v, struct fs_report *r)
{
	ntfschar name[] = { const_cpu_to_le16('$'), const_cpu_to_le16('B'), const_cpu_to_le16('a'),
		const_cpu_to_le16('d'), 0 };
	ntfs_inode *ni = ntfs_inode_open(ntfs_io_volume(v->io), FILE_BadClus);
	ntfs_attr *a = ni != NULL ? ntfs_attr_open(ni, AT_DATA, name, 4) : NULL;
	uint64_t bad = 0;

	if (a != NULL && NAttrNonResident(a) && ntfs_attr_map_whole_runlist(a) == 0)
		for (const runlist_element *x = a->rl; x != NULL && x->length > 0; x++)
			if (x->lcn >= 0)
				bad += (uint64_t)x->length;
	if (bad > 0)
		fs_add_note(r, "%" PRIu64 " bad clusters in $BadClus", bad);
	close_data(ni, a);
}

/*
 * The header that Windows' shadow copies have in the boot file, with the place of their catalog, 0
 * when there is none (libyal/libvshadow, "Volume Shadow Snapshot (VSS) format", "Volume header").
 * Only a remark: where it can't be read nothing changes in the map.
 */
#define VSS_OFFSET 0x1e00
#define VSS_BYTES 512
#define VSS_CATALOG_AT 0x30

static void note_shadow_copies(struct fs_ntfs *v, struct fs_report *r)
{
	/* {3808876b-c176-4e48-b7ae-04046e6cc752} */
	static const uint8_t id[16] = { 0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae,
		0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52 };
	uint8_t header[VSS_BYTES];

	if (!range_inside(VSS_OFFSET, VSS_BYTES, dev_size(v->dev)) ||
		dev_read(v->dev, VSS_OFFSET, header, VSS_BYTES, NULL) < 0)
		return;
	if (memcmp(header, id, sizeof(id)) == 0 && get_le64(header + VSS_CATALOG_AT) != 0)
		fs_add_note(r,
			"has shadow copies, which are whole only in an image of all blocks "
			"(--all-blocks)");
}

static void note_scan(const struct fs_ntfs *v, struct fs_report *r)
{
	if (v->added > 0)
		fs_add_note(r, "%" PRIu64 " clusters in use were missing in $Bitmap", v->added);
	if (v->min_run > 1)
		fs_add_note(r, "very fragmented: free runs under %" PRIu64 " clusters are taken",
			v->min_run);
}

/* What has to be true before $Bitmap is looked at. */
static int check_state(struct fs_ntfs *v, struct fs_report *r, struct err *e)
{
	int rc;

	ntfs_io_begin(v->io, NTFS_IO_METADATA_READS);
	if ((uint64_t)ntfs_io_volume(v->io)->nr_clusters != v->boot.clusters)
		return err_set(e, ERR_INTERNAL, 0, "libntfs-3g counts other clusters than we");
	rc = check_mirror(v, e);
	if (rc == 0)
		rc = check_volume(v, r, e);
	if (rc == 0)
		rc = check_hibernation(v, r, e);
	if (rc == 0)
		rc = check_journal(v, r, e);
	return rc;
}

static int map_volume(struct fs_ntfs *v, struct map *m, struct fs_report *r, struct err *e)
{
	ntfs_inode *ni = NULL;
	int rc;

	ntfs_io_begin(v->io, NTFS_IO_METADATA_READS);
	rc = open_data(v, FILE_Bitmap, "open $Bitmap", &ni, &v->bitmap, e);
	if (rc == 0)
		rc = check_bitmap(v, v->bitmap, e);
	if (rc == 0)
		rc = fs_ntfs_scan(v, m, e);
	if (rc == 0)
		rc = check_result(v, m, e);
	if (rc == 0) {
		note_scan(v, r);
		note_bad_clusters(v, r);
		note_shadow_copies(v, r);
	}
	close_data(ni, v->bitmap);
	return rc;
}

/* Check the boot sector, and let the library open what it describes. */
static int open_checked(struct fs_ntfs *v, struct dev *d, struct err *e)
{
	uint8_t boot[NTFS_BOOT_BYTES];
	int rc;

	memset(v, 0, sizeof(*v));
	v->dev = d;
	rc = dev_read(d, 0, boot, sizeof(boot), e);
	if (rc == 0)
		rc = fs_ntfs_boot_decode(boot, sizeof(boot), dev_size(d), &v->boot, e);
	return rc == 0 ? ntfs_io_open(d, &v->io, e) : rc;
}

int fs_ntfs_open(struct fs_ntfs *v, struct dev *d, struct fs_report *r, struct err *e)
{
	int rc = open_checked(v, d, e);

	r->block_bytes = v->boot.cluster_bytes;
	return rc == 0 ? check_state(v, r, e) : rc;
}

void fs_ntfs_close(struct fs_ntfs *v)
{
	ntfs_io_close(v->io);
}

static int ntfs_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	struct fs_ntfs v;
	int rc = fs_ntfs_open(&v, d, r, e);

	if (rc == 0)
		rc = map_volume(&v, m, r, e);
	fs_ntfs_close(&v);
	return rc;
}

/* ---- For those who read files --------------------------------------------------------------- */

/* A journal that should be replayed, or can't be judged, is a remark: who reads takes what is. */
static int note_state(struct fs_ntfs *v, struct fs_report *r, struct err *e)
{
	int rc = check_volume(v, r, e);

	if (rc < 0)
		return rc;
	check_hibernation(v, r, NULL);
	if (check_journal(v, r, NULL) < 0)
		fs_add_note(r, "what was changed last may be missing or wrong");
	/* As ntfs_io_open left it: names are compared as they are. */
	NVolSetCaseSensitive(ntfs_io_volume(v->io));
	return 0;
}

int fs_ntfs_volume_open(struct dev *d, struct ntfs_io **out, char *note, struct err *e)
{
	struct fs_ntfs v;
	struct fs_report r = { 0 };
	int rc = open_checked(&v, d, e);

	if (rc == 0) {
		ntfs_io_begin(v.io, NTFS_IO_METADATA_READS);
		rc = note_state(&v, &r, e);
	}
	if (rc < 0) {
		ntfs_io_close(v.io);
		return rc;
	}
	snprintf(note, FS_VOLUME_NOTE_BYTES, "%s", r.note);
	*out = v.io;
	return 0;
}

static const char *const types[] = { "ntfs", NULL };

const struct fs_ops fs_ntfs = {
	.name = "ntfs",
	.types = types,
	.map = ntfs_map,
	.files = fs_ntfs_files,
	.claims = fs_ntfs_claims,
};
