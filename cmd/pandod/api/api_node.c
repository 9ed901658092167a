/* SPDX-License-Identifier: Apache-2.0 */
/* api_node.c - being a node, the nodes, and the machine's status over the control API. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "cmd/pandod/api/api.h"

enum { READY_MS = 15000 };

/* ---- this node ---- */
struct ready_waiter {
	struct list link;
	struct pod *pod;
	struct ctl_req *req;
	unsigned nodes; /* so many must be alive */
	bool redo;      /* a request that came before the tables: handled again */
	struct loop_timer late;
};

bool api_ready(const struct pod *p)
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
			 naming_self(p->naming) != NODE_NONE, "ready", api_ready(p), "pid",
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
		    api_ready(x->pod) ? "a leader" : "no leader", nodes_alive(x->pod), x->nodes);
	waiter_free(x);
}

static void waiter_wake(struct ready_waiter *x)
{
	struct pod *p = x->pod;
	struct ctl_req *r = x->req;
	bool redo = x->redo;

	waiter_free(x);
	ctl_req_on_gone(r, NULL, NULL);
	if (redo)
		api_handle(p, r);
	else
		ctl_reply(r, 200, node_json(p));
}

void api_wait_ready(struct pod *p, struct ctl_req *r, unsigned nodes, bool redo)
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

	if (!api_ready(p))
		return;
	list_for_each_safe (x, next, &p->ready_waiters, link) {
		if (nodes_alive(p) < x->nodes)
			continue;
		waiter_wake(x);
	}
}

void api_get_node(struct pod *p, struct ctl_req *r, args_t a)
{
	char text[8];
	unsigned nodes = 0;

	(void)a;
	/* "ready=N": when the node sees a leader and N nodes alive, itself included. */
	if (http_query_get(ctl_req_head(r)->query, "ready", text, sizeof(text)) > 0)
		nodes = (unsigned)strtoul(text, NULL, 10);
	if (nodes == 0 || (api_ready(p) && nodes_alive(p) >= nodes)) {
		ctl_reply(r, 200, node_json(p));
		return;
	}
	api_wait_ready(p, r, nodes, false);
}

void api_post_bootstrap(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	member_bootstrap(p, api_text(r, "machine"), api_text(r, "addr"), api_text(r, "volumes"),
			 strcmp(api_text(r, "volume_kind"), "mount") == 0, api_done,
			 api_pending(p, r, "pando status"));
}

void api_post_join(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	if (naming_self(p->naming) != NODE_NONE) {
		ctl_problem(r, 409, "pando leave", "this node is a member already");
		return;
	}
	member_join(p, api_text(r, "addr"), api_text(r, "token"), api_text(r, "listen"), api_done,
		    api_pending(p, r, "pando invite"));
}

static void leave_tried(void *arg, int err, const char *why)
{
	((struct api_pending *)arg)->try_next = err == -EBUSY ? "pando drain NODE" : "pando status";
	api_done(arg, err, why);
}

void api_post_leave(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	leave_ask(p, leave_tried, api_pending(p, r, NULL));
}

static void invite_done(void *arg, int err, const char *why)
{
	struct api_pending *x = arg;
	char addr[NAMING_ADDR_MAX];
	uint8_t key[NAMING_KEY_BYTES];

	if (err == 0 && x->req != NULL &&
	    naming_peer(x->pod->naming, naming_self(x->pod->naming), addr, key) == 0) {
		ctl_reply(x->req, 200, json_pack("{s:s, s:s}", "addr", addr, "token", x->text));
		free(x);
		return;
	}
	api_done(x, err, why);
}

