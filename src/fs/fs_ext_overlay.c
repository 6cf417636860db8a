/*
 * A device as it will be after its journal was replayed: reads of a block that replay writes are
 * answered from the block's copy in the log.
 */
#include "base/mem.h"
#include "device/dev_ops.h"
#include "fs/fs_ext_int.h"

/* The journal's magic number: a logged block that begins with it has zeros there instead. */
static const uint8_t magic[4] = { 0xc0, 0x3b, 0x39, 0x98 };

struct overlay {
	struct dev dev;
	struct dev *under;
	const struct ext_journal *journal;
	uint64_t block_bytes;
};

/* Part of a block that is in the log: [in, in + len) of it. */
static int read_logged(const struct overlay *o, const struct ext_write *w, uint64_t in,
	uint8_t *buf, uint64_t len, struct err *e)
{
	uint64_t block = fs_ext_journal_block(o->journal, w->index);
	int rc = dev_read(o->under, block * o->block_bytes + in, buf, len, e);

	if (rc < 0)
		return rc;
	for (; w->escaped && in < sizeof(magic) && len > 0; len--)
		*buf++ = magic[in++];
	return 0;
}

static int overlay_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	const struct overlay *o = (const struct overlay *)d;
	const struct ext_journal *j = o->journal;
	uint64_t end = off + len; /* inside the device: dev_read has checked */
	size_t i = fs_ext_journal_find(j, off / o->block_bytes);
	uint8_t *p = buf;
	int rc = 0;

	while (off < end && rc == 0) {
		uint64_t logged = i < j->write_count ? j->writes[i].block * o->block_bytes : end;
		uint64_t stop;

		if (logged > off) {
			stop = min_u64(logged, end);
			rc = dev_read(o->under, off, p, stop - off, e);
		} else {
			stop = min_u64(logged + o->block_bytes, end);
			rc = read_logged(o, &j->writes[i], off - logged, p, stop - off, e);
			i++;
		}
		p += stop - off;
		off = stop;
	}
	return rc;
}

static void overlay_close(struct dev *d)
{
	dev_fini(d);
	free(d);
}

static const struct dev_ops overlay_ops = {
	.kind = "replayed",
	.any_align = true,
	.read = overlay_read,
	.close = overlay_close,
};

int fs_ext_overlay_open(struct dev *under, const struct ext_journal *j, uint32_t block_bytes,
	struct dev **out, struct err *e)
{
	struct overlay *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return err_nomem(e);
	rc = dev_init(&o->dev, &overlay_ops, dev_name(under), e);
	if (rc < 0) {
		free(o);
		return rc;
	}
	o->dev.info.size_bytes = dev_size(under);
	o->dev.info.logical_bytes = dev_info(under)->logical_bytes;
	o->dev.info.physical_bytes = dev_info(under)->physical_bytes;
	o->under = under;
	o->journal = j;
	o->block_bytes = block_bytes;
	*out = &o->dev;
	return 0;
}
