/*
 * Asynchronous requests by io_uring. Only what the kernel can take as it is goes into the ring;
 * unaligned pieces on an O_DIRECT descriptor, and whatever the ring refuses, are done on the spot
 * by dev_read and dev_write, which know how.
 *
 * A request is in one of: a->queued, `entered` (in the ring, submission not yet confirmed), the
 * kernel, `done`.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include <liburing.h>

#include "base/mem.h"
#include "device/aio_int.h"
#include "device/dev_int.h"

/* One entry's length has 32 bits; a multiple of every alignment. */
#define PIECE_MAX (1 * GIB)
/* Submissions that find the kernel short of memory are repeated this often. */
#define BUSY_MAX 1000

struct ring {
	struct io_uring uring;
	int fd;
	uint64_t base; /* of the device on the descriptor */
	bool broken;   /* the kernel takes no more: everything is done on the spot */
	unsigned in_kernel;
	struct aio_list entered;
	struct aio_list done;
};

static int uring_open(struct aio *a, struct err *e)
{
	struct ring *u = calloc(1, sizeof(*u));
	int rc;

	if (u == NULL)
		return err_nomem(e);
	u->fd = dev_fd(a->dev, &u->base);
	rc = io_uring_queue_init(a->depth, &u->uring, 0);
	if (rc == 0) {
		/* A confined process (base/confine.h) that inherits it could make requests. */
		rc = io_uring_ring_dontfork(&u->uring);
		if (rc < 0)
			io_uring_queue_exit(&u->uring);
	}
	if (rc < 0) {
		free(u);
		return err_set(e, ERR_INTERNAL, -rc, "set up io_uring for %s", dev_name(a->dev));
	}
	a->backend = u;
	return 0;
}

static void run_here(struct aio *a, struct aio_req *r)
{
	struct ring *u = a->backend;

	aio_run(a, r);
	aio_push(&u->done, r);
}

/* Put what is left of a request into the ring. */
static void enter(struct aio *a, struct aio_req *r)
{
	struct ring *u = a->backend;
	uint8_t *at = (uint8_t *)r->buf + r->done;
	uint64_t off = u->base + r->off + r->done;
	uint64_t len = min_u64(r->len - r->done, PIECE_MAX);
	struct io_uring_sqe *sqe;

	if (u->broken || (r->op != AIO_FLUSH && !dev_aligned(a->dev, off - u->base, at, len))) {
		run_here(a, r);
		return;
	}
	sqe = io_uring_get_sqe(&u->uring);
	if (sqe == NULL) {
		run_here(a, r);
		return;
	}
	if (r->op == AIO_READ)
		io_uring_prep_read(sqe, u->fd, at, (unsigned)len, off);
	else if (r->op == AIO_WRITE)
		io_uring_prep_write(sqe, u->fd, at, (unsigned)len, off);
	else
		io_uring_prep_fsync(sqe, u->fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data(sqe, r);
	aio_push(&u->entered, r);
}

/* Hand all of `entered` to the kernel. What it does not take is done here. */
static void submit(struct aio *a)
{
	struct ring *u = a->backend;
	struct aio_req *r;
	int busy = 0;

	while (u->entered.head != NULL && !u->broken) {
		int n = io_uring_submit(&u->uring);

		for (int i = 0; i < n && u->entered.head != NULL; i++) {
			aio_pop(&u->entered);
			u->in_kernel++;
		}
		if (n > 0 || n == -EINTR)
			continue;
		/* Short of memory, or of room for completions: both pass. */
		if ((n == 0 || n == -EAGAIN || n == -EBUSY) && busy++ < BUSY_MAX)
			sched_yield();
		else
			u->broken = true;
	}
	while ((r = aio_pop(&u->entered)) != NULL)
		run_here(a, r);
}

static void uring_kick(struct aio *a)
{
	struct aio_req *r;

	while ((r = aio_pop(&a->queued)) != NULL) {
		r->status = r->op == AIO_FLUSH
			? 0
			: dev_check(a->dev, r->op == AIO_WRITE, r->off, r->len, &r->error);
		if (r->status < 0 || (r->op != AIO_FLUSH && r->len == 0))
			aio_push(&((struct ring *)a->backend)->done, r);
		else
			enter(a, r);
	}
	submit(a);
}

/* Is this answer no verdict on the bytes, so that dev_read and dev_write should have a try? */
static bool try_here(int res)
{
	switch (res) {
	case -EAGAIN:
	case -EINTR:
	case -ECANCELED: /* a signal met it before it began */
	case -EINVAL:	 /* O_DIRECT refused, or a kernel that lacks the operation */
	case -EOPNOTSUPP:
	case -ENOSYS:
		return true;
	default:
		return false;
	}
}

/* The kernel's answer to a request: done, failed, or to be continued. */
static void complete(struct aio *a, struct aio_req *r, int res)
{
	struct ring *u = a->backend;
	const bool write = r->op == AIO_WRITE;

	if (try_here(res)) {
		run_here(a, r);
		return;
	}
	if (r->op == AIO_FLUSH) {
		if (res < 0)
			r->status =
				err_set(&r->error, ERR_TARGET, -res, "flush %s", dev_name(a->dev));
	} else if (res < 0) {
		r->status = dev_io_failed(a->dev, write, r->off + r->done, -res, &r->error);
	} else if (res == 0) {
		r->status = write ? dev_io_failed(a->dev, true, r->off + r->done, EIO, &r->error)
				  : dev_ended(a->dev, r->off + r->done, &r->error);
	} else {
		r->done += (size_t)res;
		if (write)
			dev_grew(a->dev, r->off + r->done);
		if (r->done < r->len) {
			enter(a, r);
			return;
		}
	}
	aio_push(&u->done, r);
}

/* Take all completions that are there. */
static void reap(struct aio *a)
{
	struct ring *u = a->backend;
	struct io_uring_cqe *cqe;

	while (u->in_kernel > 0 && io_uring_peek_cqe(&u->uring, &cqe) == 0) {
		struct aio_req *r = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&u->uring, cqe);
		u->in_kernel--;
		complete(a, r, res);
	}
	submit(a);
}

static struct aio_req *uring_wait(struct aio *a, bool block)
{
	struct ring *u = a->backend;
	struct io_uring_cqe *cqe;

	if (u->done.head == NULL)
		reap(a);
	while (u->done.head == NULL && block && u->in_kernel > 0) {
		/* Interrupted or not, see what is there: the kernel still owns the buffers. */
		if (io_uring_wait_cqe(&u->uring, &cqe) < 0)
			sched_yield();
		reap(a);
	}
	return aio_pop(&u->done);
}

static void uring_close(struct aio *a)
{
	struct ring *u = a->backend;

	io_uring_queue_exit(&u->uring);
	free(u);
}

const struct aio_ops aio_uring = {
	.name = "uring",
	.open = uring_open,
	.kick = uring_kick,
	.wait = uring_wait,
	.close = uring_close,
};
