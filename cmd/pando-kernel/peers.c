/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - sealed connections to the guest kernels of this tenant on other nodes.
 *
 * pandod makes them; what goes over them is between the kernels. Whose node it is is proven by the
 * node's key, which pandod tells from naming (KERNEL_NODES).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pando-kernel/streams.h"
#include "cmd/pando-kernel/ttys.h"
#include "kernel/kernel.pb-c.h"
#include "kernel/proc/peer.h"

#define WANT_NS       (10 * NS_PER_S)
#define LOOK_FIRST_NS (20 * NS_PER_MS)
#define LOOK_LAST_NS  (500 * NS_PER_MS)

struct peer {
	struct list link;
	struct world *w;
	node_id node;
	struct rpc_conn *conn; /* NULL, or up or shaking hands */
	bool up;
	bool asked;
	struct list waiting;
};

struct waiter {
	struct list link;
	peers_fn fn;
	void *arg;
};

static struct peer *peer_get(struct world *w, node_id node)
{
	struct peer *p;

	list_for_each (p, &w->peers, link)
		if (p->node == node)
			return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->w = w;
	p->node = node;
	list_init(&p->waiting);
	list_add_tail(&w->peers, &p->link);
	return p;
}

static void tell_waiting(struct peer *p, int err)
{
	struct list now = LIST_INIT(now);

	while (!list_empty(&p->waiting)) {
		struct waiter *x = list_front(&p->waiting, struct waiter, link);

		list_del(&x->link);
		list_add_tail(&now, &x->link);
	}
	while (!list_empty(&now)) {
		struct waiter *x = list_front(&now, struct waiter, link);

		list_del(&x->link);
		x->fn(x->arg, err, err ? NULL : p->conn);
		free(x);
	}
}

void peers_each(struct world *w, void (*cb)(void *arg, node_id node), void *arg)
{
	struct peer *p, *tmp;

	list_for_each_safe (p, tmp, &w->peers, link)
		if (p->up)
			cb(arg, p->node);
}

struct rpc_conn *peers_conn(struct world *w, node_id node)
{
	struct peer *p = peer_get(w, node);

	return p && p->up ? p->conn : NULL;
}

static void on_conn(void *arg, struct rpc_conn *c, int err)
{
	struct peer *p = arg;

	if (err == 0) {
		/* The newest: who makes one has lost the others. An older one that is not lost
		 * (both have dialled) serves all the same, until the other end drops it. */
		p->conn = c;
		if (!p->up)
			__atomic_add_fetch(&p->w->peers_up, 1, __ATOMIC_RELEASE);
		p->up = true;
		pipes_connected(p->w, p->node);
		carriers_connected(p->w, p->node);
		streams_connected(p->w, p->node);
		tell_waiting(p, 0);
		return;
	}
	if (p->conn != c)
		return;
	log_info("connection to node %u: %s (%s)", p->node, strerror(-err), rpc_conn_reason(c));
	p->conn = NULL;
	if (p->up)
		__atomic_sub_fetch(&p->w->peers_up, 1, __ATOMIC_RELEASE);
	p->up = false;
	pipes_disconnected(p->w, p->node);
	move_disconnected(p->w, p->node);
	tell_waiting(p, err);
	p->w->peers_look_ns = LOOK_FIRST_NS;
	peers_look(p->w);
}

static const uint8_t *node_key(const struct world *w, node_id node)
{
	for (size_t i = 0; i < w->node_count; i++)
		if (w->nodes[i].id == node && w->nodes[i].has_key)
			return w->nodes[i].key;
	return NULL;
}

/* A guest kernel of our tenant, on a node whose key we have from our own pandod. */
static int admit(void *arg, const struct rpc_peer *peer)
{
	const struct world *w = arg;
	const uint8_t *key = node_key(w, peer->node);

	if (peer->role != RPC_ROLE_KERNEL || peer->tenant != w->tenant || !key ||
	    memcmp(key, peer->key, RPC_KEY_BYTES) != 0)
		return -EACCES;
	return 0;
}

static int use_fd(struct peer *p, int fd, bool we_dial)
{
	struct rpc_conn *c;
	const uint8_t *key = node_key(p->w, p->node);
	int r = p->w->has_identity && key ? 0 : -ENOKEY;

	if (r == 0)
		r = rpc_conn_sealed(p->w->peer_rpc, fd, we_dial, key, on_conn, p, &c);
	if (r != 0)
		(void)close(fd);
	else if (!p->conn)
		p->conn = c;
	return r;
}

