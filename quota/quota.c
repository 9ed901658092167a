/* SPDX-License-Identifier: Apache-2.0 */
#include "quota/quota.h"

#include <string.h>

#include "base/attr.h"

_Static_assert((int)QUOTA_RESOURCES == (int)NAMING_RESOURCES && QUOTA_ANY == NAMING_ANY &&
		       (int)QUOTA_CPU == (int)NAMING_CPU && (int)QUOTA_PROCS == (int)NAMING_PROCS &&
		       (int)QUOTA_MEMORY == (int)NAMING_MEMORY,
	       "amounts are copied");

static uint64_t more(uint64_t a, uint64_t b)
{
	return a + b < a ? QUOTA_ANY : a + b;
}

static void add_row(const struct naming_loan *l, node_id node, struct quota_view *v)
{
	bool own = l->node == node;

	for (unsigned r = 0; r < QUOTA_RESOURCES; r++) {
		if (own) {
			v->lent.v[r] = l->lent[r];
			v->need.v[r] = l->need[r];
		} else if (l->need[r] > l->lent[r]) {
			v->waiting.v[r] = more(v->waiting.v[r], l->need[r] - l->lent[r]);
		}
	}
	v->row = v->row || own;
	v->serial = own ? l->serial : v->serial;
	v->others += !own;
}

void quota_view_of(const struct naming_core *k, tenant_id t, node_id node, struct quota_view *out)
{
	const struct naming_tenant *tenant = naming_tenant_find(k, t);
	const struct naming_loan *l;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; (l = naming_loan_at(k, i)) != NULL; i++)
		if (l->tenant == t)
			add_row(l, node, out);
	out->over = tenant ? tenant->over : 0;
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++) {
		out->limit.v[r] = tenant ? naming_limit(tenant, r) : NAMING_ANY;
		out->unlent.v[r] = tenant ? naming_unlent(k, tenant, r, node) : NAMING_ANY;
		out->least.v[r] = tenant ? naming_least(tenant, r) : NAMING_ANY;
	}
}

void quota_command_of(const struct naming_core *k, tenant_id t, node_id node,
		      const struct quota_out *o, struct naming_cmd *out)
{
	const struct naming_node *n = naming_node_find(k, node);

	memset(out, 0, sizeof(*out));
	out->kind = NAMING_CMD_LOAN;
	out->tenant = t;
	out->node = node;
	out->epoch = n ? n->epoch : 0;
	out->serial = o->serial;
	out->flags = o->give_all;
	memcpy(out->like, o->like.v, sizeof(out->like));
	memcpy(out->need, o->need.v, sizeof(out->need));
}
