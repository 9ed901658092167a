/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc.h - requests, one-way messages and streams between nodes and on one node.
 *
 * A `struct rpc` belongs to one event loop and holds method tables and limits;
 * a program that serves peers of different trust makes one for each kind. A
 * `struct rpc_conn` is one authenticated connection, over a unix socket (one
 * node; descriptors may ride along), a connected TCP descriptor that was passed
 * in, or a libfabric FI_EP_MSG endpoint; the three look alike from here.
 *
 * Semantics: a request with an idempotency key is executed at most once by one
 * life of the peer, also over reconnects and if our successor asks again, and its
 * reply is given again; without a key it is tried once. A request with a key that
 * was under way when the peer was restarted ends with -ECONNRESET: it may or may
 * not have been executed. A reply is kept until its caller has it, at most
 * RPC_KEEP_NS. Deadlines are absolute on the local monotonic clock and travel as
 * a remaining time. Everything off the machine is authenticated and sealed.
 *
 * Messages of one connection arrive in the order in which they were sent.
 *
 * Ownership: bodies passed in are borrowed until the function returns; bodies
 * given to a callback are borrowed until it returns. Descriptors given to a
 * callback are the callee's, who closes them; descriptors passed in are taken
 * when the call succeeds. Callbacks come from the loop, never from inside a call.
 * A connection may be closed inside any callback.
 */
#ifndef RPC_RPC_H
#define RPC_RPC_H

#include <sys/types.h>

#include "base/attr.h"
#include "base/loop.h"
#include "base/types.h"

struct rpc;
struct rpc_conn;
struct rpc_call;   /* a request that waits for our reply */
struct rpc_stream; /* ordered bytes with credits, both ways */

#define RPC_FDS_MAX 16
#define RPC_BODY_MAX                                                                               \
	(1u << 20) /* bytes of one request, reply or one-way message; more goes by stream */
#define RPC_KEEP_NS (UINT64_C(600) * NS_PER_S)

/* A zero means the default. */
struct rpc_limits {
	unsigned conns_max;     /* 1024 */
	unsigned calls_max;     /* outstanding, per connection and direction: 1024 */
	unsigned keys_max;      /* kept replies per peer: 1024; then -EBUSY, not executed */
	size_t kept_bytes_max;  /* of their bodies, per peer: 16 MiB; then the same */
	unsigned streams_max;   /* per connection and direction: 256 */
	uint32_t stream_window; /* bytes of credit a stream starts with: 4 MiB */
	size_t queue_bytes_max; /* unsent bytes of a connection, then -EBUSY: 8 MiB */
};

/* Errors: -ENOMEM; -ENXIO no randomness. @limits may be NULL for defaults. */
must_check int rpc_new(struct rpc **out, struct loop *l, const struct rpc_limits *limits);
/* Closes all connections; no callback comes any more. */
void rpc_free(struct rpc *r);

/* What this instance has seen; counts only grow. */
struct rpc_stats {
	uint64_t handshakes_ok;
	uint64_t handshakes_refused; /* not a member, expired, wrong key, not admitted */
	uint64_t frames_in;
	uint64_t frames_out;
	uint64_t bytes_in; /* on the wire */
	uint64_t bytes_out;
	uint64_t bad_bytes;  /* malformed or tampered: the connection was dropped */
	uint64_t duplicates; /* requests that were not executed a second time */
	uint64_t refused_busy;
	uint64_t unwanted; /* one-way messages that nobody serves, or not for this peer */
	uint64_t redials;
};
void rpc_get_stats(const struct rpc *r, struct rpc_stats *out);

/* ---- who we are, who may speak ---- */
#define RPC_KEY_BYTES 32
enum rpc_role {
	RPC_ROLE_LOCAL = 0, /* a process on this node, over a unix socket */
	RPC_ROLE_NODE = 1,  /* a pandod; key known to naming */
	RPC_ROLE_KERNEL,    /* a guest kernel; its certificate is signed by its node */
	RPC_ROLE_JOINER, /* holds a one-time token, nothing else; may call only what is marked so */
};
#define RPC_FROM(role) (1u << (role))

struct rpc_peer {
	enum rpc_role role;
	node_id node;               /* as the peer claims it: admit compares it with naming's key */
	tenant_id tenant;           /* kernels only */
	uint8_t key[RPC_KEY_BYTES]; /* ed25519 public key of the node, proven; joiners: their own */
	uint8_t token[RPC_KEY_BYTES]; /* joiners: rpc_token_hash() of the token they show */
	epoch_t epoch;                /* kernels: of the certificate */
};

