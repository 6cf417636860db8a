/*
 * The checkpoint: struct f2fs_checkpoint begins and ends a pack, and there are two packs, written
 * in turn. A pack is whole when both blocks have a right checksum and the same version; of two
 * whole ones the later counts (Linux kernel, fs/f2fs/checkpoint.c, f2fs_get_valid_checkpoint).
 *
 *   0x00  8  version                      0x8c  4  first summary block, in the pack
 *   0x08  8  blocks for users             0x90  4  nodes
 *   0x10  8  blocks in use                0x94  4  inodes
 *   0x18  4  reserved segments            0x98  4  next free node
 *   0x1c  4  overprovision segments       0x9c  4  bytes of the SIT version bitmap
 *   0x20  4  free segments                0xa0  4  bytes of the NAT version bitmap
 *   0x24  32 segments of the node logs    0xa4  4  offset of the checksum
 *   0x44  16 their next blocks            0xa8  8  mounted time
 *   0x54  32 segments of the data logs    0xb0  16 how each log allocates, data first
 *   0x74  16 their next blocks            0xc0     the version bitmaps
 *   0x84  4  flags                        0x88  4  blocks of the pack
 *
 * Between the two blocks are: the payload, orphan inodes, summaries of the data logs and, after an
 * unmount, of the node logs. The summaries hold the journals: changes of the tables that were not
 * worth a block. SIT changes are with the cold data log, NAT changes with the hot one; or, where
 * the summaries are compact, one behind the other at the begin of the first block (fs/f2fs/
 * segment.c, read_compacted_summaries and read_normal_summaries).
 *
 * Only a state after an unmount is taken. After others a mount rolls forward: it follows a chain of
 * nodes through blocks that the tables call free, and no map is made that covers what it may find.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_f2fs_int.h"

#define BITMAPS_OFFSET 0xc0
#define CHECKSUM_OFFSET_MAX 4092
#define PACK_BLOCKS_MIN 3

#define FLAG_UMOUNT 0x0001
#define FLAG_ORPHANS 0x0002
#define FLAG_COMPACT 0x0004
#define FLAG_ERROR 0x0008
#define FLAG_FSCK 0x0010
#define FLAG_LARGE_NAT 0x0400
#define FLAG_QUOTA_FSCK 0x0800
#define FLAG_DISABLED 0x1000
#define FLAG_DISABLED_QUICK 0x2000
#define FLAG_RESIZING 0x4000

/* Those, and fastboot, two kinds of checksums in nodes, nat_bits, trimmed: they say nothing about
 * what is in use. */
#define FLAGS_KNOWN                                                                                \
	(FLAG_UMOUNT | FLAG_COMPACT | FLAG_LARGE_NAT | 0x0020u | 0x0040u | 0x0080u | 0x0100u |     \
		0x0200u)

#define JOURNAL_BYTES 507   /* SUM_JOURNAL_SIZE */
#define JOURNAL_OFFSET 3584 /* behind 512 entries of 7 bytes */
#define FOOTER_OFFSET (JOURNAL_OFFSET + JOURNAL_BYTES)
#define SIT_JOURNAL_STEP 78
#define NAT_JOURNAL_STEP 13
#define DATA_LOGS 3
#define NODE_LOGS 3

static int damaged(struct err *e, const char *field, uint64_t value)
{
	return err_set(e, ERR_FORMAT, 0, "checkpoint: %s is %" PRIu64, field, value);
}

/* ---- Which pack -------------------------------------------------------------------------- */

/* One of the two blocks of a pack. False when its checksum is wrong. */
static bool is_whole(const uint8_t *p)
{
	uint32_t at = get_le32(p + 0xa4);
	uint32_t crc;

	if (at < BITMAPS_OFFSET || at > CHECKSUM_OFFSET_MAX)
		return false;
	/* The checksum may be in the midst of the block: it covers all the rest. */
	crc = fs_f2fs_crc(F2FS_MAGIC, p, at);
	crc = fs_f2fs_crc(crc, p + at + 4, F2FS_BLOCK_BYTES - at - 4);
	return crc == get_le32(p + at);
}

