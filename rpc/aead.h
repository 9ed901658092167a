/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aead.h - one direction of a sealed connection: key, counter, rekeying.
 *
 * AES-256-GCM or ChaCha20-Poly1305 by OpenSSL's EVP; ciphers are fetched once
 * per process and contexts live as long as the key, for both are slow to make.
 * The nonce is the record's number (xored into a fixed part as in TLS 1.3, RFC
 * 8446, 5.3), so a record that is repeated, dropped or moved does not open.
 * After rekey_records records key and fixed part are replaced by HKDF of the
 * old (both ends count alike); the old ones are gone.
 */
#ifndef RPC_AEAD_H
#define RPC_AEAD_H

#include <stdbool.h>

#include <sys/uio.h>

#include "base/attr.h"

#define AEAD_TAG_BYTES    16
#define AEAD_SECRET_BYTES 32
/* Far below the limits of RFC 8446, 5.5 for records of 16 KiB. */
#define AEAD_REKEY_RECORDS (UINT64_C(1) << 22)

enum aead_suite {
	AEAD_AES_256_GCM = 1,
	AEAD_CHACHA20_POLY1305 = 2,
};

struct aead {
	void *ctx;
	enum aead_suite suite;
	bool sealing;
	uint8_t secret[AEAD_SECRET_BYTES];
	uint8_t fixed[12];
	uint64_t number; /* of the next record */
	uint64_t rekey_records;
};

/* Suites of this CPU, a bit set of 1 << enum aead_suite. */
unsigned aead_suites(void);
/* The fastest suite in @both; 0: none. */
unsigned aead_choose(unsigned both);

/* Errors: -ENOMEM; -EOPNOTSUPP the library lacks the cipher. */
must_check int aead_init(struct aead *a, enum aead_suite suite, bool sealing,
			 const uint8_t secret[AEAD_SECRET_BYTES], uint64_t rekey_records);
void aead_fini(struct aead *a);

/* @out: len + AEAD_TAG_BYTES bytes. */
void aead_seal(struct aead *a, uint8_t *out, const void *plain, size_t len, const void *ad,
	       size_t ad_len);
/* The same for plain bytes that lie in several runs. */
void aead_seal_parts(struct aead *a, uint8_t *out, const struct iovec *parts, size_t count,
		     const void *ad, size_t ad_len);
/* @len: without the tag, which follows; may work in place. -EPROTO: not what was sealed. */
must_check int aead_open(struct aead *a, uint8_t *out, const uint8_t *sealed, size_t len,
			 const void *ad, size_t ad_len);

/* RFC 5869 with SHA-256; at most 255 * 32 bytes. @label is a C string, @info @info_len bytes. */
void hkdf_extract(uint8_t out[32], const void *salt, size_t salt_len, const void *ikm, size_t len);
void hkdf_expand(uint8_t *out, size_t out_len, const uint8_t prk[32], const char *label,
		 const void *info, size_t info_len);

#endif
