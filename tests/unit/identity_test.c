/*
 * identity: names, texts, facts, the list and the holders, from a made-up tree of the kernel's
 * files with all that a machine may have (LVM, md, Btrfs, swap, loop devices over files and
 * devices); and image files made by real tools, which libblkid reads. Real loop devices are in
 * tests/root.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/identity_int.h"
#include "unit/dev_helper.h"

static struct err e;
static char root[PATH_MAX];

/* ---- The tree ---- */

static void make_parents(char *path)
{
	for (char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(path, 0700);
		*p = '/';
	}
}

static void put_bytes(const char *path, const void *bytes, size_t len)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", root, path);
	make_parents(full);
	dev_helper_write_file(full, bytes, len);
}

static void put(const char *path, const char *text)
{
	put_bytes(path, text, strlen(text));
}

static void put_link(const char *path, const char *target)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", root, path);
	make_parents(full);
	assert_int_equal(symlink(target, full), 0);
}

static void put_dir(const char *path)
{
	char full[PATH_MAX + 8];

	snprintf(full, sizeof(full), "%s%s/", root, path);
	make_parents(full);
}

/* An attribute of a device already in /sys/class/block. */
static void attr(const char *name, const char *attribute, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/class/block/%s/%s", name, attribute);
	put(path, text);
}

/* A block device: its directory, and the links by name and number as sysfs has them. */
static void block(const char *dir, const char *number, const char *sectors)
{
	const char *name = strrchr(dir, '/') + 1;
	char path[256];
	char target[256];

	snprintf(path, sizeof(path), "/sys/devices/%s/holders", dir);
	put_dir(path);
	snprintf(target, sizeof(target), "../../devices/%s", dir);
	snprintf(path, sizeof(path), "/sys/class/block/%s", name);
	put_link(path, target);
	snprintf(path, sizeof(path), "/sys/dev/block/%s", number);
	put_link(path, target);
	attr(name, "dev", number);
	attr(name, "size", sectors);
	attr(name, "ro", "0\n");
}

static void partition(const char *dir, const char *number, const char *which, const char *start)
{
	const char *name = strrchr(dir, '/') + 1;

	block(dir, number, "1000\n");
	attr(name, "partition", which);
	attr(name, "start", start);
}

static void held_by(const char *name, const char *holder)
{
	char path[256];

	snprintf(path, sizeof(path), "holders/%s", holder);
	attr(name, path, "");
}

static void loop(const char *name, const char *number, const char *backing)
{
	char dir[64];

	snprintf(dir, sizeof(dir), "virtual/block/%s", name);
	block(dir, number, "2000\n");
	attr(name, "loop/backing_file", backing);
}

#define ATA "pci0/ata1/host0/target0/0:0:0:0"
#define USB "pci0/usb2/2-1/host6/target6/6:0:0:0"

static const uint8_t vpd_serial_page[] = "\0\x80\0\x0C    WD-12345";
/* A vendor's text, an EUI-64, a target port's NAA, the unit's NAA: the last one counts. */
static const uint8_t vpd_id_page[] = "\0\x83\0\x2A"
				     "\x02\x01\0\x04TEXT"
				     "\x01\x02\0\x08\x11\x22\x33\x44\x55\x66\x77\x88"
				     "\x01\x13\0\x02\x99\x99"
				     "\x01\x03\0\x08\x50\x01\x4e\xe2\xb2\xab\xcd\xef";

