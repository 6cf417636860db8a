/* img.fs: the stubs in lua/imgtool/meta/img_fs.lua say what each function does. */
#include "bind/bind_int.h"
#include "device/dev.h"
#include "fs/fs_confined.h"

static void push_report(lua_State *L, const struct fs_report *r)
{
	lua_createtable(L, 0, 8);
	set_text(L, "type", r->type);
	set_text(L, "label", r->label);
	set_text(L, "uuid", r->uuid);
	set_bool(L, "used_only", r->used_only);
	set_text(L, "reason", r->reason);
	set_text(L, "note", r->note);
	set_u64(L, "block_bytes", r->block_bytes);
	set_u64(L, "free_bytes", r->free_bytes);
}

static int f_probe(lua_State *L)
{
	struct box *b = box_check(L, 1, &box_device);
	struct fs_report r = { 0 };
	struct err e;

	if (fs_probe(b->obj, &r, &e) < 0)
		return bind_fail(L, &e);
	push_report(L, &r);
	return 1;
}

static int f_map(lua_State *L)
{
	struct box *b;
	struct map *m = NULL;
	struct fs_report r = { 0 };
	struct fs_limits limits = fs_limits_default();
	struct err e;

	box_check(L, 1, &box_device);
	b = box_new(L, &box_map, sizeof(*b));
	if (fs_map_confined(box_check(L, 1, &box_device)->obj, &limits, &m, &r, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, m);
	push_report(L, &r);
	return 2;
}

static const luaL_Reg functions[] = {
	{ "probe", f_probe },
	{ "map", f_map },
	{ NULL, NULL },
};

/* Lua makes maps here, whose methods are those of img.map. */
int luaopen_img_fs(lua_State *L)
{
	luaL_requiref(L, "img.map", luaopen_img_map, 0);
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
