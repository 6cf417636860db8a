/*
 * XFS without root: file systems by mkfs.xfs in many variants, and those of tests/corpus/fs that
 * the kernel has aged, compared with what xfs_db says is free; copies that hold only the map's
 * data, the rest garbage, checked by xfs_repair; what must be refused; damaged headers and trees
 * with checksums that fit; faults; crafted fields; large volumes. The log has its own file,
 * fs_xfs_log_test.c.
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
#include <ext2fs/ext2fs.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "ext_helper.h"
#include "fs/fs_ops.h"
#include "xfs_helper.h"

#define UUID "01234567-89ab-cdef-0123-456789abcdef"

/* xfs-1k-rmap, the subject of most refusals: blocks of 1 KiB, three groups, the first with trees of
 * two levels, the log in the second. */
#define BLOCK ((uint64_t)1024)
#define SECTOR 512
#define AG_BLOCKS 21846
#define AG(n) ((uint64_t)(n)*AG_BLOCKS * BLOCK)
#define AGF(n) (AG(n) + SECTOR)
#define AGFL(n) (AG(n) + 3 * SECTOR)
#define RECORDS 56 /* in a block of a tree */

static void make(const char *name, const char *size, const char *options)
{
	ext_must("rm -f %s && truncate -s %s %s && "
		 "mkfs.xfs -q -f --unsupported -m uuid=" UUID " -p proto %s %s",
		name, size, name, options, name);
}

struct options {
	const char *size;
	const char *mkfs;
};

static const struct options sets[] = {
	{ "16M", "" },
	{ "300M", "" },
	{ "32M", "-b size=1024" },
	{ "32M", "-b size=2048" },
	{ "64M", "-b size=8192" },
	{ "128M", "-b size=16384" },
	{ "200M", "-b size=65536" },
	{ "24M", "-s size=1024" },
	{ "24M", "-s size=4096" },
	{ "64M", "-b size=8192 -s size=8192" },
	{ "64M", "-d agcount=3" },
	{ "100000K", "-d agsize=16m" },
	{ "32M", "-m rmapbt=1" },
	{ "32M", "-m rmapbt=1,reflink=0 -b size=1024" },
	{ "32M", "-m finobt=0,reflink=0,bigtime=0,inobtcount=0" },
	{ "32M", "-m bigtime=1,inobtcount=1 -i nrext64=1,size=2048" },
	{ "32M", "-i sparse=0" },
	{ "32M", "-n version=ci" },
	{ "300M", "-l su=256k" },
	{ "32M", "-l sunit=64,size=8m" },
	{ "64M", "-d su=64k,sw=4,agcount=2" },
	{ "32M", "-d agcount=2 -l agnum=0" },
};

/* R3 and the heart of R2: free is exactly what xfs_db calls free. */
static void test_against_xfs_db(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sets); i++) {
		struct fs_report r;
		struct map *got, *want;

		make("fs", sets[i].size, sets[i].mkfs);
		got = ext_map_of("fs", &r);
		if (!r.used_only)
			fail_msg("%s: %s", sets[i].mkfs, r.reason);
		assert_string_equal(r.type, "xfs");
		assert_string_equal(r.note, "");
		want = xfs_dumped_map("fs", map_size(got));
		ext_assert_equal_maps(got, want, sets[i].mkfs);
		assert_true(r.free_bytes > 0);
		map_free(got);
		map_free(want);
	}
}

static const char *const aged[] = { "xfs-4k", "xfs-1k-rmap", "xfs-4kn", "xfs-old", "xfs-grown",
	"xfs-log" };

/* Only the data of the map, all else garbage: the file system is whole. */
static void test_restored_copy_is_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(aged); i++) {
		struct fs_report r;
		struct map *m;
		struct dev *d;

		xfs_unpack(aged[i], "fs");
		d = ext_open("fs");
		m = ext_map_dev(d, &r);
		if (!r.used_only)
			fail_msg("%s: %s", aged[i], r.reason);
		ext_restore(d, m, "copy");
		dev_close(d);
		map_free(m);
		ext_must("xfs_repair -n -o force_geometry copy");
	}
}

