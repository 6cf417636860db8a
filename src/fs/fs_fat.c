/*
 * The FAT map: FAT12, FAT16 and FAT32, which libblkid all calls "vfat".
 *
 * What is data without asking: everything before cluster 2 (boot sector, FSInfo, backup boot
 * sector, boot code, all FATs, the root directory of FAT12 and FAT16), and everything behind the
 * last whole cluster up to the end of the device. A cluster is free when its entry is 0 in every
 * copy of the FAT, also in those that BPB_ExtFlags says are out of date: repairs and old systems
 * use them. Bad clusters (0xFF7, 0xFFF7, 0x0FFFFFF7) stay data, and so do clusters that belong to
 * no file.
 *
 * A dirty volume is everyday life for FAT: a stick that was pulled out. It is taken like a clean
 * one, for this reason. FAT has no journal; nothing anywhere else says what shall become of the
 * volume. Whoever reads or repairs it can reach a cluster only through an entry of the FAT that is
 * not 0, through a directory entry, or through the entry that chains to it. The first are data. The
 * others are walked, whether the volume calls itself clean or not, in the copy of the FAT that
 * counts: when a directory entry or a chain uses a cluster that is free, when two use the same, or
 * when a file has more bytes than clusters (its chain had not reached the disk), all blocks are
 * taken. Where the copies differ (a write that went to one of them only), or clusters belong to no
 * file, no entry of any copy may lead to a free cluster either: repairs make files of lost chains,
 * and may use another copy. So what remains free can be reached by nobody.
 *
 * FSInfo's count of free clusters is a hint ([FAT] "FAT32 FSInfo Sector Structure"), and is only
 * compared for a remark; the walk stands for the superblock's count that rule R2 asks for.
 *
 * Atari's FAT, whose sectors and types follow other rules, has no PC boot sector and is refused.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_fat_int.h"

/* Read at a time: whole entries of 16 and 32 bits, and all of a FAT12 (6 KiB). */
#define PIECE_BYTES ((size_t)MIB)

#define BAD_CLUSTER_BELOW_END 1 /* 0x...F7 is one below the first mark of an end */

/* Bits of FAT[1], set when all is well ([FAT] "FAT Data Structure"). FAT12 has none. */
#define FAT16_CLEAN 0x8000u
#define FAT16_NO_ERROR 0x4000u
#define FAT32_CLEAN 0x08000000u
#define FAT32_NO_ERROR 0x04000000u

struct fat {
	struct fs_fat_heap h;
	struct fat_boot boot;
	uint32_t free_clusters; /* in the copy that counts */
	uint32_t differ;	/* entries of other copies that are not as in that one */
};

/* ---- All copies of the FAT ---------------------------------------------------------------- */

static uint32_t entry_at(const struct fat *f, const uint8_t *piece, uint32_t i)
{
	const uint8_t *p = piece + (uint64_t)i * f->boot.entry_bits / 8;

	switch (f->boot.entry_bits) {
	case 12:
		return i % 2 ? (uint32_t)get_le16(p) >> 4 : get_le16(p) & f->h.mask;
	case 16:
		return get_le16(p);
	default:
		return get_le32(p) & f->h.mask;
	}
}

/* Entries [from, from + count), in the copy that counts. */
static void take_active(struct fat *f, const uint8_t *piece, uint32_t from, uint32_t count)
{
	for (uint32_t i = from < 2 ? 2 - from : 0; i < count; i++) {
		uint32_t value = entry_at(f, piece, i);

		if (value != 0)
			fs_clusters_set(&f->h.used, from + i - FS_FAT_FIRST_CLUSTER);
		else
			f->free_clusters++;
		if (value == f->h.end_min - BAD_CLUSTER_BELOW_END)
			f->h.bad++;
	}
}

/* The same of another copy, where it is not equal. */
static void take_other(struct fat *f, const uint8_t *active, const uint8_t *piece, uint32_t from,
	uint32_t count)
{
	for (uint32_t i = from < 2 ? 2 - from : 0; i < count; i++) {
		uint32_t value = entry_at(f, piece, i);

		if (value != 0)
			fs_clusters_set(&f->h.used, from + i - FS_FAT_FIRST_CLUSTER);
		f->differ += value != entry_at(f, active, i);
	}
}

