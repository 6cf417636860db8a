/*
 * The records of listed files, and the process that lists them: every field set to nonsense is
 * refused, and a lister that is killed, stopped, lying or given a failing disk costs a list.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/confine.h"
#include "base/mem.h"
#include "device/dev_fault.h"
#include "device/dev_ops.h"
#include "device/dev_remote.h"
#include "ext_helper.h"
#include "fs/fs_confined.h"

/* ---- Records ----------------------------------------------------------------------------- */

#define DEVICE_BYTES ((uint64_t)1 << 40)

static uint8_t record[FS_FILE_RECORD_MAX];
static struct fs_file_room room;

static const struct extent ranges[] = {
	{ 4096, 8192, MAP_DATA },
	{ 65536, 4096, MAP_DATA },
	{ DEVICE_BYTES - 4096, 4096, MAP_DATA },
};

static size_t good_record(void)
{
	struct fs_file f = {
		.path = "/a/b \xff\n",
		.size_bytes = UINT64_MAX,
		.allocated_bytes = 16384,
		.created_s = -5,
		.modified_s = INT64_MAX,
		.accessed_s = INT64_MIN,
		.swap_page_bytes = 65536,
		.kept = "because",
		.ranges = ranges,
		.range_count = COUNT_OF(ranges),
	};

	return fs_file_encode(&f, record);
}

static int decode(size_t n, struct fs_file *f)
{
	struct err e = { 0 };
	int rc = fs_file_decode(record, n, DEVICE_BYTES, &room, f, &e);

	assert_true(rc > 0 || (rc == -ERR_FORMAT && e.msg[0] != '\0'));
	return rc;
}

static void test_record(void **state)
{
	size_t n = good_record();
	struct fs_file f;

	(void)state;
	assert_int_equal(decode(n, &f), n);
	assert_int_equal(decode(n + 9, &f), n); /* the next one follows */
	assert_string_equal(f.path, "/a/b \xff\n");
	assert_string_equal(f.kept, "because");
	assert_true(f.size_bytes == UINT64_MAX && f.allocated_bytes == 16384);
	assert_true(f.created_s == -5 && f.modified_s == INT64_MAX && f.accessed_s == INT64_MIN);
	assert_int_equal(f.swap_page_bytes, 65536);
	assert_int_equal(f.range_count, COUNT_OF(ranges));
	assert_memory_equal(f.ranges, ranges, sizeof(ranges));
}

static void refuse_poke(size_t at, const void *bytes, size_t len)
{
	size_t n = good_record();
	struct fs_file f;

	memcpy(record + at, bytes, len);
	if (decode(n, &f) > 0)
		fail_msg("a change at %zu was taken", at);
}

