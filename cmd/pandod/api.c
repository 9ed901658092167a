/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - the control API: one table of routes, and what all of them share.
 *
 * Kinds of callers: the operator (root, RUN/control.sock) may everything; a tenant (the socket in
 * its own sessions) sees the nodes and handles its own processes and sessions; a login over ssh
 * (ssh.c) starts sessions of its tenant; sshd's helper looks a key up.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "cmd/pandod/api.h"

void api_refuse(struct ctl_req *r, int err, const char *try_next, const char *why)
{
	ctl_problem(r, ctl_status_of(err), try_next, "%s", why);
}

const char *api_text(const struct ctl_req *r, const char *key)
{
	const char *s = json_string_value(json_object_get(ctl_req_body(r), key));

	return s ? s : "";
}

uint64_t api_number(const struct ctl_req *r, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(ctl_req_body(r), key));

	return n > 0 ? (uint64_t)n : 0;
}

static void pending_gone(void *arg)
{
	struct api_pending *x = arg;

	x->req = NULL;
}

struct api_pending *api_pending(struct pod *p, struct ctl_req *r, const char *try_next)
{
	struct api_pending *x = calloc(1, sizeof(*x));

	CHECK(x != NULL);
	x->pod = p;
	x->req = r;
	x->try_next = try_next;
	ctl_req_on_gone(r, pending_gone, x);
	return x;
}

void api_done(void *arg, int err, const char *why)
{
	struct api_pending *x = arg;

	if (x->req != NULL && err == 0)
		ctl_reply(x->req, 200, NULL);
	else if (x->req != NULL)
		api_refuse(x->req, err, x->try_next, why);
	free(x);
}

static void caught_up(void *arg, int err, const struct naming_result *res)
{
	struct api_pending *x = arg;

	(void)res;
	if (x->req != NULL && err == 0) {
		ctl_req_on_gone(x->req, NULL, NULL);
		api_handle(x->pod, x->req);
		free(x);
		return;
	}
	api_done(x, err, "no leader answered");
}

/* Sockets other than the two oldest say who their callers are. */
static enum who who_of(const struct ctl_req *r)
{
	if (ctl_req_role(r) == SSH_ROLE_HELPER)
		return HELPER;
	if (ctl_req_role(r) == SSH_ROLE_LOGIN)
		return LOGIN;
	return ctl_req_tenant(r) == TENANT_NONE ? OPERATOR : INSIDE;
}

/* "-" is the tenant that asks; another's name is none of its business. */
static const struct naming_tenant *own_tenant(struct pod *p, struct ctl_req *r, const char *name)
{
	const struct naming_tenant *t =
		naming_tenant_find(naming_tables(p->naming), ctl_req_tenant(r));

	if (t != NULL && (strcmp(name, "-") == 0 || strcmp(name, t->name) == 0))
		return t;
	ctl_problem(r, 403, NULL, "only the machine's operator may");
	return NULL;
}

/* Our copy of the tables may be a moment behind an answer that another node has given. */
const struct naming_tenant *api_tenant(struct pod *p, struct ctl_req *r, const char *name)
{
	const struct naming_tenant *t = naming_tenant_find_name(naming_tables(p->naming), name);
	struct api_pending *x;
	int err;

	if ((who_of(r) & (INSIDE | LOGIN)) != 0)
		return own_tenant(p, r, name);
	if (t != NULL)
		return t;
	if (ctl_req_note(r) != 0) {
		ctl_problem(r, 404, "pando tenant ls", "there is no tenant %.40s", name);
		return NULL;
	}
	ctl_req_set_note(r, 1);
	x = api_pending(p, r, "pando status");
	err = naming_barrier(p->naming, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, caught_up, x);
	if (err < 0)
		api_done(x, err, "the machine's tables cannot be asked");
	return NULL;
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

static void get_key(struct pod *p, struct ctl_req *r, args_t a)
{
	ssh_find_key(p, r, a[0], a[1]);
}

/* ---- sessions ---- */
static void get_sessions(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		attach_list(p, t, r);
}

static void post_attach(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);

	if (t != NULL)
		attach_session(p, t, strtoull(a[1], NULL, 10), r);
}

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

