/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node's share of a tenant's limits: alone, and four of them around the real ledger, whose
 * commands are late, doubled, lost or of unknown outcome, whose copies lag, whose daemons are
 * restarted and whose hosts die. Held against each other after every step: what a world is held to
 * is never more than its row says.
 */
#include <errno.h>
#include <string.h>

#include "base/mutant.h"
#include "base/rand.h"
#include "quota/quota.h"
#include "tests/unit/unit.h"

static const struct naming_sizes sizes = { 6, 2, 2, 8, 8, 2, 2, 4, 8 };

enum { NODES = 4, LOG_MAX = 100000, FLIGHT_MAX = 512 };

struct flight {
	bool used;
	struct naming_cmd cmd;
	node_id node;
	uint32_t life;
	uint64_t no;
};

struct entry {
	struct naming_cmd cmd;
	node_id node; /* who is to be answered; 0: nobody */
	uint32_t life;
	uint64_t no;
};

struct node {
	struct naming_core *k; /* its copy */
	void *mem;
	uint32_t applied;
	uint32_t life; /* of its daemon */
	struct quota_share share;
	bool running; /* the world */
	struct quota_amounts held;
	struct quota_amounts use;
	uint64_t asked; /* number of the command it waits for */
};

struct cluster {
	struct naming_core *k; /* the truth: everything in the log */
	void *mem;
	struct entry *log;
	uint32_t log_len;
	struct flight flight[FLIGHT_MAX];
	struct node node[NODES + 1];
	struct rand rng;
	uint64_t commands;
	uint64_t lowered, raised, stale, unknown;
	const char *broken; /* the first invariant that did not hold */
};

static void core_make(struct naming_core **k, void **mem)
{
	if (*mem == NULL)
		*mem = malloc(naming_core_bytes(&sizes));
	memset(*mem, 0, naming_core_bytes(&sizes));
	*k = naming_core_init(*mem, &sizes);
}

static struct naming_result apply(struct naming_core *k, const struct naming_cmd *cmd)
{
	const struct naming_stamp none = { 0 };
	struct naming_result r;
	struct naming_change c;

	naming_core_apply(k, 1000, &none, cmd, &r, &c);
	return r;
}

/* The invariant of all: against the truth, not against the node's copy. */
static void check(struct cluster *cl)
{
	for (node_id id = 1; id <= NODES; id++) {
		const struct node *n = &cl->node[id];
		const struct naming_loan *l = naming_loan_find(cl->k, 1, id);

		for (unsigned r = 0; n->running && r < QUOTA_RESOURCES; r++)
			if (n->held.v[r] > (l ? l->lent[r] : 0))
				cl->broken = "Q1 more is held than the row says";
	}
	if (cl->broken == NULL)
		cl->broken = naming_core_recount(cl->k);
}

static void step(struct cluster *cl, node_id id, enum quota_ev_kind kind, int err,
		 const struct quota_amounts *a);

static void log_add(struct cluster *cl, const struct naming_cmd *cmd, node_id node, uint32_t life,
		    uint64_t no)
{
	uint64_t before[QUOTA_RESOURCES];
	const struct naming_tenant *t;

	assert_true(cl->log_len < LOG_MAX);
	cl->log[cl->log_len++] = (struct entry){ *cmd, node, life, no };
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
		before[r] = naming_lent(cl->k, 1, r);
	(void)apply(cl->k, cmd);
	t = naming_tenant_find(cl->k, 1);
	for (unsigned r = 0; t && r < QUOTA_RESOURCES; r++)
		if (naming_lent(cl->k, 1, r) > MAX(before[r], naming_limit(t, r)))
			cl->broken = "Q1 more is lent than the limit";
	check(cl);
}

static void fly(struct cluster *cl, node_id id, const struct naming_cmd *cmd, uint64_t no)
{
	for (unsigned i = 0; i < FLIGHT_MAX; i++) {
		struct flight *f = &cl->flight[i];

		if (f->used)
			continue;
		*f = (struct flight){ true, *cmd, id, cl->node[id].life, no };
		return;
	}
}

