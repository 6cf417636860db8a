#include "fs/fs_fat_heap.h"

#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_ops.h"

/* A table of 16 Mi clusters is in memory as a whole; a block of a FAT12's holds all of it. */
#define BLOCK_BYTES ((size_t)(16 * KIB))
#define CACHE_SLOTS ((size_t)4096)

/* Of a directory: read at a time. */
#define PIECE_BYTES ((size_t)(16 * KIB))

int fs_fat_heap_init(struct fs_fat_heap *h, struct err *e)
{
	uint64_t blocks = div_up(h->table_bytes, BLOCK_BYTES);
	int rc;

	h->slots = (size_t)min_u64(blocks, CACHE_SLOTS);
	/* Following chains may not take longer than an eighth of reading the device would. */
	h->read_budget = 2 * h->slots + dev_size(h->dev) / 8 / BLOCK_BYTES;
	rc = fs_clusters_init(&h->used, h->clusters, e);
	if (rc == 0)
		rc = fs_clusters_init(&h->seen, h->clusters, e);
	if (rc < 0)
		return rc;
	h->cache = malloc(h->slots * BLOCK_BYTES);
	h->slot_block = calloc(h->slots, sizeof(*h->slot_block));
	return h->cache == NULL || h->slot_block == NULL ? err_nomem(e) : 0;
}

void fs_fat_heap_fini(struct fs_fat_heap *h)
{
	fs_clusters_fini(&h->used);
	fs_clusters_fini(&h->seen);
	free(h->pending);
	free(h->cache);
	free(h->slot_block);
}

/* ---- The table --------------------------------------------------------------------------- */

/* The block of the table that holds byte `at`. */
static int load_block(struct fs_fat_heap *h, uint64_t at, const uint8_t **block, struct err *e)
{
	uint64_t number = at / BLOCK_BYTES;
	size_t slot = (size_t)(number % h->slots);
	uint8_t *p = h->cache + slot * BLOCK_BYTES;
	size_t n = (size_t)min_u64(BLOCK_BYTES, h->table_bytes - number * BLOCK_BYTES);
	int rc = 0;

	*block = p;
	if (h->slot_block[slot] == number + 1)
		return 0;
	if (h->read_budget == 0)
		return err_set(e, ERR_FORMAT, 0,
			"following the chains of clusters would take longer than all blocks");
	h->read_budget--;
	h->slot_block[slot] = 0;
	rc = dev_read(h->dev, h->table_off + number * BLOCK_BYTES, p, n, e);
	if (rc == 0)
		h->slot_block[slot] = number + 1;
	return rc;
}

int fs_fat_entry(struct fs_fat_heap *h, uint32_t cluster, uint32_t *value, struct err *e)
{
	/* An entry of 12 bits begins in the middle of a byte every other time. */
	uint64_t at = (uint64_t)cluster * h->entry_bits / 8;
	const uint8_t *block;
	int rc = load_block(h, at, &block, e);

	if (rc < 0)
		return rc;
	block += at % BLOCK_BYTES;
	if (h->entry_bits == 32)
		*value = get_le32(block);
	else if (h->entry_bits == 12 && cluster % 2 != 0)
		*value = (uint32_t)get_le16(block) >> 4;
	else
		*value = get_le16(block);
	*value &= h->mask;
	return 0;
}

/* ---- The walk ---------------------------------------------------------------------------- */

/* One more cluster that something refers to. */
static int see(struct fs_fat_heap *h, uint32_t cluster, struct err *e)
{
	uint64_t bit = cluster - FS_FAT_FIRST_CLUSTER;

	if (!fs_fat_is_cluster(h, cluster))
		return err_set(e, ERR_FORMAT, 0, "it refers to cluster %" PRIu32 ", which is none",
			cluster);
	if (!fs_clusters_test(&h->used, bit))
		return err_set(e, ERR_FORMAT, 0, "it uses cluster %" PRIu32 ", which is free",
			cluster);
	if (fs_clusters_test(&h->seen, bit))
		return err_set(e, ERR_FORMAT, 0,
			"it uses cluster %" PRIu32 ", which is in use already", cluster);
	fs_clusters_set(&h->seen, bit);
	return 0;
}

int fs_fat_see_chain(struct fs_fat_heap *h, uint32_t first, uint32_t *length, struct err *e)
{
	uint32_t cluster = first;

	for (*length = 0;; ++*length) {
		uint32_t next = 0;
		int rc = see(h, cluster, e);

		if (rc == 0)
			rc = fs_fat_entry(h, cluster, &next, e);
		if (rc < 0)
			return rc;
		if (next >= h->end_min)
			break;
		if (!fs_fat_is_cluster(h, next))
			return err_set(e, ERR_FORMAT, 0,
				"its chain has the value 0x%" PRIX32 " at cluster %" PRIu32, next,
				cluster);
		cluster = next;
	}
	++*length;
	return 0;
}

