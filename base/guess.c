/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guess.h"

#include <stdio.h>
#include <string.h>

#include "base/attr.h"

enum { DISTANCE_MAX = 2 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	return MIN(a, MIN(b, c));
}

/* Of two words shorter than GUESS_MAX; a swap is one step. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][GUESS_MAX];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= strlen(a); i++) {
		const unsigned *one = rows[(i - 1) % 3], *two = rows[(i + 1) % 3];
		unsigned *row = rows[i % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			row[j] = min3(one[j] + 1, row[j - 1] + 1,
				      one[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = MIN(row[j], two[j - 2] + 1);
		}
	}
	return rows[strlen(a) % 3][n];
}

static void init(struct guess *g, const char *word, size_t wrong_max)
{
	g->word = word;
	g->least = (unsigned)MIN(wrong_max, (size_t)DISTANCE_MAX) + 1;
	g->best[0] = '\0';
}

void guess_init(struct guess *g, const char *word)
{
	init(g, word, word[0] ? strlen(word) - 1 : 0);
}

void guess_init_name(struct guess *g, const char *word)
{
	init(g, word, strlen(word) / 3);
}

void guess_offer(struct guess *g, const char *name)
{
	size_t len = strlen(g->word);
	unsigned d;

	if (len >= GUESS_MAX || strlen(name) >= GUESS_MAX)
		return;
	d = len > 1 && strncmp(name, g->word, len) == 0 ? 1 : distance(g->word, name);
	if (d >= g->least)
		return;
	g->least = d;
	(void)snprintf(g->best, sizeof(g->best), "%s", name);
}

const char *guess_text(const struct guess *g, char out[GUESS_MAX + 24])
{
	out[0] = '\0';
	if (g->best[0] != '\0')
		(void)snprintf(out, GUESS_MAX + 24, " (did you mean %s?)", g->best);
	return out;
}
