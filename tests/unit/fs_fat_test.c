/*
 * FAT12, FAT16 and FAT32 without root: volumes by mkfs.fat, filled and aged with mtools, compared
 * with tests/corpus/fs/fat-map.py (a reading of the specification of its own), with what fsck.fat
 * counts, with the clusters that mshowfat gives for each file, and with partclone; copies that hold
 * only the map's data, the rest garbage, checked by fsck.fat; what must be refused; dirty volumes;
 * faults; crafted boot sectors and tables; the largest volumes.
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
#include "fs/fs_fat_int.h"

/* The test's own reading of a boot sector of mkfs.fat. */
struct volume {
	uint64_t fat, fat_bytes, root, heap;
	uint32_t cluster, clusters, root_cluster;
	unsigned bits;
};

static struct volume volume_of(const char *name)
{
	struct volume v = { 0 };
	uint8_t b[512];
	uint64_t sector, total;

	ext_peek(name, 0, b, sizeof(b));
	sector = get_le16(b + 11);
	total = get_le16(b + 19) != 0 ? get_le16(b + 19) : get_le32(b + 32);
	v.fat_bytes = sector * (get_le16(b + 22) != 0 ? get_le16(b + 22) : get_le32(b + 36));
	v.fat = sector * get_le16(b + 14);
	v.root = v.fat + b[16] * v.fat_bytes;
	v.heap = v.root + div_up(get_le16(b + 17) * 32, sector) * sector;
	v.cluster = (uint32_t)sector * b[13];
	v.clusters = (uint32_t)((total * sector - v.heap) / v.cluster);
	v.bits = get_le16(b + 22) == 0 ? 32 : v.clusters < 4085 ? 12 : 16;
	if (v.bits == 32) {
		v.root_cluster = get_le32(b + 44);
		v.root = v.heap + (uint64_t)(v.root_cluster - 2) * v.cluster;
	}
	return v;
}

/* A cluster's entry in copy `copy` of the FAT of "fs"; and the same set. */
static uint32_t get_entry(const struct volume *v, unsigned copy, uint32_t cluster)
{
	uint8_t b[4] = { 0 };
	uint64_t at = v->fat + copy * v->fat_bytes + (uint64_t)cluster * v->bits / 8;

	ext_peek("fs", at, b, v->bits == 32 ? 4 : 2);
	if (v->bits == 12)
		return cluster % 2 ? get_le16(b) >> 4 : get_le16(b) & 0xFFF;
	return get_le32(b);
}

static void set_entry(const struct volume *v, unsigned copy, uint32_t cluster, uint32_t value)
{
	uint8_t b[4];
	uint64_t at = v->fat + copy * v->fat_bytes + (uint64_t)cluster * v->bits / 8;

	if (v->bits == 12) {
		ext_peek("fs", at, b, 2);
		value = cluster % 2 ? value << 4 | (b[0] & 0xFu)
				    : value | (uint32_t)(b[1] & 0xF0) << 8;
	}
	put_le32(b, value);
	ext_poke("fs", at, b, v->bits == 32 ? 4 : 2);
}

static void set_both(const struct volume *v, uint32_t cluster, uint32_t value)
{
	set_entry(v, 0, cluster, value);
	set_entry(v, 1, cluster, value);
}

static uint64_t off_of(const struct volume *v, uint32_t cluster)
{
	return v->heap + (uint64_t)(cluster - 2) * v->cluster;
}

/* Where the entry with this short name ("A       TXT") lies in a directory of "fs". */
static uint64_t find_entry(uint64_t dir, const char *name)
{
	uint8_t b[32];

	for (uint64_t at = dir; at < dir + 64 * KIB; at += 32) {
		ext_peek("fs", at, b, sizeof(b));
		if (memcmp(b, name, 11) == 0 && b[11] != 0x0F)
			return at;
	}
	fail_msg("no entry \"%s\"", name);
	return 0;
}

