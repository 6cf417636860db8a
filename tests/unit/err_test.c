/* base/err: codes, words, messages with reasons, prefixes, and messages that are too long. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void test_set(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(err_set(&e, ERR_DAMAGED, 0, "block %d", 7), -7);
	assert_int_equal(e.code, ERR_DAMAGED);
	assert_int_equal(e.sys, 0);
	assert_string_equal(e.msg, "block 7");
	assert_int_equal(err_set(&e, ERR_SOURCE, EIO, "read %s", "x"), -5);
	assert_int_equal(e.sys, EIO);
	assert_string_equal(e.msg, "read x: Input/output error");
	assert_int_equal(err_set(NULL, ERR_CANCELLED, EIO, "nobody listens"), -130);
	assert_int_equal(err_nomem(&e), -1);
	assert_string_equal(e.msg, "out of memory");
}

static void test_code_of_errno(void **state)
{
	static const struct {
		int sys;
		int code;
	} rows[] = {
		{ ENOENT, ERR_NOT_FOUND },
		{ ENXIO, ERR_NOT_FOUND },
		{ EACCES, ERR_PERMISSION },
		{ EPERM, ERR_PERMISSION },
		{ EROFS, ERR_PERMISSION },
		{ EBUSY, ERR_BUSY },
		{ ETXTBSY, ERR_BUSY },
		{ ENOSPC, ERR_TARGET },
		{ EDQUOT, ERR_TARGET },
		{ EFBIG, ERR_TARGET },
		{ ENOMEM, ERR_INTERNAL },
		{ EIO, ERR_SOURCE },
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(err_set_errno(&e, ERR_SOURCE, rows[i].sys, "x"), -rows[i].code);
		assert_int_equal(e.code, rows[i].code);
		assert_int_equal(e.sys, rows[i].sys);
	}
	assert_int_equal(err_set_errno(NULL, ERR_TARGET, EIO, "x"), -ERR_TARGET);
}

static void test_prefix(void **state)
{
	struct err e;

	(void)state;
	err_set(&e, ERR_BUSY, EBUSY, "open %s", "/dev/sda");
	assert_int_equal(err_prefix(&e, "restore %s", "x.img"), -ERR_BUSY);
	assert_string_equal(e.msg, "restore x.img: open /dev/sda: Device or resource busy");
	assert_int_equal(e.sys, EBUSY);
}

/* Whatever is said, it ends within the field, and nothing behind it changes. */
static void test_long_messages(void **state)
{
	struct {
		struct err e;
		char guard[64];
	} box;
	char text[2000];

	(void)state;
	memset(&box, 0x5A, sizeof(box));
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set(&box.e, ERR_SOURCE, EIO, "%s", text);
	assert_int_equal(strlen(box.e.msg), sizeof(box.e.msg) - 1);
	err_prefix(&box.e, "%.505s", text);
	assert_int_equal(strlen(box.e.msg), sizeof(box.e.msg) - 1);
	err_prefix(&box.e, "%s", text);
	assert_int_equal(strlen(box.e.msg), sizeof(box.e.msg) - 1);
	for (size_t i = 0; i < sizeof(box.guard); i++)
		assert_int_equal(box.guard[i], 0x5A);
	/* Room for a part of the reason only. */
	err_set(&box.e, ERR_SOURCE, EIO, "%.505s", text);
	assert_string_equal(box.e.msg + 505, ": Inpu");
}

/* The words and numbers are known to scripts: they are for ever. */
static void test_words(void **state)
{
	static const struct {
		int code;
		const char *word;
	} rows[] = {
		{ 0, "ok" },
		{ 1, "internal" },
		{ 2, "usage" },
		{ 3, "not_found" },
		{ 4, "permission" },
		{ 5, "source_io" },
		{ 6, "target_io" },
		{ 7, "damaged" },
		{ 8, "format" },
		{ 9, "refused" },
		{ 10, "snapshot" },
		{ 11, "busy" },
		{ 12, "bad_sectors" },
		{ 13, "script" },
		{ 130, "cancelled" },
		{ 14, "unknown" },
		{ -5, "unknown" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_string_equal(err_word(rows[i].code), rows[i].word);
		assert_int_equal(strcmp(err_meaning(rows[i].code), "unknown") == 0,
			strcmp(rows[i].word, "unknown") == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_code_of_errno),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_long_messages),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
