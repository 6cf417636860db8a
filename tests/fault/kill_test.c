/*
 * SIGKILL while an image is being written, at every structure of the file: a child writes through a
 * device that lets bytes through up to an offset and then kills the process. What is left must
 * open as no image, must go on behind its last whole chunk, and must resume to the bytes of an
 * uninterrupted run. The same for a complete image that was cut.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zstd.h>

#include "../unit/image_help.h"
#include "base/mem.h"
#include "device/dev_ops.h"

#define SIZE (1024 * 1024 + 300)
/* The output is written in buffers of 1 MiB: so much noise that the job runs while they go out. */
#define NOISE_SIZE (9 * 1024 * 1024 + 300)
#define NOISE_CHUNK (2 * 1024 * 1024)
#define POINTS_MAX 4096

/*
 * A file that kills its process when a write reaches past `limit`, once all that lies below it is
 * written: several writes are under way at once, and what is left is to be the same each time.
 */
struct kill_dev {
	struct dev base;
	struct dev *under;
	uint64_t limit;
	pthread_mutex_t lock;
	pthread_cond_t more;
	uint64_t written; /* bytes below the limit; each is written once */
};

static int kill_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	struct kill_dev *k = (struct kill_dev *)d;
	uint64_t below = off < k->limit ? min_u64(len, k->limit - off) : 0;
	int rc = below > 0 ? dev_write(k->under, off, buf, (size_t)below, e) : 0;

	pthread_mutex_lock(&k->lock);
	k->written += below;
	pthread_cond_broadcast(&k->more);
	while (below < len && k->written < k->limit)
		pthread_cond_wait(&k->more, &k->lock);
	pthread_mutex_unlock(&k->lock);
	if (below < len)
		raise(SIGKILL);
	return rc;
}

static int kill_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	return dev_read(((struct kill_dev *)d)->under, off, buf, len, e);
}

static int kill_set_size(struct dev *d, uint64_t size, struct err *e)
{
	return dev_set_size(((struct kill_dev *)d)->under, size, e);
}

static void kill_close(struct dev *d)
{
	dev_fini(d);
}

static const struct dev_ops kill_ops = {
	.kind = "kill",
	.read = kill_read,
	.write = kill_write,
	.set_size = kill_set_size,
	.close = kill_close,
};

/* The child: capture into dir/name until the limit kills it. Never returns. */
static void child(struct help *h, const char *name, uint64_t limit)
{
	struct kill_dev k = { .limit = limit,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.more = PTHREAD_COND_INITIALIZER };
	uint8_t root[SHA256_BYTES];
	struct image_writer *w = NULL;
	struct err e = { 0 };

	k.under = help_open(h, name, DEV_WRITE | DEV_CREATE);
	if (dev_init(&k.base, &kill_ops, "kill", &e) < 0)
		_exit(1);
	k.base.info = *dev_info(k.under);
	if (image_writer_new(&k.base, &h->head, true, &w, &e) < 0 ||
		help_capture_job(h, NULL, w, ON_READ_ERROR_ABORT, &e) != ERR_OK ||
		image_writer_finish(w, root, &e) < 0)
		_exit(2);
	_exit(0);
}

/* The borders of dir/whole at which a kill or a cut is tried, and where it goes on after one. */
struct places {
	uint64_t points[POINTS_MAX];
	size_t count;
	uint64_t table_end[POINTS_MAX]; /* of each chunk */
	size_t chunks;
	uint64_t end;
};

/* Behind the last chunk whose table is whole in the first `cut` bytes. */
static uint64_t goes_on_at(const struct help *h, const struct places *p, uint64_t cut)
{
	size_t n = 0;

	while (n < p->chunks && p->table_end[n] <= cut)
		n++;
	return min_u64(n * h->head.chunk_bytes, h->size);
}

