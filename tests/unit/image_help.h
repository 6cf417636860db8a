/*
 * For tests that need a source and an image of it: a temporary directory, a source file with known
 * content, and a whole capture in one call. Everything asserts; nothing here is under test.
 */
#ifndef TESTS_IMAGE_HELP_H
#define TESTS_IMAGE_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/pipeline.h"

#define HELP_BLOCK (UINT32_C(16) << 10)
#define HELP_CHUNK (UINT64_C(256) << 10)

/* err_msg(rc, &e): fail with the message when rc is negative. */
#define assert_ok(rc, e)                                                                           \
	do {                                                                                       \
		if ((rc) < 0)                                                                      \
			fail_msg("%s", (e)->msg);                                                  \
	} while (0)

struct help {
	char dir[64];
	struct dev *source; /* memory: `bytes` */
	uint8_t *bytes;	    /* what is in the source */
	uint8_t *want;	    /* what a restored image must hold: free bytes are zeros */
	size_t size;
	struct map *map;
	struct layout_head head;
};

/*
 * A source of `size` bytes: text-like data, noise, zeros, and stale garbage where the map says
 * free, with runs from a sector to several blocks. Deterministic for a seed.
 */
void help_init(struct help *h, size_t size, unsigned seed);
/* All of it incompressible data. */
void help_make_noise(struct help *h);
void help_fini(struct help *h);

/* dir/name; static memory, good until the fourth next call. */
const char *help_path(struct help *h, const char *name);

/* Settings of a small machine. */
struct job_settings help_settings(unsigned workers, unsigned depth);

/* Capture h->source (or `source`) into dir/name; asserts success and returns the root hash. */
void help_capture(struct help *h, struct dev *source, const char *name, unsigned workers,
	unsigned depth);

/* As far as the capture goes without finishing: returns job_wait's error code. */
int help_capture_job(struct help *h, struct dev *source, struct image_writer *w,
	enum on_read_error policy, struct err *e);

struct dev *help_open(struct help *h, const char *name, unsigned flags);
/* malloc'ed content of dir/name. */
uint8_t *help_slurp(struct help *h, const char *name, size_t *len);
void help_assert_same_files(struct help *h, const char *a, const char *b);

#endif
