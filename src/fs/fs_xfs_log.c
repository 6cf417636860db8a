/*
 * The log of XFS: where it begins and ends, and its records. [XFS] "Journaling Log", struct
 * xlog_rec_header; the way of finding the ends is that of a mount (fs/xfs/xfs_log_recover.c in
 * Linux, xlog_find_head and xlog_find_tail), so that clean here is clean there.
 *
 * The log is a ring of sectors. Each carries the number of the lap (cycle) in which it was written,
 * in its first four bytes (in a record's header, behind the magic number); what was there before is
 * kept in the record's header. The head is where the number falls by one.
 *
 *   record header, a sector, big-endian:
 *   0x00 0xfeedbabe   0x10 its LSN (cycle, sector)   0x28 operations     0x130 UUID
 *   0x04 cycle        0x18 LSN of the tail           0x2c first words    0x140 size of the log's
 *   0x08 version      0x20 checksum (little-endian)       of 64 sectors        buffers
 *   0x0c length       0x24 sector before             0x12c byte order
 *   more headers follow when the buffers are larger than 32 KiB: 0x00 cycle, 0x04 64 first words
 *
 * Up to eight records were being written when the machine (or a snapshot) stopped, in any order: a
 * hole or a torn record among the last eight ends the log there. Everywhere else nothing is
 * forgiven: from the tail on each record must begin where the last one ended, and its checksum fit.
 */
#include <inttypes.h>

#include "adapter/ext2fs_io.h" /* its CRC32C */
#include "fs/fs_xfs_int.h"

#define RECORD_MAGIC 0xfeedbabeu
#define VERSION_2 2
#define FORMAT_LITTLE_ENDIAN 1
#define MAX_RECORD_BYTES (256 * (uint32_t)KIB)
#define WORDS_PER_HEADER 64 /* sectors that a header has the first words of: 32 KiB */
#define OFF_CHECKSUM 0x20
#define OFF_WORDS 0x2c
#define HEADER_CHECKSUM_BYTES 328 /* struct xlog_rec_header where a 64-bit number aligns to 8 */
#define HEADER_CHECKSUM_BYTES_PACKED 324 /* and where to 4 */
#define MORE_HEADER_CHECKSUM_BYTES 260	 /* struct xlog_rec_ext_header */
#define MAX_HEADERS (MAX_RECORD_BYTES / (WORDS_PER_HEADER * XFS_SECTOR))
#define MAX_IN_FLIGHT 8 /* XLOG_MAX_ICLOGS */
#define MAX_RECORD_SECTORS (MAX_HEADERS + MAX_RECORD_BYTES / XFS_SECTOR)
#define WINDOW_SECTORS (MAX_IN_FLIGHT * (MAX_RECORD_BYTES / XFS_SECTOR)) /* XLOG_TOTAL_REC_SHIFT */
#define OP_HEAD 12
#define OP_FLAGS 9
#define OP_UNMOUNT 0x20

struct header {
	uint32_t cycle, headers, sectors; /* sectors of data, behind the headers */
	uint32_t len, ops, format, checksum;
	uint64_t lsn, tail_lsn;
};

static int bad(struct err *e, uint32_t at, const char *what)
{
	return err_set(e, ERR_FORMAT, 0, "log: %s (at sector %" PRIu32 ")", what, at);
}

/* `add` sectors further, or, with sectors - n, n sectors back. */
static uint32_t step(const struct xfs_log *log, uint32_t at, uint32_t add)
{
	return (uint32_t)(((uint64_t)at + add) % log->sectors);
}

static uint32_t back(const struct xfs_log *log, uint32_t at, uint32_t by)
{
	return step(log, at, log->sectors - by);
}

/* Sectors from `from` on to `to`. */
static uint32_t distance(const struct xfs_log *log, uint32_t from, uint32_t to)
{
	return step(log, to, log->sectors - from);
}