/*
 * How many blocks another imaging tool would keep. It takes the superblock's number, in which the
 * trees' own blocks and those set aside for them count as free.
 */
static void test_against_partclone(void **state)
{
	struct fs_report r;
	struct map *m;
	uint64_t used = 0, trees = 0;
	char out[256];

	(void)state;
	xfs_unpack("xfs-1k-rmap", "fs");
	m = ext_map_of("fs", &r);
	assert_int_equal(ext_sh(out, sizeof(out),
				 "partclone.xfs -c -s fs -o pc.img -L pc.log >/dev/null 2>&1"
				 " && partclone.info -s pc.img 2>&1 | "
				 "sed -n 's/^Space in use:.*= *\\([0-9]*\\) Blocks/\\1/p' && "
				 "for i in 0 1 2; do xfs_db -r -c \"agf $i\" "
				 "-c 'p flcount btreeblks' fs; done | "
				 "awk '{ n += $3 } END { print n }'"),
		0);
	assert_int_equal(sscanf(out, "%" SCNu64 " %" SCNu64, &used, &trees), 2);
	assert_true(trees > 50);
	assert_int_equal(map_bytes(m, MAP_DATA), (used + trees) * BLOCK);
	map_free(m);
}

/* A window 64 KiB into a file, and a device that is longer than the file system. */
static void test_slice_and_tail(void **state)
{
	const uint64_t base = 64 * KIB, tail = 3 * MIB + 512, size = 24 * MIB;
	struct fs_report r;
	struct map *got, *want;
	struct extent last;

	(void)state;
	xfs_unpack("xfs-4k", "fs");
	ext_must("(head -c 65536 /dev/urandom; cat fs; head -c %" PRIu64 " /dev/urandom) >part",
		tail);
	got = ext_map_slice("part", base, size + tail, &r);
	assert_true(r.used_only);
	want = xfs_dumped_map("fs", size + tail);
	ext_assert_equal_maps(got, want, "slice");
	last = map_run(got, size, NULL);
	assert_int_equal(last.kind, MAP_DATA);
	assert_int_equal(last.len, tail);
	map_free(got);
	map_free(want);

	/* Cut short by a block it is larger than its device. */
	got = ext_map_slice("part", base, size - 4096, &r);
	assert_false(r.used_only);
	assert_non_null(strstr(r.reason, "larger than the device"));
	map_free(got);
}

/* Label and UUID of the report are those of the superblock. */
static void test_report(void **state)
{
	struct fs_report r;
	struct map *m;

	(void)state;
	make("fs", "16M", "-b size=2048 -L 'a label'");
	m = ext_map_of("fs", &r);
	assert_string_equal(r.type, "xfs");
	assert_string_equal(r.label, "a label");
	assert_string_equal(r.uuid, UUID);
	assert_int_equal(r.block_bytes, 2048);
	map_free(m);
}

/* ---- Refusals (R2). All checksums fit: a changed field is all that is wrong. -------------- */

static void put_super(size_t field, uint32_t value)
{
	xfs_put32("fs", 0, SECTOR, XFS_SUM_SUPER, field, value);
}

/* As ext_assert_refused, but what libblkid would not take for XFS any more is refused too. */
static void assert_row_refuses(const char *word)
{
	struct dev *d = ext_open("fs");
	struct map *m = map_new_full(dev_size(d));
	struct fs_report r = { 0 };
	struct err e = { 0 };

	assert_int_equal(fs_xfs.map(d, m, &r, &e), -ERR_FORMAT);
	if (!strstr(e.msg, word))
		fail_msg("the reason is \"%s\", without \"%s\"", e.msg, word);
	map_free(m);
	dev_close(d);
}

struct patch {
	uint32_t field; /* 32 bits, big-endian */
	uint32_t set, clear;
	const char *word;
};