static void make_disks(void)
{
	block(ATA "/block/sda", "8:0", "500118192\n");
	put_dir("/sys/bus/scsi");
	put_link("/sys/devices/" ATA "/subsystem", "../../../../../../bus/scsi");
	put_link("/sys/devices/" ATA "/block/sda/device", "../../../0:0:0:0");
	put("/sys/devices/" ATA "/model", "WDC WD2500     \n");
	put_bytes("/sys/devices/" ATA "/vpd_pg80", vpd_serial_page, sizeof(vpd_serial_page) - 1);
	put_bytes("/sys/devices/" ATA "/vpd_pg83", vpd_id_page, sizeof(vpd_id_page) - 1);
	attr("sda", "queue/rotational", "1\n");
	attr("sda", "queue/logical_block_size", "512\n");
	attr("sda", "queue/physical_block_size", "4096\n");
	partition(ATA "/block/sda/sda1", "8:1", "1\n", "2048\n");
	partition(ATA "/block/sda/sda2", "8:2", "2\n", "4096\n");
	partition(ATA "/block/sda/sda3", "8:3", "3\n", "8192\n");
	partition(ATA "/block/sda/sda10", "8:10", "10\n", "12288\n");
	block(USB "/block/sdb", "8:16", "2000\n");
	put_link("/sys/devices/" USB "/block/sdb/device", "../../../6:0:0:0");
	put("/sys/devices/" USB "/wwid", "naa.5000c500a1b2c3d4\n");
	put("/sys/devices/" USB "/model", "Stick\x1b[31m\xff\n");
	attr("sdb", "removable", "1\n");
	block("pci0/sdz", "65:144", "2000\n");
	block("pci0/sdaa", "65:160", "2000\n");
	block("pci0/sdc", "8:32", "2000\n");
	partition("pci0/sdc/sdc1", "8:33", "1\n", "2048\n");
	block("pci0/nvme0/nvme0n1", "259:1", "2000\n");
	put_dir("/sys/class/nvme");
	put_link("/sys/devices/pci0/nvme0/subsystem", "../../../class/nvme");
	put_link("/sys/devices/pci0/nvme0/nvme0n1/device", "../../nvme0");
	put("/sys/devices/pci0/nvme0/serial", "S4EVNF0M\n");
	put("/sys/devices/pci0/nvme0/model", "Samsung SSD 970\n");
	attr("nvme0n1", "wwid", "eui.0025385b71b0a1c2\n");
	attr("nvme0n1", "ro", "1\n");
	partition("pci0/nvme0/nvme0n1/nvme0n1p1", "259:2", "1\n", "2048\n");
	partition("pci0/nvme0/nvme0n1/nvme0n1p2", "259:3", "2\n", "4096\n");
	block("pci0/nvme0/nvme0c0n1", "259:9", "2000\n");
	attr("nvme0c0n1", "hidden", "1\n");
	block("pci0/sr0", "11:0", "1400000\n");
	attr("sr0", "device/type", "5\n");
	block("pci0/cciss!c0d0", "104:0", "2000\n");
	block("pci0/virtio1/vda", "254:0", "2000\n");
	put_link("/sys/devices/pci0/virtio1/subsystem", "../../../bus/virtio");
	put_dir("/sys/bus/virtio");
	put_link("/sys/devices/pci0/virtio1/vda/device", "../../virtio1");
	attr("vda", "serial", "vol-0123\n");
}

/* sda: boot, swap, LVM with root and home. sdb, sdz: md with a partition. */
static void make_stacks(void)
{
	block("virtual/block/dm-0", "253:0", "900\n");
	attr("dm-0", "dm/name", "vg-root\n");
	attr("dm-0", "dm/uuid", "LVM-abc\n");
	block("virtual/block/dm-1", "253:1", "900\n");
	attr("dm-1", "dm/name", "vg-spare\n");
	block("virtual/block/dm-2", "253:2", "900\n");
	attr("dm-2", "dm/name", "vg-idle\n");
	held_by("sda3", "dm-0");
	held_by("sda3", "dm-1");
	held_by("sdc1", "dm-2");
	block("virtual/block/md0", "9:0", "1900\n");
	put_dir("/sys/devices/virtual/block/md0/md");
	partition("virtual/block/md0/md0p1", "259:20", "1\n", "2048\n");
	held_by("sdb", "md0");
	held_by("sdz", "md0");
	attr("md0", "slaves/sdb", "");
	attr("md0", "slaves/sdz", "");
	attr("dm-2", "slaves/sdc1", "");
	block("virtual/block/ram0", "1:0", "2000\n");
	block("virtual/block/zram0", "252:0", "2000\n");
	block("virtual/block/loop0", "7:0", "0\n");
	/* disk.img is behind two loop devices; the other files behind one each. */
	put("/images/disk.img", "x");
	put("/images/disk two.img", "x");
	put("/images/swap file", "x");
	put("/images/free.img", "x");
	loop("loop1", "7:1", "/images/disk.img\n");
	partition("virtual/block/loop1/loop1p1", "259:30", "1\n", "2048\n");
	partition("virtual/block/loop1/loop1p2", "259:31", "2\n", "4096\n");
	loop("loop2", "7:2", "/images/disk.img\n");
	loop("loop3", "7:3", "/images/disk two.img\n");
	loop("loop4", "7:4", "/dev/sdaa\n");
	/* One over the other; over a partition. */
	put("/images/under.img", "x");
	loop("loop5", "7:5", "/images/under.img\n");
	loop("loop6", "7:6", "/dev/loop5\n");
	block("pci0/sdd", "8:48", "2000\n");
	partition("pci0/sdd/sdd1", "8:49", "1\n", "2048\n");
	partition("pci0/sdd/sdd2", "8:50", "2\n", "4096\n");
	loop("loop7", "7:7", "/dev/sdd2\n");
	loop("loop10", "7:10", "/images/gone.img (deleted)\n");
	put_dir("/dev/mapper");
	put("/dev/dm-0", "");
	put("/dev/dm-1", "");
	put("/dev/sdaa", "");
	put("/dev/loop5", "");
	put("/dev/sdd2", "");
	put_link("/dev/mapper/vg-root", "../dm-0");
	put_link("/dev/mapper/vg-spare", "../dm-1");
}

