/*
 * What the bindings share: handles, arguments, tables of options, results.
 *
 * A handle is a userdata that starts with a `struct box`. The box is made first, then the C object
 * is opened into it, so that an error between them can lose neither. `close`, __gc and __close are
 * one function and may be called any number of times.
 *
 * Parents. A slice uses its device, a writer its file, a job all it was given. A child counts in
 * its parents and pins them in its user values. Closing a parent that still has children closes it
 * for Lua at once (its methods throw, no new child can be made), but its C object lives until the
 * last child is closed. So handles may be closed, or finalised by lua_close, in any order, and a
 * job's threads are joined before anything they use is freed.
 *
 * Finalisers run whenever Lua allocates, and may close any handle. So a binding fetches the object
 * out of a box (box_check) after the last allocation before its use; where it must push results
 * while it still reads from the object, it holds the box with box_hold. No malloc'ed memory lives
 * across a call that can raise: it goes into a box of its own (box_memory).
 *
 * Everything here belongs to the main thread. Functions with an `arg` raise an argument error.
 */
#ifndef BIND_BIND_INT_H
#define BIND_BIND_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/err.h"
#include "codec/hash.h"

/* ---- Handles ---- */

#define BOX_PARENTS 3
#define BOX_PINS (BOX_PARENTS + 1)

/* The user value after the parents, for what a handle wants to keep besides. */
#define BOX_PIN_EXTRA (BOX_PARENTS + 1)

enum box_kind {
	BOX_DEVICE,
	BOX_MAP,
	BOX_IMAGE,
	BOX_WRITER,
	BOX_JOB,
	BOX_LOCK,
	BOX_CACHE,
	BOX_SERVER,
	BOX_MOUNT,
	BOX_FILES,
	BOX_DISK_EDIT,
	BOX_CHUNK,  /* a chunk's table, while it is turned into a Lua table */
	BOX_HOLD,   /* nothing: keeps its parent's object alive */
	BOX_MEMORY, /* malloc'ed */
	BOX_KINDS
};

struct box;

struct box_class {
	const char *tname; /* the metatable: "img.Device" */
	const char *word;  /* in messages and sys.open_handles: "device" */
	enum box_kind kind;
	/* Close b->obj; its parents are still open. May be NULL: nothing to close. */
	void (*free)(struct box *b);
};

struct box {
	void *obj; /* NULL: not open yet, or closed */
	const struct box_class *class;
	struct bind_state *state;
	struct box *parents[BOX_PARENTS];
	unsigned children;
	bool closed;	  /* for Lua; obj may live on for the children */
	struct box *next; /* while it is freed */
};

/* Register the metatable of a class; methods may be NULL. Leaves nothing on the stack. */
void box_register(lua_State *L, const struct box_class *c, const luaL_Reg *methods);

/* Push a new handle without an object; size is that of a struct that begins with the box. */
struct box *box_new(lua_State *L, const struct box_class *c, size_t size);

/* The object is open now. Does not raise. */
void box_set(struct box *b, void *obj);

/* The child on top of the stack uses the box at `idx`: parents[slot]. Does not raise. */
void box_adopt(lua_State *L, struct box *child, int slot, int idx);

/* The box at arg; throws when it is none of this class or is closed. */
struct box *box_check(lua_State *L, int arg, const struct box_class *c);

/* Close for Lua; see above. NULL is fine. Does not raise. */
void box_close(struct box *b);
/* `close`, __gc and __close. */
int box_close_method(lua_State *L);

/* Push a box that keeps the object of the one at `idx` until it is closed. */
struct box *box_hold(lua_State *L, int idx);
/* Push a box for malloc'ed memory: box_set it right after the allocation. */
struct box *box_memory(lua_State *L);

/* Push a handle for a device; for those outside bind_device.c that open one. */
struct box *box_new_device(lua_State *L);

extern const struct box_class box_device, box_map, box_image, box_writer, box_job, box_lock;
extern const struct box_class box_disk_edit, box_cache, box_server, box_mount, box_files;

/* Push a table of class words with the number of objects that are open, zeros left out. */
void box_push_counts(lua_State *L);

/* Register the classes that no module owns (holds, memory), once a state. */
void box_setup(lua_State *L);

/* ---- Arguments and results ---- */

/* Throws `arg` away with a message made by lua_pushfstring. */
int arg_error(lua_State *L, int arg, const char *fmt, ...);
/* An integer from 0 on: floats, strings and negative numbers are refused. */
uint64_t arg_u64(lua_State *L, int arg);
/* A string without a zero byte in it: a path, a prompt. */
const char *arg_text(lua_State *L, int arg);
bool arg_bool(lua_State *L, int arg, bool otherwise);

