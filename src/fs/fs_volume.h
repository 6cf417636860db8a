/*
 * Volumes opened by the libraries, after the same checks as for a map: for those who read files out
 * of them (src/files/). Nothing is written. As the libraries, a volume belongs to one thread at a
 * time; the device stays the caller's and must outlive it.
 */
#ifndef FS_FS_VOLUME_H
#define FS_FS_VOLUME_H

#include "device/dev.h"

struct struct_ext2_filsys; /* *ext2_filsys, in <ext2fs/ext2fs.h>, which bears no other library's */
struct ntfs_io;		   /* adapter/ntfs_io.h */

#define FS_VOLUME_NOTE_BYTES 256

struct fs_ext_volume;

/*
 * ext2, ext3, ext4 as it is once its journal was replayed. A journal that can't be followed is left
 * alone, and `note` (FS_VOLUME_NOTE_BYTES) says so; "" when there is nothing to say.
 */
int fs_ext_volume_open(struct dev *d, struct fs_ext_volume **out, char *note, struct err *e);
void fs_ext_volume_close(struct fs_ext_volume *v); /* NULL is fine */

/* The library's handle, and the device that it reads: the replayed one. Borrowed. */
struct struct_ext2_filsys *fs_ext_volume_fs(const struct fs_ext_volume *v);
struct dev *fs_ext_volume_dev(const struct fs_ext_volume *v);

/* NTFS as it is on the disk: $LogFile is not replayed, and `note` says when it should be. */
int fs_ntfs_volume_open(struct dev *d, struct ntfs_io **out, char *note, struct err *e);

#endif