/* rpc/auth.h has keys, certificates and tokens. */
struct rpc_identity;

/*
 * Asked once per handshake: 0 to accept, -EACCES to refuse. @peer is filled from proven facts.
 * A node or joiner speaks for @peer->key; the caller of this function must know that key.
 */
typedef int (*rpc_admit_fn)(void *arg, const struct rpc_peer *peer);
/* Borrows @id until another one is set or the instance is freed. Nothing is sealed before. */
void rpc_set_identity(struct rpc *r, const struct rpc_identity *id, rpc_admit_fn admit, void *arg);

/* ---- connections ---- */
/*
 * @err 0: up. -EAGAIN (dialled ones only): lost, or could not be made; it is being dialled again
 * and requests with a key wait. Any other -errno: gone, @c is freed after the call.
 * rpc_conn_reason() says why. A node that is refused (-EACCES) dials again, for it may become a
 * member; a joiner does not.
 */
typedef void (*rpc_conn_fn)(void *arg, struct rpc_conn *c, int err);

/*
 * Over an already trusted unix socket (a socketpair, or checked by SO_PEERCRED), SOCK_STREAM. Takes
 * @fd. Usable at once; the callback still says "up" first.
 */
must_check int rpc_conn_local(struct rpc *r, int fd, rpc_conn_fn cb, void *arg,
			      struct rpc_conn **out);
/* Who is at the other end of a local connection, if that is known: the scope of its keys. */
void rpc_conn_set_peer(struct rpc_conn *c, const struct rpc_peer *peer);

/*
 * Over a connected stream socket to another node; handshake first. Takes @fd. @peer_key: the node
 * key that the other end must prove, or NULL to leave that to admit. Requests wait for the
 * handshake.
 */
must_check int rpc_conn_sealed(struct rpc *r, int fd, bool we_dial,
			       const uint8_t peer_key[RPC_KEY_BYTES], rpc_conn_fn cb, void *arg,
			       struct rpc_conn **out);

/*
 * Listen and dial on the fabric ("tcp" or "verbs"); @addr is "10.0.0.1:7300". A dialled connection
 * that is lost is dialled again, with backoff, until it is closed. @cb of a listener is called for
 * each connection that came up. @provider NULL: verbs where there is an active port, else tcp.
 * Errors: -EINVAL address; -ENODEV no such provider here; -EADDRINUSE; -ENOKEY no identity yet.
 */
must_check int rpc_listen(struct rpc *r, const char *provider, const char *addr, rpc_conn_fn cb,
			  void *arg);
must_check int rpc_dial(struct rpc *r, const char *provider, const char *addr,
			const uint8_t peer_key[RPC_KEY_BYTES], rpc_conn_fn cb, void *arg,
			struct rpc_conn **out);

/* As if it were lost just now, for who knows better than the network: requests end as they do then,
 * and a dialled one is dialled again. Calls back from the loop. */
void rpc_conn_break(struct rpc_conn *c, const char *why);
/* No callback of @c comes after this; its requests end silently, its streams too. */
void rpc_conn_close(struct rpc_conn *c);
const struct rpc_peer *rpc_conn_peer(const struct rpc_conn *c);
/* Why it is down, in words for a person; "" while there is no reason. */
const char *rpc_conn_reason(const struct rpc_conn *c);
bool rpc_conn_is_up(const struct rpc_conn *c);
/* For the owner's use; set from the callback that brought @c, read in handlers. */
void rpc_conn_set_user(struct rpc_conn *c, void *user);
void *rpc_conn_user(const struct rpc_conn *c);
/* Bytes that wait to be sent. */
size_t rpc_conn_queued(const struct rpc_conn *c);

/* For tests and emulated clusters: each byte of sealed connections leaves @delay_ns later. */
void rpc_set_delay(struct rpc *r, uint64_t delay_ns);

/* ---- requests ---- */
struct rpc_msg {
	uint32_t method; /* room << 16 | number; each room numbers its own in its .proto */
	const void *body;
	size_t len;
	const void *tail; /* rpc_send() only: bytes behind the body, which need not lie there */
	size_t tail_len;
	/* Local connections only, -EINVAL elsewhere and with a key; a reply that is given again
	 * comes without. */
	int fds[RPC_FDS_MAX];
	unsigned fd_count;
};

typedef void (*rpc_handler_fn)(void *arg, struct rpc_conn *c, struct rpc_call *call,
			       const struct rpc_msg *m);
