/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling all nodes that a process has ended, and that it has been waited for.
 *
 * Told again until every live node has acknowledged; only then does the authority hear GONE, so
 * that a record which says "dead" never overtakes the true status. What a node was told it
 * remembers (tombs): a stub made later from older facts dies at once.
 */
#include "sim/cluster.h"

#include <string.h>

#include "base/check.h"

struct tomb *exits_tomb(struct sim *s, struct knode *n, gpid pid)
{
	static struct tomb none;
	struct proc *p = sim_proc(s, pid);

	none = (struct tomb){ 0 };
	return p ? &n->tombs[p - s->procs] : &none;
}

bool exits_pending(const struct knode *n, gpid pid)
{
	for (uint32_t i = 0; i < SIM_EXITS_MAX; i++) {
		if (n->exits[i].used && n->exits[i].pid == pid && n->exits[i].ours)
			return true;
	}
	return false;
}

static void exit_send(struct sim *s, struct knode *n, const struct exit_slot *x, node_id to)
{
	struct kmsg *k = pod_msg(n, KM_EXITED, 0, 0);

	k->m.pid = x->pid;
	k->m.err = x->status;
	k->reaped = x->reaped;
	pod_post(s, n, to, k);
}

static bool exit_told(struct sim *s, const struct knode *n, const struct exit_slot *x)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		if (id != n->id && n->nodes[id].alive && x->acked[id] != n->nodes[id].epoch)
			return false;
	}
	return true;
}

static void exit_go_on(struct sim *s, struct knode *n, struct exit_slot *x)
{
	const struct view_block *v = &n->blocks[sim_block(x->pid)];
	struct mig_msg gone = { .kind = MIG_GONE,
				.pid = x->pid,
				.epoch = x->epoch,
				.aterm = MAX(v->aterm, n->fences[sim_block(x->pid)]) };

	if (!exit_told(s, n, x)) {
		for (node_id id = 1; id <= s->conf.nodes; id++) {
			if (id != n->id && n->nodes[id].alive && x->acked[id] != n->nodes[id].epoch)
				exit_send(s, n, x, id);
		}
		return;
	}
	if (x->reaped || !x->ours) {
		x->used = false;
		return;
	}
	x->gone = true;
	kernel_send(s, n, v->authority, &gone);
}

static void exit_add(struct sim *s, struct knode *n, gpid pid, int status, bool ours, bool reaped)
{
	struct exit_slot *x = NULL;

	for (uint32_t i = 0; i < SIM_EXITS_MAX && !x; i++) {
		if (!n->exits[i].used)
			x = &n->exits[i];
	}
	CHECK(x != NULL);
	*x = (struct exit_slot){
		.used = true, .reaped = reaped, .ours = ours, .pid = pid, .status = status
	};
	exit_go_on(s, n, x);
}

/* pid 1 waits for whom their parent leaves behind. */
static void truth_died(struct sim *s, struct proc *p, int status)
{
	if (!p->alive)
		return;
	p->alive = false;
	p->status = status;
	s->stats.exits++;
	if (p->ppid == 1)
		p->reaped = true;
	for (uint32_t i = 0; i < s->proc_count; i++) {
		struct proc *c = &s->procs[i];

		if (c->ppid != p->pid)
			continue;
		c->ppid = 1;
		if (!c->alive)
			c->reaped = true;
	}
}

void exits_died(struct sim *s, struct knode *n, gpid pid, int status, bool ours)
{
	struct tomb *tomb = exits_tomb(s, n, pid);
	struct task *t = host_find(&n->host, pid);
	struct proc *p = sim_proc(s, pid);

	if (!p || tomb->dead)
		return;
	tomb->dead = true;
	tomb->status = status;
	exit_add(s, n, pid, status, ours, false);
	if (ours) {
		CHECK(t && t->kind == TASK_PROC);
		host_die(&n->host, pid, status);
		kernel_ended(s, n, pid);
	} else {
		if (p->alive && !p->doubt)
			world_violate(&s->w, "K4", "%d lives, and is told dead by n%u", pid, n->id);
		check_dead(s, pid, "the authority");
		if (!kernel_elsewhere(s, n, pid))
			return;
		kernel_settle(s, n, pid);
	}
	truth_died(s, p, status);
	kernel_sweep_soon(s, n);
}

