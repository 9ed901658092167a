/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - sessions of tenants, started here.
 *
 *	STARTING  the tenant's kernel was asked, or is not up yet
 *	RUNNING   the caller has its descriptors; he waits for the status, or went away
 *	ENDED     the status is kept until somebody took it, or KEEP_S
 *
 * The name of a session is the caller's 62 random bits and the idempotency key of its start: asked
 * twice, also of two kernels one after the other, it starts once. A caller who goes away hangs the
 * session up, as a lost line does; one who lost us (this daemon died) asks the next one within
 * ORPHAN_S.
 *
 * A session on a terminal is ours until it runs. From then on it is between the client and the
 * guest kernel, who have a line of their own (cmd/line/line.h), and goes on without either.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/pandod/pod.h"
#include "cmd/pandod/tenant/words.h"
#include "kernel/kernel.pb-c.h"
#include "kernel/tenant/client.h"

enum {
	KEEP_S = 120,
	ORPHAN_S = 60,
	PATIENCE_S = 60,
	AGAIN_MS = 50,
	FULL_MAX = 20,
};

enum session_state {
	SESSION_STARTING = 1,
	SESSION_RUNNING,
	SESSION_ENDED,
};

struct session {
	struct list link;
	struct pod *pod;
	tenant_id tenant;
	uint64_t id;
	enum session_state state;
	struct ctl_req *waiter; /* who gets the status; NULL: nobody now */
	bool streaming;         /* the waiter's stream has begun */
	bool tty;
	bool told;        /* that it ended, as an event */
	uint32_t number;  /* for people, of one on a terminal */
	json_t *detached; /* others of the tenant's, told when this one has begun */
	int pid;
	int status;
	uint64_t event;    /* to be acknowledged; 0: none */
	uint64_t until_ns; /* while it is starting: who comes after a kernel is asked again */
	unsigned full;     /* answers that there was no room */
	struct loop_timer timer;
	uint8_t *ask; /* packed SessionStart */
	size_t ask_len;
	char program[64]; /* for messages */
	bool wants_agent;
	int agent;     /* listening for it, the caller's; -1: none */
	int theirs[3]; /* the program's ends of its pipes, until it has them; the kernel's of a line
			*/
	int ours[3];   /* the caller's */
};

static struct session *find(const struct pod *p, tenant_id t, uint64_t id)
{
	struct session *s;

	list_for_each (s, &p->sessions, link) {
		if (s->tenant == t && s->id == id)
			return s;
	}
	return NULL;
}

static struct session *find_pid(const struct pod *p, tenant_id t, int pid)
{
	struct session *s;

	list_for_each (s, &p->sessions, link) {
		if (s->tenant == t && s->pid == pid && s->state == SESSION_RUNNING)
			return s;
	}
	return NULL;
}

static void close_all(int fds[3])
{
	for (int i = 0; i < 3; i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
		fds[i] = -1;
	}
}

static struct session *session_new(struct pod *p, tenant_id t, uint64_t id)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->pod = p;
	s->tenant = t;
	s->id = id;
	for (int i = 0; i < 3; i++)
		s->theirs[i] = s->ours[i] = -1;
	s->agent = -1;
	list_add_tail(&p->sessions, &s->link);
	return s;
}

static void session_free(struct session *s)
{
	CHECK(s->waiter == NULL);
	loop_timer_clear(s->pod->loop, &s->timer);
	close_all(s->theirs);
	close_all(s->ours);
	if (s->agent >= 0)
		(void)close(s->agent);
	json_decref(s->detached);
	free(s->ask);
	list_del(&s->link);
	free(s);
}

static void set_timer(struct session *s, unsigned seconds, void (*cb)(struct loop_timer *t))
{
	CHECK(loop_timer_set(s->pod->loop, &s->timer,
			     loop_now_ns(s->pod->loop) + seconds * NS_PER_S, cb) == 0);
}

