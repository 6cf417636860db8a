/*
 * Inside the Btrfs map (fs_btrfs*.c): fs_btrfs.c (the order of things), fs_btrfs_super.c (the
 * superblock and its copies), fs_btrfs_tree.c (tree blocks and walks), fs_btrfs_chunk.c (logical to
 * physical addresses), fs_btrfs_extent.c (what is in use), fs_btrfs_space.c (what the free space
 * tree says), fs_btrfs_log.c (the log trees). Nobody else includes this.
 *
 * Layouts are cited from the Btrfs documentation, "On-disk Format" (btrfs.readthedocs.io,
 * dev/On-disk-format), called [BTRFS] in the comments, by the name of the structure; what it leaves
 * out, from the names in Linux' include/uapi/linux/btrfs_tree.h, called [UAPI].
 *
 * "Logical" addresses are those of the file system, "physical" ones bytes of the device.
 */
#ifndef FS_FS_BTRFS_INT_H
#define FS_FS_BTRFS_INT_H

#include "base/mem.h"
#include "fs/fs_ops.h"
#include "fs/fs_runs.h"

#define BTRFS_SUPER_BYTES 4096
#define BTRFS_CSUM_BYTES 32 /* of the field; a checksum fills the first 4, 8 or all of it */
#define BTRFS_UUID_BYTES 16
#define BTRFS_KEY_BYTES 17
#define BTRFS_MAX_LEVEL 7

/* Superblocks keep this much to themselves, wherever they lie (Linux: exclude_super_stripes). */
#define BTRFS_SUPER_STRIPE_BYTES (64 * KIB)

/* Trees by number ([BTRFS] "Reserved objectids"). */
#define BTRFS_ROOT_TREE 1
#define BTRFS_EXTENT_TREE 2
#define BTRFS_CHUNK_TREE 3
#define BTRFS_DEV_TREE 4
#define BTRFS_FREE_SPACE_TREE 10
#define BTRFS_BLOCK_GROUP_TREE 11
#define BTRFS_LOG_TREE ((uint64_t)-6)
#define BTRFS_RELOC_TREE ((uint64_t)-8)

/* The first (and only) object of the chunk tree's chunks. */
#define BTRFS_FIRST_CHUNK 256

/* Types of items ([BTRFS] "Item Types"). */
enum btrfs_item_type {
	BTRFS_INODE_ITEM = 1,
	BTRFS_INODE_REF = 12,
	BTRFS_INODE_EXTREF = 13,
	BTRFS_XATTR_ITEM = 24,
	BTRFS_ORPHAN_ITEM = 48,
	BTRFS_DIR_LOG_ITEM = 60,
	BTRFS_DIR_LOG_INDEX = 72,
	BTRFS_DIR_ITEM = 84,
	BTRFS_DIR_INDEX = 96,
	BTRFS_EXTENT_DATA = 108,
	BTRFS_EXTENT_CSUM = 128,
	BTRFS_ROOT_ITEM = 132,
	BTRFS_EXTENT_ITEM = 168,
	BTRFS_METADATA_ITEM = 169,
	BTRFS_TREE_BLOCK_REF = 176,
	BTRFS_EXTENT_DATA_REF = 178,
	BTRFS_SHARED_BLOCK_REF = 182,
	BTRFS_SHARED_DATA_REF = 184,
	BTRFS_BLOCK_GROUP_ITEM = 192,
	BTRFS_FREE_SPACE_INFO = 198,
	BTRFS_FREE_SPACE_EXTENT = 199,
	BTRFS_FREE_SPACE_BITMAP = 200,
	BTRFS_DEV_EXTENT = 204,
	BTRFS_DEV_ITEM = 216,
	BTRFS_CHUNK_ITEM = 228,
	BTRFS_PERSISTENT_ITEM = 249,
	BTRFS_DEV_REPLACE = 250,
};

