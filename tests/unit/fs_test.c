/*
 * Probing, and what holds for every file system: a device is imaged whole, with the reason, unless
 * exactly one thing is on it that we can map. Contents come from the tools that make them; each is
 * probed through a descriptor and through a device without one, and the answers must be the same.
 */
#include <libfdisk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "ext_helper.h"
#include "fs/fs_ops.h"

/* A device without a descriptor over the file: libblkid then reads a stand-in. */
static struct map *map_without_descriptor(const char *name, struct fs_report *r)
{
	static const struct fault_plan none = { 0 };
	struct dev *file = ext_open(name), *d = NULL;
	uint64_t base;
	struct map *m;

	assert_int_equal(dev_open_fault(file, &none, &d, NULL), 0);
	assert_true(dev_fd(d, &base) < 0);
	m = ext_map_dev(d, r);
	dev_close(d);
	dev_close(file);
	return m;
}

/* O_DIRECT: libblkid's own reads would fail. */
static struct map *map_direct(const char *name, struct fs_report *r)
{
	struct dev *d = NULL;
	struct map *m;

	assert_int_equal(dev_open(ext_path(name), DEV_DIRECT, &d, NULL), 0);
	m = ext_map_dev(d, r);
	dev_close(d);
	return m;
}

/* The same by every way in; the report of the first. */
static void check_all_ways(const char *name, struct fs_report *r)
{
	struct map *(*const ways[])(const char *, struct fs_report *) = { map_without_descriptor,
		map_direct };
	struct map *m = ext_map_of(name, r);
	struct fs_report probed, other;
	struct dev *d = ext_open(name);

	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		struct map *m2 = ways[i](name, &other);

		assert_string_equal(other.reason, r->reason);
		assert_string_equal(other.type, r->type);
		assert_string_equal(other.uuid, r->uuid);
		assert_true(map_equal(m, m2));
		map_free(m2);
	}
	/* Probing alone knows as much, except what only the map's making finds. */
	assert_int_equal(fs_probe(d, &probed, NULL), 0);
	assert_string_equal(probed.type, r->type);
	assert_string_equal(probed.uuid, r->uuid);
	assert_false(probed.used_only);
	if (r->used_only)
		assert_string_equal(probed.reason, "");
	dev_close(d);
	map_free(m);
}

struct content {
	const char *make; /* of the file "dev", which is there as 32 MiB of zeros */
	const char *type;
	const char *reason; /* NULL: used only */
};

