/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - requests, at-most-once execution and streams, without a network.
 *
 * A `struct rpc_core` is our end of one channel to one peer; it outlives the
 * connections that carry it. Local actions and arriving frames are function
 * calls; after each of them the caller takes the effects with rpc_core_next()
 * until there is none. Who acts on one effect and makes further calls meanwhile
 * takes after each the effects that call nobody back (rpc_core_next_send).
 * Nothing is allocated after init, no clock is read; time is an argument, randomness comes from the
 * seed. Bodies are handles of the caller's: the core never looks into one.
 * One thread owns a core and the scope that it shares with others.
 *
 * Invariants, CHECKed by these names:
 *   C1  a request with a key is delivered at most once per scope: RIFL's rule (Lee et al.,
 *       "Implementing Linearizability at Large Scale and Low Latency", SOSP 2015): the reply is
 *       kept until the caller acknowledges it. We forget an unacknowledged one after keep_ns, and
 *       a caller never sends a request again later than keep_ns / 2 after its first sending. A
 *       successor that asks again gives a deadline of keep_ns / 2 after its predecessor's first
 *       asking: who keeps keys in a store keeps the time beside them.
 *       (An acknowledgement that is lost costs a place for keep_ns, no more. What the caller gave
 *       up is not acknowledged: asked again under its key, it is still executed once.)
 *   C2  each accepted request gets exactly one RPC_FX_DONE
 *   C3  bytes sent on a stream never exceed the receiver's last grant (offsets, as in RFC 9000, 4)
 *   C4  a stream delivers a prefix of what was written: a gap ends it, a repetition is dropped
 *
 * The network may lose, repeat and reorder frames of one connection: C1-C4 hold. (Ours do not;
 * then resend_ns is 0 and only a reconnect sends again.) A frame of an earlier connection must
 * not arrive in a later one.
 */
#ifndef RPC_CORE_CORE_H
#define RPC_CORE_CORE_H

#include "base/attr.h"
#include "base/list.h"
#include "base/rand.h"
#include "base/types.h"

enum rpc_frame_kind {
	RPC_FR_HELLO = 1, /* id: session, key: life of the sender, method: its stream window */
	RPC_FR_REQUEST,   /* id, key, method, ttl_us, body */
	RPC_FR_REPLY,     /* id, err, body */
	RPC_FR_REFUSED,   /* id, err: certainly not executed */
	RPC_FR_CANCEL,    /* id */
	RPC_FR_ACK,       /* key: the caller has the reply */
	RPC_FR_ONEWAY,    /* id, method, body */
	RPC_FR_OPEN,      /* id, method, body */
	RPC_FR_DATA,      /* id, key: offset, body */
	RPC_FR_CREDIT,    /* id, key: offset up to which the receiver has room */
	RPC_FR_CLOSE,     /* id, err, key: final offset */
	RPC_FR_KINDS,
};

#define RPC_FL_OPENER 1 /* stream frames: the sender opened it */
#define RPC_FL_AGAIN  2 /* hello: the sender has not got the receiver's */

/* ids: number << 16 | slot of the sender's table; numbers of one session only grow. */
struct rpc_frame {
	uint8_t kind; /* enum rpc_frame_kind */
	uint8_t flags;
	uint32_t method;
	int32_t err;
	uint32_t ttl_us; /* time left until the deadline; 0: none */
	uint64_t id;
	uint64_t key;
	uint32_t len; /* bytes of the body */
	void *body;   /* handle */
};

struct rpc_core_limits {
	unsigned calls_max;     /* each way; at most 65536 */
	unsigned streams_max;   /* each way; at most 65536 */
	uint32_t stream_window; /* bytes */
	uint64_t resend_ns;     /* first repetition without an answer; 0: never on one connection */
	uint64_t retry_ns;      /* first wait after "busy"; doubles, with jitter, up to 64 times */
	uint64_t keep_ns;
};

enum rpc_fx_kind {
	RPC_FX_NONE = 0,
	RPC_FX_SEND,    /* frame. Its body is borrowed until the next call. */
	RPC_FX_DELIVER, /* frame (request), in: execute it, then rpc_in_reply(in) */
	RPC_FX_ONEWAY,  /* frame */
	RPC_FX_DONE, /* cookie, err, frame (the reply, if err is 0), release: the request's body */
	RPC_FX_RELEASE,  /* release: a kept reply's body */
	RPC_FX_OPENED,   /* stream, frame: the peer opened it; set its cookie, or close it */
	RPC_FX_DATA,     /* stream, cookie, frame */
	RPC_FX_WRITABLE, /* stream, cookie */
	RPC_FX_CLOSED,   /* cookie, err: the stream is gone */
};

struct rpc_in;  /* a request being executed or whose reply is kept */
struct rpc_str; /* a stream */

struct rpc_fx {
	enum rpc_fx_kind kind;
	int err;
	void *cookie;
	void *release;
	struct rpc_in *in;
	struct rpc_str *stream;
	struct rpc_frame frame;
};

/* ---- kept replies of one peer, shared by all its connections ---- */
struct rpc_scope;
size_t rpc_scope_size(unsigned keys_max);
/* @mem: rpc_scope_size() bytes, 16-aligned, the caller's; nothing to give back. */
struct rpc_scope *rpc_scope_init(void *mem, unsigned keys_max, uint64_t keep_ns);
/* No more bytes of kept bodies than that (and one): then new keys are refused with -EBUSY. */
void rpc_scope_set_bytes_max(struct rpc_scope *s, uint64_t bytes_max);
/* Takes one reply out that is too old, or any reply if @now_ns is UINT64_MAX; false: no more. */
bool rpc_scope_expire(struct rpc_scope *s, uint64_t now_ns, void **release);
unsigned rpc_scope_used(const struct rpc_scope *s);

