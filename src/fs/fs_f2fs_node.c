/*
 * Nodes: inodes, and blocks of pointers to data or to other nodes (struct f2fs_node). They are read
 * only where the checkpoint counts blocks that the segment table does not have. Such blocks are
 * reserved for a file, by fallocate or because a cluster of blocks was compressed into fewer, and
 * have no place yet; but a block that the segment table has lost would look the same. So all
 * pointers are followed: those to a place must be to one that is in use, and those without a place
 * are counted.
 *
 *   struct f2fs_inode: 0x00 2 mode, 0x03 1 i_inline, 0x168 923 pointers of 4 bytes, of which the
 *   first may be other fields (extra_attr: 0x168 2 their size, 0x16a 2 inline_xattr_size) and the
 *   last the extended attributes
 *   struct node_footer, the last 24 bytes: 4 node, 4 inode, 4 flags and, from bit 3 on, which node
 *   of the file this is (Linux kernel, fs/f2fs/node.h: a node's place tells what is in it)
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "fs/fs_f2fs_int.h"

#define FOOTER_OFFSET (F2FS_BLOCK_BYTES - 24)
#define POINTERS_OFFSET 0x168
#define INODE_POINTERS 923
#define NODE_POINTERS 1018
#define XATTR_NODE 0x1FFFFFFF
#define INLINE_XATTR_POINTERS 50 /* where no feature lets an inode say how many */

/* i_inline */
#define INLINE_XATTR 0x01
#define INLINE_DATA 0x02
#define INLINE_DENTRY 0x04
#define EXTRA_ATTR 0x20
#define COMPRESS_RELEASED 0x80

/* Pointers without a place */
#define NEW_ADDR 0xFFFFFFFF
#define COMPRESS_ADDR 0xFFFFFFFE /* the first block of a compressed cluster */

/* The n-th node of a file: does it point to nodes? [inode, 2 x data, then trees of them] */
static bool points_to_nodes(uint32_t n)
{
	if (n == 3 || n == 4 + NODE_POINTERS || n == 5 + 2 * NODE_POINTERS)
		return true;
	return n >= 6 + 2 * NODE_POINTERS && (n - 6 - 2 * NODE_POINTERS) % (NODE_POINTERS + 1) == 0;
}

static int check_pointers(struct fs_f2fs *v, const struct map *m, uint32_t number, const uint8_t *p,
	uint32_t count, struct err *e)
{
	uint32_t first = v->super.main_block;
	uint64_t end = first + (uint64_t)v->super.main_segments * F2FS_SEGMENT_BLOCKS;
	size_t hint = 0;

	for (const uint8_t *stop = p + (size_t)count * 4; p < stop; p += 4) {
		uint32_t block = get_le32(p);

		if (block == 0)
			continue;
		if (block == NEW_ADDR || block == COMPRESS_ADDR) {
			v->reserved++;
			continue;
		}
		if (block < first || block >= end)
			return err_set(e, ERR_FORMAT, 0,
				"node %" PRIu32 " points to block %" PRIu32
				", which is outside the main area",
				number, block);
		if (map_run(m, (uint64_t)block * F2FS_BLOCK_BYTES, &hint).kind != MAP_DATA)
			return err_set(e, ERR_FORMAT, 0,
				"node %" PRIu32 " points to block %" PRIu32
				", which is marked free",
				number, block);
	}
	return 0;
}

static int check_inode(struct fs_f2fs *v, const struct map *m, uint32_t number, const uint8_t *p,
	struct err *e)
{
	unsigned format = get_le16(p) & S_IFMT, flags = p[3];
	uint32_t extra = 0, xattr = 0;

	/* Others have a device's number there, or the content itself. */
	if ((format != S_IFREG && format != S_IFDIR && format != S_IFLNK) ||
		(flags & (INLINE_DATA | INLINE_DENTRY)))
		return 0;
	/* A released cluster still begins with this pointer, but no longer counts. */
	if (flags & COMPRESS_RELEASED)
		return err_set(e, ERR_FORMAT, 0,
			"inode %" PRIu32 " has released blocks of compressed clusters", number);
	if (flags & EXTRA_ATTR)
		extra = get_le16(p + POINTERS_OFFSET);
	if (v->super.flexible_xattr)
		xattr = flags & EXTRA_ATTR ? get_le16(p + POINTERS_OFFSET + 2) : 0;
	else if (flags & INLINE_XATTR)
		xattr = INLINE_XATTR_POINTERS;
	if (extra % 4 != 0 || extra / 4 + xattr > INODE_POINTERS)
		return err_set(e, ERR_FORMAT, 0, "inode %" PRIu32 " has no room for its attributes",
			number);
	return check_pointers(v, m, number, p + POINTERS_OFFSET + extra,
		INODE_POINTERS - extra / 4 - xattr, e);
}

int fs_f2fs_node_check(struct fs_f2fs *v, const struct map *m, uint32_t number, uint32_t block,
	struct err *e)
{
	uint8_t p[F2FS_BLOCK_BYTES];
	const uint8_t *footer = p + FOOTER_OFFSET;
	uint32_t place;
	int rc = fs_f2fs_read(v->dev, block, 1, p, "node", e);

	if (rc < 0)
		return rc;
	if (get_le32(footer) != number)
		return err_set(e, ERR_FORMAT, 0,
			"block %" PRIu32 " should be node %" PRIu32 ", and is %" PRIu32, block,
			number, get_le32(footer));
	place = get_le32(footer + 8) >> 3;
	if (get_le32(footer + 4) == number)
		return check_inode(v, m, number, p, e);
	/* Pointers to nodes are in the node table, which is walked anyway. */
	if (place == XATTR_NODE || points_to_nodes(place))
		return 0;
	return check_pointers(v, m, number, p, NODE_POINTERS, e);
}
