/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - our end of a session: its start, its bytes, its end; on three pipes by threads
 * (pump.h), on a terminal by one loop over frames.
 *
 * The session's name is ours (random): asked again with the same name a daemon gives the same
 * session, so that one that dies under us starts nothing twice.
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
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/clock.h"
#include "cmd/ctl/ctl.h"
#include "cmd/line/agent.h"
#include "cmd/line/line.h"
#include "cmd/line/pump.h"

enum {
	INPUT_KEPT = 65536,
	LOST_MAX = 20, /* daemons that die under one question */
	ON = -1,       /* no exit status yet */
};

struct client {
	const struct line *l;
	char id[32]; /* of the session */
	uint64_t name;
	struct ctl_client *api;
	struct session_io *io; /* three pipes */
	bool alone;            /* nobody reads what we write */
	int signals;
	/* a terminal */
	int stream;         /* the line; -1: lost */
	uint64_t shown;     /* bytes of the session that we have */
	struct buf in, out; /* frames, not whole yet, and not written yet */
	struct buf kept;    /* input that is not in yet */
	uint64_t kept_from; /* number of its first byte */
	bool input_ended;
	bool greeted; /* the other end has said what it has: input may be read */
	struct termios saved;
	bool raw;
};

static int code_of_status(int64_t status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int failed(struct client *s, const char *why)
{
	return s->l->ops->failed(s->l->arg, why);
}

static int call(struct client *s, uint64_t until_ns, const char *method, const char *path,
		const json_t *body, struct ctl_answer *a)
{
	int r;

	memset(a, 0, sizeof(*a));
	ctl_client_free(s->api);
	s->api = NULL;
	r = s->l->ops->dial(s->l->arg, until_ns, &s->api);
	return r < 0 ? r : ctl_client_call(s->api, method, path, body, a);
}

/* A daemon that died under us. */
static bool is_lost(int err)
{
	return err == -ECONNRESET || err == -EPIPE;
}

/* Or is being started again, and its socket is not there yet. */
static bool is_away(int err)
{
	return is_lost(err) || err == -ECONNREFUSED || err == -ENOENT;
}

/*
 * The same, patiently: the next daemon is waited for, and that waits for a guest kernel by itself.
 * What started a program on three pipes is not said twice: they are lost.
 */
static int call_again(struct client *s, const char *method, const char *path, const json_t *body,
		      struct ctl_answer *a)
{
	uint64_t until_ns = clock_mono_ns() + s->l->patience_s * NS_PER_S;
	bool once = !s->l->tty && strcmp(method, "POST") == 0;
	int lost = 0, r;

	do
		r = call(s, until_ns, method, path, body, a);
	while (is_lost(r) && !once && ++lost < LOST_MAX && clock_mono_ns() < until_ns);
	return r;
}

/* ---- signals: with a terminal they came as bytes, so these are meant for us and go on ---- */
static void hand_on_signal(struct client *s, int signo)
{
	struct ctl_client *cl;
	struct ctl_answer a;
	char path[HTTP_PATH_MAX];
	json_t *body;

	if (s->l->ops->dial(s->l->arg, 0, &cl) < 0)
		return;
	body = json_pack("{s:i}", "signal", signo);
	(void)snprintf(path, sizeof(path), "%s/%s/signal", s->l->base, s->id);
	if (ctl_client_call(cl, "POST", path, body, &a) == 0)
		ctl_answer_fini(&a);
	json_decref(body);
	ctl_client_free(cl);
}

static int read_signal(struct client *s)
{
	struct signalfd_siginfo si;

	return read(s->signals, &si, sizeof(si)) == sizeof(si) ? (int)si.ssi_signo : 0;
}

static sigset_t watched(void)
{
	static const int which[] = { SIGWINCH, SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(which); i++)
		sigaddset(&set, which[i]);
	return set;
}

static int watch_signals(struct client *s)
{
	sigset_t set = watched();

	/* Blocked before the first thread exists, so that all of them have it so. */
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC);
	return s->signals < 0 ? -errno : 0;
}

/* ---- three pipes: the status comes in the daemon's answer, which goes on until then ---- */
/* False: nobody is there for whom to wait. */
static bool wait_api(struct client *s)
{
	struct pollfd fds[3] = { { ctl_client_fd(s->api), POLLIN, 0 },
				 { s->signals, POLLIN, 0 },
				 { s->l->ends_with_output ? 1 : -1, 0, 0 } };

	while (fds[0].revents == 0) {
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return true;
		if (fds[1].revents != 0)
			hand_on_signal(s, read_signal(s));
		if (fds[2].revents != 0)
			return false;
	}
	return true;
}