/* ---- the end ---- */
static void acknowledge(const struct session *s)
{
	struct world *w = world_find(s->pod, s->tenant);
	Kernel__SessionAck ack = KERNEL__SESSION_ACK__INIT;
	struct init_msg m = { .op = INIT_ACK, .arg = { s->event } };
	uint8_t body[16];
	struct rpc_msg msg = { .method = KERNEL_SESSION_ACK, .body = body };

	if (s->event == 0 || w == NULL || w->t == NULL)
		return;
	ack.event = s->event;
	msg.len = kernel__session_ack__pack(&ack, body);
	if ((w->kernel != NULL && rpc_send(w->kernel, &msg) < 0) ||
	    init_send(w->t->control, &m, NULL, 0, NULL, 0) < 0)
		log_debug("the end of a session will be told again");
}

static void expired(struct loop_timer *t)
{
	struct session *s = container_of(t, struct session, timer);

	acknowledge(s);
	session_free(s);
}

static void tell_ended(struct session *s)
{
	if (!s->told)
		events_add(s->pod, "session.ended", s->tenant,
			   json_pack("{s:I, s:i, s:i}", "session", (json_int_t)s->id, "pid", s->pid,
				     "status", s->status));
	s->told = true;
}

/* Gives the status to who waits for it; then the session is history. */
static void deliver(struct session *s)
{
	struct ctl_req *r = s->waiter;

	tell_ended(s);
	if (r == NULL) {
		set_timer(s, KEEP_S, expired);
		return;
	}
	s->waiter = NULL;
	FAULT("pod.session.deliver");
	if (!s->streaming)
		ctl_stream_begin(r,
				 json_pack("{s:I, s:s}", "session", (json_int_t)s->id, "node",
					   s->pod->args->node),
				 NULL, 0);
	ctl_stream_line(r, json_pack("{s:i}", "status", s->status));
	ctl_stream_end(r);
	acknowledge(s);
	session_free(s);
}

void session_ended(struct world *w, uint64_t id, int pid, int status, uint64_t event, bool tty)
{
	struct session *s = id != 0 ? find(w->pod, w->id, id) : find_pid(w->pod, w->id, pid);

	if (id != 0 || s != NULL)
		agent_forget(w, id != 0 ? id : s->id);
	if (s == NULL && id != 0 && !tty) {
		/* Started by an earlier pandod; its caller may come and ask. */
		s = session_new(w->pod, w->id, id);
	}
	if (s == NULL) {
		struct session nobody = { .pod = w->pod,
					  .tenant = w->id,
					  .id = id,
					  .pid = pid,
					  .status = status,
					  .event = event };

		tell_ended(&nobody);
		acknowledge(&nobody);
		return;
	}
	if (s->state == SESSION_ENDED)
		return;
	s->event = event;
	s->status = status;
	s->pid = pid;
	/* While it is starting, the answer of the start comes first: see started(). */
	if (s->state == SESSION_STARTING && s->ask != NULL) {
		s->until_ns = 0;
		return;
	}
	s->state = SESSION_ENDED;
	deliver(s);
}

static void refuse(struct session *s, int err, const char *why);

void session_world_ended(struct world *w)
{
	struct session *s, *next;

	list_for_each_safe (s, next, &w->pod->sessions, link) {
		if (s->tenant != w->id || s->state != SESSION_RUNNING)
			continue;
		s->state = SESSION_ENDED;
		s->status = SIGKILL;
		s->event = 0;
		deliver(s);
	}
}

/* ---- hanging up ---- */
static void signal_sent(void *arg, int err, const struct rpc_msg *m)
{
	if (err != 0 && err != -ESRCH)
		log_debug("a signal to a session was lost: %s", strerror(-err));
	(void)arg;
	(void)m;
}

static int send_signal(struct session *s, int pid, int signo)
{
	struct world *w = world_find(s->pod, s->tenant);
	Kernel__Signal sig = KERNEL__SIGNAL__INIT;
	uint8_t body[32];

	if (w == NULL || s->state != SESSION_RUNNING)
		return -ESRCH;
	sig.pid = pid;
	sig.signo = signo;
	return kern_request(w, KERNEL_SIGNAL, body, kernel__signal__pack(&sig, body), NULL, 0,
			    signal_sent, NULL);
}

static void hang_up(struct session *s)
{
	/* The group of the leader, as the host does for a lost terminal; stopped ones must wake. */
	if (send_signal(s, -s->pid, SIGHUP) < 0 || send_signal(s, -s->pid, SIGCONT) < 0)
		log_debug("session of pid %d cannot be hung up", s->pid);
}

