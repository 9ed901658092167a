/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pandod and pando-init of a simulated node: lease, view of the machine, death and boot.
 *
 * The lease is counted by the node's own clock from the *sending* of the BEAT that was answered:
 * guests are frozen after 10 s without one and killed after 30 s. The naming service counts from
 * the receiving, and adds what clocks may drift; so it is always later.
 */
#include "sim/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "sim/memory.h"

#define BEAT_NS         (700 * NS_PER_MS)
#define LEASE_FREEZE_NS (10 * NS_PER_S)
#define LEASE_KILL_NS   (30 * NS_PER_S)

void sim_later(struct sim *s, struct knode *n, uint64_t delay_ns, world_fn fn, const char *name,
	       uint64_t a, uint64_t b)
{
	struct guard *g = world_alloc(sizeof(*g));

	g->boot = n->boot;
	g->life = n->life;
	world_in(&s->w, delay_ns, fn, name, n->id, a, b, g);
}

bool sim_guard_host(struct sim *s, node_id node, void *payload)
{
	const struct guard *g = payload;
	bool ok = s->nodes[node].up && s->nodes[node].boot == g->boot;

	world_put(payload);
	return ok;
}

bool sim_guard_kernel(struct sim *s, node_id node, void *payload)
{
	const struct guard *g = payload;
	const struct knode *n = &s->nodes[node];
	bool ok = n->up && n->boot == g->boot && n->kernel_up && n->life == g->life;

	world_put(payload);
	return ok;
}

struct kmsg *pod_msg(struct knode *n, enum kmsg_kind kind, size_t kin, size_t stands)
{
	size_t kin_bytes = kin * sizeof(struct kin_entry);
	size_t view_bytes = kind == KM_VIEW ? sizeof(struct view) : 0;
	struct kmsg *k = world_alloc(sizeof(*k) + kin_bytes + stands * sizeof(struct mig_stand) +
				     view_bytes + 64);
	char *at = (char *)(k + 1);

	k->kind = kind;
	k->from = n ? n->id : 0;
	k->from_epoch = n ? n->epoch : 0;
	k->view = (struct view *)(void *)at;
	at += view_bytes;
	k->stands = (struct mig_stand *)(void *)at;
	at += stands * sizeof(struct mig_stand);
	k->kin = (struct kin_entry *)(void *)at;
	return k;
}

static void msg_hash(struct world *w, const struct kmsg *k)
{
	world_hash(w, k->kind);
	world_hash(w, k->from);
	world_hash(w, k->from_epoch);
	world_hash(w, k->m.kind);
	world_hash(w, (uint64_t)k->m.pid);
	world_hash(w, k->m.epoch);
	world_hash(w, k->m.move);
	world_hash(w, k->m.asked);
	world_hash(w, k->m.aterm);
	world_hash(w, k->m.site);
	world_hash(w, (uint64_t)(int64_t)k->m.err);
	world_hash(w, k->m.sigs);
	world_hash(w, k->version);
	world_hash(w, k->seq);
	world_hash(w, k->kin_count);
	if (k->kind == KM_DSM) {
		world_hash(w, (uint64_t)k->mem << 32 | k->d.kind);
		world_hash(w, k->d.ver);
		world_hash(w, k->d.epoch);
		world_hash(w, (uint64_t)k->d.req << 3 | k->d.has_data << 2 | k->d.has_copy << 1 |
				      k->d.lost);
		world_hash(w, k->number);
	}
	for (uint32_t i = 0; i < k->stand_count; i++) {
		world_hash(w, (uint64_t)k->stands[i].pid);
		world_hash(w, k->stands[i].stance);
	}
}

static void pod_deliver(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct kmsg *k = payload;
	struct knode *n = node <= s->conf.nodes ? &s->nodes[node] : NULL;

	(void)a;
	(void)b;
	msg_hash(w, k);
	if (!n) {
		namer_on_beat(s, k);
	} else if (n->up) {
		if (k->kind == KM_VIEW)
			pod_on_view(s, n, k);
		else if (n->epoch != 0)
			pod_heard(s, n, k);
	}
	world_put(payload);
}