/* Is there a whole pack at `block`? Its first block is then in `buf`. */
static int try_pack(struct dev *d, uint64_t block, uint8_t *buf, bool *found, struct err *e)
{
	uint8_t last[F2FS_BLOCK_BYTES];
	uint32_t blocks;
	int rc = fs_f2fs_read(d, block, 1, buf, "checkpoint", e);

	*found = false;
	if (rc < 0 || !is_whole(buf))
		return rc;
	blocks = get_le32(buf + 0x88);
	if (blocks < PACK_BLOCKS_MIN || blocks > F2FS_SEGMENT_BLOCKS)
		return 0;
	rc = fs_f2fs_read(d, block + blocks - 1, 1, last, "checkpoint", e);
	*found = rc == 0 && is_whole(last) && get_le64(last) == get_le64(buf);
	return rc;
}

/* The pack that a mount would take: c->block, and c->bytes has its first block. */
static int find_pack(struct dev *d, const struct f2fs_super *s, struct f2fs_checkpoint *c,
	struct err *e)
{
	uint8_t second[F2FS_BLOCK_BYTES];
	bool has_first, has_second;
	int rc = try_pack(d, s->checkpoint_block, c->bytes, &has_first, e);

	if (rc == 0)
		rc = try_pack(d, (uint64_t)s->checkpoint_block + F2FS_SEGMENT_BLOCKS, second,
			&has_second, e);
	if (rc < 0)
		return rc;
	if (!has_first && !has_second)
		return err_set(e, ERR_FORMAT, 0, "no valid checkpoint");
	c->block = s->checkpoint_block;
	/* The difference of versions is signed, as they may wrap. */
	if (!has_first || (has_second && (int64_t)(get_le64(second) - get_le64(c->bytes)) > 0)) {
		c->block += F2FS_SEGMENT_BLOCKS;
		memcpy(c->bytes, second, sizeof(second));
	}
	if (s->payload_blocks == 0)
		return 0;
	return fs_f2fs_read(d, (uint64_t)c->block + 1, s->payload_blocks,
		c->bytes + F2FS_BLOCK_BYTES, "checkpoint", e);
}

/* ---- Its fields -------------------------------------------------------------------------- */

static int check_flags(uint32_t flags, struct err *e)
{
	uint32_t unknown = flags & ~FLAGS_KNOWN;

	if (flags & (FLAG_ERROR | FLAG_FSCK | FLAG_QUOTA_FSCK))
		return err_set(e, ERR_FORMAT, 0, "the file system is marked as having errors");
	if (flags & (FLAG_DISABLED | FLAG_DISABLED_QUICK))
		return err_set(e, ERR_FORMAT, 0, "checkpoints are disabled");
	if (flags & FLAG_RESIZING)
		return err_set(e, ERR_FORMAT, 0, "a change of size was interrupted");
	if (!(flags & FLAG_UMOUNT))
		return err_set(e, ERR_FORMAT, 0,
			"not cleanly unmounted: what was written since the last checkpoint is not "
			"in the segment table");
	if (flags & FLAG_ORPHANS)
		return err_set(e, ERR_FORMAT, 0, "there are orphan inodes");
	if (unknown != 0)
		return err_set(e, ERR_FORMAT, 0, "unknown checkpoint flag 0x%" PRIx32,
			unknown & -unknown);
	return 0;
}

static int decode_logs(const struct f2fs_super *s, struct f2fs_checkpoint *c, struct err *e)
{
	const uint8_t *p = c->bytes;

	for (unsigned i = 0; i < F2FS_LOGS; i++) {
		bool node = i >= F2FS_NODE_LOG;
		unsigned k = node ? i - F2FS_NODE_LOG : i;

		c->logs[i].segment = get_le32(p + (node ? 0x24 : 0x54) + 4 * k);
		c->logs[i].next = get_le16(p + (node ? 0x44 : 0x74) + 2 * k);
		c->logs[i].reuses = p[0xb0 + i] != 0;
		if (c->logs[i].segment >= s->main_segments)
			return damaged(e, "the segment of a log", c->logs[i].segment);
		if (c->logs[i].next >= F2FS_SEGMENT_BLOCKS)
			return damaged(e, "the next block of a log", c->logs[i].next);
		if (p[0xb0 + i] > 1)
			return damaged(e, "alloc_type", p[0xb0 + i]);
		for (unsigned other = 0; other < i && !s->readonly; other++)
			if (c->logs[other].segment == c->logs[i].segment)
				return err_set(e, ERR_FORMAT, 0,
					"checkpoint: two logs are in segment %" PRIu32,
					c->logs[i].segment);
	}
	return 0;
}

