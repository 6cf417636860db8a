#include "adapter/ntfs_io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/logging.h>
#include <ntfs-3g/volume.h>

#include "base/mem.h"

struct ntfs_io {
	struct dev *dev;
	ntfs_volume *vol;    /* once open it owns the ntfs_device */
	uint64_t pos;	     /* of the library's seek and read */
	uint64_t reads_left; /* see ntfs_io_begin */
	struct err failed;   /* the first failed read since ntfs_io_begin */
};

/*
 * The library's log handler is one for the process and is told nothing about the volume, so a
 * message finds its volume by the thread. These two are the only mutable file-scope variables
 * (against S8): there is no argument through which they could come.
 */
static _Thread_local char first_message[160];
static pthread_once_t log_once = PTHREAD_ONCE_INIT;

static int keep_first_error(const char *function, const char *file, int line, u32 level, void *data,
	const char *format, va_list args)
{
	int sys = errno; /* callers look at it after they have logged */
	char *p;

	(void)function, (void)file, (void)line, (void)data;
	if (!(level & (NTFS_LOG_LEVEL_ERROR | NTFS_LOG_LEVEL_PERROR | NTFS_LOG_LEVEL_CRITICAL)) ||
		first_message[0] != '\0')
		return 0;
	vsnprintf(first_message, sizeof(first_message), format, args);
	/* One line of plain text: the message may quote bytes of the volume. */
	for (p = first_message; *p != '\0' && *p != '\n'; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
			*p = '?';
	while (p > first_message && (p[-1] == '.' || p[-1] == ' '))
		p--;
	*p = '\0';
	errno = sys;
	return 0;
}

static void set_log_handler(void)
{
	ntfs_log_set_handler(keep_first_error);
}

static int op_open(struct ntfs_device *nd, int flags)
{
	if (NDevOpen(nd)) {
		errno = EBUSY;
		return -1;
	}
	if ((flags & O_ACCMODE) != O_RDONLY) {
		errno = EROFS;
		return -1;
	}
	NDevSetReadOnly(nd);
	NDevSetOpen(nd);
	return 0;
}

static int op_close(struct ntfs_device *nd)
{
	if (!NDevOpen(nd)) {
		errno = EBADF;
		return -1;
	}
	NDevClearOpen(nd);
	return 0;
}

static s64 op_seek(struct ntfs_device *nd, s64 offset, int whence)
{
	struct ntfs_io *io = nd->d_private;
	s64 size = (s64)dev_size(io->dev);
	s64 base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (s64)io->pos : size;
	s64 pos;

	if (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END) {
		errno = EINVAL;
		return -1;
	}
	if (__builtin_add_overflow(base, offset, &pos) || pos < 0 || pos > size) {
		errno = EINVAL;
		return -1;
	}
	io->pos = (uint64_t)pos;
	return pos;
}

/* Remember the first failure, and give the library an errno for it. */
static s64 read_failed(struct ntfs_io *io, const struct err *e, int sys)
{
	if (io->failed.code == 0)
		io->failed = *e;
	errno = sys;
	return -1;
}

static s64 op_pread(struct ntfs_device *nd, void *buf, s64 count, s64 offset)
{
	struct ntfs_io *io = nd->d_private;
	struct err e;

	if (count == 0)
		return 0;
	if (count < 0 || count > NTFS_IO_MAX_READ_BYTES) {
		err_set(&e, ERR_FORMAT, 0, "a record claims %" PRId64 " bytes", (int64_t)count);
		return read_failed(io, &e, EINVAL);
	}
	if (io->reads_left == 0) {
		err_set(&e, ERR_FORMAT, 0, "the metadata goes round in circles");
		return read_failed(io, &e, ELOOP);
	}
	io->reads_left--;
	if (offset < 0 || !range_inside((uint64_t)offset, (uint64_t)count, dev_size(io->dev))) {
		err_set(&e, ERR_FORMAT, 0, "the metadata points at byte %" PRId64 ", past the end",
			(int64_t)offset);
		return read_failed(io, &e, EIO);
	}
	if (dev_read(io->dev, (uint64_t)offset, buf, (size_t)count, &e) < 0)
		return read_failed(io, &e, e.sys != 0 ? e.sys : EIO);
	return count;
}

static s64 op_read(struct ntfs_device *nd, void *buf, s64 count)
{
	struct ntfs_io *io = nd->d_private;
	s64 got = op_pread(nd, buf, count, (s64)io->pos);

	if (got > 0)
		io->pos += (uint64_t)got;
	return got;
}

static s64 op_write(struct ntfs_device *nd, const void *buf, s64 count)
{
	(void)nd, (void)buf, (void)count;
	errno = EROFS;
	return -1;
}

static s64 op_pwrite(struct ntfs_device *nd, const void *buf, s64 count, s64 offset)
{
	(void)offset;
	return op_write(nd, buf, count);
}

static int op_sync(struct ntfs_device *nd)
{
	(void)nd; /* nothing was written */
	return 0;
}

/* A plain read-only file: the library treats block devices specially, by ioctls we don't have. */
static int op_stat(struct ntfs_device *nd, struct stat *st)
{
	const struct ntfs_io *io = nd->d_private;

	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFREG | S_IRUSR;
	st->st_size = (off_t)dev_size(io->dev);
	return 0;
}

static int op_ioctl(struct ntfs_device *nd, unsigned long request, void *argp)
{
	(void)nd, (void)request, (void)argp;
	errno = EOPNOTSUPP;
	return -1;
}

/* Not const: the library's type for it is not; nobody writes to it. */
static struct ntfs_device_operations operations = {
	.open = op_open,
	.close = op_close,
	.seek = op_seek,
	.read = op_read,
	.write = op_write,
	.pread = op_pread,
	.pwrite = op_pwrite,
	.sync = op_sync,
	.stat = op_stat,
	.ioctl = op_ioctl,
};

int ntfs_io_open(struct dev *d, struct ntfs_io **out, struct err *e)
{
	struct ntfs_io *io = calloc(1, sizeof(*io));
	struct ntfs_device *nd = NULL;
	int rc;

	*out = NULL;
	if (io == NULL)
		return err_nomem(e);
	pthread_once(&log_once, set_log_handler);
	io->dev = d;
	nd = ntfs_device_alloc(dev_name(d), 0, &operations, io);
	if (nd == NULL) {
		rc = err_nomem(e);
		goto out;
	}
	ntfs_io_begin(io, NTFS_IO_METADATA_READS);
	io->vol = ntfs_volume_startup(nd, NTFS_MNT_RDONLY | NTFS_MNT_FORENSIC);
	if (io->vol == NULL) {
		rc = ntfs_io_fail(io, e, "open the volume");
		ntfs_device_free(nd);
		goto out;
	}
	*out = io;
	return 0;
out:
	free(io);
	return rc;
}

void ntfs_io_close(struct ntfs_io *io)
{
	if (io == NULL)
		return;
	/* Closing inodes reads nothing, and nothing is dirty; the device goes with the volume. */
	ntfs_umount(io->vol, FALSE);
	free(io);
}

struct _ntfs_volume *ntfs_io_volume(struct ntfs_io *io)
{
	return io->vol;
}

void ntfs_io_begin(struct ntfs_io *io, uint64_t reads)
{
	io->reads_left = reads;
	memset(&io->failed, 0, sizeof(io->failed));
	first_message[0] = '\0';
	errno = 0;
}

int ntfs_io_fail(struct ntfs_io *io, struct err *e, const char *what)
{
	int sys = errno;

	if (io->failed.code != 0) {
		if (e == NULL)
			return -io->failed.code;
		*e = io->failed;
		return err_prefix(e, "%s", what);
	}
	if (first_message[0] != '\0')
		return err_set(e, ERR_FORMAT, 0, "%s: %s", what, first_message);
	return err_set(e, ERR_FORMAT, sys, "%s", what);
}

int ntfs_io_count_names(struct ntfs_io *io, struct _ntfs_inode *ni, uint64_t *out, struct err *e)
{
	ntfs_attr_search_ctx *ctx = ntfs_attr_get_search_ctx(ni, NULL);
	uint64_t count = 0;
	int rc = 0;

	if (ctx == NULL)
		return err_nomem(e);
	while (ntfs_attr_lookup(AT_FILE_NAME, AT_UNNAMED, 0, CASE_SENSITIVE, 0, NULL, 0, ctx) ==
		0) {
		const ATTR_RECORD *a = ctx->attr;
		uint32_t length = le32_to_cpu(a->value_length);
		const uint8_t *value = (const uint8_t *)a + le16_to_cpu(a->value_offset);

		if (a->non_resident || length < sizeof(FILE_NAME_ATTR)) {
			rc = err_set(e, ERR_FORMAT, 0, "one of its names is damaged");
			goto out;
		}
		if (((const FILE_NAME_ATTR *)value)->file_name_type != FILE_NAME_DOS)
			count++;
	}
	if (errno != ENOENT)
		rc = ntfs_io_fail(io, e, "read its names");
	*out = count;
out:
	ntfs_attr_put_search_ctx(ctx);
	return rc;
}
