/*
 * fs_ntfs: when $Bitmap is believed. Every state in the table at the top of fs_ntfs.c, made on a
 * real volume: dirty, chkdsk interrupted, journal clean or not and of both versions, hibernated;
 * then versions, the mirror, the system files, and a $Bitmap that is not what it must be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ntfs_helper.h"

/* A fresh volume of 4 KiB clusters with a file of 25 clusters, inode 64. */
static const char *volume(void)
{
	const char *path = ntfs_path("state.img");

	ntfs_make(path, 24 * MIB + 512, 512, 4096);
	ntfs_copy_in(path, "file", 100000);
	return path;
}

static struct map *taken(const char *path, const char *note)
{
	struct fs_report r;
	struct err e;
	struct map *m = ntfs_map_file(path, &r, &e);

	if (m == NULL)
		fail_msg("refused: %s", e.msg);
	assert_string_equal(r.note, note);
	return m;
}

static void refused(const char *path, const char *reason, const char *note)
{
	struct fs_report r;
	struct err e;

	assert_null(ntfs_map_file(path, &r, &e));
	if (strstr(e.msg, reason) == NULL)
		fail_msg("'%s' is not in the reason: %s", reason, e.msg);
	assert_string_equal(r.note, note);
	assert_int_equal(e.code, ERR_FORMAT);
}

static void same_as(struct map *want, const char *path, const char *note)
{
	struct map *m = taken(path, note);

	assert_true(map_equal(want, m));
	map_free(m);
}

/* Clear or set bits of $Bitmap, which must be in one run. */
static void set_bits(const char *path, uint64_t first, uint64_t count, bool used)
{
	uint64_t at = ntfs_file_offset(path, 6);

	for (uint64_t c = first; c < first + count; c++) {
		uint8_t byte, bit = (uint8_t)(1u << c % 8);

		ntfs_peek(path, at + c / 8, &byte, 1);
		byte = (uint8_t)(used ? byte | bit : byte & ~bit);
		ntfs_poke(path, at + c / 8, &byte, 1);
	}
}

static void test_volume_flags(void **state)
{
	const char *path = volume();
	struct map *clean = taken(path, "");

	(void)state;
	ntfs_set_flags(path, 0x80BE); /* all that say nothing about the allocation */
	same_as(clean, path, "");
	ntfs_set_flags(path, 0x0001);
	same_as(clean, path, "dirty volume");
	ntfs_set_flags(path, 0x4001);
	same_as(clean, path, "chkdsk was interrupted");
	ntfs_set_flags(path, 0x0100);
	same_as(clean, path, "unknown volume flags 0x0100");
	map_free(clean);
}

/* R2: what $MFT maps is data on a dirty volume, whatever $Bitmap says. */
static void test_dirty_with_a_wrong_bitmap(void **state)
{
	static const unsigned sizes[][2] = { { 512, 512 }, { 512, 4096 }, { 4096, 4096 } };
	const char *path = ntfs_path("state.img");

	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct map *clean, *more;
		uint64_t cluster = sizes[i][1], first;

		/* LESSONS 20: with 4096-byte sectors the fixup stride is still 512. */
		ntfs_make(path, 24 * MIB + 4096, sizes[i][0], (unsigned)cluster);
		ntfs_copy_in(path, "file", 25 * cluster);
		clean = taken(path, "");
		first = ntfs_file_offset(path, 64) / cluster;
		set_bits(path, first + 3, 20, false);
		refused(path, "$Bitmap calls 20 clusters free that $MFT uses", "");
		ntfs_set_flags(path, 1);
		same_as(clean, path, "dirty volume; 20 clusters in use were missing in $Bitmap");
		/* Too much in $Bitmap stays data: the union of both. */
		set_bits(path, first + 1000, 7, true);
		more = taken(path, "dirty volume; 20 clusters in use were missing in $Bitmap");
		assert_int_equal(map_bytes(clean, MAP_FREE) - map_bytes(more, MAP_FREE),
			7 * cluster);
		map_free(more);
		map_free(clean);
	}
}

