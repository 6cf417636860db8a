/*
 * Any file as an image to be recovered, and as one to be gone on with. Both look for records in
 * the whole file. What is recovered accounts for every byte of the source; what is resumed ends at
 * a chunk, and is a file that can be resumed again, at the same place.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/dev.h"
#include "format/record_read.h"
#include "format/recover.h"
#include "reseal.h"

/* A lost chunk is some KiB that are written. */
#define CHUNKS_MOST 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		__builtin_trap();
}

/* The head of the file, when it has a small one. Its text is borrowed from *r. */
static bool has_head(struct dev *d, struct record *r, struct layout_head *head)
{
	struct err e;

	if (record_read(d, REC_HEAD, 0, NULL, r, &e) < 0)
		return false;
	if (layout_head_decode(r->body, r->body_len, head, &e) == 0 &&
		layout_chunk_count(head) <= CHUNKS_MOST)
		return true;
	record_free(r);
	return false;
}

struct lost {
	uint64_t bytes, end;
};

static void note(void *user, uint64_t off, uint64_t len, uint64_t file_off, const char *why)
{
	struct lost *l = user;

	(void)file_off;
	must(len > 0 && off >= l->end && why[0] != 0);
	l->bytes += len;
	l->end = off + len;
}

/* What the writer asks of HEAD's text. */
static bool is_object(const struct layout_head *h)
{
	return h->text_len >= 2 && h->text[0] == '{' && h->text[h->text_len - 1] == '}' &&
		memchr(h->text, 0, h->text_len) == NULL;
}

static void recover(struct dev *d, const struct layout_head *head)
{
	struct lost lost = { 0 };
	struct recover_hooks hooks = { .lost = note, .user = &lost };
	struct recover_report report;
	struct err e = { 0 };
	uint64_t sum = 0;
	int rc = recover_image(d, NULL, &hooks, &report, &e);

	if (rc == -ERR_FORMAT && (head->minor > VERSION_MINOR || head->ro_compat != 0))
		return;
	if (rc == -ERR_DAMAGED && !is_object(head))
		return;
	if (rc < 0) {
		fprintf(stderr, "%s\n", e.msg);
		must(false);
	}
	for (int k = 0; k < ENTRY_KINDS; k++)
		sum += report.totals.kind_bytes[k];
	must(sum == head->source_bytes && report.lost_bytes == lost.bytes);
	must(lost.end <= head->source_bytes);
}

/* Where it goes on; -1: it is refused. */
static int64_t resume(struct dev *d, const struct layout_head *with)
{
	struct layout_head head = *with;
	struct image_writer *w = NULL;
	struct err e = { 0 };
	int64_t at;
	int rc = image_writer_resume(d, &head, false, &w, &e);

	must(rc == 0 ||
		((rc == -ERR_DAMAGED || rc == -ERR_FORMAT || rc == -ERR_REFUSED) && e.msg[0] != 0));
	if (rc < 0)
		return -1;
	at = (int64_t)image_writer_offset(w);
	must((uint64_t)at % head.chunk_bytes == 0 || (uint64_t)at == head.source_bytes);
	image_writer_close(w);
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file f = { malloc(size + 1), size };
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct layout_head head;
	struct record r = { 0 };
	struct dev *d;
	struct err e;
	char path[32];
	int64_t at;

	must(f.p != NULL && fd >= 0);
	memcpy(f.p, data, size);
	reseal_all(&f);
	reseal(&f, 0);
	must(write(fd, f.p, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(dev_open(path, DEV_WRITE, &d, &e) == 0);
	if (has_head(d, &r, &head)) {
		recover(d, &head);
		at = resume(d, &head);
		if (at >= 0)
			must(resume(d, &head) == at);
		record_free(&r);
	}
	dev_close(d);
	close(fd);
	free(f.p);
	return 0;
}