static const char mountinfo[] =
	"22 1 0:21 / /proc rw - proc proc rw\n"
	"27 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw\n"
	"28 27 8:1 / /boot rw - ext4 /dev/sda1 rw\n"
	"29 27 259:20 / /srv/with\\040space\\011tab rw - xfs /dev/md0p1 rw,logdev=/dev/vda\n"
	"30 27 0:55 /sub /data rw - btrfs /dev/nvme0n1p1 rw\n"
	"31 27 259:31 / /mnt/p2 ro - ext4 /dev/loop1p2 ro\n"
	"32 27 7:4 / /mnt/over - ext4 /dev/loop4 rw\n";

static const char swaps[] = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
			    "/dev/sda2                               partition\t1000\t0\t-2\n"
			    "/dev/mapper/vg-spare                    partition\t1000\t0\t-3\n"
			    "/images/swap\\040file                    file\t1000\t0\t-4\n";

static int setup(void **state)
{
	char real[PATH_MAX];

	if (dev_helper_setup(state) < 0 || realpath(dev_helper_path("."), real) == NULL)
		return -1;
	snprintf(root, sizeof(root), "%.2000s/tree", real);
	make_disks();
	make_stacks();
	put("/proc/self/mountinfo", mountinfo);
	put("/proc/swaps", swaps);
	put_dir("/sys/fs/btrfs/features");
	put("/sys/fs/btrfs/1234-uuid/devices/nvme0n1p1", "");
	put("/sys/fs/btrfs/1234-uuid/devices/nvme0n1p2", "");
	put("/run/udev/data/b8:1",
		"S:disk/by-id/x\nE:ID_FS_TYPE=ext4\nE:ID_FS_LABEL_ENC=my\\x20disk\n"
		"E:ID_PART_TABLE_TYPE=gpt\nE:ID_PART_TABLE_UUID=1111\nE:ID_PART_ENTRY_UUID=2222\n"
		"E:ID_MODEL_ENC=Other\n");
	put("/run/udev/data/b8:16", "E:ID_SERIAL=no\nE:ID_SERIAL_SHORT=USB123\\x20\\x20\n");
	return 0;
}

/* ---- Names and texts ---- */

static void test_order(void **state)
{
	static const char *const sorted[] = { "cciss!c0d0", "dm-0", "dm-1", "dm-10", "loop0",
		"loop0p1", "loop2", "loop10", "md0", "md0p1", "md127", "mmcblk0", "mmcblk0boot0",
		"mmcblk0p1", "mmcblk1", "nvme0n1", "nvme0n1p1", "nvme0n1p2", "nvme0n1p10",
		"nvme0n2", "nvme1n1", "sda", "sda1", "sda2", "sda10", "sdb", "sdz", "sdaa", "sdaa1",
		"sdab", "sr0", "vda", "xvda", "xvda1" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(sorted); i++)
		for (size_t k = 0; k < COUNT_OF(sorted); k++) {
			int order = sys_compare(sorted[i], sorted[k]);

			assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
		}
}

static void test_copy(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *want;
	} rows[] = {
		{ "plain", 20, "plain" },
		{ "plain", 6, "plain" },
		{ "plain", 5, "plai" },
		{ "", 1, "" },
		{ "Größe €", 20, "Größe €" },
		{ "Größe €", 11, "Größe " },
		{ "\x1b[31m\n\x7f", 20, "?[31m??" },
		{ "a\xff\xc3", 20, "a??" },
		{ "\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80", 20, "?????????" },
		{ "\xe2\x82", 20, "??" },
		{ "\xf0\x9f\x92\xbe", 20, "\xf0\x9f\x92\xbe" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char out[20];

		sys_copy(out, rows[i].len, rows[i].text);
		assert_string_equal(out, rows[i].want);
	}
}

