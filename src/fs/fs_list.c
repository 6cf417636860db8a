#include "fs/fs_list.h"

#include <stdio.h>

#include "base/mem.h"

/* Element `count` of a growing array of entries; false, and the array stays, without memory. */
static bool grow(struct fs_list_entry **array, size_t count, size_t *room)
{
	size_t want = *room ? *room * 2 : 64;
	struct fs_list_entry *grown;

	if (count < *room)
		return true;
	grown = want <= SIZE_MAX / sizeof(*grown) ? realloc(*array, want * sizeof(*grown)) : NULL;
	if (!grown)
		return false;
	*array = grown;
	*room = want;
	return true;
}

static void drop_names(struct fs_list *l)
{
	for (size_t i = 0; i < l->name_count; i++)
		free(l->names[i].path);
	l->name_count = l->name_next = 0;
}

int fs_list_open(struct fs_list *l, bool tree, fs_file_fn fn, void *user, uint64_t numbers,
	uint64_t root, struct err *e)
{
	struct fs_list_entry top = { .number = root, .path = strdup("/") };

	memset(l, 0, sizeof(*l));
	l->tree = true; /* the root directory itself is always read */
	l->fn = fn;
	l->user = user;
	l->numbers = numbers;
	l->seen = calloc(1, (size_t)(numbers / 8 + 1));
	l->ranges = malloc(FS_FILES_MAX_RANGES * sizeof(*l->ranges));
	if (!l->seen || !l->ranges || !top.path || fs_list_dir(l, &top, e) < 0) {
		free(top.path);
		return err_nomem(e);
	}
	l->seen[root / 8] = (uint8_t)(l->seen[root / 8] | 1U << root % 8);
	l->tree = tree;
	return 0;
}

void fs_list_close(struct fs_list *l)
{
	drop_names(l);
	for (size_t i = 0; i < l->dir_count; i++)
		free(l->dirs[i].path);
	free(l->dirs);
	free(l->names);
	free(l->seen);
	free(l->ranges);
}

const struct fs_list_entry *fs_list_next_dir(struct fs_list *l)
{
	drop_names(l);
	if (l->dir_next > 0) { /* the one before is done */
		free(l->dirs[l->dir_next - 1].path);
		l->dirs[l->dir_next - 1].path = NULL;
	}
	if (l->dir_next == l->dir_count)
		return NULL;
	l->dir_path = l->dirs[l->dir_next].path;
	return &l->dirs[l->dir_next++];
}

static bool is_dots(const char *name, size_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

void fs_list_name(struct fs_list *l, uint64_t number, const char *name, size_t len)
{
	const char *dir = strcmp(l->dir_path, "/") == 0 ? "" : l->dir_path;
	size_t path = strlen(dir) + 1 + len;
	struct fs_list_entry *entry;

	/* A name with a slash or a zero is none; it could pass for another file's. */
	if (len == 0 || is_dots(name, len) || path > FS_FILES_MAX_PATH || number >= l->numbers ||
		memchr(name, '/', len) || memchr(name, '\0', len))
		return;
	if (!grow(&l->names, l->name_count, &l->name_room)) {
		l->out_of_memory = true;
		return;
	}
	entry = &l->names[l->name_count];
	entry->number = number;
	entry->path = malloc(path + 1);
	if (!entry->path) {
		l->out_of_memory = true;
		return;
	}
	snprintf(entry->path, path + 1, "%s/%.*s", dir, (int)len, name);
	l->name_count++;
}

struct fs_list_entry *fs_list_next_name(struct fs_list *l, int *rc, struct err *e)
{
	if (l->out_of_memory) {
		*rc = err_nomem(e);
		return NULL;
	}
	*rc = 0;
	for (; l->name_next < l->name_count; l->name_next++) {
		struct fs_list_entry *entry = &l->names[l->name_next];
		uint8_t *byte = &l->seen[entry->number / 8];
		uint8_t bit = (uint8_t)(1U << entry->number % 8);

		if (*byte & bit)
			continue;
		*byte |= bit;
		l->name_next++;
		l->range_count = 0;
		l->too_many = false;
		return entry;
	}
	return NULL;
}

int fs_list_dir(struct fs_list *l, struct fs_list_entry *entry, struct err *e)
{
	if (!l->tree)
		return 0;
	if (!grow(&l->dirs, l->dir_count, &l->dir_room))
		return err_nomem(e);
	l->dirs[l->dir_count++] = *entry;
	entry->path = NULL;
	return 0;
}

void fs_list_range(struct fs_list *l, uint64_t off, uint64_t len)
{
	struct extent *last = l->range_count > 0 ? &l->ranges[l->range_count - 1] : NULL;

	if (last && last->off + last->len == off)
		last->len += len;
	else if (l->range_count == FS_FILES_MAX_RANGES)
		l->too_many = true;
	else
		l->ranges[l->range_count++] = (struct extent){ off, len, MAP_DATA };
}

static int compare_ranges(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Ascending, and what touches joined. Two that overlap: false. */
static bool settle_ranges(struct fs_list *l)
{
	size_t kept = 0;

	if (l->range_count == 0)
		return true;
	qsort(l->ranges, l->range_count, sizeof(*l->ranges), compare_ranges);
	for (size_t i = 1; i < l->range_count; i++) {
		struct extent *last = &l->ranges[kept];

		if (last->off + last->len > l->ranges[i].off)
			return false;
		if (last->off + last->len == l->ranges[i].off)
			last->len += l->ranges[i].len;
		else
			l->ranges[++kept] = l->ranges[i];
	}
	l->range_count = kept + 1;
	return true;
}

int fs_list_file(struct fs_list *l, const struct fs_list_entry *entry, struct fs_file *f,
	const char *kept, struct err *e)
{
	if (kept[0] == '\0' && l->too_many)
		kept = "it lies in too many pieces";
	if (kept[0] == '\0' && !settle_ranges(l))
		return err_set(e, ERR_FORMAT, 0, "%.256s claims a block twice", entry->path);
	f->path = entry->path;
	f->ranges = l->ranges;
	f->range_count = kept[0] == '\0' ? l->range_count : 0;
	snprintf(f->kept, sizeof(f->kept), "%s", kept);
	return l->fn(l->user, f, e);
}

uint64_t fs_list_overlap(const struct map *ranges, uint64_t off, uint64_t len, size_t *hint)
{
	uint64_t sum = 0, end;

	if (off >= map_size(ranges))
		return 0;
	end = off + min_u64(len, map_size(ranges) - off);
	while (off < end) {
		struct extent x = map_run(ranges, off, hint);
		uint64_t n = min_u64(x.len, end - off);

		if (x.kind != MAP_NONE)
			sum += n;
		off += n;
	}
	return sum;
}
