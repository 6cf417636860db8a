/*
 * The log of ext3 and ext4, without root. Logs of random transactions are written here byte by byte
 * in every variant of the format; e2fsck replays a copy, and the overlay must then read like that
 * copy. Then what must be refused.
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
	uint64_t blocks[8192]; /* where the journal's blocks lie */
	uint32_t first, last;  /* the log is journal blocks [first, last) */
	uint32_t at, tid;
	uint32_t seed, crc;
	uint64_t free_first; /* free blocks to log, all together */
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

	write_block(l, l->blocks[index], bytes);
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
	uint64_t off = l->blocks[0] * l->f->block;

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

static void find_journal(struct log *l)
{
	ext2_filsys fs = NULL;
	uint8_t super[1024];

	assert_int_equal(ext2fs_open(ext_path("fs"), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs),
		0);
	for (uint32_t i = 0; i < COUNT_OF(l->blocks); i++) {
		blk64_t block = 0;

		ext2fs_bmap2(fs, 8, NULL, NULL, 0, i, NULL, &block);
		l->blocks[i] = block;
	}
	ext2fs_close(fs);
	ext_peek("fs", l->blocks[0] * l->f->block, super, sizeof(super));
	assert_int_equal(get_be32(super), MAGIC);
	l->first = get_be32(super + 0x14);
	l->last = get_be32(super + 0x10);
	assert_true(l->last >= 4 * MIB / l->f->block && l->blocks[l->last - 1] != 0);
	l->seed = ext2fs_crc32c_le(~0u, super + 0x30, 16);
}

/* The longest free run is where the logged blocks go. */
static void find_targets(struct log *l)
{
	struct fs_report r;
	struct map *m = ext_map_of("fs", &r);

	assert_true(r.used_only);
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE && x.len / l->f->block > l->free_count) {
			l->free_first = x.off / l->f->block;
			l->free_count = (uint32_t)(x.len / l->f->block);
		}
	}
	assert_true(l->free_count > 64);
	/* Few enough that places are written again and again, and revoked. */
	l->free_count = 64;
	map_free(m);
}

/* A fresh file system, and a log that is to begin `before_end` blocks before its area ends. */
static void begin_log(struct log *l, const struct format *f, uint32_t before_end, uint32_t seed)
{
	ext_must("rm -f fs && truncate -s 12M fs && mke2fs -q -F %s -J size=4 fs", f->mke2fs);
	memset(l, 0, sizeof(*l));
	l->f = f;
	l->tid = seed % 3 == 0 ? UINT32_MAX - 2 : seed; /* numbers of transactions go round too */
	l->random = seed;
	l->crc = ~0u;
	find_journal(l);
	find_targets(l);
	l->at = before_end ? l->last - before_end : l->first;
}

/* Whole transactions, with revocations, and one that never ended. */
static void random_log(struct log *l)
{
	uint32_t start = l->at, tid = l->tid;
	unsigned transactions = 1 + next_random(l) % 6;

	for (unsigned t = 0; t < transactions; t++) {
		unsigned parts = 1 + next_random(l) % 3;

		for (unsigned k = 0; k < parts; k++) {
			if (next_random(l) % 3 == 0)
				log_revokes(l, 1 + next_random(l) % 20);
			log_descriptor(l, 1 + next_random(l) % TAGS_MAX);
		}
		if (next_random(l) % 3 == 0)
			log_revokes(l, 1 + next_random(l) % 20);
		log_commit(l);
	}
	log_revokes(l, 10);
	log_descriptor(l, 20);
	write_super(l, start, tid);
	set_needs_recovery();
}

/* Is the block one that a replay changes for the journal's own sake? */
static bool is_bookkeeping(const struct log *l, uint64_t block)
{
	return block == SUPER / l->f->block || block == l->blocks[0];
}

