#include "fs/fs_clusters.h"

#include "base/mem.h"

int fs_clusters_init(struct fs_clusters *c, uint64_t count, struct err *e)
{
	c->count = count;
	c->bits = calloc(count / 64 + 1, 8);
	return c->bits == NULL ? err_nomem(e) : 0;
}

void fs_clusters_fini(struct fs_clusters *c)
{
	free(c->bits);
	c->bits = NULL;
}

uint64_t fs_clusters_find(const struct fs_clusters *c, uint64_t from, bool value)
{
	while (from < c->count) {
		/* Bits of the word that have the value, those before `from` removed. */
		uint64_t word = get_le64(c->bits + from / 64 * 8) ^ (value ? 0 : UINT64_MAX);

		word &= UINT64_MAX << from % 64;
		if (word != 0)
			return min_u64(from / 64 * 64 + (uint64_t)__builtin_ctzll(word), c->count);
		from = (from / 64 + 1) * 64;
	}
	return c->count;
}

uint64_t fs_clusters_sum(const struct fs_clusters *c)
{
	uint64_t sum = 0;

	for (uint64_t at = 0; at < c->count; at += 64)
		sum += (uint64_t)__builtin_popcountll(get_le64(c->bits + at / 8));
	return sum;
}

/* The next run of clear bits at or after `from`: where it begins; *len is 0 when there is none. */
static uint64_t next_free(const struct fs_clusters *c, uint64_t from, uint64_t *len)
{
	uint64_t start = fs_clusters_find(c, from, false);

	*len = fs_clusters_find(c, start, true) - start;
	return start;
}

int fs_clusters_set_free(const struct fs_clusters *c, uint64_t off, uint64_t cluster_bytes,
	struct fs_free_runs *runs, struct err *e)
{
	uint64_t len;

	for (uint64_t at = next_free(c, 0, &len); len > 0; at = next_free(c, at + len, &len)) {
		int rc = fs_free_runs_add(runs, off + at * cluster_bytes, len * cluster_bytes, e);

		if (rc < 0)
			return rc;
	}
	return 0;
}
