/*
 * What a recovery of the log writes to the metadata of free space, found without writing. [XFS]
 * "Journaling Log", struct xfs_buf_log_format; the rules are those of a mount
 * (fs/xfs/xfs_buf_item_recover.c and xfs_log_recover.c in Linux).
 *
 * The log holds the changed parts of blocks, 128 bytes each. A first pass finds the places that
 * were given up later (cancelled): what the log says of them before that must not be written, as
 * they may be file data by now. The second pass lays the parts over the blocks on the disk, except
 * where a block's LSN says that it is as new already. Within a transaction cancellations come last.
 *
 * Only superblock, AGF, AGFL and free-space trees are followed. Of everything else the place is
 * remembered: recovery reads it before it changes it, so it must be in the image; and should a
 * free-space tree lie there, then something was misunderstood, and the overlay refuses to read it.
 *
 * What recovery does after that (work off intents and unlinked files, free leftovers of
 * copy-on-write) only begins from what the replay left: it reads what is in use by then, and what
 * it allocates it writes first.
 */
#include <inttypes.h>

#include "fs/fs_xfs_int.h"

#define ITEM_INODE 0x123b
#define ITEM_BUFFER 0x123c
#define ITEM_DQUOT 0x123d
#define ITEM_ICREATE 0x123f

#define BUFFER_CANCEL 0x2
#define BUFFER_TYPE_SHIFT 11
#define TYPE_TREE 4
#define TYPE_AGF 5
#define TYPE_AGFL 6
#define TYPE_SUPER 18
#define BUFFER_HEAD 20 /* then the map, a bit for each part */
#define PART_BYTES 128
#define MAP_WORDS_MAX 64

/* Bounds: places that the log names, and memory for blocks that are followed. */
#define PLACES_MAX (4u << 20)
#define FOLLOWED_MAX (128 * MIB)

struct replay {
	struct dev *dev;
	const struct xfs_super *s;
	struct xfs_logged *list;
	size_t count, room;
	uint32_t *index; /* hash table of places, by number + 1; 0 is empty */
	size_t index_size;
	uint64_t followed;
	bool second;
};

struct buffer {
	uint64_t sector;
	uint32_t sectors;
	bool cancel;
	unsigned type;
	uint32_t words;
	const uint8_t *map;
};

static int bad(struct err *e, uint64_t lsn, const char *what)
{
	return err_set(e, ERR_FORMAT, 0, "log: %s (transaction %" PRIu32 ":%" PRIu32 ")", what,
		(uint32_t)(lsn >> 32), (uint32_t)lsn);
}

/* ---- Places ------------------------------------------------------------------------------ */

static size_t slot_of(const struct replay *r, uint64_t sector, uint32_t sectors)
{
	uint64_t h = (sector * 65537 + sectors) * UINT64_C(0x9e3779b97f4a7c15);
	size_t slot = (size_t)(h >> 32) & (r->index_size - 1);

	while (r->index[slot] != 0) {
		const struct xfs_logged *x = &r->list[r->index[slot] - 1];

		if (x->sector == sector && x->sectors == sectors)
			break;
		slot = (slot + 1) & (r->index_size - 1);
	}
	return slot;
}

/* Twice the room for places; the table of them stays less than half full. */
static int make_room(struct replay *r, struct err *e)
{
	size_t room = r->room ? r->room * 2 : 1024;
	struct xfs_logged *list = reallocarray(r->list, room, sizeof(*list));
	uint32_t *index;

	if (!list)
		return err_nomem(e);
	r->list = list;
	r->room = room;
	index = calloc(room * 2, sizeof(*index));
	if (!index)
		return err_nomem(e);
	free(r->index);
	r->index = index;
	r->index_size = room * 2;
	for (size_t i = 0; i < r->count; i++)
		index[slot_of(r, list[i].sector, list[i].sectors)] = (uint32_t)i + 1;
	return 0;
}

/* The entry of a place; made when there is none yet. */
static int place(struct replay *r, uint64_t lsn, uint64_t sector, uint64_t sectors,
	struct xfs_logged **out, struct err *e)
{
	uint64_t end = r->s->blocks * r->s->block_bytes / XFS_SECTOR;
	size_t slot;

