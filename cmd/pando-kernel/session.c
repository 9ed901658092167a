/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - session leaders: started for pandod, their exits told until it acknowledges.
 *
 * A session stands in pando-init's store under "session.ID.PID" (its leader's pidfd) from before we
 * know its pid until its exit is acknowledged. A guest kernel that dies while it starts leaves a
 * leader that is asked for again by that name, or that the store tells of when it runs.
 *
 * A session on a terminal (terminal.h) has ended for pandod when whoever is on its line has seen
 * everything.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pando-kernel/tty/terminal.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"

#define KEY_PREFIX "session."
#define WORDS_MAX  4096 /* arguments, and variables, of a session's start */

#define SPAWN_TRIES    15
#define SPAWN_AGAIN_NS (100 * NS_PER_MS)

struct session {
	struct list link;
	uint64_t id; /* pandod's; 0: a leader whose start nobody knows */
	gpid pid;    /* 0: being started */
	int pidfd;
	struct rpc_call *call; /* waits for the start */
	bool has_exited;
	int status;
	uint64_t event;
	struct world *world;
	struct terminal *terminal; /* NULL: it has none */

	/* a start that waits */
	struct init_spawn head;
	char **argv;
	char **envp;
	char *cwd;
	int fds[3]; /* its own three, or the line of a terminal */
	size_t nfds;
	struct terminal_ask ask;
	uint32_t number;
	unsigned tries;
	struct loop_timer again;
};

static void free_words(char **v)
{
	for (size_t i = 0; v && v[i]; i++)
		free(v[i]);
	free(v);
}

static void drop_request(struct session *s)
{
	free_words(s->argv);
	free_words(s->envp);
	free(s->cwd);
	for (size_t i = 0; i < s->nfds; i++)
		(void)close(s->fds[i]);
	s->argv = NULL;
	s->envp = NULL;
	s->cwd = NULL;
	s->nfds = 0;
}

static void session_free(struct session *s)
{
	loop_timer_clear(s->world->loop, &s->again);
	list_del(&s->link);
	drop_request(s);
	terminal_free(s->terminal, true);
	if (s->pidfd >= 0)
		(void)close(s->pidfd);
	free(s);
}

static struct session *session_new(struct world *w, uint64_t id)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->id = id;
	s->pidfd = -1;
	s->world = w;
	list_init(&s->link);
	return s;
}

static void session_key(const struct session *s, char key[INIT_KEY_MAX])
{
	(void)snprintf(key, INIT_KEY_MAX, KEY_PREFIX "%" PRIu64 ".%d", s->id, s->pid);
}

static struct session *find_by_id(struct world *w, uint64_t id)
{
	struct session *s;

	list_for_each (s, &w->sessions, link)
		if (s->id == id)
			return s;
	list_for_each (s, &w->starts, link)
		if (s->id == id)
			return s;
	return NULL;
}

static bool is_over(const struct session *s)
{
	struct pollfd f = { .fd = s->pidfd, .events = POLLIN };

	return s->pidfd < 0 || poll(&f, 1, 0) == 1;
}

/* Whose end it is. A pid comes back soon, and who had it before may not be acknowledged yet. */
static struct session *find_ended(struct world *w, gpid pid, uint64_t event)
{
	struct session *s;

	list_for_each (s, &w->sessions, link)
		if (s->pid == pid && s->has_exited && s->event == event)
			return s;
	list_for_each (s, &w->sessions, link)
		if (s->pid == pid && !s->has_exited && is_over(s))
			return s;
	return NULL;
}

/* ---- exits ---- */
static void tell_exit(struct world *w, struct session *s)
{
	Kernel__SessionExit e = KERNEL__SESSION_EXIT__INIT;
	uint8_t body[64];
	struct rpc_msg m = { .method = KERNEL_SESSION_EXIT, .body = body };

	/* The reply to the start goes first, so that pandod knows whose exit this is. */
	if (!w->pod || s->call || (s->terminal && !terminal_shown_all(s->terminal)))
		return;
	e.tty = s->terminal != NULL;
	e.session = s->id;
	e.pid = s->pid;
	e.status = s->status;
	e.event = s->event;
	m.len = kernel__session_exit__pack(&e, body);
	/* Not sent: told again when pandod is back. */
	if (rpc_send(w->pod, &m) != 0)
		log_warn("cannot tell pandod that session %" PRIu64 " has ended", s->id);
}