static void test_superblock_is_refused(void **state)
{
	static const struct patch patches[] = {
		{ 0xd0, 0x1, 0, "unknown feature bit 0x1 in compat" },
		{ 0xd4, 0x10, 0, "unknown feature bit 0x10 in ro_compat" },
		{ 0xd4, 0x80000000, 0, "unknown feature bit 0x80000000 in ro_compat" },
		{ 0xd8, 0x10, 0, "feature needsrepair" },
		{ 0xd8, 0x100, 0, "feature metadir" },
		{ 0xd8, 0x200, 0, "feature zoned" },
		{ 0xd8, 0x400, 0, "feature zone_gaps" },
		{ 0xd8, 0x800, 0, "unknown feature bit 0x800 in incompat" },
		{ 0xdc, 0x2, 0, "unknown feature bit 0x2 in log_incompat" },
		{ 0x64, 0x02000000, 0, "versionnum" }, /* shared */
		{ 0x64, 0x00020000, 0, "versionnum" }, /* version 7 */
		{ 0x64, 0x00040000, 0x00010000, "XFS version 4" },
		{ 0x64, 0, 0x80000000, "versionnum" },
		{ 0x64, 0, 0x04000000, "versionnum" },
		{ 0xc8, 0, 0x2, "features2" },
		{ 0xc8, 0x40000000, 0, "features2" },
		{ 0xcc, 0, 0xffffffff, "features2" },
		{ 0x7c, 0x00000100, 0, "mkfs did not finish" },
		{ 0x04, 0x00000800, 0, "blocksize" },
		{ 0x64, 0x00000400, 0x200, "sectsize" },
		{ 0x08, 0x1, 0, "larger than the device" },
		{ 0x0c, 0, 0x10000, "agcount" },
		{ 0x54, 0, 0xffffffff, "agblocks" },
		{ 0x54, 0x10000, 0, "agblklog" },
		{ 0x58, 0x4, 0, "agcount" },
		{ 0x58, 0, 0xffffffff, "agcount" },
		{ 0x90, 0x1, 0, "fdblocks" },
		{ 0x34, 0, 0xffffffff, "on another device" },
		{ 0x60, 0, 0xffffffff, "logblocks" },
		{ 0x60, 0x100000, 0, "logstart" },
		{ 0x34, 0x40000000, 0, "logstart" },
		{ 0x94, 0x1, 0x1, "the superblock says" },
	};
	uint8_t super[SECTOR];

	(void)state;
	xfs_unpack("xfs-1k-rmap", "fs");
	ext_peek("fs", 0, super, sizeof(super));
	for (size_t i = 0; i < COUNT_OF(patches); i++) {
		const struct patch *p = &patches[i];
		uint32_t old = get_be32(super + p->field);
		uint32_t value = (old & ~p->clear) | p->set;

		put_super(p->field, value == old ? old + 1 : value);
		assert_row_refuses(p->word);
		ext_poke("fs", 0, super, sizeof(super));
	}
	ext_poke("fs", 0x6c, "x", 1); /* the label */
	ext_assert_refused("fs", "superblock: the checksum is wrong");
}

/* mkfs makes one when it is given another device; here the word alone. */
static void test_external_log_is_refused(void **state)
{
	(void)state;
	ext_must("rm -f fs log && truncate -s 300M fs && truncate -s 64M log && "
		 "mkfs.xfs -q -f -l logdev=log fs");
	ext_assert_refused("fs", "the log is on another device");
}

/* A real-time volume is elsewhere; the data device is mapped like any other. */
static void test_real_time_device(void **state)
{
	struct fs_report r;
	struct map *got, *want;

	(void)state;
	ext_must("rm -f fs rt && truncate -s 300M fs && truncate -s 64M rt && "
		 "mkfs.xfs -q -f -m reflink=0 -r rtdev=rt fs");
	got = ext_map_of("fs", &r);
	assert_true(r.used_only);
	want = xfs_dumped_map("fs", 300 * MIB);
	ext_assert_equal_maps(got, want, "with a real-time volume");
	map_free(got);
	map_free(want);
}

static void put_agf(size_t field, uint32_t value)
{
	xfs_put32("fs", SECTOR, SECTOR, XFS_SUM_AGF, field, value);
}

