/*
 * What servers share: the socket, the thread that accepts, a thread for each client, its time
 * limits, and the end of all of them.
 *
 * A client's thread takes itself off the list when it is done; the one that closes the server waits
 * until the list is empty. To end a client, its socket is shut down: whatever its thread waits for
 * comes back. The descriptor is closed only by its own thread, under the lock, so that no number is
 * used again while somebody else still holds it.
 */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/server_int.h"

#define BACKLOG 64
#define CLIENT_PACE_BYTES (64 * KIB) /* of an answer, which a client takes within the time-out */

struct client {
	struct conn conn;
	struct server *server;
	int fd;
	bool spoke; /* has said something */
	struct client *next, *previous;
};

/* Locks: only `lock`, for all fields below it. */
struct server {
	struct dev *dev;
	const struct protocol *protocol;
	unsigned max_clients, timeout_ms;
	int listen_fd, stop_fd;
	char address[256];
	char *unix_path; /* to be removed in the end; NULL: none */
	pthread_t thread;
	bool started; /* the thread is there */
	pthread_mutex_t lock;
	pthread_cond_t gone; /* a client left */
	struct client *clients;
	struct server_stats stats;
};

/* ---- A client's bytes ---- */

static struct client *client_of(struct conn *c)
{
	return (struct client *)c;
}

static int give_up_late(struct client *c)
{
	pthread_mutex_lock(&c->server->lock);
	c->server->stats.clients_late++;
	pthread_mutex_unlock(&c->server->lock);
	return -1;
}

/* Wait until the socket can be read or written. 1: the time is up; negative: it can't be waited. */
static int wait_for(struct client *c, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = c->fd, .events = events };

	for (;;) {
		uint64_t now = clock_ns();
		int ms = -1, n;

		if (deadline_ns > 0 && now >= deadline_ns)
			return 1;
		if (deadline_ns > 0)
			ms = (int)min_u64((deadline_ns - now) / NS_PER_MS + 1, INT32_MAX);
		n = poll(&p, 1, ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -1;
	}
}

static uint64_t deadline_of(const struct client *c)
{
	return clock_ns() + c->server->timeout_ms * NS_PER_MS;
}

