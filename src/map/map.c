/*
 * The extents are a sorted vector with a hole in it (a gap buffer): entries [0, hole) lie at the
 * beginning of the memory, the rest at its end. An insertion moves the hole to its place, so a
 * sweep of map_set with ascending offsets moves every entry at most once, also over a map that
 * already has millions of extents (a bitmap laid on a full map, zeros marked on a bitmap).
 * Look-ups never move the hole, so a map that nobody changes can be read by many threads.
 *
 * Invariants: extents are not empty, lie inside [0, size), ascend without overlap, have a kind
 * other than MAP_NONE, and two that touch differ in kind. Equal maps thus have equal vectors.
 */
#include "map/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FIRST_CAPACITY 16

/* One encoded run is at most ten bytes: 64 bits of length and 3 of kind, 7 in a byte. */
#define RUN_BYTES_MAX 10
#define HEADER_BYTES 8

struct map {
	uint64_t size;
	struct extent *slots;
	size_t capacity; /* slots */
	size_t count;	 /* extents */
	size_t hole;	 /* index of the first extent after the hole */
};

static struct extent *slot(const struct map *m, size_t i)
{
	return &m->slots[i < m->hole ? i : i + (m->capacity - m->count)];
}

static uint64_t end_of(const struct map *m, size_t i)
{
	const struct extent *x = slot(m, i);

	return x->off + x->len;
}

struct map *map_new(uint64_t size)
{
	struct map *m = calloc(1, sizeof(*m));

	if (m)
		m->size = size;
	return m;
}

struct map *map_new_full(uint64_t size)
{
	struct map *m = map_new(size);

	if (m && map_set(m, 0, size, MAP_DATA, NULL) < 0) {
		map_free(m);
		return NULL;
	}
	return m;
}

struct map *map_copy(const struct map *m)
{
	struct map *copy = map_new(m->size);

	if (!copy || m->count == 0)
		return copy;
	copy->slots = malloc(m->count * sizeof(*copy->slots));
	if (!copy->slots) {
		map_free(copy);
		return NULL;
	}
	for (size_t i = 0; i < m->count; i++)
		copy->slots[i] = *slot(m, i);
	copy->capacity = copy->count = copy->hole = m->count;
	return copy;
}

void map_free(struct map *m)
{
	if (!m)
		return;
	free(m->slots);
	free(m);
}

uint64_t map_size(const struct map *m)
{
	return m->size;
}

size_t map_count(const struct map *m)
{
	return m->count;
}

struct extent map_at(const struct map *m, size_t i)
{
	assert(i < m->count);
	return *slot(m, i);
}

/*
 * Index of the first extent that ends after `off`, map_count when there is none. The search
 * strides out from `near`, twice as far each time, so that neighbours cost nothing and a far place
 * costs a logarithm.
 */
