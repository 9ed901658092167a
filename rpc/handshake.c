/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.c - two strangers become peers: SIGMA-I with AEAD for its MAC.
 *
 * Krawczyk, "SIGMA: the 'SIGn-and-MAc' approach to authenticated Diffie-Hellman"
 * (CRYPTO 2003), section 5.2, in the form that TLS 1.3 gave it: each side signs
 * the transcript and its claims, and sends both sealed under a key that comes
 * from the Diffie-Hellman value and the transcript, which binds the identity to
 * the key. X25519, ed25519, SHA-256, HKDF.
 *
 *	dialler                                    listener
 *	First {ephemeral, suites}          ->
 *	                                   <-      Second {ephemeral, suite, {Proof}}
 *	Third {{Proof}}                    ->
 *	                                   <-      {Verdict}, then frames both ways
 *
 * The transcript is a chain of hashes over the packets as they were sent, so a
 * changed byte anywhere ends in a seal that does not open. Ephemeral keys are
 * wiped when the session keys are there (forward secrecy). The dialler shows
 * who it is, and a joiner its token, only to a listener that has proved its key.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "rpc/auth.h"
#include "rpc/seal.h"
#include "rpc/wire.pb-c.h"

#define VERSION      1
#define TIMEOUT_NS   (10 * NS_PER_S)
#define STRANGERS    64 /* handshakes under way; members find room again at once */
#define LABEL_START  "pando rpc handshake 1"
#define LABEL_LISTEN "pando rpc listener's proof"
#define LABEL_DIAL   "pando rpc dialler's proof"

/* ---- transcript and keys ---- */

static void absorb(struct rpc_seal *s, const void *bytes, size_t len)
{
	crypto_hash_sha256_state st;
	uint64_t n = len;

	crypto_hash_sha256_init(&st);
	crypto_hash_sha256_update(&st, s->transcript, HASH_BYTES);
	crypto_hash_sha256_update(&st, (const uint8_t *)&n, sizeof(n));
	crypto_hash_sha256_update(&st, bytes, len);
	crypto_hash_sha256_final(&st, s->transcript);
}

static int derive(struct rpc_seal *s, const uint8_t peer_ephemeral[32])
{
	uint8_t dh[32];

	/* All zero: the peer sent a point of small order. */
	if (crypto_scalarmult(dh, s->eph_secret, peer_ephemeral) != 0)
		return -EPROTO;
	hkdf_extract(s->prk, s->transcript, HASH_BYTES, dh, sizeof(dh));
	sodium_memzero(dh, sizeof(dh));
	sodium_memzero(s->eph_secret, sizeof(s->eph_secret));
	return 0;
}

static int key_for(struct rpc_seal *s, struct aead *a, const char *label, bool sealing,
		   uint64_t rekey_records)
{
	uint8_t secret[AEAD_SECRET_BYTES];
	int err;

	hkdf_expand(secret, sizeof(secret), s->prk, label, s->transcript, HASH_BYTES);
	err = aead_init(a, s->suite, sealing, secret, rekey_records);
	sodium_memzero(secret, sizeof(secret));
	return err;
}

/* Both directions, from here on. */
static int session_keys(struct rpc_seal *s, bool dialler)
{
	uint64_t rekey = s->conn->rpc->rekey_records;
	int err = key_for(s, &s->tx, dialler ? "dialler's records" : "listener's records", true,
			  rekey);

	if (err == 0)
		err = key_for(s, &s->rx, dialler ? "listener's records" : "dialler's records",
			      false, rekey);
	sodium_memzero(s->prk, sizeof(s->prk));
	return err;
}

static int send_packet(struct rpc_seal *s, const void *bytes, size_t len)
{
	uint8_t head[LEN_BYTES] = { (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), 0 };
	int err = buf_add(&s->conn->wire, head, LEN_BYTES);

	if (err == 0)
		err = buf_add(&s->conn->wire, bytes, len);
	if (err == 0)
		rpc_conn_dirty(s->conn);
	return err;
}

static ProtobufCBinaryData bytes_of(const void *p, size_t n)
{
	return (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)p };
}

/* ---- proofs ---- */

