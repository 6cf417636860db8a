/* What the two kinds of mounts share: the threads, and their end. See serve_fuse_mount.c. */
#ifndef SERVER_SERVE_FUSE_INT_H
#define SERVER_SERVE_FUSE_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "server/serve_fuse.h"

#define FUSE_MOUNT_THREADS 8
#define FUSE_STAT_BLOCK_BYTES 512
#define FUSE_MOUNT_PATIENCE_MS 1000 /* with a thread in the end, before it is interrupted */

struct fuse;
struct fuse_args;
struct fuse_session;

struct fuse_mount {
	struct fuse_session *session; /* set before fuse_mount_start; owned unless fuse is set */
	struct fuse *fuse;	      /* the library of paths, which owns the session; or NULL */
	void *served;		      /* of the kind of mount */
	void (*free_served)(void *served); /* when all threads have ended; NULL is passed too */
	/* End what the threads are waiting for; may be NULL: they never wait for long. */
	void (*interrupt)(void *served);
	char *dir;
	bool shared;
	time_t started;
	atomic_uint_fast64_t requests, failures, bytes;
	bool mounted;
	int stop_fd;
	pthread_t threads[FUSE_MOUNT_THREADS];
	unsigned thread_count;
	atomic_bool running;
};

/* A mount that is not there yet. The directory must exist. fuse_mount_close frees it. */
int fuse_mount_new(const char *dir, const struct fuse_mount_options *o,
	void (*free_served)(void *served), struct fuse_mount **out, struct err *e);

/*
 * Fill *args, which is all zero, with the options for a session; `permissions`: the kernel holds
 * users to the modes of the files. fuse_opt_free_args it.
 */
int fuse_mount_args(const struct fuse_mount *m, bool permissions, struct fuse_args *args,
	struct err *e);

/* Mount it and start its threads. ERR_PERMISSION: FUSE refuses, also when there is no session. */
int fuse_mount_start(struct fuse_mount *m, struct err *e);

#endif
