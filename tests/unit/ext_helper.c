#include "ext_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

static char scratch[64];
static pid_t scratch_owner;

static int run(const char *command, char *out, size_t len)
{
	char drop[4096];
	size_t used = 0;
	int fds[2], status = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		if (chdir(scratch[0] ? scratch : "/") == 0)
			execlp("bash", "bash", "-c", command, NULL);
		_exit(127);
	}
	close(fds[1]);
	while ((n = read(fds[0], drop, sizeof(drop))) > 0) {
		size_t take = out && len > used + 1 ? len - used - 1 : 0;

		take = (size_t)n < take ? (size_t)n : take;
		if (take > 0)
			memcpy(out + used, drop, take);
		used += take;
	}
	if (out && len > 0)
		out[used] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void remove_scratch(void)
{
	char command[128];

	if (getpid() != scratch_owner)
		return;
	snprintf(command, sizeof(command), "rm -rf -- '%s'", scratch);
	scratch[0] = '\0';
	run(command, NULL, 0);
}

/* In memory when there is plenty: mke2fs and its kin wait for the disk again and again. */
static const char *scratch_parent(void)
{
	struct statvfs v;

	if (getenv("TMPDIR"))
		return getenv("TMPDIR");
	if (access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &v) == 0 &&
		(uint64_t)v.f_bavail * v.f_frsize > 2 * GIB)
		return "/dev/shm";
	return "/tmp";
}

void ext_setup(const char *const *tools)
{
	char command[128];

	/* mkfs and its like are not on an ordinary user's path. */
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("LC_ALL", "C", 1);
	for (; *tools; tools++) {
		snprintf(command, sizeof(command), "command -v %s", *tools);
		if (run(command, NULL, 0) == 0)
			continue;
		printf("1..0 # SKIP %s is not installed\n", *tools);
		fflush(stdout);
		_exit(77);
	}
	snprintf(scratch, sizeof(scratch), "%.40s/ext-test.XXXXXX", scratch_parent());
	assert_non_null(mkdtemp(scratch));
	scratch_owner = getpid();
	atexit(remove_scratch);
}

int ext_sh(char *out, size_t len, const char *fmt, ...)
{
	char command[4096];
	va_list args;

	va_start(args, fmt);
	assert_true(vsnprintf(command, sizeof(command), fmt, args) < (int)sizeof(command));
	va_end(args);
	return run(command, out, len);
}

void ext_must(const char *fmt, ...)
{
	char command[4096], out[2048];
	va_list args;
	int status;

	va_start(args, fmt);
	assert_true(vsnprintf(command, sizeof(command), fmt, args) < (int)sizeof(command));
	va_end(args);
	status = run(command, out, sizeof(out));
	if (status != 0)
		fail_msg("status %d from: %s\n%s", status, command, out);
}

const char *ext_path(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", scratch, name);
	return path;
}

/* Names, sizes and bytes follow from the number; sizes from 0 to 200 KiB, some of them sparse. */
void ext_make_tree(const char *dir, unsigned kib)
{
	uint32_t seed = 1;
	uint64_t total = 0;

	ext_must("mkdir -p %s/sub/deep && ln -s ../file1 %s/sub/link", dir, dir);
	for (unsigned i = 0; total < (uint64_t)kib * KIB; i++) {
		static const char *const where[] = { "", "sub/", "sub/deep/" };
		char name[96];
		size_t len;
		FILE *f;

		snprintf(name, sizeof(name), "%s/%sfile%u", dir, where[i % 3], i);
		f = fopen(ext_path(name), "wb");
		assert_non_null(f);
		seed = seed * 1664525 + 1013904223;
		len = i % 7 == 0 ? seed >> 27 : (seed >> 8) % (i % 5 == 0 ? 200 * KIB : 12 * KIB);
		for (size_t k = 0; k < len; k++) {
			seed = seed * 1664525 + 1013904223;
			putc((int)(seed >> 24), f);
		}
		assert_int_equal(fclose(f), 0);
		total += len;
	}
}

static int open_file(const char *name, int flags)
{
	int fd = open(ext_path(name), flags | O_CLOEXEC, 0600);

	if (fd < 0)
		fail_msg("open %s", name);
	return fd;
}

void ext_peek(const char *name, uint64_t off, void *buf, size_t len)
{
	int fd = open_file(name, O_RDONLY);

	assert_int_equal(pread(fd, buf, len, (off_t)off), len);
	close(fd);
}

void ext_poke(const char *name, uint64_t off, const void *buf, size_t len)
{
	int fd = open_file(name, O_WRONLY);

	assert_int_equal(pwrite(fd, buf, len, (off_t)off), len);
	close(fd);
}

struct dev *ext_open(const char *name)
{
	struct dev *d = NULL;
	struct err e = { 0 };

	if (dev_open(ext_path(name), 0, &d, &e) < 0)
		fail_msg("%s", e.msg);
	return d;
}

struct map *ext_map_dev(struct dev *d, struct fs_report *r)
{
	struct map *m = NULL;
	struct err e = { 0 };

	assert_int_equal(fs_map(d, &m, r, &e), 0);
	assert_int_equal(map_size(m), dev_size(d));
	assert_int_equal(map_bytes(m, MAP_DATA) + map_bytes(m, MAP_FREE), dev_size(d));
	if (r->used_only) {
		assert_string_equal(r->reason, "");
		assert_int_equal(r->free_bytes, map_bytes(m, MAP_FREE));
		assert_int_not_equal(r->block_bytes, 0);
	} else {
		assert_string_not_equal(r->reason, "");
		assert_int_equal(r->free_bytes, 0);
		assert_int_equal(map_bytes(m, MAP_FREE), 0);
	}
	return m;
}

