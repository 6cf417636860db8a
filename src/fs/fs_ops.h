/* For those who add a file system: the contract of a row in fs_table.c. */
#ifndef FS_FS_OPS_H
#define FS_FS_OPS_H

#include "fs/fs.h"
#include "fs/fs_files.h"

struct fs_ops {
	const char *name;	  /* for messages: "ext" */
	const char *const *types; /* libblkid's TYPE values that it takes, NULL at the end */
	/*
	 * Clear (set to MAP_FREE) what is proven free in `m`, which is full and covers the whole
	 * device. Fill note, label and uuid when better known than by libblkid. Return 0 when the
	 * map holds; negative with e->msg as the reason otherwise: the caller then drops `m` and
	 * takes all blocks. NULL: recognised only; `reason` says why all blocks are taken.
	 */
	int (*map)(struct dev *d, struct map *m, struct fs_report *r, struct err *e);
	/* As fs_files and fs_claims say. Both may be NULL: no files are listed. */
	int (*files)(struct dev *d, bool tree, fs_file_fn fn, void *user, struct err *e);
	int (*claims)(struct dev *d, const struct map *ranges, uint64_t *bytes, struct err *e);
	/* With map NULL: why all blocks are taken, e.g. "encrypted volume (LUKS)". */
	const char *reason;
};

extern const struct fs_ops fs_btrfs;
extern const struct fs_ops fs_ext;
extern const struct fs_ops fs_f2fs;
extern const struct fs_ops fs_exfat;
extern const struct fs_ops fs_fat;
extern const struct fs_ops fs_ntfs;
extern const struct fs_ops fs_swap;
extern const struct fs_ops fs_xfs;

/* All rows, NULL at the end. */
extern const struct fs_ops *const fs_table[];

/* Add a remark to r->note, after "; " when there is one already; what has no room is cut. */
void fs_add_note(struct fs_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Probe: the row that maps what is on the device; NULL, with r->reason, when there is none. */
const struct fs_ops *fs_find_row(struct dev *d, struct fs_report *r);

#endif
