/*
 * What the Btrfs map must refuse: each check broken by one edit of a real file system, its
 * checksums made right again; and every field of the superblock and of the trees set to nonsense.
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

#include <cmocka.h>

#include "base/mem.h"
#include "btrfs_helper.h"
#include "device/dev_ops.h"

#define SUPER 65536
#define SUPER_2 (64 * MIB)
#define SUPER_BYTES 4096
#define HEADER 0x65
#define BLOCK_MAX 65536

enum tree { ROOT = 1, EXTENT = 2, CHUNK = 3, DEV = 4, SPACE = 10 };

static struct btrfs_volume volume;
static struct map *good;

static void assert_refused(const char *word, const char *what)
{
	struct fs_report r;
	struct err e;
	struct map *m = btrfs_map(&volume, &r, &e);

	if (m != NULL)
		fail_msg("%s: it was taken", what);
	if (strstr(e.msg, word) == NULL)
		fail_msg("%s: '%s' is not in: %s", what, word, e.msg);
}

/* What was patched is undone: the map is the old one again. */
static void assert_good_again(void)
{
	struct fs_report r;
	struct err e;
	struct map *m = btrfs_map(&volume, &r, &e);

	if (m == NULL)
		fail_msg("%s", e.msg);
	ext_assert_equal_maps(m, good, "undone");
	map_free(m);
}

/* ---- The superblock ---------------------------------------------------------------------- */

struct super_patch {
	unsigned off, len; /* len 1, 2, 4 or 8 */
	uint64_t value;	   /* xor */
	const char *word;
};

static void xor_value(uint8_t *p, unsigned len, uint64_t value)
{
	for (unsigned i = 0; i < len; i++)
		p[i] ^= (uint8_t)(value >> 8 * i);
}

