/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - the control API: one table of routes, and what is said about nodes and tenants.
 *
 * Two kinds of callers: the operator (root, RUN/control.sock) may everything; a tenant (the socket
 * in its own sessions) sees the nodes and handles its own processes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"
#include "cmd/pandod/pod.pb-c.h"
#include "kernel/kernel.pb-c.h"

enum { READY_MS = 15000 };

typedef char args_t[HTTP_ARGS_MAX][HTTP_ARG_MAX];

enum who { OPERATOR = 1, ANYBODY };

enum needs { NOTHING = 0, TABLES }; /* TABLES: waits until this node has a leader */

struct route {
	const char *method;
	const char *path;
	enum who who;
	enum needs needs;
	void (*fn)(struct pod *p, struct ctl_req *r, args_t a);
};

void api_refuse(struct ctl_req *r, int err, const char *try_next, const char *why)
{
	ctl_problem(r, ctl_status_of(err), try_next, "%s", why);
}

static const char *body_text(const struct ctl_req *r, const char *key)
{
	const char *s = json_string_value(json_object_get(ctl_req_body(r), key));

	return s ? s : "";
}

static uint64_t body_number(const struct ctl_req *r, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(ctl_req_body(r), key));

	return n > 0 ? (uint64_t)n : 0;
}

/* A request that waits for something with one outcome. */
struct pending {
	struct pod *pod;
	struct ctl_req *req; /* NULL: the caller went away */
	const char *try_next;
	char text[192]; /* the token of an invitation, a tenant's name */
	tenant_id tenant;
	int step;
};

static void pending_gone(void *arg)
{
	struct pending *x = arg;

	x->req = NULL;
}

static struct pending *pending_new(struct pod *p, struct ctl_req *r, const char *try_next)
{
	struct pending *x = calloc(1, sizeof(*x));

	CHECK(x != NULL);
	x->pod = p;
	x->req = r;
	x->try_next = try_next;
	ctl_req_on_gone(r, pending_gone, x);
	return x;
}

static void pending_done(void *arg, int err, const char *why)
{
	struct pending *x = arg;

	if (x->req != NULL && err == 0)
		ctl_reply(x->req, 200, NULL);
	else if (x->req != NULL)
		api_refuse(x->req, err, x->try_next, why);
	free(x);
}

/* ---- this node ---- */
struct ready_waiter {
	struct list link;
	struct pod *pod;
	struct ctl_req *req;
	unsigned nodes; /* so many must be alive */
	bool redo;      /* a request that came before the tables: handled again */
	struct loop_timer late;
};

static bool is_ready(const struct pod *p)
{
	return member_in_touch(p) &&
	       naming_node_find(naming_tables(p->naming), naming_self(p->naming)) != NULL &&
	       naming_volume_find(naming_tables(p->naming), TENANT_NONE, "home") != NULL;
}

static unsigned nodes_alive(const struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *n;
	unsigned alive = 0;

	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		struct peer_load l;

		peers_load(p, n->id, &l);
		alive += l.alive && n->state == NAMING_NODE_JOINED;
	}
	return alive;
}

static json_t *node_json(const struct pod *p)
{
	return json_pack("{s:s, s:I, s:b, s:b, s:i}", "name", p->args->node, "id",
			 (json_int_t)naming_self(p->naming), "member",
			 naming_self(p->naming) != NODE_NONE, "ready", is_ready(p), "pid",
			 (int)getpid());
}

static void waiter_free(struct ready_waiter *x)
{
	loop_timer_clear(x->pod->loop, &x->late);
	list_del(&x->link);
	free(x);
}

static void waiter_gone(void *arg)
{
	waiter_free(arg);
}

static void waiter_late(struct loop_timer *t)
{
	struct ready_waiter *x = container_of(t, struct ready_waiter, late);

	ctl_problem(x->req, 504, "pando status",
		    "after %d s the node sees %s and %u of %u nodes alive", READY_MS / 1000,
		    is_ready(x->pod) ? "a leader" : "no leader", nodes_alive(x->pod), x->nodes);
	waiter_free(x);
}

static void handle(void *arg, struct ctl_req *r);

static void waiter_wake(struct ready_waiter *x)
{
	struct pod *p = x->pod;
	struct ctl_req *r = x->req;
	bool redo = x->redo;

	waiter_free(x);
	ctl_req_on_gone(r, NULL, NULL);
	if (redo)
		handle(p, r);
	else
		ctl_reply(r, 200, node_json(p));
}

