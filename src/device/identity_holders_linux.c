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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/dev_int.h"
#include "device/identity_holders_int.h"

/* ---- What was found ---- */

void holders_say(struct holders *h, bool hurts, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	h->in_use |= hurts;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	n = snprintf(h->out + h->used, h->len - h->used, "%s%s", h->used > 0 ? "\n" : "", line);
	/* A line that does not fit is left out whole; that the device is in use is said anyway. */
	if (n < 0 || (size_t)n >= h->len - h->used)
		h->out[h->used] = '\0';
	else
		h->used += (size_t)n;
}
