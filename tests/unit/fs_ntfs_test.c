/*
 * fs_ntfs: the map against tools that are not ours, cluster by cluster: $Bitmap as ntfscat gives
 * it, the bitmap in an image of partclone.ntfs, the counts of ntfsinfo and ntfscluster. For all
 * sector and cluster sizes that mkntfs makes, on volumes of odd sizes, inside larger devices, and
 * on the largest volumes. Then a volume is rebuilt from nothing but what the map calls data.
 *
 * fs_ntfs_test --map FILE prints the report and the extents of a volume, for tests/root.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fs/fs_ops.h"
#include "ntfs_helper.h"

static uint8_t *read_all(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *buf;
	long size;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	buf = malloc((size_t)size + 1);
	assert_int_equal(fread(buf, 1, (size_t)size, f), size);
	fclose(f);
	*len = (size_t)size;
	return buf;
}

/* ntfscat of an inode into a file, as it prints bytes. */
static uint8_t *cat(const char *path, const char *inode, size_t *len)
{
	const char *out = ntfs_path("cat.out");

	assert_int_equal(NTFS_RUN(NULL, 0, "sh", "-c", "exec ntfscat -f -i \"$1\" \"$2\" >\"$3\"",
				 "sh", inode, path, out),
		0);
	return read_all(out, len);
}

static void assert_bits(const struct map *m, const uint8_t *bits, uint64_t clusters,
	uint64_t cluster_bytes)
{
	size_t hint = 0;

	for (uint64_t c = 0; c < clusters; c++) {
		struct extent x = map_run(m, c * cluster_bytes, &hint);
		enum map_kind want = bits[c / 8] >> c % 8 & 1 ? MAP_DATA : MAP_FREE;

		assert_true(x.len >= cluster_bytes);
		if (x.kind != want)
			fail_msg("cluster %" PRIu64 " is %s, not %s", c, map_kind_word(x.kind),
				map_kind_word(want));
	}
}

static void against_ntfscat(const char *path, const struct map *m)
{
	uint64_t clusters = ntfs_total_clusters(path);
	size_t len;
	uint8_t *bits = cat(path, "6", &len);

	assert_true(len * 8 >= clusters);
	assert_bits(m, bits, clusters, ntfs_cluster_bytes(path));
	free(bits);
}

/*
 * An image of partclone 0.3 (format 0002): a header of 110 bytes, with the number of blocks at 60
 * and the block size at 84 (partclone.h, image_desc_v2), then a bit for each block.
 */
static void against_partclone(const char *path, const struct map *m)
{
	const char *image = ntfs_path("volume.pc");
	char out[4096];
	size_t len;
	uint8_t *p;

	if (NTFS_RUN(out, sizeof(out), "partclone.ntfs", "-c", "-q", "-F", "-L", "/dev/null", "-s",
		    path, "-O", image) != 0)
		fail_msg("partclone: %s", out);
	p = read_all(image, &len);
	assert_memory_equal(p, "partclone-image", 15);
	assert_memory_equal(p + 30, "0002", 4);
	assert_int_equal(get_le32(p + 84), ntfs_cluster_bytes(path));
	assert_int_equal(get_le64(p + 60), ntfs_total_clusters(path));
	assert_true(len > 110 + div_up(get_le64(p + 60), 8));
	assert_bits(m, p + 110, get_le64(p + 60), get_le32(p + 84));
	free(p);
}

