/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member.h - who of the machine's nodes answers, and how loaded each one is.
 *
 * SWIM (Das, Gupta, Motivala: "SWIM: scalable weakly-consistent infection-style
 * process group membership protocol", DSN 2002): each period a node probes one
 * other, by itself and then through a few helpers; who does not answer is
 * suspected, and failed when nobody hears of it for the time of suspicion. News
 * ride on the probes. A node that hears itself suspected says so with a greater
 * incarnation. From Lifeguard (Dadgar, Phillips, Currey, 2018): a node that finds
 * itself slow - late timers, unanswered probes, suspected by others - waits
 * longer before it blames anybody; so starved nodes are not declared dead.
 *
 * What is decided here is only who answers. That a node is dead, and that its
 * loans and processes may be taken over, is decided by naming when its lease is
 * certainly over. The list of nodes itself comes from naming (member_add).
 *
 * Sans-io: time and messages come in as events, messages and changes go out. No
 * allocation: the caller gives the table. One thread owns it.
 *
 *   S1  we are ALIVE in our own table
 *   S2  (epoch, incarnation) of a member never goes back
 *   S3  a member that FAILED is ALIVE again only with a greater incarnation or epoch
 */
#ifndef NAMING_MEMBER_CORE_MEMBER_H
#define NAMING_MEMBER_CORE_MEMBER_H

#include "base/attr.h"
#include "base/rand.h"
#include "base/types.h"

#define MEMBER_NEWS_MAX    8 /* in one message, the sender's own first */
#define MEMBER_SENDS_MAX   8 /* of one step */
#define MEMBER_CHANGES_MAX 8 /* of one step */
#define MEMBER_HELPERS     3

enum member_state {
	MEMBER_ALIVE = 1,
	MEMBER_SUSPECT,
	MEMBER_FAILED,
};

/* What a node says of itself; the newer seq wins. Units as in kernel/sched/sched.h. */
struct member_load {
	uint64_t seq;
	uint32_t cpu_milli;
	uint32_t load_milli;
	uint64_t mem_bytes;
	uint64_t mem_free_bytes;
};

struct member_news {
	node_id id;
	epoch_t epoch;
	uint32_t incarnation;
	enum member_state state;
	struct member_load load;
};

enum member_kind {
	MEMBER_PING = 1,
	MEMBER_ACK,
	MEMBER_PING_REQ, /* please probe `target` for me */
};

struct member_msg {
	enum member_kind kind;
	uint32_t seq;
	node_id target; /* PING_REQ: whom to probe; ACK: who has answered */
	unsigned news_count;
	struct member_news news[MEMBER_NEWS_MAX];
};

struct member {
	struct member_news news;
	uint64_t suspected_ns; /* since when, while SUSPECT */
	uint64_t load_ns;      /* when its load came */
	unsigned tell;         /* how often its last change is still to be told */
};

struct member_cfg {
	uint64_t period_ns;         /* between probes; 1 s is usual */
	uint64_t timeout_ns;        /* for a direct answer; well below the period */
	unsigned suspicion_periods; /* times log2 of the number of members */
};

/* A probe of somebody else's, on the way through us. */
struct member_relay {
	node_id asked_by;
	node_id target;
	uint32_t seq_theirs;
	uint32_t seq;
};

struct member_table {
	struct member_cfg cfg;
	struct member *m; /* sorted by id; ourselves among them */
	unsigned count;
	unsigned cap;
	node_id self;
	struct rand rnd;
	uint32_t seq;
	unsigned slow; /* 0..8: how slow we find ourselves */
	/* the probe under way */
	node_id probed; /* NODE_NONE: none */
	uint32_t probe_seq;
	uint64_t probe_ns;
	bool helpers_asked;
	uint64_t next_probe_ns;
	uint64_t due_ns; /* when we last asked to be called */
	unsigned turn;   /* members are probed in turn, from a random start each round */
	unsigned told;   /* cursor for the spread of loads */
	struct member_relay relay[16];
	unsigned relay_next;
};

enum member_ev_kind {
	MEMBER_EV_TICK = 1, /* at due_ns or any other time */
	MEMBER_EV_MSG,      /* from `from`, authenticated by the caller */
};

struct member_ev {
	enum member_ev_kind kind;
	uint64_t now_ns;
	node_id from;
	const struct member_msg *msg;
};

struct member_out {
	unsigned send_count;
	struct {
		node_id to;
		struct member_msg msg;
	} send[MEMBER_SENDS_MAX];
	unsigned change_count; /* members whose state is new; more than fit are told by the table */
	node_id change[MEMBER_CHANGES_MAX];
	uint64_t due_ns; /* call again then, at the latest */
};

/* @storage holds @cap members and stays the caller's. We are in it from the start. */
void member_init(struct member_table *t, const struct member_cfg *cfg, struct member *storage,
		 unsigned cap, node_id self, epoch_t epoch, uint64_t seed, uint64_t now_ns);

/* A node of the machine, or its new epoch. Errors: -ENOSPC. Known already: 0. */
must_check int member_add(struct member_table *t, node_id id, epoch_t epoch);
void member_remove(struct member_table *t, node_id id);

/* NULL: not a member. */
const struct member *member_find(const struct member_table *t, node_id id);

/* Our own load, to be told with every message. seq is filled in. */
void member_set_load(struct member_table *t, const struct member_load *load);

/*
 * Returns 0; or -EPROTO: a message that cannot be (from no member, unknown kind):
 * nothing is changed, count it. @out is overwritten.
 */
must_check int member_step(struct member_table *t, const struct member_ev *ev,
			   struct member_out *out);

#endif
