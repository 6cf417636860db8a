#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* What may be run: file systems' own tools that grow them after a restore, and the NBD server. */
static const char *const programs[] = { "e2fsck", "resize2fs", "ntfsresize", "nbdkit" };
static const char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
static const char *const directories[] = { "/usr/sbin", "/sbin", "/usr/bin", "/bin" };

bool spawn_known(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(programs); i++)
		if (strcmp(name, programs[i]) == 0)
			return true;
	return false;
}

static int find(const char *name, char *path, size_t cap, struct err *e)
{
	if (!spawn_known(name))
		return err_set(e, ERR_USAGE, 0, "%s is no program that imgtool runs", name);
	for (size_t i = 0; i < COUNT_OF(directories); i++) {
		snprintf(path, cap, "%s/%s", directories[i], name);
		if (access(path, X_OK) == 0)
			return 0;
	}
	return err_set(e, ERR_NOT_FOUND, 0, "%s is not installed", name);
}

/* Start it in a process group of its own; its output goes to `write_fd`. */
static int start(const char *path, const char *const args[], int write_fd, pid_t *pid)
{
	const char *argv[SPAWN_ARGS_MAX + 2] = { path };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int sys;

	for (size_t i = 0; i < SPAWN_ARGS_MAX && args[i] != NULL; i++)
		argv[i + 1] = args[i];
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, write_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, write_fd, STDERR_FILENO);
	posix_spawnattr_setflags(&attr,
		POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	sys = posix_spawn(pid, path, &files, &attr, (char *const *)argv,
		(char *const *)environment);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return sys;
}

/* Read what it says until it closes its output; false when the time was over before. */
static bool collect(int fd, uint64_t until_ns, char *out, size_t cap)
{
	size_t have = 0;
	char lost[4096];

	out[0] = '\0';
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_ns();
		size_t room = cap - 1 - have;
		ssize_t n;

		if (now >= until_ns)
			return false;
		if (poll(&p, 1, (int)min_u64((until_ns - now) / NS_PER_MS + 1, 1000)) <= 0)
			continue;
		n = read(fd, room > 0 ? out + have : lost, room > 0 ? room : sizeof(lost));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return true;
		if (room > 0)
			have += (size_t)n;
		out[have] = '\0';
	}
}

static int wait_for(pid_t pid, const char *name, bool in_time, unsigned timeout_s, int *status,
	struct err *e)
{
	int how = 0;

	/* It is still there until it is waited for: the number can't be another's. */
	if (!in_time)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &how, 0) < 0)
		if (errno != EINTR)
			return err_set_errno(e, ERR_INTERNAL, errno, "wait for %s", name);
	if (!in_time)
		return err_set(e, ERR_BUSY, 0, "%s was stopped after %u s", name, timeout_s);
	if (!WIFEXITED(how))
		return err_set(e, ERR_INTERNAL, 0, "%s was ended by signal %d", name,
			WIFSIGNALED(how) ? WTERMSIG(how) : 0);
	*status = WEXITSTATUS(how);
	return 0;
}

int spawn_run(const char *name, const char *const args[], unsigned timeout_s, char *out, size_t cap,
	int *status, struct err *e)
{
	char path[64];
	int fds[2], sys, rc = find(name, path, sizeof(path), e);
	bool in_time;
	pid_t pid;

	if (rc < 0)
		return rc;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set_errno(e, ERR_INTERNAL, errno, "a pipe for %s", name);
	sys = start(path, args, fds[1], &pid);
	close(fds[1]);
	if (sys != 0) {
		close(fds[0]);
		return err_set(e, ERR_INTERNAL, sys, "start %s", path);
	}
	in_time = collect(fds[0], clock_ns() + timeout_s * NS_PER_S, out, cap);
	close(fds[0]);
	return wait_for(pid, name, in_time, timeout_s, status, e);
}

int spawn_become(const char *name, const char *args[], struct err *e)
{
	char path[64];
	int rc = find(name, path, sizeof(path), e);
	sigset_t none;

	if (rc < 0)
		return rc;
	args[0] = path;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execve(path, (char *const *)args, (char *const *)environment);
	return err_set(e, ERR_INTERNAL, errno, "start %s", path);
}
