/*
 * fs_ntfs on a failing disk: what can't be read is never free, whichever read it is, the reason is
 * the device's own, and nothing is ever written.
 */
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
#include "fs/fs_ops.h"
#include "ntfs_helper.h"

/* The n-th read fails, for all n: refused, or the same map; and nothing is written. */
static void sweep(const char *path, const struct map *want, enum fault_action action)
{
	unsigned refusals = 0;
	bool faulted = true;

	for (uint64_t n = 1; faulted; n++) {
		const struct fault_rule rule = { .op = FAULT_READ, .action = action, .nth = n };
		const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
		struct map *m = map_new_full(map_size(want));
		struct fs_report r = { 0 };
		struct dev *file, *d;
		struct err e = { 0 };
		int rc;

		assert_int_equal(dev_open(path, 0, &file, &e), 0);
		assert_int_equal(dev_open_fault(file, &plan, &d, &e), 0);
		rc = fs_ntfs.map(d, m, &r, &e);
		faulted = dev_fault_count(d, FAULT_READ) >= n;
		if (rc == 0)
			assert_true(map_equal(m, want));
		else
			refusals++;
		if (rc != 0 && e.code != ERR_SOURCE)
			fail_msg("read %u: %s", (unsigned)n, e.msg);
		/* Only the remarks on bad clusters and shadow copies, one read each, can do without
		 * theirs. */
		if (rc == 0 && faulted && dev_fault_count(d, FAULT_READ) > n + 1)
			fail_msg("read %u failed and nobody cared", (unsigned)n);
		assert_int_equal(dev_fault_count(d, FAULT_WRITE), 0);
		assert_int_equal(dev_fault_count(d, FAULT_FLUSH), 0);
		map_free(m);
		dev_close(d);
		dev_close(file);
	}
	assert_true(refusals > 10);
}

static void test_every_read_fails_once(void **state)
{
	const char *path = ntfs_path("fault.img");

	(void)state;
	ntfs_make(path, 24 * MIB + 512, 512, 4096);
	ntfs_copy_in(path, "file", 100000);
	ntfs_write_journal(path, 1, 1, true);
	for (uint16_t flags = 0; flags <= 1; flags++) {
		struct fs_report r;
		struct err e;
		struct map *want;

		ntfs_set_flags(path, flags);
		want = ntfs_map_file(path, &r, &e);
		assert_non_null(want);
		sweep(path, want, FAULT_FAIL);
		sweep(path, want, FAULT_SHORTEN);
		map_free(want);
	}
}

/* LESSONS 16: a sector of $Bitmap that can't be read is not a free one. */
static void test_bad_sector_in_the_bitmap(void **state)
{
	const char *path = ntfs_path("fault.img");
	struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .len = 512 };
	const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct fs_report r = { 0 };
	struct dev *file, *d;
	struct err e = { 0 };
	struct map *m;

	(void)state;
	/* 3 MiB of bitmap, the bad sector in the last. */
	ntfs_make(path, 96 * GIB, 512, 4096);
	rule.off = ntfs_file_offset(path, 6) + 2 * MIB + 512 * 1000;
	assert_int_equal(dev_open(path, 0, &file, &e), 0);
	assert_int_equal(dev_open_fault(file, &plan, &d, &e), 0);
	m = map_new_full(dev_size(d));
	assert_int_equal(fs_ntfs.map(d, m, &r, &e), -ERR_SOURCE);
	if (strncmp(e.msg, "read $Bitmap: ", 14) != 0)
		fail_msg("%s", e.msg);
	map_free(m);
	dev_close(d);
	dev_close(file);
	remove(path);
}

/*
 * $Bitmap in two runs, as on a volume that has grown: read over the border between them, and when
 * only the second can't be read, what came from the first is no success.
 */
static void test_bitmap_in_two_runs(void **state)
{
	const char *path = ntfs_path("fault.img");
	struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .len = 512 };
	const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	uint8_t half[6 * 512], run[8] = { 0x21, 6, 0, 0, 0x11, 6, 0xD8, 0 }; /* -40 */
	struct map *before, *m;
	struct fs_report r;
	struct dev *file, *d;
	struct err e = { 0 };
	uint64_t at, moved;

	(void)state;
	ntfs_make(path, 24 * MIB + 512, 512, 512); /* 12 clusters of bitmap */
	before = ntfs_map_file(path, &r, &e);
	at = ntfs_file_offset(path, 6);
	moved = at - (uint64_t)40 * 512;
	assert_int_equal(ntfs_kind(before, moved, 6 * 512), MAP_FREE);
	ntfs_peek(path, at + 6 * 512, half, sizeof(half));
	ntfs_poke(path, moved, half, sizeof(half));
	memset(half, 0xEE, sizeof(half));
	ntfs_poke(path, at + 6 * 512, half, sizeof(half));
	put_le16(run + 2, (uint16_t)(at / 512));
	ntfs_poke_record(path, 6, ntfs_attribute(path, 6, 0x80) + 0x40, run, 8);
	/* The new place has to be in use. */
	for (uint64_t c = moved / 512; c < moved / 512 + 6; c++) {
		uint64_t byte = c / 8 < 6 * 512 ? at + c / 8 : moved + c / 8 - 6 * 512;

		ntfs_peek(path, byte, half, 1);
		half[0] = (uint8_t)(half[0] | 1u << c % 8);
		ntfs_poke(path, byte, half, 1);
	}
	m = ntfs_map_file(path, &r, &e);
	if (m == NULL)
		fail_msg("%s", e.msg);
	assert_int_equal(ntfs_kind(m, moved, 6 * 512), MAP_DATA);
	assert_int_equal(map_bytes(before, MAP_FREE) - map_bytes(m, MAP_FREE), 6 * 512);
	map_free(before);
	map_free(m);

	rule.off = moved + 512;
	assert_int_equal(dev_open(path, 0, &file, &e), 0);
	assert_int_equal(dev_open_fault(file, &plan, &d, &e), 0);
	m = map_new_full(dev_size(d));
	assert_int_equal(fs_ntfs.map(d, m, &r, &e), -ERR_SOURCE);
	if (strncmp(e.msg, "read $Bitmap: ", 14) != 0)
		fail_msg("%s", e.msg);
	map_free(m);
	dev_close(d);
	dev_close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_read_fails_once),
		cmocka_unit_test(test_bad_sector_in_the_bitmap),
		cmocka_unit_test(test_bitmap_in_two_runs),
	};

	ntfs_need_tools();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
