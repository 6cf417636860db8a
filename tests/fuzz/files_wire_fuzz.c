/*
 * The decoders of what a confined file-tree parser answers, on any bytes: what they take is well
 * formed. The first byte says which decoder, the rest is the reply. Seeds: one of each kind,
 * written by the encoders (tests/fuzz/files_seeds.sh).
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "files/files_ops.h"
#include "files/files_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

static int check_entry(void *user, const char *name, size_t len, uint64_t id, enum files_type type,
	struct err *e)
{
	(void)user, (void)id, (void)e;
	must(files_name_ok(name, len) && strlen(name) == len && type < FILES_TYPES);
	return 0;
}

static void check_info(struct files_cursor *c, struct err *e)
{
	struct files_info i;

	if (files_decode_info(c, &i, e) < 0)
		return;
	must(memchr(i.type, '\0', sizeof(i.type)) != NULL);
	must(memchr(i.note, '\0', sizeof(i.note)) != NULL);
	must(i.block_bytes > 0 && i.free_bytes <= i.size_bytes);
}

static void check_node(struct files_cursor *c, struct err *e)
{
	struct files_node n;

	if (files_decode_node(c, 12, &n, e) < 0)
		return;
	must(n.id == 12 && n.type > FILES_UNKNOWN && n.type < FILES_TYPES && n.size <= INT64_MAX);
	must(n.mode <= 07777 && n.changed.ns < 1000000000);
}

static void check_bytes(struct files_cursor *c, bool link, struct err *e)
{
	char buf[101];
	size_t len;

	if (link && files_decode_link(c, buf, 100, &len, e) == 0)
		must(len > 0 && len <= 100 && strlen(buf) == len);
	else if (!link && files_decode_bytes(c, buf, 100, &len, e) == 0)
		must(len <= 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct files_request r;
	struct files_cursor c;
	struct err e = { 0 };

	if (size == 0)
		return 0;
	if (files_request_decode(data + 1, size - 1, &r))
		must(r.op >= FILES_OPEN && r.op < FILES_OPS && r.len <= FILES_READ_MAX_BYTES);
	if (files_decode_begin(&c, data + 1, size - 1, &e) < 0) {
		must(e.code != 0 && memchr(e.msg, '\0', sizeof(e.msg)) != NULL);
		return 0;
	}
	switch (data[0] % 5) {
	case 0:
		check_info(&c, &e);
		break;
	case 1:
		check_node(&c, &e);
		break;
	case 2:
		files_decode_list(&c, check_entry, NULL, &e);
		break;
	default:
		check_bytes(&c, data[0] % 5 == 3, &e);
	}
	return 0;
}
