/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kin.c - the stubs of the relatives of who arrives here: made from above, dropped when nothing
 * here needs them. migrate/core/kin.h says which, and in what order.
 *
 * The zygote is a stub below pando-init that bears those who have no parent here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/exec/site.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/proc/peer.pb-c.h"
#include "migrate/core/kin.h"

#define KIN_MAX     4096
#define STEPS_MAX   512
#define AGAIN_NS    (2 * NS_PER_MS)
#define TIDY_NS     (200 * NS_PER_MS) /* what one leaves behind the next one finds */
#define RETRIES_MAX 500
#define RETRIES_FEW 250

struct kin_plan {
	struct kin_step steps[STEPS_MAX];
	int count, at;
	struct list link;
	const struct kin_making *of;
};
static struct list plans = LIST_INIT(plans);

static void step_next(struct kin_making *k);
static void begin(struct kin_making *k);

static void finish(struct kin_making *k, int err)
{
	loop_timer_clear(k->w->loop, &k->again);
	list_del(&k->plan->link);
	free(k->plan);
	k->plan = NULL;
	k->done(k, err);
}

/* ---- the steps ---- */
static struct stub *bearer(struct kin_making *k, gpid by)
{
	return by <= 1 ? stubs_find(k->w->stubs, k->w->zygote) : stubs_find(k->w->stubs, by);
}

/* By whom those are borne who have no parent here. */
static void begin_with_zygote(struct kin_making *k)
{
	if (k->w->zygote != 0) {
		begin(k);
		return;
	}
	list_add_tail(&k->w->arrivals, &k->link);
	kin_zygote(k->w);
}

/* It may have died meanwhile. */
static void on_again_begin(struct loop_timer *t)
{
	begin_with_zygote(container_of(t, struct kin_making, again));
}

/* A stub that is on its way out, or a zombie with a pid that is wanted: gone in a moment. */
static bool plan_again(struct kin_making *k)
{
	return k->retries++ < RETRIES_MAX &&
	       loop_timer_set(k->w->loop, &k->again, loop_now_ns(k->w->loop) + AGAIN_NS,
			      on_again_begin) == 0;
}

/*
 * In the store before it is born: a pid of another node that has a task here is a stub of ours
 * then, whoever dies in between. What is stored is its parent's pidfd, for want of its own.
 */
static int keep_unborn(struct kin_making *k, gpid pid, const struct stub *by)
{
	char key[INIT_KEY_MAX];
	int r;

	(void)snprintf(key, sizeof(key), "kin.%d.%u", pid, k->from);
	r = pid1_put(k->w->pid1, key, by->pidfd);
	return r == -EEXIST ? 0 : MIN(r, 0);
}

static int take_born(struct kin_making *k, gpid pid, const struct stub *by, bool sibling)
{
	struct stub *born;
	int r = stubs_add(k->w->stubs, pid, &born);

	if (r != 0)
		return r;
	born->peer = k->from;
	born->parent = sibling ? by->parent : by->gpid;
	born->turning = pid == k->pid;
	if (born->turning)
		k->stub = born;
	return 0;
}

static bool is_birth(const struct kin_step *step)
{
	return step->kind == KIN_MAKE || step->kind == KIN_MAKE_ORPHAN;
}

static void on_step(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct kin_making *k = arg;
	const struct kin_step *step = &k->plan->steps[k->plan->at];
	int64_t ret = err == 0 ? t->calls[0].ret : err;

	FAULT("kernel.site.step");
	if (is_birth(step) && ret == step->pid)
		ret = take_born(k, step->pid, s, step->kind == KIN_MAKE_ORPHAN);
	if (step->kind == KIN_DROP && err == -ESRCH) {
		k->has_rest |= s->parent == k->pid;
		ret = 0;
	}
	if (is_birth(step) && ret == -EEXIST)
		site_reap_one(k->w, s, step->pid);
	/* EPERM: of a session or group that has changed since the plan was made, maybe by what a
	 * predecessor had begun. */
	if ((ret == -EEXIST || ret == -ESRCH || ret == -EPERM) && plan_again(k))
		return;
	if (ret < 0) {
		log_info("pid %d from node %u cannot come: step %d of its relative %d: %s", k->pid,
			 k->from, (int)step->kind, step->pid, strerror((int)-ret));
		k->why = "the stubs of its relatives cannot be made";
		finish(k, ret == -EEXIST ? -EAGAIN : (int)ret);
		return;
	}
	k->plan->at++;
	step_next(k);
}

