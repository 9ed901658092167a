/* SPDX-License-Identifier: Apache-2.0 */
/* steer_test.c - the pid cursor stays in the blocks, whatever happens between two looks. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "base/rand.h"
#include "kernel/tenant/steer.h"

/* An allocator like the kernel's: counts up, skips what is in use. */
static struct {
	gpid last;
	uint8_t used[70000];
	int moves, crowded;
} a;

static gpid fake_cursor(struct steer *s)
{
	return a.last;
}

static int fake_move(struct steer *s, gpid last)
{
	a.last = last;
	a.moves++;
	return 0;
}

static bool fake_in_use(struct steer *s, gpid pid)
{
	return a.used[pid];
}

static void fake_crowded(struct steer *s, gpid left)
{
	a.crowded++;
}

static const struct steer_ops ops = { fake_cursor, fake_move, fake_in_use, fake_crowded };
static struct steer s;

static gpid give_one(void)
{
	do
		a.last++;
	while (a.used[a.last]);
	return a.last;
}

static int fresh(void **state)
{
	memset(&a, 0, sizeof(a));
	a.last = 2;
	s = (struct steer){ .ops = &ops };
	return 0;
}

static bool in_block(gpid pid, gpid first, gpid count)
{
	return pid >= first && pid < first + count;
}

static void the_first_block_counts_at_once(void **state)
{
	assert_int_equal(steer_tick(&s, 0), -1);
	assert_int_equal(steer_add(&s, 8192, 4096), 0);
	assert_int_equal(give_one(), 8192);
	assert_int_equal(steer_pids(&s), 4096);
}

static void wrong_blocks_are_refused(void **state)
{
	assert_int_equal(steer_add(&s, 299, 4096), -EINVAL);
	assert_int_equal(steer_add(&s, 8192, 15), -EINVAL);
	assert_int_equal(steer_add(&s, 4194304, 16), -EINVAL);
	assert_int_equal(steer_add(&s, 4194300, 16), -EINVAL);
	assert_int_equal(steer_add(&s, 8192, UINT64_MAX), -EINVAL);
	assert_int_equal(steer_add(&s, 8192, 4096), 0);
	assert_int_equal(steer_add(&s, 8192, 4096), 0);
	assert_int_equal(steer_add(&s, 8192, 100), -EINVAL);
	assert_int_equal(steer_add(&s, 8000, 200), -EINVAL);
	assert_int_equal(steer_add(&s, 12287, 20), -EINVAL);
	assert_int_equal(steer_add(&s, 12288, 20), 0);
	assert_int_equal(steer_remove(&s, 4711), -ENOENT);
}

static void it_wraps_within_its_blocks_and_never_leaves_them(void **state)
{
	struct rand r;
	int64_t now = 0;

	rand_seed(&r, 5);
	assert_int_equal(steer_add(&s, 4096, 4096), 0);
	assert_int_equal(steer_add(&s, 40960, 4096), 0);
	for (int look = 0; look < 20000; look++) {
		int64_t wait = steer_tick(&s, now);

		assert_in_range(wait, 1, 20);
		now += wait;
		for (uint64_t n = rand_below(&r, 100); n > 0; n--) {
			gpid pid = give_one();

			assert_true(in_block(pid, 4096, 4096) || in_block(pid, 40960, 4096));
		}
	}
	assert_int_equal(s.strays, 0);
	assert_true(a.moves > 100);
	assert_int_equal(a.crowded, 0);
}

static void a_block_full_of_life_is_left_alone_and_told(void **state)
{
	int64_t now = 0;

	memset(a.used + 4096, 1, 4096);
	memset(a.used + 40960, 1, 3000);
	assert_int_equal(steer_add(&s, 4096, 4096), 0);
	assert_true(a.crowded > 0);
	assert_int_equal(steer_add(&s, 40960, 4096), 0);
	now += steer_tick(&s, now);
	give_one(); /* it is outside: no other block was there. It is counted and put back. */
	now += steer_tick(&s, now);
	now += steer_tick(&s, now);
	assert_int_equal(give_one(), 43960);
}

