/* SPDX-License-Identifier: Apache-2.0 */
/*
 * far.c - getpgid, getsid and getpriority of processes that have no task here.
 *
 * The node that leased a pid has a task of it as long as it lives, and knows its group and session;
 * how nice it is only the node knows where it executes, which that one names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define ASK_NS   (3 * NS_PER_S)
#define HOPS_MAX 3

struct far_call {
	struct world *w;
	struct init_slot *slot; /* NULL: it has been answered */
	int nr;
	gpid pid;
	node_id node; /* asked just now */
	unsigned hops;
	struct loop_timer patience;
};

static gpid pid_of(const struct init_slot *s)
{
	const struct notify_call *n = notify_call(s);

	if (n->nr != SYS_getpriority)
		return (gpid)n->args[0];
	return (int)n->args[0] == PRIO_PROCESS ? (gpid)n->args[1] : 0;
}

bool far_concerns(const struct world *w, const struct init_slot *s)
{
	gpid pid = pid_of(s);

	if (__atomic_load_n(&w->others, __ATOMIC_RELAXED) == 0 || pid <= 1)
		return false;
	return notify_call(s)->nr == SYS_getpriority || !machine_has_task(w, pid);
}

static void answer(struct far_call *x, int err, int64_t value)
{
	loop_timer_clear(x->w->loop, &x->patience);
	if (!x->slot)
		return;
	if (err != 0)
		notify_set_errno(x->slot, err);
	else
		notify_set_value(x->slot, value);
	notify_answer(x->w->notify, x->slot);
	x->slot = NULL;
}

static void ask(struct far_call *x);

static void on_looked(void *arg, int err, const struct rpc_msg *m)
{
	struct far_call *x = arg;
	Peer__Looked *q = err == 0 ? peer__looked__unpack(NULL, m->len, m->body) : NULL;
	node_id site = q ? q->site : NODE_NONE;
	bool on = q && x->slot && x->nr == SYS_getpriority && site != NODE_NONE;

	if (on && site != x->w->node && ++x->hops < HOPS_MAX) {
		x->node = site;
		peer__looked__free_unpacked(q, NULL);
		ask(x);
		return;
	}
	if (!q || on)
		answer(x, -ESRCH, 0);
	else
		answer(x, 0,
		       x->nr == SYS_getpgid  ? q->pgid
		       : x->nr == SYS_getsid ? q->sid
					     : (int64_t)q->priority);
	if (q)
		peer__looked__free_unpacked(q, NULL);
	free(x);
}

static void on_peer(void *arg, int err, struct rpc_conn *c)
{
	struct far_call *x = arg;
	Peer__Look q = PEER__LOOK__INIT;
	uint8_t body[16];
	struct rpc_msg m = { .method = PEER_LOOK, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(x->w->loop) + ASK_NS };

	q.pid = x->pid;
	m.len = peer__look__pack(&q, body);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_looked, x, NULL);
	if (err != 0)
		on_looked(x, err, NULL);
}

static void ask(struct far_call *x)
{
	peers_with(x->w, x->node, on_peer, x);
}

/* A node that is silent holds nobody up: who asked is answered, and its answer is dropped. */
static void on_patience(struct loop_timer *t)
{
	answer(container_of(t, struct far_call, patience), -ESRCH, 0);
}

/* Where its stub sends us, or who has leased its pid; NODE_NONE: the host knows all there is. */
static node_id whom_to_ask(struct world *w, int nr, gpid pid)
{
	const struct stub *s = stubs_find(w->stubs, pid);
	node_id home;

	if (s)
		return nr == SYS_getpriority ? s->peer : NODE_NONE;
	if (machine_has_task(w, pid))
		return NODE_NONE;
	home = home_of(w, pid);
	return home == w->node || !peers_alive(w, home) ? NODE_NONE : home;
}

void far_call(struct world *w, struct init_slot *s)
{
	int nr = notify_call(s)->nr;
	gpid pid = pid_of(s);
	node_id node = whom_to_ask(w, nr, pid);
	struct far_call *x = node != NODE_NONE ? calloc(1, sizeof(*x)) : NULL;

	if (x) {
		*x = (struct far_call){ .w = w, .slot = s, .nr = nr, .pid = pid, .node = node };
		if (loop_timer_set(w->loop, &x->patience, loop_now_ns(w->loop) + ASK_NS,
				   on_patience) == 0) {
			ask(x);
			return;
		}
		free(x);
	}
	notify_set_run(s);
	notify_answer(w->notify, s);
}

/* ---- what others ask ---- */
static int look(struct world *w, gpid pid, Peer__Looked *out)
{
	const struct stub *s = stubs_find(w->stubs, pid);
	char text[1024];
	struct task_info t;
	const char *end;
	int fd = proc_open(&w->view, pid, &t), nice = 0;

	if (fd < 0)
		return fd;
	(void)close(fd);
	if (pid == w->zygote || task_file(w->view.procfs, t.pid, "stat", text, sizeof(text)) < 0)
		return -ESRCH;
	/* proc_pid_stat(5): field 19, the first after the name is 3 */
	end = strrchr(text, ')');
	if (!end ||
	    sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %d",
		   &nice) != 1)
		return -EIO;
	out->pgid = t.pgid;
	out->sid = t.sid;
	out->priority = (uint32_t)(20 - nice); /* as the call gives it */
	out->site = s ? s->peer : NODE_NONE;
	return 0;
}

static void on_look(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Peer__Look *q = peer__look__unpack(NULL, m->len, m->body);
	Peer__Looked looked = PEER__LOOKED__INIT;
	uint8_t body[64];
	struct rpc_msg answer = { .body = body };
	int r = q ? look(arg, q->pid, &looked) : -EPROTO;

	if (r == 0)
		answer.len = peer__looked__pack(&looked, body);
	answers_reply(call, r, r == 0 ? &answer : NULL);
	if (q)
		peer__look__free_unpacked(q, NULL);
}

void far_open(struct world *w)
{
	rpc_serve(w->peer_rpc, PEER_LOOK, on_look, w);
}
