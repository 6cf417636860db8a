/*
 * For the tests of NTFS: volumes made by mkntfs and filled by ntfscp (no root), patched where a
 * state can't be made otherwise, and read by tools that are not ours. Everything lives in a scratch
 * directory that is removed at exit. A tool that fails ends the test.
 */
#ifndef TESTS_UNIT_NTFS_HELPER_H
#define TESTS_UNIT_NTFS_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fs/fs.h"

/* Ends the program as skipped when one of the tools is missing. */
void ntfs_need_tools(void);

/* DIR/name in the scratch directory; it lasts. At most 32 different names. */
const char *ntfs_path(const char *name);

/*
 * Run a program (arguments up to a NULL); its stdout and stderr go to `out` (may be NULL), cut and
 * terminated. Returns the exit status.
 */
int ntfs_run(char *out, size_t out_len, const char *const *argv);
#define NTFS_RUN(out, out_len, ...)                                                                \
	ntfs_run(out, out_len, (const char *const[]){ __VA_ARGS__, NULL })

/* A sparse file of `bytes` with an NTFS of these sector and cluster sizes in all of it. */
void ntfs_make(const char *path, uint64_t bytes, unsigned sector, unsigned cluster);

/* A file of pseudo-random bytes into the volume's root; and cut a file there (by inode). */
void ntfs_copy_in(const char *path, const char *name, size_t bytes);
void ntfs_truncate(const char *path, unsigned inode, size_t bytes);

/* Fill with many files, and cut every other one to nothing: $Bitmap gets many runs. */
void ntfs_fragment(const char *path, unsigned files, size_t bytes);

/*
 * Let two files grow in turn, `pieces` times by `bytes` each. libntfs-3g writes them, mounted for
 * writing in a process of its own; it finds room for each piece alone, so that small gaps in
 * $Bitmap end up as many runs.
 */
void ntfs_interleave(const char *path, unsigned a, unsigned b, unsigned pieces, size_t bytes);

void ntfs_peek(const char *path, uint64_t off, void *buf, size_t len);
void ntfs_poke(const char *path, uint64_t off, const void *buf, size_t len);

/* From the boot sector, by the test's own reading. */
uint32_t ntfs_cluster_bytes(const char *path);
uint64_t ntfs_total_clusters(const char *path);
uint64_t ntfs_record_offset(const char *path, unsigned number); /* of $MFT's first run */
uint64_t ntfs_mirror_offset(const char *path, unsigned number);

/* Where in its record the first attribute of a type (unnamed or not) begins; fails when missing. */
size_t ntfs_attribute(const char *path, unsigned number, uint32_t type);

/* Write `len` bytes into a record, in $MFT and, for the first four, $MFTMirr. */
void ntfs_poke_record(const char *path, unsigned number, size_t at, const void *buf, size_t len);

/* Where on the volume the first run of a file's unnamed $DATA begins (ntfscluster says it). */
uint64_t ntfs_file_offset(const char *path, unsigned inode);

/* $Volume's flags. */
void ntfs_set_flags(const char *path, uint16_t flags);

/* A journal as Windows leaves it: restart pages of this version, closed cleanly or not. */
void ntfs_write_journal(const char *path, uint16_t major, uint16_t minor, bool clean);

/*
 * The map of a file's volume, by fs_ntfs alone. NULL when it was refused, with the reason in *e.
 */
struct map *ntfs_map_file(const char *path, struct fs_report *r, struct err *e);

/* Kind of a cluster in the map, all of which must be one kind. */
enum map_kind ntfs_kind(const struct map *m, uint64_t off, uint64_t len);

#endif
