/*
 * appender: what was appended is what is there, to the byte and no longer, on every kind of output
 * and by both back ends; then the order of writes, flushes and commits on a device that records it,
 * and every failure at every step.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/appender.h"
#include "device/dev_fault.h"
#include "unit/dev_helper.h"

#define DATA_BYTES (9 * MIB + 12345)

static struct err e;
static uint8_t *data; /* DATA_BYTES of it, the same for all tests */
static const char *const backends[] = { "uring", "threads" };
static const unsigned modes[] = { 0, DEV_DIRECT };

static struct appender *start_ok(struct dev *d, uint64_t start, bool write_through)
{
	struct appender *a = NULL;

	assert_ok(appender_open(d, start, write_through, &a, &e), &e);
	assert_int_equal(appender_offset(a), start);
	assert_int_equal(appender_committed(a), start);
	return a;
}

/* Append data[from, to) in pieces of all sizes; with commits where a piece ends aligned. */
static void append_range(struct appender *a, uint64_t from, uint64_t to, uint32_t seed)
{
	uint32_t rnd = seed * 31 + 7;

	while (from < to) {
		uint64_t n = dev_helper_random(&rnd) % (1 << dev_helper_random(&rnd) % 22);

		if (dev_helper_random(&rnd) % 8 == 0)
			n = align_up(from + n, APPENDER_ALIGN_BYTES) - from;
		n = min_u64(n, to - from);
		assert_ok(appender_append(a, data + from, n, &e), &e);
		from += n;
		assert_int_equal(appender_offset(a), from);
		if (from % APPENDER_ALIGN_BYTES == 0 && n > 0)
			assert_ok(appender_commit(a, &e), &e);
		assert_true(appender_committed(a) <= from);
		assert_int_equal(appender_committed(a) % APPENDER_ALIGN_BYTES, 0);
	}
}

static void assert_file_is(const char *name, uint64_t size)
{
	size_t len;
	uint8_t *got = dev_helper_read_file(dev_helper_path(name), &len);

	assert_int_equal(len, size);
	assert_memory_equal(got, data, size);
	free(got);
}

static struct dev *new_file(const char *name, unsigned flags)
{
	struct dev *d = NULL;

	unlink(dev_helper_path(name));
	assert_ok(dev_open(dev_helper_path(name), DEV_WRITE | DEV_CREATE | flags, &d, &e), &e);
	return d;
}

/* ---- Content ---- */

static void whole_file(const char *backend, unsigned flags, bool write_through, uint64_t size)
{
	struct dev *d = new_file("whole", flags);
	struct appender *a;

	setenv("IMGTOOL_AIO", backend, 1);
	a = start_ok(d, 0, write_through);
	append_range(a, 0, size, (uint32_t)size);
	assert_ok(appender_finish(a, &e), &e);
	assert_int_equal(appender_committed(a), size);
	assert_int_equal(dev_size(d), size);
	assert_int_equal(appender_append(a, "x", 1, &e), -ERR_INTERNAL);
	assert_int_equal(appender_commit(a, &e), -ERR_INTERNAL);
	assert_int_equal(appender_finish(a, &e), -ERR_INTERNAL);
	appender_close(a);
	dev_close(d);
	unsetenv("IMGTOOL_AIO");
	assert_file_is("whole", size);
}

static void test_files(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 5 * MIB,
		DATA_BYTES };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		for (unsigned k = 0; k < 8; k++)
			whole_file(backends[k & 1], modes[k >> 1 & 1], k >> 2, sizes[i]);
}

/* Leave after a commit, come back at that offset: one file, and what a longer earlier run left
 * behind the end is gone. */
static void test_resume(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		const uint64_t cut = 3 * MIB + 8192;
		struct dev *d = new_file("resumed", modes[i]);
		struct appender *a = start_ok(d, 0, false);

		append_range(a, 0, cut, 5);
		assert_ok(appender_commit(a, &e), &e);
		/* More than will be there in the end, never committed. */
		assert_ok(appender_append(a, data, 5 * MIB, &e), &e);
		appender_close(a);
		a = start_ok(d, cut, false);
		append_range(a, cut, 5 * MIB + 77, 6);
		assert_ok(appender_finish(a, &e), &e);
		appender_close(a);
		dev_close(d);
		assert_file_is("resumed", 5 * MIB + 77);
	}
}

