/*
 * ext2, ext3 and ext4 without root: images by mke2fs -d, aged by debugfs, compared with what
 * dumpe2fs says of every group; copies that hold only the map's data, the rest garbage, checked
 * by e2fsck; what must be refused; faults; crafted superblocks; volumes larger than any buffer.
 * Journals have their own file, fs_ext_journal_test.c.
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <ext2fs/ext2fs.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "ext_helper.h"

#define SUPER 1024 /* where the superblock lies */

/*
 * Fill, then remove four files of ten, so that free space is in many pieces. e2fsck -fy because
 * debugfs does not account for quotas.
 */
static void make_aged(const char *name, const char *size, const char *options)
{
	ext_must("rm -f %s && truncate -s %s %s", name, size, name);
	ext_must("mke2fs -q -F %s -d tree %s", options, name);
	if (strstr(options, "mmp"))
		return; /* the tools would wait for another machine for 11 s */
	ext_must("(cd tree && find . -type f -name 'file*[0369]') | sed 's/^/rm /' >aging && "
		 "debugfs -w -f aging %s && { e2fsck -fy %s || [ $? -eq 1 ]; } && e2fsck -fn %s",
		name, name, name);
}

struct options {
	const char *type; /* that libblkid gives */
	const char *size;
	const char *mke2fs;
};

static const struct options sets[] = {
	{ "ext4", "48M", "-t ext4 -b 1024" },
	{ "ext4", "48M", "-t ext4 -b 2048" },
	{ "ext4", "64M", "-t ext4 -b 4096" },
	{ "ext4", "500M", "-t ext4 -b 4096" },
	{ "ext4", "64M", "-t ext4 -b 16384" },
	{ "ext4", "64M", "-t ext4 -b 65536" },
	{ "ext2", "48M", "-t ext2 -b 1024" },
	{ "ext2", "48M", "-t ext2 -b 4096 -r 0" },
	{ "ext2", "150M", "-t ext2 -b 1024 -O ^sparse_super,^resize_inode" },
	{ "ext3", "64M", "-t ext3 -b 1024" },
	{ "ext3", "200M", "-t ext3 -b 4096" },
	{ "ext4", "48M", "-t ext4 -b 1024 -O ^has_journal" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O ^64bit" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O ^flex_bg" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O ^flex_bg,^resize_inode,^metadata_csum,uninit_bg" },
	{ "ext4", "150M", "-t ext4 -b 1024 -G 4 -g 2048" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O meta_bg,^resize_inode" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg,^64bit" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O sparse_super2,^resize_inode" },
	{ "ext4", "150M", "-t ext4 -b 1024 -O sparse_super2 -E num_backup_sb=0" },
	{ "ext4", "48M", "-t ext4 -O inline_data -I 512" },
	{ "ext4", "64M", "-t ext4 -O bigalloc -b 1024 -C 4096" },
	{ "ext4", "64M", "-t ext4 -O bigalloc -b 4096 -C 65536" },
	{ "ext4", "400M", "-t ext4 -O bigalloc -b 4096 -C 16384 -g 32768" },
	{ "ext4", "200M", "-t ext4 -O bigalloc,^metadata_csum,uninit_bg -b 1024 -C 8192 -g 8192" },
	{ "ext4", "64M",
		"-t ext4 -b 1024 -O quota,project,casefold,encrypt,verity,ea_inode,"
		"large_dir,stable_inodes" },
	{ "ext4", "64M", "-t ext4 -b 1024 -O mmp" },
	{ "ext4", "64M", "-t ext4 -b 1024 -O orphan_file" },
	{ "ext4", "64M", "-t ext4 -b 1024 -O fast_commit -J size=8,fast_commit_size=1024" },
	{ "ext4", "64M", "-t ext4 -b 1024 -O metadata_csum_seed" },
	{ "ext4", "64M", "-t ext4 -b 4096 -N 2000 -O ^resize_inode" },
	{ "ext4", "64M", "-t ext4 -b 4096 -O ^extent,^64bit" },
};

/* LESSONS 29, R3 and the heart of R2: free is exactly what dumpe2fs calls free. */
static void test_against_dumpe2fs(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sets); i++) {
		const struct options *o = &sets[i];
		struct fs_report r;
		struct map *got, *want;
		uint64_t free_blocks = 0, block = 0;
		char out[256];

		make_aged("fs", o->size, o->mke2fs);
		got = ext_map_of("fs", &r);
		if (!r.used_only)
			fail_msg("%s: %s", o->mke2fs, r.reason);
		assert_string_equal(r.type, o->type);
		want = ext_dumped_map("fs", 0, map_size(got));
		ext_assert_equal_maps(got, want, o->mke2fs);
		/* The superblock's own count, by another way. */
		assert_int_equal(ext_sh(out, sizeof(out),
					 "dumpe2fs -h fs 2>/dev/null | awk -F: "
					 "'/^Free blocks/ { f = $2 } /^Block size/ { b = $2 } "
					 "END { print f, b }'"),
			0);
		assert_int_equal(sscanf(out, "%" SCNu64 " %" SCNu64, &free_blocks, &block), 2);
		assert_int_equal(r.free_bytes, free_blocks * block);
		assert_true(free_blocks > 0);
		map_free(got);
		map_free(want);
	}
}

