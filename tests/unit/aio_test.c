/*
 * aio: both back ends on files (buffered and direct), windows, memory and pipes against a model in
 * memory, with as many requests in flight as go; then the borders: unaligned pieces, ends, limits,
 * flushes, order, closing with work in flight, and how a back end is chosen.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/aio.h"
#include "device/dev_fault.h"
#include "device/dev_ops.h"
#include "unit/dev_helper.h"

#define DEPTH_MAX 64
#define PIECE_MAX 40000

static struct err e;
static const char *const backends[] = { "uring", "threads" };
static const unsigned modes[] = { 0, DEV_DIRECT };

/* Does the kernel let us have io_uring at all? Without it only the threads are tested. */
static bool have_uring(void)
{
	struct dev *d = NULL;
	struct aio *a = NULL;
	bool have;

	dev_helper_write_file(dev_helper_path("probe"), "x", 1);
	assert_ok(dev_open(dev_helper_path("probe"), 0, &d, &e), &e);
	setenv("IMGTOOL_AIO", "uring", 1);
	have = aio_open(d, 1, &a, &e) == 0;
	unsetenv("IMGTOOL_AIO");
	aio_close(a);
	dev_close(d);
	return have;
}

static struct aio *open_on(struct dev *d, const char *backend, unsigned depth)
{
	struct aio *a = NULL;

	setenv("IMGTOOL_AIO", backend, 1);
	assert_ok(aio_open(d, depth, &a, &e), &e);
	unsetenv("IMGTOOL_AIO");
	return a;
}

/* Run a body for each back end there is. */
static void for_each_backend(void (*body)(const char *backend))
{
	for (size_t i = have_uring() ? 0 : 1; i < COUNT_OF(backends); i++)
		body(backends[i]);
}

static struct dev *file_ok(const char *name, size_t size, unsigned flags, uint8_t **content)
{
	struct dev *d = NULL;

	*content = malloc(size + 1);
	assert_non_null(*content);
	dev_helper_fill(*content, size, (uint32_t)size + 1);
	dev_helper_write_file(dev_helper_path(name), *content, size);
	assert_ok(dev_open(dev_helper_path(name), flags, &d, &e), &e);
	return d;
}

static void set_req(struct aio_req *r, enum aio_op op, uint64_t off, void *buf, size_t len)
{
	memset(r, 0xA5, sizeof(*r));
	r->op = op;
	r->off = off;
	r->buf = buf;
	r->len = len;
	r->user = buf;
}

/* One request from queue to completion; its status, with the error in `e`. */
static int run_one(struct aio *a, enum aio_op op, uint64_t off, void *buf, size_t len)
{
	struct aio_req r;

	set_req(&r, op, off, buf, len);
	assert_ok(aio_queue(a, &r, &e), &e);
	assert_ptr_equal(aio_wait(a, true), &r);
	assert_ptr_equal(r.user, buf);
	assert_int_equal(aio_in_flight(a), 0);
	e = r.error;
	return r.status;
}

/* ---- The model ---- */

/* Requests in flight at one time touch different cells, so that any order gives one result. */
struct cells {
	struct dev *d;
	struct aio *a;
	uint8_t *model;
	uint64_t cell; /* bytes */
	unsigned count;
	unsigned depth;
	uint32_t rnd;
	struct aio_req reqs[DEPTH_MAX];
	uint8_t *bufs[DEPTH_MAX];
	bool busy[DEPTH_MAX]; /* by cell */
};

static void start_one(struct cells *c, unsigned cell)
{
	uint32_t *rnd = &c->rnd;
	uint64_t base = cell * c->cell;
	uint64_t end = min_u64(base + c->cell, dev_size(c->d));
	uint64_t off = base + dev_helper_random(rnd) % (end - base);
	size_t len = (size_t)(dev_helper_random(rnd) % (end - off + 1));
	uint8_t *buf = c->bufs[cell];
	const bool write = dev_helper_random(rnd) % 2 == 0;

	/* Half of them aligned: those go into the ring. */
	if (dev_helper_random(rnd) % 2 == 0 && align_up(off, 4096) < end) {
		off = align_up(off, 4096);
		len = (size_t)align_down(end - off, 4096);
	} else {
		buf += dev_helper_random(rnd) % 2 * 3;
	}
	if (write) {
		dev_helper_fill(buf, len, *rnd);
		memcpy(c->model + off, buf, len);
	}
	set_req(&c->reqs[cell], write ? AIO_WRITE : AIO_READ, off, buf, len);
	c->busy[cell] = true;
	assert_ok(aio_queue(c->a, &c->reqs[cell], &e), &e);
	if (dev_helper_random(rnd) % 3 == 0)
		assert_ok(aio_kick(c->a, &e), &e);
}