static void wait_ready(struct pod *p, struct ctl_req *r, unsigned nodes, bool redo)
{
	struct ready_waiter *x = calloc(1, sizeof(*x));

	CHECK(x != NULL);
	x->pod = p;
	x->req = r;
	x->nodes = nodes;
	x->redo = redo;
	list_add_tail(&p->ready_waiters, &x->link);
	ctl_req_on_gone(r, waiter_gone, x);
	CHECK(loop_timer_set(p->loop, &x->late, clock_mono_ns() + READY_MS * NS_PER_MS,
			     waiter_late) == 0);
}

void api_changed(struct pod *p)
{
	struct ready_waiter *x, *next;

	if (!is_ready(p))
		return;
	list_for_each_safe (x, next, &p->ready_waiters, link) {
		if (nodes_alive(p) < x->nodes)
			continue;
		waiter_wake(x);
	}
}

static void get_node(struct pod *p, struct ctl_req *r, args_t a)
{
	char text[8];
	unsigned nodes = 0;

	(void)a;
	/* "ready=N": when the node sees a leader and N nodes alive, itself included. */
	if (http_query_get(ctl_req_head(r)->query, "ready", text, sizeof(text)) > 0)
		nodes = (unsigned)strtoul(text, NULL, 10);
	if (nodes == 0 || (is_ready(p) && nodes_alive(p) >= nodes)) {
		ctl_reply(r, 200, node_json(p));
		return;
	}
	wait_ready(p, r, nodes, false);
}

static void post_bootstrap(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	member_bootstrap(p, body_text(r, "machine"), body_text(r, "addr"), body_text(r, "volumes"),
			 strcmp(body_text(r, "volume_kind"), "mount") == 0, pending_done,
			 pending_new(p, r, "pando status"));
}

static void post_join(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	if (naming_self(p->naming) != NODE_NONE) {
		ctl_problem(r, 409, "pando leave", "this node is a member already");
		return;
	}
	member_join(p, body_text(r, "addr"), body_text(r, "token"), body_text(r, "listen"),
		    pending_done, pending_new(p, r, "pando invite"));
}

static void leave_done(void *arg, int err, const char *why)
{
	struct pod *p = ((struct pending *)arg)->pod;

	pending_done(arg, err, why);
	if (err == 0)
		loop_stop(p->loop);
}

static void post_leave(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	member_leave(p, leave_done, pending_new(p, r, "pando nodes"));
}

static void invite_done(void *arg, int err, const char *why)
{
	struct pending *x = arg;
	char addr[NAMING_ADDR_MAX];
	uint8_t key[NAMING_KEY_BYTES];

	if (err == 0 && x->req != NULL &&
	    naming_peer(x->pod->naming, naming_self(x->pod->naming), addr, key) == 0) {
		ctl_reply(x->req, 200, json_pack("{s:s, s:s}", "addr", addr, "token", x->text));
		free(x);
		return;
	}
	pending_done(x, err, why);
}

static void post_invite(struct pod *p, struct ctl_req *r, args_t a)
{
	struct pending *x = pending_new(p, r, "pando status");
	uint64_t uses = body_number(r, "uses");

	(void)a;
	member_invite(p, body_number(r, "ttl_s"), uses ? (unsigned)uses : 1, x->text, invite_done,
		      x);
}

/* ---- nodes and status ---- */
static const char *role_of(const struct naming_status *s, node_id id)
{
	if (s->leader == id)
		return "leader";
	for (unsigned i = 0; i < s->voters; i++)
		if (s->voter[i] == id)
			return "voter";
	return "fed";
}

static const char *state_of(const struct naming_node *n, const struct peer_load *l)
{
	if (n->state == NAMING_NODE_LEFT)
		return "left";
	if (n->state == NAMING_NODE_LEAVING)
		return "leaving";
	return l->alive ? "alive" : "silent";
}

static json_t *nodes_json(const struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	json_t *rows = json_array();
	const struct naming_node *n;
	struct naming_status s;

	naming_status(p->naming, &s);
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		struct peer_load l;

		peers_load(p, n->id, &l);
		(void)json_array_append_new(
			rows,
			json_pack("{s:s, s:I, s:s, s:s, s:I, s:f, s:f, s:I, s:I, s:s}", "name",
				  n->name, "id", (json_int_t)n->id, "state", state_of(n, &l),
				  "role", role_of(&s, n->id), "epoch", (json_int_t)n->epoch, "cpus",
				  (double)l.cpu_milli / 1000, "load", (double)l.load_milli / 1000,
				  "memory_bytes", (json_int_t)l.memory_bytes, "free_bytes",
				  (json_int_t)l.free_bytes, "addr", n->addr));
	}
	return rows;
}

