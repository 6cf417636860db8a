/*
 * imgtool: a Lua state, the C modules, and imgtool.main, which does the rest.
 *
 * The state is closed on every way out, so that each handle's __close or __gc runs: a job is
 * joined, a lock released, a half-written file dropped.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/err.h"
#include "bind/bind.h"

#define MAX_EXIT_STATUS 255

struct program {
	int argc;
	char **argv;
	bool trace;
};

/*
 * A program started with its standard output closed would open the next device as descriptor 1,
 * and print into it. So 0, 1 and 2 are always taken; in the wrong direction, so that using them
 * is an error and not lost silently.
 */
static bool take_standard_descriptors(void)
{
	static const int modes[] = { O_WRONLY, O_RDONLY, O_RDONLY };

	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
			return false;
	return true;
}

static bool wants_trace(const struct program *p)
{
	const char *trace = getenv("IMGTOOL_TRACE");

	if (trace != NULL && trace[0] != '\0')
		return true;
	for (int i = 1; i < p->argc; i++)
		if (strcmp(p->argv[i], "--verbose") == 0 || strcmp(p->argv[i], "-v") == 0)
			return true;
	return false;
}

/* Leaves errors that are not text as they are: they carry an exit code, and their own trace. */
static int add_traceback(lua_State *L)
{
	if (lua_type(L, 1) == LUA_TSTRING)
		luaL_traceback(L, L, lua_tostring(L, 1), 1);
	return 1;
}

/* os.exit([code]) closes the state always: an upvalue is the one that does so only when told to. */
static int close_and_exit(lua_State *L)
{
	lua_settop(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_pushboolean(L, true);
	lua_call(L, 2, 0);
	return 0;
}

static void wrap_exit(lua_State *L)
{
	lua_getglobal(L, "os");
	lua_getfield(L, -1, "exit");
	lua_pushcclosure(L, close_and_exit, 1);
	lua_setfield(L, -2, "exit");
	lua_pop(L, 1);
}

static void push_arguments(lua_State *L, const struct program *p)
{
	lua_createtable(L, p->argc, 1);
	for (int i = 0; i < p->argc; i++) {
		lua_pushstring(L, p->argv[i]);
		lua_rawseti(L, -2, i);
	}
}

/* Runs protected. (program) -> exit status */
static int run(lua_State *L)
{
	const struct program *p = lua_touserdata(L, 1);

	luaL_openlibs(L);
	bind_open(L);
	wrap_exit(L);
	lua_getglobal(L, "require");
	lua_pushliteral(L, "imgtool.main");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "main");
	push_arguments(L, p);
	lua_call(L, 1, 1);
	return 1;
}

/* (error, program) -> exit status. An error may have a code of its own: {message, code, trace}. */
static int report_error(lua_State *L)
{
	const struct program *p = lua_touserdata(L, 2);
	const char *message = luaL_tolstring(L, 1, NULL);
	const char *trace = NULL;
	lua_Integer code = 0;

	if (lua_istable(L, 1)) {
		lua_getfield(L, 1, "code");
		code = lua_tointeger(L, -1);
		lua_getfield(L, 1, "trace");
		trace = lua_tostring(L, -1);
	}
	if (code <= 0 || code > MAX_EXIT_STATUS) {
		fprintf(stderr, "imgtool: internal error: %s\n", message);
		code = ERR_INTERNAL;
	} else {
		fprintf(stderr, "imgtool: %s\n", message);
	}
	if (p->trace && trace != NULL)
		fprintf(stderr, "%s\n", trace);
	lua_pushinteger(L, code);
	return 1;
}

static int status_of_error(lua_State *L, struct program *p)
{
	int status = ERR_INTERNAL;

	/* Even saying what went wrong may fail, for lack of memory. */
	lua_pushcfunction(L, report_error);
	lua_insert(L, -2);
	lua_pushlightuserdata(L, p);
	if (lua_pcall(L, 2, 1, 0) == LUA_OK)
		status = (int)lua_tointeger(L, -1);
	else
		fputs("imgtool: internal error\n", stderr);
	return status;
}

static int status_of_result(lua_State *L)
{
	lua_Integer status = lua_tointeger(L, -1);

	if (lua_isinteger(L, -1) && status >= 0 && status <= MAX_EXIT_STATUS)
		return (int)status;
	fprintf(stderr, "imgtool: internal error: imgtool.main gave no exit status\n");
	return ERR_INTERNAL;
}

static int run_state(struct program *p)
{
	lua_State *L = luaL_newstate();
	int status;
	int rc;

	if (L == NULL) {
		fputs("imgtool: internal error: out of memory\n", stderr);
		return ERR_INTERNAL;
	}
	/* An error in a finaliser is a warning to Lua; it is not to pass unseen. */
	lua_warning(L, "@on", 0);
	lua_pushcfunction(L, add_traceback);
	lua_pushcfunction(L, run);
	lua_pushlightuserdata(L, p);
	rc = lua_pcall(L, 1, 1, p->trace ? 1 : 0);
	status = rc == LUA_OK ? status_of_result(L) : status_of_error(L, p);
	lua_close(L);
	return status;
}

/*
 * Output that did not arrive is a failure, even if all else went well (R7). Runs at exit, whoever
 * asked for it.
 */
static void flush_output(int status, void *unused)
{
	bool failed = ferror(stdout) != 0;
	int sys = 0;

	if (fflush(stdout) != 0) {
		failed = true;
		sys = errno;
	}
	(void)unused;
	if (!failed || status != ERR_OK)
		return;
	/* Whoever closed the pipe knows. */
	if (sys != EPIPE)
		fprintf(stderr, "imgtool: write to standard output failed%s%s\n",
			sys == 0 ? "" : ": ", sys == 0 ? "" : strerror(sys));
	_exit(ERR_TARGET);
}

int main(int argc, char **argv)
{
	struct program p = { .argc = argc, .argv = argv };

	if (!take_standard_descriptors())
		return ERR_INTERNAL;
	/* A reader that went away is an error of the write that meets it. */
	signal(SIGPIPE, SIG_IGN);
	/* A limit on the size of files is an error of the write, with its own message. */
	signal(SIGXFSZ, SIG_IGN);
	p.trace = wants_trace(&p);
	if (on_exit(flush_output, NULL) != 0)
		return ERR_INTERNAL;
	return run_state(&p);
}
