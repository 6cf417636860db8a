/*
 * device: every kind of device against a model in memory, at random, through the same calls; then
 * what opening must refuse, the borders, growth, holes, pipes, and the failures that the kernel can
 * be made to give without root.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "device/dev_ops.h"
#include "unit/dev_helper.h"

static struct err e;

static struct dev *open_ok(const char *path, unsigned flags)
{
	struct dev *d = NULL;

	assert_ok(dev_open(path, flags, &d, &e), &e);
	return d;
}

static struct dev *slice_ok(struct dev *under, uint64_t off, uint64_t len)
{
	struct dev *d = NULL;

	assert_ok(dev_open_slice(under, off, len, &d, &e), &e);
	return d;
}

/* A file of that size with random content, opened. */
static struct dev *file_ok(const char *name, size_t size, unsigned flags, uint8_t **content)
{
	*content = malloc(size + 1);
	assert_non_null(*content);
	dev_helper_fill(*content, size, (uint32_t)size + 1);
	dev_helper_write_file(dev_helper_path(name), *content, size);
	return open_ok(dev_helper_path(name), flags);
}

static void assert_file_is(const char *name, const uint8_t *want, size_t size)
{
	size_t len;
	uint8_t *got = dev_helper_read_file(dev_helper_path(name), &len);

	assert_int_equal(len, size);
	assert_memory_equal(got, want, size);
	free(got);
}

/* ---- The model ---- */

#define STEPS 400
#define PIECE_MAX 20000

/* An offset or length that likes the borders of blocks. */
static uint64_t border(uint32_t *rnd, uint64_t max)
{
	uint64_t v = dev_helper_random(rnd) % (max + 1);

	switch (dev_helper_random(rnd) % 4) {
	case 0:
		v = align_down(v, 4096);
		break;
	case 1:
		v = align_down(v, 512);
		break;
	case 2:
		v = max - min_u64(max, v % 7);
		break;
	default:
		break;
	}
	return v;
}

static void one_step(struct dev *d, uint8_t *model, uint64_t size, uint32_t *rnd, uint8_t *room)
{
	uint64_t off = border(rnd, size);
	size_t len = (size_t)border(rnd, min_u64(size - off, PIECE_MAX));
	uint8_t *buf = room + dev_helper_random(rnd) % 3 * 256;

	switch (dev_helper_random(rnd) % 8) {
	case 0:
		assert_ok(dev_zero(d, off, len, &e), &e);
		memset(model + off, 0, len);
		break;
	case 1:
	case 2:
	case 3:
		dev_helper_fill(buf, len, *rnd);
		memcpy(model + off, buf, len);
		assert_ok(dev_write(d, off, buf, len, &e), &e);
		break;
	default:
		memset(buf, 0xEE, len + 1);
		assert_ok(dev_read(d, off, buf, len, &e), &e);
		assert_memory_equal(buf, model + off, len);
		assert_int_equal(buf[len], 0xEE);
		break;
	}
}

/* Random reads, writes and zeroing agree with the model, which is the content at the end. */
static void against_model(struct dev *d, uint8_t *model, uint32_t seed)
{
	uint64_t size = dev_size(d);
	uint32_t rnd = seed * 7919 + 1;
	uint8_t *room = mem_alloc_direct(PIECE_MAX + 4096);

	assert_non_null(room);
	for (int i = 0; i < STEPS; i++)
		one_step(d, model, size, &rnd, room);
	assert_ok(dev_flush(d, true, &e), &e);
	assert_int_equal(dev_size(d), size);
	free(room);
}

static const size_t sizes[] = { 1, 511, 512, 4095, 4096, 4097, 65536, 300001, 2 * 1048576 + 1 };
static const unsigned modes[] = { DEV_WRITE, DEV_WRITE | DEV_DIRECT };

/* A device that goes without the cache has not fallen back to it on the way. */
static void assert_still_direct(struct dev *d)
{
	uint64_t base;
	int flags = fcntl(dev_fd(d, &base), F_GETFL);

	assert_int_equal((flags & O_DIRECT) != 0, dev_info(d)->align_bytes > 1);
}

