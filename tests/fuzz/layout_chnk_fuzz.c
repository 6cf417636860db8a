/* CHNK: any bytes as its body, for a source of 100 chunks. What is taken encodes to itself. */
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
	/* That of the golden image v2.0-mixed, so that its chunks are seeds. */
	static const struct layout_head h = {
		.source_bytes = 100 * 65536,
		.chunk_bytes = 65536,
		.block_bytes = 4096,
		.hash = HASH_XXH3,
	};
	struct layout_chnk c;
	struct err e = { 0 };
	uint8_t body[CHNK_BODY_BYTES];
	int rc = layout_chnk_decode(data, size, &h, &c, &e);

	must(rc == 0 || (rc == -ERR_DAMAGED && e.msg[0] != 0));
	if (rc < 0)
		return 0;
	must(c.number < 100 && c.off == c.number * 65536 && c.len == 65536);
	must((c.number == 0) == (c.prev_table == 0));
	must(layout_chnk_encode(&c, body) == size && memcmp(body, data, size) == 0);
	return 0;
}