/* Read the file through the overlay and compare with what e2fsck made of a copy. */
static size_t compare_with_replayed(const struct log *l)
{
	struct dev *d = ext_open("fs"), *copy = ext_open("copy"), *overlay = NULL;
	static uint8_t got[256 * 1024], want[256 * 1024];
	struct ext_journal j;
	ext2_filsys fs = NULL;
	struct err e = { 0 };
	uint32_t block = l->f->block;
	size_t writes;

	assert_int_equal(ext2fs_io_open(d, &fs, &e), 0);
	if (fs_ext_journal_read(d, fs, &j, &e) < 0)
		fail_msg("%s: %s", l->f->name, e.msg);
	assert_int_equal(fs_ext_overlay_open(d, &j, block, &overlay, &e), 0);
	for (uint64_t off = 0; off < dev_size(d); off += sizeof(got)) {
		assert_int_equal(dev_read(overlay, off, got, sizeof(got), &e), 0);
		assert_int_equal(dev_read(copy, off, want, sizeof(got), &e), 0);
		for (size_t at = 0; at < sizeof(got); at += block)
			if (memcmp(got + at, want + at, block) != 0 &&
				!is_bookkeeping(l, (off + at) / block))
				fail_msg("%s: block %" PRIu64 " differs from the replayed one",
					l->f->name, (off + at) / block);
	}
	/* Unaligned reads, over several blocks. */
	for (uint64_t off = l->free_first * block + 1; off < (l->free_first + 66) * block;
		off += 1511) {
		size_t len = 1 + off % (2 * block + 77);

		assert_int_equal(dev_read(overlay, off, got, len, &e), 0);
		assert_int_equal(dev_read(copy, off, want, len, &e), 0);
		assert_memory_equal(got, want, len);
	}
	writes = j.write_count;
	dev_close(overlay);
	fs_ext_journal_fini(&j);
	ext2fs_io_close(fs);
	dev_close(copy);
	dev_close(d);
	return writes;
}

/* What replay writes is data; all else is as without the journal. */
static void check_map(const struct log *l, const struct map *clean)
{
	struct fs_report r;
	struct map *m = ext_map_of("fs", &r);
	uint64_t freed, wanted;

	if (!r.used_only)
		fail_msg("%s: %s", l->f->name, r.reason);
	assert_non_null(strstr(r.note, "blocks to replay"));
	ext_assert_free_within(m, clean);
	freed = map_bytes(m, MAP_FREE);
	wanted = map_bytes(clean, MAP_FREE) -
		strtoull(strchr(r.note, ',') + 1, NULL, 10) * (uint64_t)l->f->block;
	assert_int_equal(freed, wanted);
	map_free(m);
}

static void test_overlay_is_what_e2fsck_replays(void **state)
{
	static const uint32_t before_end[] = { 0, 1, 40, 100 };
	size_t writes = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(formats); i++) {
		for (uint32_t k = 0; k < COUNT_OF(before_end); k++) {
			static struct log l;
			struct fs_report r;
			struct map *clean;
			int status;

			begin_log(&l, &formats[i], before_end[k], 1 + (uint32_t)i * 4 + k);
			clean = ext_map_of("fs", &r);
			random_log(&l);
			status = ext_sh(NULL, 0, "cp fs copy && e2fsck -E journal_only -fy copy");
			if (status > 1)
				fail_msg("%s: e2fsck ended with %d", formats[i].name, status);
			writes += compare_with_replayed(&l);
			check_map(&l, clean);
			map_free(clean);
		}
	}
	assert_true(writes > 1000);
}

/* ---- Refusals ---------------------------------------------------------------------------- */

/* A log of two transactions; the second descriptor's first data block is at index 3. */
static void small_log(struct log *l, const struct format *f)
{
	uint32_t start;

	begin_log(l, f, 0, 5);
	start = l->at;
	log_descriptor(l, 1);
	log_commit(l);
	log_descriptor(l, 1);
	log_revokes(l, 3);
	log_commit(l);
	write_super(l, start, 5);
	set_needs_recovery();
}

/* Index in the journal of what small_log has written, first = 0. */
enum { D1, DATA1, C1, D2, DATA2, R2, C2 };

static uint64_t place(const struct log *l, unsigned what)
{
	return l->blocks[l->first + what] * l->f->block;
}

static void flip(uint64_t off)
{
	uint8_t byte;

	ext_peek("fs", off, &byte, 1);
	byte ^= 0x40;
	ext_poke("fs", off, &byte, 1);
}

static void assert_mapped(const char *note)
{
	struct fs_report r;

	map_free(ext_map_of("fs", &r));
	if (!r.used_only)
		fail_msg("%s", r.reason);
	if (!strstr(r.note, note))
		fail_msg("the note is \"%s\"", r.note);
}

