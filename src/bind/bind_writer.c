/* img.image's writer and read_head: lua/imgtool/meta/img_image.lua says what they do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bind/bind_int.h"
#include "format/record_read.h"
#include "format/writer.h"
#include "map/map.h"

struct writer_box {
	struct box box;
	struct layout_head head; /* text: in BOX_PIN_EXTRA, or the writer's own */
	struct job *job;	 /* the last one that was given this writer, until it is freed */
};

static void writer_free(struct box *b)
{
	image_writer_close(b->obj);
}

const struct box_class box_writer = { "img.Writer", "writer", BOX_WRITER, writer_free };

bool writer_is_busy(const struct box *b)
{
	const struct writer_box *w = (const struct writer_box *)b;

	return w->job != NULL && !job_has_ended(w->job);
}

const struct layout_head *writer_head(const struct box *b)
{
	return &((const struct writer_box *)b)->head;
}

void writer_set_job(struct box *writer, struct job *job)
{
	((struct writer_box *)writer)->job = job;
}

/* For everything that touches the C writer: it belongs to the job's thread while one runs. */
static struct image_writer *check_writer(lua_State *L)
{
	struct box *b = box_check(L, 1, &box_writer);

	if (writer_is_busy(b))
		luaL_error(L, "the writer is in use by a job that still runs");
	return b->obj;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* "01234567-89ab-cdef-0123-456789abcdef" */
static bool parse_uuid(const char *s, size_t len, uint8_t out[16])
{
	size_t n = 0;

	if (len != 36)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(s[i]), low;

		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (s[i] != '-')
				return false;
			continue;
		}
		low = hex_digit(s[++i]);
		if (high < 0 || low < 0)
			return false;
		out[n++] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static void read_head(const struct opts *o, struct layout_head *h)
{
	static const char *const words[] = { "xxh3-128", "sha256", NULL };
	static const enum hash_kind hashes[] = { HASH_XXH3, HASH_SHA256 };
	const char *s;
	size_t len;

	memset(h, 0, sizeof(*h));
	h->major = VERSION_MAJOR;
	h->minor = VERSION_MINOR;
	h->source_bytes = opts_need_u64(o, "source_bytes", 0, SOURCE_MAX_BYTES);
	h->chunk_bytes = opts_need_u64(o, "chunk_bytes", 1, CHUNK_MAX_BYTES);
	h->block_bytes = (uint32_t)opts_need_u64(o, "block_bytes", 1, BLOCK_MAX_BYTES);
	h->logical_bytes = (uint32_t)opts_need_u64(o, "logical_bytes", 1, UINT32_MAX);
	h->physical_bytes = (uint32_t)opts_need_u64(o, "physical_bytes", 1, UINT32_MAX);
	h->hash = hashes[opts_need_word(o, "hash", words)];
	h->created_s = opts_need_u64(o, "created_s", 0, UINT64_MAX);
	s = opts_need_string(o, "uuid", &len);
	if (!parse_uuid(s, len, h->uuid))
		opts_error(o, "uuid", "is no UUID in lower case");
	h->text = opts_need_string(o, "text", &len);
	if (len > HEAD_MAX_BODY_BYTES - HEAD_FIXED_BYTES)
		opts_error(o, "text", "is too long");
	h->text_len = (uint32_t)len;
}

/* Copy the head's text into a string that the handle on top of the stack keeps. */
static void pin_text(lua_State *L, struct layout_head *h)
{
	h->text = lua_pushlstring(L, h->text, h->text_len);
	lua_setiuservalue(L, -2, BOX_PIN_EXTRA);
}

int image_f_writer(lua_State *L)
{
	static const char *const head_names[] = { "source_bytes", "chunk_bytes", "block_bytes",
		"logical_bytes", "physical_bytes", "hash", "uuid", "created_s", "text", NULL };
	static const char *const option_names[] = { "write_through", "resume", NULL };
	bool write_through, resume;
	struct image_writer *iw = NULL;
	struct writer_box *w;
	struct opts o;
	struct dev *file;
	struct err e;
	int rc;

	box_check(L, 1, &box_device);
	box_check(L, 3, &box_map);
	o = opts_begin_optional(L, 4, option_names);
	write_through = opts_bool(&o, "write_through", false);
	resume = opts_bool(&o, "resume", false);
	o = opts_begin(L, 2, head_names);
	w = (struct writer_box *)box_new(L, &box_writer, sizeof(*w));
	read_head(&o, &w->head);
	pin_text(L, &w->head);
	luaL_argcheck(L, map_size(box_check(L, 3, &box_map)->obj) == w->head.source_bytes, 3,
		"a map of another size than source_bytes");
	if (map_digest(box_check(L, 3, &box_map)->obj, w->head.map_digest, &e) < 0)
		return bind_fail(L, &e);
	file = box_check(L, 1, &box_device)->obj;
	if (resume)
		rc = image_writer_resume(file, &w->head, write_through, &iw, &e);
	else
		rc = image_writer_new(file, &w->head, write_through, &iw, &e);
	if (rc < 0)
		return bind_fail(L, &e);
	box_set(&w->box, iw);
	box_adopt(L, &w->box, 0, 1);
	return 1;
}

/*
 * Does the file begin like an image, as far as it goes? Told apart from a damaged one by the first
 * words alone.
 */
static int check_start(struct dev *d, struct err *e)
{
	static const char word[] = "IMGTHEAD";
	uint8_t start[RECORD_HEAD_BYTES] = { 0 }, magic[4];
	size_t n = (size_t)min_u64(dev_size(d), sizeof(start));

	if (dev_read(d, 0, start, n, e) < 0)
		return -e->code;
	put_le32(magic, RECORD_MAGIC);
	if (n == 0 || memcmp(start, magic, min_u64(n, sizeof(magic))) != 0 ||
		(n > 8 && memcmp(start + 8, word, min_u64(n - 8, 8)) != 0))
		return err_set(e, ERR_FORMAT, 0, "%s: not an imgtool image", dev_name(d));
	return 0;
}

int image_f_read_head(lua_State *L)
{
	struct record r = { 0 };
	struct layout_head h;
	struct box *memory;
	struct dev *d;
	struct err e;

	box_check(L, 1, &box_device);
	memory = box_memory(L);
	d = box_check(L, 1, &box_device)->obj;
	if (check_start(d, &e) < 0 || record_read(d, REC_HEAD, 0, NULL, &r, &e) < 0)
		return bind_fail(L, &e);
	box_set(memory, r.frame);
	if (layout_head_decode(r.body, r.body_len, &h, &e) < 0) {
		err_prefix(&e, "%s", dev_name(d));
		return bind_fail(L, &e);
	}
	lua_createtable(L, 0, 9);
	set_head(L, &h);
	box_close(memory);
	return 1;
}

static int m_head(lua_State *L)
{
	const struct writer_box *w = (struct writer_box *)box_check(L, 1, &box_writer);
	struct box *hold = box_hold(L, 1);

	lua_createtable(L, 0, 9);
	set_head(L, &w->head);
	box_close(hold);
	return 1;
}

static int m_offset(lua_State *L)
{
	push_u64(L, image_writer_offset(check_writer(L)));
	return 1;
}

static int m_totals(lua_State *L)
{
	struct image_totals t;

	image_writer_totals(check_writer(L), &t);
	lua_createtable(L, 0, 10);
	set_u64(L, "data_bytes", t.kind_bytes[ENTRY_DATA]);
	set_u64(L, "zero_bytes", t.kind_bytes[ENTRY_ZERO]);
	set_u64(L, "free_bytes", t.kind_bytes[ENTRY_FREE]);
	set_u64(L, "bad_bytes", t.kind_bytes[ENTRY_BAD]);
	set_u64(L, "bad_range_bytes", t.bad_range_bytes);
	set_u64(L, "bad_range_count", t.bad_range_count);
	set_u64(L, "stored_bytes", t.stored_bytes);
	set_u64(L, "file_bytes", t.file_bytes);
	set_u64(L, "committed_bytes", t.committed_bytes);
	set_u64(L, "chunks", t.chunks);
	return 1;
}

static int m_finish(lua_State *L)
{
	uint8_t root[SHA256_BYTES];
	struct err e;

	if (image_writer_finish(check_writer(L), root, &e) < 0)
		return bind_fail(L, &e);
	push_hex(L, root, sizeof(root));
	return 1;
}

static int m_stop(lua_State *L)
{
	struct err e = { 0 };

	return bind_result(L, image_writer_stop(check_writer(L), &e), &e);
}

static const luaL_Reg methods[] = {
	{ "head", m_head },
	{ "offset", m_offset },
	{ "totals", m_totals },
	{ "finish", m_finish },
	{ "stop", m_stop },
	{ "close", box_close_method },
	{ NULL, NULL },
};

void writer_register(lua_State *L)
{
	box_register(L, &box_writer, methods);
}
