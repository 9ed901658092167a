/* SPDX-License-Identifier: Apache-2.0 */
/* debug - for tests: arm named fault points of a node's daemons. */
#include <stdio.h>
#include <string.h>

#include "cmd/pando/cmd.h"

static int debug_fault(struct ctx *c, int argc, char **argv)
{
	c->node = argv[1];
	return api_call(c, "arm the fault point", "POST",
			argc == 4 ? json_pack("{s:s, s:s}", "tenant", argv[2], "point", argv[3])
				  : json_pack("{s:s}", "point", argv[2]),
			NULL, "/v1/debug/fault");
}

static int debug_points(struct ctx *c, int argc, char **argv)
{
	json_t *out, *name;
	size_t i;
	int code;

	c->node = argv[1];
	if (argc == 3)
		code = api_call(c, "list fault points", "GET", NULL, &out,
				"/v1/debug/points?tenant=%s", argv[2]);
	else
		code = api_call(c, "list fault points", "GET", NULL, &out, "/v1/debug/points");
	if (code != 0)
		return code;
	if (c->format == FORMAT_JSON)
		(void)print_json(out);
	else
		json_array_foreach(json_object_get(out, "points"), i, name)
			puts(json_string_value(name) ? json_string_value(name) : "?");
	json_decref(out);
	return CODE_DONE;
}

static int debug_run(struct ctx *c, int argc, char **argv)
{
	static const char *const verbs[] = { "fault", "points" };

	if (strcmp(argv[0], "fault") == 0 && (argc == 3 || argc == 4))
		return debug_fault(c, argc, argv);
	if (strcmp(argv[0], "points") == 0 && (argc == 2 || argc == 3))
		return debug_points(c, argc, argv);
	return fail_word(c, "debug", argv[0], verbs, ARRAY_LEN(verbs), cmd_debug.usage);
}

const struct cmd cmd_debug = {
	.name = "debug",
	.usage = "debug fault NODE [TENANT] POINT[:NTH[:kill|stop|fail]] | debug points NODE "
		 "[TENANT]",
	.help = "Arm a named fault point of a daemon, for tests.",
	.more = "Without TENANT the point is pandod's, with it that tenant's guest kernel's.",
	.args_min = 2,
	.args_max = 4,
	.run = debug_run,
};
