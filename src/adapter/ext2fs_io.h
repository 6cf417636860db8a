/*
 * libext2fs seated on a struct dev: an ext2/3/4 file system opened strictly for reading. Nothing is
 * replayed or repaired; every write, discard and zeroing is refused (R1).
 *
 * The library has no state of the whole process that is used here: each open file system stands
 * alone, belongs to one thread at a time, and must be closed before its device is.
 */
#ifndef ADAPTER_EXT2FS_IO_H
#define ADAPTER_EXT2FS_IO_H

#include <ext2fs/ext2fs.h>

#include "device/dev.h"

/*
 * Read the superblock at byte 1024 and all group descriptors. The caller has checked the
 * superblock, as the library allocates and divides by what it says. `d` stays the caller's.
 */
int ext2fs_io_open(struct dev *d, ext2_filsys *out, struct err *e);
void ext2fs_io_close(ext2_filsys fs); /* NULL is fine */

/*
 * A new piece of work begins: forget an old device error, and allow the library `reads` reads of
 * the device. When they are used up every read fails, which ends the loops that a crafted tree of
 * blocks can lead the library into. A file system just opened has no limit.
 */
void ext2fs_io_begin(ext2_filsys fs, uint64_t reads);

/*
 * A library call failed with `code`: fill *e with "what: why", where why is the device's own
 * error if it had one since ext2fs_io_begin, the library's message otherwise. Returns the
 * negative code: ERR_SOURCE for a read error, ERR_FORMAT otherwise (running out of memory too:
 * how much the library asks for depends on the volume, so it is no proof of an exhausted
 * machine).
 */
int ext2fs_io_fail(ext2_filsys fs, errcode_t code, struct err *e, const char *what);

#endif
