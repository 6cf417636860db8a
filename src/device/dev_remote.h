/*
 * A device at the other end of a socket: a confined process (base/confine.h) reads through it, and
 * its parent serves the reads. Data goes through memory that both share; messages are small.
 */
#ifndef DEVICE_DEV_REMOTE_H
#define DEVICE_DEV_REMOTE_H

#include "device/dev.h"

#define REMOTE_SHARED_BYTES ((size_t)1 << 20)

/*
 * In the child: a read-only device that looks like `like` (its name, size and sectors are copied)
 * and whose bytes come through fd and `shared` (REMOTE_SHARED_BYTES). Reads are not thread-safe.
 */
int dev_open_remote(const struct dev *like, int fd, void *shared, struct dev **out, struct err *e);

/* In the child: hand a result back to the parent. */
int remote_send_result(int fd, void *shared, const void *bytes, size_t len, struct err *e);

/* In the child: hand back a piece of it, at most REMOTE_SHARED_BYTES; an empty one is the end. */
int remote_send_piece(int fd, void *shared, const void *bytes, size_t len, struct err *e);

/* What one answer may cost. */
struct remote_limits {
	size_t max_bytes; /* of the result, where it is held */
	int idle_ms;	  /* the longest silence */
	uint64_t own_ms; /* of the child's own time: reads of the device are not counted; 0: none */
	uint64_t reads;	 /* of the device; 0: none */
	/* Asked between messages and while there is none: is the serving to end? NULL: never. */
	bool (*stop)(void *user);
	void *user;
};

/*
 * In the parent: serve reads of `d` until the child has sent its whole result (*result is
 * malloc'ed), ends, or goes over a limit. Failing gives ERR_INTERNAL and what went wrong, or
 * ERR_CANCELLED when `stop` said so; a failed read of the device is the child's to handle.
 */
int remote_serve(int fd, void *shared, struct dev *d, const struct remote_limits *l,
	uint8_t **result, size_t *len, struct err *e);

/*
 * The same for a result too large to be held: `take` gets each piece as it comes, in memory that
 * the child can't reach, and ends the serving by failing.
 */
typedef int (*remote_piece_fn)(void *user, const uint8_t *piece, size_t len, struct err *e);
int remote_serve_pieces(int fd, void *shared, struct dev *d, const struct remote_limits *l,
	remote_piece_fn take, void *user, struct err *e);

#endif
