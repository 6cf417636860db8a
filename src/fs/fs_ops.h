/* For those who add a file system: the contract of a row in fs_table.c. */
#ifndef FS_FS_OPS_H
#define FS_FS_OPS_H

#include "fs/fs.h"

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
	/* With map NULL: why all blocks are taken, e.g. "encrypted volume (LUKS)". */
	const char *reason;
};

extern const struct fs_ops fs_btrfs;
extern const struct fs_ops fs_ext;
extern const struct fs_ops fs_ntfs;
extern const struct fs_ops fs_swap;

/* All rows, NULL at the end. */
extern const struct fs_ops *const fs_table[];

#endif
