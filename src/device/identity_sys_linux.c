/* Block devices as sysfs shows them. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/identity_int.h"

/* ---- Files ---- */

static bool vpath(char *out, size_t len, const char *root, const char *fmt, va_list ap)
{
	int used = snprintf(out, len, "%s", root);
	int more;

	if (used < 0 || (size_t)used >= len)
		return false;
	more = vsnprintf(out + used, len - (size_t)used, fmt, ap);
	return more >= 0 && (size_t)more < len - (size_t)used;
}

bool sys_path(char *out, size_t len, const char *root, const char *fmt, ...)
{
	va_list ap;
	bool fits;

	va_start(ap, fmt);
	fits = vpath(out, len, root, fmt, ap);
	va_end(ap);
	return fits;
}

/* Up to len bytes of a file as they are; the number read, or -1. */
static ssize_t read_bytes(const char *path, void *out, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t done = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -1;
	while (done < len && n > 0) {
		n = read(fd, (uint8_t *)out + done, len - done);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			done += (size_t)n;
	}
	close(fd);
	return n < 0 ? -1 : (ssize_t)done;
}

void sys_trim(char *text)
{
	size_t end = strlen(text);
	size_t begin = 0;

	while (end > 0 && isspace((unsigned char)text[end - 1]))
		end--;
	text[end] = '\0';
	while (isspace((unsigned char)text[begin]))
		begin++;
	memmove(text, text + begin, end - begin + 1);
}

static bool vtext(char *out, size_t len, const char *root, const char *fmt, va_list ap)
{
	char path[PATH_MAX];
	ssize_t n = -1;

	out[0] = '\0';
	if (vpath(path, sizeof(path), root, fmt, ap))
		n = read_bytes(path, out, len - 1);
	if (n < 0)
		return false;
	out[n] = '\0';
	sys_trim(out);
	return true;
}

ssize_t sys_bytes(void *out, size_t len, const char *root, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	bool fits;

	va_start(ap, fmt);
	fits = vpath(path, sizeof(path), root, fmt, ap);
	va_end(ap);
	return fits ? read_bytes(path, out, len) : -1;
}

bool sys_text(char *out, size_t len, const char *root, const char *fmt, ...)
{
	va_list ap;
	bool found;

	va_start(ap, fmt);
	found = vtext(out, len, root, fmt, ap);
	va_end(ap);
	return found;
}

uint64_t sys_number(const char *root, const char *fmt, ...)
{
	char text[32];
	va_list ap;

	va_start(ap, fmt);
	vtext(text, sizeof(text), root, fmt, ap);
	va_end(ap);
	return strtoull(text, NULL, 10);
}

bool sys_exists(const char *root, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	bool fits;

	va_start(ap, fmt);
	fits = vpath(path, sizeof(path), root, fmt, ap);
	va_end(ap);
	return fits && access(path, F_OK) == 0;
}

/* ---- Text ---- */

/* The length of the valid UTF-8 character at p (RFC 3629, section 4); 0 when it is not one. */
static size_t utf8_length(const uint8_t *p)
{
	size_t n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xC2 || p[0] > 0xF4)
		return 0;
	n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	/* Too long a form, a surrogate, or past U+10FFFF. */
	if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
		(p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
		return 0;
	return n;
}

void sys_copy(char *out, size_t len, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t used = 0;

	while (*p != '\0') {
		size_t n = utf8_length(p);
		const bool bad = n == 0 || *p < 0x20 || *p == 0x7F;

		if (bad)
			n = 1;
		if (used + n >= len)
			break;
		if (bad)
			out[used] = '?';
		else
			memcpy(out + used, p, n);
		used += n;
		p += n;
	}
	out[used] = '\0';
}

/* ---- Names ---- */

