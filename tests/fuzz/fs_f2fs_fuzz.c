/*
 * fs_f2fs on any bytes: no crash, no hang, bounded memory; and what it takes must be a map that
 * keeps its promises: everything in front of the main area and behind it is data, and free runs
 * are whole blocks inside it.
 *
 * The input is as in volume_pieces.h; seeds are made by tests/fuzz/fs_f2fs_seeds.sh. The checksums
 * of the checkpoints are made right after a change, so that it gets past them; half of the time
 * (when the input ends with an odd byte) they are left.
 */
#include "fs/fs_f2fs_int.h"
#include "fuzz/volume_pieces.h"

#define MAX_BYTES ((uint64_t)128 * MIB)
#define SUPER 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A block of a checkpoint, if it is one; returns how many blocks its pack says it has. */
static uint32_t fix_block(struct dev *d, uint64_t block)
{
	uint8_t b[F2FS_BLOCK_BYTES];
	uint32_t at, crc;

	if (!range_inside(block * sizeof(b), sizeof(b), dev_size(d)))
		return 0;
	must(dev_read(d, block * sizeof(b), b, sizeof(b), NULL) == 0);
	at = get_le32(b + 0xa4);
	if (at > sizeof(b) - 4)
		return 0;
	crc = fs_f2fs_crc(F2FS_MAGIC, b, at);
	crc = fs_f2fs_crc(crc, b + at + 4, sizeof(b) - at - 4);
	put_le32(b + at, crc);
	must(dev_write(d, block * sizeof(b), b, sizeof(b), NULL) == 0);
	return get_le32(b + 0x88);
}

static void fix_packs(struct dev *d)
{
	uint8_t super[SUPER];
	uint64_t first;

	if (dev_size(d) < 2 * F2FS_BLOCK_BYTES)
		return;
	must(dev_read(d, SUPER, super, sizeof(super), NULL) == 0);
	first = get_le32(super + 76);
	for (unsigned pack = 0; pack < 2; pack++, first += F2FS_SEGMENT_BLOCKS) {
		uint32_t blocks = fix_block(d, first);

		if (blocks > 1 && blocks <= F2FS_SEGMENT_BLOCKS)
			fix_block(d, first + blocks - 1);
	}
}

static void check_map(struct dev *d, const struct map *m, const struct fs_report *r)
{
	uint8_t super[SUPER];
	uint64_t first, end;

	must(dev_read(d, SUPER, super, sizeof(super), NULL) == 0);
	first = get_le32(super + 92);
	end = first + (uint64_t)get_le32(super + 68) * F2FS_SEGMENT_BLOCKS;
	must(r->block_bytes == F2FS_BLOCK_BYTES);
	must(end * F2FS_BLOCK_BYTES <= dev_size(d));
	must(map_run(m, 0, NULL).kind == MAP_DATA);
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE)
			must(x.off % F2FS_BLOCK_BYTES == 0 && x.len % F2FS_BLOCK_BYTES == 0 &&
				x.off >= first * F2FS_BLOCK_BYTES &&
				x.off + x.len <= end * F2FS_BLOCK_BYTES);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_report r = { 0 };
	struct dev *d = volume_of(data, size, MAX_BYTES);
	struct map *m;

	if (d && data[size - 1] % 2 == 0)
		fix_packs(d);
	m = d ? map_by_row(&fs_f2fs, d, &r) : NULL;
	if (m)
		check_map(d, m, &r);
	map_free(m);
	dev_close(d);
	return 0;
}
