/*
 * The end of any file: the footer of a seek table, and TAIL before it (its checksum is made good
 * here, so that what it says is looked at).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev.h"
#include "format/image_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size + 1);
	uint64_t table_len = 0, pos;
	struct layout_tail t;
	struct err e = { 0 };
	struct dev *d;
	int rc;

	must(bytes != NULL);
	memcpy(bytes, data, size);
	if (size >= SEEK_FOOTER_BYTES &&
		layout_seek_footer(data + size - SEEK_FOOTER_BYTES, size, &table_len))
		must(table_len >= SEEK_HEAD_BYTES + SEEK_FOOTER_BYTES && table_len <= size);
	if (size - table_len >= TAIL_FRAME_BYTES) {
		uint8_t *tail = bytes + size - table_len - TAIL_FRAME_BYTES;

		hash_bytes(HASH_XXH3, tail, TAIL_FRAME_BYTES - RECORD_SUM_BYTES,
			tail + TAIL_FRAME_BYTES - RECORD_SUM_BYTES);
	}
	must(dev_open_mem(bytes, size, &d, &e) == 0);
	rc = image_find_tail(d, NULL, &t, &pos, &e);
	must(rc == 0 || (rc == -ERR_DAMAGED && e.msg[0] != 0));
	if (rc == 0)
		must(t.file_len == size && pos + TAIL_FRAME_BYTES == t.seek_pos &&
			t.seek_pos + t.seek_len == size);
	dev_close(d);
	free(bytes);
	return 0;
}
