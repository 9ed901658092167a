/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest kernel of a simulated node: what lies between the cores and the host.
 *
 * Every effect of a core is carried out in order, and the kernel may die before any of them
 * (kernel_fault); then the rest does not happen and the successor finds the store.
 */
#include "sim/cluster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define PULLS 3 /* page requests of one move */

static void target_step(struct sim *s, struct knode *n, struct dst_slot *d, struct mig_ev *ev);
static void source_step(struct sim *s, struct knode *n, struct src_slot *d, struct mig_ev *ev);

bool kernel_ready(const struct knode *n)
{
	return n->up && n->kernel_up && n->epoch != 0 && !n->lease_frozen;
}

static struct src_slot *source_find(struct knode *n, gpid pid)
{
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (n->sources[i].used && n->sources[i].m.pid == pid)
			return &n->sources[i];
	}
	return NULL;
}

static struct dst_slot *target_find(struct knode *n, gpid pid)
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

	return source_find(m, pid) || target_find(m, pid);
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

static void note_put(struct note_slot *slots, const struct mig_note *note)
{
	struct note_slot *at = NULL;

	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (slots[i].used && slots[i].note.pid == note->pid) {
			slots[i].note = *note;
			return;
		}
		if (!slots[i].used && !at)
			at = &slots[i];
	}
	CHECK(at != NULL);
	at->used = true;
	at->note = *note;
}

static void note_drop(struct note_slot *slots, gpid pid)
{
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (slots[i].used && slots[i].note.pid == pid)
			slots[i].used = false;
	}
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

/* ---- kin ---- */

static uint32_t kin_table(struct knode *n, struct kin_task *t, uint32_t max)
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
static uint32_t kin_describe(struct knode *n, gpid pid, struct kin_entry *out, uint32_t max)
{
	uint32_t n_tasks = kin_table(n, kin_scratch, KIN_TABLE);
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

static void kin_drop(struct sim *s, struct knode *n, gpid pid)
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

static void kernel_sweep(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
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
	count = kin_table(n, kin_scratch, KIN_TABLE);
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
		kin_drop(s, n, steps[i].pid);
	}
}

void kernel_sweep_soon(struct sim *s, struct knode *n)
{
	if (n->sweeping || !n->kernel_up)
		return;
	n->sweeping = true;
	sim_later(s, n, 5 * NS_PER_MS, kernel_sweep, "sweep", 0, 0);
}

/* Who is known here to be dead is no kin: its children are pid 1's. */
static void kin_merge(struct sim *s, struct knode *n, struct kin_task *t, uint32_t *count, gpid pid,
		      struct kin_entry *list, uint32_t list_n)
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
static int kin_do(struct sim *s, struct knode *n, const struct kin_step *step)
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
		kin_drop(s, n, step->pid);
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
static int kin_arrive(struct sim *s, struct knode *n, gpid pid, struct kin_entry *list,
		      uint32_t list_n)
{
	static struct kin_step steps[KIN_TABLE];
	uint32_t count = kin_table(n, kin_scratch, KIN_TABLE);
	gpid bad = 0;
	int steps_n, r = 0;

	kin_merge(s, n, kin_scratch, &count, pid, list, list_n);
	steps_n = kin_plan_arrive(kin_scratch, count, pid, steps, KIN_TABLE, &bad);
	if (steps_n < 0)
		return steps_n;
	for (int i = 0; i < steps_n && r == 0; i++) {
		if (kernel_fault(s, n))
			return -EINTR;
		r = kin_do(s, n, &steps[i]);
	}
	for (uint32_t i = 0; i < list_n && r == 0; i++) {
		struct task *t = list[i].pid ? host_find(&n->host, list[i].pid) : NULL;

		if (t && list[i].zombie && t->kind == TASK_STUB)
			host_die(&n->host, t->pid, list[i].status);
	}
	return r;
}

/* Children that the source does not tell of have been waited for there. */
static void kin_reconcile(struct sim *s, struct knode *n, gpid pid, const struct kin_entry *list,
			  uint32_t list_n)
{
	for (uint32_t i = n->host.count; i-- > 0;) {
		struct task *t = &n->host.tasks[i];
		bool told = false;

		if (t->ppid != pid || t->kind == TASK_PROC || t->kind == TASK_BUILD)
			continue;
		for (uint32_t j = 0; j < list_n; j++)
			told |= list[j].pid == t->pid;
		if (!told)
			kin_drop(s, n, t->pid);
	}
}

