/*
 * All file systems that have an allocation map, and the contents that are recognised to say why all
 * blocks are taken. A type in no row is imaged whole too, with a general reason. The order does not
 * matter: a type is in one row only.
 */
#include <stddef.h>

#include "fs/fs_ops.h"

#define TYPES(...)                                                                                 \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static const struct fs_ops journal = {
	.name = "jbd",
	.types = TYPES("jbd"),
	.reason = "journal of another file system",
};

static const struct fs_ops hibernated = {
	.name = "swsuspend",
	.types = TYPES("swsuspend"),
	.reason = "swap that holds a hibernated system",
};

static const struct fs_ops luks = {
	.name = "luks",
	.types = TYPES("crypto_LUKS"),
	.reason = "encrypted volume (LUKS)",
};

static const struct fs_ops bitlocker = {
	.name = "bitlocker",
	.types = TYPES("BitLocker"),
	.reason = "encrypted volume (BitLocker)",
};

static const struct fs_ops filevault = {
	.name = "filevault",
	.types = TYPES("cs_fvault2"),
	.reason = "encrypted volume (FileVault)",
};

static const struct fs_ops lvm = {
	.name = "lvm",
	.types = TYPES("LVM2_member", "LVM1_member"),
	.reason = "LVM physical volume",
};

static const struct fs_ops linux_raid = {
	.name = "linux_raid",
	.types = TYPES("linux_raid_member"),
	.reason = "member of a Linux RAID array",
};

static const struct fs_ops firmware_raid = {
	.name = "firmware_raid",
	.types = TYPES("ddf_raid_member", "isw_raid_member", "nvidia_raid_member",
		"promise_fasttrack_raid_member", "silicon_medley_raid_member", "via_raid_member",
		"lsi_mega_raid_member", "jmicron_raid_member", "hpt37x_raid_member",
		"hpt45x_raid_member", "adaptec_raid_member"),
	.reason = "member of a firmware RAID array",
};

static const struct fs_ops pool = {
	.name = "pool",
	.types = TYPES("zfs_member", "bcache", "bcachefs", "drbd", "VMFS_volume_member", "VMFS",
		"stratis", "ceph_bluestore", "ubi", "vdo", "mpool"),
	.reason = "part of a storage pool",
};

static const struct fs_ops verity = {
	.name = "verity",
	.types = TYPES("DM_verity_hash", "DM_integrity", "DM_snapshot_cow"),
	.reason = "a device mapper's own data",
};

static const struct fs_ops packed = {
	.name = "packed",
	.types = TYPES("squashfs", "squashfs3", "erofs", "cramfs", "romfs", "iso9660", "udf"),
	.reason = "a packed file system: all of it is in use",
};

const struct fs_ops *const fs_table[] = {
	/* with a map */
	&fs_btrfs,
	&fs_ext,
	&fs_f2fs,
	&fs_exfat,
	&fs_fat,
	&fs_ntfs,
	&fs_swap,
	&fs_xfs,
	/* recognised only */
	&journal,
	&hibernated,
	&luks,
	&bitlocker,
	&filevault,
	&lvm,
	&linux_raid,
	&firmware_raid,
	&pool,
	&verity,
	&packed,
	NULL,
};