static void against_counts(const char *path, const struct map *m)
{
	static char out[65536];
	uint64_t free_clusters = map_bytes(m, MAP_FREE) / ntfs_cluster_bytes(path);
	unsigned long long n = 0;
	const char *at;

	assert_int_equal(map_bytes(m, MAP_FREE) % ntfs_cluster_bytes(path), 0);
	assert_int_equal(NTFS_RUN(out, sizeof(out), "ntfsinfo", "-f", "-m", path), 0);
	at = strstr(out, "Free Clusters: ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "Free Clusters: %llu", &n), 1);
	assert_int_equal(n, free_clusters);

	assert_int_equal(NTFS_RUN(out, sizeof(out), "ntfscluster", "-f", path), 0);
	at = strstr(out, "clusters of free space");
	assert_non_null(at);
	assert_int_equal(sscanf(strchr(at, ':'), ": %llu", &n), 1);
	assert_int_equal(n, free_clusters);
}

/* LESSONS 5, 17, 29: nothing behind the last whole cluster is ever free. */
static void check_tail(const char *path, const struct map *m)
{
	uint64_t end = ntfs_total_clusters(path) * ntfs_cluster_bytes(path);
	uint8_t last[8], sector[2];

	assert_int_equal(ntfs_kind(m, end, map_size(m) - end), MAP_DATA);
	/* And that is where mkntfs put the backup boot sector. */
	ntfs_peek(path, 11, sector, 2);
	ntfs_peek(path, align_down(map_size(m), get_le16(sector)) - get_le16(sector), last, 8);
	assert_memory_equal(last + 3, "NTFS ", 5);
	assert_int_equal(map_bytes(m, MAP_FREE) + map_bytes(m, MAP_DATA), map_size(m));
}

static struct map *good_map(const char *path, struct fs_report *r)
{
	struct err e;
	struct map *m = ntfs_map_file(path, r, &e);

	if (m == NULL)
		fail_msg("%s", e.msg);
	assert_int_equal(r->block_bytes, ntfs_cluster_bytes(path));
	return m;
}

/* partclone takes two seconds for anything, so it is not asked about every volume. */
static void against_all(const char *path, bool partclone)
{
	struct fs_report r;
	struct map *m = good_map(path, &r);

	assert_string_equal(r.note, "");
	assert_true(map_bytes(m, MAP_FREE) > 0);
	against_ntfscat(path, m);
	if (partclone)
		against_partclone(path, m);
	against_counts(path, m);
	check_tail(path, m);
	map_free(m);
}

static void test_sector_and_cluster_sizes(void **state)
{
	const char *path = ntfs_path("sizes.img");

	(void)state;
	for (unsigned sector = 512; sector <= 4096; sector *= 2) {
		for (unsigned cluster = sector; cluster <= 2 * 1024 * 1024; cluster *= 2) {
			/* Never a multiple of the cluster: a phantom last one would show. */
			uint64_t bytes = max_u64(24 * MIB, 40 * (uint64_t)cluster) + cluster / 2 +
				3 * sector;

			/* All clusters for 512-byte sectors, three for the others. */
			if (sector != 512 && cluster != sector && cluster != 65536 &&
				cluster != 2 * 1024 * 1024)
				continue;
			ntfs_make(path, bytes, sector, cluster);
			ntfs_copy_in(path, "a", 3 * (size_t)min_u64(cluster, 100000) + 1);
			ntfs_copy_in(path, "b", 700);
			against_all(path, sector == 4096 && cluster == 4096);
		}
	}
}

static void test_fragmented(void **state)
{
	static const unsigned clusters[] = { 512, 4096, 65536 };
	const char *path = ntfs_path("fragmented.img");
	struct fs_report r;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(clusters); i++) {
		struct map *m;

		ntfs_make(path, 40 * MIB + 1536, 512, clusters[i]);
		ntfs_fragment(path, 40, 2 * clusters[i] + 100);
		m = good_map(path, &r);
		/* Holes where every other file was. */
		assert_true(map_count(m) > 15);
		map_free(m);
		against_all(path, clusters[i] == 512);
	}
}

static void test_every_remainder(void **state)
{
	const char *path = ntfs_path("odd.img");

	(void)state;
	for (unsigned sectors = 0; sectors < 8; sectors++) {
		ntfs_make(path, 8 * MIB + sectors * 512, 512, 4096);
		against_all(path, sectors == 5); /* 5: a phantom last cluster */
	}
}

/* Bits behind the last cluster say nothing, whatever they are. */
static void test_padding_bits(void **state)
{
	const char *path = ntfs_path("padding.img");
	struct fs_report r;
	struct map *before, *after;
	uint64_t clusters, at;
	uint8_t last;

	(void)state;
	ntfs_make(path, 20 * MIB + 3 * 4096, 512, 4096);
	clusters = ntfs_total_clusters(path);
	assert_int_not_equal(clusters % 8, 0);
	before = good_map(path, &r);
	at = ntfs_file_offset(path, 6) + clusters / 8;
	ntfs_peek(path, at, &last, 1);
	assert_int_equal(last >> clusters % 8, 0xFF >> clusters % 8);
	last = (uint8_t)(last & ((1u << clusters % 8) - 1));
	ntfs_poke(path, at, &last, 1);
	after = good_map(path, &r);
	assert_true(map_equal(before, after));
	map_free(before);
	map_free(after);
}

