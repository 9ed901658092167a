/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/sched/sched.h"

#include <errno.h>

#include "base/check.h"

/*
 * Programs are moved off for a difference of a quarter of a CPU per CPU, and of half a program: not
 * for noise. On a quarter of a CPU every moment of a shell is a quarter of a CPU.
 */
#define MARGIN_MILLI         250
#define MARGIN_PROGRAM_MILLI 500
#define REPORTS              4 /* that a mean is of */

static const struct sched_node *find(const struct sched_node *nodes, unsigned count, node_id id)
{
	for (unsigned i = 0; i < count; i++)
		if (nodes[i].id == id)
			return &nodes[i];
	return NULL;
}

/* Load per CPU in milli, once @extra_milli more is there: 1000 means just full. */
static uint64_t pressure(const struct sched_node *n, uint32_t extra_milli)
{
	uint64_t load = (uint64_t)n->load_milli + n->placed_milli + extra_milli;

	return n->cpu_milli == 0 ? UINT32_MAX : load * 1000 / n->cpu_milli;
}

bool sched_is_better(const struct sched_node *other, const struct sched_node *here,
		     uint32_t cpu_milli)
{
	uint64_t margin = MAX(UINT64_C(1000) * MARGIN_PROGRAM_MILLI / MAX(here->cpu_milli, 1u),
			      (uint64_t)MARGIN_MILLI);

	return pressure(other, cpu_milli) + margin <= pressure(here, cpu_milli);
}

static bool fits_memory(const struct sched_node *n, const struct sched_request *rq)
{
	/* A sixteenth stays free: the page cache of what runs there is worth more than one more
	 * guest. */
	return n->mem_free_bytes >= rq->mem_bytes &&
	       n->mem_free_bytes - rq->mem_bytes >= n->mem_bytes / 16;
}

/*
 * Room for one more without anybody waiting: what runs and what comes fit the
 * capacity. A node of less than one CPU has room while it is idle.
 */
static bool fits_cpu(const struct sched_node *n, const struct sched_request *rq)
{
	uint64_t load = (uint64_t)n->load_milli + n->placed_milli;

	return load + rq->cpu_milli <= n->cpu_milli || load + n->cpu_milli / 8 < n->cpu_milli / 4;
}

static bool usable(const struct sched_node *n, const struct sched_request *rq)
{
	return !n->closed && n->id != rq->avoid && fits_memory(n, rq);
}

static const struct sched_node *better(const struct sched_node *a, const struct sched_node *b,
				       const struct sched_request *rq)
{
	uint64_t pa, pb;

	if (!a || !b)
		return a ? a : b;
	pa = pressure(a, rq->cpu_milli);
	pb = pressure(b, rq->cpu_milli);
	if (pa != pb)
		return pa < pb ? a : b;
	return a->mem_free_bytes >= b->mem_free_bytes ? a : b;
}

/* The @k-th usable node other than @skip, or NULL. */
static const struct sched_node *usable_at(const struct sched_node *nodes, unsigned count,
					  const struct sched_request *rq, node_id skip, unsigned k)
{
	for (unsigned i = 0; i < count; i++)
		if (nodes[i].id != skip && usable(&nodes[i], rq) && k-- == 0)
			return &nodes[i];
	return NULL;
}

static unsigned usable_count(const struct sched_node *nodes, unsigned count,
			     const struct sched_request *rq, node_id skip)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		n += nodes[i].id != skip && usable(&nodes[i], rq);
	return n;
}

/*
 * The better of two random ones: nearly as good as the best of all, and many
 * nodes that decide on the same old loads do not all choose the same one
 * (Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
 * Among few nodes all are looked at.
 */
static const struct sched_node *two_choices(const struct sched_node *nodes, unsigned count,
					    const struct sched_request *rq, node_id skip,
					    uint64_t random)
{
	unsigned n = usable_count(nodes, count, rq, skip);
	const struct sched_node *best = NULL;
	unsigned a, b;

	if (n == 0)
		return NULL;
	if (n <= 4) {
		for (unsigned k = 0; k < n; k++)
			best = better(best, usable_at(nodes, count, rq, skip, k), rq);
		return best;
	}
	a = (unsigned)((random & 0xffffffff) % n);
	b = (unsigned)((random >> 32) % (n - 1));
	if (b >= a)
		b++;
	return better(usable_at(nodes, count, rq, skip, a), usable_at(nodes, count, rq, skip, b),
		      rq);
}

