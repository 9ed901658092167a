/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - mounts /proc of a tenant: the native procfs of its pid namespace, or the machine's
 * above it (kernel/procfs/). A part of root.h; private to tenant/.
 */
#ifndef TENANT_PROC_H
#define TENANT_PROC_H

#include "base/attr.h"
#include "cmd/tenant/root.h"

/* With the host's rights: a /dev/fuse that root of the tenant's user namespace may open. */
must_check int proc_plan(struct root_plan *p, uint32_t id_base, char why[TENANT_WHY_MAX]);

/* As pid 1, with the new root as working directory. */
must_check int proc_build(const struct root_plan *p, struct root_proc *out,
			  char why[TENANT_WHY_MAX]);

#endif
