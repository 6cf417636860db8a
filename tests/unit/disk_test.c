/*
 * Partition tables made by sfdisk, fdisk and sgdisk in files, and what we read of them against what
 * these say; then tables that lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "disk/disk.h"
#include "ext_helper.h"

#define SECTOR 512
#define ENTRY(i) (446 + 16 * (i)) /* of an MBR */

static const char *const gpt_script = "label: gpt\n"
				      "size=10M, name=\"first\", attrs=\"RequiredPartition "
				      "GUID:63\"\n"
				      "start=40M, size=5M, type=swap\n"
				      "start=20M, size=3M, type=U, name=\"ESP\"\n";

static const char *const mbr_script = "label: dos\nlabel-id: 0xdeadbeef\n"
				      "size=10M, type=7, bootable\n"
				      "size=3M\n"
				      "size=36M, type=f\n"
				      "start=56M, size=2M, type=c\n"
				      "start=20M, size=4M\n"
				      "start=25M, size=4M, type=82\n"
				      "start=35M, size=2M\n";

static struct dev *open_disk(const char *name, uint32_t sector_bytes)
{
	struct dev *d = ext_open(name);
	struct err e;

	assert_int_equal(dev_set_sector_bytes(d, sector_bytes, &e), 0);
	return d;
}

static struct disk *must_read(const char *name, uint32_t sector_bytes)
{
	struct dev *d = open_disk(name, sector_bytes);
	struct disk *disk = NULL;
	struct err e = { 0 };

	if (disk_read(d, &disk, &e) < 0)
		fail_msg("%s", e.msg);
	dev_close(d);
	assert_non_null(disk);
	return disk;
}

/* A table that is refused, with these words in the message. */
static void must_refuse(const char *name, const char *words)
{
	struct dev *d = open_disk(name, SECTOR);
	struct disk *disk = NULL;
	struct err e = { 0 };

	assert_int_equal(disk_read(d, &disk, &e), -ERR_REFUSED);
	assert_null(disk);
	if (strstr(e.msg, words) == NULL)
		fail_msg("no '%s' in: %s", words, e.msg);
	dev_close(d);
}

static enum disk_table kind_of(const char *name)
{
	struct disk *disk = must_read(name, SECTOR);
	enum disk_table table = disk->table;

	free(disk);
	return table;
}

/* fdisk takes a sector size, which sfdisk does not; it reads and writes sfdisk's scripts. */
static void make(const char *name, const char *size, uint32_t sector_bytes, const char *script)
{
	ext_must("rm -f %s && truncate -s %s %s && cat > script <<'END'\n%sEND\n"
		 "printf 'I\\nscript\\nw\\n' | fdisk -b %u %s",
		name, size, name, script, sector_bytes, name);
}

/* Lines of `fdisk`'s dump: index, start, size, type, and the rest as it stands; sorted by start. */
static void dumped(const char *name, uint32_t sector_bytes, char *out, size_t len)
{
	int status = ext_sh(out, len,
		"rm -f dump; printf 'O\\ndump\\nq\\n' | fdisk -b %u %s >/dev/null 2>&1; "
		"sed -nE 's/^[^ ]*[^0-9 ]([0-9]+) : start= *([0-9]+), size= *([0-9]+), "
		"type=([^,]*)(.*)$/\\1 \\2 \\3 \\4\\5/p' dump | sort -n -k2",
		sector_bytes, name);

	assert_int_equal(status, 0);
	assert_true(strlen(out) > 0);
}

static void upper(char *s)
{
	for (; *s != '\0'; s++)
		if (*s >= 'a' && *s <= 'z')
			*s = (char)(*s - 'a' + 'A');
}

/* The same lines of what we read; names and attributes are looked at apart. */
static void rendered(const struct disk *disk, char *out, size_t len)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < disk->part_count; i++) {
		struct disk_part p = disk->parts[i];

		upper(p.guid);
		if (disk->table == DISK_GPT)
			upper(p.type);
		n += (size_t)snprintf(out + n, len - n, "%u %llu %llu %s", p.index,
			(unsigned long long)(p.start_bytes / disk->sector_bytes),
			(unsigned long long)(p.size_bytes / disk->sector_bytes),
			disk->table == DISK_GPT ? p.type : p.type + 2);
		if (p.guid[0] != '\0')
			n += (size_t)snprintf(out + n, len - n, ", uuid=%s", p.guid);
		if (p.name[0] != '\0')
			n += (size_t)snprintf(out + n, len - n, ", name=\"%s\"", p.name);
		if (p.attributes != 0)
			n += (size_t)snprintf(out + n, len - n,
				", attrs=\"RequiredPartition GUID:63\"");
		n += (size_t)snprintf(out + n, len - n, "%s\n", p.active ? ", bootable" : "");
	}
}

