/* img.device: the stubs in lua/imgtool/meta/img_device.lua say what each function does. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "bind/bind_int.h"
#include "device/dev.h"
#include "device/dev_fault.h"
#include "device/identity.h"

#define READ_MAX_BYTES (64 * MIB)
#define MAX_RULES 256

struct device_box {
	struct box box;
	bool is_fault;
};

static void device_free(struct box *b)
{
	dev_close(b->obj);
}

const struct box_class box_device = { "img.Device", "device", BOX_DEVICE, device_free };

static struct dev *dev_of(const struct box *b)
{
	return b->obj;
}

static struct box *check_device(lua_State *L, int arg)
{
	return box_check(L, arg, &box_device);
}

struct box *box_new_device(lua_State *L)
{
	return box_new(L, &box_device, sizeof(struct device_box));
}

/* The end of every function that opens: the new handle is on top of the stack. */
static int opened(lua_State *L, struct box *b, int rc, struct dev *d, const struct err *e)
{
	if (rc < 0)
		return bind_fail(L, e);
	box_set(b, d);
	return 1;
}

static int f_open(lua_State *L)
{
	static const char *const names[] = { "write", "direct", "exclusive", "create", "truncate",
		NULL };
	static const unsigned flags[] = { DEV_WRITE, DEV_DIRECT, DEV_EXCLUSIVE, DEV_CREATE,
		DEV_TRUNCATE };
	const char *path = arg_text(L, 1);
	struct opts o = opts_begin_optional(L, 2, names);
	struct box *b = box_new_device(L);
	struct dev *d = NULL;
	unsigned how = 0;
	struct err e;
	int rc;

	for (size_t i = 0; i < COUNT_OF(flags); i++)
		if (opts_bool(&o, names[i], false))
			how |= flags[i];
	rc = dev_open(path, how, &d, &e);
	return opened(L, b, rc, d, &e);
}

static int f_pipe(lua_State *L)
{
	uint64_t fd = arg_u64(L, 1);
	bool writable;
	struct box *b;
	struct dev *d = NULL;
	char name[40];
	struct err e;
	int own;
	int rc;

	luaL_argcheck(L, fd <= INT32_MAX, 1, "no file descriptor");
	luaL_checktype(L, 2, LUA_TBOOLEAN);
	writable = lua_toboolean(L, 2);
	b = box_new_device(L);
	if (fd == STDIN_FILENO || fd == STDOUT_FILENO)
		snprintf(name, sizeof(name), "standard %s", fd == 0 ? "input" : "output");
	else
		snprintf(name, sizeof(name), "file descriptor %d", (int)fd);
	own = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0) {
		err_set_errno(&e, writable ? ERR_TARGET : ERR_SOURCE, errno, "open %s", name);
		return bind_fail(L, &e);
	}
	rc = dev_open_pipe(own, name, writable, &d, &e);
	return opened(L, b, rc, d, &e);
}

static int f_slice(lua_State *L)
{
	uint64_t off = arg_u64(L, 2), len = arg_u64(L, 3);
	struct box *b;
	struct dev *d = NULL;
	struct err e;
	int rc;

	check_device(L, 1);
	b = box_new_device(L);
	rc = dev_open_slice(dev_of(check_device(L, 1)), off, len, &d, &e);
	if (rc == 0)
		box_adopt(L, b, 0, 1);
	return opened(L, b, rc, d, &e);
}

/* The base with a part laid over it: three segments of two devices. */
static int compose_overlay(struct dev *base, uint64_t off, struct dev *part, struct dev **out,
	struct err *e)
{
	uint64_t size = dev_size(base), len = dev_size(part), end;
	struct dev_segment s[3];
	size_t count = 0;

	if (!range_inside(off, len, size))
		return err_set(e, ERR_USAGE, 0,
			"%s: %llu bytes at %llu reach past the end of %s at %llu", dev_name(part),
			(unsigned long long)len, (unsigned long long)off, dev_name(base),
			(unsigned long long)size);
	end = off + len;
	if (off > 0)
		s[count++] = (struct dev_segment){ 0, off, base, 0 };
	if (len > 0)
		s[count++] = (struct dev_segment){ off, len, part, 0 };
	if (end < size)
		s[count++] = (struct dev_segment){ end, size - end, base, end };
	return dev_open_compose(dev_name(base), size, s, count, out, e);
}

