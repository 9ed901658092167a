/* SPDX-License-Identifier: Apache-2.0 */
/*
 * groups.c - process groups whose members are on several nodes. (What a host's kernel raises for
 * one is raises.c's.)
 *
 * A guest's kill, setpgid or setsid is the host's for whoever has a task here, stubs included,
 * which tell on. The others are asked or told before it: kill reaches who has none here (a child
 * born elsewhere), and stubs elsewhere follow their process into its group.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/proc/stub.h"

#define TOLD_MAX       1024
#define ASK_NS         (3 * NS_PER_S)
#define REACH_NS       (1500 * NS_PER_MS)
#define REACH_AGAIN_NS (20 * NS_PER_MS)

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
	bool runs;   /* then it is the host's too */
	bool stands; /* it is the host's if nobody was hit: a relative's stub is here */
	uint32_t method;
	size_t len;
	uint8_t body[];
};

static void call_end(struct group_call *x)
{
	if (--x->missing > 0)
		return;
	if (x->runs || (x->stands && !x->hit))
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

/*
 * A relative's stub, or its zombie, may go at any moment without its process: that one is looked
 * for where it was leased. The stub itself tells on what nobody there has taken.
 */
static bool is_relative(struct world *w, const struct proc *p)
{
	const struct stub *s = stubs_find(w->stubs, p->t.gpid);

	if (home_of(w, p->t.gpid) == w->node || p->t.gpid == w->zygote)
		return false;
	return s ? !s->home : p->t.state == 'Z' && !site_has_guest(w, p->t.gpid);
}

/* One pid: who leased it has a task of it as long as it lives. */
static void tell_of(struct group_call *x, gpid target)
{
	node_id home = target > 0 ? home_of(x->w, target) : NODE_NONE;

	if (home == NODE_NONE)
		peers_each(x->w, tell, x);
	else if (home != x->w->node)
		tell(x, home);
}

static void kill_begin(struct world *w, struct init_slot *s, const struct proc_list *l, gpid caller)
{
	gpid target = (gpid)notify_call(s)->args[0];
	const struct proc *me = proc_list_find(l, caller);
	const struct proc *one = target > 0 ? proc_list_find(l, target) : NULL;
	bool relative = one && is_relative(w, one);
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
	for (size_t i = 0; except && i < l->n && !relative; i++)
		if (is_meant(&l->v[i].t, target))
			except[q.n_except++] = l->v[i].t.gpid;
	q.told = told;
	/* Whoever leased a single one is the only one to be told, so his stub tells on. */
	if (target < 0 || home_is_over(w, target)) {
		q.n_told = 1;
		peers_each(w, add_told, &q);
	}
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
	x->stands = relative && q.signo != SIGSTOP;
	if (!relative && stops_stubs(w, l, target, q.signo)) {
		stop_all(w, l, target, caller);
		x->runs = false;
		x->hit = true;
	}
	x->method = PEER_KILL;
	x->len = peer__kill__pack(&q, x->body);
	free(except);
	tell_of(x, target);
	call_end(x);
}

/*
 * A kill that waits for nodes to be connected; those that are silent are left out. A daemon that
 * has just died is followed by another, so who is not reached is tried again.
 */
struct reaching {
	struct world *w;
	struct init_slot *slot; /* NULL: it goes on */
	gpid caller;
	unsigned missing;
	bool lost; /* somebody was not reached */
	struct loop_timer patience, again;
};

static void reached(struct reaching *x)
{
	struct init_slot *slot = x->slot;
	struct proc_list l;

	x->slot = NULL;
	loop_timer_clear(x->w->loop, &x->patience);
	loop_timer_clear(x->w->loop, &x->again);
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

static void try_reach(struct reaching *x);

static void on_reach_again(struct loop_timer *t)
{
	try_reach(container_of(t, struct reaching, again));
}

static void all_tried(struct reaching *x)
{
	uint64_t again_ns = loop_now_ns(x->w->loop) + REACH_AGAIN_NS;

	if (!x->slot || !x->lost ||
	    loop_timer_set(x->w->loop, &x->again, again_ns, on_reach_again) != 0)
		reached(x);
}

static void on_reach(void *arg, int err, struct rpc_conn *c)
{
	struct reaching *x = arg;

	x->lost |= err != 0;
	if (--x->missing == 0)
		all_tried(x);
}

static void reach(void *arg, node_id node)
{
	struct reaching *x = arg;

	x->missing++;
	peers_with(x->w, node, on_reach, x);
}

/* One pid: who leased it knows it. A group, or all: any node of the tenant may have some. */
static void try_reach(struct reaching *x)
{
	gpid target = (gpid)notify_call(x->slot)->args[0];
	node_id home = target > 0 ? home_of(x->w, target) : NODE_NONE;

	x->lost = false;
	x->missing = 1; /* answers may come at once */
	if (target <= 0 || home_is_over(x->w, target))
		peers_each_other(x->w, reach, x);
	else if (home != x->w->node && peers_alive(x->w, home))
		reach(x, home);
	if (--x->missing == 0)
		all_tried(x);
}

static void kill_call(struct world *w, struct init_slot *s, const struct proc_list *l, gpid caller)
{
	gpid target = (gpid)notify_call(s)->args[0];
	const struct proc *p = target > 0 ? proc_list_find(l, target) : NULL;
	struct reaching *x = p && !is_relative(w, p) ? NULL : calloc(1, sizeof(*x));

	if (!x) {
		kill_begin(w, s, l, caller);
		return;
	}
	*x = (struct reaching){ .w = w, .slot = s, .caller = caller };
	if (loop_timer_set(w->loop, &x->patience, loop_now_ns(w->loop) + REACH_NS,
			   on_reach_patience) == 0)
		try_reach(x);
	else
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
	       !machine_has_program(w, (gpid)n->args[0]);
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
