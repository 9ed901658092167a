/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.c - bind, listen and connect as calls of the machine (ports.h).
 *
 * Two nodes may ask each other about one name at the same time. Then both would hear that nobody
 * holds it; so a node that is asking claims the name, until its caller's call is surely made, and
 * the smaller node's claim counts.
 */
#include "cmd/pando-kernel/ports/ports.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "cmd/pando-kernel/errand.h"
#include "cmd/pando-kernel/move/notes.h"
#include "kernel/host/mem.h"
#include "kernel/proc/peer.h"

#define ASK_NS      (1500 * NS_PER_MS) /* who is silent for longer holds nothing */
#define CLAIM_NS    (300 * NS_PER_MS)
#define STAND_IN_NS (5 * NS_PER_S)
#define DIAL_MAX    16 /* nodes that are connected for a question; of more only those that are */

/* One question to all other nodes: who holds this? */
struct question {
	struct list link;
	struct world *w;
	struct init_slot *slot; /* NULL: answered */
	struct port port;
	bool claims;
	bool going;     /* to the node that holds it */
	node_id holder; /* that node */
	struct list askeds;
	unsigned silent; /* nodes that have not answered; one more until all have been asked */
	unsigned refs;   /* these, and the slot or the claim */
	struct loop_timer patience;

	/* connect */
	pid_t pid;  /* the caller's leader */
	int number; /* the caller's descriptor */
	bool cloexec, nonblock;
	struct bridge *bridge;
	struct list waits; /* for a stand-in */
};

struct asked {
	struct list link;
	struct question *q;
	node_id node;
	bool says_no;
};

/* A listening socket at the address of a server that is elsewhere, while clients connect to it. */
struct stand_in {
	struct list link;
	struct world *w;
	struct port port;
	int fd; /* -1: being made */
	struct loop_fd watch;
	struct loop_timer limit;
	struct list waiting; /* questions, until it is there */
	struct list bridges; /* for those who connect */
};

struct waiting_bridge {
	struct list link;
	struct bridge *bridge;
};

static struct list stand_ins = LIST_INIT(stand_ins);
static unsigned stand_ins_count; /* atomic: the receiving thread looks at it */
static struct list questions = LIST_INIT(questions);

/* ---- questions ---- */
static void question_put(struct question *q)
{
	if (--q->refs > 0)
		return;
	loop_timer_clear(q->w->loop, &q->patience);
	while (!list_empty(&q->askeds)) {
		struct asked *a = list_front(&q->askeds, struct asked, link);

		list_del(&a->link);
		free(a);
	}
	list_del(&q->link);
	free(q);
}

/* The slot has its answer. */
static void answered(struct question *q)
{
	struct init_slot *s = q->slot;

	q->slot = NULL;
	notify_answer(q->w->notify, s);
	question_put(q);
}

static void answer_errno(struct question *q, int err)
{
	notify_set_errno(q->slot, err);
	answered(q);
}

static void answer_run(struct question *q)
{
	notify_set_run(q->slot);
	answered(q);
}

/* What the caller is told is less than its owner wants to know: `pando why` has the rest. */
static void note(struct question *q, int err, const char *nodes, const char *reason)
{
	char name[PORT_TEXT_MAX];

	port_text(&q->port, name);
	notes_add(q->w, q->pid, "connect to %s failed with %s: %s %s", name, strerrorname_np(-err),
		  nodes, reason);
}

/* The nodes that may hold it, for they have not said no: "n2, n3"; empty if all have. */
static void doubtful(const struct question *q, char *out, size_t size)
{
	const struct asked *a;
	size_t len = 0;

	*out = '\0';
	list_for_each (a, &q->askeds, link)
		if (!a->says_no && len < size)
			len += (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "",
						peers_name(q->w, a->node));
}

static void on_claim_over(struct loop_timer *t)
{
	question_put(container_of(t, struct question, patience));
}

/*
 * Nobody else holds it: the host decides. A claim stands until the call is surely made. A path may
 * be left to a host that knows another node's sockets too only if that node has said no.
 */
