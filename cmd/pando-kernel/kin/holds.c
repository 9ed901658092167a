/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holds.c - what nodes ask of each other's processes: to raise a signal in one, and to hold the
 * asker's stub of it, which is to tell how it ends. guests.c has their lives.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/exec/site.h"
#include "kernel/proc/peer.h"
#include "kernel/proc/peer.pb-c.h"

#define HOLD_NS (5 * NS_PER_S)

/* ---- signals ---- */
static int raise_here(struct world *w, const Peer__Raise *q)
{
	struct guest *g = guest_find(w, q->pid);
	struct stub *stub = stubs_find(w->stubs, q->pid);
	struct task_info t;
	siginfo_t si = { .si_signo = q->signo, .si_code = q->code };
	int fd, r;

	if (q->signo < 1 || q->signo > 64)
		return -EINVAL;
	/* Where its place is it is known where it is. */
	if (stub && !stub->arriving)
		return stub->home || home_is_over(w, q->pid) ? remote_pass(w, stub, q) : -EAGAIN;
	if (g && g->pidfd < 0)
		return -EAGAIN;
	fd = g ? fcntl(g->pidfd, F_DUPFD_CLOEXEC, 0) : proc_open(&w->view, q->pid, &t);
	if (fd < 0)
		return fd == -ESRCH || g ? -ESRCH : fd;
	si.si_pid = q->sender;
	si.si_uid = q->uid;
	si.si_value.sival_ptr = (void *)(uintptr_t)q->value;
	/* Only what a program queues may carry its sender along. */
	r = q->code < 0 && q->code != SI_TKILL
		    ? (int)syscall(SYS_pidfd_send_signal, fd, q->signo, &si, 0)
		    : (int)syscall(SYS_pidfd_send_signal, fd, q->signo, NULL, 0);
	r = r == 0 ? 0 : -errno;
	(void)close(fd);
	return r;
}

static void on_raise(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Peer__Raise *q = peer__raise__unpack(NULL, m->len, m->body);

	FAULT("kernel.guest.raise");
	answers_reply(call, q ? raise_here(arg, q) : -EPROTO, NULL);
	if (q)
		peer__raise__free_unpacked(q, NULL);
}

/* ---- ends ---- */
static void on_hold(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	Peer__Hold *q = peer__hold__unpack(NULL, m->len, m->body);
	struct world *w = arg;
	int r = q ? 0 : -EPROTO;

	if (q && q->executes && (move_is_busy(w, q->pid) || place_is_busy(w, q->pid)))
		r = -EAGAIN;
	else if (q && q->executes && stubs_find(w->stubs, q->pid))
		r = -ESRCH;
	if (r == 0)
		r = site_guest_add(w, q->pid, rpc_conn_peer(c)->node);
	answers_reply(call, r, NULL);
	if (q)
		peer__hold__free_unpacked(q, NULL);
}

struct hold {
	struct world *w;
	gpid pid;
	held_fn done;
	void *arg;
};

static void on_held(void *arg, int err, const struct rpc_msg *m)
{
	struct hold *h = arg;

	h->done(h->arg, err);
	free(h);
}

static void on_hold_peer(void *arg, int err, struct rpc_conn *c)
{
	struct hold *h = arg;
	Peer__Hold q = PEER__HOLD__INIT;
	struct rpc_opts o = { .deadline_ns = loop_now_ns(h->w->loop) + HOLD_NS };
	uint8_t body[16];
	struct rpc_msg m = { .method = PEER_HOLD, .body = body };

	q.pid = h->pid;
	m.len = peer__hold__pack(&q, body);
	if (err == 0)
		err = rpc_request(c, &m, &o, on_held, h, NULL);
	if (err != 0)
		on_held(h, err == -ESRCH ? -EAGAIN : err, NULL);
}

void site_hold(struct world *w, gpid pid, held_fn done, void *arg)
{
	node_id home = home_of(w, pid);
	struct hold *h = home == w->node || home == NODE_NONE ? NULL : malloc(sizeof(*h));

	if (home_is_over(w, pid)) {
		free(h);
		deaths_seek(w, pid, done, arg);
	} else if (home == w->node || home == NODE_NONE) {
		done(arg, 0);
	} else if (!h) {
		done(arg, -ENOMEM);
	} else {
		*h = (struct hold){ w, pid, done, arg };
		peers_with(w, home, on_hold_peer, h);
	}
}

void holds_open(struct world *w)
{
	rpc_serve(w->peer_rpc, PEER_RAISE, on_raise, w);
	rpc_serve(w->peer_rpc, PEER_HOLD, on_hold, w);
}
