/*
 * For the tests of Btrfs, on top of ext_helper.h: volumes by mkfs.btrfs, what btrfs-progs say is
 * free, and volumes in memory whose tree blocks can be changed, with checksums that fit again.
 */
#ifndef TESTS_UNIT_BTRFS_HELPER_H
#define TESTS_UNIT_BTRFS_HELPER_H

#include "base/err.h"
#include "ext_helper.h"

/* The script beside the corpus must be found: call it after ext_setup, from the top directory. */
void btrfs_setup(void);

/* A file system of this size with the files of `tree`. */
void btrfs_make(const char *name, const char *size, const char *options);

/* What tests/corpus/fs/btrfs_map.py makes of the text that btrfs-progs print. */
struct map *btrfs_dumped_map(const char *name);

/* A file's bytes, and a device in memory that began as these. */
struct btrfs_volume {
	struct dev *dev;
	uint8_t *bytes;
	size_t len;
	uint32_t node_bytes;
	uint16_t csum_type;
};

void btrfs_open(struct btrfs_volume *v, const char *name);
void btrfs_close(struct btrfs_volume *v);

/* Where the newest block of a tree on a level lies in v->bytes; the last one in address order. */
uint64_t btrfs_block(const struct btrfs_volume *v, uint64_t owner, unsigned level);

/* Where in a leaf (its bytes) the data of item i of a type begin, from the leaf's start; and its
 * head. Fails when there is none. */
size_t btrfs_item(const uint8_t *leaf, uint8_t type, unsigned i, size_t *head);

/* Put a changed block or superblock on the device, with or without a checksum that fits. */
void btrfs_put(struct btrfs_volume *v, uint64_t at, uint8_t *block, size_t len, bool fix);

/* As the file was again. */
void btrfs_undo(struct btrfs_volume *v, uint64_t at, size_t len);

/* The row's map of the device in memory; NULL when refused. */
struct map *btrfs_map(struct btrfs_volume *v, struct fs_report *r, struct err *e);

#endif
