/*
 * F2FS volumes that must be refused: features and states that are not understood, tables that do
 * not agree, a chain of nodes that a mount would follow; and every field of the superblock, the
 * checkpoint and the tables set to nonsense, with the checksums made right.
 */
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "f2fs_helper.h"

static struct f2fs_layout layout; /* of "good", which "fs" is a copy of */

static void renew(void)
{
	ext_must("cp --sparse=always good fs");
}

static void make_good(const char *options, const char *tree)
{
	f2fs_make("good", "104M", options, tree);
	f2fs_layout_of("good", &layout);
	renew();
}

static void assert_taken(const char *name)
{
	struct fs_report r;

	map_free(ext_map_of(name, &r));
	if (!r.used_only)
		fail_msg("%s", r.reason);
}

/* ---- The superblocks --------------------------------------------------------------------- */

struct patch {
	uint32_t offset;
	uint32_t value;
	const char *word;
};

static void test_superblock_is_refused(void **state)
{
	static const struct patch patches[] = {
		{ 2180, 0x0002, "feature blkzoned" },
		{ 2180, 0x0004, "feature atomic_write" },
		{ 2180, 0x8000, "unknown feature bit 0x8000" },
		{ 2180, 0x80000000, "unknown feature bit 0x80000000" },
		{ 8, 14, "" }, /* log_sectorsize, log_blocksize: libblkid, or we */
		{ 12, 4, "log_sectors_per_block" },
		{ 16, 14, "" },
		{ 20, 10, "log_blocks_per_seg" },
		{ 24, 0, "segs_per_sec" },
		{ 24, 1000000, "segs_per_sec" },
		{ 28, 0, "secs_per_zone" },
		{ 28, 1000, "secs_per_zone" },
		{ 36, 0x7fffffff, "larger than the device" },
		{ 40, 1, "larger than the device" },
		{ 44, 3, "section_count" },
		{ 48, 8, "segment_count" },
		{ 48, 0x800001, "segment_count" },
		{ 52, 3, "sit_blkaddr" },
		{ 56, 0, "nat_blkaddr" },
		{ 60, 4, "ssa_blkaddr" },
		{ 64, 2, "main_blkaddr" },
		{ 68, 0, "segment_count_main" },
		{ 72, 1, "segment0_blkaddr" },
		{ 76, 513, "cp_blkaddr" },
		{ 92, 0xffffffff, "main_blkaddr" },
		{ 1664, 504, "cp_payload" },
		{ 1664, 1, "cp_pack_start_sum" },
		{ 2200, '/' << 8, "more than one device" },
		{ 2796, 1, "marked as having errors" },
	};

	(void)state;
	make_good("", NULL);
	for (size_t i = 0; i < COUNT_OF(patches); i++) {
		uint32_t old = f2fs_peek32("good", F2FS_SUPER + patches[i].offset);

		f2fs_poke_super("fs", patches[i].offset, patches[i].value);
		ext_assert_refused("fs", patches[i].word);
		f2fs_poke_super("fs", patches[i].offset, old);
	}
	assert_taken("fs");
	/* Only the second copy. */
	f2fs_poke32("fs", F2FS_BLOCK + F2FS_SUPER + 1668, 1);
	ext_assert_refused("fs", "the two superblocks differ");
}

static void test_superblock_checksum(void **state)
{
	(void)state;
	make_good("-O extra_attr,inode_checksum,sb_checksum", NULL);
	assert_taken("fs");
	f2fs_poke32("fs", F2FS_SUPER + 1668, f2fs_peek32("fs", F2FS_SUPER + 1668) ^ 1);
	f2fs_poke32("fs", F2FS_BLOCK + F2FS_SUPER + 1668, f2fs_peek32("fs", F2FS_SUPER + 1668));
	ext_assert_refused("fs", ""); /* libblkid looks at it too */
	f2fs_fix_super("fs");
	assert_taken("fs");
	f2fs_poke_super("fs", 32, 3064);
	ext_assert_refused("fs", "");
}

/* ---- The checkpoint ---------------------------------------------------------------------- */

static uint32_t pack32(uint32_t off)
{
	return f2fs_peek32("good", (uint64_t)layout.pack * F2FS_BLOCK + off);
}

