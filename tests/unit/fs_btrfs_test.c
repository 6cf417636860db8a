/*
 * Btrfs without root: file systems by mkfs.btrfs --rootdir in many variants, compared with what
 * btrfs-progs print of their trees; copies that hold only the map's data, the rest garbage, checked
 * by `btrfs check` and read by `btrfs restore`; windows, tails, failing reads, second copies.
 * What must be refused has its own file, fs_btrfs_hostile_test.c.
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
#include "btrfs_helper.h"
#include "device/dev_fault.h"

struct variant {
	const char *size, *options;
	bool restored; /* a copy is checked too */
};

static const struct variant variants[] = {
	{ "120M", "-m dup", true }, /* LESSONS 24: both copies */
	{ "120M", "-m single", true }, { "120M", "-m dup -d dup", true },
	{ "64M", "--mixed -m single -d single", true }, { "200M", "--mixed -m dup -d dup", true },
	{ "120M", "-n 4096 -m single", false }, { "120M", "-n 65536", false },
	{ "120M", "-n 65536 -s 65536", false }, { "120M", "--csum xxhash", true },
	{ "120M", "--csum sha256", true }, { "120M", "--csum blake2", true },
	{ "120M", "-R ^free-space-tree", true }, { "120M", "-R quota", false },
	{ "120M", "-O ^no-holes,^skinny-metadata,^extref", true },
	{ "120M", "-O raid56,raid1c34", false }, { "120M", "-d raid0", true }, /* one stripe */
	{ "67174400", "-m single", false }, /* ends behind the second superblock's place */
	{ "300G", "-m dup", false },	    /* three superblocks */
};

/* LESSONS 29, R3 and the heart of R2: free is exactly what no tree of the file system uses. */
static void test_against_btrfs_progs(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(variants); i++) {
		const struct variant *x = &variants[i];
		struct fs_report r;
		struct map *got, *want;

		btrfs_make("fs", x->size, x->options);
		got = ext_map_of("fs", &r);
		if (!r.used_only)
			fail_msg("%s: %s", x->options, r.reason);
		assert_string_equal(r.type, "btrfs");
		assert_string_equal(r.note, "");
		want = btrfs_dumped_map("fs");
		ext_assert_equal_maps(got, want, x->options);
		assert_true(r.free_bytes > 0);
		/* LESSONS 23: the chunk tree, which no extent of another chunk leads to. */
		assert_int_equal(map_run(got, 64 * KIB, NULL).kind, MAP_DATA);
		map_free(got);
		map_free(want);
	}
}

/* Only the data of the map, all else garbage: the file system is whole and every file there. */
static void test_restored_copy_is_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(variants); i++) {
		const struct variant *x = &variants[i];
		struct fs_report r;
		struct map *m;
		struct dev *d;

		if (!x->restored)
			continue;
		btrfs_make("fs", x->size, x->options);
		d = ext_open("fs");
		m = ext_map_dev(d, &r);
		assert_true(r.used_only);
		ext_restore(d, m, "copy");
		dev_close(d);
		map_free(m);
		ext_must("btrfs check --check-data-csum copy && rm -rf out && mkdir out && "
			 "btrfs restore -S copy out && diff -r --no-dereference tree out");
	}
}

/* LESSONS 24: with the first copy of every tree block wiped, the second must do. */
static void test_second_copies(void **state)
{
	struct fs_report r;
	struct map *good, *m;
	struct dev *d;

	(void)state;
	btrfs_make("fs", "120M", "-m dup");
	good = ext_map_of("fs", &r);
	ext_must("dd if=fs of=super bs=4096 skip=16384 count=1 status=none && "
		 "btrfs inspect-internal dump-tree -t chunk fs | "
		 "awk '/CHUNK_ITEM/ { n = 0 } /length/ { len = $2 } "
		 "/stripe 0 devid/ { first = $NF } /stripe 1 devid/ { print first, len }' | "
		 "while read -r at len; do dd if=/dev/zero of=fs bs=64K oflag=seek_bytes "
		 "seek=$at count=$((len / 65536)) conv=notrunc status=none; done && "
		 "dd if=super of=fs bs=4096 seek=16384 conv=notrunc status=none");
	d = ext_open("fs");
	m = ext_map_dev(d, &r);
	if (!r.used_only)
		fail_msg("%s", r.reason);
	ext_assert_equal_maps(m, good, "second copies");
	assert_non_null(strstr(r.note, "tree blocks are damaged in their first copy"));
	ext_restore(d, m, "copy");
	ext_must("btrfs check copy");
	dev_close(d);
	map_free(m);
	map_free(good);
}