static void test_file_model(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes) * 2; i++) {
		uint8_t *model;
		struct dev *d = file_ok("model", sizes[i / 2], modes[i % 2], &model);

		assert_int_equal(dev_size(d), sizes[i / 2]);
		against_model(d, model, (uint32_t)i);
		assert_still_direct(d);
		dev_close(d);
		assert_file_is("model", model, sizes[i / 2]);
		free(model);
	}
}

static void test_mem_model(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		uint8_t *model = malloc(sizes[i]);
		struct dev *d;

		dev_helper_fill(model, sizes[i], 3);
		assert_ok(dev_open_mem(model, sizes[i], &d, &e), &e);
		against_model(d, model, (uint32_t)i);
		dev_close(d);
		free(model);
	}
}

/* Windows at aligned and odd places, on a window, through a device without faults; around the
 * window nothing changes. */
static void test_slice_model(void **state)
{
	static const uint64_t bases[] = { 0, 1, 512, 4096, 4097, 123456 };
	const struct fault_plan none = { .rule_count = 0 };
	const size_t size = 700001;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bases) * 2; i++) {
		uint64_t base = bases[i / 2];
		uint8_t *model;
		struct dev *d = file_ok("slice", size, modes[i % 2], &model);
		struct dev *outer = slice_ok(d, base, size - base - (i % 3) * 4096);
		struct dev *inner = slice_ok(outer, 8192, dev_size(outer) - 8192);
		struct dev *fault;

		assert_ok(dev_open_fault(inner, &none, &fault, &e), &e);
		against_model(fault, model + base + 8192, (uint32_t)i);
		against_model(outer, model + base, (uint32_t)i + 100);
		dev_close(fault);
		dev_close(inner);
		dev_close(outer);
		dev_close(d);
		assert_file_is("slice", model, size);
		free(model);
	}
}

/* A device that insists on what dev_ops.h promises to those who implement one. */
struct strict {
	struct dev dev;
	uint8_t bytes[70000];
	unsigned calls;
};

#define STRICT_ALIGN 4096

static void insist(struct dev *d, uint64_t off, const void *buf, uint64_t len)
{
	((struct strict *)d)->calls++;
	assert_true(len > 0 && range_inside(off, len, dev_size(d)));
	assert_int_equal(off % STRICT_ALIGN, 0);
	assert_true(len % STRICT_ALIGN == 0 || off + len == dev_size(d));
	assert_int_equal((uintptr_t)buf % STRICT_ALIGN, 0);
}

static int strict_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *err)
{
	(void)err;
	insist(d, off, buf, len);
	memcpy(buf, ((struct strict *)d)->bytes + off, len);
	return 0;
}

static int strict_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *err)
{
	(void)err;
	insist(d, off, buf, len);
	memcpy(((struct strict *)d)->bytes + off, buf, len);
	return 0;
}

static int strict_zero(struct dev *d, uint64_t off, uint64_t len, struct err *err)
{
	(void)err;
	insist(d, off, NULL, len);
	memset(((struct strict *)d)->bytes + off, 0, len);
	return 0;
}

static int strict_flush(struct dev *d, bool metadata, struct err *err)
{
	(void)metadata;
	(void)err;
	((struct strict *)d)->calls++;
	return 0;
}

static void strict_close(struct dev *d)
{
	dev_fini(d);
}

static const struct dev_ops strict_ops = {
	.kind = "strict",
	.read = strict_read,
	.write = strict_write,
	.flush = strict_flush,
	.discard = strict_zero,
	.zero = strict_zero,
	.close = strict_close,
};

