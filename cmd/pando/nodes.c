/* SPDX-License-Identifier: Apache-2.0 */
/* nodes - list the nodes of the machine. */
#include "cmd/pando/cmd.h"

static const struct col cols[] = {
	{ "NODE", "name", COL_TEXT },     { "ID", "id", COL_NUMBER },
	{ "STATE", "state", COL_STATE },  { "ROLE", "role", COL_TEXT },
	{ "EPOCH", "epoch", COL_NUMBER }, { "CPUS", "cpus", COL_NUMBER },
	{ "LOAD", "load", COL_NUMBER },   { "MEMORY", "memory_bytes", COL_BYTES },
	{ "ADDRESS", "addr", COL_TEXT },  { "STATE FOR", "since_ms", COL_SINCE },
};

static int nodes_run(struct ctx *c, int argc, char **argv)
{
	json_t *body;
	int code = api_call(c, "list nodes", "GET", NULL, &body, "/v1/nodes");

	if (code != 0)
		return code;
	code = print_rows(c, json_object_get(body, "nodes"), cols, ARRAY_LEN(cols));
	json_decref(body);
	return code;
}

const struct cmd cmd_nodes = {
	.name = "nodes",
	.usage = "nodes",
	.help = "List the nodes of the machine: state, cores, load, memory.",
	.run = nodes_run,
};
