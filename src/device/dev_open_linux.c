/* Opening files and block devices on Linux, and what they say about themselves. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/dev_file_int.h"

#define FILE_ALIGN_BYTES 4096

/* Does the queue of the disk, or of the disk of a partition, take discards? */
static bool queue_discards(dev_t devno)
{
	static const char *const where[] = { "queue", "../queue" };
	unsigned long long max = 0;

	for (size_t i = 0; i < COUNT_OF(where) && max == 0; i++) {
		char path[128];
		FILE *file;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/discard_max_bytes",
			major(devno), minor(devno), where[i]);
		file = fopen(path, "re");
		if (file == NULL)
			continue;
		if (fscanf(file, "%llu", &max) != 1)
			max = 0;
		fclose(file);
	}
	return max > 0;
}

static int setup_block(struct dev_file *f, dev_t devno, bool writable, struct err *e)
{
	struct dev_info *info = &f->dev.info;
	uint64_t size = 0;
	unsigned physical = 0;
	unsigned short rotational = 0;
	int logical = 0;
	int read_only = 0;

	if (ioctl(f->fd, BLKGETSIZE64, &size) < 0 || ioctl(f->fd, BLKSSZGET, &logical) < 0)
		return err_set_errno(e, ERR_SOURCE, errno, "ask %s for its size", f->dev.name);
	if (logical < 512 || !is_power_of_two((uint64_t)logical))
		return err_set(e, ERR_SOURCE, 0, "%s: a sector size of %d bytes", f->dev.name,
			logical);
	if (writable && ioctl(f->fd, BLKROGET, &read_only) == 0 && read_only != 0)
		return err_set(e, ERR_PERMISSION, 0, "open %s: the device is read-only",
			f->dev.name);
	if (ioctl(f->fd, BLKPBSZGET, &physical) < 0 || physical < (unsigned)logical)
		physical = (unsigned)logical;
	if (ioctl(f->fd, BLKROTATIONAL, &rotational) < 0)
		rotational = 0;
	info->size_bytes = size;
	info->logical_bytes = (uint32_t)logical;
	info->physical_bytes = physical;
	info->block_device = true;
	info->rotational = rotational != 0;
	info->can_discard = writable && queue_discards(devno);
	return 0;
}

static int setup(struct dev_file *f, const struct stat *st, bool writable, struct err *e)
{
	f->dev.info.writable = writable;
	if (S_ISBLK(st->st_mode)) {
		f->dev.ops = &dev_block_ops;
		return setup_block(f, st->st_rdev, writable, e);
	}
	f->dev.info.size_bytes = (uint64_t)st->st_size;
	f->dev.info.can_grow = writable;
	f->dev.info.can_discard = writable;
	return 0;
}

static bool same_object(const struct stat *a, const struct stat *b)
{
	return (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT) && a->st_dev == b->st_dev &&
		a->st_ino == b->st_ino && a->st_rdev == b->st_rdev;
}

/* The block that O_DIRECT needs on this descriptor; 0 when it cannot be used. */
static uint64_t direct_align(const struct dev_file *f)
{
	uint64_t align = f->dev.info.block_device ? f->dev.info.logical_bytes : FILE_ALIGN_BYTES;
	struct statx sx;

	if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
		(sx.stx_mask & STATX_DIOALIGN) != 0) {
		if (sx.stx_dio_offset_align == 0 || sx.stx_dio_mem_align == 0)
			return 0;
		align = max_u64(align, sx.stx_dio_offset_align);
		align = max_u64(align, sx.stx_dio_mem_align);
	}
	if (!is_power_of_two(align))
		return 0;
	/* An image file is committed in units of 4096 bytes, which must be whole blocks. */
	if (!f->dev.info.block_device && align > FILE_ALIGN_BYTES)
		return 0;
	return align;
}

static bool set_direct(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

/* Go over to O_DIRECT when all it needs is there; stay buffered otherwise. */
static void try_direct(struct dev_file *f, const char *path, const struct stat *st)
{
	const uint64_t align = direct_align(f);
	const bool need_tail =
		f->dev.info.can_grow || (align > 0 && f->dev.info.size_bytes % align != 0);
	int tail = -1;
	struct stat again;

	if (align == 0)
		return;
	/* O_DIRECT belongs to the open file, not to the descriptor: a dup would share it. */
	if (need_tail) {
		tail = open(path,
			(f->dev.info.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY |
				O_NONBLOCK);
		if (tail < 0)
			return;
		if (fstat(tail, &again) < 0 || !same_object(st, &again) ||
			fcntl(tail, F_SETFL, 0) < 0) {
			close(tail);
			return;
		}
	}
	if (!set_direct(f->fd)) {
		dev_file_drop_direct(f);
		if (tail >= 0)
			close(tail);
		return;
	}
	f->tail_fd = tail;
	f->dev.info.align_bytes = (uint32_t)align;
	atomic_store(&f->direct, true);
}

static struct dev_file *file_new(const char *name, struct err *e)
{
	struct dev_file *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		err_nomem(e);
		return NULL;
	}
	f->fd = -1;
	f->tail_fd = -1;
	if (dev_init(&f->dev, &dev_file_ops, name, e) < 0) {
		free(f);
		return NULL;
	}
	return f;
}

static int refuse_kind(const char *path, mode_t mode, struct err *e)
{
	const char *what = "not a regular file or block device";

	if (S_ISREG(mode) || S_ISBLK(mode))
		return 0;
	if (S_ISDIR(mode))
		what = "a directory";
	else if (S_ISCHR(mode))
		what = "a character device";
	else if (S_ISFIFO(mode))
		what = "a pipe";
	return err_set(e, ERR_USAGE, 0, "open %s: it is %s", path, what);
}

static int open_new(struct dev_file *f, const char *path, struct stat *st, struct err *e)
{
	/* A disk's content is nobody else's business, whatever the umask. */
	f->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);
	if (f->fd < 0 && errno == EEXIST)
		return err_set(e, ERR_REFUSED, 0, "create %s: it exists already", path);
	if (f->fd < 0)
		return err_set_errno(e, ERR_TARGET, errno, "create %s", path);
	if (fstat(f->fd, st) < 0)
		return err_set_errno(e, ERR_TARGET, errno, "stat %s", path);
	return 0;
}

