/* SPDX-License-Identifier: Apache-2.0 */
/*
 * priv.h - what the files of rpc/ share; nobody else includes it.
 *
 *	rpc.c     the instance: methods, limits, scopes, the work at the end of a turn
 *	conn.c    a connection: frames in, effects out, its end
 *	call.c    requests, replies, one-way messages
 *	stream.c  streams and bulk
 *	sock.c    a pipe over a socket;  fabric/ a pipe over a libfabric endpoint
 *	delay.c   a pipe before a pipe, for emulated latency
 *	handshake.c, seal.c, aead.c   who is there; what leaves this machine is sealed
 */
#ifndef RPC_PRIV_H
#define RPC_PRIV_H

#include <sys/uio.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/rand.h"
#include "rpc/core/core.h"
#include "rpc/rpc.h"

#define FDS_QUEUE_MAX 64
#define READ_BYTES    (128u << 10)
#define QUEUE_SOFT    (1u << 20) /* unsent bytes at which streams wait */

/* ---- pipes: ordered bytes to one peer ---- */
struct rpc_pipe;
struct rpc_pipe_ops {
	/*
	 * Returns how many bytes were taken (@fds go with the first of them); 0: none now,
	 * conn_writable() will come; -errno: broken. Calls nobody back.
	 */
	ssize_t (*write)(struct rpc_pipe *p, const void *bytes, size_t len, const int *fds,
			 unsigned fd_count);
	void (*pause)(struct rpc_pipe *p, bool paused); /* stop or go on reading */
	void (*writable)(
		struct rpc_pipe *p); /* of a pipe before a pipe: the inner one is; or NULL */
	void (*free)(struct rpc_pipe *p);
};

struct rpc_pipe {
	const struct rpc_pipe_ops *ops;
	struct rpc_conn *conn;
};

/* A pipe over a connected socket, nonblocking from now on. Takes @fd if it succeeds. */
must_check int rpc_sock_new(struct rpc_pipe **out, struct rpc_conn *c, int fd, bool local);

/* ---- kept replies of one peer ---- */
struct rpc_scope_box {
	struct list link; /* rpc.scopes; private ones are on no list */
	struct rpc_peer peer;
	bool shared;
	unsigned refs; /* connections and calls */
	struct rpc_scope *scope;
};

must_check int rpc_scope_get(struct rpc *r, const struct rpc_peer *peer,
			     struct rpc_scope_box **out);
void rpc_scope_put(struct rpc_scope_box *b);

/* ---- the instance ---- */
struct rpc_method {
	uint32_t method;
	unsigned roles;
	rpc_handler_fn fn;
	rpc_stream_fn stream_fn;
	void *arg;
};

struct rpc {
	struct loop *loop;
	struct rpc_limits lim;
	struct loop_hook hook;
	struct loop_timer sweep;
	struct rand rnd; /* jitter only */
	uint64_t life;
	struct rpc_method *methods; /* sorted */
	size_t method_count;
	struct list conns;
	struct list graves; /* closed: freed at the end of the turn */
	struct list scopes;
	struct list calls; /* whose connection is gone */
	unsigned conn_count;
	const struct rpc_identity *id;
	rpc_admit_fn admit;
	void *admit_arg;
	uint64_t delay_ns;
	unsigned handshakes;        /* of strangers, under way */
	uint64_t refusal_logged_ns; /* the last one that was logged */
	uint64_t rekey_records;     /* AEAD_REKEY_RECORDS; tests make it small */
	struct rpc_fabric *fabric;
	struct rpc_stats stats;
	/* For all connections: what is left unfinished is copied out. */
	uint8_t *read_buf;  /* READ_BYTES, of sockets */
	uint8_t *plain_buf; /* RECORD_MAX, the verdict of a handshake */
};

struct rpc_method *rpc_method_find(struct rpc *r, uint32_t method);

/* ---- a connection ---- */
struct fd_mark {
	struct list link;
	size_t at; /* offset in conn->out of the frame they belong to */
	int fds[RPC_FDS_MAX];
	unsigned count;
};

struct rpc_conn {
	struct rpc *rpc;
	struct list link; /* rpc.conns or rpc.graves */
	struct rpc_core *core;
	struct loop_timer due;
	struct rpc_scope_box *scope; /* NULL until the first key */
	rpc_conn_fn cb;
	void *arg;
	void *user;
	struct rpc_peer peer;
	char reason[128];
	bool local;
	bool dead;    /* closed or lost for good: nobody is called any more */
	bool tell_up; /* the owner must hear of it */
	bool dirty;   /* there is work for the end of the turn */
	bool paused;
	bool accepted; /* by our listener, whose callback hears only of what came up */
	bool known;    /* the owner was told that it is up */
	int lost;      /* -errno: the pipe broke; handled at the end of the turn */

