/*
 * fs_ntfs against volumes that are damaged, cut, or made to mislead: each is refused with a reason
 * that names the place, in bounded time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fs/fs_ntfs_int.h"
#include "ntfs_helper.h"

static const char *volume(void)
{
	const char *path = ntfs_path("hostile.img");

	ntfs_make(path, 24 * MIB + 512, 512, 4096);
	ntfs_copy_in(path, "file", 100000);
	return path;
}

static void refused(const char *path, const char *reason)
{
	struct fs_report r;
	struct err e;

	assert_null(ntfs_map_file(path, &r, &e));
	if (strstr(e.msg, reason) == NULL)
		fail_msg("'%s' is not in the reason: %s", reason, e.msg);
	assert_int_equal(e.code, ERR_FORMAT);
}

static void good_boot(uint8_t *p)
{
	memset(p, 0, 512);
	memcpy(p + 3, "NTFS    ", 8);
	put_le16(p + 0x0B, 512);
	p[0x0D] = 8;
	put_le64(p + 0x28, 100007);
	put_le64(p + 0x30, 4);
	put_le64(p + 0x38, 5000);
	p[0x40] = 0xF6;
	p[0x44] = 1;
}

static int decode(const uint8_t *p, uint64_t device, struct ntfs_boot *b)
{
	struct err e = { 0 };
	int rc = fs_ntfs_boot_decode(p, 512, device, b, &e);

	assert_true(rc == 0 || (rc == -ERR_FORMAT && strncmp(e.msg, "boot sector: ", 13) == 0));
	return rc;
}

static void test_boot_sector(void **state)
{
	static const struct {
		size_t at;
		unsigned size;
		uint64_t value;
	} bad[] = {
		{ 0x03, 1, 'M' },
		{ 0x0B, 2, 0 },
		{ 0x0B, 2, 256 },
		{ 0x0B, 2, 768 },
		{ 0x0B, 2, 8192 },
		{ 0x0D, 1, 0 },
		{ 0x0D, 1, 3 },
		{ 0x0D, 1, 0xF0 }, /* 2^16 sectors: more than 2 MiB */
		{ 0x0D, 1, 0xF3 },
		{ 0x0D, 1, 0xEF },
		{ 0x28, 8, 0 },
		{ 0x28, 8, 7 },		 /* not one cluster */
		{ 0x28, 8, 100008 },	 /* one sector more than the device */
		{ 0x28, 8, UINT64_MAX }, /* times 512: over 64 bits */
		{ 0x28, 8, (uint64_t)1 << 55 },
		{ 0x30, 8, 0 },
		{ 0x30, 8, 12500 }, /* the cluster count */
		{ 0x30, 8, 5000 },  /* where the mirror is */
		{ 0x30, 8, UINT64_MAX },
		{ 0x38, 8, 0 },
		{ 0x38, 8, 12500 },
		{ 0x40, 1, 0 },
		{ 0x40, 1, 2 },	   /* 8 KiB records */
		{ 0x40, 1, 0xF8 }, /* 256 bytes */
		{ 0x40, 1, 0xF3 }, /* 8 KiB */
		{ 0x40, 1, 0x80 },
		{ 0x40, 1, 0xE1 },
	};
	struct ntfs_boot b;
	struct err e;
	uint8_t p[512];
	uint64_t device = 100007 * 512;

	(void)state;
	good_boot(p);
	assert_int_equal(decode(p, device, &b), 0);
	assert_int_equal(b.cluster_bytes, 4096);
	assert_int_equal(b.clusters, 12500); /* LESSONS 17: rounded down */
	assert_int_equal(b.record_bytes, 1024);
	for (size_t n = 0; n < 512; n++)
		assert_int_equal(fs_ntfs_boot_decode(p, n, device, &b, &e), -ERR_FORMAT);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		uint8_t le[8];

		good_boot(p);
		put_le64(le, bad[i].value);
		memcpy(p + bad[i].at, le, bad[i].size);
		if (decode(p, device, &b) == 0)
			fail_msg("case %zu is taken", i);
	}
	/* The largest: 2^32 - 1 clusters of 2 MiB, by the second way of writing their size. */
	good_boot(p);
	p[0x0D] = 0xF4;
	put_le64(p + 0x28, (uint64_t)UINT32_MAX * 4096 + 4095);
	assert_int_equal(decode(p, (uint64_t)1 << 53, &b), 0);
	assert_int_equal(b.cluster_bytes, 2 * MIB);
	assert_int_equal(b.clusters, UINT32_MAX);
	put_le64(p + 0x28, (uint64_t)UINT32_MAX * 4096 + 4096);
	assert_int_not_equal(decode(p, UINT64_MAX, &b), 0);
}

