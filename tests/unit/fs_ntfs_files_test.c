/*
 * The files of NTFS, and who claims clusters: volumes of mkntfs and ntfscp, read back by ntfscat
 * after everything listed was overwritten; what must be left alone; damage by which two would claim
 * one cluster.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/unistr.h>
#include <ntfs-3g/volume.h>

#include "base/mem.h"
#include "fs/fs_ntfs_int.h"
#include "ntfs_helper.h"

struct found {
	struct dev *dev;
	const char *want;
	struct fs_file file; /* path NULL: not found */
	struct extent first;
	struct map *chosen; /* the ranges of all files, or of `want` alone */
	unsigned files;
};

static int find(void *user, const struct fs_file *f, struct err *e)
{
	struct found *x = user;
	bool wanted = x->want && strcmp(f->path, x->want) == 0;

	(void)e;
	x->files++;
	if (wanted) {
		assert_null(x->file.path); /* each file once */
		x->file = *f;
		x->file.path = x->want;
		if (f->range_count > 0)
			x->first = f->ranges[0];
	}
	for (size_t i = 0; i < f->range_count && (wanted || !x->want); i++)
		assert_int_equal(map_set(x->chosen, f->ranges[i].off, f->ranges[i].len, MAP_ZERO,
					 NULL),
			0);
	return 0;
}

static int list(const char *path, const char *want, struct found *x, struct err *e)
{
	memset(x, 0, sizeof(*x));
	memset(e, 0, sizeof(*e));
	assert_int_equal(dev_open(path, 0, &x->dev, e), 0);
	x->want = want;
	x->chosen = map_new(dev_size(x->dev));
	return fs_files(x->dev, true, find, x, e);
}

static void must_list(const char *path, const char *want, struct found *x)
{
	struct err e;

	if (list(path, want, x, &e) < 0)
		fail_msg("%s", e.msg);
	if (want && !x->file.path)
		fail_msg("%s is not listed", want);
}

static void done(struct found *x)
{
	map_free(x->chosen);
	dev_close(x->dev);
}

static uint64_t claims(struct found *x)
{
	struct err e;
	uint64_t bytes;

	if (fs_claims(x->dev, x->chosen, &bytes, &e) < 0)
		fail_msg("%s", e.msg);
	return bytes;
}

/* Fill what was listed with 'Z'; ntfscat then gives the file's size in Zs, and nothing else. */
static void overwrite(const char *path, const struct map *chosen)
{
	static char zs[1 << 16];

	memset(zs, 'Z', sizeof(zs));
	for (size_t i = 0; i < map_count(chosen); i++) {
		struct extent x = map_at(chosen, i);

		for (uint64_t at = 0; at < x.len; at += sizeof(zs))
			ntfs_poke(path, x.off + at, zs, (size_t)min_u64(sizeof(zs), x.len - at));
	}
}

static void assert_cat(const char *path, const char *name, const char *command, const char *want)
{
	char out[256];

	assert_int_equal(NTFS_RUN(out, sizeof(out), "sh", "-c", command, "sh", path, name), 0);
	out[strcspn(out, "\n")] = '\0';
	assert_string_equal(out, want);
}

static void sum_of(const char *path, const char *name, char sum[64])
{
	assert_int_equal(NTFS_RUN(sum, 64, "sh", "-c", "ntfscat \"$1\" \"$2\" | md5sum", "sh", path,
				 name),
		0);
	sum[strcspn(sum, "\n")] = '\0';
}

static void test_against_ntfscat(void **state)
{
	static const unsigned clusters[] = { 512, 4096, 65536 };
	struct found x;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(clusters); i++) {
		const char *path = ntfs_path("volume.img");

		ntfs_make(path, 48 * MIB + 512, 512, clusters[i]);
		ntfs_copy_in(path, "pagefile.sys", 3 * MIB + 17);
		ntfs_copy_in(path, "other", 1000000);
		ntfs_copy_in(path, "small", 30);
		must_list(path, "/pagefile.sys", &x);
		assert_int_equal(x.files, 3);
		assert_int_equal(x.file.size_bytes, 3 * MIB + 17);
		assert_string_equal(x.file.kept, "");
		assert_int_equal(x.first.off, ntfs_file_offset(path, 64));
		assert_int_equal(map_bytes(x.chosen, MAP_ZERO),
			div_up(3 * MIB + 17, clusters[i]) * clusters[i]);
		assert_int_equal(x.file.allocated_bytes, map_bytes(x.chosen, MAP_ZERO));
		assert_true(llabs(x.file.modified_s - (long long)time(NULL)) < 3600);
		assert_true(llabs(x.file.created_s - (long long)time(NULL)) < 3600);
		assert_int_equal(claims(&x), map_bytes(x.chosen, MAP_ZERO));
		overwrite(path, x.chosen);
		assert_cat(path, "pagefile.sys", "ntfscat \"$1\" \"$2\" | tr -d Z | wc -c", "0");
		assert_cat(path, "pagefile.sys", "ntfscat \"$1\" \"$2\" | wc -c", "3145745");
		assert_cat(path, "other", "ntfscat \"$1\" \"$2\" | wc -c", "1000000");
		assert_cat(path, "", "ntfsfix -n \"$1\" >/dev/null && echo well", "well");
		done(&x);
	}
}

