/*
 * Shared by the rows that list files (fs_ext_files.c, fs_ntfs_files.c): the directories still to be
 * read, what was seen, and the ranges of a file. Runs in the confined process; memory grows with
 * what the volume really holds, and its limit there is the bound.
 */
#ifndef FS_FS_LIST_H
#define FS_FS_LIST_H

#include "fs/fs_files.h"

/* A name found in a directory. `number` is the file system's own for the file. */
struct fs_list_entry {
	uint64_t number;
	char *path; /* malloc'ed */
};

struct fs_list {
	bool tree;
	fs_file_fn fn;
	void *user;
	/* A bit for each file number: every file and directory is looked at once, so that names
	 * that form a circle, or a second name of a file, end nowhere. */
	uint8_t *seen;
	uint64_t numbers;
	/* Directories in the order in which they were found, and the names in the one at hand. */
	struct fs_list_entry *dirs, *names;
	size_t dir_count, dir_room, dir_next;
	size_t name_count, name_room, name_next;
	const char *dir_path;  /* of the one at hand */
	bool out_of_memory;    /* fs_list_name could not keep a name */
	struct extent *ranges; /* of the file at hand */
	size_t range_count;
	bool too_many;
};

/* File numbers are below `numbers`; the root has this one. fs_list_close after any outcome. */
int fs_list_open(struct fs_list *l, bool tree, fs_file_fn fn, void *user, uint64_t numbers,
	uint64_t root, struct err *e);
void fs_list_close(struct fs_list *l);

/* The next directory to read, or NULL: then all is listed. */
const struct fs_list_entry *fs_list_next_dir(struct fs_list *l);

/* In a directory: keep a name (without "." and "..", and those whose path is too long). */
void fs_list_name(struct fs_list *l, uint64_t number, const char *name, size_t len);

/*
 * The next name of the directory at hand that was not seen by another name; it becomes seen. NULL
 * at the end, and then *rc says whether names got lost for want of memory.
 */
struct fs_list_entry *fs_list_next_name(struct fs_list *l, int *rc, struct err *e);

/* The entry is a directory: read it later. Takes the entry's path. */
int fs_list_dir(struct fs_list *l, struct fs_list_entry *entry, struct err *e);

/* A run of whole allocation units of the file at hand. */
void fs_list_range(struct fs_list *l, uint64_t off, uint64_t len);

/*
 * Hand the file over: with the ranges gathered since the one before, or when `kept` says so, or
 * when there are too many, without.
 */
int fs_list_file(struct fs_list *l, const struct fs_list_entry *entry, struct fs_file *f,
	const char *kept, struct err *e);

/* Bytes of [off, off + len) that lie in extents of the map. */
uint64_t fs_list_overlap(const struct map *ranges, uint64_t off, uint64_t len, size_t *hint);

#endif
