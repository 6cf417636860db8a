/*
 * R13 for file trees: the parser in its own process; killed, stopped or lying, it costs one call,
 * and the next one has a new parser.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/dev_ops.h"
#include "device/dev_remote.h"
#include "ext_helper.h"
#include "files/files_confined_int.h"
#include "files/files_wire.h"
#include "files_helper.h"

static const char *const lost_found[] = { "lost+found", NULL };

/* A device that does something to the process that reads it, or that fails. */
struct trap {
	struct dev base;
	struct dev *under;
	unsigned nth; /* the read that springs it; 0: never */
	unsigned count;
	int signal;	 /* sent to the child */
	bool fail_reads; /* from then on */
};

static pid_t child_pid(void)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	return pid;
}

static int trap_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct trap *t = (struct trap *)d;

	if (t->fail_reads)
		return err_set(e, ERR_SOURCE, 0, "a bad sector");
	if (++t->count == t->nth)
		kill(child_pid(), t->signal);
	return dev_read(t->under, off, buf, len, e);
}

static void trap_close(struct dev *d)
{
	dev_fini(d);
}

static const struct dev_ops trap_ops = { .kind = "trap", .read = trap_read, .close = trap_close };

static void open_trap(struct trap *t)
{
	memset(t, 0, sizeof(*t));
	t->under = ext_open("v");
	assert_int_equal(dev_init(&t->base, &trap_ops, "trap", NULL), 0);
	t->base.info = *dev_info(t->under);
}

static void close_trap(struct trap *t)
{
	dev_close(&t->base);
	dev_close(t->under);
}

static struct files_limits quick(void)
{
	struct files_limits l = files_limits_default();

	l.answer_ms = 2000; /* a loaded machine is no hung parser */
	return l;
}

static struct files *open_tree(struct dev *d, struct files_limits l)
{
	struct files *f = NULL;
	struct err e;

	if (files_open_confined(d, &l, &f, &e) < 0)
		fail_msg("%s", e.msg);
	return f;
}

static void test_same_as_in_process(void **state)
{
	struct dev *d = ext_open("v");
	struct files *f = open_tree(d, files_limits_default()), *here;
	struct err e;

	(void)state;
	assert_int_equal(files_open(d, &here, &e), 0);
	assert_memory_equal(files_info(f), files_info(here), sizeof(struct files_info));
	files_assert_same(f, ext_path("tree"), FILES_SAME_MODES, lost_found);
	files_close(here);
	files_close(f);
	dev_close(d);
}

static void test_no_volume(void **state)
{
	struct files_limits l = files_limits_default();
	struct files *f;
	struct dev *d;
	struct err e;

	(void)state;
	assert_int_equal(dev_open_mem(NULL, 1 << 20, &d, &e), 0);
	assert_int_equal(files_open_confined(d, &l, &f, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.msg, "no file system"));
	assert_null(f);
	dev_close(d);
}

static void expect_failure(int rc, const struct err *e, const char *word)
{
	assert_int_equal(rc, -ERR_FORMAT);
	if (strstr(e->msg, word) == NULL)
		fail_msg("the message is: %s", e->msg);
}

/* While it answers: that call fails, and the next one is right. */
static void spring(unsigned nth, int signal, const char *word)
{
	struct trap t;
	struct files *f;
	struct err e;
	uint64_t id;
	uint8_t byte = 0;
	size_t got;

	open_trap(&t);
	f = open_tree(&t.base, quick());
	id = files_must_find(f, "/big");
	t.count = 0;
	t.nth = nth;
	t.signal = signal;
	expect_failure(files_read(f, id, 100000, &byte, 1, &got, &e), &e, word);
	assert_int_equal(files_read(f, id, 1, &byte, 1, &got, &e), 0);
	assert_int_equal(got, 1);
	assert_int_equal(byte, '\n');
	files_assert_same(f, ext_path("tree"), 0, lost_found);
	files_close(f);
	close_trap(&t);
}

static void test_killed(void **state)
{
	(void)state;
	spring(1, SIGKILL, "killed by signal 9");
	spring(2, SIGSEGV, "killed by signal 11");
}

static void test_stopped(void **state)
{
	(void)state;
	spring(2, SIGSTOP, "no sign of life");
}

/* Between two calls. */
static void test_killed_idle(void **state)
{
	struct trap t;
	struct files *f;
	struct files_node n;
	struct err e;
	uint64_t id;

	(void)state;
	open_trap(&t);
	f = open_tree(&t.base, quick());
	id = files_must_find(f, "/big");
	kill(child_pid(), SIGKILL);
	expect_failure(files_stat(f, id, &n, &e), &e, "the file-tree parser failed");
	assert_int_equal(files_stat(f, id, &n, &e), 0);
	files_close(f);
	close_trap(&t);
}