static size_t claims_pack(const struct rpc_identity *id, uint8_t *out, size_t cap)
{
	Pando__Rpc__Claims m = PANDO__RPC__CLAIMS__INIT;
	Pando__Rpc__Certificate cert = PANDO__RPC__CERTIFICATE__INIT;

	m.role = id->role;
	m.node = id->node;
	m.tenant = id->tenant;
	m.key = bytes_of(id->keys.public, RPC_KEY_BYTES);
	if (id->role == RPC_ROLE_KERNEL) {
		cert.expires_s = id->cert.expires_s;
		cert.epoch = id->cert.epoch;
		cert.node_key = bytes_of(id->cert.node_key, RPC_KEY_BYTES);
		cert.signature = bytes_of(id->cert.sig, RPC_SIG_BYTES);
		m.certificate = &cert;
	} else if (id->role == RPC_ROLE_JOINER) {
		m.token = bytes_of(id->token.secret, RPC_TOKEN_BYTES);
	}
	CHECK(pando__rpc__claims__get_packed_size(&m) <= cap);
	return pando__rpc__claims__pack(&m, out);
}

static size_t to_sign(const struct rpc_seal *s, const char *label, const uint8_t *claims,
		      size_t len, uint8_t *out, size_t cap)
{
	size_t at = strlen(label) + 1;

	CHECK(at + HASH_BYTES + len <= cap);
	memcpy(out, label, at);
	memcpy(out + at, s->transcript, HASH_BYTES);
	memcpy(out + at + HASH_BYTES, claims, len);
	return at + HASH_BYTES + len;
}

/* Our proof, sealed under @key_label; returns its length in @out, or -errno. */
static ssize_t proof_make(struct rpc_seal *s, const char *label, const char *key_label,
			  uint8_t *out, size_t cap)
{
	const struct rpc_identity *id = s->conn->rpc->id;
	Pando__Rpc__Proof m = PANDO__RPC__PROOF__INIT;
	uint8_t claims[512], text[1024], sig[RPC_SIG_BYTES], plain[1024];
	struct aead a;
	size_t n;
	int err = key_for(s, &a, key_label, true, UINT64_MAX);

	if (err < 0)
		return err;
	m.claims = bytes_of(claims, claims_pack(id, claims, sizeof(claims)));
	n = to_sign(s, label, claims, m.claims.len, text, sizeof(text));
	CHECK(crypto_sign_detached(sig, NULL, text, n, id->keys.secret) == 0);
	m.signature = bytes_of(sig, sizeof(sig));
	CHECK(pando__rpc__proof__get_packed_size(&m) <= sizeof(plain));
	n = pando__rpc__proof__pack(&m, plain);
	CHECK(n + AEAD_TAG_BYTES <= cap);
	aead_seal(&a, out, plain, n, s->transcript, HASH_BYTES);
	aead_fini(&a);
	sodium_memzero(claims, sizeof(claims)); /* a joiner's token is in it */
	sodium_memzero(text, sizeof(text));
	sodium_memzero(plain, sizeof(plain));
	return (ssize_t)(n + AEAD_TAG_BYTES);
}

static int refuse(struct rpc_seal *s, const char *why)
{
	(void)snprintf(s->conn->reason, sizeof(s->conn->reason), "%s", why);
	return -EACCES;
}

static int copy_exact(uint8_t *out, size_t n, const ProtobufCBinaryData *in)
{
	if (in->len != n)
		return -EPROTO;
	memcpy(out, in->data, n);
	return 0;
}

static int kernel_claims(struct rpc_seal *s, const Pando__Rpc__Claims *m, struct rpc_peer *peer)
{
	struct rpc_cert c = { .tenant = m->tenant, .node = m->node };
	int err;

	if (!m->certificate || copy_exact(c.key, sizeof(c.key), &m->key) < 0 ||
	    copy_exact(c.node_key, sizeof(c.node_key), &m->certificate->node_key) < 0 ||
	    copy_exact(c.sig, sizeof(c.sig), &m->certificate->signature) < 0)
		return -EPROTO;
	c.expires_s = m->certificate->expires_s;
	c.epoch = m->certificate->epoch;
	err = rpc_cert_check(&c, clock_wall_ns() / NS_PER_S);
	if (err == -EKEYEXPIRED)
		return refuse(s, "its certificate has expired");
	if (err < 0)
		return refuse(s, "its certificate is not signed by the node it names");
	memcpy(peer->key, c.node_key, RPC_KEY_BYTES);
	peer->epoch = c.epoch;
	return 0;
}