static void neighbours_are_one_block(void **state)
{
	int64_t now = 0;

	assert_int_equal(steer_add(&s, 4096, 4096), 0);
	assert_int_equal(steer_add(&s, 8192, 4096), 0);
	a.moves = 0;
	for (int i = 0; i < 6000; i++) {
		assert_int_equal(give_one(), 4096 + i);
		if (i % 50 == 0)
			now += steer_tick(&s, now);
	}
	assert_int_equal(a.moves, 0);
}

static void leaving_is_counted_and_mended(void **state)
{
	int64_t now = 0;

	assert_int_equal(steer_add(&s, 4096, 4096), 0);
	now += steer_tick(&s, now);
	a.last = 9000;
	now += steer_tick(&s, now);
	assert_int_equal(s.strays, 1);
	assert_true(in_block(give_one(), 4096, 4096));
	now += steer_tick(&s, now);
	assert_int_equal(s.strays, 1);
}

static void a_block_given_back_is_used_no_more(void **state)
{
	int64_t now = 0;

	assert_int_equal(steer_add(&s, 4096, 4096), 0);
	assert_int_equal(steer_add(&s, 40960, 4096), 0);
	assert_int_equal(steer_remove(&s, 4096), 0);
	for (int i = 0; i < 20000; i++) {
		assert_true(in_block(give_one(), 40960, 4096));
		if (i % 50 == 0)
			now += steer_tick(&s, now);
	}
	assert_int_equal(steer_remove(&s, 40960), 0);
	assert_int_equal(steer_tick(&s, now), -1);
}

static void it_looks_more_often_while_pids_are_used(void **state)
{
	int64_t now = 0;

	assert_int_equal(steer_add(&s, 4096, 4096), 0);
	assert_int_equal(steer_tick(&s, now), 20);
	assert_int_equal(steer_tick(&s, now + 5), 15);
	give_one();
	assert_int_equal(steer_tick(&s, now + 20), 4);
}

/* The fastest host there is, that begins in the last instant after a look, and looks as late again
 * as they were due. */
static void a_calm_world_is_looked_at_less_often_and_never_leaves_its_block(void **state)
{
	struct rand r;
	int64_t now = 0, looks = 0, wait;

	rand_seed(&r, 8);
	s.ids_per_ms = 20;
	assert_int_equal(steer_add(&s, 4096, 4096), 0);
	while (now < 600000) {
		wait = steer_tick(&s, now);
		looks++;
		assert_in_range(wait, 1, 160);
		now += wait;
		if (rand_below(&r, 50) != 0)
			continue;
		now += wait; /* it comes late */
		for (int64_t n = 2 * wait * s.ids_per_ms; n > 0; n--)
			assert_true(in_block(give_one(), 4096, 4096));
	}
	assert_int_equal(s.strays, 0);
	assert_in_range(looks, 5000, 20000); /* 30,000 would be every 20 ms */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_first_block_counts_at_once, fresh),
		cmocka_unit_test_setup(wrong_blocks_are_refused, fresh),
		cmocka_unit_test_setup(it_wraps_within_its_blocks_and_never_leaves_them, fresh),
		cmocka_unit_test_setup(a_block_full_of_life_is_left_alone_and_told, fresh),
		cmocka_unit_test_setup(neighbours_are_one_block, fresh),
		cmocka_unit_test_setup(leaving_is_counted_and_mended, fresh),
		cmocka_unit_test_setup(a_block_given_back_is_used_no_more, fresh),
		cmocka_unit_test_setup(it_looks_more_often_while_pids_are_used, fresh),
		cmocka_unit_test_setup(
			a_calm_world_is_looked_at_less_often_and_never_leaves_its_block, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
