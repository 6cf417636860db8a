/*
 * exFAT without root: volumes by mkfs.exfat, filled and aged by tests/corpus/fs/exfat-fill.py with
 * files in a row and in chains, which fsck.exfat judges; compared with tests/corpus/fs/exfat-map.py
 * (a reading of the specification of its own), with what dump.exfat and partclone count; copies
 * that hold only the map's data, the rest garbage, checked by fsck.exfat and read by tsk_recover;
 * what must be refused; dirty volumes; faults; crafted boot sectors and entries; large volumes.
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
#include "ext_helper.h"
#include "fs/fs_exfat_int.h"

/* The test's own reading of a boot sector of mkfs.exfat. */
struct volume {
	uint64_t fat, heap, root, bitmap;
	uint32_t sector, cluster, clusters;
};

static uint64_t off_of(const struct volume *v, uint32_t cluster)
{
	return v->heap + (uint64_t)(cluster - 2) * v->cluster;
}

/* Where the first entry of a type lies in the directory that begins at `dir`, from `nth` on. */
static uint64_t find_type(uint64_t dir, uint8_t type, unsigned nth)
{
	uint8_t b[32];

	for (uint64_t at = dir; at < dir + 64 * KIB; at += 32) {
		ext_peek("fs", at, b, sizeof(b));
		if (b[0] == type && nth-- == 0)
			return at;
	}
	fail_msg("no entry 0x%02x", type);
	return 0;
}

static uint32_t fetch32(uint64_t off)
{
	uint8_t b[4];

	ext_peek("fs", off, b, 4);
	return get_le32(b);
}

static void put32(uint64_t off, uint32_t value)
{
	uint8_t b[4];

	put_le32(b, value);
	ext_poke("fs", off, b, 4);
}

static void put8(uint64_t off, uint8_t value)
{
	ext_poke("fs", off, &value, 1);
}

static struct volume volume_of(void)
{
	struct volume v;
	uint8_t b[512];

	ext_peek("fs", 0, b, sizeof(b));
	v.sector = 1u << b[0x6C];
	v.cluster = v.sector << b[0x6D];
	v.clusters = get_le32(b + 0x5C);
	v.fat = (uint64_t)get_le32(b + 0x50) * v.sector;
	v.heap = (uint64_t)get_le32(b + 0x58) * v.sector;
	v.root = off_of(&v, get_le32(b + 0x60));
	v.bitmap = off_of(&v, fetch32(find_type(v.root, 0x81, 0) + 20));
	return v;
}

static uint64_t entry_of(const struct volume *v, uint32_t cluster)
{
	return v->fat + (uint64_t)cluster * 4;
}

static void set_bit(const struct volume *v, uint32_t cluster, bool used)
{
	uint64_t at = v->bitmap + (cluster - 2) / 8;
	uint8_t b, bit = (uint8_t)(1u << (cluster - 2) % 8);

	ext_peek("fs", at, &b, 1);
	put8(at, (uint8_t)(used ? b | bit : b & ~bit));
}

/* The checksum of the set that begins at `at`, as the specification's figure 2 makes it. */
static void seal_set(uint64_t at)
{
	uint8_t b[32 * 20];
	uint16_t sum = 0;
	size_t n;

	ext_peek("fs", at, b, sizeof(b));
	n = ((size_t)b[1] + 1) * 32;
	for (size_t i = 0; i < n && i < sizeof(b); i++)
		if (i != 2 && i != 3)
			sum = (uint16_t)((sum & 1 ? 0x8000 : 0) + (sum >> 1) + b[i]);
	put_le16(b + 2, sum);
	ext_poke("fs", at + 2, b + 2, 2);
}

/* Change a byte, or four, of a set; `at` is in the set that begins at `set`. */
static void change(uint64_t set, uint64_t at, uint32_t value, size_t len)
{
	uint8_t b[4];

	put_le32(b, value);
	ext_poke("fs", set + at, b, len);
	seal_set(set);
}

/* Checksums of both boot regions, over what is in them now; the backup made a copy first. */
static void seal_boot(uint32_t sector)
{
	uint8_t *region = malloc((size_t)sector * 12);
	uint32_t sum = 0;

	ext_peek("fs", 0, region, (size_t)sector * 12);
	for (size_t i = 0; i < (size_t)sector * 11; i++)
		if (i != 106 && i != 107 && i != 112)
			sum = (sum & 1 ? 0x80000000 : 0) + (sum >> 1) + region[i];
	for (size_t i = 0; i < sector; i += 4)
		put_le32(region + (size_t)sector * 11 + i, sum);
	ext_poke("fs", 0, region, (size_t)sector * 12);
	ext_poke("fs", (uint64_t)sector * 12, region, (size_t)sector * 12);
	free(region);
}