static void test_promises_to_operations(void **state)
{
	static struct strict s;
	uint8_t *model = calloc(1, sizeof(s.bytes));
	char byte = 0;

	(void)state;
	assert_ok(dev_init(&s.dev, &strict_ops, "strict", &e), &e);
	s.dev.info.align_bytes = STRICT_ALIGN;
	for (size_t size = 65536; size <= sizeof(s.bytes); size += 1116) {
		memset(s.bytes, 0, sizeof(s.bytes));
		memset(model, 0, sizeof(s.bytes));
		s.dev.info.size_bytes = size;
		s.dev.info.writable = true;
		against_model(&s.dev, model, (uint32_t)size);
		assert_memory_equal(s.bytes, model, size);
		/* Whole blocks only are discarded, none for less than one. */
		assert_ok(dev_discard(&s.dev, 4000, 8000, &e), &e);
		memset(model + 4096, 0, 4096);
		assert_memory_equal(s.bytes, model, size);
		/* R1: no operation that changes anything is even called. */
		s.dev.info.writable = false;
		s.calls = 0;
		assert_int_equal(dev_write(&s.dev, 0, &byte, 1, &e), -ERR_TARGET);
		assert_int_equal(dev_zero(&s.dev, 0, 4096, &e), -ERR_TARGET);
		assert_int_equal(dev_discard(&s.dev, 0, 4096, &e), -ERR_TARGET);
		assert_ok(dev_flush(&s.dev, true, &e), &e);
		assert_int_equal(s.calls, 0);
	}
	dev_close(&s.dev);
	free(model);
}

/* ---- Opening ---- */

static void test_open_refuses(void **state)
{
	struct dev *d = (struct dev *)1;

	(void)state;
	assert_int_equal(dev_open(dev_helper_path("missing"), 0, &d, &e), -ERR_NOT_FOUND);
	assert_null(d);
	assert_int_equal(dev_open(dev_helper_path("no/such"), DEV_WRITE | DEV_CREATE, &d, &e),
		-ERR_NOT_FOUND);
	assert_int_equal(dev_open(dev_helper_path("."), 0, &d, &e), -ERR_USAGE);
	assert_int_equal(dev_open("/dev/null", 0, &d, &e), -ERR_USAGE);
	assert_int_equal(dev_open("/dev/full", DEV_WRITE, &d, &e), -ERR_USAGE);
	/* Opening a FIFO that nobody writes to would wait for ever. */
	assert_int_equal(mkfifo(dev_helper_path("fifo"), 0600), 0);
	alarm(30);
	assert_int_equal(dev_open(dev_helper_path("fifo"), 0, &d, &e), -ERR_USAGE);
	assert_int_equal(dev_open(dev_helper_path("fifo"), DEV_WRITE, &d, &e), -ERR_USAGE);
	alarm(0);
	dev_helper_write_file(dev_helper_path("there"), "x", 1);
	assert_int_equal(dev_open(dev_helper_path("there"), DEV_TRUNCATE, &d, &e), -ERR_USAGE);
	assert_int_equal(dev_open(dev_helper_path("new"), DEV_CREATE, &d, &e), -ERR_USAGE);
	assert_int_equal(access(dev_helper_path("new"), F_OK), -1);
	if (geteuid() != 0) {
		chmod(dev_helper_path("there"), 0400);
		assert_int_equal(dev_open(dev_helper_path("there"), DEV_WRITE, &d, &e),
			-ERR_PERMISSION);
	}
	assert_file_is("there", (const uint8_t *)"x", 1);
	dev_close(NULL);
}

