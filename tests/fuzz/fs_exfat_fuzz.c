/*
 * fs_exfat on any bytes: no crash, no hang, bounded memory; and what it takes must be a map that
 * keeps its promises: it covers the device, everything before cluster 2 and behind the last cluster
 * is data, and free runs are whole clusters.
 *
 * The checksums of the boot regions are made right first, as no change would get past them.
 *
 * The input: volume_pieces.h. Seeds are made by tests/fuzz/fs_fat_seeds.sh.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fs/fs_exfat_int.h"
#include "fuzz/volume_pieces.h"

#define MAX_BYTES ((uint64_t)8 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* [exFAT] 3.4: eleven sectors, without three bytes of the first, into the twelfth; twice. */
static void seal_boot(struct dev *d)
{
	uint8_t *p = malloc((size_t)12 * 4096);
	uint32_t sum = 0;
	size_t sector = 0;

	must(p != NULL);
	if (dev_size(d) >= 24 * 4096 && dev_read(d, 0, p, 512, NULL) == 0 && p[0x6C] >= 9 &&
		p[0x6C] <= 12)
		sector = (size_t)1 << p[0x6C];
	if (sector > 0) {
		must(dev_read(d, 0, p, sector * 12, NULL) == 0);
		for (size_t i = 0; i < sector * 11; i++)
			if (i != 0x6A && i != 0x6B && i != 0x70)
				sum = (sum << 31 | sum >> 1) + p[i];
		for (size_t i = 0; i < sector; i += 4)
			put_le32(p + sector * 11 + i, sum);
		must(dev_write(d, 0, p, sector * 12, NULL) == 0);
		must(dev_write(d, sector * 12, p, sector * 12, NULL) == 0);
	}
	free(p);
}

static void check_map(struct dev *d, const struct map *m, const struct fs_report *r)
{
	uint8_t boot[FS_EXFAT_BOOT_BYTES];
	struct exfat_boot b;
	uint64_t end;

	must(dev_read(d, 0, boot, sizeof(boot), NULL) == 0);
	must(fs_exfat_boot_decode(boot, sizeof(boot), dev_size(d), &b, NULL) == 0);
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
	seal_boot(d);
	m = map_new_full(dev_size(d));
	must(m != NULL);
	rc = fs_exfat.map(d, m, &r, &e);
	if (rc == 0)
		check_map(d, m, &r);
	else
		must(rc == -e.code && e.msg[0] != '\0');
	must(memchr(r.note, '\0', sizeof(r.note)) != NULL);
	map_free(m);
	dev_close(d);
	return 0;
}
