/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pando/wants.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* "pando down, pando up ..." with all that was said: the way to other settings. */
static int again(struct buf *b, const struct wants *w, long count)
{
	int r = buf_addf(b, "pando down, pando up");

	if (r == 0 && w->local && count > 1)
		r = buf_addf(b, " -n %ld", count);
	if (r == 0 && w->cpus_text != NULL)
		r = buf_addf(b, " --cpus %s", w->cpus_text);
	if (r == 0 && w->lease_text != NULL)
		r = buf_addf(b, " --lease %s", w->lease_text);
	if (r == 0 && w->ssh_text != NULL)
		r = buf_addf(b, " --ssh %s", w->ssh_text);
	if (r == 0 && w->no_balance)
		r = buf_addf(b, " --no-balance");
	return r == 0 && !w->local ? buf_addf(b, " --host --addr ADDR") : r;
}

/* @was NULL: without that option. */
static int differs(struct ctx *c, const struct wants *w, long count, const char *node,
		   const char *option, const char *value, const char *was)
{
	cleanup_buf struct buf text = BUF_INIT;
	const char *gap = value[0] ? " " : "";

	return fail(c, CODE_REFUSED, again(&text, w, count) == 0 ? buf_str(&text) : "pando down",
		    "cannot bring the cluster up with %s%s%s: node %s runs %s %s%s%s already",
		    option, gap, value, node, was ? "with" : "without", option, was ? " " : "",
		    was ? was : "");
}

static const char *milli_text(long milli, char out[32])
{
	(void)snprintf(out, 32, "%ld.%03ld", milli / 1000, milli % 1000);
	return milli ? out : NULL;
}

static const char *lease_words(const char *ms, char out[64])
{
	long freeze, kill;

	if (ms == NULL || sscanf(ms, "%ld:%ld", &freeze, &kill) != 2)
		return NULL;
	(void)snprintf(out, 64, "%g:%g", (double)freeze / 1000, (double)kill / 1000);
	return out;
}

static bool is_same(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

/* What was said is what @l, the @k-th, runs with. */
static int compare(struct ctx *c, const struct wants *w, long count, const struct nodehost *l,
		   unsigned k)
{
	char was[64], where[64];

	if (w->local != l->local)
		return fail(c, CODE_REFUSED, "pando status",
			    "cannot bring %s up: node %s, which runs in %s, is %s",
			    w->local ? "a local cluster" : "this host", l->node, c->dir,
			    l->local ? "of a local cluster" : "this host itself");
	if (!w->local && w->name_text != NULL && strcmp(w->name_text, l->node) != 0)
		return fail(c, CODE_REFUSED, "pando status",
			    "cannot bring this host up as %s: it runs as node %s already",
			    w->name_text, l->node);
	if (w->cpus_text != NULL && w->cpu_milli != l->cpu_milli)
		return differs(c, w, count, l->node, "--cpus", w->cpus_text,
			       milli_text(l->cpu_milli, was));
	if (w->lease_text != NULL && !is_same(w->lease, l->lease))
		return differs(c, w, count, l->node, "--lease", w->lease_text,
			       lease_words(l->lease, was));
	if (w->ssh_text != NULL && !is_same(ssh_where_text(&w->ssh, k, where), l->ssh))
		return differs(c, w, count, l->node, "--ssh", w->ssh_text, l->ssh ? l->ssh : "off");
	if (w->no_balance && !l->no_balance)
		return differs(c, w, count, l->node, "--no-balance", "", NULL);
	return 0;
}

static void inherit(struct wants *w, const struct nodehost *l, unsigned k, char name[NODE_NAME_MAX])
{
	if (w->cpus_text == NULL)
		w->cpu_milli = l->cpu_milli;
	if (w->lease_text == NULL)
		(void)snprintf(w->lease, sizeof(w->lease), "%s", l->lease ? l->lease : "");
	if (w->ssh_text == NULL)
		ssh_where_of(l->ssh, k, &w->ssh);
	w->no_balance = l->no_balance;
	(void)snprintf(name, NODE_NAME_MAX, "%s", l->node);
	w->name = name;
}

/* A host's node has any name, and is the first one here. */
static unsigned number_of(const char *node)
{
	return MAX(nodehost_number(node), 1);
}

/* Of a local cluster: how many nodes there were. What has only a directory was none. */
static long count_of(const struct ctx *c, char names[NODES_MAX][NODE_NAME_MAX], int n)
{
	char line[NODEHOST_LINE_MAX];
	struct nodehost l;
	unsigned count = 1;

	for (int i = 0; i < n; i++)
		if (nodehost_has_joined(c->dir, names[i]) ||
		    (nodehost_running(c->dir, names[i], line, &l) == 0 &&
		     !nodehost_has_left(c->dir, names[i])))
			count = MAX(count, nodehost_number(names[i]));
	return count;
}

int wants_settle(struct ctx *c, struct wants *w, bool *runs)
{
	static char name[NODE_NAME_MAX];
	char names[NODES_MAX][NODE_NAME_MAX], line[NODEHOST_LINE_MAX];
	const struct wants said = *w;
	struct nodehost l;
	int n = nodehost_nodes(c->dir, names), last = -1, code = 0;

	*runs = false;
	for (int i = 0; i < n; i++)
		if (nodehost_running(c->dir, names[i], line, &l) == 0)
			last = i;
	for (int i = 0; i <= last && code == 0; i++) {
		unsigned k = number_of(names[i]);

		if (nodehost_running(c->dir, names[i], line, &l) < 0)
			continue;
		code = compare(c, &said, MAX(said.count, (long)number_of(names[last])), &l, k);
		if (!*runs)
			inherit(w, &l, k, name);
		*runs = true;
	}
	if (code != 0)
		return code;
	if (*runs && w->local && w->count_text != NULL && w->count < (long)number_of(names[last])) {
		char try_next[128];

		(void)snprintf(try_next, sizeof(try_next), "pando drain %s, pando leave --node %s",
			       names[last], names[last]);
		return fail(c, CODE_REFUSED, try_next,
			    "cannot bring %ld node%s up: %s runs in %s already", w->count,
			    w->count == 1 ? "" : "s", names[last], c->dir);
	}
	/* Nothing is said: what was taken down, or is missing, comes back. */
	if (w->local && w->count_text == NULL)
		w->count = count_of(c, names, n);
	return 0;
}
