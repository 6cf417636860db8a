/*
 * map: every operation against a naive array with one kind per byte, in random order, with the
 * look-ups, counts, set operations and the encoding checked after each step; then the borders of
 * 64 bits, what decoding must refuse, and the promise that ascending map_set does not slow down.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "map/map.h"

#define NAIVE_MAX 257
#define RUNS_MANY 300000

/* xorshift, so that a failure can be repeated. */
static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void check_invariants(const struct map *m)
{
	uint64_t end = 0;
	enum map_kind kind = MAP_NONE;

	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		assert_true(x.len > 0);
		assert_true(x.off >= end);
		assert_true(x.kind > MAP_NONE && x.kind < MAP_KINDS);
		if (i > 0 && x.off == end)
			assert_int_not_equal(x.kind, kind);
		end = x.off + x.len;
		kind = x.kind;
	}
	assert_true(end <= map_size(m));
}

static void assert_same(struct extent a, struct extent b)
{
	assert_int_equal(a.off, b.off);
	assert_int_equal(a.len, b.len);
	assert_int_equal(a.kind, b.kind);
}

static void check_against(const struct map *m, const uint8_t *naive, size_t size)
{
	uint64_t bytes[MAP_KINDS] = { 0 };
	size_t hint = 0;

	check_invariants(m);
	assert_int_equal(map_size(m), size);
	for (size_t off = 0; off < size; off++) {
		struct extent hinted = map_run(m, off, &hint);
		struct extent plain = map_run(m, off, NULL);
		size_t len = 1;

		while (off + len < size && naive[off + len] == naive[off])
			len++;
		assert_int_equal(plain.kind, naive[off]);
		assert_int_equal(plain.off, off);
		assert_int_equal(plain.len, len);
		assert_same(hinted, plain);
		bytes[naive[off]]++;
	}
	assert_int_equal(map_run(m, size, NULL).len, 0);
	for (int kind = 0; kind < MAP_KINDS; kind++)
		assert_int_equal(map_bytes(m, (enum map_kind)kind), bytes[kind]);
}

static void check_round_trip(const struct map *m)
{
	struct map *back = NULL, *copy = map_copy(m);
	uint8_t *bytes = NULL, *again = NULL;
	size_t len = 0, len_again = 0;
	struct err e = { 0 };

	assert_non_null(copy);
	assert_true(map_equal(m, copy));
	assert_int_equal(map_encode(m, &bytes, &len, &e), 0);
	assert_int_equal(map_decode(bytes, len, &back, &e), 0);
	assert_true(map_equal(m, back));
	assert_int_equal(map_encode(back, &again, &len_again, &e), 0);
	assert_int_equal(len, len_again);
	assert_memory_equal(bytes, again, len);
	free(bytes);
	free(again);
	map_free(back);
	map_free(copy);
}

static void random_set(struct map *m, uint8_t *naive, size_t size, uint32_t *seed)
{
	size_t off = next_random(seed) % (size + 3);
	size_t len = next_random(seed) % (next_random(seed) % 4 ? 9 : size + 3);
	enum map_kind kind = (enum map_kind)(next_random(seed) % MAP_KINDS);
	struct err e = { 0 };

	assert_int_equal(map_set(m, off, len, kind, &e), 0);
	for (size_t i = off; i < off + len && i < size; i++)
		naive[i] = (uint8_t)kind;
}

static void test_set_against_naive(void **state)
{
	uint32_t seed = 20240607;

	(void)state;
	for (int round = 0; round < 60; round++) {
		uint8_t naive[NAIVE_MAX] = { 0 };
		size_t size = round < 5 ? (size_t)round : next_random(&seed) % NAIVE_MAX;
		bool full = round % 2 != 0;
		struct map *m = full ? map_new_full(size) : map_new(size);

		assert_non_null(m);
		memset(naive, full ? MAP_DATA : MAP_NONE, sizeof(naive));
		check_against(m, naive, size);
		for (int step = 0; step < 150; step++) {
			random_set(m, naive, size, &seed);
			check_against(m, naive, size);
		}
		check_round_trip(m);
		map_free(m);
	}
}