static void compare(const char *script, uint32_t sector_bytes, enum disk_table table)
{
	char ours[4096], theirs[4096];
	struct disk *disk;

	make("disk", "64M", sector_bytes, script);
	disk = must_read("disk", sector_bytes);
	dumped("disk", sector_bytes, theirs, sizeof(theirs));
	rendered(disk, ours, sizeof(ours));
	assert_string_equal(ours, theirs);
	assert_int_equal(disk->table, table);
	assert_string_equal(disk->note, "");
	assert_int_equal(disk->size_bytes, 64 * MIB);
	free(disk);
}

static void test_gpt_is_what_fdisk_says(void **state)
{
	(void)state;
	compare(gpt_script, 512, DISK_GPT);
	compare(gpt_script, 4096, DISK_GPT);
}

static void test_mbr_is_what_fdisk_says(void **state)
{
	(void)state;
	compare(mbr_script, 512, DISK_MBR);
	compare(mbr_script, 4096, DISK_MBR);
}

static void test_json_of_sfdisk(void **state)
{
	char text[256];
	struct disk *disk;

	(void)state;
	make("disk", "64M", SECTOR, gpt_script);
	disk = must_read("disk", SECTOR);
	ext_sh(text, sizeof(text),
		"sfdisk --json disk | jq -r '.partitiontable | [(.id | ascii_downcase), "
		".firstlba * 512, (.lastlba + 1) * 512] | join(\" \")' | tr -d '\\n'");
	{
		char ours[256];

		snprintf(ours, sizeof(ours), "%s %llu %llu", disk->id,
			(unsigned long long)disk->first_usable_bytes,
			(unsigned long long)disk->end_usable_bytes);
		assert_string_equal(ours, text);
	}
	assert_true(disk->parts[0].attributes == (1ULL << 63 | 1));
	free(disk);
	make("disk", "64M", SECTOR, mbr_script);
	disk = must_read("disk", SECTOR);
	assert_string_equal(disk->id, "deadbeef");
	assert_true(disk->parts[0].active);
	assert_true(disk->parts[2].container && disk->parts[3].logical);
	assert_false(disk->parts[1].container || disk->parts[1].logical || disk->parts[1].active);
	free(disk);
}

static void test_names_of_sgdisk(void **state)
{
	static const char name[] = "\xc3\xbc\xe2\x82\xac \xf0\x9f\x92\xbe end";
	char text[512];
	struct disk *disk;

	(void)state;
	ext_must("rm -f disk; truncate -s 64M disk; LC_ALL=C.UTF-8 sgdisk -n 3:0:+4M -t 3:8200 "
		 "-c 3:'%s' -A 3:set:2 -A 3:set:60 disk",
		name);
	disk = must_read("disk", SECTOR);
	assert_int_equal(disk->part_count, 1);
	assert_int_equal(disk->parts[0].index, 3);
	assert_string_equal(disk->parts[0].name, name);
	assert_true(disk->parts[0].attributes == (1ULL << 60 | 4));
	ext_sh(text, sizeof(text),
		"LC_ALL=C.UTF-8 sgdisk -i 3 disk | sed -n 's/^Partition unique GUID: //p' | "
		"tr 'A-F\\n' 'a-f '");
	assert_memory_equal(text, disk->parts[0].guid, 36);
	free(disk);
}

/* ---- Copies ---- */

static void zero(const char *name, uint64_t off, size_t len)
{
	static const uint8_t zeros[64 * 1024];

	assert_true(len <= sizeof(zeros));
	ext_poke(name, off, zeros, len);
}