static int f_overlay(lua_State *L)
{
	uint64_t off = arg_u64(L, 2);
	struct box *b;
	struct dev *d = NULL;
	struct err e;
	int rc;

	check_device(L, 1);
	check_device(L, 3);
	b = box_new_device(L);
	rc = compose_overlay(dev_of(check_device(L, 1)), off, dev_of(check_device(L, 3)), &d, &e);
	if (rc == 0) {
		box_adopt(L, b, 0, 1);
		box_adopt(L, b, 1, 3);
	}
	return opened(L, b, rc, d, &e);
}

static int f_mem(lua_State *L)
{
	const char *bytes = NULL;
	size_t len;
	struct box *b;
	struct dev *d = NULL;
	struct err e;
	int rc;

	if (lua_type(L, 1) == LUA_TSTRING)
		bytes = lua_tolstring(L, 1, &len);
	else
		len = arg_u64(L, 1);
	b = box_new_device(L);
	rc = dev_open_mem(bytes, len, &d, &e);
	return opened(L, b, rc, d, &e);
}

static const char *const op_words[] = { "read", "write", "flush", NULL };

static struct fault_rule read_rule(const struct opts *plan, int number)
{
	static const char *const names[] = { "op", "action", "nth", "sticky", "offset", "length",
		"errno", "delay_ms", NULL };
	static const char *const actions[] = { "fail", "shorten", "delay", "tear", NULL };
	static const enum fault_action action_of[] = { FAULT_FAIL, FAULT_SHORTEN, FAULT_DELAY,
		FAULT_TEAR };
	char prefix[24];
	struct opts o;

	snprintf(prefix, sizeof(prefix), "rules[%d]", number);
	o = opts_inner(plan, prefix, names);
	return (struct fault_rule){
		.op = (enum fault_op)opts_need_word(&o, "op", op_words),
		.action = action_of[opts_need_word(&o, "action", actions)],
		.nth = opts_u64(&o, "nth", 0, UINT64_MAX, 0),
		.sticky = opts_bool(&o, "sticky", false),
		.off = opts_u64(&o, "offset", 0, UINT64_MAX, 0),
		.len = opts_u64(&o, "length", 0, UINT64_MAX, 0),
		.sys = (int)opts_u64(&o, "errno", 0, 4095, 0),
		.delay_ms = (unsigned)opts_u64(&o, "delay_ms", 0, 600000, 0),
	};
}

/* The rules, in memory of Lua's that stays on the stack. */
static const struct fault_rule *read_rules(const struct opts *plan, size_t *count)
{
	lua_State *L = plan->L;
	struct fault_rule *rules;
	int list;

	*count = 0;
	if (!opts_get(plan, "rules"))
		return NULL;
	list = lua_gettop(L);
	if (!lua_istable(L, list))
		opts_error(plan, "rules", "must be an array");
	*count = lua_rawlen(L, list);
	if (*count > MAX_RULES)
		opts_error(plan, "rules", "has too many entries");
	rules = lua_newuserdatauv(L, (*count + 1) * sizeof(*rules), 0);
	for (size_t i = 0; i < *count; i++) {
		lua_rawgeti(L, list, (lua_Integer)i + 1);
		rules[i] = read_rule(plan, (int)i + 1);
		lua_pop(L, 1);
	}
	return rules;
}

static int f_fault(lua_State *L)
{
	static const char *const names[] = { "rules", "align_bytes", "size_bytes", "logical_bytes",
		NULL };
	struct fault_plan plan = { 0 };
	struct opts o;
	struct box *b;
	struct dev *d = NULL;
	struct err e;
	int rc;

	check_device(L, 1);
	o = opts_begin(L, 2, names);
	plan.align_bytes = (uint32_t)opts_u64(&o, "align_bytes", 0, UINT32_MAX, 0);
	plan.size_bytes = opts_u64(&o, "size_bytes", 0, UINT64_MAX, 0);
	plan.logical_bytes = (uint32_t)opts_u64(&o, "logical_bytes", 0, UINT32_MAX, 0);
	plan.rules = read_rules(&o, &plan.rule_count);
	b = box_new_device(L);
	((struct device_box *)b)->is_fault = true;
	rc = dev_open_fault(dev_of(check_device(L, 1)), &plan, &d, &e);
	if (rc == 0)
		box_adopt(L, b, 0, 1);
	return opened(L, b, rc, d, &e);
}