static void get_nodes(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	ctl_reply(r, 200, json_pack("{s:o}", "nodes", nodes_json(p)));
}

static const char *running(const struct pod *p, tenant_id t)
{
	const struct world *w = world_find(p, t);

	return w == NULL ? "no" : w->state == WORLD_READY ? "yes" : "starting";
}

static uint32_t processes(const struct pod *p, const char *name)
{
	char group[CGROUP_PATH_MAX];
	struct cgroup_stats st;

	(void)snprintf(group, sizeof(group), "%.180s/%s/guests", p->group, name);
	return cgroup_stats(p->cgroups, group, &st) == 0 ? st.pids : 0;
}

static json_t *tenants_json(const struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_tenant *t;
	json_t *rows = json_array();

	for (uint32_t i = 0; (t = naming_tenant_at(k, i)) != NULL; i++) {
		const struct world *w = world_find(p, t->id);
		json_t *row =
			json_pack("{s:s, s:I, s:I, s:s, s:I, s:I}", "name", t->name, "id",
				  (json_int_t)t->id, "host_id", (json_int_t)t->host_id, "running",
				  running(p, t->id), "processes", (json_int_t)processes(p, t->name),
				  "kernel_deaths", (json_int_t)(w ? w->kernel_deaths : 0));

		if (t->limits.cpu_milli)
			(void)json_object_set_new(row, "cpus",
						  json_real((double)t->limits.cpu_milli / 1000));
		if (t->limits.memory_bytes)
			(void)json_object_set_new(row, "memory_bytes",
						  json_integer((json_int_t)t->limits.memory_bytes));
		if (t->limits.storage_bytes)
			(void)json_object_set_new(
				row, "storage_bytes",
				json_integer((json_int_t)t->limits.storage_bytes));
		if (t->limits.procs)
			(void)json_object_set_new(row, "procs", json_integer(t->limits.procs));
		(void)json_array_append_new(rows, row);
	}
	return rows;
}

/* What separate hosts could not do; empty on them. */
static json_t *shortcuts_json(const struct pod *p)
{
	const struct naming_volume *v =
		naming_volume_find(naming_tables(p->naming), TENANT_NONE, "home");
	json_t *list = json_array();

	if (v != NULL && v->kind == NAMING_VOLUME_DIR)
		(void)json_array_append_new(
			list,
			json_sprintf("volume %s is of kind dir: one directory of one host (%s)",
				     v->name, v->path));
	if (p->args->local)
		(void)json_array_append_new(
			list, json_string("all nodes run one Linux kernel: one host's failure is "
					  "the failure of all"));
	return list;
}

static void get_status(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *leader;
	struct naming_status s;

	(void)a;
	naming_status(p->naming, &s);
	leader = naming_node_find(k, s.leader);
	ctl_reply(r, 200,
		  json_pack("{s:s, s:s, s:s, s:I, s:I, s:i, s:o, s:o, s:o}", "machine",
			    naming_machine(k)->name, "node", p->args->node, "leader",
			    leader ? leader->name : "", "term", (json_int_t)s.term, "applied",
			    (json_int_t)s.applied, "pid", (int)getpid(), "nodes", nodes_json(p),
			    "tenants", tenants_json(p), "shortcuts", shortcuts_json(p)));
}

/* ---- tenants ---- */
static void get_tenants(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	ctl_reply(r, 200, json_pack("{s:o}", "tenants", tenants_json(p)));
}

static void tenant_added(void *arg, int err, const struct naming_result *res)
{
	struct pending *x = arg;

	if (err == 0)
		err = res->err;
	if (err == 0 && x->req != NULL)
		ctl_reply(x->req, 201,
			  json_pack("{s:s, s:I, s:I}", "name", x->text, "id", (json_int_t)res->id,
				    "host_id", (json_int_t)res->value));
	else if (x->req != NULL)
		api_refuse(x->req, err, err == -ETIMEDOUT ? "pando status" : "pando tenant ls",
			   err == -EEXIST   ? "there is such a tenant already"
			   : err == -EINVAL ? "the name must be [a-z_][a-z0-9_-]*, at most 31 bytes"
			   : err == -ENOSPC ? "the machine has no room for another tenant"
			   : err == -ETIMEDOUT ? "no leader answered"
					       : strerror(-err));
	free(x);
}

