/*
 * Tree blocks and walks. Layout: [BTRFS] "Header", "Internal Node", "Leaf Node".
 *
 * A walk ends by itself whatever is on the disk: levels descend by one, a block's first key is the
 * one that its parent names, and keys ascend all over the tree, so that no block is met twice.
 *
 * With DUP there is a second copy of each block. It is taken when the first cannot be read or is
 * damaged, as the kernel does; the exact generation tells an old copy from a good one.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_btrfs_int.h"

#define HEADER_BYTES 0x65
#define POINTER_BYTES 33
#define ITEM_BYTES 25
#define FIRST_ROOM 64

/* Header flags: written, relocation; the last byte is the revision of back references. */
#define KNOWN_FLAGS 0x3
#define FLAG_WRITTEN 0x1
#define BACKREF_REVISION 1

struct walk {
	struct fs_btrfs *v;
	uint64_t owner;
	fs_btrfs_item_fn fn;
	void *user;
	bool any; /* `last` is set */
	struct btrfs_key last;
};

/* What a parent, or a root, says of a block. */
struct pointer {
	uint64_t logical;
	uint64_t generation;
	unsigned level;
	const struct btrfs_key *first; /* NULL for a root */
};

struct btrfs_key fs_btrfs_key(const uint8_t *p)
{
	return (struct btrfs_key){ get_le64(p), p[8], get_le64(p + 9) };
}

int fs_btrfs_key_compare(const struct btrfs_key *a, const struct btrfs_key *b)
{
	if (a->objectid != b->objectid)
		return a->objectid < b->objectid ? -1 : 1;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	return (a->offset > b->offset) - (a->offset < b->offset);
}

int fs_btrfs_bad_item(const char *tree, const struct btrfs_item *item, struct err *e,
	const char *what)
{
	return err_set(e, ERR_FORMAT, 0, "%s: item (%" PRIu64 " %u %" PRIu64 "): %s", tree,
		item->key.objectid, item->key.type, item->key.offset, what);
}

int fs_btrfs_ranges_add(struct btrfs_ranges *r, uint64_t logical, uint64_t len, struct err *e)
{
	if (r->count == r->room) {
		size_t room = r->room == 0 ? FIRST_ROOM : r->room * 2;
		struct fs_run *list = realloc(r->list, room * sizeof(*list));

		if (list == NULL)
			return err_nomem(e);
		r->list = list;
		r->room = room;
	}
	r->list[r->count++] = (struct fs_run){ logical, len };
	return 0;
}

static int bad_block(const struct walk *w, const struct pointer *p, struct err *e, const char *what)
{
	return err_set(e, ERR_FORMAT, 0, "tree %" PRId64 ", block at %" PRIu64 ": %s",
		(int64_t)w->owner, p->logical, what);
}

static int check_header(const struct walk *w, const struct pointer *p, const uint8_t *b,
	struct err *e)
{
	const struct btrfs_super *s = &w->v->super;
	uint64_t flags = get_le64(b + 0x38) & ~((uint64_t)0xff << 56);
	size_t each = p->level == 0 ? ITEM_BYTES : POINTER_BYTES;
	uint32_t count = get_le32(b + 0x60);

	if (!fs_btrfs_csum_ok(s->csum_type, b, s->node_bytes))
		return bad_block(w, p, e, "wrong checksum");
	if (memcmp(b + 0x20, s->block_fsid, BTRFS_UUID_BYTES) != 0)
		return bad_block(w, p, e, "of another file system");
	if (get_le64(b + 0x30) != p->logical)
		return bad_block(w, p, e, "wrong address");
	if ((flags & ~(uint64_t)KNOWN_FLAGS) != 0 || !(flags & FLAG_WRITTEN) ||
		b[0x3f] != BACKREF_REVISION)
		return bad_block(w, p, e, "unknown flags");
	if (get_le64(b + 0x50) != p->generation)
		return bad_block(w, p, e, "wrong generation");
	if (get_le64(b + 0x58) != w->owner)
		return bad_block(w, p, e, "of another tree");
	if (b[0x64] != p->level)
		return bad_block(w, p, e, "wrong level");
	if (count > (s->node_bytes - HEADER_BYTES) / each || (count == 0 && p->level > 0))
		return bad_block(w, p, e, "wrong number of items");
	return 0;
}

