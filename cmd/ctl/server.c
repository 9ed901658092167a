/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"

enum { CONNS_MAX = 64 }; /* per listener, unless it was told otherwise */

struct ctl_server {
	struct loop *loop;
	ctl_handler_fn fn;
	void *arg;
	struct list listeners;
	struct list locals;
};

struct ctl_listener {
	struct ctl_server *server;
	struct list link;
	struct loop_fd watch;
	struct list conns;
	unsigned count, conns_max;
	tenant_id tenant;
	ctl_admit_fn admit; /* NULL: everybody acts for @tenant */
	void *admit_arg;
};

enum req_state {
	REQ_NONE = 0, /* reading the next one */
	REQ_OPEN,     /* with the handler */
	REQ_STREAM,   /* lines are going out */
};

/* A connection and its one request; or a request alone (ctl_req_local()). */
struct ctl_req {
	struct ctl_server *server;
	struct ctl_listener *li; /* NULL: there is no connection */
	struct list link;
	struct loop_fd watch;
	struct loop_timer reap; /* frees a dead connection from the loop, never inside a reply */
	enum req_state state;
	struct ctl_caller caller;
	bool reading; /* in conn_process(): a reply must not recurse */
	bool dead;
	struct buf in, out;
	struct http_head head;
	json_t *body;
	unsigned note;
	char allow[CTL_ALLOW_MAX]; /* "": its answer has none */
	int fds[CTL_FDS_MAX];
	unsigned fd_count; /* go with the next byte out */
	void (*gone)(void *arg);
	void *gone_arg;
	const struct ctl_local_ops *local; /* without a connection */
	void *local_arg;
};

static void conn_process(struct ctl_req *r);

static void drop_fds(struct ctl_req *r)
{
	for (unsigned i = 0; i < r->fd_count; i++)
		(void)close(r->fds[i]);
	r->fd_count = 0;
}

static void conn_free(struct ctl_req *r)
{
	struct loop *l = r->server->loop;

	loop_timer_clear(l, &r->reap);
	if (r->li != NULL) {
		loop_fd_del(l, &r->watch);
		(void)close(r->watch.fd);
		r->li->count--;
	}
	drop_fds(r);
	json_decref(r->body);
	buf_fini(&r->in);
	buf_fini(&r->out);
	list_del(&r->link);
	free(r);
}

static void conn_reap(struct loop_timer *t)
{
	struct ctl_req *r = container_of(t, struct ctl_req, reap);
	void (*gone)(void *arg) = r->gone;

	if (r->state != REQ_NONE && gone != NULL) {
		r->gone = NULL;
		gone(r->gone_arg);
	}
	/* A request without on_gone is freed by its answer. */
	if (r->state == REQ_NONE || gone != NULL)
		conn_free(r);
}

/* No more bytes from or to this connection; it is freed when no handler has its request. */
static void conn_kill(struct ctl_req *r)
{
	struct loop *l = r->server->loop;

	r->dead = true;
	if (r->li != NULL && loop_fd_mod(l, &r->watch, 0) < 0)
		loop_fd_del(l, &r->watch);
	if (loop_timer_set(l, &r->reap, 0, conn_reap) < 0)
		log_error("control: no memory to drop a connection");
}

static ssize_t send_some(struct ctl_req *r)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CTL_FDS_MAX)];
	} control = { 0 };
	struct iovec iov = { r->out.data, r->out.len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (r->fd_count > 0) {
		struct cmsghdr *c;

		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * r->fd_count);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * r->fd_count);
		memcpy(CMSG_DATA(c), r->fds, sizeof(int) * r->fd_count);
	}
	return sendmsg(r->watch.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void conn_flush(struct ctl_req *r)
{
	if (r->li == NULL)
		return;
	while (!r->dead && r->out.len > 0) {
		ssize_t n = send_some(r);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			conn_kill(r);
			return;
		}
		drop_fds(r);
		buf_consume(&r->out, (size_t)n);
	}
	if (!r->dead &&
	    loop_fd_mod(r->server->loop, &r->watch, r->out.len > 0 ? POLLIN | POLLOUT : POLLIN) < 0)
		conn_kill(r);
}

