/* SPDX-License-Identifier: Apache-2.0 */
/* Which stubs a node needs, and the order in which a host's kernel lets them be made. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "migrate/core/kin.h"

static struct kin_step steps[64];
static gpid bad;

static int arrive(struct kin_task *t, uint32_t n, gpid pid)
{
	kin_sort(t, n);
	return kin_plan_arrive(t, n, pid, steps, 64, &bad);
}

/* The steps as a line of text: "make 20<10 setsid 20 join 21>20 turn 30". */
static const char *text(int n)
{
	static char line[1024];
	size_t at = 0;

	line[0] = 0;
	for (int i = 0; i < n; i++) {
		const struct kin_step *s = &steps[i];
		const char *fmt = "? ";

		switch (s->kind) {
		case KIN_MAKE:
			fmt = "make %d<%d ";
			break;
		case KIN_MAKE_ORPHAN:
			fmt = "orphan %d<%d ";
			break;
		case KIN_SETSID:
			fmt = "setsid %d ";
			break;
		case KIN_SETPGID:
			fmt = "join %d>%d ";
			break;
		case KIN_TURN:
			fmt = "turn %d ";
			break;
		case KIN_DROP:
			fmt = "drop %d ";
			break;
		}
		at += (size_t)snprintf(line + at, sizeof(line) - at, fmt, s->pid, s->by);
	}
	return line;
}

/* A shell 10, a pipeline 20|21 of it in a group of its own. */
static void a_line_of_ancestors_and_leaders_is_made_from_above(void **state)
{
	struct kin_task t[] = { { 21, 10, 20, 10, KIN_ELSEWHERE, 0, 0, 0 },
				{ 20, 10, 20, 10, KIN_ELSEWHERE, 0, 0, 0 },
				{ 10, 1, 10, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_string_equal(
		text(arrive(t, 3, 21)),
		"make 10<1 setsid 10 make 20<10 make 21<10 join 20>20 join 21>20 turn 21 ");
}

static void what_is_there_is_not_made_again(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_STUB, 0, 0, 0 },
				{ 20, 10, 20, 10, KIN_HERE, 0, 0, 0 },
				{ 21, 10, 20, 10, KIN_STUB, 0, 0, 0 } };

	assert_string_equal(text(arrive(t, 3, 21)), "turn 21 ");
}

/* An arriving parent's children get stubs before it turns. */
static void children_stand_before_their_parent_turns(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_STUB, 0, 0, 0 },
				{ 20, 10, 20, 10, KIN_HERE, 0, 0, 0 },
				{ 30, 10, 10, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_string_equal(text(arrive(t, 3, 10)), "make 30<10 join 30>10 turn 10 ");
}

/* 20 called setsid after it had borne 30, which stayed in session 10. */
static void a_child_older_than_its_parents_session_is_born_before_it(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_STUB, 0, 0, 0 },
				{ 20, 10, 20, 20, KIN_ELSEWHERE, 0, 0, 0 },
				{ 30, 20, 10, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_string_equal(text(arrive(t, 3, 30)),
			    "make 20<10 make 30<20 setsid 20 join 30>10 turn 30 ");
}

static void a_session_that_cannot_be_rebuilt_is_refused_by_name(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_STUB, 0, 0, 0 },
				{ 20, 10, 20, 20, KIN_STUB, 0, 0, 0 },
				{ 30, 20, 10, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_int_equal(arrive(t, 3, 30), -EXDEV);
	assert_int_equal(bad, 30);
}