static void shown_all(void *arg)
{
	struct session *s = arg;

	tell_exit(s->world, s);
}

void session_exited(struct world *w, gpid pid, int status, uint64_t event)
{
	struct session *s = find_ended(w, pid, event);

	if (!s) {
		s = session_new(w, 0);
		if (!s)
			return;
		s->pid = pid;
		list_add_tail(&w->sessions, &s->link);
	}
	s->has_exited = true;
	s->status = status;
	s->event = event;
	if (s->terminal)
		terminal_ended(s->terminal, status);
	/* Of a start that is not answered yet we know no pid: its answer finds this entry. */
	if (s->id != 0 || list_empty(&w->starts))
		tell_exit(w, s);
}

void session_tell_all(struct world *w)
{
	struct session *s;

	list_for_each (s, &w->sessions, link)
		if (s->has_exited)
			tell_exit(w, s);
}

static void on_ack(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__SessionAck *a = kernel__session_ack__unpack(NULL, m->len, m->body);
	struct session *s, *tmp;
	char key[INIT_KEY_MAX];

	list_for_each_safe (s, tmp, &w->sessions, link) {
		if (!a || !s->has_exited || s->event != a->event)
			continue;
		/* In this order: what is told again for a session that we forgot is acknowledged
		 * again. */
		session_key(s, key);
		(void)pid1_drop(w->pid1, key);
		FAULT("kernel.session.before_ack");
		(void)pid1_ack(w->pid1, s->event);
		session_free(s);
	}
	if (a)
		kernel__session_ack__free_unpacked(a, NULL);
	answers_reply(call, 0, NULL);
}

/* ---- starts ---- */
static void answer_start(struct session *s, int err, const int *fds, size_t nfds)
{
	Kernel__SessionStarted started = KERNEL__SESSION_STARTED__INIT;
	uint8_t body[32];
	struct rpc_msg m = { .body = body };
	struct rpc_call *call = s->call;
	int r;

	s->call = NULL;
	if (!call)
		return;
	started.pid = s->pid;
	m.len = kernel__session_started__pack(&started, body);
	for (size_t i = 0; i < nfds; i++)
		m.fds[m.fd_count++] = fds[i];
	r = rpc_reply(call, err, err == 0 ? &m : NULL);
	if (r != 0) {
		log_warn("cannot answer the start of session %" PRIu64 ": %s", s->id, strerror(-r));
		for (size_t i = 0; i < nfds; i++)
			(void)close(fds[i]);
	}
}

/* The leader may have ended before its start was answered: two entries become one. */
static void join_exit(struct world *w, struct session *s)
{
	struct session *e;

	list_for_each (e, &w->sessions, link) {
		if (e->id != 0 || e->pid != s->pid)
			continue;
		s->has_exited = true;
		s->status = e->status;
		s->event = e->event;
		session_free(e);
		break;
	}
}

/* Its terminal, and the client on the line of it. */
static void open_terminal(struct session *s)
{
	int r = terminal_open(s->world, s->pid, s->number, shown_all, s, &s->terminal);

	if (r == 0 && s->nfds == 1)
		r = terminal_attach(s->terminal, s->fds[0], NULL, &s->ask);
	s->nfds = r == 0 ? 0 : s->nfds;
	if (r < 0)
		log_error("session %" PRIu64 " has no line: %s", s->id, strerror(-r));
	if (s->terminal && s->has_exited)
		terminal_ended(s->terminal, s->status);
}

static void spawn(struct session *s);

