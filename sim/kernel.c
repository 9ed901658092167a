/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest kernel of a simulated node: its life, its death, and who gets which message.
 *
 * Every effect of a core (moves.c, records.c, stubs.c) is carried out in order, and the kernel may
 * die before any of them (kernel_fault); then the rest does not happen and the successor finds the
 * store.
 */
#include "sim/kernel.h"

#include "sim/link.h"
#include "sim/memory.h"

bool kernel_ready(const struct knode *n)
{
	return n->up && n->kernel_up && n->epoch != 0 && !n->lease_frozen;
}

bool kernel_fault(struct sim *s, struct knode *n)
{
	if (n->die_in == 0 || --n->die_in > 0)
		return false;
	kernel_die(s, n);
	return true;
}

void kernel_send(struct sim *s, struct knode *n, node_id to, const struct mig_msg *m)
{
	struct kmsg *k;

	if (to == NODE_NONE || to > s->conf.nodes)
		return;
	k = pod_msg(n, KM_MIG, 0, 0);
	k->m = *m;
	k->m.from = n->id;
	pod_post(s, n, to, k);
}

/* ---- messages ---- */

static void on_mig(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct mig_ev ev = { .kind = MIG_EV_MSG, .msg = &k->m };
	struct src_slot *src = moves_source(n, k->m.pid);
	struct dst_slot *dst = moves_target(n, k->m.pid);
	struct mig_msg reply;

	switch (k->m.kind) {
	case MIG_READ:
	case MIG_CLAIM:
	case MIG_GONE:
	case MIG_STAND:
		records_msg(s, n, &k->m);
		return;
	case MIG_FENCE:
		records_on_fence(s, n, &k->m);
		return;
	case MIG_PREPARE:
		moves_on_prepare(s, n, k);
		return;
	case MIG_RECORD:
		if (k->m.aterm >= n->fences[sim_block(k->m.pid)])
			exits_on_record(s, n, &k->m);
		if (src && n->kernel_up)
			moves_step_source(s, n, src, &ev);
		else if (dst && n->kernel_up)
			moves_step_target(s, n, dst, &ev);
		return;
	default:
		/* The life that has prepared is the one that it is handed to. */
		if (src && src->m.move == k->m.move && k->m.kind == MIG_PREPARED &&
		    src->m.state == MIG_S_PREPARING && k->from == src->m.target)
			src->peer_epoch = k->from_epoch;
		if (src && src->m.move == k->m.move)
			moves_step_source(s, n, src, &ev);
		else if (dst && dst->m.move == k->m.move)
			moves_step_target(s, n, dst, &ev);
		else if (migrate_stray(&k->m, &reply))
			kernel_send(s, n, k->m.from, &reply);
	}
}

void kernel_on_msg(struct sim *s, struct knode *n, struct kmsg *k)
{
	switch (k->kind) {
	case KM_MIG:
		k->m.from = k->from;
		on_mig(s, n, k);
		return;
	case KM_IMAGE:
		k->m.from = k->from;
		moves_on_image(s, n, k);
		return;
	case KM_PAGE_REQ:
	case KM_PAGE:
	case KM_PAGE_GONE:
		moves_on_page(s, n, k);
		return;
	case KM_EXITED:
	case KM_EXITED_ACK:
		exits_on_msg(s, n, k);
		return;
	case KM_DSM:
		memory_on_msg(s, n, k);
		return;
	default:
		return;
	}
}

/* ---- life and death ---- */

static void on_second(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];

	(void)a;
	(void)b;
	if (!sim_guard_kernel(s, node, payload))
		return;
	exits_tick(s, n);
	if (n->kernel_up)
		sim_later(s, n, 400 * NS_PER_MS, on_second, "upkeep", 0, 0);
}

static void on_restart(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];

	(void)a;
	(void)b;
	if (sim_guard_host(s, node, payload) && !n->kernel_up && n->started)
		kernel_start(s, n);
}

void kernel_die(struct sim *s, struct knode *n)
{
	s->stats.kernel_deaths++;
	world_trace(&s->w, 'i', n->id, "kernel dies", n->life);
	n->kernel_up = false;
	n->die_in = n->die_mem = 0;
	n->sweeping = false;
	moves_forget(s, n);
	records_forget(n);
	memory_forget(n);
	link_over(s, LINK_KERNELS, n, false);
	for (uint32_t i = 0; i < n->host.count; i++)
		n->host.tasks[i].locks &= ~(uint32_t)LOCK_TRACE;
	for (uint32_t i = 0; i < n->host.count; i++)
		check_runs(s, n->host.tasks[i].pid);
	sim_later(s, n, (20 + rand_below(&s->w.rng[RNG_FAULT], 400)) * NS_PER_MS, on_restart,
		  "kernel-up", 0, 0);
}

static void adopt_host(struct sim *s, struct knode *n)
{
	for (uint32_t i = n->host.count; i-- > 0;) {
		struct task *t = &n->host.tasks[i];

		if (t->kind == TASK_BUILD && !moves_target(n, t->pid))
			moves_drop(s, n, t->pid);
		else if (t->kind == TASK_STUB && !kernel_busy(n, t->pid))
			kernel_settle(s, n, t->pid);
		if (i > n->host.count)
			i = n->host.count;
	}
}

void kernel_start(struct sim *s, struct knode *n)
{
	n->kernel_up = true;
	n->life++;
	link_begin(s, LINK_KERNELS, n);
	if (n->lease_block == 0)
		n->want_block = true;
	records_adopt(s, n);
	sim_later(s, n, 10 * NS_PER_MS, on_second, "upkeep", 0, 0);
	echo_play(s, n);
	if (moves_adopt(s, n)) {
		adopt_host(s, n);
		memory_adopt(s, n);
		kernel_view_changed(s, n);
		kernel_sweep_soon(s, n);
	}
}
