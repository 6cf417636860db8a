/* hash: known values, the tools sha256sum and (when there) xxhsum, and pieces against the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/hash.h"
#include "format_helper.h"

static int setup(void **state)
{
	(void)state;
	format_mkdir();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	format_rmdir();
	return 0;
}

static void hex(const uint8_t *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static void check(enum hash_kind kind, const void *p, size_t len, const char *want)
{
	uint8_t sum[HASH_MAX_BYTES];
	char text[2 * HASH_MAX_BYTES + 1];

	hash_bytes(kind, p, len, sum);
	hex(sum, hash_len(kind), text);
	assert_string_equal(text, want);
}

static void test_known(void **state)
{
	(void)state;
	/* The empty input: the value that the author of XXH3 publishes with the specification. */
	check(HASH_XXH3, "", 0, "99aa06d3014798d86001c324468d497f");
	/* FIPS 180-4 examples. */
	check(HASH_SHA256, "", 0,
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	check(HASH_SHA256, "abc", 3,
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_names(void **state)
{
	(void)state;
	assert_int_equal(hash_len(HASH_XXH3), 16);
	assert_int_equal(hash_len(HASH_SHA256), 32);
	assert_int_equal(hash_len((enum hash_kind)0), 0);
	assert_int_equal(hash_len((enum hash_kind)3), 0);
	assert_string_equal(hash_word(HASH_XXH3), "xxh3-128");
	assert_string_equal(hash_word(HASH_SHA256), "sha256");
}

/* Lengths on both sides of every step inside the algorithms. */
static const size_t lengths[] = { 0, 1, 3, 4, 8, 9, 16, 17, 55, 56, 63, 64, 65, 128, 129, 240, 241,
	1023, 1024, 1025, 4096, 65536, 262144, 1000003 };

static void against_tool(enum hash_kind kind, const char *tool, size_t step)
{
	static uint8_t bytes[1000003];
	uint32_t state = 17;

	format_noise(bytes, sizeof(bytes), &state);
	for (size_t i = 0; i < COUNT_OF(lengths); i += step) {
		uint8_t sum[HASH_MAX_BYTES];
		char text[2 * HASH_MAX_BYTES + 1];

		format_spit(format_path("bytes"), bytes, lengths[i]);
		hash_bytes(kind, bytes, lengths[i], sum);
		hex(sum, hash_len(kind), text);
		assert_int_equal(format_run("test $(%s '%s' | cut -d' ' -f1) = %s", tool,
					 format_path("bytes"), text),
			0);
	}
}

static void test_sha256sum(void **state)
{
	(void)state;
	against_tool(HASH_SHA256, "sha256sum", 1);
}

static void test_xxhsum(void **state)
{
	(void)state;
	if (format_run("command -v xxhsum >/dev/null") != 0)
		skip();
	against_tool(HASH_XXH3, "xxhsum -q -H2", 1);
}

/* Another implementation of XXH3, in Python, made from its description. */
static void test_xxh3_python(void **state)
{
	static const char script[] = "import sys\n"
				     "sys.path.insert(0, 'scripts')\n"
				     "sys.dont_write_bytecode = True\n"
				     "from read_image import xxh3\n"
				     "print(xxh3(open(sys.argv[1], 'rb').read()).hex())\n";
	char tool[300];

	(void)state;
	if (access("scripts/read_image.py", R_OK) != 0)
		skip();
	format_spit(format_path("sum.py"), script, sizeof(script) - 1);
	snprintf(tool, sizeof(tool), "python3 '%s'", format_path("sum.py"));
	against_tool(HASH_XXH3, tool, 4);
}

static void test_running(void **state)
{
	static uint8_t bytes[100000];
	uint32_t rnd = 3;

	(void)state;
	format_noise(bytes, sizeof(bytes), &rnd);
	for (int round = 0; round < 50; round++) {
		struct sha256 *s = sha256_new();
		uint8_t whole[SHA256_BYTES], pieces[SHA256_BYTES];
		size_t at = 0;

		assert_non_null(s);
		while (at < sizeof(bytes)) {
			size_t n = min_u64(format_random(&rnd) % 5000, sizeof(bytes) - at);

			sha256_update(s, bytes + at, n);
			at += n;
		}
		sha256_final(s, pieces);
		sha256_free(s);
		hash_bytes(HASH_SHA256, bytes, sizeof(bytes), whole);
		assert_memory_equal(whole, pieces, sizeof(whole));
	}
	sha256_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_sha256sum),
		cmocka_unit_test(test_xxhsum),
		cmocka_unit_test(test_xxh3_python),
		cmocka_unit_test(test_running),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
