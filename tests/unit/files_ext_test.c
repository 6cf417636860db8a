/*
 * Files of ext2, ext3 and ext4: volumes that mke2fs and debugfs made of a tree, against that tree;
 * what debugfs and e2fsck say; and what must be refused.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ext_helper.h"
#include "files_helper.h"

static const char *const lost_found[] = { "lost+found", NULL };

static struct files *open_tree(const char *name, struct dev **d)
{
	struct files *f = NULL;
	struct err e;

	*d = ext_open(name);
	if (files_open(*d, &f, &e) < 0)
		fail_msg("%s: %s", name, e.msg);
	return f;
}

static void close_tree(struct files *f, struct dev *d)
{
	files_close(f);
	dev_close(d);
}

/* Deep, wide, long, short, sparse, empty, linked, odd. */
static void make_tree(void)
{
	ext_must("set -e; mkdir -p tree/many; cd tree; d=deep; for i in $(seq 40); "
		 "do d=$d/l$i; done; "
		 "mkdir -p $d; echo bottom >$d/file; "
		 "cd many; seq -f 'a name of a file in a directory with a hash tree %%05g' 900 | "
		 "xargs -d '\\n' touch; cd ..; "
		 "touch $(head -c 255 /dev/zero | tr '\\0' n) empty; "
		 "echo x >$'odd\\n\\t\\xff\\x01 name'; "
		 "ln -s short l1; ln -s $(head -c 59 /dev/zero | tr '\\0' a) l59; "
		 "ln -s $(head -c 60 /dev/zero | tr '\\0' b) l60; "
		 "ln -s $(head -c 900 /dev/zero | tr '\\0' c) l900; "
		 "echo one >hard1; ln hard1 hard2; ln hard1 many/hard3; mkfifo fifo; "
		 "chmod 4751 empty; chmod 0000 hard1; "
		 "seq 30 >inline; seq 100000 >big; "
		 "seq 9000 | dd of=sparse bs=1 seek=4400000001 "
		 "status=none; seq 9000 | dd of=sparse bs=4K seek=999 conv=notrunc status=none; "
		 "touch -d '1950-01-01 UTC' old; touch -d @%d new",
		INT32_MAX - 1);
	ext_make_tree("tree/files", 600);
}

static void test_variants(void **state)
{
	static const char *const variants[] = {
		"-t ext4",
		"-t ext4 -b 1024 -O inline_data",
		"-t ext4 -O bigalloc -C 16384",
		"-t ext4 -O ^dir_index,^filetype,^extra_isize -I 128",
		"-t ext3 -b 65536",
		"-t ext2 -b 1024",
		"-t ext4 -O casefold,encrypt,verity,large_dir,64bit,^sparse_super,^resize_inode",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(variants); i++) {
		struct dev *d;
		struct files *f;

		ext_must("rm -f v; truncate -s 80M v; mke2fs -q -F -N 2500 %s -d tree v",
			variants[i]);
		f = open_tree("v", &d);
		assert_string_equal(files_info(f)->note, "");
		files_assert_same(f, ext_path("tree"), FILES_SAME_MODES, lost_found);
		close_tree(f, d);
	}
}

/* Reads of any length at any place give the same bytes. */
static void test_unaligned(void **state)
{
	static const size_t steps[] = { 1013, 4096, 65537, FILES_READ_MAX_BYTES };
	struct dev *d;
	struct files *f = open_tree("v", &d);
	uint8_t *first = NULL;
	size_t len, other;

	(void)state;
	first = files_read_whole(f, "/big", 333, &len);
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		uint8_t *again = files_read_whole(f, "//big", steps[i], &other);

		assert_int_equal(other, len);
		assert_memory_equal(first, again, len);
		free(again);
	}
	free(first);
	close_tree(f, d);
}

/*
 * A file in hundreds of pieces: extents in a tree, and indirect blocks; also an uninitialized one.
 */
static void test_fragmented(void **state)
{
	static const char *const kinds[] = { "-t ext4", "-t ext2" };

	(void)state;
	ext_must(
		"mkdir -p small; cd small; "
		"for i in $(seq 1200); do head -c 3000 /dev/zero >f$i; done; "
		"cd ..; seq 500000 | head -c 3000000 >large; "
		"(for i in $(seq 1 2 1200); do echo rm f$i; done; echo write large large) >script");
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct dev *d;
		struct files *f;

		ext_must("rm -f v; truncate -s 6M v; "
			 "mke2fs -q -F -b 1024 -N 2000 %s -O ^has_journal "
			 "-d small v && debugfs -w -f script v && cp large small/ && "
			 "rm -f small/f{1..1200..2}",
			kinds[i]);
		f = open_tree("v", &d);
		files_assert_same(f, ext_path("small"), 0, lost_found);
		close_tree(f, d);
		ext_must("rm small/large; cd small; "
			 "for i in $(seq 1 2 1200); do head -c 3000 /dev/zero >f$i; done");
	}
}

