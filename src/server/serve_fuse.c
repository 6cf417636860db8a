/*
 * One flat directory of files, each a device. The kernel may keep what it has read: nothing here
 * ever changes. Its read-ahead asks for more than somebody wanted; when that touches a damaged
 * block it asks again for the page alone, so that only the block's own pages are errors.
 *
 * The threads are ours, not fuse_loop_mt's: those can be ended only by another request, which hangs
 * when none of them is left to answer it. Ours wait for the kernel or for the word to stop.
 */
#define FUSE_USE_VERSION 35
#include "server/serve_fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define FILE_MODE (S_IFREG | 0400)
#define DIRECTORY_MODE (S_IFDIR | 0500)
#define SHARED_BITS 0055 /* readable, and for the directory searchable, by others too */
#define STAT_BLOCK_BYTES 512
#define THREADS 8

struct entry {
	char *name;
	struct dev *dev;
};

struct fuse_mount {
	struct fuse *fuse;
	char *dir;
	bool mounted;
	bool shared;
	time_t started;
	int stop_fd;
	pthread_t threads[THREADS];
	unsigned thread_count;
	atomic_bool running;
	atomic_uint_fast64_t requests, failures, bytes;
	size_t count;
	struct entry entries[];
};

static struct fuse_mount *mount_of(void)
{
	return fuse_get_context()->private_data;
}

static const struct entry *find_entry(const struct fuse_mount *m, const char *path)
{
	for (size_t i = 0; i < m->count; i++)
		if (strcmp(m->entries[i].name, path + 1) == 0)
			return &m->entries[i];
	return NULL;
}

/* ---- What the kernel asks ---- */

static void fill_stat(const struct fuse_mount *m, const struct entry *x, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = x == NULL ? DIRECTORY_MODE : FILE_MODE;
	if (m->shared)
		st->st_mode |= SHARED_BITS & (x == NULL ? 0777 : 0444);
	st->st_nlink = x == NULL ? 2 : 1;
	st->st_uid = geteuid();
	st->st_gid = getegid();
	st->st_mtime = st->st_ctime = st->st_atime = m->started;
	if (x == NULL)
		return;
	st->st_size = (off_t)dev_size(x->dev);
	st->st_blocks = (blkcnt_t)div_up(dev_size(x->dev), STAT_BLOCK_BYTES);
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	const struct fuse_mount *m = mount_of();
	const struct entry *x = find_entry(m, path);

	(void)fi;
	if (x == NULL && strcmp(path, "/") != 0)
		return -ENOENT;
	fill_stat(m, x, st);
	return 0;
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
	struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	const struct fuse_mount *m = mount_of();

	(void)off;
	(void)fi;
	(void)flags;
	if (strcmp(path, "/") != 0)
		return -ENOENT;
	fill(buf, ".", NULL, 0, 0);
	fill(buf, "..", NULL, 0, 0);
	for (size_t i = 0; i < m->count; i++)
		fill(buf, m->entries[i].name, NULL, 0, 0);
	return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
	const struct entry *x = find_entry(mount_of(), path);

	if (x == NULL)
		return -ENOENT;
	if ((fi->flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	fi->keep_cache = 1;
	fi->fh = (uint64_t)(uintptr_t)x;
	return 0;
}

static const struct entry *opened(const struct fuse_file_info *fi)
{
	return (const struct entry *)(uintptr_t)fi->fh;
}

static int op_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	struct fuse_mount *m = mount_of();
	struct dev *d = opened(fi)->dev;
	uint64_t from = (uint64_t)off, size = dev_size(d);
	struct err e;

	(void)path;
	atomic_fetch_add(&m->requests, 1);
	if (off < 0 || from >= size)
		return 0;
	len = (size_t)min_u64(min_u64(len, size - from), INT32_MAX);
	if (dev_read(d, from, buf, len, &e) < 0) {
		atomic_fetch_add(&m->failures, 1);
		return -EIO;
	}
	atomic_fetch_add(&m->bytes, len);
	return (int)len;
}

/* SEEK_DATA and SEEK_HOLE, so that a copy of the file is as sparse as its source was. */
static off_t op_lseek(const char *path, off_t off, int whence, struct fuse_file_info *fi)
{
	struct dev *d = opened(fi)->dev;
	uint64_t at = (uint64_t)off, size = dev_size(d);

	(void)path;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (off < 0 || at >= size)
		return -ENXIO;
	while (at < size) {
		struct dev_extent x;
		struct err e;

		if (dev_extent(d, at, size - at, &x, &e) < 0)
			return -EIO;
		if ((x.kind == DEV_EXTENT_DATA) == (whence == SEEK_DATA))
			return (off_t)at;
		at += x.len;
	}
	/* Behind the last byte there is a hole, and no data. */
	return whence == SEEK_HOLE ? (off_t)size : -ENXIO;
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	(void)conn;
	config->kernel_cache = 1;
	config->use_ino = 0;
	return mount_of();
}

static const struct fuse_operations operations = {
	.init = op_init,
	.getattr = op_getattr,
	.readdir = op_readdir,
	.open = op_open,
	.read = op_read,
	.lseek = op_lseek,
};

/* ---- Life ---- */

/* Take requests and answer them, until the mount is gone or it is time to stop. */
static void *run(void *arg)
{
	struct fuse_mount *m = arg;
	struct fuse_session *session = fuse_get_session(m->fuse);
	struct pollfd p[2] = {
		{ .fd = fuse_session_fd(session), .events = POLLIN },
		{ .fd = m->stop_fd, .events = POLLIN },
	};
	struct fuse_buf buf = { .mem = NULL };

	while (!fuse_session_exited(session)) {
		int n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents != 0)
			break;
		/* The descriptor does not block: another thread may have been quicker. */
		n = fuse_session_receive_buf(session, &buf);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(session, &buf);
	}
	free(buf.mem);
	atomic_store(&m->running, false);
	return NULL;
}