static void test_superblock_is_refused(void **state)
{
	static const struct super_patch patches[] = {
		{ 0x30, 8, 0x10000, "bytenr" },
		{ 0x38, 8, 0x4, "marked as having errors" },
		{ 0x38, 8, (uint64_t)1 << 32, "a seed device" },
		{ 0x38, 8, (uint64_t)1 << 33, "unknown superblock flag 0x200000000" },
		{ 0x40, 8, 1, "magic" },
		{ 0xac, 8, 0x1, "unknown feature bit 0x1 in compat" },
		{ 0xb4, 8, 0x10, "unknown feature bit 0x10 in compat_ro" },
		{ 0xb4, 8, (uint64_t)1 << 63,
			"unknown feature bit 0x8000000000000000 in compat_ro" },
		{ 0xbc, 8, 0x1000, "feature zoned is not supported" },
		{ 0xbc, 8, 0x2000, "feature extent_tree_v2 is not supported" },
		{ 0xbc, 8, 0x4000, "feature raid_stripe_tree is not supported" },
		{ 0xbc, 8, 0x10000, "feature simple_quota is not supported" },
		{ 0xbc, 8, 0x20000, "feature remap_tree is not supported" },
		{ 0xbc, 8, 0x8000, "unknown feature bit 0x8000 in incompat" },
		{ 0xbc, 8, 0x4, "type 0x4 with 1 stripes" }, /* mixed_groups: its chunks are not */
		{ 0xbc, 8, 0x400, "another" },		     /* metadata_uuid, which is zeros */
		{ 0xb4, 8, 0x8, "in the wrong tree" },
		{ 0xc4, 2, 0x9, "unknown checksum type 9" },
		{ 0xc4, 2, 0x1, "checksum of the superblock" },
		{ 0x88, 8, 0x3, "a file system of 2 devices" },
		{ 0x20, 1, 0x1, "belongs to another file system" },
		{ 0xc9 + 82, 1, 0x1, "belongs to another file system" },
		{ 0x90, 4, 0x1000 ^ 0x800, "sectorsize" },
		{ 0x90, 4, 0x1000 ^ 0x1800, "sectorsize" },
		{ 0x90, 4, 0x1000 ^ 0x20000, "sectorsize" },
		{ 0x94, 4, 0x1000 ^ 0x800, "nodesize" },
		{ 0x94, 4, 0x1000 ^ 0x20000, "nodesize" },
		{ 0x98, 4, 0x1, "leafsize" },
		{ 0xc6, 1, 0x8, "level of a root" },
		{ 0xc7, 1, 0x88, "level of a root" },
		{ 0xc6, 1, 0x1, "wrong level" },
		{ 0x48, 8, (uint64_t)1 << 40, "wrong generation" },
		{ 0xa4, 8, (uint64_t)1 << 40, "generation" },
		{ 0xa0, 4, 0x1000, "sys_chunk_array_size" },
		{ 0xa0, 4, 0x1, "chunks of the superblock" },
		{ 0xc9 + 8, 8, (uint64_t)1 << 40, "larger than the device" },
		{ 0x70, 8, (uint64_t)1 << 20, "total_bytes" },
		{ 0x78, 8, (uint64_t)1 << 50, "bytes_used" },
		{ 0x78, 8, 0x1000, "bytes are in use, the superblock says" },
		{ 0xc9 + 16, 8, 0x1000, "its sizes are not those of the superblock" },
		{ 0xc9, 8, 0x2, "on another device" },
		{ 0xc9 + 66, 1, 0x1, "on another device" },
		{ 0x50, 8, (uint64_t)1 << 60, "not inside a chunk" },
		{ 0x50, 8, 0x800, "not inside a chunk" },
		{ 0x58, 8, (uint64_t)1 << 60, "not inside a chunk" },
		{ 0x60, 8, (uint64_t)1 << 60, "not inside a chunk" }, /* log_root */
		{ 0x60, 8, 0x500000, "tree -6" },
		{ 0x32b + 17 + 24, 1, 0x10, "type 0x12 with 1 stripes" }, /* RAID1 */
		{ 0x32b + 17 + 48 + 8, 4, 0x1000, "tree 3" },
		{ 0x32b + 8, 1, 0x1, "not a system chunk" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(patches); i++) {
		const struct super_patch *p = &patches[i];
		uint8_t b[SUPER_BYTES];
		char what[64];

		memcpy(b, volume.bytes + SUPER, sizeof(b));
		xor_value(b + p->off, p->len, p->value);
		btrfs_put(&volume, SUPER, b, sizeof(b), p->off != 0xc4);
		snprintf(what, sizeof(what), "superblock, offset 0x%x", p->off);
		assert_refused(p->word, what);
		btrfs_undo(&volume, SUPER, sizeof(b));
	}
	assert_good_again();
}

/* A copy may be older, and nothing else. */
static void test_copies(void **state)
{
	uint8_t b[SUPER_BYTES];

	(void)state;
	memcpy(b, volume.bytes + SUPER_2, sizeof(b));
	put_le64(b + 0x48, get_le64(b + 0x48) - 1);
	btrfs_put(&volume, SUPER_2, b, sizeof(b), true);
	assert_good_again();
	put_le64(b + 0x48, get_le64(b + 0x48) + 2);
	btrfs_put(&volume, SUPER_2, b, sizeof(b), true);
	assert_refused("copy at 67108864: bad superblock: generation", "newer");
	memcpy(b, volume.bytes + SUPER_2, sizeof(b));
	b[0x25] ^= 1;
	btrfs_put(&volume, SUPER_2, b, sizeof(b), true);
	assert_refused("copy at 67108864: bad superblock: another file system", "of another");
	b[0x25] ^= 1;
	b[100] ^= 1;
	btrfs_put(&volume, SUPER_2, b, sizeof(b), false);
	assert_refused("copy at 67108864: the checksum", "damaged");
	btrfs_undo(&volume, SUPER_2, sizeof(b));
	assert_good_again();
}

/* ---- Tree blocks ------------------------------------------------------------------------- */

/* Any byte of any block of any tree that is read. */
static void test_wrong_checksum_is_refused(void **state)
{
	static const uint64_t trees[] = { ROOT, EXTENT, CHUNK, DEV, SPACE };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(trees); i++) {
		uint64_t at = btrfs_block(&volume, trees[i], 0);
		uint8_t b[4096];

		for (size_t byte = 0; byte < sizeof(b); byte += 97) {
			if (byte >= 4 && byte < 32)
				continue; /* the part of the checksum's field that is not used */
			memcpy(b, volume.bytes + at, sizeof(b));
			b[byte] ^= 0x20;
			btrfs_put(&volume, at, b, sizeof(b), false);
			assert_refused("wrong checksum", "a flipped bit");
		}
		btrfs_undo(&volume, at, sizeof(b));
	}
	assert_good_again();
}

struct block_patch {
	uint64_t tree;
	unsigned level;
	/* Where: an item's data (type, number, offset in it), its head (negative offset from 0 on
	 * for the key), or, with type 0, the block's header. */
	uint8_t type, item;
	bool head;
	unsigned off, len;
	uint64_t value; /* xor */
	const char *word;
};