static uint32_t first_cluster(uint64_t entry)
{
	uint8_t b[32];

	ext_peek("fs", entry, b, sizeof(b));
	return get_le16(b + 26) | (uint32_t)get_le16(b + 20) << 16;
}

static void make(const char *size, const char *mkfs)
{
	ext_must("rm -f fs && truncate -s %s fs && mkfs.fat %s fs", size, mkfs);
}

/* Filled; then of ten files four removed, and as many others put into the gaps. */
static void make_aged(const char *size, const char *mkfs, const char *tree)
{
	make(size, mkfs);
	ext_must("mcopy -s -i fs %s ::/tree && mdel -i fs '::/tree/file*[0369]' && "
		 "mdel -i fs '::/tree/sub/file*[147]' && mcopy -s -i fs %s/sub ::/more && "
		 "mdel -i fs '::/more/file*[258]' && mcopy -i fs %s/file1* %s/file2* ::/ && "
		 "mdel -i fs '::/file*[58]' '::/tree/sub/deep/file*[25]'",
		tree, tree, tree, tree);
}

/* fat-map.py's map. */
static struct map *witness_map(uint64_t size)
{
	struct map *m = map_new_full(size);
	uint64_t off, len;
	FILE *f;

	ext_must("python3 '%s/tests/corpus/fs/fat-map.py' fs >witness", getenv("TOP"));
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
	assert_string_equal(r->type, "vfat");
	assert_string_equal(r->note, note);
	return m;
}

struct options {
	unsigned bits;
	const char *size;
	const char *mkfs;
	const char *tree;
};

static const struct options sets[] = {
	{ 12, "1440K", "", "small" },
	{ 12, "5M", "-F 12 -s 4", "small" },
	{ 12, "2000003", "-F 12 -s 1", "small" },
	{ 12, "16M", "-F 12 -s 16 -f 1", "tree" },
	{ 12, "30M", "-F 12 -S 4096 -s 2", "tree" },
	{ 16, "12M", "-F 16 -s 4", "tree" },
	{ 16, "9M", "-F 16 -s 2 -r 1024 -R 7", "tree" },
	{ 16, "100001000", "-F 16 -s 8", "tree" },
	{ 16, "300M", "-F 16 -s 128", "tree" },
	{ 16, "64M", "-F 16 -S 1024", "tree" },
	{ 16, "64M", "-F 16 -S 2048 -s 4", "tree" },
	{ 16, "70M", "-F 16 -S 4096 -s 2 -f 3", "tree" },
	{ 32, "40M", "-F 32 -s 1", "tree" },
	{ 32, "50000000", "-F 32 -s 1 -f 1 -b 0 -R 8", "tree" },
	{ 32, "300M", "-F 32 -s 8 -n LABEL", "tree" },
	{ 32, "70M", "-F 32 -S 1024 -s 1 -f 4", "tree" },
	{ 32, "300M", "-F 32 -S 4096 -s 1", "tree" },
	{ 32, "5G", "-F 32 -s 128", "tree" },
	{ 32, "36G", "-F 32 -S 4096 -s 128", "tree" },
};

/* LESSONS 19, 29, R2, R3: free is what the specification calls free, to the byte. */
static void test_against_witness(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sets); i++) {
		const struct options *o = &sets[i];
		uint64_t used = 0, all = 0;
		struct fs_report r;
		struct map *got, *want;
		struct volume v;
		char out[512];

		make_aged(o->size, o->mkfs, o->tree);
		v = volume_of("fs");
		got = good_map(&r, "");
		want = witness_map(map_size(got));
		ext_assert_equal_maps(got, want, o->mkfs);
		assert_int_equal(v.bits, o->bits);
		assert_int_equal(r.block_bytes, v.cluster);
		if (map_count(got) < 6)
			fail_msg("%s: only %zu extents", o->mkfs, map_count(got));
		map_free(want);
		map_free(got);
		if (strstr(o->mkfs, "-f 3") != NULL || strstr(o->mkfs, "-f 4") != NULL)
			continue; /* fsck.fat knows no more than two copies */
		/* By another way: "fs: 190 files, 1309/16303 clusters". */
		assert_int_equal(ext_sh(out, sizeof(out), "fsck.fat -n fs | tail -n 1"), 0);
		assert_non_null(strstr(out, "files, "));
		assert_int_equal(sscanf(strstr(out, "files, "), "files, %" SCNu64 "/%" SCNu64,
					 &used, &all),
			2);
		assert_int_equal(all, v.clusters);
		assert_int_equal(r.free_bytes, (all - used) * v.cluster);
	}
}

