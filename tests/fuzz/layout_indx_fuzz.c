/*
 * INDX: 16 bytes with the length of HEAD and the position of INDX, the rest is the body, for the
 * source of the golden image v2.0-mixed. Of what is taken, each chunk ends where the next one
 * begins.
 */
#include <stddef.h>
#include <stdint.h>

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
	static const struct layout_head h = {
		.source_bytes = 45 * 4096 + 1000,
		.chunk_bytes = 16 * 4096,
		.block_bytes = 4096,
		.hash = HASH_XXH3,
	};
	struct err e = { 0 };
	uint64_t pos, end;
	int rc;

	if (size < 16)
		return 0;
	pos = get_le64(data);
	end = get_le64(data + 8);
	rc = layout_indx_check(data + 16, size - 16, &h, pos, end, &e);
	must(rc == 0 || (rc == -ERR_DAMAGED && e.msg[0] != 0));
	if (rc < 0)
		return 0;
	must(size - 16 == 8 + 3 * 48);
	for (size_t i = 0; i < 3; i++) {
		struct layout_indx_entry x;

		layout_indx_entry_decode(data + 16 + 8 + i * 48, &x);
		must(x.chunk_pos == pos && x.table_pos - x.chunk_pos >= CHNK_FRAME_BYTES);
		pos = x.table_pos + x.table_len;
		must(pos > x.table_pos && x.table_pos > x.chunk_pos);
	}
	must(pos == end);
	return 0;
}
