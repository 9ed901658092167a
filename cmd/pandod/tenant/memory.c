/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - guests have used all the memory that this node was lent: they wait for more, or the
 * host's kernel ends one of them.
 *
 * A burst outruns the asking, so whoever may grow on what others do not use is not to be ended. But
 * waiting is for page faults: a call that needs memory meanwhile fails in its midst, and an exec
 * that does ends its program. So it is kept short. Who hits the limit has it asked for at once, not
 * with the next tick; the others are told what is used here, so that nobody waits for that; and
 * with nothing to wait for the host ends the largest, and who starts a shell beside a hog does not
 * feel it.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/tenant/quota.h"

#define FULL_NS (300 * NS_PER_MS) /* so long guests wait for memory before one is killed */

static uint64_t above(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/*
 * What this node has and may get, whether or not it is used: what nobody has, and what others would
 * give of theirs, who keep something to spare, and as much as a world begins with.
 */
static uint64_t in_reach(const struct quota_tenant *q)
{
	const struct naming_core *k = naming_tables(q->pod->naming);
	const struct naming_tenant *t = naming_tenant_find(k, q->id);
	uint64_t limit = naming_limit(t, NAMING_MEMORY), got = 0;
	node_id self = naming_self(q->pod->naming);
	const struct naming_loan *l;

	if (limit == NAMING_ANY)
		return 0;
	for (uint32_t i = 0; (l = naming_loan_at(k, i)) != NULL; i++) {
		struct quota_amounts use;

		if (l->tenant != q->id)
			continue;
		if (l->node == self)
			got += l->lent[NAMING_MEMORY];
		else if (quota_use(q->pod, q->id, l->node, &use))
			got += above(l->lent[NAMING_MEMORY], MAX(use.v[QUOTA_MEMORY] + limit / 16,
								 naming_least(t, NAMING_MEMORY)));
	}
	return MIN(got + naming_unlent(k, t, NAMING_MEMORY, self), limit);
}

uint64_t quota_memory_left(const struct quota_tenant *q)
{
	return above(in_reach(q), q->use.v[QUOTA_MEMORY]);
}

static bool is_full(const struct quota_tenant *q, const struct cgroup_stats *st)
{
	uint64_t max = q->hold.v[QUOTA_MEMORY];

	return max != QUOTA_ANY &&
	       st->memory_bytes + max / 64 >= cgroup_memory_waits_at(q->pod->cgroups, max) &&
	       q->use.v[QUOTA_MEMORY] + max / 16 >= max;
}

void quota_mind_memory(struct quota_tenant *q)
{
	uint64_t max = q->hold.v[QUOTA_MEMORY], now = clock_mono_ns();
	char group[CGROUP_PATH_MAX];
	struct cgroup_stats st;
	bool waits;
	int r;

	quota_group(q, "/guests", group);
	if (!q->started || cgroup_stats(q->pod->cgroups, group, &st) < 0)
		return;
	if (!is_full(q, &st)) {
		q->full_since_ns = 0;
	} else if (q->full_since_ns == 0 || max != q->waits_at) {
		q->full_since_ns = now;
		quota_tell_use(q->pod);
	}
	waits = max != QUOTA_ANY && above(in_reach(q), max) > max / 32 &&
		(q->full_since_ns == 0 || now - q->full_since_ns < FULL_NS);
	if (waits == q->waits && max == q->waits_at)
		return;
	r = cgroup_memory_wait(q->pod->cgroups, group, waits, max == QUOTA_ANY ? 0 : max);
	if (r < 0 && r != -EOPNOTSUPP)
		log_debug("memory of %s: %s", q->name, strerror(-r));
	q->waits = waits;
	q->waits_at = max;
}

static void on_full(struct loop_fd *f, short revents)
{
	struct quota_tenant *q = container_of(f, struct quota_tenant, full_watch);

	if (cgroup_memory_full_seen(q->full_event) < 0)
		quota_unwatch_memory(q); /* its group is gone */
	else if (q->waits)
		quota_look(q);
	(void)revents;
}

/* Without it all is seen with the next tick. */
void quota_watch_memory(struct quota_tenant *q)
{
	char group[CGROUP_PATH_MAX];
	short events;
	int r;

	quota_unwatch_memory(q);
	quota_group(q, "/guests", group);
	r = cgroup_memory_full(q->pod->cgroups, group, &events);
	q->full_event = r < 0 ? -1 : r;
	if (r >= 0)
		r = loop_fd_add(q->pod->loop, &q->full_watch, q->full_event, events, on_full);
	if (r >= 0)
		return;
	if (r != -EOPNOTSUPP)
		log_warn("memory of %s is looked at now and then only: %s", q->name, strerror(-r));
	if (q->full_event >= 0)
		(void)close(q->full_event);
	q->full_event = -1;
}

void quota_unwatch_memory(struct quota_tenant *q)
{
	if (q->full_event < 0)
		return;
	loop_fd_del(q->pod->loop, &q->full_watch);
	(void)close(q->full_event);
	q->full_event = -1;
}