/* mshowfat prints "::/tree/file1 <5-9> <12>" for each file: all of it is data. */
static void test_against_mshowfat(void **state)
{
	struct volume v;
	struct fs_report r;
	struct map *m;
	char line[4096];
	size_t ranges = 0;
	FILE *f;

	(void)state;
	make_aged("12M", "-F 16 -s 4", "tree");
	v = volume_of("fs");
	m = good_map(&r, "");
	ext_must("mshowfat -i fs '::/*' '::/tree/*' '::/tree/sub/*' '::/tree/sub/deep/*' "
		 "'::/more/*' >shown");
	f = fopen(ext_path("shown"), "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		for (char *at = strchr(line, '<'); at != NULL; at = strchr(at + 1, '<')) {
			char *end;
			uint64_t first = strtoull(at + 1, &end, 10), last = first;
			struct extent x;

			if (*end == '-')
				last = strtoull(end + 1, &end, 10);
			assert_int_equal(*end, '>');
			x = map_run(m, off_of(&v, (uint32_t)first), NULL);
			assert_int_equal(x.kind, MAP_DATA);
			assert_true(x.len >= (last - first + 1) * v.cluster);
			ranges++;
		}
	}
	fclose(f);
	assert_true(ranges > 100);
	map_free(m);
}

/* How many sectors another imaging tool keeps. */
static void test_against_partclone(void **state)
{
	uint64_t used = 0, block = 0;
	struct fs_report r;
	struct map *m;
	char out[256];

	(void)state;
	make_aged("40M", "-F 32 -s 1", "tree");
	m = good_map(&r, "");
	assert_int_equal(ext_sh(out, sizeof(out),
				 "partclone.vfat -c -s fs -o pc.img -L pc.log >/dev/null 2>&1 && "
				 "partclone.info -s pc.img 2>&1 | sed -n "
				 "'s/^Space in use:.*= *\\([0-9]*\\) Blocks/\\1/p; "
				 "s/^Block size: *\\([0-9]*\\) Byte/\\1/p'"),
		0);
	assert_int_equal(sscanf(out, "%" SCNu64 " %" SCNu64, &used, &block), 2);
	assert_int_equal(block, 512);
	assert_int_equal(map_bytes(m, MAP_DATA), used * block);
	map_free(m);
}

