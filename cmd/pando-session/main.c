/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pando-session - what a login over ssh runs, as sshd's ForceCommand and the tenant's shell: asks
 * the node's daemon for a session of the tenant and carries its bytes.
 *
 * Runs with the tenant's own host id and no right at all; whose login it is, the daemon learns from
 * that id. What the person typed behind `ssh alice@gate` is in SSH_ORIGINAL_COMMAND.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/ctl/ctl.h"
#include "cmd/gate/gate.h"
#include "cmd/line/line.h"

enum { PATIENCE_S = 60, SHOWN_MAX = 5, CODE_FAILED = 255 /* as ssh says that it failed itself */ };

extern char **environ;

static int dial(void *arg, uint64_t until_ns, struct ctl_client **out)
{
	return ctl_client_new_soon(out, GATE_SOCKET, until_ns);
}

static void node(void *arg, const char *name)
{
	(void)arg;
	(void)name; /* this node's daemon finds every session */
}

static int failed(void *arg, const char *why)
{
	(void)arg;
	(void)fprintf(stderr, "pando: cannot log in: %s\r\n", why);
	return CODE_FAILED;
}

static const char *text_of(const struct ctl_answer *a, const char *key)
{
	return json_string_value(json_object_get(a->body, key));
}

static int refused(void *arg, const struct ctl_answer *a)
{
	const char *detail = text_of(a, "detail");
	json_int_t code = json_integer_value(json_object_get(a->body, "code"));

	(void)failed(arg, detail ? detail : "the node gave no reason");
	return code == 126 || code == 127 ? (int)code : CODE_FAILED;
}

static void show_detached(const json_t *row)
{
	char from[16];
	time_t t = (time_t)(json_integer_value(json_object_get(row, "started_ms")) / 1000);
	long long number = json_integer_value(json_object_get(row, "number"));
	struct tm tm;

	(void)strftime(from, sizeof(from), "%H:%M", localtime_r(&t, &tm));
	printf("session %lld from %s, detached; `attach %lld`\n", number, from, number);
}

static void begun(void *arg, const json_t *first)
{
	const json_t *rows = json_object_get(first, "detached"), *row;
	size_t n = json_array_size(rows), i;

	(void)arg;
	json_array_foreach(rows, i, row)
	{
		if (i < SHOWN_MAX)
			show_detached(row);
	}
	if (n > SHOWN_MAX)
		printf("%zu more sessions are detached; `attach -l`\n", n - SHOWN_MAX);
	(void)fflush(stdout);
}

static const struct line_ops ops = {
	.dial = dial, .node = node, .refused = refused, .failed = failed, .begun = begun
};

/* What sshd took from the client (AcceptEnv), and what it says of the connection. */
static bool is_passed(const char *entry)
{
	static const char *const names[] = { "TERM=",      "LANG=",       "LC_",
					     "COLORTERM=", "SSH_CLIENT=", "SSH_CONNECTION=" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strncmp(entry, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static json_t *environment(void)
{
	json_t *env = json_array();

	for (char **e = environ; *e != NULL; e++)
		if (is_passed(*e))
			(void)json_array_append_new(env, json_string(*e));
	return env;
}

static json_t *request_body(const char *command)
{
	json_t *argv =
		command == NULL ? json_array() : json_pack("[s, s, s]", "/bin/bash", "-c", command);

	return argv == NULL ? NULL : json_pack("{s:o, s:o}", "argv", argv, "env", environment());
}

int main(void)
{
	const char *command = getenv("SSH_ORIGINAL_COMMAND");
	struct line l = { .ops = &ops,
			  .base = "/v1/tenants/-/sessions",
			  .tty = isatty(0) == 1 && isatty(1) == 1,
			  .patience_s = PATIENCE_S,
			  .ends_with_output = true, /* sshd is gone */
			  .agent = getenv("SSH_AUTH_SOCK") };
	json_t *body = request_body(command);
	int code, r;

	tzset(); /* reads a file */
	r = gate_jail();
	if (r < 0)
		code = failed(NULL, strerror(-r));
	else if (body == NULL)
		code = failed(NULL, "the command is no UTF-8");
	else
		code = line_start(&l, body);
	/* The input pump may still be reading: leave without its consent. */
	(void)fflush(NULL);
	_exit(code);
}
