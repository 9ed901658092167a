/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - an exec that runs on another node: the side it leaves.
 *
 *	guest           home                                        site
 *	execve -------> held; read arguments, descriptors, kin
 *	                parked in its gate; a record is kept
 *	                Run ----------------------------------------> stubs of its kin, its own stub
 *	                <------------------------- Ran (its errno) -- execs in its stub
 *	errno <-------- if it failed; else the caller becomes a stub in place, by its gate
 *
 * From then on the stub stands for the process (remote.c).
 *
 * K1: the caller stands in its gate from before Run is sent until it is a stub, or it is certain
 * that the site has not executed it and never will. So whoever dies, the record tells a successor
 * what to do: ask the site (PLACE_ASKED), make the stub (PLACE_RUNS), let it run (PLACE_OVER).
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/exec/place.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/host/gate.h"
#include "kernel/host/mem.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"
#include "migrate/image/image.h"

#define RUN_NS         (15 * NS_PER_S)
#define AGAIN_NS       (100 * NS_PER_MS)
#define ASK_NS         (200 * NS_PER_MS) /* pandod's patience is ours: the caller is held */
#define AREA_BYTES     8192
#define STOP_MS        3000
#define REACH_NS       (5 * NS_PER_S) /* how long `on` waits for a node's guest kernel */
#define REACH_AGAIN_NS (20 * NS_PER_MS)
#define RESTART        (-512) /* ERESTARTSYS: the call is made again when nobody stops it */

static struct placing *placing_of(struct world *w, pid_t pid)
{
	struct placing *p;

	list_for_each (p, &w->placings, link)
		if (p->pid == pid)
			return p;
	return NULL;
}

/* A process that is becoming a stub, or a stub that is becoming a process. */
static bool turning_find(struct world *w, pid_t pid)
{
	const struct placing *p = placing_of(w, pid);

	return (p && p->verdict != VERDICT_RETURN && p->verdict != VERDICT_AGAIN) ||
	       stubs_find_node_pid(w->stubs, pid) != NULL;
}

static bool has_children(const struct placing *p)
{
	for (size_t i = 0; i < p->run.n_kin; i++)
		if (p->run.kin[i]->ppid == p->gpid)
			return true;
	/* A predecessor's: not known. If it has ended already, guests.c is not there yet, and looks
	 * then. */
	return !p->slot && p->run.n_kin == 0 && p->pid > 0;
}

/* Its children are waited for by its stub from now on, or by itself as before. */
static void look_at_children(struct world *w, gpid pid)
{
	struct stub *s = stubs_find(w->stubs, pid);

	if (s)
		site_reap_rest(w, s);
	site_look_again(w);
}

static void placing_free(struct placing *p)
{
	struct world *w = p->w;
	gpid parent = has_children(p) ? p->gpid : 0;

	loop_timer_clear(p->w->loop, &p->again);
	list_del(&p->link);
	turns_look(w);
	if (p->pidfd >= 0)
		(void)close(p->pidfd);
	(void)pthread_cond_destroy(&p->decided);
	(void)pthread_mutex_destroy(&p->lock);
	gather_free(p);
	free(p);
	if (parent != 0)
		look_at_children(w, parent);
}

/* Nothing of it is anywhere: it is still held. */
static void refuse(struct placing *p, int err)
{
	if (p->asked_for)
		notify_set_errno(p->slot, place_refused(p, err));
	else
		notify_set_run(p->slot);
	notify_answer(p->w->notify, p->slot);
	pipes_drop(p->w, p->gpid, true);
	placing_free(p);
}

/* ---- the worker ---- */
static void nudge(void *arg, pid_t tid)
{
	struct placing *p = arg;

	if (!p->slot)
		return;
	notify_set_errno(p->slot, RESTART);
	notify_answer(p->w->notify, p->slot);
	p->slot = NULL;
}

/* Below its stack is nothing of anybody's. */
static void read_pdeathsig(struct placing *p, struct gate *g)
{
	uint64_t at = (g->slot->regs.rsp - 1024) & ~UINT64_C(15);
	int32_t signo = 0;
	int64_t ret;

	if (GATE_CALL(g, &ret, SYS_prctl, PR_GET_PDEATHSIG, at) == 0 && ret == 0 &&
	    mem_read(p->pid, at, &signo, sizeof(signo)) == 0)
		p->run.pdeathsig = (uint32_t)signo;
}