static int propose(struct pod *p, const struct naming_cmd *cmd, naming_done_fn done, void *arg)
{
	return naming_propose(p->naming, cmd, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, done, arg);
}

static void post_tenant(struct pod *p, struct ctl_req *r, args_t a)
{
	struct naming_cmd cmd = { .kind = NAMING_CMD_TENANT_ADD };
	const char *name = body_text(r, "name");
	struct pending *x;
	int err;

	(void)a;
	if (!naming_name_ok(name, TENANT_NAME_MAX, true)) {
		ctl_problem(r, 400, "pando tenant add alice",
			    "the name must be [a-z_][a-z0-9_-]*, at most 31 bytes");
		return;
	}
	(void)snprintf(cmd.name, sizeof(cmd.name), "%s", name);
	cmd.limits.cpu_milli = (uint32_t)body_number(r, "cpu_milli");
	cmd.limits.procs = (uint32_t)body_number(r, "procs");
	cmd.limits.memory_bytes = body_number(r, "memory_bytes");
	cmd.limits.storage_bytes = body_number(r, "storage_bytes");
	x = pending_new(p, r, NULL);
	(void)snprintf(x->text, sizeof(x->text), "%s", name);
	err = propose(p, &cmd, tenant_added, x);
	if (err < 0)
		pending_done(x, err, "the machine's tables cannot be asked");
}

static void caught_up(void *arg, int err, const struct naming_result *res)
{
	struct pending *x = arg;

	(void)res;
	if (x->req != NULL && err == 0) {
		ctl_req_on_gone(x->req, NULL, NULL);
		handle(x->pod, x->req);
		free(x);
		return;
	}
	pending_done(x, err, "no leader answered");
}

/* Our copy of the tables may be a moment behind an answer that another node has given. */
const struct naming_tenant *api_tenant(struct pod *p, struct ctl_req *r, const char *name)
{
	const struct naming_tenant *t = naming_tenant_find_name(naming_tables(p->naming), name);
	struct pending *x;
	int err;

	if (t != NULL)
		return t;
	if (ctl_req_note(r) != 0) {
		ctl_problem(r, 404, "pando tenant ls", "there is no tenant %.40s", name);
		return NULL;
	}
	ctl_req_set_note(r, 1);
	x = pending_new(p, r, "pando status");
	err = naming_barrier(p->naming, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, caught_up, x);
	if (err < 0)
		pending_done(x, err, "the machine's tables cannot be asked");
	return NULL;
}

/*
 * Removing: its worlds end on all nodes, its blocks are released, the row goes. Each step is one
 * answer; asked again after a failure it goes on where it stopped.
 */
static void remove_step(struct pending *x);

static void removed(void *arg, int err, const struct naming_result *res)
{
	struct pending *x = arg;

	if (err == 0)
		err = res->err;
	/* A block that is released already. */
	if (err == -ENOENT && x->step == 0)
		err = 0;
	if (err == 0 && x->step == 0) {
		remove_step(x);
		return;
	}
	pending_done(x, err,
		     err == -EBUSY ? "another node still keeps pids of it"
		     : err == 0    ? ""
				   : "the machine's tables refuse it");
}

static void remove_step(struct pending *x)
{
	const struct naming_core *k = naming_tables(x->pod->naming);
	struct naming_cmd cmd = { .kind = NAMING_CMD_TENANT_REMOVE, .tenant = x->tenant };
	const struct naming_block *b;
	int err;

	x->step = 1;
	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++) {
		if (b->tenant != x->tenant)
			continue;
		cmd.kind = NAMING_CMD_BLOCK_RELEASE;
		cmd.node = b->authority;
		cmd.number = b->number;
		cmd.epoch = b->epoch;
		x->step = 0;
		break;
	}
	err = propose(x->pod, &cmd, removed, x);
	if (err < 0)
		pending_done(x, err, "the machine's tables cannot be asked");
}

struct stopping {
	struct pending *x;
	unsigned left;
	int err;
};

static void stopped(void *arg, int err, const struct rpc_msg *m)
{
	struct stopping *s = arg;

	(void)m;
	if (err != 0 && err != -ECANCELED)
		s->err = err;
	if (--s->left > 0)
		return;
	if (s->err != 0)
		pending_done(s->x, s->err, "a node that may run it did not end it");
	else
		remove_step(s->x);
	free(s);
}

