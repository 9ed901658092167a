/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guests.c - processes of other homes that execute here: their ends and stops are told to the home
 * until it has answered.
 *
 * What a parent's stub may wait for is only looked at (WNOWAIT) until home knows it: the zombie is
 * the record that a successor finds. Then the stub reaps it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/move/move.h"
#include "cmd/pando-kernel/exec/site.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define TOLD_AGAIN_NS (300 * NS_PER_MS)
#define FLUSH_NS      (2 * NS_PER_MS)
/*
 * How long a terminal that takes nothing holds up an end: 0.2 s if it is stopped (ctrl-S), 2 s if
 * its owner must be found again first.
 */
#define FLUSHES_MAX    1000
#define FLUSH_UNMOVING 10
#define LOOKS          64 /* children looked at by one table */

/* ---- records ---- */
static void guest_key(const struct world *w, const struct kept_guest *k, const char *what,
		      char key[INIT_KEY_MAX])
{
	(void)snprintf(key, INIT_KEY_MAX, "%s.%u", what, (unsigned)(k - w->kept->guests));
}

static void record_drop(struct world *w, struct kept_guest *k)
{
	char key[INIT_KEY_MAX];

	kept_state_set(&k->state, KEPT_CHANGING);
	pid1_together(w->pid1);
	guest_key(w, k, "guest", key);
	pid1_forget(w->pid1, key);
	guest_key(w, k, "alarm", key);
	pid1_forget(w->pid1, key);
	if (pid1_settle(w->pid1) != 0)
		log_debug("a record's descriptors are not dropped");
	kept_state_set(&k->state, KEPT_FREE);
}

static struct guest *guest_of(struct world *w, struct kept_guest *k)
{
	struct guest *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->w = w;
	g->k = k;
	g->pidfd = -1;
	/* Who arrives is found before those who only have to hear of its end. */
	if (k->id != 0)
		list_add(&w->guests, &g->link);
	else
		list_add_tail(&w->guests, &g->link);
	return g;
}

struct guest *guest_new(struct world *w, gpid pid, node_id home, uint64_t id)
{
	const struct stub *s = stubs_find(w->stubs, pid);
	struct kept_guest *k = NULL;
	struct guest *g;

	for (size_t i = 0; i < KEPT_GUESTS && !k; i++)
		if (w->kept->guests[i].state == KEPT_FREE)
			k = &w->kept->guests[i];
	if (!k)
		return NULL;
	*k = (struct kept_guest){ .phase = GUEST_MAKING,
				  .pid = pid,
				  .home = home,
				  .life = peers_life(w, home),
				  .id = id,
				  .reused = s && !s->leaving };
	g = guest_of(w, k);
	if (!g)
		return NULL;
	kept_state_set(&k->state, KEPT_THERE);
	return g;
}

void guest_free(struct guest *g)
{
	loop_timer_clear(g->w->loop, &g->again);
	if (g->watched)
		loop_child_del(g->w->loop, &g->watch);
	record_drop(g->w, g->k);
	list_del(&g->link);
	if (g->pidfd >= 0)
		(void)close(g->pidfd);
	free(g);
}

int guest_keep(struct guest *g, int pidfd)
{
	char key[INIT_KEY_MAX];

	guest_key(g->w, g->k, "guest", key);
	g->pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
	if (g->pidfd < 0)
		return -errno;
	return pid1_replace(g->w->pid1, key, g->pidfd);
}

struct guest *guest_for(struct world *w, gpid pid, node_id home)
{
	struct guest *g;

	list_for_each (g, &w->guests, link)
		if (g->k->pid == pid && g->k->home == home)
			return g;
	return NULL;
}

struct guest *guest_find(struct world *w, gpid pid)
{
	struct guest *g;

	list_for_each (g, &w->guests, link)
		if (g->k->pid == pid)
			return g;
	return NULL;
}

bool site_has_guest(struct world *w, gpid pid)
{
	return guest_find(w, pid) != NULL;
}

bool site_was_sent_on(struct world *w, gpid pid)
{
	const struct guest *g;

	list_for_each (g, &w->guests, link)
		if (g->k->pid == pid && g->k->id != 0 && g->k->home != home_of(w, pid) &&
		    !peers_over(w, g->k->home, g->k->life))
			return true;
	return false;
}

