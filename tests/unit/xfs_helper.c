#include "xfs_helper.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <ext2fs/ext2fs.h>

#include "base/mem.h"
#include "ext_helper.h"

#define CORPUS "tests/corpus/fs"
#define MAX_BLOCK 65536

/* Tests run in the top directory, commands in the scratch directory. */
static const char *corpus_path(const char *file)
{
	static char path[512];
	char top[256];

	assert_non_null(getcwd(top, sizeof(top)));
	snprintf(path, sizeof(path), "%s/" CORPUS "/%s", top, file);
	return path;
}

void xfs_unpack(const char *image, const char *name)
{
	char file[128];

	snprintf(file, sizeof(file), "%s.img.zst", image);
	ext_must("zstd -q -d -f --sparse '%s' -o %s", corpus_path(file), name);
}

static struct map *read_lines(FILE *f, uint64_t size)
{
	struct map *m = map_new_full(size);
	uint64_t off, len;

	assert_non_null(f);
	while (fscanf(f, "%" SCNu64 " %" SCNu64, &off, &len) == 2)
		assert_int_equal(map_set(m, off, len, MAP_FREE, NULL), 0);
	return m;
}

struct map *xfs_listed_map(const char *path, uint64_t size)
{
	FILE *f = fopen(path, "r");
	struct map *m = read_lines(f, size);

	fclose(f);
	return m;
}

struct map *xfs_dumped_map(const char *name, uint64_t size)
{
	char command[700];
	struct map *m;
	FILE *f;

	snprintf(command, sizeof(command), "'%s' '%s'", corpus_path("xfs-free.sh"), ext_path(name));
	f = popen(command, "r");
	m = read_lines(f, size);
	assert_int_equal(pclose(f), 0);
	return m;
}

void xfs_fix_sum(const char *name, uint64_t off, size_t len, size_t at)
{
	uint8_t block[MAX_BLOCK];

	assert_true(len <= sizeof(block));
	ext_peek(name, off, block, len);
	put_le32(block + at, 0);
	put_le32(block + at, ~ext2fs_crc32c_le(~0u, block, len));
	ext_poke(name, off + at, block + at, 4);
}

void xfs_put32(const char *name, uint64_t off, size_t len, size_t at, size_t field, uint32_t value)
{
	uint8_t bytes[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
		(uint8_t)value };

	ext_poke(name, off + field, bytes, 4);
	xfs_fix_sum(name, off, len, at);
}

uint32_t xfs_get32(const char *name, uint64_t off)
{
	uint8_t bytes[4];

	ext_peek(name, off, bytes, 4);
	return get_be32(bytes);
}
