/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell.c - what another node is told of a process's relatives, so that it can make their stubs
 * (kin.c) and its parent there can wait for who has ended here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/pando-kernel/tty/ttys.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.pb-c.h"
#include "migrate/core/kin.h"

/* Field 52 of its stat. */
int kin_zombie_status(const struct world *w, pid_t pid)
{
	char text[1024];
	ssize_t n = task_file(w->view.procfs, pid, "stat", text, sizeof(text));
	const char *last = n > 0 ? strrchr(text, ' ') : NULL;

	return last ? atoi(last + 1) : 0;
}

static Peer__Task *task_new(const struct world *w, const struct kin_task *t, const struct proc *p,
			    gpid parent)
{
	const struct stub *s = stubs_find(w->stubs, t->pid);
	Peer__Task *q = malloc(sizeof(*q));

	if (!q)
		return NULL;
	peer__task__init(q);
	q->pid = t->pid;
	q->ppid = t->ppid;
	q->pgid = t->pgid;
	q->sid = t->sid;
	q->reaper = reapers_has(w, t->pid);
	/* Only its parent has to wait for it. */
	q->ended = t->ppid == parent && (p->t.state == 'Z' || (s && s->ended));
	if (q->ended)
		q->status = s && s->ended ? s->ended - 1 : kin_zombie_status(w, p->t.pid);
	return q;
}

void kin_free(Peer__Task **v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i]->tty_modes.data);
		free(v[i]);
	}
	free(v);
}

static int describe(struct world *w, gpid pid, const struct proc_list *l, Peer__Task **v, size_t *n)
{
	struct kin_task *t = calloc(l->n + 1, sizeof(*t));
	uint32_t count = 0;
	int r = t ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < l->n; i++) {
		const struct proc *p = &l->v[i];

		if (p->t.gpid == w->zygote)
			continue;
		t[count++] = (struct kin_task){ .pid = p->t.gpid,
						.ppid = p->ppid == w->zygote ? 1 : p->ppid,
						.pgid = p->t.pgid,
						.sid = p->t.sid,
						.kind = p->t.gpid == pid ? KIN_HERE : KIN_STUB };
	}
	if (r == 0) {
		kin_sort(t, count);
		kin_mark_needed(t, count);
	}
	for (uint32_t i = 0; r == 0 && i < count; i++) {
		const struct proc *p = t[i].mark ? proc_list_find(l, t[i].pid) : NULL;

		if (!p || (p->t.state == 'Z' && t[i].ppid != pid))
			continue;
		v[*n] = task_new(w, &t[i], p, pid);
		if (!v[*n]) {
			r = -ENOMEM;
			continue;
		}
		ttys_describe_leader(w, l, p, v[(*n)++]);
	}
	free(t);
	return r;
}

int kin_describe_in(struct world *w, const struct proc_list *l, gpid pid, Peer__Task ***out,
		    size_t *n)
{
	Peer__Task **v = calloc(l->n + 1, sizeof(*v));
	int r = v ? 0 : -ENOMEM;

	*out = NULL;
	*n = 0;
	if (r == 0)
		r = describe(w, pid, l, v, n);
	if (r == 0)
		*out = v;
	else if (v)
		kin_free(v, *n);
	return r;
}

int kin_describe(struct world *w, gpid pid, Peer__Task ***out, size_t *n)
{
	struct proc_list l;
	int r = proc_scan(&l, &w->view);

	*out = NULL;
	*n = 0;
	if (r != 0)
		return r;
	r = kin_describe_in(w, &l, pid, out, n);
	proc_list_fini(&l);
	return r;
}
