/*
 * ext2, ext3 and ext4. A clean file system gives one state, and the map is what its bitmaps call
 * free. A dirty one (every snapshot of a live file system) gives two: as it is on the disk, and as
 * it will be once the journal was replayed. Free is what is free in both; the later one must be
 * consistent in every respect that can be checked, of the earlier one that cannot be asked, as any
 * part of the logged blocks may have reached their places before the snapshot. Besides, what replay
 * will write and the journal itself are data.
 *
 * The counter of free blocks in the superblock is right on a clean file system only; a mounted one
 * keeps it in memory. The counters of the groups are logged like bitmaps and always right.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "fs/fs_ext_int.h"
#include "fs/fs_free_runs.h"
#include "fs/fs_ops.h"
#include "fs/fs_volume.h"

/* Check the superblock, then let the library open what is on the device. */
static int open_state(struct dev *d, bool any_state, ext2_filsys *out, struct err *e)
{
	uint8_t super[EXT_SUPER_BYTES];
	int rc;

	if (!range_inside(EXT_SUPER_OFFSET, EXT_SUPER_BYTES, dev_size(d)))
		return err_set(e, ERR_FORMAT, 0, "too small for a superblock");
	rc = dev_read(d, EXT_SUPER_OFFSET, super, sizeof(super), e);
	if (rc == 0)
		rc = fs_ext_super_check(super, dev_size(d), e);
	if (rc == 0 && !any_state)
		rc = fs_ext_super_check_state(super, e);
	if (rc == 0)
		rc = ext2fs_io_open(d, out, e);
	return rc;
}

/* A replay that changes what the numbers of blocks and groups mean is not followed further. */
static int check_same_shape(ext2_filsys a, ext2_filsys b, struct err *e)
{
	const struct ext2_super_block *x = a->super, *y = b->super;

	if (x->s_log_block_size == y->s_log_block_size &&
		x->s_log_cluster_size == y->s_log_cluster_size &&
		x->s_blocks_per_group == y->s_blocks_per_group &&
		x->s_journal_inum == y->s_journal_inum &&
		a->group_desc_count == b->group_desc_count &&
		ext2fs_blocks_count(a->super) == ext2fs_blocks_count(b->super))
		return 0;
	return err_set(e, ERR_FORMAT, 0, "the journal holds a change of size");
}

/* The second state, when there is one. */
static int open_replayed(struct ext_volume *v, struct err *e)
{
	int rc = 0;

	if (ext2fs_has_feature_journal(v->disk->super))
		rc = fs_ext_journal_read(v->dev, v->disk, &v->journal, e);
	if (rc < 0 || v->journal.write_count == 0)
		return rc;
	rc = fs_ext_overlay_open(v->dev, &v->journal, v->disk->blocksize, &v->overlay, e);
	if (rc == 0)
		rc = open_state(v->overlay, v->any_state, &v->replayed, e);
	if (rc < 0)
		return err_prefix(e, "after replay of the journal");
	return check_same_shape(v->disk, v->replayed, e);
}

int fs_ext_open(struct ext_volume *v, struct dev *d, struct err *e)
{
	int rc;

	memset(v, 0, sizeof(*v));
	v->dev = d;
	rc = open_state(v->dev, v->any_state, &v->disk, e);
	return rc == 0 ? open_replayed(v, e) : rc;
}

void fs_ext_close(struct ext_volume *v)
{
	ext2fs_io_close(v->replayed);
	dev_close(v->overlay);
	fs_ext_journal_fini(&v->journal);
	ext2fs_io_close(v->disk);
}

/* The journal must be there for the replay, and so must the places that it writes to. */
static int keep_journal(const struct ext_volume *v, struct map *m, struct err *e)
{
	const struct ext_journal *j = &v->journal;
	uint64_t bytes = v->disk->blocksize;
	int rc = 0;

	for (size_t i = 0; i < j->run_count && rc == 0; i++) {
		struct extent x = map_run(m, j->runs[i].block * bytes, NULL);

		if (x.kind != MAP_DATA || x.len < j->runs[i].count * bytes)
			rc = err_set(e, ERR_FORMAT, 0,
				"the journal's block %" PRIu64 " is marked free", j->runs[i].block);
	}
	for (size_t i = 0; i < j->write_count && rc == 0; i++)
		rc = map_set(m, j->writes[i].block * bytes, bytes, MAP_DATA, e);
	return rc;
}

