/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker of leases.
 *
 *	G1  no live node is fenced while it can reach a majority; a cut-off node fences itself in
 *	    time; a death is announced only after the lease is over
 *
 * A node can reach a majority if a majority of the voters - up, not starved, with good disks - hear
 * each other and the node, and the node hears them. It is lost if there is no voter that hears, and
 * is heard by, a majority, and the node, or another that does. Both are counted anew whenever a
 * fault begins or ends, so "for how long" is exact.
 *
 * Where a tenth of all messages is lost or late an election may take any time: it needs several of
 * them in a row within a timeout. A lease does not: it asks fourteen times before it is over, in
 * several ways. So in a storm a node reaches a majority while somebody leads it, all the time.
 */
#include "sim/cluster.h"

#define STORM_PPM 100000
#define LOSS_PPM  400000   /* above it nothing is promised */
#define SLACK_NS  NS_PER_S /* pando-init looks four times a second */

static bool able(const struct sim *s, node_id id)
{
	const struct knode *n = &s->nodes[id];

	return n->up && n->name && n->stalled_ns <= s->w.now_ns && disks_good(s, id);
}

static bool both_ways(const struct sim *s, node_id a, node_id b)
{
	return a == b || (s->w.cut[a][b] == 0 && s->w.cut[b][a] == 0);
}

static unsigned voters(const struct sim *s, node_id out[16])
{
	struct naming_replica_info best = { 0 };

	for (node_id id = 1; id <= s->conf.nodes; id++) {
		struct naming_replica_info i;

		if (!s->nodes[id].name)
			continue;
		i = name_info(&s->nodes[id]);
		if (i.role != NAMING_REPLICA_FED && i.applied >= best.applied)
			best = i;
	}
	for (unsigned i = 0; i < best.voter_count; i++)
		out[i] = best.voters[i];
	return best.voter_count;
}

/* @set: bits of @v. */
static bool whole(const struct sim *s, const node_id *v, unsigned count, uint32_t set, node_id node)
{
	for (unsigned i = 0; i < count; i++) {
		if (!(set >> i & 1))
			continue;
		if (!able(s, v[i]) || !both_ways(s, v[i], node))
			return false;
		for (unsigned j = 0; j < i; j++) {
			if ((set >> j & 1) && !both_ways(s, v[i], v[j]))
				return false;
		}
	}
	return true;
}

static bool led(const struct sim *s, node_id node)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		if (able(s, id) && s->nodes[id].book.leads && both_ways(s, id, node))
			return true;
	}
	return false;
}

static bool reaches(const struct sim *s, const node_id *v, unsigned count, node_id node)
{
	const struct knode *n = &s->nodes[node];

	if (s->w.loss_ppm > LOSS_PPM ||
	    (s->w.loss_ppm + s->w.slow_ppm > STORM_PPM && !led(s, node)))
		return false;
	if (!n->up || !n->name || n->stalled_ns > s->w.now_ns)
		return false;
	for (uint32_t set = 1; set < 1u << count; set++) {
		if ((unsigned)__builtin_popcount(set) == count / 2 + 1 &&
		    whole(s, v, count, set, node))
			return true;
	}
	return false;
}

/* Could it lead as far as the network is concerned? */
static bool could_lead(const struct sim *s, const node_id *v, unsigned count, node_id voter)
{
	unsigned near = 0;

	for (unsigned j = 0; s->nodes[voter].up && j < count; j++)
		near += s->nodes[v[j]].up && both_ways(s, voter, v[j]);
	return near > count / 2;
}

static bool hears(const struct sim *s, node_id voter, node_id node)
{
	bool does = both_ways(s, voter, node);

	for (node_id by = 1; by <= s->conf.nodes; by++)
		does |= s->nodes[by].up && both_ways(s, voter, by) && both_ways(s, by, node);
	return does;
}

/*
 * Since when can no voter that could lead answer @node? One that led may not have found out that it
 * does no more: whom it hears counts as lost since then, even if it was cut off from all before.
 */