bool site_want(const struct world *w, node_id node)
{
	const struct guest *g;

	/* A node that only has a stub is asked for when there is something to tell. */
	list_for_each (g, &w->guests, link)
		if (g->k->home == node && !peers_over(w, node, g->k->life) &&
		    (g->has_news || home_of(w, g->k->pid) != w->node))
			return true;
	return false;
}

/* 0: it is gone, or its parent is none of the tenant's. */
static gpid task_parent(const struct guest *g)
{
	const struct proc_view *v = &g->w->view;
	pid_t pid = g->pidfd >= 0 ? task_pidfd_pid(v->procfs, g->pidfd) : -1;
	struct task_info t;

	if (pid <= 0 || task_read(&t, v->procfs, pid) != 0 ||
	    task_pid_namespace(v->procfs, t.node_ppid) != v->pidns)
		return 0;
	return MAX(task_gpid(v->procfs, t.node_ppid), 0);
}

/* Who waits for it: its parent, if that is a stub. */
static void set_parent(struct guest *g, gpid ppid)
{
	g->ppid = ppid;
	g->parent = ppid > 1 && stubs_find(g->w->stubs, ppid) ? ppid : 0;
}

/* A zombie may be hidden: then it has whom it had. */
static void look_at_parent(struct guest *g)
{
	gpid ppid = task_parent(g);

	set_parent(g, ppid ? ppid : g->ppid);
}

/* A task of this node has ended: its children have other parents now. */
static void orphaned(struct world *w, gpid dead)
{
	struct guest *g;

	list_for_each (g, &w->guests, link)
		if (g->ppid == dead && g->k->pid != dead && !g->ended)
			look_at_parent(g);
}

/* ---- telling home ---- */
static void tell_home(struct guest *g);
static void reap(struct guest *g);
static bool all_told(const struct guest *told);

static void on_again(struct loop_timer *t)
{
	tell_home(container_of(t, struct guest, again));
}

static void wait_again(struct guest *g, uint64_t ns)
{
	if (loop_timer_set(g->w->loop, &g->again, loop_now_ns(g->w->loop) + ns, on_again) != 0)
		log_error("cannot wait: out of memory");
}

struct telling {
	struct guest *g;
	int status;
};

/* Several nodes may have to hear of one process: who tells the last goes on. */
static bool all_told(const struct guest *told)
{
	const struct guest *g;

	list_for_each (g, &told->w->guests, link)
		if (g->k->pid == told->k->pid && (g->has_news || g->ended != told->ended))
			return false;
	return true;
}

static void on_told(void *arg, int err, const struct rpc_msg *m)
{
	struct telling *t = arg;
	struct guest *g = t->g;
	bool same = t->status == g->status;

	free(t);
	FAULT("kernel.guest.told");
	g->telling = false;
	if (g->left) {
		/* Its stub may have ended meanwhile, and was taken for one that is told of. */
		kin_tidy_soon(g->w);
		guest_free(g);
		return;
	}
	if (err != 0 && !peers_over(g->w, g->k->home, g->k->life)) {
		wait_again(g, TOLD_AGAIN_NS);
	} else if (!same) {
		tell_home(g);
	} else {
		g->has_news = false;
		g->flushes = 0;
		if (all_told(g))
			reap(g);
	}
}

/* What it wrote comes first: its parent may look at that as soon as the wait is over. */
static bool has_flushed(struct guest *g)
{
	if (!pipes_flushed(g->w, g->k->pid))
		return false;
	if (g->flushes >= FLUSHES_MAX || carriers_all_flushed(g->w))
		return true;
	g->flushes += carriers_settled(g->w) ? FLUSH_UNMOVING : 1;
	return false;
}

/*
 * Whoever is told that it has stopped for want of the terminal brings it to the front: the
 * terminal's owner must know of us by then, or it goes on before it is in front.
 */
static bool may_stop(struct guest *g)
{
	return !WIFSTOPPED(g->status) || carriers_settled(g->w) || g->flushes++ >= FLUSHES_MAX;
}

