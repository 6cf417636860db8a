/*
 * Transactions out of the log's records. [XFS] "Journaling Log": a record is a string of
 * operations, each with a header of 12 bytes (struct xlog_op_header: transaction, length, client,
 * flags). A transaction begins with a START, then a header ("TRAN"), then regions; regions make
 * items, of which the first region begins with type and number of regions; a COMMIT ends it.
 * Regions are cut where a record is full (CONTINUE, then WAS_CONT). Transactions may interleave.
 * What is not committed before the head is not recovered (fs/xfs/xfs_log_recover.c in Linux,
 * xlog_recover_process_ophdr).
 */
#include <inttypes.h>

#include "fs/fs_xfs_int.h"

#define OP_HEAD 12
#define CLIENT_TRANSACTION 0x69
#define CLIENT_LOG 0xaa
#define OP_START 0x01
#define OP_COMMIT 0x02
#define OP_CONTINUE 0x04
#define OP_WAS_CONT 0x08
#define OP_END 0x10
#define OP_KNOWN 0x3f

#define TRANS_MAGIC 0x5452414eu
#define TRANS_HEAD 16
#define MAX_REGIONS 4096 /* of an item; XLOG_MAX_REGIONS_IN_ITEM is 257 with pages of 4 KiB */

/* Of all transactions that are open at a time. The kernel commits at most an eighth of the log, and
 * 64 MiB, at once. */
#define OPEN_MAX 64
#define MEMORY_MAX (256 * MIB)

struct region {
	size_t off, len; /* in the transaction's bytes; len counts also what was not kept */
	bool kept;
};

struct item {
	size_t first; /* of its regions */
	size_t total, have;
	uint16_t type;
	bool wanted;
};

struct trans {
	struct trans *next;
	uint32_t id;
	uint64_t lsn;
	uint8_t head[TRANS_HEAD];
	size_t head_len;
	uint8_t *bytes;
	size_t used, bytes_room;
	struct region *regions;
	size_t region_count, region_room;
	struct item *items;
	size_t item_count, item_room;
};

struct follow {
	const struct xfs_trans_ops *ops;
	void *user;
	struct trans *open;
	size_t open_count;
	uint64_t memory; /* that all of them hold */
};

static int bad(struct err *e, uint64_t lsn, const char *what)
{
	return err_set(e, ERR_FORMAT, 0, "log: %s (record %" PRIu32 ":%" PRIu32 ")", what,
		(uint32_t)(lsn >> 32), (uint32_t)lsn);
}

/* Make room for `more` elements beyond `count`. */
static int grow(struct follow *f, void *array, size_t count, size_t more, size_t *room,
	size_t element_bytes, struct err *e)
{
	size_t want = *room ? *room : 64;
	void *p, *old;

	if (count + more <= *room)
		return 0;
	while (want < count + more)
		want *= 2;
	f->memory += (want - *room) * element_bytes;
	if (f->memory > MEMORY_MAX)
		return err_set(e, ERR_FORMAT, 0, "log: transactions of more than %" PRIu64 " MiB",
			MEMORY_MAX / MIB);
	memcpy(&old, array, sizeof(old));
	p = reallocarray(old, want, element_bytes);
	if (!p)
		return err_nomem(e);
	memcpy(array, &p, sizeof(p));
	*room = want;
	return 0;
}

/* ---- Open transactions ------------------------------------------------------------------- */

static struct trans **find(struct follow *f, uint32_t id)
{
	struct trans **t = &f->open;

	while (*t && (*t)->id != id)
		t = &(*t)->next;
	return t;
}

static void drop(struct follow *f, struct trans **at)
{
	struct trans *t = *at;

	*at = t->next;
	f->open_count--;
	f->memory -= t->bytes_room + t->region_room * sizeof(*t->regions) +
		t->item_room * sizeof(*t->items);
	free(t->bytes);
	free(t->regions);
	free(t->items);
	free(t);
}

static int start(struct follow *f, uint32_t id, uint64_t lsn, struct err *e)
{
	struct trans *t;

	if (f->open_count == OPEN_MAX)
		return bad(e, lsn, "too many transactions at a time");
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_nomem(e);
	t->id = id;
	t->lsn = lsn;
	t->next = f->open;
	f->open = t;
	f->open_count++;
	return 0;
}

/* ---- Regions and items ------------------------------------------------------------------- */

static struct xfs_item view(const struct trans *t, const struct item *i)
{
	const struct region *format = &t->regions[i->first];

	return (struct xfs_item){
		.type = i->type,
		.format = t->bytes + format->off,
		.format_len = format->len,
		.regions = i->total - 1,
	};
}

static int keep(struct follow *f, struct trans *t, const uint8_t *p, size_t len, struct err *e)
{
	int rc = grow(f, &t->bytes, t->used, len, &t->bytes_room, 1, e);

	if (rc == 0) {
		memcpy(t->bytes + t->used, p, len);
		t->used += len;
	}
	return rc;
}

/* The first region of an item: type and number of regions, in the writer's byte order. */
static int add_item(struct follow *f, struct trans *t, const uint8_t *p, size_t len, struct err *e)
{
	struct item i = { .first = t->region_count };
	int rc;

	if (len < 4)
		return bad(e, t->lsn, "an item is too short");
	i.type = get_le16(p);
	i.total = get_le16(p + 2);
	if (i.total == 0 || i.total > MAX_REGIONS)
		return bad(e, t->lsn, "an item has a wrong number of regions");
	rc = grow(f, &t->items, t->item_count, 1, &t->item_room, sizeof(i), e);
	if (rc == 0)
		t->items[t->item_count++] = i;
	return rc;
}

