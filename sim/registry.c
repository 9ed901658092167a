/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pandod does with naming: makes the machine, is admitted, leases pid blocks, shows the guest
 * kernel what the tables say, and, where it leads, announces deaths and moves the authority of what
 * the dead held. Besides, programs that write one register of the tables and read it back (R1).
 */
#include "sim/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define PATIENCE_MS 4000
#define DUTY_NS     (500 * NS_PER_MS)
#define MOVES_MAX   4 /* of blocks, under way at once */

/* ---- making the machine: an operator at node 1, one command after the other ---- */

enum step {
	STEP_CREATE = 0,
	STEP_TENANT,
	STEP_REGISTER,
	STEP_TOKEN, /* then, for each further node, a token and a join */
	STEP_JOIN,
};

static void operator_go(struct sim *s, enum step step, node_id id);

static void operator_again(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	(void)node;
	(void)payload;
	operator_go(sim_of(w), (enum step)a, (node_id)b);
}

static void operator_done(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
			  const struct naming_result *r)
{
	enum step step = (enum step)a;
	node_id id = (node_id)b;

	(void)n;
	/* What was in doubt has happened: the row is there. */
	if (err != 0 || (r->err != 0 && r->err != -EEXIST && r->err != -EPERM)) {
		world_in(&s->w, NS_PER_S, operator_again, "operator", 1, a, b, NULL);
		return;
	}
	if (step == STEP_CREATE)
		s->members = 1;
	if (step == STEP_TENANT && r->err == 0)
		s->tenant = r->id;
	if (step == STEP_REGISTER && r->err == 0)
		s->reg = r->id;
	if (step == STEP_JOIN) {
		if (r->err == 0 && r->id != id)
			world_violate(&s->w, "N4", "node %u joined as %u", id, r->id);
		s->members = id;
		pod_joined(s, &s->nodes[id]);
	}
	if (step == STEP_JOIN && id == s->conf.nodes)
		return;
	if (step == STEP_JOIN)
		operator_go(s, STEP_TOKEN, id + 1);
	else
		operator_go(s, step + 1, id);
}

static struct naming_cmd operator_cmd(enum step step, node_id id)
{
	static const enum naming_cmd_kind kinds[] = { NAMING_CMD_CREATE, NAMING_CMD_TENANT_ADD,
						      NAMING_CMD_TENANT_ADD, NAMING_CMD_TOKEN_ADD,
						      NAMING_CMD_NODE_JOIN };
	struct naming_cmd c = { .kind = kinds[step], .number = 1, .ttl_ms = 600000 };

	c.machine_id[0] = 1;
	c.key[0] = 1;
	c.key[1] = (uint8_t)id;
	if (step == STEP_TOKEN)
		c.key[0] = 9;
	c.key2[0] = 9;
	c.key2[1] = (uint8_t)id;
	snprintf(c.text, sizeof(c.text), "simulated");
	if (step == STEP_TENANT || step == STEP_REGISTER)
		snprintf(c.name, sizeof(c.name), "%s", step == STEP_TENANT ? "alice" : "register");
	else
		snprintf(c.name, sizeof(c.name), "n%u", id);
	snprintf(c.addr, sizeof(c.addr), "10.0.0.%u:7300", id);
	return c;
}

static void operator_go(struct sim *s, enum step step, node_id id)
{
	struct naming_cmd c = operator_cmd(step, step < STEP_TOKEN ? 1 : id);

	if (!s->nodes[1].name ||
	    !name_propose(s, &s->nodes[1], &c, PATIENCE_MS, operator_done, step, id))
		world_in(&s->w, NS_PER_S, operator_again, "operator", 1, step, id, NULL);
}

void registry_start(struct sim *s)
{
	loans_start(s);
	operator_go(s, STEP_CREATE, 2);
}

/* ---- admission ---- */

static void admitted(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
		     const struct naming_result *r)
{
	(void)a;
	(void)b;
	n->admitting = false;
	if (err == 0 && r->err == 0)
		pod_admitted(s, n, r->epoch);
}

