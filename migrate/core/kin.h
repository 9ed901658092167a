/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kin.h - which kin stubs a node must have, and in what order they come and go.
 *
 * wait, orphaning, job control and PDEATHSIG look at the native parent, group
 * and session of the host's kernel, and Linux cannot re-parent. So (K3) a node
 * has exactly its tasks and, as stubs, a closure:
 *	- the children of what executes here (its wait looks at them);
 *	- of all that: parents, group leaders, session leaders, and theirs.
 * pid 1 (pando-init) is on every node and counts as there; 0 is outside.
 *
 * Order of making, from above, each by its native parent:
 *	K3a a parent is there before its child
 *	K3b who was born before its parent's setsid is made before the stub's
 *	K3c a group's leader is there before anyone joins the group
 *	K3d a process turns from its stub only when its children's stubs are there
 * A leader that has died but left its group or session behind is made for the
 * time of the joining, and dropped again - if its number is free: while anything
 * here is in that session, set_tid of it is EEXIST, and only a stub of the
 * session can bear another member. So it is with a session whose leader lives and
 * whose member is an orphan: a stub that is pid 1's child itself bears it as a
 * sibling (CLONE_PARENT), any other would need one in between that ends. Order of dropping:
 * children first.
 *
 * Pure functions over a table that the caller fills; no pid is looked up by
 * anything but the table. Sizes: up to a few thousand tasks; n log n.
 */
#ifndef MIGRATE_CORE_KIN_H
#define MIGRATE_CORE_KIN_H

#include "base/attr.h"
#include "base/types.h"

enum kin_kind {
	KIN_ELSEWHERE = 0, /* executes on another node, and has no stub here */
	KIN_STUB,          /* executes on another node, and has a stub here */
	KIN_HERE,          /* executes here */
	KIN_ZOMBIE,        /* dead here, not waited for: holds its numbers, can bear nobody */
};

struct kin_task {
	gpid pid;
	gpid ppid;
	gpid pgid;
	gpid sid;
	uint32_t kind; /* enum kin_kind */
	uint32_t mark; /* scratch */
	/* As the host has them, when that differs: in a stub that a dead kernel left half made. */
	gpid pgid_now; /* 0: as pgid */
	gpid sid_now;  /* 0: as sid */
};

enum kin_step_kind {
	KIN_MAKE = 1,    /* pid: clone3(set_tid) by @by, a stub or pid 1 */
	KIN_MAKE_ORPHAN, /* pid, pid 1's child, joins the session of stub @by by birth */
	KIN_SETSID,      /* pid calls setsid */
	KIN_SETPGID,     /* pid joins (or founds) group @by */
	KIN_TURN,        /* the stub pid becomes the process: the last step of an arrival */
	KIN_DROP,        /* the stub pid exits */
};

struct kin_step {
	enum kin_step_kind kind;
	gpid pid;
	gpid by;
};

/* Sorts by pid. Every other function wants a sorted table without doubles. */
void kin_sort(struct kin_task *t, uint32_t n);
struct kin_task *kin_find(struct kin_task *t, uint32_t n, gpid pid);

/*
 * Marks (mark = 1) what must be on this node as task or stub. Fills the table's
 * scratch. Kin that the table does not have are dead and not needed.
 */
void kin_mark_needed(struct kin_task *t, uint32_t n);

/*
 * The steps that let @pid arrive here. The table: everything that has a task or
 * stub here, @pid itself, and its closure and children as the source tells them.
 * Returns the number of steps. Errors: -ENOSPC, more than @max; -EXDEV, a
 * session or group that cannot be rebuilt here, or a pid whose
 * number is still in use here as one (*bad is the pid); -ENOENT, @pid
 * is not in the table; -EINVAL, the table's kin go in a circle (a lying peer).
 * Stubs here that differ from what the source tells are put right.
 */
must_check int kin_plan_arrive(struct kin_task *t, uint32_t n, gpid pid, struct kin_step *steps,
			       uint32_t max, gpid *bad);

/* The stubs here that nothing needs, children first. Returns steps, or -ENOSPC. */
must_check int kin_plan_drop(struct kin_task *t, uint32_t n, struct kin_step *steps, uint32_t max);

#endif
