/*
 * Logical to physical addresses: chunks, and the device extents that must mirror them. Layout:
 * [BTRFS] "CHUNK_ITEM", "DEV_ITEM", "DEV_EXTENT".
 *
 * On one device a chunk is its stripe, byte for byte (single; also RAID0 that was left with one
 * stripe), or two of them that are the same (DUP). Any other profile, or a stripe on a device that
 * is not this one, is a refusal.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_btrfs_int.h"

#define CHUNK_HEAD_BYTES 48
#define STRIPE_BYTES 32
#define STRIPE_LEN (64 * KIB)
#define DEV_EXTENT_BYTES 48
#define FIRST_ROOM 64

/* 1 PiB in chunks of 1 GiB. */
#define CHUNKS_MAX ((size_t)1 << 20)

/* [UAPI] struct btrfs_dev_replace_item, replace_state: never started, finished, cancelled. */
#define REPLACE_STATE_END 40
#define REPLACE_STARTED 1
#define REPLACE_LAST_IDLE 3

#define CHUNK_TREE "chunk tree"
#define DEV_TREE "device tree"

/* ---- Chunks ------------------------------------------------------------------------------ */

static int check_type(const struct fs_btrfs *v, uint64_t type, unsigned stripes)
{
	bool mixed = (type & BTRFS_KIND_MASK) == (BTRFS_DATA | BTRFS_METADATA);
	uint64_t profile = type & ~(uint64_t)BTRFS_KIND_MASK;

	if (mixed !=
			((v->super.incompat & BTRFS_INCOMPAT_MIXED_GROUPS) &&
				!(type & BTRFS_SYSTEM)) ||
		(!mixed && !is_power_of_two(type & BTRFS_KIND_MASK)))
		return -1;
	if (profile == 0 || profile == BTRFS_RAID0)
		return stripes == 1 ? 0 : -1;
	return profile == BTRFS_DUP && stripes == 2 ? 0 : -1;
}

static int decode_chunk(const struct fs_btrfs *v, const struct btrfs_item *item, const char *where,
	struct btrfs_chunk *out, struct err *e)
{
	const struct btrfs_dev *dev = &v->super.dev;
	const uint8_t *p = item->data;
	uint32_t sector = v->super.sector_bytes;
	uint64_t end;
	unsigned count;

	if (item->len < CHUNK_HEAD_BYTES + STRIPE_BYTES)
		return fs_btrfs_bad_item(where, item, e, "too short");
	count = get_le16(p + 44);
	*out = (struct btrfs_chunk){ .start = item->key.offset,
		.len = get_le64(p),
		.type = get_le64(p + 24),
		.stripe_count = count };
	if (item->key.objectid != BTRFS_FIRST_CHUNK || get_le64(p + 8) != BTRFS_EXTENT_TREE ||
		get_le64(p + 16) != STRIPE_LEN)
		return fs_btrfs_bad_item(where, item, e, "not a chunk as we know them");
	if (check_type(v, out->type, count) < 0)
		return err_set(e, ERR_FORMAT, 0,
			"%s: chunk at %" PRIu64 ": type 0x%" PRIx64 " with %u stripes", where,
			out->start, out->type, count);
	if (item->len != CHUNK_HEAD_BYTES + count * STRIPE_BYTES)
		return fs_btrfs_bad_item(where, item, e, "wrong length");
	if (out->len == 0 || out->len % sector != 0 || out->start % sector != 0 ||
		!add_u64(out->start, out->len, &end))
		return fs_btrfs_bad_item(where, item, e, "bad size");
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *stripe = p + CHUNK_HEAD_BYTES + i * STRIPE_BYTES;

		out->stripes[i] = get_le64(stripe + 8);
		if (get_le64(stripe) != dev->id ||
			memcmp(stripe + 16, dev->uuid, BTRFS_UUID_BYTES) != 0)
			return fs_btrfs_bad_item(where, item, e, "on another device");
		if (out->stripes[i] % sector != 0 ||
			!range_inside(out->stripes[i], out->len, dev->total_bytes))
			return fs_btrfs_bad_item(where, item, e, "outside the device");
	}
	return 0;
}

