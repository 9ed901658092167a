/* SPDX-License-Identifier: Apache-2.0 */
/* typo.c - what somebody may have meant who wrote a word that there is not. */
#include <stdio.h>
#include <string.h>

#include "base/guess.h"
#include "cmd/pando/cmd.h"

int fail_word(struct ctx *c, const char *verb, const char *word, const char *const *known, size_t n,
	      const char *usage)
{
	char try_next[64];
	struct guess g;

	guess_init(&g, word);
	for (size_t i = 0; i < n; i++)
		guess_offer(&g, known[i]);
	if (g.best[0] == '\0' || strcmp(g.best, word) == 0) {
		(void)snprintf(try_next, sizeof(try_next), "pando %.*s --help",
			       (int)strcspn(verb, " "), verb);
		return fail(c, CODE_USAGE, try_next, "cannot %s%s%s: usage is pando %s", verb,
			    word[0] ? " " : "", word, usage);
	}
	(void)snprintf(try_next, sizeof(try_next), "pando %s %s", verb, g.best);
	return fail(c, CODE_USAGE, try_next, "cannot %s %s: there is no such verb", verb, word);
}
