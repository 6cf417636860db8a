/* Shared by the decoders of records. */
#ifndef FORMAT_LAYOUT_INT_H
#define FORMAT_LAYOUT_INT_H

#include "base/mem.h"
#include "format/layout.h"

/* ERR_DAMAGED, "HEAD: bad block size": which field of which record does not hold. */
int layout_bad(struct err *e, const char *record, const char *field);

/* The limits of a type's body length (specification, section 3). */
uint32_t layout_body_max(enum record_type type);

#endif
