/*
 * A source and its map as tickets: what capture and clone read. A ticket is one block that holds
 * something to read, or a run of blocks of one chunk that hold nothing. Of a block only what the
 * map says matters is read; free gaps shorter than 128 KiB are read through, because seeking over
 * them costs more, but are zeros in the slot all the same: stale data goes nowhere.
 */
#ifndef PIPELINE_MAPPED_H
#define PIPELINE_MAPPED_H

#include "map/map.h"
#include "pipeline/engine.h"

struct mapped {
	struct dev *source;
	const struct map *map; /* over all of the source */
	uint64_t source_bytes, chunk_bytes;
	uint32_t block_bytes;
	enum on_read_error on_read_error;
	unsigned read_retries;
	/* Reader. */
	uint64_t next;	 /* source offset of the next ticket */
	size_t map_hint; /* position in the map */
};

/* Reader: the next ticket into the slot, with its reads. 1, or 0 at the end. */
int mapped_plan(struct mapped *m, struct slot *s);
/* Reader: a read failed: it is tried again and in parts; bad ranges go into the slot. */
int mapped_read_failed(const struct mapped *m, struct job *j, struct slot *s, struct aio_req *r,
	struct err *e);
/* Worker: the bytes in s->in as they count: free ones zero, bad ranges sorted, the kind settled. */
void mapped_settle(const struct mapped *m, struct slot *s);

/* The same of any bytes of the source, from off on: what the map calls free becomes zeros. */
void mapped_clear_free(const struct map *map, uint64_t off, uint8_t *bytes, uint64_t len,
	size_t map_hint);

/* Bytes that must be read from `next` on. */
uint64_t mapped_data_bytes(const struct mapped *m);
/* The most reads that a block takes. */
unsigned mapped_max_reads(uint32_t block_bytes);

#endif
