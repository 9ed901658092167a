/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.h - between handshake.c (who is there, which keys) and seal.c (records).
 *
 * On the wire: u32 little-endian length, then that many bytes. In the handshake
 * these are its messages, afterwards records: length is that of the plain
 * bytes, the tag follows, the length is authenticated with them.
 */
#ifndef RPC_SEAL_H
#define RPC_SEAL_H

#include "rpc/aead.h"
#include "rpc/priv.h"

#define RECORD_MAX    16384 /* plain bytes; both ends overlap on longer messages */
#define HANDSHAKE_MAX 2048
#define LEN_BYTES     4
#define HASH_BYTES    32

enum seal_state {
	SEAL_WAIT_FIRST = 1, /* listener */
	SEAL_WAIT_THIRD,
	SEAL_WAIT_SECOND, /* dialler */
	SEAL_WAIT_VERDICT,
	SEAL_OPEN,
};

struct rpc_seal {
	struct rpc_conn *conn;
	enum seal_state state;
	bool pinned;
	bool stranger; /* counted in rpc.handshakes */
	uint8_t pinned_key[RPC_KEY_BYTES];
	struct loop_timer timer; /* strangers do not stay */
	uint8_t eph_secret[32];
	uint8_t eph_public[32];
	uint8_t transcript[HASH_BYTES];
	uint8_t prk[32];
	enum aead_suite suite;
	struct aead tx, rx;
	size_t have; /* bytes of an unfinished packet */
	uint8_t packet[LEN_BYTES + RECORD_MAX + AEAD_TAG_BYTES];
};

/* One handshake message, or the verdict's record opened. Returns 0, or -errno: the end. */
must_check int handshake_packet(struct rpc_seal *s, const uint8_t *bytes, size_t len);

/* Seals @len bytes as one record into c->wire. */
must_check int seal_record(struct rpc_seal *s, const void *plain, size_t len);

#endif