static int park(struct placing *p, struct tracee_set *set, struct gate *g)
{
	int r = tracee_seize_nudged(set, p->w->view.procfs, p->pid, STOP_MS, nudge, p);

	if (r != 0)
		return r;
	FAULT("kernel.place.stopped");
	r = set->count == 1 ? gate_park(g, &p->w->gates, p->w->view.procfs, p->pid,
					&set->threads[0], GATE_PLACE)
			    : -EAGAIN;
	/* Somewhere else than in its exec: it has been woken before us. */
	if (r == 0 &&
	    ((int64_t)g->slot->regs.rax != RESTART || g->slot->regs.orig_rax != SYS_execve)) {
		r = gate_unpark(g);
		r = r == 0 ? -EAGAIN : r;
	}
	if (r != 0)
		tracee_release_all(set);
	else
		read_pdeathsig(p, g);
	return r;
}

static enum verdict await_verdict(struct placing *p)
{
	enum verdict v;

	(void)pthread_mutex_lock(&p->lock);
	while (p->verdict == VERDICT_NONE)
		(void)pthread_cond_wait(&p->decided, &p->lock);
	v = p->verdict;
	(void)pthread_mutex_unlock(&p->lock);
	return v;
}

/* An exec that fails so late kills, as on a host. */
static int become_stub(struct placing *p, struct tracee_set *set, struct gate *g)
{
	int r = gate_exec(g, set, TENANT_STUB);
	uint64_t at;

	/* Below its stack is nothing: then in an area, though a vfork child leaves it to its
	 * parent. */
	if (r == -EFAULT && gate_hole(p->w->view.procfs, p->pid, AREA_BYTES, &at) == 0 &&
	    gate_area(g, at, AREA_BYTES) == 0)
		r = gate_exec(g, set, TENANT_STUB);
	FAULT("kernel.place.stub");
	if (r != 0) {
		log_warn("pid %d cannot become a stub: %s", p->gpid, strerror(-r));
		if (task_pidfd_signal(p->pidfd, SIGKILL) != 0)
			log_debug("pid %d is dead already", p->gpid);
		gate_forget(g);
	}
	return r;
}

static int carry_out(struct placing *p, struct tracee_set *set, struct gate *g)
{
	enum verdict v = await_verdict(p);
	int r;

	if (v == VERDICT_STUB)
		return become_stub(p, set, g);
	if (v == VERDICT_RETURN) {
		g->slot->regs.rax = (uint64_t)(int64_t)p->err;
		g->slot->regs.orig_rax = ~UINT64_C(0);
	}
	FAULT("kernel.place.undo");
	r = gate_unpark(g);
	if (r != 0)
		gate_forget(g);
	return r;
}

static void *worker(void *arg)
{
	struct placing *p = arg;
	struct tracee_set set = TRACEE_SET_INIT;
	struct gate g;
	int r = park(p, &set, &g);

	p->result = r;
	loop_post(p->w->loop, &p->parked);
	/* @p may be gone if it is not parked. */
	if (r != 0)
		return NULL;
	p->result = carry_out(p, &set, &g);
	tracee_release_all(&set);
	loop_post(p->w->loop, &p->done);
	return NULL;
}

static bool is_dead(const struct placing *p)
{
	struct task_info t;

	return task_read(&t, p->w->view.procfs, p->pid) != 0 || t.state == 'Z' || t.state == 'X';
}

static void forget_slots(struct placing *p)
{
	struct gate_slots *g = &p->w->gates;
	struct gate_slot *slot;

	while ((slot = gate_slot_find(g, p->pid)) != NULL)
		gate_forget(&(struct gate){ .slots = g, .slot = slot });
}

/* After a predecessor's death: the caller is in its gate, was on its way out of it, or is gone. */
static void *recoverer(void *arg)
{
	struct placing *p = arg;
	cleanup_buf struct buf why = BUF_INIT;
	const struct image_env env = { .proc = p->w->view.procfs,
				       .slots = &p->w->gates,
				       .stub_path = TENANT_STUB };
	bool stub = await_verdict(p) == VERDICT_STUB;

	p->result = image_recover(&env, p->pid, stub ? IMAGE_FATE_STUB : IMAGE_FATE_RUN, &why);
	if (p->result != 0 && is_dead(p))
		forget_slots(p);
	else if (p->result != 0)
		log_warn("pid %d is not recovered: %s", p->gpid, buf_str(&why));
	loop_post(p->w->loop, &p->done);
	return NULL;
}