static void add_birth(struct stub_table *t, const struct kin_step *step)
{
	/* Pid 1's children are the zygote's: any may be the process one day, and its wait tells how
	 * that ends. */
	struct clone_args args = { .exit_signal = SIGCHLD };
	int32_t tid = step->pid;

	/* clone(2): the signal is the bearer's own then. */
	if (step->kind == KIN_MAKE_ORPHAN)
		args = (struct clone_args){ .flags = CLONE_PARENT };
	args.set_tid = stub_table_bytes(t, &tid, sizeof(tid));
	args.set_tid_size = 1;
	STUB_CALL(t, SYS_clone3, stub_table_bytes(t, &args, sizeof(args)), sizeof(args));
}

/* Before it bears anybody: who is born into the session has its terminal. */
static void add_terminal(const struct kin_making *k, struct stub_table *t, gpid leader)
{
	for (size_t i = 0; i < k->n_kin; i++)
		if (k->kin[i]->pid == leader)
			carriers_session(k->w, k->kin[i], t);
}

static void on_reaper(void *arg, struct stub *s, int err, struct stub_table *t)
{
}

/* Who is one is so on every node: the host's kernel gives it what its descendants leave. */
static void set_reapers(const struct kin_making *k)
{
	for (size_t i = 0; i < k->n_kin; i++) {
		gpid pid = k->kin[i]->pid;
		struct stub *s = k->kin[i]->reaper ? stubs_find(k->w->stubs, pid) : NULL;
		struct stub_table *t;

		if (!s || reapers_has(k->w, pid))
			continue;
		reapers_set(k->w, pid, true);
		/* Who arrives is made one by its own table, or image. */
		t = pid == k->pid ? NULL : stub_table_new();
		if (!t)
			continue;
		STUB_CALL(t, SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
		(void)!stub_table_give(s, t, on_reaper, NULL);
	}
}

/* By birth, mostly. What it was told to do before may change it yet. */
static bool is_in_group(const struct kin_making *k, const struct stub *s, gpid pgid)
{
	struct task_info t;

	return !s->running && list_empty(&s->tables) &&
	       task_read(&t, k->w->view.procfs, s->pid) == 0 && t.pgid == pgid;
}

/* Who came before it, or a zombie that nobody has reaped. */
static void say_no_stub(struct kin_making *k)
{
	struct task_info t = { .state = '-' };
	int fd = proc_open(&k->w->view, k->pid, &t);

	if (fd >= 0)
		(void)close(fd);
	log_info("pid %d from node %u cannot come: what has its number is no stub: state %c, "
		 "below the node's %d",
		 k->pid, k->from, t.state, t.node_ppid);
	k->why = "what has its number there is no stub";
}

/* Whoever is to reap it has to find the zombie, which newer hosts hide of who is not dumpable. */
static void add_exit(struct stub_table *t)
{
	STUB_CALL(t, SYS_prctl, PR_SET_DUMPABLE, 1);
	STUB_CALL(t, SYS_exit_group, 0);
}

static void step_next(struct kin_making *k)
{
	const struct kin_step *step = &k->plan->steps[k->plan->at];
	struct stub_table *t;
	struct stub *s;
	int r;

	if (k->plan->at == k->plan->count) {
		k->why = "there is no plan for its relatives";
		finish(k, -EPROTO);
		return;
	}
	if (step->kind == KIN_TURN) {
		k->was_there = k->stub == NULL;
		k->has_rest |= k->was_there;
		k->stub = stubs_find(k->w->stubs, k->pid);
		/* Just born for another one's arrival, which we have not been told of. */
		if (!k->stub && plan_again(k))
			return;
		set_reapers(k);
		if (k->stub)
			k->stub->turning = true;
		else
			say_no_stub(k);
		finish(k, k->stub ? 0 : -ESRCH);
		return;
	}
	/* One whose death we have not been told of yet has the key of the one to be made. */
	if (is_birth(step) && stubs_find(k->w->stubs, step->pid) && plan_again(k))
		return;
	s = is_birth(step) ? bearer(k, step->by) : stubs_find(k->w->stubs, step->pid);
	if (s && step->kind == KIN_MAKE_ORPHAN && !reap_is_of_pid1(k->w, s)) {
		k->why = "it, or a relative of it, is an orphan in a session";
		finish(k, -EXDEV);
		return;
	}
	if (!s && k->retries < RETRIES_FEW && plan_again(k))
		return; /* it ended since the plan was made */
	if (s && step->kind == KIN_SETPGID && is_in_group(k, s, step->by)) {
		k->plan->at++;
		step_next(k);
		return;
	}
	/* What asks it for another table would kill the process that it turns into. */
	if (s && s->turning && s->gpid != k->pid && plan_again(k))
		return;
	t = s ? stub_table_new() : NULL;
	if (!t) {
		k->why = "a relative of it executes here and cannot bear its stub";
		finish(k, s ? -ENOMEM : -EXDEV);
		return;
	}
	switch (step->kind) {
	case KIN_MAKE:
	case KIN_MAKE_ORPHAN:
		r = keep_unborn(k, step->pid, s);
		if (r != 0) {
			free(t);
			k->why = "the store is full";
			finish(k, r);
			return;
		}
		add_birth(t, step);
		break;
	case KIN_SETSID:
		STUB_CALL(t, SYS_setsid, 0);
		add_terminal(k, t, step->pid);
		break;
	case KIN_SETPGID:
		STUB_CALL(t, SYS_setpgid, 0, (uint64_t)step->by);
		break;
	default:
		kept_leave(k->w, s->gpid);
		add_exit(t);
	}
	t->turns = s->gpid == k->pid;
	if (stub_table_give(s, t, on_step, k) == 0) {
		s->leaving |= step->kind == KIN_DROP;
		return;
	}
	if (step->kind == KIN_DROP)
		kept_left(k->w, s->gpid);
	if (!plan_again(k))
		finish(k, -EAGAIN);
}

/* ---- the plan ---- */
/* What has a task here already. */
static uint32_t table_of_node(struct world *w, const struct proc_list *l, struct kin_task *t,
			      uint32_t max)
{
	uint32_t n = 0;

	for (size_t i = 0; i < l->n && n < max; i++) {
		const struct proc *p = &l->v[i];

		if (p->t.gpid == w->zygote)
			continue;
		t[n++] = (struct kin_task){
			.pid = p->t.gpid,
			.ppid = p->ppid == w->zygote ? 1 : p->ppid,
			.pgid = p->t.pgid,
			.sid = p->t.sid,
			.kind = p->t.state == 'Z'                 ? KIN_ZOMBIE
				: stubs_find(w->stubs, p->t.gpid) ? KIN_STUB
								  : KIN_HERE,
		};
	}
	return n;
}

static struct kin_task *in_table(struct kin_task *t, uint32_t n, gpid pid)
{
	for (uint32_t i = 0; i < n; i++)
		if (t[i].pid == pid)
			return &t[i];
	return NULL;
}

/* A stub that a dead kernel left half made is put right. */
static void correct(struct kin_task *t, const Peer__Task *told)
{
	if (t->kind != KIN_STUB)
		return;
	t->pgid_now = t->pgid;
	t->sid_now = t->sid;
	t->pgid = told->pgid;
	t->sid = told->sid;
}

/*
 * What began here has a task here as long as it lives (K2): who sends it does not know yet that it
 * has ended, and nobody would ever tell a stub of it that.
 */
static bool is_over(const struct kin_making *k, const Peer__Task *told)
{
	return !told->ended && home_of(k->w, told->pid) == k->w->node;
}

static int plan(struct kin_making *k, const struct proc_list *l)
{
	struct kin_task *t = calloc(KIN_MAX, sizeof(*t)), *known;
	uint32_t n = t ? table_of_node(k->w, l, t, KIN_MAX / 2) : 0;
	gpid bad = 0;
	int r = t ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < k->n_kin; i++) {
		const Peer__Task *told = k->kin[i];

		if (told->pid <= 1)
			continue;
		known = in_table(t, n, told->pid);
		/* One that an arrival which has failed has left behind goes. */
		if (known && told->ppid == k->pid && known->ppid != k->pid)
			r = -EXDEV;
		else if (known)
			correct(known, told);
		else if (is_over(k, told))
			r = -EAGAIN;
		else if (n == KIN_MAX)
			r = -E2BIG;
		else
			t[n++] = (struct kin_task){ .pid = told->pid,
						    .ppid = told->ppid > 0 ? told->ppid : 1,
						    .pgid = told->pgid,
						    .sid = told->sid,
						    .kind = KIN_ELSEWHERE };
	}
	if (r == 0) {
		kin_sort(t, n);
		r = kin_plan_arrive(t, n, k->pid, k->plan->steps, STEPS_MAX, &bad);
	}
	free(t);
	if (r == -EAGAIN) {
		k->why = "a relative of it has just ended";
		return r;
	}
	if (r < 0)
		log_info("pid %d from node %u cannot come: its relative %d is in the way here",
			 k->pid, k->from, bad);
	if (r < 0)
		k->why = "its relatives cannot be told apart here";
	else
		k->plan->count = r;
	return MIN(r, 0);
}