bool sys_name_of(const char *root, dev_t devno, char name[SYS_NAME_LEN])
{
	char path[PATH_MAX];
	char target[PATH_MAX];
	const char *base;
	ssize_t n;

	if (!sys_path(path, sizeof(path), root, "/sys/dev/block/%u:%u", major(devno), minor(devno)))
		return false;
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	base = strrchr(target, '/');
	base = base == NULL ? target : base + 1;
	return (size_t)snprintf(name, SYS_NAME_LEN, "%s", base) < SYS_NAME_LEN;
}

bool sys_devno_of(const char *root, const char *name, dev_t *devno)
{
	char text[32];
	unsigned maj;
	unsigned min;

	if (!sys_text(text, sizeof(text), root, "/sys/class/block/%s/dev", name) ||
		sscanf(text, "%u:%u", &maj, &min) != 2)
		return false;
	*devno = makedev(maj, min);
	return true;
}

bool sys_parent_of(const char *root, const char *name, char parent[SYS_NAME_LEN])
{
	char path[PATH_MAX];
	char real[PATH_MAX];
	char *base;

	if (!sys_exists(root, "/sys/class/block/%s/partition", name) ||
		!sys_path(path, sizeof(path), root, "/sys/class/block/%s", name) ||
		realpath(path, real) == NULL)
		return false;
	/* .../block/sda/sda1 */
	*strrchr(real, '/') = '\0';
	base = strrchr(real, '/');
	return base != NULL &&
		(size_t)snprintf(parent, SYS_NAME_LEN, "%s", base + 1) < SYS_NAME_LEN;
}

void sys_node_of(const char *name, char *out, size_t len)
{
	snprintf(out, len, "/dev/%s", name);
	for (char *p = out; *p != '\0'; p++)
		if (*p == '!')
			*p = '/';
}

/* Runs of letters: by the driver's two letters first, then short before long, then by letter. */
static int compare_letters(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t both = a_len < b_len ? a_len : b_len;
	int order = strncmp(a, b, both < 2 ? both : 2);

	if (order != 0)
		return order;
	if (a_len != b_len)
		return a_len < b_len ? -1 : 1;
	return strncmp(a, b, a_len);
}

int sys_compare(const char *a, const char *b)
{
	static const char digits[] = "0123456789";

	while (*a != '\0' && *b != '\0') {
		const bool number = isdigit((unsigned char)*a) && isdigit((unsigned char)*b);
		size_t a_len = number ? strspn(a, digits) : strcspn(a, digits);
		size_t b_len = number ? strspn(b, digits) : strcspn(b, digits);
		int order;

		if (number && a_len != b_len)
			return a_len < b_len ? -1 : 1;
		order = number ? strncmp(a, b, a_len) : compare_letters(a, a_len, b, b_len);
		if (order != 0)
			return order;
		a += a_len;
		b += b_len;
	}
	return (*a != '\0') - (*b != '\0');
}

static int compare_names(const void *a, const void *b)
{
	return sys_compare(a, b);
}

int sys_list(const char *root, char (**names)[SYS_NAME_LEN], size_t *count, struct err *e)
{
	char path[PATH_MAX];
	char(*list)[SYS_NAME_LEN] = NULL;
	size_t n = 0;
	struct dirent *entry;
	DIR *dir = NULL;

	*names = NULL;
	*count = 0;
	if (sys_path(path, sizeof(path), root, "/sys/class/block"))
		dir = opendir(path);
	if (dir == NULL)
		return err_set_errno(e, ERR_NOT_FOUND, errno, "list %s/sys/class/block", root);
	while ((entry = readdir(dir)) != NULL) {
		char(*grown)[SYS_NAME_LEN];

		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= SYS_NAME_LEN)
			continue;
		grown = realloc(list, (n + 1) * sizeof(*list));
		if (grown == NULL) {
			free(list);
			closedir(dir);
			return err_nomem(e);
		}
		list = grown;
		memcpy(list[n++], entry->d_name, strlen(entry->d_name) + 1);
	}
	closedir(dir);
	if (n > 0)
		qsort(list, n, sizeof(*list), compare_names);
	*names = list;
	*count = n;
	return 0;
}