void api_post_invite(struct pod *p, struct ctl_req *r, args_t a)
{
	struct api_pending *x = api_pending(p, r, "pando status");
	uint64_t uses = api_number(r, "uses");

	(void)a;
	member_invite(p, api_number(r, "ttl_s"), uses ? (unsigned)uses : 1, x->text, invite_done,
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

/* As this node sees it, and since when (1970; 0: not known). */
static const char *state_of(const struct pod *p, const struct naming_node *n,
			    const struct peer_load *l, uint64_t *since_ms)
{
	enum gossip_state g = gossip_of(p, n->id, since_ms);
	bool is_self = n->id == naming_self(p->naming);

	if (n->state == NAMING_NODE_LEFT)
		return "left";
	if (n->state == NAMING_NODE_LEAVING)
		return "leaving";
	if (is_self || n->down || g == GOSSIP_UNKNOWN)
		*since_ms = n->since_ms;
	if (is_self && life_cut_since_ms(p) != 0) {
		*since_ms = life_cut_since_ms(p);
		return "cut-off";
	}
	if (n->down)
		return "dead";
	if (!is_self && (g == GOSSIP_SILENT || (g == GOSSIP_UNKNOWN && !l->alive)))
		return "silent";
	if (!is_self && (g == GOSSIP_SUSPECT || !l->alive))
		return "suspect";
	return n->drain == NAMING_OPEN       ? "alive"
	       : n->drain == NAMING_DRAINING ? "draining"
					     : "drained";
}

/* Of how many blocks of pids it keeps who executes them. */
static unsigned pid_blocks(const struct naming_core *k, node_id node)
{
	const struct naming_block *b;
	unsigned n = 0;

	for (uint32_t i = 0; (b = naming_block_at(k, i)) != NULL; i++)
		n += b->authority == node;
	return n;
}

json_t *api_nodes_json(const struct pod *p)
{
	const struct naming_core *k = naming_tables(p->naming);
	json_t *rows = json_array();
	const struct naming_node *n;
	struct naming_status s;

	naming_status(p->naming, &s);
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		struct peer_load l;
		const char *state;
		uint64_t since_ms;

		peers_load(p, n->id, &l);
		state = state_of(p, n, &l, &since_ms);
		(void)json_array_append_new(
			rows,
			json_pack("{s:s, s:I, s:s, s:I, s:s, s:I, s:f, s:f, s:I, s:I, s:s, s:i}",
				  "name", n->name, "id", (json_int_t)n->id, "state", state,
				  "since_ms", (json_int_t)since_ms, "role", role_of(&s, n->id),
				  "epoch", (json_int_t)n->epoch, "cpus", (double)l.cpu_milli / 1000,
				  "load", (double)l.load_milli / 1000, "memory_bytes",
				  (json_int_t)l.memory_bytes, "free_bytes",
				  (json_int_t)l.free_bytes, "addr", n->addr, "pid_blocks",
				  (int)pid_blocks(k, n->id)));
	}
	return rows;
}

void api_get_nodes(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)a;
	/* A node that is cut off can say so. */
	if (naming_self(p->naming) == NODE_NONE)
		ctl_problem(r, 409, "pando up", "this node is no member of a machine");
	else if (naming_node_find(naming_tables(p->naming), naming_self(p->naming)) == NULL)
		api_wait_ready(p, r, 1, true);
	else
		ctl_reply(r, 200, json_pack("{s:o}", "nodes", api_nodes_json(p)));
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

json_t *api_tenants_json(const struct pod *p)
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
	if (p->args->ssh_net >= 0)
		(void)json_array_append_new(
			list, json_string("sshd of each node listens in the network of this host"));
	if (p->args->local)
		(void)json_array_append_new(
			list, json_string("all nodes run one Linux kernel: one host's failure is "
					  "the failure of all"));
	return list;
}

/* What stands between this node's tables and what somebody has asked for. */
static json_t *notes_json(const struct pod *p, const struct naming_status *s)
{
	const struct naming_core *k = naming_tables(p->naming);
	cleanup_buf struct buf voters = BUF_INIT;
	json_t *list = json_array();
	const struct naming_node *n;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->voters; i++) {
		n = naming_node_find(k, s->voter[i]);
		r = buf_addf(&voters, "%s%s", i > 0 ? ", " : "", n != NULL ? n->name : "?");
	}
	if (s->leader == NODE_NONE && s->voters > 0 && r == 0)
		(void)json_array_append_new(
			list, json_sprintf("no leader: nothing can be changed until a majority of "
					   "the voters (%s) answers",
					   buf_str(&voters)));
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		bool self = n->id == naming_self(p->naming);

		if (n->state == NAMING_NODE_LEAVING)
			(void)json_array_append_new(
				list, json_sprintf("%s is leaving, and goes on by itself%s%s",
						   n->name, self && *leave_why(p) ? ": " : "",
						   self ? leave_why(p) : ""));
	}
	return list;
}

void api_get_status(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *leader;
	struct naming_status s;

	(void)a;
	naming_status(p->naming, &s);
	leader = naming_node_find(k, s.leader);
	ctl_reply(r, 200,
		  json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:o, s:o, s:o, s:o}", "machine",
			    naming_machine(k)->name, "ssh", ssh_addr(p), "node", p->args->node,
			    "leader", leader ? leader->name : "", "term", (json_int_t)s.term,
			    "applied", (json_int_t)s.applied, "pid", (int)getpid(), "nodes",
			    api_nodes_json(p), "notes", notes_json(p, &s), "tenants",
			    api_tenants_json(p), "shortcuts", shortcuts_json(p)));
}