/* Only the data of the map, all else garbage: the volume is whole and every file there. */
static void test_restored_copy_is_whole(void **state)
{
	static const size_t chosen[] = { 0, 4, 6, 10, 12, 16 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(chosen); i++) {
		const struct options *o = &sets[chosen[i]];
		struct fs_report r;
		struct map *m;
		struct dev *d;

		make_aged(o->size, o->mkfs, o->tree);
		d = ext_open("fs");
		m = ext_map_dev(d, &r);
		assert_true(r.used_only);
		ext_restore(d, m, "copy");
		dev_close(d);
		map_free(m);
		ext_must("fsck.fat -n copy && rm -rf a b && mkdir a b && "
			 "mcopy -s -i fs '::/*' a && mcopy -s -i copy '::/*' b && diff -r a b && "
			 "[ $(find b -type f | wc -l) -gt 20 ]");
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
	/* Three sectors are too few for a cluster. */
	make_aged("20973056", "-F 16 -s 8 -R 1", "tree");
	v = volume_of("fs");
	end = v.heap + (uint64_t)v.clusters * v.cluster;
	assert_true(end < 20973056 && end + v.cluster > 20973056);
	alone = good_map(&r, "");
	ext_must("(head -c 65536 /dev/urandom; cat fs; head -c %" PRIu64 " /dev/urandom) >part",
		tail);
	m = ext_map_slice("part", base, 20973056 + tail, &r);
	assert_true(r.used_only);
	assert_int_equal(map_bytes(m, MAP_FREE), map_bytes(alone, MAP_FREE));
	assert_int_equal(map_run(m, end - 1, NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, end, NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, end, NULL).len, map_size(m) - end);
	map_free(m);
	map_free(alone);

	/* Cut short it is larger than its device. */
	m = ext_map_slice("part", base, end - 512, &r);
	assert_false(r.used_only);
	map_free(m);
}

/* Label and serial number, also where the root directory is far from what is copied on sight. */
static void test_report(void **state)
{
	static const struct fault_plan none = { 0 };
	struct dev *file, *d = NULL;
	struct fs_report r;

	(void)state;
	make("3G", "-F 32 -s 1 -n 'A LABEL' -i 1234abcd");
	assert_true(volume_of("fs").root > 8 * MIB);
	file = ext_open("fs");
	assert_int_equal(dev_open_fault(file, &none, &d, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fs_probe(i == 0 ? file : d, &r, NULL), 0);
		assert_string_equal(r.type, "vfat");
		assert_string_equal(r.label, "A LABEL");
		assert_string_equal(r.uuid, "1234-ABCD");
		assert_string_equal(r.reason, "");
		map_free(ext_map_dev(i == 0 ? file : d, &r));
		assert_true(r.used_only);
		assert_string_equal(r.label, "A LABEL");
		assert_int_equal(r.block_bytes, 512);
	}
	dev_close(d);
	dev_close(file);
}

/* ---- What the tables say ------------------------------------------------------------------ */

/* Bad clusters, clusters of no file, reserved bits, and copies that differ: all of it is data. */
static void test_every_copy_counts(void **state)
{
	struct volume v;
	struct fs_report r;
	struct map *m;
	uint32_t last;

	(void)state;
	make_aged("40M", "-F 32 -s 1", "tree");
	v = volume_of("fs");
	last = v.clusters + 1;
	set_both(&v, last, 0x0FFFFFF7);
	set_both(&v, last - 2, 0x0FFFFFFF);
	set_both(&v, last - 4, 0xA0000000); /* free: the high four bits mean nothing */
	set_entry(&v, 1, last - 6, 0x0FFFFFFF);
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_non_null(strstr(r.note, "the copies of the FAT differ in 1 entries"));
	assert_non_null(strstr(r.note, "2 clusters in use belong to no file"));
	assert_non_null(strstr(r.note, "1 bad clusters"));
	assert_non_null(strstr(r.note, "FSInfo says"));
	assert_int_equal(map_run(m, off_of(&v, last), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, off_of(&v, last - 1), NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, off_of(&v, last - 2), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, off_of(&v, last - 5), NULL).len, 3 * 512);
	assert_int_equal(map_run(m, off_of(&v, last - 5), NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, off_of(&v, last - 6), NULL).kind, MAP_DATA);
	map_free(m);
}

/* BPB_ExtFlags: the second copy alone counts; what the first still has stays data. */
static void test_mirroring_off(void **state)
{
	const uint8_t flags[2] = { 0x81, 0 };
	struct volume v;
	struct fs_report r;
	struct map *m;

	(void)state;
	make_aged("40M", "-F 32 -s 1", "tree");
	v = volume_of("fs");
	ext_poke("fs", 0x28, flags, 2);
	set_entry(&v, 0, v.clusters + 1, 0x0FFFFFFF);
	m = good_map(&r,
		"the copies of the FAT differ in 1 entries; "
		"1 clusters in use belong to no file");
	assert_int_equal(map_run(m, off_of(&v, v.clusters + 1), NULL).kind, MAP_DATA);
	map_free(m);
	/* The copy that counts is the one that is walked. */
	set_entry(&v, 0, first_cluster(find_entry(v.root, "TREE       ")), 0);
	map_free(good_map(&r,
		"the copies of the FAT differ in 2 entries; "
		"1 clusters in use belong to no file"));
	set_entry(&v, 1, first_cluster(find_entry(v.root, "TREE       ")), 0);
	ext_assert_refused("fs", "which is free");
}

/* A stick that was pulled out: the flags are a remark, and what is written is as it should be. */
static void test_dirty(void **state)
{
	static const struct {
		const char *size, *mkfs;
		uint32_t field;	 /* BS_Reserved1 */
		uint32_t second; /* FAT[1] when dirty; 0: FAT12 has no flag there */
		uint32_t error;
	} kinds[] = {
		{ "12M", "-F 12 -s 8", 0x25, 0, 0 },
		{ "16M", "-F 16 -s 2", 0x25, 0x7FFF, 0xBFFF },
		{ "40M", "-F 32 -s 1", 0x41, 0x07FFFFFF, 0x0BFFFFFF },
	};
	const uint8_t one = 1, zero = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct fs_report r;
		struct map *clean, *m;
		struct volume v;

		make_aged(kinds[i].size, kinds[i].mkfs, "tree");
		v = volume_of("fs");
		clean = good_map(&r, "");
		ext_poke("fs", kinds[i].field, &one, 1);
		m = good_map(&r, "not cleanly unmounted");
		assert_true(map_equal(clean, m));
		map_free(m);
		ext_poke("fs", kinds[i].field, &zero, 1);
		if (kinds[i].second != 0) {
			set_both(&v, 1, kinds[i].second);
			m = good_map(&r, "not cleanly unmounted");
			assert_true(map_equal(clean, m));
			map_free(m);
			set_both(&v, 1, kinds[i].error);
			map_free(good_map(&r, "read or write errors were met on it"));
		}
		map_free(clean);
	}
}

