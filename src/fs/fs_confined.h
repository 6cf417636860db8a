/*
 * fs_map in a confined process (R13): a parser that crashes, hangs or asks for too much costs the
 * used-only saving, with the reason in the report, and never the backup.
 */
#ifndef FS_FS_CONFINED_H
#define FS_FS_CONFINED_H

#include "fs/fs.h"

struct fs_limits {
	uint64_t memory_bytes; /* of the parser */
	unsigned cpu_s;	       /* of the parser, in all */
	int idle_ms;	       /* the longest silence: it reads all the time when it works */
};

/* What a volume of 100 TiB needs, with room. */
struct fs_limits fs_limits_default(void);

/* As fs_map, with the parser in a process of its own. */
int fs_map_confined(struct dev *d, const struct fs_limits *limits, struct map **out,
	struct fs_report *r, struct err *e);

#endif