static int add_chunk(struct btrfs_chunks *chunks, const struct btrfs_chunk *c, struct err *e)
{
	if (chunks->count == CHUNKS_MAX)
		return err_set(e, ERR_FORMAT, 0, "more than %zu chunks", CHUNKS_MAX);
	if (chunks->count == chunks->room) {
		size_t room = chunks->room == 0 ? FIRST_ROOM : chunks->room * 2;
		struct btrfs_chunk *list = realloc(chunks->list, room * sizeof(*list));

		if (list == NULL)
			return err_nomem(e);
		chunks->list = list;
		chunks->room = room;
	}
	chunks->list[chunks->count++] = *c;
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct btrfs_chunk *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* In order for the search; the tree's are already, the superblock's need not be. */
static int sort_chunks(struct btrfs_chunks *chunks, struct err *e)
{
	if (chunks->count > 0)
		qsort(chunks->list, chunks->count, sizeof(*chunks->list), by_start);
	for (size_t i = 1; i < chunks->count; i++) {
		const struct btrfs_chunk *c = &chunks->list[i];

		if (c->start < c[-1].start + c[-1].len)
			return err_set(e, ERR_FORMAT, 0,
				"the chunk at %" PRIu64 " overlaps another", c->start);
	}
	return 0;
}

static struct btrfs_chunk *find_chunk(const struct btrfs_chunks *chunks, uint64_t logical)
{
	size_t from = 0, to = chunks->count;

	while (from < to) {
		size_t mid = from + (to - from) / 2;
		struct btrfs_chunk *c = &chunks->list[mid];

		if (logical < c->start)
			to = mid;
		else if (logical - c->start >= c->len)
			from = mid + 1;
		else
			return c;
	}
	return NULL;
}

struct btrfs_chunk *fs_btrfs_chunk_of(const struct fs_btrfs *v, uint64_t logical, uint64_t len)
{
	struct btrfs_chunk *c = find_chunk(&v->chunks, logical);

	return c != NULL && range_inside(logical - c->start, len, c->len) ? c : NULL;
}

/* The superblock's array: what is needed to read the chunk tree. */
static int read_system_chunks(struct fs_btrfs *v, struct btrfs_chunks *out, struct err *e)
{
	static const char where[] = "chunks of the superblock";
	const uint8_t *p = v->super.chunks, *end = p + v->super.chunks_bytes;
	int rc = 0;

	while (p < end && rc == 0) {
		struct btrfs_item item;
		struct btrfs_chunk c;

		if ((size_t)(end - p) < BTRFS_KEY_BYTES + CHUNK_HEAD_BYTES)
			return err_set(e, ERR_FORMAT, 0, "%s: cut short", where);
		item.key = fs_btrfs_key(p);
		item.data = p + BTRFS_KEY_BYTES;
		item.len = CHUNK_HEAD_BYTES + (uint32_t)get_le16(item.data + 44) * STRIPE_BYTES;
		if (item.len > (size_t)(end - item.data))
			return fs_btrfs_bad_item(where, &item, e, "cut short");
		rc = decode_chunk(v, &item, where, &c, e);
		if (rc == 0 && (item.key.type != BTRFS_CHUNK_ITEM || !(c.type & BTRFS_SYSTEM)))
			rc = fs_btrfs_bad_item(where, &item, e, "not a system chunk");
		if (rc == 0)
			rc = add_chunk(out, &c, e);
		p = item.data + item.len;
	}
	return rc < 0 ? rc : sort_chunks(out, e);
}

struct chunk_walk {
	struct fs_btrfs *v;
	struct btrfs_chunks all;
	bool has_device;
};

static int check_device(struct chunk_walk *w, const struct btrfs_item *item, struct err *e)
{
	const struct btrfs_dev *ours = &w->v->super.dev;
	struct btrfs_dev d;

	if (item->len != BTRFS_DEV_ITEM_BYTES)
		return fs_btrfs_bad_item(CHUNK_TREE, item, e, "wrong length");
	fs_btrfs_dev_decode(item->data, &d);
	if (w->has_device || item->key.objectid != 1 || item->key.offset != ours->id ||
		d.id != ours->id || memcmp(d.uuid, ours->uuid, sizeof(d.uuid)) != 0 ||
		memcmp(d.fsid, ours->fsid, sizeof(d.fsid)) != 0)
		return fs_btrfs_bad_item(CHUNK_TREE, item, e, "another device");
	if (d.total_bytes != ours->total_bytes || d.used_bytes != ours->used_bytes)
		return fs_btrfs_bad_item(CHUNK_TREE, item, e,
			"its sizes are not those of the superblock");
	w->has_device = true;
	return 0;
}

static int chunk_item(void *user, const struct btrfs_item *item, struct err *e)
{
	struct chunk_walk *w = user;
	struct btrfs_chunk c;
	int rc;

	if (item->key.type == BTRFS_DEV_ITEM)
		return check_device(w, item, e);
	if (item->key.type != BTRFS_CHUNK_ITEM)
		return fs_btrfs_bad_item(CHUNK_TREE, item, e, "of unknown type");
	rc = decode_chunk(w->v, item, CHUNK_TREE, &c, e);
	return rc < 0 ? rc : add_chunk(&w->all, &c, e);
}

static bool same_chunk(const struct btrfs_chunk *a, const struct btrfs_chunk *b)
{
	return a->start == b->start && a->len == b->len && a->type == b->type &&
		a->stripe_count == b->stripe_count &&
		memcmp(a->stripes, b->stripes, sizeof(a->stripes)) == 0;
}

int fs_btrfs_chunks_read(struct fs_btrfs *v, struct err *e)
{
	struct chunk_walk w = { .v = v };
	int rc = read_system_chunks(v, &v->chunks, e);

	if (rc == 0)
		rc = fs_btrfs_walk(v, &v->super.chunk_root, chunk_item, &w, e);
	if (rc == 0)
		rc = sort_chunks(&w.all, e);
	if (rc == 0 && !w.has_device)
		rc = err_set(e, ERR_FORMAT, 0, "the chunk tree has no device");
	for (size_t i = 0; i < v->chunks.count && rc == 0; i++) {
		const struct btrfs_chunk *c = &v->chunks.list[i];
		const struct btrfs_chunk *same = find_chunk(&w.all, c->start);

		if (same == NULL || !same_chunk(same, c))
			rc = err_set(e, ERR_FORMAT, 0,
				"the superblock's chunk at %" PRIu64 " is not in the chunk tree",
				c->start);
	}
	free(v->chunks.list);
	v->chunks = w.all;
	return rc;
}

/* ---- Device extents ---------------------------------------------------------------------- */

struct dev_walk {
	struct fs_btrfs *v;
	uint64_t end;	/* of the last extent */
	uint64_t bytes; /* in all of them */
	uint64_t count;
};

static int add_gap(struct dev_walk *w, uint64_t end, struct err *e)
{
	return end > w->end ? fs_runs_add(&w->v->free, w->end, end - w->end, e) : 0;
}

/* The stripe of c that this extent is, or -1; each is met once. */
static int find_stripe(const struct btrfs_chunk *c, uint64_t physical)
{
	for (unsigned i = 0; i < c->stripe_count; i++)
		if (c->stripes[i] == physical && !(c->dev_extents >> i & 1))
			return (int)i;
	return -1;
}

static int add_dev_extent(struct dev_walk *w, const struct btrfs_item *item, struct err *e)
{
	const struct btrfs_dev *dev = &w->v->super.dev;
	const uint8_t *p = item->data;
	uint64_t physical = item->key.offset, len;
	struct btrfs_chunk *c;
	int stripe, rc;

	if (item->len != DEV_EXTENT_BYTES)
		return fs_btrfs_bad_item(DEV_TREE, item, e, "wrong length");
	len = get_le64(p + 24);
	if (item->key.objectid != dev->id || get_le64(p) != BTRFS_CHUNK_TREE ||
		get_le64(p + 8) != BTRFS_FIRST_CHUNK)
		return fs_btrfs_bad_item(DEV_TREE, item, e, "not an extent as we know them");
	if (!range_inside(physical, len, dev->total_bytes) || physical < w->end)
		return fs_btrfs_bad_item(DEV_TREE, item, e,
			"overlaps another, or lies outside the device");
	c = find_chunk(&w->v->chunks, get_le64(p + 16));
	stripe = c != NULL ? find_stripe(c, physical) : -1;
	if (stripe < 0 || c->start != get_le64(p + 16) || c->len != len)
		return fs_btrfs_bad_item(DEV_TREE, item, e, "no such stripe of a chunk");
	c->dev_extents |= 1u << stripe;
	rc = add_gap(w, physical, e);
	w->end = physical + len;
	w->bytes += len;
	w->count++;
	return rc;
}

static int check_replace(const struct btrfs_item *item, struct err *e)
{
	uint64_t state;

	if (item->len < REPLACE_STATE_END)
		return fs_btrfs_bad_item(DEV_TREE, item, e, "too short");
	state = get_le64(item->data + REPLACE_STATE_END - 8);
	if (state == REPLACE_STARTED || state > REPLACE_LAST_IDLE)
		return err_set(e, ERR_FORMAT, 0, "a device is being replaced");
	return 0;
}

static int dev_item(void *user, const struct btrfs_item *item, struct err *e)
{
	switch (item->key.type) {
	case BTRFS_DEV_EXTENT:
		return add_dev_extent(user, item, e);
	case BTRFS_PERSISTENT_ITEM: /* statistics of errors */
		return 0;
	case BTRFS_DEV_REPLACE:
		return check_replace(item, e);
	default:
		return fs_btrfs_bad_item(DEV_TREE, item, e, "of unknown type");
	}
}

int fs_btrfs_dev_extents_read(struct fs_btrfs *v, struct err *e)
{
	struct dev_walk w = { .v = v };
	uint64_t stripes = 0;
	int rc = fs_btrfs_walk(v, &v->dev_root, dev_item, &w, e);

	if (rc == 0)
		rc = add_gap(&w, align_down(v->super.dev.total_bytes, v->super.sector_bytes), e);
	for (size_t i = 0; i < v->chunks.count; i++)
		stripes += v->chunks.list[i].stripe_count;
	/* Each extent was a stripe not met before. */
	if (rc == 0 && w.count != stripes)
		rc = err_set(e, ERR_FORMAT, 0,
			"the chunks have %" PRIu64 " stripes, the device tree %" PRIu64, stripes,
			w.count);
	if (rc == 0 && w.bytes != v->super.dev.used_bytes)
		rc = err_set(e, ERR_FORMAT, 0,
			"%" PRIu64 " bytes of the device are in extents, its item says %" PRIu64,
			w.bytes, v->super.dev.used_bytes);
	return rc;
}
