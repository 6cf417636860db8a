#include "btrfs_helper.h"

#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <ext2fs/ext2fs.h>

#include "base/mem.h"
#include "fs/fs_ops.h"

#define SUPER 65536
#define SUPER_BYTES 4096
#define HEADER 0x65

static char script[PATH_MAX];

void btrfs_setup(void)
{
	assert_non_null(realpath("tests/corpus/fs/btrfs_map.py", script));
	ext_make_tree("tree", 1024);
}

void btrfs_make(const char *name, const char *size, const char *options)
{
	ext_must("rm -f %s && truncate -s %s %s && mkfs.btrfs -q --rootdir tree %s %s", name, size,
		name, options, name);
}

struct map *btrfs_dumped_map(const char *name)
{
	uint64_t off, len;
	struct stat st;
	struct map *m;
	FILE *f;

	assert_int_equal(stat(ext_path(name), &st), 0);
	m = map_new_full((uint64_t)st.st_size);
	assert_non_null(m);
	ext_must("python3 %s %s >dumped", script, name);
	f = fopen(ext_path("dumped"), "r");
	assert_non_null(f);
	while (fscanf(f, "%" SCNu64 " %" SCNu64, &off, &len) == 2)
		assert_int_equal(map_set(m, off, len, MAP_FREE, NULL), 0);
	fclose(f);
	return m;
}

void btrfs_open(struct btrfs_volume *v, const char *name)
{
	FILE *f = fopen(ext_path(name), "rb");
	struct stat st;

	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	v->len = (size_t)st.st_size;
	v->bytes = malloc(v->len);
	assert_non_null(v->bytes);
	assert_int_equal(fread(v->bytes, 1, v->len, f), v->len);
	fclose(f);
	v->node_bytes = get_le32(v->bytes + SUPER + 0x94);
	v->csum_type = get_le16(v->bytes + SUPER + 0xc4);
	assert_int_equal(dev_open_mem(v->bytes, v->len, &v->dev, NULL), 0);
}

void btrfs_close(struct btrfs_volume *v)
{
	dev_close(v->dev);
	free(v->bytes);
}

/* mkfs leaves older blocks of each tree behind; those of the newest generation are in use. */
uint64_t btrfs_block(const struct btrfs_volume *v, uint64_t owner, unsigned level)
{
	const uint8_t *fsid = v->bytes + SUPER + 0x20;
	uint64_t best = 0, generation = 0;

	for (uint64_t at = MIB; at + v->node_bytes <= v->len; at += 4096) {
		const uint8_t *b = v->bytes + at;

		if (memcmp(b + 0x20, fsid, 16) == 0 && get_le64(b + 0x58) == owner &&
			b[0x64] == level && memcmp(b + 0x40, "_BHRfS_M", 8) != 0 &&
			get_le64(b + 0x50) >= generation) {
			generation = get_le64(b + 0x50);
			best = at;
		}
	}
	if (best == 0)
		fail_msg("no block of tree %" PRIu64 " on level %u", owner, level);
	return best;
}

size_t btrfs_item(const uint8_t *leaf, uint8_t type, unsigned i, size_t *head)
{
	uint32_t count = get_le32(leaf + 0x60);

	for (uint32_t k = 0; k < count; k++) {
		size_t at = HEADER + (size_t)k * 25;

		if (leaf[at + 8] != type || i-- > 0)
			continue;
		if (head != NULL)
			*head = at;
		return HEADER + get_le32(leaf + at + 17);
	}
	fail_msg("no item of type %u in the leaf", type);
	return 0;
}

void btrfs_put(struct btrfs_volume *v, uint64_t at, uint8_t *block, size_t len, bool fix)
{
	if (fix) {
		assert_int_equal(v->csum_type, 0);
		put_le32(block, ~ext2fs_crc32c_le(UINT32_MAX, block + 32, len - 32));
	}
	assert_int_equal(dev_write(v->dev, at, block, len, NULL), 0);
}

void btrfs_undo(struct btrfs_volume *v, uint64_t at, size_t len)
{
	assert_int_equal(dev_write(v->dev, at, v->bytes + at, len, NULL), 0);
}

struct map *btrfs_map(struct btrfs_volume *v, struct fs_report *r, struct err *e)
{
	struct map *m = map_new_full(v->len);
	int rc;

	assert_non_null(m);
	memset(r, 0, sizeof(*r));
	memset(e, 0, sizeof(*e));
	rc = fs_btrfs.map(v->dev, m, r, e);
	if (rc == 0)
		return m;
	assert_int_equal(rc, -e->code);
	assert_string_not_equal(e->msg, "");
	map_free(m);
	return NULL;
}