static bool finish_one(struct cells *c, bool block)
{
	struct aio_req *r = aio_wait(c->a, block);
	unsigned cell;

	if (r == NULL)
		return false;
	assert_ok(r->status, &r->error);
	cell = (unsigned)(r - c->reqs);
	assert_true(cell < c->count && c->busy[cell]);
	c->busy[cell] = false;
	if (r->op == AIO_READ)
		assert_memory_equal(r->buf, c->model + r->off, r->len);
	return true;
}

static void run_cells(struct cells *c, int requests)
{
	while (requests > 0 || aio_in_flight(c->a) > 0) {
		unsigned cell = dev_helper_random(&c->rnd) % c->count;

		if (requests > 0 && !c->busy[cell] && aio_in_flight(c->a) < c->depth) {
			start_one(c, cell);
			requests--;
		} else {
			finish_one(c, requests == 0 || aio_in_flight(c->a) == c->depth);
		}
	}
	assert_null(aio_wait(c->a, true));
}

static void against_model(struct dev *d, uint8_t *model, const char *backend, unsigned depth)
{
	struct cells *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->d = d;
	c->model = model;
	c->cell = PIECE_MAX;
	c->count = (unsigned)min_u64(div_up(dev_size(d), PIECE_MAX), DEPTH_MAX);
	c->depth = depth;
	c->rnd = depth * 77 + 1;
	c->a = open_on(d, backend, depth);
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		assert_non_null(c->bufs[i] = mem_alloc_direct(PIECE_MAX + 4096));
	run_cells(c, 400);
	assert_ok(run_one(c->a, AIO_FLUSH, 0, NULL, 0), &e);
	aio_close(c->a);
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		free(c->bufs[i]);
	free(c);
}

static void assert_file_is(const char *name, const uint8_t *want, size_t size)
{
	size_t len;
	uint8_t *got = dev_helper_read_file(dev_helper_path(name), &len);

	assert_int_equal(len, size);
	assert_memory_equal(got, want, size);
	free(got);
}

static void model_on_files(const char *backend)
{
	static const unsigned depths[] = { 1, 3, 64 };
	const size_t size = 30 * PIECE_MAX + 77;

	for (size_t i = 0; i < COUNT_OF(depths) * 2; i++) {
		uint8_t *model;
		struct dev *d = file_ok("model", size, DEV_WRITE | modes[i % 2], &model);

		against_model(d, model, backend, depths[i / 2]);
		dev_close(d);
		assert_file_is("model", model, size);
		free(model);
	}
}

static void test_files(void **state)
{
	(void)state;
	for_each_backend(model_on_files);
}

static void model_on_slices(const char *backend)
{
	static const uint64_t bases[] = { 4096, 4097, 512 };
	const size_t size = 30 * PIECE_MAX + 77;

	for (size_t i = 0; i < COUNT_OF(bases) * 2; i++) {
		uint64_t base = bases[i / 2];
		uint8_t *model;
		struct dev *d = file_ok("slice", size, DEV_WRITE | modes[i % 2], &model);
		struct dev *s;

		assert_ok(dev_open_slice(d, base, size - base - 5000, &s, &e), &e);
		against_model(s, model + base, backend, 16);
		dev_close(s);
		dev_close(d);
		assert_file_is("slice", model, size);
		free(model);
	}
}

static void test_slices(void **state)
{
	(void)state;
	for_each_backend(model_on_slices);
}

static void test_memory(void **state)
{
	const size_t size = 10 * PIECE_MAX;
	uint8_t *model = malloc(size);
	uint8_t *end = malloc(size);
	struct dev *d;

	(void)state;
	dev_helper_fill(model, size, 1);
	assert_ok(dev_open_mem(model, size, &d, &e), &e);
	against_model(d, model, "uring", 16);
	assert_ok(dev_read(d, 0, end, size, &e), &e);
	assert_memory_equal(end, model, size);
	dev_close(d);
	free(end);
	free(model);
}

/* ---- Borders ---- */