static const struct sched_node *least_loaded(const struct sched_node *nodes, unsigned count,
					     const struct sched_request *rq)
{
	const struct sched_node *best = NULL;

	for (unsigned i = 0; i < count; i++)
		if (usable(&nodes[i], rq))
			best = better(best, &nodes[i], rq);
	return best;
}

static struct sched_pick pick(node_id node, enum sched_reason reason)
{
	return (struct sched_pick){ .node = node, .reason = reason };
}

static struct sched_pick place_here_first(const struct sched_node *nodes, unsigned count,
					  const struct sched_node *here,
					  const struct sched_request *rq, uint64_t random)
{
	const struct sched_node *near = find(nodes, count, rq->near), *other;
	enum sched_reason reason;

	if (near && usable(near, rq) && fits_cpu(near, rq))
		return pick(near->id, SCHED_WHY_NEAR);
	if (usable(here, rq) && fits_cpu(here, rq))
		return pick(here->id, SCHED_WHY_ROOM_HERE);
	reason = here->closed             ? SCHED_WHY_CLOSED
		 : !fits_memory(here, rq) ? SCHED_WHY_SHORT_OF_MEMORY
					  : SCHED_WHY_SHORT_OF_CPU;
	other = two_choices(nodes, count, rq, here->id, random);
	if (!other)
		return pick(here->id, SCHED_WHY_NOWHERE_BETTER);
	if (reason == SCHED_WHY_SHORT_OF_CPU && here->id != rq->avoid &&
	    !sched_is_better(other, here, rq->cpu_milli))
		return pick(here->id, SCHED_WHY_NOWHERE_BETTER);
	return pick(other->id, reason);
}

int sched_place(enum sched_policy policy, const struct sched_node *nodes, unsigned count,
		const struct sched_request *rq, uint64_t random, struct sched_pick *out)
{
	const struct sched_node *here = find(nodes, count, rq->here), *n = NULL;
	node_id named = rq->pinned != NODE_NONE ? rq->pinned : rq->asked;

	if (!here)
		return -ENOENT;
	if (rq->must_stay) {
		*out = pick(here->id, SCHED_WHY_MUST_STAY);
		return 0;
	}
	if (named != NODE_NONE) {
		n = find(nodes, count, named);
		if (!n || (n->closed && n != here))
			return -EHOSTDOWN;
		*out = pick(named, rq->pinned != NODE_NONE ? SCHED_WHY_PINNED : SCHED_WHY_ASKED);
		return 0;
	}
	switch (policy) {
	case SCHED_LOCAL:
		n = here;
		break;
	case SCHED_LEAST_LOADED:
		n = least_loaded(nodes, count, rq);
		break;
	case SCHED_TWO_CHOICES:
		n = two_choices(nodes, count, rq, NODE_NONE, random);
		break;
	case SCHED_RANDOM: {
		unsigned usable_n = usable_count(nodes, count, rq, NODE_NONE);

		if (usable_n > 0)
			n = usable_at(nodes, count, rq, NODE_NONE, (unsigned)(random % usable_n));
		break;
	}
	case SCHED_HERE_FIRST:
	case SCHED_POLICIES:
		*out = place_here_first(nodes, count, here, rq, random);
		return 0;
	}
	*out = n ? pick(n->id, SCHED_WHY_POLICY) : pick(here->id, SCHED_WHY_NOWHERE_BETTER);
	return 0;
}

void sched_placed(struct sched_node *n, const struct sched_request *rq)
{
	n->placed_milli += rq->cpu_milli;
	n->mem_free_bytes -= MIN(n->mem_free_bytes, rq->mem_bytes);
}

uint32_t sched_mean(uint32_t mean_milli, uint32_t now_milli)
{
	return (uint32_t)(((REPORTS - 1) * (uint64_t)mean_milli + now_milli) / REPORTS);
}

uint32_t sched_untold(uint32_t placed_milli)
{
	return (uint32_t)((REPORTS - 1) * (uint64_t)placed_milli / REPORTS);
}

