/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves at a simulated node: the machines of migrate/core, what they ask of the host, their notes
 * in the store, and what a successor makes of those.
 */
#include "sim/kernel.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

#define PULLS 3 /* page requests of one move */

struct src_slot *moves_source(struct knode *n, gpid pid)
{
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (n->sources[i].used && n->sources[i].m.pid == pid)
			return &n->sources[i];
	}
	return NULL;
}

struct dst_slot *moves_target(struct knode *n, gpid pid)
{
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (n->targets[i].used && n->targets[i].m.pid == pid)
			return &n->targets[i];
	}
	return NULL;
}

bool kernel_busy(const struct knode *n, gpid pid)
{
	struct knode *m = (struct knode *)(uintptr_t)n;

	return moves_source(m, pid) || moves_target(m, pid);
}

static struct src_slot *source_free(struct knode *n)
{
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (!n->sources[i].used)
			return &n->sources[i];
	}
	return NULL;
}

static struct dst_slot *target_free(struct knode *n)
{
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (!n->targets[i].used)
			return &n->targets[i];
	}
	return NULL;
}

static void note_put(struct note_slot *slots, const struct mig_note *note, epoch_t peer_epoch)
{
	struct note_slot *at = NULL;

	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (slots[i].used && slots[i].note.pid == note->pid) {
			slots[i].note = *note;
			slots[i].peer_epoch = peer_epoch;
			return;
		}
		if (!slots[i].used && !at)
			at = &slots[i];
	}
	CHECK(at != NULL);
	at->used = true;
	at->note = *note;
	at->peer_epoch = peer_epoch;
}

static void note_drop(struct note_slot *slots, gpid pid)
{
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (slots[i].used && slots[i].note.pid == pid)
			slots[i].used = false;
	}
}

/* ---- effects at the host ---- */

static void ev_source(struct sim *s, struct knode *n, gpid pid, uint64_t move, struct mig_ev ev)
{
	struct src_slot *slot = moves_source(n, pid);

	if (slot && slot->m.move == move)
		moves_step_source(s, n, slot, &ev);
}

static void ev_target(struct sim *s, struct knode *n, gpid pid, uint64_t move, struct mig_ev ev)
{
	struct dst_slot *slot = moves_target(n, pid);

	if (slot && slot->m.move == move)
		moves_step_target(s, n, slot, &ev);
}

static void on_freeze(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct task *t;
	const struct proc *p;

	if (!sim_guard_kernel(s, node, payload))
		return;
	t = host_find(&n->host, (gpid)a);
	p = sim_proc(s, (gpid)a);
	if (!moves_source(n, (gpid)a))
		return;
	if (!t || t->kind != TASK_PROC || p->vforking) {
		ev_source(s, n, (gpid)a, b,
			  (struct mig_ev){ .kind = MIG_EV_FREEZE_FAILED, .err = -EBUSY });
		return;
	}
	t->locks |= LOCK_TRACE | LOCK_FREEZER;
	world_trace(w, 'b', node, "frozen", b);
	ev_source(s, n, (gpid)a, b, (struct mig_ev){ .kind = MIG_EV_FROZEN });
}

static void on_released(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	const struct task *t;

	if (!sim_guard_kernel(s, node, payload))
		return;
	t = host_find(&n->host, (gpid)a);
	ev_source(s, n, (gpid)a, b,
		  (struct mig_ev){ .kind = MIG_EV_RELEASED, .sigs = t ? t->pending : 0 });
}

/* Most threads stop at once; one that sleeps in the host's kernel takes its time. */
static uint64_t freeze_ns(struct sim *s)
{
	struct rand *r = &s->w.rng[RNG_HOST];

	return 80 * NS_PER_US + (rand_chance(r, 1, 16) ? rand_below(r, 700 * NS_PER_MS) : 0);
}

static void fx_thaw(struct sim *s, struct knode *n, gpid pid, uint64_t move)
{
	struct task *t = host_find(&n->host, pid);

	if (!t || t->kind != TASK_PROC)
		return;
	t->locks &= ~(uint32_t)(LOCK_TRACE | LOCK_FREEZER);
	world_trace(&s->w, 'e', n->id, "frozen", move);
	check_runs(s, pid);
}

