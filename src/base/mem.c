#include "base/mem.h"

#define DIRECT_ALIGN_BYTES 4096

bool mem_is_zero(const void *p, size_t len)
{
	const uint8_t *b = p;
	size_t head = len < 16 ? len : 16;

	for (size_t i = 0; i < head; i++)
		if (b[i] != 0)
			return false;
	/* The first 16 bytes are zero; then all are when each equals the one 16 before it.
	 * memcmp is vectorised and stops at the first difference. */
	return len <= 16 || memcmp(b, b + 16, len - 16) == 0;
}

void *mem_alloc_direct(size_t len)
{
	void *p = NULL;

	if (posix_memalign(&p, DIRECT_ALIGN_BYTES, len == 0 ? 1 : len) != 0)
		return NULL;
	return p;
}
