/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/auth.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

#define CERT_LABEL "pando guest kernel certificate 1"
#define KEYS_LABEL "pando node key 1 " /* then the seed in hex and a newline */
#define SUM_BYTES  4

int rpc_keys_new(struct rpc_keys *out)
{
	if (sodium_init() < 0)
		return -ENXIO;
	CHECK(crypto_sign_keypair(out->public, out->secret) == 0);
	return 0;
}

void rpc_keys_wipe(struct rpc_keys *k)
{
	sodium_memzero(k, sizeof(*k));
}

static int keys_read(struct rpc_keys *out, int fd)
{
	char text[256];
	uint8_t seed[crypto_sign_SEEDBYTES];
	struct stat st;
	size_t label = strlen(KEYS_LABEL), got;
	ssize_t n;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_mode & 077)
		return -EPERM;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (strncmp(text, KEYS_LABEL, label) != 0 ||
	    sodium_hex2bin(seed, sizeof(seed), text + label, strcspn(text + label, "\n"), NULL,
			   &got, NULL) != 0 ||
	    got != sizeof(seed))
		r = -EINVAL;
	else
		CHECK(crypto_sign_seed_keypair(out->public, out->secret, seed) == 0);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(seed, sizeof(seed));
	return r;
}

/* Durable before it is used: a node that forgot its key would be a stranger. */
static int keys_write(const struct rpc_keys *k, int fd)
{
	char text[256], hex[2 * crypto_sign_SEEDBYTES + 1];
	int n, r = 0;

	sodium_bin2hex(hex, sizeof(hex), k->secret, crypto_sign_SEEDBYTES);
	n = snprintf(text, sizeof(text), "%s%s\n", KEYS_LABEL, hex);
	if (write(fd, text, (size_t)n) != n || fsync(fd) < 0)
		r = errno ? -errno : -EIO;
	sodium_memzero(text, sizeof(text));
	sodium_memzero(hex, sizeof(hex));
	return r;
}

/* The file comes into being whole, under its name: a crash leaves all of it or nothing. */
static int keys_create(struct rpc_keys *out, const char *path)
{
	char tmp[4096];
	int r = rpc_keys_new(out), fd;

	if (r < 0)
		return r;
	if (snprintf(tmp, sizeof(tmp), "%s.new", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = keys_write(out, fd);
	(void)close(fd);
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(tmp);
	return r;
}

int rpc_keys_load(struct rpc_keys *out, const char *path)
{
	int fd, r;

	if (sodium_init() < 0)
		return -ENXIO;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? keys_create(out, path) : -errno;
	r = keys_read(out, fd);
	(void)close(fd);
	return r;
}

/* ---- certificates ---- */

struct cert_bytes {
	char label[sizeof(CERT_LABEL)];
	uint8_t tenant[4], node[4], expires_s[8], epoch[8], key[RPC_KEY_BYTES];
};

static void cert_bytes(struct cert_bytes *b, const struct rpc_cert *c)
{
	uint32_t tenant = htole32(c->tenant), node = htole32(c->node);
	uint64_t expires = htole64(c->expires_s), epoch = htole64(c->epoch);

	memcpy(b->label, CERT_LABEL, sizeof(b->label));
	memcpy(b->tenant, &tenant, sizeof(tenant));
	memcpy(b->node, &node, sizeof(node));
	memcpy(b->expires_s, &expires, sizeof(expires));
	memcpy(b->epoch, &epoch, sizeof(epoch));
	memcpy(b->key, c->key, sizeof(b->key));
}

void rpc_cert_sign(struct rpc_cert *c, const struct rpc_keys *node)
{
	struct cert_bytes b;

	cert_bytes(&b, c);
	memcpy(c->node_key, node->public, RPC_KEY_BYTES);
	CHECK(crypto_sign_detached(c->sig, NULL, (const uint8_t *)&b, sizeof(b), node->secret) ==
	      0);
}

int rpc_cert_check(const struct rpc_cert *c, uint64_t now_s)
{
	struct cert_bytes b;

	cert_bytes(&b, c);
	if (crypto_sign_verify_detached(c->sig, (const uint8_t *)&b, sizeof(b), c->node_key) != 0)
		return -EKEYREJECTED;
	return c->expires_s > now_s ? 0 : -EKEYEXPIRED;
}

/* ---- tokens ---- */

/*
 * A token is pasted as an argument, so its text must not look like an option: the two values above
 * the letters and digits, '-' and '_', do not begin one.
 */
#define BASE64_PUNCTUATION 62

int rpc_token_new(struct rpc_token *out, const uint8_t node_key[RPC_KEY_BYTES])
{
	if (sodium_init() < 0)
		return -ENXIO;
	do
		randombytes_buf(out->secret, sizeof(out->secret));
	while (out->secret[0] >> 2 >= BASE64_PUNCTUATION);
	memcpy(out->node_key, node_key, RPC_KEY_BYTES);
	return 0;
}

/* The secret is random and long: a plain hash is as good as a slow one. */
void rpc_token_hash(uint8_t out[RPC_KEY_BYTES], const uint8_t secret[RPC_TOKEN_BYTES])
{
	crypto_hash_sha256(out, secret, RPC_TOKEN_BYTES);
}

static void token_sum(uint8_t out[SUM_BYTES], const struct rpc_token *t)
{
	uint8_t h[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(h, (const uint8_t *)t, sizeof(*t));
	crypto_hash_sha256(h, h, sizeof(h)); /* says nothing about the stored hash */
	memcpy(out, h, SUM_BYTES);
}

void rpc_token_text(char out[RPC_TOKEN_TEXT], const struct rpc_token *t)
{
	uint8_t raw[sizeof(*t) + SUM_BYTES];

	memcpy(raw, t, sizeof(*t));
	token_sum(raw + sizeof(*t), t);
	sodium_bin2base64(out, RPC_TOKEN_TEXT, raw, sizeof(raw),
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(raw, sizeof(raw));
}

int rpc_token_parse(struct rpc_token *out, const char *text)
{
	uint8_t raw[sizeof(*out) + SUM_BYTES], sum[SUM_BYTES];
	const char *end;
	size_t len;
	int r = -EINVAL;

	if (sodium_base642bin(raw, sizeof(raw), text, strlen(text), NULL, &len, &end,
			      sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
	    *end == '\0' && len == sizeof(raw)) {
		memcpy(out, raw, sizeof(*out));
		token_sum(sum, out);
		r = sodium_memcmp(sum, raw + sizeof(*out), SUM_BYTES) == 0 ? 0 : -EINVAL;
	}
	sodium_memzero(raw, sizeof(raw));
	return r;
}

/* ---- identities ---- */

void rpc_identity_node(struct rpc_identity *out, node_id node, const struct rpc_keys *keys)
{
	*out = (struct rpc_identity){ .role = RPC_ROLE_NODE, .node = node, .keys = *keys };
}

void rpc_identity_kernel(struct rpc_identity *out, const struct rpc_cert *cert,
			 const struct rpc_keys *keys)
{
	*out = (struct rpc_identity){ .role = RPC_ROLE_KERNEL,
				      .node = cert->node,
				      .tenant = cert->tenant,
				      .keys = *keys,
				      .cert = *cert };
}

void rpc_identity_joiner(struct rpc_identity *out, const struct rpc_token *token,
			 const struct rpc_keys *keys)
{
	*out = (struct rpc_identity){ .role = RPC_ROLE_JOINER, .keys = *keys, .token = *token };
}
