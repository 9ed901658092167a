/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kern.c - the guest kernel of a world, seen from pandod: its process, its connection, what it
 * asks.
 *
 * A kernel that dies is followed by another; its guests do not notice. A kernel that was started by
 * an earlier pandod gets a new connection through pando-init's store. What a kernel says is said by
 * its tenant: a request that is not about this tenant cannot be made, amounts are bounded.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"
#include "cmd/pandod/pod.pb-c.h"
#include "kernel/kernel.pb-c.h"
#include "kernel/tenant/client.h"

enum {
	BACKOFF_MIN_MS = 10,
	BACKOFF_MAX_MS = 5000,
	KERNEL_OLD_MS = 5000, /* a kernel that lived so long does not count as failing */
	READY_MS = 10000,     /* from start or adoption to its first word */
	BLOCKS_MAX = 64,      /* pid blocks of one tenant on one node: 262,144 pids */
	BLOCKS_AT_ONCE = 8,
	FAILURES_MAX = 5, /* in a row, then whoever waits is refused */
};

static void kernel_start(struct world *w);

/* ---- requests to it ---- */
/* A request that the kernel has not answered: when we close its connection, nobody else says so. */
struct kern_ask {
	struct list link;
	rpc_done_fn done;
	void *arg;
};

static void ask_answered(void *arg, int err, const struct rpc_msg *m)
{
	struct kern_ask *a = arg;

	list_del(&a->link);
	a->done(a->arg, err, m);
	free(a);
}

int kern_request(struct world *w, uint32_t method, const void *body, size_t len, const int *fds,
		 unsigned fd_count, rpc_done_fn done, void *arg)
{
	struct rpc_msg m = { .method = method, .body = body, .len = len, .fd_count = fd_count };
	struct rpc_opts o = { .deadline_ns = clock_mono_ns() + 2 * POD_ASK_MS * NS_PER_MS };
	struct kern_ask *a = w->kernel != NULL ? malloc(sizeof(*a)) : NULL;
	int r;

	if (a == NULL)
		return w->kernel == NULL ? -EAGAIN : -ENOMEM;
	*a = (struct kern_ask){ .done = done, .arg = arg };
	if (fd_count > 0)
		memcpy(m.fds, fds, sizeof(int) * fd_count);
	list_add_tail(&w->asks, &a->link);
	r = rpc_request(w->kernel, &m, &o, ask_answered, a, NULL);
	if (r != 0) {
		list_del(&a->link);
		free(a);
	}
	return r;
}

/* ---- its process ---- */
static void drop_connection(struct world *w)
{
	if (w->kernel != NULL)
		rpc_conn_close(w->kernel);
	w->kernel = NULL;
	if (w->state == WORLD_READY)
		w->state = WORLD_STARTING;
	while (!list_empty(&w->asks))
		ask_answered(list_front(&w->asks, struct kern_ask, link), -ECONNRESET, NULL);
	api_inside_gone(w);
}

static void forget_process(struct world *w)
{
	if (w->kernel_watched)
		loop_child_del(w->pod->loop, &w->kernel_watch);
	w->kernel_watched = false;
	if (w->kernel_pidfd >= 0)
		(void)close(w->kernel_pidfd);
	w->kernel_pidfd = -1;
	w->kernel_pid = 0;
}

void kern_end(struct world *w)
{
	loop_timer_clear(w->pod->loop, &w->kernel_restart);
	drop_connection(w);
	forget_process(w);
}

static void restart_due(struct loop_timer *t)
{
	struct world *w = container_of(t, struct world, kernel_restart);

	if (w->kernel_pidfd < 0) {
		kernel_start(w);
		return;
	}
	/* It had its time to say a word: the next one may do better. */
	log_warn("the guest kernel of %s does not answer, it is killed", w->name);
	(void)pidfd_send_signal(w->kernel_pidfd, SIGKILL, NULL, 0);
}

static void arm_restart(struct world *w, unsigned ms)
{
	CHECK(loop_timer_set(w->pod->loop, &w->kernel_restart, clock_mono_ns() + ms * NS_PER_MS,
			     restart_due) == 0);
}

