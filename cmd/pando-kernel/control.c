/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the tenant's control socket: HTTP and JSON are read here, with the tenant's rights,
 * and go to pandod as numbers and names (cmd/ctl/ask.h).
 *
 * The listening socket is in pando-init's store, so it outlives us: who connects while no kernel
 * runs waits in it. A connection does not: its caller sees it closed, and asks again. While pandod
 * is away a question waits for the next one; one that was under way is asked again if it only
 * looks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/list.h"
#include "base/log.h"
#include "cmd/ctl/ask.h"
#include "cmd/ctl/ctl.h"
#include "cmd/pando-kernel/world.h"
#include "kernel/kernel.h"
#include "kernel/kernel.pb-c.h"

#define PATIENCE_NS (10 * NS_PER_S) /* with a pandod that is away */
#define ANSWER_NS   (40 * NS_PER_S) /* longer than it takes itself for anything */
#define BACKLOG_MAX (1u << 20)      /* bytes that a follower may leave unread */
#define FILE_MAX    (64u << 20)     /* of a long answer */

struct asking {
	struct list link;
	struct world *w;
	struct ctl_req *req; /* NULL: the caller went away */
	struct ctl_ask ask;
	bool looks;     /* asked twice it does nothing twice */
	bool sent;      /* else it waits for a pandod, until */
	bool streaming; /* the first answer has gone out */
	uint64_t until_ns;
	struct rpc_conn *conn; /* with call, for rpc_cancel(); NULL: none is under way */
	uint64_t call;
};

static struct ctl_server *server;
static struct ctl_listener *listener; /* NULL: the store has none yet */
static struct list askings = LIST_INIT(askings);
static struct loop_timer late;

static void send_ask(struct asking *x);

static void asking_free(struct asking *x)
{
	list_del(&x->link);
	free(x);
}

static void refuse(struct asking *x, int status, const char *why)
{
	if (x->req != NULL && x->streaming)
		ctl_stream_abort(x->req);
	else if (x->req != NULL)
		ctl_problem(x->req, status, NULL, "%s", why);
	asking_free(x);
}

static void on_late(struct loop_timer *t);

/* Until the first of those who wait has waited long enough. */
static void watch_late(struct world *w)
{
	struct asking *x;
	uint64_t due_ns = UINT64_MAX;

	list_for_each (x, &askings, link)
		if (!x->sent)
			due_ns = MIN(due_ns, x->until_ns);
	if (due_ns != UINT64_MAX && loop_timer_set(w->loop, &late, due_ns, on_late) != 0)
		log_error("cannot watch who waits for pandod: out of memory");
}

static void on_late(struct loop_timer *t)
{
	struct asking *x, *next;
	struct world *w = NULL;

	(void)t;
	list_for_each_safe (x, next, &askings, link) {
		w = x->w;
		if (!x->sent && loop_now_ns(w->loop) >= x->until_ns)
			refuse(x, 503, "the node's daemon is away");
	}
	if (w != NULL)
		watch_late(w);
}

static void wait_for_pod(struct asking *x)
{
	x->sent = false;
	if (x->until_ns == 0)
		x->until_ns = loop_now_ns(x->w->loop) + PATIENCE_NS;
	watch_late(x->w);
}

/* ---- answers ---- */
static const char *body_of(const Kernel__ApiAnswer *a, const struct rpc_msg *m, char **heap,
			   size_t *len)
{
	struct stat st;
	int fd;

	*len = a->body.len;
	*heap = NULL;
	if (!a->in_file) {
		*heap = malloc(*len + 1);
		if (*heap == NULL)
			return NULL;
		if (*len > 0)
			memcpy(*heap, a->body.data, *len);
		(*heap)[*len] = '\0';
		return *heap;
	}
	fd = m->fd_count > 0 ? m->fds[m->fd_count - 1] : -1;
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 0 || st.st_size > (off_t)FILE_MAX)
		return NULL;
	*len = (size_t)st.st_size;
	*heap = malloc(*len + 1);
	for (size_t at = 0; *heap != NULL && at < *len;) {
		ssize_t n = pread(fd, *heap + at, *len - at, (off_t)at);

		if (n <= 0)
			return NULL;
		at += (size_t)n;
	}
	if (*heap != NULL)
		(*heap)[*len] = '\0';
	return *heap;
}

/* @fds are the caller's of the API, and taken. */
static void pass_on(struct asking *x, const Kernel__ApiAnswer *a, const char *text, size_t len,
		    const int *fds, unsigned n)
{
	bool lines = ctl_route_at(x->ask.route)->answer == CTL_LINES;

	if (!lines || a->status != 200) {
		if (x->streaming)
			ctl_stream_abort(x->req); /* it cannot be gone on from there */
		else
			ctl_reply_text(x->req, (int)a->status, a->type, text);
		asking_free(x);
		return;
	}
	if (!x->streaming)
		ctl_stream_begin(x->req, NULL, fds, n);
	x->streaming = true;
	ctl_stream_text(x->req, text, len);
	if (!a->more || ctl_stream_backlog(x->req) > BACKLOG_MAX) {
		ctl_stream_end(x->req);
		asking_free(x);
		return;
	}
	x->ask.has_since = true;
	x->ask.since_life = a->since_life;
	x->ask.since = a->since;
	send_ask(x);
}

