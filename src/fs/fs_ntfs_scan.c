/*
 * $Bitmap and $MFT into a map, a window at a time. Bit n of $Bitmap set means that cluster n is in
 * use ([NTFS] "$Bitmap"); to that is added what the records of $MFT map. 2^32 clusters have 512 MiB
 * of bitmap, so a window of it is all that is ever in memory, and $MFT is read once per window:
 * once for volumes of up to 2^29 clusters (2 TiB with 4 KiB each).
 */
#include <inttypes.h>
#include <stdio.h> /* this and sys/stat.h: the library's headers need them */
#include <sys/stat.h>

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/runlist.h>
#include <ntfs-3g/volume.h>

#include "base/mem.h"
#include "fs/fs_ntfs_int.h"

#define PIECE_BYTES ((size_t)MIB) /* read at a time; a multiple of any record */
#define WINDOW_BYTES ((size_t)(64 * MIB))

struct window {
	uint8_t *bits;
	size_t bytes;	/* a multiple of 8 */
	uint64_t first; /* cluster of bit 0 */
	uint64_t count; /* clusters in it now */
	uint64_t added; /* bits that only $MFT set */
	/* Clusters that $MFT may still map in this pass. More than the volume has means that runs
	 * overlap: a damaged volume, or one made to keep us busy. */
	uint64_t to_map;
};

struct scan {
	struct fs_ntfs *v;
	struct map *m;
	struct window w;
	uint64_t free_start; /* where the free run that is open began */
	bool free_open;
	uint64_t by_length[64]; /* free runs by log2 of their length in clusters */
	uint64_t set;		/* runs given to the map */
};

int fs_ntfs_check_runs(const struct fs_ntfs *v, const struct _ntfs_attr *a, uint64_t bytes,
	const char *what, struct err *e)
{
	uint64_t need = div_up(bytes, v->boot.cluster_bytes);
	uint64_t have = 0;

	for (const runlist_element *r = a->rl; r != NULL && r->length > 0 && have < need; r++) {
		if (r->lcn < 0 || r->vcn != (s64)have ||
			!range_inside((uint64_t)r->lcn, (uint64_t)r->length, v->boot.clusters))
			return err_set(e, ERR_FORMAT, 0,
				"%s: cluster %" PRIu64 " of it has no place on the volume", what,
				have);
		have += (uint64_t)r->length;
	}
	if (have < need)
		return err_set(e, ERR_FORMAT, 0,
			"%s has %" PRIu64 " clusters on the disk and needs %" PRIu64, what, have,
			need);
	return 0;
}

/* All of [off, off + len) of an attribute, or an error: a short read is one too. */
static int read_attr(struct fs_ntfs *v, ntfs_attr *a, uint64_t off, uint8_t *buf, size_t len,
	const char *what, struct err *e)
{
	while (len > 0) {
		size_t n = len < PIECE_BYTES ? len : PIECE_BYTES;
		s64 got = ntfs_attr_pread(a, (s64)off, (s64)n, buf);

		if (got != (s64)n)
			return ntfs_io_fail(v->io, e, what);
		off += n;
		buf += n;
		len -= n;
	}
	return 0;
}

static int load_window(struct scan *s, uint64_t first, struct err *e)
{
	struct window *w = &s->w;
	size_t bytes;

	w->first = first;
	w->to_map = s->v->boot.clusters;
	w->count = min_u64((uint64_t)w->bytes * 8, s->v->boot.clusters - first);
	bytes = (size_t)div_up(w->count, 8);
	/* What is behind the last cluster is read as used, and never looked at. */
	memset(w->bits + bytes, 0xFF, w->bytes - bytes);
	return read_attr(s->v, s->v->bitmap, first / 8, w->bits, bytes, "read $Bitmap", e);
}

/* A run of $MFT: set its bits that are in the window. */
static int add_run(void *user, uint64_t cluster, uint64_t count, struct err *e)
{
	struct window *w = user;
	uint64_t from = max_u64(cluster, w->first);
	uint64_t to = min_u64(cluster + count, w->first + w->count);

	if (count > w->to_map)
		return err_set(e, ERR_FORMAT, 0, "more clusters are mapped than there are");
	w->to_map -= count;
	for (uint64_t c = from; c < to; c++) {
		uint64_t bit = c - w->first;
		uint8_t *byte = &w->bits[bit / 8];

		if (*byte == 0xFF) { /* nearly always, as a wrong bitmap is mostly right */
			c |= 7;
			continue;
		}
		if (!(*byte >> bit % 8 & 1)) {
			*byte = (uint8_t)(*byte | 1u << bit % 8);
			w->added++;
		}
	}
	return 0;
}

static int each_record(struct fs_ntfs *v, uint8_t *piece, size_t n, uint64_t off, fs_ntfs_run_fn fn,
	void *user, struct err *e)
{
	size_t step = v->boot.record_bytes;

	for (size_t at = 0; at < n; at += step) {
		int rc = fs_ntfs_record_runs(piece + at, step, v->boot.clusters, fn, user, e);

		if (rc < 0)
			return err_prefix(e, "MFT record %" PRIu64, (off + at) / step);
	}
	return 0;
}