struct damage {
	uint64_t off; /* of the structure */
	size_t len, sum;
	size_t field;
	uint32_t value;
	const char *word;
};

static void assert_damage(const struct damage *x)
{
	uint8_t before[1024];

	ext_peek("fs", x->off, before, x->len);
	assert_int_not_equal(get_be32(before + x->field), x->value);
	xfs_put32("fs", x->off, x->len, x->sum, x->field, x->value);
	ext_assert_refused("fs", x->word);
	ext_poke("fs", x->off, before, x->len);
}

static void test_damaged_headers_are_refused(void **state)
{
	const struct damage list[] = {
		{ AGF(1), SECTOR, XFS_SUM_AGF, 0x00, 0, "group 1: the AGF has no magic" },
		{ AGF(1), SECTOR, XFS_SUM_AGF, 0x04, 2, "group 1: the AGF has no magic" },
		{ AGF(1), SECTOR, XFS_SUM_AGF, 0x08, 2, "group 1: the AGF is another" },
		{ AGF(1), SECTOR, XFS_SUM_AGF, 0x40, 0, "group 1: the AGF is another" },
		{ AGF(2), SECTOR, XFS_SUM_AGF, 0x0c, AG_BLOCKS, "group 2: the AGF has another" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x1c, 10, "wrong number of levels" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x1c, 0, "wrong number of levels" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x1c, 1, "another level" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x20, 3, "another level" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x10, AG_BLOCKS, "a tree leads here, outside" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x10, 1, "a tree leads here, outside" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x10, 30, "not of the free-space tree" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x18, 0xffff, "its rmap tree, at block 65535" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x28, 200, "the AGFL's ends" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x2c, 3, "the AGFL's ends" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x30, 3, "the AGFL's ends" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x34, 17, "group 0: free blocks" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x38, 5, "group 0: the longest free run" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x3c, 5, "group 0: blocks of trees" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0x50, 0, "group 0: blocks of trees" },
		{ AGF(0), SECTOR, XFS_SUM_AGF, 0xd0, 51, "group 0: the AGF is newer" },
		{ AGFL(1), SECTOR, XFS_SUM_AGFL, 0x18, 51, "group 1: the AGFL is newer" },
		{ AGFL(1), SECTOR, XFS_SUM_AGFL, 0x00, 1, "group 1: the AGFL's checksum" },
		{ AGFL(1), SECTOR, XFS_SUM_AGFL, 0x04, 2, "group 1: the AGFL is another" },
		{ AGFL(1), SECTOR, XFS_SUM_AGFL, 0x08, 2, "group 1: the AGFL is another" },
		{ AGFL(1), SECTOR, XFS_SUM_AGFL, 0x28, AG_BLOCKS, "its AGFL entry" },
		{ AGFL(1), SECTOR, XFS_SUM_AGFL, 0x28, AG_BLOCKS - 1, "is marked free" },
	};
	uint8_t byte = 0x55;

	(void)state;
	xfs_unpack("xfs-1k-rmap", "fs");
	assert_int_equal(xfs_get32("fs", AGF(1) + 0x28), 1); /* of which entry 1 is the first */
	for (size_t i = 0; i < COUNT_OF(list); i++)
		assert_damage(&list[i]);
	/* Without a checksum that fits one changed byte is enough. */
	ext_poke("fs", AGF(2) + 0x60, &byte, 1);
	ext_assert_refused("fs", "group 2: the AGF's checksum");
}

static uint64_t block_of(uint32_t block)
{
	return block * BLOCK;
}