	struct rpc_pipe *pipe;
	struct rpc_seal *seal; /* NULL: local */
	struct rpc_dialer *dialer;
	struct buf out; /* frames to be sent, from out_pos on */
	size_t out_pos;
	struct list marks; /* fd_mark: descriptors that go with them */
	struct buf wire;   /* sealed records to be sent */
	size_t wire_pos;
	struct buf in; /* bytes of an unfinished frame */
	int rx_fds[FDS_QUEUE_MAX];
	unsigned rx_fd_count;
	unsigned frame_fds; /* of the frame being handled: the first of rx_fds */
	const struct rpc_msg
		*tx_msg; /* whose descriptors or tail the frame being made takes along */

	struct list calls;   /* rpc_call */
	struct list streams; /* rpc_stream */
};

must_check int rpc_conn_new(struct rpc *r, rpc_conn_fn cb, void *arg, struct rpc_conn **out);
void rpc_conn_destroy(struct rpc_conn *c);
/* Work for the end of this turn. */
void rpc_conn_dirty(struct rpc_conn *c);
void rpc_conn_turn_end(struct rpc_conn *c);
/* Takes the effects that call nobody back. After every local action. */
void rpc_conn_sends(struct rpc_conn *c);
/* Takes all of them. From the loop only. */
void rpc_conn_take(struct rpc_conn *c);
/* The pipe works and the peer is who it is. */
void rpc_conn_up(struct rpc_conn *c);
/* The pipe is broken or refused; @why may be NULL. Its owner is told at the end of the turn. */
void rpc_conn_lost(struct rpc_conn *c, int err, const char *why);
/* Plain bytes (of frames) came. Returns -EPROTO if they make no sense. */
must_check int rpc_conn_plain(struct rpc_conn *c, const uint8_t *bytes, size_t len);
/* Takes the whole frames out of c->in. */
must_check int rpc_conn_frames(struct rpc_conn *c);
must_check int rpc_msg_check(const struct rpc_conn *c, const struct rpc_msg *m);
must_check int rpc_conn_scope(struct rpc_conn *c);

/* Upcalls of a pipe. */
void rpc_pipe_bytes(struct rpc_conn *c, uint8_t *bytes, size_t len, const int *fds,
		    unsigned fd_count);
void rpc_pipe_writable(struct rpc_conn *c);

/* ---- what the effects do ---- */
struct rpc_call {
	struct rpc *rpc;
	struct rpc_conn *conn; /* NULL: gone */
	struct rpc_in *in;     /* NULL: its connection took it along */
	struct rpc_scope_box *scope;
	struct list link;
};

void rpc_on_deliver(struct rpc_conn *c, const struct rpc_fx *fx);
void rpc_on_oneway(struct rpc_conn *c, const struct rpc_fx *fx);
void rpc_on_done(struct rpc_conn *c, const struct rpc_fx *fx);
void rpc_forget_done(const struct rpc_fx *fx);
void rpc_on_stream(struct rpc_conn *c, const struct rpc_fx *fx);
void rpc_calls_orphan(struct rpc_conn *c);
void rpc_streams_drop(struct rpc_conn *c);
void rpc_streams_unblock(struct rpc_conn *c);
/* Fills fds of @m from what came with the current frame. */
void rpc_take_fds(struct rpc_conn *c, struct rpc_msg *m);
void rpc_drop_fds(struct rpc_conn *c);
void rpc_call_free(struct rpc_call *call);

/* ---- seal.c ---- */
void rpc_seal_free(struct rpc_seal *s);
/* Seals some of c->out into the empty c->wire. 1: some; 0: not before the handshake; -errno. */
must_check int rpc_seal_records(struct rpc_conn *c);
/* Bytes of a sealed connection came: handshake, or records. */
must_check int rpc_seal_bytes(struct rpc_conn *c, const uint8_t *bytes, size_t len);
/*
 * Seals one frame (its head, its body and what follows that) behind all that waits, straight from
 * where it lies; @parts is used up. Only if rpc_seal_can_frame(): else it is to wait in c->out.
 */
#define RPC_FRAME_PARTS 3
must_check int rpc_seal_frame(struct rpc_conn *c, struct iovec *parts, size_t count);
bool rpc_seal_can_frame(const struct rpc_conn *c);
/* Starts the handshake of c->pipe, which comes next. -ENOKEY: no identity. */
must_check int rpc_seal_new(struct rpc_conn *c, bool we_dial, const uint8_t *peer_key);

/* Puts the emulated delay, if any, before c->pipe. */
must_check int rpc_delay_wrap(struct rpc_conn *c);

/* ---- fabric/ ---- */
/* Stops listening. */
void rpc_fabric_free(struct rpc *r);
/* After the last connection. */
void rpc_fabric_gone(struct rpc *r);
void rpc_dialer_free(struct rpc_conn *c);
void rpc_dialer_up(struct rpc_conn *c);
/* Dials again after a while. */
void rpc_dialer_again(struct rpc_conn *c);

#endif
