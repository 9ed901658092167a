/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voters.c - the leader decides who has a vote: raft's configuration follows the tables.
 *
 * Up to voters_max nodes replicate the log; an odd number of them vote, since an
 * even one makes a majority harder and nothing safer. So the second node follows as
 * a stand-by and gets its vote together with the third. One change at a time, each
 * only when the one before is committed (Ongaro, 4.1), and none before an entry of
 * the leader's own term is applied (R3). A dead node keeps its vote until the tables
 * say that it left: only an operator or the failure detector may say so.
 */
#include <string.h>

#include "base/check.h"
#include "naming/raft/priv.h"

#define VOTERS_PERIOD_MS 50u

static bool node_in(const struct naming_replica *r, node_id id)
{
	const struct naming_node *n = naming_node_find(r->core, id);

	return n != NULL && n->state == NAMING_NODE_JOINED;
}

static const struct raft_server *server_of(const struct naming_replica *r, node_id id)
{
	for (unsigned i = 0; i < r->raft.configuration.n; i++)
		if (r->raft.configuration.servers[i].id == id)
			return &r->raft.configuration.servers[i];
	return NULL;
}

/* Submits the present configuration with @id in @role; role -1: without it. */
static void change(struct naming_replica *r, node_id id, int role)
{
	const struct raft_configuration *now = &r->raft.configuration;
	struct raft_configuration next;
	struct raft_buffer buf;
	char address[12];
	char *p = address + sizeof(address);
	uint32_t rest = id;
	int rv = 0;

	r->shrink_index = 0;
	*--p = '\0';
	do {
		*--p = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	raft_configuration_init(&next);
	for (unsigned i = 0; rv == 0 && i < now->n; i++) {
		const struct raft_server *s = &now->servers[i];

		if (s->id != id)
			rv = raft_configuration_add(&next, s->id, s->address, s->role);
		else if (role >= 0)
			rv = raft_configuration_add(&next, s->id, s->address, role);
	}
	if (rv == 0 && role >= 0 && server_of(r, id) == NULL)
		rv = raft_configuration_add(&next, id, p, role);
	if (rv == 0 && next.n > 0 && raft_configuration_encode(&next, &buf) == 0) {
		/* Refused for want of room or for a transfer: looked at again in a while. */
		if (replica_submit(r, RAFT_CHANGE, buf.base, buf.len) != 0)
			r->voters_ms = r->now_ms + r->cfg.election_ms;
		raft_free(buf.base);
	}
	raft_configuration_close(&next);
}

/* What the configuration has, of nodes that the tables have too, and in all. */
struct tally {
	unsigned voters;      /* in all */
	unsigned good_voters; /* whose node is joined */
	unsigned good;        /* servers whose node is joined */
};

static struct tally tally(const struct naming_replica *r)
{
	struct tally t = { 0 };

	for (unsigned i = 0; i < r->raft.configuration.n; i++) {
		const struct raft_server *s = &r->raft.configuration.servers[i];
		bool good = node_in(r, (node_id)s->id);

		t.good += good;
		t.voters += s->role == RAFT_VOTER;
		t.good_voters += good && s->role == RAFT_VOTER;
	}
	return t;
}

/*
 * Without @id, is a majority of the voters there? It counts at once, and would commit nothing: not
 * even a leader whom most follow could undo it. A voter is there when it has stored what was
 * applied when this was first asked.
 */
static bool rest_answers(struct naming_replica *r, raft_id id)
{
	unsigned voters = 0;
	unsigned there = 0;

	if (r->shrink_index == 0)
		r->shrink_index = r->applied;
	for (unsigned i = 0; i < r->raft.configuration.n; i++) {
		const struct raft_server *s = &r->raft.configuration.servers[i];
		raft_index match = 0;

		if (s->role != RAFT_VOTER || s->id == id)
			continue;
		voters++;
		there += s->id == r->cfg.self || (raft_match_index(&r->raft, s->id, &match) == 0 &&
						  match >= r->shrink_index);
	}
	return there > voters / 2;
}

/* One server that should not be in, or not vote. True: something was begun. */
static bool remove_one(struct naming_replica *r, const struct tally *t, unsigned target)
{
	const struct raft_configuration *c = &r->raft.configuration;

	for (unsigned i = c->n; i-- > 0;) {
		const struct raft_server *s = &c->servers[i];

		if (node_in(r, (node_id)s->id))
			continue;
		/* The last voter stays, whatever the tables say: without it there is no log. */
		if (s->role == RAFT_VOTER && t->voters == 1)
			continue;
		/* Another may have to get its vote, or to lose one, first. */
		if (s->role == RAFT_VOTER && !rest_answers(r, s->id))
			continue;
		if (s->id == r->cfg.self) {
			struct raft_event ev = { .type = RAFT_TRANSFER };

			r->shrink_index = 0;
			if (raft_transferee(&r->raft) == 0)
				(void)replica_step(r, &ev);
			return true;
		}
		change(r, (node_id)s->id, -1);
		return true;
	}
	for (unsigned i = c->n; t->good_voters > target && i-- > 0;) {
		if (c->servers[i].role == RAFT_VOTER && c->servers[i].id != r->cfg.self &&
		    rest_answers(r, c->servers[i].id)) {
			change(r, (node_id)c->servers[i].id, RAFT_STANDBY);
			return true;
		}
	}
	return false;
}

static bool add_one(struct naming_replica *r, unsigned servers, unsigned want)
{
	const struct naming_node *n;

	if (servers >= want || r->raft.configuration.n >= CHANGE_SERVERS_MAX)
		return false;
	for (uint32_t i = 0; (n = naming_node_at(r->core, i)) != NULL; i++) {
		if (n->state == NAMING_NODE_JOINED && server_of(r, n->id) == NULL) {
			change(r, n->id, RAFT_STANDBY);
			return true;
		}
	}
	return false;
}

/* The stand-by after the one tried last: a dead one must not keep the others waiting. */
static node_id next_standby(const struct naming_replica *r)
{
	const struct raft_configuration *c = &r->raft.configuration;
	node_id first = NODE_NONE;

	for (unsigned i = 0; i < c->n; i++) {
		node_id id = (node_id)c->servers[i].id;

		if (c->servers[i].role == RAFT_VOTER || !node_in(r, id))
			continue;
		if (id > r->promoted_last)
			return id;
		if (first == NODE_NONE)
			first = id;
	}
	return first;
}

/*
 * A stand-by becomes a voter when it has stored an entry that was made for this
 * purpose: it is alive and has caught up. (The library's own catch-up rounds never
 * end for a server that has everything already: they count progress.)
 */
static void promote_one(struct naming_replica *r)
{
	static const uint8_t zero[8];
	raft_index match = 0;

	if (r->promoting == NODE_NONE) {
		r->promoting = r->promoted_last = next_standby(r);
		r->promote_until_ms = r->now_ms + 10 * r->cfg.election_ms;
		r->promote_index = replica_last(r) + 1;
		if (r->promoting != NODE_NONE &&
		    replica_submit(r, RAFT_BARRIER, zero, sizeof(zero)) != 0)
			r->promoting = NODE_NONE;
		return;
	}
	if (raft_match_index(&r->raft, r->promoting, &match) == 0 && match >= r->promote_index)
		change(r, r->promoting, RAFT_VOTER);
	else if (r->now_ms < r->promote_until_ms)
		return;
	r->promoting = NODE_NONE;
}

void replica_voters_flush(struct naming_replica *r)
{
	const struct naming_node *n;
	unsigned joined = 0;
	unsigned want;
	unsigned target;
	struct tally t;

	if (!replica_leading(r) || r->now_ms < r->voters_ms)
		return;
	r->voters_ms = r->now_ms + VOTERS_PERIOD_MS;
	if (r->applied_term != r->raft.current_term || raft_transferee(&r->raft) != 0 ||
	    r->raft.configuration_uncommitted_index != 0 ||
	    naming_machine(r->core)->created_ms == 0)
		return;
	for (uint32_t i = 0; (n = naming_node_at(r->core, i)) != NULL; i++)
		joined += n->state == NAMING_NODE_JOINED;
	t = tally(r);
	want = MIN(joined, r->cfg.voters_max);
	target = want == 0 ? 1 : want - (want % 2 == 0);
	if (r->promoting == NODE_NONE && (remove_one(r, &t, target) || add_one(r, t.good, want)))
		return;
	/* Counted without those that leave: the last voter leaves when another one votes. */
	if (t.good_voters < target || r->promoting != NODE_NONE)
		promote_one(r);
}