static void fx_release(struct sim *s, struct knode *n, gpid pid, uint64_t move)
{
	struct task *t = host_find(&n->host, pid);

	if (t && t->kind == TASK_PROC) {
		check_lost_pages(s, n, pid);
		t->kind = TASK_STUB;
		t->locks &= LOCK_LEASE;
		t->missing = NODE_NONE;
		t->was_proc = true;
		world_trace(&s->w, 'e', n->id, "frozen", move);
	}
	sim_later(s, n, 200 * NS_PER_US, on_released, "released", (uint64_t)pid, move);
}

static void fx_image(struct sim *s, struct knode *n, const struct mig_source *m)
{
	const struct task *t = host_find(&n->host, m->pid);
	struct kmsg *k;

	if (!t || t->kind != TASK_PROC)
		return; /* killed in the freeze: the target hears nothing and gives up */
	k = pod_msg(n, KM_IMAGE, SIM_KIN_MAX, 0);
	k->m = (struct mig_msg){ .pid = m->pid, .epoch = m->epoch, .move = m->move };
	k->version = t->version;
	k->kin_count = stubs_list(n, m->pid, k->kin, SIM_KIN_MAX);
	pod_post(s, n, m->target, k);
	fault_handed(s, &s->nodes[m->target]);
}

static void on_build(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct dst_slot *slot;
	const struct task *t;
	struct mig_ev ev = { .kind = MIG_EV_BUILT };
	uint32_t life = n->life;

	if (!sim_guard_kernel(s, node, payload))
		return;
	slot = moves_target(n, (gpid)a);
	if (!slot || slot->m.move != b || slot->m.state != MIG_T_BUILDING)
		return;
	t = host_find(&n->host, (gpid)a);
	if (t && t->kind != TASK_STUB)
		ev.err = -EEXIST;
	else if (rand_chance(&w->rng[RNG_HOST], 1, 50))
		ev.err = -ENOSPC;
	else
		ev.err = stubs_arrive(s, n, (gpid)a, slot->kin, slot->kin_count);
	if (n->life != life || !n->kernel_up)
		return;
	if (ev.err < 0)
		ev.kind = MIG_EV_BUILD_FAILED;
	moves_step_target(s, n, slot, &ev);
}

static void on_load(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct kmsg *k = payload;
	struct dst_slot *slot;
	struct task *t;
	struct mig_ev ev = { .kind = MIG_EV_LOADED };
	int r;

	(void)b;
	/* The guard is in the message: boot and seq are those of this kernel's life. */
	if (!n->up || !n->kernel_up || n->boot != k->boot || n->life != k->seq)
		goto out;
	slot = moves_target(n, (gpid)a);
	if (!slot || slot->m.move != k->m.move || slot->m.state != MIG_T_READY)
		goto out;
	r = stubs_arrive(s, n, (gpid)a, k->kin, k->kin_count);
	if (!n->kernel_up || n->life != k->seq)
		goto out;
	stubs_reconcile(s, n, (gpid)a, k->kin, k->kin_count);
	if (!n->kernel_up || n->life != k->seq)
		goto out;
	t = host_find(&n->host, (gpid)a);
	if (r == 0 && t && t->kind == TASK_BUILD && !rand_chance(&w->rng[RNG_HOST], 1, 100)) {
		t->version = k->version;
	} else {
		ev.kind = MIG_EV_LOAD_FAILED;
		ev.err = -EIO;
	}
	moves_step_target(s, n, slot, &ev);
out:
	world_put(payload);
}

void moves_drop(struct sim *s, struct knode *n, gpid pid)
{
	struct task *t = host_find(&n->host, pid);

	if (t && t->kind == TASK_BUILD) {
		t->kind = TASK_STUB;
		t->locks &= LOCK_LEASE;
		kernel_settle(s, n, pid);
	}
	kernel_sweep_soon(s, n);
}

static void on_pull(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct dst_slot *slot;
	struct kmsg *k;

	if (!sim_guard_kernel(s, node, payload))
		return;
	slot = moves_target(n, (gpid)a);
	if (!slot || slot->m.move != b || slot->m.state != MIG_T_PULLING)
		return;
	k = pod_msg(n, KM_PAGE_REQ, 0, 0);
	k->m.pid = (gpid)a;
	k->m.move = b;
	k->seq = slot->pages_left;
	pod_post(s, n, slot->m.source, k);
	sim_later(s, n, 100 * NS_PER_MS, on_pull, "pull-again", a, b);
}

static void on_ended_late(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);

	if (!sim_guard_kernel(s, node, payload))
		return;
	ev_target(s, &s->nodes[node], (gpid)a, b, (struct mig_ev){ .kind = MIG_EV_EXIT });
}

