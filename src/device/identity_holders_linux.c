/*
 * Who uses a block device or a file.
 *
 * From the device asked about, a set of devices is built through which its bytes are reached: its
 * partitions, what is stacked on it (sysfs "holders": LVM, md, dm), loop devices over it, and so on
 * upwards from each of them. Downwards too: the whole disk of a partition (itself only, not the
 * other partitions), the file or device under a loop device, and the other loop devices over the
 * same file. Then whatever is mounted from a device of the set, or swaps to it, is in the way.
 *
 * A list that cannot be read is an error: nothing may look free because nobody could look.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/dev_int.h"
#include "device/identity_holders_int.h"

/* Devices on devices: deeper than anybody stacks them, and an end to what makes no sense. */
#define DEPTH_MAX 32

/* ---- What was found ---- */

void holders_say(struct holders *h, bool hurts, const char *fmt, ...)
{
	char raw[1024];
	char line[sizeof(raw)];
	va_list ap;
	int n;

	h->in_use |= hurts;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	/* Mount points are anybody's text. */
	sys_copy(line, sizeof(line), raw);
	n = snprintf(h->out + h->used, h->len - h->used, "%s%s", h->used > 0 ? "\n" : "", line);
	/* A line that does not fit is left out whole; that the device is in use is said anyway. */
	if (n < 0 || (size_t)n >= h->len - h->used)
		h->out[h->used] = '\0';
	else
		h->used += (size_t)n;
}

void holders_label(const struct holders *h, const char *name, char *out, size_t len)
{
	char node[SYS_NAME_LEN + 8];
	char dm[128];

	sys_node_of(name, node, sizeof(node));
	if (sys_text(dm, sizeof(dm), h->root, "/sys/class/block/%s/dm/name", name))
		snprintf(out, len, "%s (%s)", node, dm);
	else
		snprintf(out, len, "%s", node);
}

const struct member *holders_find(const struct holders *h, dev_t devno)
{
	for (size_t i = 0; i < h->member_count; i++)
		if (h->members[i].devno == devno)
			return &h->members[i];
	return NULL;
}

/* Is the loop device over this member, or with NULL over the file? */
static bool is_loop_over(const struct holders *h, const struct loop *l, const struct member *under)
{
	if (under != NULL)
		return l->over_block && l->rdev == under->devno;
	return h->has_file && !l->over_block && l->file_dev == h->file_dev &&
		l->file_ino == h->file_ino;
}

/* ---- The set ---- */

/* A device that is there already but without its partitions gets them now. */
static int add(struct holders *h, const char *name, bool whole, struct err *e)
{
	struct member *grown;
	dev_t devno;

	if (!sys_devno_of(h->root, name, &devno))
		return err_set(e, ERR_NOT_FOUND, 0, "no number of block device %s in %s/sys", name,
			h->root);
	for (size_t i = 0; i < h->member_count; i++) {
		if (h->members[i].devno != devno)
			continue;
		h->members[i].whole |= whole;
		return 0;
	}
	grown = realloc(h->members, (h->member_count + 1) * sizeof(*grown));
	if (grown == NULL)
		return err_nomem(e);
	h->members = grown;
	snprintf(grown[h->member_count].name, SYS_NAME_LEN, "%s", name);
	grown[h->member_count].devno = devno;
	grown[h->member_count].whole = whole;
	h->member_count++;
	return 0;
}

/* The partitions of a disk; `names` are all devices there are. */
static int add_partitions(struct holders *h, const char *disk, char (*names)[SYS_NAME_LEN],
	size_t count, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		char parent[SYS_NAME_LEN];

		if (sys_parent_of(h->root, names[i], parent) && strcmp(parent, disk) == 0)
			rc = add(h, names[i], true, e);
	}
	return rc;
}

/* Is `holder` stacked on `name`? */
static bool is_held_by(const struct holders *h, const char *name, const char *holder)
{
	return sys_exists(h->root, "/sys/class/block/%s/holders/%s", name, holder);
}

