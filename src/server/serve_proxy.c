/*
 * The DevIO / IMDPROXY protocol, as ImDisk and Arsenal Image Mounter speak it over TCP. Facts:
 * ImDisk Virtual Disk Driver by Olof Lagerkvist, inc/imdproxy.h (codes and structures) and
 * devio/devio.c (what a server does). All integers are 64 bits, little-endian.
 *
 *	INFO  (1)  {code}                   -> {size, required alignment, flags: 1 = read-only}
 *	READ  (2)  {code, offset, length}   -> {errno, length}, then the bytes
 *	WRITE (3)  {code, offset, length}, bytes -> {errno, length}
 *	CLOSE (5)  {code}                   -> nothing, the connection ends
 *	UNMAP (6), ZERO (7)  {code, bytes of ranges}, ranges -> {errno}
 *	others     {code}                   -> {errno ENODEV}
 *
 * A read past the end gives zeros there: drivers round the size up. One that is longer than the
 * buffer gives less than was asked for, as DevIO does. errno is Linux's, which the clients print.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/server_int.h"

#define REQ_INFO 1
#define REQ_READ 2
#define REQ_WRITE 3
#define REQ_CLOSE 5
#define REQ_UNMAP 6
#define REQ_ZERO 7

#define FLAG_READ_ONLY 1
/* ImDisk takes no more than 512; any offset will do. */
#define ALIGNMENT 1

/* DevIO's own default. Memory that no request was large enough for is never touched. */
#define BUFFER_BYTES (2 * MIB)

/* What may follow WRITE, UNMAP or ZERO and is thrown away; who sends more is let go. */
#define DRAIN_MAX_BYTES (64 * MIB)

struct proxy {
	struct dev *dev;
	struct conn *conn;
	uint8_t *buffer; /* the answer, 16 bytes, and the data: one write */
};

#define ANSWER_BYTES 16

static int answer(struct proxy *p, uint64_t sys, uint64_t length, size_t data)
{
	put_le64(p->buffer, sys);
	put_le64(p->buffer + 8, length);
	conn_count(p->conn, sys != 0, data);
	return p->conn->write(p->conn, p->buffer, ANSWER_BYTES + data);
}

static int serve_info(struct proxy *p)
{
	uint8_t info[24];

	put_le64(info, dev_size(p->dev));
	put_le64(info + 8, ALIGNMENT);
	put_le64(info + 16, FLAG_READ_ONLY);
	conn_count(p->conn, false, 0);
	return p->conn->write(p->conn, info, sizeof(info));
}

static int serve_read(struct proxy *p)
{
	uint8_t request[16], *data = p->buffer + ANSWER_BYTES;
	uint64_t off, size = dev_size(p->dev);
	size_t len, inside;
	struct err e;

	if (p->conn->read(p->conn, request, sizeof(request), false) < 0)
		return -1;
	off = get_le64(request);
	len = (size_t)min_u64(get_le64(request + 8), BUFFER_BYTES);
	inside = (size_t)min_u64(len, off < size ? size - off : 0);
	if (inside > 0 && dev_read(p->dev, off, data, inside, &e) < 0)
		return answer(p, EIO, 0, 0);
	memset(data + inside, 0, len - inside);
	return answer(p, 0, len, len);
}

/* What comes with a request that is refused: read and forgotten. */
static int drain(struct proxy *p, uint64_t len)
{
	if (len > DRAIN_MAX_BYTES)
		return -1;
	while (len > 0) {
		size_t part = (size_t)min_u64(len, BUFFER_BYTES);

		if (p->conn->read(p->conn, p->buffer, part, false) < 0)
			return -1;
		len -= part;
	}
	return 0;
}

static int refuse_write(struct proxy *p)
{
	uint8_t request[16];

	if (p->conn->read(p->conn, request, sizeof(request), false) < 0 ||
		drain(p, get_le64(request + 8)) < 0)
		return -1;
	return answer(p, EBADF, 0, 0);
}

/* An answer of an error alone. */
static int refuse_code(struct proxy *p, uint64_t sys)
{
	uint8_t bytes[8];

	put_le64(bytes, sys);
	conn_count(p->conn, true, 0);
	return p->conn->write(p->conn, bytes, sizeof(bytes));
}

static int refuse_ranges(struct proxy *p)
{
	uint8_t request[8];

	if (p->conn->read(p->conn, request, sizeof(request), false) < 0 ||
		drain(p, get_le64(request)) < 0)
		return -1;
	return refuse_code(p, EBADF);
}

/* One request; negative: it was the last. */
static int serve_request(struct proxy *p)
{
	uint8_t code[8];

	if (p->conn->read(p->conn, code, sizeof(code), true) < 0)
		return -1;
	switch (get_le64(code)) {
	case REQ_INFO:
		return serve_info(p);
	case REQ_READ:
		return serve_read(p);
	case REQ_WRITE:
		return refuse_write(p);
	case REQ_UNMAP:
	case REQ_ZERO:
		return refuse_ranges(p);
	case REQ_CLOSE:
		return -1;
	default:
		return refuse_code(p, ENODEV);
	}
}

void proxy_serve(struct dev *d, struct conn *c)
{
	struct proxy p = { .dev = d, .conn = c, .buffer = malloc(ANSWER_BYTES + BUFFER_BYTES) };

	while (p.buffer != NULL && serve_request(&p) == 0)
		;
	free(p.buffer);
}

static const struct protocol proxy = { .serve = proxy_serve };

int serve_proxy(struct dev *d, const struct server_options *o, struct server **out, struct err *e)
{
	return server_start(d, &proxy, o, out, e);
}
