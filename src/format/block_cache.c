/*
 * A block is a node in a hash table, and in one of three states: waiting to be made ahead, being
 * made by a thread, or ready. Whoever wants one that waits makes it at once; whoever wants one that
 * is being made waits for that thread. Only ready ones that nobody holds are in the list by age and
 * can be dropped. Blocks are made outside of the lock.
 */
#include "format/block_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"

#define BUCKETS_MIN 64
#define BUCKETS_MAX (64 * KIB)
#define BUCKET_BYTES (32 * KIB) /* of the budget, for a bucket each */
#define QUEUE_MAX 64		/* blocks that wait to be made ahead */

enum block_state { BLOCK_WAITING, BLOCK_MAKING, BLOCK_READY };

struct cached_block {
	struct block_user *user; /* with off, the key */
	uint64_t off;
	size_t len;
	uint8_t *bytes;
	enum block_state state;
	bool ahead; /* made ahead, and not wanted since */
	unsigned held;
	struct cached_block *chain;	    /* in its bucket */
	struct cached_block *newer, *older; /* ready and not held, or waiting: in the queue */
};

struct block_list {
	struct cached_block *newest, *oldest;
	size_t count;
};

/* Locks: only `lock`, for all fields below it and those of the blocks. */
struct block_cache {
	atomic_uint refs;
	size_t bucket_mask;
	unsigned workers;
	pthread_t *threads;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a block became ready, or was given up */
	pthread_cond_t wanted;	/* for the threads: the queue has one, or it is over */
	struct cached_block **buckets;
	struct block_list idle;	 /* ready and not held */
	struct block_list queue; /* waiting */
	struct block_stats stats;
	bool over;
};

/* ---- All static functions from here on are called with the lock held ---- */

static void list_add(struct block_list *l, struct cached_block *b)
{
	b->newer = NULL;
	b->older = l->newest;
	if (l->newest != NULL)
		l->newest->newer = b;
	else
		l->oldest = b;
	l->newest = b;
	l->count++;
}

static void list_remove(struct block_list *l, struct cached_block *b)
{
	if (b->newer != NULL)
		b->newer->older = b->older;
	else
		l->newest = b->older;
	if (b->older != NULL)
		b->older->newer = b->newer;
	else
		l->oldest = b->newer;
	l->count--;
}

/* Offsets are multiples of a block, and users are far apart: the multiplier spreads both. */
static struct cached_block **bucket_of(const struct block_cache *k, const struct block_user *u,
	uint64_t off)
{
	uint64_t x = ((uint64_t)(uintptr_t)u ^ off) * 0x9E3779B97F4A7C15u;

	return &k->buckets[(x >> 32) & k->bucket_mask];
}

static struct cached_block *find(const struct block_cache *k, const struct block_user *u,
	uint64_t off)
{
	struct cached_block *b = *bucket_of(k, u, off);

	while (b != NULL && (b->user != u || b->off != off))
		b = b->chain;
	return b;
}

/* Out of the table; the caller took it out of its list. */
static void drop(struct block_cache *k, struct cached_block *b)
{
	struct cached_block **at = bucket_of(k, b->user, b->off);

	while (*at != b)
		at = &(*at)->chain;
	*at = b->chain;
	k->stats.bytes -= b->len;
	free(b->bytes);
	free(b);
}

/* Room for `len` bytes, as far as blocks can be dropped. The memory of one of that very size is
 * given back for the new one: fresh memory costs a page fault for each of its pages. */
static uint8_t *make_room(struct block_cache *k, size_t len)
{
	uint8_t *kept = NULL;

	while (k->stats.bytes + len > k->stats.limit_bytes && k->idle.oldest != NULL) {
		struct cached_block *b = k->idle.oldest;

		list_remove(&k->idle, b);
		if (kept == NULL && b->len == len) {
			kept = b->bytes;
			b->bytes = NULL;
		}
		drop(k, b);
		k->stats.evicted++;
	}
	return kept;
}