/*
 * Where the version bitmaps are (fs/f2fs/f2fs.h, __bitmap_ptr): both in the first block; or that
 * of the SIT in the payload; or both behind the checksum, running on into the payload.
 */
static int find_bitmaps(const struct f2fs_super *s, struct f2fs_checkpoint *c, struct err *e)
{
	uint64_t sit = get_le32(c->bytes + 0x9c), nat = get_le32(c->bytes + 0xa0);
	uint64_t checksum = get_le32(c->bytes + 0xa4);
	uint64_t all = (uint64_t)(1 + s->payload_blocks) * F2FS_BLOCK_BYTES;
	uint64_t sit_at = BITMAPS_OFFSET, nat_at = sit_at + sit;
	uint64_t sit_limit = checksum, nat_limit = checksum;

	if (c->flags & FLAG_LARGE_NAT) {
		if (checksum != BITMAPS_OFFSET)
			return damaged(e, "checksum_offset", checksum);
		nat_at = BITMAPS_OFFSET + 4;
		sit_at = nat_at + nat;
		sit_limit = nat_limit = all;
	} else if (s->payload_blocks > 0) {
		nat_at = BITMAPS_OFFSET;
		sit_at = F2FS_BLOCK_BYTES;
		sit_limit = all;
	}
	/* A bit for each block of one copy. No overflow: all have 32 bits. */
	if (sit != (uint64_t)s->sit_segments / 2 * F2FS_SEGMENT_MAP_BYTES ||
		sit_at + sit > sit_limit)
		return damaged(e, "sit_ver_bitmap_bytesize", sit);
	if (nat != (uint64_t)s->nat_segments / 2 * F2FS_SEGMENT_MAP_BYTES ||
		nat_at + nat > nat_limit)
		return damaged(e, "nat_ver_bitmap_bytesize", nat);
	c->sit_bits = c->bytes + sit_at;
	c->nat_bits = c->bytes + nat_at;
	return 0;
}

static int decode(const struct f2fs_super *s, struct f2fs_checkpoint *c, struct err *e)
{
	const uint8_t *p = c->bytes;
	uint32_t behind;
	int rc;

	c->version = get_le64(p);
	c->blocks_in_use = get_le64(p + 0x10);
	c->free_segments = get_le32(p + 0x20);
	c->flags = get_le32(p + 0x84);
	c->pack_blocks = get_le32(p + 0x88);
	c->first_summary = get_le32(p + 0x8c);
	c->nodes = get_le32(p + 0x90);
	rc = check_flags(c->flags, e);
	if (rc == 0)
		rc = decode_logs(s, c, e);
	if (rc == 0)
		rc = find_bitmaps(s, c, e);
	if (rc < 0)
		return rc;
	/* Without orphans the summaries follow the payload; the last block follows them. */
	if (c->first_summary != 1 + s->payload_blocks || c->pack_blocks < c->first_summary)
		return damaged(e, "cp_pack_start_sum", c->first_summary);
	behind = c->pack_blocks - c->first_summary;
	if (behind > DATA_LOGS + NODE_LOGS + 1 || behind < NODE_LOGS + 2 ||
		(!(c->flags & FLAG_COMPACT) && behind != DATA_LOGS + NODE_LOGS + 1))
		return damaged(e, "cp_pack_total_block_count", c->pack_blocks);
	return 0;
}

/* ---- Journals ---------------------------------------------------------------------------- */

int fs_f2fs_segment_decode(const uint8_t *p, uint32_t number, struct f2fs_segment *out,
	struct err *e)
{
	unsigned found = 0;

