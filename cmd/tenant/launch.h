/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - steps on the way from host root to a program inside a tenant's user
 * namespace. All but launch_wait(), userns_new() and tenant_procfs_open() run in a forked child: no
 * allocation, no lock. Private to tenant/.
 *
 * Errors: -1 with errno, or -errno where said.
 */
#ifndef TENANT_LAUNCH_H
#define TENANT_LAUNCH_H

#include "base/attr.h"
#include "cmd/tenant/tenant.h"

/* What a child says through the close-on-exec pipe; an exec ends the pipe. */
struct launch_report {
	int32_t pid;   /* of the process that will exec, or 0 */
	int32_t error; /* -errno, or 0 */
	char why[TENANT_WHY_MAX];
};

/* Reads reports to the end: 0, or the error that was reported (why and pid are kept). -errno. */
must_check int launch_wait(int pipe_fd, struct launch_report *out);

/* The daemons of a tenant come last for the OOM killer and first for the CPU, as far as the host
 * lets us; guests get neither. */
void launch_unkillable(void);

/* Moves the caller into groups, by their cgroup.procs files. */
must_check int launch_enter(const int *entrances, int count);

/* Joins the user namespace and becomes its uid 0, with nothing of the host's rights left. */
must_check int launch_become_root(int ns); /* a namespace or a pidfd */

/*
 * Execs @program with @fds[i] as descriptor i (-1: /dev/null for 0 and 1, as it is for 2, closed
 * above) and nothing else open. Returns -errno.
 */
must_check int launch_exec(int program, char *const argv[], char *const envp[], const int *fds,
			   size_t count);

/*
 * A user namespace with ids 0 .. TENANT_IDS of host ids from @base. Returns its descriptor, or
 * -errno and @why.
 */
must_check int userns_new(uint32_t base, char why[TENANT_WHY_MAX]);

/*
 * A procfs of this pid namespace that shows a process only to who may trace it: to a guest kernel
 * its own guests. Returns a directory descriptor, or -errno.
 */
must_check int tenant_procfs_open(void);

#endif
