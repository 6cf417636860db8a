/*
 * What a replay of the journal would write, found without writing. Format: Linux kernel,
 * Documentation/filesystems/ext4/journal.rst (all fields big-endian); the order of a recovery:
 * fs/jbd2/recovery.c there (scan for the last whole transaction, collect revocations, replay).
 *
 * Why the overlay (fs_ext_overlay.c) and not a look at logged bitmaps alone: the log holds whole
 * blocks, so the device with the surviving copy of each block laid over it IS the device after
 * recovery, whatever the blocks mean. The same code that proves a clean file system sound is then
 * run on it, with all its checks, and the map keeps what is used before or after the replay. There
 * is no second way of interpreting bitmaps that could be wrong on its own.
 *
 * A log ends at the first block that is not of the expected transaction: what follows is an older
 * lap, or a transaction that was being written, which no replay uses. Inside the log nothing is
 * forgiven: a bad checksum, a block type or feature that is not known, a write into the journal
 * itself, fast commits not yet in the log proper: each is a refusal, and all blocks are imaged.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_ext_int.h"

#define JBD2_MAGIC 0xc03b3998u
#define TYPE_DESCRIPTOR 1
#define TYPE_COMMIT 2
#define TYPE_SUPER_V1 3
#define TYPE_SUPER_V2 4
#define TYPE_REVOKE 5
#define HEADER_BYTES 12
#define SUPER_BYTES 1024

#define COMPAT_CHECKSUM 0x1
#define INCOMPAT_REVOKE 0x1
#define INCOMPAT_64BIT 0x2
#define INCOMPAT_ASYNC 0x4
#define INCOMPAT_CSUM_V2 0x8
#define INCOMPAT_CSUM_V3 0x10
#define INCOMPAT_FAST_COMMIT 0x20
#define INCOMPAT_KNOWN 0x3f
#define CHECKSUM_CRC32 1
#define CHECKSUM_CRC32C 4

#define TAG_ESCAPE 0x1
#define TAG_SAME_UUID 0x2
#define TAG_LAST 0x8
#define UUID_BYTES 16
#define TAIL_BYTES 4 /* checksum at the end of descriptor and revoke blocks */

#define FAST_COMMIT_BLOCKS 256 /* when the journal's superblock says 0 */
#define FAST_TAG_HEAD 9	       /* fs/ext4/fast_commit.h: le16 tag, le16 length, le32, le32 tid */

#define WRITES_MAX (2u << 20)
#define REVOKES_MAX (2u << 20)

struct revoke {
	uint64_t block;
	uint32_t age;
};

/* A log being followed. */
struct scan {
	struct dev *dev;
	struct ext_journal *j;
	uint64_t fs_blocks;
	uint32_t block_bytes;

	/* from the journal's superblock */
	uint32_t compat, incompat;
	uint32_t first, last; /* the log is [first, last), then goes round */
	uint32_t start, first_tid;
	uint32_t seed; /* of checksums v2 and v3 */

	/* where we are */
	uint32_t at, visited, tid;
	uint32_t crc;	    /* v1: over descriptors and data of this transaction */
	const char *damage; /* what was wrong in this transaction so far, or NULL */
	uint32_t damaged_at;
	uint8_t *block, *data;
	struct revoke *revokes;
	size_t revoke_count, revoke_room, write_room;
	size_t whole_writes, whole_revokes; /* those of whole transactions */
};

static bool has_checksums(const struct scan *s)
{
	return s->incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3);
}

/* ---- The journal's superblock ------------------------------------------------------------ */

static int read_block(const struct scan *s, uint64_t index, uint8_t *buf, struct err *e)
{
	uint64_t block = fs_ext_journal_block(s->j, index);

	return dev_read(s->dev, block * s->block_bytes, buf, s->block_bytes, e);
}

static int bad(struct err *e, const char *field, uint32_t value)
{
	return err_set(e, ERR_FORMAT, 0, "journal: %s is %" PRIu32, field, value);
}

