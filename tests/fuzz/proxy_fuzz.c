/*
 * What a client of serve-proxy says: any bytes. The server answers or hangs up, reads only inside
 * the device, and says nothing longer than what was asked for.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "server/server_int.h"

#define DEVICE_BYTES 5000
#define ANSWERS_MAX (64 * MIB) /* of one input: then the client is gone */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
	struct conn conn;
	const uint8_t *said;
	size_t left;
	uint64_t answered;
};

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

static int script_read(struct conn *c, void *buf, size_t len, bool idle)
{
	struct script *s = (struct script *)c;

	(void)idle;
	if (len > s->left)
		return -1;
	memcpy(buf, s->said, len);
	s->said += len;
	s->left -= len;
	return 0;
}

/* Looks at every byte, so that a sanitizer sees what is not there. */
static int script_write(struct conn *c, const void *buf, size_t len)
{
	struct script *s = (struct script *)c;
	const uint8_t *p = buf;
	uint8_t sum = 0;

	must(len == 8 || len == 24 || (len >= 16 && get_le64(p + 8) == len - 16));
	for (size_t i = 0; i < len; i += 61)
		sum ^= p[i];
	s->answered += len + (sum & 0);
	return s->answered > ANSWERS_MAX ? -1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = { .conn = { script_read, script_write }, .said = data, .left = size };
	static const uint8_t bytes[DEVICE_BYTES] = { 1, 2, 3 };
	struct dev *d;
	struct err e;

	must(dev_open_mem(bytes, sizeof(bytes), &d, &e) == 0);
	proxy_serve(d, &s.conn);
	dev_close(d);
	return 0;
}