const struct kmsg *pod_carried(const struct world_event *e)
{
	return e->fn == pod_deliver ? e->payload : NULL;
}

static const char *msg_name(const struct kmsg *k)
{
	static const char *const names[] = { "?",    "?",         "image",  "page-req",
					     "page", "page-gone", "exited", "exited-ack",
					     "dsm",  "beat",      "view" };

	return k->kind == KM_MIG ? migrate_msg_name(k->m.kind) : names[k->kind];
}

void pod_post(struct sim *s, struct knode *n, node_id to, struct kmsg *k)
{
	size_t bytes = 200 + k->kin_count * 24 + k->stand_count * 24;

	if (k->kind == KM_IMAGE)
		bytes += 100000;
	world_send(&s->w, n ? n->id : sim_namer_id(s), to, bytes, pod_deliver, msg_name(k),
		   (uint64_t)k->m.pid, k);
}

/* Nothing of an older life of a node is believed; a newer one says that the older is over. */
void pod_heard(struct sim *s, struct knode *n, const struct kmsg *k)
{
	struct view_node *v = &n->nodes[k->from];

	if (k->from_epoch < v->epoch || (k->from_epoch == v->epoch && !v->alive))
		return;
	if (k->from_epoch > v->epoch) {
		bool known = v->epoch != 0 && v->alive;

		v->epoch = k->from_epoch;
		v->alive = true;
		if (known && n->kernel_up)
			kernel_node_dead(s, n, k->from);
	}
	if (n->kernel_up)
		kernel_on_msg(s, n, (struct kmsg *)(uintptr_t)k);
}

static void pod_beat(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	struct kmsg *k;

	(void)a;
	(void)b;
	if (!sim_guard_host(s, node, payload))
		return;
	k = pod_msg(n, KM_BEAT, 0, 0);
	k->boot = n->boot;
	k->seq = n->want_seq;
	k->sent_ns = world_local(w, node);
	pod_post(s, n, sim_namer_id(s), k);
	sim_later(s, n, BEAT_NS, pod_beat, "beat-due", 0, 0);
}

static void pod_locks(struct knode *n, bool on)
{
	for (uint32_t i = 0; i < n->host.count; i++) {
		struct task *t = &n->host.tasks[i];

		t->locks = on ? t->locks | LOCK_LEASE : t->locks & ~(uint32_t)LOCK_LEASE;
	}
}

static void pod_lease(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	uint64_t age;

	(void)a;
	(void)b;
	if (!sim_guard_host(s, node, payload))
		return;
	age = world_local(w, node) - n->lease_from_ns;
	if (n->epoch != 0 && age > LEASE_KILL_NS) {
		s->stats.lapsed++;
		pod_crash(s, n, NS_PER_S);
		return;
	}
	if (n->epoch != 0 && age > LEASE_FREEZE_NS && !n->lease_frozen) {
		n->lease_frozen = true;
		pod_locks(n, true);
	}
	sim_later(s, n, 250 * NS_PER_MS, pod_lease, "lease-due", 0, 0);
}

static void pod_view_nodes(struct sim *s, struct knode *n, const struct view *v)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct view_node *theirs = &v->nodes[id];
		struct view_node *ours = &n->nodes[id];
		bool dead;

		if (theirs->epoch < ours->epoch)
			continue;
		dead = ours->epoch != 0 && ours->alive &&
		       (theirs->epoch > ours->epoch || !theirs->alive);
		if (theirs->epoch == ours->epoch && !ours->alive)
			continue; /* once announced, an epoch stays dead */
		*ours = *theirs;
		if (dead && id != n->id && n->kernel_up)
			kernel_node_dead(s, n, id);
	}
}