/* Numbers of 32 and 34 bits, and what fallocate leaves unwritten. */
static void test_fields(void **state)
{
	struct files_node n;
	struct files *f;
	struct dev *d;
	struct err e;
	uint8_t *p;
	size_t len;

	(void)state;
	ext_must("rm -rf v x; truncate -s 8M v; mkdir x; seq 999 >x/a; "
		 "mke2fs -q -F -t ext4 -b 1024 -d x v; "
		 "printf '%%s\\n' 'sif /a uid 70000' 'sif /a gid 131081' "
		 "'sif /a mtime 0x80000000' 'sif /a mtime_extra 0x1dcd6501' "
		 "'write x/a b' 'sif /b size 40000' 'fallocate /b 4 9' | debugfs -w -f - v; "
		 "b=$(debugfs -R 'bmap /b 5' v 2>/dev/null); test \"${b%% *}\" -gt 0; "
		 "head -c 1024 /dev/zero | tr '\\0' G | "
		 "dd of=v bs=1024 seek=${b%% *} conv=notrunc status=none");
	f = open_tree("v", &d);
	assert_int_equal(files_stat(f, files_must_find(f, "/a"), &n, &e), 0);
	assert_int_equal(n.uid, 70000);
	assert_int_equal(n.gid, 131081);
	/* ext4: (extra & 3) * 2^32 more seconds; the rest are nanoseconds (inodes.rst). */
	assert_true(n.modified.s == (int64_t)INT32_MIN + ((int64_t)1 << 32));
	assert_int_equal(n.modified.ns, 0x1dcd6501 >> 2);
	p = files_read_whole(f, "/b", 4096, &len);
	assert_int_equal(len, 40000);
	assert_true(memcmp(p, "1\n2\n3\n", 6) == 0);
	assert_true(mem_is_zero(p + 4096, len - 4096));
	free(p);
	close_tree(f, d);
}

