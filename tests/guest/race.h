/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race.h - one thread makes calls while another changes a word that they point to.
 *
 * The word is one of two values, never a mix: what the call makes of one it grants, of the other it
 * refuses. A call that decides by what it has read and acts by what it reads again would grant the
 * wrong one some time.
 */
#ifndef TESTS_GUEST_RACE_H
#define TESTS_GUEST_RACE_H

#include <pthread.h>

#include "tests/guest/guest.h"

#define RACE_TURNS 40 /* of each outcome */
#define RACE_MS    8000

struct race {
	uint64_t words[16]; /* what the calls point to */
	size_t at;          /* the one that changes */
	uint64_t good, bad;
	int ends;
	pthread_t thread;
};

static inline void *race_flip(void *arg)
{
	struct race *r = arg;

	while (!__atomic_load_n(&r->ends, __ATOMIC_RELAXED)) {
		__atomic_store_n(&r->words[r->at], r->good, __ATOMIC_RELAXED);
		__atomic_store_n(&r->words[r->at], r->bad, __ATOMIC_RELAXED);
	}
	return NULL;
}

static inline void race_begin(struct race *r, uint64_t good, uint64_t bad)
{
	r->words[r->at] = r->good = good;
	r->bad = bad;
	r->ends = 0;
	must(pthread_create(&r->thread, NULL, race_flip, r) == 0);
}

static inline void race_end(struct race *r)
{
	__atomic_store_n(&r->ends, 1, __ATOMIC_RELAXED);
	must(pthread_join(r->thread, NULL) == 0);
}

static inline uint64_t race_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * Calls @turn until it was granted and refused often enough. @turn gives true when its call was
 * granted, false when it was refused; what must not be had it finds itself. A race that has only
 * one outcome is none.
 */
static inline void race_run(struct race *r, uint64_t good, uint64_t bad, bool (*turn)(void *arg),
			    void *arg)
{
	uint64_t end = race_now_ms() + RACE_MS;
	unsigned granted = 0, refused = 0;

	race_begin(r, good, bad);
	while ((granted < RACE_TURNS || refused < RACE_TURNS) && race_now_ms() < end) {
		if (turn(arg))
			granted++;
		else
			refused++;
	}
	race_end(r);
	must(granted > 0 && refused > 0);
}

#endif
