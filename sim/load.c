/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tenants do: log in, fork, compute, take signals, wait, exit; and who moves them.
 *
 * A step is executed wherever a runnable copy is found: two copies, or one that has not seen the
 * last step, break K1 at once.
 */
#include "sim/cluster.h"

#include "base/check.h"
#include "sim/memory.h"

static struct knode *random_node(struct sim *s)
{
	return &s->nodes[1 + rand_below(&s->w.rng[RNG_LOAD], s->conf.nodes)];
}

static void load_step(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload);

static void step_later(struct sim *s, gpid pid)
{
	world_in(&s->w, (200 + rand_below(&s->w.rng[RNG_LOAD], 2500)) * NS_PER_MS, load_step,
		 "step", 0, (uint64_t)pid, 0, NULL);
}

static void load_birth(struct sim *s, struct knode *n, struct proc *parent)
{
	struct rand *r = &s->w.rng[RNG_LOAD];
	struct proc *p;
	struct task *t;
	gpid pid;
	int err;

	if (s->proc_count == SIM_PROCS_MAX || !kernel_ready(n))
		return;
	pid = kernel_birth(s, n);
	if (pid == 0)
		return;
	err = host_make(&n->host, pid, parent ? parent->pid : 1, TASK_PROC);
	if (err < 0 || sim_proc(s, pid)) {
		world_violate(&s->w, "K2", "n%u gives pid %d twice (%d)", n->id, pid, err);
		return;
	}
	if (!parent || rand_chance(r, 1, 12))
		err = host_setsid(&n->host, pid);
	else if (rand_chance(r, 1, 3))
		err = host_setpgid(&n->host, pid, pid);
	CHECK(err == 0);
	t = host_find(&n->host, pid);
	s->proc_of[pid] = (int32_t)s->proc_count;
	p = &s->procs[s->proc_count++];
	*p = (struct proc){ .pid = pid,
			    .ppid = t->ppid,
			    .pgid = t->pgid,
			    .sid = t->sid,
			    .alive = true,
			    .version = 1 };
	t->version = 1;
	t->was_proc = true;
	s->stats.births++;
	check_runs(s, pid);
	step_later(s, pid);
}

/* wait(2) with WNOHANG, where the parent executes. */
static void load_wait(struct sim *s, struct knode *n, const struct proc *p)
{
	for (uint32_t i = 0; i < n->host.count; i++) {
		const struct task *t = &n->host.tasks[i];
		struct proc *c = sim_proc(s, t->pid);
		int status = t->status;

		if (t->ppid != p->pid || t->kind != TASK_ZOMBIE)
			continue;
		s->w.stats.checks++;
		if (c->alive)
			world_violate(&s->w, "K4", "%d waited for %d, which lives", p->pid, c->pid);
		else if (c->reaped)
			world_violate(&s->w, "K4", "%d waited for %d twice", p->pid, c->pid);
		else if (status != c->status && !(c->doubt && status == SIM_STATUS_KILL))
			world_violate(&s->w, "K4", "%d got status %d of %d, which left with %d",
				      p->pid, status, c->pid, c->status);
		c->reaped = true;
		s->stats.waits++;
		if (host_reap(&n->host, c->pid) < 0)
			world_violate(&s->w, "K4", "%d cannot be reaped", c->pid);
		exits_reaped(s, n, c->pid);
		return;
	}
}

static uint32_t alive_count(const struct sim *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->proc_count; i++)
		n += s->procs[i].alive;
	return n;
}

static void load_act(struct sim *s, struct knode *n, struct proc *p)
{
	struct rand *r = &s->w.rng[RNG_LOAD];
	uint64_t what = rand_below(r, 100);

	if (!kernel_ready(n))
		return;
	p->vforking = what >= 95 && !s->quiet;
	if (what < 40) {
		load_wait(s, n, p);
	} else if (s->quiet) {
		return;
	} else if (what < 52) {
		if (alive_count(s) < s->conf.procs_max)
			load_birth(s, n, p);
	} else if (what < 58) {
		int status = (int)rand_below(r, 200) << 8;

		if (!kernel_fault(s, n))
			exits_died(s, n, p->pid, status, true);
	}
}

