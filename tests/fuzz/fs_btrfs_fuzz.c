/*
 * fs_btrfs on any bytes: no crash, no hang, bounded memory; and what it takes must be a map that
 * keeps its promises: it covers the device, the first MiB, the superblocks and everything behind
 * the file system are data, and free runs are whole sectors inside it.
 *
 * The input is a volume without its empty parts, in the same form as for fs_ntfs_fuzz: 2 bytes (LE)
 * device size in units of 4 KiB; then pieces: 2 bytes first sector, 1 byte count - 1, 1 byte kind
 * (0: count sectors of 512 bytes follow; 1: one byte follows that fills them). Seeds are made by
 * tests/fuzz/fs_btrfs_seeds.sh.
 *
 * Everything in Btrfs has a checksum. So those of the superblock and of what looks like a tree
 * block are made right first, or no change would get past them; unless the size is odd.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <ext2fs/ext2fs.h>

#include "base/mem.h"
#include "fs/fs_ops.h"

#define MAX_BYTES ((uint64_t)64 * MIB)
#define PLACED_BYTES ((uint64_t)32 * MIB) /* what a sector number reaches */
#define SUPER (64 * KIB)
#define SUPER_BYTES 4096
#define BLOCK_MAX (64 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

/* Put a piece on the device; returns how much of the input it was, 0 at the end. */
static size_t put_piece(struct dev *d, uint8_t *touched, const uint8_t *p, size_t left)
{
	uint8_t fill[512];
	uint64_t off;
	size_t count, used;

	if (left < 5)
		return 0;
	off = (uint64_t)get_le16(p) * 512;
	count = (size_t)p[2] + 1;
	used = p[3] == 0 ? count * 512 : 1;
	if (used > left - 4)
		return 0;
	memset(fill, p[4], sizeof(fill));
	for (size_t i = 0; i < count; i++) {
		if (!range_inside(off + i * 512, 512, min_u64(dev_size(d), PLACED_BYTES)))
			break;
		must(dev_write(d, off + i * 512, p[3] == 0 ? p + 4 + i * 512 : fill, 512, NULL) ==
			0);
		touched[(off + i * 512) / 4096] = 1;
	}
	return 4 + used;
}

static void fix(struct dev *d, uint64_t at, size_t len)
{
	uint8_t b[BLOCK_MAX];

	if (!range_inside(at, len, dev_size(d)) || dev_read(d, at, b, len, NULL) < 0)
		return;
	put_le32(b, ~ext2fs_crc32c_le(UINT32_MAX, b + 32, len - 32));
	must(dev_write(d, at, b, 4, NULL) == 0);
}

/* Only what carries the file system's UUID: inside a larger block nothing must change. */
static void fix_checksums(struct dev *d, const uint8_t *touched)
{
	uint8_t super[SUPER_BYTES], head[48];
	uint32_t node, uuid;

	if (dev_size(d) < SUPER + SUPER_BYTES || dev_read(d, SUPER, super, SUPER_BYTES, NULL) < 0)
		return;
	node = get_le32(super + 0x94);
	uuid = super[0xbd] & 4 ? 0x23b : 0x20; /* metadata_uuid */
	fix(d, SUPER, SUPER_BYTES);
	if (node < 4096 || node > BLOCK_MAX)
		return;
	for (uint64_t at = MIB; at < PLACED_BYTES; at += 4096) {
		if (!touched[at / 4096] || !range_inside(at, sizeof(head), dev_size(d)) ||
			dev_read(d, at, head, sizeof(head), NULL) < 0)
			continue;
		if (memcmp(head + 0x20, super + uuid, 16) == 0)
			fix(d, at, node);
	}
}

static void check_map(struct dev *d, const struct map *m, const struct fs_report *r)
{
	uint8_t super[SUPER_BYTES];
	uint64_t end;

	must(dev_read(d, SUPER, super, sizeof(super), NULL) == 0);
	end = get_le64(super + 0xc9 + 8);
	must(end <= dev_size(d));
	must(r->block_bytes == get_le32(super + 0x90));
	must(map_bytes(m, MAP_DATA) + map_bytes(m, MAP_FREE) == dev_size(d));
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind != MAP_FREE)
			continue;
		must(x.off >= MIB && x.off + x.len <= end && x.off % 4096 == 0);
		must(x.len % 4096 == 0 || x.off + x.len == end);
		must(x.off >= 64 * MIB + 64 * KIB || x.off + x.len <= 64 * MIB);
	}
}

/* Zeros again where something was put: cheaper than a new device each time. */
static void wipe(struct dev *d, uint8_t *touched)
{
	static const uint8_t zeros[4096];

	for (size_t i = 0; i < PLACED_BYTES / 4096; i++)
		if (touched[i])
			must(dev_write(d, (uint64_t)i * 4096, zeros, sizeof(zeros), NULL) == 0);
	memset(touched, 0, PLACED_BYTES / 4096);
}

static void run(struct dev *d)
{
	struct fs_report r = { 0 };
	struct err e = { 0 };
	struct map *m = map_new_full(dev_size(d));
	int rc;

	must(m != NULL);
	rc = fs_btrfs.map(d, m, &r, &e);
	if (rc == 0)
		check_map(d, m, &r);
	else
		must(rc == -e.code && e.msg[0] != '\0');
	must(memchr(r.note, '\0', sizeof(r.note)) != NULL);
	map_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t touched[PLACED_BYTES / 4096];
	static struct dev *memory;
	struct dev *d;
	size_t at = 2, used;

	if (size < 2)
		return 0;
	must(memory != NULL || dev_open_mem(NULL, MAX_BYTES, &memory, NULL) == 0);
	if (dev_open_slice(memory, 0, min_u64((uint64_t)get_le16(data) * 4096, MAX_BYTES), &d,
		    NULL) < 0)
		return 0;
	while ((used = put_piece(d, touched, data + at, size - at)) > 0)
		at += used;
	if (get_le16(data) % 2 == 0)
		fix_checksums(d, touched);
	run(d);
	wipe(memory, touched);
	dev_close(d);
	return 0;
}