/* ---- The list ---- */

static void test_list(void **state)
{
	static const char *const want[] = { "cciss!c0d0", "dm-0", "dm-1", "dm-2", "loop1",
		"loop1p1", "loop1p2", "loop2", "loop3", "loop4", "loop5", "loop6", "loop7",
		"loop10", "md0", "md0p1", "nvme0n1", "nvme0n1p1", "nvme0n1p2", "sda", "sda1",
		"sda2", "sda3", "sda10", "sdb", "sdc", "sdc1", "sdd", "sdd1", "sdd2", "sdz", "sdaa",
		"sr0", "vda" };
	struct identity *list;
	size_t count;

	(void)state;
	assert_ok(identity_list_at(root, &list, &count, &e), &e);
	for (size_t i = 0; i < count && i < COUNT_OF(want); i++)
		assert_string_equal(list[i].name, want[i]);
	assert_int_equal(count, COUNT_OF(want));
	assert_string_equal(list[0].path, "/dev/cciss/c0d0");
	free(list);
	assert_int_equal(identity_list_at("/nowhere", &list, &count, &e), -ERR_NOT_FOUND);
	assert_null(list);
}

static struct identity find(const char *name)
{
	struct identity *list;
	struct identity found = { .name = "" };
	size_t count;

	assert_ok(identity_list_at(root, &list, &count, &e), &e);
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			found = list[i];
	free(list);
	assert_string_equal(found.name, name);
	return found;
}

static void test_facts_of_disks(void **state)
{
	struct identity id = find("sda");

	(void)state;
	assert_string_equal(id.path, "/dev/sda");
	assert_string_equal(id.kind, "disk");
	assert_string_equal(id.parent, "");
	assert_string_equal(id.model, "WDC WD2500");
	assert_string_equal(id.serial, "WD-12345");
	assert_string_equal(id.wwn, "0x50014ee2b2abcdef");
	assert_string_equal(id.bus, "scsi");
	assert_true(id.size_bytes == 500118192ULL * 512);
	assert_int_equal(id.logical_bytes, 512);
	assert_int_equal(id.physical_bytes, 4096);
	assert_true(id.rotational && !id.removable && !id.read_only);
	id = find("sdb");
	assert_string_equal(id.bus, "usb");
	assert_string_equal(id.wwn, "0x5000c500a1b2c3d4");
	assert_string_equal(id.model, "Stick?[31m?");
	assert_string_equal(id.serial, "USB123");
	assert_true(id.removable && !id.rotational);
	id = find("nvme0n1");
	assert_string_equal(id.bus, "nvme");
	assert_string_equal(id.serial, "S4EVNF0M");
	assert_string_equal(id.wwn, "eui.0025385b71b0a1c2");
	assert_true(id.read_only);
	id = find("vda");
	assert_string_equal(id.bus, "virtio");
	assert_string_equal(id.serial, "vol-0123");
	assert_string_equal(find("sr0").kind, "rom");
	assert_string_equal(find("loop1").kind, "loop");
	assert_string_equal(find("md0").kind, "md");
	assert_string_equal(find("md0p1").parent, "md0");
	id = find("dm-0");
	assert_string_equal(id.kind, "dm");
	assert_string_equal(id.model, "vg-root");
	assert_string_equal(id.serial, "LVM-abc");
}

static void test_facts_of_partitions(void **state)
{
	struct identity id = find("sda1");

	(void)state;
	assert_string_equal(id.kind, "partition");
	assert_string_equal(id.parent, "sda");
	assert_int_equal(id.part_number, 1);
	assert_int_equal(id.start_bytes, 2048 * 512);
	assert_int_equal(id.size_bytes, 1000 * 512);
	/* Its disk's; udev's word for the model is not asked, sysfs has one. */
	assert_string_equal(id.model, "WDC WD2500");
	assert_string_equal(id.serial, "WD-12345");
	assert_int_equal(id.physical_bytes, 4096);
	/* What could not be read is udev's to say; a partition has no table of its own. */
	assert_string_equal(id.fs_type, "ext4");
	assert_string_equal(id.fs_label, "my disk");
	assert_string_equal(id.part_guid, "2222");
	assert_string_equal(id.disk_id, "1111");
	assert_string_equal(id.part_table, "");
	assert_int_equal(find("sda10").part_number, 10);
	assert_string_equal(find("sda10").fs_type, "");
}