/*
 * The cuts that a pulled stick leaves, on each type: what the directory says and the table does
 * not, and the other way round.
 */
static void test_torn_states_are_refused(void **state)
{
	static const char *const sizes[] = { "12M", "16M", "40M" };
	static const char *const mkfs[] = { "-F 12 -s 8", "-F 16 -s 2", "-F 32 -s 1" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(mkfs); i++) {
		uint32_t a, b, dir, end = i == 0 ? 0xFFF : i == 1 ? 0xFFFF : 0x0FFFFFFF;
		uint64_t entry;
		uint8_t size[4];
		struct volume v;
		struct fs_report r;

		make(sizes[i], mkfs[i]);
		ext_must("head -c 20000 /dev/urandom >a.txt && cp a.txt b.txt && "
			 "mcopy -i fs a.txt b.txt ::/ && mmd -i fs ::/dir ::/dir/in && "
			 "mcopy -i fs a.txt ::/dir/in && cp fs good");
		v = volume_of("fs");
		entry = find_entry(v.root, "A       TXT");
		a = first_cluster(entry);
		b = first_cluster(find_entry(v.root, "B       TXT"));
		dir = first_cluster(find_entry(v.root, "DIR        "));
		map_free(good_map(&r, ""));

		set_both(&v, a, 0); /* the chain never written */
		ext_assert_refused("fs", "which is free");
		set_both(&v, a, end); /* the chain written in part */
		ext_assert_refused("fs", "20000 bytes, but only 1 clusters");
		ext_must("cp good fs");
		set_both(&v, get_entry(&v, 0, a), 0);
		ext_assert_refused("fs", "which is free");
		ext_must("cp good fs");
		set_both(&v, a, b); /* two files in one chain */
		ext_assert_refused("fs", "in use already");
		set_both(&v, a, a); /* a circle */
		ext_assert_refused("fs", "in use already");
		set_both(&v, a, v.clusters + 2); /* one too far */
		ext_assert_refused("fs", "its chain has the value");
		set_both(&v, a, 1);
		ext_assert_refused("fs", "its chain has the value 0x1 at");
		set_both(&v, a, end - 8); /* a bad cluster in it */
		ext_assert_refused("fs", "its chain has the value");
		ext_must("cp good fs");

		put_le32(size, 200000);
		ext_poke("fs", entry + 28, size, 4);
		ext_assert_refused("fs", "200000 bytes");
		ext_must("cp good fs");
		put_le16(size, 0); /* bytes and no cluster */
		ext_poke("fs", entry + 26, size, 2);
		ext_assert_refused("fs", "only 0 clusters");
		put_le16(size, 1);
		ext_poke("fs", entry + 26, size, 2);
		ext_assert_refused("fs", "cluster 1, which is none");
		put_le16(size, (uint16_t)(v.clusters + 2));
		ext_poke("fs", entry + 26, size, 2);
		if (v.bits < 32)
			ext_assert_refused("fs", "which is none");
		ext_must("cp good fs");

		/* A directory whose first cluster holds something else. */
		ext_poke("fs", off_of(&v, dir), "garbage", 7);
		ext_assert_refused("fs", "it is not \".\"");
		ext_must("cp good fs");
		put_le16(size, (uint16_t)(dir + 1));
		ext_poke("fs", off_of(&v, dir) + 26, size, 2);
		ext_assert_refused("fs", "it refers to cluster");
		ext_must("cp good fs");
		ext_poke("fs", off_of(&v, dir) + 32 + 26, size, 2);
		ext_assert_refused("fs", "entry 1: it refers to cluster");
		ext_must("cp good fs");
		/* Below the root's child: what is wrong deeper down is found too. */
		entry = find_entry(off_of(&v, dir), "IN         ");
		put_le16(size, (uint16_t)(dir + 2));
		ext_poke("fs", entry + 26, size, 2);
		ext_assert_refused("fs", "directory at cluster");
		ext_must("cp good fs");

		/* Behind the end that "B" becomes, entries go on: Linux would show them. */
		ext_poke("fs", find_entry(v.root, "A       TXT"), "", 1);
		ext_assert_refused("fs", "behind the directory's end");
		ext_must("cp good fs");
		ext_poke("fs", find_entry(v.root, "A       TXT") + 11, "\x18", 1);
		ext_assert_refused("fs", "its attributes are 0x18");
		assert_int_equal(ext_sh(NULL, 0, "cp good fs"), 0);
	}
}

