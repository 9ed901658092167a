/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mutant.h"

#include <string.h>

#ifdef PANDO_MUTANTS

extern struct mutant __start_pando_mutants[] __attribute__((weak));
extern struct mutant __stop_pando_mutants[] __attribute__((weak));

const char *mutant_name(size_t i)
{
	size_t n =
		__start_pando_mutants ? (size_t)(__stop_pando_mutants - __start_pando_mutants) : 0;

	return i < n ? __start_pando_mutants[i].name : NULL;
}

bool mutant_select(const char *name)
{
	bool found = name == NULL;

	for (struct mutant *m = __start_pando_mutants; m && m < __stop_pando_mutants; m++) {
		m->on = name && strcmp(m->name, name) == 0;
		found |= m->on;
	}
	return found;
}

#else

const char *mutant_name(size_t i)
{
	(void)i;
	return NULL;
}

bool mutant_select(const char *name)
{
	return name == NULL;
}

#endif
