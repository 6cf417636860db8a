/*
 * Bytes kept for later: appended, then read back. In memory up to 4 MiB; beyond that in a temporary
 * file without a name (in $TMPDIR, or /var/tmp), which is gone with the spool, or the program. One
 * thread at a time.
 */
#ifndef FORMAT_SPOOL_H
#define FORMAT_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct spool;

struct spool *spool_new(void); /* NULL when out of memory */
void spool_free(struct spool *s);

int spool_append(struct spool *s, const void *bytes, size_t len, struct err *e);
uint64_t spool_len(const struct spool *s);
/* [off, off + len) must have been appended. */
int spool_read(const struct spool *s, uint64_t off, void *buf, size_t len, struct err *e);

#endif
