/*
 * The log of XFS without root: xfs-dirty of tests/corpus/fs, a file system copied while it was
 * mounted, against what xfs_db said was free before and after the kernel's own recovery; and what
 * becomes of it when parts of the log are torn, damaged, or crafted. Whatever happens to the log,
 * nothing may be called free that is not free as the disk is.
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
#include "ext_helper.h"
#include "fs/fs_ops.h"
#include "xfs_helper.h"

#define SIZE (24 * MIB)
#define SECTOR 512
#define LOG ((uint64_t)16 * SECTOR) /* where mkfs put it: xfs_logprint */
#define MAGIC 0xfeedbabe
#define RECORDS_MAX 64

/* The active part of the log: sectors at which records begin, in order; [count] is the head. */
struct records {
	uint32_t at[RECORDS_MAX];
	size_t count;
};

static struct records records;
static struct map *before; /* free as the disk is */

static uint64_t log_at(uint32_t sector)
{
	return LOG + (uint64_t)sector * SECTOR;
}

/* From the tail that the last record names; lengths are those in the headers. */
static void find_records(void)
{
	uint32_t tail = 2; /* behind the record that xfs_db wrote */

	records.count = 0;
	while (xfs_get32("dirty", log_at(tail)) == MAGIC && records.count < RECORDS_MAX - 1 &&
		xfs_get32("dirty", log_at(tail) + 4) == 50) {
		records.at[records.count++] = tail;
		tail += 1 + xfs_get32("dirty", log_at(tail) + 12) / SECTOR;
	}
	records.at[records.count] = tail;
}

static void fresh(void)
{
	ext_must("cp --sparse=always dirty fs");
}

/* Mapped, and within what is free on the disk; the free bytes. */
static uint64_t assert_mapped(const char *what)
{
	struct fs_report r;
	struct map *m = ext_map_of("fs", &r);
	uint64_t free_bytes = map_bytes(m, MAP_FREE);

	if (!r.used_only)
		fail_msg("%s: %s", what, r.reason);
	ext_assert_free_within(m, before);
	map_free(m);
	return free_bytes;
}

static void flip(uint64_t off)
{
	uint8_t byte;

	ext_peek("fs", off, &byte, 1);
	byte ^= 0x40;
	ext_poke("fs", off, &byte, 1);
}

/* ---- As it is ---------------------------------------------------------------------------- */

/* Free is what is free on the disk and after the kernel's recovery. */
static void test_against_the_kernel(void **state)
{
	struct fs_report r;
	struct map *got = ext_map_of("dirty", &r);
	struct map *want = xfs_listed_map("tests/corpus/fs/xfs-dirty.map", SIZE);

	(void)state;
	if (!r.used_only)
		fail_msg("%s", r.reason);
	assert_non_null(strstr(r.note, "dirty log"));
	ext_assert_equal_maps(got, want, "xfs-dirty");
	/* The log matters: it uses what is free on the disk. */
	assert_true(map_bytes(want, MAP_FREE) < map_bytes(before, MAP_FREE));
	map_free(got);
	map_free(want);
}

/* ---- Torn ends --------------------------------------------------------------------------- */

/*
 * The last record torn in the middle: recovery ends before it, as if the snapshot had been taken
 * earlier. One record after the other.
 */
static void test_torn_records_are_left_out(void **state)
{
	uint64_t whole, free_bytes;

	(void)state;
	assert_true(records.count > 10);
	fresh();
	whole = assert_mapped("whole");
	for (size_t i = records.count - 1; i > records.count - 8; i--) {
		flip(log_at(records.at[i] + 1) + 100);
		free_bytes = assert_mapped("a torn record");
		assert_true(free_bytes != 0);
	}
	assert_int_not_equal(free_bytes, whole);
	/* More than can have been in flight: no longer an accident. */
	fresh();
	flip(log_at(records.at[1] + 1) + 100);
	ext_assert_refused("fs", "log: a record's checksum is wrong");
	/* The very first: there is nothing to go back to. */
	fresh();
	flip(log_at(records.at[0] + 1) + 100);
	ext_assert_refused("fs", "log: ");
}

/* Sectors of the lap before among what was written last: the log ends at the first of them. */
static void test_hole_ends_the_log(void **state)
{
	static const uint8_t old[4] = { 0, 0, 0, 49 };
	uint32_t second = records.at[records.count - 2];
	uint64_t torn, hole;

	(void)state;
	fresh();
	flip(log_at(second + 1) + 100);
	torn = assert_mapped("the last record but one is torn");
	fresh();
	ext_poke("fs", log_at(second + 1), old, sizeof(old));
	hole = assert_mapped("the last record but one has a hole");
	assert_int_equal(torn, hole);
}