static int check_total(const struct ext_volume *v, uint64_t free_blocks, struct err *e)
{
	uint64_t said = ext2fs_free_blocks_count(v->disk->super);

	if (ext2fs_has_feature_journal_needs_recovery(v->disk->super) || said == free_blocks)
		return 0;
	return err_set(e, ERR_FORMAT, 0,
		"the bitmaps have %" PRIu64 " free blocks, the superblock says %" PRIu64,
		free_blocks, said);
}

static void describe(const struct ext_volume *v, bool coarse, struct fs_report *r)
{
	int n = 0;

	r->block_bytes = (uint64_t)v->disk->blocksize << v->disk->cluster_ratio_bits;
	if (v->replayed)
		n = snprintf(r->note, sizeof(r->note), "dirty journal, %zu blocks to replay",
			v->journal.write_count);
	else if (ext2fs_has_feature_journal_needs_recovery(v->disk->super))
		n = snprintf(r->note, sizeof(r->note), "dirty journal, nothing to replay");
	if (coarse)
		snprintf(r->note + n, sizeof(r->note) - (size_t)n, "%s" FS_FREE_RUNS_COARSE,
			n ? "; " : "");
}

static int ext_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	struct ext_volume v;
	uint64_t free_blocks = 0;
	bool coarse = false;
	int rc = fs_ext_open(&v, d, e);

	if (rc == 0 && v.replayed)
		rc = fs_ext_groups_map(v.replayed, v.disk, m, &free_blocks, &coarse, e);
	else if (rc == 0)
		rc = fs_ext_groups_map(v.disk, NULL, m, &free_blocks, &coarse, e);
	if (rc == 0)
		rc = keep_journal(&v, m, e);
	if (rc == 0)
		rc = check_total(&v, free_blocks, e);
	if (rc == 0)
		describe(&v, coarse, r);
	fs_ext_close(&v);
	return rc;
}

/* ---- For those who read files --------------------------------------------------------------- */

struct fs_ext_volume {
	struct ext_volume v;
};

/* What the superblock says of the state that is read; "" when there is nothing to say. */
static const char *state_note(struct ext2_super_block *s)
{
	if (s->s_state & EXT2_ERROR_FS)
		return "the file system is marked as having errors";
	/* With a journal the flag stays set while it is mounted. */
	if (!(s->s_state & EXT2_VALID_FS) && !ext2fs_has_feature_journal(s))
		return "the file system was not cleanly unmounted";
	return "";
}

int fs_ext_volume_open(struct dev *d, struct fs_ext_volume **out, char *note, struct err *e)
{
	struct fs_ext_volume *x = calloc(1, sizeof(*x));
	struct err why = { 0 };
	int rc;

	note[0] = '\0';
	if (x == NULL)
		return err_nomem(e);
	x->v.dev = d;
	x->v.any_state = true;
	rc = open_state(d, true, &x->v.disk, e);
	if (rc < 0) {
		fs_ext_volume_close(x);
		return rc;
	}
	if (ext2fs_has_feature_journal_needs_recovery(x->v.disk->super) &&
		open_replayed(&x->v, &why) < 0) {
		ext2fs_io_close(x->v.replayed);
		x->v.replayed = NULL;
		snprintf(note, FS_VOLUME_NOTE_BYTES, "the journal is not replayed: %.200s",
			why.msg);
	} else {
		snprintf(note, FS_VOLUME_NOTE_BYTES, "%s", state_note(x->v.disk->super));
	}
	*out = x;
	return 0;
}

void fs_ext_volume_close(struct fs_ext_volume *v)
{
	if (v == NULL)
		return;
	fs_ext_close(&v->v);
	free(v);
}

ext2_filsys fs_ext_volume_fs(const struct fs_ext_volume *v)
{
	return v->v.replayed != NULL ? v->v.replayed : v->v.disk;
}

struct dev *fs_ext_volume_dev(const struct fs_ext_volume *v)
{
	return v->v.replayed != NULL ? v->v.overlay : v->v.dev;
}

static const char *const types[] = { "ext2", "ext3", "ext4", "ext4dev", NULL };

const struct fs_ops fs_ext = {
	.name = "ext",
	.types = types,
	.map = ext_map,
	.files = fs_ext_files,
	.claims = fs_ext_claims,
};
