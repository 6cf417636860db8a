#include "ntfs_helper.h"

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
#include <ntfs-3g/inode.h>
#include <ntfs-3g/volume.h>

#include "base/mem.h"
#include "fs/fs_ops.h"

static char scratch[64];

static void remove_scratch(void)
{
	NTFS_RUN(NULL, 0, "rm", "-rf", "--", scratch);
}

static void make_scratch(void)
{
	const char *tmp = getenv("TMPDIR");
	pid_t owner = getpid();
	static pid_t made_by;

	if (made_by == owner)
		return;
	made_by = owner;
	snprintf(scratch, sizeof(scratch), "%.40s/ntfs-test.XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(scratch));
	atexit(remove_scratch);
}

void ntfs_need_tools(void)
{
	static const char *const tools[] = { "mkntfs", "ntfscp", "ntfscat", "ntfsinfo",
		"ntfscluster", "ntfstruncate", "ntfsfix", "ntfs-3g.probe", "partclone.ntfs" };

	/* mkntfs and partclone are not on an ordinary user's path. */
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("LC_ALL", "C", 1);
	for (size_t i = 0; i < COUNT_OF(tools); i++) {
		if (NTFS_RUN(NULL, 0, "which", tools[i]) == 0)
			continue;
		printf("1..0 # SKIP %s is not installed\n", tools[i]);
		fflush(stdout);
		_exit(77);
	}
	make_scratch();
}

const char *ntfs_path(const char *name)
{
	static char paths[32][128];
	char path[128];
	size_t i;

	make_scratch();
	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	for (i = 0; paths[i][0] != '\0' && strcmp(paths[i], path) != 0; i++)
		assert_true(i + 1 < COUNT_OF(paths));
	memcpy(paths[i], path, sizeof(path));
	return paths[i];
}

static void child(int fd, const char *const *argv)
{
	int null = open("/dev/null", O_RDONLY);

	dup2(null, 0);
	dup2(fd, 1);
	dup2(fd, 2);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

int ntfs_run(char *out, size_t out_len, const char *const *argv)
{
	char drop[4096];
	size_t used = 0;
	int fds[2], status;
	pid_t pid;
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(fds[1], argv);
	close(fds[1]);
	while ((n = read(fds[0], drop, sizeof(drop))) > 0) {
		size_t take = out_len > used + 1 ? out_len - used - 1 : 0;

		take = (size_t)n < take ? (size_t)n : take;
		if (take > 0)
			memcpy(out + used, drop, take);
		used += take;
	}
	if (out_len > 0)
		out[used] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void must(const char *const *argv)
{
	char out[2048];
	int status = ntfs_run(out, sizeof(out), argv);

	if (status != 0)
		fail_msg("%s ended with %d: %s", argv[0], status, out);
}

#define MUST(...) must((const char *const[]){ __VA_ARGS__, NULL })

void ntfs_make(const char *path, uint64_t bytes, unsigned sector, unsigned cluster)
{
	char s[16], c[16];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
	snprintf(s, sizeof(s), "%u", sector);
	snprintf(c, sizeof(c), "%u", cluster);
	MUST("mkntfs", "-F", "-q", "-Q", "-L", "Schl\xc3\xbcssel", "-s", s, "-c", c, path);
}

static void random_file(const char *path, size_t bytes, uint32_t seed)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	for (size_t i = 0; i < bytes; i++) {
		seed = seed * 1664525 + 1013904223;
		putc((int)(seed >> 24), f);
	}
	assert_int_equal(fclose(f), 0);
}

void ntfs_copy_in(const char *path, const char *name, size_t bytes)
{
	const char *source = ntfs_path("source");

	random_file(source, bytes, (uint32_t)bytes * 31 + (uint8_t)name[0]);
	MUST("ntfscp", "-q", path, source, name);
}

void ntfs_truncate(const char *path, unsigned inode, size_t bytes)
{
	char i[16], n[24];

	snprintf(i, sizeof(i), "%u", inode);
	snprintf(n, sizeof(n), "%zu", bytes);
	MUST("ntfstruncate", "-q", path, i, n);
}

void ntfs_fragment(const char *path, unsigned files, size_t bytes)
{
	char name[16];

	for (unsigned i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		ntfs_copy_in(path, name, bytes);
	}
	/* mkntfs leaves the first inode of a user at 64. */
	for (unsigned i = 1; i < files; i += 2)
		ntfs_truncate(path, 64 + i, 0);
}

static bool grow_in_turn(const char *path, const unsigned *inodes, unsigned pieces, size_t bytes)
{
	ntfs_volume *vol = ntfs_mount(path, 0);
	char *buf = calloc(1, bytes);
	ntfs_inode *ni[2];
	ntfs_attr *na[2];
	bool good = vol != NULL && buf != NULL;

	for (int i = 0; i < 2 && good; i++) {
		ni[i] = ntfs_inode_open(vol, inodes[i]);
		na[i] = ni[i] != NULL ? ntfs_attr_open(ni[i], AT_DATA, AT_UNNAMED, 0) : NULL;
		good = na[i] != NULL;
	}
	for (unsigned i = 0; i < 2 * pieces && good; i++) {
		ntfs_attr *a = na[i % 2];

		memset(buf, (int)i | 1, bytes);
		good = ntfs_attr_pwrite(a, a->data_size, (s64)bytes, buf) == (s64)bytes;
	}
	for (int i = 0; i < 2 && good; i++) {
		ntfs_attr_close(na[i]);
		good = ntfs_inode_close(ni[i]) == 0;
	}
	free(buf);
	return good && ntfs_umount(vol, FALSE) == 0;
}

void ntfs_interleave(const char *path, unsigned a, unsigned b, unsigned pieces, size_t bytes)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(grow_in_turn(path, (const unsigned[]){ a, b }, pieces, bytes) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

void ntfs_peek(const char *path, uint64_t off, void *buf, size_t len)
{
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, buf, len, (off_t)off), len);
	close(fd);
}

void ntfs_poke(const char *path, uint64_t off, const void *buf, size_t len)
{
	int fd = open(path, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, buf, len, (off_t)off), len);
	close(fd);
}

