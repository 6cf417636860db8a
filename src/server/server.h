/*
 * Servers: a read-only device given to others over a protocol of theirs. A server has threads of
 * its own, one that accepts and one for each client; the caller starts it, asks how it is, and
 * closes it. All functions but server_close may be called from any thread. The device stays the
 * caller's, must outlive the server, and is read by many threads at once.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "device/dev.h"

struct server;

struct server_options {
	const char *host;      /* address or name to listen on; NULL with unix_path */
	uint16_t port;	       /* 0: one that is free */
	const char *unix_path; /* a socket file, which must not exist; NULL with host */
	unsigned max_clients;  /* at once, at least 1; more are closed at once */
	/* A client that has begun to say or to take something goes on within so long, and says
	 * something at all within so long after it came. Between requests it may be silent: a
	 * mounted disk is. */
	unsigned timeout_ms;
};

struct server_stats {
	uint64_t clients;      /* now */
	uint64_t clients_all;  /* since the start */
	uint64_t clients_over; /* closed because there were too many */
	uint64_t clients_late; /* closed because they were silent or slow */
	uint64_t requests;
	uint64_t failures; /* requests answered with an error */
	uint64_t bytes;	   /* of the device, sent */
};

/* The DevIO / IMDPROXY protocol: ImDisk, Arsenal Image Mounter (docs/MOUNTING.md). */
int serve_proxy(struct dev *d, const struct server_options *o, struct server **out, struct err *e);

/*
 * Whether a server could listen there (ERR_BUSY: another does), found out without listening: who
 * waits for the server sees nothing of it. Only host, port and unix_path count.
 */
int server_probe(const struct server_options *o, struct err *e);

/* Where it listens: "127.0.0.1:11459", "[::1]:11459", or the socket's path. */
void server_address(const struct server *s, char *buf, size_t len);
void server_stats(struct server *s, struct server_stats *out);
/* Stop listening, end all clients, join the threads, remove the socket file. NULL is fine. */
void server_close(struct server *s);

#endif
