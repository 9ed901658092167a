/* SPDX-License-Identifier: Apache-2.0 */
/* drain - close a node for what is new, and move away what runs there. */
#include <stdio.h>
#include <string.h>

#include "cmd/pando/cmd.h"

static const char *deadline_text;
static bool undo;

static const struct opt opts[] = {
	{ "deadline", 0, "TIME", "how long to try, as 60s or 5m; 60s without it", &deadline_text,
	  NULL },
	{ "undo", 0, NULL, "open the node again", NULL, &undo },
	{ 0 },
};

/* "90", "60s", "5m" -> seconds. */
static int parse_seconds(const char *text, long *out)
{
	char number[16];
	size_t n = strspn(text, "0123456789");
	const char *unit = text + n;
	long scale = strcmp(unit, "m") == 0 ? 60 : 1;

	if (n >= sizeof(number) || (*unit != '\0' && strcmp(unit, "s") != 0 && scale == 1))
		return -1;
	(void)snprintf(number, sizeof(number), "%.*s", (int)n, text);
	if (parse_count(number, 1, 3600 / scale, out) < 0)
		return -1;
	*out *= scale;
	return 0;
}

/* "4711  alice  make -j6": a guest chose the last part. */
static void print_process(const json_t *row)
{
	char command[41];
	size_t n;

	n = (size_t)snprintf(command, sizeof(command), "%s", json_text(row, "command"));
	for (size_t i = 0; i < MIN(n, sizeof(command) - 1); i++)
		if ((unsigned char)command[i] < ' ' || (unsigned char)command[i] >= 127)
			command[i] = '?';
	printf("%lld  %s  %s  ", (long long)json_number(row, "pid"), json_text(row, "tenant"),
	       command);
}

static void print_move(const json_t *line)
{
	char freeze[32], bytes[32];

	text_ns(freeze, (uint64_t)json_number(line, "freeze_ns"));
	text_bytes(bytes, (uint64_t)json_number(line, "bytes"));
	print_process(line);
	printf("-> %s  stood still for %s, %s moved\n", json_text(line, "to"), freeze, bytes);
	(void)fflush(stdout);
}

/* The last line says what the node is now. */
static int print_end(struct ctx *c, const json_t *line)
{
	json_t *left = json_object_get(line, "left"), *row;
	const char *name = json_text(line, "node"), *state = json_text(line, "state");
	size_t i;

	json_array_foreach(left, i, row)
	{
		if (c->format == FORMAT_JSON)
			break;
		print_process(row);
		printf("stays: %s\n", json_text(row, "why"));
	}
	if (strcmp(state, "drained") == 0) {
		if (c->format != FORMAT_JSON)
			printf("node %s is empty: %lld moved\n", name,
			       (long long)json_number(line, "moved"));
		return CODE_DONE;
	}
	if (strcmp(state, "alive") == 0)
		return fail(c, CODE_REFUSED, "pando nodes",
			    "cannot drain %s: it was opened again meanwhile", name);
	if (json_array_size(left) == 0)
		return fail(
			c, CODE_REFUSED, "pando nodes",
			json_is_true(json_object_get(line, "silent"))
				? "cannot drain %s: it did not answer; it stays closed"
				: "cannot drain %s: the deadline was there first; it stays closed",
			name);
	return fail(c, CODE_REFUSED, "pando why PID",
		    "cannot drain %s: %zu of its processes stay; it stays closed", name,
		    json_array_size(left));
}

static int print_all(struct ctx *c, struct ctl_client *cl)
{
	json_t *line;
	int code = -1;

	while (ctl_client_line(cl, &line) == 1) {
		if (c->format == FORMAT_JSON) {
			(void)json_dumpf(line, stdout, JSON_COMPACT);
			(void)putchar('\n');
			(void)fflush(stdout);
		}
		if (json_object_get(line, "left") != NULL)
			code = print_end(c, line);
		else if (c->format != FORMAT_JSON && json_object_get(line, "pid") != NULL)
			print_move(line);
		json_decref(line);
	}
	return code >= 0 ? code
			 : fail(c, CODE_UNREACHABLE, "pando nodes",
				"cannot drain it to its end: the daemon that was asked has gone; "
				"the node stays closed");
}

static int start(struct ctx *c, const char *name, long seconds)
{
	char path[HTTP_PATH_MAX], what[64];
	json_t *body = json_pack("{s:I}", "deadline_s", (json_int_t)seconds);
	struct ctl_client *cl = NULL;
	struct ctl_answer a = { 0 };
	int code, r;

	(void)snprintf(what, sizeof(what), "drain %.32s", name);
	(void)snprintf(path, sizeof(path), "/v1/nodes/%.64s/drain", name);
	code = api_open(c, what, &cl);
	if (code == 0) {
		r = ctl_client_call(cl, "POST", path, body, &a);
		if (r < 0)
			code = fail(c, CODE_UNREACHABLE, "pando status",
				    "cannot %s: the daemon went away (%s)", what, strerror(-r));
		else
			code = a.status == 200 ? print_all(c, cl) : api_refused(c, what, &a);
	}
	ctl_answer_fini(&a);
	ctl_client_free(cl);
	json_decref(body);
	return code;
}

static int drain_run(struct ctx *c, int argc, char **argv)
{
	long seconds = 60;
	int code;

	(void)argc;
	if (deadline_text != NULL && parse_seconds(deadline_text, &seconds) < 0)
		return fail(c, CODE_USAGE, "pando drain --help",
			    "cannot drain %.32s: %.32s is no time from 1s to 60m", argv[0],
			    deadline_text);
	if (!undo)
		return start(c, argv[0], seconds);
	code = api_call(c, "open it again", "DELETE", NULL, NULL, "/v1/nodes/%.64s/drain", argv[0]);
	if (code == 0 && c->format == FORMAT_TABLE)
		printf("node %s is open\n", argv[0]);
	return code;
}

const struct cmd cmd_drain = {
	.name = "drain",
	.usage = "drain NODE [--deadline TIME] [--undo]",
	.help = "Close a node for what is new, and move away what runs there.",
	.more = "Nothing new is placed or started on the node from now on, over its restarts too. "
		"Each\n"
		"process there is moved to a node with room. Exit status 0: it is empty; 1: what "
		"stays is\n"
		"listed with the reason, and the node stays closed: ask again, or --undo.",
	.opts = opts,
	.args_min = 1,
	.args_max = 1,
	.run = drain_run,
};
