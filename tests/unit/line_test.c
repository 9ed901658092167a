/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "cmd/line/line.h"
#include "tests/unit/unit.h"

static struct line_frame f;

static void frames_come_out_as_they_went_in(void **state)
{
	cleanup_buf struct buf b = BUF_INIT;
	uint8_t size[4];

	line_put(size, 2, 40);
	line_put(size + 2, 2, 100);
	assert_int_equal(line_frame_add(&b, LINE_INPUT, "abc", 3), 0);
	assert_int_equal(line_frame_add(&b, LINE_SIZE, size, 4), 0);
	assert_int_equal(line_frame_add(&b, LINE_TAKEN, NULL, 0), 0);
	for (size_t cut = 0; cut < LINE_HEAD + 3; cut++)
		assert_int_equal(line_frame_take(b.data, cut, &f), 0);
	assert_int_equal(line_frame_take(b.data, b.len, &f), LINE_HEAD + 3);
	assert_int_equal(f.kind, LINE_INPUT);
	assert_memory_equal(f.body, "abc", 3);
	buf_consume(&b, LINE_HEAD + 3);
	assert_int_equal(line_frame_take(b.data, b.len, &f), LINE_HEAD + 4);
	assert_int_equal(line_get(f.body + 2, 2), 100);
	buf_consume(&b, LINE_HEAD + 4);
	assert_int_equal(line_frame_take(b.data, b.len, &f), LINE_HEAD);
	assert_int_equal(f.kind, LINE_TAKEN);
}

static void what_is_no_frame_is_refused_early(void **state)
{
	const uint8_t unknown[] = { 9 }, longer[] = { LINE_SHOWN, 1, 64, 0, 0 },
		      wrong[] = { LINE_SIZE, 3, 0, 0, 0 }, huge[] = { LINE_INPUT, 0, 0, 0, 255 };

	assert_int_equal(line_frame_take(unknown, 1, &f), -EPROTO);
	assert_int_equal(line_frame_take(longer, 5, &f), -EPROTO);
	assert_int_equal(line_frame_take(wrong, 5, &f), -EPROTO);
	assert_int_equal(line_frame_take(huge, 5, &f), -EPROTO);
}

/* ---- the ring ---- */
static uint8_t memory[RING_BYTES] __attribute__((aligned(4096)));
static struct ring *const r = (struct ring *)(void *)memory;

static int setup(void **state)
{
	memset(memory, 0, sizeof(memory));
	ring_init(r, 3, 1000);
	return 0;
}

static uint8_t byte_at(uint64_t number)
{
	return (uint8_t)(1 + number % 251);
}

static void take(size_t want)
{
	while (want > 0) {
		size_t n = want;
		uint8_t *p = ring_space(r, &n);

		for (size_t i = 0; i < n; i++)
			p[i] = byte_at(r->shown + i);
		ring_taken(r, n);
		want -= n;
	}
}

static void assert_holds(uint64_t from)
{
	while (from < r->shown) {
		size_t n;
		const uint8_t *p = ring_at(r, from, &n);

		assert_true(n > 0);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], byte_at(from + i));
		from += n;
	}
	assert_int_equal(from, r->shown);
}

static void a_ring_keeps_the_newest(void **state)
{
	take(100);
	assert_int_equal(ring_oldest(r), 0);
	assert_holds(0);
	take(1000000);
	assert_int_equal(r->shown, 1000100);
	assert_true(ring_oldest(r) > 0 && r->shown - ring_oldest(r) > 200000);
	assert_holds(ring_oldest(r));
}

/* R4: also while a take is under way. */
static void a_take_under_way_touches_nothing_that_is_shown(void **state)
{
	size_t n = RING_READ_MAX;

	take(3 * RING_BYTES + 77);
	memset(ring_space(r, &n), 0xee, n);
	assert_holds(ring_oldest(r));
}

/* Its holder died at each point of a take: before the read, after it, after the number was added.
 */
static void a_successor_finds_what_was_read(void **state)
{
	for (size_t shift = 0; shift < RING_BYTES; shift += 40961) {
		size_t n = RING_READ_MAX;
		uint64_t before;
		uint8_t *p;

		take(shift);
		before = r->shown;
		(void)ring_space(r, &n);
		assert_int_equal(ring_recover(r), 0);
		assert_int_equal(r->shown, before);
		n = 500;
		p = ring_space(r, &n);
		for (size_t i = 0; i < n; i++)
			p[i] = byte_at(before + i);
		assert_int_equal(ring_recover(r), 0);
		assert_int_equal(r->shown, before + n);
		assert_holds(ring_oldest(r));
		/* Between the two stores of ring_taken(). */
		before = r->shown;
		n = 300;
		p = ring_space(r, &n);
		for (size_t i = 0; i < n; i++)
			p[i] = byte_at(before + i);
		r->shown += n;
		assert_int_equal(ring_recover(r), 0);
		assert_int_equal(r->shown, before + n);
		assert_holds(ring_oldest(r));
	}
}

static void what_is_no_ring_is_refused(void **state)
{
	r->pending = RING_READ_MAX + 1;
	r->pending_at = r->shown;
	assert_int_equal(ring_recover(r), -EPROTO);
	r->pending = 0;
	r->magic++;
	assert_int_equal(ring_recover(r), -EPROTO);
}

static void reading_begins_at_a_line(void **state)
{
	size_t n;

	for (int i = 0; i < 60000; i++) {
		n = 10;
		uint8_t *p = ring_space(r, &n);

		memcpy(p, "123456789\n", n);
		ring_taken(r, n);
	}
	assert_true(ring_first_line(r) > ring_oldest(r));
	assert_memory_equal((const uint8_t *)ring_at(r, ring_first_line(r) - 1, &n), "\n", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_come_out_as_they_went_in),
		cmocka_unit_test(what_is_no_frame_is_refused_early),
		cmocka_unit_test_setup(a_ring_keeps_the_newest, setup),
		cmocka_unit_test_setup(a_take_under_way_touches_nothing_that_is_shown, setup),
		cmocka_unit_test_setup(a_successor_finds_what_was_read, setup),
		cmocka_unit_test_setup(what_is_no_ring_is_refused, setup),
		cmocka_unit_test_setup(reading_begins_at_a_line, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