/* `count` sectors, at most all of them, going round. */
static int read_ring(const struct xfs_log *log, uint32_t at, uint32_t count, uint8_t *buf,
	struct err *e)
{
	uint32_t first = (uint32_t)min_u64(count, log->sectors - at);
	int rc = dev_read(log->dev, log->off + (uint64_t)at * XFS_SECTOR, buf,
		(size_t)first * XFS_SECTOR, e);

	if (rc == 0 && first < count)
		rc = dev_read(log->dev, log->off, buf + (size_t)first * XFS_SECTOR,
			(size_t)(count - first) * XFS_SECTOR, e);
	return rc;
}

static uint32_t cycle_in(const uint8_t *sector)
{
	return get_be32(sector) == RECORD_MAGIC ? get_be32(sector + 4) : get_be32(sector);
}

static int read_cycle(const struct xfs_log *log, uint32_t at, uint32_t *cycle, struct err *e)
{
	uint8_t sector[XFS_SECTOR];
	int rc = read_ring(log, at, 1, sector, e);

	if (rc == 0)
		*cycle = cycle_in(sector);
	return rc;
}

/* ---- Records ----------------------------------------------------------------------------- */

/* NULL, or what is wrong with a header that lies at sector `at`. */
static const char *decode_header(const struct xfs_log *log, uint32_t at, const uint8_t *p,
	struct header *h)
{
	uint32_t size = get_be32(p + 0x140);

	*h = (struct header){
		.cycle = get_be32(p + 4),
		.len = get_be32(p + 0x0c),
		.lsn = get_be64(p + 0x10),
		.tail_lsn = get_be64(p + 0x18),
		.checksum = get_le32(p + OFF_CHECKSUM),
		.ops = get_be32(p + 0x28),
		.format = get_be32(p + 0x12c),
	};
	if (get_be32(p) != RECORD_MAGIC)
		return "no record begins here";
	if (get_be32(p + 8) != VERSION_2)
		return "a record has an unknown version";
	if (h->len == 0 || h->len > MAX_RECORD_BYTES || size > MAX_RECORD_BYTES)
		return "a record has a wrong length";
	if (memcmp(p + 0x130, log->super->uuid, XFS_UUID_BYTES) != 0)
		return "a record is another file system's";
	if (h->lsn != ((uint64_t)h->cycle << 32 | at))
		return "a record is from another place";
	if ((uint32_t)h->tail_lsn >= log->sectors || h->tail_lsn > h->lsn ||
		(h->tail_lsn >> 32) + 1 < h->cycle)
		return "a record names a wrong tail";
	h->sectors = (uint32_t)div_up(h->len, XFS_SECTOR);
	h->headers = (uint32_t)max_u64(1, div_up(size, WORDS_PER_HEADER * XFS_SECTOR));
	if (h->sectors > h->headers * WORDS_PER_HEADER)
		return "a record is longer than its headers allow";
	if (h->headers + h->sectors > log->sectors)
		return "a record is longer than the log";
	return NULL;
}

/* CRC32C of a record as it lies in the log, `p` its headers and data. */
static uint32_t checksum_of(const struct header *h, const uint8_t *p, size_t header_bytes)
{
	static const uint8_t zeros[4];
	uint32_t with_data = (uint32_t)div_up(h->len, WORDS_PER_HEADER * XFS_SECTOR);
	uint32_t crc = ext2fs_crc32c_le(~0u, p, OFF_CHECKSUM);

	crc = ext2fs_crc32c_le(crc, zeros, sizeof(zeros));
	crc = ext2fs_crc32c_le(crc, p + OFF_CHECKSUM + 4, header_bytes - OFF_CHECKSUM - 4);
	for (uint32_t i = 1; i < with_data; i++)
		crc = ext2fs_crc32c_le(crc, p + (size_t)i * XFS_SECTOR, MORE_HEADER_CHECKSUM_BYTES);
	return ~ext2fs_crc32c_le(crc, p + (size_t)h->headers * XFS_SECTOR, h->len);
}

