/* SPDX-License-Identifier: Apache-2.0 */
/*
 * naming.h - the tables that all nodes agree on, as pandod uses them.
 *
 * Every node has a copy of the tables (core/core.h has rows, commands and
 * results). Three or five nodes are voters and run raft (naming/raft); the
 * others are fed by a voter. A node reads its own copy at once, a moment behind;
 * naming_barrier() waits until the copy holds everything that was answered
 * before the call. A command goes from any node to the leader, is sent again
 * after a change of leader, takes effect once, and is answered when it is durable
 * on a majority.
 *
 * Ownership: a `struct naming` belongs to one loop. Commands and messages passed
 * in are copied. Rows belong to naming and live until the loop's next callback.
 * Callbacks come from the loop, never from inside a call.
 *
 * Disk: @dir holds log segments and snapshots, checksummed. A full disk makes
 * commands fail with -ENOSPC while a majority has no room, and nothing else; it
 * works again by itself when there is room.
 */
#ifndef NAMING_NAMING_H
#define NAMING_NAMING_H

#include "base/attr.h"
#include "base/loop.h"
#include "naming/core/core.h"

struct naming;

#define NAMING_MSG_MAX    (512u << 10) /* bytes of one message to a peer: fits an rpc body */
#define NAMING_TICKET_MAX (64u << 10)  /* bytes of what a joining node is given */

struct naming_ops {
	/* Sends @msg to @to's naming, best effort: may drop it, must not reorder what it
	 * delivers from one node to another. Never called with @to == self. */
	void (*send)(void *arg, node_id to, const void *msg, size_t len);
	/* Rows of these kinds (bits) changed; @id is the row if it was one that has an id, else
	 * 0: look at all. May be NULL. */
	void (*changed)(void *arg, uint32_t kinds, uint32_t id);
	/* Role, leader or health changed: see naming_status(). May be NULL. */
	void (*status)(void *arg);
};

struct naming_config {
	const char *dir;                  /* exists, ours alone */
	const struct naming_sizes *sizes; /* NULL: naming_sizes_default */
	unsigned voters_max;              /* 3 or 5; 0: 3 */
	unsigned election_ms;             /* 0: 250 */
	unsigned heartbeat_ms;            /* 0: 50 */
	unsigned snapshot_entries;        /* log entries between snapshots; 0: 1,000 */
};

/*
 * Opens @cfg->dir. If it holds an identity (this node is a member), starts at
 * once; else waits for naming_bootstrap() or naming_join().
 * Errors: -EBADMSG the log is damaged (a write that was durable is gone: this node
 * must leave and join anew); -EBUSY another process has @dir; -errno of the disk.
 */
must_check int naming_new(struct naming **out, struct loop *l, const struct naming_config *cfg,
			  const struct naming_ops *ops, void *arg);
void naming_free(struct naming *n);
/* What went wrong last, for people; "" if nothing did. */
const char *naming_error(const struct naming *n);

struct naming_self {
	const char *name;
	const char *addr; /* where other nodes reach it */
	uint8_t key[NAMING_KEY_BYTES];
};
/* Makes a new machine with this node as its first, id 1. Errors: -EEXIST it is a member already;
 * -EINVAL a name; -errno of the disk. Durable on return. */
must_check int naming_bootstrap(struct naming *n, const char *machine,
				const struct naming_self *self);
/*
 * Makes this node what the ticket says. The ticket comes from naming_ticket() of a
 * member, after a NAMING_CMD_NODE_JOIN was answered there. Durable on return.
 * Errors: -EEXIST; -EBADMSG; -errno of the disk.
 */
must_check int naming_join(struct naming *n, const void *ticket, size_t len);
/* For a member: what node @id needs to start. Returns its length, or -ENOENT, -ENOSPC. */
must_check ssize_t naming_ticket(const struct naming *n, node_id id, void *out, size_t cap);

/* 0 while this node is no member. */
node_id naming_self(const struct naming *n);

/* A message of @from's naming arrived. The bytes are checked here; @from must be proved. */
void naming_input(struct naming *n, node_id from, const void *msg, size_t len);

/*
 * How to reach a node: from the tables, or from the ticket while they are empty.
 * Returns 0 or -ENOENT. @addr is NAMING_ADDR_MAX bytes.
 */
must_check int naming_peer(const struct naming *n, node_id id, char *addr,
			   uint8_t key[NAMING_KEY_BYTES]);

/*
 * @err: 0 and @r is the result (whose err may tell of a refusal), or
 *   -ETIMEDOUT no leader answered in time: it may or may not take effect
 *   -ENOSPC    a majority of the voters has no room on disk; it has no effect
 *   -ECANCELED naming_free()
 */
typedef void (*naming_done_fn)(void *arg, int err, const struct naming_result *r);

/* @deadline_ns: absolute; at most NAMING_DEADLINE_MAX_MS ahead. Errors: -EBUSY too many
 * unanswered; -EINVAL deadline; -ENOTCONN no member; -ENOMEM. */
must_check int naming_propose(struct naming *n, const struct naming_cmd *cmd, uint64_t deadline_ns,
			      naming_done_fn done, void *arg);
/* When @done comes with 0, naming_tables() shows everything answered before this call, anywhere. */
must_check int naming_barrier(struct naming *n, uint64_t deadline_ns, naming_done_fn done,
			      void *arg);

/*
 * This node leaves for good: it gets nothing new, hands its vote to another node, and only
 * then is it told to have left. Until @done it must stay reachable. A result's err may be
 * -EBUSY: it is still an authority of pid blocks or owns a volume. -ETIMEDOUT: nobody could
 * take its vote (it is the only one, or a majority is away); it may be asked again.
 * Errors: as naming_propose(); -EALREADY: it is under way.
 */
must_check int naming_leave(struct naming *n, uint64_t deadline_ns, naming_done_fn done, void *arg);

/* This node's copy. Never NULL; empty while no member. */
const struct naming_core *naming_tables(const struct naming *n);

enum naming_role {
	NAMING_ROLE_NONE = 0, /* no member */
	NAMING_ROLE_FED,      /* a copy, fed by a voter */
	NAMING_ROLE_FOLLOWER,
	NAMING_ROLE_CANDIDATE,
	NAMING_ROLE_LEADER,
};

struct naming_status {
	enum naming_role role;
	node_id leader; /* NODE_NONE: unknown */
	uint64_t term;
	uint64_t applied;   /* index of the last entry in this node's tables */
	uint64_t committed; /* as far as this node knows */
	unsigned voters;    /* of the machine */
	node_id voter[5];
	int disk_err;     /* 0, or -errno of the write that is being tried again */
	uint64_t refused; /* messages that made no sense */
};
void naming_status(const struct naming *n, struct naming_status *s);

#endif
