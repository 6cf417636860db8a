/* img.sys, programs of the system: lua/imgtool/meta/img_sys.lua says what they do. */
#include "base/spawn.h"
#include "bind/bind_int.h"

#define TIMEOUT_MAX_S 86400
#define BECOME_ARGS_MAX 512 /* a disk of many partitions has an argument for each */

/* The strings of the table at `arg` into args, NULL behind them. They stay in the stack, and so in
 * memory, until the call is over. */
static void check_args(lua_State *L, int arg, const char *args[], int max)
{
	lua_Integer count;

	luaL_checktype(L, arg, LUA_TTABLE);
	count = (lua_Integer)lua_rawlen(L, arg);
	luaL_argcheck(L, count <= max, arg, "too many arguments");
	luaL_checkstack(L, max, NULL);
	for (lua_Integer i = 0; i < count; i++) {
		if (lua_rawgeti(L, arg, i + 1) != LUA_TSTRING)
			luaL_argerror(L, arg, "an array of strings is expected");
		args[i] = arg_text(L, lua_gettop(L));
	}
	args[count] = NULL;
}

static int f_run_tool(lua_State *L)
{
	const char *name = arg_text(L, 1), *args[SPAWN_ARGS_MAX + 1] = { NULL };
	uint64_t timeout_s = arg_u64(L, 3);
	char out[8192];
	struct err e;
	int status = 0;

	luaL_argcheck(L, timeout_s <= TIMEOUT_MAX_S, 3, "more than a day");
	check_args(L, 2, args, SPAWN_ARGS_MAX);
	if (spawn_run(name, args, (unsigned)timeout_s, out, sizeof(out), &status, &e) < 0)
		return bind_fail(L, &e);
	lua_pushinteger(L, status);
	lua_pushstring(L, out);
	return 2;
}

static int f_become_tool(lua_State *L)
{
	const char *name = arg_text(L, 1), *args[BECOME_ARGS_MAX + 2];
	struct err e;

	check_args(L, 2, args + 1, BECOME_ARGS_MAX);
	spawn_become(name, args, &e);
	return bind_fail(L, &e);
}

const luaL_Reg sys_tool_functions[] = {
	{ "run_tool", f_run_tool },
	{ "become_tool", f_become_tool },
	{ NULL, NULL },
};
