/*
 * The files of ext2, ext3 and ext4, and who claims blocks: against debugfs, which is not ours, in
 * many variants; what must be left alone; and damage by which two would claim one block.
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
#include "ext_helper.h"
#include "fs/fs_ext_int.h"

struct found {
	struct dev *dev;
	const char *want; /* a path, whose file is kept below */
	struct fs_file file;
	struct extent ranges[4096];
	struct map *chosen; /* the ranges of all files */
	unsigned files;
};

static int find(void *user, const struct fs_file *f, struct err *e)
{
	struct found *x = user;

	(void)e;
	x->files++;
	for (size_t i = 0; i < f->range_count; i++)
		assert_int_equal(map_set(x->chosen, f->ranges[i].off, f->ranges[i].len, MAP_ZERO,
					 NULL),
			0);
	if (x->want && strcmp(f->path, x->want) == 0) {
		assert_true(x->file.path == NULL); /* each file once */
		x->file = *f;
		assert_true(f->range_count <= COUNT_OF(x->ranges));
		memcpy(x->ranges, f->ranges, f->range_count * sizeof(*f->ranges));
		x->file.path = x->want;
		x->file.ranges = x->ranges;
	}
	return 0;
}

static int list(const char *image, const char *want, struct found *x, struct err *e)
{
	int rc;

	memset(x, 0, sizeof(*x));
	memset(e, 0, sizeof(*e));
	x->dev = ext_open(image);
	x->want = want;
	x->chosen = map_new(dev_size(x->dev));
	rc = fs_files(x->dev, true, find, x, e);
	return rc;
}

static void done(struct found *x)
{
	map_free(x->chosen);
	dev_close(x->dev);
}

static void must_list(const char *image, const char *want, struct found *x)
{
	struct err e;

	if (list(image, want, x, &e) < 0)
		fail_msg("%s", e.msg);
	if (want && !x->file.path)
		fail_msg("%s is not listed", want);
}

static uint64_t claims(struct found *x)
{
	struct err e;
	uint64_t bytes;

	if (fs_claims(x->dev, x->chosen, &bytes, &e) < 0)
		fail_msg("%s", e.msg);
	return bytes;
}

/* debugfs "bmap": where each block of a file lies, holes left out. */
static struct map *blocks_by_debugfs(const char *image, const char *path, uint64_t size,
	uint64_t file_bytes, uint64_t block_bytes)
{
	static char out[1 << 20];
	struct map *m = map_new(size);

	assert_int_equal(ext_sh(out, sizeof(out),
				 "seq 0 %" PRIu64 " | sed 's|^|bmap %s |' > commands;"
				 "debugfs -f commands %s 2>/dev/null | grep -v '^debugfs'",
				 (file_bytes - 1) / block_bytes, path, image),
		0);
	for (char *p = out, *end; (p += strspn(p, " \n")), *p; p = end) {
		uint64_t block = strtoull(p, &end, 10);

		assert_true(end > p);
		end += strcspn(end, "\n"); /* "(uninit)" */
		if (block != 0)
			assert_int_equal(map_set(m, block * block_bytes, block_bytes, MAP_DATA,
						 NULL),
				0);
	}
	return m;
}

static struct map *map_of_file(const struct found *x)
{
	struct map *m = map_new(dev_size(x->dev));

	for (size_t i = 0; i < x->file.range_count; i++)
		map_set(m, x->ranges[i].off, x->ranges[i].len, MAP_DATA, NULL);
	return m;
}

static const char *const variants[] = {
	"-t ext2 -b 1024",
	"-t ext3 -b 1024",
	"-t ext2 -b 4096",
	"-t ext4 -b 1024",
	"-t ext4 -b 4096",
	"-t ext4 -b 4096 -I 128 -O ^metadata_csum,^64bit",
	"-t ext4 -b 2048 -O inline_data,ea_inode,casefold",
	"-t ext4 -b 4096 -O ^has_journal",
};

static void test_against_debugfs(void **state)
{
	static const uint64_t block_bytes[] = { 1024, 1024, 4096, 1024, 4096, 4096, 2048, 4096 };
	static struct found x;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(variants); i++) {
		struct map *got, *want;

		ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -d tree %s fs", variants[i]);
		must_list("fs", "/swap/big", &x);
		assert_int_equal(x.file.size_bytes, 5 * MIB + 3);
		assert_string_equal(x.file.kept, "");
		assert_int_equal(x.file.swap_page_bytes, 0);
		assert_true(x.file.allocated_bytes >= 5 * MIB);
		/* i_mtime, as mke2fs took it from the tree */
		assert_int_equal(x.file.modified_s, 1000000000);
		got = map_of_file(&x);
		want = blocks_by_debugfs("fs", "/swap/big", dev_size(x.dev), x.file.size_bytes,
			block_bytes[i]);
		ext_assert_equal_maps(got, want, variants[i]);
		/* Everything listed is claimed once, by inodes and groups together. */
		assert_true(map_bytes(x.chosen, MAP_ZERO) > 5 * MIB);
		assert_int_equal(claims(&x), map_bytes(x.chosen, MAP_ZERO));
		map_free(got);
		map_free(want);
		done(&x);
	}
}

