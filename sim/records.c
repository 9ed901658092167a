/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authority of a simulated node: records of its pid blocks, births, and how it stands to a pid
 * when a new authority asks.
 */
#include "sim/kernel.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim/memory.h"

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
			if (fx->msg.kind == MIG_RECORD)
				check_record(s, n, &fx->msg);
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

void records_forget(struct knode *n)
{
	for (uint32_t b = 0; b < SIM_BLOCKS_MAX; b++) {
		free(n->auth[b]);
		n->auth[b] = NULL;
	}
}

void records_adopt(struct sim *s, struct knode *n)
{
	for (uint32_t b = 0; b < SIM_BLOCKS_MAX; b++) {
		if (!n->kept[b])
			continue;
		n->auth[b] = calloc(1, sizeof(struct block));
		CHECK(n->auth[b] != NULL);
		*n->auth[b] = *n->kept[b];
		n->auth[b]->auth.recs = n->auth[b]->recs;
		n->auth[b]->auth.asked = n->auth[b]->asked;
		migrate_auth_adopt(&n->auth[b]->auth, n->fences[b]);
		if (n->auth[b]->auth.state == MIG_A_REBUILDING && n->blocks[b].authority == n->id)
			auth_takeover(s, n, b);
	}
}

void kernel_view_changed(struct sim *s, struct knode *n)
{
	for (uint32_t b = 1; b < SIM_BLOCKS_MAX && n->kernel_up; b++) {
		const struct view_block *v = &n->blocks[b];

		if (v->authority != n->id)
			continue;
		if (b == n->lease_block && !n->auth[b] && v->aterm == n->lease_aterm) {
			n->auth[b] = block_new(n, b, v->aterm);
			auth_keep(n, b, 0);
		} else if (!n->auth[b] ? v->aterm > 1 : n->auth[b]->auth.aterm < v->aterm) {
			auth_takeover(s, n, b);
		}
	}
	if (n->kernel_up)
		memory_view_changed(s, n);
}

/* Births need a block that is ours to give from; asks for one when there is none. */
gpid kernel_birth(struct sim *s, struct knode *n)
{
	struct block *blk = n->lease_block ? n->auth[n->lease_block] : NULL;
	struct mig_auth_out out;
	gpid pid;

	if (!blk || blk->auth.state != MIG_A_SERVING || blk->auth.aterm != n->lease_aterm ||
	    n->cursor == SIM_BLOCK_USED) {
		n->want_block = true;
		return 0;
	}
	pid = blk->auth.first + (gpid)n->cursor++;
	migrate_auth_born(&blk->auth, pid, &out);
	return auth_effects(s, n, n->lease_block, &out) ? pid : 0;
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
		moves_node_dead(s, n, dead);
	if (n->kernel_up && n->life == life)
		memory_node_dead(s, n, dead);
}

/* What was handed to an earlier life of a node was not handed to this one. */
static void stands_look(const struct knode *n, struct mig_stand *st, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (st[i].peer < WORLD_NODES_MAX)
			migrate_stand_look(&st[i], n->nodes[st[i].peer].epoch);
	}
}

void records_msg(struct sim *s, struct knode *n, const struct mig_msg *m)
{
	static struct mig_stand stands[SIM_BLOCK_USED];
	uint32_t b = sim_block(m->pid);
	struct mig_msg looked = *m;
	struct mig_auth_out out;
	const struct mig_rec *rec;
	struct mig_rec was = { 0 };
	uint32_t state;

	if (m->pid <= 0 || b >= SIM_BLOCKS_MAX || !n->auth[b])
		return;
	if (m->stand_count > 0 && m->stand_count <= SIM_BLOCK_USED) {
		memcpy(stands, m->stands, m->stand_count * sizeof(*stands));
		stands_look(n, stands, m->stand_count);
		looked.stands = stands;
	}
	m = &looked;
	state = n->auth[b]->auth.state;
	rec = migrate_auth_find(&n->auth[b]->auth, m->pid);
	was = rec ? *rec : was;
	if (migrate_auth_step(&n->auth[b]->auth, m, &out) == 0 && s->cov)
		s->cov->auth[state][m->kind]++;
	if (m->kind == MIG_CLAIM && rec)
		check_claim(s, n, m, &was);
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

static struct mig_stand source_stand(const struct src_slot *slot)
{
	struct mig_stand st = migrate_source_stand(&slot->m);

	st.peer_epoch = slot->peer_epoch;
	return st;
}

static void records_stands(struct knode *n, uint32_t b, struct kmsg *k, uint32_t max)
{
	/* What has ended here is ours until everybody knows. */
	for (uint32_t i = 0; i < SIM_EXITS_MAX; i++) {
		const struct exit_slot *x = &n->exits[i];

		if (x->used && x->ours && !x->reaped && sim_block(x->pid) == b)
			stand_add(k, max, (struct mig_stand){ .pid = x->pid, .stance = MIG_RUNS });
	}
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (n->sources[i].used && sim_block(n->sources[i].m.pid) == b)
			stand_add(k, max, source_stand(&n->sources[i]));
		if (n->targets[i].used && sim_block(n->targets[i].m.pid) == b)
			stand_add(k, max, migrate_target_stand(&n->targets[i].m));
	}
	for (uint32_t i = 0; i < n->host.count; i++) {
		const struct task *t = &n->host.tasks[i];

		if (t->kind == TASK_PROC && sim_block(t->pid) == b && !kernel_busy(n, t->pid))
			stand_add(k, max, (struct mig_stand){ .pid = t->pid, .stance = MIG_RUNS });
	}
}

void records_on_fence(struct sim *s, struct knode *n, const struct mig_msg *m)
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
	records_msg(s, n, m);
	for (uint32_t i = 0; i < SIM_MACHINES; i++) {
		if (n->kernel_up && n->life == life && n->sources[i].used &&
		    sim_block(n->sources[i].m.pid) == b)
			moves_step_source(s, n, &n->sources[i], &ev);
		if (n->kernel_up && n->life == life && n->targets[i].used &&
		    sim_block(n->targets[i].m.pid) == b)
			moves_step_target(s, n, &n->targets[i], &ev);
	}
	if (!n->kernel_up || n->life != life || kernel_fault(s, n))
		return;
	k = pod_msg(n, KM_MIG, 0, max);
	k->m = (struct mig_msg){
		.kind = MIG_STAND, .from = n->id, .pid = m->pid, .aterm = m->aterm
	};
	records_stands(n, b, k, max);
	k->m.stands = k->stands;
	k->m.stand_count = k->stand_count;
	pod_post(s, n, m->from, k);
}
