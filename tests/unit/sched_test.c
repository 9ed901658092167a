/* SPDX-License-Identifier: Apache-2.0 */
/* sched_test.c - placement stays local while it can, spreads when it must, balancing pays back. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "base/rand.h"
#include "kernel/sched/sched.h"

#define GIB (UINT64_C(1) << 30)

static struct sched_node nodes[3];
static struct sched_request rq;
static struct sched_pick got;

static int three_idle_nodes(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		nodes[i] = (struct sched_node){ .id = i + 1,
						.cpu_milli = 2000,
						.mem_bytes = 8 * GIB,
						.mem_free_bytes = 8 * GIB };
	rq = (struct sched_request){ .here = 1, .cpu_milli = 1000, .mem_bytes = GIB / 8 };
	return 0;
}

static void place(void)
{
	assert_int_equal(sched_place(SCHED_HERE_FIRST, nodes, 3, &rq, 12345, &got), 0);
}

static void small_commands_stay_where_they_are(void **state)
{
	place();
	assert_int_equal(got.node, 1);
	assert_int_equal(got.reason, SCHED_WHY_ROOM_HERE);
}

static void a_full_node_sends_work_to_the_idlest(void **state)
{
	nodes[0].load_milli = 4000;
	nodes[1].load_milli = 1500;
	place();
	assert_int_equal(got.node, 3);
	assert_int_equal(got.reason, SCHED_WHY_SHORT_OF_CPU);
}

static void a_burst_spreads_although_the_reports_are_old(void **state)
{
	unsigned on[4] = { 0 };

	for (int i = 0; i < 12; i++) {
		place();
		on[got.node]++;
		sched_placed(&nodes[got.node - 1], &rq);
	}
	assert_int_equal(on[1], 4);
	assert_int_equal(on[2], 4);
	assert_int_equal(on[3], 4);
}

static void quarter_cpu_nodes_share_a_build(void **state)
{
	unsigned on[4] = { 0 };

	for (int i = 0; i < 3; i++)
		nodes[i].cpu_milli = 250;
	for (int i = 0; i < 6; i++) {
		place();
		on[got.node]++;
		sched_placed(&nodes[got.node - 1], &rq);
	}
	assert_int_equal(on[1], 2);
	assert_int_equal(on[2], 2);
	assert_int_equal(on[3], 2);
}

static void all_equally_busy_means_stay(void **state)
{
	for (int i = 0; i < 3; i++)
		nodes[i].load_milli = 5000;
	place();
	assert_int_equal(got.node, 1);
	assert_int_equal(got.reason, SCHED_WHY_NOWHERE_BETTER);
}

static void less_than_half_a_program_is_noise(void **state)
{
	for (int i = 0; i < 3; i++)
		nodes[i] = (struct sched_node){ .id = i + 1,
						.cpu_milli = 250,
						.load_milli = 2000,
						.mem_bytes = 8 * GIB,
						.mem_free_bytes = 8 * GIB };
	nodes[2].load_milli = 1600;
	place();
	assert_int_equal(got.node, 1);
	nodes[2].load_milli = 1500;
	place();
	assert_int_equal(got.node, 3);
}

/* All are full, and not equally: what the others have more room for is worth a question. */
static void a_full_node_is_better_than_a_fuller_one(void **state)
{
	nodes[0].load_milli = 9000;
	nodes[1].load_milli = 4000;
	nodes[2].load_milli = 8000;
	assert_true(sched_is_better(&nodes[1], &nodes[0], 1000));
	assert_true(sched_is_better(&nodes[2], &nodes[0], 1000));
	assert_false(sched_is_better(&nodes[0], &nodes[1], 1000));
	assert_false(sched_is_better(&nodes[0], &nodes[0], 1000));
	nodes[2].load_milli = 8600;
	assert_false(sched_is_better(&nodes[2], &nodes[0], 1000));
	place();
	assert_int_equal(got.node, 2);
	/* Numbers of others. */
	nodes[0].cpu_milli = 0;
	assert_true(sched_is_better(&nodes[1], &nodes[0], 1000));
	nodes[1] = (struct sched_node){ .load_milli = UINT32_MAX, .placed_milli = UINT32_MAX };
	assert_false(sched_is_better(&nodes[1], &nodes[0], UINT32_MAX));
}

/* One that is placed and runs weighs one program, at every report: neither two nor none. */
static void what_was_placed_weighs_until_the_mean_tells_of_it(void **state)
{
	for (int i = 0; i < 40; i++) {
		sched_placed(&nodes[1], &rq);
		for (int k = 0; k < i; k++) {
			nodes[1].load_milli = sched_mean(nodes[1].load_milli, 1000);
			nodes[1].placed_milli = sched_untold(nodes[1].placed_milli);
			assert_in_range(nodes[1].load_milli + nodes[1].placed_milli, 980, 1000);
		}
		nodes[1].load_milli = nodes[1].placed_milli = 0;
	}
	assert_int_equal(sched_mean(UINT32_MAX, UINT32_MAX), UINT32_MAX);
	assert_true(sched_untold(UINT32_MAX) < UINT32_MAX);
	assert_int_equal(sched_untold(1), 0);
}