#define GROUP 192

static const struct block_patch block_patches[] = {
	/* Headers. */
	{ EXTENT, 0, 0, 0, false, 0x20, 1, 1, "of another file system" },
	{ EXTENT, 0, 0, 0, false, 0x30, 8, 0x1000, "wrong address" },
	{ EXTENT, 0, 0, 0, false, 0x38, 1, 1, "unknown flags" },
	{ EXTENT, 0, 0, 0, false, 0x39, 1, 1, "unknown flags" },
	{ EXTENT, 0, 0, 0, false, 0x3f, 1, 1, "unknown flags" },
	{ EXTENT, 0, 0, 0, false, 0x50, 8, 0x10, "wrong generation" },
	{ EXTENT, 0, 0, 0, false, 0x58, 8, 0x8, "of another tree" },
	{ EXTENT, 0, 0, 0, false, 0x64, 1, 1, "wrong level" },
	{ EXTENT, 0, 0, 0, false, 0x60, 4, 0x10000, "wrong number of items" },
	{ EXTENT, 1, 0, 0, false, 0x60, 4, 0x10000, "wrong number of items" },
	{ EXTENT, 0, 0, 0, false, HEADER, 8, 0x1000, "its first key is not what its parent says" },
	{ EXTENT, 0, 0, 0, false, HEADER + 17, 4, 0x1, "an item lies outside it" },
	{ EXTENT, 0, 0, 0, false, HEADER + 21, 4, 0x80000000, "an item lies outside it" },
	/* Pointers of a node: key, block, generation. */
	{ EXTENT, 1, 0, 0, false, HEADER + 33 + 6, 1, 0x80, "its first key" },
	{ EXTENT, 1, 0, 0, false, HEADER + 17 + 7, 1, 0x80, "not inside a chunk" },
	{ EXTENT, 1, 0, 0, false, HEADER + 25 + 6, 1, 0x80, "a newer block hangs below it" },
	/* Chunks and the device. */
	{ CHUNK, 0, 216, 0, false, 8, 8, 0x1000, "its sizes are not those of the superblock" },
	{ CHUNK, 0, 216, 0, false, 16, 8, 0x1000, "its sizes are not those of the superblock" },
	{ CHUNK, 0, 216, 0, false, 66, 1, 1, "another device" },
	{ CHUNK, 0, 216, 0, false, 82, 1, 1, "another device" },
	{ CHUNK, 0, 216, 0, true, 8, 1, 1, "of unknown type" },
	{ CHUNK, 0, 228, 1, false, 0, 8, 0x800, "bad size" },
	{ CHUNK, 0, 228, 1, false, 0, 8, (uint64_t)1 << 63, "outside the device" },
	{ CHUNK, 0, 228, 0, false, 0, 8, 0x600000, "is not in the chunk tree" },
	{ CHUNK, 0, 228, 1, false, 0, 8, 0x400000, "" },
	{ CHUNK, 0, 228, 1, false, 8, 8, 1, "not a chunk as we know them" },
	{ CHUNK, 0, 228, 1, false, 16, 8, 0x30000, "not a chunk as we know them" },
	{ CHUNK, 0, 228, 1, false, 24, 8, 0x10, "type 0x14 with 1 stripes" },
	{ CHUNK, 0, 228, 1, false, 24, 8, 0x20, "type 0x24 with 1 stripes" },
	{ CHUNK, 0, 228, 1, false, 24, 8, 0x80, "type 0x84 with 1 stripes" },
	{ CHUNK, 0, 228, 1, false, 24, 8, 0x4, "type 0x0 with 1 stripes" },
	{ CHUNK, 0, 228, 1, false, 24, 8, 0x1, "type 0x5 with 1 stripes" },
	{ CHUNK, 0, 228, 1, false, 44, 2, 0x3, "type 0x4 with 2 stripes" },
	{ CHUNK, 0, 228, 1, false, 48, 8, 0x2, "on another device" },
	{ CHUNK, 0, 228, 1, false, 64, 1, 0x1, "on another device" },
	{ CHUNK, 0, 228, 1, false, 56, 8, 0x800, "outside the device" },
	{ CHUNK, 0, 228, 1, false, 56, 8, (uint64_t)1 << 40, "outside the device" },
	{ CHUNK, 0, 228, 2, false, 56, 8, 0x1000, "no such stripe of a chunk" },
	/* Device extents. */
	{ DEV, 0, 204, 1, false, 0, 8, 1, "not an extent as we know them" },
	{ DEV, 0, 204, 1, false, 8, 8, 1, "not an extent as we know them" },
	{ DEV, 0, 204, 1, false, 16, 8, 0x1000, "no such stripe of a chunk" },
	{ DEV, 0, 204, 1, false, 24, 8, 0x1000, "no such stripe of a chunk" },
	{ DEV, 0, 204, 1, false, 24, 8, (uint64_t)1 << 63, "lies outside the device" },
	{ DEV, 0, 204, 1, true, 9, 8, 0x1000, "no such stripe of a chunk" },
	{ DEV, 0, 204, 2, true, 8, 1, 0x1, "of unknown type" },
	/* Roots. */
	{ ROOT, 0, 132, 0, false, 176, 8, (uint64_t)1 << 60, "not inside a chunk" },
	{ ROOT, 0, 132, 0, false, 160, 8, (uint64_t)1 << 60, "a generation that is to come" },
	{ ROOT, 0, 132, 0, false, 238, 1, 0x7, "wrong level" },
	{ ROOT, 0, 132, 0, false, 238, 1, 0x80, "wrong level" },
	/* Extents: the leaf that is found holds those of data. */
	{ EXTENT, 0, 168, 0, false, 16, 8, 0x4, "unknown flags" },
	{ EXTENT, 0, 168, 0, false, 16, 8, 0x1 ^ 0x2, "a tree block where none can be" },
	{ EXTENT, 0, 168, 0, false, 8, 8, (uint64_t)1 << 40, "a generation that is to come" },
	{ EXTENT, 0, 168, 1, true, 9, 8, 0x800, "bad size" },
	{ EXTENT, 0, 168, 1, true, 9, 8, (uint64_t)1 << 40, "not inside a chunk" },
	{ EXTENT, 0, 168, 1, true, 8, 1, 168 ^ 169, "data where none can be" },
	{ EXTENT, 0, 168, 1, true, 8, 1, 168 ^ 180, "of unknown type" },
	{ EXTENT, 0, 168, 1, true, 8, 1, 168 ^ 178, "refers to no extent" },
	/* The free space tree. */
	{ SPACE, 0, 199, 0, true, 9, 8, 0x3000, "the free space tree has" },
	{ SPACE, 0, 199, 0, true, 9, 8, 0x800, "does not fit its block group" },
	{ SPACE, 0, 199, 0, true, 8, 1, 199 ^ 200, "does not fit its block group" },
	{ SPACE, 0, 199, 0, true, 8, 1, 199 ^ 201, "of unknown type" },
	{ SPACE, 0, 199, 2, true, 9, 8, (uint64_t)1 << 62, "does not fit its block group" },
	{ SPACE, 0, 198, 1, true, 9, 8, 0x1000, "" },
};