/* Stale facts of the database do not stand in for what was read and found empty. */
static void test_udev_content(void **state)
{
	struct identity id = { .part_number = 1 };

	(void)state;
	identity_udev_facts(root, "sda1", false, &id);
	assert_string_equal(id.fs_type, "");
	assert_string_equal(id.part_guid, "");
	assert_string_equal(id.model, "Other");
}

/* Damaged product data: every length is held against what there is. */
static void test_vpd_damaged(void **state)
{
	uint8_t page[64];
	uint32_t rnd = 5;

	(void)state;
	for (int i = 0; i < 300; i++) {
		struct identity id = { .name = "" };
		size_t len = dev_helper_random(&rnd) % sizeof(page);

		dev_helper_fill(page, sizeof(page), (uint32_t)i);
		memcpy(page, vpd_id_page, i % 12);
		page[1] = i % 2 ? 0x80 : 0x83;
		put_bytes(i % 2 ? "/sys/devices/pci0/sdz/device/vpd_pg80"
				: "/sys/devices/pci0/sdz/device/vpd_pg83",
			page, len);
		identity_sys_facts(root, "sdz", &id);
		assert_true(strlen(id.serial) < sizeof(id.serial));
		assert_true(strlen(id.wwn) < sizeof(id.wwn));
	}
}

/* ---- Holders ---- */

static char lines[4096];

static bool look(const struct holders_target *t)
{
	bool in_use = false;

	assert_ok(identity_holders_at(root, t, lines, sizeof(lines), &in_use, &e), &e);
	return in_use;
}

static bool look_at(unsigned maj, unsigned min)
{
	const struct holders_target t = { .block = true,
		.rdev = makedev(maj, min),
		.name = "target" };

	return look(&t);
}

static struct holders_target file_of(const char *path)
{
	struct holders_target t = { .name = "FILE" };
	char full[PATH_MAX];
	struct stat st;

	snprintf(full, sizeof(full), "%s%s", root, path);
	assert_int_equal(stat(full, &st), 0);
	t.file_dev = st.st_dev;
	t.file_ino = st.st_ino;
	return t;
}

static bool look_at_file(const char *path)
{
	const struct holders_target t = file_of(path);

	return look(&t);
}

#define assert_says(text) assert_non_null(strstr(lines, text))
#define assert_silent(text) assert_null(strstr(lines, text))

/* R5: the disk under LVM under the root file system, and everything on the way. */
static void test_r5_system_disk(void **state)
{
	(void)state;
	assert_true(look_at(8, 0));
	assert_says("/dev/sda1: mounted at /boot");
	assert_says("/dev/dm-0 (vg-root): root file system");
	assert_says("/dev/dm-1 (vg-spare): in use as swap");
	assert_says("/dev/sda2: in use as swap");
	assert_says("/dev/sda3: held by /dev/dm-0 (vg-root)");
	assert_silent("dm-2");
	assert_true(look_at(8, 3));
	assert_says("root file system");
	assert_silent("/boot");
	assert_true(look_at(253, 0));
	assert_string_equal(lines, "/dev/dm-0 (vg-root): root file system");
	assert_true(look_at(8, 2));
	assert_string_equal(lines, "/dev/sda2: in use as swap");
	/* A partition beside them is free. */
	assert_false(look_at(8, 10));
	assert_string_equal(lines, "");
}

static void test_r5_stacks(void **state)
{
	(void)state;
	/* Both halves of the array, by way of the array's partition. */
	assert_true(look_at(8, 16));
	assert_says("/dev/sdb: held by /dev/md0");
	assert_says("/dev/md0p1: mounted at /srv/with space\\011tab");
	assert_true(look_at(65, 144));
	assert_says("/dev/sdz: held by /dev/md0");
	assert_true(look_at(9, 0));
	assert_silent("held by");
	/* Active LVM holds the disk even if nothing is mounted from it. */
	assert_true(look_at(8, 32));
	assert_string_equal(lines, "/dev/sdc1: held by /dev/dm-2 (vg-idle)");
	assert_false(look_at(253, 2));
	/* An external log, named in an option only. */
	assert_true(look_at(254, 0));
	assert_says("/dev/vda: mounted at /srv");
	/* The first Btrfs disk is named by the mount, the second by sysfs. */
	assert_true(look_at(259, 2));
	assert_says("/dev/nvme0n1p1: mounted at /data");
	assert_true(look_at(259, 3));
	assert_string_equal(lines, "/dev/nvme0n1p2: part of mounted Btrfs 1234-uuid");
	assert_true(look_at(259, 1));
	assert_false(look_at(11, 0));
}