	out->number = number;
	out->blocks = get_le16(p) & 0x3FF;
	out->log = get_le16(p) >> 10;
	memcpy(out->bits, p + 2, sizeof(out->bits));
	for (size_t i = 0; i < sizeof(out->bits); i++)
		found += (unsigned)__builtin_popcount(out->bits[i]);
	if (found != out->blocks)
		return err_set(e, ERR_FORMAT, 0,
			"segment %" PRIu32 ": its bitmap has %u blocks, its counter says %u",
			number, found, out->blocks);
	if (out->log >= F2FS_LOGS)
		return err_set(e, ERR_FORMAT, 0, "segment %" PRIu32 ": its type is %u", number,
			out->log);
	return 0;
}

static int decode_sit_journal(const struct f2fs_super *s, const uint8_t *p,
	struct f2fs_checkpoint *c, struct err *e)
{
	unsigned count = get_le16(p);

	if (count > F2FS_SIT_JOURNAL_MAX)
		return damaged(e, "the number of SIT entries in the journal", count);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *entry = p + 2 + (size_t)SIT_JOURNAL_STEP * i;
		uint32_t number = get_le32(entry);
		int rc = fs_f2fs_segment_decode(entry + 4, number, &c->sit_journal[i], e);

		if (rc < 0)
			return rc;
		if (number >= s->main_segments)
			return damaged(e, "a segment in the journal", number);
		for (unsigned k = 0; k < i; k++)
			if (c->sit_journal[k].number == number)
				return err_set(e, ERR_FORMAT, 0,
					"segment %" PRIu32 " is twice in the journal", number);
	}
	c->sit_journal_count = count;
	return 0;
}

static int decode_nat_journal(const uint8_t *p, struct f2fs_checkpoint *c, struct err *e)
{
	unsigned count = get_le16(p);

	if (count > F2FS_NAT_JOURNAL_MAX)
		return damaged(e, "the number of NAT entries in the journal", count);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *entry = p + 2 + (size_t)NAT_JOURNAL_STEP * i;
		struct f2fs_node *n = &c->nat_journal[i];

		/* struct f2fs_nat_entry: version, inode, block. */
		n->number = get_le32(entry);
		n->block = get_le32(entry + 9);
		for (unsigned k = 0; k < i; k++)
			if (c->nat_journal[k].number == n->number)
				return err_set(e, ERR_FORMAT, 0,
					"node %" PRIu32 " is twice in the journal", n->number);
	}
	c->nat_journal_count = count;
	return 0;
}

static int read_journals(struct dev *d, const struct f2fs_super *s, struct f2fs_checkpoint *c,
	struct err *e)
{
	uint8_t blocks[DATA_LOGS * F2FS_BLOCK_BYTES];
	const uint8_t *nat = blocks, *sit = blocks + JOURNAL_BYTES;
	bool compact = c->flags & FLAG_COMPACT;
	int rc = fs_f2fs_read(d, (uint64_t)c->block + c->first_summary, compact ? 1 : DATA_LOGS,
		blocks, "summaries", e);

	if (rc < 0)
		return rc;
	if (!compact) {
		for (unsigned i = 0; i < DATA_LOGS; i++)
			if (blocks[i * F2FS_BLOCK_BYTES + FOOTER_OFFSET] != 0)
				return err_set(e, ERR_FORMAT, 0,
					"the summary of a data log is not one of data");
		nat = blocks + JOURNAL_OFFSET;
		sit = blocks + (size_t)(DATA_LOGS - 1) * F2FS_BLOCK_BYTES + JOURNAL_OFFSET;
	}
	rc = decode_nat_journal(nat, c, e);
	if (rc == 0)
		rc = decode_sit_journal(s, sit, c, e);
	return rc;
}

int fs_f2fs_checkpoint_read(struct dev *d, const struct f2fs_super *s, struct f2fs_checkpoint *out,
	struct err *e)
{
	int rc;

	memset(out, 0, sizeof(*out));
	out->bytes = malloc((size_t)(1 + s->payload_blocks) * F2FS_BLOCK_BYTES);
	if (!out->bytes)
		return err_nomem(e);
	rc = find_pack(d, s, out, e);
	if (rc == 0)
		rc = decode(s, out, e);
	if (rc == 0)
		rc = read_journals(d, s, out, e);
	return rc;
}

void fs_f2fs_checkpoint_fini(struct f2fs_checkpoint *c)
{
	free(c->bytes);
	c->bytes = NULL;
}
