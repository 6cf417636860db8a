/*
 * What a client of serve-proxy says: any bytes. The target reads the same bytes by
 * docs/MOUNTING.md and demands of each answer what stands there. A request is taken whole before
 * it is answered; a read gives the device's bytes and zeros behind its end, or EIO when it touches
 * the bad spot; no request that is whole stays without its answer.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_fault.h"
#include "server/server_int.h"

#define DEVICE_BYTES 5000
#define BAD_START 3000
#define BAD_END 3100
#define READ_MAX_BYTES (2 * MIB)
#define ANSWERS_MAX (8 * MIB) /* of one input: then the client is gone */

enum code { INFO = 1, READ = 2, WRITE = 3, CLOSE = 5, UNMAP = 6, ZERO = 7 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
	struct conn conn;
	const uint8_t *said, *end;
	const uint8_t *request; /* the first that was not answered */
	const uint8_t *device;
	uint64_t answered;
};

struct request {
	uint64_t code, off, len;
	uint64_t bytes; /* all of it */
};

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

static uint64_t head_bytes(uint64_t code)
{
	if (code == READ || code == WRITE)
		return 24;
	return code == UNMAP || code == ZERO ? 16 : 8;
}

/* The request that is due; false: the client has not said all of it. */
static bool next_request(const struct script *s, struct request *r)
{
	uint64_t left = (uint64_t)(s->end - s->request);

	memset(r, 0, sizeof(*r));
	if (left < 8)
		return false;
	r->code = get_le64(s->request);
	r->bytes = head_bytes(r->code);
	if (left < r->bytes)
		return false;
	if (r->bytes > 16)
		r->off = get_le64(s->request + 8);
	if (r->bytes > 8)
		r->len = get_le64(s->request + r->bytes - 8);
	if (r->code == READ || r->bytes == 8)
		return true;
	if (r->len > left - r->bytes)
		return false;
	r->bytes += r->len;
	return true;
}

static void expect_words(const uint8_t *p, size_t len, const uint64_t *words, size_t count)
{
	must(len == count * 8);
	for (size_t i = 0; i < count; i++)
		must(get_le64(p + 8 * i) == words[i]);
}

static bool all_zero(const uint8_t *p, uint64_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static void expect_read(const struct script *s, const struct request *r, const uint8_t *p,
	size_t len)
{
	uint64_t asked = min_u64(r->len, READ_MAX_BYTES);
	uint64_t inside = r->off < DEVICE_BYTES ? min_u64(asked, DEVICE_BYTES - r->off) : 0;

	if (inside > 0 && r->off < BAD_END && r->off + inside > BAD_START) {
		expect_words(p, len, (const uint64_t[]){ EIO, 0 }, 2);
		return;
	}
	must(len == 16 + asked && get_le64(p) == 0 && get_le64(p + 8) == asked);
	must(inside == 0 || memcmp(p + 16, s->device + r->off, inside) == 0);
	must(all_zero(p + 16 + inside, asked - inside));
}

static void expect_answer(const struct script *s, const struct request *r, const uint8_t *p,
	size_t len)
{
	switch (r->code) {
	case INFO:
		expect_words(p, len, (const uint64_t[]){ DEVICE_BYTES, 1, 1 }, 3);
		break;
	case READ:
		expect_read(s, r, p, len);
		break;
	case WRITE:
		expect_words(p, len, (const uint64_t[]){ EBADF, 0 }, 2);
		break;
	case UNMAP:
	case ZERO:
		expect_words(p, len, (const uint64_t[]){ EBADF }, 1);
		break;
	default:
		must(r->code != CLOSE);
		expect_words(p, len, (const uint64_t[]){ ENODEV }, 1);
	}
}

static int script_read(struct conn *c, void *buf, size_t len, bool idle)
{
	struct script *s = (struct script *)c;

	must(idle == (s->said == s->request));
	if (len > (size_t)(s->end - s->said))
		return -1;
	memcpy(buf, s->said, len);
	s->said += len;
	return 0;
}

static int script_write(struct conn *c, const void *buf, size_t len)
{
	struct script *s = (struct script *)c;
	struct request r;

	must(next_request(s, &r) && s->said == s->request + r.bytes);
	expect_answer(s, &r, buf, len);
	s->request = s->said;
	s->answered += len;
	return s->answered > ANSWERS_MAX ? -1 : 0;
}

/* No byte of it is zero, as what stands behind its end is. */
static void fill(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(1 + i % 251);
}

static void serve_script(struct script *s)
{
	static const struct fault_rule bad = { .op = FAULT_READ,
		.action = FAULT_FAIL,
		.off = BAD_START,
		.len = BAD_END - BAD_START };
	const struct fault_plan plan = { .rules = &bad, .rule_count = 1 };
	struct dev *memory, *d;
	struct err e;

	must(dev_open_mem(s->device, DEVICE_BYTES, &memory, &e) == 0);
	must(dev_open_fault(memory, &plan, &d, &e) == 0);
	proxy_serve(d, &s->conn);
	dev_close(d);
	dev_close(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t device[DEVICE_BYTES];
	struct script s = { .conn = { script_read, script_write },
		.said = data,
		.end = data + size,
		.request = data,
		.device = device };
	struct request r;

	fill(device, sizeof(device));
	serve_script(&s);
	must(s.answered > ANSWERS_MAX || !next_request(&s, &r) || r.code == CLOSE);
	return 0;
}