struct map *ext_map_of(const char *name, struct fs_report *r)
{
	struct dev *d = ext_open(name);
	struct map *m = ext_map_dev(d, r);

	dev_close(d);
	return m;
}

struct map *ext_map_slice(const char *name, uint64_t off, uint64_t len, struct fs_report *r)
{
	struct dev *file = ext_open(name), *d = NULL;
	struct map *m;

	assert_int_equal(dev_open_slice(file, off, len, &d, NULL), 0);
	m = ext_map_dev(d, r);
	dev_close(d);
	dev_close(file);
	return m;
}

/* "  Free blocks: 120-300, 305": free blocks; with clusters each number is a cluster's first. */
static void set_free_ranges(struct map *m, char *text, uint64_t block, uint64_t cluster)
{
	uint64_t first, last;

	while (*text != '\0') {
		char *end;

		first = last = strtoull(text, &end, 10);
		if (end == text)
			break;
		if (*end == '-')
			last = strtoull(end + 1, &end, 10);
		assert_int_equal(map_set(m, first * block, (last - first) * block + cluster,
					 MAP_FREE, NULL),
			0);
		text = *end == ',' ? end + 1 : end;
	}
}

struct map *ext_dumped_map(const char *name, uint64_t base, uint64_t size)
{
	struct map *m = map_new_full(size);
	uint64_t block = 0, cluster = 0, blocks = 0;
	char command[256], *line = NULL;
	size_t room = 0;
	FILE *f;

	snprintf(command, sizeof(command), "dumpe2fs '%s?offset=%" PRIu64 "' 2>/dev/null",
		ext_path(name), base);
	f = popen(command, "r");
	assert_non_null(f);
	while (getline(&line, &room, f) > 0) {
		if (sscanf(line, "Block size: %" SCNu64, &block) == 1 && cluster == 0)
			cluster = block;
		sscanf(line, "Block count: %" SCNu64, &blocks);
		sscanf(line, "Cluster size: %" SCNu64, &cluster);
		if (strncmp(line, "  Free blocks: ", 15) == 0)
			set_free_ranges(m, line + 15, block, cluster);
	}
	free(line);
	assert_int_equal(pclose(f), 0);
	assert_int_not_equal(block, 0);
	/* A last cluster may be printed though only part of it is in the file system. */
	if (blocks * block < size)
		assert_int_equal(map_set(m, blocks * block, size - blocks * block, MAP_DATA, NULL),
			0);
	return m;
}

static bool restore_to(int fd, struct dev *d, const struct map *m, struct err *e)
{
	static uint8_t data[256 * KIB], garbage[256 * KIB];

	memset(garbage, 0xa5, sizeof(garbage));
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		for (uint64_t done = 0; done < x.len;) {
			size_t n = (size_t)min_u64(x.len - done, sizeof(data));
			bool is_data = x.kind == MAP_DATA;

			if (is_data && dev_read(d, x.off + done, data, n, e) < 0)
				return false;
			if (pwrite(fd, is_data ? data : garbage, n, (off_t)(x.off + done)) !=
				(ssize_t)n) {
				err_set(e, ERR_TARGET, errno, "write the copy");
				return false;
			}
			done += n;
		}
	}
	return true;
}

void ext_restore(struct dev *d, const struct map *m, const char *name)
{
	int fd = open_file(name, O_RDWR | O_CREAT | O_TRUNC);
	struct err e = { 0 };

	if (!restore_to(fd, d, m, &e))
		fail_msg("%s", e.msg);
	close(fd);
}

int ext_copy_main(const char *source, const char *copy)
{
	int fd = open(copy, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct fs_report r = { 0 };
	struct err e = { 0 };
	struct dev *d = NULL;
	struct map *m = NULL;
	bool ok = fd >= 0 && dev_open(source, 0, &d, &e) == 0 && fs_map(d, &m, &r, &e) == 0 &&
		restore_to(fd, d, m, &e);

	if (ok)
		printf("used_only=%d free=%" PRIu64 " note=%s reason=%s\n", r.used_only,
			r.free_bytes, r.note, r.reason);
	else
		fprintf(stderr, "%s\n", e.msg);
	map_free(m);
	dev_close(d);
	return ok && close(fd) == 0 ? 0 : 1;
}

void ext_assert_free_within(const struct map *m, const struct map *limit)
{
	size_t hint = 0;

	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);
		struct extent y = map_run(limit, x.off, &hint);

		if (x.kind == MAP_FREE && (y.kind != MAP_FREE || y.len < x.len))
			fail_msg("bytes %" PRIu64 " to %" PRIu64 " are free, but in use", x.off,
				x.off + x.len);
	}
}

void ext_assert_equal_maps(const struct map *got, const struct map *want, const char *what)
{
	size_t hint_a = 0, hint_b = 0;

	assert_int_equal(map_size(got), map_size(want));
	for (uint64_t off = 0; off < map_size(got);) {
		struct extent x = map_run(got, off, &hint_a), y = map_run(want, off, &hint_b);

		if (x.kind != y.kind)
			fail_msg("%s: byte %" PRIu64 " is %s, should be %s", what, off,
				map_kind_word(x.kind), map_kind_word(y.kind));
		off += min_u64(x.len, y.len);
	}
}

void ext_assert_refused(const char *name, const char *word)
{
	struct fs_report r;
	struct map *m = ext_map_of(name, &r);

	if (r.used_only)
		fail_msg("%s was taken, should be refused: %s", name, word);
	if (!strstr(r.reason, word))
		fail_msg("%s: the reason is \"%s\", without \"%s\"", name, r.reason, word);
	map_free(m);
}