static void test_checkpoint_is_refused(void **state)
{
	uint32_t flags, logs;

	(void)state;
	make_good("", "tree");
	flags = pack32(0x84);
	logs = pack32(0x44);

	struct patch patches[] = {
		{ 0x84, flags & ~1u, "not cleanly unmounted" },
		{ 0x84, (flags & ~1u) | 0x20, "not cleanly unmounted" }, /* fastboot */
		{ 0x84, flags | 0x2, "orphan" },
		{ 0x84, flags | 0x8, "marked as having errors" },
		{ 0x84, flags | 0x10, "marked as having errors" },
		{ 0x84, flags | 0x800, "marked as having errors" },
		{ 0x84, flags | 0x1000, "disabled" },
		{ 0x84, flags | 0x2000, "disabled" },
		{ 0x84, flags | 0x4000, "change of size" },
		{ 0x84, flags | 0x8000, "unknown checkpoint flag 0x8000" },
		{ 0x84, flags | 0x80000000, "unknown checkpoint flag 0x80000000" },
		{ 0x84, flags | 0x400, "checksum_offset" }, /* another place for the bitmaps */
		{ 0x10, pack32(0x10) - 1, "blocks in use, the checkpoint says" },
		{ 0x10, pack32(0x10) + 1, "1 blocks are counted, but not in the segment table" },
		{ 0x14, 1, "are counted, but not in the segment table" },
		{ 0x20, pack32(0x20) + 1, "free segments" },
		{ 0x90, pack32(0x90) + 1, "nodes, the checkpoint says" },
		{ 0x24, layout.main_segments, "the segment of a log" },
		{ 0x24, pack32(0x28), "two logs are in segment" },
		{ 0x54, pack32(0x28), "two logs are in segment" },
		{ 0x44, (logs & 0xffff) | 512u << 16, "the next block of a log" },
		{ 0x44, logs & 0xffff0000, "but block 0 is in use" }, /* hot node log */
		{ 0xb0, 2, "alloc_type" },
		{ 0x9c, 63, "sit_ver_bitmap_bytesize" },
		{ 0x9c, 0xffffffff, "sit_ver_bitmap_bytesize" },
		{ 0xa0, 0xffffff80, "nat_ver_bitmap_bytesize" },
		{ 0x8c, 0, "cp_pack_start_sum" },
		{ 0x8c, 2, "cp_pack_start_sum" },
	};

	for (size_t i = 0; i < COUNT_OF(patches); i++) {
		uint32_t old = pack32(patches[i].offset);

		f2fs_poke_pack("fs", layout.pack, patches[i].offset, patches[i].value);
		ext_assert_refused("fs", patches[i].word);
		f2fs_poke_pack("fs", layout.pack, patches[i].offset, old);
	}
	assert_taken("fs");
}

/* A mount takes the later of two whole packs, and the other when one is torn. */
static void test_which_pack(void **state)
{
	uint32_t first, second;
	uint64_t version;
	uint8_t bytes[8];

	(void)state;
	make_good("", "tree");
	first = f2fs_peek32("fs", F2FS_SUPER + 76);
	second = first + F2FS_SEGMENT;
	/* The same in both; then the first one is later, and in use. */
	ext_must("dd if=fs of=fs bs=4096 count=%d skip=%" PRIu32 " seek=%" PRIu32
		 " conv=notrunc && cp --sparse=always fs good",
		F2FS_SEGMENT, layout.pack, layout.pack == first ? second : first);
	ext_peek("fs", (uint64_t)first * F2FS_BLOCK, bytes, sizeof(bytes));
	version = get_le64(bytes) + 5;
	assert_taken("fs");
	f2fs_poke_pack("fs", first, 0, (uint32_t)version);
	f2fs_poke_pack("fs", first, 0x84, pack32(0x84) & ~1u);
	ext_assert_refused("fs", "not cleanly unmounted");
	/* The second is later still, over the end of the numbers. */
	f2fs_poke_pack("fs", first, 0, 0xfffffffe);
	f2fs_poke_pack("fs", first, 4, 0xffffffff);
	f2fs_poke_pack("fs", second, 0, 1);
	f2fs_poke_pack("fs", second, 4, 0);
	assert_taken("fs");
	/* Its last block is of another version: it was torn. */
	f2fs_poke32("fs", ((uint64_t)second + layout.pack_blocks - 1) * F2FS_BLOCK, 2);
	f2fs_fix_pack("fs", second);
	ext_assert_refused("fs", "not cleanly unmounted");
	/* And the first has a wrong checksum. */
	f2fs_poke32("fs", (uint64_t)first * F2FS_BLOCK + 0x10, 1);
	ext_assert_refused("fs", "no valid checkpoint");
	/* Only the second is whole. */
	renew();
	f2fs_poke32("fs", (uint64_t)first * F2FS_BLOCK + 0x10, 1);
	assert_taken("fs");
	f2fs_poke_pack("fs", second, 0x88, 2);
	ext_assert_refused("fs", "no valid checkpoint");
}

