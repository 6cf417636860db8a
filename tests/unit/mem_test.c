/* base/mem: byte order, arithmetic at the borders of 64 bits, zero detection, aligned memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void test_byte_order(void **state)
{
	static const uint8_t bytes[9] = { 0x00, 0xF1, 0xE2, 0xD3, 0xC4, 0xB5, 0xA6, 0x97, 0x88 };
	uint8_t out[9] = { 0 };

	(void)state;
	/* From an odd address: nothing may depend on alignment. */
	assert_int_equal(get_le16(bytes + 1), 0xE2F1);
	assert_int_equal(get_le32(bytes + 1), 0xC4D3E2F1);
	assert_true(get_le64(bytes + 1) == 0x8897A6B5C4D3E2F1);
	assert_int_equal(get_be16(bytes + 1), 0xF1E2);
	assert_int_equal(get_be32(bytes + 1), 0xF1E2D3C4);
	assert_true(get_be64(bytes + 1) == 0xF1E2D3C4B5A69788);
	put_le64(out + 1, 0x8897A6B5C4D3E2F1);
	assert_memory_equal(out, bytes, sizeof(bytes));
	put_le32(out + 1, 0x04030201);
	put_le16(out + 5, 0x0605);
	assert_memory_equal(out, "\0\1\2\3\4\5\6\x97\x88", 9);
}

static void test_arithmetic(void **state)
{
	uint64_t out;

	(void)state;
	assert_true(add_u64(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
	assert_false(add_u64(UINT64_MAX, 1, &out));
	assert_true(mul_u64(UINT32_MAX, UINT32_MAX, &out) && out == 0xFFFFFFFE00000001);
	assert_false(mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &out));
	assert_true(mul_u64(UINT64_MAX, 0, &out) && out == 0);
	assert_true(range_inside(0, 0, 0));
	assert_true(range_inside(10, 0, 10));
	assert_true(range_inside(3, 7, 10));
	assert_false(range_inside(3, 8, 10));
	assert_false(range_inside(11, 0, 10));
	assert_false(range_inside(UINT64_MAX, 2, 10));
	assert_false(range_inside(2, UINT64_MAX, 10));
	assert_true(range_inside(1, UINT64_MAX - 1, UINT64_MAX));
	assert_false(is_power_of_two(0));
	assert_true(is_power_of_two(1));
	assert_true(is_power_of_two((uint64_t)1 << 63));
	assert_false(is_power_of_two(6));
	assert_int_equal(align_up(0, 4096), 0);
	assert_int_equal(align_up(1, 4096), 4096);
	assert_int_equal(align_up(4096, 4096), 4096);
	assert_int_equal(align_down(4097, 4096), 4096);
	assert_true(div_up(UINT64_MAX, 2) == (uint64_t)1 << 63);
	assert_int_equal(div_up(0, 7), 0);
	assert_int_equal(div_up(14, 7), 2);
	assert_int_equal(min_u64(1, UINT64_MAX), 1);
	assert_true(max_u64(1, UINT64_MAX) == UINT64_MAX);
}

/* Every length to past two vectors, at every misalignment, with every single byte set. */
static void test_is_zero(void **state)
{
	uint8_t buf[80] = { 0 };

	(void)state;
	for (size_t skew = 0; skew < 8; skew++)
		for (size_t len = 0; len <= 70; len++) {
			memset(buf, 0xFF, sizeof(buf));
			memset(buf + skew, 0, len);
			assert_true(mem_is_zero(buf + skew, len));
			for (size_t i = 0; i < len; i++) {
				buf[skew + i] = 0x80;
				assert_false(mem_is_zero(buf + skew, len));
				buf[skew + i] = 0;
			}
		}
}

static void test_is_zero_large(void **state)
{
	const size_t len = 1 << 20;
	uint8_t *buf = calloc(1, len);

	(void)state;
	assert_non_null(buf);
	assert_true(mem_is_zero(buf, len));
	for (size_t i = 0; i < len; i = i * 2 + 1) {
		buf[i] = 1;
		assert_false(mem_is_zero(buf, len));
		buf[i] = 0;
	}
	buf[len - 1] = 1;
	assert_false(mem_is_zero(buf, len));
	assert_true(mem_is_zero(buf, len - 1));
	free(buf);
}

static void test_alloc_direct(void **state)
{
	static const size_t sizes[] = { 0, 1, 511, 4096, 1048577 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		uint8_t *p = mem_alloc_direct(sizes[i]);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 4096, 0);
		memset(p, 1, sizes[i]);
		free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_byte_order),
		cmocka_unit_test(test_arithmetic),
		cmocka_unit_test(test_is_zero),
		cmocka_unit_test(test_is_zero_large),
		cmocka_unit_test(test_alloc_direct),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
