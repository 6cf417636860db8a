/*
 * Swap areas of Linux: the header is data, the pages are free. Layout: Linux kernel,
 * include/linux/swap.h, union swap_header: 1024 bytes for a boot loader, then version, last page,
 * number of bad pages (32 bits each, in the byte order of the machine), UUID, label, and the list
 * of bad pages; the last ten bytes of the first page are the signature. The page size is that of
 * the machine that made it and is written nowhere, so the signature's place tells it.
 *
 * A hibernated system replaces the signature, and libblkid then says "swsuspend": another row.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "fs/fs_ops.h"

#define PAGE_MIN 4096
#define PAGE_MAX 65536
#define SIGNATURE_BYTES 10
#define VERSION_OFFSET 1024
#define HEADER_VERSION 1

/* The smallest page size that has the signature at its end; 0 when none has. */
static uint32_t page_bytes_of(const uint8_t *head, size_t len)
{
	for (uint32_t page = PAGE_MIN; page <= len; page *= 2)
		if (memcmp(head + page - SIGNATURE_BYTES, "SWAPSPACE2", SIGNATURE_BYTES) == 0)
			return page;
	return 0;
}

static int free_pages(const uint8_t *head, size_t len, struct map *m, struct fs_report *r,
	struct err *e)
{
	uint32_t page = page_bytes_of(head, len);
	uint32_t version = get_le32(head + VERSION_OFFSET);
	uint32_t last_page = get_le32(head + VERSION_OFFSET + 4);
	uint64_t end;

	if (page == 0)
		return err_set(e, ERR_FORMAT, 0, "swap: no signature of the new style");
	if (version != HEADER_VERSION)
		return err_set(e, ERR_FORMAT, 0, "swap: version is %" PRIu32, version);
	end = ((uint64_t)last_page + 1) * page; /* 48 bits at most */
	if (end > map_size(m))
		return err_set(e, ERR_FORMAT, 0,
			"swap: last page %" PRIu32 " of %" PRIu32 " bytes lies past the end",
			last_page, page);
	r->block_bytes = page;
	/* Always the largest page: should a larger header stand behind a stale small one, it is
	 * kept. What comes after the last page is not swap's. */
	if (end > PAGE_MAX)
		return map_set(m, PAGE_MAX, end - PAGE_MAX, MAP_FREE, e);
	return 0;
}

static int swap_map(struct dev *d, struct map *m, struct fs_report *r, struct err *e)
{
	size_t len = (size_t)min_u64(dev_size(d), PAGE_MAX);
	uint8_t *head;
	int rc;

	if (len < PAGE_MIN)
		return err_set(e, ERR_FORMAT, 0, "swap: smaller than a page");
	head = malloc(len);
	if (!head)
		return err_nomem(e);
	rc = dev_read(d, 0, head, len, e);
	if (rc == 0)
		rc = free_pages(head, len, m, r, e);
	free(head);
	return rc;
}

static const char *const types[] = { "swap", NULL };

const struct fs_ops fs_swap = {
	.name = "swap",
	.types = types,
	.map = swap_map,
};
