#include "image_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static void fill(uint8_t *p, size_t len, unsigned how, uint32_t *rnd)
{
	for (size_t i = 0; i < len; i++)
		p[i] = how == 0	   ? 0
			: how == 1 ? (uint8_t)next_random(rnd)
				   : (uint8_t)("imgtool "[i % 8]);
}

void help_init(struct help *h, size_t size, unsigned seed)
{
	static const size_t runs[] = { 512, 4096, 20000, HELP_BLOCK, 3 * HELP_BLOCK + 512, 150000 };
	uint32_t rnd = seed * 2654435761u + 1;
	struct err e;

	memset(h, 0, sizeof(*h));
	snprintf(h->dir, sizeof(h->dir), "/tmp/imgtool-test-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	h->size = size;
	h->bytes = malloc(size);
	h->want = malloc(size);
	h->map = map_new_full(size);
	assert_true(h->bytes && h->want && h->map);
	for (size_t off = 0; off < size;) {
		size_t len = runs[next_random(&rnd) % 6];
		unsigned how = next_random(&rnd) % 4;

		if (len > size - off)
			len = size - off;
		fill(h->bytes + off, len, how == 3 ? 1 : how, &rnd);
		memcpy(h->want + off, h->bytes + off, len);
		if (how == 3) {
			memset(h->want + off, 0, len);
			assert_ok(map_set(h->map, off, len, MAP_FREE, &e), &e);
		}
		off += len;
	}
	assert_ok(dev_open_mem(h->bytes, size, &h->source, &e), &e);
	h->head = (struct layout_head){
		.major = VERSION_MAJOR,
		.source_bytes = size,
		.chunk_bytes = HELP_CHUNK,
		.block_bytes = HELP_BLOCK,
		.logical_bytes = 512,
		.physical_bytes = 512,
		.hash = HASH_XXH3,
		.created_s = 1700000000,
		.text = "{\"tool\":\"test\"}",
	};
	h->head.text_len = (uint32_t)strlen(h->head.text);
	memset(h->head.uuid, 0x42, sizeof(h->head.uuid));
}

void help_make_noise(struct help *h)
{
	uint32_t rnd = 1;
	struct err e;

	fill(h->bytes, h->size, 1, &rnd);
	memcpy(h->want, h->bytes, h->size);
	map_free(h->map);
	h->map = map_new_full(h->size);
	dev_close(h->source);
	assert_ok(dev_open_mem(h->bytes, h->size, &h->source, &e), &e);
}

void help_fini(struct help *h)
{
	char command[96];

	dev_close(h->source);
	map_free(h->map);
	free(h->bytes);
	free(h->want);
	snprintf(command, sizeof(command), "rm -rf %s", h->dir);
	assert_int_equal(system(command), 0);
}

const char *help_path(struct help *h, const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *p = paths[next++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", h->dir, name);
	return p;
}

struct job_settings help_settings(unsigned workers, unsigned depth)
{
	return (struct job_settings){ .workers = workers, .depth = depth, .level = 1 };
}

struct dev *help_open(struct help *h, const char *name, unsigned flags)
{
	struct dev *d = NULL;
	struct err e;

	assert_ok(dev_open(help_path(h, name), flags, &d, &e), &e);
	return d;
}

static struct capture capture_of(struct help *h, struct dev *source, struct image_writer *w)
{
	return (struct capture){
		.source = source != NULL ? source : h->source,
		.map = h->map,
		.writer = w,
		.head = &h->head,
		.settings = help_settings(2, 8),
	};
}

void help_capture(struct help *h, struct dev *source, const char *name, unsigned workers,
	unsigned depth)
{
	struct dev *out = help_open(h, name, DEV_WRITE | DEV_CREATE);
	uint8_t root[SHA256_BYTES];
	struct image_writer *w = NULL;
	struct capture c;
	struct job *j = NULL;
	struct err e = { 0 };

	assert_ok(image_writer_new(out, &h->head, false, &w, &e), &e);
	c = capture_of(h, source, w);
	c.settings = help_settings(workers, depth);
	assert_ok(job_capture(&c, &j, &e), &e);
	assert_int_equal(job_wait(j, -1, &e), 1);
	if (e.code != ERR_OK)
		fail_msg("%s", e.msg);
	job_close(j);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
}

int help_capture_job(struct help *h, struct dev *source, struct image_writer *w,
	enum on_read_error policy, struct err *e)
{
	struct capture c = capture_of(h, source, w);
	struct job *j = NULL;

	c.on_read_error = policy;
	assert_ok(job_capture(&c, &j, e), e);
	assert_int_equal(job_wait(j, -1, e), 1);
	job_close(j);
	return e->code;
}

uint8_t *help_slurp(struct help *h, const char *name, size_t *len)
{
	FILE *f = fopen(help_path(h, name), "rb");
	struct stat st;
	uint8_t *p;

	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	*len = (size_t)st.st_size;
	p = malloc(*len + 1);
	assert_non_null(p);
	assert_int_equal(fread(p, 1, *len, f), *len);
	fclose(f);
	return p;
}

void help_assert_same_files(struct help *h, const char *a, const char *b)
{
	size_t a_len, b_len;
	uint8_t *x = help_slurp(h, a, &a_len), *y = help_slurp(h, b, &b_len);

	assert_int_equal(a_len, b_len);
	assert_memory_equal(x, y, a_len);
	free(x);
	free(y);
}