static uint32_t sector_bytes(const uint8_t *boot)
{
	return get_le16(boot + 11);
}

uint32_t ntfs_cluster_bytes(const char *path)
{
	uint8_t boot[512];

	ntfs_peek(path, 0, boot, sizeof(boot));
	if (boot[13] > 128)
		return sector_bytes(boot) << (256 - boot[13]);
	return sector_bytes(boot) * boot[13];
}

uint64_t ntfs_total_clusters(const char *path)
{
	uint8_t boot[512];

	ntfs_peek(path, 0, boot, sizeof(boot));
	return get_le64(boot + 40) * sector_bytes(boot) / ntfs_cluster_bytes(path);
}

static uint64_t record_at(const char *path, size_t field, unsigned number)
{
	uint8_t boot[512];
	uint64_t record;

	ntfs_peek(path, 0, boot, sizeof(boot));
	record = boot[64] < 128 ? (uint64_t)boot[64] * ntfs_cluster_bytes(path)
				: (uint64_t)1 << (256 - boot[64]);
	return get_le64(boot + field) * ntfs_cluster_bytes(path) + number * record;
}

uint64_t ntfs_record_offset(const char *path, unsigned number)
{
	return record_at(path, 48, number);
}

uint64_t ntfs_mirror_offset(const char *path, unsigned number)
{
	return record_at(path, 56, number);
}

size_t ntfs_attribute(const char *path, unsigned number, uint32_t type)
{
	uint8_t rec[1024]; /* the tests use only what is in the first 1 KiB of a record */
	size_t at;

	ntfs_peek(path, ntfs_record_offset(path, number), rec, sizeof(rec));
	assert_memory_equal(rec, "FILE", 4);
	for (at = get_le16(rec + 20); at + 8 < sizeof(rec); at += get_le32(rec + at + 4)) {
		if (get_le32(rec + at) == type)
			return at;
		if (get_le32(rec + at) == UINT32_MAX || get_le32(rec + at + 4) == 0)
			break;
	}
	fail_msg("record %u has no attribute 0x%x", number, (unsigned)type);
	return 0;
}

void ntfs_poke_record(const char *path, unsigned number, size_t at, const void *buf, size_t len)
{
	/* Not over the update sequence at the end of a sector: that would be a torn record. */
	assert_true(at / 512 == (at + len - 1) / 512 && (at + len - 1) % 512 < 510);
	ntfs_poke(path, ntfs_record_offset(path, number) + at, buf, len);
	if (number < 4)
		ntfs_poke(path, ntfs_mirror_offset(path, number) + at, buf, len);
}

