/* Tables written: what nothing changed stays, what was moved holds for sgdisk and sfdisk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "disk/disk_edit.h"

#define SIZE (64 * MIB)

struct fixture {
	char path[64];
	struct dev *dev;
	uint64_t size;
};

static bool have(const char *tool)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", tool);
	return system(command) == 0;
}

/* A file of `size` bytes with the table that the sfdisk script says. */
static void setup(struct fixture *f, uint64_t size, const char *script)
{
	char command[2048];
	struct err e;
	int fd;

	if (!have("sfdisk") || !have("sgdisk"))
		skip();
	snprintf(f->path, sizeof(f->path), "/tmp/imgtool-test-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	snprintf(command, sizeof(command), "printf '%%b' '%s' | sfdisk -q %s", script, f->path);
	assert_int_equal(system(command), 0);
	if (dev_open(f->path, DEV_WRITE, &f->dev, &e) < 0)
		fail_msg("%s", e.msg);
	f->size = size;
}

static void teardown(struct fixture *f)
{
	dev_close(f->dev);
	unlink(f->path);
}

/* The output of a command about the file, its name taken out. */
static void ask(const struct fixture *f, const char *what, char *out, size_t len)
{
	char command[256];
	size_t n;
	FILE *p;

	snprintf(command, sizeof(command), "%s %s 2>&1 | sed 's,%s,FILE,g'", what, f->path,
		f->path);
	p = popen(command, "r");
	assert_non_null(p);
	n = fread(out, 1, len - 1, p);
	out[n] = '\0';
	assert_int_equal(pclose(p), 0);
}

static void assert_whole(const struct fixture *f, bool gpt)
{
	char out[4096];

	ask(f, "sfdisk --verify", out, sizeof(out));
	if (strstr(out, "No errors detected") == NULL)
		fail_msg("sfdisk --verify: %s", out);
	if (!gpt)
		return;
	ask(f, "sgdisk -v", out, sizeof(out));
	if (strstr(out, "No problems found") == NULL)
		fail_msg("sgdisk -v: %s", out);
}

/* The file's sectors of the table are cleared, its size changed, and the table written again. */
static void write_back(struct fixture *f, struct disk_edit *t, uint64_t size)
{
	uint8_t *zeros = calloc(1, MIB);
	struct err e;

	assert_int_equal(dev_write(f->dev, 0, zeros, MIB, &e), 0);
	assert_int_equal(dev_write(f->dev, f->size - MIB, zeros, MIB, &e), 0);
	assert_int_equal(dev_set_size(f->dev, size, &e), 0);
	dev_close(f->dev);
	if (dev_open(f->path, DEV_WRITE, &f->dev, &e) < 0)
		fail_msg("%s", e.msg);
	f->size = size;
	if (disk_edit_write(t, f->dev, &e) < 0)
		fail_msg("%s", e.msg);
	free(zeros);
}

static struct disk_edit *load(struct fixture *f)
{
	struct disk_edit *t = NULL;
	struct err e;

	if (disk_edit_load(f->dev, 512, &t, &e) < 0)
		fail_msg("%s", e.msg);
	return t;
}

static const char gpt_script[] =
	"label: gpt\\nlabel-id: 11111111-2222-3333-4444-555555555555\\n"
	"start=2048, size=8192, name=\"EFI system\", type=U, attrs=LegacyBIOSBootable\\n"
	"start=40960, size=20480, name=last, uuid=AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE\\n"
	"start=12288, size=8192, name=middle\\n";
static const char mbr_script[] = "label: dos\\nlabel-id: 0xdeadbeef\\n"
				 "start=2048, size=8192, type=83, bootable\\n"
				 "start=10240, size=71680, type=5\\n"
				 "start=12288, size=8192, type=83\\n"
				 "start=22528, size=8192, type=7\\n"
				 "start=32768, size=20480, type=83\\n";

/* Every byte of the table is in its areas, and comes back. */
static void same_again(const char *script, size_t areas)
{
	uint8_t *before = malloc(SIZE), *after = malloc(SIZE);
	struct disk_edit *t;
	struct fixture f;
	struct err e;

	setup(&f, SIZE, script);
	assert_int_equal(dev_read(f.dev, 0, before, SIZE, &e), 0);
	t = load(&f);
	assert_int_equal(disk_edit_area_count(t), areas);
	write_back(&f, t, SIZE);
	assert_int_equal(disk_edit_compare(t, f.dev, &e), 0);
	/* The records of logical partitions lie between them. */
	assert_int_equal(dev_read(f.dev, 0, after, SIZE, &e), 0);
	assert_memory_equal(before, after, SIZE);
	for (size_t i = 0; i < areas; i++) {
		struct disk_area a = disk_edit_area_at(t, i);
		uint8_t byte = (uint8_t)~before[a.off + a.len - 1];

		assert_int_equal(dev_write(f.dev, a.off + a.len - 1, &byte, 1, &e), 0);
		assert_int_equal(disk_edit_compare(t, f.dev, &e), -ERR_TARGET);
		assert_int_equal(dev_write(f.dev, a.off + a.len - 1, before + a.off + a.len - 1, 1,
					 &e),
			0);
	}
	disk_edit_free(t);
	teardown(&f);
	free(before);
	free(after);
}

static void test_gpt_same(void **state)
{
	(void)state;
	same_again(gpt_script, 5);
}

static void test_mbr_same(void **state)
{
	(void)state;
	same_again(mbr_script, 4);
}

/* On a larger disk the GPT's backup is at the end; partitions, names and GUIDs are the same. */
static void test_gpt_larger(void **state)
{
	static const uint64_t sizes[] = { SIZE + 512, 2 * SIZE, SIZE - 8 * MIB };
	char before[4096], after[4096];
	struct fixture f;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct disk_edit *t;

		setup(&f, SIZE, gpt_script);
		ask(&f, "sfdisk -d", before, sizeof(before));
		t = load(&f);
		assert_int_equal(disk_edit_fit(t, sizes[i], &e), 0);
		write_back(&f, t, sizes[i]);
		assert_whole(&f, true);
		ask(&f, "sfdisk -d", after, sizeof(after));
		/* All but the line of what is usable. */
		assert_string_equal(strstr(before, "sector-size"), strstr(after, "sector-size"));
		assert_non_null(strstr(after, "LegacyBIOSBootable"));
		disk_edit_free(t);
		teardown(&f);
	}
}

