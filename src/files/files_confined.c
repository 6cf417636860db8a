/*
 * The parser is a child (base/confine.h) that reads the device through its parent. The parent sends
 * a request, serves the child's reads until its reply is whole, and decodes that as the hostile
 * input it is. A child that ended, was silent too long or sent nonsense is ended, the call fails,
 * and the next one starts another, which must find the same volume.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/mem.h"
#include "device/dev_remote.h"
#include "files/files_confined_int.h"
#include "files/files_ops.h"
#include "files/files_wire.h"

struct confined_tree {
	struct files base;
	struct dev *dev;
	struct files_limits limits;
	files_child_fn body;
	pthread_mutex_t lock; /* one call at a time; of all below */
	/* Taken last and never for long: to change `child`, or to read it without `lock`. */
	pthread_mutex_t child_lock;
	struct confined *child; /* NULL: none runs */
	bool busy;		/* with an answer; also of child_lock */
	unsigned starts_left;
};

struct files_limits files_limits_default(void)
{
	return (struct files_limits){ .memory_bytes = 4 * GIB,
		.answer_ms = 30000,
		.answer_reads = (uint64_t)1 << 21,
		.restarts = 100 };
}

/* ---- The child --------------------------------------------------------------------------- */

struct service {
	struct dev *dev;
	struct files *files;
	struct files_reply reply;
	uint8_t *buf; /* FILES_READ_MAX_BYTES, at least a link's length */
};

static int reply_entry(void *user, const char *name, size_t len, uint64_t id, enum files_type type,
	struct err *e)
{
	return files_reply_entry(user, name, len, id, type, e);
}

/* Each puts its body into the reply, behind a head that says success. */
static int answer(struct service *s, const struct files_request *r, struct err *e)
{
	struct files_node node;
	size_t n = 0;
	int rc = 0;

	switch (r->op) {
	case FILES_OPEN:
		rc = s->files == NULL ? files_open(s->dev, &s->files, e) : 0;
		return rc == 0 ? files_reply_info(&s->reply, files_info(s->files)) : rc;
	case FILES_STAT:
		rc = files_stat(s->files, r->id, &node, e);
		return rc == 0 ? files_reply_node(&s->reply, &node) : rc;
	case FILES_LIST:
		return files_list(s->files, r->id, reply_entry, &s->reply, e);
	case FILES_READ:
		rc = files_read(s->files, r->id, r->off, s->buf, (size_t)r->len, &n, e);
		return rc == 0 ? files_reply_bytes(&s->reply, s->buf, n) : rc;
	case FILES_LINK_TARGET:
		rc = files_link(s->files, r->id, (char *)s->buf, &n, e);
		return rc == 0 ? files_reply_bytes(&s->reply, s->buf, n) : rc;
	default:
		return err_set(e, ERR_INTERNAL, 0, "no such request");
	}
}

/* Whatever fails here ends the child, which the parent reports. Nothing is freed then. */
static void child(int fd, void *shared, void *user)
{
	struct service s = { .buf = malloc(FILES_READ_MAX_BYTES) };
	uint8_t packet[FILES_REQUEST_BYTES];

	if (s.buf == NULL || dev_open_remote(user, fd, shared, &s.dev, NULL) < 0)
		_exit(1);
	for (;;) {
		struct files_request r;
		struct err e = { 0 };
		ssize_t n = recv(fd, packet, sizeof(packet), 0);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || !files_request_decode(packet, (size_t)n, &r) ||
			(s.files == NULL && r.op != FILES_OPEN))
			_exit(n == 0 ? 0 : 1);
		rc = files_reply_begin(&s.reply, 0, &e);
		if (rc == 0)
			rc = answer(&s, &r, &e);
		if (rc < 0 && files_reply_begin(&s.reply, rc, &e) < 0)
			_exit(1);
		if (remote_send_result(fd, shared, s.reply.bytes, s.reply.len, NULL) < 0)
			_exit(1);
	}
}

/* ---- The parent -------------------------------------------------------------------------- */

static void set_busy(struct confined_tree *t, bool busy)
{
	pthread_mutex_lock(&t->child_lock);
	t->busy = busy;
	pthread_mutex_unlock(&t->child_lock);
}

