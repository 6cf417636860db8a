/*
 * The directories of exFAT: [exFAT] 6 and 7. An entry's first byte is its type: 0x00 the end; bit 7
 * clear: not in use; bit 6 set: secondary, it belongs to the primary before it; bit 5 set: benign,
 * who does not know it may ignore it, but not its clusters.
 *
 *   primary:   0x01 1  SecondaryCount       (files: 0x02 2 SetChecksum, 0x04 2 FileAttributes)
 *              0x04 2  GeneralPrimaryFlags: 1 AllocationPossible, 2 NoFatChain
 *   secondary: 0x01 1  GeneralSecondaryFlags: the same bits
 *   both:      0x14 4  FirstCluster, 0x18 8 DataLength
 *   stream:    0x08 8  ValidDataLength
 *
 * A file is a set: 0x85, 0xC0 (the stream: where its bytes are), 0xC1 (names), then benign ones. A
 * set may go on in the directory's next cluster, so it is followed entry by entry.
 *
 * A file whose clusters are in a row (NoFatChain) has nothing in the FAT, so the FAT alone is never
 * an account of what is in use; the bitmap is. What the directories refer to must be in it.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_exfat_int.h"

#define TYPE_END 0x00
#define TYPE_BITMAP 0x81
#define TYPE_UPCASE 0x82
#define TYPE_LABEL 0x83
#define TYPE_FILE 0x85
#define TYPE_TEXFAT_PADDING 0xA1
#define TYPE_STREAM 0xC0
#define TYPE_NAME 0xC1

#define BIT_IN_USE 0x80
#define BIT_SECONDARY 0x40
#define BIT_BENIGN 0x20

#define ALLOCATION_POSSIBLE 1u
#define NO_FAT_CHAIN 2u
#define ATTR_DIRECTORY 0x10u

/* [exFAT] 7.4.1, 6.2: files have 2 to 18 secondaries; a directory at most 256 MiB. */
#define MIN_SECONDARIES 2
#define MAX_SECONDARIES 18
#define MAX_DIR_BYTES (256 * MIB)

struct walk {
	struct exfat *x;
	bool is_root;
	bool ended; /* the end mark was met */
	unsigned bitmaps, upcases;

	/* The set that is open. */
	unsigned to_come; /* secondaries */
	bool is_file;
	bool is_dir;
	bool stream_is_next;
	uint16_t sum, want_sum;
	struct fs_fat_dir dir; /* of a directory's set, added when the set is whole */
};

static uint16_t add_entry(uint16_t sum, const uint8_t *p, bool primary)
{
	for (unsigned i = 0; i < FS_FAT_ENTRY_BYTES; i++)
		if (!primary || (i != 2 && i != 3))
			sum = (uint16_t)(((uint32_t)sum << 15 | sum >> 1) + p[i]);
	return sum;
}

/*
 * The clusters that an entry refers to, by a chain or in a row. *length is how many there are, 0
 * when there are none.
 */
static int see_allocation(struct walk *w, const uint8_t *p, unsigned flags, uint32_t *length,
	struct err *e)
{
	uint32_t first = get_le32(p + 0x14);
	uint64_t bytes = get_le64(p + 0x18);
	uint64_t need = div_up(bytes, w->x->h.cluster_bytes);
	int rc;

	*length = 0;
	if (first == 0 && bytes == 0)
		return 0;
	if (flags & NO_FAT_CHAIN) {
		rc = fs_fat_see_run(&w->x->h, first, need, e);
		*length = (uint32_t)need; /* checked to be clusters of the volume */
		return rc;
	}
	rc = fs_fat_see_chain(&w->x->h, first, length, e);
	if (rc == 0 && *length < need)
		return err_set(e, ERR_FORMAT, 0,
			"it has %" PRIu64 " bytes, but only %" PRIu32 " clusters", bytes, *length);
	return rc;
}

/* ---- Files -------------------------------------------------------------------------------- */

static int begin_file(struct walk *w, const uint8_t *p, struct err *e)
{
	if (p[1] < MIN_SECONDARIES || p[1] > MAX_SECONDARIES)
		return err_set(e, ERR_FORMAT, 0, "a file of %u secondary entries", p[1]);
	w->to_come = p[1];
	w->is_file = true;
	w->is_dir = get_le16(p + 4) & ATTR_DIRECTORY;
	w->stream_is_next = true;
	w->want_sum = get_le16(p + 2);
	w->sum = add_entry(0, p, true);
	return 0;
}

static int see_stream(struct walk *w, const uint8_t *p, struct err *e)
{
	uint64_t cluster = w->x->h.cluster_bytes;
	uint32_t length;
	int rc;

	if (p[0] != TYPE_STREAM)
		return err_set(e, ERR_FORMAT, 0, "a file without a stream extension");
	w->stream_is_next = false;
	if (!(p[1] & ALLOCATION_POSSIBLE) && (get_le32(p + 0x14) != 0 || get_le64(p + 0x18) != 0))
		return err_set(e, ERR_FORMAT, 0, "a file that can have no clusters");
	if (get_le64(p + 0x08) > get_le64(p + 0x18))
		return err_set(e, ERR_FORMAT, 0, "ValidDataLength is more than DataLength");
	rc = see_allocation(w, p, p[1], &length, e);
	if (rc < 0 || !w->is_dir)
		return rc;
	if (length == 0 || get_le64(p + 0x18) % cluster != 0 || length * cluster > MAX_DIR_BYTES)
		return err_set(e, ERR_FORMAT, 0,
			"a directory of %" PRIu64 " bytes in %" PRIu32 " clusters",
			get_le64(p + 0x18), length);
	w->dir = (struct fs_fat_dir){ .first = get_le32(p + 0x14),
		.clusters = length,
		.contiguous = p[1] & NO_FAT_CHAIN };
	return 0;
}