static int check_super_checksum(struct scan *s, uint8_t *super, struct err *e)
{
	uint32_t stored = get_be32(super + 0xfc);

	if (super[0x50] != CHECKSUM_CRC32C)
		return bad(e, "s_checksum_type", super[0x50]);
	memset(super + 0xfc, 0, 4);
	if (ext2fs_crc32c_le(~0u, super, SUPER_BYTES) != stored)
		return err_set(e, ERR_FORMAT, 0, "journal: the superblock's checksum is wrong");
	s->seed = ext2fs_crc32c_le(~0u, super + 0x30, UUID_BYTES);
	return 0;
}

static int decode_features(struct scan *s, uint8_t *super, struct err *e)
{
	uint32_t type = get_be32(super + 4);

	if (get_be32(super) != JBD2_MAGIC)
		return err_set(e, ERR_FORMAT, 0, "journal: the superblock has no magic number");
	if (type == TYPE_SUPER_V1)
		return 0; /* no features */
	if (type != TYPE_SUPER_V2)
		return bad(e, "h_blocktype", type);
	s->compat = get_be32(super + 0x24);
	s->incompat = get_be32(super + 0x28);
	if (s->compat & ~(uint32_t)COMPAT_CHECKSUM)
		return bad(e, "s_feature_compat", s->compat);
	if (s->incompat & ~(uint32_t)INCOMPAT_KNOWN)
		return bad(e, "s_feature_incompat", s->incompat);
	if (get_be32(super + 0x2c) != 0)
		return bad(e, "s_feature_ro_compat", get_be32(super + 0x2c));
	if (!has_checksums(s))
		return 0;
	if ((s->incompat & INCOMPAT_CSUM_V2 && s->incompat & INCOMPAT_CSUM_V3) || s->compat)
		return bad(e, "s_feature_incompat", s->incompat);
	return check_super_checksum(s, super, e);
}

static int decode_super(struct scan *s, struct err *e)
{
	uint8_t *super = s->block;
	uint32_t length, fast;
	int rc = read_block(s, 0, super, e);

	if (rc == 0)
		rc = decode_features(s, super, e);
	if (rc < 0)
		return rc;
	if (get_be32(super + 0xc) != s->block_bytes)
		return bad(e, "s_blocksize", get_be32(super + 0xc));
	length = get_be32(super + 0x10);
	if (length > s->j->blocks)
		return bad(e, "s_maxlen", length);
	if (get_be32(super + 0x20) != 0)
		return bad(e, "s_errno", get_be32(super + 0x20));
	s->last = length;
	if (s->incompat & INCOMPAT_FAST_COMMIT) {
		fast = get_be32(super + 0x54);
		fast = fast ? fast : FAST_COMMIT_BLOCKS;
		if (fast >= length)
			return bad(e, "s_num_fc_blks", fast);
		s->last = length - fast;
	}
	s->first = get_be32(super + 0x14);
	if (s->first == 0 || s->first >= s->last)
		return bad(e, "s_first", s->first);
	s->first_tid = get_be32(super + 0x18);
	s->start = get_be32(super + 0x1c);
	if (s->start != 0 && (s->start < s->first || s->start >= s->last))
		return bad(e, "s_start", s->start);
	return 0;
}

/* ---- The log ----------------------------------------------------------------------------- */

/* Step over one block of the log, whose index is put in *index. */
static int step(struct scan *s, uint32_t *index, struct err *e)
{
	if (s->visited == s->last - s->first)
		return err_set(e, ERR_FORMAT, 0, "journal: the log has no end");
	s->visited++;
	*index = s->at++;
	if (s->at < s->last)
		return 0;
	/* Kernels differ in where a log with a fast-commit area goes round. */
	if (s->incompat & INCOMPAT_FAST_COMMIT)
		return err_set(e, ERR_FORMAT, 0, "journal: a log with fast commits that wraps");
	s->at = s->first;
	return 0;
}

