/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger in naming's tables: Q1, Q2. */
#include <errno.h>
#include <string.h>

#include "base/rand.h"
#include "naming/core/core.h"
#include "tests/unit/unit.h"

static const struct naming_sizes sizes = { 6, 4, 2, 8, 8, 2, 2, 4, 8 };

enum { NODES = 4 };

struct ledger {
	struct naming_core *k;
	void *mem;
	struct naming_result r;
	struct naming_change c;
};

static int32_t run(struct ledger *l, const struct naming_cmd *cmd)
{
	const struct naming_stamp none = { 0 };

	naming_core_apply(l->k, 1000, &none, cmd, &l->r, &l->c);
	assert_null(naming_core_recount(l->k));
	if (l->r.err != 0)
		assert_int_equal(l->c.kinds, 0);
	return l->r.err;
}

static void add_node(struct ledger *l, node_id id)
{
	struct naming_cmd c = { .kind = id == 1 ? NAMING_CMD_CREATE : NAMING_CMD_NODE_JOIN,
				.addr = "h:1",
				.machine_id = { 1 },
				.text = "grove" };
	struct naming_cmd token = {
		.kind = NAMING_CMD_TOKEN_ADD, .key = { 7 }, .number = 1, .ttl_ms = 1000
	};

	c.key[0] = (uint8_t)id;
	c.name[0] = 'n';
	c.name[1] = (char)('0' + id);
	c.key2[0] = 7;
	if (id > 1)
		assert_int_equal(run(l, &token), 0);
	assert_int_equal(run(l, &c), 0);
}

static int setup(void **state)
{
	struct ledger *l = calloc(1, sizeof(*l));
	struct naming_cmd t = { .kind = NAMING_CMD_TENANT_ADD,
				.name = "alice",
				.limits = { .cpu_milli = 2000, .procs = 100 } };

	l->mem = calloc(1, naming_core_bytes(&sizes));
	l->k = naming_core_init(l->mem, &sizes);
	for (node_id id = 1; id <= NODES; id++)
		add_node(l, id);
	assert_int_equal(run(l, &t), 0);
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	struct ledger *l = *state;

	free(l->mem);
	free(l);
	return 0;
}

static const struct naming_loan *row(const struct ledger *l, node_id node)
{
	return naming_loan_find(l->k, 1, node);
}

/* As a node does it that knows its row. */
static int32_t ask(struct ledger *l, node_id node, uint64_t like, uint64_t need)
{
	const struct naming_loan *have = row(l, node);
	struct naming_cmd c = { .kind = NAMING_CMD_LOAN,
				.tenant = 1,
				.node = node,
				.epoch = naming_node_find(l->k, node)->epoch,
				.serial = have ? have->serial : 0,
				.like = { 100, like, NAMING_ANY },
				.need = { 100, need, NAMING_ANY } };

	return run(l, &c);
}

static int32_t give_back(struct ledger *l, node_id node, uint64_t serial)
{
	struct naming_cmd c = { .kind = NAMING_CMD_LOAN,
				.tenant = 1,
				.node = node,
				.epoch = naming_node_find(l->k, node)->epoch,
				.serial = serial,
				.flags = 1 };

	return run(l, &c);
}

static int32_t limit(struct ledger *l, uint32_t procs)
{
	struct naming_cmd c = { .kind = NAMING_CMD_TENANT_LIMITS,
				.tenant = 1,
				.limits = { .cpu_milli = 2000, .procs = procs } };

	return run(l, &c);
}

/* With a little kept for each node that has nothing yet: 4 of 100. */
static void a_node_gets_what_there_is_and_no_more(void **state)
{
	struct ledger *l = *state;

	assert_int_equal(ask(l, 1, 70, 10), 0);
	assert_int_equal(row(l, 1)->lent[NAMING_PROCS], 70);
	assert_true(row(l, 1)->lent[NAMING_MEMORY] == NAMING_ANY);
	assert_int_equal(ask(l, 2, 70, 10), 0);
	assert_int_equal(row(l, 2)->lent[NAMING_PROCS], 22);
	assert_int_equal(ask(l, 3, 70, 4), 0);
	assert_int_equal(row(l, 3)->lent[NAMING_PROCS], 4);
	assert_int_equal(ask(l, 4, 70, 70), 0);
	assert_int_equal(row(l, 4)->lent[NAMING_PROCS], 4);
	assert_int_equal(naming_lent(l->k, 1, NAMING_PROCS), 100);
}

