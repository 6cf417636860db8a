#include "format_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/block.h"
#include "device/dev_ops.h"

static char dir[128];

void format_assert_error(int rc, int code, const struct err *e, const char *part, int line)
{
	if (rc != -code)
		fail_msg("line %d: status %d, expected %d (%s)", line, rc, -code,
			rc < 0 ? e->msg : "no error");
	if (strstr(e->msg, part) == NULL)
		fail_msg("line %d: \"%s\" is not in \"%s\"", line, part, e->msg);
}

uint32_t format_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

void format_noise(uint8_t *p, size_t len, uint32_t *state)
{
	size_t i = 0;

	for (; i + 4 <= len; i += 4)
		put_le32(p + i, format_random(state));
	for (; i < len; i++)
		p[i] = (uint8_t)format_random(state);
}

static void text(uint8_t *p, size_t len, uint32_t *state)
{
	static const char *words[] = { "block ", "chunk ", "image ", "of ", "the ", "source\n" };

	for (size_t i = 0; i < len;) {
		const char *w = words[format_random(state) % COUNT_OF(words)];

		for (; *w != 0 && i < len; w++)
			p[i++] = (uint8_t)*w;
	}
}

static void init_head(struct format_source *s, uint64_t size, uint32_t block, uint64_t chunk)
{
	memset(s, 0, sizeof(*s));
	s->head = (struct layout_head){
		.major = VERSION_MAJOR,
		.source_bytes = size,
		.chunk_bytes = chunk,
		.block_bytes = block,
		.logical_bytes = 512,
		.physical_bytes = 4096,
		.hash = HASH_XXH3,
		.created_s = 1700000000,
		.text = "{\"tool\":\"imgtool test\",\"source\":{\"path\":\"/dev/test\"}}",
	};
	s->head.text_len = (uint32_t)strlen(s->head.text);
	for (size_t i = 0; i < sizeof(s->head.uuid); i++)
		s->head.uuid[i] = (uint8_t)(0xA0 + i);
	s->level = 3;
	s->blocks = layout_blocks(&s->head, size);
	s->bytes = calloc(1, size == 0 ? 1 : size);
	s->kinds = calloc(1, s->blocks == 0 ? 1 : s->blocks);
	s->bad = calloc(s->blocks + 1, 4 * sizeof(*s->bad));
	assert_true(s->bytes != NULL && s->kinds != NULL && s->bad != NULL);
}

static uint64_t block_len(const struct format_source *s, uint32_t i)
{
	return min_u64(s->head.block_bytes,
		s->head.source_bytes - (uint64_t)i * s->head.block_bytes);
}

/* Touching ranges of one chunk are one, as the format has it. */
static void add_bad(struct format_source *s, uint64_t off, uint64_t len)
{
	struct bad_range *last = s->bad_count > 0 ? &s->bad[s->bad_count - 1] : NULL;

	memset(s->bytes + off, 0, len);
	if (last != NULL && last->off + last->len == off && off % s->head.chunk_bytes != 0)
		last->len += len;
	else
		s->bad[s->bad_count++] = (struct bad_range){ off, len };
}

static void fill_block(struct format_source *s, uint32_t i, uint32_t *state)
{
	uint8_t *p = s->bytes + (uint64_t)i * s->head.block_bytes;
	uint64_t len = block_len(s, i);

	if (s->kinds[i] == ENTRY_BAD)
		add_bad(s, (uint64_t)i * s->head.block_bytes, len);
	if (s->kinds[i] != ENTRY_DATA)
		return;
	if (format_random(state) % 3 == 0)
		format_noise(p, len, state);
	else
		text(p, len, state);
	/* Some sectors inside of a data block could not be read. */
	if (format_random(state) % 5 == 0 && len >= 1536)
		add_bad(s, (uint64_t)i * s->head.block_bytes + 512,
			512 + 512 * (format_random(state) % 2));
}

void format_source_init(struct format_source *s, uint64_t size, uint32_t block, uint64_t chunk,
	uint32_t seed)
{
	uint32_t state = seed * 2654435761u + 77;

	init_head(s, size, block, chunk);
	for (uint32_t i = 0; i < s->blocks;) {
		uint32_t kind = 1 + format_random(&state) % 4, run = 1 + format_random(&state) % 4;

		for (; run > 0 && i < s->blocks; run--, i++) {
			s->kinds[i] = (uint8_t)kind;
			fill_block(s, i, &state);
		}
	}
}

void format_source_plain(struct format_source *s, uint64_t size, uint32_t block, uint64_t chunk,
	enum entry_kind kind)
{
	uint32_t state = 4711;

	init_head(s, size, block, chunk);
	memset(s->kinds, kind, s->blocks);
	if (kind == ENTRY_DATA)
		text(s->bytes, size, &state);
}