static void orphaned(struct loop_timer *t)
{
	struct session *s = container_of(t, struct session, timer);

	if (s->waiter == NULL && s->state == SESSION_RUNNING)
		hang_up(s);
}

static void waiter_gone(void *arg)
{
	struct session *s = arg;

	s->waiter = NULL;
	if (s->state == SESSION_RUNNING)
		hang_up(s);
}

/* ---- the start ---- */
static void try_start(struct session *s, unsigned pause_ms);

/* A kernel that died on the way: its successor knows the session, or starts it. */
static bool begins_again(struct session *s, int err)
{
	bool died = err == -ECONNRESET || err == -ECANCELED;

	/* A tenant that has no process left may have one in a moment. */
	if (!died && (err != -EAGAIN || ++s->full >= FULL_MAX))
		return false;
	if (loop_now_ns(s->pod->loop) >= s->until_ns)
		return false;
	/* A kernel on its way is waited for; a place among the tenant's processes tells nobody. */
	try_start(s, died ? 0 : AGAIN_MS);
	return true;
}

/* Without a reason, there was no room among the tenant's processes to the end. */
static void refuse_plainly(const struct session *s, struct ctl_req *r, int err, const char *why)
{
	const struct naming_tenant *t =
		naming_tenant_find(naming_tables(s->pod->naming), s->tenant);
	char quota[TENANT_NAME_MAX + 16];

	(void)snprintf(quota, sizeof(quota), "pando quota %s", t ? t->name : "");
	if (err == -EAGAIN && why == NULL)
		api_refuse(r, -EDQUOT, quota, "it has as many processes as it may");
	else
		api_refuse(r, err, err == -EDQUOT ? quota : "pando status",
			   why ? why : strerror(-err));
}

static void refuse(struct session *s, int err, const char *why)
{
	struct ctl_req *r = s->waiter;
	int code = err == -ENOENT || err == -ENOTDIR                    ? 127
		   : err == -EACCES || err == -ENOEXEC || err == -EPERM ? 126
									: 0;
	json_t *body;

	s->waiter = NULL;
	if (r != NULL && why == NULL && code != 0) {
		body = json_object();
		(void)json_object_set_new(body, "title", json_string("Cannot Execute"));
		(void)json_object_set_new(body, "status", json_integer(422));
		(void)json_object_set_new(body, "detail",
					  json_sprintf("%s: %s", s->program, strerror(-err)));
		(void)json_object_set_new(body, "code", json_integer(code));
		ctl_reply(r, 422, body);
	} else if (r != NULL) {
		refuse_plainly(s, r, err, why);
	}
	session_free(s);
}

static void answer_started(struct session *s)
{
	struct ctl_req *r = s->waiter;
	unsigned n = s->tty ? 1 : 3;
	int fds[CTL_FDS_MAX];
	json_t *first;

	close_all(s->theirs);
	if (r == NULL) {
		close_all(s->ours);
		hang_up(s);
		return;
	}
	FAULT("pod.session.started");
	events_add(s->pod, "session.started", s->tenant,
		   json_pack("{s:I, s:i}", "session", (json_int_t)s->id, "pid", s->pid));
	first = json_pack("{s:I, s:i, s:s}", "session", (json_int_t)s->id, "pid", s->pid, "node",
			  s->pod->args->node);
	if (s->tty) {
		(void)json_object_set_new(first, "number", json_integer(s->number));
		(void)json_object_set(first, "detached", s->detached);
	}
	for (unsigned i = 0; i < n; i++) {
		fds[i] = s->ours[i];
		s->ours[i] = -1;
	}
	if (s->agent >= 0)
		fds[n++] = s->agent;
	s->agent = -1;
	ctl_stream_begin(r, first, fds, n);
	s->streaming = true;
}

/* It runs, and is no business of ours any more; unless it has ended already. */
static void let_go(struct session *s)
{
	if (s->waiter != NULL)
		ctl_stream_end(s->waiter);
	s->waiter = NULL;
	if (s->event != 0)
		tell_ended(s);
	acknowledge(s);
	session_free(s);
}

static void close_message(const struct rpc_msg *m, unsigned from)
{
	for (unsigned i = from; m != NULL && i < m->fd_count; i++)
		(void)close(m->fds[i]);
}

