/*
 * For the tests of codec/ and format/: sources with every kind of block, images of them, files and
 * the stock zstd. Everything asserts; nothing here is under test.
 */
#ifndef TESTS_FORMAT_HELPER_H
#define TESTS_FORMAT_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/dev.h"
#include "format/image.h"
#include "format/writer.h"

/* Fail with the message when rc is negative. */
#define assert_fine(rc, e)                                                                         \
	do {                                                                                       \
		if ((rc) < 0)                                                                      \
			fail_msg("%s", (e)->msg);                                                  \
	} while (0)

/* rc is -code, and the message has `part` in it. */
#define assert_error(rc, code, e, part) format_assert_error((rc), (code), (e), (part), __LINE__)
void format_assert_error(int rc, int code, const struct err *e, const char *part, int line);

/* xorshift; the state must not be 0. */
uint32_t format_random(uint32_t *state);
void format_noise(uint8_t *p, size_t len, uint32_t *state);

/* A source in memory: what it holds, and what kind each block is to get. */
struct format_source {
	struct layout_head head;
	uint8_t *bytes; /* zeros where a hole is, or a bad range */
	uint8_t *kinds; /* enum entry_kind by block */
	uint32_t blocks;
	struct bad_range *bad; /* ascending, inside chunks, not touching */
	size_t bad_count;
	int level;
};

/* A source of `size` bytes with runs of all kinds and bad ranges, the same for the same seed. */
void format_source_init(struct format_source *s, uint64_t size, uint32_t block, uint64_t chunk,
	uint32_t seed);
/* All of one kind; with ENTRY_DATA, text-like. */
void format_source_plain(struct format_source *s, uint64_t size, uint32_t block, uint64_t chunk,
	enum entry_kind kind);
void format_source_fini(struct format_source *s);

/*
 * Hand over the blocks from image_writer_offset on, up to source offset `end` (a multiple of the
 * block, or the size). `seed` decides how runs of holes are cut into calls.
 */
int format_feed(struct image_writer *w, const struct format_source *s, uint64_t end, uint32_t seed,
	struct err *e);

/* The whole image into a new file; root may be NULL. */
void format_write(const struct format_source *s, const char *path, uint8_t *root);
/* The same, into a new log. */
struct dev *format_write_log(const struct format_source *s, uint8_t *root);

/* A scratch directory, removed by format_rmdir; and a name in it (static, good for 4 calls). */
void format_mkdir(void);
void format_rmdir(void);
const char *format_path(const char *name);

uint8_t *format_slurp(const char *path, size_t *len); /* malloc'ed */
void format_spit(const char *path, const void *p, size_t len);
struct dev *format_open(const char *path, unsigned flags);

/*
 * A growing file in memory that notes every operation with the times at which it began and ended (a
 * counter, from 1; end 0: not yet). Any thread.
 */
enum format_op { FORMAT_READ, FORMAT_WRITE, FORMAT_FLUSH };
struct format_note {
	enum format_op op;
	uint64_t off, len;
	uint64_t begin, end;
};
struct dev *format_open_log(uint64_t capacity);
size_t format_log_count(struct dev *log);
struct format_note format_log_at(struct dev *log, size_t i);
const uint8_t *format_log_bytes(struct dev *log); /* borrowed */

/* Run a shell command made by printf; returns its exit status. */
int format_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
