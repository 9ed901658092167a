/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - connections to the other nodes: naming's messages, gossip, leases, loads, requests.
 *
 * Of two nodes the one with the smaller id dials; the other waits, but not for long, for its former
 * life may be what is connected. The newest connection is used. One over which nothing comes is
 * dropped, since the other end may be a life that is over, which a network tells late. Something is
 * placed only on who tells its load.
 */
#include "cmd/pandod/node/peers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/pod.pb-c.h"
#include "kernel/sched/sched.h"

enum { PEERS_MAX = 256 };
#define LEFT_PATIENCE_NS (5 * NS_PER_S) /* then we hang up on a node that left */
#define LONELY_NS        (1 * NS_PER_S) /* without a connection we dial, whose turn it ever is */
#define DEAF_NS          (6 * NS_PER_S) /* a connection over which nothing came is no good */

struct peer {
	struct list link;
	struct pod *pod;
	node_id id;
	epoch_t life;         /* as the tables say */
	struct rpc_conn *out; /* that we dial, or NULL */
	struct rpc_conn *in;  /* that it dialled, or NULL */
	bool in_is_newer;
	uint64_t tried_ns; /* when a connection came, went, or could not be made */
	struct peer_load load;
	uint64_t heard_ns;
	uint32_t placed_milli; /* by us, what its reports do not tell yet */
	uint64_t left_ns;      /* when we heard that it left; 0: it did not */
};

struct peers {
	struct pod *pod;
	struct rpc *rpc; /* sealed; NULL until we are a member */
	struct list all;
	struct loop_timer tick;
	struct peer_load own;
	uint32_t own_placed_milli;
	uint64_t since_ns; /* when this daemon began to listen */
};

static struct peer *find(const struct pod *p, node_id id)
{
	struct peer *x;

	list_for_each (x, &p->peers->all, link) {
		if (x->id == id)
			return x;
	}
	return NULL;
}

static struct rpc_conn *usable(const struct peer *x)
{
	struct rpc_conn *out = x->out != NULL && rpc_conn_is_up(x->out) ? x->out : NULL;
	struct rpc_conn *in = x->in != NULL && rpc_conn_is_up(x->in) ? x->in : NULL;

	return in != NULL && (x->in_is_newer || out == NULL) ? in : out;
}

/* ---- who may come in ---- */
/* Its token may be used up by its own admission, of which it does not know: see NODE_JOIN. */
static bool joiner_known(const struct naming_core *k, const struct rpc_peer *peer)
{
	const struct naming_token *t = naming_token_find(k, peer->token);
	const struct naming_node *n;

	if (t != NULL && t->uses_left > 0)
		return true;
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++)
		if (n->state == NAMING_NODE_JOINED &&
		    memcmp(n->key, peer->key, sizeof(n->key)) == 0)
			return true;
	return false;
}

static int admit(void *arg, const struct rpc_peer *peer)
{
	struct pod *p = arg;
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *n;
	uint8_t key[NAMING_KEY_BYTES];
	char addr[NAMING_ADDR_MAX];

	if (peer->role == RPC_ROLE_JOINER)
		return joiner_known(k, peer) ? 0 : -EACCES;
	if (peer->role != RPC_ROLE_NODE)
		return -EACCES;
	n = naming_node_find(k, peer->node);
	if (n != NULL && n->state == NAMING_NODE_LEFT)
		return -EACCES;
	/* While our tables are empty the ticket tells who the voters are. */
	if (member_peer(p, peer->node, addr, key) < 0)
		return -EACCES;
	return memcmp(key, peer->key, sizeof(key)) == 0 ? 0 : -EACCES;
}

static void in_changed(void *arg, struct rpc_conn *c, int err)
{
	struct pod *p = arg;
	const struct rpc_peer *who = rpc_conn_peer(c);
	struct peer *x = who->role == RPC_ROLE_NODE ? find(p, who->node) : NULL;

	if (err == 0 && who->role == RPC_ROLE_NODE && x == NULL) {
		peers_sync(p);
		x = find(p, who->node);
	}
	if (x == NULL)
		return;
	x->tried_ns = clock_mono_ns();
	if (err == 0) {
		x->in = c;
		x->in_is_newer = true;
	} else if (x->in == c)
		x->in = NULL;
}