static void put_be(uint64_t off, uint32_t value)
{
	uint8_t bytes[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
		(uint8_t)value };

	ext_poke("fs", off, bytes, 4);
}

/* With an unmount record last nothing is to be done, whatever lies before. */
static void test_clean_log(void **state)
{
	uint32_t head = records.at[records.count];
	uint8_t unmount[2 * SECTOR];
	struct fs_report r;
	struct map *m;

	(void)state;
	fresh();
	ext_peek("fs", log_at(0), unmount, sizeof(unmount)); /* that of xfs_db */
	ext_poke("fs", log_at(head), unmount, sizeof(unmount));
	put_be(log_at(head) + 0x14, head);
	put_be(log_at(head) + 0x1c, head);
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_string_equal(r.note, "");
	ext_assert_equal_maps(m, before, "with an unmount record");
	map_free(m);
	/* One that the head does not follow is none. */
	put_be(log_at(head) + 0x0c, 2 * SECTOR);
	assert_mapped("with half an unmount record");
	xfs_unpack("xfs-log", "fs");
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_string_equal(r.note, "");
	map_free(m);
}

/* ---- Crafted ----------------------------------------------------------------------------- */

/* No checksum, as mkfs writes records. */
static void drop_sums(void)
{
	for (size_t i = 0; i < records.count; i++)
		put_be(log_at(records.at[i]) + 0x20, 0);
}

static void test_headers_are_refused(void **state)
{
	static const struct {
		uint32_t field, value;
		const char *word;
	} list[] = {
		{ 0x08, 1, "unknown version" },
		{ 0x0c, 0, "wrong length" },
		{ 0x0c, 0x7fffffff, "wrong length" },
		{ 0x10, 51, "another place" },
		{ 0x14, 0, "another place" },
		{ 0x18, 51, "wrong tail" },
		{ 0x18, 48, "wrong tail" },
		{ 0x1c, 10727, "wrong tail" },
		{ 0x12c, 2, "another byte order" },
		{ 0x130, 0, "another file system's" },
		{ 0x140, 0x7fffffff, "wrong length" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(list); i++) {
		fresh();
		drop_sums();
		put_be(log_at(records.at[records.count - 1]) + list[i].field, list[i].value);
		ext_assert_refused("fs", list[i].word);
	}
	fresh();
	ext_must("dd if=/dev/zero of=fs bs=512 seek=16 count=%d conv=notrunc", 5363 * 2);
	ext_assert_refused("fs", "successive laps");
}

/* The first item of a type, and for buffers of a type of buffer, in the log: where its format lies;
 * 0: none. */
static uint64_t find_item(uint16_t type, unsigned buffer_type)
{
	size_t len = (records.at[records.count] - records.at[0]) * SECTOR;
	uint8_t *p = malloc(len);
	uint64_t found = 0;

	assert_non_null(p);
	ext_peek("fs", log_at(records.at[0]), p, len);
	for (size_t at = 0; at + 8 <= len && found == 0; at += 4)
		if (get_le16(p + at) == type && get_le16(p + at + 2) >= 2 &&
			get_le16(p + at + 2) < 20 && get_le16(p + at + 4) >> 11 == buffer_type)
			found = log_at(records.at[0]) + at;
	free(p);
	return found;
}

static void put_le(uint64_t off, uint16_t value)
{
	uint8_t bytes[2];

	put_le16(bytes, value);
	ext_poke("fs", off, bytes, 2);
}

static void test_items_are_refused(void **state)
{
	uint64_t agf;

	(void)state;
	fresh();
	drop_sums();
	agf = find_item(0x123c, 5);
	assert_int_not_equal(agf, 0);
	assert_mapped("without checksums");
	put_le(agf, 0x1250); /* a type of the future */
	ext_assert_refused("fs", "log: an item of type 0x1250");
	put_le(agf, 0x123c);
	put_le(agf + 6, 2); /* sectors */
	ext_assert_refused("fs", "log: a buffer has a wrong size");
	put_le(agf + 6, 1);
	put_le(agf + 14, 1); /* sector, high part */
	ext_assert_refused("fs", "log: an item is of a place outside");
	put_le(agf + 14, 0);
	put_le(agf + 20, 0xffff); /* the map of changed parts */
	ext_assert_refused("fs", "log: ");
	put_le(agf + 20, 0);
	ext_assert_refused("fs", "log: a buffer has more regions than changed parts");
	put_le(agf + 20, 3);
	put_le(agf + 16, 0xffff); /* its length */
	ext_assert_refused("fs", "log: a buffer item is damaged");
	put_le(agf + 16, 1);
	put_le(agf + 2, 0); /* regions */
	ext_assert_refused("fs", "log: an item has a wrong number of regions");
}

/* Not followed, but changed: then no free-space tree may be there. */
static void test_unfollowed_change_of_a_tree_is_refused(void **state)
{
	uint64_t tree;

	(void)state;
	fresh();
	drop_sums();
	tree = find_item(0x123c, 4);
	assert_int_not_equal(tree, 0);
	for (unsigned n = 0; n < 64 && tree != 0; n++) {
		uint8_t flags[2];

		ext_peek("fs", tree + 4, flags, 2);
		put_le(tree + 4, (uint16_t)((get_le16(flags) & 0x7ff) | 13 << 11));
		tree = find_item(0x123c, 4);
	}
	ext_assert_refused("fs", "which is of a free-space tree");
}

/* A header that is as new as the log already is not changed again. Here it isn't what it says. */
static void test_newer_block_is_left_alone(void **state)
{
	struct fs_report r;
	struct map *m;

	(void)state;
	fresh();
	xfs_put32("fs", SECTOR, SECTOR, XFS_SUM_AGF, 0xd0, 50);
	xfs_put32("fs", SECTOR, SECTOR, XFS_SUM_AGF, 0xd4, records.at[records.count - 1]);
	ext_assert_refused("fs", "after recovery of the log: group 0:");
	/* Of another file system's block the number means nothing: it is written over. */
	xfs_put32("fs", SECTOR, SECTOR, XFS_SUM_AGF, 0x4c, 1);
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	map_free(m);
}

/* ---- Faults and hostile input ------------------------------------------------------------ */

static void test_every_failing_read(void **state)
{
	struct fs_report r;
	struct dev *file = ext_open("dirty"), *d = NULL;
	struct map *good = ext_map_dev(file, &r);
	int mapped = 0, refused = 0;

	(void)state;
	for (uint64_t nth = 1;; nth++) {
		struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .nth = nth };
		struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
		struct map *m;
		uint64_t reads;

		assert_int_equal(dev_open_fault(file, &plan, &d, NULL), 0);
		m = ext_map_dev(d, &r);
		reads = dev_fault_count(d, FAULT_READ);
		dev_close(d);
		if (r.used_only) {
			mapped++;
			assert_true(map_equal(m, good));
		} else {
			refused++;
		}
		map_free(m);
		if (reads < nth)
			break;
	}
	assert_true((size_t)refused > 6 * records.count);
	assert_true(mapped > 1);
	map_free(good);
	dev_close(file);
}

