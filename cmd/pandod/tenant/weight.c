/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight.c - what tenants weigh beside each other: what the tables say, and of that the part that
 * they need (quota/core/weight.h).
 *
 * A part is in the control group alone: who finds a world, after a death of pandod, begins with the
 * whole weight.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pandod/tenant/quota.h"
#include "quota/core/weight.h"

enum {
	WEIGHT = 100,        /* of a tenant of whom nothing is said */
	KERNEL_WEIGHT = 400, /* of a guest kernel beside its guests, which have 100 */
};

/* The weight is the whole tenant's, its kernel's work included. */
static uint32_t weight_of(const struct quota_tenant *q)
{
	const struct naming_tenant *t = naming_tenant_find(naming_tables(q->pod->naming), q->id);
	uint32_t whole = t == NULL || t->limits.cpu_weight == 0 ? WEIGHT : t->limits.cpu_weight;

	return (uint32_t)MAX((uint64_t)whole * q->part / QUOTA_WEIGHT_WHOLE, UINT64_C(1));
}

static int weigh_group(const struct quota_tenant *q, const char *part, uint32_t weight)
{
	char group[CGROUP_PATH_MAX];
	int r;

	quota_group(q, part, group);
	r = cgroup_weigh(q->pod->cgroups, group, weight);
	return r == -EOPNOTSUPP ? 0 : r;
}

void quota_weigh(struct quota_tenant *q)
{
	int r;

	if (q->part == 0)
		q->part = QUOTA_WEIGHT_WHOLE;
	r = weigh_group(q, "", weight_of(q));
	if (r == 0)
		r = weigh_group(q, "/kernel", KERNEL_WEIGHT);
	if (r < 0)
		log_warn("cannot weigh %s: %s", q->name, strerror(-r));
}

/* Since when it was last asked. */
static bool was_stopped(struct quota_tenant *q)
{
	bool known = q->stops_known;
	uint64_t before = q->stops;
	char group[CGROUP_PATH_MAX];

	quota_group(q, "/guests", group);
	q->stops_known = cgroup_stops(q->pod->cgroups, group, &q->stops) == 0;
	return known && q->stops_known && q->stops > before;
}

void quota_reweigh(struct quota_tenant *q)
{
	struct quota_strain s = { q->use.v[QUOTA_CPU], q->hold.v[QUOTA_CPU], false };
	uint32_t part = q->part;
	bool paused;
	int r;

	/* A pause of less than a second says nothing of what comes after it, nor does a time that
	 * began with one. */
	paused = q->paused;
	q->paused = q->calm > 0;
	if (part != 0 && (q->paused ? q->calm < QUOTA_CALM_MAX : paused))
		return;
	/* Most tenants use little: nothing of theirs is read, and nothing written. */
	if (s.held_milli != QUOTA_ANY && s.used_milli >= s.held_milli / 2)
		s.stopped = was_stopped(q);
	else
		q->stops_known = false;
	q->part = quota_weight_step(part == 0 ? QUOTA_WEIGHT_WHOLE : part, &s, &q->was_short);
	if (q->part == part)
		return;
	r = weigh_group(q, "", weight_of(q));
	if (r == 0)
		return;
	q->part = part;
	log_debug("cannot weigh %s: %s", q->name, strerror(-r));
}