static const struct content contents[] = {
	{ ":", "", "no file system recognised" },
	{ "head -c 33554432 /dev/urandom >dev", "", "no file system recognised" },
	{ "mke2fs -q -t ext2 dev", "ext2", NULL },
	{ "mke2fs -q -t ext3 dev", "ext3", NULL },
	{ "mke2fs -q -t ext4 dev", "ext4", NULL },
	{ "mkntfs -q -F dev", "ntfs", NULL },
	{ "mkswap -q dev", "swap", NULL },
	{ "echo ',,L' | sfdisk -q -X dos dev", "", "partitioned disk (dos)" },
	{ "echo ',,L' | sfdisk -q -X gpt dev", "", "partitioned disk (gpt)" },
	{ "truncate -s 400M dev && mkfs.xfs -q dev", "xfs", NULL },
	{ "truncate -s 400M dev && mkfs.btrfs -q dev", "btrfs", NULL },
	{ "mkfs.vfat dev", "vfat", NULL },
	{ "mkfs.exfat dev", "exfat", NULL },
	{ "mke2fs -q -O journal_dev dev", "jbd", "journal of another file system" },
	/* LUKS1: magic and version. */
	{ "printf 'LUKS\\xba\\xbe\\x00\\x01' | dd of=dev conv=notrunc", "crypto_LUKS",
		"encrypted volume (LUKS)" },
	/* Linux RAID 1.0, its superblock 8 KiB before the end (LE magic, major version 1, own
	 * sector): the file system in front of it is that of the array, of which this is a part. */
	{ "mke2fs -q -t ext4 dev 31M && end=$((32 * 1024 * 1024 - 8192)) && "
	  "printf '\\xfc\\x4e\\x2b\\xa9\\x01\\x00\\x00\\x00' | "
	  "dd of=dev bs=1 seek=$end conv=notrunc && "
	  "printf '\\xf0\\xff' | dd of=dev bs=1 seek=$((end + 144)) conv=notrunc",
		"linux_raid_member", "member of a Linux RAID array" },
	/* BitLocker: the boot sector points to metadata 20 MiB away. */
	{ "put() { printf -- \"$2\" | dd of=dev bs=1 seek=$1 conv=notrunc; } && "
	  "put 0 '\\xeb\\x58\\x90-FVE-FS-' && put 510 '\\x55\\xaa' && "
	  "put 176 '\\x00\\x00\\x40\\x01' && put 20971520 '-FVE-FS-\\x00\\x02\\x02\\x00'",
		"BitLocker", "encrypted volume (BitLocker)" },
	/* Two file systems: what mke2fs leaves of a Btrfs is its superblock at 64 KiB. */
	{ "truncate -s 200M dev && mkfs.btrfs -q dev && dd if=dev of=sb bs=4096 skip=16 count=1 && "
	  "truncate -s 0 dev && truncate -s 200M dev && mke2fs -q -t ext4 dev && "
	  "dd if=sb of=dev bs=4096 seek=16 conv=notrunc",
		"", "more than one signature: ext4, btrfs" },
	/* A partition table in front of a file system. */
	{ "mke2fs -q -t ext4 dev && echo ',,L' | sfdisk -q -X dos --wipe never dev", "ext4",
		"more than one signature: ext4, dos partition table" },
	/* In an exFAT's boot sector; without the partition it is only the space for boot code. */
	{ "mkfs.exfat dev && echo ',,L' | sfdisk -q -X dos --wipe never dev", "exfat",
		"more than one signature: exfat, dos partition table" },
};

/* Those of the list that imgtool may learn to map: whether it can is not this test's concern. */
static bool may_be_mapped(const struct content *c)
{
	return !c->reason && strcmp(c->type, "ntfs") != 0 && strcmp(c->type, "swap") != 0 &&
		strstr(c->type, "fat") == NULL && strncmp(c->type, "ext", 3) != 0;
}

static void test_contents(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(contents); i++) {
		const struct content *c = &contents[i];
		struct fs_report r;

		ext_must("rm -f dev && truncate -s 32M dev && { %s; }", c->make);
		check_all_ways("dev", &r);
		if (strcmp(r.type, c->type) != 0)
			fail_msg("%s: the type is \"%s\", should be \"%s\"", c->make, r.type,
				c->type);
		if (c->reason && strcmp(r.reason, c->reason) != 0)
			fail_msg("%s: the reason is \"%s\", should be \"%s\"", c->make, r.reason,
				c->reason);
		if (!c->reason && !may_be_mapped(c) && !r.used_only)
			fail_msg("%s: all blocks, for \"%s\"", c->make, r.reason);
	}
}

/* A type without a row. */
static void test_unknown_type(void **state)
{
	struct fs_report r;

	(void)state;
	/* minix, version 1, 30 characters: its magic number and sane sizes at 1024. */
	ext_must("rm -f dev && truncate -s 1M dev && mkfs.minix -1 dev");
	check_all_ways("dev", &r);
	assert_string_equal(r.type, "minix");
	assert_string_equal(r.reason, "no allocation map for minix yet");
}

