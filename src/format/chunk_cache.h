/*
 * Tables of chunks, decoded: immutable, counted, and kept while there is room. Any thread.
 */
#ifndef FORMAT_CHUNK_CACHE_H
#define FORMAT_CHUNK_CACHE_H

#include "format/image.h"

struct chunk_cache;

/* Keeps at most about `bytes` of tables that nobody holds, but always the newest one. */
struct chunk_cache *chunk_cache_new(size_t bytes); /* NULL when out of memory */
/* No chunk may be held any more. NULL is fine. */
void chunk_cache_free(struct chunk_cache *k);

/* A chunk with room for so many entries and bad ranges, held by nobody; NULL: out of memory. */
struct chunk *chunk_alloc(uint32_t entries, uint32_t bad_ranges);
/* Its arrays, to be filled before it is put into a cache. */
struct chunk_entry *chunk_entries(struct chunk *c);
struct bad_range *chunk_bad_ranges(struct chunk *c);
/* Only for a chunk that was not put into a cache. NULL is fine. */
void chunk_free(struct chunk *c);

/* The chunk of this number, held once more; NULL when it is not there. */
const struct chunk *chunk_cache_get(struct chunk_cache *k, uint64_t number);
/*
 * Take the chunk over and hold it. When another thread has put in the same number meanwhile, that
 * one is returned, and this one freed.
 */
const struct chunk *chunk_cache_put(struct chunk_cache *k, struct chunk *c);
void chunk_cache_unref(struct chunk_cache *k, const struct chunk *c);

#endif