/* Runs in many records of $MFT: gaps of four clusters are all that is free while the files grow. */
static void test_in_pieces(void **state)
{
	const char *path = ntfs_path("volume.img");
	uint8_t bits[24 * MIB / 512 / 8];
	char before[64];
	struct found x;
	uint64_t at;

	(void)state;
	ntfs_make(path, 24 * MIB + 512, 512, 512);
	ntfs_copy_in(path, "a", 5000);
	ntfs_copy_in(path, "b", 5000);
	at = ntfs_file_offset(path, 6);
	ntfs_peek(path, at, bits, sizeof(bits));
	for (size_t i = 0; i < sizeof(bits); i++)
		bits[i] |= 0x0F;
	ntfs_poke(path, at, bits, sizeof(bits));
	ntfs_interleave(path, 64, 65, 400, 1500);
	must_list(path, "/a", &x);
	assert_int_equal(x.file.size_bytes, 605000);
	assert_true(x.file.range_count > 200);
	assert_int_equal(map_bytes(x.chosen, MAP_ZERO), div_up(605000, 512) * 512);
	assert_int_equal(claims(&x), map_bytes(x.chosen, MAP_ZERO));
	sum_of(path, "b", before);
	overwrite(path, x.chosen);
	assert_cat(path, "a", "ntfscat \"$1\" \"$2\" | tr -d Z | wc -c", "0");
	assert_cat(path, "b", "ntfscat \"$1\" \"$2\" | md5sum", before);
	done(&x);
}

/* ---- What ntfscp can't make: written by libntfs-3g, in a process of its own ------------------ */

static ntfs_inode *make(ntfs_inode *dir, const char *name, mode_t type)
{
	ntfschar *wide = NULL;
	int len = ntfs_mbstoucs(name, &wide);
	ntfs_inode *ni =
		len > 0 ? ntfs_create(dir, const_cpu_to_le32(0), wide, (u8)len, type) : NULL;

	free(wide);
	return ni;
}

static bool fill(ntfs_inode *ni, s64 at, size_t bytes)
{
	ntfs_attr *a = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
	char *buf = calloc(1, bytes);
	bool good;

	if (a == NULL || buf == NULL)
		return false;
	for (size_t i = 0; i < bytes; i++)
		buf[i] = (char)('a' + i / 97 % 3);
	good = ntfs_attr_pwrite(a, at, (s64)bytes, buf) == (s64)bytes;
	if (good && (a->data_flags & ATTR_COMPRESSION_MASK))
		good = ntfs_attr_pclose(a) == 0;
	ntfs_attr_close(a);
	free(buf);
	return good;
}

/* Put what was made into its directory. */
static bool end(ntfs_inode *ni, ntfs_inode *dir)
{
	return ntfs_inode_close_in_dir(ni, dir) == 0;
}

static bool add_files(ntfs_inode *root)
{
	ntfs_inode *dir = make(root, "dir", S_IFDIR), *sub, *ni;
	ntfschar name[] = { const_cpu_to_le16('l') };
	bool good;

	sub = make(dir, "sub", S_IFDIR);
	/* What is made in a compressed directory is compressed. */
	sub->flags |= FILE_ATTR_COMPRESSED;
	ni = make(sub, "packed", S_IFREG);
	good = fill(ni, 0, 300000) && end(ni, sub);
	ni = make(dir, "sparse", S_IFREG);
	ni->flags |= FILE_ATTR_SPARSE_FILE;
	good = good && fill(ni, 1 << 20, 100000) && end(ni, dir);
	ni = make(dir, "link", S_IFREG);
	good = good && fill(ni, 0, 50000) && ntfs_link(ni, dir, name, 1) == 0 && end(ni, dir);
	return good && end(sub, dir) && end(dir, root);
}

