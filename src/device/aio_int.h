/* The contract between aio.c and its back ends. */
#ifndef DEVICE_AIO_INT_H
#define DEVICE_AIO_INT_H

#include "device/aio.h"

/* First in, first out, through aio_req.next. */
struct aio_list {
	struct aio_req *head;
	struct aio_req *tail;
};

static inline void aio_push(struct aio_list *l, struct aio_req *r)
{
	r->next = NULL;
	if (l->head == NULL)
		l->head = r;
	else
		l->tail->next = r;
	l->tail = r;
}

static inline struct aio_req *aio_pop(struct aio_list *l)
{
	struct aio_req *r = l->head;

	if (r != NULL)
		l->head = r->next;
	return r;
}

struct aio_ops {
	const char *name;
	/* Set a->backend. */
	int (*open)(struct aio *a, struct err *e);
	/* Start every request of a->queued. */
	void (*kick)(struct aio *a);
	/* The next completed request; when none is, wait for one if `block`, else NULL. */
	struct aio_req *(*wait)(struct aio *a, bool block);
	/* Free a->backend; nothing is in flight any more. */
	void (*close)(struct aio *a);
};

struct aio {
	const struct aio_ops *ops;
	struct dev *dev;
	unsigned depth;
	unsigned in_flight; /* queued and not yet handed back */
	struct aio_list queued;
	void *backend;
};

extern const struct aio_ops aio_uring;
extern const struct aio_ops aio_threads;

/* Do what is left of a request (from r->done on) by dev_read, dev_write or dev_flush. */
void aio_run(struct aio *a, struct aio_req *r);

#endif