static void restart_soon(struct world *w)
{
	bool old = clock_mono_ns() - w->kernel_started_ns > KERNEL_OLD_MS * NS_PER_MS;

	if (old || w->kernel_backoff_ms == 0)
		w->kernel_backoff_ms = BACKOFF_MIN_MS;
	else
		w->kernel_backoff_ms = MIN(w->kernel_backoff_ms * 2, (unsigned)BACKOFF_MAX_MS);
	arm_restart(w, w->kernel_backoff_ms);
	if (++w->kernel_failures >= FAILURES_MAX)
		world_refuse(w, -EIO, "its guest kernel does not start: see log/kernel-TENANT.log");
}

static void kernel_ended(struct loop_child *c, const siginfo_t *si)
{
	struct world *w = container_of(c, struct world, kernel_watch);

	w->kernel_watched = false;
	w->kernel_deaths++;
	log_warn("the guest kernel of %s died (%s %d)", w->name,
		 si->si_code == CLD_EXITED ? "status" : "signal", si->si_status);
	events_add(w->pod, "kernel.died", w->id, json_pack("{s:s}", "tenant", w->name));
	drop_connection(w);
	forget_process(w);
	restart_soon(w);
}

static int watch_process(struct world *w, int pidfd)
{
	int r = loop_child_add(w->pod->loop, &w->kernel_watch, pidfd, kernel_ended);

	w->kernel_pidfd = pidfd;
	w->kernel_watched = r == 0;
	w->kernel_started_ns = clock_mono_ns();
	return r;
}

static void connection_changed(void *arg, struct rpc_conn *c, int err)
{
	struct world *w = arg;

	if (err == 0 || w->kernel != c)
		return;
	/* A kernel that lives without its connection is of no use. */
	w->kernel = NULL;
	drop_connection(w);
	if (w->kernel_pidfd >= 0)
		(void)pidfd_send_signal(w->kernel_pidfd, SIGKILL, NULL, 0);
}

static int connect_to(struct world *w, int fd)
{
	struct rpc_peer peer = { .role = RPC_ROLE_LOCAL,
				 .node = naming_self(w->pod->naming),
				 .tenant = w->id };
	int r = rpc_conn_local(w->pod->kernels, fd, connection_changed, w, &w->kernel);

	if (r < 0) {
		(void)close(fd);
		return r;
	}
	rpc_conn_set_user(w->kernel, w);
	rpc_conn_set_peer(w->kernel, &peer);
	return 0;
}

