/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - the processes of a tenant that have a task on this node.
 *
 * Nothing is kept between two calls: the host's kernel has the one true table, and a successor of a
 * guest kernel finds it there. A gpid is looked up by reading the node's procfs; whoever acts on
 * the result does so by pidfd.
 *
 * pando-init and its spawner (uid 0 of the tenant, which no guest has) are not listed.
 */
#ifndef KERNEL_PROC_PROC_H
#define KERNEL_PROC_PROC_H

#include "kernel/host/task.h"

/* Where to look: borrowed. */
struct proc_view {
	int procfs;     /* directory of the node's procfs */
	uint64_t pidns; /* inode of the tenant's pid namespace */
	int ns;         /* it, for hosts that translate numbers; else all is found in procfs */
};

/* Never closed. At least one process of the tenant is there: pando-init. */
void proc_view_init(struct proc_view *view, int procfs, uint64_t pidns);

struct proc {
	struct task_info t;
	gpid ppid;
	gpid tpgid; /* -1: none */
};

struct proc_list {
	struct proc *v; /* in ascending order of gpid */
	size_t n;
	size_t cap;
};

/* Errors: -ENOMEM; -errno of reading the directory. Processes that end meanwhile are left out. */
must_check int proc_scan(struct proc_list *out, const struct proc_view *view);
void proc_list_fini(struct proc_list *l);

/* NULL: not in the list. */
const struct proc *proc_list_find(const struct proc_list *l, gpid pid);

/*
 * The node's number of a thread of the tenant, any thread may ask. Errors: -ESRCH nobody has it;
 * another: this host does not say (before Linux 6.11).
 */
must_check int proc_node_tid(const struct proc_view *view, gpid tid);

/* A pidfd of the process and what it is. Errors: -ESRCH; -EMFILE. */
must_check int proc_open(const struct proc_view *view, gpid pid, struct task_info *out);

/*
 * As kill(2) by the tenant's user: one process, a group (-pgid), or all (-1). signo 0 only looks.
 * Errors: -ESRCH nobody; -EINVAL signo.
 */
must_check int proc_signal(const struct proc_view *view, gpid target, int signo);

#endif