/* The row alone: the probing would be most of the time. Free is within what it was, or refused. */
static void map_row(struct dev *d)
{
	struct map *m = map_new_full(dev_size(d));
	struct fs_report r = { 0 };
	struct err e = { 0 };

	if (fs_xfs.map(d, m, &r, &e) == 0)
		ext_assert_free_within(m, before);
	else
		assert_string_not_equal(e.msg, "");
	map_free(m);
}

/* Every byte of the records' heads and every 61st of their bodies set to something else. */
static void test_crafted_records(void **state)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x80, 0xff };
	uint8_t *bytes = malloc(SIZE);
	struct dev *d = NULL;

	(void)state;
	assert_non_null(bytes);
	fresh();
	drop_sums();
	ext_peek("fs", 0, bytes, SIZE);
	assert_int_equal(dev_open_mem(bytes, SIZE, &d, NULL), 0);
	for (uint64_t off = log_at(0); off < log_at(records.at[records.count]); off++) {
		bool head = get_be32(bytes + off / SECTOR * SECTOR) == MAGIC && off % SECTOR < 0x48;

		if (!head && off % 61 != 0)
			continue;
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			if (bytes[off] == values[i] || i != off / 61 % 4)
				continue;
			assert_int_equal(dev_write(d, off, &values[i], 1, NULL), 0);
			map_row(d);
			assert_int_equal(dev_write(d, off, &bytes[off], 1, NULL), 0);
		}
	}
	dev_close(d);
	free(bytes);
}

static int setup(void **state)
{
	static const char *const tools[] = { "xfs_db", "zstd", NULL };

	(void)state;
	ext_setup(tools);
	xfs_unpack("xfs-dirty", "dirty");
	before = xfs_dumped_map("dirty", SIZE);
	find_records();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	map_free(before);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_the_kernel),
		cmocka_unit_test(test_torn_records_are_left_out),
		cmocka_unit_test(test_hole_ends_the_log),
		cmocka_unit_test(test_clean_log),
		cmocka_unit_test(test_headers_are_refused),
		cmocka_unit_test(test_items_are_refused),
		cmocka_unit_test(test_unfollowed_change_of_a_tree_is_refused),
		cmocka_unit_test(test_newer_block_is_left_alone),
		cmocka_unit_test(test_every_failing_read),
		cmocka_unit_test(test_crafted_records),
	};

	return cmocka_run_group_tests_name("fs_xfs_log", tests, setup, teardown);
}
