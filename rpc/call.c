/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - requests, replies and one-way messages. */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "rpc/priv.h"

/* What waits for a completion of ours: the core's cookie. The body is kept only where it may be
 * sent later. */
struct pending {
	rpc_done_fn done;
	void *arg;
	bool keep; /* the body is a copy of ours */
};

static int msg_check(const struct rpc_conn *c, const struct rpc_msg *m)
{
	if (m->len > RPC_BODY_MAX || m->tail_len > RPC_BODY_MAX - m->len)
		return -EMSGSIZE;
	if (m->fd_count > RPC_FDS_MAX || (m->fd_count > 0 && !c->local) || (m->len > 0 && !m->body))
		return -EINVAL;
	return 0;
}

/* What the core may keep has its body in one run. */
int rpc_msg_check(const struct rpc_conn *c, const struct rpc_msg *m)
{
	int err = msg_check(c, m);

	return err == 0 && m->tail_len > 0 ? -EINVAL : err;
}

static int copy_body(const struct rpc_msg *m, void **out)
{
	*out = NULL;
	if (m->len == 0)
		return 0;
	*out = malloc(m->len);
	if (!*out)
		return -ENOMEM;
	memcpy(*out, m->body, m->len);
	return 0;
}

/* ---- asking ---- */

static int may_ask(const struct rpc_conn *c, const struct rpc_msg *m, const struct rpc_opts *o)
{
	bool up = rpc_core_is_up(c->core);
	int err = rpc_msg_check(c, m);

	if (err < 0)
		return err;
	if (c->dead || (c->lost != 0 && !c->dialer))
		return -ENOTCONN;
	if (!up && (c->local || (c->known && o->key == 0)))
		return -ENOTCONN;
	if (o->key != 0 && m->fd_count > 0) /* could not be sent again */
		return -EINVAL;
	return rpc_conn_queued(c) > c->rpc->lim.queue_bytes_max ? -EBUSY : 0;
}

int rpc_request(struct rpc_conn *c, const struct rpc_msg *m, const struct rpc_opts *o,
		rpc_done_fn done, void *arg, uint64_t *id)
{
	static const struct rpc_opts none;
	struct rpc_ask ask = { .method = m->method, .len = (uint32_t)m->len };
	struct pending *p;
	bool keep;
	int err;

	o = o ? o : &none;
	err = may_ask(c, m, o);
	if (err < 0)
		return err;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct pending){ .done = done, .arg = arg };
	ask.key = o->key;
	ask.deadline_ns = o->deadline_ns;
	ask.cookie = p;
	keep = o->key != 0 || !rpc_core_is_up(c->core);
	if (keep) {
		err = copy_body(m, &ask.body);
		if (err < 0)
			goto out;
	} else {
		ask.body = (void *)m->body;
	}
	c->tx_msg = m->fd_count > 0 ? m : NULL;
	err = rpc_core_request(c->core, &ask, loop_now_ns(c->rpc->loop), id);
	if (err < 0)
		goto out;
	p->keep = keep;
	rpc_conn_sends(c);
	return 0;
out:
	c->tx_msg = NULL;
	if (keep)
		free(ask.body);
	free(p);
	return err;
}

void rpc_cancel(struct rpc_conn *c, uint64_t id)
{
	if (c->dead)
		return;
	rpc_core_cancel(c->core, id);
	rpc_conn_dirty(c);
}

int rpc_send(struct rpc_conn *c, const struct rpc_msg *m)
{
	int err = msg_check(c, m);

	if (err < 0)
		return err;
	if (!rpc_conn_is_up(c))
		return -ENOTCONN;
	if (rpc_conn_queued(c) > c->rpc->lim.queue_bytes_max)
		return -EBUSY;
	c->tx_msg = m->fd_count > 0 || m->tail_len > 0 ? m : NULL;
	err = rpc_core_oneway(c->core, m->method, (void *)m->body,
			      (uint32_t)(m->len + m->tail_len));
	rpc_conn_sends(c);
	return err;
}

void rpc_on_done(struct rpc_conn *c, const struct rpc_fx *fx)
{
	struct pending p = *(struct pending *)fx->cookie;
	struct rpc_msg m = { .method = fx->frame.method,
			     .body = fx->frame.body,
			     .len = fx->frame.len };

	free(fx->cookie);
	if (p.keep)
		free(fx->release);
	/* A reply whose code is no -errno is a liar's. */
	if (fx->err > 0) {
		p.done(p.arg, -EPROTO, NULL);
		return;
	}
	if (fx->err == 0)
		rpc_take_fds(c, &m);
	p.done(p.arg, fx->err, fx->err == 0 ? &m : NULL);
}

