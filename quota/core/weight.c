/* SPDX-License-Identifier: Apache-2.0 */
/* weight.c - see weight.h. */
#include "quota/core/weight.h"

#include "quota/core/share.h"

static uint32_t within(uint32_t part)
{
	return MIN(MAX(part, QUOTA_WEIGHT_LEAST), QUOTA_WEIGHT_WHOLE);
}

/*
 * The host enforces a limit in spans of time, of which a measurement holds some and a bit: who is
 * stopped in each may seem to use some hundredths less than it may; and each processor keeps a
 * little of the limit back for itself. So nine tenths count as all.
 */
static uint32_t step(uint32_t part, const struct quota_strain *s)
{
	uint64_t used = MIN(s->used_milli, UINT64_C(0xffffffff)) * 100;
	uint64_t held = MIN(s->held_milli, UINT64_C(0xffffffff));

	if (used < held * 80)
		return within(part * 3 / 2);
	if (used < held * 90)
		return s->stopped ? part : within(part * 5 / 4);
	return s->stopped ? within(part * 3 / 4) : part;
}

uint32_t quota_weight_step(uint32_t part, const struct quota_strain *s, bool *was_short)
{
	bool believed = *was_short;
	uint32_t next;

	part = within(part);
	if (s->held_milli == QUOTA_ANY)
		return QUOTA_WEIGHT_WHOLE;
	next = step(part, s);
	*was_short = next > part;
	return next > part && !believed ? part : next;
}