/* As many files as find sees, hard links once, and nothing that is no regular file. */
static void test_every_file_once(void **state)
{
	static struct found x;
	char out[64];

	(void)state;
	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -d tree -t ext4 fs");
	assert_int_equal(ext_sh(out, sizeof(out),
				 "find tree -type f -printf '%%i\\n' | sort -u | wc -l"),
		0);
	must_list("fs", NULL, &x);
	assert_int_equal(x.files, strtoul(out, NULL, 10));
	done(&x);
}

static void test_root_directory_only(void **state)
{
	static struct found x;
	unsigned all;
	struct err e;

	(void)state;
	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -d tree -t ext4 fs");
	must_list("fs", NULL, &x);
	all = x.files;
	done(&x);
	memset(&x, 0, sizeof(x));
	x.dev = ext_open("fs");
	x.chosen = map_new(dev_size(x.dev));
	x.want = "/swap/big";
	assert_int_equal(fs_files(x.dev, false, find, &x, &e), 0);
	assert_null(x.file.path);
	assert_true(x.files >= 3 && x.files < all);
	done(&x);
}

/* The header stays: 64 KiB from the beginning of the file, wherever they lie. */
static void check_swap(const char *path, uint64_t size)
{
	static struct found x;
	struct map *got, *want;

	must_list("fs", path, &x);
	assert_int_equal(x.file.swap_page_bytes, 4096);
	assert_int_equal(x.file.size_bytes, size);
	got = map_of_file(&x);
	want = blocks_by_debugfs("fs", path, dev_size(x.dev), size, 4096);
	assert_int_equal(map_bytes(got, MAP_DATA), size - 64 * KIB);
	assert_int_equal(map_bytes(want, MAP_DATA), size);
	for (size_t i = 0; i < x.file.range_count; i++)
		assert_int_equal(map_run(want, x.ranges[i].off, NULL).kind, MAP_DATA);
	assert_int_equal(claims(&x), map_bytes(x.chosen, MAP_ZERO));
	map_free(got);
	map_free(want);
	done(&x);
}

/* A swap area of two names stays, and is still told as one: a rule then says why. */
static void check_linked_swap(void)
{
	static struct found x;

	ext_must("debugfs -w fs 2>/dev/null <<'E'\n"
		 "ln swap.img again.img\nset_inode_field swap.img links_count 2\nE");
	must_list("fs", "/swap.img", &x);
	assert_int_equal(x.file.swap_page_bytes, 4096);
	assert_string_equal(x.file.kept, "it has other names");
	assert_int_equal(x.file.range_count, 0);
	done(&x);
}

static void test_swap_areas(void **state)
{
	static struct found x;

	(void)state;
	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -b 4096 -t ext4 fs");
	ext_must("head -c 4M /dev/urandom > area && mkswap -q area 2>/dev/null;"
		 "debugfs -w -R 'write area swap.img' fs 2>/dev/null");
	check_swap("/swap.img", 4 * MIB);
	/* As fallocate leaves it: mkswap writes one page, and the kernel swaps past the file system
	 * into extents that stay unwritten. */
	ext_must("head -c 4096 area > head; debugfs -w fs 2>/dev/null <<'E'\n"
		 "write head swapfile\nfallocate swapfile 1 1023\n"
		 "set_inode_field swapfile size 4194304\nE\n"
		 "debugfs -R 'ex /swapfile' fs 2>/dev/null | grep -q Uninit");
	check_swap("/swapfile", 4 * MIB);
	/* A signature in an unwritten block is none: the file system reads zeros there. */
	ext_must("debugfs -w fs 2>/dev/null <<'E'\nwrite /dev/null never\n"
		 "fallocate never 0 1023\nset_inode_field never size 4194304\nE\n"
		 "b=$(debugfs -R 'bmap /never 0' fs 2>/dev/null | cut -d' ' -f1);"
		 "dd if=area of=fs bs=4096 seek=$b count=1 conv=notrunc status=none");
	must_list("fs", "/never", &x);
	assert_int_equal(x.file.swap_page_bytes, 0);
	assert_int_equal(x.file.range_count > 0, 1);
	done(&x);
	/* Small areas are not looked into; a hibernated one has another signature. */
	ext_must("head -c 512K area > small; debugfs -w -R 'write small small' fs 2>/dev/null");
	must_list("fs", "/small", &x);
	assert_int_equal(x.file.swap_page_bytes, 0);
	done(&x);
	ext_must("cp area asleep; printf 'S1SUSPEND\\0' |"
		 "dd of=asleep bs=1 seek=4086 conv=notrunc status=none;"
		 "debugfs -w -R 'write asleep asleep' fs 2>/dev/null");
	must_list("fs", "/asleep", &x);
	assert_int_equal(x.file.swap_page_bytes, 0);
	done(&x);
	check_linked_swap();
}

