/* Arguments, results and tables of options. */
#include <stdio.h>
#include <string.h>

#include "bind/bind_int.h"

int arg_error(lua_State *L, int arg, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	lua_pushvfstring(L, fmt, ap);
	va_end(ap);
	return luaL_argerror(L, arg, lua_tostring(L, -1));
}

/*
 * Stricter than luaL_checkinteger, which takes 1.0 and "1": a size that went through floating
 * point is already wrong somewhere else.
 */
uint64_t arg_u64(lua_State *L, int arg)
{
	lua_Integer v;

	if (!lua_isinteger(L, arg))
		arg_error(L, arg, "integer expected, got %s",
			lua_type(L, arg) == LUA_TNUMBER ? "float" : luaL_typename(L, arg));
	v = lua_tointeger(L, arg);
	luaL_argcheck(L, v >= 0, arg, "must not be negative");
	return (uint64_t)v;
}

const char *arg_text(lua_State *L, int arg)
{
	size_t len;
	const char *s;

	luaL_checktype(L, arg, LUA_TSTRING);
	s = lua_tolstring(L, arg, &len);
	luaL_argcheck(L, strlen(s) == len, arg, "has a zero byte in it");
	return s;
}

bool arg_bool(lua_State *L, int arg, bool otherwise)
{
	if (lua_isnoneornil(L, arg))
		return otherwise;
	luaL_checktype(L, arg, LUA_TBOOLEAN);
	return lua_toboolean(L, arg);
}

int bind_fail(lua_State *L, const struct err *e)
{
	lua_pushnil(L);
	lua_pushstring(L, e->msg);
	lua_pushinteger(L, e->code);
	return 3;
}

int bind_result(lua_State *L, int rc, const struct err *e)
{
	if (rc < 0)
		return bind_fail(L, e);
	lua_pushboolean(L, true);
	return 1;
}

void push_u64(lua_State *L, uint64_t v)
{
	lua_pushinteger(L, v > LUA_MAXINTEGER ? LUA_MAXINTEGER : (lua_Integer)v);
}

void push_hex(lua_State *L, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	luaL_Buffer buf;
	char *p = luaL_buffinitsize(L, &buf, 2 * len);

	for (size_t i = 0; i < len; i++) {
		p[2 * i] = digits[bytes[i] >> 4];
		p[2 * i + 1] = digits[bytes[i] & 15];
	}
	luaL_pushresultsize(&buf, 2 * len);
}

void push_uuid(lua_State *L, const uint8_t u[16])
{
	char text[37];

	snprintf(text, sizeof(text),
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
		u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
		u[15]);
	lua_pushstring(L, text);
}

void set_u64(lua_State *L, const char *name, uint64_t v)
{
	push_u64(L, v);
	lua_setfield(L, -2, name);
}

void set_bool(lua_State *L, const char *name, bool v)
{
	lua_pushboolean(L, v);
	lua_setfield(L, -2, name);
}

void set_text(lua_State *L, const char *name, const char *s)
{
	lua_pushstring(L, s);
	lua_setfield(L, -2, name);
}

/* ---- Tables of options ---- */

int opts_error(const struct opts *o, const char *name, const char *what)
{
	return arg_error(o->L, o->arg, "field '%s%s' %s", o->prefix, name, what);
}

static bool is_listed(const char *key, const char *const *names)
{
	for (; *names != NULL; names++)
		if (strcmp(key, *names) == 0)
			return true;
	return false;
}

/* A key that nobody reads is a mistake that would otherwise pass unseen. */
static void check_keys(const struct opts *o, const char *const *names)
{
	lua_State *L = o->L;

	lua_pushnil(L);
	while (lua_next(L, o->idx) != 0) {
		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			arg_error(L, o->arg, "%s: a key that is no name: %s",
				o->prefix[0] == '\0' ? "options" : o->prefix,
				luaL_tolstring(L, -1, NULL));
		if (!is_listed(lua_tostring(L, -1), names))
			opts_error(o, lua_tostring(L, -1), "is unknown");
	}
}

struct opts opts_begin(lua_State *L, int arg, const char *const *names)
{
	struct opts o = { .L = L, .arg = arg, .idx = arg };

	luaL_checktype(L, arg, LUA_TTABLE);
	check_keys(&o, names);
	return o;
}

