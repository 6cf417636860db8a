/*
 * Appends bytes to a device, coalesced into large aligned asynchronous writes (1 MiB or more,
 * O_DIRECT where the device allows it), with durable commits that do not stop the caller. The
 * output side of image writing.
 *
 * One thread uses an appender. Errors are sticky: the first failed write or flush is reported by
 * every later call. Invariant: bytes before the last commit are never rewritten; a commit's end
 * must be a multiple of APPENDER_ALIGN_BYTES, and so must the start of a resumed one.
 */
#ifndef DEVICE_APPENDER_H
#define DEVICE_APPENDER_H

#include "device/dev.h"

#define APPENDER_ALIGN_BYTES 4096

struct appender;

/* Append to `out` (file or pipe; stays the caller's) from offset `start` on. */
int appender_open(struct dev *out, uint64_t start, bool write_through, struct appender **ap,
	struct err *e);
/* Drops what was not committed or finished. NULL is fine. */
void appender_close(struct appender *a);

/* Offset of the next byte. */
uint64_t appender_offset(const struct appender *a);

/* The bytes are copied before it returns. Blocks only when all buffers are in flight. */
int appender_append(struct appender *a, const void *bytes, size_t len, struct err *e);

/*
 * Nothing behind is written before everything appended so far is: a run that is killed, or whose
 * write fails, does not leave the one without the other. Not durable for that (see commit).
 */
void appender_barrier(struct appender *a);

/*
 * Everything appended so far will be made durable: queued writes, then an asynchronous fdatasync.
 * Returns at once; at most one commit is under way, an earlier one is waited for first. On a pipe
 * it only pushes the bytes out.
 */
int appender_commit(struct appender *a, struct err *e);

/* Bytes that are known to be durable. */
uint64_t appender_committed(const struct appender *a);

/*
 * Write the rest, set the exact length, flush data and size. Returns only when all of it is
 * durable.
 */
int appender_finish(struct appender *a, struct err *e);

#endif
