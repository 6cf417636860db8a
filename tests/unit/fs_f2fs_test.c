/*
 * F2FS without root: volumes by mkfs.f2fs and sload.f2fs with many features, compared with what
 * dump.f2fs says of every segment; copies that hold only the map's data, the rest garbage, checked
 * by fsck.f2fs and read by dump.f2fs; journals and the three places of the version bitmaps; failing
 * reads. What a kernel leaves is in tests/corpus/fs; hostile volumes are in fs_f2fs_hostile_test.c.
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
#include "f2fs_helper.h"

struct options {
	const char *size;
	const char *mkfs;
	bool filled;
};

static const struct options sets[] = {
	{ "64M", "", false }, /* journals in compact summaries */
	{ "104M", "", true }, { "104M", "-O ro", true },
	{ "104M", "-O ro,extra_attr,compression", true }, { "128M", "-s 2 -z 2", true },
	{ "128M", "-i", true }, /* both bitmaps behind the checksum */
	{ "128M", "-i", false }, { "104M", "-o 10 -a 0 -w 4096", true },
	{ "128M",
		"-O encrypt,verity,extra_attr,project_quota,quota,flexible_inline_xattr,"
		"inode_crtime,lost_found,inode_checksum,sb_checksum,casefold,compression -C utf8",
		false },
	{ "104M", "-O extra_attr,inode_checksum,sb_checksum,inode_crtime,lost_found", true },
	{ "109052416", "", true }, /* 512 bytes more than blocks */
	{ "20G", "", false },	   /* several blocks of the segment table */
};

static struct map *must_map(const char *name, struct fs_report *r, const char *what)
{
	struct map *m = ext_map_of(name, r);

	if (!r->used_only)
		fail_msg("%s: %s", what, r->reason);
	assert_string_equal(r->type, "f2fs");
	assert_string_equal(r->note, "");
	assert_int_equal(r->block_bytes, F2FS_BLOCK);
	return m;
}

/* R2, R3: free is exactly what dump.f2fs calls free, in the main area. */
static void compare_with_dump(const char *name, const char *what)
{
	struct fs_report r;
	struct map *got = must_map(name, &r, what), *want = f2fs_dumped_map(name, map_size(got));

	ext_assert_equal_maps(got, want, what);
	assert_true(r.free_bytes > 0);
	map_free(got);
	map_free(want);
}

static void test_against_dump(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sets); i++) {
		f2fs_make("fs", sets[i].size, sets[i].mkfs, sets[i].filled ? "tree" : NULL);
		compare_with_dump("fs", sets[i].mkfs);
	}
}

/* More files, by other runs, into other segments. */
static void test_aged(void **state)
{
	(void)state;
	f2fs_make("fs", "160M", "", "tree");
	for (int i = 0; i < 3; i++) {
		ext_must("rm -rf more && mkdir more && cp -r tree more/run%d && "
			 "sload.f2fs -f more fs && rm -rf more",
			i);
		compare_with_dump("fs", "aged");
	}
}

/* Only the data of the map, all else garbage: the file system is whole and every file there. */
static void test_restored_copy_is_whole(void **state)
{
	/* None with extra_attr: dump.f2fs reads small files at the wrong place there. */
	static const size_t chosen[] = { 1, 2, 4, 5 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(chosen); i++) {
		const struct options *o = &sets[chosen[i]];
		struct fs_report r;
		struct map *m;
		struct dev *d;

		f2fs_make("fs", o->size, o->mkfs, "small");
		d = ext_open("fs");
		m = ext_map_dev(d, &r);
		assert_true(r.used_only);
		ext_restore(d, m, "copy");
		dev_close(d);
		map_free(m);
		f2fs_check("copy");
		f2fs_compare_files("copy", "small");
	}
}