/* Did the call move nothing only because it would have had to wait? */
static bool would_wait(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static int client_read(struct conn *conn, void *buf, size_t len, bool idle)
{
	struct client *c = client_of(conn);
	uint64_t deadline = idle && c->spoke ? 0 : deadline_of(c);
	uint8_t *to = buf;

	while (len > 0) {
		ssize_t n = recv(c->fd, to, len, MSG_DONTWAIT);

		if (n > 0) {
			/* It has begun to say something: from now on it has to go on. */
			if (deadline == 0)
				deadline = deadline_of(c);
			c->spoke = true;
			to += n;
			len -= (size_t)n;
		} else {
			int late = would_wait(n) ? wait_for(c, POLLIN, deadline) : -1;

			if (late != 0)
				return late > 0 ? give_up_late(c) : -1;
		}
	}
	return 0;
}

static int client_write(struct conn *conn, const void *buf, size_t len)
{
	struct client *c = client_of(conn);
	uint64_t deadline = deadline_of(c);
	const uint8_t *from = buf;
	size_t moved = 0;
	int late = 0;

	while (len > 0) {
		ssize_t n = send(c->fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			from += n;
			len -= (size_t)n;
			moved += (size_t)n;
			/* Slow, but at it: a byte now and then does not keep a connection. */
			if (moved >= CLIENT_PACE_BYTES) {
				deadline = deadline_of(c);
				moved = late = 0;
			}
		} else if (!would_wait(n)) {
			return -1;
		} else if (late > 0) {
			return give_up_late(c);
		} else {
			/*
			 * When the time is up it is tried once more: poll calls a socket writable
			 * only when most of its buffer is empty, which says little of the client.
			 */
			late = wait_for(c, POLLOUT, deadline);
			if (late < 0)
				return -1;
		}
	}
	return 0;
}

void conn_count(struct conn *conn, bool failed, uint64_t bytes)
{
	struct client *c = client_of(conn);

	if (conn->read != client_read)
		return; /* memory, in a fuzz target */
	pthread_mutex_lock(&c->server->lock);
	c->server->stats.requests++;
	c->server->stats.failures += failed;
	c->server->stats.bytes += bytes;
	pthread_mutex_unlock(&c->server->lock);
}

/* ---- Clients ---- */

/* With the lock held. */
static void client_link(struct client *c)
{
	struct server *s = c->server;

	c->next = s->clients;
	if (s->clients != NULL)
		s->clients->previous = c;
	s->clients = c;
	s->stats.clients++;
	s->stats.clients_all++;
}

/* With the lock held: out of the list, and freed. */
static void client_unlink(struct client *c)
{
	struct server *s = c->server;

	if (c->previous != NULL)
		c->previous->next = c->next;
	else
		s->clients = c->next;
	if (c->next != NULL)
		c->next->previous = c->previous;
	s->stats.clients--;
	close(c->fd);
	free(c);
	pthread_cond_broadcast(&s->gone);
}

static void *serve_client(void *arg)
{
	struct client *c = arg;
	struct server *s = c->server;

	s->protocol->serve(s->dev, &c->conn);
	pthread_mutex_lock(&s->lock);
	client_unlink(c);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int start_client(struct client *c)
{
	pthread_attr_t attr;
	pthread_t thread;
	int sys;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sys = pthread_create(&thread, &attr, serve_client, c);
	pthread_attr_destroy(&attr);
	return sys;
}

/* A client came: take it, or close it when there are too many. */
static void add_client(struct server *s, int fd)
{
	struct client *c = NULL;
	int yes = 1;

	/* A dead peer is found out, an answer does not wait for more; Unix sockets have neither. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	pthread_mutex_lock(&s->lock);
	if (s->stats.clients < s->max_clients)
		c = calloc(1, sizeof(*c));
	if (c == NULL) {
		s->stats.clients_over++;
		close(fd);
	} else {
		c->conn = (struct conn){ client_read, client_write };
		c->server = s;
		c->fd = fd;
		client_link(c);
		if (start_client(c) != 0)
			client_unlink(c);
	}
	pthread_mutex_unlock(&s->lock);
}

static void *accept_clients(void *arg)
{
	struct server *s = arg;
	struct pollfd p[2] = {
		{ .fd = s->listen_fd, .events = POLLIN },
		{ .fd = s->stop_fd, .events = POLLIN },
	};

	while (poll(p, 2, -1) >= 0 || errno == EINTR) {
		int fd;

		if (p[1].revents != 0)
			break;
		fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			add_client(s, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			/* Until a client leaves nothing can be done; do not spin. */
			poll(&p[1], 1, 100);
	}
	return NULL;
}

/* ---- Listening ---- */

static int listen_failed(struct server *s, const char *what, int sys, struct err *e)
{
	return err_set_errno(e, sys == EADDRINUSE ? ERR_BUSY : ERR_INTERNAL, sys, "%s %s", what,
		s->address);
}

static int bind_to(struct server *s, const struct sockaddr *a, socklen_t len, struct err *e)
{
	int yes = 1;

	s->listen_fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0)
		return listen_failed(s, "open a socket for", errno, e);
	/* A server that was stopped may be started again at once. */
	if (a->sa_family != AF_UNIX)
		setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(s->listen_fd, a, len) < 0)
		return listen_failed(s, "listen on", errno, e);
	return 0;
}

static int unix_address(struct server *s, const char *path, struct sockaddr_un *a, struct err *e)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(s->address, sizeof(s->address), "%s", path);
	/* Linux would make it one without a file, which anybody may open (unix(7)). */
	if (path[0] == '\0')
		return err_set(e, ERR_USAGE, 0, "the path of a socket is empty");
	if (strlen(path) >= sizeof(a->sun_path))
		return err_set(e, ERR_USAGE, 0, "the path of a socket has at most %zu bytes: %s",
			sizeof(a->sun_path) - 1, path);
	strncpy(a->sun_path, path, sizeof(a->sun_path) - 1);
	return 0;
}

