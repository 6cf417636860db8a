#include "fat_helper.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fs/fs_fat_int.h"

struct fat_volume fat_volume_of(const char *name)
{
	struct fat_volume v = { 0 };
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

uint32_t fat_get_entry(const struct fat_volume *v, unsigned copy, uint32_t cluster)
{
	uint8_t b[4] = { 0 };
	uint64_t at = v->fat + copy * v->fat_bytes + (uint64_t)cluster * v->bits / 8;

	ext_peek("fs", at, b, v->bits == 32 ? 4 : 2);
	if (v->bits == 12)
		return cluster % 2 ? get_le16(b) >> 4 : get_le16(b) & 0xFFF;
	return get_le32(b);
}

void fat_set_entry(const struct fat_volume *v, unsigned copy, uint32_t cluster, uint32_t value)
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

void fat_set_both(const struct fat_volume *v, uint32_t cluster, uint32_t value)
{
	fat_set_entry(v, 0, cluster, value);
	fat_set_entry(v, 1, cluster, value);
}

uint64_t fat_off_of(const struct fat_volume *v, uint32_t cluster)
{
	return v->heap + (uint64_t)(cluster - 2) * v->cluster;
}

uint64_t fat_find_entry(uint64_t dir, const char *name)
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

uint32_t fat_first_cluster(uint64_t entry)
{
	uint8_t b[32];

	ext_peek("fs", entry, b, sizeof(b));
	return get_le16(b + 26) | (uint32_t)get_le16(b + 20) << 16;
}

void fat_make(const char *size, const char *mkfs)
{
	ext_must("rm -f fs && truncate -s %s fs && mkfs.fat %s fs", size, mkfs);
}

/* Filled; then of ten files four removed, and as many others put into the gaps. */
void fat_make_aged(const char *size, const char *mkfs, const char *tree)
{
	fat_make(size, mkfs);
	ext_must("mcopy -s -i fs %s ::/tree && mdel -i fs '::/tree/file*[0369]' && "
		 "mdel -i fs '::/tree/sub/file*[147]' && mcopy -s -i fs %s/sub ::/more && "
		 "mdel -i fs '::/more/file*[258]' && mcopy -i fs %s/file1* %s/file2* ::/ && "
		 "mdel -i fs '::/file*[58]' '::/tree/sub/deep/file*[25]'",
		tree, tree, tree, tree);
}

struct map *fat_witness_map(uint64_t size)
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

struct map *fat_good_map(struct fs_report *r, const char *note)
{
	struct map *m = ext_map_of("fs", r);

	if (!r->used_only)
		fail_msg("%s", r->reason);
	assert_string_equal(r->type, "vfat");
	assert_string_equal(r->note, note);
	return m;
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

/* Only what lies behind the tables can be free. */
void fat_map_anything(void)
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

int fat_setup(void **state)
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
