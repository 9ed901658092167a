/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod.c - the connection to pandod. It may go at any time: then we go on without, and a new pandod
 * puts a new one into pando-init's store.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"

#define PIDS_AGAIN_NS (200 * NS_PER_MS) /* after a refusal: naming may have no leader just then */
#define PIDS_WAIT_NS  (5 * NS_PER_S)

static void on_pids_again(struct loop_timer *t)
{
	pod_want_pids(container_of(t, struct world, pids_again));
}

static int take_blocks(struct world *w, const struct rpc_msg *m)
{
	Kernel__PidsGranted *g = kernel__pids_granted__unpack(NULL, m->len, m->body);
	int r = g && g->n_blocks > 0 ? 0 : -EPROTO;

	if (r == 0 && g->n_blocks > w->pid_blocks) {
		w->pid_blocks = (uint32_t)g->n_blocks;
		w->pids_low = false;
	}
	for (size_t i = 0; r == 0 && i < g->n_blocks; i++) {
		int one = pid1_block(w->pid1, g->blocks[i]->first, g->blocks[i]->count);

		if (one < 0)
			log_warn("pando-init refuses pid block %d: %s", g->blocks[i]->first,
				 strerror(-one));
		else
			w->has_pids = true;
	}
	if (g)
		kernel__pids_granted__free_unpacked(g, NULL);
	return r;
}

static void on_pids(void *arg, int err, const struct rpc_msg *m)
{
	struct world *w = arg;

	w->pids_asked = false;
	if (err == 0)
		err = take_blocks(w, m);
	if (err == 0 && w->has_pids) {
		session_pids_came(w);
		return;
	}
	log_warn("no pid block from pandod: %s", strerror(err ? -err : EAGAIN));
	if (loop_timer_set(w->loop, &w->pids_again, loop_now_ns(w->loop) + PIDS_AGAIN_NS,
			   on_pids_again) != 0)
		log_error("cannot ask for pids again: out of memory");
}

void pod_want_pids(struct world *w)
{
	Kernel__PidsWanted q = KERNEL__PIDS_WANTED__INIT;
	uint8_t body[16];
	struct rpc_msg m = { .method = KERNEL_PIDS_WANTED, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(w->loop) + PIDS_WAIT_NS };
	int r;

	if (!w->pod || w->pids_asked)
		return;
	q.count = w->pids_low;
	q.have = w->pid_blocks;
	m.len = kernel__pids_wanted__pack(&q, body);
	r = rpc_request(w->pod, &m, &o, on_pids, w, NULL);
	w->pids_asked = r == 0;
	if (r != 0)
		log_warn("cannot ask pandod for pids: %s", strerror(-r));
}

static void say_ready(struct world *w)
{
	Kernel__Ready ready = KERNEL__READY__INIT;
	uint8_t body[32];
	struct rpc_msg m = { .method = KERNEL_READY, .body = body };

	ready.pid = getpid();
	ready.adopted = (uint32_t)notify_counts(w->notify).adopted;
	m.len = kernel__ready__pack(&ready, body);
	if (rpc_send(w->pod, &m) != 0)
		log_warn("cannot tell pandod that the guest kernel is ready");
}

static void on_conn(void *arg, struct rpc_conn *c, int err)
{
	struct world *w = arg;

	if (err == 0) {
		say_ready(w);
		/* What was granted stands in pando-init; a successor asks again all the same, for
		 * giving a block twice changes nothing, and one may have been granted to nobody. */
		pod_want_pids(w);
		session_tell_all(w);
		control_pod_came(w);
		return;
	}
	log_info("pandod is away");
	if (w->pod == c) {
		w->pod = NULL;
		w->pids_asked = false;
	}
}

static int connect_pod(struct world *w, int fd)
{
	struct rpc_conn *c;
	int r = rpc_conn_local(w->pod_rpc, fd, on_conn, w, &c);

	if (r == 0)
		w->pod = c;
	return r;
}

int pod_open(struct world *w, int fd)
{
	session_serve(w);
	answers_serve(w);
	return connect_pod(w, fd);
}

void pod_replace(struct world *w)
{
	int fd = pid1_get(w->pid1, INIT_KEY_POD), r;

	if (fd < 0) {
		log_warn("cannot take the connection of the new pandod: %s", strerror(-fd));
		return;
	}
	/* The next pandod uses the same key. */
	(void)pid1_drop(w->pid1, INIT_KEY_POD);
	/* The old connection ends with the old pandod: what was asked over it is then answered. */
	w->pod = NULL;
	w->pids_asked = false;
	r = connect_pod(w, fd);
	if (r != 0) {
		(void)close(fd);
		log_error("cannot use the connection of the new pandod: %s", strerror(-r));
	}
}
