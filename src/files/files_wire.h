/*
 * Requests and replies between a tree's parser in its confined process and the program. Both ends
 * are one program, so that there are no versions; but a reply is hostile, as a parser may have been
 * taken over: each decoder checks all lengths, counts, types and names. Integers are little-endian.
 * Pure, any thread.
 */
#ifndef FILES_FILES_WIRE_H
#define FILES_FILES_WIRE_H

#include "files/files.h"

enum files_op { FILES_OPEN = 1, FILES_STAT, FILES_LIST, FILES_READ, FILES_LINK_TARGET, FILES_OPS };

struct files_request {
	enum files_op op;
	uint64_t id, off, len; /* off and len for READ */
};

#define FILES_REQUEST_BYTES 32
void files_request_encode(const struct files_request *r, uint8_t *out);
/* False: no request. */
bool files_request_decode(const uint8_t *p, size_t n, struct files_request *out);

/* The longest reply: a directory of some 5 million names of usual length. */
#define FILES_REPLY_MAX_BYTES ((size_t)256 << 20)

/* A reply that grows; all zero at first, and free() of bytes at the end. */
struct files_reply {
	uint8_t *bytes;
	size_t len, room;
};

/* Start over with the head of a reply: what a request gave, rc and *e. ERR_INTERNAL: no memory. */
int files_reply_begin(struct files_reply *r, int rc, const struct err *e);
int files_reply_info(struct files_reply *r, const struct files_info *i);
int files_reply_node(struct files_reply *r, const struct files_node *n);
int files_reply_entry(struct files_reply *r, const char *name, size_t len, uint64_t id,
	enum files_type type, struct err *e);
int files_reply_bytes(struct files_reply *r, const void *bytes, size_t len);

/* Where the next thing of a reply is. */
struct files_cursor {
	const uint8_t *p;
	size_t left;
};

/*
 * Begin to decode: 0, the negative code that the request gave with its message in *e, or
 * ERR_INTERNAL for what is no reply.
 */
int files_decode_begin(struct files_cursor *c, const uint8_t *p, size_t n, struct err *e);
int files_decode_info(struct files_cursor *c, struct files_info *out, struct err *e);
/* The node must be `id`. */
int files_decode_node(struct files_cursor *c, uint64_t id, struct files_node *out, struct err *e);
/* All entries. fn's negative return is passed on. */
int files_decode_list(struct files_cursor *c, files_list_fn fn, void *user, struct err *e);
/* The rest, which has at most `max` bytes. */
int files_decode_bytes(struct files_cursor *c, void *out, size_t max, size_t *len, struct err *e);
/* As files_decode_bytes, with no zero byte and not empty; terminated, `out` has max + 1 bytes. */
int files_decode_link(struct files_cursor *c, char *out, size_t max, size_t *len, struct err *e);

#endif