/* Asks the daemon that came after ours for the session's end. */
static int ask_end(struct client *s)
{
	char path[HTTP_PATH_MAX];
	struct ctl_answer a;
	int r;

	(void)snprintf(path, sizeof(path), "%s/%s", s->l->base, s->id);
	r = call_again(s, "GET", path, NULL, &a);
	if (r == 0 && !a.stream)
		r = a.status == 404 ? -ESRCH : -EHOSTDOWN;
	ctl_answer_fini(&a);
	return r;
}

static int wait_status(struct client *s)
{
	for (;;) {
		json_t *line = NULL, *status;
		int r = ctl_client_line_in(s->api, &line), code = ON;

		/* Our end closes the connection, and the daemon hangs the session up. */
		if (r == -EAGAIN && !wait_api(s)) {
			s->alone = true;
			return 128 + SIGHUP;
		}
		if (r == -EAGAIN)
			r = ctl_client_line(s->api, &line);
		status = r == 1 ? json_object_get(line, "status") : NULL;
		if (status != NULL)
			code = code_of_status(json_integer_value(status));
		json_decref(line);
		if (code != ON)
			return code;
		if (r == 1)
			continue;
		r = ask_end(s);
		if (r < 0)
			return failed(s, r == -ESRCH ? "the node has lost it" : "the node is gone");
	}
}

/* Takes the descriptors of an answer: @want of them, and the agent's if we asked for one. */
static bool take_fds(struct client *s, struct ctl_answer *a, unsigned want)
{
	bool agent = s->l->agent != NULL && a->fd_count == want + 1;

	if (!agent && a->fd_count != want)
		return false;
	a->fd_count = 0;
	if (agent && agent_serve(a->fds[want], s->l->agent) < 0)
		(void)fputs("pando: the agent is not forwarded: out of memory\r\n", stderr);
	return true;
}

