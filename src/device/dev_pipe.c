/* A pipe, socket or terminal: bytes in one direction, in order. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "device/dev_int.h"

struct dev_pipe {
	struct dev dev;
	int fd;
	uint64_t pos; /* of the next byte */
};

static int check_position(const struct dev_pipe *p, bool write, uint64_t off, struct err *e)
{
	if (off == p->pos)
		return 0;
	return err_set(e, write ? ERR_TARGET : ERR_SOURCE, 0,
		"%s %s at %" PRIu64 ": a pipe is at %" PRIu64 " and can't go elsewhere",
		write ? "write" : "read", p->dev.name, off, p->pos);
}

/* After a failed call: go on (0), or the errno. A non-blocking descriptor is waited for. */
static int may_go_on(int fd, bool write)
{
	struct pollfd poll_fd = { .fd = fd, .events = write ? POLLOUT : POLLIN };

	if (errno == EINTR)
		return 0;
	if (errno != EAGAIN && errno != EWOULDBLOCK)
		return errno;
	return poll(&poll_fd, 1, -1) < 0 && errno != EINTR ? errno : 0;
}

static int pipe_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct dev_pipe *p = (struct dev_pipe *)d;
	uint8_t *to = buf;

	if (check_position(p, false, off, e) < 0)
		return -ERR_SOURCE;
	if (d->info.writable)
		return err_set(e, ERR_SOURCE, 0, "read %s: open for writing only", d->name);
	while (len > 0) {
		ssize_t n = read(p->fd, to, len);
		int sys = n < 0 ? may_go_on(p->fd, false) : 0;

		if (sys != 0)
			return dev_io_failed(d, false, p->pos, sys, e);
		if (n == 0)
			return dev_ended(d, p->pos, e);
		if (n < 0)
			continue;
		to += n;
		len -= (size_t)n;
		p->pos += (uint64_t)n;
	}
	return 0;
}

static int pipe_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	struct dev_pipe *p = (struct dev_pipe *)d;
	const uint8_t *from = buf;

	if (check_position(p, true, off, e) < 0)
		return -ERR_TARGET;
	while (len > 0) {
		ssize_t n = write(p->fd, from, len);
		int sys = n < 0 ? may_go_on(p->fd, true) : 0;

		if (sys != 0)
			return dev_io_failed(d, true, p->pos, sys, e);
		if (n < 0)
			continue;
		from += n;
		len -= (size_t)n;
		p->pos += (uint64_t)n;
	}
	return 0;
}

/* Behind the descriptor may be a file, as for a shell's redirection; a pipe has nothing to sync. */
static int pipe_flush(struct dev *d, bool metadata, struct err *e)
{
	int fd = ((struct dev_pipe *)d)->fd;

	while ((metadata ? fsync(fd) : fdatasync(fd)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == EINVAL || errno == EROFS || errno == ENOTSUP)
			return 0;
		return err_set(e, ERR_TARGET, errno, "flush %s", d->name);
	}
	return 0;
}

static void pipe_close(struct dev *d)
{
	close(((struct dev_pipe *)d)->fd);
	dev_fini(d);
	free(d);
}

static const struct dev_ops dev_pipe_ops = {
	.kind = "pipe",
	.read = pipe_read,
	.write = pipe_write,
	.flush = pipe_flush,
	.close = pipe_close,
};

int dev_open_pipe(int fd, const char *name, bool writable, struct dev **out, struct err *e)
{
	struct dev_pipe *p = calloc(1, sizeof(*p));

	*out = NULL;
	if (p == NULL || dev_init(&p->dev, &dev_pipe_ops, name, e) < 0) {
		free(p);
		close(fd);
		return err_nomem(e);
	}
	p->fd = fd;
	p->dev.info.writable = writable;
	p->dev.info.sequential = true;
	*out = &p->dev;
	return 0;
}