/* Any pattern of missing bits, at any alignment. */
static void test_dirty_with_holes_in_the_bitmap(void **state)
{
	const char *path = ntfs_path("state.img");
	uint64_t first, count = 300;
	struct map *clean;
	uint32_t random = 1;

	(void)state;
	ntfs_make(path, 24 * MIB + 512, 512, 512);
	ntfs_copy_in(path, "file", count * 512);
	clean = taken(path, "");
	ntfs_set_flags(path, 1);
	first = ntfs_file_offset(path, 64) / 512;
	for (unsigned mask = 1; mask <= 16; mask *= 2) {
		unsigned missing = 0;
		char note[80];

		/* Stripes of 2, 4, 8 and 16 clusters, and single ones by chance. */
		for (uint64_t c = first; c < first + count; c++) {
			bool used = (c & mask) != 0;

			random = random * 1664525 + 1013904223;
			used = used && (mask > 1 || random >> 31);
			missing += !used;
			set_bits(path, c, 1, used);
		}
		snprintf(note, sizeof(note),
			"dirty volume; %u clusters in use were missing in $Bitmap", missing);
		same_as(clean, path, note);
	}
	map_free(clean);
}

/* Every run that ntfscluster lists for the file is data; returns the clusters. */
static uint64_t runs_are_data(const char *path, const char *file, const struct map *m)
{
	static char out[262144];
	long long vcn, lcn, count;
	uint64_t total = 0;

	assert_int_equal(NTFS_RUN(out, sizeof(out), "ntfscluster", "-f", "-F", file, path), 0);
	for (char *at = strstr(out, "VCN"); at != NULL; at = strchr(at + 1, '\n')) {
		/* Negative: what another record maps, and is listed there. */
		if (sscanf(at + 1, " %lld %lld %lld", &vcn, &lcn, &count) != 3 || lcn < 0)
			continue;
		assert_int_equal(ntfs_kind(m, (uint64_t)lcn * 512, (uint64_t)count * 512),
			MAP_DATA);
		total += (uint64_t)count;
	}
	return total;
}

/* A file in hundreds of pieces has an attribute list, and its runs in records of their own. */
static void test_dirty_with_extension_records(void **state)
{
	const char *path = ntfs_path("state.img");
	struct map *clean, *walked;
	uint8_t saved[6144], gaps[6144];
	struct fs_report r;
	struct err e;
	uint64_t at;

	(void)state;
	ntfs_make(path, 24 * MIB + 512, 512, 512);
	ntfs_copy_in(path, "a", 5000);
	ntfs_copy_in(path, "b", 5000);
	at = ntfs_file_offset(path, 6);
	ntfs_peek(path, at, saved, sizeof(saved));
	/* Gaps of four clusters are all that is free while the files grow. */
	for (size_t i = 0; i < sizeof(saved); i++)
		gaps[i] = saved[i] | 0x0F;
	ntfs_poke(path, at, gaps, sizeof(gaps));
	ntfs_interleave(path, 64, 65, 400, 1500);
	assert_int_not_equal(ntfs_attribute(path, 64, 0x20), 0); /* $ATTRIBUTE_LIST */
	clean = taken(path, "");
	assert_true(runs_are_data(path, "a", clean) >= 600000 / 512);

	/* $Bitmap as it was before the files grew: all of that is free. */
	ntfs_poke(path, at, saved, sizeof(saved));
	ntfs_set_flags(path, 1);
	walked = ntfs_map_file(path, &r, &e);
	assert_non_null(walked);
	assert_non_null(strstr(r.note, "clusters in use were missing in $Bitmap"));
	assert_true(runs_are_data(path, "a", walked) >= 600000 / 512);
	assert_true(runs_are_data(path, "b", walked) >= 600000 / 512);
	for (uint64_t c = 0; c < ntfs_total_clusters(path); c++) {
		enum map_kind kind = ntfs_kind(walked, c * 512, 512);

		/* Only what closed the gaps, and is nobody's, may be free now. */
		if (kind != ntfs_kind(clean, c * 512, 512))
			assert_true(kind == MAP_FREE && 0x0F >> c % 8 & 1);
	}
	map_free(walked);
	map_free(clean);
}

