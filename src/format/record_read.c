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

/* want_len 0: any. */
static int read_record(struct dev *file, enum record_type type, uint64_t pos, uint64_t want_len,
	const uint8_t run[8], struct record *r, struct err *e)
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
	if (want_len != 0 && r->len != want_len) {
		layout_bad(e, layout_record_name(type), "length");
		return at(file, pos, e);
	}
	if (!range_inside(pos, r->len, dev_size(file)))
		return cut_off(file, type, pos, e);
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
	return read_record(file, type, pos, 0, run, r, e);
}

int record_read_exact(struct dev *file, enum record_type type, uint64_t pos, uint64_t len,
	const uint8_t run[8], struct record *r, struct err *e)
{
	return read_record(file, type, pos, len, run, r, e);
}