static void decide(struct placing *p, enum verdict v, int err)
{
	(void)pthread_mutex_lock(&p->lock);
	p->err = err;
	p->verdict = v;
	(void)pthread_cond_signal(&p->decided);
	(void)pthread_mutex_unlock(&p->lock);
}

/* ---- what the site says ---- */
static void it_runs(struct placing *p)
{
	p->k->phase = PLACE_RUNS;
	FAULT("kernel.place.runs");
	pipes_go(p->w, p->gpid);
	pipes_left(p->w, p->gpid);
	/* From here on an exec of it is the one that makes it the stub. */
	marks_drop(p->w, p->pid);
	decide(p, VERDICT_STUB, 0);
}

/* Certainly not, and never. @err 0: it may try again. */
static void it_does_not(struct placing *p, int err)
{
	p->k->phase = PLACE_OVER;
	FAULT("kernel.place.over");
	pipes_drop(p->w, p->gpid, true);
	pipes_thaw(p->w, p->gpid);
	if (err == 0 || (p->site_is_why && marks_try_again(p->w, p->pid))) {
		decide(p, VERDICT_AGAIN, 0);
	} else if (p->asked_for) {
		decide(p, VERDICT_RETURN, p->site_is_why || p->why ? place_refused(p, err) : err);
	} else {
		marks_stay(p->w, p->pid);
		decide(p, VERDICT_AGAIN, 0);
	}
}

static void ask(struct placing *p);

static void on_ask_again(struct loop_timer *t)
{
	ask(container_of(t, struct placing, again));
}

static int ran_of(int err, const struct rpc_msg *msg, struct placing *p, bool *lost)
{
	Peer__Ran *ran = err == 0 ? peer__ran__unpack(NULL, msg->len, msg->body) : NULL;

	*lost = ran == NULL;
	if (!ran)
		return err != 0 ? err : -EPROTO;
	err = ran->err;
	p->site_is_why = err != 0 && ran->why[0];
	(void)snprintf(p->site_why, sizeof(p->site_why), "%s", ran->why);
	if (p->site_is_why)
		log_info("pid %d does not run on node %u: %s", p->gpid, p->site, ran->why);
	peer__ran__free_unpacked(ran, NULL);
	return MIN(err, 0);
}

/* The answer to Run is lost: the site says whether it has begun; then it goes on, else it never
 * will. */
static void on_asked(void *arg, int err, const struct rpc_msg *msg)
{
	struct placing *p = arg;
	bool lost;

	err = ran_of(err, msg, p, &lost);
	/* It may have executed, and has ended by now: remotes_look_at_lives() says so. What the
	 * node says in another life is of no weight. */
	if (peers_over(p->w, p->site, p->k->life) || (!lost && err == 0)) {
		it_runs(p);
	} else if (!lost) {
		it_does_not(p, 0);
	} else if (loop_timer_set(p->w->loop, &p->again, loop_now_ns(p->w->loop) + AGAIN_NS,
				  on_ask_again) != 0) {
		log_error("cannot wait: out of memory");
	}
}

static void on_peer_ask(void *arg, int err, struct rpc_conn *c)
{
	struct placing *p = arg;
	Peer__Ask q = PEER__ASK__INIT;
	uint8_t body[32];
	struct rpc_msg m = { .method = PEER_ASK, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(p->w->loop) + RUN_NS };

	q.pid = p->gpid;
	q.id = p->k->id;
	m.len = peer__ask__pack(&q, body);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_asked, p, NULL);
	if (err != 0)
		on_asked(p, err, NULL);
}

static void ask(struct placing *p)
{
	peers_with(p->w, p->site, on_peer_ask, p);
}

static void on_ran(void *arg, int err, const struct rpc_msg *msg)
{
	struct placing *p = arg;
	bool lost;

	FAULT("kernel.place.ran");
	err = ran_of(err, msg, p, &lost);
	if (lost)
		ask(p);
	else if (err == 0)
		it_runs(p);
	else
		it_does_not(p, err);
}

