/* The two hashes of the format: XXH3-128 and SHA-256. Pure, any thread. */
#ifndef CODEC_HASH_H
#define CODEC_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum hash_kind { HASH_XXH3 = 1, HASH_SHA256 = 2 };

#define HASH_MAX_BYTES 32
#define XXH3_BYTES 16
#define SHA256_BYTES 32

/* 16, 32, or 0 for a kind that does not exist. */
size_t hash_len(enum hash_kind kind);
/* "xxh3-128", "sha256". */
const char *hash_word(enum hash_kind kind);
/* out has room for hash_len(kind) bytes. */
void hash_bytes(enum hash_kind kind, const void *p, size_t len, uint8_t *out);

/* A running SHA-256 (the root hash). One thread at a time. */
struct sha256;
struct sha256 *sha256_new(void); /* NULL when out of memory */
void sha256_update(struct sha256 *s, const void *p, size_t len);
void sha256_final(struct sha256 *s, uint8_t out[SHA256_BYTES]); /* may be called once */
void sha256_free(struct sha256 *s);

#endif
