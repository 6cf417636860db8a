/*
 * One flat directory of files, each a device. The kernel may keep what it has read: nothing here
 * ever changes. Its read-ahead asks for more than somebody wanted; when that touches a damaged
 * block it asks again for the page alone, so that only the block's own pages are errors.
 */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/serve_fuse_int.h"

#define FILE_MODE (S_IFREG | 0400)
#define DIRECTORY_MODE (S_IFDIR | 0500)
#define SHARED_BITS 0055 /* readable, and for the directory searchable, by others too */

struct entry {
	char *name;
	struct dev *dev;
};

struct flat {
	size_t count;
	struct entry entries[];
};

static struct fuse_mount *mount_of(void)
{
	return fuse_get_context()->private_data;
}

static const struct entry *find_entry(const struct fuse_mount *m, const char *path)
{
	const struct flat *f = m->served;

	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->entries[i].name, path + 1) == 0)
			return &f->entries[i];
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
	st->st_blocks = (blkcnt_t)div_up(dev_size(x->dev), FUSE_STAT_BLOCK_BYTES);
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
	const struct flat *f = mount_of()->served;

	(void)off;
	(void)fi;
	(void)flags;
	if (strcmp(path, "/") != 0)
		return -ENOENT;
	fill(buf, ".", NULL, 0, 0);
	fill(buf, "..", NULL, 0, 0);
	for (size_t i = 0; i < f->count; i++)
		fill(buf, f->entries[i].name, NULL, 0, 0);
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

static void free_flat(void *served)
{
	struct flat *f = served;

	for (size_t i = 0; f != NULL && i < f->count; i++)
		free(f->entries[i].name);
	free(f);
}

static int copy_entries(struct fuse_mount *m, const struct fuse_file *files, size_t count,
	struct err *e)
{
	struct flat *f = calloc(1, sizeof(*f) + count * sizeof(f->entries[0]));

	m->served = f;
	if (f == NULL)
		return err_nomem(e);
	for (size_t i = 0; i < count; i++) {
		f->entries[i].dev = files[i].dev;
		f->entries[i].name = strdup(files[i].name);
		if (f->entries[i].name == NULL)
			return err_nomem(e);
		f->count++;
	}
	return 0;
}

static int start(struct fuse_mount *m, struct err *e)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int rc = fuse_mount_args(m, true, &args, e);

	if (rc == 0)
		m->fuse = fuse_new(&args, &operations, sizeof(operations), m);
	fuse_opt_free_args(&args);
	if (m->fuse != NULL)
		m->session = fuse_get_session(m->fuse);
	return rc == 0 ? fuse_mount_start(m, e) : rc;
}

int serve_fuse(const char *dir, const struct fuse_file *files, size_t count,
	const struct fuse_mount_options *o, struct fuse_mount **out, struct err *e)
{
	struct fuse_mount *m;
	int rc = fuse_mount_new(dir, o, free_flat, &m, e);

	*out = NULL;
	if (rc == 0)
		rc = copy_entries(m, files, count, e);
	if (rc == 0)
		rc = start(m, e);
	if (rc < 0) {
		fuse_mount_close(m);
		return rc;
	}
	*out = m;
	return 0;
}