static void nobody(struct question *q)
{
	bool is_path = q->port.kind == PORT_PATH;
	char nodes[3 * NODE_NAME_MAX]; /* some are enough */

	doubtful(q, nodes, sizeof(nodes));
	if (*nodes && !q->claims)
		note(q, is_path ? -EHOSTUNREACH : -ECONNREFUSED, nodes,
		     "may hold it, and did not answer");
	if (*nodes && !q->claims && is_path) {
		answer_errno(q, -EHOSTUNREACH);
		return;
	}
	loop_timer_clear(q->w->loop, &q->patience);
	if (q->claims && loop_timer_set(q->w->loop, &q->patience,
					loop_now_ns(q->w->loop) + CLAIM_NS, on_claim_over) == 0)
		q->refs++;
	answer_run(q);
}

static void go_there(struct question *q, node_id node);

static void heard(struct question *q, node_id node, bool holds)
{
	q->silent--;
	if (!q->slot || q->going)
		return;
	if (holds && q->claims)
		answer_errno(q, -EADDRINUSE);
	else if (holds)
		go_there(q, node);
	else if (q->silent == 0)
		nobody(q);
}

static void on_heard(void *arg, int err, const struct rpc_msg *m)
{
	struct asked *a = arg;

	a->says_no = err == -ENOENT;
	heard(a->q, a->node, err == 0);
	question_put(a->q);
}

static void on_peer(void *arg, int err, struct rpc_conn *c)
{
	struct asked *a = arg;
	struct rpc_msg m = { .method = PEER_PORT };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(a->q->w->loop) + ASK_NS };
	uint8_t *body = NULL;

	if (err == 0 && a->q->slot)
		err = port_pack(&a->q->port, &body, &m.len);
	else if (err == 0)
		err = -ECANCELED;
	m.body = body;
	if (err == 0)
		err = rpc_request(c, &m, &o, on_heard, a, NULL);
	free(body);
	if (err != 0)
		on_heard(a, err, NULL);
}

static void on_patience(struct loop_timer *t)
{
	struct question *q = container_of(t, struct question, patience);

	if (q->slot && !q->going)
		nobody(q);
}

static bool is_asked(const struct world *w, const struct world_node *n)
{
	return n->id != w->node && n->alive && n->has_key &&
	       (w->node_count <= DIAL_MAX || peers_conn((struct world *)(uintptr_t)w, n->id));
}

static void ask_all(struct question *q)
{
	struct world *w = q->w;

	q->refs++;
	q->silent = 1; /* until all have been asked */
	if (loop_timer_set(w->loop, &q->patience, loop_now_ns(w->loop) + ASK_NS, on_patience) != 0)
		log_warn("a port may be asked about for long: out of memory");
	for (size_t i = 0; i < w->node_count; i++) {
		struct asked *a = is_asked(w, &w->nodes[i]) ? malloc(sizeof(*a)) : NULL;

		if (!a)
			continue;
		*a = (struct asked){ .q = q, .node = w->nodes[i].id };
		list_add_tail(&q->askeds, &a->link);
		q->refs++;
		q->silent++;
		peers_with(w, a->node, on_peer, a);
	}
	heard(q, NODE_NONE, false);
	question_put(q);
}

static struct question *question_new(struct world *w, struct init_slot *s, const struct port *p,
				     bool claims)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->w = w;
	q->slot = s;
	q->port = *p;
	q->claims = claims;
	q->refs = 1;
	list_init(&q->askeds);
	list_add_tail(&questions, &q->link);
	return q;
}

/* Does one of ours want it, with the better right? Else ours has lost it. */
static bool is_claimed(struct world *w, const struct port *p, node_id asker)
{
	struct question *q;
	bool ours = false;

	list_for_each (q, &questions, link) {
		if (!q->claims || q->port.kind != p->kind || q->port.port != p->port ||
		    q->port.name_len != p->name_len ||
		    memcmp(q->port.name, p->name, p->name_len) != 0)
			continue;
		if (!q->slot || w->node < asker)
			ours = true;
		else
			answer_errno(q, -EADDRINUSE);
	}
	return ours;
}

