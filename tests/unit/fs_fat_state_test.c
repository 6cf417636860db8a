/*
 * fs_fat on volumes that are not as mkfs.fat and mtools leave them: dirty ones, copies of the FAT
 * that differ, bad and lost clusters; and those that a pulled stick leaves torn, which are refused.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fat_helper.h"
#include "fs/fs_fat_int.h"

/* ---- What the tables say ------------------------------------------------------------------ */

/* Bad clusters, clusters of no file, reserved bits, and copies that differ: all of it is data. */
static void test_every_copy_counts(void **state)
{
	struct fat_volume v;
	struct fs_report r;
	struct map *m;
	uint32_t last;

	(void)state;
	fat_make_aged("40M", "-F 32 -s 1", "tree");
	v = fat_volume_of("fs");
	last = v.clusters + 1;
	fat_set_both(&v, last, 0x0FFFFFF7);
	fat_set_both(&v, last - 2, 0x0FFFFFFF);
	fat_set_both(&v, last - 4, 0xA0000000); /* free: the high four bits mean nothing */
	fat_set_entry(&v, 1, last - 6, 0x0FFFFFFF);
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_non_null(strstr(r.note, "the copies of the FAT differ in 1 entries"));
	assert_non_null(strstr(r.note, "2 clusters in use belong to no file"));
	assert_non_null(strstr(r.note, "1 bad clusters"));
	assert_non_null(strstr(r.note, "FSInfo says"));
	assert_int_equal(map_run(m, fat_off_of(&v, last), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, fat_off_of(&v, last - 1), NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, fat_off_of(&v, last - 2), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, fat_off_of(&v, last - 5), NULL).len, 3 * 512);
	assert_int_equal(map_run(m, fat_off_of(&v, last - 5), NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, fat_off_of(&v, last - 6), NULL).kind, MAP_DATA);
	map_free(m);
	/* Whoever reads the second copy would go on in a cluster that neither has. */
	fat_set_entry(&v, 1, last - 6, last - 8);
	ext_assert_refused("fs", "copy 1 of the FAT has cluster");
	fat_set_entry(&v, 1, last - 8, 0x0FFFFFFF);
	/* A chain of no file, which a repair would make one of. */
	fat_set_both(&v, last - 2, last - 1);
	ext_assert_refused("fs", "copy 0 of the FAT has cluster");
	fat_set_both(&v, last - 1, 0x0FFFFFFF);
	map_free(ext_map_of("fs", &r));
	assert_true(r.used_only);
}

/* BPB_ExtFlags: the second copy alone counts; what the first still has stays data. */
static void test_mirroring_off(void **state)
{
	const uint8_t flags[2] = { 0x81, 0 };
	struct fat_volume v;
	struct fs_report r;
	struct map *m;

	(void)state;
	fat_make_aged("40M", "-F 32 -s 1", "tree");
	v = fat_volume_of("fs");
	ext_poke("fs", 0x28, flags, 2);
	fat_set_entry(&v, 0, v.clusters + 1, 0x0FFFFFFF);
	m = fat_good_map(&r,
		"the copies of the FAT differ in 1 entries; "
		"1 clusters in use belong to no file");
	assert_int_equal(map_run(m, fat_off_of(&v, v.clusters + 1), NULL).kind, MAP_DATA);
	map_free(m);
	/* The copy that counts is the one that is walked. */
	fat_set_entry(&v, 0, fat_first_cluster(fat_find_entry(v.root, "TREE       ")), 0);
	map_free(fat_good_map(&r,
		"the copies of the FAT differ in 2 entries; "
		"1 clusters in use belong to no file"));
	fat_set_entry(&v, 1, fat_first_cluster(fat_find_entry(v.root, "TREE       ")), 0);
	ext_assert_refused("fs", "which is free");
}

/* A stick that was pulled out: the flags are a remark, and what is written is as it should be. */
static void test_dirty(void **state)
{
	static const struct {
		const char *size, *mkfs;
		uint32_t field;	 /* BS_Reserved1 */
		uint32_t second; /* FAT[1] when dirty; 0: FAT12 has no flag there */
		uint32_t error;
	} kinds[] = {
		{ "12M", "-F 12 -s 8", 0x25, 0, 0 },
		{ "16M", "-F 16 -s 2", 0x25, 0x7FFF, 0xBFFF },
		{ "40M", "-F 32 -s 1", 0x41, 0x07FFFFFF, 0x0BFFFFFF },
	};
	const uint8_t one = 1, zero = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct fs_report r;
		struct map *clean, *m;
		struct fat_volume v;

		fat_make_aged(kinds[i].size, kinds[i].mkfs, "tree");
		v = fat_volume_of("fs");
		clean = fat_good_map(&r, "");
		ext_poke("fs", kinds[i].field, &one, 1);
		m = fat_good_map(&r, "not cleanly unmounted");
		assert_true(map_equal(clean, m));
		map_free(m);
		ext_poke("fs", kinds[i].field, &zero, 1);
		if (kinds[i].second != 0) {
			fat_set_both(&v, 1, kinds[i].second);
			m = fat_good_map(&r, "not cleanly unmounted");
			assert_true(map_equal(clean, m));
			map_free(m);
			fat_set_both(&v, 1, kinds[i].error);
			map_free(fat_good_map(&r, "read or write errors were met on it"));
		}
		map_free(clean);
	}
}

/*
 * The cuts that a pulled stick leaves, on each type: what the directory says and the table does
 * not, and the other way round.
 */
