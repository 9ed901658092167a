/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - see line.h. Its holder may die at any instant. A take is announced, and its place is
 * zeroed, before bytes are read straight into it: so a successor finds what a read brought whose
 * number was never added up, but for zeros at its end, which no terminal shows.
 *
 * Invariant R4: a take under way touches no byte that ring_at() would give.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "cmd/line/line.h"

#define RING_MAGIC 0x676e6972316f646eull
#define RING_SIZE  ((uint64_t)RING_BYTES - RING_DATA)

static uint8_t *data_of(const struct ring *r)
{
	return (uint8_t *)(uintptr_t)r + RING_DATA;
}

void ring_init(struct ring *r, uint32_t number, uint64_t now_ms)
{
	memset(r, 0, sizeof(*r));
	r->number = number;
	r->started_ms = r->detached_ms = now_ms;
	__atomic_store_n(&r->magic, RING_MAGIC, __ATOMIC_RELEASE);
}

int ring_recover(struct ring *r)
{
	const uint8_t *at = data_of(r) + r->shown % RING_SIZE;
	uint64_t n = r->pending_at == r->shown ? r->pending : 0;

	if (r->magic != RING_MAGIC || n > RING_READ_MAX || n > RING_SIZE - r->shown % RING_SIZE)
		return -EPROTO;
	while (n > 0 && at[n - 1] == 0)
		n--;
	r->shown += n;
	r->pending = 0;
	return 0;
}

void *ring_space(struct ring *r, size_t *n)
{
	uint64_t at = r->shown % RING_SIZE;

	CHECK(r->pending == 0);
	*n = (size_t)MIN(MIN((uint64_t)*n, (uint64_t)RING_READ_MAX), RING_SIZE - at);
	memset(data_of(r) + at, 0, *n);
	r->pending_at = r->shown;
	__atomic_store_n(&r->pending, *n, __ATOMIC_RELEASE);
	return data_of(r) + at;
}

void ring_taken(struct ring *r, size_t n)
{
	CHECK(n <= r->pending);
	/* From here on the take is over, whatever @pending says. */
	__atomic_store_n(&r->shown, r->shown + n, __ATOMIC_RELEASE);
	__atomic_store_n(&r->pending, 0, __ATOMIC_RELEASE);
}

uint64_t ring_oldest(const struct ring *r)
{
	uint64_t kept = RING_SIZE - RING_READ_MAX;

	return r->shown > kept ? r->shown - kept : 0;
}

const void *ring_at(const struct ring *r, uint64_t from, size_t *n)
{
	uint64_t at = from % RING_SIZE;

	CHECK(from >= ring_oldest(r) && from <= r->shown);
	*n = (size_t)MIN(r->shown - from, RING_SIZE - at);
	return data_of(r) + at;
}

uint64_t ring_first_line(const struct ring *r)
{
	uint64_t from = ring_oldest(r);
	const uint8_t *p, *end;
	size_t n;

	if (from == 0)
		return 0;
	p = ring_at(r, from, &n);
	end = memchr(p, '\n', MIN(n, (size_t)RING_READ_MAX));
	return end == NULL ? from : from + (uint64_t)(end - p) + 1;
}