static void admit(struct sim *s, struct knode *n, const struct naming_node *row)
{
	struct naming_cmd c = { .kind = NAMING_CMD_NODE_EPOCH, .node = n->id };

	if (n->admitting || name_info(n).leader == NODE_NONE)
		return;
	if (n->boot == 1 && row->epoch == 1) { /* it has just joined */
		pod_admitted(s, n, 1);
		return;
	}
	c.epoch = row->epoch;
	n->admitting = name_propose(s, n, &c, PATIENCE_MS, admitted, 0, 0);
}

/* ---- pid blocks ---- */

static void block_take(struct sim *s, struct knode *n, uint32_t number, uint64_t aterm)
{
	n->lease_block = number;
	n->lease_aterm = aterm;
	n->cursor = 0;
	n->want_block = false;
	registry_tables(s, n);
}

/* A block that is ours, and of which nobody was told: the answer to its lease was lost. */
static bool block_take_unused(struct sim *s, struct knode *n)
{
	const struct naming_block *b;

	for (uint32_t i = 0; (b = naming_block_at(name_tables(n), i)) != NULL; i++) {
		if (b->authority != n->id || b->life != n->epoch || b->epoch != 1 ||
		    b->number >= SIM_BLOCKS_MAX || b->number == n->lease_block ||
		    n->kept[b->number])
			continue;
		block_take(s, n, b->number, b->epoch);
		return true;
	}
	return false;
}

static void block_leased(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
			 const struct naming_result *r)
{
	(void)b;
	n->leasing = false;
	if (err != 0 || r->err != 0 || a != n->epoch)
		return;
	if (r->value >= SIM_BLOCKS_MAX) {
		world_violate(&s->w, "N5", "block %u is not one of this run", (unsigned)r->value);
		return;
	}
	block_take(s, n, (uint32_t)r->value, r->epoch);
}

static void lease_block(struct sim *s, struct knode *n)
{
	struct naming_cmd c = { .kind = NAMING_CMD_BLOCK_LEASE,
				.tenant = s->tenant,
				.node = n->id,
				.epoch = n->epoch };

	if (n->want_block && !n->leasing && n->kernel_up && s->tenant != 0 &&
	    !block_take_unused(s, n))
		n->leasing = name_propose(s, n, &c, PATIENCE_MS, block_leased, n->epoch, 0);
}

/* ---- what the tables say ---- */

void registry_tables(struct sim *s, struct knode *n)
{
	const struct naming_core *k;
	struct view v = { 0 };
	const struct naming_node *row;
	const struct naming_block *b;

	if (!n->name)
		return;
	k = name_tables(n);
	for (uint32_t i = 0; (row = naming_node_at(k, i)) != NULL; i++)
		v.nodes[row->id] = (struct view_node){ row->epoch, !row->down };
	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++) {
		/* Its records died with a life of the node that is over: nobody is asked. */
		row = naming_node_find(k, b->authority);
		if (b->number < SIM_BLOCKS_MAX && row && row->epoch == b->life)
			v.blocks[b->number] = (struct view_block){ b->authority, b->epoch };
	}
	gossip_tables(s, n);
	pod_on_view(s, n, &v);
	loans_tables(s, n);
}

/* ---- where it leads ---- */

static void leads(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
		  const struct naming_result *r)
{
	struct naming_replica_info i = name_info(n);

	(void)b;
	(void)r;
	n->lead_asking = false;
	if (err != 0 || i.role != NAMING_REPLICA_LEADER || i.term != a)
		return;
	world_trace(&s->w, 'i', n->id, "leads naming", a);
	s->stats.leaders++;
	lease_book_lead(&n->book, a, n->lead_asked_ns);
	check_reach(s);
}

/* It leads naming, and so it keeps the book of leases, once it has applied all that was committed
 * before. A book that was not looked into for too long begins anew. */
