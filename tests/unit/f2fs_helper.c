#include "f2fs_helper.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

#define MAGIC 0xF2F52010

void f2fs_make(const char *name, const char *size, const char *options, const char *tree)
{
	ext_must("rm -f %s && truncate -s %s %s && mkfs.f2fs -q -f %s %s", name, size, name,
		options, name);
	if (tree) {
		/* It ends with the status of its own fsck, which is not content with some of the
		 * features that it was given; f2fs_check is. */
		ext_sh(NULL, 0, "sload.f2fs -f %s %s", tree, name);
		f2fs_check(name);
	}
}

void f2fs_check(const char *name)
{
	ext_must(
		"fsck.f2fs --dry-run %s >fsck.log 2>&1 && [ $(grep -c '^.FSCK.*Ok' fsck.log) -ge 9 "
		"] && ! grep -E 'Fail|ASSERT' fsck.log",
		name);
}

void f2fs_compare_files(const char *name, const char *tree)
{
	/* "|   |-- file12 <ino = 0x1a>, ..."; dump.f2fs asks before it writes ./lost_found/NAME. */
	ext_must("rm -rf lost_found && fsck.f2fs --dry-run -t %s | "
		 "sed -n 's/.*-- \\([^ ]*\\) <ino = 0x\\([0-9a-f]*\\)>.*/\\1 \\2/p' >inodes && "
		 "find %s -type f | while read -r path; do file=${path##*/}; "
		 "ino=$(awk -v f=$file '$1 == f { print $2 }' inodes); "
		 "yes | dump.f2fs -i 0x$ino %s >/dev/null; "
		 "cmp $path lost_found/$file || exit 1; rm -f lost_found/$file; done",
		name, tree, name);
}

uint32_t f2fs_peek32(const char *name, uint64_t off)
{
	uint8_t b[4];

	ext_peek(name, off, b, sizeof(b));
	return get_le32(b);
}

void f2fs_poke32(const char *name, uint64_t off, uint32_t value)
{
	uint8_t b[4];

	put_le32(b, value);
	ext_poke(name, off, b, sizeof(b));
}

/* ---- Where things are -------------------------------------------------------------------- */

static uint64_t version_of(const char *name, uint32_t pack)
{
	uint8_t b[8];

	ext_peek(name, (uint64_t)pack * F2FS_BLOCK, b, sizeof(b));
	return get_le64(b);
}

void f2fs_layout_of(const char *name, struct f2fs_layout *l)
{
	uint32_t first = f2fs_peek32(name, F2FS_SUPER + 76), second = first + F2FS_SEGMENT;
	uint64_t at;

	l->sit = f2fs_peek32(name, F2FS_SUPER + 80);
	l->sit_copy = f2fs_peek32(name, F2FS_SUPER + 56) / 2 * F2FS_SEGMENT;
	l->nat = f2fs_peek32(name, F2FS_SUPER + 84);
	l->main = f2fs_peek32(name, F2FS_SUPER + 92);
	l->main_segments = f2fs_peek32(name, F2FS_SUPER + 68);
	/* Both packs are whole in what the tools make. */
	l->pack = version_of(name, second) > version_of(name, first) ? second : first;
	at = (uint64_t)l->pack * F2FS_BLOCK;
	l->pack_blocks = f2fs_peek32(name, at + 0x88);
	l->summaries = l->pack + f2fs_peek32(name, at + 0x8c);
	l->compact = f2fs_peek32(name, at + 0x84) & 4;
	l->next_warm_node = l->main + f2fs_peek32(name, at + 0x28) * F2FS_SEGMENT +
		(f2fs_peek32(name, at + 0x44) >> 16);
}

static bool bit_of(const char *name, uint64_t bitmap, uint32_t n)
{
	uint8_t byte;

	ext_peek(name, bitmap + n / 8, &byte, 1);
	return byte >> (7 - n % 8) & 1;
}

/* Where the version bitmaps begin in the pack; these volumes have no payload. */
static uint64_t bitmap_of(const char *name, const struct f2fs_layout *l, bool nat)
{
	uint64_t at = (uint64_t)l->pack * F2FS_BLOCK;
	bool large = f2fs_peek32(name, at + 0x84) & 0x400;

	assert_int_equal(f2fs_peek32(name, F2FS_SUPER + 1664), 0);
	if (large)
		return at + 0xc4 + (nat ? 0 : f2fs_peek32(name, at + 0xa0));
	return at + 0xc0 + (nat ? f2fs_peek32(name, at + 0x9c) : 0);
}

uint64_t f2fs_sit_entry(const char *name, uint32_t segment)
{
	struct f2fs_layout l;
	uint64_t block;

	f2fs_layout_of(name, &l);
	block = l.sit + segment / 55;
	if (bit_of(name, bitmap_of(name, &l, false), segment / 55))
		block += l.sit_copy;
	return block * F2FS_BLOCK + (uint64_t)(segment % 55) * F2FS_SIT_ENTRY_BYTES;
}

uint64_t f2fs_nat_entry(const char *name, uint32_t node)
{
	uint32_t index = node / 455;
	struct f2fs_layout l;
	uint64_t block;

	f2fs_layout_of(name, &l);
	block = l.nat + (uint64_t)index / F2FS_SEGMENT * 2 * F2FS_SEGMENT + index % F2FS_SEGMENT;
	if (bit_of(name, bitmap_of(name, &l, true), index))
		block += F2FS_SEGMENT;
	return block * F2FS_BLOCK + (uint64_t)(node % 455) * 9;
}