static void test_wrong_checksums_are_refused(void **state)
{
	static const struct {
		unsigned what;
		const char *word;
	} v3[] = {
		{ D1, "a descriptor's checksum" },
		{ D2, "a descriptor's checksum" },
		{ DATA1, "a logged block's checksum" },
		{ DATA2, "a logged block's checksum" },
		{ R2, "a revoke block's checksum" },
		{ C1, "a commit block's checksum" },
		{ C2, "a commit block's checksum" },
	};
	static struct log l;

	(void)state;
	for (size_t f = 5; f < COUNT_OF(formats); f++) {
		small_log(&l, &formats[f]);
		assert_mapped("blocks to replay");
		for (size_t i = 0; i < COUNT_OF(v3); i++) {
			/* In the middle of the block, where nothing else is looked at. */
			uint64_t off = place(&l, v3[i].what) + 700;

			flip(off);
			ext_assert_refused("fs", v3[i].word);
			flip(off);
		}
		flip(l.blocks[0] * l.f->block + 0x300);
		ext_assert_refused("fs", "the superblock's checksum");
	}
	small_log(&l, &formats[3]);
	assert_mapped("blocks to replay");
	flip(place(&l, DATA2) + 700);
	ext_assert_refused("fs", "a transaction's checksum");
	flip(place(&l, DATA2) + 700);
	flip(place(&l, D1) + 700);
	ext_assert_refused("fs", "a transaction's checksum");
}

/* What no replay would use may be torn: it was being written at the time. */
static void test_unfinished_end_is_no_damage(void **state)
{
	static struct log l;
	uint32_t start;

	(void)state;
	for (size_t f = 0; f < COUNT_OF(formats); f += 4) {
		begin_log(&l, &formats[f], 0, 5);
		start = l.at;
		log_descriptor(&l, 1);
		log_commit(&l);
		log_descriptor(&l, 5);
		log_revokes(&l, 3);
		write_super(&l, start, 5);
		set_needs_recovery();
		assert_mapped("1 blocks to replay");
		flip(place(&l, D2) + 700);
		flip(place(&l, DATA2) + 700);
		assert_mapped("1 blocks to replay");
		/* Nothing whole in the log at all. */
		flip(place(&l, C1) + 8);
		assert_mapped("nothing to replay");
	}
}

static void set_be32(uint64_t off, uint32_t v)
{
	uint8_t bytes[4];

	put_be32(bytes, v);
	ext_poke("fs", off, bytes, 4);
}

static void test_odd_journals_are_refused(void **state)
{
	static const struct {
		unsigned offset; /* in the journal's superblock */
		uint32_t value;
		const char *word;
	} odd[] = {
		{ 0x00, 0x12345678, "no magic number" },
		{ 0x04, 9, "h_blocktype" },
		{ 0x0c, 4096, "s_blocksize" },
		{ 0x10, 4097, "s_maxlen" },
		{ 0x14, 0, "s_first" },
		{ 0x14, 4096, "s_first" },
		{ 0x1c, 4096, "s_start" },
		{ 0x20, 5, "s_errno" },
		{ 0x24, 2, "s_feature_compat" },
		{ 0x28, 0x41, "s_feature_incompat" },
		{ 0x28, 0x19, "s_feature_incompat" },
		{ 0x2c, 1, "s_feature_ro_compat" },
		{ 0x28, 0x11, "s_checksum_type" },
	};
	static struct log l;
	uint8_t word[4];

	(void)state;
	small_log(&l, &formats[0]);
	for (size_t i = 0; i < COUNT_OF(odd); i++) {
		uint64_t off = l.blocks[0] * l.f->block + odd[i].offset;

		ext_peek("fs", off, word, 4);
		set_be32(off, odd[i].value);
		ext_assert_refused("fs", odd[i].word);
		ext_poke("fs", off, word, 4);
	}
	/* Not the block type of the log. */
	set_be32(place(&l, R2) + 4, 6);
	ext_assert_refused("fs", "h_blocktype");
	set_be32(place(&l, R2) + 4, 5);
	set_be32(place(&l, R2) + 12, 5000);
	ext_assert_refused("fs", "longer than a block");
	set_be32(place(&l, R2) + 12, 16);
	/* Writes to places where no replay writes. */
	set_be32(place(&l, D1) + 12, 12 * 1024);
	ext_assert_refused("fs", "past the end");
	set_be32(place(&l, D1) + 12, (uint32_t)l.blocks[50]);
	ext_assert_refused("fs", "into the journal");
	set_be32(place(&l, D1) + 12, (uint32_t)l.free_first);
	assert_mapped("blocks to replay");
	/* The file system says that it is clean. */
	ext_peek("fs", SUPER + 0x60, word, 4);
	word[0] &= (uint8_t)~4;
	ext_poke("fs", SUPER + 0x60, word, 4);
	ext_assert_refused("fs", "not empty");
}

