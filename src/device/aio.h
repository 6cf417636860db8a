/*
 * Asynchronous reads, writes and flushes on any device: io_uring where the device has a descriptor
 * and the kernel allows it, threads that call dev_read and dev_write otherwise. The choice is made
 * at run time; IMGTOOL_AIO=threads or =uring in the environment forces one (tests).
 *
 * An aio belongs to one thread: that thread submits and waits. Requests are the caller's memory and
 * must live until aio_wait has handed them back. Completions come in any order.
 */
#ifndef DEVICE_AIO_H
#define DEVICE_AIO_H

#include "device/dev.h"

enum aio_op { AIO_READ, AIO_WRITE, AIO_FLUSH };

struct aio_req {
	enum aio_op op;
	uint64_t off;
	void *buf; /* read into, or written from */
	size_t len;
	void *user; /* the caller's */
	int status; /* after completion: 0, or negative with `error` filled */
	struct err error;
	/* used by the back end while in flight */
	size_t done;
	void *backend;
	struct aio_req *next;
};

struct aio;

/* depth: the most requests in flight, 1 to 1024. */
int aio_open(struct dev *d, unsigned depth, struct aio **out, struct err *e);
/* Waits for what is in flight (results are dropped), then frees. NULL is fine. */
void aio_close(struct aio *a);

/* "uring" or "threads". */
const char *aio_backend(const struct aio *a);

/* How many requests are in flight. */
unsigned aio_in_flight(const struct aio *a);

/*
 * Queue one request; it may start at once or at the next aio_kick or aio_wait. The caller keeps
 * aio_in_flight below depth (more is ERR_INTERNAL). Short transfers are continued inside; a read
 * that meets the end is an error. AIO_FLUSH is a fdatasync; it covers the writes whose completion
 * was seen before it was queued.
 */
int aio_queue(struct aio *a, struct aio_req *r, struct err *e);

/* Start everything queued. Batches: call it once after several aio_queue. */
int aio_kick(struct aio *a, struct err *e);

/*
 * The next completed request, or NULL when none is in flight or, with `block` false, none is done.
 * Blocks until one completes otherwise. The request's own failure is in r->status.
 */
struct aio_req *aio_wait(struct aio *a, bool block);

#endif
