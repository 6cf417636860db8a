/*
 * The memory is the end of the spool: when it is full, all of it goes to the end of the file, and
 * it is filled anew.
 */
#include "format/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"

#define MEMORY_BYTES (4 * MIB)

struct spool {
	uint8_t *mem;
	size_t used;	   /* of mem */
	int fd;		   /* -1 while all is in memory */
	uint64_t file_len; /* bytes before those in mem */
};

struct spool *spool_new(void)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->fd = -1;
	s->mem = malloc(MEMORY_BYTES);
	if (s->mem == NULL) {
		spool_free(s);
		return NULL;
	}
	return s;
}

void spool_free(struct spool *s)
{
	if (s == NULL)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->mem);
	free(s);
}

uint64_t spool_len(const struct spool *s)
{
	return s->file_len + s->used;
}

static const char *spool_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir != NULL && dir[0] == '/' ? dir : "/var/tmp";
}

static int open_file(struct spool *s, struct err *e)
{
	const char *dir = spool_dir();
	char name[4096];

	s->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
	if (s->fd >= 0)
		return 0;
	/* A file system without O_TMPFILE. */
	if ((size_t)snprintf(name, sizeof(name), "%s/imgtool-XXXXXX", dir) >= sizeof(name))
		return err_set(e, ERR_TARGET, ENAMETOOLONG, "create a temporary file in %s", dir);
	s->fd = mkostemp(name, O_CLOEXEC);
	if (s->fd < 0)
		return err_set(e, ERR_TARGET, errno, "create a temporary file in %s", dir);
	unlink(name);
	return 0;
}

static int write_out(struct spool *s, struct err *e)
{
	size_t done = 0;

	if (s->fd < 0 && open_file(s, e) < 0)
		return -ERR_TARGET;
	while (done < s->used) {
		ssize_t n =
			pwrite(s->fd, s->mem + done, s->used - done, (off_t)(s->file_len + done));

		if (n < 0 && errno != EINTR)
			return err_set(e, ERR_TARGET, errno, "write a temporary file in %s",
				spool_dir());
		done += n > 0 ? (size_t)n : 0;
	}
	s->file_len += s->used;
	s->used = 0;
	return 0;
}

int spool_append(struct spool *s, const void *bytes, size_t len, struct err *e)
{
	const uint8_t *from = bytes;

	while (len > 0) {
		size_t n = (size_t)min_u64(len, MEMORY_BYTES - s->used);

		memcpy(s->mem + s->used, from, n);
		s->used += n;
		from += n;
		len -= n;
		if (s->used == MEMORY_BYTES && write_out(s, e) < 0)
			return -ERR_TARGET;
	}
	return 0;
}

static int read_file(const struct spool *s, uint64_t off, uint8_t *to, size_t len, struct err *e)
{
	while (len > 0) {
		ssize_t n = pread(s->fd, to, len, (off_t)off);

		if (n == 0 || (n < 0 && errno != EINTR))
			return err_set(e, ERR_TARGET, n < 0 ? errno : 0,
				"read back a temporary file in %s", spool_dir());
		if (n < 0)
			continue;
		off += (uint64_t)n;
		to += n;
		len -= (size_t)n;
	}
	return 0;
}

int spool_read(const struct spool *s, uint64_t off, void *buf, size_t len, struct err *e)
{
	uint8_t *to = buf;
	size_t n;

	if (!range_inside(off, len, spool_len(s)))
		return err_set(e, ERR_INTERNAL, 0, "read past the end of a spool");
	n = off < s->file_len ? (size_t)min_u64(len, s->file_len - off) : 0;
	if (n > 0 && read_file(s, off, to, n, e) < 0)
		return -ERR_TARGET;
	if (n < len)
		memcpy(to + n, s->mem + (off + n - s->file_len), len - n);
	return 0;
}
