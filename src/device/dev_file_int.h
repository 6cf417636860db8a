/* A file or block device on Linux: what opening makes and the operations use. */
#ifndef DEVICE_DEV_FILE_INT_H
#define DEVICE_DEV_FILE_INT_H

#include <stdatomic.h>

#include "device/dev_int.h"

struct dev_file {
	struct dev dev;
	int fd;
	int tail_fd; /* -1 when the main descriptor is buffered or the size is a multiple */
	bool exclusive;
	_Atomic bool direct;
	_Atomic int flush_errno; /* of the first flush that failed */
};

extern const struct dev_ops dev_file_ops;
extern const struct dev_ops dev_block_ops;

/* From now on the main descriptor is buffered. */
void dev_file_drop_direct(struct dev_file *f);

#endif
