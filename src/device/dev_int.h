/* Shared by the files of this folder; nobody outside it includes this. */
#ifndef DEVICE_DEV_INT_H
#define DEVICE_DEV_INT_H

#include "device/dev_ops.h"

/* May [off, off + len) be read, or written, on this device? Fills *e when not. */
int dev_check(const struct dev *d, bool write, uint64_t off, uint64_t len, struct err *e);

/* Do offset, length and memory fit the device's alignment? */
bool dev_aligned(const struct dev *d, uint64_t off, const void *buf, uint64_t len);

/* A write up to `end` succeeded: a device that grew is at least that long. Any thread. */
void dev_grew(struct dev *d, uint64_t end);

/* The size changed. */
void dev_resized(struct dev *d, uint64_t size);

/* Write zeros the plain way. */
int dev_write_zeros(struct dev *d, uint64_t off, uint64_t len, struct err *e);

/* "read NAME at OFF: reason" with ERR_SOURCE, or "write ..." with ERR_TARGET. */
int dev_io_failed(const struct dev *d, bool write, uint64_t off, int sys, struct err *e);

/* A read met the end of the data at `off`. */
int dev_ended(const struct dev *d, uint64_t off, struct err *e);

/* Did this process open the block device exclusively, so that nobody else holds it? */
bool dev_file_exclusive(const struct dev *d);

/* The device that a slice is a window on; NULL when `d` is no slice. */
const struct dev *dev_slice_under(const struct dev *d);

#endif