uint64_t f2fs_sit_journal(const char *name)
{
	struct f2fs_layout l;

	f2fs_layout_of(name, &l);
	if (l.compact)
		return (uint64_t)l.summaries * F2FS_BLOCK + 507;
	return ((uint64_t)l.summaries + 2) * F2FS_BLOCK + 3584;
}

uint64_t f2fs_nat_journal(const char *name)
{
	struct f2fs_layout l;

	f2fs_layout_of(name, &l);
	return (uint64_t)l.summaries * F2FS_BLOCK + (l.compact ? 0 : 3584);
}

uint32_t f2fs_node_block(const char *name, uint32_t node)
{
	uint64_t journal = f2fs_nat_journal(name);
	uint32_t count = f2fs_peek32(name, journal) & 0xffff;

	for (uint32_t i = 0; i < count; i++)
		if (f2fs_peek32(name, journal + 2 + i * 13) == node)
			return f2fs_peek32(name, journal + 2 + i * 13 + 9);
	return f2fs_peek32(name, f2fs_nat_entry(name, node) + 5);
}

/* ---- Checksums --------------------------------------------------------------------------- */

static uint32_t checksum(uint32_t crc, const uint8_t *p, size_t len)
{
	while (len-- > 0) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
	}
	return crc;
}

void f2fs_fix_super(const char *name)
{
	uint8_t b[3068];

	for (uint64_t at = F2FS_SUPER; at < 2 * F2FS_BLOCK; at += F2FS_BLOCK) {
		ext_peek(name, at, b, sizeof(b));
		if (get_le32(b + 2180) & 0x800)
			f2fs_poke32(name, at + sizeof(b), checksum(MAGIC, b, sizeof(b)));
	}
}

static void fix_block(const char *name, uint64_t at)
{
	uint8_t b[F2FS_BLOCK];
	uint32_t place, crc;

	ext_peek(name, at, b, sizeof(b));
	place = get_le32(b + 0xa4);
	if (place > F2FS_BLOCK - 4)
		return;
	crc = checksum(MAGIC, b, place);
	crc = checksum(crc, b + place + 4, F2FS_BLOCK - place - 4);
	f2fs_poke32(name, at + place, crc);
}

void f2fs_fix_pack(const char *name, uint32_t pack)
{
	uint64_t at = (uint64_t)pack * F2FS_BLOCK;
	uint32_t blocks = f2fs_peek32(name, at + 0x88);

	fix_block(name, at);
	if (blocks > 1 && blocks <= F2FS_SEGMENT)
		fix_block(name, at + (uint64_t)(blocks - 1) * F2FS_BLOCK);
}

void f2fs_poke_super(const char *name, uint32_t off, uint32_t value)
{
	f2fs_poke32(name, F2FS_SUPER + off, value);
	f2fs_poke32(name, F2FS_BLOCK + F2FS_SUPER + off, value);
	f2fs_fix_super(name);
}

void f2fs_poke_pack(const char *name, uint32_t pack, uint32_t off, uint32_t value)
{
	uint64_t at = (uint64_t)pack * F2FS_BLOCK;
	uint32_t blocks = f2fs_peek32(name, at + 0x88); /* before it may be changed */

	f2fs_poke32(name, at + off, value);
	f2fs_poke32(name, at + (uint64_t)(blocks - 1) * F2FS_BLOCK + off, value);
	fix_block(name, at);
	fix_block(name, at + (uint64_t)(blocks - 1) * F2FS_BLOCK);
}

/* ---- What dump.f2fs says ----------------------------------------------------------------- */

/* The eight blocks of a bitmap's byte; returns where the next one's begin. */
static uint64_t set_used(struct map *m, uint64_t at, uint8_t byte)
{
	for (int bit = 7; bit >= 0; bit--, at += F2FS_BLOCK)
		if (byte >> bit & 1)
			assert_int_equal(map_set(m, at, F2FS_BLOCK, MAP_DATA, NULL), 0);
	return at;
}

struct map *f2fs_dumped_map(const char *name, uint64_t size)
{
	struct map *m = map_new_full(size);
	uint64_t at = 0, main_start;
	struct f2fs_layout l;
	char *line = NULL;
	size_t room = 0, segments = 0;
	unsigned blocks = 0;
	FILE *f;

	f2fs_layout_of(name, &l);
	main_start = (uint64_t)l.main * F2FS_BLOCK;
	assert_int_equal(map_set(m, main_start,
				 (uint64_t)l.main_segments * F2FS_SEGMENT * F2FS_BLOCK, MAP_FREE,
				 NULL),
		0);
	ext_must("rm -f dump_sit && dump.f2fs -s 0~-1 %s", name);
	f = fopen(ext_path("dump_sit"), "r");
	assert_non_null(f);
	/* "segno: 3 vblocks: 1 ...", then four lines of 16 bytes if a block is in use */
	while (getline(&line, &room, f) > 0) {
		unsigned segment;
		char *p = line, *end;

		if (sscanf(line, "segno: %u vblocks: %u", &segment, &blocks) == 2) {
			assert_int_equal(segment, segments++);
			at = main_start + (uint64_t)segment * F2FS_SEGMENT * F2FS_BLOCK;
			continue;
		}
		if (line[0] != ' ')
			continue;
		for (unsigned long byte; byte = strtoul(p, &end, 16), end != p; p = end)
			at = set_used(m, at, (uint8_t)byte);
	}
	free(line);
	fclose(f);
	assert_int_equal(segments, l.main_segments);
	assert_int_equal(map_set(m, (uint64_t)l.next_warm_node * F2FS_BLOCK, F2FS_BLOCK, MAP_DATA,
				 NULL),
		0);
	return m;
}