static void fx_resume(struct sim *s, struct knode *n, struct dst_slot *slot)
{
	struct task *t = host_find(&n->host, slot->m.pid);

	if (!t || (t->kind != TASK_BUILD && t->kind != TASK_PROC)) {
		sim_later(s, n, 1000, on_ended_late, "ended", (uint64_t)slot->m.pid, slot->m.move);
		return;
	}
	if (t->kind == TASK_BUILD) {
		t->kind = TASK_PROC;
		t->missing = slot->m.source;
		t->pending = 0;
		t->was_proc = true;
	}
	t->locks &= LOCK_LEASE;
	slot->pages_left = t->missing ? PULLS : 0;
	check_runs(s, slot->m.pid);
	sim_later(s, n, 1000, on_pull, "pull", (uint64_t)slot->m.pid, slot->m.move);
}

static void fx_kill(struct sim *s, struct knode *n, gpid pid)
{
	const struct task *t = host_find(&n->host, pid);
	struct proc *p = sim_proc(s, pid);

	if (!t || t->kind != TASK_PROC || !p->alive)
		return;
	exits_died(s, n, pid, SIM_STATUS_KILL, true);
}

static void arm(struct sim *s, struct knode *n, gpid pid, uint64_t move, uint64_t wake_ns);

/* ---- stepping the machines ---- */

static uint32_t cov_index(const struct mig_ev *ev)
{
	return ev->kind == MIG_EV_MSG ? MIG_EV_COUNT + ev->msg->kind : ev->kind;
}

/* Returns false when the kernel has died on the way. */
static bool source_effects(struct sim *s, struct knode *n, struct src_slot *slot,
			   const struct mig_out *out)
{
	for (uint32_t i = 0; i < out->count; i++) {
		const struct mig_fx *fx = &out->fx[i];

		if (kernel_fault(s, n))
			return false;
		switch (fx->kind) {
		case MIG_FX_SEND:
			if (fx->msg.kind == MIG_PREPARE) {
				struct kmsg *k = pod_msg(n, KM_MIG, SIM_KIN_MAX, 0);

				k->m = fx->msg;
				k->kin_count = stubs_list(n, slot->m.pid, k->kin, SIM_KIN_MAX);
				pod_post(s, n, fx->to, k);
			} else {
				kernel_send(s, n, fx->to, &fx->msg);
			}
			break;
		case MIG_FX_NOTE:
			note_put(n->source_notes, &fx->note, slot->peer_epoch);
			break;
		case MIG_FX_UNNOTE:
			note_drop(n->source_notes, slot->m.pid);
			break;
		case MIG_FX_FREEZE:
			sim_later(s, n, freeze_ns(s), on_freeze, "freeze", (uint64_t)slot->m.pid,
				  slot->m.move);
			break;
		case MIG_FX_THAW:
			fx_thaw(s, n, slot->m.pid, slot->m.move);
			break;
		case MIG_FX_IMAGE:
			fx_image(s, n, &slot->m);
			break;
		case MIG_FX_RELEASE:
			fx_release(s, n, slot->m.pid, slot->m.move);
			break;
		case MIG_FX_DONE:
			slot->used = false;
			s->stats.moves_done += fx->err == 0;
			s->stats.moves_failed += fx->err != 0;
			world_trace(&s->w, 'e', n->id, "move", slot->m.move);
			kernel_settle(s, n, slot->m.pid);
			kernel_sweep_soon(s, n);
			break;
		default:
			CHECK(!"an effect of the other end");
		}
	}
	return true;
}

static bool target_effects(struct sim *s, struct knode *n, struct dst_slot *slot,
			   const struct mig_out *out)
{
	gpid pid = slot->m.pid;

	for (uint32_t i = 0; i < out->count; i++) {
		const struct mig_fx *fx = &out->fx[i];
		struct task *t;

		if (kernel_fault(s, n))
			return false;
		switch (fx->kind) {
		case MIG_FX_SEND:
			kernel_send(s, n, fx->to, &fx->msg);
			break;
		case MIG_FX_NOTE:
			note_put(n->target_notes, &fx->note, 0);
			break;
		case MIG_FX_UNNOTE:
			note_drop(n->target_notes, pid);
			break;
		case MIG_FX_BUILD:
			sim_later(s, n, NS_PER_MS, on_build, "build", (uint64_t)pid, slot->m.move);
			break;
		case MIG_FX_DROP:
			moves_drop(s, n, pid);
			break;
		case MIG_FX_RESUME:
			fx_resume(s, n, slot);
			break;
		case MIG_FX_KILL:
			fx_kill(s, n, pid);
			break;
		case MIG_FX_RAISE:
			t = host_find(&n->host, pid);
			if (t && t->kind == TASK_PROC)
				t->pending |= fx->sigs;
			break;
		case MIG_FX_DONE:
			slot->used = false;
			kernel_settle(s, n, pid);
			kernel_sweep_soon(s, n);
			break;
		default:
			CHECK(!"an effect of the other end");
		}
	}
	return true;
}