/* What ntfs-3g says to mounting it for writing: 0, 14 hibernated or cached, 15 unclean. */
static void probe_says(const char *path, int status)
{
	assert_int_equal(NTFS_RUN(NULL, 0, "ntfs-3g.probe", "--readwrite", path), status);
}

static void test_journal(void **state)
{
	const char *path = volume();
	struct map *clean = taken(path, "");
	uint8_t zeros[4096] = { 0 };

	(void)state;
	ntfs_write_journal(path, 1, 1, true);
	same_as(clean, path, "");
	probe_says(path, 0);
	ntfs_write_journal(path, 1, 1, false);
	refused(path, "not replayed", "dirty journal");
	probe_says(path, 15);
	ntfs_set_flags(path, 1);
	refused(path, "not replayed", "dirty volume; dirty journal");
	ntfs_set_flags(path, 0);
	ntfs_write_journal(path, 2, 0, true);
	refused(path, "fast startup", "journal in use by Windows");
	probe_says(path, 14);
	ntfs_write_journal(path, 2, 0, false);
	refused(path, "fast startup", "journal in use by Windows");
	probe_says(path, 14);
	ntfs_write_journal(path, 3, 0, true);
	refused(path, "$LogFile", "damaged journal");
	probe_says(path, 15);
	ntfs_write_journal(path, 1, 1, true);
	ntfs_poke(path, ntfs_file_offset(path, 2) + 8, zeros, 500);
	ntfs_poke(path, ntfs_file_offset(path, 2) + 4096 + 8, zeros, 500);
	refused(path, "$LogFile", "damaged journal");
	map_free(clean);
}

static void put_hiberfile(const char *path, const char *name, const char *magic, size_t bytes)
{
	ntfs_make(path, 24 * MIB + 512, 512, 4096);
	ntfs_copy_in(path, name, bytes);
	if (bytes >= 4096)
		ntfs_poke(path, ntfs_file_offset(path, 64), magic, 4);
}

static void test_hibernated(void **state)
{
	static const char *const note = "Windows is hibernated";
	const char *path = ntfs_path("state.img");

	(void)state;
	put_hiberfile(path, "hiberfil.sys", "hibr", 200000);
	refused(path, "hiberfil.sys", note);
	probe_says(path, 14);
	put_hiberfile(path, "hiberfil.sys", "HIBR", 200000);
	refused(path, "hiberfil.sys", note);
	probe_says(path, 14);
	/* ntfs-3g does not see this one; Windows would. */
	put_hiberfile(path, "HIBERFIL.SYS", "HIBR", 200000);
	refused(path, "hiberfil.sys", note);
	/* Too short to say otherwise: as libntfs-3g, on the safe side. */
	put_hiberfile(path, "hiberfil.sys", "", 100);
	refused(path, "hiberfil.sys", note);
	probe_says(path, 14);
	/* Woken up again, or never used. */
	put_hiberfile(path, "hiberfil.sys", "wake", 200000);
	map_free(taken(path, ""));
	put_hiberfile(path, "hiberfil.sys", "\0\0\0\0", 200000);
	map_free(taken(path, ""));
	/* Only in the root. */
	put_hiberfile(path, "hiberfil.sys.bak", "hibr", 200000);
	map_free(taken(path, ""));
}