static int open_log(const struct world *w)
{
	char path[PATH_MAX + 64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s/log/kernel-%s.log", w->pod->args->dir,
		       w->pod->args->node, w->name);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static int spawn(struct world *w, char why[TENANT_WHY_MAX])
{
	char program[PATH_MAX + 16], tenant[16], node[16];
	char *argv[] = { program, tenant, w->name, node, (char *)member_name(w->pod), NULL };
	cleanup_close int log = open_log(w), theirs = -1;
	int pair[2], pidfd = -1, r;

	(void)snprintf(program, sizeof(program), "%s/pando-kernel", w->pod->lib);
	(void)snprintf(tenant, sizeof(tenant), "%u", w->id);
	(void)snprintf(node, sizeof(node), "%u", naming_self(w->pod->naming));
	if (log < 0) {
		(void)snprintf(why, TENANT_WHY_MAX, "cannot open its log: %s", strerror(-log));
		return log;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	theirs = pair[1];
	r = tenant_kernel_start(w->t, argv, theirs, log, &pidfd, why);
	FAULT("pod.kernel.started");
	if (r < 0) {
		(void)close(pair[0]);
		return r;
	}
	r = watch_process(w, pidfd);
	return r < 0 ? r : connect_to(w, pair[0]);
}

static void kernel_start(struct world *w)
{
	char why[TENANT_WHY_MAX] = "";
	int r;

	w->kernel_started_ns = clock_mono_ns();
	r = spawn(w, why);

	if (r == 0) {
		arm_restart(w, READY_MS);
		return;
	}
	log_error("cannot start the guest kernel of %s: %s", w->name, *why ? why : strerror(-r));
	kern_end(w);
	restart_soon(w);
}

/* The kernel that runs in the world's group, or 0. What the group says no tenant can forge. */
static int find_running(const struct world *w)
{
	char group[CGROUP_PATH_MAX], text[32];
	cleanup_close int fd = -1;
	ssize_t n;

	(void)snprintf(group, sizeof(group), "%.240s/kernel", w->t->cgroup);
	fd = cgroup_open(w->pod->cgroups, group, "", "cgroup.procs", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return (int)strtol(text, NULL, 10);
}

/* Hands a new connection to the running kernel through the store. */
static int offer_connection(struct world *w)
{
	struct init_msg drop = { .op = INIT_DROP, .key = INIT_KEY_POD };
	struct init_msg put = { .op = INIT_PUT, .key = INIT_KEY_POD };
	cleanup_close int theirs = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	theirs = pair[1];
	r = init_call(w->t->control, &drop, NULL, 0, NULL, 0, NULL, NULL, 2000);
	if (r == 0 || r == -ENOENT)
		r = init_call(w->t->control, &put, NULL, 0, &theirs, 1, NULL, NULL, 2000);
	if (r < 0) {
		(void)close(pair[0]);
		return r;
	}
	return connect_to(w, pair[0]);
}

static int take_over(struct world *w, int pid)
{
	int pidfd = pidfd_open(pid, 0), r;

	if (pidfd < 0)
		return -errno;
	r = watch_process(w, pidfd);
	if (r == 0)
		r = offer_connection(w);
	w->kernel_pid = pid;
	return r;
}

int kern_begin(struct world *w, bool adopted, char why[TENANT_WHY_MAX])
{
	int pid = adopted ? find_running(w) : 0, r;

	if (pid <= 0) {
		kernel_start(w);
		return 0;
	}
	r = take_over(w, pid);
	if (r < 0) {
		log_warn("cannot take over the guest kernel of %s: %s", w->name, strerror(-r));
		(void)kill(pid, SIGKILL);
		kern_end(w);
		restart_soon(w);
		return 0;
	}
	arm_restart(w, READY_MS);
	(void)why;
	return 0;
}

/* ---- what it tells ---- */
static void reply_empty(struct rpc_call *call, int err)
{
	if (call != NULL && rpc_reply(call, err, NULL) < 0)
		log_warn("a reply to a guest kernel was lost");
}

/* Who keeps the records of the tenant's pids. On the heap: rows, and behind them the list. */
static size_t list_blocks(const struct naming_core *k, tenant_id t, Kernel__Authority ***out)
{
	const struct naming_block *b;
	Kernel__Authority *rows;
	size_t n = 0, at = 0;

	*out = NULL;
	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++)
		n += b->tenant == t;
	if (n == 0)
		return 0;
	*out = malloc(n * (sizeof(*rows) + sizeof(rows)));
	if (*out == NULL)
		return 0;
	rows = (Kernel__Authority *)(void *)(*out + n);
	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL && at < n; i++) {
		if (b->tenant != t)
			continue;
		kernel__authority__init(&rows[at]);
		rows[at].first = (int32_t)(b->number * NAMING_BLOCK_PIDS);
		rows[at].count = NAMING_BLOCK_PIDS;
		rows[at].node = naming_block_kept(k, b) ? b->authority : NODE_NONE;
		rows[at].home = naming_block_homed(k, b) ? b->home : NODE_NONE;
		rows[at].aterm = b->epoch;
		(*out)[at] = &rows[at];
		at++;
	}
	return at;
}

/* A figure that moves all the time would wake every idle tenant's kernel as often. */
static uint64_t in_steps(uint64_t bytes, uint64_t of)
{
	uint64_t step = of / 256;

	return step ? bytes / step * step : bytes;
}

/* What is known of the machine, if it is not what the kernel was told last. */
static void tell_nodes(struct world *w)
{
	const struct naming_core *k = naming_tables(w->pod->naming);
	Kernel__Node rows[128], *list[128];
	cleanup_free Kernel__Authority **blocks = NULL;
	Kernel__Nodes all = KERNEL__NODES__INIT;
	const struct naming_node *n;
	const struct naming_tenant *row_of = naming_tenant_find(k, w->id);
	cleanup_free uint8_t *body = NULL;
	struct rpc_msg m = { .method = KERNEL_NODES };

	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL && all.n_nodes < 128; i++) {
		Kernel__Node *row = &rows[all.n_nodes];
		struct peer_load load;

		if (n->state == NAMING_NODE_LEFT)
			continue;
		peers_load(w->pod, n->id, &load);
		kernel__node__init(row);
		row->id = n->id;
		row->name = (char *)n->name;
		/* Guest kernels outlive us, and would take it for silent. */
		row->alive = (load.alive || peers_unheard(w->pod, n->id)) && !n->down &&
			     n->state == NAMING_NODE_JOINED;
		row->closed = n->drain != NAMING_OPEN;
		row->epoch = lost_life(n->epoch);
		row->dead = n->down != 0;
		row->cpu_milli = load.cpu_milli;
		row->load_milli = load.load_milli;
		row->memory_bytes = load.memory_bytes;
		row->free_bytes = in_steps(load.free_bytes, load.memory_bytes);
		row->key.data = (uint8_t *)(uintptr_t)n->key;
		row->key.len = sizeof(n->key);
		list[all.n_nodes++] = row;
	}
	/* A daemon that has just begun knows of none yet; its kernel knows better. One that has
	 * left the machine says so. */
	if (all.n_nodes == 0 && w->told == NULL)
		return;
	all.nodes = list;
	all.hang_up_detached = row_of && (row_of->flags & NAMING_TENANT_HANGUP) != 0;
	all.n_blocks = list_blocks(k, w->id, &blocks);
	all.blocks = blocks;
	body = malloc(kernel__nodes__get_packed_size(&all));
	if (body == NULL || w->kernel == NULL)
		return;
	m.body = body;
	m.len = kernel__nodes__pack(&all, body);
	if (w->told && m.len == w->told_len && memcmp(body, w->told, m.len) == 0)
		return;
	if (rpc_send(w->kernel, &m) < 0) {
		log_debug("the nodes were not told to the kernel of %s", w->name);
		return;
	}
	free(w->told);
	w->told = body;
	w->told_len = m.len;
	body = NULL;
}

