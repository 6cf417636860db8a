/*
 * Inside NTFS (fs_ntfs*.c): the boot sector, the runs of an MFT record, the scan that turns $Bitmap
 * into a map, and the list of files. Layouts are cited from "NTFS Documentation" (R. Russon,
 * Y. Fledel, 2004), called [NTFS] in the comments, and agree with <ntfs-3g/layout.h>.
 */
#ifndef FS_FS_NTFS_INT_H
#define FS_FS_NTFS_INT_H

#include "adapter/ntfs_io.h"
#include "fs/fs_ops.h"

#define NTFS_BOOT_BYTES 512

/* The update sequence protects 512 bytes at a time whatever the sector size is ([NTFS] "Fixup"). */
#define NTFS_FIXUP_BYTES 512

#define NTFS_MIN_RECORD_BYTES 512
#define NTFS_MAX_RECORD_BYTES 4096

struct ntfs_boot {
	uint32_t sector_bytes;	/* 512 to 4096 */
	uint32_t cluster_bytes; /* 512 to 2 MiB, at least a sector */
	uint32_t record_bytes;	/* of an MFT record, 512 to 4096 */
	uint64_t total_sectors; /* without the backup boot sector behind them */
	uint64_t clusters;	/* whole ones: total bytes / cluster_bytes, rounded down */
	uint64_t mft_cluster;	/* where $MFT and $MFTMirr begin */
	uint64_t mftmirr_cluster;
};

/*
 * Decode and check a boot sector for a device of device_bytes. Refuses (ERR_FORMAT), naming the
 * field, whatever is outside the ranges above or points outside the volume or the device.
 */
int fs_ntfs_boot_decode(const uint8_t *p, size_t n, uint64_t device_bytes, struct ntfs_boot *out,
	struct err *e);

/* Told about each run of clusters in use; a negative return stops the walk and is passed on. */
typedef int (*fs_ntfs_run_fn)(void *user, uint64_t cluster, uint64_t count, struct err *e);

/*
 * Call fn for every run that the attributes of one MFT record map. A record that is not in use, or
 * was never written, has none. The record is changed: its update sequence is undone. Refuses
 * (ERR_FORMAT) a record that is torn or damaged, and runs outside [0, clusters).
 */
int fs_ntfs_record_runs(uint8_t *record, size_t n, uint64_t clusters, fs_ntfs_run_fn fn, void *user,
	struct err *e);

/* An open volume. */
struct fs_ntfs {
	struct dev *dev;
	struct ntfs_io *io;
	struct ntfs_boot boot;
	struct _ntfs_attr *bitmap; /* $Bitmap's unnamed $DATA, runs mapped and checked */
	bool suspect;		   /* the volume itself says that $Bitmap may be wrong */
	uint64_t added;		   /* clusters in use by $MFT and free in $Bitmap */
	uint64_t min_run;	   /* free runs shorter than this many clusters stay data */
};

/*
 * Open, and check the state of the volume (the table in fs_ntfs.c), which may refuse it; notes go
 * into r. fs_ntfs_close after any outcome.
 */
int fs_ntfs_open(struct fs_ntfs *v, struct dev *d, struct fs_report *r, struct err *e);
void fs_ntfs_close(struct fs_ntfs *v);

/*
 * Check that the non-resident attribute's runs, mapped by the library, are allocated and inside the
 * volume for its first `bytes` bytes. ERR_FORMAT with `what` otherwise.
 */
int fs_ntfs_check_runs(const struct fs_ntfs *v, const struct _ntfs_attr *a, uint64_t bytes,
	const char *what, struct err *e);

/*
 * Set to MAP_FREE in m, which is full, the clusters that are free in $Bitmap and that no record of
 * $MFT in use maps; v->added counts where the two differ. Refused when a record is damaged, or when
 * reading $MFT would take longer than reading the device. Memory is bounded: at most
 * FS_NTFS_MAX_FREE_RUNS runs are set, and when there are more the shortest stay data; v->min_run
 * then says from which length on.
 */
#define FS_NTFS_MAX_FREE_RUNS ((uint64_t)1 << 20)
int fs_ntfs_scan(struct fs_ntfs *v, struct map *m, struct err *e);

/*
 * Map the whole of $MFT, and check that reading it `passes` times takes no longer than reading the
 * device. To be done before fs_ntfs_each_run, which calls fn for the runs of every record.
 */
int fs_ntfs_map_mft(struct fs_ntfs *v, uint64_t passes, struct err *e);
int fs_ntfs_each_run(struct fs_ntfs *v, fs_ntfs_run_fn fn, void *user, struct err *e);

/* fs_ops.files and fs_ops.claims */
int fs_ntfs_files(struct dev *d, bool tree, fs_file_fn fn, void *user, struct err *e);
int fs_ntfs_claims(struct dev *d, const struct map *ranges, uint64_t *bytes, struct err *e);

#endif
