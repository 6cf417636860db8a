/*
 * fs_ext on any bytes: no crash, no hang, bounded memory; and what it takes must be a map that
 * keeps its promises: it covers the device, the superblock and everything behind the file system
 * are data, and free runs are whole blocks inside it.
 *
 * The input is as in volume_pieces.h; seeds are made by tests/fuzz/fs_ext_seeds.sh. Most are
 * without checksums, so that changes get past the first check.
 */
#include "fuzz/volume_pieces.h"

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
	must(map_run(m, 0, NULL).kind == MAP_DATA && map_run(m, 0, NULL).len >= 2 * SUPER);
	for (size_t i = 0; i < map_count(m); i++) {
		struct extent x = map_at(m, i);

		if (x.kind == MAP_FREE)
			must(x.off % block == 0 && x.len % block == 0 && x.off + x.len <= end);
	}
}

struct listing {
	uint64_t unit;
	struct map *chosen;
};

/* What is listed is inside the map's data, in whole units, and its claims can be counted. */
static int check_file(void *user, const struct fs_file *f, struct err *e)
{
	struct listing *l = user;
	uint64_t end = 0;

	(void)e;
	must(f->path[0] == '/' && strlen(f->path) <= FS_FILES_MAX_PATH);
	must(memchr(f->kept, '\0', sizeof(f->kept)) != NULL);
	must(f->range_count == 0 || f->kept[0] == '\0');
	for (size_t i = 0; i < f->range_count; i++) {
		struct extent x = f->ranges[i];

		must(x.len > 0 && x.off % l->unit == 0 && x.len % l->unit == 0);
		must(i == 0 || x.off > end);
		end = x.off + x.len;
		must(end <= map_size(l->chosen));
		must(map_set(l->chosen, x.off, x.len, MAP_ZERO, NULL) == 0);
	}
	return 0;
}

static void check_files(struct dev *d, uint64_t unit)
{
	struct listing l = { unit, map_new(dev_size(d)) };
	struct err e = { 0 };
	uint64_t bytes = 0;
	int rc;

	must(l.chosen != NULL);
	rc = fs_ext.files(d, true, check_file, &l, &e);
	must(rc == 0 || (rc == -e.code && e.msg[0] != '\0'));
	if (rc == 0) {
		rc = fs_ext.claims(d, l.chosen, &bytes, &e);
		/* At least once, by the files that were listed. */
		must(rc == -e.code || (rc == 0 && bytes >= map_bytes(l.chosen, MAP_ZERO)));
	}
	map_free(l.chosen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_report r = { 0 };
	struct dev *d = volume_of(data, size, MAX_BYTES);
	struct map *m = d ? map_by_row(&fs_ext, d, &r) : NULL;

	if (m)
		check_map(d, m, &r);
	map_free(m);
	if (rc == 0)
		check_files(d, r.block_bytes);
	dev_close(d);
	return 0;
}