static void test_restarts_end(void **state)
{
	struct files_limits l = quick();
	struct trap t;
	struct files *f;
	struct files_node n;
	struct err e;

	(void)state;
	l.restarts = 2;
	open_trap(&t);
	f = open_tree(&t.base, l);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(files_stat(f, files_info(f)->root, &n, &e), 0);
		kill(child_pid(), SIGKILL);
		expect_failure(files_stat(f, files_info(f)->root, &n, &e), &e, "failed");
	}
	expect_failure(files_stat(f, files_info(f)->root, &n, &e), &e, "too often");
	files_close(f);
	close_trap(&t);
}

/* A new parser must find what the old one found. */
static void test_other_volume(void **state)
{
	struct trap t;
	struct files *f;
	struct files_node n;
	struct dev *first, *other = ext_open("w");
	struct err e;

	(void)state;
	open_trap(&t);
	f = open_tree(&t.base, quick());
	first = t.under;
	t.under = other;
	kill(child_pid(), SIGKILL);
	expect_failure(files_stat(f, files_info(f)->root, &n, &e), &e, "failed");
	expect_failure(files_stat(f, files_info(f)->root, &n, &e), &e, "another volume");
	t.under = first;
	assert_int_equal(files_stat(f, files_info(f)->root, &n, &e), 0);
	files_close(f);
	close_trap(&t);
	dev_close(other);
}

/* Killed while it opens: there is no tree. */
static void test_killed_opening(void **state)
{
	struct files_limits l = quick();
	struct files *f;
	struct trap t;
	struct err e;

	(void)state;
	open_trap(&t);
	t.nth = 5;
	t.signal = SIGKILL;
	expect_failure(files_open_confined(&t.base, &l, &f, &e), &e, "killed by signal 9");
	assert_null(f);
	close_trap(&t);
}

static void test_reads_limit(void **state)
{
	struct files_limits l = quick();
	struct trap t;
	struct files *f;
	struct err e;

	(void)state;
	open_trap(&t);
	l.answer_reads = 3;
	expect_failure(files_open_confined(&t.base, &l, &f, &e), &e, "within 3 reads");
	close_trap(&t);
}

/* A bad sector is no fault of the parser, which lives on. */
static void test_read_error(void **state)
{
	struct trap t;
	struct files *f;
	struct err e;
	uint8_t byte;
	uint64_t id;
	size_t got;
	pid_t pid;

	(void)state;
	open_trap(&t);
	f = open_tree(&t.base, quick());
	id = files_must_find(f, "/big");
	pid = child_pid();
	t.fail_reads = true;
	assert_int_equal(files_read(f, id, 0, &byte, 1, &got, &e), -ERR_SOURCE);
	t.fail_reads = false;
	assert_int_equal(files_read(f, id, 0, &byte, 1, &got, &e), 0);
	assert_int_equal(byte, '1');
	assert_int_equal(child_pid(), pid);
	files_close(f);
	close_trap(&t);
}

/* ---- Liars ---- */

/* What a liar says to the first request that is not OPEN. */
struct lie {
	struct files_node node;
	const char *entry; /* in place of the name of an entry */
	size_t entry_len;
	unsigned entry_type;
	size_t cut, more; /* bytes fewer or more of the reply */
};

static const struct lie *lie; /* the child sees a copy */

static void liar(int fd, void *shared, void *user)
{
	const struct files_info info = { .type = "ext4", .root = 2, .block_bytes = 4096 };
	struct files_reply r = { 0 };
	uint8_t packet[FILES_REQUEST_BYTES], pad[64] = { 0 };
	struct files_request q;

	(void)user;
	while (recv(fd, packet, sizeof(packet), 0) == (ssize_t)sizeof(packet)) {
		files_request_decode(packet, sizeof(packet), &q);
		files_reply_begin(&r, 0, NULL);
		if (q.op == FILES_OPEN)
			files_reply_info(&r, &info);
		else if (q.op == FILES_STAT)
			files_reply_node(&r, &lie->node);
		else if (q.op == FILES_LIST)
			files_reply_entry(&r, lie->entry, lie->entry_len, 12,
				(enum files_type)lie->entry_type, NULL);
		else
			files_reply_bytes(&r, pad, (size_t)q.len);
		if (q.op != FILES_OPEN) {
			files_reply_bytes(&r, pad, lie->more);
			r.len -= lie->cut;
		}
		remote_send_result(fd, shared, r.bytes, r.len, NULL);
	}
}

static int entry_fn(void *user, const char *name, size_t len, uint64_t id, enum files_type type,
	struct err *e)
{
	(void)name, (void)len, (void)id, (void)type, (void)e;
	++*(unsigned *)user;
	return 0;
}

static void expect_nonsense(int rc, const struct err *e)
{
	assert_int_equal(rc, -ERR_INTERNAL);
	assert_non_null(strstr(e->msg, "nonsense"));
}