/* ---- effects at the host ---- */

static void ev_source(struct sim *s, struct knode *n, gpid pid, uint64_t move, struct mig_ev ev)
{
	struct src_slot *slot = source_find(n, pid);

	if (slot && slot->m.move == move)
		source_step(s, n, slot, &ev);
}

static void ev_target(struct sim *s, struct knode *n, gpid pid, uint64_t move, struct mig_ev ev)
{
	struct dst_slot *slot = target_find(n, pid);

	if (slot && slot->m.move == move)
		target_step(s, n, slot, &ev);
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
	if (!source_find(n, (gpid)a))
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
	k->kin_count = kin_describe(n, m->pid, k->kin, SIM_KIN_MAX);
	pod_post(s, n, m->target, k);
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
	slot = target_find(n, (gpid)a);
	if (!slot || slot->m.move != b || slot->m.state != MIG_T_BUILDING)
		return;
	t = host_find(&n->host, (gpid)a);
	if (t && t->kind != TASK_STUB)
		ev.err = -EEXIST;
	else if (rand_chance(&w->rng[RNG_HOST], 1, 50))
		ev.err = -ENOSPC;
	else
		ev.err = kin_arrive(s, n, (gpid)a, slot->kin, slot->kin_count);
	if (n->life != life || !n->kernel_up)
		return;
	if (ev.err < 0)
		ev.kind = MIG_EV_BUILD_FAILED;
	target_step(s, n, slot, &ev);
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
	slot = target_find(n, (gpid)a);
	if (!slot || slot->m.move != k->m.move || slot->m.state != MIG_T_READY)
		goto out;
	r = kin_arrive(s, n, (gpid)a, k->kin, k->kin_count);
	if (!n->kernel_up || n->life != k->seq)
		goto out;
	kin_reconcile(s, n, (gpid)a, k->kin, k->kin_count);
	t = host_find(&n->host, (gpid)a);
	if (r == 0 && t && t->kind == TASK_BUILD && !rand_chance(&w->rng[RNG_HOST], 1, 100)) {
		t->version = k->version;
	} else {
		ev.kind = MIG_EV_LOAD_FAILED;
		ev.err = -EIO;
	}
	target_step(s, n, slot, &ev);
out:
	world_put(payload);
}

static void fx_drop(struct sim *s, struct knode *n, gpid pid)
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
	slot = target_find(n, (gpid)a);
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
				k->kin_count = kin_describe(n, slot->m.pid, k->kin, SIM_KIN_MAX);
				pod_post(s, n, fx->to, k);
			} else {
				kernel_send(s, n, fx->to, &fx->msg);
			}
			break;
		case MIG_FX_NOTE:
			note_put(n->source_notes, &fx->note);
			break;
		case MIG_FX_UNNOTE:
			note_drop(n->source_notes, slot->m.pid);
			break;
		case MIG_FX_FREEZE:
			sim_later(s, n, 80 * NS_PER_US, on_freeze, "freeze", (uint64_t)slot->m.pid,
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
			note_put(n->target_notes, &fx->note);
			break;
		case MIG_FX_UNNOTE:
			note_drop(n->target_notes, pid);
			break;
		case MIG_FX_BUILD:
			sim_later(s, n, NS_PER_MS, on_build, "build", (uint64_t)pid, slot->m.move);
			break;
		case MIG_FX_DROP:
			fx_drop(s, n, pid);
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

static void source_step(struct sim *s, struct knode *n, struct src_slot *slot, struct mig_ev *ev)
{
	struct mig_out out;
	uint32_t state = slot->m.state;

	ev->now_ns = world_local(&s->w, n->id);
	if (migrate_source_step(&slot->m, ev, &out) == 0 && s->cov)
		s->cov->source[state][cov_index(ev)]++;
	if (source_effects(s, n, slot, &out) && slot->used)
		arm(s, n, slot->m.pid, slot->m.move, slot->m.wake_ns);
}

static void target_step(struct sim *s, struct knode *n, struct dst_slot *slot, struct mig_ev *ev)
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
	src = source_find(n, (gpid)a);
	dst = target_find(n, (gpid)a);
	if (src && src->m.move == b && src->m.wake_ns && src->m.wake_ns <= now_ns)
		source_step(s, n, src, &(struct mig_ev){ .kind = MIG_EV_TICK });
	else if (dst && dst->m.move == b && dst->m.wake_ns && dst->m.wake_ns <= now_ns)
		target_step(s, n, dst, &(struct mig_ev){ .kind = MIG_EV_TICK });
}

