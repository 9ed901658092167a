/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reapers.c - sub-reapers whose descendants end on other nodes.
 *
 * A sub-reaper is one on every node where it has a stub, so each host's kernel gives it the orphans
 * of that node. Its own node has to have them too: the message that tells of an end names what the
 * sub-reaper has got by it, and the stub of who has ended bears stubs of these before it ends, so
 * that the kernel there gives them to the right reaper as well.
 *
 * Nobody can ask a host who is one: it is in the store as "reaper.PID" (its pidfd) before the call
 * that made it returns.
 */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.pb-c.h"

#define BORN_MAX 32 /* by one stub */

struct reaper {
	struct list link;
	gpid pid;
	int pidfd;
};
static struct list reapers = LIST_INIT(reapers);

/* ---- who is one ---- */
static void reaper_free(struct world *w, struct reaper *x)
{
	char key[INIT_KEY_MAX];

	(void)snprintf(key, sizeof(key), "reaper.%d", x->pid);
	(void)pid1_drop(w->pid1, key);
	list_del(&x->link);
	(void)close(x->pidfd);
	free(x);
}

static void drop_dead(struct world *w)
{
	struct reaper *x, *tmp;

	list_for_each_safe (x, tmp, &reapers, link)
		if (task_pidfd_pid(w->view.procfs, x->pidfd) <= 0)
			reaper_free(w, x);
}

static struct reaper *reaper_find(gpid pid)
{
	struct reaper *x;

	list_for_each (x, &reapers, link)
		if (x->pid == pid)
			return x;
	return NULL;
}

bool reapers_has(const struct world *w, gpid pid)
{
	const struct reaper *x = reaper_find(pid);

	/* A number may have been given again. */
	return x && task_pidfd_pid(w->view.procfs, x->pidfd) > 0;
}

static int reaper_new(gpid pid, int pidfd)
{
	struct reaper *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->pid = pid;
	x->pidfd = pidfd;
	list_add_tail(&reapers, &x->link);
	return 0;
}

void reapers_set(struct world *w, gpid pid, bool on)
{
	struct reaper *x;
	struct task_info t;
	char key[INIT_KEY_MAX];
	int fd, r;

	drop_dead(w);
	x = reaper_find(pid);
	if (x && !on)
		reaper_free(w, x);
	if (x || !on)
		return;
	fd = proc_open(&w->view, pid, &t);
	(void)snprintf(key, sizeof(key), "reaper.%d", pid);
	r = fd < 0 ? fd : pid1_replace(w->pid1, key, fd);
	if (r == 0)
		r = reaper_new(pid, fd);
	if (r == 0)
		return;
	log_warn("pid %d gets no orphans of other nodes: %s", pid, strerror(-r));
	(void)pid1_drop(w->pid1, key);
	if (fd >= 0)
		(void)close(fd);
}

/* The one above @pid; 0: there is none, they are pid 1's. */
static gpid reaper_above(const struct world *w, const struct proc_list *l, gpid pid)
{
	for (size_t depth = 0; depth < l->n && pid > 1; depth++) {
		const struct proc *p = proc_list_find(l, pid);

		if (reapers_has(w, pid))
			return pid;
		pid = p ? p->ppid : 0;
	}
	return 0;
}

/* ---- what it has got ---- */
static Peer__Task *task_of(const struct world *w, const struct proc *p, gpid parent)
{
	Peer__Task *q = malloc(sizeof(*q));

	if (!q)
		return NULL;
	peer__task__init(q);
	q->pid = p->t.gpid;
	q->ppid = parent;
	q->pgid = p->t.pgid;
	q->sid = p->t.sid;
	q->reaper = reapers_has(w, p->t.gpid);
	return q;
}

/* Its home is here: whoever gets a stub of it is told how it ends. */
static bool is_ours(const struct world *w, gpid pid)
{
	node_id home = home_of(w, pid);

	return home == w->node || (home == NODE_NONE && !stubs_find(w->stubs, pid));
}

void reapers_orphans(struct world *w, gpid dead, gpid parent, node_id to, Peer__Task ***out,
		     size_t *n)
{
	struct proc_list l;
	Peer__Task **v;
	gpid reaper;

	if (list_empty(&reapers) || proc_scan(&l, &w->view) != 0)
		return;
	reaper = reaper_above(w, &l, parent);
	v = reaper != 0 && stubs_find(w->stubs, reaper) ? calloc(l.n + 1, sizeof(*v)) : NULL;
	for (size_t i = 0; v && i < l.n && *n < BORN_MAX; i++) {
		const struct proc *p = &l.v[i];

		if (p->ppid != reaper || p->t.gpid == dead || p->t.state == 'Z')
			continue;
		if (is_ours(w, p->t.gpid) && site_guest_seen(w, p, to) != 0)
			continue;
		v[*n] = task_of(w, p, dead);
		if (v[*n])
			(*n)++;
	}
	proc_list_fini(&l);
	*out = v;
}

/* ---- their stubs ---- */
struct bearing {
	struct world *w;
	Peer__Changed *q;
	node_id from;
	struct rpc_call *call;
	reapers_fn done;
	gpid reaper;
	gpid born[BORN_MAX];
};