static void test_edited_blocks_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(block_patches); i++) {
		const struct block_patch *p = &block_patches[i];
		uint64_t at = btrfs_block(&volume, p->tree, p->level);
		size_t off = 0, head = 0;
		uint8_t b[4096];
		char what[64];

		memcpy(b, volume.bytes + at, sizeof(b));
		if (p->type != 0)
			off = btrfs_item(b, p->type, p->item, &head);
		xor_value(b + (p->head ? head : off) + p->off, p->len, p->value);
		btrfs_put(&volume, at, b, sizeof(b), true);
		snprintf(what, sizeof(what), "patch %zu of tree %" PRIu64, i, p->tree);
		assert_refused(p->word, what);
		btrfs_undo(&volume, at, sizeof(b));
	}
	assert_good_again();
}

/* Equal keys, in a leaf and in a node. */
static void test_keys_out_of_order(void **state)
{
	(void)state;
	for (unsigned level = 0; level < 2; level++) {
		uint64_t at = btrfs_block(&volume, EXTENT, level);
		size_t step = level == 0 ? 25 : 33;
		uint8_t b[4096];

		memcpy(b, volume.bytes + at, sizeof(b));
		memcpy(b + HEADER + step, b + HEADER, 17);
		btrfs_put(&volume, at, b, sizeof(b), true);
		assert_refused("keys are not in order", "equal");
		btrfs_undo(&volume, at, sizeof(b));
	}
	assert_good_again();
}