/* ---- The tables -------------------------------------------------------------------------- */

static uint32_t segment_in_use(uint32_t type)
{
	for (uint32_t i = 0; i < layout.main_segments; i++) {
		uint32_t entry = f2fs_peek32("good", f2fs_sit_entry("good", i));

		if ((entry & 0x3ff) > 8 && (entry >> 10 & 0x3f) / 3 == type)
			return i;
	}
	fail_msg("no such segment");
	return 0;
}

static void add_to_segment(uint32_t segment, int blocks)
{
	uint64_t at = f2fs_sit_entry("fs", segment);

	f2fs_poke32("fs", at, f2fs_peek32("fs", at) + (uint32_t)blocks);
}

static void flip_in_segment(uint32_t segment, unsigned block)
{
	uint64_t at = f2fs_sit_entry("fs", segment) + 2 + block / 8;
	uint8_t byte;

	ext_peek("fs", at, &byte, 1);
	byte ^= (uint8_t)(0x80 >> block % 8);
	ext_poke("fs", at, &byte, 1);
}

static void test_segment_table_is_refused(void **state)
{
	uint32_t data, node;

	(void)state;
	make_good("", "tree");
	data = segment_in_use(0);
	node = segment_in_use(1);

	flip_in_segment(data, 3);
	ext_assert_refused("fs", "its bitmap has");
	/* With its counter made right the total is wrong: the nodes are asked. */
	add_to_segment(data, -1);
	ext_assert_refused("fs", "which is marked free");
	renew();
	/* A node's, with the total made right; then the number of nodes too: the node is missed. */
	flip_in_segment(node, 3);
	add_to_segment(node, -1);
	f2fs_poke_pack("fs", layout.pack, 0x10, pack32(0x10) - 1);
	ext_assert_refused("fs", "nodes, the checkpoint says");
	f2fs_poke_pack("fs", layout.pack, 0x90, pack32(0x90) - 1);
	ext_assert_refused("fs", "is marked free");
	renew();
	/* Types: none, and one of the other kind. */
	f2fs_poke32("fs", f2fs_sit_entry("fs", data),
		(f2fs_peek32("fs", f2fs_sit_entry("fs", data)) & 0xffff03ff) | 6 << 10);
	ext_assert_refused("fs", "its type is 6");
	renew();
	f2fs_poke32("fs", f2fs_sit_entry("fs", node),
		f2fs_peek32("fs", f2fs_sit_entry("fs", node)) & 0xffff03ff);
	ext_assert_refused("fs", "");
}

static void test_node_table_is_refused(void **state)
{
	uint32_t data;
	uint64_t at;

	(void)state;
	make_good("", "tree");
	data = segment_in_use(0);
	at = f2fs_nat_entry("fs", 5) + 5;
	f2fs_poke32("fs", at, 0);
	ext_assert_refused("fs", "the node table has");
	f2fs_poke32("fs", at, layout.main - 1);
	ext_assert_refused("fs", "node 5: its block");
	f2fs_poke32("fs", at, 0xffffffff);
	ext_assert_refused("fs", "is outside the main area");
	f2fs_poke32("fs", at, layout.main + layout.main_segments * F2FS_SEGMENT);
	ext_assert_refused("fs", "is outside the main area");
	f2fs_poke32("fs", at, layout.main + layout.main_segments * F2FS_SEGMENT - 1);
	ext_assert_refused("fs", "is marked free");
	f2fs_poke32("fs", at, layout.main + data * F2FS_SEGMENT + 1);
	ext_assert_refused("fs", "is in a segment of data");
	renew();
	/* One too many: an entry in another block, of a node that is there already. */
	f2fs_poke32("fs", f2fs_nat_entry("fs", 39000) + 5,
		f2fs_peek32("fs", f2fs_nat_entry("fs", 5) + 5));
	ext_assert_refused("fs", "the node table has");
}