static void ends(const char *backend)
{
	uint8_t *buf = mem_alloc_direct(16384);

	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		uint8_t *model;
		struct dev *d = file_ok("ends", 10000, modes[i], &model);
		struct aio *a = open_on(d, backend, 4);

		assert_ok(run_one(a, AIO_READ, 10000, buf, 0), &e);
		assert_ok(run_one(a, AIO_READ, 8192, buf, 1808), &e);
		assert_memory_equal(buf, model + 8192, 1808);
		assert_int_equal(run_one(a, AIO_READ, 8192, buf, 4096), -ERR_SOURCE);
		assert_int_equal(run_one(a, AIO_READ, UINT64_MAX - 4095, buf, 8192), -ERR_SOURCE);
		assert_int_equal(run_one(a, AIO_WRITE, 0, buf, 4096), -ERR_TARGET);
		assert_non_null(strstr(e.msg, dev_name(d)));
		/* The file shrinks behind the device's back: an error where the data ends. */
		assert_int_equal(truncate(dev_helper_path("ends"), 4096), 0);
		assert_int_equal(run_one(a, AIO_READ, 0, buf, 8192), -ERR_SOURCE);
		assert_non_null(strstr(e.msg, "at 4096: the data ends"));
		aio_close(a);
		dev_close(d);
		free(model);
	}
	free(buf);
}

static void test_ends(void **state)
{
	(void)state;
	for_each_backend(ends);
}

/* A window ends where it ends, though the file below goes on. */
static void window_ends(const char *backend)
{
	uint8_t *buf = mem_alloc_direct(16384);

	memset(buf, 'w', 16384);
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		uint8_t *model;
		struct dev *d = file_ok("window", 65536, DEV_WRITE | modes[i], &model);
		struct dev *s;
		struct aio *a;

		assert_ok(dev_open_slice(d, 4096, 8192, &s, &e), &e);
		a = open_on(s, backend, 4);
		assert_int_equal(run_one(a, AIO_READ, 4096, buf, 8192), -ERR_SOURCE);
		assert_int_equal(run_one(a, AIO_WRITE, 4096, buf, 8192), -ERR_TARGET);
		assert_int_equal(run_one(a, AIO_WRITE, 8192, buf, 4096), -ERR_TARGET);
		aio_close(a);
		dev_close(s);
		dev_close(d);
		assert_file_is("window", model, 65536);
		free(model);
	}
	free(buf);
}

static void test_window_ends(void **state)
{
	(void)state;
	for_each_backend(window_ends);
}

/* A device whose alignment is a lie: what the ring refuses is done by dev_read and dev_write. */
static void refused(const char *backend)
{
	uint8_t *model;
	struct dev *d = file_ok("refused", 65536, DEV_WRITE | DEV_DIRECT, &model);
	struct aio *a;
	uint8_t buf[1000];

	d->info.align_bytes = 1;
	a = open_on(d, backend, 4);
	assert_ok(run_one(a, AIO_READ, 5001, buf, sizeof(buf)), &e);
	assert_memory_equal(buf, model + 5001, sizeof(buf));
	memset(buf, 'r', sizeof(buf));
	memset(model + 77, 'r', sizeof(buf));
	assert_ok(run_one(a, AIO_WRITE, 77, buf, sizeof(buf)), &e);
	aio_close(a);
	dev_close(d);
	assert_file_is("refused", model, 65536);
	free(model);
}

static void test_refused(void **state)
{
	(void)state;
	for_each_backend(refused);
}

/* Writes extend a file in any order; the size is the farthest end. */
static void grows(const char *backend)
{
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		struct aio_req reqs[8];
		struct dev *d;
		struct aio *a;
		uint8_t *want = mem_alloc_direct(8 * 65536);

		unlink(dev_helper_path("grows"));
		assert_ok(dev_open(dev_helper_path("grows"), DEV_WRITE | DEV_CREATE | modes[i], &d,
				  &e),
			&e);
		a = open_on(d, backend, 8);
		dev_helper_fill(want, 8 * 65536, 4);
		for (unsigned k = 0; k < 8; k++) {
			unsigned which = 7 - k;

			/* The last piece ends in the middle of a block. */
			set_req(&reqs[k], AIO_WRITE, which * 65536, want + which * 65536,
				which == 7 ? 65536 - 95 : 65536);
			assert_ok(aio_queue(a, &reqs[k], &e), &e);
		}
		assert_int_equal(aio_in_flight(a), 8);
		for (unsigned k = 0; k < 8; k++) {
			struct aio_req *r = aio_wait(a, true);

			assert_non_null(r);
			assert_ok(r->status, &r->error);
		}
		assert_int_equal(dev_size(d), 8 * 65536 - 95);
		aio_close(a);
		dev_close(d);
		assert_file_is("grows", want, 8 * 65536 - 95);
		free(want);
	}
}

