/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated node owes the cores that it drives: found by seeds, reduced to the rule. */
#include "sim/kernel.h"
#include "sim/link.h"
#include "sim/memory.h"
#include "tests/unit/unit.h"

#define BEGUN_NS (30 * NS_PER_S) /* all have a lease, blocks and programs */

/* Nothing fails. */
static struct sim *machine_of(uint64_t seed, unsigned nodes)
{
	const struct sim_conf conf = { .seed = seed,
				       .nodes = nodes,
				       .run_ns = 600 * NS_PER_S,
				       .procs_max = 36,
				       .recount_events = 2000 };
	struct sim *s = sim_new(&conf, NULL);

	sim_begin(s);
	while (world_step(&s->w, BEGUN_NS))
		;
	assert_string_equal(s->w.violation.name, "");
	return s;
}

static struct sim *machine(uint64_t seed)
{
	return machine_of(seed, 3);
}

static void run(struct sim *s, uint64_t ns)
{
	uint64_t until_ns = s->w.now_ns + ns;

	while (world_step(&s->w, until_ns))
		;
	if (s->w.violation.name[0])
		fail_msg("%s: %s", s->w.violation.name, s->w.violation.text);
}

static uint32_t blocks_of(const struct knode *n)
{
	const struct naming_block *b;
	uint32_t count = 0;

	for (uint32_t i = 0; (b = naming_block_at(name_tables(n), i)) != NULL; i++)
		count += b->authority == n->id && b->life == n->epoch;
	return count;
}

static void tell_nobody(struct sim *s, struct knode *n, uint64_t a, uint64_t b, int err,
			const struct naming_result *r)
{
	*(uint32_t *)(uintptr_t)a = (uint32_t)r->value;
}

/*
 * `pando sim --seed 48`: pandod died with the answer to its lease. The block was this life's for
 * ever, and nobody gave a pid from it.
 */
static void a_block_whose_lease_was_answered_to_nobody_is_taken(void **state)
{
	struct sim *s = machine(48);
	struct knode *n = &s->nodes[2];
	const struct naming_cmd lease = { .kind = NAMING_CMD_BLOCK_LEASE,
					  .tenant = s->tenant,
					  .node = n->id,
					  .epoch = n->epoch };
	uint32_t leased = 0, had;

	assert_true(name_propose(s, n, &lease, 5000, tell_nobody, (uint64_t)(uintptr_t)&leased, 0));
	run(s, 2 * NS_PER_S);
	assert_int_not_equal(leased, 0);
	assert_int_not_equal(n->lease_block, leased);
	had = blocks_of(n);
	n->want_block = true; /* the last one is used up */
	run(s, 5 * NS_PER_S);
	assert_false(n->want_block);
	assert_int_equal(n->lease_block, leased);
	assert_int_equal(blocks_of(n), had);
	sim_free(s);
}

/* Some process that can go from where it is to another node; its move has begun. */
static struct src_slot *move_something(struct sim *s, struct knode **from, node_id *to)
{
	for (uint32_t i = 0; i < s->proc_count; i++) {
		const struct proc *p = &s->procs[i];

		if (!p->alive || p->vforking || check_runners(s, p->pid, from) != 1)
			continue;
		*to = (*from)->id % 3 + 1;
		if (kernel_move(s, *from, p->pid, *to))
			return moves_source(*from, p->pid);
	}
	return NULL;
}

/*
 * `pando sim --seed 1311`: the target died and came back between the beginning of the move and its
 * preparing. Noted was the life that was seen first, so the source's successor took its target for
 * dead, and released an original whose pages were still wanted.
 */
static void the_life_that_has_prepared_is_the_one_that_is_noted(void **state)
{
	struct sim *s = machine(1311);
	struct kmsg k = { .kind = KM_MIG };
	struct src_slot *slot;
	struct knode *n = NULL;

	slot = move_something(s, &n, &k.from);
	assert_non_null(slot);
	while (slot->m.state != MIG_S_PREPARING)
		assert_true(world_step(&s->w, s->w.now_ns + NS_PER_S));
	k.from_epoch = slot->peer_epoch + 1;
	k.m = (struct mig_msg){
		.kind = MIG_PREPARED, .pid = slot->m.pid, .move = slot->m.move, .from = k.from
	};
	kernel_on_msg(s, n, &k);
	assert_int_not_equal(slot->m.state, MIG_S_PREPARING);
	assert_int_equal(slot->peer_epoch, k.from_epoch);
	sim_free(s);
}