/* Long names, labels and deleted entries refer to nothing, whatever is in their fields. */
static void test_entries_without_clusters(void **state)
{
	static const uint8_t many[2] = { 0xEE, 0xEE };
	struct fs_report r;
	struct map *before, *after;
	struct volume v;
	uint64_t at;

	(void)state;
	make("16M", "-F 16 -s 2 -n LABEL");
	ext_must("mcopy -i fs small/file3 '::/a name that is long' && "
		 "mcopy -i fs small/file6 ::/gone && mdel -i fs ::/gone && "
		 "mcopy -i fs small/file9 ::/keep");
	v = volume_of("fs");
	before = good_map(&r, "");
	for (at = v.root; at < v.root + 8 * 32; at += 32) {
		uint8_t b[32];

		ext_peek("fs", at, b, sizeof(b));
		if (b[11] == 0x0F || b[11] == 0x08 || b[0] == 0xE5)
			ext_poke("fs", at + 26, many, 2);
		/* The high half is no part of a number of FAT16. */
		if (b[0] != 0)
			ext_poke("fs", at + 20, many, 2);
	}
	after = good_map(&r, "");
	assert_true(map_equal(before, after));
	map_free(before);
	map_free(after);
}

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
		{ 0x13, 2, 16, "mixes fields" },
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
	make("16M", "-F 16 -s 2");
	check_patches(fat16, COUNT_OF(fat16));
	make("40M", "-F 32 -s 1");
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
	struct fs_report r;
	struct map *m, *want;

	(void)state;
	make("33M", "-F 32 -s 8");
	m = good_map(&r, "");
	want = witness_map(map_size(m));
	ext_assert_equal_maps(m, want, "small FAT32");
	assert_true(volume_of("fs").clusters < 65525);
	map_free(m);
	map_free(want);
}

