/*
 * A reply is a head and, when the head says success, one body:
 *
 *   head   code 4 (0, or an enum err_code), message length 2, message
 *   info   type 32, note 256 (both end in a zero byte), 5 numbers of 8: root, block_bytes,
 *          size_bytes, free_bytes, nodes
 *   node   5 numbers of 8: id, type, size, allocated_bytes, links; 4 of 4: mode, has_owner, uid,
 *          gid; 3 times of 8 + 4
 *   list   each: id 8, type 1, length 2, name
 *   bytes  the rest
 */
#include "files/files_wire.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "files/files_ops.h"

#define HEAD_BYTES 6
#define INFO_NUMBERS 5
#define NODE_BYTES (5 * 8 + 4 * 4 + 3 * 12)
#define ENTRY_BYTES 11
#define MODE_MAX 07777
#define NS_MAX 1000000000

/* ---- Requests ---- */

void files_request_encode(const struct files_request *r, uint8_t *out)
{
	put_le64(out, r->op);
	put_le64(out + 8, r->id);
	put_le64(out + 16, r->off);
	put_le64(out + 24, r->len);
}

bool files_request_decode(const uint8_t *p, size_t n, struct files_request *out)
{
	if (n != FILES_REQUEST_BYTES || get_le64(p) < FILES_OPEN || get_le64(p) >= FILES_OPS ||
		get_le64(p + 24) > FILES_READ_MAX_BYTES)
		return false;
	out->op = (enum files_op)get_le64(p);
	out->id = get_le64(p + 8);
	out->off = get_le64(p + 16);
	out->len = get_le64(p + 24);
	return true;
}

/* ---- Encoding ---- */

static uint8_t *grow(struct files_reply *r, size_t more)
{
	uint8_t *p;

	if (more > FILES_REPLY_MAX_BYTES - r->len)
		return NULL;
	if (more > r->room - r->len) {
		size_t room = (size_t)max_u64(2 * r->room, r->len + more);

		p = realloc(r->bytes, room);
		if (p == NULL)
			return NULL;
		r->bytes = p;
		r->room = room;
	}
	p = r->bytes + r->len;
	r->len += more;
	return p;
}

int files_reply_begin(struct files_reply *r, int rc, const struct err *e)
{
	size_t len = rc < 0 ? strnlen(e->msg, sizeof(e->msg) - 1) : 0;
	uint8_t *p;

	r->len = 0;
	p = grow(r, HEAD_BYTES + len);
	if (p == NULL)
		return err_nomem(NULL);
	put_le32(p, (uint32_t)-rc);
	put_le16(p + 4, (uint16_t)len);
	if (len > 0)
		memcpy(p + HEAD_BYTES, e->msg, len);
	return 0;
}

int files_reply_info(struct files_reply *r, const struct files_info *i)
{
	const uint64_t numbers[INFO_NUMBERS] = { i->root, i->block_bytes, i->size_bytes,
		i->free_bytes, i->nodes };
	uint8_t *p = grow(r, sizeof(i->type) + sizeof(i->note) + sizeof(numbers));

	if (p == NULL)
		return err_nomem(NULL);
	memcpy(p, i->type, sizeof(i->type));
	memcpy(p + sizeof(i->type), i->note, sizeof(i->note));
	p += sizeof(i->type) + sizeof(i->note);
	for (size_t k = 0; k < INFO_NUMBERS; k++)
		put_le64(p + 8 * k, numbers[k]);
	return 0;
}

static uint8_t *put_time(uint8_t *p, struct files_time t)
{
	put_le64(p, (uint64_t)t.s);
	put_le32(p + 8, t.ns);
	return p + 12;
}

int files_reply_node(struct files_reply *r, const struct files_node *n)
{
	uint8_t *p = grow(r, NODE_BYTES);

	if (p == NULL)
		return err_nomem(NULL);
	put_le64(p, n->id);
	put_le64(p + 8, n->type);
	put_le64(p + 16, n->size);
	put_le64(p + 24, n->allocated_bytes);
	put_le64(p + 32, n->links);
	put_le32(p + 40, n->mode);
	put_le32(p + 44, n->has_owner);
	put_le32(p + 48, n->uid);
	put_le32(p + 52, n->gid);
	p = put_time(p + 56, n->modified);
	p = put_time(p, n->changed);
	put_time(p, n->accessed);
	return 0;
}

int files_reply_entry(struct files_reply *r, const char *name, size_t len, uint64_t id,
	enum files_type type, struct err *e)
{
	uint8_t *p = grow(r, ENTRY_BYTES + len);

	if (p == NULL)
		return err_set(e, ERR_FORMAT, 0,
			"a directory with names of more than %zu MiB, or too little memory",
			FILES_REPLY_MAX_BYTES >> 20);
	put_le64(p, id);
	p[8] = (uint8_t)type;
	put_le16(p + 9, (uint16_t)len);
	memcpy(p + ENTRY_BYTES, name, len);
	return 0;
}

int files_reply_bytes(struct files_reply *r, const void *bytes, size_t len)
{
	uint8_t *p = grow(r, len);

	if (p == NULL)
		return err_nomem(NULL);
	if (len > 0)
		memcpy(p, bytes, len);
	return 0;
}

/* ---- Decoding ---- */

static int wrong(struct err *e, const char *what)
{
	return err_set(e, ERR_INTERNAL, 0, "the file-tree parser sent nonsense: %s", what);
}

