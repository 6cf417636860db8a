/*
 * Recovery (specification, section 11): what is still good of an image that is incomplete or
 * damaged, written as a new complete image. Data blocks are copied as they are stored, after their
 * hash was checked; what is lost is recorded as bad. When nothing was lost but the end of the
 * file, the new image is byte for byte the one that was begun.
 */
#ifndef FORMAT_RECOVER_H
#define FORMAT_RECOVER_H

#include "device/dev.h"
#include "format/writer.h"

struct recover_report {
	bool head_copied;     /* HEAD was lost, and its copy was used */
	bool index_lost;      /* INDX was lost, and the file was searched */
	uint64_t tables_lost; /* chunks that were walked frame by frame */
	uint64_t chunks_lost; /* chunks of which nothing was found */
	/* Walked chunks of which it is lost what could not be read when the image was made: such
	 * ranges, if any, read as zeros now. */
	uint64_t bad_unknown;
	bool bad_seen; /* the image is known to have such ranges */
	uint64_t lost_bytes, lost_ranges;
	struct image_totals totals; /* of the new image */
};

struct recover_hooks {
	/* Note a range that is lost, ascending; file_off is 0 when not known. May be NULL. */
	void (*lost)(void *user, uint64_t off, uint64_t len, uint64_t file_off, const char *why);
	/* Say whether to give up. Asked for each block and window. May be NULL: never. */
	bool (*stop)(void *user);
	void *user;
};

/*
 * Recover `in` into `out`, an empty file; both stay the caller's. Without `out` all is looked at,
 * and nothing is written. 0, also when something was lost: see the report. ERR_FORMAT when neither
 * HEAD nor its copy is there, or it is of a later version; ERR_DAMAGED when next to nothing is;
 * ERR_CANCELLED when a hook said so: `out` is no image then.
 */
int recover_image(struct dev *in, struct dev *out, const struct recover_hooks *hooks,
	struct recover_report *report, struct err *e);

/* For recover_find.h: -ERR_CANCELLED when the hooks say stop. */
int recover_check_stop(const struct recover_hooks *hooks, const struct dev *in, struct err *e);

#endif
