/* SPDX-License-Identifier: Apache-2.0 */
/* Coverage of shares: what each state accepts (LOWERING lasts for one step here). */
#include "sim/coverage.h"

static const struct cov_pair pairs[] = {
	{ QUOTA_NONE, QUOTA_EV_OPEN },      { QUOTA_NONE, QUOTA_EV_TICK },
	{ QUOTA_NONE, QUOTA_EV_VIEW },      { QUOTA_CLAIMING, QUOTA_EV_ANSWER },
	{ QUOTA_CLAIMING, QUOTA_EV_TICK },  { QUOTA_CLAIMING, QUOTA_EV_VIEW },
	{ QUOTA_CLAIMING, QUOTA_EV_CLOSE }, { QUOTA_HOLDING, QUOTA_EV_TICK },
	{ QUOTA_HOLDING, QUOTA_EV_VIEW },   { QUOTA_HOLDING, QUOTA_EV_HELD },
	{ QUOTA_HOLDING, QUOTA_EV_CLOSE },  { QUOTA_LOWERING, QUOTA_EV_HELD },
	{ QUOTA_ASKING, QUOTA_EV_ANSWER },  { QUOTA_ASKING, QUOTA_EV_TICK },
	{ QUOTA_ASKING, QUOTA_EV_VIEW },    { QUOTA_ASKING, QUOTA_EV_HELD },
	{ QUOTA_ASKING, QUOTA_EV_CLOSE },   { QUOTA_RETURNING, QUOTA_EV_ANSWER },
	{ QUOTA_RETURNING, QUOTA_EV_TICK }, { QUOTA_RETURNING, QUOTA_EV_VIEW },
	{ QUOTA_RETURNING, QUOTA_EV_OPEN },
};

void coverage_loans(const struct sim_cov *cov, struct cov_tally *t)
{
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		cov_tally(t, cov->share[pairs[i].state][pairs[i].event], "share",
			  quota_state_name(pairs[i].state), quota_ev_name(pairs[i].event));
}