/* R8: what exists is not replaced. */
static void test_r8_create(void **state)
{
	struct dev *d;
	struct stat st;

	(void)state;
	d = open_ok(dev_helper_path("created"), DEV_WRITE | DEV_CREATE | DEV_DIRECT);
	assert_int_equal(dev_size(d), 0);
	assert_ok(dev_write(d, 0, "hello", 5, &e), &e);
	assert_still_direct(d);
	dev_close(d);
	assert_int_equal(stat(dev_helper_path("created"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(dev_open(dev_helper_path("created"), DEV_WRITE | DEV_CREATE, &d, &e),
		-ERR_REFUSED);
	assert_non_null(strstr(e.msg, "exists"));
	assert_int_equal(dev_open(dev_helper_path("created"), DEV_WRITE | DEV_CREATE | DEV_TRUNCATE,
				 &d, &e),
		-ERR_REFUSED);
	assert_file_is("created", (const uint8_t *)"hello", 5);
	d = open_ok(dev_helper_path("created"), DEV_WRITE | DEV_TRUNCATE | DEV_DIRECT);
	assert_int_equal(dev_size(d), 0);
	dev_close(d);
	assert_file_is("created", (const uint8_t *)"", 0);
}

/* R1: a device opened for reading cannot be changed by any call. */
static void test_r1_read_only(void **state)
{
	uint8_t *model;
	struct dev *d = file_ok("source", 10000, DEV_DIRECT, &model);
	struct dev *s = slice_ok(d, 0, 8192);

	(void)state;
	assert_false(dev_info(d)->writable);
	assert_int_equal(dev_write(d, 0, "x", 1, &e), -ERR_TARGET);
	assert_int_equal(dev_write(s, 0, "x", 1, &e), -ERR_TARGET);
	assert_int_equal(dev_zero(d, 0, 4096, &e), -ERR_TARGET);
	assert_int_equal(dev_discard(d, 0, 4096, &e), -ERR_TARGET);
	assert_int_equal(dev_set_size(d, 0, &e), -ERR_TARGET);
	assert_ok(dev_flush(d, true, &e), &e);
	dev_close(s);
	dev_close(d);
	assert_file_is("source", model, 10000);
	free(model);
}

/* Count the descriptors of a file. None survives an exec, and none is left non-blocking, which
 * io_uring takes amiss. */
static int count_descriptors(const char *path)
{
	int seen = 0;

	for (int fd = 3; fd < 64; fd++) {
		char link[64];
		char target[512] = "";

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if (readlink(link, target, sizeof(target) - 1) <= 0 || strcmp(target, path) != 0)
			continue;
		seen++;
		assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
		assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	}
	return seen;
}

static void test_descriptors(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		uint8_t *model;
		struct dev *d = file_ok("flags", 10000, modes[i], &model);
		char path[4096];

		assert_non_null(realpath(dev_helper_path("flags"), path));
		assert_true(count_descriptors(path) >= 1);
		dev_close(d);
		assert_int_equal(count_descriptors(path), 0);
		free(model);
	}
}

static void test_open_fd(void **state)
{
	uint8_t *model;
	struct dev *d = file_ok("fd", 10001, DEV_WRITE, &model);
	int fd = open(dev_helper_path("fd"), O_RDWR | O_CLOEXEC | O_DIRECT);
	uint64_t base = 1;
	int ends[2];

	(void)state;
	dev_close(d);
	if (fd < 0)
		fd = open(dev_helper_path("fd"), O_RDWR | O_CLOEXEC);
	assert_ok(dev_open_fd(fd, "a file", true, &d, &e), &e);
	assert_string_equal(dev_name(d), "a file");
	assert_int_equal(dev_fd(d, &base), fd);
	assert_int_equal(base, 0);
	against_model(d, model, 5);
	dev_close(d);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_file_is("fd", model, 10001);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dev_open_fd(ends[0], "a pipe", false, &d, &e), -ERR_USAGE);
	assert_int_equal(fcntl(ends[0], F_GETFD), -1);
	close(ends[1]);
	free(model);
}

/* Where the kernel refuses O_DIRECT, the device is buffered. */
static void test_direct_refused(void **state)
{
	const char *path = "/sys/kernel/mm/transparent_hugepage/enabled";
	uint8_t buf[64];
	uint8_t *model;
	struct dev *d;

	(void)state;
	if (access(path, R_OK) == 0) {
		d = open_ok(path, DEV_DIRECT);
		assert_int_equal(dev_info(d)->align_bytes, 1);
		assert_ok(dev_read(d, 0, buf, 5, &e), &e);
		/* sysfs says 4096 bytes: that there are fewer is an error, not a short success. */
		assert_int_equal(dev_read(d, 0, model = malloc(4096), 4096, &e), -ERR_SOURCE);
		assert_non_null(strstr(e.msg, "ends"));
		free(model);
		dev_close(d);
	}
	/* Refused only when it comes to reading: here because the alignment is a lie. */
	d = file_ok("lie", 20000, DEV_WRITE | DEV_DIRECT, &model);
	d->info.align_bytes = 1;
	assert_ok(dev_read(d, 17, buf, sizeof(buf), &e), &e);
	assert_memory_equal(buf, model + 17, sizeof(buf));
	memset(model + 33, 0, 5);
	assert_ok(dev_write(d, 33, "\0\0\0\0\0", 5, &e), &e);
	dev_close(d);
	assert_file_is("lie", model, 20000);
	free(model);
}

/* ---- Borders ---- */

static void test_ranges(void **state)
{
	uint8_t buf[16];
	uint8_t *model;
	struct dev *files[3];
	struct dev *d;

	(void)state;
	files[0] = file_ok("ranges", 10000, DEV_DIRECT, &model);
	files[1] = slice_ok(files[0], 1, 9999);
	assert_ok(dev_open_mem(model, 10000, &files[2], &e), &e);
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		uint64_t size;

		d = files[i];
		size = dev_size(d);
		assert_ok(dev_read(d, size, buf, 0, &e), &e);
		assert_ok(dev_read(d, size - 1, buf, 1, &e), &e);
		assert_int_equal(buf[0], model[9999]);
		assert_int_equal(dev_read(d, size - 1, buf, 2, &e), -ERR_SOURCE);
		assert_int_equal(dev_read(d, size + 1, buf, 0, &e), -ERR_SOURCE);
		assert_int_equal(dev_read(d, UINT64_MAX, buf, 2, &e), -ERR_SOURCE);
		assert_int_equal(dev_read(d, (uint64_t)INT64_MAX, buf, 2, &e), -ERR_SOURCE);
		assert_non_null(strstr(e.msg, dev_name(d)));
		assert_non_null(strstr(e.msg, "9223372036854775807"));
	}
	assert_int_equal(dev_write(files[2], 9999, buf, 2, &e), -ERR_TARGET);
	assert_int_equal(dev_zero(files[2], 9999, 2, &e), -ERR_TARGET);
	assert_int_equal(dev_discard(files[2], 9999, 2, &e), -ERR_TARGET);
	assert_int_equal(dev_open_slice(files[0], 1, 10000, &d, &e), -ERR_SOURCE);
	assert_null(d);
	assert_int_equal(dev_open_slice(files[0], UINT64_MAX, 2, &d, &e), -ERR_SOURCE);
	dev_close(files[2]);
	dev_close(files[1]);
	dev_close(files[0]);
	free(model);
}