static void started(void *arg, int err, const struct rpc_msg *m)
{
	struct session *s = arg;
	Kernel__SessionStarted *x =
		err == 0 ? kernel__session_started__unpack(NULL, m->len, m->body) : NULL;
	bool ended = s->event != 0;

	if (err != 0 && begins_again(s, err))
		return;
	if (err == 0 && (x == NULL || m->fd_count != 1))
		err = -EPROTO;
	if (err != 0) {
		close_message(m, 0);
		kernel__session_started__free_unpacked(x, NULL);
		refuse(s, err, NULL);
		return;
	}
	(void)close(m->fds[0]);
	s->state = SESSION_RUNNING;
	s->pid = x->pid;
	kernel__session_started__free_unpacked(x, NULL);
	free(s->ask);
	s->ask = NULL;
	answer_started(s);
	if (s->tty) {
		let_go(s);
	} else if (ended) {
		s->state = SESSION_ENDED;
		deliver(s);
	}
}

static void world_is_up(void *arg, struct world *w, int err, const char *why)
{
	struct session *s = arg;
	int fds[3] = { -1, -1, -1 };
	unsigned n = s->tty ? 1 : 3;

	if (err != 0) {
		refuse(s, err == -EDQUOT ? err : -EIO, why);
		return;
	}
	if (s->wants_agent && s->agent < 0) {
		s->agent = agent_listen(w, s->id);
		if (s->agent < 0)
			log_warn("no agent for a session of %s: %s", w->name, strerror(-s->agent));
	}
	/* Copies: if this kernel dies, the next one gets them again. */
	for (unsigned i = 0; i < n && err == 0; i++) {
		fds[i] = fcntl(s->theirs[i], F_DUPFD_CLOEXEC, 3);
		if (fds[i] < 0)
			err = -errno;
	}
	if (err == 0)
		err = kern_request(w, KERNEL_SESSION_START, s->ask, s->ask_len, fds, n, started, s);
	if (err < 0) {
		close_all(fds);
		if (!begins_again(s, err))
			refuse(s, err, "its guest kernel cannot be asked");
	}
}

static void retry_due(struct loop_timer *t)
{
	struct session *s = container_of(t, struct session, timer);

	if (naming_tenant_find(naming_tables(s->pod->naming), s->tenant) == NULL)
		refuse(s, -ENOENT, "the tenant was removed");
	else
		world_get(s->pod, s->tenant, world_is_up, s);
}

static void try_start(struct session *s, unsigned pause_ms)
{
	CHECK(loop_timer_set(s->pod->loop, &s->timer,
			     loop_now_ns(s->pod->loop) + pause_ms * NS_PER_MS, retry_due) == 0);
}

/* ---- reading the request ---- */
static int make_line(struct session *s)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	s->theirs[0] = ends[0];
	s->ours[0] = ends[1];
	return 0;
}

static int make_pipes(struct session *s)
{
	for (int i = 0; i < 3; i++) {
		int ends[2];

		if (pipe2(ends, O_CLOEXEC) < 0)
			return -errno;
		s->theirs[i] = ends[i == 0 ? 0 : 1];
		s->ours[i] = ends[i == 0 ? 1 : 0];
	}
	return 0;
}

/* Ours first; what the caller passes on comes behind and wins nothing over them. */
static int make_environment(struct words *w, const struct session *s, const struct naming_tenant *t,
			    const json_t *passed)
{
	char number[16], agent[64], home[TENANT_NAME_MAX + 8];

	(void)snprintf(home, sizeof(home), "/home/%s", t->name);
	words_set(w, "PATH", TENANT_PATH);
	words_set(w, "HOME", home);
	words_set(w, "USER", t->name);
	words_set(w, "LOGNAME", t->name);
	words_set(w, "SHELL", "/bin/bash");
	(void)snprintf(number, sizeof(number), "%u", s->number);
	if (s->tty)
		words_set(w, "PANDO_SESSION", number);
	agent_path(s->id, agent);
	if (s->wants_agent)
		words_set(w, "SSH_AUTH_SOCK", agent);
	return words_take(w, passed);
}

