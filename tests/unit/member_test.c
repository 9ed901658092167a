/* SPDX-License-Identifier: Apache-2.0 */
/* member_test.c - the membership core on a virtual network: detection, false alarms, healing. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/mutant.h"
#include "naming/member/member.h"

#define NODES 8
#define MS    NS_PER_MS
#define BAG   4096

static const struct member_cfg cfg = { .period_ns = 1000 * MS,
				       .timeout_ns = 200 * MS,
				       .suspicion_periods = 2 };

struct flight {
	uint64_t at_ns;
	node_id from, to;
	struct member_msg msg;
};

static struct {
	struct rand rnd;
	uint64_t now;
	struct member_table t[NODES + 1];
	struct member store[NODES + 1][NODES];
	uint64_t due[NODES + 1];
	bool dead[NODES + 1];
	int side[NODES + 1];     /* partitions: only equal sides talk */
	uint64_t lag[NODES + 1]; /* a starved node sees everything so much later */
	unsigned loss_percent;
	struct flight bag[BAG];
	int bag_count;
	unsigned failures; /* announcements of FAILED about somebody alive */
	struct member_news seen[NODES + 1][NODES + 1];
} w;

static void world(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	rand_seed(&w.rnd, seed);
	w.now = 1000 * MS;
	for (node_id i = 1; i <= NODES; i++) {
		member_init(&w.t[i], &cfg, w.store[i], NODES, i, 1, seed, w.now);
		for (node_id k = 1; k <= NODES; k++)
			assert_int_equal(member_add(&w.t[i], k, 1), 0);
		w.due[i] = w.t[i].due_ns;
	}
}

/* S2, S3, and nobody is called failed who has not been suspected before. */
static void check_seen(node_id me, enum member_ev_kind kind)
{
	for (node_id k = 1; k <= NODES; k++) {
		const struct member_news *is = &member_find(&w.t[me], k)->news;
		struct member_news *was = &w.seen[me][k];

		if (is->epoch == was->epoch) {
			assert_true(is->incarnation >= was->incarnation);
			assert_false(was->state == MEMBER_FAILED && is->state == MEMBER_ALIVE &&
				     is->incarnation == was->incarnation);
			assert_false(kind == MEMBER_EV_TICK && was->state == MEMBER_ALIVE &&
				     is->state == MEMBER_FAILED);
		}
		*was = *is;
	}
}

static void carry_out(node_id me, const struct member_out *out)
{
	w.due[me] = MAX(out->due_ns, w.now + 1) + w.lag[me];
	for (unsigned i = 0; i < out->change_count; i++) {
		node_id who = out->change[i];

		if (member_find(&w.t[me], who)->news.state == MEMBER_FAILED && !w.dead[who] &&
		    w.side[me] == w.side[who])
			w.failures++;
	}
	for (unsigned i = 0; i < out->send_count; i++) {
		node_id to = out->send[i].to;

		if (w.dead[to] || w.side[me] != w.side[to] || w.bag_count == BAG ||
		    rand_chance(&w.rnd, w.loss_percent, 100))
			continue;
		w.bag[w.bag_count++] =
			(struct flight){ w.now + MS + rand_below(&w.rnd, 5 * MS) + w.lag[to], me,
					 to, out->send[i].msg };
	}
}

static void run_until(uint64_t end)
{
	struct member_out out;

	for (;;) {
		uint64_t at = end;
		int flight = -1;
		node_id node = NODE_NONE;

		for (int i = 0; i < w.bag_count; i++)
			if (w.bag[i].at_ns < at) {
				at = w.bag[i].at_ns;
				flight = i;
			}
		for (node_id i = 1; i <= NODES; i++)
			if (!w.dead[i] && w.due[i] < at) {
				at = w.due[i];
				node = i;
				flight = -1;
			}
		if (flight < 0 && node == NODE_NONE)
			break;
		w.now = MAX(w.now, at);
		if (node != NODE_NONE) {
			struct member_ev ev = { .kind = MEMBER_EV_TICK, .now_ns = w.now };

			assert_int_equal(member_step(&w.t[node], &ev, &out), 0);
			check_seen(node, ev.kind);
			carry_out(node, &out);
		} else {
			struct flight f = w.bag[flight];
			struct member_ev ev = { .kind = MEMBER_EV_MSG,
						.now_ns = w.now,
						.from = f.from,
						.msg = &f.msg };

			w.bag[flight] = w.bag[--w.bag_count];
			if (w.dead[f.to] || w.side[f.from] != w.side[f.to])
				continue;
			assert_int_equal(member_step(&w.t[f.to], &ev, &out), 0);
			check_seen(f.to, ev.kind);
			carry_out(f.to, &out);
		}
	}
	w.now = end;
}

static bool all_say(node_id who, enum member_state state)
{
	for (node_id i = 1; i <= NODES; i++)
		if (i != who && !w.dead[i] && w.side[i] == 0 &&
		    member_find(&w.t[i], who)->news.state != state)
			return false;
	return true;
}

