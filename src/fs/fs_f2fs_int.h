/*
 * Shared by the files of the F2FS row: fs_f2fs.c (the order of things), fs_f2fs_super.c (the
 * superblocks), fs_f2fs_checkpoint.c (the valid checkpoint pack and its journals), fs_f2fs_sit.c
 * (which blocks are in use, into the map), fs_f2fs_nat.c and fs_f2fs_node.c (the nodes, checked
 * against it). Nobody else includes this.
 *
 * Layouts are cited by the names of their structures in the Linux kernel, include/linux/f2fs_fs.h,
 * and the on-disk layout of Documentation/filesystems/f2fs.rst. All numbers are little-endian.
 * Segments are counted from the begin of the main area, blocks from the begin of the device.
 */
#ifndef FS_FS_F2FS_INT_H
#define FS_FS_F2FS_INT_H

#include "device/dev.h"
#include "fs/fs_ops.h"
#include "map/map.h"

#define F2FS_BLOCK_BYTES 4096 /* the kernel has no other on machines with pages of 4 KiB */
#define F2FS_SEGMENT_BLOCKS 512
#define F2FS_SEGMENT_MAP_BYTES (F2FS_SEGMENT_BLOCKS / 8)
#define F2FS_LOGS 6	/* logs in use; struct f2fs_checkpoint has room for 16 */
#define F2FS_NODE_LOG 3 /* logs from this on are of nodes: hot, warm, cold; before it of data */
#define F2FS_WARM_NODE_LOG 4

/* What the map needs of struct f2fs_super_block, checked: each area lies behind the one before. */
struct f2fs_super {
	uint32_t checkpoint_block;
	uint32_t sit_block, sit_segments; /* the segments of both copies; even */
	uint32_t nat_block, nat_segments;
	uint32_t main_block, main_segments;
	uint32_t payload_blocks; /* of a checkpoint pack, behind its first block */
	bool readonly;		 /* made once, never written: only two logs */
	bool flexible_xattr;	 /* inodes say how much room attributes take */
};

/* struct f2fs_sit_entry, as in the table or a journal. */
struct f2fs_segment {
	uint32_t number;
	unsigned blocks;		      /* in use, as the entry says */
	unsigned log;			      /* that it was written by */
	uint8_t bits[F2FS_SEGMENT_MAP_BYTES]; /* the highest bit of a byte is its first block */
};

/* struct nat_journal_entry. */
struct f2fs_node {
	uint32_t number;
	uint32_t block;
};

/* Entries that fit the journals in a summary block (SIT_JOURNAL_ENTRIES, NAT_JOURNAL_ENTRIES). */
#define F2FS_SIT_JOURNAL_MAX 6
#define F2FS_NAT_JOURNAL_MAX 38

/* The checkpoint that a mount would take. */
struct f2fs_checkpoint {
	uint64_t version;
	uint32_t block; /* where its pack begins */
	uint32_t flags;
	uint32_t pack_blocks, first_summary;
	uint64_t blocks_in_use;
	uint32_t free_segments, nodes;
	struct {
		uint32_t segment;
		uint32_t next; /* block in the segment that will be written next */
		bool reuses;   /* it fills gaps (SSR), else it only appends (LFS) */
	} logs[F2FS_LOGS];
	uint8_t *bytes; /* first block and payload of the pack, malloc'ed; holds the bitmaps */
	const uint8_t *sit_bits, *nat_bits; /* set: the second copy of a table's block is valid */
	struct f2fs_segment sit_journal[F2FS_SIT_JOURNAL_MAX];
	struct f2fs_node nat_journal[F2FS_NAT_JOURNAL_MAX];
	unsigned sit_journal_count, nat_journal_count;
};

struct fs_f2fs {
	struct dev *dev;
	struct f2fs_super super;
	struct f2fs_checkpoint checkpoint;
	uint8_t *node_segments; /* a bit for each segment that holds nodes; malloc'ed */
	uint64_t missing;	/* blocks that the checkpoint counts and the segment table lacks */
	uint64_t reserved;	/* blocks that files have, without a place; counted if missing */
};

/* Bit n of a bitmap of F2FS: from the highest of each byte down. */
static inline bool fs_f2fs_bit(const uint8_t *bits, uint32_t n)
{
	return bits[n / 8] >> (7 - n % 8) & 1;
}

/* CRC-32 (polynomial 0xEDB88320, not inverted), as F2FS begins it: with its magic number. */
#define F2FS_MAGIC 0xF2F52010
uint32_t fs_f2fs_crc(uint32_t crc, const uint8_t *p, size_t len);

/* `count` blocks, or an error that says `what` could not be read. */
int fs_f2fs_read(struct dev *d, uint64_t block, uint32_t count, uint8_t *buf, const char *what,
	struct err *e);

/* Read and check both superblocks: known features, areas inside each other and the device. */
int fs_f2fs_super_read(struct dev *d, struct f2fs_super *out, struct err *e);

/* struct f2fs_sit_entry; the number is the caller's. Checks the count against the bits. */
int fs_f2fs_segment_decode(const uint8_t *p, uint32_t number, struct f2fs_segment *out,
	struct err *e);

/*
 * Find the valid pack, check that nothing is left to repair or to replay, read its journals.
 * fs_f2fs_checkpoint_fini, also after a failure.
 */
int fs_f2fs_checkpoint_read(struct dev *d, const struct f2fs_super *s, struct f2fs_checkpoint *out,
	struct err *e);
void fs_f2fs_checkpoint_fini(struct f2fs_checkpoint *c);

/*
 * Set to MAP_FREE in m the blocks of the main area that are not in use. The table must agree with
 * the checkpoint: counts of blocks, nodes and free segments, and where each log goes on. *coarse
 * is set when the shortest free runs were kept as data.
 */
int fs_f2fs_sit_map(struct fs_f2fs *v, struct map *m, bool *coarse, struct err *e);

/*
 * Every node must be a block that is in use, in a segment of nodes; and their number be right. With
 * v->missing, all nodes are read, and their pointers without a place must be as many.
 */
int fs_f2fs_nat_check(struct fs_f2fs *v, const struct map *m, struct err *e);

/* Check the pointers of a node against the map; count into v->reserved. */
int fs_f2fs_node_check(struct fs_f2fs *v, const struct map *m, uint32_t number, uint32_t block,
	struct err *e);

#endif
