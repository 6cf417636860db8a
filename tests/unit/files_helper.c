#include "files_helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

#define STEP ((size_t)100003) /* no multiple of anything */
#define BORDER ((uint64_t)8192)

static void compare_dir(struct files *f, uint64_t id, const char *path, unsigned flags,
	const char *const *extra);

static enum files_type type_of(mode_t mode)
{
	return S_ISREG(mode)	 ? FILES_REGULAR
		: S_ISDIR(mode)	 ? FILES_DIRECTORY
		: S_ISLNK(mode)	 ? FILES_LINK
		: S_ISFIFO(mode) ? FILES_FIFO
		: S_ISSOCK(mode) ? FILES_SOCKET
		: S_ISCHR(mode)	 ? FILES_CHAR
				 : FILES_BLOCK;
}

static void compare_range(struct files *f, uint64_t id, int fd, const char *path, uint64_t off,
	uint64_t end)
{
	static uint8_t ours[STEP], theirs[STEP];

	while (off < end) {
		size_t n = (size_t)min_u64(end - off, STEP), got;
		struct err e;

		if (files_read(f, id, off, ours, n, &got, &e) < 0)
			fail_msg("%s at %" PRIu64 ": %s", path, off, e.msg);
		assert_int_equal(got, n);
		assert_int_equal(pread(fd, theirs, n, (off_t)off), n);
		if (memcmp(ours, theirs, n) != 0)
			fail_msg("%s differs in the %zu bytes at %" PRIu64, path, n, off);
		off += n;
	}
}

static void compare_content(struct files *f, uint64_t id, const char *path, uint64_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t byte;
	size_t got = 1;
	struct err e;

	assert_true(fd >= 0);
	for (uint64_t at = 0; at < size;) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;
		uint64_t start;

		if (data < 0) {
			compare_range(f, id, fd, path, size - min_u64(size, BORDER), size);
			break;
		}
		hole = lseek(fd, data, SEEK_HOLE);
		start = max_u64((uint64_t)data, BORDER) - BORDER;
		at = (uint64_t)hole;
		compare_range(f, id, fd, path, start, min_u64(at + BORDER, size));
	}
	assert_int_equal(files_read(f, id, size, &byte, 1, &got, &e), 0);
	assert_int_equal(got, 0);
	close(fd);
}

static void compare_link(struct files *f, uint64_t id, const char *path)
{
	char ours[FILES_LINK_MAX_BYTES + 1], theirs[FILES_LINK_MAX_BYTES + 1];
	ssize_t n = readlink(path, theirs, sizeof(theirs) - 1);
	size_t len;
	struct err e;

	assert_true(n > 0);
	theirs[n] = '\0';
	if (files_link(f, id, ours, &len, &e) < 0)
		fail_msg("%s: %s", path, e.msg);
	assert_int_equal(len, n);
	assert_string_equal(ours, theirs);
}

static void compare_node(struct files *f, uint64_t id, const char *path, unsigned flags)
{
	struct files_node n;
	struct stat st;
	struct err e;

	if (lstat(path, &st) < 0)
		fail_msg("%s is not in the source", path);
	if (files_stat(f, id, &n, &e) < 0)
		fail_msg("%s: %s", path, e.msg);
	assert_int_equal(n.id, id);
	assert_int_equal(n.type, type_of(st.st_mode));
	if (n.type != FILES_DIRECTORY) {
		assert_int_equal(n.size, st.st_size);
		assert_int_equal(n.links, st.st_nlink);
	}
	if (flags & FILES_SAME_MODES) {
		assert_int_equal(n.mode, st.st_mode & 07777);
		assert_true(n.has_owner);
		assert_int_equal(n.uid, st.st_uid);
		assert_int_equal(n.gid, st.st_gid);
		if (n.type == FILES_REGULAR)
			assert_int_equal(n.modified.s, st.st_mtim.tv_sec);
	}
	if (n.type == FILES_REGULAR)
		compare_content(f, id, path, n.size);
	else if (n.type == FILES_LINK)
		compare_link(f, id, path);
	else if (n.type == FILES_DIRECTORY)
		compare_dir(f, id, path, flags, NULL);
}

struct walk {
	struct files *f;
	const char *path;
	unsigned flags;
	const char *const *extra;
	size_t count;
};

static int compare_entry(void *user, const char *name, size_t len, uint64_t id,
	enum files_type type, struct err *e)
{
	struct walk *w = user;
	char path[4096];
	struct stat st;

	(void)e;
	assert_int_equal(strlen(name), len);
	for (size_t i = 0; w->extra != NULL && w->extra[i] != NULL; i++)
		if (strcmp(name, w->extra[i]) == 0)
			return 0;
	w->count++;
	snprintf(path, sizeof(path), "%s/%s", w->path, name);
	compare_node(w->f, id, path, w->flags);
	assert_int_equal(lstat(path, &st), 0);
	if (type != FILES_UNKNOWN)
		assert_int_equal(type, type_of(st.st_mode));
	return 0;
}

static void compare_dir(struct files *f, uint64_t id, const char *path, unsigned flags,
	const char *const *extra)
{
	struct walk w = { .f = f, .path = path, .flags = flags, .extra = extra };
	size_t count = 0;
	struct err e;
	DIR *d = opendir(path);

	assert_non_null(d);
	for (struct dirent *x; (x = readdir(d)) != NULL;)
		count += strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0;
	closedir(d);
	if (files_list(f, id, compare_entry, &w, &e) < 0)
		fail_msg("%s: %s", path, e.msg);
	if (w.count != count)
		fail_msg("%s has %zu names, not %zu", path, w.count, count);
}

void files_assert_same(struct files *f, const char *source, unsigned flags,
	const char *const *extra)
{
	compare_dir(f, files_info(f)->root, source, flags, extra);
}

uint64_t files_must_find(struct files *f, const char *path)
{
	struct err e;
	uint64_t id;

	if (files_find(f, path, &id, &e) < 0)
		fail_msg("%s", e.msg);
	return id;
}

uint8_t *files_read_whole(struct files *f, const char *path, size_t step, size_t *len)
{
	uint64_t id = files_must_find(f, path);
	struct files_node n;
	struct err e;
	uint8_t *out;

	assert_int_equal(files_stat(f, id, &n, &e), 0);
	out = malloc(n.size + 1);
	assert_non_null(out);
	for (*len = 0; *len < n.size;) {
		size_t got;

		if (files_read(f, id, *len, out + *len, min_u64(step, n.size - *len), &got, &e) < 0)
			fail_msg("%s: %s", path, e.msg);
		assert_int_not_equal(got, 0);
		*len += got;
	}
	return out;
}

static int count_one(void *user, const char *name, size_t len, uint64_t id, enum files_type type,
	struct err *e)
{
	(void)name, (void)len, (void)id, (void)type, (void)e;
	++*(size_t *)user;
	return 0;
}

size_t files_count(struct files *f, uint64_t id)
{
	size_t count = 0;
	struct err e;

	if (files_list(f, id, count_one, &count, &e) < 0)
		fail_msg("%s", e.msg);
	return count;
}
