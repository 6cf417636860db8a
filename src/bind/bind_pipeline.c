/* img.pipeline: the stubs in lua/imgtool/meta/img_pipeline.lua say what each function does. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "bind/bind_int.h"
#include "codec/block.h"
#include "pipeline/pipeline.h"

#define WRITER_SLOT 2

static void job_free(struct box *b)
{
	job_close(b->obj);
	if (b->parents[WRITER_SLOT] != NULL && b->parents[WRITER_SLOT]->class == &box_writer)
		writer_set_job(b->parents[WRITER_SLOT], NULL);
}

const struct box_class box_job = { "img.Job", "job", BOX_JOB, job_free };

bool job_has_ended(struct job *job)
{
	struct err e;

	/* A stalled job is over for who waits for it, but its threads may yet wake up. */
	return job_wait(job, 0, &e) == 1 && !job_stalled(job);
}

static struct job *check_job(lua_State *L)
{
	return box_check(L, 1, &box_job)->obj;
}

#define SETTINGS "workers", "depth", "level", "max_bytes_per_s", "stall_s"

/* A day: beyond that a watchdog is of no use. */
#define STALL_MAX_S 86400

static const char *const on_error_words[] = { "abort", "zero", NULL };
static const char *const free_words[] = { "leave", "discard", "zero", NULL };

/* Jobs that do not compress carry a level only to show it. */
static int read_level(const struct opts *o)
{
	if (!opts_get(o, "level"))
		return 0;
	lua_pop(o->L, 1);
	return (int)opts_need_int(o, "level", block_level_min(), block_level_max());
}

static struct job_settings read_settings(const struct opts *o)
{
	return (struct job_settings){
		.workers = (unsigned)opts_need_u64(o, "workers", 1, JOB_MAX_WORKERS),
		.depth = (unsigned)opts_need_u64(o, "depth", 2, JOB_MAX_DEPTH),
		.level = read_level(o),
		.max_bytes_per_s = opts_u64(o, "max_bytes_per_s", 0, UINT64_MAX, 0),
		.stall_ms = 1000 * (unsigned)opts_u64(o, "stall_s", 0, STALL_MAX_S, 0),
	};
}

/*
 * Handles were pushed by opts_need_box from `first` on, with the job's box on top of them. From
 * here to the start of the job nothing allocates, so none of them can be closed in between.
 */
static void adopt_all(lua_State *L, struct box *job, int first, int count)
{
	for (int i = 0; i < count; i++)
		box_adopt(L, job, i, first + i);
}

static void check_writer(lua_State *L, const struct box *writer)
{
	if (writer_is_busy(writer))
		luaL_error(L, "the writer is in use by a job that still runs");
}