/* The claims of a peer whose signature is right. */
static int take_claims(struct rpc_seal *s, const Pando__Rpc__Claims *m, bool from_dialler)
{
	struct rpc_conn *c = s->conn;
	struct rpc_peer *peer = &c->peer;
	int err = 0;

	*peer = (struct rpc_peer){ .role = (enum rpc_role)m->role,
				   .node = m->node,
				   .tenant = m->tenant };
	memcpy(peer->key, m->key.data, RPC_KEY_BYTES);
	if (m->role == RPC_ROLE_KERNEL)
		err = kernel_claims(s, m, peer);
	else if (m->role == RPC_ROLE_JOINER && from_dialler && m->token.len == RPC_TOKEN_BYTES)
		rpc_token_hash(peer->token, m->token.data);
	else if (m->role != RPC_ROLE_NODE)
		err = -EPROTO;
	if (err < 0)
		return err;
	if (s->pinned && sodium_memcmp(peer->key, s->pinned_key, RPC_KEY_BYTES) != 0)
		return refuse(s, "it has another key than was expected");
	if (c->rpc->admit)
		return c->rpc->admit(c->rpc->admit_arg, peer) < 0
			       ? refuse(s, "it is no member that may speak here")
			       : 0;
	return s->pinned ? 0 : refuse(s, "nobody is admitted here");
}

static int proof_check(struct rpc_seal *s, const uint8_t *plain, size_t len, const char *label,
		       bool from_dialler)
{
	Pando__Rpc__Proof *p = pando__rpc__proof__unpack(NULL, len, plain);
	Pando__Rpc__Claims *m = NULL;
	uint8_t text[HANDSHAKE_MAX + 256];
	size_t n;
	int err = -EPROTO;

	if (p)
		m = pando__rpc__claims__unpack(NULL, p->claims.len, p->claims.data);
	if (!m || m->key.len != RPC_KEY_BYTES || p->signature.len != RPC_SIG_BYTES)
		goto out;
	n = to_sign(s, label, p->claims.data, p->claims.len, text, sizeof(text));
	if (crypto_sign_verify_detached(p->signature.data, text, n, m->key.data) != 0)
		err = refuse(s, "it does not have the key that it claims");
	else
		err = take_claims(s, m, from_dialler);
out:
	if (m)
		pando__rpc__claims__free_unpacked(m, NULL);
	if (p)
		pando__rpc__proof__free_unpacked(p, NULL);
	return err;
}

/* Opens and checks the peer's proof. */
static int proof_take(struct rpc_seal *s, const ProtobufCBinaryData *sealed, const char *label,
		      const char *key_label, bool from_dialler)
{
	uint8_t plain[HANDSHAKE_MAX];
	struct aead a;
	size_t n;
	int err;

	if (sealed->len <= AEAD_TAG_BYTES || sealed->len > HANDSHAKE_MAX)
		return -EPROTO;
	n = sealed->len - AEAD_TAG_BYTES;
	err = key_for(s, &a, key_label, false, UINT64_MAX);
	if (err < 0)
		return err;
	err = aead_open(&a, plain, sealed->data, n, s->transcript, HASH_BYTES);
	aead_fini(&a);
	if (err == 0)
		err = proof_check(s, plain, n, label, from_dialler);
	sodium_memzero(plain, sizeof(plain));
	return err;
}

/* ---- the dialler's side ---- */

static int send_first(struct rpc_seal *s)
{
	Pando__Rpc__First m = PANDO__RPC__FIRST__INIT;
	uint8_t out[128];
	size_t n;

	m.version = VERSION;
	m.ephemeral = bytes_of(s->eph_public, sizeof(s->eph_public));
	m.suites = aead_suites();
	CHECK(pando__rpc__first__get_packed_size(&m) <= sizeof(out));
	n = pando__rpc__first__pack(&m, out);
	absorb(s, out, n);
	return send_packet(s, out, n);
}

static void absorb_choice(struct rpc_seal *s, const uint8_t ephemeral[32], uint8_t suite)
{
	uint8_t both[33];

	memcpy(both, ephemeral, 32);
	both[32] = suite;
	absorb(s, both, sizeof(both));
}

static int send_third(struct rpc_seal *s)
{
	Pando__Rpc__Third m = PANDO__RPC__THIRD__INIT;
	uint8_t sealed[HANDSHAKE_MAX / 2], out[HANDSHAKE_MAX];
	ssize_t n = proof_make(s, LABEL_DIAL, "dialler's proof", sealed, sizeof(sealed));
	size_t len;

	if (n < 0)
		return (int)n;
	m.sealed = bytes_of(sealed, (size_t)n);
	CHECK(pando__rpc__third__get_packed_size(&m) <= sizeof(out));
	len = pando__rpc__third__pack(&m, out);
	absorb(s, out, len);
	return send_packet(s, out, len);
}

