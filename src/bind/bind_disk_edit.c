/* disk.edit and its handle: lua/imgtool/meta/img_disk.lua says what they do. */
#include "bind/bind_int.h"
#include "disk/disk_edit.h"

static void edit_free(struct box *b)
{
	disk_edit_free(b->obj);
}

const struct box_class box_disk_edit = { "img.DiskEdit", "disk edit", BOX_DISK_EDIT, edit_free };

static struct disk_edit *check_edit(lua_State *L)
{
	return box_check(L, 1, &box_disk_edit)->obj;
}

int disk_f_edit(lua_State *L)
{
	uint64_t sector_bytes = arg_u64(L, 2);
	struct disk_edit *t = NULL;
	struct box *b, *device;
	struct err e;

	luaL_argcheck(L, sector_bytes <= UINT32_MAX, 2, "no sector size");
	box_check(L, 1, &box_device);
	b = box_new(L, &box_disk_edit, sizeof(*b));
	device = box_check(L, 1, &box_device);
	if (disk_edit_load(device->obj, (uint32_t)sector_bytes, &t, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, t);
	return 1;
}

static int m_kind(lua_State *L)
{
	static const char *const words[] = { "none", "dos", "gpt" };

	lua_pushstring(L, words[disk_edit_kind(check_edit(L))]);
	return 1;
}

static int m_areas(lua_State *L)
{
	size_t count = disk_edit_area_count(check_edit(L));

	lua_createtable(L, (int)count, 0);
	for (size_t i = 0; i < count; i++) {
		struct disk_area a;

		lua_createtable(L, 0, 2);
		a = disk_edit_area_at(check_edit(L), i);
		set_u64(L, "offset", a.off);
		set_u64(L, "length", a.len);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static int m_fit(lua_State *L)
{
	uint64_t size = arg_u64(L, 2);
	struct err e = { 0 };

	return bind_result(L, disk_edit_fit(check_edit(L), size, &e), &e);
}

static int m_grow_last(lua_State *L)
{
	struct disk_grown g;
	struct err e;

	if (disk_edit_grow_last(check_edit(L), &g, &e) < 0)
		return bind_fail(L, &e);
	lua_createtable(L, 0, 3);
	set_u64(L, "start_bytes", g.start_bytes);
	set_u64(L, "old_bytes", g.old_bytes);
	set_u64(L, "new_bytes", g.new_bytes);
	return 1;
}

static int m_new_ids(lua_State *L)
{
	struct err e = { 0 };

	return bind_result(L, disk_edit_new_ids(check_edit(L), &e), &e);
}

static int m_write(lua_State *L)
{
	struct dev *d = box_check(L, 2, &box_device)->obj;
	struct err e = { 0 };

	return bind_result(L, disk_edit_write(check_edit(L), d, &e), &e);
}

static int m_compare(lua_State *L)
{
	struct dev *d = box_check(L, 2, &box_device)->obj;
	struct err e = { 0 };

	return bind_result(L, disk_edit_compare(check_edit(L), d, &e), &e);
}

static const luaL_Reg methods[] = {
	{ "kind", m_kind },
	{ "areas", m_areas },
	{ "fit", m_fit },
	{ "grow_last", m_grow_last },
	{ "new_ids", m_new_ids },
	{ "write", m_write },
	{ "compare", m_compare },
	{ "close", box_close_method },
	{ NULL, NULL },
};

void disk_edit_register(lua_State *L)
{
	box_register(L, &box_disk_edit, methods);
}
