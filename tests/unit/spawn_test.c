/* Programs of the list are run, with their arguments as they are; nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/spawn.h"

static bool installed(void)
{
	const char *const version[] = { "-V", NULL };
	char out[64];
	struct err e;
	int status;

	return spawn_run("e2fsck", version, 60, out, sizeof(out), &status, &e) == 0;
}

static void test_output_and_status(void **state)
{
	const char *const version[] = { "-V", NULL };
	const char *const missing[] = { "-n", "/nowhere; touch /tmp/imgtool-shell", NULL };
	char out[4096];
	struct err e;
	int status = -1;

	(void)state;
	if (!installed())
		skip();
	assert_int_equal(spawn_run("e2fsck", version, 60, out, sizeof(out), &status, &e), 0);
	assert_int_equal(status, 0);
	assert_non_null(strstr(out, "e2fsck 1."));
	/* R12: an argument is an argument, whatever is in it. */
	assert_int_equal(spawn_run("e2fsck", missing, 60, out, sizeof(out), &status, &e), 0);
	assert_int_equal(status, 8);
	assert_non_null(strstr(out, "/nowhere; touch"));
	assert_int_not_equal(system("test -e /tmp/imgtool-shell"), 0);
}

/* A long answer is cut, and does not stop the program. */
static void test_output_is_bounded(void **state)
{
	const char *const help[] = { "--help", NULL };
	char out[20];
	struct err e;
	int status = -1;

	(void)state;
	if (!installed())
		skip();
	memset(out, 'x', sizeof(out));
	assert_int_equal(spawn_run("e2fsck", help, 60, out, 10, &status, &e), 0);
	assert_int_equal(strlen(out), 9);
	assert_int_equal(out[10], 'x');
}

/* R12: no other program, and no path to one. */
static void test_r12_fixed_list(void **state)
{
	static const char *const names[] = { "sh", "/bin/sh", "../bin/sh", "/usr/sbin/e2fsck", "",
		"e2fsck " };
	const char *const none[] = { NULL };
	char out[16];
	struct err e;
	int status;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_false(spawn_known(names[i]));
		assert_int_equal(spawn_run(names[i], none, 1, out, sizeof(out), &status, &e),
			-ERR_USAGE);
	}
}

/* A program that does not end is ended. */
static void test_timeout(void **state)
{
	const char *const version[] = { "-V", NULL };
	char out[16];
	struct err e;
	int status;

	(void)state;
	if (!installed())
		skip();
	assert_int_equal(spawn_run("e2fsck", version, 0, out, sizeof(out), &status, &e), -ERR_BUSY);
	assert_non_null(strstr(e.msg, "was stopped after 0 s"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_and_status),
		cmocka_unit_test(test_output_is_bounded),
		cmocka_unit_test(test_r12_fixed_list),
		cmocka_unit_test(test_timeout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
