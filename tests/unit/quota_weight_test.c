/* SPDX-License-Identifier: Apache-2.0 */
/* The part of its weight that a tenant has, on a host of two processors beside somebody of weight
 * 1000. */
#include "base/rand.h"
#include "quota/core/share.h"
#include "quota/core/weight.h"
#include "tests/unit/unit.h"

enum { CPUS = 2 };

/* With tasks enough for all processors, beside another who has one task on each of @busy. */
static struct quota_strain run(uint32_t part, uint64_t held_milli, unsigned busy)
{
	uint64_t could = (CPUS - busy) * 1000 + busy * UINT64_C(1000) * part / (part + 1000);

	return (struct quota_strain){ MIN(could, held_milli), held_milli, could > held_milli };
}

static uint32_t after(uint32_t part, unsigned steps, uint64_t held_milli, unsigned busy)
{
	bool was_short = false;

	while (steps-- > 0) {
		const struct quota_strain s = run(part, held_milli, busy);

		part = quota_weight_step(part, &s, &was_short);
	}
	return part;
}

static void who_is_stopped_by_a_limit_yields(void **state)
{
	(void)state;
	/* One processor is free, and she may use one: she has it without any weight. */
	assert_int_equal(after(QUOTA_WEIGHT_WHOLE, 5, 1000, 1), QUOTA_WEIGHT_LEAST);
	assert_int_equal(run(QUOTA_WEIGHT_LEAST, 1000, 1).used_milli, 1000);
	assert_int_equal(after(QUOTA_WEIGHT_WHOLE, 5, 100, 2), QUOTA_WEIGHT_LEAST);
}

static void who_cannot_get_all_has_the_whole_weight(void **state)
{
	(void)state;
	for (uint64_t held = 1200; held < 4000; held += 100)
		assert_int_equal(after(QUOTA_WEIGHT_WHOLE, 20, held, 2), QUOTA_WEIGHT_WHOLE);
	/* It is back soon after the other has begun. */
	assert_int_equal(after(QUOTA_WEIGHT_LEAST, 5, 1200, 2), QUOTA_WEIGHT_WHOLE);
}

/* Her limit is about what her weight would give her anyway: she gets nine tenths of it.
 */
static void a_limit_that_is_just_reached_is_reached(void **state)
{
	(void)state;
	for (uint64_t held = 600; held <= 1000; held += 7) {
		uint32_t part = QUOTA_WEIGHT_WHOLE;
		uint64_t sum = 0;
		bool was_short = false;

		for (unsigned i = 0; i < 100; i++) {
			const struct quota_strain s = run(part, held, 2);

			sum += s.used_milli;
			part = quota_weight_step(part, &s, &was_short);
		}
		assert_true(sum >= held * 90);
	}
}

static void who_uses_little_gets_it_back(void **state)
{
	const struct quota_strain idle = { 0, 1000, false };
	uint32_t part = QUOTA_WEIGHT_LEAST;
	bool was_short = false;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		part = quota_weight_step(part, &idle, &was_short);
	assert_int_equal(part, QUOTA_WEIGHT_WHOLE);
}

/* W4: her pauses begin and end between two looks. */
static void a_short_time_is_not_believed_alone(void **state)
{
	const struct quota_strain full = { 1000, 1000, true };
	uint32_t part = QUOTA_WEIGHT_LEAST;
	bool was_short = false;

	(void)state;
	for (uint64_t used = 0; used < 900; used++) {
		const struct quota_strain some = { used, 1000, used % 2 == 0 };

		part = quota_weight_step(part, &some, &was_short);
		part = quota_weight_step(part, &full, &was_short);
		assert_int_equal(part, QUOTA_WEIGHT_LEAST);
	}
}

static void whatever_is_measured_the_part_stays_within(void **state)
{
	const struct quota_strain none = { 5000, QUOTA_ANY, true };
	bool was_short = false;
	struct rand rng;

	(void)state;
	rand_seed(&rng, 7);
	assert_int_equal(quota_weight_step(QUOTA_WEIGHT_LEAST, &none, &was_short),
			 QUOTA_WEIGHT_WHOLE); /* W1 */
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t before = (uint32_t)rand_next(&rng), part;
		struct quota_strain s = { rand_next(&rng) >> (32 + rand_next(&rng) % 32),
					  rand_next(&rng) >> (32 + rand_next(&rng) % 32),
					  rand_next(&rng) % 2 == 0 };

		if (i % 2 == 0)
			before = QUOTA_WEIGHT_LEAST + before % 751;
		part = quota_weight_step(before, &s, &was_short);
		assert_true(part >= QUOTA_WEIGHT_LEAST && part <= QUOTA_WEIGHT_WHOLE); /* W2 */
		if (s.used_milli * 100 < s.held_milli * 80 && i % 2 == 0)
			assert_true(part >= before); /* W3 */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_stopped_by_a_limit_yields),
		cmocka_unit_test(who_cannot_get_all_has_the_whole_weight),
		cmocka_unit_test(a_limit_that_is_just_reached_is_reached),
		cmocka_unit_test(who_uses_little_gets_it_back),
		cmocka_unit_test(a_short_time_is_not_believed_alone),
		cmocka_unit_test(whatever_is_measured_the_part_stays_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
