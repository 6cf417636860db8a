/* What the files of this folder share: a client's connection, and what a protocol is. */
#ifndef SERVER_SERVER_INT_H
#define SERVER_SERVER_INT_H

#include "server/server.h"

/*
 * A client's bytes. Over a socket, or over memory in a fuzz target. Both functions move all of
 * `len`, or fail: 0 done, negative when the client is gone, late, or the server ends. `idle` says
 * that nothing has been begun, so that the client may take its time.
 */
struct conn {
	int (*read)(struct conn *c, void *buf, size_t len, bool idle);
	int (*write)(struct conn *c, const void *buf, size_t len);
};

/* A request was answered: with an error, or with so many bytes of the device. */
void conn_count(struct conn *c, bool failed, uint64_t bytes);

struct protocol {
	/* Serve one client until it has no more to say, or breaks the protocol. */
	void (*serve)(struct dev *d, struct conn *c);
};

int server_start(struct dev *d, const struct protocol *p, const struct server_options *o,
	struct server **out, struct err *e);

/* serve_proxy.c; for its fuzz target. */
void proxy_serve(struct dev *d, struct conn *c);

#endif