int fs_fat_see_run(struct fs_fat_heap *h, uint32_t first, uint64_t count, struct err *e)
{
	int rc = 0;

	if (count > 0 &&
		(!fs_fat_is_cluster(h, first) ||
			!range_inside(first - FS_FAT_FIRST_CLUSTER, count, h->clusters)))
		return err_set(e, ERR_FORMAT, 0,
			"its %" PRIu64 " clusters from %" PRIu32 " on are not all there are", count,
			first);
	for (uint64_t i = 0; i < count && rc == 0; i++)
		rc = see(h, first + (uint32_t)i, e);
	return rc;
}

uint64_t fs_fat_lost_clusters(const struct fs_fat_heap *h)
{
	uint64_t used = fs_clusters_sum(&h->used);
	uint64_t known = fs_clusters_sum(&h->seen) + h->bad;

	return used > known ? used - known : 0;
}

void fs_fat_note_account(const struct fs_fat_heap *h, const struct fs_free_runs *runs,
	struct fs_report *r)
{
	uint64_t lost = fs_fat_lost_clusters(h);

	if (lost > 0)
		fs_add_note(r, "%" PRIu64 " clusters in use belong to no file", lost);
	if (h->bad > 0)
		fs_add_note(r, "%" PRIu32 " bad clusters", h->bad);
	if (runs->min_bytes > 0)
		fs_add_note(r, FS_FREE_RUNS_COARSE);
}

/* ---- Directories ------------------------------------------------------------------------- */

int fs_fat_add_dir(struct fs_fat_heap *h, const struct fs_fat_dir *dir, struct err *e)
{
	if (h->pending_count == FS_FAT_MAX_PENDING)
		return err_set(e, ERR_FORMAT, 0, "more than %zu directories are still to be read",
			FS_FAT_MAX_PENDING);
	if (h->pending_count == h->pending_room) {
		size_t room = h->pending_room > 0 ? 2 * h->pending_room : 64;
		struct fs_fat_dir *p = realloc(h->pending, room * sizeof(*p));

		if (p == NULL)
			return err_nomem(e);
		h->pending = p;
		h->pending_room = room;
	}
	h->pending[h->pending_count++] = *dir;
	return 0;
}

bool fs_fat_take_dir(struct fs_fat_heap *h, struct fs_fat_dir *dir)
{
	if (h->pending_count == 0)
		return false;
	*dir = h->pending[--h->pending_count];
	return true;
}

int fs_fat_read_entries(struct fs_fat_heap *h, uint64_t off, uint64_t len, uint32_t *index,
	fs_fat_entry_fn fn, void *user, struct err *e)
{
	uint8_t piece[PIECE_BYTES];

	for (uint64_t done = 0; done < len;) {
		size_t n = (size_t)min_u64(sizeof(piece), len - done);
		int rc = dev_read(h->dev, off + done, piece, n, e);

		if (rc < 0)
			return rc;
		for (size_t at = 0; at < n; at += FS_FAT_ENTRY_BYTES) {
			rc = fn(user, piece + at, *index, e);
			if (rc < 0)
				return err_prefix(e, "entry %" PRIu32, *index);
			++*index;
		}
		done += n;
	}
	return 0;
}

int fs_fat_read_dir(struct fs_fat_heap *h, const struct fs_fat_dir *dir, fs_fat_entry_fn fn,
	void *user, struct err *e)
{
	uint32_t cluster = dir->first, index = 0;

	for (uint32_t i = 0; i < dir->clusters; i++) {
		int rc = fs_fat_read_entries(h, fs_fat_cluster_off(h, cluster), h->cluster_bytes,
			&index, fn, user, e);

		if (rc == 0 && i + 1 < dir->clusters) {
			/* The chain was good when it was seen; whoever changes it now is told. */
			if (dir->contiguous)
				cluster++;
			else
				rc = fs_fat_entry(h, cluster, &cluster, e);
			if (rc == 0 && !fs_fat_is_cluster(h, cluster))
				rc = err_set(e, ERR_FORMAT, 0, "its chain changed meanwhile");
		}
		if (rc < 0)
			return err_prefix(e, "directory at cluster %" PRIu32, dir->first);
	}
	return 0;
}