static void test_info(void **state)
{
	uint8_t *model;
	struct dev *d = file_ok("info", 8192, DEV_WRITE, &model);
	struct dev *s = slice_ok(d, 512, 1024);
	struct dev *m;
	uint64_t base;

	(void)state;
	assert_int_equal(dev_info(d)->logical_bytes, 512);
	assert_int_equal(dev_info(d)->align_bytes, 1);
	assert_true(dev_info(d)->can_grow && dev_info(d)->can_discard);
	assert_false(dev_info(d)->block_device || dev_info(d)->sequential);
	assert_false(dev_info(s)->can_grow);
	assert_int_equal(dev_fd(s, &base), dev_fd(d, &base));
	dev_fd(s, &base);
	assert_int_equal(base, 512);
	assert_ok(dev_open_mem(NULL, 100, &m, &e), &e);
	assert_int_equal(dev_fd(m, &base), -1);
	dev_close(m);
	dev_close(s);
	dev_close(d);
	/* On a device that needs alignment, an odd window has no descriptor: it must be bounced. */
	d = open_ok(dev_helper_path("info"), DEV_DIRECT);
	if (dev_info(d)->align_bytes > 1) {
		assert_true(is_power_of_two(dev_info(d)->align_bytes));
		s = slice_ok(d, 512, 1024);
		assert_int_equal(dev_fd(s, &base), -1);
		dev_close(s);
		s = slice_ok(d, 4096, 1024);
		assert_true(dev_fd(s, &base) >= 0);
		dev_close(s);
	}
	dev_close(d);
	free(model);
}

/* Writing past the end of a file extends it to the byte, and what was skipped reads as zeros. */
static void test_grow(void **state)
{
	uint8_t *want = calloc(1, 600000);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		uint8_t *model;
		struct dev *d = file_ok("grow", 5000, modes[i], &model);
		uint32_t rnd = 99;
		uint64_t size = 5000;

		memset(want, 0, 600000);
		memcpy(want, model, 5000);
		for (int k = 0; k < 60; k++) {
			uint64_t off = size - 300 + dev_helper_random(&rnd) % 9000;
			size_t len = 1 + dev_helper_random(&rnd) % 5000;

			dev_helper_fill(want + off, len, rnd);
			assert_ok(dev_write(d, off, want + off, len, &e), &e);
			size = max_u64(size, off + len);
			assert_int_equal(dev_size(d), size);
		}
		/* Zeroing may grow it too, without writing. */
		assert_ok(dev_zero(d, size - 10, 1000, &e), &e);
		memset(want + size - 10, 0, 10);
		size += 990;
		dev_close(d);
		assert_file_is("grow", want, size);
		free(model);
	}
	free(want);
}

