#include "unit/dev_helper.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/dev_ops.h"

static char scratch[200];

void dev_helper_assert_ok(int rc, const struct err *e, const char *file, int line)
{
	if (rc == 0)
		return;
	print_error("failed with %d: %s\n", rc, e->msg);
	_fail(file, line);
}

int dev_helper_setup(void **state)
{
	const char *where = getenv("TMPDIR");

	(void)state;
	snprintf(scratch, sizeof(scratch), "%s/imgtool-dev.XXXXXX", where == NULL ? "/tmp" : where);
	return mkdtemp(scratch) == NULL ? -1 : 0;
}

static void remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		char inside[512];
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
		if (lstat(inside, &st) == 0 && S_ISDIR(st.st_mode))
			remove_tree(inside);
		else
			unlink(inside);
	}
	if (dir != NULL)
		closedir(dir);
	rmdir(path);
}

int dev_helper_teardown(void **state)
{
	(void)state;
	remove_tree(scratch);
	return 0;
}

const char *dev_helper_path(const char *name)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % COUNT_OF(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", scratch, name);
	return path;
}

uint32_t dev_helper_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

void dev_helper_fill(void *out, size_t len, uint32_t seed)
{
	uint8_t *to = out;
	uint32_t state = seed * 2654435761U + 1;

	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)dev_helper_random(&state);
}

void dev_helper_write_file(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	assert_int_equal(close(fd), 0);
}

void *dev_helper_read_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	*len = (size_t)st.st_size;
	bytes = malloc(*len + 1);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, *len + 1), *len);
	close(fd);
	return bytes;
}

/* ---- The device that records ---- */

#define RECORDS_MAX 4096

struct dev_record {
	struct dev dev;
	uint8_t *bytes;
	uint64_t capacity;
	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t changed;
	bool held[RECORD_OPS];
	unsigned begun[RECORD_OPS];
	struct record records[RECORDS_MAX];
	size_t count;
};

static struct dev_record *record_of(struct dev *d)
{
	return (struct dev_record *)d;
}

static void begin(struct dev_record *r, enum record_op op)
{
	pthread_mutex_lock(&r->lock);
	r->begun[op]++;
	pthread_cond_broadcast(&r->changed);
	while (r->held[op])
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static void end(struct dev_record *r, enum record_op op, uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&r->lock);
	if (r->count < RECORDS_MAX) {
		r->records[r->count].op = op;
		r->records[r->count].off = off;
		r->records[r->count].len = len;
		r->count++;
	}
	pthread_mutex_unlock(&r->lock);
}

static int record_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct dev_record *r = record_of(d);

	(void)e;
	begin(r, RECORD_READ);
	memcpy(buf, r->bytes + off, len);
	end(r, RECORD_READ, off, len);
	return 0;
}

static int record_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	struct dev_record *r = record_of(d);

	begin(r, RECORD_WRITE);
	if (off + len > r->capacity)
		return err_set(e, ERR_TARGET, 0, "past the capacity");
	memcpy(r->bytes + off, buf, len);
	end(r, RECORD_WRITE, off, len);
	return 0;
}

static int record_flush(struct dev *d, bool metadata, struct err *e)
{
	enum record_op op = metadata ? RECORD_SYNC : RECORD_FLUSH;

	(void)e;
	begin(record_of(d), op);
	end(record_of(d), op, 0, 0);
	return 0;
}

static int record_set_size(struct dev *d, uint64_t size, struct err *e)
{
	(void)e;
	begin(record_of(d), RECORD_SIZE);
	end(record_of(d), RECORD_SIZE, size, 0);
	return 0;
}

static void record_close(struct dev *d)
{
	struct dev_record *r = record_of(d);

	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r->bytes);
	dev_fini(d);
	free(r);
}

static const struct dev_ops dev_record_ops = {
	.kind = "record",
	.any_align = true,
	.read = record_read,
	.write = record_write,
	.flush = record_flush,
	.set_size = record_set_size,
	.close = record_close,
};

int dev_open_record(uint64_t capacity, bool can_grow, uint32_t align, struct dev **out)
{
	struct dev_record *r = calloc(1, sizeof(*r));
	struct err e;

	assert_non_null(r);
	assert_int_equal(dev_init(&r->dev, &dev_record_ops, "record", &e), 0);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	r->bytes = calloc(1, capacity);
	assert_non_null(r->bytes);
	r->capacity = capacity;
	r->dev.info.size_bytes = can_grow ? 0 : capacity;
	r->dev.info.can_grow = can_grow;
	r->dev.info.writable = true;
	r->dev.info.align_bytes = align;
	*out = &r->dev;
	return 0;
}

size_t dev_record_count(struct dev *d)
{
	struct dev_record *r = record_of(d);
	size_t count;

	pthread_mutex_lock(&r->lock);
	count = r->count;
	pthread_mutex_unlock(&r->lock);
	return count;
}

struct record dev_record_at(struct dev *d, size_t i)
{
	struct dev_record *r = record_of(d);
	struct record record;

	pthread_mutex_lock(&r->lock);
	assert_true(i < r->count);
	record = r->records[i];
	pthread_mutex_unlock(&r->lock);
	return record;
}

void dev_record_hold(struct dev *d, enum record_op op, bool hold)
{
	struct dev_record *r = record_of(d);

	pthread_mutex_lock(&r->lock);
	r->held[op] = hold;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

void dev_record_wait_begun(struct dev *d, enum record_op op, unsigned count)
{
	struct dev_record *r = record_of(d);

	pthread_mutex_lock(&r->lock);
	while (r->begun[op] < count)
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

const uint8_t *dev_record_bytes(struct dev *d)
{
	return record_of(d)->bytes;
}
