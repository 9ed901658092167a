/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - an exec that runs on another node: the side it leaves.
 *
 *	guest           home                                        site
 *	execve -------> held; read arguments, descriptors, kin
 *	                Run ----------------------------------------> stubs of its kin, its own stub
 *	                <------------------------- Ran (its errno) -- execs in its stub
 *	errno <-------- if it failed; else the caller becomes a stub in place, by its gate
 *
 * From then on the stub stands for the process (remote.c).
 *
 * K1: the caller is held from before Run is sent until it is a stub; if it cannot become one, the
 *process at the site is killed before the caller runs on.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/place.h"
#include "kernel/host/gate.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"

#define RUN_NS  (15 * NS_PER_S)
#define ASK_NS  (200 * NS_PER_MS) /* pandod's patience is ours: the caller is held */
#define STOP_MS 3000
#define RESTART (-512) /* ERESTARTSYS: the call is made again when nobody stops it */

/* A process that is becoming a stub, or a stub that is becoming a process. */
static bool turning_find(struct world *w, pid_t pid)
{
	struct placing *p;

	list_for_each (p, &w->placings, link)
		if (p->pid == pid)
			return true;
	return stubs_find_node_pid(w->stubs, pid) != NULL;
}

static void placing_free(struct placing *p)
{
	list_del(&p->link);
	gather_free(p);
	free(p);
}

static void refuse(struct placing *p, int err)
{
	if (p->why && p->asked_for)
		log_info("pid %d cannot run on node %u: %s", p->gpid, p->site, p->why);
	if (p->asked_for)
		notify_set_errno(p->slot, err);
	else
		notify_set_run(p->slot);
	notify_answer(p->w->notify, p->slot);
	placing_free(p);
}

/* ---- the caller becomes its stub ---- */
static void nudge(void *arg, pid_t tid)
{
	struct placing *p = arg;

	notify_set_errno(p->slot, RESTART);
	notify_answer(p->w->notify, p->slot);
	p->slot = NULL;
}

static int make_stub(struct placing *p)
{
	struct tracee_set set = TRACEE_SET_INIT;
	struct gate g;
	uint64_t at;
	int r = tracee_seize_nudged(&set, p->w->view.procfs, p->pid, STOP_MS, nudge, p);

	if (r != 0)
		return r;
	FAULT("kernel.place.stopped");
	r = gate_hole(p->w->view.procfs, p->pid, 8192, &at);
	if (r == 0)
		r = gate_park(&g, &p->w->gates, p->w->view.procfs, p->pid, &set.threads[0],
			      GATE_MOVE);
	if (r == 0) {
		r = gate_area(&g, at, 8192);
		if (r == 0)
			r = gate_exec(&g, &set, TENANT_STUB);
		if (r != 0)
			(void)!gate_unpark(&g);
	}
	FAULT("kernel.place.stub");
	tracee_release_all(&set);
	return r;
}

static void on_stub_made(struct loop_post *post);

static void *worker(void *arg)
{
	struct placing *p = arg;

	p->result = make_stub(p);
	loop_post(p->w->loop, &p->post);
	return NULL;
}

static void on_stub_made(struct loop_post *post)
{
	struct placing *p = container_of(post, struct placing, post);
	struct world *w = p->w;
	struct stub *s;
	char key[INIT_KEY_MAX];
	int r = p->result;

	(void)pthread_join(p->thread, NULL);
	if (r == 0)
		r = stubs_add(w->stubs, p->gpid, &s);
	if (r == 0) {
		s->peer = p->site;
		s->home = true;
		(void)snprintf(key, sizeof(key), "remote.%d.%u", p->gpid, p->site);
		if (pid1_put(w->pid1, key, s->pidfd) < 0)
			log_warn("pid %d on node %u is not in the store", p->gpid, p->site);
		if (p->ended && remote_end(w, s, p->ended - 1) != 0)
			log_error("stub %d cannot die", p->gpid);
	} else {
		log_warn("pid %d has not become a stub: %s", p->gpid, strerror(-r));
		remote_raise(w, p->site, p->gpid, SIGKILL);
		pipes_drop(w, p->gpid, true);
		if (p->slot) {
			notify_set_errno(p->slot, -EAGAIN);
			notify_answer(w->notify, p->slot);
		}
	}
	placing_free(p);
}

