/*
 * Where Lua modules come from: an override on disk, or the embedded source.
 *
 * Overrides are looked for in each directory of $IMGTOOL_LUA_PATH, in ~/.config/imgtool/lua and in
 * /etc/imgtool/lua, as a/b.lua or a/b/init.lua for module a.b; the first found wins. They are read
 * as text only: a bytecode chunk can break the virtual machine. A relative directory is refused,
 * for it would mean the current one. A program that runs with more rights than its user (setuid,
 * file capabilities) does not look at the environment.
 *
 * For root every directory on the way to an override, and every symbolic link in it, must belong
 * to root, and nobody else may be able to write to it; a sticky directory (/tmp) will do, because
 * others cannot replace there what root owns. The way is walked link by link, so that no directory
 * in between is left out. What fails is an error, not passed over: root shall know.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "bind/bind_int.h"
#include "bind/embedded_lua.h"

#define SYSTEM_DIRECTORY "/etc/imgtool/lua"
#define USER_DIRECTORY ".config/imgtool/lua"
#define MAX_LINKS 40
#define OVERRIDE_ERROR "img.Error"

/* ---- The walk, for root ---- */

struct walk {
	char done[PATH_MAX]; /* resolved: no link in it; "" is the root directory */
	char rest[PATH_MAX]; /* still to go; no leading slash */
	int links;
};

static int refuse(const char *path, const char *why, struct err *e)
{
	return err_set(e, ERR_REFUSED, 0, "%s: %s; root loads no Lua from there", path, why);
}

/* May others change what is there? */
static int check_owner(const char *path, const struct stat *st, struct err *e)
{
	const bool others_write = (st->st_mode & (S_IWGRP | S_IWOTH)) != 0;

	if (st->st_uid != 0)
		return refuse(path, "does not belong to root", e);
	if (S_ISLNK(st->st_mode))
		return 0;
	/* An access control list that lets others write shows as a group that can. */
	if (others_write && !(S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX)))
		return refuse(path, "others than root can write to it", e);
	return 0;
}

/* Take the first component off `rest`; false when none is left. */
static bool next_component(struct walk *w, char *name, size_t len)
{
	size_t skip = strspn(w->rest, "/");
	size_t n = strcspn(w->rest + skip, "/");

	snprintf(name, len, "%.*s", (int)n, w->rest + skip);
	memmove(w->rest, w->rest + skip + n, strlen(w->rest + skip + n) + 1);
	return n > 0;
}

static int too_long(const char *path, struct err *e)
{
	return err_set(e, ERR_REFUSED, ENAMETOOLONG, "%s", path);
}

/* `here` is a link: what it says comes before the rest of the way. */
static int follow_link(struct walk *w, const char *here, struct err *e)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t n = readlink(here, target, sizeof(target) - 1);

	if (n < 0)
		return err_set_errno(e, ERR_REFUSED, errno, "read the link %s", here);
	target[n] = '\0';
	if (++w->links > MAX_LINKS)
		return err_set(e, ERR_REFUSED, ELOOP, "%s", here);
	if (target[0] == '/')
		w->done[0] = '\0';
	if (snprintf(joined, sizeof(joined), "%s/%s", target, w->rest) >= (int)sizeof(joined))
		return too_long(here, e);
	memcpy(w->rest, joined, strlen(joined) + 1);
	return 0;
}

static int step(struct walk *w, const char *name, struct err *e)
{
	char here[PATH_MAX];
	struct stat st;
	int rc;

	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		char *slash = strrchr(w->done, '/');

		if (slash != NULL)
			*slash = '\0';
		return 0;
	}
	if (snprintf(here, sizeof(here), "%s/%s", w->done, name) >= (int)sizeof(here))
		return too_long(w->done, e);
	if (lstat(here, &st) < 0)
		return err_set_errno(e, ERR_REFUSED, errno, "stat %s", here);
	rc = check_owner(here, &st, e);
	if (rc < 0)
		return rc;
	if (S_ISLNK(st.st_mode))
		return follow_link(w, here, e);
	memcpy(w->done, here, sizeof(here));
	return 0;
}

/* `path` is absolute. On success `resolved` (PATH_MAX) names the same file without links. */
static int walk_checked(const char *path, char *resolved, struct err *e)
{
	struct walk w = { .links = 0 };
	char name[NAME_MAX + 1];
	struct stat st;
	int rc;

	if (stat("/", &st) < 0)
		return err_set_errno(e, ERR_REFUSED, errno, "stat /");
	rc = check_owner("/", &st, e);
	snprintf(w.rest, sizeof(w.rest), "%s", path);
	while (rc == 0 && next_component(&w, name, sizeof(name)))
		rc = step(&w, name, e);
	if (rc == 0)
		memcpy(resolved, w.done, sizeof(w.done));
	return rc;
}

/* ---- Finding ---- */

/* "a.b.c" with letters, digits and underscores: what may become a path. */
static bool is_module_name(const char *name)
{
	static const char ok[] = "abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	for (;;) {
		size_t n = strspn(name, ok);

		if (n == 0)
			return false;
		if (name[n] == '\0')
			return true;
		if (name[n] != '.')
			return false;
		name += n + 1;
	}
}