static uint32_t total_entries(const struct fat *f)
{
	return f->boot.clusters + FS_FAT_FIRST_CLUSTER;
}

/* Entries that are read at a time. */
static uint32_t step_of(const struct fat *f)
{
	return f->boot.entry_bits == 12 ? total_entries(f)
					: (uint32_t)(PIECE_BYTES * 8 / f->boot.entry_bits);
}

static int read_piece(struct fat *f, uint32_t copy, uint32_t from, uint32_t count, uint8_t *piece,
	struct err *e)
{
	uint64_t at = (uint64_t)from * f->boot.entry_bits / 8;

	return dev_read(f->h.dev, f->boot.fat_off + copy * f->boot.fat_bytes + at, piece,
		(size_t)div_up((uint64_t)count * f->boot.entry_bits, 8), e);
}

static int scan_copies(struct fat *f, uint8_t *active, uint8_t *other, struct err *e)
{
	for (uint32_t from = 0; from < total_entries(f); from += step_of(f)) {
		uint32_t count = (uint32_t)min_u64(step_of(f), total_entries(f) - from);
		size_t n = (size_t)div_up((uint64_t)count * f->boot.entry_bits, 8);
		int rc = read_piece(f, f->boot.active, from, count, active, e);

		if (rc < 0)
			return rc;
		take_active(f, active, from, count);
		for (uint32_t copy = 0; copy < f->boot.fats; copy++) {
			if (copy == f->boot.active)
				continue;
			rc = read_piece(f, copy, from, count, other, e);
			if (rc < 0)
				return rc;
			if (memcmp(active, other, n) != 0)
				take_other(f, active, other, from, count);
		}
	}
	return 0;
}

/* Entries [from, from + count) of a copy: does one lead to a free cluster? */
static int check_piece(const struct fat *f, uint32_t copy, const uint8_t *piece, uint32_t from,
	uint32_t count, struct err *e)
{
	for (uint32_t i = from < 2 ? 2 - from : 0; i < count; i++) {
		uint32_t value = entry_at(f, piece, i);

		if (fs_fat_is_cluster(&f->h, value) &&
			!fs_clusters_test(&f->h.used, value - FS_FAT_FIRST_CLUSTER))
			return err_set(e, ERR_FORMAT, 0,
				"copy %" PRIu32 " of the FAT has cluster %" PRIu32
				" lead to %" PRIu32 ", which is free",
				copy, from + i, value);
	}
	return 0;
}