static void test_r5_loops(void **state)
{
	(void)state;
	/* The file, the loop device that is mounted from, and its twin over the same file. */
	assert_true(look_at_file("/images/disk.img"));
	assert_says("/dev/loop1p2: mounted at /mnt/p2");
	assert_says("FILE: behind loop device /dev/loop1");
	assert_says("FILE: behind loop device /dev/loop2");
	assert_true(look_at(7, 1));
	assert_true(look_at(7, 2));
	assert_says("/dev/loop1p2: mounted at /mnt/p2");
	assert_true(look_at(259, 31));
	/* The other partition of it is not in the way, though its disk is. */
	assert_false(look_at(259, 30));
	/* A loop device nobody uses is mentioned only. */
	assert_false(look_at_file("/images/disk two.img"));
	assert_string_equal(lines, "FILE: behind loop device /dev/loop3");
	assert_false(look_at(7, 3));
	assert_false(look_at_file("/images/free.img"));
	assert_string_equal(lines, "");
	assert_true(look_at_file("/images/swap file"));
	assert_string_equal(lines, "FILE: in use as swap");
	/* Over a block device, both ways. */
	assert_true(look_at(65, 160));
	assert_says("/dev/loop4: mounted at /mnt/over");
	assert_says("/dev/sdaa: behind loop device /dev/loop4");
	assert_true(look_at(7, 4));
}

static struct holders_target block_of(unsigned maj, unsigned min)
{
	return (struct holders_target){ .block = true, .rdev = makedev(maj, min), .name = "x" };
}

static bool reaches(struct holders_target from, struct holders_target to)
{
	bool reached = false;

	assert_ok(identity_reaches_at(root, &from, &to, &reached, &e), &e);
	return reached;
}

static void test_r5_reaches(void **state)
{
	const struct holders_target file = file_of("/images/under.img"), loop5 = block_of(7, 5),
				    loop6 = block_of(7, 6), loop7 = block_of(7, 7);

	(void)state;
	/* Loop devices over a file, one over the other; and the other way round. */
	assert_true(reaches(loop5, file));
	assert_true(reaches(loop6, file));
	assert_true(reaches(loop6, loop5));
	assert_true(reaches(file, loop6));
	assert_true(reaches(file, file));
	assert_true(reaches(block_of(7, 1), block_of(7, 2)));
	assert_false(reaches(loop6, file_of("/images/disk.img")));
	assert_false(reaches(loop5, block_of(7, 1)));
	/* Over a partition: its disk changes, too, but not the other partitions. */
	assert_true(reaches(loop7, block_of(8, 50)));
	assert_true(reaches(loop7, block_of(8, 48)));
	assert_true(reaches(block_of(8, 48), loop7));
	assert_false(reaches(loop7, block_of(8, 49)));
	assert_false(reaches(block_of(259, 30), block_of(259, 31)));
	/* A RAID and a logical volume lie on disks. */
	assert_true(reaches(block_of(259, 20), block_of(65, 144)));
	assert_true(reaches(block_of(253, 2), block_of(8, 32)));
	assert_true(reaches(block_of(8, 32), block_of(253, 2)));
	assert_false(reaches(block_of(253, 2), block_of(8, 0)));
}

/* Is that one of `lines`, whole? */
static bool is_line(const char *line, size_t len)
{
	for (const char *p = lines; *p != '\0';) {
		size_t n = strcspn(p, "\n");

		if (n == len && strncmp(p, line, n) == 0)
			return true;
		p += n + (p[n] == '\n');
	}
	return false;
}

/* Too many lines for the room: whole lines only, and in use all the same. */
static void test_holders_room(void **state)
{
	const struct holders_target t = { .block = true, .rdev = makedev(8, 0), .name = "target" };

	(void)state;
	look_at(8, 0);
	for (size_t len = 1; len < strlen(lines); len++) {
		char out[4096];
		bool in_use = false;

		memset(out, 'x', sizeof(out));
		assert_ok(identity_holders_at(root, &t, out, len, &in_use, &e), &e);
		assert_true(in_use);
		assert_true(strlen(out) < len);
		for (char *line = out; *line != '\0';) {
			size_t n = strcspn(line, "\n");

			assert_true(is_line(line, n));
			line += n + (line[n] == '\n');
		}
	}
}