static void arm(struct sim *s, struct knode *n, gpid pid, uint64_t move, uint64_t wake_ns)
{
	if (wake_ns)
		sim_later(s, n, world_when(&s->w, n->id, wake_ns) - s->w.now_ns, on_tick, "tick",
			  (uint64_t)pid, move);
}

/* ---- authority ---- */

static void auth_keep(struct knode *n, uint32_t b, gpid pid)
{
	struct block *live = n->auth[b];

	if (!n->kept[b]) {
		n->kept[b] = calloc(1, sizeof(struct block));
		CHECK(n->kept[b] != NULL);
		pid = 0;
	}
	if (pid != 0)
		n->kept[b]->recs[pid - live->auth.first] = live->recs[pid - live->auth.first];
	else
		*n->kept[b] = *live;
}

static bool auth_effects(struct sim *s, struct knode *n, uint32_t b, const struct mig_auth_out *out)
{
	for (uint32_t i = 0; i < out->count; i++) {
		const struct mig_auth_fx *fx = &out->fx[i];

		if (kernel_fault(s, n))
			return false;
		switch (fx->kind) {
		case MIG_AUTH_FX_SEND:
			kernel_send(s, n, fx->to, &fx->msg);
			break;
		case MIG_AUTH_FX_REMEMBER:
			auth_keep(n, b, fx->pid);
			break;
		case MIG_AUTH_FX_REMEMBER_ALL:
			auth_keep(n, b, 0);
			s->stats.rebuilds += n->auth[b]->auth.state == MIG_A_SERVING;
			break;
		case MIG_AUTH_FX_DIED:
			exits_died(s, n, fx->pid, SIM_STATUS_KILL, false);
			break;
		default:
			break;
		}
	}
	return true;
}

static void on_auth_tick(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct mig_auth_out out;
	uint32_t cursor = 0;

	(void)b;
	if (!sim_guard_kernel(s, node, payload) || !n->auth[a])
		return;
	do {
		migrate_auth_tick(&n->auth[a]->auth, world_local(w, node), &cursor, &out);
		if (!auth_effects(s, n, (uint32_t)a, &out))
			return;
	} while (out.count > 0);
	if (n->auth[a]->auth.state == MIG_A_REBUILDING)
		sim_later(s, n, 200 * NS_PER_MS, on_auth_tick, "fence-again", a, 0);
}

static struct block *block_new(struct knode *n, uint32_t b, uint64_t aterm)
{
	struct block *blk = calloc(1, sizeof(*blk));

	CHECK(blk != NULL);
	blk->used = true;
	migrate_auth_init(&blk->auth, n->id, (gpid)(b * NAMING_BLOCK_PIDS), SIM_BLOCK_USED, aterm,
			  blk->recs, blk->asked, SIM_NODES_MAX);
	return blk;
}

static void auth_takeover(struct sim *s, struct knode *n, uint32_t b)
{
	node_id live[SIM_NODES_MAX];
	uint32_t count = 0;
	int r;

	if (!n->auth[b])
		n->auth[b] = block_new(n, b, n->blocks[b].aterm);
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		if (n->nodes[id].alive)
			live[count++] = id;
	}
	r = migrate_auth_takeover(&n->auth[b]->auth, n->blocks[b].aterm, live, count,
				  100 * NS_PER_MS, world_local(&s->w, n->id));
	CHECK(r == 0);
	auth_keep(n, b, 0);
	sim_later(s, n, 1000, on_auth_tick, "fence", b, 0);
}