/* A record in use with one non-resident attribute with these runs, mapping `count` clusters. */
static void make_record(uint8_t *rec, size_t n, const uint8_t *runs, size_t len, uint64_t count)
{
	uint8_t *a = rec + 0x38 + 2 * (n / 512 - 2);

	memset(rec, 0, n);
	a = rec + align_up((uint64_t)(a - rec), 8);
	memcpy(rec, "FILE", 4);
	put_le16(rec + 4, 0x30);
	put_le16(rec + 6, (uint16_t)(n / 512 + 1));
	put_le16(rec + 0x14, (uint16_t)(a - rec));
	put_le16(rec + 0x16, 1);
	put_le32(a, 0x80);
	put_le32(a + 4, (uint32_t)align_up(0x40 + len, 8));
	a[8] = 1;
	put_le64(a + 0x18, count - 1);
	put_le16(a + 0x20, 0x40);
	memcpy(a + 0x40, runs, len);
	a += get_le32(a + 4);
	put_le32(a, UINT32_MAX);
	put_le32(rec + 0x18, (uint32_t)(a - rec) + 8);
	put_le16(rec + 0x30, 0x1234);
	for (size_t i = 1; i <= n / 512; i++)
		put_le16(rec + i * 512 - 2, 0x1234);
}

struct seen {
	uint64_t calls, clusters, last;
};

static int see(void *user, uint64_t cluster, uint64_t count, struct err *e)
{
	struct seen *s = user;

	(void)e;
	s->calls++;
	s->clusters += count;
	s->last = cluster + count;
	return 0;
}

static int runs_of(uint8_t *rec, size_t n, struct seen *s, struct err *e)
{
	memset(s, 0, sizeof(*s));
	memset(e, 0, sizeof(*e));
	return fs_ntfs_record_runs(rec, n, 1000, see, s, e);
}

static void test_data_runs(void **state)
{
	static const struct {
		uint8_t runs[24];
		size_t len;
		uint64_t count;
		const char *reason; /* NULL: taken */
		uint64_t clusters;
	} cases[] = {
		{ { 0x11, 5, 10, 0 }, 4, 5, NULL, 5 },
		{ { 0x21, 5, 10, 0, 0x11, 5, 0xF6, 0 }, 8, 10, NULL, 10 }, /* back to cluster 0 */
		{ { 0x01, 90, 0x11, 1, 1, 0 }, 6, 91, NULL, 1 },	   /* a hole first */
		{ { 0 }, 1, 0, NULL, 0 },
		{ { 0x22, 0xE8, 3, 0, 0, 0 }, 6, 1000, NULL, 1000 },
		{ { 0x22, 0xE8, 3, 1, 0, 0 }, 6, 1000, "outside", 0 },
		{ { 0x21, 1, 0xE8, 3, 0 }, 5, 1, "outside", 0 },
		{ { 0x11, 1, 0xFF, 0 }, 4, 1, "outside", 0 }, /* cluster -1 */
		{ { 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0x81, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
			  0xFF, 0x7F, 0 },
			21, 2, "outside", 0 },
		{ { 0x11, 0x80, 5, 0 }, 4, 5, "bad length", 0 },
		{ { 0x11, 0, 5, 0 }, 4, 0, "bad length", 0 },
		{ { 0x10, 5, 0 }, 3, 5, "bad data run", 0 }, /* no length */
		{ { 0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0 }, 12, 1, "bad data run", 0 },
		{ { 0x91, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0 }, 12, 1, "bad data run", 0 },
		{ { 0x11, 5, 10, 0 }, 4, 6, "do not match", 5 },
		{ { 0x11, 5, 10, 0x11, 5, 10, 0x11, 5 }, 8, 15, "bad data run", 10 },
		{ { 0x11, 5, 10, 0x11, 5, 10, 0x01, 5 }, 8, 15, "without an end", 10 },
		/* Two holes of 2^63 - 1 and one cluster more than 64 bits count. */
		{ { 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x08, 0xFF, 0xFF, 0xFF,
			  0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x01, 2, 0 },
			21, 0, "bad length", 0 },
	};
	uint8_t rec[4096];
	struct seen s;
	struct err e;

	(void)state;
	for (size_t n = 512; n <= 4096; n *= 2) {
		for (size_t i = 0; i < COUNT_OF(cases); i++) {
			int rc;

			if (n == 512 && cases[i].len > 8)
				continue;
			make_record(rec, n, cases[i].runs, cases[i].len, cases[i].count);
			rc = runs_of(rec, n, &s, &e);
			if ((rc == 0) != (cases[i].reason == NULL) ||
				(rc != 0 && strstr(e.msg, cases[i].reason) == NULL))
				fail_msg("case %zu: %d %s", i, rc, e.msg);
			assert_int_equal(s.clusters, cases[i].clusters);
		}
	}
}