/* A block group that says something else than its extents; found wherever its leaf is. */
static void test_block_group_counts(void **state)
{
	const uint8_t *fsid = volume.bytes + SUPER + 0x20;
	uint64_t generation = get_le64(volume.bytes + btrfs_block(&volume, EXTENT, 1) + 0x50);
	unsigned found = 0;

	(void)state;
	for (uint64_t at = MIB; at < volume.len; at += 4096) {
		const uint8_t *leaf = volume.bytes + at;

		if (memcmp(leaf + 0x20, fsid, 16) != 0 || get_le64(leaf + 0x58) != EXTENT ||
			leaf[0x64] != 0 || get_le64(leaf + 0x50) != generation)
			continue;
		for (uint32_t i = 0; i < get_le32(leaf + 0x60); i++) {
			size_t head = HEADER + (size_t)i * 25;
			size_t data = HEADER + get_le32(leaf + head + 17);
			uint8_t b[4096];

			if (leaf[head + 8] != GROUP)
				continue;
			found++;
			memcpy(b, leaf, sizeof(b));
			b[data + 1] ^= 0x10;
			btrfs_put(&volume, at, b, sizeof(b), true);
			assert_refused("bytes are in use, it says", "used");
			memcpy(b, leaf, sizeof(b));
			b[data + 16] ^= 0x7;
			btrfs_put(&volume, at, b, sizeof(b), true);
			assert_refused("no such chunk", "flags");
			memcpy(b, leaf, sizeof(b));
			b[head + 9 + 2] ^= 0x10;
			btrfs_put(&volume, at, b, sizeof(b), true);
			assert_refused(i > 0 ? "no such chunk" : "first key", "length");
			btrfs_undo(&volume, at, sizeof(b));
		}
	}
	assert_int_equal(found, 3);
	assert_good_again();
}

/* Where the other copy of a tree block lies, byte for byte the same. */
static uint64_t copy_of(uint64_t at)
{
	for (uint64_t k = MIB; k + volume.node_bytes <= volume.len; k += 4096)
		if (k != at && memcmp(volume.bytes + k, volume.bytes + at, volume.node_bytes) == 0)
			return k;
	fail_msg("the block at %" PRIu64 " has no copy", at);
	return 0;
}

static void put_copies(uint64_t at, uint64_t copy, uint8_t *block)
{
	btrfs_put(&volume, at, block, volume.node_bytes, true);
	btrfs_put(&volume, copy, block, volume.node_bytes, true);
}

/*
 * LESSONS 23: block groups in a tree of their own. The mkfs.btrfs of Debian 12 can't make one, so
 * it is the corpus's, with two copies of each block.
 */
static void test_block_group_tree(void **state)
{
	const uint64_t tree = 11;
	struct fs_report r;
	struct map *m, *want = btrfs_dumped_map("groups");
	struct btrfs_volume saved = volume;
	uint8_t b[BLOCK_MAX], super[SUPER_BYTES];
	uint64_t at, copy;
	size_t data;
	struct err e;

	(void)state;
	btrfs_open(&volume, "groups");
	m = btrfs_map(&volume, &r, &e);
	if (m == NULL)
		fail_msg("%s", e.msg);
	ext_assert_equal_maps(m, want, "block group tree");
	map_free(m);
	at = btrfs_block(&volume, tree, 0);
	copy = copy_of(at);

	memcpy(b, volume.bytes + at, volume.node_bytes);
	data = btrfs_item(b, GROUP, 0, NULL);
	b[data + 1] ^= 0x10;
	put_copies(at, copy, b);
	assert_refused("bytes are in use, it says", "used");
	memcpy(b, volume.bytes + at, volume.node_bytes);
	b[0x60]--;
	put_copies(at, copy, b);
	assert_refused("has no block group", "one is missing");
	memcpy(b, volume.bytes + at, volume.node_bytes);
	b[HEADER + 8] ^= 1;
	put_copies(at, copy, b);
	assert_refused("block group tree: item", "type");
	btrfs_undo(&volume, 0, volume.len);

	memcpy(super, volume.bytes + SUPER, sizeof(super));
	super[0xb4] ^= 0x8;
	btrfs_put(&volume, SUPER, super, sizeof(super), true);
	assert_refused("has no block group", "no such feature");
	btrfs_close(&volume);
	map_free(want);
	volume = saved;
}