void kernel_view_changed(struct sim *s, struct knode *n)
{
	for (uint32_t b = 1; b < SIM_BLOCKS_MAX && n->kernel_up; b++) {
		const struct view_block *v = &n->blocks[b];

		if (v->authority != n->id)
			continue;
		if (b == n->lease_block && !n->auth[b] && v->aterm == 1) {
			n->auth[b] = block_new(n, b, 1);
			auth_keep(n, b, 0);
		} else if (!n->auth[b] ? v->aterm > 1 : n->auth[b]->auth.aterm < v->aterm) {
			auth_takeover(s, n, b);
		}
	}
}

/* Births need a block that is ours to give from; asks for one when there is none. */
gpid kernel_birth(struct sim *s, struct knode *n)
{
	struct block *blk = n->lease_block ? n->auth[n->lease_block] : NULL;
	struct mig_auth_out out;
	gpid pid;

	if (!blk || blk->auth.state != MIG_A_SERVING || blk->auth.aterm != 1 ||
	    n->cursor == SIM_BLOCK_USED) {
		n->want_seq |= 1;
		return 0;
	}
	pid = blk->auth.first + (gpid)n->cursor++;
	migrate_auth_born(&blk->auth, pid, &out);
	return auth_effects(s, n, n->lease_block, &out) ? pid : 0;
}

static void all_node_dead(struct sim *s, struct knode *n, node_id dead)
{
	struct mig_ev ev = { .kind = MIG_EV_NODE_DEAD, .node = dead };
	uint32_t life = n->life;

	for (uint32_t i = 0; i < SIM_MACHINES && n->kernel_up && n->life == life; i++) {
		if (n->sources[i].used)
			source_step(s, n, &n->sources[i], &ev);
	}
	for (uint32_t i = 0; i < SIM_MACHINES && n->kernel_up && n->life == life; i++) {
		if (n->targets[i].used)
			target_step(s, n, &n->targets[i], &ev);
	}
}

void kernel_node_dead(struct sim *s, struct knode *n, node_id dead)
{
	uint32_t life = n->life;

	/* Records first: a machine that asks afterwards hears the new ones. */
	for (uint32_t b = 0; b < SIM_BLOCKS_MAX; b++) {
		struct mig_auth_out out;
		uint32_t cursor = 0;
		bool more = n->auth[b] != NULL;

		while (more) {
			more = migrate_auth_node_dead(&n->auth[b]->auth, dead, &cursor, &out);
			if (!auth_effects(s, n, b, &out))
				return;
		}
	}
	if (n->kernel_up && n->life == life)
		all_node_dead(s, n, dead);
}

static void auth_msg(struct sim *s, struct knode *n, const struct mig_msg *m)
{
	uint32_t b = sim_block(m->pid);
	struct mig_auth_out out;
	uint32_t state;

	if (m->pid <= 0 || b >= SIM_BLOCKS_MAX || !n->auth[b])
		return;
	state = n->auth[b]->auth.state;
	if (migrate_auth_step(&n->auth[b]->auth, m, &out) == 0 && s->cov)
		s->cov->auth[state][m->kind]++;
	auth_effects(s, n, b, &out);
}

/* ---- fence and stand ---- */

static void stand_add(struct kmsg *k, uint32_t max, struct mig_stand st)
{
	if (st.stance == MIG_FREE)
		return;
	for (uint32_t i = 0; i < k->stand_count; i++) {
		if (k->stands[i].pid == st.pid)
			return;
	}
	CHECK(k->stand_count < max);
	k->stands[k->stand_count++] = st;
}

static void stand_all(struct knode *n, uint32_t b, struct kmsg *k, uint32_t max)
{
	/* What has ended here is ours until everybody knows. */
	for (uint32_t i = 0; i < SIM_EXITS_MAX; i++) {
		const struct exit_slot *x = &n->exits[i];

		if (x->used && x->ours && !x->reaped && sim_block(x->pid) == b)
			stand_add(k, max, (struct mig_stand){ x->pid, MIG_RUNS, 0, 0 });
	}
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (n->sources[i].used && sim_block(n->sources[i].m.pid) == b)
			stand_add(k, max, migrate_source_stand(&n->sources[i].m));
		if (n->targets[i].used && sim_block(n->targets[i].m.pid) == b)
			stand_add(k, max, migrate_target_stand(&n->targets[i].m));
	}
	for (uint32_t i = 0; i < n->host.count; i++) {
		const struct task *t = &n->host.tasks[i];

		if (t->kind == TASK_PROC && sim_block(t->pid) == b && !kernel_busy(n, t->pid))
			stand_add(k, max, (struct mig_stand){ t->pid, MIG_RUNS, 0, 0 });
	}
}