static void test_record_header(void **state)
{
	static const struct {
		size_t at;
		unsigned size;
		uint64_t value;
		const char *reason; /* NULL: taken, without runs */
	} cases[] = {
		{ 0x00, 4, 0, NULL }, /* never written */
		{ 0x16, 2, 0, NULL }, /* not in use */
		{ 0x16, 2, 2, NULL },
		{ 0x00, 4, 0x44414142, "no FILE signature" }, /* "BAAD" */
		{ 0x04, 2, 0, "update sequence" },
		{ 0x04, 2, 0x31, "update sequence" },
		{ 0x04, 2, 506, "update sequence" },
		{ 0x04, 2, 0xFFF0, "update sequence" },
		{ 0x06, 2, 2, "update sequence" },
		{ 0x06, 2, 0xFFFF, "update sequence" },
		{ 510, 2, 0x1235, "torn" },
		{ 1022, 2, 0x1235, "torn" },
		{ 0x14, 2, 0, "record header" },
		{ 0x14, 2, 0x3C, "record header" },
		{ 0x14, 2, 0xFFF8, "without an end" },
		{ 0x18, 4, 1025, "record header" },
		{ 0x18, 4, UINT32_MAX, "record header" },
		{ 0x18, 4, 0x38, "without an end" },
		{ 0x18, 4, 0x3C, "length of an attribute" },
		{ 0x3C, 4, 0, "length of an attribute" },
		{ 0x3C, 4, 0x10, "length of an attribute" },
		{ 0x3C, 4, 0x4C, "length of an attribute" },
		{ 0x3C, 4, UINT32_MAX - 7, "length of an attribute" },
		{ 0x3C, 4, 0x38, "cut short" }, /* shorter than a non-resident header */
		{ 0x38 + 0x20, 2, 0x3F, "outside their attribute" },
		{ 0x38 + 0x20, 2, 0x49, "outside their attribute" },
		{ 0x38 + 0x20, 2, 0xFFFF, "outside their attribute" },
		{ 0x38 + 0x20, 2, 0x48, "without an end" },
		{ 0x38 + 0x10, 8, 6, "virtual clusters" },
		{ 0x38 + 0x10, 8, 1, "do not match" },
		{ 0x38 + 0x18, 8, UINT64_MAX - 1, "do not match" },
	};
	static const uint8_t runs[] = { 0x11, 5, 10, 0 };
	uint8_t rec[1024], le[8];
	struct seen s;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int rc;

		make_record(rec, sizeof(rec), runs, sizeof(runs), 5);
		put_le64(le, cases[i].value);
		memcpy(rec + cases[i].at, le, cases[i].size);
		rc = runs_of(rec, sizeof(rec), &s, &e);
		if ((rc == 0) != (cases[i].reason == NULL) ||
			(rc != 0 && strstr(e.msg, cases[i].reason) == NULL))
			fail_msg("case %zu: %d %s", i, rc, e.msg);
		if (rc == 0)
			assert_int_equal(s.calls, 0);
	}
}

/* On a dirty volume one record that can't be read means all blocks. */
static void test_damaged_records(void **state)
{
	const char *path = volume();
	uint64_t record = ntfs_record_offset(path, 64);
	size_t data = ntfs_attribute(path, 64, 0x80);
	uint8_t saved[1024], run[8] = { 0x22, 0, 0, 0, 0, 0 };

	(void)state;
	ntfs_set_flags(path, 1);
	ntfs_peek(path, record, saved, sizeof(saved));
	ntfs_poke(path, record + 510, "\xEE\xEE", 2);
	refused(path, "MFT record 64: torn write");
	ntfs_poke(path, record, saved, sizeof(saved));
	ntfs_poke(path, record, "BAAD", 4);
	refused(path, "MFT record 64: no FILE signature");
	ntfs_poke(path, record, saved, sizeof(saved));

	/* 25 clusters from the last one on. */
	run[1] = 25;
	put_le16(run + 3, (uint16_t)(ntfs_total_clusters(path) - 1));
	ntfs_poke_record(path, 64, data + 0x40, run, 8);
	refused(path, "MFT record 64: data run outside the volume");

	/* All clusters, twice over what there is when the others are added. */
	put_le16(run + 1, (uint16_t)ntfs_total_clusters(path));
	put_le16(run + 3, 0);
	ntfs_poke_record(path, 64, data + 0x40, run, 8);
	put_le64(run, ntfs_total_clusters(path) - 1);
	ntfs_poke_record(path, 64, data + 0x18, run, 8);
	refused(path, "MFT record 64: more clusters are mapped than there are");
}

