/*
 * img.sys, lines from the terminal. readline is one per process and has no argument for its
 * callbacks, so the file-scope variables below (against S8) are set while a line is read, on the
 * main thread, and reset after it. No Lua error passes through readline's frames.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "bind/bind_int.h"

/* In the Lua stack of the function that called readline. */
#define COMPLETE_IDX 2

static lua_State *completing; /* NULL: no completion */
static unsigned caught_before;

/* (function, word) -> its array */
static int call_complete(lua_State *L)
{
	const char *word = lua_touserdata(L, 2);

	lua_pushvalue(L, 1);
	lua_pushstring(L, word);
	lua_call(L, 1, 1);
	luaL_checktype(L, -1, LUA_TTABLE);
	return 1;
}

/* A malloc'ed copy of element number `next` of the array on top of the stack. */
static char *next_completion(const char *word, int state)
{
	static lua_Integer next;
	char *copy = NULL;

	(void)word;
	if (state == 0)
		next = 1;
	if (lua_rawgeti(completing, -1, next++) == LUA_TSTRING)
		copy = strdup(lua_tostring(completing, -1));
	lua_pop(completing, 1);
	return copy;
}

static char **complete(const char *word, int start, int end)
{
	char **matches = NULL;

	(void)start;
	(void)end;
	/* Both are reset by readline each time: no file names, and nothing after the word. */
	rl_attempted_completion_over = 1;
	rl_completion_append_character = '\0';
	if (completing == NULL)
		return NULL;
	/* Neither push allocates, so neither can raise. */
	lua_pushcfunction(completing, call_complete);
	lua_pushvalue(completing, COMPLETE_IDX);
	lua_pushlightuserdata(completing, (void *)(uintptr_t)word);
	/* A completion that fails completes nothing: the line is what matters. */
	if (lua_pcall(completing, 2, 1, 0) == LUA_OK)
		matches = rl_completion_matches(word, next_completion);
	lua_pop(completing, 1);
	return matches;
}

/*
 * Ctrl-C, when signals are caught: the line is given up, the program goes on. readline itself would
 * go on with the line; so a key is waited for here, and a signal becomes the return key on an empty
 * line. The timeout covers a signal that comes just before poll.
 */
static int get_key(FILE *stream)
{
	struct pollfd in = { .fd = fileno(stream), .events = POLLIN };

	for (;;) {
		int n = poll(&in, 1, 200);
		bool ready = n > 0 || (n < 0 && errno != EINTR);

		/* Puts the terminal in order and hands the signal on to our handler. */
		rl_check_signals();
		if (sys_signal_count() != caught_before) {
			rl_replace_line("", 0);
			return '\n';
		}
		if (ready)
			return rl_getc(stream);
	}
}

static char *read_line(lua_State *L, const char *prompt)
{
	char *line;

	rl_readline_name = "imgtool";
	/* A dot and a colon belong to the word: `img.fa` is completed as a whole. */
	rl_completer_word_break_characters = " \t\n\"\\'`@$><=;|&{}()[]+-*/%^~#,!?";
	rl_attempted_completion_function = complete;
	rl_getc_function = get_key;
	caught_before = sys_signal_count();
	completing = lua_isnoneornil(L, COMPLETE_IDX) ? NULL : L;
	line = readline(prompt);
	completing = NULL;
	return line;
}

static int f_readline(lua_State *L)
{
	const char *prompt = arg_text(L, 1);
	struct box *memory;
	char *line;

	if (!lua_isnoneornil(L, COMPLETE_IDX))
		luaL_checktype(L, COMPLETE_IDX, LUA_TFUNCTION);
	lua_settop(L, COMPLETE_IDX);
	memory = box_memory(L);
	/* What Lua still has in its buffer comes before the prompt. */
	fflush(stdout);
	line = read_line(L, prompt);
	if (line == NULL)
		return 0;
	box_set(memory, line);
	lua_pushstring(L, line);
	box_close(memory);
	return 1;
}

static int f_add_history(lua_State *L)
{
	add_history(arg_text(L, 1));
	return 0;
}

static int history_result(lua_State *L, int sys, const char *what, const char *path)
{
	struct err e = { 0 };
	int rc = 0;

	if (sys != 0)
		rc = err_set_errno(&e, ERR_SOURCE, sys, "%s the history %s", what, path);
	return bind_result(L, rc, &e);
}

static int f_load_history(lua_State *L)
{
	const char *path = arg_text(L, 1);

	return history_result(L, read_history(path), "read", path);
}

static int f_save_history(lua_State *L)
{
	const char *path = arg_text(L, 1);

	return history_result(L, write_history(path), "write", path);
}

const luaL_Reg sys_readline_functions[] = {
	{ "readline", f_readline },
	{ "add_history", f_add_history },
	{ "load_history", f_load_history },
	{ "save_history", f_save_history },
	{ NULL, NULL },
};