/* One copy after the other until one is good; otherwise the error is the first one's. */
static int read_block(struct walk *w, const struct pointer *p, uint8_t *b, struct err *e)
{
	struct fs_btrfs *v = w->v;
	uint32_t len = v->super.node_bytes;
	const struct btrfs_chunk *c = fs_btrfs_chunk_of(v, p->logical, len);
	struct err first = { 0 };
	int rc = -ERR_FORMAT;

	if (c == NULL || p->logical % v->super.sector_bytes != 0)
		return bad_block(w, p, e, "not inside a chunk");
	if (!(c->type & (BTRFS_SYSTEM | BTRFS_METADATA)))
		return bad_block(w, p, e, "in a chunk of data");
	for (unsigned i = 0; i < c->stripe_count && rc < 0; i++) {
		struct err *why = i == 0 ? &first : NULL;

		rc = dev_read(v->dev, c->stripes[i] + (p->logical - c->start), b, len, why);
		if (rc == 0)
			rc = check_header(w, p, b, why);
		v->second_copies += rc == 0 && i > 0;
	}
	if (rc == 0)
		return 0;
	if (e != NULL)
		*e = first;
	return -first.code;
}

static int check_order(struct walk *w, const struct pointer *p, const struct btrfs_key *key,
	struct err *e)
{
	if (w->any && fs_btrfs_key_compare(&w->last, key) >= 0)
		return bad_block(w, p, e, "keys are not in order");
	w->any = true;
	w->last = *key;
	return 0;
}

/* The items' data lie without gaps from the end of the leaf downwards. */
static int walk_leaf(struct walk *w, const struct pointer *p, const uint8_t *b, struct err *e)
{
	uint32_t count = get_le32(b + 0x60);
	uint32_t end = w->v->super.node_bytes - HEADER_BYTES;
	int rc = 0;

	for (uint32_t i = 0; i < count && rc == 0; i++) {
		const uint8_t *head = b + HEADER_BYTES + (size_t)i * ITEM_BYTES;
		struct btrfs_item item = { .key = fs_btrfs_key(head), .len = get_le32(head + 21) };
		uint32_t off = get_le32(head + 17);

		if (off > end || item.len != end - off || off < count * ITEM_BYTES)
			return bad_block(w, p, e, "an item lies outside it");
		item.data = b + HEADER_BYTES + off;
		end = off;
		rc = check_order(w, p, &item.key, e);
		if (rc == 0)
			rc = w->fn(w->user, &item, e);
	}
	return rc;
}

static int walk_block(struct walk *w, const struct pointer *p, struct err *e);

static int walk_node(struct walk *w, const struct pointer *p, const uint8_t *b, struct err *e)
{
	uint32_t count = get_le32(b + 0x60);
	int rc = 0;

	for (uint32_t i = 0; i < count && rc == 0; i++) {
		const uint8_t *at = b + HEADER_BYTES + (size_t)i * POINTER_BYTES;
		struct btrfs_key key = fs_btrfs_key(at);
		struct pointer child = { get_le64(at + 17), get_le64(at + 25), p->level - 1, &key };

		if (child.generation > p->generation)
			return bad_block(w, p, e, "a newer block hangs below it");
		if (w->any && fs_btrfs_key_compare(&w->last, &key) >= 0)
			return bad_block(w, p, e, "keys are not in order");
		rc = walk_block(w, &child, e);
	}
	return rc;
}

static int check_first_key(const struct walk *w, const struct pointer *p, const uint8_t *b,
	struct err *e)
{
	struct btrfs_key key = fs_btrfs_key(b + HEADER_BYTES);

	if (p->first == NULL)
		return 0;
	if (get_le32(b + 0x60) == 0 || fs_btrfs_key_compare(p->first, &key) != 0)
		return bad_block(w, p, e, "its first key is not what its parent says");
	return 0;
}

static int walk_block(struct walk *w, const struct pointer *p, struct err *e)
{
	struct fs_btrfs *v = w->v;
	struct btrfs_ranges *seen = w->owner == BTRFS_LOG_TREE ? &v->log : &v->used;
	uint8_t *b = malloc(v->super.node_bytes);
	int rc;

	if (b == NULL)
		return err_nomem(e);
	rc = read_block(w, p, b, e);
	if (rc == 0)
		rc = check_first_key(w, p, b, e);
	if (rc == 0)
		rc = fs_btrfs_ranges_add(seen, p->logical, v->super.node_bytes, e);
	if (rc == 0)
		rc = p->level == 0 ? walk_leaf(w, p, b, e) : walk_node(w, p, b, e);
	free(b);
	return rc;
}

int fs_btrfs_walk(struct fs_btrfs *v, const struct btrfs_root *root, fs_btrfs_item_fn fn,
	void *user, struct err *e)
{
	struct walk w = { .v = v, .owner = root->owner, .fn = fn, .user = user };
	struct pointer p = { root->logical, root->generation, root->level, NULL };

	if (root->logical == 0)
		return err_set(e, ERR_FORMAT, 0, "there is no tree %" PRId64, (int64_t)root->owner);
	if (root->level > BTRFS_MAX_LEVEL)
		return bad_block(&w, &p, e, "wrong level");
	return walk_block(&w, &p, e);
}