static void test_either_copy_will_do(void **state)
{
	char before[4096], after[4096];
	struct disk *disk;

	(void)state;
	make("disk", "64M", SECTOR, gpt_script);
	disk = must_read("disk", SECTOR);
	rendered(disk, before, sizeof(before));
	assert_true(disk->primary_valid && disk->backup_valid);
	free(disk);
	/* An entry of the primary: its array no longer has the header's checksum. */
	zero("disk", 2 * SECTOR + 56, 2);
	disk = must_read("disk", SECTOR);
	rendered(disk, after, sizeof(after));
	assert_string_equal(before, after);
	assert_true(!disk->primary_valid && disk->backup_valid);
	assert_non_null(strstr(disk->note, "primary GPT is damaged"));
	free(disk);
	zero("disk", 64 * MIB - SECTOR, 8);
	must_refuse("disk", "both of its copies are damaged");
	make("disk", "64M", SECTOR, gpt_script);
	zero("disk", 64 * MIB - SECTOR, 8);
	disk = must_read("disk", SECTOR);
	assert_true(disk->primary_valid && !disk->backup_valid);
	assert_non_null(strstr(disk->note, "backup GPT is damaged"));
	free(disk);
}

static void test_copies_that_differ(void **state)
{
	struct disk *disk;

	(void)state;
	make("old", "64M", SECTOR, gpt_script);
	make("disk", "64M", SECTOR, gpt_script);
	/* The backup of another table, whole in itself. */
	ext_must("dd if=old of=disk bs=512 skip=131039 seek=131039 conv=notrunc");
	disk = must_read("disk", SECTOR);
	assert_non_null(strstr(disk->note, "differ"));
	free(disk);
	make("disk", "64M", SECTOR, gpt_script);
	ext_must("truncate -s 80M disk");
	disk = must_read("disk", SECTOR);
	assert_true(disk->backup_valid);
	assert_non_null(strstr(disk->note, "not at the end"));
	free(disk);
}

/* The known trap: the sector size of a file has to be said. */
static void test_wrong_sector_size(void **state)
{
	(void)state;
	make("disk", "64M", 4096, gpt_script);
	must_refuse("disk", "sectors of 4096 bytes");
}

/* ---- No table ---- */

static void test_no_table(void **state)
{
	(void)state;
	ext_must("rm -f none; truncate -s 64M none");
	assert_int_equal(kind_of("none"), DISK_NONE);
	ext_must("truncate -s 100 short");
	assert_int_equal(kind_of("short"), DISK_NONE);
	ext_must("mkfs.ext4 -q -F none");
	assert_int_equal(kind_of("none"), DISK_NONE);
	/* Boot sectors with the signature of an MBR. */
	ext_must("rm -f none; truncate -s 64M none; mkfs.fat -F 32 none");
	assert_int_equal(kind_of("none"), DISK_NONE);
	ext_must("rm -f none; truncate -s 8M none; mkfs.fat -F 12 none");
	assert_int_equal(kind_of("none"), DISK_NONE);
	ext_must("rm -f none; truncate -s 64M none; mkntfs -q -F -Q -s 512 -p 0 -H 16 -S 63 none");
	assert_int_equal(kind_of("none"), DISK_NONE);
	/* The type of a protective entry by chance, in the boot code. */
	ext_poke("none", 450, "\xee", 1);
	assert_int_equal(kind_of("none"), DISK_NONE);
	/* Boot code without an entry: what follows is not known, so it is no table. */
	ext_must("rm -f none; truncate -s 64M none; "
		 "printf '\\125\\252' | dd of=none bs=1 seek=510 conv=notrunc");
	assert_int_equal(kind_of("none"), DISK_NONE);
}

/* ---- Hostile tables ---- */

static void poke_entry(const char *name, unsigned i, uint8_t type, uint32_t first, uint32_t count)
{
	uint8_t entry[16] = { 0 };

	entry[4] = type;
	put_le32(entry + 8, first);
	put_le32(entry + 12, count);
	ext_poke(name, ENTRY(i), entry, sizeof(entry));
}

static void test_hostile_mbr(void **state)
{
	(void)state;
	make("disk", "64M", SECTOR, mbr_script);
	poke_entry("disk", 1, 0x83, 2048, 100);
	must_refuse("disk", "overlaps partition 1");
	make("disk", "64M", SECTOR, mbr_script);
	poke_entry("disk", 1, 0x83, 131072, 1);
	must_refuse("disk", "partition 2 (at 67108864, 512 bytes) lies outside the disk");
	make("disk", "64M", SECTOR, mbr_script);
	poke_entry("disk", 1, 0x83, UINT32_MAX, UINT32_MAX);
	must_refuse("disk", "partition 2");
	make("disk", "64M", SECTOR, mbr_script);
	poke_entry("disk", 1, 0x83, 0, 1);
	must_refuse("disk", "partition 2 (at 0, 512 bytes) overlaps the partition table");
	make("disk", "64M", SECTOR, mbr_script);
	poke_entry("disk", 1, 0x05, 126976, 100);
	must_refuse("disk", "second extended partition");
	/* A primary one inside the extended one. */
	make("disk", "64M", SECTOR, mbr_script);
	poke_entry("disk", 1, 0x83, 18 * 2048, 100);
	must_refuse("disk", "overlaps partition 3");
}

