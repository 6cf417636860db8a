/*
 * The corpus of tests/corpus/fs: each NAME.img.zst is a small file system (a stock zstd frame of
 * its raw bytes), and NAME.map what the file system's own tools say is free of it: lines "OFFSET
 * LENGTH" in bytes, ascending, neither touching nor overlapping. A map whose first and only line is
 * "# all blocks: TEXT" asks for all blocks, with TEXT in the reason. The make-*.sh beside them made
 * them; whatever lies there is a case, and an image without a map is a failure, as is an empty
 * folder.
 */
#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <zstd.h>

#include "base/mem.h"
#include "device/dev.h"
#include "fs/fs.h"

#define FOLDER "tests/corpus/fs"
#define CASES_MAX 256
#define SHOWN_MAX 20 /* differences printed of one image */
#define ALL_BLOCKS "# all blocks: "

/* ---- Image and map ----------------------------------------------------------------------- */

static FILE *open_part(const char *name, const char *suffix)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), FOLDER "/%s%s", name, suffix);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("%s is missing", path);
	return f;
}

/* Zeros stay holes: most of an image is empty. Pieces of 4 KiB, so that they are found. */
static void write_sparse(int fd, uint64_t off, const uint8_t *p, size_t len)
{
	for (size_t at = 0; at < len; at += 4096) {
		size_t n = len - at < 4096 ? len - at : 4096;

		if (!mem_is_zero(p + at, n))
			assert_int_equal(pwrite(fd, p + at, n, (off_t)(off + at)), n);
	}
}

/* Unpack into a file in memory; returns the size. */
static uint64_t unpack(FILE *f, int fd)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	size_t in_room = ZSTD_DStreamInSize(), out_room = ZSTD_DStreamOutSize();
	size_t left = 1, n;
	uint8_t *in_bytes = malloc(in_room), *out_bytes = malloc(out_room);
	uint64_t size = 0;

	assert_true(z && in_bytes && out_bytes);
	while ((n = fread(in_bytes, 1, in_room, f)) > 0) {
		ZSTD_inBuffer in = { in_bytes, n, 0 };
		size_t made = 0;

		/* A full output buffer may leave more in the stream, until the frame ends. */
		while (in.pos < in.size || (made == out_room && left != 0)) {
			ZSTD_outBuffer out = { out_bytes, out_room, 0 };

			left = ZSTD_decompressStream(z, &out, &in);
			if (ZSTD_isError(left))
				fail_msg("zstd: %s", ZSTD_getErrorName(left));
			made = out.pos;
			write_sparse(fd, size, out_bytes, made);
			size += made;
		}
	}
	if (ferror(f) || left != 0)
		fail_msg("the frame is cut short");
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	ZSTD_freeDStream(z);
	free(in_bytes);
	free(out_bytes);
	return size;
}

static struct dev *open_image(const char *name)
{
	int fd = memfd_create("corpus", MFD_CLOEXEC);
	FILE *f = open_part(name, ".img.zst");
	struct dev *d = NULL;
	struct err e = { 0 };

	assert_true(fd >= 0);
	assert_true(unpack(f, fd) > 0);
	fclose(f);
	if (dev_open_fd(fd, name, false, &d, &e) < 0)
		fail_msg("%s", e.msg);
	return d;
}

/* The map of the file; NULL with `reason` filled when it asks for all blocks. */
static struct map *read_map(const char *name, uint64_t size, char *reason, size_t reason_len)
{
	struct map *m = map_new_full(size);
	FILE *f = open_part(name, ".map");
	char line[512];
	uint64_t end = 0;
	int lines = 0;

	assert_non_null(m);
	reason[0] = '\0';
	while (fgets(line, sizeof(line), f)) {
		uint64_t off, len;
		char more;

		line[strcspn(line, "\n")] = '\0';
		if (lines++ == 0 && strncmp(line, ALL_BLOCKS, strlen(ALL_BLOCKS)) == 0) {
			snprintf(reason, reason_len, "%s", line + strlen(ALL_BLOCKS));
			continue;
		}
		if (reason[0] != '\0' ||
			sscanf(line, "%" SCNu64 " %" SCNu64 "%c", &off, &len, &more) != 2)
			fail_msg("%s.map, line %d: \"%s\"", name, lines, line);
		if (len == 0 || !range_inside(off, len, size) || (lines > 1 && off <= end))
			fail_msg("%s.map, line %d: not sorted, merged and inside", name, lines);
		assert_int_equal(map_set(m, off, len, MAP_FREE, NULL), 0);
		end = off + len;
	}
	assert_int_equal(ferror(f), 0);
	fclose(f);
	if (reason[0] == '\0')
		return m;
	map_free(m);
	return NULL;
}

