/* SPDX-License-Identifier: Apache-2.0 */
/* base_test.c - buffers, lists, randomness, fault points and guesses. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/guess.h"
#include "base/list.h"
#include "base/rand.h"

static void buffer_grows_formats_and_consumes(void **state)
{
	cleanup_buf struct buf b = BUF_INIT;

	assert_int_equal(buf_add(&b, "ab", 2), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf_addf(&b, "%03d", i), 0);
	assert_int_equal(b.len, 302);
	buf_consume(&b, 2 + 99 * 3);
	assert_string_equal(buf_str(&b), "099");
}

static void buffer_refuses_an_impossible_size(void **state)
{
	cleanup_buf struct buf b = BUF_INIT;

	assert_int_equal(buf_add(&b, "x", 1), 0);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -ENOMEM);
	assert_int_equal(b.len, 1);
}

struct item {
	int n;
	struct list link;
};

static void list_keeps_order_and_survives_removal(void **state)
{
	struct list head = LIST_INIT(head);
	struct item it[4], *pos, *tmp;
	int sum = 0;

	for (int i = 0; i < 4; i++) {
		it[i].n = i;
		list_add_tail(&head, &it[i].link);
	}
	list_for_each_safe (pos, tmp, &head, link)
		if (pos->n % 2 == 0)
			list_del(&pos->link);
	list_for_each (pos, &head, link)
		sum = sum * 10 + pos->n;
	assert_int_equal(sum, 13);
	list_del(&it[0].link); /* again: harmless */
}

/* Simulations are replayed by seed for years: these numbers must never change. */
static void generator_is_the_published_one(void **state)
{
	struct rand r;

	rand_seed(&r, 7);
	assert_true(rand_next(&r) == UINT64_C(0xb358faf74ef9765a));
	assert_true(rand_next(&r) == UINT64_C(0x475c3d964f482cd2));
	for (int i = 0; i < 1000; i++)
		assert_true(rand_below(&r, 10) < 10);
}

static int guarded(void)
{
	return FAULT_ERR("test.point", 0);
}

static void fault_point_fires_once_at_its_nth_passage(void **state)
{
	assert_int_equal(fault_arm("test.nowhere", 1, FAULT_FAIL), -ENOENT);
	assert_int_equal(fault_arm("test.point", 0, FAULT_FAIL), -EINVAL);
	assert_int_equal(guarded(), 0);
	assert_int_equal(fault_arm_text("test.point:2:fail"), 0);
	assert_int_equal(guarded(), 0);
	assert_int_equal(guarded(), -EIO);
	assert_int_equal(guarded(), 0);
	assert_int_equal(fault_armed_count, 0);
}

/* What is meant by @word, of these; "" nothing. */
static const char *meant(const char *word, bool is_name)
{
	static const char *const known[] = { "alice",  "bob", "n1", "n2", "status",
					     "--node", "ls",  "rm", "" };
	static struct guess g;

	if (is_name)
		guess_init_name(&g, word);
	else
		guess_init(&g, word);
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		guess_offer(&g, known[i]);
	return g.best;
}

static void guess_finds_the_nearest_word(void **state)
{
	assert_string_equal(meant("stauts", false), "status");
	assert_string_equal(meant("sta", false), "status");
	assert_string_equal(meant("--ndoe", false), "--node");
	assert_string_equal(meant("sl", false), "ls");
	assert_string_equal(meant("xyzzy", false), "");
	assert_string_equal(meant("x", false), "");
	assert_string_equal(meant("", false), "");
}

static void guess_of_a_name_is_careful(void **state)
{
	char text[GUESS_MAX + 24], longer[300];
	struct guess g;

	assert_string_equal(meant("alcie", true), "alice");
	assert_string_equal(meant("bbo", true), "bob");
	assert_string_equal(meant("n22", true), "n2");
	assert_string_equal(meant("n9", true), "");
	assert_string_equal(meant("carol", true), "");
	assert_string_equal(meant("", true), "");
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_string_equal(meant(longer, true), "");
	guess_init_name(&g, "alcie");
	guess_offer(&g, longer);
	assert_string_equal(guess_text(&g, text), "");
	guess_offer(&g, "alice");
	assert_string_equal(guess_text(&g, text), " (did you mean alice?)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buffer_grows_formats_and_consumes),
		cmocka_unit_test(buffer_refuses_an_impossible_size),
		cmocka_unit_test(list_keeps_order_and_survives_removal),
		cmocka_unit_test(generator_is_the_published_one),
		cmocka_unit_test(fault_point_fires_once_at_its_nth_passage),
		cmocka_unit_test(guess_finds_the_nearest_word),
		cmocka_unit_test(guess_of_a_name_is_careful),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