static void on_port(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Peer__Port *x = peer__port__unpack(NULL, m->len, m->body);
	struct port p;
	int r = x ? port_from(x, &p) : -EPROTO;

	if (r == 0 && !ports_serve(w, &p) && !is_claimed(w, &p, rpc_conn_peer(c)->node))
		r = -ENOENT;
	answers_reply(call, r, NULL);
	if (x)
		peer__port__free_unpacked(x, NULL);
}

/* ---- a connect that goes elsewhere ---- */
static void connect_failed(struct question *q, int err, const char *why)
{
	note(q, err, peers_name(q->w, q->holder), why);
	if (q->bridge)
		bridge_drop(q->bridge);
	q->bridge = NULL;
	answer_errno(q, err);
}

static struct stand_in *stand_in_find(const struct port *p)
{
	struct stand_in *s;

	list_for_each (s, &stand_ins, link)
		if (p->family != AF_UNIX && s->port.port == p->port)
			return s;
	return NULL;
}

bool ports_serve(struct world *w, const struct port *p)
{
	return !stand_in_find(p) && port_held(p);
}

static void stand_in_end(struct stand_in *s)
{
	loop_timer_clear(s->w->loop, &s->limit);
	if (s->fd >= 0) {
		loop_fd_del(s->w->loop, &s->watch);
		(void)close(s->fd);
	}
	while (!list_empty(&s->bridges)) {
		struct waiting_bridge *x = list_front(&s->bridges, struct waiting_bridge, link);

		list_del(&x->link);
		bridge_drop(x->bridge);
		free(x);
	}
	list_del(&s->link);
	__atomic_sub_fetch(&stand_ins_count, 1, __ATOMIC_RELEASE);
	free(s);
}

static void on_client(struct loop_fd *fd, short revents)
{
	struct stand_in *s = container_of(fd, struct stand_in, watch);
	struct waiting_bridge *x;
	int got;

	while (!list_empty(&s->bridges)) {
		got = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (got < 0)
			return;
		x = list_front(&s->bridges, struct waiting_bridge, link);
		list_del(&x->link);
		bridge_join(x->bridge, got);
		free(x);
	}
	stand_in_end(s);
}

/* Clients have died, or have thought better of it. */
static void on_limit(struct loop_timer *t)
{
	struct stand_in *s = container_of(t, struct stand_in, limit);

	if (s->fd >= 0)
		stand_in_end(s);
}

/* The caller's own connect meets the stand-in, and gets this bridge or one that is as good. */
static void meet(struct stand_in *s, struct question *q)
{
	struct waiting_bridge *x = malloc(sizeof(*x));

	if (!x || loop_timer_set(s->w->loop, &s->limit, loop_now_ns(s->w->loop) + STAND_IN_NS,
				 on_limit) != 0) {
		free(x);
		connect_failed(q, -ENOBUFS, "holds it; out of memory");
		return;
	}
	x->bridge = q->bridge;
	q->bridge = NULL;
	list_add_tail(&s->bridges, &x->link);
	answer_run(q);
}

static void on_stand_in(void *arg, int err, const int fds[2])
{
	struct stand_in *s = arg;

	if (err == 0 && fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0)
		err = -errno;
	if (err == 0)
		err = loop_fd_add(s->w->loop, &s->watch, fds[0], POLLIN, on_client);
	if (err == 0)
		s->fd = fds[0];
	else if (fds[0] >= 0)
		(void)close(fds[0]);
	if (err != 0)
		log_info("port %u of another node: no stand-in: %s", s->port.port, strerror(-err));
	while (!list_empty(&s->waiting)) {
		struct question *q = list_front(&s->waiting, struct question, waits);

		list_del(&q->waits);
		if (err == 0)
			meet(s, q);
		else
			connect_failed(q, -EHOSTUNREACH,
				       "holds it, and nothing can stand in for it here");
	}
	if (list_empty(&s->bridges))
		stand_in_end(s);
}

static struct stand_in *make_stand_in(struct world *w, const struct port *p,
				      struct stub_table **table)
{
	struct stub_table *t = *table = zygote_table();
	struct stand_in *s = t ? calloc(1, sizeof(*s)) : NULL;
	struct sockaddr_storage at;
	socklen_t len = port_sockaddr(p, &at);
	const int one = 1;

