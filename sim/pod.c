/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pandod and pando-init of a simulated node: life and death of host and daemon, the lease, and what
 * the guest kernel is shown of the machine.
 *
 * The lease is naming/member/core/lease.h at both ends. A node asks the leader of naming; who gets
 * no answer asks all nodes, and these pass it on: so a node that can reach a majority can reach
 * the leader, whom a majority reaches.
 */
#include "sim/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "sim/link.h"
#include "sim/memory.h"

void sim_later(struct sim *s, struct knode *n, uint64_t delay_ns, world_fn fn, const char *name,
	       uint64_t a, uint64_t b)
{
	struct guard *g = world_alloc(sizeof(*g));

	*g = (struct guard){ n->boot, n->life, n->pod_life };
	world_in(&s->w, delay_ns, fn, name, n->id, a, b, g);
}

void pod_later(struct sim *s, struct knode *n, uint64_t delay_ns, world_fn fn, const char *name,
	       uint64_t a, uint64_t b)
{
	sim_later(s, n, delay_ns, fn, name, a, b);
}

bool sim_guard_pod(struct sim *s, node_id node, void *payload)
{
	const struct guard *g = payload;
	const struct knode *n = &s->nodes[node];
	bool ok = n->up && n->boot == g->boot && n->name && n->pod_life == g->pod;

	world_put(payload);
	return ok;
}