static int start_threads(struct fuse_mount *m, struct err *e)
{
	int fd = fuse_session_fd(fuse_get_session(m->fuse));
	int flags = fcntl(fd, F_GETFL);

	m->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (m->stop_fd < 0 || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(e, ERR_INTERNAL, errno, "set up the mount on %s", m->dir);
	atomic_store(&m->running, true);
	for (; m->thread_count < THREADS; m->thread_count++) {
		int sys = pthread_create(&m->threads[m->thread_count], NULL, run, m);

		if (sys != 0)
			return err_set(e, ERR_INTERNAL, sys, "start a thread for %s", m->dir);
	}
	return 0;
}

static int copy_entries(struct fuse_mount *m, const struct fuse_file *files, size_t count,
	struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		m->entries[i].dev = files[i].dev;
		m->entries[i].name = strdup(files[i].name);
		if (m->entries[i].name == NULL)
			return err_nomem(e);
		m->count++;
	}
	return 0;
}

/* libfuse says what is wrong on stderr, and only that something is in its answer. */
static int mount_failed(const char *dir, struct err *e)
{
	return err_set(e, ERR_PERMISSION, 0, "mount on %s: FUSE refuses", dir);
}

static int start(struct fuse_mount *m, const char *dir, const struct fuse_mount_options *o,
	struct err *e)
{
	const char *argv[] = { "imgtool", "-o", "ro,fsname=imgtool,subtype=imgtool", "-o",
		"default_permissions", "-o", "allow_other", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(o->allow_other ? 7 : 5, (char **)argv);

	m->fuse = fuse_new(&args, &operations, sizeof(operations), m);
	fuse_opt_free_args(&args);
	if (m->fuse == NULL || fuse_mount(m->fuse, dir) != 0)
		return mount_failed(dir, e);
	m->mounted = true;
	return start_threads(m, e);
}

int serve_fuse(const char *dir, const struct fuse_file *files, size_t count,
	const struct fuse_mount_options *o, struct fuse_mount **out, struct err *e)
{
	struct fuse_mount *m = calloc(1, sizeof(*m) + count * sizeof(m->entries[0]));
	struct stat st;
	int rc;

	*out = NULL;
	if (m == NULL)
		return err_nomem(e);
	m->stop_fd = -1;
	m->started = time(NULL);
	m->dir = strdup(dir);
	m->shared = o->allow_other;
	if (m->dir == NULL)
		rc = err_nomem(e);
	else if (stat(dir, &st) < 0)
		rc = err_set_errno(e, ERR_NOT_FOUND, errno, "mount on %s", dir);
	else if (!S_ISDIR(st.st_mode))
		rc = err_set(e, ERR_USAGE, 0, "mount on %s: it is no directory", dir);
	else
		rc = copy_entries(m, files, count, e);
	if (rc == 0)
		rc = start(m, dir, o, e);
	if (rc < 0) {
		fuse_mount_close(m);
		return rc;
	}
	*out = m;
	return 0;
}

bool fuse_mount_running(struct fuse_mount *m)
{
	return atomic_load(&m->running);
}

void fuse_mount_stats(struct fuse_mount *m, struct fuse_mount_stats *out)
{
	out->requests = atomic_load(&m->requests);
	out->failures = atomic_load(&m->failures);
	out->bytes = atomic_load(&m->bytes);
}

void fuse_mount_close(struct fuse_mount *m)
{
	uint64_t one = 1;

	if (m == NULL)
		return;
	if (m->stop_fd >= 0 && write(m->stop_fd, &one, sizeof(one)) == sizeof(one))
		for (unsigned i = 0; i < m->thread_count; i++)
			pthread_join(m->threads[i], NULL);
	if (m->mounted)
		fuse_unmount(m->fuse);
	if (m->fuse != NULL)
		fuse_destroy(m->fuse);
	if (m->stop_fd >= 0)
		close(m->stop_fd);
	free(m->dir);
	for (size_t i = 0; i < m->count; i++)
		free(m->entries[i].name);
	free(m);
}
