/*
 * The texts of an image, HEAD's and META's: any bytes, decoded by the Lua that does it for info,
 * restore and resume. It may find nothing in them, but never fail, and what it decoded can be told
 * as JSON again.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "bind/bind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char driver[] =
	"local info = require 'imgtool.cmd.info'\n"
	"local events = require 'imgtool.report.json'\n"
	"local page = require 'imgtool.report.text'\n"
	"local resume = require 'imgtool.policy.resume'\n"
	"local safety = require 'imgtool.policy.safety'\n"
	"local stored = require 'imgtool.job.stored'\n"
	"local function facts(text)\n"
	"  return { text = text, uuid = 'u', hash = 'sha256', root = 'r',\n"
	"    version = '2.0', created_s = 5, source_bytes = 1000, chunk_bytes = 65536,\n"
	"    block_bytes = 65536, logical_bytes = 512, physical_bytes = 512, chunks = 1,\n"
	"    file_bytes = 99, data_bytes = 1000, zero_bytes = 0, free_bytes = 0, bad_bytes = 0,\n"
	"    bad_range_bytes = 0 }\n"
	"end\n"
	"return function(text)\n"
	"  local known = info.gather({ facts = function() return facts(text) end,\n"
	"    meta = function() return text end }, 'x')\n"
	"  page.info(known)\n"
	"  events.line('info', known)\n"
	"  local source = stored.source(text)\n"
	"  safety.same_identity(source, { serial = 's', wwn = 'w', part_guid = 'g' })\n"
	"  local kept, decoded = stored.settings(facts(text))\n"
	"  if not kept then return end\n"
	"  resume.same_source(decoded, { source = { serial = 's' } })\n"
	"  resume.same_settings(kept, { given = { level = true }, level = 3 })\n"
	"end\n";

/* One state for all inputs: what they leave in it is garbage, collected below. */
static lua_State *state(void)
{
	static lua_State *L;

	if (L != NULL)
		return L;
	L = luaL_newstate();
	luaL_openlibs(L);
	bind_open(L);
	if (luaL_dostring(L, driver) != LUA_OK) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		__builtin_trap();
	}
	lua_setglobal(L, "meta_fuzz");
	return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lua_State *L = state();

	lua_getglobal(L, "meta_fuzz");
	lua_pushlstring(L, (const char *)data, size);
	if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		__builtin_trap();
	}
	return 0;
}
