/* The C modules that Lua sees. */
#include "bind/bind.h"

#include <lauxlib.h>
#include <lfs.h>
#include <lua-cjson.h>

#include "bind/bind_int.h"

/*
 * LuaFileSystem also makes itself a global. The name is taken while it does so: under strict.lua a
 * new global is an error.
 */
static int open_lfs(lua_State *L)
{
	lua_pushglobaltable(L);
	lua_pushliteral(L, "lfs");
	lua_pushboolean(L, false);
	lua_rawset(L, -3);
	lua_pushcfunction(L, luaopen_lfs);
	lua_pushliteral(L, "lfs");
	lua_call(L, 1, 1);
	lua_pushliteral(L, "lfs");
	lua_pushnil(L);
	lua_rawset(L, -4);
	return 1;
}

/* Add a module here, its stub in lua/imgtool/meta/, and nowhere else. */
static const luaL_Reg modules[] = {
	{ "img.device", luaopen_img_device },
	{ "img.map", luaopen_img_map },
	{ "img.fs", luaopen_img_fs },
	{ "img.disk", luaopen_img_disk },
	{ "img.files", luaopen_img_files },
	{ "img.image", luaopen_img_image },
	{ "img.pipeline", luaopen_img_pipeline },
	{ "img.server", luaopen_img_server },
	{ "img.sys", luaopen_img_sys },
	{ NULL, NULL },
};

/* What a stock Lua interpreter has from elsewhere. */
static const luaL_Reg foreign[] = {
	{ "cjson", luaopen_cjson },
	{ "lfs", open_lfs },
	{ NULL, NULL },
};

static void preload(lua_State *L, const luaL_Reg *list)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	luaL_setfuncs(L, list, 0);
	lua_pop(L, 1);
}

void bind_open(lua_State *L)
{
	preload(L, modules);
	preload(L, foreign);
	require_setup(L);
}

int luaopen_imgtool_c(lua_State *L)
{
	preload(L, modules);
	lua_newtable(L);
	for (int i = 0; modules[i].name != NULL; i++) {
		lua_pushstring(L, modules[i].name);
		lua_rawseti(L, -2, i + 1);
	}
	return 1;
}