struct opts opts_begin_optional(lua_State *L, int arg, const char *const *names)
{
	if (lua_isnoneornil(L, arg)) {
		lua_settop(L, arg > lua_gettop(L) ? arg : lua_gettop(L));
		lua_newtable(L);
		lua_replace(L, arg);
	}
	return opts_begin(L, arg, names);
}

struct opts opts_inner(const struct opts *outer, const char *prefix, const char *const *names)
{
	struct opts o = { .L = outer->L, .arg = outer->arg, .idx = lua_gettop(outer->L) };

	snprintf(o.prefix, sizeof(o.prefix), "%s.", prefix);
	if (!lua_istable(o.L, o.idx))
		arg_error(o.L, o.arg, "field '%s' must be a table", prefix);
	check_keys(&o, names);
	return o;
}

bool opts_get(const struct opts *o, const char *name)
{
	lua_pushstring(o->L, name);
	if (lua_rawget(o->L, o->idx) != LUA_TNIL)
		return true;
	lua_pop(o->L, 1);
	return false;
}

static void push_needed(const struct opts *o, const char *name)
{
	if (!opts_get(o, name))
		opts_error(o, name, "is missing");
}

void opts_need(const struct opts *o, const char *name)
{
	push_needed(o, name);
	lua_pop(o->L, 1);
}

bool opts_need_bool(const struct opts *o, const char *name)
{
	bool v;

	push_needed(o, name);
	if (!lua_isboolean(o->L, -1))
		opts_error(o, name, "must be a boolean");
	v = lua_toboolean(o->L, -1);
	lua_pop(o->L, 1);
	return v;
}

bool opts_bool(const struct opts *o, const char *name, bool otherwise)
{
	if (!opts_get(o, name))
		return otherwise;
	lua_pop(o->L, 1);
	return opts_need_bool(o, name);
}

int64_t opts_need_int(const struct opts *o, const char *name, int64_t min, int64_t max)
{
	int64_t v;

	push_needed(o, name);
	if (!lua_isinteger(o->L, -1))
		opts_error(o, name, "must be an integer");
	v = lua_tointeger(o->L, -1);
	if (v < min || v > max)
		opts_error(o, name,
			max == INT64_MAX
				? lua_pushfstring(o->L, "must be at least %I", (LUAI_UACINT)min)
				: lua_pushfstring(o->L, "must be %I to %I", (LUAI_UACINT)min,
					  (LUAI_UACINT)max));
	lua_pop(o->L, 1);
	return v;
}

uint64_t opts_need_u64(const struct opts *o, const char *name, uint64_t min, uint64_t max)
{
	return (uint64_t)opts_need_int(o, name, (int64_t)min,
		max > INT64_MAX ? INT64_MAX : (int64_t)max);
}

uint64_t opts_u64(const struct opts *o, const char *name, uint64_t min, uint64_t max,
	uint64_t otherwise)
{
	if (!opts_get(o, name))
		return otherwise;
	lua_pop(o->L, 1);
	return opts_need_u64(o, name, min, max);
}

const char *opts_need_string(const struct opts *o, const char *name, size_t *len)
{
	const char *s;

	push_needed(o, name);
	if (lua_type(o->L, -1) != LUA_TSTRING)
		opts_error(o, name, "must be a string");
	s = lua_tolstring(o->L, -1, len);
	lua_pop(o->L, 1);
	return s;
}

unsigned opts_need_word(const struct opts *o, const char *name, const char *const *words)
{
	const char *s = opts_need_string(o, name, NULL);

	for (unsigned i = 0; words[i] != NULL; i++)
		if (strcmp(s, words[i]) == 0)
			return i;
	return (unsigned)opts_error(o, name, lua_pushfstring(o->L, "has no meaning '%s'", s));
}

struct box *opts_need_box(const struct opts *o, const char *name, const struct box_class *c)
{
	struct box *b;

	push_needed(o, name);
	b = luaL_testudata(o->L, -1, c->tname);
	if (b == NULL)
		opts_error(o, name, lua_pushfstring(o->L, "must be a %s", c->word));
	if (b->obj == NULL || b->closed)
		luaL_error(o->L, "attempt to use a closed %s", c->word);
	return b;
}