static void on_fence(struct sim *s, struct knode *n, const struct mig_msg *m)
{
	uint32_t b = sim_block(m->pid), max = SIM_BLOCK_USED;
	struct mig_ev ev = { .kind = MIG_EV_AUTHORITY, .node = m->from, .aterm = m->aterm };
	struct kmsg *k;
	uint32_t life = n->life;

	if (b >= SIM_BLOCKS_MAX || m->aterm < n->fences[b])
		return;
	s->stats.fences++;
	n->fences[b] = m->aterm;
	if (m->aterm > n->blocks[b].aterm)
		n->blocks[b] = (struct view_block){ m->from, m->aterm };
	auth_msg(s, n, m);
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (n->kernel_up && n->life == life && n->sources[i].used &&
		    sim_block(n->sources[i].m.pid) == b)
			source_step(s, n, &n->sources[i], &ev);
		if (n->kernel_up && n->life == life && n->targets[i].used &&
		    sim_block(n->targets[i].m.pid) == b)
			target_step(s, n, &n->targets[i], &ev);
	}
	if (!n->kernel_up || n->life != life || kernel_fault(s, n))
		return;
	k = pod_msg(n, KM_MIG, 0, max);
	k->m = (struct mig_msg){
		.kind = MIG_STAND, .from = n->id, .pid = m->pid, .aterm = m->aterm
	};
	stand_all(n, b, k, max);
	k->m.stands = k->stands;
	k->m.stand_count = k->stand_count;
	pod_post(s, n, m->from, k);
}

/* ---- messages ---- */

static void on_prepare(struct sim *s, struct knode *n, const struct kmsg *k)
{
	const struct mig_msg *m = &k->m;
	struct dst_slot *slot = target_find(n, m->pid);
	const struct task *t = host_find(&n->host, m->pid);
	const struct view_block *v = &n->blocks[sim_block(m->pid)];
	struct mig_msg refusal = migrate_refuse(m, -EBUSY);
	struct mig_ev ev = { .kind = MIG_EV_START };

	if (slot && slot->m.move == m->move) {
		ev.kind = MIG_EV_MSG;
		ev.msg = m;
		target_step(s, n, slot, &ev);
		return;
	}
	if (slot || source_find(n, m->pid) || (t && t->kind != TASK_STUB) || n->lease_frozen ||
	    exits_tomb(s, n, m->pid)->dead || exits_pending(n, m->pid)) {
		s->stats.moves_refused++;
		kernel_send(s, n, m->from, &refusal);
		return;
	}
	slot = target_free(n);
	if (!slot || migrate_target_init(&slot->m, &s->mig, n->id, v->authority,
					 MAX(v->aterm, n->fences[sim_block(m->pid)]), m) < 0) {
		kernel_send(s, n, m->from, &refusal);
		return;
	}
	slot->used = true;
	slot->kin_count = k->kin_count;
	memcpy(slot->kin, k->kin, k->kin_count * sizeof(*k->kin));
	target_step(s, n, slot, &ev);
}

static void on_mig(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct mig_ev ev = { .kind = MIG_EV_MSG, .msg = &k->m };
	struct src_slot *src = source_find(n, k->m.pid);
	struct dst_slot *dst = target_find(n, k->m.pid);
	struct mig_msg reply;

	switch (k->m.kind) {
	case MIG_READ:
	case MIG_CLAIM:
	case MIG_GONE:
	case MIG_STAND:
		auth_msg(s, n, &k->m);
		return;
	case MIG_FENCE:
		on_fence(s, n, &k->m);
		return;
	case MIG_PREPARE:
		on_prepare(s, n, k);
		return;
	case MIG_RECORD:
		if (k->m.aterm >= n->fences[sim_block(k->m.pid)])
			exits_on_record(s, n, &k->m);
		if (src && n->kernel_up)
			source_step(s, n, src, &ev);
		else if (dst && n->kernel_up)
			target_step(s, n, dst, &ev);
		return;
	default:
		if (src && src->m.move == k->m.move)
			source_step(s, n, src, &ev);
		else if (dst && dst->m.move == k->m.move)
			target_step(s, n, dst, &ev);
		else if (migrate_stray(&k->m, &reply))
			kernel_send(s, n, k->m.from, &reply);
	}
}

