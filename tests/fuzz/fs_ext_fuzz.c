/*
 * fs_ext on any bytes: no crash, no hang, bounded memory; and what it takes must be a map that
 * keeps its promises: it covers the device, the superblock and everything behind the file system
 * are data, and free runs are whole blocks inside it.
 *
 * The input is that of tests/fuzz/volume_seed.h. Seeds are made by tests/fuzz/fs_ext_seeds.sh; most
 * are without checksums, so that changes get past the first check.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fs/fs_ops.h"
#include "fuzz/volume_seed.h"

#define MAX_BYTES ((uint64_t)8 * MIB)
#define SUPER 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_map(struct dev *d, const struct map *m, const struct fs_report *r)
{
	uint8_t super[1024];
	uint64_t block, end;

	must(dev_read(d, SUPER, super, sizeof(super), NULL) == 0);
	block = (uint64_t)1024 << get_le32(super + 0x18);
	end = get_le32(super + 4) * block;
	must(end <= dev_size(d));
	must(r->block_bytes >= block && r->block_bytes % block == 0);
	must(map_bytes(m, MAP_DATA) + map_bytes(m, MAP_FREE) == dev_size(d));
	must(map_run(m, 0, NULL).kind == MAP_DATA && map_run(m, 0, NULL).len >= 2 * SUPER);
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE)
			must(x.off % block == 0 && x.len % block == 0 && x.off + x.len <= end);
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
	rc = fs_ext.map(d, m, &r, &e);
	if (rc == 0)
		check_map(d, m, &r);
	else
		must(rc == -e.code && e.msg[0] != '\0');
	must(memchr(r.note, '\0', sizeof(r.note)) != NULL);
	map_free(m);
	dev_close(d);
	return 0;
}
