/*
 * ntfs_io: libntfs-3g on a struct dev. What it reads is what the device holds; every way of writing
 * is refused and nothing is printed; errors carry the device's words; loops end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/logfile.h>
#include <ntfs-3g/volume.h>

#include "adapter/ntfs_io.h"
#include "base/mem.h"
#include "device/dev_fault.h"
#include "ntfs_helper.h"

#define FILE_BYTES 100000

/* A volume in memory that could be written to, and what it held at first. */
struct volume {
	struct dev *dev;
	uint8_t *bytes;
	size_t len;
	struct ntfs_io *io;
	ntfs_volume *vol;
};

static struct volume open_volume(void)
{
	const char *path = ntfs_path("io.img");
	struct volume v = { .len = 4 * MIB + 512 };
	struct err e;

	ntfs_make(path, v.len, 512, 4096);
	ntfs_copy_in(path, "file", FILE_BYTES);
	v.bytes = malloc(v.len);
	assert_non_null(v.bytes);
	ntfs_peek(path, 0, v.bytes, v.len);
	assert_int_equal(dev_open_mem(v.bytes, v.len, &v.dev, &e), 0);
	assert_true(dev_info(v.dev)->writable);
	assert_int_equal(ntfs_io_open(v.dev, &v.io, &e), 0);
	v.vol = ntfs_io_volume(v.io);
	return v;
}

static void close_volume(struct volume *v)
{
	uint8_t *now = malloc(v->len);
	struct err e;

	ntfs_io_close(v->io);
	/* R1: nothing was written, not even at the end. */
	assert_int_equal(dev_read(v->dev, 0, now, v->len, &e), 0);
	assert_memory_equal(now, v->bytes, v->len);
	free(now);
	free(v->bytes);
	dev_close(v->dev);
}

static void test_reads_what_ntfscat_reads(void **state)
{
	struct volume v = open_volume();
	uint8_t *ours = malloc(FILE_BYTES), *theirs = malloc(FILE_BYTES);
	ntfs_inode *ni = ntfs_inode_open(v.vol, 64);
	ntfs_attr *a;
	FILE *f;

	(void)state;
	assert_non_null(ni);
	a = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
	assert_non_null(a);
	assert_int_equal(ntfs_attr_pread(a, 0, FILE_BYTES, ours), FILE_BYTES);
	ntfs_attr_close(a);
	ntfs_inode_close(ni);
	assert_int_equal(NTFS_RUN(NULL, 0, "sh", "-c", "exec ntfscat -f \"$1\" file >\"$2\"", "sh",
				 ntfs_path("io.img"), ntfs_path("cat.out")),
		0);
	f = fopen(ntfs_path("cat.out"), "rb");
	assert_non_null(f);
	assert_int_equal(fread(theirs, 1, FILE_BYTES, f), FILE_BYTES);
	fclose(f);
	assert_memory_equal(ours, theirs, FILE_BYTES);
	free(ours);
	free(theirs);
	close_volume(&v);
}

static void test_every_write_is_refused(void **state)
{
	struct volume v = open_volume();
	struct ntfs_device *nd = v.vol->dev;
	ntfs_inode *ni = ntfs_inode_open(v.vol, 64);
	char buf[512] = "x";

	(void)state;
	assert_true(NVolReadOnly(v.vol));
	assert_true(NDevReadOnly(nd));
	errno = 0;
	assert_int_equal(ntfs_pwrite(nd, 0, sizeof(buf), buf), -1);
	assert_int_equal(errno, EROFS);
	/* Below the library's own guard as well. */
	errno = 0;
	assert_int_equal(nd->d_ops->pwrite(nd, buf, sizeof(buf), 0), -1);
	assert_int_equal(errno, EROFS);
	errno = 0;
	assert_int_equal(nd->d_ops->write(nd, buf, sizeof(buf)), -1);
	assert_int_equal(errno, EROFS);
	/* The library pretends that these work; close_volume sees the bytes. */
	ntfs_logfile_reset(v.vol);
	assert_non_null(ni);
	ntfs_inode_update_times(ni, NTFS_UPDATE_MCTIME);
	ntfs_inode_mark_dirty(ni);
	ntfs_inode_close(ni);
	close_volume(&v);
}

