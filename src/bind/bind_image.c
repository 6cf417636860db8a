/* img.image, but for the writer: lua/imgtool/meta/img_image.lua says what each function does. */
#include <stdio.h>
#include <stdlib.h>

#include "bind/bind_int.h"
#include "format/image.h"
#include "map/map.h"

static void image_free(struct box *b)
{
	image_close(b->obj);
}

const struct box_class box_image = { "img.Image", "image", BOX_IMAGE, image_free };

static struct image *check_image(lua_State *L, int arg)
{
	return box_check(L, arg, &box_image)->obj;
}

static void chunk_free(struct box *b)
{
	chunk_unref(b->parents[0]->obj, b->obj);
}

static const struct box_class box_chunk = { "img.Chunk", "chunk", BOX_CHUNK, chunk_free };

static int f_open(lua_State *L)
{
	struct box *b;
	struct image *i = NULL;
	struct err e;

	box_check(L, 1, &box_device);
	b = box_new(L, &box_image, sizeof(*b));
	if (image_open(box_check(L, 1, &box_device)->obj, &i, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, i);
	box_adopt(L, b, 0, 1);
	return 1;
}

void set_head(lua_State *L, const struct layout_head *h)
{
	set_u64(L, "source_bytes", h->source_bytes);
	set_u64(L, "chunk_bytes", h->chunk_bytes);
	set_u64(L, "block_bytes", h->block_bytes);
	set_u64(L, "logical_bytes", h->logical_bytes);
	set_u64(L, "physical_bytes", h->physical_bytes);
	set_text(L, "hash", hash_word(h->hash));
	push_uuid(L, h->uuid);
	lua_setfield(L, -2, "uuid");
	set_u64(L, "created_s", h->created_s);
	lua_pushlstring(L, h->text, h->text_len);
	lua_setfield(L, -2, "text");
}

static void set_tail(lua_State *L, const struct layout_tail *t)
{
	set_u64(L, "file_bytes", t->file_len);
	set_u64(L, "data_bytes", t->kind_bytes[ENTRY_DATA]);
	set_u64(L, "zero_bytes", t->kind_bytes[ENTRY_ZERO]);
	set_u64(L, "free_bytes", t->kind_bytes[ENTRY_FREE]);
	set_u64(L, "bad_bytes", t->kind_bytes[ENTRY_BAD]);
	set_u64(L, "bad_range_bytes", t->bad_range_bytes);
	push_hex(L, t->root, sizeof(t->root));
	lua_setfield(L, -2, "root");
}

static int m_facts(lua_State *L)
{
	struct box *hold;
	const struct image_facts *f;

	check_image(L, 1);
	hold = box_hold(L, 1);
	f = image_facts(check_image(L, 1));
	lua_createtable(L, 0, 20);
	set_head(L, &f->head);
	lua_pushfstring(L, "%d.%d", f->head.major, f->head.minor);
	lua_setfield(L, -2, "version");
	push_hex(L, f->head.map_digest, sizeof(f->head.map_digest));
	lua_setfield(L, -2, "map_digest");
	set_u64(L, "chunks", f->chunks);
	set_tail(L, &f->tail);
	box_close(hold);
	return 1;
}

/* Not among the facts: it may be of 16 MiB. */
static int m_meta(lua_State *L)
{
	struct box *hold;
	const struct image_facts *f;

	check_image(L, 1);
	hold = box_hold(L, 1);
	f = image_facts(check_image(L, 1));
	lua_pushlstring(L, f->meta, f->meta_len);
	box_close(hold);
	return 1;
}

static void push_entry(lua_State *L, const struct chunk_entry *x, size_t hash_bytes)
{
	lua_createtable(L, 0, 6);
	/* Entry kinds and map kinds have the same numbers and words (specification, section 9). */
	set_text(L, "kind", map_kind_word((enum map_kind)x->kind));
	set_u64(L, "offset", x->off);
	set_u64(L, "length", x->len);
	set_u64(L, "file_offset", x->file_off);
	set_u64(L, "stored", x->stored);
	if (x->kind != ENTRY_DATA)
		return;
	push_hex(L, x->hash, hash_bytes);
	lua_setfield(L, -2, "hash");
}

static void push_chunk(lua_State *L, const struct chunk *c, size_t hash_bytes)
{
	lua_createtable(L, 0, 5);
	set_u64(L, "number", c->number);
	set_u64(L, "offset", c->off);
	set_u64(L, "length", c->len);
	lua_createtable(L, (int)c->count, 0);
	for (uint32_t i = 0; i < c->count; i++) {
		push_entry(L, &c->entries[i], hash_bytes);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_setfield(L, -2, "entries");
	lua_createtable(L, (int)c->bad_count, 0);
	for (uint32_t i = 0; i < c->bad_count; i++) {
		lua_createtable(L, 0, 2);
		set_u64(L, "offset", c->bad[i].off);
		set_u64(L, "length", c->bad[i].len);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_setfield(L, -2, "bad");
}

static int m_chunk(lua_State *L)
{
	uint64_t number = arg_u64(L, 2);
	const struct chunk *c = NULL;
	struct image *i = check_image(L, 1);
	size_t hash_bytes = hash_len(image_facts(i)->head.hash);
	struct box *guard;
	struct err e;

	luaL_argcheck(L, number < image_facts(i)->chunks, 2, "no such chunk");
	guard = box_new(L, &box_chunk, sizeof(*guard));
	i = check_image(L, 1);
	if (image_chunk(i, number, &c, &e) < 0)
		return bind_fail(L, &e);
	box_set(guard, (void *)(uintptr_t)c);
	box_adopt(L, guard, 0, 1);
	push_chunk(L, c, hash_bytes);
	box_close(guard);
	return 1;
}

static int m_check_root(lua_State *L)
{
	struct err e = { 0 };

	return bind_result(L, image_check_root(check_image(L, 1), &e), &e);
}

/* A cache of its own, of so many blocks. */
static int device_alone(lua_State *L, uint64_t cache_blocks)
{
	struct dev *d = NULL;
	struct box *b = box_new_device(L);
	struct err e;

	if (image_dev(check_image(L, 1), (size_t)cache_blocks, &d, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, d);
	box_adopt(L, b, 0, 1);
	return 1;
}

static int m_device(lua_State *L)
{
	struct dev *d = NULL;
	struct box *b;
	struct err e;

	check_image(L, 1);
	if (lua_isnoneornil(L, 2) || lua_type(L, 2) == LUA_TNUMBER)
		return device_alone(L, lua_isnoneornil(L, 2) ? 0 : arg_u64(L, 2));
	box_check(L, 2, &box_cache);
	b = box_new_device(L);
	if (image_dev_cached(check_image(L, 1), box_check(L, 2, &box_cache)->obj, &d, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, d);
	box_adopt(L, b, 0, 1);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "open", f_open },
	{ "writer", image_f_writer },
	{ "read_head", image_f_read_head },
	{ "repair", image_f_repair },
	{ "cache", image_f_cache },
	{ NULL, NULL },
};

static const luaL_Reg methods[] = {
	{ "facts", m_facts },
	{ "meta", m_meta },
	{ "chunk", m_chunk },
	{ "check_root", m_check_root },
	{ "device", m_device },
	{ "close", box_close_method },
	{ NULL, NULL },
};

int luaopen_img_image(lua_State *L)
{
	box_setup(L);
	box_register(L, &box_image, methods);
	box_register(L, &box_chunk, NULL);
	writer_register(L);
	cache_register(L);
	luaL_newlib(L, functions);
	return 1;
}