/* partclone keeps whole segments: what it leaves out is free here too. */
static void test_against_partclone(void **state)
{
	struct fs_report r;
	struct map *m;
	uint64_t used = 0, free_blocks = 0;
	char out[256];

	(void)state;
	f2fs_make("fs", "128M", "", "tree");
	m = must_map("fs", &r, "partclone");
	assert_int_equal(ext_sh(out, sizeof(out),
				 "partclone.f2fs -c -s fs -o pc.img -L pc.log >/dev/null 2>&1 && "
				 "partclone.info -s pc.img 2>&1 | "
				 "sed -n 's/^\\(Space in use\\|Free Space\\):.*= *\\([0-9]*\\) "
				 "Blocks/\\2/p'"),
		0);
	assert_int_equal(sscanf(out, "%" SCNu64 " %" SCNu64, &used, &free_blocks), 2);
	assert_true(map_bytes(m, MAP_FREE) >= free_blocks * F2FS_BLOCK);
	assert_true(map_bytes(m, MAP_DATA) <= used * F2FS_BLOCK);
	assert_true(free_blocks > 10000);
	map_free(m);
}

/* R3: a window into a file, and a device that is longer than the file system, or shorter. */
static void test_slice_and_tail(void **state)
{
	const uint64_t base = 64 * KIB, tail = 3 * MIB + 512, size = 104 * MIB;
	struct fs_report r;
	struct map *got, *want;
	struct extent last;

	(void)state;
	f2fs_make("fs", "104M", "", "tree");
	ext_must("(head -c 65536 /dev/urandom; cat fs; head -c %" PRIu64 " /dev/urandom) >part",
		tail);
	got = ext_map_slice("part", base, size + tail, &r);
	assert_true(r.used_only);
	want = f2fs_dumped_map("fs", size + tail);
	ext_assert_equal_maps(got, want, "slice");
	last = map_run(got, size, NULL);
	assert_int_equal(last.kind, MAP_DATA);
	assert_int_equal(last.len, tail);
	map_free(got);
	map_free(want);
	got = ext_map_slice("part", base, size - F2FS_BLOCK, &r);
	assert_false(r.used_only);
	assert_non_null(strstr(r.reason, "larger than the device"));
	map_free(got);
	ext_must("rm -f part");
}

static void test_report(void **state)
{
	struct fs_report r;

	(void)state;
	f2fs_make("fs", "64M", "-l 'a label' -U 01234567-89ab-cdef-0123-456789abcdef", NULL);
	map_free(must_map("fs", &r, "report"));
	assert_string_equal(r.label, "a label");
	assert_string_equal(r.uuid, "01234567-89ab-cdef-0123-456789abcdef");
}

/* ---- Journals ---------------------------------------------------------------------------- */

/*
 * Entries moved out of the tables into the journals, as a kernel keeps them there; the tables are
 * left with something else, which must not count.
 */
static void move_into_journals(const char *name, uint32_t segment, uint32_t node)
{
	uint64_t table = f2fs_sit_entry(name, segment), journal = f2fs_sit_journal(name);
	uint8_t entry[F2FS_SIT_ENTRY_BYTES], stale[F2FS_SIT_ENTRY_BYTES] = { 0 };
	uint8_t node_entry[9], gone[9] = { 0 };

	f2fs_poke32(name, journal, 1 | segment << 16);
	f2fs_poke32(name, journal + 2, segment);
	ext_peek(name, table, entry, sizeof(entry));
	assert_int_not_equal(get_le16(entry) & 0x3ff, 0);
	ext_poke(name, journal + 6, entry, sizeof(entry));
	ext_poke(name, table, stale, sizeof(stale));

	table = f2fs_nat_entry(name, node);
	journal = f2fs_nat_journal(name);
	f2fs_poke32(name, journal, 1 | node << 16);
	f2fs_poke32(name, journal + 2, node);
	ext_peek(name, table, node_entry, sizeof(node_entry));
	assert_int_not_equal(get_le32(node_entry + 5), 0);
	ext_poke(name, journal + 6, node_entry, sizeof(node_entry));
	ext_poke(name, table, gone, sizeof(gone));
}