static void test_set_size(void **state)
{
	uint8_t *model;
	struct dev *d = file_ok("sized", 10000, DEV_WRITE | DEV_DIRECT, &model);
	struct dev *s = slice_ok(d, 0, 100);
	struct dev *m;
	uint8_t byte = 1;

	(void)state;
	assert_int_equal(dev_set_size(s, 10, &e), -ERR_TARGET);
	dev_close(s);
	assert_ok(dev_set_size(d, 5001, &e), &e);
	assert_int_equal(dev_size(d), 5001);
	assert_ok(dev_set_size(d, 6000, &e), &e);
	assert_int_equal(dev_set_size(d, UINT64_MAX, &e), -ERR_TARGET);
	dev_close(d);
	memset(model + 5001, 0, 999);
	assert_file_is("sized", model, 6000);
	assert_ok(dev_open_mem(model, 10, &m, &e), &e);
	assert_ok(dev_set_size(m, 100000, &e), &e);
	assert_ok(dev_read(m, 99999, &byte, 1, &e), &e);
	assert_int_equal(byte, 0);
	/* What it lost in between is not there again. */
	assert_ok(dev_write(m, 500, "x", 1, &e), &e);
	assert_ok(dev_set_size(m, 400, &e), &e);
	assert_ok(dev_set_size(m, 501, &e), &e);
	assert_ok(dev_read(m, 500, &byte, 1, &e), &e);
	assert_int_equal(byte, 0);
	assert_ok(dev_set_size(m, 0, &e), &e);
	assert_int_equal(dev_read(m, 0, &byte, 1, &e), -ERR_SOURCE);
	dev_close(m);
	free(model);
}

/* R9: zeroed ranges are zeros in the file's own eyes, and take no room where it can be helped. */
static void test_r9_holes(void **state)
{
	const size_t size = 4 << 20;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		uint8_t *model;
		struct dev *d = file_ok("holes", size, modes[i], &model);
		struct stat before;
		struct stat after;

		assert_ok(dev_flush(d, true, &e), &e);
		assert_int_equal(stat(dev_helper_path("holes"), &before), 0);
		assert_ok(dev_zero(d, 4097, 3 << 20, &e), &e);
		memset(model + 4097, 0, 3 << 20);
		assert_ok(dev_discard(d, (3 << 20) + 12289, 4096, &e), &e);
		/* Less than a unit is left alone, or cut: the bytes around it stay in any case. */
		assert_ok(dev_flush(d, true, &e), &e);
		assert_int_equal(stat(dev_helper_path("holes"), &after), 0);
		assert_true(after.st_blocks <= before.st_blocks - (3 << 20) / 512 + 32);
		assert_int_equal(after.st_size, size);
		assert_ok(dev_read(d, (3 << 20) + 12289, model + (3 << 20) + 12289, 4096, &e), &e);
		dev_close(d);
		assert_file_is("holes", model, size);
		free(model);
	}
}

/* ---- Threads ---- */

struct stripes {
	struct dev *d;
	unsigned which;
};

#define STRIPE_THREADS 4
#define STRIPE_BYTES 64
#define STRIPES 512

/* Write every fourth stripe: blocks are shared with all other threads. */
static void *write_stripes(void *arg)
{
	struct stripes *s = arg;
	uint8_t buf[STRIPE_BYTES];
	struct err mine;

	for (unsigned i = s->which; i < STRIPES; i += STRIPE_THREADS) {
		memset(buf, (int)(i % 251 + 1), sizeof(buf));
		if (dev_write(s->d, (uint64_t)i * STRIPE_BYTES, buf, sizeof(buf), &mine) < 0 ||
			dev_read(s->d, (uint64_t)i * STRIPE_BYTES, buf, sizeof(buf), &mine) < 0 ||
			buf[0] != i % 251 + 1)
			return arg;
	}
	return NULL;
}

/* Unaligned writes of several threads into one block, by the device and by a window on it: no
 * byte is lost, growing or not. */
