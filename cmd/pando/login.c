/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login - a session of a tenant: a shell, or one program, on a terminal or on three pipes.
 *
 * The session's name is ours (64 random bits): asked again with the same name the daemon gives the
 * same session, so that a daemon that dies under us starts nothing twice, and its exit status is
 * fetched from the next one.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/pando/cmd.h"
#include "cmd/pando/session.h"

enum { RETRY_S = 60 }; /* how long a daemon may be away */

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
	const char *tenant;
	uint64_t name; /* of the session */
	bool tty;
	struct ctl_client *api;
	struct session_io *io;
	int signals;
};

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

static json_t *request_body(const struct login *s, char **argv)
{
	struct winsize w = { .ws_row = 24, .ws_col = 80 };
	json_t *args = json_array();

	for (; *argv != NULL; argv++)
		(void)json_array_append_new(args, json_string(*argv));
	if (ioctl(0, TIOCGWINSZ, &w) < 0)
		w = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	return json_pack("{s:I, s:o, s:o, s:b, s:i, s:i, s:s*}", "session", (json_int_t)s->name,
			 "argv", args, "env", environment(), "tty", s->tty, "rows", w.ws_row,
			 "cols", w.ws_col, "cwd", cwd_text);
}

static int refused(struct login *s, const struct ctl_answer *a)
{
	char what[96];
	int64_t code = json_number(a->body, "code");

	(void)snprintf(what, sizeof(what), "log in as %.32s", s->tenant);
	(void)api_refused(s->c, what, a);
	return code == CODE_CANNOT_EXEC || code == CODE_NO_PROGRAM ? (int)code
								   : CODE_SESSION_FAILED;
}

/* Starts the pumps on what came with the answer. */
static int attach(struct login *s, struct ctl_answer *a)
{
	unsigned want = s->tty ? 1 : 3;
	int r;

	if (a->fd_count != want)
		return -EPROTO;
	a->fd_count = 0;
	if (s->tty)
		r = session_io_tty(&s->io, a->fds[0]);
	else
		r = session_io_pipes(&s->io, a->fds[0], a->fds[1], a->fds[2]);
	return r;
}

static int start(struct login *s, char **argv)
{
	struct ctl_answer a = { 0 };
	char path[HTTP_PATH_MAX];
	json_t *body;
	int code, r;

	code = api_open(s->c, "log in", &s->api);
	if (code != 0)
		return CODE_SESSION_FAILED;
	body = request_body(s, argv);
	(void)snprintf(path, sizeof(path), "/v1/tenants/%.64s/sessions", s->tenant);
	r = body ? ctl_client_call(s->api, "POST", path, body, &a) : -ENOMEM;
	json_decref(body);
	if (r == 0 && a.status >= 400)
		code = refused(s, &a);
	else if (r == 0)
		r = attach(s, &a);
	if (r < 0)
		code = fail(s->c, CODE_SESSION_FAILED, "pando status", "cannot log in as %s: %s",
			    s->tenant, strerror(-r));
	ctl_answer_fini(&a);
	return code;
}

/* SIGINT and the like: with a terminal they came as bytes, so these are meant for us and go on. */
static void hand_on_signal(struct login *s, int signo)
{
	struct ctl_client *cl;
	struct ctl_answer a;
	char path[HTTP_PATH_MAX];
	json_t *body;

	if (s->c->node == NULL || api_open_node(s->c, s->c->node, &cl) < 0)
		return;
	body = json_pack("{s:i}", "signal", signo);
	(void)snprintf(path, sizeof(path), "/v1/tenants/%.64s/sessions/%" PRIu64 "/signal",
		       s->tenant, s->name);
	if (ctl_client_call(cl, "POST", path, body, &a) == 0)
		ctl_answer_fini(&a);
	json_decref(body);
	ctl_client_free(cl);
}

static void on_signal(struct login *s)
{
	struct signalfd_siginfo si;

	if (read(s->signals, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH)
		session_io_resize(s->io);
	else
		hand_on_signal(s, (int)si.ssi_signo);
}

/* Waits until the API connection has something. */
static void wait_api(struct login *s)
{
	struct pollfd fds[2] = { { ctl_client_fd(s->api), POLLIN, 0 }, { s->signals, POLLIN, 0 } };

	while (fds[0].revents == 0) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents != 0)
			on_signal(s);
	}
}

