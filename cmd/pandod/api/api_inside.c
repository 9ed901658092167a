/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_inside.c - the control API for tenants: what their guest kernels ask.
 *
 * A tenant's socket is read by its guest kernel (cmd/pando-kernel/control.c); here come numbers and
 * names (cmd/ctl/ask.h), which become a request of the same handlers that answer the operator. Who
 * asks is the tenant of the connection. A kernel that a tenant has broken into can ask for what the
 * tenant may ask for anyway, and for no more of it at once than ASKS_MAX.
 *
 * Who follows events is answered when there are some, or after FOLLOW_MS, and asks again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/ctl/ask.h"
#include "cmd/pandod/api/api.h"
#include "kernel/kernel.pb-c.h"

enum {
	ASKS_MAX = 64, /* of a tenant on this node */
	FOLLOW_MS = 20000,
	BODY_MAX = 32 << 10, /* what is longer goes as a file */
};

struct inside {
	struct list link;
	struct pod *pod;
	tenant_id tenant;
	struct rpc_call *call;
	struct ctl_req *req;
	struct loop_timer due; /* who follows */
};

static struct list asks = LIST_INIT(asks);

static unsigned asks_of(tenant_id t)
{
	struct inside *x;
	unsigned n = 0;

	list_for_each (x, &asks, link)
		n += x->tenant == t;
	return n;
}

static void inside_free(struct inside *x)
{
	loop_timer_clear(x->pod->loop, &x->due);
	list_del(&x->link);
	free(x);
}

static void refuse(struct rpc_call *call, int err)
{
	if (call != NULL && rpc_reply(call, err, NULL) < 0)
		log_warn("a reply to a guest kernel was lost");
}

static void give_up(struct inside *x, int err)
{
	ctl_req_drop(x->req);
	refuse(x->call, err);
	inside_free(x);
}

/* Whose caller has gone: a follower's place is free again. */
static void sweep(tenant_id t)
{
	struct inside *x, *next;

	list_for_each_safe (x, next, &asks, link)
		if (x->tenant == t && rpc_call_is_void(x->call))
			give_up(x, -ECANCELED);
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)close(fds[i]);
}

static int file_of(const char *text, size_t len)
{
	cleanup_close int fd = memfd_create("answer", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, text + at, len - at);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	return take_fd(&fd);
}

/* Takes the descriptors. */
static int reply(struct rpc_call *call, Kernel__ApiAnswer *a, const char *text, size_t len,
		 const int *fds, unsigned n)
{
	cleanup_free uint8_t *packed = NULL;
	struct rpc_msg m = { 0 };
	int r = 0;

	if (n > 0)
		memcpy(m.fds, fds, n * sizeof(*fds));
	m.fd_count = n;
	a->in_file = len > BODY_MAX;
	if (a->in_file) {
		r = file_of(text, len);
		if (r >= 0)
			m.fds[m.fd_count++] = r;
	} else {
		a->body.data = (uint8_t *)(uintptr_t)text;
		a->body.len = len;
	}
	packed = r < 0 ? NULL : malloc(kernel__api_answer__get_packed_size(a) + 1);
	if (packed == NULL) {
		close_all(m.fds, m.fd_count);
		refuse(call, r < 0 ? r : -ENOMEM);
		return 0;
	}
	m.body = packed;
	m.len = kernel__api_answer__pack(a, packed);
	r = rpc_reply(call, 0, &m);
	if (r < 0)
		close_all(m.fds, m.fd_count);
	return r;
}

static void answered(void *arg, int status, const char *type, const char *text, size_t len,
		     const int *fds, unsigned n, bool more)
{
	struct inside *x = arg;
	Kernel__ApiAnswer a = KERNEL__API_ANSWER__INIT;

	a.status = (uint32_t)status;
	a.type = (char *)(uintptr_t)type;
	a.more = more;
	events_cursor(x->pod, &a.since_life, &a.since);
	if (reply(x->call, &a, text, len, fds, n) < 0)
		log_warn("an answer to a guest kernel was lost");
	inside_free(x);
}

static const struct ctl_local_ops ops = { .answered = answered };

/* Nothing has happened that this tenant may see. */
static void follow_due(struct loop_timer *t)
{
	struct inside *x = container_of(t, struct inside, due);

	ctl_req_drop(x->req);
	answered(x, 200, "application/jsonl", "", 0, NULL, 0, true);
}

static int ask_of(const Kernel__ApiAsk *q, struct ctl_ask *ask)
{
	*ask = (struct ctl_ask){
		.route = (enum ctl_route_id)q->route,
		.pid = q->pid,
		.session = q->session,
		.has_since = q->has_since,
		.since_life = q->since_life,
		.since = q->since,
		.follow = q->follow,
		.client = q->client,
		.has_from = q->has_from,
		.from = q->from,
		.rows = q->rows,
		.cols = q->cols,
		.agent = q->agent,
	};
	if (strlen(q->node) >= sizeof(ask->node))
		return -EINVAL;
	(void)snprintf(ask->node, sizeof(ask->node), "%s", q->node);
	return 0;
}

static int begin(struct pod *p, tenant_id t, const Kernel__ApiAsk *q, struct rpc_call *call)
{
	const struct ctl_caller who = { .tenant = t };
	struct ctl_ask ask;
	struct http_head head;
	struct inside *x;
	json_t *body;
	int r = ask_of(q, &ask);

	if (r == 0)
		r = ctl_ask_write(&ask, &head, &body);
	if (r < 0)
		return r;
	x = calloc(1, sizeof(*x));
	if (x == NULL) {
		json_decref(body);
		return -ENOMEM;
	}
	*x = (struct inside){ .pod = p, .tenant = t, .call = call };
	list_add_tail(&asks, &x->link);
	if (ask.route == CTL_EVENTS && ask.follow)
		r = loop_timer_set(p->loop, &x->due, clock_mono_ns() + FOLLOW_MS * NS_PER_MS,
				   follow_due);
	if (r < 0)
		json_decref(body);
	else
		r = ctl_req_local(p->api, &who, &head, body, &ops, x, &x->req);
	if (r < 0)
		inside_free(x);
	return r;
}

void api_inside(void *arg, struct rpc_conn *c, struct rpc_call *call, const struct rpc_msg *m)
{
	const struct world *w = rpc_conn_user(c);
	Kernel__ApiAsk *q = kernel__api_ask__unpack(NULL, m->len, m->body);
	int r = 0;

	close_all(m->fds, m->fd_count);
	if (w != NULL)
		sweep(w->id);
	if (q == NULL || call == NULL || w == NULL)
		r = -EPROTO;
	else if (asks_of(w->id) >= ASKS_MAX)
		r = -EBUSY;
	if (r == 0)
		r = begin(arg, w->id, q, call);
	kernel__api_ask__free_unpacked(q, NULL);
	if (r < 0)
		refuse(call, r);
}

void api_inside_gone(const struct world *w)
{
	struct inside *x, *next;

	list_for_each_safe (x, next, &asks, link)
		if (x->tenant == w->id)
			give_up(x, -ECONNRESET);
}