/* A device of fixed size: no padding past its end, no cutting. */
static void test_fixed_size(void **state)
{
	struct dev *d;
	struct appender *a;
	uint8_t *got = malloc(2 * MIB);

	(void)state;
	assert_ok(dev_open_mem(NULL, 2 * MIB, &d, &e), &e);
	a = start_ok(d, 0, false);
	append_range(a, 0, MIB + 1000, 1);
	assert_ok(appender_finish(a, &e), &e);
	appender_close(a);
	assert_int_equal(dev_size(d), 2 * MIB);
	assert_ok(dev_read(d, 0, got, 2 * MIB, &e), &e);
	assert_memory_equal(got, data, MIB + 1000);
	assert_true(mem_is_zero(got + MIB + 1000, MIB - 1000));
	/* And an append past its end fails, with the offset. */
	a = start_ok(d, MIB, false);
	assert_ok(appender_append(a, data, MIB, &e), &e);
	assert_ok(appender_append(a, data, 10, &e), &e);
	assert_int_equal(appender_finish(a, &e), -ERR_TARGET);
	assert_non_null(strstr(e.msg, "at 2097152"));
	appender_close(a);
	dev_close(d);
	free(got);
}

/* One that takes whole blocks and has no room for a padded last one: nothing is written past the
 * end, and the size is nobody's to set. */
static void test_fixed_size_aligned(void **state)
{
	struct dev *d;
	struct appender *a;

	(void)state;
	assert_ok(dev_open_record(MIB + 1000, false, 4096, &d), &e);
	a = start_ok(d, 0, false);
	assert_ok(appender_append(a, data, MIB + 1000, &e), &e);
	assert_ok(appender_finish(a, &e), &e);
	assert_memory_equal(dev_record_bytes(d), data, MIB + 1000);
	for (size_t i = 0; i < dev_record_count(d); i++)
		assert_int_not_equal(dev_record_at(d, i).op, RECORD_SIZE);
	appender_close(a);
	dev_close(d);
}

static void *drain_pipe(void *arg)
{
	int fd = *(int *)arg;
	uint8_t *got = malloc(DATA_BYTES + 1);
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, got + len, DATA_BYTES + 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	if (len != DATA_BYTES || memcmp(got, data, len) != 0) {
		free(got);
		return arg;
	}
	free(got);
	return NULL;
}

static void test_pipe(void **state)
{
	int fds[2];
	pthread_t id;
	void *failed;
	struct dev *d;
	struct appender *a;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pthread_create(&id, NULL, drain_pipe, &fds[0]), 0);
	assert_ok(dev_open_pipe(fds[1], "out", true, &d, &e), &e);
	a = start_ok(d, 0, true);
	append_range(a, 0, 1000, 2);
	/* A commit pushes bytes out wherever it comes, and promises nothing. */
	assert_ok(appender_commit(a, &e), &e);
	append_range(a, 1000, DATA_BYTES, 2);
	assert_int_equal(appender_committed(a), 0);
	assert_ok(appender_finish(a, &e), &e);
	appender_close(a);
	dev_close(d);
	pthread_join(id, &failed);
	assert_null(failed);
}

/* The reader went away: an error, soon, and for ever. */
static void test_pipe_closed(void **state)
{
	int fds[2];
	struct dev *d;
	struct appender *a;
	int rc = 0;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_ok(dev_open_pipe(fds[1], "out", true, &d, &e), &e);
	a = start_ok(d, 0, false);
	close(fds[0]);
	for (int i = 0; i < 20 && rc == 0; i++)
		rc = appender_append(a, data, MIB, &e);
	assert_int_equal(rc, -ERR_TARGET);
	assert_int_equal(e.sys, EPIPE);
	assert_int_equal(appender_finish(a, &e), -ERR_TARGET);
	assert_string_equal(e.msg, "write out at 0: Broken pipe");
	appender_close(a);
	dev_close(d);
}