static const uint8_t *take(struct files_cursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (n > c->left)
		return NULL;
	c->p += n;
	c->left -= n;
	return p;
}

/* Text from a hostile process holds nothing that a terminal obeys. */
static void copy_text(char *out, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = p[i] < ' ' || p[i] == 0x7f ? '?' : (char)p[i];
	out[len] = '\0';
}

int files_decode_begin(struct files_cursor *c, const uint8_t *p, size_t n, struct err *e)
{
	const uint8_t *head, *text;
	char message[sizeof(e->msg)];
	size_t len;
	uint32_t code;

	*c = (struct files_cursor){ .p = p, .left = n };
	head = take(c, HEAD_BYTES);
	if (head == NULL)
		return wrong(e, "a reply without a head");
	code = get_le32(head);
	len = get_le16(head + 4);
	text = take(c, len);
	if (text == NULL || len >= sizeof(message))
		return wrong(e, "the length of a message");
	if (code == 0)
		return len == 0 ? 0 : wrong(e, "a message without an error");
	if (code != ERR_SOURCE && code != ERR_FORMAT && code != ERR_INTERNAL)
		return wrong(e, "an error code");
	copy_text(message, text, len);
	return err_set(e, (enum err_code)code, 0, "%s", message);
}

int files_decode_info(struct files_cursor *c, struct files_info *out, struct err *e)
{
	const uint8_t *type = take(c, sizeof(out->type)), *note = take(c, sizeof(out->note));
	const uint8_t *p = take(c, 8 * INFO_NUMBERS);

	if (type == NULL || note == NULL || p == NULL || c->left != 0)
		return wrong(e, "the length of the facts");
	copy_text(out->type, type, strnlen((const char *)type, sizeof(out->type) - 1));
	copy_text(out->note, note, strnlen((const char *)note, sizeof(out->note) - 1));
	out->root = get_le64(p);
	out->block_bytes = get_le64(p + 8);
	out->size_bytes = get_le64(p + 16);
	out->free_bytes = get_le64(p + 24);
	out->nodes = get_le64(p + 32);
	if (!is_power_of_two(out->block_bytes) || out->block_bytes > 2 * MIB)
		return wrong(e, "the size of a block");
	if (out->size_bytes > INT64_MAX || out->free_bytes > out->size_bytes)
		return wrong(e, "the size of the volume");
	return 0;
}

static bool get_time(const uint8_t *p, struct files_time *out)
{
	out->s = (int64_t)get_le64(p);
	out->ns = get_le32(p + 8);
	return out->ns < NS_MAX;
}

int files_decode_node(struct files_cursor *c, uint64_t id, struct files_node *out, struct err *e)
{
	const uint8_t *p = take(c, NODE_BYTES);

	if (p == NULL || c->left != 0)
		return wrong(e, "the length of a node");
	if (get_le64(p) != id)
		return wrong(e, "another node");
	if (get_le64(p + 8) == FILES_UNKNOWN || get_le64(p + 8) >= FILES_TYPES)
		return wrong(e, "the type of a node");
	if (get_le64(p + 16) > INT64_MAX || get_le64(p + 24) > INT64_MAX)
		return wrong(e, "the size of a node");
	if (get_le32(p + 40) > MODE_MAX || get_le32(p + 44) > 1)
		return wrong(e, "the mode of a node");
	out->id = id;
	out->type = (enum files_type)get_le64(p + 8);
	out->size = get_le64(p + 16);
	out->allocated_bytes = get_le64(p + 24);
	out->links = get_le64(p + 32);
	out->mode = get_le32(p + 40);
	out->has_owner = get_le32(p + 44) == 1;
	out->uid = get_le32(p + 48);
	out->gid = get_le32(p + 52);
	if (!get_time(p + 56, &out->modified) || !get_time(p + 68, &out->changed) ||
		!get_time(p + 80, &out->accessed))
		return wrong(e, "a time of a node");
	return 0;
}

int files_decode_list(struct files_cursor *c, files_list_fn fn, void *user, struct err *e)
{
	char name[FILES_NAME_MAX_BYTES + 1];
	int rc = 0;

	while (rc == 0 && c->left > 0) {
		const uint8_t *p = take(c, ENTRY_BYTES), *text;
		size_t len;

		if (p == NULL)
			return wrong(e, "the length of an entry");
		len = get_le16(p + 9);
		text = take(c, len);
		if (text == NULL || !files_name_ok((const char *)text, len))
			return wrong(e, "the name of an entry");
		if (p[8] >= FILES_TYPES)
			return wrong(e, "the type of an entry");
		memcpy(name, text, len);
		name[len] = '\0';
		rc = fn(user, name, len, get_le64(p), (enum files_type)p[8], e);
	}
	return rc;
}

int files_decode_bytes(struct files_cursor *c, void *out, size_t max, size_t *len, struct err *e)
{
	size_t n = c->left;

	if (n > max)
		return wrong(e, "more bytes than were asked for");
	if (n > 0)
		memcpy(out, take(c, n), n);
	*len = n;
	return 0;
}

int files_decode_link(struct files_cursor *c, char *out, size_t max, size_t *len, struct err *e)
{
	int rc = files_decode_bytes(c, out, max, len, e);

	if (rc < 0)
		return rc;
	out[*len] = '\0';
	if (*len == 0 || strlen(out) != *len)
		return wrong(e, "a link's target");
	return 0;
}