/* The first segment after `from` that has blocks in use. */
static uint32_t segment_in_use(const char *name, uint32_t from)
{
	while ((f2fs_peek32(name, f2fs_sit_entry(name, from)) & 0x3ff) == 0)
		from++;
	return from;
}

static void test_journals_count_more(void **state)
{
	struct f2fs_layout l;
	struct fs_report r;
	struct map *before, *after;

	(void)state;
	f2fs_make("fs", "104M", "", "tree");
	f2fs_layout_of("fs", &l);
	assert_false(l.compact);
	before = must_map("fs", &r, "before");
	move_into_journals("fs", segment_in_use("fs", 1), 4);
	f2fs_check("fs");
	after = must_map("fs", &r, "after");
	ext_assert_equal_maps(after, before, "the same, in journals");
	compare_with_dump("fs", "journals");
	map_free(before);
	map_free(after);
	/* Without its journal the segment would be free: that the table is stale shows. */
	f2fs_poke32("fs", f2fs_sit_journal("fs"), 0);
	ext_assert_refused("fs", "segment table");
}

/* ---- Version bitmaps --------------------------------------------------------------------- */

/*
 * As on volumes of 4 TiB and more: the checkpoint has a payload, a block more, which holds the
 * bitmap of the segment table. The pack is made anew with it, behind its first block.
 */
static void give_payload(const char *name)
{
	static uint8_t pack[F2FS_SEGMENT * F2FS_BLOCK];
	uint8_t payload[F2FS_BLOCK] = { 0 }, table[F2FS_BLOCK];
	struct f2fs_layout l;
	uint32_t sit_bytes, nat_bytes;
	uint64_t at;

	f2fs_layout_of(name, &l);
	at = (uint64_t)l.pack * F2FS_BLOCK;
	ext_peek(name, at, pack, (size_t)l.pack_blocks * F2FS_BLOCK);
	sit_bytes = get_le32(pack + 0x9c);
	nat_bytes = get_le32(pack + 0xa0);
	memcpy(payload, pack + 0xc0, sit_bytes);
	/* The table's first block in its other copy: it shows where the bitmap was looked for. */
	assert_int_equal(payload[0] & 0x80, 0);
	payload[0] |= 0x80;
	ext_peek(name, (uint64_t)l.sit * F2FS_BLOCK, table, sizeof(table));
	ext_poke(name, (uint64_t)(l.sit + l.sit_copy) * F2FS_BLOCK, table, sizeof(table));
	memset(table, 0xa5, sizeof(table));
	ext_poke(name, (uint64_t)l.sit * F2FS_BLOCK, table, sizeof(table));
	memmove(pack + 0xc0, pack + 0xc0 + sit_bytes, nat_bytes);
	put_le32(pack + 0x88, l.pack_blocks + 1);
	put_le32(pack + 0x8c, get_le32(pack + 0x8c) + 1);
	ext_poke(name, at, pack, F2FS_BLOCK);
	ext_poke(name, at + F2FS_BLOCK, payload, sizeof(payload));
	ext_poke(name, at + 2 * F2FS_BLOCK, pack + F2FS_BLOCK,
		(size_t)(l.pack_blocks - 2) * F2FS_BLOCK);
	ext_poke(name, at + (uint64_t)l.pack_blocks * F2FS_BLOCK, pack, F2FS_BLOCK);
	f2fs_fix_pack(name, l.pack);
	f2fs_poke_super(name, 1664, 1);
}

static void test_payload(void **state)
{
	struct fs_report r;
	struct map *before, *after;

	(void)state;
	f2fs_make("fs", "104M", "", "tree");
	before = must_map("fs", &r, "before");
	give_payload("fs");
	f2fs_check("fs");
	after = must_map("fs", &r, "after");
	ext_assert_equal_maps(after, before, "with a payload");
	map_free(before);
	map_free(after);
}

