/* SPDX-License-Identifier: Apache-2.0 */
#include "base/trace.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/clock.h"

struct record {
	_Atomic uint64_t seq; /* number of the record + 1; 0 while it is being written */
	uint64_t time_ns;
	const char *what;
	uint64_t arg[3];
};

static struct record ring[TRACE_RECORDS];
static _Atomic uint64_t next_seq;

void trace(const char *what, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t seq = atomic_fetch_add_explicit(&next_seq, 1, memory_order_relaxed);
	struct record *r = &ring[seq % TRACE_RECORDS];

	atomic_store_explicit(&r->seq, 0, memory_order_release);
	r->time_ns = clock_mono_ns();
	r->what = what;
	r->arg[0] = a;
	r->arg[1] = b;
	r->arg[2] = c;
	atomic_store_explicit(&r->seq, seq + 1, memory_order_release);
}

/* snprintf is not async-signal-safe by the letter; with these formats glibc neither allocates nor
 * locks. */
void trace_dump(int fd, unsigned max)
{
	uint64_t end = atomic_load(&next_seq);
	uint64_t n = MIN(end, (uint64_t)MIN(max, (unsigned)TRACE_RECORDS));

	for (uint64_t seq = end - n; seq < end; seq++) {
		const struct record *r = &ring[seq % TRACE_RECORDS];
		char line[160];
		int len;

		if (atomic_load_explicit(&r->seq, memory_order_acquire) != seq + 1)
			continue;
		len = snprintf(line, sizeof(line), "  %6llu.%06llu %-32s %llx %llx %llx\n",
			       (unsigned long long)(r->time_ns / 1000000000),
			       (unsigned long long)(r->time_ns / 1000 % 1000000), r->what,
			       (unsigned long long)r->arg[0], (unsigned long long)r->arg[1],
			       (unsigned long long)r->arg[2]);
		if (len > 0 && write(fd, line, MIN((size_t)len, sizeof(line) - 1)) < 0)
			return;
	}
}
