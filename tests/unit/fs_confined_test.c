/* R13: the parser in its own process; killed, stopped or lying, it costs only the saving. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/confine.h"
#include "base/mem.h"
#include "device/dev_ops.h"
#include "device/dev_remote.h"
#include "fs/fs_confined.h"

static char volume[64];

/* A device that does something to the process that reads it. */
struct trap {
	struct dev base;
	struct dev *under;
	unsigned nth; /* the read that springs it */
	unsigned count;
	int signal; /* sent to the child */
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

	if (++t->count == t->nth)
		kill(child_pid(), t->signal);
	return dev_read(t->under, off, buf, len, e);
}

static void trap_close(struct dev *d)
{
	dev_fini(d);
}

static const struct dev_ops trap_ops = { .kind = "trap", .read = trap_read, .close = trap_close };

static int make_volume(void **state)
{
	char command[192];
	int fd;

	(void)state;
	snprintf(volume, sizeof(volume), "/tmp/imgtool-confined-XXXXXX");
	fd = mkstemp(volume);
	if (fd < 0)
		return -1;
	close(fd);
	snprintf(command, sizeof(command), "truncate -s 32M %s && mkfs.ext4 -q -F %s", volume,
		volume);
	return system(command);
}

static int remove_volume(void **state)
{
	(void)state;
	return remove(volume);
}

static struct dev *open_volume(void)
{
	struct dev *d;
	struct err e;

	if (dev_open(volume, 0, &d, &e) < 0)
		fail_msg("%s", e.msg);
	return d;
}

static void assert_all_blocks(const struct map *m, const struct fs_report *r, const char *why)
{
	assert_int_equal(map_bytes(m, MAP_DATA), map_size(m));
	assert_false(r->used_only);
	if (strstr(r->reason, why) == NULL)
		fail_msg("reason is: %s", r->reason);
}

static void test_same_map_as_in_process(void **state)
{
	struct fs_limits l = fs_limits_default();
	struct map *here, *there;
	struct fs_report a, b;
	struct dev *d = open_volume();
	struct err e;

	(void)state;
	assert_int_equal(fs_map(d, &here, &a, &e), 0);
	assert_int_equal(fs_map_confined(d, &l, &there, &b, &e), 0);
	assert_true(a.used_only && b.used_only);
	assert_true(map_equal(here, there));
	assert_string_equal(a.type, b.type);
	assert_string_equal(a.uuid, b.uuid);
	assert_int_equal(a.free_bytes, b.free_bytes);
	map_free(here);
	map_free(there);
	dev_close(d);
}

static void spring(unsigned nth, int signal, const char *why)
{
	struct fs_limits l = fs_limits_default();
	struct dev *under = open_volume();
	struct trap t = { .under = under, .nth = nth, .signal = signal };
	struct fs_report r;
	struct map *m;
	struct err e;

	assert_int_equal(dev_init(&t.base, &trap_ops, "trap", &e), 0);
	t.base.info = *dev_info(under);
	l.idle_ms = 300;
	assert_int_equal(fs_map_confined(&t.base, &l, &m, &r, &e), 0);
	assert_true(t.count >= nth);
	assert_all_blocks(m, &r, why);
	map_free(m);
	dev_close(&t.base);
	dev_close(under);
}

static void test_killed(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 5; n++) {
		spring(n, SIGKILL, "killed by signal 9");
		spring(n, SIGSEGV, "killed by signal 11");
	}
}

static void test_stopped(void **state)
{
	(void)state;
	spring(2, SIGSTOP, "no sign of life");
}

/* AT_EMPTY_PATH, which fstat needs, lets names through. */
static bool sees(const char *path)
{
	struct stat st;

	return fstatat(AT_FDCWD, path, &st, AT_EMPTY_PATH) == 0;
}

