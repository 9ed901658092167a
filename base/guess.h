/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guess.h - which of several names somebody may have meant who wrote another one.
 *
 * The nearest one counts, by insertions, deletions, changes and swaps of neighbours (optimal string
 * alignment distance: Boytsov, Indexing methods for approximate dictionary searching, 2011), or one
 * that begins with what was written; of equals the first. Bytes of any value; no memory of its own.
 */
#ifndef BASE_GUESS_H
#define BASE_GUESS_H

#include <stddef.h>

enum { GUESS_MAX = 32 }; /* with its NUL; longer names are never meant */

struct guess {
	const char *word; /* borrowed */
	unsigned least;   /* what is nearer than that is better */
	char best[GUESS_MAX];
};

/* @word is one of few that are known well: a verb, an option. All but a letter may be wrong. */
void guess_init(struct guess *g, const char *word);
/* @word is a name among many like it: a third of it may be wrong, of "n9" nothing. */
void guess_init_name(struct guess *g, const char *word);
void guess_offer(struct guess *g, const char *name);
/* " (did you mean NAME?)", or "" if nothing was near; valid as long as @out. */
const char *guess_text(const struct guess *g, char out[GUESS_MAX + 24]);

#endif
