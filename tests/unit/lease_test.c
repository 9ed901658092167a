/* SPDX-License-Identifier: Apache-2.0 */
/* lease_test.c - both ends of a node's lease: the node fences itself before anybody says it is
 * dead. */
#include "tests/unit/unit.h"

#include "naming/member/core/lease.h"

#define S NS_PER_S

static struct lease_holder holder(uint64_t from_ns)
{
	struct lease_holder h;

	lease_init(&h, &lease_conf_default);
	lease_answered(&h, from_ns, from_ns);
	return h;
}

static struct lease_row rows[4];

static struct lease_book book(uint64_t led_ns)
{
	struct lease_book b;

	lease_book_init(&b, &lease_conf_default, rows, ARRAY_LEN(rows));
	lease_book_lead(&b, 5, led_ns);
	return b;
}

static void a_node_without_a_lease_executes_nothing(void **state)
{
	struct lease_holder h;

	lease_init(&h, &lease_conf_default);
	assert_int_equal(lease_look(&h, 5 * S), LEASE_NONE);
	assert_true(lease_due_ns(&h, 5 * S) == UINT64_MAX);
}

static void silence_freezes_then_kills(void **state)
{
	struct lease_holder h = holder(100 * S);

	assert_int_equal(lease_look(&h, 109 * S), LEASE_HELD);
	assert_int_equal(lease_due_ns(&h, 109 * S), 110 * S);
	assert_int_equal(lease_look(&h, 110 * S), LEASE_FREEZE);
	assert_int_equal(lease_due_ns(&h, 110 * S), 130 * S);
	lease_answered(&h, 109 * S, 111 * S);
	assert_int_equal(lease_look(&h, 111 * S), LEASE_HELD);
	assert_int_equal(lease_due_ns(&h, 111 * S), 119 * S);
	assert_int_equal(lease_look(&h, 139 * S), LEASE_OVER);
	assert_true(lease_due_ns(&h, 139 * S) == UINT64_MAX);
}

/* The answer took three seconds: the leader has counted them already. */
static void it_is_counted_from_the_question(void **state)
{
	struct lease_holder h = holder(100 * S);

	lease_answered(&h, 101 * S, 104 * S);
	assert_int_equal(lease_look(&h, 111 * S), LEASE_FREEZE);
	/* An older answer behind it changes nothing, one of the future is a lie. */
	lease_answered(&h, 100 * S, 105 * S);
	lease_answered(&h, 120 * S, 105 * S);
	assert_int_equal(lease_look(&h, 110 * S), LEASE_HELD);
	assert_int_equal(lease_look(&h, 111 * S), LEASE_FREEZE);
}

static void what_was_killed_stays_dead(void **state)
{
	struct lease_holder h = holder(100 * S);

	/* Nobody had looked in time: the late answer does not hide it. */
	lease_answered(&h, 129 * S, 131 * S);
	assert_int_equal(lease_look(&h, 131 * S), LEASE_OVER);
	lease_answered(&h, 131 * S, 132 * S);
	assert_int_equal(lease_look(&h, 132 * S), LEASE_OVER);
}

/* A leader looks at everybody now and then, from second @from to @to: when it finds the node over,
 * or 0. */
static uint64_t over_at(struct lease_book *b, node_id node, epoch_t epoch, uint64_t from,
			uint64_t to)
{
	for (uint64_t s = from; s <= to; s++) {
		if (lease_book_over(b, node, epoch, s * S))
			return s;
	}
	return 0;
}

static void the_book_is_always_the_later_one(void **state)
{
	struct lease_book b = book(200 * S);

	assert_true(lease_book_ask(&b, 2, 1, 1, false, 200 * S));
	/* 30 s, 5 s in which another may have led, 1 s for the killing, and a little drift. */
	assert_int_equal(over_at(&b, 2, 1, 200, 300), 237);
}