/* A new block in the table, in no list; NULL: out of memory. */
static struct cached_block *add(struct block_cache *k, struct block_user *u, uint64_t off,
	size_t len, enum block_state state)
{
	struct cached_block **at = bucket_of(k, u, off);
	struct cached_block *b = calloc(1, sizeof(*b));
	uint8_t *bytes = make_room(k, len);

	if (bytes == NULL)
		bytes = malloc(len);
	if (b == NULL || bytes == NULL) {
		free(b);
		free(bytes);
		return NULL;
	}
	*b = (struct cached_block){ .user = u, .off = off, .len = len, .bytes = bytes };
	b->state = state;
	b->chain = *at;
	*at = b;
	k->stats.bytes += len;
	k->stats.peak_bytes = max_u64(k->stats.peak_bytes, k->stats.bytes);
	return b;
}

/*
 * Make a block that is in no list, letting go of the lock meanwhile. It is held by one when it is
 * ready. On failure it is gone: nobody else holds one that never was ready.
 */
static int make(struct block_cache *k, struct cached_block *b, struct err *e)
{
	int rc;

	b->state = BLOCK_MAKING;
	pthread_mutex_unlock(&k->lock);
	rc = b->user->fill(b->user, b->off, b->bytes, b->len, e);
	pthread_mutex_lock(&k->lock);
	if (rc < 0) {
		drop(k, b);
	} else {
		b->state = BLOCK_READY;
		b->held = 1;
	}
	pthread_cond_broadcast(&k->changed);
	return rc;
}

static void hold(struct block_cache *k, struct cached_block *b)
{
	if (b->held++ == 0)
		list_remove(&k->idle, b);
	k->stats.hits++;
	k->stats.ahead_used += b->ahead;
	b->ahead = false;
}

static void let_go(struct block_cache *k, struct cached_block *b)
{
	if (--b->held > 0)
		return;
	list_add(&k->idle, b);
	/* It was over the budget while all were held. */
	free(make_room(k, 0));
}

/* The block, when it is there and not waiting to be made: it is waited for. */
static struct cached_block *find_made(struct block_cache *k, struct block_user *u, uint64_t off)
{
	struct cached_block *b;

	/* After a wait it may have been given up, and even be there anew. */
	while ((b = find(k, u, off)) != NULL && b->state == BLOCK_MAKING)
		pthread_cond_wait(&k->changed, &k->lock);
	return b;
}

/* ---- Reading ---- */

int block_cache_get(struct block_cache *k, struct block_user *u, uint64_t off, size_t len,
	struct cached_block **out, struct err *e)
{
	struct cached_block *b;
	int rc = 0;

	pthread_mutex_lock(&k->lock);
	b = find_made(k, u, off);
	if (b != NULL && b->state == BLOCK_READY) {
		hold(k, b);
	} else {
		if (b != NULL)
			list_remove(&k->queue, b);
		else
			b = add(k, u, off, len, BLOCK_MAKING);
		rc = b != NULL ? make(k, b, e) : err_nomem(e);
		k->stats.misses++;
	}
	pthread_mutex_unlock(&k->lock);
	*out = rc == 0 ? b : NULL;
	return rc;
}

struct cached_block *block_cache_find(struct block_cache *k, struct block_user *u, uint64_t off)
{
	struct cached_block *b;

	pthread_mutex_lock(&k->lock);
	b = find_made(k, u, off);
	if (b != NULL && b->state == BLOCK_READY) {
		hold(k, b);
	} else if (b != NULL) {
		/* The caller makes it in a place of its own. */
		list_remove(&k->queue, b);
		drop(k, b);
		b = NULL;
	}
	pthread_mutex_unlock(&k->lock);
	return b;
}

const uint8_t *cached_block_bytes(const struct cached_block *b)
{
	return b->bytes;
}

void block_cache_release(struct block_cache *k, struct cached_block *b)
{
	pthread_mutex_lock(&k->lock);
	let_go(k, b);
	pthread_mutex_unlock(&k->lock);
}

/* ---- Ahead ---- */

bool block_cache_can_ahead(const struct block_cache *k)
{
	return k->workers > 0;
}

void block_cache_ahead(struct block_cache *k, struct block_user *u, uint64_t off, size_t len)
{
	struct cached_block *b;

	pthread_mutex_lock(&k->lock);
	/* Never more than half of the budget on what may not be wanted. */
	if (k->workers > 0 && k->queue.count < QUEUE_MAX &&
		(k->queue.count + 1) * len <= k->stats.limit_bytes / 2 && find(k, u, off) == NULL) {
		b = add(k, u, off, len, BLOCK_WAITING);
		if (b != NULL) {
			list_add(&k->queue, b);
			pthread_cond_signal(&k->wanted);
		}
	}
	pthread_mutex_unlock(&k->lock);
}

