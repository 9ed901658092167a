/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched.h - where the next program runs, and which running one should move.
 *
 * Pure: takes load vectors and a request, gives a node and the reason. No clock,
 * no allocation, no floating point; randomness is an argument. Load is counted
 * in thousandths of a CPU ("milli"): a program that always runs is 1000.
 *
 * Placement answers "here" unless here is short of CPU or memory, so that small
 * commands stay local and cost nothing. Load vectors are old by a gossip period;
 * what we placed since then is added by sched_placed(), or a burst of compilers
 * would all go to the node that was idle a second ago. A report is a mean: it has
 * taken up what was placed only after some more (sched_untold()).
 *
 * Balancing moves a running program when what it gains outweighs what the move
 * costs. A program of age T is expected to run for another T (Harchol-Balter and
 * Downey, "Exploiting process lifetime distributions for dynamic load
 * balancing", TOCS 1997, section 3).
 */
#ifndef KERNEL_SCHED_SCHED_H
#define KERNEL_SCHED_SCHED_H

#include "base/attr.h"
#include "base/types.h"

struct sched_node {
	node_id id;
	bool closed;             /* draining, suspected or gone: nothing new goes there */
	uint32_t cpu_milli;      /* capacity; a node of 0.25 CPU has 250 */
	uint32_t load_milli;     /* runnable programs at its last report, averaged over a second */
	uint32_t placed_milli;   /* placed there by us, as far as that report has not told of it */
	uint64_t mem_bytes;      /* capacity for guests */
	uint64_t mem_free_bytes; /* at its last report, less what we placed since */
};

enum sched_policy {
	SCHED_HERE_FIRST = 0, /* the one of the machine: stay unless short, then two choices */
	SCHED_LOCAL,          /* always here */
	SCHED_LEAST_LOADED,   /* the least loaded of all, whatever is here */
	SCHED_TWO_CHOICES,    /* the better of two random ones, whatever is here */
	SCHED_RANDOM,
	SCHED_POLICIES,
};

enum sched_reason {
	SCHED_WHY_ROOM_HERE = 1, /* here has an idle CPU's worth */
	SCHED_WHY_MUST_STAY,     /* the caller said so (a description that seeks, a filter ...) */
	SCHED_WHY_ASKED,         /* the user named the node */
	SCHED_WHY_PINNED,
	SCHED_WHY_NEAR, /* beside another program, as asked */
	SCHED_WHY_SHORT_OF_CPU,
	SCHED_WHY_SHORT_OF_MEMORY,
	SCHED_WHY_CLOSED,         /* here is draining */
	SCHED_WHY_NOWHERE_BETTER, /* short here, but the others are not better by the margin */
	SCHED_WHY_POLICY,
};

struct sched_request {
	node_id here;
	node_id asked;  /* NODE_NONE, or the node that `on` named */
	node_id pinned; /* NODE_NONE, or the only node allowed */
	node_id near;   /* NODE_NONE, or the node to prefer while it has room */
	node_id avoid;  /* NODE_NONE, or a node to leave alone while others will do */
	bool must_stay;
	uint32_t cpu_milli; /* expected; 1000 if nothing is known */
	uint64_t mem_bytes; /* expected; 0 if nothing is known */
};

struct sched_pick {
	node_id node;
	enum sched_reason reason;
};

/*
 * Picks a node. @nodes holds @count > 0 entries, `here` among them; @random is any 64 random bits.
 * Errors: -ENOENT `here` is not in @nodes; -EHOSTDOWN the asked or pinned node is not in
 * @nodes or closed. @out is then unchanged.
 */
must_check int sched_place(enum sched_policy policy, const struct sched_node *nodes, unsigned count,
			   const struct sched_request *rq, uint64_t random, struct sched_pick *out);

/* Notes that @rq went to @n, until its reports tell of it. */
void sched_placed(struct sched_node *n, const struct sched_request *rq);

/*
 * Would a program of @here, for which that is too small, do better on @other, by the margin
 * that SCHED_HERE_FIRST asks for? Memory is not looked at.
 */
bool sched_is_better(const struct sched_node *other, const struct sched_node *here,
		     uint32_t cpu_milli);

/* ---- reports, one every quarter of a second ---- */

/* What a node reports, having reported @mean_milli, when @now_milli runs: the mean of a second. */
uint32_t sched_mean(uint32_t mean_milli, uint32_t now_milli);
/* What is left of placed_milli with a report: what a mean that ever runs has not taken up yet. */
uint32_t sched_untold(uint32_t placed_milli);

/* Text for `pando why` and `pando sched`: "n1 is short of CPU". Static. */
const char *sched_reason_text(enum sched_reason reason);

/* ---- balancing ---- */

struct sched_task {
	gpid pid;
	uint32_t cpu_milli; /* what it used lately, or would with a CPU of its own */
	uint64_t age_ms;
	uint64_t resident_bytes;
	bool stays; /* reads a terminal, is pinned, or cannot move */
};

struct sched_costs {
	uint32_t freeze_ms;       /* fixed price of a move */
	uint64_t bytes_per_ms;    /* how fast pages travel */
	uint32_t payback;         /* gain must be this many times the price; 2 is usual */
	uint32_t imbalance_milli; /* hysteresis: no move for less than this difference per CPU */
	uint64_t age_min_ms;      /* younger ones are likely to end by themselves */
};

struct sched_move {
	gpid pid;
	node_id to;
	uint64_t gain_ms;  /* predicted saving of its remaining run */
	uint64_t price_ms; /* predicted cost of the move */
};

/*
 * The best single move away from @here, if there is one: 1 and *out, or 0.
 * One move per call: the caller lets the loads settle before it asks again.
 */
int sched_balance(const struct sched_node *nodes, unsigned count, node_id here,
		  const struct sched_task *tasks, unsigned task_count,
		  const struct sched_costs *costs, struct sched_move *out);

#endif
