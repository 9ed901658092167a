/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capacity.h - thousands of nodes, placement and balancing by the real kernel/sched.
 *
 * Protocols are not simulated here, only where programs run and how fast. What is
 * assumed: a node shares its CPUs equally among what wants them; a deciding node
 * sees itself as it is and a sample of CAPACITY_SAMPLE others as they were at the
 * last report, once a second, and what it has placed there itself since; a move costs a
 * freeze and its bytes. The membership tables share storage (cow.h), and what they would
 * take without is printed.
 */
#ifndef SIM_CAPACITY_H
#define SIM_CAPACITY_H

#include "kernel/sched/sched.h"
#include "sim/workload.h"

#define CAPACITY_SAMPLE  32
#define CAPACITY_MINUTES 6000 /* of the plot */

#define CAPACITY_WHAT_NODES 256

/* What happens to present loads after one second. */
struct capacity_what {
	node_id kill; /* 1.. by place in `start`, or NODE_NONE */
	uint32_t jobs;
	uint64_t job_ms;
	node_id from; /* where the jobs are started, by place */
};

struct capacity_conf {
	uint64_t seed;
	uint32_t nodes;
	uint64_t run_ms;
	uint32_t die_per_mille; /* nodes that die, per hour */
	enum sched_policy policy;
	const struct workload *load;
	const struct sched_node *start; /* what-if: present loads of `nodes` nodes; or NULL */
	struct capacity_what what;
};

struct capacity_minute {
	uint32_t util;    /* per mille of all CPUs */
	uint32_t wanting; /* per mille: demand, may be over 1000 */
	uint32_t moves;
	uint32_t slow; /* programs that ended with a slowdown of 1.5 or more */
	uint32_t live;
};

#define CAPACITY_SLOW_BUCKETS 64 /* slowdown in steps of 1/8, from 1 */
struct capacity_result {
	uint64_t hash;
	uint64_t events;
	uint64_t arrived, ended, killed, live_max;
	uint64_t placed_here, placed_away, refused_memory;
	uint64_t moves, moved_bytes;
	uint64_t deaths;
	uint64_t util, wanting; /* per mille, mean */
	uint64_t spread;        /* per mille: mean difference of a node's load from the mean */
	uint64_t slow[CAPACITY_SLOW_BUCKETS];
	uint64_t raft_commands, gossip_messages, authority_messages;
	uint64_t bytes_node, bytes_node_alone;
	uint32_t node_load[CAPACITY_WHAT_NODES]; /* what-if: at the end */
	uint32_t node_most[CAPACITY_WHAT_NODES]; /* what-if: at most */
	uint64_t last_end_ns;                    /* when the last program that ended did */
	uint32_t minutes;
	struct capacity_minute minute[CAPACITY_MINUTES];
};

/* Errors: -ENOMEM. */
must_check int capacity_run(const struct capacity_conf *conf, struct capacity_result *r);

/* Slowdown in eighths that @per_mille of the programs stayed below. */
uint32_t capacity_slowdown(const struct capacity_result *r, uint32_t per_mille);

const char *capacity_policy_name(enum sched_policy p);
/* -1: no such policy. */
int capacity_policy(const char *name);

#endif