void moves_step_source(struct sim *s, struct knode *n, struct src_slot *slot, struct mig_ev *ev)
{
	struct mig_out out;
	uint32_t state = slot->m.state;

	ev->now_ns = world_local(&s->w, n->id);
	if (migrate_source_step(&slot->m, ev, &out) == 0 && s->cov)
		s->cov->source[state][cov_index(ev)]++;
	if (source_effects(s, n, slot, &out) && slot->used)
		arm(s, n, slot->m.pid, slot->m.move, slot->m.wake_ns);
}

void moves_step_target(struct sim *s, struct knode *n, struct dst_slot *slot, struct mig_ev *ev)
{
	struct mig_out out;
	uint32_t state = slot->m.state;

	ev->now_ns = world_local(&s->w, n->id);
	if (migrate_target_step(&slot->m, ev, &out) == 0 && s->cov)
		s->cov->target[state][cov_index(ev)]++;
	if (target_effects(s, n, slot, &out) && slot->used)
		arm(s, n, slot->m.pid, slot->m.move, slot->m.wake_ns);
}

static void on_tick(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	uint64_t now_ns = world_local(w, node);
	struct src_slot *src;
	struct dst_slot *dst;

	if (!sim_guard_kernel(s, node, payload))
		return;
	src = moves_source(n, (gpid)a);
	dst = moves_target(n, (gpid)a);
	if (src && src->m.move == b && src->m.wake_ns && src->m.wake_ns <= now_ns)
		moves_step_source(s, n, src, &(struct mig_ev){ .kind = MIG_EV_TICK });
	else if (dst && dst->m.move == b && dst->m.wake_ns && dst->m.wake_ns <= now_ns)
		moves_step_target(s, n, dst, &(struct mig_ev){ .kind = MIG_EV_TICK });
}

static void arm(struct sim *s, struct knode *n, gpid pid, uint64_t move, uint64_t wake_ns)
{
	if (wake_ns)
		sim_later(s, n, world_when(&s->w, n->id, wake_ns) - s->w.now_ns, on_tick, "tick",
			  (uint64_t)pid, move);
}

/* ---- messages ---- */

void moves_on_prepare(struct sim *s, struct knode *n, const struct kmsg *k)
{
	const struct mig_msg *m = &k->m;
	struct dst_slot *slot = moves_target(n, m->pid);
	const struct task *t = host_find(&n->host, m->pid);
	const struct view_block *v = &n->blocks[sim_block(m->pid)];
	struct mig_msg refusal = migrate_refuse(m, -EBUSY);
	int r;
	struct mig_ev ev = { .kind = MIG_EV_START };

	if (slot && slot->m.move == m->move) {
		ev.kind = MIG_EV_MSG;
		ev.msg = m;
		moves_step_target(s, n, slot, &ev);
		return;
	}
	if (slot || moves_source(n, m->pid) || (t && t->kind != TASK_STUB) || n->lease_frozen ||
	    exits_tomb(s, n, m->pid)->dead || exits_pending(n, m->pid)) {
		s->stats.moves_refused++;
		kernel_send(s, n, m->from, &refusal);
		return;
	}
	slot = target_free(n);
	r = slot ? migrate_target_init(&slot->m, &s->mig, n->id, v->authority,
				       MAX(v->aterm, n->fences[sim_block(m->pid)]), m)
		 : -EBUSY;
	if (r < 0) {
		s->stats.moves_refused++;
		refusal.err = r;
		kernel_send(s, n, m->from, &refusal);
		return;
	}
	slot->used = true;
	slot->kin_count = k->kin_count;
	memcpy(slot->kin, k->kin, k->kin_count * sizeof(*k->kin));
	moves_step_target(s, n, slot, &ev);
}