/* ---- the caller's end ---- */
static void place_end(struct placing *p)
{
	struct world *w = p->w;
	struct init_slot *magic = p->magic, *next = p->next;
	int r = p->result;

	if (p->verdict != VERDICT_STUB) {
		if (p->k)
			place_forget(w, p->k);
	} else {
		if (r == 0)
			r = remote_begin(w, p->k);
		if (r == 0)
			groups_held(w, stubs_find(w->stubs, p->gpid), p->since);
		if (r != 0) {
			log_warn("pid %d has not become a stub: %s", p->gpid, strerror(-r));
			remote_kill(w, p->k);
		}
	}
	list_del(&p->link);
	list_init(&p->link);
	if (magic)
		stubs_magic(w->stubs, magic);
	if (p->grouped)
		groups_enter(w, &p->group, p->grouped);
	if (p->changed)
		remote_changed(w, p->gpid, p->status, p->changed);
	remotes_look_at_lives(w);
	ttys_look_again(w);
	follow_look(w);
	placing_free(p);
	if (next)
		place_exec(w, next);
}

static void on_done(struct loop_post *post)
{
	struct placing *p = container_of(post, struct placing, done);

	(void)pthread_join(p->thread, NULL);
	place_end(p);
}

bool place_magic(struct world *w, struct init_slot *s)
{
	struct placing *p = placing_of(w, (pid_t)notify_call(s)->pid);

	/* In its gate it is not the stub yet. */
	if (!p || p->verdict != VERDICT_STUB || p->magic || gate_slot_find(&w->gates, p->pid))
		return false;
	p->magic = s;
	return true;
}

/* ---- the way there ---- */
/* Who has ended since was told before there was a stub to end. */
static void look_at_kin(struct placing *p)
{
	for (size_t i = 0; i < p->run.n_kin; i++) {
		gpid pid = p->run.kin[i]->pid;

		/* Of its children that is told when it is a stub, which waits for them. */
		if (pid > 1 && pid != p->gpid && p->run.kin[i]->ppid != p->gpid &&
		    home_of(p->w, pid) == p->w->node)
			p->run.kin[i]->ended = !site_hears(p->w, pid, p->site);
	}
}

static void on_run_peer(void *arg, int err, struct rpc_conn *c)
{
	struct placing *p = arg;
	struct rpc_msg m = { .method = PEER_RUN };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(p->w->loop) + RUN_NS };
	uint8_t *body;

	look_at_kin(p);
	body = malloc(peer__run__get_packed_size(&p->run) + 1);
	if (err == 0 && !body)
		err = -ENOMEM;
	if (err == 0) {
		m.len = peer__run__pack(&p->run, body);
		m.body = body;
		err = rpc_request(c, &m, &o, on_ran, p, NULL);
	}
	free(body);
	if (err != 0) /* nothing was sent: once more, from the start */
		it_does_not(p, 0);
}

static void on_ends(struct placing *p, int err)
{
	if (err == 0)
		peers_with(p->w, p->site, on_run_peer, p);
	else
		it_does_not(p, err);
}

static void on_parked(struct loop_post *post)
{
	struct placing *p = container_of(post, struct placing, parked);
	const struct kept_place want = {
		.phase = PLACE_ASKED, .pid = p->gpid, .site = p->site, .id = p->run.id
	};
	int r = p->result;

	if (r == 0)
		p->k = place_keep(p->w, &want, p->pidfd);
	if (p->k) {
		FAULT("kernel.place.parked");
		place_ends_settle(p, on_ends);
		return;
	}
	if (r == 0) { /* too many are elsewhere */
		decide(p, VERDICT_AGAIN, 0);
		(void)pthread_join(p->thread, NULL);
	} else {
		(void)pthread_join(p->thread, NULL);
		if (p->slot) {
			refuse(p, r);
			return;
		}
		log_info("pid %d cannot be stopped for its exec: %s", p->gpid, strerror(-r));
	}
	pipes_drop(p->w, p->gpid, true);
	marks_stay(p->w, p->pid);
	placing_free(p);
}

static int work(struct placing *p, void *(*fn)(void *))
{
	list_init(&p->parked.link);
	list_init(&p->done.link);
	p->parked.cb = on_parked;
	p->done.cb = on_done;
	return -pthread_create(&p->thread, NULL, fn, p);
}

static void on_peer(void *arg, int err, struct rpc_conn *c);