/* As a control group does it: what is in use stays, whatever is written there, but for time. */
static void enforce(struct cluster *cl, node_id id, const struct quota_amounts *want)
{
	struct node *n = &cl->node[id];
	struct quota_amounts now;

	for (unsigned r = 0; r < QUOTA_RESOURCES; r++) {
		uint64_t old = n->held.v[r];

		now.v[r] = r == QUOTA_CPU ? want->v[r] : MAX(want->v[r], MIN(n->use.v[r], old));
		cl->lowered += now.v[r] < old;
		cl->raised += now.v[r] > old;
	}
	n->held = now;
	check(cl);
	step(cl, id, QUOTA_EV_HELD, 0, &now);
}

static void step(struct cluster *cl, node_id id, enum quota_ev_kind kind, int err,
		 const struct quota_amounts *a)
{
	struct node *n = &cl->node[id];
	struct quota_view v;
	struct quota_out out;
	struct quota_ev ev = { .kind = kind, .err = err, .view = &v };
	struct naming_cmd cmd;

	quota_view_of(n->k, 1, id, &v);
	if (a != NULL)
		ev.amounts = *a;
	if (quota_share_step(&n->share, &ev, &out) != 0)
		return;
	if (out.propose) {
		n->asked = ++cl->commands;
		quota_command_of(n->k, 1, id, &out, &cmd);
		fly(cl, id, &cmd, n->asked);
		if (rand_chance(&cl->rng, 1, 8))
			fly(cl, id, &cmd, n->asked);
	}
	if (out.enforce)
		enforce(cl, id, &out.hold);
}

/* One more entry reaches a node's copy, and with it perhaps an answer. */
static void catch_up(struct cluster *cl, node_id id)
{
	struct node *n = &cl->node[id];
	const struct entry *e = &cl->log[n->applied];
	struct naming_result r;

	if (n->applied == cl->log_len)
		return;
	n->applied++;
	r = apply(n->k, &e->cmd);
	if (e->node == id && e->life == n->life && e->no == n->asked) {
		n->asked = 0;
		cl->stale += r.err == -ESTALE;
		step(cl, id, QUOTA_EV_ANSWER, r.err, NULL);
	} else {
		step(cl, id, QUOTA_EV_VIEW, 0, NULL);
	}
}

static void deliver(struct cluster *cl)
{
	uint32_t at = (uint32_t)rand_below(&cl->rng, FLIGHT_MAX), i = 0;
	struct flight *f;

	do {
		f = &cl->flight[(at + i) % FLIGHT_MAX];
	} while (!f->used && ++i < FLIGHT_MAX);
	if (!f->used)
		return;
	f->used = false;
	/* Some are lost; nobody will be told. */
	if (!rand_chance(&cl->rng, 1, 10))
		log_add(cl, &f->cmd, f->node, f->life, f->no);
}

static void copy_restart(struct cluster *cl, struct node *n)
{
	uint32_t to = n->applied - (uint32_t)rand_below(&cl->rng, MIN(n->applied, 20u));

	core_make(&n->k, &n->mem);
	for (n->applied = 0; n->applied < to; n->applied++)
		(void)apply(n->k, &cl->log[n->applied].cmd);
}

static void daemon_restart(struct cluster *cl, node_id id)
{
	struct node *n = &cl->node[id];

	n->life++;
	n->asked = 0;
	quota_share_init(&n->share);
	copy_restart(cl, n);
	if (n->running)
		step(cl, id, QUOTA_EV_OPEN, 0, &n->held);
}

static void host_dies(struct cluster *cl, node_id id)
{
	struct node *n = &cl->node[id];
	struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_EPOCH,
				  .node = id,
				  .epoch = naming_node_find(cl->k, id)->epoch };

	n->running = false;
	memset(&n->held, 0, sizeof(n->held));
	memset(&n->use, 0, sizeof(n->use));
	daemon_restart(cl, id);
	log_add(cl, &cmd, 0, 0, 0);
}

