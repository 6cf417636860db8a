/*
 * For the tests of FAT: volumes made by mkfs.fat and filled by mtools in the file "fs" of the
 * scratch directory (ext_helper.h), and their tables read and patched.
 */
#ifndef TESTS_UNIT_FAT_HELPER_H
#define TESTS_UNIT_FAT_HELPER_H

#include "ext_helper.h"

/* The tests' own reading of a boot sector of mkfs.fat: offsets and sizes in bytes. */
struct fat_volume {
	uint64_t fat, fat_bytes, root, heap;
	uint32_t cluster, clusters, root_cluster;
	unsigned bits;
};

/* cmocka's setup: tools (or skip), scratch directory, the trees "tree" and "small" in it. */
int fat_setup(void **state);

struct fat_volume fat_volume_of(const char *name);

/* A cluster's entry in a copy of the FAT of "fs"; and the same set, in one copy or in two. */
uint32_t fat_get_entry(const struct fat_volume *v, unsigned copy, uint32_t cluster);
void fat_set_entry(const struct fat_volume *v, unsigned copy, uint32_t cluster, uint32_t value);
void fat_set_both(const struct fat_volume *v, uint32_t cluster, uint32_t value);

uint64_t fat_off_of(const struct fat_volume *v, uint32_t cluster);

/* Where the entry with this short name ("A       TXT") lies in a directory of "fs". */
uint64_t fat_find_entry(uint64_t dir, const char *name);
/* The cluster number in the entry that lies there. */
uint32_t fat_first_cluster(uint64_t entry);

/* "fs", empty, or filled with a tree, thinned out and filled again, so that it is in pieces. */
void fat_make(const char *size, const char *mkfs);
void fat_make_aged(const char *size, const char *mkfs, const char *tree);

/* What tests/corpus/fs/fat-map.py calls free on "fs". */
struct map *fat_witness_map(uint64_t size);

/* The map of "fs", which must have one, with this note. */
struct map *fat_good_map(struct fs_report *r, const char *note);

/* Map "fs", whatever is on it, and check what holds for every map and every refusal. */
void fat_map_anything(void);

#endif
