/*
 * Files of NTFS: volumes filled by ntfscp and by libntfs-3g mounted for writing (in a process of
 * its own), against ntfsls, ntfscat and what was written. Compressed files, links of ntfs-3g and
 * many files are in tests/root/mount_files_test.sh.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/reparse.h>
#include <ntfs-3g/volume.h>

#include "base/mem.h"
#include "files_helper.h"
#include "ntfs_helper.h"

static struct files *open_tree(const char *path, struct dev **d)
{
	struct files *f = NULL;
	struct err e;

	if (dev_open(path, 0, d, &e) < 0 || files_open(*d, &f, &e) < 0)
		fail_msg("%s", e.msg);
	return f;
}

static void close_tree(struct files *f, struct dev *d)
{
	files_close(f);
	dev_close(d);
}

/* ---- Writing what no tool writes ---- */

/* A new node in the root, of UTF-16 units. */
static ntfs_inode *make(ntfs_volume *vol, const uint16_t *name, unsigned len, mode_t type)
{
	ntfs_inode *root = ntfs_inode_open(vol, FILE_root), *ni = NULL;

	if (root != NULL)
		ni = ntfs_create(root, const_cpu_to_le32(0), (const ntfschar *)name, (u8)len, type);
	if (root != NULL)
		ntfs_inode_close(root);
	return ni;
}

static ntfs_inode *make_ascii(ntfs_volume *vol, const char *name, mode_t type)
{
	uint16_t units[256];
	unsigned len = 0;

	for (; name[len] != '\0'; len++)
		units[len] = (uint8_t)name[len];
	return make(vol, units, len, type);
}

static bool write_data(ntfs_inode *ni, const char *stream, const void *bytes, size_t len)
{
	ntfschar name[32];
	u32 n = 0;
	ntfs_attr *a;
	bool ok;

	for (; stream[n] != '\0'; n++)
		name[n] = cpu_to_le16((uint8_t)stream[n]);
	if (n > 0 && ntfs_attr_add(ni, AT_DATA, name, (u8)n, NULL, 0) != 0)
		return false;
	a = ntfs_attr_open(ni, AT_DATA, n > 0 ? name : AT_UNNAMED, n);
	ok = a != NULL && ntfs_attr_pwrite(a, 0, (s64)len, bytes) == (s64)len;
	if (a != NULL)
		ntfs_attr_close(a);
	return ok;
}

/* [MS-FSCC] 2.1.2: the head, then 4 fields of names, for a symbolic link flags, then the names. */
static bool make_reparse(ntfs_volume *vol, const char *name, mode_t type, uint32_t tag,
	uint32_t flags, const char *target)
{
	bool symlink = tag == 0xA000000C, windows = symlink || tag == 0xA0000003;
	uint8_t p[512] = { 0 };
	size_t len = strlen(target), head = 8 + (windows ? 8 : 4) + (symlink ? 4 : 0), n = head;
	ntfs_inode *ni = make_ascii(vol, name, type);
	bool ok;

	put_le32(p, tag);
	if (windows)
		put_le16(p + 10, (uint16_t)(2 * len));
	if (symlink)
		put_le32(p + 16, flags);
	if (tag == 0xA000001D) /* LX_SYMLINK: version 2 */
		put_le32(p + 8, 2);
	for (size_t i = 0; i < len; i++) {
		p[n++] = (uint8_t)target[i];
		if (windows)
			p[n++] = 0;
	}
	put_le16(p + 4, (uint16_t)(n - 8));
	ok = ni != NULL && ntfs_set_ntfs_reparse_data(ni, (char *)p, n, 0) == 0;
	if (ok && type == S_IFREG)
		ok = write_data(ni, "", "content", 7);
	return ni != NULL && ntfs_inode_close(ni) == 0 && ok;
}

/* Names of Windows: a lone surrogate, a pair, 255 units of three bytes each. */
static bool make_names(ntfs_volume *vol)
{
	static const uint16_t lone[] = { 'x', 0xd800, 'y' }, pair[] = { 0xd83d, 0xde00 };
	uint16_t longest[255];
	ntfs_inode *a = make(vol, lone, 3, S_IFREG), *b = make(vol, pair, 2, S_IFREG), *c, *d;
	bool ok;

	for (size_t i = 0; i < COUNT_OF(longest); i++)
		longest[i] = 0x20ac;
	c = make(vol, longest, 255, S_IFDIR);
	d = make_ascii(vol, "streams", S_IFREG);
	ok = a != NULL && b != NULL && c != NULL && d != NULL && write_data(d, "", "main", 4) &&
		write_data(d, "other", "hidden stream", 13);
	return a != NULL && b != NULL && c != NULL && d != NULL && ntfs_inode_close(a) == 0 &&
		ntfs_inode_close(b) == 0 && ntfs_inode_close(c) == 0 && ntfs_inode_close(d) == 0 &&
		ok;
}