/* Types of chunks and block groups ([UAPI] BTRFS_BLOCK_GROUP_*). */
#define BTRFS_DATA 0x1
#define BTRFS_SYSTEM 0x2
#define BTRFS_METADATA 0x4
#define BTRFS_RAID0 0x8
#define BTRFS_DUP 0x20
#define BTRFS_KIND_MASK (BTRFS_DATA | BTRFS_SYSTEM | BTRFS_METADATA)

/* [BTRFS] "DEV_ITEM": the same in the superblock and in the chunk tree. */
#define BTRFS_DEV_ITEM_BYTES 98

struct btrfs_dev {
	uint64_t id;
	uint64_t total_bytes;
	uint64_t used_bytes; /* in device extents */
	uint8_t uuid[BTRFS_UUID_BYTES];
	uint8_t fsid[BTRFS_UUID_BYTES];
};

/* What a tree begins with: a pointer to its root block and what has to be there. */
struct btrfs_root {
	uint64_t owner;	  /* number of the tree; BTRFS_LOG_TREE for all log trees */
	uint64_t logical; /* 0: there is no such tree */
	uint64_t generation;
	uint8_t level;
};

struct btrfs_super {
	uint8_t fsid[BTRFS_UUID_BYTES];
	uint8_t block_fsid[BTRFS_UUID_BYTES]; /* what tree blocks carry: fsid or metadata_uuid */
	uint64_t generation;
	struct btrfs_root root, chunk_root, log_root;
	uint64_t total_bytes;
	uint64_t used_bytes; /* sum over all block groups */
	uint32_t sector_bytes;
	uint32_t node_bytes;
	uint64_t compat_ro, incompat;
	uint16_t csum_type;
	struct btrfs_dev dev;
	const uint8_t *chunks; /* pairs of key and chunk: those of type BTRFS_SYSTEM; in `raw` */
	uint32_t chunks_bytes;
	uint8_t raw[BTRFS_SUPER_BYTES];
};

#define BTRFS_INCOMPAT_MIXED_GROUPS 0x4
#define BTRFS_COMPAT_RO_FREE_SPACE_TREE 0x1
#define BTRFS_COMPAT_RO_FREE_SPACE_TREE_VALID 0x2
#define BTRFS_COMPAT_RO_BLOCK_GROUP_TREE 0x8

/* All mirrors lie on the one device: a second stripe is DUP's. */
#define BTRFS_MAX_STRIPES 2

struct btrfs_chunk {
	uint64_t start; /* logical */
	uint64_t len;
	uint64_t type;
	uint64_t stripes[BTRFS_MAX_STRIPES]; /* physical */
	unsigned stripe_count;
	unsigned dev_extents; /* bit i: the device tree knows stripe i */
	bool has_group;
	uint64_t group_used; /* what its block group says */
	uint64_t used;	     /* what its extents come to */
};

/* Sorted by start, disjoint. */
struct btrfs_chunks {
	struct btrfs_chunk *list;
	size_t count;
	size_t room;
};

struct btrfs_key {
	uint64_t objectid;
	uint8_t type;
	uint64_t offset;
};

struct btrfs_item {
	struct btrfs_key key;
	const uint8_t *data; /* valid during the call */
	uint32_t len;
};

/* Logical ranges. */
struct btrfs_ranges {
	struct fs_run *list;
	size_t count;
	size_t room;
};

/* Free space, in the order of logical addresses, as one value: two sources can be compared. */
struct btrfs_digest {
	uint64_t hash;
	uint64_t bytes;
	uint64_t start, end; /* the run that may still grow; empty when equal */
};

struct fs_btrfs {
	struct dev *dev;
	struct btrfs_super super;
	struct btrfs_chunks chunks;
	struct btrfs_root extent_root, dev_root, group_root, space_root;
	struct fs_runs free;	   /* physical */
	struct btrfs_ranges used;  /* tree blocks seen, and roots: must turn out to be in use */
	struct btrfs_ranges log;   /* what the log trees hold and refer to: kept, free or not */
	struct btrfs_digest space; /* free space by the extent tree */
	uint64_t second_copies;	   /* tree blocks of which the first copy was damaged */
};

