/* SPDX-License-Identifier: Apache-2.0 */
/* migrate, why - move a running process; say what forbids it. */
#include <stdio.h>

#include "cmd/pando/cmd.h"

static const char *tenant_text;

static const struct opt opts[] = {
	{ "tenant", 't', "NAME", "whose process; needed when two tenants have this pid",
	  &tenant_text, NULL },
	{ 0 },
};

static int read_pid(struct ctx *c, const char *verb, const char *text, long *pid)
{
	if (parse_count(text, 1, 4194304, pid) == 0)
		return 0;
	return fail(c, CODE_USAGE, "pando ps", "cannot %s %s: it is no pid", verb, text);
}

static int migrate_run(struct ctx *c, int argc, char **argv)
{
	char what[96], bytes[32], freeze[32];
	json_t *body, *out;
	long pid;
	int code = read_pid(c, "migrate", argv[0], &pid);

	if (code != 0)
		return code;
	(void)snprintf(what, sizeof(what), "migrate %ld to %.32s", pid, argv[1]);
	body = json_pack("{s:s, s:s*}", "node", argv[1], "tenant", tenant_text);
	code = api_call(c, what, "POST", body, &out, "/v1/processes/%ld/migrate", pid);
	if (code != 0)
		return code;
	text_bytes(bytes, (uint64_t)json_number(out, "bytes"));
	text_ns(freeze, (uint64_t)json_number(out, "freeze_ns"));
	if (c->format == FORMAT_JSON)
		(void)print_json(out);
	else if (json_number(out, "bytes") == 0)
		printf("%ld runs on %s already\n", pid, argv[1]);
	else
		printf("%ld runs on %s; it stood still for %s, %s moved\n", pid, argv[1], freeze,
		       bytes);
	json_decref(out);
	return CODE_DONE;
}

static void print_notes(const json_t *out)
{
	json_t *note;
	size_t i;

	json_array_foreach(json_object_get(out, "notes"), i, note)
	{
		char age[32];

		text_ns(age, (uint64_t)json_number(note, "age_ns"));
		printf("%s ago its ", age);
		(void)print_plain(json_text(note, "text"));
		if (json_number(note, "times") > 1)
			printf(" (%lld times)", (long long)json_number(note, "times"));
		putchar('\n');
	}
}

static void print_reasons(const json_t *out)
{
	char bytes[32], freeze[32];
	json_t *reasons = json_object_get(out, "reasons"), *reason;
	size_t i;

	json_array_foreach(reasons, i, reason)
	{
		fputs("it cannot move because ", stdout);
		(void)print_plain(json_string_value(reason));
		putchar('\n');
	}
	if (json_array_size(reasons) > 0)
		return;
	text_bytes(bytes, (uint64_t)json_number(out, "bytes"));
	text_ns(freeze, (uint64_t)json_number(out, "freeze_ns"));
	printf("it can move: about %s would be sent, and it would stand still for about %s\n",
	       bytes, freeze);
}

static int why_run(struct ctx *c, int argc, char **argv)
{
	json_t *out;
	long pid;
	int code = read_pid(c, "explain", argv[0], &pid);

	if (code != 0)
		return code;
	if (tenant_text != NULL)
		code = api_call(c, "explain it", "GET", NULL, &out,
				"/v1/processes/%ld/why?tenant=%s", pid, tenant_text);
	else
		code = api_call(c, "explain it", "GET", NULL, &out, "/v1/processes/%ld/why", pid);
	if (code != 0)
		return code;
	if (c->format == FORMAT_JSON) {
		code = print_json(out);
		json_decref(out);
		return code;
	}
	printf("%ld runs on %s\n", pid, json_text(out, "node"));
	print_notes(out);
	print_reasons(out);
	json_decref(out);
	return CODE_DONE;
}

const struct cmd cmd_migrate = {
	.name = "migrate",
	.usage = "migrate PID NODE",
	.help = "Move a running process to another node.",
	.more = "It keeps its pid, memory, files, pipes and children, and stands still while its "
		"memory\n"
		"travels. What cannot move stays as it was, and is told with the reason: `pando "
		"why PID`\n"
		"tells before. Inside a session also: migrate PID NODE; echo NODE "
		">/proc/PID/node.",
	.opts = opts,
	.args_min = 2,
	.args_max = 2,
	.run = migrate_run,
};

const struct cmd cmd_why = {
	.name = "why",
	.usage = "why PID",
	.help = "Say where a process runs and what forbids moving it.",
	.more = "And which of its connections to servers on other nodes failed lately, and why:\n"
		"the last four, until it moves or its guest kernel dies.",
	.opts = opts,
	.args_min = 1,
	.args_max = 1,
	.run = why_run,
};