/* What a confined process may not do; *user: it was started by root. */
static void escape(int fd, void *shared, void *user)
{
	unsigned char *results = shared;
	bool root = *(bool *)user;

	results[0] = open("/etc/passwd", O_RDONLY) < 0 && errno == EPERM;
	results[1] = socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM;
	results[2] = fork() < 0 && errno == EPERM;
	results[3] = kill(getppid(), 0) < 0;
	results[4] = getuid() != 0;
	results[5] = fcntl(fd + 1, F_GETFD) < 0;
	results[6] = unlink(volume) < 0 && errno == EPERM;
	/* Other users see no more than they saw before. */
	results[7] = !root ||
		(!sees("/etc/passwd") && !sees("/proc") && !sees("etc") && !sees("../../../etc"));
	results[8] = 1;
}

static void test_confined(void **state)
{
	struct confine_limits l = { .memory_bytes = 64 * MIB, .cpu_s = 10 };
	struct confined *c;
	bool root = geteuid() == 0;
	unsigned char *results;
	char how[64], byte;
	struct err e;

	(void)state;
	assert_int_equal(confine_start(escape, &root, 4096, &l, &c, &e), 0);
	/* The end of the socket is the end of the child. */
	assert_true(recv(confined_fd(c), &byte, 1, 0) <= 0);
	results = confined_shared(c);
	for (int i = 0; i < 9; i++)
		if (!results[i])
			fail_msg("escape %d worked", i);
	confine_end(c, how, sizeof(how));
	assert_string_equal(how, "exit status 0");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void devour(int fd, void *shared, void *user)
{
	unsigned char *results = shared;
	void *p = malloc(512 << 20);

	(void)fd;
	(void)user;
	results[0] = p == NULL;
	free(p);
}

static void test_memory_limit(void **state)
{
	struct confine_limits l = { .memory_bytes = 64 * MIB, .cpu_s = 10 };
	struct confined *c;
	char byte;
	struct err e;

	(void)state;
	assert_int_equal(confine_start(devour, NULL, 4096, &l, &c, &e), 0);
	assert_true(recv(confined_fd(c), &byte, 1, 0) <= 0);
	assert_int_equal(*(unsigned char *)confined_shared(c), 1);
	confine_end(c, NULL, 0);
}
#endif

static void spin(int fd, void *shared, void *user)
{
	volatile unsigned *n = shared;

	(void)fd;
	(void)user;
	for (;;)
		++*n;
}

static void test_cpu_limit(void **state)
{
	struct confine_limits l = { .memory_bytes = 64 * MIB, .cpu_s = 1 };
	struct confined *c;
	char how[64], byte;
	struct err e;

	(void)state;
	assert_int_equal(confine_start(spin, NULL, 4096, &l, &c, &e), 0);
	assert_true(recv(confined_fd(c), &byte, 1, 0) <= 0);
	confine_end(c, how, sizeof(how));
	assert_non_null(strstr(how, "killed by signal"));
}

static void wait_for_end(int fd, void *shared, void *user)
{
	char byte = 0;

	(void)shared, (void)user;
	send(fd, &byte, 1, 0);
	recv(fd, &byte, 1, 0);
}

static void write_to(int fd, void *shared, void *user)
{
	(void)fd, (void)shared;
	*(volatile unsigned char *)user = 0xee;
}

/* What no limit counts, as memory files: when memory runs out, it is the first to go. */
static void test_oom_score(void **state)
{
	struct confine_limits l = { .memory_bytes = 64 * MIB, .cpu_s = 10 };
	struct confined *c;
	char path[64], byte;
	int score = 0;
	struct err e;
	FILE *f;

	(void)state;
	assert_int_equal(confine_start(wait_for_end, NULL, 4096, &l, &c, &e), 0);
	assert_int_equal(recv(confined_fd(c), &byte, 1, 0), 1);
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)child_pid());
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &score), 1);
	assert_int_equal(score, 1000);
	fclose(f);
	confine_end(c, NULL, 0);
}

