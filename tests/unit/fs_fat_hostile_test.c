/*
 * fs_fat on boot sectors of every kind, read errors, crafted volumes, and the largest ones.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "fat_helper.h"
#include "fs/fs_fat_int.h"

/* ---- Boot sectors ------------------------------------------------------------------------- */

struct patch {
	uint32_t offset, bytes, value;
	const char *word; /* NULL: it is taken */
};

static void check_patches(const struct patch *patches, size_t count)
{
	uint8_t boot[512], b[4];

	ext_peek("fs", 0, boot, sizeof(boot));
	for (size_t i = 0; i < count; i++) {
		const struct patch *p = &patches[i];
		struct map *m = NULL;
		struct fs_report r = { 0 };
		struct err e = { 0 };
		struct dev *d;
		int rc;

		put_le32(b, p->value);
		ext_poke("fs", p->offset, b, p->bytes);
		/* Not by libblkid, which does not know some of them any more. */
		d = ext_open("fs");
		m = map_new_full(dev_size(d));
		rc = fs_fat.map(d, m, &r, &e);
		if (p->word == NULL && rc < 0)
			fail_msg("0x%x = 0x%x: %s", (unsigned)p->offset, (unsigned)p->value, e.msg);
		if (p->word != NULL && (rc == 0 || strstr(e.msg, p->word) == NULL))
			fail_msg("0x%x = 0x%x: \"%s\", without \"%s\"", (unsigned)p->offset,
				(unsigned)p->value, e.msg, p->word);
		map_free(m);
		dev_close(d);
		ext_poke("fs", 0, boot, sizeof(boot));
	}
}

static void test_boot_sector(void **state)
{
	static const struct patch fat16[] = {
		{ 0x00, 1, 0x60, "a jump" },
		{ 0x02, 1, 0x91, "a jump" },
		{ 0x00, 3, 0x0000E9, NULL },
		{ 0x1FE, 2, 0, "55 AA" },
		{ 0x0B, 2, 0, "BPB_BytsPerSec" },
		{ 0x0B, 2, 256, "BPB_BytsPerSec" },
		{ 0x0B, 2, 768, "BPB_BytsPerSec" },
		{ 0x0B, 2, 8192, "BPB_BytsPerSec" },
		{ 0x0D, 1, 0, "BPB_SecPerClus" },
		{ 0x0D, 1, 3, "BPB_SecPerClus" },
		{ 0x0E, 2, 0, "BPB_RsvdSecCnt" },
		{ 0x0E, 2, 0xFFFF, "fill the volume" },
		{ 0x10, 1, 0, "BPB_NumFATs" },
		{ 0x11, 2, 0, "BPB_RootEntCnt" },
		{ 0x13, 2, 1, "fill the volume" },
		{ 0x20, 4, 0xFFFFFFFF, "BPB_TotSec32" },
		{ 0x15, 1, 0xF9, "does not fit medium" },
		{ 0x15, 1, 0xF7, "BPB_Media" },
		{ 0x16, 2, 2, "too small" },
		{ 0x16, 2, 0, "mixes fields" },
		{ 0x16, 2, 0xFFFF, "fill the volume" },
	};
	static const struct patch fat32[] = {
		{ 0x0D, 1, 128, NULL }, /* another size: an empty volume is still good */
		{ 0x11, 2, 16, "mixes fields" },
		{ 0x13, 2, 16, "BPB_TotSec16 is 16" },
		{ 0x20, 4, 0, "fill the volume" },
		{ 0x20, 4, 81921, "truncated?" },
		{ 0x20, 4, 81919, NULL },
		{ 0x24, 4, 0, "BPB_FATSz" },
		{ 0x24, 4, 600, "too small" },
		{ 0x24, 4, 0xFFFFFFFF, "fill the volume" },
		{ 0x28, 2, 0x100, "BPB_ExtFlags" },
		{ 0x28, 2, 0x82, "BPB_ExtFlags" },
		{ 0x28, 2, 0x02, NULL }, /* mirrored: the number means nothing */
		{ 0x2A, 2, 1, "BPB_FSVer" },
		{ 0x2C, 4, 0, "BPB_RootClus" },
		{ 0x2C, 4, 1, "BPB_RootClus" },
		{ 0x2C, 4, 0x00FFFFFF, "BPB_RootClus" },
		{ 0x2C, 4, 3, "root directory: it uses cluster 3, which is free" },
		{ 0x30, 2, 32, "BPB_FSInfo" },
		{ 0x30, 2, 0, NULL },
		{ 0x30, 2, 0xFFFF, NULL },
		{ 0x32, 2, 32, "BPB_BkBootSec" },
		{ 0x32, 2, 0xFFFF, NULL },
	};

	(void)state;
	fat_make("16M", "-F 16 -s 2");
	check_patches(fat16, COUNT_OF(fat16));
	fat_make("40M", "-F 32 -s 1");
	check_patches(fat32, COUNT_OF(fat32));
}

