/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/aead.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "base/check.h"

static EVP_CIPHER *aes, *chacha;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch(void)
{
	aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	chacha = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
}

unsigned aead_suites(void)
{
	unsigned set = 0;

	CHECK(pthread_once(&once, fetch) == 0);
	if (aes && __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul"))
		set |= 1u << AEAD_AES_256_GCM;
	if (chacha)
		set |= 1u << AEAD_CHACHA20_POLY1305;
	return set;
}

unsigned aead_choose(unsigned both)
{
	if (both & 1u << AEAD_AES_256_GCM)
		return AEAD_AES_256_GCM;
	return both & 1u << AEAD_CHACHA20_POLY1305 ? AEAD_CHACHA20_POLY1305 : 0;
}

/* ---- HKDF ---- */

void hkdf_extract(uint8_t out[32], const void *salt, size_t salt_len, const void *ikm, size_t len)
{
	crypto_auth_hmacsha256_state st;

	crypto_auth_hmacsha256_init(&st, salt, salt_len);
	crypto_auth_hmacsha256_update(&st, ikm, len);
	crypto_auth_hmacsha256_final(&st, out);
}

void hkdf_expand(uint8_t *out, size_t out_len, const uint8_t prk[32], const char *label,
		 const void *info, size_t info_len)
{
	crypto_auth_hmacsha256_state st;
	uint8_t t[32], n = 1;

	CHECK(out_len <= 255 * sizeof(t));
	for (size_t done = 0; done < out_len; n++) {
		size_t part = MIN(out_len - done, sizeof(t));

		crypto_auth_hmacsha256_init(&st, prk, 32);
		if (n > 1)
			crypto_auth_hmacsha256_update(&st, t, sizeof(t));
		crypto_auth_hmacsha256_update(&st, (const uint8_t *)label, strlen(label) + 1);
		crypto_auth_hmacsha256_update(&st, info, info_len);
		crypto_auth_hmacsha256_update(&st, &n, 1);
		crypto_auth_hmacsha256_final(&st, t);
		memcpy(out + done, t, part);
		done += part;
	}
	sodium_memzero(t, sizeof(t));
}

/* ---- keys ---- */

static void set_key(struct aead *a)
{
	uint8_t k[32 + sizeof(a->fixed)];

	hkdf_expand(k, sizeof(k), a->secret, "pando rpc key", NULL, 0);
	memcpy(a->fixed, k + 32, sizeof(a->fixed));
	/* The cipher stays; only the key is set. */
	CHECK(EVP_CipherInit_ex2(a->ctx, NULL, k, NULL, a->sealing, NULL) == 1);
	a->number = 0;
	sodium_memzero(k, sizeof(k));
}

int aead_init(struct aead *a, enum aead_suite suite, bool sealing,
	      const uint8_t secret[AEAD_SECRET_BYTES], uint64_t rekey_records)
{
	EVP_CIPHER *c;

	if (!(aead_suites() & 1u << suite))
		return -EOPNOTSUPP;
	c = suite == AEAD_AES_256_GCM ? aes : chacha;
	*a = (struct aead){ .suite = suite, .sealing = sealing, .rekey_records = rekey_records };
	a->ctx = EVP_CIPHER_CTX_new();
	if (!a->ctx || EVP_CipherInit_ex2(a->ctx, c, NULL, NULL, sealing, NULL) != 1) {
		EVP_CIPHER_CTX_free(a->ctx);
		a->ctx = NULL;
		return -ENOMEM;
	}
	memcpy(a->secret, secret, sizeof(a->secret));
	set_key(a);
	return 0;
}

void aead_fini(struct aead *a)
{
	EVP_CIPHER_CTX_free(a->ctx);
	sodium_memzero(a, sizeof(*a));
}

static void next_nonce(struct aead *a, uint8_t nonce[12])
{
	if (a->number == a->rekey_records) {
		hkdf_expand(a->secret, sizeof(a->secret), a->secret, "pando rpc rekey", NULL, 0);
		set_key(a);
	}
	memcpy(nonce, a->fixed, 12);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] ^= (uint8_t)(a->number >> (8 * i));
	a->number++;
}

/* A failure here is ours: no allocation, no input that could be wrong. */
void aead_seal_parts(struct aead *a, uint8_t *out, const struct iovec *parts, size_t count,
		     const void *ad, size_t ad_len)
{
	uint8_t nonce[12];
	int n = 0, last = 0;

	next_nonce(a, nonce);
	CHECK(EVP_EncryptInit_ex2(a->ctx, NULL, NULL, nonce, NULL) == 1);
	CHECK(EVP_EncryptUpdate(a->ctx, NULL, &n, ad, (int)ad_len) == 1);
	for (size_t i = 0; i < count; i++) {
		int len = (int)parts[i].iov_len;

		if (len == 0)
			continue;
		CHECK(EVP_EncryptUpdate(a->ctx, out, &n, parts[i].iov_base, len) == 1 && n == len);
		out += n;
	}
	CHECK(EVP_EncryptFinal_ex(a->ctx, out, &last) == 1 && last == 0);
	CHECK(EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, out) == 1);
}

void aead_seal(struct aead *a, uint8_t *out, const void *plain, size_t len, const void *ad,
	       size_t ad_len)
{
	const struct iovec all = { (void *)(uintptr_t)plain, len };

	aead_seal_parts(a, out, &all, 1, ad, ad_len);
}

int aead_open(struct aead *a, uint8_t *out, const uint8_t *sealed, size_t len, const void *ad,
	      size_t ad_len)
{
	uint8_t nonce[12];
	int n = 0, last = 0;

	next_nonce(a, nonce);
	if (EVP_DecryptInit_ex2(a->ctx, NULL, NULL, nonce, NULL) != 1 ||
	    EVP_DecryptUpdate(a->ctx, NULL, &n, ad, (int)ad_len) != 1)
		return -EPROTO;
	n = 0;
	if (EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES,
				(void *)(sealed + len)) != 1 ||
	    (len > 0 && EVP_DecryptUpdate(a->ctx, out, &n, sealed, (int)len) != 1))
		return -EPROTO;
	if (EVP_DecryptFinal_ex(a->ctx, out + n, &last) != 1 || (size_t)n + (size_t)last != len)
		return -EPROTO;
	return 0;
}