static void out_changed(void *arg, struct rpc_conn *c, int err)
{
	struct peer *x = arg;

	x->tried_ns = clock_mono_ns();
	if (err == 0)
		x->in_is_newer = false;
	if (err == 0 || err == -EAGAIN || x->out != c)
		return;
	log_warn("the connection to node %u is gone: %s", x->id,
		 *rpc_conn_reason(c) ? rpc_conn_reason(c) : strerror(-err));
	x->out = NULL;
}

/* ---- the set of peers ---- */
static void peer_dial(struct peer *x)
{
	struct pod *p = x->pod;
	char addr[NAMING_ADDR_MAX];
	uint8_t key[NAMING_KEY_BYTES];
	int r;

	if (x->out != NULL || usable(x) != NULL || p->peers->rpc == NULL ||
	    (x->id < naming_self(p->naming) && clock_mono_ns() - x->tried_ns < LONELY_NS) ||
	    member_peer(p, x->id, addr, key) < 0)
		return;
	r = rpc_dial(p->peers->rpc, "tcp", addr, key, out_changed, x, &x->out);
	if (r < 0)
		log_warn("cannot dial node %u at %s: %s", x->id, addr, strerror(-r));
}

static void peer_add(struct pod *p, node_id id)
{
	struct peer *x = find(p, id);

	if (x == NULL) {
		x = calloc(1, sizeof(*x));
		CHECK(x != NULL);
		x->pod = p;
		x->id = id;
		x->tried_ns = clock_mono_ns();
		list_add_tail(&p->peers->all, &x->link);
	}
	peer_dial(x);
}

/* Whoever waits for an answer over them is told. */
static void begin_anew(struct peer *x)
{
	static const char why[] = "nothing comes over it";

	if (x->out != NULL && rpc_conn_is_up(x->out))
		rpc_conn_break(x->out, why);
	if (x->in != NULL && rpc_conn_is_up(x->in))
		rpc_conn_break(x->in, why);
	x->tried_ns = clock_mono_ns();
}

static void peer_drop(struct peer *x)
{
	if (x->out != NULL)
		rpc_conn_close(x->out);
	if (x->in != NULL)
		rpc_conn_close(x->in);
	list_del(&x->link);
	free(x);
}

void peers_sync(struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	node_id self = naming_self(p->naming);
	const struct naming_node *n;
	struct naming_status s;
	struct peer *x, *next;

	if (p->peers == NULL || self == NODE_NONE)
		return;
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		if (n->id == self || n->state == NAMING_NODE_LEFT)
			continue;
		peer_add(p, n->id);
		x = find(p, n->id);
		/* What it said before it said in another life. */
		if (x->life != n->epoch)
			x->heard_ns = 0;
		x->life = n->epoch;
	}
	/* Just joined or restarted, the tables are empty: the ticket and our memory name the
	 * others. */
	for (size_t i = 0; naming_node_at(k, 0) == NULL && i < p->member->hint_count; i++)
		if (p->member->hints[i].id != self)
			peer_add(p, p->member->hints[i].id);
	naming_status(p->naming, &s);
	for (unsigned i = 0; i < s.voters; i++)
		if (s.voter[i] != self && s.voter[i] != NODE_NONE)
			peer_add(p, s.voter[i]);
	list_for_each_safe (x, next, &p->peers->all, link) {
		n = naming_node_find(k, x->id);
		if (n == NULL || n->state != NAMING_NODE_LEFT)
			continue;
		/* It waits for just this news, which has to get there first. */
		if (x->left_ns == 0)
			x->left_ns = clock_mono_ns();
		else if (clock_mono_ns() - x->left_ns > LEFT_PATIENCE_NS)
			peer_drop(x);
	}
}

/* ---- one-way messages ---- */
void peers_say(struct pod *p, node_id to, const struct rpc_msg *m)
{
	struct peer *x = p->peers ? find(p, to) : NULL;
	struct rpc_conn *c = x ? usable(x) : NULL;

	if (c != NULL && rpc_send(c, m) < 0)
		log_debug("a message to node %u was dropped", to);
}

static void on_naming(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct pod *p = arg;

	naming_input(p->naming, rpc_conn_peer(c)->node, m->body, m->len);
	if (call != NULL && rpc_reply(call, 0, NULL) < 0)
		log_debug("a reply was lost");
}

