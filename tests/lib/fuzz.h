/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - the frame of a fuzzer, which keeps only its target.
 *
 * With arguments, each is a file of one input; without, seeded rounds: the same on every machine.
 * A target CHECKs; what it reads is its own copy of the exact size where it wants the sanitizer to
 * see a step too far (fuzz_copy).
 */
#ifndef TESTS_LIB_FUZZ_H
#define TESTS_LIB_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/rand.h"

#define FUZZ_INPUT_MAX (4u << 20)

typedef void (*fuzz_fn)(const uint8_t *bytes, size_t len);

struct fuzz {
	fuzz_fn one;
	/* Fills at most @cap bytes; returns how many. */
	size_t (*make)(struct rand *r, uint8_t *bytes, size_t cap);
	void (*besides)(struct rand *r); /* once a round; may be NULL */
	size_t cap;
	uint64_t seed;
	unsigned rounds;
	/* How many inputs were taken: if too few, all are refused at the door and nothing is tried.
	 */
	const unsigned *taken; /* may be NULL */
	unsigned taken_min;
};

/* An exit status. */
int fuzz_main(const struct fuzz *f, int argc, char **argv);

/* For fuzzers with rounds of their own. 0, or 1 and a message. */
int fuzz_file(const char *path, fuzz_fn one);

/* In a block of exactly @len bytes; free() it. */
void *fuzz_copy(const void *bytes, size_t len);

/* Up to three bytes changed, and a quarter of them cut. Returns the length. */
size_t fuzz_spoil(struct rand *r, uint8_t *bytes, size_t len);

struct fuzz_texts {
	const char *const *seeds;
	size_t seed_count;
	const char *const *pieces;
	size_t piece_count;
	unsigned steps_max;
};
/* One of the seeds, some bytes of it changed, left out or cut, some pieces put in. */
size_t fuzz_text(const struct fuzz_texts *t, struct rand *r, uint8_t *out, size_t cap);

#endif
