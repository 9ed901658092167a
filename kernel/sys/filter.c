/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.c - the table as a seccomp program (classic BPF, linux/filter.h).
 *
 * Shape, in the order the host runs it:
 *
 *	architecture; ioctl, the one argument-checked call that programs make by the thousand;
 *	then a balanced tree over runs of numbers that share a fate; its leaves answer at once or
 *	look at the arguments of one call.
 *
 * Of a run that is NATIVE whatever its arguments the host keeps a bitmap (since 5.11), made by
 * running the program with the number alone: nothing is evaluated for read, write or futex as long
 * as the path to their answer consists of loads of nr and arch, jumps and returns. The unit test
 * sees to that.
 */
#include "kernel/sys/sys.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/check.h"

#define OFF_NR      ((uint32_t)offsetof(struct seccomp_data, nr))
#define OFF_ARCH    ((uint32_t)offsetof(struct seccomp_data, arch))
#define OFF_LO(arg) ((uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)(arg)))
#define OFF_HI(arg) (OFF_LO(arg) + 4)
#define JUMP_MAX    255 /* a conditional jump holds 8 bits */
#define RUNS_MAX    1024
#define HOT_NR      SYS_ioctl

/* A run of numbers, [first, next run's first), with one fate: a verdict or a row to look into. */
struct run {
	uint32_t first;
	int verdict;               /* when row is NULL */
	const struct sys_row *row; /* has exceptions */
};

struct prog {
	struct sock_filter *ins;
	size_t len;
	size_t max;
	bool full;
	struct run runs[RUNS_MAX];
	size_t runs_count;
};

uint32_t sys_filter_ret(int verdict)
{
	switch (SYS_VERDICT_KIND(verdict)) {
	case SYS_NATIVE:
		return SECCOMP_RET_ALLOW;
	case SYS_KERNEL:
		return SECCOMP_RET_USER_NOTIF;
	case SYS_DENY:
		return SECCOMP_RET_ERRNO | (uint32_t)SYS_VERDICT_ERRNO(verdict);
	default:
		return SECCOMP_RET_KILL_PROCESS;
	}
}

static size_t emit(struct prog *p, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	size_t at = p->len;

	if (at == p->max) {
		p->full = true;
		return at - 1; /* keeps writing inside; the result is thrown away */
	}
	p->ins[at] = (struct sock_filter){ code, jt, jf, k };
	p->len++;
	return at;
}

