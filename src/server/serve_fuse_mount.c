/*
 * The threads of a mount are ours, not the library's loop: those can be ended only by another
 * request, which hangs when none of them is left to answer it. Ours wait for the kernel or for the
 * word to stop.
 */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/serve_fuse_int.h"

/* Take requests and answer them, until the mount is gone or it is time to stop. */
static void *run(void *arg)
{
	struct fuse_mount *m = arg;
	struct fuse_session *session = m->session;
	struct pollfd p[2] = {
		{ .fd = fuse_session_fd(session), .events = POLLIN },
		{ .fd = m->stop_fd, .events = POLLIN },
	};
	struct fuse_buf buf = { .mem = NULL };

	while (!fuse_session_exited(session)) {
		int n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents != 0)
			break;
		/* The descriptor does not block: another thread may have been quicker. */
		n = fuse_session_receive_buf(session, &buf);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(session, &buf);
	}
	free(buf.mem);
	atomic_store(&m->running, false);
	return NULL;
}

static int start_threads(struct fuse_mount *m, struct err *e)
{
	int fd = fuse_session_fd(m->session);
	int flags = fcntl(fd, F_GETFL);

	m->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (m->stop_fd < 0 || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(e, ERR_INTERNAL, errno, "set up the mount on %s", m->dir);
	atomic_store(&m->running, true);
	for (; m->thread_count < FUSE_MOUNT_THREADS; m->thread_count++) {
		int sys = pthread_create(&m->threads[m->thread_count], NULL, run, m);

		if (sys != 0)
			return err_set(e, ERR_INTERNAL, sys, "start a thread for %s", m->dir);
	}
	return 0;
}

int fuse_mount_new(const char *dir, const struct fuse_mount_options *o,
	void (*free_served)(void *served), struct fuse_mount **out, struct err *e)
{
	struct fuse_mount *m;
	struct stat st;

	*out = NULL;
	if (stat(dir, &st) < 0)
		return err_set_errno(e, ERR_NOT_FOUND, errno, "mount on %s", dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_USAGE, 0, "mount on %s: it is no directory", dir);
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return err_nomem(e);
	m->free_served = free_served;
	m->stop_fd = -1;
	m->started = time(NULL);
	m->shared = o->allow_other;
	m->dir = strdup(dir);
	if (m->dir == NULL) {
		fuse_mount_close(m);
		return err_nomem(e);
	}
	*out = m;
	return 0;
}

int fuse_mount_args(const struct fuse_mount *m, bool permissions, struct fuse_args *args,
	struct err *e)
{
	if (fuse_opt_add_arg(args, "imgtool") == 0 &&
		fuse_opt_add_arg(args, "-oro,fsname=imgtool,subtype=imgtool") == 0 &&
		(!permissions || fuse_opt_add_arg(args, "-odefault_permissions") == 0) &&
		(!m->shared || fuse_opt_add_arg(args, "-oallow_other") == 0))
		return 0;
	return err_nomem(e);
}

/* libfuse says what is wrong on stderr, and only that something is in its answer. */
int fuse_mount_start(struct fuse_mount *m, struct err *e)
{
	if (m->session == NULL || fuse_session_mount(m->session, m->dir) != 0)
		return err_set(e, ERR_PERMISSION, 0, "mount on %s: FUSE refuses", m->dir);
	m->mounted = true;
	return start_threads(m, e);
}

bool fuse_mount_running(struct fuse_mount *m)
{
	return atomic_load(&m->running);
}

void fuse_mount_stats(struct fuse_mount *m, struct fuse_mount_stats *out)
{
	out->requests = atomic_load(&m->requests);
	out->failures = atomic_load(&m->failures);
	out->bytes = atomic_load(&m->bytes);
}

/* One that waits for a parser that hangs is not waited for as long. */
static void join(struct fuse_mount *m, pthread_t thread)
{
	struct timespec until;

	do {
		until = clock_timespec(clock_ns() + FUSE_MOUNT_PATIENCE_MS * NS_PER_MS);
		if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
			return;
		if (m->interrupt != NULL)
			m->interrupt(m->served);
	} while (true);
}

void fuse_mount_close(struct fuse_mount *m)
{
	uint64_t one = 1;

	if (m == NULL)
		return;
	if (m->stop_fd >= 0 && write(m->stop_fd, &one, sizeof(one)) == sizeof(one))
		for (unsigned i = 0; i < m->thread_count; i++)
			join(m, m->threads[i]);
	if (m->mounted)
		fuse_session_unmount(m->session);
	if (m->fuse != NULL)
		fuse_destroy(m->fuse);
	else if (m->session != NULL)
		fuse_session_destroy(m->session);
	if (m->stop_fd >= 0)
		close(m->stop_fd);
	m->free_served(m->served);
	free(m->dir);
	free(m);
}
