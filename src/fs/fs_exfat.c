/*
 * The exFAT map: the allocation bitmap, and when it may be believed.
 *
 * What is data without asking: everything before the cluster heap (both boot regions, the FAT), and
 * everything behind the last cluster up to the end of the device. The bitmap, the up-case table and
 * the root directory are clusters, and must be in use in the bitmap. A cluster is free when its bit
 * is clear and the FAT does not call it bad (0xFFFFFFF7). The FAT alone says nothing: files whose
 * clusters are in a row are not in it.
 *
 * VolumeDirty is everyday life: a stick that was pulled out. It makes no difference here, for this
 * reason. exFAT has no journal; nothing anywhere else says what shall become of the volume. Whoever
 * reads or repairs it can reach a cluster only through a directory entry, or through the FAT from
 * one. All of them are walked, whether the volume calls itself clean or not: when an entry or a
 * chain uses a cluster that is free, when two use the same, when a file has more bytes than
 * clusters, or the checksum of its entries is wrong, all blocks are taken. So what remains free can
 * be reached by nobody. ([exFAT] 8.1 has the bitmap written before the entries that need it.)
 *
 * TexFAT (two FATs, two bitmaps) is refused: which of them counts changes with a transaction that
 * may be half done. So is a critical entry that nobody knows. A benign one may be ignored, except
 * that its clusters are walked like others.
 *
 * The boot sector has no count of free clusters to compare with (R2); the walk stands for it.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_exfat_int.h"

#define PIECE_BYTES ((size_t)MIB)
#define BAD_CLUSTER 0xFFFFFFF7u
#define END_OF_CHAIN 0xFFFFFFFFu

/* Clusters that the FAT calls bad stay data, whatever the bitmap says of them. */
static int add_bad_clusters(struct exfat *x, struct err *e)
{
	uint64_t bytes = ((uint64_t)x->h.clusters + FS_FAT_FIRST_CLUSTER) * 4;
	uint8_t *piece = malloc(PIECE_BYTES);
	int rc = piece == NULL ? err_nomem(e) : 0;

	for (uint64_t at = 0; at < bytes && rc == 0; at += PIECE_BYTES) {
		size_t n = (size_t)min_u64(PIECE_BYTES, bytes - at);

		rc = dev_read(x->h.dev, x->boot.fat_off + at, piece, n, e);
		for (size_t i = at == 0 ? 8 : 0; i < n && rc == 0; i += 4) {
			if (get_le32(piece + i) != BAD_CLUSTER)
				continue;
			fs_clusters_set(&x->h.used, (at + i) / 4 - FS_FAT_FIRST_CLUSTER);
			x->h.bad++;
		}
	}
	free(piece);
	return rc;
}

/* [exFAT] 4.1.1: FatEntry[0] is the medium's byte with ones above it. */
static int check_fat(struct exfat *x, struct err *e)
{
	uint32_t first;
	int rc = fs_fat_entry(&x->h, 0, &first, e);

	if (rc == 0 && first >> 8 != 0xFFFFFF)
		rc = err_set(e, ERR_FORMAT, 0, "the FAT begins with 0x%" PRIX32, first);
	return rc;
}

static int map_volume(struct exfat *x, struct map *m, struct fs_report *r, struct err *e)
{
	struct fs_free_runs runs = { .m = m, .unit_bytes = x->h.cluster_bytes };
	int rc = check_fat(x, e);

	if (rc == 0)
		rc = fs_exfat_load_bitmap(x, e);
	if (rc == 0)
		rc = fs_exfat_walk(x, e);
	/* After the walk: to that a cluster that is bad and not in the bitmap is a free one. */
	if (rc == 0)
		rc = add_bad_clusters(x, e);
	if (rc == 0)
		rc = fs_clusters_set_free(&x->h.used, x->h.off, x->h.cluster_bytes, &runs, e);
	if (rc < 0)
		return rc;
	if (x->boot.dirty)
		fs_add_note(r, "not cleanly unmounted");
	if (x->boot.media_failure)
		fs_add_note(r, "read or write errors were met on it");
	fs_fat_note_account(&x->h, &runs, r);
	return 0;
}

static int exfat_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	struct exfat x = { 0 };
	uint8_t boot[FS_EXFAT_BOOT_BYTES];
	int rc;

	rc = dev_read(d, 0, boot, sizeof(boot), e);
	if (rc == 0)
		rc = fs_exfat_boot_decode(boot, sizeof(boot), dev_size(d), &x.boot, e);
	if (rc == 0)
		rc = fs_exfat_check_regions(d, &x.boot, e);
	if (rc < 0)
		return rc;
	r->block_bytes = x.boot.cluster_bytes;
	x.h.dev = d;
	x.h.table_off = x.boot.fat_off;
	x.h.table_bytes = x.boot.fat_bytes;
	x.h.entry_bits = 32;
	x.h.mask = UINT32_MAX;
	x.h.end_min = END_OF_CHAIN;
	x.h.off = x.boot.heap_off;
	x.h.cluster_bytes = x.boot.cluster_bytes;
	x.h.clusters = x.boot.clusters;
	rc = fs_fat_heap_init(&x.h, e);
	if (rc == 0)
		rc = map_volume(&x, m, r, e);
	fs_fat_heap_fini(&x.h);
	return rc;
}

static const char *const types[] = { "exfat", NULL };

const struct fs_ops fs_exfat = {
	.name = "exfat",
	.types = types,
	.map = exfat_map,
};