static void test_threads_share_blocks(void **state)
{
	uint8_t want[STRIPES * STRIPE_BYTES];

	(void)state;
	for (unsigned i = 0; i < STRIPES; i++)
		memset(want + (size_t)i * STRIPE_BYTES, (int)(i % 251 + 1), STRIPE_BYTES);
	for (int round = 0; round < 4; round++) {
		uint8_t *model;
		struct dev *d = file_ok("stripes", round % 2 ? sizeof(want) : 0,
			round < 2 ? DEV_WRITE | DEV_DIRECT : DEV_WRITE, &model);
		struct stripes s[STRIPE_THREADS];
		pthread_t ids[STRIPE_THREADS];
		struct dev *window = slice_ok(d, 0, dev_size(d));

		for (unsigned i = 0; i < STRIPE_THREADS; i++) {
			s[i].d = i % 2 && round % 2 ? window : d;
			s[i].which = i;
			assert_int_equal(pthread_create(&ids[i], NULL, write_stripes, &s[i]), 0);
		}
		for (unsigned i = 0; i < STRIPE_THREADS; i++) {
			void *failed;

			pthread_join(ids[i], &failed);
			assert_null(failed);
		}
		assert_int_equal(dev_size(d), sizeof(want));
		dev_close(window);
		dev_close(d);
		assert_file_is("stripes", want, sizeof(want));
		free(model);
	}
}

/* ---- Pipes ---- */

static void *feed(void *arg)
{
	struct dev *d = arg;
	uint8_t buf[1000];
	struct err mine;

	for (unsigned i = 0; i < 300; i++) {
		dev_helper_fill(buf, sizeof(buf), i);
		if (dev_write(d, (uint64_t)i * sizeof(buf), buf, sizeof(buf), &mine) < 0)
			return arg;
	}
	dev_close(d);
	return NULL;
}

static void pipe_ok(struct dev **from, struct dev **to, int flags)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC | flags), 0);
	assert_ok(dev_open_pipe(ends[0], "in", false, from, &e), &e);
	assert_ok(dev_open_pipe(ends[1], "out", true, to, &e), &e);
}

/* More than the pipe holds, read in other pieces, by a blocking and a non-blocking descriptor. */
static void test_pipe(void **state)
{
	(void)state;
	for (int round = 0; round < 2; round++) {
		uint8_t want[300 * 1000];
		uint8_t *got = malloc(sizeof(want));
		struct dev *from;
		struct dev *to;
		uint64_t off = 0;
		pthread_t id;
		void *failed;

		for (unsigned i = 0; i < 300; i++)
			dev_helper_fill(want + (size_t)i * 1000, 1000, i);
		pipe_ok(&from, &to, round == 0 ? 0 : O_NONBLOCK);
		assert_true(dev_info(from)->sequential && !dev_info(from)->writable);
		assert_int_equal(dev_size(from), 0);
		assert_int_equal(pthread_create(&id, NULL, feed, to), 0);
		for (size_t n = 1; off < sizeof(want); off += n, n = n * 3 + 1) {
			n = (size_t)min_u64(n, sizeof(want) - off);
			assert_ok(dev_read(from, off, got + off, n, &e), &e);
		}
		assert_memory_equal(got, want, sizeof(want));
		pthread_join(id, &failed);
		assert_null(failed);
		assert_int_equal(dev_read(from, off, got, 1, &e), -ERR_SOURCE);
		assert_non_null(strstr(e.msg, "ends"));
		dev_close(from);
		free(got);
	}
}