/* A log without an end, all around: each block a whole transaction of the next number. */
static void test_endless_log_is_refused(void **state)
{
	static struct log l;

	(void)state;
	begin_log(&l, &formats[0], 0, 5);
	for (uint32_t i = l.first; i < l.last; i++)
		log_commit(&l);
	write_super(&l, l.first, 5);
	set_needs_recovery();
	ext_assert_refused("fs", "the log has no end");
}

/* A logged superblock with another size, or with errors, is the later state and counts. */
static void test_replayed_superblock_counts(void **state)
{
	static const struct {
		unsigned offset;
		uint8_t add;
		const char *word;
	} odd[] = {
		{ 0x3a, 2, "after replay of the journal: the file system is marked" },
		{ 0x05, 4, "larger than the device" },
		{ 0x62, 4, "unknown feature bit 0x40000" },
	};
	static struct log l;
	uint8_t block[1024];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(odd); i++) {
		small_log(&l, &formats[0]);
		ext_peek("fs", SUPER, block, sizeof(block));
		block[odd[i].offset] = (uint8_t)(block[odd[i].offset] + odd[i].add);
		ext_poke("fs", place(&l, DATA1), block, sizeof(block));
		set_be32(place(&l, D1) + 12, 1);
		ext_assert_refused("fs", odd[i].word);
	}
	/* A change of size that fits. */
	small_log(&l, &formats[0]);
	ext_must("truncate -s 48M fs");
	ext_peek("fs", SUPER, block, sizeof(block));
	put_le32(block + 4, get_le32(block + 4) - 8192); /* a group less */
	put_le32(block, get_le32(block) / 2);
	put_le32(block + 0xc, 1000);
	ext_poke("fs", place(&l, DATA1), block, sizeof(block));
	set_be32(place(&l, D1) + 12, 1);
	ext_assert_refused("fs", "change of size");
}

/* Fast commits say in words what to change; a left-over of an older transaction does not count. */
static void test_fast_commits(void **state)
{
	static const struct format f = { "fast commit",
		"-t ext4 -b 1024 -O fast_commit,^metadata_csum,^uninit_bg", 1024, 0, 0x21 };
	static struct log l;
	uint8_t head[16] = { 9, 0, 8, 0 };
	uint32_t start, area;
	uint8_t super[1024];

	(void)state;
	begin_log(&l, &f, 0, 5);
	ext_peek("fs", l.blocks[0] * 1024, super, sizeof(super));
	area = l.last - (get_be32(super + 0x54) ? get_be32(super + 0x54) : 256);
	start = l.at;
	log_descriptor(&l, 2);
	log_commit(&l);
	write_super(&l, start, 5);
	set_needs_recovery();
	assert_mapped("blocks to replay");
	put_le32(head + 8, 5); /* the transaction that was committed */
	ext_poke("fs", l.blocks[area + 1] * 1024, head, sizeof(head));
	assert_mapped("blocks to replay");
	put_le32(head + 8, 6);
	ext_poke("fs", l.blocks[area + 1] * 1024, head, sizeof(head));
	ext_assert_refused("fs", "fast commits");
	put_le32(head + 8, 0);
	ext_poke("fs", l.blocks[area + 1] * 1024, head, sizeof(head));
	/* Kernels differ in where such a log goes round. */
	l.at = area - 1;
	l.tid = 5;
	log_descriptor(&l, 2);
	write_super(&l, area - 1, 5);
	ext_assert_refused("fs", "wraps");
}

static int setup(void **state)
{
	static const char *const tools[] = { "mke2fs", "debugfs", "e2fsck", NULL };

	(void)state;
	ext_setup(tools);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overlay_is_what_e2fsck_replays),
		cmocka_unit_test(test_wrong_checksums_are_refused),
		cmocka_unit_test(test_unfinished_end_is_no_damage),
		cmocka_unit_test(test_odd_journals_are_refused),
		cmocka_unit_test(test_endless_log_is_refused),
		cmocka_unit_test(test_replayed_superblock_counts),
		cmocka_unit_test(test_fast_commits),
	};

	return cmocka_run_group_tests_name("fs_ext_journal", tests, setup, NULL);
}
