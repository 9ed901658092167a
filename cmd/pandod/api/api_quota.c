/* SPDX-License-Identifier: Apache-2.0 */
/* api_quota.c - limits, what is lent and used, and usage over time, over the control API. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/pandod/api/api.h"
#include "cmd/pandod/pod.pb-c.h"
#include "cmd/pandod/tenant/quota.h"
#include "quota/core/meter.h"

enum { SINCE_MAX_S = 10 * 366 * 86400, ROWS_MAX = 1024 };

/* ---- limits ---- */

static void limits_set(void *arg, int err, const struct naming_result *res)
{
	if (err == 0)
		err = res->err;
	api_done(arg, err,
		 err == -EINVAL      ? "a limit is out of range"
		 : err == -ETIMEDOUT ? "no leader answered"
				     : strerror(-err));
}

/* A member that is there, 0 for no limit. False: it is more than any machine has. */
static bool take(const struct ctl_req *r, const char *key, uint64_t max, uint64_t *out)
{
	if (json_object_get(ctl_req_body(r), key) != NULL)
		*out = api_number(r, key);
	return *out <= max;
}

bool api_take_limits(struct ctl_req *r, struct naming_limits *l)
{
	uint64_t cpu = l->cpu_milli, procs = l->procs, weight = l->cpu_weight;

	if (!take(r, "cpu_milli", 1000000000, &cpu) || !take(r, "procs", 4000000, &procs) ||
	    !take(r, "cpu_weight", 10000, &weight) ||
	    !take(r, "memory_bytes", INT64_MAX, &l->memory_bytes) ||
	    !take(r, "storage_bytes", INT64_MAX, &l->storage_bytes)) {
		ctl_problem(r, 400, "pando tenant set --help", "a limit is no amount");
		return false;
	}
	l->cpu_milli = (uint32_t)cpu;
	l->procs = (uint32_t)procs;
	l->cpu_weight = (uint32_t)weight;
	return true;
}

void api_post_limits(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_tenant *t = api_tenant(p, r, a[0]);
	struct naming_cmd cmd = { .kind = NAMING_CMD_TENANT_LIMITS };
	struct api_pending *x;
	int err;

	if (t == NULL)
		return;
	cmd.tenant = t->id;
	cmd.limits = t->limits;
	if (!api_take_limits(r, &cmd.limits))
		return;
	if (json_object_get(ctl_req_body(r), "storage_bytes") != NULL) {
		struct volume_no no;

		err = volume_resize(p, t->name, cmd.limits.storage_bytes, &no);
		if (err < 0) {
			api_refuse(r, err, no.try_next, no.why);
			return;
		}
	}
	x = api_pending(p, r, "pando status");
	err = api_propose(p, &cmd, limits_set, x);
	if (err < 0)
		api_done(x, err, "the machine's tables cannot be asked");
}

/* ---- quota ---- */

static void set_amount(json_t *o, const char *key, unsigned r, uint64_t v)
{
	static const char *const names[QUOTA_RESOURCES] = { "cpus", "procs", "memory_bytes" };
	char name[48];

	if (v == QUOTA_ANY)
		return;
	(void)snprintf(name, sizeof(name), "%s%s", names[r], key);
	(void)json_object_set_new(o, name,
				  r == QUOTA_CPU ? json_real((double)v / 1000)
						 : json_integer((json_int_t)v));
}

static json_t *node_row(const struct pod *p, const struct naming_loan *l,
			struct quota_amounts *used)
{
	const struct naming_node *n = naming_node_find(naming_tables(p->naming), l->node);
	json_t *row = json_pack("{s:s}", "node", n ? n->name : "?");
	struct quota_amounts use;
	bool known = quota_use(p, l->tenant, l->node, &use);

	for (unsigned r = 0; r < QUOTA_RESOURCES; r++) {
		set_amount(row, "_lent", r, l->lent[r]);
		if (l->need[r] > l->lent[r])
			set_amount(row, "_wanted", r, l->need[r]);
		if (known)
			set_amount(row, "_used", r, use.v[r]);
		used->v[r] += known ? use.v[r] : 0;
	}
	return row;
}