/* When the truth cannot be read, the answer is an error and "in use". */
static void test_holders_blind(void **state)
{
	struct holders_target t = { .block = true, .rdev = makedev(99, 9), .name = "target" };
	char from[PATH_MAX + 32];
	char to[PATH_MAX + 32];
	bool in_use = false;

	(void)state;
	assert_int_equal(identity_holders_at(root, &t, lines, sizeof(lines), &in_use, &e),
		-ERR_NOT_FOUND);
	assert_true(in_use);
	t.rdev = makedev(8, 10);
	snprintf(from, sizeof(from), "%s/proc/self/mountinfo", root);
	snprintf(to, sizeof(to), "%s/proc/self/aside", root);
	assert_int_equal(rename(from, to), 0);
	in_use = false;
	assert_true(identity_holders_at(root, &t, lines, sizeof(lines), &in_use, &e) < 0);
	assert_true(in_use);
	assert_int_equal(rename(to, from), 0);
	snprintf(from, sizeof(from), "%s/proc/swaps", root);
	assert_int_equal(rename(from, to), 0);
	assert_ok(identity_holders_at(root, &t, lines, sizeof(lines), &in_use, &e), &e);
	assert_int_equal(rename(to, from), 0);
	assert_int_equal(identity_holders_at("/nowhere", &t, lines, sizeof(lines), &in_use, &e),
		-ERR_NOT_FOUND);
}

/* ---- Files, by real tools ---- */

/* Run a tool with its output thrown away; false when it is not there. */
static bool run_tool(const char *const argv[])
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
		if (freopen("/dev/null", "w", stdout) == NULL ||
			freopen("/dev/null", "w", stderr) == NULL)
			_exit(127);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return false;
	assert_int_equal(status, 0);
	return true;
}

static void new_file(const char *path, uint64_t size)
{
	dev_helper_write_file(path, "", 0);
	assert_int_equal(truncate(path, (off_t)size), 0);
}

static struct identity identity_ok(struct dev *d)
{
	struct identity id;

	assert_ok(identity_of(d, &id, &e), &e);
	return id;
}

static void test_file_with_ext4(void **state)
{
	const char *path = dev_helper_path("fs.img");
	const char *const mkfs[] = { "mkfs.ext4", "-q", "-L", "my label", "-U",
		"12345678-1234-1234-1234-123456789abc", path, NULL };
	unsigned flags[] = { 0, DEV_DIRECT };

	(void)state;
	new_file(path, 8 * MIB + 512);
	if (!run_tool(mkfs))
		skip();
	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		struct dev *d;
		struct dev *s;
		struct identity id;

		assert_ok(dev_open(path, flags[i], &d, &e), &e);
		id = identity_ok(d);
		assert_string_equal(id.path, path);
		assert_string_equal(id.kind, "file");
		assert_string_equal(id.name, "");
		assert_string_equal(id.fs_type, "ext4");
		assert_string_equal(id.fs_label, "my label");
		assert_string_equal(id.fs_uuid, "12345678-1234-1234-1234-123456789abc");
		assert_string_equal(id.part_table, "");
		assert_int_equal(id.size_bytes, 8 * MIB + 512);
		/* A window that begins elsewhere has nothing. */
		assert_ok(dev_open_slice(d, 4096, 4 * MIB, &s, &e), &e);
		assert_string_equal(identity_ok(s).fs_type, "");
		dev_close(s);
		dev_close(d);
	}
}

/* Two file systems in one place: nobody can say which. */
static void test_ambivalent(void **state)
{
	const char *path = dev_helper_path("two.img");
	const char *const btrfs[] = { "mkfs.btrfs", "-q", path, NULL };
	const char *const ext[] = { "mkfs.ext4", "-q", "-F", path, NULL };
	uint8_t super[4096];
	struct dev *d;

	(void)state;
	new_file(path, 128 * MIB);
	if (!run_tool(btrfs))
		skip();
	assert_ok(dev_open(path, DEV_WRITE, &d, &e), &e);
	assert_string_equal(identity_ok(d).fs_type, "btrfs");
	assert_ok(dev_read(d, 65536, super, sizeof(super), &e), &e);
	assert_true(run_tool(ext));
	assert_ok(dev_zero(d, 65536, sizeof(super), &e), &e);
	assert_string_equal(identity_ok(d).fs_type, "ext4");
	assert_ok(dev_write(d, 65536, super, sizeof(super), &e), &e);
	assert_string_equal(identity_ok(d).fs_type, "");
	assert_string_equal(identity_ok(d).fs_uuid, "");
	dev_close(d);
}