static void make(const char *size, const char *mkfs)
{
	ext_must("rm -f fs && truncate -s %s fs && mkfs.exfat %s fs", size, mkfs);
}

static void fill(const char *commands)
{
	ext_must("printf '%s' | python3 '%s/tests/corpus/fs/exfat-fill.py' fs && fsck.exfat -n fs",
		commands, getenv("TOP"));
}

/* Hundreds of files written, many removed, others written into the gaps. */
static void make_aged(const char *size, const char *mkfs)
{
	make(size, mkfs);
	fill("dir /a\\ndir /a/b\\nfill /a 120 20000\\nfill /a/b 90 9000\\nprune /a 3\\ndir /c\\n"
	     "fill /c 100 30000\\nprune /c 2\\nprune /a/b 4\\nfile /a/row 400000 row\\n"
	     "file /a/a-long-name-that-needs-more-than-one-entry 300000 spread\\n"
	     "file /none 0\\nfile /chain 200000 chain\\n");
}

static struct map *witness_map(uint64_t size)
{
	struct map *m = map_new_full(size);
	uint64_t off, len;
	FILE *f;

	ext_must("python3 '%s/tests/corpus/fs/exfat-map.py' fs >witness", getenv("TOP"));
	f = fopen(ext_path("witness"), "r");
	assert_non_null(f);
	while (fscanf(f, "%" SCNu64 " %" SCNu64, &off, &len) == 2)
		assert_int_equal(map_set(m, off, len, MAP_FREE, NULL), 0);
	fclose(f);
	return m;
}

static struct map *good_map(struct fs_report *r, const char *note)
{
	struct map *m = ext_map_of("fs", r);

	if (!r->used_only)
		fail_msg("%s", r->reason);
	assert_string_equal(r->type, "exfat");
	assert_string_equal(r->note, note);
	return m;
}

static const struct {
	const char *size;
	const char *mkfs;
} sets[] = {
	{ "16M", "" },
	{ "16M", "-c 512" },
	{ "20000003", "-c 4K -L LABEL" },
	{ "32M", "-c 2K -b 64K" },
	{ "100001000", "-c 32K" },
	{ "300M", "-c 128K --pack-bitmap" },
	{ "900M", "-c 1M" },
	{ "20G", "-c 32M" },
	{ "8G", "" },
};

static uint64_t number_of(const char *command)
{
	uint64_t n = 0;
	char out[256];

	assert_int_equal(ext_sh(out, sizeof(out), "%s", command), 0);
	assert_int_equal(sscanf(out, "%" SCNu64, &n), 1);
	return n;
}

/* LESSONS 19, 29, R2, R3: free is what the bitmap calls free, to the byte. */
static void test_against_witness(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sets); i++) {
		struct fs_report r;
		struct map *got, *want;
		struct volume v;

		make_aged(sets[i].size, sets[i].mkfs);
		v = volume_of();
		got = good_map(&r, "");
		want = witness_map(map_size(got));
		ext_assert_equal_maps(got, want, sets[i].mkfs);
		assert_int_equal(r.block_bytes, v.cluster);
		if (map_count(got) < 20)
			fail_msg("%s: only %zu extents", sets[i].mkfs, map_count(got));
		/* By another way. */
		assert_int_equal(r.free_bytes,
			v.cluster *
				number_of("dump.exfat fs | sed -n 's/^Free Clusters:[ \t]*//p'"));
		map_free(got);
		map_free(want);
	}
}

/*
 * How much another imaging tool keeps: as much, and partclone 0.3.23 two clusters more on every
 * volume, as many as there are numbers before the first cluster's.
 */
static void test_against_partclone(void **state)
{
	static const char *const mkfs[] = { "-c 4K", "-c 32K" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(mkfs); i++) {
		struct fs_report r;
		struct map *m;
		uint64_t used;

		make_aged("60M", mkfs[i]);
		m = good_map(&r, "");
		used = number_of("rm -f pc.img && "
				 "partclone.exfat -c -s fs -o pc.img -L pc.log >/dev/null 2>&1 && "
				 "partclone.info -s pc.img 2>&1 | "
				 "sed -n 's/^Space in use:.*= *\\([0-9]*\\) Blocks/\\1/p'");
		assert_int_equal(number_of("partclone.info -s pc.img 2>&1 | "
					   "sed -n 's/^Block size: *\\([0-9]*\\) Byte/\\1/p'"),
			512);
		assert_int_equal(map_bytes(m, MAP_DATA) + 2 * r.block_bytes, used * 512);
		map_free(m);
	}
}