static void push_identity(lua_State *L, const struct identity *id)
{
	lua_createtable(L, 0, 23);
	set_text(L, "path", id->path);
	set_text(L, "name", id->name);
	set_text(L, "kind", id->kind);
	set_text(L, "parent", id->parent);
	set_text(L, "model", id->model);
	set_text(L, "serial", id->serial);
	set_text(L, "wwn", id->wwn);
	set_text(L, "bus", id->bus);
	set_text(L, "part_table", id->part_table);
	set_text(L, "disk_id", id->disk_id);
	set_u64(L, "part_number", id->part_number);
	set_text(L, "part_type", id->part_type);
	set_text(L, "part_guid", id->part_guid);
	set_text(L, "part_name", id->part_name);
	set_text(L, "fs_type", id->fs_type);
	set_text(L, "fs_label", id->fs_label);
	set_text(L, "fs_uuid", id->fs_uuid);
	set_u64(L, "start_bytes", id->start_bytes);
	set_u64(L, "size_bytes", id->size_bytes);
	set_u64(L, "logical_bytes", id->logical_bytes);
	set_u64(L, "physical_bytes", id->physical_bytes);
	set_bool(L, "read_only", id->read_only);
	set_bool(L, "removable", id->removable);
	set_bool(L, "rotational", id->rotational);
}

static int f_identity(lua_State *L)
{
	struct box *b = check_device(L, 1);
	struct identity id;
	struct err e;

	if (identity_of(dev_of(b), &id, &e) < 0)
		return bind_fail(L, &e);
	push_identity(L, &id);
	return 1;
}

