/*
 * fs_map, fs_files and fs_claims in a confined process (R13): a parser that crashes, hangs or asks
 * for too much costs the used-only saving or the content rules, with the reason, and never the
 * backup.
 */
#ifndef FS_FS_CONFINED_H
#define FS_FS_CONFINED_H

#include "fs/fs.h"
#include "fs/fs_files.h"

struct fs_limits {
	uint64_t memory_bytes; /* of the parser */
	unsigned cpu_s;	       /* of the parser, in all */
	int idle_ms;	       /* the longest silence: it reads all the time when it works */
	/* Asked now and then: is the work to end, with ERR_CANCELLED? NULL: never. */
	bool (*stop)(void *user);
	void *user; /* of stop */
};

/* What a volume of 100 TiB needs, with room. */
struct fs_limits fs_limits_default(void);

/* As fs_map, with the parser in a process of its own. It fails when it is stopped. */
int fs_map_confined(struct dev *d, const struct fs_limits *limits, struct map **out,
	struct fs_report *r, struct err *e);

/*
 * As fs_files and fs_claims, with the parser in a process of its own; `fn` runs in this one, while
 * the parser waits. A parser that fails is ERR_FORMAT, with how it ended; an error of fn, and
 * ERR_CANCELLED when it is stopped, are passed on as they are.
 */
int fs_files_confined(struct dev *d, const struct fs_limits *limits, bool tree, fs_file_fn fn,
	void *user, struct err *e);
int fs_claims_confined(struct dev *d, const struct fs_limits *limits, const struct map *ranges,
	uint64_t *bytes, struct err *e);

/* fs_files_confined with another body of the process: one that lies, for tests. */
int fs_files_from(void (*body)(int fd, void *shared, void *user), struct dev *d,
	const struct fs_limits *limits, bool tree, fs_file_fn fn, void *user, struct err *e);

/* A string of `cap` bytes from a hostile child: ends it, and takes out what a terminal obeys. */
void fs_tame(char *s, size_t cap);

#endif
