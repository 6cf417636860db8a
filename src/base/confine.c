#include "base/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <seccomp.h>

#include "base/mem.h"

/* Where the socket lies in the child: behind the three standard descriptors. */
#define CHILD_FD 3
#define NOBODY 65534

/* The sanitizers reserve terabytes of address space: there the limit would only stop themselves. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIMIT_MEMORY 0
#else
#define LIMIT_MEMORY 1
#endif

/*
 * From the mapping of a child's shared memory until it is marked as not inherited no other child
 * may be forked, of whichever thread. Against S8: it is the process that is forked, and no argument
 * stands for that. The child's copy stays locked; a child starts none.
 */
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

struct confined {
	pid_t pid;
	int fd;
	void *shared;
	size_t shared_bytes;
};

/*
 * What computing, talking over the socket and a private memory file need. Everything else fails
 * with EPERM instead of killing: libraries ask for time zones, locales and the like, and go on.
 */
static const int allowed[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(lseek),
	SCMP_SYS(fstat),
	SCMP_SYS(ftruncate),
	SCMP_SYS(memfd_create),
	SCMP_SYS(close),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(mmap),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(mprotect),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(futex),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getrandom),
	SCMP_SYS(sched_yield),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(restart_syscall),
};

static int load_filter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = ctx == NULL ? -ENOMEM : 0;

	for (size_t i = 0; rc == 0 && i < COUNT_OF(allowed); i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	/*
	 * glibc's fstat, which libblkid needs. The flag permits an empty path and does not demand
	 * one, and the filter can't see what the pointer points to: a child can ask for the facts
	 * of a file by its name, as far as its user may. forget_files leaves no names where it can.
	 */
	if (rc == 0)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
			SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	return rc;
}

static uint64_t address_space_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;

	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int set_limits(const struct confine_limits *l)
{
	struct rlimit none = { 0, 0 }, cpu = { l->cpu_s, l->cpu_s }, memory;

	memory.rlim_cur = memory.rlim_max = address_space_bytes() + l->memory_bytes;
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return -1;
	if (l->cpu_s > 0 && setrlimit(RLIMIT_CPU, &cpu) < 0)
		return -1;
	if (LIMIT_MEMORY && l->memory_bytes > 0 && setrlimit(RLIMIT_AS, &memory) < 0)
		return -1;
	return 0;
}

/*
 * Pages of memory files (memfd_create) count against none of the limits. Whoever fills the machine
 * with them shall be the one that is killed for it. Without /proc it is as likely as others.
 */
static bool offer_to_oom_killer(void)
{
	static const char most[] = "1000";
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, most, sizeof(most) - 1) == sizeof(most) - 1;

	if (fd >= 0)
		close(fd);
	return done;
}

/*
 * A root directory without the names of files, for what the filter lets through. This one has the
 * process's own descriptors in it, and nothing has to be made or removed. Only root may, and not in
 * every container.
 */
static bool forget_files(void)
{
	return geteuid() == 0 && chdir("/proc/self/fdinfo") == 0 && chroot(".") == 0;
}

static int drop_privileges(void)
{
	if (geteuid() == 0 &&
		(setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
			setresuid(NOBODY, NOBODY, NOBODY) < 0))
		return -1;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Standard streams to nowhere, the socket at CHILD_FD, nothing else. */
static int keep_only(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -1;
	/* Out of the way first: the socket may be one of the low numbers. */
	fd = fcntl(fd, F_DUPFD, CHILD_FD + 1);
	if (fd < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
		dup2(fd, CHILD_FD) < 0)
		return -1;
	return close_range(CHILD_FD + 1, ~0U, 0);
}

static void default_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Ctrl-C is the parent's business: it decides what becomes of the job. */
	signal(SIGINT, SIG_IGN);
}

/* A child that could not be confined must not run: the parent sees it end. */
static void run_child(void (*body)(int, void *, void *), void *user, struct confined *c, int fd,
	const struct confine_limits *l)
{
	default_signals();
	/* These two are second lines: what they stop is little, and some places have neither. */
	offer_to_oom_killer();
	if (keep_only(fd) < 0 || set_limits(l) < 0)
		_exit(125);
	forget_files();
	if (drop_privileges() < 0 || load_filter() < 0)
		_exit(125);
	body(CHILD_FD, c->shared, user);
	_exit(0);
}

/* The child inherits the memory; those that are forked later don't. */
static int start_child(void (*body)(int, void *, void *), void *user, struct confined *c,
	const struct confine_limits *limits, struct err *e)
{
	int fds[2], rc = 0;

	c->shared = mmap(NULL, c->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	if (c->shared == MAP_FAILED) {
		c->shared = NULL;
		return err_nomem(e);
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return err_set(e, ERR_INTERNAL, errno, "make a socket pair");
	c->fd = fds[0];
	c->pid = fork();
	if (c->pid == 0)
		run_child(body, user, c, fds[1], limits);
	if (c->pid < 0)
		rc = err_set(e, ERR_INTERNAL, errno, "start a confined process");
	else if (madvise(c->shared, c->shared_bytes, MADV_DONTFORK) < 0)
		rc = err_set(e, ERR_INTERNAL, errno, "keep memory from other processes");
	close(fds[1]);
	return rc;
}

int confine_start(void (*body)(int fd, void *shared, void *user), void *user, size_t shared_bytes,
	const struct confine_limits *limits, struct confined **out, struct err *e)
{
	struct confined *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return err_nomem(e);
	c->shared_bytes = shared_bytes;
	c->fd = -1;
	pthread_mutex_lock(&start_lock);
	rc = start_child(body, user, c, limits, e);
	pthread_mutex_unlock(&start_lock);
	if (rc < 0) {
		confine_end(c, NULL, 0);
		return rc;
	}
	*out = c;
	return 0;
}

int confined_fd(const struct confined *c)
{
	return c->fd;
}

void *confined_shared(const struct confined *c)
{
	return c->shared;
}

static void say_how(int status, char *how, size_t len)
{
	if (WIFSIGNALED(status))
		snprintf(how, len, "killed by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == 125)
		snprintf(how, len, "could not be confined");
	else
		snprintf(how, len, "exit status %d", WEXITSTATUS(status));
}

void confine_end(struct confined *c, char *how, size_t how_len)
{
	int status = 0;

	if (c == NULL)
		return;
	if (c->fd >= 0)
		close(c->fd);
	if (c->pid > 0) {
		/* One that has ended by itself keeps its own status: it is a zombie until reaped.
		 *  */
		kill(c->pid, SIGKILL);
		while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	if (how != NULL && how_len > 0)
		say_how(status, how, how_len);
	if (c->shared != NULL)
		munmap(c->shared, c->shared_bytes);
	free(c);
}