static bool add_special(const char *path)
{
	ntfs_volume *vol = ntfs_mount(path, 0);
	ntfs_inode *root;
	bool good;

	if (vol == NULL)
		return false;
	NVolSetCompression(vol);
	root = ntfs_inode_open(vol, FILE_root);
	good = add_files(root) && ntfs_inode_close(root) == 0;
	return ntfs_umount(vol, FALSE) == 0 && good;
}

/* A short name for a file, which sorts before its long one. */
static bool add_dos_name(const char *path)
{
	ntfs_volume *vol = ntfs_mount(path, 0);
	ntfs_inode *root, *dir, *ni;
	bool good;

	if (vol == NULL)
		return false;
	root = ntfs_inode_open(vol, FILE_root);
	dir = make(root, "names", S_IFDIR);
	ni = make(dir, "very long name.text", S_IFREG);
	good = fill(ni, 0, 50000);
	/* Closes both. */
	good = good && ntfs_set_ntfs_dos_name(ni, dir, "AVERYL~1.TEX", 12, 0) == 0;
	good = good && ntfs_inode_close(root) == 0;
	return ntfs_umount(vol, FALSE) == 0 && good;
}

static const char *special_volume(void)
{
	const char *path = ntfs_path("special.img");
	int status;
	pid_t pid;

	ntfs_make(path, 32 * MIB, 512, 4096);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(add_special(path) && add_dos_name(path) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return path;
}

static void test_special_files(void **state)
{
	const char *path = special_volume();
	struct found x;

	(void)state;
	must_list(path, "/dir/sub/packed", &x);
	assert_string_equal(x.file.kept, "its data is compressed");
	assert_int_equal(x.file.range_count, 0);
	assert_true(x.file.allocated_bytes < 300000);
	assert_int_equal(x.files, 4);
	done(&x);
	/* Not by its DOS name, which is no other name either. */
	must_list(path, "/names/very long name.text", &x);
	assert_string_equal(x.file.kept, "");
	assert_int_equal(map_bytes(x.chosen, MAP_ZERO), align_up(50000, 4096));
	done(&x);
	must_list(path, "/dir/sparse", &x);
	assert_int_equal(x.file.size_bytes, (1 << 20) + 100000);
	assert_string_equal(x.file.kept, "");
	assert_true(map_bytes(x.chosen, MAP_ZERO) >= 100000);
	assert_true(map_bytes(x.chosen, MAP_ZERO) < 1 << 20); /* no hole is content */
	assert_int_equal(claims(&x), map_bytes(x.chosen, MAP_ZERO));
	overwrite(path, x.chosen);
	assert_cat(path, "dir/sparse", "ntfscat \"$1\" \"$2\" | tr -d '\\0Z' | wc -c", "0");
	done(&x);
	/* A file of two names has the first of them, and stays for the other's sake. */
	must_list(path, "/dir/l", &x);
	assert_int_equal(x.file.size_bytes, 50000);
	assert_string_equal(x.file.kept, "it has other names");
	assert_int_equal(x.file.range_count, 0);
	done(&x);
}

/* $DATA's flags, at 0x0C of the attribute ([NTFS] "Attributes"). */
static void set_data_flags(const char *path, unsigned number, uint16_t flags)
{
	uint8_t bytes[2];

	put_le16(bytes, flags);
	ntfs_poke_record(path, number, ntfs_attribute(path, number, 0x80) + 0x0C, bytes, 2);
}

/* The file's flags: in $STANDARD_INFORMATION, whose value begins at 0x18, at 0x20. */
static void set_file_flags(const char *path, unsigned number, uint32_t flags)
{
	uint8_t bytes[4];

	put_le32(bytes, flags);
	ntfs_poke_record(path, number, ntfs_attribute(path, number, 0x10) + 0x18 + 0x20, bytes, 4);
}

static void test_what_is_left_alone(void **state)
{
	const char *path = ntfs_path("volume.img");
	uint8_t sizes[16] = { 0x88, 0x13, 0, 0, 0, 0, 0, 0, 0x88, 0x13 };
	struct found x;

	(void)state;
	ntfs_make(path, 32 * MIB, 512, 4096);
	ntfs_copy_in(path, "a", 100000);
	ntfs_copy_in(path, "b", 100000);
	ntfs_copy_in(path, "c", 100);
	set_data_flags(path, 64, 0x4000);
	set_file_flags(path, 64, 0x4020);
	must_list(path, "/a", &x);
	assert_string_equal(x.file.kept, "its data is encrypted");
	assert_int_equal(x.file.range_count, 0);
	done(&x);
	must_list(path, "/c", &x);
	assert_string_equal(x.file.kept, "its data is in its file record");
	assert_int_equal(x.files, 3);
	done(&x);
	set_file_flags(path, 65, 0x0420);
	must_list(path, NULL, &x);
	assert_int_equal(x.files, 2); /* a reparse point is not listed at all */
	done(&x);
	set_file_flags(path, 65, 0x0020);
	/* What is allocated behind the end of the file stays: sizes at 0x30 and 0x38 of $DATA. */
	ntfs_poke_record(path, 65, ntfs_attribute(path, 65, 0x80) + 0x30, sizes, sizeof(sizes));
	must_list(path, "/b", &x);
	assert_int_equal(x.file.size_bytes, 5000);
	assert_int_equal(map_bytes(x.chosen, MAP_ZERO), 8192);
	done(&x);
}

/* ---- Damage ------------------------------------------------------------------------------ */

static void test_shared_clusters(void **state)
{
	const char *path = ntfs_path("volume.img");
	uint8_t runs[8];
	size_t a, b;
	struct found x;

	(void)state;
	ntfs_make(path, 32 * MIB, 512, 4096);
	ntfs_copy_in(path, "a", 40960);
	ntfs_copy_in(path, "b", 40960);
	a = ntfs_attribute(path, 64, 0x80) + 0x40;
	b = ntfs_attribute(path, 65, 0x80) + 0x40;
	/* b gets the runs of a; the sizes are equal. */
	ntfs_peek(path, ntfs_record_offset(path, 64) + a, runs, sizeof(runs));
	ntfs_poke_record(path, 65, b, runs, sizeof(runs));
	must_list(path, "/a", &x);
	assert_int_equal(map_bytes(x.chosen, MAP_ZERO), 40960);
	assert_int_equal(claims(&x), 2 * 40960);
	done(&x);
}

static void refused(const char *path, const char *why)
{
	struct found x;
	struct map *none;
	uint64_t bytes;
	struct err e;

	assert_int_equal(list(path, NULL, &x, &e), -ERR_FORMAT);
	if (strstr(e.msg, why) == NULL)
		fail_msg("'%s' is not in: %s", why, e.msg);
	assert_int_equal(x.files, 0);
	none = map_new(dev_size(x.dev));
	assert_int_equal(fs_claims(x.dev, none, &bytes, &e), -ERR_FORMAT);
	map_free(none);
	done(&x);
}

static void test_refusals(void **state)
{
	const char *path = ntfs_path("volume.img");
	uint8_t bad[4] = { 'B', 'A', 'A', 'D' };

	(void)state;
	ntfs_make(path, 32 * MIB, 512, 4096);
	ntfs_copy_in(path, "a", 100000);
	ntfs_set_flags(path, 0x0001);
	refused(path, "dirty volume: two files may claim the same clusters");
	ntfs_set_flags(path, 0x4000);
	refused(path, "chkdsk was interrupted");
	ntfs_set_flags(path, 0);
	ntfs_write_journal(path, 1, 1, false);
	refused(path, "not replayed");
	ntfs_write_journal(path, 2, 0, true);
	refused(path, "fast startup");
	ntfs_write_journal(path, 1, 1, true);
	/* A name without a file. */
	ntfs_poke(path, ntfs_record_offset(path, 64), bad, sizeof(bad));
	{
		struct found x;
		struct err e;

		assert_int_equal(list(path, NULL, &x, &e), -ERR_FORMAT);
		assert_non_null(strstr(e.msg, "/a: open a file record"));
		done(&x);
	}
}

/* Hibernated: the rules have nothing to say, as there is no map either. */
static void test_hibernated(void **state)
{
	const char *path = ntfs_path("volume.img");

	(void)state;
	ntfs_make(path, 32 * MIB, 512, 4096);
	ntfs_copy_in(path, "hiberfil.sys", 100000);
	ntfs_poke(path, ntfs_file_offset(path, 64), "hibr", 4);
	refused(path, "Windows is hibernated");
}

static int setup(void **state)
{
	(void)state;
	ntfs_need_tools();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_ntfscat),
		cmocka_unit_test(test_in_pieces),
		cmocka_unit_test(test_special_files),
		cmocka_unit_test(test_what_is_left_alone),
		cmocka_unit_test(test_shared_clusters),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_hibernated),
	};

	return cmocka_run_group_tests_name("fs_ntfs_files", tests, setup, NULL);
}