/* A window 64 KiB into a file, and a device that is longer than the file system. */
static void test_slice_and_tail(void **state)
{
	const uint64_t base = 64 * KIB, size = 120 * MIB, tail = 3 * MIB + 512;
	struct fs_report r;
	struct map *got, *alone;
	struct extent last;

	(void)state;
	btrfs_make("fs", "120M", "-m dup");
	alone = ext_map_of("fs", &r);
	ext_must("(head -c %" PRIu64 " /dev/urandom; cat fs; head -c %" PRIu64
		 " /dev/urandom) >part",
		base, tail);
	got = ext_map_slice("part", base, size + tail, &r);
	assert_true(r.used_only);
	for (uint64_t off = 0; off < size;) {
		struct extent x = map_run(got, off, NULL), y = map_run(alone, off, NULL);

		assert_int_equal(x.kind, y.kind);
		off += min_u64(x.len, y.len);
	}
	last = map_run(got, size, NULL);
	assert_int_equal(last.kind, MAP_DATA);
	assert_int_equal(last.len, tail);
	map_free(got);
	map_free(alone);

	got = ext_map_slice("part", base, size - 4096, &r);
	assert_false(r.used_only);
	assert_non_null(strstr(r.reason, "larger than the device"));
	map_free(got);
}

static void test_report(void **state)
{
	struct fs_report r;
	char uuid[64];

	(void)state;
	btrfs_make("fs", "120M", "-L 'a label'");
	map_free(ext_map_of("fs", &r));
	assert_true(r.used_only);
	assert_string_equal(r.label, "a label");
	ext_sh(uuid, sizeof(uuid),
		"btrfs inspect-internal dump-super fs | "
		"awk '$1 == \"fsid\" { printf \"%%s\", $2 }'");
	assert_string_equal(r.uuid, uuid);
	assert_int_equal(r.block_bytes, 4096);
}

/* A new UUID without rewriting all blocks: they keep the old one (metadata_uuid). */
static void test_metadata_uuid(void **state)
{
	struct fs_report r;
	struct map *got, *want;

	(void)state;
	btrfs_make("fs", "120M", "-m dup");
	ext_must("btrfstune -f -m fs && btrfs check fs");
	got = ext_map_of("fs", &r);
	if (!r.used_only)
		fail_msg("%s", r.reason);
	want = btrfs_dumped_map("fs");
	ext_assert_equal_maps(got, want, "metadata_uuid");
	map_free(got);
	map_free(want);
}

/* A seed, and one of two devices. */
static void test_several_devices(void **state)
{
	(void)state;
	btrfs_make("fs", "120M", "-m single");
	ext_must("btrfstune -S 1 fs");
	ext_assert_refused("fs", "a seed device");
	ext_must("rm -f fs fs2 && truncate -s 140M fs fs2 && "
		 "mkfs.btrfs -q -m raid1 -d raid0 fs fs2");
	ext_assert_refused("fs", "a file system of 2 devices");
	ext_assert_refused("fs2", "a file system of 2 devices");
}

/* S51: the n-th read fails. The map is then full, with a reason, or the same as ever. */
static void test_every_failing_read(void **state)
{
	struct fs_report r;
	struct dev *file, *d = NULL;
	struct map *good;
	int mapped = 0, refused = 0;

	(void)state;
	btrfs_make("fs", "120M", "-n 4096 -m single");
	file = ext_open("fs");
	good = ext_map_dev(file, &r);
	assert_true(r.used_only);
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
			ext_assert_equal_maps(m, good, "with a failing read");
		} else {
			refused++;
		}
		map_free(m);
		if (reads < nth)
			break;
	}
	/* Two superblocks, the first one twice; six trees with at least a block each. */
	assert_true(refused > 9);
	assert_true(mapped > 1);
	map_free(good);
	dev_close(file);
}

static int setup(void **state)
{
	static const char *const tools[] = { "mkfs.btrfs", "btrfs", "btrfstune", "python3", NULL };

	(void)state;
	ext_setup(tools);
	btrfs_setup();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_btrfs_progs),
		cmocka_unit_test(test_restored_copy_is_whole),
		cmocka_unit_test(test_second_copies),
		cmocka_unit_test(test_slice_and_tail),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_metadata_uuid),
		cmocka_unit_test(test_several_devices),
		cmocka_unit_test(test_every_failing_read),
	};

	/* For tests/root/fs_btrfs_test.sh. */
	if (argc == 4 && strcmp(argv[1], "--copy") == 0)
		return ext_copy_main(argv[2], argv[3]);
	return cmocka_run_group_tests_name("fs_btrfs", tests, setup, NULL);
}