static void test_atari_is_refused(void **state)
{
	struct fs_report r;
	struct err e = { 0 };
	struct dev *d;
	struct map *m;

	(void)state;
	make("33M", "-A");
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
	make_aged("40M", "-F 32 -s 1", "tree");
	good = good_map(&r, "");
	put_le32(b, 77);
	ext_poke("fs", 512 + 0x1E8, b, 4);
	snprintf(note, sizeof(note), "FSInfo says 77 free clusters, the FAT %" PRIu64,
		map_bytes(good, MAP_FREE) / 512);
	m = good_map(&r, note);
	assert_true(map_equal(m, good));
	map_free(m);
	ext_poke("fs", 0x30, off, 2);
	map_free(good_map(&r, ""));
	put_le16(b, 1);
	ext_poke("fs", 0x30, b, 2);
	put_le32(b, UINT32_MAX);
	ext_poke("fs", 512 + 0x1E8, b, 4);
	map_free(good_map(&r, ""));
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
	make_aged("40M", "-F 32 -s 1", "small");
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

/* What a map of anything must keep to: only whole clusters behind the tables are free. */
static void map_anything(void)
{
	struct fs_report r = { 0 };
	struct err e = { 0 };
	struct dev *d = ext_open("fs");
	struct map *m = map_new_full(dev_size(d));
	uint8_t boot[512];
	struct fat_boot b;

	if (fs_fat.map(d, m, &r, &e) < 0) {
		assert_true(e.msg[0] != '\0');
	} else {
		ext_peek("fs", 0, boot, sizeof(boot));
		assert_int_equal(fs_fat_boot_decode(boot, 512, dev_size(d), &b, &e), 0);
		assert_true(map_run(m, 0, NULL).kind == MAP_DATA);
		assert_true(map_run(m, 0, NULL).len >= b.heap_off);
	}
	map_free(m);
	dev_close(d);
}

/* Each 16-bit word of the boot sector's fields, and of a directory, set to each of these. */
static void test_crafted_volumes(void **state)
{
	static const uint16_t values[] = { 0, 1, 2, 7, 0x80, 0x1FF, 0x7FFF, 0xFFF7, 0xFFFF };
	static const char *const sizes[] = { "12M", "16M", "40M" };
	static const char *const mkfs[] = { "-F 12 -s 8", "-F 16 -s 2", "-F 32 -s 1" };

	(void)state;
	for (size_t k = 0; k < COUNT_OF(mkfs); k++) {
		struct volume v;
		uint8_t old[2], b[2];

		make(sizes[k], mkfs[k]);
		ext_must("mcopy -i fs small/file3 small/file6 ::/ && mmd -i fs ::/dir");
		/* Absurd sizes have room on a device that is mostly not there. */
		ext_must("truncate -s 2T fs");
		v = volume_of("fs");
		for (unsigned i = 0; i < 0x48 + 256; i += 2) {
			uint64_t at = i < 0x48 ? i : v.root + i - 0x48;

			ext_peek("fs", at, old, 2);
			for (size_t n = 0; n < COUNT_OF(values); n++) {
				put_le16(b, values[n]);
				ext_poke("fs", at, b, 2);
				/* A FAT of gigabytes is real work: not for a unit test. */
				if (at != 0x22 && at != 0x26)
					map_anything();
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
	struct volume v;
	uint8_t b[32] = "END     BIN ";

	(void)state;
	make("2199023255040", "-F 32 -s 64"); /* 2^32 - 1 sectors */
	v = volume_of("fs");
	assert_true(v.clusters > 67000000);
	set_both(&v, v.clusters + 1, 0x0FFFFFFF);
	set_both(&v, v.clusters - 1, v.clusters + 1);
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
	assert_int_equal(map_run(m, off_of(&v, v.clusters), NULL).kind, MAP_FREE);
	assert_int_equal(map_run(m, off_of(&v, v.clusters), NULL).len, v.cluster);
	assert_true(peak_kib() < PEAK_KIB_MAX);
	map_free(m);
	ext_must("rm -f fs");
}

/* More free runs than are kept: the shortest stay data, and the map small. */
static void test_very_fragmented(void **state)
{
	enum { USED = 2300000 };
	uint8_t *fat;
	struct volume v;
	struct fs_report r;
	struct map *m;

	(void)state;
	make("3G", "-F 32 -s 1");
	v = volume_of("fs");
	fat = calloc(USED, 4);
	assert_non_null(fat);
	for (uint32_t i = 0; i < USED; i += 2)
		put_le32(fat + (size_t)i * 4, 0x0FFFFFFF);
	ext_poke("fs", v.fat + 4000, fat, (size_t)USED * 4);
	ext_poke("fs", v.fat + v.fat_bytes + 4000, fat, (size_t)USED * 4);
	free(fat);
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	assert_non_null(strstr(r.note, "very fragmented: free runs under 2 clusters are taken"));
	assert_true(map_count(m) < 10);
	assert_true(map_bytes(m, MAP_FREE) > (uint64_t)(v.clusters - USED - 1003) * 512);
	assert_int_equal(map_run(m, off_of(&v, 1001), NULL).kind, MAP_DATA);
	assert_int_equal(map_run(m, off_of(&v, 1000 + USED), NULL).kind, MAP_FREE);
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
	struct volume v;

	(void)state;
	make("9G", "-F 32 -s 1");
	v = volume_of("fs");
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

/* Many files in three directories: sizes, names and bytes follow from the number. */
static void make_tree(const char *dir, unsigned files, unsigned max_bytes)
{
	static const char *const where[] = { "", "sub/", "sub/deep/" };
	uint32_t seed = files;

	ext_must("mkdir -p %s/sub/deep", dir);
	for (unsigned i = 0; i < files; i++) {
		char name[64];
		FILE *f;

		snprintf(name, sizeof(name), "%s/%sfile%u", dir, where[i % 3], i);
		f = fopen(ext_path(name), "wb");
		assert_non_null(f);
		seed = seed * 1664525 + 1013904223;
		for (unsigned n = (seed >> 8) % (i % 50 == 7 ? 40 * max_bytes : max_bytes); n > 0;
			n--) {
			seed = seed * 1664525 + 1013904223;
			putc((int)(seed >> 24), f);
		}
		assert_int_equal(fclose(f), 0);
	}
}

static int setup(void **state)
{
	static const char *const tools[] = { "mkfs.fat", "fsck.fat", "mcopy", "mdel", "mmd",
		"mshowfat", "python3", "partclone.vfat", "partclone.info", NULL };
	char here[4096];

	(void)state;
	assert_non_null(realpath(".", here));
	setenv("TOP", here, 0);
	setenv("MTOOLS_SKIP_CHECK", "1", 1);
	ext_setup(tools);
	make_tree("tree", 300, 9000);
	make_tree("small", 90, 2500);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_witness),
		cmocka_unit_test(test_against_mshowfat),
		cmocka_unit_test(test_against_partclone),
		cmocka_unit_test(test_restored_copy_is_whole),
		cmocka_unit_test(test_slice_and_tail),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_every_copy_counts),
		cmocka_unit_test(test_mirroring_off),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_torn_states_are_refused),
		cmocka_unit_test(test_entries_without_clusters),
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

	/* For tests/root/fs_fat_test.sh. */
	if (argc == 4 && strcmp(argv[1], "--copy") == 0)
		return ext_copy_main(argv[2], argv[3]);
	return cmocka_run_group_tests_name("fs_fat", tests, setup, NULL);
}