static int on_second(struct rpc_seal *s, const uint8_t *bytes, size_t len)
{
	Pando__Rpc__Second *m = pando__rpc__second__unpack(NULL, len, bytes);
	int err = -EPROTO;

	if (!m || m->ephemeral.len != 32 || m->suite > AEAD_CHACHA20_POLY1305 ||
	    !(aead_suites() & 1u << m->suite))
		goto out;
	s->suite = (enum aead_suite)m->suite;
	absorb_choice(s, m->ephemeral.data, (uint8_t)m->suite);
	err = derive(s, m->ephemeral.data);
	if (err == 0)
		err = proof_take(s, &m->sealed, LABEL_LISTEN, "listener's proof", false);
	absorb(s, bytes, len);
	if (err == 0)
		err = send_third(s);
	if (err == 0)
		err = session_keys(s, true);
	s->state = SEAL_WAIT_VERDICT;
out:
	if (m)
		pando__rpc__second__free_unpacked(m, NULL);
	return err;
}

static void no_stranger(struct rpc_seal *s)
{
	s->conn->rpc->handshakes -= s->stranger;
	s->stranger = false;
}

static void now_open(struct rpc_seal *s)
{
	struct rpc_conn *c = s->conn;

	no_stranger(s);
	s->state = SEAL_OPEN;
	loop_timer_clear(c->rpc->loop, &s->timer);
	c->rpc->stats.handshakes_ok++;
	rpc_conn_up(c);
}

static int on_verdict(struct rpc_seal *s, const uint8_t *bytes, size_t len)
{
	Pando__Rpc__Verdict *m = pando__rpc__verdict__unpack(NULL, len, bytes);
	int err = m ? 0 : -EPROTO;

	if (m && m->err != 0) {
		(void)snprintf(s->conn->reason, sizeof(s->conn->reason), "the peer says: %.96s",
			       m->reason);
		/* It goes into our log. */
		for (char *p = s->conn->reason; *p; p++)
			*p = *p < ' ' || *p > '~' ? '?' : *p;
		err = -EACCES;
	}
	if (m)
		pando__rpc__verdict__free_unpacked(m, NULL);
	if (err == 0)
		now_open(s);
	return err;
}

/* ---- the listener's side ---- */

static int send_second(struct rpc_seal *s, const uint8_t peer_ephemeral[32])
{
	Pando__Rpc__Second m = PANDO__RPC__SECOND__INIT;
	uint8_t sealed[HANDSHAKE_MAX / 2], out[HANDSHAKE_MAX];
	ssize_t n;
	size_t len;
	int err;

	absorb_choice(s, s->eph_public, (uint8_t)s->suite);
	err = derive(s, peer_ephemeral);
	if (err < 0)
		return err;
	n = proof_make(s, LABEL_LISTEN, "listener's proof", sealed, sizeof(sealed));
	if (n < 0)
		return (int)n;
	m.ephemeral = bytes_of(s->eph_public, sizeof(s->eph_public));
	m.suite = s->suite;
	m.sealed = bytes_of(sealed, (size_t)n);
	CHECK(pando__rpc__second__get_packed_size(&m) <= sizeof(out));
	len = pando__rpc__second__pack(&m, out);
	absorb(s, out, len);
	return send_packet(s, out, len);
}

static int on_first(struct rpc_seal *s, const uint8_t *bytes, size_t len)
{
	Pando__Rpc__First *m = pando__rpc__first__unpack(NULL, len, bytes);
	int err = -EPROTO;

	if (!m || m->version != VERSION || m->ephemeral.len != 32)
		goto out;
	s->suite = (enum aead_suite)aead_choose(m->suites & aead_suites());
	if (s->suite == 0)
		goto out;
	absorb(s, bytes, len);
	err = send_second(s, m->ephemeral.data);
	s->state = SEAL_WAIT_THIRD;
out:
	if (m)
		pando__rpc__first__free_unpacked(m, NULL);
	return err;
}

static int send_verdict(struct rpc_seal *s, int verdict, const char *reason)
{
	Pando__Rpc__Verdict m = PANDO__RPC__VERDICT__INIT;
	uint8_t out[256];

	m.err = verdict;
	m.version = VERSION;
	m.reason = (char *)reason;
	CHECK(pando__rpc__verdict__get_packed_size(&m) <= sizeof(out));
	rpc_conn_dirty(s->conn);
	return seal_record(s, out, pando__rpc__verdict__pack(&m, out));
}