/* R3: the device is imaged, not the file system's idea of it. */
static void test_inside_a_larger_device(void **state)
{
	const char *path = ntfs_path("larger.img");
	struct fs_report r = { 0 };
	struct dev *d, *slice;
	struct map *alone, *m;
	uint64_t bytes = 30 * MIB + 512;
	struct extent x;
	struct err e;

	(void)state;
	ntfs_make(path, bytes, 512, 4096);
	alone = good_map(path, &r);
	assert_int_equal(truncate(path, (off_t)(bytes + 5 * MIB)), 0);
	m = good_map(path, &r);
	assert_int_equal(map_size(m), bytes + 5 * MIB);
	assert_int_equal(map_bytes(m, MAP_FREE), map_bytes(alone, MAP_FREE));
	x = map_at(m, map_count(m) - 1);
	assert_int_equal(x.kind, MAP_DATA);
	assert_true(x.off + x.len == map_size(m) && x.len >= 5 * MIB);
	map_free(m);

	/* As a partition at an odd place of a disk. */
	assert_int_equal(NTFS_RUN(NULL, 0, "sh", "-c",
				 "head -c 1049088 /dev/zero >\"$2\" && "
				 "cat \"$1\" >>\"$2\"",
				 "sh", path, ntfs_path("disk.img")),
		0);
	assert_int_equal(dev_open(ntfs_path("disk.img"), 0, &d, &e), 0);
	assert_int_equal(dev_open_slice(d, 1049088, bytes, &slice, &e), 0);
	m = map_new_full(bytes);
	memset(&r, 0, sizeof(r));
	assert_int_equal(fs_ntfs.map(slice, m, &r, &e), 0);
	assert_true(map_equal(m, alone));
	map_free(m);
	dev_close(slice);
	dev_close(d);
	map_free(alone);
}

struct cost {
	double seconds;
	long peak_kib;
};

/* The map of a huge volume in a process of its own, whose memory is measured. */
static struct cost cost_of(const char *path, uint64_t want_free)
{
	struct timespec from, to;
	struct rusage u;
	int status;
	pid_t pid;

	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &from);
	pid = fork();
	if (pid == 0) {
		struct fs_report r;
		struct err e;
		struct map *m = ntfs_map_file(path, &r, &e);

		if (m == NULL)
			fprintf(stderr, "# %s\n", e.msg);
		_exit(m != NULL && map_bytes(m, MAP_FREE) == want_free ? 0 : 1);
	}
	assert_int_equal(wait4(pid, &status, 0, &u), pid);
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_int_equal(status, 0);
	return (struct cost){ (double)(to.tv_sec - from.tv_sec) +
			(double)(to.tv_nsec - from.tv_nsec) / 1e9,
		u.ru_maxrss };
}

static uint64_t free_bytes_by_ntfsinfo(const char *path)
{
	static char out[65536];
	unsigned long long n = 0;

	assert_int_equal(NTFS_RUN(out, sizeof(out), "ntfsinfo", "-f", "-m", path), 0);
	assert_non_null(strstr(out, "Free Clusters: "));
	assert_int_equal(sscanf(strstr(out, "Free Clusters: "), "Free Clusters: %llu", &n), 1);
	return n * ntfs_cluster_bytes(path);
}

static void check_huge(const char *path, long max_kib)
{
	struct cost c = cost_of(path, free_bytes_by_ntfsinfo(path));
	const char *wrapper = getenv("TEST_WRAPPER");
	bool measure = wrapper == NULL || wrapper[0] == '\0'; /* not under valgrind */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	measure = false;
#endif
	if (measure && (c.seconds > 30 || c.peak_kib > max_kib))
		fail_msg("%.1f seconds, %ld KiB of memory", c.seconds, c.peak_kib);
}

/* LESSONS 1: the bitmap (64 MiB) is larger than any buffer. */
static void test_two_tib(void **state)
{
	const char *path = ntfs_path("huge.img");
	uint8_t byte = 0x81;
	struct fs_report r;
	struct map *before, *m;
	uint64_t bitmap;

	(void)state;
	ntfs_make(path, 2 * TIB + 7 * 512, 512, 4096);
	check_huge(path, 96 * 1024);
	/* In the bitmap's last byte, and to both sides of a border of 1 MiB: four runs. */
	bitmap = ntfs_file_offset(path, 6);
	before = good_map(path, &r);
	ntfs_poke(path, bitmap + ntfs_total_clusters(path) / 8 - 1, &byte, 1);
	ntfs_poke(path, bitmap + 5 * MIB - 1, &byte, 1);
	ntfs_poke(path, bitmap + 5 * MIB, &byte, 1);
	m = good_map(path, &r);
	assert_int_equal(map_bytes(before, MAP_FREE) - map_bytes(m, MAP_FREE), 6 * 4096);
	assert_int_equal(map_count(m), map_count(before) + 8);
	assert_int_equal(ntfs_kind(m, (5 * MIB * 8 - 1) * 4096, 2 * 4096), MAP_DATA);
	map_free(before);
	map_free(m);
	remove(path);
}

/* Nearly 2^32 clusters: several windows, and $MFT once for each. */
static void test_most_clusters(void **state)
{
	const char *path = ntfs_path("most.img");

	(void)state;
	ntfs_make(path, 2000 * GIB + 512, 512, 512);
	assert_true(ntfs_total_clusters(path) > UINT32_MAX / 100 * 97);
	check_huge(path, 96 * 1024);
	remove(path);
}