static int f_capture(lua_State *L)
{
	static const char *const names[] = { "source", "map", "writer", "on_read_error",
		"read_retries", SETTINGS, NULL };
	struct opts o = opts_begin(L, 1, names);
	struct capture c = {
		.on_read_error =
			(enum on_read_error)opts_need_word(&o, "on_read_error", on_error_words),
		.read_retries = (unsigned)opts_need_u64(&o, "read_retries", 0, 1000),
		.settings = read_settings(&o),
	};
	int first = lua_gettop(L) + 1;
	struct box *b, *source, *map, *writer;
	struct job *j = NULL;
	struct err e;

	opts_need(&o, "level");
	opts_need_box(&o, "source", &box_device);
	opts_need_box(&o, "map", &box_map);
	opts_need_box(&o, "writer", &box_writer); /* WRITER_SLOT */
	b = box_new(L, &box_job, sizeof(*b));
	source = box_check(L, first, &box_device);
	map = box_check(L, first + 1, &box_map);
	writer = box_check(L, first + 2, &box_writer);
	check_writer(L, writer);
	c.source = source->obj;
	c.map = map->obj;
	c.writer = writer->obj;
	c.head = writer_head(writer);
	if (job_capture(&c, &j, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, j);
	adopt_all(L, b, first, 3);
	writer_set_job(writer, j);
	return 1;
}

static int f_restore(lua_State *L)
{
	static const char *const names[] = { "image", "target", "offset", "length", "target_offset",
		"free", "target_is_zero", "only_changed", "on_read_error", SETTINGS, NULL };
	struct opts o = opts_begin(L, 1, names);
	struct restore r = {
		.source_off = opts_u64(&o, "offset", 0, UINT64_MAX, 0),
		/* To the C function 0 means all of the rest: never what a caller meant by it. */
		.source_len = opts_u64(&o, "length", 1, UINT64_MAX, 0),
		.target_off = opts_u64(&o, "target_offset", 0, UINT64_MAX, 0),
		.free = (enum restore_free)opts_need_word(&o, "free", free_words),
		.target_is_zero = opts_need_bool(&o, "target_is_zero"),
		.only_changed = opts_bool(&o, "only_changed", false),
		.on_read_error =
			(enum on_read_error)opts_need_word(&o, "on_read_error", on_error_words),
		.settings = read_settings(&o),
	};
	int first = lua_gettop(L) + 1;
	struct box *b;
	struct job *j = NULL;
	struct err e;

	opts_need_box(&o, "image", &box_image);
	opts_need_box(&o, "target", &box_device);
	b = box_new(L, &box_job, sizeof(*b));
	r.image = box_check(L, first, &box_image)->obj;
	r.target = box_check(L, first + 1, &box_device)->obj;
	if (job_restore(&r, &j, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, j);
	adopt_all(L, b, first, 2);
	return 1;
}

static int f_compare(lua_State *L)
{
	static const char *const names[] = { "image", "target", "offset", "length", "target_offset",
		"free_is_zero", SETTINGS, NULL };
	struct opts o = opts_begin(L, 1, names);
	struct compare c = {
		.source_off = opts_u64(&o, "offset", 0, UINT64_MAX, 0),
		.source_len = opts_u64(&o, "length", 1, UINT64_MAX, 0),
		.target_off = opts_u64(&o, "target_offset", 0, UINT64_MAX, 0),
		.free_is_zero = opts_need_bool(&o, "free_is_zero"),
		.settings = read_settings(&o),
	};
	int first = lua_gettop(L) + 1;
	struct box *b;
	struct job *j = NULL;
	struct err e;

	opts_need_box(&o, "image", &box_image);
	opts_need_box(&o, "target", &box_device);
	b = box_new(L, &box_job, sizeof(*b));
	c.image = box_check(L, first, &box_image)->obj;
	c.target = box_check(L, first + 1, &box_device)->obj;
	if (job_compare(&c, &j, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, j);
	adopt_all(L, b, first, 2);
	return 1;
}

static int f_clone(lua_State *L)
{
	static const char *const names[] = { "source", "map", "target", "block_bytes", "free",
		"target_is_zero", "on_read_error", "read_retries", SETTINGS, NULL };
	struct opts o = opts_begin(L, 1, names);
	struct clone c = {
		.block_bytes = (uint32_t)opts_need_u64(&o, "block_bytes", 1, UINT32_MAX),
		.free = (enum restore_free)opts_need_word(&o, "free", free_words),
		.target_is_zero = opts_need_bool(&o, "target_is_zero"),
		.on_read_error =
			(enum on_read_error)opts_need_word(&o, "on_read_error", on_error_words),
		.read_retries = (unsigned)opts_need_u64(&o, "read_retries", 0, 1000),
		.settings = read_settings(&o),
	};
	int first = lua_gettop(L) + 1;
	struct box *b;
	struct job *j = NULL;
	struct err e;

	opts_need_box(&o, "source", &box_device);
	opts_need_box(&o, "map", &box_map);
	opts_need_box(&o, "target", &box_device);
	b = box_new(L, &box_job, sizeof(*b));
	c.source = box_check(L, first, &box_device)->obj;
	c.map = box_check(L, first + 1, &box_map)->obj;
	c.target = box_check(L, first + 2, &box_device)->obj;
	if (job_clone(&c, &j, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, j);
	adopt_all(L, b, first, 3);
	return 1;
}

static int f_clone_check(lua_State *L)
{
	static const char *const names[] = { "clone", "target", "free_is_zero", SETTINGS, NULL };
	struct opts o = opts_begin(L, 1, names);
	struct clone_check c = {
		.free_is_zero = opts_need_bool(&o, "free_is_zero"),
		.settings = read_settings(&o),
	};
	int first = lua_gettop(L) + 1;
	struct box *b;
	struct job *j = NULL;
	struct err e;

	opts_need_box(&o, "clone", &box_job);
	opts_need_box(&o, "target", &box_device);
	b = box_new(L, &box_job, sizeof(*b));
	c.clone = box_check(L, first, &box_job)->obj;
	c.target = box_check(L, first + 1, &box_device)->obj;
	if (!job_has_ended(c.clone))
		return luaL_error(L, "the clone still runs");
	if (job_clone_check(&c, &j, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, j);
	adopt_all(L, b, first, 2);
	return 1;
}

static int f_verify(lua_State *L)
{
	static const char *const names[] = { "image", "sample_percent", "seed", SETTINGS, NULL };
	struct opts o = opts_begin(L, 1, names);
	struct verify v = {
		.sample_percent = (unsigned)opts_need_u64(&o, "sample_percent", 1, 100),
		.seed = opts_need_u64(&o, "seed", 0, UINT64_MAX),
		.settings = read_settings(&o),
	};
	int first = lua_gettop(L) + 1;
	struct box *b;
	struct job *j = NULL;
	struct err e;

	opts_need_box(&o, "image", &box_image);
	b = box_new(L, &box_job, sizeof(*b));
	v.image = box_check(L, first, &box_image)->obj;
	if (job_verify(&v, &j, &e) < 0)
		return bind_fail(L, &e);
	box_set(b, j);
	adopt_all(L, b, first, 1);
	return 1;
}

static void set_settings(lua_State *L, const struct job_settings *s)
{
	set_u64(L, "workers", s->workers);
	set_u64(L, "depth", s->depth);
	lua_pushinteger(L, s->level);
	lua_setfield(L, -2, "level");
	set_u64(L, "max_bytes_per_s", s->max_bytes_per_s);
	set_u64(L, "stall_s", s->stall_ms / 1000);
}

static int m_progress(lua_State *L)
{
	static const char *const states[] = { "running", "paused", "done", "failed", "cancelled" };
	struct job_progress p;

	job_progress(check_job(L), &p);
	lua_createtable(L, 0, 27);
	set_text(L, "state", states[p.state]);
	set_settings(L, &p.settings);
	set_u64(L, "total_bytes", p.total_bytes);
	set_u64(L, "done_bytes", p.done_bytes);
	set_u64(L, "position", p.position);
	set_u64(L, "data_bytes", p.kind_bytes[ENTRY_DATA]);
	set_u64(L, "zero_bytes", p.kind_bytes[ENTRY_ZERO]);
	set_u64(L, "free_bytes", p.kind_bytes[ENTRY_FREE]);
	set_u64(L, "same_bytes", p.same_bytes);
	set_u64(L, "bad_bytes", p.bad_bytes);
	set_u64(L, "bad_count", p.bad_count);
	set_u64(L, "stored_bytes", p.stored_bytes);
	set_u64(L, "committed_bytes", p.committed_bytes);
	set_u64(L, "rate_bytes_per_s", p.rate_bytes_per_s);
	set_u64(L, "elapsed_ns", p.elapsed_ns);
	set_u64(L, "paused_ns", p.paused_ns);
	set_u64(L, "queued", p.queued);
	set_u64(L, "in_flight", p.in_flight);
	set_u64(L, "reading_ns", p.reading_ns);
	set_u64(L, "working_ns", p.working_ns);
	set_u64(L, "idle_ns", p.idle_ns);
	set_u64(L, "writing_ns", p.writing_ns);
	set_u64(L, "ordered_ns", p.ordered_ns);
	set_u64(L, "full_ns", p.full_ns);
	return 1;
}

static int m_set(lua_State *L)
{
	static const char *const names[] = { SETTINGS, NULL };
	struct job *j = check_job(L);
	struct opts o = opts_begin(L, 2, names);
	struct job_progress p;
	struct job_settings s;

	job_progress(j, &p);
	s = p.settings;
	s.workers = (unsigned)opts_u64(&o, "workers", 0, UINT_MAX, s.workers);
	s.depth = (unsigned)opts_u64(&o, "depth", 0, UINT_MAX, s.depth);
	s.max_bytes_per_s = opts_u64(&o, "max_bytes_per_s", 0, UINT64_MAX, s.max_bytes_per_s);
	s.stall_ms = 1000 * (unsigned)opts_u64(&o, "stall_s", 0, STALL_MAX_S, s.stall_ms / 1000);
	if (opts_get(&o, "level")) {
		lua_pop(L, 1);
		s.level = (int)opts_need_int(&o, "level", INT_MIN, INT_MAX);
	}
	job_set(check_job(L), &s);
	return 0;
}

static int m_pause(lua_State *L)
{
	job_pause(check_job(L));
	return 0;
}

static int m_resume(lua_State *L)
{
	job_resume(check_job(L));
	return 0;
}

static int m_cancel(lua_State *L)
{
	job_cancel(check_job(L), arg_bool(L, 2, false));
	return 0;
}

static int m_stalled(lua_State *L)
{
	lua_pushboolean(L, job_stalled(check_job(L)));
	return 1;
}

/* Milliseconds, rounded up so that a short wait is no busy loop. */
static int timeout_ms(lua_State *L, int arg)
{
	double seconds;

	if (lua_isnoneornil(L, arg))
		return -1;
	seconds = luaL_checknumber(L, arg);
	luaL_argcheck(L, seconds >= 0, arg, "must not be negative");
	return seconds * 1000 >= INT_MAX ? INT_MAX : (int)ceil(seconds * 1000);
}

static int m_wait(lua_State *L)
{
	int ms = timeout_ms(L, 2);
	struct err e = { 0 };

	if (job_wait(check_job(L), ms, &e) == 0) {
		lua_pushboolean(L, false);
		return 1;
	}
	return bind_result(L, -e.code, &e);
}

static int m_blocks(lua_State *L)
{
	uint64_t checked, all;

	job_blocks(check_job(L), &checked, &all);
	push_u64(L, checked);
	push_u64(L, all);
	return 2;
}

static int m_losses(lua_State *L)
{
	struct box *b = box_check(L, 1, &box_job), *hold;
	size_t count;

	if (!job_has_ended(b->obj))
		return luaL_error(L, "the job still runs");
	hold = box_hold(L, 1);
	lua_newtable(L);
	check_job(L);
	count = job_loss_count(b->obj);
	for (size_t i = 0; i < count; i++) {
		const struct job_loss *loss = job_loss_at(b->obj, i);

		lua_createtable(L, 0, 4);
		set_u64(L, "offset", loss->off);
		set_u64(L, "length", loss->len);
		set_u64(L, "file_offset", loss->file_off);
		set_text(L, "why", loss->why);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	box_close(hold);
	return 1;
}

static const luaL_Reg functions[] = {
	{ "capture", f_capture },
	{ "restore", f_restore },
	{ "verify", f_verify },
	{ "compare", f_compare },
	{ "clone", f_clone },
	{ "clone_check", f_clone_check },
	{ NULL, NULL },
};

static const luaL_Reg methods[] = {
	{ "progress", m_progress },
	{ "set", m_set },
	{ "pause", m_pause },
	{ "resume", m_resume },
	{ "cancel", m_cancel },
	{ "wait", m_wait },
	{ "stalled", m_stalled },
	{ "blocks", m_blocks },
	{ "losses", m_losses },
	{ "close", box_close_method },
	{ NULL, NULL },
};

int luaopen_img_pipeline(lua_State *L)
{
	box_setup(L);
	box_register(L, &box_job, methods);
	luaL_newlib(L, functions);
	return 1;
}