/*
 * What stood for one of them is about to go, for it was not needed when it was told to: that is not
 * how the process ends, and whoever comes as its parent would take it for that.
 */
static bool is_one_going(const struct kin_making *k)
{
	for (size_t i = 0; i < k->n_kin; i++) {
		const struct stub *s = stubs_find(k->w->stubs, k->kin[i]->pid);

		if (s && s->leaving && !s->ended)
			return true;
	}
	return false;
}

/* Kin that are here, but not for long? */
static bool unsettled(const struct kin_making *k, const struct proc_list *l)
{
	const struct stub *own = stubs_find(k->w->stubs, k->pid);

	for (size_t i = 0; i < k->n_kin; i++) {
		gpid pid = k->kin[i]->pid;
		const struct stub *s = stubs_find(k->w->stubs, pid);
		const struct proc *p = proc_list_find(l, pid);

		if (s && !s->leaving)
			continue;
		if (s)
			return true;
		if (pid != k->pid && site_has_guest(k->w, pid))
			continue;
		/* Of an arriving parent it is for good, and it waits for it itself. */
		if (own && own->arriving && p && p->ppid == k->pid)
			continue;
		if (p && p->t.state == 'Z')
			return true;
	}
	return false;
}

static void begin(struct kin_making *k)
{
	struct proc_list l;
	bool wait;
	int r;

	if (turns_await(k, begin_with_zygote))
		return;
	r = proc_scan(&l, &k->w->view);
	if (r != 0) {
		finish(k, r);
		return;
	}
	wait = unsettled(k, &l) || carriers_unsettled(k->w, k->kin, k->n_kin);
	if (wait && plan_again(k)) {
		proc_list_fini(&l);
		return;
	}
	k->plan->at = 0;
	r = plan(k, &l);
	proc_list_fini(&l);
	if (is_one_going(k)) {
		k->why = "what stands for a relative of it there is about to go";
		r = -EAGAIN;
	}
	/* What a predecessor had begun, or one that is just going, may be in the way for a moment.
	 */
	if (r == -EXDEV && k->retries < RETRIES_FEW && plan_again(k))
		return;
	if (r != 0)
		finish(k, r);
	else
		step_next(k);
}

