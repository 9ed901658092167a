/* SPDX-License-Identifier: Apache-2.0 */
/* login, attach - a session of a tenant: a new one, or one that runs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "cmd/line/line.h"
#include "cmd/pando/cmd.h"

enum { PATIENCE_S = 60 }; /* how long a daemon may be away */

static bool force_tty, no_tty;
static const char *cwd_text;

static const struct opt opts[] = {
	{ "tty", 't', NULL, "a terminal, even if ours is none", NULL, &force_tty },
	{ "no-tty", 'T', NULL, "three pipes, even on a terminal", NULL, &no_tty },
	{ "cwd", 'C', "DIR", "start in this directory", &cwd_text, NULL },
	{ 0 },
};

struct login {
	struct ctx *c;
	const char *what;   /* completes "cannot " */
	const char *tenant; /* NULL: the one whose session we are in */
};

/* ---- what the line asks of us ---- */
static int dial(void *arg, uint64_t until_ns, struct ctl_client **out)
{
	struct login *s = arg;

	return api_dial(s->c, until_ns, out);
}

/* The session is there: whom to ask from now on. Inside a session there is one socket for all. */
static void node(void *arg, const char *name)
{
	struct login *s = arg;

	if (s->c->node == NULL && s->c->dir != NULL)
		s->c->node = strdup(name);
}

static int refused(void *arg, const struct ctl_answer *a)
{
	struct login *s = arg;
	int64_t code = json_number(a->body, "code");
	char shell[64];
	int shown;

	if (code == CODE_CANNOT_EXEC || code == CODE_NO_PROGRAM) {
		/* A shell of the tenant's shows what is there. */
		(void)snprintf(shell, sizeof(shell), "pando login %.40s",
			       s->tenant ? s->tenant : "TENANT");
		return fail(s->c, (int)code, shell, "cannot %s: %s", s->what,
			    json_text(a->body, "detail"));
	}
	shown = api_refused(s->c, s->what, a);
	return shown == CODE_LIMIT ? CODE_LIMIT : CODE_SESSION_FAILED;
}

static int failed(void *arg, const char *why)
{
	struct login *s = arg;

	return fail(s->c, CODE_SESSION_FAILED, "pando status", "cannot %s: %s", s->what, why);
}

static const struct line_ops ops = {
	.dial = dial, .node = node, .refused = refused, .failed = failed
};

/* The input pump may still be reading: leave without its consent. */
static noreturn_fn void leave(int code)
{
	(void)fflush(NULL);
	_exit(code);
}

/* Says at once what is wrong, rather than after the patience of a line. */
static int is_reachable(const struct login *s)
{
	struct ctl_client *cl;
	int code = api_open(s->c, s->what, &cl);

	if (code == 0)
		ctl_client_free(cl);
	return code;
}

/* ---- login ---- */
static json_t *environment(void)
{
	static const char *const passed[] = { "TERM", "LANG", "LC_ALL", "LC_CTYPE", "COLORTERM" };
	json_t *env = json_array();

	for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
		const char *v = getenv(passed[i]);

		if (v != NULL)
			(void)json_array_append_new(env, json_sprintf("%s=%s", passed[i], v));
	}
	return env;
}

static json_t *request_body(char **argv)
{
	json_t *args = json_array();

	for (; *argv != NULL; argv++)
		(void)json_array_append_new(args, json_string(*argv));
	return json_pack("{s:o, s:o, s:s*}", "argv", args, "env", environment(), "cwd", cwd_text);
}

static int login_run(struct ctx *c, int argc, char **argv)
{
	char base[128], what[96];
	struct login s = { .c = c, .what = what, .tenant = argv[0] };
	struct line l = { .ops = &ops, .arg = &s, .base = base, .patience_s = PATIENCE_S };
	json_t *body;

	(void)snprintf(what, sizeof(what), "log in as %.32s", argv[0]);
	(void)snprintf(base, sizeof(base), "/v1/tenants/%.64s/sessions", argv[0]);
	l.tty = force_tty || (!no_tty && isatty(0) && isatty(1));
	if (is_reachable(&s) != 0)
		return CODE_SESSION_FAILED;
	body = request_body(argv + 1);
	if (body == NULL)
		return fail(c, CODE_SESSION_FAILED, NULL, "cannot %s: the words are no UTF-8",
			    what);
	leave(line_start(&l, body));
}