static int run_pipes(struct client *s, struct ctl_answer *a)
{
	int r, code;

	if (!take_fds(s, a, 3))
		return failed(s, "the daemon gave no pipes");
	r = session_io_pipes(&s->io, a->fds[0], a->fds[1], a->fds[2]);
	if (r < 0)
		return failed(s, strerror(-r));
	code = wait_status(s);
	if (!s->alone) {
		sigset_t set = watched();

		/* What outlives it may write on; nobody is left to hand a signal on to but us. */
		(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
		session_io_end(s->io);
	}
	return code;
}

/* ---- a terminal ---- */
static int terminal_raw(struct client *s)
{
	struct termios t;

	if (tcgetattr(0, &s->saved) < 0)
		return errno == ENOTTY ? 0 : -errno;
	t = s->saved;
	cfmakeraw(&t);
	if (tcsetattr(0, TCSADRAIN, &t) < 0)
		return -errno;
	s->raw = true;
	return 0;
}

static void window(unsigned *rows, unsigned *cols)
{
	struct winsize w = { 0 };

	if (ioctl(0, TIOCGWINSZ, &w) < 0 || w.ws_row == 0 || w.ws_col == 0)
		w = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	*rows = w.ws_row;
	*cols = w.ws_col;
}

static int send_size(struct client *s)
{
	unsigned rows, cols;
	uint8_t body[4];

	window(&rows, &cols);
	line_put(body, 2, rows);
	line_put(body + 2, 2, cols);
	return line_frame_add(&s->out, LINE_SIZE, body, sizeof(body));
}

static int show(const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(1, p, len);

		if (n < 0 && errno == EAGAIN) {
			/* The other side of our terminal made it non-blocking. */
			struct pollfd ready = { 1, POLLOUT, 0 };

			(void)poll(&ready, 1, -1);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* So much input is in: what was kept for a lost line goes. */
static int input_is_in(struct client *s, uint64_t number)
{
	if (number < s->kept_from || number - s->kept_from > s->kept.len)
		return -EPROTO;
	buf_consume(&s->kept, (size_t)(number - s->kept_from));
	s->kept_from = number;
	return 0;
}

static int add_input(struct client *s, const uint8_t *p, size_t len)
{
	int r = 0;

	for (size_t at = 0; r == 0 && at < len; at += LINE_BODY_MAX)
		r = line_frame_add(&s->out, LINE_INPUT, p + at,
				   MIN(len - at, (size_t)LINE_BODY_MAX));
	return r;
}

static int hello(struct client *s, const struct line_frame *f)
{
	int r;

	s->shown = line_get(f->body, 8);
	r = input_is_in(s, line_get(f->body + 8, 8));
	if (r == 0)
		r = add_input(s, s->kept.data, s->kept.len);
	s->greeted = true;
	return r;
}

/* ON, an exit status, or -errno in @err. */
static int on_frame(struct client *s, const struct line_frame *f, int *err)
{
	switch (f->kind) {
	case LINE_HELLO:
		*err = hello(s, f);
		return ON;
	case LINE_SHOWN:
		s->shown += f->len;
		*err = show(f->body, f->len);
		return ON;
	case LINE_TAKEN_IN:
		*err = input_is_in(s, line_get(f->body, 8));
		return ON;
	case LINE_EXIT:
		return code_of_status((int64_t)line_get(f->body, 4));
	case LINE_TAKEN:
		(void)show((const uint8_t *)"\r\n[detached]\r\n", 14);
		return 0;
	default:
		*err = -EPROTO;
		return ON;
	}
}

static int take_frames(struct client *s, int *err)
{
	struct line_frame f;
	int code = ON;

	while (*err == 0 && code == ON) {
		int n = line_frame_take(s->in.data, s->in.len, &f);

		if (n <= 0) {
			*err = n;
			break;
		}
		code = on_frame(s, &f, err);
		buf_consume(&s->in, (size_t)n);
	}
	return code;
}

static int from_stream(struct client *s, int *err)
{
	ssize_t n;

	*err = buf_reserve(&s->in, 65536);
	if (*err != 0)
		return ON;
	n = recv(s->stream, s->in.data + s->in.len, s->in.cap - s->in.len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return ON;
	if (n <= 0) {
		(void)close(s->stream);
		s->stream = -1;
		return ON;
	}
	s->in.len += (size_t)n;
	return take_frames(s, err);
}

static void to_stream(struct client *s)
{
	ssize_t n = send(s->stream, s->out.data, s->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0)
		buf_consume(&s->out, (size_t)n);
	/* An end of the stream is seen by reading. */
}

static int from_person(struct client *s)
{
	uint8_t bytes[4096];
	ssize_t n = read(0, bytes, sizeof(bytes));
	int r;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		/* Our terminal is gone, or a file that stood for it has ended. */
		s->input_ended = true;
		return n < 0 ? -EIO : 0;
	}
	r = buf_add(&s->kept, bytes, (size_t)n);
	return r == 0 ? add_input(s, bytes, (size_t)n) : r;
}

/* Our own end: the terminal hung up, or somebody ends us. The session goes on without us. */
static bool told_to_go(struct client *s, int *err)
{
	int signo = read_signal(s);

	if (signo == SIGWINCH)
		*err = send_size(s);
	return signo == SIGHUP || signo == SIGTERM;
}

/* Until the session ends, or the line does (ON, with s->stream closed). */
static int carry(struct client *s, int *err)
{
	int code = ON;

	while (code == ON && *err == 0 && s->stream >= 0) {
		bool reads = s->greeted && !s->input_ended && s->kept.len < INPUT_KEPT &&
			     s->out.len < INPUT_KEPT;
		struct pollfd p[3] = {
			{ s->stream, (short)(POLLIN | (s->out.len > 0 ? POLLOUT : 0)), 0 },
			{ s->signals, POLLIN, 0 },
			{ reads ? 0 : -1, POLLIN, 0 },
		};

		if (poll(p, 3, -1) < 0) {
			*err = errno == EINTR ? 0 : -errno;
			continue;
		}
		if (p[1].revents != 0 && told_to_go(s, err))
			return 128 + SIGHUP;
		if (p[0].revents & POLLOUT)
			to_stream(s);
		if (p[0].revents & (POLLIN | POLLHUP | POLLERR))
			code = from_stream(s, err);
		if (code == ON && *err == 0 && p[2].revents != 0)
			*err = from_person(s);
	}
	return code;
}

/* Takes the line of the session again, from what we have. 0, or an exit status. */
static int take_line(struct client *s, struct ctl_answer *a)
{
	char path[HTTP_PATH_MAX];
	unsigned rows, cols;
	json_t *body;
	int r, code = ON;

	window(&rows, &cols);
	(void)snprintf(path, sizeof(path), "%s/%s/attach", s->l->base, s->id);
	/* The agent's socket is ours already. */
	body = json_pack("{s:I, s:I, s:i, s:i}", "client", (json_int_t)s->name, "from",
			 (json_int_t)s->shown, "rows", (int)rows, "cols", (int)cols);
	r = call_again(s, "POST", path, body, a);
	json_decref(body);
	if (r < 0)
		return failed(s, is_away(r) ? "the node is gone" : strerror(-r));
	if (a->status >= 400)
		return s->l->ops->refused(s->l->arg, a);
	return code;
}

static int use_line(struct client *s, struct ctl_answer *a)
{
	if (!take_fds(s, a, 1))
		return failed(s, "the daemon gave no line");
	s->stream = a->fds[0];
	s->in.len = s->out.len = 0;
	s->greeted = false;
	return ON;
}

static int run_tty(struct client *s, struct ctl_answer *a)
{
	int err, code = use_line(s, a);

	err = code == ON ? terminal_raw(s) : 0;
	while (code == ON && err == 0) {
		code = carry(s, &err);
		if (code != ON || err != 0)
			break;
		/* The guest kernel died, or the node on the way: its successor has the session. */
		ctl_answer_fini(a);
		code = take_line(s, a);
		if (code == ON)
			code = use_line(s, a);
	}
	if (s->raw)
		(void)tcsetattr(0, TCSADRAIN, &s->saved);
	if (s->stream >= 0)
		(void)close(s->stream);
	return code == ON ? failed(s, strerror(-err)) : code;
}

/* ---- begin ---- */
static int begin(struct client *s, const struct line *l)
{
	memset(s, 0, sizeof(*s));
	s->l = l;
	s->stream = s->signals = -1;
	if (getrandom(&s->name, sizeof(s->name), 0) != sizeof(s->name))
		return failed(s, "no randomness");
	s->name >>= 2; /* a JSON integer is signed */
	if (watch_signals(s) < 0)
		return failed(s, strerror(errno));
	return ON;
}

static void end(struct client *s)
{
	ctl_client_free(s->api);
	buf_fini(&s->in);
	buf_fini(&s->out);
	buf_fini(&s->kept);
	if (s->signals >= 0)
		(void)close(s->signals);
}

/* The first line of a stream says what began where. */
static void read_first(struct client *s)
{
	json_t *first = NULL;

	if (ctl_client_line(s->api, &first) != 1)
		return;
	if (json_is_string(json_object_get(first, "node")))
		s->l->ops->node(s->l->arg, json_string_value(json_object_get(first, "node")));
	if (s->l->ops->begun != NULL)
		s->l->ops->begun(s->l->arg, first);
	json_decref(first);
}

static int answered(struct client *s, int r, struct ctl_answer *a)
{
	int code;

	if (r < 0)
		code = failed(s, is_away(r) ? "no daemon answers" : strerror(-r));
	else if (a->status >= 400 || !a->stream)
		code = s->l->ops->refused(s->l->arg, a);
	else {
		read_first(s);
		/* From here on a terminal's line is between us and the guest kernel. */
		if (s->l->tty) {
			ctl_client_free(s->api);
			s->api = NULL;
		}
		code = s->l->tty ? run_tty(s, a) : run_pipes(s, a);
	}
	ctl_answer_fini(a);
	end(s);
	return code;
}

int line_start(const struct line *l, json_t *body)
{
	struct ctl_answer a = { 0 };
	struct client s;
	unsigned rows, cols;
	int code = begin(&s, l), r;

	if (code != ON) {
		json_decref(body);
		return code;
	}
	window(&rows, &cols);
	(void)snprintf(s.id, sizeof(s.id), "%" PRIu64, s.name);
	(void)json_object_set_new(body, "session", json_integer((json_int_t)s.name));
	(void)json_object_set_new(body, "tty", json_boolean(l->tty));
	(void)json_object_set_new(body, "agent", json_boolean(l->agent != NULL));
	(void)json_object_set_new(body, "rows", json_integer(rows));
	(void)json_object_set_new(body, "cols", json_integer(cols));
	r = call_again(&s, "POST", l->base, body, &a);
	json_decref(body);
	return answered(&s, r, &a);
}

int line_attach(const struct line *l, const char *id)
{
	struct ctl_answer a = { 0 };
	char path[HTTP_PATH_MAX];
	struct client s;
	unsigned rows, cols;
	json_t *body;
	int code = begin(&s, l), r;

	if (code != ON)
		return code;
	window(&rows, &cols);
	(void)snprintf(s.id, sizeof(s.id), "%.31s", id);
	(void)snprintf(path, sizeof(path), "%s/%s/attach", l->base, s.id);
	body = json_pack("{s:I, s:i, s:i, s:b}", "client", (json_int_t)s.name, "rows", (int)rows,
			 "cols", (int)cols, "agent", l->agent != NULL);
	r = call_again(&s, "POST", path, body, &a);
	json_decref(body);
	return answered(&s, r, &a);
}
