/*
 * What a device is: model, serial, WWN, partition and file-system identity, from sysfs, udev's
 * database when present, and libblkid; and the list of all disks with their partitions.
 * Strings are "" when unknown. No function here writes to a device or runs a command.
 *
 * A partition has the model, serial, WWN, bus and disk_id of its disk. A device-mapper volume has
 * its name as model and its UUID as serial. Texts are valid UTF-8 without control characters.
 */
#ifndef DEVICE_IDENTITY_H
#define DEVICE_IDENTITY_H

#include "device/dev.h"

struct identity {
	char path[256];	 /* as given, or /dev/NAME in a list */
	char name[64];	 /* kernel name: sda, nvme0n1p2, loop0; "" for a file */
	char kind[16];	 /* "disk", "partition", "loop", "dm", "md", "rom", "file" */
	char parent[64]; /* kernel name of the whole disk, for a partition */
	char model[128];
	char serial[128];
	char wwn[64];
	char bus[32];	      /* "nvme", "scsi", "usb", "virtio", "mmc", "" */
	char part_table[16];  /* of a whole disk: "gpt", "dos", "" */
	char disk_id[40];     /* GPT disk GUID, or the MBR signature as 8 hex digits */
	uint32_t part_number; /* 1-based; 0 when not a partition */
	char part_type[40];   /* type GUID, or 0x.. of an MBR */
	char part_guid[40];   /* unique partition GUID (PARTUUID) */
	char part_name[128];  /* GPT partition name */
	char fs_type[32];     /* libblkid's name; "" when none or ambivalent */
	char fs_label[128];
	char fs_uuid[64];
	uint64_t start_bytes; /* of a partition on its disk */
	uint64_t size_bytes;
	uint32_t logical_bytes;
	uint32_t physical_bytes;
	bool read_only;
	bool removable;
	bool rotational;
};

/* The identity of an open device; a file has kind "file" and its file system's facts. */
int identity_of(const struct dev *d, struct identity *out, struct err *e);

/*
 * All disks and partitions of the machine, a disk before its partitions, in the order of kernel
 * names (sda before sdb, sda2 before sda10). *out is malloc'ed, *count may be 0. A device that
 * can't be opened for probing (permission) is listed with what sysfs knows.
 */
int identity_list(struct identity **out, size_t *count, struct err *e);

/*
 * What holds a block device or file: mounts (of it or of its partitions, and whatever is stacked
 * on it: LVM, md, dm), swap, loop devices over it. Each line of `out` says one; "" when free.
 * System disk (holding the root file system) is reported as "root file system".
 * *in_use is set when writing to it would hurt.
 */
int identity_holders(const struct dev *d, char *out, size_t len, bool *in_use, struct err *e);

/*
 * Does writing to an open device or file change what `path`, a file or block device, holds? They
 * are one, one lies on the other (loop devices, partitions, LVM, md, dm), or both on the same.
 */
int identity_reaches(const struct dev *d, const char *path, bool *reaches, struct err *e);

#endif