static bool lost(struct sim *s, const node_id *v, unsigned count, node_id node, uint64_t *since_ns)
{
	*since_ns = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct knode *by = &s->nodes[v[i]];

		if (!hears(s, v[i], node))
			continue;
		if (!by->alone)
			return false;
		if (by->up && by->book.leads)
			*since_ns = MAX(*since_ns, by->alone_ns);
	}
	return true;
}

void check_reach(struct sim *s)
{
	node_id v[16];
	unsigned count = voters(s, v);

	for (unsigned i = 0; i < count; i++) {
		struct knode *n = &s->nodes[v[i]];
		bool alone = !could_lead(s, v, count, v[i]);

		if (alone && !n->alone)
			n->alone_ns = s->w.now_ns;
		n->alone = alone;
	}
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		struct knode *n = &s->nodes[id];
		bool reach = reaches(s, v, count, id);
		uint64_t since_ns;
		bool gone = lost(s, v, count, id, &since_ns);

		if (reach != n->reach)
			n->reach_ns = s->w.now_ns;
		if (gone != n->lost)
			n->lost_ns = s->w.now_ns;
		n->lost_ns = MAX(n->lost_ns, since_ns);
		n->reach = reach;
		n->lost = gone;
	}
}

void check_lease(struct sim *s, struct knode *n, enum lease_state state)
{
	bool fenced = state == LEASE_OVER || (state == LEASE_FREEZE && !n->lease_frozen);

	s->w.stats.checks++;
	if (fenced && n->reach && s->w.now_ns - n->reach_ns > s->lease.freeze_ns)
		world_violate(&s->w, "G1", "n%u is fenced; it has reached a majority for %llu ms",
			      n->id, (unsigned long long)((s->w.now_ns - n->reach_ns) / NS_PER_MS));
}

static void fenced_in_time(struct sim *s, const struct knode *n, uint64_t cut_ns)
{
	/* Until its leader finds out that it leads no more, an island of the two goes on. */
	uint64_t frozen_ns = s->lease.freeze_ns + s->lease.overlap_ns + SLACK_NS;

	for (uint32_t i = 0; cut_ns > frozen_ns && i < n->host.count; i++) {
		s->w.stats.checks++;
		if (task_runs(&n->host.tasks[i]))
			world_violate(&s->w, "G1", "n%u is cut off for %llu ms and executes %d",
				      n->id, (unsigned long long)(cut_ns / NS_PER_MS),
				      n->host.tasks[i].pid);
	}
}

void check_fenced(struct sim *s)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct knode *n = &s->nodes[id];

		if (n->up && n->lost)
			fenced_in_time(s, n, s->w.now_ns - n->lost_ns);
	}
}

void check_counted(struct sim *s, const struct knode *n, uint64_t heard_ns)
{
	uint64_t ago_ns = world_local(&s->w, n->id) - n->lease.from_ns;
	/* What the node's clock may have drifted since; an answer may come many seconds late. */
	uint64_t drift_ns = (s->w.now_ns - heard_ns) / 1000000 * s->lease.drift_ppm;

	s->w.stats.checks++;
	if (ago_ns + drift_ns + NS_PER_MS < s->w.now_ns - heard_ns)
		world_violate(&s->w, "G1",
			      "n%u counts its lease from %llu ms after the leader heard it", n->id,
			      (unsigned long long)((s->w.now_ns - heard_ns - ago_ns) / NS_PER_MS));
}

void check_announced(struct sim *s, node_id node, epoch_t epoch)
{
	const struct knode *n = &s->nodes[node];
	struct lease_holder lease = n->lease;

	s->w.stats.checks++;
	if (!n->up || n->epoch != epoch || !n->started)
		return;
	if (lease_look(&lease, world_local(&s->w, node)) != LEASE_OVER)
		world_violate(&s->w, "G1", "n%u is announced dead, its lease is not over", node);
	for (uint32_t i = 0; i < n->host.count; i++) {
		if (task_runs(&n->host.tasks[i]))
			world_violate(&s->w, "G1", "n%u is announced dead and executes %d", node,
				      n->host.tasks[i].pid);
	}
}
