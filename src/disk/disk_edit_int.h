/* What the files of the table share. */
#ifndef DISK_DISK_EDIT_INT_H
#define DISK_DISK_EDIT_INT_H

#include "base/mem.h"
#include "disk/disk_edit.h"
#include "disk/disk_int.h"

/* MBR: UEFI 2.10, table 5.1 and 5.2. */
#define MBR_DISK_ID_OFF 440
#define MBR_ENTRIES_OFF 446
#define MBR_ENTRY_BYTES 16
#define MBR_ENTRIES 4
#define MBR_MAGIC 0xAA55
#define MBR_TYPE_OFF 4
#define MBR_END_CHS_OFF 5
#define MBR_START_OFF 8
#define MBR_SIZE_OFF 12
#define MBR_TYPE_PROTECTIVE 0xEE

/* GPT header: UEFI 2.10, table 5.5. */
#define GPT_SIGNATURE "EFI PART"
#define GPT_HEADER_MIN_BYTES 92
#define GPT_HEADER_SIZE_OFF 12
#define GPT_HEADER_CRC_OFF 16
#define GPT_MY_LBA_OFF 24
#define GPT_ALTERNATE_LBA_OFF 32
#define GPT_FIRST_USABLE_OFF 40
#define GPT_LAST_USABLE_OFF 48
#define GPT_DISK_GUID_OFF 56
#define GPT_ENTRIES_LBA_OFF 72
#define GPT_ENTRY_COUNT_OFF 80
#define GPT_ENTRY_SIZE_OFF 84
#define GPT_ENTRIES_CRC_OFF 88

/* GPT entry: UEFI 2.10, table 5.6. */
#define GPT_ENTRY_MIN_BYTES 128
#define GPT_ENTRY_GUID_OFF 16
#define GPT_ENTRY_START_OFF 32
#define GPT_ENTRY_END_OFF 40

/* Usual is 16 KiB of entries; a hostile header is not to ask for gigabytes. */
#define GPT_ENTRIES_MAX_BYTES (1 * MIB)

/* Of extended boot records: far more than any system shows, and an end to a loop. */
#define EBR_MAX 1024

/*
 * Some sectors in a row. `lost`: no part of the table until rebuild gives it a place (a copy of the
 * GPT that can't be read, or that the disk has no room for); its bytes mean nothing.
 */
struct piece {
	uint64_t off;
	size_t len;
	uint8_t *bytes;
	bool lost;
};

/* The pieces of a GPT, in disk_edit.pieces after the first sector. */
enum gpt_piece { GPT_PRIMARY = 1, GPT_PRIMARY_ENTRIES, GPT_BACKUP_ENTRIES, GPT_BACKUP, GPT_PIECES };

/* An extended boot record: piece i holds it, base is the byte offset of its extended partition. */
struct ebr {
	size_t piece;
	uint64_t base;
	size_t parent; /* entry of the MBR that is the extended partition */
};

struct disk_edit {
	enum disk_edit_kind kind;
	uint32_t sector;
	uint64_t size_bytes;
	struct piece *pieces; /* the first sector is the first */
	size_t count;
	struct ebr *ebrs;
	size_t ebr_count;
	bool primary_whole, backup_whole; /* GPT */
};

/*
 * Read one more piece; lengths are whole sectors. One that can't be read is an error, unless `lost`
 * is given: then it is there, zero, and *lost.
 */
int disk_edit_add_piece(struct disk_edit *t, struct dev *d, uint64_t off, uint64_t len, bool *lost,
	struct err *e);

int edit_gpt_load(struct disk_edit *t, struct dev *d, struct err *e);
int edit_gpt_fit(struct disk_edit *t, uint64_t size_bytes, struct err *e);
int edit_gpt_grow_last(struct disk_edit *t, struct disk_grown *grown, struct err *e);
int edit_gpt_new_ids(struct disk_edit *t, struct err *e);

int edit_mbr_load(struct disk_edit *t, struct dev *d, struct err *e);
int edit_mbr_fit(const struct disk_edit *t, uint64_t size_bytes, struct err *e);
int edit_mbr_grow_last(struct disk_edit *t, struct disk_grown *grown, struct err *e);

static inline uint8_t *edit_mbr_entry(uint8_t *sector, size_t i)
{
	return sector + MBR_ENTRIES_OFF + i * MBR_ENTRY_BYTES;
}

#endif