static void on_reach_again(struct loop_timer *t)
{
	struct placing *p = container_of(t, struct placing, again);

	peers_with(p->w, p->site, on_peer, p);
}

/* A guest kernel that has just died is followed by another. */
static bool reach_again(struct placing *p)
{
	uint64_t now = loop_now_ns(p->w->loop);

	if (p->reach_until_ns == 0)
		p->reach_until_ns = now + REACH_NS;
	return p->asked_for && now < p->reach_until_ns &&
	       loop_timer_set(p->w->loop, &p->again, now + REACH_AGAIN_NS, on_reach_again) == 0;
}

static void on_peer(void *arg, int err, struct rpc_conn *c)
{
	struct placing *p = arg;

	if (err != 0 && reach_again(p))
		return;
	if (err != 0) {
		p->why = "its guest kernel is not reached";
		refuse(p, -EHOSTDOWN);
		return;
	}
	p->pidfd = task_pidfd(p->pid);
	p->run.id = ++p->w->last_relay;
	err = p->pidfd < 0 ? p->pidfd : place_ends_start(p);
	if (err == 0)
		err = work(p, worker);
	if (err != 0)
		refuse(p, err);
}

static struct placing *placing_new(struct world *w, struct init_slot *s, node_id site)
{
	struct placing *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	peer__run__init(&p->run);
	list_add_tail(&w->placings, &p->link);
	p->w = w;
	p->slot = s;
	p->pid = s ? (pid_t)notify_call(s)->pid : 0;
	p->site = site;
	p->since = groups_spoken();
	p->pidfd = -1;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->decided, NULL);
	return p;
}

static void go(struct placing *p)
{
	int r;

	if (place_awaits_parent(p, go))
		return;
	r = gather(p);
	if (r != 0)
		refuse(p, r);
	else
		peers_with(p->w, p->site, on_peer, p);
}

static void on_advice(void *arg, int err, const struct rpc_msg *m)
{
	struct placing *p = arg;
	Kernel__Placed *q = err == 0 ? kernel__placed__unpack(NULL, m->len, m->body) : NULL;

	p->site = q ? q->node : p->w->node;
	if (q)
		kernel__placed__free_unpacked(q, NULL);
	if (p->site == p->w->node || p->site == NODE_NONE)
		refuse(p, -EAGAIN); /* stays */
	else
		go(p);
}

static int ask_advice(struct placing *p)
{
	Kernel__Place q = KERNEL__PLACE__INIT;
	struct task_info t;
	uint8_t body[128];
	struct rpc_msg m = { .method = KERNEL_PLACE, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(p->w->loop) + ASK_NS };

	if (!p->w->pod || task_read(&t, p->w->view.procfs, p->pid) != 0)
		return -ENOTCONN;
	q.pid = t.gpid;
	q.comm = t.comm;
	q.near_node = p->w->node;
	m.len = kernel__place__pack(&q, body);
	return rpc_request(p->w->pod, &m, &o, on_advice, p, NULL);
}

void place_exec(struct world *w, struct init_slot *s)
{
	pid_t pid = (pid_t)notify_call(s)->pid;
	struct placing *before = placing_of(w, pid);
	node_id node = marks_find(w, pid);
	bool busy = __atomic_load_n(&w->busy, __ATOMIC_RELAXED);
	/* A stub's exec is its turning into a process: never to be placed again. */
	bool stays = turning_find(w, pid) || leave_is_of(w, pid) || node == w->node;
	struct placing *p = NULL;

	/* It runs again, but is still traced, by us; or is to be looked at. */
	if (before && (!stays || (before->adopted && before->verdict == VERDICT_NONE))) {
		if (before->next) { /* a signal has ended that call */
			notify_set_run(before->next);
			notify_answer(w->notify, before->next);
		}
		before->next = s;
		return;
	}
	if (node == w->node)
		marks_drop(w, pid);
	if (!stays && (node != NODE_NONE || (busy && !place_is_of_here(w, s))))
		p = placing_new(w, s, node);
	if (!p) {
		notify_set_run(s);
		notify_answer(w->notify, s);
		return;
	}
	p->asked_for = node != NODE_NONE;
	if (p->asked_for)
		go(p);
	else if (ask_advice(p) != 0)
		refuse(p, -EAGAIN);
}