/* mkfs and repair write records without a checksum. */
static bool checksum_fits(const struct header *h, const uint8_t *p)
{
	return h->checksum == 0 || h->checksum == checksum_of(h, p, HEADER_CHECKSUM_BYTES) ||
		h->checksum == checksum_of(h, p, HEADER_CHECKSUM_BYTES_PACKED);
}

/* Every sector of the record is of the lap that the header says, or of the next one behind the
 * log's end; take the stamps out. */
static bool unstamp(const struct xfs_log *log, uint32_t at, const struct header *h, uint8_t *p)
{
	for (uint32_t i = 1; i < h->headers + h->sectors; i++) {
		uint8_t *sector = p + (size_t)i * XFS_SECTOR;
		uint32_t lap = h->cycle + ((uint64_t)at + i >= log->sectors);
		uint32_t k = i - h->headers;
		size_t word = (size_t)(k % WORDS_PER_HEADER) * 4;

		if (get_be32(sector) != lap)
			return false;
		if (i < h->headers)
			continue;
		if (k < WORDS_PER_HEADER)
			memcpy(sector, p + OFF_WORDS + word, 4);
		else
			memcpy(sector, p + (size_t)(k / WORDS_PER_HEADER) * XFS_SECTOR + 4 + word,
				4);
	}
	return true;
}

/*
 * Read the record at `at` into buf (MAX_RECORD_SECTORS). *fault is NULL or what is wrong with it;
 * only a device that fails is an error.
 */
static int read_record(const struct xfs_log *log, uint32_t at, uint8_t *buf, struct header *h,
	const char **fault, struct err *e)
{
	int rc = read_ring(log, at, 1, buf, e);

	if (rc < 0)
		return rc;
	*fault = decode_header(log, at, buf, h);
	if (*fault)
		return 0;
	rc = read_ring(log, at, h->headers + h->sectors, buf, e);
	if (rc < 0)
		return rc;
	if (!checksum_fits(h, buf))
		*fault = "a record's checksum is wrong";
	else if (!unstamp(log, at, h, buf))
		*fault = "a record is torn";
	return 0;
}

/* ---- The head ---------------------------------------------------------------------------- */

/* The first sector in [from, from + count) with this cycle; from + count when there is none. */
static int find_cycle(const struct xfs_log *log, uint32_t from, uint32_t count, uint32_t cycle,
	uint32_t *out, struct err *e)
{
	uint8_t *buf = malloc((size_t)WINDOW_SECTORS * XFS_SECTOR);
	int rc = buf ? read_ring(log, from, count, buf, e) : err_nomem(e);

	*out = from + count;
	for (uint32_t i = count; i-- > 0 && rc == 0;)
		if (cycle_in(buf + (size_t)i * XFS_SECTOR) == cycle)
			*out = from + i;
	free(buf);
	return rc;
}

/*
 * Where the cycle number falls, by bisection; then, as sectors of the lap before may be left in
 * what was written last, the first of them.
 */
static int find_lap_end(const struct xfs_log *log, uint32_t *head, struct err *e)
{
	uint32_t low = 0, high = log->sectors - 1, first, last, cycle, old;
	uint32_t window = (uint32_t)min_u64(WINDOW_SECTORS, log->sectors);
	int rc = read_cycle(log, 0, &first, e);

	if (rc == 0)
		rc = read_cycle(log, high, &last, e);
	if (rc < 0)
		return rc;
	if (first == 0 || (last != first && last != first - 1))
		return bad(e, 0, "its begin and its end are not of successive laps");
	while (last != first && high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		rc = read_cycle(log, mid, &cycle, e);
		if (rc < 0)
			return rc;
		if (cycle == last)
			high = mid;
		else
			low = mid;
	}
	*head = last == first ? log->sectors : high;
	old = first - 1;
	if (*head < window && old != 0) {
		uint32_t from = log->sectors - (window - *head);

		/* A hole at the end of the log, in the lap before. */
		rc = find_cycle(log, from, window - *head, old - 1, &cycle, e);
		if (rc < 0 || cycle < log->sectors) {
			*head = cycle;
			return rc;
		}
	}
	low = *head > window ? *head - window : 0;
	return find_cycle(log, low, *head - low, old, head, e);
}