static void test_lies(void **state)
{
	const struct files_node good = { .id = 12, .type = FILES_REGULAR };
	struct lie lies[16];
	size_t count = 0;
	struct files_limits l = quick();
	struct dev *d;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lies); i++)
		lies[i] = (struct lie){ .node = good, .entry = "a/b", .entry_len = 3, .more = 1 };
	lies[count].more = 0, lies[count++].node.id = 13;
	lies[count].more = 0, lies[count++].node.type = FILES_TYPES;
	lies[count].more = 0, lies[count++].node.type = FILES_UNKNOWN;
	lies[count].more = 0, lies[count++].node.size = UINT64_MAX;
	lies[count].more = 0, lies[count++].node.allocated_bytes = UINT64_MAX;
	lies[count].more = 0, lies[count++].node.mode = 010000;
	lies[count].more = 0, lies[count++].node.modified.ns = 1000000000;
	lies[count].more = 0, lies[count].entry = "..", lies[count].entry_len = 2,
	lies[count++].cut = 1;
	lies[count].entry = "", lies[count++].entry_len = 0;
	lies[count].entry = "a\0b", lies[count++].entry_len = 3;
	lies[count].entry = "ab", lies[count].entry_len = 2, lies[count++].entry_type = FILES_TYPES;
	lies[count].entry = "ab", lies[count].entry_len = 2, lies[count++].more = 5;
	assert_int_equal(dev_open_mem(NULL, 4096, &d, &e), 0);
	for (size_t i = 0; i < count; i++) {
		struct files_node n;
		struct files *f;
		unsigned entries = 0;
		uint8_t buf[8];
		size_t got;

		lie = &lies[i];
		assert_int_equal(files_open_child(d, &l, liar, &f, &e), 0);
		expect_nonsense(files_stat(f, 12, &n, &e), &e);
		expect_nonsense(files_list(f, 12, entry_fn, &entries, &e), &e);
		if (lie->more > 0)
			expect_nonsense(files_read(f, 12, 0, buf, sizeof(buf), &got, &e), &e);
		files_close(f);
	}
	dev_close(d);
}

/* ---- Many threads ---- */

static void *read_much(void *arg)
{
	struct files *f = arg;
	size_t len;
	uint8_t *p = files_read_whole(f, "/big", 7000, &len);

	return p;
}

static void test_threads(void **state)
{
	struct dev *d = ext_open("v");
	struct files *f = open_tree(d, files_limits_default());
	pthread_t threads[4];
	void *got[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_much, f), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], &got[i]);
	for (int i = 0; i < 4; i++) {
		assert_memory_equal(got[0], got[i], 400000);
		if (i > 0)
			free(got[i]);
	}
	free(got[0]);
	files_close(f);
	dev_close(d);
}

static atomic_bool interrupted;

static void *interrupt_soon(void *arg)
{
	struct timespec wait = { .tv_nsec = 1000000 };

	/* Again and again: the call may not have begun yet. */
	for (int i = 0; i < 2000 && !atomic_load(&interrupted); i++) {
		nanosleep(&wait, NULL);
		files_interrupt(arg);
	}
	return NULL;
}

/* A parser that hangs is not waited for to the end. */
static void test_interrupt(void **state)
{
	struct trap t;
	struct files *f;
	struct files_node n;
	struct err e;
	pthread_t thread;

	(void)state;
	open_trap(&t);
	f = open_tree(&t.base, files_limits_default());
	files_interrupt(f); /* idle: nothing */
	assert_int_equal(files_stat(f, files_info(f)->root, &n, &e), 0);
	kill(child_pid(), SIGSTOP);
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, f), 0);
	expect_failure(files_stat(f, files_info(f)->root, &n, &e), &e, "ended without a result");
	atomic_store(&interrupted, true);
	pthread_join(thread, NULL);
	assert_int_equal(files_stat(f, files_info(f)->root, &n, &e), 0);
	files_close(f);
	close_trap(&t);
}

int main(void)
{
	static const char *const tools[] = { "mke2fs", NULL };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_in_process),
		cmocka_unit_test(test_no_volume),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_killed_idle),
		cmocka_unit_test(test_restarts_end),
		cmocka_unit_test(test_other_volume),
		cmocka_unit_test(test_killed_opening),
		cmocka_unit_test(test_reads_limit),
		cmocka_unit_test(test_read_error),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_interrupt),
	};

	ext_setup(tools);
	ext_make_tree("tree", 400);
	ext_must("seq 100000 >tree/big; ln -s big tree/link; truncate -s 16M v; "
		 "mke2fs -q -F -t ext4 -d tree v; truncate -s 16M w; "
		 "mke2fs -q -F -t ext4 -b 4096 w");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