/* Where the types part: FAT16 from 4085 clusters on, up to 65524; both sides of each border. */
static void test_type_borders(void **state)
{
	static const struct {
		uint32_t clusters, fat_sectors;
		unsigned bits; /* 0: refused */
	} borders[] = {
		{ 4084, 16, 12 },
		{ 4085, 16, 16 },
		{ 65524, 256, 16 },
		{ 65525, 256, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(borders); i++) {
		uint32_t fat = borders[i].fat_sectors;
		uint8_t boot[512] = { 0xEB, 0x3C, 0x90 };
		struct fat_boot b;
		struct err e;
		int rc;

		put_le16(boot + 0x0B, 512);
		boot[0x0D] = 1;
		put_le16(boot + 0x0E, 1);
		boot[0x10] = 2;
		put_le16(boot + 0x11, 16);
		boot[0x15] = 0xF8;
		put_le16(boot + 0x16, (uint16_t)fat);
		put_le32(boot + 0x20, 1 + 2 * fat + 1 + borders[i].clusters);
		put_le16(boot + 0x1FE, 0xAA55);
		rc = fs_fat_boot_decode(boot, sizeof(boot), GIB, &b, &e);
		assert_int_equal(rc == 0, borders[i].bits != 0);
		if (rc == 0) {
			assert_int_equal(b.clusters, borders[i].clusters);
			assert_int_equal(b.entry_bits, borders[i].bits);
		}
		assert_true(fs_fat_boot_decode(boot, 511, GIB, &b, &e) < 0);
	}
}

/* The fields of FAT32 and few clusters: an EFI system partition. */
static void test_small_fat32(void **state)
{
	static const char *const sizes[] = { "33M", "20M" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct fs_report r;
		struct map *m, *want;
		uint8_t total16[2];

		fat_make(sizes[i], "-F 32 -s 8");
		m = fat_good_map(&r, "");
		want = fat_witness_map(map_size(m));
		ext_assert_equal_maps(m, want, "small FAT32");
		assert_true(fat_volume_of("fs").clusters < 65525);
		/* Under 65536 sectors mkfs.fat counts them in BPB_TotSec16. */
		ext_peek("fs", 0x13, total16, 2);
		assert_int_equal(get_le16(total16) != 0, i == 1);
		map_free(m);
		map_free(want);
	}
}

static void test_atari_is_refused(void **state)
{
	struct fs_report r;
	struct err e = { 0 };
	struct dev *d;
	struct map *m;

	(void)state;
	fat_make("33M", "-A");
	map_free(ext_map_of("fs", &r));
	assert_false(r.used_only);
	d = ext_open("fs");
	m = map_new_full(dev_size(d));
	assert_true(fs_fat.map(d, m, &r, &e) < 0);
	assert_non_null(strstr(e.msg, "boot sector"));
	map_free(m);
	dev_close(d);
}

/* FSInfo is a hint: wrong numbers are a remark, a damaged or missing one is nothing. */
static void test_fsinfo(void **state)
{
	static const uint8_t off[2] = { 0xFF, 0xFF };
	struct fs_report r;
	struct map *m, *good;
	uint8_t b[4];
	char note[128];

	(void)state;
	fat_make_aged("40M", "-F 32 -s 1", "tree");
	good = fat_good_map(&r, "");
	put_le32(b, 77);
	ext_poke("fs", 512 + 0x1E8, b, 4);
	snprintf(note, sizeof(note), "FSInfo says 77 free clusters, the FAT %" PRIu64,
		map_bytes(good, MAP_FREE) / 512);
	m = fat_good_map(&r, note);
	assert_true(map_equal(m, good));
	map_free(m);
	ext_poke("fs", 0x30, off, 2);
	map_free(fat_good_map(&r, ""));
	put_le16(b, 1);
	ext_poke("fs", 0x30, b, 2);
	put_le32(b, UINT32_MAX);
	ext_poke("fs", 512 + 0x1E8, b, 4);
	map_free(fat_good_map(&r, ""));
	map_free(good);
}

/* ---- Faults and hostile input ------------------------------------------------------------- */

/* S51: the n-th read fails. The map is then full, with a reason. */
static void test_every_failing_read(void **state)
{
	struct dev *file;
	struct map *good = NULL;
	struct err e;
	uint64_t nth;

	(void)state;
	fat_make_aged("40M", "-F 32 -s 1", "small");
	file = ext_open("fs");
	for (nth = 0;; nth++) {
		struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .nth = nth };
		struct fault_plan plan = { .rules = &rule, .rule_count = nth > 0 };
		struct map *m = map_new_full(dev_size(file));
		struct fs_report r = { 0 };
		struct dev *d = NULL;
		uint64_t reads;
		int rc;

		assert_int_equal(dev_open_fault(file, &plan, &d, NULL), 0);
		memset(&e, 0, sizeof(e));
		rc = fs_fat.map(d, m, &r, &e);
		reads = dev_fault_count(d, FAULT_READ);
		dev_close(d);
		if (nth == 0) {
			assert_int_equal(rc, 0);
			good = m;
			continue;
		}
		if (rc == 0)
			assert_true(map_equal(m, good) && reads < nth);
		else
			assert_int_equal(e.code, ERR_SOURCE);
		map_free(m);
		if (rc == 0)
			break;
	}
	/* Boot sector, three blocks of the table, both FATs, FSInfo, each directory cluster. */
	assert_true(nth > 10);
	map_free(good);
	dev_close(file);
}

