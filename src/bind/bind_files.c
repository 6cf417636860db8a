/* img.files: the stubs in lua/imgtool/meta/img_files.lua say what each function does. */
#include "base/mem.h"
#include "bind/bind_int.h"
#include "device/dev.h"
#include "files/files.h"

static void files_free(struct box *b)
{
	files_close(b->obj);
}

const struct box_class box_files = { "img.Files", "file tree", BOX_FILES, files_free };

/* files.open(device) -> files | nil, message, code */
static int f_open(lua_State *L)
{
	struct files_limits limits = files_limits_default();
	struct files *f = NULL;
	struct box *b;
	struct err e;

	box_check(L, 1, &box_device);
	b = box_new(L, &box_files, sizeof(*b));
	if (files_open_confined(box_check(L, 1, &box_device)->obj, &limits, &f, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, f);
	box_adopt(L, b, 0, 1);
	return 1;
}

static struct files *check_files(lua_State *L)
{
	return box_check(L, 1, &box_files)->obj;
}

static int m_info(lua_State *L)
{
	struct files_info i = *files_info(check_files(L));

	lua_createtable(L, 0, 6);
	set_text(L, "type", i.type);
	set_text(L, "note", i.note);
	set_u64(L, "block_bytes", i.block_bytes);
	set_u64(L, "size_bytes", i.size_bytes);
	set_u64(L, "free_bytes", i.free_bytes);
	set_u64(L, "nodes", i.nodes);
	return 1;
}

static void push_node(lua_State *L, const struct files_node *n)
{
	lua_createtable(L, 0, 10);
	set_text(L, "type", files_type_word(n->type));
	set_u64(L, "size", n->size);
	set_u64(L, "allocated_bytes", n->allocated_bytes);
	set_u64(L, "links", n->links);
	set_u64(L, "mode", n->mode);
	if (n->has_owner) {
		set_u64(L, "uid", n->uid);
		set_u64(L, "gid", n->gid);
	}
	lua_pushinteger(L, n->modified.s);
	lua_setfield(L, -2, "modified_s");
	set_u64(L, "modified_ns", n->modified.ns);
}

static int m_stat(lua_State *L)
{
	const char *path = arg_text(L, 2);
	char target[FILES_LINK_MAX_BYTES + 1];
	struct files *f = check_files(L);
	struct files_node n;
	size_t len = 0;
	uint64_t id;
	struct err e;

	if (files_find(f, path, &id, &e) < 0 || files_stat(f, id, &n, &e) < 0)
		return bind_fail(L, &e);
	if (n.type == FILES_LINK && files_link(f, id, target, &len, &e) < 0)
		return bind_fail(L, &e);
	push_node(L, &n);
	if (n.type == FILES_LINK) {
		lua_pushlstring(L, target, len);
		lua_setfield(L, -2, "target");
	}
	return 1;
}

/* Names one after the other, each with its zero byte; grows outside of Lua, which may raise. */
struct names {
	char *bytes;
	size_t len, room;
};

static int add_name(void *user, const char *name, size_t len, uint64_t id, enum files_type type,
	struct err *e)
{
	struct names *n = user;

	(void)id, (void)type;
	if (len + 1 > n->room - n->len) {
		size_t room = 2 * n->room + len + 4096;
		char *p = realloc(n->bytes, room);

		if (p == NULL)
			return err_nomem(e);
		n->bytes = p;
		n->room = room;
	}
	memcpy(n->bytes + n->len, name, len + 1);
	n->len += len + 1;
	return 0;
}

static int m_list(lua_State *L)
{
	const char *path = arg_text(L, 2);
	struct box *memory = box_memory(L);
	struct files *f = check_files(L);
	struct names names = { 0 };
	lua_Integer count = 0;
	uint64_t id;
	struct err e;

	if (files_find(f, path, &id, &e) < 0)
		return bind_fail(L, &e);
	if (files_list(f, id, add_name, &names, &e) < 0) {
		free(names.bytes);
		return bind_fail(L, &e);
	}
	if (names.bytes != NULL)
		box_set(memory, names.bytes);
	lua_newtable(L);
	for (size_t at = 0; at < names.len; at += strlen(names.bytes + at) + 1) {
		lua_pushstring(L, names.bytes + at);
		lua_rawseti(L, -2, ++count);
	}
	box_close(memory);
	return 1;
}

static int m_read(lua_State *L)
{
	const char *path = arg_text(L, 2);
	uint64_t off = arg_u64(L, 3), len = arg_u64(L, 4), id;
	luaL_Buffer buf;
	struct files *f;
	size_t got;
	char *p;
	struct err e;

	luaL_argcheck(L, len <= FILES_READ_MAX_BYTES, 4, "more than 1 MiB at once");
	p = luaL_buffinitsize(L, &buf, (size_t)len);
	f = check_files(L);
	if (files_find(f, path, &id, &e) < 0 ||
		files_read(f, id, off, p, (size_t)len, &got, &e) < 0)
		return bind_fail(L, &e);
	luaL_pushresultsize(&buf, got);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "open", f_open },
	{ NULL, NULL },
};

static const luaL_Reg methods[] = {
	{ "info", m_info },
	{ "stat", m_stat },
	{ "list", m_list },
	{ "read", m_read },
	{ "close", box_close_method },
	{ NULL, NULL },
};

int luaopen_img_files(lua_State *L)
{
	box_setup(L);
	box_register(L, &box_files, methods);
	luaL_newlib(L, functions);
	return 1;
}
