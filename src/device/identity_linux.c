/*
 * Identity of one device, and the list of all. The content (partition table, file system) is asked
 * of libblkid's low-level probing, which reads and nothing else. Superblocks and partition tables
 * are probed apart, so that a doubtful file system does not hide the table.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <blkid/blkid.h>

#include "base/mem.h"
#include "device/dev_int.h"
#include "device/identity_int.h"

/* ---- Content ---- */

static void take_value(blkid_probe pr, const char *key, char *field, size_t len)
{
	const char *value;

	if (blkid_probe_lookup_value(pr, key, &value, NULL) == 0)
		sys_copy(field, len, value);
}

#define TAKE(pr, key, field) take_value((pr), (key), (field), sizeof(field))

static void probe_file_system(blkid_probe pr, struct identity *id)
{
	blkid_probe_enable_partitions(pr, 0);
	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr,
		BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID);
	/* 1: nothing found; -2: more than one, and nobody can say which is true. */
	if (blkid_do_safeprobe(pr) != 0)
		return;
	TAKE(pr, "TYPE", id->fs_type);
	TAKE(pr, "LABEL", id->fs_label);
	TAKE(pr, "UUID", id->fs_uuid);
}

static void probe_partitions(blkid_probe pr, struct identity *id)
{
	blkid_probe_enable_superblocks(pr, 0);
	blkid_probe_enable_partitions(pr, 1);
	blkid_probe_set_partitions_flags(pr, BLKID_PARTS_ENTRY_DETAILS);
	if (blkid_do_safeprobe(pr) != 0)
		return;
	TAKE(pr, "PTTYPE", id->part_table);
	TAKE(pr, "PTUUID", id->disk_id);
	TAKE(pr, "PART_ENTRY_TYPE", id->part_type);
	TAKE(pr, "PART_ENTRY_UUID", id->part_guid);
	TAKE(pr, "PART_ENTRY_NAME", id->part_name);
}

/* Find out what is in [base, base + size) of a descriptor, which must not be O_DIRECT. */
static bool probe(int fd, uint64_t base, uint64_t size, uint32_t sector, struct identity *id)
{
	blkid_probe pr = blkid_new_probe();

	if (pr == NULL)
		return false;
	if (blkid_probe_set_device(pr, fd, (blkid_loff_t)base, (blkid_loff_t)size) != 0) {
		blkid_free_probe(pr);
		return false;
	}
	/* An image of a disk with 4096-byte sectors does not say so itself. */
	if (sector > 0)
		blkid_probe_set_sectorsize(pr, sector);
	probe_file_system(pr, id);
	blkid_reset_probe(pr);
	probe_partitions(pr, id);
	blkid_free_probe(pr);
	/* A table inside a partition is not the one that it is listed in. */
	if (id->parent[0] != '\0') {
		id->part_table[0] = '\0';
		id->disk_id[0] = '\0';
	}
	return true;
}