/* ---- loads ---- */
/* Is the task running or waiting for a CPU, a throttled one included? */
static bool is_runnable(const char *tid)
{
	char path[48], text[512];
	const char *paren;
	cleanup_close int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	/* The name may hold anything: the state stands behind its last parenthesis. */
	paren = strrchr(text, ')');
	return paren != NULL && strncmp(paren, ") R", 3) == 0;
}

/* Runnable tasks of one tenant here; a crowd is not counted to its end. */
static unsigned runnable_of(const struct world *w)
{
	char group[CGROUP_PATH_MAX], text[8192];
	cleanup_close int fd = -1;
	unsigned n = 0;
	ssize_t len;

	if (w->t == NULL)
		return 0;
	(void)snprintf(group, sizeof(group), "%.230s/guests/run", w->t->cgroup);
	fd = cgroup_open(w->pod->cgroups, group, "", "cgroup.threads", O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (len <= 0)
		return 0;
	text[len] = '\0';
	for (char *save, *tid = strtok_r(text, "\n", &save); tid; tid = strtok_r(NULL, "\n", &save))
		n += is_runnable(tid);
	return n;
}

static void measure(struct pod *p)
{
	struct peers *ps = p->peers;
	struct world *w;
	struct sysinfo si;
	unsigned runnable = 0;

	ps->own.alive = true;
	ps->own.cpu_milli = p->args->cpu_milli ? p->args->cpu_milli
					       : (uint32_t)sysconf(_SC_NPROCESSORS_ONLN) * 1000;
	if (sysinfo(&si) == 0) {
		ps->own.memory_bytes = (uint64_t)si.totalram * si.mem_unit;
		ps->own.free_bytes = (uint64_t)(si.freeram + si.bufferram) * si.mem_unit;
	}
	list_for_each (w, &p->worlds, link)
		runnable += runnable_of(w);
	ps->own.load_milli = sched_mean(ps->own.load_milli, runnable * 1000);
	ps->own_placed_milli = 0;
}

static void tell_load(struct pod *p)
{
	const struct naming_node *n =
		naming_node_find(naming_tables(p->naming), naming_self(p->naming));
	Pod__Load l = POD__LOAD__INIT;
	uint8_t body[64];
	struct rpc_msg m = { .method = POD_LOAD, .body = body };
	struct peer *x;

	l.cpu_milli = p->peers->own.cpu_milli;
	l.load_milli = p->peers->own.load_milli;
	l.memory_bytes = p->peers->own.memory_bytes;
	l.free_bytes = p->peers->own.free_bytes;
	l.epoch = n ? n->epoch : 0;
	m.len = pod__load__pack(&l, body);
	list_for_each (x, &p->peers->all, link) {
		struct rpc_conn *c = usable(x);

		if (c != NULL && rpc_send(c, &m) < 0)
			log_debug("node %u was not told our load", x->id);
		if (c == NULL)
			peer_dial(x);
	}
}

void peers_tell(struct pod *p, const struct rpc_msg *m)
{
	struct peer *x;

	list_for_each (x, &p->peers->all, link) {
		struct rpc_conn *c = usable(x);

		if (c != NULL && rpc_send(c, m) < 0)
			log_debug("node %u was not told", x->id);
	}
}

static void on_gossip(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	gossip_heard(arg, rpc_conn_peer(c)->node, m->body, m->len);
	if (call != NULL && rpc_reply(call, 0, NULL) < 0)
		log_debug("a reply was lost");
}

static void on_lease(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	life_heard(arg, rpc_conn_peer(c)->node, m->body, m->len);
	if (call != NULL && rpc_reply(call, 0, NULL) < 0)
		log_debug("a reply was lost");
}

static void on_use(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	quota_heard(arg, rpc_conn_peer(c)->node, m->body, m->len);
	if (call != NULL && rpc_reply(call, 0, NULL) < 0)
		log_debug("a reply was lost");
}

static void on_sched(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	(void)c;
	(void)m;
	if (call != NULL)
		balance_answer(arg, call);
}

static void on_usage(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	(void)c;
	if (call != NULL)
		usage_answer(arg, call, m->body, m->len);
}

static void check_alive(struct pod *p)
{
	uint64_t now = clock_mono_ns();
	bool changed = false;
	struct peer *x;

	list_for_each (x, &p->peers->all, link) {
		bool alive = now - x->heard_ns < POD_SILENT_MS * NS_PER_MS;

		changed = changed || alive != x->load.alive;
		x->load.alive = alive;
		if (usable(x) != NULL && now - MAX(x->heard_ns, x->tried_ns) > DEAF_NS)
			begin_anew(x);
	}
	if (changed)
		api_changed(p);
}

static void tick(struct loop_timer *t)
{
	struct peers *ps = container_of(t, struct peers, tick);
	struct pod *p = ps->pod;

	measure(p);
	if (ps->rpc != NULL) {
		tell_load(p);
		check_alive(p);
	}
	kern_tell_nodes(p);
	peers_sync(p);
	CHECK(loop_timer_set(p->loop, t, clock_mono_ns() + POD_LOAD_MS * NS_PER_MS, tick) == 0);
}

static void on_load(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct pod *p = arg;
	struct peer *x = find(p, rpc_conn_peer(c)->node);
	Pod__Load *l = pod__load__unpack(NULL, m->len, m->body);

	if (l != NULL && x != NULL) {
		bool fresh = !x->load.alive;

		x->load = (struct peer_load){ true, l->cpu_milli, l->load_milli, l->memory_bytes,
					      l->free_bytes };
		x->heard_ns = clock_mono_ns();
		x->placed_milli = sched_untold(x->placed_milli);
		if (fresh) {
			kern_tell_nodes(p);
			api_changed(p);
		}
	}
	pod__load__free_unpacked(l, NULL);
	if (call != NULL && rpc_reply(call, 0, NULL) < 0)
		log_debug("a reply was lost");
}

void peers_load(const struct pod *p, node_id id, struct peer_load *out)
{
	const struct peer *x = p->peers ? find(p, id) : NULL;

	if (p->peers != NULL && id == naming_self(p->naming))
		*out = p->peers->own;
	else if (x != NULL)
		*out = x->load;
	else
		memset(out, 0, sizeof(*out));
}

bool peers_unheard(const struct pod *p, node_id id)
{
	const struct peer *x = p->peers ? find(p, id) : NULL;

	return x != NULL && x->heard_ns == 0 &&
	       clock_mono_ns() - p->peers->since_ns < POD_SILENT_MS * NS_PER_MS;
}

unsigned peers_vector(const struct pod *p, struct sched_node *out, unsigned max)
{
	const struct naming_core *k = naming_tables(p->naming);
	node_id self = naming_self(p->naming);
	const struct naming_node *n;
	unsigned count = 0;

	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL && count < max; i++) {
		const struct peer *x = find(p, n->id);
		struct peer_load l;

		peers_load(p, n->id, &l);
		out[count++] = (struct sched_node){
			.id = n->id,
			.closed = !l.alive || n->down || n->state != NAMING_NODE_JOINED ||
				  n->drain != NAMING_OPEN,
			.cpu_milli = l.cpu_milli,
			.load_milli = l.load_milli,
			.placed_milli = n->id == self ? p->peers->own_placed_milli
					: x           ? x->placed_milli
						      : 0,
			.mem_bytes = l.memory_bytes,
			.mem_free_bytes = l.free_bytes,
		};
	}
	return count;
}