void moves_on_image(struct sim *s, struct knode *n, struct kmsg *k)
{
	struct dst_slot *slot = moves_target(n, k->m.pid);
	struct mig_msg reply = k->m;

	if (!slot || slot->m.move != k->m.move) {
		reply.kind = MIG_DROPPED;
		kernel_send(s, n, k->from, &reply);
		return;
	}
	if (slot->m.state != MIG_T_READY)
		return;
	k->boot = n->boot;
	k->seq = n->life;
	world_in(&s->w, 150 * NS_PER_US + rand_below(&s->w.rng[RNG_HOST], 400000), on_load, "load",
		 n->id, (uint64_t)k->m.pid, 0, world_get(k));
}

void moves_on_page(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct dst_slot *slot = moves_target(n, k->m.pid);
	struct src_slot *src = moves_source(n, k->m.pid);
	struct task *t = host_find(&n->host, k->m.pid);
	struct mig_ev ev = { .kind = MIG_EV_PULLED };

	if (k->kind == KM_PAGE_REQ) {
		bool here = src && src->m.move == k->m.move && t && t->kind == TASK_PROC;
		struct kmsg *a = pod_msg(n, here ? KM_PAGE : KM_PAGE_GONE, 0, 0);

		a->m = k->m;
		a->seq = k->seq;
		pod_post(s, n, k->from, a);
		return;
	}
	if (!slot || slot->m.move != k->m.move || slot->m.state != MIG_T_PULLING)
		return;
	if (k->kind == KM_PAGE_GONE) {
		ev.kind = MIG_EV_PULL_LOST;
		moves_step_target(s, n, slot, &ev);
		return;
	}
	if (k->seq != slot->pages_left)
		return;
	if (slot->pages_left > 0 && --slot->pages_left > 0) {
		sim_later(s, n, 1000, on_pull, "pull", (uint64_t)k->m.pid, k->m.move);
		return;
	}
	if (t)
		t->missing = NODE_NONE;
	moves_step_target(s, n, slot, &ev);
}

/* ---- life and death ---- */

void moves_forget(struct sim *s, struct knode *n)
{
	for (uint32_t i = 0; i < SIM_MACHINES && s->cov; i++) {
		if (n->sources[i].used)
			s->cov->source_death[n->sources[i].m.state]++;
		if (n->targets[i].used)
			s->cov->target_death[n->targets[i].m.state]++;
	}
	memset(n->sources, 0, sizeof(n->sources));
	memset(n->targets, 0, sizeof(n->targets));
}

void moves_node_dead(struct sim *s, struct knode *n, node_id dead)
{
	struct mig_ev ev = { .kind = MIG_EV_NODE_DEAD, .node = dead };
	uint32_t life = n->life;

	for (uint32_t i = 0; i < SIM_MACHINES && n->kernel_up && n->life == life; i++) {
		if (n->sources[i].used)
			moves_step_source(s, n, &n->sources[i], &ev);
	}
	for (uint32_t i = 0; i < SIM_MACHINES && n->kernel_up && n->life == life; i++) {
		if (n->targets[i].used)
			moves_step_target(s, n, &n->targets[i], &ev);
	}
}

void moves_image_failed(struct sim *s, struct knode *n, const struct kmsg *k)
{
	ev_source(s, n, k->m.pid, k->m.move,
		  (struct mig_ev){ .kind = MIG_EV_IMAGE_FAILED, .err = -EIO });
}

/* What is not whole by now never will be; of what may be the record tells. */
void moves_link_down(struct sim *s, struct knode *n, node_id peer)
{
	struct mig_ev ev = { .kind = MIG_EV_CANCEL, .err = -EHOSTDOWN };
	uint32_t life = n->life;

	for (uint32_t i = 0; i < SIM_MACHINES && n->kernel_up && n->life == life; i++) {
		struct src_slot *slot = &n->sources[i];

		if (slot->used && slot->m.target == peer && slot->m.state == MIG_S_HANDED)
			moves_step_source(s, n, slot, &ev);
	}
	for (uint32_t i = 0; i < SIM_MACHINES && n->kernel_up && n->life == life; i++) {
		struct dst_slot *slot = &n->targets[i];

		if (slot->used && slot->m.source == peer &&
		    (slot->m.state == MIG_T_BUILDING || slot->m.state == MIG_T_READY))
			moves_step_target(s, n, slot, &ev);
	}
}

