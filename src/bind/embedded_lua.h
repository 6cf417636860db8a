/*
 * The Lua sources inside the binary: every file of lua/ (but lua/imgtool/meta/) and argparse, as
 * text. The table is made by scripts/embed-lua when imgtool is built, is sorted by name (strcmp
 * order, so it can be searched by halving), never changes, and may be read by any thread.
 */
#ifndef BIND_EMBEDDED_LUA_H
#define BIND_EMBEDDED_LUA_H

#include <stddef.h>

struct embedded_lua {
	const char *name;	   /* what `require` is given: "imgtool.cmd.image" */
	const char *path;	   /* where it was: "lua/imgtool/cmd/image.lua" */
	const unsigned char *text; /* the source; a NUL follows that len does not count */
	size_t len;
};

extern const struct embedded_lua embedded_lua[];
extern const size_t embedded_lua_count;

#endif
