/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - sealed connections to the guest kernels of this tenant on other nodes.
 *
 * pandod makes them; what goes over them is between the kernels. Whose node it is is proven by the
 * node's key, which pandod tells from naming (KERNEL_NODES).
 *
 * There is one at a time, or what is said over one would overtake what was said over another. Of
 * two that dial each other at once the smaller node's dial counts: it refuses the other's offer,
 * and that one does not use its own. Who makes one while another is up has lost that: what still
 * lies in it is not read any more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/pando-kernel/kin/deaths.h"
#include "cmd/pando-kernel/files/streams.h"
#include "cmd/pando-kernel/tty/ttys.h"
#include "kernel/kernel.pb-c.h"
#include "kernel/proc/peer.h"

#define WANT_NS       (10 * NS_PER_S)
#define AGAIN_NS      (3 * NS_PER_S)
#define LOOK_FIRST_NS (20 * NS_PER_MS)
#define LOOK_LAST_NS  (500 * NS_PER_MS)

struct peer {
	struct list link;
	struct world *w;
	node_id node;
	struct rpc_conn *conn; /* up; NULL: none is */
	epoch_t life;          /* of the node that it came up with */
	/* Shaking hands; NULL: none. */
	struct rpc_conn *dialed;
	struct rpc_conn *offered;
	bool asked; /* pandod is making one */
	struct loop_timer again;
	uint64_t again_end_ns; /* so long waits who has asked for one that they refused */
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

/*
 * That there is no connection says nothing of the other kernel: what pandod answers meanwhile (one
 * that has just begun knows no tenant yet: -ENOENT) would be taken for that kernel's own answer,
 * and a signal for delivered, a terminal for gone.
 */
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
		x->fn(x->arg, err ? -EHOSTDOWN : 0, err ? NULL : p->conn);
		free(x);
	}
}

void peers_each(struct world *w, void (*cb)(void *arg, node_id node), void *arg)
{
	struct peer *p, *tmp;

	list_for_each_safe (p, tmp, &w->peers, link)
		if (p->conn)
			cb(arg, p->node);
}

struct rpc_conn *peers_conn(struct world *w, node_id node)
{
	struct peer *p = peer_get(w, node);

	return p ? p->conn : NULL;
}

static bool is_coming(const struct peer *p)
{
	return p->dialed || p->offered || p->asked;
}

static void came_up(struct peer *p, struct rpc_conn *c)
{
	struct rpc_conn *old = p->conn;

	p->conn = c;
	p->life = rpc_conn_peer(c)->epoch;
	if (old)
		rpc_conn_break(old, "there is a newer one");
	else
		__atomic_add_fetch(&p->w->peers_up, 1, __ATOMIC_RELEASE);
	pipes_connected(p->w, p->node);
	carriers_connected(p->w, p->node);
	streams_connected(p->w, p->node);
	/* A kernel of there may have died before it said that it had passed something on. */
	deaths_seek_all(p->w, p->node);
	tell_waiting(p, 0);
}

static void went_down(struct peer *p)
{
	p->conn = NULL;
	__atomic_sub_fetch(&p->w->peers_up, 1, __ATOMIC_RELEASE);
	pipes_disconnected(p->w, p->node);
	move_disconnected(p->w, p->node);
}

static int ask_pod(struct peer *p);

static void on_dial_again(struct loop_timer *t)
{
	struct peer *p = container_of(t, struct peer, again);
	int r = p->conn || is_coming(p) ? 0 : ask_pod(p);

	if (r != 0)
		tell_waiting(p, r);
}

/* The smaller node may have refused ours for its own, which is on its way. */
static bool dial_later(struct peer *p)
{
	uint64_t now_ns = loop_now_ns(p->w->loop);

	return p->w->node > p->node && now_ns < p->again_end_ns && !list_empty(&p->waiting) &&
	       loop_timer_set(p->w->loop, &p->again, now_ns + LOOK_FIRST_NS, on_dial_again) == 0;
}

static void on_conn(void *arg, struct rpc_conn *c, int err)
{
	struct peer *p = arg;

	p->dialed = p->dialed == c ? NULL : p->dialed;
	p->offered = p->offered == c ? NULL : p->offered;
	if (err == 0) {
		came_up(p, c);
		return;
	}
	/* What was dropped for a newer one has nothing to say any more. */
	if (p->conn && p->conn != c)
		return;
	log_info("connection to node %u: %s (%s)", p->node, strerror(-err), rpc_conn_reason(c));
	if (p->conn == c)
		went_down(p);
	if (!is_coming(p) && !dial_later(p))
		tell_waiting(p, err);
	p->w->peers_look_ns = LOOK_FIRST_NS;
	peers_look(p->w);
}

static const uint8_t *node_key(const struct world *w, node_id node)
{
	const struct world_node *n = world_node(w, node);

	return n && n->has_key ? n->key : NULL;
}

/*
 * A guest kernel of our tenant, on a node whose key we have from our own pandod, in the life that
 * we know it in: what is begun with a later one before we have heard of it would end with the
 * earlier one.
 */