/* Asks the daemon that came after ours for the session's end. 1: asked; 0: not yet. */
static int ask_again(struct login *s)
{
	struct ctl_answer a = { 0 };
	char path[HTTP_PATH_MAX];
	int r;

	ctl_client_free(s->api);
	s->api = NULL;
	if (s->c->node != NULL)
		r = api_open_node(s->c, s->c->node, &s->api);
	else
		r = -ENOENT;
	if (r < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/v1/tenants/%.64s/sessions/%" PRIu64, s->tenant,
		       s->name);
	r = ctl_client_call(s->api, "GET", path, NULL, &a);
	if (r == 0 && a.status == 404)
		r = -ESRCH;
	else if (r == 0)
		r = a.stream ? 1 : 0;
	else
		r = 0;
	ctl_answer_fini(&a);
	return r;
}

static int reconnect(struct login *s)
{
	uint64_t until = clock_mono_ns() + RETRY_S * NS_PER_S;
	int r = 0;

	while (r == 0 && clock_mono_ns() < until) {
		struct timespec pause = { 0, 100000000 };

		r = ask_again(s);
		if (r == 0)
			(void)nanosleep(&pause, NULL);
	}
	return r == 0 ? -EHOSTDOWN : r;
}

static int code_of_status(int64_t status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Lines of the session's stream: the last one has its status. */
static int wait_end(struct login *s)
{
	for (;;) {
		json_t *line = NULL;
		int r, code;

		r = ctl_client_line_in(s->api, &line);
		if (r == -EAGAIN) {
			wait_api(s);
			r = ctl_client_line(s->api, &line);
		}
		if (r == 1 && json_object_get(line, "status") != NULL) {
			code = code_of_status(json_number(line, "status"));
			json_decref(line);
			return code;
		}
		if (r == 1 && s->c->node == NULL)
			s->c->node = strdup(json_text(line, "node"));
		json_decref(line);
		if (r == 1)
			continue;
		r = reconnect(s);
		if (r < 0)
			return fail(s->c, CODE_SESSION_FAILED, "pando status",
				    "cannot tell how the session ended: %s",
				    r == -ESRCH ? "the node has lost it" : "the node is gone");
	}
}

static int login_run(struct ctx *c, int argc, char **argv)
{
	struct login s = { .c = c, .tenant = argv[0], .signals = -1 };
	sigset_t set;
	int code;

	s.tty = force_tty || (!no_tty && isatty(0) && isatty(1));
	if (getrandom(&s.name, sizeof(s.name), 0) != sizeof(s.name))
		return fail(c, CODE_SESSION_FAILED, NULL, "cannot log in: no randomness");
	s.name >>= 2; /* a JSON integer is signed */
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	/* Blocked before the first thread exists, so that all of them have it so. */
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	s.signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (s.signals < 0)
		return fail(c, CODE_SESSION_FAILED, NULL, "cannot log in: %s", strerror(errno));
	code = start(&s, argv + 1);
	if (code == 0) {
		code = wait_end(&s);
		session_io_end(s.io);
	}
	ctl_client_free(s.api);
	(void)close(s.signals);
	/* The input pump may still be reading: leave without its consent. */
	(void)fflush(NULL);
	_exit(code);
}

const struct cmd cmd_login = {
	.name = "login",
	.usage = "login TENANT [-- CMD ARG...]",
	.help = "Start a session of a tenant: a shell, or one program.",
	.more = "On a terminal the session has a terminal; otherwise, or with -T, three pipes, and "
		"the\n"
		"end of input reaches the program. The exit status is the program's: 128+n when "
		"signal\n"
		"n ended it, 127 when there is no such program, 126 when it cannot be executed, "
		"125\n"
		"when pando itself failed.",
	.opts = opts,
	.args_min = 1,
	.args_max = 1u << 20,
	.run = login_run,
};
