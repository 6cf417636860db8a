/*
 * libext2fs on a struct dev: it reads what the library's own io_manager reads, refuses every kind
 * of write (R1), gives the device's error as the reason, and ends work that needs too many reads.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "adapter/ext2fs_io.h"
#include "base/mem.h"
#include "device/dev_fault.h"
#include "ext_helper.h"

static int add_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t index, blk64_t ref, int ref_offset,
	void *user)
{
	uint64_t *sum = user;

	(void)fs, (void)ref, (void)ref_offset;
	*sum = *sum * 31 + *block + (uint64_t)index;
	return 0;
}

/* A number that depends on every inode and on where every block of every file lies. */
static uint64_t sum_of(ext2_filsys fs)
{
	uint64_t sum = ext2fs_blocks_count(fs->super);

	for (ext2_ino_t ino = 1; ino <= fs->super->s_inodes_count; ino++) {
		struct ext2_inode inode;

		assert_int_equal(ext2fs_read_inode(fs, ino, &inode), 0);
		sum = sum * 31 + inode.i_size + inode.i_mode;
		if (inode.i_links_count != 0 && ext2fs_inode_has_valid_blocks2(fs, &inode))
			assert_int_equal(ext2fs_block_iterate3(fs, ino, BLOCK_FLAG_READ_ONLY, NULL,
						 add_block, &sum),
				0);
	}
	return sum;
}

static void test_reads_as_the_library_itself(void **state)
{
	static const unsigned blocks[] = { 1024, 4096, 65536 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(blocks); i++) {
		ext2_filsys mine = NULL, theirs = NULL;
		struct dev *d;
		struct err e = { 0 };

		ext_must("rm -f fs && truncate -s 64M fs && mke2fs -q -F -t ext4 -b %u -d tree fs",
			blocks[i]);
		d = ext_open("fs");
		assert_int_equal(ext2fs_io_open(d, &mine, &e), 0);
		assert_int_equal(ext2fs_open(ext_path("fs"), EXT2_FLAG_64BITS, 0, 0,
					 unix_io_manager, &theirs),
			0);
		assert_true(sum_of(mine) == sum_of(theirs));
		ext2fs_close(theirs);
		ext2fs_io_close(mine);
		dev_close(d);
	}
}

/* R1: not by any way in, also when the device itself could be written. */
static void test_writes_are_refused(void **state)
{
	uint8_t bytes[1024] = { 1 };
	struct dev *d = NULL;
	ext2_filsys fs = NULL;
	struct err e = { 0 };

	(void)state;
	ext_must("rm -f fs && truncate -s 8M fs && mke2fs -q -t ext4 -b 1024 fs && cp fs before");
	assert_int_equal(dev_open(ext_path("fs"), DEV_WRITE, &d, &e), 0);
	assert_int_equal(ext2fs_io_open(d, &fs, &e), 0);
	assert_int_equal(io_channel_write_blk64(fs->io, 7000, 1, bytes), EXT2_ET_RO_FILSYS);
	assert_int_equal(io_channel_write_blk(fs->io, 7000, 1, bytes), EXT2_ET_RO_FILSYS);
	assert_int_equal(io_channel_write_byte(fs->io, 7000, 1, bytes), EXT2_ET_RO_FILSYS);
	assert_int_equal(io_channel_discard(fs->io, 7000, 1), EXT2_ET_RO_FILSYS);
	assert_int_equal(io_channel_zeroout(fs->io, 7000, 1), EXT2_ET_RO_FILSYS);
	/* Even a file system marked as changed is not written back. */
	ext2fs_mark_super_dirty(fs);
	ext2fs_io_close(fs);
	dev_close(d);
	ext_must("cmp fs before");
}

