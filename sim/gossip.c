/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Membership in the simulated world: naming/member/core of each node behind the network, and what
 * it promises, looked at from outside after every step.
 *
 *	S2  (epoch, incarnation) of a member never goes back
 *	S3  who failed is alive again only with a greater incarnation or epoch
 *	S4  a node calls another one failed by itself only after the time of suspicion
 *	S5  whose own timer was late blames nobody for it
 *	S6  where all is well for long enough, everybody sees everybody alive, in the present epoch
 */
#include "sim/cluster.h"

#include <stdlib.h>

#include "base/check.h"
#include "sim/link.h"

static const struct member_cfg cfg = { .period_ns = NS_PER_S,
				       .timeout_ns = 250 * NS_PER_MS,
				       .suspicion_periods = 2 };

struct seen {
	struct member_news news;
	uint64_t suspected_ns;
};

struct gossip {
	struct member_table t;
	struct member rows[SIM_NODES_MAX];
	struct seen seen[SIM_NODES_MAX + 1];
	uint64_t wake_ns;
};

static void gossip_step(struct sim *s, struct knode *n, struct member_ev *ev);

static void on_message(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	const struct member_msg *m = payload;
	struct member_ev ev = { .kind = MEMBER_EV_MSG, .from = (node_id)b, .msg = m };

	if (pod_stalled(s, n, on_message, "gossip", a, b, payload))
		return;
	for (unsigned i = 0; i < m->news_count; i++) {
		world_hash(w, (uint64_t)m->news[i].id << 32 | m->news[i].incarnation);
		world_hash(w, m->news[i].epoch << 8 | m->news[i].state);
	}
	if (n->up && n->gossip)
		gossip_step(s, n, &ev);
	world_put(payload);
}

static void on_tick(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct member_ev ev = { .kind = MEMBER_EV_TICK };

	if (pod_stalled(s, n, on_tick, "gossip-due", a, b, payload) ||
	    !sim_guard_pod(s, node, payload))
		return;
	if (!n->gossip || n->gossip->wake_ns != a)
		return;
	n->gossip->wake_ns = 0;
	gossip_step(s, n, &ev);
}

static void wake_at(struct sim *s, struct knode *n, uint64_t due_ns)
{
	struct gossip *g = n->gossip;

	if (g->wake_ns != 0 && g->wake_ns <= due_ns)
		return;
	g->wake_ns = due_ns;
	pod_later(s, n, world_when(&s->w, n->id, due_ns) - s->w.now_ns, on_tick, "gossip-due",
		  due_ns, 0);
}

static unsigned bits(unsigned n)
{
	unsigned b = 0;

	for (; n > 0; n >>= 1)
		b++;
	return b;
}

static void check_member(struct sim *s, struct knode *n, const struct member_ev *ev, bool late,
			 const struct member *m)
{
	struct seen *seen = &n->gossip->seen[m->news.id];
	const struct member_news *was = &seen->news, *is = &m->news;
	bool blamed =
		ev->kind == MEMBER_EV_TICK && is->state != was->state && is->state != MEMBER_ALIVE;
	uint64_t suspicion_ns = cfg.period_ns * cfg.suspicion_periods * bits(n->gossip->t.count);

	s->w.stats.checks++;
	if (is->epoch < was->epoch ||
	    (is->epoch == was->epoch && is->incarnation < was->incarnation))
		world_violate(&s->w, "S2", "n%u: n%u goes back to epoch %llu, incarnation %u",
			      n->id, is->id, (unsigned long long)is->epoch, is->incarnation);
	if (was->state == MEMBER_FAILED && is->state == MEMBER_ALIVE && is->epoch == was->epoch &&
	    is->incarnation == was->incarnation)
		world_violate(&s->w, "S3", "n%u: n%u lives again without having said so", n->id,
			      is->id);
	if (blamed && is->state == MEMBER_FAILED &&
	    (was->state != MEMBER_SUSPECT || ev->now_ns - seen->suspected_ns < suspicion_ns))
		world_violate(&s->w, "S4", "n%u calls n%u failed after too short a suspicion",
			      n->id, is->id);
	if (blamed && late)
		world_violate(&s->w, "S5", "n%u was late itself and blames n%u", n->id, is->id);
	s->stats.suspected += is->state == MEMBER_SUSPECT && was->state != MEMBER_SUSPECT;
	s->stats.failed += is->state == MEMBER_FAILED && was->state != MEMBER_FAILED;
	if (is->state == MEMBER_SUSPECT && was->state != MEMBER_SUSPECT)
		seen->suspected_ns = ev->now_ns;
	if (s->cov && was->state != is->state)
		s->cov->member[was->state][is->state]++;
	seen->news = *is;
}

static void gossip_step(struct sim *s, struct knode *n, struct member_ev *ev)
{
	struct gossip *g = n->gossip;
	struct member_out out;
	bool late;

	ev->now_ns = world_local(&s->w, n->id);
	late = ev->kind == MEMBER_EV_TICK && ev->now_ns > g->t.due_ns + cfg.period_ns / 2;
	if (member_step(&g->t, ev, &out) < 0)
		return; /* from a node that is not known here yet */
	for (unsigned i = 0; i < g->t.count; i++) {
		if (g->t.m[i].news.id != n->id)
			check_member(s, n, ev, late, &g->t.m[i]);
	}
	for (unsigned i = 0; i < out.send_count; i++) {
		struct member_msg *m = world_alloc(sizeof(*m));

		*m = out.send[i].msg;
		link_pods_send(s, n->id, out.send[i].to, sizeof(*m), on_message, "gossip", m->kind,
			       m);
	}
	wake_at(s, n, out.due_ns);
}

void gossip_tables(struct sim *s, struct knode *n)
{
	const struct naming_node *row;

	(void)s;
	for (uint32_t i = 0; n->gossip && (row = naming_node_at(name_tables(n), i)) != NULL; i++) {
		if (row->id == n->id)
			continue;
		CHECK(member_add(&n->gossip->t, row->id, row->epoch) == 0);
		n->gossip->seen[row->id].news = member_find(&n->gossip->t, row->id)->news;
	}
}

void gossip_start(struct sim *s, struct knode *n)
{
	gossip_stop(n);
	n->gossip = calloc(1, sizeof(*n->gossip));
	CHECK(n->gossip != NULL);
	member_init(&n->gossip->t, &cfg, n->gossip->rows, SIM_NODES_MAX, n->id, n->epoch,
		    rand_next(&s->w.rng[RNG_NAME]), world_local(&s->w, n->id));
	gossip_tables(s, n);
	wake_at(s, n, n->gossip->t.due_ns);
}

void gossip_stop(struct knode *n)
{
	free(n->gossip);
	n->gossip = NULL;
}

void gossip_check_end(struct sim *s)
{
	for (node_id a = 1; a <= s->conf.nodes; a++) {
		const struct gossip *g = s->nodes[a].gossip;

		for (node_id b = 1; g && b <= s->conf.nodes; b++) {
			const struct member *m = member_find(&g->t, b);

			s->w.stats.checks++;
			if (!m || m->news.state != MEMBER_ALIVE ||
			    m->news.epoch != s->nodes[b].epoch)
				world_violate(&s->w, "S6", "n%u does not see n%u alive", a, b);
		}
	}
}