/* Only the data of the map, all else garbage: the file system is whole and every file there. */
static void test_restored_copy_is_whole(void **state)
{
	static const size_t chosen[] = { 0, 2, 6, 13, 18, 22, 24 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(chosen); i++) {
		const struct options *o = &sets[chosen[i]];
		struct fs_report r;
		struct map *m;
		struct dev *d;

		make_aged("fs", o->size, o->mke2fs);
		d = ext_open("fs");
		m = ext_map_dev(d, &r);
		assert_true(r.used_only);
		ext_restore(d, m, "copy");
		dev_close(d);
		map_free(m);
		ext_must("e2fsck -fn copy && rm -rf a b && mkdir a b && "
			 "debugfs -R 'rdump / a' fs && debugfs -R 'rdump / b' copy && "
			 "diff -r --no-dereference a b && [ $(find b -type f | wc -l) -gt 20 ]");
	}
}

/* How many blocks another imaging tool would keep. */
static void test_against_partclone(void **state)
{
	struct fs_report r;
	struct map *m;
	uint64_t used = 0;
	char out[256];

	(void)state;
	make_aged("fs", "64M", "-t ext4 -b 4096");
	m = ext_map_of("fs", &r);
	assert_int_equal(ext_sh(out, sizeof(out),
				 "partclone.extfs -c -s fs -o pc.img -L pc.log >/dev/null 2>&1"
				 " && partclone.info -s pc.img 2>&1 | "
				 "sed -n 's/^Space in use:.*= *\\([0-9]*\\) Blocks/\\1/p'"),
		0);
	assert_int_equal(sscanf(out, "%" SCNu64, &used), 1);
	assert_int_equal(map_bytes(m, MAP_DATA), used * 4096);
	map_free(m);
}

/* A window 64 KiB into a file, and a device that is longer than the file system. */
static void test_slice_and_tail(void **state)
{
	const uint64_t base = 64 * KIB, tail = 3 * MIB + 512;
	struct fs_report r;
	struct map *got, *want;
	uint64_t size;
	struct extent last;

	(void)state;
	make_aged("fs", "32M", "-t ext4 -b 1024");
	size = 32 * MIB + tail;
	ext_must("(head -c 65536 /dev/urandom; cat fs; head -c %" PRIu64 " /dev/urandom) >part",
		tail);
	got = ext_map_slice("part", base, size, &r);
	assert_true(r.used_only);
	want = ext_dumped_map("part", base, size);
	ext_assert_equal_maps(got, want, "slice");
	last = map_run(got, 32 * MIB, NULL);
	assert_int_equal(last.kind, MAP_DATA);
	assert_int_equal(last.len, tail);
	map_free(got);
	map_free(want);

	/* Cut short by a block it is larger than its device. */
	got = ext_map_slice("part", base, 32 * MIB - 1024, &r);
	assert_false(r.used_only);
	assert_non_null(strstr(r.reason, "larger than the device"));
	map_free(got);
}

/* Label and UUID of the report are those of the superblock. */
static void test_report(void **state)
{
	struct fs_report r;
	struct dev *d;

	(void)state;
	ext_must("rm -f fs && truncate -s 16M fs && mke2fs -q -t ext4 -b 2048 -L 'a label' "
		 "-U 01234567-89ab-cdef-0123-456789abcdef fs");
	d = ext_open("fs");
	assert_int_equal(fs_probe(d, &r, NULL), 0);
	assert_string_equal(r.type, "ext4");
	assert_string_equal(r.label, "a label");
	assert_string_equal(r.uuid, "01234567-89ab-cdef-0123-456789abcdef");
	assert_string_equal(r.reason, "");
	assert_false(r.used_only);
	map_free(ext_map_dev(d, &r));
	assert_true(r.used_only);
	assert_int_equal(r.block_bytes, 2048);
	assert_string_equal(r.note, "");
	dev_close(d);
}

