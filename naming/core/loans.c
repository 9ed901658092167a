/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loans.c - the ledger: what of a tenant's limits is lent to which node (core.h: Q1, Q2).
 *
 * A node may use what its row says and no more. It lowers its use before it gives back, and takes
 * more only when the row shows it, so that the sum of what is used never exceeds the sum of the
 * rows, whatever is lost or late on the way. What comes back goes to who waits at once, in equal
 * parts: a waiting node need not ask again.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "naming/core/tables.h"

#define OVER(r) (1u << (r))

/* A sum that does not fit is NAMING_ANY. */
uint64_t naming_lent(const struct naming_core *k, tenant_id t, enum naming_resource r)
{
	const struct naming_loan *l;
	uint64_t sum = 0;

	for (uint32_t i = 0; (l = naming_loan_at(k, i)) != NULL; i++)
		if (l->tenant == t && __builtin_add_overflow(sum, l->lent[r], &sum))
			return NAMING_ANY;
	return sum;
}

uint64_t naming_limit(const struct naming_tenant *t, enum naming_resource r)
{
	const uint64_t limit[NAMING_RESOURCES] = {
		[NAMING_CPU] = t->limits.cpu_milli,
		[NAMING_PROCS] = t->limits.procs,
		[NAMING_MEMORY] = t->limits.memory_bytes,
	};

	return limit[r] == 0 ? NAMING_ANY : limit[r];
}

uint64_t naming_least(const struct naming_tenant *t, enum naming_resource r)
{
	static const uint64_t least[NAMING_RESOURCES] = { 50, 4, UINT64_C(16) << 20 };
	uint64_t limit = naming_limit(t, r);

	return limit == NAMING_ANY ? NAMING_ANY : MIN(limit, MAX(limit / 64, least[r]));
}

/* What is kept for the nodes without a loan, but for @node. */
static uint64_t kept(const struct naming_core *k, const struct naming_tenant *t,
		     enum naming_resource r, node_id node)
{
	const struct naming_node *n;
	uint64_t absent = 0;

	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++)
		absent += n->id != node && n->state == NAMING_NODE_JOINED && !n->down &&
			  naming_loan_find(k, t->id, n->id) == NULL;
	return MIN(absent * naming_least(t, r), naming_limit(t, r) / 8);
}

uint64_t naming_unlent(const struct naming_core *k, const struct naming_tenant *t,
		       enum naming_resource r, node_id node)
{
	uint64_t limit = naming_limit(t, r), gone = naming_lent(k, t->id, r), back;

	if (limit == NAMING_ANY)
		return NAMING_ANY;
	back = kept(k, t, r, node);
	return gone < limit - back ? limit - back - gone : 0;
}

/* What row @l has of @r when it asks for @like. */
static uint64_t granted(const struct naming_core *k, const struct naming_tenant *t,
			const struct naming_loan *l, enum naming_resource r, uint64_t like)
{
	uint64_t limit = naming_limit(t, r), room;

	if (like <= l->lent[r])
		return like;
	if (limit == NAMING_ANY)
		return NAMING_ANY;
	room = l->lent[r] + naming_unlent(k, t, r, l->node);
	if (MUTANT("naming.loan.over_limit"))
		room = limit;
	return MAX(l->lent[r], MIN(like, room));
}

/* ---- giving what there is to who waits ---- */
static bool waits(const struct naming_core *k, const struct naming_loan *l, tenant_id t,
		  enum naming_resource r)
{
	const struct naming_node *n;

	if (l->tenant != t || l->need[r] <= l->lent[r])
		return false;
	n = naming_node_find(k, l->node);
	return n != NULL && n->state == NAMING_NODE_JOINED;
}

static void share_out(struct naming_core *k, const struct naming_tenant *t, enum naming_resource r)
{
	struct naming_table *rows = &k->table[NAMING_LOAN];
	uint64_t limit = naming_limit(t, r), room = naming_unlent(k, t, r, NODE_NONE), waiting = 0;
	struct naming_loan *l;

	for (uint32_t i = 0; (l = table_at(rows, i)) != NULL; i++)
		waiting += waits(k, l, t->id, r);
	for (uint32_t i = 0; (l = table_at(rows, i)) != NULL && room > 0 && waiting > 0; i++) {
		uint64_t more;

		if (!waits(k, l, t->id, r))
			continue;
		more = MIN(l->need[r] - l->lent[r], (room + waiting - 1) / waiting);
		if (limit == NAMING_ANY)
			more = NAMING_ANY - l->lent[r];
		else
			room -= more;
		l->lent[r] += more;
		waiting--;
	}
}