static void test_truncated(void **state)
{
	const char *path = volume();

	(void)state;
	/* Without its backup boot sector it is still a volume, one byte less is not. */
	assert_int_equal(truncate(path, 24 * MIB), 0);
	{
		struct fs_report r;
		struct err e;
		struct map *m = ntfs_map_file(path, &r, &e);

		assert_non_null(m);
		map_free(m);
	}
	assert_int_equal(truncate(path, 24 * MIB - 1), 0);
	refused(path, "truncated");
	assert_int_equal(truncate(path, 100), 0);
	{
		struct fs_report r;
		struct err e;

		assert_null(ntfs_map_file(path, &r, &e));
	}
}

static void test_bitmap_outside_the_volume(void **state)
{
	const char *path = ntfs_path("hostile.img");
	size_t data;
	uint8_t run[8] = { 0x21, 1, 0, 0, 0 };

	(void)state;
	/* In the last half cluster, and on the device. */
	ntfs_make(path, 24 * MIB + 2560, 512, 4096);
	data = ntfs_attribute(path, 6, 0x80);
	put_le16(run + 2, (uint16_t)ntfs_total_clusters(path));
	ntfs_poke_record(path, 6, data + 0x40, run, 8);
	refused(path, "$Bitmap: cluster 0 of it has no place on the volume");
	put_le16(run + 2, (uint16_t)(ntfs_total_clusters(path) + 200));
	ntfs_poke_record(path, 6, data + 0x40, run, 8);
	refused(path, "$Bitmap: cluster 0 of it has no place on the volume");
}

/*
 * The last entry of the root index points at the block that it is in: libntfs-3g goes down into it
 * for ever. The block is the first of the index allocation: 0x18 index header (offset of the first
 * entry, length, room, flags); an entry has its length at 8 and its flags at 12 (1: has a child, 2:
 * last), and a child's block number in its last 8 bytes.
 */
static void test_index_that_goes_in_circles(void **state)
{
	const char *path = volume();
	size_t attr = ntfs_attribute(path, 5, 0xA0), at;
	uint8_t rec[1024], block[4096];
	struct timespec from, to;
	uint64_t where;

	(void)state;
	ntfs_peek(path, ntfs_record_offset(path, 5), rec, sizeof(rec));
	assert_int_equal(rec[attr + 0x48], 0x21); /* a run of 2-byte distance, 1-byte length */
	where = (uint64_t)get_le16(rec + attr + 0x48 + 2) * 4096;
	ntfs_peek(path, where, block, sizeof(block));
	assert_memory_equal(block, "INDX", 4);
	for (at = 0x18 + get_le32(block + 0x18); !(block[at + 12] & 2);
		at += get_le16(block + at + 8))
		assert_true(at < 4000 && get_le16(block + at + 8) > 0);
	assert_true(at % 512 < 480);
	put_le16(block + at + 8, 0x18);
	block[at + 12] = 3;
	memset(block + at + 0x10, 0, 8);
	put_le32(block + 0x1C, get_le32(block + 0x1C) + 8);
	block[0x24] = 1;
	ntfs_poke(path, where, block, sizeof(block));

	clock_gettime(CLOCK_MONOTONIC, &from);
	refused(path, "look for hiberfil.sys: the metadata goes round in circles");
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true(to.tv_sec - from.tv_sec < 5);
}

/* A $MFT that is most of a volume of many clusters: walking it would take for ever. */
static void test_walk_is_worth_it(void **state)
{
	const char *path = ntfs_path("huge.img");
	/* 2^31 clusters of 512 from cluster 32 on: 1 TiB. */
	uint8_t run[8] = { 0x15, 0, 0, 0, 0x80, 0, 32, 0 }, le[8];
	size_t data;

	(void)state;
	ntfs_make(path, 2000 * GIB, 512, 512);
	data = ntfs_attribute(path, 0, 0x80);
	assert_int_equal(ntfs_record_offset(path, 0), 32 * 512);
	put_le64(le, ((uint64_t)1 << 31) - 1);
	ntfs_poke_record(path, 0, data + 0x18, le, 8);
	put_le64(le, (uint64_t)1 << 40);
	for (size_t field = 0x28; field <= 0x38; field += 8)
		ntfs_poke_record(path, 0, data + field, le, 8);
	ntfs_poke_record(path, 0, data + 0x40, run, 8);
	ntfs_set_flags(path, 1);
	refused(path, "reading $MFT would take longer than all blocks");
	remove(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot_sector),
		cmocka_unit_test(test_data_runs),
		cmocka_unit_test(test_record_header),
		cmocka_unit_test(test_damaged_records),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_bitmap_outside_the_volume),
		cmocka_unit_test(test_index_that_goes_in_circles),
		cmocka_unit_test(test_walk_is_worth_it),
	};

	ntfs_need_tools();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
