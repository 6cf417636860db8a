/*
 * The child lists into a buffer and hands over a piece when it is full. A piece is a byte that says
 * what it is, and then: records of files; the answer of fs_claims; or, as the last one, a code and
 * the message of the error that ended it. The parent believes none of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/mem.h"
#include "device/dev_remote.h"
#include "fs/fs_confined.h"

enum piece { PIECE_FILES = 1, PIECE_CLAIMS = 2, PIECE_ERROR = 3 };

_Static_assert(1 + FS_FILE_RECORD_MAX <= REMOTE_SHARED_BYTES, "a record fits into a piece");

/* What is asked; the child has a copy of it. `ranges`: fs_claims, else fs_files. */
struct question {
	struct dev *dev;
	bool tree;
	const struct map *ranges;
};

/* ---- In the child ------------------------------------------------------------------------ */

struct sender {
	int fd;
	void *shared;
	uint8_t *piece;
	size_t len;
};

static int flush(struct sender *s, struct err *e)
{
	int rc = 0;

	if (s->len > 1)
		rc = remote_send_piece(s->fd, s->shared, s->piece, s->len, e);
	s->piece[0] = PIECE_FILES;
	s->len = 1;
	return rc;
}

static int send_file(void *user, const struct fs_file *f, struct err *e)
{
	struct sender *s = user;
	int rc = 0;

	if (REMOTE_SHARED_BYTES - s->len < FS_FILE_RECORD_MAX)
		rc = flush(s, e);
	if (rc == 0)
		s->len += fs_file_encode(f, s->piece + s->len);
	return rc;
}

static int answer(struct sender *s, struct dev *d, const struct question *q, struct err *e)
{
	uint64_t bytes = 0;
	int rc;

	if (q->ranges) {
		rc = fs_claims(d, q->ranges, &bytes, e);
		s->piece[0] = PIECE_CLAIMS;
		put_le64(s->piece + 1, bytes);
		s->len = 9;
	} else {
		rc = fs_files(d, q->tree, send_file, s, e);
	}
	return rc < 0 ? rc : flush(s, e);
}

/* Whatever fails here ends the child without a last piece, which the parent reports. */
static void child(int fd, void *shared, void *user)
{
	const struct question *q = user;
	struct sender s = { .fd = fd, .shared = shared, .piece = malloc(REMOTE_SHARED_BYTES) };
	struct dev *d = NULL;
	struct err e = { 0 };

	if (s.piece == NULL || dev_open_remote(q->dev, fd, shared, &d, NULL) < 0)
		_exit(1);
	flush(&s, NULL);
	if (answer(&s, d, q, &e) < 0) {
		s.piece[0] = PIECE_ERROR;
		put_le32(s.piece + 1, (uint32_t)e.code);
		memcpy(s.piece + 5, e.msg, sizeof(e.msg));
		if (remote_send_piece(fd, shared, s.piece, 5 + sizeof(e.msg), NULL) < 0)
			_exit(1);
	}
	if (remote_send_piece(fd, shared, NULL, 0, NULL) < 0)
		_exit(1);
}

/* ---- In the parent ----------------------------------------------------------------------- */

struct taker {
	const struct question *q;
	fs_file_fn fn;
	void *user;
	struct fs_file_room *room;
	uint64_t claims;
	bool answered;	/* fs_claims */
	bool own_words; /* the error is the child's or the caller's own, not one about the child */
};

static int take_files(struct taker *t, const uint8_t *p, size_t len, struct err *e)
{
	struct fs_file f;

	while (len > 0) {
		int n = fs_file_decode(p, len, dev_size(t->q->dev), t->room, &f, e);

		if (n < 0)
			return n;
		fs_tame(f.kept, sizeof(f.kept));
		if (t->fn(t->user, &f, e) < 0) {
			t->own_words = true;
			return -e->code;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int take_error(struct taker *t, const uint8_t *p, size_t len, struct err *e)
{
	char msg[sizeof(e->msg)];

	if (len != 4 + sizeof(msg))
		return err_set(e, ERR_INTERNAL, 0, "its error is of %zu bytes", len);
	memcpy(msg, p + 4, sizeof(msg));
	fs_tame(msg, sizeof(msg));
	t->own_words = true;
	return err_set(e, get_le32(p) == ERR_SOURCE ? ERR_SOURCE : ERR_FORMAT, 0, "%s", msg);
}

static int take(void *user, const uint8_t *piece, size_t len, struct err *e)
{
	struct taker *t = user;

	if (piece[0] == PIECE_FILES && t->q->ranges == NULL)
		return take_files(t, piece + 1, len - 1, e);
	if (piece[0] == PIECE_ERROR)
		return take_error(t, piece + 1, len - 1, e);
	if (piece[0] != PIECE_CLAIMS || t->q->ranges == NULL || len != 9 || t->answered)
		return err_set(e, ERR_INTERNAL, 0, "its answer makes no sense");
	t->claims = get_le64(piece + 1);
	t->answered = true;
	return 0;
}

typedef void (*child_fn)(int fd, void *shared, void *user);

static int ask(child_fn body, struct question *q, const struct fs_limits *limits, struct taker *t,
	struct err *e)
{
	struct confine_limits l = { .memory_bytes = limits->memory_bytes, .cpu_s = limits->cpu_s };
	struct remote_limits serve = { .idle_ms = limits->idle_ms,
		.stop = limits->stop,
		.user = limits->user };
	struct confined *c = NULL;
	char how[96] = "", why[200];
	int rc = confine_start(body, q, REMOTE_SHARED_BYTES, &l, &c, e);

	t->q = q;
	if (rc == 0)
		rc = remote_serve_pieces(confined_fd(c), confined_shared(c), q->dev, &serve, take,
			t, e);
	confine_end(c, how, sizeof(how));
	if (rc == 0 && q->ranges && !t->answered)
		rc = err_set(e, ERR_INTERNAL, 0, "ended without an answer");
	if (rc == 0 || rc == -ERR_CANCELLED || t->own_words)
		return rc;
	snprintf(why, sizeof(why), "%.199s", e->msg);
	return err_set(e, ERR_FORMAT, 0, "the file-system parser failed: %s (%s)", why, how);
}

int fs_files_from(void (*body)(int fd, void *shared, void *user), struct dev *d,
	const struct fs_limits *limits, bool tree, fs_file_fn fn, void *user, struct err *e)
{
	struct question q = { .dev = d, .tree = tree };
	struct taker t = { .fn = fn, .user = user, .room = malloc(sizeof(*t.room)) };
	int rc = t.room ? ask(body, &q, limits, &t, e) : err_nomem(e);

	free(t.room);
	return rc;
}

int fs_files_confined(struct dev *d, const struct fs_limits *limits, bool tree, fs_file_fn fn,
	void *user, struct err *e)
{
	return fs_files_from(child, d, limits, tree, fn, user, e);
}

int fs_claims_confined(struct dev *d, const struct fs_limits *limits, const struct map *ranges,
	uint64_t *bytes, struct err *e)
{
	struct question q = { .dev = d, .ranges = ranges };
	struct taker t = { 0 };
	int rc = ask(child, &q, limits, &t, e);

	*bytes = t.claims;
	return rc;
}
