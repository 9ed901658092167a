/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shares of a tenant's limits: quota/core/share.h on every node, over the ledger in naming's
 * tables, and the checker
 *
 *	Q1  no node holds a world to more than its loan, and of no resource more is lent than its
 *	    limit, at every instant
 *
 * A world, what it is held to and what it uses are the host's: they outlive pandod, and end with
 * the host or with the lease. The share is pandod's. What is used is drawn; the processes of the
 * other cores are not counted.
 */
#include "sim/cluster.h"

#include <errno.h>
#include <string.h>

#define TICK_NS     (400 * NS_PER_MS)
#define PATIENCE_MS 3000

static void loan_step(struct sim *s, struct knode *n, enum quota_ev_kind kind, int err,
		      const struct quota_amounts *a);

/* ---- Q1 ---- */

static void check_held(struct sim *s, const struct knode *n)
{
	const struct naming_loan *l = naming_loan_find(oracle_tables(s->oracle), s->tenant, n->id);

	for (unsigned r = 0; n->up && n->loan.running && r < QUOTA_RESOURCES; r++) {
		uint64_t lent = l ? l->lent[r] : 0;

		if (n->loan.held.v[r] > lent)
			world_violate(&s->w, "Q1",
				      "n%u holds its world to %llu of resource %u, %llu is lent",
				      n->id, (unsigned long long)n->loan.held.v[r], r,
				      (unsigned long long)lent);
	}
}

/* A limit that was lowered takes force as loans come back: until then what is lent only falls. */
static void check_lent(struct sim *s, const struct naming_tenant *t, unsigned r)
{
	uint64_t lent = naming_lent(oracle_tables(s->oracle), t->id, r);
	uint64_t limit = naming_limit(t, r);

	if (lent > MAX(limit, s->lent[r]))
		world_violate(&s->w, "Q1", "%llu of resource %u is lent, the limit is %llu",
			      (unsigned long long)lent, r, (unsigned long long)limit);
	s->lent[r] = lent;
}

void check_loans(struct sim *s)
{
	const struct naming_tenant *t = naming_tenant_find(oracle_tables(s->oracle), s->tenant);

	s->w.stats.checks++;
	for (unsigned r = 0; t && r < QUOTA_RESOURCES; r++)
		check_lent(s, t, r);
	for (node_id id = 1; id <= s->conf.nodes; id++)
		check_held(s, &s->nodes[id]);
}

void check_loans_end(struct sim *s)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct quota_share *q = &s->nodes[id].loan.share;

		s->w.stats.checks++;
		if (!q->open && naming_loan_find(oracle_tables(s->oracle), s->tenant, id))
			world_violate(&s->w, "P1", "n%u keeps a loan and has no world", id);
		if (q->open && q->state != QUOTA_HOLDING && q->state != QUOTA_ASKING)
			world_violate(&s->w, "P1", "n%u: its share is still %s", id,
				      quota_state_name(q->state));
	}
}

/* ---- the world of the tenant on a host ---- */

/* As a control group does it: what is in use stays, whatever is written there. */
static void enforce(struct sim *s, struct knode *n, const struct quota_amounts *want)
{
	struct loan *l = &n->loan;
	struct quota_amounts now;

	for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
		now.v[r] = MAX(want->v[r], MIN(l->use.v[r], l->held.v[r]));
	l->held = now;
	check_loans(s);
	loan_step(s, n, QUOTA_EV_HELD, 0, &now);
}

static void use_changes(struct sim *s, struct loan *l)
{
	struct rand *rng = &s->w.rng[RNG_LOAN];

	for (unsigned r = 0; l->running && r < QUOTA_RESOURCES; r++)
		if (l->held.v[r] != 0 && l->held.v[r] != QUOTA_ANY)
			l->use.v[r] = rand_below(rng, l->held.v[r] + 1);
}

static void open_or_close(struct sim *s, struct knode *n)
{
	static const struct quota_amounts none;
	struct rand *rng = &s->w.rng[RNG_LOAN];
	struct loan *l = &n->loan;
	bool held = lease_look(&n->lease, world_local(&s->w, n->id)) == LEASE_HELD;

	if (!l->running && l->share.open && l->share.ready && n->started && held) {
		l->running = true;
		check_loans(s);
	} else if (!l->running && !l->share.open && rand_below(rng, 8) == 0 && !s->quiet) {
		l->held = l->use = none;
		loan_step(s, n, QUOTA_EV_OPEN, 0, &none);
	} else if (l->running && !s->quiet && rand_below(rng, 100) == 0) {
		l->running = false;
		l->held = l->use = none;
		loan_step(s, n, QUOTA_EV_CLOSE, 0, NULL);
	}
}