/* One that was taken over must not change what another's parser says. */
static void test_memory_of_another(void **state)
{
	struct confine_limits l = { .memory_bytes = 64 * MIB, .cpu_s = 10 };
	struct confined *a, *b;
	unsigned char *memory;
	char how[64], byte;
	struct err e;

	(void)state;
	assert_int_equal(confine_start(wait_for_end, NULL, 4096, &l, &a, &e), 0);
	memory = confined_shared(a);
	memory[0] = 0x11;
	assert_int_equal(confine_start(write_to, memory, 4096, &l, &b, &e), 0);
	assert_true(recv(confined_fd(b), &byte, 1, 0) <= 0);
	confine_end(b, how, sizeof(how));
	assert_string_equal(how, "killed by signal 11 (Segmentation fault)");
	assert_int_equal(memory[0], 0x11);
	confine_end(a, NULL, 0);
}

struct lie {
	uint32_t type;
	int32_t status, sys;
	uint32_t zero;
	uint64_t off, len;
};

static void tell_lie(int fd, void *shared, void *user)
{
	(void)shared;
	send(fd, user, sizeof(struct lie), 0);
	recv(fd, user, sizeof(struct lie), 0);
}

/* Requests and results outside all bounds are refused, whatever they ask for. */
static void test_lies(void **state)
{
	static const struct lie lies[] = {
		{ .type = 1, .off = UINT64_MAX - 3, .len = 4096 },
		{ .type = 1, .off = 0, .len = UINT64_MAX },
		{ .type = 1, .off = 32 << 20, .len = 1 },
		{ .type = 2, .len = REMOTE_SHARED_BYTES + 1 },
		{ .type = 2, .len = UINT64_MAX },
		{ .type = 77 },
	};
	struct confine_limits l = { 0 };
	struct remote_limits serve = { .max_bytes = 4096, .idle_ms = 5000 };
	struct dev *d = open_volume();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		struct lie lie = lies[i];
		struct confined *c;
		uint8_t *result = NULL;
		size_t len;
		struct err e = { 0 };

		assert_int_equal(confine_start(tell_lie, &lie, REMOTE_SHARED_BYTES, &l, &c, &e), 0);
		assert_true(remote_serve(confined_fd(c), confined_shared(c), d, &serve, &result,
				    &len, &e) < 0);
		assert_null(result);
		confine_end(c, NULL, 0);
	}
	dev_close(d);
}

/* Says yes from the nth question on. */
static bool stop_at(void *user)
{
	unsigned *left = user;

	return (*left)-- <= 1;
}

static int no_file(void *user, const struct fs_file *f, struct err *e)
{
	(void)user;
	(void)f;
	(void)e;
	return 0;
}

/* Between reads, and while the child is silent: no map of all blocks, but an end. */
static void test_cancelled(void **state)
{
	unsigned left = 3;
	struct fs_limits l = fs_limits_default();
	struct dev *under = open_volume();
	struct trap t = { .under = under, .nth = 2, .signal = SIGSTOP };
	struct fs_report r;
	struct map *m = NULL;
	struct err e;

	(void)state;
	l.stop = stop_at;
	l.user = &left;
	assert_int_equal(fs_map_confined(under, &l, &m, &r, &e), -ERR_CANCELLED);
	assert_non_null(strstr(e.msg, "cancelled"));
	assert_int_equal(dev_init(&t.base, &trap_ops, "trap", &e), 0);
	t.base.info = *dev_info(under);
	left = 5;
	assert_int_equal(fs_map_confined(&t.base, &l, &m, &r, &e), -ERR_CANCELLED);
	assert_int_equal(t.count, 2);
	assert_null(m);
	left = 2;
	assert_int_equal(fs_files_confined(under, &l, true, no_file, NULL, &e), -ERR_CANCELLED);
	dev_close(&t.base);
	dev_close(under);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_map_as_in_process),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_confined),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
		cmocka_unit_test(test_memory_limit),
#endif
		cmocka_unit_test(test_cpu_limit),
		cmocka_unit_test(test_oom_score),
		cmocka_unit_test(test_memory_of_another),
		cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests(tests, make_volume, remove_volume);
}