pid_t place_pid(const struct world *w, gpid pid)
{
	const struct placing *p;

	list_for_each (p, &w->placings, link)
		if (p->gpid == pid)
			return p->pid;
	return 0;
}

bool place_runs_there(const struct world *w, gpid pid)
{
	const struct placing *p;

	list_for_each (p, &w->placings, link)
		if (p->k && p->gpid == pid)
			return p->k->phase == PLACE_RUNS;
	return false;
}

/* ---- after a predecessor's death ---- */
/* It went its way, and may be held in its next exec: to be stopped it would have to be let go. */
static bool is_out(const struct placing *p)
{
	const struct gate_slot *slot = gate_slot_find(&p->w->gates, p->pid);

	return (!p->k || p->k->phase == PLACE_OVER) &&
	       (!slot || gate_is_left(slot, p->w->view.procfs));
}

static void on_recover(struct loop_timer *t)
{
	struct placing *p = container_of(t, struct placing, again);

	if (is_out(p)) {
		forget_slots(p);
		if (p->k)
			it_does_not(p, 0);
		p->verdict = VERDICT_AGAIN;
		place_end(p);
		return;
	}
	/*
	 * It has left its gate by the exec: it is the stub. To stop it is not only in vain: while
	 * we hold its first question it cannot be stopped, and would be taken for lost.
	 */
	if (p->k && p->k->phase == PLACE_RUNS && !gate_slot_find(&p->w->gates, p->pid)) {
		pipes_go(p->w, p->gpid);
		pipes_left(p->w, p->gpid);
		marks_drop(p->w, p->pid);
		p->verdict = VERDICT_STUB;
		place_end(p);
		return;
	}
	if (work(p, recoverer) != 0) {
		if (loop_timer_set(p->w->loop, t, loop_now_ns(p->w->loop) + AGAIN_NS, on_recover) !=
		    0)
			log_error("cannot wait: out of memory");
		return;
	}
	if (!p->k) /* nothing was sent */
		decide(p, VERDICT_AGAIN, 0);
	else if (p->k->phase == PLACE_RUNS)
		it_runs(p);
	else if (p->k->phase == PLACE_OVER)
		it_does_not(p, 0);
	else
		ask(p);
}

static int adopt(struct world *w, struct kept_place *k)
{
	char key[INIT_KEY_MAX];
	struct placing *p = placing_new(w, NULL, k->site);

	if (!p)
		return -ENOMEM;
	p->k = k;
	p->adopted = true;
	p->gpid = k->pid;
	(void)snprintf(key, sizeof(key), "place.%u", (unsigned)(k - w->kept->places));
	p->pidfd = pid1_get(w->pid1, key);
	p->pid = p->pidfd >= 0 ? task_pidfd_pid(w->view.procfs, p->pidfd) : -1;
	if (p->pid > 0) /* when the loop runs: its calls must be answered */
		return loop_timer_set(w->loop, &p->again, 0, on_recover);
	placing_free(p);
	pipes_thaw(w, k->pid);
	if (k->phase == PLACE_OVER)
		place_forget(w, k);
	else
		remote_kill(w, k);
	return 0;
}

/* In a gate, and no record: the predecessor died between the two. */
static int adopt_parked(struct world *w)
{
	uint32_t n = MIN(atomic_load(&w->gates.mem->high), GATE_SLOTS);
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const struct gate_slot *slot = &w->gates.mem->slot[i];
		struct placing *p;

		if (slot->tid <= 0 || slot->role != GATE_PLACE || placing_of(w, slot->pid))
			continue;
		p = placing_new(w, NULL, NODE_NONE);
		if (!p)
			return -ENOMEM;
		p->pid = slot->pid;
		p->adopted = true;
		r = loop_timer_set(w->loop, &p->again, 0, on_recover);
	}
	return r;
}

int place_open(struct world *w)
{
	int r;

	list_init(&w->placings);
	follow_open(w);
	w->last_relay = clock_wall_ns();
	r = marks_open(w);
	if (r >= 0)
		r = remote_open(w);
	for (size_t i = 0; r >= 0 && i < KEPT_PLACES; i++) {
		struct kept_place *k = &w->kept->places[i];

		if (k->state == KEPT_THERE && k->phase <= PLACE_OVER)
			r = adopt(w, k);
	}
	if (r >= 0)
		r = adopt_parked(w);
	return MIN(r, 0);
}