static void kin_key(char key[INIT_KEY_MAX], gpid pid, node_id from)
{
	(void)snprintf(key, INIT_KEY_MAX, "kin.%d.%u", pid, from);
}

static void on_grouped(void *arg, struct stub *s, int err, struct stub_table *t)
{
}

/* It has the session and the group of who bore it. */
static void set_group(struct stub *s, const Peer__Task *o)
{
	struct stub_table *t = stub_table_new();

	if (!t)
		return;
	if (o->sid == o->pid)
		STUB_CALL(t, SYS_setsid, 0);
	else
		STUB_CALL(t, SYS_setpgid, 0, (uint64_t)o->pgid);
	if (stub_table_give(s, t, on_grouped, NULL) != 0)
		log_debug("stub %d has ended", o->pid);
}

static void take_born(struct bearing *b, gpid pid)
{
	struct stub *s;

	if (stubs_add(b->w->stubs, pid, &s) != 0)
		return;
	s->peer = b->from;
	/* When who bore it has ended. */
	s->parent = stubs_find(b->w->stubs, b->reaper) ? b->reaper : 0;
	for (size_t i = 0; i < b->q->n_orphans; i++)
		if (b->q->orphans[i]->pid == pid)
			set_group(s, b->q->orphans[i]);
	kin_hear_one(b->w, pid, b->from);
}

static void on_born(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct bearing *b = arg;
	char key[INIT_KEY_MAX];

	for (unsigned i = 0; i < t->n; i++) {
		if (err == 0 && t->calls[i].ret == b->born[i]) {
			take_born(b, b->born[i]);
			continue;
		}
		kin_key(key, b->born[i], b->from);
		(void)pid1_drop(b->w->pid1, key);
		log_info("orphan %d has no stub here: %s", b->born[i],
			 strerror(err != 0 ? -err : (int)-t->calls[i].ret));
	}
	b->done(b->w, b->q, b->from, b->call);
	free(b);
}

static void add_birth(struct bearing *b, struct stub_table *t, const struct stub *by, gpid pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	char key[INIT_KEY_MAX];
	int32_t tid = pid;
	int r;

	kin_key(key, pid, b->from);
	r = pid1_put(b->w->pid1, key, by->pidfd);
	if (r < 0 && r != -EEXIST)
		return;
	args.set_tid = stub_table_bytes(t, &tid, sizeof(tid));
	args.set_tid_size = 1;
	b->born[STUB_CALL(t, SYS_clone3, stub_table_bytes(t, &args, sizeof(args)), sizeof(args))] =
		pid;
}

static void add_births(struct bearing *b, struct stub_table *t, const struct proc_list *l,
		       const struct stub *s)
{
	const struct proc *me = proc_list_find(l, s->gpid);

	for (size_t i = 0; me && i < b->q->n_orphans && t->n < BORN_MAX; i++) {
		const Peer__Task *o = b->q->orphans[i];

		if (o->pid > 1 && !proc_list_find(l, o->pid) && !site_has_guest(b->w, o->pid) &&
		    (o->sid == me->t.sid || o->sid == o->pid))
			add_birth(b, t, s, o->pid);
	}
	if (me)
		b->reaper = reaper_above(b->w, l, me->ppid);
}

bool reapers_bear(struct world *w, Peer__Changed *q, node_id from, struct rpc_call *call,
		  reapers_fn done)
{
	struct stub *s = q->n_orphans > 0 ? stubs_find(w->stubs, q->pid) : NULL;
	struct bearing *b;
	struct stub_table *t;
	struct proc_list l;

	if (!s || s->leaving || s->turning || s->arriving ||
	    !(WIFEXITED(q->status) || WIFSIGNALED(q->status)) || proc_scan(&l, &w->view) != 0)
		return false;
	b = calloc(1, sizeof(*b));
	t = b ? stub_table_new() : NULL;
	if (t) {
		*b = (struct bearing){ w, q, from, call, done, 0, { 0 } };
		add_births(b, t, &l, s);
	}
	proc_list_fini(&l);
	if (!t || t->n == 0 || stub_table_give(s, t, on_born, b) != 0) {
		if (t && t->n == 0)
			free(t);
		free(b);
		return false;
	}
	/* It may wait for what it has told of. */
	stubs_go_on(s);
	kin_wake(w, s);
	return true;
}

/* ---- after a predecessor's death ---- */
static void adopt(void *arg, const char *key)
{
	struct world *w = arg;
	gpid pid;
	int fd;

	if (sscanf(key, "reaper.%d", &pid) != 1)
		return;
	fd = pid1_get(w->pid1, key);
	if (fd >= 0 && task_pidfd_pid(w->view.procfs, fd) > 0 && reaper_new(pid, fd) == 0)
		return;
	(void)pid1_drop(w->pid1, key);
	if (fd >= 0)
		(void)close(fd);
}

int reapers_open(struct world *w)
{
	return pid1_list(w->pid1, "reaper.", adopt, w);
}