static void describe_usage(const struct guest *g, Peer__Changed *q)
{
	struct rusage u = g->usage;

	if (g->ended)
		usage_add(g->w, g->k->pid, &u);
	q->user_us = (uint64_t)u.ru_utime.tv_sec * 1000000 + (uint64_t)u.ru_utime.tv_usec;
	q->system_us = (uint64_t)u.ru_stime.tv_sec * 1000000 + (uint64_t)u.ru_stime.tv_usec;
	q->maxrss_kib = (uint64_t)u.ru_maxrss;
	q->minflt = (uint64_t)u.ru_minflt;
	q->majflt = (uint64_t)u.ru_majflt;
	q->inblock = (uint64_t)u.ru_inblock;
	q->oublock = (uint64_t)u.ru_oublock;
	q->nvcsw = (uint64_t)u.ru_nvcsw;
	q->nivcsw = (uint64_t)u.ru_nivcsw;
}

static void on_home(void *arg, int err, struct rpc_conn *c)
{
	struct telling *t = arg;
	struct guest *g = t->g;
	Peer__Changed q = PEER__CHANGED__INIT;
	cleanup_free uint8_t *body = NULL;
	struct rpc_msg m = { .method = PEER_CHANGED };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(g->w->loop) + 5 * NS_PER_S };

	q.pid = g->k->pid;
	q.status = t->status;
	describe_usage(g, &q);
	if (err == 0 && g->ended)
		reapers_orphans(g->w, g->k->pid, g->ppid, g->k->home, &q.orphans, &q.n_orphans);
	body = malloc(peer__changed__get_packed_size(&q) + 1);
	if (err == 0 && !body)
		err = -ENOMEM;
	if (err == 0) {
		m.len = peer__changed__pack(&q, body);
		m.body = body;
		err = rpc_request(c, &m, &o, on_told, t, NULL);
	}
	kin_free(q.orphans, q.n_orphans);
	if (err != 0)
		on_told(t, err, NULL);
}

static void tell_home(struct guest *g)
{
	struct telling *t;

	if (g->telling || !g->has_news || g->k->phase != GUEST_RUNS)
		return;
	if (g->ended ? !has_flushed(g) : !may_stop(g)) {
		wait_again(g, FLUSH_NS);
		return;
	}
	t = malloc(sizeof(*t));
	if (!t) {
		wait_again(g, TOLD_AGAIN_NS);
		return;
	}
	*t = (struct telling){ g, g->status };
	g->telling = true;
	/* Nobody is left there who could wait for it. */
	if (peers_over(g->w, g->k->home, g->k->life)) {
		on_told(t, -EHOSTDOWN, NULL);
		return;
	}
	peers_with(g->w, g->k->home, on_home, t);
}

static void guest_changed(struct guest *g, int status, const struct rusage *usage)
{
	if (g->ended || (g->has_news && g->status == status))
		return;
	/* Where all ends its stub does too, and it goes on elsewhere. */
	if (pid1_is_gone(g->w->pid1) && place_has(g->w, g->k->pid))
		return;
	g->status = status;
	g->has_news = true;
	g->ended = WIFEXITED(status) || WIFSIGNALED(status);
	if (usage)
		g->usage = *usage;
	tell_home(g);
}

/* ---- what parents' stubs see ---- */
static int status_of(const siginfo_t *si)
{
	switch (si->si_code) {
	case CLD_EXITED:
		return (si->si_status & 0xff) << 8;
	case CLD_KILLED:
		return si->si_status & 0x7f;
	case CLD_DUMPED:
		return (si->si_status & 0x7f) | 0x80;
	case CLD_CONTINUED:
		return 0xffff;
	default:
		return (si->si_status & 0xff) << 8 | 0x7f;
	}
}

/*
 * Its parent executes here and waits for it itself. Has it not yet, its home hears the truth: the
 * parent may come there, and see how what stands for its child has ended. Else that is reaped with
 * whatever status it has (come.c).
 */
static int status_beside_parent(const struct guest *g)
{
	int procfs = g->w->view.procfs;
	pid_t pid = g->pidfd >= 0 ? task_pidfd_pid(procfs, g->pidfd) : -1;
	struct task_info t;

	if (pid1_is_gone(g->w->pid1))
		return SIGKILL;
	return pid > 0 && task_read(&t, procfs, pid) == 0 && t.state == 'Z'
		       ? kin_zombie_status(g->w, pid)
		       : 0;
}

