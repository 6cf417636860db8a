/*
 * The allocation bitmap of exFAT: [exFAT] 7.1. The entry 0x81 in the root directory says where it
 * is: 0x01 BitmapFlags (bit 0: it belongs to the second FAT), 0x14 FirstCluster, 0x18 DataLength.
 * Bit n of it is cluster n + 2, set when that is in use.
 *
 * The FAT chains it, but Linux and others read it in a row from its first cluster on. Only where
 * both are the same it is taken.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_exfat_int.h"

#define TYPE_BITMAP 0x81
#define PIECE_BYTES ((size_t)MIB)

struct found {
	unsigned count;
	uint8_t entry[FS_FAT_ENTRY_BYTES];
};

static int look_at(void *user, const uint8_t *p, uint32_t index, struct err *e)
{
	struct found *f = user;

	(void)index;
	if (p[0] != TYPE_BITMAP)
		return 0;
	if (++f->count > 1 || p[1] & 1)
		return err_set(e, ERR_FORMAT, 0, "a second allocation bitmap");
	memcpy(f->entry, p, sizeof(f->entry));
	return 0;
}

/*
 * Through the root directory before anything about it is known: a chain that goes in circles is cut
 * off by the length that a directory may have at most ([exFAT] 6.2: 256 MiB).
 */
static int find_entry(struct exfat *x, struct found *f, struct err *e)
{
	uint64_t max = 256 * MIB / x->h.cluster_bytes;
	uint32_t cluster = x->boot.root_cluster, index = 0;

	for (uint64_t i = 0; i < max; i++) {
		int rc = fs_fat_read_entries(&x->h, fs_fat_cluster_off(&x->h, cluster),
			x->h.cluster_bytes, &index, look_at, f, e);

		if (rc == 0)
			rc = fs_fat_entry(&x->h, cluster, &cluster, e);
		if (rc < 0)
			return err_prefix(e, "root directory");
		if (cluster >= x->h.end_min)
			return 0;
		if (!fs_fat_is_cluster(&x->h, cluster))
			return err_set(e, ERR_FORMAT, 0,
				"root directory: its chain has the value 0x%" PRIX32, cluster);
	}
	return err_set(e, ERR_FORMAT, 0, "root directory: its chain has no end");
}

/* Are `count` clusters from `first` on chained in a row? */
static int check_row(struct exfat *x, uint32_t first, uint64_t count, struct err *e)
{
	if (!fs_fat_is_cluster(&x->h, first) ||
		!range_inside(first - FS_FAT_FIRST_CLUSTER, count, x->h.clusters))
		return err_set(e, ERR_FORMAT, 0,
			"allocation bitmap: not all of it lies on the volume");
	for (uint64_t i = 0; i < count; i++) {
		uint32_t next = 0;
		int rc = fs_fat_entry(&x->h, first + (uint32_t)i, &next, e);

		if (rc < 0)
			return rc;
		if (i + 1 < count ? next != first + i + 1 : next < x->h.end_min)
			return err_set(e, ERR_FORMAT, 0,
				"allocation bitmap: its clusters are not in a row");
	}
	return 0;
}

static int read_bits(struct exfat *x, uint64_t off, struct err *e)
{
	uint64_t bytes = div_up(x->h.clusters, 8);
	uint8_t *bits = x->h.used.bits;

	for (uint64_t at = 0; at < bytes; at += PIECE_BYTES) {
		int rc = dev_read(x->h.dev, off + at, bits + at,
			(size_t)min_u64(PIECE_BYTES, bytes - at), e);

		if (rc < 0)
			return rc;
	}
	/* What is behind the last cluster means nothing. */
	if (x->h.clusters % 8 != 0)
		bits[bytes - 1] = (uint8_t)(bits[bytes - 1] & ((1u << x->h.clusters % 8) - 1));
	return 0;
}

int fs_exfat_load_bitmap(struct exfat *x, struct err *e)
{
	struct found f = { 0 };
	uint32_t first;
	uint64_t bytes;
	int rc = find_entry(x, &f, e);

	if (rc < 0)
		return rc;
	if (f.count == 0)
		return err_set(e, ERR_FORMAT, 0, "the root directory has no allocation bitmap");
	first = get_le32(f.entry + 0x14);
	bytes = get_le64(f.entry + 0x18);
	if (bytes != div_up(x->h.clusters, 8))
		return err_set(e, ERR_FORMAT, 0,
			"allocation bitmap: %" PRIu64 " bytes for %" PRIu32 " clusters", bytes,
			x->h.clusters);
	rc = check_row(x, first, div_up(bytes, x->h.cluster_bytes), e);
	return rc == 0 ? read_bits(x, fs_fat_cluster_off(&x->h, first), e) : rc;
}