/* Free space of a fragmented block group is a bitmap; only the kernel makes these. */
static void test_free_space_bitmap(void **state)
{
	struct map *want = btrfs_dumped_map("aged"), *m;
	struct btrfs_volume saved = volume;
	struct fs_report r;
	uint8_t b[BLOCK_MAX];
	size_t data, head;
	uint64_t at;
	struct err e;

	(void)state;
	btrfs_open(&volume, "aged");
	m = btrfs_map(&volume, &r, &e);
	if (m == NULL)
		fail_msg("%s", e.msg);
	ext_assert_equal_maps(m, want, "bitmaps");
	map_free(m);
	at = btrfs_block(&volume, SPACE, 0);
	data = btrfs_item(volume.bytes + at, 200, 0, &head);
	for (unsigned i = 0; i < 20; i++) {
		memcpy(b, volume.bytes + at, volume.node_bytes);
		b[data + i] ^= (uint8_t)(1u << i % 8);
		btrfs_put(&volume, at, b, volume.node_bytes, true);
		assert_refused("the free space tree has", "a flipped bit");
	}
	memcpy(b, volume.bytes + at, volume.node_bytes);
	b[head + 10] ^= 0x80; /* half a bitmap more */
	btrfs_put(&volume, at, b, volume.node_bytes, true);
	assert_refused("free space tree: item", "length");
	btrfs_close(&volume);
	map_free(want);
	volume = saved;
}

/*
 * A device that is being replaced, or one with the work suspended. The item that says so is made of
 * the error statistics, which the kernel leaves and which are as long.
 */
static void test_replace(void **state)
{
	static const bool refused[] = { false, true, false, false, true, true };
	struct btrfs_volume saved = volume;
	struct fs_report r;
	struct err e;

	(void)state;
	btrfs_open(&volume, "aged");
	for (uint8_t i = 0; i < COUNT_OF(refused); i++) {
		uint64_t at = btrfs_block(&volume, DEV, 0);
		uint8_t b[BLOCK_MAX];
		size_t head, data;

		memcpy(b, volume.bytes + at, volume.node_bytes);
		data = btrfs_item(b, 249, 0, &head);
		b[head + 8] = 250;
		b[data + 32] = i;
		btrfs_put(&volume, at, b, volume.node_bytes, true);
		if (refused[i]) {
			assert_refused("a device is being replaced", "state");
		} else {
			struct map *m = btrfs_map(&volume, &r, &e);

			if (m == NULL)
				fail_msg("state %u: %s", i, e.msg);
			map_free(m);
		}
	}
	btrfs_close(&volume);
	volume = saved;
}

/* Edit one block of a log tree in every way that must be refused; returns its file extents. */
static unsigned edit_log_block(uint64_t at)
{
	const uint8_t *old = volume.bytes + at;
	uint64_t copy = copy_of(at);
	unsigned extents = 0;
	uint8_t b[BLOCK_MAX];

	memcpy(b, old, volume.node_bytes);
	b[0x50]++;
	put_copies(at, copy, b);
	assert_refused("wrong generation", "log");
	memcpy(b, old, volume.node_bytes);
	b[0x58] ^= 1;
	put_copies(at, copy, b);
	assert_refused("of another tree", "log");
	for (uint32_t i = 0; i < get_le32(old + 0x60); i++) {
		size_t head = HEADER + (size_t)i * 25;
		size_t data = HEADER + get_le32(old + head + 17);

		memcpy(b, old, volume.node_bytes);
		b[head + 8] = 2; /* no type has this number */
		put_copies(at, copy, b);
		assert_refused("", "log, type of an item");
		if (old[head + 8] != 108 || old[data + 20] == 0 || get_le64(old + data + 21) == 0)
			continue;
		extents++;
		memcpy(b, old, volume.node_bytes);
		b[data + 20] = 3;
		put_copies(at, copy, b);
		assert_refused("log tree: item", "log, type of an extent");
		b[data + 20] = 1;
		b[data + 21 + 6] ^= 1;
		put_copies(at, copy, b);
		assert_refused("not inside a chunk of data", "log, place");
		b[data + 21 + 6] ^= 1;
		put_le64(b + data + 29, UINT64_MAX - 4095);
		put_copies(at, copy, b);
		assert_refused("not inside a chunk of data", "log, length");
	}
	put_copies(at, copy, volume.bytes + at);
	return extents;
}