/* ---- Refusals (R2). No checksums: a patched byte is all that is wrong. -------------------- */

#define PLAIN "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg"

static void put32(uint64_t off, uint32_t value)
{
	uint8_t bytes[4];

	put_le32(bytes, value);
	ext_poke("fs", off, bytes, 4);
}

static uint32_t fetch32(uint64_t off)
{
	uint8_t bytes[4];

	ext_peek("fs", off, bytes, 4);
	return get_le32(bytes);
}

struct patch {
	uint32_t offset; /* in the superblock */
	uint32_t set, clear;
	const char *word;
};

static void test_superblock_is_refused(void **state)
{
	static const struct patch patches[] = {
		{ 0x5c, 0x2000, 0, "unknown feature bit 0x2000 in compat" },
		{ 0x5c, 0x80000000, 0, "unknown feature bit 0x80000000 in compat" },
		{ 0x5c, 0x100, 0, "exclude_bitmap" },
		{ 0x60, 0x40000, 0, "unknown feature bit 0x40000 in incompat" },
		{ 0x60, 0x1000, 0, "dirdata" }, { 0x60, 0x1, 0, "compression" },
		{ 0x64, 0x20000, 0, "unknown feature bit 0x20000 in ro_compat" },
		{ 0x64, 0x80, 0, "has_snapshot" }, { 0x64, 0x4000, 0, "shared_blocks" },
		{ 0x64, 0x410, 0, "uninit_bg and metadata_csum" },
		{ 0x38, 0x20000, 0, "marked as having errors" }, /* s_state */
		{ 0x38, 0, 0x10000, "not cleanly unmounted" },
		{ 0x60, 0x4, 0, "" }, /* needs_recovery, with an empty journal: see below */
		{ 0xe4, 0x801, 0, "on another device" },
		{ 0xe0, 0, 0xffffffff, "on another device" },
		{ 0xe0, 0xffff, 0, "journal" }, /* an inode that is not there */
		{ 0x4c, 2, 0, "" },		/* s_rev_level 3: libblkid, or we */
		{ 0x14, 2, 0, "s_first_data_block" }, { 0x14, 0, 1, "s_first_data_block" },
		{ 0x1c, 1, 0, "s_log_cluster_size" }, { 0x20, 1, 0, "s_blocks_per_group" },
		{ 0x24, 4, 0, "s_clusters_per_group" },
		{ 0x24, 0, 0xffffffff, "s_clusters_per_group" },
		{ 0x28, 0, 0xffffffff, "s_inodes_per_group" },
		{ 0x28, 0xfffff, 0, "s_inodes_per_group" }, { 0x00, 1, 0, "s_inodes_count" },
		{ 0x58, 3, 0, "s_inode_size" }, { 0xfc, 0x200000, 0, "s_desc_size" },
		{ 0xcc, 0xffff0000, 0, "s_reserved_gdt_blocks" },
		{ 0x150, 1, 0, "larger than the device" },
		{ 0x0c, 0, 1, "" }, /* s_free_blocks_count */
	};
	uint8_t super[1024];

	(void)state;
	make_aged("fs", "16M", PLAIN);
	ext_peek("fs", SUPER, super, sizeof(super));
	for (size_t i = 0; i < COUNT_OF(patches); i++) {
		const struct patch *p = &patches[i];
		uint32_t old = get_le32(super + p->offset);

		if (p->word[0] == '\0')
			continue;
		put32(SUPER + p->offset, (old & ~p->clear) | p->set);
		ext_assert_refused("fs", p->word);
		ext_poke("fs", SUPER, super, sizeof(super));
	}
	put32(SUPER + 0x0c, fetch32(SUPER + 0x0c) ^ 1);
	ext_assert_refused("fs", "the superblock says");
}

/*
 * Needs recovery without a journal; and with one that is empty, which is the state after a mount.
 */
