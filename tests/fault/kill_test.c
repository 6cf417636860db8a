/*
 * SIGKILL while an image is being written, at every structure of the file: a child writes through a
 * device that lets bytes through up to an offset and then kills the process. What is left must
 * open as no image, and must resume to the bytes of an uninterrupted run. The same for a complete
 * image that was cut.
 */
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
#define POINTS_MAX 4096

/* A file that kills its process when a write reaches past `limit`. */
struct kill_dev {
	struct dev base;
	struct dev *under;
	uint64_t limit;
};

static int kill_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	struct kill_dev *k = (struct kill_dev *)d;

	if (off + len <= k->limit)
		return dev_write(k->under, off, buf, len, e);
	if (off < k->limit)
		dev_write(k->under, off, buf, (size_t)(k->limit - off), e);
	raise(SIGKILL);
	return -1;
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
	struct kill_dev k = { .limit = limit };
	uint8_t root[SHA256_BYTES];
	struct image_writer *w = NULL;
	struct err e = { 0 };

	k.under = help_open(h, name, DEV_WRITE | DEV_CREATE);
	if (dev_init(&k.base, &kill_ops, "kill", &e) < 0)
		_exit(1);
	k.base.info = *dev_info(k.under);
	if (image_writer_new(&k.base, &h->head, false, &w, &e) < 0 ||
		help_capture_job(h, NULL, w, ON_READ_ERROR_ABORT, &e) != ERR_OK ||
		image_writer_finish(w, root, &e) < 0)
		_exit(2);
	_exit(0);
}

static void assert_resumes(struct help *h, const char *name)
{
	struct dev *out = help_open(h, name, DEV_WRITE);
	struct image *image = NULL;
	struct image_writer *w = NULL;
	struct layout_head head = h->head;
	uint8_t root[SHA256_BYTES];
	struct err e = { 0 };

	assert_true(image_open(out, &image, &e) < 0);
	assert_ok(image_writer_resume(out, &head, false, &w, &e), &e);
	assert_int_equal(help_capture_job(h, NULL, w, ON_READ_ERROR_ABORT, &e), ERR_OK);
	assert_ok(image_writer_finish(w, root, &e), &e);
	image_writer_close(w);
	dev_close(out);
	help_assert_same_files(h, "whole", name);
	assert_int_equal(remove(help_path(h, name)), 0);
}

static void add_point(uint64_t *points, size_t *count, uint64_t at, uint64_t end)
{
	if (at < end && *count < POINTS_MAX)
		points[(*count)++] = at;
}

/* The borders of all frames of dir/whole, the bytes around them, and the middles of records. */
static size_t find_points(struct help *h, uint64_t *points, uint64_t *end)
{
	size_t len, count = 0;
	uint8_t *file = help_slurp(h, "whole", &len);

	for (size_t at = 0; at < len;) {
		size_t n = ZSTD_findFrameCompressedSize(file + at, len - at);
		bool record = get_le32(file + at) == RECORD_MAGIC;

		assert_false(ZSTD_isError(n));
		add_point(points, &count, at, len);
		if (record) {
			add_point(points, &count, at + 1, len);
			add_point(points, &count, at + n / 2, len);
			add_point(points, &count, at + n - 1, len);
		} else if (at % 5 == 0) {
			add_point(points, &count, at + n / 3, len);
		}
		at += n;
	}
	*end = len;
	free(file);
	return count;
}

static void all_blocks(struct help *h)
{
	map_free(h->map);
	h->map = map_new_full(h->size);
	assert_non_null(h->map);
}

static void kill_sweep(unsigned seed, bool all)
{
	uint64_t points[POINTS_MAX], end;
	size_t count;
	struct help h;

	help_init(&h, SIZE, seed);
	if (all)
		all_blocks(&h);
	help_capture(&h, NULL, "whole", 2, 8);
	count = find_points(&h, points, &end);
	assert_true(count >= 50);
	for (size_t i = 0; i < count; i++) {
		int status;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			child(&h, "cut", points[i]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		assert_resumes(&h, "cut");
	}
	help_fini(&h);
}

static void test_kill_used_only(void **state)
{
	(void)state;
	kill_sweep(1, false);
}

static void test_kill_all_blocks(void **state)
{
	(void)state;
	kill_sweep(2, true);
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
	uint64_t points[POINTS_MAX], end;
	size_t count, len;
	uint8_t *file;
	struct help h;

	(void)state;
	help_init(&h, SIZE, 3);
	help_capture(&h, NULL, "whole", 2, 8);
	count = find_points(&h, points, &end);
	for (uint64_t i = 0; i < 200; i++)
		add_point(points, &count, i * 2654435761u % end, end);
	file = help_slurp(&h, "whole", &len);
	for (size_t i = 0; i < count; i++) {
		write_cut(&h, file, points[i]);
		assert_resumes(&h, "cut");
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