static void load_step(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct proc *p = sim_proc(s, (gpid)a);
	struct knode *n = NULL;
	struct task *t;

	(void)node;
	(void)b;
	(void)payload;
	if (!p->alive)
		return;
	step_later(s, p->pid);
	if (check_runners(s, p->pid, &n) != 1)
		return;
	t = host_find(&n->host, p->pid);
	if (t->missing != NODE_NONE && rand_chance(&w->rng[RNG_LOAD], 1, 2))
		return; /* it touches a page that is not here yet */
	if (t->version != p->version) {
		world_violate(w, "K1", "n%u executes an old copy of %d: step %llu, not %llu", n->id,
			      p->pid, (unsigned long long)t->version,
			      (unsigned long long)p->version);
		return;
	}
	t->version = ++p->version;
	p->sigs &= ~t->pending;
	t->pending = 0;
	check_signals(s, p);
	world_hash(w, p->version);
	world_hash(w, n->id);
	memory_touch(s, n, p);
	load_act(s, n, p);
}

/* Where the process is, frozen or not: the copy that somebody's locks do not hold comes first. */
static struct task *load_site(struct sim *s, gpid pid)
{
	struct task *best = NULL;

	for (node_id id = 1; id <= s->conf.nodes; id++) {
		struct task *t = host_find(&s->nodes[id].host, pid);

		if (!t || t->kind != TASK_PROC)
			continue;
		if (!best || !(t->locks & (LOCK_TRACE | LOCK_FREEZER)))
			best = t;
	}
	return best;
}

/* Half of the signals go to somebody who is in the middle of a move, if there is one. */
static struct proc *signalled(struct sim *s)
{
	struct rand *r = &s->w.rng[RNG_LOAD];
	struct knode *n = random_node(s);
	struct proc *p = &s->procs[rand_below(r, s->proc_count)];

	if (rand_chance(r, 1, 2))
		return p;
	for (uint32_t i = 0; i < n->host.count; i++) {
		const struct task *t = &n->host.tasks[i];

		if (t->kind == TASK_PROC && (t->locks & LOCK_FREEZER))
			return sim_proc(s, t->pid);
	}
	return p;
}

/* A terminal raises signals at the task itself, whatever its state. */
static void load_signal(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct task *t;
	struct proc *p;

	(void)a;
	(void)b;
	(void)payload;
	if (s->quiet)
		return;
	world_in(w, 53 * NS_PER_MS, load_signal, "terminal", node, 0, 0, NULL);
	if (s->proc_count == 0)
		return;
	p = signalled(s);
	t = load_site(s, p->pid);
	if (!p->alive || !t)
		return;
	if (p->sigs == 0)
		p->sigs_ns = w->now_ns;
	t->pending |= UINT64_C(1) << (w->stats.events % 31);
	p->sigs |= t->pending;
	s->stats.signals++;
}

/* Half of the moves are of who was moved a moment ago, or of its parent, which follows or crosses
 * it. */
static struct proc *moved(struct sim *s)
{
	struct rand *r = &s->w.rng[RNG_LOAD];
	struct proc *p = sim_proc(s, s->moved[rand_below(r, ARRAY_LEN(s->moved))]);
	struct proc *any = &s->procs[rand_below(r, s->proc_count)], *parent;

	if (!p || !p->alive || rand_chance(r, 1, 2))
		return any;
	parent = sim_proc(s, p->ppid);
	return parent && parent->alive && rand_chance(r, 1, 2) ? parent : p;
}

static void load_move(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	struct rand *r = &w->rng[RNG_LOAD];
	struct knode *n = NULL, *to;
	struct proc *p;

	(void)a;
	(void)b;
	(void)payload;
	if (s->quiet)
		return;
	world_in(w, (60 + rand_below(r, 200)) * NS_PER_MS, load_move, "mover", node, 0, 0, NULL);
	if (s->proc_count == 0)
		return;
	p = moved(s);
	to = random_node(s);
	if (!p->alive || check_runners(s, p->pid, &n) != 1 || to == n || !kernel_ready(n))
		return;
	if (kernel_move(s, n, p->pid, to->id))
		s->moved[s->stats.moves_asked % ARRAY_LEN(s->moved)] = p->pid;
}

static void load_login(struct world *w, node_id node, uint64_t a, uint64_t b, void *payload)
{
	struct sim *s = sim_of(w);
	uint32_t alive = alive_count(s);

	(void)a;
	(void)b;
	(void)payload;
	if (s->quiet)
		return;
	world_in(w, NS_PER_S, load_login, "login", node, 0, 0, NULL);
	if (alive < s->conf.procs_max / 2)
		load_birth(s, random_node(s), NULL);
}

void load_start(struct sim *s)
{
	world_in(&s->w, NS_PER_S, load_login, "login", 0, 0, 0, NULL);
	world_in(&s->w, 2 * NS_PER_S, load_move, "mover", 0, 0, 0, NULL);
	world_in(&s->w, 2 * NS_PER_S, load_signal, "terminal", 0, 0, 0, NULL);
}
