/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.c - the tables of nodes that raft does not know.
 *
 * Such a node asks one that votes for everything from an index on, and asks again
 * each second; in between it is sent what is applied there. Only what is committed
 * is sent, so it is applied at once. A gap, a silence or a snapshot that makes no
 * sense lead to the next question, or to the next node.
 */
#include <string.h>

#include "base/check.h"
#include "naming/raft/priv.h"

/* ---- giving ---- */

static void fill_voters(const struct naming_replica *r, struct wire_msg *m)
{
	for (unsigned i = 0; i < r->raft.configuration.n && m->voter_count < WIRE_VOTERS_MAX; i++)
		if (r->raft.configuration.servers[i].role == RAFT_VOTER)
			m->voters[m->voter_count++] = (node_id)r->raft.configuration.servers[i].id;
}

static void give_snapshot(struct naming_replica *r, struct listener *l)
{
	struct wire_msg m = { .type = WIRE_FEED, .leader = replica_leader(r) };
	size_t n = naming_core_snapshot_bytes(r->core);
	uint8_t *bytes = malloc(n);

	if (bytes == NULL)
		return;
	CHECK(naming_core_snapshot(r->core, bytes, n) == n);
	fill_voters(r, &m);
	m.index = r->applied;
	m.term = r->applied_term;
	m.snapshot = bytes;
	m.snapshot_len = n;
	replica_send(r, l->node, &m, 0);
	l->next = r->applied + 1;
	free(bytes);
}

/* Entries next .. applied, as far as one message goes; none is an answer too. */
static void give_entries(struct naming_replica *r, struct listener *l)
{
	struct wire_entry entries[FEED_ENTRIES_MAX];
	struct wire_msg m = { .type = WIRE_FEED, .leader = replica_leader(r) };
	size_t bytes = 0;

	fill_voters(r, &m);
	m.first = l->next;
	m.index = r->applied;
	m.term = r->applied_term;
	m.entries = entries;
	while (l->next <= r->applied && m.entry_count < FEED_ENTRIES_MAX &&
	       bytes < FEED_BYTES_MAX) {
		const struct entry *e = replica_entry(r, l->next);

		CHECK(e != NULL);
		bytes += e->len;
		entries[m.entry_count++] = (struct wire_entry){ e->term, e->type, e->data, e->len };
		l->next++;
	}
	replica_send(r, l->node, &m, 0);
}

/* Entries beyond what raft committed here may be others than those that were fed. */
static bool held(const struct naming_replica *r, uint64_t from)
{
	return from > r->applied || (r->applied == r->raft_done && replica_entry(r, from) != NULL &&
				     replica_entry(r, r->applied) != NULL);
}

static void give(struct naming_replica *r, struct listener *l)
{
	if (held(r, l->next))
		give_entries(r, l);
	else
		give_snapshot(r, l);
}

static struct listener *listener_of(struct naming_replica *r, node_id node)
{
	struct listener *l;

	for (size_t i = 0; i < r->listener_count; i++)
		if (r->listeners[i].node == node)
			return &r->listeners[i];
	if (r->listener_count == r->listener_cap) {
		size_t cap = r->listener_cap == 0 ? 16 : 2 * r->listener_cap;

		if (cap > r->sizes.nodes_max * 2 + 16)
			return NULL;
		l = realloc(r->listeners, cap * sizeof(*l));
		if (l == NULL)
			return NULL;
		r->listeners = l;
		r->listener_cap = cap;
	}
	l = &r->listeners[r->listener_count++];
	l->node = node;
	return l;
}

void replica_feed_ask_in(struct naming_replica *r, node_id from, const struct wire_msg *m)
{
	struct listener *l;

	/* A node that is fed itself, or has nothing yet, lets another one answer. */
	if (!replica_in_raft(r) || r->applied == 0)
		return;
	l = listener_of(r, from);
	if (l == NULL)
		return;
	l->next = MAX(m->first, 1);
	l->until_ms = r->now_ms + FEED_LEASE_MS;
	give(r, l);
}