static int pack_ask(struct session *s, const struct naming_tenant *t, const json_t *body)
{
	cleanup_free struct words *argv = calloc(1, sizeof(*argv));
	cleanup_free struct words *env = calloc(1, sizeof(*env));
	Kernel__SessionStart x = KERNEL__SESSION_START__INIT;
	const char *cwd = json_string_value(json_object_get(body, "cwd"));
	char home[TENANT_NAME_MAX + 8];

	if (argv == NULL || env == NULL)
		return -ENOMEM;
	if (words_take(argv, json_object_get(body, "argv")) < 0 ||
	    make_environment(env, s, t, json_object_get(body, "env")) < 0)
		return -EINVAL;
	if (argv->n == 0)
		argv->at[argv->n++] = "-/bin/bash";
	(void)snprintf(s->program, sizeof(s->program), "%s", argv->at[0]);
	(void)snprintf(home, sizeof(home), "/home/%s", t->name);
	x.session = s->id;
	x.argv = argv->at;
	x.n_argv = argv->n;
	x.env = env->at;
	x.n_env = env->n;
	x.cwd = (char *)(uintptr_t)(cwd && cwd[0] == '/' ? cwd : home);
	x.uid = t->uid ? t->uid : NAMING_GUEST_UID;
	x.tty = s->tty;
	x.client = s->id;
	x.number = s->number;
	x.rows = (uint32_t)json_integer_value(json_object_get(body, "rows"));
	x.cols = (uint32_t)json_integer_value(json_object_get(body, "cols"));
	if (x.rows > 10000 || x.cols > 10000)
		return -EINVAL;
	s->ask = malloc(kernel__session_start__get_packed_size(&x) + 1);
	if (s->ask == NULL)
		return -ENOMEM;
	s->ask_len = kernel__session_start__pack(&x, s->ask);
	return 0;
}

/* Everything but the start itself. */
static void prepare(struct session *s)
{
	const struct naming_tenant *t =
		naming_tenant_find(naming_tables(s->pod->naming), s->tenant);
	int err;

	if (s->waiter == NULL || t == NULL) {
		refuse(s, -ENOENT, "the tenant was removed");
		return;
	}
	err = pack_ask(s, t, ctl_req_body(s->waiter));
	if (err == 0)
		err = s->tty ? make_line(s) : make_pipes(s);
	if (err < 0)
		refuse(s, err, err == -EINVAL ? "the request is malformed" : strerror(-err));
	else
		try_start(s, 0);
}

/* The least number that no session of the tenant has, on any node that answers. */
static void numbered(void *arg, json_t *rows, bool complete)
{
	struct session *s = arg;
	const json_t *row;
	size_t i = 0;

	(void)complete;
	s->detached = json_array();
	s->number = 1;
	while (i < json_array_size(rows)) {
		row = json_array_get(rows, i++);
		if (json_integer_value(json_object_get(row, "number")) != s->number)
			continue;
		s->number++;
		i = 0;
	}
	json_array_foreach(rows, i, row)
	{
		if (json_integer_value(json_object_get(row, "detached_ms")) != 0)
			(void)json_array_append(s->detached, (json_t *)(uintptr_t)row);
	}
	prepare(s);
}

void session_start(struct pod *p, struct ctl_req *r, const struct naming_tenant *t)
{
	const json_t *body = ctl_req_body(r);
	json_int_t id = json_integer_value(json_object_get(body, "session"));
	struct session *s;

	if (id <= 0) {
		ctl_problem(r, 400, NULL, "the request names no session");
		return;
	}
	if (find(p, t->id, (uint64_t)id) != NULL) {
		ctl_problem(r, 409, NULL, "there is such a session already");
		return;
	}
	if (drain_refuses(p, r, t->name))
		return;
	s = session_new(p, t->id, (uint64_t)id);
	if (s == NULL) {
		api_refuse(r, -ENOMEM, NULL, "the node is out of memory");
		return;
	}
	s->state = SESSION_STARTING;
	s->until_ns = loop_now_ns(p->loop) + PATIENCE_S * NS_PER_S;
	s->tty = json_is_true(json_object_get(body, "tty"));
	s->wants_agent = json_is_true(json_object_get(body, "agent"));
	s->waiter = r;
	ctl_req_on_gone(r, waiter_gone, s);
	if (s->tty)
		roll_call(p, t->id, numbered, s);
	else
		prepare(s);
}

/* ---- somebody asks for a session that another pandod started ---- */
struct session_query {
	struct pod *pod;
	tenant_id tenant;
	uint64_t id;
	struct ctl_req *req; /* NULL: gone */
	uint64_t until_ns;
};

