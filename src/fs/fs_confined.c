/*
 * The child reads the device through its parent (device/dev_remote.h) and sends back the report
 * and the encoded map. What comes back is checked like any other hostile input.
 */
#include "fs/fs_confined.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/mem.h"
#include "device/dev_remote.h"

#define RESULT_MAX_BYTES ((size_t)1 << 30)

struct fs_limits fs_limits_default(void)
{
	return (struct fs_limits){ .memory_bytes = 8 * GIB, .cpu_s = 600, .idle_ms = 60000 };
}

/* In the child. Whatever fails here ends it without a result, which the parent reports. */
static void child(int fd, void *shared, void *user)
{
	struct dev *like = user, *d = NULL;
	struct fs_report r = { 0 };
	struct map *m = NULL;
	uint8_t *bytes = NULL, *result;
	size_t len;

	if (dev_open_remote(like, fd, shared, &d, NULL) < 0 || fs_map(d, &m, &r, NULL) < 0 ||
		map_encode(m, &bytes, &len, NULL) < 0)
		_exit(1);
	result = malloc(sizeof(r) + len);
	if (result == NULL)
		_exit(1);
	memcpy(result, &r, sizeof(r));
	memcpy(result + sizeof(r), bytes, len);
	if (remote_send_result(fd, shared, result, sizeof(r) + len, NULL) < 0)
		_exit(1);
	/* Nothing is freed: the process ends. */
}

void fs_tame(char *s, size_t cap)
{
	s[cap - 1] = '\0';
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7F)
			*s = '?';
}

static int take_result(const struct dev *d, const uint8_t *p, size_t len, struct map **out,
	struct fs_report *r, struct err *e)
{
	struct map *m = NULL;
	uint8_t used_only;
	int rc;

	if (len < sizeof(*r))
		return err_set(e, ERR_INTERNAL, 0, "its result is too short");
	memcpy(r, p, sizeof(*r));
	/* A bool may hold nothing but 0 and 1. */
	memcpy(&used_only, p + offsetof(struct fs_report, used_only), 1);
	r->used_only = used_only != 0;
	fs_tame(r->type, sizeof(r->type));
	fs_tame(r->label, sizeof(r->label));
	fs_tame(r->uuid, sizeof(r->uuid));
	fs_tame(r->reason, sizeof(r->reason));
	fs_tame(r->note, sizeof(r->note));
	rc = map_decode(p + sizeof(*r), len - sizeof(*r), &m, e);
	if (rc < 0)
		return rc;
	if (map_size(m) != dev_size(d) || map_bytes(m, MAP_NONE) != 0) {
		map_free(m);
		return err_set(e, ERR_INTERNAL, 0, "its map does not cover the device");
	}
	r->free_bytes = map_bytes(m, MAP_FREE);
	*out = m;
	return 0;
}

/* R2: what can't be known is data, and the report says why. */
static int all_blocks(struct dev *d, const char *why, struct map **out, struct fs_report *r,
	struct err *e)
{
	char type[sizeof(r->type)], label[sizeof(r->label)], uuid[sizeof(r->uuid)];

	memcpy(type, r->type, sizeof(type));
	memcpy(label, r->label, sizeof(label));
	memcpy(uuid, r->uuid, sizeof(uuid));
	memset(r, 0, sizeof(*r));
	memcpy(r->type, type, sizeof(type));
	memcpy(r->label, label, sizeof(label));
	memcpy(r->uuid, uuid, sizeof(uuid));
	snprintf(r->reason, sizeof(r->reason), "%s", why);
	*out = map_new_full(dev_size(d));
	return *out == NULL ? err_nomem(e) : 0;
}

int fs_map_confined(struct dev *d, const struct fs_limits *limits, struct map **out,
	struct fs_report *r, struct err *e)
{
	struct confine_limits l = { .memory_bytes = limits->memory_bytes, .cpu_s = limits->cpu_s };
	struct remote_limits serve = { .max_bytes = RESULT_MAX_BYTES,
		.idle_ms = limits->idle_ms,
		.stop = limits->stop,
		.user = limits->user };
	struct confined *c = NULL;
	struct err why = { 0 };
	char how[96] = "", reason[sizeof(r->reason)];
	uint8_t *result = NULL;
	size_t len = 0;
	int rc;

	memset(r, 0, sizeof(*r));
	rc = confine_start(child, d, REMOTE_SHARED_BYTES, &l, &c, &why);
	if (rc == 0)
		rc = remote_serve(confined_fd(c), confined_shared(c), d, &serve, &result, &len,
			&why);
	if (rc == 0)
		rc = take_result(d, result, len, out, r, &why);
	confine_end(c, how, sizeof(how));
	free(result);
	if (rc == 0)
		return 0;
	if (rc == -ERR_CANCELLED)
		return err_set(e, ERR_CANCELLED, 0, "%s: %s", dev_name(d), why.msg);
	snprintf(reason, sizeof(reason), "the file-system parser failed: %.120s (%s)", why.msg,
		how);
	return all_blocks(d, reason, out, r, e);
}