/* The request is answered: the next one may be read. */
static void req_end(struct ctl_req *r)
{
	json_decref(r->body);
	r->body = NULL;
	r->gone = NULL;
	r->note = 0;
	r->allow[0] = '\0';
	r->state = REQ_NONE;
	if (r->dead) {
		conn_kill(r);
		return;
	}
	if (!r->reading)
		conn_process(r);
}

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" },
		{ 201, "Created" },
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 413, "Content Too Large" },
		{ 429, "Too Many Requests" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Error";
}

/* The answer of a request without a connection; nobody hears from it after this. */
static void local_answer(struct ctl_req *r, int status, const char *type, const char *text,
			 size_t len, bool more)
{
	unsigned n = r->fd_count;

	if (r->dead)
		return;
	r->fd_count = 0;
	r->local->answered(r->local_arg, status, type, text, len, r->fds, n, more);
	conn_kill(r);
}

static int add_head(struct ctl_req *r, int status, const char *type, size_t len)
{
	int n = buf_addf(&r->out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n",
			 status, reason_of(status), type, len);

	if (n == 0 && r->allow[0] != '\0')
		n = buf_addf(&r->out, "Allow: %s\r\n", r->allow);
	if (n == 0 && r->head.close)
		n = buf_addf(&r->out, "Connection: close\r\n");
	return n == 0 ? buf_add(&r->out, "\r\n", 2) : n;
}

void ctl_reply_text(struct ctl_req *r, int status, const char *type, const char *text)
{
	size_t len = strlen(text);

	if (r->li == NULL)
		local_answer(r, status, type, text, len, false);
	else if (!r->dead && (add_head(r, status, type, len + 1) < 0 ||
			      buf_add(&r->out, text, len) < 0 || buf_add(&r->out, "\n", 1) < 0))
		conn_kill(r);
	conn_flush(r);
	req_end(r);
}

static const char lines_type[] = "application/jsonl";

static void reply_json(struct ctl_req *r, int status, const char *type, json_t *body)
{
	char *text = body ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	CHECK(r->state == REQ_OPEN);
	json_decref(body);
	if (text == NULL)
		ctl_reply_text(r, 500, "application/problem+json",
			       "{\"title\":\"Internal Server Error\",\"status\":500,"
			       "\"detail\":\"the node is out of memory\"}");
	else
		ctl_reply_text(r, status, type, text);
	free(text);
}

void ctl_reply(struct ctl_req *r, int status, json_t *body)
{
	reply_json(r, status, "application/json", body ? body : json_object());
}

void ctl_problem(struct ctl_req *r, int status, const char *try_next, const char *fmt, ...)
{
	cleanup_buf struct buf detail = BUF_INIT;
	const char *text;
	json_t *body;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = buf_vaddf(&detail, fmt, ap);
	va_end(ap);
	text = n < 0 ? NULL : buf_str(&detail);
	body = json_pack("{s:s, s:i, s:s}", "title", reason_of(status), "status", status, "detail",
			 text ? text : "no memory to say why");
	if (body != NULL && try_next != NULL)
		(void)json_object_set_new(body, "try", json_string(try_next));
	reply_json(r, status, "application/problem+json", body);
}

static void local_turn(struct loop_timer *t)
{
	struct ctl_req *r = container_of(t, struct ctl_req, reap);
	const char *text = buf_str(&r->out);

	if (text != NULL)
		local_answer(r, 200, lines_type, text, r->out.len, true);
	else
		local_answer(r, 500, lines_type, "", 0, false);
}