static void on_image(struct sim *s, struct knode *n, struct kmsg *k)
{
	struct dst_slot *slot = target_find(n, k->m.pid);
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

static void on_page(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct dst_slot *slot = target_find(n, k->m.pid);
	struct src_slot *src = source_find(n, k->m.pid);
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
		target_step(s, n, slot, &ev);
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
	target_step(s, n, slot, &ev);
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
		on_image(s, n, k);
		return;
	case KM_PAGE_REQ:
	case KM_PAGE:
	case KM_PAGE_GONE:
		on_page(s, n, k);
		return;
	case KM_EXITED:
	case KM_EXITED_ACK:
		exits_on_msg(s, n, k);
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
	if (sim_guard_host(s, node, payload) && !n->kernel_up && n->epoch != 0)
		kernel_start(s, n);
}

void kernel_die(struct sim *s, struct knode *n)
{
	for (uint32_t i = 0; i < SIM_MACHINES && s->cov; i++) {
		if (n->sources[i].used)
			s->cov->source_death[n->sources[i].m.state]++;
		if (n->targets[i].used)
			s->cov->target_death[n->targets[i].m.state]++;
	}
	s->stats.kernel_deaths++;
	world_trace(&s->w, 'i', n->id, "kernel dies", n->life);
	n->kernel_up = false;
	n->die_in = 0;
	n->sweeping = false;
	memset(n->sources, 0, sizeof(n->sources));
	memset(n->targets, 0, sizeof(n->targets));
	for (uint32_t i = 0; i < SIM_BLOCKS_MAX; i++) {
		free(n->auth[i]);
		n->auth[i] = NULL;
	}
	for (uint32_t i = 0; i < n->host.count; i++)
		n->host.tasks[i].locks &= ~(uint32_t)LOCK_TRACE;
	for (uint32_t i = 0; i < n->host.count; i++)
		check_runs(s, n->host.tasks[i].pid);
	sim_later(s, n, (20 + rand_below(&s->w.rng[RNG_FAULT], 400)) * NS_PER_MS, on_restart,
		  "kernel-up", 0, 0);
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
		if (!source_effects(s, n, slot, &out))
			return false;
		if (slot->used)
			arm(s, n, slot->m.pid, slot->m.move, slot->m.wake_ns);
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
static void adopt_host(struct sim *s, struct knode *n)
{
	for (uint32_t i = n->host.count; i-- > 0;) {
		struct task *t = &n->host.tasks[i];

		if (t->kind == TASK_BUILD && !target_find(n, t->pid))
			fx_drop(s, n, t->pid);
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
	if (n->lease_block == 0)
		n->want_seq |= 1;
	for (uint32_t b = 0; b < SIM_BLOCKS_MAX; b++) {
		if (!n->kept[b])
			continue;
		n->auth[b] = calloc(1, sizeof(struct block));
		CHECK(n->auth[b] != NULL);
		*n->auth[b] = *n->kept[b];
		n->auth[b]->auth.recs = n->auth[b]->recs;
		n->auth[b]->auth.asked = n->auth[b]->asked;
		if (n->auth[b]->auth.state == MIG_A_REBUILDING && n->blocks[b].authority == n->id)
			auth_takeover(s, n, b);
	}
	sim_later(s, n, 10 * NS_PER_MS, on_second, "upkeep", 0, 0);
	if (adopt_sources(s, n) && adopt_targets(s, n)) {
		adopt_host(s, n);
		kernel_view_changed(s, n);
		kernel_sweep_soon(s, n);
	}
}

void kernel_ended(struct sim *s, struct knode *n, gpid pid)
{
	struct mig_ev ev = { .kind = MIG_EV_EXIT };
	struct src_slot *src = source_find(n, pid);
	struct dst_slot *dst = target_find(n, pid);

	if (src)
		source_step(s, n, src, &ev);
	else if (dst)
		target_step(s, n, dst, &ev);
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
	s->stats.moves_asked++;
	world_trace(&s->w, 'b', n->id, "move", move);
	source_step(s, n, slot, &(struct mig_ev){ .kind = MIG_EV_START });
	return true;
}
