/*
 * Messages are struct message, one per packet. The child asks READ and waits for READ back, with
 * the bytes in shared memory; it sends its result as RESULT pieces, each answered by RESULT, and an
 * empty one at the end. Both ends run on one machine and in one program: host byte order.
 */
#include "device/dev_remote.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"
#include "device/dev_ops.h"

/* How often is looked whether to stop. */
#define STOP_LOOK_MS 100

enum message_type { MESSAGE_READ = 1, MESSAGE_RESULT = 2 };

struct message {
	uint32_t type;
	int32_t status; /* 0, or an errno-less error code of the read, in READ back */
	int32_t sys;
	uint32_t zero;
	uint64_t off, len;
};

struct dev_remote {
	struct dev base;
	int fd;
	uint8_t *shared;
};

/* 1: a message; 0: the other end is gone; negative: trouble. */
static int receive(int fd, struct message *m, struct err *e)
{
	ssize_t n;

	do
		n = recv(fd, m, sizeof(*m), 0);
	while (n < 0 && errno == EINTR);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return 0;
	if (n < 0)
		return err_set(e, ERR_INTERNAL, errno, "receive from a confined process");
	if ((size_t)n != sizeof(*m))
		return err_set(e, ERR_INTERNAL, 0, "a confined process sent a message of %zd bytes",
			n);
	return 1;
}

static int transmit(int fd, const struct message *m, struct err *e)
{
	ssize_t n;

	do
		n = send(fd, m, sizeof(*m), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(*m))
		return err_set(e, ERR_INTERNAL, n < 0 ? errno : EIO, "send to a confined process");
	return 0;
}

/* Child: send, and wait for the answer. */
static int ask(int fd, struct message *m, struct err *e)
{
	int rc = transmit(fd, m, e);

	if (rc == 0)
		rc = receive(fd, m, e);
	if (rc == 0)
		return err_set(e, ERR_INTERNAL, 0, "the parent of a confined process is gone");
	return rc < 0 ? rc : 0;
}

static int remote_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct dev_remote *r = (struct dev_remote *)d;
	uint8_t *out = buf;

	while (len > 0) {
		struct message m = { .type = MESSAGE_READ,
			.off = off,
			.len = min_u64(len, REMOTE_SHARED_BYTES) };
		size_t n = (size_t)m.len;
		int rc = ask(r->fd, &m, e);

		if (rc < 0)
			return rc;
		if (m.status != 0)
			return err_set(e, ERR_SOURCE, m.sys, "read %s at %" PRIu64, dev_name(d),
				off);
		memcpy(out, r->shared, n);
		out += n;
		off += n;
		len -= n;
	}
	return 0;
}

static void remote_close(struct dev *d)
{
	dev_fini(d);
	free(d);
}

static const struct dev_ops dev_remote_ops = {
	.kind = "remote",
	.read = remote_read,
	.close = remote_close,
};

int dev_open_remote(const struct dev *like, int fd, void *shared, struct dev **out, struct err *e)
{
	struct dev_remote *r = calloc(1, sizeof(*r));
	int rc;

	if (r == NULL)
		return err_nomem(e);
	rc = dev_init(&r->base, &dev_remote_ops, dev_name(like), e);
	if (rc < 0) {
		free(r);
		return rc;
	}
	r->base.info = *dev_info(like);
	r->base.info.align_bytes = 1;
	r->base.info.writable = false;
	r->fd = fd;
	r->shared = shared;
	*out = &r->base;
	return 0;
}

int remote_send_piece(int fd, void *shared, const void *bytes, size_t len, struct err *e)
{
	struct message m = { .type = MESSAGE_RESULT, .len = len };

	if (len > 0)
		memcpy(shared, bytes, len);
	return ask(fd, &m, e);
}

int remote_send_result(int fd, void *shared, const void *bytes, size_t len, struct err *e)
{
	const uint8_t *p = bytes;
	size_t n;

	do {
		int rc;

		n = min_u64(len, REMOTE_SHARED_BYTES);
		rc = remote_send_piece(fd, shared, p, n, e);
		if (rc < 0)
			return rc;
		p += n;
		len -= n;
	} while (n > 0);
	return 0;
}

static int serve_read(int fd, void *shared, struct dev *d, struct message *m, struct err *e)
{
	struct err read_error = { 0 };

	if (m->len > REMOTE_SHARED_BYTES || !range_inside(m->off, m->len, dev_size(d)))
		return err_set(e, ERR_INTERNAL, 0,
			"a confined process asked for %" PRIu64 " bytes at %" PRIu64, m->len,
			m->off);
	m->status = dev_read(d, m->off, shared, (size_t)m->len, &read_error);
	m->sys = read_error.sys;
	return transmit(fd, m, e);
}