static json_t *quota_json(const struct pod *p, const struct naming_tenant *t)
{
	const struct naming_core *k = naming_tables(p->naming);
	json_t *row = json_pack("{s:s, s:i}", "tenant", t->name, "weight",
				(int)(t->limits.cpu_weight ? t->limits.cpu_weight : 100));
	json_t *nodes = json_array();
	struct quota_amounts used = { { 0 } };
	const struct naming_loan *l;
	uint64_t storage_used;

	for (uint32_t i = 0; (l = naming_loan_at(k, i)) != NULL; i++)
		if (l->tenant == t->id)
			(void)json_array_append_new(nodes, node_row(p, l, &used));
	for (unsigned r = 0; r < QUOTA_RESOURCES; r++) {
		set_amount(row, "", r, naming_limit(t, r));
		set_amount(row, "_lent", r, naming_lent(k, t->id, r));
		set_amount(row, "_used", r, used.v[r]);
	}
	if (t->limits.storage_bytes != 0)
		(void)json_object_set_new(row, "storage_bytes",
					  json_integer((json_int_t)t->limits.storage_bytes));
	if (volume_used(p, t->name, &storage_used) == 0)
		(void)json_object_set_new(row, "storage_bytes_used",
					  json_integer((json_int_t)storage_used));
	(void)json_object_set_new(row, "nodes", nodes);
	return row;
}

void api_get_quota(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_tenant *t;
	json_t *rows;
	tenant_id only;

	(void)a;
	if (!api_whom(p, r, &only))
		return;
	rows = json_array();
	for (uint32_t i = 0; (t = naming_tenant_at(k, i)) != NULL; i++)
		if (only == TENANT_NONE || t->id == only)
			(void)json_array_append_new(rows, quota_json(p, t));
	ctl_reply(r, 200, json_pack("{s:o}", "quota", rows));
}

/* ---- usage ---- */

struct gather {
	struct pod *pod;
	struct ctl_req *req; /* NULL: the caller went away */
	tenant_id only;
	uint64_t since_s;
	unsigned left;
	json_t *silent;
	size_t count;
	struct meter_rec rows[ROWS_MAX];
};

struct ask {
	struct gather *g;
	node_id node;
};

static void gather_gone(void *arg)
{
	((struct gather *)arg)->req = NULL;
}

static void sum_up(void *arg, const struct meter_rec *rec)
{
	struct gather *g = arg;
	struct meter_rec *row = NULL;

	if (g->only != TENANT_NONE && rec->tenant != g->only)
		return;
	for (size_t i = 0; i < g->count && row == NULL; i++)
		if (g->rows[i].tenant == rec->tenant)
			row = &g->rows[i];
	if (row == NULL && g->count < ROWS_MAX) {
		row = &g->rows[g->count++];
		*row = (struct meter_rec){ .tenant = rec->tenant };
	}
	if (row == NULL)
		return;
	row->cpu_us += rec->cpu_us;
	row->memory_kib_s += rec->memory_kib_s;
	row->moves += rec->moves;
	row->bytes += rec->bytes;
}

static void gather_reply(struct gather *g)
{
	const struct naming_core *k = naming_tables(g->pod->naming);
	json_t *rows = json_array();

	for (size_t i = 0; i < g->count; i++) {
		const struct meter_rec *m = &g->rows[i];
		const struct naming_tenant *t = naming_tenant_find(k, m->tenant);
		char gone[24];

		(void)snprintf(gone, sizeof(gone), "(%u)", m->tenant);
		(void)json_array_append_new(
			rows, json_pack("{s:s, s:f, s:f, s:I, s:I}", "tenant", t ? t->name : gone,
					"cpu_s", (double)m->cpu_us / 1e6, "memory_gib_s",
					(double)m->memory_kib_s / (1024 * 1024), "moves",
					(json_int_t)m->moves, "bytes", (json_int_t)m->bytes));
	}
	if (g->req != NULL)
		ctl_reply(g->req, 200,
			  json_pack("{s:I, s:O, s:O}", "since_s", (json_int_t)g->since_s, "usage",
				    rows, "silent", g->silent));
	json_decref(rows);
	json_decref(g->silent);
	free(g);
}

static void ask_done(void *arg, int err, const struct rpc_msg *m)
{
	struct ask *x = arg;
	struct gather *g = x->g;
	const struct naming_node *n = naming_node_find(naming_tables(g->pod->naming), x->node);
	Pod__Usage *u = err == 0 ? pod__usage__unpack(NULL, m->len, m->body) : NULL;

	for (size_t i = 0; u != NULL && i < u->n_rows; i++) {
		const Pod__TenantUsage *row = u->rows[i];
		struct meter_rec rec = { .tenant = row->tenant,
					 .cpu_us = row->cpu_us,
					 .memory_kib_s = row->memory_kib_s,
					 .moves = row->moves,
					 .bytes = row->bytes };

		sum_up(g, &rec);
	}
	if (u == NULL && n != NULL)
		(void)json_array_append_new(g->silent, json_string(n->name));
	pod__usage__free_unpacked(u, NULL);
	free(x);
	if (--g->left == 0)
		gather_reply(g);
}

