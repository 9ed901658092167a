/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The naming service as one node: naming/core behind the network. It admits hosts, leases pid
 * blocks, announces deaths when a lease is certainly over, and moves the authority of what the
 * dead held.
 */
#include "sim/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define DEAD_NS (31 * NS_PER_S + 100 * NS_PER_MS) /* lease, drift of both clocks, and a margin */

struct namer {
	struct naming_core *core;
	void *mem;
	tenant_id tenant;
	uint64_t heard_ns[WORLD_NODES_MAX];
	uint32_t boot[WORLD_NODES_MAX];
	struct view view;
};

static struct naming_result namer_do(struct sim *s, struct naming_cmd *cmd, uint64_t client,
				     uint64_t seq)
{
	struct naming_stamp st = { client, seq, seq ? seq - 1 : 0 };
	struct naming_result r;
	struct naming_change c;

	naming_core_apply(s->namer->core, s->w.now_ns / NS_PER_MS, &st, cmd, &r, &c);
	s->w.stats.checks++;
	world_hash(&s->w, (uint64_t)(int64_t)r.err);
	world_hash(&s->w, r.value);
	world_hash(&s->w, r.epoch);
	return r;
}

static void namer_node(struct sim *s, node_id id)
{
	struct naming_cmd c = { .kind = id == 1 ? NAMING_CMD_CREATE : NAMING_CMD_NODE_JOIN };
	struct naming_cmd token = { .kind = NAMING_CMD_TOKEN_ADD,
				    .number = 1,
				    .ttl_ms = 60000,
				    .key = { 9, (uint8_t)id } };
	struct naming_result r;

	if (id > 1) {
		r = namer_do(s, &token, 0, 0);
		CHECK(r.err == 0);
		memcpy(c.key2, token.key, sizeof(c.key2));
	}
	c.machine_id[0] = 1;
	c.key[0] = 1;
	c.key[1] = (uint8_t)id;
	snprintf(c.text, sizeof(c.text), "simulated");
	snprintf(c.name, sizeof(c.name), "n%u", id);
	snprintf(c.addr, sizeof(c.addr), "10.0.0.%u:7300", id);
	r = namer_do(s, &c, 0, 0);
	if (r.err != 0 || (id > 1 && r.id != id))
		world_violate(&s->w, "N4", "node %u joined as %u (%d)", id, r.id, r.err);
}

static void namer_push(struct sim *s, node_id to, const struct kmsg *beat, uint32_t number)
{
	struct kmsg *k = pod_msg(NULL, KM_VIEW, 0, 0);

	k->from = sim_namer_id(s);
	*k->view = s->namer->view;
	k->boot = beat->boot;
	k->seq = beat->seq;
	k->number = number;
	k->sent_ns = beat->sent_ns;
	pod_post(s, NULL, to, k);
}

static node_id namer_alive(const struct sim *s, uint32_t pick, node_id but)
{
	for (uint32_t i = 0; i < s->conf.nodes; i++) {
		node_id id = (pick + i) % s->conf.nodes + 1;

		if (id != but && s->namer->view.nodes[id].alive)
			return id;
	}
	return NODE_NONE;
}

static void namer_move_block(struct sim *s, uint32_t number, node_id to)
{
	struct view_block *b = &s->namer->view.blocks[number];
	struct naming_cmd c = { .kind = NAMING_CMD_BLOCK_MOVE,
				.tenant = s->namer->tenant,
				.node = b->authority,
				.to = to,
				.number = number,
				.epoch = b->aterm };
	struct naming_result r = namer_do(s, &c, 0, 0);

	if (r.err != 0 || r.epoch <= b->aterm) {
		world_violate(&s->w, "N2", "block %u did not move (%d)", number, r.err);
		return;
	}
	b->authority = to;
	b->aterm = r.epoch;
}

static void namer_orphans(struct sim *s)
{
	struct namer *nm = s->namer;

	for (uint32_t i = 0; i < SIM_BLOCKS_MAX; i++) {
		struct view_block *b = &nm->view.blocks[i];
		node_id to;

		if (b->authority == NODE_NONE || nm->view.nodes[b->authority].alive)
			continue;
		to = namer_alive(s, i, b->authority);
		if (to != NODE_NONE)
			namer_move_block(s, i, to);
	}
}

static void namer_dead(struct sim *s, node_id id)
{
	s->stats.announced++;
	check_announced(s, id);
	s->namer->view.nodes[id].alive = false;
	namer_orphans(s);
}