/* A bit of the bitmap is 64 KiB here: only whole ones are told. */
static void test_bigalloc(void **state)
{
	static struct found x;

	(void)state;
	ext_must("rm -f fs; truncate -s 64M fs;"
		 "mke2fs -q -F -t ext4 -b 4096 -O bigalloc -C 65536 -d tree fs");
	must_list("fs", "/swap/big", &x);
	assert_true(x.file.range_count > 0);
	for (size_t i = 0; i < x.file.range_count; i++) {
		assert_int_equal(x.ranges[i].off % 65536, 0);
		assert_int_equal(x.ranges[i].len % 65536, 0);
	}
	/* 5 MiB and 3 bytes: one block in the last cluster stays. */
	assert_int_equal(map_bytes(x.chosen, MAP_ZERO) % 65536, 0);
	assert_int_equal(claims(&x), map_bytes(x.chosen, MAP_ZERO));
	done(&x);
	must_list("fs", "/tail", &x);
	assert_int_equal(x.file.size_bytes, 5);
	assert_int_equal(x.file.range_count, 0);
	done(&x);
}

static void check_kept(const char *prepare, const char *path, const char *why)
{
	static struct found x;

	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -t ext4 -O inline_data -I 256 -d tree "
		 "fs; debugfs -w -R '%s' fs 2>/dev/null",
		prepare);
	must_list("fs", path, &x);
	assert_int_equal(x.file.range_count, 0);
	assert_string_equal(x.file.kept, why);
	done(&x);
}

static void test_what_is_left_alone(void **state)
{
	(void)state;
	check_kept("stats", "/tail", "its data is in its inode");
	/* EXTENTS_FL 0x80000 with ENCRYPT_FL 0x800, VERITY_FL 0x100000, COMPR_FL 0x4 */
	check_kept("set_inode_field /swap/big flags 0x80800", "/swap/big", "its data is encrypted");
	check_kept("set_inode_field /swap/big flags 0x180000", "/swap/big",
		"its data is protected by verity");
	check_kept("set_inode_field /swap/big flags 0x80004", "/swap/big",
		"its data is compressed");
	/* The walk sees one of the names only. */
	check_kept("stats", "/shared", "it has other names");
}

/* Two inodes with one block: a list shows nothing wrong with either, the claims do. */
static void test_shared_blocks(void **state)
{
	static struct found x;
	struct map *one;

	(void)state;
	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -t ext2 -b 4096 -d tree fs;"
		 "b=$(debugfs -R 'bmap /swap/big 3' fs 2>/dev/null);"
		 "debugfs -w -R \"set_inode_field /tail block[0] $b\" fs 2>/dev/null");
	must_list("fs", "/swap/big", &x);
	one = map_of_file(&x);
	map_free(x.chosen);
	x.chosen = one;
	assert_int_equal(claims(&x), map_bytes(one, MAP_DATA) + 4096);
	done(&x);
	/* The metadata of a group: a file on the inode table. */
	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -t ext2 -b 4096 -d tree fs;"
		 "b=$(dumpe2fs fs 2>/dev/null | sed -n 's/.*Inode table at \\([0-9]*\\).*/\\1/p' |"
		 "head -n 1);"
		 "debugfs -w -R \"set_inode_field /tail block[0] $b\" fs 2>/dev/null");
	must_list("fs", "/tail", &x);
	one = map_of_file(&x);
	map_free(x.chosen);
	x.chosen = one;
	assert_int_equal(map_bytes(one, MAP_DATA), 4096);
	assert_int_equal(claims(&x), 2 * 4096);
	done(&x);
}

