/* SPDX-License-Identifier: Apache-2.0 */
/* link_priv.h - what link.c and wire.c share; nobody else includes it. */
#ifndef SIM_LINK_PRIV_H
#define SIM_LINK_PRIV_H

#include "sim/link.h"

struct wire_frame {
	uint64_t at_ns;
	bool fin;
	struct rpc_frame f;
};

struct wire {
	struct wire_frame *q;
	uint32_t head, count, cap; /* cap is a power of two */
	uint64_t last_ns;
	uint64_t stalled_ns; /* since when the first one cannot pass; 0: it can */
};

struct link {
	uint32_t conn; /* number of the last connection */
	bool dead;     /* nothing passes any more */
	bool dialling;
	uint32_t tries;
	struct wire wire[2]; /* from the lower node, to it */
};

struct links {
	struct link link[LINK_LEVELS][SIM_NODES_MAX + 1][SIM_NODES_MAX + 1]; /* [lower][higher] */
	struct link_end end[LINK_LEVELS][SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
	uint64_t lives;
	/* what is being delivered by link_tell() */
	struct link_end *telling;
	struct rpc_in *telling_in;
};

/* ---- wire.c ---- */
struct link *link_of(struct sim *s, enum link_level level, node_id a, node_id b);
struct wire *wire_of(struct sim *s, enum link_level level, node_id from, node_id to);
void wire_reset(struct wire *w);
/* @f NULL: the end of what the sender has said. */
void wire_put(struct sim *s, enum link_level level, node_id from, node_id to,
	      const struct rpc_frame *f);
void wire_frame_leaves(struct sim *s, struct link_end *e, const struct rpc_frame *f);
/* Nothing passes any more; each end that lives notices in its own time. */
void link_break(struct sim *s, enum link_level level, node_id a, node_id b, uint64_t notice_ns);

/* ---- link.c ---- */
void link_frame_arrives(struct sim *s, enum link_level level, node_id from, node_id to,
			const struct rpc_frame *f);
/* The daemon gets no CPU until then; 0: it does. */
uint64_t link_starved_ns(const struct sim *s, enum link_level level, node_id node);
/* The end notices that its connection is broken. */
void link_end_down(struct sim *s, struct link_end *e);

/* A level, and the number of a connection or of a life, as one number of an event. */
static inline uint64_t link_word(enum link_level level, uint64_t number)
{
	return (uint64_t)level << 32 | number;
}
static inline enum link_level link_word_level(uint64_t word)
{
	return (enum link_level)(word >> 32);
}

#endif