static void use_changes(struct cluster *cl, struct node *n)
{
	for (unsigned r = 0; n->running && r < QUOTA_RESOURCES; r++)
		if (n->held.v[r] != 0 && n->held.v[r] != QUOTA_ANY)
			n->use.v[r] = rand_below(&cl->rng, n->held.v[r] + 1);
}

static void open_or_close(struct cluster *cl, node_id id)
{
	struct node *n = &cl->node[id];
	struct quota_amounts none = { { 0 } };

	if (!n->running && n->share.open && n->share.ready) {
		n->running = true;
	} else if (!n->running && !n->share.open) {
		memset(&n->use, 0, sizeof(n->use));
		n->held = none;
		step(cl, id, QUOTA_EV_OPEN, 0, &none);
	} else if (rand_chance(&cl->rng, 1, 30)) {
		n->running = false;
		n->held = none;
		step(cl, id, QUOTA_EV_CLOSE, 0, NULL);
	}
}

static void limits_change(struct cluster *cl)
{
	struct naming_cmd cmd = { .kind = NAMING_CMD_TENANT_LIMITS, .tenant = 1 };

	cmd.limits.cpu_milli = 100 * (uint32_t)rand_below(&cl->rng, 20);
	cmd.limits.procs = 10 * (uint32_t)rand_below(&cl->rng, 20);
	cmd.limits.memory_bytes = (uint64_t)rand_below(&cl->rng, 20) << 24;
	log_add(cl, &cmd, 0, 0, 0);
}

static void something(struct cluster *cl)
{
	node_id id = 1 + (node_id)rand_below(&cl->rng, NODES);
	struct node *n = &cl->node[id];
	uint64_t d = rand_below(&cl->rng, 1000);

	if (d < 500)
		catch_up(cl, id);
	else if (d < 650)
		deliver(cl);
	else if (d < 850)
		step(cl, id, QUOTA_EV_TICK, 0, &n->use);
	else if (d < 920)
		use_changes(cl, n);
	else if (d < 980)
		open_or_close(cl, id);
	else if (d < 984)
		limits_change(cl);
	else if (d < 990)
		daemon_restart(cl, id);
	else if (d < 992)
		host_dies(cl, id);
	else if (n->asked != 0) {
		n->asked = 0;
		cl->unknown++;
		step(cl, id, QUOTA_EV_ANSWER, -ETIMEDOUT, NULL);
	}
}

static void make_machine(struct cluster *cl)
{
	struct naming_cmd t = { .kind = NAMING_CMD_TENANT_ADD,
				.name = "alice",
				.limits = { .cpu_milli = 2000, .procs = 100 } };

	core_make(&cl->k, &cl->mem);
	for (node_id id = 1; id <= NODES; id++) {
		struct naming_cmd token = {
			.kind = NAMING_CMD_TOKEN_ADD, .key = { 7 }, .number = 1, .ttl_ms = 1000
		};
		struct naming_cmd c = { .kind = id == 1 ? NAMING_CMD_CREATE : NAMING_CMD_NODE_JOIN,
					.addr = "h:1",
					.machine_id = { 1 },
					.text = "grove" };

		c.key[0] = (uint8_t)id;
		c.key2[0] = 7;
		c.name[0] = 'n';
		c.name[1] = (char)('0' + id);
		if (id > 1)
			log_add(cl, &token, 0, 0, 0);
		log_add(cl, &c, 0, 0, 0);
	}
	log_add(cl, &t, 0, 0, 0);
}

static struct cluster *cluster_new(uint64_t seed)
{
	struct cluster *cl = calloc(1, sizeof(*cl));