/* Only the data of the map, all else garbage: the volume is whole and every file there. */
static void test_restored_copy_is_whole(void **state)
{
	static const size_t chosen[] = { 1, 2, 4, 6 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(chosen); i++) {
		struct fs_report r;
		struct map *m;
		struct dev *d;

		make_aged(sets[chosen[i]].size, sets[chosen[i]].mkfs);
		d = ext_open("fs");
		m = ext_map_dev(d, &r);
		assert_true(r.used_only);
		ext_restore(d, m, "copy");
		dev_close(d);
		map_free(m);
		ext_must("fsck.exfat -n copy && rm -rf a b && tsk_recover -a fs a && "
			 "tsk_recover -a copy b && diff -r a b && "
			 "[ $(find b -type f | wc -l) -gt 150 ]");
	}
}

/* A window 64 KiB into a file, and a device that is longer than the volume (LESSONS 29, R3). */
static void test_slice_and_tail(void **state)
{
	const uint64_t base = 64 * KIB, tail = 3 * MIB + 512;
	struct fs_report r;
	struct map *alone, *m;
	struct volume v;
	uint64_t end;

	(void)state;
	make_aged("20000256", "-c 32K");
	v = volume_of();
	end = v.heap + (uint64_t)v.clusters * v.cluster;
	assert_true(end < 20000256 && end + v.cluster > 20000256);
	alone = good_map(&r, "");
	ext_must("(head -c 65536 /dev/urandom; cat fs; head -c %" PRIu64 " /dev/urandom) >part",
		tail);
	m = ext_map_slice("part", base, 20000256 + tail, &r);
	assert_true(r.used_only);
	assert_int_equal(map_bytes(m, MAP_FREE), map_bytes(alone, MAP_FREE));
	assert_int_equal(map_run(m, end - 1, NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, end, NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, end, NULL).len, map_size(m) - end);
	map_free(m);
	map_free(alone);

	m = ext_map_slice("part", base, 20000256 - 512, &r);
	assert_non_null(strstr(r.reason, "truncated?"));
	map_free(m);
}

/* Label and serial number, also where the root directory is far from what is copied on sight. */
static void test_report(void **state)
{
	static const struct fault_plan none = { 0 };
	struct dev *file, *d = NULL;
	struct fs_report r;

	(void)state;
	ext_must("rm -f fs && truncate -s 40G fs && "
		 "LC_ALL=C.UTF-8 mkfs.exfat -c 512 -L Schl\xc3\xbcssel fs");
	ext_must("tune.exfat -I 0x1234abcd fs");
	assert_true(volume_of().root > 8 * MIB);
	file = ext_open("fs");
	assert_int_equal(dev_open_fault(file, &none, &d, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fs_probe(i == 0 ? file : d, &r, NULL), 0);
		assert_string_equal(r.type, "exfat");
		assert_string_equal(r.label, "Schl\xc3\xbcssel");
		assert_string_equal(r.uuid, "1234-ABCD");
		assert_string_equal(r.reason, "");
		map_free(ext_map_dev(i == 0 ? file : d, &r));
		assert_true(r.used_only);
		assert_string_equal(r.label, "Schl\xc3\xbcssel");
		assert_int_equal(r.block_bytes, 512);
	}
	dev_close(d);
	dev_close(file);
	ext_must("rm -f fs");
}

/* ---- What bitmap and FAT say -------------------------------------------------------------- */

/* Lost clusters, bad clusters that the bitmap calls free, and bits behind the last cluster. */
static void test_bitmap_and_bad_clusters(void **state)
{
	struct volume v;
	struct fs_report r;
	struct map *m, *good;
	uint32_t last;

	(void)state;
	make_aged("20000003", "-c 4K");
	v = volume_of();
	last = v.clusters + 1;
	good = good_map(&r, "");
	assert_int_not_equal(v.clusters % 8, 0);
	put8(v.bitmap + v.clusters / 8, 0xFF << v.clusters % 8 & 0xFF);
	m = good_map(&r, "");
	assert_true(map_equal(m, good));
	map_free(m);
	map_free(good);

	set_bit(&v, last, true);
	put32(entry_of(&v, last - 2), 0xFFFFFFF7);
	m = good_map(&r, "1 clusters in use belong to no file; 1 bad clusters");
	assert_int_equal(map_run(m, off_of(&v, last), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, off_of(&v, last - 1), NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, off_of(&v, last - 2), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, off_of(&v, last - 2), NULL).len, v.cluster);
	map_free(m);
}

