/* Memory as a device. Its size changes by dev_set_size only, while no other thread uses it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/dev_int.h"

struct dev_mem {
	struct dev dev;
	uint8_t *bytes;
};

static int mem_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	(void)e;
	memcpy(buf, ((struct dev_mem *)d)->bytes + off, len);
	return 0;
}

static int mem_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	(void)e;
	memcpy(((struct dev_mem *)d)->bytes + off, buf, len);
	return 0;
}

static int mem_zero(struct dev *d, uint64_t off, uint64_t len, struct err *e)
{
	(void)e;
	memset(((struct dev_mem *)d)->bytes + off, 0, len);
	return 0;
}

static int mem_set_size(struct dev *d, uint64_t size, struct err *e)
{
	struct dev_mem *m = (struct dev_mem *)d;
	uint64_t old = dev_size(d);
	uint8_t *bytes;

	if (size > SIZE_MAX)
		return err_nomem(e);
	bytes = realloc(m->bytes, size == 0 ? 1 : size);
	if (bytes == NULL)
		return err_set(e, ERR_TARGET, 0, "set the size of %s to %" PRIu64 ": out of memory",
			d->name, size);
	m->bytes = bytes;
	if (size > old)
		memset(bytes + old, 0, size - old);
	return 0;
}

static void mem_close(struct dev *d)
{
	free(((struct dev_mem *)d)->bytes);
	dev_fini(d);
	free(d);
}

static const struct dev_ops dev_mem_ops = {
	.kind = "mem",
	.read = mem_read,
	.write = mem_write,
	.discard = mem_zero,
	.zero = mem_zero,
	.set_size = mem_set_size,
	.close = mem_close,
};

int dev_open_mem(const void *bytes, size_t len, struct dev **out, struct err *e)
{
	struct dev_mem *m = calloc(1, sizeof(*m));

	*out = NULL;
	if (m == NULL || dev_init(&m->dev, &dev_mem_ops, "memory", e) < 0) {
		free(m);
		return err_nomem(e);
	}
	m->bytes = calloc(1, len == 0 ? 1 : len);
	if (m->bytes == NULL) {
		mem_close(&m->dev);
		return err_nomem(e);
	}
	if (bytes != NULL && len > 0)
		memcpy(m->bytes, bytes, len);
	m->dev.info.size_bytes = len;
	m->dev.info.writable = true;
	m->dev.info.can_discard = true;
	*out = &m->dev;
	return 0;
}
