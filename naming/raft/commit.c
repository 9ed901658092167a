/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.c - tells followers of a commit at once when somebody waits for it there.
 *
 * Raft lets them know with the next entries or the next heartbeat: fine for a copy,
 * a heartbeat too late for whoever proposed the command there. So the leader sends a
 * heartbeat of its own making, anchored at the committed entry, and only to servers
 * that are known to have this entry: to raft it is one AppendEntries among others,
 * and cannot be rejected.
 */
#include "naming/raft/priv.h"

void replica_waiter_add(struct naming_replica *r, node_id from, uint64_t index)
{
	struct waiter *w = NULL;

	if (from == r->cfg.self)
		return;
	for (size_t i = 0; i < r->waiter_count; i++)
		if (r->waiters[i].node == from)
			w = &r->waiters[i];
	if (w == NULL && r->waiter_count < CHANGE_SERVERS_MAX)
		w = &r->waiters[r->waiter_count++];
	if (w != NULL)
		*w = (struct waiter){ from, index };
}

static void heartbeat(struct naming_replica *r, node_id to, uint64_t commit, uint64_t term)
{
	const struct wire_msg m = {
		.type = WIRE_RAFT,
		.leader = r->cfg.self,
		.raft = {
			.type = RAFT_APPEND_ENTRIES,
			.term = r->raft.current_term,
			.index = commit,
			.index_term = term,
			.commit = commit,
		},
	};

	replica_send(r, to, &m, replica_meta_frame(r));
}

/* A waiter that raft does not know is fed by any of the followers: all are told. */
static bool tell(struct naming_replica *r, const struct waiter *w)
{
	const struct raft_configuration *c = &r->raft.configuration;
	uint64_t commit = r->raft.commit_index;
	const struct entry *e = replica_entry(r, commit);
	bool known = false;
	bool told = true;

	if (e == NULL)
		return true;
	for (unsigned i = 0; i < c->n; i++)
		known = known || c->servers[i].id == w->node;
	for (unsigned i = 0; i < c->n; i++) {
		raft_id id = c->servers[i].id;
		raft_index match = 0;

		if (id == r->cfg.self || (known && id != w->node) ||
		    c->servers[i].role == RAFT_SPARE)
			continue;
		if (raft_match_index(&r->raft, id, &match) == 0 && match >= commit)
			heartbeat(r, (node_id)id, commit, e->term);
		else
			told = !known && told;
	}
	return told;
}

void replica_waiters_flush(struct naming_replica *r)
{
	for (size_t i = 0; i < r->waiter_count; i++) {
		const struct waiter w = r->waiters[i];

		if (!replica_leading(r) || w.index > r->raft.commit_index || !tell(r, &w))
			continue;
		r->waiters[i--] = r->waiters[--r->waiter_count];
	}
}
