/* img.disk: the stub in lua/imgtool/meta/img_disk.lua says what each function does. */
#include <inttypes.h>
#include <stdio.h>

#include "bind/bind_int.h"
#include "disk/disk.h"

static void push_part(lua_State *L, const struct disk_part *p)
{
	char attributes[24] = "";

	/* All 64 bits may be set: no integer of Lua. */
	if (p->attributes != 0)
		snprintf(attributes, sizeof(attributes), "0x%016" PRIx64, p->attributes);
	lua_createtable(L, 0, 10);
	set_u64(L, "index", p->index);
	set_u64(L, "start_bytes", p->start_bytes);
	set_u64(L, "size_bytes", p->size_bytes);
	set_text(L, "type", p->type);
	set_text(L, "guid", p->guid);
	set_text(L, "name", p->name);
	set_text(L, "attributes", attributes);
	set_bool(L, "active", p->active);
	set_bool(L, "logical", p->logical);
	set_bool(L, "container", p->container);
}

static void push_regions(lua_State *L, const struct disk *disk)
{
	lua_createtable(L, (int)disk->region_count, 0);
	for (size_t i = 0; i < disk->region_count; i++) {
		lua_createtable(L, 0, 2);
		set_u64(L, "offset", disk->regions[i].off);
		set_u64(L, "length", disk->regions[i].len);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static void push_disk(lua_State *L, const struct disk *disk)
{
	lua_createtable(L, 0, 11);
	set_text(L, "table", disk_table_word(disk->table));
	set_text(L, "id", disk->id);
	set_u64(L, "sector_bytes", disk->sector_bytes);
	set_u64(L, "size_bytes", disk->size_bytes);
	set_text(L, "note", disk->note);
	if (disk->table == DISK_GPT) {
		set_u64(L, "first_usable_bytes", disk->first_usable_bytes);
		set_u64(L, "end_usable_bytes", disk->end_usable_bytes);
		set_bool(L, "primary_valid", disk->primary_valid);
		set_bool(L, "backup_valid", disk->backup_valid);
	}
	lua_createtable(L, (int)disk->part_count, 0);
	for (size_t i = 0; i < disk->part_count; i++) {
		push_part(L, &disk->parts[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_setfield(L, -2, "partitions");
	push_regions(L, disk);
	lua_setfield(L, -2, "regions");
}

static int f_read(lua_State *L)
{
	struct disk *disk = NULL;
	struct box *memory;
	struct err e;

	box_check(L, 1, &box_device);
	memory = box_memory(L);
	if (disk_read(box_check(L, 1, &box_device)->obj, &disk, &e) < 0)
		return bind_fail(L, &e);
	box_set(memory, disk);
	push_disk(L, disk);
	box_close(memory);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "read", f_read },
	{ "edit", disk_f_edit },
	{ NULL, NULL },
};

int luaopen_img_disk(lua_State *L)
{
	box_setup(L);
	disk_edit_register(L);
	luaL_newlib(L, functions);
	return 1;
}
