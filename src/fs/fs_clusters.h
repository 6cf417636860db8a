/*
 * A bit for each allocation unit of a volume: which clusters are in use. For file systems whose
 * whole account fits into memory at one bit a cluster; the caller bounds the count.
 *
 * Owned by one thread.
 */
#ifndef FS_FS_CLUSTERS_H
#define FS_FS_CLUSTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/fs_free_runs.h"

struct fs_clusters {
	uint8_t *bits; /* bit n % 8 of byte n / 8; padded with zeros to a multiple of 8 bytes */
	uint64_t count;
};

/* All clear. Fails only when out of memory. */
int fs_clusters_init(struct fs_clusters *c, uint64_t count, struct err *e);
void fs_clusters_fini(struct fs_clusters *c);

static inline bool fs_clusters_test(const struct fs_clusters *c, uint64_t n)
{
	return c->bits[n / 8] >> n % 8 & 1;
}

static inline void fs_clusters_set(struct fs_clusters *c, uint64_t n)
{
	c->bits[n / 8] = (uint8_t)(c->bits[n / 8] | 1u << n % 8);
}

/* The first cluster at or after `from` whose bit is `value`; count when there is none. */
uint64_t fs_clusters_find(const struct fs_clusters *c, uint64_t from, bool value);

/* How many bits are set. */
uint64_t fs_clusters_sum(const struct fs_clusters *c);

/* Add the clusters whose bit is clear to the free runs; cluster 0 begins at byte `off`. */
int fs_clusters_set_free(const struct fs_clusters *c, uint64_t off, uint64_t cluster_bytes,
	struct fs_free_runs *runs, struct err *e);

#endif