static void test_device_operations(void **state)
{
	struct volume v = open_volume();
	struct ntfs_device *nd = v.vol->dev;
	uint8_t buf[1024];
	struct stat st;

	(void)state;
	assert_int_equal(nd->d_ops->open(nd, O_RDONLY), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(nd->d_ops->seek(nd, -512, SEEK_END), v.len - 512);
	assert_int_equal(nd->d_ops->read(nd, buf, 512), 512);
	assert_memory_equal(buf, v.bytes + v.len - 512, 512);
	assert_int_equal(nd->d_ops->seek(nd, -1024, SEEK_CUR), v.len - 1024);
	assert_int_equal(nd->d_ops->read(nd, buf, 1024), 1024);
	assert_memory_equal(buf, v.bytes + v.len - 1024, 1024);
	assert_int_equal(nd->d_ops->seek(nd, (s64)v.len, SEEK_SET), v.len);
	assert_int_equal(nd->d_ops->seek(nd, (s64)v.len + 1, SEEK_SET), -1);
	assert_int_equal(nd->d_ops->seek(nd, -1, SEEK_SET), -1);
	assert_int_equal(nd->d_ops->seek(nd, INT64_MAX, SEEK_CUR), -1);
	assert_int_equal(nd->d_ops->seek(nd, 0, 77), -1);
	assert_int_equal(nd->d_ops->stat(nd, &st), 0);
	assert_int_equal(st.st_size, v.len);
	assert_int_equal(nd->d_ops->ioctl(nd, 0, NULL), -1);
	assert_int_equal(nd->d_ops->sync(nd), 0);
	close_volume(&v);
}

static void fails_with(struct volume *v, s64 count, s64 off, int sys, int code, const char *why)
{
	uint8_t *buf = malloc(NTFS_IO_MAX_READ_BYTES + 512);
	struct err e;

	errno = 0;
	assert_int_equal(v->vol->dev->d_ops->pread(v->vol->dev, buf, count, off), -1);
	assert_int_equal(errno, sys);
	assert_int_equal(ntfs_io_fail(v->io, &e, "read it"), -code);
	if (strncmp(e.msg, "read it: ", 9) != 0 || strstr(e.msg, why) == NULL)
		fail_msg("'%s' is not in: %s", why, e.msg);
	assert_int_equal(ntfs_io_fail(v->io, NULL, "x"), -code);
	free(buf);
}

static void test_reads_that_fail(void **state)
{
	struct volume v = open_volume();
	uint8_t buf[512];
	struct err e;

	(void)state;
	ntfs_io_begin(v.io, 5);
	fails_with(&v, 512, (s64)v.len - 511, EIO, ERR_FORMAT, "past the end");
	ntfs_io_begin(v.io, 5);
	fails_with(&v, 512, INT64_MAX - 100, EIO, ERR_FORMAT, "past the end");
	ntfs_io_begin(v.io, 5);
	fails_with(&v, 512, -512, EIO, ERR_FORMAT, "past the end");
	ntfs_io_begin(v.io, 5);
	fails_with(&v, NTFS_IO_MAX_READ_BYTES + 1, 0, EINVAL, ERR_FORMAT, "claims");
	ntfs_io_begin(v.io, 5);
	fails_with(&v, -1, 0, EINVAL, ERR_FORMAT, "claims");
	/* The first failure is the reason, not what follows from it. */
	fails_with(&v, 512, -512, EIO, ERR_FORMAT, "claims");

	ntfs_io_begin(v.io, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(v.vol->dev->d_ops->pread(v.vol->dev, buf, 512, 0), 512);
	fails_with(&v, 512, 0, ELOOP, ERR_FORMAT, "in circles");
	ntfs_io_begin(v.io, 1);
	assert_int_equal(v.vol->dev->d_ops->pread(v.vol->dev, buf, 512, 0), 512);
	/* Without a failure of ours: errno. */
	errno = ENOTDIR;
	assert_int_equal(ntfs_io_fail(v.io, &e, "look"), -ERR_FORMAT);
	assert_string_equal(e.msg, "look: Not a directory");
	close_volume(&v);
}

static void test_device_error_is_the_reason(void **state)
{
	const struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .nth = 2 };
	const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct volume v = open_volume();
	struct ntfs_io *io = (struct ntfs_io *)&v;
	struct dev *d;
	struct err e;

	(void)state;
	assert_int_equal(dev_open_fault(v.dev, &plan, &d, &e), 0);
	assert_int_equal(ntfs_io_open(d, &io, &e), -ERR_SOURCE);
	assert_null(io);
	assert_int_equal(strncmp(e.msg, "open the volume: ", 17), 0);
	assert_non_null(strstr(e.msg, "Input/output error"));
	dev_close(d);
	close_volume(&v);
}

/* What libntfs-3g has to say becomes the reason; on stdout and stderr there is not a byte. */
static void test_the_library_is_silent(void **state)
{
	struct volume v = open_volume();
	const char *path = ntfs_path("silence");
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), out = dup(1), err = dup(2);
	struct dev *broken;
	struct ntfs_io *io;
	struct err e = { 0 };
	struct stat st;
	int rc;

	(void)state;
	/* $MFTMirr's first record says where it is; the boot sector says otherwise. */
	v.bytes[0x38] ^= 1;
	assert_int_equal(dev_open_mem(v.bytes, v.len, &broken, &e), 0);
	v.bytes[0x38] ^= 1;
	fflush(NULL);
	dup2(fd, 1);
	dup2(fd, 2);
	rc = ntfs_io_open(broken, &io, &e);
	fflush(NULL);
	dup2(out, 1);
	dup2(err, 2);
	assert_int_equal(rc, -ERR_FORMAT);
	if (strncmp(e.msg, "open the volume: Bad $MFTMirr lcn", 33) != 0)
		fail_msg("%s", e.msg);
	assert_null(strchr(e.msg, '\n'));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	close(fd);
	close(out);
	close(err);
	dev_close(broken);
	close_volume(&v);
}

