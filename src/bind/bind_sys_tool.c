/* img.sys, programs of the system: lua/imgtool/meta/img_sys.lua says what they do. */
#include "base/spawn.h"
#include "bind/bind_int.h"

#define TIMEOUT_MAX_S 86400

static int f_run_tool(lua_State *L)
{
	const char *name = arg_text(L, 1), *args[SPAWN_ARGS_MAX + 1] = { NULL };
	uint64_t timeout_s = arg_u64(L, 3);
	char out[8192];
	lua_Integer count;
	struct err e;
	int status = 0;

	luaL_checktype(L, 2, LUA_TTABLE);
	luaL_argcheck(L, timeout_s <= TIMEOUT_MAX_S, 3, "more than a day");
	count = (lua_Integer)lua_rawlen(L, 2);
	luaL_argcheck(L, count <= SPAWN_ARGS_MAX, 2, "too many arguments");
	luaL_checkstack(L, SPAWN_ARGS_MAX, NULL);
	/* The strings stay in the stack, and so in memory, until the program has ended. */
	for (lua_Integer i = 0; i < count; i++) {
		if (lua_rawgeti(L, 2, i + 1) != LUA_TSTRING)
			return luaL_argerror(L, 2, "an array of strings is expected");
		args[i] = arg_text(L, lua_gettop(L));
	}
	if (spawn_run(name, args, (unsigned)timeout_s, out, sizeof(out), &status, &e) < 0)
		return bind_fail(L, &e);
	lua_pushinteger(L, status);
	lua_pushstring(L, out);
	return 2;
}

const luaL_Reg sys_tool_functions[] = {
	{ "run_tool", f_run_tool },
	{ NULL, NULL },
};