static bool partition_file(const char *path, const char *label, const char *sector)
{
	char script[600];
	const char *const argv[] = { "sh", "-c", script, NULL };
	const char *const probe[] = { "sfdisk", "--version", NULL };

	if (!run_tool(probe))
		return false;
	snprintf(script, sizeof(script),
		"printf 'label: %s\\nlabel-id: %s\\nstart=1MiB, size=2MiB\\n' |"
		" sfdisk %s '%s'",
		label,
		strcmp(label, "gpt") == 0 ? "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE" : "0x1234abcd",
		sector, path);
	return run_tool(argv);
}

static void test_file_with_table(void **state)
{
	const char *path = dev_helper_path("disk.img");
	struct identity id;
	struct dev *d;

	(void)state;
	new_file(path, 8 * MIB);
	if (!partition_file(path, "gpt", ""))
		skip();
	assert_ok(dev_open(path, 0, &d, &e), &e);
	id = identity_ok(d);
	assert_string_equal(id.part_table, "gpt");
	assert_string_equal(id.disk_id, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
	assert_string_equal(id.fs_type, "");
	dev_close(d);
	new_file(path, 8 * MIB);
	assert_true(partition_file(path, "dos", ""));
	assert_ok(dev_open(path, 0, &d, &e), &e);
	id = identity_ok(d);
	assert_string_equal(id.part_table, "dos");
	assert_string_equal(id.disk_id, "1234abcd");
	dev_close(d);
}

static void test_no_descriptor(void **state)
{
	struct dev *d;
	struct identity id;
	bool in_use = true;

	(void)state;
	assert_ok(dev_open_mem(NULL, 5000, &d, &e), &e);
	id = identity_ok(d);
	assert_string_equal(id.path, "memory");
	assert_int_equal(id.size_bytes, 5000);
	assert_int_equal(id.logical_bytes, 512);
	assert_ok(identity_holders(d, lines, sizeof(lines), &in_use, &e), &e);
	assert_false(in_use);
	assert_string_equal(lines, "");
	dev_close(d);
}

/* ---- This machine ---- */

/* Whatever is here: the list is what lsblk would show, and asking about a file works. */
static void test_here(void **state)
{
	struct identity *list;
	size_t count;
	struct dev *d;
	bool in_use = true;

	(void)state;
	if (access("/sys/class/block", R_OK) != 0)
		skip();
	assert_ok(identity_list(&list, &count, &e), &e);
	for (size_t i = 0; i < count; i++) {
		assert_true(list[i].size_bytes > 0);
		assert_int_equal(list[i].logical_bytes % 512, 0);
		assert_true(list[i].logical_bytes >= 512);
		assert_true(i == 0 || sys_compare(list[i - 1].name, list[i].name) < 0);
	}
	free(list);
	dev_helper_write_file(dev_helper_path("plain"), "x", 1);
	assert_ok(dev_open(dev_helper_path("plain"), 0, &d, &e), &e);
	assert_ok(identity_holders(d, lines, sizeof(lines), &in_use, &e), &e);
	assert_false(in_use);
	assert_string_equal(lines, "");
	dev_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_facts_of_disks),
		cmocka_unit_test(test_facts_of_partitions),
		cmocka_unit_test(test_udev_content),
		cmocka_unit_test(test_vpd_damaged),
		cmocka_unit_test(test_r5_system_disk),
		cmocka_unit_test(test_r5_stacks),
		cmocka_unit_test(test_r5_loops),
		cmocka_unit_test(test_r5_reaches),
		cmocka_unit_test(test_holders_room),
		cmocka_unit_test(test_holders_blind),
		cmocka_unit_test(test_file_with_ext4),
		cmocka_unit_test(test_ambivalent),
		cmocka_unit_test(test_file_with_table),
		cmocka_unit_test(test_no_descriptor),
		cmocka_unit_test(test_here),
	};

	return cmocka_run_group_tests(tests, setup, dev_helper_teardown);
}