	if (sectors == 0 || sectors > UINT32_MAX || !range_inside(sector, sectors, end))
		return bad(e, lsn, "an item is of a place outside the file system");
	if (r->count == PLACES_MAX)
		return bad(e, lsn, "it names too many places");
	if (r->count == r->room) {
		int rc = make_room(r, e);

		if (rc < 0)
			return rc;
	}
	slot = slot_of(r, sector, (uint32_t)sectors);
	if (r->index[slot] == 0) {
		r->list[r->count] = (struct xfs_logged){
			.sector = sector,
			.sectors = (uint32_t)sectors,
		};
		r->index[slot] = (uint32_t)++r->count;
	}
	*out = &r->list[r->index[slot] - 1];
	return 0;
}

/* ---- Buffers ----------------------------------------------------------------------------- */

static bool decode_buffer(const struct xfs_item *item, struct buffer *b)
{
	const uint8_t *p = item->format;
	unsigned flags;

	if (item->format_len < BUFFER_HEAD)
		return false;
	flags = get_le16(p + 4);
	*b = (struct buffer){
		.sector = get_le64(p + 8),
		.sectors = get_le16(p + 6),
		.cancel = flags & BUFFER_CANCEL,
		.type = flags >> BUFFER_TYPE_SHIFT,
		.words = get_le32(p + 16),
		.map = p + BUFFER_HEAD,
	};
	return b->words <= MAP_WORDS_MAX && b->words * 4 <= item->format_len - BUFFER_HEAD;
}

static bool is_followed(const struct buffer *b)
{
	return b->type == TYPE_TREE || b->type == TYPE_AGF || b->type == TYPE_AGFL ||
		(b->type == TYPE_SUPER && b->sector == 0);
}

static bool wants(void *user, const struct xfs_item *item)
{
	const struct replay *r = user;
	struct buffer b;

	return r->second && item->type == ITEM_BUFFER && decode_buffer(item, &b) && !b.cancel &&
		is_followed(&b);
}

static bool has_bit(const struct buffer *b, uint32_t bit)
{
	return bit < b->words * 32 && (b->map[bit / 8] >> bit % 8 & 1);
}

/* Lay the regions, one for each run of bits, over the block. */
static int apply(const struct buffer *b, const struct xfs_item *item, uint64_t lsn, uint8_t *block,
	struct err *e)
{
	size_t size = (size_t)b->sectors * XFS_SECTOR, region = 0;

	for (uint32_t bit = 0; bit < b->words * 32;) {
		uint32_t end = bit;
		size_t len;

		while (has_bit(b, end))
			end++;
		if (end == bit) {
			bit++;
			continue;
		}
		if (region == item->regions)
			return bad(e, lsn, "a buffer has fewer regions than changed parts");
		/* A region may be shorter than its bits (the kernel once cut the block's end). */
		len = min_u64((uint64_t)(end - bit) * PART_BYTES, item->lens[region]);
		len -= len % PART_BYTES;
		if (len == 0 || !range_inside((uint64_t)bit * PART_BYTES, len, size))
			return bad(e, lsn, "a change reaches over its buffer's end");
		memcpy(block + (size_t)bit * PART_BYTES, item->region[region++], len);
		bit += (uint32_t)(len / PART_BYTES);
	}
	if (region != item->regions)
		return bad(e, lsn, "a buffer has more regions than changed parts");
	return 0;
}

/* Where LSN and UUID lie in blocks that have them, by magic number. */
struct layout {
	uint32_t magic;
	size_t lsn, uuid, sum;
};

static const struct layout layouts[] = {
	{ XFS_MAGIC_SUPER, 240, 0, 224 },
	{ XFS_MAGIC_AGF, 208, 64, 216 },
	{ XFS_MAGIC_AGFL, 24, 8, 32 },
	{ XFS_MAGIC_BNO, 24, 32, 52 },
	{ XFS_MAGIC_CNT, 24, 32, 52 },
	/* other trees of a group: inodes, free inodes, reverse mapping, reference counts */
	{ 0x49414233, 24, 32, 52 },
	{ 0x46494233, 24, 32, 52 },
	{ 0x524d4233, 24, 32, 52 },
	{ 0x52334643, 24, 32, 52 },
	/* a file's extents: longer pointers */
	{ 0x424d4133, 32, 40, 64 },
};