const struct cmd cmd_login = {
	.name = "login",
	.usage = "login TENANT [-- CMD ARG...]",
	.help = "Start a session of a tenant: a shell, or one program.",
	.more = "On a terminal the session has a terminal; otherwise, or with -T, three pipes, and "
		"the\n"
		"end of input reaches the program. A session on a terminal outlives its line: see\n"
		"`pando attach`. The exit status is the program's: 128+n when signal n ended it, "
		"127\n"
		"when there is no such program, 126 when it cannot be executed, 6 when a limit "
		"leaves\n"
		"no room for it, 125 when pando itself failed.",
	.opts = opts,
	.args_min = 1,
	.args_max = 1u << 20,
	.run = login_run,
};

/* ---- attach ---- */
static void clock_text(int64_t ms, char out[32])
{
	time_t t = (time_t)(ms / 1000), now = time(NULL);
	struct tm tm, today;

	(void)localtime_r(&t, &tm);
	(void)localtime_r(&now, &today);
	if (ms == 0)
		(void)snprintf(out, 32, "-");
	else
		(void)strftime(out, 32,
			       tm.tm_yday == today.tm_yday && tm.tm_year == today.tm_year
				       ? "%H:%M"
				       : "%F %H:%M",
			       &tm);
}

static int print_sessions(struct ctx *c, json_t *rows)
{
	static const struct col cols[] = {
		{ "SESSION", "number", COL_NUMBER }, { "NODE", "node", COL_TEXT },
		{ "PID", "pid", COL_NUMBER },        { "FROM", "from", COL_TEXT },
		{ "DETACHED", "since", COL_TEXT },
	};
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		char from[32], since[32];

		clock_text(json_number(row, "started_ms"), from);
		clock_text(json_number(row, "detached_ms"), since);
		(void)json_object_set_new(row, "from", json_string(from));
		(void)json_object_set_new(row, "since", json_string(since));
	}
	return print_rows(c, rows, cols, ARRAY_LEN(cols));
}

/* The session that is meant: by number, or by pid; without @which the only one that is detached. */
static const json_t *choose(const json_t *rows, const char *which, size_t *count)
{
	const json_t *row, *found = NULL;
	size_t i;
	long n = 0;

	*count = 0;
	if (which != NULL && parse_count(which, 1, 1 << 22, &n) < 0)
		return NULL;
	json_array_foreach(rows, i, row)
	{
		bool meant = n > 0 ? json_number(row, "number") == n || json_number(row, "pid") == n
				   : json_number(row, "detached_ms") != 0;

		if (!meant)
			continue;
		/* One number twice: two gates gave it at the same time. */
		if (found == NULL || json_number(found, "detached_ms") == 0)
			found = row;
		++*count;
	}
	return found;
}

/* As the one that runs is called, with @arg. */
static const char *attach_command(const struct login *s, const char *arg, char out[64])
{
	(void)snprintf(out, 64, "%sattach%s%.40s%s%s", s->tenant ? "pando " : "",
		       s->tenant ? " " : "", s->tenant ? s->tenant : "", *arg ? " " : "", arg);
	return out;
}

static int attach_to(struct login *s, const char *base, json_t *rows, const char *which)
{
	struct line l = {
		.ops = &ops, .arg = s, .base = base, .tty = true, .patience_s = PATIENCE_S
	};
	const char *own = getenv("PANDO_SESSION");
	const json_t *row;
	size_t count;
	char id[32], other[64];

	/* Who comes to a session brings his ssh agent, if the login that he comes from has one. */
	if (api_is_inside(s->c))
		l.agent = getenv("SSH_AUTH_SOCK");
	row = choose(rows, which, &count);
	if (row == NULL)
		return fail(s->c, CODE_NOT_FOUND, attach_command(s, "-l", other), "cannot %s: %s",
			    s->what, which ? "there is no such session" : "no session is detached");
	if (which == NULL && count > 1) {
		(void)print_sessions(s->c, rows);
		return fail(s->c, CODE_USAGE, attach_command(s, "N", other),
			    "cannot %s: several are detached", s->what);
	}
	if (own != NULL && strtoll(own, NULL, 10) == json_number(row, "number"))
		return fail(s->c, CODE_USAGE, attach_command(s, "-l", other),
			    "cannot %s: this is that session", s->what);
	if (!isatty(0) || !isatty(1))
		return fail(s->c, CODE_USAGE, NULL, "cannot %s: this is no terminal", s->what);
	(void)snprintf(id, sizeof(id), "%lld", (long long)json_number(row, "session"));
	leave(line_attach(&l, id));
}