struct job {
	const uint8_t *bytes;
	size_t len;
	const char *want; /* how the reason begins; NULL: it opens */
	unsigned wrong;
};

static void *open_often(void *arg)
{
	struct job *j = arg;

	for (unsigned i = 0; i < 50; i++) {
		struct dev *d = NULL;
		struct ntfs_io *io = NULL;
		struct err e = { 0 };
		int rc;

		if (dev_open_mem(j->bytes, j->len, &d, &e) < 0) {
			j->wrong++;
			continue;
		}
		rc = ntfs_io_open(d, &io, &e);
		if (j->want == NULL ? rc != 0 : strncmp(e.msg, j->want, strlen(j->want)) != 0)
			j->wrong++;
		ntfs_io_close(io);
		dev_close(d);
	}
	return NULL;
}

/* Volumes in several threads: the library is told of one log, the messages don't mix. */
static void test_threads_have_their_own_messages(void **state)
{
	struct volume v = open_volume();
	uint8_t *moved = malloc(v.len), *damaged = malloc(v.len);
	struct job jobs[] = {
		{ v.bytes, v.len, NULL, 0 },
		{ moved, v.len, "open the volume: Bad $MFTMirr lcn", 0 },
		{ damaged, v.len, "open the volume: Record 0 has no FILE magic", 0 },
	};
	pthread_t threads[COUNT_OF(jobs)];

	(void)state;
	memcpy(moved, v.bytes, v.len);
	moved[0x38] ^= 1;
	memcpy(damaged, v.bytes, v.len);
	damaged[get_le64(damaged + 0x30) * 4096] = 'X';
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_often, &jobs[i]), 0);
	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(jobs[i].wrong, 0);
	}
	free(moved);
	free(damaged);
	close_volume(&v);
}

static void test_close_of_nothing(void **state)
{
	(void)state;
	ntfs_io_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_what_ntfscat_reads),
		cmocka_unit_test(test_every_write_is_refused),
		cmocka_unit_test(test_device_operations),
		cmocka_unit_test(test_reads_that_fail),
		cmocka_unit_test(test_device_error_is_the_reason),
		cmocka_unit_test(test_the_library_is_silent),
		cmocka_unit_test(test_threads_have_their_own_messages),
		cmocka_unit_test(test_close_of_nothing),
	};

	ntfs_need_tools();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