/*
 * The stub @asked is not there (any more), or not its parent (any more): a sub-reaper has it, or
 * pid 1 has, or had. Of two tables that end with a stub the first may have found that out.
 */
static void orphan_ended(struct guest *g, gpid asked)
{
	struct stub *s;

	/* It may have ended before we have seen whose child it had become. */
	look_at_parent(g);
	s = g->parent != asked ? stubs_find(g->w->stubs, g->parent) : NULL;
	if (s) {
		site_reap(g->w, s);
		return;
	}
	log_debug("pid %d is nobody's child here any more", g->k->pid);
	g->parent = 0;
	/*
	 * Its parent may be about to be a stub: then that one says how. One that has come is none
	 * any more, and has it itself.
	 */
	if (g->dead && !leave_is_busy(g->w, g->ppid) && !place_is_busy(g->w, g->ppid))
		guest_changed(g, status_beside_parent(g), NULL);
}

/* What the stub @asked has learnt of @pid, or that it learns nothing. */
static void all_changed(struct world *w, gpid asked, gpid pid, const siginfo_t *si,
			const struct rusage *usage)
{
	struct guest *g;

	list_for_each (g, &w->guests, link) {
		if (g->k->pid != pid)
			continue;
		if (si)
			guest_changed(g, status_of(si), usage);
		else
			orphan_ended(g, asked);
	}
}

static void on_looked(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct world *w = arg;

	for (unsigned i = 0; err == 0 && i < t->n; i++) {
		gpid pid = (gpid)t->calls[i].arg[1];
		struct rusage usage;
		siginfo_t si;

		if (t->calls[i].ret == -ECHILD) {
			all_changed(w, s->gpid, pid, NULL, NULL);
			continue;
		}
		memcpy(&si, stub_table_at(t, t->calls[i].arg[2]), sizeof(si));
		memcpy(&usage, stub_table_at(t, t->calls[i].arg[4]), sizeof(usage));
		if (t->calls[i].ret == 0 && si.si_pid != 0)
			all_changed(w, s->gpid, pid, &si, &usage);
	}
	/* It has died: whose parent it stood for is another's child now. */
	for (unsigned i = 0; err != 0 && i < t->n; i++)
		all_changed(w, s->gpid, (gpid)t->calls[i].arg[1], NULL, NULL);
}

static void add_look(struct stub_table *t, gpid pid, int options)
{
	const siginfo_t none = { 0 };
	const struct rusage zero = { 0 };
	uint64_t si = stub_table_bytes(t, &none, sizeof(none));

	STUB_CALL(t, SYS_waitid, P_PID, (uint64_t)pid, si, (uint64_t)options | WNOHANG,
		  stub_table_bytes(t, &zero, sizeof(zero)));
}

void site_reap(struct world *w, struct stub *s)
{
	struct stub_table *t = NULL;
	struct guest *g;

	/* Its last table is its exec: it waits for its children itself. */
	if (s->turning)
		return;
	list_for_each (g, &w->guests, link) {
		if (g->parent != s->gpid || g->ended)
			continue;
		t = t ? t : stub_table_new();
		if (!t)
			return;
		add_look(t, g->k->pid, WEXITED | WSTOPPED | WCONTINUED | WNOWAIT);
		if (t->n < LOOKS)
			continue;
		if (stub_table_give(s, t, on_looked, w) != 0)
			return;
		t = NULL;
	}
	if (t && stub_table_give(s, t, on_looked, w) != 0)
		log_warn("stub %d does not wait for its children", s->gpid);
}

static void all_free(struct world *w, gpid pid)
{
	struct guest *g, *tmp;

	list_for_each_safe (g, tmp, &w->guests, link)
		if (g->k->pid == pid)
			guest_free(g);
	kin_tidy_soon(w);
}

static void on_reaped(void *arg, struct stub *s, int err, struct stub_table *t)
{
	struct world *w = arg;
	struct guest *g = guest_find(w, (gpid)t->calls[0].arg[1]);

	if (g && g->ended && !g->has_news)
		all_free(w, g->k->pid);
	else if (g && err == 0)
		site_reap(w, s); /* what came meanwhile */
}