static void delete_tenant(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);
	const struct naming_core *k = naming_tables(p->naming);
	Pod__TenantStop stop = POD__TENANT_STOP__INIT;
	char why[TENANT_WHY_MAX];
	struct rpc_msg m = { .method = POD_STOP };
	const struct naming_node *n;
	struct stopping *s;
	uint8_t body[16];
	int err;

	if (t == NULL)
		return;
	err = world_stop(p, t->id, why);
	if (err < 0) {
		api_refuse(r, err, "pando ps", why);
		return;
	}
	s = calloc(1, sizeof(*s));
	CHECK(s != NULL);
	s->x = pending_new(p, r, "pando nodes");
	s->x->tenant = t->id;
	s->left = 1;
	stop.tenant = t->id;
	m.body = body;
	m.len = pod__tenant_stop__pack(&stop, body);
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		if (n->id == naming_self(p->naming) || n->state == NAMING_NODE_LEFT)
			continue;
		err = peers_request(p, n->id, &m, stopped, s);
		if (err == 0)
			s->left++;
		else
			s->err = err;
	}
	stopped(s, 0, NULL);
}

/* ---- keys: api_key.c ---- */
static void get_keys(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		api_key_list(p, r, t);
}

static void post_key(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		api_key_add(p, r, t);
}

static void delete_key(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		api_key_remove(p, r, t, a[1]);
}

static void post_detached(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		api_tenant_detached(p, r, t);
}

/* ---- sessions ---- */
static void post_session(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		session_start(p, t, r);
}

static void get_session(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		session_wait(p, t, strtoull(a[1], NULL, 10), r);
}

static void post_signal(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		session_signal(p, t, strtoull(a[1], NULL, 10), r);
}

/* ---- processes: api_process.c ---- */
static void get_processes(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	api_processes(p, r);
}

static int pid_of(const char *text)
{
	char *end;
	long v = strtol(text, &end, 10);

	return *end == '\0' && v > 0 && v <= 4194304 ? (int)v : 0;
}

static void post_migrate(struct pod *p, struct ctl_req *r, args_t a)
{
	api_migrate(p, r, pid_of(a[0]));
}

static void get_why(struct pod *p, struct ctl_req *r, args_t a)
{
	api_why(p, r, pid_of(a[0]));
}

/* ---- faults ---- */
static void fault_armed(void *arg, int err, const struct rpc_msg *m)
{
	(void)m;
	pending_done(arg, err, "there is no such point in the guest kernel");
}

static void post_fault(struct pod *p, struct ctl_req *r, args_t a)
{
	const char *tenant = body_text(r, "tenant"), *point = body_text(r, "point");
	Kernel__FaultArm arm = KERNEL__FAULT_ARM__INIT;
	const struct naming_tenant *t;
	struct pending *x;
	struct world *w;
	uint8_t body[256];
	int err;

	(void)a;
	if (*tenant == '\0') {
		if (fault_arm_text(point) < 0)
			ctl_problem(r, 404, "pando debug points NODE",
				    "pandod has no fault point %.60s", point);
		else
			ctl_reply(r, 200, NULL);
		return;
	}
	t = api_tenant(p, r, tenant);
	if (t == NULL)
		return;
	w = world_find(p, t->id);
	arm.text = (char *)(uintptr_t)point;
	if (w == NULL || kernel__fault_arm__get_packed_size(&arm) > sizeof(body)) {
		ctl_problem(r, 404, "pando login TENANT", "the tenant has no guest kernel here");
		return;
	}
	x = pending_new(p, r, "pando debug points NODE TENANT");
	err = kern_request(w, KERNEL_FAULT_ARM, body, kernel__fault_arm__pack(&arm, body), NULL, 0,
			   fault_armed, x);
	if (err < 0)
		pending_done(x, err, "the guest kernel does not answer");
}

static void kernel_points(void *arg, int err, const struct rpc_msg *m)
{
	struct pending *x = arg;
	Kernel__Status *s = err == 0 ? kernel__status__unpack(NULL, m->len, m->body) : NULL;
	json_t *list = json_array();

	for (size_t i = 0; s != NULL && i < s->n_fault_points; i++)
		(void)json_array_append_new(list, json_string(s->fault_points[i]));
	if (x->req != NULL && s != NULL)
		ctl_reply(x->req, 200, json_pack("{s:O}", "points", list));
	else if (x->req != NULL)
		api_refuse(x->req, err ? err : -EPROTO, NULL, "the guest kernel does not answer");
	json_decref(list);
	kernel__status__free_unpacked(s, NULL);
	free(x);
}

