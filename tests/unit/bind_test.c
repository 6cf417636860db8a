/*
 * The bindings without memory. Lua may fail at any allocation, and then jumps out of the binding:
 * no object may be lost there. Each script below runs again and again, with Lua's memory ending
 * after 1, 2, 3, ... allocations, until it gets through. After each run every handle must be gone
 * (the counts of sys.open_handles), and under AddressSanitizer every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "bind/bind_int.h"

#define MAX_RUNS 100000

struct memory {
	long left; /* allocations until there is no more; negative: as many as you like */
	bool failed;
};

static void *allocate(void *ud, void *p, size_t old, size_t new)
{
	struct memory *m = ud;

	if (new == 0) {
		free(p);
		return NULL;
	}
	/* Lua counts on it that a block can be made smaller. */
	if (p != NULL && new <= old)
		return realloc(p, new);
	if (m->left == 0) {
		m->failed = true;
		return NULL;
	}
	if (m->left > 0)
		m->left--;
	return realloc(p, new);
}

static lua_State *new_state(struct memory *m)
{
	static const luaL_Reg modules[] = {
		{ "img.device", luaopen_img_device },
		{ "img.map", luaopen_img_map },
		{ "img.fs", luaopen_img_fs },
		{ "img.image", luaopen_img_image },
		{ "img.pipeline", luaopen_img_pipeline },
		{ "img.sys", luaopen_img_sys },
	};
	lua_State *L;

	m->left = -1;
	m->failed = false;
	L = lua_newstate(allocate, m);
	assert_non_null(L);
	luaL_openlibs(L);
	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		luaL_requiref(L, modules[i].name, modules[i].func, 0);
		lua_pop(L, 1);
	}
	return L;
}

static void assert_nothing_open(lua_State *L)
{
	lua_gc(L, LUA_GCCOLLECT);
	lua_gc(L, LUA_GCCOLLECT);
	box_push_counts(L);
	lua_pushnil(L);
	if (lua_next(L, -2) != 0)
		fail_msg("still open: %s", lua_tostring(L, -2));
	lua_pop(L, 1);
}

/* One run with n allocations; true when it got through. */
static bool run_once(const char *script, const char *argument, long n)
{
	struct memory m;
	lua_State *L = new_state(&m);
	int rc;

	if (luaL_loadstring(L, script) != LUA_OK)
		fail_msg("%s", lua_tostring(L, -1));
	lua_pushstring(L, argument);
	/*
	 * No finalisers while there is no memory: Lua itself needs some to call one, and gives the
	 * object up when it has none. Nothing of ours can help that.
	 */
	lua_gc(L, LUA_GCSTOP);
	m.left = n;
	rc = lua_pcall(L, 1, 0, 0);
	m.left = -1;
	lua_gc(L, LUA_GCRESTART);
	/* Out of memory is the only excuse. */
	if (rc != LUA_OK && !m.failed)
		fail_msg("%s", lua_tostring(L, -1));
	lua_settop(L, 0);
	assert_nothing_open(L);
	lua_close(L);
	return rc == LUA_OK && !m.failed;
}

static void sweep(const char *script, const char *argument)
{
	long n = 1;

	while (!run_once(script, argument, n)) {
		n++;
		assert_in_range(n, 1, MAX_RUNS);
	}
	print_message("%ld allocations\n", n);
	/* A script that allocates nothing tests nothing. */
	assert_in_range(n, 10, MAX_RUNS);
}

static const char *scratch(void)
{
	static char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/imgtool-bind-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	return path;
}

static void devices_lose_nothing(void **state)
{
	const char *path = scratch();

	(void)state;
	sweep("local device, path = require 'img.device', ...\n"
	      "local file = assert(device.open(path, { write = true }))\n"
	      "local mem = assert(device.mem('0123456789'))\n"
	      "local slice = assert(device.slice(mem, 2, 5))\n"
	      "local fault = assert(device.fault(slice, { rules = {\n"
	      "  { op = 'read', action = 'fail', nth = 9 } } }))\n"
	      "assert(fault:read(0, 5) == '23456' and fault:fault_count('read') == 1)\n"
	      "mem:close()\n"
	      "assert(fault:write(0, 'x') and fault:info().writable and #file:name() > 0)\n"
	      "assert(device.identity(file).kind == 'file')\n"
	      "assert(device.holders(file) == '')\n"
	      "device.list()\n"
	      "local pipe = assert(device.pipe(1, true))\n"
	      "assert(not device.open('/no/such/file'))\n"
	      "tostring(pipe)\n",
		path);
	unlink(path);
}