/* A hog has the tenant's memory until the host's kernel, or its own end, takes it away. */
static void spawn_again(struct loop_timer *t)
{
	spawn(container_of(t, struct session, again));
}

static void on_spawned(void *arg, int err, gpid pid, const int *fds, size_t nfds)
{
	struct session *s = arg;
	struct world *w = s->world;
	int out;

	FAULT("kernel.session.spawned");
	if (err == -ENOMEM && s->tries++ < SPAWN_TRIES &&
	    loop_timer_set(w->loop, &s->again, clock_mono_ns() + SPAWN_AGAIN_NS, spawn_again) == 0)
		return;
	if (err != 0) {
		answer_start(s, err, NULL, 0);
		session_free(s);
		session_tell_all(w);
		return;
	}
	s->pid = pid;
	s->pidfd = fds[0];
	for (size_t i = 1; i < nfds; i++)
		(void)close(fds[i]);
	FAULT("kernel.session.kept");
	join_exit(w, s);
	list_del(&s->link);
	list_add_tail(&w->sessions, &s->link);
	if (s->head.flags & INIT_SPAWN_TTY)
		open_terminal(s);
	drop_request(s);
	out = dup(s->pidfd);
	answer_start(s, out < 0 ? -errno : 0, &out, out < 0 ? 0 : 1);
	session_tell_all(w);
}

static void spawn(struct session *s)
{
	struct world *w = s->world;
	bool tty = (s->head.flags & INIT_SPAWN_TTY) != 0;
	char key[INIT_KEY_MAX];
	int r;

	(void)snprintf(key, sizeof(key), KEY_PREFIX "%" PRIu64, s->id);
	r = pid1_spawn(w->pid1, key, &s->head, s->argv, s->envp, s->cwd, s->fds, tty ? 0 : s->nfds,
		       on_spawned, s);
	if (r == 0)
		return;
	answer_start(s, r, NULL, 0);
	session_free(s);
}

void session_pids_came(struct world *w)
{
	struct session *s, *tmp;

	/* Those with arguments have not been asked for yet. */
	list_for_each_safe (s, tmp, &w->starts, link) {
		if (!s->argv)
			continue;
		spawn(s);
	}
	if (!list_empty(&w->arrivals))
		kin_zygote(w);
}

/*
 * A copy of @n strings behind @before. A program without a slash is looked for in PATH by a shell
 * inside: we see no file of the tenant. Its exit status for "not found" is 127, as a shell's is.
 */
static char **copy_words(const char *const *before, char **words, size_t n)
{
	char **v;
	size_t at = 0;

	if (n > WORDS_MAX)
		return NULL;
	v = calloc(n + 4, sizeof(*v));
	for (size_t i = 0; v && before && before[i]; i++)
		v[at++] = strdup(before[i]);
	for (size_t i = 0; v && i < n; i++)
		v[at++] = strdup(words[i]);
	for (size_t i = 0; v && i < at; i++) {
		if (v[i])
			continue;
		while (at > 0)
			free(v[--at]);
		free(v);
		return NULL;
	}
	return v;
}

static const char *const by_path[] = { "/bin/sh", "-c", "exec \"$0\" \"$@\"", NULL };

static int fill_request(const struct world *w, struct session *s, const Kernel__SessionStart *m)
{
	bool login = m->n_argv > 0 && m->argv[0][0] == '-';

	s->head = (struct init_spawn){ .flags = m->tty ? INIT_SPAWN_TTY : 0,
				       .uid = m->uid,
				       .data_max_bytes = quota_data_max(w, 0),
				       .rows = (uint16_t)m->rows,
				       .cols = (uint16_t)m->cols };
	if (m->n_argv == 0 || m->uid == 0 || m->session == 0 || m->rows > UINT16_MAX ||
	    m->cols > UINT16_MAX || s->nfds != (m->tty ? 1 : 3))
		return -EINVAL;
	s->number = m->number;
	s->ask = (struct terminal_ask){ .client = m->client, .has_from = true };
	s->argv = copy_words(m->argv[0][login] == '/' ? NULL : by_path, m->argv, m->n_argv);
	s->envp = copy_words(NULL, m->env, m->n_env);
	s->cwd = strdup(m->cwd[0] ? m->cwd : "/");
	return s->argv && s->envp && s->cwd ? 0 : -ENOMEM;
}

