/* Helpers of the device tests: a scratch directory, bytes to compare with, a device that tells. */
#ifndef TESTS_DEV_HELPER_H
#define TESTS_DEV_HELPER_H

#include "device/dev.h"

/* A cmocka check that the call succeeded, with its message when not. */
#define assert_ok(call, e) dev_helper_assert_ok((call), (e), __FILE__, __LINE__)
void dev_helper_assert_ok(int rc, const struct err *e, const char *file, int line);

/*
 * For cmocka's group: a scratch directory in $TMPDIR or /tmp, which dev_helper_path names files in,
 * and its removal with all that is in it.
 */
int dev_helper_setup(void **state);
int dev_helper_teardown(void **state);
/* Borrowed until the next call with the same name's slot: 8 names live at a time. */
const char *dev_helper_path(const char *name);

/* xorshift, so that a failure can be repeated. */
uint32_t dev_helper_random(uint32_t *state);
void dev_helper_fill(void *out, size_t len, uint32_t seed);

/* A new file of that content; and the content of a file, malloc'ed, by plain system calls. */
void dev_helper_write_file(const char *path, const void *bytes, size_t len);
void *dev_helper_read_file(const char *path, size_t *len);

/*
 * A growing device in memory that records its operations in order, and can hold them up. Any
 * thread may use it, and several writes run at once.
 */
enum record_op { RECORD_READ, RECORD_WRITE, RECORD_FLUSH, RECORD_SYNC, RECORD_SIZE, RECORD_OPS };

struct record {
	enum record_op op; /* FLUSH: fdatasync, SYNC: with metadata */
	uint64_t off;	   /* SIZE: the new size */
	uint64_t len;
};

int dev_open_record(uint64_t capacity, bool can_grow, uint32_t align, struct dev **out);
/* Operations that ended so far; record i of them. */
size_t dev_record_count(struct dev *d);
struct record dev_record_at(struct dev *d, size_t i);
/* While held, operations of that kind wait before they begin. */
void dev_record_hold(struct dev *d, enum record_op op, bool hold);
/* Wait until that many operations of a kind have begun. */
void dev_record_wait_begun(struct dev *d, enum record_op op, unsigned count);
/* The content, borrowed; its length is dev_size(d). */
const uint8_t *dev_record_bytes(struct dev *d);

#endif