static int add_region(struct follow *f, struct trans *t, const uint8_t *p, size_t len,
	struct err *e)
{
	struct item *i = t->item_count ? &t->items[t->item_count - 1] : NULL;
	struct region r = { .off = t->used, .len = len, .kept = true };
	int rc = 0;

	if (!i || i->have == i->total) {
		rc = add_item(f, t, p, len, e);
		if (rc < 0)
			return rc;
		i = &t->items[t->item_count - 1];
	} else if (i->have == 1) {
		struct xfs_item x = view(t, i);

		i->wanted = f->ops->wants(f->user, &x);
	}
	if (i->have > 0)
		r.kept = i->wanted;
	i->have++;
	rc = grow(f, &t->regions, t->region_count, 1, &t->region_room, sizeof(r), e);
	if (rc < 0)
		return rc;
	t->regions[t->region_count++] = r;
	return r.kept ? keep(f, t, p, len, e) : 0;
}

/* More of the last region. */
static int continue_region(struct follow *f, struct trans *t, const uint8_t *p, size_t len,
	struct err *e)
{
	struct region *r;

	if (t->region_count == 0)
		return bad(e, t->lsn, "a region goes on that did not begin");
	r = &t->regions[t->region_count - 1];
	r->len += len;
	return r->kept ? keep(f, t, p, len, e) : 0;
}

static int on_data(struct follow *f, struct trans *t, unsigned flags, const uint8_t *p, size_t len,
	struct err *e)
{
	if (len == 0)
		return 0;
	if (t->head_len < TRANS_HEAD) {
		if (len > TRANS_HEAD - t->head_len)
			return bad(e, t->lsn, "a transaction's header is too long");
		memcpy(t->head + t->head_len, p, len);
		t->head_len += len;
		if (t->head_len == TRANS_HEAD && get_le32(t->head) != TRANS_MAGIC)
			return bad(e, t->lsn, "a transaction has no magic number");
		return 0;
	}
	if (flags & OP_WAS_CONT)
		return continue_region(f, t, p, len, e);
	return add_region(f, t, p, len, e);
}

/* ---- Commit ------------------------------------------------------------------------------ */

static int hand_over(struct follow *f, struct trans *t, struct xfs_item *items, size_t *lens,
	const uint8_t **regions, struct err *e)
{
	for (size_t k = 0; k < t->region_count; k++) {
		lens[k] = t->regions[k].len;
		regions[k] = t->regions[k].kept ? t->bytes + t->regions[k].off : NULL;
	}
	for (size_t k = 0; k < t->item_count; k++) {
		const struct item *i = &t->items[k];

		if (i->have != i->total)
			return bad(e, t->lsn, "an item of a transaction is not whole");
		items[k] = view(t, i);
		items[k].lens = lens + i->first + 1;
		items[k].region = regions + i->first + 1;
	}
	return f->ops->commit(f->user, t->lsn, items, t->item_count, e);
}

static int commit(struct follow *f, struct trans **at, struct err *e)
{
	struct trans *t = *at;
	struct xfs_item *items = calloc(t->item_count + 1, sizeof(*items));
	const uint8_t **regions = calloc(t->region_count + 1, sizeof(*regions));
	size_t *lens = calloc(t->region_count + 1, sizeof(*lens));
	int rc = items && regions && lens ? hand_over(f, t, items, lens, regions, e) : err_nomem(e);

	free(lens);
	free(regions);
	free(items);
	drop(f, at);
	return rc;
}

/* ---- Operations -------------------------------------------------------------------------- */

static int on_op(struct follow *f, const struct xfs_record *r, const uint8_t *head,
	const uint8_t *p, size_t len, struct err *e)
{
	uint32_t id = get_be32(head);
	unsigned client = head[8], flags = head[9];
	struct trans **at;

	if ((client != CLIENT_TRANSACTION && client != CLIENT_LOG) || (flags & ~OP_KNOWN))
		return bad(e, r->lsn, "an operation of an unknown kind");
	at = find(f, id);
	if (!*at)
		/* Without its begin it was committed, and written back, before the tail. */
		return flags & OP_START ? start(f, id, r->lsn, e) : 0;
	if (flags & OP_COMMIT)
		return commit(f, at, e);
	if (flags & ~(OP_CONTINUE | OP_WAS_CONT | OP_END))
		return bad(e, r->lsn, "an operation does not fit its transaction");
	return on_data(f, *at, flags, p, len, e);
}

static int on_record(void *user, const struct xfs_record *r, struct err *e)
{
	size_t at = 0, len;
	int rc = 0;

	for (uint32_t i = 0; i < r->ops && rc == 0; i++) {
		if (r->len - at < OP_HEAD)
			return bad(e, r->lsn, "a record has fewer operations than it says");
		len = get_be32(r->data + at + 4);
		if (len > r->len - at - OP_HEAD)
			return bad(e, r->lsn, "an operation is longer than its record");
		rc = on_op(user, r, r->data + at, r->data + at + OP_HEAD, len, e);
		at += OP_HEAD + len;
	}
	return rc;
}

int fs_xfs_trans_read(const struct xfs_log *log, const struct xfs_trans_ops *ops, void *user,
	struct err *e)
{
	struct follow f = { .ops = ops, .user = user };
	int rc = fs_xfs_log_read(log, on_record, &f, e);

	while (f.open)
		drop(&f, &f.open);
	return rc;
}
