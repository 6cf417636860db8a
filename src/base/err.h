/*
 * Errors as values. A function that can fail returns 0 or the negative of an `enum err_code`, and
 * fills the caller's `struct err`. The struct holds no pointer, so that a worker's error can be
 * copied to another thread. One table gives the codes, their words for Lua and JSON, and the exit
 * status of the program (the numbers are the exit codes).
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#define ERR_TABLE(X)                                                                               \
	X(ERR_OK, 0, "ok", "success")                                                              \
	X(ERR_INTERNAL, 1, "internal", "internal error, or out of memory")                         \
	X(ERR_USAGE, 2, "usage", "wrong use of the command line, a job file or a function")        \
	X(ERR_NOT_FOUND, 3, "not_found", "a file, device or object does not exist")                \
	X(ERR_PERMISSION, 4, "permission", "not permitted")                                        \
	X(ERR_SOURCE, 5, "source_io", "input/output error while reading")                          \
	X(ERR_TARGET, 6, "target_io", "input/output error while writing, or no space")             \
	X(ERR_DAMAGED, 7, "damaged", "an image is damaged: verification failed")                   \
	X(ERR_FORMAT, 8, "format", "not an image, or a version or feature not supported")          \
	X(ERR_REFUSED, 9, "refused", "refused for safety")                                         \
	X(ERR_SNAPSHOT, 10, "snapshot", "a snapshot failed")                                       \
	X(ERR_BUSY, 11, "busy", "a device or file is in use")                                      \
	X(ERR_BAD_SECTORS, 12, "bad_sectors", "finished, with bad sectors recorded")               \
	X(ERR_SCRIPT, 13, "script", "a job or policy script failed")                               \
	X(ERR_CANCELLED, 130, "cancelled", "cancelled by a signal or by the user")

enum err_code {
#define ERR_ENUM(name, number, word, meaning) name = number,
	ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

struct err {
	int code; /* enum err_code; 0 when nothing was set */
	int sys;  /* errno of the system call that failed, 0 when none did */
	char msg[512];
};

/*
 * Fill *e and return -code. The message says what failed, on which object, at which offset, without
 * a full stop; when sys is not 0, ": " and the system's reason are added. e may be NULL.
 */
int err_set(struct err *e, enum err_code code, int sys, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* As err_set, with the code that fits the errno: ENOENT not found, EACCES permission, EBUSY busy,
 * ENOSPC target; any other gives `otherwise`. */
int err_set_errno(struct err *e, enum err_code otherwise, int sys, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Put "context: " before the message; the code stays. Returns -e->code. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* err_set for a failed allocation. */
int err_nomem(struct err *e);

/* The word of a code ("damaged"), its meaning; "unknown" for a number outside the table. */
const char *err_word(int code);
const char *err_meaning(int code);

#endif