void rpc_forget_done(const struct rpc_fx *fx)
{
	struct pending *p = fx->cookie;

	if (p->keep)
		free(fx->release);
	free(p);
}

/* ---- answering ---- */

static int method_allowed(const struct rpc_conn *c, const struct rpc_method *m)
{
	if (!m)
		return -ENOSYS;
	return m->roles & RPC_FROM(c->local ? RPC_ROLE_LOCAL : c->peer.role) ? 0 : -EACCES;
}

void rpc_on_deliver(struct rpc_conn *c, const struct rpc_fx *fx)
{
	struct rpc_method *h = rpc_method_find(c->rpc, fx->frame.method);
	struct rpc_msg m = { .method = fx->frame.method,
			     .body = fx->frame.body,
			     .len = fx->frame.len };
	struct rpc_call *call = calloc(1, sizeof(*call));
	int err = method_allowed(c, h);

	if (!call) {
		rpc_conn_lost(c, -ENOMEM, NULL);
		return;
	}
	call->rpc = c->rpc;
	call->conn = c;
	call->in = fx->in;
	if (rpc_in_has_key(fx->in)) {
		call->scope = c->scope;
		call->scope->refs++;
	}
	list_add_tail(&c->calls, &call->link);
	if (err == 0 && !h->fn)
		err = -ENOSYS;
	if (err < 0) {
		CHECK(rpc_reply(call, err, NULL) == 0);
		return;
	}
	rpc_take_fds(c, &m);
	h->fn(h->arg, c, call, &m);
}

void rpc_on_oneway(struct rpc_conn *c, const struct rpc_fx *fx)
{
	struct rpc_method *h = rpc_method_find(c->rpc, fx->frame.method);
	struct rpc_msg m = { .method = fx->frame.method,
			     .body = fx->frame.body,
			     .len = fx->frame.len };

	if (method_allowed(c, h) < 0 || !h->fn) {
		c->rpc->stats.unwanted++;
		return;
	}
	rpc_take_fds(c, &m);
	h->fn(h->arg, c, NULL, &m);
}

void rpc_call_free(struct rpc_call *call)
{
	list_del(&call->link);
	if (call->scope)
		rpc_scope_put(call->scope);
	free(call);
}

/* A request without a key dies with its connection, whose table it is in. */
void rpc_calls_orphan(struct rpc_conn *c)
{
	while (!list_empty(&c->calls)) {
		struct rpc_call *call = list_front(&c->calls, struct rpc_call, link);

		call->conn = NULL;
		if (!call->scope)
			call->in = NULL;
		list_del(&call->link);
		list_add_tail(&c->rpc->calls, &call->link);
	}
}

static void close_fds(const struct rpc_msg *m)
{
	for (unsigned i = 0; m && i < m->fd_count; i++)
		(void)close(m->fds[i]);
}

static void reply_send(struct rpc_call *call, int err, const struct rpc_msg *m)
{
	static const struct rpc_msg empty;
	uint64_t now = loop_now_ns(call->rpc->loop);
	struct rpc_core *asker;
	struct rpc_conn *to;
	void *body = NULL;
	bool kept;

	m = m && err == 0 ? m : &empty;
	if (!call->scope) {
		body = (void *)m->body;
	} else if (copy_body(m, &body) < 0) {
		/* Executed, and the reply cannot be kept: the caller learns that something failed.
		 */
		close_fds(m);
		err = -ENOMEM;
		m = &empty;
	}
	asker = rpc_in_reply(call->in, err, body, (uint32_t)m->len, now, &kept);
	CHECK(kept == (call->scope != NULL));
	to = asker ? rpc_core_user(asker) : NULL;
	if (!to || !to->local || !rpc_core_is_up(asker)) {
		close_fds(m);
	} else if (m->fd_count > 0) {
		to->tx_msg = m; /* of a kept reply they go with its first sending only */
	}
	if (to)
		rpc_conn_sends(to);
}

int rpc_reply(struct rpc_call *call, int err, const struct rpc_msg *m)
{
	int r = 0;

	CHECK(err <= 0);
	if (m && call->conn)
		r = rpc_msg_check(call->conn, m);
	else if (m && m->len > RPC_BODY_MAX)
		r = -EMSGSIZE;
	if (!call->in && m)
		close_fds(m);
	else if (call->in && r < 0)
		reply_send(call, -EPROTO, NULL);
	else if (call->in)
		reply_send(call, err, m);
	rpc_call_free(call);
	return r;
}

uint64_t rpc_call_deadline_ns(const struct rpc_call *call)
{
	return call->in ? rpc_in_deadline_ns(call->in) : 0;
}

bool rpc_call_is_void(const struct rpc_call *call)
{
	return !call->in || rpc_in_is_void(call->in);
}