/*
 * @call is NULL for one-way messages. Every call must be answered by rpc_reply() sooner or later,
 * also after its connection is gone (rpc_free() takes back what is left). Everybody but joiners may
 * call; rpc_allow() changes that. A request to an unknown method is answered with -ENOSYS.
 */
void rpc_serve(struct rpc *r, uint32_t method, rpc_handler_fn fn, void *arg);
/* @roles: RPC_FROM(..) | ...; others get -EACCES. After rpc_serve() or rpc_serve_stream(). */
void rpc_allow(struct rpc *r, uint32_t method, unsigned roles);

/* Consumes @call. @m may be NULL: an empty body. Errors: -EMSGSIZE, -EINVAL fds on a sealed
 * connection; then the caller gets -EPROTO. A vanished caller is no error. */
must_check int rpc_reply(struct rpc_call *call, int err, const struct rpc_msg *m);
/* The asker's deadline on our clock; 0: none. */
uint64_t rpc_call_deadline_ns(const struct rpc_call *call);
/* The asker cancelled or is gone (a request without a key): the answer will not be read. */
bool rpc_call_is_void(const struct rpc_call *call);

/* @err: 0, the handler's -errno, -ETIMEDOUT, -ECANCELED, -ECONNRESET. @m is NULL unless err is 0.
 */
typedef void (*rpc_done_fn)(void *arg, int err, const struct rpc_msg *m);
struct rpc_opts {
	uint64_t deadline_ns; /* 0: no deadline */
	uint64_t key;         /* idempotency key, 0: none */
};
/*
 * @o may be NULL. While a connection is being dialled or shakes hands, requests with a key wait and
 * others get -ENOTCONN (before the first handshake of a connection both wait).
 * Errors: -EMSGSIZE, -EINVAL, -EBUSY (calls_max, queue_bytes_max), -ENOTCONN, -ENOMEM.
 * @id, if wanted, is for rpc_cancel(), which completes the request with -ECANCELED.
 */
must_check int rpc_request(struct rpc_conn *c, const struct rpc_msg *m, const struct rpc_opts *o,
			   rpc_done_fn done, void *arg, uint64_t *id);
void rpc_cancel(struct rpc_conn *c, uint64_t id);
must_check int rpc_send(struct rpc_conn *c, const struct rpc_msg *m);
/* What was said so far leaves now, not at the end of this turn. */
void rpc_conn_flush(struct rpc_conn *c);

/* ---- streams ---- */
struct rpc_stream_ops {
	void (*data)(void *arg, struct rpc_stream *s, const void *bytes,
		     size_t len);                          /* then rpc_stream_consumed() */
	void (*writable)(void *arg, struct rpc_stream *s); /* credit came back */
	void (*closed)(void *arg, struct rpc_stream *s,
		       int err); /* 0: the peer finished; the stream is gone after the call */
};
/* @m is the opening message. Call rpc_stream_set_ops() in it, or close the stream. */
typedef void (*rpc_stream_fn)(void *arg, struct rpc_conn *c, struct rpc_stream *s,
			      const struct rpc_msg *open);
void rpc_serve_stream(struct rpc *r, uint32_t method, rpc_stream_fn fn, void *arg);
must_check int rpc_stream_open(struct rpc_conn *c, const struct rpc_msg *m,
			       const struct rpc_stream_ops *ops, void *arg,
			       struct rpc_stream **out);
void rpc_stream_set_ops(struct rpc_stream *s, const struct rpc_stream_ops *ops, void *arg);
/* Takes as many bytes as there is credit; returns that number (0: wait for writable). */
must_check ssize_t rpc_stream_write(struct rpc_stream *s, const void *bytes, size_t len);
/* The receiver is done with @len bytes: the sender gets the credit back. */
void rpc_stream_consumed(struct rpc_stream *s, size_t len);
/*
 * 0: finish after what was written; -errno: abort. The stream is gone for us: no callback comes
 * any more. A peer that aborted or finished has closed both ways.
 */
void rpc_stream_close(struct rpc_stream *s, int err);

/* ---- bulk: a run of memory or of a file over a stream ---- */
/*
 * Writes @len bytes as credit allows, then calls @done with 0 or -errno (not after a close).
 * Uses the stream's writable; nobody else may write meanwhile. @mem is borrowed until @done.
 * With @mem NULL, @fd is read from @offset on, asynchronously; it is borrowed too.
 */
typedef void (*rpc_bulk_fn)(void *arg, struct rpc_stream *s, int err);
must_check int rpc_bulk_send(struct rpc_stream *s, const void *mem, int fd, uint64_t offset,
			     uint64_t len, rpc_bulk_fn done, void *arg);

#endif
