/* SPDX-License-Identifier: Apache-2.0 */
/* sysargs.h - argument values that could make a difference to the filter, for tests. */
#ifndef TESTS_LIB_SYSARGS_H
#define TESTS_LIB_SYSARGS_H

#include <stddef.h>
#include <stdint.h>

#define SYSARGS_MAX 8192

struct sysargs {
	uint64_t v[SYSARGS_MAX];
	size_t count;
};

/*
 * Fills @out with 0, all ones, every single bit, and for the row of @nr every value that an
 * exception names, alone, with each bit flipped and with other upper halves. No value twice.
 */
void sysargs_of(int nr, struct sysargs *out);

#endif