/* The flags of a stick that was pulled out are a remark. They are in no checksum. */
static void test_dirty(void **state)
{
	struct fs_report r;
	struct map *clean, *m;

	(void)state;
	make_aged("16M", "-c 4K");
	clean = good_map(&r, "");
	put8(0x6A, 2);
	m = good_map(&r, "not cleanly unmounted");
	assert_true(map_equal(clean, m));
	map_free(m);
	put8(0x6A, 4);
	map_free(good_map(&r, "read or write errors were met on it"));
	put8(0x6A, 8);
	put8(0x70, 99); /* PercentInUse */
	map_free(good_map(&r, ""));
	put8(0x6A, 1);
	ext_assert_refused("fs", "VolumeFlags is 1");
	put8(0x6A, 0x10);
	ext_assert_refused("fs", "VolumeFlags is 16");
	map_free(clean);
}

/*
 * "row" has no chain, "chain" has one, "dir" is a directory with "in" in it. Each inconsistency
 * alone, the checksums made right again.
 */
struct scene {
	struct volume v;
	uint64_t row, chain, dir; /* where their sets lie */
	uint32_t row_first, chain_first, dir_first;
};

static struct scene make_scene(void)
{
	struct scene s;

	make("16M", "-c 4K");
	fill("file /row 20000 row\\nfile /chain 20000 chain\\ndir /dir\\nfile /dir/in 9000 row\\n");
	ext_must("cp fs good");
	s.v = volume_of();
	s.row = find_type(s.v.root, 0x85, 0);
	s.chain = find_type(s.v.root, 0x85, 1);
	s.dir = find_type(s.v.root, 0x85, 2);
	s.row_first = fetch32(s.row + 32 + 20);
	s.chain_first = fetch32(s.chain + 32 + 20);
	s.dir_first = fetch32(s.dir + 32 + 20);
	return s;
}

static void refused_then_mended(const char *word)
{
	ext_assert_refused("fs", word);
	ext_must("cp good fs");
}

static void test_torn_states_are_refused(void **state)
{
	struct scene s = make_scene();
	struct fs_report r;
	uint32_t root = (uint32_t)((s.v.root - s.v.heap) / s.v.cluster) + 2;

	(void)state;
	map_free(good_map(&r, ""));
	/* The bitmap had not reached the disk, for each kind of thing that uses clusters. */
	set_bit(&s.v, s.row_first + 4, false);
	refused_then_mended("which is free");
	set_bit(&s.v, s.chain_first + 4, false);
	refused_then_mended("which is free");
	set_bit(&s.v, s.dir_first, false);
	refused_then_mended("which is free");
	set_bit(&s.v, fetch32(find_type(off_of(&s.v, s.dir_first), 0xC0, 0) + 20), false);
	refused_then_mended("which is free");
	set_bit(&s.v, 2, false); /* the bitmap's own */
	refused_then_mended("which is free");
	set_bit(&s.v, fetch32(find_type(s.v.root, 0x82, 0) + 20), false);
	refused_then_mended("which is free");
	set_bit(&s.v, root, false);
	refused_then_mended("root directory: it uses cluster");

	/* The chain had not. */
	put32(entry_of(&s.v, s.chain_first + 1), 0xFFFFFFFF);
	refused_then_mended("20000 bytes, but only 2 clusters");
	put32(entry_of(&s.v, s.chain_first + 1), 0);
	refused_then_mended("its chain has the value 0x0");
	put32(entry_of(&s.v, s.chain_first + 1), s.v.clusters + 2);
	refused_then_mended("its chain has the value");
	put32(entry_of(&s.v, s.chain_first + 1), 0xFFFFFFF7);
	refused_then_mended("its chain has the value 0xFFFFFFF7");
	put32(entry_of(&s.v, s.chain_first + 1), s.chain_first);
	refused_then_mended("in use already");
	put32(entry_of(&s.v, s.chain_first + 1), s.row_first);
	refused_then_mended("in use already");

	/* Two files in one place; places that are none. */
	change(s.chain, 32 + 20, s.row_first, 4);
	refused_then_mended("in use already");
	change(s.chain, 32 + 20, 1, 4);
	refused_then_mended("cluster 1, which is none");
	change(s.row, 32 + 20, s.v.clusters + 1, 4);
	refused_then_mended("are not all there are");
	change(s.row, 32 + 24 + 4, 1, 4);
	refused_then_mended("are not all there are");
	change(s.row, 32 + 20, 0, 4);
	refused_then_mended("are not all there are");
	change(s.row, 32 + 24 + 4, 0xFFFFFFFF, 4);
	refused_then_mended("are not all there are");
}

