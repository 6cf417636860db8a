/*
 * A function run in a process of its own that can hurt nobody (R13): for parsers of hostile input.
 * The child has one socket to its parent and a piece of shared memory, no files, no privileges, no
 * system calls but those that computing needs (seccomp), and limits on memory and CPU time. It is
 * forked, so it sees a copy of the parent's memory. The parent may have threads: glibc's memory
 * functions, which the child needs, work after such a fork (those of the sanitizers may hang).
 * What the parent shares with others must not be inherited: a child gets no other child's memory,
 * and whoever maps more keeps it out of forks (MADV_DONTFORK), as aio_uring.c does.
 *
 * Any thread may start one; a confined is then used by one thread. The parent must treat all that
 * comes from the child as hostile.
 */
#ifndef BASE_CONFINE_H
#define BASE_CONFINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct confine_limits {
	uint64_t memory_bytes; /* of address space beyond what the parent had; 0: none */
	unsigned cpu_s;	       /* 0: none */
};

struct confined;

/*
 * Start body(fd, shared, user) in a child; fd is its end of a SOCK_SEQPACKET pair, shared are
 * shared_bytes of memory that both see. The child ends when body returns.
 */
int confine_start(void (*body)(int fd, void *shared, void *user), void *user, size_t shared_bytes,
	const struct confine_limits *limits, struct confined **out, struct err *e);

/* The parent's end of the socket, and the shared memory; borrowed. */
int confined_fd(const struct confined *c);
void *confined_shared(const struct confined *c);

/*
 * Kill it when it still runs, reap it, free everything. `how` (may be NULL) gets how it ended:
 * "exit status 0", "killed by signal 11 (Segmentation fault)". NULL is fine.
 */
void confine_end(struct confined *c, char *how, size_t how_len);

#endif
