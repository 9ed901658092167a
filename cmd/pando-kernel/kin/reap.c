/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reap.c - zombies of stubs, and of whom nobody is told: the stub whose children they are reaps
 * them. What has still to be told of is reaped in guests.c.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/exec/site.h"
#include "kernel/proc/peer.pb-c.h"

#define REAPED_MAX 64 /* by one table */

/*
 * The end of a stub that stood for a relative: its parent's stub reaps it. One that is no stub any
 * more has not, and who has its zombies then is found; one that is not to be waited for yet, for
 * somebody traces it, sends its parent a SIGCHLD when it is.
 */
static void on_kin_reaped(void *arg, struct stub *s, int err, struct stub_table *t)
{
	if (err != 0)
		kin_tidy_soon(arg);
}

void site_reap_one(struct world *w, struct stub *s, gpid pid)
{
	const struct guest *g = guest_find(w, pid);
	struct stub_table *t = g && g->k->phase != GUEST_MAKING ? NULL : stub_table_new();

	if (!t)
		return;
	STUB_CALL(t, SYS_wait4, (uint64_t)pid, 0, WNOHANG, 0);
	if (stub_table_give(s, t, on_kin_reaped, w) != 0)
		log_debug("stub %d is on its way out", s->gpid);
}

/* Whose zombie it is. One that a process has left behind here was nobody's when it came to be. */
static struct stub *native_parent(struct world *w, const struct stub *dead)
{
	struct stub *s = dead->parent ? stubs_find(w->stubs, dead->parent) : NULL;
	struct task_info t;

	if (!s && task_read(&t, w->view.procfs, dead->pid) == 0)
		s = stubs_find_node_pid(w->stubs, t.node_ppid);
	return s;
}

void reap_stub(struct world *w, const struct stub *dead)
{
	struct stub *s = native_parent(w, dead);
	struct stub_table *t = s && !s->arriving && !s->turning ? stub_table_new() : NULL;

	if (!t)
		return;
	STUB_CALL(t, SYS_wait4, (uint64_t)dead->gpid, 0, WNOHANG, 0);
	t->full |= FAULT_ERR("kernel.kin.reap", 0) != 0;
	if (stub_table_give(s, t, on_kin_reaped, w) != 0)
		kin_tidy_soon(w);
}

bool reap_is_of_pid1(struct world *w, const struct stub *s)
{
	const struct stub *zygote = stubs_find(w->stubs, w->zygote);
	struct task_info t;

	return task_read(&t, w->view.procfs, s->pid) == 0 &&
	       ((zygote && t.node_ppid == zygote->pid) ||
		task_gpid(w->view.procfs, t.node_ppid) == 1);
}

void reap_zygotes(struct world *w, const struct proc_list *l)
{
	struct stub *z = w->zygote != 0 ? stubs_find(w->stubs, w->zygote) : NULL;

	for (size_t i = 0; z && i < l->n; i++) {
		gpid pid = l->v[i].t.gpid;

		if (l->v[i].ppid == z->gpid && l->v[i].t.state == 'Z' && !guest_find(w, pid) &&
		    !stubs_find(w->stubs, pid) && !move_is_busy(w, pid))
			site_reap_one(w, z, pid);
	}
}

static bool is_told(const struct kin_making *k, gpid child)
{
	for (size_t i = 0; i < k->n_kin; i++)
		if (k->kin[i]->pid == child && k->kin[i]->ppid == k->pid)
			return true;
	return false;
}

int kin_add_waits(const struct kin_making *k, struct stub_table *t)
{
	struct world *w = k->w;
	struct proc_list l;
	int r = proc_scan(&l, &w->view);

	if (r != 0)
		return r;
	for (size_t i = 0; i < l.n; i++) {
		gpid pid = l.v[i].t.gpid;
		struct stub *s = stubs_find(w->stubs, pid);

		if (l.v[i].ppid != k->pid || is_told(k, pid) || come_is_busy(w, pid))
			continue;
		if (s && remote_end_kin(w, s, 0) != 0)
			continue;
		if (s || l.v[i].t.state == 'Z')
			STUB_CALL(t, SYS_wait4, (uint64_t)pid, 0, 0, 0);
	}
	proc_list_fini(&l);
	return 0;
}

void site_reap_rest(struct world *w, struct stub *s)
{
	struct stub_table *t = s->turning ? NULL : stub_table_new();
	struct proc_list l;

	if (!t || proc_scan(&l, &w->view) != 0) {
		free(t);
		return;
	}
	for (size_t i = 0; i < l.n && t->n < REAPED_MAX; i++) {
		struct stub *child = stubs_find(w->stubs, l.v[i].t.gpid);

		if (l.v[i].ppid != s->gpid)
			continue;
		if (child)
			child->parent = s->gpid;
		if (l.v[i].t.state == 'Z' && !guest_find(w, l.v[i].t.gpid))
			STUB_CALL(t, SYS_wait4, (uint64_t)l.v[i].t.gpid, 0, WNOHANG, 0);
	}
	proc_list_fini(&l);
	if (t->n == 0)
		free(t);
	else if (stub_table_give(s, t, on_kin_reaped, w) != 0)
		log_debug("stub %d is on its way out", s->gpid);
}
