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

/* Signals that were caught before, and seen to: what the caller says in `arg`, or all so far. */
static unsigned seen_signals(lua_State *L, int arg)
{
	return lua_isnoneornil(L, arg) ? sys_signal_count() : (unsigned)arg_u64(L, arg);
}

/* Nobody else asks for them while it runs. */
static bool signal_came(void *user)
{
	return sys_signal_count() != *(const unsigned *)user;
}

/* `seen` must outlive them. */
static struct fs_limits limits_until_signal(unsigned *seen)
{
	struct fs_limits l = fs_limits_default();

	l.stop = signal_came;
	l.user = seen;
	return l;
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
	unsigned seen = seen_signals(L, 2);
	struct fs_limits limits = limits_until_signal(&seen);
	struct err e;

	box_check(L, 1, &box_device);
	b = box_new(L, &box_map, sizeof(*b));
	if (fs_map_confined(box_check(L, 1, &box_device)->obj, &limits, &m, &r, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, m);
	push_report(L, &r);
	return 2;
}

/* ---- Files ------------------------------------------------------------------------------- */

struct visit {
	lua_State *L; /* the function at index 3 */
	const struct fs_file *file;
	bool stop;  /* it answered false */
	bool threw; /* its error is on top of the stack */
};

static void push_file(lua_State *L, const struct fs_file *f)
{
	lua_createtable(L, 0, 9);
	set_text(L, "path", f->path);
	set_text(L, "kept", f->kept);
	set_u64(L, "size", f->size_bytes);
	set_u64(L, "allocated", f->allocated_bytes);
	set_bool(L, "swap", f->swap_page_bytes > 0);
	lua_pushinteger(L, f->created_s);
	lua_setfield(L, -2, "created");
	lua_pushinteger(L, f->modified_s);
	lua_setfield(L, -2, "modified");
	lua_pushinteger(L, f->accessed_s);
	lua_setfield(L, -2, "accessed");
	lua_createtable(L, (int)f->range_count, 0);
	for (size_t i = 0; i < f->range_count; i++) {
		lua_createtable(L, 2, 0);
		push_u64(L, f->ranges[i].off);
		lua_rawseti(L, -2, 1);
		push_u64(L, f->ranges[i].len);
		lua_rawseti(L, -2, 2);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_setfield(L, -2, "ranges");
}

/* Protected: visit, the function. */
static int call_visitor(lua_State *L)
{
	struct visit *v = lua_touserdata(L, 1);

	push_file(L, v->file);
	lua_call(L, 1, 1);
	v->stop = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
	return 0;
}

/* No error of Lua may jump over the frames that hold the child process. */
static int visit(void *user, const struct fs_file *f, struct err *e)
{
	struct visit *v = user;

	v->file = f;
	lua_pushcfunction(v->L, call_visitor);
	lua_pushlightuserdata(v->L, v);
	lua_pushvalue(v->L, 3);
	v->threw = lua_pcall(v->L, 2, 0, 0) != LUA_OK;
	if (v->threw || v->stop)
		return err_set(e, ERR_CANCELLED, 0, "ended by the visitor");
	return 0;
}

static int f_files(lua_State *L)
{
	struct visit v = { .L = L };
	unsigned seen = seen_signals(L, 4);
	struct fs_limits limits = limits_until_signal(&seen);
	bool tree = arg_bool(L, 2, false);
	struct box *hold;
	struct err e;
	int rc;

	box_check(L, 1, &box_device);
	luaL_checktype(L, 3, LUA_TFUNCTION);
	lua_settop(L, 3);
	/* The visitor may close the device. */
	hold = box_hold(L, 1);
	luaL_checkstack(L, 4, NULL);
	rc = fs_files_confined(box_check(L, 1, &box_device)->obj, &limits, tree, visit, &v, &e);
	if (v.threw)
		return lua_error(L);
	box_close(hold);
	return bind_result(L, v.stop ? 0 : rc, &e);
}

static int f_claims(lua_State *L)
{
	unsigned seen = seen_signals(L, 3);
	struct fs_limits limits = limits_until_signal(&seen);
	const struct map *ranges = box_check(L, 2, &box_map)->obj;
	struct dev *d = box_check(L, 1, &box_device)->obj;
	uint64_t bytes = 0;
	struct err e;

	luaL_argcheck(L, map_size(ranges) == dev_size(d), 2, "a map of another size");
	if (fs_claims_confined(d, &limits, ranges, &bytes, &e) < 0)
		return bind_fail(L, &e);
	push_u64(L, bytes);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "probe", f_probe },
	{ "map", f_map },
	{ "files", f_files },
	{ "claims", f_claims },
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
