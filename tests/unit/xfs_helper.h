/*
 * For the tests of XFS, besides ext_helper.h: images of the corpus, what xfs_db says is free, and
 * changes of metadata with the checksum made to fit.
 */
#ifndef TESTS_UNIT_XFS_HELPER_H
#define TESTS_UNIT_XFS_HELPER_H

#include <stddef.h>
#include <stdint.h>

#include "map/map.h"

/* The structures whose checksum is to be made anew, by where the checksum lies in them. */
#define XFS_SUM_SUPER 0xe0
#define XFS_SUM_AGF 0xd8
#define XFS_SUM_AGFL 0x20
#define XFS_SUM_TREE 0x34

/* Unpack tests/corpus/fs/IMAGE.img.zst to a sparse file in the scratch directory. */
void xfs_unpack(const char *image, const char *name);

/* Lines "OFFSET LENGTH" of what is free, as a map of `size` bytes: from a file, from xfs_db. */
struct map *xfs_listed_map(const char *path, uint64_t size);
struct map *xfs_dumped_map(const char *name, uint64_t size);

/* Make the checksum of [off, off + len) fit, which lies `at` bytes from off. */
void xfs_fix_sum(const char *name, uint64_t off, size_t len, size_t at);

/* Set a big-endian number `field` bytes behind off, and make the checksum fit. */
void xfs_put32(const char *name, uint64_t off, size_t len, size_t at, size_t field, uint32_t value);
uint32_t xfs_get32(const char *name, uint64_t off);

#endif