static void test_entries_are_refused(void **state)
{
	struct scene s = make_scene();
	uint64_t bitmap = find_type(s.v.root, 0x81, 0), upcase = find_type(s.v.root, 0x82, 0);
	uint64_t in = find_type(off_of(&s.v, s.dir_first), 0x85, 0);

	(void)state;
	put8(s.row + 10, 77);
	refused_then_mended("the checksum of a file's entries is wrong");
	change(s.row, 1, 1, 1);
	refused_then_mended("a file of 1 secondary entries");
	change(s.row, 1, 19, 1);
	refused_then_mended("a file of 19 secondary entries");
	change(s.row, 1, 3, 1);
	refused_then_mended("1 entries of the file before it are missing");
	put8(s.row + 64, 0x41); /* the name is gone */
	refused_then_mended("1 entries of the file before it are missing");
	put8(s.row, 0x05); /* the primary is gone */
	refused_then_mended("a secondary entry of nothing");
	change(s.row, 32, 0xC1, 1);
	refused_then_mended("a file without a stream extension");
	change(s.row, 32 + 1, 2, 1);
	refused_then_mended("a file that can have no clusters");
	change(s.row, 32 + 8, 20001, 4);
	refused_then_mended("ValidDataLength");
	change(s.row, 64, 0xC2, 1);
	refused_then_mended("unknown critical entry 0xC2");
	put8(s.row, 0x86);
	refused_then_mended("unknown critical entry 0x86");
	change(s.dir, 32 + 24, 4097, 4);
	refused_then_mended("but only 1 clusters");
	change(s.dir, 32 + 8, 100, 4);
	change(s.dir, 32 + 24, 100, 4);
	refused_then_mended("a directory of 100 bytes");
	change(s.dir, 32 + 20, 0, 4);
	refused_then_mended("cluster 0, which is none");
	/* Deeper down is looked at too. */
	put8(in + 10, 77);
	refused_then_mended("directory at cluster");
	put8(in, 0);
	refused_then_mended("behind the directory's end");

	put8(bitmap, 0x01);
	refused_then_mended("no allocation bitmap");
	put8(bitmap + 1, 1);
	refused_then_mended("a second allocation bitmap");
	put8(upcase, 0x81);
	refused_then_mended("a second allocation bitmap");
	put8(upcase, 0x02);
	refused_then_mended("no up-case table");
	put8(find_type(s.v.root, 0x83, 0), 0x82);
	refused_then_mended("a second or misplaced entry 0x82");
	put32(bitmap + 24, fetch32(bitmap + 24) + 1);
	refused_then_mended("allocation bitmap:");
	put32(bitmap + 20, s.v.clusters + 2);
	refused_then_mended("allocation bitmap: not all of it");
	put32(entry_of(&s.v, 2), 3);
	refused_then_mended("allocation bitmap: its clusters are not in a row");
	put32(s.v.fat, 0);
	refused_then_mended("the FAT begins with");
}

/* Entries that nobody must know: their clusters count all the same. */
static void test_benign_entries(void **state)
{
	/* A vendor allocation (0xE1): flags, 18 bytes GUID and definition, cluster, length. */
	uint8_t vendor[32] = { 0xE1, 3 }, guid[32] = { 0xA0 };
	struct scene s = make_scene();
	uint64_t end = find_type(s.v.root, 0, 0);
	struct fs_report r;
	uint32_t free_cluster = s.v.clusters - 10;

	(void)state;
	/* Behind the last file of the root, which is "dir", one entry more in its set. */
	assert_int_equal(end, s.dir + 96);
	put_le32(vendor + 20, free_cluster);
	put_le32(vendor + 24, 5000);
	ext_poke("fs", end, vendor, sizeof(vendor));
	change(s.dir, 1, 3, 1);
	ext_assert_refused("fs", "which is free");
	set_bit(&s.v, free_cluster, true);
	set_bit(&s.v, free_cluster + 1, true);
	map_free(good_map(&r, ""));
	/* The same by a chain. */
	vendor[1] = 1;
	ext_poke("fs", end, vendor, sizeof(vendor));
	seal_set(s.dir);
	ext_assert_refused("fs", "its chain has the value 0x0");
	put32(entry_of(&s.v, free_cluster), free_cluster + 1);
	put32(entry_of(&s.v, free_cluster + 1), 0xFFFFFFFF);
	map_free(good_map(&r, ""));
	/* An empty file that says it can have no clusters has none. */
	change(s.row, 32 + 1, 0, 1);
	change(s.row, 32 + 8, 0, 4);
	change(s.row, 32 + 20, 0, 4);
	change(s.row, 32 + 24, 0, 4);
	map_free(good_map(&r, "5 clusters in use belong to no file"));
	ext_must("dd if=good of=fs bs=%u skip=%u seek=%u count=1 conv=notrunc", s.v.cluster,
		(unsigned)(s.v.root / s.v.cluster), (unsigned)(s.v.root / s.v.cluster));
	ext_poke("fs", end, vendor, sizeof(vendor));
	change(s.dir, 1, 3, 1);
	/* A primary one: a volume's GUID has no clusters, an unknown one may. */
	ext_poke("fs", end + 32, guid, sizeof(guid));
	map_free(good_map(&r, ""));
	guid[0] = 0xAF;
	guid[4] = 3;
	put_le32(guid + 20, free_cluster + 3);
	put_le32(guid + 24, 1);
	ext_poke("fs", end + 32, guid, sizeof(guid));
	ext_assert_refused("fs", "which is free");
	set_bit(&s.v, free_cluster + 3, true);
	map_free(good_map(&r, ""));
}