static const struct layout *layout_of(const uint8_t *block)
{
	for (size_t i = 0; i < COUNT_OF(layouts); i++)
		if (layouts[i].magic == get_be32(block))
			return &layouts[i];
	return NULL;
}

/* Is the block on the disk at least as new as a transaction? One that is not ours has no LSN. */
static bool is_newer(const struct replay *r, const uint8_t *block, uint64_t lsn)
{
	const struct layout *l = layout_of(block);
	uint64_t own = l ? get_be64(block + l->lsn) : 0;

	if (!l || own == 0 || own == UINT64_MAX)
		return false;
	/* The superblock's own UUID was checked; it may not carry the other. */
	if (l->magic != XFS_MAGIC_SUPER && memcmp(block + l->uuid, r->s->id, XFS_UUID_BYTES) != 0)
		return false;
	return own >= lsn;
}

/* As recovery stores it: with the LSN of the last change, and a checksum. */
static bool seal(struct xfs_logged *x)
{
	const struct layout *l = layout_of(x->bytes);
	size_t size = (size_t)x->sectors * XFS_SECTOR;

	if (!l ||
		(l->magic != XFS_MAGIC_SUPER && l->magic != XFS_MAGIC_AGF &&
			l->magic != XFS_MAGIC_AGFL && l->magic != XFS_MAGIC_BNO &&
			l->magic != XFS_MAGIC_CNT))
		return false;
	if (!x->changed)
		return true;
	for (int i = 0; i < 8; i++)
		x->bytes[l->lsn + i] = (uint8_t)(x->lsn >> (56 - 8 * i));
	put_le32(x->bytes + l->sum, fs_xfs_checksum(x->bytes, size, l->sum));
	return true;
}

static void forget(struct replay *r, struct xfs_logged *x)
{
	r->followed -= x->bytes ? (uint64_t)x->sectors * XFS_SECTOR : 0;
	free(x->bytes);
	x->bytes = NULL;
}

static int load(struct replay *r, struct xfs_logged *x, struct err *e)
{
	size_t size = (size_t)x->sectors * XFS_SECTOR;

	if (r->followed + size > FOLLOWED_MAX)
		return err_set(e, ERR_FORMAT, 0,
			"log: changes to more than %" PRIu64 " MiB of blocks", FOLLOWED_MAX / MIB);
	x->bytes = malloc(size);
	if (!x->bytes)
		return err_nomem(e);
	r->followed += size;
	return dev_read(r->dev, x->sector * XFS_SECTOR, x->bytes, size, e);
}

static int follow(struct replay *r, struct xfs_logged *x, const struct buffer *b,
	const struct xfs_item *item, uint64_t lsn, struct err *e)
{
	uint32_t bytes = b->type == TYPE_TREE ? r->s->block_bytes : r->s->sector_bytes;
	int rc;

	if (b->sectors != bytes / XFS_SECTOR)
		return bad(e, lsn, "a buffer has a wrong size");
	if (x->unknown)
		return 0;
	rc = x->bytes ? 0 : load(r, x, e);
	if (rc < 0)
		return rc;
	if (x->changed && lsn < x->lsn)
		return bad(e, lsn, "transactions are out of order");
	if (x->changed || !is_newer(r, x->bytes, lsn)) {
		rc = apply(b, item, lsn, x->bytes, e);
		x->changed = true;
		x->lsn = lsn;
	}
	/* A block of another tree: only its place is of interest. */
	if (rc == 0 && !seal(x)) {
		x->unknown = x->changed;
		forget(r, x);
	}
	return rc;
}

static int on_buffer(struct replay *r, const struct xfs_item *item, uint64_t lsn, bool cancels,
	struct err *e)
{
	struct xfs_logged *x;
	struct buffer b;
	int rc;

	if (!decode_buffer(item, &b))
		return bad(e, lsn, "a buffer item is damaged");
	if (b.cancel != cancels)
		return 0;
	rc = place(r, lsn, b.sector, b.sectors, &x, e);
	if (rc < 0)
		return rc;
	if (!r->second)
		x->cancels += b.cancel;
	else if (b.cancel && x->cancels > 0)
		x->cancels--;
	else if (b.cancel)
		rc = bad(e, lsn, "a cancellation that was not there before");
	else if (x->cancels == 0 && is_followed(&b))
		rc = follow(r, x, &b, item, lsn, e);
	else if (x->cancels == 0)
		x->unknown = true;
	return rc;
}