node_id peers_place(struct pod *p, node_id here, const char **why)
{
	node_id self = naming_self(p->naming);
	struct sched_node nodes[PEERS_MAX];
	struct sched_request rq = { .here = here, .cpu_milli = 1000 };
	struct sched_pick pick;
	unsigned count = peers_vector(p, nodes, PEERS_MAX);

	if (count == 0 ||
	    sched_place(SCHED_HERE_FIRST, nodes, count, &rq, rand_next(&p->rand), &pick) < 0)
		return here;
	if (pick.node == self)
		p->peers->own_placed_milli += rq.cpu_milli;
	else if (find(p, pick.node) != NULL)
		find(p, pick.node)->placed_milli += rq.cpu_milli;
	if (why != NULL)
		*why = sched_reason_text(pick.reason);
	return pick.node;
}

/* ---- requests ---- */
int peers_request(struct pod *p, node_id to, const struct rpc_msg *m, peers_done_fn done, void *arg)
{
	struct rpc_opts o = { .deadline_ns = clock_mono_ns() + POD_ASK_MS * NS_PER_MS };
	struct peer *x = p->peers ? find(p, to) : NULL;
	struct rpc_conn *c = x ? usable(x) : NULL;

	return c ? rpc_request(c, m, &o, done, arg, NULL) : -ENOTCONN;
}