static void test_grows(void **state)
{
	(void)state;
	for_each_backend(grows);
}

/* A short write is continued; then the error names where it stopped. */
static void limited(const char *backend)
{
	struct rlimit old;
	struct rlimit low;
	uint8_t *buf = mem_alloc_direct(65536);

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 40960;
	memset(buf, 'w', 65536);
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		uint8_t *model;
		size_t len;
		char *got;
		struct dev *d = file_ok("limit", 8192, DEV_WRITE | modes[i], &model);
		struct aio *a = open_on(d, backend, 2);

		assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
		assert_ok(run_one(a, AIO_WRITE, 0, buf, 8192), &e);
		assert_int_equal(run_one(a, AIO_WRITE, 8192, buf, 65536), -ERR_TARGET);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(e.sys, EFBIG);
		assert_non_null(strstr(e.msg, "limit at 40960"));
		aio_close(a);
		dev_close(d);
		got = dev_helper_read_file(dev_helper_path("limit"), &len);
		assert_int_equal(len, 40960);
		assert_memory_equal(got, buf, 40960);
		free(got);
		free(model);
	}
	free(buf);
}

static void test_limited(void **state)
{
	(void)state;
	for_each_backend(limited);
}

static void too_many(const char *backend)
{
	uint8_t buf[4][16];
	struct aio_req reqs[4];
	uint8_t *model;
	struct dev *d = file_ok("many", 4096, 0, &model);
	struct aio *a = open_on(d, backend, 3);

	assert_string_equal(aio_backend(a), backend);
	assert_null(aio_wait(a, true));
	assert_null(aio_wait(a, false));
	for (unsigned i = 0; i < 4; i++) {
		set_req(&reqs[i], AIO_READ, i, buf[i], 16);
		assert_int_equal(aio_queue(a, &reqs[i], &e), i < 3 ? 0 : -ERR_INTERNAL);
	}
	assert_int_equal(aio_in_flight(a), 3);
	/* Closing with requests in flight waits for them: they are on this stack. */
	aio_close(a);
	for (unsigned i = 0; i < 3; i++)
		assert_memory_equal(buf[i], model + i, 16);
	dev_close(d);
	free(model);
}

static void test_too_many(void **state)
{
	struct dev *d;
	struct aio *a;

	(void)state;
	for_each_backend(too_many);
	aio_close(NULL);
	assert_ok(dev_open_mem(NULL, 1, &d, &e), &e);
	assert_int_equal(aio_open(d, 0, &a, &e), -ERR_INTERNAL);
	assert_int_equal(aio_open(d, 1025, &a, &e), -ERR_INTERNAL);
	assert_null(a);
	assert_ok(aio_open(d, 1024, &a, &e), &e);
	aio_close(a);
	dev_close(d);
}

/* Flushes reach the device as fdatasync, and their failure comes back. */
static void test_flush(void **state)
{
	const struct fault_rule rule = { .op = FAULT_FLUSH, .action = FAULT_FAIL, .nth = 2 };
	const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
	struct dev *under;
	struct dev *d;
	struct aio *a;

	(void)state;
	assert_ok(dev_open_record(100, false, 1, &under), &e);
	assert_ok(dev_open_fault(under, &plan, &d, &e), &e);
	a = open_on(d, "threads", 2);
	assert_ok(run_one(a, AIO_FLUSH, 0, NULL, 0), &e);
	assert_int_equal(dev_record_at(under, 0).op, RECORD_FLUSH);
	assert_int_equal(run_one(a, AIO_FLUSH, 0, NULL, 0), -ERR_TARGET);
	assert_int_equal(e.sys, EIO);
	aio_close(a);
	dev_close(d);
	dev_close(under);
}

/* A closed descriptor fails every operation with the kernel's reason. */
static void bad_descriptor(const char *backend)
{
	uint8_t *buf = mem_alloc_direct(4096);
	uint8_t *model;
	struct dev *d = file_ok("bad", 4096, DEV_WRITE, &model);
	struct aio *a = open_on(d, backend, 2);
	uint64_t base;
	int fd = dev_fd(d, &base);
	int aside = dup(fd);

	memset(buf, 0, 4096);
	close(fd);
	assert_int_equal(run_one(a, AIO_READ, 0, buf, 4096), -ERR_SOURCE);
	assert_int_equal(e.sys, EBADF);
	assert_int_equal(run_one(a, AIO_WRITE, 0, buf, 4096), -ERR_TARGET);
	assert_int_equal(e.sys, EBADF);
	assert_int_equal(run_one(a, AIO_FLUSH, 0, NULL, 0), -ERR_TARGET);
	assert_int_equal(e.sys, EBADF);
	assert_int_equal(dup2(aside, fd), fd);
	close(aside);
	aio_close(a);
	dev_close(d);
	free(model);
	free(buf);
}