const char *sched_reason_text(enum sched_reason reason)
{
	static const char *const text[] = {
		[SCHED_WHY_ROOM_HERE] = "there is room here",
		[SCHED_WHY_MUST_STAY] = "it holds what cannot be reached from elsewhere",
		[SCHED_WHY_ASKED] = "the user named the node",
		[SCHED_WHY_PINNED] = "it is pinned to the node",
		[SCHED_WHY_NEAR] = "it was to be near another process",
		[SCHED_WHY_SHORT_OF_CPU] = "this node is short of CPU",
		[SCHED_WHY_SHORT_OF_MEMORY] = "this node is short of memory",
		[SCHED_WHY_CLOSED] = "this node is draining",
		[SCHED_WHY_NOWHERE_BETTER] = "no other node is better by the margin",
		[SCHED_WHY_POLICY] = "the policy chose it",
	};

	CHECK((size_t)reason < ARRAY_LEN(text) && text[reason]);
	return text[reason];
}

/* ---- balancing ---- */

/*
 * Share of a CPU that a task gets on @n, in milli, when the node's load (the task
 * included) is @load_milli: all it wants while there is room, then its part.
 */
static uint64_t speed(const struct sched_node *n, uint64_t load_milli, uint32_t want_milli)
{
	if (load_milli <= n->cpu_milli || load_milli == 0)
		return MIN((uint64_t)want_milli, (uint64_t)n->cpu_milli);
	return (uint64_t)want_milli * n->cpu_milli / load_milli;
}

static bool weigh(const struct sched_node *here, const struct sched_node *to,
		  const struct sched_task *t, const struct sched_costs *c, struct sched_move *m)
{
	uint64_t load_here = (uint64_t)here->load_milli + here->placed_milli;
	uint64_t load_to = (uint64_t)to->load_milli + to->placed_milli + t->cpu_milli;
	uint64_t now = speed(here, load_here, t->cpu_milli);
	uint64_t then = speed(to, load_to, t->cpu_milli);

	if (then <= now || now == 0)
		return false;
	/* Work left = age * now; it takes age here, and age * now / then over there. */
	m->gain_ms = t->age_ms - t->age_ms * now / then;
	m->price_ms = c->freeze_ms + (c->bytes_per_ms ? t->resident_bytes / c->bytes_per_ms : 0);
	m->pid = t->pid;
	m->to = to->id;
	return m->gain_ms > m->price_ms * c->payback;
}

/* The best move to @to, if it is better than what @best_ms gains. */
static void balance_to(const struct sched_node *here, const struct sched_node *to,
		       const struct sched_task *tasks, unsigned task_count,
		       const struct sched_costs *costs, uint64_t *best_ms, struct sched_move *out)
{
	uint64_t limit = pressure(here, 0);

	for (unsigned i = 0; i < task_count; i++) {
		const struct sched_task *t = &tasks[i];
		const struct sched_request rq = { .cpu_milli = t->cpu_milli,
						  .mem_bytes = t->resident_bytes };
		struct sched_move m;

		if (t->stays || t->cpu_milli == 0 || t->age_ms < costs->age_min_ms ||
		    !usable(to, &rq) ||
		    pressure(to, t->cpu_milli) + costs->imbalance_milli > limit ||
		    !weigh(here, to, t, costs, &m))
			continue;
		if (m.gain_ms - m.price_ms > *best_ms) {
			*best_ms = m.gain_ms - m.price_ms;
			*out = m;
		}
	}
}

int sched_balance(const struct sched_node *nodes, unsigned count, node_id here_id,
		  const struct sched_task *tasks, unsigned task_count,
		  const struct sched_costs *costs, struct sched_move *out)
{
	const struct sched_node *here = find(nodes, count, here_id);
	uint64_t best_ms = 0, limit;

	if (!here || (!here->closed && pressure(here, 0) <= 1000))
		return 0;
	limit = pressure(here, 0);
	/* Most nodes are out of the question for any task: on a busy machine this is all there is.
	 */
	for (unsigned k = 0; k < count; k++) {
		if (&nodes[k] != here && pressure(&nodes[k], 0) + costs->imbalance_milli <= limit)
			balance_to(here, &nodes[k], tasks, task_count, costs, &best_ms, out);
	}
	return best_ms > 0;
}
