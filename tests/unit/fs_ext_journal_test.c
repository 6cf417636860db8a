/*
 * Dirty journals of ext3 and ext4, without root. Logs of random transactions are written here byte by
 * byte in every variant of the format; e2fsck replays a copy, and the overlay must then read like that
 * copy. Then whole changes of a file system (as after a crash) are logged by debugfs, and a copy that
 * holds only the map's data must replay to the right files. Last, what must be refused.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ext_helper.h"
#include "fs/fs_ext_int.h"

#define MAGIC 0xc03b3998u
#define SUPER 1024

/* The variants of the format. */
struct format {
	const char *name;
	const char *mke2fs;
	uint32_t block; /* bytes */
	uint32_t compat, incompat;
};

static const struct format formats[] = {
	{ "plain", "-t ext3 -b 1024", 1024, 0, 0x1 },
	{ "plain, 4 KiB", "-t ext3 -b 4096", 4096, 0, 0x1 },
	{ "64bit", "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", 1024, 0, 0x3 },
	{ "checksum v1", "-t ext3 -b 1024", 1024, 0x1, 0x1 },
	{ "checksum v1, 64bit", "-t ext4 -b 2048 -O ^metadata_csum,^uninit_bg", 2048, 0x1, 0x3 },
	{ "checksum v2", "-t ext3 -b 1024", 1024, 0, 0x9 },
	{ "checksum v2, 64bit", "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", 1024, 0, 0xb },
	{ "checksum v3", "-t ext3 -b 1024", 1024, 0, 0x11 },
	{ "checksum v3, 64bit", "-t ext4 -b 4096 -O ^metadata_csum,^uninit_bg", 4096, 0, 0x13 },
};

/* A log under construction in the file "fs". */
struct log {
	const struct format *f;
	uint64_t journal;      /* its first block */
	uint32_t first, last;  /* the log is journal blocks [first, last) */
	uint32_t at, tid;
	uint32_t seed, crc;
	uint64_t free_first;   /* free blocks to log, all together */
	uint32_t free_count;
	uint32_t random;
};

static uint32_t next_random(struct log *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 17;
	l->random ^= l->random << 5;
	return l->random;
}

static void put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static bool has_checksums(const struct log *l)
{
	return l->f->incompat & 0x18;
}

static void write_block(const struct log *l, uint64_t block, const uint8_t *bytes)
{
	ext_poke("fs", block * l->f->block, bytes, l->f->block);
}

/* Put one block at the end of the log; its index in the journal. */
static uint32_t append(struct log *l, const uint8_t *bytes)
{
	uint32_t index = l->at++;

	write_block(l, l->journal + index, bytes);
	if (l->at == l->last)
		l->at = l->first;
	return index;
}

static void put_header(const struct log *l, uint8_t *block, uint32_t type)
{
	memset(block, 0, l->f->block);
	put_be32(block, MAGIC);
	put_be32(block + 4, type);
	put_be32(block + 8, l->tid);
}

/* The checksum of descriptor and revoke blocks is in the last four bytes. */
static void put_tail(const struct log *l, uint8_t *block)
{
	uint8_t *tail = block + l->f->block - 4;

	if (!has_checksums(l))
		return;
	memset(tail, 0, 4);
	put_be32(tail, ext2fs_crc32c_le(l->seed, block, l->f->block));
}

static size_t put_tag(const struct log *l, uint8_t *p, uint64_t block, uint32_t flags,
	const uint8_t *data)
{
	uint32_t crc;
	uint8_t tid[4];
	size_t len = 8;

	put_be32(tid, l->tid);
	crc = ext2fs_crc32c_le(l->seed, tid, 4);
	crc = ext2fs_crc32c_le(crc, data, l->f->block);
	put_be32(p, (uint32_t)block);
	if (l->f->incompat & 0x10) {
		put_be32(p + 4, flags);
		put_be32(p + 8, (uint32_t)(block >> 32));
		put_be32(p + 12, crc);
		len = 16;
	} else {
		put_be32(p + 4, flags);
		if (l->f->incompat & 0x8) {
			p[4] = (uint8_t)(crc >> 8);
			p[5] = (uint8_t)crc;
		}
		if (l->f->incompat & 0x2) {
			put_be32(p + 8, (uint32_t)(block >> 32));
			len += 4;
		}
		if (l->f->incompat & 0x8)
			len += 2;
	}
	return len + (flags & 2 ? 0 : 16);
}

static uint64_t random_target(struct log *l)
{
	return l->free_first + next_random(l) % l->free_count;
}

/* A block of noise; now and then one that begins with the magic number and must be escaped. */
static bool random_data(struct log *l, uint8_t *data)
{
	bool escaped = next_random(l) % 4 == 0;

	for (uint32_t i = 0; i < l->f->block; i += 4)
		put_le32(data + i, next_random(l) % 4 ? next_random(l) : MAGIC);
	if (escaped || get_be32(data) == MAGIC)
		memset(data, 0, 4);
	return escaped;
}

