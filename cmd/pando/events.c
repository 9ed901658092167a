/* SPDX-License-Identifier: Apache-2.0 */
/* events - what happened in the machine, as one node saw it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/pando/cmd.h"

static const char *since;
static bool follow;

static const struct opt opts[] = {
	{ "since", 's', "CURSOR", "only what came behind this event", &since, NULL },
	{ "follow", 'f', NULL, "go on with what comes", NULL, &follow },
	{ NULL, 0, NULL, NULL, NULL, NULL },
};

static bool is_frame(const char *key)
{
	static const char *const frame[] = { "cursor", "time", "kind", "seen_by" };

	for (size_t i = 0; i < ARRAY_LEN(frame); i++)
		if (strcmp(frame[i], key) == 0)
			return true;
	return false;
}

/* "2026-11-21T14:00:00.123Z  n1  node.silent  name=n2  (1f3a-17)" */
static void print_event(struct ctx *c, const json_t *e)
{
	const char *key;
	json_t *v;

	if (c->format == FORMAT_JSON) {
		(void)json_dumpf(e, stdout, JSON_COMPACT);
		(void)putchar('\n');
		(void)fflush(stdout);
		return;
	}
	(void)printf("%s  %-4s  %-16s", json_text(e, "time"), json_text(e, "seen_by"),
		     json_text(e, "kind"));
	json_object_foreach((json_t *)(uintptr_t)e, key, v)
	{
		if (is_frame(key))
			continue;
		(void)printf(" %s=", key);
		(void)json_dumpf(v, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	}
	(void)printf("  (%s)\n", json_text(e, "cursor"));
	(void)fflush(stdout);
}

static int print_all(struct ctx *c, struct ctl_client *cl)
{
	json_t *line;
	int r;

	while ((r = ctl_client_line(cl, &line)) == 1) {
		print_event(c, line);
		json_decref(line);
	}
	return r == 0 ? CODE_DONE
		      : fail(c, CODE_UNREACHABLE, "pando status",
			     "cannot follow events: the node's daemon has gone");
}

static int run(struct ctx *c, int argc, char **argv)
{
	struct ctl_client *cl = NULL;
	struct ctl_answer a = { 0 };
	char path[HTTP_PATH_MAX];
	int code = api_open(c, "list events", &cl), r;

	(void)argc;
	(void)argv;
	if (code != 0)
		return code;
	r = snprintf(path, sizeof(path), "/v1/events?follow=%d%s%s", follow, since ? "&since=" : "",
		     since ? since : "");
	if (r >= (int)sizeof(path) ||
	    (since && strspn(since, "0123456789abcdef-") != strlen(since)))
		code = fail(c, CODE_USAGE, "pando events", "cannot list events: %s is no cursor",
			    since);
	else
		r = ctl_client_call(cl, "GET", path, NULL, &a);
	if (code == 0 && r < 0)
		code = fail(c, CODE_UNREACHABLE, "pando status",
			    "cannot list events: the node's daemon does not answer");
	else if (code == 0)
		code = a.status == 200 ? print_all(c, cl) : api_refused(c, "list events", &a);
	ctl_answer_fini(&a);
	ctl_client_free(cl);
	return code;
}

const struct cmd cmd_events = {
	.name = "events",
	.usage = "events [--since CURSOR] [--follow]",
	.help = "List what happened, as one node saw it.",
	.more = "Each event ends with its cursor. A cursor that the node cannot go on from, "
		"because it is\n"
		"too old or its daemon began anew, is refused: look at `pando status` again then.",
	.opts = opts,
	.run = run,
};
