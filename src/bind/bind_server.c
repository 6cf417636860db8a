/* img.server: the stubs in lua/imgtool/meta/img_server.lua say what each function does. */
#include "base/mem.h"
#include "bind/bind_int.h"
#include "server/server.h"

#define MAX_CLIENTS 1024
#define MAX_TIMEOUT_S 86400

static void server_free(struct box *b)
{
	server_close(b->obj);
}

const struct box_class box_server = { "img.Server", "server", BOX_SERVER, server_free };

static void where(struct opts *o, struct server_options *how)
{
	if (opts_get(o, "unix_path"))
		how->unix_path = opts_need_string(o, "unix_path", NULL);
	else
		how->host = opts_need_string(o, "host", NULL);
}

static int f_proxy(lua_State *L)
{
	static const char *const names[] = { "host", "port", "unix_path", "max_clients",
		"timeout_s", NULL };
	struct opts o = opts_begin(L, 2, names);
	struct server_options how = { .port = (uint16_t)opts_u64(&o, "port", 0, UINT16_MAX, 0) };
	struct server *s = NULL;
	struct box *b;
	struct err e;

	where(&o, &how);
	how.max_clients = (unsigned)opts_need_u64(&o, "max_clients", 1, MAX_CLIENTS);
	how.timeout_ms = 1000 * (unsigned)opts_need_u64(&o, "timeout_s", 1, MAX_TIMEOUT_S);
	box_check(L, 1, &box_device);
	b = box_new(L, &box_server, sizeof(*b));
	if (serve_proxy(box_check(L, 1, &box_device)->obj, &how, &s, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, s);
	box_adopt(L, b, 0, 1);
	return 1;
}

static int f_probe(lua_State *L)
{
	static const char *const names[] = { "host", "port", "unix_path", NULL };
	struct opts o = opts_begin(L, 1, names);
	struct server_options how = { .port = (uint16_t)opts_u64(&o, "port", 0, UINT16_MAX, 0) };
	struct err e;

	where(&o, &how);
	if (server_probe(&how, &e) < 0)
		return bind_fail(L, &e);
	lua_pushboolean(L, true);
	return 1;
}

static struct server *check_server(lua_State *L)
{
	return box_check(L, 1, &box_server)->obj;
}

static int m_address(lua_State *L)
{
	char address[256];

	server_address(check_server(L), address, sizeof(address));
	lua_pushstring(L, address);
	return 1;
}

static int m_stats(lua_State *L)
{
	struct server_stats s;

	server_stats(check_server(L), &s);
	lua_createtable(L, 0, 7);
	set_u64(L, "clients", s.clients);
	set_u64(L, "clients_all", s.clients_all);
	set_u64(L, "clients_over", s.clients_over);
	set_u64(L, "clients_late", s.clients_late);
	set_u64(L, "requests", s.requests);
	set_u64(L, "failures", s.failures);
	set_u64(L, "bytes", s.bytes);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "proxy", f_proxy },
	{ "probe", f_probe },
	{ "mount", server_f_mount },
	{ "mount_files", server_f_mount_files },
	{ NULL, NULL },
};

static const luaL_Reg methods[] = {
	{ "address", m_address },
	{ "stats", m_stats },
	{ "close", box_close_method },
	{ NULL, NULL },
};

int luaopen_img_server(lua_State *L)
{
	box_setup(L);
	box_register(L, &box_server, methods);
	mount_register(L);
	luaL_newlib(L, functions);
	return 1;
}
