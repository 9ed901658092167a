/* SPDX-License-Identifier: Apache-2.0 */
/* member_fuzz.c - any bytes as a membership message: refused or read, and then written the same. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/rand.h"
#include "naming/member/member.h"
#include "tests/lib/fuzz.h"

static void one(const uint8_t *bytes, size_t len)
{
	uint8_t again[MEMBER_MSG_MAX];
	struct member_msg m, back;
	int n;

	if (member_decode(&m, bytes, len) < 0)
		return;
	n = member_encode(&m, again, sizeof(again));
	CHECK(n > 0 && member_decode(&back, again, (size_t)n) == 0);
	CHECK(back.kind == m.kind && back.seq == m.seq && back.news_count == m.news_count);
	for (unsigned i = 0; i < m.news_count; i++)
		CHECK(memcmp(&m.news[i], &back.news[i], sizeof(m.news[i])) == 0);
}

static size_t sample(struct rand *r, uint8_t *bytes, size_t cap)
{
	struct member_msg m = { .kind = (enum member_kind)(1 + rand_below(r, 3)),
				.seq = (uint32_t)rand_next(r),
				.news_count = (unsigned)rand_below(r, MEMBER_NEWS_MAX + 1) };
	int n;

	for (unsigned i = 0; i < m.news_count; i++)
		m.news[i] =
			(struct member_news){ .id = 1 + (node_id)rand_below(r, UINT32_MAX),
					      .epoch = rand_next(r),
					      .incarnation = (uint32_t)rand_next(r),
					      .state = (enum member_state)(1 + rand_below(r, 3)),
					      .load = { .seq = rand_next(r),
							.cpu_milli = (uint32_t)rand_next(r),
							.load_milli = (uint32_t)rand_next(r),
							.mem_bytes = rand_next(r),
							.mem_free_bytes = rand_next(r) } };
	n = member_encode(&m, bytes, cap);
	CHECK(n > 0);
	return fuzz_spoil(r, bytes, (size_t)n);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {
		.one = one, .make = sample, .cap = MEMBER_MSG_MAX, .seed = 1, .rounds = 200000
	};

	return fuzz_main(&f, argc, argv);
}