static void test_misuse(void **state)
{
	struct dev *d = new_file("misuse", 0);
	struct dev *reader;
	struct appender *a;

	(void)state;
	assert_int_equal(appender_open(d, 100, false, &a, &e), -ERR_INTERNAL);
	assert_null(a);
	assert_ok(dev_open(dev_helper_path("misuse"), 0, &reader, &e), &e);
	assert_int_equal(appender_open(reader, 0, false, &a, &e), -ERR_TARGET);
	dev_close(reader);
	a = start_ok(d, 0, false);
	assert_ok(appender_append(a, data, 100, &e), &e);
	assert_int_equal(appender_commit(a, &e), -ERR_INTERNAL);
	/* A commit refused for its offset spoils nothing. */
	assert_ok(appender_append(a, data + 100, 3996, &e), &e);
	assert_ok(appender_commit(a, &e), &e);
	assert_ok(appender_finish(a, &e), &e);
	appender_close(a);
	appender_close(NULL);
	dev_close(d);
	assert_file_is("misuse", 4096);
}

/* ---- Order ---- */

static struct dev *recorder(uint32_t align)
{
	struct dev *d = NULL;

	assert_ok(dev_open_record(16 * MIB, true, align, &d), &e);
	return d;
}

/* A commit returns while its writes and its flush are still on their way; the caller goes on. */
static void test_commit_does_not_stop(void **state)
{
	struct dev *d = recorder(1);
	struct appender *a = start_ok(d, 0, false);

	(void)state;
	dev_record_hold(d, RECORD_WRITE, true);
	assert_ok(appender_append(a, data, MIB + 4096, &e), &e);
	assert_ok(appender_commit(a, &e), &e);
	assert_ok(appender_append(a, data + MIB + 4096, 5000, &e), &e);
	assert_int_equal(appender_committed(a), 0);
	dev_record_wait_begun(d, RECORD_WRITE, 2);
	assert_int_equal(dev_record_count(d), 0);
	dev_record_hold(d, RECORD_FLUSH, true);
	dev_record_hold(d, RECORD_WRITE, false);
	while (dev_record_count(d) < 2)
		sched_yield();
	/* The flush is queued when a call that needs a buffer sees the writes done. */
	while (appender_offset(a) < 8 * MIB) {
		assert_ok(appender_append(a, data + appender_offset(a), 4096, &e), &e);
		sched_yield();
	}
	dev_record_wait_begun(d, RECORD_FLUSH, 1);
	assert_int_equal(appender_committed(a), 0);
	dev_record_hold(d, RECORD_FLUSH, false);
	assert_ok(appender_finish(a, &e), &e);
	assert_memory_equal(dev_record_bytes(d), data, appender_offset(a));
	appender_close(a);
	dev_close(d);
}

/* Do the writes among records [0, end) cover [0, bytes)? */
static bool covered(struct dev *d, size_t end, uint64_t bytes)
{
	uint8_t *seen = calloc(1, 16 * MIB / 4096);
	bool all = true;

	for (size_t i = 0; i < end; i++) {
		struct record r = dev_record_at(d, i);

		for (uint64_t at = r.off / 4096; r.op == RECORD_WRITE && at * 4096 < r.off + r.len;
			at++)
			seen[at] = 1;
	}
	for (uint64_t at = 0; at < bytes / 4096; at++)
		all &= seen[at] == 1;
	free(seen);
	return all;
}

/* Whenever `committed` says N, all writes below N were followed by a flush; nothing below N is
 * written again; and at the end the size is set before the last, full flush. */