/* Each 16-bit word of the boot sector's fields, and of a directory, set to each of these. */
static void test_crafted_volumes(void **state)
{
	static const uint16_t values[] = { 0, 1, 2, 7, 0x80, 0x1FF, 0x7FFF, 0xFFF7, 0xFFFF };
	static const char *const sizes[] = { "12M", "16M", "40M" };
	static const char *const mkfs[] = { "-F 12 -s 8", "-F 16 -s 2", "-F 32 -s 1" };

	(void)state;
	for (size_t k = 0; k < COUNT_OF(mkfs); k++) {
		struct fat_volume v;
		uint8_t old[2], b[2];

		fat_make(sizes[k], mkfs[k]);
		ext_must("mcopy -i fs small/file3 small/file6 ::/ && mmd -i fs ::/dir");
		/* Absurd sizes have room on a device that is mostly not there. */
		ext_must("truncate -s 2T fs");
		v = fat_volume_of("fs");
		for (unsigned i = 0; i < 0x48 + 256; i += 2) {
			uint64_t at = i < 0x48 ? i : v.root + i - 0x48;

			ext_peek("fs", at, old, 2);
			for (size_t n = 0; n < COUNT_OF(values); n++) {
				put_le16(b, values[n]);
				ext_poke("fs", at, b, 2);
				/* A FAT of gigabytes is real work: not for a unit test. */
				if (at != 0x22 && at != 0x26)
					fat_map_anything();
			}
			ext_poke("fs", at, old, 2);
		}
	}
}

static long peak_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

