#include "server/tree_dirs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define DIRS 64

struct tree_dirs {
	struct files *files;
	size_t max_bytes;
	pthread_mutex_t lock; /* of all below, and of refs and used of the directories */
	size_t bytes;	      /* of those in the table */
	uint64_t clock;
	struct tree_dir *table[DIRS]; /* each holds a reference */
	struct tree_dir *all;	      /* also those that are only open */
};

static size_t dir_bytes(const struct tree_dir *d)
{
	return sizeof(*d) + d->room * sizeof(d->entries[0]) + d->names_room;
}

static void dir_free(struct tree_dir *d)
{
	if (d == NULL)
		return;
	free(d->entries);
	free(d->names);
	free(d);
}

/* ---- Reading one ---- */

static int add_entry(void *user, const char *name, size_t len, uint64_t id, enum files_type type,
	struct err *e)
{
	struct tree_dir *d = user;
	void *p;

	if (d->count == d->room) {
		size_t room = d->room == 0 ? 16 : 2 * d->room;

		p = realloc(d->entries, room * sizeof(d->entries[0]));
		if (p == NULL)
			return err_nomem(e);
		d->entries = p;
		d->room = room;
	}
	if (len + 1 > d->names_room - d->names_len) {
		size_t room = 2 * d->names_room + len + 256;

		if (room > UINT32_MAX)
			return err_nomem(e);
		p = realloc(d->names, room);
		if (p == NULL)
			return err_nomem(e);
		d->names = p;
		d->names_room = room;
	}
	memcpy(d->names + d->names_len, name, len + 1);
	d->entries[d->count++] = (struct tree_entry){ .id = id,
		.name_off = (uint32_t)d->names_len,
		.name_len = (uint16_t)len,
		.type = (uint8_t)type };
	d->names_len += len + 1;
	return 0;
}

static int by_name(const void *a, const void *b, void *names)
{
	const struct tree_entry *x = a, *y = b;

	return strcmp((const char *)names + x->name_off, (const char *)names + y->name_off);
}

static int dir_read(struct files *f, uint64_t id, struct tree_dir **out, struct err *e)
{
	struct tree_dir *d = calloc(1, sizeof(*d));
	int rc;

	if (d == NULL)
		return err_nomem(e);
	d->id = id;
	rc = files_list(f, id, add_entry, d, e);
	if (rc < 0) {
		dir_free(d);
		return rc;
	}
	if (d->count > 0)
		qsort_r(d->entries, d->count, sizeof(d->entries[0]), by_name, d->names);
	*out = d;
	return 0;
}

/* ---- The cache; with the lock ---- */

static void enlist(struct tree_dirs *t, struct tree_dir *d)
{
	d->behind = t->all;
	if (d->behind != NULL)
		d->behind->before = d;
	t->all = d;
}

static void unref(struct tree_dirs *t, struct tree_dir *d)
{
	if (--d->refs > 0)
		return;
	if (d->before != NULL)
		d->before->behind = d->behind;
	else
		t->all = d->behind;
	if (d->behind != NULL)
		d->behind->before = d->before;
	dir_free(d);
}

static void drop(struct tree_dirs *t, size_t i)
{
	t->bytes -= dir_bytes(t->table[i]);
	unref(t, t->table[i]);
	t->table[i] = NULL;
}

static struct tree_dir *find(struct tree_dirs *t, uint64_t id)
{
	for (size_t i = 0; i < DIRS; i++)
		if (t->table[i] != NULL && t->table[i]->id == id) {
			t->table[i]->used = ++t->clock;
			t->table[i]->refs++;
			return t->table[i];
		}
	return NULL;
}

/* The place that has been empty or unused the longest. */
static size_t oldest(const struct tree_dirs *t)
{
	size_t best = 0;

	for (size_t i = 0; i < DIRS; i++) {
		if (t->table[i] == NULL)
			return i;
		if (t->table[i]->used < t->table[best]->used)
			best = i;
	}
	return best;
}

/* The oldest that is there. */
static size_t oldest_kept(const struct tree_dirs *t)
{
	size_t best = DIRS;

	for (size_t i = 0; i < DIRS; i++)
		if (t->table[i] != NULL &&
			(best == DIRS || t->table[i]->used < t->table[best]->used))
			best = i;
	return best;
}

static void keep(struct tree_dirs *t, struct tree_dir *d)
{
	size_t i = oldest(t);

	if (t->table[i] != NULL)
		drop(t, i);
	d->used = ++t->clock;
	d->refs++;
	t->table[i] = d;
	t->bytes += dir_bytes(d);
	while (t->bytes > t->max_bytes)
		drop(t, oldest_kept(t));
}

/* ---- For the mount ---- */

int tree_dirs_new(struct files *files, size_t max_bytes, struct tree_dirs **out, struct err *e)
{
	struct tree_dirs *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return err_nomem(e);
	t->files = files;
	t->max_bytes = max_bytes;
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;
}

void tree_dirs_free(struct tree_dirs *t)
{
	if (t == NULL)
		return;
	while (t->all != NULL) {
		t->all->refs = 1;
		unref(t, t->all);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

int tree_dir_ref(struct tree_dirs *t, uint64_t id, struct tree_dir **out, struct err *e)
{
	struct tree_dir *d = NULL, *other;
	int rc;

	pthread_mutex_lock(&t->lock);
	*out = find(t, id);
	pthread_mutex_unlock(&t->lock);
	if (*out != NULL)
		return 0;
	rc = dir_read(t->files, id, &d, e);
	if (rc < 0)
		return rc;
	d->refs = 1;
	pthread_mutex_lock(&t->lock);
	other = find(t, id);
	if (other == NULL) {
		enlist(t, d);
		keep(t, d);
		*out = d;
	} else {
		dir_free(d);
		*out = other;
	}
	pthread_mutex_unlock(&t->lock);
	return 0;
}

void tree_dir_unref(struct tree_dirs *t, struct tree_dir *d)
{
	pthread_mutex_lock(&t->lock);
	unref(t, d);
	pthread_mutex_unlock(&t->lock);
}

const char *tree_dir_name(const struct tree_dir *d, const struct tree_entry *x)
{
	return d->names + x->name_off;
}

const struct tree_entry *tree_dir_find(const struct tree_dir *d, const char *name)
{
	size_t low = 0, high = d->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(name, tree_dir_name(d, &d->entries[mid]));

		if (order == 0)
			return &d->entries[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}
