/*
 * The directories of FAT12, FAT16 and FAT32: [FAT] "FAT Directory Structure". An entry:
 *
 *   0x00  11  DIR_Name; first byte E5: free; 00: free, and so are all entries behind it
 *   0x0B   1  DIR_Attr: 0x08 volume label, 0x10 directory; all of 0x0F and neither of 0x30: a piece
 *             of a long name
 *   0x14   2  DIR_FstClusHI (FAT32; FAT12 and FAT16 may have something else there)
 *   0x1A   2  DIR_FstClusLO
 *   0x1C   4  DIR_FileSize
 *
 * A directory other than the root begins with "." and "..", which refer to itself and its parent
 * (0: the root). So what was never written is not taken for a directory.
 *
 * Linux reads on behind an entry of 00. Where that makes a difference the directory is refused.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_fat_int.h"

#define FREE_ENTRY 0xE5
#define ATTR_VOLUME_ID 0x08
#define ATTR_DIRECTORY 0x10
#define ATTR_LONG_NAME 0x0F
#define ATTR_LONG_NAME_MASK 0x3F

/* [FAT] limits a directory to 65536 entries. */
#define MAX_DIR_BYTES ((uint64_t)65536 * FS_FAT_ENTRY_BYTES)

struct walk {
	struct fs_fat_heap *h;
	bool wide; /* FAT32: cluster numbers have a high half */
	uint32_t root_cluster;
	struct fs_fat_dir dir; /* the one being read; first is 0 for the root */
	bool ended;	       /* its end mark was met */
};

static uint32_t first_cluster(const struct walk *w, const uint8_t *p)
{
	return get_le16(p + 0x1A) | (w->wide ? (uint32_t)get_le16(p + 0x14) << 16 : 0);
}

static int see_file(struct walk *w, uint32_t first, uint32_t size, struct err *e)
{
	uint32_t length = 0;
	int rc = first != 0 ? fs_fat_see_chain(w->h, first, &length, e) : 0;

	if (rc < 0)
		return rc;
	if (div_up(size, w->h->cluster_bytes) > length)
		return err_set(e, ERR_FORMAT, 0,
			"the file has %" PRIu32 " bytes, but only %" PRIu32 " clusters", size,
			length);
	return 0;
}

static int see_dir(struct walk *w, uint32_t first, struct err *e)
{
	struct fs_fat_dir dir = { .first = first, .parent = w->dir.first };
	int rc = fs_fat_see_chain(w->h, first, &dir.clusters, e);

	if (rc < 0)
		return rc;
	if ((uint64_t)(dir.clusters - 1) * w->h->cluster_bytes >= MAX_DIR_BYTES)
		return err_set(e, ERR_FORMAT, 0, "the directory has %" PRIu32 " clusters",
			dir.clusters);
	return fs_fat_add_dir(w->h, &dir, e);
}

/* "." is entry 0, ".." is entry 1. */
static int check_dot(struct walk *w, const uint8_t *p, uint32_t index, struct err *e)
{
	uint32_t first = first_cluster(w, p), want = index == 0 ? w->dir.first : w->dir.parent;

	if (memcmp(p, index == 0 ? ".          " : "..         ", 11) != 0 ||
		!(p[0x0B] & ATTR_DIRECTORY))
		return err_set(e, ERR_FORMAT, 0, "it is not \"%s\"", index == 0 ? "." : "..");
	/* The root is 0 here; some write its number. */
	if (first != want && !(want == 0 && w->wide && first == w->root_cluster))
		return err_set(e, ERR_FORMAT, 0, "it refers to cluster %" PRIu32 ", not %" PRIu32,
			first, want);
	return 0;
}

static int see_entry(void *user, const uint8_t *p, uint32_t index, struct err *e)
{
	struct walk *w = user;
	uint32_t attr = p[0x0B], first = first_cluster(w, p);

	if (w->dir.first != 0 && index < 2)
		return check_dot(w, p, index, e);
	if (p[0] == FREE_ENTRY)
		return 0;
	if (p[0] == 0) {
		w->ended = true;
		return 0;
	}
	if (w->ended)
		return err_set(e, ERR_FORMAT, 0, "it lies behind the directory's end");
	if ((attr & ATTR_LONG_NAME_MASK) == ATTR_LONG_NAME)
		return 0;
	switch (attr & (ATTR_VOLUME_ID | ATTR_DIRECTORY)) {
	case 0:
		return see_file(w, first, get_le32(p + 0x1C), e);
	case ATTR_DIRECTORY:
		return see_dir(w, first, e);
	case ATTR_VOLUME_ID:
		return 0;
	default:
		return err_set(e, ERR_FORMAT, 0, "its attributes are 0x%02" PRIX32, attr);
	}
}

static int walk_root(struct walk *w, const struct fat_boot *b, struct err *e)
{
	struct fs_fat_dir root = { .first = b->root_cluster };
	uint32_t index = 0;
	int rc;

	if (b->root_bytes > 0)
		rc = fs_fat_read_entries(w->h, b->root_off, b->root_bytes, &index, see_entry, w, e);
	else
		rc = fs_fat_see_chain(w->h, root.first, &root.clusters, e);
	if (rc == 0 && b->root_bytes == 0)
		rc = fs_fat_read_dir(w->h, &root, see_entry, w, e);
	return rc < 0 ? err_prefix(e, "root directory") : 0;
}

int fs_fat_walk(struct fs_fat_heap *h, const struct fat_boot *b, struct err *e)
{
	struct walk w = { .h = h, .wide = b->entry_bits == 32, .root_cluster = b->root_cluster };
	int rc = walk_root(&w, b, e);

	while (rc == 0 && fs_fat_take_dir(h, &w.dir)) {
		w.ended = false;
		rc = fs_fat_read_dir(h, &w.dir, see_entry, &w, e);
	}
	return rc;
}