/* One name in two forms, as Windows makes them. The library lets go of both inodes. */
static bool make_dos_name(ntfs_volume *vol)
{
	ntfs_inode *ni = make_ascii(vol, "a long name.text", S_IFREG);
	ntfs_inode *root = ntfs_inode_open(vol, FILE_root);

	return ni != NULL && root != NULL &&
		ntfs_set_ntfs_dos_name(ni, root, "ALONGN~1.TEX", 12, 0) == 0;
}

static bool write_odd(const char *path)
{
	ntfs_volume *vol = ntfs_mount(path, 0);

	return vol != NULL && make_names(vol) && make_dos_name(vol) &&
		make_reparse(vol, "relative", S_IFREG, 0xA000000C, 1, "dir\\sub\\file") &&
		make_reparse(vol, "absolute", S_IFREG, 0xA000000C, 0, "\\??\\C:\\Users\\x") &&
		make_reparse(vol, "junction", S_IFDIR, 0xA0000003, 0, "\\??\\D:\\data") &&
		make_reparse(vol, "wsl", S_IFREG, 0xA000001D, 0, "../a b") &&
		make_reparse(vol, "wof", S_IFREG, 0x80000017, 0, "x") &&
		make_reparse(vol, "cloud", S_IFDIR, 0x9000001A, 0, "x") &&
		ntfs_umount(vol, FALSE) == 0;
}

static void in_child(bool (*fn)(const char *path), const char *path)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(path) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- Tests ---- */

/* "   64 name" per line, with the directories "." and ".." and, under -s, the system files. */
static void against_ntfsls(struct files *f, const char *volume, const char *path)
{
	static char out[1 << 20];
	size_t count = 0;

	assert_int_equal(NTFS_RUN(out, sizeof(out), "ntfsls", "-f", "-i", "-p", path, volume), 0);
	for (char *next = out, *line; (line = strsep(&next, "\n")) != NULL;) {
		unsigned long long inode;
		char name[1024], full[2048];

		if (sscanf(line, "%llu %1023[^\n]", &inode, name) != 2 || strcmp(name, ".") == 0 ||
			strcmp(name, "..") == 0)
			continue;
		snprintf(full, sizeof(full), "%s/%s", path, name);
		assert_int_equal(MREF(files_must_find(f, full)), inode);
		count++;
	}
	assert_int_equal(files_count(f, files_must_find(f, path)), count);
	assert_int_not_equal(count, 0);
}

static void against_ntfscat(struct files *f, const char *volume, const char *name)
{
	const char *out = ntfs_path("cat.out");
	size_t len, want_len;
	uint8_t *p = files_read_whole(f, name, 40000, &len), *want;
	FILE *file;

	assert_int_equal(NTFS_RUN(NULL, 0, "sh", "-c", "exec ntfscat -f \"$1\" \"$2\" >\"$3\"",
				 "sh", volume, name, out),
		0);
	file = fopen(out, "rb");
	assert_non_null(file);
	want = malloc(len + 1);
	want_len = fread(want, 1, len + 1, file);
	fclose(file);
	assert_int_equal(len, want_len);
	assert_memory_equal(p, want, len);
	free(p);
	free(want);
}

static void test_files(void **state)
{
	static const unsigned clusters[] = { 512, 4096, 65536 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(clusters); i++) {
		const char *path = ntfs_path("v");
		struct files *f;
		struct dev *d;
		uint8_t *p;
		size_t len;

		ntfs_make(path, 24 * MIB, 512, clusters[i]);
		ntfs_copy_in(path, "resident", 300);
		ntfs_copy_in(path, "large", 1000003);
		ntfs_copy_in(path, "empty", 0);
		ntfs_copy_in(path, "second", 70000);
		f = open_tree(path, &d);
		assert_string_equal(files_info(f)->type, "ntfs");
		assert_string_equal(files_info(f)->note, "");
		assert_int_equal(files_info(f)->block_bytes, clusters[i]);
		against_ntfsls(f, path, "/");
		against_ntfscat(f, path, "resident");
		against_ntfscat(f, path, "large");
		against_ntfscat(f, path, "second");
		p = files_read_whole(f, "empty", 1, &len);
		assert_int_equal(len, 0);
		free(p);
		close_tree(f, d);
	}
}

/* Two files in hundreds of pieces each: runs in several records. */
static void test_fragmented(void **state)
{
	const char *path = ntfs_path("v");
	struct files *f;
	struct dev *d;

	(void)state;
	ntfs_make(path, 8 * MIB, 512, 512);
	ntfs_copy_in(path, "a", 1000);
	ntfs_copy_in(path, "b", 1000);
	ntfs_interleave(path, 64, 65, 600, 1024);
	f = open_tree(path, &d);
	against_ntfscat(f, path, "a");
	against_ntfscat(f, path, "b");
	close_tree(f, d);
}

