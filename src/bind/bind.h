/*
 * The C core as Lua modules, for main.c and for a stock Lua interpreter. Nothing becomes a global
 * of Lua: `require 'img.device'` and its like find the modules in package.preload.
 */
#ifndef BIND_BIND_H
#define BIND_BIND_H

#include <stdbool.h>

#include <lua.h>

/*
 * Make this state imgtool's own: img.*, cjson and lfs in package.preload, and one searcher for
 * everything else, which finds an override or the embedded source (bind_require.c). Nothing is
 * ever loaded from the current directory, from LUA_PATH, or from a shared library. May raise.
 */
void bind_open(lua_State *L);

/* For tests under lua5.4 and busted: registers img.* only; the searchers stay as they are. */
int luaopen_imgtool_c(lua_State *L);

#endif