static int on_third(struct rpc_seal *s, const uint8_t *bytes, size_t len)
{
	Pando__Rpc__Third *m = pando__rpc__third__unpack(NULL, len, bytes);
	int verdict = m ? proof_take(s, &m->sealed, LABEL_DIAL, "dialler's proof", true) : -EPROTO;
	int err;

	if (m)
		pando__rpc__third__free_unpacked(m, NULL);
	if (verdict < 0 && verdict != -EACCES)
		return verdict;
	absorb(s, bytes, len);
	err = session_keys(s, false);
	if (err == 0)
		err = send_verdict(s, verdict, verdict < 0 ? s->conn->reason : "");
	if (err < 0)
		return err;
	if (verdict < 0)
		rpc_conn_flush(s->conn); /* it is told why before it is dropped */
	else
		now_open(s);
	return verdict;
}

/* ---- both ---- */

/* At most one a second: a stranger must not fill our disk. The counter has all. */
static void log_refusal(struct rpc_conn *c)
{
	uint64_t now = loop_now_ns(c->rpc->loop);

	if (now - c->rpc->refusal_logged_ns < NS_PER_S)
		return;
	c->rpc->refusal_logged_ns = now;
	log_info("rpc: refused a peer (role %d, node %u): %s", (int)c->peer.role, c->peer.node,
		 c->reason);
}

int handshake_packet(struct rpc_seal *s, const uint8_t *bytes, size_t len)
{
	struct rpc_conn *c = s->conn;
	int err = -EPROTO;

	if (s->state == SEAL_WAIT_FIRST)
		err = on_first(s, bytes, len);
	else if (s->state == SEAL_WAIT_SECOND)
		err = on_second(s, bytes, len);
	else if (s->state == SEAL_WAIT_THIRD)
		err = on_third(s, bytes, len);
	else if (s->state == SEAL_WAIT_VERDICT)
		err = on_verdict(s, bytes, len);
	if (err == -EACCES) {
		c->rpc->stats.handshakes_refused++;
		log_refusal(c);
		rpc_conn_lost(c, -EACCES, c->reason);
		return 0;
	}
	return err;
}

static void on_timeout(struct loop_timer *t)
{
	struct rpc_seal *s = container_of(t, struct rpc_seal, timer);

	rpc_conn_lost(s->conn, -ETIMEDOUT, "the handshake took too long");
}

int rpc_seal_new(struct rpc_conn *c, bool we_dial, const uint8_t *peer_key)
{
	struct rpc *r = c->rpc;
	struct rpc_seal *s;
	int err;

	if (!r->id)
		return -ENOKEY;
	if (sodium_init() < 0)
		return -ENXIO;
	if (!we_dial && r->id->role == RPC_ROLE_JOINER)
		return -EINVAL;
	if (!we_dial && r->handshakes >= STRANGERS) {
		r->stats.refused_busy++;
		return -EBUSY;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->stranger = !we_dial;
	r->handshakes += s->stranger;
	s->conn = c;
	s->state = we_dial ? SEAL_WAIT_SECOND : SEAL_WAIT_FIRST;
	if (!peer_key && we_dial && r->id->role == RPC_ROLE_JOINER)
		peer_key = r->id->token.node_key;
	if (peer_key) {
		s->pinned = true;
		memcpy(s->pinned_key, peer_key, RPC_KEY_BYTES);
	}
	randombytes_buf(s->eph_secret, sizeof(s->eph_secret));
	CHECK(crypto_scalarmult_base(s->eph_public, s->eph_secret) == 0);
	crypto_hash_sha256(s->transcript, (const uint8_t *)LABEL_START, sizeof(LABEL_START));
	c->seal = s;
	err = loop_timer_set(r->loop, &s->timer, loop_now_ns(r->loop) + TIMEOUT_NS, on_timeout);
	if (err == 0 && we_dial)
		err = send_first(s);
	if (err < 0) {
		rpc_seal_free(s);
		c->seal = NULL;
	}
	return err;
}

void rpc_seal_free(struct rpc_seal *s)
{
	if (!s)
		return;
	no_stranger(s);
	loop_timer_clear(s->conn->rpc->loop, &s->timer);
	aead_fini(&s->tx);
	aead_fini(&s->rx);
	sodium_memzero(s, sizeof(*s));
	free(s);
}

int rpc_conn_sealed(struct rpc *r, int fd, bool we_dial, const uint8_t peer_key[RPC_KEY_BYTES],
		    rpc_conn_fn cb, void *arg, struct rpc_conn **out)
{
	struct rpc_conn *c;
	int err = rpc_conn_new(r, cb, arg, &c);

	if (err < 0)
		return err;
	err = rpc_seal_new(c, we_dial, peer_key);
	if (err == 0)
		err = rpc_sock_new(&c->pipe, c, fd, false);
	if (err == 0)
		err = rpc_delay_wrap(c);
	if (err < 0) {
		rpc_conn_close(c);
		return err;
	}
	*out = c;
	return 0;
}