static void test_torn_states_are_refused(void **state)
{
	static const char *const sizes[] = { "12M", "16M", "40M" };
	static const char *const mkfs[] = { "-F 12 -s 8", "-F 16 -s 2", "-F 32 -s 1" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(mkfs); i++) {
		uint32_t a, b, dir, end = i == 0 ? 0xFFF : i == 1 ? 0xFFFF : 0x0FFFFFFF;
		uint64_t entry;
		uint8_t size[4];
		struct fat_volume v;
		struct fs_report r;

		fat_make(sizes[i], mkfs[i]);
		ext_must("head -c 20000 /dev/urandom >a.txt && cp a.txt b.txt && "
			 "mcopy -i fs a.txt b.txt ::/ && mmd -i fs ::/dir ::/dir/in && "
			 "mcopy -i fs a.txt ::/dir/in && cp fs good");
		v = fat_volume_of("fs");
		entry = fat_find_entry(v.root, "A       TXT");
		a = fat_first_cluster(entry);
		b = fat_first_cluster(fat_find_entry(v.root, "B       TXT"));
		dir = fat_first_cluster(fat_find_entry(v.root, "DIR        "));
		map_free(fat_good_map(&r, ""));

		fat_set_both(&v, a, 0); /* the chain never written */
		ext_assert_refused("fs", "which is free");
		fat_set_both(&v, a, end); /* the chain written in part */
		ext_assert_refused("fs", "20000 bytes, but only 1 clusters");
		ext_must("cp good fs");
		fat_set_both(&v, fat_get_entry(&v, 0, a), 0);
		ext_assert_refused("fs", "which is free");
		ext_must("cp good fs");
		fat_set_both(&v, a, b); /* two files in one chain */
		ext_assert_refused("fs", "in use already");
		fat_set_both(&v, a, a); /* a circle */
		ext_assert_refused("fs", "in use already");
		fat_set_both(&v, a, v.clusters + 2); /* one too far */
		ext_assert_refused("fs", "its chain has the value");
		fat_set_both(&v, a, 1);
		ext_assert_refused("fs", "its chain has the value 0x1 at");
		fat_set_both(&v, a, end - 8); /* a bad cluster in it */
		ext_assert_refused("fs", "its chain has the value");
		ext_must("cp good fs");

		put_le32(size, 200000);
		ext_poke("fs", entry + 28, size, 4);
		ext_assert_refused("fs", "200000 bytes");
		ext_must("cp good fs");
		put_le16(size, 0); /* bytes and no cluster */
		ext_poke("fs", entry + 26, size, 2);
		ext_assert_refused("fs", "only 0 clusters");
		put_le16(size, 1);
		ext_poke("fs", entry + 26, size, 2);
		ext_assert_refused("fs", "cluster 1, which is none");
		put_le16(size, (uint16_t)(v.clusters + 2));
		ext_poke("fs", entry + 26, size, 2);
		if (v.bits < 32)
			ext_assert_refused("fs", "which is none");
		ext_must("cp good fs");

		/* A directory whose first cluster holds something else. */
		ext_poke("fs", fat_off_of(&v, dir), "garbage", 7);
		ext_assert_refused("fs", "it is not \".\"");
		ext_must("cp good fs");
		put_le16(size, (uint16_t)(dir + 1));
		ext_poke("fs", fat_off_of(&v, dir) + 26, size, 2);
		ext_assert_refused("fs", "it refers to cluster");
		ext_must("cp good fs");
		ext_poke("fs", fat_off_of(&v, dir) + 32 + 26, size, 2);
		ext_assert_refused("fs", "entry 1: it refers to cluster");
		ext_must("cp good fs");
		/* Below the root's child: what is wrong deeper down is found too. */
		entry = fat_find_entry(fat_off_of(&v, dir), "IN         ");
		put_le16(size, (uint16_t)(dir + 2));
		ext_poke("fs", entry + 26, size, 2);
		ext_assert_refused("fs", "directory at cluster");
		ext_must("cp good fs");

		/* Behind the end that "B" becomes, entries go on: Linux would show them. */
		ext_poke("fs", fat_find_entry(v.root, "A       TXT"), "", 1);
		ext_assert_refused("fs", "behind the directory's end");
		ext_must("cp good fs");
		ext_poke("fs", fat_find_entry(v.root, "A       TXT") + 11, "\x18", 1);
		ext_assert_refused("fs", "its attributes are 0x18");
		assert_int_equal(ext_sh(NULL, 0, "cp good fs"), 0);
	}
}

/* Long names, labels and deleted entries refer to nothing, whatever is in their fields. */
static void test_entries_without_clusters(void **state)
{
	static const uint8_t many[2] = { 0xEE, 0xEE };
	struct fs_report r;
	struct map *before, *after;
	struct fat_volume v;
	uint64_t at;

	(void)state;
	fat_make("16M", "-F 16 -s 2 -n LABEL");
	ext_must("mcopy -i fs small/file3 '::/a name that is long' && "
		 "mcopy -i fs small/file6 ::/gone && mdel -i fs ::/gone && "
		 "mcopy -i fs small/file9 ::/keep");
	v = fat_volume_of("fs");
	before = fat_good_map(&r, "");
	for (at = v.root; at < v.root + 8 * 32; at += 32) {
		uint8_t b[32];

		ext_peek("fs", at, b, sizeof(b));
		if (b[11] == 0x0F || b[11] == 0x08 || b[0] == 0xE5)
			ext_poke("fs", at + 26, many, 2);
		/* The high half is no part of a number of FAT16. */
		if (b[0] != 0)
			ext_poke("fs", at + 20, many, 2);
	}
	after = fat_good_map(&r, "");
	assert_true(map_equal(before, after));
	map_free(before);
	map_free(after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_copy_counts),
		cmocka_unit_test(test_mirroring_off),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_torn_states_are_refused),
		cmocka_unit_test(test_entries_without_clusters),
	};

	return cmocka_run_group_tests_name("fs_fat_state", tests, fat_setup, NULL);
}