/* A request that a node makes for its tenants' sake to one of our kernels. */
struct forwarded {
	struct rpc_call *call;
};

static void forward_done(void *arg, int err, const struct rpc_msg *m)
{
	struct forwarded *f = arg;
	Pod__Forwarded reply = POD__FORWARDED__INIT;
	cleanup_free uint8_t *body = NULL;
	struct rpc_msg out = { 0 };

	if (err == 0) {
		for (unsigned i = 0; i < m->fd_count; i++)
			(void)close(m->fds[i]);
		reply.body.data = (uint8_t *)(uintptr_t)m->body;
		reply.body.len = m->len;
		body = malloc(pod__forwarded__get_packed_size(&reply) + 1);
		if (body == NULL)
			err = -ENOMEM;
		else
			out.len = pod__forwarded__pack(&reply, body);
		out.body = body;
	}
	if (rpc_reply(f->call, err, err == 0 ? &out : NULL) < 0)
		log_debug("a reply was lost");
	free(f);
}

static bool may_forward(uint32_t method)
{
	return method == KERNEL_PS || method == KERNEL_SIGNAL || method == KERNEL_MIGRATE ||
	       method == KERNEL_WHY || method == KERNEL_STATUS || method == KERNEL_SESSION_LIST;
}

static void on_forward(void *arg, struct rpc_conn *c, struct rpc_call *call,
		       const struct rpc_msg *m)
{
	struct pod *p = arg;
	Pod__Forward *x = pod__forward__unpack(NULL, m->len, m->body);
	struct forwarded *f = malloc(sizeof(*f));
	int r = x == NULL ? -EPROTO : !may_forward(x->method) ? -EACCES : 0;

	(void)c;
	if (r == 0 && (f == NULL || call == NULL))
		r = -ENOMEM;
	if (r == 0) {
		f->call = call;
		r = kern_request_here(p, x->tenant, x->method, x->body.data, x->body.len,
				      forward_done, f);
	}
	pod__forward__free_unpacked(x, NULL);
	if (r == 0)
		return;
	free(f);
	if (call != NULL && rpc_reply(call, r, NULL) < 0)
		log_debug("a reply was lost");
}

static void on_stop(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct pod *p = arg;
	Pod__TenantStop *x = pod__tenant_stop__unpack(NULL, m->len, m->body);
	char why[TENANT_WHY_MAX];
	int r = x ? world_stop(p, x->tenant, why) : -EPROTO;

	(void)c;
	pod__tenant_stop__free_unpacked(x, NULL);
	if (call != NULL && rpc_reply(call, r, NULL) < 0)
		log_debug("a reply was lost");
}

static void on_peer(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct pod *p = arg;
	Pod__PeerAsk *x = pod__peer_ask__unpack(NULL, m->len, m->body);
	tenant_id t = x ? x->tenant : TENANT_NONE;

	pod__peer_ask__free_unpacked(x, NULL);
	if (call == NULL)
		return;
	if (naming_tenant_find(naming_tables(p->naming), t) == NULL) {
		if (rpc_reply(call, -ENOENT, NULL) < 0)
			log_debug("a reply was lost");
		return;
	}
	relay_offer(p, rpc_conn_peer(c)->node, t, call);
}

/* ---- letting nodes in ---- */
struct admission {
	struct pod *pod;
	struct rpc_call *call;
};

static void admitted(void *arg, int err, const struct naming_result *r)
{
	struct admission *a = arg;
	Pod__JoinTicket t = POD__JOIN_TICKET__INIT;
	cleanup_free uint8_t *ticket = malloc(NAMING_TICKET_MAX);
	cleanup_free uint8_t *body = malloc(NAMING_TICKET_MAX + 64);
	struct rpc_msg m = { .body = body };
	ssize_t n = 0;

	if (err == 0)
		err = r->err;
	if (err == 0 && (ticket == NULL || body == NULL))
		err = -ENOMEM;
	if (err == 0) {
		n = naming_ticket(a->pod->naming, r->id, ticket, NAMING_TICKET_MAX);
		err = n < 0 ? (int)n : 0;
	}
	if (err == 0) {
		t.id = r->id;
		t.ticket.data = ticket;
		t.ticket.len = (size_t)n;
		m.len = pod__join_ticket__pack(&t, body);
		log_info("node %u joins", r->id);
	}
	if (rpc_reply(a->call, err, err == 0 ? &m : NULL) < 0)
		log_warn("the joiner went away");
	free(a);
}