/* Inode numbers as debugfs prints them: "/12/100644/0/0/name/size/". */
static void test_against_debugfs(void **state)
{
	static char out[65536];
	struct dev *d;
	struct files *f;
	size_t count = 0;

	(void)state;
	ext_must("rm -f v; truncate -s 16M v; mke2fs -q -F -t ext4 -d tree/files v");
	f = open_tree("v", &d);
	assert_int_equal(ext_sh(out, sizeof(out), "debugfs -R 'ls -p /sub' v 2>/dev/null"), 0);
	for (char *next = out, *line; (line = strsep(&next, "\n")) != NULL;) {
		unsigned long long inode;
		char name[256], path[300];

		if (sscanf(line, "/%llu/%*[^/]/%*[^/]/%*[^/]/%255[^/]/", &inode, name) != 2 ||
			name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sub/%s", name);
		assert_int_equal(files_must_find(f, path), inode);
		count++;
	}
	assert_int_equal(count, files_count(f, files_must_find(f, "/sub")));
	assert_true(count > 10);
	close_tree(f, d);
}

/* What is in the journal counts: as e2fsck replays it, not as it lies there. */
static void test_journal(void **state)
{
	struct dev *d;
	struct files *f;
	uint8_t *p, *want;
	size_t len, want_len;

	(void)state;
	ext_must("rm -rf v w x; mkdir x; seq 2000 >x/a; truncate -s 8M v; "
		 "mke2fs -q -F -t ext4 -b 1024 -J size=1 -O ^metadata_csum -d x v; "
		 "b=$(debugfs -R 'bmap /a 2' v 2>/dev/null); "
		 "head -c 1024 /dev/zero | tr '\\0' J >blk; "
		 "printf '%%s\\n' jo \"jw -b $b blk\" jc | debugfs -w -f - v; "
		 "cp v w; e2fsck -fy -E journal_only w; debugfs -R 'dump /a a.replayed' w; "
		 "! cmp -s x/a a.replayed");
	f = open_tree("v", &d);
	p = files_read_whole(f, "/a", 5000, &len);
	close_tree(f, d);
	f = open_tree("w", &d);
	want = files_read_whole(f, "/a", 5000, &want_len);
	close_tree(f, d);
	assert_int_equal(len, want_len);
	assert_memory_equal(p, want, len);
	assert_true(memcmp(p + 2048, "JJJJ", 4) == 0);
	free(p);
	free(want);
	/* One that can't be followed: the volume as it is, and a note. */
	ext_must("b=$(debugfs -R 'bmap <8> 0' v 2>/dev/null); "
		 "dd if=/dev/zero of=v bs=1024 seek=$b count=1 conv=notrunc status=none");
	f = open_tree("v", &d);
	assert_non_null(strstr(files_info(f)->note, "the journal is not replayed"));
	p = files_read_whole(f, "/a", 5000, &len);
	assert_true(memcmp(p, "1\n2\n3\n", 6) == 0);
	free(p);
	close_tree(f, d);
}

static void assert_note(const char *name, const char *note)
{
	struct dev *d;
	struct files *f = open_tree(name, &d);

	assert_string_equal(files_info(f)->note, note);
	close_tree(f, d);
}

/* Without a journal nothing else tells that a volume was in use; with one it says nothing. */
static void test_not_unmounted(void **state)
{
	(void)state;
	ext_must("rm -f v w; truncate -s 8M v w; mke2fs -q -F -t ext2 v; mke2fs -q -F -t ext3 w");
	assert_note("v", "");
	ext_must("for i in v w; do debugfs -w -R 'ssv state 0' $i 2>/dev/null; done");
	assert_note("v", "the file system was not cleanly unmounted");
	assert_note("w", "");
	ext_must("debugfs -w -R 'ssv state 2' v 2>/dev/null");
	assert_note("v", "the file system is marked as having errors");
}

static void assert_refused(int rc, const struct err *e, const char *word)
{
	assert_int_equal(rc, -ERR_FORMAT);
	if (strstr(e->msg, word) == NULL)
		fail_msg("the message is \"%s\", without \"%s\"", e->msg, word);
}

static void test_refused(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 3, 8, 10, 100, 5000, (uint64_t)1 << 32 | 12,
		UINT64_MAX };
	char link[FILES_LINK_MAX_BYTES + 1], byte;
	struct files_node n;
	struct files *f;
	struct dev *d;
	struct err e;
	uint64_t id;
	size_t len;

	(void)state;
	ext_must("rm -rf v x; mkdir -p x/dir x/slash; seq 999 >x/a; seq 999 >x/far; "
		 "touch x/slash/a-b; "
		 "ln -s $(head -c 70 /dev/zero | tr '\\0' b) x/link; "
		 "ln -s a x/fast; truncate -s 4M v; "
		 "mke2fs -q -F -t ext4 -b 1024 -N 64 -O ^metadata_csum,^has_journal -d x v; "
		 "printf '%%s\\n' 'sif /a flags 0x80800' 'sif /dir flags 0x80800' "
		 "'sif /link size 5000' "
		 "'sif /fast size 61' 'sif /far flags 0' 'sif /far block[0] 999999' "
		 "| debugfs -w -f - v; "
		 "sed -i 's/a-b/a\\/b/' v");
	f = open_tree("v", &d);
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		assert_int_equal(files_stat(f, numbers[i], &n, &e), -ERR_FORMAT);
	id = files_must_find(f, "/a");
	assert_refused(files_read(f, id, 0, &byte, 1, &len, &e), &e, "encrypted");
	assert_refused(files_link(f, id, link, &len, &e), &e, "not a link");
	assert_refused(files_list(f, id, NULL, NULL, &e), &e, "not a directory");
	id = files_must_find(f, "/dir");
	assert_refused(files_list(f, id, NULL, NULL, &e), &e, "encrypted");
	assert_refused(files_read(f, id, 0, &byte, 1, &len, &e), &e, "not a regular file");
	assert_refused(files_link(f, files_must_find(f, "/link"), link, &len, &e), &e, "too long");
	assert_int_equal(files_link(f, files_must_find(f, "/fast"), link, &len, &e), -ERR_FORMAT);
	id = files_must_find(f, "/far");
	assert_refused(files_read(f, id, 0, &byte, 1, &len, &e), &e, "past the end");
	assert_int_equal(files_find(f, "/slash/a", &id, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.msg, "no proper name"));
	assert_int_equal(files_find(f, "/none", &id, &e), -ERR_NOT_FOUND);
	close_tree(f, d);
}

static void test_no_reader(void **state)
{
	struct files *f;
	struct dev *d;
	struct err e;

	(void)state;
	ext_must("rm -f v; truncate -s 4M v; mkswap v");
	d = ext_open("v");
	assert_refused(files_open(d, &f, &e), &e, "the files of swap can't be read");
	dev_close(d);
	ext_must("rm -f v; truncate -s 4M v");
	d = ext_open("v");
	assert_refused(files_open(d, &f, &e), &e, "no file system");
	dev_close(d);
}

int main(void)
{
	static const char *const tools[] = { "mke2fs", "debugfs", "e2fsck", "mkswap", NULL };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_unaligned),
		cmocka_unit_test(test_fragmented),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_against_debugfs),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_not_unmounted),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_reader),
	};

	ext_setup(tools);
	make_tree();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
