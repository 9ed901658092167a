/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority.h - who executes a pid: the records of one block of pids.
 *
 * The authority of a block is first the node that leased it, and may be moved
 * by naming, which counts the moves (aterm). A record is (pid, site, epoch); it
 * changes by a claim (move.h), a birth, an end, a node's death, and by nothing
 * else. Epochs of a pid only grow, over its lives and over all authorities: the
 * upper half of an epoch is the aterm that it was first written under.
 *
 * A new authority knows nothing. It *fences* every live node of the tenant (the
 * old authority too, if it lives): a fenced node believes no older authority
 * from then on, and says how it stands to each pid of the block. When all have
 * answered the records are rebuilt; only then are claims answered:
 *	RUNS    the record is that node's
 *	FROZEN  it goes back to that source - if its target has answered the fence
 *		without having it (it never will); dead, if the target is dead, since
 *		it may have executed there (a node that has died and come back is not
 *		the target: struct mig_stand)
 *	LOST    it is the target's, who may have loaded it and not know yet that it won
 *	ENDED, or nobody: dead
 * What has ended at a node and is not told to all yet still RUNS there.
 *
 * Invariants:
 *	A1  an epoch never gets smaller, and never changes hands without growing
 *	A2  a claim is granted only from the record's present epoch
 *	A3  a record is remembered before anybody is told
 *	A4  nothing is answered while rebuilding or after a newer FENCE
 *
 * Births happen at the lease holder only, while it is the authority.
 *
 * Remembering: struct mig_auth and its records hold no pointer but `recs` and
 * `asked`; MIG_AUTH_FX_REMEMBER says which record (or all) must be safe before
 * the effects behind it. A successor copies them back and calls
 * migrate_auth_adopt(), migrate_auth_init() never, and migrate_auth_takeover()
 * again if it was rebuilding.
 */
#ifndef MIGRATE_CORE_AUTHORITY_H
#define MIGRATE_CORE_AUTHORITY_H

#include "migrate/core/move.h"

enum mig_auth_state {
	MIG_A_SERVING = 0,
	MIG_A_REBUILDING,
	MIG_A_RETIRED, /* a newer authority has fenced us */
	MIG_A_COUNT,
};

struct mig_rec {
	epoch_t epoch;
	uint64_t move; /* the claim that wrote it; 0: none */
	node_id site;  /* NODE_NONE: dead, or never born */
	node_id peer;  /* while rebuilding: target of a FROZEN source */
	uint32_t stance;
	epoch_t stand; /* while rebuilding: of the record by which that one executed */
};

struct mig_asked {
	node_id node;
	bool answered;
};

struct mig_auth {
	uint32_t state;
	gpid first;
	uint32_t count;
	node_id self;
	uint64_t aterm;
	uint32_t asked_count;
	uint32_t asked_max;
	uint64_t again_ns;       /* repetition of FENCE */
	uint64_t wake_ns;        /* give migrate_auth_tick() then; 0: never */
	struct mig_rec *recs;    /* count of them; the caller's */
	struct mig_asked *asked; /* asked_max of them; the caller's */
};

enum mig_auth_fx_kind {
	MIG_AUTH_FX_NONE = 0,
	MIG_AUTH_FX_SEND,         /* msg to @to */
	MIG_AUTH_FX_REMEMBER,     /* the record of @pid */
	MIG_AUTH_FX_REMEMBER_ALL, /* header and all records */
	MIG_AUTH_FX_DIED,         /* the process @pid died with its node @to */
};

struct mig_auth_fx {
	enum mig_auth_fx_kind kind;
	node_id to;
	gpid pid;
	struct mig_msg msg;
};

#define MIG_AUTH_FX_MAX 2
struct mig_auth_out {
	uint32_t count;
	struct mig_auth_fx fx[MIG_AUTH_FX_MAX];
};

/* A block leased to @self: nothing is born yet. @recs is cleared. */
void migrate_auth_init(struct mig_auth *a, node_id self, gpid first, uint32_t count, uint64_t aterm,
		       struct mig_rec *recs, struct mig_asked *asked, uint32_t asked_max);

/*
 * Becomes the authority of a block that had another: @nodes are all live nodes
 * that have this tenant, @self among them. Call migrate_auth_tick() at once.
 * Errors: -ENOSPC, more nodes than asked_max.
 */
must_check int migrate_auth_takeover(struct mig_auth *a, uint64_t aterm, const node_id *nodes,
				     uint32_t n, uint64_t again_ns, uint64_t now_ns);

/*
 * The copy of a predecessor. @fenced: highest term of a FENCE for the block that this node
 * remembers (move.h); the predecessor may have died before its own copy said so.
 */
void migrate_auth_adopt(struct mig_auth *a, uint64_t fenced);

/* A pid of the block is born here; its new epoch. CHECKs that it is dead and we are serving. */
epoch_t migrate_auth_born(struct mig_auth *a, gpid pid, struct mig_auth_out *out);

/*
 * READ, CLAIM, GONE, STAND, and FENCE of a newer authority.
 * Errors: -EAGAIN, not serving: no answer, they ask again; -EPROTO, faulty peer.
 */
must_check int migrate_auth_step(struct mig_auth *a, const struct mig_msg *msg,
				 struct mig_auth_out *out);

/* While rebuilding: the next FENCE that is due; call until it gives no effect. */
void migrate_auth_tick(struct mig_auth *a, uint64_t now_ns, uint32_t *cursor,
		       struct mig_auth_out *out);

/*
 * @node was announced dead: what executed there is. Call with *cursor = 0 first
 * and until it returns false; each call carries out at most one record.
 */
bool migrate_auth_node_dead(struct mig_auth *a, node_id node, uint32_t *cursor,
			    struct mig_auth_out *out);

/* The record, or NULL if the block does not hold @pid. Borrowed. */
const struct mig_rec *migrate_auth_find(const struct mig_auth *a, gpid pid);

#endif