static void test_version(void **state)
{
	static const struct {
		uint8_t version[2];
		bool known;
	} cases[] = { { { 1, 2 }, true }, { { 3, 0 }, true }, { { 3, 1 }, true },
		{ { 1, 1 }, false }, { { 2, 0 }, false }, { { 3, 2 }, false },
		{ { 4, 0 }, false } };
	const char *path = volume();
	size_t at = ntfs_attribute(path, 3, 0x70) + 24 + 8;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		ntfs_poke_record(path, 3, at, cases[i].version, 2);
		if (cases[i].known)
			map_free(taken(path, ""));
		else
			refused(path, "unknown NTFS version", "");
	}
}

static void test_mirror(void **state)
{
	const char *path = volume();
	uint8_t old, new;
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		/* The sequence number, at 0x10, hurts nothing else. */
		ntfs_peek(path, ntfs_mirror_offset(path, i) + 0x10, &old, 1);
		new = (uint8_t)(old + 1);
		ntfs_poke(path, ntfs_mirror_offset(path, i) + 0x10, &new, 1);
		refused(path, "$MFTMirr differs from $MFT in record", "");
		ntfs_poke(path, ntfs_mirror_offset(path, i) + 0x10, &old, 1);
	}
	map_free(taken(path, ""));
}

/* R2: a volume that calls itself clean and is not. */
static void test_clean_with_a_wrong_bitmap(void **state)
{
	static const unsigned inodes[] = { 0, 1, 2, 6, 7, 10, 64 };
	static const char *const reason = "$Bitmap calls 1 clusters free that $MFT uses";
	const char *path = volume();
	struct map *clean = taken(path, "");
	uint8_t flags[2];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(inodes); i++) {
		uint64_t cluster = ntfs_file_offset(path, inodes[i]) / 4096;

		/* Not the first cluster but the second, where there is one. */
		if (inodes[i] != 1 && inodes[i] != 6)
			cluster++;
		set_bits(path, cluster, 1, false);
		refused(path, reason, "");
		ntfs_set_flags(path, 1);
		same_as(clean, path, "dirty volume; 1 clusters in use were missing in $Bitmap");
		ntfs_set_flags(path, 0);
		set_bits(path, cluster, 1, true);
	}
	same_as(clean, path, "");

	/* $Boot without its record. */
	put_le16(flags, 0);
	ntfs_poke_record(path, 7, 0x16, flags, 2);
	set_bits(path, 1, 1, false);
	refused(path, "calls the boot sectors free", "");
	map_free(clean);
}

static void poke64(const char *path, size_t at, uint64_t value)
{
	uint8_t le[8];

	put_le64(le, value);
	ntfs_poke_record(path, 6, at, le, 8);
}

static void test_bitmap_attribute(void **state)
{
	const char *path = volume();
	struct map *clean = taken(path, "");
	uint64_t need = div_up(ntfs_total_clusters(path), 8);
	size_t name = ntfs_attribute(path, 6, 0x30), data = ntfs_attribute(path, 6, 0x80);
	static const uint8_t flags[][2] = { { 0x01, 0 }, { 0, 0x40 }, { 0, 0x80 } };
	uint8_t none[2] = { 0, 0 }, runs[8], hole[8] = { 0x01, 0x01, 0 };

	(void)state;
	/* LESSONS 32: the sizes in $FILE_NAME are stale and mean nothing. */
	poke64(path, name + 24 + 0x28, 1);
	poke64(path, name + 24 + 0x30, 1);
	same_as(clean, path, "");

	poke64(path, data + 0x30, need - 1);
	poke64(path, data + 0x38, need - 1);
	refused(path, "$Bitmap has", "");
	poke64(path, data + 0x30, need);
	refused(path, "$Bitmap has", "");
	poke64(path, data + 0x38, need);
	same_as(clean, path, "");

	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		ntfs_poke_record(path, 6, data + 0x0C, flags[i], 2);
		refused(path, "$Bitmap", "");
	}
	ntfs_poke_record(path, 6, data + 0x0C, none, 2);

	/* A hole would read as zeros: all free. */
	ntfs_peek(path, ntfs_record_offset(path, 6) + data + 0x40, runs, 8);
	ntfs_poke_record(path, 6, data + 0x40, hole, 8);
	refused(path, "$Bitmap: cluster 0 of it has no place", "");
	ntfs_poke_record(path, 6, data + 0x40, runs, 8);
	same_as(clean, path, "");
	map_free(clean);
}