/* A piece of the result: copied, as the child may change what it shares, then taken. */
static int serve_piece(int fd, const void *shared, struct message *m, uint8_t *piece,
	remote_piece_fn take, void *user, struct err *e)
{
	int rc;

	if (m->len > REMOTE_SHARED_BYTES)
		return err_set(e, ERR_INTERNAL, 0, "a confined process sent %" PRIu64 " bytes",
			m->len);
	memcpy(piece, shared, (size_t)m->len);
	rc = m->len > 0 ? take(user, piece, (size_t)m->len, e) : 0;
	return rc < 0 ? rc : transmit(fd, m, e);
}

/* Poll for a message, for ms; `stop` is asked now and then. As poll, or -ERR_CANCELLED in *rc. */
static int poll_message(int fd, const struct remote_limits *l, int ms, int *rc, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t now = clock_ns(), end_ns = now + (uint64_t)ms * NS_PER_MS;
	int n;

	do {
		if (l->stop != NULL && l->stop(l->user)) {
			*rc = err_set(e, ERR_CANCELLED, 0,
				"cancelled while the file system was read");
			return -1;
		}
		n = poll(&p, 1, (int)min_u64((end_ns - now) / NS_PER_MS + 1, STOP_LOOK_MS));
		now = clock_ns();
	} while ((n == 0 || (n < 0 && errno == EINTR)) && now < end_ns);
	return n < 0 && errno == EINTR ? 0 : n;
}

/* 1: there is a message or the end; negative: silence for too long, or not to go on. */
static int wait_message(int fd, const struct remote_limits *l, uint64_t *own_ns, struct err *e)
{
	uint64_t limit_ns = l->own_ms * NS_PER_MS, before = clock_ns();
	int n, rc = 0, ms = l->idle_ms;

	if (l->own_ms > 0 && *own_ns >= limit_ns)
		return err_set(e, ERR_INTERNAL, 0, "no answer within %" PRIu64 " s",
			l->own_ms / 1000);
	if (l->own_ms > 0)
		ms = (int)min_u64((uint64_t)ms, (limit_ns - *own_ns) / NS_PER_MS + 1);
	n = poll_message(fd, l, ms, &rc, e);
	*own_ns += clock_ns() - before;
	if (rc < 0)
		return rc;
	if (n < 0)
		return err_set(e, ERR_INTERNAL, errno, "wait for a confined process");
	if (n == 0)
		return err_set(e, ERR_INTERNAL, 0, "no sign of life for %d s", ms / 1000);
	return 1;
}

/* Who takes the pieces of a result. */
struct taker {
	remote_piece_fn take;
	void *user;
	uint8_t *piece; /* REMOTE_SHARED_BYTES that the child can't reach */
};

static int serve(int fd, void *shared, struct dev *d, const struct remote_limits *l,
	const struct taker *t, struct err *e)
{
	uint64_t own_ns = 0, reads = 0;
	struct message m;
	int rc;

	for (;;) {
		rc = wait_message(fd, l, &own_ns, e);
		if (rc > 0)
			rc = receive(fd, &m, e);
		if (rc == 0)
			return err_set(e, ERR_INTERNAL, 0, "ended without a result");
		if (rc < 0)
			return rc;
		if (m.type == MESSAGE_READ && l->reads > 0 && ++reads > l->reads)
			rc = err_set(e, ERR_INTERNAL, 0, "no answer within %" PRIu64 " reads",
				l->reads);
		else if (m.type == MESSAGE_READ)
			rc = serve_read(fd, shared, d, &m, e);
		else if (m.type == MESSAGE_RESULT)
			rc = serve_piece(fd, shared, &m, t->piece, t->take, t->user, e);
		else
			rc = err_set(e, ERR_INTERNAL, 0, "a confined process sent message type %u",
				m.type);
		if (rc < 0 || (m.type == MESSAGE_RESULT && m.len == 0))
			return rc;
	}
}

int remote_serve_pieces(int fd, void *shared, struct dev *d, const struct remote_limits *l,
	remote_piece_fn take, void *user, struct err *e)
{
	struct taker t = { take, user, malloc(REMOTE_SHARED_BYTES) };
	int rc = t.piece != NULL ? serve(fd, shared, d, l, &t, e) : err_nomem(e);

	free(t.piece);
	return rc;
}

struct result {
	uint8_t *bytes;
	size_t len, max;
};

static int append(void *user, const uint8_t *piece, size_t len, struct err *e)
{
	struct result *r = user;
	uint8_t *grown;

	if (len > r->max - r->len)
		return err_set(e, ERR_INTERNAL, 0,
			"a confined process sent a result of more than %zu bytes", r->max);
	grown = realloc(r->bytes, r->len + len);
	if (grown == NULL)
		return err_nomem(e);
	r->bytes = grown;
	memcpy(grown + r->len, piece, len);
	r->len += len;
	return 0;
}

int remote_serve(int fd, void *shared, struct dev *d, const struct remote_limits *l,
	uint8_t **result, size_t *len, struct err *e)
{
	struct result r = { .max = l->max_bytes };
	int rc = remote_serve_pieces(fd, shared, d, l, append, &r, e);

	if (rc < 0) {
		free(r.bytes);
		return rc;
	}
	*result = r.bytes;
	*len = r.len;
	return 0;
}