/*
 * More free runs than are kept: every other cluster of much of the volume is used. The shortest
 * stay data, and memory stays bounded.
 */
static void test_too_many_runs(void **state)
{
	/* Bytes of $Bitmap that are zero, before and behind the system files in the middle. */
	static const uint64_t first = 70000, second = 270000;
	const char *path = ntfs_path("runs.img");
	uint8_t *bits = malloc(MIB);
	struct fs_report r;
	struct map *m;
	uint64_t at;

	(void)state;
	ntfs_make(path, 2 * GIB + 512, 512, 512);
	at = ntfs_file_offset(path, 6);
	memset(bits, 0x55, MIB);
	ntfs_poke(path, at + second, bits, 200000);
	m = good_map(path, &r);
	assert_string_equal(r.note, "");
	assert_true(map_count(m) > 1600000);
	against_ntfscat(path, m);
	map_free(m);

	ntfs_poke(path, at + first, bits, 100000);
	m = good_map(path, &r);
	assert_string_equal(r.note, "very fragmented: free runs under 2 clusters are taken");
	assert_true(map_count(m) < 100);
	/* The last single cluster is joined by the free run behind it. */
	assert_int_equal(ntfs_kind(m, second * 8 * 512, (200000ULL * 8 - 1) * 512), MAP_DATA);
	assert_int_equal(ntfs_kind(m, (second + 200000) * 8 * 512, 512), MAP_FREE);
	map_free(m);
	free(bits);
	remove(path);
}

/* Data runs onto garbage; the copy must be whole for other tools. */
static void rebuild(const char *path, const struct map *m, const char *copy)
{
	FILE *in = fopen(path, "rb"), *out = fopen(copy, "wb");
	uint8_t *buf = malloc(MIB);

	assert_true(in != NULL && out != NULL && buf != NULL);
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		while (x.len > 0) {
			size_t n = (size_t)min_u64(MIB, x.len);

			if (x.kind == MAP_DATA) {
				fseek(in, (long)x.off, SEEK_SET);
				assert_int_equal(fread(buf, 1, n, in), n);
			} else {
				memset(buf, 0xA5, n);
			}
			fseek(out, (long)x.off, SEEK_SET);
			assert_int_equal(fwrite(buf, 1, n, out), n);
			x.off += n;
			x.len -= n;
		}
	}
	free(buf);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

static void test_rebuild_from_the_map(void **state)
{
	const char *path = ntfs_path("source.img"), *copy = ntfs_path("copy.img");
	char out[4096], inode[16];
	struct fs_report r;
	struct map *m;

	(void)state;
	ntfs_make(path, 32 * MIB + 1024, 512, 2048);
	ntfs_fragment(path, 40, 50000);
	m = good_map(path, &r);
	assert_true(map_bytes(m, MAP_FREE) > 20 * MIB);
	rebuild(path, m, copy);
	map_free(m);
	if (NTFS_RUN(out, sizeof(out), "ntfsfix", "-n", copy) != 0)
		fail_msg("ntfsfix: %s", out);
	assert_non_null(strstr(out, "alternate boot sector... OK"));
	for (unsigned i = 0; i < 40; i += 2) {
		size_t a_len, b_len;
		uint8_t *a, *b;

		snprintf(inode, sizeof(inode), "%u", 64 + i);
		a = cat(path, inode, &a_len);
		b = cat(copy, inode, &b_len);
		assert_int_equal(a_len, 50000);
		assert_int_equal(b_len, a_len);
		assert_memory_equal(a, b, a_len);
		free(a);
		free(b);
	}
}

static int print_map(const char *path)
{
	struct fs_report r;
	struct err e;
	struct map *m = ntfs_map_file(path, &r, &e);

	printf("note %s\n", r.note);
	if (m == NULL) {
		printf("reason %s\n", e.msg);
		return 0;
	}
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		printf("%s %" PRIu64 " %" PRIu64 "\n", map_kind_word(x.kind), x.off, x.len);
	}
	map_free(m);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sector_and_cluster_sizes),
		cmocka_unit_test(test_fragmented),
		cmocka_unit_test(test_every_remainder),
		cmocka_unit_test(test_padding_bits),
		cmocka_unit_test(test_inside_a_larger_device),
		cmocka_unit_test(test_two_tib),
		cmocka_unit_test(test_most_clusters),
		cmocka_unit_test(test_too_many_runs),
		cmocka_unit_test(test_rebuild_from_the_map),
	};

	if (argc == 3 && strcmp(argv[1], "--map") == 0)
		return print_map(argv[2]);
	ntfs_need_tools();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