static int end_set(struct walk *w, struct err *e)
{
	if (!w->is_file)
		return 0;
	if (w->sum != w->want_sum)
		return err_set(e, ERR_FORMAT, 0, "the checksum of a file's entries is wrong");
	return w->is_dir ? fs_fat_add_dir(&w->x->h, &w->dir, e) : 0;
}

static int see_secondary(struct walk *w, const uint8_t *p, struct err *e)
{
	uint32_t length;
	int rc = 0;

	if (w->to_come == 0)
		return err_set(e, ERR_FORMAT, 0, "a secondary entry of nothing");
	w->to_come--;
	w->sum = add_entry(w->sum, p, false);
	if (w->is_file && w->stream_is_next)
		rc = see_stream(w, p, e);
	else if (p[0] & BIT_BENIGN)
		rc = p[1] & ALLOCATION_POSSIBLE ? see_allocation(w, p, p[1], &length, e) : 0;
	else if (!w->is_file || p[0] != TYPE_NAME)
		rc = err_set(e, ERR_FORMAT, 0, "unknown critical entry 0x%02X", p[0]);
	if (rc == 0 && w->to_come == 0)
		rc = end_set(w, e);
	return rc;
}

/* ---- Primary entries ---------------------------------------------------------------------- */

/* The bitmap, the up-case table: one of each, in the root only; always chained. */
static int see_system(struct walk *w, const uint8_t *p, unsigned *count, struct err *e)
{
	uint32_t length;

	if (!w->is_root || ++*count > 1)
		return err_set(e, ERR_FORMAT, 0, "a second or misplaced entry 0x%02X", p[0]);
	return see_allocation(w, p, ALLOCATION_POSSIBLE, &length, e);
}

/* Known or not, who ignores it must leave its clusters alone ([exFAT] 8.2). */
static int see_benign(struct walk *w, const uint8_t *p, struct err *e)
{
	unsigned flags = get_le16(p + 4);
	uint32_t length;

	if (p[0] == TYPE_TEXFAT_PADDING)
		return 0; /* has no fields */
	w->to_come = p[1];
	w->is_file = false;
	return flags & ALLOCATION_POSSIBLE ? see_allocation(w, p, flags, &length, e) : 0;
}

static int see_primary(struct walk *w, const uint8_t *p, struct err *e)
{
	if (w->to_come > 0)
		return err_set(e, ERR_FORMAT, 0, "%u entries of the file before it are missing",
			w->to_come);
	if (p[0] & BIT_BENIGN)
		return see_benign(w, p, e);
	switch (p[0]) {
	case TYPE_BITMAP:
		return see_system(w, p, &w->bitmaps, e);
	case TYPE_UPCASE:
		return see_system(w, p, &w->upcases, e);
	case TYPE_LABEL:
		return 0;
	case TYPE_FILE:
		return begin_file(w, p, e);
	default:
		return err_set(e, ERR_FORMAT, 0, "unknown critical entry 0x%02X", p[0]);
	}
}

static int see_entry(void *user, const uint8_t *p, uint32_t index, struct err *e)
{
	struct walk *w = user;

	(void)index;
	if (w->to_come > 0 && !(p[0] & BIT_IN_USE))
		return err_set(e, ERR_FORMAT, 0, "%u entries of the file before it are missing",
			w->to_come);
	if (p[0] == TYPE_END)
		w->ended = true;
	if (!(p[0] & BIT_IN_USE))
		return 0;
	if (w->ended)
		return err_set(e, ERR_FORMAT, 0, "it lies behind the directory's end");
	return p[0] & BIT_SECONDARY ? see_secondary(w, p, e) : see_primary(w, p, e);
}

static int walk_dir(struct walk *w, const struct fs_fat_dir *dir, struct err *e)
{
	int rc;

	w->ended = false;
	w->to_come = 0;
	rc = fs_fat_read_dir(&w->x->h, dir, see_entry, w, e);
	if (rc == 0 && w->to_come > 0)
		rc = err_set(e, ERR_FORMAT, 0,
			"directory at cluster %" PRIu32 ": its last file is not whole", dir->first);
	return rc;
}

int fs_exfat_walk(struct exfat *x, struct err *e)
{
	struct walk w = { .x = x, .is_root = true };
	struct fs_fat_dir dir = { .first = x->boot.root_cluster };
	int rc = fs_fat_see_chain(&x->h, dir.first, &dir.clusters, e);

	if (rc < 0)
		return err_prefix(e, "root directory");
	rc = walk_dir(&w, &dir, e);
	if (rc == 0 && (w.bitmaps != 1 || w.upcases != 1))
		rc = err_set(e, ERR_FORMAT, 0, "the root directory has no up-case table");
	w.is_root = false;
	while (rc == 0 && fs_fat_take_dir(&x->h, &dir))
		rc = walk_dir(&w, &dir, e);
	return rc;
}
