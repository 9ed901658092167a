/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rand.h - a seeded generator for simulation, jitter and tests. Not for keys.
 *
 * xoshiro256** seeded by splitmix64 (Blackman, Vigna: "Scrambled linear
 * pseudorandom number generators", 2018). The same seed gives the same numbers
 * on every machine and compiler.
 */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stdbool.h>
#include <stdint.h>

struct rand {
	uint64_t s[4];
};

void rand_seed(struct rand *r, uint64_t seed);
uint64_t rand_next(struct rand *r);

/* Uniform in [0, n), without modulo bias; n > 0. */
uint64_t rand_below(struct rand *r, uint64_t n);

/* True in @num of @den cases. */
static inline bool rand_chance(struct rand *r, uint64_t num, uint64_t den)
{
	return rand_below(r, den) < num;
}

#endif