/* ---- the channel ---- */
struct rpc_core;
size_t rpc_core_size(const struct rpc_core_limits *l);
/*
 * @mem: rpc_core_size() bytes, 16-aligned. @life: random, one for each start of this program;
 * @seed draws our session and the jitter. @user is the caller's. @scope may be shared.
 */
struct rpc_core *rpc_core_init(void *mem, const struct rpc_core_limits *l, struct rpc_scope *scope,
			       uint64_t life, uint64_t seed, void *user);
/* Requests end with -ECONNRESET through rpc_core_next(); requests in execution lose their asker. */
void rpc_core_fini(struct rpc_core *c, uint64_t now_ns);
void rpc_core_set_scope(struct rpc_core *c, struct rpc_scope *scope);
void *rpc_core_user(const struct rpc_core *c);

/* False: nothing to do any more. */
bool rpc_core_next(struct rpc_core *c, struct rpc_fx *fx);
/* Only RPC_FX_SEND and RPC_FX_RELEASE. */
bool rpc_core_next_send(struct rpc_core *c, struct rpc_fx *fx);
/* When to call rpc_core_tick() at the latest; UINT64_MAX: never. */
uint64_t rpc_core_due_ns(const struct rpc_core *c);
void rpc_core_tick(struct rpc_core *c, uint64_t now_ns);

/* A connection carries frames now / no longer. */
void rpc_core_up(struct rpc_core *c, uint64_t now_ns);
void rpc_core_down(struct rpc_core *c, uint64_t now_ns);
bool rpc_core_is_up(const struct rpc_core *c);

/*
 * A frame arrived; its body is borrowed until the effects are taken. Returns 0, or -EPROTO: an
 * honest peer sends no such frame; drop the connection and count it.
 */
must_check int rpc_core_frame(struct rpc_core *c, const struct rpc_frame *f, uint64_t now_ns);

/* ---- asking ---- */
struct rpc_ask {
	uint32_t method;
	uint64_t key; /* 0: none: sent once, ends with -ECONNRESET when the connection does */
	uint64_t deadline_ns; /* 0: none */
	void *body;           /* with a key or while down: kept until RPC_FX_DONE gives it back */
	uint32_t len;
	void *cookie;
};
/* -EBUSY: calls_max are outstanding. */
must_check int rpc_core_request(struct rpc_core *c, const struct rpc_ask *a, uint64_t now_ns,
				uint64_t *id);
void rpc_core_cancel(struct rpc_core *c, uint64_t id);
/* Fills the header of a one-way message to send; -ENOTCONN. */
must_check int rpc_core_oneway(struct rpc_core *c, uint32_t method, void *body, uint32_t len);

/* ---- answering ---- */
/*
 * Consumes @in. The body is kept if the request had a key, until RPC_FX_RELEASE or
 * rpc_scope_expire(). Returns the core whose effects are to be taken, or NULL: nobody waits. If the
 * body is not kept, *@kept is false: it is borrowed until the effects are taken.
 */
struct rpc_core *rpc_in_reply(struct rpc_in *in, int err, void *body, uint32_t len, uint64_t now_ns,
			      bool *kept);
bool rpc_in_is_void(const struct rpc_in *in);
bool rpc_in_has_key(const struct rpc_in *in);
uint64_t rpc_in_deadline_ns(const struct rpc_in *in);

/* ---- streams; all end with -ECONNRESET when the connection does ---- */
/* -EBUSY: streams_max; -ENOTCONN. */
must_check int rpc_core_open(struct rpc_core *c, uint32_t method, void *body, uint32_t len,
			     void *cookie, struct rpc_str **out);
void rpc_str_set_cookie(struct rpc_str *s, void *cookie);
/* Bytes that may be written now. */
uint64_t rpc_str_credit(const struct rpc_str *s);
/* @len <= credit (C3). Asks for RPC_FX_WRITABLE if the credit is used up. */
void rpc_str_write(struct rpc_core *c, struct rpc_str *s, void *body, uint32_t len);
/* The writer found too little credit: tell it when there is more. */
void rpc_str_want(struct rpc_str *s);
/* @len bytes more are consumed. CHECKs that they were received. */
void rpc_str_consumed(struct rpc_core *c, struct rpc_str *s, uint64_t len);
/* Without RPC_FX_CLOSED: the caller knows. */
void rpc_str_close(struct rpc_core *c, struct rpc_str *s, int err);

/* Exponential backoff with jitter: uniform in [d/2, d], d = first << attempt, at most max. */
uint64_t rpc_backoff_ns(unsigned attempt, uint64_t first_ns, uint64_t max_ns, struct rand *rnd);

/* What an arriving frame meets, for coverage and reports. */
enum rpc_at {
	RPC_AT_NONE = 0, /* nothing of that name, or not any more */
	RPC_AT_WAITING,  /* our request, not on the wire */
	RPC_AT_SENT,
	RPC_AT_RUNNING, /* the peer's request */
	RPC_AT_KEPT,
	RPC_AT_OPEN, /* a stream; hello: the peer's has been here */
	RPC_AT_COUNT,
};
enum rpc_at rpc_core_at(struct rpc_core *c, const struct rpc_frame *f);

struct rpc_core_stats {
	uint64_t duplicates; /* frames that would have executed a request again */
	uint64_t refused;    /* requests refused for want of room */
	uint64_t resent;
	uint64_t late; /* replies that nobody waits for */
};
void rpc_core_get_stats(const struct rpc_core *c, struct rpc_core_stats *out);

#endif