static void maps_lose_nothing(void **state)
{
	(void)state;
	sweep("local device, fs, map = require 'img.device', require 'img.fs', require 'img.map'\n"
	      "local a, b = map.new(1000, true), map.new(1000)\n"
	      "a:set(0, 100, 'free')\n"
	      "b:set(50, 100, 'bad')\n"
	      "local made = { a:union(b), a:intersect(b), a:subtract(b), b:gaps('data') }\n"
	      "for _, m in ipairs(made) do\n"
	      "  local n = 0\n"
	      "  for offset, length, kind in m:each() do n = n + #kind end\n"
	      "  assert(n > 0 and map.decode(m:encode()):equal(m))\n"
	      "end\n"
	      "assert(not map.decode('x'))\n"
	      "local m, report = fs.map(assert(device.mem(65536)))\n"
	      "assert(m:bytes('data') == 65536 and not report.used_only)\n",
		"");
}

#define MAKE_IMAGE                                                                                 \
	"local path = ...\n"                                                                       \
	"local device, image = require 'img.device', require 'img.image'\n"                        \
	"local map, pipeline = require 'img.map', require 'img.pipeline'\n"                        \
	"local source = assert(device.mem(('x'):rep(131072)))\n"                                   \
	"local file = assert(device.open(path, { write = true, truncate = true }))\n"              \
	"local m = map.new(131072, true)\n"                                                        \
	"local writer = assert(image.writer(file, { source_bytes = 131072, chunk_bytes = 65536,\n" \
	"  block_bytes = 4096, logical_bytes = 512, physical_bytes = 512, hash = 'sha256',\n"      \
	"  uuid = '12345678-9abc-4def-8123-456789abcdef', created_s = 0, text = '{}' }, m))\n"     \
	"assert(writer:head().uuid)\n"                                                             \
	"local job = assert(pipeline.capture { source = source, map = m, writer = writer,\n"       \
	"  on_read_error = 'abort', read_retries = 0, workers = 1, depth = 2, level = 1 })\n"      \
	"source:close()\n"                                                                         \
	"assert(job:wait() and job:progress().state == 'done')\n"                                  \
	"assert(#job:losses() == 0 and job:blocks())\n"                                            \
	"assert(#writer:finish() == 64 and writer:totals().chunks == 2)\n"

static void captures_lose_nothing(void **state)
{
	const char *path = scratch();

	(void)state;
	sweep(MAKE_IMAGE, path);
	unlink(path);
}

static void images_lose_nothing(void **state)
{
	const char *path = scratch();

	(void)state;
	assert_true(run_once(MAKE_IMAGE, path, -1));
	sweep("local path = ...\n"
	      "local device, image = require 'img.device', require 'img.image'\n"
	      "local file = assert(device.open(path))\n"
	      "assert(image.read_head(file).text == '{}')\n"
	      "local img = assert(image.open(file))\n"
	      "file:close()\n"
	      "assert(img:facts().chunks == 2 and #img:chunk(1).entries == 16)\n"
	      "local dev = assert(img:device())\n"
	      "img:close()\n"
	      "assert(dev:read(100, 3) == 'xxx')\n"
	      "local none = assert(device.mem(10))\n"
	      "assert(not image.open(none) and not image.read_head(none))\n"
	      "local again = assert(device.open(path))\n"
	      "os.remove(path .. '.out')\n"
	      "local out = assert(device.open(path .. '.out', { write = true, create = true }))\n"
	      "os.remove(path .. '.out')\n"
	      "assert(image.repair(again, out).lost_bytes == 0)\n",
		path);
	unlink(path);
}

static void system_loses_nothing(void **state)
{
	const char *path = scratch();

	(void)state;
	sweep("local sys, path = require 'img.sys', ...\n"
	      "local lock = assert(sys.lock(path))\n"
	      "assert(not sys.lock(path))\n"
	      "assert(sys.stat(path).type == 'file' and sys.realpath(path) and sys.version())\n"
	      "assert(sys.uuid() and sys.hostname() and sys.word(3) and sys.overrides())\n"
	      "assert(sys.embedded('imgtool.strict'))\n",
		path);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_lose_nothing),
		cmocka_unit_test(maps_lose_nothing),
		cmocka_unit_test(captures_lose_nothing),
		cmocka_unit_test(images_lose_nothing),
		cmocka_unit_test(system_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