static void test_bad_descriptor(void **state)
{
	(void)state;
	for_each_backend(bad_descriptor);
}

/* ---- Threads ---- */

/* How many threads of the back end there are; of them, those that leave signals to others. */
static unsigned count_threads(bool blocking)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		const unsigned long long both = 1ULL << (SIGTERM - 1) | 1ULL << (SIGINT - 1);
		unsigned long long mask = 0;
		char path[300];
		char line[256];
		bool ours = false;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		if (entry->d_name[0] == '.' || (f = fopen(path, "re")) == NULL)
			continue;
		while (fgets(line, sizeof(line), f) != NULL) {
			ours |= strcmp(line, "Name:\timgtool-aio\n") == 0;
			sscanf(line, "SigBlk: %llx", &mask);
		}
		fclose(f);
		count += ours && (!blocking || (mask & both) == both);
	}
	closedir(dir);
	return count;
}

/* A thread that was joined may be seen for another moment. */
static void wait_for_no_thread(void)
{
	for (int i = 0; i < 10000 && count_threads(false) != 0; i++)
		sched_yield();
	assert_int_equal(count_threads(false), 0);
}

/* Threads come when they are needed, at most eight of them; requests overtake a slow one. */
static void test_threads(void **state)
{
	struct aio_req reqs[12];
	uint8_t bytes[12];
	struct dev *d;
	struct aio *a;

	(void)state;
	wait_for_no_thread();
	assert_ok(dev_open_record(100, false, 1, &d), &e);
	a = open_on(d, "threads", 12);
	assert_int_equal(count_threads(false), 0);
	assert_int_equal(run_one(a, AIO_READ, 0, bytes, 1), 0);
	assert_int_equal(count_threads(false), 1);
	dev_record_hold(d, RECORD_WRITE, true);
	for (unsigned i = 0; i < 11; i++) {
		set_req(&reqs[i], AIO_WRITE, i, &bytes[i], 1);
		assert_ok(aio_queue(a, &reqs[i], &e), &e);
		assert_ok(aio_kick(a, &e), &e);
		if (i == 0) {
			/* One is stuck: another gets past. */
			dev_record_wait_begun(d, RECORD_WRITE, 1);
			set_req(&reqs[11], AIO_READ, 50, &bytes[11], 1);
			assert_ok(aio_queue(a, &reqs[11], &e), &e);
			assert_ptr_equal(aio_wait(a, true), &reqs[11]);
			assert_null(aio_wait(a, false));
		}
	}
	dev_record_wait_begun(d, RECORD_WRITE, 8);
	assert_int_equal(count_threads(false), 8);
	assert_int_equal(aio_in_flight(a), 11);
	dev_record_hold(d, RECORD_WRITE, false);
	for (unsigned i = 0; i < 11; i++)
		assert_ok(aio_wait(a, true)->status, &e);
	aio_close(a);
	wait_for_no_thread();
	dev_close(d);
}

/* Signals are the caller's: no thread of ours takes one. */
static void test_threads_block_signals(void **state)
{
	struct dev *d;
	struct aio *a;
	char byte;

	(void)state;
	wait_for_no_thread();
	assert_ok(dev_open_mem(NULL, 10, &d, &e), &e);
	a = open_on(d, "threads", 1);
	assert_int_equal(run_one(a, AIO_READ, 0, &byte, 1), 0);
	assert_int_equal(count_threads(true), 1);
	aio_close(a);
	dev_close(d);
}