/* nil, message, code */
int bind_fail(lua_State *L, const struct err *e);
/* true, or bind_fail when rc < 0. */
int bind_result(lua_State *L, int rc, const struct err *e);
/* Saturates: no size or time that means anything is beyond 2^63 - 1. */
void push_u64(lua_State *L, uint64_t v);
void push_hex(lua_State *L, const uint8_t *bytes, size_t len);
void push_uuid(lua_State *L, const uint8_t uuid[16]);

/* t[name] = value, t on top of the stack. */
void set_u64(lua_State *L, const char *name, uint64_t v);
void set_bool(lua_State *L, const char *name, bool v);
void set_text(lua_State *L, const char *name, const char *s);

/* ---- Tables of options, read without metamethods ---- */

struct opts {
	lua_State *L;
	int arg;	 /* whose error it is */
	int idx;	 /* where the table is: absolute */
	char prefix[32]; /* of names in messages: "rules[2]." */
};

/* A table at arg; throws for a key that is not in names (NULL at the end). */
struct opts opts_begin(lua_State *L, int arg, const char *const *names);
/* As above; nil or nothing at arg is replaced by an empty table. */
struct opts opts_begin_optional(lua_State *L, int arg, const char *const *names);
/* A table inside: at the top of the stack, called prefix in messages. */
struct opts opts_inner(const struct opts *o, const char *prefix, const char *const *names);

/* Push the value; false, and nothing pushed, when it is nil. */
bool opts_get(const struct opts *o, const char *name);
/* Throws "field 'name' ...". */
int opts_error(const struct opts *o, const char *name, const char *what);

/* Throws when the field is left out. */
void opts_need(const struct opts *o, const char *name);

/* The value, or `otherwise` when it is left out; opts_need_x throw instead. */
bool opts_bool(const struct opts *o, const char *name, bool otherwise);
bool opts_need_bool(const struct opts *o, const char *name);
uint64_t opts_u64(const struct opts *o, const char *name, uint64_t min, uint64_t max,
	uint64_t otherwise);
uint64_t opts_need_u64(const struct opts *o, const char *name, uint64_t min, uint64_t max);
int64_t opts_need_int(const struct opts *o, const char *name, int64_t min, int64_t max);
/* Index of the word in words (NULL at the end). */
unsigned opts_need_word(const struct opts *o, const char *name, const char *const *words);
/* A string; stays valid as long as it is in the table. */
const char *opts_need_string(const struct opts *o, const char *name, size_t *len);
/* Push the handle in a field and return it. */
struct box *opts_need_box(const struct opts *o, const char *name, const struct box_class *c);

/* ---- Shared between bindings ---- */

struct layout_head;
/* Set the fields of img.Head in the table on top of the stack. */
void set_head(lua_State *L, const struct layout_head *h);
/* Is the writer of this box used by a job that still runs? */
bool writer_is_busy(const struct box *writer);
/* The head that a writer's box was made with; lives as long as the box. */
const struct layout_head *writer_head(const struct box *writer);
/* The job uses the writer from now on; NULL: it does so no more. */
struct job;
void writer_set_job(struct box *writer, struct job *job);
bool job_has_ended(struct job *job);

/* The digest of a map that HEAD keeps (specification, section 9). */
struct map;
int map_digest(const struct map *m, uint8_t out[XXH3_BYTES], struct err *e);

/* Registered by the modules that own them. */
void writer_register(lua_State *L);
int image_f_writer(lua_State *L);
int image_f_read_head(lua_State *L);
int image_f_repair(lua_State *L);
void lock_register(lua_State *L);
void cache_register(lua_State *L);
int image_f_cache(lua_State *L);
void disk_edit_register(lua_State *L);
int disk_f_edit(lua_State *L);

extern const luaL_Reg sys_file_functions[], sys_readline_functions[], sys_tool_functions[];
/* Signals caught since sys.catch_signals. */
unsigned sys_signal_count(void);

/* bind_require.c */
void require_setup(lua_State *L);
int require_overrides(lua_State *L); /* sys.overrides */
int require_embedded(lua_State *L);  /* sys.embedded */

int luaopen_img_device(lua_State *L);
int luaopen_img_map(lua_State *L);
int luaopen_img_fs(lua_State *L);
int luaopen_img_disk(lua_State *L);
int luaopen_img_files(lua_State *L);
int luaopen_img_image(lua_State *L);
int luaopen_img_pipeline(lua_State *L);
void mount_register(lua_State *L);
int server_f_mount(lua_State *L);
int server_f_mount_files(lua_State *L);
int luaopen_img_server(lua_State *L);
int luaopen_img_sys(lua_State *L);

#endif