static void ask_node(struct gather *g, node_id node)
{
	Pod__UsageAsk q = POD__USAGE_ASK__INIT;
	struct ask *x = malloc(sizeof(*x));
	uint8_t body[32];
	struct rpc_msg m = { .method = POD_USAGE, .body = body };
	int r = -ENOMEM;

	CHECK(x != NULL);
	*x = (struct ask){ g, node };
	g->left++;
	q.since_s = g->since_s;
	q.tenant = g->only;
	m.len = pod__usage_ask__pack(&q, body);
	r = peers_request(g->pod, node, &m, ask_done, x);
	if (r < 0)
		ask_done(x, r, NULL);
}

void api_get_usage(struct pod *p, struct ctl_req *r, args_t a)
{
	const struct naming_core *k = naming_tables(p->naming);
	uint64_t now_s = clock_wall_ns() / NS_PER_S, since = 3600;
	const struct naming_node *n;
	struct gather *g;
	tenant_id only;
	char text[24];

	(void)a;
	if (!api_whom(p, r, &only))
		return;
	if (http_query_get(ctl_req_head(r)->query, "since", text, sizeof(text)) > 0)
		since = strtoull(text, NULL, 10);
	if (since == 0 || since > SINCE_MAX_S) {
		ctl_problem(r, 400, "pando usage --since 1h", "since is a number of seconds");
		return;
	}
	g = calloc(1, sizeof(*g));
	CHECK(g != NULL);
	*g = (struct gather){ .pod = p, .req = r, .only = only, .left = 1 };
	g->since_s = now_s > since ? now_s - since : 0;
	g->silent = json_array();
	ctl_req_on_gone(r, gather_gone, g);
	if (meter_usage(p, (uint32_t)g->since_s, sum_up, g) < 0)
		(void)json_array_append_new(g->silent, json_string(p->args->node));
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++)
		if (n->id != naming_self(p->naming) && n->state != NAMING_NODE_LEFT)
			ask_node(g, n->id);
	if (--g->left == 0)
		gather_reply(g);
}

/* ---- what another node asks ---- */

void usage_answer(struct pod *p, struct rpc_call *call, const void *body, size_t len)
{
	Pod__UsageAsk *q = pod__usage_ask__unpack(NULL, len, body);
	struct gather *g = calloc(1, sizeof(*g));
	Pod__TenantUsage *rows = calloc(ROWS_MAX, sizeof(*rows));
	Pod__TenantUsage **list = calloc(ROWS_MAX, sizeof(Pod__TenantUsage *));
	Pod__Usage u = POD__USAGE__INIT;
	cleanup_free uint8_t *packed = NULL;
	struct rpc_msg m = { 0 };
	int r = q == NULL ? -EPROTO : -ENOMEM;

	if (q != NULL && g != NULL && rows != NULL && list != NULL) {
		g->only = q->tenant;
		r = meter_usage(p, (uint32_t)MIN(q->since_s, (uint64_t)UINT32_MAX), sum_up, g);
		for (size_t i = 0; i < g->count; i++) {
			pod__tenant_usage__init(&rows[i]);
			rows[i].tenant = g->rows[i].tenant;
			rows[i].cpu_us = g->rows[i].cpu_us;
			rows[i].memory_kib_s = g->rows[i].memory_kib_s;
			rows[i].moves = g->rows[i].moves;
			rows[i].bytes = g->rows[i].bytes;
			list[i] = &rows[i];
		}
		u.rows = list;
		u.n_rows = g->count;
		packed = malloc(pod__usage__get_packed_size(&u) + 1);
		if (packed != NULL)
			m.len = pod__usage__pack(&u, packed);
		m.body = packed;
		r = packed == NULL ? -ENOMEM : r;
	}
	if (rpc_reply(call, r, r == 0 ? &m : NULL) < 0)
		log_debug("who asked for usage went away");
	pod__usage_ask__free_unpacked(q, NULL);
	free(g);
	free(rows);
	free(list);
}