/* An NTFS whose first file record lies far behind what a stand-in copies on sight. */
static void test_far_ntfs_without_descriptor(void **state)
{
	static const struct fault_plan none = { 0 };
	struct dev *file, *d = NULL;
	struct fs_report r;
	uint8_t boot[512];
	uint64_t lcn;

	(void)state;
	ext_must("rm -f dev && truncate -s 64M dev && mkntfs -q -F -c 4096 dev");
	ext_peek("dev", 0, boot, sizeof(boot));
	lcn = get_le64(boot + 0x30);
	/* Moved to 40 MiB, which is no NTFS any more but all that libblkid looks at. */
	ext_must("dd if=dev of=dev bs=4096 skip=%u seek=10240 count=64 conv=notrunc && "
		 "dd if=/dev/zero of=dev bs=4096 seek=%u count=64 conv=notrunc",
		(unsigned)lcn, (unsigned)lcn);
	put_le64(boot + 0x30, 10240);
	ext_poke("dev", 0, boot, sizeof(boot));
	/* Only probed: to NTFS proper this is damage. */
	file = ext_open("dev");
	assert_int_equal(dev_open_fault(file, &none, &d, NULL), 0);
	assert_int_equal(fs_probe(d, &r, NULL), 0);
	assert_string_equal(r.type, "ntfs");
	assert_string_equal(r.reason, "");
	dev_close(d);
	dev_close(file);
}

static void test_empty_and_tiny_devices(void **state)
{
	(void)state;
	for (size_t len = 0; len < 5000; len += len < 20 ? 1 : 701) {
		struct fs_report r;
		struct dev *d = NULL;
		struct map *m;

		assert_int_equal(dev_open_mem(NULL, len, &d, NULL), 0);
		m = ext_map_dev(d, &r);
		assert_string_equal(r.reason,
			len ? "no file system recognised" : "the device is empty");
		map_free(m);
		dev_close(d);
	}
}

/* A disk with sectors of 4 KiB, in a file: the GPT begins at byte 4096. */
static void test_4kn_partition_table(void **state)
{
	static const struct fault_plan plan = { .logical_bytes = 4096 };
	struct fdisk_context *cxt = fdisk_new_context();
	struct dev *file, *d = NULL;
	struct fs_report r;

	(void)state;
	ext_must("rm -f dev && truncate -s 32M dev");
	assert_int_equal(fdisk_save_user_sector_size(cxt, 4096, 4096), 0);
	assert_int_equal(fdisk_assign_device(cxt, ext_path("dev"), 0), 0);
	assert_int_equal(fdisk_create_disklabel(cxt, "gpt"), 0);
	assert_int_equal(fdisk_write_disklabel(cxt), 0);
	assert_int_equal(fdisk_deassign_device(cxt, 0), 0);
	fdisk_unref_context(cxt);
	file = ext_open("dev");
	assert_int_equal(dev_open_fault(file, &plan, &d, NULL), 0);
	map_free(ext_map_dev(d, &r));
	assert_string_equal(r.reason, "partitioned disk (gpt)");
	dev_close(d);
	dev_close(file);
}

/* The table itself: no type in two rows, each row with a map or a reason. */
static void test_table(void **state)
{
	(void)state;
	for (const struct fs_ops *const *a = fs_table; *a; a++) {
		assert_true(((*a)->map != NULL) != ((*a)->reason != NULL));
		assert_non_null((*a)->types[0]);
		for (const char *const *t = (*a)->types; *t; t++)
			for (const struct fs_ops *const *b = fs_table; *b; b++)
				for (const char *const *u = (*b)->types; *u; u++)
					assert_true((a == b && t == u) || strcmp(*t, *u) != 0);
	}
}

static int setup(void **state)
{
	static const char *const tools[] = { "mke2fs", "mkntfs", "mkswap", "sfdisk", "mkfs.xfs",
		"mkfs.btrfs", "mkfs.vfat", "mkfs.exfat", "mkfs.minix", NULL };

	(void)state;
	/* Not in memory, where O_DIRECT knows no alignment. */
	setenv("TMPDIR", "/tmp", 0);
	ext_setup(tools);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_unknown_type),
		cmocka_unit_test(test_far_ntfs_without_descriptor),
		cmocka_unit_test(test_empty_and_tiny_devices),
		cmocka_unit_test(test_4kn_partition_table),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests_name("fs", tests, setup, NULL);
}
