/* For those who add a file system: a tree as its files implement it, and a row of files_table.c. */
#ifndef FILES_FILES_OPS_H
#define FILES_FILES_OPS_H

#include "files/files.h"

struct files {
	const struct files_ops *ops;
	struct files_info info; /* filled by open */
};

struct files_ops {
	const char *name;	  /* for messages */
	const char *const *types; /* libblkid's TYPE values that it takes, NULL at the end */
	/*
	 * Open the volume; *out begins with a struct files whose ops is set. Fill info, except
	 * type. NULL for a tree that is in no table.
	 */
	int (*open)(struct dev *d, struct files **out, struct err *e);
	/*
	 * As the functions of files.h. Each call is bounded in memory and in reads of the device,
	 * whatever the volume says. read: len is 1 to FILES_READ_MAX_BYTES; a node that is no
	 * regular file is refused. link: as read.
	 */
	int (*stat)(struct files *f, uint64_t id, struct files_node *out, struct err *e);
	int (*list)(struct files *f, uint64_t id, files_list_fn fn, void *user, struct err *e);
	int (*read)(struct files *f, uint64_t id, uint64_t off, void *buf, size_t len, size_t *got,
		struct err *e);
	int (*link)(struct files *f, uint64_t id, char *out, size_t *len, struct err *e);
	/* As files_interrupt. May be NULL: nothing to interrupt. */
	void (*interrupt)(struct files *f);
	/* Free everything, the struct too. */
	void (*close)(struct files *f);
};

extern const struct files_ops files_ext;
extern const struct files_ops files_ntfs;

/* All rows, NULL at the end. */
extern const struct files_ops *const files_table[];

/* Can this be the name of a file? Not empty, "." or "..", no '/', no zero byte, not too long. */
bool files_name_ok(const char *name, size_t len);

#endif
