/* Handles: see bind_int.h for what holds what. */
#include <stdlib.h>
#include <string.h>

#include "bind/bind_int.h"

/* One per Lua state, in its registry. */
struct bind_state {
	const struct box_class *classes[BOX_KINDS];
	unsigned open[BOX_KINDS];
};

#define STATE "img.state"

static struct bind_state *state_of(lua_State *L)
{
	struct bind_state *s;

	lua_getfield(L, LUA_REGISTRYINDEX, STATE);
	s = lua_touserdata(L, -1);
	if (s == NULL) {
		s = lua_newuserdatauv(L, sizeof(*s), 0);
		memset(s, 0, sizeof(*s));
		lua_setfield(L, LUA_REGISTRYINDEX, STATE);
	}
	/* The registry keeps it, until after the last finaliser has run. */
	lua_pop(L, 1);
	return s;
}

static int box_tostring(lua_State *L)
{
	const struct box *b = lua_touserdata(L, 1);

	if (b->obj == NULL || b->closed)
		lua_pushfstring(L, "%s (closed)", b->class->tname);
	else
		lua_pushfstring(L, "%s: %p", b->class->tname, (const void *)b);
	return 1;
}

void box_register(lua_State *L, const struct box_class *c, const luaL_Reg *methods)
{
	state_of(L)->classes[c->kind] = c;
	if (luaL_newmetatable(L, c->tname) == 0) {
		lua_pop(L, 1);
		return;
	}
	lua_pushcfunction(L, box_close_method);
	lua_setfield(L, -2, "__gc");
	lua_pushcfunction(L, box_close_method);
	lua_setfield(L, -2, "__close");
	lua_pushcfunction(L, box_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_newtable(L);
	if (methods != NULL)
		luaL_setfuncs(L, methods, 0);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}

struct box *box_new(lua_State *L, const struct box_class *c, size_t size)
{
	struct bind_state *s = state_of(L);
	struct box *b = lua_newuserdatauv(L, size, BOX_PINS);

	memset(b, 0, size);
	b->class = c;
	b->state = s;
	luaL_setmetatable(L, c->tname);
	return b;
}

void box_set(struct box *b, void *obj)
{
	b->obj = obj;
	b->state->open[b->class->kind]++;
}

void box_adopt(lua_State *L, struct box *child, int slot, int idx)
{
	struct box *parent = lua_touserdata(L, idx);

	lua_pushvalue(L, idx);
	lua_setiuservalue(L, -2, slot + 1);
	child->parents[slot] = parent;
	parent->children++;
}

struct box *box_check(lua_State *L, int arg, const struct box_class *c)
{
	struct box *b = luaL_checkudata(L, arg, c->tname);

	if (b->obj == NULL || b->closed)
		luaL_error(L, "attempt to use a closed %s", c->word);
	return b;
}

static void free_object(struct box *b)
{
	if (b->obj == NULL)
		return;
	if (b->class->free != NULL)
		b->class->free(b);
	b->obj = NULL;
	b->state->open[b->class->kind]--;
}

/* Not recursive: a chain of closed parents can be as long as memory lasts. */
static void free_chain(struct box *dead)
{
	while (dead != NULL) {
		struct box *b = dead;

		dead = b->next;
		b->next = NULL;
		free_object(b);
		for (int i = 0; i < BOX_PARENTS; i++) {
			struct box *parent = b->parents[i];

			b->parents[i] = NULL;
			if (parent == NULL || --parent->children > 0 || !parent->closed)
				continue;
			parent->next = dead;
			dead = parent;
		}
	}
}

void box_close(struct box *b)
{
	if (b == NULL || b->closed)
		return;
	b->closed = true;
	if (b->children == 0)
		free_chain(b);
}

/* The class is not known here: any userdata whose metatable holds this very function is a box. */
int box_close_method(lua_State *L)
{
	bool ours = false;

	luaL_checktype(L, 1, LUA_TUSERDATA);
	if (luaL_getmetafield(L, 1, "__gc") != LUA_TNIL)
		ours = lua_tocfunction(L, -1) == box_close_method;
	luaL_argcheck(L, ours, 1, "not a handle");
	box_close(lua_touserdata(L, 1));
	return 0;
}

static const struct box_class box_hold_class = { "img.Hold", "hold", BOX_HOLD, NULL };

struct box *box_hold(lua_State *L, int idx)
{
	struct box *hold;

	idx = lua_absindex(L, idx);
	hold = box_new(L, &box_hold_class, sizeof(*hold));
	box_adopt(L, hold, 0, idx);
	return hold;
}

static void memory_free(struct box *b)
{
	free(b->obj);
}

static const struct box_class box_memory_class = { "img.Memory", "memory", BOX_MEMORY,
	memory_free };

struct box *box_memory(lua_State *L)
{
	return box_new(L, &box_memory_class, sizeof(struct box));
}

void box_setup(lua_State *L)
{
	box_register(L, &box_hold_class, NULL);
	box_register(L, &box_memory_class, NULL);
}

void box_push_counts(lua_State *L)
{
	const struct bind_state *s = state_of(L);

	lua_newtable(L);
	for (int i = 0; i < BOX_KINDS; i++)
		if (s->open[i] > 0)
			set_u64(L, s->classes[i]->word, s->open[i]);
}