void kern_tell_nodes(struct pod *p)
{
	struct world *w;

	list_for_each (w, &p->worlds, link) {
		if (w->state == WORLD_READY)
			tell_nodes(w);
	}
}

static void on_ready(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = rpc_conn_user(c);
	Kernel__Ready *ready = kernel__ready__unpack(NULL, m->len, m->body);

	(void)arg;
	reply_empty(call, 0);
	if (ready == NULL || w == NULL || w->kernel != c) {
		kernel__ready__free_unpacked(ready, NULL);
		return;
	}
	log_info("the guest kernel of %s answers, %u calls taken over", w->name, ready->adopted);
	events_add(
		w->pod, "kernel.ready", w->id,
		json_pack("{s:s, s:I}", "tenant", w->name, "adopted", (json_int_t)ready->adopted));
	if (ready->store_lost != 0)
		log_error("the kernel of %s could not read %llu entries of its store", w->name,
			  (unsigned long long)ready->store_lost);
	kernel__ready__free_unpacked(ready, NULL);
	loop_timer_clear(w->pod->loop, &w->kernel_restart);
	w->kernel_failures = 0;
	relay_introduce(w);
	w->told_len = 0;
	tell_nodes(w);
	quota_introduce(w);
	session_adopt(w);
	world_ready(w);
}

static void on_session_exit(void *arg, struct rpc_conn *c, struct rpc_call *call,
			    const struct rpc_msg *m)
{
	struct world *w = rpc_conn_user(c);
	Kernel__SessionExit *x = kernel__session_exit__unpack(NULL, m->len, m->body);

	(void)arg;
	if (x != NULL && w != NULL)
		session_ended(w, x->session, x->pid, x->status, x->event, x->tty);
	reply_empty(call, x == NULL ? -EPROTO : 0);
	kernel__session_exit__free_unpacked(x, NULL);
}