static void no_answer(struct asking *x, int err)
{
	if (err == -EBUSY)
		refuse(x, 429, "too many requests at once");
	else if (err == -ETIMEDOUT)
		refuse(x, 504, "the node's daemon did not answer");
	else if (x->looks && x->req != NULL && !x->streaming)
		wait_for_pod(x);
	else
		refuse(x, 503, "the node's daemon went away");
}

static void answered(void *arg, int err, const struct rpc_msg *m)
{
	struct asking *x = arg;
	Kernel__ApiAnswer *a = err == 0 ? kernel__api_answer__unpack(NULL, m->len, m->body) : NULL;
	unsigned n = m != NULL ? m->fd_count : 0, theirs = n - (a != NULL && a->in_file && n > 0);
	const char *text;
	size_t len = 0;
	char *heap = NULL;

	x->conn = NULL;
	if (x->req == NULL) {
		asking_free(x);
		theirs = 0;
	} else if (a == NULL) {
		no_answer(x, err ? err : -EPROTO);
		theirs = 0;
	} else {
		text = body_of(a, m, &heap, &len);
		theirs = text != NULL && a->status == 200 && !x->streaming
				 ? MIN(theirs, CTL_FDS_MAX)
				 : 0;
		if (text != NULL)
			pass_on(x, a, text, len, m->fds, theirs);
		else
			refuse(x, 500, "the node is out of memory");
	}
	for (unsigned i = theirs; i < n; i++)
		(void)close(m->fds[i]);
	free(heap);
	kernel__api_answer__free_unpacked(a, NULL);
}

/* ---- questions ---- */
static int pack(const struct ctl_ask *ask, uint8_t *out, size_t cap, size_t *len)
{
	Kernel__ApiAsk q = KERNEL__API_ASK__INIT;

	q.route = ask->route;
	q.pid = ask->pid;
	q.session = ask->session;
	q.node = (char *)(uintptr_t)ask->node;
	q.has_since = ask->has_since;
	q.since_life = ask->since_life;
	q.since = ask->since;
	q.follow = ask->follow;
	q.client = ask->client;
	q.has_from = ask->has_from;
	q.from = ask->from;
	q.rows = ask->rows;
	q.cols = ask->cols;
	q.agent = ask->agent;
	if (kernel__api_ask__get_packed_size(&q) > cap)
		return -E2BIG;
	*len = kernel__api_ask__pack(&q, out);
	return 0;
}

static void send_ask(struct asking *x)
{
	uint8_t body[256];
	struct rpc_msg m = { .method = KERNEL_API, .body = body };
	struct rpc_opts o = { .deadline_ns = loop_now_ns(x->w->loop) + ANSWER_NS };
	int r = x->w->pod != NULL ? pack(&x->ask, body, sizeof(body), &m.len) : -ENOTCONN;

	if (r == 0)
		r = rpc_request(x->w->pod, &m, &o, answered, x, &x->call);
	x->sent = r == 0;
	x->conn = r == 0 ? x->w->pod : NULL;
	if (r == -ENOTCONN && !x->streaming)
		wait_for_pod(x);
	else if (r != 0)
		no_answer(x, r);
}

void control_pod_came(struct world *w)
{
	struct asking *x, *next;

	list_for_each_safe (x, next, &askings, link)
		if (!x->sent)
			send_ask(x);
}

static void on_gone(void *arg)
{
	struct asking *x = arg;

	x->req = NULL;
	if (!x->sent)
		asking_free(x);
	else if (x->conn != NULL && x->conn == x->w->pod)
		rpc_cancel(x->conn, x->call);
}

static void on_request(void *arg, struct ctl_req *r)
{
	struct world *w = arg;
	const struct http_head *h = ctl_req_head(r);
	const char *why = "the node is out of memory";
	const struct ctl_route *row;
	struct ctl_ask ask;
	struct asking *x = NULL;
	ctl_args args;
	int err;

	row = ctl_route_find(h->method, h->path, args);
	if (row == NULL) {
		ctl_no_route(r);
		return;
	}
	if (row->id == CTL_OPENAPI) {
		ctl_reply(r, 200, ctl_openapi());
		return;
	}
	err = ctl_ask_read(row, args, h, ctl_req_body(r), w->tenant_name, &ask, &why);
	if (err == 0)
		x = calloc(1, sizeof(*x));
	if (x == NULL) {
		ctl_problem(r, ctl_status_of(err ? err : -ENOMEM), NULL, "%s", why);
		return;
	}
	*x = (struct asking){ .w = w,
			      .req = r,
			      .ask = ask,
			      .looks = strcmp(row->method, "GET") == 0 ||
				       row->id == CTL_SESSION_ATTACH };
	list_add_tail(&askings, &x->link);
	ctl_req_on_gone(r, on_gone, x);
	send_ask(x);
}

/* ---- the socket ---- */
void control_listen(struct world *w)
{
	int fd = listener == NULL ? pid1_get(w->pid1, INIT_KEY_API) : -ENOENT, r;

	if (fd == -ENOENT)
		return; /* pandod has yet to make it: pid1_ops.stored */
	r = fd < 0 ? fd : ctl_server_listen(server, fd, w->tenant, &listener);
	if (r == 0)
		return;
	if (fd >= 0)
		(void)close(fd);
	log_error("cannot serve the control socket: %s", strerror(-r));
}

int control_open(struct world *w)
{
	size_t seed;
	int r = ctl_server_new(&server, w->loop, on_request, w);

	/* Of the tables that hold what a guest wrote; jansson would take the time. */
	if (getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
		json_object_seed(seed);
	if (r == 0)
		control_listen(w);
	return r;
}