/* ---- the zygote ---- */
static void on_zygote(void *arg, int err, gpid pid, const int *fds, size_t nfds)
{
	struct world *w = arg;
	struct stub *s;

	for (size_t i = 0; i < nfds; i++)
		(void)close(fds[i]);
	w->zygote_asked = false;
	if (err == 0)
		err = stubs_add(w->stubs, pid, &s);
	if (err == 0)
		w->zygote = pid; /* in the store by now: "zygote.PID" */
	if (err < 0)
		log_error("cannot start the zygote: %s", strerror(-err));
	while (!list_empty(&w->arrivals)) {
		struct kin_making *k = list_front(&w->arrivals, struct kin_making, link);

		list_del(&k->link);
		if (w->zygote != 0)
			begin(k);
		else
			finish(k, err < 0 ? err : -EAGAIN);
	}
}

void kin_zygote(struct world *w)
{
	char *argv[] = { (char *)(uintptr_t)TENANT_STUB, NULL }, *env[] = { NULL };
	struct init_spawn head = { .uid = TENANT_UID, .flags = INIT_SPAWN_DEAF };
	int fds[3] = { -1, -1, -1 }, p[2], r;

	if (w->zygote != 0 || w->zygote_asked)
		return;
	if (!w->has_pids) {
		pod_want_pids(w);
		return; /* session_pids_came() calls again */
	}
	if (pipe2(p, O_CLOEXEC) != 0)
		return;
	fds[0] = p[0];
	fds[1] = fds[2] = p[1];
	r = pid1_spawn(w->pid1, "zygote", &head, argv, env, "/", fds, 3, on_zygote, w);
	w->zygote_asked = r == 0;
	(void)close(p[0]);
	(void)close(p[1]);
	if (r != 0)
		on_zygote(w, r, 0, NULL, 0);
}

