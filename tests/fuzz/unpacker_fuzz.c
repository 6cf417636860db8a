/*
 * A block frame: 4 bytes with the length of the block, the rest is the frame. It gives exactly that
 * many bytes or none, and what it takes, stock zstd takes with the same result.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "base/mem.h"
#include "codec/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *plain, *other;
	struct unpacker *u = NULL;
	struct err e = { 0 };
	size_t len;
	int rc;

	if (size < 4)
		return 0;
	len = get_le32(data) % (1 << 20) + 1;
	plain = malloc(len);
	other = malloc(len);
	must(plain != NULL && other != NULL && unpacker_new(&u, &e) == 0);
	rc = unpacker_unpack(u, data + 4, size - 4, plain, len, &e);
	must(rc == 0 || (rc == -ERR_DAMAGED && e.msg[0] != 0));
	if (rc == 0) {
		must(ZSTD_decompress(other, len, data + 4, size - 4) == len);
		must(memcmp(plain, other, len) == 0);
	}
	unpacker_free(u);
	free(plain);
	free(other);
	return 0;
}
