/* SPDX-License-Identifier: Apache-2.0 */
/*
 * line_fuzz - frames of a line, cut and mutated. Without arguments: seeded rounds; with: each
 * argument is a file of bytes. Checked besides the sanitizers: what is taken lies inside its input
 * and comes out of line_frame_add() as the same bytes; no proper prefix of a frame is one.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/rand.h"
#include "cmd/line/line.h"
#include "tests/lib/fuzz.h"

static unsigned taken;

static void one(const uint8_t *in, size_t len)
{
	uint8_t *copy = fuzz_copy(in, len);
	size_t at = 0;

	while (at < len) {
		cleanup_buf struct buf again = BUF_INIT;
		struct line_frame f, part;
		int n = line_frame_take(copy + at, len - at, &f);

		if (n <= 0)
			break;
		taken++;
		CHECK((size_t)n <= len - at && f.body == copy + at + LINE_HEAD);
		CHECK(line_frame_add(&again, f.kind, f.body, f.len) == 0);
		CHECK(again.len == (size_t)n && memcmp(again.data, copy + at, again.len) == 0);
		CHECK(line_frame_take(copy + at, (size_t)n - 1, &part) == 0);
		at += (size_t)n;
	}
	free(copy);
}

static size_t make(struct rand *r, uint8_t *out, size_t cap)
{
	static const uint8_t kinds[] = { LINE_HELLO, LINE_SHOWN, LINE_TAKEN_IN, LINE_EXIT,
					 LINE_TAKEN, LINE_INPUT, LINE_SIZE,     0 };
	static const uint8_t lengths[] = { 16, 7, 8, 4, 0, 11, 4, 0 };
	size_t len = 0;

	for (uint64_t n = 1 + rand_below(r, 4); n > 0; n--) {
		size_t i = rand_below(r, ARRAY_LEN(kinds));

		if (len + LINE_HEAD + lengths[i] > cap)
			break;
		out[len] = kinds[i];
		line_put(out + len + 1, 4, lengths[i]);
		for (size_t k = 0; k < lengths[i]; k++)
			out[len + LINE_HEAD + k] = (uint8_t)rand_next(r);
		len += LINE_HEAD + lengths[i];
	}
	if (rand_below(r, 2) == 0)
		out[rand_below(r, len)] = (uint8_t)rand_next(r);
	return rand_below(r, 4) == 0 ? rand_below(r, len + 1) : len;
}

int main(int argc, char **argv)
{
	static const struct fuzz f = { .one = one,
				       .make = make,
				       .cap = 4096,
				       .seed = 7,
				       .rounds = 300000,
				       .taken = &taken,
				       .taken_min = 100000 };

	return fuzz_main(&f, argc, argv);
}