/* Sector of the first EBR: the start of the extended partition. */
static uint64_t ebr_of(const char *name)
{
	uint8_t first[4];

	ext_peek(name, ENTRY(2) + 8, first, sizeof(first));
	return get_le32(first);
}

static void poke_ebr(unsigned slot, uint8_t type, uint32_t first, uint32_t count)
{
	uint8_t entry[16] = { 0 };

	make("disk", "64M", SECTOR, mbr_script);
	entry[4] = type;
	put_le32(entry + 8, first);
	put_le32(entry + 12, count);
	ext_poke("disk", ebr_of("disk") * SECTOR + ENTRY(slot), entry, sizeof(entry));
}

static void test_hostile_chain(void **state)
{
	(void)state;
	poke_ebr(1, 0x05, 0, 100); /* itself */
	must_refuse("disk", "comes back");
	poke_ebr(1, 0x05, 36 * 2048, 100); /* past its end */
	must_refuse("disk", "partition 6: its table");
	poke_ebr(1, 0x05, 1, 100); /* no table there */
	must_refuse("disk", "no table at sector");
	poke_ebr(0, 0x83, 0, 2048); /* a partition on its own table */
	must_refuse("disk", "partition 5");
	poke_ebr(0, 0x83, 2048, UINT32_MAX);
	must_refuse("disk", "partition 5");
	/* What one reader takes and another leaves out. */
	poke_ebr(2, 0x83, 5 * 2048, 100);
	must_refuse("disk", "has a second logical partition");
	poke_ebr(3, 0x0F, 5 * 2048, 100);
	must_refuse("disk", "has a second link");
}

/* Every link goes one sector on: a chain that is longer than any table. */
static void test_endless_chain(void **state)
{
	uint64_t ebr;

	(void)state;
	make("disk", "64M", SECTOR, mbr_script);
	ebr = ebr_of("disk");
	for (uint32_t i = 0; i < 400; i++) {
		uint8_t sector[SECTOR] = { 0 };

		sector[ENTRY(1) + 4] = 0x05;
		put_le32(sector + ENTRY(1) + 8, i + 1);
		put_le32(sector + ENTRY(1) + 12, 1);
		put_le16(sector + 510, 0xAA55);
		ext_poke("disk", (ebr + i) * SECTOR, sector, sizeof(sector));
	}
	must_refuse("disk", "more than");
}

static uint32_t crc32_slow(const uint8_t *p, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len * 8; i++) {
		uint32_t bit = (crc ^ (uint32_t)(p[i / 8] >> (i % 8))) & 1;

		crc = crc >> 1 ^ (bit ? 0xEDB88320U : 0);
	}
	return ~crc;
}

/* Change bytes of the primary's array (or header), with checksums that are right again. */
static void poke_gpt(uint64_t off, const void *bytes, size_t len)
{
	uint8_t header[92], *entries = malloc(128 * 128);

	make("disk", "64M", SECTOR, gpt_script);
	zero("disk", 64 * MIB - SECTOR, 8); /* the backup would save it */
	ext_poke("disk", off, bytes, len);
	ext_peek("disk", 2 * SECTOR, entries, 128 * 128);
	ext_peek("disk", SECTOR, header, sizeof(header));
	put_le32(header + 88, crc32_slow(entries, 128 * 128));
	put_le32(header + 16, 0);
	put_le32(header + 16, crc32_slow(header, sizeof(header)));
	ext_poke("disk", SECTOR, header, sizeof(header));
	free(entries);
}

static void poke_gpt64(uint64_t off, uint64_t value)
{
	uint8_t bytes[8];

	put_le64(bytes, value);
	poke_gpt(off, bytes, sizeof(bytes));
}