uint64_t ntfs_file_offset(const char *path, unsigned inode)
{
	char out[65536], i[16], *at;
	unsigned long long vcn, lcn;

	snprintf(i, sizeof(i), "%u", inode);
	assert_int_equal(NTFS_RUN(out, sizeof(out), "ntfscluster", "-f", "-I", i, path), 0);
	at = strstr(out, "0x80");
	assert_non_null(at);
	/* A line of column titles, a line of dashes, then: VCN LCN length. */
	for (at = strchr(at, '\n'); at != NULL; at = strchr(at + 1, '\n'))
		if (sscanf(at + 1, " %llu %llu", &vcn, &lcn) == 2 && vcn == 0)
			return lcn * ntfs_cluster_bytes(path);
	fail_msg("no run of inode %u in: %s", inode, out);
	return 0;
}

void ntfs_set_flags(const char *path, uint16_t flags)
{
	size_t at = ntfs_attribute(path, 3, 0x70);
	uint8_t le[2];

	put_le16(le, flags);
	/* The value is behind a resident header of 24 bytes; the flags at 10 in it. */
	ntfs_poke_record(path, 3, at + 24 + 10, le, 2);
}

/*
 * A restart page of 4096 bytes ("NTFS Documentation", "$LogFile"): 0x00 "RSTR", 0x04 offset and
 * 0x06 count of the update sequence, 0x10 system and 0x14 log page size, 0x18 offset of the restart
 * area, 0x1A minor and 0x1C major version. The area: 0x00 LSN, 0x08 log clients, 0x0A free and 0x0C
 * used client lists (0xFFFF: none), 0x0E flags (2: clean), 0x10 sequence number bits, 0x14 length,
 * 0x16 client array, 0x18 file size, 0x24 and 0x26 header lengths. One client record of 160 bytes.
 */
static void restart_page(uint8_t *p, uint64_t file_size, uint16_t major, uint16_t minor, bool clean)
{
	uint8_t *area = p + 0x30;
	unsigned bits = 0;

	memset(p, 0, 4096);
	memcpy(p, "RSTR", 4);
	put_le16(p + 0x04, 0x1E);
	put_le16(p + 0x06, 9);
	put_le32(p + 0x10, 4096);
	put_le32(p + 0x14, 4096);
	put_le16(p + 0x18, 0x30);
	put_le16(p + 0x1A, minor);
	put_le16(p + 0x1C, major);
	put_le64(area, 0x123456);
	put_le16(area + 0x08, 1);
	/* Windows leaves its client in use either way; the flag tells. */
	put_le16(area + 0x0A, 0xFFFF);
	put_le16(area + 0x0C, 0);
	put_le16(area + 0x0E, clean ? 2 : 0);
	for (uint64_t n = file_size; n > 0; n >>= 1)
		bits++;
	put_le32(area + 0x10, 67 - bits);
	put_le16(area + 0x14, 0x30 + 160);
	put_le16(area + 0x16, 0x30);
	put_le64(area + 0x18, file_size);
	put_le16(area + 0x24, 0x30);
	put_le16(area + 0x26, 0x40);
	memset(area + 0x30 + 0x10, 0xFF, 4); /* previous and next client: none */
	put_le32(area + 0x30 + 0x1C, 8);
	memcpy(area + 0x30 + 0x20, "N\0T\0F\0S\0", 8);
	/* The update sequence: value 1 at the end of each sector, which held zeros. */
	put_le16(p + 0x1E, 1);
	for (unsigned i = 1; i <= 8; i++)
		put_le16(p + i * 512 - 2, 1);
}

void ntfs_write_journal(const char *path, uint16_t major, uint16_t minor, bool clean)
{
	size_t at = ntfs_attribute(path, 2, 0x80);
	uint64_t where = ntfs_file_offset(path, 2);
	uint8_t size[8], page[4096];

	ntfs_peek(path, ntfs_record_offset(path, 2) + at + 0x30, size, sizeof(size));
	restart_page(page, get_le64(size), major, minor, clean);
	ntfs_poke(path, where, page, sizeof(page));
	ntfs_poke(path, where + 4096, page, sizeof(page));
}

struct map *ntfs_map_file(const char *path, struct fs_report *r, struct err *e)
{
	struct dev *d;
	struct map *m;
	int rc;

	memset(r, 0, sizeof(*r));
	memset(e, 0, sizeof(*e));
	assert_int_equal(dev_open(path, 0, &d, e), 0);
	m = map_new_full(dev_size(d));
	assert_non_null(m);
	rc = fs_ntfs.map(d, m, r, e);
	dev_close(d);
	if (rc == 0)
		return m;
	assert_true(rc < 0 && rc == -e->code);
	assert_true(e->msg[0] != '\0');
	map_free(m);
	return NULL;
}

enum map_kind ntfs_kind(const struct map *m, uint64_t off, uint64_t len)
{
	struct extent x = map_run(m, off, NULL);

	assert_true(x.len >= len);
	return x.kind;
}