/* @lines end with a newline. */
static void add_lines(struct ctl_req *r, const char *lines, size_t len)
{
	bool first = r->out.len == 0;
	int n = 0;

	if (r->dead)
		return;
	if (r->li != NULL)
		n = buf_addf(&r->out, "%zx\r\n", len);
	if (n == 0)
		n = buf_add(&r->out, lines, len);
	if (n == 0 && r->li != NULL)
		n = buf_add(&r->out, "\r\n", 2);
	if (n < 0 || (r->li == NULL && first &&
		      loop_timer_set(r->server->loop, &r->reap, 0, local_turn) < 0))
		conn_kill(r);
	conn_flush(r);
}

static void add_line(struct ctl_req *r, json_t *line)
{
	cleanup_buf struct buf text = BUF_INIT;
	char *dump = line ? json_dumps(line, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	json_decref(line);
	if (dump == NULL || buf_addf(&text, "%s\n", dump) < 0)
		conn_kill(r);
	else
		add_lines(r, (const char *)text.data, text.len);
	free(dump);
}

void ctl_stream_begin(struct ctl_req *r, json_t *first_line, const int *fds, unsigned n)
{
	CHECK(r->state == REQ_OPEN && n <= CTL_FDS_MAX);
	r->state = REQ_STREAM;
	if (n > 0)
		memcpy(r->fds, fds, sizeof(int) * n);
	r->fd_count = n;
	if (!r->dead && r->li != NULL &&
	    buf_addf(&r->out,
		     "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
		     "Transfer-Encoding: chunked\r\n\r\n",
		     lines_type) < 0)
		conn_kill(r);
	if (first_line != NULL)
		add_line(r, first_line);
	else
		conn_flush(r);
}

size_t ctl_stream_backlog(const struct ctl_req *r)
{
	return r->out.len;
}

void ctl_stream_line(struct ctl_req *r, json_t *line)
{
	CHECK(r->state == REQ_STREAM);
	add_line(r, line);
}

void ctl_stream_text(struct ctl_req *r, const char *lines, size_t len)
{
	CHECK(r->state == REQ_STREAM);
	if (len > 0)
		add_lines(r, lines, len);
	else
		conn_flush(r);
}

void ctl_stream_end(struct ctl_req *r)
{
	CHECK(r->state == REQ_STREAM);
	if (r->li == NULL) {
		const char *text = buf_str(&r->out);

		local_answer(r, text ? 200 : 500, lines_type, text ? text : "",
			     text ? r->out.len : 0, false);
	} else if (!r->dead && buf_add(&r->out, "0\r\n\r\n", 5) < 0) {
		conn_kill(r);
	}
	conn_flush(r);
	req_end(r);
}

void ctl_stream_abort(struct ctl_req *r)
{
	CHECK(r->state == REQ_STREAM);
	conn_kill(r);
	req_end(r);
}

int ctl_status_of(int err)
{
	switch (-err) {
	case 0:
		return 200;
	case EINVAL:
	case EPROTO:
	case ENAMETOOLONG:
		return 400;
	case EPERM:
	case EACCES:
		return 403;
	case ENOENT:
	case ESRCH:
		return 404;
	case EEXIST:
	case EBUSY:
	case EALREADY:
	case EAGAIN: /* not just now: no limit is reached */
		return 409;
	case EDQUOT:
	case ENOSPC:
		return 429;
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENOTCONN:
	case ECONNRESET:
	case ECONNREFUSED:
		return 503;
	case ETIMEDOUT:
		return 504;
	default:
		return 500;
	}
}

const struct http_head *ctl_req_head(const struct ctl_req *r)
{
	return &r->head;
}

const json_t *ctl_req_body(const struct ctl_req *r)
{
	return r->body;
}

tenant_id ctl_req_tenant(const struct ctl_req *r)
{
	return r->caller.tenant;
}

unsigned ctl_req_role(const struct ctl_req *r)
{
	return r->caller.role;
}

void ctl_req_set_note(struct ctl_req *r, unsigned note)
{
	r->note = note;
}

unsigned ctl_req_note(const struct ctl_req *r)
{
	return r->note;
}

void ctl_req_set_allow(struct ctl_req *r, const char *methods)
{
	(void)snprintf(r->allow, sizeof(r->allow), "%s", methods);
}

void ctl_req_on_gone(struct ctl_req *r, void (*cb)(void *arg), void *arg)
{
	r->gone = cb;
	r->gone_arg = arg;
}

/* The bytes cannot be told apart into requests any more: say so and hang up after it. */
static void refuse_bytes(struct ctl_req *r, int err)
{
	int status = err == -E2BIG ? 413 : err == -EOPNOTSUPP ? 501 : 400;

	memset(&r->head, 0, sizeof(r->head));
	r->head.close = true;
	r->state = REQ_OPEN;
	ctl_problem(r, status, NULL, "the request is %s",
		    err == -E2BIG        ? "too long"
		    : err == -EOPNOTSUPP ? "of a kind that is not spoken here"
					 : "malformed");
	conn_kill(r);
}

/* Cuts the next request off the bytes that are in. 1: it is there; 0: more bytes; -errno. */
static int request_take(struct ctl_req *r)
{
	int n = http_request_head(r->in.data, r->in.len, &r->head);
	json_error_t why;

	if (n <= 0)
		return n;
	if (r->in.len - (size_t)n < r->head.length)
		return 0;
	r->body = r->head.length == 0 ? json_object()
				      : json_loadb((const char *)r->in.data + n, r->head.length,
						   JSON_REJECT_DUPLICATES, &why);
	buf_consume(&r->in, (size_t)n + r->head.length);
	return 1;
}

/* Hands out requests until one is with the handler or bytes are missing. */
static void conn_process(struct ctl_req *r)
{
	r->reading = true;
	while (!r->dead && r->state == REQ_NONE && r->in.len > 0) {
		int n = request_take(r);

		if (n < 0)
			refuse_bytes(r, n);
		if (n <= 0)
			break;
		r->state = REQ_OPEN;
		if (!json_is_object(r->body))
			ctl_problem(r, 400, NULL, "the body is not a JSON object");
		else
			r->server->fn(r->server->arg, r);
		if (r->state == REQ_NONE && r->head.close && r->out.len == 0)
			conn_kill(r);
	}
	r->reading = false;
}

static void conn_ready(struct loop_fd *w, short revents)
{
	struct ctl_req *r = container_of(w, struct ctl_req, watch);
	ssize_t n;

	if (revents & POLLOUT)
		conn_flush(r);
	if (r->dead || !(revents & (POLLIN | POLLHUP | POLLERR)))
		return;
	if (r->in.len > HTTP_HEAD_MAX + HTTP_BODY_MAX || buf_reserve(&r->in, 16384) < 0) {
		conn_kill(r);
		return;
	}
	n = recv(w->fd, r->in.data + r->in.len, r->in.cap - r->in.len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_kill(r);
		return;
	}
	r->in.len += (size_t)n;
	if (!r->reading)
		conn_process(r);
}

/* The operator's socket is for root only, whatever the file's mode became. */
static bool caller_allowed(const struct ctl_listener *li, int fd, struct ctl_caller *who)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	*who = (struct ctl_caller){ .tenant = li->tenant };
	if (li->admit == NULL && li->tenant != TENANT_NONE)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return li->admit != NULL ? li->admit(li->admit_arg, cred.uid, who) : cred.uid == 0;
}