static void a_dead_node_is_found_by_all(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		world(seed);
		run_until(20000 * MS);
		w.dead[3] = true;
		run_until(20000 * MS + 40000 * MS);
		assert_true(all_say(3, MEMBER_FAILED));
		assert_int_equal(w.failures, 0);
	}
}

static void losses_raise_no_false_alarm(void **state)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		world(seed);
		w.loss_percent = 15;
		run_until(600000 * MS);
		assert_int_equal(w.failures, 0);
	}
}

/* A node at a twentieth of a CPU answers late, and blames nobody for its own slowness. */
static void a_starved_node_is_not_declared_dead_and_blames_nobody(void **state)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		world(seed);
		w.lag[2] = 700 * MS;
		run_until(120000 * MS);
		assert_int_equal(w.failures, 0);
	}
}

/* Stopped for half a minute and going on in the middle of a probe: the silence was its own. */
static void a_node_that_stood_still_blames_nobody(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		world(seed);
		run_until(10000 * MS + seed * 37 * MS);
		while (w.t[2].probed == NODE_NONE)
			run_until(w.now + MS);
		for (node_id i = 1; i <= NODES; i++)
			if (i != 2)
				w.side[i] = 1; /* nobody hears it, it hears nobody */
		w.due[2] = w.now + 30000 * MS;
		w.failures = 0;
		run_until(w.now + 30000 * MS - 1);
		for (node_id i = 1; i <= NODES; i++)
			w.side[i] = 0;
		run_until(w.now + 5 * MS);
		for (node_id i = 1; i <= NODES; i++)
			assert_int_equal(member_find(&w.t[2], i)->news.state, MEMBER_ALIVE);
		run_until(w.now + 60000 * MS);
		for (node_id i = 1; i <= NODES; i++)
			assert_true(all_say(i, MEMBER_ALIVE));
		assert_int_equal(w.failures, 0);
	}
}

/* Nor is the time of a suspicion over because it slept through it. */
static void a_suspicion_does_not_grow_in_sleep(void **state)
{
	struct member_out out;
	struct member_ev ev = { .kind = MEMBER_EV_TICK };

	world(11);
	w.side[3] = 1;
	while (member_find(&w.t[2], 3)->news.state != MEMBER_SUSPECT)
		run_until(w.now + 100 * MS);
	ev.now_ns = w.t[2].due_ns + 60000 * MS;
	assert_int_equal(member_step(&w.t[2], &ev, &out), 0);
	assert_int_equal(member_find(&w.t[2], 3)->news.state, MEMBER_SUSPECT);
}

static void halves_of_a_partition_find_each_other_again(void **state)
{
	world(5);
	run_until(10000 * MS);
	for (node_id i = 1; i <= 3; i++)
		w.side[i] = 1;
	run_until(100000 * MS);
	assert_true(all_say(1, MEMBER_FAILED));
	for (node_id i = 1; i <= 3; i++)
		w.side[i] = 0;
	run_until(400000 * MS);
	for (node_id i = 1; i <= NODES; i++)
		assert_true(all_say(i, MEMBER_ALIVE));
}

static void a_node_that_comes_back_has_a_new_epoch_and_is_alive(void **state)
{
	world(6);
	w.dead[4] = true;
	run_until(60000 * MS);
	assert_true(all_say(4, MEMBER_FAILED));
	w.dead[4] = false;
	member_init(&w.t[4], &cfg, w.store[4], NODES, 4, 2, 99, w.now);
	for (node_id k = 1; k <= NODES; k++)
		assert_int_equal(member_add(&w.t[4], k, 1), 0);
	w.due[4] = w.t[4].due_ns;
	run_until(90000 * MS);
	assert_true(all_say(4, MEMBER_ALIVE));
	assert_int_equal(member_find(&w.t[1], 4)->news.epoch, 2);
}

/* A message that took the long way round: its news were refuted long ago. */
static void refuted_news_are_not_believed_again(void **state)
{
	struct member_msg m = { .kind = MEMBER_ACK, .news_count = 1 };
	struct member_ev ev = { .kind = MEMBER_EV_MSG, .now_ns = 1, .from = 2, .msg = &m };
	struct member_out out;

	world(9);
	m.news[0] = (struct member_news){
		.id = 3, .epoch = 1, .incarnation = 5, .state = MEMBER_ALIVE
	};
	assert_int_equal(member_step(&w.t[1], &ev, &out), 0);
	m.news[0].incarnation = 4;
	m.news[0].state = MEMBER_FAILED;
	assert_int_equal(member_step(&w.t[1], &ev, &out), 0);
	assert_int_equal(out.change_count, 0);
	assert_int_equal(member_find(&w.t[1], 3)->news.state, MEMBER_ALIVE);
}

static void loads_reach_everybody(void **state)
{
	const struct member_load load = { .cpu_milli = 2000, .load_milli = 1234 };

	world(7);
	member_set_load(&w.t[5], &load);
	run_until(20000 * MS);
	for (node_id i = 1; i <= NODES; i++)
		assert_int_equal(member_find(&w.t[i], 5)->news.load.load_milli, 1234);
}

