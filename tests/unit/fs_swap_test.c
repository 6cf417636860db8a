/* Swap areas made by mkswap: the header stays, the pages are free, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ext_helper.h"

#define HEADER (64 * KIB) /* kept for every page size */

static void make(unsigned page, const char *size)
{
	ext_must("rm -f swap && truncate -s %s swap && chmod 600 swap && "
		 "mkswap -q -p %u -L swaplabel -U 01234567-89ab-cdef-0123-456789abcdef swap",
		size, page);
}

static void test_pages_are_free(void **state)
{
	static const unsigned pages[] = { 4096, 8192, 16384, 65536 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(pages); i++) {
		struct fs_report r;
		struct map *m;

		make(pages[i], "8M");
		m = ext_map_of("swap", &r);
		if (!r.used_only)
			fail_msg("page of %u bytes: %s", pages[i], r.reason);
		assert_string_equal(r.type, "swap");
		assert_string_equal(r.label, "swaplabel");
		assert_string_equal(r.uuid, "01234567-89ab-cdef-0123-456789abcdef");
		assert_int_equal(r.block_bytes, pages[i]);
		assert_int_equal(map_count(m), 2);
		assert_int_equal(map_at(m, 0).len, HEADER);
		assert_int_equal(map_at(m, 0).kind, MAP_DATA);
		assert_int_equal(map_at(m, 1).kind, MAP_FREE);
		map_free(m);
	}
}

/* The restored area can be used again: blkid and swaplabel, and the kernel's own checks, see the
 * header alone. */
static void test_restored_header(void **state)
{
	struct fs_report r;
	struct map *m;
	struct dev *d;

	(void)state;
	make(4096, "8M");
	d = ext_open("swap");
	m = ext_map_dev(d, &r);
	ext_restore(d, m, "copy");
	dev_close(d);
	map_free(m);
	ext_must("cmp -n 65536 swap copy && swaplabel copy | grep swaplabel && "
		 "[ $(blkid -p -s TYPE -o value copy) = swap ]");
}

/* R3: what lies behind the last page is not swap's, and so it is data. */
static void test_tail_is_data(void **state)
{
	struct fs_report r;
	struct map *m;
	struct extent last;

	(void)state;
	make(4096, "8M");
	ext_must("head -c 1000000 /dev/urandom >>swap");
	m = ext_map_of("swap", &r);
	assert_true(r.used_only);
	last = map_at(m, map_count(m) - 1);
	assert_int_equal(last.kind, MAP_DATA);
	assert_int_equal(last.off, 8 * MIB);
	assert_int_equal(last.len, 1000000);
	map_free(m);
}

static void test_hibernated_is_refused(void **state)
{
	static const char *const signatures[] = { "S1SUSPEND\0", "S2SUSPEND\0", "ULSUSPEND\0",
		"LINHIB0001" };
	struct fs_report r;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(signatures); i++) {
		make(4096, "8M");
		ext_poke("swap", 4096 - 10, signatures[i], 10);
		map_free(ext_map_of("swap", &r));
		assert_string_equal(r.type, "swsuspend");
		assert_string_equal(r.reason, "swap that holds a hibernated system");
	}
}

static void test_odd_headers_are_refused(void **state)
{
	uint8_t word[4];

	(void)state;
	make(4096, "8M");
	put_le32(word, 2048); /* the last page is 2047 */
	ext_poke("swap", 1028, word, 4);
	ext_assert_refused("swap", "lies past the end");
	put_le32(word, UINT32_MAX);
	ext_poke("swap", 1028, word, 4);
	ext_assert_refused("swap", "lies past the end");
	make(4096, "8M");
	ext_must("truncate -s 8388607 swap");
	ext_assert_refused("swap", "lies past the end");
	/* The other byte order, and the style of 1998. */
	make(4096, "8M");
	ext_poke("swap", 1024, (uint8_t[4]){ 0, 0, 0, 1 }, 4);
	ext_poke("swap", 1028, (uint8_t[4]){ 0, 0, 7, 0xff }, 4);
	ext_assert_refused("swap", "version is");
	make(4096, "8M");
	ext_poke("swap", 4096 - 10, "SWAP-SPACE", 10);
	ext_assert_refused("swap", "");
}

/* An area smaller than the header that is always kept. */
static void test_small_area(void **state)
{
	struct fs_report r;
	struct map *m;

	(void)state;
	make(4096, "40K");
	m = ext_map_of("swap", &r);
	assert_true(r.used_only);
	assert_int_equal(map_bytes(m, MAP_DATA), 40 * KIB);
	map_free(m);
}

static int setup(void **state)
{
	static const char *const tools[] = { "mkswap", "swaplabel", "blkid", NULL };

	(void)state;
	ext_setup(tools);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_are_free),
		cmocka_unit_test(test_restored_header),
		cmocka_unit_test(test_tail_is_data),
		cmocka_unit_test(test_hibernated_is_refused),
		cmocka_unit_test(test_odd_headers_are_refused),
		cmocka_unit_test(test_small_area),
	};

	return cmocka_run_group_tests_name("fs_swap", tests, setup, NULL);
}
