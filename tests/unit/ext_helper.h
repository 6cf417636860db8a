/*
 * For the tests of file systems: images made and read by tools that are not ours, without root. All
 * commands run in bash in a scratch directory that is removed at exit.
 */
#ifndef TESTS_UNIT_EXT_HELPER_H
#define TESTS_UNIT_EXT_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/dev.h"
#include "fs/fs.h"

/*
 * Make the scratch directory; end the program as skipped when a tool (NULL ends them) is missing.
 */
void ext_setup(const char *const *tools);

/* Run a command; its exit status. Output (both streams) to `out`, which may be NULL, cut. */
int ext_sh(char *out, size_t len, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Run a command that must succeed. */
void ext_must(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The path of a file in the scratch directory; valid until the next call but seven. */
const char *ext_path(const char *name);

/* A tree of files of many sizes, in DIR; the same each time. About `kib` of them. */
void ext_make_tree(const char *dir, unsigned kib);

void ext_peek(const char *name, uint64_t off, void *buf, size_t len);
void ext_poke(const char *name, uint64_t off, const void *buf, size_t len);

struct dev *ext_open(const char *name);

/* The map and report of a file, or of [off, off + len) of it. Checks what holds for every map. */
struct map *ext_map_of(const char *name, struct fs_report *r);
struct map *ext_map_slice(const char *name, uint64_t off, uint64_t len, struct fs_report *r);
struct map *ext_map_dev(struct dev *d, struct fs_report *r);

/*
 * What dumpe2fs says of a file system that begins at byte `base` of the file and is mapped as a
 * device of `size` bytes: its "Free blocks:" of every group are free, all else data.
 */
struct map *ext_dumped_map(const char *name, uint64_t base, uint64_t size);

/* A copy of the data of a map, everything else filled with garbage. */
void ext_restore(struct dev *d, const struct map *m, const char *name);

/*
 * For the tests with root: `PROGRAM --copy SOURCE COPY` writes such a copy and prints
 * "used_only=N free=N note=... reason=...". Returns the exit status.
 */
int ext_copy_main(const char *source, const char *copy);

/* The map holds nothing free that is not free in `limit`. */
void ext_assert_free_within(const struct map *m, const struct map *limit);
void ext_assert_equal_maps(const struct map *got, const struct map *want, const char *what);

/* All of the device is data, and the reason has this word in it. */
void ext_assert_refused(const char *name, const char *word);

#endif
