/*
 * fs_ntfs on any bytes: no crash, no hang, bounded memory; and what it takes must be a map that
 * keeps its promises: it covers the device, the boot sector and everything behind the last whole
 * cluster are data, and free runs are whole clusters.
 *
 * The input is that of tests/fuzz/volume_seed.h.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fs/fs_ntfs_int.h"
#include "fuzz/volume_seed.h"

#define MAX_BYTES ((uint64_t)4 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/*
 * libntfs-3g 2022.10.3 forgets a runlist when it refuses a $MFT that is not where the boot sector
 * says (ntfs_mft_load). Handles that we forget show in the unit tests, which suppress nothing.
 */
const char *__lsan_default_suppressions(void)
{
	return "leak:libntfs-3g\n";
}

static void check_map(struct dev *d, const struct map *m)
{
	uint8_t boot[NTFS_BOOT_BYTES];
	struct ntfs_boot b;
	uint64_t end;

	must(dev_read(d, 0, boot, sizeof(boot), NULL) == 0);
	must(fs_ntfs_boot_decode(boot, sizeof(boot), dev_size(d), &b, NULL) == 0);
	end = b.clusters * b.cluster_bytes;
	must(map_bytes(m, MAP_DATA) + map_bytes(m, MAP_FREE) == dev_size(d));
	must(map_run(m, 0, NULL).kind == MAP_DATA);
	if (end < dev_size(d))
		must(map_run(m, end, NULL).kind == MAP_DATA &&
			map_run(m, end, NULL).len == dev_size(d) - end);
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE)
			must(x.off % b.cluster_bytes == 0 && x.len % b.cluster_bytes == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_report r = { 0 };
	struct dev *d = seed_open(data, size, MAX_BYTES);
	struct map *m;
	struct err e = { 0 };
	int rc;

	if (d == NULL)
		return 0;
	m = map_new_full(dev_size(d));
	must(m != NULL);
	rc = fs_ntfs.map(d, m, &r, &e);
	if (rc == 0)
		check_map(d, m);
	else
		must(rc == -e.code && e.msg[0] != '\0');
	must(memchr(r.note, '\0', sizeof(r.note)) != NULL);
	map_free(m);
	dev_close(d);
	return 0;
}
