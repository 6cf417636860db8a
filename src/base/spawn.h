/*
 * Running a program of the system: one of a fixed list, found in the system's own directories, with
 * an argument vector. No shell, nothing of the caller's environment, nothing to read (R12).
 *
 * Blocks until the program ends or its time is over. Not for a process that has its own handler of
 * SIGCHLD, or ignores it.
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SPAWN_ARGS_MAX 16

/* Is it a program of the list? */
bool spawn_known(const char *name);

/*
 * Run `name` with up to SPAWN_ARGS_MAX arguments (NULL at the end). What it says on stdout and
 * stderr goes to `out`, which gets a zero at the end; what is more than `cap` is lost. *status gets
 * its exit status. ERR_NOT_FOUND: it is not installed; ERR_BUSY: it was killed after timeout_s;
 * ERR_INTERNAL: it was ended by a signal, or could not be started.
 */
int spawn_run(const char *name, const char *const args[], unsigned timeout_s, char *out, size_t cap,
	int *status, struct err *e);

/*
 * Become that program: it takes this process's place, with its descriptors that are not closed on
 * exec. args[0] is overwritten with its path, args[1] is the first argument, NULL is at the end.
 * Returns only when it fails.
 */
int spawn_become(const char *name, const char *args[], struct err *e);

#endif