/* Asked again with a session that we have: the same answer, and its terminal's line from the start.
 */
static void answer_known(struct session *s, const Kernel__SessionStart *q, struct rpc_call *call,
			 const struct rpc_msg *m)
{
	struct terminal_ask ask = { .client = q->client, .has_from = true, .number = q->number };
	unsigned taken = 0;
	int fd;

	if (s->terminal && m->fd_count == 1) {
		taken = 1;
		if (terminal_attach(s->terminal, m->fds[0], NULL, &ask) != 0)
			log_warn("session %" PRIu64 " was hung up", s->id);
	}
	for (unsigned i = taken; i < m->fd_count; i++)
		(void)close(m->fds[i]);
	if (s->pid == 0) {
		answers_reply(call, -EALREADY, NULL);
		return;
	}
	fd = dup(s->pidfd);
	s->call = call;
	answer_start(s, fd >= 0 ? 0 : -errno, &fd, fd >= 0 ? 1 : 0);
}

static void on_start(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__SessionStart *q = kernel__session_start__unpack(NULL, m->len, m->body);
	struct session *s = q ? find_by_id(w, q->session) : NULL;
	int r = -ENOMEM;

	if (call && q && s) {
		answer_known(s, q, call, m);
		goto out;
	}
	if (!call || !q) {
		for (unsigned i = 0; i < m->fd_count; i++)
			(void)close(m->fds[i]);
		answers_reply(call, -EPROTO, NULL);
		goto out;
	}
	s = session_new(w, q->session);
	for (unsigned i = 0; i < m->fd_count; i++) {
		if (s && i < ARRAY_LEN(s->fds))
			s->fds[s->nfds++] = m->fds[i];
		else
			(void)close(m->fds[i]);
	}
	if (s)
		r = m->fd_count > ARRAY_LEN(s->fds) ? -EINVAL : fill_request(w, s, q);
	if (r != 0) {
		answers_reply(call, r, NULL);
		if (s)
			session_free(s);
		goto out;
	}
	s->call = call;
	list_add_tail(&w->starts, &s->link);
	if (w->has_pids)
		spawn(s);
	else
		pod_want_pids(w);
out:
	if (q)
		kernel__session_start__free_unpacked(q, NULL);
}

static void on_list(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	unsigned n = session_count(w), at = 0;
	Kernel__SessionList list = KERNEL__SESSION_LIST__INIT;
	Kernel__SessionInfo *info = calloc(n + 1, sizeof(*info));
	Kernel__SessionInfo **ptr = calloc(n + 1, sizeof(*ptr));
	struct rpc_msg reply = { 0 };
	uint8_t *body = NULL;
	struct session *s;

	if (call && info && ptr) {
		list_for_each (s, &w->sessions, link) {
			if (s->has_exited)
				continue;
			kernel__session_info__init(&info[at]);
			info[at].session = s->id;
			info[at].pid = s->pid;
			if (s->terminal && !terminal_hung_up(s->terminal)) {
				info[at].tty = true;
				info[at].number = terminal_number(s->terminal);
				terminal_times(s->terminal, &info[at].started_ms,
					       &info[at].detached_ms);
			}
			ptr[at] = &info[at];
			at++;
		}
		list.n_sessions = at;
		list.sessions = ptr;
		body = malloc(kernel__session_list__get_packed_size(&list) + 1);
	}
	if (body) {
		reply.len = kernel__session_list__pack(&list, body);
		reply.body = body;
	}
	answers_reply(call, body ? 0 : -ENOMEM, body ? &reply : NULL);
	free(body);
	free(info);
	free(ptr);
}