/* Records and keys of the first group, whose trees have two levels. */
static void test_damaged_trees_are_refused(void **state)
{
	uint32_t root, leaf, second, cnt;
	uint8_t byte;

	(void)state;
	xfs_unpack("xfs-1k-rmap", "fs");
	root = xfs_get32("fs", AGF(0) + 0x10);
	cnt = xfs_get32("fs", AGF(0) + 0x14);
	leaf = xfs_get32("fs", block_of(root) + RECORDS + (1024 - RECORDS) / 12 * 8);
	second = xfs_get32("fs", block_of(root) + RECORDS + (1024 - RECORDS) / 12 * 8 + 4);
	struct damage list[] = {
		{ block_of(root), BLOCK, XFS_SUM_TREE, 0x00, 0x41423343, "not of the free-space" },
		{ block_of(cnt), BLOCK, XFS_SUM_TREE, 0x00, 0x41423342, "not of the free-space" },
		{ block_of(root), BLOCK, XFS_SUM_TREE, 0x04, 0x00010000, "number of records" },
		{ block_of(root), BLOCK, XFS_SUM_TREE, 0x04, 0x000100ff, "number of records" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, 0x04, 0x00000000, "number of records" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, 0x04, 0x000000ff, "number of records" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, 0x08, second, "neighbours" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, 0x0c, UINT32_MAX, "neighbours" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, 0x14, 5, "from another place" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, 0x18, 51, "it is newer than the log" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, 0x20, 5, "from another place" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, 0x30, 1, "from another place" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, RECORDS, 1, "the key that leads here" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, RECORDS + 4, 0, "lies outside" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, RECORDS + 8, 1, "lies outside" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, RECORDS + 8, UINT32_MAX, "lies outside" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, RECORDS + 12, AG_BLOCKS, "lies outside" },
		{ block_of(leaf), BLOCK, XFS_SUM_TREE, RECORDS + 12, 3000, "out of order" },
		{ block_of(root), BLOCK, XFS_SUM_TREE, RECORDS, 77, "the key that leads here" },
		{ block_of(cnt), BLOCK, XFS_SUM_TREE, RECORDS + 4, 77, "the key that leads here" },
		{ block_of(root), BLOCK, XFS_SUM_TREE, RECORDS + (1024 - RECORDS) / 12 * 8, second,
			"the key that leads here" },
	};
	for (size_t i = 0; i < COUNT_OF(list); i++)
		assert_damage(&list[i]);
	ext_peek("fs", block_of(leaf) + 1000, &byte, 1);
	byte ^= 1;
	ext_poke("fs", block_of(leaf) + 1000, &byte, 1);
	ext_assert_refused("fs", "the checksum is wrong");
}

/* Let the only free run of the second group, and all that counts it, begin n blocks earlier. */
static void grow_free_run(uint32_t n)
{
	uint32_t start = xfs_get32("fs", AG(1) + 2 * BLOCK + RECORDS) - n;
	uint32_t len = xfs_get32("fs", AG(1) + 2 * BLOCK + RECORDS + 4) + n;

	for (uint32_t tree = 2; tree <= 3; tree++) {
		uint64_t off = AG(1) + tree * BLOCK;

		xfs_put32("fs", off, BLOCK, XFS_SUM_TREE, RECORDS, start);
		xfs_put32("fs", off, BLOCK, XFS_SUM_TREE, RECORDS + 4, len);
	}
	xfs_put32("fs", AGF(1), SECTOR, XFS_SUM_AGF, 0x34, len);
	xfs_put32("fs", AGF(1), SECTOR, XFS_SUM_AGF, 0x38, len);
	put_super(0x94, xfs_get32("fs", 0x94) + n);
}

/* Consistent in every number, but metadata lies in free space. */
static void test_metadata_marked_free_is_refused(void **state)
{
	uint32_t start;

	(void)state;
	xfs_unpack("xfs-1k-rmap", "fs");
	ext_must("cp --sparse=always fs good");
	start = xfs_get32("fs", AG(1) + 2 * BLOCK + RECORDS);
	grow_free_run(1);
	ext_assert_refused("fs", "its AGFL entry, at block");
	ext_must("cp --sparse=always good fs");
	grow_free_run(start - 2 - 6);
	ext_assert_refused("fs", "group 1: its log, at block 8, is marked free");
	ext_must("cp --sparse=always good fs");
	grow_free_run(start - 2);
	ext_assert_refused("fs", "group 1: its log, at block 8, is marked free");
	grow_free_run(1);
	ext_assert_refused("fs", "a free run from here lies outside");
}