/* Far jumps between look-ups, with a hint that is stale or nonsense, give the same answers. */
static void test_run_with_any_hint(void **state)
{
	uint8_t naive[NAIVE_MAX] = { 0 };
	struct map *m = map_new(NAIVE_MAX);
	uint32_t seed = 99;

	(void)state;
	for (int step = 0; step < 120; step++)
		random_set(m, naive, NAIVE_MAX, &seed);
	for (int i = 0; i < 5000; i++) {
		uint64_t off = next_random(&seed) % NAIVE_MAX;
		size_t hint = i % 3 ? next_random(&seed) % (map_count(m) + 3) : SIZE_MAX;
		struct extent plain = map_run(m, off, NULL);
		struct extent hinted = map_run(m, off, &hint);

		assert_int_equal(plain.kind, naive[off]);
		assert_same(hinted, plain);
	}
	map_free(m);
}

static uint8_t naive_union(uint8_t a, uint8_t b)
{
	return a ? a : b;
}

static uint8_t naive_intersect(uint8_t a, uint8_t b)
{
	return b ? a : 0;
}

static uint8_t naive_subtract(uint8_t a, uint8_t b)
{
	return b ? 0 : a;
}

static void test_set_operations(void **state)
{
	static const struct {
		struct map *(*map)(const struct map *, const struct map *);
		uint8_t (*naive)(uint8_t, uint8_t);
	} ops[] = {
		{ map_union, naive_union },
		{ map_intersect, naive_intersect },
		{ map_subtract, naive_subtract },
	};
	uint32_t seed = 4711;

	(void)state;
	for (int round = 0; round < 80; round++) {
		uint8_t na[NAIVE_MAX] = { 0 }, nb[NAIVE_MAX] = { 0 }, want[NAIVE_MAX];
		size_t size = round == 0 ? 0 : next_random(&seed) % NAIVE_MAX;
		struct map *a = map_new(size), *b = map_new(size), *got;

		for (int step = 0; step < 20; step++) {
			random_set(a, na, size, &seed);
			random_set(b, nb, size, &seed);
		}
		for (size_t i = 0; i < COUNT_OF(ops); i++) {
			for (size_t off = 0; off < size; off++)
				want[off] = ops[i].naive(na[off], nb[off]);
			got = ops[i].map(a, b);
			check_against(got, want, size);
			map_free(got);
		}
		for (size_t off = 0; off < size; off++)
			want[off] = na[off] ? MAP_NONE : MAP_ZERO;
		got = map_gaps(a, MAP_ZERO);
		check_against(got, want, size);
		map_free(got);
		map_free(a);
		map_free(b);
	}
}

static void test_equal_sees_every_difference(void **state)
{
	struct map *a = map_new_full(100), *b = map_new_full(100), *other = map_new_full(101);

	(void)state;
	assert_true(map_equal(a, b));
	assert_false(map_equal(a, other));
	map_set(a, 50, 10, MAP_FREE, NULL);
	assert_false(map_equal(a, b));
	map_set(b, 50, 10, MAP_ZERO, NULL);
	assert_false(map_equal(a, b));
	map_set(b, 50, 10, MAP_FREE, NULL);
	assert_true(map_equal(a, b));
	map_set(b, 50, 9, MAP_FREE, NULL);
	map_set(b, 59, 1, MAP_DATA, NULL);
	assert_false(map_equal(a, b));
	map_free(a);
	map_free(b);
	map_free(other);
}

