/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.h - the control API's transport: HTTP/1.1 with JSON bodies over a unix socket.
 *
 * A server lives on an event loop and gives each request to one handler, which answers now or
 * later. A connection carries one request at a time; a second one waits in the socket. A reply may
 * carry descriptors (SCM_RIGHTS, with its first byte) and may be a stream of JSON lines (chunked),
 * for what takes long. Requests never carry descriptors: what rides along is dropped by the kernel.
 *
 * A refusal is application/problem+json (RFC 9457): {title, status, detail, try}; detail completes
 * "cannot X: ", try is a command that helps.
 *
 * The client is blocking and belongs to one thread.
 *
 * Ownership: json_t given to a reply is taken, also on failure; descriptors are taken too.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <jansson.h>

#include "base/attr.h"
#include "base/loop.h"
#include "base/types.h"
#include "cmd/ctl/core/http.h"

#define CTL_FDS_MAX   4
#define CTL_ALLOW_MAX 48

struct ctl_server;
struct ctl_req;

typedef void (*ctl_handler_fn)(void *arg, struct ctl_req *req);

/* ---- server ---- */
/* Errors: -ENOMEM. */
must_check int ctl_server_new(struct ctl_server **out, struct loop *l, ctl_handler_fn fn,
			      void *arg);
void ctl_server_free(struct ctl_server *s);

/* On whose behalf a caller acts, and what he is to the handler (0: what the socket says). */
struct ctl_caller {
	tenant_id tenant;
	unsigned role;
};
/* Whether a caller of this uid (SO_PEERCRED) is let in. */
typedef bool (*ctl_admit_fn)(void *arg, uint32_t uid, struct ctl_caller *out);

struct ctl_listener;
/*
 * Serves @fd, a listening unix stream socket, taken when it succeeds. @tenant is on whose behalf
 * requests of this socket act; TENANT_NONE: the operator's, who must be root by SO_PEERCRED.
 * Errors: -ENOMEM.
 */
must_check int ctl_server_listen(struct ctl_server *s, int fd, tenant_id tenant,
				 struct ctl_listener **out);
/* The same for a socket that several tenants reach: @admit says whose each connection is. */
must_check int ctl_server_listen_admit(struct ctl_server *s, int fd, unsigned conns_max,
				       ctl_admit_fn admit, void *arg, struct ctl_listener **out);
/* Closes the socket and its connections. */
void ctl_listener_close(struct ctl_listener *li);

/*
 * A request that came by another way than a socket of this server: it goes to the handler as one of
 * @who. @head is copied, @body is taken.
 */
struct ctl_local_ops {
	/*
	 * The answer, which is the last call: @text is borrowed, of @len bytes and with a NUL
	 * behind it; @fds are the callee's. A stream that has not ended (@more) is answered with
	 * what it holds in the first turn in which it holds something, and then ends as if the
	 * caller had hung up.
	 */
	void (*answered)(void *arg, int status, const char *type, const char *text, size_t len,
			 const int *fds, unsigned n, bool more);
};
/* *@out is set before the handler is called, which may answer at once. Errors: -ENOMEM. */
must_check int ctl_req_local(struct ctl_server *s, const struct ctl_caller *who,
			     const struct http_head *head, json_t *body,
			     const struct ctl_local_ops *ops, void *arg, struct ctl_req **out);
/* The asker went away, or has waited long enough: no call comes any more. */
void ctl_req_drop(struct ctl_req *r);

/*
 * Makes the listening socket at @path, which takes an old one's place in one step, when it listens
 * and has @mode. Errors: -ENAMETOOLONG; -errno.
 */
must_check int ctl_socket_listen(const char *path, mode_t mode);

/* ---- a request: valid until it is answered to its end, or on_gone was called ---- */
const struct http_head *ctl_req_head(const struct ctl_req *r);
const json_t *ctl_req_body(const struct ctl_req *r); /* an object, empty without a body */
tenant_id ctl_req_tenant(const struct ctl_req *r);
unsigned ctl_req_role(const struct ctl_req *r);
/* For the handler's use; 0 when a request comes. */
void ctl_req_set_note(struct ctl_req *r, unsigned note);
unsigned ctl_req_note(const struct ctl_req *r);
/* The methods that a 405 names in its Allow (RFC 9110 15.5.6): "GET, POST". */
void ctl_req_set_allow(struct ctl_req *r, const char *methods);
/* Called when the caller hangs up first; the request is gone after it. */
void ctl_req_on_gone(struct ctl_req *r, void (*cb)(void *arg), void *arg);

void ctl_reply(struct ctl_req *r, int status, json_t *body);
/* Any text of a media type; a newline is put behind it. */
void ctl_reply_text(struct ctl_req *r, int status, const char *type, const char *text);
/* 200 and descriptors, which are taken. Then lines until ctl_stream_end(). @first_line may be NULL.
 */
void ctl_stream_begin(struct ctl_req *r, json_t *first_line, const int *fds, unsigned n);
void ctl_stream_line(struct ctl_req *r, json_t *line);
/* Several lines, each with its newline. */
void ctl_stream_text(struct ctl_req *r, const char *lines, size_t len);
void ctl_stream_end(struct ctl_req *r);
/* Hangs up on a stream that cannot be ended in its order: the caller sees that it was broken off.
 */
void ctl_stream_abort(struct ctl_req *r);
/* Bytes that the caller has not read yet. */
size_t ctl_stream_backlog(const struct ctl_req *r);
/* @try_next may be NULL. */
void ctl_problem(struct ctl_req *r, int status, const char *try_next, const char *fmt, ...)
	printf_like(4, 5);
/* The HTTP status that stands for -errno. */
int ctl_status_of(int err);

/* ---- client ---- */
struct ctl_client;

/* Errors: -errno of socket and connect. */
must_check int ctl_client_new(struct ctl_client **out, const char *path);
/*
 * The same for a daemon that is being started anew: waits for its socket, until @until_ns
 * (clock_mono_ns). A socket comes to its folder when it listens already (ctl_socket_listen). Who
 * cannot watch that (inotify(7): its user has too many) does not wait.
 */
must_check int ctl_client_new_soon(struct ctl_client **out, const char *path, uint64_t until_ns);
void ctl_client_free(struct ctl_client *c);
/* For poll, when ctl_client_line_in() has nothing: readable, ctl_client_line() is due. */
int ctl_client_fd(const struct ctl_client *c);

struct ctl_answer {
	int status;
	json_t *body; /* NULL: none, or a stream: read lines */
	bool stream;
	int fds[CTL_FDS_MAX];
	unsigned fd_count;
};

/* @body is borrowed and may be NULL. Errors: -errno of the socket, -EPROTO. */
must_check int ctl_client_call(struct ctl_client *c, const char *method, const char *path,
			       const json_t *body, struct ctl_answer *out);
/* The next line of a stream. Returns 1 and @line, 0 at its end, -errno, -EPROTO. */
must_check int ctl_client_line(struct ctl_client *c, json_t **line);
/* The same out of what has been read already: -EAGAIN when that holds no whole line. */
must_check int ctl_client_line_in(struct ctl_client *c, json_t **line);
void ctl_answer_fini(struct ctl_answer *a);

#endif
