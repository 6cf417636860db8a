#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fs/fs_ops.h"

void fs_add_note(struct fs_report *r, const char *fmt, ...)
{
	size_t used = strlen(r->note);
	va_list ap;

	if (used > 0 && used + 2 < sizeof(r->note)) {
		memcpy(r->note + used, "; ", 3);
		used += 2;
	}
	va_start(ap, fmt);
	vsnprintf(r->note + used, sizeof(r->note) - used, fmt, ap);
	va_end(ap);
}