/* An answer of another node, or to another move, says nothing of the target. */
static void nobody_else_prepares(void **state)
{
	struct sim *s = machine(3);
	struct kmsg k = { .kind = KM_MIG };
	struct src_slot *slot;
	struct knode *n = NULL;
	epoch_t was;

	slot = move_something(s, &n, &k.from);
	assert_non_null(slot);
	while (slot->m.state != MIG_S_PREPARING)
		assert_true(world_step(&s->w, s->w.now_ns + NS_PER_S));
	was = slot->peer_epoch;
	k.from_epoch = was + 1;
	k.m = (struct mig_msg){
		.kind = MIG_PREPARED, .pid = slot->m.pid, .move = slot->m.move + 2, .from = k.from
	};
	kernel_on_msg(s, n, &k);
	assert_int_equal(slot->peer_epoch, was);
	k.m.move = slot->m.move;
	k.from = n->id;
	kernel_on_msg(s, n, &k);
	assert_int_equal(slot->peer_epoch, was);
	assert_int_equal(slot->m.state, MIG_S_PREPARING);
	sim_free(s);
}

/*
 * `pando sim --seed 560`: a fence that a node had sent to itself outlived its host, and named it
 * authority in the next life.
 */
static void nobody_is_brought_his_own_messages_again(void **state)
{
	struct sim *s = machine(560);
	uint32_t kept = 0;

	s->conf.faults = true;
	run(s, 20 * NS_PER_S);
	for (node_id id = 1; id <= s->conf.nodes; id++) {
		for (uint32_t i = 0; i < ECHO_MAX; i++) {
			const struct kmsg *k = s->nodes[id].echo.kept[i];

			kept += k != NULL;
			assert_true(!k || k->from != id);
		}
	}
	assert_true(kept > 0);
	sim_free(s);
}

/*
 * `pando sim --seed 1235`: a region went to another home before its first one had begun it. Nothing
 * is lost by that; of what somebody has begun, or written, nothing may be.
 */
static void only_a_region_that_nobody_has_begun_may_look_lost(void **state)
{
	struct sim *s = machine(1235);
	struct mem_truth *t = memory_truth(s, MEM_REGIONS, 0);

	t->begun = t->shaken = false;
	t->next = 0;
	check_told_lost(s, &s->nodes[1], MEM_REGIONS, 0);
	assert_string_equal(s->w.violation.name, "");
	t->next = 1;
	check_told_lost(s, &s->nodes[1], MEM_REGIONS, 0);
	assert_string_equal(s->w.violation.name, "D7");
	s->w.violation.name[0] = 0;
	t->next = 0;
	t->begun = true;
	check_told_lost(s, &s->nodes[1], MEM_REGIONS, 0);
	assert_string_equal(s->w.violation.name, "D7");
	sim_free(s);
}

static void cut(struct sim *s, node_id a, node_id b, int by)
{
	s->w.cut[a][b] = (uint8_t)(s->w.cut[a][b] + by);
	s->w.cut[b][a] = (uint8_t)(s->w.cut[b][a] + by);
	check_reach(s);
}

/*
 * `pando sim --seed 1768`: a node that was cut off came back to a leader that had just lost its
 * majority and had not found out, and was answered. Its time counts from there; not from coming
 * back to somebody who does not lead.
 */
static void whom_a_leader_without_a_majority_answers_is_cut_off_with_it(void **state)
{
	struct sim *s = machine_of(1768, 4); /* the first three vote */
	const node_id away = 4;
	node_id leader = 1, x, y;
	uint64_t since_ns;

	while (!s->nodes[leader].book.leads)
		leader++;
	x = leader % 3 + 1;
	y = x % 3 + 1;
	for (node_id id = 1; id < away; id++)
		cut(s, away, id, 1);
	since_ns = s->w.now_ns;
	assert_true(s->nodes[away].lost);
	run(s, 5 * NS_PER_S);
	cut(s, x, leader, 1);
	cut(s, x, y, 1);
	cut(s, x, away, -1);
	assert_true(s->nodes[away].lost && s->nodes[x].alone);
	assert_int_equal(s->nodes[away].lost_ns, since_ns);
	cut(s, y, leader, 1);
	assert_true(s->nodes[leader].alone);
	cut(s, away, leader, -1);
	assert_true(s->nodes[away].lost);
	assert_int_equal(s->nodes[away].lost_ns, s->w.now_ns);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_whose_lease_was_answered_to_nobody_is_taken),
		cmocka_unit_test(the_life_that_has_prepared_is_the_one_that_is_noted),
		cmocka_unit_test(nobody_else_prepares),
		cmocka_unit_test(nobody_is_brought_his_own_messages_again),
		cmocka_unit_test(only_a_region_that_nobody_has_begun_may_look_lost),
		cmocka_unit_test(whom_a_leader_without_a_majority_answers_is_cut_off_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