static void test_borders_of_64_bits(void **state)
{
	struct map *m = map_new_full(UINT64_MAX);
	struct extent x;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(map_bytes(m, MAP_DATA), UINT64_MAX);
	check_round_trip(m);
	assert_int_equal(map_set(m, UINT64_MAX - 10, UINT64_MAX, MAP_FREE, &e), 0);
	assert_int_equal(map_bytes(m, MAP_FREE), 10);
	x = map_run(m, UINT64_MAX - 1, NULL);
	assert_int_equal(x.len, 1);
	assert_int_equal(x.kind, MAP_FREE);
	assert_int_equal(map_run(m, UINT64_MAX, NULL).len, 0);
	check_round_trip(m);
	for (unsigned shift = 0; shift < 64; shift++) {
		assert_int_equal(map_set(m, (uint64_t)1 << shift, 1, MAP_BAD, &e), 0);
		check_invariants(m);
		check_round_trip(m);
	}
	map_free(m);
}

static void test_wrong_kind_is_refused(void **state)
{
	struct map *m = map_new_full(10);
	struct err e = { 0 };

	(void)state;
	assert_int_equal(map_set(m, 0, 10, (enum map_kind)MAP_KINDS, &e), -ERR_USAGE);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(map_bytes(m, MAP_DATA), 10);
	map_free(m);
}

/* The bytes themselves, worked out by hand from the text in map.h. */
static void test_encoding_by_hand(void **state)
{
	static const uint8_t want[] = { 0x2c, 1, 0, 0, 0, 0, 0, 0, /* size 300 */
		10 << 3 | MAP_DATA,				   /* 10 bytes of data: 81 */
		/* 200 free bytes: 200 * 8 + 3 = 1603 = 0b1100_1000011 */
		0xc3, 0x0c,
		/* a gap of 90: 720 = 0b101_1010000 */
		0xd0, 0x05 };
	struct map *m = map_new(300);
	uint8_t *bytes;
	size_t len;

	(void)state;
	map_set(m, 0, 10, MAP_DATA, NULL);
	map_set(m, 10, 200, MAP_FREE, NULL);
	assert_int_equal(map_encode(m, &bytes, &len, NULL), 0);
	assert_int_equal(len, sizeof(want));
	assert_memory_equal(bytes, want, sizeof(want));
	free(bytes);
	map_free(m);
}

struct refusal {
	const char *word; /* that the message must hold */
	size_t len;
	uint8_t runs[16];
};

static void test_decoding_refuses(void **state)
{
	/* Size 5 in all of them; 5 bytes of data are 0x29. */
	static const struct refusal cases[] = {
		{ "end before", 0, { 0 } },
		{ "end before", 1, { 4 << 3 | 1 } },
		{ "past the size", 1, { 6 << 3 | 1 } },
		{ "past the size", 2, { 5 << 3 | 1, 1 << 3 | 2 } },
		{ "length 0", 2, { 0 << 3 | 1, 5 << 3 | 2 } },
		{ "length 0", 2, { 5 << 3 | 1, 0 } },
		{ "touch", 2, { 2 << 3 | 1, 3 << 3 | 1 } },
		{ "touch", 2, { 2 << 3, 3 << 3 } },
		{ "unknown kind", 1, { 5 << 3 | 5 } },
		{ "unknown kind", 1, { 5 << 3 | 7 } },
		{ "shortest", 2, { 0x80 | 5 << 3 | 1, 0 } },
		{ "shortest", 3, { 0x80 | 5 << 3 | 1, 0x80, 0 } },
		{ "cut short", 1, { 0x80 | 5 << 3 | 1 } },
		{ "64 bits", 10, { 0xa9, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10 } },
		{ "bytes", 11, { 0xa9, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1 } },
		{ "past the size", 10,
			{ 0xa9, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x0f } },
	};
	static const uint8_t good[] = { 5, 0, 0, 0, 0, 0, 0, 0, 5 << 3 | 1 };
	struct map *m = NULL;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint8_t bytes[8 + 16] = { 5 };

		memcpy(bytes + 8, cases[i].runs, cases[i].len);
		memset(&e, 0, sizeof(e));
		assert_int_equal(map_decode(bytes, 8 + cases[i].len, &m, &e), -ERR_FORMAT);
		assert_int_equal(e.code, ERR_FORMAT);
		if (!strstr(e.msg, cases[i].word))
			fail_msg("case %zu: \"%s\" lacks \"%s\"", i, e.msg, cases[i].word);
	}
	for (size_t len = 0; len < sizeof(good); len++)
		assert_int_equal(map_decode(good, len, &m, &e), -ERR_FORMAT);
	assert_int_equal(map_decode(good, sizeof(good), &m, &e), 0);
	assert_int_equal(map_bytes(m, MAP_DATA), 5);
	map_free(m);
}

