/* TAIL: any bytes as its body. What is taken lies in order, and encodes to itself. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "format/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct layout_tail t;
	struct err e = { 0 };
	uint8_t body[TAIL_BODY_BYTES];
	int rc = layout_tail_decode(data, size, &t, &e);

	must(rc == 0 || (rc == -ERR_DAMAGED && e.msg[0] != 0));
	if (rc < 0)
		return 0;
	must(t.head_len <= t.indx_pos && t.indx_pos < t.meta_pos && t.meta_pos < t.copy_pos);
	must(t.copy_pos < t.seek_pos && t.seek_pos <= t.file_len);
	must(t.meta_len <= RECORD_OVERHEAD_BYTES + META_MAX_BODY_BYTES);
	must(t.indx_len <=
		RECORD_OVERHEAD_BYTES + INDX_FIXED_BYTES + CHUNKS_MAX * INDX_ENTRY_BYTES);
	must(layout_tail_encode(&t, body) == size && memcmp(body, data, size) == 0);
	return 0;
}
