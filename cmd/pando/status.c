/* SPDX-License-Identifier: Apache-2.0 */
/* status - what the machine is and how it is. */
#include <stdio.h>
#include <string.h>

#include "cmd/pando/cmd.h"

static const struct col node_cols[] = {
	{ "NODE", "name", COL_TEXT },    { "STATE", "state", COL_STATE },
	{ "ROLE", "role", COL_TEXT },    { "EPOCH", "epoch", COL_NUMBER },
	{ "ADDRESS", "addr", COL_TEXT }, { "STATE FOR", "since_ms", COL_SINCE },
};

static const struct col tenant_cols[] = {
	{ "TENANT", "name", COL_TEXT },
	{ "ID", "id", COL_NUMBER },
	{ "HERE", "running", COL_TEXT },
	{ "PROCESSES", "processes", COL_NUMBER },
};

static void print_ssh(const char *addr)
{
	const char *colon = strrchr(addr, ':');

	if (colon != NULL)
		printf("logins over ssh: ssh -p %s TENANT@%.*s\n\n", colon + 1, (int)(colon - addr),
		       addr);
}

static int status_run(struct ctx *c, int argc, char **argv)
{
	json_t *s, *item;
	size_t i;
	int code;

	if (api_is_inside(c))
		c->try_else = "pando nodes";
	code = api_call(c, "tell the status", "GET", NULL, &s, "/v1/status");

	if (code != 0)
		return code;
	if (c->format != FORMAT_TABLE) {
		code = print_json(s);
		json_decref(s);
		return code;
	}
	printf("machine %s, seen from node %s: leader %s, term %lld, %lld entries, pandod pid "
	       "%lld\n\n",
	       json_text(s, "machine"), json_text(s, "node"), json_text(s, "leader"),
	       (long long)json_number(s, "term"), (long long)json_number(s, "applied"),
	       (long long)json_number(s, "pid"));
	print_ssh(json_text(s, "ssh"));
	(void)print_rows(c, json_object_get(s, "nodes"), node_cols, ARRAY_LEN(node_cols));
	printf("\n");
	json_array_foreach(json_object_get(s, "notes"), i, item)
		printf("%s\n%s", json_string_value(item) ? json_string_value(item) : "",
		       i + 1 == json_array_size(json_object_get(s, "notes")) ? "\n" : "");
	if (json_array_size(json_object_get(s, "tenants")) > 0)
		(void)print_rows(c, json_object_get(s, "tenants"), tenant_cols,
				 ARRAY_LEN(tenant_cols));
	else {
		printf("no tenants");
		print_try(stdout, c, "pando tenant add NAME");
	}
	if (json_array_size(json_object_get(s, "shortcuts")) > 0)
		printf("\nshortcuts that one host allows and separate hosts do not:\n");
	json_array_foreach(json_object_get(s, "shortcuts"), i, item)
		printf("  %s\n", json_string_value(item) ? json_string_value(item) : "");
	json_decref(s);
	return CODE_DONE;
}

const struct cmd cmd_status = {
	.name = "status",
	.usage = "status",
	.help = "Show the machine: its nodes, tenants, and the port for ssh.",
	.run = status_run,
};