/* Home knows: the zombie may go, or the stop be forgotten. */
static void reap(struct guest *g)
{
	struct world *w = g->w;
	struct stub *s = g->parent ? stubs_find(w->stubs, g->parent) : NULL;
	/* An arriving parent waits for it itself. */
	struct stub_table *t = s && !s->arriving && !s->turning ? stub_table_new() : NULL;

	FAULT("kernel.guest.reap");
	if (t) {
		add_look(t, g->k->pid, g->ended ? WEXITED : WSTOPPED | WCONTINUED);
		if (stub_table_give(s, t, on_reaped, w) == 0)
			return;
	}
	if (g->ended)
		all_free(w, g->k->pid);
}

void site_stub_died(struct world *w, struct stub *s)
{
	char key[INIT_KEY_MAX];
	const struct guest *g;
	/* Not one of an exec that was undone. */
	bool is_kin =
		!s->leaving && !s->arriving && s->gpid != w->zygote && !guest_find(w, s->gpid);

	FAULT("kernel.guest.gone");
	if (s->gpid == w->zygote) {
		w->zygote = 0;
		(void)snprintf(key, sizeof(key), "zygote.%d", s->gpid);
	} else {
		(void)snprintf(key, sizeof(key), "kin.%d.%u", s->gpid, s->peer);
	}
	pid1_forget(w->pid1, key);
	/* Nobody looks for it any more: another one of its pid may come, and stay. */
	kept_left(w, s->gpid);
	arrival_stub_died(w, s);
	orphaned(w, s->gpid);
	/* A guest's end is told before it is reaped; what failed to become one is just gone. */
	g = guest_find(w, s->gpid);
	if (!g || g->k->phase == GUEST_MAKING)
		reap_stub(w, s);
	if (is_kin)
		remote_kin_killed(w, s);
}

/* ---- lives ---- */
static void on_guest_died(struct loop_child *c, const siginfo_t *si)
{
	struct guest *g = container_of(c, struct guest, watch);
	struct stub *s = g->parent ? stubs_find(g->w->stubs, g->parent) : NULL;

	g->watched = false;
	g->dead = true;
	orphaned(g->w, g->k->pid);
	if (s)
		site_reap(g->w, s);
	else
		orphan_ended(g, g->parent);
}

void guest_runs(struct guest *g)
{
	struct stub *s;

	g->arrival = NULL;
	g->k->phase = GUEST_RUNS;
	FAULT("kernel.guest.runs");
	/* Its parent may have ended while it arrived. */
	s = g->parent ? stubs_find(g->w->stubs, g->parent) : NULL;
	if (s)
		g->ppid = g->parent;
	else if (g->ppid == 0 || g->parent != 0)
		look_at_parent(g);
	s = g->parent ? stubs_find(g->w->stubs, g->parent) : NULL;
	g->watched = loop_child_add(g->w->loop, &g->watch, g->pidfd, on_guest_died) == 0;
	if (!g->watched)
		log_error("the end of pid %d will not be seen", g->k->pid);
	if (s)
		site_reap(g->w, s);
}

/* ---- nodes that have stubs of a process ---- */
/* @fd is borrowed; @ppid 0: is to be looked for. */
static int guest_add(struct world *w, gpid pid, node_id node, int fd, gpid ppid)
{
	struct guest *g = guest_new(w, pid, node, 0);
	int r = g ? guest_keep(g, fd) : -ENOSPC;

	if (r != 0) {
		if (g)
			guest_free(g);
		return r;
	}
	set_parent(g, ppid ? ppid : task_parent(g));
	guest_runs(g);
	return 0;
}

int site_guest_add(struct world *w, gpid pid, node_id node)
{
	struct task_info t;
	int fd, r;

	if (node == w->node || guest_for(w, pid, node))
		return 0;
	fd = proc_open(&w->view, pid, &t);
	if (fd < 0)
		return fd;
	r = t.state == 'Z' ? -ESRCH : guest_add(w, pid, node, fd, 0);
	(void)close(fd);
	return r;
}

