/* Records of listed files: any bytes. What is taken encodes to itself. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fs/fs_files.h"

#define DEVICE_BYTES ((uint64_t)1 << 40)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_file_room *room = malloc(sizeof(*room));
	uint8_t *again = malloc(FS_FILE_RECORD_MAX);
	size_t at = 0;

	must(room != NULL && again != NULL);
	while (at < size) {
		struct fs_file f;
		struct err e = { 0 };
		int n = fs_file_decode(data + at, size - at, DEVICE_BYTES, room, &f, &e);

		must(n > 0 || (n == -ERR_FORMAT && e.msg[0] != '\0'));
		if (n < 0)
			break;
		must(strlen(f.path) <= FS_FILES_MAX_PATH);
		must(fs_file_encode(&f, again) == (size_t)n && memcmp(again, data + at, n) == 0);
		at += (size_t)n;
	}
	free(again);
	free(room);
	return 0;
}