/* Log trees of an fsync: all of them is kept, nothing about them may be wrong. */
static void test_log_trees(void **state)
{
	struct map *want = btrfs_dumped_map("logged"), *m;
	struct btrfs_volume saved = volume;
	unsigned blocks = 0, extents = 0;
	struct fs_report r;
	struct err e;

	(void)state;
	btrfs_open(&volume, "logged");
	m = btrfs_map(&volume, &r, &e);
	if (m == NULL)
		fail_msg("%s", e.msg);
	assert_string_equal(r.note, "log trees of the last fsync are to be replayed");
	ext_assert_equal_maps(m, want, "log trees");
	map_free(m);
	/* Free space of the corpus is zeros: what looks like a block of a log is one. */
	for (uint64_t at = MIB; at < volume.len; at += 4096) {
		const uint8_t *b = volume.bytes + at;

		if (memcmp(b + 0x20, volume.bytes + SUPER + 0x20, 16) != 0 ||
			get_le64(b + 0x58) != (uint64_t)-6)
			continue;
		assert_int_equal(map_run(want, at, NULL).kind, MAP_DATA);
		blocks++;
		extents += edit_log_block(at);
	}
	/* The tree of logs and the logs of two subvolumes, twice. */
	assert_true(blocks >= 6);
	assert_true(extents >= 10);
	btrfs_close(&volume);
	map_free(want);
	volume = saved;
}

/*
 * LESSONS 23: the chunk tree's block, of which nothing is left in the extent tree: an extent of the
 * same size stands elsewhere, so that all sums are right. Without a free space tree only the look
 * at what was read finds it.
 */
static void test_tree_block_in_no_extent(void **state)
{
	struct btrfs_volume saved = volume;
	uint64_t chunk_root, at, generation;
	struct map *m;
	unsigned moved = 0;
	struct fs_report r;
	struct err e;

	(void)state;
	btrfs_make("bare", "72M", "-n 4096 -m single -R ^free-space-tree");
	btrfs_open(&volume, "bare");
	m = btrfs_map(&volume, &r, &e);
	assert_non_null(m);
	map_free(m);
	chunk_root = get_le64(volume.bytes + SUPER + 0x58);
	generation = get_le64(volume.bytes + btrfs_block(&volume, EXTENT, 0) + 0x50);
	for (at = MIB; at + 4096 <= volume.len; at += 4096) {
		const uint8_t *old = volume.bytes + at;
		uint8_t b[4096];

		if (memcmp(old + 0x20, volume.bytes + SUPER + 0x20, 16) != 0 || old[0x64] != 0 ||
			get_le64(old + 0x58) != EXTENT || get_le64(old + 0x50) != generation)
			continue;
		memcpy(b, old, sizeof(b));
		for (uint32_t i = 0; i < get_le32(b + 0x60); i++) {
			uint8_t *key = b + HEADER + (size_t)i * 25;

			if (get_le64(key) != chunk_root || key[8] != 169)
				continue;
			put_le64(key, chunk_root + 8 * 4096); /* free, and in the same chunk */
			moved++;
		}
		btrfs_put(&volume, at, b, sizeof(b), true);
	}
	assert_int_equal(moved, 1);
	assert_refused("is in no extent", "chunk tree");
	btrfs_close(&volume);
	volume = saved;
}

/* A device that commits a new superblock as soon as anything else was read. */
struct busy {
	struct dev dev;
	struct dev *under;
	uint8_t newer[SUPER_BYTES];
};

static int busy_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct busy *b = (struct busy *)d;

	if (off != SUPER)
		assert_int_equal(dev_write(b->under, SUPER, b->newer, SUPER_BYTES, NULL), 0);
	return dev_read(b->under, off, buf, len, e);
}

static void busy_close(struct dev *d)
{
	dev_fini(d);
}

static void test_change_while_reading(void **state)
{
	static const struct dev_ops ops = {
		.kind = "busy",
		.any_align = true,
		.read = busy_read,
		.close = busy_close,
	};
	struct btrfs_volume saved = volume;
	struct busy busy = { .under = volume.dev };

	(void)state;
	assert_int_equal(dev_init(&busy.dev, &ops, "busy", NULL), 0);
	busy.dev.info.size_bytes = volume.len;
	memcpy(busy.newer, volume.bytes + SUPER, SUPER_BYTES);
	volume.dev = &busy.dev;
	assert_good_again();	/* the same once more is no change */
	busy.newer[0x12b] ^= 1; /* the label */
	assert_refused("changed while it was read", "a commit meanwhile");
	dev_close(&busy.dev);
	volume = saved;
}

/* ---- Sweeps ------------------------------------------------------------------------------ */

/* Taken or refused; but what is taken is never another map than the true one. */
static void assert_refused_or_same(const char *what, size_t off)
{
	struct fs_report r;
	struct err e;
	struct map *m = btrfs_map(&volume, &r, &e);
	char where[64];

	if (m == NULL)
		return;
	snprintf(where, sizeof(where), "%s, offset %zu", what, off);
	ext_assert_equal_maps(m, good, where);
	map_free(m);
}