static void what_comes_back_goes_to_who_waits(void **state)
{
	struct ledger *l = *state;
	uint64_t serial;

	assert_int_equal(ask(l, 1, 100, 88), 0);
	assert_int_equal(ask(l, 2, 30, 30), 0);
	assert_int_equal(ask(l, 3, 40, 40), 0);
	assert_int_equal(ask(l, 4, 4, 4), 0);
	serial = row(l, 2)->serial;
	assert_int_equal(ask(l, 1, 48, 48), 0);
	assert_int_equal(row(l, 2)->lent[NAMING_PROCS], 24);
	assert_int_equal(row(l, 3)->lent[NAMING_PROCS], 24);
	assert_int_equal(row(l, 2)->serial, serial);
	assert_int_equal(give_back(l, 1, row(l, 1)->serial), 0);
	assert_int_equal(row(l, 2)->lent[NAMING_PROCS], 30);
	assert_int_equal(row(l, 3)->lent[NAMING_PROCS], 40);
}

/* A command that was believed lost and comes late means another serial: it changes nothing. */
static void a_late_command_is_refused(void **state)
{
	struct ledger *l = *state;
	uint64_t old;

	assert_int_equal(ask(l, 1, 50, 50), 0);
	old = row(l, 1)->serial;
	assert_int_equal(ask(l, 1, 60, 60), 0);
	assert_int_equal(give_back(l, 1, old), -ESTALE);
	assert_int_equal(row(l, 1)->lent[NAMING_PROCS], 60);
	assert_int_equal(give_back(l, 1, row(l, 1)->serial), 0);
	assert_null(row(l, 1));
	assert_int_equal(give_back(l, 1, old), -ESTALE);
}

static void a_lowered_limit_takes_force_as_loans_come_back(void **state)
{
	struct ledger *l = *state;
	const struct naming_tenant *t = naming_tenant_find(l->k, 1);

	assert_int_equal(ask(l, 1, 50, 50), 0);
	assert_int_equal(ask(l, 2, 50, 50), 0);
	assert_int_equal(limit(l, 60), 0);
	assert_int_equal(t->over, 1u << NAMING_PROCS);
	assert_int_equal(ask(l, 1, 55, 55), 0);
	assert_int_equal(row(l, 1)->lent[NAMING_PROCS], 50);
	assert_int_equal(ask(l, 1, 20, 20), 0);
	assert_int_equal(ask(l, 1, 25, 25), 0);
	assert_int_equal(row(l, 1)->lent[NAMING_PROCS], 20);
	assert_int_equal(ask(l, 2, 40, 40), 0);
	assert_int_equal(t->over, 0);
	assert_int_equal(naming_lent(l->k, 1, NAMING_PROCS), 60);
	/* Raised again, it goes to who waits: node 1 asked for 25. */
	assert_int_equal(limit(l, 80), 0);
	assert_int_equal(row(l, 1)->lent[NAMING_PROCS], 25);
}

/* A limit where there was none: nodes hold "any", until they have seen it. */
static void a_first_limit_finds_everything_lent(void **state)
{
	struct ledger *l = *state;

	assert_int_equal(limit(l, 0), 0);
	assert_int_equal(ask(l, 1, NAMING_ANY, NAMING_ANY), 0);
	assert_int_equal(ask(l, 2, 5, 5), 0);
	assert_true(row(l, 2)->lent[NAMING_PROCS] == NAMING_ANY);
	assert_int_equal(limit(l, 100), 0);
	assert_int_equal(ask(l, 1, 40, 40), 0);
	assert_int_equal(ask(l, 1, 50, 50), 0);
	assert_int_equal(row(l, 1)->lent[NAMING_PROCS], 40);
	assert_int_equal(ask(l, 2, 10, 10), 0);
	assert_int_equal(row(l, 1)->lent[NAMING_PROCS], 50);
	assert_int_equal(naming_tenant_find(l->k, 1)->over, 0);
}

