/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_process.c - processes over the control API: list, move, explain.
 *
 * Every node's kernels are asked for what executes there; so an answer needs no kernel that knows
 * the whole machine, and a node that is silent is named.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cmd/pandod/api/api.h"
#include "kernel/kernel.pb-c.h"

struct gather;

/* One question to one kernel. */
struct question {
	struct gather *g;
	tenant_id tenant;
	node_id node;
};

typedef void (*gather_fn)(struct gather *g);

struct gather {
	struct pod *pod;
	struct ctl_req *req; /* NULL: the caller went away */
	int pid;             /* 0: all */
	bool moving;         /* the one is between two nodes */
	unsigned left;
	json_t *rows, *silent;
	gather_fn done;
	/* where the one process that was found shall go */
	char target[NODE_NAME_MAX];
	tenant_id tenant; /* whose it is */
};

static void gather_gone(void *arg)
{
	struct gather *g = arg;

	g->req = NULL;
}

static void gather_free(struct gather *g)
{
	json_decref(g->rows);
	json_decref(g->silent);
	free(g);
}

json_t *api_guest_text(const char *s)
{
	json_t *j = json_string(s);
	char plain[256];
	size_t i;

	if (j != NULL)
		return j;
	for (i = 0; s[i] != '\0' && i < sizeof(plain) - 1; i++)
		plain[i] = (char)((s[i] & 0x80) ? '?' : s[i]);
	plain[i] = '\0';
	return json_string(plain);
}

static json_t *process_json(const struct question *q, const Kernel__Process *x)
{
	const struct pod *p = q->g->pod;
	const char *text = x->args && *x->args ? x->args : x->comm;
	json_t *row = json_pack("{s:s, s:i, s:i, s:i, s:i, s:I, s:s}", "tenant",
				api_tenant_name(p, q->tenant), "pid", x->pid, "ppid", x->ppid,
				"pgid", x->pgid, "sid", x->sid, "uid", (json_int_t)x->uid, "node",
				api_node_name(p, q->node));

	if (row == NULL)
		return NULL;
	(void)json_object_set_new(row, "state", api_guest_text(x->state ? x->state : "?"));
	(void)json_object_set_new(row, "comm", api_guest_text(x->comm ? x->comm : ""));
	(void)json_object_set_new(row, "args", api_guest_text(text ? text : ""));
	(void)json_object_set_new(row, "cpu_ns", json_integer((json_int_t)x->cpu_ns));
	(void)json_object_set_new(row, "rss_bytes", json_integer((json_int_t)x->rss_bytes));
	(void)json_object_set_new(row, "age_ns", json_integer((json_int_t)x->age_ns));
	(void)json_object_set_new(row, "threads", json_integer(x->threads));
	return row;
}

static void name_silent(struct gather *g, node_id node)
{
	const char *name = api_node_name(g->pod, node);
	json_t *have;
	size_t i;

	json_array_foreach(g->silent, i, have)
	{
		if (strcmp(json_string_value(have), name) == 0)
			return;
	}
	(void)json_array_append_new(g->silent, json_string(name));
}

static int by_pid(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int r = strcmp(json_string_value(json_object_get(x, "tenant")),
		       json_string_value(json_object_get(y, "tenant")));

	return r ? r
		 : (int)(json_integer_value(json_object_get(x, "pid")) -
			 json_integer_value(json_object_get(y, "pid")));
}

static json_int_t age_of(const json_t *row)
{
	return json_integer_value(json_object_get(row, "age_ns"));
}

/*
 * One node is asked before and another after a process goes from here to there: it is told of twice
 * then, though no two ever execute it, and where it has begun last is where it is.
 */
static void gather_end(struct gather *g)
{
	json_t *rows = api_sorted(g->rows, by_pid);

	for (size_t i = 1; i < json_array_size(rows);) {
		json_t *a = json_array_get(rows, i - 1), *b = json_array_get(rows, i);

		if (by_pid(&a, &b) != 0)
			i++;
		else
			(void)json_array_remove(rows, age_of(a) > age_of(b) ? i - 1 : i);
	}
	json_decref(g->rows);
	g->rows = rows;
	g->done(g);
}

static void answered(void *arg, int err, const struct rpc_msg *m)
{
	struct question *q = arg;
	struct gather *g = q->g;
	Kernel__ProcessList *l =
		err == 0 ? kernel__process_list__unpack(NULL, m->len, m->body) : NULL;

	for (size_t i = 0; l != NULL && i < l->n_processes; i++)
		(void)json_array_append_new(g->rows, process_json(q, l->processes[i]));
	/* -ESRCH: it is not there; -EBUSY: it is on its way from there, or to there. */
	g->moving |= err == -EBUSY;
	if (l == NULL && err != -ESRCH && err != -EBUSY)
		name_silent(g, q->node);
	kernel__process_list__free_unpacked(l, NULL);
	free(q);
	if (--g->left == 0)
		gather_end(g);
}

