/*
 * META is JSON, and this reads two members of its result only, as the writer writes them: what is
 * written in another way tells nothing, and is then reported as not known, never as good.
 */
#include "format/recover_bad.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct text {
	const char *p, *end;
};

/* Pass over a word, or over everything up to and with it; false: it is not there. */
static bool skip(struct text *t, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0)
		return false;
	t->p += n;
	return true;
}

static bool skip_to(struct text *t, const char *word)
{
	const char *at = memmem(t->p, (size_t)(t->end - t->p), word, strlen(word));

	if (at == NULL)
		return false;
	t->p = at + strlen(word);
	return true;
}

/* A number up to `most`. */
static bool number(struct text *t, uint64_t most, uint64_t *value)
{
	const char *from = t->p;

	*value = 0;
	for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++) {
		*value = *value * 10 + (uint64_t)(*t->p - '0');
		if (*value > most)
			return false;
	}
	return t->p > from;
}

/* "[off,len]" behind the range before. */
static bool range(struct text *t, const struct layout_head *head, uint64_t from,
	struct bad_range *b)
{
	return skip(t, "[") && number(t, head->source_bytes, &b->off) && skip(t, ",") &&
		number(t, head->source_bytes, &b->len) && skip(t, "]") && b->off >= from &&
		b->len > 0 && range_inside(b->off, b->len, head->source_bytes);
}

/* The list from behind its "[" on; false when it is none. */
static bool list(struct text *t, const struct layout_head *head, struct meta_bad *m)
{
	uint64_t from = 0;

	if (skip(t, "]"))
		return true;
	do {
		struct bad_range *b = &m->ranges[m->count];

		if (!range(t, head, from, b))
			return false;
		from = b->off + b->len;
		m->count++;
	} while (skip(t, ","));
	return skip(t, "]");
}

/* The list is of the first ranges; how many there are says whether it is of all. */
static void parse(struct text t, const struct layout_head *head, struct meta_bad *m)
{
	uint64_t all;

	if (!skip(&t, "{\"header\":") || (size_t)(t.end - t.p) < head->text_len ||
		memcmp(t.p, head->text, head->text_len) != 0)
		return;
	t.p += head->text_len;
	if (!skip(&t, ",\"result\":") || !skip_to(&t, "\"bad_ranges\":[") || !list(&t, head, m) ||
		!skip(&t, ",\"bad_range_count\":") || !number(&t, SOURCE_MAX_BYTES, &all) ||
		all < m->count) {
		m->count = 0;
		return;
	}
	if (all == m->count)
		m->known_to = UINT64_MAX;
	else if (m->count > 0)
		m->known_to = m->ranges[m->count - 1].off + m->ranges[m->count - 1].len;
}

int meta_bad_read(struct dev *in, const struct layout_head *head, uint64_t meta_pos,
	struct meta_bad *m, struct err *e)
{
	struct record r = { 0 };

	memset(m, 0, sizeof(*m));
	if (meta_pos == 0 || record_read(in, REC_META, meta_pos, head->uuid, &r, NULL) < 0)
		return 0;
	/* "[0,1]" is the shortest. */
	m->ranges = malloc((r.body_len / 5 + 1) * sizeof(*m->ranges));
	if (m->ranges != NULL)
		parse((struct text){ (const char *)r.body, (const char *)r.body + r.body_len },
			head, m);
	record_free(&r);
	return m->ranges != NULL ? 0 : err_nomem(e);
}

void meta_bad_free(struct meta_bad *m)
{
	free(m->ranges);
	memset(m, 0, sizeof(*m));
}

const struct bad_range *meta_bad_at(const struct meta_bad *m, uint64_t off, uint64_t len)
{
	size_t low = 0, high = m->count;

	/* The first that ends behind off. */
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->ranges[mid].off + m->ranges[mid].len <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return low < m->count && m->ranges[low].off < off + len ? &m->ranges[low] : NULL;
}

uint64_t meta_bad_bytes(const struct meta_bad *m, uint64_t off, uint64_t len)
{
	const uint64_t end = off + len;
	const struct bad_range *b;
	uint64_t sum = 0;

	while (off < end && (b = meta_bad_at(m, off, end - off)) != NULL) {
		uint64_t from = max_u64(b->off, off);

		off = min_u64(b->off + b->len, end);
		sum += off - from;
	}
	return sum;
}
