/* For the tests of file trees: a tree against the directory that it was made from. */
#ifndef TESTS_UNIT_FILES_HELPER_H
#define TESTS_UNIT_FILES_HELPER_H

#include "files/files.h"

#define FILES_SAME_MODES 1 /* permissions, owners and the seconds of times too */

/*
 * The tree has exactly what is in the directory `source`, seen by plain system calls: names, types,
 * sizes, links, targets, contents (of sparse files all data and the borders of holes). Names at the
 * top that are in `extra` (NULL at the end, may be NULL) are overlooked.
 */
void files_assert_same(struct files *f, const char *source, unsigned flags,
	const char *const *extra);

/* The whole content of a file, by reads of `step` bytes, malloc'ed. */
uint8_t *files_read_whole(struct files *f, const char *path, size_t step, size_t *len);

/* The node of a path; the test ends when there is none. */
uint64_t files_must_find(struct files *f, const char *path);

/* How many names a directory has. */
size_t files_count(struct files *f, uint64_t id);

#endif