static int add_stacked(struct holders *h, const char *name, char (*names)[SYS_NAME_LEN],
	size_t count, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		if (is_held_by(h, name, names[i]))
			rc = add(h, names[i], true, e);
	return rc;
}

static bool is_member(const struct holders *h, const char *name)
{
	for (size_t i = 0; i < h->member_count; i++)
		if (strcmp(h->members[i].name, name) == 0)
			return true;
	return false;
}

/*
 * The loop devices over a member, or over the file. One that is there already stays as it is: the
 * loop device under the partition asked about is in the set without its other partitions.
 */
static int add_loops(struct holders *h, const struct member *under, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < h->loop_count && rc == 0; i++) {
		const struct loop *l = &h->loops[i];

		if (is_loop_over(h, l, under) && !is_member(h, l->name))
			rc = add(h, l->name, true, e);
	}
	return rc;
}

/* What a device lies on directly, when that is a device; a file is remembered. */
static bool carrier_of(struct holders *h, const char *name, char out[SYS_NAME_LEN], bool *whole)
{
	*whole = true;
	for (size_t i = 0; i < h->loop_count; i++) {
		const struct loop *l = &h->loops[i];

		if (strcmp(l->name, name) != 0)
			continue;
		if (l->over_block)
			return sys_name_of(h->root, l->rdev, out);
		h->has_file = true;
		h->file_dev = l->file_dev;
		h->file_ino = l->file_ino;
		return false;
	}
	*whole = false; /* A partition's disk has other partitions, too. */
	return sys_parent_of(h->root, name, out);
}

/* A device and what is written to through it: disks of partitions, what loop devices are over. */
static int add_down(struct holders *h, const char *first, struct err *e)
{
	char name[SYS_NAME_LEN], under[SYS_NAME_LEN];
	bool whole = true;
	int rc = 0;

	memcpy(name, first, sizeof(name));
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		rc = add(h, name, whole, e);
		if (rc < 0 || !carrier_of(h, name, under, &whole))
			break;
		memcpy(name, under, sizeof(name));
	}
	return rc;
}

static int add_target(struct holders *h, const struct holders_target *t, struct err *e)
{
	char name[SYS_NAME_LEN];

	if (!t->block) {
		h->has_file = true;
		h->file_dev = t->file_dev;
		h->file_ino = t->file_ino;
		return 0;
	}
	if (!sys_name_of(h->root, t->rdev, name))
		return err_set(e, ERR_NOT_FOUND, 0, "%s is unknown to %s/sys", t->name, h->root);
	return add_down(h, name, e);
}

/* Upwards from every member, until nothing new comes. */
static int close_set(struct holders *h, char (*names)[SYS_NAME_LEN], size_t count, struct err *e)
{
	size_t before;
	int rc;

	do {
		before = h->member_count;
		rc = add_loops(h, NULL, e);
		for (size_t i = 0; i < h->member_count && rc == 0; i++) {
			/* A copy: adding may move the array. */
			const struct member m = h->members[i];

			rc = add_stacked(h, m.name, names, count, e);
			if (rc == 0 && m.whole)
				rc = add_partitions(h, m.name, names, count, e);
			if (rc == 0)
				rc = add_loops(h, &m, e);
		}
	} while (rc == 0 && h->member_count > before);
	return rc;
}

/* ---- Loop devices ---- */