static void ask(struct gather *g, tenant_id t, node_id node)
{
	Kernel__PsRequest ps = KERNEL__PS_REQUEST__INIT;
	struct question *q = malloc(sizeof(*q));
	uint8_t body[32];
	int r;

	CHECK(q != NULL);
	*q = (struct question){ g, t, node };
	ps.pid = g->pid;
	g->left++;
	r = kern_request_at(g->pod, node, t, KERNEL_PS, body, kernel__ps_request__pack(&ps, body),
			    answered, q);
	if (r < 0)
		answered(q, r, NULL);
}

/* Asks every node about @t, or about every tenant if it is TENANT_NONE. */
static void gather_start(struct pod *p, struct ctl_req *r, tenant_id t, int pid, const char *target,
			 gather_fn done)
{
	const struct naming_core *k = naming_tables(p->naming);
	struct gather *g = calloc(1, sizeof(*g));
	const struct naming_tenant *row;
	const struct naming_node *n;

	CHECK(g != NULL);
	*g = (struct gather){ .pod = p, .req = r, .pid = pid, .left = 1, .done = done };
	(void)snprintf(g->target, sizeof(g->target), "%s", target);
	g->rows = json_array();
	g->silent = json_array();
	ctl_req_on_gone(r, gather_gone, g);
	for (uint32_t i = 0; (row = naming_tenant_at(k, i)) != NULL; i++) {
		if (t != TENANT_NONE && row->id != t)
			continue;
		for (uint32_t j = 0; (n = naming_node_at(k, j)) != NULL; j++)
			if (n->state != NAMING_NODE_LEFT && !n->down)
				ask(g, row->id, n->id);
	}
	if (--g->left == 0)
		gather_end(g);
}

/*
 * Whose processes a request is about: a tenant's caller only its own. Returns false if
 * there is no such tenant; the request is then taken care of.
 */
static bool scope(struct pod *p, struct ctl_req *r, const char *name, tenant_id *t)
{
	const struct naming_tenant *row;

	*t = ctl_req_tenant(r);
	if (*t != TENANT_NONE || *name == '\0')
		return true;
	row = api_tenant(p, r, name);
	if (row == NULL)
		return false;
	*t = row->id;
	return true;
}

static void processes_done(struct gather *g)
{
	if (g->req != NULL)
		ctl_reply(g->req, 200,
			  json_pack("{s:O, s:O}", "processes", g->rows, "silent", g->silent));
	gather_free(g);
}

void api_processes(struct pod *p, struct ctl_req *r)
{
	tenant_id t;

	if (api_whom(p, r, &t))
		gather_start(p, r, t, 0, "", processes_done);
}

/* ---- one process ---- */
/* The one row that was found, or NULL and the refusal is sent. */
static json_t *only_row(struct gather *g)
{
	size_t n = json_array_size(g->rows);

	if (n == 1)
		return json_array_get(g->rows, 0);
	if (n == 0 && g->moving)
		ctl_problem(g->req, 409, "pando ps", "it is moving already");
	else if (n == 0)
		ctl_problem(g->req, 404, "pando ps", "there is no process %d%s", g->pid,
			    json_array_size(g->silent) ? " on the nodes that answered" : "");
	else
		ctl_problem(g->req, 409, "pando ps",
			    "more than one tenant has a process %d: say --tenant", g->pid);
	return NULL;
}

static const struct naming_node *row_node(const struct gather *g, const json_t *row)
{
	return naming_node_find_name(naming_tables(g->pod->naming),
				     json_string_value(json_object_get(row, "node")));
}

static tenant_id row_tenant(const struct gather *g, const json_t *row)
{
	const struct naming_tenant *t = naming_tenant_find_name(
		naming_tables(g->pod->naming), json_string_value(json_object_get(row, "tenant")));

	return t ? t->id : TENANT_NONE;
}

/* The one process that was found and where it is; false: there is none, and @g is gone. */
static bool only_one(struct gather *g, const json_t **row, const struct naming_node **at)
{
	*row = g->req ? only_row(g) : NULL;
	*at = *row ? row_node(g, *row) : NULL;
	if (*at != NULL)
		return true;
	if (*row != NULL)
		ctl_problem(g->req, 404, "pando ps", "the node of process %d has left", g->pid);
	gather_free(g);
	return false;
}

