/*
 * Devices as files of a mounted directory (FUSE), read-only: for loop devices, ntfs-3g and whatever
 * else takes the file of an image; or the files inside a volume. The mount has threads of its own;
 * the caller starts it, asks how it is, and closes it. All functions but fuse_mount_close may be
 * called from any thread.
 */
#ifndef SERVER_SERVE_FUSE_H
#define SERVER_SERVE_FUSE_H

#include "device/dev.h"
#include "files/files.h"

struct fuse_mount;

struct fuse_file {
	const char *name; /* no slash in it */
	struct dev *dev;  /* stays the caller's, and must outlive the mount */
};

struct fuse_mount_options {
	bool allow_other; /* users other than the one who mounted it may look in */
};

struct fuse_mount_stats {
	uint64_t requests; /* reads; of a tree, whatever its parser is asked */
	uint64_t failures; /* of those, answered with EIO */
	uint64_t bytes;
};

/* Mount on `dir`, an existing directory. The list and its names are copied. */
int serve_fuse(const char *dir, const struct fuse_file *files, size_t count,
	const struct fuse_mount_options *o, struct fuse_mount **out, struct err *e);

/* A file tree (files/files.h, of the kind for many threads), which must outlive the mount. */
int serve_fuse_tree(const char *dir, struct files *files, const struct fuse_mount_options *o,
	struct fuse_mount **out, struct err *e);

/* False when it was unmounted from outside. */
bool fuse_mount_running(struct fuse_mount *m);
void fuse_mount_stats(struct fuse_mount *m, struct fuse_mount_stats *out);
/* Unmount, also while files are open in it, and join the threads. NULL is fine. */
void fuse_mount_close(struct fuse_mount *m);

#endif
