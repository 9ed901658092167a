/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - the small part of a Linux kernel that moves and kin depend on, modelled.
 *
 * A host is a table of tasks. What is assumed of the real kernel, and no more:
 *   - there is no re-parenting but the kernel's own: a parent's death gives its
 *     children to pid 1, which reaps at once;
 *   - set_tid fails (-EEXIST) on a pid that has a task or a zombie, or is still the
 *     number of a group or session (kernel/pid.c frees it only after the last);
 *   - who bears a stub must be a stub, pid 1, or a process held by its builder:
 *     never a running guest;
 *   - a frozen task collects signals and executes nothing; it is frozen while it
 *     has either lock. The first lock (ptrace) ends with the guest kernel, the
 *     second (freezer) does not;
 *   - a vfork parent does not stop: a freeze of it fails;
 *   - a pid, group and session are given at birth by the host's own rules:
 *     setsid of a group leader and joining a group of another session fail.
 */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include "sim/world.h"

enum task_kind {
	TASK_PROC = 1, /* the process itself: executes unless frozen */
	TASK_STUB,
	TASK_BUILD,  /* a stub turned into a process that is not allowed to run yet */
	TASK_ZOMBIE, /* dead, not waited for */
};

enum {
	LOCK_TRACE = 1, /* dies with the guest kernel */
	LOCK_FREEZER = 2,
	LOCK_LEASE = 4, /* frozen by pando-init, the node has lost its lease */
};

struct task {
	gpid pid;
	gpid ppid; /* native parent; 1: pando-init */
	gpid pgid;
	gpid sid;
	enum task_kind kind;
	uint32_t locks;
	bool was_proc;    /* a zombie or stub that once executed here */
	int status;       /* zombies */
	uint64_t version; /* state of its memory and registers */
	uint64_t pending; /* signals */
	node_id missing;  /* pages are still to come from that node */
};

struct host {
	struct task *tasks; /* sorted by pid */
	uint32_t count, cap;
};

void host_fini(struct host *h);
struct task *host_find(struct host *h, gpid pid);

/* Errors: -EEXIST, -ESRCH no such parent, -EPERM the parent is a running guest. */
must_check int host_make(struct host *h, gpid pid, gpid by, enum task_kind kind);
must_check int host_setsid(struct host *h, gpid pid);
must_check int host_setpgid(struct host *h, gpid pid, gpid pgid);

/* Dies; a zombie until its parent waits. Children go to pid 1, whose zombies vanish at once. */
void host_die(struct host *h, gpid pid, int status);
/* The zombie vanishes. Errors: -ECHILD, it is none. */
must_check int host_reap(struct host *h, gpid pid);

static inline bool task_runs(const struct task *t)
{
	return t->kind == TASK_PROC && t->locks == 0;
}

#endif