static void nonsense_is_refused(void **state)
{
	struct member_msg m = { .kind = MEMBER_PING, .news_count = 1 };
	struct member_ev ev = { .kind = MEMBER_EV_MSG, .now_ns = 1, .from = 2, .msg = &m };
	struct member_out out;

	world(8);
	assert_int_equal(member_step(&w.t[1], &ev, &out), -EPROTO); /* news of no state */
	m.news_count = MEMBER_NEWS_MAX + 1;
	assert_int_equal(member_step(&w.t[1], &ev, &out), -EPROTO);
	m.news_count = 0;
	m.kind = (enum member_kind)77;
	assert_int_equal(member_step(&w.t[1], &ev, &out), -EPROTO);
	m.kind = MEMBER_PING;
	ev.from = 99;
	assert_int_equal(member_step(&w.t[1], &ev, &out), -EPROTO);
	ev.from = 1; /* ourselves */
	assert_int_equal(member_step(&w.t[1], &ev, &out), -EPROTO);
	assert_int_equal(out.send_count, 0);
}

/* ---- the adapter: three on one loop, then one of them falls silent ---- */
static struct membership *live[4];
static int alarms;

static void pass_on(void *arg, node_id to, const void *msg, size_t len)
{
	node_id from = (node_id)(uintptr_t)arg;

	if (live[to] && live[from])
		membership_input(live[to], from, msg, len);
}

static void note_change(void *arg, node_id id, enum member_state st)
{
	alarms += id == 3 && st == MEMBER_FAILED;
}

static void give_load(void *arg, struct member_load *load)
{
	load->load_milli = 100 * (uint32_t)(uintptr_t)arg;
}

static void daemons_on_a_loop_see_who_falls_silent(void **state)
{
	static const struct member_ops ops = { pass_on, note_change, give_load };
	const struct member_cfg quick = { .period_ns = 10 * MS,
					  .timeout_ns = 3 * MS,
					  .suspicion_periods = 1 };
	struct membership *silent;
	struct loop *l;

	assert_int_equal(loop_new(&l, LOOP_AUTO), 0);
	for (uintptr_t i = 1; i <= 3; i++) {
		assert_int_equal(
			membership_new(&live[i], l, &quick, 8, (node_id)i, 1, &ops, (void *)i), 0);
		for (node_id k = 1; k <= 3; k++)
			assert_int_equal(membership_add(live[i], k, 1), 0);
	}
	while (membership_find(live[1], 2)->news.load.load_milli != 200)
		assert_int_equal(loop_turn(l, 100 * MS), 0);
	silent = live[3];
	live[3] = NULL;
	for (int i = 0; i < 2000 && alarms < 2; i++)
		assert_int_equal(loop_turn(l, 100 * MS), 0);
	assert_int_equal(alarms, 2);
	membership_input(live[1], 2, "\xff\xff", 2);
	assert_int_equal(membership_refused(live[1]), 1);
	membership_free(silent);
	membership_free(live[1]);
	membership_free(live[2]);
	loop_free(l);
}

#ifdef PANDO_MUTANTS
static const struct CMUnitTest hunt[] = {
	cmocka_unit_test(a_dead_node_is_found_by_all),
	cmocka_unit_test(losses_raise_no_false_alarm),
	cmocka_unit_test(a_starved_node_is_not_declared_dead_and_blames_nobody),
	cmocka_unit_test(a_node_that_stood_still_blames_nobody),
	cmocka_unit_test(a_suspicion_does_not_grow_in_sleep),
	cmocka_unit_test(halves_of_a_partition_find_each_other_again),
	cmocka_unit_test(a_node_that_comes_back_has_a_new_epoch_and_is_alive),
	cmocka_unit_test(refuted_news_are_not_believed_again),
};

static void every_broken_variant_is_caught(void **state)
{
	for (size_t i = 0; mutant_name(i); i++) {
		const char *name = mutant_name(i);
		int status;
		pid_t pid;

		if (strncmp(name, "member.", 7) != 0)
			continue;
		pid = fork();
		if (pid == 0) {
			if (!freopen("/dev/null", "w", stderr) ||
			    !freopen("/dev/null", "w", stdout))
				_exit(0);
			(void)mutant_select(name);
			_exit(cmocka_run_group_tests(hunt, NULL, NULL) != 0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (status == 0)
			fail_msg("mutant %s is not caught", name);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dead_node_is_found_by_all),
		cmocka_unit_test(losses_raise_no_false_alarm),
		cmocka_unit_test(a_starved_node_is_not_declared_dead_and_blames_nobody),
		cmocka_unit_test(a_node_that_stood_still_blames_nobody),
		cmocka_unit_test(a_suspicion_does_not_grow_in_sleep),
		cmocka_unit_test(halves_of_a_partition_find_each_other_again),
		cmocka_unit_test(a_node_that_comes_back_has_a_new_epoch_and_is_alive),
		cmocka_unit_test(refuted_news_are_not_believed_again),
		cmocka_unit_test(loads_reach_everybody),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(daemons_on_a_loop_see_who_falls_silent),
#ifdef PANDO_MUTANTS
		cmocka_unit_test(every_broken_variant_is_caught),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
