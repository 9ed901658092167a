/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.h - who we are: node keys, certificates of guest kernels, join tokens.
 *
 * A node is its ed25519 key; naming says which key belongs to which node. A
 * guest kernel has a key of its own and a certificate signed by its node. A
 * joiner shows a one-time token, which also carries the key of the node that
 * invited it, so that it cannot be led to a false machine; of the token the
 * machine stores only rpc_token_hash(). Signatures, X25519 and SHA-256 are
 * libsodium's.
 *
 * All structs are plain values, the caller's. Wipe secrets with rpc_keys_wipe().
 */
#ifndef RPC_AUTH_H
#define RPC_AUTH_H

#include "rpc/rpc.h"

#define RPC_SIG_BYTES    64
#define RPC_SECRET_BYTES 64
#define RPC_TOKEN_BYTES  16
#define RPC_TOKEN_TEXT   80 /* bytes of a token as text, with its NUL */

struct rpc_keys {
	uint8_t public[RPC_KEY_BYTES];
	uint8_t secret[RPC_SECRET_BYTES];
};

/* New keys. Errors: -ENXIO, the library cannot start. */
must_check int rpc_keys_new(struct rpc_keys *out);
/*
 * The keys in file @path, which only its owner may read; makes new ones if there is no such file.
 * Errors: -errno of the file; -EPERM: others may read it; -EINVAL: it holds something else.
 */
must_check int rpc_keys_load(struct rpc_keys *out, const char *path);
void rpc_keys_wipe(struct rpc_keys *k);

/* What a node says about a guest kernel. */
struct rpc_cert {
	tenant_id tenant;
	node_id node;
	uint64_t expires_s;              /* wall clock, seconds since 1970 */
	epoch_t epoch;                   /* the node's life: what an earlier one says is void */
	uint8_t key[RPC_KEY_BYTES];      /* of the guest kernel */
	uint8_t node_key[RPC_KEY_BYTES]; /* of the node that signs */
	uint8_t sig[RPC_SIG_BYTES];
};
/* Sets node_key and sig; the rest is the caller's. */
void rpc_cert_sign(struct rpc_cert *c, const struct rpc_keys *node);
/* Errors: -EKEYREJECTED: not signed by node_key; -EKEYEXPIRED. */
must_check int rpc_cert_check(const struct rpc_cert *c, uint64_t now_s);

struct rpc_token {
	uint8_t secret[RPC_TOKEN_BYTES];
	uint8_t node_key[RPC_KEY_BYTES]; /* of the node that invites */
};
/* Its text begins with a letter or a digit. Errors: -ENXIO: no source of randomness. */
must_check int rpc_token_new(struct rpc_token *out, const uint8_t node_key[RPC_KEY_BYTES]);
/* What the machine stores, and what admit finds in rpc_peer.token. */
void rpc_token_hash(uint8_t out[RPC_KEY_BYTES], const uint8_t secret[RPC_TOKEN_BYTES]);
void rpc_token_text(char out[RPC_TOKEN_TEXT], const struct rpc_token *t);
/* Errors: -EINVAL: no token, or mistyped (it carries a checksum). */
must_check int rpc_token_parse(struct rpc_token *out, const char *text);

struct rpc_identity {
	enum rpc_role role; /* NODE, KERNEL or JOINER */
	node_id node;
	tenant_id tenant;
	struct rpc_keys keys;
	struct rpc_cert cert;   /* kernels */
	struct rpc_token token; /* joiners */
};
void rpc_identity_node(struct rpc_identity *out, node_id node, const struct rpc_keys *keys);
void rpc_identity_kernel(struct rpc_identity *out, const struct rpc_cert *cert,
			 const struct rpc_keys *keys);
void rpc_identity_joiner(struct rpc_identity *out, const struct rpc_token *token,
			 const struct rpc_keys *keys);

#endif