static int admit(void *arg, const struct rpc_peer *peer)
{
	const struct world *w = arg;
	const uint8_t *key = node_key(w, peer->node);

	if (peer->role != RPC_ROLE_KERNEL || peer->tenant != w->tenant || !key ||
	    memcmp(key, peer->key, RPC_KEY_BYTES) != 0 || peers_over(w, peer->node, peer->epoch) ||
	    peer->epoch > peers_life(w, peer->node))
		return -EACCES;
	return 0;
}

static int use_fd(struct peer *p, int fd, bool we_dial)
{
	struct rpc_conn **out = we_dial ? &p->dialed : &p->offered;
	const uint8_t *key = node_key(p->w, p->node);
	int r = p->w->has_identity && key ? 0 : -ENOKEY;

	/* Of two offers the newer one's maker has lost the other. */
	if (r == 0 && *out)
		rpc_conn_close(*out);
	if (r == 0)
		*out = NULL;
	if (r == 0)
		r = rpc_conn_sealed(p->w->peer_rpc, fd, we_dial, key, on_conn, p, out);
	if (r != 0)
		(void)close(fd);
	return r;
}

static void on_wanted(void *arg, int err, const struct rpc_msg *m)
{
	struct peer *p = arg;

	p->asked = false;
	if (err == 0 && m->fd_count != 1)
		err = -EPROTO;
	/* They have offered theirs meanwhile, which we did not refuse. */
	if (err == 0 && (p->conn || p->offered))
		(void)close(m->fds[0]);
	else if (err == 0)
		err = use_fd(p, m->fds[0], true);
	if (err != 0 && !is_coming(p) && !p->conn)
		tell_waiting(p, err);
}

static int ask_pod(struct peer *p)
{
	Kernel__PeerWanted q = KERNEL__PEER_WANTED__INIT;
	uint8_t body[16];
	struct rpc_msg m = { .method = KERNEL_PEER_WANTED, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(p->w->loop) + WANT_NS };
	int r;

	if (p->asked || p->conn || is_coming(p))
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

		if (node == w->node || w->nodes[i].dead ||
		    !(pipes_want(w, node) || remote_want(w, node) || site_want(w, node)))
			continue;
		p = peer_get(w, node);
		if (!p || p->conn)
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
	struct waiter *x = p && !p->conn ? calloc(1, sizeof(*x)) : NULL;
	int r;

	if (p && p->conn) {
		fn(arg, 0, p->conn);
		return;
	}
	if (!x) {
		fn(arg, -ENOMEM, NULL);
		return;
	}
	x->fn = fn;
	x->arg = arg;
	if (list_empty(&p->waiting))
		p->again_end_ns = loop_now_ns(w->loop) + AGAIN_NS;
	list_add_tail(&p->waiting, &x->link);
	r = ask_pod(p);
	if (r != 0)
		tell_waiting(p, r);
}

const char *peers_name(const struct world *w, node_id node)
{
	const struct world_node *n = world_node(w, node);

	return n ? n->name : "?";
}

bool peers_alive(const struct world *w, node_id node)
{
	const struct world_node *n = world_node(w, node);

	return n && n->alive && n->has_key;
}

void peers_each_other(struct world *w, void (*cb)(void *arg, node_id node), void *arg)
{
	for (size_t i = 0; i < w->node_count; i++) {
		node_id node = w->nodes[i].id;

		if (home_is_somewhere(w, node) && node != w->node && peers_alive(w, node) &&
		    !peers_conn(w, node))
			cb(arg, node);
	}
}

/* pandod's list, once there is one, has every node of the machine. */
bool peers_gone(const struct world *w, node_id node)
{
	const struct world_node *n = world_node(w, node);

	return w->node_count > 0 && (!n || n->dead);
}

epoch_t peers_life(const struct world *w, node_id node)
{
	const struct world_node *n = world_node(w, node);

	return n ? n->life : 0;
}

bool peers_over(const struct world *w, node_id node, epoch_t life)
{
	return peers_gone(w, node) || (life != 0 && life < peers_life(w, node));
}

void peers_world_lost(struct world *w, node_id node, epoch_t life)
{
	struct peer *p;

	list_for_each (p, &w->peers, link)
		if (p->node == node)
			p->life = life;
}

void peers_look_at_lives(struct world *w)
{
	struct peer *p;

	list_for_each (p, &w->peers, link)
		if (p->conn && peers_over(w, p->node, p->life))
			rpc_conn_break(p->conn, "that life of the node is over");
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

/* They dial while we do: one of the two is enough. */
static bool is_refused(struct peer *p)
{
	if (p->conn || !(p->asked || p->dialed))
		return false;
	if (p->w->node < p->node)
		return true;
	if (p->dialed)
		rpc_conn_close(p->dialed);
	p->dialed = NULL;
	return false;
}

static void on_peer_in(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__PeerIn *q = kernel__peer_in__unpack(NULL, m->len, m->body);
	struct peer *p = q ? peer_get(w, q->node) : NULL;
	int r = p && m->fd_count == 1 ? 0 : -EPROTO;

	if (r == 0 && !is_refused(p))
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