static void note_damage(struct scan *s, const char *what, uint32_t index)
{
	if (s->damage)
		return;
	s->damage = what;
	s->damaged_at = index;
}

/* The checksum at `off` covers the whole block, taken as zero itself. Spoils the block. */
static bool checksum_fits(const struct scan *s, uint8_t *block, size_t off)
{
	uint32_t stored = get_be32(block + off);

	memset(block + off, 0, 4);
	return ext2fs_crc32c_le(s->seed, block, s->block_bytes) == stored;
}

static int add_write(struct scan *s, const struct ext_write *w, struct err *e)
{
	struct ext_journal *j = s->j;
	struct ext_write *writes;

	if (j->write_count == WRITES_MAX)
		return err_set(e, ERR_FORMAT, 0, "journal: more than %u blocks to replay",
			WRITES_MAX);
	writes = fs_ext_grow(j->writes, j->write_count, &s->write_room, sizeof(*writes));
	if (!writes)
		return err_nomem(e);
	j->writes = writes;
	j->writes[j->write_count] = *w;
	j->writes[j->write_count].order = (uint32_t)j->write_count;
	j->write_count++;
	return 0;
}

/*
 * A tag is 16 bytes with checksums v3. Otherwise 8: block, v1 checksum, flags; 4 more for the high
 * half of the block number; and v2 adds 2 at the end, which nothing uses.
 */
static size_t tag_bytes(const struct scan *s)
{
	if (s->incompat & INCOMPAT_CSUM_V3)
		return 16;
	return 8 + (s->incompat & INCOMPAT_64BIT ? 4 : 0) +
		(s->incompat & INCOMPAT_CSUM_V2 ? 2 : 0);
}

static int check_data(struct scan *s, const uint8_t *tag, uint32_t index, struct err *e)
{
	uint8_t tid[4] = { (uint8_t)(s->tid >> 24), (uint8_t)(s->tid >> 16), (uint8_t)(s->tid >> 8),
		(uint8_t)s->tid };
	uint32_t crc;
	int rc;

	if (!has_checksums(s) && !(s->compat & COMPAT_CHECKSUM))
		return 0;
	rc = read_block(s, index, s->data, e);
	if (rc < 0)
		return rc;
	if (!has_checksums(s)) {
		s->crc = ext2fs_crc32_be(s->crc, s->data, s->block_bytes);
		return 0;
	}
	crc = ext2fs_crc32c_le(s->seed, tid, sizeof(tid));
	crc = ext2fs_crc32c_le(crc, s->data, s->block_bytes);
	if (s->incompat & INCOMPAT_CSUM_V3 ? get_be32(tag + 12) != crc
					   : get_be16(tag + 4) != (uint16_t)crc)
		note_damage(s, "a logged block's checksum is wrong", index);
	return 0;
}

/* A list of tags; the logged copies of the blocks follow in the log, one for each tag. */
static int on_descriptor(struct scan *s, uint32_t index, struct err *e)
{
	size_t end = s->block_bytes - (has_checksums(s) ? TAIL_BYTES : 0);
	size_t size = tag_bytes(s);
	size_t off = HEADER_BYTES;
	uint32_t flags = 0;

	if (has_checksums(s) && !checksum_fits(s, s->block, s->block_bytes - TAIL_BYTES))
		note_damage(s, "a descriptor's checksum is wrong", index);
	s->crc = ext2fs_crc32_be(s->crc, s->block, s->block_bytes);
	while (off + size <= end && !(flags & TAG_LAST)) {
		const uint8_t *tag = s->block + off;
		struct ext_write w = { .block = get_be32(tag), .age = s->tid - s->first_tid };
		int rc = step(s, &w.index, e);

		if (rc < 0)
			return rc;
		flags = s->incompat & INCOMPAT_CSUM_V3 ? get_be32(tag + 4) : get_be16(tag + 6);
		if (s->incompat & INCOMPAT_64BIT)
			w.block |= (uint64_t)get_be32(tag + 8) << 32;
		w.escaped = flags & TAG_ESCAPE;
		if (w.block >= s->fs_blocks)
			note_damage(s, "a tag names a block past the end", index);
		rc = check_data(s, tag, w.index, e);
		if (rc == 0)
			rc = add_write(s, &w, e);
		if (rc < 0)
			return rc;
		off += size + (flags & TAG_SAME_UUID ? 0 : UUID_BYTES);
	}
	return 0;
}