/* From the loop device itself: its answer is right even when the file was moved or deleted. */
static bool ask_loop(struct loop *l)
{
	struct loop_info64 info;
	char node[SYS_NAME_LEN + 8];
	bool answered;
	int fd;

	sys_node_of(l->name, node, sizeof(node));
	fd = open(node, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	answered = ioctl(fd, LOOP_GET_STATUS64, &info) == 0;
	close(fd);
	if (!answered)
		return false;
	l->over_block = info.lo_rdevice != 0;
	l->rdev = (dev_t)info.lo_rdevice;
	l->file_dev = (dev_t)info.lo_device;
	l->file_ino = (ino_t)info.lo_inode;
	return true;
}

static bool look_up_backing(const char *root, const char *file, struct loop *l)
{
	char path[PATH_MAX];
	struct stat st;

	if (holders_devno_of_path(root, file, &l->rdev)) {
		l->over_block = true;
		return true;
	}
	if (!sys_path(path, sizeof(path), root, "%s", file) || stat(path, &st) < 0)
		return false;
	l->file_dev = st.st_dev;
	l->file_ino = st.st_ino;
	return true;
}

static int load_loops(struct holders *h, char (*names)[SYS_NAME_LEN], size_t count, struct err *e)
{
	h->loops = calloc(count + 1, sizeof(*h->loops));
	if (h->loops == NULL)
		return err_nomem(e);
	for (size_t i = 0; i < count; i++) {
		struct loop *l = &h->loops[h->loop_count];
		char file[PATH_MAX];

		if (!sys_text(file, sizeof(file), h->root, "/sys/class/block/%s/loop/backing_file",
			    names[i]))
			continue;
		memcpy(l->name, names[i], SYS_NAME_LEN);
		if ((h->root[0] == '\0' && ask_loop(l)) || look_up_backing(h->root, file, l))
			h->loop_count++;
	}
	return 0;
}

/* ---- The answer ---- */

/* Stacked devices hold what they are stacked on, whether somebody uses them or not. */
static void see_stacked(struct holders *h, char (*names)[SYS_NAME_LEN], size_t count)
{
	for (size_t i = 0; i < h->member_count; i++)
		for (size_t k = 0; k < count; k++) {
			char lower[256];
			char upper[256];

			if (!is_held_by(h, h->members[i].name, names[k]))
				continue;
			holders_label(h, h->members[i].name, lower, sizeof(lower));
			holders_label(h, names[k], upper, sizeof(upper));
			holders_say(h, true, "%s: held by %s", lower, upper);
		}
}

/* A loop device nobody uses does no harm, but people will want to know. */
static void see_loops(struct holders *h)
{
	for (size_t i = 0; i < h->loop_count; i++) {
		const struct loop *l = &h->loops[i];
		const struct member *under = l->over_block ? holders_find(h, l->rdev) : NULL;
		char label[256];

		if (under == NULL && !is_loop_over(h, l, NULL))
			continue;
		snprintf(label, sizeof(label), "%s", h->file_name);
		if (under != NULL)
			holders_label(h, under->name, label, sizeof(label));
		holders_say(h, false, "%s: behind loop device /dev/%s", label, l->name);
	}
}

static int build_set(struct holders *h, const struct holders_target *t, char (*names)[SYS_NAME_LEN],
	size_t count, struct err *e)
{
	int rc = load_loops(h, names, count, e);

	if (rc == 0)
		rc = add_target(h, t, e);
	return rc < 0 ? rc : close_set(h, names, count, e);
}

static int look(struct holders *h, const struct holders_target *t, struct err *e)
{
	char(*names)[SYS_NAME_LEN];
	size_t count;
	int rc = sys_list(h->root, &names, &count, e);

	if (rc == 0)
		rc = build_set(h, t, names, count, e);
	if (rc == 0)
		rc = holders_see_mounts(h, e);
	if (rc == 0)
		rc = holders_see_swaps(h, e);
	if (rc == 0) {
		holders_see_btrfs(h);
		see_stacked(h, names, count);
		see_loops(h);
	}
	free(names);
	return rc;
}

int identity_holders_at(const char *root, const struct holders_target *target, char *out,
	size_t len, bool *in_use, struct err *e)
{
	struct holders h = { .root = root, .out = out, .len = len, .file_name = target->name };
	int rc;

	out[0] = '\0';
	*in_use = false;
	rc = look(&h, target, e);
	*in_use = rc < 0 || h.in_use;
	free(h.members);
	free(h.loops);
	return rc;
}

static bool is_file(const struct holders *h, const struct holders_target *t)
{
	return !t->block && h->has_file && h->file_dev == t->file_dev && h->file_ino == t->file_ino;
}

/*
 * Is the device on `t`, whatever is between them? LVM, md and dm are on what sysfs calls slaves:
 * several, whose files are all remembered in `h`, each until the next.
 */
static bool lies_on(struct holders *h, char (*names)[SYS_NAME_LEN], size_t count, const char *name,
	const struct holders_target *t, int depth)
{
	char under[SYS_NAME_LEN];
	bool whole, on_device;
	dev_t devno;

	if (depth == DEPTH_MAX)
		return false;
	if (t->block && sys_devno_of(h->root, name, &devno) && devno == t->rdev)
		return true;
	on_device = carrier_of(h, name, under, &whole);
	if (is_file(h, t) || (on_device && lies_on(h, names, count, under, t, depth + 1)))
		return true;
	for (size_t i = 0; i < count; i++)
		if (sys_exists(h->root, "/sys/class/block/%s/slaves/%s", name, names[i]) &&
			lies_on(h, names, count, names[i], t, depth + 1))
			return true;
	return false;
}

static bool is_reached(struct holders *h, char (*names)[SYS_NAME_LEN], size_t count,
	const struct holders_target *from, const struct holders_target *to)
{
	char name[SYS_NAME_LEN];

	if (is_file(h, to) || (to->block && holders_find(h, to->rdev) != NULL))
		return true;
	return from->block && sys_name_of(h->root, from->rdev, name) &&
		lies_on(h, names, count, name, to, 0);
}

int identity_reaches_at(const char *root, const struct holders_target *from,
	const struct holders_target *to, bool *reaches, struct err *e)
{
	struct holders h = { .root = root, .file_name = from->name };
	char(*names)[SYS_NAME_LEN];
	size_t count;
	int rc = sys_list(root, &names, &count, e);

	*reaches = true;
	if (rc == 0)
		rc = build_set(&h, from, names, count, e);
	if (rc == 0)
		*reaches = is_reached(&h, names, count, from, to);
	free(names);
	free(h.members);
	free(h.loops);
	return rc;
}

/*
 * The kernel's own word: a device that somebody holds (a mount in another namespace, ZFS, a disk
 * of a multi-device file system) cannot be opened exclusively.
 */
static void try_exclusive(const struct dev *d, int fd, char *out, size_t len, bool *in_use)
{
	char path[64];
	size_t used;
	int own;

	while (dev_slice_under(d) != NULL)
		d = dev_slice_under(d);
	if (*in_use || dev_file_exclusive(d))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
	if (own >= 0) {
		close(own);
		return;
	}
	if (errno != EBUSY)
		return;
	*in_use = true;
	used = strlen(out);
	snprintf(out + used, len - used, "%s%s: held by the kernel or another program",
		used > 0 ? "\n" : "", dev_name(d));
}

static struct holders_target target_of(const char *name, const struct stat *st)
{
	return (struct holders_target){ .block = S_ISBLK(st->st_mode),
		.rdev = st->st_rdev,
		.file_dev = st->st_dev,
		.file_ino = st->st_ino,
		.name = name };
}

int identity_holders(const struct dev *d, char *out, size_t len, bool *in_use, struct err *e)
{
	struct holders_target target;
	uint64_t base;
	int fd = dev_fd(d, &base);
	struct stat st;
	int rc;

	out[0] = '\0';
	*in_use = false;
	if (fd < 0)
		return 0;
	*in_use = true;
	if (fstat(fd, &st) < 0)
		return err_set_errno(e, ERR_SOURCE, errno, "stat %s", dev_name(d));
	target = target_of(dev_name(d), &st);
	rc = identity_holders_at("", &target, out, len, in_use, e);
	if (rc == 0 && target.block)
		try_exclusive(d, fd, out, len, in_use);
	return rc;
}

int identity_reaches(const struct dev *d, const char *path, bool *reaches, struct err *e)
{
	struct holders_target from, to;
	uint64_t base;
	int fd = dev_fd(d, &base);
	struct stat st;

	*reaches = false;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return err_set_errno(e, ERR_SOURCE, errno, "stat %s", dev_name(d));
	from = target_of(dev_name(d), &st);
	if (stat(path, &st) < 0)
		return err_set_errno(e, ERR_NOT_FOUND, errno, "stat %s", path);
	to = target_of(path, &st);
	return identity_reaches_at("", &from, &to, reaches, e);
}