static int check_copy(struct fat *f, uint32_t copy, uint8_t *piece, struct err *e)
{
	for (uint32_t from = 0; from < total_entries(f); from += step_of(f)) {
		uint32_t count = (uint32_t)min_u64(step_of(f), total_entries(f) - from);
		int rc = read_piece(f, copy, from, count, piece, e);

		if (rc == 0)
			rc = check_piece(f, copy, piece, from, count, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int scan_fats(struct fat *f, struct err *e)
{
	uint8_t *pieces = malloc(2 * PIECE_BYTES);
	int rc;

	if (pieces == NULL)
		return err_nomem(e);
	rc = scan_copies(f, pieces, pieces + PIECE_BYTES, e);
	free(pieces);
	return rc;
}

/* Chains that the walk did not follow, if there are any. */
static int check_other_chains(struct fat *f, struct err *e)
{
	uint8_t *piece;
	int rc = 0;

	if (f->differ == 0 && fs_fat_lost_clusters(&f->h) == 0)
		return 0;
	piece = malloc(PIECE_BYTES);
	if (piece == NULL)
		return err_nomem(e);
	for (uint32_t copy = 0; copy < f->boot.fats && rc == 0; copy++)
		rc = check_copy(f, copy, piece, e);
	free(piece);
	return rc;
}

/* ---- The volume --------------------------------------------------------------------------- */

/* FAT[0] repeats the medium's byte, with ones above it; FAT[1] may say how the volume was left. */
static int check_first_entries(struct fat *f, struct fs_report *r, struct err *e)
{
	uint32_t first, second, clean = 0, no_error = 0;
	int rc = fs_fat_entry(&f->h, 0, &first, e);

	if (rc == 0)
		rc = fs_fat_entry(&f->h, 1, &second, e);
	if (rc < 0)
		return rc;
	if (first != (f->h.mask & (0xFFFFFF00u | f->boot.media)))
		return err_set(e, ERR_FORMAT, 0,
			"the FAT begins with 0x%" PRIX32 ", which does not fit medium 0x%02X",
			first, f->boot.media);
	if (f->boot.entry_bits == 16) {
		clean = FAT16_CLEAN;
		no_error = FAT16_NO_ERROR;
	} else if (f->boot.entry_bits == 32) {
		clean = FAT32_CLEAN;
		no_error = FAT32_NO_ERROR;
	}
	if (f->boot.dirty || (second & clean) != clean)
		fs_add_note(r, "not cleanly unmounted");
	if ((second & no_error) != no_error)
		fs_add_note(r, "read or write errors were met on it");
	return 0;
}

/*
 * [FAT] "FAT32 FSInfo Sector Structure": 0 "RRaA", 0x1E4 "rrAa", 0x1E8 number of free clusters,
 * 0xFFFFFFFF: not known; 0x1FC 00 00 55 AA. One that is damaged says nothing.
 */
static int note_fsinfo(struct fat *f, struct fs_report *r, struct err *e)
{
	uint8_t info[512];
	uint32_t count;
	int rc;

	if (f->boot.fsinfo_off == 0)
		return 0;
	rc = dev_read(f->h.dev, f->boot.fsinfo_off, info, sizeof(info), e);
	if (rc < 0)
		return rc;
	count = get_le32(info + 0x1E8);
	if (memcmp(info, "RRaA", 4) == 0 && memcmp(info + 0x1E4, "rrAa", 4) == 0 &&
		get_le32(info + 0x1FC) == 0xAA550000 && count != UINT32_MAX &&
		count != f->free_clusters)
		fs_add_note(r, "FSInfo says %" PRIu32 " free clusters, the FAT %" PRIu32, count,
			f->free_clusters);
	return 0;
}

static int map_volume(struct fat *f, struct map *m, struct fs_report *r, struct err *e)
{
	struct fs_free_runs runs = { .m = m, .unit_bytes = f->h.cluster_bytes };
	int rc = check_first_entries(f, r, e);

	if (rc == 0)
		rc = scan_fats(f, e);
	if (rc == 0)
		rc = fs_fat_walk(&f->h, &f->boot, e);
	if (rc == 0)
		rc = check_other_chains(f, e);
	if (rc == 0)
		rc = note_fsinfo(f, r, e);
	if (rc == 0)
		rc = fs_clusters_set_free(&f->h.used, f->h.off, f->h.cluster_bytes, &runs, e);
	if (rc == 0 && f->differ > 0)
		fs_add_note(r, "the copies of the FAT differ in %" PRIu32 " entries", f->differ);
	if (rc == 0)
		fs_fat_note_account(&f->h, &runs, r);
	return rc;
}

static int fat_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	struct fat f = { 0 };
	uint8_t boot[FS_FAT_BOOT_BYTES];
	int rc;

	rc = dev_read(d, 0, boot, sizeof(boot), e);
	if (rc == 0)
		rc = fs_fat_boot_decode(boot, sizeof(boot), dev_size(d), &f.boot, e);
	if (rc < 0)
		return rc;
	r->block_bytes = f.boot.cluster_bytes;
	f.h.dev = d;
	f.h.table_off = f.boot.fat_off + f.boot.active * f.boot.fat_bytes;
	f.h.table_bytes = f.boot.fat_bytes;
	f.h.entry_bits = f.boot.entry_bits;
	/* Of an entry of FAT32 the high four bits are reserved ([FAT] "FAT Data Structure"). */
	f.h.mask = f.boot.entry_bits == 32 ? 0x0FFFFFFF : (1u << f.boot.entry_bits) - 1;
	f.h.end_min = f.h.mask & ~7u;
	f.h.off = f.boot.heap_off;
	f.h.cluster_bytes = f.boot.cluster_bytes;
	f.h.clusters = f.boot.clusters;
	rc = fs_fat_heap_init(&f.h, e);
	if (rc == 0)
		rc = map_volume(&f, m, r, e);
	fs_fat_heap_fini(&f.h);
	return rc;
}

static const char *const types[] = { "vfat", NULL };

const struct fs_ops fs_fat = {
	.name = "fat",
	.types = types,
	.map = fat_map,
};