static size_t find(const struct map *m, uint64_t off, size_t near)
{
	size_t low = 0;		/* every extent before low ends at or before off */
	size_t high = m->count; /* extent high, when there is one, ends after off */
	size_t at = near < m->count ? near : m->count;

	if (at < m->count && end_of(m, at) <= off) {
		low = at + 1;
		for (size_t step = 1; step < m->count - at; step *= 2) {
			if (end_of(m, at + step) > off) {
				high = at + step;
				break;
			}
			low = at + step + 1;
		}
	} else {
		high = at;
		for (size_t step = 1; step <= at; step *= 2) {
			if (end_of(m, at - step) <= off) {
				low = at - step + 1;
				break;
			}
			high = at - step;
		}
	}
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (end_of(m, mid) > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static void move_hole(struct map *m, size_t to)
{
	size_t width = m->capacity - m->count;
	struct extent *v = m->slots;

	if (to < m->hole)
		memmove(v + to + width, v + to, (m->hole - to) * sizeof(*v));
	else if (to > m->hole)
		memmove(v + m->hole, v + m->hole + width, (to - m->hole) * sizeof(*v));
	m->hole = to;
}

/* Make room for `count` extents in all. The entries after the hole stay at the end. */
static int reserve(struct map *m, size_t count, struct err *e)
{
	size_t capacity = m->capacity ? m->capacity : FIRST_CAPACITY;
	size_t behind = m->count - m->hole;
	struct extent *v;

	if (count <= m->capacity)
		return 0;
	while (capacity < count) {
		if (capacity > SIZE_MAX / sizeof(*v) / 2)
			return err_nomem(e);
		capacity *= 2;
	}
	v = realloc(m->slots, capacity * sizeof(*v));
	if (!v)
		return err_nomem(e);
	memmove(v + capacity - behind, v + m->capacity - behind, behind * sizeof(*v));
	m->slots = v;
	m->capacity = capacity;
	return 0;
}

/* Put `n` pieces in the place of extents [from, to). */
static int replace(struct map *m, size_t from, size_t to, const struct extent *pieces, size_t n,
	struct err *e)
{
	int rc = reserve(m, m->count - (to - from) + n, e);

	if (rc < 0)
		return rc;
	move_hole(m, from);
	m->count -= to - from; /* the first entries behind the hole become part of it */
	for (size_t i = 0; i < n; i++) {
		m->slots[m->hole++] = pieces[i];
		m->count++;
	}
	return 0;
}

int map_set(struct map *m, uint64_t off, uint64_t len, enum map_kind kind, struct err *e)
{
	struct extent x = { .off = off, .kind = kind };
	struct extent pieces[3];
	size_t first, last, n = 0;
	uint64_t end;

	if ((unsigned)kind >= MAP_KINDS)
		return err_set(e, ERR_USAGE, 0, "no map kind has the number %d", (int)kind);
	if (off >= m->size || len == 0)
		return 0;
	end = off + min_u64(len, m->size - off);

	/* Extents [first, last) overlap or, being of the same kind, touch the new one. */
	first = find(m, off, m->hole ? m->hole - 1 : 0);
	if (first > 0 && end_of(m, first - 1) == off && slot(m, first - 1)->kind == kind)
		first--;
	last = first;
	while (last < m->count && slot(m, last)->off < end)
		last++;
	if (last < m->count && slot(m, last)->off == end && slot(m, last)->kind == kind)
		last++;

	if (last > first) {
		const struct extent *a = slot(m, first);
		const struct extent *z = slot(m, last - 1);
		uint64_t z_end = z->off + z->len;

		if (a->kind == kind && a->off <= off && a->off + a->len >= end)
			return 0;
		if (a->off < off && a->kind == kind)
			x.off = a->off;
		else if (a->off < off)
			pieces[n++] = (struct extent){ a->off, off - a->off, a->kind };
		if (z_end > end && z->kind == kind)
			end = z_end;
		x.len = end - x.off;
		if (kind != MAP_NONE)
			pieces[n++] = x;
		if (z_end > end)
			pieces[n++] = (struct extent){ end, z_end - end, z->kind };
	} else if (kind != MAP_NONE) {
		x.len = end - x.off;
		pieces[n++] = x;
	}
	return replace(m, first, last, pieces, n, e);
}

struct extent map_run(const struct map *m, uint64_t off, size_t *hint)
{
	struct extent run = { .off = off, .kind = MAP_NONE };
	uint64_t end = m->size;
	size_t i;

	if (off >= m->size)
		return run;
	i = find(m, off, hint ? *hint : m->count / 2);
	if (hint)
		*hint = i;
	if (i < m->count) {
		const struct extent *x = slot(m, i);

		if (x->off <= off) {
			run.kind = x->kind;
			end = x->off + x->len;
		} else {
			end = x->off;
		}
	}
	run.len = end - off;
	return run;
}

uint64_t map_bytes(const struct map *m, enum map_kind kind)
{
	uint64_t of_kind = 0, covered = 0;

	for (size_t i = 0; i < m->count; i++) {
		const struct extent *x = slot(m, i);

		covered += x->len;
		if (x->kind == kind)
			of_kind += x->len;
	}
	return kind == MAP_NONE ? m->size - covered : of_kind;
}

static enum map_kind pick_union(enum map_kind a, enum map_kind b)
{
	return a != MAP_NONE ? a : b;
}

static enum map_kind pick_intersect(enum map_kind a, enum map_kind b)
{
	return b != MAP_NONE ? a : MAP_NONE;
}

static enum map_kind pick_subtract(enum map_kind a, enum map_kind b)
{
	return b != MAP_NONE ? MAP_NONE : a;
}

/* Walk both maps in runs of constant kinds and let `pick` choose. */
static struct map *combine(const struct map *a, const struct map *b,
	enum map_kind (*pick)(enum map_kind, enum map_kind))
{
	struct map *out = map_new(a->size);
	size_t hint_a = 0, hint_b = 0;
	uint64_t off = 0;

	assert(a->size == b->size);
	while (out && off < a->size) {
		struct extent x = map_run(a, off, &hint_a);
		struct extent y = map_run(b, off, &hint_b);
		uint64_t len = min_u64(x.len, y.len);
		enum map_kind kind = pick(x.kind, y.kind);

		if (kind != MAP_NONE && map_set(out, off, len, kind, NULL) < 0) {
			map_free(out);
			return NULL;
		}
		off += len;
	}
	return out;
}

struct map *map_union(const struct map *a, const struct map *b)
{
	return combine(a, b, pick_union);
}

struct map *map_intersect(const struct map *a, const struct map *b)
{
	return combine(a, b, pick_intersect);
}

struct map *map_subtract(const struct map *a, const struct map *b)
{
	return combine(a, b, pick_subtract);
}

struct map *map_gaps(const struct map *a, enum map_kind kind)
{
	struct map *out = map_new(a->size);
	size_t hint = 0;
	uint64_t off = 0;

	while (out && off < a->size) {
		struct extent x = map_run(a, off, &hint);

		if (x.kind == MAP_NONE && map_set(out, off, x.len, kind, NULL) < 0) {
			map_free(out);
			return NULL;
		}
		off += x.len;
	}
	return out;
}

bool map_equal(const struct map *a, const struct map *b)
{
	if (a->size != b->size || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct extent *x = slot(a, i);
		const struct extent *y = slot(b, i);

		if (x->off != y->off || x->len != y->len || x->kind != y->kind)
			return false;
	}
	return true;
}

/* LEB128 of len * 8 + kind, a number of up to 67 bits: 4 bits of len are in the first byte. */
static size_t put_run(uint8_t *p, uint64_t len, enum map_kind kind)
{
	uint8_t byte = (uint8_t)((len & 15) << 3 | kind);
	size_t n = 0;

	len >>= 4;
	while (len != 0) {
		p[n++] = byte | 0x80;
		byte = len & 0x7f;
		len >>= 7;
	}
	p[n++] = byte;
	return n;
}

int map_encode(const struct map *m, uint8_t **out, size_t *len, struct err *e)
{
	/* Every extent may have a gap before it, and one may follow the last. */
	uint8_t *p = malloc(HEADER_BYTES + (2 * m->count + 1) * RUN_BYTES_MAX);
	uint8_t *shrunk;
	size_t n = HEADER_BYTES, hint = 0;
	uint64_t off = 0;

	if (!p)
		return err_nomem(e);
	put_le64(p, m->size);
	while (off < m->size) {
		struct extent x = map_run(m, off, &hint);

		n += put_run(p + n, x.len, x.kind);
		off += x.len;
	}
	shrunk = realloc(p, n);
	*out = shrunk ? shrunk : p;
	*len = n;
	return 0;
}

/* Bytes used, or a negative code. *len is not 0 and *kind is below MAP_KINDS on success. */
static int get_run(const uint8_t *p, size_t avail, uint64_t *len, unsigned *kind, struct err *e)
{
	uint64_t v = (p[0] >> 3) & 15;
	size_t n = 1;

	for (unsigned shift = 4; p[n - 1] & 0x80; shift += 7, n++) {
		if (n == avail)
			return err_set(e, ERR_FORMAT, 0, "map: the last run is cut short");
		if (n == RUN_BYTES_MAX)
			return err_set(e, ERR_FORMAT, 0, "map: a run of more than %d bytes",
				RUN_BYTES_MAX);
		if (shift > 57 && (p[n] & 0x7f) >> (64 - shift) != 0)
			return err_set(e, ERR_FORMAT, 0, "map: a run's length exceeds 64 bits");
		v |= (uint64_t)(p[n] & 0x7f) << shift;
	}
	if (n > 1 && p[n - 1] == 0)
		return err_set(e, ERR_FORMAT, 0, "map: a run is not in its shortest form");
	if (v == 0)
		return err_set(e, ERR_FORMAT, 0, "map: a run of length 0");
	*kind = p[0] & 7;
	if (*kind >= MAP_KINDS)
		return err_set(e, ERR_FORMAT, 0, "map: unknown kind %u", *kind);
	*len = v;
	return (int)n;
}

static int decode_runs(const uint8_t *p, size_t len, struct map *m, struct err *e)
{
	unsigned previous = MAP_KINDS; /* no kind */
	uint64_t off = 0;

	while (len > 0) {
		uint64_t run = 0;
		unsigned kind = 0;
		int n = get_run(p, len, &run, &kind, e);

		if (n < 0)
			return n;
		if (run > m->size - off)
			return err_set(e, ERR_FORMAT, 0, "map: runs go past the size");
		if (kind == previous)
			return err_set(e, ERR_FORMAT, 0, "map: two runs of one kind touch");
		if (map_set(m, off, run, (enum map_kind)kind, e) < 0)
			return -ERR_INTERNAL;
		previous = kind;
		off += run;
		p += n;
		len -= (size_t)n;
	}
	if (off != m->size)
		return err_set(e, ERR_FORMAT, 0, "map: runs end before the size");
	return 0;
}

int map_decode(const uint8_t *p, size_t len, struct map **out, struct err *e)
{
	struct map *m;
	int rc;

	if (len < HEADER_BYTES)
		return err_set(e, ERR_FORMAT, 0, "map: shorter than its header");
	m = map_new(get_le64(p));
	if (!m)
		return err_nomem(e);
	rc = decode_runs(p + HEADER_BYTES, len - HEADER_BYTES, m, e);
	if (rc < 0) {
		map_free(m);
		return rc;
	}
	*out = m;
	return 0;
}

const char *map_kind_word(enum map_kind kind)
{
	static const char *const words[MAP_KINDS] = { "none", "data", "zero", "free", "bad" };

	return (unsigned)kind < MAP_KINDS ? words[kind] : "unknown";
}
