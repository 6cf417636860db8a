/* image.repair: lua/imgtool/meta/img_image.lua says what it does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bind/bind_int.h"
#include "format/recover.h"

/* All losses are counted; so many are told one by one. */
#define LOSSES_MAX 10000

struct loss {
	uint64_t off, len, file_off;
	char why[128];
};

/* In a box of memory, so that an error raised while results are pushed loses nothing. */
struct losses {
	unsigned signals; /* that were caught before, and seen to */
	size_t count;
	struct loss list[LOSSES_MAX];
};

static void note_loss(void *user, uint64_t off, uint64_t len, uint64_t file_off, const char *why)
{
	struct losses *l = user;
	struct loss *x;

	if (l->count == LOSSES_MAX)
		return;
	x = &l->list[l->count++];
	x->off = off;
	x->len = len;
	x->file_off = file_off;
	snprintf(x->why, sizeof(x->why), "%s", why);
}

/* Nobody else asks for them while it runs. */
static bool signal_came(void *user)
{
	return sys_signal_count() != ((const struct losses *)user)->signals;
}

static void push_losses(lua_State *L, const struct losses *l)
{
	lua_createtable(L, (int)l->count, 0);
	for (size_t i = 0; i < l->count; i++) {
		lua_createtable(L, 0, 4);
		set_u64(L, "offset", l->list[i].off);
		set_u64(L, "length", l->list[i].len);
		set_u64(L, "file_offset", l->list[i].file_off);
		set_text(L, "why", l->list[i].why);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static void push_report(lua_State *L, const struct recover_report *r, const struct losses *l)
{
	lua_createtable(L, 0, 14);
	set_bool(L, "head_copied", r->head_copied);
	set_bool(L, "index_lost", r->index_lost);
	set_u64(L, "tables_lost", r->tables_lost);
	set_u64(L, "chunks_lost", r->chunks_lost);
	set_u64(L, "bad_unknown", r->bad_unknown);
	set_bool(L, "bad_seen", r->bad_seen);
	set_u64(L, "lost_bytes", r->lost_bytes);
	set_u64(L, "lost_ranges", r->lost_ranges);
	set_u64(L, "data_bytes", r->totals.kind_bytes[ENTRY_DATA]);
	set_u64(L, "zero_bytes", r->totals.kind_bytes[ENTRY_ZERO]);
	set_u64(L, "free_bytes", r->totals.kind_bytes[ENTRY_FREE]);
	set_u64(L, "bad_bytes", r->totals.kind_bytes[ENTRY_BAD]);
	push_losses(L, l);
	lua_setfield(L, -2, "losses");
}

int image_f_repair(lua_State *L)
{
	struct recover_hooks hooks = { .lost = note_loss, .stop = signal_came };
	bool writes = !lua_isnoneornil(L, 2);
	bool has_seen = !lua_isnoneornil(L, 3);
	uint64_t seen = has_seen ? arg_u64(L, 3) : sys_signal_count();
	struct recover_report report;
	struct box *memory, *in, *out = NULL;
	struct losses *losses;
	struct err e = { 0 };

	box_check(L, 1, &box_device);
	if (writes)
		box_check(L, 2, &box_device);
	memory = box_memory(L);
	losses = calloc(1, sizeof(*losses));
	if (losses == NULL) {
		err_nomem(&e);
		return bind_fail(L, &e);
	}
	box_set(memory, losses);
	in = box_check(L, 1, &box_device);
	if (writes)
		out = box_check(L, 2, &box_device);
	losses->signals = (unsigned)seen;
	hooks.user = losses;
	if (recover_image(in->obj, writes ? out->obj : NULL, &hooks, &report, &e) < 0)
		return bind_fail(L, &e);
	push_report(L, &report, losses);
	box_close(memory);
	return 1;
}
