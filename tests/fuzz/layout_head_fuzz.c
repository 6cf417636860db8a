/*
 * HEAD: any bytes as its body. What is taken is within the limits of the specification, and encodes
 * to the bytes that it came from.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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
	struct layout_head h;
	struct err e = { 0 };
	uint8_t *body;
	int rc = layout_head_decode(data, size, &h, &e);

	must(rc == 0 || ((rc == -ERR_DAMAGED || rc == -ERR_FORMAT) && e.msg[0] != 0));
	if (rc < 0)
		return 0;
	must(layout_chunk_count(&h) <= CHUNKS_MAX);
	must(h.chunk_bytes / h.block_bytes <= CHUNK_MAX_BLOCKS);
	must(hash_len(h.hash) != 0);
	must(h.text_len == 0 || h.text + h.text_len == (const char *)data + size);
	body = malloc(size);
	must(body != NULL);
	must(layout_head_encode(&h, body) == size && memcmp(body, data, size) == 0);
	free(body);
	return 0;
}
