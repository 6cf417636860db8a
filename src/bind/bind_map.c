/* img.map: the stubs in lua/imgtool/meta/img_map.lua say what each function does. */
#include <stdlib.h>

#include "base/mem.h"
#include "bind/bind_int.h"
#include "codec/hash.h"
#include "map/map.h"

static void map_box_free(struct box *b)
{
	map_free(b->obj);
}

const struct box_class box_map = { "img.Map", "map", BOX_MAP, map_box_free };

static struct map *check_map(lua_State *L, int arg)
{
	return box_check(L, arg, &box_map)->obj;
}

/* The new handle is on top of the stack; only lack of memory leaves m NULL. */
static int opened(lua_State *L, struct box *b, struct map *m)
{
	if (m == NULL)
		return luaL_error(L, "out of memory");
	box_set(b, m);
	return 1;
}

static struct box *new_map(lua_State *L)
{
	return box_new(L, &box_map, sizeof(struct box));
}

static enum map_kind check_kind(lua_State *L, int arg)
{
	const char *word;

	luaL_checktype(L, arg, LUA_TSTRING);
	word = lua_tostring(L, arg);
	for (int kind = 0; kind < MAP_KINDS; kind++)
		if (strcmp(word, map_kind_word((enum map_kind)kind)) == 0)
			return (enum map_kind)kind;
	return (enum map_kind)arg_error(L, arg, "no kind '%s'", word);
}

static int f_new(lua_State *L)
{
	uint64_t size = arg_u64(L, 1);
	bool full = arg_bool(L, 2, false);
	struct box *b = new_map(L);

	return opened(L, b, full ? map_new_full(size) : map_new(size));
}

static int f_decode(lua_State *L)
{
	const char *bytes;
	size_t len;
	struct box *b;
	struct map *m = NULL;
	struct err e;

	luaL_checktype(L, 1, LUA_TSTRING);
	bytes = lua_tolstring(L, 1, &len);
	b = new_map(L);
	if (map_decode((const uint8_t *)bytes, len, &m, &e) < 0)
		return bind_fail(L, &e);
	return opened(L, b, m);
}

static int push_extent(lua_State *L, struct extent x)
{
	push_u64(L, x.off);
	push_u64(L, x.len);
	lua_pushstring(L, map_kind_word(x.kind));
	return 3;
}

static int m_size(lua_State *L)
{
	push_u64(L, map_size(check_map(L, 1)));
	return 1;
}

static int m_count(lua_State *L)
{
	push_u64(L, map_count(check_map(L, 1)));
	return 1;
}

static int m_at(lua_State *L)
{
	const struct map *m = check_map(L, 1);
	uint64_t i = arg_u64(L, 2);

	luaL_argcheck(L, i >= 1 && i <= map_count(m), 2, "no such extent");
	return push_extent(L, map_at(m, (size_t)(i - 1)));
}

/* Upvalues: the map, the index of the last extent given. */
static int next_extent(lua_State *L)
{
	const struct map *m = check_map(L, lua_upvalueindex(1));
	lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));

	if ((uint64_t)i >= map_count(m))
		return 0;
	lua_pushinteger(L, i + 1);
	lua_replace(L, lua_upvalueindex(2));
	return push_extent(L, map_at(m, (size_t)i));
}

static int m_each(lua_State *L)
{
	check_map(L, 1);
	lua_settop(L, 1);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, next_extent, 2);
	return 1;
}

static int m_set(lua_State *L)
{
	struct box *b = box_check(L, 1, &box_map);
	uint64_t off = arg_u64(L, 2), len = arg_u64(L, 3);
	enum map_kind kind = check_kind(L, 4);
	struct err e;

	/* A job's threads read it. */
	if (b->children > 0)
		return luaL_error(L, "the map is in use by a job");
	if (map_set(b->obj, off, len, kind, &e) < 0)
		return luaL_error(L, "%s", e.msg);
	return 0;
}

static int m_run(lua_State *L)
{
	const struct map *m = check_map(L, 1);
	uint64_t off = arg_u64(L, 2);

	luaL_argcheck(L, off < map_size(m), 2, "past the end of the map");
	return push_extent(L, map_run(m, off, NULL));
}

static int m_bytes(lua_State *L)
{
	const struct map *m = check_map(L, 1);

	push_u64(L, map_bytes(m, check_kind(L, 2)));
	return 1;
}

static int combine(lua_State *L, struct map *(*f)(const struct map *, const struct map *))
{
	struct box *b;

	luaL_argcheck(L, map_size(check_map(L, 1)) == map_size(check_map(L, 2)), 2,
		"a map of another size");
	b = new_map(L);
	return opened(L, b, f(check_map(L, 1), check_map(L, 2)));
}

static int m_union(lua_State *L)
{
	return combine(L, map_union);
}

static int m_intersect(lua_State *L)
{
	return combine(L, map_intersect);
}

static int m_subtract(lua_State *L)
{
	return combine(L, map_subtract);
}

static int m_gaps(lua_State *L)
{
	enum map_kind kind = check_kind(L, 2);
	struct box *b;

	luaL_argcheck(L, kind != MAP_NONE, 2, "gaps of no kind");
	check_map(L, 1);
	b = new_map(L);
	return opened(L, b, map_gaps(check_map(L, 1), kind));
}

static int m_equal(lua_State *L)
{
	lua_pushboolean(L, map_equal(check_map(L, 1), check_map(L, 2)));
	return 1;
}

static int m_encode(lua_State *L)
{
	struct box *memory;
	uint8_t *bytes = NULL;
	size_t len = 0;
	struct err e;

	check_map(L, 1);
	memory = box_memory(L);
	if (map_encode(check_map(L, 1), &bytes, &len, &e) < 0)
		return luaL_error(L, "%s", e.msg);
	box_set(memory, bytes);
	lua_pushlstring(L, (const char *)bytes, len);
	box_close(memory);
	return 1;
}

/* No Lua in between: the encoding is malloc'ed. */
int map_digest(const struct map *m, uint8_t out[XXH3_BYTES], struct err *e)
{
	uint8_t *bytes = NULL;
	size_t len;

	if (map_encode(m, &bytes, &len, e) < 0)
		return -e->code;
	hash_bytes(HASH_XXH3, bytes, len, out);
	free(bytes);
	return 0;
}

static int m_digest(lua_State *L)
{
	uint8_t digest[XXH3_BYTES];
	struct err e;

	if (map_digest(check_map(L, 1), digest, &e) < 0)
		return luaL_error(L, "%s", e.msg);
	push_hex(L, digest, sizeof(digest));
	return 1;
}

static const luaL_Reg functions[] = {
	{ "new", f_new },
	{ "decode", f_decode },
	{ NULL, NULL },
};

static const luaL_Reg methods[] = {
	{ "size", m_size },
	{ "count", m_count },
	{ "at", m_at },
	{ "each", m_each },
	{ "set", m_set },
	{ "run", m_run },
	{ "bytes", m_bytes },
	{ "union", m_union },
	{ "intersect", m_intersect },
	{ "subtract", m_subtract },
	{ "gaps", m_gaps },
	{ "equal", m_equal },
	{ "encode", m_encode },
	{ "digest", m_digest },
	{ "close", box_close_method },
	{ NULL, NULL },
};

int luaopen_img_map(lua_State *L)
{
	box_setup(L);
	box_register(L, &box_map, methods);
	luaL_newlib(L, functions);
	return 1;
}