static void test_commit_order(void **state)
{
	struct dev *d = recorder(4096);
	struct appender *a = start_ok(d, 0, false);
	uint64_t seen = 0;
	size_t count;

	(void)state;
	for (unsigned i = 0; appender_offset(a) < 8 * MIB; i++) {
		uint64_t off = appender_offset(a);

		assert_ok(appender_append(a, data + off, 4096 * (1 + i % 37), &e), &e);
		if (i % 5 == 0)
			assert_ok(appender_commit(a, &e), &e);
		if (appender_committed(a) > seen) {
			size_t flush = dev_record_count(d);

			seen = appender_committed(a);
			while (flush > 0 && dev_record_at(d, flush - 1).op != RECORD_FLUSH)
				flush--;
			assert_true(flush > 0);
			assert_true(covered(d, flush - 1, seen));
		}
	}
	assert_true(seen > 4 * MIB);
	assert_ok(appender_append(a, data + appender_offset(a), 100, &e), &e);
	assert_ok(appender_finish(a, &e), &e);
	count = dev_record_count(d);
	assert_int_equal(dev_record_at(d, count - 1).op, RECORD_SYNC);
	assert_int_equal(dev_record_at(d, count - 2).op, RECORD_SIZE);
	assert_int_equal(dev_record_at(d, count - 2).off, appender_offset(a));
	assert_memory_equal(dev_record_bytes(d), data, appender_offset(a));
	appender_close(a);
	dev_close(d);
}

/* All writes are whole aligned blocks, no byte is written twice, and large where they can be. */
static void test_write_shape(void **state)
{
	struct dev *d = recorder(4096);
	struct appender *a = start_ok(d, 0, false);
	uint64_t written = 0;
	size_t writes = 0;

	(void)state;
	for (uint64_t off = 0; off < 8 * MIB; off += 1000)
		assert_ok(appender_append(a, data + off, (size_t)min_u64(1000, 8 * MIB - off), &e),
			&e);
	assert_ok(appender_append(a, data + 8 * MIB, 5001, &e), &e);
	assert_ok(appender_finish(a, &e), &e);
	for (size_t i = 0; i < dev_record_count(d); i++) {
		struct record r = dev_record_at(d, i);

		if (r.op != RECORD_WRITE)
			continue;
		assert_int_equal((r.off | r.len) % 4096, 0);
		writes++;
		written += r.len;
	}
	assert_int_equal(written, 8 * MIB + 8192);
	assert_true(writes <= 9);
	assert_int_equal(dev_size(d), 8 * MIB + 5001);
	appender_close(a);
	dev_close(d);
}

/* Write-through: a flush follows every write before its buffer is used again. */
static void test_write_through(void **state)
{
	struct dev *d = recorder(1);
	struct appender *a = start_ok(d, 0, true);
	size_t writes = 0;
	size_t flushes = 0;

	(void)state;
	append_range(a, 0, 7 * MIB + 5, 3);
	assert_ok(appender_finish(a, &e), &e);
	for (size_t i = 0; i < dev_record_count(d); i++) {
		writes += dev_record_at(d, i).op == RECORD_WRITE;
		flushes += dev_record_at(d, i).op == RECORD_FLUSH;
		/* Four buffers: never more than that many writes without their flush. */
		assert_true(writes <= flushes + 4);
	}
	assert_true(writes >= 7 && flushes >= writes);
	appender_close(a);
	dev_close(d);
}

/* The write that holds the barrier is late, and may fail: nothing behind it overtakes it. */
static void barrier_life(bool fails)
{
	const struct fault_rule rules[] = {
		{ .op = FAULT_WRITE, .action = FAULT_DELAY, .nth = 2, .delay_ms = 50 },
		{ .op = FAULT_WRITE, .action = fails ? FAULT_FAIL : FAULT_NONE, .nth = 2 },
	};
	const struct fault_plan plan = { .rules = rules, .rule_count = COUNT_OF(rules) };
	struct dev *d = recorder(1), *slow;
	struct appender *a;
	int rc;

	assert_ok(dev_open_fault(d, &plan, &slow, &e), &e);
	a = start_ok(slow, 0, false);
	assert_ok(appender_append(a, data, MIB + 5, &e), &e);
	appender_barrier(a);
	rc = appender_append(a, data + MIB + 5, 4 * MIB, &e);
	if (rc == 0)
		rc = appender_finish(a, &e);
	assert_int_equal(rc, fails ? -ERR_TARGET : 0);
	appender_close(a);
	for (size_t i = 0; i < dev_record_count(d) && i < 2; i++)
		assert_int_equal(dev_record_at(d, i).off, i * MIB);
	assert_int_equal(dev_size(d), fails ? MIB : 5 * MIB + 5);
	dev_close(slow);
	dev_close(d);
}