/* The nearest record header before `before`, not further than a record can be long. */
static int find_last_header(const struct xfs_log *log, uint32_t before, uint32_t *at, struct err *e)
{
	uint32_t window = (uint32_t)min_u64(MAX_RECORD_SECTORS, log->sectors);
	uint32_t from = back(log, before, window), i = window;
	uint8_t *buf = malloc((size_t)window * XFS_SECTOR);
	int rc = buf ? read_ring(log, from, window, buf, e) : err_nomem(e);

	while (rc == 0 && i > 0 && get_be32(buf + (size_t)(i - 1) * XFS_SECTOR) != RECORD_MAGIC)
		i--;
	free(buf);
	if (rc == 0 && i == 0)
		rc = bad(e, before, "no record before its head");
	*at = step(log, from, i ? i - 1 : 0);
	return rc;
}

/*
 * Set the head behind the last record, whose header is put in *at; one that was not written to its
 * end is left out.
 */
static int find_head(struct xfs_log *log, uint8_t *buf, uint32_t *at, struct err *e)
{
	struct header h;
	const char *fault;
	uint32_t head = 0;
	int rc = find_lap_end(log, &head, e);

	head %= log->sectors;
	if (rc == 0)
		rc = find_last_header(log, head, at, e);
	if (rc == 0)
		rc = read_ring(log, *at, 1, buf, e);
	if (rc < 0)
		return rc;
	log->head = head;
	fault = decode_header(log, *at, buf, &h);
	if (fault)
		return bad(e, *at, fault);
	if (step(log, *at, h.headers + h.sectors) == head)
		return 0;
	log->head = *at;
	return find_last_header(log, log->head, at, e);
}

/* ---- The tail ---------------------------------------------------------------------------- */

/* An unmount record that ends at the head: there is nothing to recover. */
static bool is_unmount(const struct xfs_log *log, uint32_t at, const struct header *h,
	const uint8_t *buf)
{
	const uint8_t *data = buf + (size_t)h->headers * XFS_SECTOR;

	return step(log, at, h->headers + h->sectors) == log->head && h->ops == 1 &&
		h->len >= OP_HEAD && (data[OP_FLAGS] & OP_UNMOUNT);
}

struct check {
	const struct xfs_log *log;
	uint8_t *buf;
	uint32_t at, cycle, records, good; /* good: the last sound record */
	const char *fault;
};

/* Walk from the tail to the head; stops at a record that is not sound, with c->fault set. */
static int check_records(struct check *c, struct err *e)
{
	const struct xfs_log *log = c->log;
	uint32_t left = distance(log, log->tail, log->head);
	struct header h;

	c->at = c->good = log->tail;
	c->cycle = log->tail_cycle;
	c->fault = left == 0 ? "the log is full, or its tail is its head" : NULL;
	for (c->records = 0; left > 0; c->records++) {
		int rc = read_record(log, c->at, c->buf, &h, &c->fault, e);

		if (rc < 0)
			return rc;
		if (!c->fault && h.headers + h.sectors > left)
			c->fault = "a record reaches over the head";
		if (!c->fault && h.cycle != c->cycle)
			c->fault = "a record is of another lap";
		if (c->fault)
			return 0;
		c->good = c->at;
		c->at = step(log, c->at, h.headers + h.sectors);
		c->cycle += c->at < c->good;
		left -= h.headers + h.sectors;
	}
	return 0;
}

/* Records that begin in [from, head), as far as their headers say so; more than were in flight when
 * there may be more. */