/* Random bytes: refused, or exactly what map_encode writes. */
static void test_decoding_random_bytes(void **state)
{
	uint32_t seed = 31337;
	int accepted = 0;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		uint8_t bytes[14] = { 0 }, *again;
		size_t len = 8 + next_random(&seed) % 6, len_again;
		struct map *m = NULL;

		bytes[0] = next_random(&seed) % 32;
		for (size_t k = 8; k < len; k++)
			bytes[k] = (uint8_t)next_random(&seed) & (i % 2 ? 0xff : 0x3f);
		if (map_decode(bytes, len, &m, NULL) < 0)
			continue;
		accepted++;
		check_invariants(m);
		assert_int_equal(map_encode(m, &again, &len_again, NULL), 0);
		assert_int_equal(len_again, len);
		assert_memory_equal(again, bytes, len);
		free(again);
		map_free(m);
	}
	assert_true(accepted > 100);
}

static double seconds_of(void (*work)(struct map *), struct map *m)
{
	clock_t start = clock();

	work(m);
	return (double)(clock() - start) / CLOCKS_PER_SEC;
}

static void free_every_second(struct map *m)
{
	for (uint64_t i = 0; i < RUNS_MANY; i++)
		assert_int_equal(map_set(m, i * 8192, 4096, MAP_FREE, NULL), 0);
}

static void zero_in_the_used(struct map *m)
{
	for (uint64_t i = 0; i < RUNS_MANY; i++)
		assert_int_equal(map_set(m, i * 8192 + 5000, 512, MAP_ZERO, NULL), 0);
}

static void look_up_all(struct map *m)
{
	size_t hint = 0;

	for (uint64_t off = 0; off < map_size(m);) {
		struct extent x = map_run(m, off, &hint);

		assert_true(x.len > 0);
		off += x.len;
	}
}

/*
 * A plain vector needs minutes for the second sweep, this takes hundredths of a second; the bound
 * leaves room for sanitizers and slow machines.
 */
static void test_ascending_is_fast(void **state)
{
	struct map *m = map_new_full((uint64_t)RUNS_MANY * 8192);

	(void)state;
	assert_true(seconds_of(free_every_second, m) < 5);
	assert_int_equal(map_count(m), 2 * RUNS_MANY);
	assert_true(seconds_of(zero_in_the_used, m) < 5);
	assert_int_equal(map_count(m), 4 * RUNS_MANY);
	assert_int_equal(map_bytes(m, MAP_ZERO), (uint64_t)RUNS_MANY * 512);
	assert_true(seconds_of(look_up_all, m) < 5);
	check_invariants(m);
	map_free(m);
}

static void test_words(void **state)
{
	(void)state;
	assert_string_equal(map_kind_word(MAP_NONE), "none");
	assert_string_equal(map_kind_word(MAP_DATA), "data");
	assert_string_equal(map_kind_word(MAP_ZERO), "zero");
	assert_string_equal(map_kind_word(MAP_FREE), "free");
	assert_string_equal(map_kind_word(MAP_BAD), "bad");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_against_naive),
		cmocka_unit_test(test_run_with_any_hint),
		cmocka_unit_test(test_set_operations),
		cmocka_unit_test(test_equal_sees_every_difference),
		cmocka_unit_test(test_borders_of_64_bits),
		cmocka_unit_test(test_wrong_kind_is_refused),
		cmocka_unit_test(test_encoding_by_hand),
		cmocka_unit_test(test_decoding_refuses),
		cmocka_unit_test(test_decoding_random_bytes),
		cmocka_unit_test(test_ascending_is_fast),
		cmocka_unit_test(test_words),
	};

	map_free(NULL);
	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