void exits_reaped(struct sim *s, struct knode *n, gpid pid)
{
	exits_tomb(s, n, pid)->reaped = true;
	exit_add(s, n, pid, 0, false, true);
	kernel_sweep_soon(s, n);
}

static void on_exited(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct tomb *tomb = exits_tomb(s, n, k->m.pid);
	struct kmsg *a;

	if (!tomb->dead) {
		tomb->dead = true;
		tomb->status = k->m.err;
	}
	tomb->reaped |= k->reaped;
	if (!kernel_elsewhere(s, n, k->m.pid))
		return;
	kernel_settle(s, n, k->m.pid);
	kernel_sweep_soon(s, n);
	if (kernel_fault(s, n))
		return;
	a = pod_msg(n, KM_EXITED_ACK, 0, 0);
	a->m.pid = k->m.pid;
	a->reaped = k->reaped;
	pod_post(s, n, k->from, a);
}

void exits_on_msg(struct sim *s, struct knode *n, struct kmsg *k)
{
	if (k->kind == KM_EXITED) {
		on_exited(s, n, k);
		return;
	}
	for (uint32_t i = 0; i < SIM_EXITS_MAX; i++) {
		struct exit_slot *x = &n->exits[i];

		if (!x->used || x->pid != k->m.pid || x->reaped != k->reaped)
			continue;
		x->acked[k->from] = k->from_epoch;
		if (exit_told(s, n, x))
			exit_go_on(s, n, x);
		if (!n->kernel_up)
			return;
	}
}

/* A record without a site: the process died with its node, and nobody could tell. */
static void stub_of_the_dead(struct sim *s, struct knode *n, gpid pid)
{
	struct proc *p = sim_proc(s, pid);
	struct tomb *tomb = exits_tomb(s, n, pid);
	const struct task *t = host_find(&n->host, pid);

	if (!p || !t || t->kind != TASK_STUB || tomb->dead || kernel_busy(n, pid))
		return;
	if (p->alive && !p->doubt)
		world_violate(&s->w, "K4", "%d lives, and its record says dead", pid);
	check_dead(s, pid, "its record");
	tomb->dead = true;
	tomb->status = p->alive ? SIM_STATUS_KILL : p->status;
	truth_died(s, p, SIM_STATUS_KILL);
	kernel_settle(s, n, pid);
	kernel_sweep_soon(s, n);
}

void exits_on_record(struct sim *s, struct knode *n, const struct mig_msg *m)
{
	for (uint32_t i = 0; i < SIM_EXITS_MAX; i++) {
		struct exit_slot *x = &n->exits[i];

		if (!x->used || x->reaped || !x->ours || x->pid != m->pid)
			continue;
		if (m->site != n->id) {
			if (x->gone)
				x->used = false;
		} else if (m->epoch > x->epoch) {
			x->epoch = m->epoch;
			exit_go_on(s, n, x);
		}
		return;
	}
	if (m->site == NODE_NONE)
		stub_of_the_dead(s, n, m->pid);
}

void exits_tick(struct sim *s, struct knode *n)
{
	uint32_t life = n->life;

	for (uint32_t i = 0; i < SIM_EXITS_MAX; i++) {
		if (!n->exits[i].used)
			continue;
		if (kernel_fault(s, n))
			return;
		exit_go_on(s, n, &n->exits[i]);
	}
	for (uint32_t i = 0; i < n->host.count && n->kernel_up && n->life == life; i++) {
		const struct task *t = &n->host.tasks[i];
		struct mig_msg read = { .kind = MIG_READ, .pid = t->pid };

		if (t->kind != TASK_STUB || !rand_chance(&s->w.rng[RNG_HOST], 1, 8))
			continue;
		read.aterm = n->fences[sim_block(t->pid)];
		kernel_send(s, n, n->blocks[sim_block(t->pid)].authority, &read);
	}
}