/* ---- Comparing --------------------------------------------------------------------------- */

static unsigned show_differences(const struct map *got, const struct map *want)
{
	size_t hint_got = 0, hint_want = 0;
	unsigned n = 0;

	for (uint64_t off = 0; off < map_size(want);) {
		struct extent x = map_run(got, off, &hint_got), y = map_run(want, off, &hint_want);
		uint64_t len = min_u64(x.len, y.len);

		if (x.kind != y.kind && n++ < SHOWN_MAX)
			print_message("# %" PRIu64 " %" PRIu64 " is %s, should be %s\n", off, len,
				map_kind_word(x.kind), map_kind_word(y.kind));
		off += len;
	}
	if (n > SHOWN_MAX)
		print_message("# and %u more\n", n - SHOWN_MAX);
	return n;
}

static void test_image(void **state)
{
	const char *name = *state;
	struct dev *d = open_image(name);
	char reason[256];
	struct map *want = read_map(name, dev_size(d), reason, sizeof(reason)), *got = NULL;
	struct fs_report r;
	unsigned different;

	assert_int_equal(fs_map(d, &got, &r, NULL), 0);
	assert_int_equal(map_size(got), dev_size(d));
	if (want) {
		if (!r.used_only)
			fail_msg("all blocks are taken: %s", r.reason);
		different = show_differences(got, want);
		if (different > 0)
			fail_msg("%u ranges differ", different);
		assert_int_equal(r.free_bytes, map_bytes(want, MAP_FREE));
	} else {
		if (r.used_only || !strstr(r.reason, reason))
			fail_msg("the reason is \"%s\", without \"%s\"", r.reason, reason);
		assert_int_equal(map_bytes(got, MAP_DATA), dev_size(d));
	}
	map_free(want);
	map_free(got);
	dev_close(d);
}

/* ---- What lies in the folder ------------------------------------------------------------- */

static void test_folder_is_not_empty(void **state)
{
	if (*(size_t *)*state == 0)
		fail_msg("no image in " FOLDER);
}

/* NAME of NAME.img.zst or NAME.map, malloc'ed; NULL for other files. */
static char *name_of(const char *file)
{
	static const char *const suffixes[] = { ".img.zst", ".map" };

	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		size_t len = strlen(file), cut = strlen(suffixes[i]);

		if (len > cut && strcmp(file + len - cut, suffixes[i]) == 0)
			return strndup(file, len - cut);
	}
	return NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All names, each once, sorted: a map without an image is a case too, and fails. */
static size_t list_names(char **names, size_t room)
{
	DIR *folder = opendir(FOLDER);
	size_t count = 0, unique = 0;
	struct dirent *x;

	while (folder && (x = readdir(folder)) && count < room)
		if ((names[count] = name_of(x->d_name)) != NULL)
			count++;
	if (folder)
		closedir(folder);
	qsort(names, count, sizeof(*names), by_name);
	for (size_t i = 0; i < count; i++) {
		if (unique > 0 && strcmp(names[unique - 1], names[i]) == 0)
			free(names[i]);
		else
			names[unique++] = names[i];
	}
	return unique;
}

int main(void)
{
	struct CMUnitTest tests[1 + CASES_MAX] = { 0 };
	char *names[2 * CASES_MAX];
	size_t count = list_names(names, COUNT_OF(names));
	int failed;

	if (count > CASES_MAX) {
		fprintf(stderr, "more than %d images in " FOLDER "\n", CASES_MAX);
		return 1;
	}
	tests[0] = (struct CMUnitTest)cmocka_unit_test_prestate(test_folder_is_not_empty, &count);
	for (size_t i = 0; i < count; i++)
		tests[1 + i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = test_image,
			.initial_state = names[i],
		};
	failed = _cmocka_run_group_tests("fs_corpus", tests, 1 + count, NULL, NULL);
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	return failed;
}
