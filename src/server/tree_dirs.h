/*
 * Directories of a file tree, read once and kept for a while, sorted by name: the tree lists whole
 * directories, a mount is asked for single names. Any thread.
 */
#ifndef SERVER_TREE_DIRS_H
#define SERVER_TREE_DIRS_H

#include "files/files.h"

struct tree_entry {
	uint64_t id;
	uint32_t name_off; /* see tree_dir_name */
	uint16_t name_len;
	uint8_t type; /* enum files_type */
};

struct tree_dir {
	uint64_t id;
	size_t count;
	struct tree_entry *entries; /* sorted by name, as bytes */
	char *names;
	/* The rest belongs to the cache. */
	size_t room, names_len, names_room;
	unsigned refs;
	uint64_t used;
	struct tree_dir *before, *behind;
};

struct tree_dirs;

/* `files` stays the caller's, and must outlive it. max_bytes: of directories nobody has open. */
int tree_dirs_new(struct files *files, size_t max_bytes, struct tree_dirs **out, struct err *e);
/* NULL is fine. Directories that are still open, as in a mount that was torn down, go too. */
void tree_dirs_free(struct tree_dirs *t);

/* A directory, until tree_dir_unref. */
int tree_dir_ref(struct tree_dirs *t, uint64_t id, struct tree_dir **out, struct err *e);
void tree_dir_unref(struct tree_dirs *t, struct tree_dir *d);

/* Terminated. */
const char *tree_dir_name(const struct tree_dir *d, const struct tree_entry *x);
/* NULL: no such name. */
const struct tree_entry *tree_dir_find(const struct tree_dir *d, const char *name);

#endif