/* End the child, if there is one; `how` may be NULL. */
static void end_child(struct confined_tree *t, char *how, size_t how_len)
{
	pthread_mutex_lock(&t->child_lock);
	confine_end(t->child, how, how_len);
	t->child = NULL;
	t->busy = false;
	pthread_mutex_unlock(&t->child_lock);
}

/* End the child, and say how it ended. */
static int child_failed(struct confined_tree *t, const struct err *why, struct err *e)
{
	char how[96] = "";

	end_child(t, how, sizeof(how));
	return err_set(e, ERR_FORMAT, 0, "the file-tree parser failed: %.300s (%s)", why->msg, how);
}

/* Send a request to the child that runs; its reply is malloc'ed. */
static int exchange(struct confined_tree *t, const struct files_request *r, uint8_t **reply,
	size_t *len, struct err *e)
{
	struct remote_limits l = { .max_bytes = FILES_REPLY_MAX_BYTES,
		.idle_ms = (int)t->limits.answer_ms,
		.own_ms = t->limits.answer_ms,
		.reads = t->limits.answer_reads };
	uint8_t packet[FILES_REQUEST_BYTES];
	struct err why = { 0 };
	int fd = confined_fd(t->child);

	*reply = NULL;
	files_request_encode(r, packet);
	set_busy(t, true);
	if (send(fd, packet, sizeof(packet), MSG_NOSIGNAL) != (ssize_t)sizeof(packet)) {
		err_set(&why, ERR_INTERNAL, errno, "send a request");
		return child_failed(t, &why, e);
	}
	if (remote_serve(fd, confined_shared(t->child), t->dev, &l, reply, len, &why) < 0)
		return child_failed(t, &why, e);
	set_busy(t, false);
	return 0;
}

static int open_in_child(struct confined_tree *t, struct files_info *out, struct err *e)
{
	struct files_request r = { .op = FILES_OPEN };
	struct files_cursor c;
	uint8_t *reply;
	size_t len;
	int rc = exchange(t, &r, &reply, &len, e);

	if (rc < 0)
		return rc;
	rc = files_decode_begin(&c, reply, len, e);
	if (rc == 0)
		rc = files_decode_info(&c, out, e);
	free(reply);
	return rc;
}

static int check_same(const struct confined_tree *t, const struct files_info *i, struct err *e)
{
	const struct files_info *first = &t->base.info;

	if (first->root == i->root && first->size_bytes == i->size_bytes &&
		first->block_bytes == i->block_bytes && strcmp(first->type, i->type) == 0)
		return 0;
	return err_set(e, ERR_FORMAT, 0, "the file-tree parser finds another volume than before");
}

/* The first time it fills base.info. */
static int start_child(struct confined_tree *t, bool first, struct err *e)
{
	struct confine_limits l = { .memory_bytes = t->limits.memory_bytes };
	struct files_info info = { 0 };
	struct confined *c = NULL;
	int rc;

	if (t->starts_left == 0)
		return err_set(e, ERR_FORMAT, 0,
			"the file-tree parser failed too often, and is not started again");
	t->starts_left--;
	rc = confine_start(t->body, t->dev, REMOTE_SHARED_BYTES, &l, &c, e);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&t->child_lock);
	t->child = c;
	pthread_mutex_unlock(&t->child_lock);
	rc = open_in_child(t, &info, e);
	if (rc == 0 && !first)
		rc = check_same(t, &info, e);
	if (rc < 0) {
		end_child(t, NULL, 0);
		return rc;
	}
	if (first)
		t->base.info = info;
	return 0;
}

/* A request of any thread: begin to decode its reply, which is malloc'ed. */
static int ask(struct confined_tree *t, const struct files_request *r, uint8_t **reply,
	struct files_cursor *c, struct err *e)
{
	size_t len = 0;
	int rc = 0;

	*reply = NULL;
	pthread_mutex_lock(&t->lock);
	if (t->child == NULL)
		rc = start_child(t, false, e);
	if (rc == 0)
		rc = exchange(t, r, reply, &len, e);
	pthread_mutex_unlock(&t->lock);
	if (rc == 0)
		rc = files_decode_begin(c, *reply, len, e);
	return rc;
}