/* The disk identifier of a partition is in its disk's table. */
static void probe_parent(const char *parent, struct identity *id)
{
	struct identity disk = { .path = "" };
	char node[SYS_NAME_LEN + 8];
	int fd;

	sys_node_of(parent, node, sizeof(node));
	fd = open(node, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return;
	probe(fd, 0, 0, 0, &disk);
	snprintf(id->disk_id, sizeof(id->disk_id), "%s", disk.disk_id);
	close(fd);
}

/*
 * A descriptor of its own for libblkid: it seeks, which would disturb another user of the same
 * open file, and reads unaligned, which O_DIRECT refuses.
 */
static int reopen(const struct dev *d, int fd)
{
	struct stat ours;
	struct stat theirs;
	char path[64];
	int own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (own >= 0)
		return own;
	own = open(dev_name(d), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (own < 0)
		return -1;
	if (fstat(fd, &ours) == 0 && fstat(own, &theirs) == 0 && ours.st_ino == theirs.st_ino &&
		ours.st_dev == theirs.st_dev && ours.st_rdev == theirs.st_rdev)
		return own;
	close(own);
	return -1;
}

/* ---- One device ---- */

/* Start with what the device itself says. */
static void begin(const struct dev *d, struct identity *out)
{
	const struct dev_info *info = dev_info(d);

	memset(out, 0, sizeof(*out));
	snprintf(out->path, sizeof(out->path), "%s", dev_name(d));
	out->size_bytes = dev_size(d);
	out->logical_bytes = info->logical_bytes;
	out->physical_bytes = info->physical_bytes;
	out->rotational = info->rotational;
	snprintf(out->kind, sizeof(out->kind), "%s", info->block_device ? "disk" : "file");
}

static void block_facts(const struct dev *d, dev_t devno, struct identity *out)
{
	char name[SYS_NAME_LEN];

	if (!sys_name_of("", devno, name))
		return;
	out->kind[0] = '\0';
	identity_sys_facts("", name, out);
	/* What the open device says is what will be read and written. */
	out->size_bytes = dev_size(d);
	out->logical_bytes = dev_info(d)->logical_bytes;
	out->physical_bytes = dev_info(d)->physical_bytes;
}

int identity_of(const struct dev *d, struct identity *out, struct err *e)
{
	uint64_t base;
	int fd = dev_fd(d, &base);
	struct stat st;
	bool probed = false;
	int own;

	begin(d, out);
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return err_set_errno(e, ERR_SOURCE, errno, "stat %s", dev_name(d));
	if (dev_info(d)->block_device)
		block_facts(d, st.st_rdev, out);
	own = reopen(d, fd);
	if (own >= 0) {
		probed = probe(own, base, dev_size(d), out->logical_bytes, out);
		close(own);
	}
	/* libblkid takes a window on a partition for the partition. */
	if (!dev_info(d)->block_device) {
		out->part_type[0] = '\0';
		out->part_guid[0] = '\0';
		out->part_name[0] = '\0';
	}
	if (probed && out->parent[0] != '\0')
		probe_parent(out->parent, out);
	if (out->name[0] != '\0')
		identity_udev_facts("", out->name, !probed, out);
	return 0;
}

/* ---- All devices ---- */

/* Is it a disk for people: it has bytes, and not the machine's memory for them? */
static bool is_listed(const char *root, const char *name)
{
	if (strncmp(name, "ram", 3) == 0 || strncmp(name, "zram", 4) == 0)
		return false;
	if (sys_number(root, "/sys/class/block/%s/hidden", name) != 0)
		return false;
	return sys_number(root, "/sys/class/block/%s/size", name) > 0;
}

static void list_one(const char *root, const char *name, struct identity *id)
{
	bool probed = false;
	int fd;

	sys_node_of(name, id->path, sizeof(id->path));
	identity_sys_facts(root, name, id);
	/* The nodes in /dev are the machine's, not a made-up tree's. */
	fd = root[0] == '\0' ? open(id->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	if (fd >= 0) {
		probed = probe(fd, 0, 0, 0, id);
		close(fd);
	}
	identity_udev_facts(root, name, !probed, id);
}

/* A partition takes its disk's identifier, where that is known; the disk is before it. */
static void inherit_disk_id(struct identity *list, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(list[k].name, list[i].parent) == 0 && list[k].disk_id[0] != '\0')
			memcpy(list[i].disk_id, list[k].disk_id, sizeof(list[i].disk_id));
}

int identity_list_at(const char *root, struct identity **out, size_t *count, struct err *e)
{
	char(*names)[SYS_NAME_LEN];
	struct identity *list;
	size_t n;
	int rc = sys_list(root, &names, &n, e);

	*out = NULL;
	*count = 0;
	if (rc < 0)
		return rc;
	list = calloc(n + 1, sizeof(*list));
	if (list == NULL) {
		free(names);
		return err_nomem(e);
	}
	for (size_t i = 0; i < n; i++) {
		if (!is_listed(root, names[i]))
			continue;
		list_one(root, names[i], &list[*count]);
		inherit_disk_id(list, *count);
		(*count)++;
	}
	free(names);
	*out = list;
	return 0;
}

int identity_list(struct identity **out, size_t *count, struct err *e)
{
	return identity_list_at("", out, count, e);
}