/* ---- the table ---- */
static const struct route routes[] = {
	{ "GET", "/v1/openapi.json", ANYBODY, NOTHING, api_get_openapi,
	  .summary = "This description, made from the table that dispatches.",
	  .curl = "http://pando/v1/openapi.json" },
	{ "GET", "/metrics", OPERATOR, NOTHING, api_get_metrics,
	  .summary = "The node's figures as OpenMetrics text.", .curl = "http://pando/metrics",
	  .answer = TEXT },
	{ "GET", "/v1/events", ANYBODY, NOTHING, api_get_events,
	  .summary = "What happened, as this node saw it: one line each, from behind a cursor on.",
	  .curl = "'http://pando/v1/events'", .query = "since:string follow:boolean",
	  .answer = LINES },
	{ "GET", "/v1/node", OPERATOR, NOTHING, api_get_node,
	  .summary = "This node; with ready, when it sees a leader and so many nodes alive.",
	  .curl = "'http://pando/v1/node?ready=1'", .query = "ready:integer" },
	{ "POST", "/v1/node/bootstrap", OPERATOR, NOTHING, api_post_bootstrap,
	  .summary = "Makes a new machine with this node as its first.",
	  .curl = "-d "
		  "'{\"machine\":\"aspen\",\"addr\":\"10.0.0.1:7300\",\"volumes\":\"/srv/pando\"}' "
		  "http://pando/v1/node/bootstrap",
	  .body = "machine:string! addr:string! volumes:string! volume_kind:string" },
	{ "POST", "/v1/node/join", OPERATOR, NOTHING, api_post_join,
	  .summary = "Makes this node one of the machine that gave the token.",
	  .curl = "-d '{\"addr\":\"10.0.0.1:7300\",\"token\":\"TOKEN\"}' http://pando/v1/node/join",
	  .body = "addr:string! token:string! listen:string" },
	{ "POST", "/v1/node/leave", OPERATOR, NOTHING, api_post_leave,
	  .summary = "Leaves the machine for good; refused while tenants have processes here.",
	  .curl = "-X POST http://pando/v1/node/leave" },
	{ "POST", "/v1/invites", OPERATOR, TABLES, api_post_invite,
	  .summary = "A token with which another host may join.",
	  .curl = "-d '{\"ttl_s\":600,\"uses\":1}' http://pando/v1/invites",
	  .body = "ttl_s:integer uses:integer" },
	{ "GET", "/v1/status", OPERATOR, NOTHING, api_get_status,
	  .summary = "The machine: leader, nodes, tenants, and what separate hosts could not do.",
	  .curl = "http://pando/v1/status" },
	{ "GET", "/v1/nodes", ANYBODY, TABLES, api_get_nodes,
	  .summary = "The nodes, whether they are alive, and how loaded.",
	  .curl = "http://pando/v1/nodes" },
	{ "POST", "/v1/nodes/:name/drain", OPERATOR, TABLES, api_post_drain,
	  .summary = "Closes a node for what is new and moves away what runs there: one line each.",
	  .curl = "-d '{\"deadline_s\":10}' http://pando/v1/nodes/n2/drain",
	  .body = "deadline_s:integer", .answer = LINES },
	{ "DELETE", "/v1/nodes/:name/drain", OPERATOR, TABLES, api_delete_drain,
	  .summary = "Opens a node again that was drained.",
	  .curl = "-X DELETE http://pando/v1/nodes/n2/drain" },
	{ "POST", "/v1/tenants", OPERATOR, TABLES, api_post_tenant, .summary = "A new account.",
	  .curl = "-d '{\"name\":\"carol\"}' http://pando/v1/tenants",
	  .body = "name:string! cpu_milli:integer memory_bytes:integer procs:integer "
		  "storage_bytes:integer",
	  .status = 201 },
	{ "GET", "/v1/tenants", OPERATOR, TABLES, api_get_tenants, .summary = "The accounts.",
	  .curl = "http://pando/v1/tenants" },
	{ "POST", "/v1/tenants/:name/keys", OPERATOR, TABLES, post_key,
	  .summary = "Lets an ssh key log in to an account.",
	  .curl = "-d '{\"key\":\"ssh-ed25519 "
		  "AAAAC3NzaC1lZDI1NTE5AAAAIE1WeArUPvCZ1ItRHqx3dbs9HOE5iE8dKhh4iE7vJX0q carol\"}' "
		  "http://pando/v1/tenants/carol/keys",
	  .body = "key:string!", .status = 201 },
	{ "GET", "/v1/tenants/:name/keys", OPERATOR, TABLES, get_keys,
	  .summary = "The ssh keys of an account.", .curl = "http://pando/v1/tenants/carol/keys" },
	{ "GET", "/v1/tenants/:name/keys/:hash", OPERATOR | HELPER, TABLES, get_key,
	  .summary = "The line of an ssh key, as sshd reads it, if it lets in this account.",
	  .curl = "http://pando/v1/tenants/carol/keys/$KEY" },
	{ "DELETE", "/v1/tenants/:name/keys/:hash", OPERATOR, TABLES, delete_key,
	  .summary = "Takes an ssh key away, by the sha256 of its blob in hexadecimal.",
	  .curl = "-X DELETE http://pando/v1/tenants/carol/keys/$KEY" },
	{ "POST", "/v1/tenants/:name/detached", OPERATOR, TABLES, post_detached,
	  .summary = "What becomes of an account's sessions when their connection is lost.",
	  .curl = "-d '{\"detached\":\"hangup\"}' http://pando/v1/tenants/carol/detached",
	  .body = "detached:string!" },
	{ "POST", "/v1/tenants/:name/limits", OPERATOR, TABLES, api_post_limits,
	  .summary = "Changes what an account may use; 0 is no limit, what is left out stays.",
	  .curl = "-d '{\"procs\":500,\"cpu_milli\":2000}' "
		  "http://pando/v1/tenants/carol/limits",
	  .body = "cpu_milli:integer memory_bytes:integer procs:integer storage_bytes:integer "
		  "cpu_weight:integer" },
	{ "GET", "/v1/quota", ANYBODY, TABLES, api_get_quota,
	  .summary = "Limits, what of them is used, and what is lent to which node.",
	  .curl = "'http://pando/v1/quota?tenant=carol'", .query = "tenant:string" },
	{ "GET", "/v1/usage", ANYBODY, TABLES, api_get_usage,
	  .summary = "What accounts have used in the last so many seconds, on all nodes.",
	  .curl = "'http://pando/v1/usage?since=3600'", .query = "since:integer tenant:string" },
	{ "GET", "/v1/tenants/:name/sessions", ANYBODY | LOGIN, TABLES, get_sessions,
	  .summary =
		  "The sessions on terminals of an account, on all nodes; - is the caller's own.",
	  .curl = "http://pando/v1/tenants/carol/sessions" },
	{ "POST", "/v1/tenants/:name/sessions", OPERATOR | LOGIN, TABLES, post_session,
	  .summary =
		  "Starts a program in an account; the answer lasts until it ends, and says how.",
	  .curl = "-d '{\"session\":4711,\"argv\":[\"/bin/true\"]}' "
		  "http://pando/v1/tenants/carol/sessions",
	  .body = "session:integer! argv:array env:array cwd:string tty:boolean rows:integer "
		  "cols:integer",
	  .answer = LINES },
	{ "POST", "/v1/tenants/:name/sessions/:id/attach", ANYBODY | LOGIN, TABLES, post_attach,
	  .summary =
		  "Takes the line of a session on a terminal: a descriptor comes with the answer.",
	  .curl = "-d '{\"client\":1,\"rows\":24,\"cols\":80}' "
		  "http://pando/v1/tenants/carol/sessions/$SESSION/attach",
	  .body = "client:integer! from:integer rows:integer! cols:integer!", .answer = LINES },
	{ "POST", "/v1/tenants/:name/sessions/:id/signal", OPERATOR | LOGIN, TABLES, post_signal,
	  .summary = "Raises a signal in the leader of a session.",
	  .curl = "-d '{\"signal\":15}' http://pando/v1/tenants/carol/sessions/$SESSION/signal",
	  .body = "signal:integer!" },
	{ "GET", "/v1/tenants/:name/sessions/:id", OPERATOR | LOGIN, TABLES, get_session,
	  .summary = "Waits for a session that another daemon has started.",
	  .curl = "http://pando/v1/tenants/carol/sessions/$SESSION", .answer = LINES },
	{ "GET", "/v1/processes", ANYBODY, TABLES, get_processes,
	  .summary = "The processes of all nodes, or of one account.",
	  .curl = "'http://pando/v1/processes?tenant=carol'", .query = "tenant:string" },
	{ "GET", "/v1/processes/:pid/why", ANYBODY, TABLES, get_why,
	  .summary = "What forbids moving a process, or what moving it would cost.",
	  .curl = "\"http://pando/v1/processes/$PID/why?tenant=carol\"", .query = "tenant:string" },
	{ "POST", "/v1/processes/:pid/migrate", ANYBODY, TABLES, post_migrate,
	  .summary = "Moves a running process.",
	  .curl = "-d '{\"node\":\"n1\",\"tenant\":\"carol\"}' "
		  "http://pando/v1/processes/$PID/migrate",
	  .body = "node:string! tenant:string" },
	{ "DELETE", "/v1/tenants/:name", OPERATOR, TABLES, api_delete_tenant,
	  .summary = "Ends what an account runs, and removes it; its files stay.",
	  .curl = "-X DELETE http://pando/v1/tenants/carol" },
	{ "GET", "/v1/debug/points", OPERATOR, NOTHING, api_get_points,
	  .summary = "The fault points of this daemon, or of a tenant's guest kernel.",
	  .curl = "http://pando/v1/debug/points", .query = "tenant:string" },
	{ "POST", "/v1/debug/fault", OPERATOR, NOTHING, api_post_fault,
	  .summary = "Arms a fault point.",
	  .curl = "-d '{\"point\":\"pod.session.deliver:1000000\"}' http://pando/v1/debug/fault",
	  .body = "point:string! tenant:string" },
};

const struct route *api_routes(size_t *n)
{
	*n = ARRAY_LEN(routes);
	return routes;
}

void api_handle(void *arg, struct ctl_req *r)
{
	struct pod *p = arg;
	const struct http_head *h = ctl_req_head(r);
	bool path_known = false;
	args_t a;

	p->api_requests++;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (http_route_match(routes[i].path, h->path, a) < 0)
			continue;
		path_known = true;
		if (strcmp(routes[i].method, h->method) != 0)
			continue;
		if ((routes[i].who & (unsigned)who_of(r)) == 0)
			ctl_problem(r, 403, NULL, "only the machine's operator may");
		else if (routes[i].needs == TABLES && naming_self(p->naming) == NODE_NONE)
			ctl_problem(r, 409, "pando up", "this node is no member of a machine");
		else if (routes[i].needs == TABLES && !api_ready(p))
			api_wait_ready(p, r, 1, true);
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
	r = ctl_server_new(&p->api, p->loop, api_handle, p);
	return r < 0 ? r : ctl_server_listen(p->api, fd, TENANT_NONE, NULL);
}