static void query(struct session_query *q);

static void query_gone(void *arg)
{
	struct session_query *q = arg;

	q->req = NULL;
}

static void wait_for(struct session *s, struct ctl_req *r)
{
	if (s->waiter != NULL) {
		ctl_problem(r, 409, NULL, "somebody waits for this session already");
		return;
	}
	s->waiter = r;
	s->streaming = true;
	ctl_req_on_gone(r, waiter_gone, s);
	ctl_stream_begin(
		r,
		json_pack("{s:I, s:s}", "session", (json_int_t)s->id, "node", s->pod->args->node),
		NULL, 0);
	if (s->state == SESSION_ENDED)
		deliver(s);
	else
		loop_timer_clear(s->pod->loop, &s->timer);
}

/* All sessions that the kernel names are ours from now on. */
static void learn(struct pod *p, tenant_id t, const struct rpc_msg *m)
{
	Kernel__SessionList *x = kernel__session_list__unpack(NULL, m->len, m->body);

	for (size_t i = 0; x != NULL && i < x->n_sessions; i++) {
		struct session *s = find(p, t, x->sessions[i]->session);

		if (s != NULL || x->sessions[i]->tty)
			continue;
		s = session_new(p, t, x->sessions[i]->session);
		if (s == NULL)
			break;
		s->state = SESSION_RUNNING;
		s->pid = x->sessions[i]->pid;
		set_timer(s, ORPHAN_S, orphaned);
	}
	kernel__session_list__free_unpacked(x, NULL);
}

static void listed(void *arg, int err, const struct rpc_msg *m)
{
	struct session_query *q = arg;
	struct session *s;

	/* Each asking waits for a kernel. */
	if (err == -ECONNRESET && q->req != NULL && loop_now_ns(q->pod->loop) < q->until_ns) {
		query(q);
		return;
	}
	if (err == 0)
		learn(q->pod, q->tenant, m);
	s = find(q->pod, q->tenant, q->id);
	if (q->req != NULL && s != NULL)
		wait_for(s, q->req);
	else if (q->req != NULL)
		api_refuse(q->req, err != 0 ? err : -ESRCH, NULL,
			   err != 0 ? "the guest kernel does not answer"
				    : "there is no such session");
	free(q);
}

static void query(struct session_query *q)
{
	int err = kern_request_here(q->pod, q->tenant, KERNEL_SESSION_LIST, NULL, 0, listed, q);

	if (err < 0)
		listed(q, err, NULL);
}

void session_adopt(struct world *w)
{
	struct session_query *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return;
	*q = (struct session_query){ .pod = w->pod, .tenant = w->id };
	if (kern_request(w, KERNEL_SESSION_LIST, NULL, 0, NULL, 0, listed, q) < 0)
		free(q);
}

void session_wait(struct pod *p, const struct naming_tenant *t, uint64_t id, struct ctl_req *r)
{
	struct session *s = find(p, t->id, id);
	struct session_query *q;

	if (s != NULL) {
		wait_for(s, r);
		return;
	}
	if (world_find(p, t->id) == NULL) {
		ctl_problem(r, 404, NULL, "there is no such session");
		return;
	}
	q = calloc(1, sizeof(*q));
	if (q == NULL) {
		api_refuse(r, -ENOMEM, NULL, "the node is out of memory");
		return;
	}
	*q = (struct session_query){ .pod = p,
				     .tenant = t->id,
				     .id = id,
				     .req = r,
				     .until_ns = loop_now_ns(p->loop) + PATIENCE_S * NS_PER_S };
	ctl_req_on_gone(r, query_gone, q);
	query(q);
}

void session_signal(struct pod *p, const struct naming_tenant *t, uint64_t id, struct ctl_req *r)
{
	struct session *s = find(p, t->id, id);
	json_int_t signo = json_integer_value(json_object_get(ctl_req_body(r), "signal"));
	int err;

	if (signo < 1 || signo > 64) {
		ctl_problem(r, 400, NULL, "there is no such signal");
		return;
	}
	err = s ? send_signal(s, s->pid, (int)signo) : -ESRCH;
	if (err < 0)
		api_refuse(r, err, NULL, "there is no such session");
	else
		ctl_reply(r, 200, NULL);
}