static void give_all(struct naming_replica *r)
{
	for (size_t i = 0; i < r->listener_count; i++) {
		struct listener *l = &r->listeners[i];

		if (l->until_ms < r->now_ms) {
			*l = r->listeners[--r->listener_count];
			i--;
			continue;
		}
		while (l->next <= r->applied)
			give(r, l);
	}
}

/* ---- taking ---- */

/* Raft's last word to us on who is in. */
static void sources_of_raft(struct naming_replica *r)
{
	node_id ids[CHANGE_SERVERS_MAX];
	size_t n = 0;

	for (unsigned i = 0; i < r->raft.configuration.n && n < CHANGE_SERVERS_MAX; i++)
		ids[n++] = (node_id)r->raft.configuration.servers[i].id;
	naming_replica_seeds(r, ids, n);
}

static void ask(struct naming_replica *r)
{
	struct wire_msg m = { .type = WIRE_FEED_ASK, .first = r->applied + 1 };

	r->ask_ms = r->now_ms + FEED_ASK_MS;
	if (r->source_count == 0)
		sources_of_raft(r);
	if (r->source_count == 0)
		return;
	if (r->now_ms - r->heard_ms > FEED_SILENT_MS) {
		r->source++;
		r->heard_ms = r->now_ms;
		r->hint = NODE_NONE;
		if (!replica_in_raft(r))
			r->leader_seen = NODE_NONE;
	}
	replica_send(r, r->sources[r->source % r->source_count], &m, 0);
}

static bool known_source(const struct naming_replica *r, node_id from)
{
	for (size_t i = 0; i < r->source_count; i++)
		if (r->sources[i] == from)
			return true;
	return false;
}

static void take_voters(struct naming_replica *r, const struct wire_msg *m, node_id from)
{
	node_id ids[WIRE_VOTERS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < m->voter_count; i++)
		if (m->voters[i] != NODE_NONE)
			ids[n++] = m->voters[i];
	if (n == 0)
		return;
	naming_replica_seeds(r, ids, n);
	for (size_t i = 0; i < r->source_count; i++)
		if (r->sources[i] == from)
			r->source = i;
}

static void take_entries(struct naming_replica *r, const struct wire_msg *m)
{
	for (size_t i = 0; i < m->entry_count; i++) {
		uint64_t index = m->first + i;
		const struct wire_entry *e = &m->entries[i];

		if (index == r->applied + 1)
			replica_apply_entry(r, index, e->term, e->type, e->data, e->len);
	}
	if (r->applied < m->index && (m->entry_count == 0 || m->first > r->applied + 1))
		r->ask_ms = r->now_ms; /* a gap */
}

void replica_feed_in(struct naming_replica *r, node_id from, const struct wire_msg *m)
{
	if (!replica_fed(r) || !known_source(r, from)) {
		r->refused++;
		return;
	}
	r->heard_ms = r->fed_ms = r->now_ms;
	if (m->first != 0)
		take_entries(r, m);
	else if (m->index > r->applied &&
		 !replica_restore(r, m->index, m->term, m->snapshot, m->snapshot_len))
		r->refused++;
	take_voters(r, m, from);
	r->committed_seen = MAX(r->committed_seen, r->applied);
	if (m->leader != NODE_NONE && m->leader != r->hint) {
		r->hint = m->leader;
		replica_client_hurry(r);
	}
	if (!replica_in_raft(r) && m->leader != NODE_NONE && m->leader != r->leader_seen) {
		r->leader_seen = m->leader;
		r->ops->status(r->arg);
	}
}

void replica_feed_flush(struct naming_replica *r)
{
	if (replica_in_raft(r))
		give_all(r);
	if (replica_fed(r) && r->now_ms >= r->ask_ms)
		ask(r);
}

uint64_t replica_feed_due(const struct naming_replica *r)
{
	return !r->started || !replica_fed(r) ? UINT64_MAX : r->ask_ms;
}