static void test_barrier(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(backends); i++) {
		setenv("IMGTOOL_AIO", backends[i], 1);
		barrier_life(false);
		barrier_life(true);
		unsetenv("IMGTOOL_AIO");
	}
}

/* ---- Failures ---- */

/* The whole life of an output with one fault in it; the first error, or 0. */
static int run_life(struct dev *d, bool write_through, uint64_t *committed)
{
	struct appender *a = start_ok(d, 0, write_through);
	struct err first = { .code = 0 };
	int rc = 0;

	for (unsigned i = 0; i < 12 && rc == 0; i++) {
		rc = appender_append(a, data + appender_offset(a), 512 * KIB, &first);
		if (rc == 0 && i % 3 == 2)
			rc = appender_commit(a, &first);
	}
	if (rc == 0)
		rc = appender_append(a, data + appender_offset(a), 100, &first);
	if (rc == 0)
		rc = appender_finish(a, &first);
	if (rc < 0) {
		/* The same error, from every call, for ever. */
		for (int i = 0; i < 2; i++) {
			assert_int_equal(appender_append(a, "x", 1, &e), rc);
			assert_string_equal(e.msg, first.msg);
			assert_int_equal(appender_commit(a, &e), rc);
			assert_int_equal(appender_finish(a, &e), rc);
			assert_string_equal(e.msg, first.msg);
		}
	}
	*committed = appender_committed(a);
	appender_close(a);
	e = first;
	return rc;
}

/* After a life that ended with rc: success is the whole file, failure is at least what was
 * committed. */
static void check_life(int rc, uint64_t committed)
{
	size_t len;
	uint8_t *got;

	if (rc == 0) {
		assert_int_equal(committed, 6 * MIB + 100);
		assert_file_is("swept", 6 * MIB + 100);
		return;
	}
	got = dev_helper_read_file(dev_helper_path("swept"), &len);
	assert_true(committed <= len);
	assert_memory_equal(got, data, committed);
	free(got);
}

/* Fail the n-th write or flush, until there is no n-th; and tear the n-th write. */
static void sweep(enum fault_op op, enum fault_action action, bool write_through)
{
	uint64_t committed = 0;
	uint64_t n = 0;
	int rc;

	do {
		const struct fault_rule rule = { .op = op,
			.action = action,
			.nth = ++n,
			.sys = action == FAULT_FAIL ? ENOSPC : EIO };
		const struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
		struct dev *file = new_file("swept", 0);
		struct dev *d;

		assert_ok(dev_open_fault(file, &plan, &d, &e), &e);
		rc = run_life(d, write_through, &committed);
		if (rc < 0) {
			assert_int_equal(rc, -ERR_TARGET);
			assert_non_null(strstr(e.msg, dev_name(file)));
			if (action == FAULT_FAIL)
				assert_int_equal(e.sys, ENOSPC);
			if (action == FAULT_FAIL && op == FAULT_WRITE)
				assert_non_null(strstr(e.msg, "No space left"));
		}
		dev_close(d);
		dev_close(file);
		check_life(rc, committed);
	} while (rc < 0 && n < 100);
	/* 6 MiB in buffers of 1 MiB with a commit each 1.5 MiB, and the last flush. */
	assert_true(n > (op == FAULT_WRITE ? 6 : 3) && n < 40);
}

