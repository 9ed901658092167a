/* SPDX-License-Identifier: Apache-2.0 */
/*
 * groups.c - process groups whose members are on several nodes.
 *
 * What a host's kernel itself raises for a group (ctrl-C, a new window size, the end of a session,
 * an orphaned group that is stopped) reaches the stubs here natively. One of them, the group's
 * first, speaks for all: each node where members execute is told once, and there the carrier of the
 * terminal raises it for who is in front, or we do for the group. An event has a number that goes
 * with it from node to node, so that nobody gets it by two ways.
 *
 * A guest's kill, setpgid or setsid is the host's for whoever has a task here, stubs included,
 * which tell on. The others are asked or told before it: kill reaches who has none here (a child
 * born elsewhere), and stubs elsewhere follow their process into its group.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <termios.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/exec/site.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/proc/stub.h"

#define SITES_MAX 64
#define TOLD_MAX  1024
#define AGAIN_NS  (50 * NS_PER_MS)
#define ASK_NS    (3 * NS_PER_S)
#define REACH_NS  (1500 * NS_PER_MS)

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

/* @stubs: these have got it too, and so has whoever one is about to become. */
static void remember(struct world *w, struct tty_had *h, const struct proc_list *l, gpid pgid,
		     bool stubs)
{
	h->full = false;
	h->count = 0;
	for (size_t i = 0; i < l->n; i++) {
		const struct task_info *t = &l->v[i].t;

		if (t->pgid != pgid || (!stubs && stubs_find(w->stubs, t->gpid)))
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
	remember(w, &e->had, l, q->pid, false);
}

static const struct own_event *own_find(const Peer__Tty *q)
{
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (own[i].number == q->number && own[i].signo == (int)q->value &&
		    own[i].command == q->command)
			return &own[i];
	return NULL;
}

bool groups_raised(struct world *w, struct stub *s, int signo, const siginfo_t *si, uint64_t key,
		   bool *done)
{
	Peer__Tty q = PEER__TTY__INIT;
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
		if (speaks && owner)
			own_add(w, &l, &q);
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
	    has_members(w, &l, front))
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

/* ---- kill(2) ---- */
static bool is_meant(const struct task_info *t, gpid target)
{
	return target > 0 ? t->gpid == target : target == -1 || t->pgid == -target;
}

/* Who executes here, or where the sender has told nobody: then its stub tells it. */
static bool is_ours_to_reach(const struct stub *s, const Peer__Kill *q)
{
	if (!s)
		return true;
	for (size_t i = 0; i < q->n_told; i++)
		if (q->told[i] == s->peer)
			return false;
	return s->home && !s->leaving;
}

/* A stub would stop unseen, and its process go on: that one stops, and the stub as it is told. */
static bool stop_there(struct world *w, const struct stub *s, gpid sender)
{
	Peer__Raise q = PEER__RAISE__INIT;

	q.pid = s->gpid;
	q.signo = SIGSTOP;
	q.sender = sender;
	q.uid = TENANT_UID;
	return s->gpid != w->zygote && !s->leaving && remote_pass(w, s, &q) == 0;
}

static bool signal_one(struct world *w, gpid pid, int signo, gpid sender)
{
	const struct stub *s = stubs_find(w->stubs, pid);
	struct task_info now;
	bool hit;
	int fd;

	if (s && signo == SIGSTOP)
		return stop_there(w, s, sender);
	fd = proc_open(&w->view, pid, &now);
	if (fd < 0)
		return false;
	hit = task_pidfd_signal(fd, signo) == 0;
	(void)close(fd);
	return hit;
}

/* All of them by us, for one is a stub. */
static bool stops_stubs(struct world *w, const struct proc_list *l, gpid target, int signo)
{
	for (size_t i = 0; signo == SIGSTOP && i < l->n; i++)
		if (is_meant(&l->v[i].t, target) && l->v[i].t.gpid != w->zygote &&
		    stubs_find(w->stubs, l->v[i].t.gpid))
			return true;
	return false;
}

static void stop_all(struct world *w, const struct proc_list *l, gpid target, gpid caller)
{
	/* kill(-1) leaves out its caller. */
	for (size_t i = 0; i < l->n; i++)
		if (is_meant(&l->v[i].t, target) && (target != -1 || l->v[i].t.gpid != caller) &&
		    l->v[i].t.gpid != w->zygote && !signal_one(w, l->v[i].t.gpid, SIGSTOP, caller))
			log_debug("pid %d has ended before it was stopped", l->v[i].t.gpid);
}

static void on_kill(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Kill *q = peer__kill__unpack(NULL, m->len, m->body);
	struct proc_list l;
	int r = !q || q->target == 0 || q->signo < 0 || q->signo > 64 ? -EINVAL : 0;
	bool hit = false;

	if (r == 0)
		r = proc_scan(&l, &w->view);
	for (size_t i = 0; r == 0 && i < l.n; i++) {
		bool excepted = false;

		for (size_t k = 0; k < q->n_except; k++)
			excepted |= q->except[k] == l.v[i].t.gpid;
		/* Whose end its parent has seen elsewhere may be a zombie here for a moment. */
		if (excepted || l.v[i].t.state == 'Z' || !is_meant(&l.v[i].t, q->target) ||
		    !is_ours_to_reach(stubs_find(w->stubs, l.v[i].t.gpid), q))
			continue;
		hit |= signal_one(w, l.v[i].t.gpid, q->signo, 0);
	}
	if (r == 0)
		proc_list_fini(&l);
	answers_reply(call, r != 0 ? r : hit ? 0 : -ESRCH, NULL);
	if (q)
		peer__kill__free_unpacked(q, NULL);
}

/* A call that waits for other nodes' answers. */
struct group_call {
	struct world *w;
	struct init_slot *slot;
	unsigned missing;
	bool hit;
	bool runs; /* then it is the host's too */
	uint32_t method;
	size_t len;
	uint8_t body[];
};

static void call_end(struct group_call *x)
{
	if (--x->missing > 0)
		return;
	if (x->runs)
		notify_set_run(x->slot);
	else if (x->hit)
		notify_set_value(x->slot, 0);
	else
		notify_set_errno(x->slot, -ESRCH);
	notify_answer(x->w->notify, x->slot);
	free(x);
}

static void on_answer(void *arg, int err, const struct rpc_msg *m)
{
	struct group_call *x = arg;

	x->hit |= err == 0;
	call_end(x);
}

static void tell(void *arg, node_id node)
{
	struct group_call *x = arg;
	struct rpc_conn *c = peers_conn(x->w, node);
	struct rpc_msg m = { .method = x->method, .body = x->body, .len = x->len };
	/* A handler that runs again after our death asks with the same key: told once. */
	struct rpc_opts o = { .deadline_ns = loop_now_ns(x->w->loop) + ASK_NS,
			      .key = notify_call(x->slot)->id };

	x->missing++;
	if (!c || rpc_request(c, &m, &o, on_answer, x, NULL) != 0)
		x->missing--;
}

static void answer_errno(struct world *w, struct init_slot *s, int err)
{
	notify_set_errno(s, err);
	notify_answer(w->notify, s);
}

static void answer_run(struct world *w, struct init_slot *s)
{
	notify_set_run(s);
	notify_answer(w->notify, s);
}

static void add_told(void *arg, node_id node)
{
	Peer__Kill *q = arg;

	if (q->n_told < TOLD_MAX)
		q->told[q->n_told++] = node;
}

static void kill_begin(struct world *w, struct init_slot *s, const struct proc_list *l, gpid caller)
{
	gpid target = (gpid)notify_call(s)->args[0];
	const struct proc *me = proc_list_find(l, caller);
	Peer__Kill q = PEER__KILL__INIT;
	int32_t *except = calloc(l->n + 1, sizeof(*except));
	uint32_t told[TOLD_MAX] = { w->node };
	struct group_call *x;
	size_t len;

	if (target == 0 && me)
		target = -me->t.pgid;
	q.target = target;
	q.signo = (int32_t)notify_call(s)->args[1];
	q.except = except;
	for (size_t i = 0; except && i < l->n; i++)
		if (is_meant(&l->v[i].t, target))
			except[q.n_except++] = l->v[i].t.gpid;
	q.told = told;
	q.n_told = 1;
	peers_each(w, add_told, &q);
	len = peer__kill__get_packed_size(&q);
	x = except && target != 0 ? calloc(1, sizeof(*x) + len) : NULL;
	if (!x) {
		free(except);
		answer_run(w, s);
		return;
	}
	x->w = w;
	x->slot = s;
	x->missing = 1;
	x->runs = q.n_except > 0;
	if (stops_stubs(w, l, target, q.signo)) {
		stop_all(w, l, target, caller);
		x->runs = false;
		x->hit = true;
	}
	x->method = PEER_KILL;
	x->len = peer__kill__pack(&q, x->body);
	free(except);
	peers_each(w, tell, x);
	call_end(x);
}

/* A kill that waits for nodes to be connected; those that are silent are left out. */
struct reaching {
	struct world *w;
	struct init_slot *slot; /* NULL: it goes on */
	gpid caller;
	unsigned missing;
	struct loop_timer patience;
};

static void reached(struct reaching *x)
{
	struct init_slot *slot = x->slot;
	struct proc_list l;

	x->slot = NULL;
	loop_timer_clear(x->w->loop, &x->patience);
	if (slot && proc_scan(&l, &x->w->view) == 0) {
		kill_begin(x->w, slot, &l, x->caller);
		proc_list_fini(&l);
	} else if (slot) {
		answer_run(x->w, slot);
	}
	if (x->missing == 0)
		free(x);
}

static void on_reach_patience(struct loop_timer *t)
{
	reached(container_of(t, struct reaching, patience));
}

static void on_reach(void *arg, int err, struct rpc_conn *c)
{
	struct reaching *x = arg;

	if (--x->missing == 0)
		reached(x);
}

static void reach(void *arg, node_id node)
{
	struct reaching *x = arg;

	x->missing++;
	peers_with(x->w, node, on_reach, x);
}

/* One pid: who leased it knows it. A group, or all: any node of the tenant may have some. */
static void kill_call(struct world *w, struct init_slot *s, const struct proc_list *l, gpid caller)
{
	gpid target = (gpid)notify_call(s)->args[0];
	node_id home = target > 0 ? home_of(w, target) : NODE_NONE;
	struct reaching *x = target > 0 && proc_list_find(l, target) ? NULL : calloc(1, sizeof(*x));

	if (!x) {
		kill_begin(w, s, l, caller);
		return;
	}
	*x = (struct reaching){ .w = w, .slot = s, .caller = caller, .missing = 1 };
	if (loop_timer_set(w->loop, &x->patience, loop_now_ns(w->loop) + REACH_NS,
			   on_reach_patience) == 0) {
		if (target <= 0 || home_is_over(w, target))
			peers_each_other(w, reach, x);
		else if (home != w->node && peers_alive(w, home))
			reach(x, home);
	}
	if (--x->missing == 0)
		reached(x);
}

/* ---- setpgid(2), setsid(2) ---- */
static void on_grouped(void *arg, struct stub *s, int err, struct stub_table *t)
{
	answers_reply(arg, err != 0 ? err : (int)MIN(t->calls[0].ret, 0), NULL);
}

/* Where the group is not known the stub stays in its own: nobody there is of it. */
void groups_enter(struct world *w, const struct kin_group *g, struct rpc_call *call)
{
	struct stub *s = stubs_find(w->stubs, g->pid);
	struct stub_table *t =
		s && !s->leaving && !s->turning && !s->arriving ? stub_table_new() : NULL;
	int r = -ESRCH;

	if (t) {
		if (g->reaper != 0)
			STUB_CALL(t, SYS_prctl, PR_SET_CHILD_SUBREAPER, g->reaper == 1);
		else if (g->pgid == 0)
			STUB_CALL(t, SYS_setsid, 0);
		else
			STUB_CALL(t, SYS_setpgid, 0, (uint64_t)g->pgid);
		if (g->reaper != 0)
			reapers_set(w, g->pid, g->reaper == 1);
		r = stub_table_give(s, t, on_grouped, call);
	}
	if (r != 0)
		answers_reply(call, r, NULL);
}

static void on_group(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Group *q = peer__group__unpack(NULL, m->len, m->body);
	struct kin_group g = { 0 };

	if (!q) {
		answers_reply(call, -EPROTO, NULL);
		return;
	}
	g = (struct kin_group){ q->pid, q->pgid, q->reaper };
	peer__group__free_unpacked(q, NULL);
	/* It executes, and has not become its stub here yet: then. */
	if (stubs_find(w->stubs, g.pid) || !placing_group(w, &g, call))
		groups_enter(w, &g, call);
}

/* Whether the host will do it, as far as can be told before. */
static bool is_allowed(const struct proc_list *l, const struct proc *me, const struct proc *who,
		       gpid pgid)
{
	if (pgid == 0) /* setsid */
		return who == me && who->t.pgid != who->t.gpid;
	if (!who || who->t.gpid == who->t.sid || who->t.sid != me->t.sid ||
	    (who != me && who->ppid != me->t.gpid))
		return false;
	if (pgid == who->t.gpid)
		return true;
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].t.pgid == pgid && l->v[i].t.sid == me->t.sid)
			return true;
	return false;
}