/* ---- pids ---- */
struct pids_ask {
	struct world *w;
	tenant_id tenant;
	struct rpc_call *call;
	unsigned left; /* leases that are under way */
	int err;
	uint32_t got[BLOCKS_AT_ONCE];
	unsigned got_count;
};

static bool block_is_new(const struct pids_ask *ask, uint32_t number)
{
	for (unsigned i = 0; i < ask->got_count; i++)
		if (ask->got[i] == number)
			return true;
	return false;
}

/*
 * Those of an earlier life, or of another node, hold pids of processes that may have gone
 * elsewhere.
 */
static bool block_is_ours(const struct pod *p, const struct naming_block *b)
{
	node_id self = naming_self(p->naming);

	return b->home == self && b->born == life_epoch(p) && b->authority == self;
}

static void pids_reply(struct pod *p, struct pids_ask *ask)
{
	const struct naming_core *k = naming_tables(p->naming);
	Kernel__PidBlock rows[BLOCKS_MAX + BLOCKS_AT_ONCE], *list[ARRAY_LEN(rows)];
	Kernel__PidsGranted all = KERNEL__PIDS_GRANTED__INIT;
	const struct naming_block *b;
	uint8_t body[4096];
	struct rpc_msg m = { .body = body };

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL && all.n_blocks < BLOCKS_MAX;
	     i++) {
		if (b->tenant != ask->tenant || !block_is_ours(p, b) ||
		    block_is_new(ask, b->number))
			continue;
		kernel__pid_block__init(&rows[all.n_blocks]);
		rows[all.n_blocks].first = (int32_t)(b->number * NAMING_BLOCK_PIDS);
		list[all.n_blocks] = &rows[all.n_blocks];
		all.n_blocks++;
	}
	/* The newest last; our copy of the tables may not even show them yet. */
	for (unsigned i = 0; i < ask->got_count; i++) {
		kernel__pid_block__init(&rows[all.n_blocks]);
		rows[all.n_blocks].first = (int32_t)(ask->got[i] * NAMING_BLOCK_PIDS);
		list[all.n_blocks] = &rows[all.n_blocks];
		all.n_blocks++;
	}
	for (size_t i = 0; i < all.n_blocks; i++)
		rows[i].count = NAMING_BLOCK_PIDS;
	all.blocks = list;
	CHECK(kernel__pids_granted__get_packed_size(&all) <= sizeof(body));
	m.len = kernel__pids_granted__pack(&all, body);
	if (rpc_reply(ask->call, ask->got_count > 0 ? 0 : ask->err, &m) < 0)
		log_warn("a reply to a guest kernel was lost");
}

static struct pod *the_pod; /* naming's callbacks carry the ask; the pod is one per process */

static void block_leased(void *arg, int err, const struct naming_result *r)
{
	struct pids_ask *ask = arg;

	if (err == 0 && r->err == 0)
		ask->got[ask->got_count++] = (uint32_t)r->value;
	else
		ask->err = err != 0 ? err : r->err;
	if (--ask->left > 0)
		return;
	if (err != -ECANCELED)
		pids_reply(the_pod, ask);
	free(ask);
}

static unsigned blocks_of(struct pod *p, tenant_id t)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_block *b;
	unsigned n = 0;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++)
		n += b->tenant == t && block_is_ours(p, b);
	return n;
}

static void lease_blocks(struct pod *p, struct pids_ask *ask, unsigned count)
{
	struct naming_cmd cmd = { .kind = NAMING_CMD_BLOCK_LEASE,
				  .tenant = ask->tenant,
				  .node = naming_self(p->naming),
				  .epoch = life_epoch(p) };

	/* Held by one more, so that a refusal of the last cannot free it under us. */
	ask->left = 1;
	for (unsigned i = 0; i < count; i++) {
		int r = naming_propose(p->naming, &cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS,
				       block_leased, ask);

		if (r == 0)
			ask->left++;
		else
			ask->err = r;
	}
	if (--ask->left == 0) {
		pids_reply(p, ask);
		free(ask);
	}
}