void format_source_fini(struct format_source *s)
{
	free(s->bytes);
	free(s->kinds);
	free(s->bad);
}

/* ---- Writing ---- */

struct feeder {
	const struct format_source *s;
	struct packer *packer;
	uint8_t *frame;
	size_t next_bad;
	uint32_t state;
};

static int feed_data(struct feeder *f, struct image_writer *w, uint32_t i, struct err *e)
{
	const struct format_source *s = f->s;
	const uint8_t *p = s->bytes + (uint64_t)i * s->head.block_bytes;
	size_t len = block_len(s, i), stored;
	uint8_t hash[HASH_MAX_BYTES];

	assert_fine(packer_pack(f->packer, s->level, p, len, f->frame, block_bound(len), &stored,
			    e),
		e);
	hash_bytes(s->head.hash, p, len, hash);
	return image_writer_data(w, f->frame, stored, hash, e);
}

/* Hand over the block i, or several from it on; returns how many, or an error. */
static int feed_some(struct feeder *f, struct image_writer *w, uint32_t i, uint32_t end,
	struct err *e)
{
	const struct format_source *s = f->s;
	const uint64_t per_chunk = s->head.chunk_bytes / s->head.block_bytes;
	uint32_t n = 1, max = 1 + format_random(&f->state) % 3;
	uint64_t chunk_end = (i / per_chunk + 1) * s->head.chunk_bytes;
	int rc = 0;

	/* Bad ranges up to here, and sometimes all of the chunk. */
	for (; rc == 0 && f->next_bad < s->bad_count; f->next_bad++) {
		const struct bad_range *b = &s->bad[f->next_bad];

		if (b->off >= chunk_end ||
			(b->off >= (uint64_t)(i + 1) * s->head.block_bytes && f->state % 2 == 0))
			break;
		if (b->off >= (uint64_t)i * s->head.block_bytes)
			rc = image_writer_bad(w, b->off, b->len, e);
	}
	if (rc == 0 && s->kinds[i] == ENTRY_DATA)
		rc = feed_data(f, w, i, e);
	if (rc < 0 || s->kinds[i] == ENTRY_DATA)
		return rc < 0 ? rc : 1;
	while (n < max && i + n < end && s->kinds[i + n] == s->kinds[i] &&
		/* Bad ranges may be said of the chunk under way only. */
		(s->kinds[i] != ENTRY_BAD || (i + n) % per_chunk != 0) &&
		(s->kinds[i] != ENTRY_BAD || f->next_bad == 0 ||
			(uint64_t)(i + n) * s->head.block_bytes <
				s->bad[f->next_bad - 1].off + s->bad[f->next_bad - 1].len))
		n++;
	rc = image_writer_hole(w, s->kinds[i], n, e);
	return rc < 0 ? rc : (int)n;
}

int format_feed(struct image_writer *w, const struct format_source *s, uint64_t end, uint32_t seed,
	struct err *e)
{
	struct feeder f = { .s = s, .state = seed * 40503u + 1 };
	uint32_t i = layout_blocks(&s->head, image_writer_offset(w));
	uint32_t stop = layout_blocks(&s->head, end);
	int rc = 0;

	assert_fine(packer_new(&f.packer, e), e);
	f.frame = malloc(block_bound(s->head.block_bytes));
	assert_non_null(f.frame);
	while (rc >= 0 && i < stop) {
		rc = feed_some(&f, w, i, stop, e);
		i += rc > 0 ? (uint32_t)rc : 0;
	}
	packer_free(f.packer);
	free(f.frame);
	return rc < 0 ? rc : 0;
}

static void write_to(const struct format_source *s, struct dev *out, uint8_t *root)
{
	struct image_writer *w;
	uint8_t mine[SHA256_BYTES];
	struct err e;

	assert_fine(image_writer_new(out, &s->head, false, &w, &e), &e);
	assert_fine(format_feed(w, s, s->head.source_bytes, 1, &e), &e);
	assert_fine(image_writer_finish(w, root != NULL ? root : mine, &e), &e);
	image_writer_close(w);
}

void format_write(const struct format_source *s, const char *path, uint8_t *root)
{
	struct dev *out;

	unlink(path);
	out = format_open(path, DEV_WRITE | DEV_CREATE);
	write_to(s, out, root);
	dev_close(out);
}

struct dev *format_write_log(const struct format_source *s, uint8_t *root)
{
	uint64_t room = 8 * MIB + 64 * (uint64_t)s->blocks;
	struct dev *out;

	for (uint32_t i = 0; i < s->blocks; i++)
		if (s->kinds[i] == ENTRY_DATA)
			room += block_bound(s->head.block_bytes);
	out = format_open_log(room);
	write_to(s, out, root);
	return out;
}

