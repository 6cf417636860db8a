/*
 * FAT12, FAT16 and FAT32 without root: volumes by mkfs.fat, filled and aged with mtools, compared
 * with tests/corpus/fs/fat-map.py (a reading of the specification of its own), with what fsck.fat
 * counts, with the clusters that mshowfat gives for each file, and with partclone; copies that hold
 * only the map's data, the rest garbage, checked by fsck.fat. States of the tables and hostile
 * volumes have their own files, fs_fat_state_test.c and fs_fat_hostile_test.c.
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
#include "device/dev_fault.h"
#include "fat_helper.h"
#include "fs/fs_fat_int.h"

struct options {
	unsigned bits;
	const char *size;
	const char *mkfs;
	const char *tree;
};

static const struct options sets[] = {
	{ 12, "1440K", "", "small" },
	{ 12, "5M", "-F 12 -s 4", "small" },
	{ 12, "2000003", "-F 12 -s 1", "small" },
	{ 12, "16M", "-F 12 -s 16 -f 1", "tree" },
	{ 12, "30M", "-F 12 -S 4096 -s 2", "tree" },
	{ 16, "12M", "-F 16 -s 4", "tree" },
	{ 16, "9M", "-F 16 -s 2 -r 1024 -R 7", "tree" },
	{ 16, "100001000", "-F 16 -s 8", "tree" },
	{ 16, "300M", "-F 16 -s 128", "tree" },
	{ 16, "64M", "-F 16 -S 1024", "tree" },
	{ 16, "64M", "-F 16 -S 2048 -s 4", "tree" },
	{ 16, "70M", "-F 16 -S 4096 -s 2 -f 3", "tree" },
	{ 32, "40M", "-F 32 -s 1", "tree" },
	{ 32, "50000000", "-F 32 -s 1 -f 1 -b 0 -R 8", "tree" },
	{ 32, "300M", "-F 32 -s 8 -n LABEL", "tree" },
	{ 32, "70M", "-F 32 -S 1024 -s 1 -f 4", "tree" },
	{ 32, "300M", "-F 32 -S 4096 -s 1", "tree" },
	{ 32, "5G", "-F 32 -s 128", "tree" },
	{ 32, "36G", "-F 32 -S 4096 -s 128", "tree" },
};

/* LESSONS 19, 29, R2, R3: free is what the specification calls free, to the byte. */
static void test_against_witness(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sets); i++) {
		const struct options *o = &sets[i];
		uint64_t used = 0, all = 0;
		struct fs_report r;
		struct map *got, *want;
		struct fat_volume v;
		char out[512];

		fat_make_aged(o->size, o->mkfs, o->tree);
		v = fat_volume_of("fs");
		got = fat_good_map(&r, "");
		want = fat_witness_map(map_size(got));
		ext_assert_equal_maps(got, want, o->mkfs);
		assert_int_equal(v.bits, o->bits);
		assert_int_equal(r.block_bytes, v.cluster);
		if (map_count(got) < 6)
			fail_msg("%s: only %zu extents", o->mkfs, map_count(got));
		map_free(want);
		map_free(got);
		if (strstr(o->mkfs, "-f 3") != NULL || strstr(o->mkfs, "-f 4") != NULL)
			continue; /* fsck.fat knows no more than two copies */
		/* By another way: "fs: 190 files, 1309/16303 clusters". */
		assert_int_equal(ext_sh(out, sizeof(out), "fsck.fat -n fs | tail -n 1"), 0);
		assert_non_null(strstr(out, "files, "));
		assert_int_equal(sscanf(strstr(out, "files, "), "files, %" SCNu64 "/%" SCNu64,
					 &used, &all),
			2);
		assert_int_equal(all, v.clusters);
		assert_int_equal(r.free_bytes, (all - used) * v.cluster);
	}
}

/* mshowfat prints "::/tree/file1 <5-9> <12>" for each file: all of it is data. */
static void test_against_mshowfat(void **state)
{
	struct fat_volume v;
	struct fs_report r;
	struct map *m;
	char line[4096];
	size_t ranges = 0;
	FILE *f;

	(void)state;
	fat_make_aged("12M", "-F 16 -s 4", "tree");
	v = fat_volume_of("fs");
	m = fat_good_map(&r, "");
	ext_must("mshowfat -i fs '::/*' '::/tree/*' '::/tree/sub/*' '::/tree/sub/deep/*' "
		 "'::/more/*' >shown");
	f = fopen(ext_path("shown"), "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		for (char *at = strchr(line, '<'); at != NULL; at = strchr(at + 1, '<')) {
			char *end;
			uint64_t first = strtoull(at + 1, &end, 10), last = first;
			struct extent x;

			if (*end == '-')
				last = strtoull(end + 1, &end, 10);
			assert_int_equal(*end, '>');
			x = map_run(m, fat_off_of(&v, (uint32_t)first), NULL);
			assert_int_equal(x.kind, MAP_DATA);
			assert_true(x.len >= (last - first + 1) * v.cluster);
			ranges++;
		}
	}
	fclose(f);
	assert_true(ranges > 100);
	map_free(m);
}