static void on_pids_wanted(void *arg, struct rpc_conn *c, struct rpc_call *call,
			   const struct rpc_msg *m)
{
	struct pod *p = arg;
	struct world *w = rpc_conn_user(c);
	Kernel__PidsWanted *x = kernel__pids_wanted__unpack(NULL, m->len, m->body);
	struct pids_ask *ask;
	unsigned ours = w ? blocks_of(p, w->id) : 0, count = x ? MAX(x->count, 1U) : 0;
	/* A lease may have been answered to nobody: what there is comes before a new one. */
	bool there_are = x && ours > (x->count > 0 ? x->have : 0);

	kernel__pids_wanted__free_unpacked(x, NULL);
	if (call == NULL || x == NULL || w == NULL || count > BLOCKS_AT_ONCE) {
		reply_empty(call, x == NULL ? -EPROTO : -EINVAL);
		return;
	}
	if (!there_are && ours + count > BLOCKS_MAX) {
		reply_empty(call, -EDQUOT);
		return;
	}
	ask = calloc(1, sizeof(*ask));
	if (ask == NULL) {
		reply_empty(call, -ENOMEM);
		return;
	}
	*ask = (struct pids_ask){ .w = w, .tenant = w->id, .call = call };
	if (there_are) {
		pids_reply(p, ask);
		free(ask);
		return;
	}
	ask->err = -EAGAIN;
	lease_blocks(p, ask, count);
}

/* ---- other nodes ---- */
static void on_peer_wanted(void *arg, struct rpc_conn *c, struct rpc_call *call,
			   const struct rpc_msg *m)
{
	struct world *w = rpc_conn_user(c);
	Kernel__PeerWanted *x = kernel__peer_wanted__unpack(NULL, m->len, m->body);
	node_id node = x ? x->node : NODE_NONE;

	(void)arg;
	kernel__peer_wanted__free_unpacked(x, NULL);
	if (call == NULL)
		return;
	if (w == NULL || node == NODE_NONE)
		reply_empty(call, -EINVAL);
	else
		relay_open(w, node, call);
}

static void on_place(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct pod *p = arg;
	Kernel__Place *x = kernel__place__unpack(NULL, m->len, m->body);
	Kernel__Placed placed = KERNEL__PLACED__INIT;
	uint8_t body[16];
	struct rpc_msg reply = { .body = body };
	const struct world *w = rpc_conn_user(c);
	const char *why = "";

	if (call == NULL || x == NULL || w == NULL) {
		reply_empty(call, -EPROTO);
		kernel__place__free_unpacked(x, NULL);
		return;
	}
	placed.node = peers_place(p, x->near_node ? x->near_node : naming_self(p->naming), &why);
	if (placed.node != naming_self(p->naming))
		balance_placed(p, w->id, x->pid, x->comm, placed.node, why);
	kernel__place__free_unpacked(x, NULL);
	reply.len = kernel__placed__pack(&placed, body);
	if (rpc_reply(call, 0, &reply) < 0)
		log_warn("a reply to a guest kernel was lost");
}

static void on_moved(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = rpc_conn_user(c);
	Kernel__Moved *x = kernel__moved__unpack(NULL, m->len, m->body);

	/* A tenant that tells of moves that were none is charged for them. */
	if (x != NULL && w != NULL)
		meter_moved(arg, w->id, MIN(x->bytes, UINT64_C(1) << 40));
	reply_empty(call, x == NULL ? -EPROTO : 0);
	kernel__moved__free_unpacked(x, NULL);
}

void kern_serve(struct pod *p)
{
	the_pod = p;
	rpc_serve(p->kernels, KERNEL_READY, on_ready, p);
	rpc_serve(p->kernels, KERNEL_SESSION_EXIT, on_session_exit, p);
	rpc_serve(p->kernels, KERNEL_PIDS_WANTED, on_pids_wanted, p);
	rpc_serve(p->kernels, KERNEL_PEER_WANTED, on_peer_wanted, p);
	rpc_serve(p->kernels, KERNEL_PLACE, on_place, p);
	rpc_serve(p->kernels, KERNEL_MOVED, on_moved, p);
	rpc_serve(p->kernels, KERNEL_API, api_inside, p);
}