static void sweep(uint64_t at, size_t from, size_t to, const char *what)
{
	static const uint16_t values[] = { 0, 1, 0x1000, 0x7fff, 0xffff };
	uint8_t b[4096];

	for (size_t off = from; off + 4 <= to; off += 2) {
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			memcpy(b, volume.bytes + at, sizeof(b));
			put_le16(b + off, values[i]);
			if (i % 2) /* the high half too, where both are one number */
				put_le16(b + off + 2, values[i]);
			btrfs_put(&volume, at, b, sizeof(b), true);
			assert_refused_or_same(what, off);
		}
	}
	btrfs_undo(&volume, at, sizeof(b));
}

static void test_sweep_superblock(void **state)
{
	(void)state;
	sweep(SUPER, 32, 0x12b, "superblock");
	sweep(SUPER, 0x22b, 0x32b + 200, "superblock");
	assert_good_again();
}

static void sweep_tree(uint64_t tree, unsigned level, const char *what)
{
	uint64_t at = btrfs_block(&volume, tree, level);
	uint32_t count = get_le32(volume.bytes + at + 0x60);
	size_t end = HEADER + count * (level == 0 ? 25 : 33), data = 4096;

	if (level == 0)
		data = HEADER + get_le32(volume.bytes + at + end - 8);
	sweep(at, 32, end, what);
	sweep(at, data, 4096, what);
}

static void test_sweep_trees(void **state)
{
	struct rusage u;

	(void)state;
	sweep_tree(CHUNK, 0, "chunk tree");
	sweep_tree(DEV, 0, "device tree");
	sweep_tree(EXTENT, 1, "extent tree's root");
	sweep_tree(EXTENT, 0, "extent tree's leaf");
	sweep_tree(ROOT, 0, "root tree");
	sweep_tree(SPACE, 0, "free space tree");
	assert_good_again();
	getrusage(RUSAGE_SELF, &u);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(u.ru_maxrss < 512 * 1024);
#endif
}

/* What a failed test left must not fail the next. */
static int fresh(void **state)
{
	(void)state;
	btrfs_undo(&volume, 0, volume.len);
	return 0;
}

static int setup(void **state)
{
	static const char *const tools[] = { "mkfs.btrfs", "btrfs", "python3", "zstd", NULL };
	char groups[PATH_MAX], aged[PATH_MAX], logged[PATH_MAX];
	struct fs_report r;
	struct err e;

	(void)state;
	assert_non_null(realpath("tests/corpus/fs/btrfs-block-group-tree.img.zst", groups));
	assert_non_null(realpath("tests/corpus/fs/btrfs-single.img.zst", aged));
	assert_non_null(realpath("tests/corpus/fs/btrfs-log.img.zst", logged));
	ext_setup(tools);
	ext_must("zstd -dqc %s >groups && zstd -dqc %s >aged && zstd -dqc %s >logged", groups, aged,
		logged);
	btrfs_setup();
	/* One copy of everything, small blocks: the extent tree has two levels. */
	btrfs_make("fs", "72M", "-n 4096 -m single");
	btrfs_open(&volume, "fs");
	good = btrfs_map(&volume, &r, &e);
	return good != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	map_free(good);
	btrfs_close(&volume);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_superblock_is_refused, fresh),
		cmocka_unit_test_setup(test_copies, fresh),
		cmocka_unit_test_setup(test_wrong_checksum_is_refused, fresh),
		cmocka_unit_test_setup(test_edited_blocks_are_refused, fresh),
		cmocka_unit_test_setup(test_keys_out_of_order, fresh),
		cmocka_unit_test_setup(test_block_group_counts, fresh),
		cmocka_unit_test_setup(test_block_group_tree, fresh),
		cmocka_unit_test_setup(test_free_space_bitmap, fresh),
		cmocka_unit_test_setup(test_replace, fresh),
		cmocka_unit_test_setup(test_log_trees, fresh),
		cmocka_unit_test_setup(test_tree_block_in_no_extent, fresh),
		cmocka_unit_test_setup(test_change_while_reading, fresh),
		cmocka_unit_test_setup(test_sweep_superblock, fresh),
		cmocka_unit_test_setup(test_sweep_trees, fresh),
	};

	return cmocka_run_group_tests_name("fs_btrfs_hostile", tests, setup, teardown);
}