static void emit_load(struct prog *p, uint32_t offset)
{
	(void)emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

static void emit_ret(struct prog *p, int verdict)
{
	(void)emit(p, BPF_RET | BPF_K, 0, 0, sys_filter_ret(verdict));
}

/* Compares; true falls through, false jumps to a place that fix_false() names later. */
static size_t emit_unless(struct prog *p, uint16_t test, uint32_t k)
{
	return emit(p, (uint16_t)(BPF_JMP | test | BPF_K), 0, 0, k);
}

static void fix_false(struct prog *p, size_t at)
{
	size_t distance = p->len - at - 1;

	if (p->full)
		return;
	CHECK(distance <= JUMP_MAX); /* an exception is a dozen instructions */
	p->ins[at].jf = (uint8_t)distance;
}

/* Whoever comes here because @w does not hold still has argument @arg loaded. */
static bool leaves_arg(const struct sys_when *w, unsigned arg)
{
	return w->cond[1].op == 0 && w->cond[0].arg == arg && w->cond[0].op == SYS_COND_EQ &&
	       w->cond[0].mask == UINT32_MAX;
}

/*
 * Code of one condition. Returns how many jumps it left in @jumps (at most 2). @loaded: the
 * argument is, by the condition before it.
 */
static size_t emit_cond(struct prog *p, const struct sys_cond *c, bool loaded, size_t jumps[2])
{
	switch (c->op) {
	case SYS_COND_EQ:
		if (!loaded)
			emit_load(p, OFF_LO(c->arg));
		if (c->mask != UINT32_MAX)
			(void)emit(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, c->mask);
		jumps[0] = emit_unless(p, BPF_JEQ, (uint32_t)c->value);
		return 1;
	case SYS_COND_ANY:
		emit_load(p, OFF_LO(c->arg));
		jumps[0] = emit_unless(p, BPF_JSET, c->mask);
		return 1;
	case SYS_COND_EQ64:
		emit_load(p, OFF_LO(c->arg));
		jumps[0] = emit_unless(p, BPF_JEQ, (uint32_t)c->value);
		emit_load(p, OFF_HI(c->arg));
		jumps[1] = emit_unless(p, BPF_JEQ, (uint32_t)(c->value >> 32));
		return 2;
	default:
		return 0;
	}
}

/* The exceptions of a row, one after the other, then its own verdict. Ends in returns. */
static void emit_row(struct prog *p, const struct sys_row *row)
{
	size_t count;
	const struct sys_when *w = sys_whens(&count) + row->when_first;

	for (unsigned i = 0; i < row->when_count; i++, w++) {
		bool again =
			i > 0 && leaves_arg(&w[-1], w->cond[0].arg) && w->cond[0].op == SYS_COND_EQ;
		size_t jumps[4], n;

		n = emit_cond(p, &w->cond[0], again, jumps);
		n += emit_cond(p, &w->cond[1], false, jumps + n);
		emit_ret(p, w->verdict);
		while (n > 0)
			fix_false(p, jumps[--n]);
	}
	emit_ret(p, row->verdict);
}

static void add_run(struct prog *p, uint32_t first, int verdict, const struct sys_row *row)
{
	const struct run *last = p->runs_count > 0 ? &p->runs[p->runs_count - 1] : NULL;

	if (last != NULL && last->row == NULL && row == NULL && last->verdict == verdict)
		return; /* goes on */
	CHECK(p->runs_count < RUNS_MAX);
	p->runs[p->runs_count++] = (struct run){ first, verdict, row };
}

/* Cuts 0..2^32-1 into runs; what has no row (holes, x32, negative numbers) is ENOSYS. */
static void cut_runs(struct prog *p)
{
	size_t count;
	const struct sys_row *row = sys_rows(&count);
	uint32_t next = 0;

	for (; count > 0; count--, row++) {
		uint32_t nr = (uint32_t)row->nr;

		if (nr > next)
			add_run(p, next, SYS_DENY | ENOSYS, NULL);
		add_run(p, nr, row->verdict, row->when_count > 0 ? row : NULL);
		next = nr + 1;
	}
	add_run(p, next, SYS_DENY | ENOSYS, NULL);
}

/* A tree over runs[lo..hi]: halves by number until one run is left. */
static void emit_tree(struct prog *p, size_t lo, size_t hi)
{
	size_t mid = lo + (hi - lo + 1) / 2, at, below;

	if (lo == hi) {
		if (p->runs[lo].row != NULL)
			emit_row(p, p->runs[lo].row);
		else
			emit_ret(p, p->runs[lo].verdict);
		return;
	}
	at = emit(p, BPF_JMP | BPF_JGE | BPF_K, 0, 0, p->runs[mid].first);
	emit_tree(p, lo, mid - 1);
	below = p->len - at - 1;
	if (below <= JUMP_MAX) {
		p->ins[at].jt = (uint8_t)below;
	} else {
		/* Too far for 8 bits: a long jump goes in front of the lower half. */
		(void)emit(p, BPF_JMP | BPF_JA, 0, 0, 0);
		if (p->full)
			return;
		memmove(&p->ins[at + 2], &p->ins[at + 1], below * sizeof(p->ins[0]));
		p->ins[at].jf = 1;
		p->ins[at + 1] = (struct sock_filter){ BPF_JMP | BPF_JA, 0, 0, (uint32_t)below };
	}
	emit_tree(p, mid, hi);
}

int sys_filter_build(struct sock_filter *out, size_t max)
{
	struct prog p = { .ins = out, .max = MIN(max, (size_t)SYS_FILTER_MAX) };
	size_t at;

	if (max == 0)
		return -ENOSPC;
	emit_load(&p, OFF_ARCH);
	(void)emit(&p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	emit_ret(&p, SYS_KILL);
	emit_load(&p, OFF_NR);
	at = emit_unless(&p, BPF_JEQ, HOT_NR);
	emit_row(&p, sys_find(HOT_NR));
	fix_false(&p, at);
	cut_runs(&p);
	emit_tree(&p, 0, p.runs_count - 1);
	return p.full ? -ENOSPC : (int)p.len;
}
