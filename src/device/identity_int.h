/*
 * Identity, from a tree of the kernel's files: root "" is the machine itself, another one a made-up
 * tree in a test. Device names here are the kernel's as sysfs writes them ("sda1", "cciss!c0d0").
 */
#ifndef DEVICE_IDENTITY_INT_H
#define DEVICE_IDENTITY_INT_H

#include <sys/types.h>

#include "device/identity.h"

#define SYS_NAME_LEN 64

/* ---- identity_sys_linux.c ---- */

/* root + the formatted path in out; false when it does not fit. */
bool sys_path(char *out, size_t len, const char *root, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The content of such a file, without the space around it; false, and "", when there is none. */
bool sys_text(char *out, size_t len, const char *root, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Up to len bytes of such a file as they are; how many, or -1. */
ssize_t sys_bytes(void *out, size_t len, const char *root, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A number from such a file; 0 when there is none. */
uint64_t sys_number(const char *root, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

bool sys_exists(const char *root, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Take away the space around a text. */
void sys_trim(char *text);

/* Copy text for people and JSON: valid UTF-8, without control characters, cut where it must be. */
void sys_copy(char *out, size_t len, const char *text);

/* The kernel name of a block device number; false when sysfs does not know it. */
bool sys_name_of(const char *root, dev_t devno, char name[SYS_NAME_LEN]);
/* And its number by name. */
bool sys_devno_of(const char *root, const char *name, dev_t *devno);
/* The whole disk of a partition; false when `name` is none. */
bool sys_parent_of(const char *root, const char *name, char parent[SYS_NAME_LEN]);

/* "/dev/sda1" for "sda1". */
void sys_node_of(const char *name, char *out, size_t len);

/* All block devices of sysfs in natural order; free() *names. */
int sys_list(const char *root, char (**names)[SYS_NAME_LEN], size_t *count, struct err *e);

/* sda before sdb, sdz before sdaa, sda2 before sda10. */
int sys_compare(const char *a, const char *b);

/* ---- identity_facts_linux.c ---- */

/* What sysfs says about the device: all fields but path and those found by reading it. */
void identity_sys_facts(const char *root, const char *name, struct identity *id);

/*
 * Fill what is empty from udev's database. `content` too: the facts that are read from the device
 * itself, for one that could not be read.
 */
void identity_udev_facts(const char *root, const char *name, bool content, struct identity *id);

/* ---- identity_linux.c, identity_holders_linux.c ---- */

int identity_list_at(const char *root, struct identity **out, size_t *count, struct err *e);

/* Who is asked about: a block device, or a regular file. */
struct holders_target {
	bool block;
	dev_t rdev;	/* of a block device */
	dev_t file_dev; /* of a file */
	ino_t file_ino;
	const char *name; /* for messages */
};

int identity_holders_at(const char *root, const struct holders_target *target, char *out,
	size_t len, bool *in_use, struct err *e);
/* Does writing to `from` change what `to` holds? */
int identity_reaches_at(const char *root, const struct holders_target *from,
	const struct holders_target *to, bool *reaches, struct err *e);

#endif
