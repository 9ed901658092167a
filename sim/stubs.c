/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stubs of a simulated node: what migrate/core/kin.c plans, carried out at the host.
 */
#include "sim/kernel.h"

#include <errno.h>

#include "base/check.h"

static uint32_t stubs_table(struct knode *n, struct kin_task *t, uint32_t max)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n->host.count; i++) {
		const struct task *k = &n->host.tasks[i];
		bool here = k->kind == TASK_PROC || k->kind == TASK_BUILD;
		uint32_t kind = k->kind == TASK_ZOMBIE ? KIN_ZOMBIE : here ? KIN_HERE : KIN_STUB;

		CHECK(count < max);
		t[count++] = (struct kin_task){ k->pid, k->ppid, k->pgid, k->sid, kind, 0, 0, 0 };
	}
	return count;
}

#define KIN_TABLE 4096
static struct kin_task kin_scratch[KIN_TABLE];

/* What the target of a move must know: the closure of @pid with its children, as it is here. */
uint32_t stubs_list(struct knode *n, gpid pid, struct kin_entry *out, uint32_t max)
{
	uint32_t n_tasks = stubs_table(n, kin_scratch, KIN_TABLE);
	uint32_t count = 0;

	for (uint32_t i = 0; i < n_tasks; i++)
		kin_scratch[i].kind = kin_scratch[i].pid == pid ? KIN_HERE : KIN_STUB;
	kin_mark_needed(kin_scratch, n_tasks);
	for (uint32_t i = 0; i < n_tasks; i++) {
		const struct task *t = &n->host.tasks[i];

		if (!kin_scratch[i].mark || count == max)
			continue;
		out[count++] = (struct kin_entry){
			t->pid, t->ppid, t->pgid, t->sid, t->kind == TASK_ZOMBIE, t->status
		};
	}
	return count;
}

void kernel_settle(struct sim *s, struct knode *n, gpid pid)
{
	struct task *t = host_find(&n->host, pid);
	struct tomb *tomb = exits_tomb(s, n, pid);
	const struct task *parent;

	if (!t || !tomb->dead)
		return;
	if (t->kind == TASK_STUB)
		host_die(&n->host, pid, tomb->status);
	t = host_find(&n->host, pid);
	if (!t || t->kind != TASK_ZOMBIE || !tomb->reaped)
		return;
	parent = host_find(&n->host, t->ppid);
	if ((!parent || parent->kind != TASK_PROC) && host_reap(&n->host, pid) < 0)
		world_violate(&s->w, "K3", "n%u: zombie %d stays", n->id, pid);
}

static void stub_drop(struct sim *s, struct knode *n, gpid pid)
{
	struct task *t = host_find(&n->host, pid);

	if (!t)
		return;
	if (t->kind == TASK_STUB)
		host_die(&n->host, pid, 0);
	t = host_find(&n->host, pid);
	if (t && t->kind == TASK_ZOMBIE && host_reap(&n->host, pid) < 0)
		world_violate(&s->w, "K3", "n%u: zombie %d stays", n->id, pid);
}

static void stubs_sweep(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	static struct kin_step steps[KIN_TABLE];
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	uint32_t count;
	int r;

	(void)a;
	(void)b;
	if (!sim_guard_kernel(s, node, payload))
		return;
	n->sweeping = false;
	count = stubs_table(n, kin_scratch, KIN_TABLE);
	/* A stub whose move is not over yet is its machine's. */
	for (uint32_t i = 0; i < count; i++) {
		if (kernel_busy(n, kin_scratch[i].pid))
			kin_scratch[i].kind = KIN_HERE;
	}
	r = kin_plan_drop(kin_scratch, count, steps, KIN_TABLE);
	CHECK(r >= 0);
	for (int i = 0; i < r; i++) {
		if (kernel_fault(s, n))
			return;
		stub_drop(s, n, steps[i].pid);
	}
}

void kernel_sweep_soon(struct sim *s, struct knode *n)
{
	if (n->sweeping || !n->kernel_up)
		return;
	n->sweeping = true;
	sim_later(s, n, 5 * NS_PER_MS, stubs_sweep, "sweep", 0, 0);
}

