/*
 * Which file system, by libblkid's low-level probing, and then the row of the table that knows it.
 *
 * libblkid reads a descriptor. A device without one (memory, an image), or one opened with O_DIRECT
 * (libblkid's reads are not aligned), is stood for by a sparse memory file of its size, with the
 * places at which signatures lie copied into it. All else reads as zeros there, so that a signature
 * may be missed, which costs the saving, but none appears that is not on the device.
 */
#include "fs/fs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <blkid/blkid.h>

#include "base/mem.h"
#include "device/signature.h"
#include "fs/fs_ops.h"

#define PIECE_BYTES ((size_t)(64 * KIB))

/* ---- A descriptor for libblkid ----------------------------------------------------------- */

/* Copy [off, off + len) to the same place; zeros stay holes. What can't be read stays zero. */
static void copy_range(struct dev *d, int fd, uint64_t off, uint64_t len, uint8_t *piece)
{
	uint64_t end = off > dev_size(d) ? off : off + min_u64(len, dev_size(d) - off);

	while (off < end) {
		size_t n = (size_t)min_u64(end - off, PIECE_BYTES);

		if (dev_read(d, off, piece, n, NULL) == 0 && !mem_is_zero(piece, n) &&
			pwrite(fd, piece, n, (off_t)off) != (ssize_t)n)
			return;
		off += n;
	}
}

/*
 * NTFS is believed only when its first file record is where the boot sector says (offsets 0x0b,
 * 0x0d, 0x30: Linux-NTFS documentation, $Boot), BitLocker when its metadata is (three offsets at
 * 0xb0; libyal, BitLocker Drive Encryption format, volume header). The label of FAT32 and exFAT is
 * in the root directory (offsets: fs_fat_boot.c, fs_exfat_boot.c), mostly in its first cluster.
 */
static void copy_pointed_to(struct dev *d, int fd, uint8_t *piece)
{
	uint8_t boot[512];
	uint64_t cluster, place;

	if (dev_size(d) < sizeof(boot) || dev_read(d, 0, boot, sizeof(boot), NULL) < 0)
		return;
	if (memcmp(boot + 3, "NTFS    ", 8) == 0) {
		cluster = boot[0x0d] > 0x80 ? (uint64_t)1 << (-boot[0x0d] & 31) : boot[0x0d];
		cluster *= get_le16(boot + 0x0b);
		if (mul_u64(get_le64(boot + 0x30), cluster, &place))
			copy_range(d, fd, place, PIECE_BYTES, piece);
	} else if (memcmp(boot + 3, "-FVE-FS-", 8) == 0) {
		for (size_t at = 0xb0; at < 0xb0 + 3 * 8; at += 8)
			copy_range(d, fd, get_le64(boot + at), PIECE_BYTES, piece);
	} else if (memcmp(boot + 3, "EXFAT   ", 8) == 0) {
		place = get_le32(boot + 0x58) +
			((uint64_t)(get_le32(boot + 0x60) - 2) << (boot[0x6d] & 31));
		copy_range(d, fd, place << (boot[0x6c] & 15), PIECE_BYTES, piece);
	} else if (memcmp(boot + 0x52, "FAT32   ", 8) == 0) {
		place = get_le16(boot + 0x0e) + (uint64_t)boot[0x10] * get_le32(boot + 0x24) +
			(uint64_t)(get_le32(boot + 0x2c) - 2) * boot[0x0d];
		copy_range(d, fd, place * get_le16(boot + 0x0b), PIECE_BYTES, piece);
	}
}

/* A memory file that stands for the device, or -1. */
static int open_stand_in(struct dev *d)
{
	uint64_t size = dev_size(d);
	uint8_t *piece = malloc(PIECE_BYTES);
	int fd = memfd_create("imgtool-probe", MFD_CLOEXEC);

	if (!piece || fd < 0 || size > INT64_MAX || ftruncate(fd, (off_t)size) < 0) {
		if (fd >= 0)
			close(fd);
		fd = -1;
		goto out;
	}
	/* Those that only point to another place are followed in copy_pointed_to. */
	copy_range(d, fd, 0, SIGNATURE_HEAD_BYTES, piece);
	copy_range(d, fd, size > SIGNATURE_TAIL_BYTES ? size - SIGNATURE_TAIL_BYTES : 0,
		SIGNATURE_TAIL_BYTES, piece);
	copy_pointed_to(d, fd, piece);
out:
	free(piece);
	return fd;
}

/* ---- Probing ----------------------------------------------------------------------------- */

static blkid_probe new_probe(int fd, uint64_t base, const struct dev_info *info)
{
	blkid_probe pr = blkid_new_probe();

	if (!pr)
		return NULL;
	if (blkid_probe_set_device(pr, fd, (blkid_loff_t)base, (blkid_loff_t)info->size_bytes) ||
		blkid_probe_set_sectorsize(pr, info->logical_bytes) ||
		blkid_probe_enable_superblocks(pr, 1) ||
		blkid_probe_set_superblocks_flags(pr,
			BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID) ||
		blkid_probe_enable_partitions(pr, 1)) {
		blkid_free_probe(pr);
		return NULL;
	}
	return pr;
}

static const char *value_of(blkid_probe pr, const char *name)
{
	const char *value = NULL;

	return blkid_probe_lookup_value(pr, name, &value, NULL) == 0 ? value : NULL;
}

static void copy_value(blkid_probe pr, const char *name, char *out, size_t len)
{
	const char *value = value_of(pr, name);

	snprintf(out, len, "%s", value ? value : "");
}

/*
 * libblkid takes the boot sector of an exFAT without boot code for a DOS partition table without
 * partitions (64 zeros at 0x1be). That is no second signature.
 */
