/* SPDX-License-Identifier: Apache-2.0 */
/* coverage.h - what the parts of --coverage share: a core, its states, and the events they met. */
#ifndef SIM_COVERAGE_H
#define SIM_COVERAGE_H

#include "sim/cluster.h"

struct cov_pair {
	uint8_t state;
	uint8_t event;
};

struct cov_tally {
	unsigned hit, all;
};

/* One pair that was met @count times; prints it if never. */
void cov_tally(struct cov_tally *t, uint64_t count, const char *core, const char *state,
	       const char *event);

/* naming, leases, membership; @deaths: of pandod, by role. */
void coverage_name(const struct sim_cov *cov, struct cov_tally *t, struct cov_tally *deaths);

/* The share of a tenant's limits. */
void coverage_loans(const struct sim_cov *cov, struct cov_tally *t);

#endif
