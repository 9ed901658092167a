/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight.h - the part of its weight that a tenant needs on this node to get all that it may use.
 *
 * A tenant with more runnable tasks than its limit allows is stopped by it many times a second.
 * Between two stops its tasks take the others' time by weight, and afterwards processors stand
 * idle. With less weight it takes what the others leave, which is as much, and is in nobody's way.
 * So it has the least weight with which it still gets nine tenths of what it is lent. Who gets less
 * has its whole weight again within half a second: where all are short, they share by weight.
 *
 *	W1  without a limit, the whole weight
 *	W2  never below QUOTA_WEIGHT_LEAST, never above QUOTA_WEIGHT_WHOLE
 *	W3  who gets much less than it may use never loses weight
 *	W4  one short time between two full ones changes nothing: a pause began in it, or ended
 *
 * Sans-io, and without state but for the part itself and whether the last time was short.
 */
#ifndef QUOTA_CORE_WEIGHT_H
#define QUOTA_CORE_WEIGHT_H

#include "base/attr.h"
#include "base/types.h"

/* Thousandths of the weight that the tenant was given. */
#define QUOTA_WEIGHT_WHOLE 1000u
#define QUOTA_WEIGHT_LEAST 250u

struct quota_strain {
	uint64_t used_milli; /* thousandths of a core */
	uint64_t held_milli; /* to which its guests are held; QUOTA_ANY: no limit */
	bool stopped;        /* by that limit, in this time, once or more */
};

/*
 * The part to have next, after @part with which @s was seen, over about a tenth of a second.
 * @was_short is kept from one time to the next, false at first.
 */
must_check uint32_t quota_weight_step(uint32_t part, const struct quota_strain *s, bool *was_short);

#endif
