/*
 * The golden images: each stays readable for ever, gives the bytes that it was made of, and is what
 * this program would make again.
 *
 * The sources are made here, by arithmetic that must never change. A new image is added by a row in
 * `golden`, and by running this program with GOLDEN_WRITE=1 in the environment, which writes the
 * images that do not exist yet, and no other.
 *
 * Equal bytes are asked only of the zstd library that the images were made with: another version
 * may compress in another way. Then the image made now is compared by what it holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zstd.h>

#include "base/mem.h"
#include "format_helper.h"

#define ZSTD_OF_IMAGES 10504
#define FOLDER "tests/golden"

static const struct {
	const char *name;
	uint64_t size;
	uint32_t block;
	uint64_t chunk;
	enum hash_kind hash;
	int level;
	const char *root; /* the root hash */
} golden[] = {
	{ "v2.0-mixed.img.zst", 45 * 4096 + 1000, 4096, 16 * 4096, HASH_XXH3, 3,
		"8ad1edd87f2581f50313fd1baa8d49d076aa673a42c5e09f000e45618a28e5cd" },
	{ "v2.0-sha256.img.zst", 9 * 65536 + 512, 65536, 4 * 65536, HASH_SHA256, 1,
		"faae3ece97c78afd50fac18e1c7fd0cce724c853037e137fb13c7977d02a5e8d" },
	{ "v2.0-empty.img.zst", 0, 262144, (uint64_t)512 << 20, HASH_XXH3, 3,
		"a6d1b71f7ffd855200a9e5660e7dc0fb3beab72c3c696eba3016c83d9d6afcd1" },
};

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

/* Blocks in turn: two of data, zero, data, free, free, bad, and so on. */
static const uint8_t pattern[] = { ENTRY_DATA, ENTRY_DATA, ENTRY_ZERO, ENTRY_DATA, ENTRY_FREE,
	ENTRY_FREE, ENTRY_BAD };

static uint64_t block_len(const struct format_source *s, uint64_t n)
{
	return min_u64(s->head.block_bytes, s->head.source_bytes - n * s->head.block_bytes);
}

static void fill(struct format_source *s)
{
	for (uint32_t n = 0; n < s->blocks; n++) {
		const uint64_t off = (uint64_t)n * s->head.block_bytes, len = block_len(s, n);

		s->kinds[n] = pattern[n % sizeof(pattern)];
		memset(s->bytes + off, 0, len);
		for (uint64_t i = 0; s->kinds[n] == ENTRY_DATA && i < len; i++)
			s->bytes[off + i] =
				(uint8_t)(i % 32 < 26 ? 'a' + i % 32
						      : '0' + i / 32 * (n + 3) % 97 % 10);
		if (s->kinds[n] == ENTRY_BAD)
			s->bad[s->bad_count++] = (struct bad_range){ off, len };
		/* Block 8 of each 14 has a sector that could not be read. */
		if (n % 14 == 8 && len >= 1024) {
			memset(s->bytes + off + 512, 0, 512);
			s->bad[s->bad_count++] = (struct bad_range){ off + 512, 512 };
		}
	}
}

static void make_source(struct format_source *s, size_t i)
{
	static const char text[] =
		"{\"tool\":\"imgtool 0.1.0\",\"created\":\"2026-01-02T03:04:05Z\","
		"\"host\":\"golden\",\"source\":{\"path\":\"/dev/golden\"}}";

	format_source_plain(s, golden[i].size, golden[i].block, golden[i].chunk, ENTRY_ZERO);
	s->level = golden[i].level;
	s->head.hash = golden[i].hash;
	s->head.logical_bytes = 512;
	s->head.physical_bytes = 4096;
	s->head.created_s = 1767323045;
	s->head.text = text;
	s->head.text_len = sizeof(text) - 1;
	for (size_t k = 0; k < 16; k++) {
		s->head.uuid[k] = (uint8_t)(0x10 * i + k);
		s->head.map_digest[k] = (uint8_t)(0xF0 - k);
	}
	s->head.uuid[6] = 0x40;
	s->head.uuid[8] = 0x80;
	fill(s);
}

static const char *golden_path(size_t i)
{
	static char path[256];

	snprintf(path, sizeof(path), FOLDER "/%s", golden[i].name);
	return path;
}

/* What the image holds, through the device, block by block: bad ones fail, others are equal. */
static void check_content(struct image *image, const struct format_source *s)
{
	uint8_t *p = malloc(s->head.block_bytes);
	struct dev *d;
	struct err e;

	assert_fine(image_dev(image, 0, &d, &e), &e);
	assert_int_equal(dev_size(d), s->head.source_bytes);
	for (uint32_t n = 0; n < s->blocks; n++) {
		uint64_t off = (uint64_t)n * s->head.block_bytes, len = block_len(s, n);
		bool bad = s->kinds[n] == ENTRY_BAD || (n % 14 == 8 && len >= 1024);

		if (bad) {
			assert_error(dev_read(d, off, p, len, &e), ERR_SOURCE, &e,
				"could not be read");
			continue;
		}
		assert_fine(dev_read(d, off, p, len, &e), &e);
		assert_memory_equal(p, s->bytes + off, len);
	}
	dev_close(d);
	free(p);
}

static void check_golden(size_t i)
{
	struct format_source s;
	struct image *image;
	struct dev *file;
	struct err e;
	char root[2 * SHA256_BYTES + 1];

	make_source(&s, i);
	file = format_open(golden_path(i), 0);
	assert_fine(image_open(file, &image, &e), &e);
	assert_fine(image_check_root(image, &e), &e);
	for (size_t k = 0; k < SHA256_BYTES; k++)
		snprintf(root + 2 * k, 3, "%02x", image_facts(image)->tail.root[k]);
	assert_string_equal(root, golden[i].root);
	assert_memory_equal(image_facts(image)->head.uuid, s.head.uuid, 16);
	assert_int_equal(image_facts(image)->tail.bad_range_bytes >= s.bad_count * 512, 1);
	check_content(image, &s);
	image_close(image);
	dev_close(file);

	format_spit(format_path("source"), s.bytes, s.head.source_bytes);
	assert_int_equal(format_run("zstd -dcq '%s' | cmp - '%s'", golden_path(i),
				 format_path("source")),
		0);
	format_write(&s, format_path("again"), NULL);
	if (ZSTD_versionNumber() == ZSTD_OF_IMAGES)
		assert_int_equal(format_run("cmp '%s' '%s'", golden_path(i), format_path("again")),
			0);
	assert_int_equal(format_run("zstd -dcq '%s' | cmp - '%s'", format_path("again"),
				 format_path("source")),
		0);
	format_source_fini(&s);
}

static void test_golden(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(golden); i++) {
		if (getenv("GOLDEN_WRITE") != NULL && access(golden_path(i), F_OK) != 0) {
			struct format_source s;

			make_source(&s, i);
			format_write(&s, golden_path(i), NULL);
			format_source_fini(&s);
		}
		check_golden(i);
	}
	if (ZSTD_versionNumber() != ZSTD_OF_IMAGES)
		print_message("# another zstd: the bytes were not compared\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
