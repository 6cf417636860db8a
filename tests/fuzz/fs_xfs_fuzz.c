/*
 * fs_xfs on any bytes: no crash, no hang, bounded memory; and what it takes must be a map that
 * keeps its promises: it covers the device, headers of groups, the log and everything behind the
 * file system are data, and free runs are whole blocks inside it.
 *
 * The input: volume_pieces.h. Seeds are made by tests/fuzz/fs_xfs_seeds.sh.
 *
 * Checksums are made to fit where a known magic number begins a sector, so that changes get past
 * them; a record of the log is given none, as mkfs does.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <ext2fs/ext2fs.h>

#include "base/mem.h"
#include "fs/fs_ops.h"
#include "fuzz/volume_pieces.h"

#define MAX_BYTES ((uint64_t)24 * MIB)
#define BLOCK_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Length and place of the checksum of what begins with this number; false: nothing known. */
static bool sum_of(uint32_t magic, uint32_t block, uint32_t sector, size_t *len, size_t *at)
{
	*len = sector;
	switch (magic) {
	case 0x58465342: /* superblock */
		*at = 0xe0;
		return true;
	case 0x58414746: /* AGF */
		*at = 0xd8;
		return true;
	case 0x5841464c: /* AGFL */
		*at = 0x20;
		return true;
	case 0xfeedbabe:
		*len = 512;
		*at = 0x20;
		return true;
	case 0x41423342: /* trees */
	case 0x41423343:
		*len = block;
		*at = 0x34;
		return true;
	default:
		return false;
	}
}

static void fix_sum(struct dev *d, uint64_t off, uint32_t block, uint32_t sector)
{
	uint8_t p[BLOCK_MAX];
	uint32_t crc = 0;
	size_t len, at;

	must(dev_read(d, off, p, 512, NULL) == 0);
	if (!sum_of(get_be32(p), block, sector, &len, &at) || !range_inside(off, len, dev_size(d)))
		return;
	must(dev_read(d, off, p, len, NULL) == 0);
	put_le32(p + at, 0);
	if (get_be32(p) != 0xfeedbabe)
		crc = ~ext2fs_crc32c_le(~0u, p, len);
	put_le32(p + at, crc);
	must(dev_write(d, off, p, len, NULL) == 0);
}

static uint32_t power_of_two(uint32_t v, uint32_t otherwise)
{
	return is_power_of_two(v) && v >= 512 && v <= BLOCK_MAX ? v : otherwise;
}

static void fix_sums(struct dev *d, const uint8_t *data, size_t size)
{
	uint8_t super[512];
	uint32_t block, sector;

	must(dev_read(d, 0, super, sizeof(super), NULL) == 0);
	block = power_of_two(get_be32(super + 4), 4096);
	sector = power_of_two(get_be16(super + 0x66), 512);
	for (size_t at = 2; at + 5 <= size;) {
		uint64_t off = (uint64_t)get_le16(data + at) * 512;
		size_t count = (size_t)data[at + 2] + 1;

		if (data[at + 3] == 0)
			for (size_t i = 0; i < count; i++)
				if (range_inside(off + i * 512, 512, dev_size(d)))
					fix_sum(d, off + i * 512, block, sector);
		at += 4 + (data[at + 3] == 0 ? count * 512 : 1);
	}
}

static void check_map(struct dev *d, const struct map *m, const struct fs_report *r)
{
	uint8_t super[512];
	uint64_t block, end, ag_bytes, groups;

	must(dev_read(d, 0, super, sizeof(super), NULL) == 0);
	block = get_be32(super + 4);
	end = get_be64(super + 8) * block;
	ag_bytes = get_be32(super + 0x54) * block;
	groups = get_be32(super + 0x58);
	must(end <= dev_size(d) && r->block_bytes == block);
	must(map_bytes(m, MAP_DATA) + map_bytes(m, MAP_FREE) == dev_size(d));
	for (uint64_t i = 0; i < groups; i++) {
		struct extent x = map_run(m, i * ag_bytes, NULL);

		must(x.kind == MAP_DATA && x.len >= 4 * (uint64_t)get_be16(super + 0x66));
	}
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE)
			must(x.off % block == 0 && x.len % block == 0 && x.off + x.len <= end);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_report r = { 0 };
	struct dev *d;
	struct map *m;

	if (size < 2 || get_le16(data) == 0)
		return 0;
	d = volume_of(data, size, MAX_BYTES);
	fix_sums(d, data, size);
	m = map_by_row(&fs_xfs, d, &r);
	if (m != NULL)
		check_map(d, m, &r);
	map_free(m);
	dev_close(d);
	return 0;
}