/* 1: path holds the file; 0: there is none; negative: there is one that must not be used. */
static int try_file(const char *directory, size_t directory_len, const char *name, const char *tail,
	char *path, struct err *e)
{
	struct stat st;
	char *p;
	int n;

	n = snprintf(path, PATH_MAX, "%.*s/%s%s", (int)directory_len, directory, name, tail);
	if (n >= PATH_MAX)
		return too_long(directory, e);
	for (p = path + directory_len; p < path + n - strlen(tail); p++)
		if (*p == '.')
			*p = '/';
	if (stat(path, &st) < 0) {
		/* A directory that we may not even search holds nothing for us. */
		if (errno == ENOENT || errno == ENOTDIR || errno == EACCES)
			return 0;
		return err_set_errno(e, ERR_REFUSED, errno, "stat %s", path);
	}
	if (!S_ISREG(st.st_mode))
		return 0;
	if (geteuid() == 0) {
		char resolved[PATH_MAX];
		int rc = walk_checked(path, resolved, e);

		if (rc < 0)
			return rc;
		/* What was checked is what is read. */
		memcpy(path, resolved, sizeof(resolved));
	}
	return 1;
}

static int try_directory(const char *directory, size_t len, const char *name, char *path,
	struct err *e)
{
	int rc = try_file(directory, len, name, ".lua", path, e);

	return rc != 0 ? rc : try_file(directory, len, name, "/init.lua", path, e);
}

static int try_list(const char *list, const char *name, char *path, struct err *e)
{
	while (*list != '\0') {
		size_t n = strcspn(list, ":");
		int rc = 0;

		if (n > 0 && list[0] != '/')
			return err_set(e, ERR_USAGE, 0,
				"IMGTOOL_LUA_PATH: %.*s: not an absolute path", (int)n, list);
		if (n > 0)
			rc = try_directory(list, n, name, path, e);
		if (rc != 0)
			return rc;
		list += n + (list[n] == ':');
	}
	return 0;
}

static const char *environment(const char *name)
{
	if (geteuid() != getuid() || getegid() != getgid())
		return "";
	name = secure_getenv(name);
	return name == NULL ? "" : name;
}

static int find_override(const char *name, char *path, struct err *e)
{
	const char *home = environment("HOME");
	char directory[PATH_MAX];
	int rc = try_list(environment("IMGTOOL_LUA_PATH"), name, path, e);
	int n;

	if (rc == 0 && home[0] == '/') {
		n = snprintf(directory, sizeof(directory), "%s/" USER_DIRECTORY, home);
		if (n < (int)sizeof(directory))
			rc = try_directory(directory, (size_t)n, name, path, e);
	}
	if (rc == 0)
		rc = try_directory(SYSTEM_DIRECTORY, strlen(SYSTEM_DIRECTORY), name, path, e);
	return rc;
}

static int compare_name(const void *key, const void *row)
{
	return strcmp(key, ((const struct embedded_lua *)row)->name);
}

static const struct embedded_lua *find_embedded(const char *name)
{
	return bsearch(name, embedded_lua, embedded_lua_count, sizeof(embedded_lua[0]),
		compare_name);
}

/* ---- Lua ---- */

static int error_tostring(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_getfield(L, 1, "message");
	return 1;
}

/* An error that carries an exit code: a table {message, code} that prints as its message. */
static int throw_err(lua_State *L, const struct err *e)
{
	lua_createtable(L, 0, 2);
	set_text(L, "message", e->msg);
	set_u64(L, "code", (uint64_t)e->code);
	if (luaL_newmetatable(L, OVERRIDE_ERROR) != 0) {
		lua_pushcfunction(L, error_tostring);
		lua_setfield(L, -2, "__tostring");
	}
	lua_setmetatable(L, -2);
	return lua_error(L);
}

static int load_failed(lua_State *L, const char *name, const char *path)
{
	return luaL_error(L, "module '%s' does not load from %s: %s", name, path,
		lua_tostring(L, -1));
}

static int search(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	const struct embedded_lua *embedded;
	char path[PATH_MAX];
	struct err e;
	int rc = 0;

	if (is_module_name(name))
		rc = find_override(name, path, &e);
	if (rc < 0)
		return throw_err(L, &e);
	if (rc > 0) {
		if (luaL_loadfilex(L, path, "t") != LUA_OK)
			return load_failed(L, name, path);
		lua_pushstring(L, path);
		return 2;
	}
	embedded = find_embedded(name);
	if (embedded == NULL) {
		lua_pushfstring(L, "no override of '%s', and no such module in imgtool", name);
		return 1;
	}
	lua_pushfstring(L, "@%s", embedded->path);
	if (luaL_loadbufferx(L, (const char *)embedded->text, embedded->len, lua_tostring(L, -1),
		    "t") != LUA_OK)
		return load_failed(L, name, embedded->path);
	lua_pushstring(L, embedded->path);
	return 2;
}

void require_setup(lua_State *L)
{
	lua_getglobal(L, "package");
	lua_pushliteral(L, "");
	lua_setfield(L, -2, "path");
	lua_pushliteral(L, "");
	lua_setfield(L, -2, "cpath");
	/* `require` looks at the table that it was made with: change it, don't replace it. */
	lua_getfield(L, -1, "searchers");
	for (lua_Integer i = luaL_len(L, -1); i > 1; i--) {
		lua_pushnil(L);
		lua_rawseti(L, -2, i);
	}
	lua_pushcfunction(L, search);
	lua_rawseti(L, -2, 2);
	lua_pop(L, 2);
}

int require_overrides(lua_State *L)
{
	char path[PATH_MAX];
	struct err e;

	lua_newtable(L);
	for (size_t i = 0; i < embedded_lua_count; i++) {
		int rc = find_override(embedded_lua[i].name, path, &e);

		if (rc < 0)
			return throw_err(L, &e);
		if (rc > 0)
			set_text(L, embedded_lua[i].name, path);
	}
	return 1;
}

int require_embedded(lua_State *L)
{
	const struct embedded_lua *embedded = find_embedded(arg_text(L, 1));

	if (embedded == NULL)
		return 0;
	lua_pushlstring(L, (const char *)embedded->text, embedded->len);
	return 1;
}
