/*
 * Any file as an image. Checksums are made good first, along the way that a reader goes, so that
 * changes get past them: an image is as hostile as the one who made it. What opens must hold
 * together: chunks cover the source, entries their chunk, and reads give bytes or an error.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev.h"
#include "format/image.h"
#include "reseal.h"

#define READ_BYTES 70000
#define CHUNKS RESEAL_CHUNKS

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

static void check_chunk(struct image *i, uint64_t n)
{
	const struct image_facts *f = image_facts(i);
	const struct chunk *c;
	struct err e;
	uint64_t off;

	if (image_chunk(i, n, &c, &e) < 0)
		return;
	off = n * f->head.chunk_bytes;
	must(c->off == off && c->len == layout_chunk_len(&f->head, n));
	for (uint32_t k = 0; k < c->count; k++) {
		const struct chunk_entry *x = &c->entries[k];

		must(x->off == off && x->len > 0 && x->stored > 0);
		must(range_inside(x->file_off, x->stored, f->tail.indx_pos));
		must(chunk_find(c, off) == k && chunk_find(c, off + x->len - 1) == k);
		if (x->kind == ENTRY_BAD)
			must(chunk_bad(c, off, x->len) != NULL);
		off += x->len;
	}
	must(off == c->off + c->len);
	chunk_unref(i, c);
}

static void read_device(struct image *i)
{
	static uint8_t buf[READ_BYTES];
	uint64_t size = image_facts(i)->head.source_bytes;
	struct dev *d;
	struct err e;

	must(image_dev(i, 2, &d, &e) == 0 && dev_size(d) == size);
	for (uint64_t at = 0, k = 0; at < size && k < 2 * CHUNKS; k++) {
		size_t len = (size_t)min_u64(k % 2 == 0 ? READ_BYTES : 700, size - at);
		int rc = dev_read(d, at, buf, len, &e);

		must(rc == 0 || rc == -ERR_DAMAGED || rc == -ERR_SOURCE);
		at += len;
	}
	dev_close(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file f = { malloc(size + 1), size };
	struct image *i = NULL;
	struct dev *d;
	struct err e = { 0 };
	int rc;

	must(f.p != NULL);
	memcpy(f.p, data, size);
	reseal_all(&f);
	must(dev_open_mem(f.p, size, &d, &e) == 0);
	rc = image_open(d, &i, &e);
	must(rc == 0 || ((rc == -ERR_DAMAGED || rc == -ERR_FORMAT) && e.msg[0] != 0));
	if (rc == 0) {
		must(strlen(image_facts(i)->meta) <= image_facts(i)->meta_len);
		for (uint64_t n = 0; n < image_facts(i)->chunks && n < CHUNKS; n++)
			check_chunk(i, n);
		rc = image_check_root(i, &e);
		must(rc == 0 || rc == -ERR_DAMAGED);
		read_device(i);
	}
	image_close(i);
	dev_close(d);
	free(f.p);
	return 0;
}