	if (!s) {
		free(t);
		return NULL;
	}
	s->w = w;
	s->port = *p;
	s->fd = -1;
	list_init(&s->waiting);
	list_init(&s->bridges);
	list_add_tail(&stand_ins, &s->link);
	__atomic_add_fetch(&stand_ins_count, 1, __ATOMIC_RELEASE);
	STUB_CALL(t, SYS_socket, (uint64_t)p->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	STUB_CALL(t, SYS_setsockopt, 0, SOL_SOCKET, SO_REUSEADDR,
		  stub_table_bytes(t, &one, sizeof(one)), sizeof(one));
	STUB_CALL(t, SYS_bind, 0, stub_table_bytes(t, &at, len), len);
	STUB_CALL(t, SYS_listen, 0, 64);
	return s;
}

static void stand_in(struct question *q)
{
	struct stand_in *s = stand_in_find(&q->port);
	struct stub_table *t;

	if (s && s->fd >= 0) {
		meet(s, q);
		return;
	}
	if (s) {
		list_add_tail(&s->waiting, &q->waits);
		return;
	}
	s = make_stand_in(q->w, &q->port, &t);
	if (!s) {
		connect_failed(q, -ENOBUFS, "holds it; out of memory");
		return;
	}
	list_add_tail(&s->waiting, &q->waits);
	zygote_ask(q->w, t, 1, on_stand_in, s);
}

static void on_pair(void *arg, int err, const int fds[2])
{
	struct question *q = arg;

	if (err == 0 && q->nonblock && fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0)
		err = -errno;
	if (err == 0)
		err = notify_add_fd(q->w->notify, q->slot, fds[0], (unsigned)q->number, q->cloexec);
	if (fds[0] >= 0)
		(void)close(fds[0]);
	if (err != 0) {
		if (fds[1] >= 0)
			(void)close(fds[1]);
		connect_failed(q, -EHOSTUNREACH, "holds it, and no socket pair could be made");
		return;
	}
	bridge_join(q->bridge, fds[1]);
	q->bridge = NULL;
	notify_set_value(q->slot, 0);
	answered(q);
}

static void make_pair(struct question *q)
{
	struct stub_table *t = zygote_table();
	const int none[2] = { -1, -1 };

	if (t)
		STUB_CALL(t, SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
			  stub_table_bytes(t, none, sizeof(none)));
	zygote_ask(q->w, t, 2, on_pair, q);
}

static void on_dialled(void *arg, int err)
{
	struct question *q = arg;

	if (err != 0) {
		q->bridge = NULL; /* it drops itself */
		connect_failed(q, err == -EPIPE || err == -ECONNRESET ? -ECONNREFUSED : err,
			       "holds it, and could not connect to it");
		return;
	}
	if (q->port.family == AF_UNIX)
		make_pair(q);
	else
		stand_in(q);
}

static void go_there(struct question *q, node_id node)
{
	struct rpc_conn *c = peers_conn(q->w, node);

	q->going = true;
	q->holder = node;
	loop_timer_clear(q->w->loop, &q->patience);
	if (!c || bridge_dial(q->w, c, &q->port, on_dialled, q, &q->bridge) != 0)
		connect_failed(q, -EHOSTUNREACH, "holds it, and is not connected");
}

/* ---- calls ---- */
/* The leader of the caller's threads; -1: it is gone. */
static pid_t caller_leader(struct world *w, const struct notify_call *c)
{
	char text[4096];
	ssize_t n = task_file(w->view.procfs, (pid_t)c->pid, "status", text, sizeof(text));
	const char *at = n > 0 ? strstr(text, "\nTgid:") : NULL;

	return at ? (pid_t)strtol(at + 6, NULL, 10) : -1;
}

/* A copy of the socket @number of @leader; -errno. */
static int caller_socket(pid_t leader, int number)
{
	cleanup_close int pidfd = leader > 0 ? task_pidfd(leader) : -1;
	int fd;

	if (pidfd < 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	return fd < 0 ? -errno : fd;
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

static int read_address(const struct notify_call *c, uint8_t bytes[128], size_t *len)
{
	*len = (size_t)(uint32_t)c->args[2];
	if (*len < sizeof(sa_family_t) || *len > 128)
		return -EINVAL;
	return mem_read((pid_t)c->pid, c->args[1], bytes, *len);
}

bool ports_concern(struct world *w, const struct init_slot *s)
{
	const struct notify_call *c = notify_call(s);
	uint8_t bytes[128] = { 0 };
	struct port p;
	size_t len;

	if (w->node_count < 2 || !w->has_identity)
		return false;
	if (c->nr == SYS_listen)
		return true;
	if (read_address(c, bytes, &len) != 0)
		return false;
	if (port_parse(w, (pid_t)c->pid, bytes, len, false, &p) != 0)
		return false;
	/* What is connected to on this node never waits for the loop. */
	return c->nr != SYS_connect || __atomic_load_n(&stand_ins_count, __ATOMIC_ACQUIRE) != 0 ||
	       !port_held(&p);
}

static bool is_cloexec(struct world *w, pid_t pid, int number)
{
	char name[32], text[1024];
	const char *at = NULL;

	(void)snprintf(name, sizeof(name), "fdinfo/%d", number);
	if (task_file(w->view.procfs, pid, name, text, sizeof(text)) > 0)
		at = strstr(text, "flags:");
	return at && (strtoul(at + 6, NULL, 8) & O_CLOEXEC);
}

/* The name that a call is about. -EINVAL: no other node has to do with it. */
static int name_of(struct world *w, const struct notify_call *c, int fd, struct port *p)
{
	struct sockaddr_storage own = { 0 };
	socklen_t own_len = sizeof(own);
	uint8_t bytes[128] = { 0 };
	size_t len;
	int type = option(fd, SO_TYPE), r;

	if (c->nr == SYS_listen) {
		if (getsockname(fd, (void *)&own, &own_len) != 0)
			return -errno;
		return port_parse(w, (pid_t)c->pid, &own, own_len, false, p);
	}
	r = read_address(c, bytes, &len);
	if (r == 0)
		r = port_parse(w, (pid_t)c->pid, bytes, len, type == SOCK_DGRAM, p);
	if (r == 0 && type != SOCK_STREAM && (type != SOCK_DGRAM || c->nr == SYS_connect))
		r = -EINVAL;
	return r;
}

/* A connect that the host would refuse, to what another node may hold. */
static bool goes_out(struct world *w, int fd, const struct port *p)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	return getpeername(fd, (void *)&peer, &len) != 0 && !ports_serve(w, p);
}

void ports_call(struct world *w, struct init_slot *s)
{
	const struct notify_call *c = notify_call(s);
	bool ours = stubs_find_node_pid(w->stubs, (pid_t)c->pid) != NULL;
	pid_t leader = ours ? -1 : caller_leader(w, c);
	cleanup_close int fd = caller_socket(leader, (int)c->args[0]);
	struct question *q = NULL;
	struct port p = { 0 };
	bool asks = fd >= 0 && name_of(w, c, fd, &p) == 0 && notify_valid(w->notify, s);

	/* A path is bound where its file is: that is one for all nodes. */
	if (asks && c->nr != SYS_connect)
		asks = p.kind != PORT_PATH;
	else if (asks)
		asks = goes_out(w, fd, &p);
	if (asks)
		q = question_new(w, s, &p, c->nr != SYS_connect);
	if (!q) {
		notify_set_run(s);
		notify_answer(w->notify, s);
		return;
	}
	q->pid = leader;
	q->number = (int)c->args[0];
	q->nonblock = fcntl(fd, F_GETFL) & O_NONBLOCK;
	q->cloexec = is_cloexec(w, (pid_t)c->pid, q->number);
	ask_all(q);
}

int ports_open(struct world *w)
{
	list_init(&questions);
	list_init(&stand_ins);
	rpc_serve(w->peer_rpc, PEER_PORT, on_port, w);
	if (port_open(w) != 0)
		log_warn("the tables of sockets cannot be read: ports are looked for elsewhere "
			 "only");
	return bridge_open(w);
}