static void refused(const char *why)
{
	static struct found x;
	struct err e;

	assert_int_equal(list("fs", NULL, &x, &e), -ERR_FORMAT);
	if (strstr(e.msg, why) == NULL)
		fail_msg("'%s' is not in: %s", why, e.msg);
	done(&x);
}

static void test_refusals(void **state)
{
	(void)state;
	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -t ext2 -b 4096 -d tree fs;"
		 "debugfs -w -R 'set_inode_field /swap/big block[IND] 99999999' fs 2>/dev/null");
	refused("/swap/big");
	/* One block twice in one file. */
	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -t ext2 -b 4096 -d tree fs;"
		 "b=$(debugfs -R 'bmap /swap/big 3' fs 2>/dev/null);"
		 "debugfs -w -R \"set_inode_field /swap/big block[0] $b\" fs 2>/dev/null");
	refused("claims a block twice");
	ext_must("rm -f fs; truncate -s 48M fs; mkswap -q fs 2>/dev/null");
	refused("no files can be listed");
	ext_must("rm -f fs; truncate -s 48M fs");
	refused("no file system recognised");
}

/*
 * A volume whose inode table has, in the journal but not in its place, another inode for /tail: one
 * that `change` (of debugfs) makes. debugfs leaves the transaction there to be replayed.
 */
static void make_dirty(const char *change)
{
	ext_must("rm -f fs; truncate -s 48M fs;"
		 "mke2fs -q -F -t ext3 -b 4096 -d tree fs; cp fs other;"
		 "debugfs -w -R \"%s\" other 2>/dev/null;"
		 "b=$(debugfs -R 'imap /tail' fs 2>/dev/null |"
		 "sed -n 's/.*located at block \\([0-9]*\\),.*/\\1/p');"
		 "dd if=other of=block bs=4096 skip=$b count=1 status=none;"
		 "debugfs -w fs 2>/dev/null <<E\njo\njw -b $b block\njc\nE",
		change);
}

static void test_journal_to_replay(void **state)
{
	static struct found x;
	struct fs_report r;
	uint64_t bytes;
	struct err e;

	(void)state;
	/* The list is that of after the replay. */
	make_dirty("set_inode_field /tail size 4");
	map_free(ext_map_of("fs", &r));
	assert_string_equal(r.note, "dirty journal, 1 blocks to replay");
	must_list("fs", "/tail", &x);
	assert_int_equal(x.file.size_bytes, 4);
	assert_int_equal(claims(&x), map_bytes(x.chosen, MAP_ZERO));
	done(&x);
	/* The replay gives a block of /swap/big to /tail too. */
	make_dirty("set_inode_field /tail block[5] "
		   "$(debugfs -R 'bmap /swap/big 3' fs 2>/dev/null)");
	must_list("fs", "/swap/big", &x);
	map_free(x.chosen);
	x.chosen = map_of_file(&x);
	assert_int_equal(fs_claims(x.dev, x.chosen, &bytes, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.msg, "the journal is still to be replayed"));
	done(&x);
}

/* A directory that is its own child, and a name for the journal. */
static void test_circles(void **state)
{
	static struct found x;

	(void)state;
	ext_must("rm -f fs; truncate -s 48M fs; mke2fs -q -F -t ext4 -d tree fs;"
		 "debugfs -w fs 2>/dev/null <<'E'\nln /swap /swap/again\nln / /swap/top\n"
		 "ln <8> /journal\nE");
	must_list("fs", "/swap/big", &x);
	assert_int_equal(claims(&x), map_bytes(x.chosen, MAP_ZERO));
	done(&x);
}

static int setup(void **state)
{
	static const char *const tools[] = { "mke2fs", "debugfs", "dumpe2fs", "mkswap", NULL };

	(void)state;
	ext_setup(tools);
	ext_make_tree("tree", 512);
	ext_must("mkdir -p tree/swap; head -c 5242883 /dev/urandom > tree/swap/big;"
		 "printf 12345 > tree/tail; echo x > tree/one; ln tree/one tree/two;"
		 "ln -s tail tree/symlink;"
		 "head -c 100000 /dev/urandom > tree/shared; ln tree/shared tree/swap/again;"
		 "touch -d @1000000000 tree/swap/big");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_debugfs),
		cmocka_unit_test(test_every_file_once),
		cmocka_unit_test(test_root_directory_only),
		cmocka_unit_test(test_swap_areas),
		cmocka_unit_test(test_bigalloc),
		cmocka_unit_test(test_what_is_left_alone),
		cmocka_unit_test(test_shared_blocks),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_journal_to_replay),
		cmocka_unit_test(test_circles),
	};

	return cmocka_run_group_tests_name("fs_ext_files", tests, setup, NULL);
}