#define TAGS_MAX 60

/* A descriptor with up to `want` blocks of random content for random places. */
static void log_descriptor(struct log *l, unsigned want)
{
	static uint8_t data[TAGS_MAX][4096];
	uint8_t block[4096];
	size_t off = 12, room = l->f->block - (has_checksums(l) ? 4 : 0);
	size_t tag_max = 16 + 16;
	unsigned n = 0;

	put_header(l, block, 1);
	while (n < want && n < TAGS_MAX && off + 2 * tag_max <= room) {
		uint32_t flags = random_data(l, data[n]) ? 1 : 0;

		if (n > 0)
			flags |= 2;
		if (n + 1 == want || n + 1 == TAGS_MAX || off + 3 * tag_max > room)
			flags |= 8;
		off += put_tag(l, block + off, random_target(l), flags, data[n]);
		n++;
		if (flags & 8)
			break;
	}
	put_tail(l, block);
	l->crc = ext2fs_crc32_be(l->crc, block, l->f->block);
	append(l, block);
	for (unsigned i = 0; i < n; i++) {
		l->crc = ext2fs_crc32_be(l->crc, data[i], l->f->block);
		append(l, data[i]);
	}
}

static void log_revokes(struct log *l, unsigned count)
{
	uint8_t block[4096];
	size_t off = 16;

	put_header(l, block, 5);
	for (unsigned i = 0; i < count; i++) {
		if (l->f->incompat & 0x2)
			off += 4;
		put_be32(block + off, (uint32_t)random_target(l));
		off += 4;
	}
	put_be32(block + 12, (uint32_t)off);
	put_tail(l, block);
	append(l, block);
}

static void log_commit(struct log *l)
{
	uint8_t block[4096];

	put_header(l, block, 2);
	put_be32(block + 0x34, 1700000000 + l->tid); /* h_commit_sec, low half */
	if (l->f->compat & 1) {
		block[12] = 1;
		block[13] = 4;
		put_be32(block + 16, l->crc);
	} else if (has_checksums(l)) {
		put_be32(block + 16, ext2fs_crc32c_le(l->seed, block, l->f->block));
	}
	append(l, block);
	l->tid++;
	l->crc = ~0u;
}

static void write_super(const struct log *l, uint32_t start, uint32_t tid)
{
	uint8_t super[1024];
	uint64_t off = l->journal * l->f->block;

	ext_peek("fs", off, super, sizeof(super));
	put_be32(super + 0x18, tid);
	put_be32(super + 0x1c, start);
	put_be32(super + 0x24, l->f->compat);
	put_be32(super + 0x28, l->f->incompat);
	super[0x50] = has_checksums(l) ? 4 : 0;
	put_be32(super + 0xfc, 0);
	if (has_checksums(l))
		put_be32(super + 0xfc, ext2fs_crc32c_le(~0u, super, sizeof(super)));
	ext_poke("fs", off, super, sizeof(super));
}

static void set_needs_recovery(void)
{
	uint8_t word[4];

	ext_peek("fs", SUPER + 0x60, word, 4);
	word[0] |= 4;
	ext_poke("fs", SUPER + 0x60, word, 4);
}

static uint64_t ask(const char *command)
{
	char out[256];
	uint64_t value = 0;

	assert_int_equal(ext_sh(out, sizeof(out), "%s", command), 0);
	if (sscanf(out, "%" SCNu64, &value) != 1)
		fail_msg("no number from %s: %s", command, out);
	return value;
}

/* A fresh file system, and a log that is to begin at journal block `start` (0: its first). */
static void begin_log(struct log *l, const struct format *f, uint32_t start, uint32_t seed)
{
	uint8_t super[1024];
	struct map *m;
	struct fs_report r;

	ext_must("rm -f fs && truncate -s 24M fs && mke2fs -q -F %s -J size=4 -d tree fs",
		f->mke2fs);
	memset(l, 0, sizeof(*l));
	l->f = f;
	l->journal = ask("debugfs -R 'bmap <8> 0' fs 2>/dev/null");
	ext_peek("fs", l->journal * f->block, super, sizeof(super));
	l->first = get_be32(super + 0x14);
	l->last = get_be32(super + 0x10);
	l->at = start ? start : l->first;
	l->tid = 7;
	l->random = seed;
	l->crc = ~0u;
	l->seed = ext2fs_crc32c_le(~0u, super + 0x30, 16);
	if (strstr(f->mke2fs, "ext4")) /* else indirect blocks lie between */
		assert_int_equal(ask("debugfs -R 'bmap <8> 1000' fs 2>/dev/null"),
			l->journal + 1000);

	/* The longest free run is where the logged blocks go. */
	m = ext_map_of("fs", &r);
	assert_true(r.used_only);
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE && x.len / f->block > l->free_count) {
			l->free_first = x.off / f->block;
			l->free_count = (uint32_t)(x.len / f->block);
		}
	}
	/* Few enough that places are written again and again, and revoked. */
	l->free_count = 64;
	map_free(m);
}