/* The target may have died while nobody was here to hear of it. */
static bool adopt_told(struct sim *s, struct knode *n, struct src_slot *slot)
{
	struct mig_ev ev = { .kind = MIG_EV_NODE_DEAD, .node = slot->m.target };
	const struct view_node *v = &n->nodes[slot->m.target];
	uint32_t life = n->life;

	if (slot->used && (v->epoch != slot->peer_epoch || !v->alive))
		moves_step_source(s, n, slot, &ev);
	return n->kernel_up && n->life == life;
}

static bool adopt_sources(struct sim *s, struct knode *n)
{
	uint64_t now_ns = world_local(&s->w, n->id);
	struct mig_out out;

	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		struct mig_note note = n->source_notes[i].note;
		struct src_slot *slot = source_free(n);

		if (!n->source_notes[i].used)
			continue;
		CHECK(slot != NULL);
		if (migrate_source_adopt(&slot->m, &s->mig, n->id, &note, now_ns, &out) < 0) {
			world_violate(&s->w, "M0", "n%u: note of %d is no note", n->id, note.pid);
			return false;
		}
		slot->used = true;
		slot->peer_epoch = n->source_notes[i].peer_epoch;
		if (!source_effects(s, n, slot, &out))
			return false;
		if (slot->used)
			arm(s, n, slot->m.pid, slot->m.move, slot->m.wake_ns);
		if (!adopt_told(s, n, slot))
			return false;
	}
	return true;
}

static bool adopt_targets(struct sim *s, struct knode *n)
{
	uint64_t now_ns = world_local(&s->w, n->id);
	struct mig_out out;

	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		struct mig_note note = n->target_notes[i].note;
		struct dst_slot *slot = target_free(n);

		if (!n->target_notes[i].used)
			continue;
		CHECK(slot != NULL);
		if (migrate_target_adopt(&slot->m, &s->mig, n->id, &note, now_ns, &out) < 0) {
			world_violate(&s->w, "M0", "n%u: note of %d is no note", n->id, note.pid);
			return false;
		}
		slot->used = true;
		if (!target_effects(s, n, slot, &out))
			return false;
		if (slot->used)
			arm(s, n, slot->m.pid, slot->m.move, slot->m.wake_ns);
	}
	return true;
}

/* What was held for a target that noted nothing goes back to its stub. */
bool moves_adopt(struct sim *s, struct knode *n)
{
	if (!adopt_sources(s, n) || !adopt_targets(s, n))
		return false;
	for (uint32_t i = n->host.count; i-- > 0;) {
		gpid pid = n->host.tasks[i].pid;

		if (exits_tomb(s, n, pid)->dead && !kernel_elsewhere(s, n, pid))
			return false;
		i = MIN(i, n->host.count);
	}
	return true;
}

void kernel_ended(struct sim *s, struct knode *n, gpid pid)
{
	struct mig_ev ev = { .kind = MIG_EV_EXIT };
	struct src_slot *src = moves_source(n, pid);
	struct dst_slot *dst = moves_target(n, pid);

	if (src)
		moves_step_source(s, n, src, &ev);
	else if (dst)
		moves_step_target(s, n, dst, &ev);
}

bool kernel_elsewhere(struct sim *s, struct knode *n, gpid pid)
{
	struct mig_ev ev = { .kind = MIG_EV_ELSEWHERE };
	struct src_slot *src = moves_source(n, pid);
	struct dst_slot *dst = moves_target(n, pid);
	uint32_t life = n->life;

	if (src)
		moves_step_source(s, n, src, &ev);
	else if (dst)
		moves_step_target(s, n, dst, &ev);
	return n->kernel_up && n->life == life;
}

bool kernel_move(struct sim *s, struct knode *n, gpid pid, node_id to)
{
	const struct view_block *v = &n->blocks[sim_block(pid)];
	uint64_t move = rand_next(&s->w.rng[RNG_CORE]) | 1;
	struct src_slot *slot = source_free(n);
	const struct task *t = host_find(&n->host, pid);

	if (!slot || kernel_busy(n, pid) || !t || t->kind != TASK_PROC || t->missing ||
	    exits_pending(n, pid))
		return false;
	migrate_source_init(&slot->m, &s->mig, pid, n->id, to, v->authority,
			    MAX(v->aterm, n->fences[sim_block(pid)]), move);
	slot->used = true;
	slot->peer_epoch = n->nodes[to].epoch;
	s->stats.moves_asked++;
	world_trace(&s->w, 'b', n->id, "move", move);
	moves_step_source(s, n, slot, &(struct mig_ev){ .kind = MIG_EV_START });
	return true;
}
