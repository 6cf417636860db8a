/*
 * Inside the NTFS tree: files_ntfs.c (nodes, directories, content) and files_ntfs_link.c (text and
 * links). Nobody else includes this.
 */
#ifndef FILES_FILES_NTFS_INT_H
#define FILES_FILES_NTFS_INT_H

#include <stdarg.h> /* these two for the library's headers */
#include <sys/stat.h>

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/volume.h>

#include "adapter/ntfs_io.h"
#include "files/files_ops.h"

struct ntfs_tree {
	struct files base;
	struct ntfs_io *io;
	ntfs_volume *vol;
};

/* ERR_FORMAT: "MFT record N: what". */
int ntfs_tree_refuse(uint64_t id, const char *what, struct err *e);
/* A library call failed: as ntfs_io_fail, with the record's number. */
int ntfs_tree_fail(struct ntfs_tree *t, uint64_t id, const char *what, struct err *e);

/* UTF-16LE of `units` to UTF-8, terminated; false when it does not fit into cap bytes. */
bool ntfs_to_utf8(const uint8_t *in, size_t units, char *out, size_t cap, size_t *len);

/*
 * The reparse point of an inode, malloc'ed, at least as long as its head; *out is NULL and *n 0
 * when there is none, or on failure.
 */
int ntfs_read_reparse(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, uint8_t **out, size_t *n,
	struct err *e);

/* Is it that of a link? */
bool ntfs_is_reparse_link(const uint8_t *p, size_t n);

/* Is it a link as ntfs-3g makes them? Sets *yes. */
int ntfs_check_interix(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, bool *yes, struct err *e);

/* The target of a link of any kind, as files_link gives it. ERR_FORMAT: not a link. */
int ntfs_read_target(struct ntfs_tree *t, ntfs_inode *ni, uint64_t id, char *out, size_t *len,
	struct err *e);

#endif