/* A set that begins at the end of one cluster of its directory and ends in the next. */
static void test_set_across_clusters(void **state)
{
	struct fs_report r;
	struct map *m;

	(void)state;
	make("16M", "-c 512");
	fill("dir /d\\nfill /d 90 3000\\nfill / 50 2000\\nprune /d 3\\n");
	m = good_map(&r, "");
	map_free(m);
}

/* ---- Boot regions ------------------------------------------------------------------------- */

struct patch {
	uint32_t offset, bytes, value;
	const char *word;
};

static void test_boot_sector(void **state)
{
	static const struct patch patches[] = {
		{ 0x03, 1, 'e', "no exFAT signature" },
		{ 0x1FE, 1, 0, "no exFAT signature" },
		{ 0x0B, 1, 1, "MustBeZero" },
		{ 0x3F, 1, 1, "MustBeZero" },
		{ 0x48, 4, 32769, "truncated?" },
		{ 0x4C, 4, 0xFFFFFFFF, "truncated?" },
		{ 0x48, 4, 10, "ClusterHeapOffset" },
		{ 0x50, 4, 23, "FatOffset" },
		{ 0x50, 4, 0xFFFFFFFF, "ClusterHeapOffset" },
		{ 0x54, 4, 1, "FatLength" },
		{ 0x54, 4, 0xFFFFFFFF, "ClusterHeapOffset" },
		{ 0x58, 4, 30, "ClusterHeapOffset" },
		{ 0x58, 4, 0xFFFFFFFF, "ClusterHeapOffset" },
		{ 0x5C, 4, 0, "ClusterCount" },
		{ 0x5C, 4, 0xFFFFFFFF, "ClusterCount" },
		{ 0x5C, 4, 3585, "ClusterCount" },
		{ 0x5C, 4, 2000, "allocation bitmap: 448 bytes for 2000 clusters" },
		{ 0x60, 4, 1, "FirstClusterOfRootDirectory" },
		{ 0x60, 4, 3586, "FirstClusterOfRootDirectory" },
		{ 0x60, 4, 2, "no allocation bitmap" },
		{ 0x68, 2, 0x0101, "FileSystemRevision is 1.01" },
		{ 0x68, 2, 0x0200, "FileSystemRevision is 2.00" },
		{ 0x6C, 1, 8, "BytesPerSectorShift" },
		{ 0x6C, 1, 13, "BytesPerSectorShift" },
		{ 0x6D, 1, 17, "SectorsPerClusterShift" },
		{ 0x6D, 1, 255, "SectorsPerClusterShift" },
		{ 0x6E, 1, 2, "TexFAT" },
		{ 0x6E, 1, 0, "NumberOfFats" },
		{ 0x6E, 1, 3, "NumberOfFats" },
	};

	(void)state;
	make("16M", "-c 4K");
	assert_int_equal(volume_of().clusters, 3584);
	ext_must("cp fs good");
	for (size_t i = 0; i < COUNT_OF(patches); i++) {
		const struct patch *p = &patches[i];
		struct fs_report r = { 0 };
		struct err e = { 0 };
		uint8_t b[4];
		struct dev *d;
		struct map *m;
		int rc;

		put_le32(b, p->value);
		ext_poke("fs", p->offset, b, p->bytes);
		seal_boot(512);
		/* Not by libblkid, which does not know some of them any more. */
		d = ext_open("fs");
		m = map_new_full(dev_size(d));
		rc = fs_exfat.map(d, m, &r, &e);
		if (rc == 0 || strstr(e.msg, p->word) == NULL)
			fail_msg("0x%x = 0x%x: \"%s\", without \"%s\"", (unsigned)p->offset,
				(unsigned)p->value, e.msg, p->word);
		map_free(m);
		dev_close(d);
		ext_must("cp good fs");
	}
}

