/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pandod/tenant/words.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>

int words_take(struct words *w, const json_t *array)
{
	size_t i;
	json_t *v;

	json_array_foreach(array, i, v)
	{
		if (!json_is_string(v) || w->n >= WORDS_MAX)
			return -EINVAL;
		w->at[w->n++] = (char *)(uintptr_t)json_string_value(v);
	}
	return 0;
}

void words_set(struct words *w, const char *name, const char *value)
{
	(void)snprintf(w->text[w->n], sizeof(w->text[0]), "%s=%s", name, value);
	w->at[w->n] = w->text[w->n];
	w->n++;
}