static void test_needs_recovery(void **state)
{
	struct fs_report r;
	struct map *m;

	(void)state;
	make_aged("fs", "16M", PLAIN);
	put32(SUPER + 0x60, fetch32(SUPER + 0x60) | 4);
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_string_equal(r.note, "dirty journal, nothing to replay");
	map_free(m);
	put32(SUPER + 0x5c, fetch32(SUPER + 0x5c) & ~4u);
	ext_assert_refused("fs", "has no journal");
}

/* Where group 1's bitmap and inode table lie: the descriptors are in block 2 (1 KiB blocks). */
static uint64_t desc_of(unsigned group, unsigned bytes)
{
	return 2048 + (uint64_t)group * bytes;
}

static void flip_bit(uint64_t bitmap_block, unsigned bit)
{
	uint8_t byte;

	ext_peek("fs", bitmap_block * 1024 + bit / 8, &byte, 1);
	byte ^= (uint8_t)(1u << bit % 8);
	ext_poke("fs", bitmap_block * 1024 + bit / 8, &byte, 1);
}

static void add16(uint64_t off, int add)
{
	uint8_t bytes[2];

	ext_peek("fs", off, bytes, 2);
	put_le16(bytes, (uint16_t)(get_le16(bytes) + add));
	ext_poke("fs", off, bytes, 2);
}

/* A bitmap, a descriptor and the superblock must agree; metadata must be in use. */
static void test_inconsistent_is_refused(void **state)
{
	uint64_t bitmap, table;

	(void)state;
	make_aged("fs", "32M", PLAIN ",^64bit");
	bitmap = fetch32(desc_of(1, 32));
	table = fetch32(desc_of(1, 32) + 8);
	ext_must("cp fs good");

	flip_bit(bitmap, 8191);
	ext_assert_refused("fs", "group 1: the bitmap has");
	ext_must("cp good fs");

	/* The same, with the group's counter made to fit: the superblock's does not. */
	flip_bit(bitmap, 8191);
	add16(desc_of(1, 32) + 12, -1);
	ext_assert_refused("fs", "the superblock says");
	ext_must("cp good fs");

	/* All counters fit, but a block of group 1's inode table is called free. flex_bg puts it in
	 * group 0. */
	assert_true(table < 8192);
	flip_bit(fetch32(desc_of(0, 32)), (unsigned)table - 1 + 5);
	add16(desc_of(0, 32) + 12, 1);
	put32(SUPER + 0xc, fetch32(SUPER + 0xc) + 1);
	ext_assert_refused("fs", "group 1: its inode table");
	ext_must("cp good fs");

	put32(desc_of(1, 32), 0);
	ext_assert_refused("fs", "group 1: a bitmap lies outside");
	put32(desc_of(1, 32), 32768);
	ext_assert_refused("fs", "group 1: a bitmap lies outside");
	ext_must("cp good fs");
	put32(desc_of(2, 32) + 8, 32700);
	ext_assert_refused("fs", "group 2: its inode table lies outside");
	ext_must("cp good fs");
	assert_int_equal(ext_sh(NULL, 0, "cmp good fs"), 0);
}

/*
 * R3: a last cluster of which only five blocks are in the file system. No tool makes one, so the
 * numbers are patched until e2fsck is content.
 */
static void test_partial_last_cluster(void **state)
{
	struct fs_report r;
	struct map *m;

	(void)state;
	ext_must("rm -f fs && truncate -s 20M fs && mke2fs -q -F -t ext4 -b 1024 -C 8192 "
		 "-O bigalloc,^metadata_csum,^uninit_bg,^64bit fs 16384");
	/* Block 0 is the boot block, the superblock is block 1, the descriptor in block 2. */
	put32(SUPER + 0x04, 16384 + 5);
	put32(SUPER + 0x0c, fetch32(SUPER + 0x0c) + 8);
	flip_bit(fetch32(desc_of(0, 32)), 16384 / 8);
	add16(desc_of(0, 32) + 12, 1);
	ext_must("e2fsck -fn fs");
	m = ext_map_of("fs", &r);
	if (!r.used_only)
		fail_msg("%s", r.reason);
	assert_int_equal(map_run(m, 16388 * KIB, NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, 16389 * KIB, NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, 16389 * KIB, NULL).len, 20 * MIB - 16389 * KIB);
	map_free(m);
}

/*
 * The journal's blocks must be in use: a clean file system whose bitmap says otherwise is broken.
 */