/* Blocks whose copies in this and earlier transactions are not to be replayed. */
static int on_revoke(struct scan *s, uint32_t index, struct err *e)
{
	size_t end = s->block_bytes - (has_checksums(s) ? TAIL_BYTES : 0);
	size_t size = s->incompat & INCOMPAT_64BIT ? 8 : 4;
	uint32_t used = get_be32(s->block + 12); /* r_count: bytes, with this header of 16 */

	if (has_checksums(s) && !checksum_fits(s, s->block, s->block_bytes - TAIL_BYTES))
		note_damage(s, "a revoke block's checksum is wrong", index);
	if (used > end) {
		note_damage(s, "a revoke block is longer than a block", index);
		return 0;
	}
	for (size_t off = 16; off + size <= used; off += size) {
		const uint8_t *p = s->block + off;
		struct revoke *revokes;

		if (s->revoke_count == REVOKES_MAX)
			return err_set(e, ERR_FORMAT, 0, "journal: more than %u revocations",
				REVOKES_MAX);
		revokes =
			fs_ext_grow(s->revokes, s->revoke_count, &s->revoke_room, sizeof(*revokes));
		if (!revokes)
			return err_nomem(e);
		s->revokes = revokes;
		s->revokes[s->revoke_count++] = (struct revoke){
			.block = size == 8 ? get_be64(p) : get_be32(p),
			.age = s->tid - s->first_tid,
		};
	}
	return 0;
}

/* The transaction is whole: nothing in it may have been wrong. */
static int on_commit(struct scan *s, uint32_t index, struct err *e)
{
	uint32_t stored = get_be32(s->block + 16); /* h_chksum[0] */
	uint8_t type = s->block[12], size = s->block[13];

	if (has_checksums(s) && !checksum_fits(s, s->block, 16))
		note_damage(s, "a commit block's checksum is wrong", index);
	/* v1: the checksum may be left out. */
	if ((s->compat & COMPAT_CHECKSUM) && (type != 0 || size != 0 || stored != 0) &&
		(type != CHECKSUM_CRC32 || size != 4 || stored != s->crc))
		note_damage(s, "a transaction's checksum is wrong", index);
	if (s->damage)
		return err_set(e, ERR_FORMAT, 0,
			"journal: %s (journal block %" PRIu32 ", transaction %" PRIu32 ")",
			s->damage, s->damaged_at, s->tid);
	s->whole_writes = s->j->write_count;
	s->whole_revokes = s->revoke_count;
	s->crc = ~0u;
	s->tid++;
	return 0;
}

static int follow_log(struct scan *s, struct err *e)
{
	s->at = s->start;
	s->tid = s->first_tid;
	s->crc = ~0u;
	while (s->start != 0) {
		uint32_t index, type;
		int rc = step(s, &index, e);

		if (rc == 0)
			rc = read_block(s, index, s->block, e);
		if (rc < 0)
			return rc;
		if (get_be32(s->block) != JBD2_MAGIC || get_be32(s->block + 8) != s->tid)
			break;
		type = get_be32(s->block + 4);
		if (type == TYPE_DESCRIPTOR)
			rc = on_descriptor(s, index, e);
		else if (type == TYPE_COMMIT)
			rc = on_commit(s, index, e);
		else if (type == TYPE_REVOKE)
			rc = on_revoke(s, index, e);
		else
			rc = bad(e, "h_blocktype", type);
		if (rc < 0)
			return rc;
	}
	/* A transaction without its end is not replayed. */
	s->j->write_count = s->whole_writes;
	s->revoke_count = s->whole_revokes;
	return 0;
}

