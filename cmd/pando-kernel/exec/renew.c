/* SPDX-License-Identifier: Apache-2.0 */
/* renew.c - a stub that was to become a process by an exec, and is a stub after all. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#include "cmd/pando-kernel/exec/site.h"

/* It is no parent after all: its children are waited for as before. */
static void on_fresh(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct world *w = arg;

	s->turning = s->renewing = false;
	turns_look(w);
	if (err != 0)
		return;
	site_reap_rest(w, s);
	site_look_again(w);
	kin_tidy(w);
}

/* It begins anew: its children stay its children, nothing that it got for the exec stays open. */
static int stub_renew(struct world *w, struct stub *s)
{
	struct stub_table *t = stub_table_new();
	const uint64_t dfl[4] = { 0 }, all = ~UINT64_C(0);
	uint64_t path, args, act;
	uint64_t argv[2] = { 0 };

	if (!t)
		return -ENOMEM;
	/* The exec that failed had been given its program's mask: what asks for the next table
	 * would kill it. */
	STUB_CALL(t, SYS_rt_sigprocmask, SIG_SETMASK, stub_table_bytes(t, &all, sizeof(all)), 0,
		  sizeof(all));
	STUB_CALL(t, SYS_close_range, 0, ~0U, 0);
	act = stub_table_bytes(t, dfl, sizeof(dfl));
	for (uint64_t signo = 1; signo <= 64; signo++)
		STUB_CALL(t, SYS_rt_sigaction, signo, act, 0, 8);
	path = stub_table_bytes(t, TENANT_STUB, sizeof(TENANT_STUB));
	argv[0] = path;
	args = stub_table_bytes(t, argv, sizeof(argv));
	STUB_CALL(t, SYS_execve, path, args, args + 8);
	/* Until then what asks it for another table would kill it: it has its program's mask. */
	s->turning = s->renewing = t->turns = true;
	return stub_table_give(s, t, on_fresh, w);
}

/*
 * What is not to be a process after all goes on as the stub that it was, if it was one or is a
 * relative by now: its parent, who may execute here, or is about to, would see it killed.
 */
bool arrival_goes_on(struct world *w, const struct guest *g, struct stub *s)
{
	const struct stub *parent = s->parent ? stubs_find(w->stubs, s->parent) : NULL;
	bool is_watched =
		!parent || parent->arriving || parent->turning || come_is_busy(w, parent->gpid);

	return (g->k->reused || s->home || is_watched) && stub_renew(w, s) == 0;
}
