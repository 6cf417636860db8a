/*
 * Which bytes of a device matter. A map covers [0, size): sorted, disjoint, merged extents, each
 * with a kind; bytes in no extent have kind MAP_NONE. A file-system map is made from map_new_full
 * (everything is data, R2) by setting what is proven free to MAP_FREE.
 *
 * Owned by one thread at a time; read-only use from many threads is safe.
 */
#ifndef MAP_MAP_H
#define MAP_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum map_kind {
	MAP_NONE = 0, /* not said; never stored as an extent */
	MAP_DATA = 1, /* must be read and kept */
	MAP_ZERO = 2, /* known to read as zeros */
	MAP_FREE = 3, /* proven unused by the file system: content does not matter */
	MAP_BAD = 4,  /* could not be read */
};
#define MAP_KINDS 5

struct extent {
	uint64_t off;
	uint64_t len;
	enum map_kind kind;
};

struct map;

/* An empty map over [0, size), or one with all of it MAP_DATA; NULL when out of memory. */
struct map *map_new(uint64_t size);
struct map *map_new_full(uint64_t size);
struct map *map_copy(const struct map *m);
void map_free(struct map *m);

uint64_t map_size(const struct map *m);
size_t map_count(const struct map *m);
/* Extent i, 0 <= i < map_count. */
struct extent map_at(const struct map *m, size_t i);

/*
 * Give [off, off + len) this kind, whatever it was before; MAP_NONE clears. Cut to the map's size.
 * Amortised constant time when called with ascending offsets. Fails only when out of memory.
 */
int map_set(struct map *m, uint64_t off, uint64_t len, enum map_kind kind, struct err *e);

/*
 * The run that holds `off`: its kind (MAP_NONE in a gap), beginning at `off`, up to where the kind
 * changes or the map ends. len is 0 when off >= size. Logarithmic; `hint` (may be NULL) is an
 * opaque position kept by the caller, initially 0, that makes ascending look-ups constant.
 */
struct extent map_run(const struct map *m, uint64_t off, size_t *hint);

/* Bytes of a kind; MAP_NONE counts the gaps. */
uint64_t map_bytes(const struct map *m, enum map_kind kind);

/*
 * Set operations on covered bytes; both maps have the same size. Union: b's extents are laid under
 * a's (a wins). Intersect: what of a is covered by b. Subtract: what of a is not covered by b.
 * Gaps: the uncovered bytes as extents of `kind`. NULL when out of memory.
 */
struct map *map_union(const struct map *a, const struct map *b);
struct map *map_intersect(const struct map *a, const struct map *b);
struct map *map_subtract(const struct map *a, const struct map *b);
struct map *map_gaps(const struct map *a, enum map_kind kind);
bool map_equal(const struct map *a, const struct map *b);

/*
 * Compact encoding: 8 bytes size (LE), then per run (gaps too, up to the size) a LEB128 of
 * length * 8 + kind. Deterministic: equal maps have equal encodings. *out is malloc'ed.
 */
int map_encode(const struct map *m, uint8_t **out, size_t *len, struct err *e);
/* Decoding refuses anything that map_encode does not write (ERR_FORMAT). */
int map_decode(const uint8_t *p, size_t len, struct map **out, struct err *e);

/* The word of a kind: "data", "zero", "free", "bad", "none". */
const char *map_kind_word(enum map_kind kind);

#endif