static void moved(void *arg, int err, const struct rpc_msg *m)
{
	struct gather *g = arg;
	Kernel__Outcome *o = err == 0 ? kernel__outcome__unpack(NULL, m->len, m->body) : NULL;
	char why_it[32];

	if (g->req == NULL) {
		/* nobody to tell */
	} else if (o == NULL) {
		api_refuse(g->req, err ? err : -EPROTO, "pando ps",
			   "its guest kernel did not answer");
	} else if (o->err != 0) {
		(void)snprintf(why_it, sizeof(why_it), "pando why %d", g->pid);
		ctl_problem(g->req, ctl_status_of(o->err), *o->try_next ? o->try_next : why_it,
			    "%s", *o->why ? o->why : strerror(-o->err));
	} else {
		events_add(g->pod, "process.moved", g->tenant,
			   json_pack("{s:i, s:s, s:I}", "pid", g->pid, "to", g->target, "freeze_ns",
				     (json_int_t)o->freeze_ns));
		ctl_reply(g->req, 200,
			  json_pack("{s:s, s:I, s:I}", "node", g->target, "freeze_ns",
				    (json_int_t)o->freeze_ns, "bytes", (json_int_t)o->bytes));
	}
	kernel__outcome__free_unpacked(o, NULL);
	gather_free(g);
}

static void migrate_found(struct gather *g)
{
	const struct naming_node *to =
		naming_node_find_name(naming_tables(g->pod->naming), g->target);
	Kernel__Migrate mv = KERNEL__MIGRATE__INIT;
	const struct naming_node *from;
	const json_t *row;
	uint8_t body[32];
	int r;

	if (!only_one(g, &row, &from))
		return;
	if (to == NULL) {
		/* It has left while the others were asked. */
		api_no_node(g->pod, g->req, g->target);
		gather_free(g);
		return;
	}
	if (from == to) {
		ctl_reply(g->req, 200,
			  json_pack("{s:s, s:i, s:i}", "node", g->target, "freeze_ns", 0, "bytes",
				    0));
		gather_free(g);
		return;
	}
	g->tenant = row_tenant(g, row);
	mv.pid = g->pid;
	mv.node = to->id;
	r = kern_request_at(g->pod, from->id, g->tenant, KERNEL_MIGRATE, body,
			    kernel__migrate__pack(&mv, body), moved, g);
	if (r < 0)
		moved(g, r, NULL);
}

void api_migrate(struct pod *p, struct ctl_req *r, int pid)
{
	const char *node = json_string_value(json_object_get(ctl_req_body(r), "node"));
	const char *tenant = json_string_value(json_object_get(ctl_req_body(r), "tenant"));
	const struct naming_node *n =
		node ? naming_node_find_name(naming_tables(p->naming), node) : NULL;
	tenant_id t;

	if (n == NULL || n->state != NAMING_NODE_JOINED) {
		api_no_node(p, r, node ? node : "");
		return;
	}
	if (scope(p, r, tenant ? tenant : "", &t))
		gather_start(p, r, t, pid, n->name, migrate_found);
}

static json_t *notes_json(const Kernel__WhyAnswer *a)
{
	json_t *notes = json_array();

	for (size_t i = 0; a != NULL && i < a->n_notes; i++)
		(void)json_array_append_new(notes,
					    json_pack("{s:o, s:I, s:i}", "text",
						      api_guest_text(a->notes[i]->text), "age_ns",
						      (json_int_t)a->notes[i]->age_ns, "times",
						      (int)a->notes[i]->times));
	return notes;
}

static void explained(void *arg, int err, const struct rpc_msg *m)
{
	struct gather *g = arg;
	Kernel__WhyAnswer *a = err == 0 ? kernel__why_answer__unpack(NULL, m->len, m->body) : NULL;
	json_t *reasons = json_array(), *notes = notes_json(a);

	for (size_t i = 0; a != NULL && i < a->n_reasons; i++)
		(void)json_array_append_new(reasons, api_guest_text(a->reasons[i]));
	if (g->req != NULL && a != NULL)
		ctl_reply(g->req, 200,
			  json_pack("{s:s, s:O, s:I, s:I, s:O}", "node",
				    api_node_name(g->pod, a->node), "reasons", reasons, "bytes",
				    (json_int_t)a->bytes, "freeze_ns", (json_int_t)a->freeze_ns,
				    "notes", notes));
	else if (g->req != NULL)
		api_refuse(g->req, err ? err : -EPROTO, "pando ps",
			   "its guest kernel did not answer");
	json_decref(reasons);
	json_decref(notes);
	kernel__why_answer__free_unpacked(a, NULL);
	gather_free(g);
}

static void why_found(struct gather *g)
{
	Kernel__Why why = KERNEL__WHY__INIT;
	const struct naming_node *at;
	const json_t *row;
	uint8_t body[16];
	int r;

	if (!only_one(g, &row, &at))
		return;
	why.pid = g->pid;
	r = kern_request_at(g->pod, at->id, row_tenant(g, row), KERNEL_WHY, body,
			    kernel__why__pack(&why, body), explained, g);
	if (r < 0)
		explained(g, r, NULL);
}

void api_why(struct pod *p, struct ctl_req *r, int pid)
{
	tenant_id t;

	if (api_whom(p, r, &t))
		gather_start(p, r, t, pid, "", why_found);
}