static bool has_empty_table(struct dev *d)
{
	uint8_t boot[512];

	return dev_size(d) >= sizeof(boot) && dev_read(d, 0, boot, sizeof(boot), NULL) == 0 &&
		memcmp(boot + 3, "EXFAT   ", 8) == 0 && mem_is_zero(boot + 0x1be, 64);
}

/*
 * Every signature on the device, as "ext4, xfs"; returns how many. Unlike blkid_do_safeprobe it
 * does not leave out signatures that libblkid takes to be compatible with others.
 */
static unsigned list_signatures(struct dev *d, blkid_probe pr, char *out, size_t len)
{
	unsigned count = 0;
	size_t used = 0;

	out[0] = '\0';
	blkid_reset_probe(pr);
	while (blkid_do_probe(pr) == 0) {
		const char *type = value_of(pr, "TYPE");
		const char *table = value_of(pr, "PTTYPE");
		int n;

		if (!type && (!table || (strcmp(table, "dos") == 0 && has_empty_table(d))))
			continue;
		n = snprintf(out + used, len - used, "%s%s%s", count ? ", " : "",
			type ? type : table, type ? "" : " partition table");
		used = min_u64(used + (size_t)(n > 0 ? n : 0), len - 1);
		count++;
	}
	return count;
}

static void no_map(struct fs_report *r, const char *reason)
{
	r->used_only = false;
	snprintf(r->reason, sizeof(r->reason), "%s", reason);
}

static const struct fs_ops *row_of_type(const char *type)
{
	for (const struct fs_ops *const *row = fs_table; *row; row++)
		for (const char *const *t = (*row)->types; *t; t++)
			if (strcmp(*t, type) == 0)
				return *row;
	return NULL;
}

/* The row that can map what is on the device; NULL with r->reason otherwise. */
static const struct fs_ops *probe_with(struct dev *d, blkid_probe pr, struct fs_report *r)
{
	char all[sizeof(r->reason) - 32];
	const struct fs_ops *row = NULL;
	int found = blkid_do_safeprobe(pr);
	const char *table = found == 0 ? value_of(pr, "PTTYPE") : NULL;

	if (found == 0) {
		copy_value(pr, "TYPE", r->type, sizeof(r->type));
		copy_value(pr, "LABEL", r->label, sizeof(r->label));
		copy_value(pr, "UUID", r->uuid, sizeof(r->uuid));
		row = row_of_type(r->type);
	}
	if (found == -1)
		no_map(r, "the device could not be probed");
	else if (found == 1)
		no_map(r, "no file system recognised");
	else if (row && !row->map) /* a container: whatever else shows belongs to its inside */
		no_map(r, row->reason);
	else if (found == 0 && table && r->type[0] == '\0')
		snprintf(r->reason, sizeof(r->reason), "partitioned disk (%s)", table);
	else if (list_signatures(d, pr, all, sizeof(all)) != 1 || found != 0)
		snprintf(r->reason, sizeof(r->reason), "more than one signature: %s", all);
	else if (!row)
		snprintf(r->reason, sizeof(r->reason), "no allocation map for %s yet", r->type);
	return r->reason[0] == '\0' ? row : NULL;
}

const struct fs_ops *fs_find_row(struct dev *d, struct fs_report *r)
{
	uint64_t base = 0;
	int fd = dev_fd(d, &base), stand_in = -1;
	const struct fs_ops *row = NULL;
	blkid_probe pr = NULL;

	memset(r, 0, sizeof(*r));
	if (dev_size(d) == 0) {
		no_map(r, "the device is empty");
		return NULL;
	}
	if (fd < 0 || (fcntl(fd, F_GETFL) & O_DIRECT)) {
		stand_in = open_stand_in(d);
		fd = stand_in;
		base = 0;
	}
	if (fd >= 0)
		pr = new_probe(fd, base, dev_info(d));
	if (pr)
		row = probe_with(d, pr, r);
	else
		no_map(r, "the device could not be probed");
	blkid_free_probe(pr);
	if (stand_in >= 0)
		close(stand_in);
	return row;
}

int fs_probe(struct dev *d, struct fs_report *r, struct err *e)
{
	(void)e;
	fs_find_row(d, r);
	return 0;
}

/* ---- The map ----------------------------------------------------------------------------- */

/* Run the row's map. NULL with r->reason when it does not hold. */
static struct map *map_by(const struct fs_ops *row, struct dev *d, struct fs_report *r)
{
	struct map *m = map_new_full(dev_size(d));
	struct err why = { 0 };

	if (!m) {
		no_map(r, "out of memory");
		return NULL;
	}
	if (row->map(d, m, r, &why) < 0) {
		no_map(r, why.msg[0] != '\0' ? why.msg : "the file system could not be read");
		goto drop;
	}
	/* Each row begins with a full map; a hole in it would be lost data. */
	if (map_size(m) != dev_size(d) ||
		map_bytes(m, MAP_DATA) + map_bytes(m, MAP_FREE) != map_size(m)) {
		no_map(r, "internal error: the map does not cover the device");
		goto drop;
	}
	r->used_only = true;
	r->free_bytes = map_bytes(m, MAP_FREE);
	return m;
drop:
	map_free(m);
	return NULL;
}

int fs_map(struct dev *d, struct map **out, struct fs_report *r, struct err *e)
{
	const struct fs_ops *row = fs_find_row(d, r);
	struct map *m = row ? map_by(row, d, r) : NULL;

	if (!m)
		m = map_new_full(dev_size(d));
	if (!m)
		return err_nomem(e);
	*out = m;
	return 0;
}