int fs_ntfs_each_run(struct fs_ntfs *v, fs_ntfs_run_fn fn, void *user, struct err *e)
{
	ntfs_attr *mft = ntfs_io_volume(v->io)->mft_na;
	uint64_t end = align_down((uint64_t)mft->initialized_size, v->boot.record_bytes);
	uint8_t *piece = malloc(PIECE_BYTES);
	int rc = piece ? 0 : err_nomem(e);

	/* The loop ends by itself: each read is a part of a mapped attribute. */
	ntfs_io_begin(v->io, UINT64_MAX);
	for (uint64_t off = 0; off < end && rc == 0; off += PIECE_BYTES) {
		size_t n = (size_t)min_u64(PIECE_BYTES, end - off);

		rc = read_attr(v, mft, off, piece, n, "read $MFT", e);
		if (rc == 0)
			rc = each_record(v, piece, n, off, fn, user, e);
	}
	free(piece);
	return rc;
}

static int end_free_run(struct scan *s, uint64_t end, struct err *e)
{
	uint64_t count = end - s->free_start;
	uint64_t size = s->v->boot.cluster_bytes;

	s->free_open = false;
	s->by_length[63 - __builtin_clzll(count)]++;
	if (count < s->v->min_run || s->set == FS_NTFS_MAX_FREE_RUNS)
		return 0;
	s->set++;
	return map_set(s->m, s->free_start * size, count * size, MAP_FREE, e);
}

/* The first bit at or after `at` that differs from `same`, or the window's end. */
static uint64_t find_change(const struct window *w, uint64_t at, bool same)
{
	while (at < w->count) {
		/* Bits of the word that are not `same`, those before `at` removed. */
		uint64_t word = get_le64(w->bits + at / 64 * 8) ^ (same ? UINT64_MAX : 0);

		word &= UINT64_MAX << at % 64;
		if (word != 0)
			return min_u64(at / 64 * 64 + (uint64_t)__builtin_ctzll(word), w->count);
		at = (at / 64 + 1) * 64;
	}
	return w->count;
}

/* A free run that reaches the window's end stays open: it may go on in the next. */
static int emit_window(struct scan *s, struct err *e)
{
	const struct window *w = &s->w;
	uint64_t at = 0;
	int rc = 0;

	while (at < w->count && rc == 0) {
		if (!s->free_open) {
			at = find_change(w, at, true);
			s->free_start = w->first + at;
			s->free_open = at < w->count;
		} else {
			at = find_change(w, at, false);
			if (at < w->count)
				rc = end_free_run(s, w->first + at, e);
		}
	}
	return rc;
}

static int scan_once(struct scan *s, struct err *e)
{
	uint64_t clusters = s->v->boot.clusters;
	int rc = 0;

	s->set = 0;
	s->w.added = 0;
	s->free_open = false;
	memset(s->by_length, 0, sizeof(s->by_length));
	for (uint64_t at = 0; at < clusters && rc == 0; at += (uint64_t)s->w.bytes * 8) {
		rc = load_window(s, at, e);
		if (rc == 0)
			rc = fs_ntfs_each_run(s->v, add_run, &s->w, e);
		if (rc == 0)
			rc = emit_window(s, e);
	}
	if (rc == 0 && s->free_open)
		rc = end_free_run(s, clusters, e);
	return rc;
}

static uint64_t free_runs(const struct scan *s, unsigned from_log2)
{
	uint64_t n = 0;

	for (unsigned i = from_log2; i < COUNT_OF(s->by_length); i++)
		n += s->by_length[i];
	return n;
}

int fs_ntfs_map_mft(struct fs_ntfs *v, uint64_t passes, struct err *e)
{
	ntfs_attr *mft = ntfs_io_volume(v->io)->mft_na;
	uint64_t bytes = (uint64_t)mft->initialized_size;
	int rc;

	ntfs_io_begin(v->io, NTFS_IO_METADATA_READS);
	if (ntfs_attr_map_whole_runlist(mft) < 0)
		return ntfs_io_fail(v->io, e, "map $MFT");
	rc = fs_ntfs_check_runs(v, mft, bytes, "$MFT", e);
	if (rc == 0 && bytes > dev_size(v->dev) / passes)
		rc = err_set(e, ERR_FORMAT, 0, "reading $MFT would take longer than all blocks");
	return rc;
}

int fs_ntfs_scan(struct fs_ntfs *v, struct map *m, struct err *e)
{
	struct scan s = { .v = v, .m = m };
	int rc;

	s.w.bytes = (size_t)min_u64(WINDOW_BYTES, align_up(div_up(v->boot.clusters, 8), 8));
	rc = fs_ntfs_map_mft(v, div_up(v->boot.clusters, (uint64_t)s.w.bytes * 8), e);
	if (rc < 0)
		return rc;
	/* The loops below end by themselves: each read is a part of a mapped attribute. */
	ntfs_io_begin(v->io, UINT64_MAX);
	s.w.bits = malloc(s.w.bytes);
	if (s.w.bits == NULL) {
		rc = err_nomem(e);
		goto out;
	}
	v->min_run = 1;
	rc = scan_once(&s, e);
	if (rc == 0 && free_runs(&s, 0) > FS_NTFS_MAX_FREE_RUNS) {
		unsigned log2 = 1;

		while (free_runs(&s, log2) > FS_NTFS_MAX_FREE_RUNS)
			log2++;
		v->min_run = (uint64_t)1 << log2;
		rc = map_set(m, 0, map_size(m), MAP_DATA, e);
		if (rc == 0)
			rc = scan_once(&s, e);
	}
	v->added = s.w.added;
out:
	free(s.w.bits);
	return rc;
}