static void test_reads_past_the_end_fail(void **state)
{
	struct dev *d;
	ext2_filsys fs = NULL;
	uint8_t bytes[4096];

	(void)state;
	ext_must("rm -f fs && truncate -s 8M fs && mke2fs -q -t ext4 -b 1024 fs");
	d = ext_open("fs");
	assert_int_equal(ext2fs_io_open(d, &fs, NULL), 0);
	assert_int_equal(io_channel_read_blk64(fs->io, 8191, 1, bytes), 0);
	assert_int_equal(io_channel_read_blk64(fs->io, 8191, -1024, bytes), 0);
	assert_int_equal(io_channel_read_blk64(fs->io, 8192, 1, bytes), EXT2_ET_SHORT_READ);
	assert_int_equal(io_channel_read_blk64(fs->io, 8190, 3, bytes), EXT2_ET_SHORT_READ);
	assert_int_equal(io_channel_read_blk64(fs->io, UINT64_MAX, 1, bytes), EXT2_ET_SHORT_READ);
	assert_int_equal(io_channel_read_blk64(fs->io, UINT64_MAX / 1024 + 1, 1, bytes),
		EXT2_ET_SHORT_READ);
	ext2fs_io_close(fs);
	dev_close(d);
}

static void test_budget_of_reads(void **state)
{
	struct dev *d;
	ext2_filsys fs = NULL;
	uint8_t bytes[1024];
	struct err e = { 0 };

	(void)state;
	d = ext_open("fs");
	assert_int_equal(ext2fs_io_open(d, &fs, NULL), 0);
	ext2fs_io_begin(fs, 2);
	assert_int_equal(io_channel_read_blk64(fs->io, 1, 1, bytes), 0);
	assert_int_equal(io_channel_read_blk64(fs->io, 1, 1, bytes), 0);
	assert_int_equal(io_channel_read_blk64(fs->io, 1, 1, bytes), EXT2_ET_SHORT_READ);
	assert_int_equal(ext2fs_io_fail(fs, EXT2_ET_SHORT_READ, &e, "walk"), -ERR_FORMAT);
	assert_string_equal(e.msg, "walk: more reads than a sound volume needs");
	/* The next piece of work begins afresh. */
	ext2fs_io_begin(fs, UINT64_MAX);
	assert_int_equal(io_channel_read_blk64(fs->io, 1, 1, bytes), 0);
	assert_int_equal(ext2fs_io_fail(fs, EXT2_ET_BAD_MAGIC, &e, "walk"), -ERR_FORMAT);
	assert_string_equal(e.msg, "walk: Bad magic number in super-block");
	ext2fs_io_close(fs);
	dev_close(d);
}

/* The reason is the device's, with its name and offset. */
static void test_device_errors_are_named(void **state)
{
	static const struct fault_rule rule = { .op = FAULT_READ,
		.action = FAULT_FAIL,
		.nth = 1,
		.sys = EIO };
	static const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct dev *file = ext_open("fs"), *d = NULL;
	ext2_filsys fs = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(dev_open_fault(file, &plan, &d, NULL), 0);
	assert_int_equal(ext2fs_io_open(d, &fs, &e), -ERR_SOURCE);
	assert_int_equal(e.code, ERR_SOURCE);
	assert_non_null(strstr(e.msg, "open the file system: read "));
	assert_non_null(strstr(e.msg, "at 1024: Input/output error"));
	dev_close(d);
	dev_close(file);

	assert_int_equal(dev_open_mem(NULL, 64 * KIB, &d, NULL), 0);
	assert_int_equal(ext2fs_io_open(d, &fs, &e), -ERR_FORMAT);
	assert_string_equal(e.msg, "open the file system: Bad magic number in super-block");
	dev_close(d);
}

static int setup(void **state)
{
	static const char *const tools[] = { "mke2fs", NULL };

	(void)state;
	ext_setup(tools);
	ext_make_tree("tree", 1024);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_as_the_library_itself),
		cmocka_unit_test(test_writes_are_refused),
		cmocka_unit_test(test_reads_past_the_end_fail),
		cmocka_unit_test(test_budget_of_reads),
		cmocka_unit_test(test_device_errors_are_named),
	};

	ext2fs_io_close(NULL);
	return cmocka_run_group_tests_name("ext2fs_io", tests, setup, NULL);
}