static void a_new_life_of_a_node_holds_nothing(void **state)
{
	struct ledger *l = *state;
	struct naming_cmd epoch = { .kind = NAMING_CMD_NODE_EPOCH, .node = 1, .epoch = 1 };
	struct naming_cmd late = {
		.kind = NAMING_CMD_LOAN, .tenant = 1, .node = 1, .epoch = 1, .like = { 1, 1, 1 }
	};
	struct naming_cmd leave = { .kind = NAMING_CMD_NODE_LEFT, .node = 2, .flags = 1 };

	assert_int_equal(ask(l, 1, 60, 60), 0);
	assert_int_equal(ask(l, 2, 90, 90), 0);
	assert_int_equal(run(l, &epoch), 0);
	assert_null(row(l, 1));
	assert_int_equal(row(l, 2)->lent[NAMING_PROCS], 88);
	assert_int_equal(run(l, &late), -ESTALE);
	assert_int_equal(run(l, &leave), 0);
	assert_null(row(l, 2));
	assert_int_equal(ask(l, 2, 1, 1), -EINVAL);
}

static void a_leaving_node_gets_nothing_new(void **state)
{
	struct ledger *l = *state;
	struct naming_cmd leave = { .kind = NAMING_CMD_NODE_LEAVE, .node = 2 };

	assert_int_equal(ask(l, 1, 80, 80), 0);
	assert_int_equal(ask(l, 2, 12, 30), 0);
	assert_int_equal(run(l, &leave), 0);
	assert_int_equal(ask(l, 1, 10, 10), 0);
	assert_int_equal(row(l, 2)->lent[NAMING_PROCS], 12);
	assert_int_equal(ask(l, 2, 30, 30), 0);
	assert_int_equal(row(l, 2)->lent[NAMING_PROCS], 12);
}

/* Any mix of asks, late ones, limits, lives: recount() after each of them holds Q1 and Q2. */
static void random_asks_never_lend_too_much(void **state)
{
	struct ledger *l = *state;
	struct rand rng;
	unsigned good = 0;

	rand_seed(&rng, 4);
	for (unsigned i = 0; i < 20000; i++) {
		node_id n = 1 + (node_id)rand_below(&rng, NODES);
		struct naming_cmd c = { .kind = NAMING_CMD_LOAN,
					.tenant = 1,
					.node = n,
					.epoch = naming_node_find(l->k, n)->epoch,
					.serial = row(l, n) ? row(l, n)->serial : 0 };

		if (rand_chance(&rng, 1, 20))
			c.serial -= rand_below(&rng, 3);
		if (rand_chance(&rng, 1, 9))
			c.flags = 1;
		for (unsigned r = 0; r < NAMING_RESOURCES; r++) {
			c.like[r] = rand_chance(&rng, 1, 30) ? NAMING_ANY : rand_below(&rng, 120);
			c.need[r] =
				rand_chance(&rng, 1, 30) ? rand_next(&rng) : rand_below(&rng, 120);
		}
		if (rand_chance(&rng, 1, 15)) {
			c.kind = NAMING_CMD_TENANT_LIMITS;
			c.limits.cpu_milli = (uint32_t)rand_below(&rng, 3) * 40;
			c.limits.procs = (uint32_t)rand_below(&rng, 3) * 50;
			c.limits.memory_bytes = rand_below(&rng, 3) * 100;
		} else if (rand_chance(&rng, 1, 40)) {
			c.kind = NAMING_CMD_NODE_EPOCH;
			c.flags = !naming_node_find(l->k, n)->down && rand_chance(&rng, 1, 2);
		}
		good += run(l, &c) == 0;
	}
	assert_true(good > 8000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_node_gets_what_there_is_and_no_more, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_comes_back_goes_to_who_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_late_command_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lowered_limit_takes_force_as_loans_come_back,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_first_limit_finds_everything_lent, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_new_life_of_a_node_holds_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_leaving_node_gets_nothing_new, setup, teardown),
		cmocka_unit_test_setup_teardown(random_asks_never_lend_too_much, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
