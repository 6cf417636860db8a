#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int code;
	const char *word;
	const char *meaning;
} table[] = {
#define ERR_ROW(name, number, word, meaning) { number, word, meaning },
	ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

static void fill(struct err *e, int code, int sys, const char *fmt, va_list ap)
{
	char reason[96];
	size_t used;

	e->code = code;
	e->sys = sys;
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	if (sys == 0)
		return;
	used = strlen(e->msg);
	snprintf(e->msg + used, sizeof(e->msg) - used, ": %s",
		strerror_r(sys, reason, sizeof(reason)));
}

int err_set(struct err *e, enum err_code code, int sys, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return -(int)code;
	va_start(ap, fmt);
	fill(e, (int)code, sys, fmt, ap);
	va_end(ap);
	return -(int)code;
}

static enum err_code code_of_errno(int sys, enum err_code otherwise)
{
	switch (sys) {
	case ENOENT:
	case ENOTDIR:
	case ENODEV:
	case ENXIO:
		return ERR_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERR_PERMISSION;
	case EBUSY:
	case ETXTBSY:
		return ERR_BUSY;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_TARGET;
	case ENOMEM:
		return ERR_INTERNAL;
	default:
		return otherwise;
	}
}

int err_set_errno(struct err *e, enum err_code otherwise, int sys, const char *fmt, ...)
{
	enum err_code code = code_of_errno(sys, otherwise);
	va_list ap;

	if (e == NULL)
		return -(int)code;
	va_start(ap, fmt);
	fill(e, (int)code, sys, fmt, ap);
	va_end(ap);
	return -(int)code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	char old[sizeof(e->msg)];
	size_t used;
	va_list ap;

	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	used = strlen(e->msg);
	snprintf(e->msg + used, sizeof(e->msg) - used, ": %s", old);
	return -e->code;
}

int err_nomem(struct err *e)
{
	return err_set(e, ERR_INTERNAL, 0, "out of memory");
}

const char *err_word(int code)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].code == code)
			return table[i].word;
	return "unknown";
}

const char *err_meaning(int code)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].code == code)
			return table[i].meaning;
	return "unknown";
}