int site_guest_seen(struct world *w, const struct proc *p, node_id node)
{
	int fd, r;

	if (node == w->node || guest_for(w, p->t.gpid, node))
		return 0;
	fd = task_pidfd(p->t.pid);
	if (fd < 0)
		return fd;
	r = guest_add(w, p->t.gpid, node, fd, p->ppid);
	(void)close(fd);
	return r;
}

bool site_hears(struct world *w, gpid pid, node_id node)
{
	const struct guest *g = guest_for(w, pid, node);

	return g && !g->ended;
}

void site_guest_drop(struct world *w, gpid pid, node_id node)
{
	struct guest *g = guest_for(w, pid, node);

	if (g && !g->telling)
		guest_free(g);
}

void site_guests_drop(struct world *w, gpid pid)
{
	struct guest *g, *tmp;

	list_for_each_safe (g, tmp, &w->guests, link) {
		if (g->k->pid != pid)
			continue;
		g->left = true;
		if (!g->telling)
			guest_free(g);
	}
}

bool site_is_telling(struct world *w, gpid pid)
{
	const struct guest *g;

	list_for_each (g, &w->guests, link)
		if (g->k->pid == pid && (g->has_news || g->telling || g->ended))
			return true;
	return false;
}

uint32_t *site_hearers(struct world *w, gpid pid, size_t *n)
{
	uint32_t *v = calloc(KEPT_GUESTS, sizeof(*v));
	const struct guest *g;

	*n = 0;
	list_for_each (g, &w->guests, link)
		if (v && g->k->pid == pid && !g->left && !peers_over(w, g->k->home, g->k->life))
			v[(*n)++] = g->k->home;
	return v;
}

static void on_seek_peer(void *arg, int err, struct rpc_conn *c)
{
	Peer__Hold q = PEER__HOLD__INIT;
	uint8_t body[16];
	struct rpc_msg m = { .method = PEER_SEEK, .body = body };

	q.pid = (gpid)(intptr_t)arg;
	m.len = peer__hold__pack(&q, body);
	/* Lost: it looks when it connects with us again, or when a node dies. */
	if (err != 0 || rpc_send(c, &m) != 0)
		log_debug("a node was not told that pid %d has left", q.pid);
}

void site_guest_left(struct world *w, gpid pid)
{
	struct guest *g, *tmp;

	list_for_each_safe (g, tmp, &w->guests, link) {
		if (g->k->pid != pid || g->left)
			continue;
		if (!peers_over(w, g->k->home, g->k->life))
			peers_with(w, g->k->home, on_seek_peer, (void *)(intptr_t)pid);
		g->left = true;
		if (!g->telling)
			guest_free(g);
	}
}

void site_look_again(struct world *w)
{
	struct proc_list l = { 0 };
	bool seen = proc_scan(&l, &w->view) == 0;
	struct guest *g;

	list_for_each (g, &w->guests, link) {
		const struct proc *p;
		struct stub *s;

		if (g->ended || g->k->phase != GUEST_RUNS || g->arrival)
			continue;
		p = seen ? proc_list_find(&l, g->k->pid) : NULL;
		set_parent(g, p ? p->ppid : g->ppid);
		s = g->parent ? stubs_find(w->stubs, g->parent) : NULL;
		if (s)
			site_reap(w, s);
		else
			orphan_ended(g, g->parent);
	}
	proc_list_fini(&l);
}

/* ---- after a predecessor's death ---- */
static int adopt(struct world *w, struct kept_guest *k)
{
	struct guest *g = guest_of(w, k);
	char key[INIT_KEY_MAX];

	if (!g)
		return -ENOMEM;
	guest_key(w, k, "guest", key);
	g->pidfd = pid1_get(w->pid1, key);
	look_at_parent(g);
	if (k->phase != GUEST_RUNS)
		return arrival_adopt(g);
	if (g->pidfd < 0) {
		guest_free(g);
		return 0;
	}
	guest_runs(g);
	return 0;
}

int guests_open(struct world *w)
{
	int r = 0;

	holds_open(w);
	for (size_t i = 0; i < KEPT_GUESTS && r == 0; i++) {
		struct kept_guest *k = &w->kept->guests[i];

		if (k->state == KEPT_CHANGING)
			record_drop(w, k);
		else if (k->state == KEPT_THERE)
			r = adopt(w, k);
	}
	return r;
}
