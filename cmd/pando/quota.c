/* SPDX-License-Identifier: Apache-2.0 */
/* quota - limits, what of them is used and where it is lent; usage - what was used over time. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "cmd/pando/cmd.h"

static bool watch;
static const char *since_text;

static const struct opt quota_opts[] = {
	{ "watch", 'w', NULL, "show it again every second, until interrupted", NULL, &watch },
	{ 0 },
};

static const struct opt usage_opts[] = {
	{ "since", 's', "TIME", "how far back: 90s, 10m, 1h (the default), 7d", &since_text, NULL },
	{ 0 },
};

static const struct col quota_cols[] = {
	{ "TENANT", "tenant", COL_TEXT }, { "RESOURCE", "resource", COL_TEXT },
	{ "LIMIT", "limit", COL_TEXT },   { "NODE", "node", COL_TEXT },
	{ "LENT", "lent", COL_TEXT },     { "USED", "used", COL_TEXT },
	{ "STATE", "state", COL_TEXT },
};

static const struct col usage_cols[] = {
	{ "TENANT", "tenant", COL_TEXT },
	{ "CPU-S", "cpu_s", COL_NUMBER },
	{ "MEMORY-GIB-S", "memory_gib_s", COL_NUMBER },
	{ "MOVES", "moves", COL_NUMBER },
	{ "BYTES", "bytes", COL_BYTES },
};

/* ---- quota: a row for the machine, and one for each node that has some ---- */

struct resource {
	const char *name, *limit, *lent, *used, *wanted;
	bool bytes;
};

static const struct resource resources[] = {
	{ "cores", "cpus", "cpus_lent", "cpus_used", "cpus_wanted", false },
	{ "processes", "procs", "procs_lent", "procs_used", "procs_wanted", false },
	{ "memory", "memory_bytes", "memory_bytes_lent", "memory_bytes_used", "memory_bytes_wanted",
	  true },
	{ "storage", "storage_bytes", NULL, "storage_bytes_used", NULL, true },
};

static json_t *amount(const json_t *o, const char *key, bool bytes)
{
	const json_t *v = key ? json_object_get(o, key) : NULL;
	char text[32];

	if (v == NULL)
		return NULL;
	if (bytes)
		text_bytes(text, (uint64_t)json_integer_value(v));
	else if (json_is_real(v))
		(void)snprintf(text, sizeof(text), "%.2f", json_real_value(v));
	else
		(void)snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
	return json_string(text);
}

static void put(json_t *row, const char *key, json_t *v)
{
	if (v != NULL)
		(void)json_object_set_new(row, key, v);
}

static double number(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

/* At a limit, or near it. */
static const char *state_of(const json_t *o, const struct resource *r)
{
	double limit = number(o, r->limit);

	return limit > 0 && number(o, r->used) >= limit * 0.9 ? "full" : "";
}

static void add_rows(json_t *rows, const json_t *q, const struct resource *r)
{
	json_t *all =
		json_pack("{s:s, s:s}", "tenant", json_text(q, "tenant"), "resource", r->name);
	const json_t *node;
	size_t i;

	put(all, "limit", amount(q, r->limit, r->bytes));
	if (json_object_get(all, "limit") == NULL)
		put(all, "limit", json_string("none"));
	put(all, "lent", amount(q, r->lent, r->bytes));
	put(all, "used", amount(q, r->used, r->bytes));
	put(all, "state", json_string(state_of(q, r)));
	(void)json_array_append_new(rows, all);
	if (r->lent == NULL)
		return;
	json_array_foreach(json_object_get(q, "nodes"), i, node)
	{
		json_t *row = json_pack("{s:s}", "node", json_text(node, "node"));

		put(row, "lent", amount(node, r->lent, r->bytes));
		put(row, "used", amount(node, r->used, r->bytes));
		if (json_object_get(node, r->wanted) != NULL)
			put(row, "state", json_string("wants more"));
		(void)json_array_append_new(rows, row);
	}
}

static int quota_once(struct ctx *c, const char *tenant)
{
	json_t *body, *rows;
	const json_t *q;
	size_t i;
	int code;

	if (tenant != NULL)
		code = api_call(c, "show quotas", "GET", NULL, &body, "/v1/quota?tenant=%s",
				tenant);
	else
		code = api_call(c, "show quotas", "GET", NULL, &body, "/v1/quota");
	if (code != 0)
		return code;
	if (c->format == FORMAT_JSON) {
		code = print_json(body);
		json_decref(body);
		return code;
	}
	rows = json_array();
	json_array_foreach(json_object_get(body, "quota"), i, q) for (size_t r = 0;
								      r < ARRAY_LEN(resources); r++)
		add_rows(rows, q, &resources[r]);
	code = print_rows(c, rows, quota_cols, ARRAY_LEN(quota_cols));
	json_decref(rows);
	json_decref(body);
	return code;
}

static int quota_run(struct ctx *c, int argc, char **argv)
{
	int code = quota_once(c, argc > 0 ? argv[0] : NULL);

	while (watch && code == 0) {
		(void)fflush(stdout);
		(void)poll(NULL, 0, 1000);
		if (c->format == FORMAT_TABLE && c->colour)
			fputs("\033[H\033[J", stdout);
		code = quota_once(c, argc > 0 ? argv[0] : NULL);
	}
	return code;
}

const struct cmd cmd_quota = {
	.name = "quota",
	.usage = "quota [-w] [TENANT]",
	.help = "Show limits, what of them is used, and to which nodes they are lent.",
	.more = "A node may use what it is lent; it asks for more before it needs it, and gives "
		"back\n"
		"what others wait for. Inside a session: your own.",
	.opts = quota_opts,
	.args_max = 1,
	.run = quota_run,
};

/* ---- usage ---- */

/* "90s", "10m", "1h", "7d" -> seconds; 0: it is none. */
static long seconds(const char *text)
{
	static const struct {
		char unit;
		long s;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	char *end;
	long n = strtol(text, &end, 10);

	if (n <= 0 || n > 1000000 || (*end != '\0' && end[1] != '\0'))
		return 0;
	if (*end == '\0')
		return n;
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (units[i].unit == *end)
			return n * units[i].s;
	return 0;
}

static int usage_run(struct ctx *c, int argc, char **argv)
{
	long since = since_text ? seconds(since_text) : 3600;
	json_t *body;
	int code;

	if (since == 0)
		return fail(c, CODE_USAGE, "pando usage --since 1h",
			    "cannot show usage: --since '%s' is no time", since_text);
	if (argc > 0)
		code = api_call(c, "show usage", "GET", NULL, &body,
				"/v1/usage?since=%ld&tenant=%s", since, argv[0]);
	else
		code = api_call(c, "show usage", "GET", NULL, &body, "/v1/usage?since=%ld", since);
	if (code != 0)
		return code;
	code = print_rows(c, json_object_get(body, "usage"), usage_cols, ARRAY_LEN(usage_cols));
	tell_silent(c, body);
	json_decref(body);
	return code;
}

const struct cmd cmd_usage = {
	.name = "usage",
	.usage = "usage [--since TIME] [TENANT]",
	.help = "Show what tenants have used: CPU-seconds, GiB-seconds of memory, moves, bytes.",
	.more = "Recorded each second on each node; what is older than a day or so is known by "
		"the\n"
		"minute, then by the hour. A tenant in parentheses was removed.",
	.opts = usage_opts,
	.args_max = 1,
	.run = usage_run,
};