static void on_ran(void *arg, int err, const struct rpc_msg *msg)
{
	struct placing *p = arg;
	Peer__Ran *ran = err == 0 ? peer__ran__unpack(NULL, msg->len, msg->body) : NULL;

	if (err == 0)
		err = ran ? ran->err : -EPROTO;
	if (ran && err != 0 && ran->why[0])
		log_info("pid %d does not run on node %u: %s", p->gpid, p->site, ran->why);
	if (ran)
		peer__ran__free_unpacked(ran, NULL);
	if (err != 0) {
		pipes_drop(p->w, p->gpid, true);
		refuse(p, err < 0 ? err : -EPROTO);
		return;
	}
	pipes_go(p->w, p->gpid);
	/* From here on an exec of it is the one that makes it the stub. */
	marks_drop(p->w, p->pid);
	list_init(&p->post.link);
	p->post.cb = on_stub_made;
	if (pthread_create(&p->thread, NULL, worker, p) != 0) {
		remote_raise(p->w, p->site, p->gpid, SIGKILL);
		pipes_drop(p->w, p->gpid, true);
		refuse(p, -EAGAIN);
	}
}

static int start_relays(struct placing *p)
{
	for (size_t i = 0; i < p->run.n_fds; i++) {
		const Peer__Fd *f = p->fds[i];
		int r;

		if (f->kind == PEER__FD_KIND__FD_PATH)
			continue;
		r = pipes_home(p->w, f->relay, p->site, p->gpid, p->sources[i],
			       f->kind == PEER__FD_KIND__FD_OUTPUT);
		p->sources[i] = -1;
		if (r != 0)
			return r;
	}
	return 0;
}

static void on_peer(void *arg, int err, struct rpc_conn *c)
{
	struct placing *p = arg;
	struct rpc_msg m = { .method = PEER_RUN };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(p->w->loop) + RUN_NS };
	uint8_t *body;

	if (err != 0) {
		p->why = "its guest kernel is not reached";
		refuse(p, -EHOSTDOWN);
		return;
	}
	body = malloc(peer__run__get_packed_size(&p->run) + 1);
	err = body ? start_relays(p) : -ENOMEM;
	if (err == 0) {
		m.len = peer__run__pack(&p->run, body);
		m.body = body;
		err = rpc_request(c, &m, &o, on_ran, p, NULL);
	}
	free(body);
	if (err != 0) {
		pipes_drop(p->w, p->gpid, true);
		refuse(p, err);
	}
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
	p->pid = (pid_t)notify_call(s)->pid;
	p->site = site;
	return p;
}

static void go(struct placing *p)
{
	int r = gather(p);

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
	node_id node = marks_find(w, (pid_t)notify_call(s)->pid);
	bool busy = __atomic_load_n(&w->busy, __ATOMIC_RELAXED);
	/* A stub's exec is its turning into a process: never to be placed again. */
	bool ours = turning_find(w, (pid_t)notify_call(s)->pid);
	struct placing *p = !ours && (node != NODE_NONE || busy) ? placing_new(w, s, node) : NULL;

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

struct placing *placing_find(struct world *w, gpid pid)
{
	struct placing *p;

	list_for_each (p, &w->placings, link)
		if (p->gpid == pid)
			return p;
	return NULL;
}

int place_open(struct world *w)
{
	int fd = pid1_get(w->pid1, "gates"), r;

	list_init(&w->marks);
	list_init(&w->placings);
	w->last_relay = clock_wall_ns();
	r = gate_slots_open(&w->gates, fd >= 0 ? fd : -1);
	if (r == 0 && fd < 0)
		r = pid1_put(w->pid1, "gates", w->gates.fd);
	if (r >= 0)
		r = remote_open(w);
	return MIN(r, 0);
}