	cl->log = calloc(LOG_MAX, sizeof(*cl->log));
	rand_seed(&cl->rng, seed);
	make_machine(cl);
	for (node_id id = 1; id <= NODES; id++) {
		core_make(&cl->node[id].k, &cl->node[id].mem);
		quota_share_init(&cl->node[id].share);
		while (cl->node[id].applied < cl->log_len)
			catch_up(cl, id);
	}
	return cl;
}

static void cluster_free(struct cluster *cl)
{
	for (node_id id = 1; id <= NODES; id++)
		free(cl->node[id].mem);
	free(cl->mem);
	free(cl->log);
	free(cl);
}

/* No more faults: everything that was said arrives, and everybody looks again. */
static void quiet(struct cluster *cl)
{
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < FLIGHT_MAX; i++) {
			struct flight *f = &cl->flight[i];

			if (f->used)
				log_add(cl, &f->cmd, f->node, f->life, f->no);
			f->used = false;
		}
		for (node_id id = 1; id <= NODES; id++) {
			struct node *n = &cl->node[id];

			while (n->applied < cl->log_len)
				catch_up(cl, id);
			if (round == 0 && n->asked != 0 && !n->share.resend) {
				n->asked = 0;
				step(cl, id, QUOTA_EV_ANSWER, -ETIMEDOUT, NULL);
			}
			step(cl, id, QUOTA_EV_TICK, 0, &n->use);
		}
	}
}

static struct cluster *storm(uint64_t seed)
{
	struct cluster *cl = cluster_new(seed);

	for (unsigned i = 0; i < 8000 && cl->broken == NULL; i++)
		something(cl);
	if (cl->broken == NULL)
		quiet(cl);
	return cl;
}

static void check_end(const struct cluster *cl, uint64_t seed)
{
	if (cl->broken != NULL)
		fail_msg("seed %u: %s", (unsigned)seed, cl->broken);
	for (node_id id = 1; id <= NODES; id++) {
		const struct quota_share *s = &cl->node[id].share;

		if (s->open && s->state != QUOTA_HOLDING && s->state != QUOTA_ASKING)
			fail_msg("seed %u: node %u ends %s, refused %d", (unsigned)seed, id,
				 quota_state_name(s->state), s->refused);
		if (!s->open && naming_loan_find(cl->k, 1, id) != NULL)
			fail_msg("seed %u: node %u keeps a loan without a world", (unsigned)seed,
				 id);
	}
}

static void nobody_ever_holds_more_than_is_lent(void **state)
{
	uint64_t lowered = 0, raised = 0, stale = 0, unknown = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct cluster *cl = storm(seed);

		check_end(cl, seed);
		lowered += cl->lowered;
		raised += cl->raised;
		stale += cl->stale;
		unknown += cl->unknown;
		cluster_free(cl);
	}
	/* It was one. */
	assert_true(lowered > 1000 && raised > 1000 && stale > 100 && unknown > 100);
}

#ifdef PANDO_MUTANTS
static void every_broken_variant_is_caught(void **state)
{
	(void)state;
	for (size_t i = 0; mutant_name(i) != NULL; i++) {
		const char *name = mutant_name(i), *caught = NULL;
		uint64_t seed;

		if (strncmp(name, "quota.share.", 12) != 0 &&
		    strncmp(name, "naming.loan.", 12) != 0)
			continue;
		assert_true(mutant_select(name));
		for (seed = 1; seed <= 200 && caught == NULL; seed++) {
			struct cluster *cl = storm(seed);

			caught = cl->broken;
			cluster_free(cl);
		}
		(void)mutant_select(NULL);
		if (caught == NULL)
			fail_msg("%s is not caught", name);
		print_message("%s: seed %u: %s\n", name, (unsigned)seed - 1, caught);
	}
}
#endif

/* ---- without faults: what it asks for, and when ---- */

static void settle_all(struct cluster *cl)
{
	for (unsigned i = 0; i < 30; i++)
		quiet(cl);
}

static void start(struct cluster *cl, node_id id)
{
	struct quota_amounts none = { { 0 } };

	step(cl, id, QUOTA_EV_OPEN, 0, &none);
	quiet(cl);
	assert_true(cl->node[id].share.ready);
	cl->node[id].running = true;
}

