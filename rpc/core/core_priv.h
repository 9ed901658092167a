/* SPDX-License-Identifier: Apache-2.0 */
/* core_priv.h - what the files of rpc/core share; nobody else includes it. */
#ifndef RPC_CORE_CORE_PRIV_H
#define RPC_CORE_CORE_PRIV_H

#include "rpc/core/core.h"

#define RING       16   /* effects of one call besides those on lists */
#define WINDOW     1024 /* numbers of a peer that we remember to have seen */
#define SLOT_BITS  16
#define SLOT(id)   ((unsigned)((id)&0xffff))
#define NUMBER(id) ((id) >> SLOT_BITS)

/* A request of ours:  FREE -> WAITING -> SENT -> DONE -> FREE;  SENT -> WAITING on a reconnect or
 * after "busy". DONE waits for rpc_core_next(). */
enum out_state {
	OUT_FREE = 0,
	OUT_WAITING, /* on c->waiting: is sent when the peer is ready, or at retry_ns */
	OUT_RESEND,  /* on c->resend: is sent by rpc_core_next() */
	OUT_SENT,    /* on c->sent */
	OUT_DONE,    /* on c->done */
};

struct rpc_out {
	enum out_state state;
	struct list link;
	uint64_t id;            /* on the wire; a new one after "busy" */
	uint64_t handle;        /* the first id: what the caller knows */
	bool tell;              /* DONE: the peer must hear of the cancellation */
	uint64_t retry_ns;      /* not before / again at; 0: none */
	uint64_t first_sent_ns; /* 0: never */
	unsigned attempt;
	int err; /* DONE */
	struct rpc_ask ask;
};

/* A request of the peer's:  FREE -> RUNNING -> FREE, with a key RUNNING -> KEPT -> FREE. */
enum in_state {
	IN_FREE = 0,
	IN_RUNNING,
	IN_KEPT,
};

struct rpc_in {
	enum in_state state;
	struct list link;        /* free, c->serving, scope->running or scope->kept */
	struct list chain;       /* keyed: in scope->heads */
	struct rpc_scope *scope; /* keyed */
	struct rpc_core *home;   /* not keyed: whose table this is in */
	struct rpc_core *asker;  /* who waits for the reply, or NULL */
	uint64_t asker_id;
	uint64_t key;
	uint64_t deadline_ns;
	uint64_t forget_ns; /* KEPT */
	int err;            /* KEPT */
	void *body;
	uint32_t len;
};

struct rpc_scope {
	unsigned cap;
	unsigned used;
	unsigned heads_mask;
	uint64_t keep_ns;
	uint64_t kept_bytes;
	uint64_t kept_bytes_max;
	struct list free;
	struct list orphans; /* running, nobody waits */
	struct list kept;    /* oldest first */
	struct list *heads;
	struct rpc_in *ins;
};

enum str_state {
	STR_FREE = 0,
	STR_OPEN,
	STR_DEAD, /* on c->dead: closed by the peer or the connection, not yet told */
};

struct rpc_str {
	enum str_state state;
	bool mine;
	bool want; /* tell when there is credit */
	int err;   /* DEAD */
	uint64_t id;
	uint64_t tx_off; /* written so far */
	uint64_t tx_max; /* the peer's grant */
	uint64_t rx_off; /* received so far */
	uint64_t rx_max; /* our grant */
	uint64_t rx_used;
	void *cookie;
	struct list link; /* c->open or c->dead */
};

struct rpc_core {
	struct rpc_core_limits lim;
	struct rpc_scope *scope;
	void *user;
	struct rand rnd;
	uint64_t life;
	uint64_t session;
	uint64_t number; /* of the last id given out */
	bool up;
	bool hello; /* the peer's arrived on this connection */
	uint64_t now_ns;
	uint64_t peer_life; /* 0: unknown */
	uint64_t peer_session;
	uint64_t peer_window;
	uint64_t due_ns; /* lower bound */

	struct rpc_fx ring[RING];
	unsigned ring_head, ring_len;

	struct list out_free, waiting, resend, sent, done;
	struct list in_free, serving;
	struct list open, tell, dead;

	uint64_t seen_high; /* highest number of the peer's */
	uint64_t seen[WINDOW / 64];

	struct rpc_core_stats stats;
	struct rpc_out *outs;
	struct rpc_in *ins;
	struct rpc_str *mine, *theirs;
};

struct rpc_fx *core_push(struct rpc_core *c, enum rpc_fx_kind kind);
struct rpc_frame *core_send(struct rpc_core *c, enum rpc_frame_kind kind, uint64_t id);
void core_due(struct rpc_core *c, uint64_t at_ns);
/* Streams' part of up, down, next and the frames. */
void core_streams_end(struct rpc_core *c, int err);
void core_streams_credit(struct rpc_core *c);
bool core_streams_next(struct rpc_core *c, struct rpc_fx *fx);
must_check int core_stream_frame(struct rpc_core *c, const struct rpc_frame *f);
/* Marks the number of @id as seen. 1: new; 0: seen before; -1: too old to know. */
int core_seen(struct rpc_core *c, uint64_t id);
/* The peer's requests. */
void core_serve_request(struct rpc_core *c, const struct rpc_frame *f, uint64_t now_ns);
void core_serve_cancel(struct rpc_core *c, uint64_t id);
void core_serve_ack(struct rpc_core *c, uint64_t key);
void core_serve_down(struct rpc_core *c);
/* For rpc_core_at(). */
enum rpc_at core_serve_at(struct rpc_core *c, const struct rpc_frame *f);
enum rpc_at core_stream_at(struct rpc_core *c, const struct rpc_frame *f);

#endif
