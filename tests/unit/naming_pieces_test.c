/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "naming/naming.h"
#include "naming/pieces.h"
#include "tests/unit/unit.h"

#define LONG (3u * NAMING_MSG_MAX + 17)

struct ends {
	struct pieces to;
	node_id from;
	unsigned messages;
	unsigned lose; /* the message of this number, from 1 */
	unsigned whole;
	const uint8_t *sent;
	size_t len;
};

static uint8_t text[LONG];

static void arrived(void *arg, node_id from, const uint8_t *bytes, size_t len)
{
	struct ends *e = arg;

	assert_int_equal(from, e->from);
	assert_int_equal(len, e->len);
	assert_memory_equal(bytes, e->sent, len);
	e->whole++;
}

static void carry(void *arg, const void *msg, size_t len)
{
	struct ends *e = arg;

	assert_true(len <= NAMING_MSG_MAX);
	if (++e->messages != e->lose)
		pieces_in(&e->to, e->from, msg, len, arrived, e);
}

static unsigned send_all(struct ends *e, struct pieces *out, size_t len)
{
	e->sent = text;
	e->len = len;
	e->messages = e->whole = 0;
	pieces_out(out, text, len, carry, e);
	return e->whole;
}

static void a_long_message_arrives_whole_or_not_at_all(void **state)
{
	struct ends e = { .from = 3 };
	struct pieces out;

	for (size_t i = 0; i < LONG; i++)
		text[i] = (uint8_t)(i * 7 + i / 4096);
	pieces_init(&out);
	pieces_init(&e.to);
	assert_int_equal(send_all(&e, &out, 1), 1);
	assert_int_equal(send_all(&e, &out, NAMING_MSG_MAX - 1), 1);
	assert_int_equal(e.messages, 1);
	assert_int_equal(send_all(&e, &out, NAMING_MSG_MAX), 1);
	assert_int_equal(e.messages, 2);
	assert_int_equal(send_all(&e, &out, LONG), 1);
	assert_int_equal(e.messages, 4);
	for (unsigned i = 1; i <= 4; i++) {
		e.lose = i;
		assert_int_equal(send_all(&e, &out, LONG), 0);
		/* The next one is not hurt by what was left of it. */
		e.lose = 0;
		assert_int_equal(send_all(&e, &out, LONG), 1);
	}
	assert_int_equal(send_all(&e, &out, LONG), 1);
	pieces_fini(&e.to);
	pieces_fini(&out);
}

static void pieces_that_do_not_fit_are_dropped(void **state)
{
	static const uint8_t junk[] = { 1, 8, 1, 16, 5, 24, 1, 34, 1, 0, 9, 9 };
	struct ends e = { .from = 3 };

	pieces_init(&e.to);
	for (size_t n = 0; n <= sizeof(junk); n++)
		pieces_in(&e.to, 3, junk, n, arrived, &e);
	assert_int_equal(e.whole, 0);
	pieces_fini(&e.to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_message_arrives_whole_or_not_at_all),
		cmocka_unit_test(pieces_that_do_not_fit_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
