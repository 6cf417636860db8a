/*
 * File trees on any bytes: no crash, no hang, bounded memory; and what they say is well formed:
 * names that can be names, no more bytes than were asked for, links that end. The input is that of
 * tests/fuzz/volume_pieces.h. Seeds are made by tests/fuzz/files_seeds.sh.
 */
#include <stdlib.h>

#include "files/files_ops.h"
#include "fuzz/volume_pieces.h"

#define MAX_BYTES ((uint64_t)8 * MIB)
#define MAX_NODES 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* As in fs_ntfs_fuzz.c: libntfs-3g forgets some of what it refuses. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libntfs-3g\n";
}

/* Nodes to look at, each once or more; entries past the end are dropped. */
struct queue {
	uint64_t ids[MAX_NODES];
	size_t count;
};

static int enqueue(void *user, const char *name, size_t len, uint64_t id, enum files_type type,
	struct err *e)
{
	struct queue *q = user;

	(void)e;
	must(files_name_ok(name, len) && name[len] == '\0' && type < FILES_TYPES);
	for (size_t i = 0; i < q->count; i++)
		if (q->ids[i] == id)
			return 0;
	if (q->count < MAX_NODES)
		q->ids[q->count++] = id;
	return 0;
}

static void visit(struct files *f, uint64_t id, struct queue *q)
{
	static uint8_t buf[100000];
	char target[FILES_LINK_MAX_BYTES + 1];
	struct files_node n;
	struct err e = { 0 };
	size_t got;

	if (files_stat(f, id, &n, &e) < 0) {
		must(e.code != 0 && e.msg[0] != '\0');
		return;
	}
	must(n.id == id && n.type != FILES_UNKNOWN && n.type < FILES_TYPES);
	must(n.size <= INT64_MAX && n.mode <= 07777 && n.modified.ns < 1000000000);
	if (n.type == FILES_DIRECTORY)
		files_list(f, id, enqueue, q, &e);
	if (n.type == FILES_LINK && files_link(f, id, target, &got, &e) == 0)
		must(got > 0 && got <= FILES_LINK_MAX_BYTES && strlen(target) == got);
	if (n.type != FILES_REGULAR)
		return;
	if (files_read(f, id, 0, buf, sizeof(buf), &got, &e) == 0)
		must(got == min_u64(n.size, sizeof(buf)));
	if (files_read(f, id, n.size / 2, buf, 1000, &got, &e) == 0)
		must(got == min_u64(n.size - n.size / 2, 1000));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dev *d = volume_of(data, size, MAX_BYTES);
	const struct files_ops *row = &files_ext;
	struct files *f = NULL;
	struct queue q = { .count = 0 };
	struct err e = { 0 };
	uint8_t boot[8];

	if (d == NULL)
		return 0;
	if (dev_size(d) >= sizeof(boot) && dev_read(d, 0, boot, sizeof(boot), NULL) == 0 &&
		memcmp(boot + 3, "NTFS ", 5) == 0)
		row = &files_ntfs;
	if (row->open(d, &f, &e) < 0) {
		must(e.code != 0 && e.msg[0] != '\0');
		dev_close(d);
		return 0;
	}
	q.ids[q.count++] = files_info(f)->root;
	for (size_t i = 0; i < q.count; i++)
		visit(f, q.ids[i], &q);
	files_close(f);
	dev_close(d);
	return 0;
}
