/*
 * nbdkit-imgtool-plugin.so: images for nbdkit, the NBD server (nbdkit-plugin(3)). `imgtool
 * serve-nbd` starts nbdkit with it; by hand:
 *
 *	nbdkit ./nbdkit-imgtool-plugin.so image=disk.img.zst [part=OFFSET:PATH]... [offset=N]
 *		[length=N] [cache-bytes=N] [workers=N] [stats=BOOL]
 *
 * Reads verify block hashes; a damaged block or a bad range is an error (EIO) in the protocol, and
 * nothing else is. Extents tell clients what is a hole. Like main.c this is the end of a program,
 * not a library: nbdkit has no other place than the file for what all connections share.
 */
#define NBDKIT_API_VERSION 2
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <nbdkit-plugin.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/block_cache.h"
#include "format/image.h"
#include "version.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define PARTS_MAX 512
#define CACHE_BYTES (256 * (int64_t)MIB)
#define WORKERS 2
#define WORKERS_MAX 64
#define MMAP_THRESHOLD_BYTES (128 * (int)KIB)

/* An opened file: an image read as a device, or a device or file as it is. */
struct part {
	char *path;
	bool raw;
	uint64_t off; /* where it lies over the first one */
	struct dev *file, *dev;
	struct image *image;
};

static struct part parts[PARTS_MAX + 1]; /* [0] is the whole */
static size_t part_count = 1;
static int64_t window_off, window_len = -1, cache_bytes = CACHE_BYTES;
static unsigned workers = WORKERS;
static int want_stats;
static struct block_cache *cache;
static struct dev *whole, *window;

static int failed(const struct err *e)
{
	nbdkit_error("%s", e->msg);
	errno = e->sys != 0 ? e->sys : EIO;
	return -1;
}

/* To a client all that a disk may suffer is one error: nbdkit knows no other for most of them. */
static int unreadable(const struct err *e)
{
	failed(e);
	errno = EIO;
	return -1;
}

/* ---- What to serve ---- */

static int set_base(const char *path, bool raw)
{
	if (parts[0].path != NULL) {
		nbdkit_error("image or raw is given twice");
		return -1;
	}
	parts[0].raw = raw;
	parts[0].path = nbdkit_absolute_path(path);
	return parts[0].path != NULL ? 0 : -1;
}

/* OFFSET:PATH */
static int add_part(const char *value)
{
	struct part *p = &parts[part_count];
	char *end = NULL;

	if (part_count > PARTS_MAX) {
		nbdkit_error("more than %d parts", PARTS_MAX);
		return -1;
	}
	errno = 0;
	p->off = strtoull(value, &end, 10);
	if (errno != 0 || end == value || *end != ':' || value[0] == '-') {
		nbdkit_error("part=%s is not OFFSET:PATH", value);
		return -1;
	}
	p->path = nbdkit_absolute_path(end + 1);
	part_count++;
	return p->path != NULL ? 0 : -1;
}

static int set_size(const char *value, int64_t *out)
{
	*out = nbdkit_parse_size(value);
	return *out >= 0 ? 0 : -1;
}

static int set_workers(const char *value)
{
	if (nbdkit_parse_unsigned("workers", value, &workers) < 0)
		return -1;
	if (workers <= WORKERS_MAX)
		return 0;
	nbdkit_error("workers=%s: at most %d", value, WORKERS_MAX);
	return -1;
}

static int set_stats(const char *value)
{
	want_stats = nbdkit_parse_bool(value);
	return want_stats < 0 ? -1 : 0;
}

static int plugin_config(const char *key, const char *value)
{
	if (strcmp(key, "image") == 0)
		return set_base(value, false);
	if (strcmp(key, "raw") == 0)
		return set_base(value, true);
	if (strcmp(key, "part") == 0)
		return add_part(value);
	if (strcmp(key, "offset") == 0)
		return set_size(value, &window_off);
	if (strcmp(key, "length") == 0)
		return set_size(value, &window_len);
	if (strcmp(key, "cache-bytes") == 0)
		return set_size(value, &cache_bytes);
	if (strcmp(key, "workers") == 0)
		return set_workers(value);
	if (strcmp(key, "stats") == 0)
		return set_stats(value);
	nbdkit_error("unknown parameter '%s'", key);
	return -1;
}

static int plugin_config_complete(void)
{
	if (parts[0].path != NULL)
		return 0;
	nbdkit_error("image=PATH or raw=PATH is needed");
	return -1;
}

/* ---- Opening ---- */

static int open_part(struct part *p, struct err *e)
{
	int rc = dev_open(p->path, 0, &p->file, e);

	if (rc < 0 || p->raw)
		return rc;
	rc = image_open(p->file, &p->image, e);
	return rc < 0 ? rc : image_dev_cached(p->image, cache, &p->dev, e);
}

static struct dev *part_dev(const struct part *p)
{
	return p->raw ? p->file : p->dev;
}