void registry_status(struct sim *s, struct knode *n)
{
	struct naming_replica_info i = name_info(n);
	struct naming_cmd noop = { .kind = NAMING_CMD_NOOP };
	const struct naming_node *row = naming_node_find(name_tables(n), n->id);

	if (n->epoch == 0 && row)
		admit(s, n, row);
	if (i.role != NAMING_REPLICA_LEADER && n->lead_term == 0)
		return;
	if (n->lead_term == i.term && i.role == NAMING_REPLICA_LEADER &&
	    (n->book.leads || n->lead_asking))
		return;
	lease_book_stop(&n->book);
	check_reach(s);
	if (i.role != NAMING_REPLICA_LEADER) {
		n->lead_term = 0;
		return;
	}
	n->lead_asked_ns = world_local(&s->w, n->id);
	n->lead_asking = name_propose(s, n, &noop, NAMING_DEADLINE_MAX_MS, leads, i.term, 0);
	n->lead_term = i.term;
}

static void duty_done(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
		      const struct naming_result *r)
{
	(void)s;
	(void)a;
	(void)b;
	(void)err;
	(void)r;
	n->duties--;
}

static void announce(struct sim *s, struct knode *n, const struct naming_node *row)
{
	struct naming_cmd c = {
		.kind = NAMING_CMD_NODE_EPOCH, .node = row->id, .epoch = row->epoch, .flags = 1
	};

	if (name_propose(s, n, &c, PATIENCE_MS, duty_done, 0, 0))
		n->duties++;
}

static node_id live_node(const struct sim *s, const struct knode *n, uint32_t pick, node_id but)
{
	for (uint32_t i = 0; i < s->conf.nodes; i++) {
		node_id id = (pick + i) % s->conf.nodes + 1;
		const struct naming_node *row = naming_node_find(name_tables(n), id);

		if (row && !row->down && id != but)
			return id;
	}
	return NODE_NONE;
}

static void move_block(struct sim *s, struct knode *n, const struct naming_block *b, node_id to)
{
	struct naming_cmd c = { .kind = NAMING_CMD_BLOCK_MOVE,
				.tenant = b->tenant,
				.node = b->authority,
				.to = to,
				.number = b->number,
				.epoch = b->epoch };

	if (name_propose(s, n, &c, PATIENCE_MS, duty_done, 0, 0))
		n->duties++;
}

static void move_orphans(struct sim *s, struct knode *n)
{
	const struct naming_core *k = name_tables(n);
	const struct naming_block *b;

	for (uint32_t i = 0; n->duties < MOVES_MAX; i++) {
		const struct naming_node *row;
		node_id to;

		b = naming_block_at(k, i);
		if (!b)
			return;
		row = naming_node_find(k, b->authority);
		if (row->epoch == b->life && !row->down)
			continue;
		to = live_node(s, n, b->number, NODE_NONE);
		if (to != NODE_NONE)
			move_block(s, n, b, to);
	}
}

static void lead(struct sim *s, struct knode *n)
{
	uint64_t now_ns = world_local(&s->w, n->id);
	const struct naming_node *row;

	registry_status(s, n);
	if (s->cov)
		s->cov->book[n->book.leads][1]++;
	/* One round after the other: what is under way would be asked for again. */
	if (!n->book.leads || n->duties > 0)
		return;
	for (uint32_t i = 0; (row = naming_node_at(name_tables(n), i)) != NULL; i++) {
		if (!row->down && lease_book_over(&n->book, row->id, row->epoch, now_ns))
			announce(s, n, row);
	}
	move_orphans(s, n);
}

static void on_duty(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct knode *n = &s->nodes[node];
	const struct naming_node *row;

	if (pod_stalled(s, n, on_duty, "duty", a, b, payload) || !sim_guard_pod(s, node, payload))
		return;
	pod_later(s, n, DUTY_NS, on_duty, "duty", 0, 0);
	row = naming_node_find(name_tables(n), n->id);
	/* Announced dead before it had its first lease: that life is over too. */
	if (n->epoch != 0 && row && row->epoch > n->epoch && !n->started)
		n->epoch = 0;
	if (n->epoch == 0 && row)
		admit(s, n, row);
	if (n->epoch != 0)
		lease_block(s, n);
	lead(s, n);
}

