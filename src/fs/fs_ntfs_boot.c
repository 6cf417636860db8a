/*
 * The NTFS boot sector, [NTFS] "$Boot", all little-endian:
 *
 *   0x03  8  "NTFS    "
 *   0x0B  2  bytes per sector
 *   0x0D  1  sectors per cluster; from 0xF0 on it is -log2 of it (clusters over 64 KiB; Linux
 *            fs/ntfs3/super.c, true_sectors_per_clst)
 *   0x28  8  total sectors of the volume. The partition has at least one more: the backup of this
 *            sector is behind them
 *   0x30  8  first cluster of $MFT
 *   0x38  8  first cluster of $MFTMirr
 *   0x40  1  clusters per MFT record; negative: -log2 of its bytes
 */
#include <inttypes.h>

#include "base/mem.h"
#include "fs/fs_ntfs_int.h"

#define MAX_CLUSTER_BYTES (2 * MIB)

/*
 * NTFS as Windows implements it has at most 2^32 - 1 clusters ("NTFS overview", Microsoft Learn).
 * It also bounds every product below: 2^32 clusters of 2^21 bytes.
 */
#define MAX_CLUSTERS ((uint64_t)UINT32_MAX)

static int decode_cluster(const uint8_t *p, struct ntfs_boot *b, struct err *e)
{
	uint32_t code = p[0x0D];
	uint64_t sectors = code >= 0xF0 ? (uint64_t)1 << (256 - code) : code;

	b->sector_bytes = get_le16(p + 0x0B);
	if (!is_power_of_two(b->sector_bytes) || b->sector_bytes < 512 || b->sector_bytes > 4096)
		return err_set(e, ERR_FORMAT, 0, "boot sector: %" PRIu32 " bytes per sector",
			b->sector_bytes);
	if (!is_power_of_two(sectors) || sectors * b->sector_bytes > MAX_CLUSTER_BYTES)
		return err_set(e, ERR_FORMAT, 0,
			"boot sector: sectors per cluster have the code 0x%02" PRIX32, code);
	b->cluster_bytes = (uint32_t)sectors * b->sector_bytes;
	return 0;
}

static int decode_size(const uint8_t *p, uint64_t device_bytes, struct ntfs_boot *b, struct err *e)
{
	uint64_t bytes;

	b->total_sectors = get_le64(p + 0x28);
	if (!mul_u64(b->total_sectors, b->sector_bytes, &bytes) || bytes > device_bytes)
		return err_set(e, ERR_FORMAT, 0,
			"boot sector: the volume has %" PRIu64 " sectors, the device only %" PRIu64
			" bytes: truncated?",
			b->total_sectors, device_bytes);
	b->clusters = bytes / b->cluster_bytes;
	if (b->clusters == 0 || b->clusters > MAX_CLUSTERS)
		return err_set(e, ERR_FORMAT, 0, "boot sector: %" PRIu64 " clusters", b->clusters);
	return 0;
}

static int decode_mft(const uint8_t *p, struct ntfs_boot *b, struct err *e)
{
	int code = (int8_t)p[0x40];
	uint64_t bytes = 0;

	if (code > 0)
		bytes = (uint64_t)code * b->cluster_bytes;
	else if (code < 0 && code >= -31)
		bytes = (uint64_t)1 << -code;
	if (!is_power_of_two(bytes) || bytes < NTFS_MIN_RECORD_BYTES ||
		bytes > NTFS_MAX_RECORD_BYTES)
		return err_set(e, ERR_FORMAT, 0,
			"boot sector: clusters per MFT record have the code 0x%02X", p[0x40]);
	b->record_bytes = (uint32_t)bytes;
	b->mft_cluster = get_le64(p + 0x30);
	b->mftmirr_cluster = get_le64(p + 0x38);
	/* Cluster 0 holds this boot sector. */
	if (b->mft_cluster == 0 || b->mft_cluster >= b->clusters)
		return err_set(e, ERR_FORMAT, 0, "boot sector: $MFT at cluster %" PRIu64,
			b->mft_cluster);
	if (b->mftmirr_cluster == 0 || b->mftmirr_cluster >= b->clusters ||
		b->mftmirr_cluster == b->mft_cluster)
		return err_set(e, ERR_FORMAT, 0, "boot sector: $MFTMirr at cluster %" PRIu64,
			b->mftmirr_cluster);
	return 0;
}

int fs_ntfs_boot_decode(const uint8_t *p, size_t n, uint64_t device_bytes, struct ntfs_boot *out,
	struct err *e)
{
	int rc;

	if (n < NTFS_BOOT_BYTES || memcmp(p + 0x03, "NTFS    ", 8) != 0)
		return err_set(e, ERR_FORMAT, 0, "boot sector: no NTFS signature");
	rc = decode_cluster(p, out, e);
	if (rc == 0)
		rc = decode_size(p, device_bytes, out, e);
	if (rc == 0)
		rc = decode_mft(p, out, e);
	return rc;
}
