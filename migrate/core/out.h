/* SPDX-License-Identifier: Apache-2.0 */
/* out.h - filling a struct mig_out; for source.c and target.c. Header only. */
#ifndef MIGRATE_CORE_OUT_H
#define MIGRATE_CORE_OUT_H

#include <errno.h>

#include "base/check.h"
#include "migrate/core/move.h"

static inline struct mig_fx *out_add(struct mig_out *out, enum mig_fx_kind kind)
{
	struct mig_fx *fx;

	CHECK(out->count < MIG_FX_MAX);
	fx = &out->fx[out->count++];
	*fx = (struct mig_fx){ .kind = kind };
	return fx;
}

static inline void out_done(struct mig_out *out, int err)
{
	out_add(out, MIG_FX_DONE)->err = err;
}

/* The next repetition: doubles up to 32 times the first interval. */
static inline uint64_t out_again(const struct mig_conf *conf, uint64_t *again_ns, uint64_t now_ns)
{
	uint64_t wake = now_ns + *again_ns;

	if (*again_ns < conf->again_ns * 32)
		*again_ns *= 2;
	return wake;
}

#endif
