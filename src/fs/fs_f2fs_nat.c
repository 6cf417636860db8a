/*
 * The node address table: where each node (an inode, or a block of pointers) is. A block of it
 * (struct f2fs_nat_block) has 455 entries of 9 bytes: version, inode, block. It has two copies
 * whose segments alternate, and the checkpoint's bitmap says which one is valid, block by block
 * (Linux kernel, fs/f2fs/node.h, current_nat_addr). The journal counts more than the table.
 *
 * Nothing is taken from it for the map: it is an account of the file system that is kept apart from
 * the segment table, so that the two confirm each other.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_f2fs_int.h"

#define ENTRIES 455
#define ENTRY_BYTES 9
#define FIRST_NODE 3 /* none, and two inodes of the file system itself, which have no block */

static int check_node(const struct fs_f2fs *v, const struct map *m, uint32_t number, uint32_t block,
	struct err *e)
{
	uint32_t first = v->super.main_block;
	uint64_t end = first + (uint64_t)v->super.main_segments * F2FS_SEGMENT_BLOCKS;

	if (block < first || block >= end)
		return err_set(e, ERR_FORMAT, 0,
			"node %" PRIu32 ": its block %" PRIu32 " is outside the main area", number,
			block);
	if (map_run(m, (uint64_t)block * F2FS_BLOCK_BYTES, NULL).kind != MAP_DATA)
		return err_set(e, ERR_FORMAT, 0,
			"node %" PRIu32 ": its block %" PRIu32 " is marked free", number, block);
	if (!fs_f2fs_bit(v->node_segments, (block - first) / F2FS_SEGMENT_BLOCKS))
		return err_set(e, ERR_FORMAT, 0,
			"node %" PRIu32 ": its block %" PRIu32 " is in a segment of data", number,
			block);
	return 0;
}

static uint32_t block_of(const struct fs_f2fs *v, const uint8_t *entry, uint32_t number)
{
	const struct f2fs_checkpoint *c = &v->checkpoint;

	for (unsigned i = 0; i < c->nat_journal_count; i++)
		if (c->nat_journal[i].number == number)
			return c->nat_journal[i].block;
	return get_le32(entry + 5);
}

static int check_block(struct fs_f2fs *v, const struct map *m, uint32_t index, uint64_t *nodes,
	struct err *e)
{
	uint8_t buf[F2FS_BLOCK_BYTES];
	uint32_t within = index % F2FS_SEGMENT_BLOCKS;
	uint64_t at = (uint64_t)v->super.nat_block + 2 * (uint64_t)(index - within) + within;
	int rc;

	if (fs_f2fs_bit(v->checkpoint.nat_bits, index))
		at += F2FS_SEGMENT_BLOCKS;
	rc = fs_f2fs_read(v->dev, at, 1, buf, "node table", e);
	for (uint32_t i = 0; i < ENTRIES && rc == 0; i++) {
		uint32_t number = index * ENTRIES + i;
		uint32_t block = block_of(v, buf + (size_t)i * ENTRY_BYTES, number);

		if (number < FIRST_NODE || block == 0)
			continue;
		if (++*nodes > v->checkpoint.nodes)
			return err_set(e, ERR_FORMAT, 0,
				"the node table has more nodes than the checkpoint says: %" PRIu32,
				v->checkpoint.nodes);
		rc = check_node(v, m, number, block, e);
		if (rc == 0 && v->missing > 0)
			rc = fs_f2fs_node_check(v, m, number, block, e);
	}
	return rc;
}

/* Reading every node must cost less than the map can save. */
static int check_cost(const struct fs_f2fs *v, const struct map *m, struct err *e)
{
	uint64_t bytes = (uint64_t)v->checkpoint.nodes * F2FS_BLOCK_BYTES;

	if (v->missing == 0 || bytes <= map_bytes(m, MAP_FREE))
		return 0;
	return err_set(e, ERR_FORMAT, 0,
		"%" PRIu64
		" blocks are counted, but not in the segment table, and reading all nodes "
		"to find them would take longer than all blocks",
		v->missing);
}

int fs_f2fs_nat_check(struct fs_f2fs *v, const struct map *m, struct err *e)
{
	uint32_t blocks = v->super.nat_segments / 2 * F2FS_SEGMENT_BLOCKS;
	const struct f2fs_checkpoint *c = &v->checkpoint;
	uint64_t nodes = 0;
	int rc;

	/* Node numbers have 32 bits. */
	if ((uint64_t)blocks * ENTRIES > UINT32_MAX)
		return err_set(e, ERR_FORMAT, 0, "superblock: segment_count_nat is %" PRIu32,
			v->super.nat_segments);
	rc = check_cost(v, m, e);
	for (unsigned i = 0; i < c->nat_journal_count && rc == 0; i++)
		if (c->nat_journal[i].number >= blocks * ENTRIES)
			return err_set(e, ERR_FORMAT, 0,
				"checkpoint: a node in the journal is %" PRIu32,
				c->nat_journal[i].number);
	for (uint32_t index = 0; index < blocks && rc == 0; index++)
		rc = check_block(v, m, index, &nodes, e);
	if (rc == 0 && nodes != c->nodes)
		rc = err_set(e, ERR_FORMAT, 0,
			"the node table has %" PRIu64 " nodes, the checkpoint says %" PRIu32, nodes,
			c->nodes);
	if (rc == 0 && v->reserved != v->missing)
		rc = err_set(e, ERR_FORMAT, 0,
			"%" PRIu64 " blocks are counted, but not in the segment table, and files "
			"have %" PRIu64 " blocks reserved",
			v->missing, v->reserved);
	return rc;
}
