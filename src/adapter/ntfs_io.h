/*
 * libntfs-3g seated on a struct dev: an NTFS volume opened strictly for reading. Nothing is
 * recovered, no journal is reset, no timestamp is touched; every write is refused (EROFS).
 *
 * The library has state of the whole process: one log handler, one character encoding. The first
 * ntfs_io_open sets the handler for good (nothing is ever printed; the messages of a thread are
 * kept for that thread's ntfs_io_fail). The encoding is left at the library's default, UTF-8, and
 * ntfs_set_locale is never called, so the process keeps its locale.
 *
 * A volume belongs to one thread at a time, and must be closed by its opener before the device is.
 */
#ifndef ADAPTER_NTFS_IO_H
#define ADAPTER_NTFS_IO_H

#include "device/dev.h"

struct _ntfs_volume; /* ntfs_volume, in <ntfs-3g/volume.h> */
struct _ntfs_inode;  /* ntfs_inode, in <ntfs-3g/inode.h> */
struct ntfs_io;

/*
 * Reads the library may make to look at metadata: a piece of work that needs more is going round in
 * circles. The real maximum is a few dozen; a fragmented $MFT needs one for each extension record.
 */
#define NTFS_IO_METADATA_READS 1024

/* The largest single read: what the library asks for is sized by numbers on the disk. */
#define NTFS_IO_MAX_READ_BYTES (4 * 1024 * 1024)

/*
 * Read the boot sector, and open $MFT and $MFTMirr. The caller has checked the boot sector, as the
 * library trusts a good part of it. `d` stays the caller's.
 */
int ntfs_io_open(struct dev *d, struct ntfs_io **out, struct err *e);
void ntfs_io_close(struct ntfs_io *io); /* NULL is fine */

/* The library's handle, for its own functions; borrowed. */
struct _ntfs_volume *ntfs_io_volume(struct ntfs_io *io);

/*
 * A new piece of work begins: forget old messages and errors, and allow the library `reads` reads
 * of the device. When they are used up every read fails with ELOOP, which ends the loops that a
 * crafted volume can lead the library into.
 */
void ntfs_io_begin(struct ntfs_io *io, uint64_t reads);

/*
 * A library call failed: fill *e with "what: why", where why is, in this order, the device's own
 * error, the library's first message since ntfs_io_begin, or errno. Returns the negative code:
 * ERR_SOURCE for a read error, ERR_FORMAT otherwise (running out of memory too: how much the
 * library asks for depends on the volume, so it is no proof of an exhausted machine).
 */
int ntfs_io_fail(struct ntfs_io *io, struct err *e, const char *what);

/*
 * How many names a file has in directories. Not the link count of its record: that counts the DOS
 * name too, which is a second form of a name that is counted already.
 */
int ntfs_io_count_names(struct ntfs_io *io, struct _ntfs_inode *ni, uint64_t *out, struct err *e);

#endif