static void the_first_node_gets_all_and_the_second_its_part(void **state)
{
	struct cluster *cl = cluster_new(1);

	(void)state;
	start(cl, 1);
	/* All but a little for each other node. */
	assert_int_equal(cl->node[1].held.v[QUOTA_PROCS], 88);
	assert_true(cl->node[1].held.v[QUOTA_MEMORY] == QUOTA_ANY);
	cl->node[1].use.v[QUOTA_PROCS] = 10;
	start(cl, 2);
	assert_in_range(cl->node[2].held.v[QUOTA_PROCS], 4, 60);
	/* It grows as it is used, and node 1 gives what it does not use. */
	for (uint64_t use = 4; use <= 60; use += 4) {
		cl->node[2].use.v[QUOTA_PROCS] = use;
		settle_all(cl);
		assert_true(cl->node[2].held.v[QUOTA_PROCS] > use);
	}
	assert_true(cl->node[1].held.v[QUOTA_PROCS] >= 10);
	assert_true(cl->node[1].held.v[QUOTA_PROCS] + cl->node[2].held.v[QUOTA_PROCS] <= 100);
	cluster_free(cl);
}

static struct quota_out told(struct quota_share *s, enum quota_ev_kind kind,
			     const struct quota_view *v)
{
	struct quota_ev ev = { .kind = kind, .view = v };
	struct quota_out out;

	assert_int_equal(quota_share_step(s, &ev, &out), 0);
	return out;
}

/* Whoever is to give is slow: a login was refused after 8 s, for at the first tick nothing seemed
 * to be needed any more. */
static void a_world_that_has_too_little_to_begin_goes_on_waiting(void **state)
{
	struct quota_view v = { .others = 1 };
	struct quota_share s;
	struct quota_out out;

	(void)state;
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
		v.limit.v[r] = v.least.v[r] = v.unlent.v[r] = QUOTA_ANY;
	v.limit.v[QUOTA_PROCS] = 60;
	v.least.v[QUOTA_PROCS] = 4;
	v.unlent.v[QUOTA_PROCS] = 3;
	quota_share_init(&s);
	out = told(&s, QUOTA_EV_OPEN, &v);
	assert_true(out.propose && out.need.v[QUOTA_PROCS] >= 4);
	v.row = true;
	v.serial = 1;
	v.lent = v.limit;
	v.need = out.need;
	v.lent.v[QUOTA_PROCS] = 3;
	v.unlent.v[QUOTA_PROCS] = 0;
	(void)told(&s, QUOTA_EV_ANSWER, &v);
	out = told(&s, QUOTA_EV_TICK, &v);
	assert_false(out.propose || s.ready);
	/* Nor does it give that up when it asks for something else. */
	v.limit.v[QUOTA_CPU] = 1000;
	v.lent.v[QUOTA_CPU] = 0;
	v.unlent.v[QUOTA_CPU] = 500;
	v.least.v[QUOTA_CPU] = 0;
	out = told(&s, QUOTA_EV_TICK, &v);
	assert_true(out.propose && out.need.v[QUOTA_PROCS] >= 4);
	v.lent.v[QUOTA_PROCS] = 4;
	v.lent.v[QUOTA_CPU] = out.like.v[QUOTA_CPU];
	(void)told(&s, QUOTA_EV_ANSWER, &v);
	assert_true(s.ready);
}

