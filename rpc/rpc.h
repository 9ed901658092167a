/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc.h - requests, one-way messages and streams between nodes and on one node.
 *
 * A `struct rpc` belongs to one event loop and holds method tables and limits.
 * A `struct rpc_conn` is one authenticated connection, over a unix socket (one
 * node; descriptors may ride along), a connected TCP descriptor that was passed
 * in, or a libfabric FI_EP_MSG endpoint; the three look alike from here.
 *
 * Semantics: a request with an idempotency key is executed at most once by one
 * peer, also over reconnects, and its reply is given again; without a key it is
 * tried once. Deadlines are absolute on the local monotonic clock and travel as
 * a remaining time. Everything off the machine is authenticated and sealed.
 *
 * Ownership: bodies passed in are borrowed until the function returns; bodies
 * given to a callback are borrowed until it returns. Descriptors given to a
 * callback are the callee's, who closes them; descriptors passed in are taken
 * when the call succeeds. Callbacks come from the loop, never from inside a call.
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

struct rpc_limits {
	unsigned conns_max;
	unsigned calls_max;     /* outstanding, per connection and direction */
	unsigned streams_max;   /* per connection */
	uint32_t stream_window; /* bytes of credit a stream starts with */
};

/* Errors: -ENOMEM. @limits may be NULL for defaults. */
must_check int rpc_new(struct rpc **out, struct loop *l, const struct rpc_limits *limits);
void rpc_free(struct rpc *r);

/* ---- who we are, who may speak ---- */
#define RPC_KEY_BYTES 32
enum rpc_role {
	RPC_ROLE_NODE = 1, /* a pandod; key known to naming */
	RPC_ROLE_KERNEL,   /* a guest kernel; its certificate is signed by its node */
	RPC_ROLE_JOINER, /* holds a one-time token, nothing else; may call only what is marked so */
};

struct rpc_peer {
	enum rpc_role role;
	node_id node;
	tenant_id tenant;           /* kernels only */
	uint8_t key[RPC_KEY_BYTES]; /* ed25519 public key of the node */
};

/* rpc/auth.h has keys, certificates and tokens. */
struct rpc_identity;

/* Asked once per handshake: 0 to accept, -EACCES to refuse. @peer is filled from proven facts. */
typedef int (*rpc_admit_fn)(void *arg, const struct rpc_peer *peer);
void rpc_set_identity(struct rpc *r, const struct rpc_identity *id, rpc_admit_fn admit, void *arg);

/* ---- connections ---- */
typedef void (*rpc_conn_fn)(void *arg, struct rpc_conn *c,
			    int err); /* 0: up; -errno: gone, @c is freed after the call */

/* Over an already trusted unix socket (socketpair or checked by SO_PEERCRED). Takes @fd. Up at
 * once. */
must_check int rpc_conn_local(struct rpc *r, int fd, rpc_conn_fn cb, void *arg,
			      struct rpc_conn **out);
/* Over a connected stream socket to another node; handshake first. Takes @fd. */
must_check int rpc_conn_sealed(struct rpc *r, int fd, bool we_dial, rpc_conn_fn cb, void *arg,
			       struct rpc_conn **out);
/* Listen and dial on the fabric ("tcp" or "verbs"); @addr is "10.0.0.1:7300". */
must_check int rpc_listen(struct rpc *r, const char *provider, const char *addr, rpc_conn_fn cb,
			  void *arg);
must_check int rpc_dial(struct rpc *r, const char *provider, const char *addr,
			const uint8_t peer_key[RPC_KEY_BYTES], rpc_conn_fn cb, void *arg,
			struct rpc_conn **out);
void rpc_conn_close(struct rpc_conn *c);
const struct rpc_peer *rpc_conn_peer(const struct rpc_conn *c);

/* ---- requests ---- */
struct rpc_msg {
	uint32_t method; /* room << 16 | number; each room numbers its own in its .proto */
	const void *body;
	size_t len;
	int fds[RPC_FDS_MAX]; /* local connections only; -EINVAL elsewhere */
	unsigned fd_count;
};

typedef void (*rpc_handler_fn)(void *arg, struct rpc_conn *c, struct rpc_call *call,
			       const struct rpc_msg *m);
/* @call is NULL for one-way messages. Every call must be answered by rpc_reply() sooner or later.
 */
void rpc_serve(struct rpc *r, uint32_t method, rpc_handler_fn fn, void *arg);
must_check int rpc_reply(struct rpc_call *call, int err, const struct rpc_msg *m);

/* @err: 0, the handler's -errno, -ETIMEDOUT, -ECANCELED, -ECONNRESET. @m is NULL unless err is 0.
 */
typedef void (*rpc_done_fn)(void *arg, int err, const struct rpc_msg *m);
struct rpc_opts {
	uint64_t deadline_ns; /* 0: no deadline */
	uint64_t key;         /* idempotency key, 0: none */
};
/* Errors: -EMSGSIZE, -EBUSY (calls_max), -ENOTCONN, -ENOMEM. @id, if wanted, is for rpc_cancel().
 */
must_check int rpc_request(struct rpc_conn *c, const struct rpc_msg *m, const struct rpc_opts *o,
			   rpc_done_fn done, void *arg, uint64_t *id);
void rpc_cancel(struct rpc_conn *c, uint64_t id);
must_check int rpc_send(struct rpc_conn *c, const struct rpc_msg *m);

/* ---- streams ---- */
struct rpc_stream_ops {
	void (*data)(void *arg, struct rpc_stream *s, const void *bytes,
		     size_t len);                          /* then rpc_stream_consumed() */
	void (*writable)(void *arg, struct rpc_stream *s); /* credit came back */
	void (*closed)(void *arg, struct rpc_stream *s,
		       int err); /* 0: the peer finished; the stream is gone after the call */
};
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
/* 0: finish after what was written; -errno: abort. */
void rpc_stream_close(struct rpc_stream *s, int err);

#endif
