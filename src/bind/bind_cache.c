/* image.cache: blocks of images, shared by what is made of them (stub: lua/imgtool/meta/). */
#include "base/mem.h"
#include "bind/bind_int.h"
#include "format/block_cache.h"

#define WORKERS_MAX 64

static void cache_free_box(struct box *b)
{
	/* Devices made with it have references of their own. */
	block_cache_unref(b->obj);
}

const struct box_class box_cache = { "img.Cache", "cache", BOX_CACHE, cache_free_box };

int image_f_cache(lua_State *L)
{
	static const char *const names[] = { "limit_bytes", "workers", NULL };
	struct opts o = opts_begin(L, 1, names);
	uint64_t limit = opts_need_u64(&o, "limit_bytes", 0, SIZE_MAX / 2);
	uint64_t workers = opts_u64(&o, "workers", 0, WORKERS_MAX, 0);
	struct box *b = box_new(L, &box_cache, sizeof(*b));
	struct block_cache *k = NULL;
	struct err e;

	if (block_cache_new((size_t)limit, (unsigned)workers, &k, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, k);
	return 1;
}

static int m_stats(lua_State *L)
{
	struct block_stats s;

	block_cache_stats(box_check(L, 1, &box_cache)->obj, &s);
	lua_createtable(L, 0, 8);
	set_u64(L, "hits", s.hits);
	set_u64(L, "misses", s.misses);
	set_u64(L, "ahead", s.ahead);
	set_u64(L, "ahead_used", s.ahead_used);
	set_u64(L, "evicted", s.evicted);
	set_u64(L, "bytes", s.bytes);
	set_u64(L, "peak_bytes", s.peak_bytes);
	set_u64(L, "limit_bytes", s.limit_bytes);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "stats", m_stats },
	{ "close", box_close_method },
	{ NULL, NULL },
};

void cache_register(lua_State *L)
{
	box_register(L, &box_cache, methods);
}
