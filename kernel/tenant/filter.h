/* SPDX-License-Identifier: Apache-2.0 */
/* filter.h - puts the guests' seccomp program on the calling task. For pando-init's spawner. */
#ifndef KERNEL_TENANT_FILTER_H
#define KERNEL_TENANT_FILTER_H

#include "base/attr.h"

/*
 * Reads struct sock_filter[] from @memfd and installs it with a listener. Needs CAP_SYS_ADMIN in
 * the caller's user namespace (no_new_privs stays off: the stub's file capability must count).
 * Returns the listener; or -errno, -EINVAL also for a program of a wrong length.
 */
must_check int tenant_filter_install(int memfd);

#endif