static void test_journal_marked_free_is_refused(void **state)
{
	uint64_t block = 0;
	unsigned group;
	char out[64];

	(void)state;
	make_aged("fs", "32M", PLAIN ",^64bit");
	assert_int_equal(ext_sh(out, sizeof(out), "debugfs -R 'bmap <8> 100' fs 2>/dev/null"), 0);
	assert_int_equal(sscanf(out, "%" SCNu64, &block), 1);
	group = (unsigned)((block - 1) / 8192);
	flip_bit(fetch32(desc_of(group, 32)), (unsigned)((block - 1) % 8192));
	add16(desc_of(group, 32) + 12, 1);
	put32(SUPER + 0xc, fetch32(SUPER + 0xc) + 1);
	ext_assert_refused("fs", "the journal's block");
}

/* With checksums one flipped bit is enough, also where the counters hide it. */
static void test_wrong_checksum_is_refused(void **state)
{
	uint64_t bitmap;

	(void)state;
	make_aged("fs", "32M", "-t ext4 -b 1024 -O metadata_csum,64bit");
	bitmap = fetch32(desc_of(0, 64));
	ext_must("cp fs good");
	/* Two bits: the count stays the same. */
	flip_bit(bitmap, 1);
	flip_bit(bitmap, 8190);
	ext_assert_refused("fs", "group 0: the block bitmap's checksum");
	ext_must("cp good fs");
	add16(desc_of(1, 64) + 28, 1); /* bg_itable_unused */
	ext_assert_refused("fs", "group 1: the descriptor's checksum");
	make_aged("fs", "32M", "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg");
	add16(desc_of(1, 64) + 28, 1);
	ext_assert_refused("fs", "group 1: the descriptor's checksum");
}

static void test_external_journal_is_refused(void **state)
{
	struct fs_report r;
	struct dev *d;

	(void)state;
	ext_must("rm -f jdev fs && truncate -s 8M jdev && truncate -s 16M fs && "
		 "mke2fs -q -F -b 1024 -O journal_dev jdev && mke2fs -q -F -t ext4 -b 1024 fs");
	d = ext_open("jdev");
	map_free(ext_map_dev(d, &r));
	assert_string_equal(r.type, "jbd");
	assert_string_equal(r.reason, "journal of another file system");
	dev_close(d);
	/* As mke2fs -J device= would, which wants a block device. */
	ext_must("debugfs -w -R 'ssv journal_inum 0' fs && "
		 "debugfs -w -R 'ssv journal_dev 0x801' fs");
	ext_assert_refused("fs", "the journal is on another device");
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
	make_aged("fs", "150M", PLAIN); /* 19 bitmaps */
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
	assert_true(refused > 19 + 4);
	assert_true(mapped > 1);
	map_free(good);
	dev_close(file);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
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

/* Each 16-bit word of the superblock set to each of these values: no crash, no hang, no balloon. */
static void craft_superblocks(const char *name)
{
	static const uint16_t values[] = { 0, 1, 7, 0x20, 0x7fff, 0xffff };
	uint8_t super[1024 + 4] = { 0 };
	double start = now_s();

	ext_peek(name, SUPER, super, 1024);
	for (unsigned at = 0; at < 0x280; at += 2) {
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			uint8_t bytes[4];
			struct fs_report r;

			memcpy(bytes, super + at, 4);
			put_le16(bytes, values[i]);
			if (i % 2) /* the high half too, where both are one number */
				put_le16(bytes + 2, values[i]);
			ext_poke(name, SUPER + at, bytes, 4);
			map_free(ext_map_of(name, &r));
			ext_poke(name, SUPER + at, super + at, 4);
		}
	}
	if (now_s() - start > 100)
		fail_msg("%s: it took %.0f s", name, now_s() - start);
}

static void test_crafted_superblocks(void **state)
{
	(void)state;
	make_aged("fs", "16M", PLAIN);
	/* A device on which absurd sizes have room: 4 TiB that are not there. */
	ext_must("truncate -s 4T fs");
	craft_superblocks("fs");
	assert_true(peak_kib() < PEAK_KIB_MAX);
}

/* Groups of 8 blocks in 4 TiB would be a table of 4 GiB. */
static void test_too_many_groups_is_refused(void **state)
{
	(void)state;
	make_aged("fs", "16M", PLAIN ",^64bit");
	ext_must("truncate -s 4T fs");
	put32(SUPER + 0x04, 0xffffffff);
	put32(SUPER + 0x20, 256);
	put32(SUPER + 0x24, 256);
	put32(SUPER + 0x28, 8);
	ext_assert_refused("fs", "block groups are too many");
	assert_true(peak_kib() < PEAK_KIB_MAX);
}