/* Refused with the numbers, and nothing is written by it. */
static void test_too_small(void **state)
{
	struct disk_edit *t;
	struct fixture f;
	struct err e;

	(void)state;
	setup(&f, SIZE, gpt_script);
	t = load(&f);
	assert_int_equal(disk_edit_fit(t, 61440 * 512 + 32 * 512, &e), -ERR_REFUSED);
	assert_non_null(strstr(e.msg, "partition 2 ends at sector 61439"));
	assert_int_equal(disk_edit_fit(t, 61440 * 512 + 33 * 512, &e), 0);
	assert_int_equal(disk_edit_fit(t, 4096, &e), -ERR_REFUSED);
	disk_edit_free(t);
	teardown(&f);
	setup(&f, SIZE, mbr_script);
	t = load(&f);
	assert_int_equal(disk_edit_fit(t, 81919 * 512, &e), -ERR_REFUSED);
	assert_int_equal(disk_edit_fit(t, 81920 * 512, &e), 0);
	disk_edit_free(t);
	teardown(&f);
}

/* A copy of the GPT that is not whole is made from the other one. */
static void test_gpt_one_copy(void **state)
{
	static const uint8_t junk[4] = { 1, 2, 3, 4 };
	struct disk_edit *t;
	struct fixture f;
	struct err e;

	(void)state;
	for (int copy = 0; copy < 2; copy++) {
		setup(&f, SIZE, gpt_script);
		assert_int_equal(dev_write(f.dev, copy == 0 ? 512 + 60 : SIZE - 512 + 60, junk,
					 sizeof(junk), &e),
			0);
		t = load(&f);
		assert_int_equal(disk_edit_fit(t, 2 * SIZE, &e), 0);
		write_back(&f, t, 2 * SIZE);
		assert_whole(&f, true);
		disk_edit_free(t);
		teardown(&f);
	}
	setup(&f, SIZE, gpt_script);
	assert_int_equal(dev_write(f.dev, 512 + 60, junk, sizeof(junk), &e), 0);
	assert_int_equal(dev_write(f.dev, SIZE - 512 + 60, junk, sizeof(junk), &e), 0);
	t = load(&f);
	assert_int_equal(disk_edit_fit(t, 2 * SIZE, &e), -ERR_DAMAGED);
	assert_int_equal(disk_edit_new_ids(t, &e), -ERR_DAMAGED);
	disk_edit_free(t);
	teardown(&f);
}

