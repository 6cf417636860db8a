/*
 * Mounts, swap and Btrfs. /proc/self/mountinfo, proc(5):
 *
 *   36 35 98:0 /root /mountpoint rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue
 *
 * The number is the file system's st_dev, which Btrfs and others make up; then the source names the
 * device. Some options name further devices (an external journal). Space, tab, newline and
 * backslash are written as three octal digits there and in /proc/swaps.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "device/identity_holders_int.h"

struct mount {
	dev_t devno;
	char *point;
	char *source;
	char *options; /* of the file system, after the source */
};

/* ---- Paths ---- */

/* Undo \040 and its like; what would break a line stays as it is. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p != '\0'; to++) {
		unsigned byte;

		if (p[0] == '\\' && sscanf(p + 1, "%3o", &byte) == 1 && byte >= ' ' && byte < 256) {
			*to = (char)byte;
			p += 4;
		} else {
			*to = *p++;
		}
	}
	*to = '\0';
}

bool holders_devno_of_path(const char *root, const char *path, dev_t *devno)
{
	char full[PATH_MAX];
	char real[PATH_MAX];
	struct stat st;

	if (path[0] != '/' || !sys_path(full, sizeof(full), root, "%s", path))
		return false;
	if (stat(full, &st) == 0 && S_ISBLK(st.st_mode)) {
		*devno = st.st_rdev;
		return true;
	}
	if (strncmp(path, "/dev/", 5) != 0)
		return false;
	/* No such node here (a container), or an ordinary file in its place. */
	if (realpath(full, real) == NULL)
		return sys_devno_of(root, strrchr(path, '/') + 1, devno);
	return sys_devno_of(root, strrchr(real, '/') + 1, devno);
}

static bool is_our_file(const struct holders *h, const char *path)
{
	char full[PATH_MAX];
	struct stat st;

	return h->has_file && path[0] == '/' && sys_path(full, sizeof(full), h->root, "%s", path) &&
		stat(full, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == h->file_dev &&
		st.st_ino == h->file_ino;
}

/* ---- Mounts ---- */

static bool parse_mount(char *line, struct mount *m)
{
	char *rest = strstr(line, " - ");
	char *word[5];
	unsigned maj;
	unsigned min;
	char *save = NULL;
	int n = 0;

	if (rest == NULL)
		return false;
	*rest = '\0';
	for (char *p = strtok_r(line, " ", &save); p != NULL && n < 5;
		p = strtok_r(NULL, " ", &save))
		word[n++] = p;
	if (n < 5 || sscanf(word[2], "%u:%u", &maj, &min) != 2)
		return false;
	m->devno = makedev(maj, min);
	m->point = word[4];
	if (strtok_r(rest + 3, " ", &save) == NULL)
		return false;
	m->source = strtok_r(NULL, " ", &save);
	m->options = strtok_r(NULL, " \n", &save);
	if (m->source == NULL)
		return false;
	unescape(m->point);
	unescape(m->source);
	return true;
}

static void say_mounted(struct holders *h, const char *what, const struct mount *m)
{
	if (strcmp(m->point, "/") == 0)
		holders_say(h, true, "%s: root file system", what);
	else
		holders_say(h, true, "%s: mounted at %s", what, m->point);
}

static void say_member_mounted(struct holders *h, dev_t devno, const struct mount *m)
{
	const struct member *member = holders_find(h, devno);
	char label[256];

	if (member == NULL)
		return;
	holders_label(h, member->name, label, sizeof(label));
	say_mounted(h, label, m);
}

/* Options such as logdev=/dev/sdb1 name a device that the file system uses too. */
static void see_options(struct holders *h, const struct mount *m)
{
	char *save = NULL;

	for (char *o = strtok_r(m->options, ",", &save); o != NULL;
		o = strtok_r(NULL, ",", &save)) {
		const char *value;
		dev_t devno;

		unescape(o);
		value = strchr(o, '=');
		if (value == NULL)
			continue;
		if (holders_devno_of_path(h->root, value + 1, &devno) && devno != m->devno)
			say_member_mounted(h, devno, m);
	}
}

static void see_mount(struct holders *h, const struct mount *m)
{
	dev_t source = 0;

	say_member_mounted(h, m->devno, m);
	if (holders_devno_of_path(h->root, m->source, &source) && source != m->devno)
		say_member_mounted(h, source, m);
	if (is_our_file(h, m->source))
		say_mounted(h, h->file_name, m);
	if (m->options != NULL)
		see_options(h, m);
}

/* Call `see` with every line of a file; a missing file is an error unless it may be missing. */
static int each_line(struct holders *h, const char *file, bool may_miss,
	void (*see)(struct holders *h, char *line), struct err *e)
{
	char path[PATH_MAX];
	char *line = NULL;
	size_t size = 0;
	FILE *f = NULL;
	int rc = 0;

	if (sys_path(path, sizeof(path), h->root, "%s", file))
		f = fopen(path, "re");
	if (f == NULL)
		return may_miss && errno == ENOENT
			? 0
			: err_set_errno(e, ERR_INTERNAL, errno, "read %s%s", h->root, file);
	while (getline(&line, &size, f) > 0)
		see(h, line);
	if (ferror(f))
		rc = err_set(e, ERR_INTERNAL, errno, "read %s%s", h->root, file);
	free(line);
	fclose(f);
	return rc;
}

static void see_mount_line(struct holders *h, char *line)
{
	struct mount m;

	if (parse_mount(line, &m))
		see_mount(h, &m);
}

int holders_see_mounts(struct holders *h, struct err *e)
{
	return each_line(h, "/proc/self/mountinfo", false, see_mount_line, e);
}

/* ---- Swap ---- */

/* "/dev/sda3  partition  8388604  0  -2", after a line of headings. */
static void see_swap_line(struct holders *h, char *line)
{
	const struct member *member = NULL;
	char label[256];
	dev_t devno;

	line[strcspn(line, " \t\n")] = '\0';
	unescape(line);
	if (holders_devno_of_path(h->root, line, &devno))
		member = holders_find(h, devno);
	if (member != NULL) {
		holders_label(h, member->name, label, sizeof(label));
		holders_say(h, true, "%s: in use as swap", label);
	} else if (is_our_file(h, line)) {
		holders_say(h, true, "%s: in use as swap", h->file_name);
	}
}

/* A kernel without swap has no such file. */
int holders_see_swaps(struct holders *h, struct err *e)
{
	return each_line(h, "/proc/swaps", true, see_swap_line, e);
}

/* ---- Btrfs ---- */

/* Of a mounted Btrfs on several devices mountinfo names one; sysfs has all of them. */
void holders_see_btrfs(struct holders *h)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir = NULL;

	if (sys_path(path, sizeof(path), h->root, "/sys/fs/btrfs"))
		dir = opendir(path);
	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		for (size_t i = 0; i < h->member_count; i++) {
			const char *name = h->members[i].name;
			char label[256];

			if (!sys_exists(h->root, "/sys/fs/btrfs/%s/devices/%s", entry->d_name,
				    name))
				continue;
			holders_label(h, name, label, sizeof(label));
			holders_say(h, true, "%s: part of mounted Btrfs %s", label, entry->d_name);
		}
	}
	closedir(dir);
}