/*
 * Fast commits follow the last whole transaction in an area of their own, which begins with a head
 * that names the transaction to come (fs/ext4/fast_commit.c, ext4_fc_replay_scan). They describe
 * changes in words, not blocks; what they would allocate is not known here. A head with an older
 * number is a left-over.
 */
static int check_fast_commits(struct scan *s, struct err *e)
{
	if (!(s->incompat & INCOMPAT_FAST_COMMIT))
		return 0;
	/* The block at `last` is skipped by the kernels known; a future one may not. */
	for (uint32_t index = s->last; index < s->last + 2 && index < s->j->blocks; index++) {
		int rc = read_block(s, index, s->block, e);

		if (rc < 0)
			return rc;
		if (get_le16(s->block) == FAST_TAG_HEAD &&
			(int32_t)(get_le32(s->block + 8) - s->tid) >= 0)
			return err_set(e, ERR_FORMAT, 0, "journal: fast commits to replay");
	}
	return 0;
}

/* ---- The outcome ------------------------------------------------------------------------- */

static int by_block_and_order(const void *a, const void *b)
{
	const struct ext_write *x = a, *y = b;

	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int by_block_and_age(const void *a, const void *b)
{
	const struct revoke *x = a, *y = b;

	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return x->age < y->age ? -1 : x->age > y->age;
}

/* Of each block the last copy survives, unless a revocation is as young or younger. */
static void keep_survivors(struct scan *s)
{
	struct ext_journal *j = s->j;
	size_t kept = 0, r = 0;

	if (j->write_count > 0)
		qsort(j->writes, j->write_count, sizeof(*j->writes), by_block_and_order);
	if (s->revoke_count > 0)
		qsort(s->revokes, s->revoke_count, sizeof(*s->revokes), by_block_and_age);
	for (size_t i = 0; i < j->write_count; i++) {
		struct ext_write w = j->writes[i];

		if (i + 1 < j->write_count && j->writes[i + 1].block == w.block)
			continue;
		while (r < s->revoke_count && s->revokes[r].block < w.block)
			r++;
		while (r + 1 < s->revoke_count && s->revokes[r + 1].block == w.block)
			r++;
		if (r < s->revoke_count && s->revokes[r].block == w.block &&
			s->revokes[r].age >= w.age)
			continue;
		j->writes[kept++] = w;
	}
	j->write_count = kept;
}

static int read_log(struct scan *s, bool dirty, struct err *e)
{
	int rc = decode_super(s, e);

	if (rc < 0)
		return rc;
	if (!dirty && s->start != 0)
		return err_set(e, ERR_FORMAT, 0,
			"journal: not empty, though the file system says that it is clean");
	if (!dirty)
		return 0;
	rc = follow_log(s, e);
	if (rc == 0)
		rc = check_fast_commits(s, e);
	if (rc < 0)
		return rc;
	keep_survivors(s);
	return 0;
}

int fs_ext_log_read(struct dev *d, ext2_filsys fs, struct ext_journal *j, struct err *e)
{
	struct scan s = {
		.dev = d,
		.j = j,
		.fs_blocks = ext2fs_blocks_count(fs->super),
		.block_bytes = fs->blocksize,
		.block = malloc(fs->blocksize),
		.data = malloc(fs->blocksize),
	};
	int rc;

	if (s.block && s.data)
		rc = read_log(&s, ext2fs_has_feature_journal_needs_recovery(fs->super), e);
	else
		rc = err_nomem(e);
	free(s.block);
	free(s.data);
	free(s.revokes);
	return rc;
}
