/*
 * The regular files of a file system, with the bytes of the device that hold nothing but their
 * content; and who claims given bytes. For rules that leave the content of files out of an image.
 *
 * The promise: a range of a file consists of whole allocation units that this file alone uses, for
 * plain data: what is read there is what the file contains, neither packed nor encrypted. Where the
 * file system's state makes that less than certain, nothing is listed and the reason is the error.
 * fs_map must have made a map of the same device before.
 *
 * Called from one thread per device; nothing here writes (R1).
 */
#ifndef FS_FS_FILES_H
#define FS_FS_FILES_H

#include "device/dev.h"
#include "map/map.h"

/*
 * Why a file of several names has no ranges: it is listed by one of them, and who chooses it by
 * that one has not chosen what the others show.
 */
#define FS_FILES_OTHER_NAMES "it has other names"

/* Longer paths are not listed; a file in more pieces has none of its ranges told. */
#define FS_FILES_MAX_PATH 4095
#define FS_FILES_MAX_RANGES ((size_t)32768)

struct fs_file {
	const char *path; /* from the root, which is "/"; NTFS: UTF-8; else as it is on the disk */
	uint64_t size_bytes;
	uint64_t allocated_bytes;
	int64_t created_s; /* since 1970, UTC; 0: not known */
	int64_t modified_s;
	int64_t accessed_s;
	/* The content is a swap area with pages of so many bytes, whose header (the first 64 KiB)
	 * is in no range, so that it stays a swap area; 0: none, or not looked at. */
	uint32_t swap_page_bytes;
	char kept[96];		     /* why there are no ranges although there is content; or "" */
	const struct extent *ranges; /* bytes of the device, ascending, apart; kind MAP_DATA */
	size_t range_count;
};

/* A negative return ends the listing and is passed on. The file is valid during the call only. */
typedef int (*fs_file_fn)(void *user, const struct fs_file *f, struct err *e);

/* Every regular file of the root directory, or with `tree` of all directories; each file once. */
int fs_files(struct dev *d, bool tree, fs_file_fn fn, void *user, struct err *e);

/*
 * How many bytes inside the extents of `ranges` the files and the metadata of the file system
 * claim in all: bytes that two of them claim count twice. So ranges taken from fs_files are used by
 * nobody else when the answer is their sum. Refused when a journal to be replayed changes it.
 */
int fs_claims(struct dev *d, const struct map *ranges, uint64_t *bytes, struct err *e);

/* ---- Records, as a confined process hands them over ------------------------------------- */

#define FS_FILE_RECORD_MAX (56 + FS_FILES_MAX_PATH + 96 + 16 * FS_FILES_MAX_RANGES)

/* Into p, which has room for FS_FILE_RECORD_MAX; the bytes used. */
size_t fs_file_encode(const struct fs_file *f, uint8_t *p);

/* Where a decoded record's parts lie. */
struct fs_file_room {
	char path[FS_FILES_MAX_PATH + 1];
	struct extent ranges[FS_FILES_MAX_RANGES];
};

/*
 * One record from hostile bytes: its length, or negative. Refuses (ERR_FORMAT) what fs_file_encode
 * does not write: a path without a leading slash or with a zero in it, ranges that do not ascend,
 * touch, or leave the device of device_bytes. *f points into *room.
 */
int fs_file_decode(const uint8_t *p, size_t n, uint64_t device_bytes, struct fs_file_room *room,
	struct fs_file *f, struct err *e);

#endif