/* ---- pandod ---- */

static void answered(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
		     const struct naming_result *r)
{
	(void)b;
	if (a == n->loan.asked)
		loan_step(s, n, QUOTA_EV_ANSWER, err != 0 ? err : r->err, NULL);
}

static void propose(struct sim *s, struct knode *n, const struct quota_out *out)
{
	struct naming_cmd cmd;

	quota_command_of(name_tables(n), s->tenant, n->id, out, &cmd);
	/* An answer that is waited for no more is none of this command. */
	n->loan.asked++;
	n->loan.unsent = !name_propose(s, n, &cmd, PATIENCE_MS, answered, n->loan.asked, 0);
	s->stats.loans++;
}

static void loan_step(struct sim *s, struct knode *n, enum quota_ev_kind kind, int err,
		      const struct quota_amounts *a)
{
	struct quota_view v;
	struct quota_ev ev = { .kind = kind, .err = err, .view = &v };
	struct quota_out out;
	enum quota_state was = n->loan.share.state;

	quota_view_of(name_tables(n), s->tenant, n->id, &v);
	if (a)
		ev.amounts = *a;
	if (quota_share_step(&n->loan.share, &ev, &out) < 0)
		return;
	if (s->cov)
		s->cov->share[was][kind]++;
	if (out.enforce)
		enforce(s, n, &out.hold);
	if (out.propose)
		propose(s, n, &out);
}

static void on_tick(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];

	if (pod_stalled(s, n, on_tick, "loan-due", a, b, payload) ||
	    !sim_guard_pod(s, node, payload))
		return;
	pod_later(s, n, TICK_NS, on_tick, "loan-due", 0, 0);
	if (n->epoch == 0 || s->tenant == TENANT_NONE)
		return;
	if (n->loan.unsent) {
		n->loan.unsent = false;
		loan_step(s, n, QUOTA_EV_ANSWER, -ETIMEDOUT, NULL);
	}
	open_or_close(s, n);
	if (rand_below(&s->w.rng[RNG_LOAN], 4) == 0)
		use_changes(s, &n->loan);
	loan_step(s, n, QUOTA_EV_TICK, 0, &n->loan.use);
}

void loans_pod_up(struct sim *s, struct knode *n)
{
	quota_share_init(&n->loan.share);
	n->loan.asked++;
	n->loan.unsent = false;
	/* The world that an earlier life of it left. */
	if (n->loan.running)
		loan_step(s, n, QUOTA_EV_OPEN, 0, &n->loan.held);
	pod_later(s, n, TICK_NS, on_tick, "loan-due", 0, 0);
}

void loans_tables(struct sim *s, struct knode *n)
{
	if (n->epoch != 0 && s->tenant != TENANT_NONE)
		loan_step(s, n, QUOTA_EV_VIEW, 0, NULL);
}

void loans_crash(struct knode *n)
{
	n->loan.running = false;
	memset(&n->loan.held, 0, sizeof(n->loan.held));
	memset(&n->loan.use, 0, sizeof(n->loan.use));
}

/* ---- an operator who changes his mind ---- */

static void limits_changed(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
			   const struct naming_result *r)
{
	(void)s;
	(void)n;
	(void)a;
	(void)b;
	(void)err;
	(void)r;
}

static void on_operator(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct rand *rng = &s->w.rng[RNG_LOAN];
	struct knode *n = &s->nodes[1 + rand_below(rng, s->conf.nodes)];
	struct naming_cmd c = { .kind = NAMING_CMD_TENANT_LIMITS, .tenant = s->tenant };

	(void)node;
	(void)a;
	(void)b;
	(void)payload;
	if (s->quiet)
		return;
	world_in(w, (8 + rand_below(rng, 20)) * NS_PER_S, on_operator, "limits", 0, 0, 0, NULL);
	c.limits.cpu_milli = 500 * (uint32_t)rand_below(rng, 8);
	c.limits.procs = 20 * (uint32_t)rand_below(rng, 8);
	c.limits.memory_bytes = (64 * rand_below(rng, 8)) << 20;
	if (n->name && s->tenant != TENANT_NONE)
		(void)name_propose(s, n, &c, PATIENCE_MS, limits_changed, 0, 0);
}

void loans_start(struct sim *s)
{
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
		s->lent[r] = QUOTA_ANY;
	world_in(&s->w, 15 * NS_PER_S, on_operator, "limits", 0, 0, 0, NULL);
}