/* ---- Other items ------------------------------------------------------------------------- */

/*
 * Types that name no place of their own: intents to free, map, share or exchange extents or set
 * attributes, and their ends; quotas off. The work that unfinished ones leave is done after the
 * replay.
 */
static bool is_without_place(uint16_t type)
{
	static const uint16_t known[] = {
		0x1236, 0x1237, /* EFI, EFD */
		0x123e,		/* quotas off */
		0x1240, 0x1241, /* RUI, RUD */
		0x1242, 0x1243, /* CUI, CUD */
		0x1244, 0x1245, /* BUI, BUD */
		0x1246, 0x1247, /* ATTRI, ATTRD */
		0x1248, 0x1249, /* XMI, XMD */
	};

	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (known[i] == type)
			return true;
	return false;
}

/* struct xfs_inode_log_format, xfs_dq_logformat, xfs_icreate_log (this one big-endian). */
static int on_other(struct replay *r, const struct xfs_item *item, uint64_t lsn, struct err *e)
{
	const uint8_t *p = item->format;
	uint64_t sector, sectors;
	struct xfs_logged *x;

	if (item->type == ITEM_INODE && item->format_len == 56) {
		sector = get_le64(p + 40);
		sectors = get_le32(p + 48);
	} else if (item->type == ITEM_DQUOT && item->format_len == 24) {
		sector = get_le64(p + 8);
		sectors = get_le32(p + 16);
	} else if (item->type == ITEM_ICREATE && item->format_len == 28) {
		uint64_t in_block = r->s->block_bytes / XFS_SECTOR;

		sector = ((uint64_t)get_be32(p + 4) * r->s->ag_blocks + get_be32(p + 8)) * in_block;
		sectors = get_be32(p + 20) * in_block;
	} else if (is_without_place(item->type)) {
		return 0;
	} else {
		return err_set(e, ERR_FORMAT, 0, "log: an item of type 0x%" PRIx16 ", %zu bytes",
			item->type, item->format_len);
	}
	return place(r, lsn, sector, sectors, &x, e);
}

static int commit(void *user, uint64_t lsn, const struct xfs_item *items, size_t count,
	struct err *e)
{
	struct replay *r = user;
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = items[i].type == ITEM_BUFFER ? on_buffer(r, &items[i], lsn, false, e)
						  : on_other(r, &items[i], lsn, e);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (items[i].type == ITEM_BUFFER)
			rc = on_buffer(r, &items[i], lsn, true, e);
	return rc;
}

/* ---- The outcome ------------------------------------------------------------------------- */

static int by_sector(const void *a, const void *b)
{
	const struct xfs_logged *x = a, *y = b;

	if (x->sector != y->sector)
		return x->sector < y->sector ? -1 : 1;
	return x->sectors < y->sectors ? -1 : x->sectors > y->sectors;
}

int fs_xfs_replay_read(const struct xfs_log *log, struct xfs_replay *out, struct err *e)
{
	static const struct xfs_trans_ops ops = { .wants = wants, .commit = commit };
	struct replay r = { .dev = log->dev, .s = log->super };
	int rc = fs_xfs_trans_read(log, &ops, &r, e);

	r.second = true;
	if (rc == 0)
		rc = fs_xfs_trans_read(log, &ops, &r, e);
	free(r.index);
	*out = (struct xfs_replay){ .list = r.list, .count = r.count };
	if (rc < 0) {
		fs_xfs_replay_fini(out);
		return rc;
	}
	if (r.count > 0)
		qsort(r.list, r.count, sizeof(*r.list), by_sector);
	for (size_t i = 0; i < r.count; i++)
		out->changed_blocks += r.list[i].bytes && r.list[i].changed;
	return 0;
}

void fs_xfs_replay_fini(struct xfs_replay *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->list[i].bytes);
	free(r->list);
	*r = (struct xfs_replay){ 0 };
}