static void namer_admit(struct sim *s, node_id id, uint32_t boot)
{
	struct namer *nm = s->namer;
	struct naming_cmd c = { .kind = NAMING_CMD_NODE_EPOCH, .node = id };

	if (nm->boot[id] != 0) {
		struct naming_result r;

		c.epoch = nm->view.nodes[id].epoch;
		r = namer_do(s, &c, 0, 0);
		CHECK(r.err == 0);
		/* A new life says that the old one is over: no lease to wait for. */
		if (nm->view.nodes[id].alive) {
			nm->view.nodes[id].alive = false;
			namer_orphans(s);
		}
		nm->view.nodes[id].epoch = r.epoch;
	} else {
		nm->view.nodes[id].epoch = naming_node_find(nm->core, id)->epoch;
	}
	nm->view.nodes[id].alive = true;
	nm->boot[id] = boot;
	namer_orphans(s);
}

static uint32_t namer_lease(struct sim *s, const struct kmsg *k)
{
	struct namer *nm = s->namer;
	struct naming_cmd c = { .kind = NAMING_CMD_BLOCK_LEASE,
				.tenant = nm->tenant,
				.node = k->from };
	struct naming_result r = namer_do(s, &c, (uint64_t)k->from << 32 | k->boot, k->seq);

	if (r.err != 0)
		return 0;
	if (r.value >= SIM_BLOCKS_MAX) {
		world_violate(&s->w, "N5", "block %u is not one of this run", (unsigned)r.value);
		return 0;
	}
	if (nm->view.blocks[r.value].authority == NODE_NONE) {
		nm->view.blocks[r.value].authority = k->from;
		nm->view.blocks[r.value].aterm = r.epoch;
	}
	return (uint32_t)r.value;
}

void namer_on_beat(struct sim *s, const struct kmsg *k)
{
	struct namer *nm = s->namer;
	uint32_t number = 0;

	if (k->kind != KM_BEAT || k->boot < nm->boot[k->from])
		return;
	if (k->boot > nm->boot[k->from])
		namer_admit(s, k->from, k->boot);
	else if (!nm->view.nodes[k->from].alive)
		return; /* announced dead: only a new life is answered */
	nm->heard_ns[k->from] = s->w.now_ns;
	if (k->seq & 1)
		number = namer_lease(s, k);
	namer_push(s, k->from, k, number);
}

static void namer_watch(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);

	(void)a;
	(void)b;
	(void)payload;
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		if (s->namer->view.nodes[id].alive && w->now_ns - s->namer->heard_ns[id] > DEAD_NS)
			namer_dead(s, id);
	}
	world_in(w, 500 * NS_PER_MS, namer_watch, "watch-due", node, 0, 0, NULL);
}

/* The block of a process that is being moved right now, or 0: where a handover hurts most. */
static uint32_t namer_moving_block(const struct sim *s, uint32_t pick)
{
	for (uint32_t i = 0; i < s->conf.nodes; i++) {
		const struct knode *n = &s->nodes[(pick + i) % s->conf.nodes + 1];

		for (uint32_t j = 0; j < SIM_MACHINES; j++) {
			if (n->sources[j].used && n->sources[j].m.state >= MIG_S_PREPARING)
				return sim_block(n->sources[j].m.pid);
		}
	}
	return 0;
}

/* An operator drains something: a block's authority goes to another live node. */
void namer_handover(struct sim *s, uint32_t pick)
{
	uint32_t moving = pick & 1 ? namer_moving_block(s, pick) : 0;

	pick = moving ? moving : pick;
	for (uint32_t i = 0; i < SIM_BLOCKS_MAX; i++) {
		uint32_t number = (pick + i) % SIM_BLOCKS_MAX;
		const struct view_block *b = &s->namer->view.blocks[number];
		node_id to = namer_alive(s, pick, b->authority);

		if (b->authority == NODE_NONE || to == NODE_NONE)
			continue;
		s->stats.handovers++;
		namer_move_block(s, number, to);
		return;
	}
}

struct namer *namer_new(struct sim *s)
{
	static const struct naming_sizes sizes = { .nodes_max = SIM_NODES_MAX,
						   .tenants_max = 2,
						   .keys_max = 2,
						   .tokens_max = SIM_NODES_MAX,
						   .blocks_max = SIM_BLOCKS_MAX,
						   .ports_max = 2,
						   .volumes_max = 2,
						   .clients_max = 1024 };
	struct namer *nm = calloc(1, sizeof(*nm));
	struct naming_cmd c = { .kind = NAMING_CMD_TENANT_ADD, .name = "alice" };
	struct naming_result r;

	CHECK(nm != NULL);
	nm->mem = calloc(1, naming_core_bytes(&sizes));
	CHECK(nm->mem != NULL);
	nm->core = naming_core_init(nm->mem, &sizes);
	s->namer = nm;
	for (node_id id = 1; id <= s->conf.nodes; id++)
		namer_node(s, id);
	r = namer_do(s, &c, 0, 0);
	CHECK(r.err == 0);
	nm->tenant = r.id;
	world_in(&s->w, NS_PER_S, namer_watch, "watch-due", sim_namer_id(s), 0, 0, NULL);
	return nm;
}

void namer_free(struct namer *nm)
{
	if (nm)
		free(nm->mem);
	free(nm);
}
