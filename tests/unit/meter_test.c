/* SPDX-License-Identifier: Apache-2.0 */
/* Records of use: bytes and back, coarser ones made of finer ones, restarts at any second. */
#include <string.h>

#include "base/rand.h"
#include "quota/core/meter.h"
#include "tests/unit/unit.h"

enum { ROWS = 8, FILE_MAX = 20000 };

struct files {
	struct meter_rec rec[METER_LEVELS][FILE_MAX];
	size_t n[METER_LEVELS];
	struct meter_row rows[ROWS];
	struct meter_roll roll;
};

static void keep(void *arg, const struct meter_rec *rec)
{
	struct files *f = arg;

	assert_true(f->n[rec->level] < FILE_MAX);
	f->rec[rec->level][f->n[rec->level]++] = *rec;
}

static void second(struct files *f, tenant_id t, uint32_t at, uint64_t cpu)
{
	struct meter_rec rec = { .tenant = t,
				 .start_s = at,
				 .span_s = 1,
				 .cpu_us = cpu,
				 .memory_kib_s = 2 * cpu,
				 .moves = at % 60 == 7,
				 .bytes = 3 * cpu };

	keep(f, &rec);
	meter_roll_add(&f->roll, &rec);
}

static void restart(struct files *f)
{
	size_t n[METER_LEVELS];

	memcpy(n, f->n, sizeof(n));
	meter_roll_init(&f->roll, f->rows, ROWS, keep, f);
	for (int l = METER_HOURS; l >= METER_MINUTES; l--)
		for (size_t i = 0; i < n[l]; i++)
			meter_roll_recall(&f->roll, &f->rec[l][i]);
	for (int l = METER_MINUTES; l >= METER_SECONDS; l--)
		for (size_t i = 0; i < n[l]; i++)
			meter_roll_add(&f->roll, &f->rec[l][i]);
}

static uint64_t total(const struct files *f, enum meter_level level, tenant_id t)
{
	struct meter_rec sum = { 0 };

	for (size_t i = 0; i < f->n[level]; i++)
		if (f->rec[level][i].tenant == t)
			meter_add_part(&sum, &f->rec[level][i], 0, UINT32_MAX);
	if (level != METER_SECONDS)
		meter_roll_rest(&f->roll, level, t, 0, &sum);
	assert_int_equal(sum.memory_kib_s, 2 * sum.cpu_us);
	return sum.cpu_us;
}

static void records_survive_their_bytes(void **state)
{
	struct meter_rec rec = {
		METER_MINUTES, 7, 1700000040, 60, 123456789, 987654321, 3, 1u << 31
	};
	struct meter_rec back;
	uint8_t bytes[METER_BYTES], again[METER_BYTES];

	(void)state;
	meter_encode(&rec, bytes);
	assert_true(meter_decode(bytes, &back));
	assert_true(back.level == rec.level && back.tenant == 7 && back.span_s == 60 &&
		    back.moves == 3 && back.bytes == rec.bytes);
	meter_encode(&back, again);
	assert_memory_equal(bytes, again, sizeof(bytes));
	for (size_t i = 0; i < METER_BYTES; i++)
		for (int bit = 0; bit < 8; bit++) {
			bytes[i] ^= (uint8_t)(1 << bit);
			assert_false(meter_decode(bytes, &back));
			bytes[i] ^= (uint8_t)(1 << bit);
		}
}

static void count(void *arg, const struct meter_rec *rec)
{
	*(size_t *)arg += rec->cpu_us;
}

static void a_torn_end_loses_one_record(void **state)
{
	struct meter_rec rec = { METER_SECONDS, 1, 1000, 1, 1, 0, 0, 0 };
	uint8_t bytes[4 * METER_BYTES];
	size_t good = 0;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		meter_encode(&rec, bytes + i * METER_BYTES);
	assert_int_equal(meter_each(bytes, sizeof(bytes) - 5, count, &good), 1);
	assert_int_equal(good, 3);
	bytes[METER_BYTES + 20]++;
	good = 0;
	assert_int_equal(meter_each(bytes, sizeof(bytes), count, &good), 1);
	assert_int_equal(good, 3);
}

static void minutes_and_hours_add_up_over_restarts(void **state)
{
	struct files *f = calloc(1, sizeof(*f));
	uint32_t start = 1700000000 / 3600 * 3600 + 1234;
	uint64_t want[3] = { 0 };
	struct rand rng;

	(void)state;
	rand_seed(&rng, 3);
	meter_roll_init(&f->roll, f->rows, ROWS, keep, f);
	for (uint32_t s = 0; s < 9000; s++) {
		tenant_id t = 1 + (tenant_id)rand_below(&rng, 2);
		uint64_t cpu = rand_below(&rng, 1000000);

		second(f, t, start + s, cpu);
		want[t] += cpu;
		if (s % 5 == 0)
			meter_roll_tick(&f->roll, start + s);
		if (rand_chance(&rng, 1, 200))
			restart(f);
		if (s % 500 != 0)
			continue;
		for (unsigned l = 0; l < METER_LEVELS; l++) {
			assert_int_equal(total(f, l, 1), want[1]);
			assert_int_equal(total(f, l, 2), want[2]);
		}
	}
	assert_in_range(f->n[METER_MINUTES], 280, 310);
	assert_in_range(f->n[METER_HOURS], 4, 6);
	free(f);
}

static void a_part_of_a_span_counts_in_part(void **state)
{
	struct meter_rec rec = { METER_MINUTES, 1, 6000, 60, 600, UINT64_MAX, 2, 60 };
	struct meter_rec sum = { 0 };

	(void)state;
	meter_add_part(&sum, &rec, 6030, 9000);
	assert_int_equal(sum.cpu_us, 300);
	assert_int_equal(sum.moves, 2);
	assert_true(sum.memory_kib_s > UINT64_MAX / 2 - 60 &&
		    sum.memory_kib_s <= UINT64_MAX / 2 + 60);
	meter_add_part(&sum, &rec, 0, 6030);
	meter_add_part(&sum, &rec, 0, 6000);
	assert_int_equal(sum.cpu_us, 600);
	assert_int_equal(sum.moves, 2);
}

static void too_many_tenants_are_counted_as_lost(void **state)
{
	struct files *f = calloc(1, sizeof(*f));

	(void)state;
	meter_roll_init(&f->roll, f->rows, ROWS, keep, f);
	for (tenant_id t = 1; t <= ROWS + 2; t++)
		second(f, t, 1700000000, 5);
	assert_int_equal(f->roll.lost, 2);
	/* Who has used nothing for hours makes room. */
	meter_roll_tick(&f->roll, 1700000000 + 4 * 3600);
	meter_roll_tick(&f->roll, 1700000000 + 8 * 3600);
	second(f, 100, 1700000000 + 8 * 3600, 5);
	assert_int_equal(f->roll.lost, 2);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_survive_their_bytes),
		cmocka_unit_test(a_torn_end_loses_one_record),
		cmocka_unit_test(minutes_and_hours_add_up_over_restarts),
		cmocka_unit_test(a_part_of_a_span_counts_in_part),
		cmocka_unit_test(too_many_tenants_are_counted_as_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
