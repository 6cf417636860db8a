/*
 * Shared by the files of the ext row: fs_ext.c (the order of things), fs_ext_super.c (the
 * superblock), fs_ext_journal.c and fs_ext_log.c (what a replay would write), fs_ext_overlay.c (the
 * device as it would be after the replay), fs_ext_groups.c (bitmaps into the map), fs_ext_files.c
 * and fs_ext_claims.c (files, and who uses which blocks). Nobody else includes this.
 */
#ifndef FS_FS_EXT_INT_H
#define FS_FS_EXT_INT_H

#include "adapter/ext2fs_io.h"
#include "device/dev.h"
#include "fs/fs_files.h"
#include "map/map.h"

#define EXT_SUPER_OFFSET 1024
#define EXT_SUPER_BYTES 1024

/*
 * Check a superblock (EXT_SUPER_BYTES) so far that libext2fs can be given it: known features only,
 * every size within its limits and fitting the others, inside a device of `size` bytes. Refuses
 * with the field's name.
 */
int fs_ext_super_check(const uint8_t *super, uint64_t size, struct err *e);

/* Check that it is clean, or has a journal that makes it so. */
int fs_ext_super_check_state(const uint8_t *super, struct err *e);

/* Blocks of the journal file that lie together, in the order of the file. */
struct ext_run {
	uint64_t index; /* in the journal */
	uint64_t block; /* on the file system */
	uint64_t count;
};

/* A replay puts journal block `index` on file system block `block`. */
struct ext_write {
	uint64_t block;
	uint32_t index;
	uint32_t order; /* place among all writes of the log */
	uint32_t age;	/* transaction, counted from the first one in the log */
	bool escaped;	/* the first four bytes are to be the journal's magic number */
};

struct ext_journal {
	struct ext_run *runs;
	size_t run_count;
	uint64_t blocks; /* in all runs */
	/* What replay writes: one per file system block, in ascending order. */
	struct ext_write *writes;
	size_t write_count;
};

/*
 * Find the journal of a file system on `d` and, when the file system needs recovery, follow the
 * log as a replay would. Reads only. Fails on anything that a sound journal does not have.
 */
int fs_ext_journal_read(struct dev *d, ext2_filsys fs, struct ext_journal *out, struct err *e);
void fs_ext_journal_fini(struct ext_journal *j);

/* Its second part: read the journal's superblock and follow the log; fills only the writes. */
int fs_ext_log_read(struct dev *d, ext2_filsys fs, struct ext_journal *j, struct err *e);

/* Make room for element `count` of a growing array; NULL, and the array stays, without memory. */
void *fs_ext_grow(void *array, size_t count, size_t *room, size_t element_bytes);

/* The file system block of a journal block; `index` is below j->blocks. */
uint64_t fs_ext_journal_block(const struct ext_journal *j, uint64_t index);

/* The first write at or after `block`; write_count when there is none. */
size_t fs_ext_journal_find(const struct ext_journal *j, uint64_t block);

/*
 * `under` with the writes of the journal done: read-only, without a descriptor. Both arguments stay
 * the caller's and must outlive it.
 */
int fs_ext_overlay_open(struct dev *under, const struct ext_journal *j, uint32_t block_bytes,
	struct dev **out, struct err *e);

/*
 * Set to MAP_FREE what is free in `fs` and, when it is not NULL, also in `before` (the same file
 * system before its journal was replayed). `fs` must be consistent: checksums, counts per group,
 * metadata where the bitmaps say used. *free_blocks counts what `fs` says is free, also where
 * `before` or the limit on the number of runs keeps it. *coarse is set in the latter case.
 */
int fs_ext_groups_map(ext2_filsys fs, ext2_filsys before, struct map *m, uint64_t *free_blocks,
	bool *coarse, struct err *e);

/* A file system and what its journal makes of it. */
struct ext_volume {
	struct dev *dev;
	bool any_state;	  /* also one marked as having errors, or not cleanly unmounted */
	ext2_filsys disk; /* as it is */
	struct ext_journal journal;
	struct dev *overlay;
	ext2_filsys replayed; /* NULL when there is nothing to replay */
};

/* Check and open; fs_ext_close after any outcome. */
int fs_ext_open(struct ext_volume *v, struct dev *d, struct err *e);
void fs_ext_close(struct ext_volume *v);

/*
 * Told of blocks that an inode uses: [block, block + count) for its blocks from `logical` on.
 * `logical` means nothing when `data` is false: the blocks are its map's own.
 */
struct ext_use {
	uint64_t logical, block, count;
	bool data;
};
typedef int (*fs_ext_use_fn)(void *user, const struct ext_use *u, struct err *e);

/*
 * Call fn for all blocks of the inode but its attribute block, extent by extent or, with the old
 * map, block by block. Refuses (ERR_FORMAT) blocks outside the file system.
 */
int fs_ext_each_use(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *inode, fs_ext_use_fn fn,
	void *user, struct err *e);

/* fs_ops.files and fs_ops.claims */
int fs_ext_files(struct dev *d, bool tree, fs_file_fn fn, void *user, struct err *e);
int fs_ext_claims(struct dev *d, const struct map *ranges, uint64_t *bytes, struct err *e);

#endif