static int bind_unix(struct server *s, const char *path, struct err *e)
{
	struct sockaddr_un a;
	mode_t mask;
	int rc = unix_address(s, path, &a, e);

	if (rc < 0)
		return rc;
	/* Whoever may connect reads the whole device: the owner alone. */
	mask = umask(0177);
	rc = bind_to(s, (struct sockaddr *)&a, sizeof(a), e);
	umask(mask);
	if (rc < 0)
		return rc;
	s->unix_path = strdup(path);
	return s->unix_path != NULL ? 0 : err_nomem(e);
}

/* The address as bound: the port may have been chosen by the system. */
static void name_address(struct server *s)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getsockname(s->listen_fd, (struct sockaddr *)&a, &len) == 0 &&
		getnameinfo((struct sockaddr *)&a, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(s->address, sizeof(s->address),
			a.ss_family == AF_INET6 ? "[%.128s]:%.16s" : "%.128s:%.16s", host, port);
}

static int bind_tcp(struct server *s, const char *host, uint16_t port, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *found;
	char service[8];
	int rc;

	snprintf(s->address, sizeof(s->address), "%.200s:%u", host, port);
	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host, service, &hints, &found);
	if (rc != 0)
		return err_set(e, ERR_USAGE, 0, "%s is no address to listen on: %s", host,
			gai_strerror(rc));
	rc = bind_to(s, found->ai_addr, found->ai_addrlen, e);
	freeaddrinfo(found);
	if (rc == 0)
		name_address(s);
	return rc;
}

int server_probe(const struct server_options *o, struct err *e)
{
	struct server s = { .listen_fd = -1 };
	struct sockaddr_un a;
	struct stat there;
	int rc;

	if (o->unix_path == NULL) {
		rc = bind_tcp(&s, o->host, o->port, e);
		if (s.listen_fd >= 0)
			close(s.listen_fd);
		return rc;
	}
	/* To bind would make the file. */
	rc = unix_address(&s, o->unix_path, &a, e);
	if (rc == 0 && lstat(o->unix_path, &there) == 0)
		rc = listen_failed(&s, "listen on", EADDRINUSE, e);
	return rc;
}

static int start_listening(struct server *s, const struct server_options *o, struct err *e)
{
	int rc = o->unix_path != NULL ? bind_unix(s, o->unix_path, e)
				      : bind_tcp(s, o->host, o->port, e);

	if (rc == 0 && listen(s->listen_fd, BACKLOG) < 0)
		rc = listen_failed(s, "listen on", errno, e);
	return rc;
}

/* ---- Life ---- */

int server_start(struct dev *d, const struct protocol *p, const struct server_options *o,
	struct server **out, struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));
	int rc;

	*out = NULL;
	if (s == NULL)
		return err_nomem(e);
	*s = (struct server){ .dev = d, .protocol = p, .listen_fd = -1 };
	s->max_clients = o->max_clients;
	s->timeout_ms = o->timeout_ms;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->gone, NULL);
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (s->stop_fd < 0)
		rc = err_set(e, ERR_INTERNAL, errno, "make an event descriptor");
	else
		rc = start_listening(s, o, e);
	if (rc == 0) {
		int sys = pthread_create(&s->thread, NULL, accept_clients, s);

		s->started = sys == 0;
		if (sys != 0)
			rc = err_set(e, ERR_INTERNAL, sys, "start a thread for %s", s->address);
	}
	if (rc < 0) {
		server_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

void server_address(const struct server *s, char *buf, size_t len)
{
	snprintf(buf, len, "%s", s->address);
}

void server_stats(struct server *s, struct server_stats *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->stats;
	pthread_mutex_unlock(&s->lock);
}

static void end_clients(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	for (struct client *c = s->clients; c != NULL; c = c->next)
		shutdown(c->fd, SHUT_RDWR);
	while (s->clients != NULL)
		pthread_cond_wait(&s->gone, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void server_close(struct server *s)
{
	uint64_t one = 1;

	if (s == NULL)
		return;
	if (s->started && write(s->stop_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(s->thread, NULL);
	end_clients(s);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	if (s->unix_path != NULL)
		unlink(s->unix_path);
	free(s->unix_path);
	pthread_cond_destroy(&s->gone);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
