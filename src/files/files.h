/*
 * struct files: the file tree inside a volume, read-only, by node numbers. A tree is opened on a
 * device, which stays the caller's and must outlive it.
 *
 * files_open_confined gives a tree whose parser runs in a process of its own that can hurt nobody
 * (R13); it may be used by many threads, which take turns. files_open runs the parser here, and
 * belongs to one thread at a time: for tests, and for the confined process itself.
 *
 * What a tree says is checked to be well formed (types, lengths, names), and is otherwise as
 * hostile as the volume: numbers of nodes may go round in circles, two directories may be one.
 */
#ifndef FILES_FILES_H
#define FILES_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/dev.h"

#define FILES_NAME_MAX_BYTES 1020 /* 255 UTF-16 units of NTFS as UTF-8, and room */
#define FILES_LINK_MAX_BYTES 4096
#define FILES_READ_MAX_BYTES ((size_t)1 << 20)

struct files;

enum files_type {
	FILES_UNKNOWN, /* in listings only: files_stat says it */
	FILES_REGULAR,
	FILES_DIRECTORY,
	FILES_LINK,
	FILES_FIFO,
	FILES_SOCKET,
	FILES_CHAR,
	FILES_BLOCK,
	FILES_TYPES
};

struct files_time {
	int64_t s; /* since 1970 */
	uint32_t ns;
};

struct files_node {
	uint64_t id;
	enum files_type type;
	uint64_t size; /* bytes: of the unnamed data, of a link's target, of a directory as it is */
	uint64_t allocated_bytes;
	uint64_t links; /* names that it has */
	uint32_t mode;	/* permissions and set-id bits, 07777; a guess where there are none */
	bool has_owner; /* uid and gid mean something */
	uint32_t uid, gid;
	struct files_time modified, changed, accessed;
};

struct files_info {
	char type[32];	/* "ext4", "ntfs" */
	char note[256]; /* a remark worth showing; or "" */
	uint64_t root;	/* the node of the top directory */
	uint64_t block_bytes;
	uint64_t size_bytes, free_bytes; /* of the volume, as it says itself */
	uint64_t nodes;
};

/*
 * Told of each name in a directory, in no order, "." and ".." left out. Names are bytes, UTF-8
 * where the file system has another encoding, without '/' and zero bytes; `name` is terminated and
 * valid during the call. A negative return ends the listing and is passed on.
 */
typedef int (*files_list_fn)(void *user, const char *name, size_t len, uint64_t id,
	enum files_type type, struct err *e);

struct files_limits {
	uint64_t memory_bytes; /* of the parser, beyond what the program has */
	unsigned answer_ms;    /* of its own time, for one answer */
	uint64_t answer_reads; /* of the device, for one answer */
	unsigned restarts;     /* parsers started again after one ended, in all */
};

struct files_limits files_limits_default(void);

/* ERR_FORMAT: no file system that can be read; e->msg says what it is, or what is wrong. */
int files_open(struct dev *d, struct files **out, struct err *e);
int files_open_confined(struct dev *d, const struct files_limits *limits, struct files **out,
	struct err *e);
void files_close(struct files *f); /* NULL is fine */

/*
 * From any thread: a call that a confined parser is at work for fails at once, as if the parser had
 * failed. Nothing when none is.
 */
void files_interrupt(struct files *f);

/* Borrowed, valid as long as the tree. */
const struct files_info *files_info(const struct files *f);

int files_stat(struct files *f, uint64_t id, struct files_node *out, struct err *e);
int files_list(struct files *f, uint64_t id, files_list_fn fn, void *user, struct err *e);

/*
 * Read up to `len` bytes (at most FILES_READ_MAX_BYTES) of a regular file's unnamed data; *got is
 * less only at its end. ERR_SOURCE: the device failed; ERR_FORMAT: the volume is damaged, or the
 * content is encrypted or kept elsewhere.
 */
int files_read(struct files *f, uint64_t id, uint64_t off, void *buf, size_t len, size_t *got,
	struct err *e);

/* A link's target: bytes, terminated; `out` has FILES_LINK_MAX_BYTES + 1. */
int files_link(struct files *f, uint64_t id, char *out, size_t *len, struct err *e);

/*
 * The node of a path from the top directory on, "" or "/" for that one itself; links are not
 * followed. ERR_NOT_FOUND: no such name. Reads each directory of the path whole.
 */
int files_find(struct files *f, const char *path, uint64_t *id, struct err *e);

/* "file", "directory", "link", ...; NULL outside the table. */
const char *files_type_word(enum files_type t);

#endif
