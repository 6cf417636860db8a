#include "format/record_read.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "format/layout_int.h"

/* err_prefix with the name of the file and the position; keeps e's code. */
static int at(const struct dev *file, uint64_t pos, struct err *e)
{
	return err_prefix(e, "%s at %" PRIu64, dev_name(file), pos);
}

static int cut_off(const struct dev *file, enum record_type type, uint64_t pos, struct err *e)
{
	err_set(e, ERR_DAMAGED, 0, "%s: the file ends inside it", layout_record_name(type));
	return at(file, pos, e);
}

void record_free(struct record *r)
{
	free(r->frame);
	memset(r, 0, sizeof(*r));
}

/* Read and open a record of this length, which lies inside the file. */
static int read_whole(struct dev *file, enum record_type type, uint64_t pos, const uint8_t run[8],
	struct record *r, struct err *e)
{
	int rc;

	r->frame = malloc(r->len);
	if (r->frame == NULL)
		return err_nomem(e);
	rc = dev_read(file, pos, r->frame, r->len, e);
	if (rc == 0 &&
		layout_record_open(r->frame, r->len, type, pos, run, &r->body, &r->body_len, e) < 0)
		rc = at(file, pos, e);
	if (rc < 0)
		record_free(r);
	return rc;
}

int record_read(struct dev *file, enum record_type type, uint64_t pos, const uint8_t run[8],
	struct record *r, struct err *e)
{
	uint64_t budget = UINT64_MAX;

	return record_search(file, type, pos, run, &budget, r, e);
}

uint64_t record_search_budget(const struct dev *file)
{
	return 2 * min_u64(dev_size(file), UINT64_MAX / 4) + (64 << 20);
}

int record_search(struct dev *file, enum record_type type, uint64_t pos, const uint8_t run[8],
	uint64_t *budget, struct record *r, struct err *e)
{
	uint8_t head[RECORD_HEAD_BYTES];
	struct err mine;
	int rc;

	memset(r, 0, sizeof(*r));
	if (e == NULL)
		e = &mine;
	if (!range_inside(pos, sizeof(head), dev_size(file)))
		return cut_off(file, type, pos, e);
	rc = dev_read(file, pos, head, sizeof(head), e);
	if (rc < 0)
		return rc;
	if (layout_record_peek(head, type, pos, run, &r->len, e) < 0)
		return at(file, pos, e);
	if (!range_inside(pos, r->len, dev_size(file)))
		return cut_off(file, type, pos, e);
	if (r->len > *budget) {
		err_set(e, ERR_DAMAGED, 0, "%s: too many that do not hold",
			layout_record_name(type));
		return at(file, pos, e);
	}
	*budget -= r->len;
	return read_whole(file, type, pos, run, r, e);
}

int record_read_exact(struct dev *file, enum record_type type, uint64_t pos, uint64_t len,
	const uint8_t run[8], struct record *r, struct err *e)
{
	struct err mine;

	memset(r, 0, sizeof(*r));
	if (e == NULL)
		e = &mine;
	if (len < RECORD_OVERHEAD_BYTES ||
		len > layout_record_len(type, pos, layout_body_max(type)) + RECORD_ALIGN_BYTES) {
		layout_bad(e, layout_record_name(type), "length");
		return at(file, pos, e);
	}
	if (!range_inside(pos, len, dev_size(file)))
		return cut_off(file, type, pos, e);
	r->len = (size_t)len;
	return read_whole(file, type, pos, run, r, e);
}