/* More clusters than are looked through: a volume of hundreds of gigabytes in the smallest ones. */
static void test_too_many_clusters(void **state)
{
	uint8_t boot[512];
	struct exfat_boot b;
	struct err e;

	(void)state;
	make("16M", "-c 4K");
	ext_peek("fs", 0, boot, sizeof(boot));
	boot[0x6D] = 0;
	put_le64(boot + 0x48, (uint64_t)1 << 40);
	put_le32(boot + 0x54, FS_EXFAT_MAX_CLUSTERS / 128 + 1);
	put_le32(boot + 0x58, FS_EXFAT_MAX_CLUSTERS / 64);
	put_le32(boot + 0x5C, FS_EXFAT_MAX_CLUSTERS);
	assert_int_equal(fs_exfat_boot_decode(boot, 512, UINT64_MAX, &b, &e), 0);
	put_le32(boot + 0x5C, FS_EXFAT_MAX_CLUSTERS + 1);
	assert_true(fs_exfat_boot_decode(boot, 512, UINT64_MAX, &b, &e) < 0);
	assert_non_null(strstr(e.msg, "more than are looked through"));
	assert_true(fs_exfat_boot_decode(boot, 511, UINT64_MAX, &b, &e) < 0);
}

/* Both regions, every part of them; and that they are each other's. */
static void test_boot_checksums(void **state)
{
	static const uint64_t places[] = { 120, 440, 512, 5 * 512, 9 * 512 + 100, 11 * 512 - 1,
		11 * 512, 12 * 512 - 4 };
	uint8_t b, region[512];
	struct fs_report r;

	(void)state;
	make("16M", "-c 4K");
	ext_must("cp fs good");
	for (size_t i = 0; i < 2 * COUNT_OF(places); i++) {
		uint64_t at = places[i / 2] + i % 2 * 12 * 512;

		ext_peek("fs", at, &b, 1);
		put8(at, b ^ 0x40);
		refused_then_mended(i % 2 ? "backup boot region" : "main boot region");
	}
	/* Another serial number in the main one, checksum and all. */
	ext_peek("fs", 0, region, sizeof(region));
	put32(0x64, 0x01020304);
	seal_boot(512);
	map_free(good_map(&r, ""));
	ext_must("dd if=good of=fs bs=512 skip=12 seek=12 count=12 conv=notrunc");
	refused_then_mended("not that of the main");
}

/* mkfs.exfat makes sectors of 4 KiB on such disks only; so its volume is moved. */
static void test_sectors_of_4_kib(void **state)
{
	struct fs_report r;
	struct map *before, *m;
	struct volume v;
	uint8_t b[4096] = { 0 };

	(void)state;
	make_aged("16M", "-c 4K");
	before = good_map(&r, "");
	v = volume_of();
	assert_true(v.fat >= 24 * 4096 && v.fat % 4096 == 0 && v.heap % 4096 == 0);
	ext_peek("fs", 0, b, 512);
	put_le64(b + 0x48, get_le64(b + 0x48) / 8);
	put_le32(b + 0x50, get_le32(b + 0x50) / 8);
	put_le32(b + 0x54, get_le32(b + 0x54) / 8);
	put_le32(b + 0x58, get_le32(b + 0x58) / 8);
	b[0x6C] = 12;
	b[0x6D] = 0;
	ext_poke("fs", 0, b, sizeof(b));
	seal_boot(4096);
	m = good_map(&r, "");
	assert_true(map_equal(before, m));
	map_free(before);
	map_free(m);
}

/* ---- Faults and hostile input ------------------------------------------------------------- */

/* S51: the n-th read fails. The map is then refused with the source's error. */
static void test_every_failing_read(void **state)
{
	struct dev *file;
	struct map *good = NULL;
	uint64_t nth;

	(void)state;
	make("16M", "-c 4K");
	fill("dir /a\\nfill /a 40 9000\\ndir /a/b\\nfile /a/b/c 100000 spread\\n");
	file = ext_open("fs");
	for (nth = 0;; nth++) {
		struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .nth = nth };
		struct fault_plan plan = { .rules = &rule, .rule_count = nth > 0 };
		struct map *m = map_new_full(dev_size(file));
		struct fs_report r = { 0 };
		struct err e = { 0 };
		struct dev *d = NULL;
		uint64_t reads;
		int rc;

		assert_int_equal(dev_open_fault(file, &plan, &d, NULL), 0);
		rc = fs_exfat.map(d, m, &r, &e);
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
	/* Boot sector, two regions, root twice, bitmap, FAT twice, two directories. */
	assert_true(nth > 1 + 24 + 7);
	map_free(good);
	dev_close(file);
}

static void map_anything(void)
{
	struct fs_report r = { 0 };
	struct err e = { 0 };
	struct dev *d = ext_open("fs");
	struct map *m = map_new_full(dev_size(d));
	uint8_t boot[512];
	struct exfat_boot b;

	if (fs_exfat.map(d, m, &r, &e) < 0) {
		assert_true(e.msg[0] != '\0');
	} else {
		ext_peek("fs", 0, boot, sizeof(boot));
		assert_int_equal(fs_exfat_boot_decode(boot, 512, dev_size(d), &b, &e), 0);
		assert_true(map_run(m, 0, NULL).kind == MAP_DATA);
		assert_true(map_run(m, 0, NULL).len >= b.heap_off);
	}
	map_free(m);
	dev_close(d);
}

