/*
 * XXH3 takes the vector unit of the machine it runs on (xxh_x86dispatch.h chooses at run time);
 * compiled for the oldest x86-64 it has a third of the speed.
 *
 * SHA-256 goes through libcrypto's plain functions rather than EVP. Both run the same code for the
 * processor, but these need no memory and no provider, so they cannot fail: a hash that could not
 * be computed has no good value to return.
 */
#define OPENSSL_API_COMPAT 10101 /* SHA256_Init and its sisters, without a warning */

#include "codec/hash.h"

#include <stdlib.h>

#include <openssl/sha.h>
#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h>
#endif

_Static_assert(sizeof(XXH128_canonical_t) == XXH3_BYTES, "XXH3-128 has 16 bytes");
_Static_assert(SHA256_DIGEST_LENGTH == SHA256_BYTES, "SHA-256 has 32 bytes");

size_t hash_len(enum hash_kind kind)
{
	switch (kind) {
	case HASH_XXH3:
		return XXH3_BYTES;
	case HASH_SHA256:
		return SHA256_BYTES;
	}
	return 0;
}

const char *hash_word(enum hash_kind kind)
{
	switch (kind) {
	case HASH_XXH3:
		return "xxh3-128";
	case HASH_SHA256:
		return "sha256";
	}
	return "unknown";
}

void hash_bytes(enum hash_kind kind, const void *p, size_t len, uint8_t *out)
{
	if (kind == HASH_XXH3) {
		XXH128_canonicalFromHash((XXH128_canonical_t *)out, XXH3_128bits(p, len));
	} else if (kind == HASH_SHA256) {
		SHA256_CTX c;

		SHA256_Init(&c);
		SHA256_Update(&c, p, len);
		SHA256_Final(out, &c);
	}
}

struct sha256 {
	SHA256_CTX c;
};

struct sha256 *sha256_new(void)
{
	struct sha256 *s = malloc(sizeof(*s));

	if (s != NULL)
		SHA256_Init(&s->c);
	return s;
}

void sha256_update(struct sha256 *s, const void *p, size_t len)
{
	SHA256_Update(&s->c, p, len);
}

void sha256_final(struct sha256 *s, uint8_t out[SHA256_BYTES])
{
	SHA256_Final(out, &s->c);
}

void sha256_free(struct sha256 *s)
{
	free(s);
}