static void a_new_leader_gives_everybody_a_whole_lease_and_its_predecessors_time(void **state)
{
	struct lease_book b = book(100 * S);

	assert_int_equal(over_at(&b, 3, 7, 100, 200), 142);
	assert_true(lease_book_ask(&b, 3, 7, 7, false, 142 * S));
	/* What it heard in an earlier term is no more than that. */
	lease_book_stop(&b);
	assert_int_equal(over_at(&b, 3, 7, 143, 900), 0);
	lease_book_lead(&b, 6, 901 * S);
	assert_int_equal(over_at(&b, 3, 7, 901, 1000), 943);
}

/* Seed 65: it came back, and was announced dead before its first question arrived. */
static void a_new_life_has_a_whole_lease_too(void **state)
{
	struct lease_book b = book(100 * S);

	assert_true(lease_book_ask(&b, 2, 1, 1, false, 100 * S));
	assert_int_equal(over_at(&b, 2, 1, 100, 200), 137);
	assert_int_equal(over_at(&b, 2, 2, 137, 200), 179);
}

/*
 * It was stopped for 20 s, and another leader is there by now, of whom it hears in a moment. What
 * it answered would be unknown to the other; whom it has not heard may have been answered by that.
 */
static void a_leader_that_was_stopped_leads_no_more(void **state)
{
	struct lease_book b = book(100 * S);

	assert_true(lease_book_ask(&b, 2, 1, 1, false, 100 * S));
	assert_int_equal(over_at(&b, 2, 1, 100, 120), 0);
	assert_false(lease_book_ask(&b, 2, 1, 1, false, 140 * S));
	assert_false(b.leads);
	assert_int_equal(over_at(&b, 2, 1, 140, 200), 0);
	/* A barrier that was asked for long ago proves nothing. */
	lease_book_lead(&b, 5, 150 * S);
	assert_false(lease_book_ask(&b, 2, 1, 1, false, 201 * S));
	lease_book_lead(&b, 5, 201 * S);
	assert_true(lease_book_ask(&b, 2, 1, 1, false, 201 * S));
	assert_int_equal(over_at(&b, 2, 1, 201, 210), 0);
	/* It still led, as it turns out: what it has heard in this term counts on. */
	assert_false(lease_book_ask(&b, 3, 1, 1, false, 214 * S));
	lease_book_lead(&b, 5, 214 * S);
	assert_int_equal(over_at(&b, 2, 1, 214, 300), 238);
}

static void only_the_present_life_is_answered(void **state)
{
	struct lease_book b = book(101 * S);

	assert_false(lease_book_ask(&b, 2, 1, 2, false, 101 * S));
	assert_false(lease_book_ask(&b, 2, 3, 2, false, 101 * S));
	assert_false(lease_book_ask(&b, 2, 2, 2, true, 101 * S));
	assert_true(lease_book_ask(&b, 2, 2, 2, false, 101 * S));
	lease_book_stop(&b);
	assert_false(lease_book_ask(&b, 2, 2, 2, false, 102 * S));
}

static void a_node_without_a_row_is_not_answered(void **state)
{
	struct lease_book b = book(101 * S);

	for (node_id i = 1; i <= ARRAY_LEN(rows); i++)
		assert_true(lease_book_ask(&b, i, 1, 1, false, 101 * S));
	assert_false(lease_book_ask(&b, 9, 1, 1, false, 101 * S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_without_a_lease_executes_nothing),
		cmocka_unit_test(silence_freezes_then_kills),
		cmocka_unit_test(it_is_counted_from_the_question),
		cmocka_unit_test(what_was_killed_stays_dead),
		cmocka_unit_test(the_book_is_always_the_later_one),
		cmocka_unit_test(
			a_new_leader_gives_everybody_a_whole_lease_and_its_predecessors_time),
		cmocka_unit_test(a_new_life_has_a_whole_lease_too),
		cmocka_unit_test(a_leader_that_was_stopped_leads_no_more),
		cmocka_unit_test(only_the_present_life_is_answered),
		cmocka_unit_test(a_node_without_a_row_is_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
