/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - options and parts of the simulator's front. Private to sim/. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "kernel/sched/sched.h"
#include "sim/cluster.h"

#define RUN_NODES    5
#define RUN_MINUTES  10
#define RUN_JOBS_MAX 256

struct run_opts {
	uint64_t first, last; /* seeds; last 0: only the first, with a report */
	unsigned nodes;
	uint64_t minutes;
	unsigned jobs; /* processes that share the seeds; 0: one for each processor */
	const char *trace;
	const char *broken;
	const bool *only; /* faults to keep, by number; NULL: all */
	bool shrink;
	bool coverage;
	bool json;
	bool calm; /* no faults, a perfect network */
	bool terse;
	bool list_breaks;
	uint64_t hours;       /* capacity mode */
	const char *workload; /* the same; NULL: protocols are simulated */
	const char *compare;
	const char *plot;
	const char *show;
};

/* ---- run.c ---- */
struct sim *run_new(const struct run_opts *o, uint64_t seed, struct sim_cov *cov);
/* To its end or to a violation, among them the abort of a core's CHECK. */
void run_guarded(struct sim *s);
int run_all(struct run_opts *o);

/* ---- seeds.c ---- */
/* Each seed from o->first to o->last; the sum of what was covered in @cov. 1: a violation. */
int run_seeds(const struct run_opts *o, struct sim_cov *cov);

int plan_all(struct run_opts *o);
/* The text of a shipped workload, as a beginning for one's own. */
int plan_show(const char *name);
struct capacity_result;
void plot_charts(FILE *f, const struct capacity_result *r, unsigned n,
		 const enum sched_policy *policy);
void coverage_print(const struct sim_cov *cov);

#endif