static bool is_kin(const struct proc_list *l, const struct proc *of, gpid pid)
{
	for (size_t depth = 0; of && depth < l->n; depth++) {
		if (of->t.gpid == pid || of->t.pgid == pid || of->t.sid == pid)
			return true;
		of = proc_list_find(l, of->ppid);
	}
	return false;
}

/* Its home has one, and the sites of its relatives. */
static bool has_stubs(struct world *w, const struct proc_list *l, gpid pid)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct stub *s = stubs_find(w->stubs, l->v[i].t.gpid);

		if (s && s->home && is_kin(l, &l->v[i], pid))
			return true;
	}
	return site_has_guest(w, pid);
}

static void group_tell(struct world *w, struct init_slot *s, struct group_call *x,
		       const Peer__Group *q)
{
	x->w = w;
	x->slot = s;
	x->missing = 1;
	x->runs = true;
	x->method = PEER_GROUP;
	x->len = peer__group__pack(q, x->body);
	peers_each(w, tell, x);
	call_end(x);
}

static void group_begin(struct world *w, struct init_slot *s, const struct proc_list *l,
			gpid caller)
{
	const struct notify_call *n = notify_call(s);
	const struct proc *me = proc_list_find(l, caller), *who = me;
	Peer__Group q = PEER__GROUP__INIT;
	struct group_call *x = NULL;
	gpid pid = n->nr == SYS_setsid ? caller : (gpid)n->args[0];

	if (pid != 0 && me)
		who = proc_list_find(l, pid);
	/* It executes elsewhere already, in the group that it had. */
	if (who && who != me && place_is_busy(w, who->t.gpid)) {
		answer_errno(w, s, -EACCES);
		return;
	}
	if (me && who) {
		q.pid = who->t.gpid;
		q.pgid = n->nr == SYS_setsid     ? 0
			 : (gpid)n->args[1] == 0 ? who->t.gpid
						 : (gpid)n->args[1];
		if (q.pgid >= 0 && is_allowed(l, me, who, q.pgid) && !stubs_find(w->stubs, q.pid) &&
		    has_stubs(w, l, q.pid))
			x = calloc(1, sizeof(*x) + peer__group__get_packed_size(&q));
	}
	if (x)
		group_tell(w, s, x, &q);
	else
		answer_run(w, s);
}

