/*
 * fs_fat on any bytes: no crash, no hang, bounded memory; and what it takes must be a map that
 * keeps its promises: it covers the device, everything before cluster 2 and behind the last whole
 * cluster is data, and free runs are whole clusters.
 *
 * The input: volume_pieces.h. Seeds are made by tests/fuzz/fs_fat_seeds.sh.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fs/fs_fat_int.h"
#include "fuzz/volume_pieces.h"

#define MAX_BYTES ((uint64_t)8 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_map(struct dev *d, const struct map *m, const struct fs_report *r)
{
	uint8_t boot[FS_FAT_BOOT_BYTES];
	struct fat_boot b;
	uint64_t end;

	must(dev_read(d, 0, boot, sizeof(boot), NULL) == 0);
	must(fs_fat_boot_decode(boot, sizeof(boot), dev_size(d), &b, NULL) == 0);
	must(r->block_bytes == b.cluster_bytes);
	end = b.heap_off + (uint64_t)b.clusters * b.cluster_bytes;
	must(end <= dev_size(d));
	must(map_bytes(m, MAP_DATA) + map_bytes(m, MAP_FREE) == dev_size(d));
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE)
			must(x.off >= b.heap_off && (x.off - b.heap_off) % b.cluster_bytes == 0 &&
				x.len % b.cluster_bytes == 0 && x.off + x.len <= end);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_report r = { 0 };
	struct dev *d = volume_of(data, size, MAX_BYTES);
	struct map *m;
	struct err e = { 0 };
	int rc;

	if (d == NULL)
		return 0;
	m = map_new_full(dev_size(d));
	must(m != NULL);
	rc = fs_fat.map(d, m, &r, &e);
	if (rc == 0)
		check_map(d, m, &r);
	else
		must(rc == -e.code && e.msg[0] != '\0');
	must(memchr(r.note, '\0', sizeof(r.note)) != NULL);
	map_free(m);
	dev_close(d);
	return 0;
}