void naming_loans_settle(struct naming_core *k, struct naming_tenant *t)
{
	for (unsigned r = 0; r < NAMING_RESOURCES; r++) {
		uint64_t limit = naming_limit(t, r);

		share_out(k, t, r);
		if (naming_lent(k, t->id, r) > limit)
			t->over |= OVER(r);
		else
			t->over &= ~OVER(r);
	}
}

/* Q1 after a change that was not one of the limits. */
static void settle(struct naming_core *k, struct naming_tenant *t)
{
	uint32_t over = t->over;

	naming_loans_settle(k, t);
	if (!MUTANT("naming.loan.over_limit"))
		CHECK_INV(Q1, (t->over & ~over) == 0);
}

/* ---- the command ---- */
static int loan_check(struct naming_core *k, const struct naming_cmd *cmd, bool *leaving)
{
	const struct naming_node *n = naming_node_find(k, cmd->node);

	if (n == NULL || naming_tenant_find(k, cmd->tenant) == NULL)
		return -ENOENT;
	if (n->state == NAMING_NODE_LEFT || n->down || (cmd->flags & ~1u) != 0)
		return -EINVAL;
	*leaving = n->state != NAMING_NODE_JOINED;
	return n->epoch == cmd->epoch ? 0 : -ESTALE;
}

static int loan_find(struct naming_core *k, const struct naming_cmd *cmd, struct naming_loan **out)
{
	struct naming_loan *l = (void *)naming_loan_find(k, cmd->tenant, cmd->node);
	uint64_t have = l == NULL ? 0 : l->serial;

	*out = l;
	if (have != cmd->serial && !MUTANT("naming.loan.serial"))
		return -ESTALE;
	if (l != NULL || (cmd->flags & 1) != 0)
		return l != NULL ? 0 : -ENOENT;
	*out = l = naming_table_add(&k->table[NAMING_LOAN]);
	if (l == NULL)
		return -ENOSPC;
	l->tenant = cmd->tenant;
	l->node = cmd->node;
	l->epoch = cmd->epoch;
	return 0;
}

int naming_loan_apply(struct naming_core *k, const struct naming_cmd *cmd, struct naming_result *r,
		      uint32_t *kinds)
{
	struct naming_tenant *t = naming_core_tenant(k, cmd->tenant);
	struct naming_loan *l;
	bool leaving;
	int err = loan_check(k, cmd, &leaving);

	if (err == 0)
		err = loan_find(k, cmd, &l);
	if (err != 0)
		return err;
	*kinds |= naming_kind_bit(NAMING_LOAN);
	if ((cmd->flags & 1) != 0) {
		naming_table_del(&k->table[NAMING_LOAN], l);
		settle(k, t);
		return 0;
	}
	for (unsigned i = 0; i < NAMING_RESOURCES; i++) {
		/* A node on its way out gets nothing new. */
		uint64_t like = leaving ? MIN(cmd->like[i], l->lent[i]) : cmd->like[i];

		l->lent[i] = granted(k, t, l, i, like);
		l->need[i] = MIN(cmd->need[i], naming_limit(t, i));
	}
	l->serial = ++k->last_serial;
	r->value = l->serial;
	r->epoch = l->epoch;
	settle(k, t);
	return 0;
}

bool naming_loans_drop(struct naming_core *k, node_id node)
{
	struct naming_table *rows = &k->table[NAMING_LOAN];
	bool any = false;

	for (uint32_t i = rows->count; i-- > 0;) {
		struct naming_loan *l = table_at(rows, i);
		tenant_id t = l->tenant;

		if (l->node != node)
			continue;
		any = true;
		naming_table_del(rows, l);
		settle(k, naming_core_tenant(k, t));
	}
	return any;
}

/* ---- counted anew ---- */
const char *naming_loans_recount(const struct naming_core *k)
{
	const struct naming_tenant *t;
	const struct naming_loan *l;

	for (uint32_t i = 0; (l = naming_loan_at(k, i)) != NULL; i++) {
		const struct naming_node *n = naming_node_find(k, l->node);

		if (naming_tenant_find(k, l->tenant) == NULL || n == NULL ||
		    n->state == NAMING_NODE_LEFT || n->epoch != l->epoch)
			return "Q2 a loan of no life of a node";
		if (naming_loan_find(k, l->tenant, l->node) != l || l->serial == 0 ||
		    l->serial > k->last_serial)
			return "Q2 a loan is in twice, or its serial was never given";
	}
	for (uint32_t i = 0; (t = naming_tenant_at(k, i)) != NULL; i++)
		for (unsigned r = 0; r < NAMING_RESOURCES; r++) {
			bool over = naming_lent(k, t->id, r) > naming_limit(t, r);

			if (over != ((t->over & OVER(r)) != 0) || t->over >= OVER(NAMING_RESOURCES))
				return "Q1 more is lent than the limit";
		}
	return NULL;
}