static void reaper_begin(struct world *w, struct init_slot *s, const struct proc_list *l,
			 gpid caller)
{
	Peer__Group q = PEER__GROUP__INIT;
	struct group_call *x = NULL;
	bool on = notify_call(s)->args[1] != 0;

	reapers_set(w, caller, on);
	q.pid = caller;
	q.reaper = on ? 1 : 2;
	if (has_stubs(w, l, caller))
		x = calloc(1, sizeof(*x) + peer__group__get_packed_size(&q));
	if (x)
		group_tell(w, s, x, &q);
	else
		answer_run(w, s);
}

bool groups_concern(const struct world *w, const struct init_slot *s)
{
	const struct notify_call *n = notify_call(s);

	if (__atomic_load_n(&w->others, __ATOMIC_RELAXED) == 0)
		return false;
	if (n->nr != SYS_kill)
		return __atomic_load_n(&w->peers_up, __ATOMIC_ACQUIRE) != 0;
	return (gpid)n->args[0] <= 0 || (int)n->args[1] == SIGSTOP ||
	       !machine_has_task(w, (gpid)n->args[0]);
}

void groups_call(struct world *w, struct init_slot *s)
{
	pid_t pid = (pid_t)notify_call(s)->pid;
	struct task_info t;
	struct proc_list l;

	/* What stubs do is the same already where their process is. */
	if (stubs_find_node_pid(w->stubs, pid) || task_read(&t, w->view.procfs, pid) != 0 ||
	    proc_scan(&l, &w->view) != 0) {
		answer_run(w, s);
		return;
	}
	if (notify_call(s)->nr == SYS_kill)
		kill_call(w, s, &l, t.gpid);
	else if (notify_call(s)->nr == SYS_prctl)
		reaper_begin(w, s, &l, t.gpid);
	else
		group_begin(w, s, &l, t.gpid);
	proc_list_fini(&l);
}

void groups_open(struct world *w)
{
	far_open(w);
	rpc_serve(w->peer_rpc, PEER_KILL, on_kill, w);
	rpc_serve(w->peer_rpc, PEER_GROUP, on_group, w);
}