/* On a pipe many requests in flight still arrive in order. */
static void test_pipe_order(void **state)
{
	static uint8_t data[64][500];
	static uint8_t got[64][500];
	struct aio_req reqs[64];
	struct dev *from;
	struct dev *to;
	struct aio *a;
	int fds[2];

	(void)state;
	dev_helper_fill(data, sizeof(data), 9);
	assert_int_equal(pipe(fds), 0);
	assert_ok(dev_open_pipe(fds[0], "in", false, &from, &e), &e);
	assert_ok(dev_open_pipe(fds[1], "out", true, &to, &e), &e);
	a = open_on(to, "uring", 64);
	assert_string_equal(aio_backend(a), "threads");
	for (unsigned i = 0; i < 64; i++) {
		set_req(&reqs[i], AIO_WRITE, i * sizeof(data[0]), data[i], sizeof(data[0]));
		assert_ok(aio_queue(a, &reqs[i], &e), &e);
		assert_ok(aio_kick(a, &e), &e);
	}
	assert_ok(dev_read(from, 0, got, sizeof(got), &e), &e);
	assert_memory_equal(got, data, sizeof(data));
	for (unsigned i = 0; i < 64; i++) {
		struct aio_req *r = aio_wait(a, true);

		assert_ptr_equal(r, &reqs[i]);
		assert_ok(r->status, &r->error);
	}
	aio_close(a);
	dev_close(to);
	dev_close(from);
}

/* One thread, whatever waits: two could overtake each other. */
static void test_sequential(void **state)
{
	struct aio_req reqs[8];
	uint8_t bytes[8];
	struct dev *d;
	struct aio *a;

	(void)state;
	wait_for_no_thread();
	assert_ok(dev_open_record(100, false, 1, &d), &e);
	d->info.sequential = true;
	a = open_on(d, "threads", 8);
	dev_record_hold(d, RECORD_WRITE, true);
	for (unsigned i = 0; i < 8; i++) {
		set_req(&reqs[i], AIO_WRITE, i, &bytes[i], 1);
		assert_ok(aio_queue(a, &reqs[i], &e), &e);
		assert_ok(aio_kick(a, &e), &e);
	}
	dev_record_wait_begun(d, RECORD_WRITE, 1);
	assert_int_equal(count_threads(false), 1);
	dev_record_hold(d, RECORD_WRITE, false);
	for (unsigned i = 0; i < 8; i++) {
		assert_ptr_equal(aio_wait(a, true), &reqs[i]);
		assert_int_equal(dev_record_at(d, i).off, i);
	}
	aio_close(a);
	dev_close(d);
}

/* ---- The choice ---- */

static void test_choice(void **state)
{
	struct rlimit old;
	struct rlimit low;
	uint8_t *model;
	struct dev *d = file_ok("choice", 4096, 0, &model);
	struct aio *a;
	char byte;
	int next;

	(void)state;
	unsetenv("IMGTOOL_AIO");
	assert_ok(aio_open(d, 4, &a, &e), &e);
	assert_string_equal(aio_backend(a), have_uring() ? "uring" : "threads");
	aio_close(a);
	setenv("IMGTOOL_AIO", "", 1);
	assert_ok(aio_open(d, 4, &a, &e), &e);
	aio_close(a);
	setenv("IMGTOOL_AIO", "magic", 1);
	assert_int_equal(aio_open(d, 4, &a, &e), -ERR_USAGE);
	assert_non_null(strstr(e.msg, "magic"));
	/* No descriptor left: io_uring cannot be set up, threads can. */
	next = dup(0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	setenv("IMGTOOL_AIO", "uring", 1);
	assert_int_equal(aio_open(d, 4, &a, &e), -ERR_INTERNAL);
	assert_null(a);
	unsetenv("IMGTOOL_AIO");
	assert_ok(aio_open(d, 4, &a, &e), &e);
	assert_string_equal(aio_backend(a), "threads");
	assert_int_equal(run_one(a, AIO_READ, 7, &byte, 1), 0);
	assert_int_equal((uint8_t)byte, model[7]);
	aio_close(a);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	dev_close(d);
	free(model);
}

/* Mappings of io_uring in this process. */
static int count_rings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	int n = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, "io_uring") != NULL;
	if (f != NULL)
		fclose(f);
	return f != NULL ? n : -1;
}

/* A forked process, which may be one that is not trusted, gets no ring to write to. */
static void test_rings_are_not_inherited(void **state)
{
	uint8_t *model;
	struct dev *d;
	struct aio *a;
	int status;
	pid_t pid;

	(void)state;
	if (!have_uring())
		skip();
	d = file_ok("inherit", 100, 0, &model);
	a = open_on(d, "uring", 4);
	assert_true(count_rings() > 0);
	pid = fork();
	if (pid == 0)
		_exit(count_rings());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	aio_close(a);
	dev_close(d);
	free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_window_ends),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_grows),
		cmocka_unit_test(test_limited),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_bad_descriptor),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_threads_block_signals),
		cmocka_unit_test(test_pipe_order),
		cmocka_unit_test(test_sequential),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_rings_are_not_inherited),
	};

	signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests(tests, dev_helper_setup, dev_helper_teardown);
}