void kin_make(struct kin_making *k)
{
	k->plan = calloc(1, sizeof(*k->plan));
	k->retries = 0;
	k->stub = NULL;
	list_init(&k->link);
	if (!k->plan) {
		k->done(k, -ENOMEM);
		return;
	}
	k->plan->of = k;
	list_add_tail(&plans, &k->plan->link);
	begin_with_zygote(k);
}

/* ---- how they end ---- */
bool kin_is_making(gpid pid)
{
	const struct kin_plan *p;

	list_for_each (p, &plans, link)
		for (size_t i = 0; i < p->of->n_kin; i++)
			if (p->of->kin[i]->pid == pid)
				return true;
	return false;
}

void kin_find_parents(struct world *w)
{
	struct proc_list l;

	if (proc_scan(&l, &w->view) != 0)
		return;
	for (size_t i = 0; i < l.n; i++) {
		struct stub *s = stubs_find(w->stubs, l.v[i].t.gpid);

		if (s && l.v[i].ppid > 1 && stubs_find(w->stubs, l.v[i].ppid))
			s->parent = l.v[i].ppid;
	}
	proc_list_fini(&l);
}

/* ---- after a predecessor's death ---- */
/* It executes: what was its stub is none any more. */
static bool is_guest(const struct world *w, gpid pid)
{
	for (size_t i = 0; i < KEPT_GUESTS; i++) {
		const struct kept_guest *k = &w->kept->guests[i];

		if (k->state == KEPT_THERE && k->pid == pid && k->phase == GUEST_RUNS)
			return true;
	}
	return false;
}

static void adopt_kin(void *arg, const char *key)
{
	struct world *w = arg;
	struct stub *s;
	unsigned node = 0;
	gpid pid;

	if (sscanf(key, "zygote.%d", &pid) == 1) {
		if (stubs_add(w->stubs, pid, &s) == 0)
			w->zygote = pid;
	} else if (sscanf(key, "kin.%d.%u", &pid, &node) == 2) {
		/* A place that was about to be no more than that (remote_let_go). */
		if (is_guest(w, pid) || stubs_find(w->stubs, pid))
			(void)pid1_drop(w->pid1, key);
		else if (stubs_add(w->stubs, pid, &s) == 0)
			s->peer = node; /* else kin_adopted() looks again */
	}
}

bool kin_stored(struct world *w, const char *key)
{
	if (strncmp(key, "zygote.", 7) != 0 || w->zygote != 0 || w->zygote_asked)
		return false;
	adopt_kin(w, key);
	return true;
}

struct unborn {
	struct world *w;
	gpid pid;
	node_id from;
};

/* Whoever was to bear it has done all it was told before, or is dead. */
static void on_borne(void *arg, struct stub *by, int err, struct stub_table *t)
{
	struct unborn *u = arg;
	char key[INIT_KEY_MAX];
	struct stub *s;

	if (stubs_add(u->w->stubs, u->pid, &s) == 0) {
		s->peer = u->from;
		kin_find_parents(u->w);
	} else {
		(void)snprintf(key, sizeof(key), "kin.%d.%u", u->pid, u->from);
		(void)pid1_drop(u->w->pid1, key);
	}
	u->w->arriving--;
	kin_tidy(u->w);
	free(u);
}

/*
 * It may come to be at any moment: its birth is in a table that its bearer has already. So that one
 * is asked for something more, and when it has done that, the birth has been or never will be.
 */
static int await_birth(struct world *w, const char *key, gpid pid, node_id from)
{
	int fd = pid1_get(w->pid1, key);
	pid_t by = fd >= 0 ? task_pidfd_pid(w->view.procfs, fd) : -1;
	struct stub *s = by > 0 ? stubs_find_node_pid(w->stubs, by) : NULL;
	struct stub_table *t = s ? stub_table_new() : NULL;
	struct unborn *u = t ? malloc(sizeof(*u)) : NULL;
	int r = t ? -ENOMEM : -ESRCH;

	if (fd >= 0)
		(void)close(fd);
	if (!u) {
		free(t);
		return r;
	}
	*u = (struct unborn){ w, pid, from };
	STUB_CALL(t, SYS_getpid, 0);
	w->arriving++;
	r = stub_table_give(s, t, on_borne, u);
	if (r != 0) {
		w->arriving--;
		free(u);
	}
	return r;
}

