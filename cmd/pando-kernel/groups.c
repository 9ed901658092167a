/* SPDX-License-Identifier: Apache-2.0 */
/*
 * groups.c - process groups whose members are on several nodes.
 *
 * What a host's kernel itself raises for a group (ctrl-C, a new window size, the end of a session,
 * an orphaned group that is stopped) reaches the stubs here natively. One of them, the group's
 * first, speaks for all: each node where members execute is told once, and there the carrier of the
 * terminal raises it for who is in front, or we do for the group. An event has a number that goes
 * with it from node to node, so that nobody gets it by two ways.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "base/log.h"
#include "cmd/pando-kernel/ttys.h"

#define SITES_MAX 64

static bool by_terminal(int signo)
{
	return signo == SIGINT || signo == SIGQUIT || signo == SIGTSTP;
}

static bool by_kernel(int signo)
{
	return by_terminal(signo) || signo == SIGWINCH || signo == SIGHUP || signo == SIGCONT;
}

/* ---- where it was raised first ---- */
static size_t sites_of(struct world *w, const struct proc_list *l, gpid pgid, const struct stub *s,
		       bool *speaks, node_id sites[SITES_MAX])
{
	size_t n = 0;

	*speaks = true;
	for (size_t i = 0; i < l->n; i++) {
		const struct stub *x = stubs_find(w->stubs, l->v[i].t.gpid);
		size_t k = 0;

		if (!x || !x->home || x->leaving || l->v[i].t.pgid != pgid)
			continue;
		if (x->gpid < s->gpid)
			*speaks = false;
		while (k < n && sites[k] != x->peer)
			k++;
		if (k == n && n < SITES_MAX)
			sites[n++] = x->peer;
	}
	return n;
}

static bool add_size(struct world *w, unsigned local, const struct carrier *c, Peer__Tty *q,
		     struct winsize *ws)
{
	int root = -1, fd = c ? c->master : -1, r;

	if (!c) {
		root = ttys_root(w);
		fd = root >= 0 ? tty_open_slave(root, local, O_RDONLY | O_NONBLOCK) : -1;
	}
	r = fd >= 0 ? ioctl(fd, TIOCGWINSZ, ws) : -1;
	if (root >= 0)
		(void)close(root);
	if (!c && fd >= 0)
		(void)close(fd);
	q->word = PEER__TTY_WORD__TTY_SIZE;
	q->data.data = (uint8_t *)ws;
	q->data.len = sizeof(*ws);
	return r == 0;
}

bool groups_raised(struct world *w, struct stub *s, int signo, const siginfo_t *si)
{
	Peer__Tty q = PEER__TTY__INIT;
	node_id sites[SITES_MAX];
	const struct proc *me;
	struct carrier *c;
	struct winsize ws;
	struct proc_list l;
	bool speaks = false;
	size_t n = 0;

	if (si->si_code != SI_KERNEL || !by_kernel(signo))
		return false;
	if (!s->home || proc_scan(&l, &w->view) != 0)
		return true; /* whose process is elsewhere hears of it at home */
	me = proc_list_find(&l, s->gpid);
	c = me && me->t.tty >= 0 ? carriers_find(w, (unsigned)me->t.tty) : NULL;
	if (me) {
		n = sites_of(w, &l, me->t.pgid, s, &speaks, sites);
		q.word = PEER__TTY_WORD__TTY_RAISE;
		q.owner = me->t.tty < 0 ? NODE_NONE : c ? c->owner : w->node;
		q.number = me->t.tty < 0 ? 0 : c ? c->number : (unsigned)me->t.tty;
		q.value = (uint64_t)signo;
		q.pid = me->t.pgid;
		q.command = c ? c->event[signo] : ++w->tty_event;
		if (signo == SIGWINCH)
			speaks &= me->t.tty >= 0 && add_size(w, (unsigned)me->t.tty, c, &q, &ws);
	}
	for (size_t i = 0; speaks && i < n; i++)
		ttys_say(w, sites[i], &q, NULL, NULL);
	proc_list_fini(&l);
	return true;
}

/* ---- where members of it are ---- */
static void raise_here(struct world *w, const struct proc_list *l, gpid pgid, int signo)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct task_info *t = &l->v[i].t;
		struct task_info now;
		int fd;

		if (t->pgid != pgid || stubs_find(w->stubs, t->gpid))
			continue;
		fd = proc_open(&w->view, t->gpid, &now);
		if (fd < 0)
			continue;
		if (task_pidfd_signal(fd, signo) != 0)
			log_debug("pid %d has ended before signal %d", t->gpid, signo);
		(void)close(fd);
	}
}

/* Processes of this node, or stubs that go on telling. */
static bool has_members(struct world *w, const struct proc_list *l, pid_t node_pgid)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct stub *s = stubs_find(w->stubs, l->v[i].t.gpid);

		if (l->v[i].t.node_pgid == node_pgid && (!s || s->home))
			return true;
	}
	return false;
}

static struct carrier *find_carrier(struct world *w, node_id owner, unsigned number)
{
	struct carrier *c;

	list_for_each (c, &w->carriers, link)
		if (c->owner == owner && c->number == number && !c->dead)
			return c;
	return NULL;
}

void groups_hear(struct world *w, const Peer__Tty *q)
{
	struct carrier *c = find_carrier(w, q->owner, q->number);
	int signo = (int)q->value;
	struct proc_list l;
	pid_t front;

	if (!by_kernel(signo) || q->pid <= 0 || proc_scan(&l, &w->view) != 0)
		return;
	if (c && c->event[signo] == q->command) {
		proc_list_fini(&l); /* it came from another node already */
		return;
	}
	if (c)
		c->event[signo] = q->command;
	/* A shell here may have put a group of this node alone to the front: that one is meant. */
	if (c && by_terminal(signo) && ioctl(c->master, TIOCGPGRP, &front) == 0 &&
	    has_members(w, &l, front) && ioctl(c->master, TIOCSIG, signo) == 0)
		signo = 0;
	if (signo != 0)
		raise_here(w, &l, q->pid, signo);
	proc_list_fini(&l);
}
