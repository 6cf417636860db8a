#include "files/files.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "files/files_ops.h"
#include "fs/fs.h"

static const struct files_ops *find_row(const char *type)
{
	for (size_t i = 0; files_table[i] != NULL; i++)
		for (size_t k = 0; files_table[i]->types[k] != NULL; k++)
			if (strcmp(files_table[i]->types[k], type) == 0)
				return files_table[i];
	return NULL;
}

/* Why the files of what was probed can't be read. */
static int no_reader(const struct fs_report *r, struct err *e)
{
	if (r->type[0] == '\0')
		return err_set(e, ERR_FORMAT, 0, "no file system is recognised%s%s",
			r->reason[0] ? ": " : "", r->reason);
	return err_set(e, ERR_FORMAT, 0, "the files of %s can't be read: only of ext and NTFS",
		r->type);
}

int files_open(struct dev *d, struct files **out, struct err *e)
{
	struct fs_report r = { 0 };
	const struct files_ops *row;
	int rc = fs_probe(d, &r, e);

	*out = NULL;
	if (rc < 0)
		return rc;
	row = find_row(r.type);
	if (row == NULL)
		return no_reader(&r, e);
	rc = row->open(d, out, e);
	if (rc < 0)
		return e == NULL ? rc : err_prefix(e, "%s", r.type);
	snprintf((*out)->info.type, sizeof((*out)->info.type), "%s", r.type);
	return 0;
}

void files_close(struct files *f)
{
	if (f != NULL)
		f->ops->close(f);
}

void files_interrupt(struct files *f)
{
	if (f->ops->interrupt != NULL)
		f->ops->interrupt(f);
}

const struct files_info *files_info(const struct files *f)
{
	return &f->info;
}

int files_stat(struct files *f, uint64_t id, struct files_node *out, struct err *e)
{
	memset(out, 0, sizeof(*out));
	return f->ops->stat(f, id, out, e);
}

int files_list(struct files *f, uint64_t id, files_list_fn fn, void *user, struct err *e)
{
	return f->ops->list(f, id, fn, user, e);
}

int files_read(struct files *f, uint64_t id, uint64_t off, void *buf, size_t len, size_t *got,
	struct err *e)
{
	*got = 0;
	len = (size_t)min_u64(len, FILES_READ_MAX_BYTES);
	return len == 0 ? 0 : f->ops->read(f, id, off, buf, len, got, e);
}

int files_link(struct files *f, uint64_t id, char *out, size_t *len, struct err *e)
{
	return f->ops->link(f, id, out, len, e);
}

struct search {
	const char *name;
	size_t len;
	bool found;
	uint64_t id;
};

static int compare_name(void *user, const char *name, size_t len, uint64_t id, enum files_type type,
	struct err *e)
{
	struct search *s = user;

	(void)type, (void)e;
	if (len == s->len && memcmp(name, s->name, len) == 0) {
		s->found = true;
		s->id = id;
	}
	return 0;
}

int files_find(struct files *f, const char *path, uint64_t *id, struct err *e)
{
	struct search s = { .id = f->info.root };

	for (s.name = path + strspn(path, "/"); *s.name != '\0';
		s.name += s.len + strspn(s.name + s.len, "/")) {
		int rc;

		s.len = strcspn(s.name, "/");
		s.found = false;
		rc = files_list(f, s.id, compare_name, &s, e);
		if (rc < 0)
			return rc;
		if (!s.found)
			return err_set(e, ERR_NOT_FOUND, 0, "%.*s does not exist",
				(int)(s.name - path + (ptrdiff_t)s.len), path);
	}
	*id = s.id;
	return 0;
}

bool files_name_ok(const char *name, size_t len)
{
	if (len == 0 || len > FILES_NAME_MAX_BYTES || memchr(name, '/', len) != NULL ||
		memchr(name, '\0', len) != NULL)
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

const char *files_type_word(enum files_type t)
{
	static const char *const words[FILES_TYPES] = { "unknown", "file", "directory", "link",
		"fifo", "socket", "char", "block" };

	return (unsigned)t < FILES_TYPES ? words[t] : NULL;
}
