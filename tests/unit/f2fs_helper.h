/*
 * For the tests of F2FS: volumes by mkfs.f2fs and sload.f2fs, without root, in the scratch
 * directory of ext_helper.h; what f2fs-tools say is free of them; and patches that keep the
 * checksums right, by the test's own reading of the structures.
 */
#ifndef TESTS_UNIT_F2FS_HELPER_H
#define TESTS_UNIT_F2FS_HELPER_H

#include "ext_helper.h"

#define F2FS_SUPER 1024 /* in each of the first two blocks */
#define F2FS_BLOCK 4096
#define F2FS_SEGMENT 512	/* blocks */
#define F2FS_SIT_ENTRY_BYTES 74 /* counter and type, bitmap, time */

/* A volume of this size in all of a file, holding the directory `tree` (may be NULL). */
void f2fs_make(const char *name, const char *size, const char *options, const char *tree);

/* fsck.f2fs finds nothing at all. */
void f2fs_check(const char *name);

/* Every regular file of `tree` is on the volume, with equal content. Their names are unique. */
void f2fs_compare_files(const char *name, const char *tree);

/* Where things are, all in blocks of the device. */
struct f2fs_layout {
	uint32_t sit, sit_copy; /* the table, and how far its second copy is behind it */
	uint32_t nat, main, main_segments;
	uint32_t pack, pack_blocks; /* the valid one */
	uint32_t summaries;
	uint32_t next_warm_node; /* where a roll-forward begins */
	bool compact;
};
void f2fs_layout_of(const char *name, struct f2fs_layout *l);

/* The offset of a table's entry, in its valid copy. */
uint64_t f2fs_sit_entry(const char *name, uint32_t segment);
uint64_t f2fs_nat_entry(const char *name, uint32_t node);

/* The block of a node, by journal or table; 0 when there is none. */
uint32_t f2fs_node_block(const char *name, uint32_t node);

/* The offsets of the journals: their counter, which their entries follow. */
uint64_t f2fs_sit_journal(const char *name);
uint64_t f2fs_nat_journal(const char *name);

/* Write 32 bits into both superblocks, or both blocks of a pack. */
void f2fs_poke_super(const char *name, uint32_t off, uint32_t value);
void f2fs_poke_pack(const char *name, uint32_t pack, uint32_t off, uint32_t value);
uint32_t f2fs_peek32(const char *name, uint64_t off);
void f2fs_poke32(const char *name, uint64_t off, uint32_t value);

/* Make the checksums right: of both superblocks where they have one, of a pack's two blocks. */
void f2fs_fix_super(const char *name);
void f2fs_fix_pack(const char *name, uint32_t pack);

/*
 * What dump.f2fs says: blocks without a bit in its dump of the segment table are free, all else is
 * data, and so is the block in which a roll-forward would look.
 */
struct map *f2fs_dumped_map(const char *name, uint64_t size);

#endif