static int count_records(const struct xfs_log *log, uint32_t from, uint32_t *count, struct err *e)
{
	uint32_t left = distance(log, from, log->head);
	uint8_t sector[XFS_SECTOR];
	int rc = 0;

	*count = left > MAX_IN_FLIGHT * MAX_RECORD_SECTORS ? MAX_IN_FLIGHT + 1 : 0;
	for (; left > 0 && *count <= MAX_IN_FLIGHT && rc == 0; left--) {
		rc = read_ring(log, from, 1, sector, e);
		*count += get_be32(sector) == RECORD_MAGIC;
		from = step(log, from, 1);
	}
	return rc;
}

/*
 * Set tail and clean from the record at `at`, the last one before the head. Of a torn one the
 * header alone must be right.
 */
static int take_tail(struct xfs_log *log, uint32_t at, uint8_t *buf, struct err *e)
{
	struct header h;
	const char *fault, *header_fault;
	int rc = read_record(log, at, buf, &h, &fault, e);

	if (rc < 0)
		return rc;
	header_fault = decode_header(log, at, buf, &h);
	if (header_fault)
		return bad(e, at, header_fault);
	log->tail = (uint32_t)h.tail_lsn;
	log->tail_cycle = (uint32_t)(h.tail_lsn >> 32);
	log->newest = (uint64_t)(h.cycle + (log->head <= at)) << 32 | log->head;
	log->clean = !fault && is_unmount(log, at, &h, buf);
	return 0;
}

/* The last record says where the tail is, unless it turns out to be torn; then the one before. */
static int find_tail(struct xfs_log *log, uint32_t at, uint8_t *buf, struct err *e)
{
	struct check c = { .log = log, .buf = buf };
	uint32_t torn;
	int rc = take_tail(log, at, buf, e);

	if (rc < 0 || log->clean)
		return rc;
	rc = check_records(&c, e);
	if (rc < 0 || !c.fault)
		return rc;
	rc = count_records(log, c.at, &torn, e);
	if (rc < 0)
		return rc;
	if (c.records == 0 || torn > MAX_IN_FLIGHT)
		return bad(e, c.at, c.fault);
	log->head = c.at;
	rc = take_tail(log, c.good, buf, e);
	if (rc < 0 || log->clean)
		return rc;
	rc = check_records(&c, e);
	return rc == 0 && c.fault ? bad(e, c.at, c.fault) : rc;
}

int fs_xfs_log_open(struct dev *d, const struct xfs_super *s, struct xfs_log *out, struct err *e)
{
	uint8_t *buf = malloc((size_t)MAX_RECORD_SECTORS * XFS_SECTOR);
	uint32_t at;
	int rc;

	*out = (struct xfs_log){
		.dev = d,
		.super = s,
		.off = s->log_block * s->block_bytes,
		.sectors = (uint32_t)((uint64_t)s->log_blocks * s->block_bytes / XFS_SECTOR),
	};
	rc = buf ? find_head(out, buf, &at, e) : err_nomem(e);
	if (rc == 0)
		rc = find_tail(out, at, buf, e);
	free(buf);
	return rc;
}

int fs_xfs_log_read(const struct xfs_log *log, fs_xfs_record_fn fn, void *user, struct err *e)
{
	uint8_t *buf = malloc((size_t)MAX_RECORD_SECTORS * XFS_SECTOR);
	uint32_t at = log->tail, left = distance(log, log->tail, log->head);
	int rc = buf ? 0 : err_nomem(e);
	const char *fault;
	struct header h;

	while (left > 0 && rc == 0) {
		rc = read_record(log, at, buf, &h, &fault, e);
		if (rc == 0 && !fault && h.format != FORMAT_LITTLE_ENDIAN)
			fault = "it was written by a machine with another byte order";
		if (rc == 0 && (fault || h.headers + h.sectors > left))
			rc = bad(e, at, fault ? fault : "a record reaches over the head");
		if (rc < 0)
			break;
		rc = fn(user,
			&(struct xfs_record){ .lsn = h.lsn,
				.ops = h.ops,
				.len = h.len,
				.data = buf + (size_t)h.headers * XFS_SECTOR },
			e);
		at = step(log, at, h.headers + h.sectors);
		left -= h.headers + h.sectors;
	}
	free(buf);
	return rc;
}
