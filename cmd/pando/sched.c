/* SPDX-License-Identifier: Apache-2.0 */
/* sched - what was decided lately about where programs run, and why. */
#include <stdio.h>
#include <time.h>

#include "cmd/pando/cmd.h"

static const struct col cols[] = {
	{ "TIME", "time", COL_TEXT },     { "WHAT", "what", COL_TEXT },
	{ "TENANT", "tenant", COL_TEXT }, { "PID", "pid", COL_NUMBER },
	{ "FROM", "from", COL_TEXT },     { "TO", "to", COL_TEXT },
	{ "GAIN", "gain_ns", COL_NS },    { "PRICE", "price_ns", COL_NS },
	{ "WHY", "why", COL_TEXT },       { "COMMAND", "command", COL_TEXT },
};

/* What a table shows of a row: the time of day, and times as others are shown. */
static void add_shown(json_t *row)
{
	time_t s = (time_t)(json_number(row, "time_ms") / 1000);
	char text[16] = "";
	struct tm tm;

	if (localtime_r(&s, &tm) != NULL)
		(void)strftime(text, sizeof(text), "%H:%M:%S", &tm);
	(void)json_object_set_new(row, "time", json_string(text));
	(void)json_object_set_new(row, "gain_ns",
				  json_integer(json_number(row, "gain_ms") * 1000000));
	(void)json_object_set_new(row, "price_ns",
				  json_integer(json_number(row, "price_ms") * 1000000));
}

static int run(struct ctx *c, int argc, char **argv)
{
	json_t *body, *rows, *row;
	size_t i;
	int code = api_call(c, "list decisions", "GET", NULL, &body, "/v1/sched");

	(void)argc;
	(void)argv;
	if (code != 0)
		return code;
	rows = json_object_get(body, "decisions");
	json_array_foreach(rows, i, row) add_shown(row);
	code = print_rows(c, rows, cols, ARRAY_LEN(cols));
	tell_silent(c, body);
	json_decref(body);
	return code;
}

const struct cmd cmd_sched = {
	.name = "sched",
	.usage = "sched",
	.help = "List what was decided lately about where programs run, and why.",
	.more = "placed: a program began on another node, for its own was short of CPU or memory.\n"
		"moved: it was running, and goes on where it has more of a CPU; GAIN is what it "
		"is\n"
		"expected to save of the time it still runs, PRICE what the move was expected to "
		"cost.\n"
		"stayed: it was to be moved and could not be, WHY says what forbade it.",
	.run = run,
};