static void test_bad_records(void **state)
{
	static const uint8_t ones[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	size_t n = good_record(), first = n - sizeof(ranges) / sizeof(ranges[0]) * 16;
	struct fs_file f;
	uint8_t number[8];

	(void)state;
	for (size_t len = 0; len < n; len++)
		assert_true(decode(len, &f) < 0);
	refuse_poke(0, ones, 4); /* length */
	refuse_poke(4, ones, 4); /* ranges */
	refuse_poke(8, ones, 2); /* length of the path */
	refuse_poke(8, "\0\0", 2);
	refuse_poke(10, ones, 2);	/* of `kept` */
	refuse_poke(12, "\0\0\2\0", 4); /* page sizes: too large, too small, no power of 2 */
	refuse_poke(12, "\0\4\0\0", 4);
	refuse_poke(12, "\0\x30\0\0", 4);
	refuse_poke(56, "x", 1);		       /* a path that begins nowhere */
	refuse_poke(58, "\0", 1);		       /* and one with a zero in it */
	refuse_poke(first + 8, "\0\0\0\0\0\0\0\0", 8); /* empty range */
	refuse_poke(first, ones, 8);
	refuse_poke(first + 8, ones, 8);
	put_le64(number, 65536 - 4096); /* touches the next */
	refuse_poke(first + 8, number, 8);
	put_le64(number, 65536); /* overlaps it */
	refuse_poke(first + 8, number, 8);
	put_le64(number, 4095); /* goes back */
	refuse_poke(first + 16, number, 8);
	put_le64(number, 4097); /* past the end */
	refuse_poke(first + 40, number, 8);
	assert_true(decode(good_record(), &f) > 0);
}

/* ---- The process ------------------------------------------------------------------------- */

/* A device that does something to the process that reads it. */
struct trap {
	struct dev base;
	struct dev *under;
	unsigned nth, count;
	int signal;
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

struct seen {
	unsigned files;
	unsigned stop_at; /* fail at the n-th */
};

static int count_file(void *user, const struct fs_file *f, struct err *e)
{
	struct seen *s = user;

	assert_int_equal(f->path[0], '/');
	if (++s->files == s->stop_at)
		return err_set(e, ERR_SCRIPT, 0, "enough");
	return 0;
}

static int list(struct dev *d, int idle_ms, struct seen *s, struct err *e)
{
	struct fs_limits l = fs_limits_default();

	if (idle_ms > 0)
		l.idle_ms = idle_ms;
	memset(e, 0, sizeof(*e));
	s->files = 0;
	return fs_files_confined(d, &l, true, count_file, s, e);
}

static void test_same_files_as_in_process(void **state)
{
	struct dev *d = ext_open("fs");
	struct seen here = { 0 }, there = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(fs_files(d, true, count_file, &here, &e), 0);
	assert_int_equal(list(d, 0, &there, &e), 0);
	assert_int_equal(here.files, there.files);
	assert_true(here.files > 20);
	dev_close(d);
}

static void test_the_caller_may_end_it(void **state)
{
	struct dev *d = ext_open("fs");
	struct seen s = { .stop_at = 3 };
	struct err e;

	(void)state;
	assert_int_equal(list(d, 0, &s, &e), -ERR_SCRIPT);
	assert_string_equal(e.msg, "enough");
	assert_int_equal(s.files, 3);
	dev_close(d);
}

static void spring(unsigned nth, int signal, const char *why)
{
	struct dev *under = ext_open("fs");
	struct trap t = { .under = under, .nth = nth, .signal = signal };
	struct map *chosen = map_new(dev_size(under));
	struct fs_limits l = fs_limits_default();
	struct seen s = { 0 };
	uint64_t bytes;
	struct err e;

	assert_int_equal(dev_init(&t.base, &trap_ops, "trap", &e), 0);
	t.base.info = *dev_info(under);
	assert_int_equal(list(&t.base, 300, &s, &e), -ERR_FORMAT);
	assert_true(t.count >= nth);
	if (strstr(e.msg, why) == NULL)
		fail_msg("it says: %s", e.msg);
	t.count = 0;
	l.idle_ms = 300;
	assert_int_equal(fs_claims_confined(&t.base, &l, chosen, &bytes, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.msg, why));
	map_free(chosen);
	dev_close(&t.base);
	dev_close(under);
}

static void test_killed(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 4; n++)
		spring(n, SIGKILL, "killed by signal 9");
	spring(6, SIGSEGV, "killed by signal 11");
}

static void test_stopped(void **state)
{
	(void)state;
	spring(2, SIGSTOP, "no sign of life");
}

/* Each read of the disk fails in turn: an error or a whole list, and never a part of one. */
static void test_every_failing_read(void **state)
{
	struct dev *under = ext_open("fs"), *d;
	struct seen whole = { 0 }, s = { 0 };
	struct err e;
	uint64_t nth = 1;
	int rc;

	(void)state;
	assert_int_equal(fs_files(under, true, count_file, &whole, &e), 0);
	do {
		struct fault_rule rule = { .op = FAULT_READ, .action = FAULT_FAIL, .nth = nth };
		struct fault_plan plan = { .rules = &rule, .rule_count = 1 };
		uint64_t reads;

		s.files = 0;
		memset(&e, 0, sizeof(e));
		assert_int_equal(dev_open_fault(under, &plan, &d, &e), 0);
		rc = fs_files(d, true, count_file, &s, &e);
		reads = dev_fault_count(d, FAULT_READ);
		dev_close(d);
		if (rc == 0)
			assert_int_equal(s.files, whole.files);
		else
			assert_true(e.code == ERR_SOURCE || e.code == ERR_FORMAT);
		if (reads < nth)
			break;
		nth += nth < 40 ? 1 : 7;
	} while (true);
	assert_int_equal(rc, 0);
	assert_true(nth > 40);
	dev_close(under);
}

/* ---- Lies -------------------------------------------------------------------------------- */

static int keep_nothing(void *user, const uint8_t *piece, size_t len, struct err *e)
{
	unsigned *pieces = user;

	(void)piece, (void)e;
	assert_true(len > 0 && len <= REMOTE_SHARED_BYTES);
	++*pieces;
	return 0;
}

static void tell_pieces(int fd, void *shared, void *user)
{
	size_t *lens = user;
	uint8_t *bytes = calloc(1, REMOTE_SHARED_BYTES);

	for (; *lens > 0; lens++)
		remote_send_piece(fd, shared, bytes, *lens, NULL);
	remote_send_piece(fd, shared, NULL, 0, NULL);
	free(bytes);
}

static void test_pieces(void **state)
{
	size_t lens[] = { 1, REMOTE_SHARED_BYTES, 17, 0 };
	struct confine_limits l = { 0 };
	struct remote_limits serve = { .idle_ms = 5000 };
	struct dev *d = ext_open("fs");
	struct confined *c;
	unsigned pieces = 0;
	struct err e;

	(void)state;
	assert_int_equal(confine_start(tell_pieces, lens, REMOTE_SHARED_BYTES, &l, &c, &e), 0);
	assert_int_equal(remote_serve_pieces(confined_fd(c), confined_shared(c), d, &serve,
				 keep_nothing, &pieces, &e),
		0);
	assert_int_equal(pieces, 3);
	confine_end(c, NULL, 0);
	dev_close(d);
}

/* What a lister in an enemy's hands could say; sent as one piece, then the end. */
struct lie {
	const char *what;
	size_t len;
	uint8_t bytes[600];
	const char *says; /* the message; NULL: taken */
};

static const struct lie *told; /* inherited by the child */

static void tell_lie(int fd, void *shared, void *user)
{
	(void)user;
	remote_send_piece(fd, shared, told->bytes, told->len, NULL);
	remote_send_piece(fd, shared, NULL, 0, NULL);
}

static void assert_lie(const struct lie *lie)
{
	struct fs_limits l = fs_limits_default();
	struct dev *d = ext_open("fs");
	struct seen s = { 0 };
	struct err e = { 0 };
	int rc;

	told = lie;
	rc = fs_files_from(tell_lie, d, &l, true, count_file, &s, &e);
	if (rc != (lie->says ? -ERR_FORMAT : 0))
		fail_msg("%s: %d %s", lie->what, rc, e.msg);
	if (lie->says && strstr(e.msg, lie->says) == NULL)
		fail_msg("%s: %s", lie->what, e.msg);
	assert_null(strpbrk(e.msg, "\n\x1b"));
	assert_int_equal(s.files, lie->says ? 0 : 1);
	dev_close(d);
}

static void test_lies(void **state)
{
	static struct lie lies[] = {
		{ "an unknown piece", 5, { 9 }, "makes no sense" },
		{ "an answer to another question", 9, { 2 }, "makes no sense" },
		{ "an error cut short", 5, { 3 }, "its error is of 4 bytes" },
		{ "records that end in the middle", 3, { 1, 200 }, "bad length" },
		{ "an error that talks to the terminal", 5 + 512,
			{ 3, 77, 0, 0, 0, 27, '[', '2', 'J' }, "?[2J" },
		{ "a file", 0, { 1 }, NULL },
		{ "a file outside the device", 0, { 1 }, "bad range" },
	};
	struct extent x = { 4096, 4096, MAP_DATA };
	struct fs_file f = { .path = "/x", .ranges = &x, .range_count = 1 };

	(void)state;
	memset(lies[4].bytes + 9, 'A', 600 - 9); /* without an end */
	lies[5].len = 1 + fs_file_encode(&f, lies[5].bytes + 1);
	x.off = UINT64_C(16) << 20;
	lies[6].len = 1 + fs_file_encode(&f, lies[6].bytes + 1);
	for (size_t i = 0; i < COUNT_OF(lies); i++)
		assert_lie(&lies[i]);
}

static int make_volume(void **state)
{
	static const char *const tools[] = { "mke2fs", NULL };

	(void)state;
	ext_setup(tools);
	ext_make_tree("tree", 1024);
	ext_must("truncate -s 16M fs && mke2fs -q -F -t ext4 -d tree fs");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_bad_records),
		cmocka_unit_test(test_same_files_as_in_process),
		cmocka_unit_test(test_the_caller_may_end_it),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_every_failing_read),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests_name("fs_files", tests, make_volume, NULL);
}
