/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail.h - the guest kernel's own system call filter.
 *
 * A guest kernel that a guest has taken over must gain the tenant nothing: no program to execute,
 * no socket but unix, no namespace, mount or module, no io_uring (it would walk around the filter,
 * so the guest kernel's loop runs on epoll). What is allowed stands in one list in jail.c. What is
 * not gives EPERM, so that a library's probe does not kill us; it is audited by the host.
 */
#ifndef KERNEL_HOST_JAIL_H
#define KERNEL_HOST_JAIL_H

#include "base/attr.h"

/*
 * For good, for all threads of the process. Sets no_new_privs and makes us undumpable.
 * Errors: -errno of prctl or seccomp.
 */
must_check int jail_enter(void);

#endif
