/*
 * For device_test.sh: one call of the device layer from the command line. The exit status is the
 * error's code, the message goes to stderr.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/aio.h"
#include "device/appender.h"
#include "device/identity.h"

static struct err e;

static int fail(void)
{
	fprintf(stderr, "%s: %s\n", err_word(e.code), e.msg);
	return e.code;
}

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* "wdxct": write, direct, exclusive, create, truncate. */
static unsigned flags_of(const char *letters)
{
	unsigned flags = 0;

	flags |= strchr(letters, 'w') != NULL ? DEV_WRITE : 0;
	flags |= strchr(letters, 'd') != NULL ? DEV_DIRECT : 0;
	flags |= strchr(letters, 'x') != NULL ? DEV_EXCLUSIVE : 0;
	flags |= strchr(letters, 'c') != NULL ? DEV_CREATE : 0;
	flags |= strchr(letters, 't') != NULL ? DEV_TRUNCATE : 0;
	return flags;
}

static int cmd_info(struct dev *d, char **argv)
{
	const struct dev_info *i = dev_info(d);

	(void)argv;
	printf("size=%" PRIu64 " logical=%u physical=%u align=%u writable=%d block=%d discard=%d\n",
		dev_size(d), i->logical_bytes, i->physical_bytes, i->align_bytes, i->writable,
		i->block_device, i->can_discard);
	return 0;
}

static void print_identity(const struct identity *id)
{
	printf("path=%s\nname=%s\nkind=%s\nparent=%s\n", id->path, id->name, id->kind, id->parent);
	printf("part_table=%s\ndisk_id=%s\npart_number=%u\npart_type=%s\npart_guid=%s\n",
		id->part_table, id->disk_id, id->part_number, id->part_type, id->part_guid);
	printf("part_name=%s\nfs_type=%s\nfs_label=%s\nfs_uuid=%s\n", id->part_name, id->fs_type,
		id->fs_label, id->fs_uuid);
	printf("start=%" PRIu64 "\nsize=%" PRIu64 "\nlogical=%u\nread_only=%d\n", id->start_bytes,
		id->size_bytes, id->logical_bytes, id->read_only);
}

static int cmd_identity(struct dev *d, char **argv)
{
	struct identity id;

	(void)argv;
	if (identity_of(d, &id, &e) < 0)
		return fail();
	print_identity(&id);
	return 0;
}

/* All devices, or the one of that name in full. */
static int cmd_list(const char *name)
{
	struct identity *list;
	size_t count;

	if (identity_list(&list, &count, &e) < 0)
		return fail();
	for (size_t i = 0; i < count; i++) {
		if (name == NULL)
			printf("%s\n", list[i].name);
		else if (strcmp(list[i].name, name) == 0)
			print_identity(&list[i]);
	}
	free(list);
	return 0;
}

static int cmd_holders(struct dev *d, char **argv)
{
	char lines[4096];
	bool in_use;

	(void)argv;
	if (identity_holders(d, lines, sizeof(lines), &in_use, &e) < 0)
		return fail();
	printf("in_use=%d\n%s%s", in_use, lines, lines[0] == '\0' ? "" : "\n");
	return 0;
}

/* One random request, done at once; the model agrees. */
static int model_step(struct aio *a, uint64_t size, uint8_t *model, uint8_t *buf, uint32_t *rnd)
{
	uint64_t off = next_random(rnd) % (size + 1);
	struct aio_req r = { .op = next_random(rnd) % 2 ? AIO_READ : AIO_WRITE, .buf = buf };

	if (next_random(rnd) % 2)
		off = align_down(off, 4096);
	r.off = off;
	r.len = (size_t)min_u64(next_random(rnd) % 100000, size - off);
	if (next_random(rnd) % 2)
		r.len = (size_t)align_down(r.len, 4096);
	if (r.op == AIO_WRITE) {
		for (size_t i = 0; i < r.len; i++)
			buf[i] = (uint8_t)next_random(rnd);
		memcpy(model + off, buf, r.len);
	}
	if (aio_queue(a, &r, &e) < 0)
		return fail();
	aio_wait(a, true);
	e = r.error;
	if (r.status < 0)
		return fail();
	if (r.op == AIO_READ && memcmp(buf, model + off, r.len) != 0) {
		fprintf(stderr, "wrong bytes in %zu at %" PRIu64 "\n", r.len, off);
		return 99;
	}
	return 0;
}