static void *work(void *arg)
{
	struct block_cache *k = arg;

	pthread_mutex_lock(&k->lock);
	while (!k->over) {
		struct cached_block *b = k->queue.oldest;
		struct err ignored; /* whoever wants the block gets the error */

		if (b == NULL) {
			pthread_cond_wait(&k->wanted, &k->lock);
			continue;
		}
		list_remove(&k->queue, b);
		b->ahead = true;
		if (make(k, b, &ignored) == 0) {
			k->stats.ahead++;
			let_go(k, b);
		}
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

/* ---- Life ---- */

static void leave_list(struct block_cache *k, struct block_list *l, const struct block_user *u)
{
	struct cached_block *b = l->oldest;

	while (b != NULL) {
		struct cached_block *newer = b->newer;

		if (b->user == u) {
			list_remove(l, b);
			drop(k, b);
		}
		b = newer;
	}
}

/* Is a thread of the cache making a block of the user? */
static bool is_making(const struct block_cache *k, const struct block_user *u)
{
	for (size_t i = 0; i <= k->bucket_mask; i++)
		for (const struct cached_block *b = k->buckets[i]; b != NULL; b = b->chain)
			if (b->user == u && b->state == BLOCK_MAKING)
				return true;
	return false;
}

void block_cache_leave(struct block_cache *k, struct block_user *u)
{
	pthread_mutex_lock(&k->lock);
	leave_list(k, &k->queue, u);
	while (is_making(k, u))
		pthread_cond_wait(&k->changed, &k->lock);
	leave_list(k, &k->idle, u);
	pthread_mutex_unlock(&k->lock);
}

void block_cache_stats(struct block_cache *k, struct block_stats *s)
{
	pthread_mutex_lock(&k->lock);
	*s = k->stats;
	pthread_mutex_unlock(&k->lock);
}

struct block_cache *block_cache_ref(struct block_cache *k)
{
	atomic_fetch_add(&k->refs, 1);
	return k;
}

static void cache_free(struct block_cache *k)
{
	pthread_mutex_lock(&k->lock);
	k->over = true;
	pthread_cond_broadcast(&k->wanted);
	pthread_mutex_unlock(&k->lock);
	for (unsigned i = 0; i < k->workers; i++)
		pthread_join(k->threads[i], NULL);
	pthread_cond_destroy(&k->wanted);
	pthread_cond_destroy(&k->changed);
	pthread_mutex_destroy(&k->lock);
	free(k->threads);
	free(k->buckets);
	free(k);
}

void block_cache_unref(struct block_cache *k)
{
	if (k != NULL && atomic_fetch_sub(&k->refs, 1) == 1)
		cache_free(k);
}

/* The smallest power of two that gives the budget its buckets. */
static size_t buckets_for(size_t limit_bytes)
{
	size_t n = BUCKETS_MIN;

	while (n < BUCKETS_MAX && n < limit_bytes / BUCKET_BYTES)
		n *= 2;
	return n;
}

int block_cache_new(size_t limit_bytes, unsigned workers, struct block_cache **out, struct err *e)
{
	struct block_cache *k = calloc(1, sizeof(*k));
	size_t buckets = buckets_for(limit_bytes);

	*out = NULL;
	if (k == NULL)
		return err_nomem(e);
	atomic_init(&k->refs, 1);
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->changed, NULL);
	pthread_cond_init(&k->wanted, NULL);
	k->stats.limit_bytes = limit_bytes;
	k->bucket_mask = buckets - 1;
	k->buckets = calloc(buckets, sizeof(struct cached_block *));
	k->threads = calloc((size_t)workers + 1, sizeof(*k->threads));
	if (k->buckets == NULL || k->threads == NULL) {
		cache_free(k);
		return err_nomem(e);
	}
	for (; k->workers < workers; k->workers++) {
		int sys = pthread_create(&k->threads[k->workers], NULL, work, k);

		if (sys != 0) {
			cache_free(k);
			return err_set(e, ERR_INTERNAL, sys, "start a thread to read ahead");
		}
	}
	*out = k;
	return 0;
}