static void test_hostile_gpt(void **state)
{
	const uint64_t entry = 2 * SECTOR;

	(void)state;
	poke_gpt64(entry + 40, 1000000); /* last sector */
	must_refuse("disk", "partition 1 (sectors 2048 to 1000000) lies outside");
	poke_gpt64(entry + 40, 2047);
	must_refuse("disk", "partition 1");
	poke_gpt64(entry + 32, 3);
	must_refuse("disk", "partition 1");
	poke_gpt64(entry + 128 + 32, 41000); /* the second begins in the third */
	must_refuse("disk", "overlaps partition");
	poke_gpt64(entry + 32, UINT64_MAX);
	must_refuse("disk", "partition 1");
	poke_gpt64(SECTOR + 72, UINT64_MAX / 2); /* where the array is */
	must_refuse("disk", "both of its copies");
	poke_gpt64(SECTOR + 80, UINT64_MAX); /* how many entries of what size */
	must_refuse("disk", "both of its copies");
	poke_gpt64(SECTOR + 80, (uint64_t)64 << 32 | 128);
	must_refuse("disk", "both of its copies");
	poke_gpt64(SECTOR + 48, 131072); /* last usable sector */
	must_refuse("disk", "both of its copies");
	/* Usable from sector 2 on: a partition may then lie on the array. */
	poke_gpt64(SECTOR + 40, 2);
	{
		struct disk *disk = must_read("disk", SECTOR);

		assert_int_equal(disk->part_count, 3);
		free(disk);
	}
}

/* Whatever the sectors hold, it is a table that makes sense or a refusal. */
static void test_random_tables(void **state)
{
	uint64_t seed = 20261127;
	unsigned refused = 0;

	(void)state;
	for (unsigned round = 0; round < 400; round++) {
		uint8_t *bytes = calloc(1, 64 * KIB);
		struct disk *disk = NULL;
		struct dev *d;
		struct err e = { 0 };

		for (size_t i = 0; i < 64 * KIB; i += 1 + seed % 7) {
			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			bytes[i] = (uint8_t)(seed >> 56);
		}
		for (size_t at = 0; at < 64 * KIB; at += SECTOR)
			put_le16(bytes + at + 510, 0xAA55);
		for (unsigned i = 0; i < 4; i++) {
			uint8_t *p = bytes + ENTRY(i);

			p[0] = 0;
			p[4] = round % 2 ? 5 : p[4];
			put_le32(p + 8, p[8] % 128 + round % 3 * p[9]);
			put_le32(p + 12, p[12] % 64);
		}
		if (round % 5 == 0)
			memcpy(bytes + SECTOR, "EFI PART", 8), bytes[ENTRY(0) + 4] = 0xEE;
		assert_int_equal(dev_open_mem(bytes, 64 * KIB, &d, &e), 0);
		if (disk_read(d, &disk, &e) < 0)
			refused++;
		for (size_t i = 0; disk && i < disk->part_count; i++)
			assert_true(range_inside(disk->parts[i].start_bytes,
				disk->parts[i].size_bytes, 64 * KIB));
		free(disk);
		dev_close(d);
		free(bytes);
	}
	assert_in_range(refused, 100, 400);
}

static void test_sector_size_is_checked(void **state)
{
	struct dev *d;
	struct err e;

	(void)state;
	assert_int_equal(dev_open_mem(NULL, 4096, &d, &e), 0);
	assert_int_equal(dev_set_sector_bytes(d, 1000, &e), -ERR_USAGE);
	assert_int_equal(dev_set_sector_bytes(d, 256, &e), -ERR_USAGE);
	assert_int_equal(dev_set_sector_bytes(d, 131072, &e), -ERR_USAGE);
	assert_int_equal(dev_info(d)->logical_bytes, 512);
	dev_close(d);
}

int main(void)
{
	static const char *const tools[] = { "fdisk", "sfdisk", "sgdisk", "jq", "mkfs.fat",
		"mkntfs", "mkfs.ext4", NULL };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gpt_is_what_fdisk_says),
		cmocka_unit_test(test_mbr_is_what_fdisk_says),
		cmocka_unit_test(test_json_of_sfdisk),
		cmocka_unit_test(test_names_of_sgdisk),
		cmocka_unit_test(test_either_copy_will_do),
		cmocka_unit_test(test_copies_that_differ),
		cmocka_unit_test(test_wrong_sector_size),
		cmocka_unit_test(test_no_table),
		cmocka_unit_test(test_hostile_mbr),
		cmocka_unit_test(test_hostile_chain),
		cmocka_unit_test(test_endless_chain),
		cmocka_unit_test(test_hostile_gpt),
		cmocka_unit_test(test_random_tables),
		cmocka_unit_test(test_sector_size_is_checked),
	};

	ext_setup(tools);
	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