/* How many sectors another imaging tool keeps. */
static void test_against_partclone(void **state)
{
	uint64_t used = 0, block = 0;
	struct fs_report r;
	struct map *m;
	char out[256];

	(void)state;
	fat_make_aged("40M", "-F 32 -s 1", "tree");
	m = fat_good_map(&r, "");
	assert_int_equal(ext_sh(out, sizeof(out),
				 "partclone.vfat -c -s fs -o pc.img -L pc.log >/dev/null 2>&1 && "
				 "partclone.info -s pc.img 2>&1 | sed -n "
				 "'s/^Space in use:.*= *\\([0-9]*\\) Blocks/\\1/p; "
				 "s/^Block size: *\\([0-9]*\\) Byte/\\1/p'"),
		0);
	assert_int_equal(sscanf(out, "%" SCNu64 " %" SCNu64, &used, &block), 2);
	assert_int_equal(block, 512);
	assert_int_equal(map_bytes(m, MAP_DATA), used * block);
	map_free(m);
}

/* Only the data of the map, all else garbage: the volume is whole and every file there. */
static void test_restored_copy_is_whole(void **state)
{
	static const size_t chosen[] = { 0, 4, 6, 10, 12, 16 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(chosen); i++) {
		const struct options *o = &sets[chosen[i]];
		struct fs_report r;
		struct map *m;
		struct dev *d;

		fat_make_aged(o->size, o->mkfs, o->tree);
		d = ext_open("fs");
		m = ext_map_dev(d, &r);
		assert_true(r.used_only);
		ext_restore(d, m, "copy");
		dev_close(d);
		map_free(m);
		ext_must("fsck.fat -n copy && rm -rf a b && mkdir a b && "
			 "mcopy -s -i fs '::/*' a && mcopy -s -i copy '::/*' b && diff -r a b && "
			 "[ $(find b -type f | wc -l) -gt 20 ]");
	}
}

/* A window 64 KiB into a file, and a device that is longer than the volume (LESSONS 29, R3). */
static void test_slice_and_tail(void **state)
{
	const uint64_t base = 64 * KIB, tail = 3 * MIB + 512;
	struct fs_report r;
	struct map *alone, *m;
	struct fat_volume v;
	uint64_t end;

	(void)state;
	/* Three sectors are too few for a cluster. */
	fat_make_aged("20973056", "-F 16 -s 8 -R 1", "tree");
	v = fat_volume_of("fs");
	end = v.heap + (uint64_t)v.clusters * v.cluster;
	assert_true(end < 20973056 && end + v.cluster > 20973056);
	alone = fat_good_map(&r, "");
	ext_must("(head -c 65536 /dev/urandom; cat fs; head -c %" PRIu64 " /dev/urandom) >part",
		tail);
	m = ext_map_slice("part", base, 20973056 + tail, &r);
	assert_true(r.used_only);
	assert_int_equal(map_bytes(m, MAP_FREE), map_bytes(alone, MAP_FREE));
	assert_int_equal(map_run(m, end - 1, NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, end, NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, end, NULL).len, map_size(m) - end);
	map_free(m);
	map_free(alone);

	/* Cut short it is larger than its device. */
	m = ext_map_slice("part", base, end - 512, &r);
	assert_false(r.used_only);
	map_free(m);
}

/* Label and serial number, also where the root directory is far from what is copied on sight. */
static void test_report(void **state)
{
	static const struct fault_plan none = { 0 };
	struct dev *file, *d = NULL;
	struct fs_report r;

	(void)state;
	fat_make("3G", "-F 32 -s 1 -n 'A LABEL' -i 1234abcd");
	assert_true(fat_volume_of("fs").root > 8 * MIB);
	file = ext_open("fs");
	assert_int_equal(dev_open_fault(file, &none, &d, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fs_probe(i == 0 ? file : d, &r, NULL), 0);
		assert_string_equal(r.type, "vfat");
		assert_string_equal(r.label, "A LABEL");
		assert_string_equal(r.uuid, "1234-ABCD");
		assert_string_equal(r.reason, "");
		map_free(ext_map_dev(i == 0 ? file : d, &r));
		assert_true(r.used_only);
		assert_string_equal(r.label, "A LABEL");
		assert_int_equal(r.block_bytes, 512);
	}
	dev_close(d);
	dev_close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_witness),
		cmocka_unit_test(test_against_mshowfat),
		cmocka_unit_test(test_against_partclone),
		cmocka_unit_test(test_restored_copy_is_whole),
		cmocka_unit_test(test_slice_and_tail),
		cmocka_unit_test(test_report),
	};

	return cmocka_run_group_tests_name("fs_fat", tests, fat_setup, NULL);
}