static void conn_accept(struct loop_fd *w, short revents)
{
	struct ctl_listener *li = container_of(w, struct ctl_listener, watch);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ctl_caller who;
	struct ctl_req *r;

	if (fd < 0)
		return;
	r = li->count < li->conns_max && caller_allowed(li, fd, &who) ? calloc(1, sizeof(*r))
								      : NULL;
	if (r == NULL || loop_fd_add(li->server->loop, &r->watch, fd, POLLIN, conn_ready) < 0) {
		free(r);
		(void)close(fd);
		return;
	}
	r->server = li->server;
	r->li = li;
	r->caller = who;
	li->count++;
	list_add(&li->conns, &r->link);
}

int ctl_server_new(struct ctl_server **out, struct loop *l, ctl_handler_fn fn, void *arg)
{
	struct ctl_server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->loop = l;
	s->fn = fn;
	s->arg = arg;
	list_init(&s->listeners);
	list_init(&s->locals);
	*out = s;
	return 0;
}

int ctl_server_listen(struct ctl_server *s, int fd, tenant_id tenant, struct ctl_listener **out)
{
	struct ctl_listener *li = calloc(1, sizeof(*li));
	int n;

	if (li == NULL)
		return -ENOMEM;
	n = loop_fd_add(s->loop, &li->watch, fd, POLLIN, conn_accept);
	if (n < 0) {
		free(li);
		return n;
	}
	li->server = s;
	li->tenant = tenant;
	li->conns_max = CONNS_MAX;
	list_init(&li->conns);
	list_add(&s->listeners, &li->link);
	if (out != NULL)
		*out = li;
	return 0;
}

