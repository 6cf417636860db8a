/*
 * A list of nodes from the latest used to the one not used for longest. It is searched in order:
 * a hundred nodes at the default sizes, and a caller that works in order hits the first.
 */
#include "format/chunk_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

/* The chunk comes first, so that a pointer to it is a pointer to its node. */
struct node {
	struct chunk chunk;
	size_t bytes;
	unsigned held;		    /* lock of the cache */
	struct node *newer, *older; /* lock of the cache */
};

/* Locks: only `lock`, for all fields below it. */
struct chunk_cache {
	size_t limit;
	pthread_mutex_t lock;
	struct node *newest, *oldest;
	size_t bytes;
};

struct chunk_cache *chunk_cache_new(size_t bytes)
{
	struct chunk_cache *k = calloc(1, sizeof(*k));

	if (k == NULL)
		return NULL;
	k->limit = bytes;
	pthread_mutex_init(&k->lock, NULL);
	return k;
}

void chunk_cache_free(struct chunk_cache *k)
{
	if (k == NULL)
		return;
	while (k->newest != NULL) {
		struct node *n = k->newest;

		k->newest = n->older;
		free(n);
	}
	pthread_mutex_destroy(&k->lock);
	free(k);
}

struct chunk *chunk_alloc(uint32_t entries, uint32_t bad_ranges)
{
	/* Both are at most 65,536. */
	size_t entry_bytes = entries * sizeof(struct chunk_entry);
	size_t bytes = sizeof(struct node) + entry_bytes + bad_ranges * sizeof(struct bad_range);
	struct node *n = malloc(bytes);

	if (n == NULL)
		return NULL;
	memset(n, 0, sizeof(*n));
	n->bytes = bytes;
	n->chunk.count = entries;
	n->chunk.bad_count = bad_ranges;
	n->chunk.entries = (struct chunk_entry *)(n + 1);
	n->chunk.bad = (struct bad_range *)((uint8_t *)(n + 1) + entry_bytes);
	return &n->chunk;
}

struct chunk_entry *chunk_entries(struct chunk *c)
{
	return (struct chunk_entry *)((struct node *)c + 1);
}

struct bad_range *chunk_bad_ranges(struct chunk *c)
{
	return (struct bad_range *)(chunk_entries(c) + c->count);
}

void chunk_free(struct chunk *c)
{
	free(c);
}

static void unlink_node(struct chunk_cache *k, struct node *n)
{
	if (n->newer != NULL)
		n->newer->older = n->older;
	else
		k->newest = n->older;
	if (n->older != NULL)
		n->older->newer = n->newer;
	else
		k->oldest = n->newer;
}

static void link_newest(struct chunk_cache *k, struct node *n)
{
	n->newer = NULL;
	n->older = k->newest;
	if (k->newest != NULL)
		k->newest->newer = n;
	else
		k->oldest = n;
	k->newest = n;
}

static struct node *find(struct chunk_cache *k, uint64_t number)
{
	for (struct node *n = k->newest; n != NULL; n = n->older)
		if (n->chunk.number == number)
			return n;
	return NULL;
}

static const struct chunk *hold(struct chunk_cache *k, struct node *n)
{
	n->held++;
	unlink_node(k, n);
	link_newest(k, n);
	return &n->chunk;
}

/* Drop the oldest that nobody holds, until the rest fits; the newest stays. */
static void shrink(struct chunk_cache *k)
{
	struct node *n = k->oldest;

	while (k->bytes > k->limit && n != NULL && n != k->newest) {
		struct node *newer = n->newer;

		if (n->held == 0) {
			unlink_node(k, n);
			k->bytes -= n->bytes;
			free(n);
		}
		n = newer;
	}
}

const struct chunk *chunk_cache_get(struct chunk_cache *k, uint64_t number)
{
	const struct chunk *c = NULL;
	struct node *n;

	pthread_mutex_lock(&k->lock);
	n = find(k, number);
	if (n != NULL)
		c = hold(k, n);
	pthread_mutex_unlock(&k->lock);
	return c;
}

const struct chunk *chunk_cache_put(struct chunk_cache *k, struct chunk *c)
{
	const struct chunk *out;
	struct node *n;

	pthread_mutex_lock(&k->lock);
	n = find(k, c->number);
	if (n != NULL) {
		chunk_free(c);
	} else {
		n = (struct node *)c;
		link_newest(k, n);
		k->bytes += n->bytes;
	}
	out = hold(k, n);
	shrink(k);
	pthread_mutex_unlock(&k->lock);
	return out;
}

void chunk_cache_unref(struct chunk_cache *k, const struct chunk *c)
{
	pthread_mutex_lock(&k->lock);
	((struct node *)c)->held--;
	shrink(k);
	pthread_mutex_unlock(&k->lock);
}