static bool text_fits(const char *s, size_t max)
{
	return s != NULL && *s != '\0' && strlen(s) < max;
}

static void on_join(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct pod *p = arg;
	Pod__JoinAsk *x = pod__join_ask__unpack(NULL, m->len, m->body);
	const struct rpc_peer *who = rpc_conn_peer(c);
	struct naming_cmd cmd = { .kind = NAMING_CMD_NODE_JOIN };
	struct admission *a = malloc(sizeof(*a));
	int r = -EPROTO;

	/* The name and address are its word; key and token were proved by the handshake. */
	if (x != NULL && a != NULL && call != NULL && who->role == RPC_ROLE_JOINER &&
	    text_fits(x->name, sizeof(cmd.name)) && text_fits(x->addr, sizeof(cmd.addr))) {
		(void)snprintf(cmd.name, sizeof(cmd.name), "%s", x->name);
		(void)snprintf(cmd.addr, sizeof(cmd.addr), "%s", x->addr);
		memcpy(cmd.key, who->key, sizeof(cmd.key));
		memcpy(cmd.key2, who->token, sizeof(cmd.key2));
		*a = (struct admission){ p, call };
		r = naming_propose(p->naming, &cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS,
				   admitted, a);
	}
	pod__join_ask__free_unpacked(x, NULL);
	if (r == 0)
		return;
	free(a);
	if (call != NULL && rpc_reply(call, r, NULL) < 0)
		log_debug("a reply was lost");
}

/* ---- start and end ---- */
static void serve(struct pod *p)
{
	struct rpc *r = p->peers->rpc;
	static const uint32_t nodes_only[] = { POD_NAMING, POD_LOAD, POD_FORWARD, POD_PEER,
					       POD_STOP,   POD_USE,  POD_USAGE,   POD_GOSSIP,
					       POD_LEASE,  POD_SCHED };

	rpc_serve(r, POD_NAMING, on_naming, p);
	rpc_serve(r, POD_LOAD, on_load, p);
	rpc_serve(r, POD_FORWARD, on_forward, p);
	rpc_serve(r, POD_PEER, on_peer, p);
	rpc_serve(r, POD_STOP, on_stop, p);
	rpc_serve(r, POD_USE, on_use, p);
	rpc_serve(r, POD_USAGE, on_usage, p);
	rpc_serve(r, POD_SCHED, on_sched, p);
	rpc_serve(r, POD_GOSSIP, on_gossip, p);
	rpc_serve(r, POD_LEASE, on_lease, p);
	for (size_t i = 0; i < ARRAY_LEN(nodes_only); i++)
		rpc_allow(r, nodes_only[i], RPC_FROM(RPC_ROLE_NODE));
	rpc_serve(r, POD_JOIN, on_join, p);
	rpc_allow(r, POD_JOIN, RPC_FROM(RPC_ROLE_JOINER));
}

int peers_init(struct pod *p)
{
	p->peers = calloc(1, sizeof(*p->peers));
	if (p->peers == NULL)
		return -ENOMEM;
	p->peers->pod = p;
	p->peers->since_ns = clock_mono_ns();
	list_init(&p->peers->all);
	return loop_timer_set(p->loop, &p->peers->tick, 0, tick);
}

int peers_listen(struct pod *p, const char *addr)
{
	struct peers *ps = p->peers;
	int r = ps->rpc == NULL ? rpc_new(&ps->rpc, p->loop, NULL) : 0;

	if (r < 0)
		return r;
	rpc_set_identity(ps->rpc, &p->member->identity, admit, p);
	serve(p);
	return rpc_listen(ps->rpc, "tcp", addr, in_changed, p);
}

void peers_fini(struct pod *p)
{
	struct peers *ps = p->peers;
	struct peer *x, *next;

	if (ps == NULL)
		return;
	loop_timer_clear(p->loop, &ps->tick);
	list_for_each_safe (x, next, &ps->all, link) {
		list_del(&x->link);
		free(x);
	}
	rpc_free(ps->rpc);
	free(ps);
	p->peers = NULL;
}