static void test_journal_is_refused(void **state)
{
	uint64_t sit, nat;

	(void)state;
	make_good("", "tree");
	sit = f2fs_sit_journal("fs");
	nat = f2fs_nat_journal("fs");

	f2fs_poke32("fs", sit, 7);
	ext_assert_refused("fs", "the number of SIT entries in the journal is 7");
	f2fs_poke32("fs", sit, 1 | layout.main_segments << 16);
	f2fs_poke32("fs", sit + 6, 0);
	ext_assert_refused("fs", "a segment in the journal");
	/* Two empty entries of segment 0. */
	f2fs_poke32("fs", sit, 2);
	for (unsigned i = 0; i < 2 * 78; i += 4)
		f2fs_poke32("fs", sit + 2 + i, 0);
	ext_assert_refused("fs", "segment 0 is twice in the journal");
	renew();
	f2fs_poke32("fs", nat, 39);
	ext_assert_refused("fs", "the number of NAT entries in the journal is 39");
	f2fs_poke32("fs", nat, 1);
	f2fs_poke32("fs", nat + 2, 0xffffffff);
	ext_assert_refused("fs", "a node in the journal");
	f2fs_poke32("fs", nat, 2);
	f2fs_poke32("fs", nat + 2, 7);
	f2fs_poke32("fs", nat + 15, 7);
	ext_assert_refused("fs", "node 7 is twice in the journal");
	renew();
	/* A summary of nodes where one of data should be. */
	f2fs_poke32("fs", (uint64_t)layout.summaries * F2FS_BLOCK + 4091, 1);
	ext_assert_refused("fs", "not one of data");
}

/*
 * What an fsync leaves after the checkpoint of an unmount: a mount would follow it. The upper half
 * of the version is the checkpoint's checksum, or nothing. Without it, the block is data.
 */
static void test_roll_forward_is_refused(void **state)
{
	uint64_t at, footer;
	struct fs_report r;
	struct map *m;

	(void)state;
	make_good("", "tree");
	at = (uint64_t)layout.next_warm_node * F2FS_BLOCK;
	footer = at + F2FS_BLOCK - 24 + 12;
	m = ext_map_of("fs", &r);
	assert_int_equal(map_run(m, at, NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, at, NULL).len, F2FS_BLOCK);
	map_free(m);
	f2fs_poke32("fs", footer, pack32(0) - 1);
	assert_taken("fs");
	f2fs_poke32("fs", footer, pack32(0));
	ext_assert_refused("fs", "nodes newer than the last checkpoint");
	f2fs_poke32("fs", footer + 4, 0x12345678);
	ext_assert_refused("fs", "nodes newer than the last checkpoint");
}

/* ---- Nodes ------------------------------------------------------------------------------- */

#define POINTERS 0x168 /* of an inode without extra attributes */

/* The offset of the inode that has reserved blocks, and the first of its pointers to one. */
static uint64_t reserved_inode(uint64_t *pointer)
{
	for (uint32_t node = 3; node < 400; node++) {
		uint64_t at = (uint64_t)f2fs_node_block("good", node) * F2FS_BLOCK;

		for (uint64_t p = at + POINTERS; at > 0 && p < at + 4052; p += 4)
			if (f2fs_peek32("good", p) == 0xffffffff) {
				*pointer = p;
				return at;
			}
	}
	fail_msg("no reserved blocks");
	return 0;
}

/*
 * Where blocks are counted that have no place all nodes are read. The volume is a kernel's, from
 * the corpus, with a file that fallocate made room for.
 */
static void test_nodes_are_refused(void **state)
{
	uint64_t inode, pointer = 0;
	uint32_t free_block;

	ext_must("zstd -dcq %s/tests/corpus/fs/f2fs-reserved.img.zst >good", (char *)*state);
	f2fs_layout_of("good", &layout);
	renew();
	assert_taken("fs");
	inode = reserved_inode(&pointer);
	free_block = layout.main + layout.main_segments * F2FS_SEGMENT - 1;

	f2fs_poke32("fs", pointer, 0);
	ext_assert_refused("fs", "and files have");
	f2fs_poke32("fs", pointer, free_block);
	ext_assert_refused("fs", "which is marked free");
	f2fs_poke32("fs", pointer, free_block + 1);
	ext_assert_refused("fs", "which is outside the main area");
	f2fs_poke32("fs", pointer, layout.main - 1);
	ext_assert_refused("fs", "which is outside the main area");
	renew();
	/* i_inline: released blocks of compressed clusters; i_extra_isize; the node's number. */
	f2fs_poke32("fs", inode, f2fs_peek32("fs", inode) | 0x80000000);
	ext_assert_refused("fs", "released blocks");
	renew();
	f2fs_poke32("fs", inode + POINTERS, 0xffff);
	ext_assert_refused("fs", "no room for its attributes");
	f2fs_poke32("fs", inode + POINTERS, 3);
	ext_assert_refused("fs", "no room for its attributes");
	renew();
	f2fs_poke32("fs", inode + F2FS_BLOCK - 24, 77777);
	ext_assert_refused("fs", "should be node");
	renew();
	/* More nodes than can be read with profit. */
	f2fs_poke_pack("fs", layout.pack, 0x90, 0x7fffffff);
	ext_assert_refused("fs", "nodes, the checkpoint says");
}