bool pod_stalled(struct sim *s, struct knode *n, world_fn fn, const char *name, uint64_t a,
		 uint64_t b, void *payload)
{
	if (n->stalled_ns <= s->w.now_ns)
		return false;
	world_at(&s->w, n->stalled_ns, fn, name, n->id, a, b, payload);
	return true;
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

struct kmsg *pod_msg(const struct knode *n, enum kmsg_kind kind, size_t kin, size_t stands)
{
	size_t kin_bytes = kin * sizeof(struct kin_entry);
	struct kmsg *k =
		world_alloc(sizeof(*k) + kin_bytes + stands * sizeof(struct mig_stand) + 64);
	char *at = (char *)(k + 1);

	k->kind = kind;
	k->from = n->id;
	k->from_epoch = n->epoch;
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
	world_hash(w, k->sent_ns);
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

static const char *msg_name(const struct kmsg *k)
{
	static const char *const names[] = { "?",    "?",         "image",  "page-req",
					     "page", "page-gone", "exited", "exited-ack",
					     "dsm",  "beat",      "held" };

	return k->kind == KM_MIG ? migrate_msg_name(k->m.kind) : names[k->kind];
}

static void pod_on_lease(struct sim *s, struct knode *n, const struct kmsg *k);

/* From one pandod to another; the rest is between guest kernels. */
static bool of_pods(const struct kmsg *k)
{
	return k->kind == KM_BEAT || k->kind == KM_HELD;
}

static void pod_deliver(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct kmsg *k = payload;
	struct knode *n = &s->nodes[node];
	bool pods = of_pods(k);

	if (pods && pod_stalled(s, n, pod_deliver, msg_name(k), a, b, payload))
		return;
	msg_hash(w, k);
	if (pods && n->up && n->name) {
		pod_on_lease(s, n, k);
	} else if (!pods && n->up && n->epoch != 0) {
		/* An image ends with its connection; to itself a node needs none. */
		if (k->kind != KM_IMAGE && k->from != n->id)
			echo_keep(s, n, k);
		pod_heard(s, n, k);
	}
	world_put(payload);
}

void pod_deliver_again(struct sim *s, struct knode *n, void *msg, uint64_t delay_ns)
{
	const struct kmsg *k = msg;

	world_in(&s->w, delay_ns, pod_deliver, msg_name(k), n->id, (uint64_t)k->m.pid, k->from,
		 msg);
}

const struct kmsg *pod_carried(world_fn fn, const void *payload)
{
	return fn == pod_deliver ? payload : NULL;
}

/* What has ended is told by its pid; who is told answers while he is being told (exits.c). */
static void pod_over_channel(struct sim *s, struct knode *n, node_id to, struct kmsg *k,
			     size_t bytes)
{
	uint64_t pid = (uint64_t)k->m.pid;

	if (k->kind == KM_EXITED)
		link_tell(s, n->id, to, pid << 1 | k->reaped, bytes, pod_deliver, msg_name(k), pid,
			  k);
	else if (k->kind == KM_EXITED_ACK)
		(void)link_answer(s, n->id, to, pod_deliver, msg_name(k), pid, k);
	else if (k->kind == KM_IMAGE)
		link_stream(s, n->id, to, bytes, pod_deliver, msg_name(k), pid, k);
	else
		link_send(s, LINK_KERNELS, n->id, to, bytes, pod_deliver, msg_name(k), pid, k);
}

void pod_post(struct sim *s, struct knode *n, node_id to, struct kmsg *k)
{
	size_t bytes = 200 + k->kin_count * 24 + k->stand_count * 24;

	if (k->kind == KM_IMAGE)
		bytes += 100000;
	if (n->id != to && !of_pods(k) && !link_raw(s)) {
		pod_over_channel(s, n, to, k, bytes);
		return;
	}
	if (of_pods(k))
		link_pods_send(s, n->id, to, bytes, pod_deliver, msg_name(k), 0, k);
	else
		world_send(&s->w, n->id, to, bytes, pod_deliver, msg_name(k), (uint64_t)k->m.pid,
			   k);
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

/* ---- the lease ---- */

static struct kmsg *lease_msg(const struct knode *n, enum kmsg_kind kind, const struct kmsg *of)
{
	struct kmsg *k = pod_msg(n, kind, 0, 0);

	k->origin = of->origin;
	k->origin_epoch = of->origin_epoch;
	k->sent_ns = of->sent_ns;
	k->heard_ns = of->heard_ns;
	return k;
}

static void on_beat(struct sim *s, struct knode *n, const struct kmsg *k)
{
	const struct naming_node *row = naming_node_find(name_tables(n), k->origin);
	node_id leader = name_info(n).leader;

	if (s->cov)
		s->cov->book[n->book.leads][0]++;
	if (row && lease_book_ask(&n->book, k->origin, k->origin_epoch, row->epoch, row->down,
				  world_local(&s->w, n->id))) {
		struct kmsg *held = lease_msg(n, KM_HELD, k);

		held->heard_ns = s->w.now_ns;
		pod_post(s, n, k->from, held);
		return;
	}
	if (k->from == k->origin && leader != n->id && leader != k->from)
		pod_post(s, n, leader, lease_msg(n, KM_BEAT, k));
}

static void pod_locks(struct sim *s, struct knode *n, bool on)
{
	n->lease_frozen = on;
	for (uint32_t i = 0; i < n->host.count; i++) {
		struct task *t = &n->host.tasks[i];

		t->locks = on ? t->locks | LOCK_LEASE : t->locks & ~(uint32_t)LOCK_LEASE;
		check_runs(s, t->pid);
	}
}

static void on_held(struct sim *s, struct knode *n, const struct kmsg *k)
{
	uint64_t now_ns = world_local(&s->w, n->id), was_ns;

	if (k->origin != n->id) { /* it asked through us */
		if (k->origin <= s->conf.nodes)
			pod_post(s, n, k->origin, lease_msg(n, KM_HELD, k));
		return;
	}
	if (n->epoch == 0 || k->origin_epoch != n->epoch)
		return;
	n->answered_ns = s->w.now_ns;
	if (s->cov)
		s->cov->lease[lease_look(&n->lease, now_ns)][COV_LEASE_ANSWERED]++;
	was_ns = n->lease.from_ns;
	lease_answered(&n->lease, k->sent_ns, now_ns);
	if (n->lease.from_ns != was_ns)
		check_counted(s, n, k->heard_ns);
	if (lease_look(&n->lease, now_ns) != LEASE_HELD)
		return;
	if (n->lease_frozen)
		pod_locks(s, n, false);
	if (!n->started) {
		n->started = true;
		kernel_start(s, n);
	}
}

static void pod_on_lease(struct sim *s, struct knode *n, const struct kmsg *k)
{
	if (k->kind == KM_BEAT)
		on_beat(s, n, k);
	else
		on_held(s, n, k);
}

/* Asks the leader; all nodes, if the leader has not answered for three questions. */
static void ask_lease(struct sim *s, struct knode *n)
{
	struct naming_replica_info i = name_info(n);
	struct kmsg of = { .origin = n->id,
			   .origin_epoch = n->epoch,
			   .sent_ns = world_local(&s->w, n->id) };
	bool direct = i.leader != NODE_NONE && s->w.now_ns - n->answered_ns < 3 * s->lease.ask_ns;

	if (direct) {
		pod_post(s, n, i.leader, lease_msg(n, KM_BEAT, &of));
		return;
	}
	for (node_id id = 1; id <= s->members; id++)
		pod_post(s, n, id, lease_msg(n, KM_BEAT, &of));
}

static void pod_beat(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];

	if (pod_stalled(s, n, pod_beat, "beat-due", a, b, payload) ||
	    !sim_guard_pod(s, node, payload))
		return;
	pod_later(s, n, s->lease.ask_ns, pod_beat, "beat-due", 0, 0);
	if (n->epoch != 0)
		ask_lease(s, n);
}

/* pando-init's timer: it needs no pandod. */
static void pod_lease(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	enum lease_state state;

	(void)a;
	(void)b;
	if (!sim_guard_host(s, node, payload))
		return;
	sim_later(s, n, 250 * NS_PER_MS, pod_lease, "lease-due", 0, 0);
	state = lease_look(&n->lease, world_local(w, node));
	if (s->cov)
		s->cov->lease[state][COV_LEASE_LOOKED]++;
	check_lease(s, n, state);
	if (state == LEASE_OVER) {
		s->stats.lapsed++;
		pod_crash(s, n, NS_PER_S);
	} else if (state == LEASE_FREEZE && !n->lease_frozen) {
		s->stats.frozen++;
		pod_locks(s, n, true);
	}
}

/* ---- what the tables say ---- */

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

void pod_on_view(struct sim *s, struct knode *n, const struct view *v)
{
	if (n->epoch == 0)
		return;
	pod_view_nodes(s, n, v);
	for (uint32_t i = 0; i < SIM_BLOCKS_MAX; i++) {
		if (v->blocks[i].aterm > n->blocks[i].aterm)
			n->blocks[i] = v->blocks[i];
	}
	if (n->kernel_up)
		kernel_view_changed(s, n);
}

void pod_admitted(struct sim *s, struct knode *n, epoch_t epoch)
{
	n->epoch = epoch;
	lease_init(&n->lease, &s->lease);
	gossip_start(s, n);
	registry_tables(s, n);
	ask_lease(s, n);
}

/* ---- life and death ---- */

static void pod_start(struct sim *s, struct knode *n)
{
	if (n->id > s->members && n->id != 1)
		return; /* it has not joined yet */
	n->pod_life++;
	n->stalled_ns = 0;
	name_start(s, n);
	if (!n->name)
		return;
	check_reach(s);
	link_begin(s, LINK_PODS, n);
	registry_pod_up(s, n);
	registry_tables(s, n);
	pod_later(s, n, 1000, pod_beat, "beat-due", 0, 0);
	if (n->epoch != 0)
		gossip_start(s, n);
}

void pod_joined(struct sim *s, struct knode *n)
{
	if (n->up && !n->name)
		pod_start(s, n);
}

static void pod_again(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];

	(void)a;
	(void)b;
	if (sim_guard_host(s, node, payload) && !n->name)
		pod_start(s, n);
}

static void pod_stop(struct sim *s, struct knode *n, bool with_host)
{
	if (s->cov && n->name) {
		s->cov->pod_death[name_role(n)]++;
		s->cov->lease[lease_look(&n->lease, world_local(&s->w, n->id))]
			     [COV_LEASE_POD_DIED]++;
	}
	disks_crash(s, n->id);
	disks_check_lost(s, n->id);
	name_stop(n);
	gossip_stop(n);
	lease_book_stop(&n->book);
	link_over(s, LINK_PODS, n, with_host);
	n->pod_life++;
	n->stalled_ns = 0;
}

void pod_die(struct sim *s, struct knode *n)
{
	if (!n->up || !n->name)
		return;
	s->stats.pod_deaths++;
	world_trace(&s->w, 'i', n->id, "pandod dies", n->pod_life);
	pod_stop(s, n, false);
	check_reach(s);
	sim_later(s, n, (20 + rand_below(&s->w.rng[RNG_FAULT], 2000)) * NS_PER_MS, pod_again,
		  "pod-up", 0, 0);
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
	n->started = false;
	n->want_block = false;
	lease_init(&n->lease, &s->lease);
	pod_start(s, n);
	check_reach(s);
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
		else if (p) /* what a released original had pending, and nobody has yet */
			p->sigs &= ~t->pending;
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
	loans_crash(n);
	pod_forget(n);
	pod_stop(s, n, true);
	n->up = false;
	n->kernel_up = false;
	n->epoch = 0;
	n->lease_block = 0;
	n->sweeping = false;
	n->die_in = n->die_mem = 0;
	memory_crash(s, n);
	check_reach(s);
	link_over(s, LINK_KERNELS, n, true);
	world_in(&s->w, down_ns, pod_up, "host-up", n->id, 0, 0, NULL);
}
