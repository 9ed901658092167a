/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raises.c - what a host's kernel itself raises for a group whose members are on several nodes
 * (ctrl-C, a new window size, the end of a session, an orphaned group that is stopped): it reaches
 * the stubs here natively. One of them, the group's first, speaks for all: each node where members
 * execute is told once, and there the carrier of the terminal raises it for who is in front, or we
 * do for the group. An event has a number that goes with it from node to node, so that nobody gets
 * it by two ways.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/exec/site.h"
#include "cmd/pando-kernel/tty/ttys.h"

#define SITES_MAX 64
#define AGAIN_NS  (50 * NS_PER_MS)

static bool by_terminal(int signo)
{
	return signo == SIGINT || signo == SIGQUIT || signo == SIGTSTP;
}

static bool by_kernel(int signo)
{
	return by_terminal(signo) || signo == SIGWINCH || signo == SIGHUP || signo == SIGCONT;
}

/* ---- where it was raised first ---- */
/*
 * Who is to be told of what a stub got; NODE_NONE: nobody. At its terminal's owner (@owner) that is
 * so of a relative's stub too: its home, for there it has no other that could hear of it. Who is
 * about to be a process here has it when he is.
 */
static node_id leads_to(const struct world *w, const struct stub *s, bool owner)
{
	node_id home = home_of(w, s->gpid);

	if (s->leaving || s->home)
		return s->leaving ? NODE_NONE : s->peer;
	if (!owner || s->turning || s->arriving || s->gpid == w->zygote || home == w->node)
		return NODE_NONE;
	return home_is_over(w, s->gpid) ? s->peer : home;
}