static void assert_resumes(struct help *h, const char *name, uint64_t from)
{
	struct dev *out = help_open(h, name, DEV_WRITE);
	struct image *image = NULL;
	struct image_writer *w = NULL;
	struct layout_head head = h->head;
	uint8_t root[SHA256_BYTES];
	struct err e = { 0 };

	assert_true(image_open(out, &image, &e) < 0);
	assert_ok(image_writer_resume(out, &head, false, &w, &e), &e);
	assert_int_equal(image_writer_offset(w), from);
	assert_int_equal(help_capture_job(h, NULL, w, ON_READ_ERROR_ABORT, &e), ERR_OK);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
	help_assert_same_files(h, "whole", name);
	assert_int_equal(remove(help_path(h, name)), 0);
}

static void add_point(struct places *p, uint64_t at)
{
	if (at < p->end && p->count < POINTS_MAX)
		p->points[p->count++] = at;
}

/* Of a frame in dir/whole: of a record its borders and its middle, of some blocks the same. */
static void add_frame(struct places *p, const uint8_t *frame, uint64_t at, uint64_t n)
{
	if (get_le32(frame) == RECORD_MAGIC) {
		add_point(p, at);
		add_point(p, at + 1);
		add_point(p, at + n / 2);
		add_point(p, at + n - 1);
		if (memcmp(frame + 12, "TABL", 4) == 0)
			p->table_end[p->chunks++] = at + n;
	} else if (at % 7 == 0) {
		add_point(p, at);
		add_point(p, at + n / 3);
	}
}

static void find_places(struct help *h, struct places *p)
{
	size_t len;
	uint8_t *file = help_slurp(h, "whole", &len);

	memset(p, 0, sizeof(*p));
	p->end = len;
	for (size_t at = 0; at < len;) {
		size_t n = ZSTD_findFrameCompressedSize(file + at, len - at);

		assert_false(ZSTD_isError(n));
		add_frame(p, file + at, at, n);
		at += n;
	}
	free(file);
}

/* Holes between the noise, which only an image of all blocks has data for. */
static void free_some(struct help *h)
{
	struct err e;

	for (uint64_t off = 300000; off < h->size - 200000; off += 2000000)
		assert_ok(map_set(h->map, off, 150000, MAP_FREE, &e), &e);
}

static void kill_sweep(bool all)
{
	static struct places p;
	struct help h;

	help_init(&h, NOISE_SIZE, 1);
	help_make_noise(&h);
	h.head.chunk_bytes = NOISE_CHUNK;
	h.head.block_bytes = 4 * HELP_BLOCK;
	if (!all)
		free_some(&h);
	help_capture(&h, NULL, "whole", 2, 8);
	find_places(&h, &p);
	print_message("# %zu points\n", p.count);
	assert_true(p.count >= 50 && p.end >= 8 * MIB);
	for (size_t i = 0; i < p.count; i++) {
		int status;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			child(&h, "cut", p.points[i]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		assert_resumes(&h, "cut", goes_on_at(&h, &p, p.points[i]));
	}
	help_fini(&h);
}

static void test_kill_used_only(void **state)
{
	(void)state;
	kill_sweep(false);
}

static void test_kill_all_blocks(void **state)
{
	(void)state;
	kill_sweep(true);
}

static void write_cut(struct help *h, const uint8_t *file, size_t len)
{
	struct dev *out = help_open(h, "cut", DEV_WRITE | DEV_CREATE);
	struct err e;

	if (len > 0)
		assert_ok(dev_write(out, 0, file, len, &e), &e);
	dev_close(out);
}

/* A complete image cut anywhere: no image any more, but resumable. */
static void test_truncation_sweep(void **state)
{
	static struct places p;
	size_t len;
	uint8_t *file;
	struct help h;

	(void)state;
	help_init(&h, SIZE, 3);
	help_capture(&h, NULL, "whole", 2, 8);
	find_places(&h, &p);
	for (uint64_t i = 0; i < 200; i++)
		add_point(&p, i * 2654435761u % p.end);
	file = help_slurp(&h, "whole", &len);
	for (size_t i = 0; i < p.count; i++) {
		write_cut(&h, file, p.points[i]);
		assert_resumes(&h, "cut", goes_on_at(&h, &p, p.points[i]));
	}
	free(file);
	help_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill_used_only),
		cmocka_unit_test(test_kill_all_blocks),
		cmocka_unit_test(test_truncation_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
