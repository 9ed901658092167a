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

static struct lease_book book(void)
{
	struct lease_book b;

	lease_book_init(&b, &lease_conf_default, rows, ARRAY_LEN(rows));
	lease_book_lead(&b);
	return b;
}

static void a_node_without_a_lease_executes_nothing(void **state)
{
	struct lease_holder h;

	lease_init(&h, &lease_conf_default);
	assert_int_equal(lease_look(&h, 5 * S), LEASE_NONE);
	assert_true(lease_due_ns(&h) == UINT64_MAX);
}

static void silence_freezes_then_kills(void **state)
{
	struct lease_holder h = holder(100 * S);

	assert_int_equal(lease_look(&h, 109 * S), LEASE_HELD);
	assert_int_equal(lease_look(&h, 110 * S), LEASE_FREEZE);
	lease_answered(&h, 109 * S, 111 * S);
	assert_int_equal(lease_look(&h, 111 * S), LEASE_HELD);
	assert_int_equal(lease_look(&h, 139 * S), LEASE_OVER);
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

static void the_book_is_always_the_later_one(void **state)
{
	struct lease_book b = book();

	assert_true(lease_book_ask(&b, 2, 1, 1, false, 200 * S));
	assert_false(lease_book_over(&b, 2, 1, 231 * S));
	assert_true(lease_book_over(&b, 2, 1, 232 * S));
}

static void a_new_leader_gives_everybody_a_whole_lease_and_its_predecessors_time(void **state)
{
	struct lease_book b = book();

	assert_false(lease_book_over(&b, 3, 7, 100 * S));
	assert_false(lease_book_over(&b, 3, 7, 135 * S));
	assert_true(lease_book_over(&b, 3, 7, 137 * S));
	assert_true(lease_book_ask(&b, 3, 7, 7, false, 137 * S));
	/* What it heard in an earlier term is no more than that. */
	lease_book_stop(&b);
	assert_false(lease_book_over(&b, 3, 7, 900 * S));
	lease_book_lead(&b);
	assert_false(lease_book_over(&b, 3, 7, 900 * S));
	assert_false(lease_book_over(&b, 3, 7, 935 * S));
}

/* Seed 65: it came back, and was announced dead before its first question arrived. */
static void a_new_life_has_a_whole_lease_too(void **state)
{
	struct lease_book b = book();

	assert_true(lease_book_ask(&b, 2, 1, 1, false, 100 * S));
	assert_true(lease_book_over(&b, 2, 1, 200 * S));
	assert_false(lease_book_over(&b, 2, 2, 200 * S));
	assert_false(lease_book_over(&b, 2, 2, 230 * S));
}

static void only_the_present_life_is_answered(void **state)
{
	struct lease_book b = book();

	assert_false(lease_book_ask(&b, 2, 1, 2, false, 101 * S));
	assert_false(lease_book_ask(&b, 2, 3, 2, false, 101 * S));
	assert_false(lease_book_ask(&b, 2, 2, 2, true, 101 * S));
	assert_true(lease_book_ask(&b, 2, 2, 2, false, 101 * S));
	lease_book_stop(&b);
	assert_false(lease_book_ask(&b, 2, 2, 2, false, 102 * S));
}

static void a_node_without_a_row_is_not_answered(void **state)
{
	struct lease_book b = book();

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
		cmocka_unit_test(only_the_present_life_is_answered),
		cmocka_unit_test(a_node_without_a_row_is_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