int ctl_server_listen_admit(struct ctl_server *s, int fd, unsigned conns_max, ctl_admit_fn admit,
			    void *arg, struct ctl_listener **out)
{
	int r = ctl_server_listen(s, fd, TENANT_NONE, out);

	if (r < 0)
		return r;
	(*out)->conns_max = conns_max;
	(*out)->admit = admit;
	(*out)->admit_arg = arg;
	return 0;
}

static void conn_end(struct ctl_req *r)
{
	if (r->state != REQ_NONE && r->gone != NULL)
		r->gone(r->gone_arg);
	conn_free(r);
}

void ctl_listener_close(struct ctl_listener *li)
{
	struct ctl_req *r, *next;

	loop_fd_del(li->server->loop, &li->watch);
	(void)close(li->watch.fd);
	list_for_each_safe (r, next, &li->conns, link)
		conn_end(r);
	list_del(&li->link);
	free(li);
}

void ctl_server_free(struct ctl_server *s)
{
	struct ctl_listener *li, *next;
	struct ctl_req *r, *more;

	if (s == NULL)
		return;
	list_for_each_safe (li, next, &s->listeners, link)
		ctl_listener_close(li);
	list_for_each_safe (r, more, &s->locals, link)
		conn_end(r);
	free(s);
}

int ctl_req_local(struct ctl_server *s, const struct ctl_caller *who, const struct http_head *head,
		  json_t *body, const struct ctl_local_ops *ops, void *arg, struct ctl_req **out)
{
	struct ctl_req *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		json_decref(body);
		return -ENOMEM;
	}
	r->server = s;
	r->caller = *who;
	r->head = *head;
	r->body = body;
	r->local = ops;
	r->local_arg = arg;
	r->state = REQ_OPEN;
	list_add_tail(&s->locals, &r->link);
	*out = r;
	s->fn(s->arg, r);
	return 0;
}

void ctl_req_drop(struct ctl_req *r)
{
	void (*gone)(void *arg) = r->gone;

	if (r->dead)
		return;
	/* At once: what it holds is wanted by others. Without on_gone its answer frees it. */
	if (gone != NULL) {
		r->gone = NULL;
		r->state = REQ_NONE;
		gone(r->gone_arg);
	}
	conn_kill(r);
}

int ctl_socket_listen(const char *path, mode_t mode)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const char *slash = strrchr(path, '/');
	int n = slash ? (int)(slash - path) + 1 : 0;
	mode_t old;
	int r;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	/* It gets its name when it listens, and to whom: who finds it can connect. */
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%.*s.new", n, path);
	if (unlink(a.sun_path) < 0 && errno != ENOENT)
		return -errno;
	old = umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a));
	(void)umask(old);
	if (r < 0 || chmod(a.sun_path, mode) < 0 || listen(fd, 32) < 0 ||
	    rename(a.sun_path, path) < 0)
		return -errno;
	return take_fd(&fd);
}