/* Bad clusters stay data, and are told. */
static void test_bad_clusters(void **state)
{
	const char *path = volume();
	uint64_t clusters = ntfs_total_clusters(path), bad = 3000;
	uint8_t rec[1024], runs[16] = { 0 };
	size_t at = ntfs_attribute(path, 8, 0x80);
	struct map *m;

	(void)state;
	ntfs_peek(path, ntfs_record_offset(path, 8), rec, sizeof(rec));
	at += get_le32(rec + at + 4); /* behind the unnamed $DATA: $Bad */
	assert_int_equal(get_le32(rec + at), 0x80);
	assert_int_equal(get_le32(rec + at + 4), 0x50);
	/* Hole up to `bad`, two clusters, hole to the end. */
	runs[0] = 0x02;
	put_le16(runs + 1, (uint16_t)bad);
	runs[3] = 0x21;
	runs[4] = 2;
	put_le16(runs + 5, (uint16_t)bad);
	runs[7] = 0x02;
	put_le16(runs + 8, (uint16_t)(clusters - bad - 2));
	memcpy(rec + at + 0x48, runs, sizeof(runs));
	put_le32(rec + at + 4, 0x58);
	memset(rec + at + 0x58, 0, 8);
	put_le32(rec + at + 0x58, UINT32_MAX);
	put_le32(rec + 24, get_le32(rec + 24) + 8);
	ntfs_poke(path, ntfs_record_offset(path, 8), rec, 510);
	set_bits(path, bad, 2, true);

	m = taken(path, "2 bad clusters in $BadClus");
	assert_int_equal(ntfs_kind(m, bad * 4096, 2 * 4096), MAP_DATA);
	map_free(m);
	/* Also when only $BadClus knows of them. */
	set_bits(path, bad, 2, false);
	ntfs_set_flags(path, 1);
	m = taken(path,
		"dirty volume; 2 clusters in use were missing in $Bitmap; "
		"2 bad clusters in $BadClus");
	assert_int_equal(ntfs_kind(m, bad * 4096, 2 * 4096), MAP_DATA);
	map_free(m);
}

/* The header of libvshadow's documentation: without a catalog there are no shadow copies. */
static void test_shadow_copies(void **state)
{
	static const uint8_t id[16] = { 0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae,
		0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52 };
	const char *path = volume();
	uint8_t header[0x38] = { 0 };

	(void)state;
	memcpy(header, id, sizeof(id));
	put_le32(header + 0x10, 1);
	put_le32(header + 0x14, 1);
	put_le64(header + 0x18, 0x1e00);
	ntfs_poke(path, 0x1e00, header, sizeof(header));
	map_free(taken(path, ""));
	put_le64(header + 0x30, 0x4000);
	ntfs_poke(path, 0x1e00, header, sizeof(header));
	map_free(taken(path,
		"has shadow copies, which are whole only in an image of all blocks "
		"(--all-blocks)"));
	header[15] ^= 1;
	ntfs_poke(path, 0x1e00, header, sizeof(header));
	map_free(taken(path, ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_volume_flags),
		cmocka_unit_test(test_dirty_with_a_wrong_bitmap),
		cmocka_unit_test(test_dirty_with_holes_in_the_bitmap),
		cmocka_unit_test(test_dirty_with_extension_records),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_hibernated),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_mirror),
		cmocka_unit_test(test_clean_with_a_wrong_bitmap),
		cmocka_unit_test(test_bitmap_attribute),
		cmocka_unit_test(test_bad_clusters),
		cmocka_unit_test(test_shadow_copies),
	};

	ntfs_need_tools();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
