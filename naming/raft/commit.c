/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.c - tells followers of a commit at once.
 *
 * Raft lets them know with the next entries or the next heartbeat: that is a heartbeat
 * too late for whoever proposed the command there, for who follows events, and for a
 * loan that another node waits for. So the leader sends a heartbeat of its own making,
 * anchored at the committed entry, and only to servers that are known to have this
 * entry: to raft it is one AppendEntries among others, and cannot be rejected. Copies
 * that do not vote are fed by the followers.
 */
#include "naming/raft/priv.h"

static struct told *told_of(struct naming_replica *r, node_id node)
{
	for (size_t i = 0; i < r->told_count; i++)
		if (r->told[i].node == node)
			return &r->told[i];
	/* Full of servers that left: all are told once more. */
	if (r->told_count == ARRAY_LEN(r->told))
		r->told_count = 0;
	r->told[r->told_count] = (struct told){ node, 0 };
	return &r->told[r->told_count++];
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

void replica_commits_tell(struct naming_replica *r)
{
	const struct raft_configuration *c = &r->raft.configuration;
	uint64_t commit = r->raft.commit_index;
	const struct entry *e = replica_leading(r) ? replica_entry(r, commit) : NULL;

	for (unsigned i = 0; e != NULL && i < c->n; i++) {
		raft_id id = c->servers[i].id;
		raft_index match = 0;
		struct told *t;

		if (id == r->cfg.self || c->servers[i].role == RAFT_SPARE)
			continue;
		t = told_of(r, (node_id)id);
		if (t->index >= commit || raft_match_index(&r->raft, id, &match) != 0 ||
		    match < commit)
			continue;
		heartbeat(r, (node_id)id, commit, e->term);
		t->index = commit;
	}
}