static void test_sweep(void **state)
{
	(void)state;
	for (int write_through = 0; write_through < 2; write_through++) {
		sweep(FAULT_WRITE, FAULT_FAIL, write_through);
		sweep(FAULT_WRITE, FAULT_SHORTEN, write_through);
		sweep(FAULT_WRITE, FAULT_TEAR, write_through);
		sweep(FAULT_FLUSH, FAULT_FAIL, write_through);
	}
}

/* The target fills up: the error names the file and the offset, whichever way it is written. */
static void test_no_room(void **state)
{
	struct rlimit old;
	struct rlimit low;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 2 * MIB + 4096;
	for (unsigned k = 0; k < 4; k++) {
		struct dev *d = new_file("full", modes[k >> 1]);
		struct appender *a;
		int rc = 0;

		setenv("IMGTOOL_AIO", backends[k & 1], 1);
		a = start_ok(d, 0, false);
		unsetenv("IMGTOOL_AIO");
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
		for (int i = 0; i < 9 && rc == 0; i++)
			rc = appender_append(a, data + i * MIB, MIB, &e);
		if (rc == 0)
			rc = appender_finish(a, &e);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(rc, -ERR_TARGET);
		assert_int_equal(e.sys, EFBIG);
		assert_non_null(strstr(e.msg, "full at "));
		appender_close(a);
		dev_close(d);
	}
}

/* When the file cannot be cut to its length, that is an error, and so is the missing last flush. */
static void test_finish_fails(void **state)
{
	const struct fault_rule rules[] = {
		{ .op = FAULT_WRITE, .action = FAULT_TEAR, .nth = 1 },
	};
	const struct fault_plan plan = { .rules = rules, .rule_count = 1 };
	struct dev *file = new_file("cut", 0);
	struct dev *d;
	struct appender *a;

	(void)state;
	assert_ok(dev_write(file, 0, data, 10000, &e), &e);
	assert_ok(dev_open_fault(file, &plan, &d, &e), &e);
	a = start_ok(d, 0, false);
	assert_ok(appender_append(a, data, 100, &e), &e);
	assert_int_equal(appender_finish(a, &e), -ERR_TARGET);
	assert_non_null(strstr(e.msg, "set the size"));
	assert_int_equal(appender_committed(a), 0);
	appender_close(a);
	dev_close(d);
	dev_close(file);
}

/* Closing without finishing waits for the buffers that are in flight. */
static void test_close_drains(void **state)
{
	const struct fault_rule rules[] = {
		{ .op = FAULT_WRITE, .action = FAULT_DELAY, .delay_ms = 20 },
		{ .op = FAULT_WRITE, .action = FAULT_FAIL, .nth = 2 },
	};
	const struct fault_plan plan = { .rules = rules, .rule_count = 2 };
	struct dev *under = recorder(1);
	struct dev *d;
	struct appender *a;

	(void)state;
	assert_ok(dev_open_fault(under, &plan, &d, &e), &e);
	a = start_ok(d, 0, false);
	assert_ok(appender_append(a, data, 3 * MIB, &e), &e);
	appender_close(a);
	assert_int_equal(dev_fault_count(d, FAULT_WRITE), 3);
	assert_int_equal(dev_record_count(under), 2);
	dev_close(d);
	dev_close(under);
}

static int setup(void **state)
{
	data = malloc(DATA_BYTES);
	if (data == NULL)
		return -1;
	dev_helper_fill(data, DATA_BYTES, 42);
	return dev_helper_setup(state);
}

static int teardown(void **state)
{
	free(data);
	return dev_helper_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_fixed_size),
		cmocka_unit_test(test_fixed_size_aligned),
		cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_pipe_closed),
		cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_commit_does_not_stop),
		cmocka_unit_test(test_commit_order),
		cmocka_unit_test(test_write_shape),
		cmocka_unit_test(test_write_through),
		cmocka_unit_test(test_barrier),
		cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_finish_fails),
		cmocka_unit_test(test_close_drains),
	};

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests(tests, setup, teardown);
}