/* ---- fs_btrfs.c -------------------------------------------------------------------------- */

/* A ROOT_ITEM: `owner` becomes the number of its key. */
int fs_btrfs_root_decode(const struct btrfs_item *item, struct btrfs_root *out, struct err *e);

/* ---- fs_btrfs_super.c -------------------------------------------------------------------- */

/*
 * Read and check the superblock and its copies. Refuses, with the field's name, unknown features,
 * sizes out of their limits, more than one device, and a device smaller than the file system.
 */
int fs_btrfs_super_read(struct fs_btrfs *v, struct err *e);

/* Is the superblock still what it was? If so nothing read since then can have been rewritten. */
int fs_btrfs_super_recheck(struct fs_btrfs *v, struct err *e);

/* Is the checksum at p, over what follows it up to p + len, right? */
bool fs_btrfs_csum_ok(uint16_t csum_type, const uint8_t *p, size_t len);

/* Where superblock i lies (i = 0, 1, 2). */
uint64_t fs_btrfs_super_place(unsigned i);
#define BTRFS_SUPERS 3

void fs_btrfs_dev_decode(const uint8_t *p, struct btrfs_dev *out);

/* ---- fs_btrfs_tree.c --------------------------------------------------------------------- */

/* Told about each item in ascending order; a negative return stops the walk and is passed on. */
typedef int (*fs_btrfs_item_fn)(void *user, const struct btrfs_item *item, struct err *e);

/*
 * Call fn for each item of a tree. Every block of it is checked: checksum, file system, address,
 * generation, level, owner, order of keys. The blocks are noted in v->used (v->log for log trees).
 */
int fs_btrfs_walk(struct fs_btrfs *v, const struct btrfs_root *root, fs_btrfs_item_fn fn,
	void *user, struct err *e);

struct btrfs_key fs_btrfs_key(const uint8_t *p);
int fs_btrfs_key_compare(const struct btrfs_key *a, const struct btrfs_key *b);

/* A refusal that names the item: "TREE: item (OBJECTID TYPE OFFSET): WHAT". */
int fs_btrfs_bad_item(const char *tree, const struct btrfs_item *item, struct err *e,
	const char *what);

int fs_btrfs_ranges_add(struct btrfs_ranges *r, uint64_t logical, uint64_t len, struct err *e);

/* ---- fs_btrfs_chunk.c -------------------------------------------------------------------- */

/* The chunks: first the superblock's, then, by way of these, all. The device's item is checked. */
int fs_btrfs_chunks_read(struct fs_btrfs *v, struct err *e);

/* The device tree: its extents must be the chunks' stripes. What is in none is free. */
int fs_btrfs_dev_extents_read(struct fs_btrfs *v, struct err *e);

/* The chunk that holds all of [logical, logical + len), or NULL. */
struct btrfs_chunk *fs_btrfs_chunk_of(const struct fs_btrfs *v, uint64_t logical, uint64_t len);

/* ---- fs_btrfs_extent.c ------------------------------------------------------------------- */

/* Extents and block groups: checked against each other and the chunks; gaps go to v->free. */
int fs_btrfs_extents_read(struct fs_btrfs *v, struct err *e);

/* ---- fs_btrfs_space.c -------------------------------------------------------------------- */

void fs_btrfs_digest_add(struct btrfs_digest *d, uint64_t logical, uint64_t len);
void fs_btrfs_digest_end(struct btrfs_digest *d);

/* The free space tree, where there is one: the same gaps as v->space, or it is a refusal. */
int fs_btrfs_space_check(struct fs_btrfs *v, struct err *e);

/* ---- fs_btrfs_log.c ---------------------------------------------------------------------- */

/* Note in v->log what the log trees, when there are any, consist of and refer to. */
int fs_btrfs_log_read(struct fs_btrfs *v, struct err *e);

#endif
