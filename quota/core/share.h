/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share.h - one node's share of one tenant's limits, as the node sees it.
 *
 * The ledger (naming/core: what is lent to which node) is in tables that all nodes agree on and of
 * which this node has a copy, a moment behind. A share asks for more ahead of need, gives back what
 * others wait for, and says to what the tenant's world here is to be held.
 *
 *	NONE --open--> CLAIMING --answer--> HOLDING <--answer-- ASKING
 *	                                     |   ^----refused----|  ^
 *	                                     '--give back--> LOWERING
 *	any  --close-> RETURNING --answer--> NONE
 *
 * Q1 needs of each node that it never holds more than its row in the ledger says, whatever is lost,
 * late or doubled on the way, and over any restart of the daemon:
 *
 *	S1  what is given back is not held any more: the world is held to less first, then the
 *	    command leaves; and while its outcome is unknown nothing above it is held
 *
 *	S2  a life of the daemon raises nothing before it has claimed the row: its own command took
 *	    effect, so the row's serial is another one, and commands of an earlier life, which name
 *	    an older one, can do nothing any more
 *
 *	S3  one command is under way at a time; it is repeated until its outcome is known
 *
 * A row only falls by this node's own commands, or when its life is over (then so is its world).
 *
 * Sans-io: a step reads one event and fills @out. It never blocks, allocates, logs, draws
 * randomness or reads a clock. One thread owns a share.
 */
#ifndef QUOTA_CORE_SHARE_H
#define QUOTA_CORE_SHARE_H

#include "base/attr.h"
#include "base/types.h"

enum quota_resource {
	QUOTA_CPU = 0, /* thousandths of a core */
	QUOTA_PROCS,   /* tasks */
	QUOTA_MEMORY,  /* bytes */
	QUOTA_RESOURCES,
};
#define QUOTA_ANY UINT64_MAX /* of a resource without a limit */

struct quota_amounts {
	uint64_t v[QUOTA_RESOURCES];
};

/* What this node's copy of the ledger shows of the tenant. */
struct quota_view {
	bool row;                     /* this node, in this life of it, has a loan */
	uint64_t serial;              /* of it; 0: none */
	struct quota_amounts limit;   /* of the machine; ANY: none */
	struct quota_amounts lent;    /* to this node */
	struct quota_amounts need;    /* what this node said that it needs */
	struct quota_amounts unlent;  /* to no node, and to be had */
	struct quota_amounts least;   /* without which no world is started */
	struct quota_amounts waiting; /* what other nodes wait for, in sum */
	uint32_t over;                /* bits of resources of which more is lent than the limit */
	uint32_t others;              /* nodes with a loan, but for this one */
};

enum quota_state {
	QUOTA_NONE = 0,
	QUOTA_CLAIMING,
	QUOTA_HOLDING,
	QUOTA_LOWERING,
	QUOTA_ASKING,
	QUOTA_RETURNING,
	QUOTA_STATE_COUNT,
};

enum quota_ev_kind {
	QUOTA_EV_OPEN = 1, /* a world is wanted, or found; amounts: to what it is held, 0: new */
	QUOTA_EV_CLOSE,    /* nothing of the tenant runs here any more */
	QUOTA_EV_TICK,     /* amounts: what is used here; several times a second */
	QUOTA_EV_VIEW,     /* the copy of the tables has changed */
	QUOTA_EV_HELD,     /* the world is held to amounts now, which may be more than was asked */
	QUOTA_EV_ANSWER,   /* err of the command; -ETIMEDOUT: it may yet take effect */
	QUOTA_EV_COUNT,
};

struct quota_ev {
	enum quota_ev_kind kind;
	int err;
	struct quota_amounts amounts;
	const struct quota_view *view; /* as it is now, with every event */
};

/* Carry out in this order. */
struct quota_out {
	bool enforce; /* hold the world to @hold; then QUOTA_EV_HELD */
	struct quota_amounts hold;
	bool propose; /* the ledger's command; then QUOTA_EV_ANSWER */
	bool give_all;
	uint64_t serial;
	struct quota_amounts like, need;
};

struct quota_share {
	enum quota_state state;
	bool open;    /* a world is wanted here */
	bool claimed; /* S2 */
	bool ready;   /* the world may start */
	bool resend;  /* the command is to be sent again */
	bool unsure;  /* it may have taken effect, or may yet */
	int refused;  /* 0, or why the ledger lends nothing: -ENOSPC, -ENOENT, -EINVAL */
	struct quota_amounts held;
	struct quota_amounts use;
	struct quota_amounts like, need; /* of the command, or of the one that follows LOWERING */
	uint64_t serial;                 /* that the command names */
	bool give_all;
};

void quota_share_init(struct quota_share *s);

/* Returns 0, or -EPROTO: impossible in this state; @s is unchanged, @out is empty. */
int quota_share_step(struct quota_share *s, const struct quota_ev *ev, struct quota_out *out);

const char *quota_state_name(enum quota_state s);
const char *quota_ev_name(enum quota_ev_kind k);

#endif
