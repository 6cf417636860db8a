#include "device/aio.h"

#include <stdlib.h>
#include <string.h>

#include "device/aio_int.h"
#include "device/dev_int.h"

#define DEPTH_MAX 1024

void aio_run(struct aio *a, struct aio_req *r)
{
	uint8_t *at = (uint8_t *)r->buf + r->done;
	uint64_t off = r->off + r->done;
	size_t len = r->len - r->done;

	switch (r->op) {
	case AIO_READ:
		r->status = dev_read(a->dev, off, at, len, &r->error);
		break;
	case AIO_WRITE:
		r->status = dev_write(a->dev, off, at, len, &r->error);
		break;
	case AIO_FLUSH:
		r->status = dev_flush(a->dev, false, &r->error);
		break;
	}
	if (r->status == 0)
		r->done = r->len;
}

/* Open the back end that the environment or the device asks for. */
static int open_backend(struct aio *a, struct err *e)
{
	const char *word = getenv("IMGTOOL_AIO");
	const bool forced = word != NULL && word[0] != '\0';
	uint64_t base;

	a->ops = &aio_threads;
	if (forced && strcmp(word, "threads") != 0 && strcmp(word, "uring") != 0)
		return err_set(e, ERR_USAGE, 0, "IMGTOOL_AIO=%s: neither uring nor threads", word);
	/* Without a descriptor there is nothing that io_uring could be given. */
	if (dev_fd(a->dev, &base) < 0 || (forced && strcmp(word, "threads") == 0))
		return aio_threads.open(a, e);
	a->ops = &aio_uring;
	if (aio_uring.open(a, e) == 0)
		return 0;
	if (forced)
		return -ERR_INTERNAL;
	a->ops = &aio_threads;
	return aio_threads.open(a, e);
}

int aio_open(struct dev *d, unsigned depth, struct aio **out, struct err *e)
{
	struct aio *a;
	int rc;

	*out = NULL;
	if (depth < 1 || depth > DEPTH_MAX)
		return err_set(e, ERR_INTERNAL, 0, "a queue of %u requests", depth);
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return err_nomem(e);
	a->dev = d;
	a->depth = depth;
	rc = open_backend(a, e);
	if (rc < 0) {
		free(a);
		return rc;
	}
	*out = a;
	return 0;
}

void aio_close(struct aio *a)
{
	if (a == NULL)
		return;
	while (aio_wait(a, true) != NULL)
		;
	a->ops->close(a);
	free(a);
}

const char *aio_backend(const struct aio *a)
{
	return a->ops->name;
}

unsigned aio_in_flight(const struct aio *a)
{
	return a->in_flight;
}

int aio_queue(struct aio *a, struct aio_req *r, struct err *e)
{
	if (a->in_flight >= a->depth)
		return err_set(e, ERR_INTERNAL, 0, "more than %u requests in flight on %s",
			a->depth, dev_name(a->dev));
	r->status = 0;
	r->done = 0;
	r->error.code = 0;
	r->error.sys = 0;
	r->error.msg[0] = '\0';
	aio_push(&a->queued, r);
	a->in_flight++;
	return 0;
}

int aio_kick(struct aio *a, struct err *e)
{
	(void)e;
	/* What cannot be started completes with an error of its own. */
	a->ops->kick(a);
	return 0;
}

struct aio_req *aio_wait(struct aio *a, bool block)
{
	struct aio_req *r;

	if (a->in_flight == 0)
		return NULL;
	a->ops->kick(a);
	r = a->ops->wait(a, block);
	if (r != NULL)
		a->in_flight--;
	return r;
}
