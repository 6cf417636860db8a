#include "pipeline/read_error.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"

static int try_read(const struct read_rescue *r, uint64_t off, uint8_t *buf, size_t len,
	unsigned tries, struct err *e)
{
	int rc = -ERR_SOURCE;

	for (unsigned i = 0; i < tries && rc < 0; i++)
		rc = dev_read(r->source, off, buf, len, e);
	return rc;
}

static int give_up(const struct read_rescue *r, uint64_t off, uint8_t *buf, size_t len,
	struct err *e)
{
	if (r->policy == ON_READ_ERROR_ABORT)
		return -e->code;
	memset(buf, 0, len);
	return r->bad(r->user, off, len, e);
}

/*
 * Halve until it reads or is one sector. Depth is log2(len / sector), and a half that reads costs
 * one request, so that a single bad sector in a block costs about twice the halvings.
 */
static int halve(const struct read_rescue *r, uint64_t off, uint8_t *buf, size_t len, struct err *e)
{
	size_t sector = dev_info(r->source)->logical_bytes;
	/* The first half ends at a sector border of the device, whatever off is. */
	uint64_t middle = align_down(off + len / 2, sector);
	size_t first;
	int rc;

	if (len <= sector || middle <= off) {
		rc = try_read(r, off, buf, len, 1 + r->retries, e);
		return rc < 0 ? give_up(r, off, buf, len, e) : 0;
	}
	first = (size_t)(middle - off);
	rc = try_read(r, off, buf, first, 1, e);
	if (rc < 0)
		rc = halve(r, off, buf, first, e);
	if (rc < 0)
		return rc;
	rc = try_read(r, middle, buf + first, len - first, 1, e);
	if (rc < 0)
		rc = halve(r, middle, buf + first, len - first, e);
	return rc;
}

int read_rescue(const struct read_rescue *r, uint64_t off, uint8_t *buf, size_t len, struct err *e)
{
	int rc = -ERR_SOURCE;

	if (r->retries > 0)
		rc = try_read(r, off, buf, len, r->retries, e);
	return rc < 0 ? halve(r, off, buf, len, e) : 0;
}