/* Two nodes gave the same to each other ten times a second. */
static void nobody_gives_of_what_he_would_ask_for_again(void **state)
{
	struct quota_amounts none = { { 0 } };
	struct quota_view v = { .row = true, .serial = 1, .others = 1 };
	struct quota_share s;
	struct quota_out out;

	(void)state;
	v.limit = v.lent = v.need = (struct quota_amounts){ { 1000, 60, 1 << 27 } };
	v.least = (struct quota_amounts){ { 50, 4, 1 << 24 } };
	quota_share_init(&s);
	(void)told(&s, QUOTA_EV_OPEN, &v);
	(void)told(&s, QUOTA_EV_ANSWER, &v);
	v.waiting = (struct quota_amounts){ { 950, 56, 7 << 24 } };
	v.lent = v.need = (struct quota_amounts){ { 80, 6, 5 << 22 } };
	out = told(&s, QUOTA_EV_TICK, &v);
	assert_true(out.enforce);
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++)
		assert_in_range(out.hold.v[r], v.least.v[r], v.lent.v[r] - 1);
	(void)told(&s, QUOTA_EV_CLOSE, &v);

	quota_share_init(&s);
	v.waiting = none;
	v.lent = v.need = v.least;
	(void)told(&s, QUOTA_EV_OPEN, &v);
	(void)told(&s, QUOTA_EV_ANSWER, &v);
	v.waiting = (struct quota_amounts){ { 950, 56, 7 << 24 } };
	out = told(&s, QUOTA_EV_TICK, &v);
	assert_false(out.enforce || out.propose);
}

static void what_a_closed_world_held_is_there_for_others(void **state)
{
	struct cluster *cl = cluster_new(2);

	(void)state;
	start(cl, 1);
	cl->node[1].use.v[QUOTA_PROCS] = 88;
	settle_all(cl);
	start(cl, 2);
	cl->node[2].use.v[QUOTA_PROCS] = cl->node[2].held.v[QUOTA_PROCS];
	settle_all(cl);
	cl->node[1].running = false;
	cl->node[1].held = (struct quota_amounts){ { 0 } };
	step(cl, 1, QUOTA_EV_CLOSE, 0, NULL);
	settle_all(cl);
	assert_null(naming_loan_find(cl->k, 1, 1));
	assert_true(cl->node[2].held.v[QUOTA_PROCS] > 12);
	assert_true(cl->node[2].held.v[QUOTA_PROCS] > cl->node[2].use.v[QUOTA_PROCS]);
	cluster_free(cl);
}

static void a_lowered_limit_is_in_force_soon(void **state)
{
	struct naming_cmd cmd = {
		.kind = NAMING_CMD_TENANT_LIMITS,
		.tenant = 1,
		.limits = { .cpu_milli = 500, .procs = 20, .memory_bytes = 1 << 26 }
	};
	struct cluster *cl = cluster_new(3);

	(void)state;
	start(cl, 1);
	start(cl, 2);
	cl->node[1].use.v[QUOTA_PROCS] = 15;
	cl->node[1].use.v[QUOTA_CPU] = 2000; /* time is taken from who uses it */
	log_add(cl, &cmd, 0, 0, 0);
	settle_all(cl);
	assert_int_equal(naming_tenant_find(cl->k, 1)->over, 0);
	assert_true(cl->node[1].held.v[QUOTA_CPU] + cl->node[2].held.v[QUOTA_CPU] <= 500);
	assert_true(cl->node[1].held.v[QUOTA_PROCS] >= 15);
	assert_true(cl->node[1].held.v[QUOTA_PROCS] + cl->node[2].held.v[QUOTA_PROCS] <= 20);
	assert_true(cl->node[1].held.v[QUOTA_MEMORY] + cl->node[2].held.v[QUOTA_MEMORY] <= 1 << 26);
	cluster_free(cl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_ever_holds_more_than_is_lent),
		cmocka_unit_test(the_first_node_gets_all_and_the_second_its_part),
		cmocka_unit_test(a_world_that_has_too_little_to_begin_goes_on_waiting),
		cmocka_unit_test(nobody_gives_of_what_he_would_ask_for_again),
		cmocka_unit_test(what_a_closed_world_held_is_there_for_others),
		cmocka_unit_test(a_lowered_limit_is_in_force_soon),
#ifdef PANDO_MUTANTS
		cmocka_unit_test(every_broken_variant_is_caught),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
