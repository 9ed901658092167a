/* SPDX-License-Identifier: Apache-2.0 */
/* words.h - the arguments or the environment of a session's first program. Private to tenant/. */
#ifndef PANDOD_WORDS_H
#define PANDOD_WORDS_H

#include <jansson.h>

#include "base/attr.h"

enum { WORDS_MAX = 4096 };

struct words {
	char *at[WORDS_MAX + 8];
	char text[8][128]; /* our own variables */
	size_t n;
};

/* All of @array, which keeps them. -EINVAL: one is no string, or there are more than WORDS_MAX. */
must_check int words_take(struct words *w, const json_t *array);
/* "NAME=VALUE", of our own; before those that are taken, 8 at most. */
void words_set(struct words *w, const char *name, const char *value);

#endif