void pod_on_view(struct sim *s, struct knode *n, const struct kmsg *k)
{
	if (k->boot != n->boot)
		return;
	if (!k->view->nodes[n->id].alive || (n->epoch && k->view->nodes[n->id].epoch != n->epoch)) {
		if (n->epoch != 0)
			return; /* of before our admission, or we are announced dead and will lapse
				 */
	}
	if (n->epoch == 0) {
		n->epoch = k->view->nodes[n->id].epoch;
		n->lease_from_ns = k->sent_ns;
		memcpy(n->nodes, k->view->nodes, sizeof(n->nodes));
		memcpy(n->blocks, k->view->blocks, sizeof(n->blocks));
		kernel_start(s, n);
		return;
	}
	if (k->sent_ns > n->lease_from_ns)
		n->lease_from_ns = k->sent_ns;
	if (n->lease_frozen && world_local(&s->w, n->id) - n->lease_from_ns < LEASE_FREEZE_NS) {
		n->lease_frozen = false;
		pod_locks(n, false);
	}
	pod_view_nodes(s, n, k->view);
	for (uint32_t i = 0; i < SIM_BLOCKS_MAX; i++) {
		if (k->view->blocks[i].aterm > n->blocks[i].aterm)
			n->blocks[i] = k->view->blocks[i];
	}
	if (n->kernel_up && (n->want_seq & 1) && k->seq == n->want_seq) {
		n->lease_block = k->number;
		n->cursor = 0;
		n->want_seq++;
	}
	if (n->kernel_up)
		kernel_view_changed(s, n);
}

static void pod_up(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);

	(void)a;
	(void)b;
	world_put(payload);
	if (!s->nodes[node].up)
		pod_boot(s, &s->nodes[node]);
}

void pod_boot(struct sim *s, struct knode *n)
{
	n->up = true;
	n->boot++;
	n->epoch = 0;
	n->lease_frozen = false;
	n->want_seq = 0;
	sim_later(s, n, 1000, pod_beat, "beat-due", 0, 0);
	sim_later(s, n, 1000, pod_lease, "lease-due", 0, 0);
}

static void pod_forget(struct knode *n)
{
	for (uint32_t i = 0; i < SIM_BLOCKS_MAX; i++) {
		free(n->kept[i]);
		free(n->auth[i]);
		n->kept[i] = n->auth[i] = NULL;
	}
	memset(n->nodes, 0, sizeof(n->nodes));
	memset(n->blocks, 0, sizeof(n->blocks));
	memset(n->source_notes, 0, sizeof(n->source_notes));
	memset(n->target_notes, 0, sizeof(n->target_notes));
	memset(n->fences, 0, sizeof(n->fences));
	memset(n->exits, 0, sizeof(n->exits));
	memset(n->sources, 0, sizeof(n->sources));
	memset(n->targets, 0, sizeof(n->targets));
	memset(n->tombs, 0, SIM_PROCS_MAX * sizeof(*n->tombs));
}

/* Handed to a host that is dead now: it may have executed there, nobody can tell (authority.h). */
static void doubt_handed(struct sim *s, node_id dead)
{
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		const struct note_slot *slots = s->nodes[id].source_notes;

		for (uint32_t i = 0; i < SIM_MACHINES; i++) {
			if (slots[i].used && slots[i].note.phase == MIG_PHASE_HANDED &&
			    slots[i].note.peer == dead)
				sim_proc(s, slots[i].note.pid)->doubt = true;
		}
	}
}

void pod_crash(struct sim *s, struct knode *n, uint64_t down_ns)
{
	doubt_handed(s, n->id);
	for (uint32_t i = 0; i < n->host.count; i++) {
		const struct task *t = &n->host.tasks[i];
		struct proc *p = sim_proc(s, t->pid);

		if (p && (t->kind == TASK_PROC || t->kind == TASK_BUILD))
			p->doubt = true;
	}
	/* Who ended here, and nobody was told how: found killed elsewhere. */
	for (uint32_t i = 0; i < SIM_EXITS_MAX; i++) {
		struct proc *p = n->exits[i].used ? sim_proc(s, n->exits[i].pid) : NULL;

		if (p && n->exits[i].ours)
			p->doubt = true;
	}
	s->stats.host_deaths++;
	world_trace(&s->w, 'i', n->id, "host dies", n->boot);
	host_fini(&n->host);
	pod_forget(n);
	disks_crash(s, n->id);
	n->up = false;
	n->kernel_up = false;
	n->epoch = 0;
	n->lease_block = 0;
	n->sweeping = false;
	n->die_in = n->die_mem = 0;
	memory_crash(s, n);
	world_in(&s->w, down_ns, pod_up, "host-up", n->id, 0, 0, NULL);
}
