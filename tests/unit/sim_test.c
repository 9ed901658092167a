/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated world keeps its own promises: it replays, and its host is as strict as Linux. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "sim/host.h"
#include "sim/sim.h"
#include "sim/world.h"

static void the_same_seed_gives_the_same_history(void **state)
{
	struct sim_result a = sim_once(7, 5, 10), b = sim_once(7, 5, 10), c = sim_once(8, 5, 10);

	assert_string_equal(a.violated, "");
	assert_true(a.hash == b.hash && a.events == b.events);
	assert_true(a.hash != c.hash);
	assert_true(a.events >= 10000);
}

static void nothing_fails_where_nothing_goes_wrong(void **state)
{
	for (unsigned nodes = 2; nodes <= 8; nodes += 3) {
		struct sim_result r = sim_once(nodes, nodes, 2);

		if (r.violated[0])
			fail_msg("%s: %s", r.violated, r.text);
	}
}

static unsigned order[4], order_n;

static void note_order(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	order[order_n++] = (unsigned)a;
}

static void events_of_one_instant_come_in_the_order_they_were_asked_for(void **state)
{
	struct world w;

	world_init(&w, 1);
	world_at(&w, 50, note_order, "x", 1, 2, 0, NULL);
	world_at(&w, 50, note_order, "x", 1, 3, 0, NULL);
	world_at(&w, 20, note_order, "x", 1, 1, 0, NULL);
	while (world_step(&w, 100))
		;
	assert_int_equal(order_n, 3);
	assert_true(order[0] == 1 && order[1] == 2 && order[2] == 3);
	world_fini(&w);
}

static void a_node_wakes_when_its_own_clock_says_so(void **state)
{
	struct world w;

	world_init(&w, 3);
	for (node_id n = 1; n < 6; n++) {
		uint64_t due = world_local(&w, n) + 3600 * NS_PER_S;

		w.now_ns = world_when(&w, n, due);
		assert_true(world_local(&w, n) >= due);
		assert_true(world_local(&w, n) < due + 2 * NS_PER_MS);
		w.now_ns = 0;
	}
	world_fini(&w);
}

static void a_pid_in_use_is_not_given_again(void **state)
{
	struct host h = { 0 };

	assert_int_equal(host_make(&h, 10, 1, TASK_STUB), 0);
	assert_int_equal(host_setsid(&h, 10), 0);
	assert_int_equal(host_make(&h, 10, 1, TASK_STUB), -EEXIST);
	assert_int_equal(host_make(&h, 11, 10, TASK_PROC), 0);
	host_die(&h, 10, 0);
	assert_null(host_find(&h, 10));
	assert_int_equal(host_find(&h, 11)->ppid, 1);
	assert_int_equal(host_make(&h, 10, 1, TASK_STUB), -EEXIST); /* still a session */
	host_die(&h, 11, 0);
	assert_int_equal(host_make(&h, 10, 1, TASK_STUB), 0);
	host_fini(&h);
}

static void a_running_guest_bears_no_stub(void **state)
{
	struct host h = { 0 };

	assert_int_equal(host_make(&h, 10, 1, TASK_PROC), 0);
	assert_int_equal(host_make(&h, 11, 10, TASK_STUB), -EPERM);
	assert_int_equal(host_make(&h, 11, 10, TASK_PROC), 0);
	host_die(&h, 11, 3);
	assert_int_equal(host_find(&h, 11)->kind, TASK_ZOMBIE);
	assert_int_equal(host_reap(&h, 11), 0);
	assert_int_equal(host_reap(&h, 11), -ECHILD);
	host_fini(&h);
}

static void what_if_answers_what_it_understands(void **state)
{
	static const struct sim_node nodes[] = { { "n1", true, 4000, 5500, 1u << 30 },
						 { "n2", true, 4000, 0, 1u << 30 },
						 { "n3", false, 4000, 0, 1u << 30 } };

	assert_int_equal(sim_what_if(nodes, 3, "kill n2", false), 0);
	assert_int_equal(sim_what_if(nodes, 3, "add 2 nodes", true), 0);
	assert_int_equal(sim_what_if(nodes, 3, "make -j64", false), 0);
	assert_int_equal(sim_what_if(nodes, 3, "kill n3", false), 3);
	assert_int_equal(sim_what_if(nodes, 3, "make -j0", false), 2);
	assert_int_equal(sim_what_if(nodes, 3, "kill n2 now", false), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_seed_gives_the_same_history),
		cmocka_unit_test(nothing_fails_where_nothing_goes_wrong),
		cmocka_unit_test(events_of_one_instant_come_in_the_order_they_were_asked_for),
		cmocka_unit_test(a_node_wakes_when_its_own_clock_says_so),
		cmocka_unit_test(a_pid_in_use_is_not_given_again),
		cmocka_unit_test(a_running_guest_bears_no_stub),
		cmocka_unit_test(what_if_answers_what_it_understands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
