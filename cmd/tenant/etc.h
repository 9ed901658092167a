/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etc.h - the tenant's /etc: a few files that say who and where it is, copies of
 * what programs read, and directories of the host that hold nothing secret.
 * Private to tenant/.
 */
#ifndef TENANT_ETC_H
#define TENANT_ETC_H

#include "base/attr.h"
#include "cmd/tenant/tenant.h"

/* Patterns of directories that are mounted read-only; NULL at the end. */
extern const char *const etc_dirs[];

/* Fills etc/ below the working directory; reads the host's /etc with nobody's rights. */
must_check int etc_build(const struct tenant_cfg *cfg, char why[TENANT_WHY_MAX]);

#endif