static int open_existing(struct dev_file *f, const char *path, unsigned flags, struct stat *st,
	struct err *e)
{
	const enum err_code code = (flags & DEV_WRITE) ? ERR_TARGET : ERR_SOURCE;
	int how = ((flags & DEV_WRITE) ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY;
	struct stat before;
	int rc;

	/* What it is decides how to open it; opening alone can block, or wake up a device. */
	if (stat(path, &before) < 0)
		return err_set_errno(e, code, errno, "open %s", path);
	rc = refuse_kind(path, before.st_mode, e);
	if (rc < 0)
		return rc;
	if (S_ISBLK(before.st_mode) && (flags & DEV_TRUNCATE))
		return err_set(e, ERR_USAGE, 0, "open %s: a block device can't be cut", path);
	if (S_ISREG(before.st_mode))
		how |= O_NONBLOCK;
	else if (flags & DEV_EXCLUSIVE)
		how |= O_EXCL;
	f->fd = open(path, how);
	if (f->fd < 0)
		return err_set_errno(e, code, errno, "open %s%s", path,
			(how & O_EXCL) ? " exclusively" : "");
	if (fstat(f->fd, st) < 0 || !same_object(&before, st))
		return err_set(e, ERR_BUSY, 0, "open %s: it is being replaced", path);
	/* io_uring gives up on a non-blocking file where it would have to wait. */
	if ((how & O_NONBLOCK) && fcntl(f->fd, F_SETFL, 0) < 0)
		return err_set_errno(e, code, errno, "open %s", path);
	if (flags & DEV_TRUNCATE) {
		if (ftruncate(f->fd, 0) < 0)
			return err_set_errno(e, code, errno, "cut %s", path);
		st->st_size = 0;
	}
	f->exclusive = (how & O_EXCL) != 0;
	return 0;
}

int dev_open(const char *path, unsigned flags, struct dev **out, struct err *e)
{
	struct dev_file *f;
	struct stat st;
	int rc;

	*out = NULL;
	if ((flags & (DEV_CREATE | DEV_TRUNCATE)) && !(flags & DEV_WRITE))
		return err_set(e, ERR_USAGE, 0, "open %s: not for writing, yet to be made", path);
	f = file_new(path, e);
	if (f == NULL)
		return -ERR_INTERNAL;
	rc = (flags & DEV_CREATE) ? open_new(f, path, &st, e)
				  : open_existing(f, path, flags, &st, e);
	if (rc == 0)
		rc = setup(f, &st, (flags & DEV_WRITE) != 0, e);
	if (rc < 0) {
		dev_close(&f->dev);
		return rc;
	}
	if (flags & DEV_DIRECT)
		try_direct(f, path, &st);
	*out = &f->dev;
	return 0;
}

int dev_open_fd(int fd, const char *name, bool writable, struct dev **out, struct err *e)
{
	struct dev_file *f = file_new(name, e);
	struct stat st;
	int rc;

	*out = NULL;
	if (f == NULL) {
		close(fd);
		return -ERR_INTERNAL;
	}
	f->fd = fd;
	if (fstat(fd, &st) < 0)
		rc = err_set_errno(e, ERR_SOURCE, errno, "stat %s", name);
	else
		rc = refuse_kind(name, st.st_mode, e);
	if (rc == 0)
		rc = setup(f, &st, writable, e);
	if (rc < 0) {
		dev_close(&f->dev);
		return rc;
	}
	/* Whoever opened it O_DIRECT gave us no second descriptor for the tail; and io_uring gives
	 * up on a non-blocking file where it would have to wait. */
	fcntl(fd, F_SETFL, 0);
	*out = &f->dev;
	return 0;
}

/* udev looks at what was written for a moment, and holds partitions meanwhile. */
#define REREAD_TRIES 30
#define REREAD_PAUSE_NS 100000000

int dev_reread_table(struct dev *d, struct err *e)
{
	const struct timespec pause = { 0, REREAD_PAUSE_NS };
	uint64_t base;
	int fd = dev_fd(d, &base);

	if (fd < 0 || !dev_info(d)->block_device)
		return 0;
	for (int i = 0; i < REREAD_TRIES; i++) {
		if (ioctl(fd, BLKRRPART) == 0)
			return 0;
		/* EINVAL: a device that is never looked at for partitions (block/ioctl.c). */
		if (errno == EINVAL)
			return 0;
		if (errno != EBUSY && errno != EINTR)
			return err_set_errno(e, ERR_TARGET, errno, "have the partitions of %s read",
				dev_name(d));
		nanosleep(&pause, NULL);
	}
	return err_set(e, ERR_BUSY, 0,
		"%s: the kernel keeps the old partitions, one of them is in use", dev_name(d));
}
