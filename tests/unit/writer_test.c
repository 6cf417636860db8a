/*
 * writer: images of sources with every kind of block, read back by our reader, by the stock zstd, and
 * byte by byte: the same blocks give the same file however they are handed over.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/block.h"
#include "device/dev_fault.h"
#include "format/spool.h"
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

static void spit_source(const struct format_source *s, const char *name)
{
	format_spit(format_path(name), s->bytes, s->head.source_bytes);
}

/* Two others must agree: `zstd -t`, and `zstd -dc` with the source. */
static void check_zstd(const struct format_source *s, const char *name)
{
	spit_source(s, "source");
	assert_int_equal(format_run("zstd -tq '%s'", format_path(name)), 0);
	assert_int_equal(format_run("zstd -dcq '%s' | cmp - '%s'", format_path(name),
				 format_path("source")),
		0);
}

/* Every kind, hash and shape; read back by our reader too. */
static void check_image(const struct format_source *s, const char *name, const uint8_t *root)
{
	struct dev *file = format_open(format_path(name), 0), *dev;
	uint8_t *bytes = malloc(s->head.source_bytes + 1);
	uint64_t want[ENTRY_KINDS] = { 0 }, bad = 0;
	const struct image_facts *f;
	struct image *i;
	struct err e;

	assert_fine(image_open(file, &i, &e), &e);
	f = image_facts(i);
	assert_memory_equal(f->tail.root, root, SHA256_BYTES);
	for (uint32_t n = 0; n < s->blocks; n++)
		want[s->kinds[n]] += min_u64(s->head.block_bytes,
			s->head.source_bytes - (uint64_t)n * s->head.block_bytes);
	assert_memory_equal(f->tail.kind_bytes, want, sizeof(want));
	for (size_t n = 0; n < s->bad_count; n++)
		bad += s->bad[n].len;
	assert_int_equal(f->tail.bad_range_bytes, bad);
	assert_fine(image_check_root(i, &e), &e);
	assert_fine(image_dev(i, 0, &dev, &e), &e);
	assert_int_equal(dev_size(dev), s->head.source_bytes);
	if (s->bad_count == 0 && s->head.source_bytes > 0) {
		assert_fine(dev_read(dev, 0, bytes, s->head.source_bytes, &e), &e);
		assert_memory_equal(bytes, s->bytes, s->head.source_bytes);
	}
	dev_close(dev);
	image_close(i);
	dev_close(file);
	free(bytes);
}

static void test_shapes(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t block;
		uint64_t chunk;
	} shapes[] = {
		{ 0, 4096, 4096 },
		{ 1, 4096, 4096 },
		{ 4096, 4096, 4096 },
		{ 4097, 4096, 4096 },
		{ 100 * 4096, 4096, 8 * 4096 },
		{ 100 * 4096 + 777, 4096, 8 * 4096 },
		{ 100 * 4096 + 777, 4096, 4096 },
		{ 64 * 4096, 4096, 64 * 4096 },
		{ 3000000, 65536, 7 * 65536 },
		{ 5000000, 1 << 20, 2 << 20 },
		{ 20000000, 16 << 20, 16 << 20 },
		{ 700000, 256 << 10, 512 << 20 },
	};
	uint8_t root[SHA256_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		for (int hash = HASH_XXH3; hash <= HASH_SHA256; hash++) {
			struct format_source s;

			format_source_init(&s, shapes[i].size, shapes[i].block, shapes[i].chunk,
				(uint32_t)i + 1);
			s.head.hash = (enum hash_kind)hash;
			format_write(&s, format_path("image"), root);
			check_zstd(&s, "image");
			check_image(&s, "image", root);
			format_source_fini(&s);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