/* ---- Files ---- */

void format_mkdir(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/imgtool-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
}

void format_rmdir(void)
{
	assert_int_equal(format_run("rm -rf '%s'", dir), 0);
}

const char *format_path(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *p = paths[next++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", dir, name);
	return p;
}

uint8_t *format_slurp(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p;
	long n;

	if (f == NULL)
		fail_msg("open %s", path);
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	p = malloc((size_t)n + 1);
	assert_non_null(p);
	assert_int_equal(fread(p, 1, (size_t)n, f), n);
	fclose(f);
	*len = (size_t)n;
	return p;
}

void format_spit(const char *path, const void *p, size_t len)
{
	FILE *f = fopen(path, "wb");

	if (f == NULL)
		fail_msg("create %s", path);
	assert_int_equal(fwrite(p, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

struct dev *format_open(const char *path, unsigned flags)
{
	struct dev *d;
	struct err e;

	assert_fine(dev_open(path, flags, &d, &e), &e);
	return d;
}

int format_run(const char *fmt, ...)
{
	char command[1024];
	va_list ap;
	int status, n;

	va_start(ap, fmt);
	n = vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_true(n > 0 && (size_t)n < sizeof(command));
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* ---- The log ---- */

struct log {
	struct dev dev;
	uint8_t *bytes;
	uint64_t capacity;
	/* Locks: only this one, for all below. */
	pthread_mutex_t lock;
	struct format_note *notes;
	size_t count, room;
	uint64_t now;
};

static size_t begin(struct dev *d, enum format_op op, uint64_t off, uint64_t len)
{
	struct log *g = (struct log *)d;
	size_t i;

	pthread_mutex_lock(&g->lock);
	if (g->count == g->room) {
		g->room = g->room * 2 + 64;
		g->notes = realloc(g->notes, g->room * sizeof(*g->notes));
		assert_non_null(g->notes);
	}
	i = g->count++;
	g->notes[i] = (struct format_note){ op, off, len, ++g->now, 0 };
	pthread_mutex_unlock(&g->lock);
	return i;
}

static void end(struct dev *d, size_t i)
{
	struct log *g = (struct log *)d;

	pthread_mutex_lock(&g->lock);
	g->notes[i].end = ++g->now;
	pthread_mutex_unlock(&g->lock);
}

static int log_read(struct dev *d, uint64_t off, void *buf, size_t len, struct err *e)
{
	size_t i = begin(d, FORMAT_READ, off, len);

	(void)e;
	memcpy(buf, ((struct log *)d)->bytes + off, len);
	end(d, i);
	return 0;
}

static int log_write(struct dev *d, uint64_t off, const void *buf, size_t len, struct err *e)
{
	struct log *g = (struct log *)d;
	size_t i = begin(d, FORMAT_WRITE, off, len);

	if (!range_inside(off, len, g->capacity))
		return err_set(e, ERR_TARGET, 0, "the log is full");
	memcpy(g->bytes + off, buf, len);
	end(d, i);
	return 0;
}

static int log_flush(struct dev *d, bool metadata, struct err *e)
{
	(void)metadata;
	(void)e;
	end(d, begin(d, FORMAT_FLUSH, 0, 0));
	return 0;
}

static int log_set_size(struct dev *d, uint64_t size, struct err *e)
{
	struct log *g = (struct log *)d;

	(void)e;
	if (size > dev_size(d))
		memset(g->bytes + dev_size(d), 0, size - dev_size(d));
	return 0;
}

static void log_close(struct dev *d)
{
	struct log *g = (struct log *)d;

	pthread_mutex_destroy(&g->lock);
	free(g->bytes);
	free(g->notes);
	dev_fini(d);
	free(g);
}

static const struct dev_ops log_ops = {
	.kind = "log",
	.read = log_read,
	.write = log_write,
	.flush = log_flush,
	.set_size = log_set_size,
	.close = log_close,
};

struct dev *format_open_log(uint64_t capacity)
{
	struct log *g = calloc(1, sizeof(*g));
	struct err e;

	assert_non_null(g);
	assert_fine(dev_init(&g->dev, &log_ops, "log", &e), &e);
	g->bytes = calloc(1, capacity);
	assert_non_null(g->bytes);
	g->capacity = capacity;
	pthread_mutex_init(&g->lock, NULL);
	g->dev.info.writable = true;
	g->dev.info.can_grow = true;
	return &g->dev;
}

size_t format_log_count(struct dev *d)
{
	return ((struct log *)d)->count;
}

struct format_note format_log_at(struct dev *d, size_t i)
{
	return ((struct log *)d)->notes[i];
}

const uint8_t *format_log_bytes(struct dev *d)
{
	return ((struct log *)d)->bytes;
}