void registry_pod_up(struct sim *s, struct knode *n)
{
	n->admitting = n->leasing = n->lead_asking = false;
	n->duties = 0;
	n->lead_term = 0;
	lease_book_init(&n->book, &s->lease, n->book_rows, ARRAY_LEN(n->book_rows));
	pod_later(s, n, 10 * NS_PER_MS, on_duty, "duty", 0, 0);
	loans_pod_up(s, n);
}

/* ---- an operator drains something ---- */

/* The block of a process that is being moved right now, or 0: where a handover hurts most. */
static uint32_t moving_block(const struct sim *s, uint32_t pick)
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

static void handed_over(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
			const struct naming_result *r)
{
	(void)n;
	(void)a;
	(void)b;
	s->stats.handovers += err == 0 && r->err == 0;
}

static bool handover(struct sim *s, struct knode *n, uint32_t pick)
{
	uint32_t moving = pick & 1 ? moving_block(s, pick) : 0;
	uint32_t from = (moving ? moving : pick) % SIM_BLOCKS_MAX;

	for (uint32_t i = 0; i < SIM_BLOCKS_MAX; i++) {
		const struct naming_block *b =
			naming_block_find(name_tables(n), s->tenant, (from + i) % SIM_BLOCKS_MAX);
		struct naming_cmd c = { .kind = NAMING_CMD_BLOCK_MOVE };

		if (!b)
			continue;
		c.tenant = b->tenant;
		c.node = b->authority;
		c.number = b->number;
		c.epoch = b->epoch;
		c.to = live_node(s, n, pick, b->authority);
		return c.to != NODE_NONE && name_propose(s, n, &c, PATIENCE_MS, handed_over, 0, 0);
	}
	return false;
}

void registry_handover(struct sim *s, uint32_t pick)
{
	for (uint32_t i = 0; i < s->conf.nodes; i++) {
		struct knode *n = &s->nodes[(pick + i) % s->conf.nodes + 1];

		if (n->up && n->name && handover(s, n, pick))
			return;
	}
}

/* ---- the register: R1 ---- */

static void wrote(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
		  const struct naming_result *r)
{
	(void)b;
	if (err == 0)
		check_wrote(s, n, a, r);
}

static void read_back(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
		      const struct naming_result *r)
{
	const struct naming_tenant *t = naming_tenant_find(name_tables(n), s->reg);

	(void)b;
	(void)r;
	if (err == 0 && t)
		check_read(s, n, a, t->limits.storage_bytes);
}

static void on_program(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct rand *r = &w->rng[RNG_NAME];
	struct knode *n = &s->nodes[1 + rand_below(r, s->conf.nodes)];
	struct naming_cmd c = { .kind = NAMING_CMD_NOOP };
	bool write = rand_chance(r, 1, 2);

	(void)a;
	(void)b;
	(void)payload;
	if (s->quiet)
		return;
	world_in(w, (100 + rand_below(r, 900)) * NS_PER_MS, on_program, "program", node, 0, 0,
		 NULL);
	if (!n->up || !n->name || s->reg == 0)
		return;
	if (!write) {
		(void)name_propose(s, n, &c, PATIENCE_MS, read_back, check_read_begins(s), 0);
		return;
	}
	c.kind = NAMING_CMD_TENANT_LIMITS;
	c.tenant = s->reg;
	c.limits.storage_bytes = ++s->written;
	(void)name_propose(s, n, &c, PATIENCE_MS, wrote, s->written, 0);
}

void registry_programs(struct sim *s)
{
	world_in(&s->w, 3 * NS_PER_S, on_program, "program", 0, 0, 0, NULL);
}
