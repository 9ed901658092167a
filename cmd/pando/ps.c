/* SPDX-License-Identifier: Apache-2.0 */
/* ps - list guest processes of the whole machine, one line each. */
#include <stdio.h>

#include "cmd/pando/cmd.h"

static const struct col cols[] = {
	{ "TENANT", "tenant", COL_TEXT },  { "PID", "pid", COL_NUMBER },
	{ "PPID", "ppid", COL_NUMBER },    { "NODE", "node", COL_TEXT },
	{ "S", "state", COL_TEXT },        { "CPU", "cpu_ns", COL_NS },
	{ "RSS", "rss_bytes", COL_BYTES }, { "THR", "threads", COL_NUMBER },
	{ "AGE", "age_ns", COL_NS },       { "COMMAND", "args", COL_TEXT },
};

static int ps_run(struct ctx *c, int argc, char **argv)
{
	json_t *body;
	int code;

	if (argc > 0)
		code = api_call(c, "list processes", "GET", NULL, &body, "/v1/processes?tenant=%s",
				argv[0]);
	else
		code = api_call(c, "list processes", "GET", NULL, &body, "/v1/processes");
	if (code != 0)
		return code;
	code = print_rows(c, json_object_get(body, "processes"), cols, ARRAY_LEN(cols));
	tell_silent(c, body);
	json_decref(body);
	return code;
}

const struct cmd cmd_ps = {
	.name = "ps",
	.usage = "ps [TENANT]",
	.help = "List processes, with the node each one runs on.",
	.args_max = 1,
	.run = ps_run,
};
