/*
 * server.mount and mount_files: devices as files, and the files inside one (stub:
 * lua/imgtool/meta/img_server.lua).
 */
#include <string.h>

#include "base/mem.h"
#include "bind/bind_int.h"
#include "server/serve_fuse.h"

#define FILES_MAX 1024
#define NAME_MAX_BYTES 255

static void mount_free(struct box *b)
{
	fuse_mount_close(b->obj);
}

const struct box_class box_mount = { "img.Mount", "mount", BOX_MOUNT, mount_free };

/* A name as a directory may have it. */
static const char *check_name(const struct opts *o)
{
	size_t len = 0;
	const char *name = opts_need_string(o, "name", &len);

	if (len == 0 || len > NAME_MAX_BYTES || strlen(name) != len || strchr(name, '/') != NULL ||
		strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		opts_error(o, "name", "is no name of a file");
	return name;
}

/*
 * The files of the table at 2. A handle has few parents, a mount any number of devices: so each
 * device is kept by a hold that keeps the hold before it. Leaves the last one on the stack, or nil.
 */
static void check_files(lua_State *L, struct fuse_file *files, size_t count)
{
	static const char *const names[] = { "name", "device", NULL };

	lua_pushnil(L);
	for (size_t i = 0; i < count; i++) {
		struct opts outer = { .L = L, .arg = 2, .idx = 2 }, o;
		struct box *dev, *hold;

		lua_rawgeti(L, 2, (lua_Integer)i + 1);
		o = opts_inner(&outer, "files", names);
		files[i].name = check_name(&o);
		dev = opts_need_box(&o, "device", &box_device);
		files[i].dev = dev->obj;
		hold = box_hold(L, -1);
		/* files[i], the device, the hold; the one before it lies below them. */
		if (i > 0)
			box_adopt(L, hold, 1, lua_gettop(L) - 3);
		lua_replace(L, -4);
		lua_pop(L, 2);
	}
}

int server_f_mount(lua_State *L)
{
	static const char *const names[] = { "allow_other", NULL };
	const char *dir = arg_text(L, 1);
	struct fuse_mount_options how;
	struct fuse_mount *m = NULL;
	struct fuse_file *files;
	struct opts o;
	struct box *b;
	struct err e;
	size_t count;

	luaL_checktype(L, 2, LUA_TTABLE);
	count = lua_rawlen(L, 2);
	luaL_argcheck(L, count > 0 && count <= FILES_MAX, 2, "1 to 1024 files are expected");
	lua_settop(L, 3);
	o = opts_begin_optional(L, 3, names);
	how.allow_other = opts_bool(&o, "allow_other", false);
	files = lua_newuserdatauv(L, count * sizeof(*files), 0);
	check_files(L, files, count);
	b = box_new(L, &box_mount, sizeof(*b));
	if (serve_fuse(dir, files, count, &how, &m, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, m);
	box_adopt(L, b, 0, lua_gettop(L) - 1);
	return 1;
}

int server_f_mount_files(lua_State *L)
{
	static const char *const names[] = { "allow_other", NULL };
	const char *dir = arg_text(L, 1);
	struct fuse_mount_options how;
	struct fuse_mount *m = NULL;
	struct opts o;
	struct box *b;
	struct err e;

	lua_settop(L, 3);
	o = opts_begin_optional(L, 3, names);
	how.allow_other = opts_bool(&o, "allow_other", false);
	box_check(L, 2, &box_files);
	b = box_new(L, &box_mount, sizeof(*b));
	if (serve_fuse_tree(dir, box_check(L, 2, &box_files)->obj, &how, &m, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, m);
	box_adopt(L, b, 0, 2);
	return 1;
}

static struct fuse_mount *check_mount(lua_State *L)
{
	return box_check(L, 1, &box_mount)->obj;
}

static int m_running(lua_State *L)
{
	lua_pushboolean(L, fuse_mount_running(check_mount(L)));
	return 1;
}

static int m_stats(lua_State *L)
{
	struct fuse_mount_stats s;

	fuse_mount_stats(check_mount(L), &s);
	lua_createtable(L, 0, 3);
	set_u64(L, "requests", s.requests);
	set_u64(L, "failures", s.failures);
	set_u64(L, "bytes", s.bytes);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "running", m_running },
	{ "stats", m_stats },
	{ "close", box_close_method },
	{ NULL, NULL },
};

void mount_register(lua_State *L)
{
	box_register(L, &box_mount, methods);
}