/* Every block of both tables moved to its other copy, the first one overwritten with garbage. */
static void turn_copies(const char *name)
{
	static uint8_t table[F2FS_SEGMENT * F2FS_BLOCK], garbage[F2FS_SEGMENT * F2FS_BLOCK];
	struct f2fs_layout l;
	uint8_t bits[128]; /* of one segment of each */
	uint32_t at;

	memset(garbage, 0xa5, sizeof(garbage));
	f2fs_layout_of(name, &l);
	at = f2fs_peek32(name, (uint64_t)l.pack * F2FS_BLOCK + 0x84) & 0x400 ? 0xc4 : 0xc0;
	assert_int_equal(f2fs_peek32(name, (uint64_t)l.pack * F2FS_BLOCK + 0x9c), 64);
	assert_int_equal(f2fs_peek32(name, (uint64_t)l.pack * F2FS_BLOCK + 0xa0), 64);
	for (int nat = 0; nat < 2; nat++) {
		uint64_t start = nat ? l.nat : l.sit;
		uint64_t entry = nat ? f2fs_nat_entry(name, 0) : f2fs_sit_entry(name, 0);
		bool second = entry / F2FS_BLOCK != start;
		uint64_t from = start + (second ? F2FS_SEGMENT : 0);
		uint64_t to = start + (second ? 0 : F2FS_SEGMENT);

		ext_peek(name, from * F2FS_BLOCK, table, sizeof(table));
		ext_poke(name, to * F2FS_BLOCK, table, sizeof(table));
		ext_poke(name, from * F2FS_BLOCK, garbage, sizeof(garbage));
	}
	ext_peek(name, (uint64_t)l.pack * F2FS_BLOCK + at, bits, sizeof(bits));
	for (size_t i = 0; i < sizeof(bits); i++)
		bits[i] = (uint8_t)~bits[i];
	for (uint32_t i = 0; i < l.pack_blocks; i += l.pack_blocks - 1)
		ext_poke(name, (uint64_t)(l.pack + i) * F2FS_BLOCK + at, bits, sizeof(bits));
	f2fs_fix_pack(name, l.pack);
}

static void test_other_copies(void **state)
{
	static const char *const options[] = { "", "-i" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(options); i++) {
		struct fs_report r;
		struct map *before, *after;

		f2fs_make("fs", "104M", options[i], "tree");
		before = must_map("fs", &r, "before");
		turn_copies("fs");
		after = must_map("fs", &r, "after");
		ext_assert_equal_maps(after, before, "other copies");
		map_free(before);
		map_free(after);
	}
}

/* ---- Faults ------------------------------------------------------------------------------ */

/* S51: the n-th read fails. The map is then full, with a reason, or the same as ever. */
static void test_every_failing_read(void **state)
{
	struct fs_report r;
	struct dev *file, *d = NULL;
	struct map *good;
	int mapped = 0, refused = 0;

	(void)state;
	f2fs_make("fs", "64M", "", NULL);
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
	/* Superblocks, 4 of packs, summaries, a block of the SIT, 512 of the NAT, the next node. */
	assert_true(refused >= 1 + 4 + 1 + 1 + 512 + 1);
	assert_true(mapped > 1);
	map_free(good);
	dev_close(file);
}

static int setup(void **state)
{
	static const char *const tools[] = { "mkfs.f2fs", "sload.f2fs", "fsck.f2fs", "dump.f2fs",
		"partclone.f2fs", "partclone.info", NULL };

	(void)state;
	ext_setup(tools);
	ext_make_tree("tree", 4096);
	ext_make_tree("small", 256);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_dump),
		cmocka_unit_test(test_aged),
		cmocka_unit_test(test_restored_copy_is_whole),
		cmocka_unit_test(test_against_partclone),
		cmocka_unit_test(test_slice_and_tail),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_journals_count_more),
		cmocka_unit_test(test_payload),
		cmocka_unit_test(test_other_copies),
		cmocka_unit_test(test_every_failing_read),
	};

	return cmocka_run_group_tests_name("fs_f2fs", tests, setup, NULL);
}