static void test_pipe_refuses(void **state)
{
	struct dev *from;
	struct dev *to;
	struct dev *s;
	char buf[10];

	(void)state;
	pipe_ok(&from, &to, 0);
	assert_ok(dev_write(to, 0, "0123456789", 10, &e), &e);
	assert_int_equal(dev_write(to, 5, "x", 1, &e), -ERR_TARGET);
	assert_int_equal(dev_write(to, 11, "x", 1, &e), -ERR_TARGET);
	assert_int_equal(dev_read(to, 10, buf, 1, &e), -ERR_SOURCE);
	assert_int_equal(dev_write(from, 0, "x", 1, &e), -ERR_TARGET);
	assert_int_equal(dev_read(from, 1, buf, 1, &e), -ERR_SOURCE);
	assert_int_equal(dev_open_slice(from, 0, 0, &s, &e), -ERR_USAGE);
	assert_int_equal(dev_set_size(to, 10, &e), -ERR_TARGET);
	assert_int_equal(dev_discard(to, 10, 1, &e), -ERR_TARGET);
	assert_ok(dev_flush(to, true, &e), &e);
	assert_ok(dev_zero(to, 10, 3, &e), &e);
	assert_ok(dev_read(from, 0, buf, 10, &e), &e);
	assert_memory_equal(buf, "0123456789", 10);
	memset(buf, 1, sizeof(buf));
	assert_ok(dev_read(from, 10, buf, 3, &e), &e);
	assert_memory_equal(buf, "\0\0\0\1", 4);
	dev_close(from);
	assert_int_equal(dev_write(to, 13, "x", 1, &e), -ERR_TARGET);
	assert_int_equal(e.sys, EPIPE);
	dev_close(to);
}

/* ---- Failures ---- */

/* A limit on the file size cuts a write in two: the error names where it stopped. */
static void test_file_limit(void **state)
{
	struct rlimit old;
	struct rlimit low;
	uint8_t buf[8192] = { 1 };

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 12288;
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		uint8_t *model;
		struct dev *d = file_ok("limit", 4096, modes[i], &model);

		assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
		assert_ok(dev_write(d, 0, buf, 4096, &e), &e);
		assert_int_equal(dev_write(d, 8192, buf, 8192, &e), -ERR_TARGET);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(e.sys, EFBIG);
		assert_non_null(strstr(e.msg, "limit at 12288"));
		dev_close(d);
		free(model);
	}
}

/* A flush that failed once fails for ever: the kernel forgets the lost write, we don't. */
static void test_flush_is_sticky(void **state)
{
	uint8_t *model;
	struct dev *d = file_ok("sticky", 4096, DEV_WRITE, &model);
	uint64_t base;
	int fd = dev_fd(d, &base);
	int aside = dup(fd);

	(void)state;
	assert_ok(dev_flush(d, false, &e), &e);
	close(fd);
	assert_int_equal(dev_flush(d, false, &e), -ERR_TARGET);
	assert_int_equal(e.sys, EBADF);
	assert_int_equal(dup2(aside, fd), fd);
	close(aside);
	assert_int_equal(dev_flush(d, true, &e), -ERR_TARGET);
	assert_int_equal(e.sys, EBADF);
	dev_close(d);
	free(model);
}

/* A file that shrinks while it is read gives an error, not zeros and not a short success. */
static void test_file_shrinks(void **state)
{
	uint8_t buf[8192];

	(void)state;
	for (unsigned flags = 0; flags <= DEV_DIRECT; flags += DEV_DIRECT) {
		uint8_t *model;
		struct dev *d = file_ok("shrinks", 65536, flags, &model);

		assert_int_equal(truncate(dev_helper_path("shrinks"), 4096), 0);
		assert_ok(dev_read(d, 0, buf, 4096, &e), &e);
		assert_int_equal(dev_read(d, 0, buf, 8192, &e), -ERR_SOURCE);
		assert_non_null(strstr(e.msg, "at 4096"));
		assert_int_equal(dev_read(d, 9000, buf, 10, &e), -ERR_SOURCE);
		dev_close(d);
		free(model);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_model),
		cmocka_unit_test(test_mem_model),
		cmocka_unit_test(test_slice_model),
		cmocka_unit_test(test_promises_to_operations),
		cmocka_unit_test(test_open_refuses),
		cmocka_unit_test(test_r8_create),
		cmocka_unit_test(test_r1_read_only),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_open_fd),
		cmocka_unit_test(test_direct_refused),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_grow),
		cmocka_unit_test(test_set_size),
		cmocka_unit_test(test_r9_holes),
		cmocka_unit_test(test_threads_share_blocks),
		cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_pipe_refuses),
		cmocka_unit_test(test_file_limit),
		cmocka_unit_test(test_flush_is_sticky),
		cmocka_unit_test(test_file_shrinks),
	};

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests(tests, dev_helper_setup, dev_helper_teardown);
}
