/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - the control API: who may ask for what, and what all answers share.
 *
 * Kinds of callers: the operator (root, RUN/control.sock) may everything; a tenant (api_inside.c:
 * its guest kernel has read the request) sees the nodes and handles its own processes and sessions;
 * a login over ssh (ssh.c) starts sessions of its tenant; sshd's helper looks a key up.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/guess.h"
#include "cmd/pandod/api/api.h"

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

const char *api_node_name(const struct pod *p, node_id id)
{
	const struct naming_node *n = naming_node_find(naming_tables(p->naming), id);

	return n ? n->name : "?";
}

const char *api_tenant_name(const struct pod *p, tenant_id id)
{
	const struct naming_tenant *t = naming_tenant_find(naming_tables(p->naming), id);

	return t ? t->name : "?";
}

json_t *api_sorted(json_t *rows, int (*order)(const void *a, const void *b))
{
	size_t n = json_array_size(rows);
	json_t **list = calloc(n + 1, sizeof(*list)), *out = json_array();

	CHECK(list != NULL && out != NULL);
	for (size_t i = 0; i < n; i++)
		list[i] = json_array_get(rows, i);
	qsort(list, n, sizeof(*list), order);
	for (size_t i = 0; i < n; i++)
		(void)json_array_append(out, list[i]);
	free(list);
	return out;
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
static enum ctl_who who_of(const struct ctl_req *r)
{
	if (ctl_req_role(r) == SSH_ROLE_HELPER)
		return CTL_HELPER;
	if (ctl_req_role(r) == SSH_ROLE_LOGIN)
		return CTL_LOGIN;
	return ctl_req_tenant(r) == TENANT_NONE ? CTL_OPERATOR : CTL_INSIDE;
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

static void no_tenant(struct pod *p, struct ctl_req *r, const char *name)
{
	const struct naming_tenant *t;
	char meant[GUESS_MAX + 24];
	struct guess g;

	guess_init_name(&g, name);
	/* Who is not the operator learns no names. */
	if (who_of(r) == CTL_OPERATOR)
		for (uint32_t i = 0; (t = naming_tenant_at(naming_tables(p->naming), i)); i++)
			guess_offer(&g, t->name);
	ctl_problem(r, 404, "pando tenant ls", "there is no tenant %.40s%s", name,
		    guess_text(&g, meant));
}

void api_no_node(struct pod *p, struct ctl_req *r, const char *name)
{
	const struct naming_node *n;
	char meant[GUESS_MAX + 24];
	struct guess g;

	guess_init_name(&g, name);
	for (uint32_t i = 0; (n = naming_node_at(naming_tables(p->naming), i)) != NULL; i++)
		if (n->state == NAMING_NODE_JOINED)
			guess_offer(&g, n->name);
	ctl_problem(r, 404, "pando nodes", "there is no node %.40s%s", name, guess_text(&g, meant));
}

/* Our copy of the tables may be a moment behind an answer that another node has given. */
const struct naming_tenant *api_tenant(struct pod *p, struct ctl_req *r, const char *name)
{
	const struct naming_tenant *t = naming_tenant_find_name(naming_tables(p->naming), name);
	struct api_pending *x;
	int err;

	if ((who_of(r) & (CTL_INSIDE | CTL_LOGIN)) != 0)
		return own_tenant(p, r, name);
	if (t != NULL)
		return t;
	if (ctl_req_note(r) != 0) {
		no_tenant(p, r, name);
		return NULL;
	}
	ctl_req_set_note(r, 1);
	x = api_pending(p, r, "pando status");
	err = naming_barrier(p->naming, clock_mono_ns() + POD_ASK_MS * NS_PER_MS, caught_up, x);
	if (err < 0)
		api_done(x, err, "the machine's tables cannot be asked");
	return NULL;
}

bool api_whom(struct pod *p, struct ctl_req *r, tenant_id *only)
{
	char name[TENANT_NAME_MAX];
	const struct naming_tenant *t;
	int n = http_query_get(ctl_req_head(r)->query, "tenant", name, sizeof(name));

	*only = ctl_req_tenant(r);
	if (*only != TENANT_NONE || n == 0 || n == -ENOENT)
		return true;
	if (n < 0) {
		ctl_problem(r, 404, "pando tenant ls", "there is no tenant of such a name");
		return false;
	}
	t = api_tenant(p, r, name);
	if (t == NULL)
		return false;
	*only = t->id;
	return true;
}

/* ---- what is about one tenant, whose name is in the path ---- */
static void delete_key(struct pod *p, struct ctl_req *r, const struct naming_tenant *t, args_t a)
{
	api_key_remove(p, r, t, a[1]);
}

static void post_attach(struct pod *p, struct ctl_req *r, const struct naming_tenant *t, args_t a)
{
	attach_session(p, t, strtoull(a[1], NULL, 10), r);
}

static void get_session(struct pod *p, struct ctl_req *r, const struct naming_tenant *t, args_t a)
{
	session_wait(p, t, strtoull(a[1], NULL, 10), r);
}

static void post_signal(struct pod *p, struct ctl_req *r, const struct naming_tenant *t, args_t a)
{
	session_signal(p, t, strtoull(a[1], NULL, 10), r);
}

static void get_key(struct pod *p, struct ctl_req *r, args_t a)
{
	ssh_find_key(p, r, a[0], a[1]);
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

static void get_openapi(struct pod *p, struct ctl_req *r, args_t a)
{
	(void)p;
	(void)a;
	ctl_reply(r, 200, ctl_openapi());
}

/* ---- the dispatch ---- */
struct handler {
	void (*fn)(struct pod *p, struct ctl_req *r, args_t a);
	/* or, for one tenant: */
	void (*with)(struct pod *p, struct ctl_req *r, const struct naming_tenant *t, args_t a);
	void (*of)(struct pod *p, struct ctl_req *r, const struct naming_tenant *t);
};

static const struct handler handlers[CTL_ROUTE_END] = {
	[CTL_OPENAPI] = { .fn = get_openapi },
	[CTL_METRICS] = { .fn = api_get_metrics },
	[CTL_EVENTS] = { .fn = api_get_events },
	[CTL_NODE] = { .fn = api_get_node },
	[CTL_BOOTSTRAP] = { .fn = api_post_bootstrap },
	[CTL_JOIN] = { .fn = api_post_join },
	[CTL_LEAVE] = { .fn = api_post_leave },
	[CTL_INVITE] = { .fn = api_post_invite },
	[CTL_STATUS] = { .fn = api_get_status },
	[CTL_NODES] = { .fn = api_get_nodes },
	[CTL_DRAIN] = { .fn = api_post_drain },
	[CTL_DRAIN_UNDO] = { .fn = api_delete_drain },
	[CTL_TENANT_ADD] = { .fn = api_post_tenant },
	[CTL_TENANTS] = { .fn = api_get_tenants },
	[CTL_KEY_ADD] = { .of = api_key_add },
	[CTL_KEYS] = { .of = api_key_list },
	[CTL_KEY] = { .fn = get_key },
	[CTL_KEY_REMOVE] = { .with = delete_key },
	[CTL_DETACHED] = { .of = api_tenant_detached },
	[CTL_LIMITS] = { .fn = api_post_limits },
	[CTL_QUOTA] = { .fn = api_get_quota },
	[CTL_USAGE] = { .fn = api_get_usage },
	[CTL_SESSIONS] = { .of = attach_list },
	[CTL_SESSION_START] = { .of = session_start },
	[CTL_SESSION_ATTACH] = { .with = post_attach },
	[CTL_SESSION_SIGNAL] = { .with = post_signal },
	[CTL_SESSION_WAIT] = { .with = get_session },
	[CTL_PROCESSES] = { .fn = get_processes },
	[CTL_SCHED] = { .fn = api_get_sched },
	[CTL_WHY] = { .fn = get_why },
	[CTL_MIGRATE] = { .fn = post_migrate },
	[CTL_TENANT_REMOVE] = { .fn = api_delete_tenant },
	[CTL_FAULT_POINTS] = { .fn = api_get_points },
	[CTL_FAULT] = { .fn = api_post_fault },
};

static void handle(struct pod *p, struct ctl_req *r, const struct handler *h, args_t a)
{
	const struct naming_tenant *t = h->fn == NULL ? api_tenant(p, r, a[0]) : NULL;

	if (h->fn != NULL)
		h->fn(p, r, a);
	else if (t != NULL && h->of != NULL)
		h->of(p, r, t);
	else if (t != NULL)
		h->with(p, r, t, a);
}

void api_handle(void *arg, struct ctl_req *r)
{
	struct pod *p = arg;
	const struct http_head *h = ctl_req_head(r);
	const struct ctl_route *row;
	char why[128];
	args_t a;

	p->api_requests++;
	row = ctl_route_find(h->method, h->path, a);
	if (row == NULL)
		ctl_no_route(r);
	else if ((row->who & (unsigned)who_of(r)) == 0)
		ctl_problem(r, 403, NULL, "only the machine's operator may");
	else if (!ctl_body_ok(row, ctl_req_body(r), why, sizeof(why)))
		ctl_problem(r, 400, NULL, "%s", why);
	else if (row->needs_tables && naming_self(p->naming) == NODE_NONE)
		ctl_problem(r, 409, "pando up", "this node is no member of a machine");
	else if (row->needs_tables && !api_ready(p))
		api_wait_ready(p, r, 1, true);
	else
		handle(p, r, &handlers[row->id], a);
}

int api_init(struct pod *p)
{
	char path[PATH_MAX + 16];
	int fd, r;

	for (int i = 1; i < CTL_ROUTE_END; i++)
		CHECK((handlers[i].fn || handlers[i].with || handlers[i].of) &&
		      ctl_route_at((enum ctl_route_id)i) != NULL);
	(void)snprintf(path, sizeof(path), "%s/control.sock", p->run);
	fd = ctl_socket_listen(path, 0600);
	if (fd < 0)
		return fd;
	r = ctl_server_new(&p->api, p->loop, api_handle, p);
	return r < 0 ? r : ctl_server_listen(p->api, fd, TENANT_NONE, NULL);
}