/* The sanitizers keep shadows and freed memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PEAK_KIB_MAX (1024 * 1024)
#else
#define PEAK_KIB_MAX (256 * 1024)
#endif

/* LESSONS 1: 2 TiB in clusters of 32 KiB, with a FAT of 256 MiB and a file at its end. */
static void test_2_tib(void **state)
{
	struct fs_report r;
	struct map *m;
	struct fat_volume v;
	uint8_t b[32] = "END     BIN ";

	(void)state;
	fat_make("2199023255040", "-F 32 -s 64"); /* 2^32 - 1 sectors */
	v = fat_volume_of("fs");
	assert_true(v.clusters > 67000000);
	fat_set_both(&v, v.clusters + 1, 0x0FFFFFFF);
	fat_set_both(&v, v.clusters - 1, v.clusters + 1);
	put_le16(b + 20, (uint16_t)((v.clusters - 1) >> 16));
	put_le16(b + 26, (uint16_t)(v.clusters - 1));
	put_le32(b + 28, 40000);
	b[11] = 0x20;
	ext_poke("fs", v.root, b, sizeof(b));
	m = ext_map_of("fs", &r);
	if (!r.used_only)
		fail_msg("%s", r.reason);
	/* The root directory and the file's two. */
	assert_int_equal(r.free_bytes, (uint64_t)(v.clusters - 3) * v.cluster);
	assert_int_equal(map_run(m, fat_off_of(&v, v.clusters), NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, fat_off_of(&v, v.clusters), NULL).len, v.cluster);
	assert_true(peak_kib() < PEAK_KIB_MAX);
	map_free(m);
	ext_must("rm -f fs");
}

/* More free runs than are kept: the shortest stay data, and the map small. */
static void test_very_fragmented(void **state)
{
	enum { USED = 2300000 };
	uint8_t *fat;
	struct fat_volume v;
	struct fs_report r;
	struct map *m;

	(void)state;
	fat_make("3G", "-F 32 -s 1");
	v = fat_volume_of("fs");
	fat = calloc(USED, 4);
	assert_non_null(fat);
	for (uint32_t i = 0; i < USED; i += 2)
		put_le32(fat + (size_t)i * 4, 0x0FFFFFFF);
	ext_poke("fs", v.fat + 4000, fat, (size_t)USED * 4);
	ext_poke("fs", v.fat + v.fat_bytes + 4000, fat, (size_t)USED * 4);
	free(fat);
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_non_null(strstr(r.note, FS_FREE_RUNS_COARSE));
	assert_true(map_count(m) < 10);
	assert_true(map_bytes(m, MAP_FREE) > (uint64_t)(v.clusters - USED - 1003) * 512);
	assert_int_equal(map_run(m, fat_off_of(&v, 1001), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, fat_off_of(&v, 1000 + USED), NULL).kind, MAP_FREE);
	map_free(m);
	ext_must("rm -f fs");
}

/*
 * A chain that goes to and fro between two ends of a large FAT: blocks that push each other out of
 * what is kept in memory, so that each step would be a read.
 */
static void test_chain_that_jumps(void **state)
{
	enum { BLOCK = 4096, FAR = 4096 * BLOCK, STEPS = 12 * BLOCK };
	uint8_t *fat = calloc(STEPS, 4), *far = calloc(STEPS, 4), b[32] = "JUMP    BIN ";
	struct fat_volume v;

	(void)state;
	fat_make("9G", "-F 32 -s 1");
	v = fat_volume_of("fs");
	assert_true(v.clusters > FAR + STEPS);
	for (uint32_t i = 3; i < STEPS; i++) {
		put_le32(fat + (size_t)i * 4, FAR + i);
		put_le32(far + (size_t)i * 4, i + 1 < STEPS ? i + 1 : 0x0FFFFFFF);
	}
	ext_poke("fs", v.fat + 12, fat + 12, STEPS * 4 - 12);
	ext_poke("fs", v.fat + (uint64_t)FAR * 4 + 12, far + 12, STEPS * 4 - 12);
	free(fat);
	free(far);
	put_le16(b + 26, 3);
	ext_poke("fs", v.root, b, sizeof(b));
	ext_assert_refused("fs", "would take longer than all blocks");
	ext_must("rm -f fs");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot_sector),
		cmocka_unit_test(test_type_borders),
		cmocka_unit_test(test_small_fat32),
		cmocka_unit_test(test_atari_is_refused),
		cmocka_unit_test(test_fsinfo),
		cmocka_unit_test(test_every_failing_read),
		cmocka_unit_test(test_crafted_volumes),
		cmocka_unit_test(test_2_tib),
		cmocka_unit_test(test_very_fragmented),
		cmocka_unit_test(test_chain_that_jumps),
	};

	return cmocka_run_group_tests_name("fs_fat_hostile", tests, fat_setup, NULL);
}