/* Who is known here to be dead is no kin: its children are pid 1's. */
static void stubs_merge(struct sim *s, struct knode *n, struct kin_task *t, uint32_t *count,
			gpid pid, struct kin_entry *list, uint32_t list_n)
{
	for (uint32_t i = 0; i < list_n; i++) {
		struct tomb *tomb = exits_tomb(s, n, list[i].pid);

		if (!tomb->dead || list[i].pid == pid)
			continue;
		if (list[i].ppid == pid && !tomb->reaped) {
			list[i].zombie = true;
			list[i].status = tomb->status;
		} else {
			for (uint32_t j = 0; j < list_n; j++) {
				if (list[j].ppid == list[i].pid)
					list[j].ppid = 1;
			}
			list[i].pid = 0;
		}
	}
	for (uint32_t i = 0, here = *count; i < list_n; i++) {
		const struct kin_entry *e = &list[i];
		struct kin_task *k = kin_find(t, here, e->pid);

		if (k && k->kind == KIN_STUB) {
			k->pgid_now = k->pgid;
			k->sid_now = k->sid;
			k->pgid = e->pgid;
			k->sid = e->sid;
		}
		if (e->pid == 0 || k)
			continue;
		CHECK(*count < KIN_TABLE);
		t[(*count)++] = (struct kin_task){ e->pid,        e->ppid, e->pgid, e->sid,
						   KIN_ELSEWHERE, 0,       0,       0 };
	}
	kin_sort(t, *count);
}

/* One step of a plan. A step that the host refuses is the plan's fault. */
static int stubs_do(struct sim *s, struct knode *n, const struct kin_step *step)
{
	struct task *t;
	int r = 0;

	switch (step->kind) {
	case KIN_MAKE:
		r = host_make(&n->host, step->pid, step->by, TASK_STUB);
		break;
	case KIN_MAKE_ORPHAN:
		r = host_make(&n->host, step->pid, step->by, TASK_STUB);
		t = host_find(&n->host, step->pid);
		if (r == 0)
			t->ppid = 1;
		break;
	case KIN_SETSID:
		r = host_setsid(&n->host, step->pid);
		break;
	case KIN_SETPGID:
		r = host_setpgid(&n->host, step->pid, step->by);
		break;
	case KIN_DROP:
		stub_drop(s, n, step->pid);
		break;
	case KIN_TURN:
		t = host_find(&n->host, step->pid);
		if (t && t->kind == TASK_STUB) {
			t->kind = TASK_BUILD;
			t->locks |= LOCK_TRACE | LOCK_FREEZER;
		} else if (!t || t->kind != TASK_BUILD) {
			r = -ESRCH;
		}
		break;
	}
	if (r < 0)
		world_violate(&s->w, "K3", "n%u: step %d of pid %d by %d refused: %d", n->id,
			      (int)step->kind, step->pid, step->by, r);
	return r;
}

/* Makes what @pid needs here and turns its stub into a held process; again with newer facts. */
int stubs_arrive(struct sim *s, struct knode *n, gpid pid, struct kin_entry *list, uint32_t list_n)
{
	static struct kin_step steps[KIN_TABLE];
	uint32_t count = stubs_table(n, kin_scratch, KIN_TABLE);
	gpid bad = 0;
	int steps_n, r = 0;

	stubs_merge(s, n, kin_scratch, &count, pid, list, list_n);
	steps_n = kin_plan_arrive(kin_scratch, count, pid, steps, KIN_TABLE, &bad);
	if (steps_n < 0)
		return steps_n;
	for (int i = 0; i < steps_n && r == 0; i++) {
		if (kernel_fault(s, n))
			return -EINTR;
		r = stubs_do(s, n, &steps[i]);
	}
	for (uint32_t i = 0; i < list_n && r == 0; i++) {
		struct task *t = list[i].pid ? host_find(&n->host, list[i].pid) : NULL;

		if (t && list[i].zombie && t->kind == TASK_STUB)
			host_die(&n->host, t->pid, list[i].status);
	}
	return r;
}

/* Children that the source does not tell of have been waited for there. */
void stubs_reconcile(struct sim *s, struct knode *n, gpid pid, const struct kin_entry *list,
		     uint32_t list_n)
{
	for (uint32_t i = n->host.count; i-- > 0;) {
		gpid child = n->host.tasks[i].pid;
		bool told = false;

		if (n->host.tasks[i].ppid != pid)
			continue;
		for (uint32_t j = 0; j < list_n; j++)
			told |= list[j].pid == child;
		if (told)
			continue;
		*exits_tomb(s, n, child) = (struct tomb){ .dead = true, .reaped = true };
		if (!kernel_elsewhere(s, n, child))
			return;
		stub_drop(s, n, child);
		i = MIN(i, n->host.count);
	}
}
