/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - channels between simulated daemons: rpc/core over connections that break.
 *
 * Each daemon - a guest kernel, a pandod - has an end (a rpc_core and the scope of kept replies) to
 * each of its kind; it dies with the daemon, and its successor is another life. Between two ends
 * there is at most one connection.
 *
 * By seed, two networks. Odd seeds: connections as TCP makes them (what is lost comes later, what
 * comes is in order, a long cut or a death breaks them), and everything that daemons say to each
 * other goes over their channels: what has ended as keyed requests, images as streams, the rest as
 * one-way messages. Even seeds: the frames of a connection are lost, repeated and reordered;
 * messages of guest kernels and pandods go without a channel and suffer the same, as the cores
 * promise to stand.
 *
 * Users are called from events only, with one effect after the other: the acknowledgement of a
 * reply leaves when its asker has been told. What users call meanwhile only sends.
 */
#ifndef SIM_LINK_H
#define SIM_LINK_H

#include "rpc/core/core.h"
#include "sim/cluster.h"

#define LINK_WINDOW    (64u * 1024)
#define LINK_KEEP_NS   (40 * NS_PER_S)
#define LINK_CALLS_MAX 24
#define LINK_KEYS_MAX  20

enum link_method {
	LINK_PARCEL = 1, /* one-way: struct parcel */
	LINK_TOLD,       /* request with a key: struct parcel, answered by one */
	LINK_IMAGE,      /* stream; opened with a struct parcel */
	LINK_WORK,       /* request: a number of calls.c */
	LINK_NOTE,       /* one-way: the same */
	LINK_BYTES,      /* stream: the same */
};

/* Whose: a node has two daemons that speak to those of the other nodes, each for itself. */
enum link_level {
	LINK_KERNELS = 0,
	LINK_PODS,
	LINK_LEVELS,
};

/* What a body is: a number, or a reference-counted parcel. */
struct parcel {
	world_fn fn;
	const char *name;
	uint64_t a;
	size_t bytes;
	void *payload;
	uint64_t seq; /* of its sender: no parcel comes twice */
};
static inline void *body_number(uint64_t v)
{
	return (void *)(uintptr_t)(v << 1 | 1);
}
static inline bool body_is_number(const void *body)
{
	return (uintptr_t)body & 1;
}
static inline uint64_t body_value(const void *body)
{
	return (uintptr_t)body >> 1;
}
void body_get(void *body);
void body_put(void *body);

struct link_end {
	enum link_level level;
	node_id node, peer;
	struct rpc_core *core; /* NULL: its daemon is down */
	struct rpc_scope *scope;
	void *core_mem, *scope_mem;
	uint64_t life;                 /* of the daemon, unique in a run */
	uint32_t conn;                 /* the connection it is on; 0: none */
	uint64_t up_ns;                /* since when it is on it */
	uint64_t armed_ns;             /* tick; 0: none */
	unsigned running;              /* keyed requests in execution */
	unsigned kept;                 /* replies kept in the scope */
	uint64_t told[LINK_CALLS_MAX]; /* keys of what we are telling */
	uint64_t parcels_out, parcels_in;
};

/* One thing that came out of a core, for a user. */
struct link_news {
	struct link_end *end;
	uint64_t life;
	struct rpc_fx fx; /* frame.body is borrowed */
};

struct links;
struct links *links_new(struct sim *s);
void links_free(struct sim *s);
bool link_raw(const struct sim *s);
struct link_end *link_end_of(struct sim *s, enum link_level level, node_id node, node_id peer);
/* A daemon begins or ends; with its host, nobody is told. */
void link_begin(struct sim *s, enum link_level level, struct knode *n);
void link_over(struct sim *s, enum link_level level, struct knode *n, bool with_host);
/* No more work: where frames are lost, a stream whose last one was ends with its connection. */
void links_quiet(struct sim *s);
/* All connections of the node break. */
void link_break_all(struct sim *s, node_id node);
/* Takes @payload, which is delivered as by world_send(). Dropped where there is no connection. */
void link_send(struct sim *s, enum link_level level, node_id from, node_id to, size_t bytes,
	       world_fn fn, const char *name, uint64_t a, void *payload);
/* From one pandod to another, as link_send() in odd seeds and as world_send() in even ones. */
void link_pods_send(struct sim *s, node_id from, node_id to, size_t bytes, world_fn fn,
		    const char *name, uint64_t a, void *payload);
/* From one guest kernel to another, told until it is answered, by @key; the answer is a parcel too.
 */
void link_tell(struct sim *s, node_id from, node_id to, uint64_t key, size_t bytes, world_fn fn,
	       const char *name, uint64_t a, void *payload);
/* Answers what is being delivered to @from by link_tell(); false: nothing is. */
bool link_answer(struct sim *s, node_id from, node_id to, world_fn fn, const char *name, uint64_t a,
		 void *payload);
/* @bytes over a stream, then @payload. */
void link_stream(struct sim *s, node_id from, node_id to, size_t bytes, world_fn fn,
		 const char *name, uint64_t a, void *payload);
/* The @i-th parcel on the wire of the guest kernels, or NULL behind the last. */
const struct parcel *link_on_wire(struct sim *s, node_id from, node_id to, uint32_t i);
/* There is a connection that has not broken. */
bool link_carries(struct sim *s, enum link_level level, node_id a, node_id b);
/* Bytes of data of the stream that are on the wire. */
uint64_t link_bytes_under_way(struct sim *s, const struct link_end *from, uint64_t stream_id);
/* After calls of the core: what they send. */
void link_take(struct sim *s, struct link_end *e);
/* From an event only. */
void link_cancel(struct sim *s, struct link_end *e, uint64_t id);

/* ---- calls.c: work for the channels, and what must come of it ---- */
struct calls;
struct calls *calls_new(struct sim *s);
void calls_free(struct calls *c);
void calls_begin(struct sim *s, struct knode *n);
/* Work that @n has noted and asked nobody for: its successor will. */
void calls_note(struct sim *s, struct knode *n, node_id to);
void calls_over(struct sim *s, const struct link_end *e);
void calls_on_news(struct sim *s, const struct link_news *x);
struct flow *calls_flow(struct sim *s, struct link_end *e, uint64_t bytes, struct parcel *p);
void calls_crash(struct sim *s, node_id node);

/* ---- check_calls.c: C1 to C4 ---- */
void check_calls_recount(struct sim *s);
void check_calls_end(struct sim *s);

#endif
