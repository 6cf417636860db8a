/*
 * The journal file of ext3 and ext4: where its blocks lie, and what a replay of it would write. The
 * log itself is followed in fs_ext_log.c.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_ext_int.h"

/* mke2fs makes journals of at most 10,240,000 blocks, and 1 GiB unless told otherwise. */
#define JOURNAL_BLOCKS_MAX 16000000
#define JOURNAL_RUNS_MAX 65536
#define TREE_READS_MAX 65536

void fs_ext_journal_fini(struct ext_journal *j)
{
	free(j->runs);
	free(j->writes);
	memset(j, 0, sizeof(*j));
}

uint64_t fs_ext_journal_block(const struct ext_journal *j, uint64_t index)
{
	size_t low = 0, high = j->run_count - 1;

	while (low < high) {
		size_t mid = high - (high - low) / 2;

		if (j->runs[mid].index <= index)
			low = mid;
		else
			high = mid - 1;
	}
	return j->runs[low].block + (index - j->runs[low].index);
}

size_t fs_ext_journal_find(const struct ext_journal *j, uint64_t block)
{
	size_t low = 0, high = j->write_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (j->writes[mid].block < block)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void *fs_ext_grow(void *array, size_t count, size_t *room, size_t element_bytes)
{
	size_t want = *room ? *room * 2 : 64;
	void *p;

	if (count < *room)
		return array;
	p = reallocarray(array, want, element_bytes);
	if (p)
		*room = want;
	return p;
}

struct tree_walk {
	struct ext_journal *j;
	uint64_t fs_blocks;
	size_t room;
	struct err *e;
	int rc;
};

static int on_journal_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t index, blk64_t ref,
	int ref_offset, void *user)
{
	struct tree_walk *w = user;
	struct ext_journal *j = w->j;
	struct ext_run *last = j->run_count ? &j->runs[j->run_count - 1] : NULL;
	struct ext_run *runs;

	(void)fs, (void)ref, (void)ref_offset;
	if (index < 0 || (uint64_t)index != j->blocks || *block == 0 || *block >= w->fs_blocks ||
		j->blocks == JOURNAL_BLOCKS_MAX) {
		w->rc = err_set(w->e, ERR_FORMAT, 0,
			"journal: block %" PRId64 " lies at block %" PRIu64, (int64_t)index,
			(uint64_t)*block);
		return BLOCK_ABORT;
	}
	if (last && last->block + last->count == *block) {
		last->count++;
		j->blocks++;
		return 0;
	}
	if (j->run_count == JOURNAL_RUNS_MAX) {
		w->rc = err_set(w->e, ERR_FORMAT, 0, "journal: more than %d fragments",
			JOURNAL_RUNS_MAX);
		return BLOCK_ABORT;
	}
	runs = fs_ext_grow(j->runs, j->run_count, &w->room, sizeof(*runs));
	if (!runs) {
		w->rc = err_nomem(w->e);
		return BLOCK_ABORT;
	}
	j->runs = runs;
	j->runs[j->run_count++] = (struct ext_run){ j->blocks++, *block, 1 };
	return 0;
}

static int find_blocks(ext2_filsys fs, struct ext_journal *j, struct err *e)
{
	struct tree_walk w = { .j = j, .fs_blocks = ext2fs_blocks_count(fs->super), .e = e };
	errcode_t code;

	ext2fs_io_begin(fs, TREE_READS_MAX);
	code = ext2fs_block_iterate3(fs, fs->super->s_journal_inum,
		BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, NULL, on_journal_block, &w);
	if (w.rc < 0)
		return w.rc;
	if (code)
		return ext2fs_io_fail(fs, code, e, "journal: find its blocks");
	ext2fs_io_begin(fs, UINT64_MAX);
	if (j->blocks == 0)
		return err_set(e, ERR_FORMAT, 0, "journal: its inode has no blocks");
	return 0;
}

static int by_block(const void *a, const void *b)
{
	const struct ext_run *x = a, *y = b;

	return x->block < y->block ? -1 : x->block > y->block;
}

/* Both lists ascend by block: does a write hit a run? */
static int check_writes_outside(const struct ext_journal *j, struct err *e)
{
	struct ext_run *runs = malloc(j->run_count * sizeof(*runs));
	size_t r = 0;
	int rc = 0;

	if (!runs)
		return err_nomem(e);
	memcpy(runs, j->runs, j->run_count * sizeof(*runs));
	qsort(runs, j->run_count, sizeof(*runs), by_block);
	for (size_t i = 0; i < j->write_count && rc == 0; i++) {
		while (r < j->run_count && runs[r].block + runs[r].count <= j->writes[i].block)
			r++;
		if (r < j->run_count && runs[r].block <= j->writes[i].block)
			rc = err_set(e, ERR_FORMAT, 0,
				"journal: replay would write into the journal, at block %" PRIu64,
				j->writes[i].block);
	}
	free(runs);
	return rc;
}

int fs_ext_journal_read(struct dev *d, ext2_filsys fs, struct ext_journal *out, struct err *e)
{
	int rc;

	memset(out, 0, sizeof(*out));
	rc = find_blocks(fs, out, e);
	if (rc == 0)
		rc = fs_ext_log_read(d, fs, out, e);
	if (rc == 0)
		rc = check_writes_outside(out, e);
	if (rc < 0)
		fs_ext_journal_fini(out);
	return rc;
}