static void on_wanted(void *arg, int err, const struct rpc_msg *m)
{
	struct peer *p = arg;

	p->asked = false;
	if (err == 0 && m->fd_count != 1)
		err = -EPROTO;
	if (err == 0)
		err = use_fd(p, m->fds[0], true);
	if (err != 0)
		tell_waiting(p, err);
}

static int ask_pod(struct peer *p)
{
	Kernel__PeerWanted q = KERNEL__PEER_WANTED__INIT;
	uint8_t body[16];
	struct rpc_msg m = { .method = KERNEL_PEER_WANTED, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(p->w->loop) + WANT_NS };
	int r;

	if (p->asked || p->conn)
		return 0;
	if (!p->w->pod)
		return -ENOTCONN;
	q.node = p->node;
	m.len = kernel__peer_wanted__pack(&q, body);
	r = rpc_request(p->w->pod, &m, &o, on_wanted, p, NULL);
	p->asked = r == 0;
	return r;
}

static void on_look(struct loop_timer *t)
{
	peers_look(container_of(t, struct world, peers_again));
}

/* Whoever has something for a node and is not connected with it dials, ever more rarely. */
void peers_look(struct world *w)
{
	bool missing = false;

	for (size_t i = 0; i < w->node_count; i++) {
		node_id node = w->nodes[i].id;
		struct peer *p;

		if (node == w->node ||
		    !(pipes_want(w, node) || remote_want(w, node) || site_want(w, node)))
			continue;
		p = peer_get(w, node);
		if (!p || p->up)
			continue;
		missing = true;
		if (w->has_identity && ask_pod(p) != 0)
			log_debug("node %u cannot be asked for yet", node);
	}
	if (!missing || w->peers_again.heap_index != 0)
		return;
	w->peers_look_ns = MIN(MAX(w->peers_look_ns * 2, LOOK_FIRST_NS), LOOK_LAST_NS);
	if (loop_timer_set(w->loop, &w->peers_again, loop_now_ns(w->loop) + w->peers_look_ns,
			   on_look) != 0)
		log_error("cannot wait: out of memory");
}

void peers_with(struct world *w, node_id node, peers_fn fn, void *arg)
{
	struct peer *p = peer_get(w, node);
	struct waiter *x = p && !p->up ? calloc(1, sizeof(*x)) : NULL;
	int r;

	if (p && p->up) {
		fn(arg, 0, p->conn);
		return;
	}
	if (!x) {
		fn(arg, -ENOMEM, NULL);
		return;
	}
	x->fn = fn;
	x->arg = arg;
	list_add_tail(&p->waiting, &x->link);
	r = ask_pod(p);
	if (r != 0)
		tell_waiting(p, r);
}

/* pandod's list, once there is one, has every node that is not dead for the machine. */
bool peers_gone(const struct world *w, node_id node)
{
	for (size_t i = 0; i < w->node_count; i++)
		if (w->nodes[i].id == node)
			return false;
	return w->node_count > 0;
}

static void on_identity(void *arg, struct rpc_conn *c, struct rpc_call *call,
			const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__Identity *q = kernel__identity__unpack(NULL, m->len, m->body);
	struct rpc_keys keys;
	struct rpc_cert cert;
	bool ok = q && q->secret.len == sizeof(keys) && q->certificate.len == sizeof(cert);

	if (ok) {
		memcpy(&keys, q->secret.data, sizeof(keys));
		memcpy(&cert, q->certificate.data, sizeof(cert));
		rpc_identity_kernel(&w->identity, &cert, &keys);
		w->has_identity = true;
		rpc_set_identity(w->peer_rpc, &w->identity, admit, w);
	}
	answers_reply(call, ok ? 0 : -EPROTO, NULL);
	if (q)
		kernel__identity__free_unpacked(q, NULL);
}

static void on_peer_in(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__PeerIn *q = kernel__peer_in__unpack(NULL, m->len, m->body);
	struct peer *p = q ? peer_get(w, q->node) : NULL;
	int r = p && m->fd_count == 1 ? 0 : -EPROTO;

	if (r == 0)
		r = use_fd(p, m->fds[0], false);
	else
		for (unsigned i = 0; i < m->fd_count; i++)
			(void)close(m->fds[i]);
	answers_reply(call, r, NULL);
	if (q)
		kernel__peer_in__free_unpacked(q, NULL);
}

int peers_open(struct world *w)
{
	int r = rpc_new(&w->peer_rpc, w->loop, NULL);

	if (r != 0)
		return r;
	rpc_serve(w->pod_rpc, KERNEL_IDENTITY, on_identity, w);
	rpc_serve(w->pod_rpc, KERNEL_PEER_IN, on_peer_in, w);
	return 0;
}