static size_t sites_of(struct world *w, const struct proc_list *l, gpid pgid, const struct stub *s,
		       bool owner, bool *speaks, node_id sites[SITES_MAX])
{
	size_t n = 0;

	*speaks = true;
	for (size_t i = 0; i < l->n; i++) {
		const struct stub *x = stubs_find(w->stubs, l->v[i].t.gpid);
		node_id to = x && l->v[i].t.pgid == pgid ? leads_to(w, x, owner) : NODE_NONE;
		size_t k = 0;

		if (to == NODE_NONE)
			continue;
		if (x->gpid < s->gpid)
			*speaks = false;
		while (k < n && sites[k] != to)
			k++;
		if (k == n && n < SITES_MAX)
			sites[n++] = to;
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

/* Until its node has answered: the stub that has told waits, so that a successor is told again. */
struct raised {
	struct list link;
	struct world *w;
	gpid speaker;
	node_id node;
	Peer__Tty q;
	struct winsize ws;
	struct loop_timer again;
};
static struct list raised = LIST_INIT(raised);

static bool is_pending(gpid speaker)
{
	const struct raised *x;

	list_for_each (x, &raised, link)
		if (x->speaker == speaker)
			return true;
	return false;
}

static void raised_say(struct raised *x);

static void on_raised_again(struct loop_timer *t)
{
	raised_say(container_of(t, struct raised, again));
}

static void on_raised(void *arg, int err, const Peer__Tty *answer)
{
	struct raised *x = arg;
	struct world *w = x->w;
	gpid speaker = x->speaker;
	struct stub *s;

	if (err != 0 && err != -ENOENT && err != -EPROTO && !peers_gone(w, x->node) &&
	    loop_timer_set(w->loop, &x->again, loop_now_ns(w->loop) + AGAIN_NS, on_raised_again) ==
		    0)
		return;
	list_del(&x->link);
	free(x);
	s = is_pending(speaker) ? NULL : stubs_find(w->stubs, speaker);
	if (s)
		stubs_go_on(s);
}

static void raised_say(struct raised *x)
{
	ttys_say(x->w, x->node, &x->q, on_raised, x);
}

static void raised_begin(struct world *w, gpid speaker, node_id node, const Peer__Tty *q)
{
	struct raised *x = calloc(1, sizeof(*x));

	if (!x)
		return;
	x->w = w;
	x->speaker = speaker;
	x->node = node;
	x->q = *q;
	if (q->data.len == sizeof(x->ws)) {
		memcpy(&x->ws, q->data.data, sizeof(x->ws));
		x->q.data.data = (uint8_t *)&x->ws;
	}
	list_add_tail(&raised, &x->link);
	raised_say(x);
}

/*
 * @native: by the host, in stubs too. One that waits for signals takes it for its process, which is
 * elsewhere; only one that turns keeps it, and whom it becomes has it.
 */
static void remember(struct world *w, struct tty_had *h, const struct proc_list *l, gpid pgid,
		     bool native)
{
	h->full = false;
	h->count = 0;
	for (size_t i = 0; i < l->n; i++) {
		const struct task_info *t = &l->v[i].t;
		const struct stub *x = stubs_find(w->stubs, t->gpid);

		if (t->pgid != pgid || (x && !(native && x->turning)))
			continue;
		if (h->count < ARRAY_LEN(h->pids))
			h->pids[h->count++] = t->gpid;
		else
			h->full = true;
	}
}

/* The last that terminals of this node have raised: they may come back by other nodes. */
static struct own_event {
	unsigned number;
	int signo;
	uint32_t command;
	struct tty_had had;
} own[8];
static unsigned own_next;

static void own_add(struct world *w, const struct proc_list *l, const Peer__Tty *q)
{
	struct own_event *e = &own[own_next++ % ARRAY_LEN(own)];

	e->number = q->number;
	e->signo = (int)q->value;
	e->command = q->command;
	remember(w, &e->had, l, q->pid, true);
}

static const struct own_event *own_find(const Peer__Tty *q)
{
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (own[i].number == q->number && own[i].signo == (int)q->value &&
		    own[i].command == q->command)
			return &own[i];
	return NULL;
}

/* ---- who was held still then ---- */
/*
 * The last that were told of here, by number. Whoever was on his way to another node by then, and
 * not his stub yet, was not among those that they were told for: his stub tells for itself, as soon
 * as it finds what he got.
 */
static struct spoken {
	unsigned nth;
	int signo;
	gpid pgid;
	uint32_t command;
} spoken[16];
static unsigned spoken_count;

static void spoken_add(gpid pgid, int signo, uint32_t command)
{
	spoken_count++;
	spoken[spoken_count % ARRAY_LEN(spoken)] =
		(struct spoken){ spoken_count, signo, pgid, command };
}

unsigned groups_spoken(void)
{
	return spoken_count;
}

void groups_held(struct world *w, struct stub *s, unsigned since)
{
	bool got = since != spoken_count && task_pending(w->view.procfs, s->pid) != 0;

	s->held_since = since;
	s->held_until = got ? spoken_count : since;
}

/* NULL: it is not one of those. */
static const struct spoken *spoken_without(const struct stub *s, gpid pgid, int signo)
{
	for (unsigned n = s->held_until; n > s->held_since; n--) {
		const struct spoken *e = &spoken[n % ARRAY_LEN(spoken)];

		if (e->nth == n && e->signo == signo && e->pgid == pgid)
			return e;
	}
	return NULL;
}

bool groups_raised(struct world *w, struct stub *s, int signo, const siginfo_t *si, uint64_t key,
		   bool *done)
{
	Peer__Tty q = PEER__TTY__INIT;
	const struct spoken *before = NULL;
	node_id sites[SITES_MAX];
	const struct proc *me;
	struct carrier *c;
	struct winsize ws;
	struct proc_list l;
	bool speaks = false, owner;
	gpid speaker;
	size_t n = 0;

	*done = true;
	if (si->si_code != SI_KERNEL || !by_kernel(signo))
		return false;
	if (proc_scan(&l, &w->view) != 0)
		return true;
	me = proc_list_find(&l, s->gpid);
	c = me && me->t.tty >= 0 ? carriers_find(w, (unsigned)me->t.tty) : NULL;
	owner = me && me->t.tty >= 0 && !c && (by_terminal(signo) || signo == SIGWINCH);
	/* Else whose process is elsewhere hears of it at home. */
	if (me && leads_to(w, s, owner) != NODE_NONE) {
		n = sites_of(w, &l, me->t.pgid, s, owner, &speaks, sites);
		q.word = PEER__TTY_WORD__TTY_RAISE;
		q.owner = me->t.tty < 0 ? NODE_NONE : c ? c->owner : w->node;
		q.number = me->t.tty < 0 ? 0 : c ? c->number : (unsigned)me->t.tty;
		q.value = (uint64_t)signo;
		q.pid = me->t.pgid;
		q.command = c && c->event[signo] != 0 ? c->event[signo] : (uint32_t)key;
		before = spoken_without(s, me->t.pgid, signo);
		if (before) {
			q.command = before->command;
			sites[0] = leads_to(w, s, owner);
			n = 1;
			speaks = true;
			s->held_since = before->nth;
		} else if (speaks) {
			if (owner)
				own_add(w, &l, &q);
			spoken_add(me->t.pgid, signo, q.command);
		}
		if (signo == SIGWINCH)
			speaks &= me->t.tty >= 0 && add_size(w, (unsigned)me->t.tty, c, &q, &ws);
	}
	proc_list_fini(&l);
	speaker = s->gpid;
	for (size_t i = 0; speaks && i < n; i++)
		raised_begin(w, speaker, sites[i], &q);
	*done = !is_pending(speaker);
	return true;
}

/* ---- keys, of which no stub here will tell ---- */
static bool tells(const struct world *w, const struct proc_list *l, gpid pgid)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct stub *s = stubs_find(w->stubs, l->v[i].t.gpid);

		if (s && l->v[i].t.pgid == pgid && leads_to(w, s, true) != NODE_NONE)
			return true;
	}
	return false;
}