/* MODEL_FILE: random reads and writes; what must be on the device in the end goes into the file. */
static int cmd_model(struct dev *d, char **argv)
{
	uint64_t size = dev_size(d);
	uint8_t *model = mem_alloc_direct(size);
	uint8_t *buf = mem_alloc_direct(100000);
	uint32_t rnd = 4711;
	struct aio *a = NULL;
	FILE *out = fopen(argv[0], "w");
	int rc = 0;

	if (model == NULL || buf == NULL || out == NULL)
		return 99;
	if (dev_read(d, 0, model, size, &e) < 0 || aio_open(d, 1, &a, &e) < 0)
		rc = fail();
	for (int i = 0; i < 300 && rc == 0; i++)
		rc = model_step(a, size, model, buf, &rnd);
	aio_close(a);
	if (rc == 0 && dev_flush(d, true, &e) < 0)
		rc = fail();
	fwrite(model, 1, size, out);
	fclose(out);
	free(buf);
	free(model);
	return rc;
}

/* SIZE: append that many bytes (a pattern by offset) with commits; prints what was committed. */
static int cmd_append(struct dev *d, char **argv)
{
	uint64_t size = strtoull(argv[0], NULL, 10);
	struct appender *a;
	uint8_t buf[4096];
	int rc = 0;

	if (appender_open(d, 0, false, &a, &e) < 0)
		return fail();
	while (rc == 0 && appender_offset(a) < size) {
		uint64_t off = appender_offset(a);

		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)((off + i) % 251);
		rc = appender_append(a, buf, (size_t)min_u64(sizeof(buf), size - off), &e);
		if (rc == 0 && off % (MIB / 2) == 0 && appender_offset(a) % 4096 == 0)
			rc = appender_commit(a, &e);
	}
	if (rc == 0)
		rc = appender_finish(a, &e);
	printf("committed=%" PRIu64 "\n", appender_committed(a));
	appender_close(a);
	return rc < 0 ? fail() : 0;
}

static int cmd_zero(struct dev *d, char **argv)
{
	return dev_zero(d, strtoull(argv[0], NULL, 10), strtoull(argv[1], NULL, 10), &e) < 0
		? fail()
		: 0;
}

static int cmd_discard(struct dev *d, char **argv)
{
	return dev_discard(d, strtoull(argv[0], NULL, 10), strtoull(argv[1], NULL, 10), &e) < 0
		? fail()
		: 0;
}

static const struct {
	const char *name;
	int args;
	int (*run)(struct dev *d, char **argv);
} commands[] = {
	{ "info", 0, cmd_info },
	{ "identity", 0, cmd_identity },
	{ "holders", 0, cmd_holders },
	{ "model", 1, cmd_model },
	{ "append", 1, cmd_append },
	{ "zero", 2, cmd_zero },
	{ "discard", 2, cmd_discard },
};

/* device_tool list [NAME] | device_tool COMMAND PATH FLAGS [ARGS] */
int main(int argc, char **argv)
{
	struct dev *d;
	int rc = 2;

	if (argc >= 2 && strcmp(argv[1], "list") == 0)
		return cmd_list(argc > 2 ? argv[2] : NULL);
	if (argc < 4)
		return 2;
	if (dev_open(argv[2], flags_of(argv[3]), &d, &e) < 0)
		return fail();
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0 && argc == 4 + commands[i].args)
			rc = commands[i].run(d, argv + 4);
	dev_close(d);
	return rc;
}
