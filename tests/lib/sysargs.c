/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/sysargs.h"

#include "base/check.h"
#include "kernel/sys/sys.h"

static void add(struct sysargs *out, uint64_t v)
{
	for (size_t i = 0; i < out->count; i++)
		if (out->v[i] == v)
			return;
	CHECK(out->count < SYSARGS_MAX);
	out->v[out->count++] = v;
}

static void add_around(struct sysargs *out, uint64_t v)
{
	add(out, v);
	add(out, v | UINT64_C(0xffffffff00000000));
	add(out, v | UINT64_C(0x8000000000000000));
	for (unsigned b = 0; b < 64; b++)
		add(out, v ^ (UINT64_C(1) << b));
}

void sysargs_of(int nr, struct sysargs *out)
{
	const struct sys_row *row = sys_find(nr);
	size_t count;
	const struct sys_when *whens = sys_whens(&count);

	out->count = 0;
	add_around(out, 0);
	add(out, UINT64_MAX);
	if (row == NULL)
		return;
	for (unsigned i = 0; i < row->when_count; i++) {
		for (unsigned c = 0; c < 2; c++) {
			const struct sys_cond *cond = &whens[row->when_first + i].cond[c];

			if (cond->op == 0)
				continue;
			add_around(out, cond->op == SYS_COND_ANY ? cond->mask : cond->value);
			add(out, ~(uint64_t)cond->mask);
		}
	}
}