/*
 * A disk that is shorter than its table knows, its last partition where the backup would be: the
 * backup is no part of the table, until a larger disk has room for it.
 */
static void test_gpt_shorter(void **state)
{
	const uint64_t end = SIZE - 33 * 512; /* the first byte behind the last partition */
	struct disk_edit *t;
	struct fixture f;
	struct err e;

	(void)state;
	setup(&f, SIZE, "label: gpt\\nstart=1M, size=2M\\nstart=8192, size=122847\\n");
	assert_int_equal(truncate(f.path, SIZE - 4096), 0);
	dev_close(f.dev);
	assert_int_equal(dev_open(f.path, DEV_WRITE, &f.dev, &e), 0);
	t = load(&f);
	assert_int_equal(disk_edit_area_count(t), 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(disk_edit_area_at(t, i).off < 34 * 512);
	assert_int_equal(disk_edit_write(t, f.dev, &e), 0);
	assert_int_equal(disk_edit_compare(t, f.dev, &e), 0);
	assert_int_equal(disk_edit_new_ids(t, &e), -ERR_REFUSED);
	assert_non_null(strstr(e.msg, "partition 2 ends at sector"));
	disk_edit_free(t);
	t = load(&f);
	assert_int_equal(disk_edit_fit(t, end + 32 * 512, &e), -ERR_REFUSED);
	assert_int_equal(disk_edit_fit(t, end + 33 * 512, &e), 0);
	assert_int_equal(disk_edit_area_count(t), 5);
	write_back(&f, t, end + 33 * 512);
	assert_whole(&f, true);
	disk_edit_free(t);
	teardown(&f);
}

static void test_gpt_new_ids(void **state)
{
	char before[4096], after[4096];
	struct disk_edit *t;
	struct fixture f;
	struct err e;

	(void)state;
	setup(&f, SIZE, gpt_script);
	ask(&f, "sfdisk -d", before, sizeof(before));
	t = load(&f);
	assert_int_equal(disk_edit_new_ids(t, &e), 0);
	write_back(&f, t, SIZE);
	assert_whole(&f, true);
	ask(&f, "sfdisk -d", after, sizeof(after));
	assert_null(strstr(after, "11111111-2222"));
	assert_null(strstr(after, "AAAAAAAA-BBBB"));
	assert_non_null(strstr(after, "name=\"EFI system\""));
	assert_non_null(strstr(after, "LegacyBIOSBootable"));
	disk_edit_free(t);
	teardown(&f);

	setup(&f, SIZE, mbr_script);
	t = load(&f);
	assert_int_equal(disk_edit_new_ids(t, &e), 0);
	write_back(&f, t, SIZE);
	assert_whole(&f, false);
	ask(&f, "sfdisk -d", after, sizeof(after));
	assert_null(strstr(after, "0xdeadbeef"));
	assert_non_null(strstr(after, "bootable"));
	disk_edit_free(t);
	teardown(&f);
}

static void test_grow_last(void **state)
{
	struct disk_grown g;
	struct disk_edit *t;
	char after[4096];
	struct fixture f;
	struct err e;

	(void)state;
	setup(&f, SIZE, gpt_script);
	t = load(&f);
	assert_int_equal(disk_edit_fit(t, 2 * SIZE, &e), 0);
	assert_int_equal(disk_edit_grow_last(t, &g, &e), 0);
	assert_int_equal(g.start_bytes, 40960 * 512);
	assert_int_equal(g.old_bytes, 20480 * 512);
	assert_int_equal(g.start_bytes + g.new_bytes, 2 * SIZE - MIB);
	write_back(&f, t, 2 * SIZE);
	assert_whole(&f, true);
	ask(&f, "sfdisk -d", after, sizeof(after));
	assert_non_null(strstr(after, "start=       40960, size=      219136"));
	disk_edit_free(t);
	teardown(&f);

	/* A logical partition, and all that holds it. */
	setup(&f, SIZE, mbr_script);
	t = load(&f);
	assert_int_equal(disk_edit_fit(t, 2 * SIZE, &e), 0);
	assert_int_equal(disk_edit_grow_last(t, &g, &e), 0);
	assert_int_equal(g.start_bytes, 32768 * 512);
	assert_int_equal(g.start_bytes + g.new_bytes, 2 * SIZE);
	write_back(&f, t, 2 * SIZE);
	assert_whole(&f, false);
	ask(&f, "sfdisk -d", after, sizeof(after));
	assert_non_null(strstr(after, "start=       32768, size=      229376"));
	assert_non_null(strstr(after, "start=       10240, size=      251904"));
	assert_non_null(strstr(after, "start=       22528, size=        8192"));
	disk_edit_free(t);
	teardown(&f);

	/* What has an extended partition behind it can't grow. */
	setup(&f, SIZE,
		"label: dos\\nstart=2048, size=8192, type=83\\nstart=20480, size=20480, type=5\\n");
	t = load(&f);
	assert_int_equal(disk_edit_grow_last(t, &g, &e), 0);
	assert_int_equal(g.new_bytes, g.old_bytes);
	disk_edit_free(t);
	teardown(&f);
}

/* A hybrid MBR stays; so does boot code, and a protective MBR gets the size of its disk. */
static void test_protective(void **state)
{
	uint8_t sector[512], hybrid[512];
	struct disk_edit *t;
	struct fixture f;
	struct err e;

	(void)state;
	setup(&f, SIZE, gpt_script);
	assert_int_equal(dev_write(f.dev, 0, "boot code", 9, &e), 0);
	t = load(&f);
	assert_int_equal(disk_edit_fit(t, 2 * SIZE, &e), 0);
	write_back(&f, t, 2 * SIZE);
	disk_edit_free(t);
	assert_int_equal(dev_read(f.dev, 0, sector, 512, &e), 0);
	assert_memory_equal(sector, "boot code", 9);
	assert_int_equal(get_le32(sector + 446 + 12), 2 * SIZE / 512 - 1);

	memcpy(hybrid, sector, 512);
	memcpy(hybrid + 446 + 16,
		"\x80\x01\x02\x03\x0c\x04\x05\x06\x00\x08\x00\x00\x00\x20\x00\x00", 16);
	assert_int_equal(dev_write(f.dev, 0, hybrid, 512, &e), 0);
	t = load(&f);
	assert_int_equal(disk_edit_fit(t, 4 * SIZE, &e), 0);
	write_back(&f, t, 4 * SIZE);
	disk_edit_free(t);
	assert_int_equal(dev_read(f.dev, 0, sector, 512, &e), 0);
	assert_memory_equal(sector, hybrid, 512);
	teardown(&f);
}

/* Chains of extended records that loop or leave the disk are refused. */
static void test_hostile_chain(void **state)
{
	uint8_t sector[512];
	struct disk_edit *t = NULL;
	struct fixture f;
	struct err e;

	(void)state;
	setup(&f, SIZE, mbr_script);
	assert_int_equal(dev_read(f.dev, 10240 * 512, sector, 512, &e), 0);
	put_le32(sector + 446 + 16 + 8, 0);
	assert_int_equal(dev_write(f.dev, 10240 * 512, sector, 512, &e), 0);
	assert_int_equal(disk_edit_load(f.dev, 512, &t, &e), -ERR_DAMAGED);
	put_le32(sector + 446 + 16 + 8, 0xFFFFFF00);
	assert_int_equal(dev_write(f.dev, 10240 * 512, sector, 512, &e), 0);
	assert_int_equal(disk_edit_load(f.dev, 512, &t, &e), -ERR_DAMAGED);
	assert_null(t);
	teardown(&f);
}

static void test_none(void **state)
{
	struct disk_edit *t = NULL;
	struct dev *d;
	struct err e;

	(void)state;
	assert_int_equal(dev_open_mem(NULL, MIB, &d, &e), 0);
	assert_int_equal(disk_edit_load(d, 512, &t, &e), 0);
	assert_int_equal(disk_edit_kind(t), EDIT_NONE);
	assert_int_equal(disk_edit_area_count(t), 0);
	assert_int_equal(disk_edit_write(t, d, &e), -ERR_USAGE);
	disk_edit_free(t);
	assert_int_equal(disk_edit_load(d, 500, &t, &e), -ERR_USAGE);
	dev_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gpt_same),
		cmocka_unit_test(test_mbr_same),
		cmocka_unit_test(test_gpt_larger),
		cmocka_unit_test(test_too_small),
		cmocka_unit_test(test_gpt_one_copy),
		cmocka_unit_test(test_gpt_shorter),
		cmocka_unit_test(test_gpt_new_ids),
		cmocka_unit_test(test_grow_last),
		cmocka_unit_test(test_protective),
		cmocka_unit_test(test_hostile_chain),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
