/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - the node's figures in the OpenMetrics text format (openmetrics.io, 1.0).
 *
 * Bounded: a series per node, up to METRICS_ROWS_MAX, and per tenant that runs here, up to the
 * same; what is above that is one series named "others". Names of nodes and tenants are [a-z0-9_-],
 * so no label needs escaping.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cmd/pandod/api/api.h"
#include "cmd/pandod/tenant/quota.h"

#define METRICS_ROWS_MAX 128

struct page {
	struct buf text;
	int err;
};

static void line(struct page *g, const char *fmt, ...) printf_like(2, 3);

static void line(struct page *g, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (g->err == 0)
		g->err = buf_vaddf(&g->text, fmt, ap) < 0 ? -ENOMEM : 0;
	va_end(ap);
}

static void family(struct page *g, const char *name, const char *type, const char *help)
{
	line(g, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

enum node_figure { NODE_UP, NODE_CPUS, NODE_LOAD, NODE_MEMORY, NODE_FREE };

static double node_value(const struct peer_load *l, enum node_figure f)
{
	switch (f) {
	case NODE_UP:
		return l->alive;
	case NODE_CPUS:
		return (double)l->cpu_milli / 1000;
	case NODE_LOAD:
		return (double)l->load_milli / 1000;
	case NODE_MEMORY:
		return (double)l->memory_bytes;
	default:
		return (double)l->free_bytes;
	}
}

static void nodes(struct page *g, const struct pod *p, const char *name, const char *help,
		  enum node_figure f)
{
	const struct naming_core *k = naming_tables(p->naming);
	const struct naming_node *n;
	double others = 0;
	unsigned rows = 0;

	family(g, name, "gauge", help);
	for (uint32_t i = 0; (n = naming_node_at(k, i)) != NULL; i++) {
		struct peer_load l;

		if (n->state == NAMING_NODE_LEFT)
			continue;
		peers_load(p, n->id, &l);
		if (rows++ < METRICS_ROWS_MAX)
			line(g, "%s{node=\"%s\"} %.15g\n", name, n->name, node_value(&l, f));
		else
			others += node_value(&l, f);
	}
	if (rows > METRICS_ROWS_MAX)
		line(g, "%s{node=\"others\"} %.15g\n", name, others);
}

enum world_figure { WORLD_DEATHS, WORLD_PROCESSES, WORLD_CPU, WORLD_MEMORY };

static double world_value(const struct world *w, enum world_figure f)
{
	struct cgroup_stats st;
	char group[CGROUP_PATH_MAX];

	if (f == WORLD_DEATHS)
		return w->kernel_deaths;
	(void)snprintf(group, sizeof(group), "%.180s/%s/guests", w->pod->group, w->name);
	if (cgroup_stats(w->pod->cgroups, group, &st) != 0)
		return 0;
	return f == WORLD_PROCESSES ? (double)st.pids
	       : f == WORLD_CPU     ? (double)st.cpu_ns / 1e9
				    : (double)st.memory_bytes;
}

static void worlds(struct page *g, const struct pod *p, const char *name, const char *type,
		   const char *help, enum world_figure f)
{
	const char *end = type[0] == 'c' ? "_total" : "";
	const struct world *w;
	double others = 0;
	unsigned rows = 0;

	family(g, name, type, help);
	list_for_each (w, &p->worlds, link) {
		if (rows++ < METRICS_ROWS_MAX)
			line(g, "%s%s{tenant=\"%s\"} %.15g\n", name, end, w->name,
			     world_value(w, f));
		else
			others += world_value(w, f);
	}
	if (rows > METRICS_ROWS_MAX)
		line(g, "%s%s{tenant=\"others\"} %.15g\n", name, end, others);
}

static void one(struct page *g, const char *name, const char *type, const char *help, double value)
{
	family(g, name, type, help);
	line(g, "%s%s %.15g\n", name, type[0] == 'c' ? "_total" : "", value);
}

void api_get_metrics(struct pod *p, struct ctl_req *r, args_t a)
{
	struct page g = { .text = BUF_INIT };
	struct naming_status s;
	unsigned followers, tenants = 0;
	uint64_t events;

	(void)a;
	naming_status(p->naming, &s);
	events_figures(p, &events, &followers);
	while (naming_tenant_at(naming_tables(p->naming), tenants) != NULL)
		tenants++;
	nodes(&g, p, "pando_node_up", "1 while the node answers.", NODE_UP);
	nodes(&g, p, "pando_node_cpus", "Cores that the node lends.", NODE_CPUS);
	nodes(&g, p, "pando_node_load", "Runnable guests, a mean of about a second.", NODE_LOAD);
	nodes(&g, p, "pando_node_memory_bytes", "Memory of the node.", NODE_MEMORY);
	nodes(&g, p, "pando_node_free_bytes", "Memory of the node that is free.", NODE_FREE);
	one(&g, "pando_loan_answers", "counter", "Loans that the ledger changed for this node.",
	    (double)p->quota->answers);
	one(&g, "pando_loan_answer_seconds", "counter", "How long that took in sum.",
	    (double)p->quota->answer_ns / 1e9);
	one(&g, "pando_tenants", "gauge", "Accounts of the machine.", tenants);
	worlds(&g, p, "pando_tenant_kernel_deaths", "counter", "Deaths of the guest kernel here.",
	       WORLD_DEATHS);
	worlds(&g, p, "pando_tenant_processes", "gauge", "Tasks of the tenant here.",
	       WORLD_PROCESSES);
	worlds(&g, p, "pando_tenant_cpu_seconds", "counter", "CPU time of its guests here.",
	       WORLD_CPU);
	worlds(&g, p, "pando_tenant_memory_bytes", "gauge", "Memory of its guests here.",
	       WORLD_MEMORY);
	one(&g, "pando_naming_term", "gauge", "Term of the tables' leader.", (double)s.term);
	one(&g, "pando_naming_applied", "gauge", "Last entry of the tables here.",
	    (double)s.applied);
	one(&g, "pando_naming_has_leader", "gauge", "1 while the tables can change.",
	    s.leader != NODE_NONE);
	one(&g, "pando_naming_disk_error", "gauge",
	    "Errno of the write that is tried again; 0: none.", -s.disk_err);
	one(&g, "pando_naming_refused", "counter", "Messages of naming that made no sense.",
	    (double)s.refused);
	one(&g, "pando_api_requests", "counter", "Requests to the control API.",
	    (double)p->api_requests);
	one(&g, "pando_events", "counter", "Events since the daemon's start.", (double)events);
	one(&g, "pando_event_followers", "gauge", "Who follows events now.", followers);
	line(&g, "# EOF");
	if (g.err != 0 || buf_str(&g.text) == NULL)
		api_refuse(r, -ENOMEM, NULL, "the node is out of memory");
	else
		ctl_reply_text(r, 200, "application/openmetrics-text; version=1.0.0; charset=utf-8",
			       buf_str(&g.text));
	buf_fini(&g.text);
}