/* One tree has a run that the other has not. */
static void test_trees_that_differ_are_refused(void **state)
{
	uint32_t start, len;

	(void)state;
	xfs_unpack("xfs-1k-rmap", "fs");
	start = xfs_get32("fs", AG(2) + 3 * BLOCK + RECORDS);
	len = xfs_get32("fs", AG(2) + 3 * BLOCK + RECORDS + 4);
	xfs_put32("fs", AG(2) + 3 * BLOCK, BLOCK, XFS_SUM_TREE, RECORDS, start - 1);
	ext_assert_refused("fs", "the tree by size");
	xfs_put32("fs", AG(2) + 3 * BLOCK, BLOCK, XFS_SUM_TREE, RECORDS, start);
	xfs_put32("fs", AG(2) + 3 * BLOCK, BLOCK, XFS_SUM_TREE, RECORDS + 4, len - 1);
	ext_assert_refused("fs", "the tree by size");
}

/* ---- Faults and hostile input ------------------------------------------------------------ */

/* S51: the n-th read fails. The map is then full, with a reason, or the same as ever. */
static void test_every_failing_read(void **state)
{
	struct fs_report r;
	struct dev *file, *d = NULL;
	struct map *good;
	int mapped = 0, refused = 0;

	(void)state;
	xfs_unpack("xfs-1k-rmap", "fs");
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
			assert_true(map_equal(m, good));
		} else {
			refused++;
		}
		map_free(m);
		if (reads < nth)
			break;
	}
	/* Most of the probing's reads don't matter; each of the file system's own does. */
	assert_true(refused > 3 * 4 + 12);
	assert_true(mapped > 1);
	map_free(good);
	dev_close(file);
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

/*
 * Each 16-bit word of a structure set to each of these values, with a checksum that fits: refused,
 * or, where the word does not matter, the same map.
 */
static void craft(uint64_t off, size_t len, size_t sum, size_t end, const struct map *good)
{
	static const uint16_t values[] = { 0, 1, 7, 0x20, 0x7fff, 0xffff };
	uint8_t before[1024];

	ext_peek("fs", off, before, len);
	for (size_t at = 0; at < end; at += 2) {
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			uint8_t bytes[2] = { (uint8_t)(values[i] >> 8), (uint8_t)values[i] };
			struct fs_report r;
			struct map *m;

			if (memcmp(before + at, bytes, 2) == 0 || at / 4 == sum / 4)
				continue;
			ext_poke("fs", off + at, bytes, 2);
			xfs_fix_sum("fs", off, len, sum);
			m = ext_map_of("fs", &r);
			if (r.used_only && !map_equal(m, good))
				fail_msg("byte %zu set to %u: a different map", at, values[i]);
			map_free(m);
			ext_poke("fs", off, before, len);
		}
	}
}

static void test_crafted_fields(void **state)
{
	struct fs_report r;
	struct map *good;
	uint32_t root;

	(void)state;
	xfs_unpack("xfs-1k-rmap", "fs");
	/* A device on which absurd sizes have room: 4 TiB that are not there. */
	ext_must("truncate -s 4T fs");
	good = ext_map_of("fs", &r);
	assert_true(r.used_only);
	root = xfs_get32("fs", AGF(0) + 0x10);
	craft(0, SECTOR, XFS_SUM_SUPER, 0x110, good);
	craft(AGF(0), SECTOR, XFS_SUM_AGF, 0xe0, good);
	craft(AGFL(0), SECTOR, XFS_SUM_AGFL, 0x60, good);
	craft(block_of(root), BLOCK, XFS_SUM_TREE, RECORDS + 16, good);
	map_free(good);
	assert_true(peak_kib() < PEAK_KIB_MAX);
}

/* ---- Large volumes ----------------------------------------------------------------------- */