/* Each 16-bit word of the boot sector's fields, and of the root directory, set to each of these. */
static void test_crafted_volumes(void **state)
{
	static const uint16_t values[] = { 0, 1, 2, 7, 0x80, 0x85, 0x7FFF, 0xFFF7, 0xFFFF };
	struct scene s = make_scene();
	uint8_t old[2], b[2];

	(void)state;
	/* Absurd sizes have room on a device that is mostly not there. */
	ext_must("truncate -s 2T fs");
	for (unsigned i = 0; i < 0x40 + 512; i += 2) {
		uint64_t at = i < 0x40 ? 0x40 + i : s.v.root + i - 0x40;

		ext_peek("fs", at, old, 2);
		for (size_t n = 0; n < COUNT_OF(values); n++) {
			put_le16(b, values[n]);
			ext_poke("fs", at, b, 2);
			if (i < 0x40)
				seal_boot(512);
			else if (at >= s.row && at < s.chain)
				seal_set(s.row);
			map_anything();
		}
		ext_poke("fs", at, old, 2);
		if (i < 0x40)
			seal_boot(512);
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

/* LESSONS 1: 2 TiB in clusters of 32 KiB: a bitmap of 8 MiB, and something at its very end. */
static void test_2_tib(void **state)
{
	struct fs_report r;
	struct map *m;
	struct volume v;

	(void)state;
	make("2T", "-c 32K");
	v = volume_of();
	assert_true(v.clusters > 67000000);
	set_bit(&v, v.clusters + 1, true);
	m = good_map(&r, "1 clusters in use belong to no file");
	assert_int_equal(r.free_bytes,
		v.cluster * (number_of("dump.exfat fs | sed -n 's/^Free Clusters:[ \t]*//p'")));
	assert_int_equal(map_run(m, off_of(&v, v.clusters + 1), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, off_of(&v, v.clusters), NULL).kind, MAP_FREE);
	assert_true(peak_kib() < PEAK_KIB_MAX);
	map_free(m);
	ext_must("rm -f fs");
}

/* More free runs than are kept: the shortest stay data, and the map small. */
static void test_very_fragmented(void **state)
{
	enum { BYTES = 300000 };
	uint8_t *bits = malloc(BYTES);
	struct volume v;
	struct fs_report r;
	struct map *m;

	(void)state;
	make("3G", "-c 512");
	v = volume_of();
	memset(bits, 0x55, BYTES);
	ext_poke("fs", v.bitmap + 4000, bits, BYTES);
	free(bits);
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_non_null(strstr(r.note, FS_FREE_RUNS_COARSE));
	assert_true(map_count(m) < 10);
	assert_true(map_bytes(m, MAP_FREE) > (uint64_t)(v.clusters - 8 * BYTES - 100000) * 512);
	map_free(m);
	ext_must("rm -f fs");
}

static int setup(void **state)
{
	static const char *const tools[] = { "mkfs.exfat", "fsck.exfat", "dump.exfat", "tune.exfat",
		"python3", "partclone.exfat", "partclone.info", "tsk_recover", NULL };
	char here[4096];

	(void)state;
	assert_non_null(realpath(".", here));
	setenv("TOP", here, 0);
	ext_setup(tools);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_witness),
		cmocka_unit_test(test_against_partclone),
		cmocka_unit_test(test_restored_copy_is_whole),
		cmocka_unit_test(test_slice_and_tail),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_bitmap_and_bad_clusters),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_torn_states_are_refused),
		cmocka_unit_test(test_entries_are_refused),
		cmocka_unit_test(test_benign_entries),
		cmocka_unit_test(test_set_across_clusters),
		cmocka_unit_test(test_boot_sector),
		cmocka_unit_test(test_too_many_clusters),
		cmocka_unit_test(test_boot_checksums),
		cmocka_unit_test(test_sectors_of_4_kib),
		cmocka_unit_test(test_every_failing_read),
		cmocka_unit_test(test_crafted_volumes),
		cmocka_unit_test(test_2_tib),
		cmocka_unit_test(test_very_fragmented),
	};

	/* For tests/root/fs_exfat_test.sh. */
	if (argc == 4 && strcmp(argv[1], "--copy") == 0)
		return ext_copy_main(argv[2], argv[3]);
	return cmocka_run_group_tests_name("fs_exfat", tests, setup, NULL);
}