static void get_points(struct pod *p, struct ctl_req *r, args_t a)
{
	char tenant[TENANT_NAME_MAX];
	const struct naming_tenant *t;
	struct fault_point *points;
	json_t *list;
	struct world *w;
	size_t n;

	(void)a;
	if (http_query_get(ctl_req_head(r)->query, "tenant", tenant, sizeof(tenant)) > 0) {
		struct pending *x;

		t = api_tenant(p, r, tenant);
		w = t ? world_find(p, t->id) : NULL;
		if (t == NULL)
			return;
		x = pending_new(p, r, NULL);
		if (w == NULL ||
		    kern_request(w, KERNEL_STATUS, NULL, 0, NULL, 0, kernel_points, x) < 0)
			pending_done(x, -ENOENT, "the tenant has no guest kernel here");
		return;
	}
	points = fault_points(&n);
	list = json_array();
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_string(points[i].name));
	ctl_reply(r, 200, json_pack("{s:o}", "points", list));
}

/* ---- the table ---- */
static const struct route routes[] = {
	{ "GET", "/v1/node", OPERATOR, NOTHING, get_node },
	{ "POST", "/v1/node/bootstrap", OPERATOR, NOTHING, post_bootstrap },
	{ "POST", "/v1/node/join", OPERATOR, NOTHING, post_join },
	{ "POST", "/v1/node/leave", OPERATOR, NOTHING, post_leave },
	{ "POST", "/v1/invites", OPERATOR, TABLES, post_invite },
	{ "GET", "/v1/status", OPERATOR, NOTHING, get_status },
	{ "GET", "/v1/nodes", ANYBODY, TABLES, get_nodes },
	{ "GET", "/v1/tenants", OPERATOR, TABLES, get_tenants },
	{ "POST", "/v1/tenants", OPERATOR, TABLES, post_tenant },
	{ "DELETE", "/v1/tenants/:name", OPERATOR, TABLES, delete_tenant },
	{ "GET", "/v1/tenants/:name/keys", OPERATOR, TABLES, get_keys },
	{ "POST", "/v1/tenants/:name/keys", OPERATOR, TABLES, post_key },
	{ "DELETE", "/v1/tenants/:name/keys/:hash", OPERATOR, TABLES, delete_key },
	{ "POST", "/v1/tenants/:name/detached", OPERATOR, TABLES, post_detached },
	{ "POST", "/v1/tenants/:name/sessions", OPERATOR, TABLES, post_session },
	{ "GET", "/v1/tenants/:name/sessions/:id", OPERATOR, TABLES, get_session },
	{ "POST", "/v1/tenants/:name/sessions/:id/signal", OPERATOR, TABLES, post_signal },
	{ "GET", "/v1/processes", ANYBODY, TABLES, get_processes },
	{ "POST", "/v1/processes/:pid/migrate", ANYBODY, TABLES, post_migrate },
	{ "GET", "/v1/processes/:pid/why", ANYBODY, TABLES, get_why },
	{ "POST", "/v1/debug/fault", OPERATOR, NOTHING, post_fault },
	{ "GET", "/v1/debug/points", OPERATOR, NOTHING, get_points },
};

static void handle(void *arg, struct ctl_req *r)
{
	struct pod *p = arg;
	const struct http_head *h = ctl_req_head(r);
	bool path_known = false;
	args_t a;

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (http_route_match(routes[i].path, h->path, a) < 0)
			continue;
		path_known = true;
		if (strcmp(routes[i].method, h->method) != 0)
			continue;
		if (routes[i].who == OPERATOR && ctl_req_tenant(r) != TENANT_NONE)
			ctl_problem(r, 403, NULL, "only the machine's operator may");
		else if (routes[i].needs == TABLES && naming_self(p->naming) == NODE_NONE)
			ctl_problem(r, 409, "pando up", "this node is no member of a machine");
		else if (routes[i].needs == TABLES && !is_ready(p))
			wait_ready(p, r, 1, true);
		else
			routes[i].fn(p, r, a);
		return;
	}
	ctl_problem(r, path_known ? 405 : 404, NULL, "there is no %s %.100s", h->method, h->path);
}

int api_init(struct pod *p)
{
	char path[PATH_MAX + 16];
	int fd, r;

	(void)snprintf(path, sizeof(path), "%s/control.sock", p->run);
	fd = ctl_socket_listen(path);
	if (fd < 0)
		return fd;
	r = ctl_server_new(&p->api, p->loop, handle, p);
	return r < 0 ? r : ctl_server_listen(p->api, fd, TENANT_NONE, NULL);
}