/*
 * Let go of a reply. One that was nonsense is the last of its child, which may have been taken over
 * (by now it may be another, which is a pity and nothing more).
 */
static int done(struct confined_tree *t, uint8_t *reply, int rc)
{
	free(reply);
	if (rc == -ERR_INTERNAL) {
		pthread_mutex_lock(&t->lock);
		end_child(t, NULL, 0);
		pthread_mutex_unlock(&t->lock);
	}
	return rc;
}

static int confined_stat(struct files *f, uint64_t id, struct files_node *out, struct err *e)
{
	struct confined_tree *t = (struct confined_tree *)f;
	struct files_request r = { .op = FILES_STAT, .id = id };
	struct files_cursor c;
	uint8_t *reply;
	int rc = ask(t, &r, &reply, &c, e);

	if (rc == 0)
		rc = files_decode_node(&c, id, out, e);
	return done(t, reply, rc);
}

static int confined_list(struct files *f, uint64_t id, files_list_fn fn, void *user, struct err *e)
{
	struct confined_tree *t = (struct confined_tree *)f;
	struct files_request r = { .op = FILES_LIST, .id = id };
	struct files_cursor c;
	uint8_t *reply;
	int rc = ask(t, &r, &reply, &c, e);

	if (rc == 0)
		rc = files_decode_list(&c, fn, user, e);
	return done(t, reply, rc);
}

static int confined_read(struct files *f, uint64_t id, uint64_t off, void *buf, size_t len,
	size_t *got, struct err *e)
{
	struct confined_tree *t = (struct confined_tree *)f;
	struct files_request r = { .op = FILES_READ, .id = id, .off = off, .len = len };
	struct files_cursor c;
	uint8_t *reply;
	int rc = ask(t, &r, &reply, &c, e);

	if (rc == 0)
		rc = files_decode_bytes(&c, buf, len, got, e);
	return done(t, reply, rc);
}

static int confined_link(struct files *f, uint64_t id, char *out, size_t *len, struct err *e)
{
	struct confined_tree *t = (struct confined_tree *)f;
	struct files_request r = { .op = FILES_LINK_TARGET, .id = id };
	struct files_cursor c;
	uint8_t *reply;
	int rc = ask(t, &r, &reply, &c, e);

	if (rc == 0)
		rc = files_decode_link(&c, out, FILES_LINK_MAX_BYTES, len, e);
	return done(t, reply, rc);
}

/* The end of the socket is the end of the answer: whoever waits for it sees it at once. */
static void confined_interrupt(struct files *f)
{
	struct confined_tree *t = (struct confined_tree *)f;

	pthread_mutex_lock(&t->child_lock);
	if (t->child != NULL && t->busy)
		shutdown(confined_fd(t->child), SHUT_RDWR);
	pthread_mutex_unlock(&t->child_lock);
}

static void confined_close(struct files *f)
{
	struct confined_tree *t = (struct confined_tree *)f;

	end_child(t, NULL, 0);
	pthread_mutex_destroy(&t->child_lock);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static const struct files_ops confined_ops = {
	.name = "confined",
	.stat = confined_stat,
	.list = confined_list,
	.read = confined_read,
	.link = confined_link,
	.interrupt = confined_interrupt,
	.close = confined_close,
};

int files_open_child(struct dev *d, const struct files_limits *limits, files_child_fn body,
	struct files **out, struct err *e)
{
	struct confined_tree *t = calloc(1, sizeof(*t));
	int rc;

	*out = NULL;
	if (t == NULL)
		return err_nomem(e);
	t->base.ops = &confined_ops;
	t->dev = d;
	t->limits = *limits;
	t->body = body;
	t->starts_left = limits->restarts == UINT32_MAX ? UINT32_MAX : limits->restarts + 1;
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->child_lock, NULL);
	rc = start_child(t, true, e);
	if (rc < 0) {
		confined_close(&t->base);
		return rc;
	}
	*out = &t->base;
	return 0;
}

int files_open_confined(struct dev *d, const struct files_limits *limits, struct files **out,
	struct err *e)
{
	return files_open_child(d, limits, child, out, e);
}