static void adopt_unborn(void *arg, const char *key)
{
	struct world *w = arg;
	unsigned node = 0;
	gpid pid;

	if (sscanf(key, "kin.%d.%u", &pid, &node) == 2 && !stubs_find(w->stubs, pid) &&
	    await_birth(w, key, pid, node) != 0)
		(void)pid1_drop(w->pid1, key);
}

void kin_wake(struct world *w, struct stub *s)
{
	struct task_info t;

	if (task_read(&t, w->view.procfs, s->pid) == 0 && t.state == 'T' &&
	    task_pidfd_signal(s->pidfd, SIGCONT) != 0)
		log_debug("stub %d has ended", s->gpid);
}

static void on_dropped(void *arg, struct stub *s, int err, struct stub_table *t)
{
}

static void drop(struct world *w, gpid pid)
{
	struct stub *s = stubs_find(w->stubs, pid);
	struct stub_table *t = s && !s->leaving ? stub_table_new() : NULL;

	if (s && s->leaving)
		kin_wake(w, s);
	if (!t)
		return;
	kept_leave(w, pid);
	s->leaving = true;
	add_exit(t);
	if (stub_table_give(s, t, on_dropped, w) == 0) {
		kin_wake(w, s);
		return;
	}
	s->leaving = false;
	kept_left(w, pid);
}

/* What a predecessor had told to go: maybe it has not heard. */
static void drop_leaving(struct world *w)
{
	for (size_t i = 0; i < KEPT_LEAVING; i++) {
		gpid pid = w->kept->leaving[i];

		if (pid != 0 && stubs_find(w->stubs, pid))
			drop(w, pid);
		else if (pid != 0)
			kept_left(w, pid);
	}
}

int kin_adopted(struct world *w)
{
	int r = pid1_list(w->pid1, "kin.", adopt_kin, w);

	if (r == 0)
		r = pid1_list(w->pid1, "zygote.", adopt_kin, w);
	if (r != 0)
		return r;
	kin_find_parents(w);
	drop_leaving(w);
	return pid1_list(w->pid1, "kin.", adopt_unborn, w);
}

/* ---- stubs that nothing needs any more ---- */
static void on_tidy_soon(struct loop_timer *t)
{
	kin_tidy(container_of(t, struct world, tidy));
}

void kin_tidy_soon(struct world *w)
{
	if (w->tidy.heap_index == 0 &&
	    loop_timer_set(w->loop, &w->tidy, loop_now_ns(w->loop) + TIDY_NS, on_tidy_soon) != 0)
		kin_tidy(w);
}

void kin_tidy(struct world *w)
{
	struct kin_task *t = calloc(KIN_MAX, sizeof(*t));
	struct kin_step steps[STEPS_MAX];
	struct proc_list l;
	uint32_t n;
	int count;

	/* Who is about to arrive needs stubs that nothing here needs yet. */
	if (!t || w->arriving > 0 || proc_scan(&l, &w->view) != 0) {
		free(t);
		return;
	}
	n = table_of_node(w, &l, t, KIN_MAX);
	reap_zygotes(w, &l);
	proc_list_fini(&l);
	/* Those whose process is elsewhere and whose home is here stay: they are not kin, but
	 * places. A stub whose move is not over is that's, and one that turns takes no order: who
	 * ends either tidies again. */
	for (uint32_t i = 0; i < n; i++) {
		const struct stub *s =
			t[i].kind == KIN_STUB ? stubs_find(w->stubs, t[i].pid) : NULL;

		if (s && (s->home || s->turning || move_is_busy(w, t[i].pid)))
			t[i].kind = KIN_HERE;
	}
	/* A process that has just ended needs its parent's stub: that one's wait tells home how. */
	for (uint32_t i = 0; i < n; i++)
		if (t[i].kind == KIN_ZOMBIE && site_has_guest(w, t[i].pid))
			t[i].kind = KIN_HERE;
	kin_sort(t, n);
	count = kin_plan_drop(t, n, steps, STEPS_MAX);
	for (int i = 0; i < count; i++)
		drop(w, steps[i].pid);
	free(t);
}