static void dead_leaders_are_made_for_the_joining_only(void **state)
{
	struct kin_task session[] = { { 30, 1, 30, 10, KIN_ELSEWHERE, 0, 0, 0 } };
	struct kin_task group[] = { { 10, 1, 10, 10, KIN_STUB, 0, 0, 0 },
				    { 30, 10, 20, 10, KIN_ELSEWHERE, 0, 0, 0 },
				    { 31, 30, 20, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_string_equal(text(arrive(session, 1, 30)),
			    "make 10<1 setsid 10 make 30<10 drop 10 join 30>30 turn 30 ");
	assert_string_equal(text(arrive(group, 3, 31)),
			    "make 30<10 make 31<30 make 20<30 join 20>20 join 30>20 join 31>20 "
			    "drop 20 turn 31 ");
}

/* Its parent has ended, the shell that is its session has not, and has no stub here yet. */
static void an_orphan_in_a_session_is_borne_beside_its_leader(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_ELSEWHERE, 0, 0, 0 },
				{ 30, 1, 20, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_string_equal(
		text(arrive(t, 2, 30)),
		"make 10<1 setsid 10 orphan 30<10 make 20<30 join 20>20 join 30>20 drop 20 "
		"turn 30 ");
}

/* While anything here is in session 10, the kernel will not give pid 10 again. */
static void an_orphan_joins_a_leaderless_session_through_a_stub_of_it(void **state)
{
	struct kin_task stub[] = { { 31, 1, 31, 10, KIN_STUB, 0, 0, 0 },
				   { 30, 1, 30, 10, KIN_ELSEWHERE, 0, 0, 0 } };
	struct kin_task guest[] = { { 31, 1, 31, 10, KIN_HERE, 0, 0, 0 },
				    { 30, 1, 30, 10, KIN_ELSEWHERE, 0, 0, 0 } };
	struct kin_task group[] = { { 31, 1, 31, 10, KIN_STUB, 0, 0, 0 },
				    { 30, 1, 10, 10, KIN_ELSEWHERE, 0, 0, 0 } };
	struct kin_task child[] = { { 10, 5, 10, 10, KIN_STUB, 0, 0, 0 },
				    { 9, 10, 10, 10, KIN_STUB, 0, 0, 0 },
				    { 40, 1, 40, 10, KIN_STUB, 0, 0, 0 },
				    { 5, 1, 5, 5, KIN_STUB, 0, 0, 0 },
				    { 30, 1, 30, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_string_equal(text(arrive(stub, 2, 30)), "orphan 30<31 join 30>30 turn 30 ");
	/* Best one that is pid 1's child: who is born beside it is too. */
	assert_string_equal(text(arrive(child, 5, 30)), "orphan 30<40 join 30>30 turn 30 ");
	assert_int_equal(arrive(guest, 2, 30), -EXDEV);
	assert_int_equal(arrive(group, 2, 30), -EXDEV);
	assert_int_equal(bad, 30);
}

/* A zombie child 20 is the only trace of its number's life here but for its group. */
static void a_number_that_a_group_still_uses_cannot_be_given(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_STUB, 0, 0, 0 },
				{ 20, 10, 20, 10, KIN_ELSEWHERE, 0, 0, 0 },
				{ 30, 10, 20, 10, KIN_HERE, 0, 0, 0 } };

	assert_int_equal(arrive(t, 3, 10), -EXDEV);
	assert_int_equal(bad, 20);
}

/* A kernel died between two steps: the stubs are there, not in their session and group. */
static void half_made_stubs_are_put_right(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_STUB, 0, 1, 1 },
				{ 20, 10, 20, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_string_equal(text(arrive(t, 2, 20)), "setsid 10 make 20<10 join 20>20 turn 20 ");
	t[0] = (struct kin_task){ 10, 1, 10, 10, KIN_STUB, 0, 0, 0 };
	t[1] = (struct kin_task){ 20, 10, 20, 10, KIN_STUB, 0, 10, 0 };
	assert_string_equal(text(arrive(t, 2, 20)), "join 20>20 turn 20 ");
}

/* 20 died half made, before it had founded its group: nobody can join that until it is reaped. */
static void a_zombie_that_never_led_cannot_be_joined(void **state)
{
	struct kin_task t[] = { { 10, 1, 20, 5, KIN_STUB, 0, 5, 0 },
				{ 20, 10, 5, 5, KIN_ZOMBIE, 0, 0, 0 } };

	assert_int_equal(arrive(t, 2, 10), -EXDEV);
}

/* An original that still serves its pages is no stub yet: who needs it as parent comes later. */
static void a_guest_is_not_made_to_bear(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_HERE, 0, 0, 0 },
				{ 20, 10, 10, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_int_equal(arrive(t, 2, 20), -EXDEV);
	assert_int_equal(arrive(t, 2, 10), 3);
}

static void kin_in_a_circle_is_a_lying_peer(void **state)
{
	struct kin_task t[] = { { 10, 20, 10, 10, KIN_ELSEWHERE, 0, 0, 0 },
				{ 20, 10, 20, 20, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_int_equal(arrive(t, 2, 10), -EINVAL);
	assert_int_equal(arrive(t, 2, 99), -ENOENT);
}

static void a_long_line_needs_room(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_ELSEWHERE, 0, 0, 0 } };

	assert_int_equal(kin_plan_arrive(t, 1, 10, steps, 1, &bad), -ENOSPC);
}

static void stubs_go_children_first_when_nothing_below_needs_them(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_STUB, 0, 0, 0 },
				{ 20, 10, 20, 10, KIN_STUB, 0, 0, 0 },
				{ 30, 20, 20, 10, KIN_STUB, 0, 0, 0 } };

	kin_sort(t, 3);
	assert_string_equal(text(kin_plan_drop(t, 3, steps, 64)), "drop 30 drop 20 drop 10 ");
	t[2].kind = KIN_HERE;
	assert_int_equal(kin_plan_drop(t, 3, steps, 64), 0);
}

static void a_child_of_a_local_task_keeps_its_stub(void **state)
{
	struct kin_task t[] = { { 10, 1, 10, 10, KIN_HERE, 0, 0, 0 },
				{ 20, 10, 20, 10, KIN_STUB, 0, 0, 0 },
				{ 30, 20, 20, 10, KIN_STUB, 0, 0, 0 } };

	kin_sort(t, 3);
	assert_string_equal(text(kin_plan_drop(t, 3, steps, 64)), "drop 30 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_of_ancestors_and_leaders_is_made_from_above),
		cmocka_unit_test(what_is_there_is_not_made_again),
		cmocka_unit_test(children_stand_before_their_parent_turns),
		cmocka_unit_test(a_child_older_than_its_parents_session_is_born_before_it),
		cmocka_unit_test(a_session_that_cannot_be_rebuilt_is_refused_by_name),
		cmocka_unit_test(dead_leaders_are_made_for_the_joining_only),
		cmocka_unit_test(an_orphan_in_a_session_is_borne_beside_its_leader),
		cmocka_unit_test(an_orphan_joins_a_leaderless_session_through_a_stub_of_it),
		cmocka_unit_test(a_number_that_a_group_still_uses_cannot_be_given),
		cmocka_unit_test(half_made_stubs_are_put_right),
		cmocka_unit_test(a_zombie_that_never_led_cannot_be_joined),
		cmocka_unit_test(a_guest_is_not_made_to_bear),
		cmocka_unit_test(kin_in_a_circle_is_a_lying_peer),
		cmocka_unit_test(a_long_line_needs_room),
		cmocka_unit_test(stubs_go_children_first_when_nothing_below_needs_them),
		cmocka_unit_test(a_child_of_a_local_task_keeps_its_stub),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
