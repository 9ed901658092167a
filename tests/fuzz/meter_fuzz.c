/* SPDX-License-Identifier: Apache-2.0 */
/* meter_fuzz.c - a log of use with any bytes in it: what is no record is counted, sums never trap.
 */
#include <stdio.h>

#include "base/check.h"
#include "base/rand.h"
#include "quota/core/meter.h"
#include "tests/lib/fuzz.h"

struct reader {
	struct meter_row rows[16];
	struct meter_roll roll;
	struct meter_rec sum;
	size_t good;
};

static void whole(void *arg, const struct meter_rec *rec)
{
	uint8_t bytes[METER_BYTES];
	struct meter_rec back;

	(void)arg;
	meter_encode(rec, bytes);
	CHECK(meter_decode(bytes, &back));
}

static void take(void *arg, const struct meter_rec *rec)
{
	struct reader *r = arg;

	r->good++;
	meter_add_part(&r->sum, rec, rec->start_s + 1, rec->start_s + 30);
	if (rec->tenant % 3 == 0)
		meter_roll_recall(&r->roll, rec);
	meter_roll_add(&r->roll, rec);
	meter_roll_tick(&r->roll, rec->start_s);
	meter_roll_rest(&r->roll, METER_HOURS, rec->tenant, rec->start_s / 2, &r->sum);
}

static void one(const uint8_t *bytes, size_t len)
{
	static struct reader r;
	size_t bad;

	r = (struct reader){ .good = 0 };
	meter_roll_init(&r.roll, r.rows, ARRAY_LEN(r.rows), whole, NULL);
	bad = meter_each(bytes, len, take, &r);
	CHECK(r.good + bad == (len + METER_BYTES - 1) / METER_BYTES);
}

static size_t sample(struct rand *rng, uint8_t *bytes, size_t cap)
{
	size_t n = rand_below(rng, cap / METER_BYTES);

	for (size_t i = 0; i < n; i++) {
		struct meter_rec rec = { .level = (enum meter_level)rand_below(rng, METER_LEVELS),
					 .tenant = 1 + (tenant_id)rand_below(rng, 40),
					 .start_s = (uint32_t)rand_next(rng) / 2,
					 .span_s = (uint16_t)(1 + rand_below(rng, 60)),
					 .cpu_us = rand_next(rng),
					 .memory_kib_s = rand_next(rng),
					 .moves = (uint32_t)rand_next(rng),
					 .bytes = rand_next(rng) };

		meter_encode(&rec, bytes + i * METER_BYTES);
	}
	return fuzz_spoil(rng, bytes, n * METER_BYTES);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {
		.one = one, .make = sample, .cap = 64 * METER_BYTES, .seed = 1, .rounds = 20000
	};

	return fuzz_main(&f, argc, argv);
}