static int f_list(lua_State *L)
{
	struct box *memory = box_memory(L);
	struct identity *list = NULL;
	size_t count = 0;
	struct err e;

	if (identity_list(&list, &count, &e) < 0)
		return bind_fail(L, &e);
	if (list != NULL)
		box_set(memory, list);
	lua_newtable(L);
	for (size_t i = 0; i < count; i++) {
		push_identity(L, &list[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	box_close(memory);
	return 1;
}

static int f_holders(lua_State *L)
{
	struct box *b = check_device(L, 1);
	char text[8192] = "";
	bool in_use = true;
	struct err e;

	if (identity_holders(dev_of(b), text, sizeof(text), &in_use, &e) < 0)
		return bind_fail(L, &e);
	lua_pushstring(L, text);
	lua_pushboolean(L, in_use);
	return 2;
}

static int f_reaches(lua_State *L)
{
	struct box *b = check_device(L, 1);
	bool reaches = true;
	struct err e;

	if (identity_reaches(dev_of(b), luaL_checkstring(L, 2), &reaches, &e) < 0)
		return bind_fail(L, &e);
	lua_pushboolean(L, reaches);
	return 1;
}

static int m_name(lua_State *L)
{
	lua_pushstring(L, dev_name(dev_of(check_device(L, 1))));
	return 1;
}

static int m_size(lua_State *L)
{
	push_u64(L, dev_size(dev_of(check_device(L, 1))));
	return 1;
}

static int m_info(lua_State *L)
{
	const struct dev *d = dev_of(check_device(L, 1));
	const struct dev_info i = *dev_info(d);
	const uint64_t size = dev_size(d);

	lua_createtable(L, 0, 10);
	set_u64(L, "size_bytes", size);
	set_u64(L, "logical_bytes", i.logical_bytes);
	set_u64(L, "physical_bytes", i.physical_bytes);
	set_u64(L, "align_bytes", i.align_bytes);
	set_bool(L, "writable", i.writable);
	set_bool(L, "sequential", i.sequential);
	set_bool(L, "block_device", i.block_device);
	set_bool(L, "can_discard", i.can_discard);
	set_bool(L, "can_grow", i.can_grow);
	set_bool(L, "rotational", i.rotational);
	return 1;
}

/*
 * A pipe has one position and no lock: while an image, a writer or a job uses it, bytes in between
 * would land in the middle of theirs.
 */
static struct dev *check_transfer(lua_State *L)
{
	struct box *b = check_device(L, 1);

	if (dev_info(dev_of(b))->sequential && b->children > 0)
		luaL_error(L, "%s is in use", dev_name(dev_of(b)));
	return dev_of(b);
}

static int m_read(lua_State *L)
{
	uint64_t off = arg_u64(L, 2), len = arg_u64(L, 3);
	luaL_Buffer buf;
	struct err e;
	char *p;

	luaL_argcheck(L, len <= READ_MAX_BYTES, 3, "more than 64 MiB at once");
	check_transfer(L);
	p = luaL_buffinitsize(L, &buf, len);
	if (dev_read(check_transfer(L), off, p, len, &e) < 0)
		return bind_fail(L, &e);
	luaL_pushresultsize(&buf, len);
	return 1;
}

static int m_write(lua_State *L)
{
	struct dev *d = check_transfer(L);
	uint64_t off = arg_u64(L, 2);
	const char *bytes;
	size_t len;
	struct err e = { 0 };

	luaL_checktype(L, 3, LUA_TSTRING);
	bytes = lua_tolstring(L, 3, &len);
	return bind_result(L, dev_write(d, off, bytes, len, &e), &e);
}

static int m_flush(lua_State *L)
{
	struct dev *d = dev_of(check_device(L, 1));
	struct err e = { 0 };

	return bind_result(L, dev_flush(d, true, &e), &e);
}

static int m_discard(lua_State *L)
{
	struct dev *d = dev_of(check_device(L, 1));
	uint64_t off = arg_u64(L, 2), len = arg_u64(L, 3);
	struct err e = { 0 };

	return bind_result(L, dev_discard(d, off, len, &e), &e);
}

static int m_zero(lua_State *L)
{
	struct dev *d = check_transfer(L);
	uint64_t off = arg_u64(L, 2), len = arg_u64(L, 3);
	struct err e = { 0 };

	return bind_result(L, dev_zero(d, off, len, &e), &e);
}

static int m_set_size(lua_State *L)
{
	struct dev *d = dev_of(check_device(L, 1));
	uint64_t size = arg_u64(L, 2);
	struct err e = { 0 };

	return bind_result(L, dev_set_size(d, size, &e), &e);
}

static int m_reread_table(lua_State *L)
{
	struct dev *d = dev_of(check_device(L, 1));
	struct err e = { 0 };

	return bind_result(L, dev_reread_table(d, &e), &e);
}

static int m_set_sector_bytes(lua_State *L)
{
	uint64_t sector_bytes = arg_u64(L, 2);
	struct box *b = check_device(L, 1);
	struct err e = { 0 };

	luaL_argcheck(L, sector_bytes <= UINT32_MAX, 2, "too large");
	luaL_argcheck(L, b->children == 0, 1, "the device is in use");
	return bind_result(L, dev_set_sector_bytes(dev_of(b), (uint32_t)sector_bytes, &e), &e);
}

static int m_fault_count(lua_State *L)
{
	struct box *b = check_device(L, 1);
	int op = luaL_checkoption(L, 2, NULL, op_words);

	luaL_argcheck(L, ((struct device_box *)b)->is_fault, 1, "not a device.fault");
	push_u64(L, dev_fault_count(dev_of(b), (enum fault_op)op));
	return 1;
}

static const luaL_Reg functions[] = {
	{ "open", f_open },
	{ "pipe", f_pipe },
	{ "slice", f_slice },
	{ "overlay", f_overlay },
	{ "mem", f_mem },
	{ "fault", f_fault },
	{ "identity", f_identity },
	{ "list", f_list },
	{ "holders", f_holders },
	{ "reaches", f_reaches },
	{ NULL, NULL },
};

static const luaL_Reg methods[] = {
	{ "name", m_name },
	{ "size", m_size },
	{ "info", m_info },
	{ "read", m_read },
	{ "write", m_write },
	{ "flush", m_flush },
	{ "discard", m_discard },
	{ "zero", m_zero },
	{ "set_size", m_set_size },
	{ "reread_table", m_reread_table },
	{ "set_sector_bytes", m_set_sector_bytes },
	{ "fault_count", m_fault_count },
	{ "close", box_close_method },
	{ NULL, NULL },
};

int luaopen_img_device(lua_State *L)
{
	box_setup(L);
	box_register(L, &box_device, methods);
	luaL_newlib(L, functions);
	return 1;
}
