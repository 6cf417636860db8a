/* The search for whoever uses a device: shared by the files that look in different places. */
#ifndef DEVICE_IDENTITY_HOLDERS_INT_H
#define DEVICE_IDENTITY_HOLDERS_INT_H

#include "device/identity_int.h"

/* A device through which bytes of the target are reached. */
struct member {
	char name[SYS_NAME_LEN];
	dev_t devno;
	bool whole; /* its partitions too; false: the device itself only */
};

/* A loop device and what lies under it: a file, or a block device. */
struct loop {
	char name[SYS_NAME_LEN];
	bool over_block;
	dev_t rdev;
	dev_t file_dev;
	ino_t file_ino;
};

struct holders {
	const char *root;
	struct member *members;
	size_t member_count;
	struct loop *loops;
	size_t loop_count;
	/* The file whose bytes they are, when it is one or a loop device over one. */
	bool has_file;
	dev_t file_dev;
	ino_t file_ino;
	const char *file_name;
	char *out;
	size_t len;
	size_t used;
	bool in_use;
};

/* Add a line; `hurts`: writing to the target would. */
void holders_say(struct holders *h, bool hurts, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "/dev/dm-0 (vg-root)" */
void holders_label(const struct holders *h, const char *name, char *out, size_t len);

/* The member with this number, or NULL. */
const struct member *holders_find(const struct holders *h, dev_t devno);

/* ---- identity_mounts_linux.c: look for the members, and say what is found ---- */

/* The number of the device that a path names, by the node or, where there is none, by its name. */
bool holders_devno_of_path(const char *root, const char *path, dev_t *devno);

int holders_see_mounts(struct holders *h, struct err *e);
int holders_see_swaps(struct holders *h, struct err *e);
void holders_see_btrfs(struct holders *h);

#endif
