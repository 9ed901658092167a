/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - table.def as data, and its plainest evaluation. */
#include "kernel/sys/sys.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/check.h"

/* Names that headers lack, or have only in places that collide with libc's. */
#define SYS_UFFD_IOC_NEW 0xaa00     /* USERFAULTFD_IOC_NEW of linux/userfaultfd.h */
#define SYS_TCGETS2      0x802c542a /* asm/termbits.h */
#define SYS_TCSETS2      0x402c542b
#define SYS_TCSETSW2     0x402c542c /* and F: 1 more */
#define SYS_CLONE_NEW                                                                              \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
	 CLONE_NEWPID | CLONE_NEWNET)
#define SYS_CLONE_NEWTIME           0x80   /* for clone itself a bit of the exit signal */
#define SYS_ARCH_SET_CPUID          0x1012 /* asm/prctl.h */
#define SYS_ARCH_ENABLE_TAGGED_ADDR 0x4002
#define SYS_ARCH_SHSTK_ENABLE       0x5001

/* ---- the rows ---- */
#define NATIVE  SYS_NATIVE
#define KERNEL  SYS_KERNEL
#define DENY(e) (SYS_DENY | (e))

/* clang-format off */
#define K(kind)              SYS_ARG_##kind
#define A0()                 0, { 0 }
#define A1(a)                1, { K(a) }
#define A2(a, b)             2, { K(a), K(b) }
#define A3(a, b, c)          3, { K(a), K(b), K(c) }
#define A4(a, b, c, d)       4, { K(a), K(b), K(c), K(d) }
#define A5(a, b, c, d, e)    5, { K(a), K(b), K(c), K(d), K(e) }
#define A6(a, b, c, d, e, f) 6, { K(a), K(b), K(c), K(d), K(e), K(f) }

#define SYS(nr, name, args, route, level, note) \
	{ nr, #name, args, route, SYS_##level, note, 0, 0 },
#define WHEN(nr, conds, route, note)
static struct sys_row rows[] = {
#include "kernel/sys/table.def"
};
#undef SYS
#undef WHEN

#define MASKEQ(arg, mask, value) { SYS_COND_EQ, arg, mask, value }
#define EQ(arg, value)           MASKEQ(arg, UINT32_MAX, value)
#define ANY(arg, bits)           { SYS_COND_ANY, arg, bits, 0 }
#define EQ64(arg, value)         { SYS_COND_EQ64, arg, 0, value }
#define C1(a)                    { a }
#define C2(a, b)                 { a, b }

#define SYS(nr, name, args, route, level, note)
#define WHEN(nr, conds, route, note) { nr, route, conds, note },
static const struct sys_when whens[] = {
#include "kernel/sys/table.def"
};
#undef SYS
#undef WHEN
/* clang-format on */

/* The exceptions stand below their rows, in the same order: one walk joins them. */
static __attribute__((constructor)) void table_join(void)
{
	size_t w = 0;

	for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
		CHECK(r == 0 || rows[r - 1].nr < rows[r].nr);
		rows[r].when_first = (uint16_t)w;
		while (w < ARRAY_LEN(whens) && whens[w].nr == rows[r].nr)
			w++;
		rows[r].when_count = (uint16_t)(w - rows[r].when_first);
	}
	CHECK(w == ARRAY_LEN(whens));
}

const struct sys_row *sys_rows(size_t *count)
{
	*count = ARRAY_LEN(rows);
	return rows;
}

const struct sys_when *sys_whens(size_t *count)
{
	*count = ARRAY_LEN(whens);
	return whens;
}

const struct sys_row *sys_find(int nr)
{
	size_t lo = 0, hi = ARRAY_LEN(rows);

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (rows[mid].nr == nr)
			return &rows[mid];
		if (rows[mid].nr < nr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const struct sys_row *sys_find_name(const char *name)
{
	for (size_t r = 0; r < ARRAY_LEN(rows); r++)
		if (strcmp(rows[r].name, name) == 0)
			return &rows[r];
	return NULL;
}

static bool cond_holds(const struct sys_cond *c, const uint64_t args[6])
{
	switch (c->op) {
	case SYS_COND_EQ:
		return ((uint32_t)args[c->arg] & c->mask) == (uint32_t)c->value;
	case SYS_COND_ANY:
		return ((uint32_t)args[c->arg] & c->mask) != 0;
	case SYS_COND_EQ64:
		return args[c->arg] == c->value;
	default:
		return true; /* no second condition */
	}
}

int sys_eval(int nr, uint32_t arch, const uint64_t args[6])
{
	const struct sys_row *row = sys_find(nr);

	if (arch != AUDIT_ARCH_X86_64)
		return SYS_KILL;
	if (row == NULL)
		return SYS_DENY | ENOSYS;
	for (unsigned i = 0; i < row->when_count; i++) {
		const struct sys_when *w = &whens[row->when_first + i];

		if (cond_holds(&w->cond[0], args) && cond_holds(&w->cond[1], args))
			return w->verdict;
	}
	return row->verdict;
}