/* LESSONS 1: larger than any buffer. 8 TiB in a sparse file, in 512 groups. */
static void test_8_tib(void **state)
{
	struct fs_report r;
	struct map *got, *want;

	(void)state;
	ext_must("rm -f fs && truncate -s 8T fs && "
		 "mkfs.xfs -q -K -l size=64m -d agsize=16g -p proto fs");
	got = ext_map_of("fs", &r);
	if (!r.used_only)
		fail_msg("%s", r.reason);
	assert_true(r.free_bytes > 7 * TIB);
	want = xfs_dumped_map("fs", 8 * TIB);
	ext_assert_equal_maps(got, want, "8 TiB");
	assert_true(peak_kib() < PEAK_KIB_MAX);
	map_free(got);
	map_free(want);
	ext_must("rm -f fs");
}

/* ---- Very fragmented --------------------------------------------------------------------- */

#define LEAF_RECORDS 121u
#define NODE_RECORDS 80u

struct builder {
	uint8_t *blocks; /* all of the trees, from block `first` on */
	uint32_t first, count;
	uint32_t magic;
};

static void put_be(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* A new block at the end, linked to the one before it on its level; its records are still empty. */
static uint8_t *add_block(struct builder *b, unsigned level, uint32_t records, bool leftmost)
{
	uint32_t block = b->first + b->count;
	uint8_t *p = b->blocks + b->count++ * BLOCK;
	uint8_t id[16];

	ext_peek("fs", 0x20, id, sizeof(id));
	put_be(p, b->magic);
	put_be(p + 4, level << 16 | records);
	put_be(p + 8, leftmost ? UINT32_MAX : block - 1);
	put_be(p + 12, UINT32_MAX);
	put_be(p + 20, block * 2);
	memcpy(p + 32, id, sizeof(id));
	if (!leftmost)
		put_be(p - BLOCK + 12, block);
	return p;
}

/* Level by level: `records` of 8 bytes each, then a level of keys and block numbers above it. */
static uint32_t build_tree(struct builder *b, const uint8_t *records, uint32_t count,
	uint32_t *levels)
{
	uint32_t below = 0, first_below = 0;

	*levels = 0;
	for (uint32_t n = count; *levels == 0 || below > 1; ++*levels) {
		uint32_t per = *levels ? NODE_RECORDS : LEAF_RECORDS, begin = b->count;
		size_t max = (BLOCK - RECORDS) / 12;

		for (uint32_t i = 0; i < n; i += per) {
			uint32_t here = (uint32_t)min_u64(per, n - i);
			uint8_t *p = add_block(b, *levels, here, i == 0) + RECORDS;

			if (*levels == 0)
				memcpy(p, records + (size_t)i * 8, (size_t)here * 8);
			for (uint32_t k = 0; k<here && * levels> 0; k++) {
				uint32_t child = first_below + i + k;

				memcpy(p + k * 8, b->blocks + child * BLOCK + RECORDS, 8);
				put_be(p + max * 8 + k * 4, b->first + child);
			}
		}
		first_below = begin;
		below = n = b->count - begin;
	}
	return b->first + first_below;
}

static void seal_blocks(const struct builder *b)
{
	for (uint32_t i = 0; i < b->count; i++) {
		uint8_t *p = b->blocks + i * BLOCK;

		put_le32(p + XFS_SUM_TREE, ~ext2fs_crc32c_le(~0u, p, BLOCK));
	}
	ext_poke("fs", b->first * BLOCK, b->blocks, b->count * BLOCK);
}

/* `runs` free blocks with a used one between them, then one long run to the end of the group. */
static void fragment(uint32_t runs, uint32_t blocks)
{
	uint8_t *records = malloc(((size_t)runs + 1) * 8);
	struct builder b = { .blocks = calloc(50000, BLOCK), .first = 30000, .magic = 0x41423342 };
	uint32_t start = 200000, levels, root, flcount, end = start + runs * 2;

	assert_true(records && b.blocks);
	for (uint32_t i = 0; i < runs; i++) {
		put_be(records + (size_t)i * 8, start + i * 2);
		put_be(records + (size_t)i * 8 + 4, 1);
	}
	put_be(records + (size_t)runs * 8, end);
	put_be(records + (size_t)runs * 8 + 4, blocks - end);
	root = build_tree(&b, records, runs + 1, &levels);
	put_agf(0x10, root);
	put_agf(0x1c, levels);
	/* By size the order is the same. */
	b.magic = 0x41423343;
	root = build_tree(&b, records, runs + 1, &levels);
	put_agf(0x14, root);
	put_agf(0x20, levels);
	seal_blocks(&b);
	put_agf(0x34, runs + blocks - end);
	put_agf(0x38, blocks - end);
	put_agf(0x3c, b.count - 2);
	flcount = xfs_get32("fs", 512 + 0x30);
	put_super(0x94, runs + blocks - end + flcount + b.count - 2);
	free(b.blocks);
	free(records);
}

/*
 * More than two million free runs of one block, and one long one: the map stays small, the long one
 * free. Trees of four levels, made here as no tool makes a file system like that in a short time;
 * xfs_db reads them.
 */
static void test_very_fragmented(void **state)
{
	const uint32_t runs = 2200000, blocks = 8u << 20;
	uint64_t most = (uint64_t)(blocks - 200000 - 2 * runs) * BLOCK;
	struct fs_report r;
	struct map *m;
	char out[256];

	(void)state;
	make("fs", "8G", "-b size=1024 -d agcount=1 -l size=16m,agnum=0");
	fragment(runs, blocks);
	assert_int_equal(ext_sh(out, sizeof(out),
				 "xfs_db -r -c 'freesp -s' fs | "
				 "awk '/^total free extents/ { print $4 }'"),
		0);
	assert_true(strtoul(out, NULL, 10) >= runs + 1);
	m = ext_map_of("fs", &r);
	if (!r.used_only)
		fail_msg("%s", r.reason);
	assert_string_equal(r.note,
		"free space in too many pieces, the shortest are taken as data");
	assert_true(map_count(m) < 3 << 20);
	assert_int_equal(map_run(m, map_size(m) - most, NULL).kind, MAP_FREE);
	assert_true(map_bytes(m, MAP_FREE) >= most);
	assert_true(map_bytes(m, MAP_FREE) < most + (uint64_t)runs * BLOCK);
	assert_true(peak_kib() < PEAK_KIB_MAX);
	map_free(m);
	ext_must("rm -f fs");
}

static int setup(void **state)
{
	static const char *const tools[] = { "mkfs.xfs", "xfs_db", "xfs_repair", "zstd",
		"partclone.xfs", "partclone.info", NULL };

	(void)state;
	ext_setup(tools);
	/* What mkfs is to put in: a directory of files of many sizes. */
	ext_make_tree("tree", 2048);
	ext_must("{ printf '/dev/null\\n0 0\\nd--755 0 0\\n'; (cd tree && find . -type f | sort) | "
		 "sed 's#\\(.*/\\)*\\(.*\\)#\\2 ---644 0 0 tree/&#'; "
		 "echo '$'; } >proto");
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_xfs_db),
		cmocka_unit_test(test_restored_copy_is_whole),
		cmocka_unit_test(test_against_partclone),
		cmocka_unit_test(test_slice_and_tail),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_superblock_is_refused),
		cmocka_unit_test(test_external_log_is_refused),
		cmocka_unit_test(test_real_time_device),
		cmocka_unit_test(test_damaged_headers_are_refused),
		cmocka_unit_test(test_damaged_trees_are_refused),
		cmocka_unit_test(test_metadata_marked_free_is_refused),
		cmocka_unit_test(test_trees_that_differ_are_refused),
		cmocka_unit_test(test_every_failing_read),
		cmocka_unit_test(test_crafted_fields),
		cmocka_unit_test(test_8_tib),
		cmocka_unit_test(test_very_fragmented),
	};

	/* For tests/root/fs_xfs_test.sh. */
	if (argc == 4 && strcmp(argv[1], "--copy") == 0)
		return ext_copy_main(argv[2], argv[3]);
	return cmocka_run_group_tests_name("fs_xfs", tests, setup, NULL);
}