/* ---- lines to running sessions ---- */
static int attach(struct world *w, const Kernel__SessionAttach *q, int fd, struct rpc_stream *st)
{
	struct session *s = q ? find_by_id(w, q->session) : NULL;
	struct terminal_ask ask;

	if (!q || !s || !s->terminal || q->rows > UINT16_MAX || q->cols > UINT16_MAX) {
		if (fd >= 0)
			(void)close(fd);
		return !q ? -EPROTO : !s || !s->terminal ? -ESRCH : -EINVAL;
	}
	ask = (struct terminal_ask){ .client = q->client,
				     .has_from = q->has_from,
				     .from = q->from,
				     .size = { q->rows, q->cols } };
	return terminal_attach(s->terminal, fd, st, &ask);
}

static void carried(void *arg, int err)
{
	answers_reply(arg, err, NULL);
}

static void on_attach(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	struct world *w = arg;
	Kernel__SessionAttach *q = kernel__session_attach__unpack(NULL, m->len, m->body);
	int r = q && m->fd_count == 1 && call ? 0 : -EPROTO;

	if (r != 0)
		for (unsigned i = 0; i < m->fd_count; i++)
			(void)close(m->fds[i]);
	if (r == 0 && q->node != 0 && q->node != w->node)
		lines_carry(w, q->node, m->fds[0], m->body, m->len, carried, call);
	else
		answers_reply(call, r == 0 ? attach(w, q, m->fds[0], NULL) : r, NULL);
	if (q)
		kernel__session_attach__free_unpacked(q, NULL);
}

/* From the guest kernel of the node where the client is. */
static void on_attach_stream(void *arg, struct rpc_conn *c, struct rpc_stream *st,
			     const struct rpc_msg *m)
{
	Kernel__SessionAttach *q = kernel__session_attach__unpack(NULL, m->len, m->body);
	int r = attach(arg, q, -1, st);

	if (r != 0)
		rpc_stream_close(st, r);
	if (q)
		kernel__session_attach__free_unpacked(q, NULL);
}

unsigned session_count(const struct world *w)
{
	const struct session *s;
	unsigned n = 0;

	list_for_each (s, &w->sessions, link)
		n += !s->has_exited;
	return n;
}

/* ---- after a predecessor's death ---- */
static void adopt_one(void *arg, const char *key)
{
	struct world *w = arg;
	struct session *s;
	uint64_t id;
	gpid pid;
	int r;

	/* One that we have asked for ourselves is told of by its answer. */
	if (sscanf(key, KEY_PREFIX "%" SCNu64 ".%d", &id, &pid) != 2 || find_by_id(w, id))
		return;
	s = session_new(w, id);
	if (!s)
		return;
	s->pid = pid;
	s->pidfd = pid1_get(w->pid1, key);
	list_add_tail(&w->sessions, &s->link);
	/* -ENOENT: it has no terminal. */
	r = terminal_open(w, pid, 0, shown_all, s, &s->terminal);
	if (r != 0 && r != -ENOENT)
		log_error("session %" PRIu64 " loses its terminal: %s", id, strerror(-r));
}

bool session_stored(struct world *w, const char *key)
{
	if (strncmp(key, KEY_PREFIX, strlen(KEY_PREFIX)) != 0)
		return false;
	adopt_one(w, key);
	return true;
}

int session_adopt(struct world *w)
{
	return pid1_list(w->pid1, KEY_PREFIX, adopt_one, w);
}

void session_serve(struct world *w)
{
	rpc_serve(w->pod_rpc, KERNEL_SESSION_START, on_start, w);
	rpc_serve(w->pod_rpc, KERNEL_SESSION_LIST, on_list, w);
	rpc_serve(w->pod_rpc, KERNEL_SESSION_ACK, on_ack, w);
	rpc_serve(w->pod_rpc, KERNEL_SESSION_ATTACH, on_attach, w);
	rpc_serve_stream(w->peer_rpc, KERNEL_SESSION_ATTACH, on_attach_stream, w);
}