static void assert_link(struct files *f, const char *name, const char *want)
{
	char target[FILES_LINK_MAX_BYTES + 1];
	struct files_node n;
	struct err e;
	size_t len;
	uint64_t id = files_must_find(f, name);

	if (files_link(f, id, target, &len, &e) < 0)
		fail_msg("%s: %s", name, e.msg);
	assert_string_equal(target, want);
	assert_int_equal(files_stat(f, id, &n, &e), 0);
	assert_int_equal(n.type, FILES_LINK);
	assert_int_equal(n.size, strlen(want));
	assert_int_equal(n.links, 1);
}

static void test_odd(void **state)
{
	const char *path = ntfs_path("v");
	char euros[3 * 255 + 1];
	struct files_node n;
	struct files *f;
	struct dev *d;
	struct err e;
	uint8_t *p, byte;
	uint64_t id;
	size_t len;

	(void)state;
	ntfs_make(path, 8 * MIB, 512, 4096);
	in_child(write_odd, path);
	f = open_tree(path, &d);
	assert_link(f, "relative", "dir/sub/file");
	assert_link(f, "absolute", "C:/Users/x");
	assert_link(f, "junction", "D:/data");
	assert_link(f, "wsl", "../a b");
	id = files_must_find(f, "wof");
	assert_int_equal(files_stat(f, id, &n, &e), 0);
	assert_int_equal(n.type, FILES_REGULAR);
	assert_int_equal(files_read(f, id, 0, &byte, 1, &len, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.msg, "kept elsewhere (reparse tag 0x80000017"));
	id = files_must_find(f, "cloud");
	assert_int_equal(files_count(f, id), 0);
	/* U+D800 alone as the three bytes of its number; U+1F600; U+20AC. */
	files_must_find(f, "x\xed\xa0\x80y");
	files_must_find(f, "\xf0\x9f\x98\x80");
	for (size_t i = 0; i < sizeof(euros) - 1; i++)
		euros[i] = "\xe2\x82\xac"[i % 3];
	euros[sizeof(euros) - 1] = '\0';
	assert_int_equal(files_stat(f, files_must_find(f, euros), &n, &e), 0);
	assert_int_equal(n.type, FILES_DIRECTORY);
	assert_int_equal(files_stat(f, files_must_find(f, "a long name.text"), &n, &e), 0);
	assert_int_equal(n.links, 1);
	assert_int_equal(files_find(f, "ALONGN~1.TEX", &id, &e), -ERR_NOT_FOUND);
	p = files_read_whole(f, "streams", 100, &len);
	assert_int_equal(len, 4);
	assert_memory_equal(p, "main", 4);
	free(p);
	assert_int_equal(files_count(f, files_info(f)->root), 11);
	close_tree(f, d);
}

static void test_refused(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 5 + 6, 40, (uint64_t)77 << 48 | 64, UINT64_MAX };
	const char *path = ntfs_path("v");
	struct files_node n;
	struct files *f;
	struct dev *d;
	struct err e;
	uint8_t byte;
	size_t len;

	(void)state;
	ntfs_make(path, 8 * MIB, 512, 4096);
	ntfs_copy_in(path, "file", 5000);
	ntfs_set_flags(path, 1);
	f = open_tree(path, &d);
	assert_non_null(strstr(files_info(f)->note, "dirty volume"));
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		assert_int_equal(files_stat(f, numbers[i], &n, &e), -ERR_FORMAT);
	assert_int_equal(files_read(f, files_info(f)->root, 0, &byte, 1, &len, &e), -ERR_FORMAT);
	assert_int_equal(files_list(f, files_must_find(f, "file"), NULL, NULL, &e), -ERR_FORMAT);
	assert_int_equal(files_find(f, "$MFT", &n.id, &e), -ERR_NOT_FOUND);
	close_tree(f, d);
	/* A torn record: that file alone. */
	ntfs_poke(path, ntfs_record_offset(path, 64) + 510, "\xff\xff", 2);
	f = open_tree(path, &d);
	assert_int_equal(files_stat(f, files_must_find(f, "file"), &n, &e), -ERR_FORMAT);
	assert_int_equal(files_stat(f, files_info(f)->root, &n, &e), 0);
	close_tree(f, d);
	ntfs_write_journal(path, 1, 1, false);
	f = open_tree(path, &d);
	assert_non_null(strstr(files_info(f)->note, "may be missing or wrong"));
	close_tree(f, d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_fragmented),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_refused),
	};

	ntfs_need_tools();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