static void memory_counts_as_much_as_cpu(void **state)
{
	nodes[0].mem_free_bytes = GIB / 4;
	rq.mem_bytes = GIB;
	place();
	assert_int_not_equal(got.node, 1);
	assert_int_equal(got.reason, SCHED_WHY_SHORT_OF_MEMORY);
}

static void what_the_user_says_goes_unless_it_cannot(void **state)
{
	rq.asked = 2;
	place();
	assert_int_equal(got.node, 2);
	nodes[1].closed = true;
	assert_int_equal(sched_place(SCHED_HERE_FIRST, nodes, 3, &rq, 0, &got), -EHOSTDOWN);
	rq.must_stay = true;
	place();
	assert_int_equal(got.reason, SCHED_WHY_MUST_STAY);
	rq = (struct sched_request){ .here = 9 };
	assert_int_equal(sched_place(SCHED_HERE_FIRST, nodes, 3, &rq, 0, &got), -ENOENT);
}

static void avoid_near_and_drain_are_honoured(void **state)
{
	rq.near = 3;
	place();
	assert_int_equal(got.node, 3);
	rq.near = NODE_NONE;
	rq.avoid = 1;
	place();
	assert_int_not_equal(got.node, 1);
	rq.avoid = NODE_NONE;
	nodes[0].closed = true;
	place();
	assert_int_equal(got.reason, SCHED_WHY_CLOSED);
	assert_int_not_equal(got.node, 1);
}

static void every_policy_picks_an_open_node_of_the_list(void **state)
{
	struct sched_node many[40];
	struct rand r;

	rand_seed(&r, 1);
	for (int round = 0; round < 2000; round++) {
		unsigned n = 1 + (unsigned)rand_below(&r, 40);
		enum sched_policy p = (enum sched_policy)rand_below(&r, SCHED_POLICIES);

		for (unsigned i = 0; i < n; i++)
			many[i] = (struct sched_node){ .id = i + 1,
						       .closed = i > 0 && rand_chance(&r, 1, 5),
						       .cpu_milli = (uint32_t)rand_below(&r, 8000),
						       .load_milli = (uint32_t)rand_below(&r, 9000),
						       .mem_bytes = GIB,
						       .mem_free_bytes = rand_below(&r, GIB) };
		rq = (struct sched_request){ .here = 1, .cpu_milli = 1000 };
		assert_int_equal(sched_place(p, many, n, &rq, rand_next(&r), &got), 0);
		assert_in_range(got.node, 1, n);
		assert_false(many[got.node - 1].closed);
	}
}

static const struct sched_costs costs = { .freeze_ms = 10,
					  .bytes_per_ms = 200000,
					  .payback = 2,
					  .imbalance_milli = 300,
					  .age_min_ms = 1000 };

static void balancing_moves_a_long_runner_and_only_if_it_pays(void **state)
{
	struct sched_task t[3] = {
		{ .pid = 10, .cpu_milli = 1000, .age_ms = 200 },
		{ .pid = 11, .cpu_milli = 1000, .age_ms = 60000, .resident_bytes = GIB / 16 },
		{ .pid = 12, .cpu_milli = 1000, .age_ms = 90000, .stays = true },
	};
	struct sched_move m;

	nodes[0].load_milli = 6000;
	assert_int_equal(sched_balance(nodes, 3, 1, t, 3, &costs, &m), 1);
	assert_int_equal(m.pid, 11);
	assert_true(m.gain_ms > 2 * m.price_ms);
	/* Moving costs more than it gains: 4 GiB for a second's work. */
	t[1].age_ms = 1500;
	t[1].resident_bytes = 4 * GIB;
	assert_int_equal(sched_balance(nodes, 3, 1, t, 3, &costs, &m), 0);
	/* No overload, no move; and after the load has evened out, none either. */
	t[1].age_ms = 60000;
	nodes[0].load_milli = 2000;
	assert_int_equal(sched_balance(nodes, 3, 1, t, 3, &costs, &m), 0);
	for (int i = 0; i < 3; i++)
		nodes[i].load_milli = 3000;
	assert_int_equal(sched_balance(nodes, 3, 1, t, 3, &costs, &m), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, three_idle_nodes)
	const struct CMUnitTest tests[] = {
		T(small_commands_stay_where_they_are),
		T(a_full_node_sends_work_to_the_idlest),
		T(a_burst_spreads_although_the_reports_are_old),
		T(quarter_cpu_nodes_share_a_build),
		T(all_equally_busy_means_stay),
		T(less_than_half_a_program_is_noise),
		T(a_full_node_is_better_than_a_fuller_one),
		T(what_was_placed_weighs_until_the_mean_tells_of_it),
		T(memory_counts_as_much_as_cpu),
		T(what_the_user_says_goes_unless_it_cannot),
		T(avoid_near_and_drain_are_honoured),
		T(every_policy_picks_an_open_node_of_the_list),
		T(balancing_moves_a_long_runner_and_only_if_it_pays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