/* ---- Nonsense in every field ------------------------------------------------------------- */

static const uint32_t values[] = { 0, 1, 0xffff, 0x7fffffff, 0xffffffff };

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

/* On a device on which absurd sizes have room: no crash, no hang, no balloon. */
static void test_crafted_superblocks(void **state)
{
	struct fs_report r;

	(void)state;
	make_good("-O extra_attr,inode_checksum,sb_checksum", NULL);
	ext_must("truncate -s 4T fs");
	for (uint32_t at = 0; at < 3072; at += 4) {
		uint32_t old = f2fs_peek32("good", F2FS_SUPER + at);

		/* Names, and devices that are not there: nothing reads them. */
		if ((at >= 124 && at < 1664) || (at >= 1668 && at < 2180) ||
			(at >= 2204 && at < 2744) || (at >= 2812 && at < 3064))
			continue;
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			f2fs_poke_super("fs", at, values[i]);
			map_free(ext_map_of("fs", &r));
		}
		f2fs_poke_super("fs", at, old);
	}
	assert_taken("fs");
	assert_true(peak_kib() < PEAK_KIB_MAX);
}

static void test_crafted_checkpoints(void **state)
{
	struct fs_report r;

	(void)state;
	make_good("", "tree");
	for (uint32_t at = 0; at < 0xc4; at += 4) {
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			f2fs_poke_pack("fs", layout.pack, at, values[i]);
			f2fs_fix_pack("fs", layout.pack);
			map_free(ext_map_of("fs", &r));
			if (at == 0x88 || at == 0xa4) /* checksums went to other places */
				renew();
			else
				f2fs_poke_pack("fs", layout.pack, at, pack32(at));
		}
	}
	assert_taken("fs");
}

/* Entries of the tables and of the journals: a map, if any, holds nothing that was in use. */
static void test_crafted_tables(void **state)
{
	uint64_t places[5];
	struct fs_report r;
	struct map *good, *m;

	(void)state;
	make_good("", "tree");
	places[0] = f2fs_sit_entry("fs", segment_in_use(0));
	places[1] = f2fs_sit_entry("fs", segment_in_use(1));
	places[2] = f2fs_nat_entry("fs", 3);
	places[3] = f2fs_sit_journal("fs");
	places[4] = f2fs_nat_journal("fs");
	good = ext_map_of("fs", &r);
	for (size_t k = 0; k < COUNT_OF(places); k++) {
		for (unsigned at = 0; at < 80; at += at < 12 ? 2 : 8) {
			uint32_t old = f2fs_peek32("good", places[k] + at);

			for (size_t i = 0; i < COUNT_OF(values); i++) {
				f2fs_poke32("fs", places[k] + at, values[i]);
				m = ext_map_of("fs", &r);
				ext_assert_free_within(m, good);
				map_free(m);
			}
			f2fs_poke32("fs", places[k] + at, old);
		}
	}
	assert_taken("fs");
	map_free(good);
}

static int setup(void **state)
{
	static char top[PATH_MAX];
	static const char *const tools[] = { "mkfs.f2fs", "sload.f2fs", "fsck.f2fs", "zstd", NULL };

	assert_non_null(getcwd(top, sizeof(top)));
	*state = top;
	ext_setup(tools);
	ext_make_tree("tree", 512);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_superblock_is_refused),
		cmocka_unit_test(test_superblock_checksum),
		cmocka_unit_test(test_checkpoint_is_refused),
		cmocka_unit_test(test_which_pack),
		cmocka_unit_test(test_segment_table_is_refused),
		cmocka_unit_test(test_node_table_is_refused),
		cmocka_unit_test(test_journal_is_refused),
		cmocka_unit_test(test_roll_forward_is_refused),
		cmocka_unit_test(test_nodes_are_refused),
		cmocka_unit_test(test_crafted_superblocks),
		cmocka_unit_test(test_crafted_checkpoints),
		cmocka_unit_test(test_crafted_tables),
	};

	return cmocka_run_group_tests_name("fs_f2fs_hostile", tests, setup, NULL);
}