/* ---- Large volumes ----------------------------------------------------------------------- */

/* LESSONS 1: larger than any buffer. 8 TiB in a sparse file. */
static void test_8_tib(void **state)
{
	uint64_t free_blocks = 0;
	double start;
	struct fs_report r;
	struct map *m;
	char out[128];

	(void)state;
	ext_must("rm -f fs big && truncate -s 8T big && mke2fs -q -t ext4 -b 4096 -d tree -E "
		 "nodiscard,lazy_itable_init=1,lazy_journal_init=1 big");
	start = now_s();
	m = ext_map_of("big", &r);
	assert_true(now_s() - start < 20);
	assert_true(r.used_only);
	assert_int_equal(ext_sh(out, sizeof(out),
				 "dumpe2fs -h big 2>/dev/null | "
				 "awk -F: '/^Free blocks/ { print $2 }'"),
		0);
	assert_int_equal(sscanf(out, "%" SCNu64, &free_blocks), 1);
	assert_int_equal(r.free_bytes, free_blocks * 4096);
	assert_true(r.free_bytes > 7 * TIB);
	assert_true(peak_kib() < PEAK_KIB_MAX);
	map_free(m);
	ext_must("rm -f big");
}

/* Every other block in use, by libext2fs itself. */
static void use_every_other_block(const char *name)
{
	ext2_filsys fs = NULL;
	blk64_t end;

	assert_int_equal(ext2fs_open(ext_path(name), EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0,
				 unix_io_manager, &fs),
		0);
	assert_int_equal(ext2fs_read_bitmaps(fs), 0);
	end = ext2fs_blocks_count(fs->super);
	for (blk64_t block = 2; block < end; block += 2)
		if (!ext2fs_test_block_bitmap2(fs->block_map, block))
			ext2fs_block_alloc_stats2(fs, block, +1);
	assert_int_equal(ext2fs_close(fs), 0);
}

/*
 * A million and a half free runs of one block, and one long one: the map stays small, the long one
 * free.
 */
static void test_very_fragmented(void **state)
{
	struct fs_report r;
	struct map *got, *want;

	(void)state;
	ext_must("rm -f fs && truncate -s 4G fs && "
		 "mke2fs -q -t ext4 -b 1024 -N 2000 -O ^has_journal,^resize_inode fs 3G");
	use_every_other_block("fs");
	ext_must("resize2fs fs 4G");
	got = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_string_equal(r.note,
		"free space in too many pieces, the shortest are taken as data");
	assert_true(map_count(got) < 3 << 20);
	assert_true(map_bytes(got, MAP_FREE) > 900 * MIB);
	want = ext_dumped_map("fs", 0, map_size(got));
	assert_true(map_count(want) > 5 << 19);
	ext_assert_free_within(got, want);
	map_free(got);
	map_free(want);
	ext_must("rm -f fs");
}

static int setup(void **state)
{
	static const char *const tools[] = { "mke2fs", "debugfs", "dumpe2fs", "e2fsck", "resize2fs",
		"partclone.extfs", "partclone.info", NULL };

	(void)state;
	ext_setup(tools);
	ext_make_tree("tree", 2048);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_dumpe2fs),
		cmocka_unit_test(test_restored_copy_is_whole),
		cmocka_unit_test(test_against_partclone),
		cmocka_unit_test(test_slice_and_tail),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_superblock_is_refused),
		cmocka_unit_test(test_needs_recovery),
		cmocka_unit_test(test_inconsistent_is_refused),
		cmocka_unit_test(test_partial_last_cluster),
		cmocka_unit_test(test_journal_marked_free_is_refused),
		cmocka_unit_test(test_wrong_checksum_is_refused),
		cmocka_unit_test(test_external_journal_is_refused),
		cmocka_unit_test(test_every_failing_read),
		cmocka_unit_test(test_crafted_superblocks),
		cmocka_unit_test(test_too_many_groups_is_refused),
		cmocka_unit_test(test_8_tib),
		cmocka_unit_test(test_very_fragmented),
	};

	/* For tests/root/fs_ext_test.sh. */
	if (argc == 4 && strcmp(argv[1], "--copy") == 0)
		return ext_copy_main(argv[2], argv[3]);
	return cmocka_run_group_tests_name("fs_ext", tests, setup, NULL);
}
