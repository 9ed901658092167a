/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.h - between a share (core/share.h) and the ledger in naming's tables.
 *
 * Pure and total: anything may be missing in a copy of the tables. Who drives a share, pandod or
 * the simulated world, uses these two.
 */
#ifndef QUOTA_QUOTA_H
#define QUOTA_QUOTA_H

#include "naming/core/core.h"
#include "quota/core/share.h"

/* What @k shows of tenant @t to node @node. A tenant that is not there has no limits. */
void quota_view_of(const struct naming_core *k, tenant_id t, node_id node, struct quota_view *out);

/* The command that a share proposes. */
void quota_command_of(const struct naming_core *k, tenant_id t, node_id node,
		      const struct quota_out *o, struct naming_cmd *out);

#endif