/* The first one, with the others laid over it; they ascend. */
static int compose(struct err *e)
{
	struct dev *base = part_dev(&parts[0]);
	static struct dev_segment s[2 * PARTS_MAX + 1];
	uint64_t at = 0, size = dev_size(base);
	size_t count = 0;

	for (size_t i = 1; i < part_count; i++) {
		const struct part *p = &parts[i];

		if (p->off > at)
			s[count++] = (struct dev_segment){ at, p->off - at, base, at };
		s[count++] = (struct dev_segment){ p->off, dev_size(p->dev), p->dev, 0 };
		at = p->off + dev_size(p->dev);
	}
	if (at < size)
		s[count++] = (struct dev_segment){ at, size - at, base, at };
	return dev_open_compose(parts[0].path, size, s, count, &whole, e);
}

static int open_window(struct err *e)
{
	uint64_t size = dev_size(whole), off = (uint64_t)window_off;

	if (off > size)
		return err_set(e, ERR_USAGE, EINVAL,
			"offset %" PRIu64 " is past the end, %s has %" PRIu64 " bytes", off,
			dev_name(whole), size);
	return dev_open_slice(whole, off, window_len < 0 ? size - off : (uint64_t)window_len,
		&window, e);
}

/* After nbdkit has forked, for threads do not live through that. */
static int plugin_after_fork(void)
{
	struct err e = { 0 };
	int rc;

	/* Fixed: glibc would raise it with what is freed, and then keep freed blocks, one heap for
	 * each of nbdkit's threads, beyond the budget. */
	mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
	rc = block_cache_new((size_t)cache_bytes, workers, &cache, &e);

	for (size_t i = 0; rc == 0 && i < part_count; i++)
		rc = open_part(&parts[i], &e);
	if (rc == 0)
		rc = compose(&e);
	if (rc == 0)
		rc = open_window(&e);
	return rc < 0 ? failed(&e) : 0;
}

/* In the words in which the other servers say it (lua/imgtool/job/serving.lua). */
static void say_stats(void)
{
	struct block_stats s;

	block_cache_stats(cache, &s);
	fprintf(stderr,
		"served by nbdkit; cache: %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64
		" of %" PRIu64 " blocks unpacked ahead were used, at most %" PRIu64
		" bytes in memory\n",
		s.hits, s.misses, s.ahead_used, s.ahead, s.peak_bytes);
}

static void plugin_unload(void)
{
	dev_close(window);
	dev_close(whole);
	for (size_t i = 0; i < part_count; i++) {
		dev_close(parts[i].dev);
		image_close(parts[i].image);
		dev_close(parts[i].file);
		free(parts[i].path);
	}
	if (cache == NULL)
		return;
	if (want_stats)
		say_stats();
	block_cache_unref(cache);
}

/* ---- A connection ---- */

static void *plugin_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t plugin_get_size(void *handle)
{
	(void)handle;
	return (int64_t)dev_size(window);
}

static int answer_yes(void *handle)
{
	(void)handle;
	return 1;
}

/* nbdkit reads what is to be cached, and drops it: that puts the blocks into our cache. */
static int plugin_can_cache(void *handle)
{
	(void)handle;
	return NBDKIT_CACHE_EMULATE;
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t off, uint32_t flags)
{
	struct err e;

	(void)handle;
	(void)flags;
	return dev_read(window, off, buf, count, &e) < 0 ? unreadable(&e) : 0;
}

static int plugin_extents(void *handle, uint32_t count, uint64_t off, uint32_t flags,
	struct nbdkit_extents *extents)
{
	static const uint32_t types[] = {
		[DEV_EXTENT_DATA] = 0,
		[DEV_EXTENT_ZERO] = NBDKIT_EXTENT_ZERO,
		[DEV_EXTENT_FREE] = NBDKIT_EXTENT_ZERO | NBDKIT_EXTENT_HOLE,
	};
	uint64_t start = off, end = off + count;

	(void)handle;
	while (off < end) {
		struct dev_extent x;
		struct err e;

		if (dev_extent(window, off, end - off, &x, &e) < 0)
			/* What was found so far is an answer; the rest is asked for again. */
			return off > start ? 0 : unreadable(&e);
		if (nbdkit_add_extent(extents, off, x.len, types[x.kind]) < 0)
			return -1;
		off += x.len;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "imgtool",
	.longname = "imgtool images",
	.version = IMGTOOL_VERSION,
	.description = "serves images of disks and volumes, read-only",
	.magic_config_key = "image",
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.config_help = "image=PATH | raw=PATH, part=OFFSET:PATH, offset=SIZE, length=SIZE, "
		       "cache-bytes=SIZE, workers=N, stats=BOOL",
	.after_fork = plugin_after_fork,
	.unload = plugin_unload,
	.open = plugin_open,
	.get_size = plugin_get_size,
	.can_multi_conn = answer_yes,
	.can_extents = answer_yes,
	.can_cache = plugin_can_cache,
	.pread = plugin_pread,
	.extents = plugin_extents,
	.errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN(plugin)
