/* Shared by the files of this folder; nobody outside it includes this. */
#ifndef DISK_DISK_INT_H
#define DISK_DISK_INT_H

#include "disk/disk.h"

#define MBR_SIGNATURE_OFF 510

/* Sector `lba` of the disk into `buf` of disk->sector_bytes. */
int disk_sector(struct dev *d, const struct disk *disk, uint64_t lba, uint8_t *buf, struct err *e);

/* One more partition, zeroed, or NULL with *e set: too many, or no memory. */
struct disk_part *disk_add_part(struct disk *disk, struct err *e);
int disk_add_region(struct disk *disk, uint64_t off, uint64_t len, struct err *e);

/* Add to the note, after "; ". */
void disk_note(struct disk *disk, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Does this sector 0, which has the signature, say that the disk has a GPT? */
bool mbr_is_protective(const uint8_t *sector);
/* Is it a table at all, and not a boot sector of a file system or boot code alone? */
bool mbr_is_table(const uint8_t *sector);

/* The types that everybody takes for extended partitions. */
bool mbr_is_extended(uint8_t type);
/* The CRC-32 of a GPT's headers and entries. */
uint32_t disk_crc32(const uint8_t *p, size_t len);

/* Fill `disk` in; `sector` is sector 0. */
int disk_read_mbr(struct dev *d, const uint8_t *sector, struct disk *disk, struct err *e);
int disk_read_gpt(struct dev *d, struct disk *disk, struct err *e);

#endif