static bool list_only;

static int attach_run(struct ctx *c, int argc, char **argv)
{
	bool inside = api_is_inside(c);
	const char *tenant = inside || argc == 0 ? NULL : argv[0];
	const char *which = inside ? (argc > 0 ? argv[0] : NULL) : (argc > 1 ? argv[1] : NULL);
	char base[128] = "/v1/tenants/-/sessions", what[96];
	struct login s = { .c = c, .what = what, .tenant = tenant };
	json_t *body;
	int code;

	if (inside ? argc > 1 : argc < 1)
		return fail(c, CODE_USAGE, "pando attach --help",
			    "cannot attach: usage is pando attach TENANT [N], inside a session "
			    "attach [N]");
	(void)snprintf(what, sizeof(what), "attach%s%.20s", which ? " " : "", which ? which : "");
	if (tenant != NULL)
		(void)snprintf(base, sizeof(base), "/v1/tenants/%.64s/sessions", tenant);
	code = api_call(c, what, "GET", NULL, &body, "%s", base);
	if (code != 0)
		return code;
	if (list_only)
		code = print_sessions(c, json_object_get(body, "sessions"));
	else
		code = attach_to(&s, base, json_object_get(body, "sessions"), which);
	json_decref(body);
	return code;
}

/* ---- detach: takes the line of this session and lets it go ---- */
static int take_and_drop(struct ctx *c, const json_t *row)
{
	struct winsize w = { .ws_row = 24, .ws_col = 80 };
	struct ctl_client *cl;
	struct ctl_answer a = { 0 };
	char path[HTTP_PATH_MAX];
	json_t *body;
	int r, code = api_open(c, "detach", &cl);

	if (code != 0)
		return code;
	/* As it is, so that nothing is drawn anew. */
	(void)ioctl(0, TIOCGWINSZ, &w);
	body = json_pack("{s:i, s:I, s:i, s:i}", "client", (int)getpid(), "from", INT64_MAX, "rows",
			 w.ws_row ? w.ws_row : 24, "cols", w.ws_col ? w.ws_col : 80);
	(void)snprintf(path, sizeof(path), "/v1/tenants/-/sessions/%lld/attach",
		       (long long)json_number(row, "session"));
	r = ctl_client_call(cl, "POST", path, body, &a);
	if (r < 0)
		code = fail(c, CODE_UNREACHABLE, "pando status",
			    "cannot detach: the daemon went away (%s)", strerror(-r));
	else if (a.status >= 400)
		code = api_refused(c, "detach", &a);
	ctl_answer_fini(&a);
	ctl_client_free(cl);
	json_decref(body);
	return code;
}

static int detach_run(struct ctx *c, int argc, char **argv)
{
	const char *own = getenv("PANDO_SESSION");
	const json_t *row;
	size_t count;
	json_t *body;
	int code;

	if (!api_is_inside(c) || own == NULL)
		return fail(c, CODE_USAGE, "pando attach TENANT",
			    "cannot detach: this is not inside a session on a terminal");
	code = api_call(c, "detach", "GET", NULL, &body, "/v1/tenants/-/sessions");
	if (code != 0)
		return code;
	row = choose(json_object_get(body, "sessions"), own, &count);
	code = row ? take_and_drop(c, row)
		   : fail(c, CODE_NOT_FOUND, "attach -l",
			  "cannot detach: this session is not there");
	json_decref(body);
	return code;
}

const struct cmd cmd_detach = {
	.name = "detach",
	.usage = "detach",
	.help = "Inside a session: leave it; it goes on without you.",
	.run = detach_run,
};

static const struct opt attach_opts[] = {
	{ "list", 'l', NULL, "list the sessions on terminals", NULL, &list_only },
	{ 0 },
};

const struct cmd cmd_attach = {
	.name = "attach",
	.usage = "attach TENANT [N]; inside a session: attach [N]",
	.help = "Come back to a session that was left, or whose connection was lost.",
	.more = "A session on a terminal goes on when its connection is lost. This shows again "
		"what it\n"
		"showed last, from any node, and carries it on. Without N: the only one that is\n"
		"detached. Who was on its line before is told, and leaves. `detach` inside leaves "
		"it.",
	.opts = attach_opts,
	.args_min = 0,
	.args_max = 2,
	.run = attach_run,
};
