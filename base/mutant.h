/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mutant.h - deliberately broken variants of a core, to test the checkers.
 *
 *	if (!MUTANT("dsm.ack.dropped"))
 *		dir_take_ack(d, from);
 *
 * In an ordinary build MUTANT() is the constant 0 and the names are gone from
 * the object files. A build with MUTANTS=1 has all of them and keeps to a build
 * directory of its own; there the one named by mutant_select() is switched on.
 * `pando sim --break NAME` uses that build. Checkers never contain a mutant.
 */
#ifndef BASE_MUTANT_H
#define BASE_MUTANT_H

#include <stdbool.h>
#include <stddef.h>

#ifdef PANDO_MUTANTS

struct mutant {
	const char *name;
	bool on;
};

#define MUTANT(nm)                                                                                 \
	({                                                                                         \
		static struct mutant mutant_here_                                                  \
			__attribute__((section("pando_mutants"), used)) = { nm, false };           \
		mutant_here_.on;                                                                   \
	})

#else
#define MUTANT(nm) 0
#endif

/* Switches @name on and all others off; NULL: all off. False: no such mutant in this build. */
bool mutant_select(const char *name);

/* Name of the @i-th mutant of this build, or NULL behind the last; duplicates may occur. */
const char *mutant_name(size_t i);

#endif