static int signal_of(const struct tty_modes *m, uint8_t key)
{
	if (!(m->lflag & ISIG) || key == _POSIX_VDISABLE)
		return 0;
	return key == m->cc[VINTR]   ? SIGINT
	       : key == m->cc[VQUIT] ? SIGQUIT
	       : key == m->cc[VSUSP] ? SIGTSTP
				     : 0;
}

bool groups_key(struct world *w, int master, const struct tty_modes *m, uint8_t key,
		struct tty_key *out)
{
	struct proc_list l;
	pid_t front;

	*out = (struct tty_key){ .signo = signal_of(m, key) };
	if (out->signo == 0 || ioctl(master, TIOCGPTN, &out->number) != 0 ||
	    !terminals_have(w, out->number) || ioctl(master, TIOCGPGRP, &front) != 0 ||
	    proc_scan(&l, &w->view) != 0)
		return false;
	for (size_t i = 0; i < l.n && out->pgid == 0; i++)
		if (l.v[i].t.node_pgid == front)
			out->pgid = MAX(l.v[i].t.pgid, 0);
	if (out->pgid != 0 && tells(w, &l, out->pgid))
		out->pgid = 0;
	if (out->pgid != 0)
		remember(w, &out->had, &l, out->pgid, true);
	proc_list_fini(&l);
	return out->pgid != 0;
}

struct pressed {
	struct world *w;
	Peer__Tty q;
};

static void on_user(void *arg, node_id node)
{
	struct pressed *x = arg;

	raised_begin(x->w, 0, node, &x->q);
}

void groups_pressed(struct world *w, const struct tty_key *k)
{
	struct own_event *e = &own[own_next++ % ARRAY_LEN(own)];
	struct pressed x = { .w = w, .q = PEER__TTY__INIT };

	x.q.word = PEER__TTY_WORD__TTY_RAISE;
	x.q.owner = w->node;
	x.q.number = k->number;
	x.q.value = (uint64_t)k->signo;
	x.q.pid = k->pgid;
	x.q.command = (uint32_t)clock_mono_ns() | 1;
	x.q.exact = true;
	*e = (struct own_event){ k->number, k->signo, x.q.command, k->had };
	terminals_users(w, k->number, on_user, &x);
}

/* ---- where members of it are ---- */
static bool had(const struct tty_had *h, gpid pid)
{
	for (unsigned i = 0; i < h->count; i++)
		if (h->pids[i] == pid)
			return true;
	return h->full;
}

/* @but: not in these; or NULL. @late: only in who has come from there; or NODE_NONE. */
static void raise_here(struct world *w, const struct proc_list *l, gpid pgid, int signo,
		       const struct tty_had *but, node_id late)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct task_info *t = &l->v[i].t;
		struct task_info now;
		int fd;

		if (t->pgid != pgid || stubs_find(w->stubs, t->gpid) ||
		    (but && had(but, t->gpid)) ||
		    (late != NODE_NONE && !guest_for(w, t->gpid, late)))
			continue;
		fd = proc_open(&w->view, t->gpid, &now);
		if (fd < 0)
			continue;
		if (task_pidfd_signal(fd, signo) != 0)
			log_debug("pid %d has ended before signal %d", t->gpid, signo);
		(void)close(fd);
	}
}

/* Processes of this node, or stubs that go on telling. @only: of this group; 0: of any. */
static bool has_members(struct world *w, const struct proc_list *l, pid_t node_pgid, gpid only)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct task_info *t = &l->v[i].t;
		const struct stub *s = stubs_find(w->stubs, t->gpid);

		if (t->node_pgid == node_pgid && (!s || s->home) && (only == 0 || t->pgid == only))
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

void groups_hear(struct world *w, node_id from, const Peer__Tty *q)
{
	struct carrier *c = find_carrier(w, q->owner, q->number);
	const struct own_event *mine = q->owner == w->node ? own_find(q) : NULL;
	int signo = (int)q->value;
	bool by_tty = false;
	struct proc_list l;
	pid_t front;

	if (!by_kernel(signo) || q->pid <= 0 || proc_scan(&l, &w->view) != 0)
		return;
	if (c && c->event[signo] == q->command) {
		/* It came from another node already. Who was on his way here then, and got it where
		 * he stood still, has come without it. */
		if (c->had_signo == signo)
			raise_here(w, &l, q->pid, signo, &c->had, from);
		proc_list_fini(&l);
		return;
	}
	/* A shell here may have put a group of this node alone to the front: that one is meant. */
	if (c && by_terminal(signo) && ioctl(c->master, TIOCGPGRP, &front) == 0 &&
	    has_members(w, &l, front, q->exact ? (gpid)q->pid : 0))
		by_tty = ioctl(c->master, TIOCSIG, signo) == 0;
	if (c) {
		c->event[signo] = q->command;
		c->had_signo = signo;
		remember(w, &c->had, &l, q->pid, by_tty);
	}
	if (!by_tty)
		raise_here(w, &l, q->pid, signo, mine ? &mine->had : NULL, NODE_NONE);
	proc_list_fini(&l);
}
