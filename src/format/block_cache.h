/*
 * A cache of unpacked blocks within a budget of bytes, shared by any number of images that are read
 * as devices: the least recently used go first. Blocks that will be wanted soon are unpacked ahead,
 * in parallel, by threads of the cache.
 *
 * All functions may be called from any thread. A block is held from block_cache_get or _find to
 * block_cache_release; a held block is immutable and stays. While more is held than the budget
 * allows, the cache is larger for that long: by a block for each thread that reads.
 */
#ifndef FORMAT_BLOCK_CACHE_H
#define FORMAT_BLOCK_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct block_cache;
struct cached_block;

/* Who puts blocks in. Embedded in what it is for; stays where it is until block_cache_leave. */
struct block_user {
	/* Make the block at source offset `off`, len bytes, in dst. Called without any lock. */
	int (*fill)(struct block_user *u, uint64_t off, void *dst, size_t len, struct err *e);
};

struct block_stats {
	uint64_t hits;	     /* found ready, or being made by another thread */
	uint64_t misses;     /* made by the thread that wanted it */
	uint64_t ahead;	     /* made before anybody wanted it */
	uint64_t ahead_used; /* of those, wanted later */
	uint64_t evicted;    /* dropped to make room */
	uint64_t bytes, peak_bytes, limit_bytes;
};

/* At most about `limit_bytes` of blocks; `workers` threads to unpack ahead, 0: never ahead. */
int block_cache_new(size_t limit_bytes, unsigned workers, struct block_cache **out, struct err *e);
struct block_cache *block_cache_ref(struct block_cache *k);
/* The last one frees it and joins its threads. All users must have left. NULL is fine. */
void block_cache_unref(struct block_cache *k);

/* The block of that user and offset, held; made when it is not there. On failure it is not kept. */
int block_cache_get(struct block_cache *k, struct block_user *u, uint64_t off, size_t len,
	struct cached_block **out, struct err *e);
/* The same, but NULL when it is neither there nor being made. */
struct cached_block *block_cache_find(struct block_cache *k, struct block_user *u, uint64_t off);
const uint8_t *cached_block_bytes(const struct cached_block *b);
void block_cache_release(struct block_cache *k, struct cached_block *b);

/* Have it made soon. Does nothing when it is there, or when enough is waiting already. */
void block_cache_ahead(struct block_cache *k, struct block_user *u, uint64_t off, size_t len);
/* Does the cache have threads for that? */
bool block_cache_can_ahead(const struct block_cache *k);

/* Drop all blocks of the user, none of which is held any more; none will come after that. */
void block_cache_leave(struct block_cache *k, struct block_user *u);

void block_cache_stats(struct block_cache *k, struct block_stats *s);

#endif
