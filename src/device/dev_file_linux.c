/*
 * Regular files and block devices on Linux.
 *
 * With DEV_DIRECT the main descriptor is O_DIRECT and takes whole blocks. The end of a file is
 * rarely a multiple of the block, and O_DIRECT cannot write less: a second, buffered descriptor
 * (`tail_fd`) serves what is left there. A file's block is at least a page, so that the two never
 * meet in one page of the cache. Where the kernel refuses O_DIRECT after all (EINVAL), the main
 * descriptor is turned into a buffered one, for good.
 *
 * Once a flush has failed, every later one fails too: the kernel reports a lost write only once,
 * and the next fsync would say that all is well.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/dev_file_int.h"

_Static_assert(sizeof(off_t) == 8, "files are larger than 2 GiB");

static struct dev_file *file_of(const struct dev *d)
{
	return (struct dev_file *)(uintptr_t)d;
}

void dev_file_drop_direct(struct dev_file *f)
{
	int flags = fcntl(f->fd, F_GETFL);

	if (flags >= 0)
		fcntl(f->fd, F_SETFL, flags & ~O_DIRECT);
	atomic_store(&f->direct, false);
}

/* ---- Transfer ---- */

static int transfer(struct dev_file *f, int fd, bool write, uint64_t off, uint8_t *buf, size_t len,
	struct err *e)
{
	while (len > 0) {
		ssize_t n =
			write ? pwrite(fd, buf, len, (off_t)off) : pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EINVAL && fd == f->fd && atomic_load(&f->direct)) {
			dev_file_drop_direct(f);
			continue;
		}
		if (n < 0)
			return dev_io_failed(&f->dev, write, off, errno, e);
		if (n == 0 && !write)
			return dev_ended(&f->dev, off, e);
		if (n == 0)
			return dev_io_failed(&f->dev, true, off, EIO, e);
		off += (uint64_t)n;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static int transfer_both(struct dev_file *f, bool write, uint64_t off, uint8_t *buf, size_t len,
	struct err *e)
{
	size_t body = len;
	int rc = 0;

	if (atomic_load(&f->direct) && f->tail_fd >= 0)
		body = (size_t)align_down(len, f->dev.info.align_bytes);
	if (body > 0)
		rc = transfer(f, f->fd, write, off, buf, body, e);
	if (rc == 0 && body < len)
		rc = transfer(f, f->tail_fd, write, off + body, buf + body, len - body, e);
	return rc;
}

static int file_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	return transfer_both(file_of(d), false, off, buf, len, e);
}

static int file_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	return transfer_both(file_of(d), true, off, (uint8_t *)(uintptr_t)buf, len, e);
}

static int file_flush(struct dev *d, bool metadata, struct err *e)
{
	struct dev_file *f = file_of(d);
	int sys = atomic_load(&f->flush_errno);

	while (sys == 0 && (metadata ? fsync(f->fd) : fdatasync(f->fd)) < 0) {
		if (errno == EINTR)
			continue;
		sys = errno;
		atomic_store(&f->flush_errno, sys);
	}
	return sys == 0 ? 0 : err_set(e, ERR_TARGET, sys, "flush %s", d->name);
}

/* ---- Discard and zero ---- */

static bool is_unsupported(int sys)
{
	return sys == EOPNOTSUPP || sys == ENOTTY || sys == EINVAL || sys == ENOSYS;
}

static int retry_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
	int rc;

	do
		rc = fallocate(fd, mode, (off_t)off, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc;
}

static int file_discard(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	if (retry_fallocate(file_of(d)->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len) ==
		0)
		return 0;
	return err_set(e, ERR_TARGET, errno, "discard %s at %" PRIu64, d->name, off);
}

static int file_zero(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	int fd = file_of(d)->fd;

	if (retry_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len) == 0)
		return 0;
	if (is_unsupported(errno) &&
		retry_fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len) == 0)
		return 0;
	if (is_unsupported(errno))
		return dev_write_zeros(d, off, len, e);
	return err_set(e, ERR_TARGET, errno, "zero %s at %" PRIu64, d->name, off);
}

static int file_set_size(struct dev *d, uint64_t size, struct err *e)
{
	int rc;

	do
		rc = ftruncate(file_of(d)->fd, (off_t)size);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	return err_set(e, ERR_TARGET, errno, "set the size of %s to %" PRIu64, d->name, size);
}

static int block_range_ioctl(struct dev *d, unsigned long request, uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };
	int rc;

	do
		rc = ioctl(file_of(d)->fd, request, range);
	while (rc < 0 && errno == EINTR);
	return rc;
}

static int block_discard(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	if (block_range_ioctl(d, BLKDISCARD, off, len) == 0)
		return 0;
	return err_set(e, ERR_TARGET, errno, "discard %s at %" PRIu64, d->name, off);
}

static int block_zero(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	if (block_range_ioctl(d, BLKZEROOUT, off, len) == 0)
		return 0;
	if (is_unsupported(errno))
		return dev_write_zeros(d, off, len, e);
	return err_set(e, ERR_TARGET, errno, "zero %s at %" PRIu64, d->name, off);
}

/* ---- The rest ---- */

static int file_fd(const struct dev *d, uint64_t *base)
{
	*base = 0;
	return file_of(d)->fd;
}

static void file_close(struct dev *d)
{
	struct dev_file *f = file_of(d);

	/* Only reports of lost writes could come from close; those are dev_flush's to give. */
	if (f->tail_fd >= 0)
		close(f->tail_fd);
	if (f->fd >= 0)
		close(f->fd);
	dev_fini(d);
	free(f);
}

const struct dev_ops dev_file_ops = {
	.kind = "file",
	.read = file_read,
	.write = file_write,
	.flush = file_flush,
	.discard = file_discard,
	.zero = file_zero,
	.set_size = file_set_size,
	.fd = file_fd,
	.close = file_close,
};

const struct dev_ops dev_block_ops = {
	.kind = "block",
	.read = file_read,
	.write = file_write,
	.flush = file_flush,
	.discard = block_discard,
	.zero = block_zero,
	.fd = file_fd,
	.close = file_close,
};

void dev_will_read(struct dev *d, uint64_t off, uint64_t len)
{
	uint64_t base;
	int fd = dev_fd(d, &base);

	if (fd >= 0)
		posix_fadvise(fd, (off_t)(base + off), (off_t)len, POSIX_FADV_WILLNEED);
}

bool dev_file_exclusive(const struct dev *d)
{
	return d->ops == &dev_block_ops && file_of(d)->exclusive;
}
