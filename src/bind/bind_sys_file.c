/* img.sys, files: lua/imgtool/meta/img_sys.lua says what they do. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "bind/bind_int.h"

static const char *type_word(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFBLK:
		return "block";
	case S_IFCHR:
		return "char";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFLNK:
		return "link";
	default:
		return "other";
	}
}

static int f_stat(lua_State *L)
{
	const char *path = arg_text(L, 1);
	struct stat st;
	struct err e;

	if (lstat(path, &st) < 0) {
		err_set_errno(&e, ERR_SOURCE, errno, "stat %s", path);
		return bind_fail(L, &e);
	}
	lua_createtable(L, 0, 9);
	set_text(L, "type", type_word(st.st_mode));
	set_u64(L, "size", (uint64_t)st.st_size);
	set_u64(L, "mode", st.st_mode & 07777);
	set_u64(L, "uid", st.st_uid);
	set_u64(L, "gid", st.st_gid);
	set_u64(L, "device", st.st_dev);
	set_u64(L, "inode", st.st_ino);
	set_u64(L, "blocks_bytes", (uint64_t)st.st_blocks * 512); /* stat(2): units of 512 */
	lua_pushinteger(L, st.st_mtime);
	lua_setfield(L, -2, "modified_s");
	return 1;
}

static int f_space_available(lua_State *L)
{
	const char *path = arg_text(L, 1);
	uint64_t bytes;
	struct statvfs st;
	struct err e;

	if (statvfs(path, &st) < 0) {
		err_set_errno(&e, ERR_SOURCE, errno, "ask for the space at %s", path);
		return bind_fail(L, &e);
	}
	if (!mul_u64(st.f_bavail, st.f_frsize, &bytes))
		bytes = UINT64_MAX;
	push_u64(L, bytes);
	return 1;
}

static int f_realpath(lua_State *L)
{
	const char *path = arg_text(L, 1);
	char resolved[PATH_MAX];
	struct err e;

	if (realpath(path, resolved) == NULL) {
		err_set_errno(&e, ERR_SOURCE, errno, "resolve %s", path);
		return bind_fail(L, &e);
	}
	lua_pushstring(L, resolved);
	return 1;
}

static int sync_directory(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return err_set_errno(e, ERR_TARGET, errno, "open the directory %s", path);
	/* EINVAL: a file system that has no such thing, and nothing better to offer. */
	if (fsync(fd) < 0 && errno != EINVAL)
		rc = err_set_errno(e, ERR_TARGET, errno, "sync the directory %s", path);
	close(fd);
	return rc;
}

static int sync_directory_of(const char *path, struct err *e)
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return err_set(e, ERR_TARGET, ENAMETOOLONG, "%s", path);
	return sync_directory(dirname(copy), e);
}

static int f_sync_directory(lua_State *L)
{
	struct err e = { 0 };

	return bind_result(L, sync_directory(arg_text(L, 1), &e), &e);
}

/*
 * Where the file system has no RENAME_NOREPLACE: whoever makes an empty file under the name owns
 * it, and may then replace it.
 */
static int rename_over_placeholder(const char *from, const char *to)
{
	int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int sys;

	if (fd < 0)
		return -1;
	close(fd);
	if (rename(from, to) == 0)
		return 0;
	sys = errno;
	unlink(to);
	errno = sys;
	return -1;
}

static int rename_to_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return -1;
	return rename_over_placeholder(from, to);
}

static int rename_durably(const char *from, const char *to, bool replace, struct err *e)
{
	int rc = replace ? rename(from, to) : rename_to_new(from, to);

	if (rc < 0 && errno == EEXIST)
		return err_set(e, ERR_REFUSED, 0, "rename %s to %s: it exists already", from, to);
	if (rc < 0)
		return err_set_errno(e, ERR_TARGET, errno, "rename %s to %s", from, to);
	rc = sync_directory_of(to, e);
	if (rc == 0)
		rc = sync_directory_of(from, e);
	return rc;
}

static int f_rename(lua_State *L)
{
	const char *from = arg_text(L, 1), *to = arg_text(L, 2);
	bool replace = arg_bool(L, 3, false);
	struct err e = { 0 };

	return bind_result(L, rename_durably(from, to, replace, &e), &e);
}

/* ---- Locks: the box's object is the descriptor + 1, because NULL means closed ---- */

static void lock_free(struct box *b)
{
	close((int)((intptr_t)b->obj - 1));
}

const struct box_class box_lock = { "img.Lock", "lock", BOX_LOCK, lock_free };

static int open_locked(const char *path, int *fd, struct err *e)
{
	int rc;

	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
	if (*fd < 0)
		return err_set_errno(e, ERR_TARGET, errno, "open %s", path);
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		rc = err_set(e, ERR_BUSY, 0, "%s is locked by another process", path);
	else
		rc = err_set_errno(e, ERR_TARGET, errno, "lock %s", path);
	close(*fd);
	return rc;
}

static int f_lock(lua_State *L)
{
	const char *path = arg_text(L, 1);
	struct box *b = box_new(L, &box_lock, sizeof(*b));
	struct err e;
	int fd;

	if (open_locked(path, &fd, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, (void *)(intptr_t)(fd + 1));
	return 1;
}

static const luaL_Reg lock_methods[] = {
	{ "close", box_close_method },
	{ NULL, NULL },
};

void lock_register(lua_State *L)
{
	box_register(L, &box_lock, lock_methods);
}

const luaL_Reg sys_file_functions[] = {
	{ "stat", f_stat },
	{ "space_available", f_space_available },
	{ "realpath", f_realpath },
	{ "sync_directory", f_sync_directory },
	{ "rename", f_rename },
	{ "lock", f_lock },
	{ NULL, NULL },
};
